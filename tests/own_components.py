"""The components of ``examples/extend``, and small data that they are tried on."""

from __future__ import annotations

import runpy
from pathlib import Path

from command_line import data_set

from adorym import load_config
from adorym.config import Config
from adorym.data.native_write import write_native

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "extend"
EXAMPLE = runpy.run_path(str(FOLDER / "run.py"), run_name="example")
KINDS = tuple(EXAMPLE["KINDS"])
SETTINGS = ("run.epochs=2", "run.device=cpu", "output.progress=quiet")


def write_all(folder: Path) -> None:
    """Every file that the examples read: 20 patterns of 12 x 14 pixels."""
    dataset = data_set()
    for name in ("scan.h5", "blurred.h5"):
        write_native(dataset, folder / name)
    EXAMPLE["write_others"](dataset, folder)


def overrides(kind: str, folder: Path, code: Path = FOLDER) -> list[str]:
    """Assignments that choose the component of ``kind`` in ``code``, and the data in ``folder``."""
    chosen = EXAMPLE["overrides"](kind, folder)
    return [*(each.replace(str(FOLDER), str(code)) for each in chosen), *SETTINGS]


def config(kind: str, folder: Path, *more: str) -> Config:
    """A run with the component of ``kind``."""
    return load_config(FOLDER / "config.yaml", [*overrides(kind, folder), *more])
