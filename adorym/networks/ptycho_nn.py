r"""A network for ptychography: from patterns and the probe to the object under it, in a few unrolled passes.

Each pass compares the patterns with those that the present object gives, by the physics of far-field ptychography, and
hands the network the object, the correction that the moduli ask for, and the light that each pixel received, also as
the logarithm of its photons, which tells how noisy the object is there:

.. math:: \psi_m = \mathcal F[P_m O], \qquad
          U = \frac{\sum_{j,m} P_m^* \big(\mathcal F^{-1}\big[\sqrt{N_j / I_j}\,\psi_m\big] - P_m O\big)}
                   {\sum_{j,m} |P_m|^2 + \alpha \max |P|^2}, \qquad I_j = \sum_m |\psi_m|^2

The correction is added a number of times, with momentum; then an encoder-decoder with two heads answers with a change
of amplitude and of the phase's cosine and sine. It also sees the object after the first three corrections, which few
photons have made less noisy. The sum over j goes over a group of neighbors: their patches are averaged with the weights
:math:`|P|^2` after every pass, and cut out again, so that overlapping patches agree exactly. The first object is
vacuum. No label is needed: what the network learns from is the likelihood of counts that it has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

AMPLITUDE = 2.0  # the largest amplitude; vacuum is in the middle, far from both ends
MOMENTUM = 0.8  # part of a correction that is repeated in the next
DARK = 0.05  # part of the largest illumination below which corrections fade out
CHANNELS = 8  # object, an early one and the correction, real and imaginary, and the light twice
EARLY = 3  # corrections after which few photons have left less noise than they leave in the end
TINY = 1e-12

Core = Callable[[int, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class PatternGroups:
    """Groups of neighboring patterns, as the network takes them; zero frequency at the corner.

    Attributes:
        intensity: ``(b, c, y, x)`` counts divided by the photons of the beam.
        probe: ``(b, c, m, y, x)`` complex modes of power 1 together, with the sub-pixel part of the position.
        corners_px: ``(b, c, 2)`` int64 corners of the windows, each group from 0.
        photons: ``(b, 1, 1, 1)`` photons of the beam.
        good: ``(b, 1, y, x)`` bool of the valid pixels, or ``None``.
    """

    intensity: Tensor
    probe: Tensor
    corners_px: Tensor
    photons: Tensor
    good: Tensor | None = None

    @property
    def illumination(self) -> Tensor:
        """``(b, c, y, x)`` intensity of all modes."""
        return self.probe.real.square().sum(2) + self.probe.imag.square().sum(2)


class Overlap:
    """Sums over overlapping windows ``(b, c, y, x)``, given back to each window.

    Args:
        corners_px: ``(b, c, 2)``.
        window_px: (y, x).
    """

    def __init__(self, corners_px: Tensor, window_px: tuple[int, int]) -> None:
        self.alone = corners_px.shape[1] == 1
        if self.alone:
            return
        (b, _, _), (ny, nx) = corners_px.shape, window_px
        height, width = (int(v) + n for v, n in zip(corners_px.amax((0, 1)), window_px, strict=True))
        device = corners_px.device
        y = corners_px[..., 0, None] + torch.arange(ny, device=device)
        x = corners_px[..., 1, None] + torch.arange(nx, device=device)
        first = torch.arange(b, device=device)[:, None, None, None] * (height * width)
        self.index = (first + y[..., :, None] * width + x[..., None, :]).reshape(-1)
        self.size = b * height * width

    def sums(self, values: Tensor) -> Tensor:
        """Real ``values`` ``(b, c, y, x, ...)`` summed over the windows that share a pixel."""
        if self.alone:
            return values
        flat = values.reshape(len(self.index), -1)
        canvas = torch.zeros((self.size, flat.shape[1]), dtype=flat.dtype, device=flat.device)
        return canvas.index_add(0, self.index, flat)[self.index].reshape(values.shape)

    def mean(self, patches: Tensor, weight: Tensor, total: Tensor) -> Tensor:
        """Complex ``patches`` averaged with ``weight``, whose sum is ``total``."""
        if self.alone:
            return patches
        found = self.sums(torch.view_as_real(patches * weight))
        return torch.view_as_complex(found.contiguous()) / total


class Branch(nn.Module):
    """One pass: ``(n, 8, y, x)`` -> ``(n, 3, y, x)``, changes of the amplitude's logit, the cosine and the sine."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.fold = nn.PixelUnshuffle(2)
        before = 4 * CHANNELS
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for channels in widths:
            self.down.append(_pair(before, channels))
            before = channels
        for channels in reversed(widths[:-1]):
            self.up.append(_pair(before + channels, channels))
            before = channels
        self.amplitude, self.phase = _head(width, 4), _head(width, 8)
        self.unfold = nn.PixelShuffle(2)
        self.pool, self.grow = nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, given: Tensor) -> Tensor:
        """The changes."""
        found, kept = self.fold(given), []
        for level, block in enumerate(self.down):
            found = block(found if level == 0 else self.pool(found))
            kept.append(found)
        for block, skipped in zip(self.up, reversed(kept[:-1]), strict=True):
            found = block(torch.cat([self.grow(found), skipped], 1))
        return torch.cat([self.unfold(self.amplitude(found)), self.unfold(self.phase(found))], 1)


class PtychoNetwork(nn.Module):
    """The network: `PatternGroups` -> object patches ``(b, c, y, x)`` complex, mean square amplitude about 1.

    Args:
        size: Side N of a pattern in pixels, 64 or 128; N = 128 has one scale more.
        width: Channels at the finest scale; they double at each of the others.
        passes: Comparisons with the patterns, each with weights of its own.
        corrections: Times that the correction alone is added to the object before each pass.
    """

    def __init__(self, size: int = 64, width: int = 16, passes: int = 2, corrections: int = 3) -> None:
        super().__init__()
        self.size, self.width, self.passes, self.corrections = size, width, passes, corrections
        self.branches = nn.ModuleList(Branch(width, 3 if size <= 64 else 4) for _ in range(passes))

    @property
    def built(self) -> tuple[int, int, int, int]:
        """Size, width, passes and corrections: with them the same network is made again."""
        return self.size, self.width, self.passes, self.corrections

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.parameters())

    def core(self, number: int, given: Tensor) -> Tensor:
        """What the convolutions of pass ``number`` answer."""
        return self.branches[number](given)

    def forward(self, groups: PatternGroups, core: Core | None = None) -> Tensor:
        """Object patches; ``core`` may run the convolutions elsewhere."""
        return self.unrolled(groups, core or self.core)[-1]

    def unrolled(self, groups: PatternGroups, core: Core) -> Sequence[Tensor]:
        """The object patches after every pass."""
        light = groups.illumination
        overlap = Overlap(groups.corners_px, (light.shape[-2], light.shape[-1]))
        brightest = light.amax((-2, -1), keepdim=True)
        total, weight = overlap.sums(light), light + 1e-4 * brightest
        weights, damped = overlap.sums(weight), total + DARK * brightest

        def correction(present: Tensor) -> Tensor:
            summed = overlap.sums(torch.view_as_real(_missing(groups, present)))
            return torch.view_as_complex(summed.contiguous()) / damped

        dose = torch.log10(1 + groups.photons * total) / 4
        obj, found = torch.ones_like(groups.probe[:, :, 0]), []
        for number in range(self.passes):
            change, early = torch.zeros_like(obj), obj
            for n in range(self.corrections):
                ahead = obj + MOMENTUM * change
                better = ahead + correction(ahead)
                obj, change = better, better - obj
                early = obj if n < EARLY else early
            waves = [part for each in (obj, early, correction(obj)) for part in (each.real, each.imag)]
            given = torch.stack([*waves, total / damped, dose], 2).flatten(0, 1)
            answer = core(number, given).float().unflatten(0, light.shape[:2])
            obj = overlap.mean(_changed(obj, answer), weight, weights)
            found.append(obj)
        return found


def _missing(groups: PatternGroups, obj: Tensor) -> Tensor:
    """``sum_m P_m^* (corrected - present exit wave)`` ``(b, c, y, x)``."""
    wave = torch.fft.fft2(groups.probe * obj[:, :, None], norm="ortho")
    predicted = wave.real.square().sum(2) + wave.imag.square().sum(2)
    factor = torch.sqrt((groups.intensity + TINY) / (predicted + TINY)) - 1
    if groups.good is not None:
        factor = factor * groups.good
    back = torch.fft.ifft2(wave * factor.clamp(max=30)[:, :, None], norm="ortho")
    return (back * groups.probe.conj()).sum(2)


def _changed(obj: Tensor, answer: Tensor) -> Tensor:
    """The object with the network's answer ``(b, c, 3, y, x)``."""
    size = obj.abs().clamp(0.05 * AMPLITUDE, 0.95 * AMPLITUDE)
    logit = torch.log(size / (AMPLITUDE - size))
    amplitude = AMPLITUDE * torch.sigmoid(logit + answer[:, :, 0])
    cosine, sine = obj.real / size + answer[:, :, 1], obj.imag / size + answer[:, :, 2]
    length = torch.sqrt(cosine.square() + sine.square() + 1e-6)
    return torch.complex(amplitude * cosine / length, amplitude * sine / length)


def _pair(before: int, channels: int) -> nn.Sequential:
    return nn.Sequential(_convolution(before, channels), nn.SiLU(), _convolution(channels, channels), nn.SiLU())


def _convolution(before: int, channels: int) -> nn.Conv2d:
    made = nn.Conv2d(before, channels, 3, padding=1)
    nn.init.kaiming_normal_(made.weight, mode="fan_in", nonlinearity="relu")
    nn.init.zeros_(made.bias)  # type: ignore[arg-type]
    return made


def _head(before: int, channels: int) -> nn.Conv2d:
    """It begins at no change: the first object of an untrained network is vacuum."""
    made = nn.Conv2d(before, channels, 3, padding=1)
    nn.init.zeros_(made.weight)
    nn.init.zeros_(made.bias)  # type: ignore[arg-type]
    return made
