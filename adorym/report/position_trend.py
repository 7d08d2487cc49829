r"""The affine trend of refined probe positions: what they say about energy, distance and motors.

Refinement corrects every position by itself. What all corrections have in common, the map
:math:`\mathbf r' = M\mathbf r + \mathbf t` from recorded to refined positions, is seldom chance: positions in meters
become pixels by the pixel size :math:`\Delta = \lambda z/(N p)`, so that a wrong photon energy or distance scales both
axes alike, while motors that are not calibrated scale one of them, and axes that are not at right angles shear.

A scale common to both axes is soft: object and probe can stretch with it, and the loss hardly changes. Refinement
takes up only a part of it, more of it with more epochs, so that what it finds bounds the true error from below.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adorym.data.result import Result
from adorym.errors import DataError
from adorym.metrics.positions import AffinePart, position_errors
from adorym.report.text import number, quantity

# A scale counts where it exceeds chance three times, and what a start probe with a wrong defocus makes: object, probe
# and positions then stretch together, by half a per cent.
SIGNIFICANT, SMALLEST = 3.0, 1e-2
SMALLEST_TURN_RAD = np.deg2rad(0.5)


@dataclass(frozen=True)
class PositionTrend:
    """How refined positions differ from the recorded ones as a whole.

    Attributes:
        rms_px: Root mean square length of the corrections, their mean removed.
        rms_affine_px: The same with the affine map removed.
        shift_px: (y, x) mean correction; 0 where a common shift, which the data cannot determine, is taken out.
        affine: That map, from recorded to refined positions.
        pixel_size_m: (y, x) pixel size with which the recorded positions became pixels, if it is known.
    """

    rms_px: float
    rms_affine_px: float
    shift_px: tuple[float, float]
    affine: AffinePart
    pixel_size_m: tuple[float, float] | None = None

    @property
    def scale(self) -> str:
        """The scales in per cent, ``scale y −0.82 %, x −0.79 %``."""
        y, x = (_percent(scale - 1) for scale in self.affine.scale)
        return f"scale y {y}, x {x}"

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Name and value of every number, as text."""
        affine = self.affine
        y, x = (f"{_percent(s - 1)} ± {100 * e:.2f} %" for s, e in zip(affine.scale, affine.scale_error, strict=True))
        shifts = (f"{round(shift, 3) + 0.0:.3f}" for shift in self.shift_px)  # -0.0 + 0.0 is 0.0
        return [
            ("Correction, mean removed", f"{number(self.rms_px, 3)} px rms"),
            ("Correction, affine map removed", f"{number(self.rms_affine_px, 3)} px rms"),
            ("Scale in y", y),
            ("Scale in x", x),
            ("Shear of y with x", _percent(affine.shear)),
            ("Rotation from y towards x", quantity(affine.rotation_rad, "rad", 3)),
            ("Mean shift in y, x", ", ".join(shifts).replace("-", "−") + " px"),
        ]

    @property
    def summary(self) -> str:
        """All numbers in one line."""
        corrected = f"corrected by {number(self.rms_px, 3)} px rms, {number(self.rms_affine_px, 3)} px beyond the trend"
        rest = f"shear {_percent(self.affine.shear)}, rotation {quantity(self.affine.rotation_rad, 'rad', 3)}"
        return f"{corrected}: {self.scale}, {rest}"

    @property
    def hint(self) -> str:
        """What a scale that is equal in y and x means, or a turn; empty where there is neither, or may be chance."""
        return self._scale_hint or self._turn_hint

    @property
    def _turn_hint(self) -> str:
        affine, least = self.affine, max(SMALLEST_TURN_RAD, SIGNIFICANT * float(np.hypot(*self.affine.scale_error)))
        bent = max(abs(affine.shear), abs(affine.scale[0] - affine.scale[1]))
        if abs(affine.rotation_rad) < max(least, 3 * bent):
            return ""
        turn = f"{-np.rad2deg(affine.rotation_rad):.3g}"  # a minus sign that can be copied
        return (
            f"Refinement found a turn: the positions turned by {turn} deg from x towards y, as if the axes of the scan "
            f"were turned against the detector's, by that or more. Try 'data.rotation: {turn} deg', or add it to the "
            "one that is set."
        )

    @property
    def _scale_hint(self) -> str:
        strains = np.array(self.affine.scale) - 1
        common, chance = float(strains.mean()), SIGNIFICANT * float(np.hypot(*self.affine.scale_error))
        unequal = abs(strains[0] - strains[1]) > max(chance, abs(common) / 3)
        if unequal or abs(common) < max(chance / 2, SMALLEST):
            return ""
        grew, size, energy, distance, travel = (
            ("grew", "large", "low", "long", "more") if common > 0 else ("shrank", "small", "high", "short", "less")
        )
        change = self._mended(common)
        return (
            f"Refinement found a scale: the positions {grew}, equally in y and x. The pixel size seems too {size}, by "
            f"{100 * abs(common):.1f} % or more, as with a photon energy too {energy} or a distance too {distance} by "
            f"as much, or motors that move {travel} than recorded.{change}"
        )

    def _mended(self, common: float) -> str:
        """The settings that would undo the scale."""
        if self.pixel_size_m is None:
            return ""
        sizes = [quantity(size / (1 + common), "m", 4) for size in self.pixel_size_m]
        size = sizes[0] if len(set(sizes)) == 1 else f"[{', '.join(sizes)}]"
        factor = number(1 / (1 + common), 4)
        return f" Try the distance times {factor}, or 'data.pixel_size: {size}' if no distance is known."


def position_trend(result: Result) -> PositionTrend | None:
    """The trend of ``result``; ``None`` where positions were not refined, or determine no affine map."""
    positions = result.parameters.get("probe_positions")
    if positions is None or positions.start is None or np.array_equal(positions.value, positions.start):
        return None
    try:
        errors = position_errors(positions.value, positions.start)
    except DataError:  # too few, or all on one line
        return None
    y, x = (positions.value - positions.start).mean(0)
    pixel = None if result.pixel_size_m is None else (float(result.pixel_size_m[0]), float(result.pixel_size_m[1]))
    return PositionTrend(errors.rms_px, errors.rms_affine_px, (float(y), float(x)), errors.affine, pixel)


def _percent(part: float) -> str:
    return f"{100 * part:+.2f} %".replace("-", "−")
