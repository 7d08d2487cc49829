"""A detector that blurs the patterns, against a convolution that is summed up here."""

from __future__ import annotations

import numpy as np
import pytest
from laws import assert_gradients, relative_error
from tiny_scan import Exact, Scan

from adorym.config import config_from
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import predict_patterns
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.errors import ConfigErrors
from adorym.forward.object import ObjectSettings
from adorym.forward.probe import ProbeSettings
from adorym.forward.ptychography import Ptychography
from adorym.losses.counting import LeastSquares
from adorym.parameters import ParameterSettings

SCAN = Scan(grid=(6, 7), photons=1e5)
SIGMA = np.array([1.1, 0.7])


def spread(patterns: np.ndarray) -> np.ndarray:
    """Every count moved by every distance within five standard deviations, with its weight."""
    found = np.zeros_like(patterns)
    reach = np.arange(-6, 7)
    weights = [np.exp(-(reach**2) / (2 * s**2)) for s in SIGMA]
    for dy, wy in zip(reach, weights[0] / weights[0].sum(), strict=True):
        for dx, wx in zip(reach, weights[1] / weights[1].sum(), strict=True):
            found += wy * wx * np.roll(patterns, (dy, dx), (1, 2))
    return found


def made(backend="torch", blur=True, regime="far_field", refine=True, **run):
    scan = Scan(grid=(6, 7), photons=1e5, regime=regime)
    data = scan.dataset(patterns=Exact(spread(scan.patterns())), start_probe=scan.probe())
    settings = {"object": ObjectSettings(margin_px=4), "probe": ProbeSettings(refine=refine)}
    settings |= {"detector_blur": ParameterSettings()} if blur else {}
    base = {"precision": "double", "backend": backend, "device": "cpu", "threads": 1, "epochs": 100}
    recipe = Recipe(Ptychography(propagation=regime), settings, LeastSquares())
    return Reconstruction(data, recipe, RunSettings(**base | run)), data


def truth(run: Reconstruction) -> None:
    problem = run.problem
    problem.values["detector_blur"].array = problem.xp.asarray(SIGMA, exact=True)
    problem.values["probe"].array = problem.xp.asarray(SCAN.probe(), exact=True)
    obj = SCAN.object_array(problem.store.shape, problem.bound.origin_px)
    problem.store.restore(obj.astype(np.complex128), problem.store.state())


@pytest.mark.parametrize("backend", ["torch", "autograd"])
@pytest.mark.parametrize("regime", ["far_field", "fresnel"])
def test_the_prediction_is_blurred(backend, regime):
    run, data = made(backend, regime=regime)
    truth(run)
    found = run.problem.xp.to_numpy(predict_patterns(run.problem, np.arange(SCAN.n)))
    assert relative_error(run.problem.bound.from_model_frame(found), data.patterns.array) < 4e-3


@pytest.mark.parametrize("backend", ["torch", "autograd"])
def test_gradients(backend):
    run, _ = made(backend)
    problem = run.problem
    truth(run)
    obj, params, batch = problem.inputs(np.arange(SCAN.n))

    def loss(tree):
        predicted = problem.model.predict(problem.xp, obj, {**params, **tree}, batch)
        return problem.loss.value(problem.xp, predicted, batch.target, batch.mask, batch.floor), None

    values = {"detector_blur": 0.8 * SIGMA, "probe": problem.xp.to_numpy(params["probe"])}
    assert_gradients(problem.xp, loss, values, {"detector_blur": 0.1})


def test_the_blur_is_found():
    """With a known probe: blurred patterns of a Gaussian beam are nearly those of a narrower one."""
    losses = {}
    for blur in (False, True):
        run, _ = made(blur=blur, refine=False)
        losses[blur] = [record.loss for record in run.epochs()][-1]
    np.testing.assert_allclose(run.problem.present()["detector_blur"], SIGMA, rtol=0.1)
    assert losses[True] < 0.1 * losses[False]


def test_it_is_a_parameter_of_scans_alone():
    model = {"kind": "tomography"}
    with pytest.raises(ConfigErrors, match=r"detector_blur: unknown parameter for forward model 'tomography'"):
        config_from({"data": "a.h5", "forward_model": model, "parameters": {"detector_blur": {}}})
