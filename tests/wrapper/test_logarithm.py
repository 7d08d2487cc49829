"""The logarithm of the compiled losses against that of NumPy."""

import numpy as np
import pytest
from numba import njit

from adorym.wrapper.fused.lanes import FAST
from adorym.wrapper.fused.logarithm import logarithm


@njit(error_model="numpy", fastmath=set(FAST))
def logarithms(x, found):
    for k in range(x.size):
        found[k] = logarithm(x[k])


@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_logarithm(real):
    rng, limits = np.random.default_rng(1), np.finfo(real)
    spread = np.exp(rng.uniform(np.log(limits.tiny), np.log(limits.max), 20_000))
    near = 1 + rng.normal(size=20_000) * np.exp(rng.uniform(-30, -1, 20_000))  # where its value is small
    powers = 2.0 ** np.arange(limits.minexp + 1, limits.maxexp)
    x = np.concatenate([spread, near, powers, powers * np.sqrt(0.5), [1, limits.max, limits.tiny]]).astype(real)
    found = np.empty_like(x)
    logarithms(x, found)
    expected = np.log(x.astype(np.longdouble))
    error = np.abs(found - expected) / np.maximum(np.abs(expected), limits.tiny)
    assert error.max() < 3 * limits.eps


@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_what_is_not_finite_is_not_hidden(real):
    x = np.array([np.inf, 0.0, -0.0, np.nan, -1.0, -1e-3, -np.inf], real)
    found = np.empty_like(x)
    logarithms(x, found)
    np.testing.assert_array_equal(found, [np.inf, -np.inf, -np.inf, *[np.nan] * 4])
