r"""Objects that change while they are measured: a few basis objects, with coefficients for each pattern.

.. math:: O(r, t_j) = \sum_{k=0}^{K-1} c_{jk}\, O_k(r), \qquad c_{jk}\ \text{real}.

All patterns together determine K objects, not one for each moment. The coefficients start as smooth functions of time,
the first of them 1; they may be refined. Any invertible mixture of the basis objects describes the same patterns:
coefficients keep what is not a mixture of their start values. In arrays of the object the basis objects lie one after
the other along the last axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from adorym.data.dataset import Dataset
from adorym.errors import ConfigError, DataError
from adorym.parameters import OBJECT, Derived, Parameter, ParameterSettings
from adorym.preconditioners import Blocks
from adorym.registry import component
from adorym.wrapper.base import Array, Backend

TIME, TIMES = "time_course", "times"


@component
class TimeSettings:
    """How an object changes while it is measured.

    Attributes:
        basis: Number of basis objects.
        functions: Functions of time that their coefficients start as: ``cosine``, or Legendre ``polynomial``.
    """

    basis: int = Field(ge=2)
    functions: Literal["cosine", "polynomial"] = "cosine"


def time_settings(settings: Mapping[str, ParameterSettings]) -> TimeSettings | None:
    """How the object changes; ``None`` if it does not."""
    return getattr(settings.get(OBJECT), "time", None)


def basis_objects(settings: Mapping[str, ParameterSettings]) -> int:
    """Number of basis objects; 1 of an object that does not change."""
    found = time_settings(settings)
    return 1 if found is None else found.basis


def moments(dataset: Dataset) -> Derived:
    """``(n,)`` times of the patterns: as the data state them, in seconds, else their numbers in the data.

    Raises:
        DataError: They are not one number for each pattern, or do not differ.
    """
    given = dataset.extra.get(TIMES)
    times = np.asarray(dataset.pattern_numbers if given is None else given, np.float64)
    if times.shape != (dataset.n_patterns,) or not np.isfinite(times).all() or not np.ptp(times) > 0:
        raise DataError(
            dataset.path, "the times of the patterns tell no course of time",
            expected=f"{dataset.n_patterns} different times in extra/{TIMES}", found=f"an array {times.shape}",
            remedy=f"mend extra/{TIMES}, or leave it out: times then are the numbers of the patterns",
        )  # fmt: skip
    return Derived(times, "" if given is None else "s")


def time_course(bound: Any) -> dict[str, Derived]:
    """The times of the patterns, for the result of an object that changes."""
    return {TIMES: moments(bound.dataset)} if TIME in bound.settings else {}


def _start(bound: Any, settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    asked = time_settings(bound.settings)
    if asked is None:
        remedy = "give 'parameters.object.time', for example {basis: 3}, or leave it out"
        raise ConfigError(f"parameters.{TIME}", "has no effect: the object does not change", remedy=remedy)
    if bound.dataset.growing:
        remedy = "reconstruct once the scan has ended, or leave it out"
        raise ConfigError("parameters.object.time", "the scan grows, and its end is not known yet", remedy=remedy)
    if asked.basis >= bound.dataset.n_patterns:
        raise ConfigError(
            "parameters.object.time.basis", "as many basis objects as patterns",
            expected=f"less than {bound.dataset.n_patterns}, much less", found=asked.basis,
        )  # fmt: skip
    times = moments(bound.dataset).value
    part = (times - times.min()) / np.ptp(times)
    if asked.functions == "cosine":
        return np.cos(np.pi * part[:, None] * np.arange(asked.basis))
    return np.polynomial.legendre.legvander(2 * part - 1, asked.basis - 1)


def without_mixtures(values: Array, first: Array) -> Array:
    """Gauge of coefficients ``(n, K)``: their change is orthogonal to their start values."""
    change, axes = values - first, list[Array]()
    for k in range(first.shape[1]):
        column = first[:, k]
        for axis in axes:
            column = column - (axis * column).sum() * axis
        axes.append(column / (column * column).sum() ** 0.5)
    for axis in axes:
        change = change - axis[:, None] * (axis[:, None] * change).sum(0)
    return first + change


TEMPORAL: dict[str, Parameter] = {
    TIME: Parameter(
        help="coefficient of each basis object of 'parameters.object.time' in each pattern",
        start=_start,
        per="pattern",
        optimizer={"kind": "preconditioned", "learning_rate": 0.5, "regularization": 1e-2, "maximum_step": 0.1},
        optional=True,
        implied=lambda settings: time_settings(settings) is not None,
        gauge=without_mixtures,
        preconditioner=Blocks(),
    )
}


# -- in a model --------------------------------------------------------------------------------------------------------
def parts(obj: Array, params: Mapping[str, Array]) -> list[Array]:
    """The basis objects ``(..., z)`` of ``obj`` ``(..., K z)``; the object itself if it does not change."""
    number = params[TIME].shape[1] if TIME in params else 1
    depth = obj.shape[-1] // number
    return [obj[..., k * depth : (k + 1) * depth] for k in range(number)]


def superposed(each: Sequence[Array], params: Mapping[str, Array]) -> Array:
    """``(n, y, x)`` sum of what the basis objects give, ``(n, y, x)`` each, with the coefficients of the patterns."""
    if TIME not in params:
        return each[0]
    return sum(params[TIME][:, k, None, None] * part for k, part in enumerate(each))


def at_present(xp: Backend, obj: Array, params: Mapping[str, Array]) -> Array:
    """A thin object ``(n, y, x)`` as the patterns see it, from windows ``(n, y, x, K)`` of its basis objects."""
    return superposed(xp.unstack(obj, -1), params) if TIME in params else obj


def weights(xp: Backend, params: Mapping[str, Array]) -> Array:
    r"""``(n, K)`` factors :math:`|c_k| \sum_l |c_l|`, by which the curvature of a sum bounds those of its parts."""
    size = xp.abs(params[TIME])
    return size * xp.sum(size, axis=1, keepdims=True)
