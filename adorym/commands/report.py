"""``adorym report``: the page about a result."""

from __future__ import annotations

import logging
from pathlib import Path

from adorym.commands.halves import compare_halves
from adorym.commands.score import score
from adorym.data.dataset import Dataset
from adorym.data.open import open_dataset
from adorym.data.result import read_result
from adorym.errors import ConfigError, InputError
from adorym.report.page import write_report

LOG = logging.getLogger("adorym")
REPORT_NAME = "report.html"


def report(
    result: str | Path,
    output: str | Path | None = None,
    *,
    data: Path | None = None,
    truth: Path | None = None,
    other_half: Path | None = None,
) -> Path:
    """Write the report on a result file and return the page's path.

    Args:
        result: ``result.h5``, or the output directory of a run.
        output: The page; ``report.html`` beside the result by default. Pictures go to ``pictures/`` beside it.
        data: The data file, for angles and for positions that were not refined.
        truth: A data file that holds the truth; the page then shows the scores.
        other_half: A result from the other half of the patterns; the page then shows how far both agree.

    Raises:
        InputError: A file cannot be read or written, or result and truth do not belong together.
    """
    if truth is not None and other_half is not None:
        raise ConfigError("--other-half", "has no effect beside '--truth'", remedy="leave one of them out")
    path = Path(result)
    folder = path if path.is_dir() else path.parent
    loaded = read_result(path)
    dataset = None if data is None else open_dataset(data, check=False)
    scored = None if truth is None else score(path, truth)
    if other_half is not None:
        scored = compare_halves(path, other_half)
    return write_report(loaded, output or folder / REPORT_NAME, dataset, scored)


def report_scored(result: str | Path, output: str | Path, dataset: Dataset) -> Path:
    """The report at the end of a run, with the score where ``dataset`` was simulated and knows the truth.

    Raises:
        DataError: The result cannot be read, or the page cannot be written.
    """
    scored = None
    if {"object", "crystal"} & set(dataset.truth):
        try:
            scored = score(result, dataset.path)
        except InputError as error:  # a run that went well does not fail because it cannot be scored
            LOG.warning("no score in the report: %s", error)
    return write_report(read_result(result), output, dataset, scored)
