"""Snapshots for `adorym watch`: what they hold, how little they cost, and that they never fail a run."""

from __future__ import annotations

import errno
import json
import shutil
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import SCAN, settings, write_data
from result_cases import ptychography_result
from tiny_runs import finished, tiny

import adorym
from adorym.callbacks import live
from adorym.callbacks.base import BatchProgress, EpochRecord, RunInfo
from adorym.callbacks.live import LiveFolder, LiveSnapshots
from adorym.callbacks.live_curves import LiveCurves
from adorym.data import looks
from adorym.data.live import packed, read_look
from adorym.data.looks import curve, look_at, strides
from adorym.data.result import Result
from adorym.engine.outcome import outcome
from adorym.engine.shown import glance
from adorym.errors import DataError


def seen(due: bool):
    return look_at(ptychography_result()) if due else None


def info(folder, **changes) -> RunInfo:
    made = RunInfo(title="t", epochs=10, n_batches=4, n_patterns=100, output=folder, glance=seen)
    return replace(made, **changes)


def state(folder):
    return json.loads((folder / "live" / "state.json").read_text())


@pytest.fixture
def always(monkeypatch):
    """Every snapshot is affordable, and at once."""
    monkeypatch.setattr(live, "SHARE", 1e9)
    monkeypatch.setattr(live, "EVERY_S", 0.0)


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / "data.h5")


def run(data, folder, **sections):
    given = settings(data={"path": str(data)}, **sections)
    return adorym.reconstruct(given, output=folder)


# -- what they hold ----------------------------------------------------------------------------------------------------
def test_a_run_leaves_its_last_state(data, tmp_path, monkeypatch):
    monkeypatch.setattr(live, "SHARE", 1e9)
    monkeypatch.setattr(LiveSnapshots, "__init__", _eager(LiveSnapshots.__init__))
    result = run(data, tmp_path / "out")
    left = state(tmp_path / "out")
    assert (left["state"], left["epoch"], left["epochs"]) == ("finished", 3, 3)
    assert left["curves"]["loss"]["y"] == pytest.approx(result.history["loss"], rel=1e-6)
    assert left["n_patterns"] == len(SCAN.positions) and left["curves"]["memory"]["y"][-1] > 1e6
    assert sorted(path.name for path in (tmp_path / "out" / "live").iterdir()) == ["snapshot.npz", "state.json"]


def _eager(make):
    def made(self, every_s=0.0):
        make(self, every_s)

    return made


def test_live_can_be_switched_off(data, tmp_path):
    run(data, tmp_path / "out", output={"live": False})
    assert not (tmp_path / "out" / "live").exists()


@pytest.mark.parametrize("limit", [10**9, 150])
def test_a_glance_is_the_present_object_every_nth_pixel(monkeypatch, limit):
    monkeypatch.setattr(looks, "PIXELS", limit)
    monkeypatch.setattr(strides, "__defaults__", (limit, looks.VOXELS))
    reconstruction = finished(tiny(), 2)
    found = glance(reconstruction.problem, reconstruction.progress.history)
    whole = outcome(reconstruction, judged=False)
    step = found.step[0]
    assert found.step == (step, step, 1) and (step > 1) == (limit < 10**9)
    assert found.result.object[..., 0].size <= limit
    # Object and probe may differ by the factor that a scan leaves open.
    ratio = found.result.object / whole.object[::step, ::step]
    np.testing.assert_allclose(ratio, ratio.flat[0], rtol=1e-5)
    np.testing.assert_allclose(np.abs(found.result.probe * ratio.flat[0]), np.abs(whole.probe), rtol=1e-5)
    assert set(found.result.parameters) == set(whole.parameters)
    assert list(found.result.history["loss"]) == list(whole.history["loss"])
    assert glance(reconstruction.problem, {}, False) is None


@pytest.mark.parametrize(
    "shape", [(5000, 7000, 1), (300, 300, 300), (2048, 2048, 4), (3, 5, 2), (10, 100_000, 1), (1, 1, 9000)]
)
def test_a_look_is_small_however_large_the_object_is(shape):
    step = strides(shape)
    counts = [len(range(0, n, s)) for n, s in zip(shape, step, strict=True)]
    assert counts[0] * counts[1] <= looks.PIXELS and np.prod(counts) <= looks.VOXELS
    finer = [max(1, s - 1) for s in step]
    counts = [len(range(0, n, s)) for n, s in zip(shape, finer, strict=True)]
    assert step == (1, 1, 1) or counts[0] * counts[1] > looks.PIXELS or np.prod(counts) > looks.VOXELS


def test_the_seen_part_of_a_thinned_object_is_that_of_the_whole_one():
    result = ptychography_result(n=14)
    whole, thinned = look_at(result), look_at(result, pixels=1500)
    assert thinned.step[0] > 1
    for fine, coarse in zip(whole.view.crop, thinned.view.crop, strict=True):
        assert abs(fine.start - coarse.start * thinned.step[0]) <= 2 * thinned.step[0]
        assert abs(fine.stop - coarse.stop * thinned.step[0]) <= 2 * thinned.step[0]
    assert np.mean(thinned.view.bright) == pytest.approx(np.mean(whole.view.bright), abs=0.1)


def test_a_snapshot_is_read_as_it_was_written(tmp_path):
    written = look_at(ptychography_result(), pixels=2000)
    (tmp_path / "snapshot.npz").write_bytes(packed(written))
    read = read_look(tmp_path / "snapshot.npz")
    assert (read.step, read.probe_step) == (written.step, written.probe_step)
    for name in ("object", "probe"):
        np.testing.assert_array_equal(getattr(read.result, name), getattr(written.result, name))
    assert (read.result.origin_px, read.result.pixel_size_m) == (written.result.origin_px, written.result.pixel_size_m)
    for name, each in written.result.parameters.items():
        np.testing.assert_array_equal(read.result.parameters[name].value, each.value)
        np.testing.assert_array_equal(read.result.parameters[name].start, each.start)
        assert read.result.parameters[name].unit == each.unit


def test_what_is_no_snapshot_is_refused(tmp_path):
    for content in (b"", b"PK\x03\x04 half a file", b"\x93NUMPY"):
        (tmp_path / "snapshot.npz").write_bytes(content)
        with pytest.raises(
            DataError, match=r"snapshot.npz: not a snapshot of a run; found .*; it is made anew by a run"
        ):
            read_look(tmp_path / "snapshot.npz")


def test_a_curve_keeps_its_extremes_and_its_gaps():
    y = np.sin(np.arange(30_000) / 500)
    y[12_345], y[23_456], y[5] = 9.0, -9.0, np.nan
    made = curve(np.arange(30_000), y)
    assert len(made["y"]) <= looks.POINTS and {9.0, -9.0} <= set(made["y"])
    assert made["x"][made["y"].index(9.0)] == 12_345
    assert curve([1, 2, 3], [1.0, np.inf, 3.0], "m") == {"x": [1, 2, 3], "y": [1.0, None, 3.0], "unit": "m"}


# -- they never fail a run ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), MemoryError("none left")])
def test_a_full_disk_is_one_warning(tmp_path, monkeypatch, caplog, always, fault):
    def refuse(path, content):
        raise fault

    monkeypatch.setattr(live, "replace_file", refuse)
    snapshots, run = LiveSnapshots(0.0), info(tmp_path)
    snapshots.on_start(run)
    for epoch in range(1, 4):
        snapshots.on_epoch(run, EpochRecord(epoch, 10, 1.0, 0.1))
        while not snapshots._live.idle:
            time.sleep(0.001)
    snapshots.on_end(run, ptychography_result())
    assert [r.message for r in caplog.records if "no snapshots for 'adorym watch'" in r.message] == [
        f"{tmp_path / 'live'}: no snapshots for 'adorym watch': {fault}"
    ]


def test_a_folder_that_is_gone_is_not_made_again(tmp_path, caplog, always):
    snapshots, run = LiveSnapshots(0.0), info(tmp_path / "out")
    (tmp_path / "out").mkdir()
    snapshots.on_start(run)
    while not snapshots._live.idle:
        time.sleep(0.001)
    shutil.rmtree(tmp_path / "out")
    snapshots.on_epoch(run, EpochRecord(1, 10, 1.0, 0.1))
    snapshots.on_end(run, None)
    assert not (tmp_path / "out").exists() and "no snapshots" in caplog.text


def test_a_file_system_that_hangs_does_not_hold_up_the_run(tmp_path, monkeypatch, always):
    hanging, entered = threading.Event(), threading.Event()

    def hang(path, content):
        entered.set()
        hanging.wait(60)

    monkeypatch.setattr(live, "replace_file", hang)
    monkeypatch.setattr(live, "PATIENCE_S", 0.05)
    asked = []
    snapshots, run = LiveSnapshots(0.0), info(tmp_path, glance=lambda due: asked.append(due))
    snapshots.on_start(run)
    assert entered.wait(60)
    for epoch in range(1, 50):
        snapshots.on_epoch(run, EpochRecord(epoch, 50, 1.0, 0.1))
    snapshots.on_end(run, ptychography_result())
    assert asked == [False] * 49  # no look is taken while the last one is not written
    hanging.set()


def test_half_written_files_of_a_killed_run_are_removed(tmp_path):
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / ".partial-1-snapshot.npz").write_bytes(b"half")
    snapshots = LiveSnapshots()
    snapshots.on_start(info(tmp_path))
    snapshots.on_end(info(tmp_path), None)
    assert [path.name for path in (tmp_path / "live").iterdir()] == ["state.json"]


def test_a_run_without_output_and_other_ranks_write_nothing(tmp_path):
    asked = []
    for run in (info(None), info(tmp_path, rank=1, glance=lambda due: asked.append(due))):
        snapshots = LiveSnapshots(0.0)
        snapshots.on_start(run)
        snapshots.on_batch(run, BatchProgress(1, 1, 4, 1.0, 0.1))
        snapshots.on_epoch(run, EpochRecord(1, 10, 1.0, 0.1))
        snapshots.on_end(run, None)
    assert not list(tmp_path.iterdir()) and asked == [False, False]  # a look is collective: every rank is asked


# -- and cost little ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("cost_s", [0.0001, 0.004, 0.1, 1.0])
def test_snapshots_take_at_most_two_percent_of_the_time(tmp_path, monkeypatch, cost_s):
    clock = SimpleNamespace(now=0.0, taken=0)
    times = {name: lambda: clock.now for name in ("monotonic", "perf_counter", "time")}
    monkeypatch.setattr(live, "time", SimpleNamespace(**times, thread_time=lambda: 0.0, sleep=time.sleep))

    def look(due):
        if due:
            clock.now += cost_s
            clock.taken += 1
        return seen(due)

    monkeypatch.setattr(live, "packed", lambda look: b"")
    snapshots, run = LiveSnapshots(), info(tmp_path, glance=look)
    snapshots.on_start(run)
    for i in range(1200):
        clock.now += 0.1
        if snapshots._live.idle or cost_s < 0.01:
            snapshots.on_batch(run, BatchProgress(1 + i // 4, 1 + i % 4, 4, 1.0, 0.1))
        _settle(snapshots)
    assert clock.taken * cost_s <= 0.02 * clock.now
    expected = min(120.0, 0.015 * clock.now / cost_s)  # one a second, where that is affordable
    assert 0.4 * expected - 1 <= clock.taken <= expected + 1


def _settle(snapshots):
    while not snapshots._live.idle:
        time.sleep(0.0001)


def test_the_writer_keeps_nothing_waiting(tmp_path):
    folder = LiveFolder(tmp_path)
    folder.write({"a": 1})
    folder.close({"a": 2})
    assert json.loads((tmp_path / "live" / "state.json").read_text()) == {"a": 2}


def test_a_result_without_probe_or_history_has_a_look():
    bare = look_at(Result(np.ones((4, 5, 1))))
    assert bare.result.object.shape == (4, 5, 1) and not bare.view.scanned


def test_curves_of_a_training(tmp_path):
    with LiveCurves(tmp_path, "training", 3) as curves:
        for loss in (3.0, 2.0, 1.5):
            curves.add({"epoch": 7, "loss": loss})
    left = state(tmp_path)
    assert (left["state"], left["epoch"], left["epochs"], left["title"]) == ("finished", 3, 3, "training")
    assert left["curves"] == {"loss": {"x": [1, 2, 3], "y": [3.0, 2.0, 1.5], "unit": ""}}


def test_a_training_that_fails_says_so_and_one_that_is_refused_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), LiveCurves(tmp_path, "training") as curves:
        curves.add({"loss": 1.0})
        1 / 0  # noqa: B018
    assert state(tmp_path)["state"] == "failed"
    with pytest.raises(ZeroDivisionError), LiveCurves(tmp_path / "other", "training"):
        1 / 0  # noqa: B018
    assert not (tmp_path / "other").exists()
