"""Ptychotomography of a cone whose tilts and positions are not known.

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
        "ptychotomography_cone",
        data,
        {
            "volume_px": 24,
            "window_px": 16,
            "angles": 6,
            "probe_px": "3 px",
            "tilt_error": "1 deg",
            "position_error": "1 px",
        }
        if arguments.quick
        else {"angles": 30, "tilt_error": "1 deg", "position_error": "1 px"},
        seed=1,
    )

    changes = [f"data.path={data}", *(["forward_model.volume_px=[24,24,24]"] if arguments.quick else [])]
    config = adorym.load_config(HERE / "config.yaml", changes, quick=arguments.quick)
    result = adorym.reconstruct(config, output=folder)
    found = score(folder, data)
    print(f"object {result.object.shape}, loss {result.history['loss'][-1]:.3g}")
    print(f"correlation with the truth {found['delta_correlation']:.3f}")
    print(f"tilts off by {found['tilt_rms_rad'] * 57.3:.2f} deg, positions by {found['position_rms_px']:.2f} px")
    for to in ("vti", "tiff"):  # for ParaView and for ImageJ
        print(f"wrote {export(folder, to)[0].name}")


if __name__ == "__main__":
    main()
