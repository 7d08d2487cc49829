"""Checks of a data set before reconstruction, shared by `adorym inspect`, `check` and `run`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from adorym.data.checks import CountStatistics, count_statistics
from adorym.data.dataset import Dataset
from adorym.data.detector_window import beam_center
from adorym.data.projection_survey import projection_hints
from adorym.data.readers.base import choose
from adorym.data.suggest import zero_at_corner
from adorym.data.survey import (
    OrientationTest,
    PixelSurvey,
    linear_overlap,
    nearest_step_px,
    orientation_test,
    pixel_survey,
)
from adorym.optics.modes import beam_diameter_px

LOW_OVERLAP = 0.4
# Shorter mean steps indicate a wrong unit.
SHORTEST_STEP_PX = 0.01
# The direct beam is off the middle by more than this fraction of the window.
OFF_MIDDLE = 0.06
# Largest number of patterns that are read: those nearest to the middle of the scan.
MOST_PATTERNS = 1024
SHOWN_PIXELS = 5
# Axes that are mirrored are seldom turned as well.
NEARLY_DEG = 4.0


@dataclass(frozen=True)
class Coverage:
    """Extent, step and overlap of a scan.

    Attributes:
        minimum_px: Smallest (y, x) position.
        maximum_px: Largest (y, x) position.
        step_px: Mean distance to the nearest neighbor, ``None`` for a single position.
        probe_diameter_px: Effective diameter of the probe, ``None`` if not known.
        overlap: Linear overlap of neighbors, as a fraction of that diameter.
    """

    minimum_px: tuple[float, float]
    maximum_px: tuple[float, float]
    step_px: float | None
    probe_diameter_px: float | None
    overlap: float | None


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Properties of a data set, and what is suspicious about it.

    Attributes:
        scan: The scan; ``None`` without positions.
        orientation: Orientation of the patterns relative to the positions; ``None`` if it cannot be determined.
        pixels: Bad, hot and dead pixels; ``None`` if the patterns were not read.
        hints: Suspicious findings that may be correct, one per line.
    """

    scan: Coverage | None = None
    orientation: OrientationTest | None = None
    pixels: PixelSurvey | None = None
    hints: tuple[str, ...] = ()


def judge(
    dataset: Dataset,
    probe: np.ndarray | None = None,
    statistics: CountStatistics | None = None,
    *,
    scanned: bool = True,
) -> Judgement:
    """Check a data set for common mistakes.

    Args:
        dataset: The data; at most `MOST_PATTERNS` patterns are read, once or twice.
        probe: Start probe ``(modes, y, x)`` of the run; that of the data if absent.
        statistics: Statistics of the counts, if already computed.
        scanned: Whether the patterns are those of a scanned probe.
    """
    part = _part(dataset)
    probe = dataset.start_probe if probe is None else probe
    probe = probe if probe is None or probe.ndim == 3 else probe[0]
    scan = scan_of(dataset, probe) if scanned else None
    orientation = orientation_test(part) if scanned else None
    statistics = statistics if statistics is not None and part is dataset else count_statistics(part)
    pixels = pixel_survey(part, statistics)
    hints = (*dataset.doubts, *_hints(dataset, scan, orientation, pixels))
    if scan is not None and (place := _off_middle(dataset, statistics)):
        hints = (*hints, place)
    if not scanned or dataset.probe_positions_px is None:
        hints = (*hints, *projection_hints(dataset))
    return Judgement(scan=scan, orientation=orientation, pixels=pixels, hints=hints)


def _part(dataset: Dataset) -> Dataset:
    """The patterns nearest to the middle of the scan or of the stack, so that neighbors are kept together."""
    n = dataset.n_patterns
    if n <= MOST_PATTERNS:
        return dataset
    positions = dataset.probe_positions_px
    distance = np.abs(np.arange(n) - n / 2) if positions is None else ((positions - positions.mean(0)) ** 2).sum(1)
    return choose(dataset, np.sort(np.argsort(distance, kind="stable")[:MOST_PATTERNS]), "")


def scan_of(dataset: Dataset, probe: np.ndarray | None) -> Coverage | None:
    """Extent, step and overlap of a scan with ``probe``; ``None`` without positions."""
    positions = dataset.probe_positions_px
    if positions is None:
        return None
    low, high = positions.min(axis=0), positions.max(axis=0)
    steps = [
        nearest_step_px(each)
        for angle in np.unique(dataset.angle_index)
        if len(each := positions[dataset.angle_index == angle]) > 1
    ]
    step = max(steps, default=None)
    diameter = None if probe is None else beam_diameter_px(probe)
    overlap = None if step is None or diameter is None else linear_overlap(step, diameter)
    return Coverage((float(low[0]), float(low[1])), (float(high[0]), float(high[1])), step, diameter, overlap)


def _hints(
    dataset: Dataset, scan: Coverage | None, orientation: OrientationTest | None, pixels: PixelSurvey
) -> Iterator[str]:
    if orientation is not None and orientation.suspicious:
        yield f"orientation: {_orientation_hint(orientation)} (half a turn more cannot be detected)"
    if scan is not None and dataset.propagation_distance_m is None and zero_at_corner(dataset.patterns):
        yield "zero frequency: the counts are concentrated at the corners; expected in the middle of the patterns"
    yield from _position_hints(dataset, scan)
    if len(pixels.hot):
        number = f"{len(pixels.hot)} hot pixel" + ("s" if len(pixels.hot) > 1 else "")
        yield f"pixels: {number} at (y, x) {shown_places(pixels.hot)}; mask them with 'data.mask' or 'data.hot_pixels'"


def _position_hints(dataset: Dataset, scan: Coverage | None) -> Iterator[str]:
    if scan is None or scan.step_px is None:
        return
    if scan.minimum_px == scan.maximum_px:
        yield f"positions: all {dataset.n_patterns} are the same; the beam never moves"
    elif scan.step_px < SHORTEST_STEP_PX:
        yield (
            f"positions: neighbors are {scan.step_px:.3g} px apart, less than {SHORTEST_STEP_PX}; are they in pixels?"
            " If not, give 'data.positions_unit', such as 'data.positions_unit: m', and the pixel size"
        )
    elif scan.overlap is not None and scan.overlap < LOW_OVERLAP:
        yield (
            f"overlap: neighbors share {100 * scan.overlap:.0f} % of the probe's diameter; 60 % is good"
            + _in_nanometers(dataset, scan)
        )


def _in_nanometers(dataset: Dataset, scan: Coverage) -> str:
    """A doubt about positions in pixels that would overlap well if they were in nanometers."""
    pixel, diameter = dataset.pixel_size_m, scan.probe_diameter_px
    if pixel is None or scan.step_px is None or diameter is None:
        return ""
    step = scan.step_px * 1e-9 / pixel[0]
    good = 1 <= step < (1 - LOW_OVERLAP) * diameter
    return "; if the positions are in nm, set 'data.positions_unit: nm'" if good else ""


def _orientation_hint(found: OrientationTest) -> str:
    """What is turned or mirrored against what, and the settings that mend it."""
    angle = np.rad2deg(found.angle_rad)
    turn = f"{round(angle)} deg"
    from_straight = NEARLY_DEG + 4 * np.rad2deg(found.error_rad)
    if not found.mirrored:
        size = f"{turn}, to within {np.rad2deg(2 * found.error_rad):.1f}"
        right = 90 * round(angle / 90)
        if right and abs(angle - right) <= 4 * np.rad2deg(found.error_rad):  # likelier than a turn of nearly that
            size, turn = f"{right} deg (found: {size})", f"{right} deg"
        return (
            f"the scan's axes are turned against the detector's; turning them by {size}, from x towards y, fits the "
            f"patterns: set 'data.rotation: {turn}', or add it to the one that is set"
        )
    if abs(angle) < from_straight:
        return "patterns and positions are mirrored against each other: set 'data.flip_x: true' (or flip_y)"
    if abs(angle) > 90 - from_straight:
        return (
            "the coordinates of the positions seem to be exchanged, (x, y) instead of (y, x): set "
            "'data.positions_order: xy'; or the patterns are transposed: set 'data.transpose: true'"
        )
    return (
        "patterns and positions are mirrored and turned against each other: set 'data.flip_y: true' and "
        f"'data.rotation: {turn}'"
    )


def _off_middle(dataset: Dataset, statistics: CountStatistics) -> str:
    """Where the direct beam of far-field patterns is, if that is not their middle; else empty."""
    if dataset.propagation_distance_m is not None:
        return ""
    middle = tuple(n // 2 for n in dataset.window_px)
    center = beam_center(statistics.pixel_mean, dataset.mask)
    if center is None:
        return ""
    away = center[0] - middle[0], center[1] - middle[1]
    if np.hypot(*away) <= OFF_MIDDLE * min(dataset.window_px):
        return ""
    return (
        f"center: the direct beam is {np.hypot(*away):.0f} px off the middle of the patterns, at (y, x) = "
        f"({center[0]:.0f}, {center[1]:.0f}) instead of {middle}; data.center: auto moves it there"
    )


def shown_places(places: np.ndarray) -> str:
    """The first of ``places`` ``(n, 2)``: ``(3, 4), (15, 20)``."""
    shown = [f"({y}, {x})" for y, x in places[:SHOWN_PIXELS]]
    return ", ".join(shown + ["..."] * (len(places) > SHOWN_PIXELS))
