"""Classical phase retrieval finds weak objects in data that it did not make."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_holograms import series

from adorym.errors import ConfigError
from adorym.initializers.phase_contrast import BackPropagation, ContrastTransfer, Paganin, TransportOfIntensity
from adorym.optics.geometry import Grid
from adorym.simulate.holograms import Holography
from adorym.simulate.noise import Noise
from adorym.simulate.phantoms import Phantom

KAPPA = 20.0


class Blobs(Phantom):
    """Smooth weak blobs; ``kappa`` None: absorption elsewhere than phase."""

    def __init__(self, phase: float, kappa: float | None) -> None:
        object.__setattr__(self, "phase", phase)
        object.__setattr__(self, "kappa", kappa)

    def transmission(self, grid: Grid, rng: np.random.Generator) -> np.ndarray:
        y, x = (np.linspace(-1, 1, n) for n in grid.window_px)
        lag = self.phase * np.exp(-30 * ((y[:, None] - 0.1) ** 2 + (x + 0.2) ** 2))
        other = 0.03 * np.exp(-30 * ((y[:, None] + 0.3) ** 2 + (x - 0.3) ** 2))
        return np.exp(-(lag / self.kappa if self.kappa else other) - 1j * lag)


def found(initializer, phase, kappa, distances=(0.1, 0.2, 0.4), **changes):
    fields = {"window_px": (48, 54), "detector_pixel": 1e-6, "distances": distances, "noise": Noise(poisson=False)}
    experiment = Holography(phantom=Blobs(phase, kappa), **(fields | changes))
    data = experiment.run(0)
    true = data.truth["object"]
    shape = (true.shape[0] + 24, true.shape[1] + 24)
    made = initializer.make(data, shape, np.random.default_rng(0))
    return made[12:-12, 12:-12], true


def lost(a, b):
    """Part of the variance of ``b`` that ``a`` does not tell, means left out."""
    a, b = a - a.mean(), b - b.mean()
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.parametrize("logarithm", [True, False])
def test_contrast_transfer_tells_absorption_from_phase(logarithm):
    made, true = found(ContrastTransfer(regularization=1e-4, logarithm=logarithm), 0.1, None)
    assert lost(np.abs(made), np.abs(true)) < 0.1
    assert lost(np.angle(made), np.angle(true)) < 0.3


@pytest.mark.parametrize(
    "initializer",
    [
        ContrastTransfer(sample="homogeneous", kappa=KAPPA, regularization=1e-5),
        TransportOfIntensity(sample="homogeneous", kappa=KAPPA, regularization=1e-5),
        Paganin(kappa=KAPPA),
    ],
    ids=lambda i: i.kind,
)
@pytest.mark.parametrize("distances", [(0.1,), (0.05, 0.1)])
def test_one_material(initializer, distances):
    made, true = found(initializer, 0.3, KAPPA, distances)
    assert lost(np.angle(made), np.angle(true)) < 0.1
    assert lost(np.log(np.abs(made)), np.log(np.abs(true))) < 0.1


def test_paganin_holds_for_strong_absorption():
    made, true = found(Paganin(kappa=2.0), 1.5, 2.0, (0.1,))
    assert lost(np.log(np.abs(made)), np.log(np.abs(true))) < 0.1


def test_pictures_of_several_magnifications_are_brought_to_one_pixel():
    made, true = found(
        ContrastTransfer(sample="homogeneous", kappa=KAPPA, regularization=1e-3), 0.3, KAPPA,
        distances=(0.1, 0.09), source_distances=(0.1, 0.11), detector_pixel=2e-6,
    )  # fmt: skip
    assert lost(np.angle(made), np.angle(true)) < 0.1


def test_back_propagation_focuses():
    made, true = found(BackPropagation(), 0.3, KAPPA, (0.4,))
    start = found(BackPropagation(), 0.3, KAPPA, (1e-4,))[0]
    assert lost(np.angle(made), np.angle(true)) < 0.95 * lost(np.angle(start), np.angle(true))  # the twin image stays


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="kappa: absent: a homogeneous sample needs it"):
        ContrastTransfer(sample="homogeneous")
    with pytest.raises(ValueError, match="kappa: has no effect for this sample"):
        TransportOfIntensity(kappa=3.0)
    with pytest.raises(ConfigError, match="needs one angle and a thin object; found an object of"):
        Paganin(kappa=3.0).make(series(), (30, 30, 4), np.random.default_rng(0))
