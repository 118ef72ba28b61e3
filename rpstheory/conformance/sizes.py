"""Where the laws look: sizes from small to huge, fixed before anything is asked."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

LevelName = Literal["quick", "full"]

# A mapping must take these: as many cells as weights, and half as many.
ORDINARY = ((16, 16), (16, 8))
# One off a power of two, where integers of 8 and 16 bits end, and numbers with no common divisor.
MIDDLE = ((1, 40), (40, 1), (17, 5), (100, 7), (7, 100), (128, 128), (257, 256), (1000, 300))
FAR = 2**40
# All but the last share, beyond 32 bits too; the last is a budget that pruning can keep.
FAR_SIZES = ((FAR, 5), (FAR, 2**20), (FAR, 3 * 2**37), (FAR, 2**39))
LIGHT = (2**20, 2**10)
# Every weight is asked: cells beyond 8, 10 and 16 bits, 8 weights for each. Draws go on until a quarter of
# the cells at most is unused; if each is used in a fifth of draws, WIDE_DRAWS are not enough with a chance
# of 4 * 0.8^80 < 1e-7 (Markov's inequality).
WIDE = ((2**15, 2**12), (2**20, 2**17))
WIDE_DRAWS = 80
WIDE_UNUSED = 0.25

ALL_POSITIONS = 32
PRIMES = (65537, 998244353, 10**9 + 7, 2038074743, 2**31 - 1, 2**32 - 5, 2**32 + 15)


@dataclass(frozen=True)
class Rung:
    """One size and how many draws of it are counted."""

    n: int
    m: int
    draws: int


@dataclass(frozen=True)
class Level:
    """How far a check goes; every number is fixed in advance.

    Attributes:
        name: quick or full.
        most: Every n, m up to it is tried where one draw decides.
        seeds: Draws tried at each of those sizes.
        rungs: Sizes whose draws are counted.
        far_draws: Draws at each far size.
        universe: All seeds are enumerated where a mapping declares at most so many.
    """

    name: LevelName
    most: int
    seeds: tuple[int, ...]
    rungs: tuple[Rung, ...]
    far_draws: int
    universe: int

    @property
    def small(self) -> list[tuple[int, int]]:
        """Sizes for laws that one draw decides, smallest first."""
        return by_size(self.most, self.most)


def by_size(n: int, m: int) -> list[tuple[int, int]]:
    """All sizes up to (n, m), by n + m and then by n."""
    return sorted(product(range(1, n + 1), range(1, m + 1)), key=lambda size: (sum(size), size))


def rungs(n: int, m: int, few: int, many: int) -> tuple[Rung, ...]:
    """A few draws of every size up to (n, m), then many of three larger sizes."""
    small = tuple(Rung(*size, few) for size in by_size(n, m))
    return (*small, Rung(11, 2, many), Rung(16, 8, many), Rung(16, 16, many // 4))


LEVELS = {
    "quick": Level("quick", 4, (0, 1), rungs(5, 3, 100, 2000), 250, 2**12),
    "full": Level("full", 6, (0, 1, 2, 3, 2**31), rungs(6, 4, 400, 20000), 4000, 2**16),
}


def positions_of(n: int) -> tuple[int, ...]:
    """All positions of few weights, else the ends and what lies around powers of two and primes."""
    if n <= ALL_POSITIONS:
        return tuple(range(n))
    powers = {2**k + off for k in (4, 7, 8, 15, 16, 24, 31, 32, 39) for off in (-1, 0, 1)}
    return tuple(sorted(p for p in {0, 1, 2, 3, n // 3, n - 2, n - 1, *powers, *PRIMES} if p < n))


def counted_positions(n: int, m: int) -> tuple[int, ...]:
    """All positions of few weights, else some whose differences are periods a hash may have."""
    if n <= ALL_POSITIONS:
        return tuple(range(n))
    periods = (1, 2**16, 2**31, 2**32, *PRIMES, m * (2**31 - 1), m * 2**32)
    return tuple(sorted({0, *(p for p in periods if p < n)}))
