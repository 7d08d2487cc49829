"""The laws of forward models: gradients, truth in and data out, and patterns that do not depend on the batch."""

from __future__ import annotations

import numpy as np
import pytest
from backends import BACKEND_PARAMS
from cases import CASES, MODELS, full_scan, insert, ptychography_cases
from laws import assert_gradients, noise, relative_error
from tiny_scan import REGIMES, Scan

from adorym.engine.outcome import predict_patterns
from adorym.engine.problem import Problem
from adorym.forward.base import ForwardModel, Request

MADE = [make() for make in MODELS.values()]
MODEL_CASES, ONE_OF_EACH = [case for cases in MADE for case in cases], [cases[-1] for cases in MADE]
LOSSES = sorted(CASES["loss"])


def true_values(case, problem: Problem) -> dict[str, np.ndarray]:
    return case.truth(problem.store.shape, problem.bound.origin_px)


def near_truth(case, problem: Problem, seed: int = 4) -> dict[str, np.ndarray]:
    """Values at which no gradient vanishes, and no position sits where its window would move on."""
    rng, values = np.random.default_rng(seed), true_values(case, problem)
    for name, value in values.items():
        step = 0.05 * case.scales.get(name, float(np.abs(value).max()) if name in ("object", "probe") else 1.0)
        values[name] = value + step * noise(rng, value.shape, np.iscomplexobj(value))
    if "background" in values:
        values["background"] = np.abs(values["background"]) + 0.1
    return values


def inputs(problem: Problem, patterns: np.ndarray):
    """The unknown of the object and the other parameters, as a batch of ``patterns`` has them."""
    _, params, batch = problem.inputs(patterns)
    return {"object": problem.store.gather(problem.windows(batch)), **params}, batch


def objective(problem: Problem, batch, wanted, curvature=(), plain=False):
    """``tree -> (loss, curvatures)`` of one batch, through the fused operation or without it."""
    model, bound = problem.model, problem.bound
    request = Request(frozenset(wanted), {name: bound.preconditioner(name) for name in sorted(curvature)}, 1e-3)

    def f(tree):
        params = dict(tree)
        obj = bound.space.to_object(problem.xp, params.pop("object"), params)
        arguments = (problem.xp, obj, params, batch, problem.loss, request)
        return ForwardModel.objective(model, *arguments) if plain else model.objective(*arguments)

    return f


# -- law 3: gradients --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("backend", BACKEND_PARAMS)
@pytest.mark.parametrize("case", ONE_OF_EACH, ids=lambda c: c.name)
def test_gradient_of_every_parameter_on_every_backend(case, backend, tmp_path):
    test_gradient_of_every_parameter(case, "least_squares", backend, tmp_path)


@pytest.mark.parametrize("backend", ["torch", "autograd"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("case", MODEL_CASES, ids=lambda c: c.name)
def test_gradient_of_every_parameter(case, loss, backend, tmp_path):
    problem = case.problem(CASES["loss"][loss](tmp_path), backend=backend)
    insert(problem, near_truth(case, problem))
    tree, batch = inputs(problem, np.array([0, 3, 4, 11, 18]))
    assert set(tree) == set(case.settings)
    steered = {name: a for name, a in tree.items() if not problem.unknowns[name].spec.by_update}
    for plain in (False, True):
        f = objective(problem, batch, steered, plain=plain)
        assert_gradients(problem.xp, lambda part, f=f: f({**tree, **part}), steered, case.scales, case.rtol)


@pytest.mark.parametrize("backend", ["torch", "autograd"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("case", MODEL_CASES, ids=lambda c: c.name)
def test_fused_and_plain_agree_whatever_is_wanted(case, loss, backend, tmp_path):
    """Value, gradients of the wanted parameters, and curvatures; one parameter at a time and all together."""
    problem = case.problem(CASES["loss"][loss](tmp_path), backend=backend)
    xp = problem.xp
    insert(problem, near_truth(case, problem))
    tree, batch = inputs(problem, np.array([1, 2, 7, 12]))
    curved = [n for n in case.settings if problem.unknowns[n].optimizer.needs_curvature]
    for wanted in [[name] for name in tree] + [sorted(tree)]:
        constants = {n: a for n, a in tree.items() if n not in wanted}
        found = []
        for plain in (False, True):
            f = objective(problem, batch, wanted, [n for n in curved if n in wanted], plain)
            value, curvatures, gradients = xp.value_and_grad(lambda t, f=f, constants=constants: f(constants | t))(
                {n: tree[n] for n in wanted}
            )
            found.append((value, curvatures, gradients))
        (value, curvatures, gradients), (value_2, curvatures_2, gradients_2) = found
        assert value == pytest.approx(value_2, rel=1e-12)
        assert set(curvatures) == set(curvatures_2) == {n for n in curved if n in wanted}
        for a, b in ((gradients, gradients_2), (curvatures, curvatures_2)):
            for name in b:
                assert relative_error(xp.to_numpy(a[name]), xp.to_numpy(b[name])) < 1e-10, name


@pytest.mark.parametrize("case", MODEL_CASES, ids=lambda c: c.name)
def test_backends_and_precisions_predict_the_same(case):
    patterns = np.array([5, 6, 13])
    found = {}
    for backend in ("torch", "autograd"):
        for precision in ("single", "double"):
            problem = case.problem(backend=backend, precision=precision)
            insert(problem, near_truth(case, problem))
            found[backend, precision] = problem.xp.to_numpy(predict_patterns(problem, patterns))
            assert found[backend, precision].dtype == problem.xp.float_dtype
    exact = found["autograd", "double"]
    assert relative_error(found["torch", "double"], exact) < 1e-12
    assert relative_error(found["autograd", "single"], exact) < 2e-5
    assert relative_error(found["torch", "single"], exact) < 2e-5


# -- law 4: truth in, data out -----------------------------------------------------------------------------------------
def loss_at(case, problem: Problem, values: dict[str, np.ndarray]) -> float:
    insert(problem, values)
    patterns = np.arange(problem.dataset.n_patterns)
    tree, batch = inputs(problem, patterns)
    return float(objective(problem, batch, ())(tree)[0]) * 1e3 * problem.weight


@pytest.mark.parametrize(
    "case", MODEL_CASES + ptychography_cases((24, 28)), ids=lambda c: f"{c.name}-{c.dataset.window_px}"
)
def test_truth_in_data_out(case):
    problem = case.problem()
    truth = true_values(case, problem)
    floor = loss_at(case, problem, truth)
    assert floor < case.floor
    wrong = {
        "object": lambda v: v * np.exp(0.1j * np.sin(np.arange(v.shape[1]))).reshape(-1, *(1,) * (v.ndim - 2)) + 0.05,
        "probe": lambda v: v * 1.05,
        "probe_positions": lambda v: v + 0.2 * np.array([1, -1])[np.arange(len(v)) % 2][:, None],
        "probe_offset": lambda v: -v,
        "probe_defocus": lambda v: v + 1e-4,
        "intensity_scale": lambda v: 1.1 * v[::-1],
        "background": lambda v: v * 3,
        "propagation_distance": lambda v: v * 1.2,
        "support": lambda v: v * (np.arange(v.shape[1])[None, :, None] != v.shape[1] // 2),
        "coherence_blur": lambda v: v + 0.2,
        "rocking_positions": lambda v: v + 0.2 * np.array([1, -1])[np.arange(len(v)) % 2][:, None],
        "displacement": lambda v: v * 1.3,
        "reflection_scale": lambda v: v * np.array([1.0, 1.2]),
        "slice_spacing": lambda v: v * 10,
        "object_tilt": lambda v: -v,
        "object_tilts": lambda v: -v,
        "rotation_angles": lambda v: v + 0.2,
        "rotation_center": lambda v: v + 1.0,
        "axis_tilt": lambda v: v + 0.1,
        "tilt": lambda v: v + 0.1,
        "object_shift": lambda v: v + 1.0,
        "pixel_gain": lambda v: v * 1.1,
        "beam_hardening": lambda v: v * 2,
        "common_distance": lambda v: v + 0.05,
        "relative_distances": lambda v: 10 * v,
        "affine": lambda v: v + 0.1 * (np.arange(len(v)) > 0)[:, None],
        "translation": lambda v: v + 1.0,
        "pixel_ratio": lambda v: v + 0.1,
        "illumination": lambda v: v * 1.1,
        "log10_kappa": lambda v: v - 0.5,
        "beam_shape": lambda v: v + 0.1,
        "dark_field": lambda v: v + 0.1,
        "reference_shift": lambda v: v + 0.5,
        "pupil": lambda v: v * 1.1,
        "detector_roll": lambda v: v + 0.1,
        "detector_tilt": lambda v: v + 0.4,
        "detector_shift": lambda v: v + 1.0,
        "source_distance": lambda v: v * 1.2,
        "detector_distance": lambda v: v * 1.2,
        "time_course": lambda v: v[::-1],
        "led_places": lambda v: v + 0.3 * np.array([1, -1])[np.arange(len(v)) % 2][:, None],
    }
    for name in truth:
        assert loss_at(case, problem, truth | {name: wrong[name](truth[name])}) > 3 * floor + 1e-6, name


@pytest.mark.parametrize("case", MODEL_CASES, ids=lambda c: c.name)
def test_patterns_do_not_depend_on_the_batch(case):
    problem = case.problem()
    insert(problem, near_truth(case, problem))
    index = np.array([0, 1, 4, 9, 10, 17, 19])
    whole = problem.xp.to_numpy(predict_patterns(problem, index))
    assert whole.shape == (7, *problem.dataset.window_px)
    assert np.isfinite(whole).all() and whole.min() >= 0
    halves = [problem.xp.to_numpy(predict_patterns(problem, part)) for part in (index[:3], index[3:])]
    np.testing.assert_allclose(np.concatenate(halves), whole, rtol=1e-12)


# -- windows follow the positions --------------------------------------------------------------------------------------
def moved(scan: Scan, by: np.ndarray, margin: int = 10):
    """Problem of ``scan`` whose recorded positions are off, the true ones put in by a correction of ``by`` px."""
    case = next(c for c in ptychography_cases() if c.name == f"{scan.regime}-{scan.modes}")
    settings = {"object": type(case.settings["object"])(margin_px=margin), "probe": case.settings["probe"]}
    settings["probe_positions"] = case.settings["probe_positions"]
    dataset = scan.dataset(probe_positions_px=scan.positions - by)
    problem = type(case)(**(vars(case) | {"dataset": dataset, "settings": settings})).problem()
    values = {"object": scan.object_array(problem.store.shape, problem.bound.origin_px), "probe": scan.probe()}
    insert(problem, values | {"probe_positions": scan.positions})
    return problem


@pytest.mark.parametrize("by", [0.0, 0.4, 0.6, -3.3, 8.0, -8.0])
@pytest.mark.parametrize("regime", REGIMES)
def test_windows_follow_a_correction_and_nothing_wraps_around(regime, by):
    """The beam is as wide as the window allows: a shift by pixels would bring its tail in from the other side."""
    scan = Scan(regime=regime)
    problem = moved(scan, np.array([by, -by]))
    index = np.arange(scan.n)
    predicted = problem.bound.from_model_frame(problem.xp.to_numpy(predict_patterns(problem, index)))
    assert relative_error(predicted, scan.patterns()) < 2e-3
    _, params, batch = problem.inputs(index)
    assert np.abs(params["probe_positions"]).max() <= 0.5
    np.testing.assert_array_equal(batch.corners_px - problem.bound.origin_px, np.rint(scan.positions))


def test_window_moves_on_at_half_a_pixel():
    problem = moved(Scan(), np.zeros(2))
    value = problem.values["probe_positions"]
    for position, corner in ((2.49, 2), (2.51, 3), (3.4, 3)):
        value.array[5] = position
        assert (problem.corners_px(np.array([5])) - problem.bound.origin_px == corner).all()
        assert problem.inputs(np.array([5]))[1]["probe_positions"] == pytest.approx(position - corner)


@pytest.mark.parametrize("regime", REGIMES)
def test_prediction_is_continuous_where_the_window_moves_on(regime):
    scan = Scan(regime=regime, window=(24, 28), size_px=2.4)
    problem = moved(scan, np.zeros(2))
    patterns = []
    for position in (2.5 - 1e-7, 2.5 + 1e-7):
        problem.values["probe_positions"].array[5] = position
        patterns.append(problem.xp.to_numpy(predict_patterns(problem, np.array([5]))))
    assert relative_error(*patterns) < 1e-5


@pytest.mark.parametrize("regime", REGIMES)
def test_windows_follow_the_common_offset_of_an_angle(regime):
    scan = full_scan(regime, 1, offset_px=np.array([[5.4, -6.3], [-5.4, 6.3]]))
    case = next(c for c in ptychography_cases() if c.name == f"{regime}-1")
    settings = dict(case.settings) | {"object": type(case.settings["object"])(margin_px=12)}
    problem = type(case)(**(vars(case) | {"dataset": scan.dataset(), "settings": settings})).problem()
    truth = case.truth(problem.store.shape, problem.bound.origin_px)
    insert(problem, truth | {"probe_offset": scan.offset_px})
    index = np.arange(scan.n)
    predicted = problem.bound.from_model_frame(problem.xp.to_numpy(predict_patterns(problem, index)))
    assert relative_error(predicted, scan.patterns()) < 2e-3
