"""Fourier transforms in strips against NumPy's, for every kind of length, and work that threads share."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from adorym.wrapper.fused import kernels, strips
from adorym.wrapper.fused.kernels import forget_older
from adorym.wrapper.fused.lanes import LANES
from adorym.wrapper.fused.shares import LEAST_PIXELS, shared_out

PRECISE = {"float32": 2e-6, "float64": 1e-13}
# Powers of two, every radix, primes without a butterfly (a convolution), sides that fill no vector, single pixels.
SHAPES = [
    (64, 64),
    (16, 32),
    (16, 14),
    (32, 20),
    (12, 14),
    (7, 9),
    (30, 50),
    (22, 26),
    (97, 16),
    (194, 11),
    (1, 8),
    (5, 1),
    (1, 1),
]


def random(shape, real, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.result_type(real, np.complex64))


def in_strips(picture, grid):
    out = np.zeros((2, grid.sizes[0]), picture.real.dtype)
    strips.to_strips(picture.view(picture.real.dtype), out, grid)
    return out


@pytest.mark.parametrize("real", PRECISE)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_transforms_are_those_of_numpy(shape, real):
    picture, grid = random(shape, real), strips.layout(shape, real)
    spectrum = np.zeros((2, grid.sizes[1]), real)
    strips.transform(in_strips(picture, grid), spectrum, grid, strips.THERE)
    expected, places = np.fft.fft2(picture.astype(np.complex128)), strips.spectrum_places(grid)
    found = (spectrum[0] + 1j * spectrum[1])[places].reshape(shape)
    assert not np.delete(spectrum, places, axis=1).any()  # sums go over all numbers
    assert np.abs(found - expected).max() < PRECISE[real] * np.abs(expected).max()
    back, out = np.zeros((2, grid.sizes[0]), real), np.empty_like(picture)
    strips.transform(spectrum, back, grid, strips.BACK)
    strips.from_strips(back, out.view(real), grid)
    assert np.abs(out / picture.size - picture).max() < PRECISE[real] * np.abs(picture).max()
    assert not np.delete(back, strips.picture_places(grid), axis=1).any()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_pixel_has_a_place_of_its_own(shape):
    grid = strips.layout(shape, "float64")
    for places, size in zip((strips.picture_places(grid), strips.spectrum_places(grid)), grid.sizes, strict=True):
        assert len(np.unique(places)) == places.size == np.prod(shape)
        assert places.min() >= 0 and places.max() < size
        assert size % LANES == 0


@pytest.mark.parametrize("as_spectrum", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_real_numbers_are_laid_at_their_places(shape, as_spectrum):
    grid, image = strips.layout(shape, "float32"), np.random.default_rng(1).normal(size=shape).astype(np.float32)
    number = grid.table[strips.STRIPS_Y if as_spectrum else strips.STRIPS]
    out = np.zeros((number, grid.sizes[as_spectrum] // number), np.float32)
    for strip, numbers in enumerate(out):
        strips.lay(image.reshape(-1), as_spectrum, strip, numbers, grid)
    places = strips.spectrum_places(grid) if as_spectrum else strips.picture_places(grid)
    np.testing.assert_array_equal(out.reshape(-1)[places].reshape(shape), image)
    assert np.count_nonzero(out) == image.size


def test_the_other_width_of_vectors(tmp_path):
    """What machines with other registers compile: transforms there and back with the width this one does not use."""
    script = f"""
        from numba.core.registry import cpu_target
        target = type(cpu_target.target_context.codegen())
        true = target.magic_tuple
        target.magic_tuple = lambda self: ("", "", "{"+avx512f" if LANES == 8 else ""}")
        import numpy as np
        from adorym.wrapper.fused import lanes
        target.magic_tuple = true
        from adorym.wrapper.fused import strips
        assert lanes.LANES == {24 - LANES}
        rng = np.random.default_rng(0)
        for shape in ((64, 32), (20, 22)):
            grid = strips.layout(shape, "float64")
            picture = rng.normal(size=shape) + 1j * rng.normal(size=shape)
            a, b = (np.zeros((2, size)) for size in grid.sizes)
            strips.to_strips(picture.view(float), a, grid)
            strips.transform(a, b, grid, strips.THERE)
            found = (b[0] + 1j * b[1])[strips.spectrum_places(grid)].reshape(shape)
            assert np.abs(found - np.fft.fft2(picture)).max() < 1e-11
    """
    here = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}  # never one compiled for the other width
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, env=here)


def test_work_is_shared_out_in_order():
    seen = []

    def work(part):
        seen.append((part, threading.current_thread().name))
        return part

    parts = shared_out(work, 10, 3 * LEAST_PIXELS, workers=4)
    assert [range(10)[part] for part in parts] == [range(3), range(3, 6), range(6, 10)]
    assert len({name for _, name in seen}) >= 2
    assert shared_out(work, 10, 3 * LEAST_PIXELS, workers=1) == [slice(0, 10)]
    assert shared_out(work, 10, LEAST_PIXELS // 2, workers=8) == [slice(0, 10)]  # not worth a thread
    assert shared_out(work, 2, 99 * LEAST_PIXELS, workers=8) == [slice(0, 1), slice(1, 2)]


def test_compiled_functions_older_than_a_source_are_removed(tmp_path, monkeypatch):
    old, new = tmp_path / "a.nbi", tmp_path / "b.1.nbc"
    for path in (old, new):
        path.write_bytes(b"")
    os.utime(old, (0, 0))
    other = tmp_path / "other.txt"
    other.write_bytes(b"")
    os.utime(other, (0, 0))
    forget_older(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.1.nbc", "other.txt"]
    forget_older(str(tmp_path / "absent"))
    monkeypatch.setattr(kernels.time, "time", lambda: 1.0)  # sources from the future would do so at every start
    new.touch()
    os.utime(new, (0.5, 0.5))
    forget_older(str(tmp_path))
    assert new.exists()


def test_an_error_in_another_thread_is_raised():
    def work(part):
        if part.start:
            raise ValueError("from the second share")

    with pytest.raises(ValueError, match="second share"):
        shared_out(work, 2, 2 * LEAST_PIXELS, workers=2)


def test_a_user_is_told_of_compiling(tmp_path, caplog):
    caplog.set_level("INFO", "adorym.start")
    kernels.tell_of_compiling(str(tmp_path), "exit_wave_kernels.loss_and_gradients")
    assert "compiled, once in this installation" in caplog.text
    caplog.clear()
    (tmp_path / "exit_wave_kernels.loss_and_gradients-1.py311.nbi").touch()
    kernels.tell_of_compiling(str(tmp_path), "exit_wave_kernels.loss_and_gradients")
    assert not caplog.text
