"""The loss in one pass is the loss, and so is its gradient."""

import numpy as np
import pytest

from adorym.losses.counting import Huber, Intensity, LeastSquares, Poisson, Student
from adorym.wrapper import get_backend
from adorym.wrapper.fused.hologram import Misfit

LOSSES = [LeastSquares(), LeastSquares(saturation=6.0), Poisson(), Intensity(), Huber(threshold=0.8), Student()]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{loss.kind}-{loss.saturation}")
@pytest.mark.parametrize("backend", ["torch", "autograd"])
def test_misfit_is_the_loss(loss, backend):
    xp, rng = get_backend(backend, device="cpu", precision="double"), np.random.default_rng(4)
    counts, predicted = rng.poisson(4.0, (2, 5, 7)).astype(float), xp.asarray(rng.uniform(0.5, 9.0, (2, 5, 7)))
    target, noise = loss.target(counts, 0.01), loss.fused_noise(0.01)

    def plain(tree):
        return loss.value(xp, tree["i"], xp.asarray(target), None, 0.01), None

    def fused(tree):
        return 1.0 * xp.host_operation(Misfit(target, noise, 0.01), tree["i"]), None

    (value, _, slope), (expected, _, right) = (xp.value_and_grad(f)({"i": predicted}) for f in (fused, plain))
    assert value == pytest.approx(expected)
    assert xp.to_numpy(slope["i"]) == pytest.approx(xp.to_numpy(right["i"]))
