"""`adorym inspect`: the contents of a data file, and what is suspicious about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group
from rich.text import Text

from adorym.commands.needs import distances, lacks_of_map, likely, missing, model_of, starting_configuration
from adorym.commands.plan import columns, length_facts
from adorym.data.checks import CountStatistics, count_statistics, faults, repaired
from adorym.data.containers import ArrayInfo, Container, opened
from adorym.data.dataset import Dataset
from adorym.data.judgements import Judgement, judge, shown_places
from adorym.data.links import links_out
from adorym.data.open import open_dataset, raw_of
from adorym.data.overrides import Overrides
from adorym.data.pictures import is_series
from adorym.data.projection_survey import sinogram
from adorym.data.readers.base import Raw
from adorym.data.sources import PathLike, source_of
from adorym.data.suggest import suggest_map
from adorym.data.survey import ORIENTATIONS
from adorym.errors import DataError
from adorym.optics.geometry import Geometry


@dataclass(frozen=True, kw_only=True)
class Inspection(Judgement):
    """Findings about a data file.

    Attributes:
        path: The file.
        format: Name of the reader; ``unknown`` if none recognizes the file.
        arrays: Every array in the file, unconverted.
        geometry: Lengths, angles and energy with their units; only those that are known.
        n_patterns: Number of patterns, 0 if they could not be read.
        window_px: (y, x) size of a pattern.
        counts: Statistics of the counts.
        notes: Decisions of the reader.
        problems: Errors that prevent the use of the file.
        suggested_map: Entries for ``--map`` of an unknown file.
        missing: What a run of each technique lacks: keys of the section ``data``.
        configuration: A configuration to begin with, YAML.
    """

    path: str
    format: str
    arrays: tuple[ArrayInfo, ...]
    geometry: dict[str, str] = field(default_factory=dict)
    n_patterns: int = 0
    window_px: tuple[int, int] = (0, 0)
    counts: CountStatistics | None = None
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    suggested_map: tuple[str, ...] = ()
    missing: dict[str, tuple[str, ...]] = field(default_factory=dict)
    configuration: str = ""

    def render(self) -> Group:
        """The findings as tables for a terminal."""
        words = {"unknown": "no known format", "refused": "a known format, but it cannot be used as it is"}
        table = columns("array", "shape", "type", "unit")
        for info in self.arrays:
            shape = " x ".join(map(str, info.shape)) or "scalar"
            kind = f"a link to nowhere: {info.lost}" if info.lost else info.dtype
            table.add_row(*map(Text, (info.key, shape, kind, info.unit)))
        title = words.get(self.format, f"format '{self.format}'")
        parts: list[Any] = [Text(f"{self.path}: {title}"), table]
        if facts := _facts(self):
            table = columns("", "")
            for name, value in facts.items():
                table.add_row(Text(name, style="bold"), Text(value))
            parts += [Text(), table]
        for title, style, lines in (
            ("Notes", "dim", self.notes),
            ("Looks wrong", "yellow", self.hints),
            ("Problems", "red", self.problems),
        ):
            if lines:
                parts += [Text(), Text(title, style="bold"), *(Text(f"  {line}", style=style) for line in lines)]
        if self.suggested_map:
            entries = " ".join(f"--map '{entry}'" if " " in entry else f"--map {entry}" for entry in self.suggested_map)
            parts += [Text(), Text("A first guess, to be checked:", style="bold")]
            parts.append(Text(f"  adorym convert {self.path} OUT.h5 {entries}"))
        if self.missing:
            table = columns("", "")
            for name, keys in self.missing.items():
                table.add_row(Text(name), Text(", ".join(f"data.{key}" for key in keys) or "nothing"))
            parts += [Text(), Text("Missing for a run of", style="bold"), table]
        if self.configuration:
            parts += [Text(), Text("To begin with:", style="bold"), Text(self.configuration)]
        return Group(*parts)


def inspect(path: PathLike, overrides: Mapping[str, Any] | Overrides | None = None) -> Inspection:
    """Inspect a data file, or all that a run takes as data. Patterns are read once, block by block.

    A file that no reader recognizes or accepts is inspected as far as possible; the reason is in ``problems``.

    Raises:
        DataError: The file is missing, damaged, or holds no arrays.
        ConfigError: An override is wrong.
    """
    wanted, source = Overrides.of(overrides), source_of(path)
    container = opened(source.files)
    name = str(path) if isinstance(path, str | Path) else ", ".join(map(str, path))
    arrays = tuple(container.arrays.values())
    try:
        raw, _, known, _ = raw_of(path, wanted)
    except DataError as error:
        return _refused(name, container, error, wanted)
    elsewhere = links_out(source.files)
    wanted, lacks, configuration = _draft(path, raw, known, wanted)
    try:
        dataset = open_dataset(path, wanted, check=False)
    except DataError as error:
        return Inspection(path=name, format="refused", arrays=arrays, notes=(*raw.notes, *elsewhere),
                          problems=(error.message(),), missing=lacks, configuration=configuration)  # fmt: skip
    statistics = count_statistics(dataset)
    try:
        mended, remaining = repaired(dataset, wanted, statistics)
    except DataError:  # nothing is left
        mended, remaining = dataset, statistics
    found = judge(mended, statistics=remaining)
    return Inspection(
        path=name,
        format=dataset.format,
        arrays=arrays,
        geometry=_geometry(dataset),
        n_patterns=dataset.n_patterns,
        window_px=dataset.window_px,
        counts=statistics,
        notes=(*mended.notes, *elsewhere),
        problems=tuple(f"{each.what}, {each.found} (data.bad_counts)" for each in faults(mended, remaining)),
        missing=lacks,
        configuration=configuration,
        **vars(found),
    )


def _draft(
    path: PathLike, raw: Raw, known: Overrides, wanted: Overrides
) -> tuple[Overrides, dict[str, tuple[str, ...]], str]:
    """The overrides, as a sinogram needs them if the data are one; what is missing; a configuration to begin with."""
    lacks, more, single = missing(raw, known), [], raw.patterns.shape[0] == 1 and not wanted.sinograms
    found = sinogram(raw.patterns.read(np.zeros(1, int))[0]) if single else None
    if found is None:
        technique = likely(raw, lacks)
        model, many = model_of(technique, raw), distances(raw) if technique.startswith("holo") else 1
    else:
        technique, many, more = (
            "tomography",
            1,
            ["sinograms: true", *["measured: line_integrals"] * found.line_integrals],
        )
        model = technique if found.line_integrals else f"{{kind: tomography, incident: {found.level:.6g}}}"
        wanted = replace(wanted, sinograms=True, measured="line_integrals" if found.line_integrals else wanted.measured)
        lacks["tomography"] = tuple(key for key in lacks["tomography"] if key != "white")
    settings = tuple(wanted.map)
    return wanted, lacks, starting_configuration(_in_yaml(path), model, lacks[technique], settings, many, more)


def _refused(name: str, container: Container, error: DataError, wanted: Overrides) -> Inspection:
    """A file that cannot be read as it is, with what its arrays may be."""
    unknown = container.kind != "hdf5" or "no reader recognizes" in error.what
    entries = tuple(suggest_map(container)) if unknown and not wanted.map else ()
    stack = next(
        (container.arrays.get(each.partition("=")[2]) for each in entries if each.startswith("patterns=")), None
    )
    lacks = lacks_of_map(entries, stack is not None and len(stack.shape) == 4) if entries else {}
    return Inspection(
        path=name,
        format="unknown" if unknown else "refused",
        arrays=tuple(container.arrays.values()),
        problems=(error.message(),),
        suggested_map=entries,
        missing=lacks,
        configuration=starting_configuration(name, "ptychography", lacks["ptychography"], entries) if lacks else "",
    )


def _in_yaml(path: PathLike) -> str:
    if isinstance(path, str | Path):
        return f"'{path}'" if is_series(path) else str(path)
    return "[" + ", ".join(map(str, path)) + "]"


def _geometry(dataset: Dataset) -> dict[str, str]:
    known = {fact.name: fact.text for fact in length_facts(Geometry.of(dataset), dataset.voltage_v)}
    if dataset.propagation_distance_m is not None:
        distances = ", ".join(f"{value:.6g}" for value in dataset.propagation_distance_m)
        known["propagation"] = f"near field, effective distance {distances} m"
    if dataset.n_angles > 1:
        low, high = np.rad2deg([dataset.theta_rad.min(), dataset.theta_rad.max()])
        known["rotation"] = f"{dataset.n_angles} angles, {low:.6g} to {high:.6g} deg"
    return known


def _facts(found: Inspection) -> dict[str, str]:
    """The findings, one per line."""
    if not found.n_patterns or found.counts is None:
        return {}
    counts, window = found.counts, found.window_px
    facts = {"patterns": f"{found.n_patterns} of {window[0]} x {window[1]} px (y, x)", **found.geometry}
    facts["counts"] = (
        f"{counts.minimum:.6g} to {counts.maximum:.6g}, {counts.pattern_sum.mean():.6g} per pattern "
        f"({counts.pattern_sum.min():.6g} to {counts.pattern_sum.max():.6g})"
    )
    if (scan := found.scan) is not None:
        low, high = scan.minimum_px, scan.maximum_px
        facts["positions"] = f"y {low[0]:.6g} to {high[0]:.6g} px, x {low[1]:.6g} to {high[1]:.6g} px"
        if scan.step_px is not None:
            facts["step"] = f"{scan.step_px:.4g} px to the nearest neighbor, on average"
        if scan.overlap is not None:
            diameter = f"effective probe diameter {scan.probe_diameter_px:.4g} px"
            facts["overlap"] = f"{100 * scan.overlap:.0f} % of the diameter ({diameter})"
        else:
            facts["overlap"] = "unknown: no probe in the file"
    if (orientation := found.orientation) is not None:
        misfit = ", ".join(f"{name} {value:.3g}" for name, value in zip(ORIENTATIONS, orientation.misfit, strict=True))
        verdict = "another fits better" if orientation.suspicious else "the file's fits best"
        facts["orientation"] = (verdict if orientation.decided else "undecided") + f" (misfit: {misfit})"
    if (pixels := found.pixels) is not None:
        named = [f"{pixels.bad} masked"]
        for name, where in (("hot", pixels.hot), ("dead", pixels.dead)):
            named.append(f"{len(where)} {name}" + (f" [{shown_places(where)}]" if len(where) else ""))
        facts["pixels"] = ", ".join(named)
    return facts
