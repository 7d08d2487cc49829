"""Looks at a run on several ranks."""

from __future__ import annotations

from pathlib import Path

import pytest
from mpi_launch import run

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("store", ["dp", "do", "h5"])
def test_a_look_gathers_thinned_rows_of_every_rank(store, tmp_path):
    ended = run(3, [str(Path(__file__).parent / "look_run.py"), store, str(tmp_path)], tmp_path)
    assert ended.status == 0, ended.err
    assert (tmp_path / "same").is_file()
