"""The contracts of `adorym.testing` hold for components of the package, and refuse broken ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import write_data
from tiny_scan import Scan

import adorym
from adorym import testing
from adorym.constraints.object import MagnitudeLimit
from adorym.forward.ptychography import Ptychography
from adorym.losses.counting import Poisson
from adorym.optimizers.first_order import Adam
from adorym.parameters import ParameterSettings
from adorym.registry import component
from adorym.regularizers.sparsity import L1

SCAN = Scan(modes=2)


class TestModel(testing.ForwardModelContract):
    model = Ptychography()
    dataset = SCAN.noisy(start_probe=SCAN.probe())
    parameters = {"probe_positions": ParameterSettings(), "background": ParameterSettings()}
    scales = {"probe_positions": 0.3, "background": 0.1}


class TestLoss(testing.LossContract):
    loss = Poisson()


class TestRegularizer(testing.RegularizerContract):
    regularizer = L1(weight=0.3)
    sharp = L1(weight=0.3, rounding=1e-9)


class TestConstraint(testing.ConstraintContract):
    constraint = MagnitudeLimit(maximum=1.0)


class TestOptimizer(testing.OptimizerContract):
    optimizer = Adam(learning_rate=0.05)


class TestBackend(testing.BackendContract):
    backend = adorym.get_backend("autograd", precision="double")


class TestReader(testing.ReaderContract):
    reader = "adorym"

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path, monkeypatch):
        write_data(tmp_path / "data.h5")
        monkeypatch.setattr(TestReader, "path", tmp_path / "data.h5", raising=False)


def test_contracts_need_no_pytest():
    lines = Path(testing.__file__).read_text().splitlines()
    assert "pytest" not in {line.split()[1] for line in lines if line.lstrip().startswith(("import ", "from "))}


@component
class Mean(Poisson):
    def terms(self, xp, predicted, target):
        return super().terms(xp, predicted, target) / target.shape[0]


@component
class Halving(MagnitudeLimit):
    def project(self, xp, tile):
        return tile / 2


class Drifting(Adam):
    def step(self, xp, value, gradient, state, rate):
        return value + 1.0, state


@component
class NoHalo(L1):
    def value(self, xp, deviation):
        return super().value(xp, deviation) ** 2


@pytest.mark.parametrize(
    ("contract", "broken", "test"),
    [
        (testing.LossContract, {"loss": Mean()}, "test_is_a_sum"),
        (testing.ConstraintContract, {"constraint": Halving(maximum=1.0)}, "test_is_a"),
        (testing.OptimizerContract, {"optimizer": Drifting(learning_rate=0.1)}, "test_goes"),
        (testing.RegularizerContract, {"regularizer": NoHalo(weight=0.3)}, "test_gradient"),
    ],
    ids=["mean", "halving", "drifting", "no sum"],
)
def test_contract_refuses(contract, broken, test):
    made = type("Broken", (contract,), broken)()
    method = next(getattr(made, name) for name in dir(made) if name.startswith(test))
    with pytest.raises(AssertionError):
        method()


def test_model_that_mixes_patterns_is_refused():
    @component
    class Mixing(Ptychography):
        def predict(self, xp, obj, params, batch):
            predicted = super().predict(xp, obj, params, batch)
            return predicted + xp.mean(predicted)

    made = type("Broken", (testing.ForwardModelContract,), {"model": Mixing(), "dataset": TestModel.dataset})()
    with pytest.raises(AssertionError):
        made.test_patterns_do_not_depend_on_their_batch()
    assert np.isfinite(made.dataset.patterns.read(np.arange(2))).all()
