r"""The vacuum in a ptychographic object fixes its modulus and the probe's power, which the data leave open.

The exit waves, and so the patterns, stay the same when the object is divided by a number and the probe multiplied by
it. In vacuum the object is 1, and the probe then holds the photons of the beam. Where the beam passes through vacuum
the object is flat under it, but for a phase ramp, which the data leave open as well, and nothing passes more light.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Part of the power under a beam that is not in its mean, at most, where the object is flat.
FLAT = 0.01
# Flat places that transmit this part of what the brightest of them do are vacuum, too,
ALIKE = 0.94
# unless other places transmit more than this.
BRIGHTER = 1.06
# Least number of patterns, and part of all, that show vacuum.
FEWEST, LEAST_PART = 3, 0.02
# A wide beam is looked at in squares of this many pixels: an object does not fill all of them.
SQUARE = 16
# Parts of the beam below this fraction of its maximum do not count: the object is badly known there.
TAIL = 0.01


@dataclass(frozen=True)
class Passed:
    """What the beam finds in one slice of the object at each position.

    Attributes:
        power: ``(n,)`` transmitted part of the beam's power.
        mean: ``(n,)`` complex mean of the object under the beam, the local phase ramp removed.
    """

    power: np.ndarray
    mean: np.ndarray

    @property
    def flat(self) -> np.ndarray:
        """``(n,)`` where the object is flat under the beam."""
        return np.abs(self.mean) ** 2 >= (1 - FLAT) * self.power

    @property
    def vacuum(self) -> np.ndarray:
        """``(n,)`` where the beam passes through vacuum; nowhere if too few places are as flat and as bright."""
        nowhere = np.zeros(len(self.power), bool)
        if np.count_nonzero(self.flat) < FEWEST:
            return nowhere
        found = self.flat & (self.power >= ALIKE * np.percentile(self.power[self.flat], 90))
        enough = np.count_nonzero(found) >= max(FEWEST, LEAST_PART * len(found))
        level = np.median(self.power[found])
        return found if enough and np.percentile(self.power, 97) <= BRIGHTER * level else nowhere

    @property
    def vacuum_value(self) -> complex | None:
        """The object's value in vacuum; its phase is 0 where a ramp leaves none; ``None`` without vacuum."""
        there = self.vacuum
        if not there.any():
            return None
        means = self.mean[there] / np.abs(self.mean[there])
        phase = np.angle(means.sum()) if abs(means.mean()) > 0.7 else 0.0
        return complex(np.sqrt(np.median(self.power[there])) * np.exp(1j * phase))


def passed(windows: np.ndarray, beam: np.ndarray) -> Passed:
    """What a beam of intensity ``(y, x)`` finds in object windows ``(n, y, x)`` complex."""
    weight = np.where(beam >= TAIL * beam.max(), beam, 0.0)
    weight = weight / weight.sum()
    ramps = []
    for axis in (1, 2):
        there = np.moveaxis(windows, axis, 1)
        w = np.moveaxis(weight, axis - 1, 0)
        steps = np.einsum("nij,nij,ij->n", there[:, 1:], there[:, :-1].conj(), np.sqrt(w[1:] * w[:-1]))
        ramps.append(np.angle(steps)[:, None, None])
    y, x = np.ogrid[: windows.shape[1], : windows.shape[2]]
    middle = (np.sum(weight * y), np.sum(weight * x))
    level = windows * np.exp(-1j * (ramps[0] * (y - middle[0]) + ramps[1] * (x - middle[1])))
    return Passed(np.einsum("nyx,yx->n", np.abs(windows) ** 2, weight), np.einsum("nyx,yx->n", level, weight))


def places(beam: np.ndarray) -> list[tuple[slice, slice]]:
    """The window of a small beam of intensity ``(y, x)``, or the bright squares of a wide one."""
    spread = beam.sum() ** 2 / (beam**2).sum()  # its effective area
    if spread < 2 * SQUARE**2:
        return [(slice(None), slice(None))]
    squares = [
        (slice(y, y + SQUARE), slice(x, x + SQUARE))
        for y in range(0, beam.shape[0] - SQUARE + 1, SQUARE)
        for x in range(0, beam.shape[1] - SQUARE + 1, SQUARE)
    ]
    powers = np.array([beam[square].sum() for square in squares])
    return [square for square, power in zip(squares, powers, strict=True) if power >= 0.2 * powers.max()]
