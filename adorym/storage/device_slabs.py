"""An object distributed over devices: each rank's rows, their gradient and their state stay on its own.

What goes where is index arithmetic on the host, as in `adorym.storage.slabs`; pixels are taken, sent and added on the
devices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adorym.comm import Communicator
from adorym.errors import ConfigError
from adorym.optimizers.base import Gradient, Optimizer
from adorym.storage.base import LikeObject, Term, Windows, blocks
from adorym.storage.layout import Slabs, cut_windows, pack, window_boxes
from adorym.storage.resident import ResidentStore, added
from adorym.storage.slabs import Plan, Start
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.ranks import exchanged, gathered


@dataclass(frozen=True)
class Route:
    """The way of a batch's pixels: from the slabs of all ranks to the windows of this one, and back.

    Attributes:
        lent: Pixels of this rank's slab that the ranks need, ordered by rank: their numbers, on the device.
        lent_counts: Number of them, by rank.
        taken_counts: Number of pixels that come from each rank.
        places: ``(n * wy * wx,)``, on the device: which of the pixels that have come is the pixel of a window.
    """

    lent: Array
    lent_counts: list[int]
    taken_counts: list[int]
    places: Array


class DeviceSlabStore(ResidentStore):
    """The object in slabs along y, on the devices of the ranks; n ranks need 1/n of the object each.

    Args:
        xp: Backend.
        start: Start object.
        optimizer: Determines the state, and whether a curvature is stored.
        comm: The ranks.
    """

    def __init__(self, xp: Backend, start: Start, optimizer: Optimizer, comm: Communicator) -> None:
        self._slabs = Slabs(start.shape[0], comm.size)
        self.owned_rows = low, high = self._slabs.of(comm.rank)
        row = xp.asarray(np.ascontiguousarray(start.rows(0, 1)))
        first = xp.zeros((high - low, *start.shape[1:]), complex_values=xp.is_complex(row))
        for a, b in blocks(low, high, row.nbytes):
            rows = xp.asarray(np.ascontiguousarray(start.rows(a, b)))
            first = xp.put_rows(first, slice(a - low, b - low), rows)
        super().__init__(xp, first, start.shape, (low, high), optimizer, comm)
        self._numbers = np.arange((high - low) * self.shape[1]).reshape(high - low, self.shape[1])
        self._last: tuple[Windows, Route] | None = None
        self._largest: Array | None = None  # curvature of the data alone, once it is known

    # -- windows -----------------------------------------------------------------------------------------------------
    def gather(self, windows: Windows, array: LikeObject = "value") -> Array:
        xp, route, pixel = self._xp, self._route_of(windows), self.shape[2:]
        lent = xp.take(xp.reshape(self._array(array), (-1, *pixel)), route.lent)
        came = exchanged(xp, lent, route.lent_counts, route.taken_counts, self.comm, "exchange of the object")
        return xp.reshape(xp.take(came, route.places), (len(windows.corners_px), *windows.shape, *pixel))

    def scatter_add(self, windows: Windows, gradient: Array, curvature: Array | None = None) -> None:
        self._gradient = self._with(self._gradient, windows, gradient, "gradient")
        if curvature is not None and self._curvature is not None:
            self._curvature = self._with(self._curvature, windows, curvature, "curvature")

    def _with(self, array: Array, windows: Windows, parts: Array, name: str) -> Array:
        """``array`` with the windows ``parts`` added."""
        xp, route, pixel = self._xp, self._route_of(windows), self.shape[2:]
        parts = xp.broadcast_to(parts, (len(windows.corners_px), *windows.shape, *pixel))
        back = xp.sum_rows(xp.reshape(parts, (-1, *pixel)), route.places, sum(route.taken_counts))
        came = exchanged(xp, back, route.taken_counts, route.lent_counts, self.comm, f"exchange of the object's {name}")
        return xp.reshape(xp.add_rows(xp.reshape(array, (-1, *pixel)), route.lent, came), tuple(array.shape))

    def _route_of(self, windows: Windows) -> Route:
        # `scatter_add` uses the route of the `gather` before it.
        if self._last is None or self._last[0] is not windows:
            self._last = (windows, self._route(windows))
        return self._last[1]

    def _route(self, windows: Windows) -> Route:
        corners = self._xp.to_numpy(windows.corners_px)
        plan = Plan.of(window_boxes(corners, windows.shape), self._slabs, self.comm)
        taken, lent = plan.scaled(1)
        numbers = np.empty(sum(lent), np.int64)
        parts = np.split(numbers, np.cumsum(lent)[:-1])
        for rank, wanted in plan.wanted.items():
            pack(self._numbers, self.local_rows[0], wanted.as_arrays(), 1, parts[rank])
        places = np.empty((len(corners), *windows.shape), np.int64)
        cut_windows(np.arange(plan.asked.n_pixels), plan.asked.as_arrays(), corners, 1, places)
        on_device = [self._xp.asarray(each.reshape(-1), exact=True) for each in (numbers, places)]
        return Route(on_device[0], lent, taken, on_device[1])

    # -- the whole object ----------------------------------------------------------------------------------------------
    def add_gradient(self, term: Term, halo_px: int | None = 0) -> float:
        if halo_px is None:
            raise ConfigError("regularizers", "this term needs the whole object", remedy="choose the store 'dp'")
        if self._largest is None:
            self._largest = self._largest_curvature()
        xp, own, (_, high) = self._xp, len(self._object), self.local_rows
        beyond = min(halo_px, self.shape[0] - high) if own else 0
        corners = np.array([[high, 0]] if beyond else np.zeros((0, 2)), np.int64)
        windows = Windows(corners, (beyond, self.shape[1]))  # the rows after this rank's
        after = self.gather(windows) if halo_px else self._object[:0]
        slopes = [self._gradient] if self._curvature is None else [self._gradient, self._curvature]
        back = [xp.zeros((beyond, *self.shape[1:]), complex_values=xp.is_complex(each)) for each in slopes]
        total = 0.0
        for a, b in blocks(0, own, self._object[:1].nbytes):
            inside = min(b + halo_px, own)
            more = min(b + halo_px - inside, beyond)
            tile = xp.concat([self._object[a:inside], after[0, :more]]) if more else self._object[a:inside]
            value, *found = term(tile)
            for k, slope in enumerate(found[: len(slopes)]):
                if slope is not None:
                    slopes[k] = added(xp, slopes[k], slice(a, inside), slope[: inside - a])
                    back[k] = added(xp, back[k], slice(0, more), slope[inside - a :])
            total += value
        self._gradient, self._curvature = slopes[0], slopes[1] if len(slopes) > 1 else None
        if halo_px:
            self.scatter_add(windows, *(xp.reshape(each, (len(corners), *each.shape)) for each in back))
        return total

    def _complete(self) -> Gradient:
        largest = self._largest_curvature() if self._largest is None else self._largest
        self._largest = None
        return Gradient(self._gradient, self._curvature, largest)

    def _largest_curvature(self) -> Array:
        if self._curvature is None:
            return 0.0
        xp, name = self._xp, "largest curvature of the object"
        own = xp.reshape(xp.max(self._curvature), (1,)) if len(self._curvature) else xp.zeros((1,))
        return xp.scalar(xp.max(xp.concat(gathered(xp, own, [1] * self.comm.size, self.comm, name))))
