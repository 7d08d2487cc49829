r"""Filtered back-projection: the direct inversion of line integrals, and the search for the rotation axis.

.. math:: f(x, z) = \tfrac12 \int_0^{2\pi} (p_\theta * h)(x\cos\theta + z\sin\theta)\,d\theta

with the band-limited ramp h (Ramachandran & Lakshminarayanan, PNAS 68, 2236 (1971); Kak & Slaney, *Principles of
Computerized Tomographic Imaging*, section 3.3). Each angle is weighted by its part of the half circle, so 360 degrees,
uneven and repeated angles are treated correctly; a missing wedge is not filled. Rows are independent; poses are those
of `adorym.optics.poses`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from adorym.errors import DataError
from adorym.optics.half_acquisition import axis_of_turn, cut_edges, is_whole_turn, widened
from adorym.wrapper import fused

START = logging.getLogger("adorym.start")
SEARCH_STEPS_PX = (2.0, 0.5, 0.125)
WHOLE_TURN_RAD = 1.5 * np.pi
AT_ONCE = 2**25  # voxels of candidates that are reconstructed together
COARSE_PX = 400  # wider detectors are binned for the first steps


def ramp_filtered(integrals: np.ndarray, shifts_px: np.ndarray | None = None) -> np.ndarray:
    """Convolve ``integrals`` ``(..., x)`` with the ramp, padded so that nothing wraps around; edges are continued.

    With ``shifts_px`` ``(k,)``: ``(..., k, x)``, each copy moved towards smaller x by a shift, and the ramp rolled off
    towards the Nyquist frequency (Hann), against noise.
    """
    width = integrals.shape[-1]
    size = 1 << int(np.ceil(np.log2(2 * width)))
    n = np.fft.fftfreq(size, 1 / size)
    with np.errstate(divide="ignore"):
        kernel = np.where(n % 2 == 1, -1 / (np.pi * n) ** 2, 0.0)
    kernel[0] = 0.25
    room = size - width
    padded = np.pad(integrals, [(0, 0)] * (integrals.ndim - 1) + [(room // 2, room - room // 2)], mode="edge")
    spectrum = np.fft.rfft(padded) * np.fft.rfft(kernel).real
    if shifts_px is not None:
        f = np.fft.rfftfreq(size)
        spectrum = spectrum[..., None, :] * (np.exp(2j * np.pi * f * shifts_px[:, None]) * np.cos(np.pi * f) ** 2)
    return np.fft.irfft(spectrum, size)[..., room // 2 : room // 2 + width]


def angle_weights(theta_rad: np.ndarray, period_rad: float = np.pi) -> np.ndarray:
    """Part of the half circle, or of another period, in rad, of each angle: half the distance to its neighbors.

    At the edges of a missing wedge it is limited to the median.
    """
    folded = np.mod(theta_rad, period_rad)
    order = np.argsort(folded, kind="stable")
    gaps = np.diff(np.concatenate([folded[order], [folded[order[0]] + period_rad]]))
    gaps = np.minimum(gaps, 4 * np.median(gaps[gaps > 1e-9])) if (gaps > 1e-9).any() else gaps
    weights = np.empty(len(theta_rad))
    weights[order] = (gaps + np.roll(gaps, 1)) / 2
    return weights


def about_y(theta_rad: np.ndarray, center_px: float | np.ndarray = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Matrices ``(a, 3, 3)`` and shifts ``(a, 3)`` of poses about y, the axis ``center_px`` from the middle."""
    c, s, zero, one = np.cos(theta_rad), np.sin(theta_rad), 0 * theta_rad, 1 + 0 * theta_rad
    matrices = np.stack([one, zero, zero, zero, c, -s, zero, s, c], axis=-1).reshape(-1, 3, 3)
    return matrices, -matrices[:, :, 1] * np.reshape(center_px, (-1, 1))


def filtered_back_projection(
    integrals: np.ndarray, theta_rad: np.ndarray, center_px: float = 0.0, width_px: int | None = None
) -> np.ndarray:
    """The volume ``(y, x, z)`` float32 whose line integrals are ``integrals`` ``(a, y, x)``, in units of the voxel.

    Args:
        integrals: Line integrals.
        theta_rad: ``(a,)`` angles.
        center_px: x of the rotation axis from the detector's middle.
        width_px: Size of the volume along x and z; the detector's width if absent. Wider than that, both halves of a
            whole turn are joined (`adorym.optics.half_acquisition`).
    """
    width, period = width_px or integrals.shape[2], np.pi
    if width > integrals.shape[2] and is_whole_turn(theta_rad):
        integrals, period = widened(integrals, center_px), 2 * np.pi
    weighted = ramp_filtered(integrals) * angle_weights(theta_rad, period)[:, None, None]
    given = np.ascontiguousarray(np.moveaxis(weighted, 1, 2), dtype=np.float32)
    volume = np.zeros((width, width, integrals.shape[1]), np.float32)
    fused.ray_kernels.back_project_rows(given, *about_y(theta_rad, center_px), volume)
    return np.ascontiguousarray(np.moveaxis(volume, -1, 0))


@dataclass(frozen=True)
class RotationCenter:
    """The result of the search for the rotation axis.

    Attributes:
        center_px: x of the axis from the detector's middle.
        candidates_px: ``(k,)`` all centers that were tried, in order.
        metric: ``(k,)`` error measure of each, smallest for the best.
        on_border: Whether the best is the first or the last candidate, so that the axis may be outside the range.
        measure: What the metric is: the negativity of the reconstruction; over a whole turn its lack of contrast, or
            the disagreement of opposite projections.
    """

    center_px: float
    candidates_px: np.ndarray
    metric: np.ndarray
    on_border: bool
    measure: str = "negativity"

    @property
    def doubt(self) -> float:
        """The measure of the best over that of the best one that is clearly elsewhere; 1 if they fit equally well."""
        apart = np.abs(self.candidates_px - self.center_px) > max(2.0, 0.1 * float(np.ptp(self.candidates_px)))
        if not apart.any():
            return 1.0
        best, other = float(self.metric.min()), float(self.metric[apart].min())
        return best / other if best >= 0 else other / best

    @property
    def words(self) -> str:
        """One line for the log."""
        return f"{self.center_px:.2f} px from the middle, {self.measure} {100 * self.doubt:.0f} % of that elsewhere"


def find_rotation_center(
    integrals: np.ndarray, theta_rad: np.ndarray, reach_px: float | None = None, start_px: float | None = None
) -> RotationCenter:
    """The axis for which the reconstruction of a row is least negative.

    A wrong axis doubles edges and causes negative streaks (Donath, Beckmann & Schreyer, J. Opt. Soc. Am. A 23, 1048
    (2006)). The search starts at the estimate from the center of mass, covers ``reach_px`` to both sides in steps of
    2 pixels, and refines around the best to an eighth of a pixel. Over a whole turn the reconstruction with the highest
    contrast is chosen.

    Args:
        integrals: ``(a, x)`` line integrals of one row (not transmissions).
        theta_rad: ``(a,)`` angles; they should cover nearly half a turn at least.
        reach_px: A tenth of the width if absent.
        start_px: Middle of the search.

    Raises:
        DataError: The row is empty, or looks like transmissions.
    """
    if not np.isfinite(integrals).all() or integrals.sum() <= 0:
        raise DataError("rotation center", "the row holds no line integrals of matter", expected="positive on average",
                        remedy="choose another row, or give 'forward_model.center'")  # fmt: skip
    width = integrals.shape[1]
    edges, middle = (
        np.concatenate([integrals[:, :3], integrals[:, -3:]], axis=1),
        integrals[:, width // 3 : -width // 3],
    )
    if integrals.min() >= 0 and edges.mean() > middle.mean():
        raise DataError("rotation center", "the row is brighter outside than inside: these look like transmissions",
                        expected="line integrals, -log(I / I0)", remedy="take the logarithm first")  # fmt: skip
    if reach_px is None and start_px is None and is_whole_turn(theta_rad) and any(cut_edges(integrals)):
        center, candidates, apart = axis_of_turn(integrals, theta_rad)
        on_border = bool(abs(center) >= candidates[-1])
        return RotationCenter(center, candidates, apart, on_border, "disagreement of opposite projections")
    best = _axis_of_mass(integrals, theta_rad) if start_px is None else start_px
    span = max(8.0, width / 10) if reach_px is None else reach_px
    tried: dict[float, float] = {}
    curve: dict[float, float] = {}
    low, high, binned = best - span, best + span, False
    for step in SEARCH_STEPS_PX:
        candidates = best + step * np.arange(-round(span / step), round(span / step) + 1)
        candidates = candidates[(candidates >= low - 1e-9) & (candidates <= high + 1e-9)]
        faults = _searched(integrals, theta_rad, candidates, step)
        # Values of a binned sinogram do not compare with others.
        tried = ({} if binned else tried) | dict(zip(candidates.tolist(), faults, strict=True))
        curve = curve if curve and _factor(width, SEARCH_STEPS_PX[0]) > 1 else tried
        best, span, binned = min(tried, key=tried.__getitem__), 2 * step, _factor(width, step) > 1
    found = np.array(sorted(curve))
    on_border = bool(min(abs(best - low), abs(best - high)) < SEARCH_STEPS_PX[-1] / 2)
    measure = "contrast" if np.ptp(theta_rad) > WHOLE_TURN_RAD else "negativity"
    return RotationCenter(float(best), found, np.array([curve[c] for c in found]), on_border, measure)


def _factor(width: int, step_px: float) -> int:
    """By how much the columns are binned for a step."""
    return 2 if width >= COARSE_PX and step_px >= SEARCH_STEPS_PX[0] else 1


def _searched(integrals: np.ndarray, theta_rad: np.ndarray, centers_px: np.ndarray, step_px: float) -> list[float]:
    """`_faults` of all centers, some at a time, with a line about the progress; coarse steps on binned columns."""
    width, factor = integrals.shape[1], _factor(integrals.shape[1], step_px)
    if factor > 1:
        even = integrals[:, : width // 2 * 2]  # without the last column the middle of an odd width is elsewhere
        integrals = even.reshape(len(even), -1, factor).mean(axis=2)
        centers_px = centers_px + (width % 2) / 2
    # The circle includes the surroundings of the sample, where artifacts show best.
    size, found = max(1, AT_ONCE // integrals.shape[1] ** 2), []
    for first in range(0, len(centers_px), size):
        chosen = centers_px[first : first + size] / factor
        found += _faults(integrals, theta_rad, chosen, integrals.shape[1] / 2 - 2)
        if len(centers_px) * integrals.shape[1] ** 2 > AT_ONCE:
            done = min(first + size, len(centers_px))
            START.info("rotation axis, steps of %g px: %d of %d tried", step_px, done, len(centers_px))
    return found


def _axis_of_mass(integrals: np.ndarray, theta_rad: np.ndarray) -> float:
    """Offset of the sine fitted to the center of mass; within the detector."""
    x = np.arange(integrals.shape[1]) - (integrals.shape[1] - 1) / 2
    mass = integrals.sum(1)
    center = integrals @ x / np.where(mass > 0, mass, np.inf)
    terms = np.stack([np.ones_like(theta_rad), np.cos(theta_rad), np.sin(theta_rad)], axis=1)
    found = float(np.linalg.lstsq(terms, center, rcond=None)[0][0])
    return found if abs(found) < integrals.shape[1] / 4 else 0.0


def _faults(integrals: np.ndarray, theta_rad: np.ndarray, centers_px: np.ndarray, radius_px: float) -> list[float]:
    """Error measure of the reconstruction within a circle, for each center.

    Over half a turn it is the sum of negative values divided by the sum of all magnitudes. Over a whole turn streaks of
    opposite angles cancel and a wrong axis only blurs, so it is the negative mean square. The sinogram is shifted
    instead of the axis, so that all centers are reconstructed at once, as rows of a volume.
    """
    moved = ramp_filtered(integrals, centers_px) * angle_weights(theta_rad)[:, None, None]
    width = integrals.shape[1]
    volume = np.zeros((width, width, len(centers_px)), np.float32)
    given = np.ascontiguousarray(np.moveaxis(moved, 1, 2), dtype=np.float32)
    fused.ray_kernels.back_project_rows(given, *about_y(theta_rad), volume)
    from_middle = np.arange(width) - (width - 1) / 2
    inside = volume[np.hypot(from_middle[:, None], from_middle) <= radius_px]
    if np.ptp(theta_rad) > WHOLE_TURN_RAD:
        return (-np.square(inside, dtype=np.float64).mean(0)).tolist()
    return (-np.minimum(inside, 0).sum(0) / np.abs(inside).sum(0)).tolist()
