"""The commands for scans that go on: stream, serve."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from adorym.terminal import Assignments, Settings, out

if TYPE_CHECKING:
    from adorym.stream.live import Moment

# Time between two states of the status line, on a terminal and elsewhere.
EVERY_S, PLAIN_EVERY_S = 0.25, 10.0
LAST_LAGS = 200


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(stream)
    app.command()(serve)


def stream(
    source: Annotated[
        str, typer.Argument(help="KIND:ADDRESS, such as zmq://HOST:PORT; 'adorym list source' shows them.")
    ],
    config: Annotated[Path, typer.Option("--config", metavar="CONFIG", help="Configuration of the reconstruction.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of recording and result.")],
    assign: Assignments = None,
    about: Annotated[
        list[str] | None,
        typer.Option("--stream", metavar="KEY=VALUE", help="Policy, end, picture and publishing of the stream."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the recording in the folder.")] = False,
) -> None:
    """Record a scan while it is measured, with a picture that follows it, and reconstruct it at the end."""
    from adorym.commands.stream import StreamOptions
    from adorym.commands.stream import stream as work
    from adorym.config_file import assigned
    from adorym.schema import build

    options = build(StreamOptions, assigned(about or ()), "--stream")
    line = _StatusLine()
    done = work(source, config, output, assign or (), options, resume=resume, watch=line.show)
    line.end()
    for text in _told(done.books):
        out.print(text)
    out.print(f"The stream ended: {done.ended}.")
    if len(done.lags_s):
        half, most = np.percentile(done.lags_s, (50, 99))
        out.print(f"Picture: {done.looks:.1f} looks at every frame, lag {1e3 * half:.0f} ms, 99 % {1e3 * most:.0f} ms.")
    if done.failed:
        out.print(f"No picture to the end: {done.failed}")
    if done.interrupted:
        out.print("The same command with --resume goes on with the stream.")
    elif done.outcome is not None:
        out.print(f"Result: {done.outcome.folder / 'result.h5'}")


def _told(books: Any) -> list[str]:
    """The books in words, a line for each of the two sides that balance."""
    lost = ", ".join(f"{count} {name}" for name, count in books["lost"].items() if count) or "none"
    refused = ", ".join(f"{count} {name}" for name, count in books["refused"].items() if count) or "none"
    return [
        f"{books['published']} frames published: {books['recorded']} recorded, lost: {lost}.",
        f"{books['recorded']} frames recorded: {books['used']} used, {books['waiting']} waiting, refused: {refused}.",
    ]


class _StatusLine:
    """One line: received, lost, waiting, used, lag; on a terminal it is redrawn."""

    def __init__(self) -> None:
        self._shown_s, self._received, self._live = 0.0, 0, out.is_terminal

    def show(self, moment: Moment) -> None:
        """Show the state if it is time."""
        now = time.monotonic()
        passed = now - self._shown_s
        if passed < (EVERY_S if self._live else PLAIN_EVERY_S):
            return
        books = moment.books()
        rate = (books["received"] - self._received) / passed if self._shown_s else 0.0
        self._shown_s, self._received = now, books["received"]
        lags = moment.lags_s[-LAST_LAGS:]
        lag = f"  lag {1e3 * float(np.median(lags)):.0f} ms" if lags else ""
        loss = f"  {moment.looks:.1f} looks  loss {moment.loss:.3g}" if lags else ""
        lost = sum(books["lost"].values()) - books["lost"]["after_end"]
        text = (
            f"received {books['received']} ({rate:.0f} Hz)  lost {lost}  waiting {books['waiting']}  "
            f"used {books['used']}{lag}{loss}"
        )
        out.print(text, end="\r" if self._live else "\n", overflow="crop", no_wrap=True)

    def end(self) -> None:
        """Leave the line."""
        if self._live:
            out.print()


def serve(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Data file of any readable format.")],
    to: Annotated[str, typer.Option("--to", metavar="TARGET", help="zmq://*:PORT or pva://NAME.")],
    rate: Annotated[
        str | None, typer.Option("--rate", help="Frames per second, such as 1kHz; as fast as they are taken if absent.")
    ] = None,
    assign: Settings = None,
) -> None:
    """Play a data file as a detector, with faults of the transport on request: --set lost=0.01."""
    from adorym.commands.serve import serve as work
    from adorym.config_file import assigned

    stopped: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: stopped.append(number))
    try:
        told = work(file, to, rate, assigned(assign or ()), lambda: bool(stopped))
    finally:
        signal.signal(signal.SIGINT, before)
    out.print(f"{told['frames']:.0f} frames sent, {told['rate_hz']:.0f} Hz")
