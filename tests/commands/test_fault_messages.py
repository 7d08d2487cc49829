"""What ends a command is a message of who, where, what and remedy; a fault of our own leaves a file to attach."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from command_line import Adorym, write_config
from data_files import native

from adorym.commands import faults
from adorym.commands import run as run_command
from adorym.commands.faults import explained, reported
from adorym.errors import DataError, InputError, RunError, WriteError, printable


class OutOfMemoryError(RuntimeError):
    """As torch has it."""


def os_error(number: int, path: str | None = "/far/a.h5") -> OSError:
    return OSError(number, os.strerror(number), path)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (DataError("a", "b"), DataError, "a: b"),
        (
            MemoryError("28 PiB"),
            RunError,
            "not enough memory: 28 PiB; make the problem smaller; 'run.memory' limits a run",
        ),
        (OutOfMemoryError("CUDA"), RunError, "not enough memory: CUDA"),
        (os_error(errno.ENOSPC), WriteError, "/far/a.h5: cannot be written; found No space left on device; make room"),
        (os_error(errno.EACCES), InputError, "/far/a.h5: cannot be used; found Permission denied; check the path"),
        (os_error(errno.ENAMETOOLONG), InputError, "/far/a.h5: cannot be used; found File name too long"),
        (ModuleNotFoundError("no", name="optuna"), InputError, "the package 'optuna' is missing; pip install optuna"),
    ],
)
def test_what_comes_from_outside_is_explained(error, kind, said):
    told = explained(error)
    assert type(told) is kind and said in told.message()


@pytest.mark.parametrize(
    "error",
    [ZeroDivisionError(), os_error(errno.EIO, None), ModuleNotFoundError("no", name="adorym.lost"), KeyError("x")],
)
def test_our_own_faults_are_not_explained_away(error):
    assert explained(error) is None


def test_a_fault_leaves_a_file_to_attach(capsys, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("of \x1b[31mmine")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_command, "run", fail)
    write_config(tmp_path)
    ended = Adorym(capsys)("run", "config.yaml")
    (file,) = tmp_path.glob("adorym-error-*.txt")
    assert ended.status == 1 and f"with the file '{file.name}', which has the traceback" in ended.err
    assert r"internal error: ZeroDivisionError: of \x1b[31mmine" in ended.err
    text = file.read_text()
    for word in (
        "adorym run config.yaml",
        "Traceback",
        "ZeroDivisionError: of",
        "numpy 2",
        "--- config.yaml",
        '"epochs": 3',
    ):
        assert word in text, word


def test_the_file_goes_elsewhere_or_nowhere(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(faults.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)
    write, refuse = Path.write_text, [Path()]

    def write_text(path, *arguments, **options):
        if path.parent in refuse:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return write(path, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", write_text)
    assert reported(KeyError("x"), []).parent == tmp_path / "temporary"
    refuse.append(tmp_path / "temporary")
    assert reported(KeyError("x"), []) is None


def test_names_in_a_file_do_not_reach_the_terminal(capsys, tmp_path):
    path = native(tmp_path / "a.h5", **{"extra__\x1b]0;title\x07": 1.0})
    ended = Adorym(capsys)("inspect", path)
    assert ended.status == 0 and r"\x1b]0;title" in ended.out and "\x1b" not in ended.out
    ended = Adorym(capsys)("inspect", tmp_path / "\x1b[2J.h5")
    assert ended.status == 2 and "\x1b" not in ended.err and r"\x1b[2J.h5" in ended.err
    assert printable("a\tb\nc\u202ed\x9b") == "a\tb\nc\\x202ed\\x9b"
