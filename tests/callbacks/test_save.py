"""The log file and the snapshots of a run."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread
from result_cases import ptychography_result

from adorym.callbacks.base import EpochRecord, RunInfo
from adorym.callbacks.save import LogFile, Snapshots, save_snapshot
from adorym.data.field_of_view import field_of_view
from adorym.data.result import Result
from adorym.errors import ConfigError


def run_info(tmp_path, **changes) -> RunInfo:
    info = RunInfo(title="t", epochs=4, n_batches=2, n_patterns=100, output=tmp_path / "out")
    return replace(info, current=ptychography_result, **changes)


def epoch(number: int) -> EpochRecord:
    return EpochRecord(number, 4, 12.5 / number, 0.25, {"object": 0.01, "probe_positions": 0.5})


def test_the_log_has_a_line_an_epoch_and_the_warnings_of_the_package(tmp_path):
    run, log = run_info(tmp_path), LogFile()
    log.on_start(run)
    log.on_epoch(run, epoch(1))
    logging.getLogger("adorym").warning("parameters.%s: refining it has no effect", "tilt")
    log.on_epoch(run, epoch(2))
    log.on_end(run, ptychography_result())
    logging.getLogger("adorym").warning("after the run")
    lines = (run.output / "log.txt").read_text().splitlines()
    assert [line[21:] for line in lines[:4]] == [
        "start: t; 100 patterns, 2 batches per epoch, 4 epochs",
        "epoch 1/4  loss 1.250000e+01  0.25 s  learning rates:  object 0.01  probe_positions 0.5",
        "parameters.tilt: refining it has no effect",
        "epoch 2/4  loss 6.250000e+00  0.25 s  learning rates:  object 0.01  probe_positions 0.5",
    ]
    assert "end: 0.0 s" in lines[4] and len(lines) == 5


def test_a_resumed_run_goes_on_in_the_same_log(tmp_path):
    run = run_info(tmp_path)
    for result in (None, ptychography_result()):
        log = LogFile()
        log.on_start(run)
        log.on_end(run, result)
    text = (run.output / "log.txt").read_text()
    assert text.count("start:") == 2 and "stopped before the end" in text and "end: 0" in text


def test_other_ranks_and_runs_without_output_write_nothing(tmp_path):
    for run in (run_info(tmp_path, rank=1), replace(run_info(tmp_path), output=None)):
        for callback in (LogFile(), Snapshots(1)):
            callback.on_start(run)
            callback.on_epoch(run, epoch(1))
            callback.on_end(run, None)
    assert list(tmp_path.iterdir()) == []


def test_snapshots_come_every_k_epochs_and_every_rank_is_asked(tmp_path):
    asked = []

    def current() -> Result:
        asked.append(1)
        return ptychography_result()

    for rank in (0, 1):
        run = replace(run_info(tmp_path, rank=rank), current=current)
        snapshots = Snapshots(2)
        for number in range(1, 5):
            snapshots.on_epoch(run, epoch(number))
    names = sorted(p.name for p in (tmp_path / "out" / "snapshots").iterdir())
    assert names == ["epoch_00002.png", "epoch_00004.png"]
    assert len(asked) == 4  # gathering the object is collective


def test_a_snapshot_shows_the_scanned_area_pixel_by_pixel(tmp_path):
    result = ptychography_result()
    image = imread(save_snapshot(result, tmp_path / "s.png"))
    view = field_of_view(result)
    assert image.shape[:2] == view.seen.shape
    inside = image[..., 0][view.bright]
    assert inside.min() == 0 and inside.max() == 1 and 0.3 < inside.mean() < 0.9


def test_a_snapshot_of_delta(tmp_path):
    delta = np.zeros((5, 7, 3, 2))
    delta[2:, :, 1, 0] = 1e-5
    image = imread(save_snapshot(Result(delta, "delta_beta"), tmp_path / "d.png"))
    assert image.shape[:2] == (5, 7) and image[0, 0, 0] == 0 and image[4, 0, 0] == 1


def test_a_snapshot_interval_must_be_positive():
    with pytest.raises(ConfigError, match="output.snapshots_every: not a number of epochs; expected >= 1; found 0"):
        Snapshots(0)
