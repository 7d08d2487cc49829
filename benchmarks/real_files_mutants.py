"""Files with random damage, 300 a reader: each ends in a clean message or in an answer, soon and in little memory.

A mutant is a small file as a reader knows it, with one to three changes: bits, bytes, lengths; or what is in it,
written again by h5py and NumPy: other types, shapes, values, units, names, links. `adorym inspect` and `adorym check`
read it in a forked child with limits. Which change a number stands for depends on nothing else:
``failures("cxi", [17])`` makes mutant 17 once more.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import h5py
import numpy as np
import psutil
from figures import Figure
from real_files_healthy import Healthy, healthy

FIRST_SEED, MUTANTS = 4000, 300
CPU_S, WALL_S, GROWTH = 30, 120, 2**30


# -- damage to bytes ---------------------------------------------------------------------------------------------------
def _bits(rng: np.random.Generator, data: bytearray) -> None:
    for at in rng.integers(len(data), size=int(rng.integers(1, 12))):
        data[at] ^= 1 << int(rng.integers(8))


def _overwritten(rng: np.random.Generator, data: bytearray) -> None:
    start, size = int(rng.integers(len(data))), int(2 ** rng.uniform(0, 9))
    fill = [b"\0", b"\xff", b"", b"\x7f"][int(rng.integers(4))]
    part = data[start : start + size]
    data[start : start + size] = fill * len(part) if fill else rng.bytes(len(part))


def _cut(rng: np.random.Generator, data: bytearray) -> None:
    del data[int(rng.integers(len(data))) :]


def _without(rng: np.random.Generator, data: bytearray) -> None:
    start = int(rng.integers(len(data)))
    del data[start : start + int(2 ** rng.uniform(0, 10))]


def _longer(rng: np.random.Generator, data: bytearray) -> None:
    start = int(rng.integers(len(data)))
    data[start:start] = rng.bytes(int(2 ** rng.uniform(0, 10)))


def _number(rng: np.random.Generator, data: bytearray) -> None:
    """One of the numbers that mean much at an aligned place."""
    value = [0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1, 255][int(rng.integers(7))]
    width = int(rng.choice([2, 4, 8]))
    at = int(rng.integers(max(len(data) // width, 1))) * width
    data[at : at + width] = (value % 256**width).to_bytes(width, "little")


BYTES = (_bits, _overwritten, _cut, _without, _longer, _number)


# -- damage to what is in it -------------------------------------------------------------------------------------------
def _values(rng: np.random.Generator, array: np.ndarray) -> np.ndarray:
    """Other values: what no measurement gives, in some places or in all."""
    bad = [np.nan, np.inf, -np.inf, -1, 0, 1e300, 1e-300, 2**63, 65535, -1e30][int(rng.integers(10))]
    array = np.array(np.real(array), np.float64)
    where = np.ones(array.shape, bool) if rng.random() < 0.4 else rng.random(array.shape) < 0.2
    array[where] = bad
    return array


def _shape(rng: np.random.Generator, array: np.ndarray) -> np.ndarray:
    """Other axes: exchanged, cut, empty, more of them, a single number."""
    array = np.asarray(array)
    choices = (
        lambda: array.T,
        lambda: array.ravel()[:0] if array.ndim == 0 else array[:0],
        lambda: array[: max(len(array) - 1, 1)] if array.ndim else np.repeat(array, 3),
        lambda: array[None],
        lambda: array.ravel(),
        lambda: np.float64(np.ravel(array)[0]) if array.size else np.zeros(()),
        lambda: np.repeat(array[None], 3, 0),
        lambda: array[..., :1] if array.ndim else array,
    )
    return np.asarray(choices[int(rng.integers(len(choices)))]())


def _type(rng: np.random.Generator, array: np.ndarray) -> np.ndarray:
    """Other types, numbers or not."""
    kinds = ("i1", "u8", "f2", "c16", "?", "S5", "f8")
    with np.errstate(all="ignore"):
        real = np.nan_to_num(np.asarray(array).real.astype(np.float64), nan=1, posinf=1, neginf=1)
        return np.clip(real, 0, 100).astype(kinds[int(rng.integers(len(kinds)))])


ARRAYS = (_values, _shape, _type)


def _in_hdf5(rng: np.random.Generator, path: Path) -> None:
    """One change of one dataset, of its attributes, or of the way to it."""
    with h5py.File(path, "a") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        if not names:
            return
        name = names[int(rng.integers(len(names)))]
        change = int(rng.integers(12))
        if change < 6:
            _rewrite(rng, file, name)
        elif change == 6:
            units = [
                "parsec",
                "",
                "9**9**9 m",
                "m" * 5000,
                "\x1b[31m",
                "kg",
                "eV",
                "1/m",
                7,
                b"\xff\xfe",
                [1, 2],
                "deg",
            ]
            file[name].attrs["units"] = units[int(rng.integers(len(units)))]
        else:
            _replaced(rng, file, name, change)


def _rewrite(rng: np.random.Generator, file: h5py.File, name: str) -> None:
    dataset = file[name]
    if dataset.dtype.kind not in "iufcb" or dataset.size is None or dataset.size > 10**6:
        return
    array, attributes = ARRAYS[int(rng.integers(3))](rng, dataset[()]), dict(dataset.attrs)
    del file[name]
    file[name] = array
    file[name].attrs.update(attributes)


def _replaced(rng: np.random.Generator, file: h5py.File, name: str, how: int) -> None:
    """Gone, a group, text, a link that leads nowhere or in a circle, or larger than any memory."""
    del file[name]
    if how == 7:
        file.create_group(name)
    elif how == 8:
        file[name] = [b"text", b"more"] if rng.random() < 0.5 else "nan"
    elif how == 9:
        file[name] = h5py.SoftLink(f"/{name}" if rng.random() < 0.5 else "/nowhere")
    elif how == 10:
        file[name] = h5py.ExternalLink(Path(file.filename).name if rng.random() < 0.5 else "absent.h5", f"/{name}")
    elif rng.random() < 0.7:
        shape = [(2**20, 2048, 2048), (2**33,), (6, 2**16, 2**16), (2, 2**20, 6)][int(rng.integers(4))]
        file.create_dataset(name, shape, "f4", chunks=tuple(min(n, 32) for n in shape), fillvalue=1.0)


def _in_npz(rng: np.random.Generator, path: Path) -> None:
    with np.load(path) as stored:
        arrays = dict(stored)
    name = list(arrays)[int(rng.integers(len(arrays)))]
    if rng.random() < 0.2:
        del arrays[name]
    elif rng.random() < 0.2:
        arrays[name] = np.array([{"a": 1}, None], dtype=object)
    else:
        arrays[name] = ARRAYS[int(rng.integers(3))](rng, arrays[name])
    np.savez(path, **arrays)


def _in_text(rng: np.random.Generator, path: Path) -> None:
    lines = path.read_text().splitlines()
    k = int(rng.integers(len(lines)))
    words = ["nan,nan", "1e999,-1e999", "a;b", "", "1,2,3", "\x1b[2J", "0x10,7", "1,2" * 999, '"', ",", "NaN,1"]
    lines[k] = words[int(rng.integers(len(words)))]
    path.write_text("\n".join(lines))


INSIDE: dict[str, Callable[[np.random.Generator, Path], None]] = {".npz": _in_npz, ".csv": _in_text}


def mutate(folder: Path, rng: np.random.Generator) -> None:
    """One to three changes of the files in a folder; in half of the cases of their bytes alone."""
    in_bytes = rng.random() < 0.5
    for _ in range(int(rng.integers(1, 4))):
        files = sorted(path for path in folder.iterdir() if path.stat().st_size)
        if not files:
            return
        path = files[int(rng.integers(len(files)))]
        inside = INSIDE.get(path.suffix, _in_hdf5 if h5py.is_hdf5(path) else None)
        if in_bytes or inside is None:
            data = bytearray(path.read_bytes())
            BYTES[int(rng.integers(len(BYTES)))](rng, data)
            path.write_bytes(data)
        else:
            with contextlib.suppress(OSError, KeyError, ValueError, RuntimeError):  # damaged too much already
                inside(rng, path)


# -- reading them ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Failure:
    """What a mutant led to that is neither an answer nor a clean message."""

    reader: str
    number: int
    command: str
    what: str


def _commanded(arguments: list[str], log: Path) -> tuple[int, str]:
    """Wait status and output of a command in a forked child with limits, which ends with the child."""
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
        space = psutil.Process().memory_info().vms + GROWTH
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        status = 99
        try:
            from adorym.cli import main

            main(arguments)
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)
    began = time.monotonic()
    while (waited := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() - began > WALL_S:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    return waited[1], log.read_text(errors="replace")


def _judged(status: int, said: str) -> str:
    """Why a command did not end as it should; empty if it did."""
    last = said.strip().splitlines()[-1][:200] if said.strip() else ""
    if os.WIFSIGNALED(status):
        return f"killed by signal {signal.Signals(os.WTERMSIG(status)).name}: {last}"
    for words in ("Traceback (most recent call last)", "internal error", "not enough memory"):
        if words in said:
            return next((line for line in said.splitlines() if words in line), words)[:200]
    return "" if os.WEXITSTATUS(status) in (0, 2) else f"exit status {os.WEXITSTATUS(status)}: {last}"


def commands(folder: Path, made: Healthy) -> list[list[str]]:
    """What is run on the files in a folder; the configuration is written beside it."""
    path = made.write(folder)
    config = folder.parent / f"{folder.name}.yaml"
    config.write_text(made.config(path).replace("POSITIONS", str(folder / "positions.csv")))
    return [["inspect", str(path)], ["check", str(config)]]


def failures(reader: str, numbers: Iterable[int], keep: Path | None = None) -> Iterator[Failure]:
    """Those of the mutants of a reader that end badly; their files are kept in a folder, if one is named."""
    made = healthy()[reader]
    for number in numbers:
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work) / "files"
            folder.mkdir()
            steps = commands(folder, made)
            mutate(folder, np.random.default_rng([FIRST_SEED, crc32(reader.encode()), number]))
            for step in steps:
                status, said = _commanded(step, Path(work) / "log.txt")
                if what := _judged(status, said):
                    if keep is not None:
                        shutil.copytree(folder, keep / f"{reader}_{number}", dirs_exist_ok=True)
                    yield Failure(reader, number, step[0], what)


def warm_up() -> None:
    """Import everything in this process, whose children begin warm, and see that every healthy file is read.

    Raises:
        RuntimeError: One is not.
    """
    from adorym.commands import check, inspect

    for name, made in healthy().items():
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work) / "files"
            folder.mkdir()
            steps = commands(folder, made)
            if name == "adorym":
                inspect.inspect(steps[0][1]).render()
                check.check(steps[1][1])
                gc.freeze()  # a run measures its cost, and would look through all of this again and again
            for step in steps:
                status, said = _commanded(step, Path(work) / "log.txt")
                if status != 0:
                    raise RuntimeError(f"{name}: {step[0]}: {said[-500:]}")


def mutants() -> Iterator[Figure]:
    """Damaged files of each reader that end in a traceback, a hang, a crash, or need more than 1 GiB."""
    warm_up()
    for reader in healthy():
        found = list(failures(reader, range(MUTANTS)))
        for each in found:
            sys.stderr.write(f"{each}\n")
        yield Figure(f"mutants.{reader}", len({each.number for each in found}), 0)
