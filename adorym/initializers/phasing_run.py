"""Phasing of several starts at once: sequence, shrink-wrap, low-pass start, average of the last objects, misfit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from adorym.errors import ConfigError, ConfigErrors, InputError
from adorym.initializers.algorithms import PhasingAlgorithm
from adorym.initializers.sequence import SHRINK_WRAP, TWIN, steps_of
from adorym.optics.support import LARGEST, shrink_wrap
from adorym.registry import component, lookup
from adorym.schema import build
from adorym.schema.messages import prefixed
from adorym.units import Pixels
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.fused.phasing import with_modulus

AXES = (1, 2, 3)


@component
class ShrinkWrapSettings:
    """Shrink-wrap of the support (Marchesini et al., Phys. Rev. B 68, 140101 (2003)).

    Attributes:
        every: Steps between updates; 0 for never.
        start: First step that may be followed by one.
        threshold: A voxel belongs to the support if its blurred amplitude is at least this fraction of the largest.
        sigma: Standard deviation of the blur at the end.
        first_sigma: Standard deviation at the beginning; it decreases over the first half of the steps.
        dilate: Voxels by which the support is dilated after each update.
    """

    every: int = Field(10, ge=0)
    start: int = Field(20, ge=0)
    threshold: float = Field(0.2, gt=0, lt=1)
    sigma: Pixels = Field(1.0, gt=0)
    first_sigma: Pixels = Field(2.0, gt=0)
    dilate: int = Field(0, ge=0)


@component
class LowPass:
    """A start at low resolution: high frequencies of the modulus are damped less and less.

    Attributes:
        steps: Number of steps with damping.
        first: Standard deviation of the first Gaussian, as a fraction of the highest frequency.
    """

    steps: int = Field(100, ge=1)
    first: float = Field(0.2, gt=0, le=1)


@component
class PhasingSettings:
    """Settings of the phasing.

    Attributes:
        sequence: Algorithms and numbers of steps: ``2*(90*HIO + 20*ER) + 20*ER``; ``TWIN`` sets half of the object to
            zero once, ``SW`` updates the support at once.
        algorithms: Settings of algorithms by name, such as ``{hio: {beta: 0.8}}``.
        shrink_wrap: How the support is updated.
        low_pass: Start at low resolution; off if absent.
        average: Number of last steps whose objects are averaged.
    """

    sequence: str = "2*(90*HIO + 20*ER) + 20*ER"
    algorithms: dict[str, dict[str, float]] = Field(default_factory=dict)
    shrink_wrap: ShrinkWrapSettings = ShrinkWrapSettings()
    low_pass: LowPass | None = None
    average: int = Field(20, ge=1)

    def __post_init__(self) -> None:
        steps = {name for name, _ in steps_of(self.sequence)}
        for name in self.algorithms:
            if name.upper() not in steps:
                raise ConfigError(f"algorithms.{name}", "has no effect: it is not in the sequence", found=self.sequence)
        self.stepper()

    def stepper(self) -> dict[str, PhasingAlgorithm]:
        """The algorithms of the sequence, by name in capitals."""
        fields = {name.upper(): values for name, values in self.algorithms.items()}
        made: dict[str, PhasingAlgorithm] = {}
        for name in {name for name, _ in steps_of(self.sequence)} - {SHRINK_WRAP, TWIN}:
            try:
                made[name] = build(lookup("phasing_algorithm", name.lower()), dict(fields.get(name, {})))
            except InputError as error:
                wrong = list(prefixed(error, f"algorithms.{name.lower()}"))
                raise wrong[0] if len(wrong) == 1 else ConfigErrors(wrong) from None
        return made


@dataclass(frozen=True, eq=False)
class Phased:
    """Results of ``n`` starts, ``(n, z, y, x)``, with the crystals in the middle of the array.

    Attributes:
        objects: Complex, zero outside the support, in units of the modulus.
        supports: Bool.
        chi2: ``(n,)`` misfit of the moduli over the measured voxels.
    """

    objects: np.ndarray
    supports: np.ndarray
    chi2: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Phased]) -> Phased:
        """All of ``parts``, one after the other."""
        return cls(*map(np.concatenate, zip(*((p.objects, p.supports, p.chi2) for p in parts), strict=True)))


class Phaser:
    """Retrieves phases from one modulus, for all starts together, on the backend's device.

    Args:
        xp: Backend.
        modulus: ``(z, y, x)``, zero frequency at the middle.
        good: Bool of the same shape; other voxels are not constrained. ``None`` if all are good.
        settings: Settings of the phasing.
    """

    def __init__(self, xp: Backend, modulus: np.ndarray, good: np.ndarray | None, settings: PhasingSettings) -> None:
        self.xp, self.settings = xp, settings
        self.modulus = xp.asarray(np.ascontiguousarray(np.fft.ifftshift(modulus), dtype=np.float64))
        self.good = None if good is None else xp.asarray(np.ascontiguousarray(np.fft.ifftshift(good)))
        self._frequencies = [np.fft.fftfreq(n) for n in modulus.shape]
        self._algorithms = settings.stepper()
        mean = float(np.sqrt(np.mean(np.asarray(modulus, np.float64) ** 2)))
        self._tiny = (1e-6 * mean) ** 2

    def run(self, starts: np.ndarray, supports: np.ndarray) -> Phased:
        """Run the sequence from ``starts`` ``(n, z, y, x)`` complex within ``supports`` bool."""
        xp, wrap = self.xp, self.settings.shrink_wrap
        x, support = xp.asarray(starts), xp.asarray(np.ascontiguousarray(supports))
        schedule = [name for name, count in steps_of(self.settings.sequence) for _ in range(count)]
        total, last = len(schedule), len(schedule) - self.settings.average
        mean = xp.zeros(x.shape, complex_values=True)
        algorithm = next(iter(self._algorithms.values()), None)

        def estimate(x: Array, modulus: Array) -> Array:
            return x if algorithm is None or algorithm.estimates else self.to_modulus(x, modulus)

        for number, name in enumerate(schedule):
            modulus = self._damped(number)
            if name == TWIN:
                x = x * self._half(xp.to_numpy(support))
            elif name == SHRINK_WRAP:
                support = self._follow(support, estimate(x, modulus), self._sigma(number / total))
            else:
                algorithm = self._algorithms[name]
                x = algorithm.step(xp, x, support, lambda a, m=modulus: self.to_modulus(a, m))  # type: ignore[misc]
            done = number + 1
            if wrap.every and done % wrap.every == 0 and wrap.start <= done <= last:
                support = self._follow(support, estimate(x, modulus), self._sigma(number / total))
            if number >= last:
                mean = mean + x
        objects = xp.where(support, mean / min(self.settings.average, total), 0 * mean)
        return Phased(xp.to_numpy(objects), xp.to_numpy(support), self.misfit(objects))

    def to_modulus(self, x: Array, modulus: Array) -> Array:
        """The nearest object whose transform has the given modulus where it was measured."""
        wave = with_modulus(self.xp, self.xp.fftn(x, AXES), modulus, self.good, self._tiny)
        return self.xp.ifftn(wave, AXES)

    def misfit(self, objects: Array) -> np.ndarray:
        """``(n,)`` sum (s |F| - M)^2 / sum M^2 with the best scale of each object."""
        xp = self.xp
        weight = 1.0 if self.good is None else xp.where(self.good, 0 * self.modulus + 1, 0 * self.modulus)
        found, measured = xp.sqrt(xp.abs2(xp.fftn(objects, AXES))) * weight, self.modulus * weight
        power = xp.to_numpy(xp.sum(xp.square(found), axis=AXES)).astype(float)
        cross = xp.to_numpy(xp.sum(found * measured, axis=AXES)).astype(float)
        return 1 - cross**2 / np.maximum(power, 1e-300) / float(xp.sum(xp.square(measured)))

    # -- support -----------------------------------------------------------------------------------------------------
    def _sigma(self, part: float) -> float:
        wrap = self.settings.shrink_wrap
        return wrap.sigma + max(0.0, 1 - 2 * part) * (wrap.first_sigma - wrap.sigma)

    def _follow(self, present: Array, x: Array, sigma: float) -> Array:
        """The support of ``x``, or the ``present`` one where that would grow to most of the array."""
        xp, found = self.xp, self.shrunk(x, sigma)
        sizes = [np.mean(xp.to_numpy(support), axis=AXES, keepdims=True) for support in (found, present)]
        small = sizes[0] <= np.maximum(LARGEST, sizes[1])
        return found if small.all() else xp.where(xp.asarray(small), found, present)

    def shrunk(self, x: Array, sigma: float) -> Array:
        """The support of ``x``: where its blurred amplitude is at least a fraction of the largest."""
        wrap, amplitude = self.settings.shrink_wrap, self.xp.abs(x)
        return shrink_wrap(self.xp, amplitude, sigma, wrap.threshold, AXES, dilate=wrap.dilate)

    def _damped(self, number: int) -> Array:
        low = self.settings.low_pass
        if low is None or number >= low.steps:
            return self.modulus
        width = 0.5 * (low.first + (1 - low.first) * number / low.steps)
        z, y, x = np.meshgrid(*self._frequencies, indexing="ij", sparse=True)
        weaker = np.exp(-0.5 * (z**2 + y**2 + x**2) / width**2 * (1 - number / low.steps))
        return self.modulus * self.xp.asarray(weaker)

    def _half(self, supports: np.ndarray) -> Array:
        """1 in one half of each support, 0 in the other: separates an object from its superimposed twin."""
        kept = np.ones(supports.shape)
        for i, support in enumerate(supports):
            for axis in (0, 1):
                profile = np.cumsum(support.sum(axis=tuple({0, 1, 2} - {axis})))
                middle = int(np.searchsorted(profile, profile[-1] / 2))
                np.moveaxis(kept[i], axis, 0)[middle:] = 0
        return self.xp.asarray(kept)
