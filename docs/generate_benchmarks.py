"""Writes the tables of the pages on benchmarks from the figures that `benchmarks/TOPIC.py --json` measured."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
# Topics and the parts of pages that show their figures.
PAGES = {"core": "benchmarks.md", "three_d": "benchmarks_three_d.md"}


def script(topic: str) -> Path:
    """The benchmark of a topic."""
    return DOCS.parent / "benchmarks" / f"{topic}.py"


def command(topic: str) -> str:
    """What measures a topic's figures."""
    return f"python benchmarks/{topic}.py --json docs/_static/{topic}.json"


def descriptions(source: Path) -> dict[str, str]:
    """What each function of the benchmark says that it measures, by its name."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return {function.name: ast.get_docstring(function) or "" for function in functions}


def tables(measured: Mapping[str, Any], topic: str = "core") -> Iterator[str]:
    """Lines of Markdown: the machine, then one table for every benchmark."""
    machine = "; ".join(f"{name} {value}" for name, value in measured["machine"].items())
    yield from (f"Measured by `{command(topic)}` on: {machine}.", "")
    told, benchmark = descriptions(script(topic)), ""
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


def main(folder: Path, source: Path | None = None, topic: str = "core") -> None:
    """Write the page of ``topic`` into ``folder``; without figures it says how to make them."""
    source = source or DOCS / "_static" / f"{topic}.json"
    lines = [f"This copy of the documentation holds no figures. Make them by `{command(topic)}` and build it again."]
    if source.is_file():
        lines = list(tables(json.loads(source.read_text(encoding="utf-8")), topic))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PAGES[topic]).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for each in PAGES:
        main(DOCS / "_generated", topic=each)
