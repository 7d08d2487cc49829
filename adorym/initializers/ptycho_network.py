"""A start object for ptychography from one pass of a trained network (`adorym.networks.ptycho_nn`).

Data that are foreign to the network, by the fingerprint of the probe or because the picture does not explain the
patterns, start from vacuum, with a warning that says why.
"""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from adorym.data.dataset import Dataset
from adorym.errors import ConfigError
from adorym.forward.object import FirstObject, PatchInitializer
from adorym.optics.filtered_back_projection import filtered_back_projection
from adorym.paths import InputPath
from adorym.registry import register
from adorym.wrapper import get_backend

LOG = logging.getLogger("adorym")
WHERE = "parameters.object.initial"
DARKEST = 1e-3
RECENT = 1024  # patterns of a scan that goes on among which neighbors are looked for


@register("initializer", "ptycho_nn")
class PtychoNn(PatchInitializer):
    """The picture of a trained network, stitched from a patch under every pattern.

    Slices of a thick object share amplitude and phase evenly; a volume is filtered back-projection of the pictures of
    all angles.

    Attributes:
        weights: File of weights (safetensors), from `adorym train ptycho_nn`; if absent, those that the package brings,
            for patterns of 64 x 64 pixels and focused beams.
        compare: Corrections of the object, the probe fixed, that are made from this start and from vacuum; the start
            that leads to the smaller misfit is taken. None by default.
        device: ``auto``, ``cpu`` or ``cuda[:index]``.
    """

    expensive: ClassVar[bool] = True

    weights: InputPath | None = None
    compare: int = Field(0, ge=0)
    device: str = "auto"

    def make(self, dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        raise ConfigError(
            WHERE, "'ptycho_nn' needs the probe of a ptychographic model", remedy="choose another initial object"
        )

    def start_of(self, bound: Any, rng: np.random.Generator) -> FirstObject:
        spec = bound.model.refinable.get("probe")
        if spec is None or "probe" not in bound.settings or bound.dataset.probe_positions_px is None:
            return FirstObject.of(self.make(bound.dataset, bound.shape, rng))
        if getattr(bound.model, "regime", None) == "near_field":
            raise ConfigError(WHERE, "'ptycho_nn' knows the far field only", remedy="choose another initial object")
        probe = spec.start_value("probe", bound, bound.settings["probe"], np.random.default_rng(0))
        dataset = bound.dataset
        scans = [np.flatnonzero(dataset.angle_index == angle) for angle in range(dataset.n_angles)]
        found = [self.picture(bound, probe, rows) for rows in scans]
        if dataset.n_angles == 1:
            return FirstObject.of(_in_slices(found[0][0], bound.shape), found[0][1])
        told = {name: np.array([each[name] for _, each in found]) for name in ("network_quality", "network_used")}
        return FirstObject.of(_volume(np.stack([picture for picture, _ in found]), dataset, bound.shape), told)

    def patches(self, dataset: Dataset, probe: np.ndarray, rows: np.ndarray) -> np.ndarray:
        from adorym.networks.prediction import predict_patches

        last = np.arange(max(0, len(dataset.angle_index) - RECENT), len(dataset.angle_index))
        newest = self._newest
        newest.look(dataset, probe, last)
        trained = newest.network
        scan = trained.scan(dataset, probe, np.union1d(last, rows))
        unknown = trained.unknown_probe(probe)
        if unknown is not None:
            raise ConfigError(WHERE, unknown, remedy="train a network for this probe with 'adorym train ptycho_nn'")
        found = predict_patches(trained.network, scan, None, np.searchsorted(scan.own_rows, rows))
        # The network's probe has as many photons as the patterns say; this one has its own.
        return found * np.sqrt(scan.photons / np.sum(np.abs(probe) ** 2))

    @property
    def model(self) -> str:
        return str(self._newest.name)

    @cached_property
    def _newest(self) -> Any:
        """The network of a scan that goes on, whose weights may be replaced."""
        from adorym.networks.newest import NewestNetwork

        return NewestNetwork(self.weights, get_backend("torch", device=self.device).device)

    def picture(self, bound: Any, probe: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The object ``(y, x)`` of the patterns ``rows``, vacuum if they are foreign, and the diagnostics."""
        from adorym.networks.prediction import Frame, corrected, misfits
        from adorym.networks.trained import TrainedNetwork

        trained = TrainedNetwork.load(self.weights, get_backend("torch", device=self.device).device)
        scan, shape = trained.scan(bound.dataset, probe, rows), bound.shape[:2]
        found = trained.predict(scan, shape, bound.origin_px)
        diagnostics = dict(found.diagnostics)
        foreign = trained.foreign(scan, found)
        if foreign is not None:
            LOG.warning("%s: %s; the object starts from vacuum", WHERE, foreign)
            return np.ones(shape, complex), diagnostics | {"network_used": np.array(False)}
        LOG.info("ptycho_nn: misfit %.3f of vacuum's in the median", found.quality)
        taken = True
        if self.compare:
            frame, root = Frame.of(scan, shape, bound.origin_px), np.sqrt(scan.photons)
            starts = found.object, np.ones(shape, complex)
            ends = [misfits(scan, corrected(scan, o, frame, self.compare) * root, frame).mean() for o in starts]
            taken = bool(ends[0] <= ends[1])
            won = "the network's start is taken" if taken else "vacuum is taken"
            LOG.info("ptycho_nn: after %d corrections misfit %.3g, %.3g from vacuum: %s", self.compare, *ends, won)
            diagnostics |= {"network_compared": np.array(ends)}
        diagnostics |= {"network_used": np.array(taken)}
        return (found.object if taken else np.ones(shape, complex)), diagnostics


def _in_slices(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """``picture`` ``(y, x)``, or slices ``(y, x, z)`` whose product it is."""
    if len(shape) == 2:
        return picture
    from skimage.restoration import unwrap_phase  # slow to import

    part = np.abs(picture) ** (1 / shape[2]) * np.exp(1j * unwrap_phase(np.angle(picture)) / shape[2])
    return np.repeat(part[..., None], shape[2], axis=2)


def _volume(pictures: np.ndarray, dataset: Dataset, shape: tuple[int, ...]) -> np.ndarray:
    """Transmissions ``(y, x, z)`` of the voxels from the pictures ``(a, y, x)`` of all angles."""
    from skimage.restoration import unwrap_phase  # slow to import

    center = dataset.rotation_center_px or 0.0
    absorbed = -np.log(np.maximum(np.abs(pictures), DARKEST))
    advanced = -np.stack([unwrap_phase(np.angle(picture)) for picture in pictures])
    before, made = (shape[1] - shape[2]) // 2, []
    for integrals in (absorbed, advanced):
        volume = filtered_back_projection(integrals, dataset.theta_rad, center, shape[1])
        made.append(volume[..., before : before + shape[2]])
    return np.exp(-(made[0] + 1j * made[1])).astype(np.complex128)
