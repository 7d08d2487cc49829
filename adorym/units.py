"""Quantities with units: parsed with pint, held as SI floats.

A configuration writes ``13.2 nm``, ``8.8 keV`` or ``0.5 deg``; the Python API takes plain floats in the unit that
the field's type names (meter, electronvolt, radian, second, pixel). Array indices and probe positions are in pixels.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo

PLANCK_SPEED_EV_M = 1.239841984332e-6  # h c in eV m (CODATA 2018, exact to the digits given)

# A bare number stands for this unit without ambiguity; every other dimension asks for its unit in a configuration.
_BARE_ALLOWED = {"px", ""}
# What a quantity may look like: a number, and units with small whole powers. Nothing else reaches pint, which evaluates
# whatever Python would: powers of powers take all time and memory.
_UNIT = r"(?:[^\W\d]+|[°%])(?:(?:\*\*|\^)-?\d)?"
_QUANTITY = re.compile(
    rf"(?:[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{{1,3}})?)?\s*(?:\*\s*)?{_UNIT}(?:\s*[*/]\s*{_UNIT}|\s+{_UNIT}){{0,3}}"
)
_NUMBER = re.compile(r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$")


@lru_cache(maxsize=1)
def _registry() -> Any:
    import pint  # 0.3 s to import: only configurations with units pay for it

    registry: Any = pint.UnitRegistry(on_redefinition="ignore")
    registry.define("px = [picture_element]")
    return registry


def parse(value: object, unit: str, *, bare: bool = True) -> float:
    """The magnitude of ``value`` in ``unit``.

    Args:
        value: A number, or a string such as ``"70 um"``.
        unit: ``"m"``, ``"eV"``, ``"rad"``, ``"s"``, ``"px"``, ``"B"`` or ``""``.
        bare: Whether a number without unit is taken to be in ``unit`` already.

    Raises:
        ValueError: Not a number, an unknown unit, a unit of another dimension, or no unit where one is needed.
    """
    import pint

    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"expected a quantity in {unit or 'plain numbers'}, found {value!r}")
    if not isinstance(value, str) or _NUMBER.match(value):
        if not bare and unit not in _BARE_ALLOWED:
            raise ValueError(f"expected a quantity with a unit, such as '{value} {unit}', found {value!r}")
        return float(value)
    text = value.strip()
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
Angle = quantity("rad")
Duration = quantity("s")
Pixels = quantity("px")
Memory = quantity("B")


def wavelength_m(energy_ev: float) -> float:
    """Photon wavelength ``h c / E`` in meters."""
    return PLANCK_SPEED_EV_M / energy_ev


def energy_ev(wavelength: float) -> float:
    """Photon energy ``h c / lambda`` in electronvolts from a wavelength in meters."""
    return PLANCK_SPEED_EV_M / wavelength
