"""Claim 6 by SMT: Cauchy-Schwarz over laps, over all real profiles.

Shows: at each size with m | n, fold's mean is at most that of pruning for all s, with equality only for
equal s; at each ragged size a profile s >= 0 for which it is not; and that two profiles must agree.
Does not show: larger sizes (the sum of squares in the symbolic room is for all).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import z3

from proofs_checks.check import Level
from proofs_checks.smt.solver import Statement, both_ways, reals


def fold(s: list[Any], t: list[Any], m: int) -> Any:
    """m E V: pairs in different laps."""
    laps = [range(low, min(low + m, len(s))) for low in range(0, len(s), m)]
    sums = [(z3.Sum([s[i] for i in lap]), z3.Sum([t[i] for i in lap])) for lap in laps]
    return z3.Sum(s) * z3.Sum(t) - z3.Sum([a * b for a, b in sums])


def prune(s: list[Any], t: list[Any], m: int) -> Any:
    """m E V of either pruning."""
    return (len(s) - m) * z3.Sum([a * b for a, b in zip(s, t, strict=True)])


def sizes(level: Level, even: bool) -> Iterator[tuple[int, int]]:
    """(n, m), m < n, with m | n or not."""
    most = level.pick(6, 10, 12)
    for n in range(2, most + 1):
        for m in range(1, n):
            if (n % m == 0) == even:
                yield n, m


def order(level: Level, even: bool) -> Iterator[Statement]:
    """Pruning is at least fold for all s >= 0."""
    for n, m in sizes(level, even):
        s = reals("s", n)
        yield Statement(f"n={n}, m={m}", prune(s, s, m) >= fold(s, s, m), [v >= 0 for v in s])


def equality(level: Level, even: bool) -> Iterator[Statement]:
    """They are equal only for equal s."""
    for n, m in sizes(level, even):
        s = reals("s", n)
        tie = prune(s, s, m) == fold(s, s, m)
        yield Statement(f"n={n}, m={m}", z3.And([v == s[0] for v in s]), [tie, *(v >= 0 for v in s)])


def profiles(level: Level, same: bool) -> Iterator[Statement]:
    """x and y with the same profile, or with two."""
    for n, m in sizes(level, True):
        s, t = reals("s", n), reals("t", n)
        given = [v >= 0 for v in s + t] + [a == b for a, b in zip(s, t, strict=True) if same]
        yield Statement(f"n={n}, m={m}", prune(s, t, m) >= fold(s, t, m), given)


CHECKS = (
    *both_ways(
        6,
        "pruning against fold",
        "(n/m-1) sum s^2 >= (1/m)[(sum s)^2 - sum_p s(lap p)^2] for every s if m | n",
        "m divides n",
        lambda level: order(level, True),
        lambda level: order(level, False),
    ),
    *both_ways(
        6,
        "where pruning and fold tie",
        "E V_prune = E V_fold only for equal s if m | n",
        "m divides n",
        lambda level: equality(level, True),
        lambda level: equality(level, False),
    ),
    *both_ways(
        6,
        "one profile",
        "E V_prune >= E V_fold if x and y have the same variance profile, m | n",
        "the same profile",
        lambda level: profiles(level, True),
        lambda level: profiles(level, False),
    ),
)
