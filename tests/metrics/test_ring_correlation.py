"""Fourier ring correlation: 1 for equal images, the known cut-off for blurred ones, in physical frequency."""

import numpy as np
import pytest

from adorym.errors import DataError
from adorym.metrics import half_bit_threshold, ring_correlation

SHAPE = (96, 64)
RNG = np.random.default_rng(4)
IMAGE = RNG.normal(size=SHAPE) + 1j * RNG.normal(size=SHAPE)


def blurred(image: np.ndarray, cut: float, pixel: tuple[float, float], seed: int = 0) -> np.ndarray:
    """``image`` up to the physical frequency ``cut``, and noise of the same strength beyond."""
    q = np.hypot(np.fft.fftfreq(SHAPE[0], pixel[0])[:, None], np.fft.fftfreq(SHAPE[1], pixel[1]))
    other = np.fft.fft2(np.random.default_rng(seed).normal(size=SHAPE))
    return np.fft.ifft2(np.where(q < cut, np.fft.fft2(image), other))


def test_equal_images_correlate_fully_up_to_the_pixel():
    rings = ring_correlation(IMAGE, (0.3 + 2j) * IMAGE / abs(0.3 + 2j) * np.exp(-1j * np.angle(0.3 + 2j)), (2.0, 2.0))
    np.testing.assert_allclose(rings.correlation, 1)
    assert rings.resolved
    assert rings.half_period == pytest.approx(2.0)


def test_independent_images_do_not_correlate():
    rings = ring_correlation(IMAGE, RNG.normal(size=SHAPE) + 1j * RNG.normal(size=SHAPE))
    assert np.abs(rings.correlation[8:]).max() < 0.25
    assert not rings.resolved


@pytest.mark.parametrize("pixel", [(1.0, 1.0), (3e-9, 5e-9), (6e-9, 2e-9)])
@pytest.mark.parametrize("part", [0.4, 0.7])
def test_crossing_is_where_agreement_ends(pixel, part):
    cut = part * 0.5 / max(pixel)
    rings = ring_correlation(IMAGE, blurred(IMAGE, cut, pixel), pixel)
    width = max(1 / (n * d) for n, d in zip(SHAPE, pixel, strict=True))
    assert rings.crossing == pytest.approx(cut, abs=2.5 * width)
    assert rings.half_period == pytest.approx(0.5 / rings.crossing)


def test_limit_is_the_coarser_axis():
    rings = ring_correlation(IMAGE, IMAGE, (1e-9, 4e-9))
    assert rings.limit == 0.5 / 4e-9
    assert rings.frequency.max() <= rings.limit
    assert rings.samples.sum() < IMAGE.size


def test_slow_error_does_not_count_as_blur():
    y = np.arange(SHAPE[0])[:, None]
    wavy = IMAGE + 50 * np.cos(2 * np.pi * y / SHAPE[0])
    rings = ring_correlation(wavy, IMAGE)
    assert rings.correlation[0] < rings.threshold[0]
    assert rings.resolved


def test_the_first_crossing_counts():
    """Agreement up to 0.2 and again from 0.3 to the corner: an artifact that both images share resolves nothing."""
    q = np.hypot(np.fft.fftfreq(SHAPE[0])[:, None], np.fft.fftfreq(SHAPE[1]))
    other = np.fft.fft2(np.random.default_rng(8).normal(size=SHAPE))
    shared = np.fft.ifft2(np.where((q < 0.2) | (q > 0.3), np.fft.fft2(IMAGE), other))
    rings = ring_correlation(IMAGE, shared)
    assert rings.correlation[-1] > rings.threshold[-1] and not rings.resolved
    assert rings.crossing == pytest.approx(0.2, abs=2.5 / min(SHAPE))


def test_nothing_in_common_is_the_lowest_frequency():
    rings = ring_correlation(np.ones(SHAPE), IMAGE)
    np.testing.assert_array_equal(rings.correlation, 0)
    assert rings.crossing == rings.frequency[0]


def test_half_bit_threshold_goes_to_its_limits():
    np.testing.assert_allclose(half_bit_threshold(np.array([1.0, 1e12])), [1.0, 0.2071 / 1.2071], rtol=1e-4)


def test_different_shapes_are_refused():
    with pytest.raises(DataError, match=r"ring correlation: the images do not compare.*\(96, 64\) and \(64, 96\)"):
        ring_correlation(IMAGE, IMAGE.T)


def test_area_is_the_mean_correlation_up_to_its_cutoff():
    rng = np.random.default_rng(0)
    image = rng.normal(size=SHAPE)
    assert ring_correlation(image, image).area() == pytest.approx(1)
    f = np.hypot(np.fft.fftfreq(SHAPE[0])[:, None], np.fft.fftfreq(SHAPE[1]))
    other = rng.normal(size=SHAPE)
    half = np.fft.ifft2(np.where(f < 0.25, np.fft.fft2(image), np.fft.fft2(other))).real
    rings = ring_correlation(image, half)
    assert rings.area(0.4) == pytest.approx(1, abs=0.03)
    assert rings.area() == pytest.approx(0.5, abs=0.06)
