"""Probe modes are compared after making them orthogonal and removing what they share with the object."""

import numpy as np
import pytest

from adorym.errors import DataError
from adorym.metrics import fourier_shift, orthogonal_modes, power_fractions, probe_fidelity

SHAPE = (40, 32)
POWERS = np.array([0.7, 0.2, 0.1])


def modes() -> np.ndarray:
    """Three orthogonal modes ``(3, y, x)`` with the powers ``POWERS``."""
    y, x = (np.arange(n) - n / 2 for n in SHAPE)
    y, x = y[:, None], x[None, :]
    beam = np.exp(-(x**2 + y**2) / 40 + 0.03j * (x**2 + 1.3 * y**2))
    flat = np.linalg.qr(np.stack([(beam * f).ravel() for f in (1, x * y / 25, (x**2 - y**2) / 25)], -1))[0]
    return flat.T.reshape(3, *SHAPE) * np.sqrt(POWERS)[:, None, None]


def mixed(seed: int = 0) -> np.ndarray:
    """The same mutual intensity as three other modes."""
    rng = np.random.default_rng(seed)
    unitary = np.linalg.qr(rng.normal(size=(3, 3)) + 1j * rng.normal(size=(3, 3)))[0]
    return np.tensordot(unitary, modes(), 1)


def test_power_fractions_do_not_depend_on_the_mixture():
    np.testing.assert_allclose(power_fractions(mixed()), POWERS, atol=1e-9)
    assert power_fractions(5 * mixed()).sum() == pytest.approx(1)


def test_orthogonal_modes_are_orthogonal_and_keep_the_mutual_intensity():
    before, after = mixed(), orthogonal_modes(mixed())
    flat, other = after.reshape(3, -1), before.reshape(3, -1)
    np.testing.assert_allclose(flat.conj() @ flat.T, np.diag(POWERS), atol=1e-9)
    np.testing.assert_allclose(flat.T @ flat.conj(), other.T @ other.conj(), atol=1e-12)


def test_fidelity_is_free_of_what_the_object_can_take():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    moved = fourier_shift(mixed(), np.array([1.3, -0.6])) * np.exp(1j * (0.4 + 0.05 * y - 0.08 * x)) * 12
    assert probe_fidelity(moved, modes()) == pytest.approx(1, abs=1e-4)


def test_fidelity_is_the_overlap_of_the_strongest_modes():
    first, second, _ = modes() / np.sqrt(POWERS)[:, None, None]
    assert probe_fidelity(0.8 * first + 0.6j * second, first) == pytest.approx(0.64, abs=0.02)


def test_fidelity_of_another_probe_is_low():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    assert probe_fidelity(np.exp(2j * np.sin(x) * np.cos(y)), modes()[0]) < 0.5


def test_different_windows_are_refused():
    with pytest.raises(DataError, match="probe: the windows differ"):
        probe_fidelity(modes()[:, :-2], modes())


@pytest.mark.parametrize("bad", [np.zeros((2, 8, 8)), np.ones(5), np.full((8, 8), np.nan)])
def test_empty_probe_is_refused(bad):
    with pytest.raises(DataError, match="probe: cannot be compared"):
        power_fractions(bad)
