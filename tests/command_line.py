"""The command line called in this process, and tiny data for it: 20 patterns of 12 x 14 pixels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_scan import Scan

from adorym.cli import main
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.native_write import write_native

SCAN = Scan()


@dataclass(frozen=True)
class Ended:
    """What a command left: exit status and what it printed."""

    status: int
    out: str
    err: str

    @property
    def messages(self) -> list[str]:
        return self.err.splitlines()


class Adorym:
    """``adorym("run", path)`` as a shell would call it."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: object) -> Ended:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        printed = self._capsys.readouterr()
        assert "Traceback" not in printed.err
        return Ended(int(ended.value.code or 0), printed.out, printed.err)


def data_set(scan: Scan = SCAN, **changes: Any) -> Dataset:
    """Noise-free data with their truth."""
    patterns = ArrayPatterns(scan.patterns().astype(np.float32))
    low = np.floor(scan.positions.min(0)).astype(int)
    shape = np.ceil(scan.positions.max(0)).astype(int) - low + scan.window
    truth = {
        "object": scan.object_array(tuple(shape), tuple(-low)),
        "object_origin_px": -low,
        "probe": scan.probe(),
        "probe_positions_px": scan.positions,
    }
    given = {"patterns": patterns, "start_probe": scan.probe().astype(np.complex64), "truth": truth}
    return scan.dataset(**(given | changes))


def write_data(path: Path, scan: Scan = SCAN, **changes: Any) -> Path:
    """A native file of `data_set`."""
    return write_native(data_set(scan, **changes), path)


def settings(**sections: Any) -> dict[str, Any]:
    """A configuration for ``data.h5``: three quiet epochs, no report."""
    base: dict[str, Any] = {
        "data": {"path": "data.h5"},
        "forward_model": {"kind": "ptychography"},
        "run": {"epochs": 3, "batch_size": 7, "device": "cpu"},
        "output": {"progress": "quiet", "report": False},
    }
    for name, section in sections.items():
        old = base.get(name)
        base[name] = old | section if isinstance(old, Mapping) and isinstance(section, Mapping) else section
    return base


def write_config(folder: Path, **sections: Any) -> Path:
    """``config.yaml`` of `settings`; JSON is YAML."""
    path = folder / "config.yaml"
    path.write_text(json.dumps(settings(**sections), indent=1))
    return path


def content(folder: Path) -> dict[str, float]:
    """Every file below ``folder`` with its time of change, but what Python keeps beside a module that it imports."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in str(path))
    return {str(path): path.stat().st_mtime_ns for path in files}


def assert_one_message(ended: Ended, words: Iterable[str]) -> None:
    """Status 2 and a single line that contains ``words`` in their order."""
    assert ended.status == 2 and ended.out == "" and len(ended.messages) == 1, ended
    assert ended.err.startswith("error: ")
    assert re.search(".*".join(map(re.escape, words)), ended.err), ended.err
