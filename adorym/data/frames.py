"""Frames of a detector and what goes with them, pixel by pixel, cut to the window that is used."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from adorym.data.containers import read_array
from adorym.data.dataset import Patterns
from adorym.data.detector_window import DetectorWindow, WindowedPatterns, beam_center, belongs_to_frames, window_of
from adorym.data.gaps import sample_of
from adorym.data.lengths import Lengths
from adorym.data.overrides import Overrides
from adorym.data.patterns import MaskedPatterns
from adorym.data.selection import Selection
from adorym.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames, in the package's orientation, and what changes with their window.

    Attributes:
        patterns: ``(n, y, x)``.
        mask: True where good, ``(y, x)`` or ``(n, y, x)``.
        lengths: Lengths and energy.
        scanned: Whether a probe is scanned; its patterns are far-field patterns without a propagation distance.
        amplitude: Whether the patterns are square roots of counts.
        start_probe: ``(modes, y, x)``, or ``(scans, modes, y, x)``.
        rotation_center_px: x of the rotation axis from the middle.
        arm_px: (y, x) pixel that the arm of the detector points at.
        open_beam_counts: Counts in a pixel without the sample.
        weights: Of the loss.
        cut: Whether they are cut already.
        scale: (y, x) frames' object pixels in one.
        corner_px: (y, x) corner of the window in the object from that of the whole frames, in object pixels.
    """

    patterns: Patterns
    mask: np.ndarray | None
    lengths: Lengths
    scanned: bool
    amplitude: bool
    start_probe: np.ndarray | None
    rotation_center_px: float | None
    arm_px: tuple[float, float] | None
    open_beam_counts: float | None
    weights: np.ndarray | None = None
    cut: bool = False
    scale: tuple[float, float] = (1.0, 1.0)
    corner_px: tuple[float, float] = (0.0, 0.0)

    @property
    def far(self) -> bool:
        """Whether the frames are far-field patterns of a scan, not images."""
        return self.scanned and self.lengths.propagation_distance_m is None

    def windowed(self, wanted: Overrides, chosen: Selection, notes: list[str]) -> Frames:
        """Cropped and binned as ``wanted``, with its weights of the ``chosen`` patterns.

        Raises:
            InputError: The window does not fit the frames, there is no beam to center, or weights cannot be read.
        """
        frame_px, center = self.patterns.shape[1:], wanted.center
        if center == "auto":
            center = self._beam()
            notes.append(f"center: the direct beam is at (y, x) = ({center[0]:.1f}, {center[1]:.1f})")
        window = window_of(wanted, frame_px, center)
        weighted = self
        if wanted.weights is not None:
            weighted = replace(self, weights=_weights(wanted.weights, window, chosen, notes))
        if window.is_whole:
            return weighted
        (ny, nx), (y, x), b = window.window_px, window.first_px, window.bin
        notes.append(f"patterns: {ny} x {nx} px, from pixel ({y}, {x}) of the detector, {b} x {b} summed")
        follows = not self.far or belongs_to_frames(self.lengths, self.start_probe, window)
        if not follows and self.lengths.pixel_size_m is not None and window.size_px != frame_px:
            notes.append("pixel size of the file: taken as that of the cropped patterns; data.pixel_size corrects it")
        scale = window.object_pixel(far=self.far) if follows else np.ones(2)
        mask, corner = window.mask(self.mask), window.corner_px(far=self.far)
        patterns: Patterns = WindowedPatterns(self.patterns, window, self.mask, self.amplitude)
        return replace(
            weighted,
            patterns=patterns if mask is None else MaskedPatterns(patterns, mask),
            mask=mask,
            lengths=window.lengths(self.lengths, scale if wanted.pixel_size is None else np.ones(2)),
            start_probe=self._probe(window, center),
            rotation_center_px=self._axis(window),
            arm_px=None if self.arm_px is None else window.place(self.arm_px),
            open_beam_counts=None if self.open_beam_counts is None else self.open_beam_counts * b**2,
            cut=True,
            scale=(float(scale[0]), float(scale[1])),
            corner_px=(float(corner[0]), float(corner[1])),
        )

    def placed(self, positions: np.ndarray | None) -> np.ndarray | None:
        """Corners ``(n, 2)`` of the window in the object, in its pixels, from those of the frames' window."""
        return positions if positions is None or not self.cut else positions + self.corner_px

    def _beam(self) -> tuple[float, float]:
        """(y, x) index of the direct beam."""
        near = self.lengths.propagation_distance_m is not None
        total = np.sum([frames.sum(0, dtype=np.float64) for frames in sample_of(self.patterns)], axis=0)
        found = None if near else beam_center(total, self.mask)
        if found is None:
            what = "images have no direct beam" if near else "no direct beam in the mean pattern"
            raise ConfigError("data.center", what, found="auto", remedy="give (y, x) in px, or leave it out")
        return found

    def _probe(self, window: DetectorWindow, center: tuple[float, float] | None) -> np.ndarray | None:
        """The start probe of the window; one of another size than the frames is left as it is."""
        probe = self.start_probe
        if probe is None or probe.shape[-2:] != window.frame_px:
            return probe
        return window.probe(probe, center) if self.far else window.image(probe)

    def _axis(self, window: DetectorWindow) -> float | None:
        if self.rotation_center_px is None:
            return None
        middle = (window.frame_px[1] - 1) / 2 - window.first_px[1] - (window.size_px[1] - 1) / 2
        return (self.rotation_center_px + middle) / window.bin


def _weights(
    source: str | Path | np.ndarray, window: DetectorWindow, chosen: Selection, notes: list[str]
) -> np.ndarray:
    weights, origin = read_array(source, "weights")
    notes.append(f"weights: {origin}")
    weights = weights.reshape(-1, 1, 1) if weights.ndim == 1 else weights
    if weights.ndim == 3 and len(weights) == chosen.total:
        weights = chosen.of(weights)
    framed = weights.shape[-2:] == window.frame_px and not window.is_whole
    return (window.weights(weights) if framed else weights).astype(np.float64)
