"""Constraints on the object."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from adorym.constraints.base import Constraint
from adorym.errors import ConfigError
from adorym.paths import InputPath
from adorym.registry import register
from adorym.wrapper.base import Array, Backend


@register("constraint", "magnitude_limit")
class MagnitudeLimit(Constraint):
    r"""Keeps the modulus of the transmission within bounds, its phase untouched.

    A passive object does not amplify: :math:`|O| \le 1`.

    Attributes:
        maximum: Largest modulus.
        minimum: Smallest modulus.
    """

    parameter: ClassVar[str] = "object"
    maximum: float = Field(1.0, gt=0)
    minimum: float = Field(0.0, ge=0)

    def __post_init__(self) -> None:
        if self.minimum > self.maximum:
            raise ConfigError("minimum", "exceeds the maximum", expected=f"<= {self.maximum}", found=self.minimum)

    def project(self, xp: Backend, tile: Array) -> Array:
        modulus = xp.abs(tile)
        wanted = xp.clip(modulus, self.minimum, self.maximum)
        # Where the modulus is 0 there is no phase to keep: the minimum is then taken as real.
        safe = xp.where(modulus > 0, modulus, xp.ones((1,)))
        return xp.where(modulus > 0, tile * (wanted / safe), xp.complex(wanted, xp.zeros((1,))))


@register("constraint", "support")
class Support(Constraint):
    """Vacuum (transmission 1) outside a mask.

    Attributes:
        mask: Path of a ``.npy`` array of the object's shape, non-zero where there is object.
    """

    parameter: ClassVar[str] = "object"
    mask: InputPath

    def __post_init__(self) -> None:
        if not Path(self.mask).expanduser().is_file():
            raise ConfigError("mask", f"no such file '{self.mask}'", expected="a .npy array of the object's shape")

    def project(self, xp: Backend, tile: Array) -> Array:
        return self.project_rows(xp, tile, 0, tile.shape[0])

    def project_rows(self, xp: Backend, tile: Array, start: int, n_rows: int) -> Array:
        path, shape = Path(self.mask).expanduser(), (n_rows, *tile.shape[1:])
        mask = _load(str(path), path.stat().st_mtime_ns)
        if mask.shape != shape:
            raise ConfigError("mask", "does not fit the object", expected=shape, found=mask.shape)
        inside = xp.asarray(mask[start : start + tile.shape[0]].astype(xp.float_dtype))
        return tile * inside + (1 - inside)


@lru_cache(maxsize=4)
def _load(path: str, changed_ns: int) -> np.ndarray:
    """The mask as it was at the time ``changed_ns``: a file that is replaced is read again."""
    try:
        mask = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError("mask", f"cannot read '{path}'", expected="a .npy array", found=str(error)) from None
    if mask.dtype.kind not in "biuf" or not np.isfinite(mask).all():
        raise ConfigError("mask", f"'{path}' holds no mask", expected="finite real numbers", found=mask.dtype)
    return mask != 0
