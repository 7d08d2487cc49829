r"""From the patches that a network predicts to one picture, and how much of it to believe.

Patches are laid where their windows are, with the weights :math:`|P|^2`. The phase offset of each is free, and is found
from the patches around it; amplitudes and unit phase factors are averaged apart. What no beam lit is vacuum, and one
factor, in closed form, brings the predicted amplitudes to those measured:

.. math:: s = \frac{\sum \sqrt{N}\,\sqrt{I}}{\sum I}

The misfit of a frame is :math:`\sum (\sqrt N - \sqrt I)^2 / \sum N`; the part of it that photon noise explains is taken
out. Its ratio to that of vacuum tells whether the network understood the data: 0 is a perfect picture, 1 one as good
as none.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from adorym.networks.ptycho_nn import Core, PtychoNetwork
from adorym.networks.ptycho_training import groups_of
from adorym.networks.scan import Scan
from adorym.optics.windows import clip_corners, corners_and_offsets

LOG = logging.getLogger("adorym")
BATCH = 32
BLOCK = 256  # patterns that are predicted together
ROUNDS = 3  # after the first sweep
SEEN = 0.02  # part of the median coverage of lit pixels below which nothing is believed


@dataclass(frozen=True, eq=False)
class Prediction:
    """A stitched picture.

    Attributes:
        object: ``(y, x)`` complex64; vacuum where nothing was seen.
        coverage: ``(y, x)`` float32, summed illumination, 1 in the median of the pixels that were seen.
        misfit: ``(n,)`` misfit of each frame with the stitched picture, without photon noise.
        vacuum_misfit: ``(n,)`` the same of vacuum.
        scale: The factor that was applied.
        patches: ``(n, y, x)`` complex64, aligned in phase; ``None`` unless kept.
    """

    object: np.ndarray
    coverage: np.ndarray
    misfit: np.ndarray
    vacuum_misfit: np.ndarray
    scale: float
    patches: np.ndarray | None = None

    @property
    def quality(self) -> float:
        """Median misfit over that of vacuum: 0 for a perfect picture, 1 for one that explains nothing."""
        return float(np.median(self.misfit) / max(np.median(self.vacuum_misfit), 1e-12))

    @property
    def diagnostics(self) -> Mapping[str, np.ndarray]:
        """What a result keeps of it."""
        return {
            "network_coverage": self.coverage,
            "network_misfit": self.misfit,
            "network_vacuum_misfit": self.vacuum_misfit,
            "network_quality": np.array(self.quality),
        }


@dataclass(frozen=True, eq=False)
class Frame:
    """Where windows lie in the object array.

    Attributes:
        shape: (y, x) of the array.
        corners_px: ``(n, 2)`` int64 corners of the windows.
        window_px: (y, x).
    """

    shape: tuple[int, int]
    corners_px: np.ndarray
    window_px: tuple[int, int]

    @classmethod
    def of(cls, scan: Scan, shape: tuple[int, int], origin_px: tuple[int, int]) -> Frame:
        """Of a scan in an array whose index ``origin_px`` is the position (0, 0)."""
        corners, _ = corners_and_offsets(scan.positions_px)
        window = scan.dataset.window_px
        return cls(shape, clip_corners(corners + np.asarray(origin_px), shape, window), window)

    def window(self, number: int) -> tuple[slice, slice]:
        """The window of a pattern."""
        (y, x), (ny, nx) = self.corners_px[number], self.window_px
        return slice(y, y + ny), slice(x, x + nx)

    def order(self) -> list[int]:
        """The patterns from the middle of the scan outwards."""
        from_middle = np.linalg.norm(self.corners_px - np.median(self.corners_px, axis=0), axis=1)
        return np.argsort(from_middle, kind="stable").tolist()


def predict_patches(
    network: PtychoNetwork, scan: Scan, core: Core | None = None, index: np.ndarray | None = None
) -> np.ndarray:
    """``(n, y, x)`` complex64: the patch under every pattern, or under those of ``index``.

    A network that was trained on groups sees all patterns of a block together, and those next to it.
    """
    device = next(network.parameters()).device
    network.eval()
    index = np.arange(scan.length) if index is None else index
    found = np.zeros((len(index), *scan.dataset.window_px), np.complex64)
    with torch.inference_mode():
        for block in scan.blocks(index, BATCH if scan.group == 1 else BLOCK):
            seen = scan.around(block)
            batch = scan.groups(seen[:, None] if scan.group == 1 else seen[None])
            patches = network(groups_of(batch, str(device)), core).flatten(0, 1).cpu().numpy()
            found[np.searchsorted(index, block)] = patches[np.searchsorted(seen, block)]
    return found


def predict_scan(
    network: PtychoNetwork,
    scan: Scan,
    shape: tuple[int, int],
    origin_px: tuple[int, int],
    core: Core | None = None,
) -> Prediction:
    """The picture of a scan from one pass of the network, in the frame of an object array.

    Args:
        network: Network.
        scan: Patterns, probe and positions.
        shape: (y, x) of the object array.
        origin_px: (y, x) index in it of the position (0, 0).
        core: What runs the convolutions, if it is not the network itself.
    """
    frame = Frame.of(scan, shape, origin_px)
    patches = predict_patches(network, scan, core)
    obj, coverage, patches = stitched(patches, scan.light, frame)
    root = np.sqrt(scan.photons)
    scale = closed_form_scale(scan, obj * root, frame)
    obj = np.where(coverage > 0, scale * obj, 1)
    vacuum = np.ones_like(obj)
    return Prediction(
        object=obj.astype(np.complex64),
        coverage=coverage.astype(np.float32),
        misfit=misfits(scan, obj * root, frame),
        vacuum_misfit=misfits(scan, vacuum * closed_form_scale(scan, vacuum * root, frame) * root, frame),
        scale=scale,
        patches=scale * patches,
    )


def stitched(patches: np.ndarray, light: np.ndarray, frame: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One picture from patches whose phase offsets are free.

    Args:
        patches: ``(n, y, x)`` complex.
        light: ``(n, y, x)`` illumination, the weights.
        frame: Where they lie.

    Returns:
        Picture ``(y, x)``, coverage ``(y, x)`` (0 where nothing was seen), and the patches with their offsets removed.
    """
    order, turned = frame.order(), np.array(patches)
    total, turns = np.zeros(frame.shape), np.zeros(frame.shape, complex)
    for number in order:
        # Against what lies there already: from the middle outwards every patch meets another, if any overlaps it.
        _turn(turned, light, frame, turns, number)
        total[frame.window(number)] += light[number]
        turns[frame.window(number)] += light[number] * _unit(turned[number])
    for _ in range(ROUNDS):
        for number in order:
            turns[frame.window(number)] -= light[number] * _unit(turned[number])
            _turn(turned, light, frame, turns, number)
            turns[frame.window(number)] += light[number] * _unit(turned[number])
    amplitude = np.zeros(frame.shape)
    for number in order:
        amplitude[frame.window(number)] += light[number] * np.abs(turned[number])
    lit = total > 1e-3 * total.max()
    coverage = total / np.median(total[lit])
    coverage = np.where(coverage >= SEEN, coverage, 0)
    phase = np.angle(turns * np.exp(-1j * np.angle((turns * coverage).sum())))
    picture = amplitude / np.maximum(total, 1e-12) * np.exp(1j * phase)
    return np.where(coverage > 0, picture, 1), coverage, turned


def _turn(turned: np.ndarray, light: np.ndarray, frame: Frame, turns: np.ndarray, number: int) -> None:
    """Give patch ``number`` the phase offset of what surrounds it."""
    common = np.sum(light[number] * turns[frame.window(number)] * turned[number].conj())
    if np.abs(common) > 0:
        turned[number] = turned[number] * (common / np.abs(common))


def _unit(patch: np.ndarray) -> np.ndarray:
    return patch / np.maximum(np.abs(patch), 1e-12)


# -- measured against predicted ----------------------------------------------------------------------------------------
def closed_form_scale(scan: Scan, obj: np.ndarray, frame: Frame) -> float:
    """The factor on ``obj`` that fits the amplitudes of the patterns best."""
    cross = power = 0.0
    for counts, predicted, _ in _compared(scan, obj, frame):
        cross += float(np.sum(np.sqrt(counts) * np.sqrt(predicted)))
        power += float(predicted.sum())
    return cross / max(power, 1e-12)


def misfits(scan: Scan, obj: np.ndarray, frame: Frame) -> np.ndarray:
    """``(n,)`` misfit of each pattern, without the part that photon noise explains, not below 0."""
    return np.concatenate([_misfit(*each) for each in _compared(scan, obj, frame)])


@cache
def _noise_of_roots() -> tuple[np.ndarray, np.ndarray]:
    r"""Expected counts, and :math:`\langle(\sqrt N - \sqrt I)^2\rangle` of a Poisson count N with that expectation I.

    2 I where photons are rare, 0.45 at one, 1/4 where there are many.
    """
    from scipy.stats import poisson  # slow to import

    mean, number = np.concatenate([[0.0], np.geomspace(1e-4, 100, 80)]), np.arange(260)
    root = np.array([float(np.sum(np.sqrt(number) * poisson.pmf(number, m))) for m in mean])
    return mean, 2 * mean - 2 * np.sqrt(mean) * root


def patch_misfits(scan: Scan, patches: np.ndarray, index: np.ndarray) -> np.ndarray:
    """``(k,)`` misfit of the patterns ``index`` with their own patches ``(k, y, x)``, as `misfits` has it."""
    counts, good = scan.read(index)
    _, offsets = corners_and_offsets(scan.positions_px[index])
    waves = np.fft.fft2(scan.shifted(offsets) * patches[:, None], norm="ortho")
    predicted = scan.photons * np.sum(np.abs(waves) ** 2, axis=1) * (1 if good is None else good)
    return _misfit(counts, predicted, good)


def _misfit(counts: np.ndarray, predicted: np.ndarray, good: np.ndarray | None) -> np.ndarray:
    noise = np.interp(predicted, *_noise_of_roots()) * (1 if good is None else good)
    excess = ((np.sqrt(counts) - np.sqrt(predicted)) ** 2 - noise).sum((-2, -1))
    return np.asarray(np.maximum(excess, 0) / np.maximum(counts.sum((-2, -1)), 1))


def _compared(scan: Scan, obj: np.ndarray, frame: Frame) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """Counts, prediction and valid pixels of some patterns at a time, from an object in the units of the counts."""
    _, offsets = corners_and_offsets(scan.positions_px)
    for start in range(0, scan.length, BATCH):
        index = np.arange(start, min(start + BATCH, scan.length))
        counts, good = scan.read(index)
        windows = np.stack([obj[frame.window(i)] for i in index.tolist()])
        waves = np.fft.fft2(scan.shifted(offsets[index]) * windows[:, None], norm="ortho")
        predicted = np.sum(np.abs(waves) ** 2, axis=1)
        yield counts, predicted if good is None else predicted * good, good


def corrected(scan: Scan, obj: np.ndarray, frame: Frame, rounds: int) -> np.ndarray:
    r"""``obj`` after simultaneous corrections of all patterns, the probe fixed.

    :math:`O \leftarrow O + \sum P^*(\psi' - \psi) / (\sum |P|^2 + \alpha)` with the moduli of :math:`\psi'` replaced by
    those measured; a quick look at where an object leads, for comparing starts.
    """
    _, offsets = corners_and_offsets(scan.positions_px)
    made, root = np.array(obj, np.complex128), np.sqrt(scan.photons)
    for _ in range(rounds):
        step, light = np.zeros(frame.shape, complex), np.zeros(frame.shape)
        for start in range(0, scan.length, BATCH):
            index = np.arange(start, min(start + BATCH, scan.length))
            counts, good = scan.read(index)
            probe = scan.shifted(offsets[index]) * root
            waves = np.fft.fft2(
                probe * np.stack([made[frame.window(i)] for i in index.tolist()])[:, None], norm="ortho"
            )
            factor = np.sqrt(counts / np.maximum(np.sum(np.abs(waves) ** 2, axis=1), 1e-9)) - 1
            factor = factor if good is None else factor * good
            back = np.sum(probe.conj() * np.fft.ifft2(waves * factor[:, None], norm="ortho"), axis=1)
            for i, each, lit in zip(index.tolist(), back, np.sum(np.abs(probe) ** 2, axis=1), strict=True):
                step[frame.window(i)] += each
                light[frame.window(i)] += lit
        made += step / (light + 1e-2 * light.max())
    return made
