"""Record and reconstruct a scan while it is measured."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from adorym import registry
from adorym.comm import communicator
from adorym.commands.run import Outcome, carry_out, prepare
from adorym.config import Config, load_config
from adorym.data.hdf5 import open_hdf5
from adorym.data.lock import only_run_in
from adorym.data.recording import NUMBER, RECORDING, joined_in
from adorym.data.result import RESULT_NAME, Result, write_result
from adorym.engine.checkpoint import CHECKPOINT_NAME
from adorym.engine.signals import stop_on_signal
from adorym.errors import ConfigError
from adorym.registry import component
from adorym.stream.intake import Intake
from adorym.stream.live import Live, Moment, Settling
from adorym.stream.onlookers import Onlookers
from adorym.stream.picture import SMALLEST_BATCH, Engine, network_of, warm_up
from adorym.stream.policy import policy_of
from adorym.stream.recorder import BOOKS, is_complete, settle_books
from adorym.stream.sources import source_of
from adorym.stream.targets import target_of
from adorym.units import Duration

LOG = logging.getLogger("adorym")
PICTURE = "picture.h5"


@component
class StreamOptions:
    """What a stream does beside its configuration.

    Attributes:
        picture: Make a picture during the scan.
        engine: What makes it: ``iterative``, the solver of the configuration; ``network``, the network that is its
            initial object, once for every frame; ``both``, the solver, with the network's picture at new places.
        finish: After the scan: ``scratch`` runs the configuration on the recording as ``adorym run`` would, and gives
            the same result; ``continue`` starts that run from the picture; ``none`` keeps the picture as the result.
        policy: What happens when frames come faster than the picture takes them: ``block``, ``newest`` or ``every``,
            with a number after a colon.
        positions: A second source, of positions, or a file that has one for every number; if absent, they come with
            the frames.
        waiting: Frames that may wait for a position.
        quiet: The scan ends when nothing has come for so long.
        start: Frames with which the picture starts.
        settle: Time after the last frame in which the picture goes on.
        publish: Targets to which the picture is sent, such as ``zmq://*:5556``.
        publish_every: Time between two pictures that are sent.
    """

    picture: bool = True
    engine: Engine = "iterative"
    finish: Literal["scratch", "continue", "none"] = "scratch"
    policy: str = "newest"
    positions: str | None = None
    waiting: int = Field(10000, ge=1)
    quiet: Duration = Field(30.0, gt=0)
    start: int = Field(SMALLEST_BATCH, ge=1)
    settle: Duration = Field(2.0, ge=0)
    publish: tuple[str, ...] = ()
    publish_every: Duration = Field(0.5, gt=0)

    @property
    def settling(self) -> Settling:
        """When the picture starts, ends, and is shown."""
        return Settling(self.start, self.settle, self.publish_every)


@dataclass(frozen=True)
class Streamed:
    """What became of a stream.

    Attributes:
        folder: Of the recording and the result.
        books: Where every frame went.
        ended: Why the stream ended.
        lags_s: Time from the arrival of each frame to its place in the picture.
        looks: How often a frame was used in the picture.
        failed: Why there is no picture, or why it stopped.
        outcome: Of the run after the scan; ``None`` if there was none.
    """

    folder: Path
    books: Mapping[str, Any]
    ended: str
    lags_s: np.ndarray = field(default_factory=lambda: np.zeros(0))
    looks: float = 0.0
    failed: str = ""
    outcome: Outcome | None = None

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the stream, which can then be resumed."""
        return self.ended.startswith("SIG")


def stream(
    source: str,
    config: str | Path,
    output: str | Path,
    overrides: Iterable[str] = (),
    options: StreamOptions | None = None,
    *,
    resume: bool = False,
    watch: Callable[[Moment], None] = lambda moment: None,
) -> Streamed:
    """Record a scan from ``source``, make a picture of it while it goes on, and then run the configuration.

    Args:
        source: ``KIND:ADDRESS``, as `adorym.stream.base.source_of` has it.
        config: The configuration; its data are the recording, whatever it says.
        output: Folder of the recording and the result.
        overrides: ``key.path=value`` assignments.
        options: What is not in the configuration.
        resume: Go on with the recording in ``output``, or with the run after it.
        watch: Receives the state of things after every batch.

    Raises:
        InputError: Source, configuration or data cannot be used.
        RunError: The run after the scan failed.
    """
    folder, options, comm = Path(output), options or StreamOptions(), communicator()
    path = (folder / RECORDING).resolve()
    made = load_config(config, [*overrides, f"data.path={json.dumps(str(path))}"])
    network_of(made, options.engine)  # refused before anything is received
    found = (path.is_file(), path.is_file() and is_complete(path)) if comm.is_root else None
    there, complete = comm.broadcast(found, "look for a recording")
    if there and not resume:
        remedy = "give '--resume' to go on with it, or name another folder"
        raise ConfigError("--output", f"there is a recording in '{folder}'", remedy=remedy)
    if complete:
        LOG.warning("the recording in '%s' is complete: nothing more is received", folder)
        streamed = Streamed(folder, _books_of(path), "the recording is complete")
    else:
        received = _received(source, made, path, options, resume=there, watch=watch)
        streamed = replace(received, folder=folder)  # as it was given
    if streamed.interrupted or not _is_wanted(options, streamed, folder):
        return streamed
    return replace(streamed, outcome=_finished(made, folder, options))


def _received(
    source: str, made: Config, path: Path, options: StreamOptions, *, resume: bool, watch: Callable[[Moment], None]
) -> Streamed:
    """Record the scan to ``path`` until it ends, with a picture that follows it."""
    comm, folder = communicator(), path.parent
    with _shown(options.publish if comm.is_root else ()) as show, ExitStack() as opened:
        intake = None
        if comm.is_root:
            intake = _intake(source, path, options, resume=resume)
            opened.enter_context(only_run_in(folder, "--output"))
            opened.enter_context(stop_on_signal(intake.stop))
        if options.picture:
            warm_up(made, path)
        if intake is not None:
            intake.start()
        live = Live(made, path, comm, intake, options.settling, options.engine)
        onlookers = Onlookers(made, folder, comm.rank)

        def tell(moment: Moment) -> None:
            watch(moment)
            if onlookers.due():
                onlookers.tell(moment.books())

        live.follow(tell, show, onlookers.look, solve=options.picture)
        streamed = comm.broadcast(_closed(live, intake, path), "what became of the stream")
        if comm.is_root:
            onlookers.tell(streamed.books)
        onlookers.close(_keep_picture(live, path, folder))
    return streamed


def _intake(source: str, path: Path, options: StreamOptions, *, resume: bool) -> Intake:
    path.parent.mkdir(parents=True, exist_ok=True)
    policy, positions = policy_of(options.policy), None
    if options.positions is not None:
        kind = options.positions.partition(":")[0]
        named = kind in registry.names("source") or ".py:" in options.positions
        positions = source_of(options.positions if named else f"positions:{options.positions}")
    return Intake(
        source_of(source),
        path,
        policy,
        waiting=options.waiting,
        quiet_s=options.quiet,
        resume=resume,
        positions=positions,
    )


def _closed(live: Live, intake: Intake | None, path: Path) -> Streamed | None:
    """What rank 0 knows at the end of the live phase."""
    if intake is None:
        return None
    intake.join()
    intake.books.check()
    settle_books(path, intake.books)
    picture = live.picture
    if picture is None:
        return Streamed(path.parent, intake.told(), intake.ended, failed=live.failed)
    return Streamed(path.parent, intake.told(), intake.ended, np.array(picture.lags_s), picture.looks, live.failed)


def _keep_picture(live: Live, path: Path, folder: Path) -> Result | None:
    """Write the picture as a result, if there is one; its patterns have the numbers of the recording's."""
    if live.picture is None or live.failed:
        return None
    with open_hdf5(path) as file:
        rows = joined_in(file)
        assert rows is not None  # it is a recording
        numbers = file[NUMBER][()][rows.rows]
    result = live.picture.result(numbers)
    if communicator().is_root:
        write_result(result, folder / PICTURE)
    communicator().barrier("write the picture")
    return result


def _is_wanted(options: StreamOptions, streamed: Streamed, folder: Path) -> bool:
    """Whether the configuration is to be run on the recording."""
    if not streamed.books["recorded"]:
        raise ConfigError("SOURCE", "no frame was received", found=streamed.ended)
    if options.finish != "none":
        return True
    if communicator().is_root and (folder / PICTURE).is_file():
        (folder / PICTURE).replace(folder / RESULT_NAME)
    return False


def _finished(config: Config, folder: Path, options: StreamOptions) -> Outcome:
    """Run the configuration on the recording, from the checkpoint if there is one."""
    if options.finish == "continue" and (folder / PICTURE).is_file():
        config = replace(config, start_from=folder / PICTURE)
    return carry_out(
        prepare(config, folder), config, folder, resume=(folder / CHECKPOINT_NAME).is_file(), where="--output"
    )


def _books_of(path: Path) -> dict[str, Any]:
    with open_hdf5(path) as file:
        found: dict[str, Any] = json.loads(file[BOOKS].asstr()[()])
    return found


@contextmanager
def _shown(addresses: Iterable[str]) -> Iterator[Callable[[Result, Moment], None] | None]:
    """A function that sends a picture to all ``addresses``; ``None`` without any."""
    senders = [target_of(each).open() for each in addresses]

    def show(result: Result, moment: Moment) -> None:
        told = {"used": len(moment.lags_s), "loss": moment.loss, "origin_px": list(result.origin_px)}
        arrays = {"object": result.object} | ({} if result.probe is None else {"probe": result.probe})
        for sender in senders:
            sender.show(told, arrays)

    try:
        yield show if senders else None
    finally:
        for sender in senders:
            sender.close()
