"""Full-field images of a thick object: thin is not enough, tiles see what the whole image sees, and a first volume."""

from __future__ import annotations

import numpy as np
import pytest

import adorym
from adorym.commands.score import score
from adorym.commands.simulate import simulate
from adorym.data.tiles import Tiling
from adorym.engine.gradients import batch_gradients
from adorym.forward import ptychotomography
from adorym.initializers.tomographic import FilteredBackProjection
from adorym.units import wavelength_m

CONE = {"volume_px": 24, "angles": 8, "phase": "0.06 rad", "distance": "100 nm"}


@pytest.fixture(scope="module")
def cone(tmp_path_factory):
    path = tmp_path_factory.mktemp("cone") / "cone.h5"
    simulate("full_field_cone", path, CONE, seed=1)
    return path


def config(path, epochs=0, **model):
    return {
        "data": str(path),
        "forward_model": {"kind": "ptychotomography", "propagation": "angular_spectrum", **model},
        "parameters": {"probe": {"refine": False, "initial": "plane"}},
        "constraints": [{"kind": "non_negativity"}],
        "run": {"epochs": epochs, "batch_size": 2},
        "output": {"progress": "quiet", "report": False},
    }


def with_truth(path, **model):
    """A problem with the true volume in it."""
    problem = adorym.prepare(config(path, **model)).problem
    source = getattr(problem.dataset.patterns, "source", problem.dataset)
    delta_beta = source.truth["delta_beta"]
    k_voxel = 2 * np.pi / wavelength_m(source.energy_ev) * source.pixel_size_m[1]
    volume, room = np.zeros(problem.store.shape, np.complex64), np.subtract(problem.store.shape, delta_beta.shape[:3])
    assert (room % 2 == 0).all()
    inside = tuple(slice(r // 2, r // 2 + n) for r, n in zip(room, delta_beta.shape, strict=False))
    volume[inside] = k_voxel * (delta_beta[..., 1] + 1j * delta_beta[..., 0])
    problem.store.restore(volume, problem.store.state())
    return problem


def test_waves_through_slices_explain_what_projections_do_not(cone, tmp_path):
    thick, thin = (with_truth(cone, thickness=thickness) for thickness in ("multislice", "thin"))
    losses = [batch_gradients(p, np.arange(8), frozenset({"object"}))[0] for p in (thick, thin)]
    assert losses[0] < 0.3 * losses[1]
    adorym.reconstruct(config(cone, 6, thickness="multislice"), output=tmp_path)
    assert score(tmp_path, cone)["delta_correlation"] > 0.75


@pytest.fixture
def in_tiles(monkeypatch):
    """Two by three tiles, whatever the memory."""
    monkeypatch.setattr(ptychotomography, "divide", lambda field, safe, *_: Tiling(field, (2, 3), safe))


@pytest.mark.parametrize("thickness", ["thin", "multislice"])
def test_tiles_see_what_the_image_sees(cone, thickness, in_tiles, monkeypatch):
    tiles = with_truth(cone, thickness=thickness)
    monkeypatch.undo()
    whole = with_truth(cone, thickness=thickness)
    assert tiles.dataset.n_patterns == 6 * whole.dataset.n_patterns
    one, other = (batch_gradients(p, np.arange(p.dataset.n_patterns), frozenset({"object"}))[0] for p in (whole, tiles))
    assert other == pytest.approx(one, rel=0.05, abs=3e-5)
    # A band of rows is asked of the store, not the volume.
    assert tiles.batch(np.array([0])).view_px[0] < tiles.store.shape[0]


def test_first_volume_of_tiles_is_that_of_the_images(cone, in_tiles, monkeypatch):
    tiles = with_truth(cone, safe_zone=4.0)
    monkeypatch.undo()
    whole = with_truth(cone)
    found = [
        -np.log(np.abs(FilteredBackProjection().make(p.dataset, p.store.shape, np.random.default_rng(0))))
        for p in (whole, tiles)
    ]
    middle = [volume[tuple(slice((n - 24) // 2, (n + 24) // 2) for n in volume.shape)] for volume in found]
    np.testing.assert_allclose(middle[1], middle[0], atol=1e-5)


def test_memory_setting_divides_the_image(cone):
    problem = adorym.prepare(config(cone, tile_memory_gib=3.6e-4, safe_zone=5.0)).problem
    assert problem.dataset.window_px == (18, 34) and problem.dataset.n_patterns == 3 * 8


def test_tiles_have_a_rim_as_wide_as_waves_reach(cone, monkeypatch):
    """The finest fringe goes at sin = lambda / (2 pixel), over the distance and the depth of a thick volume."""
    rims = []
    monkeypatch.setattr(ptychotomography, "divide", lambda field, safe, *_: rims.append(safe))
    for thickness in ("thin", "multislice"):
        adorym.prepare(config(cone, thickness=thickness))
    seen = adorym.open_dataset(cone)
    pixel, sine = seen.pixel_size_m[1], wavelength_m(seen.energy_ev) / 2 / seen.pixel_size_m[1]
    for rim, depth in zip(rims, (0, seen.window_px[1] * pixel), strict=True):
        reach = (float(np.max(seen.propagation_distance_m)) + depth) * sine / np.sqrt(1 - sine**2) / pixel
        assert rim == np.ceil(reach) + 2
