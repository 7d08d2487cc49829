"""The whole loss as solvers see it: its gradient, its Gauss-Newton matrix, its scaling, and runs that use it."""

from __future__ import annotations

import numpy as np
import pytest
from backends import NEEDS_JAX
from cases import CASES, MODELS, full_scan, insert, ptychography_cases
from laws import assert_same_state, derivative_along, relative_error
from tiny_scan import Scan

from adorym.engine.checkpoint import load_checkpoint, save_checkpoint
from adorym.engine.loop import Reconstruction
from adorym.engine.problem import expanded
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.engine.terms import reference_value
from adorym.engine.whole import FullBatchObjective
from adorym.errors import ConfigError
from adorym.forward.object import ObjectSettings
from adorym.forward.probe import ProbeSettings
from adorym.forward.ptychography import Ptychography
from adorym.losses.counting import LeastSquares, Poisson
from adorym.optics.probes import GaussianProbe
from adorym.parameters import ParameterSettings
from adorym.regularizers.sparsity import L1, L2, Smoothness
from adorym.regularizers.variation import TotalVariation
from adorym.solvers.library import Scipy
from adorym.solvers.memory import LBFGS
from adorym.solvers.newton import LevenbergMarquardt
from adorym.solvers.preconditioners import Estimated, Intensity, Unscaled
from adorym.solvers.splitting import ProximalGradient

SOLVERS = sorted(CASES["solver"])
NAMES = ["object", "probe", "probe_positions", "background"]


def objective_of(backend="torch", solver=None, near=0.0, names=NAMES, regularizers=(), loss=None, case=None):
    """The loss of a small scan, or of another ``case``, with all of ``names`` at (near) the truth."""
    case = case or ptychography_cases()[1]
    recipe = Recipe(case.model, case.settings, loss or LeastSquares(), regularizers)
    run = RunSettings(backend=backend, device="cpu", precision="double")
    problem = Reconstruction(case.dataset, recipe, run).problem
    truth, rng = case.truth(problem.store.shape, problem.bound.origin_px), np.random.default_rng(3)
    for name in names:
        step = near * (1.0 if name == "probe_positions" else np.abs(truth[name]).max())
        truth[name] = truth[name] + step * rng.normal(size=truth[name].shape)
    insert(problem, truth)
    return FullBatchObjective(problem, list(names), np.arange(case.dataset.n_patterns), solver or LBFGS())


def here(objective, name):
    """Where a parameter lies in a flat vector."""
    one = np.flatnonzero(objective.flat(0.0 * objective.scaling | objective.scales().only(name)))
    return slice(one[0], one[-1] + 1)


def random_vector(objective, seed, *names):
    """Noise in the parts ``names``, all of them if none is given, zero elsewhere."""
    flat = np.random.default_rng(seed).normal(size=objective.flat(objective.scaling).size)
    made = objective.vector(flat)
    return 0.0 * made | made.only(*names) if names else made


# -- the function ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("backend", ["torch", "autograd"])
def test_packing_is_lossless(backend):
    whole = objective_of(backend, near=0.05)
    before = whole.values()
    whole.rescale(np.random.default_rng(0))
    u = whole.pack()
    whole.unpack(u)
    assert (whole.values() - before).norm() < 1e-14 * before.norm()
    assert whole.is_at(u) and not whole.is_at((1 + 1e-9) * u)
    np.testing.assert_array_equal(whole.flat(whole.vector(whole.flat(u))), whole.flat(u))


@pytest.mark.parametrize("regularizers", [(), (TotalVariation(weight=0.3), L1(parameter="probe", weight=0.1))])
def test_gradient_of_the_vector(regularizers):
    whole = objective_of(near=0.05, regularizers=regularizers)
    whole.rescale(np.random.default_rng(0))
    u = whole.pack()
    value, gradient = whole.evaluate(u)
    assert value > 0 and whole.evaluations == 1
    for name in whole.names:
        d = random_vector(whole, 1, name)
        d = 1 / d.norm() * d
        numeric = derivative_along(lambda v: whole.evaluate(v)[0], u, d, 1e-5)
        assert numeric == pytest.approx(gradient @ d, rel=1e-4, abs=1e-6 * gradient.norm()), name


@pytest.mark.parametrize("backend", ["torch", "autograd"])
@pytest.mark.parametrize("loss", [LeastSquares(floor=1e-6), Poisson(floor=1e-6)], ids=lambda loss: loss.kind)
def test_product_is_the_hessian_where_the_data_fit(backend, loss):
    """Without residuals, Gauss-Newton is Newton: the product is the change of the gradient."""
    whole = objective_of(backend, loss=loss)
    whole.rescale(np.random.default_rng(0))
    u, v, w = whole.pack(), random_vector(whole, 2), random_vector(whole, 3)
    hv, step = whole.product(u, v), 1e-6 / v.norm()
    change = (1 / (2 * step)) * (whole.evaluate(u + step * v)[1] - whole.evaluate(u - step * v)[1])
    assert (hv - change).norm() < 2e-2 * change.norm()
    hw = whole.product(u, w)
    assert w @ hv == pytest.approx(v @ hw, rel=1e-9)
    assert v @ hv > 0


@pytest.mark.parametrize(
    ("backend", "kind"),
    [(name, kind) for name in ("torch", "autograd") for kind in ("tomography", "ptychotomography", "holotomography")]
    + [pytest.param("jax", "tomography", marks=NEEDS_JAX)],  # it compiles each operation for each shape
)
def test_product_through_operations_of_the_host(backend, kind):
    """Projectors bring the way back by hand; the way forward through them, by volume and pose, is its adjoint."""
    names = ("object", "rotation_angles", "object_shift")
    case = next(each for each in MODELS[kind]() if set(names) <= set(each.settings))
    whole = objective_of(backend, case=case, names=names)
    problem, v, w = whole.problem, random_vector(whole, 2), random_vector(whole, 3)
    found, other = whole.raw_product(v), whole.raw_product(w)
    assert w @ found == pytest.approx(v @ other, rel=1e-6, abs=1e-7 * found.norm() * w.norm())
    x, step = whole.values(), 1e-5

    def amplitudes(at):
        whole._place(at)
        batch = problem.batch(whole.patterns)
        rows, windows = problem.rows(batch), problem.windows(batch)
        inputs = {"object": problem.store.gather(windows), **problem.used(batch, rows)}
        unknown, params = inputs.pop("object"), expanded(problem.xp, inputs, rows)
        obj = problem.bound.space.to_object(problem.xp, unknown, params)
        intensity = problem.xp.to_numpy(problem.model.predict(problem.xp, obj, params, batch))
        return np.sqrt(intensity + batch.floor)

    for name in names:
        part = 0.0 * v | v.only(name)
        change = (amplitudes(x + step * part) - amplitudes(x - step * part)) / (2 * step)
        whole._place(x)
        expected = problem.weight * problem.loss.amplitude_curvature * np.sum(change**2)
        assert part @ whole.raw_product(part) == pytest.approx(expected, rel=1e-4), name


def test_product_holds_the_regularizers():
    term = Smoothness(parameter="probe_positions", weight=50.0)
    plain, held = (objective_of(near=0.02, regularizers=r) for r in ((), (term,)))
    v = random_vector(plain, 0, "probe_positions")
    others = (plain.pack(), held.pack())
    extra = held.product(others[1], random_vector(held, 0, "probe_positions")).host("probe_positions")
    extra = extra - plain.product(others[0], v).host("probe_positions")
    d = np.diff(v.host("probe_positions"), axis=0)
    expected = np.zeros_like(extra)
    expected[1:] += d
    expected[:-1] -= d
    np.testing.assert_allclose(extra, 2 * 50.0 / extra.size * expected, rtol=1e-6, atol=1e-9)


def test_product_holds_the_regularizers_of_the_object():
    term = L2(weight=50.0)
    plain, held = (objective_of(near=0.02, regularizers=r) for r in ((), (term,)))
    found, there = (
        each.product(each.pack(), random_vector(each, 0, "object")).host("object") for each in (held, plain)
    )
    v = random_vector(plain, 0, "object").host("object")
    np.testing.assert_allclose(found - there, 2 * 50.0 / v.size * v, rtol=1e-6, atol=1e-9)


def test_curvature_that_is_not_known_is_refused():
    class Odd(LeastSquares):
        amplitude_curvature = None

    whole = objective_of(loss=Odd())
    with pytest.raises(
        ConfigError, match="solver: the curvature of loss 'least_squares' is not known; choose a solver"
    ):
        whole.product(whole.pack(), whole.pack())


@pytest.mark.parametrize("preconditioner", [Intensity(), Estimated(probes=40)], ids=lambda p: p.kind)
def test_scaling_evens_out_the_curvature(preconditioner):
    """In the scaled unknowns the diagonal of the Gauss-Newton matrix is about one, whatever the parameter's unit is."""
    whole = objective_of(solver=LBFGS(preconditioner=preconditioner))
    whole.rescale(np.random.default_rng(0))
    u, rng = whole.pack(), np.random.default_rng(5)
    sizes = {}
    for name in whole.names:
        products = []
        for _ in range(6):
            v = 0.0 * u | whole.signs(rng).only(name)
            products.append((v @ whole.product(u, v)) / (v @ v))
        sizes[name] = np.mean(products)
    assert all(0.005 < size < 3 for size in sizes.values()), sizes


def test_no_scaling_is_the_natural_size():
    whole = objective_of(solver=LBFGS(preconditioner=Unscaled()))
    whole.rescale(np.random.default_rng(0))
    np.testing.assert_allclose(whole.flat(whole.scaling), whole.flat(whole.scales()), rtol=1e-6)


def test_bounds_are_those_of_the_parameters():
    whole = objective_of()
    low, _ = whole.bounds()
    assert (low[here(whole, "background")] == 0).all() and np.isneginf(low[here(whole, "object")]).all()
    assert objective_of(names=["object", "probe"]).bounds() is None


def test_splitting_leaves_the_first_proximal_term_out():
    terms = (L1(weight=0.5), TotalVariation(weight=0.2), L1(parameter="probe", weight=0.1))
    whole = objective_of(solver=ProximalGradient(), regularizers=terms, near=0.05)
    assert [whole.proximal[n] for n in ("object", "probe")] == [terms[0], terms[2]] and whole.smooth == [terms[1]]
    whole.rescale(np.random.default_rng(0))
    u = whole.pack()
    assert all(np.ptp(np.real(whole.scaling.host(name))) == 0 for name in whole.names)
    moved = whole.prox(u, 0.3)
    before, after = ((each * whole.scaling).host("object") for each in (u, moved))
    step = 0.3 * whole.scaling.host("object")[0, 0].real ** 2 * 0.5 / before.size
    size = np.abs(before - 1)
    np.testing.assert_allclose(np.abs(after - 1), np.maximum(size - step, 0), atol=1e-9)
    assert whole.left_out(u) > whole.left_out(moved)


# -- runs --------------------------------------------------------------------------------------------------------------
def reconstruction(solver, epochs=6, backend="torch", regularizers=(), scale=1.0, precision="double", **settings):
    scan = Scan(grid=(5, 5))
    patterns = np.random.default_rng(0).poisson(scan.patterns()) * scale
    from tiny_scan import Exact

    parameters = {
        "object": ObjectSettings(margin_px=2, **settings),
        "probe": ProbeSettings(initial=GaussianProbe(fwhm="5 px")),
        "probe_positions": ParameterSettings(start=1),
    }
    recipe = Recipe(Ptychography(), parameters, LeastSquares(), regularizers, (), solver)
    run = RunSettings(epochs=epochs, backend=backend, device="cpu", precision=precision)
    return Reconstruction(scan.dataset(patterns=Exact(patterns)), recipe, run)


@pytest.mark.parametrize("backend", ["torch", "autograd"])
@pytest.mark.parametrize("name", SOLVERS)
def test_a_run_lowers_the_loss(name, backend):
    run = reconstruction(CASES["solver"][name](None), 5, backend, (TotalVariation(weight=1e-3),))
    losses = [record.loss for record in run.epochs()]
    assert losses[-1] < 0.9 * losses[0] and np.isfinite(losses).all()
    assert run.solving.evaluations >= len(losses)


@pytest.mark.parametrize("name", [name for name in SOLVERS if name != "scipy"])
def test_a_resumed_run_is_the_uninterrupted_one(name, tmp_path):
    solver = CASES["solver"][name](None)
    straight, first, second = (reconstruction(solver, 5) for _ in range(3))
    list(straight.epochs())
    list(first.epochs(3))
    save_checkpoint(first, tmp_path / "checkpoint.h5", {})
    load_checkpoint(second, tmp_path / "checkpoint.h5", {})
    list(second.epochs(2))
    assert_same_state(second, straight)


def test_the_solver_ends_the_run_in_its_own_words():
    from adorym.engine.outcome import outcome

    run = reconstruction(Scipy(iterations=400, tolerance=1e-2), 8)
    list(run.epochs())
    assert run.stop_reason.startswith("scipy L-BFGS-B: CONVERGENCE") and run.progress.epoch < 8
    provenance = outcome(run).provenance
    assert provenance["solver"] == "scipy" and "CONVERGENCE" in provenance["solver_ended"]
    assert int(provenance["loss_evaluations"]) == run.solving.evaluations


@pytest.mark.parametrize("solver", [LBFGS(preconditioner=Estimated(probes=1)), Scipy()], ids=lambda s: s.kind)
def test_a_single_number_keeps_its_shape(solver):
    parameters = {"probe_defocus": ParameterSettings()}
    recipe = Recipe(Ptychography(), parameters, LeastSquares(), solver=solver)
    run = Reconstruction(full_scan("far_field", 1).dataset(), recipe, RunSettings(epochs=2, device="cpu"))
    list(run.epochs())
    value = run.problem.values["probe_defocus"]
    assert tuple(value.array.shape) == value.first.shape


@pytest.mark.parametrize("solver", [LBFGS(), LevenbergMarquardt()], ids=lambda s: s.kind)
def test_single_precision_goes_on_from_the_point_it_left(solver):
    run = reconstruction(solver, 6, precision="single")
    losses = [record.loss for record in run.epochs(4)]
    assert losses[-1] < 0.9 * losses[0]
    assert "state.gradient" in run.solving.memory
    assert run.problem.store.values().dtype == np.complex64


def test_rest_is_vacuum_or_the_start():
    problem = reconstruction(LBFGS()).problem
    assert reference_value(problem, "object") == 1 and reference_value(problem, "probe") == 0
    positions = problem.xp.to_numpy(reference_value(problem, "probe_positions"))
    np.testing.assert_array_equal(positions, problem.values["probe_positions"].first)
    assert reference_value(reconstruction(LBFGS(), representation="delta_beta").problem, "object") == 0


# -- no rate to tune ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("solver", [None, LBFGS()], ids=["steps", "solver"])
def test_scaled_data_give_the_same_object(solver):
    """The same configuration, counts times 1e-3, 1 and 1e3: every default rate scales along."""
    objects = []
    for scale in (1e-3, 1.0, 1e3):
        run = reconstruction(solver, 6, scale=scale, regularizers=(TotalVariation(weight=1e-3),))
        list(run.epochs())
        objects.append(run.problem.store.values())
    assert relative_error(objects[0], objects[1]) < 1e-6 and relative_error(objects[2], objects[1]) < 1e-6
    assert relative_error(objects[1], np.ones_like(objects[1])) > 0.1


@pytest.mark.parametrize(("name", "factor"), [("background", 1e3), ("probe_defocus", 1e6)])
def test_default_rates_follow_counts_and_pixel_size(name, factor):
    """A background moves in steps of the mean count, a defocus in steps of the square of the pixel size."""
    rates = []
    for scale in (1.0, 1e3):
        scan = full_scan("far_field", 1)
        dataset = scan.dataset()
        if name == "background":
            from tiny_scan import Exact

            dataset = dataset.with_(patterns=Exact(scan.patterns() * scale))
        else:
            dataset = dataset.with_(pixel_size_m=tuple(scale * p for p in dataset.pixel_size_m))
        recipe = Recipe(Ptychography(), {name: ParameterSettings()}, LeastSquares())
        rates.append(Reconstruction(dataset, recipe, RunSettings(device="cpu")).problem.values[name].rate)
    assert rates[1] / rates[0] == pytest.approx(factor)
