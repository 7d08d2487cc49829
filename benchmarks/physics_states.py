"""A sample that switches between two states during every exposure, reconstructed as one state and as two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from figures import Figure
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing
from physics_runs import STATIC, error, framed, measured_counts, run
from physics_waves import FINE, WINDOW, beam, patterns, raster, seen, specimen
from scipy.ndimage import gaussian_filter

from adorym.engine.loop import Reconstruction
from adorym.metrics import align_object

INSIDE = (slice(30, 90), slice(30, 90))


def switched(obj: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``obj`` with domains of another phase, as they switch in a field: a third of the area."""
    domains = gaussian_filter(rng.normal(size=obj.shape), 3 * FINE)
    on = gaussian_filter((domains > np.percentile(domains, 67)).astype(float), 1.5)
    return obj * np.exp(-0.8j * on)


def mixed_states() -> Iterator[Figure]:
    """A sample in its first state for 60 per cent of the time: error of the mean picture over that of one state.

    The mean picture is the strongest of the states that are orthogonal to each other; the second shows what switches.
    """
    rng = np.random.default_rng(16)
    positions = raster(14, 4.0, rng)
    first = specimen(int(positions.max()) + WINDOW + 8, rng)
    second, beams = switched(first, rng), np.repeat(beam()[None], len(positions), 0)
    mean = 0.6 * patterns(first, beams, positions) + 0.4 * patterns(second, beams, positions)
    data = measured_counts(rng.poisson(mean), positions)
    waves = np.stack([np.sqrt(0.6) * seen(first), np.sqrt(0.4) * seen(second)], axis=-1)
    lit = waves[INSIDE].reshape(-1, 2)
    true = waves @ np.linalg.eigh(lit.conj().T @ lit)[1][:, ::-1]
    one, two = run(data), run(data, parameters={"object": {"states": 2}})
    errors = [error(made, true[..., 0])[0] for made in (one, two)]
    yield Figure("mixed_states.error_of_one_state", errors[0])
    yield Figure("mixed_states.error_over_that", errors[1] / errors[0], 0.5)
    a, b = align_object(framed(two, 1, true.shape), true[..., 1], INSIDE).aligned[INSIDE], true[INSIDE][..., 1]
    yield Figure("mixed_states.one_minus_correlation_of_the_change", 1 - _correlation(a, b))
    _picture(true, {"one state": one, "two states": two}, errors, a)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(abs(np.vdot(a, b)) / (np.linalg.norm(a) * np.linalg.norm(b)))


def _picture(true: np.ndarray, found: Mapping[str, Reconstruction], errors: list[float], change: np.ndarray) -> None:
    drawn = Drawing(figsize=(10, 2.4), facecolor="white", layout="constrained")
    FigureCanvasAgg(drawn)
    axes, mean = drawn.subplots(1, 5), true[..., 0]
    axes[0].imshow(np.angle(mean[INSIDE] * np.exp(-1j * np.angle(mean[INSIDE].sum()))), cmap="gray")
    axes[0].set_title("mean, phase", fontsize=10)
    for ax, (name, made), wrong in zip(axes[1:3], found.items(), errors, strict=True):
        difference = align_object(error(made, mean)[1], mean, INSIDE).aligned - mean
        ax.imshow(abs(difference[INSIDE]), cmap="magma", vmin=0, vmax=0.1)
        ax.set_title(f"{name}: error {wrong:.3f}", fontsize=10)
    for ax, (name, wave) in zip(axes[3:], {"truth": true[INSIDE][..., 1], "found": change}.items(), strict=True):
        ax.imshow(abs(wave), cmap="gray")
        ax.set_title(f"what switches, {name}", fontsize=10)
    for ax in axes:
        ax.set_axis_off()
    drawn.savefig(STATIC / "mixed_states.png", dpi=110)
