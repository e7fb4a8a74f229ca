"""Type aliases shared by the package."""

from typing import Any

Tensor = Any
"""A tensor of the running Keras backend. No common base class exists to name instead."""
