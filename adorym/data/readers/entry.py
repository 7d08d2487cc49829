"""The tree of a CXI or NeXus entry: where things lie in it, in the order in which they are looked for.

CXI names its groups ``entry_1/instrument_1/detector_1``; NeXus marks them with ``@NX_class``, whatever their name. Both
are searched by name first, then by class. What is missing is left out; what was used is noted.

CXI (1.3 and later, https://www.cxidb.org/cxi.html) is in SI units, the energy of the photons in joule; translations are
the sample's, in meters. NeXus (NXcxi_ptycho, NXptycho) is read leniently, since files in use leave out much of what the
definition requires: every ``@units`` is honored, the photon energy is that of the beam, positions are a list of
translations or the motors of a raster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from adorym.data.flat_fields import mean_field
from adorym.data.hdf5 import broken_link, find, lost_file, numbers, open_hdf5, quantity, single, text_attribute, whole
from adorym.data.hdf5_tree import leaves
from adorym.data.lengths import Lengths, is_length
from adorym.data.overrides import Overrides
from adorym.data.patterns import Hdf5Patterns, Orientation
from adorym.data.readers.base import Raw, Reader
from adorym.data.readers.beam import photon_energy
from adorym.data.readers.motion import DEFAULT_DIRECTIONS, detector_axes, probe_motion, sample_motion, upright
from adorym.errors import DataError, suggestion
from adorym.registry import register

FRAMES = (
    "data_1/data",
    "instrument_1/detector_1/data",
    "instrument_1/detector/data",
    "instrument/detector_1/data",
    "instrument/detector/data",
    "image_1/data",
)
DETECTOR = ("instrument_1/detector_1", "instrument_1/detector", "instrument/detector_1", "instrument/detector")
PROBE = ("instrument_1/source_1/illumination", "instrument_1/source_1/probe", "instrument/source/probe")
DEFINITIONS = ("NXcxi_ptycho", "NXptycho")
HAS_SIGNAL = 0x1000  # a bit of CXI's mask that does not make a pixel bad


def entry_groups(file: h5py.File) -> dict[str, h5py.Group]:
    """Groups of the root that are entries: called so, or marked as NXentry."""
    groups = {name: item for name in file if isinstance(item := _group(file, name), h5py.Group)}
    return {n: g for n, g in groups.items() if n.startswith("entry") or text_attribute(g, "NX_class") == "NXentry"}


def _group(file: h5py.File, name: str) -> h5py.Group | None:
    """A group of the root; a broken link is none, until something in it is asked for."""
    item = file.get(name) if broken_link(file, name) is None else None
    return item if isinstance(item, h5py.Group) else None


def frames_of(group: h5py.Group) -> h5py.Dataset | None:
    """The patterns: by name, else the largest dataset called ``data`` of three or more axes."""
    named = find(group, FRAMES)
    if named is not None:
        return named
    found = [leaf for leaf in leaves(group) if leaf.name.rpartition("/")[2] == "data"]
    stacks = [leaf.dataset for leaf in found if leaf.dataset is not None and leaf.dataset.ndim >= 3]
    lost = next((leaf for leaf in found if leaf.lost), None)
    if lost is not None and not stacks:
        raise lost_file(f"{group.file.filename}:{group.name}/{lost.name}", lost.lost)
    return max(stacks, key=lambda item: item.size, default=None)


def definition_of(group: h5py.Group) -> str:
    """NeXus application definition of an entry, empty where there is none."""
    dataset = find(group, ["definition"])
    if dataset is None or h5py.check_string_dtype(dataset.dtype) is None:
        return ""
    return str(np.ravel(dataset.asstr()[()])[0])


def is_nxtomo(file: h5py.File) -> bool:
    """Whether an entry names the definition of tomography, or holds what only that has."""
    keys = ("instrument/detector/image_key", "data/image_key")
    return any(
        definition_of(group) == "NXtomo" or find(group, keys) is not None for group in entry_groups(file).values()
    )


def is_nexus(file: h5py.File) -> bool:
    """Whether an entry names a definition of ptychography, or the file is NeXus with patterns and not marked as CXI."""
    groups = entry_groups(file).values()
    if is_nxtomo(file):
        return False
    if any(definition_of(group) in DEFINITIONS for group in groups):
        return True
    if find(file, ["cxi_version"]) is not None:
        return False
    return any(text_attribute(g, "NX_class") == "NXentry" and frames_of(g) is not None for g in groups)


@register("reader", "cxi")
class CxiReader(Reader):
    """CXI files, and files with the layout of CXI that do not say so."""

    def recognizes(self, path: Path) -> bool:
        with open_hdf5(path) as file:
            if is_nexus(file) or is_nxtomo(file):
                return False
            groups = entry_groups(file)
            if find(file, ["cxi_version"]) is not None:
                return bool(groups)
            return any(frames_of(group) is not None for group in groups.values())

    def is_certain(self, path: Path) -> bool:
        with open_hdf5(path) as file:
            return find(file, ["cxi_version"]) is not None

    def extract(self, path: Path, overrides: Overrides) -> Raw:
        return extract_entry(path, overrides, source_first=True)


@register("reader", "nexus")
class NexusReader(Reader):
    """NeXus files of ptychography."""

    def recognizes(self, path: Path) -> bool:
        with open_hdf5(path) as file:
            return is_nexus(file)

    def is_certain(self, path: Path) -> bool:
        with open_hdf5(path) as file:
            return any(definition_of(group) in DEFINITIONS for group in entry_groups(file).values())

    def extract(self, path: Path, overrides: Overrides) -> Raw:
        return extract_entry(path, overrides, source_first=False)


def extract_entry(path: Path, overrides: Overrides, source_first: bool) -> Raw:
    """What an entry says; ``source_first`` as in `adorym.data.readers.beam.photon_energy`.

    Raises:
        DataError: No such entry, no patterns in it, or arrays that cannot be what their names say.
    """
    notes: list[str] = []
    with open_hdf5(path) as file:
        entry = chosen_entry(file, overrides.entry, notes)
        frames = frames_of(entry)
        if frames is None:
            raise DataError(
                f"{path}:{entry.name}",
                "no patterns",
                expected=f"one of {', '.join(FRAMES)}",
                remedy="say where they are: 'adorym convert IN OUT --map patterns=...'",
            )
        notes.append(f"patterns from {frames.name}, {frames.shape}")
        patterns = Hdf5Patterns(frames.file.filename, frames.name)  # perhaps of another file, behind a link
        detector = _detector(entry, frames)
        axes, axis_lengths, axes_note = detector_axes(detector)
        turn = upright(axes) or Orientation()
        if not turn.is_identity:
            axes, axes_note = DEFAULT_DIRECTIONS, "the default axes, to which the patterns are turned"
            notes.append(f"basis_vectors: the detector's axes are turned, so the patterns are: {turn.describe()}")
        motion = sample_motion(entry, detector, patterns.shape[0])
        if motion is not None:
            notes.append(f"positions from {motion[1]}: motion of the sample, negated, along {axes_note}")
        places = (["data_dark", "dark"], ["data_white", "white"], ["qe_mask"])
        stored = [find(detector, names) for names in places]
        dark, flat, efficiency = (None if each is None else mean_field(numbers(each)) for each in stored)
        return Raw(
            patterns=patterns,
            positions_m=None if motion is None else probe_motion(motion[0], axes),
            lengths=Lengths(
                energy_ev=photon_energy(entry, source_first, notes),
                detector_pixel_size_m=_pixel_size(detector, notes) or axis_lengths,
                distance_m=_distance(detector, axes, notes),
            ),
            mask=_mask(entry, detector, patterns.shape, notes),
            dark=dark,
            flat=efficiency if flat is None else (flat if dark is None else flat - dark),
            orientation=turn,
            start_probe=_probe(entry, patterns.shape[1:], turn, notes),
            notes=tuple(notes),
        )


def chosen_entry(file: h5py.File, name: str | None, notes: list[str]) -> h5py.Group:
    """The entry ``name``, else the first.

    Raises:
        DataError: There is none.
    """
    groups = entry_groups(file)
    if name is not None and name not in groups:
        raise DataError(file.filename, f"no entry '{name}'", remedy=suggestion(name, groups))
    chosen = name or ("entry_1" if "entry_1" in groups else next(iter(groups), None))
    if chosen is None:
        raise DataError(
            file.filename, "no entry", expected="a group 'entry_1'", found=", ".join(file) or "an empty file"
        )
    if len(groups) > 1:
        notes.append(f"entry '{chosen}' of {', '.join(groups)}; choose with data.entry")
    return groups[chosen]


def _child(group: h5py.Group, names: Sequence[str], nx_class: str) -> h5py.Group | None:
    """The first group of ``names``, else the first of class ``nx_class`` anywhere below."""
    for name in names:
        if isinstance(item := group.get(name), h5py.Group):
            return item
    return group.visititems(
        lambda _, item: item if isinstance(item, h5py.Group) and text_attribute(item, "NX_class") == nx_class else None
    )


def _detector(entry: h5py.Group, frames: h5py.Dataset) -> h5py.Group:
    detector = _child(entry, DETECTOR, "NXdetector")
    return frames.parent if detector is None else detector


def _pixel_size(detector: h5py.Group, notes: list[str]) -> tuple[float, float] | None:
    """(y, x) pitch; a file that gives one side only means square pixels."""
    sides = [find(detector, [f"{axis}_pixel_size", f"geometry_1/{axis}_pixel_size"]) for axis in "yx"]
    stored = [None if side is None else single(quantity(side, "m")) for side in sides]
    values = [side if side is not None and is_length(side) else None for side in stored]
    y, x = values[0] or values[1], values[1] or values[0]
    if y is None or x is None:
        return None
    if None in values:
        notes.append("detector pixel: one side given, taken as square")
    return y, x


def _distance(detector: h5py.Group, axes: np.ndarray, notes: list[str]) -> float | None:
    """Sample to detector; without it, that of the detector's plane through ``corner_position``."""
    stored = find(detector, ["distance", "geometry_1/distance"])
    value = None if stored is None else single(np.abs(quantity(stored, "m")))
    corner = find(detector, ["corner_position", "corner_positions", "geometry_1/corner_position"])
    if value is None and corner is not None and corner.size == 3:
        normal = np.cross(axes[0], axes[1])
        value = float(abs(np.ravel(quantity(corner, "m")) @ normal) / np.linalg.norm(normal)) or None
        notes.append(f"distance from {corner.name}")
    return value


def _mask(entry: h5py.Group, detector: h5py.Group, shape: tuple[int, int, int], notes: list[str]) -> np.ndarray | None:
    """True where good. A CXI mask is a field of bits: 0 is good."""
    stored = find(detector, ["mask", "pixel_mask"]) or find(entry, ["image_1/mask"])
    if stored is None:
        return None
    mask = np.asarray(whole(stored))
    notes.append(f"mask from {stored.name}: a field of bits, 0 is good")
    if mask.ndim > 2 and mask.size == np.prod(shape):
        mask = mask.reshape(shape)
    return (mask.astype(np.int64) & ~HAS_SIGNAL) == 0


def _probe(entry: h5py.Group, window: tuple[int, int], turn: Orientation, notes: list[str]) -> np.ndarray | None:
    """A first guess of the probe, where one of the patterns' size came with the data."""
    stored = find(entry, PROBE)
    if stored is None or stored.ndim < 2 or stored.shape[-2:] != tuple(window):
        return None
    notes.append(f"start probe from {stored.name}")
    modes = (np.asarray(whole(stored)) if stored.dtype.kind == "c" else numbers(stored)).reshape(-1, *window)
    return replace(turn, keep_center=False).apply(modes)  # a wave in real space has no frequency to keep in place
