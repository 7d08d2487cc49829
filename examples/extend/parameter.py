"""A new refinable parameter, outside the package: how much the detector blurs its patterns."""

import numpy as np

from adorym.forward.ptychography import Ptychography
from adorym.parameters import Parameter


class BlurredPtychography(Ptychography):
    """Ptychography with a detector whose point spread is a Gaussian of standard deviation ``blur_px``."""

    refinable = {
        **Ptychography.refinable,
        "blur_px": Parameter(
            unit="px",
            help="standard deviation of the detector's point spread",
            start=1.0,
            refined=True,
            optimizer={"kind": "adam", "learning_rate": "0.05 px"},
            bounds=(0.0, None),
        ),
    }

    def predict(self, xp, obj, params, batch):
        """Sharp patterns, convolved: F[I] times exp(-2 pi^2 sigma^2 f^2), f in cycles per pixel."""
        sharp = super().predict(xp, obj, params, batch)
        y, x = (np.fft.fftfreq(n) for n in sharp.shape[-2:])
        frequency2 = xp.asarray(y[:, None] ** 2 + x**2)
        transfer = xp.exp(-2 * np.pi**2 * params["blur_px"] ** 2 * frequency2)
        blurred = xp.real(xp.ifft2(xp.fft2(sharp) * transfer))
        return xp.maximum(blurred, 0.0)  # rounding may leave less than no light
