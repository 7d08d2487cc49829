"""Losses for photon counts."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from adorym.losses.base import Loss
from adorym.registry import register
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.fused import noise


@register("loss", "least_squares")
class LeastSquares(Loss):
    r"""Least squares on amplitudes, :math:`\sum (\sqrt{I + \epsilon} - \sqrt{N + \epsilon})^2`.

    The square root of a Poisson count has the same variance, 1/4, at every count but the smallest: this is the
    Gaussian likelihood with the noise stabilized (Anscombe 1948; Thibault & Guizar-Sicairos, New J. Phys. 14, 063004
    (2012), section 2.2).

    Attributes:
        floor: :math:`\epsilon` as a fraction of the mean count in a pixel.
        saturation: Counts at and above which a pixel is only a lower bound.
    """

    code: ClassVar[int | None] = noise.LEAST_SQUARES
    amplitude_curvature: ClassVar[float | None] = 2.0
    on_amplitudes: ClassVar[bool] = True
    floor: float = Field(1e-3, gt=0)
    saturation: float | None = Field(None, gt=0)

    def terms(self, xp: Backend, predicted: Array, target: Array) -> Array:
        return xp.square(predicted - target)


@register("loss", "poisson")
class Poisson(Loss):
    r"""Poisson deviance, :math:`\sum I - N + (N + \epsilon) \log\frac{N + \epsilon}{I + \epsilon}`.

    Zero where the prediction equals the counts. For :math:`\epsilon \to 0` it differs from the negative log-likelihood
    :math:`\sum I - N \log I` by a constant of the data (Thibault & Guizar-Sicairos, New J. Phys. 14, 063004 (2012),
    eq. (7)); the floor keeps the slope finite where a dark prediction meets a count.

    Attributes:
        floor: :math:`\epsilon` as a fraction of the mean count in a pixel.
        saturation: Counts at and above which a pixel is only a lower bound.
    """

    code: ClassVar[int | None] = noise.POISSON
    amplitude_curvature: ClassVar[float | None] = 4.0
    floor: float = Field(1e-3, gt=0)
    saturation: float | None = Field(None, gt=0)

    def terms(self, xp: Backend, predicted: Array, target: Array) -> Array:
        return predicted - target + target * xp.log(target / predicted)


@register("loss", "mixed")
class Mixed(Loss):
    r"""Photon noise and Gaussian read-out noise together.

    A pixel that reads :math:`N = g K + e` for K photons and a read-out error e of standard deviation
    :math:`\sigma` has, with :math:`\sigma^2/g` added, mean and variance in the same ratio g as a Poisson count has:
    its deviance is that of a Poisson count of :math:`N + \sigma^2/g` (Snyder, Helstrom, Lanterman, Faisal & White,
    J. Opt. Soc. Am. A 12, 272 (1995), eq. (7)). The factor 1/g of the likelihood cancels in the loss a count.

    Attributes:
        read_noise: :math:`\sigma`, in the units of the data.
        gain: g, in those units per photon.
        floor: Added besides, as a fraction of the mean count in a pixel.
        saturation: Counts at and above which a pixel is only a lower bound.
    """

    code: ClassVar[int | None] = noise.POISSON
    amplitude_curvature: ClassVar[float | None] = 4.0
    read_noise: float = Field(gt=0)
    gain: float = Field(1.0, gt=0)
    floor: float = Field(1e-3, gt=0)
    saturation: float | None = Field(None, gt=0)

    @property
    def detector(self) -> tuple[float, float]:
        return self.gain, self.read_noise

    def floor_counts(self, mean_counts: float) -> float:
        return self.floor * mean_counts + self.read_noise**2 / self.gain

    def terms(self, xp: Backend, predicted: Array, target: Array) -> Array:
        return predicted - target + target * xp.log(target / predicted)


@register("loss", "intensity")
class Intensity(Loss):
    r"""Least squares on intensities, weighted with their variance, :math:`\sum (I - N)^2 / 2 (N + \epsilon)`.

    Neyman's chi-square: the quadratic approximation of the Poisson deviance, good where every pixel that matters
    counts some ten photons; at fewer it favors dark predictions (Baker & Cousins, Nucl. Instrum. Meth. 221, 437
    (1984)).

    Attributes:
        floor: :math:`\epsilon` as a fraction of the mean count in a pixel; the variance of dark pixels.
        saturation: Counts at and above which a pixel is only a lower bound.
    """

    code: ClassVar[int | None] = noise.INTENSITY
    amplitude_curvature: ClassVar[float | None] = 4.0
    floor: float = Field(1e-2, gt=0)
    saturation: float | None = Field(None, gt=0)

    def terms(self, xp: Backend, predicted: Array, target: Array) -> Array:
        return 0.5 * xp.square(predicted - target) / target


@register("loss", "huber")
class Huber(Loss):
    r"""Least squares on amplitudes whose slope hardly grows beyond a residual of :math:`k\sigma`.

    With :math:`d = \sqrt{I + \epsilon} - \sqrt{N + \epsilon}`, :math:`\sigma = 1/2` and :math:`t = k\sigma`, a pixel
    adds :math:`2 t^2 (\sqrt{1 + d^2/t^2} - 1)`: :math:`d^2` where it is small, :math:`2 t |d|` where it is large. The
    smooth form of Huber's loss (Ann. Math. Stat. 35, 73 (1964); Charbonnier et al., IEEE Trans. Image Process. 6, 298
    (1997), eq. (12)).
    For hot pixels, parasitic scattering and other counts that no prediction explains. Counts must be photons.

    Attributes:
        threshold: k, in standard deviations of the photon noise.
        floor: :math:`\epsilon` as a fraction of the mean count in a pixel.
        saturation: Counts at and above which a pixel is only a lower bound.
    """

    code: ClassVar[int | None] = noise.HUBER
    amplitude_curvature: ClassVar[float | None] = 2.0
    on_amplitudes: ClassVar[bool] = True
    threshold: float = Field(3.0, gt=0)
    floor: float = Field(1e-3, gt=0)
    saturation: float | None = Field(None, gt=0)

    @property
    def shape(self) -> float:
        return self.threshold / 2

    def terms(self, xp: Backend, predicted: Array, target: Array) -> Array:
        t2 = self.shape**2
        return 2 * t2 * (xp.sqrt(1 + xp.square(predicted - target) / t2) - 1)


@register("loss", "student")
class Student(Loss):
    r"""Least squares on amplitudes with the heavy tails of Student's distribution.

    A pixel adds :math:`s \log(1 + d^2/s)`, :math:`s = \nu/4`, the likelihood of Student's t with :math:`\nu` degrees of
    freedom for a residual :math:`d = \sqrt{I + \epsilon} - \sqrt{N + \epsilon}` of standard deviation 1/2, scaled to
    :math:`d^2` where it is small (Lange, Little & Taylor, J. Am. Stat. Assoc. 84, 881 (1989)). Unlike Huber's, its
    slope falls again: what does not fit at all is ignored. Start close to the solution. Counts must be photons.

    Attributes:
        degrees: :math:`\nu`; the fewer, the heavier the tails.
        floor: :math:`\epsilon` as a fraction of the mean count in a pixel.
        saturation: Counts at and above which a pixel is only a lower bound.
    """

    code: ClassVar[int | None] = noise.STUDENT
    amplitude_curvature: ClassVar[float | None] = 2.0
    on_amplitudes: ClassVar[bool] = True
    degrees: float = Field(8.0, gt=0)
    floor: float = Field(1e-3, gt=0)
    saturation: float | None = Field(None, gt=0)

    @property
    def shape(self) -> float:
        return self.degrees / 4

    def terms(self, xp: Backend, predicted: Array, target: Array) -> Array:
        return self.shape * xp.log(1 + xp.square(predicted - target) / self.shape)
