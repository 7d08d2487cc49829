"""A complete forward model, outside the package: far-field ptychography of a thin object."""

from adorym.forward import ForwardModel
from adorym.optics.shift import fourier_shift


class ThinObject(ForwardModel):
    """I = sum_m |F[P_m(r - r_j) O(r)]|^2; Thibault & Menzel, Nature 494, 68 (2013), eq. (2)."""

    def predict(self, xp, obj, params, batch):
        """Photons ``(n, y, x)``, zero frequency at the corner, from object windows ``(n, y, x)``."""
        probe = fourier_shift(xp, params["probe"], params["probe_positions"])  # (n, mode, y, x)
        wave = xp.fft2(obj[:, None] * probe)
        return xp.sum(xp.abs2(wave), axis=1)
