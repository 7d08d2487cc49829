"""Small crystals with patterns that the Bragg models describe exactly, without the package's own optics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adorym.data.dataset import ArrayPatterns, Dataset

FRAMES, WINDOW = 20, (12, 14)
LATTICE_M = 4e-10
REFLECTIONS = ((1, 1, 1), (1, -1, 1))


def ellipsoid(shape: tuple[int, int, int] = (*WINDOW, FRAMES), part: float = 0.42) -> np.ndarray:
    """A smooth crystal ``(y, x, z)`` complex, no symmetry, about ``part`` of the array wide; 0 outside."""
    y, x, z = (np.arange(n) - (n - 1) / 2 for n in shape)
    y, x, z = (a / (0.5 * part * n) for a, n in zip(np.meshgrid(y, x, z, indexing="ij"), shape, strict=True))
    radius = y**2 + x**2 + z**2 + 0.3 * x * y * (z > 0)
    inside = radius < 1
    phase = 0.8 * (1 - radius) + 0.5 * x * z + 0.3 * y**3
    return np.where(inside, (1 - 0.2 * z - 0.1 * x) * np.exp(1j * phase), 0)


def far_field(obj: np.ndarray) -> np.ndarray:
    """Intensity ``(z, y, x)`` of ``obj`` ``(y, x, z)``, zero frequency at the middle."""
    return np.abs(np.fft.fftshift(np.fft.fftn(np.moveaxis(obj, 2, 0), norm="ortho"))) ** 2


def blurred(intensity: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """``intensity`` convolved with a periodic Gaussian."""
    z, y, x = np.meshgrid(*(np.fft.fftfreq(n) for n in intensity.shape), indexing="ij")
    damping = np.exp(-2 * np.pi**2 * ((sigma[0] * z) ** 2 + (sigma[1] * y) ** 2 + (sigma[2] * x) ** 2))
    return np.maximum(np.fft.ifftn(np.fft.fftn(intensity) * damping).real, 0)


@dataclass(frozen=True)
class Peak:
    """One Bragg peak, or two of one crystal.

    Attributes:
        kind: The model that describes it exactly.
        level: Amplitude of the crystal.
        background: Counts besides.
        sigma: Blur by partial coherence, voxels.
    """

    kind: str = "bragg_cdi"
    level: float = 8.0
    background: float = 0.7
    sigma: tuple[float, float, float] = (0.6, 0.5, 0.4)

    @property
    def object(self) -> np.ndarray:
        if self.kind == "multi_peak":
            return self.level * np.abs(ellipsoid((*WINDOW, FRAMES // 2))).astype(complex)
        return self.level * ellipsoid()

    @property
    def displacement(self) -> np.ndarray:
        """``(3, y, x, z)`` meters."""
        shape = self.object.shape
        y, x, z = (a / n for a, n in zip(np.indices(shape) - 4.0, shape, strict=True))
        return 3e-11 * np.stack([y * x + z**2, x**2 - y, z * y])

    @property
    def places(self) -> np.ndarray:
        """Places of the frames on the rocking curve, off by up to a fifth of a step."""
        return (np.arange(FRAMES) - FRAMES // 2 + 0.2 * np.sin(2.3 * np.arange(FRAMES)))[:, None]

    def counts(self) -> np.ndarray:
        """``(n, y, x)``, zero frequency at the middle."""
        if self.kind == "rocking_curve":
            z = np.arange(FRAMES)
            ramps = np.exp(-2j * np.pi / FRAMES * self.places * z) / np.sqrt(FRAMES)
            frames = np.einsum("nz,yxz->nyx", ramps, self.object)
            waves = np.fft.fftshift(np.fft.fft2(frames, norm="ortho"), axes=(1, 2))
            return np.abs(waves) ** 2 + self.background
        if self.kind == "multi_peak":
            parts = []
            for hkl, scale in zip(REFLECTIONS, self.scales, strict=True):
                g = 2 * np.pi / LATTICE_M * np.array(hkl)
                wave = self.object * np.exp(-1j * np.einsum("i,iyxz->yxz", g, self.displacement))
                parts.append(scale * blurred(far_field(wave), np.array(self.sigma)))
            return np.concatenate(parts) + self.background
        return blurred(far_field(self.object), np.array(self.sigma)) + self.background

    @property
    def scales(self) -> np.ndarray:
        return np.array([1.0, 0.8])

    def dataset(self) -> Dataset:
        return Dataset(patterns=ArrayPatterns(self.counts()))
