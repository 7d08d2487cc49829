"""The examples do what they say: a model and a parameter from outside the package, and the runner of all examples."""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path

import numpy as np
import pytest
from cases import insert
from laws import assert_gradients, relative_error
from scipy.ndimage import gaussian_filter
from tiny_scan import Scan

import adorym
from adorym import registry
from adorym.data.native_write import write_native
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import predict_patterns
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.forward.base import Request
from adorym.forward.probe import ProbeSettings
from adorym.forward.ptychography import Ptychography
from adorym.losses.counting import LeastSquares
from adorym.report import style
from adorym.report.base import Scene
from adorym.report.curve_pictures import parameters_picture

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
EXTEND = EXAMPLES / "extend"
MODEL, PARAMETER = EXTEND / "forward_model.py", EXTEND / "parameter.py"
ThinObject = registry.lookup("forward_model", f"{MODEL}:ThinObject")
BlurredPtychography = registry.lookup("forward_model", f"{PARAMETER}:BlurredPtychography")


def reconstruction(model, *names: str, **run) -> Reconstruction:
    """Two probe modes; ``names`` are refined besides object and probe."""
    scan = Scan(modes=2)
    settings = {"precision": "double", "device": "cpu", "backend": "torch", "batch_size": 7, "epochs": 3} | run
    parameters = {"probe": ProbeSettings(modes=2)} | {name: model.refinable[name].settings() for name in names}
    return Reconstruction(scan.dataset(start_probe=scan.probe()[:1]), Recipe(model, parameters, LeastSquares()),
                          RunSettings(**settings))  # fmt: skip


# -- a forward model ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("backend", ["torch", "autograd"])
def test_the_forward_model_predicts_what_the_one_in_the_package_does(backend):
    predicted = []
    for model in (ThinObject(), Ptychography()):
        problem = reconstruction(model, backend=backend).problem
        insert(problem, {"object": Scan().object_array(problem.store.shape, problem.bound.origin_px)})
        predicted.append(problem.xp.to_numpy(predict_patterns(problem, np.array([0, 4, 11]))))
    assert relative_error(*predicted) < 1e-12


def test_its_gradients_are_those_of_the_hand_written_adjoints():
    found = []
    for model in (ThinObject(), Ptychography()):
        problem = reconstruction(model).problem
        insert(problem, {"object": Scan().object_array(problem.store.shape, problem.bound.origin_px)})
        obj, params, batch = problem.inputs(np.array([1, 5, 6, 13]))
        request = Request(frozenset({"object", *params}), {}, 1e-3)

        def objective(tree, problem=problem, batch=batch, request=request):
            given = dict(tree)
            return problem.model.objective(problem.xp, given.pop("object"), given, batch, problem.loss, request)

        value, _, gradients = problem.xp.value_and_grad(objective)({"object": obj, **params})
        found.append({"loss": value} | {name: problem.xp.to_numpy(array) for name, array in gradients.items()})
    assert set(found[0]) == {"loss", "object", "probe", "probe_positions"}
    for name in found[0]:
        assert relative_error(found[0][name], found[1][name]) < 1e-10, name


def test_a_run_with_it_takes_the_same_way():
    """Object and probe modes after three epochs."""
    ended = []
    for model in (ThinObject(), Ptychography()):
        made = reconstruction(model)
        losses = [epoch.loss for epoch in made.epochs()]
        probe = made.problem.xp.to_numpy(made.problem.values["probe"].array)
        ended.append([np.array(losses), made.problem.store.values(), probe])
    for found, expected in zip(*ended, strict=True):
        assert relative_error(found, expected) < 1e-9


def test_a_configuration_names_it_by_path_and_class(tmp_path):
    write_native(Scan(modes=2).dataset(), tmp_path / "siemens.h5")
    overrides = [f"data.path={tmp_path / 'siemens.h5'}", "run.epochs=6", "run.precision=double"]
    results = [
        adorym.reconstruct(adorym.load_config(EXTEND / "config.yaml", [*overrides, f"forward_model.kind={kind}"]))
        for kind in (f"{MODEL}:ThinObject", "ptychography")
    ]
    assert "forward_model.py:ThinObject" in results[0].config
    assert results[0].history["loss"][-1] == pytest.approx(results[1].history["loss"][-1], rel=0.05)


# -- a refinable parameter ---------------------------------------------------------------------------------------------
def test_the_blur_is_a_gaussian_that_keeps_the_photons():
    problem = reconstruction(BlurredPtychography(), "blur_px").problem
    some = np.array([2, 9])
    insert(problem, {"blur_px": np.array(0.0)})
    sharp = problem.xp.to_numpy(predict_patterns(problem, some))
    insert(problem, {"blur_px": np.array(1.3)})
    blurred = problem.xp.to_numpy(predict_patterns(problem, some))
    np.testing.assert_allclose(blurred.sum((1, 2)), sharp.sum((1, 2)), rtol=1e-9)
    expected = gaussian_filter(sharp, (0, 1.3, 1.3), mode="wrap", truncate=6)
    assert relative_error(blurred, expected) < 2e-3


@pytest.mark.parametrize("backend", ["torch", "autograd"])
def test_the_gradient_by_the_blur(backend):
    problem = reconstruction(BlurredPtychography(), "blur_px", backend=backend).problem
    insert(problem, {"object": Scan().object_array(problem.store.shape, problem.bound.origin_px)})
    obj, params, batch = problem.inputs(np.array([1, 5, 6]))

    def objective(tree):
        given = params | tree
        arguments = (problem.xp, given.pop("object"), given, batch, problem.loss)
        return problem.model.objective(*arguments, Request(frozenset(tree), {}, 1e-3))

    assert_gradients(problem.xp, objective, {"object": obj, "blur_px": params["blur_px"]}, {})


def test_the_blur_is_found_to_ten_per_cent(tmp_path):
    example = runpy.run_path(str(EXTEND / "run.py"), run_name="example")
    example["simulate_blurred"](tmp_path / "blurred.h5", 1.2, seed=3)
    overrides = [*example["overrides"]("parameter", tmp_path), "run.epochs=25"]
    config = adorym.load_config(EXTEND / "config.yaml", overrides)
    result = adorym.reconstruct(config)
    blur, trace = result.parameters["blur_px"], result.history["blur_px"]
    assert len(trace) == 25 and trace[-1] == float(blur.value), "a single number is kept epoch by epoch"
    with style.styled():
        assert parameters_picture(Scene(result)) is not None
    assert blur.unit == "px" and float(blur.start) == 1.0
    assert float(blur.value) == pytest.approx(1.2, rel=0.1)
    sharp = adorym.load_config(EXTEND / "config.yaml", [*overrides, "parameters.blur_px=false"])
    fixed = adorym.reconstruct(sharp)
    assert float(fixed.parameters["blur_px"].value) == 1.0 and "blur_px" not in fixed.history


# -- all examples ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("status", "losses", "verdict", "passed"),
    [
        (0, (2.0, 1.0), "ok, loss 2 to 1", True),
        (0, (1.0, 2.0), "failed, loss 1 to 2", False),
        (77, None, "skipped: no data", True),
        (1, None, "failed with exit status 1", False),
    ],
)
def test_the_runner_of_all_examples_judges(tmp_path, status, losses, verdict, passed):
    judge = runpy.run_path(str(EXAMPLES / "run_all.py"), run_name="example")["judge"]
    if losses:
        result = adorym.Result(np.ones((3, 4, 1)), history={"loss": np.array(losses)})
        adorym.write_result(result, tmp_path / "result.h5")
    done = subprocess.CompletedProcess([], status, stdout="started\nskipped: no data\n")
    assert judge(done, tmp_path) == (verdict, passed)


def test_an_example_without_its_data_is_skipped(tmp_path, monkeypatch, capsys):
    """Neither a folder nor a connection: the exit status says that nothing was tested."""

    def unreachable(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("pooch.retrieve", unreachable)
    monkeypatch.setenv("ADORYM_DATA", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["run.py", "--output", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(EXAMPLES / "ptychography_siemens_star" / "run.py"), run_name="__main__")
    assert ended.value.code == 77
    assert "skipped: siemens-star-small.npz.bz2: neither found nor fetched" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
