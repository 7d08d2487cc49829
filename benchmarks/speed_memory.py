"""The memory that a run keeps to: peak of its process over ``run.memory``, and what half the memory costs in time.

Data are random counts: neither memory nor time depends on what they show. Each run is a process of its own, from the
start of the command to its report.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from figures import Figure

from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.native_write import write_native
from adorym.data.result import read_result

EPOCHS = 3
PTYCHOGRAPHY = {"kind": "ptychography"}
FRESNEL = {"kind": "holography"}


def scan(n: int, side: int, **more: Any) -> Dataset:
    """``n`` patterns of ``side`` pixels over four windows."""
    rng = np.random.default_rng(0)
    y, x = np.indices((side, side)) - side // 2
    pupil = 1e6 * np.exp(-(y**2 + x**2) / (0.02 * side**2)) / (0.02 * np.pi * side**2)
    counts = rng.poisson(pupil, (n, side, side)).astype(np.float32)
    places = rng.uniform(0, 1.5 * side, (n, 2))
    return Dataset(ArrayPatterns(counts), places, energy_ev=8e3, pixel_size_m=(1e-8, 1e-8), **more)


def tomogram(n: int, height: int, width: int, **more: Any) -> Dataset:
    """``n`` projections over half a turn."""
    counts = np.random.default_rng(0).poisson(800, (n, height, width)).astype(np.float32)
    return Dataset(
        ArrayPatterns(counts), angle_index=np.arange(n), theta_rad=np.linspace(0, np.pi, n, endpoint=False),
        open_beam_counts=1e3, rotation_center_px=0.0, energy_ev=2e4, pixel_size_m=(1e-6, 1e-6), **more,
    )  # fmt: skip


def holograms(side: int, distances: int) -> Dataset:
    """One picture at each distance."""
    counts = np.random.default_rng(0).poisson(1e3, (distances, side, side)).astype(np.float32)
    return Dataset(
        ArrayPatterns(counts), propagation_distance_m=np.linspace(0.02, 0.05, distances), open_beam_counts=1e3,
        energy_ev=1.5e4, pixel_size_m=(1e-6, 1e-6), detector_pixel_size_m=(1e-6, 1e-6), distance_m=0.02,
    )  # fmt: skip


DATA = {
    "scan_64": lambda: scan(12000, 64),
    "scan_128": lambda: scan(3000, 128),
    "few_128": lambda: scan(600, 128),
    "scan_256": lambda: scan(800, 256),
    "few_256": lambda: scan(150, 256),
    "tomogram": lambda: tomogram(180, 96, 448),
    "holograms": lambda: holograms(1536, 4),
}
GUESS: dict[str, Any] = {"initial": {"kind": "mean_pattern"}}
SLICES = {"kind": "multislice", "slice_positions": [f"{i} um" for i in range(8)]}
# Name: data, forward model, parameters, settings of the run.
SETTINGS: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "64.one_mode": ("scan_64", PTYCHOGRAPHY, {"probe": GUESS}, {}),
    "64.three_modes": ("scan_64", PTYCHOGRAPHY, {"probe": GUESS | {"modes": 3}}, {}),
    "64.double": ("scan_64", PTYCHOGRAPHY, {"probe": GUESS}, {"precision": "double"}),
    "64.distributed": ("scan_64", PTYCHOGRAPHY, {"probe": GUESS}, {"store": "do"}),
    "128.one_mode": ("scan_128", PTYCHOGRAPHY, {"probe": GUESS}, {}),
    "128.three_modes": ("scan_128", PTYCHOGRAPHY, {"probe": GUESS | {"modes": 3}}, {}),
    "128.positions": ("scan_128", PTYCHOGRAPHY, {"probe": GUESS, "probe_positions": {}}, {}),
    "128.file": ("scan_128", PTYCHOGRAPHY, {"probe": GUESS}, {"store": "h5"}),
    "128.double": ("scan_128", PTYCHOGRAPHY, {"probe": GUESS}, {"precision": "double"}),
    "128.autograd": ("scan_128", PTYCHOGRAPHY, {"probe": GUESS}, {"backend": "autograd"}),
    "256.one_mode": ("scan_256", PTYCHOGRAPHY, {"probe": GUESS}, {}),
    "256.five_modes": ("few_256", PTYCHOGRAPHY, {"probe": GUESS | {"modes": 5}}, {}),
    "256.file": ("few_256", PTYCHOGRAPHY, {"probe": GUESS | {"modes": 2}}, {"store": "h5"}),
    "multislice": ("few_128", SLICES, {"probe": GUESS}, {}),
    "multislice.256": ("few_256", SLICES, {"probe": GUESS}, {}),
    "tomography": ("tomogram", {"kind": "tomography"}, {}, {}),
    "tomography.fourier": ("tomogram", {"kind": "tomography", "projector": "fourier"}, {}, {}),
    "tomography.file": ("tomogram", {"kind": "tomography"}, {}, {"store": "h5"}),
    "holography": ("holograms", FRESNEL, {}, {}),
    "holography.double": ("holograms", FRESNEL, {}, {"precision": "double"}),
}


def memory() -> Iterator[Figure]:
    """Peak over the limit at half of what a run takes without one, or a little more than it needs at least.

    Half is less than the program itself needs in some settings; what it costs in time has no bar there.
    """
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        for name in DATA:  # a process begins with the peak of the one that starts it, which must stay small
            subprocess.run([sys.executable, __file__, name, str(here / f"{name}.h5")], check=True)
        for name, (data, model, parameters, run) in SETTINGS.items():
            config = {"data": f"{data}.h5", "forward_model": model, "parameters": parameters}
            peak, epoch_s = _run(here, config, run)
            limit = peak / 2
            found = _run(here, config, run | {"memory": f"{limit:.0f} B"})
            if isinstance(found, str):  # the least that it needs at all
                limit = 1.1 * float(found.split("at least ")[1].split(" GiB")[0]) * 2**30
                found = _run(here, config, run | {"memory": f"{limit:.0f} B"})
            yield Figure(f"memory.{name}.limit_over_unlimited", limit / peak)
            yield Figure(f"memory.{name}.peak_over_limit", found[0] / limit, 1.05)
            yield Figure(f"memory.{name}.time_over_unlimited", found[1] / epoch_s, 1.25 if limit == peak / 2 else None)


def _run(folder: Path, config: dict[str, Any], run: dict[str, Any]) -> Any:
    """``(peak in bytes, seconds of an epoch)`` of a run, or its message if it is refused."""
    settings = {"epochs": EPOCHS, "threads": 1, "device": "cpu", "backoff": 1} | run
    (folder / "config.json").write_text(json.dumps(config | {"run": settings}), encoding="utf-8")
    command = [sys.executable, "-m", "adorym", "run", "config.json", "-o", "out"]
    with open(folder / "said.txt", "w", encoding="utf-8") as said:
        child = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said)
        peak = _peak(child)
    text = (folder / "said.txt").read_text(encoding="utf-8")
    if child.returncode == 2 and "run.memory" in text:
        return text
    if child.returncode:
        raise RuntimeError(text)
    times = np.ravel(read_result(folder / "out" / "result.h5").history["time_s"])[1:]
    return peak, float(np.median(times))


def _peak(child: subprocess.Popen) -> int:
    """The most memory of a process, in bytes, when it has ended; watched, because a run begins new peaks itself."""
    status, peak = Path(f"/proc/{child.pid}/status"), 0
    while child.poll() is None:
        with contextlib.suppress(OSError):  # it has just ended
            lines = [line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM")]
            peak = max([peak, *(int(line.split()[1]) * 1024 for line in lines)])
        time.sleep(0.005)
    return peak


if __name__ == "__main__":  # a part of `speed.py`: writes one of its data sets
    write_native(DATA[sys.argv[1]](), sys.argv[2])
