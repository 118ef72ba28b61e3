"""Claim 2: the shipped mappings read the hash as the proofs about it take it to be read.

The checks on the hash in proofs_checks.enumeration are about polynomials over a field. Here a second
implementation, from the words of docs/notation.md and in Python integers only, says which coefficient belongs
to which power of which polynomial and what is done with a value; the shipped cells and signs are compared
with it, one by one and as arrays. Coefficient c of stream s is output 16 s + c of a SplitMix64 generator:
stream 0 for signs, 1 for starts, 2 for their low half beyond 2^20 starts, 3 and 4 for pruning. So no two
streams share a coefficient.
Shows: equality at positions on both sides of P = 2^31 - 1 (and of 16 P for signs), for sizes at which the
polynomials have 4 and 16 coefficients, and for starts on both sides of 2^20. Does not show: other positions,
seeds and sizes; that SplitMix64's outputs stand in for uniform coefficients; `KeepExact`, whose permutation
is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import count, islice, product
from typing import Any

import numpy as np

from proofs_checks.check import Check, Level, require
from rpstheory.mappings import AbstractMapping, Block, Chunk, Fold, Hashed, KeepBernoulli

P = 2**31 - 1
NARROW = 2**20
WORD = 16  # signs read from one value
FEW = (1, 7, NARROW - 1, NARROW)
MANY = (NARROW + 1, P + 2, 2**40 + 15)
SEEDS = (0, 1, 2**63 + 12345, 2**64 - 1)


def splitmix(seed: int) -> Iterator[int]:
    """The outputs of SplitMix64 (Steele, Lea, Flood 2014), without end."""
    for step in count(1):
        word = (seed + step * 0x9E3779B97F4A7C15) % 2**64
        word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ word >> 27) * 0x94D049BB133111EB % 2**64
        yield word ^ word >> 31


@cache
def outputs(seed: int) -> tuple[int, ...]:
    """The first 80, reduced to the field, of a generator that begins at the first output of another."""
    key = next(splitmix(seed))
    return tuple(word % P for word in islice(splitmix(key), 80))


@dataclass(frozen=True)
class Reading:
    """How the streams of one seed are read.

    Attributes:
        apart: Coefficients from one stream to the next.
        bivariate: Whether positions beyond P are written u P + v, and not only reduced mod P.
        high_low: Whether more than 2^20 starts take a second value.
        signs: The stream of the signs.
    """

    apart: int = 16
    bivariate: bool = True
    high_low: bool = True
    signs: int = 0

    def value(self, seed: int, stream: int, length: int, position: int) -> int:
        """Sum of c_(j + 4k) v^j u^k mod P at position u P + v; k = 0 only if P positions are enough."""
        u, v = divmod(position, P)
        powers = range(4 if self.bivariate and length > P else 1)
        c = outputs(seed)[self.apart * stream :]
        return sum(c[j + 4 * k] * pow(v, j, P) * pow(u, k, P) for j in range(4) for k in powers) % P

    def sign(self, mapping: Any, i: int) -> int:
        """-1 where bit i mod 16 of value i div 16 is set."""
        word = self.value(mapping.seed, self.signs, -(-mapping.n // WORD), i // WORD)
        return -1 if word & 1 << i % WORD else 1

    def start(self, mapping: Any, chunks: int, starts: int, chunk: int) -> int:
        """One value scaled to the starts, or a number of two digits base P reduced to them."""
        high = self.value(mapping.seed, 1, chunks, chunk)
        if starts <= NARROW or not self.high_low:
            return high * starts // P
        return (high * P + self.value(mapping.seed, 2, chunks, chunk)) % starts

    def lot(self, mapping: Any, i: int) -> int:
        """The number of two digits below P^2 by which weight i is kept or dropped."""
        high, low = (self.value(mapping.seed, stream, mapping.n, i) for stream in (3, 4))
        return high * P + low

    def kept(self, mapping: Any, i: int) -> int:
        """1 where it is below P^2 m/n, rounded down."""
        return int(self.lot(mapping, i) < P * P * mapping.m // mapping.n)


AS_PROVED = Reading()


def edges(n: int) -> list[int]:
    """Positions below n about 0, 16, P and 16 P, and the last ones."""
    about = [0, 16, 10**6, P, 2 * P, 3 * P + 10**9, WORD * P, 5 * WORD * P, n]
    return sorted({i for centre in about for i in range(centre - 2, centre + 3) if 0 <= i < n})


def require_read(
    mapping: AbstractMapping, shipped: Callable[[Any], Any], expected: Callable[[int], int]
) -> None:
    """Do nothing if both say the same at the edges, asked one by one and as an array."""
    places = edges(mapping.n)
    at_once = shipped(np.array(places)).tolist()
    for i, found in zip(places, at_once, strict=True):
        told = {int(shipped(i)), found}
        require(told == {expected(i)}, f"{mapping}, weight {i}: {told}, not {expected(i)}")


def signs(level: Level, reading: Reading = AS_PROVED) -> str:
    """Sizes about 16 P, where the words of signs pass the field, and far beyond."""
    sizes = [1, 17, 1000, WORD * P - 1, WORD * P, WORD * P + 1, 2**40 + 7, 2**60]
    for seed in SEEDS[: level.pick(2, 4, 4)]:
        for n in sizes:
            fold = Fold(n, 1000, seed)
            require_read(fold, fold.sign, partial(reading.sign, fold))
    return f"n in {sizes}, positions about 0, P, 16 P, n; {level.pick(2, 4, 4)} seeds"


def cells(level: Level, starts: tuple[int, ...], reading: Reading = AS_PROVED) -> str:
    """Every sharing with so many starts; chunks about P."""
    for seed, width, chunks in product(SEEDS[: level.pick(2, 4, 4)], starts, (3, P - 1, P, P + 1, 2**33)):
        for mapping, length, lay in laid(chunks, width, seed):
            require_read(mapping, mapping.cell, partial(placed, reading, mapping, length, width, lay))
    seeds = level.pick(2, 4, 4)
    return f"{starts} starts, to 2^33 chunks about P; hashed, chunk, fold, block, tiles; {seeds} seeds"


Lay = Callable[[int], tuple[int, int]]


def laid(chunks: int, starts: int, seed: int) -> Iterator[tuple[Any, int, Lay]]:
    """Mappings with so many chunks and starts, the chunks, and where a weight lies: (chunk, offset)."""
    yield Hashed(chunks, starts, seed), chunks, lambda i: (i, 0)
    if starts > 1:
        yield Chunk(2 * chunks - 1, starts, seed, chunk=2), chunks, lambda i: divmod(i, 2)
    if chunks * starts < 2**60:
        yield Fold(chunks * starts, starts, seed), chunks, lambda i: divmod(i, starts)
    yield Block(3 * chunks - 1, starts + 2, seed, block=3), chunks, lambda i: divmod(i, 3)
    rows = -(-chunks // 3)
    shape, tile = (2 * rows, 5), (2, 2)  # three tiles across, the last one weight wide
    tiles = Block(10 * rows, starts + 3, seed, block=tile, shape=shape)
    yield tiles, 3 * rows, lambda i: (i // 10 * 3 + i % 5 // 2, i // 5 % 2 * 2 + i % 5 % 2)


def placed(reading: Reading, mapping: Any, chunks: int, starts: int, lay: Lay, i: int) -> int:
    """(start of the chunk + offset) mod m."""
    chunk, offset = lay(i)
    return (reading.start(mapping, chunks, starts, chunk) + offset) % mapping.m


def drops(level: Level, reading: Reading = AS_PROVED) -> str:
    """Bernoulli pruning, sizes about P, budgets on both sides of where a weight is dropped."""
    sizes = [1, 1000, P - 1, P, P + 1, 2**60]
    for seed, n in product(SEEDS[: level.pick(2, 4, 4)], sizes):
        last = [reading.lot(KeepBernoulli(n, 1, seed), i) * n // P**2 for i in (0, n // 2, n - 1)]
        for m in sorted({1, n, *(min(n, max(1, m + more)) for m in last for more in (0, 1))}):
            keep = KeepBernoulli(n, m, seed)
            require_read(keep, keep.sign, partial(reading.kept, keep))
    return f"n in {sizes}, positions about 0, P, 16 P, n; {level.pick(2, 4, 4)} seeds"


CHECKS = (
    Check(
        2,
        "hash: signs as wired",
        "sign(i) is bit i mod 16 of value i div 16 of stream 0: 4 coefficients to 16 P weights, 16 beyond",
        "agreement",
        signs,
        "signs from the coefficients of the starts",
        lambda: signs(Level.QUICK, Reading(signs=1)),
    ),
    Check(
        2,
        "hash: cells as wired",
        "the start of chunk c is value c of stream 1, scaled: 4 coefficients to P chunks, 16 beyond",
        "agreement",
        lambda level: cells(level, FEW),
        "4 coefficients from one stream to the next, in place of 16",
        lambda: cells(Level.QUICK, FEW, Reading(apart=4)),
    ),
    Check(
        2,
        "hash: wide ranges as wired",
        "above 2^20 starts: values of streams 1 and 2 as digits base P, reduced",
        "agreement",
        lambda level: cells(level, MANY),
        "one value, scaled",
        lambda: cells(Level.QUICK, MANY, Reading(high_low=False)),
    ),
    Check(
        4,
        "hash: pruning as wired",
        "KeepBernoulli keeps i iff values i of streams 3 and 4, as digits base P, are below P^2 m/n",
        "agreement",
        drops,
        "positions beyond the field are reduced mod P",
        lambda: drops(Level.QUICK, Reading(bivariate=False)),
    ),
)
