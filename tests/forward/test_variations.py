"""A probe that varies during the scan, against waves that are added up here, pattern by pattern."""

from __future__ import annotations

import numpy as np
import pytest
from laws import assert_gradients, relative_error
from tiny_scan import Exact, Scan, object_at

import adorym
from adorym.config import config_from
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import outcome, predict_patterns
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.engine.step import apply_update
from adorym.errors import ConfigErrors, InputError
from adorym.forward import steady_beam
from adorym.forward.object import ObjectSettings
from adorym.forward.probe import ProbeSettings
from adorym.forward.ptychography import Ptychography
from adorym.forward.steady_beam import SteadyBeam
from adorym.forward.variations import VARIATIONS, WEIGHTS, VariationGauge
from adorym.losses.counting import LeastSquares
from adorym.parameters import ParameterSettings
from adorym.updates.base import State

SCAN = Scan(modes=2, grid=(6, 7), photons=1e5)


def drifting(scan: Scan = SCAN, mode: int = 0):
    """Data set, variations ``(2, y, x)``, weights ``(n, 2)``: the beam gets out of focus and fades."""
    probe = scan.probe()
    y, x = np.indices(scan.window) - (np.array(scan.window)[:, None, None] - 1) / 2
    variations = np.array([0.06j * (y**2 + x**2) * probe[mode], probe[mode]])
    time = np.linspace(-1, 1, scan.n)
    weights = np.stack([0.5 * time, 0.1 * np.cos(3 * time)], axis=1)
    rows, columns = np.arange(scan.window[0])[:, None], np.arange(scan.window[1])[None, :]
    patterns = []
    for (py, px), a in zip(scan.positions, weights, strict=True):
        modes = probe.copy()
        modes[mode] += a[0] * variations[0] + a[1] * variations[1]
        waves = np.fft.fftshift(np.fft.fft2(object_at(py + rows, px + columns) * modes), axes=(1, 2))
        patterns.append(np.sum(np.abs(waves) ** 2, axis=0) / np.prod(scan.window))
    return scan.dataset(patterns=Exact(np.array(patterns))), variations, weights


def reconstruction(dataset, *, variations=2, modes=2, **run):
    settings = {"object": ObjectSettings(margin_px=4), "probe": ProbeSettings(modes=modes, variations=variations)}
    base = {"precision": "double", "device": "cpu", "threads": 1, "epochs": 30, "batch_size": 11}
    return Reconstruction(dataset, Recipe(Ptychography(), settings, LeastSquares()), RunSettings(**(base | run)))


def inserted(made: Reconstruction, **values: np.ndarray) -> Reconstruction:
    for name, array in values.items():
        made.problem.values[name].array = made.problem.xp.asarray(array, exact=True)
    store, (oy, ox) = made.problem.store, made.problem.bound.origin_px
    obj = SCAN.object_array(store.shape, (oy, ox))
    store.restore(obj.astype(np.complex128), store.state())
    return made


@pytest.mark.parametrize("backend", ["torch", "autograd"])
@pytest.mark.parametrize("mode", [0, 1])
def test_the_prediction_is_that_of_the_varied_probe(backend, mode):
    dataset, variations, weights = drifting(mode=mode)
    settings = {"object": ObjectSettings(margin_px=4), "probe": ProbeSettings(modes=2, variations=2)}
    recipe = Recipe(Ptychography(varied_mode=mode), settings, LeastSquares())
    data = dataset.with_(start_probe=SCAN.probe())
    made = Reconstruction(data, recipe, RunSettings(precision="double", backend=backend, device="cpu"))
    inserted(made, probe=SCAN.probe(), probe_variations=variations, variation_weights=weights)
    found = made.problem.xp.to_numpy(predict_patterns(made.problem, np.arange(SCAN.n)))
    found = made.problem.bound.from_model_frame(found)
    # The probe is moved by Fourier interpolation, the truth is not: as in the scan without variations.
    assert relative_error(found, dataset.patterns.array) < 2e-3


@pytest.mark.parametrize("mode", [0, 1])
def test_a_result_explains_the_data_with_the_probe_and_its_variations(mode):
    """In NumPy: the factor that results take from the object is given to all waves, and modes are not mixed."""
    dataset, variations, weights = drifting(mode=mode)
    settings = {"object": ObjectSettings(margin_px=4), "probe": ProbeSettings(modes=2, variations=2)}
    recipe = Recipe(Ptychography(varied_mode=mode), settings, LeastSquares())
    data, factor = dataset.with_(start_probe=SCAN.probe()), 0.7 * np.exp(0.9j)
    made = Reconstruction(data, recipe, RunSettings(precision="double", backend="torch", device="cpu"))
    shown = {"probe": SCAN.probe() / factor, "probe_variations": variations / factor, "variation_weights": weights}
    inserted(made, **shown)
    store = made.problem.store
    store.restore(store.values() * factor, store.state())
    found = outcome(made)
    assert abs(np.linalg.norm(found.probe) / np.linalg.norm(SCAN.probe() / factor) - 1) > 0.1
    wave_of = {name: each.value for name, each in found.parameters.items()}
    frequencies = [np.fft.fftfreq(n) for n in SCAN.window]
    patterns = []
    for position, a in zip(SCAN.positions, wave_of[WEIGHTS], strict=True):
        modes = found.probe.astype(complex)
        modes[mode] += np.tensordot(a, wave_of[VARIATIONS], 1)
        corner = np.round(position).astype(int)
        dy, dx = position - corner
        ramp = np.exp(-2j * np.pi * (dy * frequencies[0][:, None] + dx * frequencies[1]))
        y, x = corner + found.origin_px
        window = found.object[y : y + SCAN.window[0], x : x + SCAN.window[1], 0]
        waves = np.fft.fft2(np.fft.ifft2(np.fft.fft2(modes) * ramp) * window)
        patterns.append(np.fft.fftshift(np.sum(np.abs(waves) ** 2, axis=0)) / np.prod(SCAN.window))
    assert relative_error(np.array(patterns), dataset.patterns.array) < 2e-3


def test_gradients():
    dataset, variations, weights = drifting()
    made = inserted(
        reconstruction(dataset.with_(start_probe=SCAN.probe())),
        probe=SCAN.probe(), probe_variations=1.2 * variations, variation_weights=0.8 * weights,
    )  # fmt: skip
    problem = made.problem
    obj, params, batch = problem.inputs(np.arange(SCAN.n))

    def loss(tree):
        predicted = problem.model.predict(problem.xp, obj, {**params, **tree}, batch)
        return problem.loss.value(problem.xp, predicted, batch.target, batch.mask, batch.floor), None

    values = {name: problem.xp.to_numpy(params[name]) for name in ("probe", VARIATIONS, WEIGHTS)}
    assert_gradients(problem.xp, loss, values, {WEIGHTS: 0.1})


def test_gauge_keeps_every_probe():
    rng = np.random.default_rng(5)
    modes = rng.normal(size=(2, 4, 5)) + 1j * rng.normal(size=(2, 4, 5))
    variations = rng.normal(size=(3, 4, 5)) + 1j * rng.normal(size=(3, 4, 5))
    weights = rng.normal(size=(20, 3)) + 0.3
    values = {"probe": modes, VARIATIONS: variations, WEIGHTS: weights}
    state = State(1, 2, values, dict.fromkeys(values, 1.0), lambda: np.zeros(0))
    for mode in (0, 1):
        after = VariationGauge(mode).apply(state).values
        for k in range(2):
            before = modes[k] + (k == mode) * np.tensordot(weights, variations, 1)
            now = after["probe"][k] + (k == mode) * np.tensordot(after[WEIGHTS], after[VARIATIONS], 1)
            np.testing.assert_allclose(now, np.broadcast_to(before, now.shape), atol=1e-12)
        np.testing.assert_allclose(after[WEIGHTS].mean(0), 0, atol=1e-12)
        flat = after[VARIATIONS].reshape(3, -1)
        power = np.sum(np.abs(after["probe"][mode]) ** 2)
        np.testing.assert_allclose((flat @ flat.conj().T).real, power * np.eye(3), atol=1e-9 * power)
        spread = after[WEIGHTS].std(0)
        assert spread[0] > spread[1] > spread[2] > 0


def test_variations_wait_for_object_and_probe(caplog):
    """They begin after some epochs, and nobody is told that they had no effect before."""
    data = drifting()[0].with_(start_probe=SCAN.probe())
    made = reconstruction(data, epochs=34)
    rates = [set(record.learning_rates) for record in made.epochs(3)]
    assert [VARIATIONS in names for names in rates] == [False, False, True]
    assert not [each for each in caplog.messages if "does not depend" in each]


def test_a_drifting_beam_is_followed():
    """Over a scan in random order: along the rows a beam that tilts and a curved object would look alike."""
    scan = Scan(grid=(8, 9), step_px=1.8, size_px=2.0, photons=1e5)
    object.__setattr__(scan, "positions", np.random.default_rng(2).permutation(scan.positions))
    dataset, _, weights = drifting(scan)
    data = dataset.with_(start_probe=scan.probe())
    losses, found = {}, None
    for variations in (0, 2):
        made = reconstruction(data, variations=variations, modes=1, epochs=60, batch_size=None)
        losses[variations] = [record.loss for record in made.epochs()][-1]
        found = made
    assert losses[2] < losses[0] / 5
    inside = found.problem.xp.to_numpy(found.problem.values[WEIGHTS].array)
    told = np.column_stack([inside, np.ones(len(inside))])
    left = weights[:, 0] - told @ np.linalg.lstsq(told, weights[:, 0], rcond=None)[0]
    assert 1 - left.var() / weights[:, 0].var() > 0.95**2
    result = adorym.outcome(found)
    assert result.parameters[VARIATIONS].value.shape == (2, *scan.window)


def described(waves: np.ndarray, number: int = 8):
    """Probe ``(1, y, x)``, variations and weights of waves ``(n, y, x)``."""
    mean = waves.mean(0)
    flat = (waves - mean).reshape(len(waves), -1)
    left, strength, right = np.linalg.svd(np.concatenate([flat.real, flat.imag], axis=1), full_matrices=False)
    real, imaginary = np.split(right[:number], 2, axis=1)
    variations = (real + 1j * imaginary).reshape(number, *waves.shape[1:])
    return {"probe": mean[None], VARIATIONS: variations, WEIGHTS: left[:, :number] * strength[:number]}


def chosen(scan: Scan, waves: np.ndarray):
    """What a steady beam makes of ``waves``: those that it leaves, and the factor of the object."""
    dataset, _, _ = drifting(scan)
    shape, origin = (40, 41), (6, 5)
    gauge = SteadyBeam(dataset, shape, origin)
    state, factor = State(5, 100, described(waves), dict.fromkeys(("object", "probe", VARIATIONS, WEIGHTS), 1.0),
                          lambda: np.zeros(0)), 1.0  # fmt: skip
    for _ in range(6):
        state = gauge.apply(state)
        factor = factor * state.factor
    made = state.values
    return made["probe"] + np.tensordot(made[WEIGHTS], made[VARIATIONS], 1), factor


def test_a_beam_that_turns_and_fades_with_its_place_is_one_with_a_curved_and_dark_object(monkeypatch):
    """The same patterns as a beam that does not: whichever of the two comes, one of them is chosen."""
    monkeypatch.setattr(steady_beam, "EXPLAINED", 0.0)  # the last tenth of a trend, too
    scan = Scan(grid=(6, 7), photons=1e5)
    _, variations, weights = drifting(scan)
    waves = scan.probe() + np.tensordot(weights, variations, 1)
    bend, slope = np.array([[4e-4, 1e-4], [1e-4, -3e-4]]), np.array([2e-3, -1e-3])
    away = scan.positions - scan.positions.mean(0)
    window = np.indices(scan.window) - (np.array(scan.window)[:, None, None] - 1) / 2

    def phase(place):
        third, fourth = place[0] ** 3 / 6 - place[0] * place[1] ** 2, place[0] ** 4 / 24 - place[0] * place[1] ** 3 / 6
        return np.einsum("i...,ij,j...->...", place, bend, place) / 2 + 1e-5 * third + 2e-5 * fourth

    turn = phase(away.T[:, :, None, None] + window[:, None]) - phase(away.T)[:, None, None]
    fading = np.tensordot(away, slope, 1)[:, None, None] + np.tensordot(slope, window, 1)
    steady, plain = chosen(scan, waves)
    found, factor = chosen(scan, waves * np.exp(-1j * turn - fading))
    center = scan.positions.mean(0) + (6, 5) + (np.array(scan.window) - 1) / 2
    place = np.indices((40, 41)) - center[:, None, None]
    there = np.exp(1j * phase(place) + np.tensordot(slope, place, 1))
    scanned = (np.abs(place) <= np.abs(away).max(0)[:, None, None]).all(0)
    assert relative_error((factor * there)[scanned], plain[scanned]) < 2e-3
    assert relative_error(there[scanned], 1 + 0 * there[scanned]) > 0.02
    assert relative_error(found, steady) < 2e-3 < relative_error(waves * np.exp(-1j * turn - fading), waves)


def test_the_steady_beam_keeps_the_patterns():
    dataset, variations, weights = drifting(Scan(grid=(6, 7), photons=1e5))
    made = reconstruction(dataset.with_(start_probe=SCAN.probe()[:1]), modes=1)
    away = SCAN.positions - SCAN.positions.mean(0)
    y, _ = np.indices(SCAN.window) - (np.array(SCAN.window)[:, None, None] - 1) / 2
    turning = np.concatenate([variations[:1], 1j * y[None] * SCAN.probe()[:1]])
    weights = np.stack([weights[:, 0], 1e-3 * away[:, 0]], axis=1)
    inserted(made, probe=SCAN.probe()[:1], probe_variations=turning, variation_weights=weights)
    problem = made.problem
    before = problem.xp.to_numpy(predict_patterns(problem, np.arange(SCAN.n)))
    values = {name: problem.xp.to_numpy(problem.values[name].array) for name in ("probe", VARIATIONS, WEIGHTS)}
    state = State(5, 100, values, dict.fromkeys(("object", *values), 1.0), lambda: np.zeros(0))
    update = next(each for each in problem.bound.updates if isinstance(each, SteadyBeam))
    assert update.due(5, 100) and not update.due(6, 100) and not update.due(65, 100)
    after = apply_update(problem, update, state)
    assert np.abs(np.angle(after.factor)).max() > 0.01
    turned = problem.xp.to_numpy(predict_patterns(problem, np.arange(SCAN.n)))
    assert relative_error(turned, before) < 0.1 * np.abs(np.angle(after.factor)).max()
    assert update.apply(State(5, 100, values, dict.fromkeys(values, 1.0), lambda: np.zeros(0))).factor is None


@pytest.mark.parametrize(
    "gauge", [VariationGauge(), SteadyBeam(drifting()[0], (40, 41), (6, 5))], ids=["mix", "steady"]
)
def test_what_is_not_finite_is_left_to_the_check_of_the_run(gauge):
    _, variations, weights = drifting()
    weights[3, 1] = np.nan
    values = {"probe": SCAN.probe()[:1], VARIATIONS: variations, WEIGHTS: weights}
    state = State(5, 100, values, dict.fromkeys(("object", *values), 1.0), lambda: np.zeros(0))
    assert gauge.apply(state) is state


def test_it_is_configured_by_a_number(tmp_path):
    config = config_from({"data": "x.h5", "forward_model": "ptychography", "parameters": {"probe": {"variations": 3}}})
    assert {VARIATIONS, WEIGHTS} <= set(config.recipe.settings)
    plain = config_from({"data": "x.h5", "forward_model": "ptychography"})
    assert not {VARIATIONS, WEIGHTS} & set(plain.recipe.settings)


def test_mistakes_are_told():
    dataset, _, _ = drifting()
    with pytest.raises(InputError, match=r"parameters\.probe_variations: the number of variations is not given"):
        settings = {VARIATIONS: ParameterSettings(), WEIGHTS: ParameterSettings()}
        Reconstruction(dataset, Recipe(Ptychography(), settings, LeastSquares()), RunSettings(device="cpu"))
    settings = {"probe": ProbeSettings(modes=2, variations=1)}
    with pytest.raises(
        InputError, match=r"forward_model\.varied_mode: there is no such mode; expected 0 to 1; found 2"
    ):
        Reconstruction(
            dataset.with_(start_probe=SCAN.probe()),
            Recipe(Ptychography(varied_mode=2), settings, LeastSquares()),
            RunSettings(device="cpu"),
        )
    with pytest.raises(InputError, match=r"forward_model\.varied_mode: has no effect: the probe does not vary; give"):
        Reconstruction(dataset, Recipe(Ptychography(varied_mode=1), {}, LeastSquares()), RunSettings(device="cpu"))
    with pytest.raises(ConfigErrors, match=r"parameters\.probe\.variations: expected >= 0, found -1"):
        config_from({"data": "x.h5", "forward_model": "ptychography", "parameters": {"probe": {"variations": -1}}})
