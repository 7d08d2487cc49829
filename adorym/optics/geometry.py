r"""The geometry of an experiment: wavelength, pixel sizes and distances.

**Far field.** A window of N sample pixels of size :math:`\Delta` and its discrete Fourier transform on a detector of
pixel pitch p at the distance z satisfy, along each axis (Goodman, *Introduction to Fourier Optics*, Fraunhofer
diffraction),

.. math:: \Delta = \frac{\lambda z}{N p}.

**Near field of a point source.** By the Fresnel scaling theorem (Paganin, *Coherent X-Ray Optics*, 2006, appendix B)
the pattern of a sample at :math:`z_1` behind the focus, on a detector :math:`z_2` behind the sample, is that of a
parallel beam, magnified:

.. math:: M = \frac{z_1 + z_2}{z_1}, \qquad z_\mathrm{eff} = \frac{z_1 z_2}{z_1 + z_2}, \qquad
          \Delta = \frac{p}{M}.

Lengths are in meters, pairs are (y, x). An unknown value is ``None``; a quantity that needs it raises a `GeometryError`
that names the missing configuration key.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import numpy as np

from adorym import units
from adorym.errors import GeometryError

T = TypeVar("T")
Pair = tuple[float, float]
Regime = Literal["far_field", "near_field"]

# Two descriptions of one pixel size (given, and computed from the distance) may differ by this fraction.
PIXEL_SIZE_TOLERANCE = 0.01

_REMEDY = {
    "energy": "give 'data.energy', for example 'data: {energy: 8.8 keV}'",
    "pixel_size": "give 'data.pixel_size' (in the sample plane), for example 'data: {pixel_size: 13.2 nm}',"
    " or the detector's pixel size and distance",
    "detector_pixel_size": "give 'data.detector_pixel_size', for example 'data: {detector_pixel_size: 75 um}'",
    "distance": "give 'data.distance' (sample to detector), for example 'data: {distance: 1.9 m}'",
}


class Patterns(Protocol):
    """A stack of patterns that is read by index, so that it need not fit into memory."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(n, y, x)``."""
        ...

    def read(self, index: np.ndarray) -> np.ndarray:
        """Patterns ``index`` as ``(len(index), y, x)`` float32, in detector units, zero frequency at the center."""
        ...


class Measured(Protocol):
    """The metadata that the geometry uses (`adorym.data.dataset.Dataset` has them)."""

    @property
    def window_px(self) -> tuple[int, int]: ...
    @property
    def energy_ev(self) -> float | None: ...
    @property
    def pixel_size_m(self) -> Pair | None: ...
    @property
    def detector_pixel_size_m(self) -> Pair | None: ...
    @property
    def distance_m(self) -> float | None: ...
    @property
    def source_distance_m(self) -> float | None: ...
    @property
    def propagation_distance_m(self) -> np.ndarray | None: ...


@dataclass(frozen=True)
class Grid:
    """A sampled plane of a monochromatic wave.

    Attributes:
        window_px: (y, x) number of pixels.
        pixel_size_m: (y, x) pixel size.
        wavelength_m: Wavelength.
    """

    window_px: tuple[int, int]
    pixel_size_m: Pair
    wavelength_m: float

    def __post_init__(self) -> None:
        values = (*self.window_px, *self.pixel_size_m, self.wavelength_m)
        if not all(math.isfinite(v) and v > 0 for v in values):
            raise GeometryError("grid", "sizes and wavelength must be positive", found=self)

    @property
    def extent_m(self) -> Pair:
        """(y, x) width of the window."""
        return self.window_px[0] * self.pixel_size_m[0], self.window_px[1] * self.pixel_size_m[1]

    @property
    def wavenumber_per_m(self) -> float:
        """``k = 2 pi / lambda`` in rad/m."""
        return 2 * math.pi / self.wavelength_m

    def frequencies_per_m(self) -> tuple[np.ndarray, np.ndarray]:
        """Spatial frequencies ``(y, 1)`` and ``(1, x)`` float64, cycles/m, zero frequency at the corner."""
        (ny, nx), (dy, dx) = self.window_px, self.pixel_size_m
        return np.fft.fftfreq(ny, dy)[:, None], np.fft.fftfreq(nx, dx)[None, :]


@dataclass(frozen=True)
class Geometry:
    """Beam, detector and distances of one experiment.

    Attributes:
        window_px: (y, x) pixels of one pattern.
        energy_ev: Photon energy.
        detector_pixel_size_m: (y, x) pixel pitch of the detector, after binning.
        distance_m: Sample to detector.
        source_distance_m: Focus to sample; ``None`` for a parallel beam.
        given_pixel_size_m: (y, x) pixel size in the sample plane if the data give it; it takes precedence over the one
            computed from the distance.
        stated_distance_m: Effective near-field distance if the data state it, likewise.
        half_angle_rad: Half angle of the cone that the lens lets pass, where aberrations refer to it.
        edge_px: Width of the logistic edge of its aperture, Fourier pixels.
    """

    window_px: tuple[int, int]
    energy_ev: float | None = None
    detector_pixel_size_m: Pair | None = None
    distance_m: float | None = None
    source_distance_m: float | None = None
    given_pixel_size_m: Pair | None = None
    stated_distance_m: float | None = None
    half_angle_rad: float | None = None
    edge_px: float = 0.5

    def __post_init__(self) -> None:
        for key, value, unit in (
            ("energy", self.energy_ev, "eV"),
            ("pixel_size", self.given_pixel_size_m, "m"),
            ("detector_pixel_size", self.detector_pixel_size_m, "m"),
            ("distance", self.distance_m, "m"),
            ("source_distance", self.source_distance_m, "m"),
        ):
            if value is not None and not np.all(np.asarray(value) > 0):
                remedy = "leave it out for a parallel beam" if key == "source_distance" else None
                raise GeometryError(f"data.{key}", "must be positive", found=f"{value} {unit}", remedy=remedy)

    @classmethod
    def of(cls, dataset: Measured) -> Geometry:
        """The geometry of a data set."""
        return cls(
            window_px=dataset.window_px,
            energy_ev=dataset.energy_ev,
            detector_pixel_size_m=dataset.detector_pixel_size_m,
            distance_m=dataset.distance_m,
            source_distance_m=dataset.source_distance_m,
            given_pixel_size_m=dataset.pixel_size_m,
            stated_distance_m=first_distance(dataset.propagation_distance_m),
        )

    @property
    def wavelength_m(self) -> float:
        """Wavelength ``h c / E``."""
        return units.wavelength_m(_needed(self.energy_ev, "energy", "the wavelength"))

    @property
    def magnification(self) -> float:
        """``M = (z1 + z2) / z1``, or ``z1 / (z1 - z_eff)`` from the effective distance; 1 in a parallel beam."""
        if self.source_distance_m is None:
            return 1.0
        if self.distance_m is None and self.stated_distance_m is not None:
            behind = self.source_distance_m - self.stated_distance_m
            if behind <= 0:
                what, least = "shorter than the effective propagation distance", f"> {self.stated_distance_m:.6g} m"
                remedy = "correct one of them, or give 'data.distance' instead of the latter"
                found = f"{self.source_distance_m:.6g} m"
                raise GeometryError("data.source_distance", what, expected=least, found=found, remedy=remedy)
            return self.source_distance_m / behind
        z2 = _needed(self.distance_m, "distance", "the magnification")
        return (self.source_distance_m + z2) / self.source_distance_m

    @property
    def effective_distance_m(self) -> float:
        """The stated one, or ``z1 z2 / (z1 + z2)``: in a parallel beam it gives the same near-field pattern."""
        if self.stated_distance_m is not None:
            return self.stated_distance_m
        return _needed(self.distance_m, "distance", "the propagation distance") / self.magnification

    @property
    def near_field_pixel_size_m(self) -> Pair:
        """``p / M``: (y, x) detector pixel projected back into the sample plane."""
        py, px = _needed(self.detector_pixel_size_m, "detector_pixel_size", "the near-field pixel size")
        return py / self.magnification, px / self.magnification

    @property
    def far_field_pixel_size_m(self) -> Pair:
        """``lambda z / (N p)``: (y, x) sample pixel of a far-field pattern.

        A diverging beam does not change it: the curvature of the wave is part of the probe.
        """
        what = "the pixel size in the sample plane"
        py, px = _needed(self.detector_pixel_size_m, "detector_pixel_size", what)
        scale = self.wavelength_m * _needed(self.distance_m, "distance", what)
        return scale / (self.window_px[0] * py), scale / (self.window_px[1] * px)

    def pixel_size_m(self, regime: Regime) -> Pair:
        """(y, x) pixel size in the sample plane: as given, else computed from the detector.

        Raises:
            GeometryError: It is neither given nor can it be computed.
        """
        if self.given_pixel_size_m is not None:
            return self.given_pixel_size_m
        if self.detector_pixel_size_m is None and self.distance_m is None:
            raise GeometryError("data.pixel_size", "pixel size absent", remedy=_REMEDY["pixel_size"])
        return self.far_field_pixel_size_m if regime == "far_field" else self.near_field_pixel_size_m

    def check_pixel_size(self, regime: Regime) -> None:
        """Compare a given pixel size with that from detector, distance and energy, if all are known.

        Raises:
            GeometryError: They differ by more than one per cent.
        """
        given, far = self.given_pixel_size_m, regime == "far_field"
        if given is None:
            return
        try:
            computed = self.far_field_pixel_size_m if far else self.near_field_pixel_size_m
        except GeometryError:  # something is not known
            return
        if max(abs(g / c - 1) for g, c in zip(given, computed, strict=True)) > PIXEL_SIZE_TOLERANCE:
            formula = "wavelength distance / (pixels x detector pixel)" if far else "detector pixel / magnification"
            raise GeometryError(
                "pixel size",
                f"the one that is stated contradicts the other lengths ({regime.replace('_', ' ')}: {formula})",
                expected=f"{computed[0]:.4g} x {computed[1]:.4g} m",
                found=f"{given[0]:.4g} x {given[1]:.4g} m",
                remedy=f"set 'data.pixel_size: {_size(computed)}' if these are right, else correct "
                f"{self._lengths_behind(far)}",
            )

    def _lengths_behind(self, far: bool) -> str:
        """The keys of the lengths that a pixel size follows from."""
        keys = ["detector_pixel_size", "distance", "energy"] if far else ["detector_pixel_size"]
        if not far and self.source_distance_m is not None:
            keys += ["source_distance", "propagation_distance" if self.distance_m is None else "distance"]
        quoted = [f"'data.{key}'" for key in keys]
        return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"

    def grid(self, regime: Regime) -> Grid:
        """The window in the sample plane."""
        return Grid(self.window_px, self.pixel_size_m(regime), self.wavelength_m)


def fresnel_scaling(
    source_m: np.ndarray, detector_m: np.ndarray, detector_pixel_m: Pair | None = None
) -> tuple[np.ndarray, np.ndarray, Pair | None]:
    r"""Convert a series of cone-beam distances to a parallel beam, by the Fresnel scaling theorem.

    Args:
        source_m: ``(d,)`` focus to sample :math:`z_1`, or one for all.
        detector_m: ``(d,)`` sample to detector :math:`z_2`, or one for all.
        detector_pixel_m: (y, x) pixel pitch of the detector.

    Returns:
        Effective distances :math:`z_1 z_2/(z_1 + z_2)` and magnifications :math:`(z_1 + z_2)/z_1`, ``(d,)`` each, and
        the finest pixel in the object plane, that of the largest magnification.

    Raises:
        GeometryError: A distance is not positive, or the two series have different lengths.
    """
    z_1, z_2 = (np.atleast_1d(np.asarray(z, np.float64)) for z in (source_m, detector_m))
    if len(z_1) != len(z_2) and 1 not in (len(z_1), len(z_2)):
        raise GeometryError(
            "data.source_distance", "does not match 'data.distance'", expected=f"{len(z_2)} values, or one",
            found=f"{len(z_1)}", remedy="give one of each per hologram",
        )  # fmt: skip
    if not ((z_1 > 0).all() and (z_2 > 0).all()):
        raise GeometryError("data.source_distance", "distances must be positive", found=(*z_1.tolist(), *z_2.tolist()))
    z_1, z_2 = np.broadcast_arrays(z_1, z_2)
    magnification = (z_1 + z_2) / z_1
    finest = None
    if detector_pixel_m is not None:
        finest = (detector_pixel_m[0] / magnification.max(), detector_pixel_m[1] / magnification.max())
    return z_1 * z_2 / (z_1 + z_2), magnification, finest


def first_distance(distances_m: np.ndarray | None) -> float | None:
    """The first of several effective distances, if there are any."""
    return None if distances_m is None else float(np.ravel(distances_m)[0])


def regime_of(dataset: Measured) -> Regime:
    """``"near_field"`` if the data have a propagation distance, else ``"far_field"``."""
    return "far_field" if dataset.propagation_distance_m is None else "near_field"


def sample_grid(dataset: Measured) -> Grid:
    """The pattern's window in the sample plane of ``dataset``.

    Raises:
        GeometryError: Energy or pixel size are absent.
    """
    return Geometry.of(dataset).grid(regime_of(dataset))


def fresnel_number(half_width_m: float, wavelength_m: float, distance_m: float) -> float:
    r""":math:`a^2 / (\lambda z)` of a feature of half width a: far field where it is much less than 1."""
    return half_width_m**2 / (wavelength_m * abs(distance_m))


def depth_of_focus_m(resolution_m: float, wavelength_m: float) -> float:
    r"""Thickness up to which a sample counts as thin: :math:`5.2\, \Delta^2 / \lambda`.

    Li & Maiden, Sci. Rep. 8, 2049 (2018), Eq. 1, after Tsai et al., Opt. Express 24, 29089 (2016).
    """
    return 5.2 * resolution_m**2 / wavelength_m


def _size(pixel_m: Pair) -> str:
    y, x = (f"{side:.6g} m" for side in pixel_m)
    return y if y == x else f"[{y}, {x}]"


def _needed(value: T | None, key: str, purpose: str) -> T:
    if value is None:
        name = key.replace("_", " ")
        raise GeometryError(f"data.{key}", f"{name} absent: {purpose} needs it", remedy=_REMEDY[key])
    return value
