"""The phase that directions of a beam add up to, against finite differences."""

import numpy as np
import pytest

from adorym.forward.steady_beam import Bend

STEP = 1e-4
EVERY = np.array([[0, 0], [3.0, -2.0], [-4.0, 5.0], [6.0, 6.5], [-6.0, -6.5], [1.0, 4.0]])  # reaches 6 and 6.5 px


@pytest.fixture
def bend():
    terms = Bend.along(EVERY)
    return terms.times(np.random.default_rng(2).normal(size=len(terms.coefficients)))


def derivative(f, places, axis):
    step = np.zeros((2, 1))
    step[axis] = STEP
    return (f(places + step) - f(places - step)) / (2 * STEP)


def test_slopes_are_those_of_the_phase(bend):
    found = bend.slopes(EVERY[:3])[:, 0]
    for axis in (0, 1):
        np.testing.assert_allclose(found[axis], derivative(bend.phase, EVERY[:3].T, axis), rtol=1e-6, atol=1e-8)


def test_expansion_holds_slopes_and_what_bends_more_than_in_the_middle(bend):
    def slope(axis):
        return lambda places: bend.slopes(places.T)[axis, 0]

    found, middle = bend.expansion(EVERY[:3]), np.zeros((2, 1))
    np.testing.assert_allclose(found[:2], bend.slopes(EVERY[:3])[:, 0])
    for row, (first, second) in zip(found[2:], ((0, 0), (0, 1), (1, 1)), strict=True):
        here, there = (derivative(slope(first), places, second) for places in (EVERY[:3].T, middle))
        np.testing.assert_allclose(row, here - there, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("direction", [(1, 0), (0, -1), (1, 1)])
def test_beyond_the_scan_it_is_of_second_order_and_goes_on_smoothly(bend, direction):
    edge = np.array([[6.0], [-6.5 if direction[1] < 0 else 6.5]])
    along = np.array(direction)[:, None] * np.linspace(0, 8, 9)
    values = bend.phase(edge + along)
    assert np.abs(np.diff(values, 3)).max() < 1e-9 * np.abs(values).max()
    inward, outward = (bend.phase(edge + sign * STEP * np.array(direction)[:, None]) for sign in (-1, 1))
    assert outward - bend.phase(edge) == pytest.approx(bend.phase(edge) - inward, rel=1e-2)
