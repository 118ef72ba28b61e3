"""Claim 20 by SMT: the bounds that no map can beat.

Shows: at the sizes listed, that loads in whole numbers collide at least as often as level ones; that a Gram
matrix of m rows has tr G^2 >= (tr G)^2/m, with equality only for multiples of the identity; and the bound on
the mean over the sphere for mixtures of two draws. Each with values that beat it once its condition is
dropped.
Does not show: larger sizes, nor the moments of the sphere.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import z3

from proofs_checks.check import Level
from proofs_checks.smt.solver import Statement, both_ways, reals


def loads(level: Level, whole: bool) -> Iterator[Statement]:
    """Ordered pairs that meet, from the loads of m cells: at least r k(k-1) + (m-r)(k-1)(k-2)."""
    for m in range(2, level.pick(3, 4, 5) + 1):
        for n in range(m + 1, 2 * m + level.pick(2, 3, 4)):
            if whole or n % m:  # level loads are whole numbers if m | n
                laps = -(-n // m)
                last = n - (laps - 1) * m
                load = [z3.Int(f"load{c}") for c in range(m)] if whole else reals("load", m)
                meetings = z3.Sum([v * (v - 1) for v in load])
                fewest = last * laps * (laps - 1) + (m - last) * (laps - 1) * (laps - 2)
                given = [z3.Sum(load) == n, *(v >= 0 for v in load)]
                yield Statement(f"n={n}, m={m}", meetings >= fewest, given)


def gram(size: int) -> tuple[list[Any], list[Any], Any, Any]:
    """Diagonal, entries above it, tr G, tr G^2 of a symmetric matrix."""
    diagonal = reals("g", size)
    above = [z3.Real(f"g{i}_{j}") for j in range(size) for i in range(j)]
    squares = [v * v for v in diagonal] + [2 * v * v for v in above]
    return diagonal, above, z3.Sum(diagonal), z3.Sum(squares)


def orthogonal(diagonal: list[Any], above: list[Any]) -> list[Any]:
    """Rows at right angles: keeps counter-examples to matrices that are of the form S S'."""
    return [v >= 0 for v in diagonal] + [v == 0 for v in above]


def traces(level: Level, extra: int) -> Iterator[Statement]:
    """tr G^2 >= (tr G)^2/m for a Gram matrix of m rows, or of more."""
    for m in range(1, level.pick(3, 5, 7) + 1):
        diagonal, above, trace, squared = gram(m + extra)
        yield Statement(f"m={m}", m * squared >= trace * trace, orthogonal(diagonal, above) if extra else ())


def tight(level: Level, attained: bool) -> Iterator[Statement]:
    """G = (n/m) I if tr G = n and tr G^2 = n^2/m."""
    for m in range(2, level.pick(3, 4, 5) + 1):
        for n in range(m, 2 * m + 1):
            diagonal, above, trace, squared = gram(m)
            given = [trace == n, *([m * squared == n * n] if attained else orthogonal(diagonal, above))]
            claim = z3.And([m * v == n for v in diagonal] + [v == 0 for v in above])
            yield Statement(f"n={n}, m={m}", claim, given)


def sphere(level: Level, unbiased: bool) -> Iterator[Statement]:
    """Mean over the sphere of Var|Sx|^2 for a mixture of two draws, each with its traces."""
    share = z3.Real("share")
    for m in range(1, level.pick(2, 3, 4) + 1):
        for n in range(m + 1, 2 * m + 2):
            t, squared = reals("t", 2), reals("square", 2)
            weights = (share, 1 - share)
            given = [
                share >= 0,
                share <= 1,
                *(v >= 0 for v in t),
                *(m * s >= v * v for s, v in zip(squared, t, strict=True)),
            ]
            if unbiased:
                given.append(z3.Sum([p * v for p, v in zip(weights, t, strict=True)]) == n)
            fourth = z3.Sum([p * (2 * s + v * v) for p, s, v in zip(weights, squared, t, strict=True)])
            bound = Fraction(2 * (n - m), m * (n + 2))
            claim = fourth - n * (n + 2) >= z3.Q(bound.numerator, bound.denominator) * n * (n + 2)
            yield Statement(f"n={n}, m={m}", claim, given)


CHECKS = (
    *both_ways(
        20,
        "fewest meetings",
        "sum of load (load - 1) >= r k(k-1) + (m-r)(k-1)(k-2): 2/n^2 times the bound at the flat vector",
        "loads are whole numbers",
        lambda level: loads(level, True),
        lambda level: loads(level, False),
    ),
    *both_ways(
        20,
        "traces",
        "tr K^2 >= (tr K)^2/m for K = S'S with m rows",
        "m rows (m + 1 in their place)",
        lambda level: traces(level, 0),
        lambda level: traces(level, 1),
    ),
    *both_ways(
        20,
        "tight frames",
        "the bound is attained only if S S' = (n/m) I",
        "attained",
        lambda level: tight(level, True),
        lambda level: tight(level, False),
    ),
    *both_ways(
        20,
        "mean over the sphere",
        "E_x Var|Sx|^2 >= 2(n-m)/(m(n+2)) for every unbiased map",
        "unbiased, E tr K = n",
        lambda level: sphere(level, True),
        lambda level: sphere(level, False),
    ),
)
