"""What a seed does to a file or to a configuration."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Rng = np.random.Generator
HUGE = (1 << 20, 1 << 18, 1 << 18)
VALUES: tuple[Any, ...] = (
    np.nan,
    np.inf,
    -1.0,
    0.0,
    1e308,
    2**63 - 1,
    "text",
    "\x1b[31mred",
    b"\xff\xfe",
    "",
    (),
    (1, 2, 3),
    "9**9**9 eV",
    np.zeros((0, 3)),
    np.ones((2, 3), np.complex64),
    np.array(["a", "b"], object),
    True,
    "1e999 m",
)


# -- bytes -------------------------------------------------------------------------------------------------------------
def _cut(content: bytearray, rng: Rng) -> bytes:
    return bytes(content[: rng.integers(len(content))])


def _flipped(content: bytearray, rng: Rng) -> bytes:
    end = len(content) if rng.random() < 0.5 else min(len(content), 2048)  # headers are short
    for at in rng.integers(end, size=rng.choice([1, 3, 20])):
        content[at] ^= 1 << rng.integers(8)
    return bytes(content)


def _overwritten(content: bytearray, rng: Rng) -> bytes:
    at, n = rng.integers(len(content)), rng.integers(1, 64)
    content[at : at + n] = (b"\0", b"\xff", rng.bytes(1))[rng.integers(3)] * n
    return bytes(content)


def _shifted(content: bytearray, rng: Rng) -> bytes:
    at, n = rng.integers(len(content)), int(rng.integers(1, 64))
    content[at : at + (n if rng.random() < 0.5 else 0)] = rng.bytes(n) if rng.random() < 0.5 else b""
    return bytes(content)


def _number_enlarged(content: bytearray, rng: Rng) -> bytes:
    """A digit of a text header becomes many."""
    digits = [i for i, byte in enumerate(content[:2048]) if chr(byte).isdigit()]
    if digits:
        at = rng.choice(digits)
        content[at : at + 1] = b"9" * int(rng.integers(2, 12))
    return bytes(content)


def damage(path: Path, rng: Rng) -> None:
    """Change the bytes of a file."""
    changes: list[Callable[[bytearray, Rng], bytes]] = [
        _cut,
        _flipped,
        _flipped,
        _overwritten,
        _shifted,
        _number_enlarged,
    ]
    path.write_bytes(changes[rng.integers(len(changes))](bytearray(path.read_bytes()), rng))


# -- the content of HDF5 files -----------------------------------------------------------------------------------------
def _names(file: h5py.File) -> list[str]:
    found: list[str] = []
    file.visit(found.append)
    return found


def _retyped(group: h5py.Group, name: str, rng: Rng) -> None:
    value = np.asarray(group[name][()])
    kind = rng.choice(["S3", "i1", "c8", "f2", ">f8", "u8", "bool"])
    del group[name]
    group[name] = value.astype(kind) if value.dtype.kind in "iufb" else np.zeros(3, kind)


def _reshaped(group: h5py.Group, name: str, rng: Rng) -> None:
    value = np.asarray(group[name][()])
    ways = [
        np.ravel,
        np.transpose,
        lambda a: a[None],
        lambda a: a[:0] if a.ndim else np.zeros(0),
        lambda a: a.reshape(-1)[:1],
        lambda a: a[1:] if a.ndim else a,
        lambda a: np.concatenate([a, a]) if a.ndim else a,
    ]
    del group[name]
    group[name] = ways[rng.integers(len(ways))](value)


def _revalued(group: h5py.Group, name: str, rng: Rng) -> None:
    value = np.array(group[name][()])
    if value.dtype.kind in "iuf" and value.size and rng.random() < 0.6:
        chosen = rng.random(value.shape) < rng.choice([0.1, 1.0])
        extreme = rng.choice([np.nan, np.inf, -1e30, 1e38, 0.0, -1.0])
        with np.errstate(all="ignore"):
            value = np.where(chosen, extreme, value.astype(float))
    else:
        value = VALUES[rng.integers(len(VALUES))]
    del group[name]
    group[name] = value


def _replaced(group: h5py.Group, name: str, rng: Rng) -> None:
    """By a link, a group, or a dataset that is none."""
    del group[name]
    way, own = rng.integers(7), group.file.filename
    if way == 0:
        group.create_group(name)
    elif way == 1:
        group[name] = h5py.SoftLink(f"{group.name}/{name}")
    elif way == 2:
        group[name] = h5py.ExternalLink(
            str(rng.choice(["lost.h5", "/etc/passwd", own, "../a.h5"])), f"{group.name}/{name}"
        )
    elif way == 3:
        layout = h5py.VirtualLayout((4, 6, 8), "f4")
        layout[:] = h5py.VirtualSource(str(rng.choice([".", own, "lost.h5"])), f"{group.name}/{name}", (4, 6, 8))
        group.create_virtual_dataset(name, layout)
    elif way == 4:
        group.create_dataset(name, (4, 6, 8), "u1", external=[("/etc/passwd", 0, 192)])
    elif way == 5:
        group.create_dataset(name, HUGE, "u2", chunks=(1, 512, 512), compression="gzip")
    else:
        group[name] = h5py.SoftLink("/")


def _attribute(group: h5py.Group, name: str, rng: Rng) -> None:
    item = group[name]
    for key in list(item.attrs):
        if rng.random() < 0.5:
            del item.attrs[key]
        else:
            item.attrs[key] = VALUES[rng.integers(len(VALUES))]
    item.attrs["units"] = rng.choice(["9**9**9 eV", "\x1b]0;x\x07", "parsec", "", "m m m", "px"])


def _harmless(item: h5py.HLObject) -> bool:
    """Whether this process may read it: what an earlier change made can crash HDF5, or fill the memory."""
    return isinstance(item, h5py.Dataset) and not item.is_virtual and not item.external and item.size < 10**6


def distort(path: Path, rng: Rng) -> None:
    """Change what an HDF5 file says, and leave it a sound HDF5 file."""
    ways = [_retyped, _reshaped, _revalued, _revalued, _replaced, _attribute]
    with h5py.File(path, "a") as file:
        for _ in range(rng.choice([1, 1, 2, 4])):
            names = [name for name in _names(file) if name in file and _harmless(file[name])]
            if not names:
                return
            parent, _, name = str(rng.choice(names)).rpartition("/")
            group = file[parent or "/"]
            if rng.random() < 0.15:
                del group[name]
            else:
                try:
                    ways[rng.integers(len(ways))](group, name, rng)
                except (TypeError, ValueError, OverflowError, OSError, RuntimeError, MemoryError):
                    continue  # a value that HDF5 does not take


# -- configurations ----------------------------------------------------------------------------------------------------
JUNK: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1e308,
    float("nan"),
    10**30,
    "",
    "x" * 5000,
    "9**9**9 m",
    "\x1b[2J",
    "1e999 m",
    [],
    {},
    [[[]]],
    ["a", 1],
    {"kind": "adam"},
    {"kind": None},
    {"kind": "no_such"},
    "/etc/passwd",
    "../..",
    "-5 px",
    "nan m",
    "auto",
    "2020-01-01",
    {"kind": "aperture", "outer_radius": -1},
    [0, -1],
    3.5,
    "mine.py:Lost",
    "\u202e",
)
WORDS = (
    "data",
    "path",
    "parameters",
    "run",
    "seed",
    "kind",
    "Optimizer",
    "learning_rate",
    "energy",
    "no such key",
    "",
    "0",
)


def _places(plain: Any) -> list[tuple[Any, Any]]:
    """Every container and key in it."""
    items = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    return [found for key, value in items for found in ((plain, key), *_places(value))]


def misconfigure(plain: dict[str, Any], rng: Rng) -> str:
    """The text of a changed configuration."""
    plain = json.loads(json.dumps(plain))
    for _ in range(rng.choice([1, 2, 4])):
        places = _places(plain)
        if not places:
            break
        holder, key = places[rng.integers(len(places))]
        junk = JUNK[rng.integers(len(JUNK))]
        way = rng.integers(5)
        if way < 3:
            holder[key] = junk
        elif way == 3 and isinstance(holder, dict):
            holder[WORDS[rng.integers(len(WORDS))]] = holder.pop(key)
        else:
            del holder[key]
    text = json.dumps(plain, indent=1)
    if rng.random() < 0.3:
        letters = list(text)
        for at in rng.integers(len(letters), size=rng.choice([1, 5])):
            letters[at] = str(rng.choice(list("\t{}[]:,&*!|>%@`\"'#-\0\x1b0é")))
        text = "".join(letters)
    if rng.random() < 0.1:
        text = text[: rng.integers(len(text) + 1)]
    return text
