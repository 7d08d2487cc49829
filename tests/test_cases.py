"""Registering a component enrols it: every registered name has a small instance in `cases.CASES`."""

import ast
from pathlib import Path

import pytest
from cases import CASES, MODELS

import adorym
from adorym import registry
from adorym.data.layouts import LAYOUTS
from adorym.schema import build, dump

PAIRS = [(group, name) for group, cases in CASES.items() for name in cases]


def registered(source):
    """``(group, name)`` of every class in ``source`` that is decorated with ``@register(group, name)``."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        for decorator in node.decorator_list if isinstance(node, ast.ClassDef) else ():
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith("register"):
                found.add(tuple(ast.literal_eval(argument) for argument in decorator.args))
    return found


# Read from the sources: a module that nothing imports yet is found, too, and what other tests register is not.
REGISTERED = {pair for path in Path(adorym.__file__).parent.rglob("*.py") for pair in registered(path.read_text())}
REGISTERED |= {("reader", name) for name in LAYOUTS}  # a table registers these


def test_every_registered_name_has_a_case_and_every_case_a_name():
    assert set(PAIRS) == REGISTERED


def test_every_forward_model_has_its_regimes():
    assert set(MODELS) == {name for group, name in REGISTERED if group == "forward_model"}
    assert all(make() for make in MODELS.values())


@pytest.mark.parametrize(("group", "name"), PAIRS, ids="-".join)
def test_case_is_an_instance_and_its_plain_data_rebuild_it(group, name, tmp_path):
    instance = CASES[group][name](tmp_path)
    cls = registry.lookup(group, name)
    assert isinstance(instance, cls) and cls.kind == name
    plain = dump(instance)
    assert plain.pop("kind") == name
    assert build(cls, plain) == instance


def test_registrations_are_found():
    assert registered("@register('optimizer', 'new')\nclass New: ...\n@component\nclass Other: ...") == {
        ("optimizer", "new")
    }
