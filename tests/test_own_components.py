"""The components of ``examples/extend``: short, on public names, lawful, the same in every store and as plug-ins."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import data_set
from laws import relative_error
from mpi_launch import run
from own_components import FOLDER, KINDS, SETTINGS, config, write_all
from tiny_scan import Scan

import adorym
from adorym import testing
from adorym.parameters import ParameterSettings
from adorym.registry import lookup

SCRIPT = Path(__file__).with_name("mpi") / "own_components_run.py"
FILES = [FOLDER / f"{kind}.py" for kind in KINDS]
CLASSES = {
    "forward_model": "ThinObject",
    "parameter": "BlurredPtychography",
    "loss": "Cauchy",
    "regularizer": "Scatterers",
    "constraint": "VacuumAbove",
    "optimizer": "AdaGrad",
    "solver": "BarzilaiBorwein",
    "initializer": "DifferentialPhase",
    "reader": "RawScan",
    "data_source": "Events",
    "backend": "Counting",
}
GROUPS = {"parameter": "forward_model", "data_source": "reader"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_all(folder)
    return folder


def own(kind):
    return lookup(GROUPS.get(kind, kind), f"{FOLDER / kind}.py:{CLASSES[kind]}")


# -- how they are written ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_one_short_file_on_public_names(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    for node in ast.walk(ast.parse(text)):
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        names += [a.name for a in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        names += [node.attr] if isinstance(node, ast.Attribute) else []
        assert not any(part.startswith("_") for name in names for part in name.split(".")), names


# -- contracts ---------------------------------------------------------------------------------------------------------
class TestModel(testing.ForwardModelContract):
    model = own("forward_model")()
    dataset = data_set()
    parameters = {"probe_positions": ParameterSettings()}
    scales = {"probe_positions": 0.3}


class TestParameter(TestModel):
    model = own("parameter")()
    parameters = {"blur_px": ParameterSettings()}
    scales = {"blur_px": 0.3}


class TestLoss(testing.LossContract):
    loss = own("loss")()


class TestRegularizer(testing.RegularizerContract):
    regularizer = own("regularizer")(weight=0.3)


class TestConstraint(testing.ConstraintContract):
    constraint = own("constraint")(rows=3)


class TestOptimizer(testing.OptimizerContract):
    optimizer = own("optimizer")()


class TestBackend(testing.BackendContract):
    backend = own("backend")(precision="double")


@pytest.mark.parametrize(("kind", "file"), [("reader", "scan.raw"), ("data_source", "scan.events")])
def test_readers_contract(kind, file, data):
    made = type("Contract", (testing.ReaderContract,), {"reader": f"{FOLDER / kind}.py:{CLASSES[kind]}"})()
    made.path = data / file
    made.test_patterns_are_read_by_number_and_overrides_win()
    counts = adorym.open_dataset(data / file, {"format": made.reader}).patterns.read(np.array([3, 7]))
    assert np.array_equal(counts, np.floor(data_set().patterns.read(np.array([3, 7]))))


def test_first_object_has_the_slope_that_deflects_the_beam():
    """In the middle of the scan, where the beam sees nothing but what is interpolated."""
    scan = data_set()
    positions = scan.probe_positions_px
    low, high = np.floor(positions.min(0)).astype(int), np.ceil(positions.max(0)).astype(int)
    shape = tuple(high - low + scan.window_px)
    found = own("initializer")().make(scan, shape, np.random.default_rng(0))
    slopes = []
    for obj in (found, Scan().object_array(shape, tuple(-low))):
        along = [np.angle(b * np.conj(a)) for a, b in ((obj[:-1], obj[1:]), (obj[:, :-1], obj[:, 1:]))]
        slopes.append(np.concatenate([each[8:-8, 9:-9].ravel() for each in along]))
    assert np.corrcoef(*slopes)[0, 1] > 0.6, np.corrcoef(*slopes)


# -- everywhere --------------------------------------------------------------------------------------------------------
@pytest.mark.mpi
def test_on_two_ranks_and_in_a_file_as_on_one(tmp_path, data):
    """One job for all of them; each gives what one process gives."""
    ended = run(2, [str(SCRIPT), str(tmp_path), str(data), ",".join(KINDS)], tmp_path, limit_s=300)
    assert ended.status == 0, ended.err
    for kind in KINDS:
        expected = adorym.reconstruct(config(kind, data, "run.precision=double"))
        for store in ("dp", "h5"):
            found = np.load(tmp_path / f"{kind}-{store}.npy")
            assert relative_error(found, expected.object) < 1e-6, f"{kind} in {store}"


@pytest.fixture
def site(tmp_path):
    """A folder in which a package with all components is installed."""
    package, info = tmp_path / "site" / "our_optics", tmp_path / "site" / "our_optics-0.3.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").write_text("")
    for path in FILES:
        shutil.copy(path, package)
    lines: dict[str, list[str]] = {"loss": ["broken = our_optics.no_such_module:Loss"]}
    for kind in KINDS:
        lines.setdefault(GROUPS.get(kind, kind), []).append(f"our_{kind} = our_optics.{kind}:{CLASSES[kind]}")
    text = "\n".join(f"[adorym.{group}]\n" + "\n".join(points) for group, points in lines.items())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: our-optics\nVersion: 0.3\n")
    (info / "entry_points.txt").write_text(text)
    return package.parent


def test_installed_as_plug_ins(site, data, tmp_path):
    """One process for all of them: their names are listed with the distribution, and good for a configuration."""
    (tmp_path / "use.py").write_text(USE.format(settings=SETTINGS, data=str(data), output=str(tmp_path)))
    paths = os.pathsep.join([str(site), str(FOLDER.parent.parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths, "COLUMNS": "300"}
    done = subprocess.run(
        [sys.executable, tmp_path / "use.py"], env=environment, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    listed, *messages = done.stdout.split("====\n")
    for kind in KINDS:
        assert any(f"our_{kind}" in line and "(our-optics 0.3)" in line for line in listed.splitlines()), kind
    assert "broken: " in listed
    (message,) = messages[0].strip().splitlines()
    assert message.startswith("adorym.loss: 'broken', a plug-in of our-optics 0.3, cannot be imported"), message


USE = """
from adorym import errors, load_config, reconstruct
from adorym.cli import main

try:
    main(["list"])
except SystemExit as ended:
    assert not ended.code
print("====")
settings = {settings!r}
base = {{
    "data": {{"path": "{data}/scan.events", "format": "our_data_source"}},
    "forward_model": {{"kind": "our_parameter"}},
    "loss": {{"kind": "our_loss"}},
    "regularizers": [{{"kind": "our_regularizer", "weight": 0.01}}],
    "constraints": [{{"kind": "our_constraint", "rows": 4}}],
    "parameters": {{
        "object": {{"optimizer": {{"kind": "our_optimizer"}}, "initial": {{"kind": "our_initializer"}}}}
    }},
    "run": {{"epochs": 2, "backend": "our_backend"}},
}}
result = reconstruct(base)
assert result.history["loss"][-1] < result.history["loss"][0]
other = {{
    "data": {{"path": "{data}/scan.raw"}},  # recognized from its content
    "forward_model": {{"kind": "our_forward_model"}},
    "solver": {{"kind": "our_solver"}},
    "run": {{"epochs": 2}},
}}
result = reconstruct(other)
assert result.history["loss"][-1] < result.history["loss"][0]
try:
    reconstruct(other | {{"loss": {{"kind": "broken"}}}})
except errors.InputError as error:
    print(error)
"""
