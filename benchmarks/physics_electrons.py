"""A crystal of two layers in a convergent beam of 80 kV electrons, scanned out of focus; the lens is known roughly.

Truth is on pixels half as large: the beam from its pupil, the layers from their atoms, and the way between them as an
angular spectrum, in plain NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from figures import Figure
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing
from numpy.fft import fft2, fftfreq, fftshift, ifft2
from physics_runs import STATIC, framed, measured_counts, run
from physics_waves import FINE, WINDOW, raster, seen

from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import outcome
from adorym.metrics import align_object

WAVELENGTH_M = 4.1757e-12  # of 80 kV electrons
PIXEL_M, GAP_M, HALF_ANGLE = 0.28e-10, 40e-10, 25e-3
DOSE = 2e5  # electrons in each pattern
# True aberrations in meters; the lens is believed to be free of all but a defocus of -11 nm.
TRUE = {"C10": -13e-9, "C12a": 3e-9, "C12b": -2e-9, "C21a": 80e-9, "C21b": 50e-9, "C23a": 60e-9, "C23b": -40e-9,
        "C30": 10e-6}  # fmt: skip
BELIEVED_DEFOCUS = "-11 nm"
INSIDE = (slice(28, 76), slice(28, 76))


def lens() -> np.ndarray:
    """The beam at the first layer, on half pixels."""
    n, step = FINE * WINDOW, PIXEL_M / FINE
    ky, kx = fftfreq(n, step)[:, None], fftfreq(n, step)[None]
    a, turn = WAVELENGTH_M * np.hypot(ky, kx), np.arctan2(ky, kx)
    a = np.minimum(a, 1.5 * HALF_ANGLE)
    path = a**2 / 2 * (TRUE["C10"] + TRUE["C12a"] * np.cos(2 * turn) + TRUE["C12b"] * np.sin(2 * turn))
    path += a**3 / 3 * (TRUE["C21a"] * np.cos(turn) + TRUE["C21b"] * np.sin(turn))
    path += a**3 / 3 * (TRUE["C23a"] * np.cos(3 * turn) + TRUE["C23b"] * np.sin(3 * turn))
    path += a**4 / 4 * TRUE["C30"]
    radius = np.hypot(ky, kx) * WINDOW * PIXEL_M  # in Fourier pixels
    pupil = 1 / (1 + np.exp((radius - HALF_ANGLE / WAVELENGTH_M * WINDOW * PIXEL_M) / 0.5))
    middle = np.exp(-2j * np.pi * (ky + kx) * step * (n - 1) / 2)
    wave = ifft2(pupil * np.exp(-2j * np.pi / WAVELENGTH_M * path) * middle)
    return wave * np.sqrt(DOSE) / np.linalg.norm(wave)


def layer(
    side: int, turned_deg: float, rng: np.random.Generator, moved_m: tuple[float, float] = (0.0, 0.0), part: float = 1.0
) -> np.ndarray:
    """A hexagonal layer with vacancies, on half pixels: Gaussian atoms of two kinds, strong and weak phase.

    All of them ``moved_m`` (y, x), with ``part`` of the phase.
    """
    n, step = FINE * side, PIXEL_M / FINE
    lattice = 3.2e-10 * np.array([[1.0, 0.0], [0.5, np.sqrt(0.75)]])
    angle = np.deg2rad(turned_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    cells = np.stack(np.meshgrid(np.arange(-60, 60), np.arange(-60, 60)), -1).reshape(-1, 2)
    y, x = np.mgrid[:n, :n] * step
    phase = np.zeros((n, n))
    for offset, strength in ((0.0, 0.5), (1 / 3, 0.25)):
        atoms = (cells + offset) @ lattice @ turn + n * step / 2
        inside = ((atoms > -1e-10) & (atoms < n * step + 1e-10)).all(1) & (rng.random(len(atoms)) > 0.06)
        for ay, ax in atoms[inside] + moved_m:
            rows = slice(max(0, int((ay - 2e-10) / step)), int((ay + 2e-10) / step) + 1)
            columns = slice(max(0, int((ax - 2e-10) / step)), int((ax + 2e-10) / step) + 1)
            away = (y[rows, columns] - ay) ** 2 + (x[rows, columns] - ax) ** 2
            phase[rows, columns] += strength * np.exp(-away / (2 * 0.4e-10**2))
    return np.exp(1j * part * phase)


def patterns(layers: Sequence[np.ndarray], positions: np.ndarray, gap_m: float = GAP_M) -> np.ndarray:
    """Expected counts ``(n, y, x)``, zero frequency in the middle."""
    n, first, step = FINE * WINDOW, (FINE - 1) * WINDOW // 2, PIXEL_M / FINE
    f, wave = fftfreq(n), lens()
    k2 = (fftfreq(n, step)[:, None] ** 2 + fftfreq(n, step) ** 2) * WAVELENGTH_M**2
    free = np.exp(2j * np.pi / WAVELENGTH_M * gap_m * (np.sqrt(1 - k2) - 1))
    found = []
    for position in FINE * positions:
        y, x = np.round(position).astype(int)
        dy, dx = position - (y, x)
        here = ifft2(fft2(wave) * np.exp(-2j * np.pi * (f[:, None] * dy + f * dx)))
        for each in layers[:-1]:
            here = ifft2(fft2(here * each[y : y + n, x : x + n]) * free)
        far = fftshift(abs(fft2(here * layers[-1][y : y + n, x : x + n], norm="ortho")) ** 2)
        found.append(far[first : first + WINDOW, first : first + WINDOW])
    return np.array(found)


def electrons() -> Iterator[Figure]:
    """Two layers 4 nm apart: the worst relative error of an aberration, and what of one layer is seen in the other."""
    rng = np.random.default_rng(17)
    positions = raster(14, 4.0, rng)
    side = int(positions.max()) + WINDOW + 8
    layers = layer(side, 0.0, rng), layer(side, 18.0, rng)
    counts = rng.poisson(patterns(layers, positions))
    data = measured_counts(counts, positions, pixel_size_m=(PIXEL_M,) * 2, energy_ev=1.239841984e-6 / WAVELENGTH_M)
    made = run(data, **configuration())
    found = {name: each.value[0] for name, each in outcome(made, judged=False).parameters.items() if name[0] == "C"}
    for order in ("C10", "C12", "C21", "C23", "C30"):
        names = [name for name in TRUE if name.startswith(order)]
        size = np.linalg.norm([TRUE[name] for name in names])
        wrong = np.linalg.norm([found[name] - TRUE[name] for name in names])
        yield Figure(f"electrons.relative_error_of_{order}", float(wrong / size), 0.1)
    true = [seen(each) for each in layers]
    seen_layers = [align_object(framed(made, z, true[z].shape), true[z], INSIDE) for z in (0, 1)]
    for z in (0, 1):
        yield Figure(f"electrons.error_of_layer_{z + 1}", seen_layers[z].error, 0.05)
    shown = [_phase(each.aligned) for each in seen_layers]
    wanted = [_phase(each) for each in true]
    parts = [np.linalg.lstsq(np.stack([w.ravel() for w in wanted], 1), s.ravel(), rcond=None)[0] for s in shown]
    yield Figure(
        "electrons.part_of_the_other_layer", max(abs(parts[0][1] / parts[0][0]), abs(parts[1][0] / parts[1][1])), 0.1
    )
    _picture(wanted, shown, made)


def configuration() -> dict[str, Any]:
    """A held aperture with refined aberrations, two slices."""
    aperture = {"kind": "aperture", "outer_radius": "25 mrad", "defocus": BELIEVED_DEFOCUS}
    return {
        "run": {"epochs": 40, "threads": 1},
        "forward_model": {"kind": "multislice", "slices": 2, "spacing": "4 nm"},
        "parameters": {"probe": {"initial": aperture, "refine": False}, "aberrations": {"order": 3}},
    }


def _phase(wave: np.ndarray) -> np.ndarray:
    phase = np.angle(wave[INSIDE] * np.exp(-1j * np.angle(wave[INSIDE].sum())))
    return phase - phase.mean()


def _picture(wanted: list[np.ndarray], shown: list[np.ndarray], made: Reconstruction) -> None:
    drawn = Drawing(figsize=(9, 2.7), facecolor="white", layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.subplots(1, 5)
    pictures = {"layer 1, truth": wanted[0], "found": shown[0], "layer 2, truth": wanted[1], "found ": shown[1]}
    for ax, (name, phase) in zip(axes, pictures.items(), strict=False):
        ax.imshow(phase, cmap="gray", vmin=-0.25, vmax=0.5)
        ax.set_title(name, fontsize=10)
    modes = outcome(made, judged=False).probe
    assert modes is not None
    axes[4].imshow(abs(modes[0]), cmap="magma")
    axes[4].set_title("probe, amplitude", fontsize=10)
    for ax in axes:
        ax.set_axis_off()
    drawn.savefig(STATIC / "electrons.png", dpi=110)
