"""The convention for what the data of a scan leave open: how a factor is shared out between object and probe.

Results hold the object that is 1 in vacuum, and the probe that goes with it: its power is then the number of photons
in the beam. Without vacuum in the field of view the beam's counts fix the probe: those of `ProbeSettings.power` or of
the model, else as many as the brightest patterns have, since no object makes the beam brighter.

States of an object are open up to a unitary mixture. Results hold those that are orthogonal in the light of the beam,
the strongest first, which is the coherent mean of them all if they are much alike; it is 1 in vacuum.

The run itself, and its checkpoint, keep the present factor: a run that is resumed, for more epochs too, has to continue
bit by bit. The factor is found from what the beam sees, not from the store's layout, and is the same in every store and
on any number of ranks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from adorym.engine.problem import Problem
from adorym.forward.time_course import TIME, at_present
from adorym.forward.views import ScanWindows
from adorym.optics.vacuum import Passed, passed, places
from adorym.parameters import OBJECT, PROBE
from adorym.storage.base import Windows

# Pixels of the windows that are looked at, evenly over the scan, and how many windows at most; pixels at once.
PIXELS, PATTERNS, AT_ONCE = 4 << 20, 400, 1 << 18
# Patterns as bright as this percentile have the beam's counts, if no vacuum shows them.
BRIGHTEST = 98
# Factors this close to 1 are left alone: they are rounding errors of an object that has the convention's factor.
SETTLED = 1e-5


@dataclass(frozen=True)
class Share:
    """How results differ from the values in the run.

    Attributes:
        of_object: ``(slices,)`` factors of the object; empty for none.
        of_probe: Factor of the probe.
        by: What fixes them, in words; empty if the data or constraints do.
        mixture: ``(states, states)`` by which the states of the object are mixed; empty for an object of one state.
    """

    of_object: np.ndarray
    of_probe: complex = 1.0
    by: str = ""
    mixture: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))

    def scaled(self, problem: Problem, rows: np.ndarray) -> np.ndarray:
        """Rows of the unknown with the object's factor, its states mixed."""
        rows = (rows @ self.mixture).astype(rows.dtype) if self.mixture.size else rows
        if not self.of_object.size:
            return rows
        factor = self.of_object if rows.ndim > 2 else self.of_object[0]
        return np.asarray(problem.bound.space.scaled(rows, factor), rows.dtype)


def share(problem: Problem) -> Share:
    """The factors that bring object and probe to the convention; collective."""
    mixed = problem.bound.space.states > 1
    if not mixed and not _open(problem):
        return Share(np.zeros(0))
    beam = (np.abs(np.asarray(problem.present()[PROBE], np.complex128)) ** 2).sum(-3)
    beam = beam if beam.ndim == 2 else beam.mean(0)  # of several scans
    mixture = _mixture(problem, beam) if mixed else np.zeros((0, 0))
    found = _factors(problem, beam, mixture) if _open(problem) else Share(np.zeros(0))
    return replace(found, mixture=mixture)


def _factors(problem: Problem, beam: np.ndarray, mixture: np.ndarray) -> Share:
    """The factors for a beam of intensity ``beam``, of an object that the data determine up to a factor."""
    whole, slices = _slices(problem, beam, mixture)
    values = [each.vacuum_value for each in slices]
    found = [value for value in values if value is not None]
    if len(found) == len(values):
        return _share(1 / np.array(found, np.complex128), "the object is 1 in vacuum")
    power = float(beam.sum())
    given = getattr(problem.bound.settings[PROBE], "power", None) or problem.bound.beam_counts
    brightest = power * float(np.percentile(whole, BRIGHTEST))
    factor = math.sqrt((given or brightest) / power)
    by = "as many as are given" if given else "no vacuum is seen: as many as the brightest patterns have"
    return _share(np.full(len(slices), factor ** (-1 / len(slices)), complex), by)


def _share(of_object: np.ndarray, by: str) -> Share:
    """The factors, and what the probe makes up for; none if they are 1."""
    if np.abs(of_object - 1).max() < SETTLED:
        return Share(np.zeros(0), by=by)
    return Share(of_object, complex(1 / np.prod(of_object)), by)


def _open(problem: Problem) -> bool:
    """Whether the data leave the factor open, and no constraint fixes it."""
    if PROBE not in problem.values or not isinstance(problem.bound.view, ScanWindows):
        return False
    refined = problem.obj.settings.refine and problem.values[PROBE].settings.refine
    fixed = any(each.parameter in (OBJECT, PROBE) and not each.scale_free for each in problem.constraints)
    known = problem.values[PROBE].first.ndim in (3, 4)
    return refined and known and not fixed and problem.bound.space.scaled(np.ones(1, complex), 1.0) is not None


def _windows(problem: Problem) -> Iterator[np.ndarray]:
    """The object ``(n, y, x, z)`` at some positions, evenly over the scan."""
    n, xp, size = problem.dataset.n_patterns, problem.xp, math.prod(problem.dataset.window_px)
    number = max(min(n, 9), min(n, PATTERNS, PIXELS // size))
    index = np.unique(np.linspace(0, n - 1, number).astype(int))
    for part in np.array_split(index, -(-len(index) * size // AT_ONCE)):
        if not len(part):
            continue
        windows = Windows(problem.corners_px(part), problem.dataset.window_px)
        unknown = problem.bound.space.to_object(xp, problem.store.gather(windows), {})
        if TIME in problem.values:
            unknown = at_present(xp, unknown, {TIME: xp.asarray(problem.values[TIME].on_host(xp)[part])})
        seen = xp.to_numpy(unknown)
        yield np.asarray(seen if seen.ndim == 4 else seen[..., None], np.complex128)


def _mixture(problem: Problem, beam: np.ndarray) -> np.ndarray:
    """``(states, states)`` unitary: what the states are multiplied by to be orthogonal, the strongest first."""
    gram = sum(np.einsum("nyxk,nyxl,yx->kl", seen.conj(), seen, beam, optimize=True) for seen in _windows(problem))
    vectors = np.linalg.eigh(gram)[1][:, ::-1]
    largest = vectors[np.abs(vectors).argmax(0), np.arange(len(vectors))]
    return np.asarray(vectors * (np.abs(largest) / largest))


def _slices(problem: Problem, beam: np.ndarray, mixture: np.ndarray) -> tuple[np.ndarray, list[Passed]]:
    """Part of the beam that passes at each position, and what it finds in each slice, or in the strongest state."""
    found: list[list[Passed]] = []
    whole = []
    for seen in _windows(problem):
        seen = seen @ mixture[:, :1] if mixture.size else seen
        whole.append(np.einsum("nyx,yx->n", np.abs(np.prod(seen, axis=-1)) ** 2, beam) / beam.sum())
        for place in places(beam):
            found.append([passed(seen[(slice(None), *place, z)], beam[place]) for z in range(seen.shape[-1])])
    slices = [
        Passed(np.concatenate([each.power for each in parts]), np.concatenate([each.mean for each in parts]))
        for parts in zip(*found, strict=True)
    ]
    return np.concatenate(whole), slices
