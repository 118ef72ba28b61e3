"""Random pruning as a mapping: a weight keeps its own cell, a dropped one has sign 0."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import isqrt
from typing import Any, final

from rpstheory.backend import is_nonzero_anywhere, positions
from rpstheory.errors import ArgumentError
from rpstheory.hashing import KEEP_STREAM, PRIME, Uniform, coefficients, field_values
from rpstheory.mappings.base import AbstractMapping, check_count, check_seed

FEWEST_ROUNDS = 8


def rounds(side: int) -> int:
    """Feistel rounds over pairs below ``side``, so many that two weights meet any two places alike.

    With ideal round functions the bias of a pair falls like side^(-rounds/2), so small sides need more:
    after 8 rounds on 4 weights a pair is kept 1.6 % too seldom, after these it is off by less than 2^-20
    at any side. Source: enumerated in tests/core (subsets for n <= 9, pairs for squares).
    """
    bits = max(1, side.bit_length() - 1)
    return max(FEWEST_ROUNDS, 4 + 2 * -(-20 // bits))


@dataclass(frozen=True)
class AbstractKeep(AbstractMapping):
    """m of n weights kept, on average or exactly; products are rescaled by n/m.

    Attributes:
        n: Number of weights.
        m: Weights kept, 1..n.
        seed: Names the draw, 0 <= seed < 2^64.
    """

    seed: int

    def __post_init__(self) -> None:
        """Check the sizes and the seed.

        Raises:
            KindError: If one of them is not a whole number.
            ArgumentError: If m > n, or one of them is out of range.
        """
        owner = type(self).__name__
        object.__setattr__(self, "n", check_count(owner, "n", self.n))
        object.__setattr__(self, "m", check_count(owner, "m", self.m))
        seed = check_seed(owner, self.seed)
        object.__setattr__(self, "seed", seed)
        if self.m > self.n:
            raise ArgumentError(f"{owner}: m={self.m} of n={self.n} weights cannot be kept; choose m <= n")

    @property
    def cells(self) -> int:
        """A kept weight stays in its own place: n."""
        return self.n

    @property
    def rescale(self) -> Fraction:
        """n/m, on products."""
        return Fraction(self.n, self.m)

    @property
    def pareto_continuous(self) -> bool:
        """Whether nothing is lost: m = n."""
        return self.m == self.n

    def cell(self, i: Any) -> Any:
        """Weight ``i`` itself.

        Raises:
            KindError: If ``i`` does not hold integers.
            ArgumentError: If a position is outside 0..n-1 (Python and NumPy).
        """
        return positions(i, self.n)

    def sign(self, i: Any) -> Any:
        """1 for a kept weight, 0 for a dropped one.

        Raises:
            KindError: If ``i`` does not hold integers.
            ArgumentError: If a position is outside 0..n-1 (Python and NumPy).
        """
        return self._kept(positions(i, self.n))

    @abstractmethod
    def _kept(self, i: Any) -> Any: ...


@final
@dataclass(frozen=True)
class KeepBernoulli(AbstractKeep):
    """Every weight kept with probability m/n, 4-wise independently.

    The probability is a multiple of 1/P^2, so it is off by less than 2^-61; the rest is proved for the
    shipped hash.

    Source: claim 4.
    """

    def _kept(self, i: Any) -> Any:
        high = field_values(self._coefficients[0], i)
        low = field_values(self._coefficients[1], i)
        value = high * PRIME + low
        return 1 - (value + (PRIME**2 - self._threshold)) // PRIME**2

    @cached_property
    def _threshold(self) -> int:
        return PRIME**2 * self.m // self.n

    @cached_property
    def _coefficients(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        high = coefficients(self.seed, KEEP_STREAM, self.n)
        return high, coefficients(self.seed, KEEP_STREAM + 1, self.n)


@final
@dataclass(frozen=True)
class KeepExact(AbstractKeep):
    """A subset of exactly m weights: those that a keyed permutation sends below m.

    The permutation is a balanced Feistel network over pairs below a = ceil(sqrt(n)) with modular
    addition and 4-wise independent round functions, more of them for small n, walked until it lands
    below n. That every subset is equally likely is *measured* on the shipped hash, not proved.

    Source: claim 4; Black & Rogaway 2002 (cycle walking).
    """

    def _kept(self, i: Any) -> Any:
        place = self._permute(i)
        outside = place // self.n
        while is_nonzero_anywhere(outside):
            place = place + outside * (self._permute(place) - place)
            outside = place // self.n
        return 1 - (place + self.n - self.m) // self.n

    def _permute(self, place: Any) -> Any:
        left, right = place // self._side, place % self._side
        for function in self._functions:
            left, right = right, (left + function(right)) % self._side
        return left * self._side + right

    @cached_property
    def _side(self) -> int:
        return isqrt(self.n - 1) + 1

    @cached_property
    def _functions(self) -> tuple[Uniform, ...]:
        streams = range(KEEP_STREAM, KEEP_STREAM + 2 * rounds(self._side), 2)
        return tuple(Uniform(self.seed, s, self._side, self._side) for s in streams)
