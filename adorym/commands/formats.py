"""`adorym formats`: what can be read, and what each format leaves to be given."""

from __future__ import annotations

import inspect

from rich.console import Group
from rich.text import Text

from adorym import registry
from adorym.commands.needs import lacks_of_map
from adorym.commands.plan import columns
from adorym.data.layouts import LAYOUTS
from adorym.errors import ExtensionError

FILES = {
    "pictures": "TIFF, JPEG, PNG, npy, EDF, CBF, DM3, DM4, MIB, raw EMPAD: "
    "one file or a series, a picture or a stack a file",
    "map": "any HDF5, MATLAB (v5, v7.3), npz file: arrays recognized by name, unit and number, or named in data.map",
}


def formats() -> Group:
    """A table of all formats: name, files, what a run of ptychography needs besides."""
    table = columns("data.format", "files", "to be given")
    for name in registry.names("reader"):
        try:
            line = inspect.cleandoc(registry.lookup("reader", name).__doc__ or "").split("\n")[0]
        except ExtensionError as error:  # a plug-in that cannot be imported
            line = f"broken: {error}"
        table.add_row(Text(name), Text(line.rstrip(".")), Text(", ".join(_lacks(name))))
    for name, line in FILES.items():
        table.add_row(Text(f"({name})"), Text(line), Text("what the file does not say"))
    return Group(
        table, Text("\nA file's format is recognized from its content; name it with data.format where that fails.")
    )


def _lacks(name: str) -> list[str]:
    """Keys of ``data`` that a format never has."""
    layout = LAYOUTS.get(name)
    if layout is None:
        return []
    entries = [f"{field}=" for field in layout.entries]
    return [f"data.{key}" for key in lacks_of_map(entries)["ptychography"]]
