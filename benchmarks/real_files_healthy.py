"""A small healthy file for each reader, as it is met, and what a run of it has to be told besides."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import data_files
from instrument_files import MAKERS as INSTRUMENTS
from instrument_files import PLACES, STACK

GEOMETRY = "energy: 8 keV, pixel_size: 20 nm"
SCAN = "scan: {shape: [2, 3], step: 2 px}"


@dataclass(frozen=True)
class Healthy:
    """A file, or several that belong together, and what a run has to be told besides.

    Attributes:
        write: Writes into a folder, returns the file to name.
        told: Keys of ``data`` beside its path.
        model: The forward model.
    """

    write: Callable[[Path], Path]
    told: str = ""
    model: str = "ptychography"

    def config(self, path: Path) -> str:
        """Three lines of configuration."""
        told = f", {self.told}" if self.told else ""
        scanned = self.model == "ptychography"
        probe = "parameters: {probe: {initial: {kind: mean_pattern}}}\n" if scanned else ""
        return f"data: {{path: '{path}'{told}}}\nforward_model: {{kind: {self.model}}}\n{probe}"


def _npz(folder: Path) -> Path:
    np.savez(folder / "a.npz", patterns=STACK, positions=PLACES, energy_ev=8000.0, pixel_size_m=2e-8)
    return folder / "a.npz"


def _mat(folder: Path) -> Path:
    from scipy.io import savemat

    savemat(folder / "a.mat", {"dp": np.moveaxis(STACK, 0, -1), "positions": PLACES})
    return folder / "a.mat"


def _npy(folder: Path) -> Path:
    np.save(folder / "a.npy", STACK)
    return folder / "a.npy"


def _tif(folder: Path) -> Path:
    import tifffile

    tifffile.imwrite(folder / "a.tif", STACK, photometric="minisblack")
    return folder / "a.tif"


def _table(folder: Path) -> Path:
    data_files.native(folder / "a.h5", len(STACK))
    np.savetxt(folder / "positions.csv", PLACES, delimiter=",", header="y_px,x_px", comments="")
    return folder / "a.h5"


def _tomogram(folder: Path) -> Path:
    x, theta = np.arange(24) - 11.5, np.linspace(0, np.pi, 12)[:, None]
    rods = sum(0.1 * np.sqrt(np.maximum(r**2 - (x - a * np.cos(theta)) ** 2, 0)) for a, r in ((2, 5), (-4, 3)))
    stack = np.concatenate([np.full((2, 4, 24), 1000.0), np.repeat(1000 * np.exp(-rods)[:, None], 4, 1)])
    entry = "entry/"
    return data_files.write(folder / "a.nxs", {
        entry + "instrument/detector/data": stack.astype("uint16"),
        entry + "instrument/detector/image_key": np.array([1, 1] + [0] * 12),
        entry + "sample/rotation_angle": (np.r_[0, 0, np.linspace(0, 180, 12)], "deg"),
        entry + "definition": "NXtomo",
    }, entry={"NX_class": "NXentry"})  # fmt: skip


def _ptyd(folder: Path) -> Path:
    meta = {"energy": 8.0, "distance": 1.5, "psize": 55e-6, "propagation": "farfield"}
    return data_files.write(folder / "a.ptyd", {f"meta/{name}": value for name, value in meta.items()} | {
        "chunks/0/data": STACK[:4], "chunks/0/positions": PLACES[:4] * 2e-8,
        "chunks/1/data": STACK[4:], "chunks/1/positions": PLACES[4:] * 2e-8,
    })  # fmt: skip


def _nexus(folder: Path) -> Path:
    place = "entry_1/instrument_1/"
    return data_files.write(folder / "a.nxs", {
        "entry_1/definition": "NXcxi_ptycho",
        place + "detector_1/data": STACK, place + "detector_1/distance": (2000.0, "mm"),
        place + "detector_1/x_pixel_size": (75.0, "um"), place + "beam_1/energy": (8.0, "keV"),
        "entry_1/sample_1/transformations/x": (PLACES[:, 1] * 2e-8, "m"),
        "entry_1/sample_1/transformations/y": (PLACES[:, 0] * 2e-8, "m"),
    })  # fmt: skip


def healthy() -> dict[str, Healthy]:
    """One for each reader."""
    lacking = {"nanomax": "pixel_size: 20 nm", "csaxs": SCAN, "eiger": SCAN, "lynx": SCAN, "aps_isn": SCAN}
    lacking |= {"hxn_scan": "pixel_size: 20 nm", "ptychopinn": GEOMETRY, "emd": "voltage: 80 kV"}
    plain = f"{GEOMETRY}, {SCAN}"
    return {
        "adorym": Healthy(lambda folder: data_files.native(folder / "a.h5")),
        "cxi": Healthy(lambda folder: data_files.cxi(folder / "a.cxi")),
        "nexus": Healthy(_nexus),
        "nxtomo": Healthy(_tomogram, model="tomography"),
        "ptypy": Healthy(_ptyd),
        "npz": Healthy(_npz),
        "mat": Healthy(_mat, f"map: [patterns=dp, positions=positions], {GEOMETRY}"),
        "npy": Healthy(_npy, plain),
        "tif": Healthy(_tif, plain),
        "table": Healthy(_table, "positions: POSITIONS"),
        **{name: Healthy(make, lacking.get(name, "")) for name, make in INSTRUMENTS.items()},
    }
