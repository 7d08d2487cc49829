"""Constraints on the region of the object."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from adorym.constraints.base import Constraint
from adorym.data.containers import read_array
from adorym.errors import ConfigError, DataError
from adorym.optics.support import shrink_wrap
from adorym.paths import InputPath
from adorym.registry import register
from adorym.units import Pixels
from adorym.wrapper.base import Array, Backend


@register("constraint", "support")
class Support(Constraint):
    """Vacuum (transmission 1) outside a mask.

    Attributes:
        mask: File (.npy, .tif or ``file.h5:/path/to/dataset``) or array, non-zero inside the object, of the object's
            shape, or ``(y, x)`` for all slices.
    """

    parameter: ClassVar[str] = "object"  # type: ignore[misc]
    of_one_material: ClassVar[bool] = True
    mask: InputPath | np.ndarray

    def __post_init__(self) -> None:
        if not isinstance(self.mask, str):
            return
        path = Path(self.mask).expanduser()
        if not path.is_file() and not Path(self.mask.rpartition(":")[0]).expanduser().is_file():
            raise ConfigError("mask", f"no such file '{self.mask}'", expected="an array of the object's shape")

    def project(self, xp: Backend, tile: Array) -> Array:
        mask = self._mask()
        _need_shape(mask, tuple(tile.shape))
        return _within(xp, tile, mask)

    def project_phase(self, xp: Backend, phase: Array, kappa: float) -> Array:
        return phase * xp.asarray(self._mask().astype(xp.float_dtype))

    def of_rows(self, start: int, stop: int, shape: tuple[int, ...]) -> Support:
        mask = self._mask()
        _need_shape(mask, shape)
        return self if stop - start == shape[0] else Support(mask=mask[start:stop])

    def _mask(self) -> np.ndarray:
        if not isinstance(self.mask, str):
            return self.mask != 0
        path = Path(self.mask).expanduser()
        path = path if path.is_file() else Path(self.mask.rpartition(":")[0]).expanduser()
        return _load(self.mask, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _load(path: str, changed_ns: int) -> np.ndarray:
    """The mask at the time ``changed_ns``: a replaced file is read again."""
    try:
        mask = read_array(path, "mask of the support")[0]
    except DataError as error:
        expected = "a .npy array of the object's shape"
        raise ConfigError("mask", f"cannot read '{path}'", expected=expected, found=error.what) from None
    if mask.dtype.kind not in "biuf" or not np.isfinite(mask).all():
        raise ConfigError("mask", f"'{path}' holds no mask", expected="finite real numbers", found=mask.dtype)
    return mask != 0


def _need_shape(mask: np.ndarray, shape: tuple[int, ...]) -> None:
    if mask.shape not in (shape, shape[:2]):
        raise ConfigError("mask", "does not fit the object", expected=shape, found=mask.shape)


def _within(xp: Backend, tile: Array, mask: np.ndarray) -> Array:
    inside = xp.asarray(mask.reshape(*mask.shape, *(1,) * (len(tile.shape) - mask.ndim)).astype(xp.float_dtype))
    return tile * inside + (1 - inside)


@register("constraint", "shrink_wrap")
class ShrinkWrap(Constraint):
    r"""A support found from the object itself: vacuum where the blurred :math:`|O - 1|` is weak.

    Marchesini et al., Phys. Rev. B 68, 140101 (2003). The support is shrunk until it is stable, so that the projection
    is idempotent. Each slice has its own.

    Attributes:
        threshold: Fraction of the largest blurred deviation below which the object is set to vacuum.
        blur: Standard deviation of the blur.
        start: First epoch in which it is applied.
        every: Applied in every k-th epoch from there.
    """

    parameter: ClassVar[str] = "object"  # type: ignore[misc]
    when: ClassVar[Literal["batch", "epoch"]] = "epoch"
    threshold: float = Field(0.1, gt=0, lt=0.5)
    blur: Pixels = Field(2.0, gt=0)
    start: int = Field(10, ge=0)
    every: int = Field(5, ge=1)

    @property
    def whole(self) -> bool:
        return True

    def active(self, epoch: int) -> bool:
        return epoch >= self.start and (epoch - self.start) % self.every == 0

    def support(self, xp: Backend, obj: Array) -> np.ndarray:
        """Bool, of the shape of ``obj``."""
        strength, mask = xp.abs(obj - 1), np.ones(tuple(obj.shape), bool)
        while True:
            inside = strength * xp.asarray(mask.astype(xp.float_dtype))
            found = shrink_wrap(xp, inside, self.blur, self.threshold, (0, 1), wraps=False)
            smaller = mask & xp.to_numpy(found)
            if (smaller == mask).all():
                return mask
            mask = smaller

    def project(self, xp: Backend, tile: Array) -> Array:
        return _within(xp, tile, self.support(xp, tile))
