"""Many draws of a mapping at once in plain NumPy: the mappings' own code, with an array of seeds.

Draw t of an experiment has seed ``first + t`` mod 2^64. Every faster kernel is tested against this one.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from rpstheory.mappings import AbstractMapping

if TYPE_CHECKING:
    from numpy.typing import NDArray

Mapping = TypeVar("Mapping", bound=AbstractMapping)

ENTRIES = 2**20  # positions held at once; keeps memory flat in the number of draws


def seeds(first: int, count: int) -> NDArray[np.uint64]:
    """Seeds of draws 0..count-1, (count,)."""
    return np.arange(count, dtype=np.uint64) + np.uint64(first % 2**64)


def with_seeds(mapping: Mapping, many: NDArray[np.uint64]) -> Mapping:
    """The mapping with one seed per row: its cells and signs come out as (draws, n)."""
    clone = object.__new__(type(mapping))
    for name in (f.name for f in fields(mapping)):
        object.__setattr__(clone, name, getattr(mapping, name))
    object.__setattr__(clone, "seed", many[:, None])
    return clone


def draw_many(
    mapping: AbstractMapping, first: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cells and signs of ``count`` draws, each (count, n) int64."""
    index = np.arange(mapping.n, dtype=np.int64)[None, :]
    if not hasattr(mapping, "seed"):
        shape = (count, mapping.n)
        return np.broadcast_to(index, shape), np.broadcast_to(mapping.sign(index[0]), shape)
    clone = with_seeds(mapping, seeds(first, count))
    cells = np.broadcast_to(clone.cell(index), (count, mapping.n))
    return cells, np.broadcast_to(clone.sign(index), (count, mapping.n))


def compress_many(mapping: AbstractMapping, vectors: NDArray[Any], first: int, count: int) -> NDArray[Any]:
    """S x for ``count`` draws: (n,) or (count, n) → (count, cells)."""
    cells, signs = draw_many(mapping, first, count)
    rows = np.arange(count, dtype=np.int64)[:, None] * mapping.cells
    flat = np.bincount(
        (cells + rows).ravel(),
        weights=(signs * vectors).ravel(),
        minlength=count * mapping.cells,
    )
    return flat.reshape(count, mapping.cells)


def inner_products(
    mapping: AbstractMapping, x: NDArray[Any], y: NDArray[Any], first: int, count: int
) -> NDArray[Any]:
    """rescale * <Sx, Sy> for ``count`` draws.

    Args:
        mapping: Its seed is replaced by ``first``, ``first + 1``, …
        x: (n,), or one row per draw, (count, n).
        y: The same.
        first: Seed of the first draw.
        count: Number of draws.

    Returns:
        (count,).
    """
    values = np.empty(count)
    step = max(1, ENTRIES // max(mapping.n, mapping.cells))
    for low in range(0, count, step):
        high = min(low + step, count)
        seed = (first + low) % 2**64
        a = compress_many(mapping, x if x.ndim == 1 else x[low:high], seed, high - low)
        if y is x:
            b = a
        else:
            b = compress_many(mapping, y if y.ndim == 1 else y[low:high], seed, high - low)
        values[low:high] = np.einsum("ij,ij->i", a, b)
    return values * float(mapping.rescale)
