"""A result re-enters: what a run predicts at its start is what the earlier run predicted at its end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import MODELS, insert
from tiny_runs import calm, everything, finished, measured, tiny, value_of

from adorym.data.readers.base import choose
from adorym.data.result import read_result, write_result
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import outcome, predict_patterns
from adorym.engine.recipe import Recipe
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
    after = again(kept(before, tmp_path))
    assert np.sum(np.abs(value_of(after, "probe")) ** 2) == pytest.approx(
        np.sum(np.abs(value_of(before, "probe")) ** 2), rel=1e-6
    )
    assert len(value_of(after, "probe")) == 2


def test_explicit_starts_win(tmp_path):
    before = finished(tiny(parameters=everything(), epochs=3))
    path = kept(before, tmp_path)
    settings = {
        "probe": ProbeSettings(initial=PlaneProbe()),
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
    wider = measured().with_(pixel_size_m=(101e-9, 80e-9))
    with pytest.raises(ConfigError, match="another pixel size; expected 1.01e-07 x 8e-08 m; found 1e-07 x 8e-08 m"):
        again(path, wider)
    result = read_result(path)
    write_result(replace(result, probe=result.probe[:, 1:-1]), tmp_path / "result.h5")
    with pytest.raises(ConfigError, match=r"'probe' of .* has another size; expected \(12, 14\); found \(10, 14\)"):
        again(path)


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
