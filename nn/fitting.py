"""`nn.fit`: a data set, a model, a method and a recipe, to a result in a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from nn.data import feed
from nn.models.registry import build
from nn.recipes import Recipe, recipe_of
from nn.runs import Configuration, Result, Run, Watch
from rpstheory.errors import ArgumentError


@dataclass(frozen=True)
class Fitted:
    """A run that is over.

    Attributes:
        configuration: What was run.
        folder: Where it lies.
        result: What came of it.
        rank: Which process this is; the first has written.
    """

    configuration: Configuration
    folder: Path
    result: Result
    rank: int = 0


def fit(
    data: str = "digits",
    model: str = "resnet8",
    method: str = "stable-rps",
    compression: float = 10.0,
    recipe: str | Recipe = "smoke",
    *,
    seed: int = 0,
    out: Path | str = "runs",
    options: dict[str, Any] | None = None,
    held_out: float = 0.0,
    root: Path | str | None = None,
    device: str | None = None,
    watch: Watch = lambda row: None,
) -> Fitted:
    """Train a network by a method at a budget, or go on where an earlier call was stopped.

    Args:
        data: Name or path, as for :func:`nn.data.load`.
        model: A name of :data:`nn.models.registry.MODELS`.
        method: One of :data:`nn.methods.METHODS`.
        compression: Compressible weights over cells, or over weights kept; 1 is all there is to dense.
        recipe: A name of :data:`nn.recipes.RECIPES`, or a recipe.
        seed: Of init, mapping, order and augmentation.
        out: Folder of all runs; this one's is named by the hash of its configuration.
        options: Of the method.
        held_out: Share of the training set to test on in place of the test set, as for tuning.
        root: As for :func:`nn.data.load`.
        device: Where; a GPU if there is one.
        watch: Told of every step and every epoch.

    Raises:
        ArgumentError: If an argument is out of range.
        DataError: If the data are missing, or a state cannot be read.
        ResumeError: If the folder belongs to another version.
        Stopped: If the user interrupts it; the same call goes on.
    """
    how = recipe_of(recipe) if isinstance(recipe, str) else recipe
    if method == "dense" and compression != 1:
        raise ArgumentError(f"train: compression={compression} came for dense; pass 1, or another method")
    configuration = Configuration(
        str(data), model, method, float(compression), how, seed, dict(options or {}), held_out
    )
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    rank, world = _joined(where)
    source = feed(data, how.batch, seed, how.augment, held_out=held_out, root=root, rank=rank, world=world)
    images = source.train.dataset
    make = partial(build, model, len(images.classes), images.images.shape[-1])
    folder = Path(out) / configuration.key
    run = Run(configuration, folder, source, make, watch, where, rank, world)
    return Fitted(configuration, folder, run.go(), rank)


def _joined(where: torch.device) -> tuple[int, int]:
    """Which process this is, and of how many: those that torchrun started, or this one."""
    if "TORCHELASTIC_RUN_ID" in os.environ and not dist.is_initialized():
        if where.type == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
