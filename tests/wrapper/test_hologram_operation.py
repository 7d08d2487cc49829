"""Holograms of waves of every kind of size: what they show, and their adjoint, with one thread and with several."""

from __future__ import annotations

import numpy as np
import pytest
from laws import noise, relative_error
from scipy import ndimage

from adorym.wrapper import get_backend
from adorym.wrapper.fused.hologram import IDENTITY, Camera, Holograms

# Full vectors along both axes, along one, along none; a prime without a butterfly.
SHAPES = [(32, 48), (48, 37), (22, 32), (38, 46)]
DISTANCES = np.array([0.4, 0.7, 1.1])
MAPS = np.array([IDENTITY, [1.01, 0.02, 0.3, -0.015, 0.99, -0.4], [0.98, 0.0, 1.2, 0.01, 1.0, 0.1]])


def rates(shape):
    return tuple(30.0 * np.fft.fftfreq(n) ** 2 for n in shape)


def made(shape, window, moving=(False, True, True), threads=1, precision="double"):
    xp = get_backend("autograd", precision=precision, threads=threads)
    return Holograms(xp, Camera(window, rates(shape), np.array(moving)))


def inputs(shape):
    rng = np.random.default_rng(3)
    return 1 + 0.3 * noise(rng, shape, True), DISTANCES.copy(), MAPS.copy()


def whole(wave, distance):
    """Intensity on the whole grid of the wave."""
    r_y, r_x = rates(wave.shape)
    kernel = np.exp(-1j * distance * (r_y[:, None] + r_x))
    return np.abs(np.fft.ifft2(kernel * np.fft.fft2(wave))) ** 2


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_holograms_show(shape):
    """The reference is cut out; others are read from a periodic cubic spline, by another library."""
    wave, distances, maps = inputs(shape)
    window = (shape[0] - 12, shape[1] - 14)
    found = made(shape, window).forward(wave, distances, maps)
    np.testing.assert_allclose(found[0], whole(wave, DISTANCES[0])[6:-6, 7:-7], rtol=1e-10)
    y, x = (np.arange(n) - (n - 1) / 2 for n in window)
    for k in (1, 2):
        a = maps[k].reshape(2, 3)
        places = a[:, 0, None, None] * y[:, None] + a[:, 1, None, None] * x + a[:, 2, None, None]
        places += (np.array(shape)[:, None, None] - 1) / 2
        expected = ndimage.map_coordinates(whole(wave, DISTANCES[k]), places, order=3, mode="grid-wrap")
        np.testing.assert_allclose(found[k], np.maximum(expected, 0), atol=1e-9)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("margin", [(12, 14), (11, 12), (0, 0)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients(monkeypatch, shape, margin, threads):
    """Along random directions, by the wave, the distances and the maps."""
    monkeypatch.setattr("adorym.wrapper.fused.shares.LEAST_PIXELS", 1)
    window, rng = tuple(n - m for n, m in zip(shape, margin, strict=True)), np.random.default_rng(4)
    arrays, upstream = inputs(shape), rng.normal(size=(3, *window))
    operation = made(shape, window, threads=threads)
    operation.forward(*arrays)
    gradients = operation.adjoint(upstream.copy(), arrays, (True, True, True))
    for i, (array, gradient) in enumerate(zip(arrays, gradients, strict=True)):
        way = noise(rng, array.shape, array.dtype.kind == "c")
        if i == 2:
            way[0] = 0  # the reference does not move
        ends = []
        for step in (1e-5, -1e-5):
            moved = [a + step * way if a is array else a for a in arrays]
            ends.append(np.sum(upstream * made(shape, window).forward(*moved)))
        expected = (ends[0] - ends[1]) / 2e-5
        assert np.sum(gradient.real * way.real + gradient.imag * way.imag) == pytest.approx(
            expected, rel=2e-6, abs=1e-4
        )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_single_precision(shape):
    window = (shape[0] - 12, shape[1] - 14)
    found = []
    for precision, real in (("single", np.float32), ("double", np.float64)):
        wave, distances, maps = inputs(shape)
        arrays = (wave.astype(np.result_type(real, np.complex64)), distances.astype(real), maps.astype(real))
        operation = made(shape, window, precision=precision)
        result = operation.forward(*arrays)
        gradients = operation.adjoint(np.ones((3, *window), real), arrays, (True, True, True))
        assert [g.dtype for g in gradients] == [a.dtype for a in arrays] and result.dtype == real
        found.append((result, *gradients))
    for a, b in zip(*found, strict=True):
        assert relative_error(a, b) < 1e-4
