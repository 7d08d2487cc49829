"""Registering a component enrols it: every registered name has a small instance in `cases.CASES`."""

import pytest
from cases import CASES, MODELS

from adorym import registry
from adorym.schema import build, dump


def own_names(group):
    """Names of ``group`` that the package itself registers; other tests register names of their own."""
    return {name for name in registry.names(group) if registry.lookup(group, name).__module__.startswith("adorym.")}


OWN = {group: names for group in registry.groups() if (names := own_names(group))}
PAIRS = [(group, name) for group, cases in CASES.items() for name in cases]


@pytest.mark.parametrize("group", sorted(OWN | CASES))
def test_every_registered_name_has_a_case_and_every_case_a_name(group):
    assert set(CASES.get(group, {})) == OWN.get(group, set()), f"tests/cases.py: group '{group}'"


def test_every_forward_model_has_its_regimes():
    assert set(MODELS) == OWN["forward_model"]


@pytest.mark.parametrize(("group", "name"), PAIRS, ids="-".join)
def test_case_is_an_instance_and_its_plain_data_rebuild_it(group, name, tmp_path):
    instance = CASES[group][name](tmp_path)
    cls = registry.lookup(group, name)
    assert isinstance(instance, cls) and cls.kind == name
    plain = dump(instance)
    assert plain.pop("kind") == name
    assert build(cls, plain) == instance


def test_missing_name_is_noticed():
    assert set(CASES["optimizer"]) - {"adam"} != OWN["optimizer"]
