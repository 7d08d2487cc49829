"""Off-axis holograms."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_holograms import series
from tiny_scan import Exact

from adorym.errors import DataError
from adorym.initializers.off_axis import OffAxis
from adorym.optics.geometry import Grid
from adorym.units import wavelength_m
from adorym.updates.autofocus import refocused

SHAPE, CARRIER, DISTANCE = (64, 80), (8 / 64, 20 / 80), 0.02


def holograms(carrier=CARRIER):
    """One of a smooth object and one of nothing, both with a curved reference wave."""
    y, x = np.indices(SHAPE)
    obj = (1 - 0.3 * np.exp(-((y - 30) ** 2 + (x - 34) ** 2) / 60)) * np.exp(
        0.9j * np.exp(-((y - 36) ** 2 + (x - 40) ** 2) / 90)
    )
    wave = refocused(obj, Grid(SHAPE, (2e-6, 2e-6), wavelength_m(17500.0)), DISTANCE)
    reference = np.exp(-2j * np.pi * (carrier[0] * y + carrier[1] * x) + 0.2j * np.cos(2 * np.pi * y / 64))
    stack = np.stack([np.abs(each + reference) ** 2 for each in (wave, np.ones(SHAPE))])
    data = series(patterns=Exact(100 * stack), propagation_distance_m=np.full(2, DISTANCE))
    return data, obj


def made(initializer, data):
    return initializer.make(data, SHAPE, np.random.default_rng(0))


@pytest.mark.parametrize("carrier", [None, CARRIER])
def test_the_object_wave_is_found(carrier):
    data, obj = holograms()
    found = made(OffAxis(carrier=carrier, reference=1), data)
    ratio = found / obj
    assert np.abs(ratio / ratio.mean() - 1)[8:-8, 8:-8].max() < 0.05


def test_the_carrier_is_the_strongest_fringe():
    data, _ = holograms()
    picture = data.patterns.read(np.array([0]))[0]
    assert OffAxis().find_carrier(picture) == pytest.approx(CARRIER)
    assert OffAxis(sign="-").find_carrier(picture) == pytest.approx((-CARRIER[0], -CARRIER[1]))


def test_without_fringes_there_is_no_carrier():
    flat = series(patterns=Exact(100 + np.random.default_rng(0).normal(size=(1, *SHAPE))),
                  propagation_distance_m=np.array([DISTANCE]))  # fmt: skip
    with pytest.raises(DataError, match="parameters.object.initial: the hologram has no carrier fringes"):
        made(OffAxis(), flat)
    with pytest.raises(DataError, match="reference: leaves no hologram of the object"):
        made(OffAxis(carrier=CARRIER, reference=0), flat)
