"""Public data: taken from where they lie, else fetched; and the measured star as a data set."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from adorym.data import fetch
from adorym.errors import DataError

ROOT = Path(__file__).resolve().parent.parent.parent
LOCAL = Path(os.environ.get("ADORYM_TEST_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture
def offline(monkeypatch):
    """No connection, and no data of one's own unless a test says so."""

    def unreachable(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.delenv(fetch.ENVIRONMENT, raising=False)
    monkeypatch.setattr("pooch.retrieve", unreachable)


def test_a_file_is_found_anywhere_in_the_folder(tmp_path, offline):
    place = tmp_path / "sets" / "star"
    place.mkdir(parents=True)
    (place / fetch.SIEMENS_STAR).touch()
    assert fetch.siemens_star_path(tmp_path) == place / fetch.SIEMENS_STAR


def test_the_environment_names_the_folder(tmp_path, offline, monkeypatch):
    (tmp_path / fetch.SIEMENS_STAR).touch()
    monkeypatch.setenv("ADORYM_DATA", str(tmp_path))
    assert fetch.siemens_star_path() == tmp_path / fetch.SIEMENS_STAR
    with pytest.raises(DataError, match="neither found nor fetched"):
        fetch.siemens_star_path(tmp_path / "elsewhere")  # what is said goes before the environment


def test_what_is_nowhere_is_fetched_once_and_checked(tmp_path, monkeypatch):
    asked = {}

    def retrieve(url, known_hash, fname, path):
        asked.update(url=url, known_hash=known_hash)
        return str(tmp_path / fname)

    monkeypatch.delenv(fetch.ENVIRONMENT, raising=False)
    monkeypatch.setattr("pooch.retrieve", retrieve)
    assert fetch.siemens_star_path() == tmp_path / fetch.SIEMENS_STAR
    assert asked["url"].endswith("/tests/data/siemens-star-small.npz.bz2")
    assert asked["known_hash"] == f"sha256:{fetch.SIEMENS_STAR_SHA256}"


@pytest.mark.parametrize("failure", [ConnectionError("no route"), ValueError("hash differs"), PermissionError("cache")])
def test_what_cannot_be_fetched_is_said_with_the_way_out(monkeypatch, failure):
    def retrieve(*args, **kwargs):
        raise failure

    monkeypatch.delenv(fetch.ENVIRONMENT, raising=False)
    monkeypatch.setattr("pooch.retrieve", retrieve)
    message = rf"siemens-star-small.npz.bz2: neither found nor fetched.*{failure}.*set ADORYM_DATA to that folder"
    with pytest.raises(DataError, match=message):
        fetch.siemens_star_path()


@pytest.mark.skipif(not list(LOCAL.rglob(fetch.SIEMENS_STAR)), reason=f"no {fetch.SIEMENS_STAR} below {LOCAL}")
def test_the_measured_star(offline):
    star = fetch.siemens_star(LOCAL)
    assert star.patterns.shape == (516, 128, 128)
    assert star.energy_ev is None and star.pixel_size_m is None
    assert star.start_probe is not None and star.start_probe.shape == (1, 128, 128)
    mean = star.patterns.read(np.arange(0, 516, 16)).mean(0)
    # In a data set the zero frequency is at the center: the ring of light of a beam with a central stop lies round it.
    y, x = (np.sum(mean * grid) / mean.sum() for grid in np.indices(mean.shape))
    assert abs(y - 64) < 6 and abs(x - 64) < 6
    assert mean[64 - 5 : 64 + 5, 64 - 5 : 64 + 5].mean() < 0.2 * mean[64, 64 + 15 : 64 + 25].mean()
