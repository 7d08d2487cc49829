"""Simulate a scan, send it as a detector would, reconstruct it while it comes, and compare with the truth.

Usage: python run.py [--output DIR] [--quick]
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

from adorym.callbacks.save import save_snapshot
from adorym.commands.score import score
from adorym.commands.simulate import simulate
from adorym.commands.stream import StreamOptions, stream
from adorym.data.result import read_result

HERE = Path(__file__).resolve().parent
FAULTS = ("lost=0.01", "repeated=0.02", "swapped=0.05", "apart=true")
PORT = 15557
SKIPPED = 77


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("out"), help="folder for data and result")
    parser.add_argument("--quick", action="store_true", help="a smaller scan and fewer epochs")
    arguments = parser.parse_args()
    if importlib.util.find_spec("zmq") is None:
        print("needs pyzmq: pip install 'adorym[live]'")
        sys.exit(SKIPPED)

    folder = arguments.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    data, address = folder / "scan.h5", f"zmq://127.0.0.1:{PORT}"
    size = 160 if arguments.quick else 240
    simulate("ptychography", data, {"window_px": [64, 64], "object_px": [size, size]}, seed=1)

    words = ["serve", str(data), "--to", address, "--rate", "200Hz"]
    faults = [word for fault in FAULTS for word in ("--set", fault)]
    with subprocess.Popen([sys.executable, "-m", "adorym", *words, *faults]) as detector:
        epochs = ["run.epochs=4"] if arguments.quick else []
        done = stream(address, HERE / "config.yaml", folder, epochs, StreamOptions(settle=0.5))
        detector.wait()

    lost = sum(done.books["lost"].values())
    print(f"{done.books['published']} frames: {done.books['recorded']} recorded, {lost} lost, {done.looks:.1f} looks")
    print(f"object error {score(folder, data)['object_nrmse']:.3f}")
    for name in ("picture", "result"):
        save_snapshot(read_result(folder / f"{name}.h5"), folder / f"{name}.png")


if __name__ == "__main__":
    main()
