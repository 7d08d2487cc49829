"""On a full disk nothing that was saved is lost, the run goes on, and its end says what is where."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Adorym, write_config, write_data

from adorym.callbacks import save
from adorym.commands import saving  # before anything is patched
from adorym.commands.verify import verify
from adorym.data import atomic
from adorym.data.result import read_result
from adorym.errors import WriteError

ROOT = Path(__file__).resolve().parents[2]
RUN = ("run", "config.yaml", "-o", "out", "--set", "run.checkpoint_every=1")


@pytest.fixture
def adorym(capsys):
    return Adorym(capsys)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    write_data(tmp_path / "data.h5")
    write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def full(monkeypatch):
    """Makes the disk under ``out`` full for files of certain numbers: 0 is the first checkpoint."""
    written, true = [], atomic.need_space

    def need_space(folder, n_bytes):
        if folder.name == "out":
            written.append(n_bytes)
            if len(written) - 1 in need_space.lost:
                raise OSError(errno.ENOSPC, "No space left on device")
        true(folder, n_bytes)

    monkeypatch.setattr(atomic, "need_space", need_space)
    return lambda *lost: setattr(need_space, "lost", lost)


def test_a_run_goes_on_without_a_checkpoint(adorym, full):
    full(0, 1)
    ended = adorym(*RUN)
    assert ended.status == 0 and ended.err.count("the run goes on without this checkpoint") == 1
    assert "warning: out/checkpoint.h5: cannot be written; found No space left on device" in ended.err
    assert {each.path.name: each.state for each in verify("out")} == {"result.h5": "whole", "checkpoint.h5": "whole"}


def test_the_result_is_tried_if_the_last_checkpoint_fails(adorym, full):
    full(2, 3)  # it is tried again after the last epoch
    ended = adorym(*RUN)
    assert ended.status == 1 and "run failed: out/checkpoint.h5: cannot be written" in ended.err
    assert "the result is complete, in 'out/result.h5'" in ended.err
    assert len(read_result("out").history["loss"]) == 3


def test_the_result_is_written_elsewhere_when_told(adorym, full):
    full(*range(9))
    ended = adorym(*RUN)
    assert ended.status == 1 and "'output.spare' names one that is tried then" in ended.err
    full(*range(99))
    ended = adorym(*RUN, "--set", "output.spare=other")
    assert ended.status == 1 and "the result is in 'other/result.h5' instead" in ended.err
    assert len(read_result("other").history["loss"]) == 3
    assert not list(Path("out").glob("*.h5")) and not list(Path("out").glob(f"{atomic.PARTIAL}*"))


def test_a_full_disk_is_refused_at_the_start(adorym, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", _no_space)
    ended = adorym(*RUN)
    assert ended.status == 2
    assert "error: --output: cannot write to 'out'; found No space left on device; make room, or name" in ended.err


def _no_space(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_more_than_there_is_is_refused(tmp_path):
    with pytest.raises(OSError, match="No space left"):
        atomic.need_space(tmp_path, 1 << 60)
    atomic.need_space(tmp_path, 1000)
    assert {path.name for path in tmp_path.iterdir()} == {"data.h5", "config.yaml"}
    assert saving.LEAST_BYTES < atomic.RESERVED_AT_MOST


def test_a_log_that_cannot_be_written_says_nothing():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    handler = save._Lines("/dev/full")
    handler.handle(logging.makeLogRecord({"msg": "a line"}))
    handler.close()


def test_why_a_file_could_not_be_written():
    assert atomic.reason(WriteError("a", "b", found="no disk")) == "no disk"
    assert atomic.reason(RuntimeError("Can't flush")) == "Can't flush"
    assert atomic.reason(OSError("only a text")) == "only a text"


@pytest.mark.parametrize("kib", [100, 250])
def test_a_small_disk(folder, kib):
    """A real one, in the memory; the second holds a single checkpoint."""
    mount = f"mount -t tmpfs -o size={kib}k tmpfs out"
    (folder / "out").mkdir()
    if (
        not shutil.which("unshare")
        or subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode
    ):
        pytest.skip("no file system can be mounted here")
    command = (
        f"{mount} && {sys.executable} -m adorym {' '.join(RUN)} --set output.spare=spare; echo status $?; ls -A out"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    ended = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command],
        env=environment,
        text=True,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert "status 1" in ended.stdout, ended
    assert "No space left on device" in ended.stderr and "Traceback" not in ended.stderr
    assert atomic.PARTIAL not in ended.stdout
    assert ("checkpoint.h5" in ended.stdout) == (kib == 250)
    if "spare/result.h5" in ended.stderr:
        assert len(read_result("spare").history["loss"]) == 3
