"""The result of a reconstruction, and its file.

A `Result` is written to one HDF5 file, readable without this package::

    /object             (y, x, z, 2) float32, @representation, @origin_px, @pixel_size_m; attenuation (y, x, z, 1)
    /probe              (m, y, x) complex64
    /parameters/<name>  @units; its value before refinement is /start/<name>
    /history/<name>     one entry per epoch: epoch, loss, time_s, ...
    /fit/<name>         measured, predicted and index of one pattern
    /verdict            does the model fit the data: the sentence, @kind, @times_noise, @misfit, @floor, @reasons, ...
    /numbers/<name>     pattern, angle: number in the data file of each that was used
    /config             the resolved configuration, YAML
    /provenance/<name>  version, backend, device, ranks, seed, ...

Arrays in detector space have the zero frequency at the center, as in every file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from adorym.data.atomic import MARGIN_BYTES, reason, whole_file
from adorym.data.contiguous import ALIGNMENT, ArraySpec, create_contiguous
from adorym.data.hdf5 import check_sources, put
from adorym.data.verdict import Verdict, read_verdict, write_verdict
from adorym.errors import AdorymError, DataError, WriteError

REPRESENTATIONS = ("real_imag", "delta_beta", "attenuation")
RESULT_NAME = "result.h5"


def _shown_shape(array: np.ndarray) -> str:
    return " x ".join(map(str, array.shape)) or "one number"


@dataclass(frozen=True, eq=False)
class ParameterResult:
    """A refined parameter: ``value`` and, if it had one, its ``start``, both in ``unit``."""

    value: np.ndarray
    unit: str = ""
    start: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", np.asarray(self.value))
        if self.start is not None:
            object.__setattr__(self, "start", np.asarray(self.start))

    def __repr__(self) -> str:
        return f"ParameterResult({_shown_shape(self.value)} {self.unit or 'without unit'})"


@dataclass(frozen=True, eq=False)
class Result:
    """A reconstructed object, the refined parameters, and the settings that were used.

    Attributes:
        object: Modulation function ``(y, x, z)`` complex64 (``"real_imag"``), or delta and beta of the refractive index
            n = 1 - delta + i beta ``(y, x, z, 2)`` float32 (``"delta_beta"``), or the linear attenuation coefficient
            ``(y, x, z)`` float32 in 1/m, or 1/voxel if the pixel size is not known (``"attenuation"``).
        representation: ``"real_imag"``, ``"delta_beta"`` or ``"attenuation"``.
        origin_px: (y, x) index in ``object`` of the data's position (0, 0): the window of a probe position ``p`` has
            its corner at ``origin_px + p``.
        pixel_size_m: Pixel size of ``object``: (y, x), or (y, x, z) for a volume.
        probe: ``(modes, y, x)`` complex64 in square root of photons.
        parameters: Refined parameters by name.
        history: Arrays with one entry per epoch; ``epoch`` counts from 1, ``time_s`` is the duration of each epoch.
        config: The resolved configuration as YAML.
        provenance: Version, backend, device, ranks, seed, ...
        fit: One pattern ``measured`` and ``predicted``, ``(y, x)``, and its ``index``.
        verdict: Whether the model fits the data as well as their noise allows; ``None`` in files without it.
        numbers: ``pattern`` and ``angle``, number in the data file of each that was used; counted from 0. Of a stage
            of a run also ``recorded_px``, the positions in the data.

    Raises:
        DataError: An array has the wrong shape, or a name is not valid in the file.
    """

    object: np.ndarray
    representation: str = "real_imag"
    origin_px: tuple[int, int] = (0, 0)
    pixel_size_m: tuple[float, ...] | None = None
    probe: np.ndarray | None = None
    parameters: dict[str, ParameterResult] = field(default_factory=dict)
    history: dict[str, np.ndarray] = field(default_factory=dict)
    config: str = ""
    provenance: dict[str, str] = field(default_factory=dict)
    fit: dict[str, np.ndarray] = field(default_factory=dict)
    verdict: Verdict | None = None
    numbers: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.representation not in REPRESENTATIONS:
            raise DataError(
                "representation", "unknown", expected=" or ".join(REPRESENTATIONS), found=repr(self.representation)
            )
        pairs = self.representation == "delta_beta"
        obj = np.asarray(self.object, dtype=np.complex64 if self.representation == "real_imag" else np.float32)
        if obj.ndim != (4 if pairs else 3) or (pairs and obj.shape[-1] != 2):
            expected = "(y, x, z, 2)" if pairs else "(y, x, z)"
            raise DataError("object", f"wrong shape for '{self.representation}'", expected=expected, found=obj.shape)
        object.__setattr__(self, "object", obj)
        if len(self.origin_px) != 2:
            raise DataError("origin_px", "wrong shape", expected="(y, x)", found=tuple(self.origin_px))
        object.__setattr__(self, "origin_px", (int(self.origin_px[0]), int(self.origin_px[1])))
        if self.probe is not None:
            probe = np.asarray(self.probe, dtype=np.complex64)
            if probe.ndim not in (3, 4):
                expected = "(modes, y, x) or (scans, modes, y, x)"
                raise DataError("probe", "wrong shape", expected=expected, found=probe.shape)
            object.__setattr__(self, "probe", probe)
        if self.pixel_size_m is not None:
            sizes = tuple(float(size) for size in self.pixel_size_m)
            if len(sizes) not in (2, 3) or not all(0 < size < np.inf for size in sizes):
                raise DataError("pixel_size_m", "not a pixel size", expected="(y, x) or (y, x, z) > 0", found=sizes)
            object.__setattr__(self, "pixel_size_m", sizes)
        for group in ("parameters", "history", "provenance", "fit", "numbers"):
            for name in getattr(self, group):
                if not name or name == "." or "/" in name or "\0" in name:
                    what = "this name cannot stand in a result file"
                    raise DataError(f"{group}.{name}", what, expected="a name without '/'")
        for group in ("history", "fit", "numbers"):
            object.__setattr__(self, group, {name: np.asarray(a) for name, a in getattr(self, group).items()})

    def __repr__(self) -> str:
        losses, probe = list(self.history.get("loss", ())), ""
        if self.probe is not None:
            probe = f", probe {_shown_shape(self.probe)}"
        ran = f"{len(losses)} epochs" + (f", loss {losses[-1]:.4e}" if len(losses) else "")
        others = f"; parameters {', '.join(self.parameters)}" if self.parameters else ""
        return f"Result({self.representation} object {_shown_shape(self.object)}{probe}; {ran}{others})"

    def _repr_html_(self) -> str:
        from adorym.data.html import as_html  # slow to import, and only a notebook asks
        from adorym.data.looks import look_at

        return as_html(look_at(self), repr(self))

    @property
    def pixel_m(self) -> tuple[float, float]:
        """(y, x) pixel size in meters; 1 if not known."""
        return (1.0, 1.0) if self.pixel_size_m is None else (self.pixel_size_m[0], self.pixel_size_m[1])

    @property
    def turned(self) -> bool:
        """Whether the object is a volume that was seen from several angles about y."""
        return "rotation_angles" in self.parameters and self.object.shape[2] > 1

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration as plain data, its section ``data`` a mapping with a ``path``; empty if it is not YAML."""
        try:
            loaded = YAML(typ="safe").load(self.config)
        except YAMLError:
            return {}
        if not isinstance(loaded, dict):
            return {}
        data = loaded.get("data")
        return loaded | ({} if data is None or isinstance(data, dict) else {"data": {"path": data}})

    def at(self, time: float | None = None) -> Result:
        """The same with the object at ``time``, in the unit of ``times`` among the parameters, if it changes.

        Its coefficients are interpolated between the patterns. The mean over all patterns if ``time`` is ``None``.

        Raises:
            DataError: The object does not change, or the time is before the first pattern or after the last one.
        """
        if "time_course" not in self.parameters:
            if time is None:
                return self
            remedy = "reconstruct with 'parameters.object.time', for example {basis: 3}"
            raise DataError("time", "the object of this result does not change", found=time, remedy=remedy)
        course, times = self.parameters["time_course"].value, self.parameters["times"].value
        order, first, last = np.argsort(times), float(times.min()), float(times.max())
        if time is not None and not first <= time <= last:
            raise DataError("time", "outside of the scan", expected=f"{first:.6g} to {last:.6g}", found=time)
        now = course.mean(0) if time is None else [np.interp(time, times[order], each[order]) for each in course.T]
        parts = np.split(self.object, len(now), axis=2)
        obj = np.sum([np.float32(c) * part for c, part in zip(now, parts, strict=True)], axis=0)
        others = {name: each for name, each in self.parameters.items() if name not in ("time_course", "times")}
        return replace(self, object=obj, parameters=others)

    @property
    def transmission(self) -> np.ndarray:
        """``(y, x)`` complex128 of an object of one slice or several; of one in several states the strongest;
        of one that changes the mean.

        Only of a result in the representation ``real_imag``.
        """
        obj, object_settings = np.asarray(self.at().object), self.settings.get("parameters", {}).get("object")
        states = object_settings.get("states", 1) if isinstance(object_settings, dict) else 1
        return obj[..., 0].astype(np.complex128) if states > 1 else obj.astype(np.complex128).prod(axis=2)

    @property
    def voxel_size_m(self) -> tuple[float, float, float] | None:
        """(y, x, z) voxel size; z is the slice spacing where one was refined or given, else the pixel size along x."""
        if self.pixel_size_m is None:
            return None
        if len(self.pixel_size_m) == 3:
            return self.pixel_size_m
        spacing = self.parameters.get("slice_spacing")
        if spacing is not None and spacing.unit == "m" and spacing.value.size and np.mean(spacing.value) > 0:
            return (*self.pixel_size_m, float(np.mean(spacing.value)))  # type: ignore[return-value]
        return (*self.pixel_size_m, self.pixel_size_m[1])  # type: ignore[return-value]

    def channels(self) -> dict[str, np.ndarray]:
        """Amplitude and phase (radian), delta and beta, or attenuation: ``(y, x, z)`` float32 each."""
        if self.representation == "real_imag":
            return {"amplitude": np.abs(self.object), "phase": np.angle(self.object)}
        if self.representation == "attenuation":
            return {"attenuation": self.object}
        return {"delta": self.object[..., 0], "beta": self.object[..., 1]}


def write_result(result: Result, path: str | Path) -> Path:
    """Write ``result`` to ``path`` atomically: a reader finds the old file or the complete new one.

    Raises:
        WriteError: The disk is full, or the directory cannot be written.
        DataError: An entry is neither a number nor a text.
    """
    path, n_bytes = Path(path), result.object.nbytes + bytes_beside_the_object(result)
    try:
        with whole_file(path, sealed=True, n_bytes=n_bytes) as partial, h5py.File(partial, "w") as file:
            _write(result, file)
    except (OSError, RuntimeError) as error:
        raise WriteError(str(path), "the result cannot be written", found=reason(error)) from error
    except (TypeError, ValueError) as error:
        raise DataError(str(path), "the result cannot be written", found=str(error)) from error
    return path


def bytes_beside_the_object(result: Result) -> int:
    """What a file of ``result`` takes on the disk, without the object."""
    arrays = [*result.history.values(), *result.fit.values(), *result.numbers.values()]
    arrays += [array for each in result.parameters.values() for array in (each.value, each.start) if array is not None]
    arrays += [] if result.probe is None else [result.probe]
    return sum(array.nbytes for array in arrays) + len(result.config) + (len(arrays) + 4) * MARGIN_BYTES


def write_frame(result: Result, path: Path) -> tuple[int, ArraySpec]:
    """Write all of ``result`` except the object, whose rows follow with `adorym.data.contiguous.write_rows`.

    Returns:
        Offset of the object in the file, and its layout.
    """
    with h5py.File(path, "w", **ALIGNMENT) as file:
        parts = (1,) if result.representation == "attenuation" else ()
        kept = ArraySpec((*result.object.shape, *parts), result.object.dtype)
        offset = create_contiguous(file, "object", kept)
        _describe(result, file)
    return offset, kept


def _write(result: Result, file: h5py.File) -> None:
    obj = result.object
    if result.representation == "real_imag":
        obj = np.stack([obj.real, obj.imag], axis=-1)
    if result.representation == "attenuation":
        obj = obj[..., None]
    file.create_dataset("object", data=obj)
    _describe(result, file)


def _describe(result: Result, file: h5py.File) -> None:
    stored = file["object"]
    stored.attrs["representation"] = result.representation
    stored.attrs["origin_px"] = result.origin_px
    per = "voxel" if result.pixel_size_m is None else "m"
    stored.attrs["units"] = f"1/{per}" if result.representation == "attenuation" else ""
    if result.pixel_size_m is not None:
        stored.attrs["pixel_size_m"] = result.pixel_size_m
    if result.probe is not None:
        put(file, "probe", result.probe, "sqrt(photons)")
    for group in ("parameters", "start", "history", "fit", "numbers", "provenance"):
        file.create_group(group, track_order=True)  # tables come back in the order they were written in
    for name, parameter in result.parameters.items():
        put(file, f"parameters/{name}", parameter.value, parameter.unit)
        if parameter.start is not None:
            put(file, f"start/{name}", parameter.start, parameter.unit)
    for group in ("history", "fit", "numbers", "provenance"):
        for name, entry in getattr(result, group).items():
            file.create_dataset(f"{group}/{name}", data=entry)
    if result.verdict is not None:
        write_verdict(result.verdict, file)
    file["config"] = result.config


def read_result(path: str | Path, *, mapped: bool = False) -> Result:
    """The `Result` in the file ``path``, or in ``path/result.h5`` where ``path`` is a run's output directory.

    Args:
        path: The file or the directory.
        mapped: Leave the object in the file, and read only those of its rows that are used.

    Raises:
        DataError: No such file, not HDF5, truncated or damaged, not a result, or a key is missing.
    """
    path = Path(path)
    path = path / RESULT_NAME if path.is_dir() else path
    if not path.is_file():
        raise DataError(str(path), "no such file", remedy=f"name a {RESULT_NAME} or the output directory that holds it")
    if not h5py.is_hdf5(path):
        raise DataError(str(path), "not an HDF5 file", expected=f"a {RESULT_NAME} written by a run")
    with _damage_named(path), h5py.File(path, "r") as file:
        return _read(file, str(path), mapped)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except AdorymError:
        raise
    except Exception as error:  # whatever h5py, NumPy or `Result` make of values that are not what they should be
        what = "the file is truncated" if "truncated" in str(error) else "the file is damaged or cannot be read"
        raise DataError(str(path), what, found=str(error), remedy="copy it again, or run with --resume") from error


def _read(file: h5py.File, path: str, mapped: bool) -> Result:
    if "object" not in file:
        raise DataError(path, "not a result file: it has no '/object'", found=", ".join(file) or "an empty file")
    stored = _dataset(file, "object", path)
    representation = str(_attribute(stored, "representation", path))
    offset = stored.id.get_offset() if mapped else None  # none if it is not contiguous in the file
    obj = stored[()] if offset is None else np.memmap(path, stored.dtype, "r", offset, stored.shape)
    parts = 1 if representation == "attenuation" else 2
    if obj.ndim != 4 or obj.shape[-1] != parts:
        raise DataError(path, "'/object' has the wrong shape", expected=f"(y, x, z, {parts})", found=obj.shape)
    if representation == "attenuation":
        obj = obj[..., 0]
    if representation == "real_imag":
        obj = np.ascontiguousarray(obj, dtype=np.float32).view(np.complex64)[..., 0]
    size = stored.attrs.get("pixel_size_m")
    return Result(
        object=obj,
        representation=representation,
        origin_px=tuple(np.asarray(_attribute(stored, "origin_px", path)).tolist()),
        pixel_size_m=None if size is None else tuple(np.asarray(size).tolist()),
        probe=_dataset(file, "probe", path)[()] if "probe" in file else None,
        parameters=_read_parameters(file, path),
        history=_read_group(file, "history", path),
        config=_dataset(file, "config", path).asstr()[()] if "config" in file else "",
        provenance={name: str(text) for name, text in _read_group(file, "provenance", path).items()},
        fit=_read_group(file, "fit", path),
        verdict=read_verdict(file, path),
        numbers=_read_group(file, "numbers", path),
    )


def _read_parameters(file: h5py.File, path: str) -> dict[str, ParameterResult]:
    start = _read_group(file, "start", path)
    return {
        name: ParameterResult(
            value=value,
            unit=str(_attribute(file[f"parameters/{name}"], "units", path)),
            start=start.get(name),
        )
        for name, value in _read_group(file, "parameters", path).items()
    }


def _read_group(file: h5py.File, group: str, path: str) -> dict[str, np.ndarray]:
    """Every dataset of ``group``: arrays, or text as ``str``; empty if there is no such group."""
    found = {}
    for name in file.get(group, ()):
        stored = _dataset(file, f"{group}/{name}", path)
        is_text = h5py.check_string_dtype(stored.dtype) is not None
        found[name] = stored.asstr()[()] if is_text else np.asarray(stored[()])
    return found


def _dataset(file: h5py.File, name: str, path: str) -> h5py.Dataset:
    stored = file[name]
    if not isinstance(stored, h5py.Dataset):
        raise DataError(path, f"'/{name}' is not an array", found=type(stored).__name__)
    check_sources(stored)
    return stored


def _attribute(stored: h5py.Dataset, name: str, path: str) -> object:
    if name not in stored.attrs:
        raise DataError(path, f"missing key: '{stored.name}' has no attribute '{name}'")
    return stored.attrs[name]
