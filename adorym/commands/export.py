"""``adorym export``: a result in the format of another program."""

from __future__ import annotations

from pathlib import Path

from adorym.data.result import read_result
from adorym.report import export as exporter


def export(result: str | Path, to: str, output: str | Path | None = None, time: float | None = None) -> list[Path]:
    """Convert a result file and return the paths of what was written.

    Args:
        result: ``result.h5``, or the output directory of a run.
        to: ``tiff``, ``vti``, ``cxi`` or ``npz``.
        output: The file to write; ``object`` with the format's ending beside the result by default.
        time: Moment of an object that changes, in the unit of its times; all of its basis objects by default.

    Raises:
        ConfigError: There is no such format.
        DataError: The result cannot be read, or the file cannot be written.
    """
    exporter.check_format(to)
    path = Path(result)
    folder = path if path.is_dir() else path.parent
    found = read_result(path) if time is None else read_result(path).at(time)
    return [exporter.export(found, output or folder / f"object{exporter.ENDINGS[to]}", to)]
