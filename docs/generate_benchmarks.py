"""Tables of the figures that ``benchmarks/NAME.py --json docs/_static/NAME.json`` measured, one page a benchmark."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
BENCHMARKS = DOCS.parent / "benchmarks"
MEASURED = DOCS / "_static"


def command(name: str) -> str:
    """What measures the figures of a benchmark."""
    return f"python benchmarks/{name}.py --json docs/_static/{name}.json"


def descriptions(name: str) -> dict[str, str]:
    """What each function of the benchmark, in ``NAME.py`` or ``NAME_PART.py``, says that it measures, by its name."""
    sources = [BENCHMARKS / f"{name}.py", *sorted(BENCHMARKS.glob(f"{name}_*.py"))]
    trees = [ast.parse(source.read_text(encoding="utf-8")) for source in sources]
    functions = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {function.name: ast.get_docstring(function) or "" for function in functions}


def tables(name: str, measured: Mapping[str, Any]) -> Iterator[str]:
    """Lines of Markdown: the machine, then one table for every function of the benchmark."""
    machine = "; ".join(f"{key} {value}" for key, value in measured["machine"].items())
    yield from (f"Measured by `{command(name)}` on: {machine}.", "")
    told, part = descriptions(name), ""
    for figure in measured["figures"]:
        first, _, rest = figure["name"].partition(".")
        if first != part:
            part = first
            yield from ("", f"**{_words(first)}.** {told.get(first, '')}", "")
            yield from ("| figure | value | at most | |", "|---|---|---|---|")
        bar = "" if figure["bar"] is None else f"{figure['bar']:.4g}"
        verdict = "" if figure["verdict"] == "-" else figure["verdict"]
        yield f"| {_words(rest.replace('.', ', '))} | {figure['value']:.4g} | {bar} | {verdict} |"


def _words(name: str) -> str:
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def main(folder: Path, source: Path = MEASURED) -> None:
    """Write ``benchmarks_NAME.md`` into ``folder``; where there are no figures it says how to make them."""
    folder.mkdir(parents=True, exist_ok=True)
    for benchmark in sorted(BENCHMARKS.glob("*.py")):
        name, path = benchmark.stem, source / f"{benchmark.stem}.json"
        if "import Figure, main" not in benchmark.read_text(encoding="utf-8"):
            continue
        lines = [f"This copy of the documentation holds no figures. Make them by `{command(name)}` and build it again."]
        if path.is_file():
            lines = list(tables(name, json.loads(path.read_text(encoding="utf-8"))))
        (folder / f"benchmarks_{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(DOCS / "_generated")
