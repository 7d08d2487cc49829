"""Where the relative paths of a configuration start."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from adorym.config import config_from, load_config


def test_relative_paths_start_at_the_configuration_and_typed_ones_where_they_are_typed(tmp_path, monkeypatch):
    there, here = tmp_path / "there", tmp_path / "here"
    for folder in (there, here):
        folder.mkdir()
        np.save(folder / "support.npy", np.ones((3, 4)))
    (there / "config.yaml").write_text(
        "data: {path: data.h5, mask: bad.npy}\n"
        "forward_model: ptychography\n"
        "parameters:\n"
        "  object: {initial: {kind: file, path: object.npy}}\n"
        "  probe: {initial: {kind: file, path: ~/probe.npy}}\n"
        "constraints: [{kind: support, mask: support.npy}]\n"
    )
    monkeypatch.chdir(here)
    config = load_config(there / "config.yaml")
    assert config.data.path == str(there / "data.h5") and config.data.mask == str(there / "bad.npy")
    assert config.parameters["object"].initial.path == str(there / "object.npy")
    assert config.parameters["probe"].initial.path == str(Path("~/probe.npy").expanduser())
    assert config.constraints[0].mask == str(there / "support.npy")
    typed = load_config(
        Path("../there/config.yaml"), ["data.path=data.h5", "constraints[0].mask=support.npy", "data.mask=/bad.npy"]
    )
    assert typed.data.path == str(here / "data.h5") and typed.data.mask == "/bad.npy"
    assert typed.constraints[0].mask == str(here / "support.npy")
    assert load_config(there / "config.yaml", ["data=other.h5"]).data.path == str(here / "other.h5")


def test_in_python_relative_paths_stay_as_they_are():
    assert config_from({"data": "data.h5", "forward_model": "ptychography"}).data.path == "data.h5"


def test_a_run_can_be_resumed_from_another_folder(tmp_path, monkeypatch):
    (tmp_path / "config.yaml").write_text("data: data.h5\nforward_model: ptychography\n")
    monkeypatch.chdir(tmp_path)
    one = load_config("config.yaml").identity()
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")
    assert load_config("../config.yaml").identity() == one
