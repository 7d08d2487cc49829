"""A problem that grew is the problem that was built at once."""

import numpy as np
import pytest
from tiny_scan import Scan

from adorym.data.dataset import ArrayPatterns
from adorym.engine.gradients import batch_gradients
from adorym.engine.growth import grow
from adorym.engine.loop import Reconstruction
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.forward.probe import ProbeSettings
from adorym.forward.ptychography import Ptychography
from adorym.losses.counting import LeastSquares
from adorym.optics.probes import FileProbe
from adorym.parameters import ParameterSettings


class Stack:
    """Patterns of which more and more are there."""

    def __init__(self, patterns):
        self.patterns, self.n = patterns.astype(np.float32), 0

    @property
    def shape(self):
        return (self.n, *self.patterns.shape[1:])

    def read(self, index):
        return self.patterns[index]


@pytest.fixture
def probe_file(tmp_path):
    np.save(tmp_path / "probe.npy", Scan().probe())
    return str(tmp_path / "probe.npy")


def made(dataset, probe_file, store="dp"):
    recipe = Recipe(
        Ptychography(),
        loss=LeastSquares(),
        parameters={
            "probe": ProbeSettings(initial=FileProbe(path=probe_file), power=1e4),
            "probe_positions": ParameterSettings(),
            "intensity_scale": ParameterSettings(),
        },
    )
    return Reconstruction(dataset, recipe, RunSettings(backend="autograd", precision="double", store=store))


def part(scan, stack, n):
    stack.n = n
    return scan.dataset(
        patterns=stack, probe_positions_px=scan.positions[:n], angle_index=np.zeros(n, int), growing=True
    )


@pytest.mark.parametrize("steps", [(20,), (1, 2, 9, 20), (7, 8, 20)])
def test_loss_and_gradients_are_those_of_the_whole(probe_file, steps):
    scan = Scan()
    stack = Stack(scan.patterns())
    one = made(part(scan, stack, steps[0]), probe_file)
    for n in steps[1:]:
        grow(one, part(scan, stack, n))
    other = made(scan.dataset(patterns=ArrayPatterns(scan.patterns().astype(np.float32))), probe_file)
    for each in (one, other):  # an object that is not the true one, for which all gradients would be zero
        problem = each.problem
        wrong = scan.object_array(problem.bound.shape, problem.bound.origin_px) ** 2
        problem.store.restore(wrong, problem.store.state())
    names, every = frozenset({"object", "probe_positions", "intensity_scale"}), np.arange(scan.n)
    value, found = batch_gradients(one.problem, every, names)
    expected, gradients = batch_gradients(other.problem, every, names)
    # The floor of the loss is that of the first patterns.
    assert value == pytest.approx(expected, rel=1e-3 if len(steps) > 1 else 1e-9)
    for name, each in gradients.items():
        assert found[name].gradient == pytest.approx(each.gradient, rel=1e-2, abs=1e-3 * np.abs(each.gradient).max())
        assert np.array_equal(found[name].index, each.index)
    assert one.problem.measurements.valid_counts == pytest.approx(other.problem.measurements.valid_counts, rel=1e-6)


@pytest.mark.parametrize("store", ["dp", "do"])
def test_the_object_keeps_its_place_when_it_grows(probe_file, store):
    scan = Scan()
    stack = Stack(scan.patterns())
    one = made(part(scan, stack, 6), probe_file, store)
    rng = np.random.default_rng(0)
    shape = one.problem.store.shape
    first = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    one.problem.store.restore(first, one.problem.store.state())
    before = one.problem.bound.origin_px
    grow(one, part(scan, stack, scan.n))
    after, now = one.problem.bound.origin_px, one.problem.store.values()
    assert now.shape == one.problem.bound.shape and now.size > first.size
    y, x = after[0] - before[0], after[1] - before[1]
    kept = np.ones(now.shape, bool)
    kept[y : y + shape[0], x : x + shape[1]] = False
    assert np.array_equal(now[y : y + shape[0], x : x + shape[1]], first)
    assert (now[kept] == 1).all()  # vacuum


def test_windows_are_at_the_same_part_of_the_object(probe_file):
    scan = Scan()
    stack = Stack(scan.patterns())
    one = made(part(scan, stack, 6), probe_file)
    corners = one.problem.corners_px(np.arange(6)) - one.problem.bound.origin_px
    grow(one, part(scan, stack, scan.n))
    assert np.array_equal(one.problem.corners_px(np.arange(6)) - one.problem.bound.origin_px, corners)


def test_what_was_refined_stays(probe_file):
    scan = Scan()
    stack = Stack(scan.patterns())
    one = made(part(scan, stack, 6), probe_file)
    one.problem.values["probe_positions"].array = one.problem.values["probe_positions"].array + 0.25
    grow(one, part(scan, stack, 9))
    found = one.problem.present()["probe_positions"]
    assert found[:6] == pytest.approx(scan.positions[:6] + 0.25)
    assert found[6:] == pytest.approx(scan.positions[6:9])
