"""Reconstruct a Siemens star that was really measured, and write its report.

Usage: python run.py [--data DIR] [--output DIR] [--quick]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from adorym.commands.convert import convert
from adorym.commands.run import run
from adorym.data.fetch import SIEMENS_STAR_MAP, siemens_star_path
from adorym.errors import DataError

HERE = Path(__file__).resolve().parent
SKIPPED = 77  # exit status: nothing was tested, as Automake and Meson have it


def main() -> int:
    """Run the example; the exit status says whether there were data."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=None, help="folder that holds the measured file")
    parser.add_argument("--output", type=Path, default=Path("out"), help="folder for data and result")
    parser.add_argument("--quick", action="store_true", help="a few epochs only")
    arguments = parser.parse_args()

    try:
        measured = siemens_star_path(arguments.data)
    except DataError as error:
        print(f"skipped: {error}")
        return SKIPPED
    folder = arguments.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "siemens.h5"
    convert(measured, data, list(SIEMENS_STAR_MAP), {})

    done = run(HERE / "config.yaml", [f"data.path={data}"], output=folder, quick=arguments.quick)
    print(f"loss {done.result.history['loss'][-1]:.4f}; report: {done.report}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
