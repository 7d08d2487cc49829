r"""The part of the detector that is used: cut out about the direct beam, and binned.

Crop and bin change what a pixel of the object is. In the far field the pixel :math:`\Delta = \lambda z / (N p)` grows
as the window of N pixels shrinks, and binning, which leaves N p as it is, makes the window in the object smaller.
Images keep their pixel when they are cropped, and binning makes it larger.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.data.lengths import Lengths
from adorym.data.overrides import Overrides
from adorym.data.patterns import BLOCK_BYTES, WrappedPatterns
from adorym.errors import ConfigError

Px = tuple[int, int]
# A pixel size that a file states belongs to its whole frames if it agrees with their geometry within this fraction.
SAME_PIXEL = 0.01
# The direct beam is what is brighter than this fraction of its brightest pixels.
BEAM_LEVEL = 0.2


@dataclass(frozen=True)
class DetectorWindow:
    """A window of the detector, which may extend beyond the frames.

    Attributes:
        frame_px: (y, x) size of the frames.
        first_px: (y, x) index in the frame of the window's first pixel.
        size_px: (y, x) size before binning, a multiple of ``bin``.
        bin: Detector pixels along each side of one pixel of the patterns.
    """

    frame_px: Px
    first_px: Px
    size_px: Px
    bin: int = 1

    @property
    def is_whole(self) -> bool:
        """Whether the window is the frame itself."""
        return self.bin == 1 and self.first_px == (0, 0) and self.size_px == self.frame_px

    @property
    def window_px(self) -> Px:
        """(y, x) size of a pattern."""
        return self.size_px[0] // self.bin, self.size_px[1] // self.bin

    @property
    def inside(self) -> np.ndarray:
        """``(y, x)`` bool, before binning: pixels that the detector has."""
        return self.cut(np.ones(self.frame_px, bool))

    def place(self, frame_px: tuple[float, float]) -> tuple[float, float]:
        """(y, x) in the patterns of a place in the frame; pixels count from their middles."""
        (y, x), (top, left), b = frame_px, self.first_px, self.bin
        return (y - top - (b - 1) / 2) / b, (x - left - (b - 1) / 2) / b

    def cut(self, frames: np.ndarray) -> np.ndarray:
        """The window ``(..., y, x)`` of ``frames``, before binning; 0 beyond the detector."""
        found = np.zeros((*frames.shape[:-2], *self.size_px), frames.dtype)
        of: list[slice] = []
        into: list[slice] = []
        for first, size, n in zip(self.first_px, self.size_px, self.frame_px, strict=True):
            start, stop = max(0, first), max(0, first, min(n, first + size))
            of.append(slice(start, stop))
            into.append(slice(start - first, stop - first))
        found[..., into[0], into[1]] = frames[..., of[0], of[1]]
        return found

    def summed(self, frames: np.ndarray) -> np.ndarray:
        """Sums over the binned pixels of ``frames`` ``(..., y, x)`` of the window's size."""
        (y, x), b = self.window_px, self.bin
        return frames.reshape(*frames.shape[:-2], y, b, x, b).sum(axis=(-3, -1), dtype=np.float64)

    def mask(self, mask: np.ndarray | None) -> np.ndarray | None:
        """The mask of the patterns from that of the frames: good where half of the detector's pixels are, or more."""
        good = self.inside if mask is None else self.cut(mask)
        if self.bin > 1:
            good = 2 * self.summed(good) >= self.bin**2
        return None if mask is None and good.all() else good

    def weights(self, weights: np.ndarray) -> np.ndarray:
        """Weights of the patterns: means over the binned pixels."""
        found = self.cut(weights)
        return found if self.bin == 1 else self.summed(found) / self.bin**2

    def probe(self, probe: np.ndarray, center_px: tuple[float, float] | None) -> np.ndarray:
        """A probe ``(..., modes, y, x)`` on the frames' object pixels on those of the far-field patterns.

        Cropping the detector keeps the window in the object and makes its pixels larger; binning keeps the pixels and
        makes the window smaller. A probe whose own spectrum is about the direct beam is cut there, any other in the
        middle.
        """
        spectrum = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(probe, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))
        middle = tuple(n // 2 for n in self.frame_px)
        mean = np.abs(spectrum.reshape(-1, *self.frame_px) ** 2).sum(0)
        own, cut = _center_of_mass(mean), replace(self, first_px=_first(middle, self.size_px, 1))
        if center_px is not None and np.hypot(*(own - center_px)) < np.hypot(*(own - middle)):
            cut = replace(self, first_px=_first(tuple(round(c) for c in center_px), self.size_px, 1))
        found = np.fft.ifft2(np.fft.ifftshift(cut.cut(spectrum), axes=(-2, -1)), norm="ortho")
        found = np.fft.fftshift(found, axes=(-2, -1))
        small = DetectorWindow(self.size_px, _first((self.size_px[0] // 2, self.size_px[1] // 2), self.window_px, 1),
                               self.window_px)  # fmt: skip
        return small.cut(found)

    def image(self, probe: np.ndarray) -> np.ndarray:
        """A wave ``(modes, y, x)`` on the pixels of images; its power in a binned pixel is that of all of them."""
        (y, x), b = self.window_px, self.bin
        return self.cut(probe).reshape(*probe.shape[:-2], y, b, x, b).sum(axis=(-3, -1)) / b

    def lengths(self, lengths: Lengths, scale: np.ndarray) -> Lengths:
        """Pixel sizes of the patterns, from those of the frames; ``scale``: (y, x) growth of the object's pixel."""
        detector, pixel = lengths.detector_pixel_size_m, lengths.pixel_size_m
        return replace(
            lengths,
            detector_pixel_size_m=None if detector is None else (detector[0] * self.bin, detector[1] * self.bin),
            pixel_size_m=None if pixel is None else (float(pixel[0] * scale[0]), float(pixel[1] * scale[1])),
        )

    def object_pixel(self, *, far: bool) -> np.ndarray:
        """(y, x) object pixel of the patterns over that of the frames."""
        return np.divide(self.frame_px, self.size_px) if far else np.full(2, float(self.bin))

    def corner_px(self, *, far: bool) -> np.ndarray:
        """(y, x) corner, in object pixels, of the patterns' window in the object, from that of the frames' window."""
        if not far:
            return np.divide(self.first_px, self.bin)
        return np.array(self.size_px) // 2 - np.array(self.window_px) // 2


@dataclass(frozen=True, eq=False)
class WindowedPatterns(WrappedPatterns):
    """The window of every pattern; binned counts are summed.

    Good pixels stand in for the bad ones beside them in a binned pixel; a count there that is no count makes the sum
    NaN, so that it is found.

    Attributes:
        window: The window.
        good: Good pixels of the frames, ``(y, x)`` or ``(n, y, x)``; all if ``None``.
        amplitude: Whether the patterns are square roots of counts.
    """

    window: DetectorWindow
    good: np.ndarray | None = None
    amplitude: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.base.shape[0], *self.window.window_px)

    def read(self, index: np.ndarray) -> np.ndarray:
        index = np.asarray(index, dtype=np.intp)
        found = np.empty((len(index), *self.window.window_px), np.float32)
        step = max(1, BLOCK_BYTES // (4 * math.prod(self.window.frame_px)))  # whole frames are read, and they are large
        for start in range(0, len(index), step):
            part = index[start : start + step]
            frames = self.window.cut(self.base.read(part))
            found[start : start + step] = frames if self.window.bin == 1 else self._binned(frames, part)
        return found

    def _binned(self, frames: np.ndarray, index: np.ndarray) -> np.ndarray:
        window, good = self.window, self.window.inside
        if self.good is not None:
            good = good & window.cut(self.good if self.good.ndim == 2 else self.good[index])
        counts = np.where(frames < 0, np.nan, frames**2 if self.amplitude else frames)
        number = window.summed(good)
        counts = window.summed(np.where(good, counts, 0)) * window.bin**2 / np.maximum(number, 1)
        counts = np.where(2 * number >= window.bin**2, counts, 0)
        return np.sqrt(counts) if self.amplitude else counts


def window_of(wanted: Overrides, frame_px: Px, center_px: tuple[float, float] | None) -> DetectorWindow:
    """The window that the overrides ask for.

    Args:
        wanted: ``crop`` and ``bin`` of it.
        frame_px: (y, x) size of the frames.
        center_px: (y, x) index in the frame of the pixel that the window is laid about, which becomes pixel ``n // 2``;
            ``None`` for the middle of the frame.

    Raises:
        ConfigError: The window is larger than the frame, smaller than a binned pixel, or nowhere on it.
    """
    crop = frame_px if wanted.crop is None else wanted.crop
    asked = crop if isinstance(crop, tuple) else (crop, crop)
    if not all(0 < size <= n for size, n in zip(asked, frame_px, strict=True)):
        expected = f"1 to {frame_px[0]} px along y, 1 to {frame_px[1]} px along x"
        raise ConfigError("data.crop", "not a part of the frames", expected=expected, found=list(asked))
    b = wanted.bin
    size = asked[0] // b * b, asked[1] // b * b
    if 0 in size:
        raise ConfigError(
            "data.bin", "a binned pixel is larger than the patterns", expected=f"<= {min(asked)}", found=b
        )
    if center_px is None:
        first = (frame_px[0] - size[0]) // 2, (frame_px[1] - size[1]) // 2
        return DetectorWindow(frame_px, first, size, b)
    if not all(0 <= c < n for c, n in zip(center_px, frame_px, strict=True)):
        expected = f"y from 0 to {frame_px[0] - 1}, x from 0 to {frame_px[1] - 1}"
        raise ConfigError("data.center", "not a pixel of the frames", expected=expected, found=list(center_px))
    return DetectorWindow(frame_px, _first((round(center_px[0]), round(center_px[1])), size, b), size, b)


def _first(center: tuple[int, ...], size: Px, b: int) -> Px:
    """First pixel of the window in which the binned pixel ``n // 2`` has ``center`` in its middle."""
    y, x = (c - (s // b // 2) * b - (b - 1) // 2 for c, s in zip(center, size, strict=True))
    return y, x


def belongs_to_frames(lengths: Lengths, probe: np.ndarray | None, window: DetectorWindow) -> bool:
    """Whether the object's pixel in a far-field file is that of its whole frames, not that of a window of them.

    A file may be the detector's raw frames with the pixel size of the data that somebody cuts out of them. The probe
    that comes with it, or energy, distance and detector pixel, tell the two apart.
    """
    if probe is not None:
        return probe.shape[-2:] == window.frame_px
    known = replace(lengths, pixel_size_m=None).completed(window.frame_px, [], scanned=True).pixel_size_m
    if known is None or lengths.pixel_size_m is None:
        return False
    return bool(np.allclose(lengths.pixel_size_m, known, rtol=SAME_PIXEL))


def beam_center(mean: np.ndarray, good: np.ndarray | None = None) -> tuple[float, float] | None:
    """(y, x) index of the direct beam in the mean pattern ``(y, x)`` with a mask; ``None`` where there is none.

    The center of mass of the pixels that are brighter than a fifth of the brightest ones, background subtracted. A
    median over 3 x 3 pixels takes out what is hot.
    """
    usable = np.isfinite(mean)
    if good is not None:
        usable &= np.asarray(good if good.ndim == 2 else good.all(axis=0), bool)
    if not usable.any():
        return None
    background = float(np.median(mean[usable]))
    filled = np.where(usable, mean, background)
    level = scipy.ndimage.median_filter(filled, size=3, mode="nearest")
    bright = float(np.partition(level, -9, axis=None)[-9]) if level.size > 9 else float(level.max())
    lit = (level - background > BEAM_LEVEL * (bright - background)) & usable
    if not bright > background or not lit.any():
        return None
    y, x = _center_of_mass(np.where(lit, filled - background, 0))
    return float(y), float(x)


def _center_of_mass(picture: np.ndarray) -> np.ndarray:
    weight = np.maximum(picture, 0)
    y, x = np.indices(picture.shape)
    return np.array([(weight * y).sum(), (weight * x).sum()]) / max(float(weight.sum()), np.finfo(float).tiny)
