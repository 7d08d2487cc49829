"""Quantities with units: parsed with pint, held as SI floats.

A configuration writes ``13.2 nm``, ``8.8 keV`` or ``0.5 deg``; the Python API takes plain floats in the unit that
the field's type names (meter, electronvolt, radian, second, pixel). Array indices and probe positions are in pixels.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo

PLANCK_SPEED_EV_M = 1.239841984332e-6  # h c in eV m (CODATA 2018, exact to the digits given)
ELECTRON_REST_EV = 510998.95  # m c^2 of an electron (CODATA 2018)

# A bare number stands for this unit without ambiguity; every other dimension asks for its unit in a configuration.
_BARE_ALLOWED = {"px", ""}
# What a quantity may look like: a number, and units with small whole powers. Nothing else reaches pint, which evaluates
# whatever Python would: powers of powers take all time and memory.
_UNIT = r"(?:[^\W\d]+|[°%])(?:(?:\*\*|\^)-?\d)?"
_QUANTITY = re.compile(
    rf"(?:[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{{1,3}})?)?\s*(?:\*\s*)?{_UNIT}(?:\s*[*/]\s*{_UNIT}|\s+{_UNIT}){{0,3}}"
)
_NUMBER = re.compile(r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$")
_PREFIXES = {
    "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "\N{MICRO SIGN}": 1e-6, "\N{GREEK SMALL LETTER MU}": 1e-6,
    "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9,
}  # fmt: skip
# What nearly every configuration uses, by the unit that it is held in: pint takes 0.5 s to import and set up.
_COMMON = {
    **{prefix + unit: (unit, factor) for prefix, factor in _PREFIXES.items() for unit in ("m", "eV", "V", "s", "Hz")},
    **{prefix + "rad": ("rad", _PREFIXES[prefix]) for prefix in ("n", "u", "m", "")},
    **dict.fromkeys(("deg", "°"), ("rad", math.pi / 180)),
    **dict.fromkeys(("angstrom", "Å"), ("m", 1e-10)),
    "cm": ("m", 1e-2), "px": ("px", 1.0), "KiB": ("B", 2.0**10), "MiB": ("B", 2.0**20), "GiB": ("B", 2.0**30),
}  # fmt: skip
_SIMPLE = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?)\s*([^\W\d]+|\N{DEGREE SIGN})")


@lru_cache(maxsize=1)
def _registry() -> Any:
    import pint

    registry: Any = pint.UnitRegistry(on_redefinition="ignore")
    registry.define("px = [picture_element]")
    return registry


def parse(value: object, unit: str, *, bare: bool = True) -> float:
    """The magnitude of ``value`` in ``unit``.

    Args:
        value: A number, or a string such as ``"70 um"``.
        unit: ``"m"``, ``"eV"``, ``"V"``, ``"rad"``, ``"s"``, ``"px"``, ``"B"`` or ``""``.
        bare: Whether a number without unit is taken to be in ``unit`` already.

    Raises:
        ValueError: Not a number, an unknown unit, a unit of another dimension, or no unit where one is needed.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"expected a quantity in {unit or 'plain numbers'}, found {value!r}")
    if not isinstance(value, str) or _NUMBER.match(value):
        if not bare and unit not in _BARE_ALLOWED:
            raise ValueError(f"expected a quantity with a unit, such as '{value} {unit}', found {value!r}")
        return float(value)
    text = value.strip()
    simple = _SIMPLE.fullmatch(text)
    if simple and _COMMON.get(simple[2], ("", 0.0))[0] == unit:
        return float(simple[1]) * _COMMON[simple[2]][1]
    import pint

    try:
        if len(text) > 80 or not _QUANTITY.fullmatch(text):
            raise ValueError(text)
        quantity = _registry().Quantity(text)
        return float(quantity.to(unit or "dimensionless").magnitude)
    except pint.DimensionalityError:
        raise ValueError(f"wrong unit: expected a quantity in {unit or 'plain numbers'}, found '{text}'") from None
    except Exception:
        raise ValueError(f"cannot read '{text}' as a quantity in {unit or 'plain numbers'}") from None


class Unit:
    """Marks a field as a quantity in ``name``; pydantic parses strings with units into it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Unit({self.name!r})"


def quantity(unit: str) -> Any:
    """Field type of a float in ``unit`` that also reads ``"12 nm"``."""

    def read(value: object, info: ValidationInfo) -> object:
        if value is None:
            return None
        from_config = bool(info.context and info.context.get("config"))
        return parse(value, unit, bare=not from_config)

    return Annotated[float, BeforeValidator(read), Unit(unit)]


Length = quantity("m")
Energy = quantity("eV")
Voltage = quantity("V")
Angle = quantity("rad")
Duration = quantity("s")
Frequency = quantity("Hz")
Pixels = quantity("px")
Memory = quantity("B")


def one_of(*choices: str, names: str, example: str) -> Any:
    """Field type of a quantity in one of the units ``choices``, kept as text with the unit: ``"2e-06 m"``.

    A bare number is in the first of them; in a configuration it is so only if that is pixels.
    """

    def read(value: object, info: ValidationInfo) -> object:
        if value is None:
            return None
        bare = choices[0] == "px" or not (info.context and info.context.get("config"))
        for unit in choices:
            try:
                return f"{parse(value, unit, bare=bare):.12g} {unit}"
            except ValueError:
                continue
        raise ValueError(f"expected {names}, such as {example}, found {value!r}")

    return Annotated[str, BeforeValidator(read)]


LengthOrPixels = one_of("px", "m", names="pixels or a length", example="'12 px' or '2 um'")
LengthOrAngle = one_of("m", "rad", names="a length or an angle", example="'75 um' or '2 mrad'")
AnyRadius = one_of("px", "m", "rad", names="pixels, a length or an angle", example="'12 px', '60 um' or '25 mrad'")


def magnitude(text: str) -> tuple[float, str]:
    """Number and unit of a quantity that is kept as text."""
    number, unit = text.split()
    return float(number), unit


def wavelength_m(energy_ev: float) -> float:
    """Photon wavelength ``h c / E`` in meters."""
    return PLANCK_SPEED_EV_M / energy_ev


def electron_wavelength_m(voltage: float) -> float:
    r"""De Broglie wavelength in meters of electrons accelerated by ``voltage``.

    .. math:: \lambda = \frac{h c}{\sqrt{e U\,(e U + 2 m c^2)}}

    Reimer & Kohl, *Transmission Electron Microscopy* (2008), eq. 2.5.
    """
    return float(PLANCK_SPEED_EV_M / (voltage * (voltage + 2 * ELECTRON_REST_EV)) ** 0.5)


def energy_ev(wavelength: float) -> float:
    """Photon energy ``h c / lambda`` in electronvolts from a wavelength in meters."""
    return PLANCK_SPEED_EV_M / wavelength
