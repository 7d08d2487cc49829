r"""Bragg coherent diffraction frame by frame: each is a projection of the crystal times a phase ramp along z.

At rocking angle :math:`\theta_j` the detector cuts reciprocal space :math:`f_j` steps from the middle of the peak, and

.. math:: I_j(q_y, q_x) = \Big|\mathcal F_{yx} \sum_z O(y, x, z)\, e^{-2\pi i f_j z / N_z}\Big|^2 N_z^{-1} + b .

For integer :math:`f_j` this is `bragg_cdi`; here :math:`f_j` may be refined (for a stage that does not rotate
evenly), and ranks share the frames. Hruszkewycz et al., Nat. Mater. 16, 244 (2017), eq. (1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from adorym.data.batches import Batch
from adorym.data.dataset import Dataset
from adorym.data.volume import rocking_places
from adorym.errors import ConfigError
from adorym.forward.base import BoundModel
from adorym.forward.crystal import CrystalModel
from adorym.forward.object import Settings
from adorym.optics.geometry import Geometry
from adorym.parameters import Parameter, ParameterSettings
from adorym.registry import register
from adorym.wrapper.base import Array, Backend


def _steps(bound: BoundModel[Geometry], settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    return rocking_places(bound.dataset)[:, None]


def without_shift_and_stretch(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Gauge: a common shift of all frames is a phase ramp of the object; a stretch changes the voxel size along z."""
    change, place = values - first, first - first.mean()
    return values - change.mean() - place * ((place * change).sum() / (place * place).sum())


@register("forward_model", "rocking_curve")
class RockingCurve(CrystalModel):
    """Bragg coherent diffraction frame by frame, at refinable positions on the rocking curve."""

    uneven: ClassVar[bool] = True
    refinable: ClassVar[Mapping[str, Parameter]] = {
        **{name: spec for name, spec in CrystalModel.refinable.items() if name != "coherence_blur"},
        "rocking_positions": Parameter(
            unit="px",
            help="position of each frame on the rocking curve in steps, 0 at the middle frame",
            start=_steps,
            per="pattern",
            optimizer={"kind": "adam", "learning_rate": "0.01 px"},
            gauge=without_shift_and_stretch,
        ),
    }

    def bind(self, dataset: Dataset, settings: Settings) -> BoundModel[Geometry]:
        theta = np.asarray(dataset.theta_rad, float)
        if dataset.n_angles == dataset.n_patterns and len(np.unique(theta)) < len(theta):
            raise ConfigError("data.theta", "two frames have the same rocking angle", found=theta.tolist())
        return super().bind(dataset, settings)

    def predict(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[Geometry]) -> Array:
        """Intensities ``(n, y, x)`` in photons from the object window ``obj`` ``(1, y, x, z)`` complex."""
        crystal = self.crystal(xp, obj)
        n = crystal.shape[0]
        angle = params["rocking_positions"] * xp.asarray((-2 * np.pi / n) * (np.arange(n) - n // 2)[None, :])
        ramps = xp.complex(xp.cos(angle), xp.sin(angle)) / float(np.sqrt(n))
        frames = xp.abs2(xp.fft2(xp.einsum("nz,zyx->nyx", ramps, crystal)))
        return self.with_background(frames, params)
