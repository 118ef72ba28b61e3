"""A run that is over: the network with its final weights, and the images that it meets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch.nn as tnn
from torch.nn.utils import parametrize

from nn.data import feed
from nn.evaluation import finished, network_in, recipe_in
from nn.models.registry import build
from nn.sharing import banks_of, to_dense
from nn.training import Batch
from rpstheory.errors import ArgumentError

if TYPE_CHECKING:
    from nn.data import Feed
    from nn.records import Record

LIKE_DENSE = 10.0  # compression for a run that has none of its own


@dataclass(frozen=True, eq=False)
class Trained:
    """A network and its data.

    Attributes:
        record: Of the run.
        model: In eval mode, on the CPU.
        source: Its data.
    """

    record: Record
    model: tnn.Module
    source: Feed

    @property
    def name(self) -> str:
        """What was run, in a few words."""
        how = self.record.configuration
        return f"{how['model']} {how['method']} {how['compression']:g}x"

    @property
    def compression(self) -> float:
        """That of the run; 10 for one without."""
        own = self.record.configuration["compression"]
        return own if own > 1 else LIKE_DENSE

    @property
    def seed(self) -> int:
        """Of the run."""
        return int(self.record.configuration["seed"])

    def images(self, count: int, *, train: bool = True) -> Batch:
        """The first so many images of training, shuffled but as they are; or of the test set."""
        return some(self.source, count, train=train)


def some(source: Feed, count: int, *, train: bool = True) -> Batch:
    """The first so many images of training, shuffled but as they are; or of the test set."""
    part = source.train if train else source.held
    size = len(part.dataset) if part.rows is None else len(part.rows)
    rows = np.arange(size) if part.rows is None else part.rows
    chosen = np.random.default_rng(0).permutation(rows)[:count]
    own = type(part)(part.dataset, len(chosen), rows=chosen)
    return next(own.in_order())


def require_images(who: str, source: Feed) -> None:
    """Do nothing if a network looks at images.

    Raises:
        ArgumentError: If it reads text.
    """
    if source.train.dataset.text:
        raise ArgumentError(f"{who} reads {source.train.dataset.name}, a text; pass a network of images")


def plain(model: tnn.Module) -> tnn.Module:
    """A model whose weights are parameters of its own: those of a shared or pruned one, dropped ones 0."""
    if banks_of(model):
        return to_dense(model)
    for module in model.modules():
        if parametrize.is_parametrized(module):
            for name in tuple(module.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    return model


def trained(folder: Path | str, root: Path | str | None = None) -> Trained:
    """The network of a finished run.

    Args:
        folder: Of the run.
        root: As for :func:`nn.data.load`.

    Raises:
        ArgumentError: If the run is not finished, its weights do not fit its data, or these are a text.
        DataError: If there is no run, or its weights or data cannot be read.
        ResumeError: If the run was made by another version.
    """
    record = finished(Path(folder))
    how, recipe = record.configuration, recipe_in(record)
    source = feed(how["data"], recipe.batch, how["seed"], held_out=how["held_out"], root=root)
    require_images(f"run: {folder}", source)
    images = source.train.dataset
    make = partial(build, how["model"], len(images.classes), images.images.shape[-1])
    return Trained(record, network_in(record, make), source)
