"""Resolution from two halves of the data: the comparison, the command, and what it refuses."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from command_line import Adorym, write_config
from result_cases import siemens

from adorym.commands.halves import compare_halves
from adorym.commands.report import report
from adorym.commands.simulate import simulate
from adorym.data.result import ParameterResult, Result, read_result, write_result
from adorym.errors import ConfigError, DataError
from adorym.report import style

SHAPE, WINDOW, PIXEL_M = (120, 132), (24, 28), (12e-9, 10e-9)
CUTOFF = 2e7  # per meter, up to which both halves know the object; the detector's Nyquist frequency is twice that
CONFIG = "data:\n  path: data.h5\n  frames: '{}'\n"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Coarse pictures."""
    monkeypatch.setattr(style, "DPI", 30)


def low_pass(image: np.ndarray, cutoff: float) -> np.ndarray:
    fy, fx = (np.fft.fftfreq(n, pixel) for n, pixel in zip(image.shape, PIXEL_M, strict=True))
    return np.fft.ifft2(np.fft.fft2(image) * (np.hypot(fy[:, None], fx) < cutoff))


def half(frames: str, seed: int, margin: int = 10, **changes: object) -> Result:
    """What half of the patterns might give: the object up to `CUTOFF`, then noise; every half in a frame of its own."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 0.02, (2, *SHAPE))
    obj = low_pass(siemens(SHAPE), CUTOFF) + noise[0] + 1j * noise[1]
    room = (np.array(SHAPE) - WINDOW).astype(float)
    positions = rng.uniform(0, room, (150, 2))
    made = Result(
        object=np.pad(obj, margin, constant_values=40.0)[..., None],
        origin_px=(margin, margin),
        pixel_size_m=PIXEL_M,
        probe=np.ones((1, *WINDOW)),
        parameters={"probe_positions": ParameterResult(positions, "px", positions)},
        config=CONFIG.format(frames),
    )
    return replace(made, **changes)


def compared(folder, first: Result, second: Result):
    write_result(first, folder / "a" / "result.h5")
    write_result(second, folder / "b" / "result.h5")
    return compare_halves(folder / "a", folder / "b")


def test_halves_agree_up_to_what_both_know(tmp_path):
    found = compared(tmp_path, half("::2", 1), half("1::2", 2, margin=17))
    rings = found.ring_correlation
    assert CUTOFF < rings.crossing < 1.15 * CUTOFF  # the taper of the edges smears the step over two rings
    assert found["resolution_m"] == pytest.approx(0.5 / rings.crossing)
    assert rings.correlation[:5].min() > 0.9
    assert np.abs(rings.correlation[rings.frequency > 1.2 * CUTOFF]).mean() < 0.15
    notes = {figure.name: figure.note for figure in found.figures}
    assert "shift of (" in notes["difference of the halves (NRMSE)"]


def test_a_shift_and_a_ramp_between_the_halves_are_no_difference(tmp_path):
    """Every reconstruction has its own: the data do not determine them."""
    straight = compared(tmp_path, half("::2", 1), half("1::2", 2))
    second = half("1::2", 2)
    y, x = np.indices(second.object.shape[:2])
    tilted = second.object[..., 0] * 1.3 * np.exp(1j * (0.4 + 0.02 * y - 0.03 * x))
    moved = replace(second, object=np.roll(tilted, (1, 2), (0, 1))[..., None])
    found = compared(tmp_path, half("::2", 1), moved)
    assert found.ring_correlation.crossing == pytest.approx(straight.ring_correlation.crossing, rel=0.05)
    assert found["halves_nrmse"] == pytest.approx(straight["halves_nrmse"], rel=0.1)


def test_noise_alone_does_not_correlate(tmp_path):
    def noise(seed: int) -> np.ndarray:
        return np.random.default_rng(seed).normal(size=(140, 152, 1)) + 1.0

    found = compared(tmp_path, half("::2", 1, object=noise(1)), half("1::2", 2, object=noise(2)))
    assert found.ring_correlation.crossing < 0.2 * found.ring_correlation.limit


def test_the_report_shows_the_curve(tmp_path):
    compared(tmp_path, half("::2", 1), half("1::2", 2))
    text = report(tmp_path / "a", other_half=tmp_path / "b").read_text()
    assert (tmp_path / "a" / "pictures" / "resolution.png").is_file()
    assert re.search(r"Half-period resolution: [\d.]+ nm \(half-bit criterion\)", text)
    assert "compared with a reconstruction from the other half of the data" in text.lower()
    assert "Difference of the halves (NRMSE)" in text


def test_half_and_truth_together_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="--other-half: has no effect beside '--truth'"):
        report(tmp_path, truth=tmp_path / "data.h5", other_half=tmp_path)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (half("::2", 2), r"is from the same patterns.*found data.path and data.frames alike: data.h5, ::2.*1::2"),
        (half("1::2", 2, pixel_size_m=(12e-9, 11e-9)), "the pixel sizes differ"),
        (half("1::2", 2, origin_px=(-80, 10)), "do not cover the same part of the object"),
        (
            half("1::2", 2, object=np.zeros((140, 152, 1, 2)), representation="delta_beta"),
            "not of the same kind; expected real_imag; found delta_beta",
        ),
    ],
    ids=["same patterns", "pixel size", "elsewhere", "other kind"],
)
def test_what_are_no_two_halves_is_refused(tmp_path, second, message):
    with pytest.raises(DataError, match=message):
        compared(tmp_path, half("::2", 1), second)


def test_from_a_data_file_to_the_curve(tmp_path, capsys, monkeypatch):
    """The way that the documentation shows: two runs, each with every other pattern, and a report on both."""
    monkeypatch.chdir(tmp_path)
    scan = {"step": "3 px"}
    simulate("ptychography", "data.h5", {"window_px": [24, 28], "object_px": [56, 60], "scan": scan}, seed=1)
    adorym = Adorym(capsys)
    config = write_config(tmp_path, run={"batch_size": None})
    for name, frames in (("out1", "::2"), ("out2", "1::2")):
        assert adorym("run", config, "--set", f"data.frames={frames}", "--output", name).status == 0
    counts = [len(read_result(name).parameters["probe_positions"].value) for name in ("out1", "out2")]
    assert abs(counts[0] - counts[1]) <= 1
    assert "out1/report.html" in adorym("report", "out1", "--other-half", "out2").out
    assert (tmp_path / "out1" / "pictures" / "resolution.png").is_file()
    refused = adorym("report", "out1", "--other-half", "out1")
    assert refused.status == 2 and "is from the same patterns" in refused.err
