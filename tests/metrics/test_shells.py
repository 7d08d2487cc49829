"""Transfer function and shell correlation: equal volumes agree, unrelated phases leave one over root n."""

from __future__ import annotations

import numpy as np
import pytest

from adorym.metrics.shells import TransferFunction, shell_correlation, transfer_function

SHAPE = (16, 18, 20)


def modulus_of(obj: np.ndarray) -> np.ndarray:
    return np.abs(np.fft.fftshift(np.fft.fftn(obj, norm="ortho")))


def test_equal_starts_transfer_everything():
    obj = np.random.default_rng(0).normal(size=SHAPE) + 0j
    found = transfer_function(np.stack([obj] * 4), modulus_of(obj))
    np.testing.assert_allclose(found.value, 1, rtol=1e-6)
    assert not found.crosses and found.half_period_px == pytest.approx(0.5 / found.frequency[-1])


@pytest.mark.parametrize("n", [4, 16, 64])
def test_unrelated_phases_leave_one_over_root_n(n):
    rng = np.random.default_rng(1)
    waves = np.exp(2j * np.pi * rng.random((n, *SHAPE)))
    found = transfer_function(np.fft.ifftn(waves, axes=(1, 2, 3), norm="ortho"), np.ones(SHAPE))
    # The mean length of a sum of n unit vectors is sqrt(pi n) / 2.
    assert found.value[3:].mean() == pytest.approx(np.sqrt(np.pi / n) / 2, rel=0.1)
    assert found.crosses == bool(found.value.min() < np.exp(-1))


def test_shells_agree_up_to_where_noise_begins():
    rng = np.random.default_rng(2)
    truth = rng.normal(size=(24, 24, 24))
    spectrum = np.fft.fftn(truth)
    axes = np.meshgrid(*(np.fft.fftfreq(24),) * 3, indexing="ij")
    far = np.sqrt(sum(a**2 for a in axes)) > 0.25
    other = np.fft.ifftn(np.where(far, np.fft.fftn(rng.normal(size=(24, 24, 24))), spectrum)).real
    found = shell_correlation(truth, other)
    assert found.correlation[found.frequency < 0.22].min() > 0.99
    assert 0.5 / found.half_period == pytest.approx(0.25, abs=0.05)
    assert shell_correlation(truth, truth).resolved


def test_starts_that_agree_nowhere_have_no_resolution():
    found = TransferFunction(np.array([0.0, 0.25, 0.5]), np.array([0.2, 0.3, 0.1]))
    assert found.crosses and found.crossing == 0 and found.half_period_px == np.inf
