r"""Free-space propagation of sampled waves.

A wave :math:`\psi(y, x)\,e^{+ikz}` is carried on by a distance z; its carrier :math:`e^{ikz}` is left out, since no
measurement sees it. With spatial frequencies :math:`f^2 = f_y^2 + f_x^2`, pixel size :math:`\Delta`, the critical
distance :math:`z_c = N\Delta^2/\lambda` of each axis, and the half width a of the beam, the propagators and their
ranges are

* ``fresnel``: :math:`H = e^{-i\pi\lambda z f^2}`, for :math:`|z| \le z_c`;
* ``angular_spectrum``: :math:`H = e^{iz(\sqrt{k^2 - 4\pi^2 f^2} - k)}`, 0 for evanescent waves, same range;
* ``far_field``: :math:`\mathcal F[\psi]`, for :math:`a^2/\lambda z \ll 1`.

The first two are transfer functions, :math:`\psi_z = \mathcal F^{-1}[H\,\mathcal F\psi]`; window and pixels stay.
From one frequency to the next their phase steps by at most pi just within this range (Voelz & Roggemann, Appl. Opt. 48,
6132 (2009)). Formulas after Goodman, *Introduction to Fourier Optics*, 3rd ed., sections 3.10, 4.2 and 4.3. They
conserve energy and are undone by -z exactly, but for evanescent waves.

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
# Largest phase by which the paraxial kernel may be wrong at the highest frequency before a hologram leaves it.
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


TRANSFER_FUNCTIONS: dict[str, Callable[[Backend, Grid, Array | float], Array]] = {
    "fresnel": transfer_function_fresnel,
    "angular_spectrum": transfer_function_angular_spectrum,
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


def rate_rad_per_m(kind: str, grid: Grid) -> np.ndarray:
    """Phase per meter of path ``(y, x)`` of propagator ``kind``, `fresnel` or `angular_spectrum`."""
    return fresnel_rate_rad_per_m(grid) if kind == "fresnel" else angular_spectrum_rate_rad_per_m(grid)[0]


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
    r""":math:`N \Delta^2 / \lambda` for each axis (y, x): up to it transfer functions are sampled."""
    y, x = (n * p**2 / grid.wavelength_m for n, p in zip(grid.window_px, grid.pixel_size_m, strict=True))
    return y, x


def paraxial_error_rad(grid: Grid, distance_m: float) -> float:
    """Largest phase by which the paraxial kernel differs from the angular spectrum on this grid."""
    exact, passes = angular_spectrum_rate_rad_per_m(grid)
    return abs(distance_m) * float(np.max(np.abs(exact - fresnel_rate_rad_per_m(grid)), where=passes, initial=0.0))


def check(kind: str, grid: Grid, distance_m: float, where: str = WHERE, widen: str | None = None) -> None:
    """Raise a `GeometryError` unless propagator ``kind`` samples ``distance_m``; the window counts as illuminated.

    ``widen`` as in `check_transfer_function`.
    """
    if kind == "far_field":
        check_far_field(max(grid.extent_m) / 2, grid.wavelength_m, distance_m, where)
    elif kind in TRANSFER_FUNCTIONS:
        check_transfer_function(grid, distance_m, where, widen)
    else:
        known = ", ".join(["far_field", *TRANSFER_FUNCTIONS])
        raise GeometryError(where, "no such propagator", expected=known, found=repr(kind))


def needed_px(grid: Grid, distance_m: float) -> tuple[int, int]:
    """(y, x) width of the window from which on transfer functions sample ``distance_m``."""
    y, x = (math.ceil(n * abs(distance_m) / z) for n, z in zip(grid.window_px, critical_distance_m(grid), strict=True))
    return y, x


def check_transfer_function(grid: Grid, distance_m: float, where: str = WHERE, widen: str | None = None) -> None:
    r"""Require :math:`|z| \le N \Delta^2/\lambda` along both axes (Voelz & Roggemann 2009).

    Args:
        grid: Plane of the wave.
        distance_m: Distance of propagation.
        where: What to name in the error.
        widen: Setting that makes the window wide enough, where a model has one.

    Raises:
        GeometryError: The transfer function is undersampled and would wrap the wave around the window.
    """
    for axis, limit in zip("yx", critical_distance_m(grid), strict=True):
        if abs(distance_m) > limit:
            far = fresnel_number(max(grid.extent_m) / 2, grid.wavelength_m, distance_m) < FAR_FIELD_FRESNEL_NUMBER
            other = widen or ("'forward_model.propagation: far_field'" if far else "patterns of larger or more pixels")
            raise GeometryError(
                where,
                f"the transfer function is undersampled along {axis}",
                expected=f"|z| <= N pixel^2 / wavelength = {limit:.4g} m",
                found=f"{distance_m:.4g} m",
                remedy=f"check the units of distance, pixel size and energy; if they are right, use {other}",
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
