"""``adorym watch``: runs in a browser, while they go on."""

from __future__ import annotations

import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from adorym.engine.signals import Ended
from adorym.terminal import out


def watch(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Output folders of runs, or folders that hold such folders.")
    ],
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; by default only this machine is served.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="Port; 8765 by default, or another one that is free.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Show runs in a browser, while they go on or when they are finished; only reads (needs starlette and uvicorn)."""
    from adorym.watch.beside import check_installed

    check_installed("watch")
    from adorym.watch.server import Server

    server = Server(folders, host, port)
    out.print(f"Open: {server.address}", markup=False)
    out.print("The address contains a token that lets in whoever has it. Ctrl-C ends the page, not the runs.")
    if open_:
        webbrowser.open(server.address)
    with suppress(Ended):
        server.serve()
