"""Bragg ptychography: positions and beam in voxels of the crystal, a reconstruction, and what is refused."""

import numpy as np
import pytest
from tiny_bragg_scan import ANGLES, GAMMA_RAD, PITCH_M, STEP_RAD, WAVELENGTH_M, BraggScanTiny

import adorym
from adorym.commands.crystal import crystal
from adorym.config import config_from
from adorym.data.native_write import write_native
from adorym.data.result import Result, write_result
from adorym.engine.loop import Reconstruction
from adorym.errors import InputError
from adorym.forward.bragg_ptychography import BraggPtychography
from adorym.forward.probe import ProbeSettings
from adorym.metrics.crystal import match
from adorym.optics.bragg_geometry import BraggGeometry
from adorym.optics.probes import GaussianProbe
from adorym.simulate.bragg_scan import BraggScan

SCAN = BraggScanTiny()
BEAM = {"kind": "gaussian", "fwhm": "4 px"}


def started(data, parameters=None, **model):
    given = {"kind": "bragg_ptychography", "geometry": {"gamma": f"{GAMMA_RAD} rad"}, "slices": 3, **model}
    run = {"threads": 1}
    parameters = {"probe": {"initial": BEAM}} if parameters is None else parameters
    config = config_from({"data": "memory", "forward_model": given, "parameters": parameters, "run": run})
    return Reconstruction(data, config.recipe, config.run)


@pytest.mark.parametrize(
    ("changes", "parameters", "model", "message"),
    [
        ({}, {}, {}, "parameters.probe.initial: the beam is not known; give it across the beam"),
        ({}, None, {"slices": 40}, "slices: the beam leaves the window.*expected at most 1[0-9]"),
        ({"theta_rad": np.array([0.2]), "angle_index": np.zeros(20, int)}, None, {}, "holds one rocking angle"),
        ({"theta_rad": np.full(4, 0.2)}, None, {}, "the rocking angle does not change"),
        ({"probe_positions_px": None}, None, {}, "the data hold no probe positions"),
        ({"distance_m": None}, None, {}, "data.distance"),
        ({"pixel_size_m": (1e-8, 1e-8)}, None, {}, "the one that is stated contradicts"),
    ],
)
def test_what_is_refused(changes, parameters, model, message):
    with pytest.raises(InputError, match=message):
        started(SCAN.dataset(**changes), parameters, **model)


def test_the_beam_lies_further_in_the_next_slice():
    geometry = started(SCAN.dataset()).problem.bound.geometry
    np.testing.assert_allclose(geometry.walk_px, (0, SCAN.walk_px), rtol=1e-9, atol=1e-12)


def test_positions_and_beam_come_from_across_the_beam_onto_the_voxels():
    # Voxels along Q are seen under the same angle from both beams.
    upright = BraggPtychography(geometry=BraggGeometry(delta=0.5, rocking_axis="x"), slices=3)
    np.testing.assert_allclose(upright.placed(SCAN.dataset()).probe_positions_px, SCAN.positions, atol=1e-9)
    # With the arm out of the plane across the axis, rows and columns mix.
    skew = BraggPtychography(geometry=BraggGeometry(gamma=0.6, delta=0.3, rocking_axis="x"), slices=3)
    data = SCAN.dataset()
    placed = skew.placed(data)
    matrix = np.linalg.lstsq(placed.probe_positions_px, SCAN.positions, rcond=None)[0].T
    assert np.abs(matrix - np.eye(2)).max() > 0.4
    settings = {name: each.settings() for name, each in skew.refinable.items() if not each.optional}
    settings["probe"] = ProbeSettings(initial=GaussianProbe(fwhm="3 px"))
    bound = skew.bind(placed, settings)
    made = np.abs(skew.refinable["probe"].start_value("probe", bound, settings["probe"], np.random.default_rng(0))[0])
    y, x = np.indices(made.shape) - (np.array(made.shape) - 1)[:, None, None] / 2
    across = np.tensordot(matrix, [y, x], 1)
    true = np.exp(-(across**2).sum(0) / (4 * (3 / 2.3548) ** 2))
    np.testing.assert_allclose(made / np.linalg.norm(made), true / np.linalg.norm(true), atol=1e-2)


def test_a_film_is_found():
    data = BraggScan(window_px=(32, 40), angles=6, scan=(4, 4), rocking_step=8e-4, photons=1e6).run(2)
    made = started(data, {"probe": {"refine": False}}, geometry={"gamma": "34 deg"}, slices=5)
    for _ in made.epochs(20):
        pass
    true, (y, x) = data.truth["object"].astype(complex), made.problem.bound.origin_px
    found = made.problem.store.values()[y:, x:][: true.shape[0], : true.shape[1]]
    true = true[..., :5]  # a shift along the beam is not determined
    inside = (slice(14, -14), slice(18, -18))
    assert match(found[inside], true[: found.shape[0], : found.shape[1]][inside]).overlap > 0.9


def test_the_result_turns_into_the_laboratory(tmp_path):
    """Voxels are those of a window and all rocking angles, however large the object is."""
    data = SCAN.dataset()
    write_native(data, tmp_path / "scan.h5")
    found = SCAN.crystal((24, 26, 5), (4, 4)) * (np.indices((24, 26, 5))[0] > 8)
    config = f"data: {{path: {tmp_path / 'scan.h5'}}}\nforward_model: bragg_ptychography\n"
    write_result(Result(found, config=config), tmp_path / "result.h5")
    made = crystal(tmp_path / "result.h5", tmp_path, {"geometry": {"gamma": f"{GAMMA_RAD} rad"}})
    places = made.skew[1]
    deep, across = places[0, 0, 1] - places[0, 0, 0], places[0, 1, 0] - places[0, 0, 0]
    pixel = WAVELENGTH_M * 0.3 / (SCAN.window[1] * PITCH_M)
    assert np.linalg.norm(deep) == pytest.approx(WAVELENGTH_M / (ANGLES * STEP_RAD * np.sin(GAMMA_RAD)), rel=1e-6)
    assert np.linalg.norm(across) == pytest.approx(pixel / np.cos(GAMMA_RAD / 2), rel=1e-6)


def test_positions_of_a_result_are_taken_as_they_are(tmp_path):
    """A run that goes on from a result continues its loss, although positions of the file are converted."""
    data = BraggScan(window_px=(16, 20), angles=3, scan=(3, 3), rocking_step=2e-3).run(0)
    write_native(data, tmp_path / "scan.h5")
    config = {
        "data": str(tmp_path / "scan.h5"),
        "forward_model": {
            "kind": "bragg_ptychography",
            "geometry": {"gamma": "20 deg", "delta": "25 deg"},
            "slices": 3,
        },
        "parameters": {"probe_positions": {"start": 1}},
        "run": {"epochs": 4, "threads": 1},
        "output": {"progress": "quiet", "report": False},
    }
    first = adorym.reconstruct(config, output=tmp_path / "first")
    again = adorym.reconstruct({**config, "start_from": str(tmp_path / "first")}, output=tmp_path / "second")
    assert again.history["loss"][0] < 1.3 * first.history["loss"][-1]
