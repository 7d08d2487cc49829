r"""Autofocus: the common distance of a series from the sharpness of the object.

A common shift c of all distances refocuses the object: :math:`\mathcal D_{z + c} O = \mathcal D_z (\mathcal D_c O)`.
The holograms therefore fit equally well with the distances shifted by -c and the object propagated by c. The object
with the smallest total variation of its modulus is in focus.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field
from scipy import fft, optimize

from adorym.optics.geometry import Grid, depth_of_focus_m
from adorym.optics.propagation import fresnel_rate_rad_per_m
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
        reach: Largest change of the distances; half the depth of focus of a pixel if absent.
        last: Whether the focus is searched after the last epoch.
    """

    at: tuple[Annotated[int, Field(ge=1)], ...] = ()
    reach: Annotated[Length, Field(gt=0)] | None = None
    last: bool = True

    def due(self, epoch: int, epochs: int) -> bool:
        """Whether the focus is searched after ``epoch`` completed epochs of ``epochs``."""
        return epoch in self.at or (self.last and epoch == epochs)

    def find(self, obj: np.ndarray, grid: Grid, inside: tuple[slice, slice]) -> float:
        """Distance by which the object ``(Y, X)`` complex has to be propagated to be in focus."""
        spectrum, rate = fft.fft2(np.asarray(obj, np.complex64)), fresnel_rate_rad_per_m(grid)
        reach = self.reach or depth_of_focus_m(min(grid.pixel_size_m), grid.wavelength_m) / 2

        def blur(distance: float) -> float:
            return total_variation(np.abs(fft.ifft2(spectrum * np.exp(-1j * distance * rate)))[inside])

        trials = np.linspace(-reach, reach, STEPS)
        best = trials[np.argmin([blur(d) for d in trials])]
        step = trials[1] - trials[0]
        found = optimize.minimize_scalar(blur, bounds=(best - step, best + step), method="bounded",
                                         options={"xatol": step / 50})  # fmt: skip
        return float(found.x)


@dataclass(frozen=True)
class FocusUpdate(Update):
    """Propagates the object into focus, and changes the common distance accordingly.

    Attributes:
        settings: When and how far the focus is searched.
        grid_of: The object's grid, from its (y, x) size.
        buffer_px: (y, x) rim of the object outside every hologram.
    """

    settings: Autofocus
    grid_of: Callable[[tuple[int, int]], Grid]
    buffer_px: tuple[int, int]

    def due(self, epoch: int, epochs: int) -> bool:
        return self.settings.due(epoch, epochs)

    def apply(self, state: State) -> State:
        now = state.read_object()
        grid = self.grid_of((now.shape[0], now.shape[1]))
        rows, columns = (slice(edge, n - edge) for edge, n in zip(self.buffer_px, now.shape, strict=True))
        distance = self.settings.find(now, grid, (rows, columns))
        LOG.info("autofocus after epoch %d: distances shifted by %.4g m", state.epoch, -distance)
        focused = state.with_(new_object=refocused(now, grid, distance), new_problem=True)
        return focused.with_values(common_distance=state.values["common_distance"] - distance)


def refocused(obj: np.ndarray, grid: Grid, distance_m: float) -> np.ndarray:
    """``obj`` ``(Y, X)`` complex, propagated."""
    kernel = np.exp(-1j * distance_m * fresnel_rate_rad_per_m(grid))
    return fft.ifft2(fft.fft2(np.asarray(obj, np.complex128)) * kernel)


def total_variation(picture: np.ndarray) -> float:
    """Mean length of the gradient."""
    along_y, along_x = np.diff(picture, axis=0)[:, :-1], np.diff(picture, axis=1)[:-1]
    return float(np.hypot(along_y, along_x).mean())
