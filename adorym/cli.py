"""The command line.

Streams are in `adorym.cli_live`, networks in `adorym.cli_networks`, the page for runs in `adorym.cli_watch`.

The work of each command is in `adorym.commands`; this module has the options and handles errors: wrong input ends with
status 2 and one message, a failed run with status 1, and only ``--debug`` shows a traceback.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from adorym import cli_live, cli_networks, cli_watch
from adorym._version import __version__
from adorym.comm import Communicator, communicator, launched, working_alone
from adorym.engine.signals import Ended, end_on_signal
from adorym.errors import AdorymError, printable
from adorym.extension import user_code
from adorym.streams import expendable_output
from adorym.terminal import (
    AsJson,
    Assignments,
    ConfigPath,
    DataAssignments,
    DataPaths,
    LogLine,
    Profiled,
    ResultPath,
    Resume,
    Settings,
    StartFrom,
    ToFile,
    ToFolder,
    Watch,
    err,
    out,
    print_parts,
    show,
)

PARALLEL = {"run", "train", "stream"}  # commands that run on several processes

app = typer.Typer(
    name="adorym",
    help="X-ray and electron image reconstruction by automatic differentiation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(show: bool) -> None:
    if show:
        out.print(f"adorym {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """X-ray and electron image reconstruction by automatic differentiation."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogLine())
    logging.getLogger("adorym").handlers[:] = [handler]
    logging.getLogger("adorym.start").setLevel(logging.INFO)  # what takes long before a run


@app.command()
def run(
    config: ConfigPath,
    assign: Assignments = None,
    output: ToFolder = None,
    resume: Resume = False,
    quick: Annotated[bool, typer.Option("--quick", help="A few epochs only, to see whether it works.")] = False,
    start_from: StartFrom = None,
    profile: Profiled = False,
    watch: Watch = False,
) -> None:
    """Reconstruct: result.h5, checkpoint.h5, log.txt and report.html in the output folder."""
    from adorym.commands.agreement import agree_on_files

    assign = [*(assign or ()), *([] if start_from is None else [f"start_from={json.dumps(str(start_from))}"])]
    assign += ["output.profile=true"] if profile else []
    agree_on_files(config, assign)
    from adorym.commands.run import run as work  # slow
    from adorym.report.text import counted
    from adorym.watch.beside import Page

    pages = [Page(lambda address: out.print(f"Watch: {address}", markup=False))] if watch else []
    done = work(config, assign, output=output, resume=resume, quick=quick, callbacks=pages)
    losses = list(done.result.history.get("loss", ()))
    final = f", loss {losses[-1]:.4e}" if len(losses) else ""
    if done.stopped:
        out.print(f"Stopped early ({done.stopped}) after epoch {len(losses)}{final}.")
        if done.interrupted:
            out.print(f"Resume with: {_resuming(config, assign, done.folder, quick)}")
            if done.ranks > 1:
                out.print("This starts one process; put mpirun or srun before it to start any number.")
    else:
        out.print(f"Done: {counted(len(losses), 'epoch')}{final}.")
    for remark in done.remarks:
        out.print(remark)
    out.print(f"Result: {done.folder / 'result.h5'}")
    if done.report is not None:
        out.print(f"Report: {done.report}")


def _resuming(config: Path, assignments: Iterable[str], folder: Path, quick: bool) -> str:
    """The command line that resumes a run, with the options that changed its settings."""
    settings = [word for assignment in assignments for word in ("--set", assignment)]
    settings += ["--quick"] if quick else []
    return shlex.join(["adorym", "run", str(config), *settings, "--output", str(folder), "--resume"])


@app.command()
def check(config: ConfigPath, assign: Assignments = None, as_json: AsJson = False) -> None:
    """List every error of a configuration at once; if there is none, show what the run will do and need."""
    from adorym.commands.check import check as work

    show(work(config, assign or ()), as_json)


@app.command()
def inspect(file: DataPaths, assign: DataAssignments = None) -> None:
    """Show what a data file holds: format, arrays, units, geometry, overlap, what looks suspicious, what is missing."""
    from adorym.commands.inspect import inspect as work

    print_parts(work(file[0] if len(file) == 1 else file, _settings(assign)).render())


@app.command()
def formats() -> None:
    """List the formats that are read, and what each leaves to be given."""
    from adorym.commands.formats import formats as work

    print_parts(work())


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Data file, pattern of files, folder, or run.")],
    target: ToFile,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="NAME=KEY", help="Which array is which; 'adorym inspect' lists the names."),
    ] = None,
    assign: DataAssignments = None,
) -> None:
    """Write any readable format as native HDF5, or as CXI if OUT is called so."""
    from adorym.commands.convert import convert as work

    dataset = work(source, target, mapping or [], _settings(assign))
    ny, nx = dataset.window_px
    out.print(f"{target}: {dataset.n_patterns} patterns of {ny} x {nx} pixels")


@app.command()
def simulate(
    name: Annotated[str, typer.Argument(help="A simulation; 'adorym list simulation' shows them.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Native HDF5 file to write.")],
    assign: Settings = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random generator.")] = 0,
) -> None:
    """Simulate a data set and store its ground truth with it."""
    from adorym.commands.simulate import simulate as work

    dataset = work(name, output, _settings(assign), seed)
    ny, nx = dataset.window_px
    out.print(f"{output}: {dataset.n_patterns} patterns of {ny} x {nx} pixels, with the ground truth")


@app.command()
def score(
    result: ResultPath,
    truth: Annotated[Path, typer.Option("--truth", metavar="FILE", help="Data file with the truth.")],
    as_json: AsJson = False,
) -> None:
    """Compare a result with the truth: errors after alignment, resolution, position errors."""
    from adorym.commands.score import score as work

    show(work(result, truth), as_json)


@app.command()
def report(
    result: ResultPath,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The page; report.html beside the result by default."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="FILE", help="Data file, for positions that were not refined.")
    ] = None,
    truth: Annotated[Path | None, typer.Option("--truth", metavar="FILE", help="Data file with the truth.")] = None,
    other_half: Annotated[
        Path | None,
        typer.Option(
            "--other-half", metavar="RESULT", help="Result from the other half of the patterns, for resolution."
        ),
    ] = None,
) -> None:
    """Write one self-contained HTML page about a result."""
    from adorym.commands.report import report as work

    out.print(f"Report: {work(result, output, data=data, truth=truth, other_half=other_half)}")


@app.command()
def export(
    result: ResultPath,
    to: Annotated[str, typer.Option("--to", help="tiff, vti, cxi or npz.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="PATH", help="What to write; beside the result by default.")
    ] = None,
    time: Annotated[float | None, typer.Option(help="Moment of an object that changes.")] = None,
) -> None:
    """Write a result for other programs."""
    from adorym.commands.export import export as work

    for path in work(result, to, output, time):
        out.print(str(path))


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A result or a checkpoint, or the folder of a run.")],
) -> None:
    """Compare results and checkpoints with the checksums that they end with; status 2 if a file is damaged."""
    from adorym.commands.verify import verify as work

    found = work(path)
    for each in found:
        out.print(f"{each.path}: {each.state}", markup=False)
    if any(each.state == "damaged" for each in found):
        raise typer.Exit(2)


@app.command()
def prepare(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Data file with a rocking scan.")],
    target: ToFile,
    assign: Settings = None,
    about: Annotated[
        list[str] | None, typer.Option("--data", metavar="KEY=VALUE", help="Data settings that the file lacks.")
    ] = None,
) -> None:
    """Prepare a measured Bragg peak: remove stray counts, center, bin, crop, check sampling."""
    from adorym.commands.prepare import prepare_peak as work

    print_parts(work(source, target, _settings(assign), _settings(about)).render())


@app.command()
def crystal(
    result: ResultPath,
    output: ToFolder = None,
    data: Annotated[Path | None, typer.Option("--data", metavar="FILE", help="The data file.")] = None,
    assign: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Geometry, twin, threshold, voxel.")
    ] = None,
) -> None:
    """Transform a Bragg result to the laboratory frame, with displacement and strain."""
    from adorym.commands.crystal import crystal as work

    print_parts(work(result, output, _settings(assign), data).render())


@app.command()
def tune(
    config: ConfigPath,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary", metavar="KEY=RANGE", help="low:high, low:high:log, or a,b,c, with units; may be repeated."
        ),
    ] = None,
    assign: Assignments = None,
    trials: Annotated[int, typer.Option("--trials", min=1, help="Runs to add to the study.")] = 20,
    held_out: Annotated[
        float, typer.Option("--held-out", help="Fraction of the patterns held out of every run.")
    ] = 0.05,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the study; an existing study is continued.")
    ] = Path("tune"),
) -> None:
    """Search for the best values of named keys, scored on patterns held out of the runs (needs optuna)."""
    from adorym.commands.tune import tune as work

    found = work(config, vary or (), assign or (), trials=trials, output=output, held_out=held_out)
    failed = f", {found.failed} failed" if found.failed else ""
    out.print(f"{found.trials} trials{failed}; misfit of the held-out patterns: {found.score:.4e}")
    out.print("Best: " + " ".join(f"--set {shlex.quote(f'{key}={value}')}" for key, value in found.best.items()))
    out.print(f"Picture: {found.picture}")


@app.command("list")
def list_(
    group: Annotated[str | None, typer.Argument(help="A group, such as optimizer; all of them if absent.")] = None,
) -> None:
    """List everything that a configuration can name, with its fields, units and defaults."""
    from adorym.commands.listing import listing as work

    print_parts(work(group))


cli_networks.add_to(app)
cli_live.add_to(app)
app.command()(cli_watch.watch)


def _settings(assignments: list[str] | None) -> dict[str, Any]:
    from adorym.config_file import assigned

    return assigned(assignments or ())


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the ``adorym`` command."""
    given = sys.argv[1:] if arguments is None else arguments
    start = launched()
    if start is not None and start[1] > 0:
        # Only rank 0 prints; an error of another rank goes to the process's own standard error.
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open as long as the process
        if not PARALLEL & set(given):
            sys.exit(0)  # all other commands run in one process
    from adorym.data.first_look import first_looks

    # A process of many ranks had better not fork.
    alone = not PARALLEL & set(given)
    with expendable_output(), working_alone(alone), first_looks(start is None or start[0] == 1):
        _work(given, start)


def _work(given: list[str], start: tuple[int, int] | None) -> None:
    """Carry out a command, and end with its status."""
    try:
        with end_on_signal(), user_code():
            app(given, prog_name="adorym")
    except Ended as error:
        _end([f"ended by {error.signal}; what had been saved is complete"], error.status)
    except Exception as error:
        if "--debug" in given:
            raise
        from adorym.commands.faults import explained, reported

        told = explained(error)
        if told is not None:
            _fail(told)
            return
        lines = [printable(f"internal error: {type(error).__name__}: {error}")]
        if start is not None and start[0] > 1:  # a run on many ranks is expensive to repeat
            lines.insert(0, traceback.format_exc().rstrip())
        file = reported(error, given)
        attached = f", with the file '{file}', which has the traceback" if file else ""
        _end([*lines, f"Please report it{attached}; 'adorym --debug ...' shows the traceback."], 1)


def _fail(error: AdorymError) -> None:
    kind = "error" if error.exit_status == 2 else "run failed"
    _end([f"{kind}: {line}" for line in error.message().splitlines()], error.exit_status)


def _end(lines: list[str], status: int) -> None:
    """End with an error, printed once, without leaving other ranks waiting."""
    try:
        comm: Communicator | None = communicator()
    except AdorymError:  # MPI itself fails
        comm = None
    if comm is not None and comm.size > 1:
        comm.end("\n".join(lines), status)
    else:
        for line in lines:
            err.print(line, markup=False)
    sys.exit(status)


if __name__ == "__main__":
    main()
