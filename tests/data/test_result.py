"""The result file: what is written is read back equal, whole or not at all, and every fault has a name."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from adorym.data.result import ParameterResult, Result, read_result, write_result
from adorym.errors import DataError

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8).filter(".".__ne__)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
ARRAYS = hnp.arrays(
    st.sampled_from([np.dtype(t) for t in ("f4", "f8", "i8", "c8", "c16", "?")]),
    hnp.array_shapes(min_dims=0, max_dims=3, max_side=3),
)
PARAMETERS = st.builds(ParameterResult, ARRAYS, st.sampled_from(["px", "m", "rad", ""]), st.none() | ARRAYS)


@st.composite
def results(draw) -> Result:
    representation = draw(st.sampled_from(["real_imag", "delta_beta"]))
    dtype, tail = (np.complex64, ()) if representation == "real_imag" else (np.float32, (2,))
    shape = draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=4))
    sizes = st.floats(1e-12, 1e-3)
    return Result(
        object=draw(hnp.arrays(dtype, shape + tail)),
        representation=representation,
        origin_px=draw(st.tuples(st.integers(-99, 99), st.integers(-99, 99))),
        pixel_size_m=draw(st.none() | st.tuples(sizes, sizes) | st.tuples(sizes, sizes, sizes)),
        probe=draw(st.none() | hnp.arrays(np.complex64, (2, 3, 4))),
        parameters=draw(st.dictionaries(NAMES, PARAMETERS, max_size=3)),
        history=draw(st.dictionaries(NAMES, ARRAYS, max_size=3)),
        config=draw(TEXTS),
        provenance=draw(st.dictionaries(NAMES, TEXTS, max_size=3)),
        fit=draw(st.dictionaries(NAMES, ARRAYS, max_size=2)),
    )


def same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def same_arrays(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return list(a) == list(b) and all(same(a[name], b[name]) for name in a)


@settings(max_examples=40, deadline=None)
@given(result=results())
def test_a_result_is_read_back_bit_for_bit(result, tmp_path_factory):
    path = tmp_path_factory.mktemp("result") / "result.h5"
    back = read_result(write_result(result, path))
    assert same(back.object, result.object) and same(back.probe, result.probe)
    assert back.representation == result.representation
    assert back.origin_px == result.origin_px and back.pixel_size_m == result.pixel_size_m
    assert back.config == result.config and back.provenance == result.provenance
    assert same_arrays(back.history, result.history) and same_arrays(back.fit, result.fit)
    assert list(back.parameters) == list(result.parameters)
    for name, parameter in result.parameters.items():
        assert same(back.parameters[name].value, parameter.value) and back.parameters[name].unit == parameter.unit
        assert same(back.parameters[name].start, parameter.start)


def small() -> Result:
    rng = np.random.default_rng(1)
    obj = rng.normal(size=(5, 7, 1)) + 1j * rng.normal(size=(5, 7, 1))
    positions = ParameterResult(rng.normal(size=(4, 2)), "px", np.zeros((4, 2)))
    return Result(obj, origin_px=(1, 2), parameters={"probe_positions": positions}, config="seed: 1")


def test_the_layout_can_be_read_without_this_package(tmp_path):
    result = small()
    with h5py.File(write_result(result, tmp_path / "new" / "result.h5")) as file:
        assert file["object"].shape == (5, 7, 1, 2) and file["object"].dtype == np.float32
        np.testing.assert_array_equal(file["object"][..., 1], result.object.imag)
        assert file["object"].attrs["representation"] == "real_imag"
        assert file["object"].attrs["origin_px"].tolist() == [1, 2]
        assert file["parameters/probe_positions"].attrs["units"] == "px"
        assert file["start/probe_positions"].shape == (4, 2)
        assert file["config"].asstr()[()] == "seed: 1"


def test_a_failed_write_leaves_the_old_result_and_no_rubbish(tmp_path):
    path = write_result(small(), tmp_path / "result.h5")
    before = path.read_bytes()
    bad = small()
    bad.history["loss"] = np.array([object()])
    with pytest.raises(DataError, match="result.h5: the result cannot be written; found Object dtype"):
        write_result(bad, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["result.h5"]


def test_an_output_directory_stands_for_the_result_in_it(tmp_path):
    write_result(small(), tmp_path / "result.h5")
    assert same(read_result(tmp_path).object, small().object)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.h5: no such file; name a result\.h5 or the output directory"):
        read_result(tmp_path / "none.h5")


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "result.h5").write_text("not HDF5")
    with pytest.raises(DataError, match="not an HDF5 file; expected a result.h5 written by a run"):
        read_result(tmp_path)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["exchange/data"] = np.zeros((1, 2, 3, 4))
    with pytest.raises(DataError, match="not a result file: it has no '/object'; found exchange"):
        read_result(tmp_path / "data.h5")


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_truncated_file_is_refused(tmp_path, kept):
    path = write_result(small(), tmp_path / "result.h5")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(DataError, match="the file is truncated"):
        read_result(path)


def test_a_damaged_file_is_refused(tmp_path):
    path = write_result(small(), tmp_path / "result.h5")
    whole = bytearray(path.read_bytes())
    whole[100:2000] = bytes(1900)
    path.write_bytes(whole)
    with pytest.raises(DataError, match="the file is damaged or cannot be read"):
        read_result(path)


@pytest.mark.parametrize(("name", "value"), [("probe", "text"), ("config", 3.5), ("object@origin_px", 7)])
def test_a_value_of_another_kind_is_damage(tmp_path, name, value):
    path = write_result(small(), tmp_path / "result.h5")
    with h5py.File(path, "a") as file:
        of, _, attribute = name.partition("@")
        if attribute:
            file[of].attrs[attribute] = value
        else:
            file.pop(of, None)
            file[of] = value
    with pytest.raises(DataError, match="the file is damaged or cannot be read"):
        read_result(path)


@pytest.mark.parametrize("attribute", ["representation", "origin_px"])
def test_a_missing_attribute_is_named(tmp_path, attribute):
    path = write_result(small(), tmp_path / "result.h5")
    with h5py.File(path, "a") as file:
        del file["object"].attrs[attribute]
    with pytest.raises(DataError, match=f"missing key: '/object' has no attribute '{attribute}'"):
        read_result(path)


def test_a_parameter_without_units_is_refused(tmp_path):
    path = write_result(small(), tmp_path / "result.h5")
    with h5py.File(path, "a") as file:
        del file["parameters/probe_positions"].attrs["units"]
    with pytest.raises(DataError, match="'/parameters/probe_positions' has no attribute 'units'"):
        read_result(path)


def test_a_file_with_an_object_of_another_shape_is_refused(tmp_path):
    path = write_result(small(), tmp_path / "result.h5")
    with h5py.File(path, "a") as file:
        attributes = dict(file["object"].attrs)
        del file["object"]
        file.create_dataset("object", data=np.zeros((4, 5), np.float32)).attrs.update(attributes)
    with pytest.raises(DataError, match=r"'/object' has the wrong shape; expected \(y, x, z, 2\); found \(4, 5\)"):
        read_result(path)


def test_a_group_in_place_of_an_array_is_refused(tmp_path):
    path = write_result(small(), tmp_path / "result.h5")
    with h5py.File(path, "a") as file:
        file.create_group("history/nested")
    with pytest.raises(DataError, match="'/history/nested' is not an array; found Group"):
        read_result(path)


def test_wrong_arrays_are_refused_before_they_are_written():
    volume = np.ones((4, 5, 1))
    with pytest.raises(DataError, match=r"object: wrong shape for 'real_imag'; expected \(y, x, z\); found \(4, 5\)"):
        Result(volume[..., 0])
    with pytest.raises(DataError, match=r"object: wrong shape for 'delta_beta'; expected \(y, x, z, 2\)"):
        Result(volume, "delta_beta")
    with pytest.raises(
        DataError, match="representation: unknown; expected real_imag or delta_beta or attenuation; found 'polar'"
    ):
        Result(volume, "polar")
    with pytest.raises(DataError, match=r"origin_px: wrong shape; expected \(y, x\); found \(1, 2, 3\)"):
        Result(np.ones((4, 5, 1)), origin_px=(1, 2, 3))
    with pytest.raises(
        DataError, match=r"probe: wrong shape; expected \(modes, y, x\) or \(scans, modes, y, x\); found"
    ):
        Result(volume, probe=np.ones((4, 5)))
    with pytest.raises(DataError, match="pixel_size_m: not a pixel size"):
        Result(volume, pixel_size_m=(1e-8, 0.0))
    with pytest.raises(DataError, match="history.a/b: this name cannot stand in a result file"):
        Result(volume, history={"a/b": np.ones(3)})


def test_channels_and_voxel_size():
    obj = np.full((2, 3, 1), 2 * np.exp(0.5j))
    channels = Result(obj).channels()
    np.testing.assert_allclose(channels["amplitude"], 2, rtol=1e-6)
    np.testing.assert_allclose(channels["phase"], 0.5, rtol=1e-6)
    pair = np.stack([np.full((2, 3, 4), 1e-5), np.full((2, 3, 4), 1e-7)], axis=-1)
    refractive = Result(pair, "delta_beta", pixel_size_m=(1e-8, 2e-8))
    assert refractive.channels()["beta"].shape == (2, 3, 4) and refractive.channels()["beta"][0, 0, 0] < 1e-6
    assert refractive.voxel_size_m == (1e-8, 2e-8, 2e-8)
    spacing = {"slice_spacing": ParameterResult(np.array([1e-5]), "m")}
    spaced = Result(obj, pixel_size_m=(1e-8, 2e-8), parameters=spacing)
    assert spaced.voxel_size_m == (1e-8, 2e-8, 1e-5)
    assert Result(obj).voxel_size_m is None
    assert Result(obj, pixel_size_m=(1e-8, 2e-8, 3e-8)).voxel_size_m == (1e-8, 2e-8, 3e-8)
