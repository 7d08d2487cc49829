"""Reconstruct the phase of a sample from the speckle that it moves.

Usage: python run.py [--output DIR] [--quick]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import adorym
from adorym.commands.score import score
from adorym.data.native_write import write_native
from adorym.simulate.speckle import SpeckleExperiment

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("out"), help="folder for data and result")
    parser.add_argument("--quick", action="store_true", help="small, a few epochs only")
    arguments = parser.parse_args()

    folder = arguments.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "speckle.h5"
    experiment = SpeckleExperiment(window_px=(48, 48), diffusers=3) if arguments.quick else SpeckleExperiment()
    write_native(experiment.run(seed=0), data)

    settings = [f"data.path={data}", *(["run.epochs=5"] if arguments.quick else [])]
    result = adorym.reconstruct(adorym.load_config(HERE / "config.yaml", settings), output=folder)
    found = {each.key: each.value for each in score(folder, data).figures}
    print(f"loss {result.history['loss'][-1]:.3g}, phase error {1e3 * found['phase_rms_rad']:.0f} mrad")


if __name__ == "__main__":
    main()
