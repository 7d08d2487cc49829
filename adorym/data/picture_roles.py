"""What the pictures of a folder show, told by their names: the sample, the beam without it, or the dark.

Words in a name, or in that of a folder, say what a picture is: ``flat_0001.tif``, ``ref0000_0000.edf``,
``darks/0.tif``. A word that most of the files have says nothing: somebody's sample is called ``white_paper``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from adorym.data.pictures import natural_order

# Of pictures; the arrays of other files have names of their own.
PICTURE_ENDINGS = {".tif", ".tiff", ".edf", ".cbf", ".dm3", ".dm4", ".npy", ".png", ".jpg", ".jpeg"}
WORD, DIGITS = re.compile(r"[a-z]+"), re.compile(r"\d+")
FLAT_WORDS = {"ref", "refs", "refhst", "reference", "references", "openbeam", "ob", "ff", "empty"}
DARK_WORDS = {"dc", "df", "di"}
# What the name of a folder of fields may say besides: ``flat_fields_before``.
COMMON_WORDS = {"field", "fields", "frame", "frames", "image", "images", "img", "picture", "pictures", "beam", "before"}
COMMON_WORDS |= {"after", "pre", "post", "start", "end", "current", "tif", "tiff", "edf", "cbf"}
# Of reference pictures of the ESRF, medians of many; the number is that of the projection before which they were taken.
MEDIAN = re.compile(r"^refHST(\d+)$")


@dataclass(frozen=True)
class Roles:
    """Pictures by what they show, each in natural order."""

    pictures: tuple[Path, ...] = ()
    flats: tuple[Path, ...] = ()
    darks: tuple[Path, ...] = ()


def role_of(name: str) -> str:
    """``flats``, ``darks`` or ``pictures``, by the words of ``name``, which has no ending."""
    words = WORD.findall(name.lower())
    if any(word.startswith("dark") for word in words) or set(words[:1]) & DARK_WORDS:
        return "darks"
    flat = any(word.startswith(("flat", "white")) for word in words) or set(words) & FLAT_WORDS
    return "flats" if flat else "pictures"


def role_of_neighbor(name: str) -> str:
    """`role_of` of a folder beside that of the pictures, which says nothing else: others belong to other samples."""
    words = [word for word in WORD.findall(name.lower()) if word not in COMMON_WORDS]
    roles = {role_of(word) for word in words}
    return roles.pop() if len(roles) == 1 else "pictures"


def template(name: str) -> str:
    """``name`` without its numbers: files of one series have the same."""
    return DIGITS.sub("#", name)


def sorted_out(files: Iterable[str | Path]) -> Roles:
    """``files`` by what they show. If the names call all of them fields, the longest series are the pictures."""
    ordered = [Path(each) for each in natural_order(map(str, files))]
    found = {path: role_of(path.stem) for path in ordered}
    if "pictures" not in found.values():
        series = [template(path.name) for path in ordered]
        longest = max(dict.fromkeys(series), key=series.count, default="")
        found |= {path: "pictures" for path in ordered if template(path.name) == longest}
    return _preferred(Roles(*(tuple(p for p in ordered if found[p] == r) for r in ("pictures", "flats", "darks"))))


def _preferred(roles: Roles) -> Roles:
    """Medians instead of the fields that they are made of: ``refHST0000``, and ``dark`` instead of ``darkend0000``."""
    medians = tuple(path for path in roles.flats if MEDIAN.match(path.stem))
    dark = tuple(path for path in roles.darks if path.stem == "dark")
    return replace(roles, flats=medians or roles.flats, darks=dark or roles.darks)


def in_folder(folder: Path) -> Roles:
    """The pictures of a folder, the commonest ending alone, with the fields in it and in its sub-folders."""
    files = [file for file in _entries(folder) if file.is_file() and file.suffix.lower() in PICTURE_ENDINGS]
    endings = [file.suffix.lower() for file in files]
    commonest = max(sorted(set(endings)), key=endings.count, default="")
    here = sorted_out(file for file in files if file.suffix.lower() == commonest)
    below = [(role_of(each.name), each) for each in _entries(folder) if each.is_dir()]
    return _with_folders(here, below)


def beside(roles: Roles) -> Roles:
    """``roles`` with the fields that lie beside their pictures, in the same folder or in folders of their own."""
    folder = roles.pictures[0].parent
    if roles.flats or any(path.parent != folder for path in roles.pictures):
        return roles
    ending, known = roles.pictures[0].suffix, {*roles.pictures, *roles.darks}
    others = [file for file in _entries(folder) if file.suffix == ending and file.is_file() and file not in known]
    fields = [file for file in others if role_of(file.stem) != "pictures"]
    found = _preferred(Roles(
        roles.pictures,
        tuple(file for file in fields if role_of(file.stem) == "flats"),
        (*roles.darks, *(file for file in fields if role_of(file.stem) == "darks")),
    ))  # fmt: skip
    below = [(role_of(each.name), each) for each in _entries(folder) if each.is_dir()]
    near = [(role_of_neighbor(each.name), each) for each in _entries(folder.resolve().parent) if each.is_dir()]
    return _with_folders(found, [*below, *near])


def _with_folders(roles: Roles, folders: list[tuple[str, Path]]) -> Roles:
    for role in ("flats", "darks"):
        if not getattr(roles, role):
            inside = [file for name, folder in folders if name == role for file in _pictures_of(folder)]
            roles = replace(roles, **{role: tuple(inside)})
    return roles


def _pictures_of(folder: Path) -> list[Path]:
    files = [str(f) for f in _entries(folder) if f.is_file() and f.suffix.lower() in PICTURE_ENDINGS]
    return [Path(file) for file in natural_order(files)]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # it may not be read
        return []


def moments_in(names: Iterable[str | Path]) -> np.ndarray | None:
    """Numbers of the projections before which flat fields were taken; ``None`` unless the names tell several."""
    found = [MEDIAN.match(Path(name).stem) for name in names]
    numbers = [float(each[1]) for each in found if each is not None]
    return np.array(numbers) if len(numbers) == len(found) and len(set(numbers)) > 1 else None
