"""A result that a run goes on from: object, probe, positions and all other parameters start with its values.

A result keeps the numbers in the data file of the patterns and angles that it used, and the index in its object of the
data's position (0, 0). Hence it continues on another choice of patterns and with another margin: values of a pattern
go to the pattern of the same number, and the object is placed by its origin. What the result does not hold starts as
it would without it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from adorym.data.dataset import Dataset
from adorym.data.result import Result, read_result
from adorym.engine.checks import REFINEMENT
from adorym.engine.recipe import Recipe
from adorym.engine.regrid import SAME_PIXEL, on_grid
from adorym.engine.stage_grid import regridded
from adorym.errors import ConfigError, DataError
from adorym.forward.base import BoundModel
from adorym.forward.object import ObjectSettings
from adorym.forward.probe import ProbeSettings, with_modes
from adorym.object_space import VolumeExponent
from adorym.parameters import OBJECT, POSITIONS, PROBE, Parameter, ParameterSettings
from adorym.schema.fields import fields_of, kind_of
from adorym.storage.slabs import Start

LOG = logging.getLogger("adorym")
WHERE = "start_from"
# Number of epochs of all runs before the one that wrote a result.
EPOCHS_BEFORE = "epochs_before"
# Which stage of a run wrote it.
STAGE = "stage"


@dataclass(frozen=True, eq=False)
class Earlier:
    """A result that a run goes on from.

    Attributes:
        path: Its file, or the folder that holds it.
        result: Its content; the object stays in the file.
        same_data: Whether both use the same data file, so that patterns of equal number are the same.
    """

    path: str
    result: Result
    same_data: bool = True

    @classmethod
    def read(cls, path: str | Path, dataset: Dataset, recipe: Recipe) -> Earlier:
        """The result in ``path``, for a run of ``recipe`` on ``dataset``.

        Raises:
            ConfigError: There is none, or it is from another forward model.
        """
        try:
            result = read_result(Path(path).expanduser(), mapped=True)
        except DataError as error:
            remedy = "name the 'result.h5' of a run, or the run's folder"
            found = f"{error.what}, {error.found}" if error.found else error.what
            raise ConfigError(WHERE, f"'{path}' is not the result of a run", found=found, remedy=remedy) from None
        used = result.settings
        model = used.get("forward_model", {})
        kind, wanted = model if isinstance(model, str) else model.get("kind"), kind_of(type(recipe.model))
        if kind is not None and kind != wanted:
            raise ConfigError(
                WHERE,
                f"'{path}' is from another forward model",
                expected=repr(wanted),
                found=repr(kind),
                remedy=f"choose that model, or take the object alone: 'parameters.{OBJECT}.initial: "
                f"{{kind: file, path: {path}}}'",
            )
        before = 1 if isinstance(model, str) else model.get("upsampling", 1)
        if kind is not None and before != dataset.upsampling:  # its probe and positions are those of other windows
            raise ConfigError(
                WHERE, f"'{path}' is from patterns on another grid", expected=f"'forward_model.upsampling: {before}'",
                found=dataset.upsampling, remedy="choose that, or start anew",
            )  # fmt: skip
        data = used.get("data", {}).get("path")
        same = data is None or _names(data)[:1] == _names(dataset.path)  # a data set names its first file
        if not same:
            LOG.warning(
                "%s: is from other data, %s: values of single patterns and angles are not taken over", WHERE, data
            )
        if STAGE in result.provenance and result.probe is not None and dataset.probe_positions_px is not None:
            return cls(str(path), regridded(result, dataset), same)
        return cls(str(path), on_grid(result, dataset, str(path)), same)

    @property
    def epochs(self) -> int:
        """Epochs of that run and of all that it went on from."""
        before = self.result.provenance.get(EPOCHS_BEFORE, "0")
        return len(self.result.history.get("loss", ())) + (int(before) if before.isdigit() else 0)

    @property
    def history(self) -> Mapping[str, np.ndarray]:
        """Its history, if it is an earlier stage of this run; this one's follows it."""
        return self.result.history if STAGE in self.result.provenance else {}

    @property
    def epochs_before(self) -> int:
        """Epochs that are in no history of this run."""
        return self.epochs - len(self.history.get("loss", ()))

    # -- data and settings ---------------------------------------------------------------------------------------------
    def continued(self, dataset: Dataset, recipe: Recipe) -> tuple[Dataset, Recipe]:
        """Data and recipe of the run that goes on: refined positions, probe modes, and parameters in use."""
        used, settings = self.result.parameters, dict(recipe.parameters)
        for name, each in recipe.settings.items():
            settings[name] = _later(each, self.epochs)
        for name, spec in recipe.model.refinable.items():
            if name in used and name not in settings:
                settings[name] = spec.settings(refine=False)
        probe, found = settings.get(PROBE), self.result.probe
        if isinstance(probe, ProbeSettings) and probe.modes is None and found is not None and probe.initial is None:
            settings[PROBE] = replace(probe, modes=found.shape[-3])
        taken = ", ".join(name for name, each in settings.items() if self.gives(name, each))
        note = f"{WHERE}: {taken or 'nothing'} from {self.path}"
        positions, place = dataset.probe_positions_px, settings.get(POSITIONS)
        if positions is not None and place is not None and self.gives(POSITIONS, place):
            found, known = self._matched(POSITIONS, recipe.model.refinable[POSITIONS], dataset)
            moved = (found - positions[known]).mean(0) if known.any() else np.zeros(2)
            positions = positions + moved
            positions[known] = found
            note += f"; positions of {int(known.sum())} of {len(known)} patterns"
        dataset = dataset.with_(probe_positions_px=positions, notes=(*dataset.notes, note))
        return dataset, replace(recipe, parameters=settings, start_from=None)

    def gives(self, name: str, settings: ParameterSettings) -> bool:
        """Whether the start of ``name`` is that of the result."""
        if settings.initial is not None:
            return False
        if name in (OBJECT, PROBE):
            return name == OBJECT or self.result.probe is not None
        return name in self.result.parameters

    def framed(self, bound: BoundModel[Any]) -> BoundModel[Any]:
        """``bound`` with room for the whole object of the result, unless the settings say how large it is.

        A volume keeps its size and its place: what lies outside the windows of one angle is seen at others.
        """
        settings, shape, origin = bound.settings[OBJECT], bound.shape, bound.origin_px
        given = isinstance(settings, ObjectSettings) and settings.margin_px is not None
        if given or not isinstance(settings, ObjectSettings) or not self.gives(OBJECT, settings):
            return bound
        found, there = self.result.object.shape, self.result.origin_px
        low = [max(a, b) for a, b in zip(origin, there, strict=True)]
        high = [max(n - a, m - b) for n, a, m, b in zip(shape, origin, found, there, strict=False)]
        union = tuple(a + b for a, b in zip(low, high, strict=False))
        if not isinstance(bound.space, VolumeExponent) or bound.space.parts > 1:
            return bound.with_(shape=(*union, *shape[2:]), origin_px=(low[0], low[1]))
        return bound.with_(shape=tuple(found[:3]), origin_px=there) if union == found[:2] else bound

    # -- the object ----------------------------------------------------------------------------------------------------
    def unknown(self, bound: BoundModel[Any]) -> Start | None:
        """The unknown of the object from the result; ``None`` if the settings name another start.

        Raises:
            ConfigError: The object is in another representation, on another grid, or has another number of slices.
        """
        if not self.gives(OBJECT, bound.settings[OBJECT]):
            return None
        result, space, shape = self.result, bound.space, bound.shape
        if not space.accepts(result.representation):
            raise ConfigError(
                WHERE, f"the object of '{self.path}' is in another representation", expected=space.representation,
                found=result.representation, remedy=f"set 'parameters.{OBJECT}.representation' as in that run",
            )  # fmt: skip
        self._check_grid(bound)
        below = self._shift(bound)
        values = {name: parameter.value for name, parameter in result.parameters.items()}

        def rows(start: int, stop: int) -> np.ndarray:
            out = np.full((stop - start, *shape[1:]), space.reference_value, np.complex128)
            first, last = max(start, below[0]), min(stop, below[0] + result.object.shape[0])
            if first < last:
                found = np.asarray(result.object[first - below[0] : last - below[0]])
                made = space.from_result(found, values)
                _put(out[first - start : last - start], made.reshape(made.shape[: len(shape)]), below[1:])
            return out

        return Start(shape, rows)

    def _shift(self, bound: BoundModel[Any]) -> list[int]:
        """Index in the run's object, along each axis, of the first element of the result's."""
        result, shape = self.result, bound.shape
        shift = [here - there for here, there in zip(bound.origin_px, result.origin_px, strict=True)]
        depth, found = (shape[2] if len(shape) > 2 else 1), result.object.shape[2]
        if isinstance(bound.space, VolumeExponent) and bound.space.parts == 1 and (depth - found) % 2 == 0:
            return [*shift, (depth - found) // 2]  # the rotation axis is in the middle
        if depth != found:
            raise ConfigError(
                WHERE, f"the object of '{self.path}' has another number of slices", expected=depth, found=found,
                remedy="take as many as in that run, or give another start by 'parameters.object.initial'",
            )  # fmt: skip
        return [*shift, 0][: len(shape)]

    def _check_grid(self, bound: BoundModel[Any]) -> None:
        dataset, here, there = bound.dataset, bound.dataset.pixel_size_m, self.result.pixel_size_m
        if here is not None and there is not None and not np.allclose(here, there[:2], rtol=SAME_PIXEL, atol=0):
            raise ConfigError(
                WHERE, f"the object of '{self.path}' has another pixel size", expected=_meters(here),
                found=_meters(there[:2]), remedy="use energy, distance, crop and binning of the patterns of that run",
            )  # fmt: skip
        scanned, one = dataset.probe_positions_px is not None, self.result.fit.get("measured")
        if one is not None and not scanned and dataset.tile_corners_px is None and one.shape != dataset.window_px:
            raise ConfigError(
                WHERE, f"the patterns of '{self.path}' have another size", expected=f"{dataset.window_px} px (y, x)",
                found=f"{one.shape}", remedy="crop the patterns as in that run",
            )  # fmt: skip

    # -- parameters ----------------------------------------------------------------------------------------------------
    def value(
        self, name: str, bound: BoundModel[Any], usual: Callable[[], np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """Start value of the parameter ``name``: that of the result, else the ``usual`` one.

        Raises:
            ConfigError: The result's value has another shape.
        """
        settings, spec = bound.settings[name], bound.model.refinable[name]
        if not self.gives(name, settings):
            return usual()
        if name == PROBE:
            return self._probe(bound, settings, rng)
        value = usual()
        if spec.per != "run":
            found, known = self._matched(name, spec, bound.dataset)
            self._check_shape(name, found.shape[1:], value.shape[1:])
            value = value.copy()
            value[known] = found
            return value
        found = self.result.parameters[name].value
        self._check_shape(name, found.shape, value.shape)
        if spec.from_middle:
            there = _middle(self.result.object.shape, self.result.origin_px)
            return found + there - _middle(bound.shape, bound.origin_px)
        detector = found.shape[-2:] == bound.dataset.window_px and not spec.object_frame
        return bound.to_model_frame(found) if detector else found.copy()

    def _probe(self, bound: BoundModel[Any], settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
        assert isinstance(settings, ProbeSettings) and self.result.probe is not None  # checked by the caller
        found = self.result.probe.astype(np.complex128)
        if found.shape[-2:] != bound.dataset.window_px:
            self._check_shape(PROBE, found.shape[-2:], bound.dataset.window_px)
        scans, each = (bound.dataset.n_angles if settings.per == "scan" else 1), []
        if found.ndim == 4 and len(found) != scans:
            found = found[0]  # of another choice of scans
        for modes in np.broadcast_to(found, (scans, *found.shape[-3:])):
            made = with_modes(modes, settings, rng)
            power = float(np.sum(np.abs(made) ** 2)) if settings.power is None else settings.power
            each.append(made * math.sqrt(power / float(np.sum(np.abs(made) ** 2))))
        return np.array(each) if settings.per == "scan" else each[0]

    def _check_shape(self, name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
        if tuple(found) != tuple(expected):
            raise ConfigError(
                WHERE, f"'{name}' of '{self.path}' has another size", expected=f"{tuple(expected)}",
                found=f"{tuple(found)}",
                remedy=f"crop and bin the patterns as in that run, or give 'parameters.{name}.initial'",
            )  # fmt: skip

    def _matched(self, name: str, spec: Parameter, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """The result's rows for the patterns or angles of ``dataset`` that it knows, and which those are.

        Raises:
            ConfigError: The result does not say which patterns it used, and they are not as many.
        """
        value, own = self.result.parameters[name].value, self.result.numbers.get(spec.per)
        here = dataset.pattern_numbers if spec.per == "pattern" else dataset.angle_numbers
        if not self.same_data:
            return value[:0], np.zeros(len(here), bool)
        if own is None or len(own) != len(value):
            if len(value) != len(here):
                raise ConfigError(
                    WHERE, f"'{self.path}' does not say which {spec.per}s its {len(value)} values of '{name}' "
                    "belong to", expected=f"{len(here)}, one for each {spec.per} of this run", found=len(value),
                    remedy=f"give 'parameters.{name}.initial', or use the same {spec.per}s",
                )  # fmt: skip
            return value, np.ones(len(here), bool)
        rows = {int(number): row for row, number in reversed(list(enumerate(own)))}
        known = np.array([int(number) in rows for number in here], bool)
        return value[[rows[int(number)] for number in here[known]]], known


def _names(path: object) -> list[str]:
    """Names of the data files, without their folders: data may be moved."""
    paths = path if isinstance(path, (list, tuple)) else [path]
    return [Path(str(each["path"] if isinstance(each, Mapping) else each)).name for each in paths]


def _later(settings: ParameterSettings, epochs: int) -> ParameterSettings:
    """``settings`` of a run that begins after ``epochs`` epochs."""
    if not settings.refine or (settings.start == 0 and settings.stop is None):
        return settings
    if settings.stop is not None and settings.stop <= epochs:
        known = fields_of(type(settings))
        usual = {key: known[key].get_default(call_default_factory=True) for key in REFINEMENT}
        return replace(settings, refine=False, **usual)
    stop = None if settings.stop is None else settings.stop - epochs
    return replace(settings, start=max(0, settings.start - epochs), stop=stop)


def _put(into: np.ndarray, rows: np.ndarray, shift: list[int]) -> None:
    """Place ``rows`` in ``into``, moved by ``shift`` along all axes but the first; what does not fit is left out."""
    here, there = [slice(None)], [slice(None)]
    for by, n, m in zip(shift, into.shape[1:], rows.shape[1:], strict=True):
        first, last = max(0, by), min(n, by + m)
        here.append(slice(first, max(first, last)))
        there.append(slice(first - by, max(first, last) - by))
    into[tuple(here)] = rows[tuple(there)]


def _middle(shape: tuple[int, ...], origin_px: tuple[int, int]) -> float:
    """Middle of an object along x, in the data's pixels."""
    return (shape[1] - 1) / 2 - origin_px[1]


def _meters(pixel: Any) -> str:
    return " x ".join(f"{size:.6g}" for size in pixel) + " m"
