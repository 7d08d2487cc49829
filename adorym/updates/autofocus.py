r"""Autofocus: the common distance of a series from the sharpness of the object.

A common shift c of all distances refocuses the object: :math:`\mathcal D_{z + c} O = \mathcal D_z (\mathcal D_c O)`.
The holograms therefore fit equally well with the distances shifted by -c and the object propagated by c. The object
with the smallest total variation of its modulus is in focus.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import scipy  # its slow parts load at their first use
from pydantic import Field

from adorym.optics.geometry import Grid, depth_of_focus_m
from adorym.optics.propagation import rate_rad_per_m
from adorym.registry import component
from adorym.units import Length
from adorym.updates.base import State, Update

LOG = logging.getLogger("adorym")
# Number of coarse steps, before the minimum is refined.
STEPS = 25


@component
class Autofocus:
    """When and how far the focus is searched.

    Attributes:
        at: Further epochs, counted from 1, after which the focus is searched.
        reach: Largest correction of the distances, all searches together; half the depth of focus of a pixel if absent.
        last: Whether the focus is searched after the last epoch.
    """

    at: tuple[Annotated[int, Field(ge=1)], ...] = ()
    reach: Annotated[Length, Field(gt=0)] | None = None
    last: bool = True

    def due(self, epoch: int, epochs: int) -> bool:
        """Whether the focus is searched after ``epoch`` completed epochs of ``epochs``."""
        return epoch in self.at or (self.last and epoch == epochs)

    def reach_m(self, grid: Grid) -> float:
        """The reach, or its default."""
        return self.reach or depth_of_focus_m(min(grid.pixel_size_m), grid.wavelength_m) / 2

    def find(
        self,
        obj: np.ndarray,
        grid: Grid,
        inside: tuple[slice, slice],
        corrected_m: float = 0.0,
        propagator: str = "fresnel",
    ) -> float:
        """Distance by which the object ``(Y, X)`` complex has to be propagated to be in focus.

        Args:
            obj: The object.
            grid: Its grid.
            inside: Rows and columns that count.
            corrected_m: Present correction of the distances; the new one, less the result, stays in reach.
            propagator: That of the model.
        """
        spectrum, rate = scipy.fft.fft2(np.asarray(obj, np.complex64)), rate_rad_per_m(propagator, grid)
        low, high = corrected_m - self.reach_m(grid), corrected_m + self.reach_m(grid)

        def blur(distance: float) -> float:
            return total_variation(np.abs(scipy.fft.ifft2(spectrum * np.exp(-1j * distance * rate)))[inside])

        trials = np.linspace(low, high, STEPS)
        best = trials[np.argmin([blur(d) for d in trials])]
        step = trials[1] - trials[0]
        around = max(best - step, low), min(best + step, high)
        found = scipy.optimize.minimize_scalar(blur, bounds=around, method="bounded", options={"xatol": step / 50})
        return float(found.x)


@dataclass(frozen=True)
class FocusUpdate(Update):
    """Propagates the object into focus, and changes the common distance accordingly.

    Attributes:
        settings: When and how far the focus is searched.
        grid_of: The object's grid, from its (y, x) size.
        buffer_px: (y, x) rim of the object outside every hologram.
        propagator: That of the model: with another one the refocused object would not fit the holograms.
    """

    keeps_fit: ClassVar[bool] = True

    settings: Autofocus
    grid_of: Callable[[tuple[int, int]], Grid]
    buffer_px: tuple[int, int]
    propagator: str = "fresnel"

    def due(self, epoch: int, epochs: int) -> bool:
        return self.settings.due(epoch, epochs)

    def apply(self, state: State) -> State:
        now = state.read_object()
        grid = self.grid_of((now.shape[0], now.shape[1]))
        rows, columns = (slice(edge, n - edge) for edge, n in zip(self.buffer_px, now.shape, strict=True))
        before = float(np.ravel(state.values["common_distance"])[0])
        distance = self.settings.find(now, grid, (rows, columns), before, self.propagator)
        LOG.info("autofocus after epoch %d: distances shifted by %.4g m", state.epoch, -distance)
        self.warn(before - distance, self.settings.reach_m(grid))
        focused = state.with_(new_object=refocused(now, grid, distance, self.propagator), new_problem=True)
        return focused.with_values(common_distance=state.values["common_distance"] - distance)

    @staticmethod
    def warn(corrected_m: float, reach_m: float) -> None:
        """Say so when the sharpest object lies at an end of the search, so that a sharper one may lie beyond it."""
        if abs(corrected_m) > reach_m * (1 - 1 / (STEPS - 1)):
            LOG.warning(
                "autofocus: the sharpest object lies at the end of the reach of %.4g m: distances %+.4g m; widen "
                "'forward_model.autofocus.reach', or correct the distances",
                reach_m,
                corrected_m,
            )


def refocused(obj: np.ndarray, grid: Grid, distance_m: float, propagator: str = "fresnel") -> np.ndarray:
    """``obj`` ``(Y, X)`` complex, propagated."""
    kernel = np.exp(-1j * distance_m * rate_rad_per_m(propagator, grid))
    return scipy.fft.ifft2(scipy.fft.fft2(np.asarray(obj, np.complex128)) * kernel)


def total_variation(picture: np.ndarray) -> float:
    """Mean length of the gradient."""
    along_y, along_x = np.diff(picture, axis=0)[:, :-1], np.diff(picture, axis=1)[:-1]
    return float(np.hypot(along_y, along_x).mean())
