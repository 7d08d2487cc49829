"""A look at a run on several ranks is the object of its result, every n-th pixel; on rank 0, and there alone."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from tiny_runs import exact, finished, tiny

from adorym.comm import communicator
from adorym.data.looks import strides
from adorym.engine.outcome import outcome
from adorym.engine.shown import glance


def main(store: str, folder: str) -> None:
    strides.__defaults__ = (150, 10**6)
    more = {"scratch": folder} if store == "h5" else {}
    reconstruction = finished(tiny(exact(), store=store, **more), 1)
    assert glance(reconstruction.problem, {}, False) is None
    found = glance(reconstruction.problem, reconstruction.progress.history, communicator().is_root)
    whole = outcome(reconstruction, judged=False)
    assert (found is not None) == communicator().is_root
    if found is not None:
        ratio = found.result.object / whole.object[:: found.step[0], :: found.step[1]]
        assert found.step[0] > 1
        np.testing.assert_allclose(ratio, ratio.flat[0], rtol=1e-4)
        Path(folder, "same").write_text(str(found.step))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
