"""The device path: short runs with every component end on a device as on the host.

The device is one that is none (`device_double`): what would fail on a GPU fails here. A component that is registered is
enrolled by its entry in `cases`, which `tests/test_cases.py` asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from backends import DOUBLE, make_backend
from cases import CASES, MODELS, insert
from device_runs import near_truth
from laws import arrays_of, noise, relative_error
from tiny_runs import SCAN, calm, exact, tiny

from adorym.engine.loop import Reconstruction
from adorym.engine.settings import RunSettings
from adorym.forward.object import ObjectSettings
from adorym.forward.probe import ProbeSettings
from adorym.optics.poses import make_poses
from adorym.optimizers.first_order import Adam
from adorym.parameters import ParameterSettings
from adorym.wrapper.fused import rays

# In single precision some steps amplify rounding errors: the host is then as far from its run in double precision.
RTOL, ROUNDING = {"double": 1e-9, "single": 1e-4}, 3.0
SMALL = Adam(learning_rate=0.01)


def names(group: str) -> list[str]:
    return sorted(CASES[group])


def ended(reconstruction: Reconstruction, epochs: int = 2) -> dict[str, np.ndarray]:
    """What a run ends with, the states of its optimizers excepted."""
    for _ in reconstruction.epochs(epochs):
        pass
    found = {name: a for name, a in arrays_of(reconstruction).items() if ".state_" not in name}
    reconstruction.problem.store.close()
    return found


def assert_as_on_host(make: Callable[..., Reconstruction]) -> None:
    """The run that ``make`` makes ends on the device as on the host, in either precision."""
    start = arrays_of(make(backend="torch", precision="double"))
    exact: dict[str, np.ndarray] = {}
    for precision, rtol in RTOL.items():
        device = make(backend=DOUBLE, precision=precision)
        assert not device.problem.xp.on_host
        expected, found = ended(make(backend="torch", precision=precision)), ended(device)
        exact = exact or expected
        assert set(found) == set(expected)
        own = max(relative_error(array, exact[name]) for name, array in expected.items())
        for name, array in expected.items():
            error = relative_error(found[name], array)
            assert error <= max(rtol, ROUNDING * own), f"{name} differs by {error:.1e} in {precision} precision"
    values = set(exact) - {"loss", "progress"}
    assert any(relative_error(start[name], exact[name]) > 0 for name in values), "nothing happened in this run"


@pytest.mark.parametrize("name", names("forward_model"))
def test_every_forward_model(name):
    # Steps of poses cross kinks of the interpolation, where rounding decides on the side: few of them.
    batch_size = None if name == "ptychotomography" else 10
    for case in MODELS[name]():
        assert_as_on_host(partial(near_truth, case, seed=3, batch_size=batch_size))


@pytest.mark.parametrize("name", names("projector"))
def test_every_projector(name, tmp_path):
    for case in MODELS["tomography"]():
        changed = replace(case, model=replace(case.model, projector=CASES["projector"][name](tmp_path)))
        assert_as_on_host(partial(near_truth, changed, seed=3, batch_size=10))


@pytest.mark.parametrize("level", [True, False])
def test_poses_are_worked_on_in_parts(level, monkeypatch):
    xp, rng = make_backend(DOUBLE), np.random.default_rng(4)
    volume, frame = rng.normal(size=(4, 6, 8)), rays.Frame(4, 0, 0, 4, width=7, level=level)
    poses = make_poses(
        xp, xp.asarray(rng.uniform(0, 3, 5)), None if level else xp.asarray(0.1 * rng.normal(size=(5, 3)))
    )
    found = []
    for samples in (rays.SAMPLES, 1):
        monkeypatch.setattr(rays, "SAMPLES", samples)
        found.append(xp.to_numpy(rays.project(xp, xp.asarray(volume), poses.matrices, poses.shifts, frame)))
    assert found[0].shape == (5, 4, 7) and relative_error(*found) < 1e-14


def off_truth(made: Reconstruction) -> Reconstruction:
    """``made``, started a little off the true object: in vacuum, most gradients are rounding errors."""
    problem = made.problem
    first = SCAN.object_array(problem.store.shape, problem.bound.origin_px)
    first = first + 0.1 * noise(np.random.default_rng(7), first.shape, True)
    insert(problem, {"object": first.astype(problem.xp.complex_dtype)})
    return made


def scan(parameters: dict[str, Any] | None = None, *, run: dict[str, Any] | None = None, **terms: Any) -> None:
    """A short run of a small scan, in both places."""

    def make(**settings: Any) -> Reconstruction:
        return off_truth(tiny(exact(), parameters, terms, **(run or {}), **settings))

    assert_as_on_host(make)


@pytest.mark.parametrize("name", names("optimizer"))
def test_every_optimizer(name, tmp_path):
    optimizer = CASES["optimizer"][name](tmp_path)
    small = ParameterSettings(optimizer=optimizer)
    waves = {
        "object": ObjectSettings(optimizer=optimizer, margin_px=4),
        "probe": ProbeSettings(optimizer=optimizer, modes=2, per="run"),
    }
    scan(waves | {"probe_positions": small, "intensity_scale": small})


@pytest.mark.parametrize("name", names("loss"))
def test_every_loss(name, tmp_path):
    scan(loss=CASES["loss"][name](tmp_path))


def with_parameter(name: str) -> dict[str, ParameterSettings]:
    return calm() | ({} if name in calm() else {name: ParameterSettings(optimizer=SMALL)})


@pytest.mark.parametrize("name", names("regularizer"))
def test_every_regularizer(name, tmp_path):
    term = CASES["regularizer"][name](tmp_path)
    if name != "slice_crosstalk":
        return scan(with_parameter(term.parameter), regularizers=(term,))
    case, *_ = MODELS["multislice"]()  # it means nothing of a single slice
    recipe = case.reconstruction().recipe
    # An object of vacuum says nothing of positions and tilts: their first steps would follow rounding errors.
    refined = {name: recipe.parameters[name] for name in ("object", "probe")}

    def make(**run: Any) -> Reconstruction:
        own = replace(recipe, parameters=refined, regularizers=(term,))
        return Reconstruction(case.dataset, own, RunSettings(device="cpu", **run))

    return assert_as_on_host(make)


@pytest.mark.parametrize("name", names("constraint"))
def test_every_constraint(name, tmp_path):
    constraint = CASES["constraint"][name](tmp_path)
    if name == "support":
        shape = tiny(exact()).problem.store.shape
        np.save(constraint.mask, np.add.outer(*(np.arange(n) for n in shape)) > 12)
    scan(with_parameter(constraint.parameter), constraints=(constraint,))


@pytest.mark.parametrize("name", names("solver"))
def test_every_solver(name, tmp_path):
    parameters = {"object": ObjectSettings(margin_px=4), "probe": ProbeSettings(modes=2, per="run")}
    solver = CASES["solver"][name](tmp_path)
    solver = replace(solver, iterations=4) if name == "scipy" else solver  # the more, the more rounding errors grow
    scan(parameters, solver=solver, run={"batch_size": None})


@pytest.mark.parametrize("store", get_args(get_type_hints(RunSettings)["store"]))
def test_every_store(store, tmp_path):
    more = {"scratch": str(tmp_path), "object_memory": 100e3} if store == "h5" else {}
    scan(run={"store": store, **more})
