"""Holotomography: it is holography of what the volume projects to, and finds a volume from its holograms."""

from __future__ import annotations

import numpy as np
import pytest
from cases import insert
from laws import relative_error
from tiny_holograms import N, joined, series
from tiny_scan import Exact

from adorym.constraints.object import Homogeneous, NonNegativity
from adorym.data.tiles import Tiling
from adorym.engine.gradients import own_chunks
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import outcome, predict_patterns
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.errors import ConfigError, GeometryError
from adorym.forward import holotomography
from adorym.forward.holography import Holography
from adorym.forward.holotomography import HoloTomography
from adorym.forward.object import ObjectSettings
from adorym.losses.counting import LeastSquares
from adorym.optimizers.preconditioned import Preconditioned
from adorym.parameters import ParameterSettings
from adorym.preconditioners import Point

DISTANCES = np.linspace(0.03, 0.1, 4)
MATERIAL = (Homogeneous(kappa=10.0), NonNegativity())
SEVERAL = {"propagation_distance_m": DISTANCES, "angle_index": np.repeat(np.arange(5), 4)}


def reconstruction(model, dataset, names=(), constraints=(), **run):
    settings = {name: model.refinable[name].settings() for name in names}
    run = {"precision": "double", "backend": "torch", "device": "cpu", "epochs": 3} | run
    return Reconstruction(dataset, Recipe(model, settings, LeastSquares(), (), constraints), RunSettings(**run))


def predicted(problem):
    return problem.xp.to_numpy(predict_patterns(problem, np.arange(problem.dataset.n_patterns)))


def ball(shape, center=(0.0, 0.2, -0.1)):
    y, x, z = (np.linspace(-1, 1, n) - c for n, c in zip(shape, center, strict=True))
    return np.exp(-6 * (y[:, None, None] ** 2 + x[:, None] ** 2 + z**2)) * (0.01 + 0.1j)


def test_at_every_quarter_turn_it_is_holography_of_the_sum():
    """Rays along an axis of the volume add up voxels; all parameters of holography act alike."""
    names = ["relative_distances", "affine", "intensity_scale", "illumination"]
    data = series((9, 12), **SEVERAL, theta_rad=np.arange(5) * np.pi / 2)
    volume = reconstruction(HoloTomography(buffer_px=4), data, names).problem
    obj = ball(volume.store.shape)
    rng, given = np.random.default_rng(0), {"relative_distances": np.array([0.01, -0.01, 0.02, -0.02])}
    maps = np.tile([1.0, 0, 0, 0, 1, 0], (N, 1)) + 0.02 * rng.normal(size=(N, 6))
    scale, light = rng.uniform(0.9, 1.1, (N, 1)), 10 + rng.normal(size=obj.shape[:2]) + 1j
    insert(volume, given | {"object": obj, "affine": maps, "intensity_scale": scale, "illumination": light})
    found = predicted(volume)
    for angle in range(5):
        here = slice(4 * angle, 4 * angle + 4)
        seen = np.rot90(obj, -angle, axes=(1, 2)).sum(2)
        one = series((9, 12), patterns=Exact(np.ones((4, 9, 12))), propagation_distance_m=DISTANCES)
        thin = reconstruction(Holography(buffer_px=4), one, names).problem
        values = {"object": np.exp(-seen), "affine": maps[here], "intensity_scale": scale[here], "illumination": light}
        insert(thin, given | values)
        assert relative_error(found[here] - 100, predicted(thin) - 100) < 1e-9, angle


@pytest.mark.parametrize("distances", [DISTANCES, DISTANCES[1:2]])
def test_a_volume_of_one_material_is_found(distances):
    angles = np.linspace(0, np.pi, 12, endpoint=False)
    n, index = 12 * len(distances), np.repeat(np.arange(12), len(distances))
    fields = {"propagation_distance_m": distances, "angle_index": index, "theta_rad": angles}
    empty = series((9, 12), patterns=Exact(np.ones((n, 9, 12))), **fields)
    made = reconstruction(HoloTomography(buffer_px=3), empty).problem
    truth = ball(made.store.shape)
    insert(made, {"object": truth})
    data = empty.with_(patterns=Exact(predicted(made)))
    run = reconstruction(HoloTomography(buffer_px=3), data, constraints=MATERIAL, epochs=60, batch_size=n // 3)
    losses = [record.loss for record in run.epochs()]
    found = run.problem.store.values()
    assert losses[-1] < 0.02 * losses[0]
    assert np.corrcoef(found.imag.ravel(), truth.imag.ravel())[0, 1] > 0.9
    result = outcome(run)
    assert result.representation == "delta_beta" and result.object.shape == (*truth.shape, 2)


def test_the_axis_is_where_it_is_said_to_be():
    data = series((9, 12), **SEVERAL, theta_rad=np.linspace(0, 3, 5))
    given = reconstruction(HoloTomography(center=1.5), data).problem
    stored = reconstruction(HoloTomography(), data.with_(rotation_center_px=-0.5)).problem
    assert given.values["rotation_center"].first == [1.5] and stored.values["rotation_center"].first == [-0.5]


def test_what_has_no_effect_is_refused():
    angles = {"angle_index": np.arange(N), "theta_rad": np.linspace(0, 3, N)}
    data = series((9, 12), propagation_distance_m=DISTANCES[:1], **angles)
    with pytest.raises(ConfigError, match="parameters.affine: has no effect: the only hologram per angle"):
        reconstruction(HoloTomography(), data, ["affine"])
    reconstruction(HoloTomography(), data, ["intensity_scale"])
    with pytest.raises(ConfigError, match="needs a single angle; found 20 angles; choose one .* 'holotomography'"):
        reconstruction(Holography(), data)


def test_poses_may_take_preconditioned_steps():
    data = series((9, 12), **SEVERAL, theta_rad=np.linspace(0.2, 3, 5))
    made = reconstruction(HoloTomography(buffer_px=3), data).problem
    truth = ball(made.store.shape)
    insert(made, {"object": truth})
    shifted = data.with_(patterns=Exact(predicted(made)))
    model, step = HoloTomography(buffer_px=3), Preconditioned(learning_rate=0.5)
    settings = {"object_shift": ParameterSettings(optimizer=step), "object": ObjectSettings(refine=False)}
    run = RunSettings(precision="double", backend="torch", device="cpu", epochs=12, batch_size=20)
    again = Reconstruction(shifted, Recipe(model, settings, LeastSquares()), run)
    wrong = np.array([[0.3, -0.2], [0.1, 0.3], [-0.4, 0.1], [0.2, -0.3], [-0.2, 0.1]])
    insert(again.problem, {"object": truth, "object_shift": wrong})
    losses = [record.loss for record in again.epochs()]
    found = again.problem.xp.to_numpy(again.problem.values["object_shift"].array)
    assert losses[-1] < 0.05 * losses[0] and np.abs(found).max() < 0.1


def test_every_picture_of_an_angle_counts_in_the_curvature():
    mask = np.zeros((N, 9, 12), bool)
    mask[:10] = True
    data = series((9, 12), **SEVERAL, theta_rad=np.linspace(0.2, 3, 5))
    for given, blind in ((data, False), (data.with_(mask=mask), True)):
        made = reconstruction(HoloTomography(buffer_px=3), given).problem
        insert(made, {"object": ball(made.store.shape)})

        def curvature(patterns, made=made):
            seen, params, batch = made.inputs(np.array(patterns))
            found = made.bound.model.object_curvature(Point(made.xp, None, seen, params, batch, 1.0))
            return made.xp.to_numpy(found)[0]

        inner = (slice(6, 9), slice(6, 12), slice(6, 12))
        one, four, other = curvature([0]), curvature([0, 1, 2, 3]), curvature([16, 17])
        assert four == pytest.approx(4 * one)
        assert (other[inner].max() < 0.3 * one[inner].min()) == blind


@pytest.mark.parametrize("tiles", [(2, 1), (2, 3)])
@pytest.mark.parametrize("moved", [False, True])
def test_tiles_predict_what_whole_holograms_show(tiles, moved, monkeypatch):
    """But for fringes finer than the buffer is made for: a tile's window ends within the object."""
    data = series((31, 34), **SEVERAL, theta_rad=np.linspace(0.2, 3, 5))
    names, found, rng = ["affine", "illumination", "tilt", "object_shift"], [], np.random.default_rng(0)
    maps = np.tile([1.0, 0, 0, 0, 1, 0], (N, 1)) + 0.01 * rng.normal(size=(N, 6))
    poses = {"tilt": 0.05 * rng.normal(size=(5, 3)), "object_shift": rng.normal(size=(5, 2))} if moved else {}
    for cut in (None, tiles):
        monkeypatch.setattr(holotomography, "divide", lambda field, *_, n=cut: n and Tiling(field, n))
        problem = reconstruction(HoloTomography(buffer_px=18), data, names[: 4 if moved else 2]).problem
        obj = 0.3 * ball(problem.store.shape)
        y, x = np.indices(obj.shape[:2]) / 15
        insert(problem, poses | {"object": obj, "affine": maps, "illumination": 10 + np.sin(y + 0.3 * x) + 0j})
        found.append(predicted(problem) if cut is None else joined(problem.dataset, predicted(problem)))
    assert relative_error(found[1] - 100, found[0] - 100) < 3e-3


def test_tiles_reach_the_same_volume_and_need_fewer_rows(monkeypatch):
    data = series((24, 13), **SEVERAL, theta_rad=np.linspace(0.2, 3, 5))
    made = reconstruction(HoloTomography(buffer_px=8), data).problem
    truth = ball(made.store.shape)
    insert(made, {"object": truth})
    data, volumes = data.with_(patterns=Exact(predicted(made))), []
    for tiles in (None, (3, 1)):
        monkeypatch.setattr(holotomography, "divide", lambda field, *_, n=tiles: n and Tiling(field, n))
        run = reconstruction(HoloTomography(buffer_px=8), data, constraints=MATERIAL, epochs=30, batch_size=10**6)
        list(run.epochs())
        volumes.append(run.problem.store.values())
        # A chunk is never in two rows of tiles, so that it needs one band.
        for chunk in own_chunks(run.problem, np.arange(run.problem.dataset.n_patterns)):
            view = run.problem.view(chunk, run.problem.corners_px(chunk))
            assert len(view.corners_px) == 1 and view.shape == (40 if tiles is None else 24, 29)
    assert relative_error(*volumes) < 0.02 and np.corrcoef(volumes[1].imag.ravel(), truth.imag.ravel())[0, 1] > 0.8


def test_the_memory_of_a_tile_counts_its_rim_and_the_volume_behind_it():
    data = series((24, 13), **SEVERAL, theta_rad=np.linspace(0.2, 3, 5))
    of_rows = lambda rows: (16 * (rows + 16) * 29**2 + 64 * (rows + 16) * 29) / 2**30  # noqa: E731
    for rows, height in ((24, 24), (23.9, 12), (8, 8)):
        bound = HoloTomography(buffer_px=8, tile_memory_gib=of_rows(rows)).bind(data, settings_of(HoloTomography))
        assert bound.geometry.window_px == (height, 13) and bound.shape == (40, 29, 29)
    with pytest.raises(GeometryError, match="not even the smallest tile fits"):
        HoloTomography(buffer_px=8, tile_memory_gib=of_rows(0)).bind(data, settings_of(HoloTomography))


def settings_of(model):
    return {"object": model.refinable["object"].settings()}
