"""Pages of the documentation that are made from measured figures and from the classes."""

from __future__ import annotations

import ast
import importlib
import json
from pathlib import Path

import pytest

from adorym.forward.ptychography import Ptychography

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.fixture
def made_by(monkeypatch):
    """``made_by("generate_benchmarks")``: a script of the documentation as a module."""
    monkeypatch.syspath_prepend(str(DOCS))
    return importlib.import_module


def figure(name: str, value: float, bar: float | None, verdict: str) -> dict[str, object]:
    return {"name": name, "value": value, "bar": bar, "verdict": verdict}


def test_the_benchmarks_page_shows_what_was_measured(made_by, tmp_path):
    figures = [
        figure("one_mode.seed_31.object_nrmse", 0.0312345, 0.045, "ok"),
        figure("speed.64x64.1_modes.us_per_fft", 12.5, None, "-"),
        figure("speed.64x64.1_modes.epoch_over_fft_floor", 3.0, 2.5, "MISSED"),
    ]
    measured = {"machine": {"processor": "a fast one", "cores": "2"}, "figures": figures}
    (tmp_path / "core.json").write_text(json.dumps(measured))
    made_by("generate_benchmarks").main(tmp_path, tmp_path)
    text = (tmp_path / "benchmarks_core.md").read_text()
    for line in (
        "`python benchmarks/core.py --json docs/_static/core.json` on: processor a fast one; cores 2.",
        "**One mode.** Object error after 40 epochs.",
        "| Seed 31, object nrmse | 0.03123 | 0.045 | ok |",
        "| 64x64, 1 modes, us per fft | 12.5 |  |  |",
        "| 64x64, 1 modes, epoch over fft floor | 3 | 2.5 | MISSED |",
    ):
        assert line in text
    assert text.count("**Speed.**") == 1


def test_without_figures_the_page_says_how_to_make_them(made_by, tmp_path):
    made_by("generate_benchmarks").main(tmp_path, tmp_path / "none")
    assert "python benchmarks/core.py --json" in (tmp_path / "benchmarks_core.md").read_text()


BENCHMARKS = [p for p in (DOCS.parent / "benchmarks").glob("*.py") if "import Figure, main" in p.read_text()]


@pytest.mark.parametrize("source", sorted(BENCHMARKS), ids=lambda path: path.stem)
def test_every_benchmark_says_what_it_measures(made_by, source):
    told = made_by("generate_benchmarks").descriptions(source.stem)
    nodes = ast.parse(source.read_text(encoding="utf-8")).body
    assigned = [n for n in nodes if isinstance(n, ast.Assign | ast.AnnAssign)]
    (makers,) = (n.value for n in assigned if ast.unparse(n).startswith("MAKERS"))
    names = {n.id for n in ast.walk(makers) if isinstance(n, ast.Name)} & set(told)
    makes = [n for n in nodes if isinstance(n, ast.FunctionDef) and ast.unparse(n.returns) == "Iterator[Figure]"]
    unasked = {n.name for n in makes if not n.name.startswith("_")} - names
    assert len(names) > 1 and not unasked and all(told[each] for each in names)


def test_the_table_of_steps_holds_the_defaults(made_by):
    lines = made_by("generate_reference").default_steps(Ptychography.refinable)
    for name, spec in Ptychography.refinable.items():
        row = next(line for line in lines if line.startswith(f"| `{name}` |"))
        optimizer = spec.default_optimizer()
        assert f"`{optimizer.kind}`: `learning_rate: {optimizer.learning_rate}`" in row
        assert f"`{spec.default_schedule().kind}`" in row
