r"""Start objects from near-field holograms by classical linear phase retrieval.

With :math:`O = e^{-b + i\varphi}`, a distance z and :math:`\chi = \pi\lambda z f^2`, the spectrum of a hologram over
the incident intensity is to first order in b and :math:`\varphi`

.. math:: \hat I / I_0 = \delta(f) - 2\cos\chi\;\hat b + 2\sin\chi\;\hat\varphi ,

the *contrast transfer function* (Cloetens et al., Appl. Phys. Lett. 75, 2912 (1999), eq. (1)). Several distances are
solved by regularized least squares, frequency by frequency. For one material :math:`\varphi = -\kappa b`,
:math:`\kappa = \delta/\beta`. Where :math:`\chi \ll 1` the sine is :math:`\chi`, the cosine 1, which is the *transport
of intensity*; for one material and one distance it has the solution of Paganin et al. (J. Microsc. 206, 33 (2002), eq.
(10)), which holds for strong absorption as well.

Holograms are assumed to be aligned. Several magnifications are resampled to the finest pixel. Outside the field of view
the edge values are continued.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal

import numpy as np
import scipy  # its slow parts load at their first use
from pydantic import Field

from adorym.data.dataset import Dataset
from adorym.errors import ConfigError
from adorym.forward.hologram_material import find_material
from adorym.forward.hologram_series import series_of, solve
from adorym.forward.object import Initializer
from adorym.optics.propagation import angular_spectrum_rate_rad_per_m, fresnel_rate_rad_per_m
from adorym.registry import component, register

Positive = Annotated[float, Field(gt=0)]
# Smallest intensity before the logarithm, relative to the incident intensity.
DARKEST = 1e-3


@component
class LinearRetrieval(Initializer):
    """Linear phase retrieval; a subclass defines the transfer function.

    Attributes:
        sample: ``absorbing``: absorption and phase are independent (two distances or more); ``transparent``: no
            absorption; ``homogeneous``: one material.
        kappa: delta / beta of a homogeneous sample.
        regularization: Added to the squared transfer function.
        logarithm: Work on the logarithm of the intensities.
    """

    expensive: ClassVar[bool] = True

    sample: Literal["absorbing", "transparent", "homogeneous"] = "absorbing"
    kappa: Positive | None = None
    regularization: Positive = 1e-3
    logarithm: bool = True

    def __post_init__(self) -> None:
        if (self.sample == "homogeneous") != (self.kappa is not None):
            what = "absent: a homogeneous sample needs it" if self.kappa is None else "has no effect for this sample"
            raise ConfigError("kappa", what, expected="delta / beta, with 'sample: homogeneous'")

    def make(self, dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        series = series_of(dataset, shape)
        cosine, sine = self.transfer(series.chi)
        pictures = np.maximum(series.pictures, DARKEST)
        # To first order ln I = I - 1; the logarithm keeps products of transmissions sums.
        signal = scipy.fft.fft2(np.log(pictures) if self.logarithm else pictures - 1)
        if self.sample == "transparent":
            (phase,) = solve(series, [2 * sine], signal, self.regularization)
            return np.exp(1j * phase)
        if self.sample == "homogeneous":
            assert self.kappa is not None  # checked by `__post_init__`
            (phase,) = solve(series, [2 * sine + 2 * cosine / self.kappa], signal, self.regularization)
            return np.exp(phase / self.kappa + 1j * phase)
        absorption, phase = solve(series, [-2 * cosine, 2 * sine], signal, self.regularization)
        return np.exp(-absorption + 1j * phase)

    @abstractmethod
    def transfer(self, chi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Transfer of absorption and of phase, over 2."""


@register("initializer", "contrast_transfer")
class ContrastTransfer(LinearRetrieval):
    """Contrast transfer function: one or several distances, weakly or slowly varying objects.

    Over all frequencies the squared transfer function is about 2 on average.
    """

    def transfer(self, chi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.cos(chi), np.sin(chi)


@register("initializer", "transport_of_intensity")
class TransportOfIntensity(LinearRetrieval):
    """Transport of intensity: short distances, where an edge has one fringe."""

    def transfer(self, chi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.ones_like(chi), chi


@register("initializer", "paganin")
class Paganin(Initializer):
    """One material, one distance, transport of intensity, strong absorption allowed; several distances are averaged.

    Attributes:
        kappa: delta / beta.
    """

    expensive: ClassVar[bool] = True

    kappa: Positive

    def make(self, dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        series = series_of(dataset, shape)
        spectra = scipy.fft.fft2(np.maximum(series.pictures, 0)) / (1 + self.kappa * series.chi)
        absorption = -0.5 * np.log(np.maximum(scipy.fft.ifft2(spectra).real, DARKEST**2)).mean(0)
        return np.exp(-(1 + 1j * self.kappa) * absorption)


@register("initializer", "one_material")
class OneMaterial(Initializer):
    """One material at one or several distances, without linearization; delta over beta is fitted, too.

    Gauss-Newton steps from the homogeneous contrast transfer function: `adorym.forward.hologram_material`.

    Attributes:
        kappa: delta / beta to start from, which may be wrong by a factor of ten.
        surroundings: Whether the object beyond the field of view is ``refined`` or ``vacuum``.
    """

    expensive: ClassVar[bool] = True

    kappa: Positive
    surroundings: Literal["refined", "vacuum"] = "vacuum"

    def make(self, dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return find_material(dataset, shape, self.kappa, self.surroundings == "vacuum").transmission


@register("initializer", "back_propagation")
class BackPropagation(Initializer):
    """The holograms' amplitudes, propagated back to the object and averaged; the twin image remains.

    The start is sharp at the given distances: if these are refined, start from vacuum instead.

    Attributes:
        propagation: ``fresnel`` or ``angular_spectrum``.
    """

    expensive: ClassVar[bool] = True

    propagation: Literal["fresnel", "angular_spectrum"] = "angular_spectrum"

    def make(self, dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        series = series_of(dataset, shape)
        rate, passes = fresnel_rate_rad_per_m(series.grid), np.ones(series.grid.window_px, bool)
        if self.propagation == "angular_spectrum":
            rate, passes = angular_spectrum_rate_rad_per_m(series.grid)
        amplitudes = np.sqrt(np.maximum(series.pictures, 0))
        back = scipy.fft.fft2(amplitudes) * np.exp(1j * series.distances_m[:, None, None] * rate) * passes
        return scipy.fft.ifft2(back).mean(0)
