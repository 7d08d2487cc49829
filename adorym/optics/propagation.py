r"""Free-space propagation of sampled waves.

A wave :math:`\psi(y, x)\,e^{+ikz}` is carried on by a distance z; its carrier :math:`e^{ikz}` is left out, since no
measurement sees it. With spatial frequencies :math:`f^2 = f_y^2 + f_x^2`, pixel size :math:`\Delta`, the critical
distance :math:`z_c = N\Delta^2/\lambda` of each axis, and the half width a of the beam, the propagators and their
ranges are

* ``fresnel``: :math:`H = e^{-i\pi\lambda z f^2}`, for :math:`|z| \le z_c`;
* ``angular_spectrum``: :math:`H = e^{iz(\sqrt{k^2 - 4\pi^2 f^2} - k)}`, 0 for evanescent waves, same range;
* ``fresnel_impulse``: H is the transform of the sampled :math:`\Delta_y\Delta_x\,e^{i\pi r^2/\lambda z}/(i\lambda z)`,
  for :math:`|z| \ge z_c`;
* ``far_field``: :math:`\mathcal F[\psi]`, for :math:`a^2/\lambda z \ll 1`.

The first three are transfer functions, :math:`\psi_z = \mathcal F^{-1}[H\,\mathcal F\psi]`; window and pixels stay.
From one frequency to the next (the impulse response: from one pixel to the next) their phase steps by at most pi just
within these ranges (Voelz & Roggemann, Appl. Opt. 48, 6132 (2009)). Formulas after Goodman, *Introduction to Fourier
Optics*, 3rd ed., sections 3.10, 4.2 and 4.3. The first two conserve energy and are undone by -z exactly, but for
evanescent waves.

Arrays have the zero frequency at the corner; axes are (..., y, x), pixels need not be square. A distance may be a
number, or an array of the backend that is differentiated; distances ``(d,)`` give transfer functions ``(d, y, x)``.
A transfer function that does not change is worth keeping: `propagate` takes it ready-made.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from adorym.errors import GeometryError
from adorym.optics.geometry import Grid, fresnel_number
from adorym.wrapper.base import Array, Backend

WHERE = "forward_model.propagation"

# Fresnel number of the half window below which the curvature of the wave no longer matters; Goodman, section 4.3,
# asks for "much less than 1".
FAR_FIELD_FRESNEL_NUMBER = 0.1
# Largest phase by which the paraxial kernel may be wrong at the highest frequency before `choose` leaves it.
PARAXIAL_ERROR_RAD = 0.1
NUMBER = (int, float, np.number)


# -- transfer functions --------------------------------------------------------------------------------------------
def transfer_function_fresnel(xp: Backend, grid: Grid, distance_m: Array | float) -> Array:
    """``exp(-i pi lambda z f^2)`` ``(y, x)`` complex: paraxial propagation (Goodman, 4.2)."""
    return _phase_kernel(xp, fresnel_rate_rad_per_m(grid), distance_m)


def transfer_function_angular_spectrum(xp: Backend, grid: Grid, distance_m: Array | float) -> Array:
    """``exp(i z (sqrt(k^2 - q^2) - k))``, q = 2 pi f, ``(y, x)`` complex, 0 for evanescent waves (Goodman, 3.10)."""
    rate, passes = angular_spectrum_rate_rad_per_m(grid)
    kernel = _phase_kernel(xp, rate, distance_m)
    return kernel if passes.all() else kernel * xp.asarray(passes.astype(float))


def transfer_function_fresnel_impulse(xp: Backend, grid: Grid, distance_m: Array | float) -> Array:
    """Transform of the sampled impulse response, ``(y, x)`` complex: for long distances (Goodman, 4.2).

    Its modulus is not 1: what leaves the window is lost, so that -z does not undo it.
    """
    (ny, nx), (dy, dx) = grid.window_px, grid.pixel_size_m
    y, x = np.fft.fftfreq(ny, 1 / (ny * dy))[:, None], np.fft.fftfreq(nx, 1 / (nx * dx))[None, :]
    scaled_area = math.pi * (y**2 + x**2) / grid.wavelength_m
    # The root turns the orthonormal transform into the plain one.
    constant = dy * dx / grid.wavelength_m * math.sqrt(ny * nx)
    if isinstance(distance_m, NUMBER):
        z = float(distance_m)
        response = -1j * constant / z * np.exp(1j * scaled_area / z)
        return xp.asarray(np.fft.fft2(response, norm="ortho"))
    inverse = 1.0 / _over_image(xp, distance_m)
    phase = xp.asarray(scaled_area) * inverse
    return xp.fft2(xp.complex(xp.sin(phase), -xp.cos(phase)) * (constant * inverse))


TRANSFER_FUNCTIONS: dict[str, Callable[[Backend, Grid, Array | float], Array]] = {
    "fresnel": transfer_function_fresnel,
    "angular_spectrum": transfer_function_angular_spectrum,
    "fresnel_impulse": transfer_function_fresnel_impulse,
}


def fresnel_rate_rad_per_m(grid: Grid) -> np.ndarray:
    """``pi lambda f^2`` ``(y, x)`` float64: phase per meter of path."""
    fy, fx = grid.frequencies_per_m()
    return math.pi * grid.wavelength_m * (fy**2 + fx**2)


def angular_spectrum_rate_rad_per_m(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """``k - sqrt(k^2 - q^2)`` ``(y, x)`` float64, and where waves propagate, ``(y, x)`` bool."""
    fy, fx = grid.frequencies_per_m()
    k, q2 = grid.wavenumber_per_m, (2 * math.pi) ** 2 * (fy**2 + fx**2)
    # k - sqrt(k^2 - q^2) cancels all digits of an X-ray's small angle; this form of it does not.
    return q2 / (k + np.sqrt(np.maximum(k**2 - q2, 0.0))), q2 < k**2


def propagate(xp: Backend, wave: Array, transfer_function: Array) -> Array:
    """``F^-1[H F psi]`` of ``wave`` ``(..., y, x)`` complex; ``transfer_function`` broadcasts against it."""
    return xp.ifft2(transfer_function * xp.fft2(wave))


def fresnel(xp: Backend, wave: Array, grid: Grid, distance_m: Array | float) -> Array:
    """``wave`` ``(..., y, x)`` propagated paraxially by ``distance_m``; see `transfer_function_fresnel`."""
    return propagate(xp, wave, transfer_function_fresnel(xp, grid, distance_m))


def angular_spectrum(xp: Backend, wave: Array, grid: Grid, distance_m: Array | float) -> Array:
    """``wave`` ``(..., y, x)`` propagated at any angle; see `transfer_function_angular_spectrum`."""
    return propagate(xp, wave, transfer_function_angular_spectrum(xp, grid, distance_m))


def _over_image(xp: Backend, distance_m: Array) -> Array:
    """Distances ``(...)`` as ``(..., 1, 1)``, to be multiplied with an image."""
    # Only what is outside the graph may be converted: a traced array is in the backend's precision already.
    z = xp.asarray(distance_m) if isinstance(distance_m, np.ndarray) else distance_m
    return xp.reshape(z, (*z.shape, 1, 1)) if len(z.shape) else z


def _phase_kernel(xp: Backend, rate: np.ndarray, distance_m: Array | float) -> Array:
    """``exp(-i z rate)``; the phase of a plain number is computed in double precision whatever the backend's."""
    if isinstance(distance_m, NUMBER):
        return xp.asarray(np.exp(-1j * float(distance_m) * rate))
    phase = _over_image(xp, distance_m) * xp.asarray(rate)
    return xp.complex(xp.cos(phase), -xp.sin(phase))


# -- sampling ------------------------------------------------------------------------------------------------------
def critical_distance_m(grid: Grid) -> tuple[float, float]:
    r""":math:`N \Delta^2 / \lambda` for each axis (y, x): transfer functions up to it, impulse responses beyond it."""
    y, x = (n * p**2 / grid.wavelength_m for n, p in zip(grid.window_px, grid.pixel_size_m, strict=True))
    return y, x


def paraxial_error_rad(grid: Grid, distance_m: float) -> float:
    """Largest phase by which the paraxial kernel differs from the angular spectrum on this grid."""
    exact, passes = angular_spectrum_rate_rad_per_m(grid)
    return abs(distance_m) * float(np.max(np.abs(exact - fresnel_rate_rad_per_m(grid)), where=passes, initial=0.0))


def choose(grid: Grid, distance_m: float) -> str:
    """Name of the propagator that samples ``distance_m``, or ``"none"``.

    Within the critical distance ``fresnel``, or ``angular_spectrum`` where the paraxial phase would be wrong by more
    than 0.1 rad; beyond it ``fresnel_impulse``, and ``far_field`` once the Fresnel number of the half window is below
    0.1. ``"none"``: the distance lies between the critical distances of the two axes.
    """
    if abs(distance_m) <= min(critical_distance_m(grid)):
        paraxial = paraxial_error_rad(grid, distance_m) <= PARAXIAL_ERROR_RAD
        return "fresnel" if paraxial else "angular_spectrum"
    if abs(distance_m) < max(critical_distance_m(grid)):
        return "none"
    number = fresnel_number(max(grid.extent_m) / 2, grid.wavelength_m, distance_m)
    return "far_field" if number < FAR_FIELD_FRESNEL_NUMBER else "fresnel_impulse"


def check(kind: str, grid: Grid, distance_m: float, where: str = WHERE) -> None:
    """Raise a `GeometryError` unless propagator ``kind`` samples ``distance_m``; the window counts as illuminated."""
    if kind == "far_field":
        check_far_field(max(grid.extent_m) / 2, grid.wavelength_m, distance_m, where)
    elif kind == "fresnel_impulse":
        check_impulse_response(grid, distance_m, where)
    elif kind in TRANSFER_FUNCTIONS:
        check_transfer_function(grid, distance_m, where)
    else:
        known = ", ".join(["far_field", *TRANSFER_FUNCTIONS])
        raise GeometryError(where, "no such propagator", expected=known, found=repr(kind))


def check_transfer_function(grid: Grid, distance_m: float, where: str = WHERE) -> None:
    r"""Require :math:`|z| \le N \Delta^2/\lambda` along both axes (Voelz & Roggemann 2009).

    Raises:
        GeometryError: The transfer function is undersampled and would wrap the wave around the window.
    """
    for axis, limit, n in zip("yx", critical_distance_m(grid), grid.window_px, strict=True):
        if abs(distance_m) > limit:
            pad = f"pad the window to at least {math.ceil(n * abs(distance_m) / limit)} pixels along {axis}"
            raise GeometryError(
                where,
                f"the transfer function is undersampled along {axis}",
                expected=f"|z| <= N pixel^2 / wavelength = {limit:.4g} m",
                found=f"{distance_m:.4g} m",
                remedy=f"{pad}{_alternative(grid, distance_m)}",
            )


def check_impulse_response(grid: Grid, distance_m: float, where: str = WHERE) -> None:
    r"""Require :math:`|z| \ge N \Delta^2/\lambda` along both axes (Voelz & Roggemann 2009).

    Raises:
        GeometryError: The impulse response is undersampled.
    """
    for axis, limit in zip("yx", critical_distance_m(grid), strict=True):
        if abs(distance_m) < limit:
            raise GeometryError(
                where,
                f"the impulse response is undersampled along {axis}",
                expected=f"|z| >= N pixel^2 / wavelength = {limit:.4g} m",
                found=f"{distance_m:.4g} m",
                remedy=f"use a smaller window{_alternative(grid, distance_m)}",
            )


def check_far_field(half_width_m: float, wavelength_m: float, distance_m: float, where: str = WHERE) -> None:
    r"""Require a Fresnel number :math:`a^2/\lambda z` of at most 0.1 (Goodman, section 4.3).

    A scanned probe that is refined absorbs the curvature of the wave, so that ptychography may do without this check;
    a single pattern of an unscanned object may not.

    Args:
        half_width_m: Half width a of what is illuminated.
        wavelength_m: Wavelength.
        distance_m: Sample to detector.
        where: What to name in the error.

    Raises:
        GeometryError: The detector is not in the far field.
    """
    number = fresnel_number(half_width_m, wavelength_m, distance_m)
    if number > FAR_FIELD_FRESNEL_NUMBER:
        needed = half_width_m**2 / (wavelength_m * FAR_FIELD_FRESNEL_NUMBER)
        raise GeometryError(
            where,
            "the detector is not in the far field",
            expected=f"Fresnel number a^2 / (wavelength z) <= {FAR_FIELD_FRESNEL_NUMBER}, that is z >= {needed:.4g} m",
            found=f"{number:.3g} at z = {distance_m:.4g} m",
            remedy="use propagation 'fresnel', or 'angular_spectrum' for large angles",
        )


def _alternative(grid: Grid, distance_m: float) -> str:
    kind = choose(grid, distance_m)
    return "" if kind == "none" else f" or use propagation '{kind}'"
