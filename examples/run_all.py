"""Run every example, ``examples/*/run.py``; a folder that is added is run without being listed.

An example passes when it ends well and leaves a ``result.h5`` whose loss has fallen. One that ends with exit status 77
is skipped, for the reason in its last line: its measured data are neither in ``$ADORYM_DATA`` (by default
``shared/data`` beside the repository) nor to be fetched.

Usage: python examples/run_all.py [--quick] [--jobs N] [NAME ...]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from adorym import read_result

FOLDER = Path(__file__).resolve().parent
SHARED_DATA = FOLDER.parent.parent / "shared" / "data"
SKIPPED = 77


def run(script: Path, output: Path, quick: bool) -> bool:
    """Whether the example passes or is skipped; what it wrote to the terminal is shown if neither."""
    command = [sys.executable, str(script), "--output", str(output), *(["--quick"] if quick else [])]
    environment = {"ADORYM_DATA": str(SHARED_DATA), **os.environ}
    start = time.perf_counter()
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=environment
    )
    verdict, passed = judge(done, output)
    said = f"example {script.parent.name}: {verdict} ({time.perf_counter() - start:.1f} s)\n"
    sys.stdout.write(said if passed else said + done.stdout)  # in one piece: others may write, too
    sys.stdout.flush()
    return passed


def judge(done: subprocess.CompletedProcess[str], output: Path) -> tuple[str, bool]:
    """What to say of an example that has ended, and whether that is well."""
    if done.returncode == SKIPPED:
        return (done.stdout.strip().splitlines() or ["skipped"])[-1], True
    if done.returncode != 0:
        return f"failed with exit status {done.returncode}", False
    losses = read_result(output).history["loss"]
    fell = bool(losses[-1] < losses[0])
    return f"{'ok' if fell else 'failed'}, loss {losses[0]:.4g} to {losses[-1]:.4g}", fell


def main() -> int:
    """Run the examples asked for; exit status 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="folders to run; all when none is given")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes: few epochs, less data")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="examples at the same time")
    arguments = parser.parse_args()
    scripts = {path.parent.name: path for path in sorted(FOLDER.glob("*/run.py"))}
    if unknown := set(arguments.names) - set(scripts):
        parser.error(f"no such example: {', '.join(sorted(unknown))}; there are {', '.join(scripts)}")
    with tempfile.TemporaryDirectory() as folder:
        chosen, threads = arguments.names or list(scripts), ThreadPoolExecutor(max(1, arguments.jobs))
        passed = threads.map(lambda name: run(scripts[name], Path(folder) / name, arguments.quick), chosen)
        return 0 if all(list(passed)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
