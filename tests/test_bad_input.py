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
from command_line import SCAN, Adorym, content, write_config, write_data
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
        ("data.h5:", "not an HDF5 file", "adorym convert"), {}, lambda path: path.write_text("not data at all")
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
        ("data.h5:/metadata/probe_pos_px:", "one position too few", "expected 20", "found 19", "supply the missing"),
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
        ("data.h5:", "no probe positions", "--map positions=KEY"), {}, data={"probe_positions_px": None}
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
        ("forward_model.propagation:", "undersampled", "expected |z| <=", "found 5 m", "pad the window"),
        {"forward_model": FRESNEL, "data": {"propagation_distance": "5 m"}},
        scan=Scan(regime="fresnel"),
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


def assert_one_message(ended, words):
    """Status 2 and a single line that contains ``words`` in their order."""
    assert ended.status == 2 and ended.out == "" and len(ended.messages) == 1, ended
    assert ended.err.startswith("error: ")
    assert re.search(".*".join(map(re.escape, words)), ended.err), ended.err


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
    ],
)
@pytest.mark.parametrize("quick", [(), ("--quick",)])
def test_wrong_configuration_file(adorym, tmp_path, monkeypatch, text, words, quick):
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(text)
    assert_one_message(adorym("run", "config.yaml", *quick), words)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


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
        (["list", "optimiser"], ("list:", "nothing is called 'optimiser'", "did you mean 'optimizer'?")),
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
        "changed: parameters.probe, run.batch_size",
        "start without '--resume'",
    )
    assert_one_message(
        adorym("run", config, "--resume", "--set", "run.batch_size=5", "--set", "parameters.probe.modes=2"), words
    )
    Path("out/checkpoint.h5").write_bytes(Path("out/checkpoint.h5").read_bytes()[:3000])
    before = content(tmp_path)
    assert_one_message(adorym("run", config, "--resume"), ("out/checkpoint.h5:", "damaged", "start without '--resume'"))
    assert content(tmp_path) == before
