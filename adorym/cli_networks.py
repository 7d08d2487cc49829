"""The commands of the neural networks: train, predict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from adorym.comm import launched
from adorym.terminal import DataAssignments, Resume, Settings, out


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(train)
    app.command()(predict)


def train(
    network: Annotated[str, typer.Argument(help="cdi_nn or ptycho_nn.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for what the training writes.")],
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Configuration of the training.")
    ] = None,
    probe: Annotated[
        list[Path] | None,
        typer.Option("--probe", metavar="FILE", help="Result or file with a probe (ptycho_nn); may be repeated."),
    ] = None,
    recording: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Folder of a stream: its frames and its probe (ptycho_nn)."),
    ] = None,
    assign: Settings = None,
    resume: Resume = False,
) -> None:
    """Train a network on simulated crystals or patterns; also under mpirun or torchrun."""
    from adorym.commands.train import train_network as work

    def show(record: Mapping[str, float]) -> None:
        out.print(", ".join(f"{name} {value:.4g}" for name, value in record.items()))

    path = work(
        network, output, config, assign or (), probes=probe or (), recording=recording, resume=resume, watch=show
    )
    if (launched() or (1, 0))[1] == 0:
        out.print(f"Weights: {path}")


def predict(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Data file of a ptychographic scan.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for result and picture.")],
    weights: Annotated[
        Path | None,
        typer.Option("--weights", metavar="FILE", help="Weights of a trained ptycho_nn; else the package's."),
    ] = None,
    probe: Annotated[
        Path | None, typer.Option("--probe", metavar="FILE", help="Result or file with the probe; else the data's.")
    ] = None,
    assign: DataAssignments = None,
    patches: Annotated[bool, typer.Option("--patches", help="Also write the patch under every pattern.")] = False,
) -> None:
    """Predict the picture of a scan by one pass of a network, without a solver."""
    from adorym.commands.predict import predict as work
    from adorym.config_file import assigned

    done = work(data, weights, output, probe, assigned(assign or ()), keep_patches=patches)
    if done.foreign is not None:
        out.print(f"Do not believe this picture: {done.foreign}.", markup=False)
    out.print(f"{done.patterns} patterns in {done.seconds:.2f} s, misfit {done.quality:.3f} of vacuum's")
    out.print(f"Result: {done.result}")
    out.print(f"Picture: {done.picture}")
