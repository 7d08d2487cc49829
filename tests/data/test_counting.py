"""Counts are recognized, normalized counts too; everything else has an unknown noise."""

import numpy as np
import pytest

from adorym.data.counting import counting
from adorym.data.dataset import ArrayPatterns, Dataset


def dataset(values: np.ndarray, **known) -> Dataset:
    return Dataset(ArrayPatterns(np.asarray(values, np.float32)), **known)


def drawn(mean: float, shape=(6, 20, 20)) -> np.ndarray:
    return np.random.default_rng(3).poisson(mean, shape).astype(float)


@pytest.mark.parametrize("mean", [0.1, 3.0, 400.0, 1.2e4])
@pytest.mark.parametrize("unit", [1.0, 0.0123, 4.7e-6, 12.0])
def test_the_unit_of_counts_is_found(mean, unit):
    found = counting(dataset(unit * drawn(mean)))
    assert found.quantum == pytest.approx(unit, rel=1e-3)
    assert found.about.startswith("photon counts") and ("times" in found.about) == (unit != 1)


def test_roots_of_counts_are_counts():
    assert counting(dataset(np.sqrt(drawn(30.0)), measured="amplitude")).quantum == 1.0


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(4).gamma(1.0, 5.0, (6, 20, 20)),  # expected intensities
        drawn(200.0) / np.random.default_rng(5).uniform(0.9, 1.1, (20, 20)),  # divided by a flat field
        drawn(200.0) + np.random.default_rng(6).normal(0, 3, (6, 20, 20)),  # read-out noise
    ],
)
def test_other_values_have_an_unknown_noise(values):
    found = counting(dataset(values))
    assert found.quantum is None and "no counts" in found.about


def test_masked_pixels_do_not_count():
    values, mask = drawn(5.0), np.ones((20, 20), bool)
    values[:, 3, 4], mask[3, 4] = np.pi, False
    assert counting(dataset(values, mask=mask)).quantum == 1.0


def test_no_counts_at_all():
    assert counting(dataset(np.zeros((2, 4, 4)))).quantum is None
