"""Files are there whole or not at all."""

from __future__ import annotations

import pytest

from adorym.data.atomic import remove_partial, whole_file


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


def test_leftovers_of_a_killed_process_are_removed_and_nothing_else(tmp_path):
    (tmp_path / "a.h5").write_text("whole")
    partial = whole_file(tmp_path / "b.h5").__enter__()  # and never left
    partial.write_text("ha")
    remove_partial(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
    remove_partial(tmp_path / "nowhere")
