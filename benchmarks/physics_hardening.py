"""Aluminum rods in the beam of a tube: attenuation coefficients without and with beam hardening refined.

Counts are sums over the spectrum of exact chords of discs, each detector pixel the mean of eight rays; the model knows
neither spectrum nor material. The truth is the mean attenuation coefficient over the spectrum. Coefficients are those
of NIST (Hubbell & Seltzer), interpolated in the logarithms.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from figures import Figure
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing
from physics_runs import STATIC
from scipy.ndimage import binary_erosion

from adorym.config import config_from
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import outcome

SIZE, PROJECTIONS, PHOTONS, RAYS, EPOCHS = 64, 120, 1e6, 8, 150
RODS = np.array([[-16, -9, 7.5], [13, -14, 6.0], [3, 16, 8.0], [-14, 13, 4.0], [18, 9, 4.5]])  # x, z, radius
PIXEL_CM = 0.033
# keV; cm^2/g of aluminum.
NIST = np.array([[15, 7.955], [20, 3.441], [30, 1.128], [40, 0.5685], [50, 0.3681], [60, 0.2778], [80, 0.2018]])
DENSITY = 2.699


def spectrum() -> tuple[np.ndarray, np.ndarray]:
    """Weights of the photons of a tube of 60 kV behind 2 mm of aluminum, and coefficients in 1/cm."""
    energy = np.arange(16.0, 60.0)
    coefficient = DENSITY * np.exp(np.interp(np.log(energy), *np.log(NIST.T)))
    weight = (60 / energy - 1) * np.exp(-0.2 * coefficient)
    return weight / weight.sum(), coefficient


def measured(rng: np.random.Generator) -> Dataset:
    """Photon counts of one detector row."""
    weight, coefficient = spectrum()
    theta = np.arange(PROJECTIONS) * np.pi / PROJECTIONS
    u = (np.arange(SIZE * RAYS) + 0.5) / RAYS - SIZE / 2
    seen = []
    for angle in theta:
        away = u - (RODS[:, :1] * np.cos(angle) + RODS[:, 1:2] * np.sin(angle))
        length = PIXEL_CM * 2 * np.sqrt(np.maximum(RODS[:, 2:] ** 2 - away**2, 0)).sum(0)
        seen.append((weight @ np.exp(-coefficient[:, None] * length)).reshape(SIZE, RAYS).mean(1))
    counts = rng.poisson(PHOTONS * np.array(seen)[:, None]).astype(np.float32)
    index = np.arange(PROJECTIONS)
    return Dataset(ArrayPatterns(counts), theta_rad=theta, angle_index=index, open_beam_counts=PHOTONS)


def truth(fine: int = 4) -> np.ndarray:
    """``(x, z)`` mean attenuation coefficient per pixel."""
    line = (np.arange(SIZE * fine) + 0.5) / fine - SIZE / 2
    filled = np.zeros((SIZE * fine, SIZE * fine))
    for x, z, radius in RODS:
        filled[(line[:, None] - x) ** 2 + (line - z) ** 2 < radius**2] = 1
    weight, coefficient = spectrum()
    return PIXEL_CM * float(weight @ coefficient) * filled.reshape(SIZE, fine, SIZE, fine).mean((1, 3))


def run(data: Dataset, **parameters: Any) -> Reconstruction:
    """A finished run."""
    config = config_from(
        {
            "data": "memory",
            "forward_model": {"kind": "tomography", "center": "middle"},
            "parameters": parameters,
            "run": {"epochs": EPOCHS, "threads": 1},
        }
    )
    made = Reconstruction(data, config.recipe, config.run)
    for _ in made.epochs():
        pass
    return made


def hardening() -> Iterator[Figure]:
    """Errors two pixels and more from every surface, where they are not those of the voxels; no scale is removed."""
    true = truth()
    inside, outside = (binary_erosion(true > 0, iterations=2), binary_erosion(true == 0, iterations=2))
    data = measured(np.random.default_rng(1))
    made = {"one energy": run(data), "beam hardening refined": run(data, beam_hardening={})}
    slices = {name: outcome(each, judged=False).object[0] for name, each in made.items()}
    off = {name: _off(each, true, inside | outside) for name, each in slices.items()}
    yield Figure("hardening.error_with_one_energy", off["one energy"])
    yield Figure("hardening.error_over_that", off["beam hardening refined"] / off["one energy"], 0.5)
    ratio = {name: float(each[inside].mean() / true[inside].mean()) for name, each in slices.items()}
    yield Figure("hardening.coefficient_off_with_one_energy", abs(ratio["one energy"] - 1))
    yield Figure("hardening.coefficient_off", abs(ratio["beam hardening refined"] - 1), 0.05)
    weight, coefficient = spectrum()
    variance = float(weight @ coefficient**2 / (weight @ coefficient) ** 2 - 1)
    found = outcome(made["beam hardening refined"], judged=False).parameters["beam_hardening"].value
    yield Figure("hardening.relative_variance_true", variance)
    yield Figure("hardening.relative_variance_found", float(np.ravel(found)[0]))
    _picture(true, {f"{name}: error {off[name]:.2f}": each for name, each in slices.items()})


def _off(found: np.ndarray, true: np.ndarray, where: np.ndarray) -> float:
    return float(np.linalg.norm((found - true)[where]) / np.linalg.norm(true[where]))


def _picture(true: np.ndarray, found: dict[str, np.ndarray]) -> None:
    drawn = Drawing(figsize=(8.2, 3.0), facecolor="white", layout="constrained")
    FigureCanvasAgg(drawn)
    top = true.max()
    for ax, (name, each) in zip(drawn.subplots(1, 3), {"truth": true, **found}.items(), strict=True):
        ax.imshow(each, cmap="gray", vmin=-0.1 * top, vmax=1.2 * top)
        ax.set_title(name, fontsize=9)
        ax.set_axis_off()
    drawn.savefig(STATIC / "beam_hardening.png", dpi=110)
