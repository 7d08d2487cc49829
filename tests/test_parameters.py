"""Refinable parameters: start values, schedules, bounds, gauges, learning rates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import relative_error
from tiny_scan import Exact, Scan

from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import predict_patterns
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.errors import ConfigError
from adorym.forward.object import ObjectSettings
from adorym.forward.probe import ProbeSettings
from adorym.forward.ptychography import Ptychography
from adorym.forward.thin import without_mean
from adorym.losses.counting import LeastSquares
from adorym.optimizers.first_order import Adam
from adorym.optimizers.schedules import Cosine
from adorym.parameters import Parameter, ParameterSettings, make_value
from adorym.updates import FactorGauge, OffsetGauge, State
from adorym.wrapper import get_backend

RNG = np.random.default_rng(0)


@pytest.fixture(params=["torch", "autograd"])
def xp(request):
    return get_backend(request.param, device="cpu", precision="single")


def start(spec, **given_settings):
    return spec.start_value("thing", None, ParameterSettings(**given_settings), RNG)


# -- when --------------------------------------------------------------------------------------------------------------
@given(start=st.integers(0, 9), length=st.none() | st.integers(1, 9), every=st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_refined_from_start_until_stop_every_k_th_epoch(start, length, every):
    stop = None if length is None else start + length
    made = ParameterSettings(start=start, stop=stop, every=every)
    expected = list(range(start, 20 if stop is None else stop, every))
    assert [epoch for epoch in range(20) if made.active(epoch)] == expected


def test_never_refined():
    assert not any(ParameterSettings(refine=False).active(epoch) for epoch in range(5))


def test_refinement_must_end_after_it_begins():
    with pytest.raises(ValueError, match="stop: the refinement ends before it begins; expected > 4; found 4"):
        ParameterSettings(start=4, stop=4)


# -- from where --------------------------------------------------------------------------------------------------------
def test_start_value_is_the_models_unless_the_settings_give_one(tmp_path):
    spec = Parameter(unit="m", start=lambda *arguments: np.array([1.0, 2.0]))
    np.testing.assert_array_equal(start(spec), [1, 2])
    np.testing.assert_allclose(start(spec, initial="3 mm"), [3e-3, 3e-3])
    np.testing.assert_array_equal(start(spec, initial=0.5), [0.5, 0.5])
    np.save(tmp_path / "given.npy", np.array([4, 5]))
    made = start(spec, initial=str(tmp_path / "given.npy"))
    np.testing.assert_array_equal(made, [4.0, 5.0])
    assert made.dtype == np.float64 and made.flags.writeable
    np.testing.assert_array_equal(start(Parameter(start=2.5)), 2.5)


def test_a_number_for_each_pattern_may_be_a_plain_list(tmp_path):
    np.save(tmp_path / "live.npy", np.array([0.9, 1.1, 1.0]))
    spec = Parameter(start=lambda *arguments: np.ones((3, 1)), per="pattern")
    np.testing.assert_array_equal(start(spec, initial=str(tmp_path / "live.npy")), [[0.9], [1.1], [1.0]])


def test_start_value_that_cannot_be(tmp_path):
    spec = Parameter(unit="m", start=lambda *arguments: np.zeros(2))
    np.save(tmp_path / "three.npy", np.zeros(3))
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "garbage.npy").write_bytes(b"garbage")
    where = r"parameters\.thing\.initial: "
    for initial, match in (
        (str(tmp_path / "three.npy"), where + r"wrong shape; expected \(2,\); found \(3,\)"),
        (str(tmp_path / "none.npy"), where + r"cannot read '.*none\.npy'; found .*No such file"),
        (str(tmp_path / "empty.npy"), where + r"cannot read '.*empty\.npy'"),
        (str(tmp_path / "garbage.npy"), where + r"cannot read '.*garbage\.npy'"),
        ("3 px", where + "wrong unit: expected a quantity in m, found '3 px'"),
        ("much", where + "cannot read 'much'"),
    ):
        with pytest.raises(ConfigError, match=match):
            start(spec, initial=initial)


# -- how ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("bounds", "initial", "match"),
    [
        ((0.001, None), -1.0, "out of the range of this parameter; expected 0 or more; found -1; correct the values"),
        ((0.0, 1.0), 1.5, "expected 1 or less; found 1.5"),
        ((-2.0, None), -3.0, "expected -2 or more; found -3"),
    ],
)
def test_start_value_out_of_range_is_refused(bounds, initial, match):
    spec = Parameter(start=0.5, bounds=bounds)
    with pytest.raises(ConfigError, match=rf"parameters\.thing\.initial: .*{match}"):
        start(spec, initial=initial)
    for sound in (0.0, 0.5):
        assert start(spec, initial=sound) == sound


def test_positions_keep_their_digits_in_single_precision(xp):
    far = np.array([[123456.789012, -98765.432109]])
    value = make_value(xp, "probe_positions", Ptychography.refinable["probe_positions"], ParameterSettings(), far)
    np.testing.assert_array_equal(xp.to_numpy(value.array), far)
    probe = make_value(xp, "probe", Ptychography.refinable["probe"], ParameterSettings(), np.ones((2, 3, 4), complex))
    assert xp.to_numpy(probe.array).dtype == probe.first.dtype == np.complex64
    image = make_value(xp, "background", Ptychography.refinable["background"], ParameterSettings(), np.ones((1, 3, 4)))
    assert xp.to_numpy(image.array).dtype == np.float32


def test_start_value_is_kept_apart(xp):
    given_first = np.ones((3, 2))
    value = make_value(
        xp, "probe_positions", Ptychography.refinable["probe_positions"], ParameterSettings(), given_first
    )
    value.array[0] = 7
    np.testing.assert_array_equal(value.first, 1)
    np.testing.assert_array_equal(given_first, 1)


def test_rate_is_relative_or_in_the_parameters_unit(xp):
    relative, absolute = Parameter(unit="m", relative=True), Parameter(unit="m")
    first = np.array([-4e-3, 1e-3])

    def rate(spec, learning_rate, value=first):
        return make_value(xp, "z", spec, ParameterSettings(optimizer=Adam(learning_rate=learning_rate)), value).rate

    assert rate(relative, 0.1) == pytest.approx(4e-4)
    assert rate(relative, "1 um") == pytest.approx(1e-6)
    assert rate(absolute, 0.1) == pytest.approx(0.1)
    assert rate(absolute, "1 um") == pytest.approx(1e-6)
    assert rate(relative, 0.1, np.zeros(2)) == pytest.approx(0.1)  # nothing to be relative to


def test_rate_that_cannot_be(xp):
    settings_with = ParameterSettings(optimizer=Adam(learning_rate="1 px"))
    with pytest.raises(
        ConfigError, match=r"parameters\.z\.optimizer\.learning_rate: wrong unit: expected a quantity in m"
    ):
        make_value(xp, "z", Parameter(unit="m"), settings_with, np.zeros(1))
    settings_with = ParameterSettings(optimizer=Adam(learning_rate="-1 m"))
    with pytest.raises(ConfigError, match=r"parameters\.z\.optimizer\.learning_rate: a learning rate must be positive"):
        make_value(xp, "z", Parameter(unit="m"), settings_with, np.zeros(1))


def test_defaults_come_from_the_declaration(xp):
    spec = Parameter(optimizer={"kind": "adam", "learning_rate": 0.3}, schedule={"kind": "cosine", "final": 0.5})
    value = make_value(xp, "x", spec, ParameterSettings(), np.zeros(2))
    assert value.optimizer == Adam(learning_rate=0.3) and value.schedule == Cosine(final=0.5)
    value = make_value(
        xp, "x", spec, ParameterSettings(optimizer=Adam(learning_rate=0.1), schedule=Cosine()), np.zeros(2)
    )
    assert value.optimizer == Adam(learning_rate=0.1) and value.schedule == Cosine()


@pytest.mark.parametrize("name", sorted(Ptychography.refinable))
def test_declared_defaults_can_be_made(name):
    spec = Ptychography.refinable[name]
    assert spec.default_optimizer().rate(spec.unit) > 0
    assert spec.default_schedule().factor(0, 10) == 1
    assert spec.help and spec.settings().refine


# -- bounds and gauges -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ((0.0, 1.0), [0, 0.5, 1]),
        ((None, 1.0), [-2, 0.5, 1]),
        ((0.0, None), [0, 0.5, 3]),
        (None, [-2, 0.5, 3]),
    ],
)
def test_values_are_kept_within_bounds(xp, bounds, expected):
    value = make_value(xp, "x", Parameter(bounds=bounds), ParameterSettings(), np.zeros(3))
    np.testing.assert_array_equal(
        xp.to_numpy(value.limit(xp, xp.asarray(np.array([-2, 0.5, 3]), exact=True))), expected
    )


def test_gauge_is_fixed_within_bounds(xp):
    spec = Parameter(gauge=without_mean, bounds=(-1.0, 1.0))
    value = make_value(xp, "x", spec, ParameterSettings(), np.array([[0.5], [0.9]]))
    value.array = xp.asarray(np.array([[0.9], [1.7]]), exact=True)
    value.fix_gauge(xp)
    np.testing.assert_allclose(xp.to_numpy(value.array), [[0.3], [1.0]])


def test_gauges_are_idempotent_and_do_nothing_to_the_start():
    first = RNG.normal(size=(6, 2))
    moved = first + RNG.normal(size=(6, 2))
    fixed = without_mean(moved, first)
    np.testing.assert_allclose(fixed.mean(0), first.mean(0))
    np.testing.assert_allclose(fixed - fixed.mean(0), moved - moved.mean(0))
    np.testing.assert_allclose(without_mean(fixed, first), fixed)
    np.testing.assert_allclose(without_mean(first, first), first)


def state(values, refined):
    return State(1, 2, values, dict.fromkeys(refined, 0.1), lambda: np.zeros(0))


@pytest.mark.parametrize(("taker", "power"), [("probe", 2.0), ("total", 1.0)])
def test_a_common_factor_goes_into_what_it_multiplies(taker, power):
    """The product, and with it the prediction, stays; a second time nothing changes."""
    scales, taken = RNG.uniform(0.5, 2, (6, 1)), RNG.uniform(1, 2, (3, 4))
    before = state({"scale": scales, taker: taken}, ["scale", taker])
    gauge = FactorGauge("scale", taker, power)
    after = gauge.apply(before).changed
    assert after["scale"].mean() == pytest.approx(1)
    np.testing.assert_allclose(after["scale"] / scales, 1 / scales.mean())
    np.testing.assert_allclose(
        np.multiply.outer(after["scale"], after[taker] ** power), np.multiply.outer(scales, taken**power)
    )
    again = gauge.apply(state(after, ["scale", taker])).changed
    np.testing.assert_allclose(again["scale"], after["scale"])
    np.testing.assert_allclose(again[taker], after[taker])


def test_a_common_offset_goes_into_what_it_is_added_to():
    tilts, center = RNG.normal(size=(6, 3)), np.array([2.0])
    gauge = OffsetGauge("tilt", "center", 1, -1.0)
    after = gauge.apply(state({"tilt": tilts, "center": center}, ["tilt", "center"])).changed
    assert after["tilt"][:, 1].mean() == pytest.approx(0, abs=1e-15)
    np.testing.assert_array_equal(np.delete(after["tilt"], 1, 1), np.delete(tilts, 1, 1))
    np.testing.assert_allclose(after["center"] - after["tilt"][:, 1], center - tilts[:, 1])


@pytest.mark.parametrize("refined", [["scale"], ["probe"], []])
def test_a_factor_that_nothing_else_takes_over_is_what_the_data_say(refined):
    values = {"scale": RNG.uniform(0.5, 2, (6, 1)), "probe": np.ones((2, 2))}
    before = state(values, refined)
    assert FactorGauge("scale", "probe").apply(before) is before
    offset = state({"tilt": values["scale"], "center": np.zeros(1)}, refined)
    assert OffsetGauge("tilt", "center", 0).apply(offset) is offset


def test_an_image_of_the_detector_is_given_as_the_detector_sees_it(tmp_path):
    scan = Scan(background=0.0)
    dark = np.arange(scan.window[0] * scan.window[1], dtype=float).reshape(scan.window)
    np.save(tmp_path / "dark.npy", dark)
    given = ParameterSettings(refine=False, initial=str(tmp_path / "dark.npy"))
    data = scan.dataset(patterns=Exact(scan.patterns() + dark), start_probe=scan.probe())
    settings = {"object": ObjectSettings(margin_px=4), "probe": ProbeSettings(), "background": given}
    run = RunSettings(precision="double", backend="autograd", device="cpu")
    problem = Reconstruction(data, Recipe(Ptychography(), settings, LeastSquares()), run).problem
    obj = scan.object_array(problem.store.shape, problem.bound.origin_px)
    problem.store.restore(obj.astype(complex), problem.store.state())
    problem.values["probe"].array = problem.xp.asarray(scan.probe(), exact=True)
    found = problem.bound.from_model_frame(problem.xp.to_numpy(predict_patterns(problem, np.arange(scan.n))))
    assert relative_error(found - dark, scan.patterns()) < 4e-3
