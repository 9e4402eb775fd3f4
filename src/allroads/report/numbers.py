"""Numbers as a reader should see them: as many digits as the interval supports, never a NaN."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from allroads.records import Mean

NOTHING = "–"
"""Shown where there is no number."""
_MINUS = "\N{MINUS SIGN}"
_THIN = "\N{NARROW NO-BREAK SPACE}"
_FIRM = "\N{NO-BREAK SPACE}"
_SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def finite(value: float | None) -> float | None:
    """`value`, or None where it is absent, NaN or infinite."""
    return value if value is not None and math.isfinite(value) else None


def bounds(mean: Mean) -> tuple[float, float] | None:
    """The interval, or None unless both of its ends are finite."""
    low, high = finite(mean.low), finite(mean.high)
    return None if low is None or high is None else (low, high)


def _decimals(mean: Mean) -> int:
    """Two significant digits of the interval's half width; without one, three of the value."""
    ends = bounds(mean)
    half = (ends[1] - ends[0]) / 2 if ends else 0.0
    scale, digits = (half, 2) if half > 0 else (abs(mean.value), 3)
    if not math.isfinite(scale) or scale <= 0:
        return 2
    return min(max(digits - 1 - math.floor(math.log10(scale)), 0), 4)


def fixed(value: float | None, decimals: int, *, sign: bool = False) -> str:
    """`value` with so many decimals, a true minus, and no negative zero."""
    if finite(value) is None:
        return NOTHING
    rounded = round(float(value or 0.0), decimals)
    body = f"{abs(rounded):,.{decimals}f}".replace(",", _THIN)
    if rounded < 0:
        return _MINUS + body
    return "+" + body if sign and rounded > 0 else body


def number(value: float | None, digits: int = 3) -> str:
    """`value` to `digits` significant digits, without trailing zeros of its own making."""
    if finite(value) is None:
        return NOTHING
    value = float(value or 0.0)
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if not -5 <= exponent <= 8:
        return scientific(value, digits)
    text = fixed(value, max(digits - 1 - exponent, 0))
    return text.rstrip("0").rstrip(".") if "." in text else text


def scientific(value: float | None, digits: int = 2) -> str:
    """For example 3.2 x 10^12, with a superscript."""
    if finite(value) is None:
        return NOTHING
    if not value:
        return "0"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    power = str(int(exponent)).translate(_SUPERSCRIPT)
    return f"{mantissa.replace('-', _MINUS)}{_THIN}×{_THIN}10{power}"


def power_of_ten(value: float) -> str:
    """For example 10^-6 with a superscript; from 0.001 to 1 000 the number itself."""
    exponent = round(math.log10(value))
    return number(value) if abs(exponent) <= 3 else f"10{str(exponent).translate(_SUPERSCRIPT)}"


def value_of(mean: Mean | None, *, sign: bool = False) -> str:
    """The mean alone, rounded as its interval allows."""
    return NOTHING if mean is None else fixed(mean.value, _decimals(mean), sign=sign)


def interval_of(mean: Mean | None, *, sign: bool = False) -> str:
    """The 95 % interval, or in words why there is none."""
    if mean is None or finite(mean.value) is None:
        return ""
    ends = bounds(mean)
    if ends is None:
        return "one seed: no interval" if mean.seeds <= 1 else "no interval"
    places = _decimals(mean)
    low, high = (fixed(end, places, sign=sign) for end in ends)
    return f"{low}{_FIRM}to{_FIRM}{high}"


def percent(mean: Mean | None) -> Mean | None:
    """The same mean times a hundred."""
    if mean is None:
        return None
    ends = bounds(mean) or (None, None)
    return mean.model_copy(
        update={
            "value": 100 * mean.value,
            "low": None if ends[0] is None else 100 * ends[0],
            "high": None if ends[1] is None else 100 * ends[1],
        }
    )


def size_of(mean: Mean) -> str:
    """For example `3 seeds × 400 prompts`."""
    seeds = f"{mean.seeds} seed{'' if mean.seeds == 1 else 's'}"
    return seeds if mean.prompts is None else f"{seeds} × {count(mean.prompts)} prompts"


def usual_size(means: Iterable[Mean]) -> str:
    """The size that most of the means have, so that only the others need to say theirs."""
    sizes = Counter(size_of(mean) for mean in means)
    return sizes.most_common(1)[0][0] if sizes else ""


def p_value(p: float | None) -> str:
    """For example `p = 0.03` or `p < 0.001`."""
    if finite(p) is None:
        return ""
    text = "p < 0.001" if float(p or 0.0) < 0.001 else f"p = {number(p, 2)}"
    return text.replace(" ", _FIRM)


def count(value: float | None) -> str:
    """A whole number in groups of three; a fraction keeps its digits."""
    if finite(value) is None:
        return NOTHING
    value = float(value or 0.0)
    return fixed(value, 0) if value == int(value) and abs(value) < 1e12 else number(value)


def large(value: float | None) -> str:
    """For example `1.25 M`: three digits are enough for a cost."""
    if finite(value) is None:
        return NOTHING
    value = float(value or 0.0)
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            unit = 1e3 if suffix == "k" else size
            return f"{number(value / unit)}{_THIN}{suffix}"
    return count(value)


def duration(seconds: float | None) -> str:
    """For example `42 s`, `12 min` or `3 h 05 min`."""
    if finite(seconds) is None:
        return NOTHING
    seconds = float(seconds or 0.0)
    if seconds < 120:
        return f"{number(seconds, 2)}{_THIN}s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes}{_THIN}min"
    return f"{minutes // 60}{_THIN}h{_THIN}{minutes % 60:02d}{_THIN}min"


def memory(megabytes: float | None) -> str:
    """For example `812 MB` or `14.2 GB`."""
    if finite(megabytes) is None:
        return NOTHING
    megabytes = float(megabytes or 0.0)
    if megabytes < 1000:
        return f"{number(megabytes)}{_THIN}MB"
    return f"{number(megabytes / 1000)}{_THIN}GB"
