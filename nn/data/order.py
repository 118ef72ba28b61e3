"""Shuffled orders as functions of numbers alone: no generator is carried along, none can be out of step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rpstheory.errors import ArgumentError
from rpstheory.hashing import GOLDEN, MASK, mix


def key(seed: int, *places: int) -> int:
    """A word of 64 bits for a seed and a place, such as an epoch and the number of a batch."""
    word = mix((seed + GOLDEN) & MASK)
    for place in places:
        word = mix((word + (place + 1) * GOLDEN) & MASK)
    return int(word)


def words(count: int, word: int) -> NDArray[np.uint64]:
    """``count`` different words that belong to one."""
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    return np.asarray(mix(steps + np.uint64(word)))


def shuffled(count: int, word: int) -> NDArray[np.int64]:
    """0 … count - 1 in an order that belongs to a word."""
    return np.argsort(words(count, word), kind="stable").astype(np.int64)


def share_of(
    labels: NDArray[np.integer], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions, in order, of all but a share of each class, and of that share, to the nearest image.

    Args:
        labels: Of the images.
        share: 0 … 1.
        seed: Which images.

    Raises:
        ArgumentError: If the share is out of range.
    """
    _require_share(share)
    held = np.zeros(len(labels), bool)
    order = shuffled(len(labels), key(seed))
    for label in np.unique(labels):
        positions = order[labels[order] == label]
        held[positions[: round(share * len(positions))]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def last_of(count: int, share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of all but the last share of so many, and of that share, to the nearest whole number.

    Raises:
        ArgumentError: If the share is out of range.
    """
    _require_share(share)
    first = count - round(share * count)
    return np.arange(first), np.arange(first, count)


def _require_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise ArgumentError(f"split: share={share} came; a number from 0 to 1 is needed")
