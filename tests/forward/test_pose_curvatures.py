"""Gauss-Newton blocks of angles, tilts and shifts: one step goes most of the way to the truth."""

from __future__ import annotations

import numpy as np
import pytest
from cases import MODELS, insert
from laws import relative_error

from adorym.engine.gradients import batch_gradients

CASES = [case for kind in ("tomography", "ptychotomography") for case in MODELS[kind]() if "tilt" in case.settings]
OFFSETS = {"tilt": 0.01, "object_shift": 0.1, "rotation_angles": 0.01}


@pytest.mark.parametrize("name", OFFSETS)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_one_step_finds_how_the_volume_stands(case, name):
    problem = case.problem(backend="torch")
    truth = case.truth(problem.store.shape, problem.bound.origin_px)
    off = OFFSETS[name] * np.random.default_rng(5).normal(size=truth[name].shape)
    insert(problem, truth | {name: truth[name] + off})
    names = frozenset({name})
    every = np.arange(problem.dataset.n_patterns)
    found = batch_gradients(problem, every, names, names)[1][name]
    # The loss is the sum of squares of the amplitudes' errors: its curvature is that of the blocks.
    step = np.linalg.solve(problem.xp.to_numpy(found.curvature), problem.xp.to_numpy(found.gradient)[..., None])[..., 0]
    left = off[found.index] - step
    assert np.linalg.norm(left) < 0.25 * np.linalg.norm(off)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_blocks_in_single_precision_are_those_in_double(case):
    """They are made of differences. What rounding leaves of these must not decide how an angle steps."""
    found = []
    for precision in ("double", "single"):
        problem = case.problem(precision=precision)
        insert(problem, {"object": case.truth(problem.store.shape, problem.bound.origin_px)["object"]})
        gradients = batch_gradients(problem, np.arange(problem.dataset.n_patterns), frozenset(OFFSETS))[1]
        found.append({name: problem.xp.to_numpy(gradients[name].curvature) for name in OFFSETS})
    double, single = found
    for name in OFFSETS:
        assert relative_error(single[name], double[name]) < 2e-4, name
