"""The forward model: the physics that predicts a measurement, and its binding to one data set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from adorym.data.batches import Batch
from adorym.data.dataset import Dataset
from adorym.extension import check_returned
from adorym.forward.object import FirstObject, Settings, margin_px, object_states, thin_space
from adorym.forward.probe import probe_modes
from adorym.forward.thin import SCANNED, position_trend
from adorym.forward.time_course import basis_objects
from adorym.forward.views import ScanWindows, View
from adorym.losses.base import Loss
from adorym.object_space import ObjectSpace
from adorym.optics.geometry import Geometry, Regime
from adorym.optics.windows import object_shape
from adorym.parameters import Derived, Parameter
from adorym.preconditioners import Point, Preconditioner, Probed
from adorym.updates.base import Update
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.fused.misfit import Misfit, Seen

G = TypeVar("G", bound=Geometry)


@dataclass(frozen=True)
class Request:
    """What the engine asks of a model for one batch.

    Attributes:
        wanted: Names of the parameters that are refined in this epoch.
        preconditioners: By name, for the parameters whose optimizer divides by a curvature.
        weight: Factor on the loss: 1 / (total counts of the data set).
    """

    wanted: frozenset[str]
    preconditioners: Mapping[str, Preconditioner]
    weight: float

    @property
    def curvature(self) -> frozenset[str]:
        """Names of the parameters whose curvature is wanted."""
        return frozenset(self.preconditioners)

    def only(self, names: frozenset[str]) -> Request:
        """The same, for fewer parameters."""
        kept = {name: each for name, each in self.preconditioners.items() if name in names}
        return Request(self.wanted & names, kept, self.weight)


@dataclass(frozen=True)
class Counts:
    """Mean counts of the data set, without masked pixels.

    Attributes:
        per_pattern: Mean counts per pattern.
        per_pixel: Mean counts per valid pixel.
    """

    per_pattern: float = 1.0
    per_pixel: float = 1.0


@dataclass(frozen=True, eq=False)
class BoundModel(Generic[G]):
    """A forward model with the data set that it describes, made once before the run.

    Attributes:
        model: The model.
        dataset: The data, with quantities that the model derived from them.
        geometry: The experiment's geometry as the model uses it.
        settings: By name, for every parameter in use.
        shape: Shape of the object array.
        origin_px: (y, x) index in the object array of the data's position (0, 0).
        view: Which part of the object a batch needs.
        space: The quantity that is solved for.
        zero_at_corner: Whether `ForwardModel.predict` has the zero frequency of a pattern at its corner (far field).
        waves: Waves per pattern that are stored for the gradient: probe modes times slices.
        beam_counts: Photons of the beam per pattern, if known; otherwise those of the mean pattern are used.
        first_object: ``f(rng)``, the start object if the configuration names none; vacuum if ``None``.
        updates: Changes of the unknowns after an epoch, in addition to the gradient steps.
        derived: ``f(values)``, quantities that follow from the parameters, for results and reports.
        preconditioners: By name; they replace those that the parameters declare.
        control: Patterns that have no weight, and whose misfit tells how much the others know.
        counts: Mean counts, known once the data have been read.
        remarks: Lines for the log about what was found in the data.
    """

    model: ForwardModel
    dataset: Dataset
    geometry: G
    settings: Settings
    shape: tuple[int, ...]
    origin_px: tuple[int, int]
    view: View
    space: ObjectSpace
    zero_at_corner: bool = False
    waves: int = 1
    beam_counts: float | None = None
    first_object: Callable[[np.random.Generator], FirstObject] | None = None
    updates: tuple[Update, ...] = ()
    derived: Callable[[Mapping[str, np.ndarray]], dict[str, Derived]] = lambda values: {}
    preconditioners: Mapping[str, Preconditioner] = field(default_factory=dict)
    control: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    counts: Counts = Counts()
    remarks: tuple[str, ...] = ()

    def to_model_frame(self, patterns: np.ndarray) -> np.ndarray:
        """From the file's frame ``(..., y, x)`` to that of `ForwardModel.predict`."""
        return np.ascontiguousarray(np.fft.ifftshift(patterns, axes=(-2, -1))) if self.zero_at_corner else patterns

    def from_model_frame(self, patterns: np.ndarray) -> np.ndarray:
        """Inverse of `to_model_frame`."""
        return np.fft.fftshift(patterns, axes=(-2, -1)) if self.zero_at_corner else patterns

    def preconditioner(self, name: str) -> Preconditioner:
        """The preconditioner of parameter ``name``: the model's, else the declared one, else `Probed`."""
        return self.preconditioners.get(name) or self.model.refinable[name].preconditioner or Probed()

    def with_(self, **changes: Any) -> BoundModel[G]:
        """A copy with some fields replaced."""
        return replace(self, **changes)


class ForwardModel(ABC):
    """Predicts what the detector measures from the object and the experimental parameters.

    To write a new model, subclass it and implement `predict`. List further refinable parameters in ``refinable``, and
    override `bind` if the object or its windows are not those of a scan. Gradients are computed automatically.

    Attributes:
        refinable: The parameters by name, always with ``object``; by default those of a scanned probe.
    """

    kind: ClassVar[str]
    refinable: ClassVar[Mapping[str, Parameter]] = SCANNED

    def bind(self, dataset: Dataset, settings: Settings) -> BoundModel[Any]:
        """Bind the model to ``dataset``.

        By default the object is thin and holds the windows of all positions; patterns are in the far field, zero
        frequency at the corner. Without positions the object has the size of a pattern.

        Args:
            dataset: The measured data.
            settings: By name, for every parameter in use.

        Raises:
            InputError: The model cannot describe the data, or a parameter has no effect in it.
        """
        geometry = Geometry.of(dataset)
        if dataset.probe_positions_px is not None:
            geometry.check_pixel_size("far_field")
            return bound_scan(self, dataset, geometry, settings, "far_field")
        margin, (ny, nx) = margin_px(settings, 0), dataset.window_px
        return BoundModel(
            model=self,
            dataset=dataset,
            geometry=geometry,
            settings=settings,
            shape=(ny + 2 * margin, nx + 2 * margin),
            origin_px=(margin, margin),
            view=ScanWindows(dataset.window_px),
            space=thin_space(settings, geometry, "far_field"),
        )

    def placed(self, dataset: Dataset) -> Dataset:
        """``dataset`` with positions in pixels of this model's object, before it is bound; by default as they are."""
        return dataset

    @abstractmethod
    def predict(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[Any]) -> Array:
        """Intensities ``(n, y, x)`` in detector units, real.

        Args:
            xp: The backend.
            obj: ``(n, y, x)`` complex windows of the object, or as many as the view says.
            params: Values by name; for a parameter per pattern or angle, the ``n`` rows of this batch.
            batch: The patterns, their geometry and their measured values.
        """

    def objective(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[Any], loss: Loss, request: Request
    ) -> tuple[Array, dict[str, Array]]:
        """``(weighted loss, curvatures)`` of one batch.

        Models with a fused operation override this; the default is `predict`, the loss, and the preconditioners'
        curvatures.
        """
        predicted, target = self.predict(xp, obj, params, batch), batch.target
        check_returned(xp, predicted, target.shape, self, "predict", real=True)
        value = misfit(xp, predicted, batch, loss)
        return request.weight * value, self.curvatures(xp, obj, params, batch, loss, request)

    def curvatures(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[Any], loss: Loss, request: Request
    ) -> dict[str, Array]:
        """Curvatures of the weighted loss that ``request`` asks for; none if the loss has no known curvature."""
        if loss.amplitude_curvature is None or not request.preconditioners:
            return {}
        constants = {name: xp.stop_gradient(value) for name, value in params.items()}
        point = Point(
            xp,
            lambda o, p: self.predict(xp, o, p, batch),
            xp.stop_gradient(obj),
            constants,
            batch,
            loss.amplitude_curvature * request.weight,
        )
        return {
            name: each.curvature(name, point)
            for name, each in request.preconditioners.items()
            if not isinstance(each, Probed) or each.serves(name, point)
        }


def seen_by(xp: Backend, batch: Batch[Any], loss: Loss) -> Seen | None:
    """What a loss in one pass compares with; ``None`` where it is not available: on devices, and for own losses."""
    noise = loss.fused_noise(batch.floor) if xp.on_host else None
    if noise is None:
        return None
    mask = None if batch.mask is None else xp.to_numpy(batch.mask)
    return Seen(xp.to_numpy(batch.target), mask, noise, batch.floor)


def misfit(xp: Backend, predicted: Array, batch: Batch[Any], loss: Loss) -> Array:
    """The loss of predicted intensities ``(n, y, x)``, in one pass where that is available."""
    seen = seen_by(xp, batch, loss)
    if seen is None:
        return loss.value(xp, predicted, batch.target, batch.mask, batch.floor)
    return xp.host_operation(Misfit(seen), predicted)


def bound_scan(
    model: ForwardModel, dataset: Dataset, geometry: Geometry, settings: Settings, regime: Regime
) -> BoundModel[Any]:
    """``model`` bound to a scan of a thin object in the far or near field; the caller has checked the geometry."""
    assert dataset.probe_positions_px is not None  # checked by the callers
    shape, origin = object_shape(dataset.probe_positions_px, dataset.window_px, margin_px(settings))
    states, number = object_states(settings), object_states(settings) * basis_objects(settings)
    return BoundModel(
        model=model,
        dataset=dataset,
        geometry=geometry,
        settings=settings,
        shape=shape if number == 1 else (*shape, number),
        origin_px=origin,
        view=ScanWindows(dataset.window_px),
        space=thin_space(settings, geometry, regime),
        zero_at_corner=regime == "far_field",
        waves=probe_modes(settings) * states,
        updates=position_trend(settings, dataset),
    )
