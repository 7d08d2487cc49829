"""``adorym stream``: record, follow, finish; what was recorded survives, and gives the result of an offline run."""

import json
import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from mpi_launch import run as mpi_run
from tiny_scan import Scan

from adorym.commands.run import run
from adorym.commands.stream import StreamOptions, stream
from adorym.data.native_write import write_native
from adorym.data.result import read_result
from adorym.errors import ConfigError, InputError
from adorym.stream.recorder import is_complete

CONFIG = """
data: {path: scan.h5}
forward_model: {kind: ptychography}
parameters: {probe: {initial: {kind: file, path: probe.npy}}, probe_positions: {}}
run: {epochs: 3, backend: autograd, precision: double}
output: {progress: quiet, report: false}
"""
QUICK = {"settle": 0.2, "quiet": 5.0}


@pytest.fixture
def folder(tmp_path):
    scan = Scan(grid=(6, 7))
    write_native(scan.noisy(angle_index=np.zeros(42, int), theta_rad=np.zeros(1)), tmp_path / "scan.h5")
    np.save(tmp_path / "probe.npy", scan.probe())
    (tmp_path / "c.yaml").write_text(CONFIG)
    return tmp_path


def arrays(path):
    """All numbers of a result except times."""
    result = read_result(path)
    found = {"object": result.object, "probe": result.probe, "loss": result.history["loss"]}
    return found | {name: each.value for name, each in result.parameters.items()}


def assert_same(one, other):
    one, other = arrays(one), arrays(other)
    assert set(one) == set(other) and all(np.array_equal(one[name], other[name]) for name in one)


def test_a_stream_leaves_the_result_of_an_offline_run_bit_for_bit(folder):
    run(folder / "c.yaml", output=folder / "offline")
    done = stream(f"replay:{folder / 'scan.h5'}", folder / "c.yaml", folder / "one", options=StreamOptions(**QUICK))
    assert done.books["recorded"] == done.books["used"] == 42 and done.looks >= 1 and not done.failed
    assert len(done.lags_s) == 42 and (done.lags_s > 0).all()
    assert_same(folder / "one" / "result.h5", folder / "offline" / "result.h5")
    again = f"replay:{folder / 'one' / 'recording.h5'}"
    stream(again, folder / "c.yaml", folder / "two", options=StreamOptions(**QUICK, picture=False))
    assert_same(folder / "two" / "result.h5", folder / "one" / "result.h5")
    run(folder / "c.yaml", [f"data.path={folder / 'two' / 'recording.h5'}"], output=folder / "three")
    assert_same(folder / "three" / "result.h5", folder / "one" / "result.h5")


def test_the_picture_is_a_result_that_a_run_goes_on_from(folder):
    options = StreamOptions(quiet=5.0, settle=3.0, finish="continue", policy="block")
    done = stream(f"replay:{folder / 'scan.h5'}", folder / "c.yaml", folder / "one", options=options)
    picture = read_result(folder / "one" / "picture.h5")
    assert sorted(picture.numbers["pattern"]) == list(range(42))
    assert done.outcome.result.history["loss"][0] < arrays_of_offline(folder)["loss"][0]


def arrays_of_offline(folder):
    run(folder / "c.yaml", output=folder / "offline")
    return arrays(folder / "offline" / "result.h5")


def test_the_picture_alone_is_the_result(folder):
    options = StreamOptions(**QUICK, finish="none")
    done = stream(f"replay:{folder / 'scan.h5'}", folder / "c.yaml", folder / "one", options=options)
    assert done.outcome is None and read_result(folder / "one" / "result.h5").object.shape[2] == 1
    assert not (folder / "one" / "picture.h5").exists()


def test_a_picture_that_fails_leaves_the_recording_alone(folder, caplog):
    bad = "parameters.probe.initial.path=/nowhere.npy"
    with pytest.raises(InputError):  # of the run after the scan
        stream(f"replay:{folder / 'scan.h5'}", folder / "c.yaml", folder / "one", [bad], StreamOptions(**QUICK))
    assert "the picture stops, the recording goes on" in caplog.text
    with h5py.File(folder / "one" / "recording.h5") as file:
        books = json.loads(file["stream/books"].asstr()[()])
    assert books["recorded"] == 42 and books["refused"] == {"picture_failed": 42}


def test_a_recording_is_not_overwritten(folder):
    options = StreamOptions(**QUICK, finish="none", picture=False)
    stream(f"replay:{folder / 'scan.h5'}", folder / "c.yaml", folder / "one", options=options)
    with pytest.raises(ConfigError, match="there is a recording in .*; give '--resume' to go on with it"):
        stream(f"replay:{folder / 'scan.h5'}", folder / "c.yaml", folder / "one", options=options)


def test_a_stream_without_frames_is_an_error(folder):
    (folder / "none.py").write_text(
        "from adorym.stream.base import End, Source\n"
        "class Nothing(Source):\n    address: str\n    def events(self):\n        yield End()\n"
    )
    with pytest.raises(ConfigError, match="no frame was received; found end of the scan"):
        stream(f"{folder / 'none.py'}:Nothing:", folder / "c.yaml", folder / "one", options=StreamOptions(**QUICK))


def command(folder, *words):
    words = [
        "stream",
        f"replay:{folder / 'scan.h5'}?rate=20Hz",
        "--config",
        folder / "c.yaml",
        "-o",
        folder / "one",
        *words,
    ]
    words += ["--stream", "settle=0.2 s", "--stream", "quiet=5 s"]
    return [sys.executable, "-m", "adorym", *map(str, words)]


def recorded(folder):
    path = folder / "one" / "recording.h5"
    if not path.is_file():
        return []
    try:
        with h5py.File(path, "r", swmr=True, libver="latest", locking="best-effort") as file:
            return file["stream/number"][()].tolist()
    except (OSError, KeyError):
        return []


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_recorded_survives_the_end_of_the_process(folder, kind):
    with subprocess.Popen(command(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ) as process:
        end = time.monotonic() + 120
        while len(before := recorded(folder)) < 12:
            assert time.monotonic() < end and process.poll() is None, process.stdout.read().decode()
            time.sleep(0.05)
        process.send_signal(kind)
        process.wait()
    kept = recorded(folder)
    assert set(before) <= set(kept) and len(kept) < 42 and not is_complete(folder / "one" / "recording.h5")
    done = subprocess.run(command(folder, "--resume"), capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "42 frames published: 42 recorded, lost: none." in done.stdout
    assert "42 used" in done.stdout and "the picture stops" not in done.stderr
    run(folder / "c.yaml", output=folder / "offline")
    assert_same(folder / "one" / "result.h5", folder / "offline" / "result.h5")


def test_two_ranks_make_one_picture_and_one_result(folder):
    words = ["-m", "adorym", *command(folder, "--set", "run.store=do")[3:]]
    done = mpi_run(2, words, folder)
    assert done.status == 0, done.out + done.err
    assert "42 frames published: 42 recorded, lost: none." in done.out and "No picture" not in done.out
    assert sorted(read_result(folder / "one" / "picture.h5").numbers["pattern"]) == list(range(42))
    run(folder / "c.yaml", output=folder / "offline")
    one, other = arrays(folder / "one" / "result.h5"), arrays(folder / "offline" / "result.h5")
    assert np.linalg.norm(one["object"] - other["object"]) < 1e-8 * np.linalg.norm(other["object"])
