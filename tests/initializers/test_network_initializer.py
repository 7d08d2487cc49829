"""First objects from networks: anybody's network, brought to the data, finished by phasing, beside random starts."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_crystal import Peak

import adorym
from adorym import registry
from adorym.commands.report import report
from adorym.data.native_write import write_native
from adorym.data.volume import read_volume
from adorym.initializers.guess import pattern_of
from adorym.initializers.network import CdiNn, network_view
from adorym.metrics.crystal import chi_square

NETWORK = '''
import numpy as np
from adorym.initializers.network import NetworkInitializer
from adorym.registry import register

@register("initializer", "ball")
class Ball(NetworkInitializer):
    """A ball, whatever was measured."""

    radius: float = 8.0

    def predict(self, modulus):
        z, y, x = np.indices(modulus.shape) - 15.5
        return np.where(z**2 + y**2 + x**2 < self.radius**2, 0.9, 0) + 0j
'''


@pytest.fixture(autouse=True)
def names_as_they_were(monkeypatch):
    """What a test registers is forgotten after it."""
    components = {group: dict(known) for group, known in registry._components.items()}
    monkeypatch.setattr(registry, "_components", components)
    yield
    registry._plugins.cache_clear()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_native(Peak(background=0.0).dataset(), tmp_path_factory.mktemp("network") / "peak.h5")


def run(data, initial, folder=None, **more):
    config = {
        "data": str(data),
        "forward_model": "bragg_cdi",
        "parameters": {"object": {"initial": {"device": "cpu", **initial}}},
        "run": {"epochs": 0, "device": "cpu"},
    }
    return adorym.reconstruct(config | more, output=folder)


def test_network_of_ones_own_beside_random_starts_on_the_same_budget(data, tmp_path):
    (tmp_path / "ball.py").write_text(NETWORK)
    initial = {"kind": f"{tmp_path / 'ball.py'}:Ball", "sequence": "30*HIO + 10*ER", "compare": 3, "radius": 7.0}
    fit = run(data, initial, tmp_path / "out").fit
    assert fit["refined_chi2"][0] < 0.5 * fit["network_chi2"] and fit["random_chi2"].shape == (3,)
    text = report(tmp_path / "out").read_text()
    assert "First object" in text and "after the same iterations from 3 random starts" in text


def test_network_of_another_package(data, tmp_path, monkeypatch):
    (tmp_path / "ball_package.py").write_text(NETWORK)
    info = tmp_path / "ball_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ball-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[adorym.initializer]\nball = ball_package:Ball\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry._plugins.cache_clear()
    assert run(data, {"kind": "ball", "sequence": "2*ER"}).fit["network_chi2"] > 0


def test_without_a_sequence_the_guess_itself_is_refined(data):
    result = run(data, {"kind": "cdi_nn", "sequence": ""}, run={"epochs": 20, "device": "cpu"})
    assert "refined_chi2" not in result.fit and result.history["loss"][-1] < result.history["loss"][0]


def test_guess_lies_on_the_grid_of_the_data_and_fits_as_it_says(data):
    volume = read_volume(adorym.open_dataset(data))
    guess = CdiNn(device="cpu").guess(volume)
    assert guess.object.shape == volume.shape and not guess.object[~guess.support].any()
    assert chi_square(pattern_of(guess.object), volume.modulus) == pytest.approx(guess.chi2)


def test_network_sees_any_size_with_its_peak_in_the_middle(data):
    view = network_view(read_volume(adorym.open_dataset(data)))
    assert view.modulus.shape == (32, 32, 32) and view.modulus.max() == 1
    assert np.abs(np.array(np.unravel_index(view.modulus.argmax(), view.modulus.shape)) - 16).max() <= 1
