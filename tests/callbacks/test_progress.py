"""Progress on the screen: what is printed, where, and that nothing is left running."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from adorym.callbacks.base import BatchProgress, Callback, EpochRecord, RunInfo
from adorym.callbacks.progress import ProgressReport, clock, duration
from adorym.data.result import Result
from adorym.errors import ConfigError

RESULT = Result(np.ones((3, 4, 1)))
RUN = RunInfo(title="ptychography: siemens.h5", epochs=4, n_batches=3, n_patterns=120)


def drive(callback: Callback, run: RunInfo = RUN, first: int = 1, result: Result | None = RESULT) -> None:
    callback.on_start(run)
    for epoch in range(first, run.epochs + 1):
        for batch in range(1, run.n_batches + 1):
            callback.on_batch(run, BatchProgress(epoch, batch, run.n_batches, 100 / epoch / run.n_batches, 0.0123))
        callback.on_epoch(run, EpochRecord(epoch, run.epochs, 100 / epoch, 0.04, {"object": 0.01}))
    callback.on_end(run, result)


def printed(mode: str, *, terminal: bool = False, run: RunInfo = RUN, every_s: float = 1e9, first: int = 1) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100)
    drive(ProgressReport(mode, every_s=every_s, console=console), run, first)
    return stream.getvalue()


def test_plain_prints_start_first_epoch_last_epoch_and_end_without_control_codes():
    lines = printed("plain").splitlines()
    assert lines[0] == "ptychography: siemens.h5: 120 patterns, 3 batches per epoch, 4 epochs"
    assert lines[1].startswith("epoch 1/4  loss 1.0000e+02  40 ms/epoch  0:00:0") and lines[1].endswith("to go")
    assert lines[2].startswith("epoch 4/4  loss 2.5000e+01")
    assert lines[3].startswith("finished after 0:00:0")
    assert len(lines) == 4 and all(line.isprintable() for line in lines)


def test_plain_prints_batches_of_long_epochs():
    lines = printed("plain", every_s=0.0).splitlines()
    assert sum("batch 1/3" in line for line in lines) == 4
    assert not any("batch 3/3" in line for line in lines), "the epoch's own line follows at once"
    assert "12.3 ms/batch" in lines[1]
    assert all("loss 1.0000e+02" in line for line in lines if "epoch 1" in line), "a batch's loss is told as an epoch's"


def test_plain_has_no_control_codes_even_where_color_is_forced(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in printed("plain", terminal=True)


def test_a_resumed_run_prints_its_first_epoch():
    assert "epoch 3/4" in printed("plain", first=3)


def test_live_redraws_a_bar_with_loss_pace_and_time_to_go():
    text = printed("live", terminal=True)
    assert "\x1b" in text
    for part in ("120 patterns", "epoch 4/4", "12/12", "2.5000e+01", "12.3 ms/batch"):
        assert part in text, part


def test_a_title_is_not_taken_for_markup():
    run = RunInfo(title="data [bold]x[/nothing]", epochs=1, n_batches=1, n_patterns=1)
    assert "[/nothing]" in printed("plain", run=run) and "[/nothing]" in printed("live", terminal=True, run=run)


def test_auto_is_live_on_a_terminal_and_plain_elsewhere():
    assert "\x1b" in printed("auto", terminal=True)
    assert "\x1b" not in printed("auto")


def test_quiet_and_other_ranks_print_nothing():
    assert printed("quiet") == ""
    other = RunInfo(title="t", epochs=2, n_batches=1, n_patterns=1, rank=1)
    assert printed("plain", run=other) == "" and printed("live", terminal=True, run=other) == ""


def test_a_failed_run_is_said_to_have_stopped():
    stream = io.StringIO()
    drive(ProgressReport("plain", console=Console(file=stream)), result=None)
    assert "stopped after" in stream.getvalue() and "finished" not in stream.getvalue()


def test_an_unknown_mode_is_refused():
    with pytest.raises(ConfigError, match="progress: no progress mode 'loud'; expected auto, live, plain, quiet"):
        ProgressReport("loud")


def test_times_are_readable():
    assert clock(3725.4) == "1:02:05" and clock(float("nan")) == clock(-1) == "-:--:--"
    assert duration(0.00123) == "1.23 ms" and duration(2.5) == "2.5 s"


def test_a_callback_may_ignore_everything():
    drive(Callback())
