"""What is missing for a run of each technique, and a configuration to begin with."""

from __future__ import annotations

from collections.abc import Sequence

from adorym.data.overrides import Overrides
from adorym.data.readers.base import Raw

# What a technique needs, and in which words it is asked for. The keys are those of the section ``data``.
ENERGY, DISTANCE, PITCH = "energy", "distance", "detector_pixel_size"
EXAMPLES = {
    "positions": "positions.csv",
    "scan": "{step: 0.5 angstrom}",
    "energy": "8.8 keV",
    "distance": "2 m",
    "detector_pixel_size": "75 um",
    "pixel_size": "20 nm",
    "theta_range": "[0 deg, 180 deg]",
    "white": "flat_*.tif",
    "propagation_distance": "10 cm",
}
OF_IMAGES = {"pixel_size": "1 um"}
MEANINGS = {
    "positions": "of the probe, one a pattern",
    "scan": "of the raster, whose rows are slow",
    "energy": "of photons; of electrons 'voltage: 300 kV'",
    "distance": "sample to detector; none is needed for pixels in mrad",
    "detector_pixel_size": "pitch of the detector, or '1 mrad'",
    "pixel_size": "in the object plane",
    "theta_range": "first and last rotation angle",
    "white": "flat field, without the sample",
    "propagation_distance": "sample to detector, in a parallel beam",
}
# What models need whose files hold arrays of their own.
OF_EXTRA = {
    "speckle_tracking": ["propagation_distance", ENERGY, "pixel_size"],
    "fourier_ptychography": [ENERGY, "pixel_size"],
}
MANY = 8  # as many pictures of a field are a rotation, fewer a series of distances


def missing(raw: Raw, wanted: Overrides) -> dict[str, tuple[str, ...]]:
    """By technique, the keys of ``data`` that the files do not answer and the user has not given."""
    lengths = raw.lengths.overridden(wanted)
    given = wanted.positions is not None or wanted.scan.step is not None
    values = {
        "positions": given or raw.scanned or None,
        "energy": lengths.energy_ev,
        "distance": lengths.distance_m,
        "detector_pixel_size": lengths.detector_pixel_size_m,
        "pixel_size": lengths.pixel_size_m or lengths.detector_pixel_size_m,
        "theta_range": (len(raw.theta_rad) > 1 or wanted.theta is not None or wanted.theta_range is not None) or None,
        "white": True if _needs_no_flat(raw, wanted) else None,
        "propagation_distance": lengths.propagation_distance_m,
    }
    if wanted.propagation_distance is not None:
        values["propagation_distance"] = True
    scanned = ["scan" if raw.scan_shape is not None and len(raw.scan_shape) == 2 else "positions"]
    values["scan"] = values["positions"]
    if lengths.pixel_size_m is None and raw.positions_px is None:
        scanned += [ENERGY, DISTANCE, PITCH]
    images = ["propagation_distance", ENERGY, "pixel_size", "white"]
    needed = {
        "ptychography": scanned,
        "tomography": ["theta_range", "white"],
        "holography": images,
        **({"holotomography": images} if distances(raw) > 1 and len(raw.theta_rad) > 1 else {}),
        **{name: keys for name, keys in OF_EXTRA.items() if _extra_of(name) & set(raw.extra)},
        "bragg_cdi": [ENERGY, DISTANCE, PITCH],
    }
    return {name: tuple(key for key in keys if values[key] is None) for name, keys in needed.items()}


def _extra_of(technique: str) -> set[str]:
    """The arrays that tell a technique."""
    return {"references"} if technique == "speckle_tracking" else {"leds_m", "leds_px"}


def model_of(technique: str, raw: Raw) -> str:
    """The section ``forward_model`` of a configuration to begin with."""
    if technique != "fourier_ptychography":
        return technique
    distance = ", led_distance: 80 mm" if "leds_m" in raw.extra else ""
    return f"{{kind: {technique}, numerical_aperture: 0.1{distance}}}  # to be filled in"


def _needs_no_flat(raw: Raw, wanted: Overrides) -> bool:
    known = raw.flat is not None or raw.open_beam_counts is not None or wanted.white is not None
    return known or (wanted.measured or raw.measured) == "line_integrals"


def distances(raw: Raw) -> int:
    """Number of pictures at each angle."""
    return raw.patterns.shape[0] // max(len(raw.theta_rad), 1)


def likely(raw: Raw, lacks: dict[str, tuple[str, ...]]) -> str:
    """The technique that the data are most probably of."""
    for told in OF_EXTRA:
        if told in lacks:
            return told
    if not {"positions", "scan"} & set(lacks["ptychography"]):
        return "ptychography"
    if "holotomography" in lacks:
        return "holotomography"
    if "theta_range" not in lacks["tomography"]:
        return "tomography"
    if "propagation_distance" not in lacks["holography"]:
        return "holography"
    if "white" in lacks["tomography"]:
        return "ptychography"
    return "tomography" if raw.patterns.shape[0] >= MANY else "holography"


def starting_configuration(
    path: str,
    technique: str,
    lacks: Sequence[str],
    entries: Sequence[str] = (),
    many: int = 1,
    more: Sequence[str] = (),
) -> str:
    """A configuration in YAML, with an example for each value that is missing.

    Args:
        path: Of the data, as YAML.
        technique: The forward model.
        lacks: Keys of the section ``data``.
        entries: A map of the file's arrays.
        many: Number of distances.
        more: Lines of the section ``data``.
    """
    lines = ["data:", f"  path: {path}", *(f"  {line}" for line in more)]
    if entries:
        lines.append("  map: [" + ", ".join(f"'{e}'" if "," in e or " " in e else e for e in entries) + "]")
    examples = EXAMPLES | (OF_IMAGES if technique.startswith("holo") else {})
    if many > 1:
        examples |= {"propagation_distance": "[" + ", ".join(f"{10 * 2**k} cm" for k in range(many)) + "]"}
    lines += [f"  {key}: {examples[key]}  # to be filled in: {MEANINGS[key]}" for key in lacks]
    return "\n".join([*lines, f"forward_model: {technique}"])


def lacks_of_map(entries: Sequence[str], raster: bool = False) -> dict[str, tuple[str, ...]]:
    """What is missing beside the arrays that a map names, for a file that could not be read, perhaps with a raster."""
    named = {entry.partition("=")[0] for entry in entries}
    named |= {"energy"} if "wavelength" in named else set()
    geometry = () if {"pixel_size", "reciprocal_pixel"} & named else (ENERGY, DISTANCE, PITCH)
    needed = {
        "ptychography": ("scan" if raster and "positions" not in named else "positions", *geometry),
        "tomography": ("theta_range", "white"),
        "holography": ("propagation_distance", ENERGY, "pixel_size", "white"),
        "bragg_cdi": (ENERGY, DISTANCE, PITCH),
    }
    same = {"theta_range": "theta", "pixel_size": "detector_pixel_size"}
    return {
        name: tuple(key for key in keys if key not in named and same.get(key) not in named)
        for name, keys in needed.items()
    }
