"""Figures of tomograms as they are measured: half acquisition at both edges, a tooth in three containers.

A part of ``measured_fields.py``. The tooth is ``tooth.h5`` of TomoPy, below the folder that ``ADORYM_DATA`` names.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import tifffile
from figures import Figure

from adorym.api import reconstruct
from adorym.data.open import open_dataset
from adorym.optics.filtered_back_projection import filtered_back_projection, find_rotation_center
from adorym.optics.half_acquisition import is_half_acquisition, seen_width_px
from adorym.optics.poses import make_poses
from adorym.optics.projector import Joseph
from adorym.wrapper import get_backend
from adorym.wrapper.fused.rays import Frame

WIDTH, PHANTOMS, BEAM = 96, 20, 2e4
TOOTH_AXIS = 296.0 - 319.5  # px from the middle, by the least negative reconstruction of other programs
FIELDS = ("data", "data_white", "data_dark", "theta")


def ellipses(rng: np.random.Generator, radius: float) -> list[tuple[float, ...]]:
    """(density, x, z, a, b, tilt) of a large ellipse with a dozen inside."""
    found = [(0.01, 0.0, 0.0, radius, 0.85 * radius, rng.uniform(0, np.pi))]
    for _ in range(12):
        away, angle, size = radius * rng.uniform(0, 0.6), rng.uniform(0, 2 * np.pi), radius * rng.uniform(0.04, 0.15, 2)
        found.append((rng.uniform(-0.006, 0.01), away * np.cos(angle), away * np.sin(angle), *size, angle))
    return found


def sinogram(shapes: list[tuple[float, ...]], theta: np.ndarray, center: float) -> np.ndarray:
    """``(a, x)`` exact chords, the mean over four rays a pixel."""
    at = (np.arange(4 * WIDTH) + 0.5) / 4 - WIDTH / 2 - center
    total = np.zeros((len(theta), 4 * WIDTH))
    for density, x, z, a, b, tilt in shapes:
        angle = theta[:, None]
        square = (a * np.cos(angle - tilt)) ** 2 + (b * np.sin(angle - tilt)) ** 2
        off = at - x * np.cos(angle) - z * np.sin(angle)
        total += density * 2 * a * b * np.sqrt(np.maximum(square - off**2, 0)) / square
    return total.reshape(len(theta), WIDTH, 4).mean(-1)


def half_acquisition() -> Iterator[Figure]:
    """The axis near either edge over a whole turn, to a quarter of a pixel in 19 of 20 phantoms."""
    theta, errors, volumes = np.linspace(0, 2 * np.pi, 300, endpoint=False), [], []
    for seed in range(PHANTOMS):
        rng = np.random.default_rng(1000 + seed)
        center = (-1) ** seed * rng.uniform(0.15, 0.42) * WIDTH
        shapes = ellipses(rng, 0.95 * (WIDTH / 2 + abs(center)))
        counts = rng.poisson(BEAM * np.exp(-sinogram(shapes, theta, center)))
        measured = -np.log(np.maximum(counts, 1) / BEAM)
        found = find_rotation_center(measured, theta)
        errors.append(abs(found.center_px - center) if is_half_acquisition(measured, found.center_px) else np.inf)
        if seed < 4:
            width = seen_width_px(WIDTH, found.center_px)
            volumes.append(
                _slice_error(shapes, filtered_back_projection(measured[:, None], theta, found.center_px, width)[0])
            )
    yield Figure("half_acquisition.axis_error_px.of_19_in_20", float(np.sort(errors)[PHANTOMS - 2]), 0.25)
    yield Figure("half_acquisition.axis_error_px.median", float(np.median(errors)))
    yield Figure("half_acquisition.volume_error.worst_of_4", max(volumes))


def _slice_error(shapes: list[tuple[float, ...]], found: np.ndarray) -> float:
    n = len(found)
    x, z = np.meshgrid(np.arange(n) - (n - 1) / 2, np.arange(n) - (n - 1) / 2, indexing="ij")
    true = np.zeros((n, n))
    for density, x0, z0, a, b, tilt in shapes:
        u = (x - x0) * np.cos(tilt) + (z - z0) * np.sin(tilt)
        v = (z - z0) * np.cos(tilt) - (x - x0) * np.sin(tilt)
        true += density * ((u / a) ** 2 + (v / b) ** 2 <= 1)
    inside = np.hypot(x, z) < 0.95 * n / 2
    return float(np.linalg.norm((found - true)[inside]) / np.linalg.norm(true[inside]))


def tooth() -> Iterator[Figure]:
    """A measured tooth in four lines, as HDF5, TIFF series and NXtomo."""
    source = next(Path(os.environ.get("ADORYM_DATA", ".")).rglob("tooth.h5"), None)
    if source is None:
        sys.stderr.write("tooth.h5 is not below ADORYM_DATA: left out\n")
        return
    with tempfile.TemporaryDirectory() as name, h5py.File(source) as file:
        folder = Path(name)
        arrays = [file[f"exchange/{field}"][()] for field in FIELDS]
        volumes, axes = [], []
        nexus = {"path": _nxtomo(folder / "tooth.nxs", *arrays)}
        for data in ({"path": str(source)}, _tiffs(folder, *arrays), nexus):
            start = {"object": {"initial": {"kind": "cgls", "iterations": 20}}}
            config = {"data": data, "forward_model": "tomography", "run": {"epochs": 0}, "parameters": start}
            result = reconstruct(config)
            volumes.append(result.object)
            axes.append(float(np.ravel(result.parameters["rotation_center"].value)[0]))
    yield Figure("tooth.axis_error_px", abs(axes[0] - TOOTH_AXIS), 0.5)
    yield Figure("tooth.residual", _residual(source, volumes[0], axes[0]), 0.01)
    for name, volume in zip(("tiff", "nxtomo"), volumes[1:], strict=True):
        yield Figure(
            f"tooth.{name}_from_hdf5", float(np.abs(volume - volumes[0]).max() / np.abs(volumes[0]).max()), 1e-5
        )


def _tiffs(folder: Path, data: np.ndarray, white: np.ndarray, dark: np.ndarray, theta: np.ndarray) -> dict[str, str]:
    for stem, pictures in (("proj", data), ("flat", white), ("dark", dark)):
        for i, picture in enumerate(pictures):
            tifffile.imwrite(folder / f"{stem}_{i}.tif", picture)
    np.savetxt(folder / "angles.txt", theta, fmt="%.17g")
    names = {"path": "proj_*.tif", "white": "flat_*.tif", "dark": "dark_*.tif", "theta": "angles.txt"}
    return {key: str(folder / name) for key, name in names.items()}


def _nxtomo(path: Path, data: np.ndarray, white: np.ndarray, dark: np.ndarray, theta: np.ndarray) -> str:
    counts = [len(dark), len(white), len(data)]
    with h5py.File(path, "w") as file:
        file["entry/definition"] = "NXtomo"
        file["entry"].attrs["NX_class"] = "NXentry"
        file["entry/instrument/detector/data"] = np.concatenate([dark, white, data])
        file["entry/instrument/detector/image_key"] = np.repeat([2, 1, 0], counts)
        file["entry/sample/rotation_angle"] = np.concatenate([np.zeros(counts[0] + counts[1]), theta])
        file["entry/sample/rotation_angle"].attrs["units"] = "degree"
    return str(path)


def _residual(source: Path, volume: np.ndarray, center: float) -> float:
    """Norm of measured minus projected line integrals over that of the measured."""
    data, xp = open_dataset(source), get_backend("torch")
    integrals = -np.log(np.maximum(data.patterns.read(np.arange(data.n_patterns)) / data.open_beam_counts, 1e-4))
    poses = make_poses(xp, xp.asarray(data.theta_rad), None, None, xp.asarray(np.array([center])))
    frame = Frame(volume.shape[0], 0, 0, volume.shape[0], level=poses.level)
    seen = xp.to_numpy(Joseph().project(xp, xp.asarray(np.asarray(volume)), poses, frame))
    return float(np.linalg.norm(seen - integrals) / np.linalg.norm(integrals))
