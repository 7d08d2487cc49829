"""Wrong input ends with status 2 and one message that says where, what, and what to do; nothing is written."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import SCAN, Adorym, assert_one_message, content, write_config, write_data
from tiny_scan import Scan

from adorym.data.dataset import ArrayPatterns


@dataclass(frozen=True)
class Case:
    """One mistake.

    Attributes:
        words: What the message must contain, in this order: place, finding, remedy.
        sections: Of the configuration.
        change: Done to ``data.h5`` before.
        data: Changes of the data set.
        commands: That must refuse it.
    """

    words: tuple[str, ...]
    sections: dict[str, Any]
    change: Callable[[Path], object] = lambda path: None
    data: dict[str, Any] | None = None
    scan: Scan = SCAN
    commands: tuple[str, ...] = ("check", "run")


def counts(value: float) -> dict[str, Any]:
    """Patterns one of whose counts is ``value``."""
    patterns = SCAN.patterns().astype(np.float32)
    patterns[3, 2, 5] = value
    return {"patterns": ArrayPatterns(patterns)}


def edit(name: str, value: Any) -> Callable[[Path], None]:
    """Replace the dataset ``name`` of the file."""

    def change(path: Path) -> None:
        with h5py.File(path, "a") as file:
            unit = file[name].attrs.get("units", "")
            del file[name]
            file[name] = value
            file[name].attrs["units"] = unit

    return change


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def without_patterns(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["exchange/data"]


def saved(name: str, array: np.ndarray) -> Callable[[Path], None]:
    """Put ``array`` beside the data."""
    return lambda path: np.save(path.with_name(name), array)


SUPPORT = {"constraints": [{"kind": "support", "mask": "mask.npy"}]}
ADAM = {"kind": "adam", "learning_rate": 0}
FRESNEL = {"kind": "ptychography", "propagation": "fresnel"}
CASES = {
    "misspelt key": Case(("run.epoch:", "unknown key", "did you mean 'epochs'?", "(line "), {"run": {"epoch": 3}}),
    "misspelt parameter": Case(
        ("parameters.probe_postions:", "unknown parameter", "did you mean 'probe_positions'?"),
        {"parameters": {"probe_postions": {"start": 1}}},
    ),
    "unknown kind": Case(
        ("forward_model.kind:", "no forward model named 'ptycography'", "did you mean 'ptychography'?"),
        {"forward_model": {"kind": "ptycography"}},
    ),
    "kind of nothing similar": Case(
        ("loss.kind:", "no loss named 'xyz'", "known: huber, intensity, least_squares"), {"loss": {"kind": "xyz"}}
    ),
    "wrong unit": Case(
        ("data.energy:", "wrong unit", "expected a quantity in eV", "found '13 nm'"), {"data": {"energy": "13 nm"}}
    ),
    "no unit": Case(
        ("data.distance:", "expected a quantity with a unit, such as '2 m'", "found 2"), {"data": {"distance": 2}}
    ),
    "wrong type": Case(("run.epochs:", "expected a whole number", "found 'many'"), {"run": {"epochs": "many"}}),
    "learning rate 0": Case(
        ("parameters.probe.optimizer.learning_rate:", "must be positive", "found 0", "write 'refine: false'"),
        {"parameters": {"probe": {"optimizer": ADAM}}},
    ),
    "negative learning rate": Case(
        ("parameters.object.optimizer.learning_rate:", "must be positive", "write 'refine: false'"),
        {"parameters": {"object": {"optimizer": {"kind": "momentum", "learning_rate": -1}}}},
    ),
    "missing file": Case(("nowhere.h5:", "no such file", "check the path"), {"data": {"path": "nowhere.h5"}}),
    "truncated file": Case(("data.h5:", "truncated", "copy the file again"), {}, truncate),
    "no HDF5 file": Case(
        ("data.h5:", "unknown kind of file", "expected HDF5", "found a file that starts with"),
        {},
        lambda path: path.write_text("not data at all"),
    ),
    "wrong shape of patterns": Case(
        ("data.h5:/exchange/data:", "wrong shape", "expected (angle, tile, y, x)"),
        {},
        edit("exchange/data", np.ones((4, 4))),
    ),
    "wrong shape of positions": Case(
        ("data.h5:/metadata/probe_pos_px:", "wrong shape", "expected (20, 2)", "found (20, 3)"),
        {},
        edit("metadata/probe_pos_px", np.ones((20, 3))),
    ),
    "one position too few": Case(
        ("data.h5:", "one position too few", "expected 20", "found 19", "data.frames: ':19'"),
        {},
        edit("metadata/probe_pos_px", SCAN.positions[:19]),
    ),
    "positions that are no numbers": Case(
        ("data.h5:", "probe position 4 is not a finite number", "found"),
        {},
        edit("metadata/probe_pos_px", np.where(np.arange(20)[:, None] == 4, np.nan, SCAN.positions)),
    ),
    "wrong shape of the mask": Case(
        ("data.h5:", "the mask does not fit the patterns", "expected (12, 14)", "found (3, 4)"),
        {"data": {"mask": "mask.npy"}},
        lambda path: np.save(path.with_name("mask.npy"), np.ones((3, 4))),
    ),
    "wrong shape of the start probe": Case(
        ("data:", "the start probe does not fit the patterns", "expected (modes, 12, 14)", "found (1, 8, 8)"),
        {},
        edit("start/probe", np.ones((1, 8, 8), np.complex64)),
    ),
    "counts that are no numbers": Case(
        ("data.h5:", "1 counts are not finite", "first in pattern 3", "data.bad_counts"), {}, data=counts(np.nan)
    ),
    "negative counts": Case(
        ("data.h5:", "1 counts are negative", "first in pattern 3", "data.bad_counts"), {}, data=counts(-1)
    ),
    "positions outside the object": Case(
        (
            "parameters.probe_positions:",
            "1 of 20 windows lie outside the object",
            "position 6",
            "raise 'parameters.object.margin_px'",
        ),
        {"parameters": {"object": {"margin_px": 1}, "probe_positions": {"initial": "moved.npy"}}},
        lambda path: np.save(path.with_name("moved.npy"), SCAN.positions + 30 * (np.arange(20)[:, None] == 6)),
    ),
    "no positions": Case(
        ("data.h5:", "no probe positions", "data.positions: FILE"), {}, data={"probe_positions_px": None}
    ),
    "energy absent, probe defocus refined": Case(
        ("data.energy:", "energy absent", "give 'data.energy', for example"),
        {"parameters": {"probe_defocus": True}},
        data={"energy_ev": None},
    ),
    "energy absent, first probe out of focus": Case(
        ("data.energy:", "energy absent", "give 'data.energy'"),
        {"parameters": {"probe": {"initial": {"kind": "aperture", "outer_radius": "3 px", "defocus": "10 um"}}}},
        data={"energy_ev": None},
    ),
    "energy absent in the near field": Case(
        ("data.energy:", "energy absent", "give 'data.energy'"),
        {"forward_model": FRESNEL},
        data={"energy_ev": None},
        scan=Scan(regime="fresnel"),
    ),
    "near-field data in the far field": Case(
        (
            "forward_model.propagation:",
            "near-field propagation distance",
            "'fresnel' or 'angular_spectrum'",
            "choose one",
        ),
        {},
        scan=Scan(regime="fresnel"),
    ),
    "near field undersampled": Case(
        ("forward_model.propagation:", "undersampled", "expected |z| <=", "found 5 m", "check the units"),
        {"forward_model": FRESNEL, "data": {"propagation_distance": "5 m"}},
        scan=Scan(regime="fresnel"),
    ),
    "complex patterns": Case(
        ("data.h5:/exchange/data:", "patterns are not real numbers", "found complex128"),
        {},
        edit("exchange/data", (SCAN.patterns() + 1j)[None]),
    ),
    "no counts at all": Case(
        ("data.h5:", "20 of 20 patterns hold no counts at all", "first in pattern 0", "leave them out"),
        {},
        data={"patterns": ArrayPatterns(np.zeros((20, 12, 14), np.float32))},
    ),
    "no patterns in the file": Case(
        ("data.h5:", "no reader recognizes the file", "found metadata", "data.map"), {}, without_patterns
    ),
    "layout of another format": Case(
        ("data.h5:", "not laid out as the format 'ptypy' is", "leave 'data.format' out"), {"data": {"format": "ptypy"}}
    ),
    "unknown format": Case(
        ("data.format:", "no reader named 'adorim'", "did you mean 'adorym'?"), {"data": {"format": "adorim"}}
    ),
    "energy of nothing": Case(("data.energy:", "expected > 0", "found '0 keV'"), {"data": {"energy": "0 keV"}}),
    "mask that is none": Case(
        ("mask.npy:", "not a mask", "0 where a pixel is bad", "found complex128"),
        {"data": {"mask": "mask.npy"}},
        saved("mask.npy", np.ones((12, 14), complex)),
    ),
    "mask that is not finite": Case(
        ("mask.npy:", "not a mask", "values that are not finite"),
        {"data": {"mask": "mask.npy"}},
        saved("mask.npy", np.full((12, 14), np.nan)),
    ),
    "mask that leaves nothing": Case(
        ("data.h5:", "the mask leaves no good pixel", "set data.invert_mask"),
        {"data": {"mask": "mask.npy"}},
        saved("mask.npy", np.zeros((12, 14))),
    ),
    "support of the wrong shape": Case(
        ("constraints[0].mask:", "does not fit the object", "expected (", "found (3, 4)", "(line "),
        SUPPORT,
        saved("mask.npy", np.ones((3, 4))),
    ),
    "support that is no array": Case(
        ("constraints[0].mask:", "cannot read '", "mask.npy'", "expected a .npy array", "(line "),
        SUPPORT,
        lambda path: path.with_name("mask.npy").write_text("no array"),
    ),
    "support that is no mask": Case(
        ("constraints[0].mask:", "mask.npy' holds no mask", "expected finite real numbers", "found complex128"),
        SUPPORT,
        saved("mask.npy", np.ones((3, 4), complex)),
    ),
    "support that is not there": Case(("constraints[0].mask:", "no such file '", "mask.npy'", "(line "), SUPPORT),
    "first object of the wrong shape": Case(
        ("parameters.object.initial.path:", "the object has the wrong shape", "found (3, 4)"),
        {"parameters": {"object": {"initial": {"kind": "file", "path": "first.npy"}}}},
        saved("first.npy", np.ones((3, 4))),
    ),
    "first object that is not finite": Case(
        (
            "parameters.object.initial:",
            "a start value is not a finite number",
            "in the rows from 0 to",
            "correct the values",
        ),
        {"parameters": {"object": {"initial": {"kind": "file", "path": "first.npy"}, "margin_px": 2}}},
        saved("first.npy", np.where(np.arange(775).reshape(25, 31) == 7, np.inf, 1)),
    ),
    "first positions that are not finite": Case(
        ("parameters.probe_positions.initial:", "a start value is not a finite number", "found 2 of 40 values"),
        {"parameters": {"probe_positions": {"initial": "first.npy"}}},
        saved("first.npy", np.where(np.arange(20)[:, None] == 3, np.nan, SCAN.positions)),
    ),
    "first probe that is dark": Case(
        ("parameters.probe.initial:", "first.npy: the probe is dark or not finite", "(line "),
        {"parameters": {"probe": {"initial": {"kind": "file", "path": "first.npy"}}}},
        saved("first.npy", np.zeros((12, 14))),
    ),
    "start probe that is not finite": Case(
        ("data:", "the start probe is dark or not finite", "choose another initial probe"),
        {},
        edit("start/probe", np.full((1, 12, 14), np.nan, np.complex64)),
    ),
    "infinite learning rate": Case(
        ("parameters.object.optimizer.learning_rate:", "must be finite", "found Infinity"),
        {"parameters": {"object": {"optimizer": {"kind": "adam", "learning_rate": float("inf")}}}},
    ),
    "margin beyond all memory": Case(
        ("parameters.object:", "20000021 x ", "does not fit into memory", "at most", "GiB", "margin_px", "(line "),
        {"parameters": {"object": {"margin_px": 10**7}}},
    ),
    "positions in another unit": Case(
        ("parameters.object:", "does not fit into memory", "check", "the unit of the positions"),
        {},
        edit("metadata/probe_pos_px", 1e6 * SCAN.positions),
    ),
    "model in a file that is not there": Case(
        ("forward_model.kind:", "no such file '", "mine.py'", "path/to/file.py:ClassName"),
        {"forward_model": {"kind": "mine.py:Model"}},
    ),
    "model that its file does not have": Case(
        ("forward_model.kind:", "no class 'Model' in", "known: Other"),
        {"forward_model": {"kind": "mine.py:Model"}},
        lambda path: path.with_name("mine.py").write_text("class Other: pass"),
    ),
    "choice of patterns that are not there": Case(
        ("data.frames:", "not there", "numbers from 0 to 19", "number 20"), {"data": {"frames": [3, 20]}}
    ),
    "output in a file": Case(
        ("output.directory:", "cannot write to 'data.h5/out'", "name another folder with '--output'"),
        {"output": {"directory": "data.h5/out"}},
        commands=("run",),
    ),
}


@pytest.fixture
def adorym(capsys):
    return Adorym(capsys)


@pytest.mark.parametrize("case", CASES)
def test_wrong_input(adorym, tmp_path, monkeypatch, case):
    wrong = CASES[case]
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / "data.h5", wrong.scan, **(wrong.data or {}))
    wrong.change(tmp_path / "data.h5")
    config = write_config(Path(), **wrong.sections)
    before = content(tmp_path)
    for command in wrong.commands:
        assert_one_message(adorym(command, config), wrong.words)
    assert content(tmp_path) == before


def test_several_schema_errors_come_together_with_their_lines(adorym, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / "data.h5")
    Path("config.yaml").write_text(
        "data: {path: data.h5, energy: 8 nm}\n"
        "forward_model: ptychography\n"
        "parameters:\n"
        "  probe:\n"
        "    modes: 0\n"
        "    optimizer: {kind: adamm}\n"
        "run:\n"
        "  epochs: 1.5\n"
        "  bach_size: 10\n"
    )
    before = content(tmp_path)
    for command in ("check", "run"):
        ended = adorym(command, "config.yaml")
        assert ended.status == 2 and ended.out == ""
        assert [re.search(r"error: (\S+): .*\(line (\d+)\)$", line).groups() for line in ended.messages] == [
            ("data.energy", "1"),
            ("parameters.probe.modes", "5"),
            ("parameters.probe.optimizer.kind", "6"),
            ("run.epochs", "8"),
            ("run.bach_size", "9"),
        ]
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("run: [1, 2]\ndata: x.h5\nforward_model: ptychography", ("run:", "expected a mapping", "(line 1)")),
        ("parameters: 3\ndata: x.h5\nforward_model: ptychography", ("parameters:", "expected a mapping", "(line 1)")),
        ("data: {path: x.h5", ("config.yaml:", "not valid YAML")),
        ("data: x.h5\ndata: y.h5", ("config.yaml:2:", "key 'data' is there twice", "keep one of them")),
        ("- a\n- b", ("config.yaml:", "expected a mapping of sections")),
        ("data.h5", ("config.yaml:", "expected a mapping of sections")),
        ("data: x.h5", ("forward_model:", "missing", "by its 'kind'")),
        ("forward_model: ptychography", ("data.path:", "missing", "expected text")),
        ("data:\nforward_model: ptychography", ("data.path:", "missing", "(line 1)")),
        ("data: x\0.h5\nforward_model: ptychography", ("config.yaml:", "not valid YAML", "special characters")),
        (b"data: \xe9.h5", ("config.yaml:", "cannot read the configuration", "not a text file in UTF-8")),
        ("data: x.h5".encode("utf-16"), ("config.yaml:", "cannot read", "not a text file in UTF-8")),
    ],
)
@pytest.mark.parametrize("quick", [(), ("--quick",)])
def test_wrong_configuration_file(adorym, tmp_path, monkeypatch, text, words, quick):
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert_one_message(adorym("run", "config.yaml", *quick), words)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("text", ["", "# nothing but a remark\n", "null\n"])
def test_empty_configuration_file(adorym, tmp_path, monkeypatch, text):
    """Both sections that a run needs are named."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(text)
    for command in ("check", "run"):
        ended = adorym(command, "config.yaml")
        assert ended.status == 2 and [line.split(": ")[1] for line in ended.messages] == ["data.path", "forward_model"]
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
