"""Writes the tables of the pages on benchmarks from the figures that `benchmarks/TOPIC.py --json` measured."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
MEASURED = DOCS / "_static" / "core.json"
TOPICS = ("core", "holography")


def command(topic: str) -> str:
    """How the figures of a topic are made."""
    return f"python benchmarks/{topic}.py --json docs/_static/{topic}.json"


def descriptions(topic: str = "core") -> dict[str, str]:
    """What each function of a topic's benchmark says that it measures, by its name."""
    tree = ast.parse((DOCS.parent / "benchmarks" / f"{topic}.py").read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return {function.name: ast.get_docstring(function) or "" for function in functions}


def tables(measured: Mapping[str, Any], topic: str = "core") -> Iterator[str]:
    """Lines of Markdown: the machine, then one table for every benchmark."""
    machine = "; ".join(f"{name} {value}" for name, value in measured["machine"].items())
    yield from (f"Measured by `{command(topic)}` on: {machine}.", "")
    told, benchmark = descriptions(topic), ""
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
    """Write ``benchmarks.md``, or ``benchmarks_TOPIC.md``, into ``folder``; without figures: how to make them."""
    topic = source.stem if source.stem in TOPICS else TOPICS[0]
    lines = [f"This copy of the documentation holds no figures. Make them by `{command(topic)}` and build it again."]
    if source.is_file():
        lines = list(tables(json.loads(source.read_text(encoding="utf-8")), topic))
    folder.mkdir(parents=True, exist_ok=True)
    page = "benchmarks" if topic == TOPICS[0] else f"benchmarks_{topic}"
    (folder / f"{page}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def every_topic(folder: Path) -> None:
    """Write the pages of all topics."""
    for topic in TOPICS:
        main(folder, MEASURED.with_name(f"{topic}.json"))


if __name__ == "__main__":
    every_topic(DOCS / "_generated")
