r"""How much wider than a hologram the wave must be computed, so that its fringes do not wrap around.

The discrete Fourier transform makes the wave periodic: what diffracts over one edge re-enters at the other. The finest
fringe that pixels of size :math:`\Delta` hold travels at the angle :math:`\sin\theta = \lambda/2\Delta`, and over a
distance z sideways by

.. math:: \frac{z \tan\theta}{\Delta} \approx \frac{\lambda z}{2\Delta^2} \;\text{pixels},

which is how far the object must be known beyond the field of view on every side.
"""

from __future__ import annotations

import math

from adorym.optics.geometry import Grid

# Widths whose prime factors are these transform fast.
_FACTORS = (2, 3, 5, 7)


def reach_px(grid: Grid, distance_m: float) -> tuple[int, int]:
    """(y, x) pixels that light of the finest fringe travels sideways over ``distance_m``; evanescent waves do not."""
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
        room: Added as a part of the window's width, for pictures that are shifted, turned or scaled.
        limit: Largest buffer as a part of the window's width.
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
    """What is left of ``n`` without its prime factors up to 7: 1 where transforms of this width are fast."""
    for factor in _FACTORS:
        while n % factor == 0:
            n //= factor
    return n
