"""``adorym tune``: a small study over named keys, scored on held-out patterns."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adorym.callbacks.live_curves import LiveCurves
from adorym.commands.ranges import EXPECTED, Range, assignment
from adorym.config import Config, load_config
from adorym.data.atomic import write_json
from adorym.data.open import open_dataset
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import predict_patterns
from adorym.errors import ConfigError, InputError, RunError

DATABASE, PICTURE, BEST = "tune.db", "tune.png", "best.json"
HELD_OUT = 0.05
LOG = logging.getLogger("adorym")


@dataclass(frozen=True)
class Study:
    """The result of a study.

    Attributes:
        best: The best values by key, in the form of ``--set``.
        score: Their score: misfit of the amplitudes of held-out patterns, per count.
        trials: Finished trials, those of earlier calls included.
        failed: Trials whose run failed.
        picture: Scores over trials and over each key.
    """

    best: Mapping[str, Any]
    score: float
    trials: int
    failed: int
    picture: Path


def tune(
    path: str | Path,
    vary: Iterable[str],
    overrides: Iterable[str] = (),
    *,
    trials: int = 20,
    output: str | Path = "tune",
    held_out: float = HELD_OUT,
) -> Study:
    """Search the values of the keys in ``vary`` for the configuration file ``path``.

    Every trial leaves out the same fraction ``held_out`` of the patterns and is scored by how well it predicts them: a
    run that fits noise, or has not converged, predicts badly. The study is stored in ``output/tune.db``, and another
    call continues it.

    Raises:
        ConfigError: A key or a range is wrong, optuna is not installed, or every run failed.
        InputError: Configuration or data cannot be used.
    """
    optuna = _optuna()
    folder, assignments = Path(output), tuple(overrides)
    ranges = _ranges(path, vary, assignments)
    config = load_config(path, assignments)  # errors of the file itself are found before the first trial
    folder.mkdir(parents=True, exist_ok=True)
    dataset = open_dataset(config.data.path, config.source)
    held_out_patterns(dataset.n_patterns, held_out, config.run.seed)
    faults: list[str] = []

    def objective(trial: Any) -> float:
        texts = [assignment(each.key, each.text(each.suggest(trial))) for each in ranges]
        try:
            made = load_config(path, (*assignments, *texts))
            data = dataset if made.data == config.data else open_dataset(made.data.path, made.source)
            found = score(made, data, held_out_patterns(data.n_patterns, held_out, config.run.seed))
            live.add({"score": found})
            return found
        except (RunError, InputError) as error:
            faults.append(error.message().replace("\n", "; "))
            LOG.warning("trial %d failed with %s: %s", trial.number, ", ".join(texts), faults[-1])
            raise optuna.TrialPruned from None

    study = _study(optuna, folder, config.run.seed)
    with LiveCurves(folder, f"search in {folder.name}", trials, "trial") as live:
        study.optimize(objective, n_trials=trials)
    return _told(study, ranges, folder, faults)


def _ranges(path: str | Path, vary: Iterable[str], assignments: tuple[str, ...]) -> list[Range]:
    """The ranges, in the units of their keys.

    Raises:
        ConfigError: A text is no range, or a key takes none of its values.
    """
    found = [Range.parse(text) for text in vary]
    if not found:
        raise ConfigError("--vary", "nothing to vary", expected=EXPECTED)
    if twice := [each.key for i, each in enumerate(found) if each.key in (other.key for other in found[:i])]:
        raise ConfigError("--vary", f"'{twice[0]}' is varied twice", remedy="leave one of them out")
    load_config(path, assignments)
    fitted: list[Range] = []
    for each in found:
        before = [assignment(r.key, r.choices[0] if r.choices else r.text(r.low)) for r in fitted]

        def fault(text: str, before: list[str] = before) -> InputError | None:
            try:
                load_config(path, (*assignments, *before, text))
            except InputError as error:
                return error
            return None

        fitted.append(each.fitted(fault))
    return fitted


def _study(optuna: Any, folder: Path, seed: int) -> Any:
    """The study in ``folder``, or a new one."""
    try:
        return optuna.create_study(
            study_name="adorym", storage=f"sqlite:///{folder / DATABASE}", load_if_exists=True,
            sampler=optuna.samplers.TPESampler(seed=seed),
        )  # fmt: skip
    except Exception as error:  # SQLAlchemy, Alembic and sqlite3 have exceptions of their own
        remedy = "remove it, or name another folder with '--output'"
        found = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            str(folder / DATABASE), "not a study that can be continued", found=found, remedy=remedy
        ) from None


def held_out_patterns(n: int, fraction: float, seed: int) -> np.ndarray:
    """Sorted indices of the held-out patterns; at least one."""
    if not 0 < fraction < 1:
        raise ConfigError("--held-out", "not a fraction of the patterns", expected="between 0 and 1", found=fraction)
    count = min(n - 1, max(1, round(fraction * n)))
    return np.sort(np.random.default_rng((seed, 77)).choice(n, count, replace=False))


def score(config: Config, dataset: Any, left_out: np.ndarray) -> float:
    r""":math:`\sum (\sqrt I - \sqrt N)^2 / \sum N` over the patterns ``left_out`` of the run, bad pixels excluded.

    The same for every loss, so that losses can be compared. A per-pattern parameter of these patterns keeps its start
    value.
    """
    made = Reconstruction(dataset, config.recipe, config.run)
    made.leave_out(left_out)
    for _ in made.epochs():
        pass
    problem, xp = made.problem, made.problem.xp
    predicted = xp.to_numpy(predict_patterns(problem, left_out)).astype(np.float64)
    ready = problem.dataset
    measured = problem.bound.to_model_frame(ready.patterns.read(left_out).astype(np.float64))
    counts = np.maximum(np.nan_to_num(measured**2 if ready.measured == "amplitude" else measured), 0)
    mask = problem.batch(left_out).mask
    weights = np.ones(1) if mask is None else xp.to_numpy(mask)
    misfit = float(np.sum(weights * (np.sqrt(np.maximum(predicted, 0)) - np.sqrt(counts)) ** 2))
    return misfit / max(float(np.sum(weights * counts)), 1e-300)


def _told(study: Any, ranges: list[Range], folder: Path, faults: list[str]) -> Study:
    finished = [t for t in study.trials if t.value is not None]
    failed = sum(t.state.name in ("PRUNED", "FAIL") for t in study.trials)
    if not finished:
        first = f"{failed} trials, the first with: {faults[0]}" if faults else f"{failed} trials"
        raise RunError("tune", "every trial failed", found=first, remedy="choose other ranges")
    _plot(finished, ranges, folder / PICTURE)
    best = {each.key: each.text(study.best_params[each.key]) for each in ranges if each.key in study.best_params}
    write_json(folder / BEST, {"score": study.best_value, "set": best})
    return Study(best, float(study.best_value), len(finished), failed, folder / PICTURE)


def _plot(trials: list[Any], ranges: list[Range], path: Path) -> None:
    from adorym.report import style  # slow to import

    figure = style.figure(3.0, 3.2 * (1 + len(ranges)))
    first, *axes = np.atleast_1d(figure.subplots(1, 1 + len(ranges), sharey=True))
    scores = np.array([t.value for t in trials])
    first.plot([t.number for t in trials], scores, "o", ms=3)
    first.step([t.number for t in trials], np.minimum.accumulate(scores), where="post")
    first.set(xlabel="trial", ylabel="misfit of held-out patterns")
    for axis, each in zip(axes, ranges, strict=True):
        here = [(t.params[each.key], t.value) for t in trials if each.key in t.params]
        axis.plot([str(v) if each.choices else v for v, _ in here], [s for _, s in here], "o", ms=3)
        axis.set(xlabel=f"{each.key} ({each.unit})" if each.unit else each.key)
        axis.set_xscale("log" if each.logarithmic else axis.get_xscale())
    figure.savefig(path)


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError:
        remedy = "install it with 'pip install adorym[tune]'"
        raise ConfigError("tune", "needs the optional library optuna", remedy=remedy) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
