r"""What a scan cannot tell apart from a probe that varies, and the choice that is made.

With :math:`\mathbf d_j` the position of pattern j and :math:`\boldsymbol\rho` a place on the object, both from the
middle of the scan, and :math:`\mathbf u` a place in the window, the patterns are those of

.. math::
   O' = O\,e^{i\Phi(\boldsymbol\rho) + \mathbf a \cdot \boldsymbol\rho}, \qquad
   P_j' = P_j\,e^{-i[\Phi(\mathbf d_j + \mathbf u) - \Phi(\mathbf d_j)] - \mathbf a \cdot (\mathbf d_j + \mathbf u)},

too, for every smooth phase :math:`\Phi` and every a: a curved object looks like a beam that turns while it is scanned,
and one that darkens along the scan like a beam that fades. `SteadyBeam` takes the beam as steady in direction, and a
trend of the counts as one of the beam. The phase is a polynomial of second to fourth order, and the directions of the
beams are its gradient; of its change in a window,

.. math:: \Phi(\mathbf d + \mathbf u) - \Phi(\mathbf d) - \Phi(\mathbf u) \approx
          \nabla\Phi(\mathbf d) \cdot \mathbf u
          + \tfrac12 \mathbf u^T [\nabla\nabla\Phi(\mathbf d) - \nabla\nabla\Phi(0)]\, \mathbf u .
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.polynomial.polynomial import polyder, polyval2d

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
ORDER = 4  # of the polynomial in places on the object
UNTIL = 0.6  # of the run: the rest of it mends what the last move left


@dataclass(frozen=True, eq=False)
class SteadyBeam(Update):
    """Moves a turn of the beam that goes with its position, and a fading that the counts do not show, to the object.

    It acts between epochs in the first part of the run, so that what little the loss changes is mended: a phase is
    expanded to first order, and only as many waves are kept as there are variations. Where these do not describe the
    new beam as well as the old one, nothing is moved.

    Attributes:
        dataset: The data.
        shape: Shape of the object ``(y, x)``.
        origin_px: (y, x) index in the object of the data's position (0, 0).
    """

    dataset: Dataset
    shape: tuple[int, ...]
    origin_px: tuple[int, int]

    def due(self, epoch: int, epochs: int) -> bool:
        return epoch % EVERY == 0 and epoch < UNTIL * epochs

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
        turned = waves / np.exp(1j * bend.phase(window) + np.tensordot(slope, window, 1))
        u_y, u_x = window[:, None]
        terms = np.stack([u_y, u_x, u_y**2 / 2, u_y * u_x, u_x**2 / 2])
        waves = np.concatenate([turned, *(1j * terms * turned)])
        steady = shares * (1 - away @ slope)[:, None]
        made = np.concatenate([steady, *(-bend.expansion(away)[:, :, None] * shares)], axis=1)
        mean, root = made.mean(0), float(np.sqrt(powers(modes)[0]))
        found = strongest(made - mean, waves, len(variations), root)
        if found is None:
            return state
        moved = made - np.pad(shares, ((0, 0), (0, made.shape[1] - shares.shape[1])))
        lost = _energy(made - mean, waves) - float(np.sum(found[0] ** 2)) * root**2
        if lost > LOST * _energy(moved - moved.mean(0), waves):  # few variations may have no room for what is moved
            return state
        places = np.indices(self.shape) - (middle + self.origin_px + center)[:, None, None]
        changed = dict(zip(names, (np.tensordot(mean, waves, 1)[None], *reversed(found)), strict=False))
        changed = {name: array.astype(state.values[name].dtype) for name, array in changed.items()}
        factor = np.exp(1j * bend.phase(places) + np.tensordot(slope, places, 1))
        return state.with_values(**changed).with_(factor=factor.astype(modes.dtype))

    @cached_property
    def _counts(self) -> np.ndarray:
        return np.maximum(pattern_counts(self.dataset), 1.0)

    def _trends(self, waves: np.ndarray, shares: np.ndarray, away: np.ndarray) -> tuple[Bend, np.ndarray]:
        """The phase that the directions of the beams are the gradient of; a ``(2,)`` in 1/px, from their powers."""
        flat = waves.reshape(len(waves), -1)
        power = np.einsum("nj,jk,nk->n", shares, (flat.conj() @ flat.T).real, shares)
        direction = []
        for axis in (1, 2):
            derived = np.gradient(waves, axis=axis).reshape(flat.shape)
            direction.append(np.einsum("nj,jk,nk->n", shares, (flat.conj() @ derived.T).imag, shares) / power)
        direction = np.array(direction) - np.mean(direction, axis=1, keepdims=True)
        bend = Bend.along(away)
        design = np.concatenate([each - each.mean(1, keepdims=True) for each in bend.slopes(away)], axis=1).T
        light = np.log(self._counts / power) / 2
        return bend.times(_explaining(design, direction.ravel())), -_explaining(away, light - light.mean())


@dataclass(frozen=True, eq=False)
class Bend:
    """A phase that is a polynomial of second and higher order in places (y, x), and of second order beyond the scan.

    Attributes:
        reach_px: (y, x) half the extent of the scan; places are measured in this.
        coefficients: ``(k, order + 1, order + 1)`` of powers of y and of x: of one phase, or of each term of it.
    """

    reach_px: np.ndarray
    coefficients: np.ndarray

    @classmethod
    def along(cls, away: np.ndarray) -> Bend:
        """All terms, for a scan with positions ``(n, 2)`` from its middle."""
        orders = np.add.outer(range(ORDER + 1), range(ORDER + 1))
        y, x = np.nonzero((orders >= 2) & (orders <= ORDER))
        terms = np.zeros((len(y), *orders.shape))
        terms[np.arange(len(y)), y, x] = 1
        return cls(np.maximum(np.abs(away).max(0), 1.0), terms)

    def times(self, factors: np.ndarray) -> Bend:
        """The sum of the terms, each with its factor."""
        return Bend(self.reach_px, np.tensordot(factors, self.coefficients, 1)[None])

    def _at(self, places: np.ndarray, y_times: int, x_times: int) -> np.ndarray:
        """``(k, ...)`` derivatives at places ``(2, ...)`` within the scan."""
        derived = polyder(polyder(self.coefficients, y_times, axis=1), x_times, axis=2)
        y, x = places[0] / self.reach_px[0], places[1] / self.reach_px[1]
        return polyval2d(y, x, np.moveaxis(derived, 0, -1)) / np.prod(self.reach_px ** (y_times, x_times))

    def phase(self, places: np.ndarray) -> np.ndarray:
        """In rad, at places ``(2, ...)``."""
        reach = self.reach_px.reshape(2, *(1,) * (places.ndim - 1))
        edge = np.clip(places, -reach, reach)
        y, x = places - edge
        first = self._at(edge, 1, 0) * y + self._at(edge, 0, 1) * x
        second = self._at(edge, 2, 0) * y**2 / 2 + self._at(edge, 1, 1) * y * x + self._at(edge, 0, 2) * x**2 / 2
        return (self._at(edge, 0, 0) + first + second)[0]

    def slopes(self, away: np.ndarray) -> np.ndarray:
        """``(2, k, n)`` gradient at positions ``(n, 2)``, in rad/px."""
        return np.stack([self._at(away.T, 1, 0), self._at(away.T, 0, 1)])

    def expansion(self, away: np.ndarray) -> np.ndarray:
        """``(5, n)`` factors of u_y, u_x, u_y^2/2, u_y u_x and u_x^2/2 at positions ``(n, 2)``."""
        second = [self._at(away.T, *times) - self._at(np.zeros((2, 1)), *times) for times in ((2, 0), (1, 1), (0, 2))]
        return np.concatenate([self.slopes(away)[:, 0], *second])


def _explaining(design: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Coefficients of the fit, zero where `EXPLAINED` is not reached: what is by chance stays."""
    found = np.linalg.lstsq(design, values, rcond=None)[0]
    left = values - design @ found
    return found if left @ left < (1 - EXPLAINED) * (values @ values) else 0 * found


def _energy(shares: np.ndarray, waves: np.ndarray) -> float:
    """Sum of ``|shares @ waves|^2``."""
    flat = waves.reshape(len(waves), -1)
    return float(np.einsum("nj,jk,nk->", shares, (flat.conj() @ flat.T).real, shares))


def variation_gauges(bound: BoundModel[Geometry], mode: int, scans: tuple[np.ndarray, ...] = ()) -> tuple[Update, ...]:
    """The gauges of a probe that varies; none if it does not."""
    if VARIATIONS not in bound.settings:
        return ()
    thin = isinstance(bound.space, Transmission) and len(bound.shape) == 2 and not scans
    steady = (SteadyBeam(bound.dataset, bound.shape, bound.origin_px),) if thin else ()
    return (*steady, VariationGauge(mode, scans))
