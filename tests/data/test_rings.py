"""Filters against rings: stripes go, the sample stays, and what they need."""

from __future__ import annotations

import numpy as np
import pytest

from adorym.data.rings import FourierWavelet, Sorting, WithoutRings


@pytest.fixture
def sinogram():
    """``(a, y, x)`` of a disc off the axis, and the same with stripes."""
    theta = np.linspace(0, np.pi, 90, endpoint=False)
    x = np.arange(64) - 31.5
    clean = np.sqrt(np.maximum(14.0**2 - (x - 12 * np.sin(theta)[:, None]) ** 2, 0)) / 14
    clean = np.stack([clean, 0.5 * clean], axis=1)
    stripes = np.zeros((2, 64))
    stripes[0, [20, 31, 45]] = (0.2, -0.15, 0.2)
    return theta, clean, clean + stripes


def of(kind: str):
    return Sorting(width=7) if kind == "sorting" else pytest.importorskip("pywt") and FourierWavelet()


@pytest.mark.parametrize("kind", ["sorting", "fourier_wavelet"])
def test_stripes_go_and_the_sample_stays(kind, sinogram):
    theta, clean, striped = sinogram
    found = of(kind).filtered(striped, theta)
    assert found.shape == clean.shape
    middle = slice(8, -8)
    before, after = (np.linalg.norm((a - clean).mean(0)[:, middle]) for a in (striped, found))
    assert after < (0.4 if kind == "sorting" else 0.6) * before
    assert np.linalg.norm(of(kind).filtered(clean, theta) - clean) < 0.1 * np.linalg.norm(clean)


def test_the_order_of_the_angles_does_not_matter(sinogram):
    theta, _, striped = sinogram
    order = np.random.default_rng(0).permutation(len(theta))
    found = Sorting().filtered(striped[order], theta[order])
    np.testing.assert_allclose(found, Sorting().filtered(striped, theta)[order])


def test_counts_come_back():
    integrals = np.array([[[0.0, 0.5]]])
    np.testing.assert_allclose(WithoutRings(integrals, 100.0).read(np.array([0])), [[[100, 100 / np.e]]], rtol=1e-6)


def test_what_the_wavelet_filter_needs(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"'fourier_wavelet' needs the package 'PyWavelets'.*pip install PyWavelets"):
        FourierWavelet()


def test_unknown_wavelet():
    pytest.importorskip("pywt")
    with pytest.raises(ValueError, match="no such wavelet"):
        FourierWavelet(wavelet="db0")
