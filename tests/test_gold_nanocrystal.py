"""The measured gold nanocrystal: resizing, alignment, phasing and refinement on real data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import adorym
from adorym.data.block_dct import resized
from adorym.data.fetch import GOLD_SHA256, gold_counts, gold_nanocrystal
from adorym.data.volume import Volume, oversampling, peak
from adorym.errors import DataError
from adorym.initializers.guess import fitted, pattern_of
from adorym.initializers.network import network_view
from adorym.initializers.phasing_run import Phaser, PhasingSettings, ShrinkWrapSettings
from adorym.metrics.crystal import chi_square
from adorym.wrapper import get_backend

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(os.environ.get("ADORYM_TEST_DATA", ROOT.parent / "shared" / "data"))
# The support of the published figures, wider than the default's: the misfit falls with the size of the support.
WIDE = {"every": 20, "threshold": 0.1}
HERE = pytest.mark.skipif(
    not all(list(FOLDER.rglob(f"{name}.npy")) for name in GOLD_SHA256), reason=f"no gold nanocrystal under {FOLDER}"
)


@pytest.fixture(scope="module")
def volume() -> Volume:
    return Volume(gold_counts(FOLDER))


def test_unknown_array_is_refused():
    with pytest.raises(DataError, match="no array 'ft_crop'; did you mean 'ft_crop_64'"):
        gold_nanocrystal("ft_crop")


@HERE
def test_counts_are_whole_photons(volume):
    assert volume.counts.max() == 6_377_258 and volume.counts.sum(dtype=float) == pytest.approx(8.29e8, rel=1e-3)
    assert (peak(volume) == (33, 31, 32)).all() and oversampling(volume).min() > 2.5


@HERE
def test_authors_resized_pattern_is_reproduced():
    cube = gold_nanocrystal("ft_crop_64", FOLDER).astype(float)[7:56, 8:57, 7:56]
    made = np.sqrt(resized(cube**2))
    assert np.abs(made / made.max() - gold_nanocrystal("ft_downsampled_32", FOLDER)).max() < 1e-6


@HERE
def test_network_sees_the_peak_in_the_middle(volume):
    view = network_view(volume)
    assert view.modulus.max() == 1 and view.moved.tolist() == [1, -1, 0]
    assert np.unravel_index(view.modulus.argmax(), (32, 32, 32)) == (16, 16, 16)


@HERE
def test_sub_voxel_alignment_halves_the_misfit_of_the_authors_guess(volume):
    obj = gold_nanocrystal("ad_input_64", FOLDER).astype(complex)
    assert chi_square(pattern_of(obj), volume.modulus) == pytest.approx(0.181, abs=0.001)
    guess = fitted(obj, volume)
    assert guess.chi2 <= 0.09 and (np.abs(guess.offset) < 1).all()
    xp = get_backend("torch", device="cpu", precision="single")
    settings = PhasingSettings(sequence="80*HIO + 20*ER", shrink_wrap=ShrinkWrapSettings(first_sigma=1.0, **WIDE))
    found = Phaser(xp, volume.modulus, None, settings).run(guess.object[None], guess.support[None])
    assert found.chi2[0] <= 0.0015


@HERE
def test_refinement_with_partial_coherence_explains_more_than_projections(volume, tmp_path):
    np.save(tmp_path / "gold.npy", volume.counts)
    config = {
        "data": {"path": str(tmp_path / "gold.npy"), "map": ["patterns=data"]},
        "forward_model": "bragg_cdi",
        "parameters": {
            "object": {
                "initial": {
                    "kind": "phasing", "sequence": "60*HIO + 40*ER", "starts": 1, "finish": "", "shrink_wrap": WIDE
                },
                "optimizer": {"kind": "adam", "learning_rate": 5e-3},
            },
            "coherence_blur": {},
            "background": {},
            "support": {"refine": False},
        },
        "run": {"epochs": 40, "device": "cpu"},
    }  # fmt: skip
    result = adorym.reconstruct(config)
    assert result.history["loss"][-1] < 0.7 * result.fit["starts_chi2"][0]
    assert (result.parameters["coherence_blur"].value > 0.1).all()
