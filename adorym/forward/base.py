"""What a forward model is: physics that predicts what the detector measures, and what it is bound to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import numpy as np
from pydantic import Field

from adorym.data.batches import Batch
from adorym.data.dataset import Dataset
from adorym.extension import check_returned
from adorym.forward.views import ScanWindows, View
from adorym.losses.base import Loss
from adorym.object_space import Exponent, ObjectSpace, Transmission
from adorym.optics.geometry import Geometry, Regime
from adorym.optics.representation import Representation
from adorym.parameters import OBJECT, Derived, Parameter, ParameterSettings
from adorym.preconditioners import Point, Preconditioner, Probed
from adorym.registry import component
from adorym.schema import ComponentOf
from adorym.units import Length
from adorym.updates.base import Update
from adorym.wrapper.base import Array, Backend

G = TypeVar("G", bound=Geometry)
Settings = Mapping[str, ParameterSettings]

# Parameters that move the object or its window as they are refined, and room for it: larger corrections are cut off.
MOVING = ("probe_positions", "probe_offset", "object_shift", "tilt", "axis_tilt")
REFINED_MARGIN_PX, FIXED_MARGIN_PX = 12, 2


@dataclass(frozen=True)
class Request:
    """What the engine wants to know of one batch.

    Attributes:
        wanted: Names of the parameters that are refined now.
        preconditioners: By name, of those whose optimizer divides by a curvature.
        weight: Factor on the loss: one over the number of counts in the whole data set.
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


@dataclass(frozen=True, eq=False)
class FirstObject:
    """A first object, and what finding it has told.

    Attributes:
        rows: ``f(start, stop)`` gives rows of it, complex.
        diagnostics: Arrays by name that the result keeps beside the fit, such as ``prtf`` and ``starts_chi2``.
        whole: All of it, where it had to be made at once.
    """

    rows: Callable[[int, int], np.ndarray]
    diagnostics: Mapping[str, np.ndarray] = field(default_factory=dict)
    whole: np.ndarray | None = None

    @classmethod
    def of(cls, whole: np.ndarray, diagnostics: Mapping[str, np.ndarray] | None = None) -> FirstObject:
        """One that was made at once."""
        return cls(lambda start, stop: whole[start:stop], diagnostics or {}, whole)

    @classmethod
    def vacuum(cls, shape: tuple[int, ...]) -> FirstObject:
        """Transmission 1 everywhere."""
        return cls(lambda start, stop: np.ones((stop - start, *shape[1:]), np.complex128))


@dataclass(frozen=True)
class Counts:
    """What all patterns count, masked pixels left out.

    Attributes:
        per_pattern: Mean of a pattern.
        per_pixel: Mean of a valid pixel.
    """

    per_pattern: float = 1.0
    per_pixel: float = 1.0


@dataclass(frozen=True, eq=False)
class BoundModel(Generic[G]):
    """A forward model and the data it describes, put together once, before anything is computed.

    Attributes:
        model: The model.
        dataset: The data, with what the model has found out about them.
        geometry: The experiment's geometry as the model uses it.
        settings: Of every parameter that takes part.
        shape: Of the object array.
        origin_px: (y, x) index in it of the data's position (0, 0).
        view: Which part of the object a batch sees.
        space: What the unknown of the object is.
        zero_at_corner: Whether `ForwardModel.predict` has the zero frequency of a pattern at its corner (far field).
        waves: Waves of each pattern that are kept for the gradient at once: probe modes times slices.
        beam_counts: Photons of the beam in a pattern, where they are known; those of a mean pattern otherwise.
        first_object: ``f(rng)``, what a run starts from whose configuration names no object; vacuum if ``None``.
        updates: What else changes the unknowns, besides the gradient.
        derived: ``f(values)``, quantities that follow from the parameters, for results and reports.
        preconditioners: By name; those that the parameters declare, or the model makes in their place.
        counts: Known once the data have been read.
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
    counts: Counts = Counts()

    def to_model_frame(self, patterns: np.ndarray) -> np.ndarray:
        """From the file's frame ``(..., y, x)`` to that of `ForwardModel.predict`."""
        return np.ascontiguousarray(np.fft.ifftshift(patterns, axes=(-2, -1))) if self.zero_at_corner else patterns

    def from_model_frame(self, patterns: np.ndarray) -> np.ndarray:
        """Inverse of `to_model_frame`."""
        return np.fft.fftshift(patterns, axes=(-2, -1)) if self.zero_at_corner else patterns

    def preconditioner(self, name: str) -> Preconditioner:
        """That of the parameter ``name``: the model's, else the declared one, else probed."""
        return self.preconditioners.get(name) or self.model.refinable[name].preconditioner or Probed()

    def with_(self, **changes: Any) -> BoundModel[G]:
        """A copy with some fields replaced."""
        return replace(self, **changes)


class ForwardModel(ABC):
    """Predicts what the detector measures from the object and the experimental parameters.

    To write a new model, subclass, declare the parameters that may be refined, and fill in `predict`. Gradients come
    from the backend's automatic differentiation. A model that sees more than one window of an object that is as large
    as a pattern says so in `bind`.

    Attributes:
        refinable: The parameters by name; ``object`` is always among them.
    """

    kind: ClassVar[str]
    refinable: ClassVar[Mapping[str, Parameter]]

    def bind(self, dataset: Dataset, settings: Settings) -> BoundModel[Any]:
        """The model and ``dataset`` put together.

        By default the object is as large as a pattern, of which each sees all, and is solved for as its transmission.

        Args:
            dataset: What was measured.
            settings: Of every parameter that takes part.

        Raises:
            InputError: This model cannot describe the data, or a parameter means nothing in it.
        """
        margin, (ny, nx) = margin_px(settings, 0), dataset.window_px
        geometry = Geometry.of(dataset)
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

    @abstractmethod
    def predict(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[Any]) -> Array:
        """Intensities ``(n, y, x)`` in detector units, real.

        Args:
            xp: The backend.
            obj: ``(n, y, x)`` complex windows of the object, or as many as the view says.
            params: Values by name; of a parameter per pattern or angle, the ``n`` rows of this batch.
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
        value = loss.value(xp, predicted, target, batch.mask, batch.floor)
        return request.weight * value, self.curvatures(xp, obj, params, batch, loss, request)

    def curvatures(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[Any], loss: Loss, request: Request
    ) -> dict[str, Array]:
        """Curvatures of the weighted loss that ``request`` asks for; none of a loss whose curvature is not known."""
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


class Initializer(ABC):
    """Maps a data set to a first object.

    Attributes:
        expensive: Whether making it takes more than a moment; `adorym check` then leaves it out.
    """

    kind: ClassVar[str]
    expensive: ClassVar[bool] = False

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

    def notices(self, where: str, dataset: Any) -> Iterator[str]:
        if self.slice_thickness is not None and self.representation == "real_imag":
            yield f"{where}.slice_thickness: has no effect: the run solves for the transmission"


def object_parameter(**changes: Any) -> Parameter:
    """The object as a refinable parameter; ``changes`` replace fields of the declaration."""
    declared: dict[str, Any] = {
        "help": "complex transmission of the object",
        "optimizer": {"kind": "preconditioned", "learning_rate": 0.6, "regularization": 0.05, "momentum": 0.9},
        "refined": True,
        "settings": ObjectSettings,
    }
    return Parameter(**(declared | changes))


# -- what models decide alike ------------------------------------------------------------------------------------------
def object_settings(settings: Settings) -> ObjectSettings:
    """Those of the object; the defaults where a model has others of its own."""
    found = settings[OBJECT]
    return found if isinstance(found, ObjectSettings) else ObjectSettings()


def margin_px(settings: Settings, fixed: int = FIXED_MARGIN_PX, moving: int = REFINED_MARGIN_PX) -> int:
    """Pixels around the scanned area: as given, or room for what is refined and moves the object or its window."""
    given = object_settings(settings).margin_px
    if given is not None:
        return given
    return moving if any(settings[name].refine for name in MOVING if name in settings) else fixed


def slice_thickness_m(settings: Settings, geometry: Geometry, regime: Regime) -> float:
    """The thickness that delta and beta refer to: as given, or the pixel size along x.

    Raises:
        GeometryError: The pixel size is not known.
    """
    return float(object_settings(settings).slice_thickness or geometry.pixel_size_m(regime)[1])


def thin_space(settings: Settings, geometry: Geometry, regime: Regime) -> ObjectSpace:
    """The space of an object whose transmission the model takes, as the settings of the object ask for it.

    Raises:
        GeometryError: Delta and beta are asked for, but energy or pixel size is not known.
    """
    if object_settings(settings).representation == "real_imag":
        return Transmission()
    return Exponent(slice_thickness_m(settings, geometry, regime), geometry.wavelength_m)
