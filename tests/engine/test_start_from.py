"""A result re-enters: what a run predicts at its start is what the earlier run predicted at its end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import MODELS, insert
from tiny_runs import calm, everything, finished, measured, tiny, value_of

from adorym.data.dataset import ArrayPatterns
from adorym.data.readers.base import choose
from adorym.data.result import ParameterResult, Result, read_result, write_result
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import outcome, predict_patterns
from adorym.engine.recipe import Recipe
from adorym.engine.regrid import on_grid
from adorym.engine.settings import RunSettings
from adorym.errors import ConfigError
from adorym.forward.object import ObjectSettings
from adorym.forward.probe import ProbeSettings
from adorym.losses.counting import LeastSquares
from adorym.optics.probes import PlaneProbe
from adorym.parameters import ParameterSettings

# A result holds single precision.
SINGLE = 2e-5


def predicted(run: Reconstruction, patterns: np.ndarray | None = None) -> np.ndarray:
    """Intensities of ``patterns``, of all if absent."""
    n = run.problem.dataset.n_patterns
    chosen = np.arange(n) if patterns is None else patterns
    return run.problem.xp.to_numpy(predict_patterns(run.problem, chosen))


def kept(run: Reconstruction, folder, config: str = "") -> str:
    """Path of the result of ``run``."""
    return str(write_result(outcome(run, config), folder / "result.h5"))


def again(path: str, dataset=None, parameters=None, **run) -> Reconstruction:
    """A run that goes on from ``path``."""
    return tiny(dataset, parameters or {}, {"start_from": path}, **run)


EVERY = [(case, "dp") for make in MODELS.values() for case in make()]
EVERY += [(make()[0], store) for make in MODELS.values() for store in ("do", "h5")]


@pytest.mark.parametrize("case, store", [pytest.param(*each, id=f"{each[0].name}-{each[1]}") for each in EVERY])
def test_every_model_continues_with_all_that_it_knew(case, store, tmp_path):
    """All parameters at true values, none of which is a start value; the run that goes on names none of them."""
    before = case.reconstruction()
    shape, origin = before.problem.store.shape, before.problem.bound.origin_px
    insert(before.problem, case.truth(shape, origin))
    bare = {name: each for name, each in case.settings.items() if each.initial is None and name == "object"}
    recipe = Recipe(case.model, bare, LeastSquares(), start_from=kept(before, tmp_path))
    scratch = {"scratch": str(tmp_path)} if store == "h5" else {}
    run = RunSettings(precision="double", backend="autograd", device="cpu", store=store, **scratch)
    after = Reconstruction(case.dataset, recipe, run)
    old, new = predicted(before), predicted(after)
    assert np.abs(old - new).max() <= SINGLE * np.abs(old).max()


def test_the_loss_goes_on_and_a_fresh_start_is_elsewhere(tmp_path):
    """One epoch of one batch: its loss is that before the first step, while the last one is a mean over batches."""
    before = finished(tiny(epochs=8))
    path = kept(before, tmp_path)
    after = finished(again(path, parameters=calm(), epochs=1, batch_size=1000))
    fresh = finished(tiny(epochs=1, batch_size=1000))
    last = before.progress.history["loss"][-1]
    assert 0.7 * last < after.progress.history["loss"][0] < 1.01 * last
    assert fresh.progress.history["loss"][0] > 2 * last


def test_a_part_of_the_patterns_and_another_margin(tmp_path):
    before = finished(tiny(parameters=everything(), epochs=4))
    path = kept(before, tmp_path)
    part = choose(measured(), np.arange(1, 20, 3), "every third")
    after = again(path, part, {"object": ObjectSettings(margin_px=9)})
    old, new = predicted(before, np.arange(1, 20, 3)), predicted(after)
    assert np.abs(old - new).max() <= SINGLE * np.abs(old).max()
    np.testing.assert_allclose(
        value_of(after, "probe_positions"), value_of(before, "probe_positions")[1::3], atol=1e-12
    )
    # And back: patterns that the second result does not know start where the data have them.
    second = tmp_path / "second"
    second.mkdir()
    whole = again(kept(after, second))
    old, new = predicted(before), predicted(whole)
    known = part.pattern_numbers
    assert np.abs(old[known] - new[known]).max() <= SINGLE * np.abs(old).max()
    assert whole.problem.dataset.n_patterns == 20


def test_the_probe_keeps_its_power(tmp_path):
    before = tiny()
    insert(before.problem, {"probe": 3 * value_of(before, "probe")})
    after = again(kept(before, tmp_path), parameters={"probe": ProbeSettings(per="run")})
    assert np.sum(np.abs(value_of(after, "probe")) ** 2) == pytest.approx(
        np.sum(np.abs(value_of(before, "probe")) ** 2), rel=1e-6
    )
    assert len(value_of(after, "probe")) == 2


def test_explicit_starts_win(tmp_path):
    before = finished(tiny(parameters=everything(), epochs=3))
    path = kept(before, tmp_path)
    settings = {
        "probe": ProbeSettings(initial=PlaneProbe(), per="run"),
        "background": ParameterSettings(initial=0.25),
        "intensity_scale": ParameterSettings(),
    }
    after = again(path, parameters=settings)
    assert np.ptp(np.abs(value_of(after, "probe"))) < 1e-9 and len(value_of(after, "probe")) == 1
    assert np.all(value_of(after, "background") == 0.25)
    np.testing.assert_allclose(value_of(after, "intensity_scale"), value_of(before, "intensity_scale"))
    assert not np.allclose(value_of(after, "object"), 1)


def test_delays_of_refinements_are_over_where_the_earlier_run_waited(tmp_path):
    before = finished(tiny(epochs=4))
    settings = {"probe_positions": ParameterSettings(start=6), "probe": ProbeSettings(stop=4)}
    after = again(kept(before, tmp_path), parameters=settings, epochs=3)
    assert after.problem.values["probe_positions"].settings.start == 2
    assert not after.problem.values["probe"].settings.refine
    second = tmp_path / "second"
    second.mkdir()
    third = again(kept(finished(after), second), parameters=settings, epochs=3)
    assert third.problem.values["probe_positions"].settings.start == 0


# -- refusals ----------------------------------------------------------------------------------------------------------
def test_what_is_no_result_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"start_from: '.*nowhere' is not the result of a run; .*no such file"):
        again(str(tmp_path / "nowhere"))
    other = tmp_path / "notes.h5"
    other.write_text("seed: 1")
    with pytest.raises(ConfigError, match="not the result of a run; found not an HDF5 file; name the 'result.h5'"):
        again(str(other))


def test_another_model_pixel_size_and_window_are_refused(tmp_path):
    before = tiny()
    path = kept(before, tmp_path, "forward_model: {kind: multislice}\n")
    with pytest.raises(ConfigError, match="another forward model; expected 'ptychography'; found 'multislice'"):
        again(path)
    path = kept(before, tmp_path)
    wider = measured().with_(pixel_size_m=(9e-7, 80e-9), computed=("probe_positions_px",))
    with pytest.raises(ConfigError, match="another pixel size; expected 9e-07 x 8e-08 m; found 1e-07 x 8e-08 m"):
        again(path, wider)
    result = read_result(path)
    write_result(replace(result, probe=result.probe[:, 1:-1]), tmp_path / "result.h5")
    with pytest.raises(ConfigError, match=r"'probe' of .* has another size; expected \(12, 14\); found \(10, 14\)"):
        again(path)


def test_positions_in_pixels_do_not_depend_on_the_size_of_these(tmp_path, caplog):
    before = finished(tiny(epochs=3))
    after = again(kept(before, tmp_path), measured().with_(pixel_size_m=(101e-9, 80e-9)))
    assert "nothing is resampled" in caplog.text
    np.testing.assert_allclose(predicted(after), predicted(before), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("crop", "factor"), [(None, (1.04, 0.97)), ((20, 24), (20 / 24, 1.0)), ((30, 30), (1.25, 1.25))]
)
@pytest.mark.parametrize("first", [0, 2])  # where positions of the result begin; those of the data begin at 2
def test_another_pixel_size_is_resampled(crop, factor, first):
    """A smooth object stays where it is in meters under a beam in the middle of the window, and so do positions."""
    old, window = np.array([50e-9, 40e-9]), (24, 24)
    new, size = old / factor, np.array(window if crop is None else crop)
    origin, shape = (5, 7), (60, 64)

    def seen(pixel, at, n, offset, first):  # at (y, x) px of a window of n px: meters from the middle of the first one
        return [(a - o - first - (m - 1) / 2) * p for a, o, m, p in zip(at, offset, n, pixel, strict=True)]

    def smooth(y, x):
        return np.exp(1j * np.cos(y / 3e-7) + 1j * np.sin(x / 2.5e-7))

    obj = smooth(*np.meshgrid(*seen(old, [np.arange(n) for n in shape], window, origin, first), indexing="ij"))
    y, x = np.indices(window) - (window[0] - 1) / 2
    beam = np.exp(-(y**2 + x**2) / 18 + 0.02j * y**2)[None]
    places = ParameterResult(np.array([[1.0, 2.0], [20.0, 25.0]]), "px")
    result = Result(obj[..., None], "real_imag", origin, tuple(old), beam, {"probe_positions": places})
    result = replace(result, numbers={"first_position_px": np.array(first)})
    data = measured().with_(pixel_size_m=tuple(new), computed=("probe_positions_px",))
    data = data.with_(patterns=ArrayPatterns(np.ones((data.n_patterns, *size), np.float32)), mask=None)
    made = on_grid(result, data, "out")
    np.testing.assert_allclose((made.parameters["probe_positions"].value - 2) * new, (places.value - first) * old)
    wanted = smooth(
        *np.meshgrid(*seen(new, [np.arange(n) for n in made.object.shape[:2]], size, made.origin_px, 2), indexing="ij")
    )
    np.testing.assert_allclose(made.object[4:-8, 4:-8, 0], wanted[4:-8, 4:-8], atol=0.01)
    assert made.probe.shape == (1, *size)
    power = [np.abs(each) ** 2 for each in (beam[0], made.probe[0])]
    assert power[1].sum() == pytest.approx(power[0].sum(), rel=1e-3)
    for axis in (0, 1):  # centered, and as wide in meters as the detector says
        across = [each.sum(1 - axis) / each.sum() for each in power]
        steps = [np.arange(n) - (n - 1) / 2 for n in (window[axis], size[axis])]
        assert across[1] @ steps[1] == pytest.approx(0, abs=1e-3)
        stretch = size[axis] / window[axis]
        assert np.sqrt(across[1] @ steps[1] ** 2) == pytest.approx(
            stretch * np.sqrt(across[0] @ steps[0] ** 2), rel=0.02
        )


def test_results_whose_positions_began_at_zero_find_their_place():
    data = measured().with_(pixel_size_m=(1e-8, 1e-8), computed=("probe_positions_px",))
    places = ParameterResult(np.array([[1.0, 2.0], [3.5, 4.0]]), "px")
    obj, beam = np.ones((40, 40, 1), np.complex64), np.ones((1, *data.window_px), np.complex64)
    older = Result(obj, "real_imag", (3, 4), (1e-8, 1e-8), beam, {"probe_positions": places})
    made = on_grid(older, data, "out")
    assert made.origin_px == (1, 2)
    np.testing.assert_allclose(made.parameters["probe_positions"].value, places.value + 2)
    newer = replace(older, numbers={"first_position_px": np.array(2)})
    assert on_grid(newer, data, "out") is newer


def test_another_number_of_slices_is_refused(tmp_path):
    path = kept(tiny(), tmp_path)
    result = read_result(path)
    write_result(replace(result, object=np.repeat(result.object, 3, axis=2)), tmp_path / "result.h5")
    with pytest.raises(ConfigError, match="another number of slices; expected 1; found 3"):
        again(path)


def test_values_of_other_data_stay_there(tmp_path, caplog):
    before = finished(tiny(parameters=everything(), epochs=3))
    path = kept(before, tmp_path, "data: {path: other.h5}\n")
    after = again(path, measured().with_(path="scan.h5"))
    assert "is from other data, other.h5" in caplog.text
    np.testing.assert_array_equal(value_of(after, "probe_positions"), measured().probe_positions_px)
    assert np.all(value_of(after, "intensity_scale") == 1) and not np.allclose(value_of(after, "object"), 1)
