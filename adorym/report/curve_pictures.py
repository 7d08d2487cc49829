"""Pictures of how the run went: loss, fit to the data, refined parameters, resolution."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize, SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from adorym.data.result import ParameterResult
from adorym.metrics.similarity import r_factor
from adorym.report import style
from adorym.report.base import Scene
from adorym.report.text import counted, duration, number, prefix, quantity, title_of

OWN_PICTURE = ("object", "probe", "probe_positions")  # parameters that are shown elsewhere
MAX_PANELS = 12
# Counts that range over less than this factor are shown on a linear scale.
LEAST_RANGE = 30.0


def loss_picture(scene: Scene) -> tuple[Figure, str] | None:
    """Loss against epoch, with its parts where the history has them (``loss_...``)."""
    history = scene.result.history
    loss = history.get("loss")
    if loss is None or loss.ndim != 1 or np.count_nonzero(np.isfinite(loss)) < 2:
        return None
    epoch = history.get("epoch", loss[:0])
    epoch = epoch if epoch.shape == loss.shape else np.arange(1, len(loss) + 1)
    parts = {name: part for name, part in history.items() if name.startswith("loss_") and part.shape == loss.shape}
    marker = "o" if len(epoch) < 12 else ""
    drawn = style.figure(3.4)
    ax = drawn.subplots()
    for (name, values), color in zip({"loss": loss, **parts}.items(), style.SERIES, strict=False):
        ax.plot(epoch, values, color=color, label=title_of(name.removeprefix("loss_")), marker=marker)
    finite = loss[np.isfinite(loss)]
    if finite.min() > 0 and finite.max() > 3 * finite.min():
        ax.set_yscale("log")
        ax.yaxis.set_minor_formatter(NullFormatter())
        if finite.max() < 100 * finite.min():  # too few powers of ten to read a value from
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter(lambda value, _: number(value))
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlim(float(epoch.min()), float(epoch.max()))
    if parts:
        ax.legend()
    seconds = history.get("time_s")
    pace = "" if seconds is None or not seconds.size else f" {duration(float(np.median(seconds)))} per epoch (median)."
    first, last = number(float(finite[0]), 3), number(float(finite[-1]), 3)
    return drawn, f"From {first} to {last} in {counted(len(loss), 'epoch')}.{pace}"


def fit_picture(scene: Scene) -> tuple[Figure, str] | None:
    """One pattern: measured, predicted, and their difference."""
    fit = scene.result.fit
    if "measured" not in fit or "predicted" not in fit or fit["measured"].shape != fit["predicted"].shape:
        return None
    measured, predicted = (np.squeeze(fit[name]).astype(float) for name in ("measured", "predicted"))
    both = np.isfinite(measured) & np.isfinite(predicted)
    if measured.ndim != 2 or not np.any(measured[both] > 0):
        return None
    height = (style.WIDTH_IN / 3 - 0.75) * measured.shape[0] / measured.shape[1] + 0.5
    drawn = style.figure(height)
    left, middle, right = drawn.subplots(1, 3)
    counts, floor = _counts_norm(measured[both])
    for ax, pattern, title in ((left, measured, "Measured"), (middle, predicted, "Predicted")):
        # A pixel without counts is dark, not missing (NaN stays missing).
        style.show(ax, np.maximum(pattern, floor), cmap=style.COUNTS_MAP).set_norm(counts)
        ax.set_title(title)
    style.color_bar(middle.images[0])
    difference = predicted - measured
    largest = max(float(np.percentile(np.abs(difference[both]), 99.9)), 1e-30)
    image = style.show(right, difference, cmap=style.DIFFERENCE_MAP)
    right.set_title("Predicted − measured")
    ticks = None
    if isinstance(counts, LogNorm):
        linear = min(max(floor, largest / 100), largest / 3)
        image.set_norm(SymLogNorm(linear, vmin=-largest, vmax=largest))
        decades = 10.0 ** np.arange(np.ceil(np.log10(linear) + 1e-9), np.floor(np.log10(largest)) + 1)
        ticks = [*-decades, 0, *decades]
    else:
        image.set_clim(-largest, largest)
    style.color_bar(image, ticks=ticks)
    agreement = number(r_factor(measured, predicted, both), 3)
    which = f"Pattern {int(np.ravel(fit['index'])[0])}; " if "index" in fit and fit["index"].size else ""
    caption = f"{which}R = Σ|√measured − √predicted| / Σ√measured = {agreement}."
    return drawn, caption[:1].upper() + caption[1:]


def _counts_norm(counts: np.ndarray) -> tuple[Normalize, float]:
    """Color scale of a pattern, and the smallest count shown: logarithmic unless the counts are all alike."""
    low, top = (float(each) for each in np.percentile(counts, (1, 99.98)))
    if low > top / LEAST_RANGE:  # an image in a bright beam, not a diffraction pattern
        return Normalize(low, max(top, low * (1 + 1e-6))), float(counts.min())
    floor = max(top * 1e-5, float(np.percentile(counts[counts > 0], 1)) / 2)
    return LogNorm(floor, max(top, floor * 10)), floor


def frc_picture(scene: Scene) -> tuple[Figure, str] | None:
    """Fourier ring correlation and the half-bit threshold."""
    score = scene.score
    frc = None if score is None else score.ring_correlation
    if score is None or frc is None or frc.frequency.size < 2:
        return None
    unit = "m" if scene.result.pixel_size_m is not None else "px"
    _, small = prefix(frc.half_period, unit)
    factor = 1 / prefix(frc.half_period, unit)[0]
    drawn = style.figure(3.4, 6.4)
    ax = drawn.subplots()
    frequency = frc.frequency * factor
    ax.plot(frequency, frc.correlation, color=style.BLUE, label="correlation")
    ax.plot(frequency, frc.threshold, color=style.MUTED, linestyle="--", linewidth=1.2, label="half-bit threshold")
    text = quantity(frc.half_period, unit, 3)
    if not frc.resolved:
        ax.axvline(frc.crossing * factor, color=style.ORANGE, linewidth=1.4)
        late = frc.crossing * factor > 0.6 * frequency[-1]
        ax.annotate(
            text, (frc.crossing * factor, 0.55), xytext=(-5 if late else 5, 0), textcoords="offset points",
            color=style.ORANGE, ha="right" if late else "left",
        )  # fmt: skip
    ax.set_xlim(0, frequency[-1])
    ax.set_ylim(min(0.0, float(frc.correlation.min())), 1.03)
    ax.set_xlabel(f"spatial frequency (1/{small})")
    ax.set_ylabel("Fourier ring correlation")
    ax.legend(loc="lower left")
    limited = "better than the pixels show, " if frc.resolved else ""
    return drawn, f"Half-period resolution: {limited}{text} (half-bit criterion), compared with {score.reference}."


def parameters_picture(scene: Scene) -> tuple[Figure, str] | None:
    """What refinement changed, a panel a parameter: scalars by epoch, lists by index, arrays of two axes as images."""
    panels = list(_parameter_panels(scene))[:MAX_PANELS]
    if not panels:
        return None
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    drawn = style.figure(2.7 * rows, min(style.WIDTH_IN, 3.6 * columns + 0.2))
    axes = drawn.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    for ax, (name, parameter) in zip(axes, panels, strict=False):
        _draw_parameter(ax, parameter, scene.result.history.get(name))
        ax.set_title(title_of(name))
    return drawn, "What the refinement changed; gray is the start."


def _parameter_panels(scene: Scene) -> Iterator[tuple[str, ParameterResult]]:
    for name, parameter in scene.result.parameters.items():
        values, start = np.squeeze(parameter.value), parameter.start
        if name in OWN_PICTURE or values.dtype.kind not in "fiu" or not np.isfinite(values).any():
            continue
        if start is not None and np.array_equal(start, parameter.value):
            continue  # was not refined
        has_trace = name in scene.result.history and values.size == 1 and len(scene.result.history[name]) > 1
        if has_trace or (values.size > 1 and (_is_image(values) or _columns(values).shape[1] <= 6)):
            yield name, ParameterResult(values, parameter.unit, None if start is None else np.squeeze(start))


def _is_image(values: np.ndarray) -> bool:
    return values.ndim == 2 and min(values.shape) > 6


def _columns(values: np.ndarray) -> np.ndarray:
    """``(n, columns)``: one line of the plot a column."""
    return values.reshape(len(values), -1) if values.ndim > 1 and len(values) > 1 else values.reshape(-1, 1)


def _draw_parameter(ax: Axes, parameter: ParameterResult, trace: np.ndarray | None) -> None:
    values, start = parameter.value, parameter.start
    if _is_image(values):
        style.color_bar(style.show(ax, values), parameter.unit)
        return
    if trace is not None and values.size == 1:
        factor, unit = prefix(float(np.nanmax(np.abs(values))), parameter.unit)
        ax.plot(np.arange(1, len(trace) + 1), np.ravel(trace) * factor, color=style.BLUE)
        if start is not None and start.size == 1:
            ax.axhline(float(start.ravel()[0]) * factor, color="#9ca3af", linewidth=1.2)
        ax.set(xlabel="epoch", ylabel=unit)
    else:
        changed = start is not None and start.shape == values.shape
        shown = values - start if changed else values
        factor, unit = prefix(float(np.nanmax(np.abs(shown))), parameter.unit)
        _lines(ax, _columns(shown).T * factor)
        ax.set(xlabel="index", ylabel=(f"change ({unit})" if unit else "change") if changed else unit)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    ax.ticklabel_format(axis="y", useOffset=False)


def _lines(ax: Axes, columns: np.ndarray) -> None:
    labels = ("y", "x") if len(columns) == 2 else tuple(str(i) for i in range(len(columns)))
    marker = "o" if columns.shape[1] <= 40 else ""
    for column, color, label in zip(columns, style.SERIES, labels, strict=False):
        ax.plot(column, color=color, marker=marker, markersize=3.5, linewidth=1.2, zorder=3, label=label)
    ax.axhline(0, color="#9ca3af", linewidth=1.0, zorder=1)
    if len(columns) > 1:
        ax.margins(y=0.18)
        ax.legend(ncols=len(columns), loc="upper right", handlelength=1, columnspacing=1, borderaxespad=0)
