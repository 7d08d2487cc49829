"""From the sample's motion in the laboratory to the probe's motion on the object's pixels.

CXI and NeXus store where the sample is; the probe moves over it the other way. The object's rows and columns run as
the detector's do, so the probe's position along them is the projection of the negated motion on the detector's axes,

    row_j = -t_j . e_slow,    column_j = -t_j . e_fast,

with e the direction from one detector pixel to the next. Where a file does not give these, CXI's default holds:
rows run down (-y) and columns against x, whose two minus signs cancel the first. A detector whose axes run otherwise
has its patterns turned, so that the picture is upright.
"""

from __future__ import annotations

import h5py
import numpy as np

from adorym.data.hdf5 import find, quantity, unit_of
from adorym.data.patterns import Orientation
from adorym.data.rows import rows_of
from adorym.errors import DataError

Pair = tuple[float, float]

# CXI's names for the translation of the sample, by the group they are looked for in.
TRANSLATION = ("data_1/translation", "sample_1/geometry_1/translation", "sample/geometry_1/translation")
MOTORS = (
    ("sample_1/transformations/y", "sample_1/transformations/x"),
    ("sample/transformations/y", "sample/transformations/x"),
    ("data_1/y", "data_1/x"),
    ("data/y", "data/x"),
)
ALIGNED = 0.97  # cosine of the largest angle, 14 degrees, at which an axis counts as one of the default ones
DEFAULT_DIRECTIONS = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])


def detector_axes(detector: h5py.Group) -> tuple[np.ndarray, Pair | None, str]:
    """Unit vectors ``(2, 3)`` (slow, fast) from pixel to pixel, the vectors' lengths in meters if given, and a note."""
    stored = find(detector, ["basis_vectors", "geometry_1/basis_vectors"])
    if stored is None:
        return DEFAULT_DIRECTIONS, None, "the default axes (rows run down, columns against x)"
    basis = quantity(stored, "m")
    if basis.shape == (3, 2):  # as some writers transpose them
        basis = basis.T
    lengths = np.linalg.norm(basis, axis=-1) if basis.shape == (2, 3) else np.zeros(2)
    if not (lengths > 0).all():
        place = f"{stored.file.filename}:{stored.name}"
        raise DataError(place, "not the axes of a detector", expected="(2, 3), no vector 0", found=basis.tolist())
    return basis / lengths[:, None], (float(lengths[0]), float(lengths[1])), "the axes in basis_vectors"


def upright(axes: np.ndarray) -> Orientation | None:
    """What turns patterns with ``axes`` ``(2, 3)`` to the default axes; ``None`` where the detector is tilted."""
    along = axes @ DEFAULT_DIRECTIONS.T
    for transpose in (False, True):
        y, x = (along[1, 0], along[0, 1]) if transpose else (along[0, 0], along[1, 1])
        if min(abs(y), abs(x)) > ALIGNED:
            return Orientation(transpose=transpose, flip_y=bool(y < 0), flip_x=bool(x < 0))
    return None


def sample_motion(entry: h5py.Group, detector: h5py.Group, n: int) -> tuple[np.ndarray, str] | None:
    """Sample translation ``(k, 3)`` (x, y, z) in meters and what it was read from; ``None`` where nothing moved.

    ``k`` is the number of positions in the file, which may not be ``n``, the number of patterns.
    """
    stored = find(entry, TRANSLATION) or find(detector, ["translation"])
    if stored is not None:
        rows = rows_of(quantity(stored, "m"), n, f"{stored.file.filename}:{stored.name}")
        return np.pad(rows, ((0, 0), (0, 3 - rows.shape[1]))), _described(stored)
    for y_name, x_name in MOTORS:
        y, x = find(entry, [y_name]), find(entry, [x_name])
        if y is not None and x is not None:
            rows, columns = _paired(quantity(y, "m"), quantity(x, "m"), n, f"{y.file.filename}:{y.name}")
            motion = rows[:, None] * _direction(y, (0, 1, 0)) + columns[:, None] * _direction(x, (1, 0, 0))
            return motion, f"{_described(y)} and {_described(x)}"
    return None


def probe_motion(motion: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """``(n, 2)`` meters along rows and columns from sample translations ``(n, 3)`` and axes ``(2, 3)``."""
    return -motion @ axes.T


def _paired(y: np.ndarray, x: np.ndarray, n: int, place: str) -> tuple[np.ndarray, np.ndarray]:
    """Motor positions of every pattern: one a pattern, or the two axes of a raster whose rows are slow."""
    y, x = y.ravel(), x.ravel()
    if y.size == n and x.size == n:
        return y, x
    if y.size * x.size == n:
        rows, columns = np.meshgrid(y, x, indexing="ij")
        return rows.ravel(), columns.ravel()
    if y.size != x.size:
        expected, found = f"{n} of each, or ny * nx = {n}", f"{y.size} along y, {x.size} along x"
        raise DataError(place, "motor positions fit neither a list nor a raster", expected=expected, found=found)
    return y, x


def _direction(motor: h5py.Dataset, default: tuple[int, int, int]) -> np.ndarray:
    """Direction of a NeXus transformation, ``@vector``."""
    vector = np.ravel(motor.attrs.get("vector", default)).astype(np.float64)
    return vector if vector.size == 3 else np.array(default, dtype=np.float64)


def _described(dataset: h5py.Dataset) -> str:
    return f"{dataset.name} {dataset.shape} in {unit_of(dataset) or 'm (not said)'}"
