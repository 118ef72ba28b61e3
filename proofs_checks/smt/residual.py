"""Claim 12 by SMT: who wins in the linear model, over all real variances, targets and scales.

Shows: for cells of the sizes listed, that sharing beats pruning on sign average where u and e are ordered
alike, loses where they are ordered oppositely, never loses where the scales are |w|, and needs level cells;
with counter-examples where each condition is dropped. A draw's sharing keeps sum over cells of
(sum u e)/u(cell), pruning the share m/n of sum e.
Does not show: larger cells (the symbolic room writes the difference as a sum over pairs).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import z3

from proofs_checks.check import Level
from proofs_checks.smt.solver import Statement, both_ways, reals


def products(u: list[Any], e: list[Any]) -> Any:
    """Sum of u e."""
    return z3.Sum([a * b for a, b in zip(u, e, strict=True)])


def cells(level: Level) -> range:
    """Weights in a cell."""
    return range(2, level.pick(4, 6, 7) + 1)


def sums(steps: list[Any]) -> list[Any]:
    """Values in order, from their increments."""
    return [z3.Sum(steps[: i + 1]) for i in range(len(steps))]


def shares(level: Level, direction: int, ordered: bool) -> Iterator[Statement]:
    """What sharing keeps of a cell against pruning: at least (direction 1) or at most (-1) as much.

    u > 0 rises; e rises with it, falls (direction -1), or is in no order.
    """
    for size in cells(level):
        du, de = reals("du", size), reals("de", size)
        u, e = sums(du), sums(de)[::direction] if ordered else de
        gain = size * products(u, e) - z3.Sum(u) * z3.Sum(e)
        given = [du[0] > 0, *(v >= 0 for v in du + de)]
        yield Statement(f"{size} in a cell", direction * gain >= 0, given)


def scales(level: Level, known: bool) -> Iterator[Statement]:
    """Sharing keeps at least pruning's share of a cell, lambda = |w| or any."""
    for size in range(2, level.pick(3, 3, 4) + 1):
        s, w, scale = reals("s", size), reals("w", size), reals("lambda", size)
        u = [a * a * v for a, v in zip(scale, s, strict=True)]
        e = [a * a * v for a, v in zip(w, s, strict=True)]
        given = [v > 0 for v in s + w + scale]
        if known:  # lambda = |w| makes u = e, so that one letter does for both
            u = e = reals("e", size)
            given = [v > 0 for v in e]
        yield Statement(f"{size} in a cell", size * products(u, e) >= z3.Sum(u) * z3.Sum(e), given)


def two_cells(level: Level, even: bool) -> Iterator[Statement]:
    """lambda = |w|, two cells: sharing keeps at least 2/n of sum e in the draw."""
    most = level.pick(2, 3, 3)
    for small in range(1, most + 1):
        for large in [small] if even else range(small + 1, most + 2):
            e, f = reals("e", small), reals("f", large)
            one, two = z3.Sum(e), z3.Sum(f)
            kept = products(e, e) * two + products(f, f) * one  # times u(cell) of both
            claim = (small + large) * kept >= 2 * (one + two) * one * two
            yield Statement(f"cells of {small} and {large}", claim, [v > 0 for v in e + f])


CHECKS = (
    *both_ways(
        12,
        "ordered alike",
        "k sum ue >= sum u sum e: fold wins in the cell if u and e are ordered alike",
        "ordered alike",
        lambda level: shares(level, 1, True),
        lambda level: shares(level, 1, False),
    ),
    *both_ways(
        12,
        "ordered oppositely",
        "k sum ue <= sum u sum e: pruning wins in the cell if u and e are ordered oppositely",
        "ordered oppositely",
        lambda level: shares(level, -1, True),
        lambda level: shares(level, -1, False),
    ),
    *both_ways(
        12,
        "scales that know the weights",
        "lambda = |w| never loses, m | n",
        "lambda = |w|",
        lambda level: scales(level, True),
        lambda level: scales(level, False),
    ),
    *both_ways(
        12,
        "level cells",
        "lambda = |w| never loses in any draw with level cells",
        "cells of the same size",
        lambda level: two_cells(level, True),
        lambda level: two_cells(level, False),
    ),
)
