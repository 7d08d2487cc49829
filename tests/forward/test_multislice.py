"""Multislice: the same with and without keeping waves, binning, wrong input, and two planes told apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import insert, multislice_cases
from laws import relative_error

import adorym
from adorym.commands.score import score
from adorym.commands.simulate import simulate
from adorym.data.native_write import write_native
from adorym.data.open import open_dataset
from adorym.engine.gradients import batch_gradients
from adorym.engine.outcome import predict_patterns
from adorym.errors import ConfigError
from adorym.forward.multislice import Multislice, kept_slices, segment_length
from adorym.parameters import ParameterSettings


@pytest.mark.parametrize("backend", ["torch", "autograd"])
@pytest.mark.parametrize("case", multislice_cases(), ids=lambda c: c.name)
def test_waves_computed_again_give_the_same_gradients(case, backend):
    found = []
    for slices in ("off", 1, 2):
        problem = case.problem(backend=backend, checkpoint_slices=slices)
        insert(problem, case.truth(problem.store.shape, problem.bound.origin_px) | {"probe": 0.9 * problem.xp.to_numpy(
            problem.values["probe"].array)})  # fmt: skip
        names = frozenset({"object", "probe", "slice_spacing", "probe_positions"})
        value, parts = batch_gradients(problem, np.array([0, 3, 7]), names)
        found.append([value, *(problem.xp.to_numpy(parts[n].gradient) for n in sorted(parts))])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert relative_error(np.asarray(b), np.asarray(a)) < 1e-11


@pytest.mark.parametrize("backend", ["torch", "autograd"])
@pytest.mark.parametrize("binning", [1, 2, 4])
@pytest.mark.parametrize("case", multislice_cases(), ids=lambda c: c.name)
def test_the_fused_operation_gives_the_gradients_and_curvatures_of_the_plain_one(case, binning, backend):
    """Also with slices that are multiplied, and in the near field, of an object that does not lean."""
    settings = {name: each for name, each in case.settings.items() if name != "object_tilts"}
    names, found = frozenset(settings) - {"propagation_distance"}, []
    for fused in (True, False):
        model = replace(case.model, binning=binning, fused=fused)
        problem = replace(case, model=model, settings=settings).problem(backend=backend)
        values = case.truth(problem.store.shape, problem.bound.origin_px)
        values["probe"] = 0.9 * values["probe"]  # at the truth there are no gradients
        insert(problem, {name: values[name] for name in settings})
        value, parts = batch_gradients(problem, np.array([0, 3, 7]), names)
        curvatures = [parts[n].curvature for n in sorted(parts) if parts[n].curvature is not None]
        arrays = [*(parts[n].gradient for n in sorted(parts)), *curvatures]
        found.append([float(value), *map(problem.xp.to_numpy, arrays)])
    for a, b in zip(*found, strict=True):
        assert relative_error(np.asarray(a), np.asarray(b)) < 1e-9


def test_segments_grow_as_the_square_root_of_the_depth():
    assert [segment_length(n, None) for n in (2, 7, 64, 256)] == [2, 7, 8, 16]
    assert segment_length(256, 0) == 256 and segment_length(256, 10) == 10
    assert [kept_slices(n, segment_length(n, None)) for n in (8, 64, 256)] == [4, 24, 48]


def test_binned_slices_without_space_between_them_are_one():
    """Four slices closer than the depth of focus, two at a time, predict nearly what all four do."""
    case = next(c for c in multislice_cases() if c.name.endswith("even"))
    problem = case.problem()
    insert(problem, case.truth(problem.store.shape, problem.bound.origin_px))
    insert(problem, {"slice_spacing": np.array([1e-9])})
    whole = problem.xp.to_numpy(predict_patterns(problem, np.arange(4)))
    object.__setattr__(problem.model, "binning", 2)
    binned = problem.xp.to_numpy(predict_patterns(problem, np.arange(4)))
    assert relative_error(binned, whole) < 1e-3 and not np.array_equal(binned, whole)


def test_slice_positions_are_read_and_written(tmp_path):
    dataset = multislice_cases()[0].dataset
    write_native(dataset, tmp_path / "thick.h5")
    np.testing.assert_allclose(open_dataset(tmp_path / "thick.h5").slice_positions_m, dataset.slice_positions_m)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"slice_positions": (0.0, 2e-6), "slices": 3}, r"slices: has no effect beside 'slice_positions'"),
        ({"slice_positions": (0.0, 2e-6, 1e-6)}, r"slice_positions: not places of slices.*increasing"),
    ],
)
def test_contradicting_slices(fields, message):
    with pytest.raises((ConfigError, ValueError), match=message):
        Multislice(**fields)


def test_number_of_slices_is_needed():
    dataset = multislice_cases()[0].dataset.with_(slice_positions_m=None)
    with pytest.raises(ConfigError, match=r"forward_model.slices: the number of slices.*give 'slices' and 'spacing'"):
        Multislice().spacing_m(dataset)


def test_slices_too_far_apart():
    case = multislice_cases()[0]
    model = Multislice(slice_positions=(0.0, 1.0))
    with pytest.raises(ConfigError, match=r"too far apart for propagation.*N pixel\^2 / wavelength"):
        model.bind(case.dataset, case.settings)


def test_two_planes_and_their_spacing_are_found(tmp_path):
    settings = {"object_px": [72, 72], "window_px": [32, 32], "scan": {"overlap": 0.8}, "spacing": "30 um",
                "recorded_spacing": "24 um", "front": {"kind": "cells", "count": 8}}  # fmt: skip
    simulate("multislice_two_planes", tmp_path / "two.h5", settings, seed=3)
    config = {
        "data": str(tmp_path / "two.h5"),
        "forward_model": "multislice",
        "parameters": {"slice_spacing": {"start": 5, "optimizer": {"kind": "adam", "learning_rate": 0.03}}},
        "run": {"epochs": 30},
        "output": {"progress": "quiet", "report": False},
    }
    adorym.reconstruct(config, output=tmp_path / "out")
    found = score(tmp_path / "out", tmp_path / "two.h5")
    assert found["slice_spacing_error"] < 0.1
    assert found["slice_0_nrmse"] < 0.3 and found["slice_1_nrmse"] < 0.3


def test_one_tilt_or_that_of_each_pattern():
    case = multislice_cases()[0]
    both = case.settings | {"object_tilt": ParameterSettings(), "object_tilts": ParameterSettings()}
    with pytest.raises(
        ConfigError, match=r"parameters\.object_tilt: cannot be told from the mean of 'object_tilts'; leave"
    ):
        replace(case, settings=both).problem()
