"""Train a network on the probe of one scan, and start the reconstruction of the next from its picture.

Usage: python run.py [--output DIR] [--quick]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import adorym
from adorym.commands.predict import predict
from adorym.commands.score import score
from adorym.commands.simulate import simulate
from adorym.commands.train import train_network

HERE = Path(__file__).resolve().parent
SCAN = {"object_px": (180, 180), "scan": {"overlap": 0.6}, "phantom": {"kind": "pictures"}}
QUICK = [
    "patterns.patterns=32",
    "patterns.pool=4",
    "training.width=4",
    "training.epochs=1",
    "training.validation=4",
]


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("out"), help="folder for all that is written")
    parser.add_argument("--quick", action="store_true", help="a few patterns, to see whether it works")
    arguments = parser.parse_args()
    folder = arguments.output.resolve()
    for seed, name in ((1, "first"), (2, "second")):
        simulate("ptychography", folder / f"{name}.h5", SCAN, seed=seed)
    first = adorym.load_config(HERE / "first.yaml", [f"data.path={folder / 'first.h5'}"], quick=arguments.quick)
    adorym.reconstruct(first, output=folder / "first")

    weights = train_network(
        "ptycho_nn",
        folder / "training",
        HERE / "training.yaml",
        QUICK if arguments.quick else (),
        probes=[folder / "first"],
    )
    seen = predict(folder / "second.h5", weights, folder / "predicted", folder / "first")
    print(f"one pass of the network: misfit {seen.quality:.2f} of vacuum's; {seen.foreign or 'not foreign to it'}")

    files = [
        f"data.path={folder / 'second.h5'}",
        f"parameters.object.initial.weights={weights}",
        f"parameters.probe.initial.path={folder / 'first'}",
    ]
    adorym.reconstruct(adorym.load_config(HERE / "config.yaml", files, quick=arguments.quick), output=folder)
    found = score(folder, folder / "second.h5")
    print(f"object error {found['object_nrmse']:.3f}, phase error {found['phase_mae_rad']:.3f} rad")


if __name__ == "__main__":
    main()
