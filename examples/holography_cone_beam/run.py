"""Reconstruct one material in a cone beam, delta over beta started ten times too large.

Usage: python run.py [--output DIR] [--quick]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import adorym
from adorym.commands.score import score
from adorym.data.native_write import write_native
from adorym.simulate.holograms import HolographyOfElectrode

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("out"), help="folder for data and result")
    parser.add_argument("--quick", action="store_true", help="small, a few epochs only")
    arguments = parser.parse_args()

    folder = arguments.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "holograms.h5"
    # In a small field there are no slow changes of the phase, which tell a large kappa.
    size, kappa = (96, 30.0) if arguments.quick else (256, 120.0)
    write_native(HolographyOfElectrode(size_px=size, kappa=kappa).run(seed=1), data)

    settings = [f"data.path={data}", f"forward_model.kappa={10 * kappa}"]
    settings.append(f"parameters.object.initial.kappa={10 * kappa}")
    result = adorym.reconstruct(adorym.load_config(HERE / "config.yaml", settings), output=folder)
    found = {each.key: each.value for each in score(folder, data).figures}
    print(f"loss {result.history['loss'][-1]:.3g}, kappa {float(result.parameters['kappa'].value[0]):.4g}")
    print(f"kappa over the true one {found['kappa_over_truth']:.3f}")
    print(f"similarity of the high-passed phase {found['high_passed_phase_ssim']:.3f}")


if __name__ == "__main__":
    main()
