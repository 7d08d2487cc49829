"""Stores in a configuration: what they refuse before the run starts, and what is reserved for them."""

from __future__ import annotations

import errno
import os
from typing import ClassVar

import pytest
from tiny_runs import calm, tiny

from adorym.constraints.object import Homogeneous, MagnitudeLimit
from adorym.engine.settings import RunSettings
from adorym.errors import ConfigError, ConfigErrors
from adorym.forward.object import ObjectSettings
from adorym.forward.probe import ProbeSettings
from adorym.optimizers.first_order import Adam
from adorym.registry import component
from adorym.regularizers.sparsity import L1
from adorym.regularizers.variation import TotalVariation
from adorym.solvers.library import Scipy
from adorym.solvers.splitting import ProximalGradient


@component
class WholeStep(Adam):
    """Needs scalar products over the whole object."""

    kind: ClassVar[str] = "whole_step"
    by_rows: ClassVar[bool] = False


@component
class WholeTerm(TotalVariation):
    """No sum over pixels."""

    kind: ClassVar[str] = "whole_term"
    halo_px: ClassVar[int | None] = None


@component
class WholeLimit(MagnitudeLimit):
    """Looks at all pixels."""

    kind: ClassVar[str] = "whole_limit"

    @property
    def whole(self):
        return True


@pytest.mark.parametrize("store", ["do", "h5"])
def test_what_needs_the_whole_object_is_refused(store, tmp_path):
    parameters = calm() | {"object": ObjectSettings(optimizer=WholeStep())}
    terms = {"regularizers": (WholeTerm(weight=1.0),), "constraints": (MagnitudeLimit(), WholeLimit())}
    with pytest.raises(ConfigErrors) as caught:
        tiny(parameters=parameters, terms=terms, store=store)
    lines = caught.value.message().splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "parameters.object.optimizer",
        "regularizers[0]",
        "constraints[1]",
    ]
    assert all(f"needs the whole object, but a rank holds only a part of it in the store '{store}'" in x for x in lines)
    tiny(parameters=parameters, terms=terms)  # in 'dp' each rank has all of it


@pytest.mark.parametrize("store", ["do", "h5"])
def test_a_solver_that_needs_one_array_is_refused(store, tmp_path):
    free = {"object": ObjectSettings(margin_px=4), "probe": ProbeSettings(modes=2)}
    more = {"scratch": str(tmp_path)} if store == "h5" else {}
    with pytest.raises(ConfigError, match=f"solver: 'scipy' needs the whole object.* store '{store}'; choose another"):
        tiny(parameters=free, terms={"solver": Scipy()}, store=store, batch_size=None, **more)
    terms = {"solver": ProximalGradient(), "regularizers": (TotalVariation(weight=1.0),)}
    with pytest.raises(ConfigError, match=r"regularizers\[0\]: 'total_variation' needs the whole object"):
        tiny(parameters=free, terms=terms, store=store, batch_size=None, **more)
    terms["regularizers"] = (L1(weight=1.0), TotalVariation(weight=1.0))  # of the second the gradient is taken
    tiny(parameters=free, terms=terms, store=store, batch_size=None, **more)


@pytest.mark.parametrize("store", ["do", "h5"])
def test_one_material_needs_the_whole_object_only_to_find_which(store, tmp_path):
    more = {"scratch": str(tmp_path)} if store == "h5" else {}
    with pytest.raises(ConfigError, match=r"constraints\[0\]: 'homogeneous' needs the whole object"):
        tiny(terms={"constraints": (Homogeneous(),)}, store=store, **more)
    tiny(terms={"constraints": (Homogeneous(kappa=20.0),)}, store=store, **more)


@pytest.mark.parametrize(
    ("setting", "value"), [("object_memory", 1e9), ("scratch", "there"), ("driver", "mpio")], ids=lambda v: str(v)
)
def test_settings_of_a_file_are_refused_without_one(setting, value):
    with pytest.raises(ValueError, match=rf"{setting}: has no effect with the store 'do'; leave it out, or choose"):
        RunSettings(store="do", **{setting: value})
    RunSettings(store="h5", **{setting: value})


def test_full_disk_is_told_before_the_run_starts(tmp_path, monkeypatch):
    def full(descriptor, offset, length):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        ConfigError, match=r"run\.scratch: no room for the object's file in .*; expected .* GiB: object"
    ):
        tiny(store="h5", scratch=str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"run\.scratch: cannot write to"):
        tiny(store="h5", scratch=str(tmp_path / "file"))
