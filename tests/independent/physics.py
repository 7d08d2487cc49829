"""The physics of every model in plain NumPy, from the conventions alone: nothing of the package is imported.

Waves are exp(+ikz), matter multiplies them by exp(-k (beta + i delta) dz), images are (y, x) with y downwards, the beam
runs along +z, n pixels have their center at (n - 1)/2, and rotations are right-handed in (x, y, z). Fourier transforms
are sums over matrices, rays are the exact integrals of Gaussian blobs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Transmission = Callable[[np.ndarray, np.ndarray], np.ndarray]


def wavelength_m(energy_ev: float) -> float:
    """``h c / E``."""
    return 6.62607015e-34 * 299792458.0 / (energy_ev * 1.602176634e-19)


def middle(n: int) -> np.ndarray:
    """Pixels counted from the middle of ``n`` of them."""
    return np.arange(n) - (n - 1) / 2


# -- waves -------------------------------------------------------------------------------------------------------------
def fourier(n: int) -> np.ndarray:
    """``(n, n)`` orthonormal transform; row k is the frequency ``k - n//2``."""
    k, x = np.arange(n) - n // 2, np.arange(n)
    return np.exp(-2j * np.pi * np.outer(k, x) / n) / np.sqrt(n)


def far_field(wave: np.ndarray) -> np.ndarray:
    """Of the last two axes, zero frequency at pixel ``n//2``."""
    return fourier(wave.shape[-2]) @ wave @ fourier(wave.shape[-1]).T


def delay(size: tuple[int, int], pixel_m: Sequence[float], lam: float, distance: float, paraxial: bool) -> np.ndarray:
    """Factor ``(k_y, k_x)`` that carries plane waves on by ``distance``, less the one along the axis."""
    f_y, f_x = ((np.arange(n) - n // 2) / (n * p) for n, p in zip(size, pixel_m, strict=True))
    across = f_y[:, None] ** 2 + f_x[None, :] ** 2
    along = -lam * across / 2 if paraxial else np.sqrt(1 / lam**2 - across) - 1 / lam
    return np.exp(2j * np.pi * distance * along)


def carried(wave: np.ndarray, pixel_m: Sequence[float], lam: float, distance: float, paraxial: bool) -> np.ndarray:
    """``wave`` after ``distance`` of free space."""
    left, right = fourier(wave.shape[-2]), fourier(wave.shape[-1])
    spectrum = (left @ wave @ right.T) * delay(wave.shape[-2:], pixel_m, lam, distance, paraxial)
    return left.conj().T @ spectrum @ right.conj()


def intensity_at(wave: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``|wave|^2`` at any places, in pixels from the middle of ``wave`` ``(Y, X)``: the sum of its plane waves."""
    (ny, nx), spectrum = wave.shape, far_field(wave)
    k_y, k_x = np.arange(ny) - ny // 2, np.arange(nx) - nx // 2
    along_y = np.exp(2j * np.pi / ny * np.multiply.outer(y + (ny - 1) / 2, k_y))
    along_x = np.exp(2j * np.pi / nx * np.multiply.outer(x + (nx - 1) / 2, k_x))
    return np.abs(np.einsum("uvk,kl,uvl->uv", along_y, spectrum, along_x) / np.sqrt(ny * nx)) ** 2


# -- scanned probes ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Bench:
    """How a scan is measured.

    Attributes:
        pixel_m: (y, x) pixel in the object plane.
        lam: Wavelength, m.
        regime: ``far_field``, ``fresnel`` or ``angular_spectrum``.
        distance: From the last slice to a near-field detector, m.
        defocus: The probe is carried on by it before it meets the object, m.
        binning: Slices that act as one, at the place of the first of them.
    """

    pixel_m: Sequence[float]
    lam: float
    regime: str = "far_field"
    distance: float = 0.0
    defocus: float = 0.0
    binning: int = 1


def scanned(
    bench: Bench, slices: Sequence[Transmission], places: np.ndarray, probe: np.ndarray, position: np.ndarray
) -> np.ndarray:
    """Counts ``(y, x)`` at one ``position`` of the window's corner, from transmissions of pixels at ``places`` (m)."""
    (ny, nx), pixel, lam = probe.shape[-2:], bench.pixel_m, bench.lam
    y, x = position[0] + np.arange(ny)[:, None], position[1] + np.arange(nx)[None, :]
    waves = carried(probe, pixel, lam, bench.defocus, paraxial=False)
    here = places[0]
    for first in range(0, len(slices), bench.binning):
        waves = carried(waves, pixel, lam, places[first] - here, paraxial=False)
        here = places[first]
        for each in slices[first : first + bench.binning]:
            waves = waves * each(y, x)
    if bench.regime == "far_field":
        waves = far_field(waves)
    else:
        waves = carried(waves, pixel, lam, bench.distance, paraxial=bench.regime == "fresnel")
    return np.sum(np.abs(waves) ** 2, axis=0)


# -- volumes -----------------------------------------------------------------------------------------------------------
def turn(theta: float, about_y: float = 0.0, about_x: float = 0.0, about_z: float = 0.0) -> np.ndarray:
    """``R_z R_x R_y`` on (x, y, z): the object turns about y, then the axis is tilted about x and z."""
    c, s = np.cos(theta + about_y), np.sin(theta + about_y)
    r_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    c, s = np.cos(about_x), np.sin(about_x)
    r_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    c, s = np.cos(about_z), np.sin(about_z)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ r_x @ r_y


@dataclass(frozen=True)
class Pose:
    """How the object stands in the beam: ``r' = rotation r + (x, y, 0) shift``."""

    rotation: np.ndarray
    shift_yx: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Blobs:
    """Gaussian blobs, whose integrals along any ray are known.

    Attributes:
        centers: ``(n, 3)`` (x, y, z) in pixels from the middle of the volume.
        weights: ``(n,)`` complex, exponent a pixel of path in the middle of a blob.
        sigma: Pixels.
    """

    centers: np.ndarray
    weights: np.ndarray
    sigma: float

    @classmethod
    def some(cls, fine: int) -> Blobs:
        """No symmetry; the same object on a grid ``fine`` times as fine."""
        centers = np.array([[-1.6, -0.7, 0.9], [1.8, 0.5, 0.3], [0.4, 0.9, -1.9], [-0.5, 0.1, 0.6]])
        return cls(fine * centers, np.array([0.06 + 0.2j, 0.09 + 0.1j, 0.05 + 0.3j, 0.04 + 0.1j]) / fine, 1.5 * fine)

    def _moved(self, pose: Pose) -> np.ndarray:
        return self.centers @ pose.rotation.T + np.array([pose.shift_yx[1], pose.shift_yx[0], 0.0])

    def at(self, y: np.ndarray, x: np.ndarray, z: np.ndarray, pose: Pose | None = None) -> np.ndarray:
        """Exponent a pixel at places in the beam's frame."""
        total = 0j
        for (cx, cy, cz), weight in zip(self._moved(pose or Pose(np.eye(3))), self.weights, strict=True):
            total = total + weight * np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / (2 * self.sigma**2))
        return total

    def volume(self, shape: tuple[int, int, int]) -> np.ndarray:
        """``(y, x, z)`` voxels."""
        y, x, z = (middle(n) for n in shape)
        return self.at(y[:, None, None], x[:, None], z)

    def ray(self, y: np.ndarray, x: np.ndarray, pose: Pose) -> np.ndarray:
        """Exponent along the whole ray at (y, x) of the beam's frame."""
        total = 0j
        for (cx, cy, _), weight in zip(self._moved(pose), self.weights, strict=True):
            total = total + weight * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * self.sigma**2))
        return total * self.sigma * np.sqrt(2 * np.pi)


# -- crystals ----------------------------------------------------------------------------------------------------------
def bragg_wave(obj: np.ndarray, places: np.ndarray) -> np.ndarray:
    """``(frames, q_y, q_x)`` of a crystal ``(y, x, z)`` at ``places`` on the rocking curve, 0 at frame ``n//2``."""
    n = obj.shape[2]
    rocked = np.einsum("yxz,nz->nyx", obj, np.exp(-2j * np.pi / n * np.outer(places, np.arange(n)))) / np.sqrt(n)
    return far_field(rocked)


def partly_coherent(obj: np.ndarray, sigma_zyx: Sequence[float]) -> np.ndarray:
    """Counts ``(z, y, x)`` of a crystal in a beam of Gaussian mutual coherence that blurs them by ``sigma_zyx`` pixels.

    The sum over pairs of voxels at every separation, with the coherence of that separation.
    """
    o = np.moveaxis(obj, 2, 0)
    size = o.shape
    padded = np.zeros([2 * n for n in size], complex)
    padded[tuple(slice(n) for n in size)] = o
    spectrum = np.fft.fftn(padded)
    pairs = np.fft.fftshift(np.fft.ifftn(np.abs(spectrum) ** 2))  # separations from -n to n - 1
    out = pairs
    for axis, (n, sigma) in enumerate(zip(size, sigma_zyx, strict=True)):
        separation = np.arange(-n, n)
        coherence = np.exp(-0.5 * (2 * np.pi * sigma * separation / n) ** 2)
        waves = np.exp(-2j * np.pi / n * np.outer(np.arange(n) - n // 2, separation)) * coherence / n
        out = np.moveaxis(np.tensordot(waves, out, (1, axis)), 0, axis)
    return out.real
