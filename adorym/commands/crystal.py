"""``adorym crystal``: a Bragg result as a crystal in the laboratory, with displacement and strain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from pydantic import Field
from rich.table import Table

from adorym.data.atomic import whole_file, write_json
from adorym.data.dataset import Dataset
from adorym.data.open import open_dataset
from adorym.data.result import read_result
from adorym.data.scan_records import read_scan
from adorym.errors import ConfigError
from adorym.metrics.strain import StrainField, TwinChoice, chosen_twin, flattened, strain_field
from adorym.optics.bragg_geometry import BraggGeometry, beam_of, lattice_m, orthogonal, places_m
from adorym.optics.goniometer import BEAMLINES, turned
from adorym.paths import InputPath
from adorym.registry import component
from adorym.report.crystal_pictures import save_crystal_pictures
from adorym.report.score import table_of
from adorym.report.text import quantity
from adorym.report.vtk import write_vti, write_vts
from adorym.schema import build


@component
class CrystalView:
    """How a result becomes a crystal in the laboratory.

    Attributes:
        geometry: Angles of the experiment; without them the crystal stays on the skew voxels of the detector's frame,
            and there is no strain.
        twin: Which of the twins: ``as_is``, ``other``, or the one whose phase is higher in the core (``core_high``);
            its displacement along Q is lower there.
        threshold: Part of the largest amplitude above which there is crystal.
        voxel: Edge of the cubic voxels; the shortest of the skew ones if absent.
        frame: Axes of the crystal's voxels and of vectors: the ``laboratory``'s; those of the ``sample`` with all its
            circles at zero; or of the ``crystal``, whose z is along Q, by the shortest rotation from the laboratory.
        scan: File of SPEC, fio or BLISS, ``FILE:NUMBER``, with the readings of the beamline's circles that
            ``geometry.angles`` does not give.
    """

    geometry: BraggGeometry | None = None
    twin: TwinChoice = "as_is"
    threshold: float = Field(0.3, gt=0, lt=1)
    voxel: float | None = None
    frame: Literal["laboratory", "sample", "crystal"] = "laboratory"
    scan: InputPath | None = None

    def __post_init__(self) -> None:
        if self.scan is not None and (self.geometry is None or self.geometry.beamline is None):
            remedy = "name it, such as geometry='{beamline: id01, rocking: eta}'"
            raise ConfigError("scan", "needs 'geometry.beamline', whose circles it reads", remedy=remedy)
        if self.frame != "laboratory" and self.geometry is None:
            raise ConfigError("frame", "needs 'geometry'", found=self.frame)
        if self.frame == "sample" and self.geometry is not None and not self.geometry.sample_circles():
            remedy = "name 'geometry.beamline', or list 'geometry.sample'"
            raise ConfigError("frame", "the circles of the sample are not known", found=self.frame, remedy=remedy)


@dataclass(frozen=True, eq=False)
class Crystal:
    """A crystal and what was found of it.

    Attributes:
        field: Amplitude, phase, displacement, strain, rotation; ``(y, x, z)``.
        voxel_m: Edge of a voxel; ``None`` without geometry.
        corner_m: (y, x, z) place of the first voxel; the middle of the reconstruction is the origin.
        figures: Numbers by name, with their unit as a suffix.
        files: What was written.
        skew: Object ``(y, x, z)`` as it was reconstructed and the place ``(y, x, z, 3)`` of each of its voxels in the
            same frame; ``None`` without geometry.
    """

    field: StrainField
    voxel_m: float | None
    figures: dict[str, float]
    files: tuple[Path, ...] = ()
    corner_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    skew: tuple[np.ndarray, np.ndarray] | None = None

    def render(self) -> Table:
        """The numbers as a table for a terminal."""
        rows = []
        for name, value in self.figures.items():
            stem, _, unit = name.rpartition("_")
            known = unit in ("m", "rad", "px")
            text = quantity(value, unit) if known else f"{value:.4g}"
            rows.append(((stem if known else name).replace("_", " "), text))
        return table_of(rows, [("file", str(path)) for path in self.files])


def crystal(
    result_path: str | Path,
    output: str | Path | None = None,
    settings: dict[str, Any] | None = None,
    data: str | Path | None = None,
) -> Crystal:
    """Take out ramp and offset, choose the twin, turn into the laboratory, and find the strain along Q.

    Writes ``crystal.h5``, ``crystal.vti``, ``crystal.json`` and pictures; with geometry also ``crystal_skew.vts``, the
    amplitude and phase on the voxels of the reconstruction, not interpolated.

    Args:
        result_path: ``result.h5`` or the folder of a run with a Bragg model.
        output: Folder; that of the result by default.
        settings: Fields of `CrystalView`.
        data: The data file, if it is not where the result's configuration says.

    Raises:
        InputError: A file cannot be read, or geometry is missing.
    """
    result, path = read_result(result_path), Path(result_path)
    folder = Path(output) if output is not None else (path if path.is_dir() else path.parent)
    view: CrystalView = build(CrystalView, dict(settings or {}))
    obj = result.object
    if min(obj.shape) < 4:
        raise ConfigError(str(result_path), "not the volume of a crystal", expected="(y, x, z)", found=obj.shape)
    obj = chosen_twin(obj, view.twin, view.threshold)
    if view.geometry is None:
        made = _on_skew_voxels(obj, view)
    else:
        place = data or result.settings.get("data", {}).get("path")
        if place is None:
            raise ConfigError(str(result_path), "does not say where its data are", remedy="name them with '--data'")
        dataset = open_dataset(place, check=False)
        geometry = view.geometry if view.scan is None else _with_readings(view.geometry, view.scan, dataset)
        made = _upright(obj, view, geometry, dataset)
    folder.mkdir(parents=True, exist_ok=True)
    files = (*_write(made, folder), *save_crystal_pictures(made.field, made.voxel_m, folder / "pictures"))
    return replace(made, files=files)


def _on_skew_voxels(obj: np.ndarray, view: CrystalView) -> Crystal:
    field = strain_field(flattened(obj, view.threshold), 1.0, np.array([0.0, 0.0, 1.0]), view.threshold)
    # Lengths and directions mean nothing on these voxels.
    none = np.full(obj.shape, np.nan)
    field = replace(field, displacement_m=none, strain=none, rotation_rad=np.full((3, *obj.shape), np.nan))
    return Crystal(field, None, {"voxels": float(field.inside.sum()), **_phase_figures(field)})


def _with_readings(geometry: BraggGeometry, scan: str | Path, dataset: Dataset) -> BraggGeometry:
    """``geometry`` with the readings of the beamline's circles from a file of scans, those given as they are."""
    record, known = read_scan(scan), BEAMLINES[str(geometry.beamline)]
    angles = dict(geometry.angles)
    for name in [*known.sample, *known.detector]:
        reading = known.reading(name, record.motors)
        if name not in angles and name == geometry.rocking and dataset.n_angles == dataset.n_patterns > 1:
            angles[name] = float(dataset.theta_rad[dataset.n_patterns // 2])
        elif name not in angles and reading is not None:
            angles[name] = float(np.deg2rad(reading))
    if not set(angles) & set(known.detector):
        expected = ", ".join(known.detector)
        raise ConfigError("scan", "holds no circle of the detector", expected=expected, found=record.name)
    return replace(geometry, angles=angles)


def _axes(view: CrystalView, geometry: BraggGeometry, q: np.ndarray) -> np.ndarray:
    """``(3, 3)`` from the laboratory to the wanted frame."""
    if view.frame == "sample":
        return geometry.sample_rotation().T
    if view.frame == "laboratory":
        return np.eye(3)
    along, across = q / np.linalg.norm(q), np.cross(q / np.linalg.norm(q), [0.0, 0.0, 1.0])
    sine = float(np.linalg.norm(across))
    return turned(across / sine, float(np.arctan2(sine, along[2]))) if sine > 0 else np.eye(3)


def _upright(obj: np.ndarray, view: CrystalView, geometry: BraggGeometry, dataset: Dataset) -> Crystal:
    beam = beam_of(geometry, dataset)
    frames = dataset.n_patterns if dataset.probe_positions_px is None else dataset.n_angles
    shape = (frames, *dataset.window_px)
    q = geometry.momentum_transfer_per_m(beam.energy_ev, beam.offset)
    axes = _axes(view, geometry, q)
    lattice, q = axes @ lattice_m(geometry.steps_per_m(beam), shape), axes @ q
    # A ramp left in would be a fast oscillation, which interpolation dims.
    flat = flattened(obj, view.threshold)
    made = orthogonal(np.moveaxis(flat, 2, 0), lattice, view.voxel)
    voxel, field = made.voxel_m, strain_field(made.object, made.voxel_m, q, view.threshold)
    extent = [float(np.ptp(np.flatnonzero(field.inside.any(axis=tuple({0, 1, 2} - {a})))) + 1) for a in range(3)]
    figures = {
        "voxel_m": voxel,
        "extent_y_m": extent[0] * voxel,
        "extent_x_m": extent[1] * voxel,
        "extent_z_m": extent[2] * voxel,
        "plane_spacing_m": float(2 * np.pi / np.linalg.norm(q)),
        "strain_rms": float(np.sqrt(np.nanmean(field.strain**2))),
        "strain_largest": float(np.nanmax(np.abs(field.strain))),
        "rotation_rms_rad": float(np.sqrt(np.nanmean((field.rotation_rad**2).sum(0)))),
        "displacement_range_m": float(np.nanmax(field.displacement_m) - np.nanmin(field.displacement_m)),
        **_phase_figures(field),
    }
    return Crystal(field, voxel, figures, corner_m=made.corner_m, skew=(flat, places_m(lattice, flat.shape)))


def _phase_figures(field: StrainField) -> dict[str, float]:
    phase = field.phase_rad[field.inside]
    low, high = np.percentile(phase, (1, 99))
    return {"phase_rms_rad": float(np.sqrt(np.mean(phase**2))), "phase_range_rad": float(high - low)}


def _write(made: Crystal, folder: Path) -> tuple[Path, ...]:
    hdf5, vti, text = (folder / f"crystal.{ending}" for ending in ("h5", "vti", "json"))
    fields = made.field.fields()
    units = {name: name.rpartition("_")[2] for name in fields if name.endswith(("_rad", "_m"))}
    with whole_file(hdf5) as partial, h5py.File(partial, "w") as file:
        for name, values in fields.items():
            stored = file.create_dataset(name, data=values.astype(np.float32))
            stored.attrs["units"], stored.attrs["axes"] = units.get(name, ""), "y x z"
        if made.voxel_m is not None:
            file.attrs["voxel_m"], file.attrs["corner_m"] = made.voxel_m, made.corner_m
    voxel = made.voxel_m or 1.0
    with whole_file(vti) as partial:
        write_vti(partial, fields, (voxel, voxel, voxel), made.corner_m)
    write_json(text, made.figures)
    if made.skew is None:
        return hdf5, vti, text
    vts, (obj, places) = folder / "crystal_skew.vts", made.skew
    with whole_file(vts) as partial:
        write_vts(partial, {"amplitude": np.abs(obj), "phase_rad": np.angle(obj)}, places)
    return hdf5, vti, vts, text
