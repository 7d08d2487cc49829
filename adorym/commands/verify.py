"""``adorym verify``: whether results and checkpoints are still what was written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from adorym.data.result import RESULT_NAME
from adorym.data.seal import State, state_of
from adorym.engine.checkpoint import CHECKPOINT_NAME, previous
from adorym.errors import DataError

NAMES = (RESULT_NAME, CHECKPOINT_NAME, previous(Path(CHECKPOINT_NAME)).name)


@dataclass(frozen=True)
class Verified:
    """A file and its state."""

    path: Path
    state: State


def verify(path: str | Path) -> list[Verified]:
    """The states of a file, or of the result and the checkpoints in a run's folder; each file is read once.

    Raises:
        DataError: There is no such file, nothing to verify in the folder, or a file cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(str(path), "no such file or folder")
    files = [each for name in NAMES if (each := path / name).is_file()] if path.is_dir() else [path]
    if not files:
        raise DataError(str(path), "no result and no checkpoint in this folder", expected=", ".join(NAMES))
    try:
        return [Verified(each, state_of(each)) for each in files]
    except OSError as error:
        raise DataError(str(error.filename or path), "cannot be read", found=error.strerror) from None
