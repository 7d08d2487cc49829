r"""What a scan cannot tell apart from a probe that varies, and the choice that is made.

With :math:`\mathbf d_j` the position of pattern j and :math:`\boldsymbol\rho` a place on the object, both from the
middle of the scan, and :math:`\mathbf u` a place in the window, the patterns are those of

.. math::
   O' = O\,e^{\frac i2 \boldsymbol\rho^T C \boldsymbol\rho + \mathbf a \cdot \boldsymbol\rho}, \qquad
   P_j' = P_j\,e^{-\frac i2 \mathbf u^T C \mathbf u - \mathbf a \cdot \mathbf u}\,
          e^{-i \mathbf u^T C \mathbf d_j - \mathbf a \cdot \mathbf d_j},

too, for every symmetric matrix C and every a: a curved object looks like a beam that turns while it is scanned, and one
that darkens along the scan like a beam that fades. `SteadyBeam` takes the beam as steady in direction, and a trend of
the counts as one of the beam.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from adorym.data.dataset import Dataset
from adorym.forward.base import BoundModel
from adorym.forward.scans import pattern_counts
from adorym.forward.variations import PROBE, VARIATIONS, WEIGHTS, VariationGauge, strongest
from adorym.object_space import Transmission
from adorym.optics.geometry import Geometry
from adorym.optics.modes import powers
from adorym.parameters import OBJECT
from adorym.updates.base import State, Update

EVERY = 5  # epochs
EXPLAINED = 0.1  # part of the variance
LOST = 0.25  # part of the energy that is moved


@dataclass(frozen=True, eq=False)
class SteadyBeam(Update):
    """Moves a turn of the beam that is linear in its position, and a fading that the counts do not show, to the object.

    It acts between epochs while the run goes on, so that what little the loss changes is mended: a phase is expanded
    to first order, and only as many waves are kept as there are variations. Where these do not describe the new beam
    as well as the old one, nothing is moved.

    Attributes:
        dataset: The data.
        shape: Shape of the object ``(y, x)``.
        origin_px: (y, x) index in the object of the data's position (0, 0).
    """

    dataset: Dataset
    shape: tuple[int, ...]
    origin_px: tuple[int, int]

    def due(self, epoch: int, epochs: int) -> bool:
        return epoch % EVERY == 0 and epoch < epochs

    def apply(self, state: State) -> State:
        names = (PROBE, VARIATIONS, WEIGHTS, OBJECT)
        if not all(name in state.rates and name not in state.constrained for name in names):
            return state
        modes, variations, weights = (state.values[name] for name in names[:3])
        if len(modes) > 1 or modes.ndim > 3:  # the other modes would have to turn, too
            return state
        if not all(np.isfinite(array).all() for array in (modes, variations, weights)):
            return state
        waves = np.concatenate([variations, modes]).astype(np.complex128)
        shares = np.concatenate([weights, np.ones((len(weights), 1))], axis=1)
        positions = state.values.get("probe_positions", self.dataset.probe_positions_px)
        assert positions is not None  # a scan has them
        middle = positions.mean(0)
        away = positions - middle
        bend, slope = self._trends(waves, shares, away)
        center = (np.array(waves.shape[1:]) - 1) / 2
        window = np.indices(waves.shape[1:]) - center[:, None, None]
        turned, turn = waves / _factor(window, bend, slope), -(away @ bend)
        waves = np.concatenate([turned, *(1j * window[:, None] * turned)])
        steady = shares * (1 - away @ slope)[:, None]
        made = np.concatenate([steady, *(turn.T[:, :, None] * shares)], axis=1)
        mean, root = made.mean(0), float(np.sqrt(powers(modes)[0]))
        found = strongest(made - mean, waves, len(variations), root)
        if found is None:
            return state
        moved = made - np.pad(shares, ((0, 0), (0, 2 * shares.shape[1])))
        lost = _energy(made - mean, waves) - float(np.sum(found[0] ** 2)) * root**2
        if lost > LOST * _energy(moved - moved.mean(0), waves):  # few variations may have no room for what is moved
            return state
        places = np.indices(self.shape) - (middle + self.origin_px + center)[:, None, None]
        changed = dict(zip(names, (np.tensordot(mean, waves, 1)[None], *reversed(found)), strict=False))
        changed = {name: array.astype(state.values[name].dtype) for name, array in changed.items()}
        return state.with_values(**changed).with_(factor=_factor(places, bend, slope).astype(modes.dtype))

    @cached_property
    def _counts(self) -> np.ndarray:
        return np.maximum(pattern_counts(self.dataset), 1.0)

    def _trends(self, waves: np.ndarray, shares: np.ndarray, away: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """C ``(2, 2)`` in rad/px^2, from the directions of the beams, and a ``(2,)`` in 1/px, from their powers."""
        flat = waves.reshape(len(waves), -1)
        power = np.einsum("nj,jk,nk->n", shares, (flat.conj() @ flat.T).real, shares)
        direction = []
        for axis in (1, 2):
            derived = np.gradient(waves, axis=axis).reshape(flat.shape)
            direction.append(np.einsum("nj,jk,nk->n", shares, (flat.conj() @ derived.T).imag, shares) / power)
        direction = np.array(direction) - np.mean(direction, axis=1, keepdims=True)
        (y, x), none = away.T, np.zeros(len(away))
        design = np.concatenate([np.stack([y, x, none], axis=1), np.stack([none, y, x], axis=1)])
        yy, yx, xx = _explaining(design, direction.ravel())
        light = np.log(self._counts / power) / 2
        return np.array([[yy, yx], [yx, xx]]), -_explaining(away, light - light.mean())


def _explaining(design: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Coefficients of the fit, zero where `EXPLAINED` is not reached: what is by chance stays."""
    found = np.linalg.lstsq(design, values, rcond=None)[0]
    left = values - design @ found
    return found if left @ left < (1 - EXPLAINED) * (values @ values) else 0 * found


def _energy(shares: np.ndarray, waves: np.ndarray) -> float:
    """Sum of ``|shares @ waves|^2``."""
    flat = waves.reshape(len(waves), -1)
    return float(np.einsum("nj,jk,nk->", shares, (flat.conj() @ flat.T).real, shares))


def _factor(places: np.ndarray, bend: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """``exp(i/2 r C r + a r)`` at places ``(2, y, x)``."""
    phase = np.einsum("iyx,ij,jyx->yx", places, bend, places) / 2
    return np.exp(1j * phase + np.tensordot(slope, places, 1))


def variation_gauges(bound: BoundModel[Geometry], mode: int, scans: tuple[np.ndarray, ...] = ()) -> tuple[Update, ...]:
    """The gauges of a probe that varies; none if it does not."""
    if VARIATIONS not in bound.settings:
        return ()
    thin = isinstance(bound.space, Transmission) and len(bound.shape) == 2 and not scans
    steady = (SteadyBeam(bound.dataset, bound.shape, bound.origin_px),) if thin else ()
    return (*steady, VariationGauge(mode, scans))
