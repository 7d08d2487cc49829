"""Speckle tracking: a picture that a formula displaces, files and their references, and what is refused."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import pytest

import adorym
from adorym.commands.simulate import simulate
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.open import open_dataset
from adorym.engine.outcome import predict_patterns
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.errors import ConfigError, DataError, GeometryError
from adorym.forward.speckle_tracking import RayBending, SpeckleTracking
from adorym.losses.counting import LeastSquares
from adorym.preconditioners import Diagonal

WAVELENGTH_M, PIXEL_M, DISTANCE_M = 6.2e-11, 1e-6, 0.4
BEND_PX = WAVELENGTH_M * DISTANCE_M / (2 * np.pi * PIXEL_M**2)


def reference(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Counts of the speckle at any point."""
    return 1000 + 300 * np.sin(0.9 * y + 0.3 * x) + 300 * np.cos(0.4 * y - 0.8 * x)


def pictures(shape: tuple[int, int] = (30, 36), **changes: Any) -> Dataset:
    """A phase of constant slope, 0.5 rad a pixel along y, which absorbs a fifth: all rays are displaced alike."""
    y, x = np.indices(shape).astype(float)
    moved = 0.8 * reference(y + 0.5 * BEND_PX, x)
    given = {
        "energy_ev": 1.239841984e-6 / WAVELENGTH_M,
        "pixel_size_m": (PIXEL_M, PIXEL_M),
        "propagation_distance_m": np.array([DISTANCE_M]),
        "extra": {"references": reference(y, x)[None]},
    }
    return Dataset(ArrayPatterns(moved[None].astype(np.float32)), **(given | changes))


def reconstruction(data: Dataset, model: SpeckleTracking | None = None) -> Any:
    return adorym.Reconstruction(data, Recipe(model or SpeckleTracking(), {}, LeastSquares()), RunSettings(threads=1))


def test_rays_go_down_the_phase():
    """Matter advances the wave; a phase that grows along y displaces rays towards smaller y."""
    data = pictures()
    made = reconstruction(data).problem
    y = np.indices(made.store.shape)[0].astype(float)
    made.store.restore(-np.log(0.8) / 2 + 0.5j * y, made.store.state())
    found = made.xp.to_numpy(predict_patterns(made, np.arange(1)))
    inside = (slice(None), slice(6, -6), slice(6, -6))
    np.testing.assert_allclose(found[inside], data.patterns.array[inside], rtol=5e-3)


def test_steps_are_slow_where_the_phase_acts_most():
    found = RayBending(Diagonal(lambda point: None), (2.0, 2.0), 0.1, 0.01).factors((16, 12))
    assert found.shape == (16, 12) and found[0, 0] == pytest.approx(100) and found.argmin() == 8 * 12 + 6


def test_a_simulated_file_brings_its_references(tmp_path):
    fields = {"window_px": [32, 36], "diffusers": 3}
    data = simulate("speckle_tracking", tmp_path / "speckle.h5", fields)
    read = adorym.open_dataset(tmp_path / "speckle.h5")
    np.testing.assert_array_equal(read.extra["references"], data.extra["references"])
    few = adorym.open_dataset(tmp_path / "speckle.h5", {"frames": [0, 2]})
    np.testing.assert_array_equal(few.extra["references"], data.extra["references"][[0, 2]])
    assert not adorym.open_dataset(tmp_path / "speckle.h5", {"bin": 2}).extra


def test_other_arrays_beside_them_are_left_alone_and_wrong_ones_refused(tmp_path):
    simulate("speckle_tracking", tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["extra/temperature"] = 300.0
    assert set(open_dataset(tmp_path / "a.h5").extra) == {"references"}
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["extra/references"]
        file["extra/references"] = 1.0
    with pytest.raises(DataError, match=r"a\.h5:/extra/references: wrong shape; expected 3 axes; found \(\)"):
        open_dataset(tmp_path / "a.h5")


def test_references_may_lie_elsewhere(tmp_path):
    np.save(tmp_path / "references.npy", pictures().extra["references"])
    model = SpeckleTracking(references=str(tmp_path / "references.npy"))
    found = reconstruction(pictures(extra={}), model).problem.bound.geometry.references
    np.testing.assert_allclose(found, pictures().extra["references"], rtol=1e-6)


REFUSED = {
    "no references": ({"extra": {}}, ConfigError, "no pictures without the sample; give them"),
    "another size": (
        {"extra": {"references": np.ones((1, 8, 9))}},
        ConfigError,
        "do not fit each other; expected 1 of",
    ),
    "no counts": ({"extra": {"references": np.full((1, 30, 36), -1.0)}}, ConfigError, "no counts; subtract dark"),
    "flat fields": ({"open_beam_counts": 10.0}, DataError, "whose speckle .* give the flat fields as"),
    "distances": ({"propagation_distance_m": np.array([1.0, 2.0])}, ConfigError, "one angle and one distance; found"),
    "a scan": ({"probe_positions_px": np.zeros((1, 2))}, DataError, "only the diffuser moves; choose"),
    "no distance": ({"propagation_distance_m": None}, GeometryError, "distance absent"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    changes, kind, match = REFUSED[name]
    with pytest.raises(kind, match=match):
        reconstruction(pictures(**changes)).problem  # noqa: B018


def test_balanced_steps_need_the_whole_object():
    made = Recipe(SpeckleTracking(), {}, LeastSquares())
    with pytest.raises(ConfigError, match="forward_model.balance: .* needs the whole object"):
        adorym.Reconstruction(pictures(), made, RunSettings(store="do")).problem  # noqa: B018
