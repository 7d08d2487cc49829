"""Exported files, read back by independent readers."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import h5py
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from result_cases import PIXEL_M, ptychography_result

from adorym.data.result import ParameterResult, Result
from adorym.errors import ConfigError, DataError
from adorym.report.export import ENDINGS, FORMATS, export
from adorym.report.vtk import write_vti

FLAT = ptychography_result()
THICK = replace(FLAT, object=FLAT.object * np.exp(0.2j * np.arange(3)) * (1, 2, 3))
VOLUME = Result(np.random.default_rng(0).normal(size=(4, 5, 6, 2)), "delta_beta", (1, 2), (1e-8, 2e-8, 3e-8))


def read_vti(path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Grid and arrays ``(y, x, z)`` of an appended-base64 VTI file."""
    root = ElementTree.parse(path).getroot()
    grid = root.find("ImageData").attrib
    counts = np.array(grid["WholeExtent"].split(), int)[1::2] + 1
    text = root.find("AppendedData").text.strip()
    assert text[0] == "_"
    arrays = {}
    for entry in root.iter("DataArray"):
        start = 1 + int(entry.get("offset"))
        size = int.from_bytes(base64.b64decode(text[start : start + 12])[:8], "little")
        raw = base64.b64decode(text[start : start + 4 * -(-(size + 8) // 3)])[8 : 8 + size]
        arrays[entry.get("Name")] = np.moveaxis(np.frombuffer(raw, "<f4").reshape(counts[::-1]), 0, 2)
    return grid, arrays


@pytest.mark.parametrize("result", [FLAT, THICK], ids=["flat", "thick"])
def test_tiff_has_named_channels_and_the_pixel_size(tmp_path, result):
    with tifffile.TiffFile(export(result, tmp_path / "o.tif", "tiff")) as file:
        pages = file.asarray()
        labels = file.imagej_metadata["Labels"]
        tags = file.pages[0].tags
        assert file.pages[0].dtype == np.float32
        assert tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER
        for tag, size in (("XResolution", PIXEL_M[1]), ("YResolution", PIXEL_M[0])):
            numerator, denominator = tags[tag].value
            assert numerator / denominator == pytest.approx(1e-2 / size, rel=1e-5)
    channels = result.channels()
    assert labels == list(channels) * result.object.shape[2]
    for i, values in enumerate(channels.values()):
        np.testing.assert_array_equal(np.squeeze(pages[..., i, :, :]), np.squeeze(np.moveaxis(values, 2, 0)))


def test_tiff_without_a_pixel_size_or_with_one_too_small_for_the_tag(tmp_path):
    for size in (None, (1e-12, 1e-12)):
        path = export(replace(FLAT, pixel_size_m=size), tmp_path / "o.tif", "tiff")
        assert tifffile.imread(path).shape == (2, *FLAT.object.shape[:2])


def test_vti_holds_the_fields_on_a_grid_in_metres(tmp_path):
    grid, arrays = read_vti(export(VOLUME, tmp_path / "o.vti", "vti"))
    assert np.allclose(np.array(grid["Spacing"].split(), float), (2e-8, 1e-8, 3e-8))
    assert np.allclose(np.array(grid["Origin"].split(), float), (-4e-8, -1e-8, 0))
    assert grid["WholeExtent"] == "0 4 0 3 0 5"
    np.testing.assert_array_equal(arrays["delta"], VOLUME.object[..., 0])
    np.testing.assert_array_equal(arrays["beta"], VOLUME.object[..., 1])
    _, flat = read_vti(export(FLAT, tmp_path / "f.vti", "vti"))
    np.testing.assert_allclose(flat["phase"], np.angle(FLAT.object))


@settings(max_examples=15, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 5)] * 3), chunk=st.sampled_from([3, 48, 3 << 20]))
def test_vti_offsets_hold_for_any_size(tmp_path_factory, shape, chunk):
    rng = np.random.default_rng(sum(shape))
    fields = {name: rng.normal(size=shape).astype(np.float32) for name in ("a", "b<&>", "c")}
    path = tmp_path_factory.mktemp("vti") / "x.vti"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("adorym.report.vtk._CHUNK", chunk)
        write_vti(path, fields, (1.0, 2.0, 3.0))
    _, arrays = read_vti(path)
    for name, values in fields.items():
        np.testing.assert_array_equal(arrays[name], values)


def test_cxi_follows_the_names_of_the_format(tmp_path):
    with h5py.File(export(THICK, tmp_path / "o.cxi", "cxi")) as file:
        assert file["cxi_version"][()] >= 130 and file["number_of_entries"][()] == 1
        image = file["entry_1/image_1"]
        np.testing.assert_array_equal(image["data"][()], np.moveaxis(THICK.object, 2, 0))
        assert image["data_space"].asstr()[()] == "real" and image["data_type"].asstr()[()] == "transmission function"
        assert image["is_fft_shifted"][()] == 0 and image["dimensionality"][()] == 3
        assert image["x_pixel_size"][()] == PIXEL_M[1] and image["y_pixel_size"].attrs["units"] == "m"
        assert image["process_1/configuration"].asstr()[()] == THICK.config
        np.testing.assert_array_equal(file["entry_1/data_1/data"][()], image["data"][()])
        np.testing.assert_array_equal(file["entry_1/instrument_1/source_1/illumination"][()], THICK.probe)
        translation = file["entry_1/sample_1/geometry_1/translation"][()]
    positions = THICK.parameters["probe_positions"].value
    # The sample moves against the probe, rows run down and columns against x: y and x follow rows and columns.
    np.testing.assert_allclose(translation[:, 0], positions[:, 1] * PIXEL_M[1])
    np.testing.assert_allclose(translation[:, 1], positions[:, 0] * PIXEL_M[0])


def test_cxi_has_energy_and_detector_in_si_units(tmp_path):
    known = {"energy_ev": "8800", "distance_m": "0.4", "detector_pixel_size_m": "7.5e-05 5.5e-05"}
    with h5py.File(export(replace(FLAT, provenance=known), tmp_path / "o.cxi", "cxi")) as file:
        instrument = file["entry_1/instrument_1"]
        assert instrument["source_1/energy"][()] == pytest.approx(8800 * 1.602176634e-19)
        assert instrument["source_1/wavelength"][()] == pytest.approx(1.40891e-10, rel=1e-5)
        assert instrument["detector_1/distance"][()] == 0.4
        sides = [instrument[f"detector_1/{axis}_pixel_size"][()] for axis in "yx"]
        assert sides == pytest.approx([75e-6, 55e-6])
        np.testing.assert_allclose(instrument["detector_1/basis_vectors"], [[0, -75e-6, 0], [-55e-6, 0, 0]])


def test_cxi_of_a_known_pixel_size_describes_a_detector_that_gives_it(tmp_path):
    """Some programs refuse a file without distance and detector pixel, and compute the object's pixel from these."""
    with h5py.File(export(replace(FLAT, provenance={"energy_ev": "8800"}), tmp_path / "o.cxi", "cxi")) as file:
        instrument = file["entry_1/instrument_1"]
        detector = instrument["detector_1"]
        wavelength, distance = instrument["source_1/wavelength"][()], detector["distance"][()]
        for axis, n, pixel in zip("yx", FLAT.probe.shape[1:], PIXEL_M, strict=True):
            assert wavelength * distance / (n * detector[f"{axis}_pixel_size"][()]) == pytest.approx(pixel)
        assert b"not measured" in detector["description"][()]
        assert file["entry_1/sample_1/geometry_1/translation"].shape[1] == 3
    near = {"energy_ev": "8800", "propagation_distance_m": "0.01"}
    with h5py.File(export(replace(FLAT, provenance=near), tmp_path / "n.cxi", "cxi")) as file:
        assert "detector_1" not in file["entry_1/instrument_1"]


def test_cxi_of_a_single_slice_and_of_a_refractive_index(tmp_path):
    with h5py.File(export(FLAT, tmp_path / "o.cxi", "cxi")) as file:
        assert file["entry_1/image_1/data"].shape == FLAT.object.shape[:2]
    with h5py.File(export(VOLUME, tmp_path / "v.cxi", "cxi")) as file:
        np.testing.assert_array_equal(file["entry_1/image_1/data"][()].imag, np.moveaxis(VOLUME.object[..., 1], 2, 0))
        assert "refractive index" in file["entry_1/image_1/data_type"].asstr()[()]


def test_npz_holds_the_arrays_by_name(tmp_path):
    path = export(FLAT, tmp_path / "o.npz", "npz")
    with np.load(path) as arrays:
        np.testing.assert_array_equal(arrays["object"], FLAT.object)
        np.testing.assert_array_equal(arrays["phase"], np.angle(FLAT.object))
        np.testing.assert_array_equal(arrays["parameter_tilt"], FLAT.parameters["tilt"].value)
        assert tuple(arrays["pixel_size_m"]) == PIXEL_M and arrays["history_loss"].shape == (30,)


def test_every_format_has_an_ending():
    assert set(ENDINGS) == set(FORMATS)


def test_an_unknown_format_is_refused_with_the_list(tmp_path):
    with pytest.raises(ConfigError, match="no export format 'tif'; expected tiff, vti, cxi, npz; did you mean 'tiff'"):
        export(FLAT, tmp_path / "o.tif", "tif")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="the export cannot be written"):
        export(FLAT, tmp_path / "file" / "o.npz", "npz")


def test_slices_of_a_tomogram_are_exported_across_its_axis(tmp_path):
    volume = np.arange(2 * 20 * 20, dtype=np.float32).reshape(2, 20, 20)
    angles = {"rotation_angles": ParameterResult(np.zeros((4, 1)), "rad")}
    tomogram = Result(volume, "attenuation", pixel_size_m=(1e-6, 1e-6, 1e-6), parameters=angles)
    pages = tifffile.imread(export(tomogram, tmp_path / "o.tif", "tiff"))
    np.testing.assert_array_equal(pages, volume.transpose(0, 2, 1))
