"""Tomography from raw counts with a rotation axis that is not in the middle.

Usage: python run.py [--output DIR] [--quick]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import adorym
from adorym.commands.export import export
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
        "tomography_foam",
        data,
        {"center": "7.3 px", "size_px": [8, 64], "angles": 40}
        if arguments.quick
        else {"center": "7.3 px", "size_px": [32, 128], "angles": 120, "counts": 2000},
        seed=1,
    )

    config = adorym.load_config(HERE / "config.yaml", [f"data.path={data}"], quick=arguments.quick)
    result = adorym.reconstruct(config, output=folder)
    found = score(folder, data)
    print(f"object {result.object.shape}, loss {result.history['loss'][-1]:.3g}")
    print(f"axis off by {found['rotation_center_error_px']:.2f} px, error {found['attenuation_nrmse']:.3f}")
    for to in ("vti", "tiff"):  # for ParaView and for ImageJ
        print(f"wrote {export(folder, to)[0].name}")


if __name__ == "__main__":
    main()
