"""The problem that published ptychography solvers are compared on: 400 far-field patterns with known truth.

A 20 x 20 grid with jitter over an object of 256 x 256 pixels (magnitude and phase are two photographs), windows of
64 x 64, a defocused aperture probe of one mode, or of five with powers 70, 12, 8, 6 and 4 per cent, 10^6 photons a
pattern with Poisson noise. The start probe has the wrong defocus (75 instead of 90, in units of the squared frequency).

The patterns are computed on the grid that the reconstruction uses. That is what makes the figures comparable between
solvers, and it is why they say nothing of a model's accuracy: see ``adorym simulate`` for that.

Usage: python reference_problem.py OUT.h5 [--seed N] [--modes 1|5] [--position-error-px E]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from skimage import data, transform

from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.native_write import write_native
from adorym.units import energy_ev

WINDOW, OBJECT, SIDE = 64, 256, 20
POWERS = (0.70, 0.12, 0.08, 0.06, 0.04)
SCORED = (slice(40, 216), slice(40, 216))


def photograph(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``image`` with values from 0 to 1, on the object's grid, rolled by a random amount."""
    small = transform.resize(image / 255.0, (OBJECT, OBJECT), anti_aliasing=True)
    return np.roll(small, tuple(rng.integers(0, 64, 2)), axis=(0, 1))


def aperture_probe(defocus: float, photons: float) -> np.ndarray:
    """Soft aperture of 10 frequency pixels, defocused; ``(y, x)`` complex, beam in the middle of the window."""
    frequency = np.fft.fftfreq(WINDOW)
    radius = np.hypot(frequency[:, None], frequency)
    pupil = np.exp(-1j * np.pi * defocus * radius**2) / (1 + np.exp((radius * WINDOW - 10) / 0.4))
    probe = np.fft.fftshift(np.fft.ifft2(pupil))
    return probe * np.sqrt(photons / np.sum(np.abs(probe) ** 2))


def probe_modes(probe: np.ndarray, n: int, photons: float) -> np.ndarray:
    """``n`` orthogonal modes: the probe times 1, x, y, xy, x^2 - y^2."""
    y, x = np.mgrid[:WINDOW, :WINDOW] / 8.0 - WINDOW / 16
    columns = np.stack([(probe * f).ravel() for f in (np.ones_like(x), x, y, x * y, x**2 - y**2)[:n]], axis=1)
    orthonormal = np.linalg.qr(columns)[0].T.reshape(n, WINDOW, WINDOW)
    return orthonormal * np.sqrt(photons * np.array(POWERS[:n] if n > 1 else (1.0,)))[:, None, None]


def expected_patterns(obj: np.ndarray, modes: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """``(n, y, x)`` intensities, zero frequency at the center."""
    ky, kx = np.fft.fftfreq(WINDOW)[:, None], np.fft.fftfreq(WINDOW)
    spectra = np.fft.fft2(modes)
    patterns = np.empty((len(positions), WINDOW, WINDOW))
    for pattern, position in zip(patterns, positions, strict=True):
        row, column = np.rint(position).astype(int)
        dy, dx = position - (row, column)
        shifted = np.fft.ifft2(spectra * np.exp(-2j * np.pi * (ky * dy + kx * dx)))
        waves = np.fft.fft2(shifted * obj[row : row + WINDOW, column : column + WINDOW], norm="ortho")
        pattern[:] = np.fft.fftshift(np.sum(np.abs(waves) ** 2, axis=0))
    return patterns


def make(seed: int = 0, modes: int = 1, position_error_px: float = 0.0, photons: float = 1e6) -> Dataset:
    """The data set with its truth."""
    rng = np.random.default_rng(seed)
    magnitude, phase = photograph(data.camera(), rng), photograph(data.astronaut().mean(-1), rng)
    obj = (0.7 + 0.3 * magnitude) * np.exp(1.5j * (phase - 0.5))
    probes = probe_modes(aperture_probe(90.0, photons), modes, photons)
    lattice = np.stack(np.meshgrid(*[5.75 + 9.5 * np.arange(SIDE)] * 2, indexing="ij"), -1).reshape(-1, 2)
    recorded = lattice + rng.uniform(-2, 2, lattice.shape)
    error = rng.normal(size=recorded.shape)
    error -= error.mean(0)
    error *= position_error_px / np.sqrt(np.mean(np.sum(error**2, axis=1)))
    true = np.clip(recorded + error, 0, OBJECT - WINDOW)
    counts = rng.poisson(expected_patterns(obj, probes, true)).astype(np.float32)
    return Dataset(
        patterns=ArrayPatterns(counts),
        probe_positions_px=recorded,
        energy_ev=energy_ev(1.24e-10),
        pixel_size_m=(1e-8, 1e-8),
        start_probe=aperture_probe(75.0, photons)[None],
        truth={"object": obj, "probe": probes, "probe_positions_px": true},
    )


def main() -> None:
    """Write the problem to a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--modes", type=int, choices=(1, 5), default=1)
    parser.add_argument("--position-error-px", type=float, default=0.0)
    arguments = parser.parse_args()
    write_native(make(arguments.seed, arguments.modes, arguments.position_error_px), arguments.output)


if __name__ == "__main__":
    main()
