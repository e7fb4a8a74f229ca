"""Types shared by all modules."""

from typing import Any

Tensor = Any
"""A tensor of the running backend; each backend has a class of its own."""
