"""``adorym list`` shows every component with every field, and what may be refined."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO

import pytest
from command_line import Adorym
from rich.console import Console

from adorym import registry
from adorym.commands.listing import LONGEST_DEFAULT, listing
from adorym.config import DataSettings, OutputSettings
from adorym.engine.settings import Plateau, RunSettings
from adorym.errors import ConfigError
from adorym.forward.ptychography import Ptychography
from adorym.parameters import ParameterSettings
from adorym.schema import describe
from adorym.simulate.noise import Noise
from adorym.simulate.scans import Scan

WIDE = 1000


def lines(group: str | None = None, width: int = WIDE) -> list[str]:
    console = Console(width=width, record=True, file=StringIO())
    console.print(listing(group))
    return [line.rstrip() for line in console.export_text().splitlines()]


def row(shown: list[str], name: str) -> str:
    """The line of the table whose first cell is ``name``."""
    return next(line for line in shown if line.split()[:1] == [name] and not line.endswith(" meaning"))


def plain(text: str) -> str:
    return text.replace("`", "")


@pytest.fixture(scope="module", autouse=True)
def groups() -> Iterator[dict[str, list[str]]]:
    """The package's own groups, without what other test files register while they are collected."""
    listing()  # imports what registers them
    known = {group: {n: registry.lookup(group, n) for n in registry.names(group)} for group in registry.groups()}
    own = {g: {n: c for n, c in members.items() if c.__module__.startswith("adorym.")} for g, members in known.items()}
    own = {group: members for group, members in own.items() if members}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_components", own)
        yield {group: sorted(members) for group, members in own.items()}


def test_overview_has_a_line_for_every_component(groups):
    shown = lines()
    for group, names in groups.items():
        part = shown[shown.index(group) + 1 :][: len(names)]
        assert [line.split()[0] for line in part] == names
        assert all(len(line.split()) > 2 for line in part), group  # each says what it is
    assert {"forward_model", "optimizer", "simulation", "reader", "probe", "phantom"} <= groups.keys()
    for section in ("data", "run", "output"):
        assert f"  {section} " in "\n".join(shown)


def test_a_group_shows_every_field_of_its_components(groups):
    for group, names in groups.items():
        shown = lines(group)
        for name in names:
            assert name in shown
            fields, part = describe(registry.lookup(group, name)), shown[shown.index(name) :]
            table = part[next(i for i, line in enumerate(part) if line.endswith(" meaning")) :] if fields else []
            for field in fields:
                line = row(table, field.name)
                assert field.type in line and field.unit in line
                assert field.default in line or len(field.default) > 40
                assert field.help, f"{group}.{name}.{field.name} says nothing"
                assert ":math:" in field.help or line.endswith(plain(field.help).split()[-1])


@pytest.mark.parametrize(
    "asked",
    ["forward_model", "forward_models", "forward-models", "Forward models", "losses", "optimizers", "probes", "run"],
)
def test_singular_and_plural_mean_the_same(asked):
    known = {"forward": "forward_model", "losses": "loss", "optimizers": "optimizer", "probes": "probe", "run": "run"}
    wanted = known.get(asked.lower().replace("-", " ").replace("_", " ").split()[0], asked)
    assert lines(asked) == lines(wanted)


def test_sections_are_shown_with_what_lies_in_them():
    for section, cls in (("run", RunSettings), ("data", DataSettings), ("output", OutputSettings)):
        shown = lines(section)
        for field in describe(cls):
            told = row(shown, field.name)
            assert field.default in told or (len(field.default) > LONGEST_DEFAULT and "its own defaults" in told)
    assert "10" in row(lines("run"), "plateau.patience") and len(describe(Plateau)) == 2
    shown = lines("simulations")
    for prefix, cls in (("scan", Scan), ("noise", Noise)):
        for field in describe(cls):
            assert plain(field.help.split()[0]) in row(shown, f"{prefix}.{field.name}")


def test_forward_models_show_what_may_be_refined():
    shown = lines("forward_models")
    names = [i for i, line in enumerate(shown) if line and not line.startswith(" ")]
    first = next(i for i in names if shown[i] == "ptychography")
    shown = shown[first : next(i for i in names if i > first)]
    for name, spec in Ptychography.refinable.items():
        line = row(shown[shown.index("  refinable parameters") :], name)
        assert spec.unit in line and spec.help in line and spec.optimizer["kind"] in line
        how = "by default" if spec.refined else "if named" if spec.optional else "if asked for"
        how = how if spec.implied is None else "with its key"
        assert how in line
    common = shown[shown.index("  keys of each of them") :]
    for field in describe(ParameterSettings):
        assert plain(field.help) in row(common, field.name)
    assert "margin_px" in row(shown[shown.index("  of 'object' besides") :], "margin_px")
    probe = shown[shown.index("  of 'probe' besides") :]
    assert row(probe, "modes") and not any(line.split()[:1] == ["refine"] for line in probe)


def test_markup_of_docstrings_is_gone(groups):
    text = "\n".join(line for group in groups for line in lines(group)) + "\n".join(lines())
    for markup in (":math:", "``", "\\", "`"):
        assert markup not in text


def test_a_narrow_terminal_cuts_nothing_off():
    assert "…" not in "\n".join(lines("optimizers", width=60))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("optimizzer", r"list: nothing is called 'optimizzer'; did you mean 'optimizer'\?"),
        ("forward_modells", r"did you mean 'forward_model'\?"),
        ("zzz", r"nothing is called 'zzz'; known: constraint, data, "),
    ],
)
def test_unknown_group_gets_a_suggestion(asked, words):
    with pytest.raises(ConfigError, match=words):
        listing(asked)


def test_command(capsys):
    adorym = Adorym(capsys)
    assert "magnitude_limit" in adorym("list").out
    assert "Largest modulus." in adorym("list", "constraints").out
    ended = adorym("list", "optimizzer")
    assert ended.status == 2 and ended.messages == [
        "error: list: nothing is called 'optimizzer'; did you mean 'optimizer'?"
    ]
