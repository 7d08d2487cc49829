"""Regularizers and constraints as a problem applies them, and objects that are solved for as delta and beta."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES, ptychography_cases
from laws import derivative_along, noise, relative_error
from tiny_scan import Exact, Scan

from adorym.config import config_from
from adorym.constraints.object import Homogeneous, MagnitudeLimit, NonNegativity, PhaseOnly
from adorym.engine.build import build
from adorym.engine.gradients import batch_gradients
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import outcome
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.engine.terms import batch_terms, projected, proximal, share_of_rows, term_gradient
from adorym.errors import ConfigErrors, InputError
from adorym.forward.object import ObjectSettings
from adorym.forward.ptychography import Ptychography
from adorym.losses.counting import LeastSquares
from adorym.optics.representation import (
    exponent_of,
    optical_constants_of,
    transmission_of,
)
from adorym.parameters import ParameterSettings
from adorym.regularizers.sparsity import L1, L2, Smoothness
from adorym.regularizers.variation import TotalVariation
from adorym.wrapper import get_backend


def problem(regularizers=(), constraints=(), representation="real_imag", backend="autograd", scans=2):
    scan = Scan(scans=scans)
    parameters = {
        "object": ObjectSettings(margin_px=3, representation=representation),
        "probe_positions": ParameterSettings(),
        "probe_offset": ParameterSettings(),
    }
    recipe = Recipe(Ptychography(), parameters, LeastSquares(), regularizers, constraints)
    run = RunSettings(backend=backend, device="cpu", precision="double")
    return build(scan.dataset(), recipe, run, np.random.default_rng(0))


# -- regularizers ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["probe_positions", "probe_offset", "probe", "object"])
def test_every_element_is_pulled_once_an_epoch(name):
    """The gradients of the batches add up to that of the whole term, whatever rows a batch sees."""
    made = problem((L2(parameter=name, weight=0.7),))
    rng = np.random.default_rng(1)
    if name == "object":
        made.store.restore(noise(rng, made.store.shape, True), made.store.state())
    else:
        value = made.values[name]
        value.array = made.xp.asarray(value.array + rng.normal(size=value.array.shape), exact=True)
    array = made.store.values() if name == "object" else made.values[name].array
    cost, whole = term_gradient(made, made.regularizers[0], made.xp.asarray(array, exact=True), 1.0)
    total, costs = np.zeros_like(whole), 0.0
    for batch in (np.arange(0, 7), np.arange(7, 9), np.arange(9, 20)):
        value, found = batch_terms(made, batch, {name}, len(batch) / 20)
        costs += value
        if name in found:
            rows = made.values[name].rows(batch, made.dataset.angle_index[batch])
            total[slice(None) if rows is None else rows[0]] += made.xp.to_numpy(found[name])
    if name == "object":
        made.store.update(lambda tile, gradient, state, _: (total.__iadd__(made.xp.to_numpy(gradient.values)), state))
    assert costs == pytest.approx(cost) and cost > 0
    np.testing.assert_allclose(total, whole, rtol=1e-12)


def test_shares_of_rows():
    made = problem()
    assert (share_of_rows(made, "probe_positions", np.array([3, 8])) == 1).all()
    np.testing.assert_allclose(share_of_rows(made, "probe_offset", np.array([0, 2, 3])), [0.2, 0.1])


def test_a_run_pulls_positions_towards_a_smooth_course():
    scan = Scan(grid=(2, 9))
    rng = np.random.default_rng(3)
    jumps = []
    for weight in (1e-6, 3.0):
        term = Smoothness(parameter="probe_positions", weight=weight)
        recipe = Recipe(Ptychography(), {"probe_positions": ParameterSettings()}, LeastSquares(), (term,))
        patterns = Exact(rng.poisson(scan.patterns() / 50).astype(float))
        made = Reconstruction(scan.dataset(patterns=patterns), recipe, RunSettings(epochs=6, device="cpu"))
        list(made.epochs())
        value = made.problem.values["probe_positions"]
        jumps.append(np.square(np.diff(made.problem.xp.to_numpy(value.array) - value.first, axis=0)).sum())
    assert jumps[1] < 0.5 * jumps[0]


def test_proximal_operator_of_a_parameter_keeps_its_units():
    made = problem((L1(parameter="probe", weight=2.0),))
    probe = made.values["probe"]
    u, size = probe.array / probe.scale, np.prod(probe.array.shape)
    found = made.xp.to_numpy(proximal(made, made.regularizers[0], probe.array, 50.0)) / probe.scale
    expected = np.maximum(np.abs(u) - 2.0 * 50.0 / (size * probe.scale**2), 0)
    np.testing.assert_allclose(np.abs(found), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("section", "match"),
    [
        (
            {"regularizers": [{"kind": "l1", "parameter": "prob", "weight": 1.0}]},
            r"regularizers\[0\].parameter: forward model 'ptychography' has no 'prob'; did you mean 'probe'",
        ),
        (
            {"regularizers": [{"kind": "l1", "parameter": "background", "weight": 1.0}]},
            r"regularizers\[0\]: 'l1' acts on the background, which is not refined",
        ),
        (
            {"regularizers": [{"kind": "smoothness", "parameter": "probe", "weight": 1.0}]},
            r"regularizers\[0\].parameter: 'probe' is not a series over patterns or angles",
        ),
        (
            {"constraints": [{"kind": "position_limit", "maximum": "2 px"}]},
            r"constraints\[0\]: 'position_limit' acts on the probe_positions, which is not refined",
        ),
    ],
)
def test_terms_that_can_do_nothing_are_refused(section, match):
    from adorym.engine.build import bind

    config = config_from({"data": "none.h5", "forward_model": "ptychography", **section})
    with pytest.raises((InputError, ConfigErrors), match=match):
        bind(Scan().dataset(), config.recipe, config.run)


# -- constraints -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("representation", ["real_imag", "delta_beta"])
@pytest.mark.parametrize("name", [n for n in CASES["constraint"] if CASES["constraint"][n].__name__ == "<lambda>"])
def test_constraints_are_projections_in_both_representations(name, representation):
    constraint = CASES["constraint"][name](None)
    if constraint.parameter != "object":
        return
    made = problem(representation=representation)
    rng = np.random.default_rng(2)
    start = made.xp.asarray(0.8 * np.exp(0.5 * noise(rng, made.store.shape, True)))
    start = exponent_of(made.xp, start) if representation == "delta_beta" else start
    once = made.xp.to_numpy(projected(made, constraint, made.xp.copy(start)))
    twice = made.xp.to_numpy(projected(made, constraint, made.xp.asarray(once.copy())))
    assert relative_error(twice, once) < 1e-6


def test_constraints_mean_the_same_in_both_representations():
    rng = np.random.default_rng(4)
    for constraint in (MagnitudeLimit(maximum=0.9), NonNegativity(), PhaseOnly(), Homogeneous(kappa=3.0)):
        direct, other = problem(), problem(representation="delta_beta")
        obj = 0.9 * np.exp(0.4 * noise(rng, direct.store.shape, True))
        made = projected(direct, constraint, direct.xp.asarray(obj.copy()))
        through = projected(other, constraint, exponent_of(other.xp, other.xp.asarray(obj.copy())))
        assert relative_error(transmission_of(other.xp, through), made) < 1e-9


def test_a_phase_beyond_pi_keeps_its_turns():
    made = problem(representation="delta_beta")
    lag = np.linspace(0, 20, np.prod(made.store.shape)).reshape(made.store.shape)
    found = projected(made, MagnitudeLimit(maximum=0.5), made.xp.asarray(0.1 + 1j * lag))
    np.testing.assert_allclose(found.imag, lag, atol=1e-9)
    np.testing.assert_allclose(found.real, np.log(2), rtol=1e-9)


# -- delta and beta ----------------------------------------------------------------------------------------------------
def exponent_from_constants(delta_beta, thickness_m, wavelength_m):
    return 2 * np.pi / wavelength_m * thickness_m * (delta_beta[..., 1] + 1j * delta_beta[..., 0])


@pytest.mark.parametrize("backend", ["torch", "autograd"])
def test_conversions_are_inverse(backend):
    xp, rng = get_backend(backend, device="cpu", precision="double"), np.random.default_rng(0)
    exponent = 0.3 * np.abs(rng.normal(size=(5, 6))) + 1j * rng.uniform(-3, 3, (5, 6))
    back = xp.to_numpy(exponent_of(xp, transmission_of(xp, xp.asarray(exponent))))
    np.testing.assert_allclose(back, exponent, rtol=1e-10)
    constants = optical_constants_of(exponent, 2e-6, 1.5e-10)
    np.testing.assert_allclose(exponent_from_constants(constants, 2e-6, 1.5e-10), exponent, rtol=1e-12)
    assert np.isfinite(xp.to_numpy(exponent_of(xp, xp.asarray(np.zeros((2, 2), complex))))).all()


@pytest.mark.parametrize("backend", ["torch", "autograd"])
@pytest.mark.parametrize("case", ptychography_cases()[:3:2], ids=lambda case: case.name)
def test_gradient_by_delta_and_beta(case, backend):
    """Of the loss of a batch, by finite differences through the store."""
    settings = {**case.settings, "object": ObjectSettings(margin_px=4, representation="delta_beta")}
    recipe = Recipe(case.model, settings, LeastSquares())
    run = RunSettings(backend=backend, device="cpu", precision="double")
    made = build(case.dataset, recipe, run, np.random.default_rng(0))
    rng, batch = np.random.default_rng(1), np.arange(5)
    start = 0.1 * np.abs(noise(rng, made.store.shape)) + 0.5j * noise(rng, made.store.shape)
    direction, kept = noise(rng, start.shape, True), []

    def loss(stored):
        made.store.restore(stored, made.store.state())
        value, _ = batch_gradients(made, batch, frozenset({"object"}))
        made.store.update(lambda t, g, s, _: (kept.append(np.array(made.xp.to_numpy(g.values))) or t, s))
        return value

    loss(start)
    expected = np.sum(np.conj(kept[0]) * direction).real
    assert derivative_along(loss, start, direction, 1e-4) == pytest.approx(expected, rel=1e-6)


def test_a_run_in_delta_and_beta_finds_the_same_object():
    results = {}
    for representation in ("real_imag", "delta_beta"):
        scan = Scan(grid=(5, 5))
        recipe = Recipe(
            Ptychography(), {"object": ObjectSettings(margin_px=2, representation=representation)}, LeastSquares()
        )
        run = Reconstruction(scan.dataset(), recipe, RunSettings(epochs=60, device="cpu", precision="double"))
        losses = [record.loss for record in run.epochs()]
        results[representation] = outcome(run), losses[-1] / losses[0], run
    assert all(found[1] < 0.05 for found in results.values())
    result, _, run = results["delta_beta"]
    assert result.representation == "delta_beta" and result.object.dtype == np.float32
    geometry, dataset = run.problem.bound.geometry, run.problem.dataset
    assert result.pixel_size_m == pytest.approx((*dataset.pixel_size_m, dataset.pixel_size_m[1]))
    exponent = exponent_from_constants(result.object, result.pixel_size_m[2], geometry.wavelength_m)[..., 0]
    # The result has the factor of the convention: a constant, which the probe takes up.
    difference = exponent - run.problem.store.values()
    np.testing.assert_allclose(difference, difference.mean(), rtol=1e-5, atol=1e-5)


def test_delta_and_beta_need_the_energy():
    recipe = Recipe(Ptychography(), {"object": ObjectSettings(representation="delta_beta")}, LeastSquares())
    with pytest.raises(InputError, match="energy"):
        build(Scan().dataset(energy_ev=None), recipe, RunSettings(device="cpu"), np.random.default_rng(0))


def test_total_variation_is_that_of_the_exponent():
    term = TotalVariation(weight=1.0)
    made = problem((term,), representation="delta_beta")
    rng = np.random.default_rng(0)
    stored = noise(rng, made.store.shape, True)
    cost, _ = term_gradient(made, term, made.xp.asarray(stored), 1.0)
    assert cost == pytest.approx(float(term.value(made.xp, made.xp.asarray(stored))) / stored.size)
