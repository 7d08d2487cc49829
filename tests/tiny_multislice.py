"""A small scan of a thick object in plain NumPy: `tiny_scan` with slices and free space between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tiny_scan import PIXEL_M, Scan, object_at, transfer


def slice_at(z: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Transmission of slice ``z``: the object of `tiny_scan`, elsewhere and turned, every slice another."""
    return object_at(y + 3.1 * z, x - 4.7 * z) if z % 2 == 0 else object_at(x + 5.3 * z, y + 2.2 * z)


@dataclass(frozen=True)
class ThickScan(Scan):
    """One experiment on slices at ``slice_positions_m``; in the near field ``distance_m`` counts from the last.

    The object's columns lean by ``lean_rad`` ``(2,)`` or ``(n, 2)`` against the beam: it meets other places further
    down.
    """

    slice_positions_m: tuple[float, ...] = (0.0, 2e-6, 5e-6)
    lean_rad: np.ndarray | None = None

    def slices_array(self, shape: tuple[int, int], origin_px: tuple[int, int]) -> np.ndarray:
        """``(y, x, z)``."""
        y, x = np.arange(shape[0])[:, None] - origin_px[0], np.arange(shape[1])[None, :] - origin_px[1]
        return np.stack([slice_at(z, y, x) for z in range(len(self.slice_positions_m))], axis=-1)

    def patterns(self) -> np.ndarray:
        probe = transfer(self.window, "angular_spectrum", self.defocus_m, self.probe())
        y, x = np.arange(self.window[0])[:, None], np.arange(self.window[1])[None, :]
        out, gaps = [], [*np.diff(self.slice_positions_m), 0.0]
        lean = np.broadcast_to(np.zeros(2) if self.lean_rad is None else self.lean_rad, (self.n, 2))
        for (py, px), (ty, tx) in zip(self.true_positions(), np.tan(lean) / PIXEL_M, strict=True):
            waves = probe
            for z, (gap, at) in enumerate(zip(gaps, self.slice_positions_m, strict=True)):
                met = slice_at(z, py + y + at * ty, px + x + at * tx)
                waves = transfer(self.window, "angular_spectrum", gap, met * waves)
            if self.regime == "far_field":
                waves = np.fft.fftshift(np.fft.fft2(waves), axes=(1, 2)) / np.sqrt(y.size * x.size)
            else:
                waves = transfer(self.window, self.regime, self.distance_m, waves)
            out.append(np.sum(np.abs(waves) ** 2, axis=0))
        scale = np.ones(self.n) if self.scale is None else self.scale
        return scale[:, None, None] * np.array(out) + self.background
