"""Find the width of a detector's blur together with the object, by a parameter that the package does not know.

Usage: python run.py [--output DIR] [--quick]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

import adorym
from adorym.commands.score import score
from adorym.commands.simulate import simulate
from adorym.data.dataset import ArrayPatterns
from adorym.data.native_write import write_native

HERE = Path(__file__).resolve().parent
BLUR_PX, TOLERANCE = 1.5, 0.1
SPECIMEN = {
    "window_px": [48, 40],
    "object_px": [112, 104],
    "phantom": {"kind": "pictures"},
    "noise": {"poisson": False},  # photons are counted after the blur
}


def simulate_blurred(path: Path, blur_px: float = BLUR_PX, seed: int = 1) -> None:
    """Write patterns that were blurred by a Gaussian before their photons were counted."""
    sharp = simulate("ptychography", path, SPECIMEN, seed=seed)
    expected = sharp.patterns.read(np.arange(sharp.n_patterns)).astype(float)
    blurred = gaussian_filter(expected, (0, blur_px, blur_px), mode="wrap")
    counts = np.random.default_rng(seed).poisson(blurred)
    write_native(sharp.with_(patterns=ArrayPatterns(counts)), path)


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("out"), help="folder for data and result")
    parser.add_argument("--quick", action="store_true", help="a few epochs only")
    arguments = parser.parse_args()

    folder = arguments.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "blurred.h5"
    simulate_blurred(data)

    config = adorym.load_config(HERE / "config.yaml", [f"data.path={data}"], quick=arguments.quick)
    result = adorym.reconstruct(config, output=folder)
    found = float(result.parameters["blur_px"].value)
    print(f"blur {found:.2f} px, true {BLUR_PX} px; object error {score(folder, data)['object_nrmse']:.3f}")

    plain = {"data": str(data), "forward_model": "ptychography", "run": {"epochs": config.run.epochs, "seed": 1}}
    adorym.reconstruct(plain, output=folder / "no_blur")
    print(f"without blur in the model: object error {score(folder / 'no_blur', data)['object_nrmse']:.3f}")

    if not arguments.quick and abs(found / BLUR_PX - 1) > TOLERANCE:
        raise SystemExit(f"the blur is not found to {100 * TOLERANCE:.0f} %")


if __name__ == "__main__":
    main()
