"""Holography: gauges, focus, reference, errors, and data made on another grid."""

from __future__ import annotations

import re

import numpy as np
import pytest
from cases import holography_cases, insert
from laws import relative_error
from tiny_holograms import ENERGY_EV, N, joined, object_of, series
from tiny_scan import Exact

from adorym.api import prepare
from adorym.constraints.object import AbsorptionOnly, Homogeneous, MagnitudeLimit, NonNegativity, PhaseLimit, PhaseOnly
from adorym.constraints.support import ShrinkWrap, Support
from adorym.data.native_write import write_native
from adorym.data.tiles import Tiling
from adorym.engine.build import build
from adorym.engine.guard import data_loss
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import outcome, predict_patterns
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.engine.terms import projected, term_gradient
from adorym.errors import ConfigError, DataError, GeometryError
from adorym.forward import holography
from adorym.forward.holography import Holography
from adorym.forward.object import ObjectSettings
from adorym.losses.counting import LeastSquares
from adorym.metrics.holograms import map_error
from adorym.optimizers.first_order import Adam
from adorym.parameters import ParameterSettings
from adorym.preconditioners import Point
from adorym.regularizers.sparsity import L1, L2, ReweightedL1
from adorym.regularizers.variation import TotalVariation
from adorym.simulate.holograms import Holography as Experiment
from adorym.simulate.holograms import Misalignment
from adorym.simulate.noise import Noise
from adorym.simulate.phantoms import Pictures
from adorym.updates import State
from adorym.updates.autofocus import Autofocus, FocusUpdate, refocused

ALL = tuple(range(N))
RUN = RunSettings(precision="double", backend="torch", device="cpu")


def reconstruction(model=None, dataset=None, names=(), **run):
    model = model or Holography()
    settings = {name: model.refinable[name].settings() for name in names}
    run = {"precision": "double", "backend": "torch", "device": "cpu", "epochs": 3} | run
    return Reconstruction(dataset or series(), Recipe(model, settings, LeastSquares()), RunSettings(**run))


def predicted(problem):
    return problem.xp.to_numpy(predict_patterns(problem, np.arange(problem.dataset.n_patterns)))


# -- gauges ------------------------------------------------------------------------------------------------------------
def test_a_common_distance_refocuses_the_object():
    """prop(O, z + c) = prop(prop(O, c), z)."""
    problem = reconstruction(Holography(buffer_px=8), names=["common_distance"]).problem
    obj, grid = object_of(problem.store.shape), problem.bound.geometry.grid_of(problem.store.shape)
    insert(problem, {"object": obj, "common_distance": np.array([0.02])})
    before = predicted(problem)
    insert(problem, {"object": refocused(obj, grid, 0.005), "common_distance": np.array([0.015])})
    assert relative_error(predicted(problem), before) < 1e-10


@pytest.mark.parametrize("propagator", ["fresnel", "angular_spectrum"])
def test_autofocus_leaves_the_fit_as_it_is(propagator):
    scaled = 2e-4  # visible light at large angles: the two propagators differ
    data = series(energy_ev=scaled * ENERGY_EV, propagation_distance_m=scaled * np.linspace(0.03, 0.2, N))
    model = Holography(buffer_px=8, propagation=propagator, autofocus=Autofocus(reach=scaled * 0.02))
    problem = reconstruction(model, data, names=["common_distance"]).problem
    insert(problem, {"object": object_of(problem.store.shape)})
    before = predicted(problem)
    (update,) = (each for each in problem.bound.updates if isinstance(each, FocusUpdate))
    after = update.apply(State(1, 1, {"common_distance": np.zeros(1)}, {}, problem.store.values))
    assert after.values["common_distance"][0] != 0
    insert(problem, {"object": after.new_object, "common_distance": after.values["common_distance"]})
    assert relative_error(predicted(problem), before) < 1e-10


def test_a_focus_that_spoils_the_fit_is_not_kept(monkeypatch, caplog):
    def run():
        model = Holography(buffer_px=8, autofocus=Autofocus(reach=0.02))
        made = reconstruction(model, names=["common_distance"], epochs=2)
        for _ in made.epochs():
            pass
        return made, data_loss(made.problem, made.batches())

    focused, fitted = run()
    assert (
        fitted < 1e-20
        and abs(focused.problem.present()["common_distance"][0]) > 1e-3
        and "fits worse" not in caplog.text
    )
    monkeypatch.setattr("adorym.updates.autofocus.refocused", lambda obj, *others: 0.5 * obj)
    left, loss = run()
    assert loss < 1e-20 and abs(left.problem.present()["common_distance"][0]) < 1e-12
    assert "it is left as it was. Search the focus in earlier epochs with 'forward_model.autofocus.at'" in caplog.text


def test_relative_distances_have_no_mean():
    problem = reconstruction(names=["relative_distances"]).problem
    insert(problem, {"object": object_of(problem.store.shape)})
    before = predicted(problem)
    insert(problem, {"relative_distances": np.full(N, 0.01)})
    assert relative_error(predicted(problem), before) < 1e-12


@pytest.mark.parametrize("name", ["affine", "translation", "pixel_ratio"])
def test_the_first_hologram_is_the_reference(name):
    problem = reconstruction(names=[name]).problem
    insert(problem, {"object": object_of(problem.store.shape)})
    before = predicted(problem)
    insert(problem, {name: problem.values[name].first + 0.05})
    after = predicted(problem)
    assert relative_error(after[0], before[0]) < 1e-12
    assert all(relative_error(a, b) > 1e-3 for a, b in zip(after[1:], before[1:], strict=True))


@pytest.mark.parametrize("cone", [False, True])
def test_tiles_predict_what_whole_holograms_show(cone, monkeypatch):
    """But for fringes finer than the buffer is made for: a tile's window ends within the object."""
    names = ["common_distance", "affine", "intensity_scale", "beam_shape", "illumination"]
    changes = {"magnification": np.linspace(3.0, 2.9, N)} if cone else {}
    data, model = series((50, 63), **changes), Holography(buffer_px=24)
    rng, found = np.random.default_rng(0), []
    maps = np.tile([1.0, 0, 0, 0, 1, 0], (N, 1)) + 0.02 * rng.normal(size=(N, 6))
    for tiles in (None, (2, 3)):
        monkeypatch.setattr(holography, "divide", lambda field, *_, n=tiles: n and Tiling(field, n))
        problem = reconstruction(model, data, names=names).problem
        y, x = np.indices(problem.store.shape) / 15
        obj, light = (1 - 0.2 * np.sin(y) ** 2) * np.exp(0.4j * np.cos(x - y)), 10 + np.sin(y + 0.3 * x) + 0j
        scale = np.linspace(0.9, 1.1, N)[:, None]
        values = {"object": obj, "affine": maps, "illumination": light, "intensity_scale": scale}
        values["beam_shape"] = 0.1 * np.cos(np.arange(5 * N)).reshape(N, 5)
        insert(problem, values | {"common_distance": np.array([0.01])})
        found.append(predicted(problem) if tiles is None else joined(problem.dataset, predicted(problem)))
    assert relative_error(found[1], found[0]) < 2e-3


def test_the_memory_of_a_tile_counts_its_rim():
    data = series((40, 42))
    whole, half = (64 * (rows + 2 * 20) * (42 + 2 * 20) / 2**30 for rows in (40, 20))
    for memory, height in ((whole, 40), (half, 20)):
        problem = reconstruction(Holography(buffer_px=20, tile_memory_gib=memory), data).problem
        assert problem.dataset.window_px == (height, 42)


def test_tiles_reach_the_same_object(monkeypatch):
    data = series((40, 42), propagation_distance_m=np.linspace(0.03, 0.2, N))
    data = data.with_(patterns=Exact(100 * (1 + 0.2 * np.random.default_rng(0).random((N, 40, 42)))))
    objects = []
    for tiles in (None, (2, 2)):
        monkeypatch.setattr(holography, "divide", lambda field, *_, n=tiles: n and Tiling(field, n))
        made = reconstruction(Holography(buffer_px=20), data, epochs=4, batch_size=4 * N)
        list(made.epochs())
        objects.append(made.problem.store.values()[20:-20, 20:-20])
    assert relative_error(objects[1] - 1, objects[0] - 1) < 0.05


def test_vacuum_beyond_the_field_is_vacuum():
    problem = reconstruction(Holography(surroundings="vacuum", buffer_px=9)).problem
    obj = object_of(problem.store.shape)
    insert(problem, {"object": obj})
    before = predicted(problem)
    obj[:4], obj[:, -4:] = 0.3, 2j
    insert(problem, {"object": obj})
    np.testing.assert_array_equal(predicted(problem), before)


def test_plane_wave_brings_the_open_beam():
    problem = reconstruction().problem
    np.testing.assert_allclose(predicted(problem), 100.0)


# -- results -----------------------------------------------------------------------------------------------------------
def test_results_tell_distances_and_parts_of_maps():
    names = ["common_distance", "relative_distances", "affine"]
    run = reconstruction(names=names)
    maps = run.problem.values["affine"].first.copy()
    maps[3] += [0.01, 0.0, 0.2, 0.0, 0.01, 0.0]
    apart = np.array([0.001, 0.004, *[0.0] * (N - 2)])
    insert(run.problem, {"common_distance": np.array([0.01]), "relative_distances": apart, "affine": maps})
    told = outcome(run).parameters
    moved = np.linspace(0.03, 0.2, N) + 0.01 + apart - apart.mean()
    np.testing.assert_allclose(told["propagation_distances"].value, moved)
    np.testing.assert_allclose(told["affine_shift"].value[3], [0.2 * 7, 0], atol=1e-12)
    np.testing.assert_allclose(told["affine_scale"].value[3], [1.01, 1.01])
    assert told["affine_shift"].unit == "px" and told["propagation_distances"].unit == "m"


def test_one_material_comes_out_as_a_transmission():
    run = reconstruction(Holography(homogeneous=True, kappa=10.0), names=["log10_kappa"])
    lag = -np.angle(object_of(run.problem.store.shape))
    insert(run.problem, {"object": lag + 0j, "log10_kappa": np.array([np.log10(20.0)])})
    found = outcome(run)
    np.testing.assert_allclose(found.object[..., 0], np.exp(-(1 / 20 + 1j) * lag), rtol=1e-6)
    assert found.parameters["kappa"].value == pytest.approx(20)


# -- data of another grid ----------------------------------------------------------------------------------------------
def experiment(**changes):
    fields = {
        "window_px": (48, 54),
        "detector_pixel": 1e-6,
        "distances": (0.2, 0.3, 0.5),
        "photons": 1000.0,
        "blur": 0.8,
        "phantom": Pictures(amplitude=(0.7, 1.0), phase=0.8),
        "noise": Noise(poisson=False),
    }
    return Experiment(**(fields | changes))


def solved(tmp_path, data, parameters=None, model=None, epochs=60):
    path = tmp_path / "data.h5"
    write_native(data, path)
    config = {
        "data": str(path),
        "forward_model": {"kind": "holography", "surroundings": "vacuum", **(model or {})},
        "parameters": parameters or {},
        "run": {"epochs": epochs, "device": "cpu", "backoff": 1.0},
    }
    run = prepare(config)
    for _ in run.epochs():
        pass
    return run


def test_truth_explains_data_of_a_finer_grid(tmp_path):
    data = experiment(misalignment=Misalignment(rotation=0.02, scale=0.01, shift=1.0)).run(3)
    run = solved(tmp_path, data, {"affine": {}}, epochs=0)
    true, shape = data.truth["object"], run.problem.store.shape
    edge = [(n - k) // 2 for n, k in zip(shape, true.shape, strict=True)]
    obj = np.ones(shape, np.complex64)
    obj[edge[0] : edge[0] + true.shape[0], edge[1] : edge[1] + true.shape[1]] = true
    insert(run.problem, {"object": obj, "affine": data.truth["affine"]})
    wanted = data.patterns.read(np.arange(3))
    inner = (slice(None), slice(8, -8), slice(8, -8))
    assert np.std((predicted(run.problem) - wanted)[inner]) < 0.03 * wanted.mean()


def test_maps_and_differences_of_distances_are_found(tmp_path):
    wrong = Misalignment(rotation=0.02, scale=0.01, shear=0.01, shift=1.0)
    data = experiment(misalignment=wrong, distance_error=-0.01).run(3)
    names = ("common_distance", "relative_distances", "affine")
    run = solved(tmp_path, data, {name: {"start": 10} for name in names}, epochs=150)
    maps = run.problem.xp.to_numpy(run.problem.values["affine"].array)
    assert map_error(maps, data.truth["affine"], data.window_px).corner_rms_px < 0.15
    start = np.tile([1.0, 0, 0, 0, 1, 0], (3, 1))
    assert map_error(start, data.truth["affine"], data.window_px).corner_rms_px > 0.5


def test_kappa_is_found_from_ten_times_off(tmp_path):
    class Drops(Pictures):
        def transmission(self, grid, rng):
            y, x = (np.linspace(-1, 1, n) for n in grid.window_px)
            drops = ((1.0, 0.2, -0.3, 0.22), (0.8, -0.4, 0.3, 0.14), (0.6, 0.4, 0.5, 0.1))
            lag = sum(a / (1 + np.exp((np.hypot(y[:, None] - b, x - c) - d) / 0.025)) for a, b, c, d in drops)
            return np.exp(-(1 / 8 + 1j) * lag)

    data = experiment(phantom=Drops(), distances=(0.2, 0.3), blur=0.0).run(0)
    step = {"kind": "preconditioned", "learning_rate": 1.0, "momentum": 0.8}
    parameters = {"object": {"optimizer": step}, "log10_kappa": {"start": 3}}
    run = solved(tmp_path, data, parameters, {"homogeneous": True, "kappa": 80.0}, epochs=100)
    assert outcome(run).parameters["kappa"].value == pytest.approx(8, rel=0.2)


def test_a_beam_that_changes_between_holograms_is_refined(tmp_path):
    data = experiment(blur=0.0).run(1)
    y, x = (np.linspace(-1, 1, n) for n in (48, 54))
    tilts = np.array([0.12, -0.04, -0.08])
    beam = np.exp(tilts[:, None, None] * (x + 0.5 * y[:, None]))
    uneven = data.with_(patterns=Exact(data.patterns.read(np.arange(3)) * beam))
    refined = solved(tmp_path, uneven, {"beam_shape": {}})
    even, plain = (solved(tmp_path, each).progress.history["loss"][-1] for each in (data, uneven))
    assert refined.progress.history["loss"][-1] < 1.1 * even < 0.5 * plain
    found = refined.problem.present()["beam_shape"]
    # Lengths are in units of half the larger side.
    np.testing.assert_allclose(found[:, 0] - found[:, 0].mean(), tilts * 27 / 26.5, atol=0.01)
    np.testing.assert_allclose(found[:, 1] - found[:, 1].mean(), 0.5 * tilts * 27 / 23.5, atol=0.01)


def test_autofocus_finds_a_defocused_object():
    problem = reconstruction(Holography(buffer_px=20), series((60, 64))).problem
    grid = problem.bound.geometry.grid_of(problem.store.shape)
    y, x = np.indices(problem.store.shape)
    sharp = np.where((y // 9 + x // 7) % 2 == 0, 0.6, 1.0) * np.exp(0.3j * ((x // 11) % 2))
    inside = (slice(20, -20), slice(20, -20))
    found = Autofocus(reach=0.05).find(refocused(sharp, grid, -0.02), grid, inside)
    assert found == pytest.approx(0.02, abs=0.002)
    short = Autofocus(reach=0.01)
    assert short.find(refocused(sharp, grid, -0.02), grid, inside) == pytest.approx(0.01, abs=1e-3)
    # What has been corrected before counts: the new correction is the old one less what is found.
    assert short.find(refocused(sharp, grid, -0.02), grid, inside, 0.005) == pytest.approx(0.015, abs=1e-3)
    assert [e for e in range(1, 11) if Autofocus(at=(3, 7)).due(e, 10)] == [3, 7, 10]


def test_a_focus_at_the_end_of_the_reach_is_said(caplog):
    FocusUpdate.warn(0.0097, 0.01)
    FocusUpdate.warn(-0.0097, 0.01)
    assert len(caplog.messages) == 2 and "at the end of the reach of 0.01 m: distances -0.0097 m" in caplog.messages[1]
    FocusUpdate.warn(0.009, 0.01)
    assert len(caplog.messages) == 2


# -- errors ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("model", "names", "message"),
    [
        ({}, ["log10_kappa"], "parameters.log10_kappa: has no effect: the object is not homogeneous"),
        ({}, ["affine", "translation"], "parameters.translation: is part of the affine map"),
        ({"autofocus": Autofocus()}, [], "forward_model.autofocus: needs the common distance as a parameter"),
    ],
)
def test_what_has_no_effect_is_refused(model, names, message):
    with pytest.raises(ConfigError, match=message):
        reconstruction(Holography(**model), names=names)


@pytest.mark.parametrize("name", ["autofocus", "balance"])
def test_what_acts_on_the_transmission_needs_it(name):
    model = Holography(**{"autofocus": {"autofocus": Autofocus()}, "balance": {"balance": 0.1}}[name])
    settings = {"object": ObjectSettings(representation="delta_beta"), "common_distance": ParameterSettings()}
    with pytest.raises(ConfigError, match=f"forward_model.{name}: '{name}' acts on the transmission, but this run"):
        build(series(), Recipe(model, settings, LeastSquares()), RUN, np.random.default_rng(0))


def test_balanced_steps_need_the_whole_object():
    with pytest.raises(ConfigError, match="forward_model.balance: 'balance' needs the whole object, but a rank"):
        reconstruction(Holography(balance=0.1), store="do")


def test_balance_is_refused_where_steps_do_not_use_it():
    settings = {"object": ObjectSettings(optimizer=Adam(learning_rate=0.01))}
    with pytest.raises(
        ConfigError, match=r"balance: has no effect on steps of the kind 'adam'; leave it out, or 'param"
    ):
        build(series(), Recipe(Holography(balance=0.1), settings, LeastSquares()), RUN, np.random.default_rng(0))


# -- one material ------------------------------------------------------------------------------------------------------
def one_material(constraints=(), regularizers=(), log10_kappa=1.5, **settings):
    """A problem whose kappa is not the one that it started with."""
    model = Holography(homogeneous=True, kappa=20.0, buffer_px=4)
    given = {"object": ObjectSettings(**settings), "log10_kappa": model.refinable["log10_kappa"].settings()}
    recipe = Recipe(model, given, LeastSquares(), regularizers, constraints)
    made = build(series(), recipe, RUN, np.random.default_rng(0))
    insert(made, {"log10_kappa": np.array([log10_kappa])})
    return made


def test_constraints_mean_the_transmission_of_the_material(tmp_path):
    rng = np.random.default_rng(0)
    mask = rng.random((20, 22)) > 0.3
    np.save(tmp_path / "mask.npy", mask)
    made = one_material()
    lag = rng.uniform(-3, 9, made.store.shape)

    def after(constraint):
        found = made.xp.to_numpy(projected(made, constraint, made.xp.asarray(lag + 0j)))
        assert (found.imag == 0).all()
        return found.real, np.abs(np.exp(-(1 / 10**1.5 + 1j) * found.real))

    found, magnitude = after(MagnitudeLimit(maximum=0.98, minimum=0.8))
    assert magnitude.max() <= 0.98 + 1e-12 and magnitude.min() >= 0.8 - 1e-12
    kept = (magnitude < 0.98 - 1e-9) & (magnitude > 0.8 + 1e-9)
    np.testing.assert_array_equal(found[kept], lag[kept])
    np.testing.assert_array_equal(after(NonNegativity())[0], np.maximum(lag, 0))
    np.testing.assert_array_equal(after(PhaseLimit(maximum=0.5, minimum=-7.0))[0], np.clip(lag, -0.5, 7))
    np.testing.assert_array_equal(after(Support(mask=str(tmp_path / "mask.npy")))[0], np.where(mask, lag, 0))


@pytest.mark.parametrize("constraint", [Homogeneous(kappa=3.0), PhaseOnly(), AbsorptionOnly(), ShrinkWrap()])
def test_constraints_without_a_meaning_for_one_material_are_refused(constraint):
    with pytest.raises(ConfigError, match=rf"constraints\[0\]: '{constraint.kind}' does not apply to a homogeneous"):
        one_material((constraint,))
    with pytest.raises(ConfigError, match="representation: has no effect: a homogeneous object is represented by its"):
        one_material(representation="delta_beta")


@pytest.mark.parametrize("term", [L1(weight=1.0), L2(weight=1.0), ReweightedL1(weight=1.0), TotalVariation(weight=1.0)])
def test_vacuum_costs_nothing_where_there_is_one_material(term):
    made = one_material(regularizers=(term,))
    vacuum = made.xp.asarray(made.store.values())
    cost, pull = term_gradient(made, term, vacuum, 1.0)
    more, _ = term_gradient(made, term, vacuum + made.xp.asarray(0.3 * np.eye(*made.store.shape)), 1.0)
    assert cost < 0.1 * more and np.abs(made.xp.to_numpy(pull)).max() < 1e-3


def test_one_hologram_is_its_own_reference():
    one = series(patterns=type(series().patterns)(np.ones((1, 12, 14))), propagation_distance_m=np.array([0.1]))
    with pytest.raises(ConfigError, match="parameters.affine: has no effect: the only hologram per angle"):
        reconstruction(dataset=one, names=["affine"])


def test_a_material_needs_its_kappa():
    with pytest.raises(ValueError, match="kappa: absent: a homogeneous object needs it"):
        Holography(homogeneous=True)
    with pytest.raises(ValueError, match="kappa: has no effect without 'homogeneous: true'"):
        Holography(kappa=3.0)
    with pytest.raises(ValueError, match="autofocus: has no effect: one material fixes the focus itself"):
        Holography(homogeneous=True, kappa=3.0, autofocus=Autofocus())


def test_distances_must_be_there_and_fit():
    with pytest.raises(DataError, match="the number of holograms does not fit the number of distances"):
        reconstruction(dataset=series(propagation_distance_m=np.array([0.1, 0.2, 0.3])))
    with pytest.raises(GeometryError, match="data.propagation_distance: absent: holography needs the distance"):
        reconstruction(dataset=series(propagation_distance_m=None))
    far = series(propagation_distance_m=np.linspace(1, 2, N))
    with pytest.raises(GeometryError, match=r"data.propagation_distance: .* undersampled .* check the units") as error:
        reconstruction(Holography(buffer_px=0), far)
    wide = int(re.search(r"forward_model.buffer_px: (\d+)", str(error.value)).group(1))
    reconstruction(Holography(buffer_px=wide), far)
    with pytest.raises(GeometryError, match=f"buffer_px: {wide}'"):
        reconstruction(Holography(buffer_px=wide - 1), far)


def test_cases_cover_every_parameter():
    covered = {name for case in holography_cases() for name in case.settings}
    assert covered == set(Holography.refinable)


# -- curvature ---------------------------------------------------------------------------------------------------------
def curvature_of(data, model, names=()):
    """Closed form and truth, both over the weight: the squared changes of the amplitudes with the real and with
    the imaginary part of a pixel.
    """
    problem = reconstruction(model, data, names=names).problem
    obj = np.exp(0.1j * np.cos(np.indices(problem.store.shape).sum(0) / 3))
    insert(problem, {"object": obj})
    n = np.arange(problem.dataset.n_patterns)
    weights = 1.0 if data.mask is None else data.mask
    found, step = [], 1e-4
    here = np.sqrt(predicted(problem))
    for y, x in PIXELS:
        total = 0.0
        for way in (1, 1j):
            moved = obj.copy()
            moved[y, x] += step * way
            insert(problem, {"object": moved})
            total += (weights * ((np.sqrt(predicted(problem)) - here) / step) ** 2).sum()
        found.append(total)
    insert(problem, {"object": obj})
    seen, params, batch = problem.inputs(n)
    point = Point(problem.xp, None, seen, params, batch, 1.0)
    made = problem.xp.to_numpy(model.object_curvature(point))[0]
    return np.array([made[y, x] for y, x in PIXELS]), np.array(found)


PIXELS = ((20, 16), (20, 24), (20, 32), (20, 40), (12, 28))


@pytest.mark.parametrize("masked", [False, True])
def test_masked_pixels_do_not_count_in_the_curvature(masked):
    mask = np.ones((32, 40), bool)
    mask[:, :20] = not masked
    data = series((32, 40), propagation_distance_m=np.linspace(0.03, 0.06, N), mask=mask)
    made, true = curvature_of(data, Holography(buffer_px=8))
    np.testing.assert_allclose(made, true, rtol=0.3, atol=0.05 * true.max())


def test_the_open_beam_is_estimated_from_valid_counts():
    rng = np.random.default_rng(4)
    counts, mask = rng.poisson(50.0, (N, 12, 14)).astype(float), np.ones((12, 14), bool)
    mask[3, 5], counts[:, 3, 5] = False, 1e7
    given = series(patterns=Exact(counts), open_beam_counts=None, mask=mask)
    amplitudes = series(patterns=Exact(np.sqrt(counts)), open_beam_counts=None, mask=mask, measured="amplitude")
    for data in (given, amplitudes):
        geometry = Holography(buffer_px=4).bind(data, {"object": Holography.refinable["object"].settings()}).geometry
        assert geometry.open_beam_counts == pytest.approx(50, rel=0.05)
