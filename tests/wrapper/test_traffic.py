"""A batch on a device copies nothing to the host and waits for no number; the loss is fetched once an epoch.

`device_double.Traffic` notes every copy and every wait, with the line that asked for it. What cannot do without is
listed here, and the list is strict: whoever mends an entry must take it out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from backends import DOUBLE, make_backend
from cases import CASES, MODELS, insert
from device_double import Traffic
from device_runs import ON_DEVICE, near_truth, traffic
from test_device_path import off_truth, with_parameter
from tiny_runs import calm, exact, stopped_after, tiny

from adorym.engine import gradients
from adorym.engine.checkpoint import load_checkpoint, save_checkpoint
from adorym.errors import RunError
from adorym.parameters import ParameterSettings

MOVING = ("far_field-1", "tomography-moving")

# What still leaves the device, and why.
NOT_YET = {
    "projector-fourier": "the library of its transforms works on the host",
}


def listed(group: str) -> list[Any]:
    """The names of a group, those that still leave the device marked as such."""
    marks = {name: pytest.mark.xfail(reason=NOT_YET[f"{group}-{name}"], strict=True)
             for name in CASES[group] if f"{group}-{name}" in NOT_YET}  # fmt: skip
    return [pytest.param(name, marks=marks.get(name, ())) for name in sorted(CASES[group])]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_batch_of_every_forward_model(name):
    for case in MODELS[name]():
        assert not traffic(near_truth(case, **ON_DEVICE)), case.name


@pytest.mark.parametrize("name", listed("projector"))
def test_a_batch_with_every_projector(name, tmp_path):
    *_, case = MODELS["tomography"]()
    case = replace(case, model=replace(case.model, projector=CASES["projector"][name](tmp_path)))
    assert not traffic(near_truth(case, **ON_DEVICE))


@pytest.mark.parametrize("name", listed("optimizer"))
def test_a_batch_with_every_optimizer(name, tmp_path):
    settings = ParameterSettings(optimizer=CASES["optimizer"][name](tmp_path))
    parameters = {each: replace(given, optimizer=settings.optimizer) for each, given in calm().items()}
    made = tiny(exact(), parameters | {"probe_positions": settings, "intensity_scale": settings}, **ON_DEVICE)
    assert not traffic(off_truth(made))


@pytest.mark.parametrize("name", listed("loss"))
def test_a_batch_with_every_loss(name, tmp_path):
    assert not traffic(off_truth(tiny(exact(), None, {"loss": CASES["loss"][name](tmp_path)}, **ON_DEVICE)))


@pytest.mark.parametrize("name", listed("regularizer"))
def test_a_batch_with_every_regularizer(name, tmp_path):
    term = CASES["regularizer"][name](tmp_path)
    made = tiny(exact(), with_parameter(term.parameter), {"regularizers": (term,)}, **ON_DEVICE)
    assert not traffic(off_truth(made))


@pytest.mark.parametrize("name", listed("constraint"))
def test_a_batch_with_every_constraint(name, tmp_path):
    constraint = CASES["constraint"][name](tmp_path)
    if name == "support":
        np.save(constraint.mask, np.ones(tiny(exact()).problem.store.shape, bool))
    made = tiny(exact(), with_parameter(constraint.parameter), {"constraints": (constraint,)}, **ON_DEVICE)
    assert not traffic(off_truth(made))


def test_a_batch_in_several_chunks(monkeypatch):
    monkeypatch.setattr(gradients, "CHUNK_PIXELS", 2 * 12 * 14 * 3)  # three patterns of two modes
    settings = ParameterSettings()
    parameters = calm() | dict.fromkeys(("probe_positions", "probe_offset", "intensity_scale", "background"), settings)
    made = off_truth(tiny(exact(), parameters, **ON_DEVICE))
    assert len(gradients.own_chunks(made.problem, np.arange(10))) > 2
    assert not traffic(made)


def test_no_entry_of_the_list_is_out_of_date():
    known = {f"{group}-{name}" for group, names in CASES.items() for name in names}
    assert set(NOT_YET) <= known


@pytest.mark.parametrize("name", MOVING)
def test_the_loss_is_fetched_once_an_epoch(name):
    """However many batches an epoch has, as much leaves the device."""
    case = next(each for make in MODELS.values() for each in make() if each.name == name)
    found = []
    for size in (20, 5):
        made = near_truth(case, **(ON_DEVICE | {"batch_size": size}))
        for _ in made.epochs(1):
            pass
        made.best.loss = 0.0  # whether a state is kept depends on how good it is
        with Traffic() as seen:
            for _ in made.epochs(1):
                pass
        found.append(seen.seen)
    assert found[0] == found[1]
    assert sum("_local_scalar_dense" in each and "_epoch" in each for each in found[0]) == 1


def test_a_loss_that_is_no_number_is_seen_at_the_end_of_the_epoch():
    made = off_truth(tiny(exact(), **ON_DEVICE))
    insert(made.problem, {"object": np.full(made.problem.store.shape, np.nan, np.complex64)})
    with pytest.raises(RunError, match="not a finite number in epoch 1;|not a finite number in epoch 1$"):
        next(made.epochs())


def test_a_checkpoint_within_an_epoch_holds_the_loss_so_far(tmp_path):
    first, second = (off_truth(tiny(exact(), **ON_DEVICE)) for _ in range(2))
    stopped_after(first, 1, 1)
    assert first.progress.batch == 1
    save_checkpoint(first, tmp_path / "checkpoint.h5", {})
    load_checkpoint(second, tmp_path / "checkpoint.h5", {})
    assert second.progress.partial_loss == float(first.progress.partial_loss) > 0


WAYS_OUT = {
    "an array": lambda xp, a: xp.to_numpy(a),
    "a list": lambda xp, a: a.tolist(),
    "a number": lambda xp, a: float(a[0]),
    "an index": lambda xp, a: int(a[0]),
    "a truth": lambda xp, a: bool(a[0] > 0),
    "chosen elements": lambda xp, a: a[a > 0],
    "their places": lambda xp, a: torch.nonzero(a),
    "distinct ones": lambda xp, a: torch.unique(a),
    "a checked solution": lambda xp, a: torch.linalg.solve(a[:, None] * a + xp.asarray(np.eye(4)), a),
}


@pytest.mark.parametrize("name", WAYS_OUT)
def test_the_guard_sees(name):
    xp = make_backend(DOUBLE)
    a = xp.asarray(np.arange(4.0))
    with Traffic() as seen:
        WAYS_OUT[name](xp, a)
    assert len(seen.seen) == 1
