"""The verdict on a run: does the model fit the data as well as their noise allows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import h5py

from adorym.errors import DataError

Kind = Literal["converged", "not converged", "the model does not fit"]
VERDICT = "verdict"


@dataclass(frozen=True)
class Verdict:
    """Whether a run has reached what the noise of its data allows.

    Attributes:
        kind: ``converged``, ``not converged`` or ``the model does not fit``.
        misfit: Loss per valid pixel of the final state, without regularizers.
        floor: The same at a perfect fit, from the noise of the counts; not a number if the noise is not known.
        relative: Misfit relative to the measured amplitudes, whatever their noise.
        noise: Which noise the floor is that of, or why it is not known.
        epoch: Epoch from whose end the result is.
        reasons: What may be done, likeliest first.
    """

    kind: Kind
    misfit: float
    floor: float
    relative: float
    noise: str
    epoch: int
    reasons: tuple[str, ...] = ()

    @property
    def times_noise(self) -> float:
        """The misfit in units of that at a perfect fit; not a number if the noise is not known."""
        return self.misfit / self.floor if self.floor > 0 else math.nan

    @property
    def text(self) -> str:
        """The sentence: ``Fits to 1.02 x the noise: converged``."""
        if math.isfinite(self.times_noise):
            how = f"to {self.times_noise:.3g} x the noise"
        else:
            how = f"to {100 * self.relative:.2g} % of the amplitude (noise unknown: {self.noise})"
        return f"Fits {how}: {self.kind}."

    @property
    def lines(self) -> tuple[str, ...]:
        """The sentence, and below it one line for each reason."""
        if not self.reasons:
            return (self.text,)
        return (f"{self.text[:-1]}; likeliest reasons first:", *(f"  {reason}" for reason in self.reasons))


def write_verdict(verdict: Verdict, file: h5py.File) -> None:
    """Write it as the text ``/verdict`` with attributes."""
    file[VERDICT] = verdict.text
    attributes = file[VERDICT].attrs
    for name in ("kind", "misfit", "floor", "relative", "noise", "epoch", "times_noise"):
        attributes[name] = getattr(verdict, name)
    attributes["reasons"] = "\n".join(verdict.reasons)


def read_verdict(file: h5py.File, path: str) -> Verdict | None:
    """Inverse of `write_verdict`; ``None`` if the file has none.

    Raises:
        DataError: It is incomplete.
    """
    if VERDICT not in file:
        return None
    found = dict(file[VERDICT].attrs)
    try:
        if found["kind"] not in get_args(Kind):
            raise ValueError(f"kind '{found['kind']}'")
        return Verdict(
            kind=found["kind"],
            misfit=float(found["misfit"]),
            floor=float(found["floor"]),
            relative=float(found["relative"]),
            noise=str(found["noise"]),
            epoch=int(found["epoch"]),
            reasons=tuple(filter(None, str(found["reasons"]).split("\n"))),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(path, f"'/{VERDICT}' is incomplete", found=str(error)) from error
