"""Lengths and energy of an experiment: one table of what files and users call them, and how they follow from another.

`LENGTHS` says of each its name in a `Dataset`, in the section ``data`` of a configuration and in a map of an unknown
file, in the package's own layout, and the units. Reading, writing and overriding go by it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from adorym.data.overrides import Overrides, Propagation, pair
from adorym.errors import ConfigError, DataError
from adorym.optics.geometry import Geometry, Pair, Regime, first_distance, fresnel_scaling
from adorym.units import electron_wavelength_m, energy_ev, wavelength_m


@dataclass(frozen=True)
class Quantity:
    """One of the lengths.

    Attributes:
        field: Name in `Lengths` and `adorym.data.dataset.Dataset`.
        unit: Unit there; empty for a pure number.
        count: A number, one for y and one for x, or a list.
        key: Name for users; empty where they cannot give it.
        stored: Name below ``metadata`` of the package's own files.
        stored_unit: Unit there.
    """

    field: str
    unit: str
    count: Literal["one", "pair", "list"]
    key: str
    stored: str
    stored_unit: str

    def of(self, values: np.ndarray) -> Any:
        """Numbers as the field holds them; of a pair, one may stand for both."""
        if self.count == "one":
            return float(values[0])
        return values if self.count == "list" else (float(values[0]), float(values[-1]))


LENGTHS = (
    Quantity("energy_ev", "eV", "one", "energy", "energy_ev", "eV"),
    Quantity("voltage_v", "V", "one", "voltage", "voltage_v", "V"),
    Quantity("pixel_size_m", "m", "pair", "pixel_size", "psize_cm", "cm"),
    Quantity("detector_pixel_size_m", "m", "pair", "detector_pixel_size", "detector_pixel_size_m", "m"),
    Quantity("distance_m", "m", "one", "distance", "distance_m", "m"),
    Quantity("source_distance_m", "m", "one", "source_distance", "source_distance_m", "m"),
    Quantity("propagation_distance_m", "m", "list", "propagation_distance", "free_prop_cm", "cm"),
    Quantity("slice_positions_m", "m", "list", "", "slice_pos_cm", "cm"),
    Quantity("magnification", "", "list", "", "magnification", ""),
)

# What damaged bits leave behind overflows in a square or a quotient.
POSSIBLE = (1e-18, 1e18)


def is_length(value: float | Pair | np.ndarray) -> bool:
    """Whether a number, or all of some, can be a length in m or an energy in eV: positive, and within `POSSIBLE`."""
    return bool(np.greater_equal(value, POSSIBLE[0]).all() and np.less_equal(value, POSSIBLE[1]).all())


@dataclass(frozen=True)
class Lengths:
    """Lengths and energy that a file states, each ``None`` where unknown; pairs are (y, x)."""

    energy_ev: float | None = None
    pixel_size_m: tuple[float, float] | None = None
    detector_pixel_size_m: tuple[float, float] | None = None
    distance_m: float | None = None
    source_distance_m: float | None = None
    propagation_distance_m: np.ndarray | None = None
    slice_positions_m: np.ndarray | None = None
    magnification: np.ndarray | None = None
    voltage_v: float | None = None

    def stated(self) -> tuple[Lengths, list[str]]:
        """Without what cannot be: 0, a negative number or NaN where nobody set it, damaged bits; and what that was."""
        given = {q: getattr(self, q.field) for q in LENGTHS if q.count != "list"}
        void = {q: value for q, value in given.items() if value is not None and not is_length(value)}
        notes = [f"{q.key}: the file says {value} {q.unit}, which is taken as unknown" for q, value in void.items()]
        return replace(self, **dict.fromkeys((q.field for q in void), None)), notes

    def overridden(self, by: Overrides) -> Lengths:
        """The same with the values that ``by`` gives."""
        if isinstance(by.distance, tuple) or isinstance(by.source_distance, tuple):
            return self._series(by)
        values: dict[str, Any] = {q.field: by.given(q.key) for q in LENGTHS if q.key != "propagation_distance"}
        pairs = {q.field: pair(values[q.field]) for q in LENGTHS if q.count == "pair"}
        # What was accelerated by a voltage has no other energy.
        mine = replace(self, voltage_v=None) if values["energy_ev"] is not None else self
        made = replace(mine, **{name: value for name, value in (values | pairs).items() if value is not None})
        if made.energy_ev is None and made.voltage_v is not None:
            made = replace(made, energy_ev=energy_ev(electron_wavelength_m(made.voltage_v)))
        return made if by.detector_pixel[1] is None else made._subtending(by.detector_pixel[1])

    def _subtending(self, angle_rad: tuple[float, float]) -> Lengths:
        """With detector pixels that subtend ``angle_rad``, at the distance, or at 1 m if it is unknown."""
        distance = self.distance_m or 1.0
        return replace(
            self, distance_m=distance, detector_pixel_size_m=(angle_rad[0] * distance, angle_rad[1] * distance)
        )

    def _series(self, by: Overrides) -> Lengths:
        """With the distances of a series of holograms in a cone beam."""
        source = by.source_distance if by.source_distance is not None else self.source_distance_m
        detector = by.distance if by.distance is not None else self.distance_m
        detector_pixel = by.detector_pixel[0] or self.detector_pixel_size_m
        if source is None or detector is None:
            lacking = "source_distance" if source is None else "distance"
            raise ConfigError(
                f"data.{lacking}",
                "absent: a series of distances in a cone beam needs it",
                remedy="give it; of a parallel beam, give 'data.propagation_distance'",
            )
        if by.propagation_distance is not None:
            raise ConfigError(
                "data.propagation_distance", "has no effect beside the distances of a series", remedy="leave it out"
            )
        effective, magnification, finest = fresnel_scaling(np.asarray(source), np.asarray(detector), detector_pixel)
        return Lengths(
            energy_ev=by.photon_energy or self.energy_ev,
            pixel_size_m=pair(by.pixel_size) or finest,
            detector_pixel_size_m=detector_pixel,
            propagation_distance_m=effective,
            magnification=magnification,
        )

    def geometry(self, window_px: tuple[int, int]) -> Geometry:
        """The geometry with the formulas."""
        return Geometry(
            window_px=window_px,
            energy_ev=self.energy_ev,
            detector_pixel_size_m=self.detector_pixel_size_m,
            distance_m=self.distance_m,
            source_distance_m=self.source_distance_m,
            given_pixel_size_m=self.pixel_size_m,
            stated_distance_m=first_distance(self.propagation_distance_m),
        )

    def propagated(self, choice: Propagation, window_px: tuple[int, int], notes: list[str]) -> Lengths:
        """With the propagation distance that the user chose."""
        if choice == "far_field":
            return replace(self, propagation_distance_m=None)
        if choice == "near_field":
            geometry = replace(self, propagation_distance_m=None).geometry(window_px)
            distance = geometry.effective_distance_m
            notes.append(f"near field: magnification {geometry.magnification:.6g}, effective distance {distance:.6g} m")
            return replace(self, propagation_distance_m=np.array([distance]))
        if choice is not None:
            return replace(self, propagation_distance_m=np.atleast_1d(np.array(choice, dtype=np.float64)))
        return self

    def completed(self, window_px: tuple[int, int], notes: list[str], *, scanned: bool) -> Lengths:
        """With the pixel size worked out, where it is not given and follows from the rest.

        That of a far-field pattern only for a scan: pictures of the whole field have energy, distance and detector
        pixel, too, and what their pixels are is for the forward model to say.
        """
        if self.pixel_size_m is not None or self.detector_pixel_size_m is None:
            return self
        near = self.propagation_distance_m is not None
        # In the near field the distance need not be known: a parallel beam has the detector's pixel.
        if not near and (not scanned or None in (self.energy_ev, self.distance_m)):
            return self
        regime: Regime = "near_field" if near else "far_field"
        size = self.geometry(window_px).pixel_size_m(regime)
        notes.append(pixel_size_note(size, regime))
        return replace(self, pixel_size_m=size)


def pixel_size_note(size: Pair, regime: Regime) -> str:
    """How a pixel size was computed."""
    near = "detector pixel / magnification, near field"
    how = near if regime == "near_field" else "wavelength * distance / (n * detector pixel), far field"
    return f"pixel size (y, x) = ({size[0]:.6g}, {size[1]:.6g}) m: {how}"


# Photons of such energies are not focused to such pixels, electrons are.
ELECTRON_EV, ELECTRON_PIXEL_M = (15e3, 1.5e6), 0.3e-9


def check_particles(lengths: Lengths, by: Overrides, path: str) -> None:
    """Ask what the beam is where an energy of X-rays comes with the pixels, or the angles, of electrons.

    Raises:
        DataError: The energy is more probably that of electrons.
    """
    energy, pixel = lengths.energy_ev, lengths.pixel_size_m
    if energy is None or lengths.voltage_v is not None or by.wavelength is not None:
        return
    # A file may hold the energy of photons of the electrons' wavelength, which is no round number.
    round_number = by.energy is not None or abs(energy / 1e4 - round(energy / 1e4)) < 1e-3
    small = (pixel is not None and min(pixel) < ELECTRON_PIXEL_M) or by.detector_pixel[1] is not None
    if not (round_number and small and ELECTRON_EV[0] <= energy <= ELECTRON_EV[1]):
        return
    photons, electrons = wavelength_m(energy), electron_wavelength_m(energy)
    raise DataError(
        path,
        "is the beam of electrons or of photons?",
        expected=f"electrons of {energy / 1e3:.6g} keV have a wavelength of {electrons * 1e12:.4g} pm, photons of "
        f"{photons * 1e12:.4g} pm",
        found=f"an energy of {energy / 1e3:.6g} keV and "
        + ("a detector pixel given as an angle" if pixel is None else f"object pixels of {min(pixel) * 1e12:.4g} pm"),
        remedy=f"of electrons give 'data.voltage: {energy / 1e3:.6g} kV' instead of the energy, of photons "
        f"'data.wavelength: {photons * 1e12:.6g} pm'",
    )
