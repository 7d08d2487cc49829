"""Far-field ptychography of a thin object: a complete forward model in one file."""

from dataclasses import replace

import numpy as np

from adorym.forward.base import ForwardModel, object_parameter
from adorym.forward.probe import probe_parameter
from adorym.optics.shift import fourier_shift
from adorym.optics.windows import object_shape
from adorym.parameters import Parameter

ADAM = {"kind": "adam", "learning_rate": 0.02}


class ThinObject(ForwardModel):
    """I = sum_m |F[P_m(r - r_j) O(r)]|^2; Thibault & Menzel, Nature 494, 68 (2013), eq. (2)."""

    refinable = {
        "object": object_parameter(optimizer=ADAM),
        "probe": replace(probe_parameter(), optimizer=ADAM),
        "probe_positions": Parameter(
            unit="px",
            help="(y, x) of each probe window's corner in object pixels",
            start=lambda model, dataset, settings, rng: dataset.probe_positions_px,
            per="pattern",
            optimizer={"kind": "adam", "learning_rate": "0.05 px"},
            window_relative=True,
        ),
    }

    def predict(self, xp, obj, params, batch):
        """Intensities ``(n, y, x)`` in photons, zero frequency at the corner."""
        probe = fourier_shift(xp, params["probe"], params["probe_positions"])
        exit_wave = obj[:, None] * probe  # (n, mode, y, x)
        return xp.sum(xp.abs2(xp.fft2(exit_wave)), axis=1)

    def arrange(self, patterns):
        """Files have the zero frequency at the centre."""
        return np.fft.ifftshift(patterns, axes=(-2, -1))

    def disarrange(self, patterns):
        """The inverse."""
        return np.fft.fftshift(patterns, axes=(-2, -1))

    def object_frame(self, dataset, margin_px):
        """Room for every window."""
        return object_shape(dataset.probe_positions_px, dataset.window_px, margin_px)
