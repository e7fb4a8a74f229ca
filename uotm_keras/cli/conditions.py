"""What `--condition` means for a model: labels, ranges and names of classes, or a vector."""

from collections.abc import Sequence

import numpy as np

from uotm_keras.models.conditions import ConditionSpec
from uotm_keras.utils.errors import InputError


def parse_conditions(
    text: str, spec: ConditionSpec | None, class_names: Sequence[str] | None
) -> np.ndarray:
    """Return the conditions that a flag names, (n, *spec.shape).

    Args:
        text: Labels, ranges such as 0-9 and names of classes, separated by commas; or the
            numbers of one vector or of one tuple of labels.
        spec: What the model is conditioned on; `None` for an unconditional one.
        class_names: The names of the classes, if they have any.

    Raises:
        InputError: If the model is unconditional, or does not accept the value.
    """
    if spec is None:
        raise InputError(f"flag --condition={text}: this model is unconditional; leave it out.")
    parts = [part.strip() for part in text.split(",")]
    if spec.num_classes is None or spec.shape:
        number: type = float if spec.num_classes is None else int
        try:
            return spec.array(np.array([[number(part) for part in parts]], spec.dtype))
        except (ValueError, OverflowError, InputError):
            kind = "numbers" if spec.num_classes is None else "labels"
            raise InputError(
                f"flag --condition={text}: this model takes {spec.shape[0]} {kind}, separated by "
                "commas."
            ) from None
    names, (count,) = list(class_names or ()), spec.num_classes
    labels: list[int] = []
    for part in parts:
        first, dash, last = part.partition("-")
        if part in names:
            labels.append(names.index(part))
        elif first.isdecimal() and (last.isdecimal() or not dash):
            low, high = int(first), int(last or first)
            if not low <= high < count:
                raise InputError(
                    f"flag --condition={text}: {part} is not within the classes 0 to {count - 1}."
                )
            labels += range(low, high + 1)
        else:
            known = f", and the names {', '.join(names)}" if names else ""
            raise InputError(
                f"flag --condition={text}: {part!r} is no class; accepted are 0 to {count - 1}, "
                f"ranges such as 0-{count - 1}{known}."
            )
    return np.array(labels, "int32")
