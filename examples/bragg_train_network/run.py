"""Make crystals, train a network on them, and start a reconstruction with it.

Usage: python run.py [--output DIR] [--quick]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import adorym
from adorym.commands.score import score
from adorym.commands.simulate import simulate
from adorym.commands.train import train_network

HERE = Path(__file__).resolve().parent
QUICK = [
    "crystals.crystals=24",
    "training.width=[4, 6, 8]",
    "training.validation=0.25",
    "training.stages=[{epochs: 2}]",
]


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("out"), help="folder for shards, weights and result")
    parser.add_argument("--quick", action="store_true", help="a few crystals, to see whether it works")
    arguments = parser.parse_args()
    folder = arguments.output.resolve()
    training = folder / "training"
    weights = train_network("cdi_nn", training, HERE / "training.yaml", QUICK if arguments.quick else ())
    print(json.dumps(json.loads((training / "model_card.json").read_text())["held_out_scores"], indent=2))

    simulate("bragg_crystal", folder / "crystal.h5", {"frames": 28, "window_px": (32, 36)}, seed=3)
    files = [f"data.path={folder / 'crystal.h5'}", f"parameters.object.initial.weights={weights}"]
    config = adorym.load_config(HERE / "config.yaml", files, quick=arguments.quick)
    adorym.reconstruct(config, output=folder)
    found = score(folder, folder / "crystal.h5")
    print(f"complex overlap with the truth {found['overlap']:.3f}, phase error {found['phase_rms_rad']:.3f} rad")


if __name__ == "__main__":
    main()
