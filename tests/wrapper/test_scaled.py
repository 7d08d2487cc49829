"""A complex array times a real one."""

import numpy as np
import pytest
from backends import BACKEND_PARAMS, make_backend

from adorym.wrapper.fused.scaled import scaled


@pytest.mark.parametrize("backend", BACKEND_PARAMS)
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 7)])
def test_value_gradients_and_derivative(backend, shape):
    xp, rng = make_backend(backend), np.random.default_rng(2)
    a, along, weight = (rng.normal(size=shape) + 1j * rng.normal(size=shape) for _ in range(3))
    factor = rng.random(shape)
    tree = {"a": xp.asarray(a), "factor": xp.asarray(factor)}
    np.testing.assert_allclose(xp.to_numpy(scaled(xp, tree["a"], tree["factor"])), a * factor, rtol=1e-12)

    def real(made):
        return xp.sum(xp.real(made * xp.asarray(weight.conj()))), None

    _, _, slopes = xp.value_and_grad(lambda t: real(scaled(xp, t["a"], t["factor"])))(tree)
    np.testing.assert_allclose(xp.to_numpy(slopes["a"]), weight * factor, rtol=1e-10)
    np.testing.assert_allclose(xp.to_numpy(slopes["factor"]), (a * weight.conj()).real, rtol=1e-10)
    _, change = xp.jvp(
        lambda t: xp.real(scaled(xp, t["a"], t["factor"])), tree, {"a": xp.asarray(along), "factor": 0 * tree["factor"]}
    )
    np.testing.assert_allclose(xp.to_numpy(change), along.real * factor, rtol=1e-10)


@pytest.mark.parametrize("backend", BACKEND_PARAMS)
def test_real_and_broadcast_factors(backend):
    xp, rng = make_backend(backend), np.random.default_rng(3)
    real, wave = rng.normal(size=(3, 4)), rng.normal(size=(3, 4)) + 1j * rng.normal(size=(3, 4))
    for a, factor in ((real, real), (wave, real[0]), (wave, wave), (real, wave)):
        found = xp.to_numpy(scaled(xp, xp.asarray(a), xp.asarray(factor)))
        np.testing.assert_allclose(found, a * factor, rtol=1e-12)
