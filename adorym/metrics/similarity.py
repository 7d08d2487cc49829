"""How alike two measured or reconstructed images are: R-factor, phase error, structural similarity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from skimage.restoration import unwrap_phase

from adorym.errors import DataError


@dataclass(frozen=True)
class PhaseError:
    """Error of a phase image whose offset is free.

    Attributes:
        rms_rad: Root mean square phase difference.
        nrmse: The same divided by the standard deviation of the true phase: 1 for a flat phase.
        mae_rad: Mean absolute phase difference, wrapped.
    """

    rms_rad: float
    nrmse: float
    mae_rad: float


def r_factor(measured: np.ndarray, predicted: np.ndarray, mask: np.ndarray | None = None) -> float:
    r"""Crystallographic R-factor of intensities, :math:`R = \sum|\sqrt{I} - \sqrt{I'}| / \sum\sqrt{I}`.

    0 for a perfect prediction; the sums run over all patterns and over measured pixels where ``mask`` is True. Photon
    noise alone gives about :math:`0.4\,/\,\langle\sqrt I\rangle` (its use in imaging: Miao et al., Nature 400, 342
    (1999)).

    Args:
        measured: ``(..., y, x)`` intensity; below 0 counts as 0; not a number where nothing was measured.
        predicted: ``(..., y, x)`` intensity, the same shape and scale.
        mask: Bool, broadcast against the patterns.

    Raises:
        DataError: The shapes differ, or nothing was measured.
    """
    measured, predicted = np.asarray(measured, float), np.asarray(predicted, float)
    if measured.shape != predicted.shape:
        raise DataError("R-factor", "the patterns differ in shape", expected=measured.shape, found=predicted.shape)
    good = np.isfinite(measured) & (True if mask is None else mask)
    amplitude, model = (np.sqrt(np.maximum(intensity[good], 0)) for intensity in (measured, predicted))
    if amplitude.sum() == 0:
        raise DataError("R-factor", "no intensity was measured where the mask is true")
    return float(np.abs(amplitude - model).sum() / amplitude.sum())


def phase_error(reconstruction: np.ndarray, true: np.ndarray) -> PhaseError:
    r"""Error of the phase alone of an aligned object.

    The difference :math:`\Delta\varphi = \arg(O' O^* e^{-i\varphi_0})` is free of phase wraps where it is below
    :math:`\pi`; :math:`\varphi_0` is the argument of :math:`\langle O'O^*/|O'O|\rangle`: amplitudes do not weigh.

    Args:
        reconstruction: ``(y, x)`` complex, aligned with the truth.
        true: ``(y, x)`` complex.

    Raises:
        DataError: The shapes differ or the true phase is flat.
    """
    same_shape("phase error", reconstruction, true)
    difference = _phase_difference(reconstruction, true)
    spread = float(np.std(unwrap_phase(np.angle(true))))
    if spread < 1e-9:
        raise DataError("phase error", "the true phase is flat, nothing to normalize by")
    rms = float(np.sqrt(np.mean(difference**2)))
    return PhaseError(rms, rms / spread, float(np.abs(difference).mean()))


def structural_similarities(reconstruction: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    r"""Structural similarity (SSIM) of amplitude and of phase of an aligned object: 1 for identical pictures.

    Gaussian weights of 1.5 px as Wang et al., IEEE Trans. Image Process. 13, 600 (2004), computed by scikit-image. The
    data range is that of the true picture. The phase picture is the unwrapped true phase plus the wrapped difference,
    so that phase wraps do not count as edges.

    Args:
        reconstruction: ``(y, x)`` complex, aligned with the truth, 11 pixels or more along both axes.
        true: ``(y, x)`` complex.

    Raises:
        DataError: The shapes differ or are too small.
    """
    same_shape("structural similarity", reconstruction, true)
    if min(np.shape(true)) < 11:
        raise DataError("structural similarity", "the images are too small", expected="11 pixels", found=np.shape(true))
    phase = unwrap_phase(np.angle(true))
    pairs = (np.abs(reconstruction), np.abs(true)), (phase + _phase_difference(reconstruction, true), phase)
    amplitude, phases = (picture_similarity(found, wanted) for found, wanted in pairs)
    return amplitude, phases


def picture_similarity(found: np.ndarray, wanted: np.ndarray) -> float:
    """SSIM of two real pictures ``(y, x)``: Gaussian weights of 1.5 px, the data range of ``wanted``."""
    from skimage.metrics import structural_similarity  # slow to import

    # A flat truth has no range of its own: compare on the scale of its value then.
    span = float(np.ptp(wanted)) or max(float(np.abs(wanted).max()), 1.0)
    return float(
        structural_similarity(
            found, wanted, data_range=span, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
    )


def _phase_difference(reconstruction: np.ndarray, true: np.ndarray) -> np.ndarray:
    product = np.asarray(reconstruction) * np.conj(true)
    size = np.abs(product)
    unit = np.divide(product, size, out=np.zeros_like(product), where=size > 0)
    offset = np.angle(unit.sum())
    return np.angle(unit * np.exp(-1j * offset))


def same_shape(what: str, reconstruction: np.ndarray, true: np.ndarray) -> None:
    """Refuse objects that are not two images ``(y, x)`` of one shape."""
    if np.shape(reconstruction) != np.shape(true) or np.ndim(true) != 2:
        expected = f"(y, x) = {np.shape(true)}"
        raise DataError(what, "the objects do not compare", expected=expected, found=np.shape(reconstruction))
