"""Numbers, durations and flags as the run page writes them."""

import math

_NARROW_SPACE = "\u202f"
_MINUS = "\u2212"


def number(value: float, exponent_below: float = 1e-3) -> str:
    """Format a number with four significant digits, or with all digits before the point.

    Args:
        value: The number.
        exponent_below: The absolute value below which it has an exponent. Defaults to 1e-3.
    """
    size = abs(value)
    if size and (size < exponent_below or size >= 1e7):
        mantissa, _, exponent = f"{value:.3e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".")
        text = f"{mantissa}e{int(exponent)}"
    elif size >= 1000:
        text = grouped(round(value))
    else:
        text = f"{value:.4g}"
    return text.replace("-", _MINUS)


def grouped(value: int) -> str:
    """Format an integer; from five digits on, narrow spaces separate the thousands."""
    text = f"{value:,}" if abs(value) >= 10_000 else str(value)
    return text.replace(",", _NARROW_SPACE).replace("-", _MINUS)


def duration(seconds: float) -> str:
    """Format a duration by its two largest units: 25 s, 3 min 56 s, 2 h 5 min, 4 d 1 h."""
    rest = round(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def flag_value(value: object, unset: str) -> str:
    """Format a flag's value as it is written on the command line.

    Args:
        value: The value; lists are comma-separated.
        unset: The text for None.
    """
    if value is None:
        return unset
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) and math.isfinite(value) else str(value)
