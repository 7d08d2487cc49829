"""First objects."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES, OBJECT_SHAPE, OF_HOLOGRAMS, VOLUME_INITIALIZERS
from tiny_holograms import series
from tiny_scan import Exact, Scan

from adorym.data.result import Result, write_result
from adorym.errors import ConfigError, InputError
from adorym.initializers.simple import Constant, File, Random

DATASET = Scan().dataset()
HOLOGRAMS = series(
    patterns=Exact(90.0 + 30 * np.random.default_rng(0).random((2, 12, 14))),
    propagation_distance_m=np.array([0.03, 0.06]),
)


def make(initializer, seed=1, shape=OBJECT_SHAPE):
    data = HOLOGRAMS if initializer.kind in OF_HOLOGRAMS else DATASET
    return initializer.make(data, shape, np.random.default_rng(seed))


# Those that read the data make an object of the data's shape: tests/initializers/test_phasing.py, and that of the
# network for ptychography needs a probe: tests/networks/test_ptycho_prediction.py.
FROM_DATA = {"phasing", "cdi_nn", "ptycho_nn"}


@pytest.mark.parametrize("name", sorted(CASES["initializer"].keys() - VOLUME_INITIALIZERS - FROM_DATA))
def test_object_is_complex_finite_and_of_the_shape_asked_for(name, tmp_path):
    made = make(CASES["initializer"][name](tmp_path))
    assert made.shape == OBJECT_SHAPE and made.dtype == np.complex128
    assert np.isfinite(made).all() and np.abs(made).min() > 0
    np.testing.assert_array_equal(make(CASES["initializer"][name](tmp_path)), made)  # same seed, same object


def test_constant():
    made = make(Constant(magnitude=0.8, phase=0.5))
    np.testing.assert_allclose(made, 0.8 * np.exp(0.5j))
    np.testing.assert_array_equal(make(Constant()), 1)


def test_random_has_the_deviations_asked_for():
    made = make(Random(magnitude_sigma=0.1, phase_sigma=0.3), shape=(80, 90))
    assert np.abs(made).std() == pytest.approx(0.1, rel=0.05)
    assert np.angle(made).std() == pytest.approx(0.3, rel=0.05)
    assert np.abs(made).mean() == pytest.approx(1, abs=0.01)
    assert (make(Random(), seed=2) != make(Random(), seed=3)).all()
    np.testing.assert_array_equal(make(Random(magnitude_sigma=0, phase_sigma=0)), 1)


def stored(obj, representation="real_imag"):
    return Result(
        object=obj, representation=representation, origin_px=(3, 4), pixel_size_m=None, probe=None, parameters={},
        history={}, config="", provenance={},
    )  # fmt: skip


def test_object_of_an_earlier_run(tmp_path):
    obj = np.arange(12, dtype=np.complex64).reshape(3, 4, 1) + 1j
    write_result(stored(obj), tmp_path / "result.h5")
    np.testing.assert_array_equal(make(File(path=str(tmp_path / "result.h5")), shape=(3, 4)), obj[..., 0])


def test_object_from_a_file_must_be_there_and_fit(tmp_path):
    with pytest.raises(ConfigError, match=r"parameters\.object\.initial\.path: no such file '.*none\.npy'"):
        make(File(path=str(tmp_path / "none.npy")))
    np.save(tmp_path / "small.npy", np.ones((3, 4)))
    with pytest.raises(
        ConfigError, match=r"initial\.path: the object has the wrong shape; expected \(30, 34\); found \(3, 4\)"
    ):
        make(File(path=str(tmp_path / "small.npy")))


@pytest.mark.parametrize("name", ["garbage.npy", "garbage.h5"])
@pytest.mark.parametrize("content", [b"", b"not what it says", b"\x93NUMPY\x01\x00"])
def test_object_from_a_damaged_file(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        make(File(path=str(tmp_path / name)))
