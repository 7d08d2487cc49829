r"""The start probe from the patterns alone: the pupil of the mean pattern, and a defocus that is searched.

The pupil's amplitude stands in the mean pattern (`adorym.optics.pupil`); of its phase the curvature matters most, and
with it how wide the beam is. Short reconstructions from a few neighboring patterns decide (`adorym.optics.probe_race`):
candidates of both signs, from focus to a beam that fills the window, each a little further from focus than the one
before. After a few epochs the best three go on, and the phase that the winner's pupil has taken by then gives the
curvature between the candidates.

Patterns are cut to the pupil with some scattering around it, which makes the pixels in the sample plane coarser and the
search cheap. A beam beside the middle of the detector is a tilted one; curvature and position refer to the pupil's
center.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import scipy  # its slow parts load at their first use
from pydantic import Field

from adorym.errors import GeometryError
from adorym.optics import geometry
from adorym.optics.probe_race import Race
from adorym.optics.probes import InitialProbe, Measurement
from adorym.optics.pupil import BRIGHT, DARK, Pupil, Survey, frames, pupil_of, survey
from adorym.registry import register
from adorym.units import Length

# Progress before a run: the command line shows it.
LOG = logging.getLogger("adorym.start")
LOG.setLevel(logging.INFO)

# Patterns that the mean is made of.
SAMPLE = 128
FEWEST = 4
# Patterns that are used where half of them are fewer.
MINIMUM = 16
# Phase at the pupil's rim, in rad, of the first candidate beside the focus, and the largest ratio of one to the next.
FIRST_RAD, RATIO = 1.5, 1.4
# Half width of the patterns in the search, in half widths of the pupil, plus some pixels.
ROOM, EXTRA_PX = 1.6, 2
FIRST_EPOCHS, FINALISTS, MORE_EPOCHS = 3, 3, 4
# Where that decides nothing, so many times as many patterns.
SECOND_TRY = 3
# A misfit that rises by less than this from the best candidate to one of the others decides nothing.
CLEAR = 1.02
SEED = 8


class ScannedPatterns(Measurement, Protocol):
    """The data that the search uses (`adorym.data.dataset.Dataset` has them)."""

    @property
    def probe_positions_px(self) -> np.ndarray | None: ...
    @property
    def angle_index(self) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class FoundProbe(InitialProbe):
    """A probe that was searched, and how that went.

    Attributes:
        modes: ``(1, y, x)`` complex128.
        rim_rad: Phase at the rim of the pupil, relative to its center; positive before the focus.
        defocus_m: Distance from the focus to the sample, positive when the sample is downstream; ``None`` where energy
            or pixel size are not known.
        candidates_rad: ``(c,)`` phases at the rim that were tried; empty if nothing was.
        misfit: ``(c,)`` squared difference of the amplitudes over the counts, after the first epochs.
        decided: Whether the patterns prefer this defocus to others.
        words: One line about it.
    """

    modes: np.ndarray
    rim_rad: float
    defocus_m: float | None
    candidates_rad: np.ndarray
    misfit: np.ndarray
    decided: bool
    words: str

    def make(self, dataset: Measurement) -> np.ndarray:
        return self.modes


@register("probe", "auto")
class AutoProbe(InitialProbe):
    """The pupil in the mean pattern, with the defocus that explains a part of the patterns best.

    Attributes:
        patterns: Number of neighboring patterns that are reconstructed for it.
        maximum_defocus: Largest distance from the focus that is tried, on both sides; if absent, the one at which the
            beam fills the window.
    """

    patterns: int = Field(36, ge=9)
    maximum_defocus: Length | None = Field(None, gt=0)

    def make(self, dataset: ScannedPatterns) -> np.ndarray:  # type: ignore[override]
        return Search(dataset, self).found().modes


class Search:
    """A search in one data set.

    Args:
        scan: The data.
        settings: Of the search.

    Raises:
        InputError: The patterns are dark, or a distance is given and the pixel size or the energy is not known.
    """

    def __init__(self, scan: ScannedPatterns, settings: AutoProbe) -> None:
        if geometry.regime_of(scan) == "near_field":
            remedy = "choose another initial probe, such as 'mean_pattern'"
            raise GeometryError("kind", "a defocus is searched in the far field only", remedy=remedy)
        self.scan, self.settings = scan, settings
        self.index = self._one_angle()
        n = len(self.index)
        self.survey: Survey = survey(scan, self.index[np.unique(np.linspace(0, n - 1, min(n, SAMPLE)).astype(int))])
        self.pupil: Pupil = pupil_of(self.survey.mean, scan)
        self.rate = self._curvature_per_m()
        self.limit = self._limit()

    @property
    def key(self) -> str:
        """What the outcome depends on, as a digest: settings and data that the search looks at."""
        digest = hashlib.sha256(repr((self.settings, self.rate, FIRST_RAD, RATIO, SEED)).encode())
        for array in (self.survey.mean, self.survey.contrast, self.scan.probe_positions_px, self.scan.mask):
            digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def found(self) -> FoundProbe:
        """Search; the same data and settings give the same probe."""
        start, n = time.perf_counter(), self.settings.patterns
        chosen = self._neighbors(n)
        if len(chosen) < FEWEST:
            return self._focus(len(chosen))
        candidates = self._candidates()
        LOG.info(
            "first probe: searching the defocus from %s to %s with %d of %d patterns",
            self.shown(candidates[-1]), self.shown(candidates[0]), len(chosen), self.scan.patterns.shape[0],
        )  # fmt: skip
        found = self._tried(candidates, chosen)
        more = self._neighbors(SECOND_TRY * n)
        if not found.decided and len(more) > len(chosen):
            LOG.info("first probe: these do not decide it; searching with %d patterns", len(more))
            found = self._tried(candidates, more)
        words = f"{found.words}; searched in {time.perf_counter() - start:.2g} s"
        return replace(found, words=words)

    def _tried(self, candidates: np.ndarray, chosen: np.ndarray) -> FoundProbe:
        """The outcome of a race of ``candidates`` with the patterns ``chosen``."""
        cut = self._cut()
        pupil = Pupil(self.pupil.amplitude[cut], self.pupil.stretch)
        race, rng = self._race(pupil, chosen, cut, candidates), np.random.default_rng(SEED)
        for _ in range(FIRST_EPOCHS):
            race.epoch(rng)
        misfit = race.misfit
        best = np.argsort(misfit)[:FINALISTS]
        race.keep(best)
        for _ in range(MORE_EPOCHS):
            race.epoch(rng)
        winner = int(np.argmin(race.misfit))
        near = float(candidates[best[winner]])
        curvature = float(np.clip(refined_curvature(race.probes[winner], pupil, near), -self.limit, self.limit))
        others = np.abs(np.arange(len(candidates)) - best[winner]) > 1
        return self._made(
            curvature,
            f"defocus of {self.shown(curvature)}, pupil {2 * self.pupil.radius_px:.3g} px wide{self._beside()}",
            candidates * self.pupil.radius_px**2,
            misfit,
            decided=not others.any() or bool(misfit[others].min() > CLEAR * misfit.min()),
        )

    def _focus(self, n: int) -> FoundProbe:
        nothing = np.zeros(0)
        return self._made(0.0, f"in focus: {n} patterns at one place do not tell its defocus", nothing, nothing)

    def _made(
        self, curvature: float, words: str, candidates_rad: np.ndarray, misfit: np.ndarray, decided: bool = False
    ) -> FoundProbe:
        return FoundProbe(
            modes=self.pupil.wave(curvature)[None],
            rim_rad=curvature * self.pupil.radius_px**2,
            defocus_m=None if self.rate is None else curvature / self.rate,
            candidates_rad=candidates_rad,
            misfit=misfit,
            decided=decided,
            words=words,
        )

    # -- what is searched ----------------------------------------------------------------------------------------------
    def _curvature_per_m(self) -> float | None:
        r"""Curvature c of the phase :math:`c q^2` by defocus: :math:`-\pi\lambda / E^2` in a window of width E."""
        try:
            grid = geometry.sample_grid(self.scan)
        except GeometryError:
            if self.settings.maximum_defocus is not None:
                raise
            return None
        return -math.pi * grid.wavelength_m / (grid.extent_m[0] * grid.extent_m[1])

    def _limit(self) -> float:
        limit = self.pupil.largest_curvature
        if self.settings.maximum_defocus is not None and self.rate is not None:
            limit = min(limit, self.settings.maximum_defocus * abs(self.rate))
        return limit

    def _candidates(self) -> np.ndarray:
        """Curvatures from one end of the range to the other, in the middle the focus; always an odd number."""
        rim, last = FIRST_RAD / self.pupil.radius_px**2, self.limit
        if last <= rim:
            return np.array([-last, 0.0, last])
        steps = math.ceil(math.log(last / rim) / math.log(RATIO))
        side = np.geomspace(rim, last, steps + 1)
        return np.concatenate([-side[::-1], [0.0], side])

    def shown(self, curvature: float) -> str:
        """A curvature as a distance, or as a phase where energy or pixel size are not known."""
        if self.rate is None:
            return f"{curvature * self.pupil.radius_px**2:.3g} rad at the pupil's rim"
        return _length(curvature / self.rate)

    def _beside(self) -> str:
        y, x = self.pupil.center_px
        return f", (y, x) {y:+.1f}, {x:+.1f} px off the middle of the patterns" if math.hypot(y, x) > 1 else ""

    # -- with which patterns -------------------------------------------------------------------------------------------
    def _one_angle(self) -> np.ndarray:
        """The patterns of the angle that has most of them."""
        angles = np.asarray(self.scan.angle_index)
        return np.flatnonzero(angles == np.argmax(np.bincount(angles)))

    def _neighbors(self, wanted: int) -> np.ndarray:
        """About ``wanted`` neighboring patterns, from where the patterns differ most from their mean."""
        positions = self.scan.probe_positions_px
        if positions is None or len(self.survey.index) < FEWEST or not np.ptp(positions[self.index], axis=0).any():
            return self.index[:1]
        n = min(wanted, max(MINIMUM, len(self.index) // 2), len(self.index))
        tree = scipy.spatial.cKDTree(positions[self.index])
        centers = positions[self.survey.index]
        reach = tree.query(centers, k=n)[0].max(-1)
        near = scipy.spatial.cKDTree(centers).query(centers, k=min(9, len(centers)))[1]
        contrast = np.where(reach <= 1.3 * np.median(reach), self.survey.contrast[near].mean(-1), -1.0)
        chosen = np.sort(self.index[tree.query(centers[np.argmax(contrast)], k=n)[1]])
        total = frames(self.scan, chosen)[0].sum((1, 2))
        typical = np.median(total)
        return chosen[(total > DARK * typical) & (total < BRIGHT * typical)]

    def _cut(self) -> tuple[slice, slice]:
        """The rows and columns of the patterns around the pupil; all of them if that is hardly less."""
        slices = []
        for n, center, band in zip(self.scan.window_px, self.pupil.center_px, self.pupil.band_px, strict=True):
            size = 2 * scipy.fft.next_fast_len(math.ceil(ROOM * band) + EXTRA_PX)
            start = min(max(n // 2 + round(center) - size // 2, 0), n - min(size, n))
            slices.append(slice(start, start + size) if size < n else slice(0, n))
        return slices[0], slices[1]

    def _race(self, pupil: Pupil, chosen: np.ndarray, cut: tuple[slice, slice], candidates: np.ndarray) -> Race:
        counts, valid = (np.fft.ifftshift(a[(slice(None), *cut)], (1, 2)) for a in frames(self.scan, chosen))
        assert self.scan.probe_positions_px is not None  # else there are no neighbors
        coarser = np.array(counts.shape[1:]) / self.scan.window_px
        probes = np.array([pupil.wave(c) for c in candidates])
        positions = self.scan.probe_positions_px[chosen] * coarser
        return Race.of(np.sqrt(counts), valid.astype(np.float32), positions, probes)


def refined_curvature(probe: np.ndarray, pupil: Pupil, near: float) -> float:
    """Curvature of the phase that the pupil of ``probe`` ``(y, x)`` has, wherever in the window it is.

    The start probe with the largest correlation with ``probe`` has it; candidates are within one step of ``near``.
    """
    spectrum = scipy.fft.fft2(probe) * scipy.fft.fft2(pupil.wave(0.0)).conj()
    radius2 = np.fft.ifftshift(pupil.radius2_px)
    step = max(FIRST_RAD / pupil.radius_px**2, (RATIO - 1) * abs(near))
    curvatures = near + step * np.linspace(-1, 1, 61)
    peaks = [np.abs(scipy.fft.ifft2(spectrum * np.exp(-1j * c * radius2))).max() for c in curvatures]
    return float(curvatures[int(np.argmax(peaks))])


def _length(meters: float) -> str:
    """A length in nm, um, mm or m with three digits."""
    for factor, unit in ((1e9, "nm"), (1e6, "um"), (1e3, "mm")):
        if abs(meters) * factor < 1000:
            return f"{meters * factor:.3g} {unit}"
    return f"{meters:.3g} m"
