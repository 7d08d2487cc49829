r"""The buffer around a hologram that keeps its fringes from wrapping around.

The discrete Fourier transform makes the wave periodic: light diffracted over one edge re-enters at the other. The
finest fringe on pixels of size :math:`\Delta` diffracts at the angle :math:`\sin\theta = \lambda/2\Delta`, over a
distance z a lateral displacement of

.. math:: \frac{z \tan\theta}{\Delta} \approx \frac{\lambda z}{2\Delta^2} \;\text{pixels},

by which the object must extend beyond the field of view on every side.
"""

from __future__ import annotations

import math

from adorym.optics.geometry import Grid

# Transforms are fast for widths with these prime factors only.
_FACTORS = (2, 3, 5, 7)


def reach_px(grid: Grid, distance_m: float) -> tuple[int, int]:
    """(y, x) lateral displacement in pixels of the finest fringe over ``distance_m``; 0 for evanescent waves."""
    reach = []
    for pixel in grid.pixel_size_m:
        sine = min(grid.wavelength_m / (2 * pixel), 0.999)
        reach.append(math.ceil(abs(distance_m) * sine / math.sqrt(1 - sine**2) / pixel))
    return reach[0], reach[1]


def buffer_px(
    grid: Grid, distance_m: float, room: float = 0.0, limit: float = 1.0
) -> tuple[tuple[int, int], tuple[bool, bool]]:
    """(y, x) pixels to add on each side of ``grid``'s window, and whether the limit cut them short.

    Args:
        grid: The field of view.
        distance_m: Longest distance.
        room: Addition for shifted, rotated or scaled holograms, as a fraction of the window's width.
        limit: Largest buffer, as a fraction of the window's width.
    """
    widths, cut = [], []
    for n, reach in zip(grid.window_px, reach_px(grid, distance_m), strict=True):
        wanted = reach + math.ceil(room * n)
        most = math.ceil(limit * n)
        cut.append(wanted > most)
        widths.append((fast_width(n + 2 * min(wanted, most), n % 2) - n) // 2)
    return (widths[0], widths[1]), (cut[0], cut[1])


def fast_width(least: int, parity: int) -> int:
    """Smallest number from ``least`` with the given parity and no prime factor above 7 (even: a factor 2 at least)."""
    n = least + (least + parity) % 2
    while rough_part(n) > 1:
        n += 2
    return n


def rough_part(n: int) -> int:
    """``n`` divided by all its prime factors up to 7: 1 if transforms of this width are fast."""
    for factor in _FACTORS:
        while n % factor == 0:
            n //= factor
    return n
