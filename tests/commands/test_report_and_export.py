"""The commands ``report`` and ``export`` on files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from result_cases import probe_modes, ptychography_result

from adorym.commands.export import export
from adorym.commands.report import report, report_scored
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.native_write import write_native
from adorym.data.result import write_result
from adorym.errors import ConfigError, DataError
from adorym.report import style


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(style, "DPI", 30)
    result = replace(ptychography_result(), history={}, fit={}, probe=probe_modes((24, 32))[:1])
    write_result(result, tmp_path / "result.h5")
    return tmp_path


def test_the_report_of_an_output_directory_lies_in_it(folder):
    page = report(folder)
    assert page == folder / "report.html" and (folder / "pictures" / "object.png").is_file()
    assert report(folder / "result.h5", folder / "other" / "x.html").is_file()
    assert (folder / "other" / "pictures").is_dir()


def simulated(path) -> Dataset:
    result = ptychography_result()
    positions = result.parameters["probe_positions"].value
    truth = {"object": result.object[..., 0], "object_origin_px": np.array(result.origin_px), "probe": result.probe,
             "probe_positions_px": positions}  # fmt: skip
    patterns = ArrayPatterns(np.ones((len(positions), 24, 32), np.float32))
    made = Dataset(patterns, positions, energy_ev=8800.0, pixel_size_m=result.pixel_size_m, truth=truth, path=str(path))
    write_native(made, path)
    return made


def test_the_report_shows_the_score_against_a_truth(folder):
    dataset = simulated(folder / "data.h5")
    text = report(folder, truth=folder / "data.h5", data=folder / "data.h5").read_text()
    assert "Position error" in text and "Resolution (FRC)" in text
    assert 'id="resolution"' in text and (folder / "pictures" / "resolution.png").is_file()
    assert report_scored(folder / "result.h5", folder / "end.html", dataset).read_text() == text


def test_a_run_that_cannot_be_scored_still_has_its_report(folder, caplog):
    dataset = simulated(folder / "data.h5")
    (folder / "data.h5").unlink()
    assert 'id="score"' not in report_scored(folder / "result.h5", folder / "end.html", dataset).read_text()
    assert "no score in the report" in caplog.text


@pytest.mark.parametrize(("to", "ending"), [("tiff", "tif"), ("vti", "vti"), ("cxi", "cxi"), ("npz", "npz")])
def test_an_export_lies_beside_the_result(folder, to, ending):
    assert export(folder, to) == [folder / f"object.{ending}"]
    assert export(folder / "result.h5", to, folder / "x" / "y")[0].is_file()


def test_a_wrong_format_is_refused_before_the_file_is_read(tmp_path):
    with pytest.raises(ConfigError, match="no export format 'jpeg'"):
        export(tmp_path / "none.h5", "jpeg")
    with pytest.raises(DataError, match="no such file"):
        export(tmp_path / "none.h5", "npz")
