"""Holograms in structured light: the probe that near-field ptychography found lights them.

Light and holograms are made here in NumPy, by the paraxial transfer function on a field twice as wide.
"""

import h5py
import numpy as np
import pytest

import adorym
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.native_write import write_native
from adorym.errors import ConfigError, DataError

N, PIXEL_M, WAVELENGTH_M, COUNTS = 64, 1e-6, 0.7e-10, 1e5
DISTANCES_M = (0.15, 0.22, 0.34)


def blurred(rng, width):
    f = np.fft.fftfreq(2 * N)
    noise = np.fft.ifft2(
        np.fft.fft2(rng.normal(size=(2 * N, 2 * N))) * np.exp(-2 * (np.pi * width) ** 2 * (f[:, None] ** 2 + f**2))
    )
    return noise.real / noise.real.std()


def disc(radius, softness=2.0, at=(0.0, 0.0)):
    y, x = (np.arange(2 * N) - N + 0.5 - c for c in at)
    return 1 / (1 + np.exp((np.hypot(y[:, None], x) - radius) / softness))


def propagated(wave, distance_m):
    f = np.fft.fftfreq(2 * N, PIXEL_M)
    return np.fft.ifft2(np.fft.fft2(wave) * np.exp(-1j * np.pi * WAVELENGTH_M * distance_m * (f[:, None] ** 2 + f**2)))


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """The true phase, and the folder of the holograms and of a run with the light, 7 times brighter, as its probe."""
    folder, rng = tmp_path_factory.mktemp("light"), np.random.default_rng(5)
    inside = disc(22, 3)
    light = np.exp((0.25 * blurred(rng, 2) + 1.2j * blurred(rng, 2.5)) * inside)
    phase = 0.5 * disc(6, 1.0, (4, -5)) + 0.4 * disc(3.5, 1.0, (-8, 7))
    middle = slice(N // 2, N // 2 + N), slice(N // 2, N // 2 + N)
    for name, obj in (("holograms", np.exp(-1j * phase)), ("flats", np.ones((2 * N, 2 * N)))):
        expected = [np.abs(propagated(light * obj, z))[middle] ** 2 for z in DISTANCES_M]
        counts = rng.poisson(COUNTS * np.array(expected)).astype(np.float32)
        np.save(folder / f"{name}.npy", counts)
    holograms, flats = (np.load(folder / f"{name}.npy") for name in ("holograms", "flats"))
    known = {
        "energy_ev": 1.23984198e-6 / WAVELENGTH_M,
        "pixel_size_m": (PIXEL_M, PIXEL_M),
        "propagation_distance_m": np.array(DISTANCES_M),
        "open_beam_counts": COUNTS,
    }
    write_native(Dataset(ArrayPatterns(holograms), **known), folder / "holograms.h5")
    write_native(Dataset(ArrayPatterns(holograms / flats * COUNTS), **known), folder / "divided.h5")
    (folder / "run").mkdir()
    with h5py.File(folder / "run" / "result.h5", "w") as file:
        file["probe"] = 7 * light[middle][None]
        file["two"] = np.stack([light[middle]] * 2)
    return phase[middle], folder


def solved(folder, data, parameters):
    result = adorym.reconstruct(
        {
            "data": str(folder / data),
            "forward_model": {"kind": "holography"},
            "parameters": parameters,
            "run": {"epochs": 200, "device": "cpu"},
            "output": {"progress": "quiet"},
        }
    )
    y, x = result.origin_px
    return -np.angle(np.squeeze(result.object))[y : y + N, x : x + N]


def error(found, phase):
    seen = slice(8, -8), slice(8, -8)
    found, phase = (a[seen] - a[seen].mean() for a in (found, phase))
    return np.linalg.norm(found - phase) / np.linalg.norm(phase)


def test_the_probe_of_a_run_lights_the_holograms(experiment):
    phase, folder = experiment
    light = {"initial": {"kind": "file", "path": str(folder / "run")}, "refine": False}
    lit = error(solved(folder, "holograms.h5", {"illumination": light}), phase)
    divided = error(solved(folder, "divided.h5", {}), phase)
    assert lit < 0.4 and lit < 0.4 * divided  # slow waves of the phase come last


def test_a_wave_of_several_modes_or_of_another_size_is_refused(experiment):
    _, folder = experiment
    light = {"kind": "file", "path": str(folder / "run" / "result.h5"), "key": "two"}
    with pytest.raises(ConfigError, match="lit by one wave; expected a probe of one mode; found 2 modes"):
        solved(folder, "holograms.h5", {"illumination": {"initial": light}})
    np.save(folder / "small.npy", np.ones((32, 32), complex))
    small = {"kind": "file", "path": str(folder / "small.npy")}
    with pytest.raises(DataError, match="the probe's window differs.*set fit to 'resample'"):
        solved(folder, "holograms.h5", {"illumination": {"initial": small}})
