"""A beam that is wider than the window of the detector's pixels, which do not resolve its speckles.

Patterns are computed for a window three times as wide as the detector's and summed over 3 x 3 pixels about each middle;
the run works with a window twice as wide.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from figures import Figure
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing
from physics_runs import STATIC, framed, measured_counts, run
from physics_waves import beam, patterns, raster, seen, specimen

from adorym.metrics import align_object

SEEN, FACTOR = 48, 3  # pixels of the detector; finer ones in each of them
WIDE = SEEN * FACTOR


def summed(fine: np.ndarray) -> np.ndarray:
    """``(n, y, x)`` sums over blocks; the middle of the middle block is the zero frequency."""
    about = np.roll(fine, FACTOR // 2, axis=(-2, -1))
    return about.reshape(len(fine), SEEN, FACTOR, SEEN, FACTOR).sum((2, 4))


def upsampling() -> Iterator[Figure]:
    """Error of the object with upsampled patterns over that without; without a start probe."""
    rng = np.random.default_rng(23)
    positions = raster(14, 7.0, rng)
    obj = specimen(int(positions.max()) + WIDE + 8, rng, size=2.0)
    wave = beam(radius=24.0, curvature=0.025, photons=3e6, window=WIDE)
    data = measured_counts(
        rng.poisson(summed(patterns(obj, np.repeat(wave[None], len(positions), 0), positions))), positions
    )
    true, found, errors = seen(obj), {}, {}
    low, high = (int(each + WIDE / 2) for each in (positions.min() + 4, positions.max() - 4))
    inside = (slice(low, high), slice(low, high))
    for factor in (1, 2):
        made = run(data, forward_model={"kind": "ptychography", "upsampling": factor})
        # Positions are those of the corner of the wide window here, of that of the detector for the run.
        picture = np.roll(framed(made, 0, true.shape), (WIDE - SEEN) // 2, axis=(0, 1))
        aligned = align_object(picture, true, inside)
        found[factor], errors[factor] = aligned.aligned, aligned.error
    yield Figure("upsampling.error_without", errors[1])
    yield Figure("upsampling.error_over_that", errors[2] / errors[1], 0.5)
    _picture({"truth": true, **{f"upsampling {k}: error {errors[k]:.2f}": found[k] for k in found}}, inside)


def _picture(shown: dict[str, np.ndarray], inside: tuple[slice, slice]) -> None:
    drawn = Drawing(figsize=(9, 3.2), facecolor="white", layout="constrained")
    FigureCanvasAgg(drawn)
    for ax, (name, each) in zip(drawn.subplots(1, 3), shown.items(), strict=True):
        ax.imshow(np.angle(each * np.exp(0.5j))[inside], cmap="gray", vmin=-0.8, vmax=0.6)
        ax.set_title(name, fontsize=10)
        ax.set_axis_off()
    drawn.savefig(STATIC / "upsampling.png", dpi=110)
