"""A first guess of the map of an unknown file, from shapes, types and names of its arrays."""

from __future__ import annotations

import numpy as np

from adorym.data.containers import ArrayInfo, Container
from adorym.data.dataset import Patterns
from adorym.data.keymap import KeyMap

POSITION_WORDS = ("pos", "scan", "transl", "coord", "stage")
SCALARS = {
    "energy": ("energy",),
    "distance": ("distance", "det_dist"),
    "detector_pixel_size": ("detector_pixel", "det_pixel", "psize_det"),
    "pixel_size": ("pixel_size", "psize", "pixelsize", "dx"),
}
SAMPLE = 16  # patterns looked at for the zero frequency


def suggest_map(container: Container) -> list[str]:
    """Entries for `KeyMap.parse`, empty where nothing in the file can be patterns. To be looked over by a human."""
    stacks = [a for a in container.arrays.values() if len(_squeezed(a)) >= 3 and _is_real(a)]
    if not stacks:
        return []
    patterns = max(stacks, key=lambda a: int(np.prod(a.shape)))
    *leading, height, width = patterns.shape
    n, rest = int(np.prod(leading)), [a for a in container.arrays.values() if a is not patterns]
    found = [f"patterns={patterns.key}", *_positions(rest, n)]
    probes = [a for a in rest if a.shape[-2:] == (height, width) and ("probe" in a.key.lower() or "complex" in a.dtype)]
    found += [f"probe={probes[0].key}"] if probes else []
    masks = [a for a in rest if a.shape == (height, width) and ("mask" in a.key.lower() or a.dtype == "bool")]
    found += [f"mask={masks[0].key}"] if masks else []
    taken = ""
    for name, words in SCALARS.items():
        for info in rest:
            last = info.key.rpartition("/")[2].lower()
            if info.key != taken and np.prod(info.shape) <= 2 and _is_real(info) and any(w in last for w in words):
                found.append(f"{name}={info.key}")
                taken = info.key
                break
    stack = KeyMap.parse([f"patterns={patterns.key}"]).read(container).patterns
    return [*found, "zero_frequency=corner"] if zero_at_corner(stack) else found


def zero_at_corner(patterns: Patterns) -> bool:
    """Whether the counts crowd at the corners of the window and not in its middle, in the mean of some patterns."""
    n = patterns.shape[0]
    mean = patterns.read(np.unique(np.linspace(0, n - 1, min(n, SAMPLE)).astype(int))).mean(axis=0)
    return _central_share(np.fft.fftshift(mean)) > 2 * _central_share(mean)


def _central_share(picture: np.ndarray) -> float:
    """Sum over the middle half of rows and columns, over the whole sum."""
    height, width = picture.shape
    middle = picture[height // 4 : height - height // 4, width // 4 : width - width // 4]
    return float(np.nansum(np.abs(middle)) / max(float(np.nansum(np.abs(picture))), np.finfo(float).tiny))


def _positions(arrays: list[ArrayInfo], n: int) -> list[str]:
    def rank(info: ArrayInfo) -> bool:
        return not any(word in info.key.lower() for word in POSITION_WORDS)

    pairs = sorted((a for a in arrays if _squeezed(a) in ((n, 2), (2, n)) and _is_real(a)), key=rank)
    if pairs:
        return [f"positions={pairs[0].key}"]
    lists = [a for a in arrays if int(np.prod(a.shape)) == n and n > 1 and _is_real(a)]
    for row in lists:
        folder, _, name = row.key.rpartition("/")
        partner = f"{folder}/{name.replace('y', 'x')}".lstrip("/")
        if "y" in name and any(a.key == partner for a in lists):
            return [f"positions={row.key},{partner}"]
    return []


def _squeezed(info: ArrayInfo) -> tuple[int, ...]:
    """Shape without leading axes of length 1."""
    first = next((axis for axis, size in enumerate(info.shape) if size > 1), len(info.shape))
    return info.shape[first:]


def _is_real(info: ArrayInfo) -> bool:
    return np.dtype(info.dtype).kind in "iuf" if info.dtype not in ("object", "") else False
