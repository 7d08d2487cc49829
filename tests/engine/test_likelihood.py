"""The loss of a run that names none: Poisson's where a scan counts few photons, else least squares."""

from __future__ import annotations

import numpy as np
import pytest

from adorym.comm import SerialCommunicator
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.engine.build import bind
from adorym.engine.likelihood import loss_of
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.forward.ptychography import Ptychography
from adorym.forward.tomography import Tomography
from adorym.losses.counting import Huber
from adorym.parameters import ParameterSettings
from adorym.solvers.memory import LBFGS

N, SIDE = 40, 32


def used(dataset, loss=None, **more):
    recipe = Recipe(
        Ptychography() if dataset.probe_positions_px is not None else Tomography(),
        loss=loss,
        **({"parameters": {}} | more),
    )
    return loss_of(recipe, bind(dataset, recipe, RunSettings()), SerialCommunicator())[0]


def scan(photons=1e4, background=0.0, scale=1.0, noise=True, positions=True, **more):
    """A round beam's patterns, of ``photons`` each, with a dark rim."""
    rng = np.random.default_rng(3)
    y, x = np.indices((SIDE, SIDE)) - SIDE // 2
    mean = np.exp(-(y**2 + x**2) / 20.0)
    expected = photons * mean / mean.sum() + background
    counts = rng.poisson(expected, (N, SIDE, SIDE)).astype(float) if noise else np.tile(expected, (N, 1, 1))
    places = rng.uniform(0, 20, (N, 2)) if positions else None
    if not positions:  # a tomogram
        more |= {"theta_rad": np.linspace(0, 3, N), "angle_index": np.arange(N), "open_beam_counts": 2 * counts.max()}
        more["rotation_center_px"] = 0.0
    return Dataset(ArrayPatterns((counts * scale).astype(np.float32)), probe_positions_px=places, **more)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "poisson"),
        ({"scale": 0.37}, "poisson"),  # in other units than photons
        ({"photons": 1e5}, "least_squares"),  # bright
        ({"background": 0.05}, "least_squares"),
        ({"background": 0.01}, "least_squares"),  # most of the dark pixels count nothing
        ({"growing": True}, "least_squares"),
        ({"noise": False}, "least_squares"),  # no counts
        ({"positions": False}, "least_squares"),
    ],
    ids=["few", "scaled", "bright", "background", "little_background", "growing", "values", "one_place"],
)
def test_the_usual_loss(settings, expected):
    assert used(scan(**settings)).kind == expected


def test_masked_pixels_do_not_count():
    mask = np.ones((SIDE, SIDE), bool)
    mask[3] = False
    dataset = scan(mask=mask)
    dataset.patterns.array[:, 3] = 1e9
    assert used(dataset).kind == "poisson"


def test_a_loss_that_is_named_is_used():
    given = Huber()
    assert used(scan(), given) is given


def test_saturation_of_the_data_goes_into_the_usual_loss():
    assert used(scan(saturation_counts=70.0)).saturation == 70


@pytest.mark.parametrize(
    "more", [{"solver": LBFGS()}, {"parameters": {"probe_positions": ParameterSettings()}}], ids=["solver", "positions"]
)
def test_the_better_conditioned_loss_where_it_is_needed(more):
    assert used(scan(), **more).kind == "least_squares"
