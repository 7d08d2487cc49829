"""The loss of a run that names none: Poisson's where a scan counts few photons, else least squares."""

from __future__ import annotations

import numpy as np
import pytest

from adorym.comm import SerialCommunicator
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.engine.likelihood import loss_of
from adorym.losses.counting import Huber

N, SIDE = 40, 32


def scan(photons=1e4, background=0.0, scale=1.0, noise=True, positions=True, **more):
    """A round beam's patterns, of ``photons`` each, with a dark rim."""
    rng = np.random.default_rng(3)
    y, x = np.indices((SIDE, SIDE)) - SIDE // 2
    mean = np.exp(-(y**2 + x**2) / 30.0)
    expected = photons * mean / mean.sum() + background
    counts = rng.poisson(expected, (N, SIDE, SIDE)).astype(float) if noise else np.tile(expected, (N, 1, 1))
    places = rng.uniform(0, 20, (N, 2)) if positions else None
    return Dataset(ArrayPatterns((counts * scale).astype(np.float32)), probe_positions_px=places, **more)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "poisson"),
        ({"scale": 0.37}, "poisson"),  # in other units than photons
        ({"photons": 3e6}, "least_squares"),  # bright
        ({"background": 0.05}, "least_squares"),
        ({"noise": False}, "least_squares"),  # no counts
        ({"positions": False}, "least_squares"),  # no scan
    ],
    ids=["few", "scaled", "bright", "background", "values", "one_place"],
)
def test_the_usual_loss(settings, expected):
    assert loss_of(None, scan(**settings), SerialCommunicator()).kind == expected


def test_masked_pixels_do_not_count():
    mask = np.ones((SIDE, SIDE), bool)
    mask[3] = False
    dataset = scan(mask=mask)
    dataset.patterns.array[:, 3] = 1e9
    assert loss_of(None, dataset, SerialCommunicator()).kind == "poisson"


def test_a_loss_that_is_named_is_used():
    given = Huber()
    assert loss_of(given, scan(), SerialCommunicator()) is given


def test_saturation_of_the_data_goes_into_the_usual_loss():
    assert loss_of(None, scan(saturation_counts=70.0), SerialCommunicator()).saturation == 70
