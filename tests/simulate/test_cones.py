"""The cone scanned at several angles: what its finer grid must not change."""

from __future__ import annotations

import numpy as np
import pytest

from adorym.simulate import cones
from adorym.simulate.cones import ConePtychoTomography
from adorym.simulate.noise import Noise


def blob(shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """A smooth specimen off the axis: any grid samples it well."""
    y, x, z = np.meshgrid(*((np.arange(n) - (n - 1) / 2) / min(shape) for n in shape), indexing="ij")
    return (np.exp(-((y - 0.05) ** 2 + (x + 0.1) ** 2 + (z - 0.08) ** 2) / 0.02) * (1 + 0.03j)).astype(np.complex64)


@pytest.mark.parametrize("finer", [2, 3])
def test_grid_of_the_simulation_moves_nothing(monkeypatch, finer):
    """Middles of volume, scan and probe stay where they are: half a fine voxel changes the patterns by 2 %."""
    monkeypatch.setattr(cones, "cone_with_grains", blob)

    def amplitudes(oversample: int) -> np.ndarray:
        settings = {"volume_px": 24, "window_px": 16, "angles": 2, "probe_px": 3.0, "phase": 0.3, "tilt_error": 0.02}
        made = ConePtychoTomography(**settings, oversample=oversample, noise=Noise(poisson=False)).run(0)
        return np.sqrt(made.patterns.read(np.arange(made.n_patterns)))

    one, other = amplitudes(1), amplitudes(finer)
    assert np.linalg.norm(one - other) < 2e-3 * np.linalg.norm(one)
