"""Several scans of one object, each with its own probe, against waves that are added up here."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from laws import relative_error
from tiny_scan import Exact, Scan, object_at

import adorym
from adorym.config import config_from
from adorym.data.dataset import ArrayPatterns
from adorym.data.native_write import write_native
from adorym.data.open import open_dataset
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import predict_patterns
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.errors import ConfigError, DataError, InputError
from adorym.forward.multislice import Multislice
from adorym.forward.object import ObjectSettings
from adorym.forward.probe import ProbeSettings
from adorym.forward.ptychography import Ptychography
from adorym.losses.counting import LeastSquares
from adorym.parameters import ParameterSettings

SCAN = Scan(scans=2, grid=(6, 7), photons=1e5)
TURN = np.array([1.0, 0.7])


def beams() -> np.ndarray:
    """``(2, 1, y, x)``: the second beam is darker, curved and off the middle."""
    first = SCAN.probe()
    y, x = np.indices(SCAN.window) - (np.array(SCAN.window)[:, None, None] - 1) / 2
    return np.array([first, 0.7 * np.roll(first, 1, -1) * np.exp(0.08j * (y**2 - x**2))])


def two_scans(scan: Scan = SCAN):
    """Data set without noise; patterns of both scans in turns."""
    rows, columns = np.arange(scan.window[0])[:, None], np.arange(scan.window[1])[None, :]
    patterns = []
    for (py, px), number in zip(scan.positions, scan.scan_index, strict=True):
        waves = np.fft.fftshift(np.fft.fft2(object_at(py + rows, px + columns) * beams()[number]), axes=(1, 2))
        patterns.append(np.sum(np.abs(waves) ** 2, axis=0) / np.prod(scan.window))
    return scan.dataset(patterns=Exact(np.array(patterns)))


def made(dataset, model=None, probe=None, settings=None, **run):
    given = {"object": ObjectSettings(margin_px=4), "probe": probe or ProbeSettings()} | (settings or {})
    base = {"precision": "double", "device": "cpu", "threads": 1, "epochs": 40, "batch_size": 11}
    return Reconstruction(dataset, Recipe(model or Ptychography(), given, LeastSquares()), RunSettings(**base | run))


@pytest.mark.parametrize("backend", ["torch", "autograd"])
def test_each_pattern_is_predicted_with_the_probe_of_its_scan(backend):
    run = made(two_scans().with_(start_probe=beams()), backend=backend)
    problem, shape = run.problem, run.problem.store.shape
    problem.values["probe"].array = problem.xp.asarray(beams(), exact=True)
    problem.store.restore(SCAN.object_array(shape, problem.bound.origin_px), problem.store.state())
    found = problem.bound.from_model_frame(problem.xp.to_numpy(predict_patterns(problem, np.arange(SCAN.n))))
    assert relative_error(found, two_scans().patterns.array) < 2e-3


def test_two_beams_are_told_apart():
    start = np.array([SCAN.probe()] * 2)
    losses = {}
    for per in ("scan", "run"):
        run = made(two_scans().with_(start_probe=start), probe=ProbeSettings(per=per), batch_size=None)
        losses[per] = [record.loss for record in run.epochs()][-1]
        result = adorym.outcome(run, judged=False)
        assert result.probe.shape == ((2, 1, *SCAN.window) if per == "scan" else (1, *SCAN.window))
    assert losses["scan"] < losses["run"] / 20


def test_the_fused_steps_are_those_of_automatic_differentiation():
    data = two_scans().with_(start_probe=beams())
    # In vacuum, where a run begins, the patterns do not depend on positions.
    settings = {"probe_positions": ParameterSettings(start=1), "intensity_scale": ParameterSettings()}
    ends = []
    for fused in (True, False):
        run = made(data, Ptychography(fused=fused), settings=settings, epochs=3, backend="autograd")
        list(run.epochs())
        ends.append(run.problem.present() | {"object": run.problem.store.values()})
    for name, value in ends[0].items():
        assert relative_error(value, ends[1][name]) < 1e-9, name
    scale = ends[0]["intensity_scale"][:, 0]
    for number in range(2):  # the probe of a scan takes up the mean of its factors
        assert scale[SCAN.scan_index == number].mean() == pytest.approx(1)


def test_each_start_has_the_counts_of_its_scan():
    data = two_scans()
    mean = data.patterns.array.sum((1, 2))
    run = made(data.with_(start_probe=beams()))
    power = np.sum(np.abs(run.problem.values["probe"].first) ** 2, axis=(1, 2, 3))
    # A common factor is between counts that no window holds and those of the mean pattern.
    expected = np.array([mean[SCAN.scan_index == number].mean() for number in range(2)])
    np.testing.assert_allclose(power[1] / power[0], expected[1] / expected[0], rtol=1e-6)


def test_variations_are_added_to_the_probe_of_the_scan():
    run = made(two_scans().with_(start_probe=beams()), probe=ProbeSettings(variations=2), epochs=3)
    problem = run.problem
    before = problem.xp.to_numpy(predict_patterns(problem, np.arange(SCAN.n)))
    gauge = run.problem.bound.updates[-1]
    weights = 0.1 * np.random.default_rng(0).normal(size=(SCAN.n, 2)) + 0.2
    problem.values["variation_weights"].array = problem.xp.asarray(weights, exact=True)
    before = problem.xp.to_numpy(predict_patterns(problem, np.arange(SCAN.n)))
    state = run._state(3, 1, dict.fromkeys(("probe", "probe_variations", "variation_weights"), 1.0))
    for name, array in gauge.apply(state).changed.items():
        problem.values[name].array = problem.xp.asarray(array, exact=True)
    after = problem.xp.to_numpy(predict_patterns(problem, np.arange(SCAN.n)))
    assert relative_error(after, before) < 1e-9
    found = problem.present()["variation_weights"]
    for number in range(2):
        np.testing.assert_allclose(found[SCAN.scan_index == number].mean(0), 0, atol=1e-12)
    assert np.isfinite([record.loss for record in run.epochs()]).all()


def test_thick_objects_have_a_probe_of_each_scan_too():
    data = two_scans().with_(start_probe=beams())
    run = made(data, Multislice(slices=2, spacing=1e-6), epochs=15)
    losses = [record.loss for record in run.epochs()]
    assert run.problem.values["probe"].array.shape == (2, 1, *SCAN.window) and losses[-1] < 0.1 * losses[0]


# -- files -------------------------------------------------------------------------------------------------------------
def files(folder, shift=0.0, **changes):
    """Both scans in files of their own, positions in meters."""
    data, names = two_scans(), []
    for number, name in enumerate(("a.h5", "b.h5")):
        rows = np.flatnonzero(SCAN.scan_index == number)
        with h5py.File(folder / name, "w") as file:
            file["dp"] = data.patterns.array[rows].astype("f4")
            file["xy"] = (SCAN.positions[rows] + [shift * number, 0]) * np.array(data.pixel_size_m)
        names.append({"path": str(folder / name)} | changes.get(name[0], {}))
    return names


COMMON = {"map": ["patterns=dp", "positions=xy", "positions_unit=m"], "energy": 8000.0, "pixel_size": (1e-7, 8e-8)}


def test_scans_with_settings_of_each(tmp_path):
    mask = np.ones(SCAN.window)
    mask[3, 4] = 0
    np.save(tmp_path / "mask.npy", mask)
    data = open_dataset(files(tmp_path, b={"mask": str(tmp_path / "mask.npy"), "frames": ":-2"}), COMMON)
    counts = np.bincount(SCAN.scan_index) - [0, 2]
    np.testing.assert_array_equal(np.bincount(data.angle_index), counts)
    assert data.mask.shape == data.patterns.shape and data.mask[:20].all() and not data.mask[-1, 3, 4]
    assert len(np.unique(data.pattern_numbers)) == data.n_patterns and list(data.angle_numbers) == [0, 1]
    # In common coordinates, whatever the smallest of each is.
    order = np.concatenate([np.flatnonzero(SCAN.scan_index == number) for number in range(2)])[:-2]
    found = data.probe_positions_px - data.probe_positions_px[0]
    np.testing.assert_allclose(found, SCAN.positions[order] - SCAN.positions[order[0]], atol=1e-6)
    assert any(note.startswith("scan 2: mask") for note in data.notes)


def test_start_probes_of_scans_are_written_and_chosen(tmp_path):
    data = two_scans().with_(start_probe=beams().astype(np.complex64))
    again = open_dataset(write_native(data, tmp_path / "both.h5"))
    np.testing.assert_array_equal(again.start_probe, data.start_probe)
    np.testing.assert_array_equal(again.angle_index, data.angle_index)
    second = open_dataset(tmp_path / "both.h5", {"angles": "1"})
    np.testing.assert_array_equal(second.start_probe, data.start_probe[1])


def test_files_of_scans_have_their_own_start_probe(tmp_path):
    data = two_scans()
    for number, name in enumerate(("a.h5", "b.h5")):
        rows = np.flatnonzero(SCAN.scan_index == number)
        one = data.with_(
            patterns=ArrayPatterns(data.patterns.array[rows]), probe_positions_px=SCAN.positions[rows],
            angle_index=np.zeros(len(rows), int), theta_rad=np.zeros(1), angle_numbers=np.zeros(1, int),
            start_probe=beams()[number], pattern_numbers=np.arange(len(rows)),
        )  # fmt: skip
        write_native(one, tmp_path / name)
    both = open_dataset([tmp_path / "a.h5", tmp_path / "b.h5"])
    np.testing.assert_array_equal(np.bincount(both.angle_index), np.bincount(SCAN.scan_index))
    np.testing.assert_allclose(both.start_probe, beams(), rtol=1e-6)
    assert both.theta_rad.shape == (2,)


def test_scans_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"b\.h5: scans of another size of patterns cannot be joined; .* data\.crop"):
        open_dataset(files(tmp_path, b={"crop": 8}), COMMON)
    with pytest.raises(DataError, match=r"b\.h5: scans with another pixel of the object cannot be joined; .* crop"):
        open_dataset(files(tmp_path, b={"pixel_size": 2e-7}), COMMON)
    with pytest.raises(DataError, match=r"b\.h5: not a scan of one object at one angle.*; give the files as a list"):
        open_dataset(files(tmp_path, b={"map": ("patterns=dp",)}), COMMON)


def test_a_list_of_scans_in_a_configuration(tmp_path):
    entries = [{**entry, "drop_frames": "none"} for entry in files(tmp_path)]
    config = config_from({"data": entries, "forward_model": "ptychography"})
    assert config.data.name == "a.h5 and 1 more"
    units = {"map": COMMON["map"], "energy": "8 keV", "pixel_size": ["100 nm", "80 nm"]}
    again = config_from({"data": {"path": entries, **units}, "forward_model": "ptychography"})
    assert open_dataset(again.data.path, again.data).n_angles == 2
    with pytest.raises(InputError, match=r"data\.path\[0\]\.drop_frame: unknown key; did you mean 'drop_frames'"):
        config_from({"data": [{"path": "a.h5", "drop_frame": 3}], "forward_model": "ptychography"})


def test_a_probe_of_each_scan_needs_scans_of_one_object():
    data = two_scans()
    assert list(ProbeSettings(per="run").notices("parameters.probe", data)) == []
    one = data.with_(angle_index=np.zeros(SCAN.n, int), theta_rad=np.zeros(1), angle_numbers=np.zeros(1, int))
    assert list(ProbeSettings(per="run").notices("parameters.probe", one)) == [
        "parameters.probe.per: has no effect: there is one scan"
    ]
    bound = type("Bound", (), {"dataset": data, "model": type("Model", (), {"kind": "tomo", "refinable": {}})})
    with pytest.raises(ConfigError, match=r"parameters\.probe\.per: a 'tomo' has one probe for all angles; expected"):
        from adorym.forward.probe import start_probe

        start_probe(bound, ProbeSettings(per="scan"), np.random.default_rng(0))
