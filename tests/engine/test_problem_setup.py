"""From a recipe to a problem: first values, frames, margins, and what does not go together."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES, OF_HOLOGRAMS, VOLUME_INITIALIZERS
from laws import relative_error
from tiny_runs import BACKENDS, SCAN, STEADY, calm, exact, finished, measured, step, tiny, value_of
from tiny_scan import Exact, Scan

from adorym.errors import ConfigError, DataError
from adorym.forward.object import FIXED_MARGIN_PX, REFINED_MARGIN_PX, ObjectSettings
from adorym.forward.probe import ProbeSettings
from adorym.initializers import simple
from adorym.parameters import ParameterSettings


def with_object(**settings):
    return calm() | {"object": ObjectSettings(**({"optimizer": step(), "schedule": STEADY, "margin_px": 4} | settings))}


def with_probe(**settings):
    return calm() | {"probe": ProbeSettings(**({"optimizer": step(0.1), "schedule": STEADY, "per": "run"} | settings))}


def power(probe) -> float:
    return float(np.sum(np.abs(probe) ** 2))


# -- the object --------------------------------------------------------------------------------------------------------
def test_object_starts_as_vacuum():
    np.testing.assert_array_equal(value_of(tiny(), "object"), 1)


@pytest.mark.parametrize("backend", BACKENDS)
# What phases the data needs a crystal: tests/initializers/test_phasing.py; what asks for a probe:
# tests/initializers/test_ptycho_network.py.
@pytest.mark.parametrize(
    "name",
    sorted(CASES["initializer"].keys() - VOLUME_INITIALIZERS - OF_HOLOGRAMS - {"phasing", "cdi_nn", "ptycho_nn"}),
)
def test_object_starts_as_the_initializer_makes_it(tmp_path, name, backend):
    made = CASES["initializer"][name](tmp_path)
    shape = tiny().problem.store.shape
    if name == "file":
        wanted = np.random.default_rng(3).normal(size=(*shape, 2)) @ [1, 1j]
        np.save(tmp_path / "first.npy", wanted)
        made = simple.File(path=str(tmp_path / "first.npy"))
    runs = [tiny(parameters=with_object(initial=made), backend=backend) for _ in range(2)]
    expected = made.make(measured(), shape, np.random.default_rng(1))
    for run in runs:  # random numbers come from the run's seed
        np.testing.assert_allclose(value_of(run, "object"), expected, rtol=1e-12)
    if name == "random":
        other = tiny(parameters=with_object(initial=made), seed=2)
        assert relative_error(value_of(other, "object"), expected) > 0.01


def test_object_holds_every_window_and_its_margin():
    low, high = SCAN.positions.min(0), SCAN.positions.max(0)
    for margin in (0, 3, 7):
        problem = tiny(parameters=with_object(margin_px=margin)).problem
        corners = problem.corners_px(np.arange(SCAN.n))
        assert all(0 <= corner - margin <= 1 for corner in corners.min(0))
        ends = corners.max(0) + SCAN.window
        assert all(0 <= n - margin - end <= 1 for n, end in zip(problem.store.shape, ends, strict=True))
        np.testing.assert_array_equal(corners, np.rint(SCAN.positions).astype(int) + problem.bound.origin_px)
        first, last = problem.values["probe_positions"].bounds
        assert (first <= low).all() and (last >= high).all()
        assert (low - first <= margin + 1).all() and (last - high <= margin + 1).all()


def test_margin_leaves_room_for_positions_that_are_refined():
    fixed = tiny(parameters=with_object(margin_px=None)).problem
    free = with_object(margin_px=None) | {"probe_positions": ParameterSettings(optimizer=step(0.2))}
    assert min(fixed.corners_px(np.arange(20)).ravel()) == FIXED_MARGIN_PX
    assert min(tiny(parameters=free).problem.corners_px(np.arange(20)).ravel()) == REFINED_MARGIN_PX
    held = with_object(margin_px=None) | {"probe_offset": ParameterSettings(refine=False)}
    assert min(tiny(parameters=held).problem.corners_px(np.arange(20)).ravel()) == FIXED_MARGIN_PX


def test_known_object_gives_the_probe(tmp_path):
    scan = Scan(window=(24, 28), size_px=2.3)
    frame = tiny(exact(scan), with_probe()).problem
    truth = scan.object_array(frame.store.shape, frame.bound.origin_px)
    np.save(tmp_path / "truth.npy", truth)
    known = ObjectSettings(refine=False, initial=simple.File(path=str(tmp_path / "truth.npy")), margin_px=4)
    other = exact(scan, start_probe=Scan(window=(24, 28), size_px=2.0).probe() * np.exp(0.05j * np.arange(28)))
    run = tiny(other, {"object": known, "probe": ProbeSettings(optimizer=step(0.3), schedule=STEADY)}, epochs=30)
    losses = [record.loss for record in run.epochs()]
    np.testing.assert_array_equal(value_of(run, "object"), truth)
    assert losses[-1] < 1e-2 * losses[0]
    start, found = (
        a * np.exp(-1j * np.angle(np.vdot(scan.probe(), a)))
        for a in (run.problem.values["probe"].first, value_of(run, "probe"))
    )
    assert relative_error(found, scan.probe()) < 0.3 * relative_error(start, scan.probe())


# -- the probe ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", sorted(CASES["probe"]))
def test_probe_starts_with_the_power_of_the_patterns(tmp_path, name):
    data = measured(Scan(modes=3, scans=2))
    mean = float(data.patterns.array.sum(dtype=np.float64)) / data.n_patterns
    made = CASES["probe"][name](tmp_path)
    for modes in (1, 4):
        probe = value_of(tiny(data, with_probe(initial=made, modes=modes)), "probe")
        assert probe.shape == (modes, *SCAN.window)
        assert power(probe) == pytest.approx(mean, rel=1e-6)
        assert all(power(mode) > 0 for mode in probe)
    given = value_of(tiny(data, with_probe(initial=made, modes=2, power=123.0)), "probe")
    assert power(given) == pytest.approx(123, rel=1e-9)


def test_probe_of_the_data_comes_first_then_that_of_the_patterns():
    with_it, without = tiny(), tiny(measured(start_probe=None), with_probe(modes=2))
    first = value_of(with_it, "probe")
    assert relative_error(first / np.sqrt(power(first)), SCAN.probe() / np.sqrt(power(SCAN.probe()))) < 1e-9
    assert relative_error(value_of(without, "probe"), first) > 0.1


def test_modes_beyond_those_given_share_what_the_first_leave():
    run = tiny(measured(start_probe=SCAN.probe()[:1]), with_probe(modes=3, first_fraction=0.7))
    fractions = [power(mode) / power(value_of(run, "probe")) for mode in value_of(run, "probe")]
    assert fractions[0] == pytest.approx(0.7) and sum(fractions) == pytest.approx(1)


# -- other parameters --------------------------------------------------------------------------------------------------
def test_parameters_take_part_when_named_or_needed():
    assert set(tiny().problem.values) == {"probe", "probe_positions"}
    named = calm() | {"background": ParameterSettings(refine=False, initial=0.25)}
    run = finished(tiny(parameters=named), 1)
    assert set(run.problem.values) == {"probe", "probe_positions", "background"}
    np.testing.assert_array_equal(value_of(run, "background"), 0.25)
    assert run.problem.active(0).keys() == {"object", "probe"}


def test_start_values_from_a_file(tmp_path):
    wanted = SCAN.positions + np.random.default_rng(0).uniform(-1, 1, SCAN.positions.shape)
    np.save(tmp_path / "positions.npy", wanted)
    given = ParameterSettings(refine=False, initial=str(tmp_path / "positions.npy"))
    run = tiny(parameters=calm() | {"probe_positions": given})
    np.testing.assert_array_equal(value_of(run, "probe_positions"), wanted)
    np.testing.assert_array_equal(run.problem.corners_px(np.arange(20)) - run.problem.bound.origin_px, np.rint(wanted))


def test_positions_keep_their_digits_in_single_precision():
    far = SCAN.positions + np.array([51234.0, -40321.0])
    single = tiny(measured(probe_positions_px=far), precision="single")
    assert value_of(single, "probe_positions").dtype == np.float64
    near = tiny(precision="single")
    np.testing.assert_array_equal(single.problem.corners_px(np.arange(20)), near.problem.corners_px(np.arange(20)))
    losses = [finished(run, 2).progress.history["loss"] for run in (single, near)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


# -- the data ----------------------------------------------------------------------------------------------------------
def test_amplitudes_and_counts_are_the_same_measurement():
    counts, amplitudes = SCAN.patterns(), np.sqrt(SCAN.patterns())
    runs = [
        finished(tiny(SCAN.dataset(patterns=Exact(a), measured=kind, start_probe=SCAN.probe())), 2)
        for a, kind in ((counts, "intensity"), (amplitudes, "amplitude"))
    ]
    assert relative_error(value_of(runs[1], "object"), value_of(runs[0], "object")) < 1e-9


def test_no_counts_at_all_are_refused():
    dark = SCAN.dataset(patterns=Exact(np.zeros((20, *SCAN.window))), start_probe=SCAN.probe())
    with pytest.raises(DataError, match="no counts in any valid pixel; check the patterns and the mask"):
        tiny(dark)
    lit = np.zeros((20, *SCAN.window))
    lit[:, 3, 4] = 9
    mask = lit[0] == 0
    with pytest.raises(DataError, match="no counts in any valid pixel"):
        tiny(SCAN.dataset(patterns=Exact(lit), mask=mask, start_probe=SCAN.probe()))


def test_windows_outside_the_object_are_refused(tmp_path):
    moved = SCAN.positions.copy()
    moved[6] += 30
    np.save(tmp_path / "moved.npy", moved)
    given = ParameterSettings(refine=False, initial=str(tmp_path / "moved.npy"))
    words = r"parameters\.probe_positions: 1 of 20 windows lie outside the object; .*position 6 at .*margin_px"
    with pytest.raises(ConfigError, match=words):
        tiny(parameters=calm() | {"probe_positions": given})
