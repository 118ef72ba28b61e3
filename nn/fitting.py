"""`nn.fit`: a data set, a model, a method and a recipe, to a result in a folder."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from nn.data import DATASETS, Batches, Dataset, Feed, feed
from nn.data.order import key, shuffled
from nn.methods import Builder
from nn.models.registry import READERS, build
from nn.recipes import Recipe, recipe_of
from nn.runs import Configuration, Result, Run, Watch
from nn.training import Batch
from rpstheory.errors import ArgumentError, KindError, MissingError, ShapeError

COMPRESSION = 10.0  # of every method but dense, where none is given
PER_CLASS = 10  # images, or tokens of a text, that a score of pruning looks at
AT_ONCE = 64  # of them in memory
_SCORED = 2  # a stream beside those of nn.data.batches


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
    compression: float | None = None,
    recipe: str | Recipe = "smoke",
    *,
    seed: int = 0,
    out: Path | str = "runs",
    options: dict[str, Any] | None = None,
    held_out: float = 0.0,
    root: Path | str | None = None,
    device: str | None = None,
    watch: Watch = lambda row: None,
    tensorboard: bool = False,
) -> Fitted:
    """Train a network by a method at a budget, or go on where an earlier call was stopped.

    Args:
        data: Name or path, as for :func:`nn.data.load`.
        model: A name of :data:`nn.models.registry.MODELS`.
        method: One of :data:`nn.methods.METHODS`.
        compression: Compressible weights over cells, or over weights kept; if left out 10, and 1 for dense,
            which has no other.
        recipe: A name of :data:`nn.recipes.RECIPES`, or a recipe.
        seed: Of init, mapping, order and augmentation.
        out: Folder of all runs; this one's is named by the hash of its configuration.
        options: Of the method.
        held_out: Share of the training set to test on in place of the test set, as for tuning.
        root: As for :func:`nn.data.load`.
        device: Where; a GPU if there is one.
        watch: Told of every step and every epoch.
        tensorboard: Tell TensorBoard too, in the folder of the run.

    Raises:
        KindError: If an argument is of the wrong kind; no folder is made.
        ArgumentError: If one is out of range, the method cannot do this, or the model reads text and the data
            are images, or the other way round; likewise.
        ShapeError: If the model does not take such images; likewise.
        DataError: If the data are missing, or a file cannot be read or written.
        MissingError: If TensorBoard is wanted and not installed.
        ResumeError: If the folder belongs to another run, or is in use.
        Stopped: If the user interrupts it; the same call goes on.
    """
    if not isinstance(recipe, str | Recipe):
        raise KindError(
            f"train: recipe={recipe!r} came; the name of a recipe, or an nn.recipes.Recipe, is needed"
        )
    how = recipe_of(recipe) if isinstance(recipe, str) else recipe
    if compression is None:
        compression = 1.0 if method == "dense" else COMPRESSION
    path = str(data) not in DATASETS and Path(data).exists()
    place = str(Path(data).resolve() if path else data)
    configuration = Configuration(place, model, method, compression, how, seed, options or {}, held_out)
    where = _device(device)
    rank, world = _joined(where)
    source = feed(place, how.batch, seed, how.augment, held_out=held_out, root=root, rank=rank, world=world)
    images = source.train.dataset
    make = partial(build, model, len(images.classes), images.images.shape[-1])
    folder = Path(out) / configuration.key
    if not (folder / "result.json").exists():  # else it has fitted
        _require_fits(model, make, images, how.batch // world)
    if tensorboard and rank == 0:
        watch = _also_tensorboard(folder, watch)
    run = Run(configuration, folder, _Source(source), make, watch, where, rank, world, source.digest)
    return Fitted(configuration, folder, run.go(), rank)


@dataclass(frozen=True)
class _Source:
    """A feed, and what scores of pruning look at."""

    feed: Feed

    @property
    def steps(self) -> int:
        return self.feed.steps

    def batch(self, epoch: int, index: int) -> Batch:
        return self.feed.batch(epoch, index)

    def test(self) -> Iterable[Batch]:
        return self.feed.test()

    def scored(self) -> list[Batch]:
        """Ten images of each class as they are, all that there are in a smaller class; by the seed, shuffled.

        Of a text, as many windows as have ten tokens for each class.
        """
        train = self.feed.train
        rows = np.arange(len(train.dataset)) if train.rows is None else train.rows
        order = rows[shuffled(len(rows), key(train.seed, 0, _SCORED))]
        labels = train.dataset.labels[order]
        if train.dataset.text:
            chosen = order[: -(-PER_CLASS * len(train.dataset.classes) // labels.shape[1])]
        else:
            of_each = [np.flatnonzero(labels == label)[:PER_CLASS] for label in np.unique(labels)]
            chosen = order[np.sort(np.concatenate(of_each))]
        return list(Batches(train.dataset, min(AT_ONCE, len(chosen)), rows=chosen).in_order())


def _device(name: str | None) -> torch.device:
    """That one, or a GPU if there is one.

    Raises:
        ArgumentError: If there is none of this name.
    """
    try:
        where = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        if where.type not in ("cpu", "cuda"):
            raise NotImplementedError("runs are trained there only")
        torch.empty(0, device=where)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ArgumentError(f"train: device={name!r} came ({reason}); 'cpu' or 'cuda' is needed") from None
    return where


def _require_fits(name: str, make: Builder, dataset: Dataset, size: int) -> None:
    """Do nothing if the model takes the images, or the text, and tells the classes apart.

    Raises:
        ArgumentError: If these are data of the wrong kind.
        ShapeError: If it does not.
    """
    if dataset.text != (name in READERS):
        takes, came = ("text", "images") if name in READERS else ("images", "a text")
        raise ArgumentError(
            f"train: {name} takes {takes}, and {dataset.name} is {came}, data of the wrong kind; choose "
            f"{'another model' if not dataset.text else READERS[0]}, or other data"
        )
    with torch.device("meta"):
        model, images = make(1.0), torch.empty(size, *dataset.shape)
    found: tuple[int, ...] = ()
    wanted = (size, *dataset.labels.shape[1:], len(dataset.classes))
    try:
        found = tuple(model(images).shape)
        reason = f"the answer has shape {found}, with {len(dataset.classes)} classes"
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
    if found != wanted:
        sides = " x ".join(map(str, dataset.shape))
        raise ShapeError(
            f"train: {name} cannot be trained on {size} {dataset.what} of {sides} at once "
            f"({reason}); choose another model or other data"
        )


def _also_tensorboard(folder: Path, watch: Watch) -> Watch:
    """Told as ``watch`` is, and TensorBoard too: a run of its for each round.

    Raises:
        MissingError: If it is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingError(
            "train: TensorBoard is not installed; pip install tensorboard, or do without it"
        ) from None
    writers: dict[int, Any] = {}

    def both(row: dict[str, Any]) -> None:
        watch(row)
        number, step = row["round"], row["step"]
        if number not in writers:  # what a killed start told of later steps is taken back
            place = folder / "tensorboard" / f"round-{number}"
            writers[number] = SummaryWriter(str(place), purge_step=step)
        for name in row.keys() - {"round", "step", "epoch"} if "epoch" in row else ("loss",):
            writers[number].add_scalar(name, row[name], step)
        if "epoch" in row:
            writers[number].flush()

    return both


def _joined(where: torch.device) -> tuple[int, int]:
    """Which process this is, and of how many: those that torchrun started, or this one."""
    if "TORCHELASTIC_RUN_ID" in os.environ and not dist.is_initialized():
        if where.type == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
