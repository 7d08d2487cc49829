"""Numbers as people read them: SI prefixes, few digits, true minus signs."""

from __future__ import annotations

import math

import numpy as np

from adorym.data.result import ParameterResult

_PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_PREFIXED_UNITS = {"m", "eV", "rad", "s", "J", "Hz"}


def number(value: float, digits: int = 4) -> str:
    """``12.3`` or ``1.23×10⁻⁵``: ``digits`` digits that mean something, whole numbers below a million in full."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value == int(value) and abs(value) < 1e6:
        text = str(int(value))
    elif 1e-3 <= abs(value) < 10 ** max(digits, 4):
        text = f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"
    else:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        text = mantissa + "×" + power_of_ten(int(exponent))
    return text.replace("-", "−")


def power_of_ten(exponent: int) -> str:
    """``10⁻⁵``."""
    return "10" + str(exponent).translate(_SUPERSCRIPTS)


def prefix(value: float, unit: str) -> tuple[float, str]:
    """Factor and unit with the SI prefix that brings ``value`` between 1 and 1000: ``(1e9, "nm")``."""
    if unit not in _PREFIXED_UNITS or not math.isfinite(value) or value == 0:
        return 1.0, unit
    exponent = min(max(3 * math.floor(math.log10(abs(value) * (1 + 1e-12)) / 3), -15), 12)
    return 10.0**-exponent, _PREFIXES[exponent] + unit


def quantity(value: float, unit: str, digits: int = 4) -> str:
    """``13.2 nm``, ``0.51 px``, ``42``."""
    factor, prefixed = prefix(value, unit)
    return f"{number(value * factor, digits)} {prefixed}".rstrip()


def values(array: np.ndarray, unit: str, digits: int = 4) -> str:
    """A scalar, a short list, or the range of a large array, in one common unit."""
    flat = np.ravel(np.abs(array) if np.iscomplexobj(array) else array).astype(float)
    if flat.size == 0:
        return "none"
    finite = np.abs(flat[np.isfinite(flat)])
    factor, prefixed = prefix(float(finite.max()) if finite.size else 0.0, unit)
    flat = flat * factor
    if flat.size == 1 or np.all(flat == flat[0]):
        text = number(flat[0], digits)
    elif flat.size <= 4:
        text = ", ".join(number(v, digits) for v in flat)
    elif finite.size == 0:
        text = number(np.nan)
    else:
        text = f"{number(np.nanmin(flat), digits)} … {number(np.nanmax(flat), digits)}"
    return f"{text} {prefixed}".rstrip()


def duration(seconds: float) -> str:
    """``850 ms``, ``12.3 s``, ``4 min 05 s``, ``2 h 13 min``."""
    if not math.isfinite(seconds):
        return "not known"
    if seconds < 60:
        return quantity(seconds, "s", 3)
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes} min {round(seconds) % 60:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def counted(n: int, noun: str) -> str:
    """``1 batch``, ``5 batches``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}{'es' if noun.endswith('tch') else 's'}"


def title_of(name: str) -> str:
    """``probe_positions`` -> ``Probe positions``."""
    words = name.replace("_", " ").strip().replace("cdi", "CDI")
    return words[:1].upper() + words[1:]


def parameter_row(name: str, parameter: ParameterResult) -> tuple[str, ...]:
    """Name, shape, start, value and change of a refined parameter."""
    value, start, unit = parameter.value, parameter.start, parameter.unit
    comparable = start is not None and start.shape == value.shape and value.dtype.kind in "fciu" and value.size > 0
    change = ""
    if start is not None and comparable:
        difference = np.abs(value.astype(complex) - start.astype(complex))
        rms = float(np.sqrt(np.mean(difference**2)))
        change = quantity(rms, unit, 3) + (" rms" if value.size > 1 else "") if rms > 0 else "none"
    shape = " × ".join(map(str, value.shape)) or "scalar"
    return title_of(name), shape, "" if start is None else _text(start, unit), _text(value, unit), change


def _text(array: np.ndarray, unit: str) -> str:
    if array.dtype.kind not in "fciub":
        return str(array)
    return ("|…| " if np.iscomplexobj(array) else "") + values(array, unit)
