"""What a forward model is: physics that predicts what the detector measures."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from adorym.data.batches import Batch
from adorym.data.dataset import Dataset
from adorym.losses.base import Loss
from adorym.optics.geometry import Geometry
from adorym.optics.representation import Representation
from adorym.parameters import Derived, Parameter, ParameterSettings
from adorym.registry import component
from adorym.schema import ComponentOf
from adorym.units import Length
from adorym.wrapper.base import Array, Backend

# The present values of a parameter, one row a pattern of the batch; ``None`` if it takes no part.
Present = Callable[[str], np.ndarray | None]
# Room for refined positions: larger corrections than this are cut off at the object's edge.
REFINED_MARGIN_PX, FIXED_MARGIN_PX = 12, 2


@dataclass(frozen=True)
class Request:
    """What the engine wants to know of one batch.

    Attributes:
        wanted: Names of the parameters that are refined now.
        curvature: Names of those whose optimizer uses a curvature.
        weight: Factor on the loss: one over the number of counts in the whole data set.
    """

    wanted: frozenset[str]
    curvature: frozenset[str]
    weight: float


@dataclass(frozen=True, eq=False)
class FirstObject:
    """A first object, and what finding it has told.

    Attributes:
        rows: ``f(start, stop)`` gives rows of it, complex.
        curves: Arrays by name that the result keeps beside the fit, such as ``prtf`` and ``starts_chi2``.
        whole: All of it, where it had to be made at once.
    """

    rows: Callable[[int, int], np.ndarray]
    curves: Mapping[str, np.ndarray] = field(default_factory=dict)
    whole: np.ndarray | None = None

    @classmethod
    def of(cls, whole: np.ndarray, curves: Mapping[str, np.ndarray] | None = None) -> FirstObject:
        """One that was made at once."""
        return cls(lambda start, stop: whole[start:stop], curves or {}, whole)


class ForwardModel(ABC):
    """Predicts what the detector measures from the object and the experimental parameters.

    To write a new model, subclass, fill in `predict`, and declare the parameters that may be refined. Everything else
    has a default: gradients come from the backend's automatic differentiation.

    Attributes:
        refinable: The parameters by name; ``object`` is always among them.
        whole_object: Whether every pattern sees all of the object: a batch then gets one window, ``(1, y, x, ...)``,
            and is by default the whole data set.
        empty: Value of the object where there is nothing: 1, vacuum, of a transmission; 0 of a scattering density.
        takes_exponent: Whether `predict` takes the negative logarithm of the transmission in place of it.
        by_bands: Whether `view` is one band of rows for all patterns of a batch.
        absorbs_only: Whether the phase of the object has no effect; the result is then its attenuation coefficient.
    """

    kind: ClassVar[str]
    whole_object: ClassVar[bool] = False
    empty: ClassVar[float] = 1.0
    refinable: ClassVar[Mapping[str, Parameter]]
    takes_exponent: ClassVar[bool] = False
    by_bands: ClassVar[bool] = False
    absorbs_only: ClassVar[bool] = False

    @abstractmethod
    def predict(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch) -> Array:
        """Intensities ``(n, y, x)`` in detector units, real.

        Args:
            xp: The backend.
            obj: ``(n, y, x)`` complex windows of the object, or as many as `view` says.
            params: Values by name; of a parameter per pattern or angle, the ``n`` rows of this batch.
            batch: The patterns, their geometry and their measured values.
        """

    def objective(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch, loss: Loss, request: Request
    ) -> tuple[Array, dict[str, Array]]:
        """``(weighted loss, curvatures)`` of one batch.

        Models with a fused operation override this; the default is `predict`, the loss, and `curvatures`.
        """
        value = loss.value(xp, self.predict(xp, obj, params, batch), batch.target, batch.mask, batch.floor)
        constants = {name: xp.stop_gradient(p) for name, p in params.items()}
        curvatures = self.curvatures(xp, xp.stop_gradient(obj), constants, batch, loss, request)
        return request.weight * value, curvatures

    def curvatures(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch, loss: Loss, request: Request
    ) -> dict[str, Array]:
        """Gauss-Newton curvatures of the weighted loss, for the names in ``request.curvature`` that the model knows.

        Of the object: ``(n or 1, y, x)``, one window a pattern; of a parameter: its diagonal, or its blocks
        ``(..., k, k)``. None by default; a parameter then cannot use the ``preconditioned`` optimizer.
        """
        return {}

    def to_model_frame(self, patterns: np.ndarray) -> np.ndarray:
        """From the file's frame ``(..., y, x)`` to that of `predict` (far field: zero frequency to the corner)."""
        return patterns

    def from_model_frame(self, patterns: np.ndarray) -> np.ndarray:
        """Inverse of `to_model_frame`."""
        return patterns

    def geometry(self, dataset: Dataset) -> Geometry:
        """The experiment's geometry as this model uses it."""
        return Geometry.of(dataset)

    def check(self, dataset: Dataset, geometry: Geometry, names: Collection[str]) -> None:
        """Raise an `InputError` if this model cannot describe the data, or parameters ``names`` mean nothing in it."""
        return None

    def first_object(self, dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> FirstObject:
        """The object that a run starts from where its configuration names none: vacuum."""
        return FirstObject(lambda start, stop: np.ones((stop - start, *shape[1:]), np.complex128))

    def object_frame(self, dataset: Dataset, margin_px: int) -> tuple[tuple[int, ...], tuple[int, int]]:
        """``(shape, origin_px)`` of an object array that holds every window with ``margin_px`` to spare.

        ``origin_px`` is the index in the array of the data's position (0, 0).
        """
        ny, nx = dataset.window_px
        return (ny + 2 * margin_px, nx + 2 * margin_px), (margin_px, margin_px)

    def prepare(self, dataset: Dataset) -> Dataset:
        """``dataset`` with what this model finds out about it before anything else is made, as it is by default."""
        return dataset

    def default_margin_px(self, moving: bool) -> int:
        """Pixels to spare where none are given; ``moving``: positions, shifts or tilts are refined."""
        return REFINED_MARGIN_PX if moving else FIXED_MARGIN_PX

    def view(
        self, corners_px: np.ndarray, geometry: Geometry, object_shape: tuple[int, ...], present: Present
    ) -> tuple[np.ndarray, tuple[int, int]]:
        """Which parts of the object array `predict` needs for a batch: ``(corners (k, 2), (y, x) size of each)``.

        One a pattern by default, the windows themselves: ``corners_px`` ``(n, 2)``. ``present`` gives the present
        values of a parameter for each pattern of the batch.
        """
        return corners_px[:1] if self.whole_object else corners_px, geometry.window_px

    def beam_counts(self, dataset: Dataset, mean_counts: float) -> float:
        """Photons of the first probe; those of a mean pattern by default."""
        return mean_counts

    def depth_at_once(self, object_shape: tuple[int, ...]) -> int:
        """How many waves of each pattern are kept for the gradient, besides those of a thin object."""
        return math.prod(object_shape[2:])

    @property
    def whole_steps(self) -> str | None:
        """Name of the setting for which `rounder` needs the whole object; ``None`` where it may have a part of it."""
        return None

    @property
    def of_transmission(self) -> tuple[str, ...]:
        """Settings in use that act on the stored object and take it for its transmission."""
        return ()

    def rounder(self, xp: Backend, stored: Array, gradient: Array, geometry: Geometry) -> Array:
        """The gradient by the whole stored object, times a positive operator that makes steps equally long for all
        changes of it; as it is by default.

        Used by optimizers that divide by a curvature. ``stored`` is the object where the gradient was taken.
        """
        return gradient

    def settle(
        self,
        geometry: Geometry,
        obj: Callable[[], np.ndarray],
        values: Mapping[str, np.ndarray],
        epoch: tuple[int, int],
    ) -> tuple[np.ndarray, dict[str, np.ndarray]] | None:
        """An object and parameters that fit the data as well and are to be preferred, or ``None`` to leave all as it
        is.

        Called after every epoch. For what the gauge of a single parameter cannot express: a change of the object that a
        change of a parameter makes up for.

        Args:
            geometry: The experiment's geometry.
            obj: Returns the whole object as it is stored; dear, so call it only if it is needed.
            values: All parameters.
            epoch: Number of the epoch, from 1, and of all planned epochs.
        """
        return None

    def material(self, values: Mapping[str, np.ndarray]) -> float | None:
        """Delta / beta of an object of one material, represented by its phase shift; ``None`` for any other."""
        return None

    def encode(self, transmission: np.ndarray) -> np.ndarray:
        """The complex array to solve for, from a whole first object of one `material`."""
        return transmission

    def decode(self, stored: np.ndarray, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """The transmission of some rows of the object, from what was solved for and the parameters' values."""
        return stored

    def derived(self, dataset: Dataset, values: Mapping[str, np.ndarray]) -> dict[str, Derived]:
        """Quantities that follow from the parameters' values, for results and reports."""
        return {}


class Initializer(ABC):
    """Maps a data set to a first object."""

    kind: ClassVar[str]

    @abstractmethod
    def make(self, dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Complex object of ``shape``."""

    def start(self, dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> FirstObject:
        """The same by rows, and what an initializer has to tell besides.

        To be overridden where rows can be made without the whole: of a large object each rank needs only a part.
        """
        return FirstObject.of(self.make(dataset, shape, rng))


@component
class ObjectSettings(ParameterSettings):
    """How the object starts and is refined.

    Attributes:
        initial: Initial object; vacuum (transmission 1) if absent.
        margin_px: Pixels around the scanned area, or rows above and below a tomogram; room for positions, shifts and
            tilts that are refined. Chosen from the run if absent.
        representation: What is solved for: the real and imaginary part of the transmission (``real_imag``), or delta
            and beta of the refractive index (``delta_beta``), whose phase never wraps.
        slice_thickness: Thickness of a slice, which delta and beta refer to; the pixel size along x if absent.
    """

    initial: Annotated[Initializer | None, ComponentOf("initializer")] = None  # type: ignore[assignment]
    margin_px: int | None = Field(None, ge=0)
    representation: Representation = "real_imag"
    slice_thickness: Length | None = Field(None, gt=0)


def object_parameter(**changes: Any) -> Parameter:
    """The object as a refinable parameter; ``changes`` replace fields of the declaration."""
    declared: dict[str, Any] = {
        "help": "complex transmission of the object",
        "optimizer": {"kind": "preconditioned", "learning_rate": 0.6, "regularization": 0.05, "momentum": 0.9},
        "refined": True,
        "settings": ObjectSettings,
    }
    return Parameter(**(declared | changes))
