"""Layouts of instruments and programs: where each keeps what, and the units that its files do not say.

A table, read by one reader. A layout is recognized by the names that only it has; what it names is looked for in order,
and what a file lacks is left out. A unit after a name is that of the numbers whatever the file says; one with a
question mark holds where the file says none. Names are those of the programs that write the files, listed beside each;
they were compared with what readers of others look for: ptychodus (LYNX, In Situ Nanoprobe, Bionanoprobe, NSLS-II,
cSAXS, NanoMAX, Velociprobe, its own), ptypy (NanoMAX, cSAXS) and tike (LYNX, Velociprobe).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from adorym.data.containers import Container, joined, open_container
from adorym.data.hdf5 import factor
from adorym.data.keymap import KeyMap
from adorym.data.lengths import is_length
from adorym.data.names import role_of
from adorym.data.overrides import Overrides
from adorym.data.readers.base import Raw, Reader
from adorym.data.stacks import fitting, patterns_of
from adorym.data.suggest import zero_at_corner
from adorym.errors import DataError
from adorym.registry import lookup, register

DETECTOR, BEAM = "entry/instrument/detector", "entry/instrument/beam"
EIGER_PIXELS = f"{DETECTOR}/y_pixel_size m?,{DETECTOR}/x_pixel_size m?"
POSITIVE = ("energy", "wavelength", "distance", "detector_pixel_size", "pixel_size")
MATRIX = "positions_order=xy"
PTYCHO = "PTYCHO/*|PTYCHO/*/entry/data/data"  # links to arrays, or to whole files
NANOMAX = "entry/measurement/*/frames|entry/measurement/*/data|entry/instrument/[Ee]iger*/data"


# Today's files, with dim0 to dim3, and those until py4DSTEM 0.12, with dim1 to dim4.
EMD, OLD_EMD = "*/datacube/{0}|*/*/datacube/{0}", "4DSTEM_experiment/data/datacubes/*/{0}|data/*/{0}"


def _pair(places: str, first: int) -> str:
    """Two axes that follow each other, at each of ``places``."""
    pairs = [f"{place.format(f'dim{first}')},{place.format(f'dim{first + 1}')}" for place in places.split("|")]
    return "|".join(pairs)


@dataclass(frozen=True)
class Layout:
    """Where an instrument or a program keeps what.

    Attributes:
        about: What it is, in a line.
        marks: Names that all have to be there; of those with ``|`` between them, one.
        entries: Fields of `KeyMap`, and the names that are tried for each, ``|`` between them.
        constants: Entries of the map that always hold.
        beside: Ending of a patterns' file, and that of the file beside it with the rest.
    """

    about: str
    marks: tuple[str, ...]
    entries: Mapping[str, str]
    constants: tuple[str, ...] = ()
    beside: tuple[str, str] | None = None

    def fits(self, container: Container) -> bool:
        """Whether every mark is there, be it a link that leads nowhere."""
        names = [*container.arrays, *container.attributes]
        return all(any(fitting(names, name) for name in mark.split("|")) for mark in self.marks)

    def map_of(self, container: Container) -> list[str]:
        """The entries of the map that this file has."""
        found = {field: text for field, tried in self.entries.items() if (text := _first(container, field, tried))}
        if "energy" in found:
            found.pop("wavelength", None)
        said = any(info.unit for name in found.get("positions", "").split(",") if (info := container.arrays.get(name)))
        constants = [each for each in self.constants if not (said and each.startswith("positions_unit="))]
        return [*(f"{field}={text}" for field, text in found.items()), *constants]


def _first(container: Container, field: str, tried: str) -> str:
    """The first of the alternatives that is there, with its unit; empty if there is none."""
    names = [*container.arrays, *container.attributes]
    for alternative in tried.split("|"):
        parts = [part.strip().rpartition(" ") if " " in part.strip() else (part.strip(), "", "") for part in
                 alternative.split(",")]  # fmt: skip
        found = []
        for name, _, unit in parts:
            fits = fitting(names, name)
            if not fits or (field in POSITIVE and not _is_set(container, fits[0])):
                break
            key = name if field == "patterns" else fits[0]
            found.append(f"{key}{_unit(container, fits[0], field, unit)}")
        if len(found) == len(parts):
            return ",".join(found)
    return ""


def _is_set(container: Container, key: str) -> bool:
    """Whether somebody entered the number: one that was not is 0 or NaN, or negative."""
    values = container.read(key)
    return values.dtype.kind not in "iuf" or (bool(values.size) and is_length(values))


def _unit(container: Container, key: str, field: str, unit: str) -> str:
    """What follows a name in a map: nothing where the file says the unit."""
    written = container.arrays[key].unit if key in container.arrays else ""
    if field in ("patterns", "positions", "probe", "mask", "dark", "white", "reciprocal_pixel") or (
        written and (unit.endswith("?") or not unit)
    ):
        return ""
    if not unit:  # the number has to tell
        values = container.read(key).ravel()
        judged = role_of(field, "", float(values[0])) if values.size else None
        return f" {judged[1]}" if judged is not None and judged[0] == field else ""
    return f" {unit.removesuffix('?')}"


LAYOUTS: dict[str, Layout] = {
    "eiger": Layout(
        "Dectris Eiger and Pilatus master files, with data files beside; APS Velociprobe",
        ("entry/data/data_[0-9]*", "|".join(f"{DETECTOR}/{name}" for name in
         ("detectorSpecific/*", "detector_distance", "x_pixel_size"))),
        {
            "patterns": "entry/data/data_[0-9]*",
            "energy": f"{DETECTOR}/detectorSpecific/photon_energy eV?|{BEAM}/incident_energy eV?",
            "wavelength": f"{BEAM}/incident_wavelength angstrom?|{BEAM}/wavelength angstrom?",
            "distance": f"{DETECTOR}/detector_distance m?|{DETECTOR}/distance m?",
            "detector_pixel_size": EIGER_PIXELS,
            "mask": f"{DETECTOR}/detectorSpecific/pixel_mask|{DETECTOR}/pixel_mask",
        },
        ("mask_good=0",),
    ),
    "nanomax": Layout(
        "MAX IV NanoMAX, frames behind a link",
        (NANOMAX, "entry/measurement/pseudo/x"),
        {
            "patterns": NANOMAX,
            "positions": "entry/measurement/pseudo/y,entry/measurement/pseudo/x",
            "energy": "entry/snapshot/energy eV?|entry/snapshots/pre_scan/energy eV?|entry/snapshots/*/energy eV?",
        },
        ("positions_unit=um",),
    ),
    "csaxs": Layout(
        "PSI cSAXS",
        ("entry/data/data", "entry/instrument/monochromator/energy"),
        {
            "patterns": "entry/data/data",
            "energy": "entry/instrument/monochromator/energy keV?",
            "wavelength": "entry/instrument/monochromator/wavelength angstrom?",
            "distance": "entry/instrument/monochromator/distance mm?|entry/instrument/*/distance mm?",
            "detector_pixel_size": "entry/instrument/*/y_pixel_size um?,entry/instrument/*/x_pixel_size um?",
            "mask": "entry/instrument/*/pixel_mask",
        },
        ("mask_good=0",),
    ),
    "lynx": Layout(
        "APS LYNX, positions in a text file",
        ("entry/data/eiger_4",),
        {
            "patterns": "entry/data/eiger_4",
            "detector_pixel_size": "entry/data/eiger_4@Pixel_size m|entry/data/eiger_4@pixel_size m",
            "distance": "entry/data/eiger_4@Detector_distance_m m|entry/data/eiger_4@[Dd]etector_distance",
            "energy": "entry/data/eiger_4@Photon_energy_kev keV|entry/data/eiger_4@[Pp]hoton_energy",
        },
    ),
    "aps_isn": Layout(
        "APS In Situ Nanoprobe and Bionanoprobe, frames behind links",
        (PTYCHO, "configs/*"),
        {
            "patterns": PTYCHO,
            "positions": "entry/data/Y_Position,entry/data/X_Position",  # in a file beside
            "energy": "configs/photon_energy_eV eV",
            "distance": "configs/det_dist_mm",  # meters in some files, whatever it is called: the number tells
            "detector_pixel_size": "configs/pix_size_y m?,configs/pix_size_x m?",
        },
        ("positions_unit=um",),
    ),
    "hxn": Layout(
        "NSLS-II HXN, amplitudes prepared for reconstruction",
        ("diffamp", "points"),
        {
            "patterns": "diffamp",
            "positions": "points",
            "detector_pixel_size": "ccd_pixel_um um",
            "wavelength": "lambda_nm nm",
            "distance": "z_m m",
        },
        ("positions_unit=um", MATRIX, "measured=amplitude"),
    ),
    "hxn_scan": Layout(
        "NSLS-II HXN, raw frames of a scan",
        ("diff_data/*/det_images|entry/data/data", "scan/scan_positions"),
        {
            "patterns": "diff_data/*/det_images|entry/data/data",
            "positions": "scan/scan_positions",
            "energy": "scan/energy",
            "distance": "diff_data/*/det_distance|diff_data/*/distance|scan/det_distance",
            "detector_pixel_size": "diff_data/*/pixel_size|diff_data/*/det_pixel_size",
        },
        ("positions_unit=um", MATRIX),
    ),
    "fold_slice": Layout(
        "fold_slice and cSAXS's PtychoShelves: dp, and a file with ppX and ppY",
        ("dp", "ppX", "ppY"),
        {
            "patterns": "dp",
            "positions": "ppY,ppX",
            "wavelength": "lambda m?",
            "pixel_size": "dx m?",
            "probe": "probe",
        },
        ("positions_unit=m",),
        ("_dp.", "_para."),
    ),
    "ptychodus": Layout(
        "Ptychodus and pty-chi: dp or patterns, and a file with probe positions and a probe",
        ("dp|patterns|data", "probe_position_y_m", "probe_position_x_m"),
        {
            "patterns": "dp|patterns|data",
            "positions": "probe_position_y_m,probe_position_x_m",
            "energy": "@probe_energy_eV eV|probe_energy_eV eV",
            "distance": "@detector_object_distance_m m|detector_object_distance_m m|@detector_distance_m m",
            "pixel_size": "object@pixel_height_m m,object@pixel_width_m m|probe@pixel_height_m m,probe@pixel_width_m m"
            "|object_pixel_height_m m,object_pixel_width_m m|probe_pixel_height_m m,probe_pixel_width_m m"
            "|@obj_pixel_size_m m|obj_pixel_size_m m",
            "detector_pixel_size": "@detector_pixel_size_m m|@detector_pixel_height_m m,@detector_pixel_width_m m",
            "probe": "probe",
        },
        ("positions_unit=m",),
        ("_dp.", "_para."),
    ),
    "ptylab": Layout(
        "PtyLab, measured data",
        ("ptychogram", "encoder"),
        {
            "patterns": "ptychogram",
            "positions": "encoder",
            "detector_pixel_size": "dxd m",
            "distance": "zo m",
            "wavelength": "wavelength m",
            "dark": "background",
        },
        ("positions_unit=m",),
    ),
    "ptychopinn": Layout(
        "PtychoPINN and SLAC: amplitudes and pixel coordinates in an npz",
        ("diffraction|diff3d", "xcoords|xcoords_start", "ycoords|ycoords_start"),
        {
            "patterns": "diffraction|diff3d",
            "positions": "ycoords,xcoords|ycoords_start,xcoords_start",
            "probe": "probeGuess",
        },
        ("positions_unit=px", "measured=amplitude"),
    ),
    "emd": Layout(
        "EMD of py4DSTEM: four-dimensional scans of electrons",
        (f"{EMD}|{OLD_EMD}".format("data"), EMD.format("dim[01]") + "|" + OLD_EMD.format("dim[12]")),
        {
            "patterns": f"{EMD.format('data')}|{OLD_EMD.format('data')}",
            "positions": f"{_pair(EMD, 0)}|{_pair(OLD_EMD, 1)}",
            "reciprocal_pixel": f"{_pair(EMD, 2)}|{_pair(OLD_EMD, 3)}",
        },
    ),
    "gatan": Layout(
        "DM4 and DM3 of DigitalMicrograph: four-dimensional scans of electrons",
        ("data", "calibration/*"),
        {
            "patterns": "data", "positions": "calibration/scan_y,calibration/scan_x",
            "reciprocal_pixel": "calibration/frequency_y,calibration/frequency_x", "voltage": "calibration/voltage",
        },
    ),
    "ptyr": Layout(
        "ptypy, reconstructions (.ptyr): objects and probes to start from, no patterns",
        ("content/probe/*/data", "content/obj/*/data"),
        {"probe": "content/probe/*/data"},
    ),
}  # fmt: skip


@lru_cache(maxsize=1)
def _listed(path: Path, *_: int) -> Container:
    """The arrays of a file that all layouts are compared with; the rest of the arguments says which version."""
    return open_container(path)


class LayoutReader(Reader):
    """Reads a file by a `Layout`."""

    layout: ClassVar[Layout]

    def recognizes(self, path: Path) -> bool:
        return self.layout.fits(self._container(path))

    def extract(self, path: Path, overrides: Overrides) -> Raw:
        return self.extract_from(self._container(path))

    def extract_from(self, container: Container) -> Raw:
        """What the arrays of a container say.

        Raises:
            DataError: The marks of this layout are not all there.
        """
        layout = self.layout
        if not layout.fits(container):
            found = ", ".join(list(container.arrays)[:12]) or "nothing"
            expected = " and ".join(mark.replace("|", " or ") for mark in layout.marks)
            remedy = "leave 'data.format' out to have the format recognized"
            raise DataError(
                str(container.path), f"not the layout '{self.kind}'", expected=expected, found=found, remedy=remedy
            )
        entries = layout.map_of(container)
        if "patterns" not in layout.entries:
            probe = next((entry.partition("=")[2] for entry in entries if entry.startswith("probe=")), "")
            remedy = f"start from it: parameters.probe.initial: {{kind: file, path: '{container.path}:{probe}'}}"
            raise DataError(str(container.path), "a reconstruction, which holds no patterns", remedy=remedy)
        entries, uncalibrated = _calibrated(container, entries)
        patterns = KeyMap.parse(entries).patterns
        if zero_at_corner(patterns_of(container, patterns, "auto", None, [])):
            entries.append("zero_frequency=corner")
        shown = KeyMap.parse(entries)
        files = ", ".join(part.path.name for part in container.parts)
        said = f"read as {self.kind}: {shown.describe()}" + (f" from {files}" if files else "")
        return shown.extract(container, (said, *uncalibrated))

    def _container(self, path: Path) -> Container:
        """The file, and the one beside it that belongs to it."""
        stat = path.stat()
        container, pair = _listed(path, stat.st_mtime_ns, stat.st_size), self.layout.beside
        if pair is None or pair[0] not in path.name:
            return container
        other = path.with_name(path.name.replace(*pair))
        return joined([container, open_container(other)]) if other.is_file() else container


for _name, _layout in LAYOUTS.items():
    _title = "".join(part.capitalize() for part in _name.split("_"))
    register("reader", _name)(
        type(
            f"{_title}Reader",
            (LayoutReader,),
            {"layout": _layout, "__doc__": f"{_layout.about}.", "__module__": __name__},
        )
    )


def _calibrated(container: Container, entries: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Without the axes that only count pixels, which are no lengths; and a note about each."""
    kept, notes = [], []
    for entry in entries:
        field, _, text = entry.partition("=")
        key = text.split(",")[0].rpartition(" ")[0] or text.split(",")[0]
        info = container.arrays.get(key)
        if field == "reciprocal_pixel" and (info is None or not _is(info.unit, "1/m")):
            notes.append(f"{key} is in '{'' if info is None else info.unit}', no spatial frequency: left out")
        elif (
            field == "positions"
            and text.rpartition("/")[2].startswith("dim")
            and info is not None
            and not _is(info.unit, "m")
        ):
            notes.append(f"the raster's axes are in '{info.unit}', no lengths: left out; give the scan's step")
        else:
            kept.append(entry)
    return kept, tuple(notes)


def _is(unit: str, target: str) -> bool:
    try:
        return bool(unit) and factor(unit, target) > 0
    except ValueError:
        return False


def layout_of(container: Container) -> LayoutReader | None:
    """The reader of the only layout that the arrays of a container have; ``None`` if there is none.

    Raises:
        DataError: Several fit.
    """
    fits = [name for name, layout in LAYOUTS.items() if layout.fits(container)]
    if len(fits) > 1:
        remedy = f"choose: data.format: {fits[0]}"
        raise DataError(
            str(container.path), "several formats fit", expected="one", found=", ".join(fits), remedy=remedy
        )
    return lookup("reader", fits[0])() if fits else None
