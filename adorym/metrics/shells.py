r"""Resolution of volumes: the phase retrieval transfer function, and Fourier shell correlation.

Starts that agree on a phase add up, others cancel: over shells of equal frequency,

.. math:: \mathrm{PRTF}(q) =
          \left\langle \frac{|\langle F_i(\mathbf q) \rangle_i|}{M(\mathbf q)} \right\rangle_{|\mathbf q|}

(Chapman et al., J. Opt. Soc. Am. A 23, 1179 (2006), section 4). Where it falls under 1/e the
resolution ends. Phases that have nothing in common still add up to :math:`1/\sqrt n` for n starts: with fewer than
eight the function cannot fall that far.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.metrics.resolution import RingCorrelation, correlation_of

LIMIT = float(np.exp(-1))


@dataclass(frozen=True, eq=False)
class TransferFunction:
    """Phase retrieval transfer function.

    Attributes:
        frequency: ``(shells,)`` in parts of the sampling frequency, 0.5 at the edge of the array.
        value: ``(shells,)`` between 0 and about 1.
    """

    frequency: np.ndarray
    value: np.ndarray

    @property
    def crosses(self) -> bool:
        """Whether it falls under 1/e at all."""
        return bool((self.value < LIMIT).any())

    @property
    def crossing(self) -> float:
        """Frequency where the function first falls under 1/e; that of the last shell where it never does."""
        below = np.flatnonzero(self.value < LIMIT)
        if below.size == 0:
            return float(self.frequency[-1])
        pair = [below[0], max(below[0] - 1, 0)]
        return float(np.interp(LIMIT, self.value[pair], self.frequency[pair]))

    @property
    def half_period_px(self) -> float:
        """Resolution as a half period in voxels: 1 at the edge of the array, infinite if no shell agrees."""
        return 0.5 / self.crossing if self.crossing > 0 else float("inf")


def transfer_function(objects: np.ndarray, modulus: np.ndarray, good: np.ndarray | None = None) -> TransferFunction:
    """PRTF of aligned ``objects`` ``(n, z, y, x)`` with ``modulus`` ``(z, y, x)``, zero frequency at its middle.

    Voxels without a count or that were not measured do not take part.
    """
    mean = np.abs(scipy.fft.fftshift(scipy.fft.fftn(scipy.fft.ifftshift(objects.mean(0)), norm="ortho")))
    size = np.sqrt(np.mean(np.abs(scipy.fft.fftn(objects, axes=(1, 2, 3), norm="ortho")) ** 2))
    scale = float(np.sqrt(np.mean(modulus.astype(float) ** 2))) / max(float(size), 1e-300)
    frequency, index, count = _shells(modulus.shape)
    inside = (modulus > 0) & (index < count)
    if good is not None:
        inside &= good
    weight = np.bincount(index[inside], minlength=count).astype(float)
    power = np.bincount(index[inside], modulus[inside].astype(float), minlength=count)
    value = np.bincount(index[inside], scale * mean[inside], minlength=count) / np.maximum(power, 1e-300)
    radius = np.bincount(index[inside], frequency[inside], minlength=count) / np.maximum(weight, 1)
    kept = weight > 0
    return TransferFunction(radius[kept], value[kept])


def shell_correlation(first: np.ndarray, second: np.ndarray, *, truth: bool = False) -> RingCorrelation:
    """Fourier shell correlation of two aligned volumes; frequencies in parts of the sampling frequency."""
    a, b = (scipy.fft.fftshift(scipy.fft.fftn(volume)) for volume in (first, second))
    frequency, index, count = _shells(first.shape)
    return correlation_of(a, b, frequency, np.where(index < count, index, 0), 0.5, truth)


def _shells(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, int]:
    """Frequency, number of its shell, and how many whole shells there are, zero frequency at the middle."""
    axes = [scipy.fft.fftshift(scipy.fft.fftfreq(n)) for n in shape]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    frequency = np.sqrt(z**2 + y**2 + x**2)
    count = min(shape) // 2
    return frequency, np.rint(frequency / 0.5 * count).astype(int), count + 1
