"""Where the probe goes: scan patterns, the way travelled during an exposure, and errors of the recorded positions."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from adorym.errors import ConfigError, GeometryError
from adorym.registry import component
from adorym.units import Pixels

GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
_DEFAULT_OVERLAP = 0.65


@component
class Scan:
    """A scan of the probe over the object.

    Attributes:
        pattern: ``grid``; ``jittered``, a grid with every point displaced at random, which avoids the grid's periodic
            artifact (Thibault et al., Ultramicroscopy 109, 338 (2009)); ``spiral``, equal steps along an Archimedean
            spiral; ``fermat``, a Fermat spiral (Huang et al., Opt. Express 22, 12634 (2014)); ``fly``, lines along x
            swept with the shutter open, each line starting a little elsewhere.
        step: Distance of neighboring points in object pixels.
        overlap: In place of ``step``: linear overlap of neighboring beams, 1 - step / beam diameter; 0.65 by default.
        jitter: Largest displacement in y and in x, in steps (``jittered`` and ``fly``).
        duty: Part of a step travelled with the shutter open (``fly``); 1 is a continuous exposure.
        sub_positions: Points along the way over which the intensity is averaged (``fly``).
        position_error: Root mean square length, in pixels, of the error of the recorded positions.
    """

    pattern: Literal["grid", "jittered", "spiral", "fermat", "fly"] = "jittered"
    step: Annotated[Pixels, Field(gt=0)] | None = None
    overlap: Annotated[float, Field(ge=0, lt=1)] | None = None
    jitter: Annotated[float, Field(ge=0, le=0.5)] = 0.2
    duty: Annotated[float, Field(gt=0, le=1)] = 1.0
    sub_positions: Annotated[int, Field(ge=1)] = 8
    position_error: Annotated[Pixels, Field(ge=0)] = 0.0

    def __post_init__(self) -> None:
        if self.step is not None and self.overlap is not None:
            raise ConfigError("overlap", "says the same as 'step'", expected="one of them", remedy="remove one")

    def step_px(self, beam_px: np.ndarray) -> np.ndarray:
        """(y, x) step for a beam of diameter ``beam_px`` (y, x)."""
        if self.step is not None:
            return np.full(2, self.step)
        return (1 - (_DEFAULT_OVERLAP if self.overlap is None else self.overlap)) * beam_px

    def positions_px(self, room_px: np.ndarray, beam_px: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """True positions ``(n, 2)`` float64 within 0 and ``room_px`` (y, x), line by line or from the middle outwards.

        Raises:
            GeometryError: Not even one step fits.
        """
        step = self.step_px(beam_px)
        # Nothing the scan does around a point may leave the object.
        margin = step * (self.jitter if self.pattern in ("jittered", "fly") else 0)
        margin = margin + np.abs(self.path_px(beam_px)).max(0)
        room = np.asarray(room_px, float) - 2 * margin
        if np.any(room < step):
            raise GeometryError(
                "scan", "no room for a scan", expected=f"(y, x) {np.ceil(step + 2 * margin)} px beyond the window",
                found=f"{np.asarray(room_px)} px", remedy="enlarge object_px or reduce the step",
            )  # fmt: skip
        if self.pattern in ("spiral", "fermat"):
            return margin + _spiral(room, step, fermat=self.pattern == "fermat")
        points = _grid(room, step)
        jitter = np.zeros_like(points)
        if self.pattern == "jittered":
            jitter = rng.uniform(-1, 1, points.shape)
        if self.pattern == "fly":
            lines, line = np.unique(points[:, 0], return_inverse=True)
            jitter = rng.uniform(-1, 1, (len(lines), 2))[line]
        return margin + points + self.jitter * step * jitter

    def path_px(self, beam_px: np.ndarray) -> np.ndarray:
        """Offsets ``(k, 2)`` of the probe from the recorded position during one exposure, their mean 0."""
        if self.pattern != "fly":
            return np.zeros((1, 2))
        along = (np.arange(self.sub_positions) + 0.5) / self.sub_positions - 0.5
        return np.stack([np.zeros_like(along), along * self.duty * self.step_px(beam_px)[1]], axis=-1)

    def recorded_px(self, positions_px: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Positions as an encoder would report them: wrong by ``position_error`` px rms, without a common shift."""
        error = rng.normal(size=positions_px.shape)
        error -= error.mean(0)
        return positions_px + error * self.position_error / np.sqrt(np.mean(np.sum(error**2, axis=1)))


def _grid(room: np.ndarray, step: np.ndarray) -> np.ndarray:
    """A grid in the middle of ``room``, x fastest: ``(n, 2)``."""
    axes = []
    for width, each in zip(room, step, strict=True):
        n = int(width / each + 1e-9) + 1
        axes.append(width / 2 + each * (np.arange(n) - (n - 1) / 2))
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)


def _spiral(room: np.ndarray, step: np.ndarray, *, fermat: bool) -> np.ndarray:
    """A spiral with one point per step^2 that fills the rectangle ``room`` from its middle: ``(n, 2)``.

    Both kinds have the radius sqrt(n / pi) steps; the angle grows by the golden angle, or such that the distance along
    the spiral is one step.
    """
    reach = np.hypot(*(room / step)) / 2  # steps from the middle to a corner
    n = np.arange(int(np.pi * reach**2) + 1)
    radius = np.sqrt(n / np.pi)
    angle = n * GOLDEN_ANGLE if fermat else 2 * np.pi * radius
    points = room / 2 + step * radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    return points[np.all((points >= 0) & (points <= room), axis=1)]
