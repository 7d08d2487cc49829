"""Reconstruct misaligned holograms with and without noise, and show it as a table and a picture.

Usage: python run.py [--output DIR] [--quick] [--epochs N] [--seed N] [--only NAME]
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from series import RUNS, Done, Setting, solve

from adorym.metrics.holograms import high_passed_phase

# Du et al., Opt. Express 29, 10000 (2021), section 3.2: without noise, least squares, on the grid that simulated them.
PAPER = "| *the paper, no noise* | 39.7, 59.7, 79.9, 100.1 | about 1e-3 | | | |"
COLUMNS = ("distances, cm", "d_affine", "corners, px", "SSIM magnitude", "SSIM high-passed phase")
# In a short run the velocity of the first epochs tears the phase apart at two points, with rings around them.
LESS_MOMENTUM = "parameters.object.optimizer={kind: preconditioned, regularization: 0, momentum: 0.8}"
COLUMNS_OF_PICTURE = 6
WIDTH_PX = 3.4  # of the high-pass filter, at 1 m


def row(name: str, done: Done) -> str:
    """A line of the table."""
    figures = done.figures
    distances = ", ".join(f"{100 * z:.2f}" for z in done.distances_m)
    keys = ("affine_distance", "affine_corner_px", "magnitude_ssim", "high_passed_phase_ssim")
    values = [f"{figures[k]:.2g}" if k.startswith("affine") else f"{figures[k]:.3f}" for k in keys if k in figures]
    return " | ".join((f"| {name}", distances, *["-"] * (4 - len(values)), *values)) + " |"


def table(runs: Mapping[str, Done]) -> str:
    """Markdown."""
    head = [f"| run | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    return "\n".join([*head, PAPER, *(row(name, done) for name, done in runs.items())]) + "\n"


def picture(runs: Mapping[str, Done], path: Path) -> None:
    """Magnitude and high-passed phase of the truth and of every run."""
    first = next(iter(runs.values()))
    shown = {"truth": replace(first, found=first.true)} | dict(runs)
    bands = -(-len(shown) // COLUMNS_OF_PICTURE)
    columns = -(-len(shown) // bands)
    figure = Figure(figsize=(2.2 * columns, 4.8 * bands), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 * bands, columns, squeeze=False)
    for each in axes.flat:
        each.set_axis_off()
    for i, (name, done) in enumerate(shown.items()):
        above, below = axes[2 * (i // columns) : 2 * (i // columns) + 2, i % columns]
        phase = high_passed_phase(done.found, (WIDTH_PX, WIDTH_PX))
        above.imshow(np.abs(done.found), cmap="gray", vmin=0.55, vmax=1.05)
        below.imshow(phase, cmap="gray", vmin=-0.2, vmax=0.2)
        above.set_title(name.replace(", ", ",\n"), fontsize=8)
    figure.savefig(path, dpi=80)


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("out"), help="folder for data, results, table and picture")
    parser.add_argument("--quick", action="store_true", help="small, few epochs, two runs")
    parser.add_argument("--seed", type=int, default=41, help="of misalignment and noise")
    parser.add_argument("--epochs", type=int, default=300, help="of every run")
    parser.add_argument("--only", action="append", choices=RUNS, help="make this run; may be repeated")
    arguments = parser.parse_args()
    folder = arguments.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)

    names = arguments.only or list(RUNS)
    if arguments.quick:
        names = ["no noise, least squares", "400 photons, Poisson"]
    size, epochs = (128, 60) if arguments.quick else (512, arguments.epochs)
    changes = [LESS_MOMENTUM] if arguments.quick else []
    runs: dict[str, Done] = {}
    for name in names:
        place = folder / name.replace(",", "").replace(" ", "_")
        runs[name] = solve(name, place, Setting(size, epochs, arguments.seed, changes=tuple(changes)))
        print(row(name, runs[name]), flush=True)
        (place / "figures.json").write_text(json.dumps(runs[name].figures, indent=1), encoding="utf-8")
    shutil.copy(folder / names[0].replace(",", "").replace(" ", "_") / "result.h5", folder / "result.h5")
    (folder / "table.md").write_text(table(runs), encoding="utf-8")
    picture(runs, folder / "picture.png")


if __name__ == "__main__":
    main()
