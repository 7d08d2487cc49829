"""A file is read while a detector writes to it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from adorym.data.patterns import Hdf5Patterns

WRITER = """
import sys, h5py, numpy as np
with h5py.File(sys.argv[1], "w", libver="latest") as file:
    data = file.create_dataset("data", (4, 6, 8), np.float32, chunks=(1, 6, 8), maxshape=(None, 6, 8))
    file.swmr_mode = True
    data[:3] = np.arange(3)[:, None, None]
    data.flush()
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_patterns_are_read_while_others_are_written(tmp_path):
    path = tmp_path / "growing.h5"
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "ready\n"
        patterns = Hdf5Patterns(path, "data")
        read = patterns.read(np.array([2, 0]))
        patterns.close()
        writer.stdin.close()
    assert read.shape == (2, 6, 8) and (read[0] == 2).all() and (read[1] == 0).all()
