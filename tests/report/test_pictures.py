"""Pictures: what they are drawn from, and that none breaks on odd results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import LogNorm
from matplotlib.ticker import NullFormatter
from result_cases import PIXEL_M, ptychography_result, siemens

from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.result import ParameterResult, Result
from adorym.metrics.resolution import ring_correlation
from adorym.report import style
from adorym.report.base import Scene
from adorym.report.curve_pictures import fit_picture, frc_picture, loss_picture, parameters_picture
from adorym.report.object_pictures import extent_text, object_picture
from adorym.report.pictures import draw_pictures, save_pictures
from adorym.report.probe_pictures import positions_picture, probe_picture
from adorym.report.score import Score

RESULT = ptychography_result()
MOVED = {"probe_positions": RESULT.parameters["probe_positions"]}
BARE = replace(RESULT, probe=RESULT.probe[:1], history={}, fit={}, parameters=MOVED)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Coarse pictures in the package's style."""
    monkeypatch.setattr(style, "DPI", 30)
    with style.styled():
        yield


def images(drawn) -> list:
    return [image for ax in drawn[0].axes for image in ax.images]


def titles(drawn) -> list[str]:
    return [ax.get_title("left") for ax in drawn[0].axes]


def test_all_pictures_are_drawn_and_saved(tmp_path):
    rng = np.random.default_rng(0)
    star = siemens((48, 60)).real
    frc = ring_correlation(star + rng.normal(0, 0.1, star.shape), star + rng.normal(0, 0.1, star.shape), PIXEL_M)
    pictures = draw_pictures(Scene(RESULT, score=Score(ring_correlation=frc)))
    names = ["object", "resolution", "probe", "loss", "fit", "positions", "parameters"]
    assert [p.name for p in pictures] == names
    for picture, path in zip(pictures, save_pictures(pictures, tmp_path / "pictures"), strict=True):
        assert path.name == f"{picture.name}.png" and path.read_bytes().startswith(b"\x89PNG")
        assert 60 < picture.width_px < 320 and picture.caption.endswith(".")


def test_object_colors_ignore_the_margin_and_the_ramp_is_gone():
    amplitude, phase = images(object_picture(Scene(RESULT)))
    assert 0.7 < amplitude.get_clim()[0] < amplitude.get_clim()[1] < 1.1
    low, high = phase.get_clim()
    assert -0.8 < low < -0.3 and 0.2 < high < 0.7  # a star of 0.9 rad, its mean removed
    assert amplitude.get_cmap().name == "gray" and phase.get_cmap().name == style.PHASE_MAP
    assert amplitude.axes.get_aspect() == pytest.approx(PIXEL_M[0] / PIXEL_M[1])


def test_phase_that_wraps_gets_a_cyclic_map():
    y, x = np.indices((40, 50))
    result = Result(np.exp(8j * np.sin(y / 7) * np.sin(x / 9))[..., None])
    _, phase = images(object_picture(Scene(result)))
    assert phase.get_cmap().name == "twilight" and phase.get_clim() == (-np.pi, np.pi)


def test_slices_and_volumes():
    few = object_picture(Scene(replace(RESULT, object=np.repeat(RESULT.object, 3, 2))))
    assert len(images(few)) == 6 and "slice 2, z = 10 µm" in titles(few)
    many = object_picture(Scene(replace(RESULT, object=np.repeat(RESULT.object, 9, 2))))
    assert len(images(many)) == 8 and "4 of 9 slices" in many[1]
    volume = np.zeros((20, 24, 18, 2))
    volume[8:15, 6:20, 5:9] = (1e-5, 1e-7)
    sections = object_picture(Scene(Result(volume, "delta_beta", pixel_size_m=(1e-8, 1e-8))))
    shown = images(sections)
    assert [image.get_array().shape for image in shown[:3]] == [(20, 24), (20, 18), (18, 24)]
    assert all(image.get_array().max() == pytest.approx(1) for image in shown)  # through the body, in powers of ten
    assert "center of mass" in sections[1]


def test_phase_of_empty_space_is_not_shown():
    crystal = 0.001 * np.exp(1j * np.random.default_rng(0).uniform(-3, 3, (20, 24, 18)))
    crystal[6:14, 8:18, 4:13] = np.exp(0.4j * np.sin(np.arange(10) / 3))[None, :, None]
    amplitude, _, _, phase, _, _ = images(object_picture(Scene(Result(crystal))))
    assert np.ma.count_masked(np.ma.masked_invalid(phase.get_array())) == 20 * 24 - 8 * 10
    assert np.ma.count_masked(np.ma.masked_invalid(amplitude.get_array())) == 0
    assert phase.get_clim()[1] - phase.get_clim()[0] < 1


def test_extent_is_physical_where_the_pixel_size_is_known():
    shown = Scene(RESULT)
    height, width = shown.view.seen.shape
    assert extent_text(RESULT, shown.view) == f"{width * 10:.3g} × {height * 12:.3g} nm"
    assert extent_text(replace(RESULT, pixel_size_m=None), shown.view) == f"{width} × {height} px"


def test_probe_modes_are_named_with_their_power():
    drawn = probe_picture(Scene(RESULT))
    assert [t for t in titles(drawn) if t] == ["Mode 1   80.0 %", "Mode 2   15.0 %", "Mode 3   5.0 %"]
    assert "1.00×10⁵ photons" in drawn[1]
    single = probe_picture(Scene(replace(RESULT, probe=RESULT.probe[:1])))
    assert titles(single)[0] == "Probe"
    ten = probe_picture(Scene(replace(RESULT, probe=np.repeat(RESULT.probe, 4, 0)[:10])))
    assert sum(t.startswith("Mode") for t in titles(ten)) == 8


def test_corrections_leave_the_common_shift_out():
    start = RESULT.parameters["probe_positions"].start
    moved = {"probe_positions": ParameterResult(start + np.array([5, -3]), "px", start)}
    assert "corrected" not in positions_picture(Scene(replace(RESULT, parameters=moved)))[1]
    drawn = positions_picture(Scene(RESULT))
    shift = RESULT.parameters["probe_positions"].value - start
    rms = np.sqrt(np.mean(np.sum((shift - shift.mean(0)) ** 2, axis=1)))
    assert f"100 positions, corrected by {rms:.3g} px rms" in drawn[1] and "nm" in drawn[1]
    assert "arrows ×" in titles(drawn)[0]
    assert drawn[0].axes[0].yaxis_inverted()


def test_positions_come_from_the_data_where_they_were_not_refined():
    positions = RESULT.parameters["probe_positions"].value
    index = np.repeat([0, 1], 50)
    dataset = Dataset(ArrayPatterns(np.zeros((100, 24, 32))), positions, index, np.zeros(2))
    bare = Scene(replace(RESULT, parameters={}), dataset)
    assert bare.view.scanned
    assert positions_picture(bare)[1] == "50 probe positions."  # those of the first angle


def test_loss_is_logarithmic_where_it_falls_far():
    steep, flat = loss_picture(Scene(RESULT)), None
    assert isinstance(steep[0].axes[0].yaxis.get_minor_formatter(), NullFormatter)  # labels would overlap
    assert steep[0].axes[0].get_yscale() == "log" and "270 ms per epoch" in steep[1]
    history = {"loss": np.array([1.0, 0.9, 0.8, 0.7]), "loss_total_variation": np.full(4, 0.1)}
    flat = loss_picture(Scene(replace(RESULT, history=history)))
    assert flat[0].axes[0].get_yscale() == "linear"
    assert [t.get_text() for t in flat[0].axes[0].get_legend().get_texts()] == ["Loss", "Total variation"]
    assert loss_picture(Scene(replace(RESULT, history={}))) is None


def test_fit_is_on_one_logarithmic_scale():
    drawn = fit_picture(Scene(RESULT))
    measured, predicted, difference = (ax.images[0] for ax in drawn[0].axes[:3])
    assert isinstance(measured.norm, LogNorm) and measured.norm is predicted.norm
    assert difference.norm.vmin == -difference.norm.vmax
    assert drawn[1].startswith("Pattern 17; R = ")
    masked = RESULT.fit | {"measured": np.where(RESULT.fit["predicted"] > 100, np.nan, RESULT.fit["measured"])}
    assert "R = " in fit_picture(Scene(replace(RESULT, fit=masked)))[1]
    dark = RESULT.fit | {"measured": np.zeros((24, 32))}
    assert fit_picture(Scene(replace(RESULT, fit=dark))) is None


@pytest.mark.parametrize("misfit", [0.002, 0.3])
def test_residuals_of_a_bright_image_can_be_seen(misfit):
    """A hologram: all counts alike. The limits of the residual follow the residual, not the counts."""
    rng = np.random.default_rng(5)
    predicted = 1e4 * (1 + 0.2 * rng.random((24, 32)))
    wave = np.sin(np.arange(32) / 3)
    fit = {"measured": predicted * (1 + misfit * wave), "predicted": predicted, "index": np.asarray(0)}
    measured, _, difference = (ax.images[0] for ax in fit_picture(Scene(replace(RESULT, fit=fit)))[0].axes[:3])
    largest = np.abs(fit["measured"] - predicted).max()
    assert difference.norm.vmax == -difference.norm.vmin == pytest.approx(largest, rel=0.1)
    shades = np.asarray(difference.norm(difference.get_array()))
    assert np.ptp(shades) > 0.9 and np.std(shades) > 0.15
    assert not isinstance(measured.norm, LogNorm)


def test_small_residuals_of_a_pattern_can_be_seen():
    fit = RESULT.fit | {"predicted": RESULT.fit["measured"] * 1.001}
    difference = fit_picture(Scene(replace(RESULT, fit=fit)))[0].axes[2].images[0]
    assert np.ptp(np.asarray(difference.norm(difference.get_array()))) > 0.4


def test_resolution_is_in_the_unit_of_the_pixel():
    star = siemens((48, 60)).real
    noise = np.random.default_rng(1).normal(0, 0.15, (2, *star.shape))
    frc = ring_correlation(star + noise[0], star + noise[1], PIXEL_M)
    drawn = frc_picture(Scene(RESULT, score=Score(ring_correlation=frc)))
    assert f"{frc.half_period * 1e9:.3g} nm" in drawn[1] and drawn[0].axes[0].get_xlabel().endswith("(1/nm)")
    same = frc_picture(Scene(RESULT, score=Score(ring_correlation=ring_correlation(star, star, PIXEL_M))))
    assert "better than the pixels show" in same[1]


def test_parameters_are_shown_as_what_changed():
    panels = parameters_picture(Scene(RESULT))[0].axes
    assert [ax.get_title("left") for ax in panels] == ["Propagation distance", "Slice spacing", "Tilt"]
    assert panels[0].get_xlabel() == "epoch" and panels[0].get_ylabel() == "mm"
    assert panels[1].get_ylabel() == "change (nm)"
    np.testing.assert_allclose(panels[1].lines[0].get_ydata(), [200, -300, 100])
    assert len(panels[2].lines) == 4 and panels[2].get_ylabel() == "change (mrad)"


def test_parameters_that_were_not_refined_or_have_their_own_picture_are_left_out():
    fixed, background = np.ones((5, 2)), np.random.default_rng(0).normal(size=(1, 9, 12))
    parameters = {
        "fixed": ParameterResult(fixed, "px", fixed.copy()),
        "probe_positions": RESULT.parameters["probe_positions"],
        "background": ParameterResult(background, "photons", np.zeros((1, 9, 12))),
        "labels": ParameterResult(np.array([True, False])),
    }
    drawn = parameters_picture(Scene(replace(RESULT, parameters=parameters)))
    assert [t for t in titles(drawn) if t] == ["Background"] and len(images(drawn)) >= 1


ODD = {
    "no_epochs": replace(BARE, history={"epoch": np.zeros(0), "loss": np.zeros(0), "time_s": np.zeros(0)}),
    "nan": replace(
        BARE,
        object=np.full((20, 30, 1), np.nan),
        probe=np.full((1, 4, 5), np.nan),
        history={"loss": np.full(5, np.nan)},
    ),
    "dark": replace(BARE, object=np.zeros((20, 30, 1)), probe=np.zeros((2, 4, 5))),
    "one_pixel": Result(np.ones((1, 1, 1))),
    "empty": Result(np.ones((0, 5, 1))),
    "thin": Result(np.ones((2, 300, 1)), pixel_size_m=(1e-8, 1e-8)),
    "tall": Result(np.ones((300, 2, 1))),
    "one_position": replace(BARE, parameters={"probe_positions": ParameterResult(np.zeros((1, 2)), "px")}),
    "line_scan": replace(
        BARE,
        parameters={"probe_positions": ParameterResult(np.c_[np.zeros(9), np.arange(9.0)], "px", np.zeros((9, 2)))},
    ),
    "nan_positions": replace(BARE, parameters={"probe_positions": ParameterResult(np.full((4, 2), np.nan), "px")}),
    "nan_parameter": replace(BARE, parameters={"tilt": ParameterResult(np.full(4, np.nan), "rad", np.zeros(4))}),
    "flat_delta": Result(np.zeros((6, 7, 20, 2)), "delta_beta"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_results_do_not_break_the_pictures(name):
    for picture in draw_pictures(Scene(ODD[name])):
        assert picture.png.startswith(b"\x89PNG")


def test_equal_amplitudes_are_equally_bright():
    rgb = style.complex_colors(np.exp(1j * np.linspace(-np.pi, np.pi, 60))[None])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ (0.2126, 0.7152, 0.0722)
    assert luminance.max() / luminance.min() < 1.35
    assert np.all(style.complex_colors(np.zeros((2, 3), complex)) == 0)


@pytest.mark.parametrize(("extent", "length"), [(100, 20), (99, 20), (21, 5), (1.3e-6, 2e-7), (4.1, 1)])
def test_scale_bars_have_round_lengths(extent, length):
    assert style.nice_length(extent) == pytest.approx(length)


def test_of_a_thin_tomogram_the_section_across_its_axis_is_shown():
    volume = np.random.default_rng(0).random((2, 64, 64)).astype(np.float32)
    drawn = object_picture(Scene(Result(volume, "attenuation")))
    (image,) = images(drawn)
    assert image.get_array().shape == (64, 64) and "most matter" in drawn[1]
    assert len(images(object_picture(Scene(Result(np.repeat(volume, 20, axis=0), "attenuation"))))) == 3
