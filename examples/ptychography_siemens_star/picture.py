"""Draw the phase of a reconstructed object pixel by pixel, as in the documentation; white where the beam was not.

Usage: python picture.py RESULT FILE.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import adorym
from adorym.data.field_of_view import field_of_view, robust_range, without_ramp


def main() -> None:
    """Read a result, write a picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path, help="folder of a run")
    parser.add_argument("picture", type=Path, help="PNG file to write")
    arguments = parser.parse_args()

    result = adorym.read_result(arguments.result)
    view = field_of_view(result)
    phase = np.angle(without_ramp(result.object[..., 0][view.crop], view.bright))
    low, high = robust_range(phase, view.bright)
    gray = np.where(view.seen, 255 * np.clip((phase - low) / (high - low), 0, 1), 255)
    Image.fromarray(np.rint(gray).astype(np.uint8)).save(arguments.picture, optimize=True)
    print(f"{arguments.picture}: {high - low:.2f} rad from black to white")


if __name__ == "__main__":
    main()
