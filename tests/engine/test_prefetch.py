"""Patterns that do not fit into memory are read batch by batch, with the same result."""

from __future__ import annotations

import numpy as np
from laws import assert_same_state
from tiny_runs import finished, measured, tiny

from adorym.data import batches


def test_run_without_patterns_in_memory_is_the_same(monkeypatch):
    expected, data = finished(tiny()), measured()
    monkeypatch.setattr(batches, "KEEP_IN_MEMORY_BYTES", 0)
    read = []

    class Watched:
        shape = data.patterns.shape

        def read(self, index):
            read.append(np.array(index))
            return data.patterns.read(index)

    found = tiny(data.with_(patterns=Watched()))
    once = len(read)
    finished(found)
    assert_same_state(found, expected)
    assert len(read) - once == 5 * 3  # every batch once
    assert max(map(len, read[once:])) <= 7
