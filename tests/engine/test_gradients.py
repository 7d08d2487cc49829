"""Batches, chunks and backends are ways of computing: none of them changes the answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import CASES
from laws import assert_same_trajectory, noise, relative_error
from tiny_runs import BACKENDS, SCAN, STEADY, calm, everything, exact, finished, step, tiny, value_of
from tiny_scan import Scan

from adorym.engine import gradients
from adorym.engine.gradients import batch_gradients, chunk_size
from adorym.forward.object import ObjectSettings
from adorym.forward.probe import ProbeSettings
from adorym.forward.ptychography import Ptychography
from adorym.losses.counting import LeastSquares, Poisson
from adorym.optimizers.first_order import Adam, GradientDescent, Momentum
from adorym.parameters import ParameterSettings

ALL = np.arange(SCAN.n)


def roughened(run, seed: int = 2):
    """``run`` with an object, a probe and positions that fit nothing."""
    rng, problem = np.random.default_rng(seed), run.problem
    for name, value in problem.values.items():
        array = np.array(problem.xp.to_numpy(value.array))
        size = 0.1 * float(np.abs(array).max() or 1.0) if name != "probe_positions" else 0.3
        array += size * noise(rng, array.shape, np.iscomplexobj(array))
        value.array = problem.xp.asarray(np.maximum(array, 0) if name == "background" else array, exact=True)
    start = 1 + 0.2 * noise(rng, problem.store.shape, True)
    problem.store.restore(start, problem.store.state())
    return run


def found_by(run, patterns, names):
    """``(loss, gradients and curvatures by name)`` of a batch, the object's too, everything as NumPy arrays."""
    problem, arrays = run.problem, {}
    loss, found = batch_gradients(problem, patterns, frozenset(names))

    def keep(tile, gradient, state, row):
        arrays["object"] = problem.xp.to_numpy(gradient.values).copy()
        arrays["object curvature"] = problem.xp.to_numpy(gradient.curvature).copy()
        arrays["largest curvature"] = np.array(gradient.curvature_max)
        return tile, state

    problem.store.update(keep)
    for name, each in found.items():
        arrays[name] = np.array(problem.xp.to_numpy(each.gradient))
        if each.curvature is not None:
            arrays[f"{name} curvature"] = np.array(problem.xp.to_numpy(each.curvature))
        if each.index is not None:
            arrays[f"{name} rows"] = each.index
    return loss, arrays


# -- chunks ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("patterns", [ALL, np.array([0, 3, 4, 8, 11, 17, 18])], ids=["all", "some"])
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("backend", BACKENDS)
def test_chunks_together_are_the_batch(monkeypatch, backend, size, patterns):
    """Loss, gradients, curvatures, of parameters per run, per pattern and per angle alike."""
    run = roughened(tiny(parameters=everything(), backend=backend))
    names = list(run.problem.unknowns)
    loss, whole = found_by(run, patterns, names)
    assert chunk_size(run.problem) > SCAN.n
    monkeypatch.setattr(gradients, "CHUNK_PIXELS", size * 3 * 12 * 14)
    assert chunk_size(run.problem) == size
    chunked_loss, chunked = found_by(run, patterns, names)
    assert chunked_loss == pytest.approx(loss, rel=1e-12)
    assert chunked.keys() == whole.keys() and {"probe_offset rows", "probe_positions curvature"} <= whole.keys()
    for name, array in whole.items():
        assert relative_error(chunked[name], array) < 1e-12, name
        assert np.abs(array).max() > 0, name


def test_memory_limit_does_not_change_a_run(monkeypatch):
    whole = finished(tiny(parameters=everything()), 3)
    monkeypatch.setattr(gradients, "CHUNK_PIXELS", 1)
    assert_same_trajectory([whole, finished(tiny(parameters=everything()), 3)], 1e-9)


# -- batches -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("loss", [LeastSquares(), Poisson()], ids=lambda loss: loss.kind)
def test_batches_add_up_to_the_whole(loss):
    """The loss is a sum over pixels divided by a number of the whole data set: no batch weighs more than its share."""
    names = ["object", "probe", "intensity_scale", "background"]
    run = roughened(tiny(parameters=everything(), terms={"loss": loss}))
    total, whole = found_by(run, ALL, names)
    parts = [found_by(run, part, names) for part in np.split(ALL, [3, 4, 15])]
    assert sum(value for value, _ in parts) == pytest.approx(total, rel=1e-12)
    for name in ("object", "object curvature", "probe", "background"):
        assert relative_error(sum(arrays[name] for _, arrays in parts), whole[name]) < 1e-12, name
    rows = np.concatenate([arrays["intensity_scale"] for _, arrays in parts])
    assert relative_error(rows, whole["intensity_scale"]) < 1e-12


def test_loss_is_per_count():
    """Twice the photons of the same fit: the loss is the same number."""
    losses = []
    for factor in (1, 2):
        scan = Scan(modes=1, photons=1e4 * factor)
        settings = {"probe": ProbeSettings(refine=False), "object": ObjectSettings(margin_px=4)}
        losses.append(batch_gradients(tiny(exact(scan), settings).problem, ALL, frozenset(["object"]))[0])
    assert losses[1] == pytest.approx(losses[0], rel=1e-9)


# The others act on another parameter, or between slices, of which this object has one.
OF_THE_OBJECT = sorted(set(CASES["regularizer"]) - {"smoothness", "slice_crosstalk", "slice_smoothness"})


def creeping(regularizers, **run):
    """Steps so short that the loss and its slope are the same in all batches of an epoch."""
    slow = ObjectSettings(optimizer=GradientDescent(learning_rate=1e-7), schedule=STEADY, margin_px=4)
    parameters = {"object": slow, "probe": ProbeSettings(refine=False, modes=2)}
    return roughened(tiny(parameters=parameters, terms={"regularizers": regularizers}, **run))


@pytest.mark.parametrize("name", OF_THE_OBJECT)
def test_weight_of_a_regularizer_does_not_depend_on_the_batches(tmp_path, name):
    regularizer, found = CASES["regularizer"][name](tmp_path), []
    for terms, size in (((), 20), ((regularizer,), 20), ((regularizer,), 7), ((regularizer,), 1)):
        run = creeping(terms, batch_size=size)
        before = value_of(run, "object")
        (record,) = run.epochs(1)
        found.append((record.loss, (value_of(run, "object") - before) / 1e-7))
    (plain, slope), *regularized = found
    problem = creeping((regularizer,)).problem
    deviation = problem.xp.asarray(problem.store.values() - 1)  # from vacuum
    term = float(regularizer.value(problem.xp, deviation)) / np.prod(problem.store.shape)
    for loss, steepness in regularized:
        assert loss == pytest.approx(plain + term, rel=1e-5)
        assert relative_error(steepness, regularized[0][1]) < 1e-4
    assert relative_error(regularized[0][1], slope) > 1e-3


def test_regularizers_add_up(tmp_path):
    make = CASES["regularizer"]["total_variation"]
    once, twice = creeping((make(tmp_path),)), creeping((make(tmp_path), make(tmp_path)))
    plain, *losses = (next(run.epochs(1)).loss for run in (creeping(()), once, twice))
    assert losses[1] - plain == pytest.approx(2 * (losses[0] - plain), rel=1e-5)


# -- backends ----------------------------------------------------------------------------------------------------------
def smooth():
    """Object, probe and positions by steps that do not magnify rounding errors."""
    return calm() | {"probe_positions": ParameterSettings(optimizer=step(0.2, 0.3), schedule=STEADY, start=1)}


@pytest.mark.parametrize(("precision", "tolerance"), [("single", 1e-4), ("double", 1e-9)])
@pytest.mark.parametrize("loss", [LeastSquares(), Poisson()], ids=lambda loss: loss.kind)
@pytest.mark.parametrize("regime", ["far_field", "fresnel"])
def test_backends_take_the_same_path(regime, loss, precision, tolerance):
    data = exact(Scan(modes=2, scans=2, regime=regime))
    terms = {"model": Ptychography(propagation=regime), "loss": loss}
    runs = [finished(tiny(data, smooth(), terms, backend=b, precision=precision), 5) for b in BACKENDS]
    assert_same_trajectory(runs, tolerance)
    losses = runs[0].progress.history["loss"]
    assert losses[-1] < 0.7 * losses[0]


def smooth_everything():
    """Without Adam: it divides small gradients by small ones."""
    slow = {"probe_offset": 0.5, "background": 0.5}
    return smooth() | {
        "intensity_scale": ParameterSettings(optimizer=step(0.2)),
        **{name: ParameterSettings(optimizer=Momentum(learning_rate=rate, decay=0.5)) for name, rate in slow.items()},
    }


def test_backends_take_the_same_path_with_everything_refined():
    runs = [finished(tiny(exact(), smooth_everything(), backend=backend), 5) for backend in BACKENDS]
    assert_same_trajectory(runs, 1e-9)
    for name, value in runs[0].problem.values.items():
        assert np.abs(value_of(runs[0], name) - value.first).max() > 1e-4, name


@pytest.mark.parametrize("backend", BACKENDS)
def test_fused_operation_takes_the_path_of_plain_differentiation(backend):
    terms = [{"model": Ptychography(fused=fused)} for fused in (True, False)]
    runs = [finished(tiny(exact(), smooth_everything(), each, backend=backend), 3) for each in terms]
    assert_same_trajectory(runs, 1e-9)


def test_single_precision_follows_double():
    runs = [finished(tiny(parameters=smooth(), precision=precision), 5) for precision in ("single", "double")]
    for name in ("object", "probe", "probe_positions"):
        assert relative_error(value_of(runs[0], name), value_of(runs[1], name)) < 1e-3


# -- what a step divides by --------------------------------------------------------------------------------------------
def test_model_without_curvature_names_the_remedy():
    class Bare(Ptychography):
        def curvatures(self, xp, obj, params, batch, loss, request):
            return {}

    run = tiny(terms={"model": Bare(fused=False)})
    with pytest.raises(ValueError, match=r"parameters\.object\.optimizer: .* no curvature .* such as {kind: adam}"):
        finished(run, 1)
    adam = {n: type(p)(**(vars(p) | {"optimizer": Adam(learning_rate=1e-3)})) for n, p in calm().items()}
    assert finished(tiny(parameters=adam, terms={"model": Bare(fused=False)}), 1).progress.epoch == 1


class Two:
    """The communicator of one of two ranks; what the other one gives is known."""

    size, devices = 2, None

    def __init__(self, other: list) -> None:
        self.other = other

    def gather(self, value, what):
        return [value, self.other.pop(0)]

    def sum(self, value, what):
        return value + self.other.pop(0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_of_two_ranks_are_arrays_of_the_backend(backend):
    """Rows of patterns that both have add up, others stand beside each other."""
    problem = roughened(tiny(exact(), everything(), backend=backend)).problem
    xp, names = problem.xp, frozenset({"probe", "probe_positions"})
    mine, other = (batch_gradients(problem, part, names)[1] for part in (ALL[:9], ALL[6:]))
    for name in names:
        a, b = mine[name], other[name]
        host = {
            key: None if getattr(b, key) is None else xp.to_numpy(getattr(b, key)) for key in ("gradient", "curvature")
        }
        given = [each for each in (b.index, *host.values()) if each is not None]
        found = gradients._over_ranks(replace(problem, comm=Two(given)), name, a)
        assert not given and type(found.gradient) is type(a.gradient)
        expected = np.zeros(found.gradient.shape, host["gradient"].dtype)
        for part in (a, b):
            np.add.at(expected, slice(None) if part.index is None else part.index, xp.to_numpy(part.gradient))
        np.testing.assert_allclose(xp.to_numpy(found.gradient), expected, rtol=1e-12)
