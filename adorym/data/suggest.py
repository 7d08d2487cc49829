"""What the arrays of an unknown file are: a map of them, and what is not certain about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from adorym.data.containers import ArrayInfo, Container
from adorym.data.dataset import Patterns
from adorym.data.hdf5 import factor
from adorym.data.names import role_of, split_unit
from adorym.data.stacks import counted_last, patterns_of
from adorym.data.tables import unit_in

POSITION_WORDS = ("pos", "scan", "transl", "coord", "stage", "points", "encoder", "motor")
PATTERN_WORDS = ("diff", "dp", "data", "pattern", "frame", "intens", "ptychogram", "cbed", "image", "count", "cube")
AMPLITUDE = re.compile(r"amp|magnitude|modul|sqrt")
SMALLEST_PX = 0.02  # a step of a scan in pixels is larger
SAMPLE = 16  # patterns looked at for the zero frequency
SMALL = 4  # entries of an array that is a number, or one for y and one for x


@dataclass(frozen=True)
class Guess:
    """A map of an unknown file.

    Attributes:
        entries: For `KeyMap.parse`; empty if nothing can be patterns.
        doubts: What is not certain, each a sentence; empty if the file may be read with this map.
    """

    entries: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def suggest_map(container: Container) -> list[str]:
    """Entries for `KeyMap.parse`, empty where nothing in the file can be patterns. To be looked over by a human."""
    return list(guess(container).entries)


def guess(container: Container, *, positions_needed: bool = True, pixel_known: bool = False) -> Guess:
    """What the arrays are, by name, unit, shape and number.

    Args:
        container: The file.
        positions_needed: Whether positions have to come from this file.
        pixel_known: Whether the pixel size of the object is known elsewhere.
    """
    found = _stacks(container)
    if not found:
        return Guess()
    patterns, doubts = found[0], []
    if len(found) > 1:
        doubts.append(f"several arrays may be the patterns: {', '.join(f'{a.key} {a.shape}' for a in found)}")
    rest = [a for a in container.arrays.values() if a.identity is None or a.identity != patterns.identity]
    rest = [a for a in rest if a.key != patterns.key and not a.lost]
    numbers = _numbers(container, rest, doubts)
    where, n, window = _positions(rest, patterns)
    entries = [f"patterns={patterns.key}", *where]
    entries += _fields(container, rest, window)
    entries += [f"{role}={text}" for role, text in numbers.items()]
    stack = patterns_of(container, patterns.key, "auto", n, [])
    if where:
        entries += _unit(container, where, pixel_known or _has_pixel(numbers), doubts)
    elif positions_needed:
        doubts.append("no array fits the number of patterns as positions")
    if _is_amplitude(patterns, stack):
        entries.append("measured=amplitude")
    if zero_at_corner(stack):
        entries.append("zero_frequency=corner")
    return Guess(tuple(entries), tuple(doubts))


def zero_at_corner(patterns: Patterns) -> bool:
    """Whether the counts crowd at the corners of the window and not in its middle, in the mean of some patterns."""
    mean = _some(patterns).mean(axis=0)
    return _central_share(np.fft.fftshift(mean)) > 2 * _central_share(mean)


def _some(patterns: Patterns) -> np.ndarray:
    n = patterns.shape[0]
    return patterns.read(np.unique(np.linspace(0, n - 1, min(n, SAMPLE)).astype(int)))


def _central_share(picture: np.ndarray) -> float:
    """Sum over the middle half of rows and columns, over the whole sum."""
    height, width = picture.shape
    middle = picture[height // 4 : height - height // 4, width // 4 : width - width // 4]
    return float(np.nansum(np.abs(middle)) / max(float(np.nansum(np.abs(picture))), np.finfo(float).tiny))


def _stacks(container: Container) -> list[ArrayInfo]:
    """Arrays that may be the patterns: the largest stack, and others that are not much smaller and called like it."""
    stacks: dict[object, ArrayInfo] = {}
    for info in container.arrays.values():
        if len(_squeezed(info)) >= 3 and info.is_real:
            stacks.setdefault(info.identity or info.key, info)
    ordered = sorted(stacks.values(), key=lambda a: -_size(a))
    named = [a for a in ordered if any(word in split_unit(a.key)[0] for word in PATTERN_WORDS)]
    ordered = [a for a in named if 2 * _size(a) >= _size(ordered[0])] or ordered
    return [a for a in ordered if 2 * _size(a) >= _size(ordered[0])]


def _is_amplitude(info: ArrayInfo, stack: Patterns) -> bool:
    """Whether the numbers are square roots of counts: called so, or no whole numbers whose squares are."""
    if AMPLITUDE.search(split_unit(info.key)[0]):
        return True
    if np.dtype(info.dtype).kind != "f":
        return False
    values = _some(stack).astype(np.float64)
    values = values[np.isfinite(values) & (values > 0) & (values < 300)]  # whose squares float32 still has exactly
    if values.size < 100 or _whole(values) > 0.9:
        return False
    return _whole(values**2) > 0.99


def _whole(values: np.ndarray) -> float:
    return float(np.mean(np.abs(values - np.round(values)) < 2e-3 * np.maximum(np.sqrt(values), 1)))


def _positions(arrays: list[ArrayInfo], patterns: ArrayInfo) -> tuple[list[str], int | None, tuple[int, ...]]:
    """The entry of the positions, their number, and the window; the patterns may be counted first or last."""
    for last in (counted_last(patterns, None), not counted_last(patterns, None)):
        shape = patterns.shape
        counted, window = (shape[2:], shape[:2]) if last else (shape[:-2], shape[-2:])
        n = int(np.prod(counted))
        if n > 1 and (where := _positions_of(arrays, n)):
            return where, n, window
    return [], None, patterns.shape[-2:]


def _positions_of(arrays: list[ArrayInfo], n: int) -> list[str]:
    def rank(info: ArrayInfo) -> bool:
        return not any(word in info.key.lower() for word in POSITION_WORDS)

    pairs = sorted((a for a in arrays if _squeezed(a) in ((n, 2), (2, n)) and a.is_real), key=rank)
    if pairs:
        stem = split_unit(pairs[0].key)[0]
        # Two rows are x and y as they are drawn; a list of pairs is one of array indices.
        xy = "yx" not in stem and ("xy" in stem or _squeezed(pairs[0]) == (2, n) != (n, 2))
        return [f"positions={pairs[0].key}", *(["positions_order=xy"] if xy else [])]
    lists = sorted((a for a in arrays if _size(a) == n and a.is_real), key=rank)
    names = {a.key: a for a in lists}
    for row in lists:
        folder, _, name = row.key.rpartition("/")
        for y, x in (("y", "x"), ("Y", "X"), ("row", "col"), ("vert", "hor")):
            for at in (m.start() for m in re.finditer(y, name)):
                partner = f"{folder}/{name[:at]}{x}{name[at + len(y) :]}".lstrip("/")
                if partner in names:
                    return [f"positions={row.key},{partner}"]
    return []


def _has_pixel(numbers: dict[str, str]) -> bool:
    far_field = {"distance", "detector_pixel_size"} <= numbers.keys() and bool(
        {"energy", "wavelength"} & numbers.keys()
    )
    return far_field or "pixel_size" in numbers


def _unit(container: Container, where: list[str], pixel_known: bool, doubts: list[str]) -> list[str]:
    """The unit of the positions where nobody says it, and no pixel to judge it by: only meters are that small."""
    names = where[0].partition("=")[2].split(",")
    if pixel_known or all(container.arrays[name].unit or unit_in(name) for name in names):
        return []
    values = np.stack([np.ravel(container.read(name)) for name in names]).astype(np.float64)
    if 0 < np.ptp(values) < SMALLEST_PX * np.sqrt(values.size):
        return ["positions_unit=m"]
    doubts.append(f"'{names[0]}': the unit of the positions is not known, and nor is the pixel size to judge it by")
    return []


def _fields(container: Container, arrays: list[ArrayInfo], window: tuple[int, ...]) -> list[str]:
    """Probe, mask, dark and flat field: of the window's size, and called so."""
    window = tuple(window)
    fitting = [(a, split_unit(a.key)[0]) for a in arrays if a.shape[-2:] == window]
    found = []
    for info, name in fitting:
        if "probe" in name or "complex" in info.dtype:
            found.append(f"probe={info.key}")
            break
    for info, name in fitting:
        if info.shape == window and ("mask" in name or "bad" in name or info.dtype == "bool"):
            found.append(f"mask={info.key}")
            mask = container.read(info.key)
            if "bad" in name or np.mean(mask != 0) < 0.5:  # most of a detector is good
                found.append("mask_good=0")
            break
    for role, words in (("dark", ("dark",)), ("white", ("white", "flat"))):
        found += [f"{role}={info.key}" for info, name in fitting if info.is_real and name.startswith(words)][:1]
    return found


def _numbers(container: Container, arrays: list[ArrayInfo], doubts: list[str]) -> dict[str, str]:
    """Lengths and energy by role, each the name and the unit; of two that contradict each other none is certain."""
    known: dict[str, list[tuple[str, float]]] = {}
    names = [(a.key, a.unit) for a in arrays if a.is_real and _size(a) <= SMALL] + [
        (k, "") for k in container.attributes
    ]
    for key, unit in names:
        values = np.ravel(container.read(key)).astype(np.float64)
        if not values.size or not (np.isfinite(values) & (values > 0)).all():
            continue
        value = float(values[0])
        role = role_of(key, unit, value)
        if role is not None and role[0] != "theta":
            text = key if unit and role[1] == unit else f"{key} {role[1]}"
            known.setdefault(role[0], []).append((text, value * factor(role[1], "eV" if role[0] == "energy" else "m")))
    if "energy" in known:
        known.pop("wavelength", None)
    for role_name, found in known.items():
        differ = [pair for pair in pairwise(found) if not np.isclose(pair[0][1], pair[1][1], rtol=1e-3)]
        if differ and not _sides(found):
            doubts.append(f"{role_name}: {' or '.join(text for text, _ in found)}, which differ")
    return {role_name: _text(found) for role_name, found in known.items()}


def _sides(found: list[tuple[str, float]]) -> list[str]:
    """The names of the y and the x side, where a pair of names says which is which."""
    by_side = {
        side: text for text, _ in found for side in "yx" if re.search(rf"(?:^|[/_]){side}(?:_|\d|$| )", text.lower())
    }
    return [by_side["y"], by_side["x"]] if len(by_side) == 2 else []


def _text(found: list[tuple[str, float]]) -> str:
    sides = _sides(found)
    return ",".join(sides) if sides else found[0][0]


def _size(info: ArrayInfo) -> int:
    return int(np.prod(info.shape, dtype=float))


def _squeezed(info: ArrayInfo) -> tuple[int, ...]:
    """Shape without leading axes of length 1."""
    first = next((axis for axis, size in enumerate(info.shape) if size > 1), len(info.shape))
    return info.shape[first:]
