"""The probe as a refinable parameter of all scanning models, and its start."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from adorym.errors import ConfigError
from adorym.extension import user_code
from adorym.forward.first_probe import search_probe
from adorym.optics.geometry import regime_of
from adorym.optics.modes import orthogonalize, scale_power, seed_modes
from adorym.optics.probe_search import AutoProbe
from adorym.optics.probes import DataProbe, InitialProbe, MeanPatternProbe
from adorym.parameters import Parameter, ParameterSettings
from adorym.preconditioners import Preconditioner
from adorym.registry import component
from adorym.schema import ComponentOf


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
    """

    initial: Annotated[InitialProbe | None, ComponentOf("probe")] = None  # type: ignore[assignment]
    modes: int | None = Field(None, ge=1)
    seeding: Literal["hermite", "random", "shifted"] = "hermite"
    first_fraction: float = Field(0.6, gt=0, le=1)
    power: float | None = Field(None, gt=0)
    variations: int = Field(0, ge=0)

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
        there = 1 if given is None else len(given)
        if self.wanted_modes < there:
            yield f"{where}.modes: {self.wanted_modes} of the {there} modes of the start probe in the data are used"
        if self.wanted_modes <= there:
            for key, default in (("seeding", "hermite"), ("first_fraction", 0.6)):
                if getattr(self, key) != default:
                    yield f"{where}.{key}: has no effect: no modes are added"


def start_probe(bound: Any, settings: ProbeSettings, rng: np.random.Generator) -> np.ndarray:
    """``(modes, y, x)`` complex128 whose power is the number of photons of the beam per pattern.

    That is ``settings.power``, else the model's ``beam_counts``, else the counts of the mean pattern.

    Raises:
        ConfigError: The start probe does not fit the patterns, or has no power.
    """
    dataset = bound.dataset
    if settings.variations and "probe_variations" not in bound.model.refinable:
        what = f"a '{bound.model.kind}' has a probe that does not vary"
        raise ConfigError("parameters.probe.variations", what, expected="0, or a forward model of 'ptychography'")
    initial = settings.first(dataset)
    with user_code(initial, method="make"):
        modes = np.asarray(initial.make(dataset), np.complex128)
    if modes.ndim != 3 or modes.shape[1:] != dataset.window_px:
        raise ConfigError(
            "parameters.probe.initial",
            "the probe does not fit the patterns",
            expected=f"(modes, {dataset.window_px[0]}, {dataset.window_px[1]})",
            found=modes.shape,
        )
    power = settings.power or bound.beam_counts or bound.counts.per_pattern
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
