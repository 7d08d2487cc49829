"""Whatever is in a file or in a configuration: it is read, or refused in one message.

``make fuzz`` takes thousands of seeds.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from fuzz.judge import verdict
from fuzz.mutations import damage, distort, misconfigure
from fuzz.originals import CONFIGURATIONS, FILES

from adorym.commands import check as check_command
from adorym.commands import inspect as inspect_command
from adorym.data.result import read_result

SEEDS = int(os.environ.get("ADORYM_FUZZ_SEEDS", "50"))
FIRST = int(os.environ.get("ADORYM_FUZZ_FIRST", "0"))
HDF5 = (".h5", ".cxi", ".nxs", ".ptyd", ".hdf5", ".emd")
SOUND = ("fine", "refused")


def look_at(path: Path) -> None:
    """As `adorym inspect` and the readers of results do."""
    if path.name == "result.h5":
        read_result(path)
    else:
        inspect_command.inspect(path).render()


def judged(kind: str, seed: int, folder: Path) -> tuple[str, str]:
    """What becomes of the file ``kind`` after the mutation of ``seed``."""
    path, rng = FILES[kind](folder), np.random.default_rng([seed, zlib.crc32(kind.encode())])
    mutate = distort if path.suffix in HDF5 and rng.random() < 0.6 else damage
    mutate(path, rng)
    return verdict(lambda: look_at(path))


@pytest.mark.parametrize("kind", FILES)
def test_what_is_changed_is_sound(tmp_path, kind):
    path = FILES[kind](tmp_path)
    assert verdict(lambda: look_at(path)) == ("fine", "")


@pytest.mark.parametrize("part", range(5))
def test_files(tmp_path, part):
    faults = []
    for seed in range(FIRST + part, FIRST + SEEDS, 5):
        kind = list(FILES)[seed % len(FILES)]
        folder = tmp_path / str(seed)
        folder.mkdir()
        found, text = judged(kind, seed, folder)
        if found not in SOUND:
            faults.append(f"{kind}, seed {seed}: {found}\n{text}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("part", range(5))
def test_configurations(tmp_path, monkeypatch, part):
    monkeypatch.chdir(tmp_path)
    FILES["written"](tmp_path).rename("data.h5")
    faults = []
    for seed in range(FIRST + part, FIRST + SEEDS, 5):
        rng = np.random.default_rng([seed, 1])
        text = misconfigure(CONFIGURATIONS[seed % len(CONFIGURATIONS)], rng)
        Path("config.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
        found, message = verdict(lambda: check_command.check("config.yaml").render())
        if found not in SOUND:
            faults.append(f"seed {seed}: {found}\n{text}\n{message}")
    assert not faults, "\n".join(faults)
