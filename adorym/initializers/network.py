r"""Start objects from neural networks: measured peak -> network's grid -> object -> grid of the data.

The peak is centered, its sampling estimated, and it is resized by block DCT to 32^3. The network's object is resampled
and reduced to its largest connected region; its ramp is aligned to sub-voxel accuracy and its scale fitted. Phasing (by
default 80 steps of HIO and 20 of ER) or the run's epochs then refine it.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from adorym.data.block_dct import resized
from adorym.data.dataset import Dataset
from adorym.data.volume import Volume, cropped, oversampling, peak
from adorym.forward.object import FirstObject, Initializer
from adorym.initializers.guess import Guess, fitted, moving, on_grid
from adorym.initializers.phasing import Phasing, as_object, check_shape, peak_of
from adorym.initializers.phasing_run import Phaser, PhasingSettings, ShrinkWrapSettings
from adorym.registry import component, register
from adorym.wrapper import get_backend

LOG = logging.getLogger("adorym")
SIZE = 32
# Ratio of the network's array to the crystal's longest side, in the middle of the range of its training.
NETWORK_OVERSAMPLING = 1.75


@dataclass(frozen=True, eq=False)
class NetworkView:
    """A measured peak on the network's grid.

    Attributes:
        modulus: ``(32, 32, 32)`` with maximum 1, the peak in the middle.
        zoom: (z, y, x) voxel size of the network's object divided by that of the data's object.
        moved: (z, y, x) offset of the data's peak from the middle, in voxels.
    """

    modulus: np.ndarray
    zoom: np.ndarray
    moved: np.ndarray


def network_view(volume: Volume, length: int | None = None) -> NetworkView:
    """The peak of ``volume`` on the network's grid.

    Args:
        volume: Counts.
        length: Side of the cube around the peak that is resized; chosen from the sampling if absent.
    """
    if length is None:
        length = max(SIZE, round(SIZE * float(oversampling(volume).min()) / NETWORK_OVERSAMPLING))
    cube = cropped(volume, (length,) * 3)
    modulus = np.sqrt(resized(cube.counts, SIZE))
    middle = np.array([n // 2 for n in volume.shape])
    return NetworkView(modulus / modulus.max(), np.array(volume.shape) / length, peak(volume) - middle)


@component
class NetworkInitializer(Initializer):
    """Base of all networks for Bragg peaks; a subclass implements `predict`.

    Other packages register theirs through the entry point group ``adorym.initializer``.

    Attributes:
        sequence: Phasing after the network; an empty text for none.
        shrink_wrap: How the support is updated during phasing.
        length: Side of the cube around the peak that the network receives; chosen from the sampling if absent.
        support: Fraction of the largest amplitude above which the network's object is taken as crystal.
        compare: Number of random starts that are phased with the same sequence for the report; none by default.
        device: ``auto``, ``cpu`` or ``cuda[:index]``.
    """

    expensive: ClassVar[bool] = True

    sequence: str = "80*HIO + 20*ER"
    shrink_wrap: ShrinkWrapSettings = ShrinkWrapSettings(every=20, threshold=0.1, first_sigma=1.0)
    length: int | None = Field(None, ge=16)
    support: float = Field(0.1, gt=0, lt=1)
    compare: int = Field(0, ge=0)
    device: str = "auto"

    @abstractmethod
    def predict(self, modulus: np.ndarray) -> np.ndarray:
        """Complex object ``(32, 32, 32)`` of a modulus ``(32, 32, 32)`` with maximum 1 and its peak in the middle."""

    def make(self, dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return self.start(dataset, shape, rng).rows(0, shape[0])

    def start(self, dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> FirstObject:
        volume = peak_of(dataset)
        check_shape(volume, shape)
        guess = self.guess(volume)
        diagnostics = {"network_chi2": np.array(guess.chi2), "network_voxels": np.array(int(guess.support.sum()))}
        if not self.sequence:
            return FirstObject.of(as_object(guess.object), diagnostics)
        like: dict[str, Any] = {"sequence": self.sequence, "shrink_wrap": self.shrink_wrap}
        xp = get_backend("torch", device=self.device, precision="single")
        phaser = Phaser(xp, volume.modulus, volume.good, PhasingSettings(**like))
        found = phaser.run(guess.object[None], guess.support[None])
        diagnostics |= {"refined_chi2": found.chi2, "refined_voxels": found.supports.sum(axis=(1, 2, 3))}
        if self.compare:
            random = Phasing(**like, starts=self.compare, device=self.device).phase(volume, rng)
            diagnostics |= {"random_chi2": random.chi2, "random_voxels": random.voxels}
        LOG.info("network: chi2 %.4f, after '%s' %.5f", guess.chi2, self.sequence, float(found.chi2[0]))
        return FirstObject.of(as_object(found.objects[0]), diagnostics)

    def guess(self, volume: Volume) -> Guess:
        """The network's crystal on the grid of the data, fitted to them."""
        view = network_view(volume, self.length)
        obj = on_grid(self.predict(view.modulus), volume.shape, view.zoom)
        return fitted(obj * moving(volume.shape, view.moved), volume, self.support)


@register("initializer", "cdi_nn")
class CdiNn(NetworkInitializer):
    """3D-CDI-NN: shape and phase of a crystal from one pass of a network (`adorym.networks.cdi_nn`).

    Attributes:
        weights: File of weights (safetensors); those included in the package if absent.
    """

    weights: str | None = None

    def predict(self, modulus: np.ndarray) -> np.ndarray:
        from adorym.networks.cdi_nn import predict  # torch, for those who use it

        return predict(_network(self.weights, self.device), modulus)


@lru_cache(maxsize=2)
def _network(weights: str | None, device: str) -> Any:
    from adorym.networks.weights import load_network

    on = get_backend("torch", device=device).device
    return load_network(weights, on)[0]
