"""Phasing: sequences, projections, recovery of a crystal, masked voxels, several starts."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES
from tiny_crystal import ellipsoid, far_field

from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.volume import read_volume
from adorym.errors import ConfigError
from adorym.initializers.phasing import Phasing
from adorym.initializers.phasing_run import LowPass, Phaser, PhasingSettings, ShrinkWrapSettings
from adorym.initializers.sequence import steps_of
from adorym.initializers.starts import bred
from adorym.metrics.crystal import match
from adorym.wrapper import get_backend

SHAPE = (24, 20, 22)  # (y, x, z)
TIGHT = ShrinkWrapSettings(threshold=0.2, sigma=0.7, first_sigma=1.5, every=10)  # the crystal is eight voxels wide
XP = get_backend("torch", device="cpu", precision="double")


def measured(photons: float = 1e6, mask: np.ndarray | None = None) -> tuple[Dataset, np.ndarray]:
    obj = ellipsoid(SHAPE, 0.36)
    obj *= np.sqrt(photons) / np.linalg.norm(obj)
    counts = np.random.default_rng(2).poisson(far_field(obj)).astype(np.float32)
    return Dataset(patterns=ArrayPatterns(counts if mask is None else np.where(mask, counts, 1e5)), mask=mask), obj


# -- sequences ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("ER", [("ER", 1)]),
        ("3*(180*HIO + 20*er) + 20*ER", [("HIO", 180), ("ER", 20)] * 2 + [("HIO", 180), ("ER", 40)]),
        ("2*(ER+2*(DM+SW))", [("ER", 1), ("DM", 1), ("SW", 1), ("DM", 1), ("SW", 1)] * 2),
        ("5*RAAR+TWIN + 0*ER", [("RAAR", 5), ("TWIN", 1)]),
    ],
)
def test_sequence_is_worked_out(text, steps):
    assert steps_of(text) == steps


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3*(ER", r"expected '\)'; found the end"),
        ("3 ER", r"expected '\*' after a number; found 'ER' at character 3"),
        ("ER HIO", r"expected '\+' or the end; found 'HIO' at character 4"),
        ("ER + ", "expected the name of an algorithm"),
        ("ER - HIO", "found ' - HIO' at character 3"),
        ("4*HOI", "no phasing algorithm named 'HOI'; did you mean 'HIO'"),
        ("*ER", "expected the name of an algorithm"),
    ],
)
def test_what_is_not_a_sequence_says_where(text, message):
    with pytest.raises(ConfigError, match=message):
        steps_of(text)


def test_settings_of_an_algorithm_that_does_not_occur_have_no_effect():
    with pytest.raises(ValueError, match=r"algorithms.raar: has no effect"):
        Phasing(sequence="5*HIO", algorithms={"raar": {"beta": 0.5}})
    with pytest.raises(ValueError, match=r"(?s)algorithms.hio.beta.*<= 1"):
        Phasing(sequence="5*HIO", algorithms={"hio": {"beta": 1.5}})
    with pytest.raises(ValueError, match="mean_of: more than there are starts"):
        Phasing(starts=2, mean_of=3)


# -- projections -------------------------------------------------------------------------------------------------------
def test_modulus_projection_is_idempotent_and_leaves_unmeasured_voxels():
    rng = np.random.default_rng(0)
    modulus, x = rng.random((6, 7, 8)) + 0.1, rng.normal(size=(1, 6, 7, 8)) + 1j
    good = rng.random((6, 7, 8)) > 0.2
    phaser = Phaser(XP, modulus, good, PhasingSettings(sequence="ER"))
    once = phaser.to_modulus(XP.asarray(x), phaser.modulus)
    np.testing.assert_allclose(phaser.to_modulus(once, phaser.modulus), once, rtol=1e-4, atol=1e-4)
    waves = [np.fft.fftshift(np.fft.fftn(np.asarray(a)[0], norm="ortho")) for a in (x, once)]
    np.testing.assert_allclose(np.abs(waves[1])[good], modulus[good], rtol=1e-5)
    np.testing.assert_allclose(waves[1][~good], waves[0][~good], rtol=1e-6)


@pytest.mark.parametrize("name", sorted(CASES["phasing_algorithm"]))
def test_the_solution_is_a_fixed_point(name, tmp_path):
    _, obj = measured()
    x = XP.asarray(np.moveaxis(obj, 2, 0)[None])
    modulus = np.abs(np.fft.fftshift(np.fft.fftn(x[0].numpy(), norm="ortho")))
    phaser = Phaser(XP, modulus, None, PhasingSettings(sequence=name))
    algorithm = CASES["phasing_algorithm"][name](tmp_path)
    support = XP.abs(x) > 0
    stepped = algorithm.step(XP, x, support, lambda a: phaser.to_modulus(a, phaser.modulus))
    np.testing.assert_allclose(stepped, x, atol=1e-3 * float(np.abs(obj).max()))


# -- recovery ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("sequence", ["2*(40*HIO+10*ER)+10*ER", "80*RAAR+20*ER", "80*DM+20*ER"])
def test_crystal_is_recovered(sequence):
    dataset, obj = measured()
    found = Phasing(sequence=sequence, starts=3, shrink_wrap=TIGHT).start(dataset, SHAPE, np.random.default_rng(3))
    assert found.whole.shape == SHAPE
    assert match(found.whole, obj).overlap > 0.9
    assert (np.diff(found.diagnostics["starts_chi2"]) >= 0).all() and found.diagnostics["prtf"][0] > 0.9


def test_same_seed_same_object_and_low_pass_start():
    dataset, obj = measured()
    settings = Phasing(sequence="30*HIO+TWIN+30*HIO+SW+20*ER", low_pass=LowPass(steps=30), starts=2, mean_of=2)
    first, second = (settings.make(dataset, SHAPE, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert match(first, obj).overlap > 0.9


def test_masked_voxels_are_free():
    mask = np.ones((22, 24, 20), bool)
    mask[11, 12, 10] = mask[11, 11:14, 12] = False  # the peak itself behind a beamstop, hot voxels beside it
    dataset, obj = measured(mask=mask)
    found = Phasing(sequence="2*(40*HIO+10*ER)+10*ER", starts=3, shrink_wrap=TIGHT).make(
        dataset, SHAPE, np.random.default_rng(3)
    )
    assert match(found, obj).overlap > 0.9


def test_shrink_wrap_dilates_and_may_be_switched_off():
    dataset, _ = measured()
    modulus = np.sqrt(dataset.patterns.read(np.arange(22)))
    supports = np.ones((1, 22, 24, 20), bool)
    start = np.random.default_rng(0).random(supports.shape) + 0j
    never = Phaser(XP, modulus, None, PhasingSettings(sequence="4*ER", shrink_wrap=ShrinkWrapSettings(every=0)))
    assert never.run(start, supports).supports.all()
    x = XP.asarray(np.ones(20)[None, None, None] * (np.arange(24) == 9)[None, None, :, None] * supports + 0j)
    small, large = (
        Phaser(XP, modulus, None, PhasingSettings(sequence="ER", shrink_wrap=ShrinkWrapSettings(dilate=d))).shrunk(
            x, 0.5
        )
        for d in (0, 1)
    )
    assert float(small.sum()) < float(large.sum())


def test_object_of_another_shape_is_refused():
    dataset, _ = measured()
    with pytest.raises(ConfigError, match="phasing needs an object of the shape of the data"):
        Phasing(sequence="ER").make(dataset, (8, 8), np.random.default_rng(0))


def test_the_mean_of_several_starts_is_zero_outside_the_support_of_the_best():
    dataset, _ = measured()
    settings = Phasing(starts=4, mean_of=3, agreement=0.1, sequence="2*(30*HIO+10*ER)+10*ER", shrink_wrap=TIGHT)
    found = settings.phase(read_volume(dataset), np.random.default_rng(1))
    mean = settings.chosen(found)
    assert np.array_equal(mean != 0, found.objects[0] != 0) and 0 < np.mean(mean != 0) < 0.2
    assert not np.allclose(mean, found.objects[0])


def test_starts_that_agree_are_told_and_those_that_do_not_are_warned_of(caplog):
    dataset, _ = measured()
    settings = Phasing(starts=3, sequence="2*(40*HIO+10*ER)+10*ER", shrink_wrap=TIGHT)
    with caplog.at_level("INFO", "adorym"):
        settings.start(dataset, SHAPE, np.random.default_rng(3))
    assert "phasing: 3 starts, chi2" in caplog.text and "disagree" not in caplog.text
    caplog.clear()
    noise = np.random.default_rng(0).poisson(3.0, (22, 24, 20)).astype(np.float32)  # no peak at all
    found = Phasing(starts=3, sequence="5*ER").start(Dataset(ArrayPatterns(noise)), SHAPE, np.random.default_rng(1))
    assert "the starts of the phasing disagree" in caplog.text
    assert np.median(found.diagnostics["starts_overlap"][1:]) < 0.7


def test_the_forecast_of_the_memory_grows_with_starts_and_voxels():
    one, four = (Phasing(starts=n).bytes_at_once(64**3) for n in (1, 4))
    # Measured with 64^3 voxels: 150 and 534 bytes a voxel.
    assert one == pytest.approx(150 * 64**3, rel=0.35) and four == pytest.approx(534 * 64**3, rel=0.35)


def test_shrink_wrap_never_takes_most_of_the_array():
    """Of noise, whose amplitude is the same everywhere, even a blurred one."""
    noise = np.sqrt(np.random.default_rng(0).poisson(5.0, (22, 24, 20)))
    settings = PhasingSettings(sequence="40*HIO", shrink_wrap=ShrinkWrapSettings(threshold=0.02, every=5, start=5))
    supports = np.zeros((2, 22, 24, 20), bool)
    supports[0, 6:16, 6:16, 6:14], supports[1] = True, True
    start = supports * np.exp(2j * np.pi * np.random.default_rng(1).random(supports.shape))
    found = Phaser(XP, noise, None, settings).run(start, supports)
    assert found.supports[0].mean() <= 0.5 and np.array_equal(found.objects != 0, found.supports)


def test_pairs_of_the_better_half_are_combined():
    rng = np.random.default_rng(2)
    objects = rng.uniform(0.5, 1, (6, 3, 4, 5)) * np.exp(1j * rng.uniform(-1, 1, (6, 3, 4, 5)))
    made = bred(objects, 6)
    assert len(made) == 6 and len(bred(objects[:4], 4)) == 3 and len(bred(objects, 5)) == 5
    np.testing.assert_array_equal(made[:3], objects[:3])
    for child, (a, b) in zip(made[3:], ((0, 1), (0, 2), (1, 2)), strict=True):
        np.testing.assert_allclose(np.abs(child) ** 2, np.abs(objects[a] * objects[b]))
        np.testing.assert_allclose(np.angle(child), 0.5 * (np.angle(objects[a]) + np.angle(objects[b])), atol=1e-12)


def test_generations_follow_each_other():
    dataset, _ = measured()
    short = {"starts": 4, "sequence": "20*HIO+10*ER", "shrink_wrap": TIGHT}
    once, thrice = (
        Phasing(generations=n, **short).phase(read_volume(dataset), np.random.default_rng(1)) for n in (1, 3)
    )
    assert len(thrice.objects) == 4 and thrice.chi2[0] < once.chi2[0]
    with pytest.raises(ValueError, match="generations: too few starts to combine; expected 3 starts or more; found 2"):
        Phasing(starts=2, generations=2)
