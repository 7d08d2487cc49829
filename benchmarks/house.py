"""Figures of the core: how little a forward model has to say, how large the package is, whether plans come true.

Usage: python benchmarks/house.py [--only NAME] [--json FILE]

A plan is what `adorym check` prints for one rank and the store ``dp``; a run of the same configuration is then measured
from outside: peak resident memory, and the time of its second and third epoch. Both are ratios, plan over run, in one
group of processes on one thread.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import inspect
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from figures import Figure, main

from adorym.commands.simulate import simulate
from adorym.forward import base

PACKAGE = Path(base.__file__).resolve().parents[1]
# Lines of the package before its core was built anew, and the part of them that was asked for.
LINES_BEFORE, PART = 33304, 0.92
# What the package could not do then.
NEW = ("extension.py", "testing.py", "wrapper/jax_backend.py", "storage/vector.py", "engine/foreign.py")
TECHNIQUES = re.compile(r'"(object|probe)"|holograph|ptycho|tomograph|bragg|crystal', re.IGNORECASE)
PLANS = {
    "ptychography": ("siemens_star_fly_scan", {}, {"kind": "ptychography"}, {"probe": {"modes": 5}}),
    "positions": ("siemens_star_fly_scan", {}, {"kind": "ptychography"}, {"probe_positions": True}),
    "multislice": ("multislice_two_planes", {}, {"kind": "multislice"}, {}),
    "tomography": ("tomography_foam", {}, {"kind": "tomography"}, {}),
    "ptychotomography": ("ptychotomography_cone", {}, {"kind": "ptychotomography"}, {}),
    "full_field": ("full_field_cone", {}, {"kind": "ptychotomography", "propagation": "fresnel"}, {"probe": False}),
    "holography": ("holography", {}, {"kind": "holography"}, {}),
    "bragg": ("bragg_crystal", {}, {"kind": "bragg_cdi"}, {"object": {"initial": "constant"}}),
}
MEASURE = """
import json, resource, sys, time
import adorym
run = adorym.prepare(sys.argv[1])
times = [record.time_s for record in run.epochs(3)]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"peak_bytes": peak, "epoch_s": min(times[1:])}))
"""


def contract() -> Iterator[Figure]:
    """What a forward model may override, and what the engine knows of techniques."""
    names = [n for n in vars(base.ForwardModel) if not n.startswith("_")] + ["kind"]
    yield Figure("contract.overridable", len(set(names)), 9)
    yield Figure("contract.hologram_hooks", len(re.findall("hologr", inspect.getsource(base))), 0)
    sources = [path.read_text(encoding="utf-8") for path in (PACKAGE / "engine").glob("*.py")]
    yield Figure("contract.techniques_named_by_the_engine", sum(len(TECHNIQUES.findall(s)) for s in sources), 5)


def lines() -> Iterator[Figure]:
    """Lines of Python in the package, with and without what it could not do before."""
    sizes = {p.relative_to(PACKAGE).as_posix(): p.read_text().count("\n") for p in PACKAGE.rglob("*.py")}
    yield Figure("lines.all", sum(sizes.values()), None)
    old = sum(n for name, n in sizes.items() if name not in NEW)
    yield Figure("lines.of_former_abilities_over_before", old / LINES_BEFORE, PART)


def plans() -> Iterator[Figure]:
    """Memory and time that `adorym check` promises, over those of the run."""
    for name, (experiment, settings, model, parameters) in PLANS.items():
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder)
            simulate(experiment, here / "data.h5", settings, seed=1)
            config = {"data": {"path": "data.h5"}, "forward_model": model, "parameters": parameters}
            (here / "config.json").write_text(
                json.dumps(config | {"run": {"epochs": 3, "threads": 1, "device": "cpu"}})
            )
            plan = _json("-m", "adorym", "check", str(here / "config.json"), "--json")
            run = _json("-c", MEASURE, str(here / "config.json"))
        yield _within(f"plans.{name}.memory", plan["memory_bytes"]["total"] / run["peak_bytes"])
        yield _within(f"plans.{name}.time", plan["time"]["epoch_s"] / run["epoch_s"])


def _within(name: str, ratio: float) -> Figure:
    """How far a ratio is from 1, as a factor."""
    return Figure(f"{name}.off_by_a_factor", max(ratio, 1 / ratio), 1.3)


def _json(*arguments: str) -> dict:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout[done.stdout.index("{") :])


MAKERS = {f.__name__: f for f in (contract, lines, plans)}

if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0], MAKERS))
