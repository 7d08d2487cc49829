"""A crystal of leaning columns in a beam of 80 kV electrons: its tilt, and a lens that opens wider than believed.

Truth is that of `physics_electrons`: each of eight layers has its atoms where the columns lead them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from figures import Figure
from physics_electrons import HALF_ANGLE, PIXEL_M, TRUE, WAVELENGTH_M, layer, lens, patterns
from physics_runs import measured_counts, run
from physics_waves import WINDOW, raster, seen

from adorym.engine.outcome import outcome

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
        run={"epochs": 30, "threads": 1},
        forward_model={"kind": "multislice", "slices": 4, "spacing": f"{2 * GAP_M} m"},
        parameters={"probe": {"refine": False}, "object_tilt": True},
        regularizers=[{"kind": "slice_smoothness", "weight": 10.0}],
    )
    # The beam leans the other way than the columns.
    found = -made.problem.present()["object_tilt"][0]
    yield Figure("object_tilt.relative_error", float(np.linalg.norm(found - LEAN_RAD) / np.linalg.norm(LEAN_RAD)), 0.1)


def semi_angle() -> Iterator[Figure]:
    """A lens of 25 mrad, believed to have 23, with aberrations: relative errors of the angle and of the defocus."""
    rng = np.random.default_rng(20)
    positions = raster(12, 4.0, rng)
    side = int(positions.max()) + WINDOW + 8
    counts = rng.poisson(patterns([layer(side, 0.0, rng)], positions))
    data = measured_counts(counts, positions, pixel_size_m=(PIXEL_M,) * 2, energy_ev=1.239841984e-6 / WAVELENGTH_M)
    aperture = {"kind": "aperture", "outer_radius": "23 mrad", "defocus": "-11 nm"}
    made = run(
        data,
        run={"epochs": 40, "threads": 1},
        parameters={
            "probe": {"initial": aperture, "refine": False},
            "aberrations": {"order": 3},
            "semi_angle": True,
        },
    )
    found = outcome(made, judged=False).parameters
    yield Figure("semi_angle.relative_error", abs(float(found["semi_angle"].value[0]) / HALF_ANGLE - 1), 0.02)
    yield Figure("semi_angle.relative_error_of_C10", abs(float(found["C10"].value[0]) / TRUE["C10"] - 1), 0.1)
