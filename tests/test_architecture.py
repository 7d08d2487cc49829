"""The architecture, checked on the syntax tree of every module: nothing is imported, so a broken module fails alone.

Every rule is a function from the parsed sources to a list of offences, and has an example that it must refuse.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "adorym"

# A module imports only from lines above its own; names on one line are independent of each other.
LAYERS = [
    "_version errors",
    "extension",
    "paths registry units",
    "schema",
    "streams terminal watchdog",
    "comm",
    "wrapper",
    "optics",
    "data",
    "metrics",
    "optimizers solvers",
    "storage preconditioners",
    "parameters",
    "losses regularizers constraints",
    "object_space",
    "updates",
    "forward",
    "networks",
    "initializers",
    "engine",
    "report",
    "callbacks",
    "watch",
    "simulate",
    "config_file",
    "config",
    "stream",
    "commands",
    "api",
    "testing",
    "cli_live cli_networks cli_watch",
    "cli",
    "__main__",
]
RANK = {name: rank for rank, line in enumerate(LAYERS) for name in line.split()}
MAX_MODULE, MAX_FUNCTION, MAX_ARGUMENTS = 400, 60, 8

# Where a library that only some users have, or that ties code to one backend, may be imported.
HOMES = {
    "mpi4py": ("adorym.comm.launch",),
    "torch": ("adorym.wrapper.torch", "adorym.networks.", "adorym.comm.torch"),
    "autograd": ("adorym.wrapper.autograd",),
    "jax": ("adorym.wrapper.jax",),
    "onnx": ("adorym.networks.onnx_runtime",),
    "onnxruntime": ("adorym.networks.onnx_runtime",),
}
FORBIDDEN_CALLS = {"print", "hasattr", "exit", "quit", "eval", "exec", "breakpoint"}
EXIT_ALLOWED = {"adorym.cli", "adorym.__main__"}
UNFINISHED = ("TODO", "FIXME", "XXX", "NotImplemented")


@dataclass(frozen=True)
class Module:
    """One parsed source file."""

    name: str
    source: str
    is_package: bool = False
    tree: ast.Module = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tree", ast.parse(self.source, self.name))

    @property
    def part(self) -> str:
        """First name below the package (``engine`` of ``adorym.engine.loop``), empty for the package itself."""
        return self.name.partition(".")[2].partition(".")[0]

    @property
    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        return (n for n in ast.walk(self.tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))

    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and absolute dotted name of every import that runs; ``from a import b`` gives ``a.b``."""
        for node in _running_nodes(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    parents = self.name.split(".") if self.is_package else self.name.split(".")[:-1]
                    base = ".".join([*parents[: len(parents) - node.level + 1], *([base] if base else [])])
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def _running_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from (node for branch in child.orelse for node in _running_nodes(branch))
            continue
        yield child
        yield from _running_nodes(child)


@cache
def package() -> tuple[Module, ...]:
    modules = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules.append(Module(name, path.read_text(encoding="utf-8"), is_package))
    return tuple(modules)


def layers(modules: tuple[Module, ...]) -> list[str]:
    """A module imports only from parts above its own; the package itself, which sees all, may be imported by none."""
    offences = []
    for module in modules:
        if module.part and module.part not in RANK:
            offences.append(f"{module.name}: '{module.part}' has no place in LAYERS")
            continue
        for line, name in module.imports():
            head, _, rest = name.partition(".")
            part = rest.partition(".")[0]
            if head != "adorym" or part == module.part or not module.part:
                continue
            if part not in RANK or RANK[part] >= RANK[module.part]:
                offences.append(f"{module.name}:{line} imports {name}")
    return offences


def cycles(modules: tuple[Module, ...]) -> list[str]:
    """No module needs itself to be imported, imports inside functions included."""
    names = {module.name for module in modules}

    def target(name: str) -> str | None:
        return next((n for n in (name, name.rpartition(".")[0]) if n in names), None)

    graph = {m.name: {t for _, n in m.imports() if (t := target(n)) and t != m.name} for m in modules}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" -> ".join(error.args[1])]
    return []


def sizes(modules: tuple[Module, ...]) -> list[str]:
    """Modules, functions and argument lists are small enough to be read at one sitting."""
    offences = []
    for module in modules:
        if (n := module.source.count("\n")) > MAX_MODULE:
            offences.append(f"{module.name}: {n} lines")
        for function in module.functions:
            place = f"{module.name}:{function.lineno} {function.name}"
            if (n := function.end_lineno - function.lineno + 1) > MAX_FUNCTION:
                offences.append(f"{place}: {n} lines")
            spec = function.args
            names = [a.arg for a in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]
            if (n := len(names) - (names[:1] in (["self"], ["cls"]))) > MAX_ARGUMENTS:
                offences.append(f"{place}: {n} arguments")
    return offences


def calls(modules: tuple[Module, ...]) -> list[str]:
    """The library neither prints nor exits, and asks objects for nothing that their type does not promise."""
    offences = []
    for module in modules:
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            if name in FORBIDDEN_CALLS or (name == "sys.exit" and module.name not in EXIT_ALLOWED):
                offences.append(f"{module.name}:{node.lineno} calls {name}")
    return offences


def swallowed(modules: tuple[Module, ...]) -> list[str]:
    """No bare ``except`` and no ``**kwargs``: both swallow mistakes."""
    offences = []
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                offences.append(f"{module.name}:{node.lineno} bare except")
        for function in module.functions:
            if function.args.kwarg is not None and function.args.kwarg.arg == "kwargs":
                offences.append(f"{module.name}:{function.lineno} {function.name} takes **kwargs")
    return offences


def unfinished(modules: tuple[Module, ...]) -> list[str]:
    """Nothing is left to be written: no stub, no note to do it later."""
    return [
        f"{module.name}:{number} {line.strip()}"
        for module in modules
        for number, line in enumerate(module.source.splitlines(), 1)
        if any(word in line for word in UNFINISHED)
    ]


def homes(modules: tuple[Module, ...]) -> list[str]:
    """Each backend is known to its own file alone, and MPI to `comm`."""
    return [
        f"{module.name}:{line} imports {name}"
        for module in modules
        for line, name in module.imports()
        if not module.name.startswith(HOMES.get(name.partition(".")[0], ("adorym",)))
    ]


def docstrings(modules: tuple[Module, ...]) -> list[str]:
    """Every module, public class and public function says what it is."""
    offences = []
    for module in modules:
        if ast.get_docstring(module.tree) is None:
            offences.append(module.name)
        for node in module.tree.body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if not node.name.startswith("_") and ast.get_docstring(node) is None:
                offences.append(f"{module.name}:{node.lineno} {node.name}")
    return offences


def slow_parts(modules: tuple[Module, ...]) -> list[str]:
    """Parts of SciPy are imported by ``import scipy`` and their first use: commands begin without them."""
    return [
        f"{module.name}:{node.lineno} {ast.unparse(node)}"
        for module in modules
        for node in module.tree.body
        if (isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("scipy."))
        or (isinstance(node, ast.Import) and any(a.name.startswith("scipy.") for a in node.names))
    ]


Rule = Callable[[tuple[Module, ...]], list[str]]
REFUSED: list[tuple[Rule, dict[str, str]]] = [
    (layers, {"adorym.optics.rays": "from adorym.engine import loop"}),
    (layers, {"adorym.engine.loop": "from adorym import reconstruct"}),
    (layers, {"adorym.losses.poisson": "from adorym.constraints import base"}),
    (layers, {"adorym.losses.poisson": "def late():\n    from ..forward import base"}),
    (layers, {"adorym.novelty": "'''Not in the list.'''"}),
    (cycles, {"adorym.data.a": "from adorym.data import b", "adorym.data.b": "from adorym.data.a import something"}),
    (cycles, {"adorym.data.a": "from .b import x", "adorym.data.b": "def late():\n    from . import a"}),
    (sizes, {"adorym.long": "x = 0\n" * (MAX_MODULE + 1)}),
    (sizes, {"adorym.long": "def f():\n" + "    x = 0\n" * MAX_FUNCTION}),
    (sizes, {"adorym.wide": "def f(a, b, c, d, e, f, g, *, h, i): ..."}),
    (calls, {"adorym.talk": "print('done')"}),
    (calls, {"adorym.stop": "import sys\nsys.exit(1)"}),
    (calls, {"adorym.duck": "hasattr(1, 'quack')"}),
    (swallowed, {"adorym.hush": "try:\n    x = 1\nexcept:\n    x = 2"}),
    (swallowed, {"adorym.hush": "def f(**kwargs): ..."}),
    (unfinished, {"adorym.later": "x = 1  # TODO: two"}),
    (homes, {"adorym.engine.loop": "import torch.nn"}),
    (homes, {"adorym.storage.distributed": "def late():\n    from mpi4py import MPI"}),
    (docstrings, {"adorym.mute": "'''Doc.'''\ndef f(): ..."}),
    (docstrings, {"adorym.mute": "x = 1"}),
    (slow_parts, {"adorym.heavy": "from scipy.ndimage import gaussian_filter"}),
    (slow_parts, {"adorym.heavy": "from scipy import fft"}),
    (slow_parts, {"adorym.heavy": "import scipy.linalg"}),
]
ACCEPTED = {
    "adorym.engine.loop": "'''Doc.'''\nif TYPE_CHECKING:\n    import torch, adorym.api",
    "adorym.engine.step": "'''Doc.'''\nfrom adorym.errors import RunError\nfrom . import loop",
    "adorym.wrapper.torch_backend": "'''Doc.'''\nimport torch, scipy\ndef _late():\n    import scipy.io",
    "adorym": "'''Doc.'''\nfrom adorym.api import reconstruct",
}
RULES: list[Rule] = [layers, cycles, sizes, calls, swallowed, unfinished, homes, docstrings, slow_parts]


def _modules(sources: dict[str, str]) -> tuple[Module, ...]:
    return tuple(Module(name, source, is_package=name == "adorym") for name, source in sources.items())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_package_keeps_the_rule(rule: Rule) -> None:
    offences = rule(package())
    assert not offences, f"{rule.__doc__}\n" + "\n".join(offences)


@pytest.mark.parametrize(("rule", "sources"), REFUSED, ids=lambda value: getattr(value, "__name__", None))
def test_rule_refuses_an_offence(rule: Rule, sources: dict[str, str]) -> None:
    assert rule(_modules(sources))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_accepts_what_is_allowed(rule: Rule) -> None:
    assert rule(_modules(ACCEPTED)) == []


def test_every_package_is_found() -> None:
    assert {"adorym", "adorym.errors", "adorym.data.dataset"} <= {module.name for module in package()}
