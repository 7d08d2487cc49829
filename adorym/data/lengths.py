"""Lengths and energy of an experiment: one table of what files and users call them, and how they follow from another.

`LENGTHS` says of each its name in a `Dataset`, in the section ``data`` of a configuration and in a map of an unknown
file, in the package's own layout, and the units. Reading, writing and overriding go by it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from adorym.data.overrides import Overrides, Propagation, pair
from adorym.errors import ConfigError
from adorym.optics.geometry import Geometry, fresnel_scaling


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
    Quantity("pixel_size_m", "m", "pair", "pixel_size", "psize_cm", "cm"),
    Quantity("detector_pixel_size_m", "m", "pair", "detector_pixel_size", "detector_pixel_size_m", "m"),
    Quantity("distance_m", "m", "one", "distance", "distance_m", "m"),
    Quantity("source_distance_m", "m", "one", "source_distance", "source_distance_m", "m"),
    Quantity("propagation_distance_m", "m", "list", "propagation_distance", "free_prop_cm", "cm"),
    Quantity("slice_positions_m", "m", "list", "", "slice_pos_cm", "cm"),
    Quantity("magnification", "", "list", "", "magnification", ""),
)


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

    def overridden(self, by: Overrides) -> Lengths:
        """The same with the values that ``by`` gives."""
        if isinstance(by.distance, tuple) or isinstance(by.source_distance, tuple):
            return self._series(by)
        values: dict[str, Any] = {q.field: by.given(q.key) for q in LENGTHS if q.key != "propagation_distance"}
        pairs = {q.field: pair(values[q.field]) for q in LENGTHS if q.count == "pair"}
        return replace(self, **{name: value for name, value in (values | pairs).items() if value is not None})

    def _series(self, by: Overrides) -> Lengths:
        """With the distances of a series of holograms in a cone beam."""
        source = by.source_distance if by.source_distance is not None else self.source_distance_m
        detector = by.distance if by.distance is not None else self.distance_m
        detector_pixel = pair(by.detector_pixel_size) or self.detector_pixel_size_m
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
        )

    def propagated(self, choice: Propagation, window_px: tuple[int, int], notes: list[str]) -> Lengths:
        """With the propagation distance that the user chose."""
        if choice == "far_field":
            return replace(self, propagation_distance_m=None)
        if choice == "near_field":
            geometry = self.geometry(window_px)
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
        geometry, near = self.geometry(window_px), self.propagation_distance_m is not None
        needed: tuple[float | None, ...] = (self.energy_ev, self.distance_m)
        if near:  # a parallel beam has the detector's pixel, whatever the distance
            needed = () if self.source_distance_m is None else (self.distance_m,)
        if None in needed or not (near or scanned):
            return self
        size = geometry.pixel_size_m("near_field" if near else "far_field")
        how = (
            "detector pixel / magnification, near field"
            if near
            else "wavelength * distance / (n * detector pixel), far field"
        )
        notes.append(f"pixel size (y, x) = ({size[0]:.6g}, {size[1]:.6g}) m: {how}")
        return replace(self, pixel_size_m=size)
