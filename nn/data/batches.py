"""Batches whose order and augmentation are functions of seed, epoch and place alone.

Any batch can be made without those before it, on any number of processes: a run that starts again in the
middle sees what it would have seen, and nothing random has to be saved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from nn.data.augmentation import PAD, Padding, crop_flip, normalised
from nn.data.datasets import Dataset, load
from nn.data.order import key, last_of, share_of, shuffled
from nn.patterns import one_of
from nn.recipes import Augment
from rpstheory.errors import ArgumentError, ShapeError

Batch = tuple[torch.Tensor, torch.Tensor]
Rows = NDArray[np.int64]
PADDING: dict[Augment, Padding | None] = {
    "none": None,
    "crop-flip": "zero",
    "reflect-crop-flip": "reflect",
}
_ORDER, _CROPS = 0, 1  # streams of an epoch


def split(dataset: Dataset, share: float, seed: int = 0) -> tuple[Rows, Rows]:
    """Rows to train on and rows to hold out, to the nearest: the share of each class, the last of a text.

    Args:
        dataset: A training set.
        share: To hold out, 0 … 1.
        seed: Which images; nothing else depends on it, and what is held out of a text does not.

    Raises:
        ArgumentError: If the share is out of range.
    """
    if dataset.text:
        return last_of(len(dataset), share)
    return share_of(dataset.labels, share, seed)


@final
@dataclass(eq=False)
class Batches:
    """A data set in batches of one size; what is left of an epoch is left out.

    Attributes:
        dataset: The images, or the text.
        size: Of a batch, over all processes together.
        seed: Of order and augmentation.
        augment: "none", "crop-flip" (zeros around) or "reflect-crop-flip".
        rows: The images or windows to use, all if None.
        rank: Which process this is.
        world: How many there are; each takes an equal part of every batch.
    """

    dataset: Dataset
    size: int
    seed: int = 0
    augment: Augment = "none"
    rows: Rows | None = None
    rank: int = 0
    world: int = 1
    _rows: Rows = field(init=False, repr=False)
    _order: tuple[int, Rows] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            ArgumentError: If there is no whole batch, or it cannot be divided.
            ShapeError: If the images are too small to be cut.
        """
        one_of("Batches", "augment", self.augment, PADDING)
        if PADDING[self.augment] and self.dataset.text:
            raise ArgumentError(
                f"Batches: augment={self.augment!r} came for a text, which is taken as it is; pass "
                "augment='none', as the recipe transformer does"
            )
        side = min(self.dataset.images.shape[1:3])
        if PADDING[self.augment] and side <= PAD:
            raise ShapeError(
                f"Batches: augment={self.augment!r} came for images with a side of {side}, which is cut at "
                f"random within {PAD} pixels; more than {PAD} are needed, or augment='none'"
            )
        self._rows = np.arange(len(self.dataset)) if self.rows is None else self.rows
        if not 1 <= self.size <= len(self._rows):
            raise ArgumentError(
                f"Batches: a batch of {self.size} came, and there are {len(self._rows)} {self.dataset.what}; "
                "choose at most as many"
            )
        if self._rows.min() < 0 or self._rows.max() >= len(self.dataset):
            raise ArgumentError(
                f"Batches: rows from {self._rows.min()} to {self._rows.max()} came, and there are "
                f"{len(self.dataset)} {self.dataset.what}; count from 0"
            )
        if not 0 <= self.rank < self.world or self.size % self.world:
            raise ArgumentError(
                f"Batches: process {self.rank} of {self.world} with batches of {self.size} came; the "
                "batch must be a multiple of the number of processes"
            )

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return len(self._rows) // self.size

    def batch(self, epoch: int, index: int) -> Batch:
        """One batch, or this process's part of it: a function of the seed, the epoch and the index.

        Args:
            epoch: 0 or more.
            index: 0 … steps - 1.

        Returns:
            Images float32 (b, c, h, w), normalised, in memory channels last; labels int64 (b,). Of a text,
            bytes (b, t) uint8, and those after each as labels (b, t) int64.

        Raises:
            ArgumentError: If there is no such batch.
        """
        if epoch < 0 or not 0 <= index < self.steps:
            raise ArgumentError(
                f"batch: epoch {epoch}, index {index} came; index 0 … {self.steps - 1} is needed"
            )
        chosen = self._shuffled(epoch)[index * self.size : (index + 1) * self.size]
        images, labels = self._taken(chosen)
        if padding := PADDING[self.augment]:
            generator = torch.Generator().manual_seed(key(self.seed, epoch, _CROPS, index))
            images = crop_flip(images, generator, padding)
        each = self.size // self.world
        mine = slice(self.rank * each, (self.rank + 1) * each)
        return self._ready(images[mine]), labels[mine]

    def epoch(self, number: int) -> Iterator[Batch]:
        """All batches of an epoch."""
        return (self.batch(number, index) for index in range(self.steps))

    def in_order(self) -> Iterator[Batch]:
        """Every image or window once, as it is, in the order of the rows; the last batch may be smaller."""
        for first in range(0, len(self._rows), self.size):
            images, labels = self._taken(self._rows[first : first + self.size])
            yield self._ready(images), labels

    def _ready(self, images: torch.Tensor) -> torch.Tensor:
        return images if self.dataset.text else normalised(images, self.dataset.mean, self.dataset.std)

    def _shuffled(self, epoch: int) -> Rows:
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, self._rows[shuffled(len(self._rows), key(self.seed, epoch, _ORDER))]
        return self._order[1]

    def _taken(self, rows: Rows) -> Batch:
        images = torch.from_numpy(self.dataset.images[rows])
        return images, torch.from_numpy(self.dataset.labels[rows]).long()


@final
@dataclass(frozen=True)
class Feed:
    """What a training needs: batches to train on, and batches to test on.

    Attributes:
        train: Shuffled and augmented.
        held: Tested on in order: the test set, or what was held out of the training set.
    """

    train: Batches
    held: Batches

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return self.train.steps

    @property
    def digest(self) -> str:
        """SHA-256 of the images and labels of both data sets."""
        whole = hashlib.sha256()
        for dataset in (self.train.dataset, self.held.dataset):
            for array in (dataset.images, dataset.labels):
                whole.update(str((array.shape, array.dtype.str)).encode())
                whole.update(np.ascontiguousarray(array).data)
        return whole.hexdigest()

    def batch(self, epoch: int, index: int) -> Batch:
        """One batch to train on."""
        return self.train.batch(epoch, index)

    def test(self) -> Iterator[Batch]:
        """All batches to test on."""
        return self.held.in_order()


def feed(
    data: str | Path,
    size: int,
    seed: int = 0,
    augment: Augment = "none",
    *,
    held_out: float = 0.0,
    root: Path | str | None = None,
    rank: int = 0,
    world: int = 1,
) -> Feed:
    """Training batches of a data set, and its test set or a held-out share of the training set.

    Args:
        data: Name or path, as for :func:`nn.data.load`.
        size: Of a batch, over all processes together.
        seed: Of order and augmentation; what is held out does not depend on it.
        augment: "none", "crop-flip" or "reflect-crop-flip".
        held_out: Share of the training set to test on in place of the test set, 0 for the test set.
        root: As for :func:`nn.data.load`.
        rank: Which process this is.
        world: How many there are.

    Raises:
        ArgumentError: If a name or a number is out of range.
        DataError: If the data are missing, or not what they should be.
    """
    dataset = load(data, root)
    if not held_out:
        test = load(data, root, train=False)
        held = Batches(test, min(size, len(test)))
        return Feed(Batches(dataset, size, seed, augment, None, rank, world), held)
    rows, out = split(dataset, held_out)
    if not len(out) or len(rows) < size:
        raise ArgumentError(
            f"split: held_out={held_out} of {len(dataset)} {dataset.what} came, which leaves {len(out)} to "
            f"test on and {len(rows)} to train on in batches of {size}; choose "
            f"{'more' if not len(out) else 'less'}"
        )
    return Feed(
        Batches(dataset, size, seed, augment, rows, rank, world),
        Batches(dataset, min(size, len(out)), rows=out),
    )
