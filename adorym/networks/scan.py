"""A measured scan as groups of neighboring patterns, for the training and for the predictions of a network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.data.dataset import Dataset
from adorym.errors import DataError
from adorym.networks.pattern_source import GroupBatch, PatternSource
from adorym.optics.modes import beam_diameter_px, scale_power
from adorym.optics.shift import shift_kernel
from adorym.optics.windows import corners_and_offsets
from adorym.wrapper import get_backend

NEAR = 0.6  # neighbors are looked for within this part of the beam's diameter
CANDIDATES = 24
NEXT = 8  # patterns next to one, which a prediction looks at as well
WHOLE = 1e-6  # of the largest value: so far from whole numbers may counts be that were kept as amplitudes


@dataclass(frozen=True, eq=False)
class Scan(PatternSource):
    """The patterns of one scan of a thin object, with the probe that made them.

    Attributes:
        dataset: The data.
        probe: ``(m, y, x)`` complex, of any power.
        group: Patterns in a group of a training: each with neighbors that overlap it and lie far from each other. A
            network of groups predicts many patterns that lie close together at once.
        seed: Of the order in a training.
        rows: Patterns of the data set that belong to the scan, such as those of one angle; all if absent.

    Raises:
        DataError: There are no positions, or too few for a group.
    """

    dataset: Dataset
    probe: np.ndarray
    group: int = 1
    seed: int = 0
    rows: np.ndarray | None = None

    def __post_init__(self) -> None:
        positions = self.dataset.probe_positions_px
        if self.rows is None:
            object.__setattr__(self, "rows", np.arange(self.dataset.n_patterns))
        object.__setattr__(self, "length", len(self.own_rows))
        if positions is None or self.length < self.group:
            raise DataError(
                self.dataset.path, "the network looks at groups of neighboring patterns",
                expected=f"a scan of at least {self.group} positions",
                found="no positions" if positions is None else self.length,
            )  # fmt: skip
        object.__setattr__(self, "probe", scale_power(np.asarray(self.probe, np.complex128), 1.0))

    @property
    def own_rows(self) -> np.ndarray:
        """``(n,)`` int, number in the data set of each pattern."""
        assert self.rows is not None  # filled in at the start
        return self.rows

    @property
    def positions_px(self) -> np.ndarray:
        """``(n, 2)`` float64."""
        assert self.dataset.probe_positions_px is not None  # checked at the start
        return self.dataset.probe_positions_px[self.own_rows]

    @cached_property
    def _near(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Distances ``(n, k)`` and numbers ``(n, k)`` of the nearest patterns, and how far a neighbor may be."""
        many = min(CANDIDATES, self.length)
        distance, found = scipy.spatial.cKDTree(self.positions_px).query(self.positions_px, k=many)
        own = float(np.median(distance[:, min(self.group, many) - 1]))
        return distance, found, max(NEAR * beam_diameter_px(self.probe), own)

    def neighbors(self, index: np.ndarray) -> np.ndarray:
        """``(k, c)`` patterns of the groups of the patterns ``index`` ``(k,)``, its own first."""
        if self.group == 1:
            return index[:, None]
        distance, found, reach = self._near
        return np.array([self._spread(i, found[i][distance[i] <= reach], found[i]) for i in index.tolist()])

    def around(self, index: np.ndarray) -> np.ndarray:
        """The patterns ``index`` and those next to them, sorted."""
        if self.group == 1:
            return index
        return np.union1d(index, self._near[1][index, : NEXT + 1])

    def blocks(self, index: np.ndarray, most: int) -> list[np.ndarray]:
        """``index`` in parts of at most ``most`` patterns that lie close together."""
        if len(index) <= most:
            return [index]
        places = self.positions_px[index]
        order = np.argsort(places[:, int(np.argmax(np.ptp(places, axis=0)))], kind="stable")
        half = len(index) // 2
        return [part for own in (order[:half], order[half:]) for part in self.blocks(np.sort(index[own]), most)]

    def _spread(self, own: int, near: np.ndarray, nearest: np.ndarray) -> list[int]:
        """``own`` and neighbors, each as far as possible from those already taken; the nearest if there are too few."""
        pool = (near if len(near) >= self.group else nearest[: max(self.group, len(near))]).tolist()
        taken = [own]
        while len(taken) < self.group:
            rest = [i for i in pool if i not in taken]
            apart = [np.min(np.linalg.norm(self.positions_px[i] - self.positions_px[taken], axis=1)) for i in rest]
            taken.append(rest[int(np.argmax(apart))])
        return taken

    @cached_property
    def photons(self) -> float:
        """Photons of the beam in a pattern: the mean counts, completed by what vacuum sends into masked pixels."""
        counts, good = self.read(np.arange(self.length))
        vacuum = np.sum(np.abs(np.fft.fft2(self.probe, norm="ortho")) ** 2, axis=0)
        seen = float(vacuum.sum()) if good is None else float((vacuum * good).sum((-2, -1)).mean())
        if counts.sum() <= 0:
            raise DataError(self.dataset.path, "no counts in any valid pixel", remedy="check the patterns and the mask")
        return float(counts.sum((-2, -1)).mean()) / max(seen, 1e-6)

    def read(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Counts ``(n, y, x)`` float32 and valid pixels ``(n or 1, y, x)``, zero frequency at the corner."""
        data, index = self.dataset, self.own_rows[index]
        read = data.patterns.read(index)
        mask = None if data.mask is None else data.mask[None] if data.mask.ndim == 2 else data.mask[index]
        good = np.isfinite(read) if mask is None else np.isfinite(read) & mask
        if data.saturation_counts is not None:
            good &= read < data.saturation_counts
        counts = np.maximum(np.where(good, read, 0), 0)
        counts = counts**2 if data.measured == "amplitude" else counts
        counts, good = (np.fft.ifftshift(a, axes=(-2, -1)) for a in (counts, good))
        return counts.astype(np.float32), None if good.all() else good

    @property
    def light(self) -> np.ndarray:
        """``(n, y, x)`` illumination of each window."""
        return np.sum(np.abs(self.shifted(corners_and_offsets(self.positions_px)[1])) ** 2, axis=1)

    def off_center_px(self) -> float:
        """Detector pixels from the center of mass of the beam's far field to that of the mean pattern."""
        counts, good = self.read(np.arange(self.length))
        vacuum = np.sum(np.abs(np.fft.fft2(self.probe, norm="ortho")) ** 2, axis=0)
        seen = vacuum if good is None else vacuum * good.mean(0)
        return float(np.linalg.norm(np.subtract(*(_center(each) for each in (counts.mean(0), seen)))))

    def groups(self, chosen: np.ndarray) -> GroupBatch:
        """Groups ``(b, c)`` of patterns."""
        counts, good = self.read(chosen.ravel())
        window, shape = counts.shape[-2:], chosen.shape
        corners, offsets = corners_and_offsets(self.positions_px[chosen.ravel()])
        corners = corners.reshape(*shape, 2)
        if good is not None:
            good = good.reshape(*shape, *window) if len(good) == len(counts) else good[None]
        return GroupBatch(
            counts=counts.reshape(*shape, *window),
            probe=self.shifted(offsets).reshape(*shape, *self.probe.shape),
            corners_px=corners - corners.min(1, keepdims=True),
            photons=np.full((len(chosen), 1, 1, 1), self.photons, np.float32),
            good=good,
        )

    def shifted(self, offsets: np.ndarray) -> np.ndarray:
        """The probe ``(n, m, y, x)`` complex64 at sub-pixel ``offsets`` ``(n, 2)``."""
        xp = get_backend("autograd", precision="double")
        ny, nx = self.probe.shape[-2:]
        kernel = xp.to_numpy(shift_kernel(xp, (ny, nx), offsets))
        return np.fft.ifft2(np.fft.fft2(self.probe) * kernel[:, None]).astype(np.complex64)

    def batch(self, number: tuple[int, ...], size: int) -> GroupBatch:
        """Groups for a training: of counts, each photon is seen or unseen by chance."""
        rng = np.random.default_rng((self.seed, *number))
        made = self.groups(self.neighbors(rng.choice(self.length, size, replace=size > self.length)))
        whole = np.rint(made.counts)
        if np.abs(made.counts - whole).max() > WHOLE * max(whole.max(), 1):
            return made
        seen = rng.binomial(whole.astype(np.int64), 0.5)
        return replace(
            made,
            counts=seen.astype(np.float32),
            unseen=(whole - seen).astype(np.float32),
            photons=made.photons / 2,
        )


def _center(pattern: np.ndarray) -> np.ndarray:
    """(y, x) center of mass of a pattern with the zero frequency at its corner."""
    pattern = np.fft.fftshift(pattern)
    return np.array([np.sum(pattern * each) for each in np.indices(pattern.shape)]) / max(np.sum(pattern), 1e-12)
