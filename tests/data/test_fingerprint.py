"""Data sets that differ are told apart, and ranks that have read different things do not start."""

from __future__ import annotations

import numpy as np
import pytest
from command_line import data_set

from adorym.comm import SerialCommunicator
from adorym.data.dataset import ArrayPatterns
from adorym.data.fingerprint import agree, fingerprint
from adorym.errors import ConfigError


class Several(SerialCommunicator):
    """Rank 0 of as many ranks as there are ``others``, whose arrays are given."""

    def __init__(self, *others):
        self.others = others

    def gather(self, array, name=""):
        return [array, *(other(array) for other in self.others)]


def changed(array):
    other = np.array(array)
    other.reshape(-1)[0] += 1
    return other


def test_the_same_data_have_the_same_fingerprint():
    assert fingerprint(data_set()) == fingerprint(data_set())


@pytest.mark.parametrize(
    "change",
    [
        lambda d: {"patterns": ArrayPatterns(d.patterns.array * np.float32(1.001))},
        lambda d: {"patterns": ArrayPatterns(d.patterns.array[:-1]), "probe_positions_px": d.probe_positions_px[:-1]},
        lambda d: {"probe_positions_px": changed(d.probe_positions_px)},
        lambda d: {"energy_ev": 1.01 * d.energy_ev},
        lambda d: {"mask": np.arange(np.prod(d.window_px)).reshape(d.window_px) > 0},
        lambda d: {"theta_rad": d.theta_rad + 0.1},
    ],
    ids=["counts", "fewer", "positions", "energy", "mask", "angle"],
)
def test_other_data_have_another_one(change):
    dataset = data_set()
    made = change(dataset)
    if "probe_positions_px" in made and len(made["probe_positions_px"]) < dataset.n_patterns:
        made["angle_index"] = dataset.angle_index[:-1]
    assert fingerprint(data_set(**made)) != fingerprint(dataset)


def test_ranks_agree_on_everything_or_do_not_start():
    texts = {"configuration": "a", "data": "b"}
    agree(Several(np.copy, np.copy), texts)

    def other_data(array):
        array = np.array(array)
        array[0, 1, 3] ^= 1
        return array

    with pytest.raises(ConfigError, match="mpi: rank 2 does not have the same data as rank 0; start all ranks with"):
        agree(Several(np.copy, other_data), texts)
    with pytest.raises(ConfigError, match="rank 1 does not have the same configuration and data"):
        agree(Several(lambda a: a ^ 1), texts)
