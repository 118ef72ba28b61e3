"""Claim 5 by SMT: when longer chunks are never worse, over all real vectors.

Shows: at each size listed, the order for all x and y, and a vector on which it fails for every pair of
lengths that do not nest. Proofs take the squares t_ij^2 = (x_i y_j + x_j y_i)^2 = q_ij + q_ji with t_ij free:
more than is needed. Counter-examples are norms, x = y.
Does not show: larger sizes.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import z3

from proofs_checks.check import Level
from proofs_checks.smt.solver import Statement, both_ways, reals

Law = Any  # probability that i and j meet, from (i, j)


def chunk(m: int, length: int) -> Law:
    """1/m across chunks."""
    return lambda i, j: Fraction(i // length != j // length, m)


def block(m: int, length: int) -> Law:
    """(M-|d|)^+/M^2 across blocks, M = m-Z+1 starts, d the difference of offsets."""
    starts = m - length + 1

    def law(i: int, j: int) -> Fraction:
        if i // length == j // length:
            return Fraction(0)
        return Fraction(max(0, starts - abs(i % length - j % length)), starts**2)

    return law


def in_squares(n: int, law: Law, length: int = 1) -> Any:
    """The variance with a free number for every x_i y_j + x_j y_i, the same for all pairs of two blocks."""
    free = {(i, j): z3.Real(f"t{i // length}_{j // length}") for j in range(n) for i in range(j)}
    return z3.Sum([z3.RealVal(0)] + [exact(law(*pair)) * t * t for pair, t in free.items()])


def of_norm(n: int, law: Law) -> Any:
    """The variance of |Sx|^2."""
    x = reals("x", n)
    terms = [4 * exact(law(i, j)) * x[i] * x[i] * x[j] * x[j] for j in range(n) for i in range(j)]
    return z3.Sum([z3.RealVal(0), *terms])


def exact(number: Fraction) -> Any:
    """As the solver writes it."""
    return z3.RealVal(f"{number.numerator}/{number.denominator}")


def lengths(level: Level, nested: bool) -> Iterator[tuple[int, int, int, int]]:
    """(n, m, Z, Z') with Z < Z' <= m, where Z divides Z' or n <= Z', or where neither is so."""
    most = level.pick(5, 7, 9)
    for n in range(2, most + 1):
        for m in range(2, n + 1):
            for short in range(1, m):
                for long in range(short + 1, m + 1):
                    if (long % short == 0 or n <= long) == nested:
                        yield n, m, short, long


def nesting(level: Level) -> Iterator[Statement]:
    """V(Z') <= V(Z) where they nest."""
    for n, m, short, long in lengths(level, True):
        claim = in_squares(n, chunk(m, long)) <= in_squares(n, chunk(m, short))
        yield Statement(f"n={n}, m={m}, Z={short}, Z'={long}", claim)


def no_nesting(level: Level) -> Iterator[Statement]:
    """V(Z') <= V(Z) where they do not."""
    for n, m, short, long in lengths(level, False):
        claim = of_norm(n, chunk(m, long)) <= of_norm(n, chunk(m, short))
        yield Statement(f"n={n}, m={m}, Z={short}, Z'={long}", claim)


def blocks(level: Level) -> Iterator[tuple[int, int, int]]:
    """(n, m, Z) with more than one block and 1 < Z < m."""
    most = level.pick(4, 6, 8)
    for n in range(3, most + 1):
        for m in range(3, n + 1):
            for length in range(2, m):
                yield n, m, length


def bounded(level: Level) -> Iterator[Statement]:
    """V_block <= m/(m-Z+1) V_chunk."""
    for n, m, z in blocks(level):
        limit = exact(Fraction(m, m - z + 1)) * in_squares(n, chunk(m, z))
        yield Statement(f"n={n}, m={m}, Z={z}", in_squares(n, block(m, z)) <= limit)


def unbounded(level: Level) -> Iterator[Statement]:
    """V_block <= V_chunk."""
    for n, m, z in blocks(level):
        claim = of_norm(n, block(m, z)) <= of_norm(n, chunk(m, z))
        yield Statement(f"n={n}, m={m}, Z={z}", claim)


def constant(level: Level) -> Iterator[Statement]:
    """V_block >= V_chunk where |x|, |y| and sign(xy) are constant on whole blocks: so are the squares."""
    for n, m, z in blocks(level):
        if n % z == 0:
            claim = in_squares(n, block(m, z), z) >= in_squares(n, chunk(m, z), z)
            yield Statement(f"n={n}, m={m}, Z={z}", claim)


def not_constant(level: Level) -> Iterator[Statement]:
    """V_block >= V_chunk for any x = y."""
    for n, m, z in blocks(level):
        claim = of_norm(n, block(m, z)) >= of_norm(n, chunk(m, z))
        if n > z + 1:
            yield Statement(f"n={n}, m={m}, Z={z}", claim)


CHECKS = (
    *both_ways(
        5,
        "longer chunks",
        "V_chunk(Z') <= V_chunk(Z) for all x, y if Z divides Z' or n <= Z'",
        "Z divides Z' or n <= Z'",
        nesting,
        no_nesting,
    ),
    *both_ways(
        5,
        "blocks against chunks",
        "V_block <= m/(m-Z+1) V_chunk",
        "the factor m/(m-Z+1)",
        bounded,
        unbounded,
    ),
    *both_ways(
        5,
        "blocks on constant vectors",
        "V_block >= V_chunk if Z | n and |x|, |y|, sign(xy) are constant on each block",
        "constant on each block",
        constant,
        not_constant,
    ),
)
