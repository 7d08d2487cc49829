"""Refinable parameters: their declaration, their settings, and their values during a run.

A forward model declares each of its parameters once, as a `Parameter`. This gives the parameter a section in the
configuration, an optimizer, a learning rate in its own unit, a schedule, a gauge, an entry in the checkpoint and in the
result, and a plot in the report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from adorym.errors import ConfigError
from adorym.optimizers.base import Optimizer
from adorym.optimizers.schedules import RateSchedule
from adorym.preconditioners.base import Preconditioner
from adorym.registry import component, lookup
from adorym.schema import ComponentOf
from adorym.units import parse
from adorym.wrapper.base import Array, Backend

# Name of the object in configurations, messages and files; its values are in the store.
OBJECT = "object"
# Of those that more than one model has, and that are treated in a special way.
PROBE, POSITIONS = "probe", "probe_positions"


@component
class ParameterSettings:
    """How one parameter is refined.

    Attributes:
        refine: Whether it is refined; otherwise it keeps its start value.
        start: First epoch in which it is refined.
        stop: First epoch in which it is no longer refined; refined to the end if absent.
        every: Refine in every k-th epoch only.
        initial: Start value: a number, a quantity with a unit, or the path of a ``.npy`` file; the model's own if
            absent.
        optimizer: Its optimizer; the parameter's default if absent.
        schedule: Change of its learning rate over the run; the parameter's default if absent.
    """

    refine: bool = True
    start: int = Field(0, ge=0)
    stop: int | None = Field(None, ge=1)
    every: int = Field(1, ge=1)
    initial: float | str | None = None
    optimizer: Annotated[Optimizer | None, ComponentOf("optimizer")] = None
    schedule: Annotated[RateSchedule | None, ComponentOf("schedule")] = None

    def notices(self, where: str, dataset: Any) -> Iterator[str]:
        """Messages about settings with no effect, or probably not the intended one, on ``dataset``."""
        yield from ()

    def active(self, epoch: int) -> bool:
        """Whether the parameter is refined in ``epoch``."""
        if not self.refine or epoch < self.start or (self.stop is not None and epoch >= self.stop):
            return False
        return (epoch - self.start) % self.every == 0

    def __post_init__(self) -> None:
        if self.stop is not None and self.stop <= self.start:
            raise ConfigError(
                "stop", "the refinement ends before it begins", expected=f"> {self.start}", found=self.stop
            )


@dataclass(frozen=True, eq=False)
class Searched:
    """The outcome of a search for a start value.

    Attributes:
        settings: Settings of the parameter that give the start value.
        diagnostics: Arrays by name that are stored with the result.
        words: One line about it, for the log; empty if nothing was searched.
    """

    settings: ParameterSettings
    diagnostics: Mapping[str, np.ndarray] = field(default_factory=dict)
    words: str = ""


@dataclass(frozen=True)
class Parameter:
    """One refinable parameter of a forward model, declared once.

    Attributes:
        unit: Unit of its values, in the notation of `adorym.units.parse`.
        help: Description, for documentation and error messages.
        start: Start value: a number, or ``f(bound, settings, rng)`` that returns an array; ``bound`` is the model
            bound to its data (`adorym.forward.base.BoundModel`).
        per: ``"run"``: one array; ``"pattern"`` or ``"angle"``: one row per pattern or angle, and ``predict`` receives
            the rows of its batch.
        optimizer: Default optimizer, in the form of a configuration.
        schedule: Default schedule of the learning rate, likewise.
        refined: Whether it is refined if the configuration does not name it.
        relative: Whether a learning rate without unit is a fraction of the largest magnitude of the start value.
        scale: ``f(bound)``: unit of a learning rate given as a number, if the start value does not provide it; a rate
            then fits any counts or pixel size.
        preconditioner: Computes the curvature that a ``preconditioned`` step divides by; `Probed` if absent.
        bounds: Smallest and largest value allowed.
        gauge: ``f(values, start values) -> values``, applied after every step: removes what the data do not determine.
            NumPy arrays on the host, those of the backend on a device: write it in operators and methods such as
            ``mean``. If another parameter can compensate a change, use an update instead (`adorym.updates.gauge`).
        window_relative: Rows are positions in the object array; ``predict`` receives them relative to the corner of
            their window, which follows them: within half a pixel, `window_shift` included.
        window_shift: Rows are added to those positions; windows follow them, too.
        optional: Left out of ``params`` unless the configuration names it.
        implied: ``f(settings by name)``, whether other sections ask for an optional one that has none itself.
        settings: Class of its section in the configuration.
        by_update: Changed by an update of the model instead of a gradient.
        object_frame: Its last axes are those of the object, not of the detector.
        from_middle: It is an x measured from the middle of the object.
        in_probe: It is added to a mode of the probe. Results keep the modes as they are then, not mixed to orthogonal
            ones, and give it the factor that they give the probe.
        export: ``f(values) -> values``, the form of it in the result, such as orthogonalized probe modes.
        search: ``f(bound, settings, folder)``, for a start value that takes long to find: one rank calls it before the
            start values are made. Returns `Searched`; ``folder`` is that of the run's output, or ``None``.
    """

    unit: str = ""
    help: str = ""
    start: float | Callable[..., np.ndarray] = 0.0
    per: Literal["run", "pattern", "angle"] = "run"
    optimizer: Mapping[str, Any] = field(default_factory=lambda: {"kind": "adam"})
    schedule: Mapping[str, Any] = field(default_factory=lambda: {"kind": "late_decay"})
    refined: bool = False
    relative: bool = False
    scale: Callable[[Any], float] | None = None
    preconditioner: Preconditioner | None = None
    bounds: tuple[float | None, float | None] | None = None
    gauge: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    window_relative: bool = False
    window_shift: bool = False
    optional: bool = False
    implied: Callable[[Mapping[str, ParameterSettings]], bool] | None = None
    settings: type[ParameterSettings] = ParameterSettings
    by_update: bool = False
    object_frame: bool = False
    from_middle: bool = False
    in_probe: bool = False
    export: Callable[[np.ndarray], np.ndarray] | None = None
    search: Callable[[Any, Any, Path | None], Searched] | None = None

    def start_value(self, name: str, bound: Any, settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
        """The start value, from the settings if they give one."""
        value = self.start(bound, settings, rng) if callable(self.start) else np.array(self.start)
        initial = settings.initial
        if not isinstance(initial, (int, float, str)):
            return value
        given = _read_initial(initial, self.unit, f"parameters.{name}.initial")
        self._check_range(given, f"parameters.{name}.initial")
        if given.ndim > 1 and given.shape[-2:] == bound.dataset.window_px and not self.object_frame:
            given = bound.to_model_frame(given)  # an image as the detector sees it
        elif self.per != "run" and given.ndim == 1 and np.shape(value) == (len(given), 1):
            given = given[:, None]
        try:
            return np.broadcast_to(given, np.shape(value)).astype(np.result_type(value, np.float64)).copy()
        except ValueError:
            raise ConfigError(
                f"parameters.{name}.initial", "wrong shape", expected=np.shape(value), found=np.shape(given)
            ) from None

    def _check_range(self, given: np.ndarray, where: str) -> None:
        """Refuse start values that no step would reach; a smallest value just above 0 is for steps alone."""
        low, high = (None, None) if self.bounds is None or np.iscomplexobj(given) else self.bounds
        if low is not None and np.any(given < min(low, 0.0)):
            expected, found = f"{min(low, 0.0):g} or more", np.min(given)
        elif high is not None and np.any(given > high):
            expected, found = f"{high:g} or less", np.max(given)
        else:
            return
        what = "a start value is out of the range of this parameter"
        raise ConfigError(where, what, expected=expected, found=f"{found:g}", remedy="correct the values")

    def default_optimizer(self) -> Optimizer:
        """The default optimizer."""
        return _build("optimizer", self.optimizer)

    def default_schedule(self) -> RateSchedule:
        """The default learning-rate schedule."""
        return _build("schedule", self.schedule)


def _build(group: str, entry: Mapping[str, Any]) -> Any:
    fields = dict(entry)
    return lookup(group, fields.pop("kind"))(**fields)


def _read_initial(initial: float | str, unit: str, where: str) -> np.ndarray:
    if isinstance(initial, str) and initial.endswith(".npy"):
        try:
            return np.load(initial)
        except (OSError, ValueError, EOFError) as error:
            raise ConfigError(where, f"cannot read '{initial}'", found=str(error)) from None
    try:
        return np.asarray(parse(initial, unit))
    except ValueError as error:
        raise ConfigError(where, str(error)) from None


@dataclass(frozen=True)
class Derived:
    """A quantity derived from parameters: its value, its unit, and its start value."""

    value: np.ndarray
    unit: str
    start: np.ndarray | None = None


@dataclass
class Value:
    """A parameter during a run: its current value and the state of its optimizer.

    Attributes:
        array: Current value, one row per pattern or angle unless the parameter is per run.
        first: Start value, for the gauge and the report.
        rate: Learning rate in the parameter's unit (or as a pure number), before the schedule.
        scale: Natural size of its values or of their changes, in its unit.
        bounds: Smallest and largest value of each component, as arrays that broadcast, or ``None``.
    """

    name: str
    spec: Parameter
    settings: ParameterSettings
    optimizer: Optimizer
    schedule: RateSchedule
    array: Array
    first: np.ndarray
    state: tuple[Array, ...]
    rate: float
    scale: float = 1.0
    bounds: tuple[np.ndarray, np.ndarray] | None = None
    _fetched: np.ndarray | None = field(default=None, init=False, repr=False)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "array":
            self._fetched = None
        super().__setattr__(name, value)

    def on_host(self, xp: Backend) -> np.ndarray:
        """The current value, fetched from the device once for each value it has; not to be written to."""
        if self._fetched is None:
            self._fetched = xp.to_numpy(self.array)
        return self._fetched

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.first.shape)) or "one number"
        state = "refined" if self.settings.refine else "fixed"
        return f"Value({self.name}: {shape} {self.spec.unit or 'without unit'}, {state}, rate {self.rate:.3g})"

    def rows(self, patterns: np.ndarray, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """``(distinct rows, position of each pattern's row among them)``, or ``None`` for a parameter per run."""
        if self.spec.per == "run":
            return None
        index = patterns if self.spec.per == "pattern" else angles
        distinct, inverse = np.unique(index, return_inverse=True)
        return distinct, inverse

    def fix_gauge(self, xp: Backend) -> None:
        """Remove what the data do not determine."""
        if self.spec.gauge is not None:
            if xp.on_host:
                fixed = self.spec.gauge(xp.to_numpy(self.array), self.first)
                # A copy: steps work in place, and a gauge may return the first values themselves.
                self.array = xp.asarray(np.array(fixed, dtype=self.first.dtype, order="C"), exact=True)
            else:
                self.array = self.spec.gauge(self.array, xp.asarray(self.first, exact=True))
        self.array = self.limit(xp, self.array)

    def limit(self, xp: Backend, rows: Array) -> Array:
        """``rows`` within the bounds."""
        if self.bounds is None:
            return rows
        low, high = (xp.asarray(b, exact=True) for b in self.bounds)
        return xp.where(rows < low, low, xp.where(rows > high, high, rows))


def make_value(
    xp: Backend,
    name: str,
    spec: Parameter,
    settings: ParameterSettings,
    first: np.ndarray,
    scale: float | None = None,
) -> Value:
    """The run-time value of a parameter, from its declaration, its settings and its start value.

    Positions and other small parameters stay in double precision: a float32 has no sub-pixel digits left at 10^5 px.
    Complex arrays and parameters with more than two axes have the backend's precision. ``scale`` is the natural size
    of a change, if it does not follow from the start value.

    Raises:
        ConfigError: The learning rate is not positive or has the wrong unit.
    """
    small = not np.iscomplexobj(first) and first.ndim <= 2 and not spec.relative
    first = np.asarray(first, np.float64) if small else xp.to_numpy(xp.asarray(first)).copy()
    array = xp.asarray(first.copy(), exact=True)
    optimizer = settings.optimizer or spec.default_optimizer()
    if scale is None:
        scale = float(np.abs(first).max()) if spec.relative and first.size else 1.0
    scale = scale or 1.0
    try:
        rate = optimizer.rate(spec.unit, scale)
    except ConfigError as error:
        where = f"parameters.{name}.optimizer.{error.where}"
        raise ConfigError(where, error.what, expected=error.expected, found=error.found, remedy=error.remedy) from None
    bounds = None
    if spec.bounds is not None:
        low, high = spec.bounds
        bounds = (np.asarray(-np.inf if low is None else low), np.asarray(np.inf if high is None else high))
    return Value(
        name=name,
        spec=spec,
        settings=settings,
        optimizer=optimizer,
        schedule=settings.schedule or spec.default_schedule(),
        array=array,
        first=first,
        state=optimizer.init(xp, array) if settings.refine and not spec.by_update else (),
        rate=rate,
        scale=scale,
        bounds=bounds,
    )
