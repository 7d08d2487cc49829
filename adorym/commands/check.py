"""Everything that is wrong with a configuration, or what its run will do and need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from adorym.comm import launched
from adorym.commands.cost import Place, Unknown, Work, memory, object_items
from adorym.commands.draft import Draft, draft
from adorym.commands.inspect import LOW_OVERLAP
from adorym.commands.plan import Fact, MemoryItem, Plan, Refinement, size_text
from adorym.data.batches import epoch_order
from adorym.data.dataset import Dataset
from adorym.data.survey import linear_overlap, nearest_step_px
from adorym.engine.gradients import CHUNK_PIXELS
from adorym.engine.setup import default_batch_size
from adorym.errors import GeometryError
from adorym.optics.geometry import Geometry, Regime, depth_of_focus_m, fresnel_number, regime_of
from adorym.optics.modes import beam_diameter_px
from adorym.optics.propagation import critical_distance_m
from adorym.report.text import number, quantity
from adorym.schema import dump
from adorym.schema.fields import fields_of
from adorym.units import wavelength_m

SAMPLED_PATTERNS = 256
# A window that the beam fills to more than this leaves the fringes between its edges undersampled.
LOW_OVERSAMPLING = 2.0


def check(path: str | Path, overrides: Iterable[str] = ()) -> Plan:
    """The plan of the run that the configuration file ``path`` describes; all counts of its data are read once.

    Args:
        path: YAML, TOML or JSON.
        overrides: ``key.path=value`` assignments.

    Raises:
        InputError: What is wrong; of several errors all, as `adorym.errors.ConfigErrors`.
    """
    made = draft(path, tuple(overrides))
    work, warnings = _work(made), list(made.warnings)
    sections = {
        "data": tuple(_data(made.dataset, made.config.forward_model.geometry(made.dataset))),
        "sampling": tuple(_sampling(made, warnings)),
        "object": tuple(_object(made)),
        "batches": tuple(_batches(made)),
        "fit": tuple(_fit(made)),
        "work": tuple(_transforms(made, work)),
        "stores": tuple(_stores(made)),
    }
    return Plan(
        title=f"{made.config.forward_model.kind}: {Path(made.dataset.path).name}",
        sections=sections,
        refinements=tuple(_refinement(made, name) for name in made.settings),
        memory=_memory(made, made.config.run.store, _ranks()),
        notes=made.dataset.notes,
        warnings=tuple(warnings),
    )


# -- data --------------------------------------------------------------------------------------------------------------
def _data(dataset: Dataset, geometry: Geometry) -> Iterator[Fact]:
    n, (ny, nx) = dataset.n_patterns, dataset.window_px
    yield Fact("path", "file", dataset.path, dataset.path)
    yield Fact("format", "format", dataset.format, dataset.format)
    yield Fact("patterns", "patterns", n, str(n))
    yield Fact("window_px", "window", [ny, nx], f"{ny} x {nx} px (y, x)")
    if dataset.n_angles > 1:
        yield Fact("angles", "angles", dataset.n_angles, str(dataset.n_angles))
    counts = _counts(dataset)
    text = f"{counts.mean():.6g} on average, {counts.min():.6g} to {counts.max():.6g}"
    yield Fact("counts_per_pattern", "counts a pattern", float(counts.mean()), text)
    if geometry.energy_ev is not None:
        wavelength = wavelength_m(geometry.energy_ev)
        yield Fact("energy_ev", "energy", geometry.energy_ev, quantity(geometry.energy_ev, "eV"))
        yield Fact("wavelength_m", "wavelength", wavelength, quantity(wavelength, "m"))
    for key, name, size in (
        ("pixel_size_m", "pixel size", geometry.given_pixel_size_m),
        ("detector_pixel_size_m", "detector pixel size", geometry.detector_pixel_size_m),
    ):
        if size is not None:
            yield Fact(key, name, list(size), f"{quantity(size[0], 'm')} x {quantity(size[1], 'm')} (y, x)")
    for key, name, length in (
        ("distance_m", "sample to detector", geometry.distance_m),
        ("source_distance_m", "focus to sample", geometry.source_distance_m),
    ):
        if length is not None:
            yield Fact(key, name, length, quantity(length, "m"))


def _counts(dataset: Dataset) -> np.ndarray:
    """``(k,)`` counts in the good pixels of each pattern, of at most `SAMPLED_PATTERNS` of them, evenly chosen."""
    n = dataset.n_patterns
    chosen = np.unique(np.linspace(0, n - 1, min(n, SAMPLED_PATTERNS)).round().astype(int))
    sums = np.zeros(len(chosen))
    for i, index in enumerate(chosen):  # one at a time: a pattern may be large
        pattern = dataset.patterns.read(np.array([index]))[0].astype(np.float64)
        pattern = pattern**2 if dataset.measured == "amplitude" else pattern
        good = True if dataset.mask is None else dataset.mask if dataset.mask.ndim == 2 else dataset.mask[index]
        sums[i] = np.sum(pattern, where=good)
    return sums


# -- sampling ----------------------------------------------------------------------------------------------------------
def _regime(made: Draft) -> Regime:
    """What the model says it works in; a model that does not say so, what the data say."""
    return getattr(made.config.forward_model, "regime", regime_of(made.dataset))


def _given_modes(made: Draft) -> int:
    """Modes that the beam is known by; those that are seeded from them start wider than it is."""
    return 1 if made.dataset.start_probe is None else len(made.dataset.start_probe)


def _sampling(made: Draft, warnings: list[str]) -> Iterator[Fact]:
    geometry = made.config.forward_model.geometry(made.dataset)
    diameter = beam_diameter_px(made.starts["probe"][: _given_modes(made)]) if "probe" in made.starts else None
    if made.dataset.probe_positions_px is not None:
        yield from _scan(made, geometry, diameter, warnings)
    far = _regime(made) == "far_field"
    if far and diameter is not None:
        ratios = [n / diameter for n in made.dataset.window_px]
        text = f"{number(ratios[0], 3)}, {number(ratios[1], 3)} (y, x): window / probe diameter"
        yield Fact("oversampling", "oversampling", ratios, text)
        if min(ratios) < LOW_OVERSAMPLING:
            warnings.append(
                f"oversampling: {min(ratios):.2g}; the fringes of so wide a beam need at least 2 pixels each"
            )
    try:
        grid = geometry.grid(_regime(made))
        distance = geometry.distance_m if far else geometry.effective_distance_m
    except GeometryError:  # nothing in this run needs what is not known
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


def _scan(made: Draft, geometry: Geometry, diameter: float | None, warnings: list[str]) -> Iterator[Fact]:
    dataset = made.dataset
    positions = np.asarray(dataset.probe_positions_px)
    field = np.ptp(positions, axis=0)
    text = f"{number(field[0])} x {number(field[1])} px (y, x) between the outermost positions"
    if geometry.given_pixel_size_m is not None:
        size = field * geometry.given_pixel_size_m
        text += f", {quantity(size[0], 'm')} x {quantity(size[1], 'm')}"
    yield Fact("field_of_view_px", "field of view", field.tolist(), text)
    steps = [
        nearest_step_px(scan)
        for angle in np.unique(dataset.angle_index)
        if len(scan := positions[dataset.angle_index == angle]) > 1
    ]
    if not steps:
        return
    step = max(steps)
    yield Fact("step_px", "step", step, f"{number(step)} px to the nearest neighbor, on average")
    if diameter is None:
        return
    focus = _is_focus(made)
    text = f"{number(diameter)} px" + (", a focus: what the patterns allow at least" if focus else "")
    yield Fact("probe_diameter_px", "probe diameter", diameter, text)
    overlap = linear_overlap(step, diameter)
    text = f"{'at least ' if focus else ''}{100 * overlap:.0f} % of the diameter; 60 % is good"
    yield Fact("linear_overlap", "linear overlap", overlap, text)
    if overlap < LOW_OVERLAP and not focus:
        warnings.append(f"overlap: neighbors share {100 * overlap:.0f} % of the probe's diameter; 60 % is good")


def _is_focus(made: Draft) -> bool:
    """Whether the start probe was made from the mean pattern, which does not tell how far the beam is out of focus."""
    initial = made.settings["probe"].initial
    if initial is None:
        return made.dataset.start_probe is None
    return getattr(initial, "kind", "") == "mean_pattern" and not getattr(initial, "defocus", 0.0)


# -- what is computed --------------------------------------------------------------------------------------------------
def _object(made: Draft) -> Iterator[Fact]:
    shape = made.object_shape
    yield Fact("shape_px", "shape", list(shape), " x ".join(map(str, shape)) + " px")
    text = f"{made.origin_px[0]}, {made.origin_px[1]} px (y, x): index of the data's position (0, 0)"
    yield Fact("origin_px", "origin", list(made.origin_px), text)
    yield Fact("margin_px", "margin", made.margin_px, f"{made.margin_px} px around the scanned area")


def _batch_sizes(made: Draft) -> list[int]:
    """Patterns in each batch of the first epoch."""
    run, size = (
        made.config.run,
        made.config.run.batch_size
        or default_batch_size(made.dataset.n_patterns, made.config.forward_model.whole_object),
    )
    parts = epoch_order(made.dataset, size, run.batch_order, np.random.default_rng(run.seed))
    return [len(part) for part in parts]


def _batches(made: Draft) -> Iterator[Fact]:
    run, sizes = made.config.run, _batch_sizes(made)
    low, high = min(sizes), max(sizes)
    text = f"{len(sizes)} of {high if low == high else f'{low} to {high}'} patterns, order '{run.batch_order}'"
    yield Fact("epochs", "epochs", run.epochs, str(run.epochs))
    yield Fact("batches", "batches an epoch", len(sizes), text)
    yield Fact("batch_size", "largest batch", high, f"{high} patterns")


def _fit(made: Draft) -> Iterator[Fact]:
    recipe = made.config.recipe
    yield Fact("loss", "loss", dump(recipe.loss), _in_words(recipe.loss))
    for key, components in (("regularizers", recipe.regularizers), ("constraints", recipe.constraints)):
        text = ", ".join(_in_words(each) for each in components) or "none"
        yield Fact(key, key, [dump(each) for each in components], text)


def _in_words(component: Any, without: tuple[str, ...] = (), *, changed: bool = False) -> str:
    """``adam (beta1 0.8)``: the kind and its settings, or of these only what differs from the defaults."""
    plain, fields = dump(component), fields_of(type(component))
    names = [name for name in fields if name not in without]
    if changed:
        default = {name: fields[name].get_default(call_default_factory=True) for name in names}
        names = [name for name in names if getattr(component, name) != default[name]]
    kind = getattr(component, "kind", type(component).__name__)
    settings = ", ".join(f"{name} {plain[name]}" for name in names)
    return f"{kind} ({settings})" if settings else kind


def _refinement(made: Draft, name: str) -> Refinement:
    settings, spec = made.settings[name], made.config.forward_model.refinable[name]
    shape, dtype = _shape(made, name)
    values = int(np.prod(shape)) * (2 if dtype.kind == "c" else 1)
    if not settings.refine:
        return Refinement(name, values, refined=False)
    optimizer, epochs = made.optimizer(name), made.config.run.epochs
    unit = spec.unit
    if optimizer.needs_curvature:
        unit = ""  # a pure number: the curvature brings the unit
    elif spec.relative and not _has_unit(optimizer.learning_rate):
        unit = "of the largest value"
    elif spec.scale is not None and not _has_unit(optimizer.learning_rate):
        unit = "of its natural scale"
    return Refinement(
        parameter=name,
        values=values,
        refined=True,
        start=settings.start,
        stop=settings.stop,
        every=settings.every,
        epochs=sum(settings.active(epoch) for epoch in range(epochs)),
        optimizer=_in_words(optimizer, ("learning_rate",), changed=True),
        learning_rate=optimizer.rate(spec.unit),
        rate_unit=unit,
        schedule=_in_words(settings.schedule or spec.default_schedule(), changed=True),
    )


def _has_unit(learning_rate: float | str) -> bool:
    return isinstance(learning_rate, str) and any(c.isalpha() and c not in "eE" for c in learning_rate)


def _shape(made: Draft, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of a parameter's values in the run: complex ones and images follow its precision."""
    single = made.config.run.precision == "single"
    if name == "object":
        return made.object_shape, np.dtype(np.complex64 if single else np.complex128)
    start = made.starts[name]
    if np.iscomplexobj(start):
        return start.shape, np.dtype(np.complex64 if single else np.complex128)
    return start.shape, np.dtype(np.float32 if single and start.ndim > 2 else np.float64)


def _unknowns(made: Draft) -> dict[str, Unknown]:
    """What each parameter keeps; the store keeps the optimizer of the object even where it is not refined."""
    return {
        name: Unknown(*_shape(made, name), made.optimizer(name) if settings.refine or name == "object" else None)
        for name, settings in made.settings.items()
    }


def _work(made: Draft, ranks: int = 1) -> Work:
    model, recipe = made.config.forward_model, made.config.recipe
    moved = [name for name, spec in model.refinable.items() if spec.window_relative and name in made.settings]
    refined = [name for name in moved if made.settings[name].refine]
    modes, window = len(made.starts["probe"]) if "probe" in made.starts else 1, made.dataset.window_px
    chunk = max(1, CHUNK_PIXELS // (modes * int(np.prod(window)) * int(np.prod(made.object_shape[2:]))))
    by_curvature = [n for n, each in made.settings.items() if each.refine and made.optimizer(n).needs_curvature]
    # Automatic differentiation finds the gradient of the distance.
    plain = "propagation_distance" in made.settings and made.settings["propagation_distance"].refine
    return Work(
        batch=min(-(-max(_batch_sizes(made)) // ranks), chunk),
        modes=modes,
        window_px=window,
        fused=made.on_host and not plain and bool(getattr(model, "fused", False)) and recipe.loss.code is not None,
        near_field=_regime(made) == "near_field",
        shifted=bool(refined) or any((made.starts[name] % 1).any() for name in moved),
        moving=bool(refined),
        curved_positions=bool(set(refined) & set(by_curvature)),
        curved=bool(by_curvature),
    )


def _ranks() -> int:
    """On how many ranks the run would be now."""
    start = launched()
    return 1 if start is None else start[0]


def _memory(made: Draft, store: str, ranks: int) -> tuple[MemoryItem, ...]:
    run = made.config.run
    place = Place(store, ranks, run.memory if store == "h5" else None)
    regularized = any(each.parameter == "object" for each in made.config.recipe.regularizers)
    return memory(made.dataset, _unknowns(made), _work(made, ranks), run.precision, regularized, place)


def _stores(made: Draft) -> Iterator[Fact]:
    """What each store takes of a rank's memory on a few numbers of ranks."""
    for store in ("dp", "do", "h5"):
        sizes = {n: sum(item.n_bytes for item in _memory(made, store, n)) for n in sorted({1, 4, 16, 64, _ranks()})}
        text = ", ".join(f"{size_text(size)} on {n}" for n, size in sizes.items())
        yield Fact(f"{store}_bytes_per_rank", f"{store}, a rank", {str(n): size for n, size in sizes.items()}, text)
    real = 4 if made.config.run.precision == "single" else 8
    size = sum(item.n_bytes for item in object_items(_unknowns(made)["object"], real))
    yield Fact("h5_file_bytes", "h5, on the disk", size, size_text(size))


def _transforms(made: Draft, work: Work) -> Iterator[Fact]:
    n, epochs = made.dataset.n_patterns, made.config.run.epochs
    (ny, nx), operations = work.window_px, work.operations(n)
    count = work.transforms * n * work.modes
    text = f"{count} of {ny} x {nx} an epoch, {work.transforms} for each of {n * work.modes} exit waves"
    yield Fact("transforms_per_epoch", "Fourier transforms", count, text)
    yield Fact(
        "operations_per_epoch", "operations", operations, f"{operations:.3g} an epoch, {epochs * operations:.3g} in all"
    )
