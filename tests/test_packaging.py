"""The package's papers agree with each other: `setup.py`, `environment.yml`, version, changelog and citation."""

from __future__ import annotations

import ast
import runpy
import sys
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
CONDA_NAMES = {"pytorch": "torch", "python-finufft": "finufft", "pywavelets": "PyWavelets"}
IMPORT_NAMES = {"pillow": "PIL", "ruamel-yaml": "ruamel", "scikit-image": "skimage"}
COMES_WITH_PYDANTIC = {"pydantic_core", "typing_extensions"}


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `setup.py` hands to setuptools, without setuptools."""
    handed: dict[str, Any] = {}

    def find_packages(include: list[str]) -> list[str]:
        folders = sorted(path.parent for path in (ROOT / "adorym").rglob("__init__.py"))
        found = [".".join(folder.relative_to(ROOT).parts) for folder in folders]
        return [name for name in found if any(fnmatch(name, pattern) for pattern in include)]

    stand_in = SimpleNamespace(setup=handed.update, find_packages=find_packages)
    monkeypatch.setitem(sys.modules, "setuptools", stand_in)
    runpy.run_path(str(ROOT / "setup.py"))
    return handed


def requirements(lines: list[str]) -> dict[str, str]:
    parsed = [Requirement(line) for line in lines]
    return {CONDA_NAMES.get(r.name, r.name): str(r.specifier) for r in parsed}


def everything(metadata: dict[str, Any]) -> list[str]:
    return [*metadata["install_requires"], *(line for extra in metadata["extras_require"].values() for line in extra)]


def yaml(name: str) -> Any:
    return YAML(typ="safe").load(ROOT / name)


def test_setup_imports_nothing_heavy() -> None:
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) if node.module}
    assert imported <= {"re", "pathlib", "setuptools"}


def test_environment_lists_the_same_dependencies(metadata: dict[str, Any]) -> None:
    listed = [line for line in yaml("environment.yml")["dependencies"] if isinstance(line, str)]
    conda = requirements([line for line in listed if line != "pip"])
    assert conda.pop("python") == metadata["python_requires"]
    assert conda == requirements(everything(metadata))


def test_requirements_are_listed_once(metadata: dict[str, Any]) -> None:
    names = [Requirement(line).name for line in everything(metadata)]
    assert sorted(names) == sorted(set(names))


def test_dependencies_are_the_libraries_that_are_imported(metadata: dict[str, Any]) -> None:
    imported: set[str] = set()
    for path in (ROOT / "adorym").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    third_party = imported - set(sys.stdlib_module_names) - COMES_WITH_PYDANTIC - {"adorym"}
    required = {import_name(line) for line in metadata["install_requires"]}
    extras = ("mpi", "atomistic", "surfaces", "tune", "jax", "live", "onnx", "watch")
    optional = {import_name(line) for name in extras for line in metadata["extras_require"][name]}
    assert third_party - required - optional == set(), "imported but not in setup.py"
    assert required - third_party == set(), "in setup.py but never imported"


def import_name(line: str) -> str:
    name = canonicalize_name(Requirement(line).name)
    return IMPORT_NAMES.get(name, name)


def test_extras(metadata: dict[str, Any]) -> None:
    assert {"mpi", "tune", "bench", "docs", "test"} <= set(metadata["extras_require"])


def test_torchvision_is_not_asked_for(metadata: dict[str, Any]) -> None:
    assert not [line for line in everything(metadata) if "torchvision" in line]


def test_constraints_allow_what_is_required(metadata: dict[str, Any]) -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    asked = {r.name: r.specifier for r in map(Requirement, everything(metadata))}
    for pinned in (Requirement(line) for line in lines if line and not line.startswith("#")):
        version = str(pinned.specifier).removeprefix("==")
        assert asked[pinned.name].contains(version), f"{pinned} contradicts setup.py"


def test_versions_agree(metadata: dict[str, Any]) -> None:
    import adorym._version

    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = next(line for line in changelog.splitlines() if line.startswith("## [") and "Unreleased" not in line)
    citation = yaml("CITATION.cff")
    assert metadata["version"] == adorym._version.__version__ == citation["version"]
    assert newest.startswith(f"## [{metadata['version']}] - ")


def test_licences_agree(metadata: dict[str, Any]) -> None:
    assert metadata["license"] == yaml("CITATION.cff")["license"] == "BSD-3-Clause"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("BSD 3-Clause License")


def test_every_module_and_data_file_is_packaged(metadata: dict[str, Any]) -> None:
    missing = []
    for path in sorted((ROOT / "adorym").rglob("*")):
        if path.is_dir() or "__pycache__" in path.parts:
            continue
        package = ".".join(path.parent.relative_to(ROOT).parts)
        patterns = ["*.py", *metadata["package_data"].get(package, [])]
        if package not in metadata["packages"] or not any(fnmatch(path.name, pattern) for pattern in patterns):
            missing.append(str(path.relative_to(ROOT)))
    assert not missing, f"not installed with the package: {missing}"


def test_package_data_exists(metadata: dict[str, Any]) -> None:
    for package, patterns in metadata["package_data"].items():
        for pattern in patterns:
            assert list((ROOT / package.replace(".", "/")).glob(pattern)), f"{package}: no file matches {pattern}"


def test_every_example_is_complete() -> None:
    folders = sorted(path for path in (ROOT / "examples").iterdir() if path.is_dir() and path.name != "__pycache__")
    assert folders
    for folder in folders:
        assert {"README.md", "config.yaml", "run.py"} <= {path.name for path in folder.iterdir()}, folder.name
