r"""The object wave of an off-axis hologram, from its side band.

A reference wave that is tilted by the carrier frequency q against the object wave :math:`\psi` gives the hologram

.. math:: I = |\psi|^2 + |\psi_r|^2 + \psi\,\psi_r^* + \psi^* \psi_r ,

whose third term, :math:`\psi(r)\,e^{2\pi i q r}`, lies around q in Fourier space, away from the first two if q is
more than three times the bandwidth of :math:`\psi` (Leith & Upatnieks, J. Opt. Soc. Am. 52, 1123 (1962)). Cut out
and brought to the middle it is the wave in the plane of the detector; propagated back, the object.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
import scipy  # its slow parts load at their first use
from pydantic import Field

from adorym.data.dataset import Dataset
from adorym.errors import DataError
from adorym.forward.hologram_series import series_of
from adorym.forward.object import Initializer
from adorym.optics.propagation import angular_spectrum_rate_rad_per_m
from adorym.registry import register


@register("initializer", "off_axis")
class OffAxis(Initializer):
    """Side band of one off-axis hologram, propagated back over its distance.

    Attributes:
        carrier: (y, x) frequency of the fringes in cycles per pixel; found as the strongest side band if absent.
        radius: Radius of the band that is cut out, in cycles per pixel; a third of the carrier if absent.
        sign: Which of the two side bands is the object wave, if the carrier is not given.
        reference: Index of a hologram without the object, whose wave is divided out; none if absent.
    """

    expensive: ClassVar[bool] = True

    carrier: tuple[float, float] | None = None
    radius: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    sign: Literal["+", "-"] = "+"
    reference: Annotated[int, Field(ge=0)] | None = None

    def make(self, dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        series = series_of(dataset, shape)
        objects = [i for i in range(len(series.pictures)) if i != self.reference]
        if not objects or (self.reference is not None and self.reference >= len(series.pictures)):
            found = f"{len(series.pictures)} holograms"
            where = "parameters.object.initial.reference"
            raise DataError(where, "leaves no hologram of the object, or is none", found=found)
        picture, distance = series.pictures[objects[0]], float(series.distances_m[objects[0]])
        carrier = self.carrier or self.find_carrier(picture)
        wave = self.side_band(picture, carrier)
        if self.reference is None:
            wave = wave / np.median(np.abs(wave))
        else:
            empty = self.side_band(series.pictures[self.reference], carrier)
            wave = wave / np.where(np.abs(empty) > 1e-3 * np.abs(empty).max(), empty, np.inf)
        rate, passes = angular_spectrum_rate_rad_per_m(series.grid)
        return scipy.fft.ifft2(scipy.fft.fft2(wave) * np.exp(1j * distance * rate) * passes)

    def find_carrier(self, picture: np.ndarray) -> tuple[float, float]:
        """(y, x) frequency of the strongest fringe, in the half plane that ``sign`` says.

        Raises:
            DataError: There is no fringe that stands out.
        """
        window = np.hanning(picture.shape[0])[:, None] * np.hanning(picture.shape[1])
        spectrum = np.abs(scipy.fft.fft2((picture - picture.mean()) * window))
        f_y, f_x = scipy.fft.fftfreq(picture.shape[0])[:, None], scipy.fft.fftfreq(picture.shape[1])
        half = (f_x > 0) | ((f_x == 0) & (f_y > 0)) if self.sign == "+" else (f_x < 0) | ((f_x == 0) & (f_y < 0))
        spectrum = np.where(half & (np.hypot(f_y, f_x) > 0.05), spectrum, 0)
        y, x = np.unravel_index(int(spectrum.argmax()), spectrum.shape)
        if spectrum[y, x] < 20 * np.median(spectrum[spectrum > 0]):
            remedy = "give the carrier of the fringes, or another method for in-line holograms"
            raise DataError("parameters.object.initial", "the hologram has no carrier fringes", remedy=remedy)
        return float(f_y[y, 0]), float(f_x[x])

    def side_band(self, picture: np.ndarray, carrier: tuple[float, float]) -> np.ndarray:
        """The wave ``(y, x)`` complex that the fringes of ``carrier`` modulate."""
        y, x = np.indices(picture.shape)
        spectrum = scipy.fft.fft2(picture * np.exp(-2j * np.pi * (carrier[0] * y + carrier[1] * x)))
        frequency = np.hypot(scipy.fft.fftfreq(picture.shape[0])[:, None], scipy.fft.fftfreq(picture.shape[1]))
        radius = self.radius or float(np.hypot(*carrier)) / 3
        # A soft edge, so that the cut does not ring.
        return scipy.fft.ifft2(spectrum * np.clip((radius - frequency) / (0.1 * radius) + 0.5, 0, 1))
