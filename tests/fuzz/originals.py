"""Sound files of every format and sound configurations, from which the fuzzers start."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import tifffile
from command_line import data_set, settings
from data.test_cxi_nexus import nexus
from data.test_layouts import MAKERS
from data.test_projections import flats, nxtomo
from data.test_ptypy import ptyd
from data.test_sources import cbf, edf, mib
from data_files import WINDOW, counts, cxi, native, positions
from PIL import Image

from adorym.data.detector_files import EMPAD_FRAME
from adorym.data.native_write import write_native
from adorym.data.result import ParameterResult, Result, write_result

N = 6
SERIES = counts(N).astype(np.uint16)


def _made(write: Callable[[Path], Any], name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write(folder / name)
        return folder / name

    return make


def _result(path: Path) -> None:
    modes = np.ones((2, *WINDOW), np.complex64)
    shift = ParameterResult(positions(N), "px", positions(N))
    write_result(Result(np.ones((9, 9, 1), np.complex64), probe=modes, parameters={"probe_positions": shift}), path)


def _packed(path: Path) -> None:
    opener = bz2.open if path.suffix == ".bz2" else gzip.open
    with opener(path, "wb") as file:
        edf(plain := path.with_suffix(".tmp"), SERIES[0])
        file.write(plain.read_bytes())
    plain.unlink()


ARRAYS = {"diffraction": SERIES, "positions_px": positions(N), "wavelength": np.array(1e-10), "mask": np.ones(WINDOW)}
FILES: dict[str, Callable[[Path], Path]] = {
    **MAKERS,
    "native": _made(native, "a.h5"),
    "written": _made(lambda path: write_native(data_set(), path), "a.h5"),
    "cxi": _made(cxi, "a.cxi"),
    "nexus": _made(nexus, "a.nxs"),
    "nxtomo": _made(lambda path: nxtomo(path, 100 * flats(9)), "a.nxs"),
    "ptyd": _made(ptyd, "a.ptyd"),
    "npz": _made(lambda path: np.savez_compressed(path, **ARRAYS), "a.npz"),
    "npy": _made(lambda path: np.save(path, SERIES), "a.npy"),
    "mat": _made(lambda path: scipy.io.savemat(path, ARRAYS, do_compression=True), "a.mat"),
    "mat_plain": _made(lambda path: scipy.io.savemat(path, ARRAYS), "a.mat"),
    "tif": _made(lambda path: tifffile.imwrite(path, SERIES, photometric="minisblack"), "a.tif"),
    "tif_packed": _made(lambda path: tifffile.imwrite(path, SERIES, compression="zlib"), "a.tif"),
    "png": _made(lambda path: Image.fromarray(SERIES[0].astype(np.uint8)).save(path), "a.png"),
    "jpg": _made(lambda path: Image.fromarray(SERIES[0].astype(np.uint8)).save(path), "a.jpg"),
    "edf": _made(lambda path: edf(path, SERIES[0]), "a.edf"),
    "edf_gz": _made(_packed, "a.edf.gz"),
    "edf_bz2": _made(_packed, "a.edf.bz2"),
    "cbf": _made(lambda path: cbf(path, SERIES[0]), "a.cbf"),
    "mib": _made(lambda path: mib(path, SERIES[0]), "a.mib"),
    "empad": _made(lambda path: path.write_bytes(np.ones(2 * EMPAD_FRAME // 4, "<f4").tobytes()), "a.raw"),
    "result": _made(_result, "result.h5"),
}

CONFIGURATIONS: tuple[dict[str, Any], ...] = (
    settings(),
    settings(
        parameters={
            "object": {"optimizer": {"kind": "adam", "learning_rate": 1e-2}, "margin_px": 3},
            "probe": {"modes": 2, "optimizer": {"kind": "momentum", "learning_rate": 0.1}, "start": 1},
            "probe_positions": {"optimizer": {"kind": "adam", "learning_rate": "0.05 px"}, "schedule": "cosine"},
        },
        regularizers=[{"kind": "total_variation", "weight": 1e-3}],
        constraints=[{"kind": "magnitude_limit", "maximum": 1.0}],
        loss={"kind": "poisson"},
        run={"seed": 3, "store": "do", "backend": "autograd", "precision": "double", "max_time": "3 min"},
    ),
    settings(
        data={"path": "data.h5", "energy": "8.8 keV", "distance": "2 m", "frames": "::2", "crop": 12, "mask": None},
        solver={"kind": "lbfgs"},
        parameters={"probe": {"initial": {"kind": "aperture", "outer_radius": "4 px", "defocus": "7 um"}}},
        output={"directory": "out", "snapshots_every": 2},
    ),
)
