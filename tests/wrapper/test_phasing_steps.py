"""Projections of phasing in one pass: what they give, on every backend."""

import numpy as np
import pytest
from backends import BACKEND_PARAMS, make_backend

from adorym.wrapper.fused.phasing import relaxed, with_modulus


@pytest.fixture(params=BACKEND_PARAMS)
def xp(request):
    return make_backend(request.param)


@pytest.fixture
def waves():
    rng = np.random.default_rng(3)
    return rng.normal(size=(2, 3, 4, 5)) + 1j * rng.normal(size=(2, 3, 4, 5))


@pytest.mark.parametrize("measured", ["all", "some"])
def test_the_modulus_is_the_measured_one_and_phases_stay(xp, waves, measured):
    rng = np.random.default_rng(4)
    modulus, good = rng.uniform(0.5, 2, (3, 4, 5)), rng.random((3, 4, 5)) < 0.7
    given = xp.asarray(waves[:, ::-1] if measured == "some" else waves)  # of any layout
    before = xp.to_numpy(given).copy()
    found = xp.to_numpy(
        with_modulus(xp, given, xp.asarray(modulus), None if measured == "all" else xp.asarray(good), 1e-12)
    )
    expected = modulus * np.exp(1j * np.angle(before))
    expected = expected if measured == "all" else np.where(good, expected, before)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_where_there_is_nothing_the_modulus_stays_finite(xp):
    found = xp.to_numpy(with_modulus(xp, xp.zeros((1, 2, 2, 2), complex_values=True), xp.ones((2, 2, 2)), None, 1e-12))
    assert (found == 0).all()


@pytest.mark.parametrize("parts", [(0.0, 0.0), (1.0, -0.9), (0.9, -0.8)])
def test_outside_of_the_support(xp, waves, parts):
    support, found = np.random.default_rng(5).random(waves.shape) < 0.5, waves[::-1, :, ::-1] + 0.5
    given = [xp.asarray(a) for a in (support, found, waves)]
    made = xp.to_numpy(relaxed(xp, *given, parts))
    np.testing.assert_allclose(made, np.where(support, found, parts[0] * waves + parts[1] * found), rtol=1e-12)
    for array, kept in zip(given, (support, found, waves), strict=True):  # an algorithm may still need them
        np.testing.assert_array_equal(xp.to_numpy(array), kept)


def test_one_support_for_all_starts(xp, waves):
    support, found = np.random.default_rng(6).random(waves.shape[1:]) < 0.5, waves[::-1]
    made = relaxed(xp, *(xp.asarray(a) for a in (support, found, waves)), (1.0, -0.9))
    np.testing.assert_allclose(xp.to_numpy(made), np.where(support, found, waves - 0.9 * found), rtol=1e-12)
