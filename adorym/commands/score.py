"""Compare a reconstruction with the truth that a simulation stored beside its data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table
from rich.text import Text

from adorym import metrics
from adorym.commands.figures import Figure
from adorym.commands.score_crystal import crystal_scores
from adorym.commands.score_holograms import hologram_figures
from adorym.commands.score_volume import has_volume_truth, volume_figures
from adorym.data.dataset import Dataset
from adorym.data.overrides import Overrides
from adorym.data.readers.native import NativeReader
from adorym.data.result import Result, read_result
from adorym.errors import DataError
from adorym.metrics import Region, RingCorrelation
from adorym.report.text import quantity
from adorym.units import wavelength_m


@dataclass(frozen=True)
class Score:
    """Errors of a reconstruction, what the data cannot determine removed.

    Attributes:
        figures: The numbers.
        region: (y, x) slices of the true object over which objects were compared.
        ring_correlation: Fourier ring correlation with the truth over that region; ``None`` for volumes.
    """

    figures: tuple[Figure, ...]
    region: Region
    ring_correlation: RingCorrelation | None

    def rows(self) -> list[tuple[str, float, str, str]]:
        """(name, value, unit, note) of every number, for a table."""
        return [(figure.name, figure.value, figure.unit, figure.note) for figure in self.figures]

    def as_dict(self) -> dict[str, object]:
        """Everything as plain data for JSON; a number that could not be found is ``None``."""
        values = {each.key: each.value if math.isfinite(each.value) else None for each in self.figures}
        return {**values, "region_px": [[s.start, s.stop] for s in self.region]}

    def render(self) -> Table:
        """The numbers as a table for a terminal."""
        table = Table.grid(padding=(0, 2, 0, 0))
        for name, value, unit, note in self.rows():
            shown = quantity(value, unit) if math.isfinite(value) else "unknown"
            table.add_row(Text(name), Text(shown, style="bold"), Text(note, style="dim"))
        return table

    def __getitem__(self, key: str) -> float:
        """Value of the figure ``key``."""
        return next(each.value for each in self.figures if each.key == key)


def score(result_path: str | Path, truth_path: str | Path, region: Region | None = None) -> Score:
    """Score a result file against the truth in a data file.

    Args:
        result_path: ``result.h5``, or the directory of a run.
        truth_path: Data file with ``/truth/object`` and, for what goes with them, ``/truth/probe`` and
            ``/truth/probe_positions_px``.
        region: (y, x) slices of the true object to compare over; by default what the scan covers well
            (`adorym.metrics.scanned_region`).

    Raises:
        DataError: A file cannot be read, there is no truth, or result and truth do not belong together.
    """
    result = read_result(result_path)
    data = NativeReader().read(Path(truth_path), Overrides())
    if "crystal" in data.truth:
        entries, shells = crystal_scores(result, data, str(result_path))
        everything = (slice(0, result.object.shape[0]), slice(0, result.object.shape[1]))
        return Score((*(Figure(**each) for each in entries), *_fit_figures(result)), everything, shells)
    if has_volume_truth(result, data):
        figures = (*volume_figures(result, data), *_position_figures(result, data), *_fit_figures(result))
        return Score(figures, metrics.inner_region(result.object.shape[:2]), None)
    if "object" not in data.truth:
        stored = ", ".join(f"/truth/{name}" for name in data.truth) or "no /truth"
        remedy = "simulated files have it ('adorym simulate'); measured ones do not"
        raise DataError(str(truth_path), "holds no true object", expected="/truth/object", found=stored, remedy=remedy)
    true = _projected(data.truth["object"])
    framed, covered = in_frame(_transmission(result, data), _origin(result, data), true.shape)
    region = _default_region(data, true.shape) if region is None else region
    if not covered[region].all():
        raise DataError(
            str(result_path), "the reconstruction does not cover the part that is scored",
            expected=f"(y, x) pixels {region} of the truth", found=f"{100 * covered[region].mean():.0f} % of them",
            remedy="score a smaller region",
        )  # fmt: skip
    alignment = metrics.align_object(framed, true, region)
    found, wanted = alignment.aligned[alignment.region], true[alignment.region]
    rings = metrics.ring_correlation(found, wanted, pixel_size(result), truth=True)
    figures = (
        *_object_figures(alignment, found, wanted),
        resolution_figure(rings, result),
        *_position_figures(result, data),
        *_probe_figures(result, data),
        *_slice_figures(result, data, region),
        *_fit_figures(result),
        *(Figure(*told) for told in hologram_figures(result, data, framed, true)),
    )
    return Score(figures, alignment.region, rings)


def pixel_size(result: Result) -> tuple[float, float]:
    """(y, x) size of a pixel in meters, 1 where it is not known."""
    return (1.0, 1.0) if result.pixel_size_m is None else (result.pixel_size_m[0], result.pixel_size_m[1])


def resolution_figure(rings: RingCorrelation, result: Result) -> Figure:
    """The half period up to which ``rings`` agree, in the unit of the result's pixel size."""
    unit = "px" if result.pixel_size_m is None else "m"
    limit = "limited by the pixel" if rings.resolved else "half period, half-bit crossing"
    return Figure(f"resolution_{unit}", "resolution (FRC)", rings.half_period, unit, limit)


def _object_figures(alignment: metrics.Alignment, found: np.ndarray, wanted: np.ndarray) -> Iterator[Figure]:
    shift = f"shift of ({alignment.shift_px[0]:.2f}, {alignment.shift_px[1]:.2f}) px removed"
    yield Figure("object_nrmse", "object error (NRMSE)", alignment.error, note=shift)
    phase = metrics.phase_error(found, wanted)
    yield Figure("phase_rms_rad", "phase error, rms", phase.rms_rad, "rad")
    yield Figure("phase_nrmse", "phase error (NRMSE)", phase.nrmse, note="of the phase's standard deviation")
    amplitude, phases = metrics.structural_similarities(found, wanted)
    yield Figure("amplitude_ssim", "amplitude similarity (SSIM)", amplitude, note="1 is identical")
    yield Figure("phase_ssim", "phase similarity (SSIM)", phases, note="1 is identical")


def _position_figures(result: Result, data: Dataset) -> Iterator[Figure]:
    if "probe_positions_px" not in data.truth:
        return
    true, recorded = np.asarray(data.truth["probe_positions_px"], float), data.probe_positions_px
    name = "position error"
    if "probe_positions" in result.parameters:
        refined = result.parameters["probe_positions"].value
    elif recorded is not None:
        refined, name = recorded, "position error, not refined"
    else:
        return
    if refined.shape != true.shape:
        note = f"{len(refined)} positions in the result, {len(true)} in the truth"
        yield Figure("position_rms_px", name, math.nan, "px", note)
        return
    errors = metrics.position_errors(refined, true)
    before = "" if recorded is None else f", {metrics.position_errors(recorded, true).rms_px:.3f} as recorded"
    yield Figure("position_rms_px", name, errors.rms_px, "px", f"rms, mean removed{before}")
    yield Figure("position_rms_affine_px", f"{name}, affine removed", errors.rms_affine_px, "px", "rms")
    affine = errors.affine
    for axis, scale in zip("yx", affine.scale, strict=True):
        yield Figure(f"position_scale_{axis}", f"position scale in {axis}", scale, note=f"{100 * (scale - 1):+.2f} %")
    yield Figure("position_shear", "position shear", affine.shear)
    yield Figure("position_rotation_rad", "position rotation", affine.rotation_rad, "rad")


def _probe_figures(result: Result, data: Dataset) -> Iterator[Figure]:
    if result.probe is None or "probe" not in data.truth:
        return
    true = np.asarray(data.truth["probe"])
    true = true.reshape(-1, *true.shape[-2:])
    if result.probe.shape[1:] != true.shape[1:]:
        note = f"windows differ: {result.probe.shape[1:]} in the result, {true.shape[1:]} in the truth"
        yield Figure("probe_fidelity", "probe fidelity, strongest mode", math.nan, note=note)
        return
    fidelity = metrics.probe_fidelity(result.probe, true)
    yield Figure("probe_fidelity", "probe fidelity, strongest mode", fidelity, note="1 is identical")
    found, wanted = metrics.power_fractions(result.probe), metrics.power_fractions(true)
    for i, fraction in enumerate(found):
        note = f"true {wanted[i]:.3f}" if i < len(wanted) else "not in the truth"
        yield Figure(f"probe_mode_{i}_power", f"power in probe mode {i + 1}", float(fraction), note=note)


def _slice_figures(result: Result, data: Dataset, region: Region) -> Iterator[Figure]:
    """Of an object in slices, the error of each and of their spacing."""
    true = np.asarray(data.truth["object"])
    if true.ndim != 3 or true.shape[2] < 2 or result.object.shape[2] != true.shape[2]:
        return
    for z in range(true.shape[2]):
        framed, _ = in_frame(result.object[..., z].astype(np.complex128), _origin(result, data), true.shape[:2])
        error = metrics.align_object(framed, true[..., z].astype(np.complex128), region).error
        yield Figure(f"slice_{z}_nrmse", f"error of slice {z + 1} (NRMSE)", error)
    if "slice_spacing" in result.parameters and "slice_spacing" in data.truth:
        found, spacing = result.parameters["slice_spacing"].value, np.asarray(data.truth["slice_spacing"])
        worst = float(np.max(np.abs(found - spacing) / spacing))
        yield Figure("slice_spacing_error", "error of the slice spacing", worst, note=f"{100 * worst:.2f} %")


def _fit_figures(result: Result) -> Iterator[Figure]:
    if "measured" in result.fit and "predicted" in result.fit:
        value = metrics.r_factor(result.fit["measured"], result.fit["predicted"])
        yield Figure("r_factor", "R-factor", value, note="of one pattern")


def _default_region(data: Dataset, shape: tuple[int, int]) -> Region:
    if "probe_positions_px" not in data.truth:
        return metrics.inner_region(shape)
    origin = np.asarray(data.truth.get("object_origin_px", (0, 0)))
    return metrics.scanned_region(data.truth["probe_positions_px"] + origin, data.window_px, shape)


def _transmission(result: Result, data: Dataset) -> np.ndarray:
    """Transmission ``(y, x)`` complex128 of the whole thickness."""
    if result.representation == "real_imag":
        return _projected(result.object)
    if data.energy_ev is None or result.voxel_size_m is None:
        missing = "the photon energy" if data.energy_ev is None else "the pixel size"
        raise DataError("object", f"is delta and beta, and without {missing} its transmission is unknown")
    k_dz = 2 * np.pi / wavelength_m(data.energy_ev) * result.voxel_size_m[2]
    thickness = result.object.sum(axis=2, dtype=np.float64)
    return np.exp(-k_dz * (thickness[..., 1] + 1j * thickness[..., 0]))


def _projected(obj: np.ndarray) -> np.ndarray:
    """Product over z of ``(y, x)`` or ``(y, x, z)`` complex."""
    obj = np.asarray(obj, np.complex128)
    if obj.ndim not in (2, 3):
        raise DataError("true object", "has the wrong shape", expected="(y, x) or (y, x, z)", found=obj.shape)
    return obj if obj.ndim == 2 else obj.prod(axis=2)


def _origin(result: Result, data: Dataset) -> tuple[int, int]:
    """(y, x) index in the result's object of the true object's first pixel."""
    true = np.asarray(data.truth.get("object_origin_px", (0, 0)))
    return int(result.origin_px[0] - true[0]), int(result.origin_px[1] - true[1])


def in_frame(obj: np.ndarray, first: tuple[int, int], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """``obj`` cut or filled up with vacuum to ``shape``, pixel ``first`` of it first; and where it has values."""
    framed, covered = np.ones(shape, np.complex128), np.zeros(shape, bool)
    into, out_of = [], []
    for start, size, wanted in zip(first, obj.shape, shape, strict=True):
        low, high = max(0, -start), min(wanted, size - start)
        into.append(slice(low, max(low, high)))
        out_of.append(slice(low + start, max(low, high) + start))
    framed[tuple(into)] = obj[tuple(out_of)]
    covered[tuple(into)] = True
    return framed, covered
