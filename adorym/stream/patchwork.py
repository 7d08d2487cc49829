r"""The picture of a network while a scan goes on: patches are laid where their windows are, as they come.

A patch has a phase offset of its own, which is that of the object where the patch lands; the first one has none.
Amplitudes and unit phase factors are averaged apart, with the weights :math:`|P|^2`, as after the scan
(`adorym.networks.prediction`), but nothing that was laid is turned again.
"""

from __future__ import annotations

import numpy as np

from adorym.data.dataset import Dataset
from adorym.engine.problem import Problem
from adorym.errors import AdorymError, ConfigError
from adorym.extension import check_returned, user_code
from adorym.forward.object import PatchInitializer
from adorym.object_space import Transmission
from adorym.optics.windows import clip_corners, corners_and_offsets

SEEN = 0.02  # of the largest illumination of a window: below it nothing is believed
TINY = 1e-12


class Patchwork:
    """Lays the patches of a network into the object of a problem.

    Args:
        network: What makes the patches.
        replace: Lay them everywhere; otherwise only where no frame has lit the object before.

    Attributes:
        models: What made the patch of each pattern, by its number; the network may be replaced while a scan goes on.
    """

    def __init__(self, network: PatchInitializer, *, replace: bool) -> None:
        self._network, self._replace = network, replace
        self.models: dict[int, str] = {}
        self._origin = (0, 0)
        self._light, self._amplitude = np.zeros((0, 0)), np.zeros((0, 0))
        self._turns = np.zeros((0, 0), complex)

    def lay(self, problem: Problem, rows: np.ndarray) -> None:
        """Lay the patches of the patterns ``rows``. Collective.

        Raises:
            InputError: Model or data are foreign to the network.
        """
        if not len(rows):
            return
        obj, space = problem.store.values(), problem.bound.space
        if obj[0, 0].size != 1 or "probe" not in problem.values or not isinstance(space, Transmission):
            raise ConfigError(
                "forward_model", "the network of a stream makes the transmission of a thin object under a probe",
                found=f"'{problem.bound.model.kind}', {space.representation} of shape {obj.shape}",
                remedy="give --stream engine=iterative",
            )  # fmt: skip
        present, dataset = obj.reshape(obj.shape[:2]), problem.dataset
        probe = problem.values["probe"].on_host(problem.xp)
        patches, model = self._answer(problem, probe, rows)
        self.models |= dict.fromkeys(rows.tolist(), model)
        self._fit(present.shape, problem.bound.origin_px)
        before = self._light.copy()
        light = np.sum(np.abs(probe) ** 2, axis=0)
        light /= light.max()
        # What is refined may have turned since it was laid; alone, the picture is what was laid.
        there = self._turns.copy() if self._replace else before * _unit(present)
        self._add(patches, light, self._corners(dataset, rows), there)
        new = self._light > SEEN
        if not self._replace:
            new &= before <= SEEN
        picture = self._amplitude / np.maximum(self._light, TINY) * np.exp(1j * np.angle(self._turns))
        made = np.where(new, picture, present).astype(obj.dtype).reshape(obj.shape)
        problem.store.restore(made, problem.store.state())

    def _answer(self, problem: Problem, probe: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, str]:
        """The patches, and what made them. Rank 0 asks for all: another one might find newer weights already."""
        found: tuple[np.ndarray, str] | AdorymError | None = None
        if problem.comm.is_root:
            try:
                with user_code(self._network, method="patches"):
                    patches = self._network.patches(problem.dataset, probe, rows)
                    found = patches, self._network.model
                shape = (len(rows), *probe.shape[-2:])
                check_returned(None, patches, shape, self._network, "patches", finite=True)
            except AdorymError as error:
                found = error
        found = problem.comm.broadcast(found, "patches of the network")
        if isinstance(found, AdorymError):
            raise found
        assert found is not None  # rank 0 has an answer
        return found

    def _corners(self, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
        assert dataset.probe_positions_px is not None  # every frame of a stream has a position
        corners, _ = corners_and_offsets(dataset.probe_positions_px[rows])
        shape = self._light.shape[0], self._light.shape[1]
        return clip_corners(corners + np.asarray(self._origin), shape, dataset.window_px)

    def _add(self, patches: np.ndarray, light: np.ndarray, corners: np.ndarray, there: np.ndarray) -> None:
        """Add patches to the sums, each with the phase offset of what is ``there``, which they join."""
        ny, nx = light.shape
        for (y, x), patch in zip(corners.tolist(), patches, strict=True):
            window = slice(y, y + ny), slice(x, x + nx)
            common = np.sum(light * there[window] * patch.conj())
            turn = light * _unit(patch) * (1 if np.abs(common) <= TINY else common / np.abs(common))
            there[window] += turn
            self._turns[window] += turn
            self._light[window] += light
            self._amplitude[window] += light * np.abs(patch)

    def _fit(self, shape: tuple[int, ...], origin_px: tuple[int, int]) -> None:
        """Keep the sums in the frame of the object, which may have grown."""
        if self._light.shape == shape and self._origin == tuple(origin_px):
            return
        y, x = (after - before for after, before in zip(origin_px, self._origin, strict=True))
        for name in ("_light", "_amplitude", "_turns"):
            old = getattr(self, name)
            made = np.zeros(shape, old.dtype)
            if old.size:
                made[y : y + old.shape[0], x : x + old.shape[1]] = old
            setattr(self, name, made)
        self._origin = origin_px[0], origin_px[1]


def _unit(wave: np.ndarray) -> np.ndarray:
    return wave / np.maximum(np.abs(wave), TINY)
