"""A sealed file notices every change, and stays a file that others can read."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from command_line import Adorym, write_config, write_data

from adorym.data.seal import LENGTH, seal, state_of


@pytest.fixture
def sealed(tmp_path):
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as file:
        file["numbers"] = np.arange(1000.0)
    seal(path)
    return path


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(content)


def test_a_sealed_file_is_whole_and_opens(sealed):
    assert state_of(sealed) == "whole"
    with h5py.File(sealed) as file:
        np.testing.assert_array_equal(file["numbers"], np.arange(1000.0))


def test_every_flipped_bit_is_noticed(sealed):
    size = 8 * sealed.stat().st_size
    whole, rng = sealed.read_bytes(), np.random.default_rng(4)
    for bit in [*rng.integers(0, size, 200), size - 1, size - 8 * LENGTH]:
        flip(sealed, int(bit))
        assert state_of(sealed) != "whole", bit
        sealed.write_bytes(whole)


@pytest.mark.parametrize("kept", [0, 10, LENGTH, 5000])
def test_a_truncated_file_is_not_sealed(sealed, kept):
    sealed.write_bytes(sealed.read_bytes()[:kept])
    assert state_of(sealed) == "not sealed"


def test_verify_looks_at_results_and_checkpoints(tmp_path, monkeypatch, capsys):
    adorym = Adorym(capsys)
    write_data(tmp_path / "data.h5")
    write_config(tmp_path, run={"checkpoint_every": 1})
    monkeypatch.chdir(tmp_path)
    assert adorym("run", "config.yaml", "-o", "out").status == 0
    ended = adorym("verify", "out")
    assert ended.status == 0 and ended.out.count(": whole") == 3
    path = tmp_path / "out" / "checkpoint.h5"
    flip(path, 8 * path.stat().st_size // 2)
    ended = adorym("verify", "out")
    assert ended.status == 2 and "checkpoint.h5: damaged" in ended.out and ended.out.count(": whole") == 2
    ended = adorym("run", "config.yaml", "-o", "out", "--resume", "--set", "run.epochs=4")
    assert ended.status == 0 and "is damaged; resuming from the one before it" in ended.err
    ended = adorym("verify", "config.yaml")
    assert ended.status == 0 and "not sealed" in ended.out
    assert adorym("verify", "nowhere").status == 2
