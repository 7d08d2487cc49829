r"""3D-CDI-NN: from the modulus of a coherent diffraction pattern to the shape and the phase of a crystal.

An encoder and two decoders of 3 x 3 x 3 convolutions (Chan et al., Appl. Phys. Rev. 8, 021407 (2021)). "C(k)" is a
convolution to k channels, a rectifier, and a dropout of a tenth:

.. code-block:: text

    dropout | C32 C32 pool | C64 C64 pool | C128 C128 pool          modulus (1, 32^3) -> code (128, 4^3)
    C128 C128 up | C64 C64 up | C32 C32 up | convolution to 1, rectifier     twice: shape, and phase

At full width, (32, 64, 128), it has 3,459,938 parameters. The phase is coded as :math:`p = \varphi / 2\pi + 1/2`, so
that the rectifier leaves everything from :math:`-\pi` upwards.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

SIZE = 32
FULL_WIDTH = (32, 64, 128)
DROPOUT = 0.1
BRANCHES = ("encoder", "shape", "phase")


class CdiNetwork(nn.Module):
    """The network: ``(n, 1, 32, 32, 32)`` modulus with maximum 1 -> shape and coded phase, ``(n, 32, 32, 32)`` each.

    Args:
        width: Channels at the three scales; `FULL_WIDTH` is the paper's network.
        dropout: Part of the activations left out in training.
        power: The modulus goes in to this power. The paper's 1 leaves the fringes, which tell the shape, a hundred
            times fainter than the peak; a half brings them up.
    """

    def __init__(self, width: tuple[int, int, int] = FULL_WIDTH, dropout: float = DROPOUT, power: float = 0.5) -> None:
        super().__init__()
        self.width, self.dropout, self.power = tuple(width), dropout, power
        layers: list[nn.Module] = [nn.Dropout(dropout)]
        for before, channels in pairwise((1, *width)):
            layers += [*_block(before, channels, dropout), *_block(channels, channels, dropout), nn.MaxPool3d(2)]
        self.encoder = nn.Sequential(*layers)
        self.shape = self._decoder(first_value=0.1)
        self.phase = self._decoder(first_value=0.5)
        # Phases begin at nothing. Wrong ones would be unlearnt by silencing the rectifiers, which stay silent.
        nn.init.zeros_(self.phase[-2].weight)  # type: ignore[arg-type]

    def _decoder(self, first_value: float) -> nn.Sequential:
        layers: list[nn.Module] = []
        for before, channels in pairwise((self.width[-1], *reversed(self.width))):
            layers += [*_block(before, channels, self.dropout), *_block(channels, channels, self.dropout)]
            layers += [nn.Upsample(scale_factor=2, mode="nearest")]
        last = nn.Conv3d(self.width[0], 1, 3, padding=1)
        nn.init.kaiming_normal_(last.weight, mode="fan_in", nonlinearity="relu")
        # A rectifier that starts in the dark never leaves it.
        nn.init.constant_(last.bias, first_value)  # type: ignore[arg-type]
        return nn.Sequential(*layers, last, nn.ReLU())

    def forward(self, modulus: Tensor) -> tuple[Tensor, Tensor]:
        """``(shape, coded phase)`` of a batch of moduli."""
        code = self.encode(modulus)
        return self.shape(code)[:, 0], self.phase(code)[:, 0]

    def encode(self, modulus: Tensor) -> Tensor:
        """The code ``(n, channels, 4, 4, 4)`` of a batch of moduli."""
        return self.encoder(modulus if self.power == 1 else modulus**self.power)

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.parameters())


def _block(before: int, channels: int, dropout: float) -> list[nn.Module]:
    convolution = nn.Conv3d(before, channels, 3, padding=1)
    # Without it a signal fades to nothing on its way through fourteen rectifiers.
    nn.init.kaiming_normal_(convolution.weight, mode="fan_in", nonlinearity="relu")
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return [convolution, nn.ReLU(), nn.Dropout(dropout)]


def decoded(code: Tensor) -> Tensor:
    """The phase in radian that the network means: its code runs from 0 to 1, for a whole turn."""
    return (code - 0.5) * (2 * math.pi)


def diffraction(shape: Tensor, phase: Tensor) -> Tensor:
    """Modulus ``(n, z, y, x)`` of the far field, zero frequency at the center, divided by its maximum."""
    wave = torch.fft.fftn(torch.polar(shape, phase), dim=(-3, -2, -1), norm="ortho")
    square = torch.fft.fftshift(wave.real.square() + wave.imag.square(), dim=(-3, -2, -1))
    largest = square.amax(dim=(-3, -2, -1), keepdim=True)
    # The root has no slope at zero; a floor far below one photon keeps the gradient finite.
    return torch.sqrt(square / largest.clamp(min=1e-20) + 1e-12)


def predict(network: CdiNetwork, modulus: np.ndarray) -> np.ndarray:
    """Object ``(z, y, x)`` complex64 for a modulus ``(z, y, x)`` of 32^3 voxels, zero frequency at the center.

    The modulus is divided by its maximum; the object is in the middle of the array.
    """
    device = next(network.parameters()).device
    scaled = torch.as_tensor(np.asarray(modulus, np.float32) / float(np.max(modulus)))
    network.eval()
    with torch.inference_mode():
        shape, code = network(scaled[None, None].to(device))
        return torch.polar(shape[0], decoded(code[0])).cpu().numpy()
