"""Aberrations of the lens that forms the probe, against phases that are written out here."""

from __future__ import annotations

import numpy as np
import pytest
from laws import assert_gradients, relative_error
from tiny_scan import PIXEL_M, WAVELENGTH_M, Exact, Scan, object_at

import adorym
from adorym.config import config_from
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import predict_patterns
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.errors import InputError
from adorym.forward.aberrations import AberrationSettings
from adorym.forward.object import ObjectSettings
from adorym.forward.probe import ProbeSettings
from adorym.forward.ptychography import Ptychography
from adorym.losses.counting import LeastSquares
from adorym.optics.aberrations import aberration_names
from adorym.optics.probes import ApertureProbe
from adorym.optimizers.preconditioned import Preconditioned
from adorym.parameters import ParameterSettings

SCAN = Scan(window=(20, 24), grid=(7, 8), step_px=1.8, photons=1e5)
HALF_ANGLE = 2.5e-4  # rad: 3.2 x 3.1 Fourier pixels
TRUE = {"C10": 60e-6, "C12a": 12e-6, "C12b": -9e-6, "C21a": 0.05, "C23b": -0.06, "C30": 300.0}


def pupil_and_path():
    """Pupil, and path in meters, ``(y, x)`` each, zero frequency at the corner."""
    (ny, nx), (dy, dx) = SCAN.window, PIXEL_M
    fy, fx = np.fft.fftfreq(ny, dy)[:, None], np.fft.fftfreq(nx, dx)[None]
    a, phi = WAVELENGTH_M * np.hypot(fy, fx), np.arctan2(fy, fx)
    b = np.minimum(a, 1.5 * HALF_ANGLE)
    path = b**2 / 2 * (TRUE["C10"] + TRUE["C12a"] * np.cos(2 * phi) + TRUE["C12b"] * np.sin(2 * phi))
    path += b**3 / 3 * (TRUE["C21a"] * np.cos(phi) + TRUE["C23b"] * np.sin(3 * phi)) + b**4 / 4 * TRUE["C30"]
    ry, rx = (HALF_ANGLE / WAVELENGTH_M * n * d for n, d in zip(SCAN.window, PIXEL_M, strict=True))
    relative = np.hypot(np.fft.fftfreq(ny, 1 / ny)[:, None] / ry, np.fft.fftfreq(nx, 1 / nx)[None] / rx)
    return 1 / (1 + np.exp((relative - 1) * np.sqrt(ry * rx) / 0.5)), path


def lens():
    pupil, path = pupil_and_path()
    ramp = np.exp(-1j * np.pi * sum(np.meshgrid(*(np.fft.fftfreq(n) * (n - 1) for n in SCAN.window), indexing="ij")))
    wave = np.fft.ifft2(pupil * np.exp(-2j * np.pi / WAVELENGTH_M * path) * ramp)
    return wave * np.sqrt(SCAN.photons) / np.linalg.norm(wave)


def measured():
    rows, columns = np.arange(SCAN.window[0])[:, None], np.arange(SCAN.window[1])[None, :]
    waves = [np.fft.fftshift(np.fft.fft2(object_at(y + rows, x + columns) * lens())) for y, x in SCAN.positions]
    return SCAN.dataset(patterns=Exact(np.abs(np.array(waves)) ** 2 / np.prod(SCAN.window)))


def made(initial, aberrations=None, fused=True, **run):
    probe = ProbeSettings(initial=initial, refine=aberrations is None, power=SCAN.photons)
    settings = {"object": ObjectSettings(margin_px=4), "probe": probe}
    settings |= {} if aberrations is None else {"aberrations": aberrations}
    base = {"precision": "double", "backend": "torch", "device": "cpu", "threads": 1, "epochs": 80}
    return Reconstruction(
        measured(), Recipe(Ptychography(fused=fused), settings, LeastSquares()), RunSettings(**base | run)
    )


def aperture(**known):
    """The lens as it is believed to be: without aberrations but ``known`` ones."""
    defocus = known.pop("C10", 0.0)
    return ApertureProbe(outer_radius=f"{HALF_ANGLE} rad", defocus=defocus, aberrations=known)


def with_object(run):
    store = run.problem.store
    obj = SCAN.object_array(store.shape, run.problem.bound.origin_px)
    store.restore(obj.astype(np.complex128), store.state())
    return run


def phases():
    """What the true aberrations are at the edge of the pupil."""
    names = aberration_names(3)
    values = [TRUE.get(name, 0.0) * HALF_ANGLE ** (int(name[1]) + 1) / (int(name[1]) + 1) for name in names]
    return 2 * np.pi / WAVELENGTH_M * np.array(values)


def test_the_names():
    assert aberration_names(2) == ("C10", "C12a", "C12b", "C21a", "C21b", "C23a", "C23b")
    assert aberration_names(3)[7:] == ("C30", "C32a", "C32b", "C34a", "C34b")


def test_the_start_probe_has_them():
    probe = made(aperture(**TRUE)).problem.present()["probe"][0]
    assert relative_error(probe, lens()) < 2e-3  # the defocus goes on beyond the pupil


@pytest.mark.parametrize("backend", ["torch", "autograd"])
@pytest.mark.parametrize("fused", [True, False])
def test_the_parameter_is_a_change_of_them(backend, fused):
    run = with_object(made(aperture(), AberrationSettings(), fused=fused, backend=backend))
    run.problem.values["aberrations"].array = run.problem.xp.asarray(phases(), exact=True)
    found = run.problem.xp.to_numpy(predict_patterns(run.problem, np.arange(SCAN.n)))
    assert relative_error(run.problem.bound.from_model_frame(found), measured().patterns.array) < 4e-3
    result = adorym.outcome(run, judged=False)
    for name in aberration_names(3):
        assert result.parameters[name].value[0] == pytest.approx(TRUE.get(name, 0.0), rel=1e-9)
        assert result.parameters[name].unit == "m" and result.parameters[name].start[0] == 0


@pytest.mark.parametrize("backend", ["torch", "autograd"])
@pytest.mark.parametrize("fused", [True, False])
def test_gradients(backend, fused):
    problem = with_object(made(aperture(), AberrationSettings(), fused=fused, backend=backend)).problem
    obj, params, batch = problem.inputs(np.arange(SCAN.n))
    request = adorym.forward.base.Request(frozenset({"aberrations"}), {}, 1.0)

    def loss(tree):
        return problem.model.objective(problem.xp, obj, {**params, **tree}, batch, problem.loss, request)[0], None

    assert_gradients(problem.xp, loss, {"aberrations": 0.8 * phases()}, {"aberrations": 0.1})


@pytest.mark.parametrize("optimizer", [None, Preconditioned(maximum_step=0.3)])
def test_they_are_found_with_the_object(optimizer):
    given = {} if optimizer is None else {"optimizer": optimizer}
    run = made(aperture(C10=50e-6), AberrationSettings(start=3, **given))
    losses = [record.loss for record in run.epochs()]
    assert losses[-1] < 0.05 * losses[3]
    found = {name: each.value[0] for name, each in adorym.outcome(run, judged=False).parameters.items()}
    for order in ("C10", "C12", "C21", "C23", "C30"):
        names = [name for name in aberration_names(3) if name.startswith(order)]
        wrong = np.linalg.norm([found[name] - TRUE.get(name, 0.0) for name in names])
        assert wrong < 0.2 * np.linalg.norm([TRUE.get(name, 0.0) for name in names]), order


def test_what_they_cannot_be_combined_with():
    known = AberrationSettings()
    with pytest.raises(InputError, match=r"parameters\.aberrations: the pupil is not known; give the aperture"):
        made(None, known)
    settings = {"object": ObjectSettings(), "probe": ProbeSettings(initial=aperture())}
    run = RunSettings(epochs=20, device="cpu")

    def both(**more):
        return Reconstruction(measured(), Recipe(Ptychography(), settings | more, LeastSquares()), run)

    with pytest.raises(InputError, match=r"aberrations: a probe that is refined, too, takes up the same changes; hold"):
        both(aberrations=known)
    settings["probe"] = ProbeSettings(initial=aperture(), start=10)
    both(aberrations=AberrationSettings(stop=10))
    with pytest.raises(InputError, match=r"parameters\.probe_defocus: is one of the 'aberrations', C10; leave it out"):
        both(aberrations=AberrationSettings(stop=10), probe_defocus=ParameterSettings())
    with pytest.raises(ValueError, match=r"aberrations\.C10: is the defocus; give it as 'defocus'"):
        ApertureProbe(outer_radius="4 px", aberrations={"C10": 1e-6})
    with pytest.raises(ValueError, match=r"aberrations\.C13a: no such aberration; did you mean"):
        ApertureProbe(outer_radius="4 px", aberrations={"C13a": 1e-6})


@pytest.mark.parametrize("believed", [0.8, 1.3])
@pytest.mark.parametrize("fused", [True, False])
def test_the_semi_angle_is_that_of_another_aperture(believed, fused):
    """Exactly, where the lens was believed to be dark as well; and its gradient."""
    initial = ApertureProbe(outer_radius=f"{believed * HALF_ANGLE} rad")
    made_of = {"object": ObjectSettings(margin_px=4), "semi_angle": ParameterSettings()}
    made_of["probe"] = ProbeSettings(initial=initial, refine=False, power=SCAN.photons)
    run = RunSettings(precision="double", backend="torch", device="cpu")
    wide = with_object(made(aperture()))
    problem = with_object(
        Reconstruction(measured(), Recipe(Ptychography(fused=fused), made_of, LeastSquares()), run)
    ).problem
    assert problem.present()["semi_angle"] == pytest.approx([believed * HALF_ANGLE])
    problem.values["semi_angle"].array = problem.xp.asarray(np.array([HALF_ANGLE]), exact=True)
    found, true = (each.xp.to_numpy(predict_patterns(each, np.arange(SCAN.n))) for each in (problem, wide.problem))
    assert relative_error(found, true) < 1e-9
    obj, params, batch = problem.inputs(np.arange(SCAN.n))
    request = adorym.forward.base.Request(frozenset({"semi_angle"}), {}, 1.0)

    def loss(tree):
        return problem.model.objective(problem.xp, obj, {**params, **tree}, batch, problem.loss, request)[0], None

    assert_gradients(problem.xp, loss, {"semi_angle": np.array([0.9 * HALF_ANGLE])}, {"semi_angle": 0.1 * HALF_ANGLE})
    made_of["probe"] = ProbeSettings(initial=ApertureProbe(outer_radius="3 px", softness=0.0), refine=False)
    with pytest.raises(InputError, match=r"semi_angle: the aperture's edge is too sharp to be moved; expected"):
        Reconstruction(measured(), Recipe(Ptychography(), made_of, LeastSquares()), run)


def test_the_configuration_has_units():
    initial = {"kind": "aperture", "outer_radius": "25 mrad", "aberrations": {"C12a": "2 nm", "C30": "10 um"}}
    config = config_from(
        {"data": "a.h5", "forward_model": "ptychography",
         "parameters": {"probe": {"initial": initial, "refine": False}, "aberrations": {"order": 2}}}
    )  # fmt: skip
    assert config.parameters["probe"].initial.aberrations == pytest.approx({"C12a": 2e-9, "C30": 1e-5})
    assert config.parameters["aberrations"].order == 2
