"""Ptychography of two planes farther apart than the depth of focus, their spacing refined.

Usage: python run.py [--output DIR] [--quick]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import adorym
from adorym.commands.score import score
from adorym.commands.simulate import simulate

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("out"), help="folder for data and result")
    parser.add_argument("--quick", action="store_true", help="a few epochs on less data")
    arguments = parser.parse_args()

    folder = arguments.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "data.h5"
    simulate(
        "multislice_two_planes",
        data,
        {"recorded_spacing": "40 um", "window_px": [32, 32], "object_px": [64, 64], "scan": {"overlap": 0.8}}
        if arguments.quick
        else {"recorded_spacing": "40 um", "scan": {"overlap": 0.8}},
        seed=1,
    )

    config = adorym.load_config(HERE / "config.yaml", [f"data.path={data}"], quick=arguments.quick)
    result = adorym.reconstruct(config, output=folder)
    found = score(folder, data)
    print(f"object {result.object.shape}, loss {result.history['loss'][-1]:.3g}")
    print(f"spacing off by {100 * found['slice_spacing_error']:.1f} %, started 20 % off")
    print(f"errors of the planes {found['slice_0_nrmse']:.3f}, {found['slice_1_nrmse']:.3f}")


if __name__ == "__main__":
    main()
