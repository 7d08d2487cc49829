"""Arguments and options that several commands have, and what they return."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from rich.console import RenderableType

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="Configuration file: YAML, TOML or JSON.")]
DataPaths = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="Data file of any readable format, several, a folder, or a run.")
]
ResultPath = Annotated[Path, typer.Argument(metavar="RESULT", help="result.h5, or the folder of a run.")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Overrides, such as run.epochs=50.")
]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Settings of the command.")]
ToFolder = Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder for what is written.")]
ToFile = Annotated[Path, typer.Argument(metavar="OUT", help="Native HDF5 file to write.")]
Resume = Annotated[bool, typer.Option("--resume", help="Resume from the checkpoint in the folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DataAssignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Data settings, such as energy='8.8 keV'.")
]
DataSource = Annotated[Path, typer.Argument(metavar="IN", help="Data file, pattern of files, folder, or run.")]
MapEntries = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="NAME=KEY", help="Which array is which; 'adorym inspect' lists the names."),
]


class Findings(Protocol):
    """Findings of a command, as tables or as plain data."""

    def render(self) -> RenderableType: ...
    def as_dict(self) -> dict[str, Any]: ...
