"""Writes the tables of the page on benchmarks from the figures that `benchmarks/core.py --json` measured."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
MEASURED = DOCS / "_static" / "core.json"
BENCHMARK = DOCS.parent / "benchmarks" / "core.py"
COMMAND = "python benchmarks/core.py --json docs/_static/core.json"


def descriptions(source: Path = BENCHMARK) -> dict[str, str]:
    """What each function of the benchmark says that it measures, by its name."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return {function.name: ast.get_docstring(function) or "" for function in functions}


def tables(measured: Mapping[str, Any]) -> Iterator[str]:
    """Lines of Markdown: the machine, then one table for every benchmark."""
    machine = "; ".join(f"{name} {value}" for name, value in measured["machine"].items())
    yield from (f"Measured by `{COMMAND}` on: {machine}.", "")
    told, benchmark = descriptions(), ""
    for figure in measured["figures"]:
        first, _, rest = figure["name"].partition(".")
        if first != benchmark:
            benchmark = first
            yield from ("", f"## {_words(first)}", "", told.get(first, ""), "")
            yield from ("| figure | value | at most | |", "|---|---|---|---|")
        bar = "" if figure["bar"] is None else f"{figure['bar']:.4g}"
        verdict = "" if figure["verdict"] == "-" else figure["verdict"]
        yield f"| {_words(rest.replace('.', ', '))} | {figure['value']:.4g} | {bar} | {verdict} |"


def _words(name: str) -> str:
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def main(folder: Path, source: Path = MEASURED) -> None:
    """Write ``benchmarks.md`` into ``folder``; without figures it says how to make them."""
    lines = [f"This copy of the documentation holds no figures. Make them by `{COMMAND}` and build it again."]
    if source.is_file():
        lines = list(tables(json.loads(source.read_text(encoding="utf-8"))))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmarks.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(DOCS / "_generated")
