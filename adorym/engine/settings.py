"""Settings of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from adorym.errors import ConfigError, ConfigErrors
from adorym.paths import ComponentPath
from adorym.registry import component
from adorym.units import Duration, Memory


@component
class Plateau:
    """Ends a run that no longer improves.

    Attributes:
        patience: Epochs without improvement after which the run ends.
        tolerance: Relative decrease of the loss that counts as an improvement.
    """

    patience: int = Field(10, ge=1)
    tolerance: float = Field(1e-3, gt=0)


@component
class RunSettings:
    """How a run is carried out.

    Attributes:
        epochs: Number of times that every pattern is used.
        batch_size: Patterns per batch, over all ranks; chosen from the number of patterns if absent.
        batch_order: ``random``, ``compact`` (neighbors together) or ``angle`` (one angle per batch).
        backend: ``torch``, ``autograd`` or ``jax``, or ``path/to/file.py:ClassName``.
        device: ``auto``, ``cpu`` or ``cuda[:index]``.
        precision: ``single`` or ``double``.
        threads: CPU threads per rank; its share of the machine's cores if absent.
        store: Where the object is kept: ``dp``, whole in the memory of every rank; ``do``, distributed over the memory
            of the ranks; ``h5``, in a file.
        memory: Memory that each rank may use in all: that of its process, or of its device. It sets how many patterns
            are worked on at once, and whether all of them are kept in memory. Not limited if absent.
        object_memory: With the store ``h5``: the part of it for the object, its gradient and the optimizer.
        driver: With the store ``h5``: how the file is accessed. ``memmap`` works with every h5py; ``mpio`` needs one
            that was built for MPI.
        scratch: With the store ``h5``: folder of the file; the output folder if absent.
        checkpoint_slices: For a thick object, how many slices have their waves recomputed for the gradient, instead of
            being stored: a number; ``off`` for none; or ``auto``: the square root of the depth, none where the waves
            of one pattern after the other take little memory.
        seed: Seed of the random generator.
        checkpoint_every: Epochs between checkpoints.
        backoff: Factor on all learning rates whenever the loss of an epoch has risen by more than a tenth; the
            optimizers' momentum is then reset. The rates recover while the loss falls again, more slowly after every
            further rise. 1 turns this off.
        max_time: The run ends, with a checkpoint, before this time is over; no limit if absent.
        stages: Changes of the configuration, one stage of the run after the other, each from where the last one ended:
            ``{data: {crop: 32}, run: {epochs: 40}}``. What a stage does not say is as configured.
        plateau: Ends the run early when the loss no longer falls; off if absent.
    """

    epochs: int = Field(100, ge=0)
    batch_size: int | None = Field(None, ge=1)
    batch_order: Literal["random", "compact", "angle"] = "random"
    backend: ComponentPath = "torch"
    device: str = "auto"
    precision: Literal["single", "double"] = "single"
    threads: int | None = Field(None, ge=1)
    store: Literal["dp", "do", "h5"] = "dp"
    memory: Memory | None = Field(None, gt=0)
    object_memory: Memory | None = Field(None, gt=0)
    driver: Literal["memmap", "mpio"] = "memmap"
    scratch: str | None = None
    checkpoint_slices: Annotated[int, Field(ge=1)] | Literal["auto", "off"] = "auto"
    seed: int = Field(1, ge=0)
    checkpoint_every: int = Field(10, ge=1)
    backoff: float = Field(0.5, gt=0, le=1)
    max_time: Duration | None = Field(None, gt=0)
    plateau: Plateau | None = None
    stages: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if self.store == "h5":
            return
        given = [n for n in ("object_memory", "scratch") if getattr(self, n) is not None]
        given += ["driver"] if self.driver != "memmap" else []
        errors = [
            ConfigError(name, f"has no effect with the store '{self.store}'", remedy="leave it out, or choose 'h5'")
            for name in given
        ]
        if errors:
            raise errors[0] if len(errors) == 1 else ConfigErrors(errors)
