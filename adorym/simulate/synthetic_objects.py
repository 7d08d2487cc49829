"""Synthetic objects of four families, made from a seed: what networks for ptychography are trained on.

``dead_leaves``: discs and boxes of power-law sizes that cover each other, with sharp edges at every scale;
``blurred_noise``: white noise under a Gaussian; ``layered_shapes``: many half-transparent discs, rings and lines on top
of each other; ``multi_octave_noise``: smooth noise of several scales, the finer the weaker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, get_args

import numpy as np
import scipy  # its slow parts load at their first use
from pydantic import Field

from adorym.errors import ConfigError
from adorym.registry import component
from adorym.units import Angle

Family = Literal["dead_leaves", "blurred_noise", "layered_shapes", "multi_octave_noise"]
FAMILIES: tuple[Family, ...] = get_args(Family)
Positive = Annotated[float, Field(gt=0)]


@component
class SyntheticObjects:
    """Which objects, with which contrast.

    Attributes:
        families: Families, taken in turn.
        amplitude: (smallest, largest) darkest amplitude relative to the brightest; each object draws its own.
        phase: (smallest, largest) range of the phase of an object.
        correlation: (lowest, highest) correlation of the amplitude's and the phase's picture, from -1 to 1.
    """

    families: tuple[Family, ...] = FAMILIES
    amplitude: tuple[Positive, Positive] = (0.5, 1.0)
    phase: tuple[Angle, Angle] = (0.3, 2.5)
    correlation: tuple[float, float] = (-1.0, 1.0)

    def __post_init__(self) -> None:
        if not self.families:
            raise ConfigError("families", "there are none", expected=f"some of {', '.join(FAMILIES)}")
        for name, low, high in (("amplitude", 0.0, 1.0), ("phase", 0.0, np.inf), ("correlation", -1.0, 1.0)):
            first, last = getattr(self, name)
            if not low <= first <= last <= high:
                raise ConfigError(
                    name, "not a range", expected=f"{low:g} <= smallest <= largest <= {high:g}", found=(first, last)
                )

    def make(self, number: int, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """Object ``number``, ``(y, x)`` complex64 of mean square amplitude 1."""
        family = MAKERS[self.families[number % len(self.families)]]
        first, second = (_stretched(family(shape, rng)) for _ in range(2))
        share = rng.uniform(*self.correlation)
        picture = _stretched(share * (first - first.mean()) + np.sqrt(1 - share**2) * (second - second.mean()))
        darkest, span = rng.uniform(*self.amplitude), rng.uniform(*self.phase)
        amplitude = darkest + (1 - darkest) * first
        made = amplitude * np.exp(1j * span * (picture - 0.5))
        return (made / np.sqrt(np.mean(amplitude**2))).astype(np.complex64)


def dead_leaves(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Discs and boxes that cover each other; the density of the radii falls as their third power."""
    made = np.full(shape, rng.uniform())
    largest, smallest = 0.2 * min(shape), 1.5
    count = int(2.5 * shape[0] * shape[1] / (2 * np.pi * smallest * largest))
    # Inverse of the distribution between the two radii.
    radii = (smallest**-2 - rng.uniform(size=count) * (smallest**-2 - largest**-2)) ** -0.5
    for radius in radii:
        made_here, y, x = _window(made, rng, radius)
        if rng.uniform() < 0.5:
            inside = np.hypot(y, x) <= radius
        else:
            turned, aspect = _turned(y, x, rng), rng.uniform(0.4, 1)
            inside = (np.abs(turned[0]) <= radius * aspect) & (np.abs(turned[1]) <= radius)
        made_here[inside] = rng.uniform()
    return made


def blurred_noise(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """White noise under a Gaussian of 1 to 3 px."""
    return scipy.ndimage.gaussian_filter(rng.uniform(size=shape), rng.uniform(1, 3), mode="wrap")


def layered_shapes(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Half-transparent discs, rings and lines, added up."""
    made = np.zeros(shape)
    for _ in range(shape[0] * shape[1] // 300):
        radius, height = rng.uniform(2, 0.12 * min(shape)), rng.uniform(0.2, 1)
        kind = rng.integers(3)
        made_here, y, x = _window(made, rng, radius if kind < 2 else 2.5 * radius)
        if kind == 2:
            along, across = _turned(y, x, rng)
            covered = np.minimum(2.5 * radius - np.abs(along), rng.uniform(0.7, 2.5) - np.abs(across))
        else:
            covered = radius - np.hypot(y / rng.uniform(0.5, 1), x)
            covered = covered if kind == 0 else np.minimum(covered, rng.uniform(1, 3) - covered)
        made_here += height * np.clip(covered + 0.5, 0, 1)
    return made


def multi_octave_noise(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of several scales: each octave is finer by two and weaker by a drawn factor."""
    made, cells, weight, falls = np.zeros(shape), 2, 1.0, rng.uniform(0.45, 0.75)
    while cells * 2 <= min(shape):
        knots = rng.uniform(size=(cells + 3, cells + 3))
        fine = scipy.ndimage.zoom(knots, [(n + 2 * n / cells) / (cells + 3) for n in shape], order=3, mode="nearest")
        made += weight * fine[: shape[0], : shape[1]]
        cells, weight = cells * 2, weight * falls
    return made


MAKERS: dict[str, Callable[[tuple[int, int], np.random.Generator], np.ndarray]] = {
    "dead_leaves": dead_leaves,
    "blurred_noise": blurred_noise,
    "layered_shapes": layered_shapes,
    "multi_octave_noise": multi_octave_noise,
}


def _stretched(picture: np.ndarray) -> np.ndarray:
    low, high = np.percentile(picture, (0.5, 99.5))
    return np.clip((picture - low) / max(high - low, 1e-12), 0, 1)


def _window(picture: np.ndarray, rng: np.random.Generator, reach: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The part of ``picture`` within ``reach`` of a random place, and its coordinates from there."""
    place = [float(rng.uniform(0, n)) for n in picture.shape]
    rows, columns = (
        slice(max(0, int(p - reach) - 1), min(n, int(p + reach) + 2)) for p, n in zip(place, picture.shape, strict=True)
    )
    y = np.arange(rows.start, rows.stop)[:, None] - place[0]
    x = np.arange(columns.start, columns.stop) - place[1]
    return picture[rows, columns], y, x


def _turned(y: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    angle = rng.uniform(0, np.pi)
    return np.cos(angle) * y + np.sin(angle) * x, np.cos(angle) * x - np.sin(angle) * y
