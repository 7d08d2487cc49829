"""Reconstruct a measured gold nanocrystal from a network's guess, and beside it from eight random starts.

The data are public (3D-CDI-NN example, APS 34-ID-C): looked for in $ADORYM_DATA, else fetched.

Usage: python run.py [--output DIR] [--quick]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import adorym
from adorym.commands.crystal import crystal
from adorym.commands.report import report
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.fetch import gold_counts
from adorym.data.native_write import write_native
from adorym.errors import DataError

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("out"), help="folder for data and results")
    parser.add_argument("--quick", action="store_true", help="few iterations only")
    arguments = parser.parse_args()
    folder = arguments.output.resolve()
    try:
        counts = gold_counts()
    except DataError as error:
        print(f"skipped: {error}")
        sys.exit(77)
    data = folder / "gold.h5"
    write_native(Dataset(patterns=ArrayPatterns(counts)), data)

    config = adorym.load_config(HERE / "config.yaml", [f"data.path={data}"], quick=arguments.quick)
    result = adorym.reconstruct(config, output=folder)
    fit = result.fit
    print(f"network: chi2 {fit['network_chi2']:.4f}, after projections {fit['refined_chi2'][0]:.5f}")
    print(f"random starts, the same projections: median chi2 {np.median(fit['random_chi2']):.5f}")
    losses = result.history["loss"]
    print(f"refined: loss {losses[0]:.5f} to {losses[-1]:.5f}, in a support that shrinks every 50 epochs")
    found = crystal(folder, settings={"twin": "core_high"})
    print(f"crystal: {found.figures['voxels']:.0f} voxels, phase range {found.figures['phase_range_rad']:.2f} rad")

    sequence = "30*HIO + 10*ER" if arguments.quick else "3*(180*HIO + 20*ER) + 20*ER"
    wrap = {"threshold": 0.1, "every": 20}  # as after the network: misfits at other thresholds do not compare
    starts = {"kind": "phasing", "sequence": sequence, "starts": 3 if arguments.quick else 8, "shrink_wrap": wrap}
    phasing = adorym.reconstruct(
        {
            "data": str(data),
            "forward_model": "bragg_cdi",
            "parameters": {"object": {"initial": starts}},
            "run": {"epochs": 0},
        },
        output=folder / "random",
    )
    overlap = phasing.fit["starts_overlap"][1:]
    print(
        f"random starts: chi2 {np.round(phasing.fit['starts_chi2'], 5)}, overlap with the best {np.median(overlap):.3f}"
    )
    report(folder)
    print(f"agreement of the starts: {report(folder / 'random')}")


if __name__ == "__main__":
    main()
