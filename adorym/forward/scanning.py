r"""What models share that scan a probe over a thin object: its parameters, its frame, and curvatures for fast steps.

A subclass has only to predict. The curvatures that the ``preconditioned`` steps divide by hold for every subclass whose
detector sees :math:`I = \sum_m |\mathcal U[O P_m]|^2`, or nearly that, with any unitary :math:`\mathcal U`:

.. math:: h_O = q\,c \sum_m |P_m|^2, \qquad h_P = q\,c \sum_j |O_j|^2, \qquad
          h_{r_j} = q\,c\, J_j^T J_j, \quad J_j = \partial\sqrt{I_j}/\partial r_j

with the weight c of the loss and its second derivative q by the amplitude. The first two bound the diagonal of the
Gauss-Newton matrix of a whole batch (Maiden, Johnson & Li, Optica 4, 736 (2017)); :math:`J` is the difference of two
predictions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy as np

from adorym.data.batches import Batch
from adorym.data.dataset import Dataset
from adorym.errors import DataError
from adorym.forward.base import ForwardModel, Request, object_parameter
from adorym.forward.probe import probe_parameter
from adorym.losses.base import Loss
from adorym.optics.geometry import Geometry, Regime
from adorym.optics.windows import object_shape
from adorym.parameters import Parameter, ParameterSettings
from adorym.wrapper.base import Array, Backend

# Step of the difference that stands for a derivative: far above rounding, far below the finest structure of a pattern.
STEP_PX = 0.05


def without_mean(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Gauge of positions: a common shift of all of them is a shift of the object."""
    return values - (values - first).mean(0)


def _positions(model: Any, dataset: Dataset, settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(dataset.probe_positions_px, np.float64)


class ScanningModel(ForwardModel):
    """A probe scanned over a thin object, in the far field unless `regime` says otherwise.

    Fill in `predict`; add to `refinable` what else may be refined.
    """

    refinable: ClassVar[Mapping[str, Parameter]] = {
        "object": object_parameter(),
        "probe": probe_parameter(),
        "probe_positions": Parameter(
            unit="px",
            help="(y, x) of each probe window's corner in object pixels",
            start=_positions,
            per="pattern",
            optimizer={"kind": "preconditioned", "regularization": 0.0, "maximum_step": 1.0},
            schedule={"kind": "constant"},
            gauge=without_mean,
            window_relative=True,
        ),
    }

    @property
    def regime(self) -> Regime:
        """``far_field`` or ``near_field``: where `predict` has the zero frequency, and how large a pixel is."""
        return "far_field"

    def to_model_frame(self, patterns: np.ndarray) -> np.ndarray:
        far = self.regime == "far_field"
        return np.ascontiguousarray(np.fft.ifftshift(patterns, axes=(-2, -1))) if far else patterns

    def from_model_frame(self, patterns: np.ndarray) -> np.ndarray:
        return np.fft.fftshift(patterns, axes=(-2, -1)) if self.regime == "far_field" else patterns

    def object_frame(self, dataset: Dataset, margin_px: int) -> tuple[tuple[int, ...], tuple[int, int]]:
        assert dataset.probe_positions_px is not None  # `check` looked
        return object_shape(dataset.probe_positions_px, dataset.window_px, margin_px)

    def check(self, dataset: Dataset, geometry: Geometry, names: Collection[str]) -> None:
        if dataset.probe_positions_px is None:
            raise DataError(
                dataset.path,
                "the data hold no probe positions",
                expected="metadata/probe_pos_px",
                remedy="name the array that holds them, as in 'adorym convert IN OUT --map positions=KEY'",
            )
        if len(np.unique(dataset.theta_rad)) > 1:
            raise DataError(
                dataset.path,
                "a thin object has one projection, but the data hold several rotation angles",
                found=f"{len(np.unique(dataset.theta_rad))} angles",
                remedy="choose one with 'data.angles'",
            )
        geometry.check_pixel_size(self.regime)

    def probe_at_object(self, xp: Backend, params: Mapping[str, Array], batch: Batch) -> Array:
        """Probe modes ``(m, y, x)`` as they meet the object, but for the shift to their position."""
        return params["probe"]

    def curvatures(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch, loss: Loss, request: Request
    ) -> dict[str, Array]:
        if loss.amplitude_curvature is None:
            return {}
        q, found = loss.amplitude_curvature * request.weight, {}
        if "object" in request.curvature:
            found["object"] = q * xp.sum(xp.abs2(self.probe_at_object(xp, params, batch)), axis=0, keepdims=True)
        if "probe" in request.curvature:
            found["probe"] = q * xp.sum(xp.abs2(obj), axis=0, keepdims=True)
        if "probe_positions" in request.curvature:
            found["probe_positions"] = q * self._position_blocks(xp, obj, params, batch)
        return found

    def _position_blocks(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch) -> Array:
        """``(n, 2, 2)`` J^T J of the amplitudes, by differences of predictions."""

        def amplitude(step: tuple[float, float]) -> Array:
            moved = {**params, "probe_positions": params["probe_positions"] + xp.asarray(np.array([step]))}
            return xp.sqrt(self.predict(xp, obj, moved, batch) + batch.floor)

        here = amplitude((0.0, 0.0))
        rates = [(amplitude(step) - here) / STEP_PX for step in ((STEP_PX, 0.0), (0.0, STEP_PX))]
        weights = 1.0 if batch.mask is None else batch.mask
        rows = [xp.stack([xp.sum(weights * a * b, axis=(-2, -1)) for b in rates], axis=-1) for a in rates]
        return xp.stack(rows, axis=-2)
