"""The probe as a refinable parameter: its first modes, shared by all scanning models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from adorym.data.dataset import Dataset
from adorym.errors import ConfigError
from adorym.optics.modes import scale_power, seed_modes
from adorym.optics.probes import DataProbe, InitialProbe, MeanPatternProbe
from adorym.parameters import Parameter, ParameterSettings
from adorym.registry import component
from adorym.schema import ComponentOf


@component
class ProbeSettings(ParameterSettings):
    """How the probe starts and is refined.

    Attributes:
        initial: First probe; the one that came with the data if there is one, else from the mean pattern.
        modes: Number of mutually incoherent modes.
        seeding: How the added modes start: the first mode times polynomials (``hermite``), times a smooth
            random phase (``random``), or shifted copies (``shifted``).
        first_fraction: Fraction of the total power that the first mode starts with; the others share the rest.
        power: Start power in counts per pattern; that of the mean pattern if absent.
    """

    initial: Annotated[InitialProbe | None, ComponentOf("probe")] = None  # type: ignore[assignment]
    modes: int = Field(1, ge=1)
    seeding: Literal["hermite", "random", "shifted"] = "hermite"
    first_fraction: float = Field(0.6, gt=0, le=1)
    power: float | None = Field(None, gt=0)


def start_probe(model: Any, dataset: Dataset, settings: ProbeSettings, rng: np.random.Generator) -> np.ndarray:
    """``(modes, y, x)`` complex128 whose modes together carry ``settings.power``, or 1 where that is absent.

    Raises:
        ConfigError: The first probe does not fit the patterns, or has no power.
    """
    initial = settings.initial
    if initial is None:
        initial = MeanPatternProbe() if dataset.start_probe is None else DataProbe()
    modes = np.asarray(initial.make(dataset), np.complex128)
    if modes.ndim != 3 or modes.shape[1:] != dataset.window_px:
        raise ConfigError(
            "parameters.probe.initial",
            "the probe does not fit the patterns",
            expected=f"(modes, {dataset.window_px[0]}, {dataset.window_px[1]})",
            found=modes.shape,
        )
    seeded = seed_modes(modes[: settings.modes], settings.modes, settings.seeding, rng, settings.first_fraction)
    return scale_power(seeded, settings.power or 1.0)


def probe_parameter() -> Parameter:
    """The probe modes as a refinable parameter."""
    return Parameter(
        unit="sqrt(photon)",
        help="probe modes; the square of all of them sums to the photons in a pattern",
        start=start_probe,
        optimizer={"kind": "preconditioned", "learning_rate": 0.3, "regularization": 0.1, "momentum": 0.9},
        refined=True,
        relative=True,
        settings=ProbeSettings,
    )
