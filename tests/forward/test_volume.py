"""How a volume stands in the beam: what is taken out of its poses, and what counts in its curvature."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import MODELS

from adorym.data.batches import Batch
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.forward.tomography import Tomography
from adorym.forward.volume import without_common
from adorym.preconditioners import Point
from adorym.updates import State
from adorym.wrapper import get_backend

ANGLES, WINDOW = 5, (4, 9)
XP = get_backend("autograd", precision="double")


@pytest.fixture(scope="module")
def bound():
    model = Tomography(center=0.4, axis_tilt=(0.05, 0.02))
    data = Dataset(
        ArrayPatterns(np.ones((ANGLES, *WINDOW))),
        theta_rad=np.linspace(0.1, 2.9, ANGLES),
        angle_index=np.arange(ANGLES),
        open_beam_counts=1e3,
    )
    stands_still = {name: spec for name, spec in model.refinable.items() if name != "time_course"}
    return model.bind(data, {name: spec.settings() for name, spec in stands_still.items()})


def values_of(bound):
    """First values, all of them off a little, means too."""
    rng = np.random.default_rng(0)
    start = {
        n: bound.model.refinable[n].start_value(n, bound, s, rng) for n, s in bound.settings.items() if n != "object"
    }
    return {name: value + 0.1 * rng.uniform(0.2, 1, value.shape) for name, value in start.items()}


def point_of(bound, values, mask=None):
    every = np.arange(ANGLES)
    corners = np.tile(bound.origin_px, (ANGLES, 1))
    seen = bound.view.windows(corners, bound.shape, values.get)
    batch = Batch(
        every, every, corners, np.ones((ANGLES, *WINDOW)), every, mask, 0.0, bound.geometry, bound.shape,
        seen.corners_px, seen.shape, 1e3,
    )  # fmt: skip
    band = np.random.default_rng(1).uniform(0, 0.05, (1, *seen.shape, bound.shape[2])) + 0j
    return Point(XP, lambda o, p: bound.model.predict(XP, o, p, batch), band, values, batch, 2.0)


def test_updates_change_no_prediction(bound):
    """A common shift along x is one of the rotation axis, a common gain one of all scales: exactly."""
    values = values_of(bound)
    state = State(1, 2, values, dict.fromkeys(values, 1.0), lambda: np.zeros(bound.shape))
    for update in bound.updates:
        state = update.apply(state)
    assert np.mean(state.values["object_shift"][:, 1]) == pytest.approx(0, abs=1e-15)
    assert np.mean(state.values["pixel_gain"]) == pytest.approx(1)
    assert set(state.changed) == {"object_shift", "rotation_center", "pixel_gain", "intensity_scale"}
    before, after = (point_of(bound, each).amplitudes() for each in (values, dict(state.values)))
    np.testing.assert_allclose(after, before, rtol=1e-12)


def test_common_turns_and_shifts_along_y_are_taken_out():
    """The other columns are seen: a common tilt about x or z, a common shift along x."""
    first, step = np.ones((4, 3)), np.random.default_rng(2).normal(size=(4, 3))
    found = without_common(first + step, first) - first
    assert found[:, 0].mean() == pytest.approx(0, abs=1e-15)
    np.testing.assert_allclose(np.ptp(found[:, 0] - step[:, 0]), 0, atol=1e-15)
    np.testing.assert_allclose(found[:, 1:], step[:, 1:])


def test_masked_pixels_count_nothing_in_the_curvature(bound):
    """Masking all of an angle is leaving it out, and the curvature by the volume bounds that of the loss."""
    values, mask = values_of(bound), np.ones((ANGLES, *WINDOW))
    mask[2] = 0
    curvature = bound.preconditioner("object").curvature
    whole, masked = (curvature("object", point_of(bound, values, m)) for m in (None, mask))
    lone = curvature("object", point_of(bound, values, 1 - mask))
    np.testing.assert_allclose(whole - masked, lone, rtol=1e-9, atol=1e-9 * whole.max())
    assert lone.max() > 0.01 * whole.max()
    point, change = point_of(bound, values, mask), np.random.default_rng(3).normal(size=masked.shape)
    off = Point(XP, point.predict, point.obj + 1e-6 * change, values, point.batch, 2.0)
    slope = (off.amplitudes() - point.amplitudes()) / 1e-6
    assert 2.0 * np.sum(slope**2) <= np.sum(masked * change**2)


def test_a_volume_of_given_size_begins_at_the_first_positions_in_a_length():
    """``axis`` counts from the same place."""
    case = next(each for each in MODELS["ptychotomography"]() if each.name == "ptychotomography-thin-8")
    shape = case.model.bind(case.dataset, case.settings).shape
    model = replace(case.model, volume_px=(shape[0], shape[1], shape[2]), axis=shape[1] / 2)
    low = np.rint(case.dataset.probe_positions_px.min(axis=0)).astype(int)
    data = case.dataset.with_(probe_positions_px=case.dataset.probe_positions_px - low)
    moved = data.with_(probe_positions_px=data.probe_positions_px + 2, computed=("probe_positions_px",))
    here, there = (model.bind(each, case.settings) for each in (data, moved))
    assert here.shape == there.shape and there.origin_px == (here.origin_px[0] - 2, here.origin_px[1] - 2)
    assert there.dataset.rotation_center_px == here.dataset.rotation_center_px
