"""Flat fields: images of the beam without sample, and a beam that changes during a scan.

One flat field suffices for a stable beam. If a file holds flat fields from several moments of a scan, each pattern is
divided by the linear interpolation between the fields before and after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adorym.data.patterns import WrappedPatterns
from adorym.data.pictures import SIGMA_OF_MAD
from adorym.errors import DataError

# Standard deviations, robustly estimated, from which on a value of a flat or dark field falls out.
OUTLYING = 12.0


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


def robust_mean(stack: np.ndarray, name: str, notes: list[str]) -> np.ndarray:
    """``(y, x)`` mean of the fields ``(k, y, x)`` that agree, without single values that fall out."""
    used, cleaned = agreeing(stack, name, notes)
    return cleaned[used].mean(0)


def agreeing(stack: np.ndarray, name: str, notes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Which of the fields ``(k, y, x)`` agree, and all of them without single values that fall out.

    A field without beam, or with twice as much as the others, does not agree. A value falls out (a zinger, a pixel that
    is not a number) if it is far from the median of its pixel by the spread of all pixels; three fields are needed
    to tell. What was found is appended to ``notes``.
    """
    stack = np.asarray(stack, np.float64)
    finite = np.isfinite(stack)
    level = np.median(np.where(finite, stack, 0.0).reshape(len(stack), -1), axis=1)
    # Levels of dark fields are near zero: what matters is how far a field is from the others by its own noise.
    middle = np.median(level)
    spread = SIGMA_OF_MAD * np.median(np.abs(np.where(finite, stack, 0) - middle))
    used = np.abs(level - middle) <= max(0.5 * abs(middle), OUTLYING * spread if name == "dark" else 0.0)
    if len(stack) < 3 or used.sum() < len(stack) / 2:
        used = np.ones(len(stack), bool)
    if not used.all():
        numbers = ", ".join(map(str, np.flatnonzero(~used)))
        notes.append(
            f"{name} fields: {int((~used).sum())} of {len(stack)} left out, unlike the others: number {numbers}"
        )
    known = np.where(finite & used[:, None, None], stack, np.nan)
    typical = np.nan_to_num(np.nanmedian(np.where(np.isnan(known).all(0), 0.0, known), axis=0))
    apart = np.abs(stack - typical)
    if used.sum() >= 3:
        noise = SIGMA_OF_MAD * np.median(apart[used].reshape(int(used.sum()), -1))
        scale = np.sqrt(np.maximum(typical, 0) / max(float(np.median(typical)), 1e-30)).clip(0.1, 10)
        out = ~(apart <= OUTLYING * np.maximum(noise, 1e-9 * np.abs(typical)) * np.maximum(scale, 1.0))
    else:
        out = ~finite
    hit = np.flatnonzero((out & used[:, None, None]).any((1, 2)))
    if len(hit):
        number = int((out & used[:, None, None]).sum())
        notes.append(f"{name} fields: {number} values that fall out replaced, in number {', '.join(map(str, hit))}")
    return used, np.where(out, typical, stack)


def beam_of(
    flats: np.ndarray, dark: np.ndarray | None, when: tuple[np.ndarray, np.ndarray] | None, notes: list[str]
) -> tuple[np.ndarray, Drift | None]:
    """Mean flat field ``(y, x)``, dark subtracted, and the drift between `moments_of` ``when``, if any.

    Args:
        flats: ``(k, y, x)`` as they were measured; those that do not agree are left out.
        dark: ``(y, x)``; one that does not fit is not subtracted.
        when: Moments of flat fields and patterns.
        notes: Receives what was left out.
    """
    if dark is not None and dark.shape == flats.shape[1:]:
        flats = flats - dark
    if when is not None and np.unique(when[0], return_counts=True)[1].min() < 2:  # each pattern has its own
        return flats.mean(0), drift_of(flats, *when)
    used, flats = agreeing(flats, "flat", notes)
    flats = flats[used]
    return flats.mean(0), None if when is None else drift_of(flats, when[0][used], when[1])


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
