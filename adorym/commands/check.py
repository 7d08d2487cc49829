"""`adorym check`: builds and tries a run, and reports all its errors, or what it will do and need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from adorym.commands.cost import memory, store_facts, time_facts
from adorym.commands.draft import PROBE, Draft, draft
from adorym.commands.plan import Fact, Plan, Refinement, length_facts
from adorym.data.dataset import Dataset
from adorym.data.survey import MIN_PATTERNS
from adorym.errors import GeometryError
from adorym.optics.geometry import Geometry, Regime, depth_of_focus_m, fresnel_number, regime_of
from adorym.optics.propagation import critical_distance_m
from adorym.parameters import OBJECT, Value
from adorym.report.text import counted, number, quantity
from adorym.schema import dump
from adorym.schema.fields import fields_of

# If the beam fills more than this fraction of the window, its fringes are undersampled.
LOW_OVERSAMPLING = 2.0


def check(path: str | Path, overrides: Iterable[str] = ()) -> Plan:
    """The plan of the run that the configuration file ``path`` describes.

    Args:
        path: YAML, TOML or JSON.
        overrides: ``key.path=value`` assignments.

    Raises:
        InputError: The errors found; several together as `adorym.errors.ConfigErrors`.
    """
    made = draft(path, tuple(overrides))
    warnings = list(made.warnings)
    sections = {
        "data": tuple(_data(made.dataset, made.geometry, made.problem.measurements.mean_counts)),
        "sampling": tuple(_sampling(made, warnings)),
        "object": tuple(_object(made)),
        "batches": tuple(_batches(made)),
        "fit": tuple(_fit(made)),
        "time": tuple(time_facts(made)),
        "stores": tuple(store_facts(made)),
    }
    return Plan(
        title=f"{made.config.forward_model.kind}: {Path(made.dataset.path).name}",
        sections=sections,
        refinements=tuple(_refinement(made, value) for value in made.problem.unknowns.values()),
        memory=tuple(memory(made, made.config.run.store, made.ranks)),
        notes=made.dataset.notes,
        warnings=tuple(dict.fromkeys(warnings)),
    )


# -- data --------------------------------------------------------------------------------------------------------------
def _data(dataset: Dataset, geometry: Geometry, counts: float) -> Iterator[Fact]:
    n, (ny, nx) = dataset.n_patterns, dataset.window_px
    yield Fact("path", "file", dataset.path, dataset.path)
    yield Fact("format", "format", dataset.format, dataset.format)
    yield Fact("patterns", "patterns", n, str(n))
    yield Fact("window_px", "window", [ny, nx], f"{ny} x {nx} px (y, x)")
    if dataset.n_angles > 1:
        yield Fact("angles", "angles", dataset.n_angles, str(dataset.n_angles))
    yield Fact("counts_per_pattern", "counts per pattern", counts, f"{counts:.6g} on average")
    yield from length_facts(geometry, dataset.voltage_v)


# -- sampling ----------------------------------------------------------------------------------------------------------
def _regime(made: Draft) -> Regime:
    """The propagation regime of the model, or that of the data if the model declares none."""
    return getattr(made.config.forward_model, "regime", regime_of(made.dataset))


def _sampling(made: Draft, warnings: list[str]) -> Iterator[Fact]:
    geometry, scan = made.geometry, made.judgement.scan
    diameter = None if scan is None else scan.probe_diameter_px
    if scan is not None:
        yield from _scan(made)
    far = _regime(made) == "far_field"
    if far and diameter is not None:
        ratios = [n / diameter for n in made.dataset.window_px]
        text = f"{number(ratios[0], 3)}, {number(ratios[1], 3)} (y, x): window / probe diameter"
        yield Fact("oversampling", "oversampling", ratios, text)
        if min(ratios) < LOW_OVERSAMPLING:
            warnings.append(
                f"oversampling: {min(ratios):.2g}; at least 2 is needed to sample the fringes of so wide a beam"
            )
    try:
        grid = geometry.grid(_regime(made))
        distance = geometry.distance_m if far else geometry.effective_distance_m
    except GeometryError:  # the run does not need the unknown quantity
        return
    thickness = depth_of_focus_m(max(grid.pixel_size_m), grid.wavelength_m)
    text = f"{quantity(thickness, 'm')} at a resolution of one pixel"
    yield Fact("depth_of_focus_m", "depth of focus", thickness, text)
    if far and distance is not None:
        value = fresnel_number(max(grid.extent_m) / 2, grid.wavelength_m, distance)
        yield Fact("fresnel_number", "Fresnel number", value, f"{number(value, 3)} for half the window")
    elif distance is not None:
        limits = critical_distance_m(grid)
        text = f"{quantity(distance, 'm')} of at most {quantity(min(limits), 'm')}, N pixel^2 / wavelength"
        yield Fact("propagation_distance_m", "propagation", distance, text)
        yield Fact(
            "critical_distance_m", "critical distance", list(limits), ", ".join(quantity(x, "m") for x in limits)
        )


def _scan(made: Draft) -> Iterator[Fact]:
    scan, given = made.judgement.scan, made.geometry.given_pixel_size_m
    assert scan is not None  # checked by the caller
    field = np.subtract(scan.maximum_px, scan.minimum_px)
    text = f"{number(field[0])} x {number(field[1])} px (y, x) between the outermost positions"
    if given is not None:
        text += f", {quantity(field[0] * given[0], 'm')} x {quantity(field[1] * given[1], 'm')}"
    yield Fact("field_of_view_px", "field of view", field.tolist(), text)
    if scan.step_px is None:
        return
    if (area := _area_m2(made)) is not None:
        dose, electrons = made.problem.measurements.mean_counts / area, made.dataset.voltage_v is not None
        text = f"{number(1e-20 * dose, 3)} electrons per square angstrom" if electrons else (
            f"{number(1e-12 * dose, 3)} counts per um^2")  # fmt: skip
        yield Fact("dose_per_m2", "dose", dose, f"{text}, as counted, on the area of a step")
    yield Fact("step_px", "step", scan.step_px, f"{number(scan.step_px)} px to the nearest neighbor, on average")
    if scan.probe_diameter_px is None or scan.overlap is None:
        if PROBE in made.problem.values:
            yield Fact("linear_overlap", "linear overlap", None, "unknown: the patterns hardly tell the beam's defocus")
        return
    for text in made.problem.remarks:
        name, _, words = text.partition(": ")
        yield Fact(name.replace(" ", "_"), name, text, words or text)
    focus = _is_focus(made)
    text = f"{number(scan.probe_diameter_px)} px" + (" in focus: the smallest that fits the patterns" if focus else "")
    yield Fact("probe_diameter_px", "probe diameter", scan.probe_diameter_px, text)
    text = f"{'at least ' if focus else ''}{100 * scan.overlap:.0f} % of the diameter; 60 % is good"
    yield Fact("linear_overlap", "linear overlap", scan.overlap, text)


def _area_m2(made: Draft) -> float | None:
    """Area that a position has to itself: that of the scan, divided by the positions; ``None`` if it is unknown."""
    pixel, positions = made.geometry.given_pixel_size_m, made.dataset.probe_positions_px
    if pixel is None or positions is None or made.dataset.n_angles > 1 or len(positions) < MIN_PATTERNS:
        return None
    height, width = np.ptp(positions, axis=0) * pixel
    return float(height * width) / (len(positions) ** 0.5 - 1) ** 2 or None


def _is_focus(made: Draft) -> bool:
    """Whether the start probe was made from the mean pattern, which does not determine the beam's defocus."""
    if _regime(made) == "near_field":
        return False
    initial = made.problem.values[PROBE].settings.initial if PROBE in made.problem.values else None
    return getattr(initial, "kind", "") == "mean_pattern" and not getattr(initial, "defocus", 0.0)


# -- object, batches and fit -------------------------------------------------------------------------------------------
def _object(made: Draft) -> Iterator[Fact]:
    bound = made.problem.bound
    yield Fact("shape_px", "shape", list(bound.shape), " x ".join(map(str, bound.shape)) + " px")
    text = f"{bound.origin_px[0]}, {bound.origin_px[1]} px (y, x): index of the data's position (0, 0)"
    yield Fact("origin_px", "origin", list(bound.origin_px), text)


def _batches(made: Draft) -> Iterator[Fact]:
    run, sizes = made.config.run, made.batch_sizes
    low, high = min(sizes), max(sizes)
    many = counted(high, "pattern") if low == high else f"{low} to {high} patterns"
    text = f"{len(sizes)} of {many}, order '{run.batch_order}'"
    yield Fact("epochs", "epochs", run.epochs, str(run.epochs))
    yield Fact("batches", "batches per epoch", len(sizes), text)
    yield Fact("batch_size", "largest batch", high, counted(high, "pattern"))


def _fit(made: Draft) -> Iterator[Fact]:
    recipe = made.config.recipe
    loss = made.problem.loss
    yield Fact("loss", "loss", dump(loss), _in_words(loss))
    for key, components in (("regularizers", recipe.regularizers), ("constraints", recipe.constraints)):
        text = ", ".join(_in_words(each) for each in components) or "none"
        yield Fact(key, key, [dump(each) for each in components], text)


def _in_words(component: Any, without: tuple[str, ...] = (), *, changed: bool = False) -> str:
    """``adam (beta1 0.8)``: the kind and its settings, or only those that differ from the defaults."""
    plain, fields = dump(component), fields_of(type(component))
    names = [name for name in fields if name not in without]
    if changed:
        default = {name: fields[name].get_default(call_default_factory=True) for name in names}
        names = [name for name in names if getattr(component, name) != default[name]]
    kind = getattr(component, "kind", type(component).__name__)
    settings = ", ".join(f"{name} {plain[name]}" for name in names)
    return f"{kind} ({settings})" if settings else kind


def _refinement(made: Draft, value: Value) -> Refinement:
    settings, spec, optimizer, epochs = value.settings, value.spec, value.optimizer, made.config.run.epochs
    first = value.first if value.name != OBJECT else np.broadcast_to(value.first[0], made.problem.store.shape)
    values = first.size * (2 if first.dtype.kind == "c" else 1)
    if not settings.refine:
        return Refinement(value.name, values, refined=False)
    unit = spec.unit
    if optimizer.needs_curvature:
        unit = ""  # a pure number: the curvature provides the unit
    elif spec.relative and not _has_unit(optimizer.learning_rate):
        unit = "of the largest value"
    elif spec.scale is not None and not _has_unit(optimizer.learning_rate):
        unit = "of its natural scale"
    return Refinement(
        parameter=value.name,
        values=values,
        refined=True,
        start=settings.start,
        stop=settings.stop,
        every=settings.every,
        epochs=sum(settings.active(epoch) for epoch in range(epochs)),
        optimizer=_in_words(optimizer, ("learning_rate",), changed=True),
        learning_rate=optimizer.rate(spec.unit),
        rate_unit=unit,
        schedule=_in_words(value.schedule, changed=True),
    )


def _has_unit(learning_rate: float | str) -> bool:
    return isinstance(learning_rate, str) and any(c.isalpha() and c not in "eE" for c in learning_rate)
