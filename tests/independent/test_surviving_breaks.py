"""Breaks that no other test sees: gauges and what a replaced object leaves behind."""

from __future__ import annotations

import adapter
import numpy as np
from cases import MODELS, insert
from laws import noise
from tiny_holograms import series
from tiny_scan import Exact

from adorym.forward.holography import Holography
from adorym.forward.object import ObjectSettings
from adorym.initializers.simple import Random
from adorym.optimizers.preconditioned import Preconditioned
from adorym.parameters import ParameterSettings
from adorym.updates.autofocus import Autofocus


def test_an_object_that_autofocus_replaces_has_no_velocity():
    holograms = series(patterns=Exact(100 + 20 * np.random.default_rng(3).normal(size=(20, 12, 14))))
    quick = Preconditioned(learning_rate=0.5, momentum=0.9)
    settings = {
        "object": ObjectSettings(initial=Random(), optimizer=quick),
        "common_distance": ParameterSettings(),
    }
    for at, rests in (((1,), True), ((2,), False)):
        model = Holography(buffer_px=4, autofocus=Autofocus(at=at, reach=0.05, last=False))
        run = adapter.ready(model, holograms, settings, epochs=3)
        adapter.after(run, 1)
        states = adapter.object_state(run)
        assert states and all((np.abs(a).max() == 0) == rests for a in states)


def test_tilts_lose_the_common_turn_about_y_alone():
    """What all angles tilt about x or z in common is seen in the data; about y it is a turn of the object."""
    case = next(c for c in MODELS["tomography"]() if "tilt" in c.settings)
    problem = adapter.of_case(case).problem
    first = adapter.present(problem, "tilt")
    tilts = first + 0.02 + 0.01 * noise(np.random.default_rng(8), first.shape)
    insert(problem, {"tilt": tilts})
    adapter.fix_gauge(problem, "tilt")
    fixed = adapter.present(problem, "tilt")
    np.testing.assert_array_equal(fixed[:, 1:], tilts[:, 1:])
    np.testing.assert_allclose(np.diff(fixed[:, 0]), np.diff(tilts[:, 0]), atol=1e-15)
    np.testing.assert_allclose((fixed - first)[:, 0].mean(), 0, atol=1e-15)
