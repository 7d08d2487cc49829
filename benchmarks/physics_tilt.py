"""A crystal of leaning columns in a beam of 80 kV electrons: its tilt, and a lens that opens wider than believed.

Truth is that of `physics_electrons`: each of eight layers has its atoms where the columns lead them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from figures import Figure
from physics_electrons import PIXEL_M, WAVELENGTH_M, layer, lens, patterns
from physics_runs import measured_counts, run
from physics_waves import WINDOW, raster, seen

LEAN_RAD = np.array([15e-3, -10e-3])
LAYERS, GAP_M = 8, 10e-10


def object_tilt() -> Iterator[Figure]:
    """Four slices that are alike, for eight layers; the relative error of the tilt, which starts at zero."""
    rng = np.random.default_rng(18)
    positions = raster(12, 4.0, rng)
    side = int(positions.max()) + WINDOW + 8
    middle = (LAYERS - 1) / 2
    layers = [
        layer(side, 0.0, np.random.default_rng(19), tuple((z - middle) * GAP_M * np.tan(LEAN_RAD)), 4 / LAYERS)
        for z in range(LAYERS)
    ]
    counts = rng.poisson(patterns(layers, positions, GAP_M))
    known = {
        "pixel_size_m": (PIXEL_M,) * 2,
        "energy_ev": 1.239841984e-6 / WAVELENGTH_M,
        "start_probe": seen(lens())[None],
    }
    data = measured_counts(counts, positions, **known)
    made = run(
        data,
        run={"epochs": 40, "threads": 1},
        forward_model={"kind": "multislice", "slices": 4, "spacing": f"{2 * GAP_M} m"},
        parameters={"probe": {"refine": False}, "object_tilt": True},
        regularizers=[{"kind": "slice_smoothness", "weight": 0.1}],
    )
    # The beam leans the other way than the columns.
    found = -made.problem.present()["object_tilt"][0]
    yield Figure("object_tilt.relative_error", float(np.linalg.norm(found - LEAN_RAD) / np.linalg.norm(LEAN_RAD)), 0.1)
