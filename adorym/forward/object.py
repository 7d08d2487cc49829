"""The object of a forward model: its start, its settings, and choices common to all models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from adorym.data.dataset import Dataset
from adorym.data.survey import contrast_of
from adorym.errors import ConfigError
from adorym.extension import check_returned, user_code
from adorym.forward.time_course import TimeSettings, basis_objects
from adorym.object_space import ChangingTransmission, Exponent, MixedTransmission, ObjectSpace, Transmission
from adorym.optics.geometry import Geometry, Regime
from adorym.optics.representation import Representation
from adorym.parameters import OBJECT, Parameter, ParameterSettings
from adorym.registry import component
from adorym.schema import ComponentOf
from adorym.units import Length

Settings = Mapping[str, ParameterSettings]

# Parameters whose refinement moves the object or its windows, and the margin for it; larger corrections are cut off.
MOVING = ("probe_positions", "probe_offset", "object_shift", "tilt", "axis_tilt")
REFINED_MARGIN_PX, FIXED_MARGIN_PX = 12, 2
# Contrast of holograms below which an object counts as weak.
WEAK = 0.02


@dataclass(frozen=True, eq=False)
class FirstObject:
    """A start object, with diagnostics of how it was found.

    Attributes:
        rows: ``f(start, stop)`` returns these rows of it, complex.
        diagnostics: Arrays by name that are stored with the result, such as ``prtf`` and ``starts_chi2``.
        whole: The whole object, if it had to be made at once.
    """

    rows: Callable[[int, int], np.ndarray]
    diagnostics: Mapping[str, np.ndarray] = field(default_factory=dict)
    whole: np.ndarray | None = None

    @classmethod
    def of(cls, whole: np.ndarray, diagnostics: Mapping[str, np.ndarray] | None = None) -> FirstObject:
        """From a whole object."""
        return cls(lambda start, stop: whole[start:stop], diagnostics or {}, whole)

    @classmethod
    def vacuum(cls, shape: tuple[int, ...]) -> FirstObject:
        """Transmission 1 everywhere."""
        return cls(lambda start, stop: np.ones((stop - start, *shape[1:]), np.complex128))


class Initializer(ABC):
    """Makes a start object from a data set.

    Attributes:
        expensive: Whether making it takes long; `adorym check` then leaves it out.
    """

    kind: ClassVar[str]
    expensive: ClassVar[bool] = False

    @abstractmethod
    def make(self, dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Complex object of ``shape``."""

    def start(self, dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> FirstObject:
        """The same by rows, with the initializer's diagnostics.

        Override it if rows can be made without the whole: each rank needs only a part of a large object.
        """
        with user_code(self, method="make"):
            made = self.make(dataset, shape, rng)
        check_returned(None, made, shape, self, "make")
        return FirstObject.of(made)

    def start_of(self, bound: Any, rng: np.random.Generator) -> FirstObject:
        """The same for a bound model; override it if the object depends on more than the data, such as the probe."""
        return self.start(bound.dataset, bound.shape, rng)


class PatchInitializer(Initializer):
    """An initializer that looks at one pattern at a time, or at a few neighbors: it can follow a scan that goes on.

    Attributes:
        model: Names what makes the patches at present.
    """

    @property
    def model(self) -> str:
        return self.kind

    @abstractmethod
    def patches(self, dataset: Dataset, probe: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The object ``(k, y, x)`` complex in the windows of the patterns ``rows`` ``(k,)``; their phases are free.

        Args:
            dataset: The patterns so far.
            probe: ``(m, y, x)`` complex modes, sqrt(photons).
            rows: Patterns of the data set.

        Raises:
            InputError: The data or the probe are foreign to it.
        """


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
        near = dataset.propagation_distance_m is not None and dataset.probe_positions_px is None
        if self.initial is None and near and dataset.n_angles == 1 and (contrast := contrast_of(dataset)) < WEAK:
            yield (
                f"{where}.initial: the holograms vary by only {100 * contrast:.2g} % beyond their noise; a weak phase "
                "is better found by a linear start, {kind: contrast_transfer, sample: transparent}"
            )


@component
class WholeObjectSettings(ParameterSettings):
    """How an object starts and is refined whose size follows from the model.

    Attributes:
        initial: Initial object; vacuum (transmission 1) if absent.
    """

    initial: Annotated[Initializer | None, ComponentOf("initializer")] = None  # type: ignore[assignment]


@component
class MixedObject(ObjectSettings):
    """How an object starts that may be in several states, or change.

    Attributes:
        states: Number of incoherent states of the object, whose patterns add up: of a sample that vibrates or switches
            during the exposure.
        time: How it changes during the scan; not at all if absent.
    """

    states: int = Field(1, ge=1)
    time: TimeSettings | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.states > 1 and self.representation != "real_imag":
            what, remedy = "states of an object are mixed as transmissions", "choose 'real_imag', or one state"
            raise ConfigError("representation", what, expected="'real_imag'", found=self.representation, remedy=remedy)
        if self.time is not None and self.representation != "real_imag":
            what, remedy = "objects of several moments are added as transmissions", "choose 'real_imag'"
            raise ConfigError("representation", what, expected="'real_imag'", found=self.representation, remedy=remedy)
        if self.time is not None and self.states > 1:
            raise ConfigError("time", "cannot be combined with several 'states'", remedy="choose one of them")


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
    """The settings of the object; the defaults if the model's object has settings of another class."""
    found = settings[OBJECT]
    return found if isinstance(found, ObjectSettings) else ObjectSettings()


def object_states(settings: Settings) -> int:
    """Number of incoherent states of the object."""
    return int(getattr(settings[OBJECT], "states", 1))


def margin_px(settings: Settings, fixed: int = FIXED_MARGIN_PX, moving: int = REFINED_MARGIN_PX) -> int:
    """Pixels around the scanned area: as given, or room for refined parameters that move the object or its windows."""
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
    """The object space that the settings choose, for a model that takes the object's transmission.

    Raises:
        GeometryError: Delta and beta are asked for, but energy or pixel size is not known.
    """
    if object_settings(settings).representation == "real_imag":
        states, number = object_states(settings), basis_objects(settings)
        changing = ChangingTransmission(number) if number > 1 else Transmission()
        return changing if states == 1 else MixedTransmission(states)
    return Exponent(slice_thickness_m(settings, geometry, regime), geometry.wavelength_m)
