"""Output that nobody takes never ends a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import write_config, write_data

RUN = [sys.executable, "-m", "adorym", "run", "config.yaml", "-o", "out", "--set", "output.progress=plain"]
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def folder(tmp_path):
    write_data(tmp_path / "data.h5")
    write_config(tmp_path)
    return tmp_path


def environment():
    return os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


def test_a_closed_pipe_does_not_end_a_run(folder):
    reading, writing = os.pipe()
    os.close(reading)
    with open(folder / "err", "wb") as err, os.fdopen(writing, "wb") as pipe:
        ended = subprocess.run(RUN, cwd=folder, env=environment(), stdout=pipe, stderr=err, timeout=300, check=False)
    assert (ended.returncode, (folder / "err").read_text()) == (0, "")
    assert (folder / "out" / "result.h5").is_file()


def test_a_full_disk_behind_the_output_does_not_end_a_run(folder):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    with open("/dev/full", "w") as full:
        ended = subprocess.run(RUN, cwd=folder, env=environment(), stdout=full, stderr=full, timeout=300, check=False)
    assert ended.returncode == 0
    assert (folder / "out" / "result.h5").is_file()
