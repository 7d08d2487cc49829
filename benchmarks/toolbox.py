"""Figures of the inversion toolbox: optimizers and solvers, low dose, noise models by dose, crosstalk of two slices.

Usage: python benchmarks/toolbox.py [--only NAME] [--json FILE]

``optimizers`` and ``doses`` also write the tables and the picture of the documentation into docs/_static. Seconds are
those of one thread; all runs of a table follow one another in one process, so that their ratios may be compared.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from figures import Figure, main
from reference_problem import SCORED, make
from scipy.ndimage import binary_dilation
from two_slices import crosstalk
from two_slices import make as make_two_slices

from adorym.api import prepare
from adorym.commands.score import in_frame
from adorym.data.dataset import Dataset
from adorym.data.native_write import write_native
from adorym.engine.loop import Reconstruction
from adorym.errors import RunError
from adorym.metrics import align_object

STATIC = Path(__file__).resolve().parent.parent / "docs" / "_static"
TARGETS = {1e6: (0.10, 0.05), 1e3: (0.25, 0.20)}
LIMIT_S = 25.0
TWO_SLICES = str(Path(__file__).resolve().parent / "two_slices.py") + ":TwoSlices"


def stepwise(kind: str, rate: float, **fields: Any) -> dict[str, Any]:
    """A configuration in which object and probe have the same optimizer."""
    optimizer = {"kind": kind, "learning_rate": rate, **fields}
    return {"parameters": {"object": {"optimizer": optimizer}, "probe": {"optimizer": optimizer}}}


# Rates of the plain step-wise optimizers are set by hand, not searched for: a better one may exist for each of them.
CONTENDERS: dict[str, dict[str, Any]] = {
    "gradient descent": stepwise("gradient_descent", 3e3),
    "Nesterov": stepwise("momentum", 3e2, nesterov=True),
    "RMSProp": stepwise("rmsprop", 1e-2),
    "Adam": stepwise("adam", 3e-2),
    "AMSGrad": stepwise("adam", 3e-2, amsgrad=True),
    "preconditioned (default)": {},
    "proximal gradient": {"solver": {"kind": "proximal_gradient"}},
    "ADMM": {"solver": {"kind": "admm"}},
    "conjugate gradient": {"solver": {"kind": "conjugate_gradient"}},
    "L-BFGS": {"solver": {"kind": "lbfgs"}},
    "scipy L-BFGS-B": {"solver": {"kind": "scipy", "iterations": 5}},
    "Curveball": {"solver": {"kind": "curveball"}},
    "Levenberg-Marquardt": {"solver": {"kind": "levenberg_marquardt"}},
}


@dataclass
class Course:
    """How the object's error fell: epoch, seconds and error after every epoch that was scored."""

    epochs: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)

    def reached(self, target: float) -> tuple[float, float]:
        """First epoch and second at which the error is no larger; infinite if it never is."""
        for epoch, second, error in zip(self.epochs, self.seconds, self.errors, strict=True):
            if error <= target:
                return epoch, second
        return np.inf, np.inf


def object_of(run: Reconstruction, shape: tuple[int, int]) -> np.ndarray:
    """The object in the frame of the truth."""
    origin = run.problem.bound.origin_px
    return in_frame(run.problem.store.values(), (int(origin[0]), int(origin[1])), shape)[0]


def course(
    dataset: Dataset, config: Mapping[str, Any], epochs: int, limit_s: float = LIMIT_S, stop: float = 0.0
) -> tuple[Course, Reconstruction]:
    """Errors of a run: at every epoch to the tenth, then at every second one; scoring is not counted in the time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.h5"
        write_native(dataset, path)
        run_settings = {"epochs": epochs, "threads": 1, **config.get("run", {})}
        run = prepare({"data": str(path), "forward_model": "ptychography", **config, "run": run_settings})
    true, found, spent = np.asarray(dataset.truth["object"]), Course(), 0.0
    steps = run.epochs()
    while True:
        start = time.perf_counter()
        try:
            record = next(steps, None)
        except RunError:
            break
        spent += time.perf_counter() - start
        if record is None:
            break
        if record.epoch <= 10 or record.epoch % 2 == 0:
            error = align_object(object_of(run, true.shape), true, SCORED).error
            found.epochs.append(record.epoch)
            found.seconds.append(spent)
            found.errors.append(error)
            if error <= stop:
                break
        if spent > limit_s:
            break
    return found, run


# -- optimizers --------------------------------------------------------------------------------------------------------
def optimizers() -> Iterator[Figure]:
    """Epochs and seconds to two errors, at a high and a low dose; the best in bold in the table."""
    prepare_kernels()
    times: dict[float, dict[str, float]] = {}
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTENDERS}
    for photons, targets in TARGETS.items():
        dataset = make(0, photons=photons)
        for name, config in CONTENDERS.items():
            found, _ = course(dataset, config, 60, stop=targets[-1])
            rows[name] += [found.reached(target) for target in targets]
            times.setdefault(photons, {})[name] = found.reached(targets[-1])[1]
            yield Figure(f"optimizers.{photons:g}.{name}.seconds_to_{targets[-1]:g}", times[photons][name])
    (STATIC / "optimizers.md").write_text(_table(rows), encoding="utf-8")
    second_order = {n: t for n, t in times[1e6].items() if n not in _FIRST_ORDER}
    adam = min(times[1e6]["Adam"], LIMIT_S)
    yield Figure("optimizers.best_preconditioned_over_adam", min(second_order.values()) / adam, 1.0)


_FIRST_ORDER = ("gradient descent", "Nesterov", "RMSProp", "Adam", "AMSGrad")


def prepare_kernels() -> None:
    """Compile what is compiled on first use, so that no run pays for it."""
    course(make(0, photons=1e6), {}, 1)


def _table(rows: Mapping[str, list[tuple[float, float]]]) -> str:
    heads = [f"{photons:g} photons, {target:g}" for photons, targets in TARGETS.items() for target in targets]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    best = [min(row[column][1] for row in rows.values()) for column in range(len(heads))]
    for name, row in rows.items():
        cells = []
        for (epoch, second), least in zip(row, best, strict=True):
            text = f"{epoch:.0f} epochs, {second:.1f} s" if np.isfinite(epoch) else "not reached"
            cells.append(f"**{text}**" if second == least and np.isfinite(second) else text)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


# -- low dose ----------------------------------------------------------------------------------------------------------
def _variation(weight: float) -> list[dict[str, Any]]:
    return [{"kind": "total_variation", "weight": weight, "epsilon": 1e-2}]


def low_dose() -> Iterator[Figure]:
    """Object errors at 1e3 photons: the same steps with another loss and a term, and the best that each can do."""
    for seed in (0, 1):
        dataset = make(seed, photons=1e3)
        plain = course(dataset, {}, 40)[0].errors[-1]
        poisson = course(dataset, {"loss": "poisson", "regularizers": _variation(0.1)}, 40)[0].errors[-1]
        yield Figure(f"low_dose.seed_{seed}.least_squares", plain)
        yield Figure(f"low_dose.seed_{seed}.poisson_tv", poisson)
        yield Figure(f"low_dose.seed_{seed}.ratio", poisson / plain, 0.8)
        solved, run = course(dataset, {"solver": "lbfgs"}, 80)
        yield Figure(f"low_dose.seed_{seed}.least_squares_converged", solved.errors[-1])
        config = {"loss": "poisson", "regularizers": _variation(0.6), "solver": "proximal_gradient"}
        refined = _from(dataset, run, config, 60)
        yield Figure(f"low_dose.seed_{seed}.poisson_tv_converged", refined)
        yield Figure(f"low_dose.seed_{seed}.ratio_converged", refined / solved.errors[-1], 0.8)


def _from(dataset: Dataset, before: Reconstruction, config: Mapping[str, Any], epochs: int) -> float:
    """Error of a run that starts from the object and the probe of another one."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/object.npy", before.problem.store.values())
        np.save(f"{folder}/probe.npy", before.problem.xp.to_numpy(before.problem.values["probe"].array))
        start = {n: {"initial": {"kind": "file", "path": f"{folder}/{n}.npy"}} for n in ("object", "probe")}
        return course(dataset, {**config, "parameters": start}, epochs, limit_s=200.0)[0].errors[-1]


# -- noise models by dose ----------------------------------------------------------------------------------------------
NOISE_MODELS = {
    "least_squares": {"kind": "least_squares"},
    "poisson": {"kind": "poisson"},
    "mixed": {"kind": "mixed", "read_noise": 0.3},
    "intensity": {"kind": "intensity"},
    "huber": {"kind": "huber"},
    "student": {"kind": "student"},
}


def doses() -> Iterator[Figure]:
    """Object error of every noise model after 40 iterations of L-BFGS, from 1e2 to 1e6 photons a pattern."""
    errors: dict[str, list[float]] = {name: [] for name in NOISE_MODELS}
    photons = (1e2, 1e4, 1e6)
    for dose in photons:
        dataset = make(0, photons=dose)
        for name, loss in NOISE_MODELS.items():
            errors[name].append(course(dataset, {"loss": loss, "solver": "lbfgs"}, 40)[0].errors[-1])
            yield Figure(f"doses.{dose:g}.{name}", errors[name][-1])
    _plot_doses(photons, errors)


def _plot_doses(photons: tuple[float, ...], errors: Mapping[str, list[float]]) -> None:
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(6, 3.6), layout="constrained")
    axes = canvas.subplots()
    for name, values in errors.items():
        axes.loglog(photons, values, "o-", label=name)
    axes.set(xlabel="photons in a pattern", ylabel="error of the object")
    axes.legend(fontsize="small")
    canvas.savefig(STATIC / "noise_models.svg")


# -- crosstalk ---------------------------------------------------------------------------------------------------------
def two_slices() -> Iterator[Figure]:
    """Correlation of ghosts with their sources, and how much of it a support or sparsity leaves."""
    for seed in (0, 1):
        dataset, true = make_two_slices(seed)
        plain = _crosstalk(dataset, true, {})
        yield Figure(f"two_slices.seed_{seed}.plain", plain)
        sparse = {"regularizers": [{"kind": "reweighted_l1", "weight": 0.1, "epsilon": 0.1}]}
        yield Figure(f"two_slices.seed_{seed}.reweighted_l1_over_plain", _crosstalk(dataset, true, sparse) / plain, 0.5)
        with tempfile.TemporaryDirectory() as folder:
            config = {"constraints": [{"kind": "support", "mask": f"{folder}/mask.npy"}]}
            np.save(f"{folder}/mask.npy", _support(dataset, true))
            yield Figure(f"two_slices.seed_{seed}.support_over_plain", _crosstalk(dataset, true, config) / plain, 0.5)


def _two_slices_run(dataset: Dataset, config: Mapping[str, Any]) -> Reconstruction:
    with tempfile.TemporaryDirectory() as folder:
        write_native(dataset, Path(folder) / "data.h5")
        return prepare(
            {"data": f"{folder}/data.h5", "forward_model": {"kind": TWO_SLICES}, "run": {"epochs": 80}, **config}
        )


def _crosstalk(dataset: Dataset, true: np.ndarray, config: Mapping[str, Any]) -> float:
    run = _two_slices_run(dataset, config)
    list(run.epochs())
    origin, obj = run.problem.bound.origin_px, run.problem.store.values()
    first = int(origin[0]), int(origin[1])
    found = np.stack([in_frame(obj[..., z], first, true.shape[:2])[0] for z in (0, 1)], axis=-1)
    return crosstalk(found, true, (slice(26, 86), slice(26, 86)))


def _support(dataset: Dataset, true: np.ndarray) -> np.ndarray:
    """Where each slice holds something, two pixels more on every side, in the frame of the run."""
    problem = _two_slices_run(dataset, {}).problem
    first = -int(problem.bound.origin_px[0]), -int(problem.bound.origin_px[1])
    masks = []
    for z in (0, 1):
        inside = binary_dilation(np.abs(true[..., z] - 1) > 1e-3, iterations=2)
        framed, covered = in_frame(inside.astype(complex), first, problem.store.shape[:2])
        masks.append((framed.real > 0.5) & covered)
    return np.stack(masks, axis=-1)


MAKERS = {f.__name__: f for f in (optimizers, low_dose, doses, two_slices)}

if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0], MAKERS))
