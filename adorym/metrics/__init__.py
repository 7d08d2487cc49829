"""Scores: errors of reconstructions after removing what the data cannot determine. NumPy only, no backend."""

from adorym.metrics.alignment import (
    Alignment,
    Region,
    align_object,
    fourier_shift,
    inner_region,
    object_error,
    scanned_region,
)
from adorym.metrics.positions import AffinePart, PositionErrors, position_errors
from adorym.metrics.probes import orthogonal_modes, power_fractions, probe_fidelity
from adorym.metrics.resolution import RingCorrelation, half_bit_threshold, ring_correlation
from adorym.metrics.similarity import PhaseError, phase_error, r_factor, structural_similarities

__all__ = [
    "AffinePart",
    "Alignment",
    "PhaseError",
    "PositionErrors",
    "Region",
    "RingCorrelation",
    "align_object",
    "fourier_shift",
    "half_bit_threshold",
    "inner_region",
    "object_error",
    "orthogonal_modes",
    "phase_error",
    "position_errors",
    "power_fractions",
    "probe_fidelity",
    "r_factor",
    "ring_correlation",
    "scanned_region",
    "structural_similarities",
]
