"""Files are there whole or not at all."""

from __future__ import annotations

import pytest

from adorym.data.atomic import whole_file


def test_a_whole_file_replaces_the_old_one_and_makes_its_directory(tmp_path):
    path = tmp_path / "new" / "a.txt"
    for text in ("old", "new"):
        with whole_file(path) as partial:
            partial.write_text(text)
            assert partial.suffix == ".txt" and (not path.exists() or path.read_text() == "old")
    assert path.read_text() == "new" and [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_a_failure_half_way_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), whole_file(path) as partial:
        partial.write_text("ne")
        raise RuntimeError("half way")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
