"""A chain of two jobs on two ranks: the second goes on from the checkpoint of the first, in another store.

Usage: python run.py [--output DIR] [--quick]
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import adorym
from adorym.commands.simulate import simulate

HERE = Path(__file__).resolve().parent


def launcher() -> list[str]:
    """``mpirun -n 2``, if mpi4py and a launcher are there."""
    found = shutil.which("mpirun", path=sysconfig.get_path("scripts")) or shutil.which("mpirun")
    there = found is not None and importlib.util.find_spec("mpi4py") is not None
    return [str(found), "-n", "2"] if there else []


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

    first, last = (2, 4) if arguments.quick else (10, 20)
    job = [sys.executable, "-m", "adorym.cli", "run", str(HERE / "config.yaml"), "--output", str(folder)]
    job += ["--set", f"data.path={data}"]
    subprocess.run([*launcher(), *job, "--set", f"run.epochs={first}"], check=True)
    more = ["--set", f"run.epochs={last}", "--set", "run.store=h5", "--resume"]
    subprocess.run([*launcher(), *job, *more], check=True)
    result = adorym.read_result(folder)
    print(f"{len(result.history['loss'])} epochs, the last on {result.provenance['ranks']} ranks")


if __name__ == "__main__":
    main()
