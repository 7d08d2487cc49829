"""A measured Siemens star reconstructed without the first guess of the probe that came with it, and with it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from figures import Figure

from adorym.commands.convert import convert
from adorym.commands.halves import compare_halves
from adorym.commands.run import run
from adorym.data.fetch import SIEMENS_STAR_MAP, siemens_star_path
from adorym.errors import DataError

EPOCHS = 20
CONFIG = f"""
data: {{path: star.h5}}
forward_model: {{kind: ptychography}}
parameters: {{probe: {{modes: 3}}, probe_positions: {{start: 2}}}}
run: {{epochs: {EPOCHS}, seed: 1}}
"""
# Half-period resolution without the probe, over that with it.
RATIO = 1.1


def siemens_star() -> Iterator[Figure]:
    """Half-period resolution by two halves of the patterns, in pixels; nothing where the data cannot be had."""
    try:
        measured = siemens_star_path()
    except DataError as error:
        sys.stderr.write(f"siemens_star: skipped: {error}\n")
        return
    found = {}
    for name, entries in (
        ("with_probe", SIEMENS_STAR_MAP),
        ("without_probe", SIEMENS_STAR_MAP[:2] + SIEMENS_STAR_MAP[3:]),
    ):
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work)
            convert(measured, folder / "star.h5", list(entries), {})
            (folder / "config.yaml").write_text(CONFIG)
            halves = [folder / half for half in ("even", "odd")]
            for half, frames in zip(halves, ("::2", "1::2"), strict=True):
                run(folder / "config.yaml", [f"data.frames={frames}"], output=half)
            found[name] = next(f.value for f in compare_halves(*halves).figures if f.key.startswith("resolution"))
        yield Figure(f"siemens_star.resolution_{name}_px", found[name])
    yield Figure("siemens_star.resolution_ratio", found["without_probe"] / found["with_probe"], RATIO)
