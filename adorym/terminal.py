"""The terminal: where commands print, and the arguments that several of them share."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from rich.console import Console, ConsoleOptions, ConsoleRenderable, Group, RenderableType, RenderHook, RenderResult
from rich.segment import Segment
from rich.text import Text

from adorym.errors import printable


class _Printable:
    """A part of the output whose text has no control characters of its own."""

    def __init__(self, part: ConsoleRenderable) -> None:
        self._part = part

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._part, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


class _Hook(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Printable(part) for part in renderables]


# Pipes and files have no width: a large one keeps tables from being wrapped.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False, soft_wrap=True)
for console in (out, err):
    console.push_render_hook(_Hook())

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
Profiled = Annotated[
    bool, typer.Option("--profile", help="Show where the time goes, and write trace.json for chrome://tracing.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Resume from the checkpoint in the folder.")]
StartFrom = Annotated[
    Path | None, typer.Option("--start-from", metavar="RESULT", help="Go on from a result.h5 or the folder of a run.")
]
Watch = Annotated[bool, typer.Option("--watch", help="Serve a page that shows the run while it lasts.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DataAssignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Data settings, such as energy='8.8 keV'.")
]


class LogLine(logging.Formatter):
    """Warnings say that they are."""

    def format(self, record: logging.LogRecord) -> str:
        text = printable(super().format(record))
        return f"warning: {text}" if record.levelno >= logging.WARNING else text


class Findings(Protocol):
    """Findings of a command, as tables or as plain data."""

    def render(self) -> RenderableType: ...
    def as_dict(self) -> dict[str, Any]: ...


def show(found: Findings, as_json: bool) -> None:
    """Print findings, as tables or as JSON."""
    if as_json:
        sys.stdout.write(json.dumps(found.as_dict(), indent=2) + "\n")
    else:
        print_parts(found.render())


def print_parts(found: RenderableType) -> None:
    """Print tables wrapped to the terminal's width, and lines unwrapped, so that paths and commands can be copied."""
    for part in found.renderables if isinstance(found, Group) else [found]:
        out.print(part, soft_wrap=isinstance(part, Text))
