r"""Bragg coherent diffraction of a crystal: the whole peak at once.

.. math:: I(\mathbf q) = \left|\mathcal F[S O]\right|^2 \otimes g_\sigma + b

with the complex crystal O in its support S, a Gaussian :math:`g_\sigma` for partial coherence and a uniform background
b (see `adorym.forward.crystal`). Masked voxels are not constrained.
"""

from __future__ import annotations

from collections.abc import Mapping

from adorym.data.batches import Batch
from adorym.forward.base import Request, seen_by
from adorym.forward.crystal import CrystalModel, corner_rows
from adorym.losses.base import Loss
from adorym.optics.geometry import Geometry
from adorym.registry import register
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.fused.misfit import WaveMisfit


@register("forward_model", "bragg_cdi")
class BraggCdi(CrystalModel):
    """Three-dimensional far field of a crystal; frames ``(z, y, x)`` are slices through one Bragg peak."""

    def objective(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[Geometry], loss: Loss, request: Request
    ) -> tuple[Array, dict[str, Array]]:
        own, known = type(self), BraggCdi
        same = (own.predict, own.crystal, own.with_background) == (known.predict, known.crystal, known.with_background)
        seen = seen_by(xp, batch, loss) if same and own.measured is known.measured else None
        if seen is None or "coherence_blur" in params:
            return super().objective(xp, obj, params, batch, loss, request)
        wave = xp.fftn(xp.reshape(obj, obj.shape[1:]), (0, 1, 2))  # (y, x, z), as it lies in memory
        operation = WaveMisfit(seen, corner_rows(batch.patterns, obj.shape[-1]))
        value = xp.host_operation(operation, wave, params["background"] if "background" in params else xp.zeros((1,)))
        return request.weight * value, self.curvatures(xp, obj, params, batch, loss, request)

    def predict(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[Geometry]) -> Array:
        """Intensities ``(n, y, x)`` in photons from the object window ``obj`` ``(1, y, x, z)`` complex."""
        wave = xp.fftn(self.crystal(xp, obj), (0, 1, 2))
        intensity = self.measured(xp, xp.abs2(wave), params)
        return self.with_background(xp.take(intensity, corner_rows(batch.patterns, obj.shape[-1])), params)
