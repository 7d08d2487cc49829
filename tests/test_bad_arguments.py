"""Wrong arguments end as wrong input does, and so do damaged files: status 2, one message, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Adorym, assert_one_message, content, write_config, write_data


@pytest.fixture
def adorym(capsys):
    return Adorym(capsys)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("", ("--set :", "cannot read the assignment", "key.path=value")),
        ("=3", ("--set =3:", "cannot read the assignment", "key.path=value")),
        ("run..epochs=3", ("--set run..epochs=3:", "cannot read the assignment")),
        ("run.epochs=[", ("--set run.epochs=[", "not valid YAML")),
        ("run.epochs=", ("run.epochs:", "expected a whole number", "found nothing", "(--set)")),
        ("run.epochs=nan", ("run.epochs:", "expected a whole number", "(--set)")),
        ("run.epochs={a: 1}", ("run.epochs:", "expected a whole number", "(--set)")),
        ("run=5", ("run:", "expected a mapping", "found 5", "(--set)")),
        ("run[0]=5", ("--set run[0]=5:", "there is no list with an entry [0]")),
        ("regularizers[3].weight=5", ("--set regularizers", "there is no list with an entry [3]", "found 0 entries")),
        ("rnu.epochs=5", ("rnu:", "unknown key", "did you mean 'run'?", "(--set)")),
        ("data.path=nowhere.h5", ("nowhere.h5:", "no such file", "check the path")),
        ("output.directory=[1]", ("output.directory:", "expected text", "(--set)")),
    ],
)
def test_assignments_that_make_no_sense(adorym, tmp_path, monkeypatch, assignment, words):
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / "data.h5")
    config, before = write_config(Path()), content(tmp_path)
    for command in ("check", "run"):
        assert_one_message(adorym(command, config, "--set", assignment), words)
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "none.yaml"], ("none.yaml:", "cannot read the configuration", "No such file")),
        (["check", "config.yaml", "--set", "run.epochs"], ("--set run.epochs:", "cannot read", "key.path=value")),
        (["check", "config.yaml", "--set", "run.epochs.x=3"], ("--set run.epochs.x=3:", "no mapping to stand in")),
        (["run", "config.yaml", "--set", "run.epohcs=3"], ("run.epohcs:", "did you mean 'epochs'?", "(--set)")),
        (
            ["run", "config.yaml", "--resume"],
            ("--resume:", "no checkpoint 'out/checkpoint.h5'", "leave '--resume' out"),
        ),
        (["run", "config.yaml", "-o", "data.h5"], ("--output:", "cannot write to 'data.h5'", "name another folder")),
        (["inspect", "none.h5"], ("none.h5:", "no such file")),
        (["inspect", "data.h5", "--set", "enery=3 keV"], ("data.enery:", "unknown key", "did you mean 'energy'?")),
        (["convert", "data.h5", "data.h5"], ("data.h5:", "same file", "name another target")),
        (["convert", "data.h5", "new.h5", "--map", "nonsense"], ("map:", "expected name=value", "found 'nonsense'")),
        (["simulate", "ptychographie", "-o", "new.h5"], ("no simulation named", "did you mean 'ptychography'?")),
        (["simulate", "ptychography", "-o", "new.h5", "--set", "scan.stp=3"], ("scan.stp:", "did you mean 'step'?")),
        (["simulate", "ptychography", "-o", "new.h5", "--seed", "-1"], ("seed:", "must not be negative")),
        (["score", "data.h5", "--truth", "data.h5"], ("data.h5:", "not a result file")),
        (["report", "nowhere"], ("nowhere:", "no such file", "output directory")),
        (["export", "data.h5", "--to", "tif"], ("to:", "no export format 'tif'", "did you mean 'tiff'?")),
        (["simulate", "ptychography", "-o", "data.h5/new.h5"], ("data.h5/new.h5:", "cannot")),
        (["convert", "data.h5", "data.h5/new.h5"], ("data.h5/new.h5:", "cannot")),
        (["list", "optimizzer"], ("list:", "nothing is called 'optimizzer'", "did you mean 'optimizer'?")),
    ],
)
def test_wrong_arguments(adorym, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / "data.h5")
    write_config(tmp_path)
    before = content(tmp_path)
    assert_one_message(adorym(*arguments), words)
    assert content(tmp_path) == before


def test_resuming_another_run_is_refused(adorym, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / "data.h5")
    config = write_config(Path())
    assert adorym("run", config).status == 0
    before = content(tmp_path)
    words = (
        "--resume:",
        "other settings",
        "changed: parameters.probe.modes, run.seed",
        "restore them, or begin a new run from the result of this one",
    )
    changed = ("run.seed=5", "run.batch_size=5", "parameters.probe.modes=2")
    assert_one_message(adorym("run", config, "--resume", *(w for c in changed for w in ("--set", c))), words)
    Path("out/checkpoint.h5").write_bytes(Path("out/checkpoint.h5").read_bytes()[:3000])
    before = content(tmp_path)
    assert_one_message(adorym("run", config, "--resume"), ("out/checkpoint.h5:", "damaged", "start without '--resume'"))
    assert content(tmp_path) == before


@pytest.mark.parametrize("damage", ["half of it", "text", "empty"])
def test_damaged_result_is_refused(adorym, tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / "data.h5")
    assert adorym("run", write_config(Path(), run={"epochs": 1})).status == 0
    whole = Path("out/result.h5").read_bytes()
    Path("bad.h5").write_bytes({"half of it": whole[: len(whole) // 2], "text": b"hello", "empty": b""}[damage])
    before = content(tmp_path)
    for arguments in (
        ["report", "bad.h5"],
        ["report", "out", "--other-half", "bad.h5"],
        ["report", "out", "--truth", "bad.h5"],
        ["report", "out", "--data", "bad.h5"],
        ["export", "bad.h5", "--to", "npz"],
        ["score", "bad.h5", "--truth", "data.h5"],
        ["score", "out", "--truth", "bad.h5"],
        ["inspect", "bad.h5"],
        ["convert", "bad.h5", "new.h5"],
    ):
        assert_one_message(adorym(*arguments), ("bad.h5:",))
    assert content(tmp_path) == before


@pytest.mark.parametrize("kind", ["tiff", "vti", "cxi", "npz", "page"])
def test_what_cannot_be_written_is_said(adorym, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / "data.h5")
    assert adorym("run", write_config(Path(), run={"epochs": 1})).status == 0
    before = content(tmp_path)
    arguments = ["report", "out", "-o"] if kind == "page" else ["export", "out", "--to", kind, "--output"]
    assert_one_message(adorym(*arguments, "data.h5/new"), ("data.h5/new", "cannot be written", "found"))
    assert content(tmp_path) == before
