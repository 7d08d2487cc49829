"""What the documentation shows must work: configurations are valid, commands exist, links lead somewhere."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML

from adorym.cli import app
from adorym.config import DataSettings, OutputSettings, config_from, load_config
from adorym.engine.settings import RunSettings
from adorym.errors import ConfigErrors
from adorym.schema.fields import fields_of

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("*/README.md"))]
CONFIGS = sorted((ROOT / "examples").glob("*/config.yaml"))
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)
SMALLEST = {"data": {"path": "data.h5"}, "forward_model": {"kind": "ptychography"}}
COMMANDS = typer.main.get_command(app)


def blocks(language: str) -> list[Any]:
    """Text of the fenced blocks of ``language``, directives excepted, named by page and line."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append(pytest.param(match[1], id=f"{page.relative_to(ROOT)}:{line}"))
    return found


def commands() -> list[str]:
    texts = (block.values[0].replace("\\\n", " ") for block in blocks("console"))
    lines = [line.removeprefix("$ ") for text in texts for line in text.splitlines()]
    return sorted({line for line in lines if line.startswith("adorym ")})


@pytest.mark.parametrize("text", blocks("yaml"))
def test_configuration_in_the_text_is_valid(text: str) -> None:
    # Pages name components of one's own by the files in this folder.
    config_from({**SMALLEST, **YAML(typ="safe").load(text)}, folder=ROOT / "examples" / "extend")


def test_invalid_configuration_would_be_found() -> None:
    with pytest.raises(ConfigErrors, match="did you mean 'probe_positions'"):
        config_from({**SMALLEST, "parameters": {"probe_postions": {}}})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.parent.name)
def test_configuration_of_an_example_is_valid(path: Path) -> None:
    load_config(path)
    load_config(path, quick=True)


@pytest.mark.parametrize("line", commands())
def test_command_in_the_text_exists(line: str) -> None:
    name, *arguments = shlex.split(line)[1:]
    command = COMMANDS.commands[name]  # type: ignore[attr-defined]
    command.make_context(name, arguments)  # parses, runs nothing


def test_readme_lists_every_command() -> None:
    rows = re.findall(r"^\| `adorym (\w+)", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(rows) == sorted(COMMANDS.commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    missing = [t for t in targets if "_generated" not in t and not (page.parent / t).exists()]
    assert not missing


def keys_in_messages() -> set[str]:
    """``section.key`` in the package's strings, docstrings excepted."""
    found: set[str] = set()
    for path in (ROOT / "adorym").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {ast.get_docstring(n, clean=False) for n in ast.walk(tree) if isinstance(n, DOCUMENTED)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in docstrings:
                found |= set(re.findall(r"(?<![\w./])(?:data|run|output)\.[a-z_]+\b(?!\.|\()", node.value))
    return {key for key in found if key.partition(".")[2] not in ("py", "h5", "npy", "open")}


def test_keys_in_messages_exist() -> None:
    sections = {"data": DataSettings, "run": RunSettings, "output": OutputSettings}
    keys = {f"{name}.{key}" for name, cls in sections.items() for key in fields_of(cls)}
    assert keys_in_messages() - keys == set()
    assert {"data.energy", "run.backend"} <= keys_in_messages()
