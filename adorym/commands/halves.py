"""Compare reconstructions from two halves of the data, as two independent measurements of one object.

Without a ground truth this gives the resolution (van Heel & Schatz, J. Struct. Biol. 151, 250 (2005)). Errors that both
halves share, such as a wrong photon energy or the trace of a regular scan, do not show.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from adorym import metrics
from adorym.commands.score import in_frame, resolution_figure
from adorym.data.result import Result, read_result
from adorym.errors import DataError
from adorym.metrics import Region
from adorym.report.score import Figure, Score


def compare_halves(first_path: str | Path, second_path: str | Path) -> Score:
    """The result in ``second_path`` aligned with that in ``first_path``, and their Fourier ring correlation.

    Args:
        first_path: ``result.h5``, or the directory of a run.
        second_path: The same, from the other half of the patterns.

    Raises:
        DataError: A file cannot be read, both are from the same patterns, or their objects do not compare.
    """
    first, second = read_result(first_path), read_result(second_path)
    _check(first, second, str(second_path))
    offset = (second.origin_px[0] - first.origin_px[0], second.origin_px[1] - first.origin_px[1])
    fixed = _image(first)
    framed, covered = in_frame(_image(second), offset, fixed.shape)
    region = _common_region(first, second)
    if not covered[region].all():
        raise DataError(str(second_path), "the two reconstructions do not cover the same part of the object")
    alignment = metrics.align_object(framed, fixed, region)
    rings = metrics.ring_correlation(alignment.aligned[region], fixed[region], first.pixel_m)
    size = " x ".join(str(s.stop - s.start) for s in region)
    note = f"over {size} px, shift of ({alignment.shift_px[0]:.2f}, {alignment.shift_px[1]:.2f}) px removed"
    difference = Figure("halves_nrmse", "difference of the halves (NRMSE)", alignment.error, note=note)
    reference = "a reconstruction from the other half of the data"
    return Score((resolution_figure(rings, first), difference), region, rings, reference)


def _check(first: Result, second: Result, where: str) -> None:
    if first.representation != second.representation:
        raise DataError(
            where, "the objects are not of the same kind", expected=first.representation, found=second.representation
        )
    if not np.allclose(first.pixel_m, second.pixel_m, rtol=1e-6, atol=0):
        expected, found = first.pixel_size_m, second.pixel_size_m
        raise DataError(where, "the pixel sizes differ", expected=f"{expected} m", found=f"{found} m")
    patterns = _patterns(first)
    if patterns is not None and patterns == _patterns(second):
        raise DataError(
            where,
            "is from the same patterns: two runs over the same data agree in their noise, too",
            expected="two halves of the data",
            found=f"data.path and data.frames alike: {patterns[0]}, {patterns[1] or 'all'}",
            remedy="run one with '--set data.frames=::2' and the other with '--set data.frames=1::2'",
        )


def _patterns(result: Result) -> tuple[str, str] | None:
    """Path and choice of the patterns; ``None`` if the result's configuration lacks them."""
    data = result.settings.get("data", {})
    return (str(data["path"]), str(data.get("frames") or "")) if "path" in data else None


def _image(result: Result) -> np.ndarray:
    """One complex image ``(y, x)`` of the whole thickness: transmission, or the projected index."""
    if result.representation == "real_imag":
        return result.transmission
    projected = result.object.sum(axis=2, dtype=np.float64)
    return projected[..., 0] + 1j * projected[..., 1]


def _common_region(first: Result, second: Result) -> Region:
    """(y, x) slices, in the frame of ``first``, of the region that both scans cover well."""
    shape = (first.object.shape[0], first.object.shape[1])
    found = []
    for result in (first, second):
        positions = result.parameters.get("probe_positions")
        if positions is None or result.probe is None:
            return metrics.inner_region(shape)
        window = (result.probe.shape[-2], result.probe.shape[-1])
        found.append(metrics.scanned_region(positions.value + np.asarray(first.origin_px), window, shape))
    y, x = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(*found, strict=True))
    return y, x
