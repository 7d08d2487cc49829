"""What stands in masked pixels changes nothing: every model, every loss, first guesses, runs and results."""

from __future__ import annotations

from dataclasses import replace

import adapter
import numpy as np
import pytest
from cases import CASES, MODELS, insert
from laws import assert_mask_law, noise
from tiny_crystal import Peak
from tiny_holograms import series
from tiny_scan import Exact, Scan

from adorym.data.dataset import Dataset
from adorym.forward.base import ForwardModel
from adorym.forward.bragg_cdi import BraggCdi
from adorym.forward.holography import Holography
from adorym.forward.ptychography import Ptychography
from adorym.forward.tomography import Tomography

MODEL_CASES = [case for make in MODELS.values() for case in make()]
LOSSES = sorted(CASES["loss"])


def mask_of(dataset: Dataset, each: bool) -> np.ndarray:
    """A fifth of the pixels is bad; the same in all patterns, or others in each."""
    shape = dataset.patterns.shape if each else dataset.window_px
    return np.random.default_rng(7).random(shape) > 0.2


@pytest.mark.parametrize("case", MODEL_CASES, ids=lambda c: c.name)
def test_a_run_with_all_its_first_guesses(case):
    """By the optimizers that a run takes by default, two epochs of it."""
    mask = mask_of(case.dataset, each=len(case.name) % 2 == 0)
    dataset = adapter.masked(case.dataset, mask)

    def everything(counts):
        made = adapter.of_case(case, dataset=dataset(counts), epochs=2)
        found = adapter.firsts(made.problem)
        curved = adapter.curved_names(made.problem)
        for kind, arrays in zip("gh", adapter.slopes(made.problem, made.problem.active(0), curved), strict=True):
            found |= {f"{kind}.{name}": array for name, array in arrays.items()}
        return found | adapter.after(made, 2)

    assert_mask_law(everything, case.dataset.patterns.array, mask)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("case", MODEL_CASES, ids=lambda c: c.name)
def test_every_loss_counts_valid_pixels_alone(case, loss, tmp_path):
    mask = mask_of(case.dataset, each=len(loss) % 2 == 0)
    dirty = np.where(mask, case.dataset.patterns.array, 1e7)
    made = adapter.of_case(case, CASES["loss"][loss](tmp_path), adapter.masked(case.dataset, mask)(dirty))
    problem = made.problem
    obj = adapter.present(problem, "object")
    wrong = 0.05 * noise(np.random.default_rng(2), obj.shape, complex_values=True)
    insert(problem, {"object": obj + wrong * max(1.0, float(np.abs(obj).max()))})
    expected = adapter.loss_of_valid_pixels(problem)
    assert adapter.loss_of(problem) == pytest.approx(expected, rel=1e-11) and expected > 1e-6


def _first_guesses() -> dict[str, tuple[ForwardModel, Dataset, dict]]:
    """Models whose first values are found from the data."""
    maps = Holography.refinable["affine"].settings(registration=True)
    kappa = Holography.refinable["log10_kappa"].settings(fit=True)
    phasing = CASES["initializer"]["phasing"](None)
    crystal = {"object": BraggCdi.refinable["object"].settings(initial=phasing), "background": None}
    crystal["background"] = BraggCdi.refinable["background"].settings()
    holograms = series(patterns=Exact(100 + 20 * np.random.default_rng(3).normal(size=(20, 12, 14))))
    mean = Ptychography.refinable["probe"].settings(initial=CASES["probe"]["mean_pattern"](None))
    plane = Ptychography.refinable["probe"].settings(initial=CASES["probe"]["plane"](None))
    tomogram = next(c.dataset for c in MODELS["tomography"]() if c.name == "tomography-level")
    filtered = Tomography.refinable["object"].settings(initial=CASES["initializer"]["filtered_back_projection"](None))
    one_material = Holography(buffer_px=4, homogeneous=True, kappa=20.0)
    lag = {name: CASES["initializer"][name](None) for name in ("contrast_transfer", "paganin", "back_propagation")}
    thin = Holography(buffer_px=4)
    return {
        "auto": (Ptychography(), Scan(modes=2).dataset(), {}),
        "mean_pattern": (Ptychography(), Scan(modes=2).dataset(), {"probe": mean}),
        "plane": (Ptychography(), Scan().dataset(), {"probe": plane}),
        "near_field": (Ptychography(propagation="fresnel"), Scan(regime="fresnel").dataset(), {"probe": plane}),
        "phasing": (BraggCdi(), Peak().dataset(), crystal),
        "registration": (thin, holograms, {"affine": maps}),
        "open_beam": (thin, holograms.with_(open_beam_counts=None), {}),
        "kappa": (one_material, holograms, {"log10_kappa": kappa}),
        "center": (Tomography(), tomogram, {"object": filtered}),
        **{
            name: (thin, holograms, {"object": Holography.refinable["object"].settings(initial=each)})
            for name, each in lag.items()
        },
    }


@pytest.mark.parametrize("name", sorted(_first_guesses()))
def test_first_guesses_from_the_data(name):
    model, dataset, settings = _first_guesses()[name]
    counts = dataset.patterns.read(np.arange(dataset.n_patterns)).astype(float)
    mask = mask_of(dataset, each=False)

    def everything(values):
        made = replace(dataset, patterns=Exact(values), mask=mask)
        return adapter.firsts(adapter.ready(model, made, settings).problem)

    assert_mask_law(everything, counts, mask)


def test_the_first_beam_is_as_strong_as_the_valid_pixels_say():
    """Near and far field: each pixel's mean over the patterns that show it."""
    scan = Scan()
    mask = np.random.default_rng(1).random((scan.n, *scan.window)) > 0.3
    dataset = scan.dataset(mask=mask)
    probe = adapter.present(adapter.ready(Ptychography(), dataset).problem, "probe")
    expected = (np.where(mask, scan.patterns(), 0).sum(0) / mask.sum(0)).sum()
    assert (np.abs(probe) ** 2).sum() == pytest.approx(expected, rel=1e-9)


def test_the_fit_of_a_result_shows_that_masked_pixels_were_not_measured():
    scan = Scan()
    mask = mask_of(scan.dataset(), each=False)
    fit = adapter.after(adapter.ready(Ptychography(), scan.dataset(mask=mask)), 0)
    np.testing.assert_array_equal(np.isnan(fit["fit.measured"]), ~mask)
