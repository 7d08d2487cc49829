"""What a path of data stands for: a file, several of them, a folder, or the data of an earlier run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np

from adorym.data.hdf5 import check_file
from adorym.data.picture_roles import PICTURE_ENDINGS, Roles, beside, in_folder, role_of, sorted_out, template
from adorym.data.pictures import is_series, natural_order, order_note, series_files
from adorym.data.result import RESULT_NAME, read_result
from adorym.errors import DataError

PathLike: TypeAlias = str | Path | Sequence[str | Path] | np.ndarray

# Of the files of a folder, those that may hold data.
ENDINGS = {
    ".h5", ".hdf5", ".hdf", ".he5", ".nxs", ".nx", ".cxi", ".ptyd", ".emd", ".mat", ".npz", ".npy", ".tif", ".tiff",
    ".edf", ".cbf", ".dm3", ".dm4", ".mib", ".raw", ".png", ".jpg", ".jpeg",
}  # fmt: skip
MASTER = "*_master.h5"


@dataclass(frozen=True)
class Source:
    """The files of a data set.

    Attributes:
        files: The files, in order.
        notes: How they were chosen.
        settings: Section ``data`` of the run that these are the data of, without its path.
        flats: Flat fields that lie with them.
        darks: Dark fields, likewise.
        parts: Of several folders of pictures, one each, such as one for each distance.
    """

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    flats: tuple[Path, ...] = ()
    darks: tuple[Path, ...] = ()
    parts: tuple[Source, ...] = ()


def source_of(path: PathLike) -> Source:
    """What ``path`` stands for: a file, a pattern such as ``p_*.tif``, a folder, a list of these, or an earlier run.

    Raises:
        DataError: There is no such file, or a folder does not say which of its files are meant.
    """
    if not isinstance(path, str | Path):
        if not len(path):
            raise DataError("data.path", "names no file", expected="a file, a folder or a list of files", found="[]")
        return _joined([source_of(each) for each in path])
    if is_series(path):
        found = series_files(path)
        if all(Path(file).is_dir() for file in found):
            return _joined([source_of(file) for file in found])
        return _with_fields(_series(found))
    folder = Path(path).expanduser()
    if folder.is_dir():
        return _run(folder / RESULT_NAME) if (folder / RESULT_NAME).is_file() else _in_folder(folder)
    file = check_file(path)
    return _run(file) if is_result(file) else Source((file,))


def is_result(path: Path) -> bool:
    """Whether ``path`` is the result of a run of this package."""
    if not h5py.is_hdf5(path):
        return False
    try:
        with h5py.File(path, "r", locking="best-effort") as file:
            return all(name in file for name in ("object", "config", "provenance", "history"))
    except (OSError, RuntimeError):
        return False  # whoever opens it says what is wrong


def _joined(parts: Sequence[Source]) -> Source:
    """Several sources as one; folders of pictures stay apart, each with its own flat and dark fields."""
    files = tuple(file for part in parts for file in part.files)
    apart = len(parts) > 1 and all(_of_folder(part) for part in parts)
    return Source(files, tuple(note for part in parts for note in part.notes), parts=tuple(parts) if apart else ())


def _of_folder(source: Source) -> bool:
    return len(source.files) > 1 and all(file.suffix.lower() in PICTURE_ENDINGS for file in source.files)


def _series(files: Sequence[str]) -> Source:
    notes = (order_note(list(files)),) if len(files) > 1 else ()
    return Source(tuple(Path(file) for file in files), notes)


def _with_fields(source: Source) -> Source:
    """A series of pictures without those that are flat or dark fields, and with the fields that lie beside it."""
    if not _of_folder(source):
        return source
    return _of_roles(beside(sorted_out(source.files)))


def _of_roles(roles: Roles) -> Source:
    found = _series([str(file) for file in roles.pictures])
    named = [("flat", roles.flats), ("dark", roles.darks)]
    notes = tuple(
        f"{name} fields by their names, {order_note([str(f) for f in files])}" for name, files in named if files
    )
    return replace(found, notes=(*found.notes, *notes), flats=roles.flats, darks=roles.darks)


def _of_pictures(folder: Path) -> Source | None:
    """A folder of pictures, or of folders of one series, such as one for each distance; ``None`` if it is neither."""
    roles = in_folder(folder)
    if roles.pictures:
        return _of_roles(roles)
    below = [each for each in sorted(folder.iterdir()) if each.is_dir() and role_of(each.name) == "pictures"]
    holding = [each for each in map(str, below) if in_folder(Path(each)).pictures]
    if len(holding) == 1:
        inner = beside(in_folder(Path(holding[0])))
        return _of_roles(inner)
    if len(holding) > 1 and len({template(Path(each).name) for each in holding}) == 1:
        return _joined([_of_roles(in_folder(Path(each))) for each in natural_order(holding)])
    return None


def _in_folder(folder: Path) -> Source:
    files = [file for file in folder.iterdir() if file.is_file() and file.suffix.lower() in ENDINGS]
    masters = [file for file in files if file.match(MASTER)]
    if len(masters) == 1:  # the others are what it links to
        return Source((masters[0],), (f"'{masters[0].name}' of the folder",))
    kinds = Counter(file.suffix.lower() for file in files).most_common()
    if not kinds or (kinds[0][0] in PICTURE_ENDINGS and (len(kinds) == 1 or kinds[0][1] > kinds[1][1])):
        pictures = _of_pictures(folder)
        if pictures is not None:
            return pictures
    if not kinds or (len(kinds) > 1 and kinds[0][1] == kinds[1][1]) or len(masters) > 1:
        what = "this folder does not say which of its files hold the data" if kinds else "no data file in this folder"
        found = ", ".join(f"{n} {ending}" for ending, n in kinds) or None
        remedy = (
            f"name the files: '{folder / '*.tif'}'" if not kinds else f"name them: '{folder / ('*' + kinds[0][0])}'"
        )
        raise DataError(str(folder), what, found=found, remedy=remedy)
    chosen = natural_order(str(file) for file in files if file.suffix.lower() == kinds[0][0])
    found_source = _series(chosen)
    others = f", {sum(n for _, n in kinds[1:])} others left out" if len(kinds) > 1 else ""
    return Source(found_source.files, (f"{len(chosen)} files {kinds[0][0]} of the folder{others}", *found_source.notes))


def _run(result: Path) -> Source:
    """The data of the run that ``result`` is the result of."""
    settings = dict(read_result(result).settings.get("data") or {})
    path = settings.pop("path", None)
    if path is None:
        raise DataError(str(result), "the result of a run that does not name its data", remedy="name the data file")
    if not isinstance(path, str) and any(isinstance(each, Mapping) for each in path):
        raise DataError(str(result), "the result of scans with settings of each", remedy="name them in 'data.path'")
    where = [Path(each) for each in ([path] if isinstance(path, str) else path)]
    found = source_of([each if each.is_absolute() else result.parent / each for each in where])
    note = f"the data of the run in '{result}', with its settings"
    return Source(found.files, (note, *found.notes), {k: v for k, v in settings.items() if v is not None})
