"""Figures of models of other techniques: speckle tracking and Fourier ptychography.

Truth comes from waves on finer grids: of speckle from `physics_speckle`, in plain NumPy, of the microscope from the
package's own simulation, which shares nothing with its model.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from figures import Figure
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing
from physics_speckle import PIXEL_M, TO_DETECTOR_M, WAVELENGTH_M, Speckle
from scipy.ndimage import gaussian_filter

from adorym.config import config_from
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.engine.loop import Reconstruction
from adorym.metrics import align_object, position_errors
from adorym.optics.geometry import Grid
from adorym.optics.microscope import spectrum_places
from adorym.simulate.microscope import Microscope
from adorym.units import energy_ev, wavelength_m

STATIC = Path(__file__).resolve().parent.parent / "docs" / "_static"
EPOCHS = 60
NUMERICAL_APERTURE, LEDS_M, DEFOCUS_M = 0.1, 80e-3, 20e-6
WAVELENGTH = wavelength_m(1.968)


def run(dataset: Dataset, model: str | dict[str, Any], **settings: Any) -> Reconstruction:
    """A finished run with default settings, except for those given."""
    config = config_from(
        {"data": "memory", "forward_model": model, "run": {"epochs": EPOCHS, "threads": 1}, **settings}
    )
    made = Reconstruction(dataset, config.recipe, config.run)
    for _ in made.epochs():
        pass
    return made


def _tracked(speckle: Speckle, **settings: Any) -> tuple[Reconstruction, dict[str, np.ndarray], np.ndarray]:
    """A finished run, its pictures by name, and the mean picture with the sample over that without."""
    pictures, references = speckle.pictures()
    data = Dataset(
        ArrayPatterns(pictures),
        energy_ev=energy_ev(WAVELENGTH_M),
        pixel_size_m=(PIXEL_M, PIXEL_M),
        propagation_distance_m=np.array([TO_DETECTOR_M]),
        extra={"references": references},
    )
    made = run(data, "speckle_tracking", **settings)
    w = made.problem.store.values()[..., 0]
    rate = WAVELENGTH_M * TO_DETECTOR_M / (2 * np.pi * PIXEL_M**2)
    found = {
        "phase": w.imag,
        "transmission": np.exp(-2 * w.real),
        "displacement": -rate * np.stack(np.gradient(w.imag)),
    }
    present = made.problem.present()
    return made, found | ({"dark_field": present["dark_field"][0]} if "dark_field" in present else {}), pictures


def speckle_tracking() -> Iterator[Figure]:
    """Displacement of speckle in px rms against the gradient of the true phase, with 8 positions of a diffuser and one.

    Rays are displaced by up to 1.2 px. Then the same of one material, and how far the dark field of a band of grains,
    averaged over the size of a speckle, is from being correlated with the truth.
    """
    inside = (..., slice(8, -8), slice(8, -8))

    def wrong(found: dict[str, np.ndarray], true: dict[str, np.ndarray]) -> float:
        return float(np.sqrt(np.square(found["displacement"] - true["displacement"])[inside].sum(0).mean()))

    speckle = Speckle()
    true = speckle.truth()
    _, free, pictures = _tracked(speckle)
    yield Figure("speckle_tracking.displacement_px", wrong(free, true), 0.1)
    off = (free["phase"] - true["phase"])[inside]
    yield Figure("speckle_tracking.phase_rms_over_range", float(off.std() / np.ptp(true["phase"])), 0.03)
    material = {"constraints": [{"kind": "homogeneous", "kappa": 36.0}]}
    one = _tracked(Speckle(), **material)[1]
    yield Figure("speckle_tracking.displacement_of_one_material_px", wrong(one, true), 0.05)
    single = _tracked(Speckle(diffusers=1), **material)[1]
    yield Figure("speckle_tracking.displacement_with_one_picture_px", wrong(single, true), 0.15)
    grainy = Speckle(scattered=0.4)
    dark = _tracked(grainy, parameters={"dark_field": True}, **material)[1]
    true = grainy.truth()
    grain = gaussian_filter(dark["dark_field"], 2.0)
    agree = np.corrcoef(grain[inside].ravel(), true["dark_field"][inside].ravel())[0, 1]
    yield Figure("speckle_tracking.dark_field_one_minus_correlation", 1 - float(agree), 0.15)
    _speckle_picture(pictures[0], one, dark["dark_field"], true)


def _speckle_picture(
    picture: np.ndarray, found: dict[str, np.ndarray], dark: np.ndarray, true: dict[str, np.ndarray]
) -> None:
    drawn = Drawing(figsize=(9, 4.9), facecolor="white", layout="constrained")
    FigureCanvasAgg(drawn)
    level, top = found["phase"].mean() - true["phase"].mean(), float(true["phase"].max())
    panels = {
        "picture with the sample": (picture, "gray", None, None),
        "phase": (found["phase"] - level, "viridis", 0, top),
        "dark field": (dark, "magma", 0, 0.6),
        "displacement along x, true": (true["displacement"][1], "coolwarm", -1.2, 1.2),
        "phase, true": (true["phase"], "viridis", 0, top),
        "dark field, true": (true["dark_field"], "magma", 0, 0.6),
    }
    for ax, (title, (values, colors, low, high)) in zip(drawn.subplots(2, 3).ravel(), panels.items(), strict=True):
        ax.imshow(values, cmap=colors, vmin=low, vmax=high)
        ax.set_title(title, fontsize=10)
        ax.set_axis_off()
    drawn.savefig(STATIC / "speckle_tracking.png", dpi=110)


def fourier_ptychography() -> Iterator[Figure]:
    """A microscope with 9 x 9 lamps and a defocus: error of the object away from the edge, refined pupil and not.

    Then lamps whose places are wrong by 2.4 px of the spectrum rms: what is left of that, the affine part removed, if
    they are refined before the pupil.
    """
    data = Microscope().run(0)
    made = {name: _seen(data, pupil={"refine": name == "refined"}) for name in ("fixed", "refined")}
    errors = {name: _object_error(each, data) for name, each in made.items()}
    yield Figure("fourier_ptychography.object_error", errors["refined"], 0.06)
    yield Figure("fourier_ptychography.error_over_that_of_a_fixed_pupil", errors["refined"] / errors["fixed"], 0.8)
    yield Figure("fourier_ptychography.pupil_phase_rms_rad", _pupil_error(made["refined"]), 0.3)
    _microscope_picture(data, made["refined"])
    moved = Microscope(led_error=1e-3).run(1)
    found = _seen(moved, led_places={"start": 1}, pupil={"start": 45}).problem.present()["led_places"]
    camera = Grid(moved.window_px, moved.pixel_size_m, WAVELENGTH)
    nominal = spectrum_places(moved.extra["leds_m"], LEDS_M, camera)
    true = spectrum_places(moved.truth["leds_m"], LEDS_M, camera)
    stated, refined = (position_errors(each, true).rms_affine_px for each in (nominal, found))
    yield Figure("fourier_ptychography.lamps_as_stated_px", stated)
    yield Figure("fourier_ptychography.lamps_refined_over_that", refined / stated, 0.6)


def _seen(data: Dataset, **parameters: Any) -> Reconstruction:
    model = {"kind": "fourier_ptychography", "numerical_aperture": NUMERICAL_APERTURE, "led_distance": f"{LEDS_M} m"}
    return run(data, model, parameters=parameters)


def _framed(made: Reconstruction, shape: tuple[int, ...]) -> np.ndarray:
    (y, x) = made.problem.bound.origin_px
    return made.problem.store.values()[y : y + shape[0], x : x + shape[1]]


def _object_error(made: Reconstruction, data: Dataset) -> float:
    true = data.truth["object"].astype(complex)
    return align_object(_framed(made, true.shape), true, (slice(16, -16), slice(16, -16))).error


def _pupil_error(made: Reconstruction) -> float:
    """Of the phase in the open pupil, weighted by its amplitude, tilt and offset of the phase removed."""
    pupil, opened = made.problem.present()["pupil"], made.problem.bound.geometry.aperture > 0.9
    y, x = ((np.arange(n) - n // 2) * WAVELENGTH / (n * 1.6e-6) for n in pupil.shape)
    rest = pupil * np.exp(1j * np.pi * DEFOCUS_M / WAVELENGTH * (y[:, None] ** 2 + x**2))
    basis = np.stack([np.ones(pupil.shape), np.broadcast_to(y[:, None], pupil.shape), np.broadcast_to(x, pupil.shape)])
    angle = np.angle(rest * np.exp(-1j * np.angle(rest[opened].sum())))[opened]
    columns, weights = basis[:, opened].T, np.abs(pupil[opened])
    fit = np.linalg.lstsq(columns * weights[:, None], angle * weights, rcond=None)[0]
    return float(np.sqrt(np.average((angle - columns @ fit) ** 2, weights=weights**2)))


def _microscope_picture(data: Dataset, made: Reconstruction) -> None:
    true = data.truth["object"].astype(complex)
    inside = (slice(8, -8), slice(8, -8))
    found = align_object(_framed(made, true.shape), true, inside).aligned
    pupil = made.problem.present()["pupil"] * (made.problem.bound.geometry.aperture > 0.5)
    middle = slice(len(pupil) // 4, -len(pupil) // 4)
    panels = {
        "picture under the lamp on the axis": (data.patterns.read(np.array([data.n_patterns // 2]))[0], "gray"),
        "phase": (np.angle(found), "gray"),
        "phase, true": (np.angle(true), "gray"),
        "phase of the pupil": (np.angle(pupil * np.exp(-1j * np.angle(pupil.sum())))[middle, middle], "coolwarm"),
    }
    drawn = Drawing(figsize=(9, 2.5), facecolor="white", layout="constrained")
    FigureCanvasAgg(drawn)
    for ax, (title, (values, colors)) in zip(drawn.subplots(1, 4), panels.items(), strict=True):
        ax.imshow(values, cmap=colors)
        ax.set_title(title, fontsize=8)
        ax.set_axis_off()
    drawn.savefig(STATIC / "fourier_ptychography.png", dpi=110)
