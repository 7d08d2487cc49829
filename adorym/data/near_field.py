"""Data as a near-field model sees them.

Whether patterns are in the near or in the far field is for the model to say: files of both state an energy, a distance
and the detector's pixel. Readers take the far field unless a propagation distance is stated; what they computed from it
is computed anew here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from adorym.data.dataset import Dataset
from adorym.data.lengths import pixel_size_note
from adorym.errors import GeometryError
from adorym.optics.geometry import Geometry


def in_near_field(dataset: Dataset) -> Dataset:
    """The data with effective distance and pixel size by the Fresnel scaling theorem, where they are not stated.

    Positions that were measured in meters follow the pixel size.
    """
    geometry, changes, notes = Geometry.of(dataset), dict[str, Any](), list(dataset.notes)
    stated = dataset.propagation_distance_m is not None
    if not stated and geometry.distance_m is not None:
        distance = geometry.effective_distance_m
        changes["propagation_distance_m"] = np.array([distance])
        notes.append(f"near field: magnification {geometry.magnification:.6g}, effective distance {distance:.6g} m")
    old = dataset.pixel_size_m
    if old is None or (not stated and "pixel_size_m" in dataset.computed):
        try:
            new = geometry.near_field_pixel_size_m
        except GeometryError:  # the model says what it needs
            return dataset.with_(**changes, notes=tuple(notes))
        changes["pixel_size_m"] = new
        if old is not None and dataset.probe_positions_px is not None and "probe_positions_px" in dataset.computed:
            ratio, first = np.asarray(old) / np.asarray(new), np.nanmin(dataset.probe_positions_px, axis=0)
            changes["probe_positions_px"] = (dataset.probe_positions_px - first) * ratio + first
        notes = [note for note in notes if old is None or note != pixel_size_note(old, "far_field")]
        notes.append(pixel_size_note(new, "near_field"))
    return dataset.with_(**changes, notes=tuple(notes))
