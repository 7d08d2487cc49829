"""Random small errors in the physics, and whether a fast set of tests notices each of them.

Usage: python benchmarks/mutants.py [--count N] [--seed S] [--limit SECONDS] [--json FILE]

An error is one change of one expression in ``adorym/forward``, ``adorym/losses`` or ``adorym/optics``: another
operator, a flipped sign or comparison, a removed term, a constant that is off, two swapped arguments, a lost ``not``.
Each is made in a forked child of a process that has imported the libraries, but nothing of the package: the child
imports the package with the changed module in it and runs the nearest tests until one fails. Compiled loops
(``adorym/wrapper/fused``) are not mutated: their cache would not see it. Prints a line an error, and the share that was
noticed; errors whose tests take longer than the limit are told, and not counted.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import json
import random
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
PLACES = ("adorym/forward", "adorym/losses", "adorym/optics")
# Imported before the first fork: what takes long and is not under test.
WARM = ("numpy", "scipy.fft", "scipy.ndimage", "scipy.optimize", "scipy.special", "numba", "pydantic", "autograd.numpy")
WARM += ("h5py", "pint", "ruamel.yaml", "pytest")
OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult}
COMPARISONS = {ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
COMPARISONS |= {ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}
# Nearest first, by the beginning of a file's name; then those that see most.
NEAREST = {
    "forward/holotomography": ("volumes",),
    "forward/holo": ("holograms", "volumes"),
    "forward/autofocus": ("surviving_breaks",),
    "forward/multislice": ("scans",),
    "forward/ptychotomography": ("volumes",),
    "forward/tomography": ("volumes",),
    "forward/volume": ("volumes", "surviving_breaks"),
    "forward/crystal": ("crystals",),
    "forward/bragg_cdi": ("crystals",),
    "forward/rocking_curve": ("crystals",),
    "forward/multi_peak": ("crystals",),
    "optics/poses": ("volumes",),
    "optics/projector": ("volumes",),
    "optics/affine": ("holograms",),
}
# Then those that see most; all of them pass within the limit.
ALWAYS = ("scans", "curvature_law")


@dataclass(frozen=True)
class Site:
    """One change: which node of a file's tree, counted in the order of `ast.walk`, and which of its changes."""

    path: Path
    node: int
    kind: str


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
    if isinstance(node, ast.Call) and len(node.args) >= 2 and not any(isinstance(a, ast.Starred) for a in node.args):
        yield "arguments"


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


def sites(path: Path) -> list[Site]:
    """All changes of a file."""
    tree = ast.parse(path.read_text())
    skip = idle(tree)
    return [
        Site(path, i, kind) for i, node in enumerate(ast.walk(tree)) if id(node) not in skip for kind in changes(node)
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


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a changed tree."""

    def __init__(self, path: Path, tree: ast.Module) -> None:
        self.path, self.tree = path, tree
        parts = path.relative_to(ROOT).with_suffix("").parts
        self.name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=_Loader(name, str(self.path), self.tree))


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, tree: ast.Module) -> None:
        super().__init__(name, path)
        self._tree = tree

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._tree, self.path, "exec"), module.__dict__)


def tests_of(path: Path) -> list[str]:
    """Test files, nearest first."""
    inside = str(path.relative_to(ROOT / "adorym").with_suffix(""))
    near = [name for start, names in NEAREST.items() if inside.startswith(start) for name in names]
    made = [f"tests/independent/test_{name}.py" for name in near]
    own = Path("tests") / Path(inside).parent
    made += [str(own / f"test_{path.stem}.py"), *([str(own)] if inside.startswith("losses") else [])]
    made += [f"tests/independent/test_{name}.py" for name in ALWAYS if not inside.startswith("losses")]
    return [str(ROOT / each) for each in dict.fromkeys(made) if (ROOT / each).exists()]


def verdict(site: Site, tree: ast.Module, limit_s: float) -> str:
    """``killed``, ``survived`` or ``timeout``; the tests run in a child that no later one sees."""
    child = os.fork()
    if child == 0:
        import pytest

        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        sys.meta_path.insert(0, Finder(site.path, tree))
        signal.alarm(int(limit_s) + 1)
        options = ["-x", "-q", "-p", "no:cacheprovider", "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml")]
        os._exit(0 if pytest.main([*options, *tests_of(site.path)]) == 0 else 1)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return "timeout" if os.WTERMSIG(status) == signal.SIGALRM else "killed"
    return "survived" if os.WEXITSTATUS(status) == 0 else "killed"


def main() -> None:
    """Draw, try, tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=300, help="number of errors to try")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--limit", type=float, default=90.0, help="seconds for the tests of one error")
    parser.add_argument("--json", type=Path, help="file for rows of name, value, bar, verdict")
    asked = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    for name in WARM:
        importlib.import_module(name)
    every = [site for place in PLACES for path in sorted((ROOT / place).rglob("*.py")) for site in sites(path)]
    chosen = random.Random(asked.seed).sample(every, min(asked.count, len(every)))
    rows, found, began = [], [], time.monotonic()
    for site in chosen:
        tree, line = mutated(site)
        found.append(verdict(site, tree, asked.limit))
        rows.append({"name": line, "value": found[-1], "bar": "killed", "verdict": _passed(found[-1] == "killed")})
        sys.stdout.write(f"{found[-1]:8} {line}\n")
        sys.stdout.flush()
    counted = [each for each in found if each != "timeout"]
    share = counted.count("killed") / max(len(counted), 1)
    rows.append({"name": "mutants noticed", "value": share, "bar": ">= 0.9", "verdict": _passed(share >= 0.9)})
    sys.stdout.write(f"mutants noticed {share:.3f} >= 0.9 {rows[-1]['verdict']} ({time.monotonic() - began:.0f} s)\n")
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")


def _passed(good: bool) -> str:
    return "pass" if good else "fail"


if __name__ == "__main__":
    main()
