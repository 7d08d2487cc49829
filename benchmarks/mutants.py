"""Random small errors in the physics, and whether the tests notice them.

Usage: python benchmarks/mutants.py [--count N] [--seed S] [--limit SECONDS] [--jobs N] [--json FILE]

An error is one change of one expression in a function of ``adorym/forward``, ``adorym/losses`` or ``adorym/optics``:
another operator, a flipped sign or comparison, a removed term, a constant that is off, two swapped arguments, a lost
``not``. First the tests of these packages, those that share no code with them and those of the engine run once, and it
is written down which of them pass through each line, and how long they take. Each error is made in a forked child: the
code of the living functions is exchanged, measurements that a model made itself are made again, and the tests that pass
through the changed lines run, the fastest first, until one fails that passes without the error, or the limit is
reached. An error in a line that no test passes through is not noticed; one whose tests do not end is not counted.
Compiled loops (``adorym/wrapper/fused``) and what is computed at import are not changed. Prints a line an error, and
the share that was noticed. Needs `coverage` and Python 3.11.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import ast
import contextlib
import copy
import functools
import gc
import json
import logging
import random
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType

import coverage
import pytest
from _pytest.runner import runtestprotocol

ROOT = Path(__file__).resolve().parent.parent
PLACES = ("adorym/forward", "adorym/losses", "adorym/optics")
# Where the tests are that run; what uses jax does not survive a fork.
TESTS = ("forward", "losses", "optics", "independent", "engine", "initializers")
FORKED = ("jax",)
BAR = 0.85
NOTICED, SURVIVED, LIMIT, UNTRIED = 10, 11, 12, 13
VERDICTS = {NOTICED: "noticed", SURVIVED: "survived", LIMIT: "at the limit", UNTRIED: "untried"}
MODULES = tuple(place.replace("/", ".") for place in PLACES)
KEPT = type(functools.cache(len))
OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult}
COMPARISONS = {ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
COMPARISONS |= {ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}


@dataclass(frozen=True)
class Site:
    """One change.

    Attributes:
        path: The file.
        node: Which node of its tree, counted in the order of `ast.walk`.
        kind: Which of its changes.
        lines: From the beginning of the statement to the end of the node.
    """

    path: Path
    node: int
    kind: str
    lines: range


def changes(node: ast.AST) -> Iterator[str]:
    """Kinds of changes that ``node`` allows."""
    if isinstance(node, ast.BinOp):
        if type(node.op) in OPERATORS:
            yield "operator"
        if isinstance(node.op, ast.Add | ast.Sub | ast.Mult):
            yield "removed term"
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        yield "comparison"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield "sign" if isinstance(node.op, ast.USub) else "not"
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield "constant"
    if isinstance(node, ast.Call) and _differ(node.args[:2]) and not any(isinstance(a, ast.Starred) for a in node.args):
        yield "arguments"


def _differ(given: list[ast.expr]) -> bool:
    return len(given) == 2 and ast.dump(given[0]) != ast.dump(given[1])


def changed(node: ast.AST, kind: str) -> ast.AST:
    """``node`` after the change."""
    node = copy.deepcopy(node)
    if kind == "operator" and isinstance(node, ast.BinOp):
        node.op = OPERATORS[type(node.op)]()
    elif kind == "removed term" and isinstance(node, ast.BinOp):
        return node.left
    elif kind == "comparison" and isinstance(node, ast.Compare):
        node.ops[0] = COMPARISONS[type(node.ops[0])]()
    elif isinstance(node, ast.UnaryOp):
        return node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        node.value = node.value + 1 if isinstance(node.value, int) else 2 * node.value or 1.0
    elif isinstance(node, ast.Call):
        node.args[0], node.args[1] = node.args[1], node.args[0]
    return node


def idle(tree: ast.Module) -> set[int]:
    """Nodes whose change says nothing: docstrings, annotations, declarations, messages of errors."""
    found: set[int] = set()
    for node in ast.walk(tree):
        quiet: list[ast.AST | None] = []
        if isinstance(node, ast.AnnAssign):
            quiet = [node.annotation]
        elif isinstance(node, ast.FunctionDef):
            quiet = [node.returns, *node.decorator_list, *(a.annotation for a in node.args.args)]
        elif isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
            quiet = [node]
        elif isinstance(node, ast.ClassDef):
            quiet = [*node.decorator_list, *(s for s in node.body if isinstance(s, ast.AnnAssign | ast.Assign))]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("LOG.", "xp.asarray", "Field")):
            quiet = [node]
        found |= {id(inner) for each in quiet if each is not None for inner in ast.walk(each)}
    return found


def in_functions(tree: ast.Module) -> dict[int, int]:
    """Nodes that are computed when a function is called, each with the first line of its statement."""
    found: dict[int, int] = {}

    def enter(node: ast.AST, first: int | None) -> None:
        if isinstance(node, ast.stmt) and first is not None:
            first = node.lineno
        if first is not None:
            found[id(node)] = first
        called = node.body if isinstance(node, ast.FunctionDef) else [node.body] if isinstance(node, ast.Lambda) else []
        for inner in ast.iter_child_nodes(node):
            enter(inner, inner.lineno if inner in called else first)

    enter(tree, None)
    return found


def sites(path: Path) -> list[Site]:
    """All changes of a file."""
    tree = ast.parse(path.read_text())
    skip, called = idle(tree), in_functions(tree)
    return [
        Site(path, i, kind, range(called[id(node)], node.end_lineno + 1))
        for i, node in enumerate(ast.walk(tree))
        if id(node) in called and id(node) not in skip
        for kind in changes(node)
    ]


def mutated(site: Site) -> tuple[ast.Module, str]:
    """The changed tree, and the change as a line to read."""
    tree = ast.parse(site.path.read_text())
    target = next(node for i, node in enumerate(ast.walk(tree)) if i == site.node)
    new = ast.copy_location(changed(target, site.kind), target)

    class Swap(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return new if node is target else self.generic_visit(node)

    where = f"{site.path.relative_to(ROOT)}:{getattr(target, 'lineno', 0)}"
    line = f"{where} {site.kind}: {ast.unparse(target)} -> {ast.unparse(new)}"
    return ast.fix_missing_locations(Swap().visit(tree)), line


def codes(code: CodeType) -> Iterator[CodeType]:
    """A module's code and that of all functions in it, in the order in which they are written."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from codes(inner)


def exchange(path: Path, tree: ast.Module) -> None:
    """Give every living function of a module the code that it has in ``tree``.

    What was kept of earlier calls is forgotten.

    Raises:
        ValueError: A function no longer uses a variable of the one around it, or none of the module lives.
    """
    before, after = (codes(compile(t, str(path), "exec")) for t in (ast.parse(path.read_text()), tree))
    new = {(a.co_qualname, a.co_firstlineno): b for a, b in zip(before, after, strict=True)}
    gc.unfreeze()  # what is frozen is not listed
    exchanged = 0
    for each in gc.get_objects():
        if type(each) is FunctionType and each.__code__.co_filename == str(path):
            code = each.__code__
            each.__code__ = new.get((code.co_qualname, code.co_firstlineno), code)
            exchanged += 1
    if not exchanged:
        raise ValueError("no function lives")
    forget()


def forget() -> None:
    """Empty the caches of functions in these packages."""
    for each in gc.get_objects():
        if type(each) is KEPT and (each.__module__ or "").startswith(MODULES):
            each.cache_clear()


def measure_again() -> None:
    """Make the measurements anew that a model made itself: no code but its own says what they should be."""
    case = sys.modules["cases"].ModelCase
    for each in gc.get_objects():
        if type(each) is case and each.said is not None:
            object.__setattr__(each, "dataset", each.said())


class Trial:
    """A pytest plugin in place of the usual loop over tests: first the map of lines, then one error after the other."""

    def __init__(self, asked: argparse.Namespace, chosen: list[Site]) -> None:
        self.asked, self.chosen = asked, chosen
        self.said: list[tuple[str, str]] = []
        self.passed = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed &= not report.failed

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise pytest.UsageError("some tests could not be collected")
        items = [item for item in session.items if not any(word in item.nodeid for word in FORKED)]
        through, seconds = self._map(items)
        gc.collect()
        running: dict[int, str] = {}
        for site in self.chosen:
            tree, line = mutated(site)
            names = set().union(*(through.get((str(site.path), n), set()) for n in site.lines))
            tests = sorted((item for item in items if item.nodeid in names), key=lambda item: seconds[item.nodeid])
            if len(running) == self.asked.jobs:
                self._wait(running)
            child = os.fork()
            if child == 0:
                os._exit(self._judge(site.path, tree, tests))
            running[child] = f"{line}  [{len(tests)} tests]"
        while running:
            self._wait(running)
        return True

    def _run(self, item: pytest.Item, following: pytest.Item | None = None) -> bool:
        """Whether a test passes."""
        self.passed = True
        runtestprotocol(item, log=True, nextitem=following)
        return self.passed

    def _map(self, items: list[pytest.Item]) -> tuple[dict[tuple[str, int], set[str]], dict[str, float]]:
        """Tests that pass through each line, and the seconds of each; one that fails is told and left out."""
        seconds: dict[str, float] = {}
        here = [f"{ROOT / place}/*" for place in PLACES]
        measured = coverage.Coverage(data_file=None, include=here, config_file=False)
        measured.start()
        for item, following in zip(items, [*items[1:], None], strict=True):
            forget()
            measured.switch_context(item.nodeid)
            began = time.perf_counter()
            if self._run(item, following):
                seconds[item.nodeid] = time.perf_counter() - began
            else:
                sys.stdout.write(f"fails without a change: {item.nodeid}\n")
        measured.stop()
        data, through = measured.get_data(), {}
        for path in data.measured_files():
            for line, names in data.contexts_by_lineno(path).items():
                through[path, line] = {name for name in names if name in seconds}
        sys.stdout.write(f"{len(seconds)} tests pass in {sum(seconds.values()):.0f} s\n")
        return through, seconds

    def _judge(self, path: Path, tree: ast.Module, tests: list[pytest.Item]) -> int:
        """In a child: whether a test fails with the error and passes without it, as the exit status."""
        os.setsid()
        signal.alarm(int(self.asked.limit) + 120)
        told, sound = os.dup(1), ast.parse(path.read_text())
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        try:
            exchange(path, tree)
        except ValueError as error:
            os.write(told, f"untried: {error}\n".encode())
            return UNTRIED
        try:
            measure_again()
        except Exception:
            return NOTICED  # as in every run of the tests
        until = time.perf_counter() + self.asked.limit
        for item in tests:
            if time.perf_counter() > until:
                return LIMIT
            if self._run(item):
                continue
            exchange(path, sound)
            measure_again()
            if self._run(item):
                return NOTICED
            os.write(told, f"fails in a child: {item.nodeid}\n".encode())
            exchange(path, tree)
            measure_again()
        return SURVIVED

    def _wait(self, running: dict[int, str]) -> None:
        """For one child."""
        child = 0
        while child not in running:
            child, status = os.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # what its tests have left
        line = running.pop(child)
        self.said.append((line, VERDICTS.get(os.waitstatus_to_exitcode(status), "ended early")))
        sys.stdout.write(f"{self.said[-1][1]:8} {line}\n")
        sys.stdout.flush()


def main() -> None:
    """Draw, try, tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=300, help="number of errors to try")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for the tests of one error")
    parser.add_argument("--jobs", type=int, default=2, help="errors that are tried at once")
    parser.add_argument("--json", type=Path, help="file for rows of name, value, bar, verdict")
    asked = parser.parse_args()
    logging.raiseExceptions = False  # tests leave handlers of streams that are closed
    every = [site for place in PLACES for path in sorted((ROOT / place).rglob("*.py")) for site in sites(path)]
    trial = Trial(asked, random.Random(asked.seed).sample(every, min(asked.count, len(every))))
    options = ["-q", "-s", "-m", "not mpi", "-p", "no:cacheprovider", "--timeout", "0", "--rootdir", str(ROOT)]
    os.chdir(ROOT)
    pytest.main([*options, *(f"tests/{name}" for name in TESTS)], plugins=[trial])
    if len(trial.said) < len(trial.chosen):
        sys.exit("the tests could not be run")
    good = VERDICTS[NOTICED]
    rows = [
        {"name": line, "value": said, "bar": good, "verdict": "ok" if said == good else "MISSED"}
        for line, said in trial.said
    ]
    counted = [said for _, said in trial.said if said in (good, VERDICTS[SURVIVED], VERDICTS[LIMIT])]
    share = counted.count(good) / max(len(counted), 1)
    verdict = "ok" if share >= BAR else "MISSED"
    rows.append({"name": "errors noticed", "value": share, "bar": BAR, "verdict": verdict})
    sys.stdout.write(f"errors noticed: {share:.3f} of {len(counted)}, bar {BAR}: {verdict}\n")
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
