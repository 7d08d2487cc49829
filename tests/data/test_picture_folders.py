"""Projections and holograms in folders, with flat and dark fields beside them, as beamlines write them."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import tifffile
from data_files import cbf, edf

from adorym.data.open import open_dataset
from adorym.data.picture_roles import role_of, role_of_neighbor, sorted_out
from adorym.errors import DataError

N, WINDOW, BEAM, DARK = 12, (4, 24), 4000.0, 100.0
WRITERS = {"tif": lambda path, picture: tifffile.imwrite(path, picture.astype("uint16")), "edf": edf, "cbf": cbf}
RNG = np.random.default_rng(3)
TRANSMISSION = RNG.uniform(0.3, 1, (N, *WINDOW))
GAIN = RNG.uniform(0.8, 1.2, WINDOW)


def measured(part, beam=BEAM):
    """Counts behind a part of the beam, of an uneven detector with a dark level."""
    return np.rint(part * beam * GAIN + DARK)


def scan(folder, names, kind="tif", beam=BEAM, transmission=TRANSMISSION):
    """Files ``names`` (projection, flat, dark), ``{}`` for their number; the folders in them are made."""
    pictures = ([measured(t, beam) for t in transmission], [measured(1, beam)] * 3, [np.full(WINDOW, DARK)] * 2)
    for name, series in zip(names, pictures, strict=True):
        for k, picture in enumerate(series):
            path = folder / f"{name.format(k)}.{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            WRITERS[kind](path, picture)
    return folder


def transmissions(dataset):
    return dataset.patterns.read(np.arange(dataset.n_patterns)) / dataset.open_beam_counts


def close(dataset, expected=TRANSMISSION):
    np.testing.assert_allclose(transmissions(dataset), expected, atol=2e-3)


# -- names -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("flat_0001", "flats"), ("sample_flatfield_1", "flats"), ("whites", "flats"), ("ref0000_0000", "flats"),
        ("refHST1500", "flats"), ("OB", "flats"), ("dark", "darks"), ("darkend0000", "darks"), ("df_2", "darks"),
        ("tooth_0001", "pictures"), ("refraction_1", "pictures"), ("bones_di_1", "pictures"),
    ],
)  # fmt: skip
def test_names_tell_what_a_picture_shows(name, role):
    assert role_of(name) == role


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("flats", "flats"), ("flat_fields_before", "flats"), ("01_white", "flats"), ("darks", "darks"),
        ("paper_white", "pictures"), ("bone3_flats", "pictures"), ("flat_dark", "pictures"), ("2024", "pictures"),
    ],
)  # fmt: skip
def test_a_folder_beside_belongs_to_the_pictures_only_if_it_is_of_fields_alone(name, role):
    assert role_of_neighbor(name) == role


def test_a_word_that_all_pictures_have_says_nothing():
    files = [f"white_paper_{k}.tif" for k in (10, 2, 1)]
    found = sorted_out([*files, "flat_1.tif", "dark_1.tif"])
    assert [path.name for path in found.pictures] == ["white_paper_1.tif", "white_paper_2.tif", "white_paper_10.tif"]
    assert [path.name for path in found.flats] == ["flat_1.tif"]
    assert len(sorted_out(["flat_1.tif", "flat_2.tif"]).pictures) == 2


# -- where they lie ----------------------------------------------------------------------------------------------------
PLACES = {
    "one folder": ("p_{}", "flat_{}", "dark_{}"),
    "sub-folders": ("projections/p_{}", "flats/{}", "darks/{}"),
    "pictures in the folder": ("p_{}", "refs/r_{}", "dark/d_{}"),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("place", PLACES)
def test_a_folder_with_its_fields(tmp_path, place, kind):
    scan(tmp_path, PLACES[place], kind)
    dataset = open_dataset(tmp_path, {"theta_range": (0.0, np.pi)})
    close(dataset)
    assert dataset.n_angles == N and dataset.open_beam_counts == pytest.approx(BEAM * GAIN.mean(), rel=1e-3)
    assert any(note.startswith(f"files in this order: p_0.{kind}, p_1.{kind}, p_2.{kind}") for note in dataset.notes)
    assert any(note.startswith("flat fields by their names, files in this order") for note in dataset.notes)


@pytest.mark.parametrize("place", PLACES)
def test_a_pattern_with_fields_beside(tmp_path, place):
    projections = scan(tmp_path, PLACES[place]) / f"{PLACES[place][0].format('*')}.tif"
    close(open_dataset(projections))
    own = open_dataset(projections, {"white": np.full(WINDOW, 2 * BEAM + DARK), "dark": np.full(WINDOW, DARK)})
    np.testing.assert_allclose(transmissions(own), TRANSMISSION * GAIN / 2, atol=2e-3)
    several = {"white": (str(tmp_path / f"{PLACES[place][1].format(0)}.tif"),), "dark": np.zeros(WINDOW)}
    assert open_dataset(projections, several).open_beam_counts == pytest.approx(BEAM * GAIN.mean() + DARK, rel=1e-3)


def test_fields_that_are_not_meant(tmp_path):
    """Of another size; dark ones alone; beside files that the user names one by one."""
    scan(tmp_path, PLACES["one folder"])
    files = [tmp_path / f"p_{k}.tif" for k in range(N)]
    assert open_dataset(files).open_beam_counts is None
    for k in range(3):
        tifffile.imwrite(tmp_path / f"flat_{k}.tif", np.ones((3, 3), np.uint16))
    raw = open_dataset(tmp_path / "p_*.tif")
    assert raw.open_beam_counts is None and not any(
        "dark field" in note for note in raw.notes if "by their" not in note
    )
    for k in range(3):
        (tmp_path / f"flat_{k}.tif").unlink()
    alone = open_dataset(tmp_path)
    np.testing.assert_array_equal(alone.patterns.read(np.arange(1))[0], measured(TRANSMISSION[0]))


# -- the ESRF's folders ------------------------------------------------------------------------------------------------
ESRF = ("{name}/{name}{{:04d}}", "{name}/ref{{:04d}}_0000", "{name}/darkend{{:04d}}")


def esrf(folder, name, beam=BEAM, info="", transmission=TRANSMISSION):
    """Projections and two more, medians of the reference before and after, in which the beam has lost a tenth."""
    scan(folder, [each.format(name=name) for each in ESRF], "edf", beam, transmission)
    for number, part in ((0, 1.0), (N, 0.9)):
        edf(folder / name / f"refHST{number:04d}.edf", measured(part, beam))
    edf(folder / name / "dark.edf", np.full(WINDOW, DARK))
    text = f"Prefix=        {name}\nTOMO_N=        {N - 2}\nScanRange=     180\nEnergy=        17.05\n{info}"
    (folder / name / f"{name}.info").write_text(text)
    return folder / name


def test_a_tomogram_of_the_esrf(tmp_path):
    faded = TRANSMISSION * (1 - 0.1 * np.arange(N) / N)[:, None, None]
    info = "PixelSize=     0.65\nDistance=      50.0\nDate=  today\n"
    dataset = open_dataset(esrf(tmp_path, "bone_", info=info, transmission=faded))
    np.testing.assert_allclose(np.rad2deg(dataset.theta_rad), 180 * np.arange(N - 2) / (N - 2))
    np.testing.assert_allclose(transmissions(dataset) * dataset.open_beam_counts / (0.95 * BEAM * GAIN.mean()),
                               TRANSMISSION[: N - 2] / 1.0, atol=5e-3)  # fmt: skip
    assert dataset.energy_ev == 17050 and dataset.detector_pixel_size_m == pytest.approx((0.65e-6,) * 2)
    assert dataset.distance_m == pytest.approx(0.05)
    assert "2 pictures after the scan are left out" in dataset.notes
    assert any("refHST0000.edf, refHST0012.edf" in note for note in dataset.notes)


@pytest.mark.parametrize("way", ["folder", "pattern", "list"])
def test_a_folder_for_each_distance(tmp_path, way):
    distances, seen = (10.0, 200.0), [TRANSMISSION, TRANSMISSION[:, :, ::-1]]
    for k, (mm, transmission) in enumerate(zip(distances, seen, strict=True)):
        esrf(tmp_path / "ht", f"ht_{k + 1}_", BEAM * (k + 1), f"PixelSize= 0.1\nDistance= {mm}\n", transmission)
    path = {"folder": tmp_path / "ht", "pattern": tmp_path / "ht" / "ht_?_",
            "list": [tmp_path / "ht" / "ht_1_", tmp_path / "ht" / "ht_2_"]}[way]  # fmt: skip
    dataset = open_dataset(path, {"white_fields": "mean"} if way == "list" else None)
    assert dataset.n_patterns == 2 * (N - 2) and dataset.n_angles == N - 2
    np.testing.assert_array_equal(dataset.angle_index, np.tile(np.arange(N - 2), 2))
    np.testing.assert_allclose(dataset.propagation_distance_m, [0.01, 0.2])
    first = transmissions(dataset)[[0, N - 2]]
    expected = np.array([each[0] for each in seen])
    np.testing.assert_allclose(first / first.mean((1, 2), keepdims=True),
                               expected / expected.mean((1, 2), keepdims=True), atol=3e-3)  # fmt: skip


def test_folders_that_do_not_fit(tmp_path):
    esrf(tmp_path, "ht_1_")
    (esrf(tmp_path, "ht_2_") / f"ht_2_{N - 1:04d}.edf").unlink()
    (tmp_path / "ht_2_" / "ht_2_.info").unlink()
    with pytest.raises(DataError, match=r"pictures of different kinds cannot be joined; expected one number and size"):
        open_dataset(tmp_path)


def test_one_nxtomo_file_for_each_distance(tmp_path):
    for k, distance in enumerate((0.1, 0.4)):
        with h5py.File(tmp_path / f"d{k}.nx", "w") as file:
            file["entry/definition"], file["entry"].attrs["NX_class"] = "NXtomo", "NXentry"
            stack = [
                np.full(WINDOW, DARK),
                measured(1, (k + 1) * BEAM),
                *(measured(t, (k + 1) * BEAM) for t in TRANSMISSION),
            ]
            file["entry/instrument/detector/data"] = np.array(stack)
            file["entry/instrument/detector/image_key"] = [2, 1] + [0] * N
            file["entry/instrument/detector/distance"] = distance
            file["entry/sample/rotation_angle"] = [0, 0, *np.linspace(0, 180, N)]
    dataset = open_dataset(tmp_path / "d*.nx")
    close(dataset, np.concatenate([TRANSMISSION, TRANSMISSION]))
    assert dataset.n_angles == N
    np.testing.assert_allclose(dataset.propagation_distance_m, [0.1, 0.4])
