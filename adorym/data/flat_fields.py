"""Flat fields: images of the beam without sample, and a beam that changes during a scan.

One flat field suffices for a stable beam. If a file holds flat fields from several moments of a scan, each pattern is
divided by the linear interpolation between the fields before and after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adorym.data.patterns import WrappedPatterns
from adorym.errors import DataError


@dataclass(frozen=True, eq=False)
class Drift:
    """How the beam changes during a scan.

    Attributes:
        ratio: ``(k, y, x)`` float32 mean flat field divided by that of each moment; 1 without light.
        moment: ``(n,)`` moment of each pattern, a fractional index between 0 and ``k - 1``.
    """

    ratio: np.ndarray
    moment: np.ndarray

    @classmethod
    def of(cls, flats: np.ndarray, moment: np.ndarray) -> Drift:
        """From flat fields ``(k, y, x)``, dark subtracted."""
        mean = flats.mean(0)
        lit = (flats > 0).all(0) & (mean > 0)
        ratio = np.where(lit, mean / np.where(lit, flats, 1.0), 1.0)
        return cls(ratio.astype(np.float32), np.asarray(moment, np.float64))

    def flats(self, mean: np.ndarray) -> np.ndarray:
        """``(k, y, x)`` flat fields, from their mean: inverse of `of`."""
        return mean / self.ratio


@dataclass(frozen=True)
class DriftingPatterns(WrappedPatterns):
    """Patterns divided by the change of the beam; ``base`` is already divided by the mean beam."""

    drift: Drift

    def read(self, index: np.ndarray) -> np.ndarray:
        frames, moment = self.base.read(index), self.drift.moment[np.asarray(index, dtype=np.intp)]
        before = np.clip(np.floor(moment).astype(int), 0, len(self.drift.ratio) - 2)
        part = (moment - before).astype(np.float32)[:, None, None]
        # The field is interpolated, not the correction: 1 / ratio is the field relative to its mean.
        field = (1 - part) / self.drift.ratio[before] + part / self.drift.ratio[before + 1]
        return frames / field


def mean_field(stack: np.ndarray) -> np.ndarray:
    """``(y, x)`` float64 mean over the leading axes of a field, values that are not finite left out."""
    field_ = np.asarray(stack, np.float64)
    if field_.ndim < 3:
        return field_
    frames = field_.reshape(-1, *field_.shape[-2:])
    finite = np.isfinite(frames)
    return np.where(finite, frames, 0).sum(axis=0) / np.maximum(finite.sum(axis=0), 1)


def beam_of(
    flats: np.ndarray, dark: np.ndarray | None, when: tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray, Drift | None]:
    """Mean flat field ``(y, x)``, dark subtracted, and the drift between `moments_of` ``when``, if any.

    Args:
        flats: ``(k, y, x)`` as they were measured.
        dark: ``(y, x)``; one that does not fit is not subtracted.
        when: Moments of flat fields and patterns.
    """
    if dark is not None and dark.shape == flats.shape[1:]:
        flats = flats - dark
    return flats.mean(0), None if when is None else drift_of(flats, *when)


def drift_of(flats: np.ndarray, when: np.ndarray, of_patterns: np.ndarray) -> Drift | None:
    """The drift between flat fields ``(k, y, x)`` taken at moments ``when`` ``(k,)``; ``None`` for a single moment.

    Args:
        flats: Dark subtracted.
        when: Rotation angle, time or index of each; those of the same moment are averaged.
        of_patterns: ``(n,)`` the same for the patterns; the beam is constant before the first and after the last.
    """
    moments, which = np.unique(when, return_inverse=True)
    if len(moments) < 2:
        return None
    means = np.stack([flats[which == i].mean(0) for i in range(len(moments))])
    return Drift.of(means, np.interp(of_patterns, moments, np.arange(len(moments))))


def one_each(n_flats: int, n: int, of_other_kind: bool, notes: list[str]) -> str | None:
    """``one_each``, with a note, where ``n`` pictures that are no scan or rotation come with as many flat fields."""
    if of_other_kind or n_flats != n or n < 2:
        return None
    notes.append(f"{n} flat fields for {n} patterns: each has its own (data.white_fields: mean averages them)")
    return "one_each"


def moments_of(
    kind: str | None, n_flats: int, theta_flat: np.ndarray | None, of_patterns: np.ndarray, path: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """Moments of flat fields and patterns; ``None`` if all flat fields are averaged.

    Args:
        kind: The user's choice: ``mean``, ``before_and_after`` (the first half of the flat fields before the scan, the
            rest after it), ``one_each`` (as many for each pattern, in the order of the patterns), or ``None``.
        n_flats: Number of flat fields.
        theta_flat: Rotation angles of the flat fields, if the file has them.
        of_patterns: ``(n,)`` rotation angles of the patterns.
        path: For messages.

    Raises:
        DataError: There is only one flat field, or numbers of flat fields, patterns and angles do not fit.
    """
    if kind == "mean" or (kind is None and theta_flat is None):
        return None
    if kind == "one_each":
        n = len(of_patterns)
        if n_flats % n:
            raise DataError(path, "flat fields do not come one for each pattern", expected=f"{n}, or a multiple",
                            found=n_flats, remedy="give one for each, or leave out 'data.white_fields'")  # fmt: skip
        return np.repeat(np.arange(n, dtype=float), n_flats // n), np.arange(n, dtype=float)
    if kind == "before_and_after":
        if n_flats < 2:
            raise DataError(path, "one flat field cannot be from before and after the scan", expected="two or more",
                            found=n_flats, remedy="leave out 'data.white_fields'")  # fmt: skip
        n = len(of_patterns)
        return np.where(np.arange(n_flats) < n_flats // 2, 0.0, n - 1.0), np.arange(n, dtype=float)
    if theta_flat is None or len(theta_flat) != n_flats:
        raise DataError(path, "flat fields and their angles differ in number", expected=n_flats,
                        found=0 if theta_flat is None else len(theta_flat),
                        remedy="correct exchange/theta_white, or set data.white_fields: mean")  # fmt: skip
    return theta_flat, of_patterns
