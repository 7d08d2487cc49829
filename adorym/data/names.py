"""What an array in a file of unknown layout is, from its name, its unit and its numbers.

A name is taken apart: ``lambda_nm`` is a wavelength in nanometers, ``ccd_pixel_um`` a detector's pixel in micrometers.
Where neither the name nor ``@units`` says the unit, the number does if it can only be in one: 8.8 is an energy in keV,
8800 one in eV, and no pixel of an object has 75e-6 m.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from adorym.data.hdf5 import factor

# Endings that are units, as people write them.
ENDINGS = {
    "m": "m", "cm": "cm", "mm": "mm", "um": "um", "micron": "um", "microns": "um", "nm": "nm", "a": "angstrom",
    "angstrom": "angstrom", "ang": "angstrom", "pm": "pm", "ev": "eV", "kev": "keV", "j": "J", "deg": "deg",
    "degree": "deg", "degrees": "deg", "rad": "rad", "px": "px", "pix": "px", "pixel": "px", "pixels": "px",
}  # fmt: skip


@dataclass(frozen=True)
class Role:
    """A quantity that a file may name.

    Attributes:
        words: What its name looks like without the unit, in small letters.
        unit: Unit that its numbers are turned to.
        plausible: Units that a number without one may be in, and the numbers that it can then have.
    """

    words: re.Pattern[str]
    unit: str
    plausible: Mapping[str, tuple[float, float]]


def _words(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{each})" for each in alternatives))


_DETECTOR = r"(?:ccd|det|detector|camera|cam|eiger\d*m?|pilatus|merlin)"
_PIXEL = r"(?:pix|pixel|pixels|psize|pitch)"
_SIZE = r"(?:_?(?:size|width|height|pitch|length))?"
# In the order in which a name is tried.
ROLES = {
    "energy": Role(
        _words(r"(?:.*_)?(?:photon|beam|incident|xray|x_ray|probe|mono)_?energy.*", r"energy", r"(?:.*_)?hv",
               r"energy_?(?:raw|rbv|mono)"),
        "eV",
        {"eV": (350.0, 2e5), "keV": (0.1, 50.0), "J": (1e-17, 1e-13)},
    ),
    "wavelength": Role(
        _words(r"(?:.*_)?(?:lambda|lam|wavelength|wave_length|wl)0?"),
        "m",
        {"m": (1e-13, 1e-6)},
    ),
    "detector_pixel_size": Role(
        _words(rf"dxd|dyd|(?:.*_)?{_DETECTOR}_?[xy]?_?{_PIXEL}{_SIZE}", rf"{_PIXEL}{_SIZE}_?{_DETECTOR}"),
        "m",
        {"m": (2e-6, 2e-3), "um": (2.0, 500.0), "mm": (0.01, 1.0)},
    ),
    "pixel_size": Role(
        _words(rf"dxo|dx_?o|(?:.*_)?(?:obj|object|sample|recon|real|probe)_?{_PIXEL}{_SIZE}", r"resolution"),
        "m",
        {"m": (1e-12, 1.5e-6)},
    ),
    "distance": Role(
        _words(r"z|zo|z0|dist|distance",
               r"(?:.*_)?(?:det|detector|ccd|camera|cam|sample|object)_?(?:.*_)?(?:dist|distance|z)",
               r"(?:det|detector)_?z"),
        "m",
        {"m": (0.005, 60.0), "mm": (100.0, 60000.0)},
    ),
    "theta": Role(_words(r"thetas?|angles?|rotation_?angles?|omega"), "rad", {}),
}  # fmt: skip
# Whose pixel it is only its size says.
ANY_PIXEL = re.compile(rf"dx|dr|(?:[xy]_)?{_PIXEL}{_SIZE}(?:_[xy])?|voxel_?size|sampling")
LARGEST_OBJECT_PIXEL_M, SMALLEST_DETECTOR_PIXEL_M = 1.5e-6, 2e-6


def split_unit(name: str) -> tuple[str, str]:
    """The last part of ``name`` in small letters without its unit, and that unit, empty if it has none.

    >>> split_unit("meta/photon_energy_eV")
    ('photon_energy', 'eV')
    """
    last = re.split(r"[/@]", name)[-1]
    last = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", last)  # photonEnergy
    last = re.sub(r"\W+", "_", last).strip("_").lower()
    stem, _, ending = last.rpartition("_")
    if stem and ending in ENDINGS and not (ending == "pixel" or ANY_PIXEL.fullmatch(last)):
        return stem, ENDINGS[ending]
    return last, ""


def role_of(name: str, unit: str, value: float | None) -> tuple[str, str] | None:
    """The role of the number ``value`` called ``name``, and the unit it is in; ``None`` where that is not certain.

    Args:
        name: Name of the array or attribute.
        unit: What ``@units`` says, empty if nothing.
        value: The number, ``None`` if not known.
    """
    stem, ending = split_unit(name)
    stated = unit or ending
    if ANY_PIXEL.fullmatch(stem) and value is not None:
        return _pixel(stated, value)
    for role, kind in ROLES.items():
        if kind.words.fullmatch(stem):
            known = stated if _fits(stated, kind.unit) else "" if stated else _judged(kind, value)
            return (role, known) if known else None
    return None


def _pixel(stated: str, value: float) -> tuple[str, str] | None:
    """A pixel of unknown kind: large ones are the detector's, small ones the object's, and some may be either."""
    for role in ("detector_pixel_size", "pixel_size"):
        known = stated if _fits(stated, "m") else "" if stated else _judged(ROLES[role], value)
        if not known:
            continue
        size = value * factor(known, "m")
        if size >= SMALLEST_DETECTOR_PIXEL_M:
            return "detector_pixel_size", known
        if size <= LARGEST_OBJECT_PIXEL_M:
            return "pixel_size", known
    return None


def _judged(kind: Role, value: float | None) -> str:
    """The only unit that a number can be in, empty if there are several or none."""
    fits = [unit for unit, (low, high) in kind.plausible.items() if value is not None and low <= value < high]
    return fits[0] if len(fits) == 1 else ""


def _fits(unit: str, target: str) -> bool:
    if not unit:
        return False
    try:
        factor(unit, target)
    except ValueError:
        return False
    return True
