"""A resumed run compares what it is made of with what its checkpoint says, and names the difference."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
from command_line import Adorym, assert_one_message, data_set, write_config, write_data

from adorym.data.dataset import ArrayPatterns
from adorym.data.result import read_result
from adorym.engine.origin import compare, origin
from adorym.errors import ConfigError

NOW = {"configuration": "c", "data": "d", "version of adorym": "2", "code of adorym": "e", "own components": "o"}
MODEL = """
from adorym.forward.ptychography import Ptychography

class Mine(Ptychography):
    pass
"""


@pytest.fixture
def adorym(capsys):
    return Adorym(capsys)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_data(tmp_path / "data.h5")
    write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_resume_refuses_data_that_have_changed(adorym, folder):
    assert adorym("run", "config.yaml", "-o", "out").status == 0
    assert read_result("out").provenance["fingerprint of the data"] == origin(data_set(), "")["data"]
    dataset = data_set()
    write_data(folder / "data.h5", patterns=ArrayPatterns(1.5 * dataset.patterns.array))
    again = ("run", "config.yaml", "-o", "out", "--resume", "--set", "run.epochs=4")
    assert_one_message(adorym(*again), ["--resume", "belongs to a run of other data", "restore the data"])
    write_data(folder / "data.h5")
    assert adorym(*again).status == 0


def test_resume_names_another_component(adorym, folder):
    Path("mine.py").write_text(MODEL)
    model = ("--set", "forward_model.kind=mine.py:Mine")
    assert adorym("run", "config.yaml", "-o", "out", *model).status == 0
    again = ("run", "config.yaml", "-o", "out", *model, "--resume", "--set")
    assert "since the checkpoint" not in adorym(*again, "run.epochs=4").err
    Path("mine.py").write_text(MODEL + "    # another one\n")
    for name in [name for name in sys.modules if "mine" in name and name.startswith("adorym")]:
        del sys.modules[name]
    assert (
        "--resume: since the checkpoint there is a change in the own components" in adorym(*again, "run.epochs=5").err
    )


def test_only_what_both_know_is_compared(caplog):
    with caplog.at_level(logging.WARNING, "adorym"):
        compare({}, NOW, "checkpoint.h5")
        compare(NOW | {"configuration": "settings are compared one by one"}, NOW, "checkpoint.h5")
        assert not caplog.records
        compare(NOW | {"version of adorym": "1", "code of adorym": "f"}, NOW, "checkpoint.h5")
    assert "a change in the version of adorym 1 -> 2, code of adorym" in caplog.text
    with pytest.raises(ConfigError, match="'checkpoint.h5' belongs to a run of other data"):
        compare(NOW | {"data": "other"}, NOW, "checkpoint.h5")
