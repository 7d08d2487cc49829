"""Reconstruct a fly scan with the forward model of `custom_forward_model.py`, which is not part of the package.

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
    parser.add_argument("--quick", action="store_true", help="a few epochs only")
    arguments = parser.parse_args()

    folder = arguments.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "siemens.h5"
    simulate("siemens_star_fly_scan", data, seed=1)

    config = adorym.load_config(HERE / "config.yaml", [f"data.path={data}"], quick=arguments.quick)
    result = adorym.reconstruct(config, output=folder)

    found = score(folder, data)
    print(f"model {config.forward_model.kind}, loss {result.history['loss'][-1]:.4f}")
    print(f"object error {found['object_nrmse']:.3f}, position error {found['position_rms_px']:.2f} px")


if __name__ == "__main__":
    main()
