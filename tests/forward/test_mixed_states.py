"""An object in several states, against patterns that are added up here."""

from __future__ import annotations

import numpy as np
import pytest
from laws import assert_gradients, relative_error
from tiny_scan import Exact, Scan, object_at

import adorym
from adorym.config import config_from
from adorym.constraints.object import PhaseOnly
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import predict_patterns
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.errors import ConfigErrors, InputError
from adorym.forward.object import MixedObject
from adorym.forward.ptychography import Ptychography
from adorym.losses.counting import LeastSquares
from adorym.metrics import align_object

SCAN = Scan(window=(20, 22), size_px=2.5, grid=(7, 8), step_px=1.8, photons=1e5)


def beam():
    """Out of focus, so that a pattern tells more of the object."""
    y, x = np.indices(SCAN.window) - (np.array(SCAN.window)[:, None, None] - 1) / 2
    return SCAN.probe() * np.exp(0.12j * (y**2 + x**2))


def switched_at(y, x):
    return object_at(y, x) * np.exp(-0.8j * np.cos(0.9 * y + 0.4 * x))


def states_at(y, x):
    """Seven tenths of the time in one state, three tenths in the other."""
    return np.stack([np.sqrt(0.7) * object_at(y, x), np.sqrt(0.3) * switched_at(y, x)])


def switching():
    """Data of a sample in two states, added up pattern by pattern, and both states on whole pixels."""
    rows, columns = np.arange(SCAN.window[0])[:, None], np.arange(SCAN.window[1])[None, :]
    patterns = []
    for py, px in SCAN.positions:
        waves = np.fft.fftshift(np.fft.fft2(states_at(py + rows, px + columns)[:, None] * beam()), axes=(2, 3))
        patterns.append(np.sum(np.abs(waves) ** 2, axis=(0, 1)) / np.prod(SCAN.window))
    return SCAN.dataset(patterns=Exact(np.array(patterns)), start_probe=beam())


def made(states=2, constraints=(), **run):
    base = {"precision": "double", "backend": "torch", "device": "cpu", "threads": 1, "epochs": 40}
    settings = {"object": MixedObject(states=states, margin_px=4)}
    recipe = Recipe(Ptychography(), settings, LeastSquares(), constraints=constraints)
    return Reconstruction(switching(), recipe, RunSettings(**base | run))


def true_states(run):
    """``(y, x, 2)`` in the frame of the run."""
    (ny, nx), (oy, ox) = run.problem.store.shape[:2], run.problem.bound.origin_px
    return np.moveaxis(states_at(np.arange(ny)[:, None] - oy, np.arange(nx)[None, :] - ox), 0, -1)


def truth(run):
    store = run.problem.store
    store.restore(true_states(run), store.state())
    run.problem.values["probe"].array = run.problem.xp.asarray(beam(), exact=True)
    return run


@pytest.mark.parametrize("backend", ["torch", "autograd"])
def test_the_patterns_of_the_states_add_up(backend):
    run = truth(made(backend=backend))
    found = run.problem.xp.to_numpy(predict_patterns(run.problem, np.arange(SCAN.n)))
    assert relative_error(run.problem.bound.from_model_frame(found), switching().patterns.array) < 1e-2


@pytest.mark.parametrize("backend", ["torch", "autograd"])
def test_gradients(backend):
    problem = truth(made(backend=backend)).problem
    obj, params, batch = problem.inputs(np.arange(SCAN.n))

    def loss(tree):
        predicted = problem.model.predict(problem.xp, tree["object"], {**params, "probe": tree["probe"]}, batch)
        return problem.loss.value(problem.xp, predicted, batch.target, batch.mask, batch.floor), None

    values = {"object": 0.9 * problem.xp.to_numpy(obj), "probe": problem.xp.to_numpy(params["probe"])}
    assert_gradients(problem.xp, loss, values, {"object": 0.01, "probe": 0.01})


def test_the_mean_is_found():
    run, one = made(), made(states=1)
    losses = [[record.loss for record in each.epochs()] for each in (run, one)]
    assert losses[0][-1] < 0.5 * losses[1][-1]
    inside = (slice(12, -12), slice(12, -12))
    wanted = true_states(run)
    lit = wanted[inside].reshape(-1, 2)
    wanted = wanted @ np.linalg.eigh(lit.conj().T @ lit)[1][:, ::-1]
    mean = adorym.outcome(run, judged=False).object[..., 0].astype(np.complex128)
    alone = adorym.outcome(one, judged=False).object[..., 0].astype(np.complex128)
    error = align_object(mean, wanted[..., 0], inside).error
    assert error < 0.9 * align_object(alone, wanted[..., 0], inside).error


@pytest.mark.parametrize("store", ["do", "h5"])
def test_every_store_gives_the_same(store, tmp_path):
    scratch = {"scratch": str(tmp_path)} if store == "h5" else {}
    there, here = made(store=store, epochs=3, **scratch), made(epochs=3)
    for run in (there, here):
        list(run.epochs())
    objects = [adorym.outcome(run, judged=False).object for run in (there, here)]
    np.testing.assert_allclose(*objects, atol=1e-5)


def test_results_hold_orthogonal_states_and_the_run_goes_on_from_its_own():
    run = made(epochs=6)
    list(run.epochs())
    before = run.problem.store.values().copy()
    obj = adorym.outcome(run, judged=False).object.astype(np.complex128)
    np.testing.assert_array_equal(run.problem.store.values(), before)
    strength = np.linalg.norm(obj, axis=(0, 1))
    assert strength[0] > strength[1]
    # What any mixture leaves: the sum of the states' powers, up to the common factor.
    ratio = np.sum(np.abs(obj) ** 2, -1) / np.sum(np.abs(before) ** 2, -1)
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)


def test_vacuum_is_one_in_the_first_state():
    space = made().problem.bound.space
    np.testing.assert_array_equal(space.reference_value, [1, 0])
    start = space.from_start(np.ones((20, 22, 2), complex))
    np.testing.assert_array_equal(start[..., 0], 1)
    assert 0.1 < np.sqrt(np.mean(np.abs(start[..., 1]) ** 2)) < 0.3


def test_what_it_cannot_be_combined_with():
    given = {"data": "a.h5", "parameters": {"object": {"states": 2}}}
    with pytest.raises(ConfigErrors, match=r"object\.states: unknown key"):
        config_from({**given, "forward_model": {"kind": "multislice", "slices": 2}})
    with pytest.raises(ConfigErrors, match=r"object\.representation: states of an object are mixed as transmissions"):
        config_from(
            {**given, "forward_model": "ptychography",
             "parameters": {"object": {"states": 2, "representation": "delta_beta"}}}
        )  # fmt: skip
    with pytest.raises(InputError, match=r"constraints\[0\]: 'phase_only' acts on an object of one state"):
        made(constraints=(PhaseOnly(),))
