"""A beam that drifts on the detector, as its direction changes during the scan."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from figures import Figure
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing
from physics_runs import STATIC, error, measured_counts, run
from physics_waves import WINDOW, beam, patterns, raster, seen, specimen
from scipy.ndimage import shift as moved

from adorym.metrics import align_object

INSIDE = (slice(30, 90), slice(30, 90))


def pattern_shift() -> Iterator[Figure]:
    """A beam that drifts by 2 px on the detector: the object's error over that without shifts, and the shifts' error.

    Positions are in random order. The truth moves the expected counts by splines. A shift that all patterns have in
    common is a tilt of the beam, and a smooth phase of the object belongs to it.
    """
    rng = np.random.default_rng(18)
    positions = rng.permutation(raster(14, 4.0, rng))
    obj = specimen(int(positions.max()) + WINDOW + 8, rng)
    true, time = seen(obj), np.linspace(0, 1, len(positions))
    shifts = np.stack([np.cos(np.pi * time), np.cos(2 * np.pi * time)], axis=-1)
    expected = patterns(obj, np.repeat(beam()[None], len(positions), 0), positions)
    expected = np.array([moved(each, by, order=5, mode="nearest") for each, by in zip(expected, shifts, strict=True)])
    data = measured_counts(rng.poisson(np.maximum(expected, 0)), positions)
    still, found = run(data), run(data, parameters={"pattern_shift": {"start": 5, "drift": 3}})
    pictures = [align_object(error(each, true)[1], true, INSIDE) for each in (still, found)]
    errors = [each.error for each in pictures]
    yield Figure("pattern_shift.error_without_shifts", errors[0])
    yield Figure("pattern_shift.error_over_that", errors[1] / errors[0], 0.5)
    wrong = found.problem.present()["pattern_shift"] - shifts
    wrong -= wrong.mean(0)
    yield Figure("pattern_shift.rms_px_of_the_shifts", float(np.sqrt(np.mean(np.sum(wrong**2, 1)))), 0.1)
    drawn = Drawing(figsize=(9, 3.5), facecolor="white", layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.subplots(1, 3)
    named = zip(("without shifts", "shifts refined"), errors, strict=True)
    for ax, picture, (name, wrong_by) in zip(axes, pictures, named, strict=False):
        ax.imshow(abs((picture.aligned - true)[INSIDE]), cmap="magma", vmin=0, vmax=0.2)
        ax.set_title(f"{name}: error {wrong_by:.3f}", fontsize=10)
        ax.set_axis_off()
    for axis, color in enumerate(("black", "tab:red")):
        axes[2].plot(shifts[:, axis] - shifts[:, axis].mean(), color=color, linewidth=4, alpha=0.3)
        axes[2].plot((shifts + wrong)[:, axis] - shifts[:, axis].mean(), color=color, linewidth=1, label="yx"[axis])
    axes[2].set_xlabel("pattern")
    axes[2].set_ylabel("shift, px")
    axes[2].legend(frameon=False)
    drawn.savefig(STATIC / "pattern_shift.png", dpi=110)
