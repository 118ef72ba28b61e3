r"""Sharing by rotated chunks: one formula for hashed, chunk, fold and block.

Weights are cut into chunks; a chunk is laid into the bank from its own random start,

$$ cell(i) = (start(chunk(i)) + offset(i)) \bmod m. $$

Chunk length 1 is HashedNets, m is the fold of STABLE-RPS, anything between is ROBE's chunk; ROAST's
block is the same with starts that never wrap.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from rpstheory.backend import array_of, positions
from rpstheory.errors import KindError, ShapeError
from rpstheory.hashing import START_STREAM, Signs, Uniform
from rpstheory.mappings.base import AbstractMapping, check_count, check_seed


@dataclass(frozen=True)
class AbstractSharing(AbstractMapping):
    """n weights over m shared cells, signs ±1.

    Attributes:
        n: Number of weights.
        m: Number of cells.
        seed: Names the draw, 0 <= seed < 2^64.
    """

    seed: int

    def __post_init__(self) -> None:
        """Check n, m and the seed.

        Raises:
            KindError: If one of them is not a whole number.
            ArgumentError: If one of them is out of range.
        """
        owner = type(self).__name__
        object.__setattr__(self, "n", check_count(owner, "n", self.n))
        object.__setattr__(self, "m", check_count(owner, "m", self.m))
        seed = check_seed(owner, self.seed)
        object.__setattr__(self, "seed", seed)

    @property
    @abstractmethod
    def chunk_length(self) -> int:
        """Weights laid side by side from one start."""

    @property
    def starts(self) -> int:
        """Number of possible starts: m where a chunk wraps."""
        return self.m

    @property
    def chunks(self) -> int:
        """Number of chunks, the last of which may be ragged."""
        return -(-self.n // self.chunk_length)

    @property
    def pareto_continuous(self) -> bool:
        """Whether S is an isometry in every draw, so that nothing is lost."""
        return self.chunks == 1

    def chunk_and_offset(self, i: Any) -> tuple[Any, Any]:
        """Chunk of each position and the place inside it."""
        return i // self.chunk_length, i % self.chunk_length

    def cell(self, i: Any) -> Any:
        """Cell of weight ``i``, in 0..m-1 (int or int64 array of the kind of ``i``).

        Raises:
            KindError: If ``i`` does not hold integers.
            ArgumentError: If a position is outside 0..n-1 (Python and NumPy).
        """
        chunk, offset = self.chunk_and_offset(positions(i, self.n))
        return (self._start(chunk) + offset) % self.m

    def sign(self, i: Any) -> Any:
        """Sign of weight ``i``, ±1; 4-wise independent and independent of the cells.

        Raises:
            KindError: If ``i`` does not hold integers.
            ArgumentError: If a position is outside 0..n-1 (Python and NumPy).
        """
        return self._sign(positions(i, self.n))

    def collision_probability(self, i: int, j: int) -> Fraction:
        """Probability that weights i != j share a cell, for ideal starts. Source: claim 2.

        Raises:
            KindError: If a position is not an integer.
            ArgumentError: If it is outside 0..n-1.
        """
        (chunk, offset), (other, place) = (self.chunk_and_offset(positions(k, self.n)) for k in (i, j))
        return Fraction(0) if chunk == other else self._meeting(offset - place)

    def collision_sum(self, a: Any, b: Any) -> Any:
        r"""$\sum_{i \ne j} p_{ij} a_i b_j$ over the last axis, in O(n).

        Args:
            a: One number per weight, (…, n): floats, objects (``Fraction``), or integers, taken as float64.
            b: The same shape.

        Returns:
            (…): exact for objects. Exactly 0 when there is one chunk.

        Raises:
            ShapeError: If a or b does not have n entries.
            KindError: If they are no real numbers.
        """
        a, b = self._row(a), self._row(b)
        return pairs_across(self.chunk_sums(a), self.chunk_sums(b)) / self.m

    def chunk_sums(self, a: Any) -> Any:
        """Sum over each chunk, (…, n) → (…, chunks)."""
        return np.add.reduceat(a, np.arange(0, self.n, self.chunk_length), axis=-1)

    def _row(self, a: Any) -> Any:
        row = np.asarray(array_of("collision_sum", a))
        if row.dtype.kind not in "iubfO":
            raise KindError(f"collision_sum: data of dtype {row.dtype} came; pass real numbers")
        if row.ndim < 1 or row.shape[-1] != self.n:
            raise ShapeError(
                f"collision_sum: an array of shape {row.shape} came, the mapping has n={self.n} weights; "
                "pass one value per weight on the last axis"
            )
        return row.astype(np.float64) if row.dtype.kind in "iub" else row

    def _meeting(self, distance: int) -> Fraction:
        return Fraction(1, self.m)

    @cached_property
    def _start(self) -> Uniform:
        return Uniform(self.seed, START_STREAM, self.chunks, self.starts)

    @cached_property
    def _sign(self) -> Signs:
        return Signs(self.seed, self.n)


def pairs_across(a: Any, b: Any) -> Any:
    """Sum of a_p b_q over p != q on the last axis; no cancellation for non-negative entries."""
    if a.shape[-1] == 1:
        return (a * b)[..., 0] * 0
    before_a = np.add.accumulate(a, axis=-1)[..., :-1]
    before_b = np.add.accumulate(b, axis=-1)[..., :-1]
    return (a[..., 1:] * before_b + b[..., 1:] * before_a).sum(axis=-1)
