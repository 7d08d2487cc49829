"""Time by stage: what is within a stage is not counted twice, and a run that is timed is the same run."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from command_line import write_config, write_data
from tiny_runs import tiny

import adorym
from adorym.callbacks import profile as profiling
from adorym.callbacks.profile import TRACE_NAME, Profile, Stages, table


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on only when it is told."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def test_a_stage_excludes_the_stages_within_it(clock):
    stages = Stages()
    transform = stages.timed("propagate", lambda: clock(3.0), lambda: clock(0.5))

    def work():
        clock(1.0)
        transform()
        transform()
        clock(2.0)

    stages.timed("loss and adjoint", work, lambda: None)()
    assert stages.seconds == {"propagate": 7.0, "loss and adjoint": 3.0}
    assert stages.calls == {"propagate": 2, "loss and adjoint": 1}
    assert [(name, taken) for name, _, taken, _ in stages.events] == [
        ("propagate", 3.5),
        ("propagate", 3.5),
        ("loss and adjoint", 10.0),
    ]


def test_a_stage_that_fails_is_counted(clock):
    stages = Stages()

    def fails():
        clock(2.0)
        raise ValueError

    with pytest.raises(ValueError):
        stages.timed("read", fails, lambda: None)()
    assert stages.seconds == {"read": 2.0}


def test_the_table_has_shares_of_the_whole_and_the_rest():
    stages = Stages({"propagate": 6.0, "gather": 1.0}, {"propagate": 12, "gather": 3})
    assert table(stages, 10.0, 4.0) == [
        "profile: 10 s",
        "  propagate             6.000 s   60.0 %  12 calls",
        "  other                 3.000 s   30.0 %",
        "  gather                1.000 s   10.0 %  3 calls",
        "  a Fourier transform and its inverse of every wave take 4 s; the run took 2.5 times that",
    ]


@pytest.mark.parametrize("backend", ["torch", "autograd"])
@pytest.mark.parametrize("store", ["dp", "do", "h5"])
def test_a_profiled_run_is_the_same_run(tmp_path, backend, store):
    write_data(tmp_path / "data.h5")
    run = {"backend": backend, "store": store, "epochs": 2}
    plain = adorym.reconstruct(write_config(tmp_path, run=run), output=tmp_path / "plain")
    timed = adorym.reconstruct(write_config(tmp_path, run=run, output={"profile": True}), output=tmp_path / "timed")
    np.testing.assert_array_equal(timed.object, plain.object)
    assert not (tmp_path / "plain" / TRACE_NAME).exists()
    events = json.loads((tmp_path / "timed" / TRACE_NAME).read_text())["traceEvents"]
    assert {"read", "gather", "propagate", "loss and adjoint", "scatter", "step"} <= {e["name"] for e in events}
    assert all(e["ph"] == "X" and e["dur"] >= 0 and e["pid"] == 0 for e in events)
    log = (tmp_path / "timed" / "log.txt").read_text()
    assert "profile: " in log and "loss and adjoint" in log and "Fourier transform and its inverse" in log


def test_afterwards_the_methods_are_those_of_the_classes():
    reconstruction = tiny()
    info = adorym.RunInfo(title="", epochs=1, n_batches=1, n_patterns=1)
    timing = Profile(reconstruction)
    timing.on_start(info)
    methods = [(owner, name) for _, owner, name in profiling.stage_methods(reconstruction.problem)]
    assert all(name in vars(owner) for owner, name in methods)
    timing.on_end(info, None)
    assert not any(name in vars(owner) for owner, name in methods)
