"""The probe as a refinable parameter of all scanning models, and its start."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from adorym.data.upsampling import spread
from adorym.errors import ConfigError
from adorym.extension import user_code
from adorym.forward.first_probe import search_probe
from adorym.forward.scans import each_scan, pattern_counts, rows_of_scans
from adorym.optics.geometry import regime_of
from adorym.optics.modes import orthogonalize, scale_power, seed_modes
from adorym.optics.probe_search import AutoProbe
from adorym.optics.probes import DataProbe, InitialProbe, MeanPatternProbe
from adorym.parameters import Parameter, ParameterSettings
from adorym.preconditioners import Preconditioner
from adorym.registry import component
from adorym.schema import ComponentOf

PROBE = "probe"


@component
class ProbeSettings(ParameterSettings):
    """How the probe starts and is refined.

    Attributes:
        initial: Start probe; if absent, the probe of the data file, else one searched in the patterns (``auto``), or in
            the near field the mean pattern propagated back to the sample (``mean_pattern``).
        modes: Number of mutually incoherent modes; 1 if absent, or as many as a result has that the run starts from.
        seeding: How the added modes start: the first mode times polynomials (``hermite``), times a smooth
            random phase (``random``), or shifted copies (``shifted``).
        first_fraction: Fraction of the total power that the first mode starts with; the others share the rest.
        power: Start power in counts per pattern; that of the mean pattern if absent.
        variations: Number of orthogonal waves by which the probe changes during the scan, with a weight per pattern
            (parameters ``probe_variations`` and ``variation_weights``).
        per: Each ``scan`` of several has a probe of its own, which starts from its own patterns, or there is one for
            the whole ``run``. If absent: each scan, where the object is the same for all of them.
    """

    initial: Annotated[InitialProbe | None, ComponentOf("probe")] = None  # type: ignore[assignment]
    modes: int | None = Field(None, ge=1)
    seeding: Literal["hermite", "random", "shifted"] = "hermite"
    first_fraction: float = Field(0.6, gt=0, le=1)
    power: float | None = Field(None, gt=0)
    variations: int = Field(0, ge=0)
    per: Literal["scan", "run"] | None = None

    def first(self, dataset: Any) -> InitialProbe:
        """What makes the start probe: as configured, else the probe of the data, else a search in the patterns."""
        if self.initial is not None:
            return self.initial
        if dataset.start_probe is not None:
            return DataProbe()
        return AutoProbe() if regime_of(dataset) == "far_field" else MeanPatternProbe()

    @property
    def wanted_modes(self) -> int:
        """Number of modes of this run."""
        return self.modes or 1

    def notices(self, where: str, dataset: Any) -> Iterator[str]:
        given = dataset.start_probe if self.initial is None else None
        there = 1 if given is None else given.shape[-3]
        if self.per is not None and dataset.n_angles == 1:
            yield f"{where}.per: has no effect: there is one scan"
        if self.wanted_modes < there:
            yield f"{where}.modes: {self.wanted_modes} of the {there} modes of the start probe in the data are used"
        if self.wanted_modes <= there:
            for key, default in (("seeding", "hermite"), ("first_fraction", 0.6)):
                if getattr(self, key) != default:
                    yield f"{where}.{key}: has no effect: no modes are added"


def with_scans(settings: Mapping[str, Any], dataset: Any) -> dict[str, Any]:
    """``settings`` that say whether each scan has its own probe."""
    probe, several = settings[PROBE], dataset.n_angles > 1
    return {**settings, PROBE: replace(probe, per=(probe.per or "scan") if several else "run")}


def start_probe(bound: Any, settings: ProbeSettings, rng: np.random.Generator) -> np.ndarray:
    """``(modes, y, x)`` complex128 whose power is the number of photons of the beam per pattern.

    That is ``settings.power``, else the model's ``beam_counts``, else the counts of the mean pattern. Where each scan
    has its own, ``(scans, modes, y, x)``.

    Raises:
        ConfigError: The start probe does not fit the patterns, or has no power.
    """
    dataset = bound.dataset
    if settings.per == "scan" and "probe_variations" not in bound.model.refinable:
        what = f"a '{bound.model.kind}' has one probe for all angles"
        raise ConfigError("parameters.probe.per", what, expected="'run', or a forward model of 'ptychography'")
    if settings.per != "scan":
        dataset = (
            next(each_scan(dataset)) if dataset.start_probe is not None and dataset.start_probe.ndim == 4 else dataset
        )
        return _start_of(bound, dataset, settings, rng, bound.counts.per_pattern)
    counts = pattern_counts(dataset)
    share = [counts[rows].mean() / counts.mean() for rows in rows_of_scans(dataset)]
    return np.array([
        _start_of(bound, each, settings, rng, bound.counts.per_pattern * part)
        for each, part in zip(each_scan(dataset), share, strict=True)
    ])  # fmt: skip


def _start_of(bound: Any, dataset: Any, settings: ProbeSettings, rng: np.random.Generator, counts: float) -> np.ndarray:
    """``(modes, y, x)`` of patterns with so many ``counts`` each that share a probe."""
    if settings.variations and "probe_variations" not in bound.model.refinable:
        what = f"a '{bound.model.kind}' has a probe that does not vary"
        raise ConfigError("parameters.probe.variations", what, expected="0, or a forward model of 'ptychography'")
    initial = settings.first(dataset)
    with user_code(initial, method="make"):
        modes = np.asarray(initial.make(spread(dataset)), np.complex128)
    if modes.ndim != 3 or modes.shape[1:] != dataset.window_px:
        raise ConfigError(
            "parameters.probe.initial",
            "the probe does not fit the patterns",
            expected=f"(modes, {dataset.window_px[0]}, {dataset.window_px[1]})",
            found=modes.shape,
        )
    power = settings.power or bound.beam_counts or counts
    return scale_power(with_modes(modes, settings, rng), 1.0) * math.sqrt(power)


def with_modes(modes: np.ndarray, settings: ProbeSettings, rng: np.random.Generator) -> np.ndarray:
    """As many modes as the settings want: the first of ``modes``, or all of them and new ones, with their power."""
    wanted = settings.wanted_modes
    return seed_modes(modes[:wanted], wanted, settings.seeding, rng, settings.first_fraction)


def probe_modes(settings: Any) -> int:
    """Number of probe modes in the settings; 1 if there is no probe."""
    found = settings.get("probe")
    return found.wanted_modes if isinstance(found, ProbeSettings) else 1


def probe_parameter(preconditioner: Preconditioner) -> Parameter:
    """The probe modes as a refinable parameter; the result holds them orthogonal, the strongest first."""
    return Parameter(
        unit="sqrt(photon)",
        help="probe modes; their squared moduli sum to the photons per pattern",
        start=start_probe,
        search=search_probe,
        optimizer={"kind": "preconditioned", "learning_rate": 0.3, "regularization": 0.1, "momentum": 0.9},
        refined=True,
        relative=True,
        settings=ProbeSettings,
        preconditioner=preconditioner,
        export=lambda modes: orthogonalize(modes).astype(np.complex64),
    )
