"""Compare a reconstruction with the ground truth that a simulation stored with its data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from adorym import metrics
from adorym.data.dataset import Dataset
from adorym.data.overrides import Overrides
from adorym.data.readers.native import NativeReader
from adorym.data.result import Result, read_result
from adorym.errors import DataError
from adorym.metrics import Region, RingCorrelation
from adorym.metrics.crystal import match
from adorym.metrics.holograms import filter_width_px, hologram_similarities, map_error
from adorym.metrics.positions import rocking_error_px, shift_error_px, tilt_error_rad
from adorym.metrics.shells import shell_correlation
from adorym.optics.geometry import Grid
from adorym.report.score import Figure, Score
from adorym.units import wavelength_m


def score(result_path: str | Path, truth_path: str | Path, region: Region | None = None) -> Score:
    """Score a result file against the truth in a data file.

    Args:
        result_path: ``result.h5``, or the directory of a run.
        truth_path: Data file with ``/truth/object`` and, for their errors, ``/truth/probe`` and
            ``/truth/probe_positions_px``.
        region: (y, x) slices of the true object to compare; by default the region that the scan covers well
            (`adorym.metrics.scanned_region`).

    Raises:
        DataError: A file cannot be read, there is no truth, or result and truth do not belong together.
    """
    result = read_result(result_path).at()  # the mean of an object that changes
    data = NativeReader().read(Path(truth_path), Overrides())
    if "crystal" in data.truth:
        return _crystal_score(result, data, str(result_path))
    if result.representation in data.truth:
        figures = (*_volume_figures(result, data), *_position_figures(result, data), *_fit_figures(result))
        return Score(figures, metrics.inner_region(result.object.shape[:2]))
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
    rings = metrics.ring_correlation(found, wanted, result.pixel_m, truth=True)
    figures = (
        *_object_figures(alignment, found, wanted),
        resolution_figure(rings, result),
        Figure("frc_auc", "area under the FRC", rings.area(), note="up to the Nyquist frequency, 1 is identical"),
        *_position_figures(result, data),
        *_probe_figures(result, data),
        *_slice_figures(result, data, region),
        *_fit_figures(result),
        *_hologram_figures(result, data, framed, true),
    )
    return Score(figures, alignment.region, rings)


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
    yield Figure("phase_mae_rad", "phase error, mean absolute", phase.mae_rad, "rad", "wrapped")
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
    probe, true = result.probe, np.asarray(data.truth["probe"])
    true = true.reshape(-1, *true.shape[-2:]) if probe.ndim == 3 or true.ndim < 4 else true
    if probe.shape[-2:] != true.shape[-2:]:
        note = f"windows differ: {probe.shape[-2:]} in the result, {true.shape[-2:]} in the truth"
        yield Figure("probe_fidelity", "probe fidelity, strongest mode", math.nan, note=note)
        return
    if probe.ndim == 4:  # a probe of each scan
        for scan, modes in enumerate(probe):
            fidelity = metrics.probe_fidelity(modes, true[scan] if true.ndim == 4 else true)
            yield Figure(f"probe_{scan + 1}_fidelity", f"fidelity of the probe of scan {scan + 1}", fidelity)
        return
    fidelity = metrics.probe_fidelity(probe, true)
    yield Figure("probe_fidelity", "probe fidelity, strongest mode", fidelity, note="1 is identical")
    found, wanted = metrics.power_fractions(probe), metrics.power_fractions(true)
    for mode, fraction in enumerate(found, 1):
        note = f"true {wanted[mode - 1]:.3f}" if mode <= len(wanted) else "not in the truth"
        yield Figure(f"probe_mode_{mode}_power", f"power in probe mode {mode}", float(fraction), note=note)


def _slice_figures(result: Result, data: Dataset, region: Region) -> Iterator[Figure]:
    """Errors of the slices of an object, and of their spacing."""
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
        return result.transmission
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


# -- volumes -----------------------------------------------------------------------------------------------------------
def _volume_figures(result: Result, data: Dataset) -> Iterator[Figure]:
    """Errors of the volume and of its pose."""
    true = np.asarray(data.truth[result.representation], np.float64)
    found = _volume_in_frame(result, true.shape)
    channels = [(found, true)] if true.ndim == 3 else [(found[..., i], true[..., i]) for i in (0, 1)]
    for name, (seen, wanted) in zip(result.channels(), channels, strict=True):
        error = float(np.linalg.norm(seen - wanted) / np.linalg.norm(wanted))
        correlation = float(np.corrcoef(seen.ravel(), wanted.ravel())[0, 1])
        yield Figure(f"{name}_nrmse", f"{name} error (NRMSE)", error)
        yield Figure(f"{name}_correlation", f"{name} correlation", correlation, note="1 is identical")
    yield from _pose_figures(result, data)


def _volume_in_frame(result: Result, shape: tuple[int, ...]) -> np.ndarray:
    """The part of the result that the truth covers; along x and z their middles coincide."""
    first = (*result.origin_px, (result.object.shape[2] - shape[2]) // 2)
    stop = tuple(f + n for f, n in zip(first, shape[:3], strict=True))
    if min(first) < 0 or any(s > n for s, n in zip(stop, result.object.shape[:3], strict=True)):
        raise DataError(
            "object", "the result does not cover the true volume", expected=shape, found=result.object.shape
        )
    return result.object[tuple(slice(f, s) for f, s in zip(first, stop, strict=True))].astype(np.float64)


def _pose_figures(result: Result, data: Dataset) -> Iterator[Figure]:
    if "rotation_center" in result.parameters and "rotation_center_px" in data.truth:
        error = abs(float(result.parameters["rotation_center"].value[0]) - float(data.truth["rotation_center_px"][0]))
        yield Figure("rotation_center_error_px", "error of the rotation center", error, "px")
    if "tilt" in result.parameters and "tilt_rad" in data.truth:
        error, note = tilt_error_rad(result.parameters["tilt"].value, data.truth["tilt_rad"], data.theta_rad), "rms"
        yield Figure("tilt_rms_rad", "tilt error", error, "rad", f"{note}, a rotation of the whole object removed")
    if "object_shift" in result.parameters and "object_shift_px" in data.truth:
        error = shift_error_px(result.parameters["object_shift"].value, data.truth["object_shift_px"], data.theta_rad)
        yield Figure("shift_rms_px", "shift error", error, "px", "rms, a shift of the whole object and axis removed")


# -- distance series ---------------------------------------------------------------------------------------------------
def _hologram_figures(result: Result, data: Dataset, found: np.ndarray, true: np.ndarray) -> Iterator[Figure]:
    """Errors of a distance series, with ``found`` in the frame of ``true``: distances, maps, high-passed similarity."""
    if "propagation_distances_m" not in data.truth:
        return
    distances = np.asarray(data.truth["propagation_distances_m"], np.float64)
    yield from _distance_figures(result, data, distances)
    refined, maps = result.parameters.get("affine"), data.truth.get("affine")
    if refined is not None and maps is not None and np.shape(maps) == refined.value.shape:
        error = map_error(refined.value, np.asarray(maps), data.window_px)
        yield Figure(
            "affine_distance", "affine maps, largest distance", error.distance, "", "Frobenius norm, sides of 2"
        )
        yield Figure(
            "affine_corner_px", "affine maps, error at the corners", error.corner_rms_px, "px", "rms, worst hologram"
        )
    kappa, true_kappa = result.parameters.get("kappa"), data.truth.get("kappa")
    if kappa is not None and true_kappa is not None:
        ratio = float(np.ravel(kappa.value)[0] / np.ravel(true_kappa)[0])
        yield Figure("kappa_over_truth", "delta / beta over the true one", ratio, "", "of the material")
    if data.energy_ev is None or result.pixel_size_m is None:
        return
    grid = Grid((true.shape[0], true.shape[1]), result.pixel_m, wavelength_m(data.energy_ev))
    width = filter_width_px(float(np.abs(distances).max()), grid)
    magnitude, phase = hologram_similarities(found, true, width)
    yield Figure("magnitude_ssim", "magnitude similarity (SSIM)", magnitude, "", "of the whole field")
    yield Figure("high_passed_phase_ssim", "phase similarity (SSIM)", phase, "", f"high-passed, {width[1]:.2f} px")


def _distance_figures(result: Result, data: Dataset, true: np.ndarray) -> Iterator[Figure]:
    refined, name = result.parameters.get("propagation_distances"), "distances"
    values = data.propagation_distance_m if refined is None else refined.value
    if values is None or np.shape(values) != true.shape:
        return
    error = values - true
    stated = "" if data.propagation_distance_m is None else data.propagation_distance_m - true
    before = "" if isinstance(stated, str) else f"{100 * stated.mean():.3f} cm as stated"
    yield Figure("distance_mean_error_m", f"{name}, mean error", float(error.mean()), "m", before)
    note = "largest error of the difference of two"
    yield Figure("distance_difference_error_m", f"{name}, differences", float(np.ptp(error)), "m", note)


# -- crystals ----------------------------------------------------------------------------------------------------------
def _crystal_score(result: Result, data: Dataset, where: str) -> Score:
    """Of a crystal; twin, shift, ramp, offset and scale are removed."""
    true = np.asarray(data.truth["crystal"])
    if result.object.shape != true.shape:
        raise DataError(
            where, "the crystal has another shape than the truth", expected=true.shape, found=result.object.shape
        )
    compared = match(result.object, true)
    shells = shell_correlation(compared.aligned, true, truth=True)
    limit = "limited by the voxel" if shells.resolved else "half period, half-bit crossing"
    figures = (
        Figure("overlap", "complex overlap", compared.overlap, note="the twin of the truth" if compared.twin else ""),
        Figure("shape_error", "shape error", compared.shape_error, note="of the amplitude's sum"),
        Figure("phase_rms_rad", "phase error, rms", compared.phase_rms_rad, "rad"),
        Figure("resolution_px", "resolution (FSC)", shells.half_period, "px", limit),
        *_rocking_figures(result, data),
        *_fit_figures(result),
    )
    return Score(figures, (slice(0, true.shape[0]), slice(0, true.shape[1])), shells)


def _rocking_figures(result: Result, data: Dataset) -> Iterator[Figure]:
    wanted, refined = data.truth.get("rocking_positions_px"), result.parameters.get("rocking_positions")
    if wanted is None or refined is None or len(wanted) != len(refined.value):
        return
    yield Figure("rocking_rms_px", "rocking positions, rms", rocking_error_px(refined.value, wanted), "px")
    if refined.start is not None:
        error = rocking_error_px(refined.start, wanted)
        yield Figure("rocking_start_rms_px", "rocking positions, rms at the start", error, "px")
