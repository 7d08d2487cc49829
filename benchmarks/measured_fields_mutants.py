"""Damaged files of projections and holograms: how many end in anything but an answer or one clean error.

A part of ``measured_fields.py``. Each file is written anew, damaged in one place (bytes overwritten, cut off or
doubled; in HDF5 also arrays that are gone, of another shape or full of impossible numbers) and inspected and opened in
a child process that may take ten seconds of the processor and one gibibyte.
"""

from __future__ import annotations

import os
import resource
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import tifffile
from figures import Figure

from adorym.commands.inspect import inspect
from adorym.data.open import open_dataset
from adorym.errors import InputError

COUNT, SEED, LIMIT_BYTES = int(os.environ.get("ADORYM_MUTANTS", "300")), 77, 2**30
# Of the processor, and on a busy machine.
LIMIT_S, LONGEST_S = 10, 120
N, SHAPE = 10, (6, 24)
HEADER = (
    "{{\nHeaderID = EH:000001 ;\nByteOrder = LowByteFirst ;\nDataType = UnsignedShort ;\nDim_1 = {} ;\nDim_2 = {} ;\n"
)
INFO = "TOMO_N= 8\nScanRange= 180\nEnergy= 17.05\nPixelSize= 0.65\nDistance= 50\n"


def counts(n: int = N) -> np.ndarray:
    """``(n, y, x)`` noisy pictures."""
    return np.random.default_rng(0).poisson(1000, (n, *SHAPE)).astype(np.uint16)


def dxchange(folder: Path) -> Path:
    """Projections in the package's own layout, at the top of the folder."""
    with h5py.File(folder / "a.h5", "w") as file:
        file["exchange/data"], file["exchange/data_white"], file["exchange/data_dark"] = counts(), counts(3), counts(2)
        file["exchange/theta"] = np.linspace(0, 180, N)
        file["exchange/theta"].attrs["units"] = "degrees"
    return folder / "a.h5"


def nxtomo(folder: Path) -> Path:
    """NXtomo with keys, angles and lengths."""
    with h5py.File(folder / "a.nx", "w") as file:
        file["entry/definition"], file["entry"].attrs["NX_class"] = "NXtomo", "NXentry"
        file["entry/instrument/detector/data"] = counts(N + 4)
        file["entry/instrument/detector/image_key"] = [2, 2, 1, 1] + [0] * N
        file["entry/instrument/detector/distance"] = 0.1
        file["entry/instrument/detector/x_pixel_size"] = 1e-6
        file["entry/instrument/beam/incident_energy"] = 20.0
        file["entry/sample/rotation_angle"] = [0.0] * 4 + list(np.linspace(0, 180, N))
        file["entry/sample/rotation_angle"].attrs["units"] = "degree"
    return folder / "a.nx"


def tiff(folder: Path) -> Path:
    """A file a projection, with flat fields."""
    for stem, stack in (("p", counts()), ("flat", counts(3))):
        for k, picture in enumerate(stack):
            tifffile.imwrite(folder / f"{stem}_{k}.tif", picture)
    return folder


def stack(folder: Path) -> Path:
    """A compressed stack of TIFF pages."""
    tifffile.imwrite(folder / "a.tif", counts(), compression="zlib", photometric="minisblack")
    return folder / "a.tif"


def esrf(folder: Path) -> Path:
    """EDF projections with medians of the flat field and notes on the scan."""
    names = [*(f"s_{k:04d}" for k in range(N)), "refHST0000", "refHST0008", "dark"]
    for name, picture in zip(names, counts(N + 3), strict=True):
        head = HEADER.format(SHAPE[1], SHAPE[0]).ljust(510) + "}\n"
        (folder / f"{name}.edf").write_bytes(head.encode() + picture.astype("<u2").tobytes())
    (folder / "s_.info").write_text(INFO)
    return folder


def cbf(folder: Path) -> Path:
    """CBF projections whose differences take one byte or two."""
    for k, picture in enumerate(counts(4)):
        packed, last = b"", 0
        for value in map(int, picture.ravel()):
            step, last = value - last, value
            small = abs(step) < 128
            packed += (b"" if small else b"\x80") + step.to_bytes(1 if small else 2, "little", signed=True)
        head = f'###CBF: VERSION 1.5\nconversions="x-CBF_BYTE_OFFSET"\nX-Binary-Size: {len(packed)}\n'
        head += f"X-Binary-Size-Fastest-Dimension: {SHAPE[1]}\nX-Binary-Size-Second-Dimension: {SHAPE[0]}\n\n"
        (folder / f"p_{k}.cbf").write_bytes(head.encode() + b"\x0c\x1a\x04\xd5" + packed)
    return folder


def npy(folder: Path) -> Path:
    """A stack in NumPy's format."""
    np.save(folder / "a.npy", counts())
    return folder / "a.npy"


WRITERS: dict[str, Callable[[Path], Path]] = {
    each.__name__: each for each in (dxchange, nxtomo, tiff, stack, esrf, cbf, npy)
}
GIVEN = {"theta_range": (0.0, np.pi), "propagation_distance": (0.1,)}


def damage(folder: Path, rng: np.random.Generator) -> str:
    """One change of one file; returns what it was."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    file = files[int(rng.integers(len(files)))]
    if h5py.is_hdf5(file) and rng.random() < 0.5:
        return _array_damaged(file, rng)
    content = bytearray(file.read_bytes())
    at, kind = int(rng.integers(len(content))), int(rng.integers(5))
    length = int(rng.integers(1, 40))
    if kind == 0:
        content[at : at + length] = rng.bytes(length)
    elif kind == 1:
        content = content[:at]
    elif kind == 2:
        content[at : at + length] = bytes(length)
    elif kind == 3:
        content[at:at] = content[at : at + length]
    else:  # near the start, where headers are
        content[at % 600 % len(content)] = int(rng.integers(256))
    file.write_bytes(bytes(content))
    return f"{file.name}: change {kind} at {at}"


def _array_damaged(file: Path, rng: np.random.Generator) -> str:
    with h5py.File(file, "r+") as opened:
        names: list[str] = []
        opened.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        name = names[int(rng.integers(len(names)))]
        old = opened[name][()]
        del opened[name]
        kind = int(rng.integers(6))
        if kind == 1:
            opened[name] = np.ravel(old)[: max(1, np.size(old) // 2)]
        elif kind == 2:
            opened[name] = np.full(np.shape(old), (np.nan, np.inf, -1.0, 1e300)[int(rng.integers(4))])
        elif kind == 3:
            opened[name] = "text"
        elif kind == 4:
            opened[name] = old
            opened[name].attrs["units"] = ("furlong", "9**9**9", "", "kg", "\x1b[31m")[int(rng.integers(5))]
        elif kind == 5:
            opened[name] = h5py.SoftLink("/nowhere") if rng.random() < 0.5 else h5py.ExternalLink("gone.h5", "/a")
    return f"{file.name}: {name}, change {kind}"


def ending(path: Path, given: dict[str, object]) -> str:
    """How inspecting and opening ``path`` ends in a child process: ``good``, or what is wrong."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        signal.alarm(LONGEST_S)
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_S, LIMIT_S))
        size = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + LIMIT_BYTES, size + LIMIT_BYTES))
        said = "good"
        for action in (inspect, open_dataset):
            try:
                action(path, given)
            except InputError:
                continue
            except BaseException as error:  # whatever it is, it is not what it should be
                said = f"{type(error).__name__}: {error}"[:300]
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        hang = os.WTERMSIG(status) in (signal.SIGALRM, signal.SIGXCPU, signal.SIGKILL)
        return f"signal {os.WTERMSIG(status)}" + (" (hang)" if hang else "")
    return said or "no answer"


def mutants() -> Iterator[Figure]:
    """Damaged files a reader that end in a traceback, a hang, a crash or more than 1 GiB."""
    for name, write in WRITERS.items():
        wrong = 0
        with tempfile.TemporaryDirectory() as folder:  # what is imported late is imported here
            inspect(write(Path(folder)), GIVEN)
        for k in range(COUNT):
            rng = np.random.default_rng([SEED, k])
            with tempfile.TemporaryDirectory() as folder:
                path = write(Path(folder))
                change = damage(Path(folder), rng)
                given = {key: value for key, value in GIVEN.items() if rng.random() < 0.5}
                found = ending(path, given)
            if found != "good":
                wrong += 1
                os.write(2, f"{name} {k} {change}: {found}\n".encode())
        yield Figure(f"mutants.{name}.wrong_of_{COUNT}", wrong, 0)
