"""Objects that change while they are measured, against data that are made here."""

from __future__ import annotations

import numpy as np
import pytest
from laws import relative_error
from tiny_scan import Exact, Scan, object_at
from typer.testing import CliRunner

import adorym
from adorym.cli import app
from adorym.config import config_from
from adorym.constraints.object import NonNegativity, PhaseOnly
from adorym.data.dataset import Dataset
from adorym.data.native_write import write_native
from adorym.data.open import open_dataset
from adorym.data.result import ParameterResult, Result, read_result, write_result
from adorym.engine.loop import Reconstruction
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.errors import ConfigError, ConfigErrors, DataError, InputError
from adorym.forward.object import MixedObject
from adorym.forward.probe import ProbeSettings
from adorym.forward.ptychography import Ptychography
from adorym.forward.time_course import TimeSettings, without_mixtures
from adorym.forward.tomography import TomogramSettings, Tomography
from adorym.initializers.tomographic import FilteredBackProjection
from adorym.losses.counting import LeastSquares
from adorym.parameters import ParameterSettings

SCAN = Scan(window=(20, 22), size_px=2.5, grid=(7, 8), step_px=1.8, photons=1e5)
ANGLES, SIZE = 48, 20
BASE = {"precision": "double", "backend": "torch", "device": "cpu", "threads": 1}


# -- a disc that grows, seen from all sides ----------------------------------------------------------------------------
def radius(number):
    return 4.0 + 4.0 * np.asarray(number) / (ANGLES - 1)


def growing_disc(rows=2, **changes):
    """Projections at golden angles: exact chords of a disc off the axis, whose radius grows from 4 to 8 px."""
    theta = np.arange(ANGLES) * np.pi * (np.sqrt(5) - 1) / 2 % np.pi
    u = (np.arange(SIZE * 4) + 0.5) / 4 - SIZE / 2
    away = u[None] - (1.0 * np.cos(theta) - 0.5 * np.sin(theta))[:, None]
    chords = 2 * np.sqrt(np.maximum(radius(np.arange(ANGLES))[:, None] ** 2 - away**2, 0))
    seen = np.exp(-0.03 * chords).reshape(ANGLES, SIZE, 4).mean(2)
    patterns = np.repeat(seen[:, None], rows, axis=1)
    given = {"theta_rad": theta, "angle_index": np.arange(ANGLES), "open_beam_counts": 1.0}
    return Dataset(Exact(patterns), **(given | changes))


def disc(number):
    x, z = (np.arange(SIZE * 4) + 0.5) / 4 - SIZE / 2 - np.array([[1.0], [-0.5]])
    inside = x[:, None] ** 2 + z[None, :] ** 2 < radius(number) ** 2
    return 0.03 * inside.reshape(SIZE, 4, SIZE, 4).mean((1, 3))


def tomogram(time, dataset=None, constraints=(), initial=None, **run):
    settings = {"object": TomogramSettings(time=time, initial=initial)} | run.pop("settings", {})
    recipe = Recipe(Tomography(center=0.0), settings, LeastSquares(), constraints=constraints)
    run = {"epochs": 15, "batch_size": 12} | run
    return Reconstruction(growing_disc() if dataset is None else dataset, recipe, RunSettings(**(BASE | run)))


def finished(run):
    for _ in run.epochs():
        pass
    return adorym.outcome(run, judged=False)


def error(result, number):
    obj = result.at(float(number)).object if "times" in result.parameters else result.object
    return relative_error(obj[0], disc(number))


@pytest.mark.parametrize("functions", ["cosine", "polynomial"])
def test_a_volume_is_found_at_each_moment(functions):
    still = finished(tomogram(None))
    changing = finished(tomogram(TimeSettings(basis=4, functions=functions)))
    for number in (0, ANGLES // 2, ANGLES - 1):
        assert error(changing, number) < 0.75 * error(still, number), number


def test_refined_coefficients_fit_better_than_fixed_ones():
    fixed = tomogram(TimeSettings(basis=2), settings={"time_course": ParameterSettings(refine=False)})
    free = tomogram(TimeSettings(basis=2), settings={"time_course": ParameterSettings()})
    losses = [[record.loss for record in run.epochs()][-1] for run in (fixed, free)]
    assert losses[1] < 0.9 * losses[0]


@pytest.mark.parametrize("store", ["do", "h5"])
def test_every_store_gives_the_same(store, tmp_path):
    scratch = {"scratch": str(tmp_path)} if store == "h5" else {}
    settings = {"time_course": ParameterSettings()}
    there, here = (
        finished(tomogram(TimeSettings(basis=3), epochs=3, settings=settings, **each))
        for each in ({"store": store, **scratch}, {})
    )
    np.testing.assert_allclose(there.object, here.object, atol=1e-7)
    np.testing.assert_allclose(there.parameters["time_course"].value, here.parameters["time_course"].value, atol=1e-7)


def test_a_start_volume_is_the_first_of_the_basis():
    run = tomogram(TimeSettings(basis=3), epochs=0, initial=FilteredBackProjection())
    made, still = finished(run), finished(tomogram(None, epochs=0, initial=FilteredBackProjection()))
    np.testing.assert_allclose(made.object[..., :SIZE], still.object, atol=1e-7)
    assert not made.object[..., SIZE:].any()


# -- a thin object that changes ----------------------------------------------------------------------------------------
def thin_at(y, x, part):
    """A film whose phase fades from one pattern to another, in the middle of the scan fastest."""
    return object_at(y, x) * (1 - part) + part * object_at(y, x) * np.exp(-0.8j * np.cos(0.9 * y + 0.4 * x))


def fading(scans=3):
    """Every place is scanned several times in a row; patterns by the sum over the window."""
    rows, columns = np.arange(SCAN.window[0])[:, None], np.arange(SCAN.window[1])[None, :]
    positions = np.tile(SCAN.positions, (scans, 1))
    parts = np.linspace(0, 1, len(positions))
    patterns = []
    for (py, px), part in zip(positions, parts, strict=True):
        wave = thin_at(py + rows, px + columns, part) * SCAN.probe()[0]
        patterns.append(np.abs(np.fft.fftshift(np.fft.fft2(wave))) ** 2 / np.prod(SCAN.window))
    still = {"angle_index": np.zeros(len(positions), int), "theta_rad": np.zeros(1)}
    return SCAN.dataset(
        patterns=Exact(np.array(patterns)), probe_positions_px=positions, start_probe=SCAN.probe(), **still
    )


def thin(time, fused=True, constraints=(), **run):
    settings = {"object": MixedObject(time=time, margin_px=4), "probe": ProbeSettings(refine=False)}
    recipe = Recipe(Ptychography(fused=fused), settings, LeastSquares(), constraints=constraints)
    return Reconstruction(fading(), recipe, RunSettings(**(BASE | {"epochs": 40, "batch_size": 42} | run)))


def thin_errors(run):
    """NRMSE in the middle at the first, the middle and the last pattern."""
    (ny, nx), (oy, ox) = run.problem.store.shape[:2], run.problem.bound.origin_px
    y, x = np.arange(ny)[:, None] - oy, np.arange(nx)[None, :] - ox
    result, n, inside = finished(run), run.problem.dataset.n_patterns, (slice(12, -12), slice(12, -12))
    made = []
    for part in (0.0, 0.5, 1.0):
        found = (result.at(part * (n - 1)) if "times" in result.parameters else result).object[..., 0][inside]
        true = thin_at(y, x, part)[inside]
        made.append(relative_error(found * np.exp(-1j * np.angle(np.vdot(true, found))), true))
    return np.array(made)


def test_a_thin_object_is_found_at_each_moment():
    still, changing = thin_errors(thin(None)), thin_errors(thin(TimeSettings(basis=2, functions="polynomial")))
    assert (changing[[0, 2]] < 0.5 * still[[0, 2]]).all()


# -- parts -------------------------------------------------------------------------------------------------------------
def test_the_gauge_takes_out_mixtures_and_nothing_else():
    rng = np.random.default_rng(3)
    first, rest = rng.normal(size=(9, 3)), rng.normal(size=(9, 3))
    rest -= first @ np.linalg.lstsq(first, rest, rcond=None)[0]
    mixed = first + first @ rng.normal(size=(3, 3)) + rest
    np.testing.assert_allclose(without_mixtures(mixed, first), first + rest, atol=1e-12)


def test_the_object_at_a_time_and_its_mean():
    course = np.array([[1.0, 1.0], [1.0, 0.0], [1.0, -1.0]])
    obj = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    named = {"time_course": course, "times": np.array([0.0, 2.0, 4.0])}
    result = Result(obj, "attenuation", parameters={n: ParameterResult(a, "") for n, a in named.items()})
    np.testing.assert_allclose(result.at(1.0).object, obj[..., :2] + 0.5 * obj[..., 2:])
    np.testing.assert_allclose(result.at().object, obj[..., :2])
    with pytest.raises(DataError, match=r"time: outside of the scan; expected 0 to 4; found 5.0"):
        result.at(5.0)
    with pytest.raises(DataError, match=r"the object of this result does not change.*parameters\.object\.time"):
        Result(obj, "attenuation").at(1.0)


def test_one_moment_is_exported(tmp_path):
    write_result(finished(tomogram(TimeSettings(basis=2), epochs=1)), tmp_path / "result.h5")
    done = CliRunner().invoke(app, ["export", str(tmp_path), "--to", "npz", "--time", "3"])
    assert done.exit_code == 0, done.output
    expected = read_result(tmp_path).at(3.0).object
    np.testing.assert_allclose(np.load(tmp_path / "object.npz")["object"], expected, rtol=1e-6)


def test_times_of_the_data_are_used(tmp_path):
    times = np.linspace(0, 1, ANGLES) ** 2
    write_native(growing_disc(extra={"times": times}), tmp_path / "data.h5")
    run = tomogram(TimeSettings(basis=2), open_dataset(tmp_path / "data.h5"), epochs=0)
    result = finished(run)
    np.testing.assert_allclose(result.parameters["times"].value, times)
    np.testing.assert_allclose(result.parameters["time_course"].value[:, 1], np.cos(np.pi * times))
    with pytest.raises(
        DataError, match=r"times of the patterns tell no course.*48 different times.*found an array \(3,\)"
    ):
        tomogram(TimeSettings(basis=2), growing_disc(extra={"times": np.arange(3.0)}))


def test_what_it_cannot_be_combined_with():
    def asked(kind, more=(), **obj):
        model = {"kind": kind} | dict(more)
        config_from({"data": "a.h5", "forward_model": model, "parameters": {"object": obj}})

    with pytest.raises(ConfigErrors, match=r"object\.time: unknown key"):
        asked("multislice", {"slices": 2}, time={"basis": 2})
    with pytest.raises(ConfigErrors, match=r"object\.time: unknown key"):
        asked("ptychotomography", time={"basis": 2})
    with pytest.raises(ConfigErrors, match=r"object\.time: cannot be combined with several 'states'"):
        asked("ptychography", states=2, time={"basis": 2})
    with pytest.raises(ConfigErrors, match=r"object\.representation: objects of several moments are added"):
        asked("ptychography", representation="delta_beta", time={"basis": 2})
    with pytest.raises(InputError, match=r"constraints\[0\]: 'non_negativity' acts on an object that does not change"):
        tomogram(TimeSettings(basis=2), constraints=(NonNegativity(),))
    with pytest.raises(InputError, match=r"constraints\[0\]: 'phase_only' acts on an object that does not change"):
        thin(TimeSettings(basis=2), constraints=(PhaseOnly(),))
    with pytest.raises(ConfigError, match=r"parameters\.time_course: has no effect: the object does not change"):
        tomogram(None, settings={"time_course": ParameterSettings()})
    with pytest.raises(ConfigError, match=r"object\.time: the scan grows.*reconstruct once the scan has ended"):
        tomogram(TimeSettings(basis=2), growing_disc(growing=True))
    with pytest.raises(ConfigError, match=r"time\.basis: as many basis objects as patterns"):
        tomogram(TimeSettings(basis=48))
