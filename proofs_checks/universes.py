"""Every draw of every mapping, at sizes small enough to list: the surveyor's own definitions.

A universe lists what a mapping can do to n weights, once for each equally likely outcome of its
randomness (or with whole-number weights where outcomes are not equally likely). Cells and signs are
written from the definitions in words, ideal randomness included; what the shipped hash adds or misses
is the business of :mod:`proofs_checks.enumeration.hash_fields`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, permutations, product
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Universe:
    """All draws of a mapping of n weights to m cells.

    Attributes:
        m: Number of cells of S (for pruning n: a kept weight stays in its place).
        cells: (draws, n) int64.
        signs: (draws, n) int64 in {-1, 0, +1}.
        weights: (draws,) int64, how often each outcome counts.
        rescale: Factor on <Sx, Sy> that is meant to make it unbiased.
    """

    m: int
    cells: Any
    signs: Any
    weights: Any
    rescale: Fraction = Fraction(1)

    @property
    def n(self) -> int:
        """Number of weights."""
        return int(self.cells.shape[1])

    @property
    def total(self) -> int:
        """Sum of the weights: an expectation is a weighted sum over it."""
        return int(self.weights.sum())

    @property
    def forms(self) -> Any:
        """(draws, n, n) int64, A_ij = 1(same cell) sign_i sign_j, so that <Sx, Sy> = x' A y."""
        same = self.cells[:, :, None] == self.cells[:, None, :]
        return same * self.signs[:, :, None] * self.signs[:, None, :]

    def parts(self, most: int = 2**16) -> Iterator[Universe]:
        """The outcomes in slices, each small enough to hold its forms."""
        for first in range(0, len(self.cells), most):
            some = slice(first, first + most)
            yield Universe(self.m, self.cells[some], self.signs[some], self.weights[some], self.rescale)


def all_signs(n: int) -> Any:
    """(2^n, n) every sign vector."""
    return np.array(list(product((-1, 1), repeat=n)), dtype=np.int64).reshape(2**n, n)


def joint(cells: Any, signs: Any, m: int) -> Universe:
    """Cells and signs drawn independently of each other, each uniformly from its list."""
    cells, signs = np.asarray(cells, dtype=np.int64), np.asarray(signs, dtype=np.int64)
    pairs = len(cells) * len(signs)
    return Universe(
        m,
        np.repeat(cells, len(signs), axis=0),
        np.tile(signs, (len(cells), 1)),
        np.ones(pairs, dtype=np.int64),
    )


def hashed_cells(n: int, m: int) -> Any:
    """An independent uniform cell for every weight: m^n maps."""
    return np.array(list(product(range(m), repeat=n)), dtype=np.int64).reshape(m**n, n)


def chunk_cells(n: int, m: int, chunk: int) -> Any:
    """Chunks of consecutive weights, each laid into the ring of m cells from a uniform start."""
    return _laid(n, chunk, m) % m


def block_cells(n: int, m: int, block: int) -> Any:
    """The same from starts 0..m-block, so that no block wraps."""
    return _laid(n, block, m - block + 1)


def fold_cells(n: int, m: int) -> Any:
    """Laps of m consecutive weights, each rotated by its own uniform shift: m^laps maps."""
    return chunk_cells(n, m, m)


def shifted(n: int, m: int, shifts: Any) -> Any:
    """Laps of m rotated by listed shifts, (draws, laps): fold for a law of shifts that is not uniform."""
    place = np.arange(n)
    return (np.asarray(shifts)[:, place // m] + place % m) % m


def sharings(most: int) -> Iterator[tuple[str, int, Any]]:
    """Name, m and cells of every sharing of n to m, both to ``most``; ragged laps and chunks included."""
    for n, m in product(range(1, most + 1), repeat=2):
        for name, cells in _kinds(n, m):
            yield f"{name}, n={n}, m={m}", m, cells


def reordered(cells: Any) -> Any:
    """The same maps after a uniformly random ordering of the weights: n! times as many."""
    orders = np.array(list(permutations(range(cells.shape[1]))), dtype=np.int64)
    return np.concatenate([cells[:, order] for order in orders])


def hashed(n: int, m: int) -> Universe:
    """HashedNets."""
    return joint(hashed_cells(n, m), all_signs(n), m)


def chunk(n: int, m: int, length: int) -> Universe:
    """ROBE."""
    return joint(chunk_cells(n, m, length), all_signs(n), m)


def block(n: int, m: int, length: int) -> Universe:
    """ROAST."""
    return joint(block_cells(n, m, length), all_signs(n), m)


def fold(n: int, m: int) -> Universe:
    """STABLE-RPS."""
    return joint(fold_cells(n, m), all_signs(n), m)


def keep_exact(n: int, m: int) -> Universe:
    """A uniform subset of exactly m weights kept, sign +1, rescale n/m."""
    return _kept([[int(i in kept) for i in range(n)] for kept in combinations(range(n), m)], n, m)


def keep_bernoulli(n: int, m: int) -> Universe:
    """Every weight kept with probability m/n by itself: weight m^kept (n-m)^dropped of a mask."""
    masks = list(product((0, 1), repeat=n))
    return _kept(masks, n, m, [m ** sum(mask) * (n - m) ** (n - sum(mask)) for mask in masks])


def unbiased(n: int, m: int) -> Iterator[tuple[str, Universe]]:
    """Name and universe of every sharing of n to m, and of both prunings where m <= n."""
    for name, cells in _kinds(n, m):
        yield f"{name}, n={n}, m={m}", joint(cells, all_signs(n), m)
    if m <= n:
        yield f"exact, n={n}, m={m}", keep_exact(n, m)
        yield f"Bernoulli, n={n}, m={m}", keep_bernoulli(n, m)


def _kinds(n: int, m: int) -> Iterator[tuple[str, Any]]:
    yield "hashed", hashed_cells(n, m)
    yield "fold", fold_cells(n, m)
    for length in range(2, m):
        yield f"chunk {length}", chunk_cells(n, m, length)
    for length in range(2, m + 1):
        yield f"block {length}", block_cells(n, m, length)


def _laid(n: int, length: int, starts: int) -> Any:
    place = np.arange(n)
    laps = -(-n // length)
    drawn = np.array(list(product(range(starts), repeat=laps)), dtype=np.int64).reshape(starts**laps, laps)
    return drawn[:, place // length] + place % length


def _kept(masks: Iterable[Iterable[int]], n: int, m: int, weights: Any = None) -> Universe:
    signs = np.array([list(mask) for mask in masks], dtype=np.int64)
    cells = np.tile(np.arange(n, dtype=np.int64), (len(signs), 1))
    counts = np.ones(len(signs), dtype=np.int64) if weights is None else np.array(weights, dtype=np.int64)
    return Universe(n, cells, signs, counts, Fraction(n, m))
