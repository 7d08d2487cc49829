"""A run in stages: coarse to fine, one history, and the same answer after an interruption."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from tiny_scan import WAVELENGTH_M, Scan

import adorym
from adorym.commands.run import carry_out_stages
from adorym.commands.stages import stages_of
from adorym.config import config_from
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.result import ParameterResult, Result, read_result
from adorym.engine.stage_grid import regridded
from adorym.errors import ConfigError, ConfigErrors

SCAN = Scan(window=(16, 20), grid=(6, 6), step_px=2.0, size_px=2.2, photons=1e6)
COARSE = {"data": {"crop": [8, 10]}, "run": {"epochs": 4}}
LAST = {"run": {"epochs": 3}, "parameters": {"probe_positions": {"start": 5}}}


def configuration(folder, *stages, **run):
    with h5py.File(folder / "scan.h5", "w") as file:
        file["dp"] = np.random.default_rng(0).poisson(SCAN.patterns()).astype("f4")
        file["xy"] = SCAN.positions * [1e-7, 8e-8]
        file["probe"] = SCAN.probe()
    entries = ["patterns=dp", "positions=xy", "positions_unit=m", "probe=probe"]
    # The window is 1.6 um wide, whatever part of the detector is used.
    distance = {"distance": f"{1.6e-6 * 50e-6 / WAVELENGTH_M:.10g} m", "detector_pixel_size": "50 um"}
    data = {"path": str(folder / "scan.h5"), "map": entries, "energy": "8 keV", **distance}
    settings = {"device": "cpu", "threads": 1, "precision": "double", "stages": list(stages), "checkpoint_every": 1}
    output = {"progress": "quiet", "report": False}
    return config_from({"data": data, "forward_model": "ptychography", "run": settings | run, "output": output})


def test_stages_continue_each_other(tmp_path):
    config = configuration(tmp_path, COARSE, LAST)
    result = carry_out_stages(config, tmp_path / "out").result
    assert list(result.history["epoch"]) == list(range(1, 8))
    coarse = read_result(tmp_path / "out/stage_1.h5")
    assert coarse.probe.shape[1:] == (8, 10) and result.probe.shape[1:] == (16, 20)
    np.testing.assert_allclose(coarse.pixel_size_m, (2e-7, 1.6e-7), rtol=1e-6)
    np.testing.assert_allclose(result.pixel_size_m, (1e-7, 8e-8), rtol=1e-6)
    np.testing.assert_array_equal(result.history["loss"][:4], coarse.history["loss"])
    # The fine stage begins better than it does from vacuum.
    alone = carry_out_stages(configuration(tmp_path, epochs=1), tmp_path / "alone").result
    assert result.history["loss"][4] < 0.5 * alone.history["loss"][0]
    assert not np.array_equal(result.parameters["probe_positions"].value, result.parameters["probe_positions"].start)


@pytest.mark.parametrize("store", ["dp", "do", "h5"])
def test_an_interrupted_stage_goes_on(tmp_path, store):
    config = configuration(tmp_path, COARSE, LAST, store=store)
    whole = carry_out_stages(config, tmp_path / "whole").result
    for at in (2, 6):  # in the first and in the second stage
        folder = tmp_path / f"stopped_{at}"

        class Stop(adorym.Callback):
            seen = 0

            def on_start(self, run, asked=at):
                self.asked = asked

            def on_epoch(self, run, record):
                Stop.seen += 1
                if Stop.seen == self.asked:
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            carry_out_stages(config, folder, callbacks=[Stop()])
        again = carry_out_stages(config, folder, resume=True).result
        np.testing.assert_allclose(again.object, whole.object, atol=1e-9)
        np.testing.assert_allclose(again.history["loss"], whole.history["loss"], rtol=1e-9)


def test_refined_positions_go_through_three_stages(tmp_path):
    """Each stage finds its pixels from the recorded positions, however far those of the last one have moved."""
    refined = {"parameters": {"probe_positions": {"start": 2}}}
    config = configuration(tmp_path, {**COARSE, **refined}, {"data": {"crop": [12, 14]}, "run": {"epochs": 2}}, LAST)
    result = carry_out_stages(config, tmp_path / "out").result
    np.testing.assert_allclose(
        read_result(tmp_path / "out/stage_2.h5").pixel_size_m, (1.6e-6 / 12, 1.6e-6 / 14), rtol=1e-6
    )
    np.testing.assert_allclose(result.pixel_size_m, (1e-7, 8e-8), rtol=1e-6)
    assert len(result.history["loss"]) == 9


def test_an_object_goes_to_finer_pixels():
    """A smooth wave, written down on both grids; windows of even and odd sizes."""

    def wave(y, x):
        return np.exp(1j * (0.11 * y + np.cos(0.07 * x)))

    positions, ratio, window = np.random.default_rng(1).uniform(0, 30, (9, 2)), np.array([2.0, 2.5]), (10, 12)
    y, x = (np.arange(n) - 4.0 for n in (44, 46))
    start = ParameterResult(positions + 0.5, "px", positions)
    coarse = Result(
        object=wave(y[:, None], x)[..., None], representation="real_imag", origin_px=(4, 4), pixel_size_m=(2e-7, 5e-7),
        probe=np.ones((1, *window)), parameters={"probe_positions": start},
        numbers={"pattern": np.arange(9), "recorded_px": positions},
    )  # fmt: skip
    finer = Dataset(ArrayPatterns(np.ones((9, 20, 30))), probe_positions_px=positions * ratio + [3, 1])
    made = regridded(coarse, finer)
    assert made.probe.shape == (1, 20, 30)
    np.testing.assert_allclose(made.pixel_size_m, (1e-7, 2e-7))
    np.testing.assert_allclose(made.parameters["probe_positions"].value, (positions + 0.5) * ratio + [3, 1])
    # A point of a window whose middle pixel is at the same place, p + N // 2, on both grids.
    ny, nx = (np.arange(n) - zero for n, zero in zip(made.object.shape, made.origin_px, strict=False))
    there_y, there_x = (ny - 3 - 10) / 2.0 + 5, (nx - 1 - 15) / 2.5 + 6
    inside = (slice(6, -6), slice(6, -6))
    np.testing.assert_allclose(made.object[..., 0][inside], wave(there_y[:, None], there_x)[inside], atol=2e-3)


def test_mistakes_in_stages_are_told(tmp_path):
    with pytest.raises(ConfigErrors, match=r"run\.stages\[1\]\.data\.corp: unknown key; did you mean 'crop'"):
        stages_of(configuration(tmp_path, COARSE, {"data": {"corp": 4}}))
    with pytest.raises(ConfigErrors, match=r"stages\[0\]\.forward_model: not for a stage to change; expected data"):
        stages_of(configuration(tmp_path, {"forward_model": "multislice"}))
    with pytest.raises(ConfigErrors, match=r"stages\[0\]\.run\.stages: a stage has no stages; list them one by"):
        stages_of(configuration(tmp_path, {"run": {"stages": []}}))
    given = config_from({"data": {"path": "a.h5", "pixel_size": "10 nm"}, "forward_model": "ptychography",
                         "run": {"stages": [COARSE]}})  # fmt: skip
    with pytest.raises(ConfigErrors, match=r"stages\[0\]\.data\.crop: changes the object's pixel.*; give the 'pixel"):
        stages_of(given)
    with pytest.raises(ConfigError, match=r"run\.stages: a single reconstruction has no stages; run it by"):
        adorym.prepare(configuration(tmp_path, COARSE))
    with pytest.raises(ConfigError, match="run.stages: a stage with other pixels needs a scan of a thin object"):
        volume = Result(
            object=np.zeros((4, 4, 1, 2)), representation="delta_beta", probe=np.ones((1, 4, 4)), origin_px=(0, 0)
        )
        data = Dataset(ArrayPatterns(np.ones((2, 8, 8))), probe_positions_px=np.array([[0.0, 0], [1, 1]]))
        regridded(volume, data)
