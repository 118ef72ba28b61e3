"""Claim 10 by exhaustion: how many cache lines consecutive weights of a fold lie in on average.

Shows: for every m, Z, B in the ranges given, the mean over every rotation, inside a lap and from any place
of it, and over every map for hashing; the bank begins at a line.
Does not show: larger m, Z, B.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.exhaustive.traffic import distinct, windows


def in_a_lap(level: Level) -> str:
    """Inside a lap at most ceil((Z-1)/B) + 1 lines (or the whole bank), 1 + (Z-1)/B on average."""
    most = level.pick(12, 36, 64)
    for m, line, length in whole_lines(most):
        found = lap_lines(m, line, length)
        most_found, bound = int(found.max()), min(m // line, -(-(length - 1) // line) + 1)
        require(most_found == bound, f"m={m}, B={line}, Z={length}: {most_found} lines, bound {bound}")
        if length <= m - line + 1:
            require_mean(found, 1 + Fraction(length - 1, line), f"m={m}, B={line}, Z={length}")
    return f"B | m, Z <= m <= {most}, every rotation; the mean for Z <= m - B + 1"


def whole_lines(most: int) -> Iterator[tuple[int, int, int]]:
    """(m, B, Z) with B a divisor of m and Z <= m."""
    for m in range(1, most + 1):
        for line in (b for b in range(1, m + 1) if m % b == 0):
            yield from ((m, line, length) for length in range(1, m + 1))


def lap_lines(m: int, line: int, length: int) -> Any:
    """(m,) lines under Z weights inside a lap, for each rotation."""
    return distinct((np.arange(m)[:, None] + np.arange(length)) % m // line)


def require_mean(counts: Any, expected: Fraction, name: str) -> None:
    """Do nothing if the counts have this mean."""
    found = Fraction(int(counts.sum()), counts.size)
    require(found == expected, f"{name}: {found} lines on average, formula {expected}")


def around_the_lap(level: Level) -> str:
    """Z > m - B + 1: the last line is the first again, the mean is lower by (Z - m + B - 1)/B."""
    most = level.pick(12, 36, 64)
    for m, line, length in whole_lines(most):
        if length > m - line + 1:
            less = Fraction(length - m + line - 1, line)
            expected = 1 + Fraction(length - 1, line) - less
            require_mean(lap_lines(m, line, length), expected, f"m={m}, B={line}, Z={length}")
    return f"B | m <= {most}, m - B + 1 < Z <= m"


def broken_line(level: Level) -> str:
    """B does not divide m: 1 + (Z-1) ceil(m/B)/m lines on average, as lines are shorter on average."""
    most = level.pick(12, 36, 64)
    for m, line in product(range(2, most + 1), repeat=2):
        if m % line:
            for length in range(2, m - line + 2):
                require_longer(m, line, length)
    return f"B < m <= {most}, B no divisor of m, 2 <= Z <= m - B + 1"


def require_longer(m: int, line: int, length: int) -> None:
    """Do nothing if the mean in a lap is 1 + (Z-1) ceil(m/B)/m, more than 1 + (Z-1)/B."""
    expected = 1 + Fraction((length - 1) * -(-m // line), m)
    require_mean(lap_lines(m, line, length), expected, f"m={m}, B={line}, Z={length}")
    usual = 1 + Fraction(length - 1, line)
    require(expected > usual, f"m={m}, B={line}, Z={length}: no more than {usual}")


def across_laps(level: Level) -> str:
    """Over all places f(Z) + at most (1-1/B)(Z-1)/m; exactly a sum over the place of the lap end."""
    most = level.pick(8, 14, 20)
    for m, line, length in whole_lines(most):
        counts = distinct(windows(m, length) // line)
        f = [1 + Fraction(a - 1 - max(0, a - m + line - 1), line) for a in range(length + 1)]
        cut = [f[a] + f[length - a] - Fraction(line, m) * f[a] * f[length - a] for a in range(1, length)]
        mean = ((m - length + 1) * f[length] + sum(cut)) / m
        require_mean(counts, mean, f"m={m}, B={line}, Z={length}")
        added, most_added = mean - f[length], (1 - Fraction(1, line)) * Fraction(length - 1, m)
        if length <= m - line + 1:
            require(added <= most_added, f"m={m}, B={line}, Z={length}: lap ends add {added}")
    return f"B | m, Z <= m <= {most}, every place and both rotations; the bound for Z <= m - B + 1"


def hashed(level: Level) -> str:
    """(m/B)(1 - (1-B/m)^Z) lines on average under Z independent cells."""
    most = level.pick(4, 6, 8)
    for m, line, length in whole_lines(most):
        if m**length <= 2**16:
            require_hashed(u.hashed_cells(length, m), m, line)
    return f"B | m, Z <= m <= {most}, every map of at most 2^16"


def require_hashed(cells: Any, m: int, line: int) -> None:
    """Do nothing if these cells lie in (m/B)(1 - (1-B/m)^Z) lines on average."""
    expected = Fraction(m, line) * (1 - (1 - Fraction(line, m)) ** cells.shape[1])
    require_mean(distinct(cells // line), expected, f"m={m}, B={line}, Z={cells.shape[1]}")


CHECKS = (
    Check(
        10,
        "lines inside a lap",
        "aligned, B | m: at most ceil((Z-1)/B) + 1, met; 1 + (Z-1)/B on average for Z <= m - B + 1",
        "exhaustive",
        in_a_lap,
        "Z/B on average",
        lambda: require_mean(lap_lines(8, 2, 4), Fraction(2), "m=8, B=2, Z=4"),
    ),
    Check(
        10,
        "around the lap",
        "the mean 1 + (Z-1)/B fails for Z > m - B + 1: lower by (Z-m+B-1)/B",
        "exhaustive",
        around_the_lap,
        "1 + (Z-1)/B",
        lambda: require_mean(lap_lines(8, 4, 6), 1 + Fraction(5, 4), "m=8, B=4, Z=6"),
        scope="fails outside",
    ),
    Check(
        10,
        "a line cut short",
        "the mean 1 + (Z-1)/B fails unless B | m: 1 + (Z-1) ceil(m/B)/m, which is more",
        "exhaustive",
        broken_line,
        "B | m",
        lambda: require_longer(8, 2, 4),
        scope="fails outside",
    ),
    Check(
        10,
        "lines from any place",
        "(1-(Z-1)/m) f(Z) + (1/m) sum_a [f(a) + f(Z-a) - (B/m) f(a) f(Z-a)] <= f(Z) + (1-1/B)(Z-1)/m, "
        "f the mean in a lap",
        "exhaustive",
        across_laps,
        "windows inside a lap",
        lambda: require_mean(distinct(windows(6, 4) // 2), Fraction(5, 2), "m=6, B=2, Z=4"),
    ),
    Check(
        10,
        "lines under hashing",
        "(m/B)(1 - (1-B/m)^Z) on average if B | m",
        "exhaustive",
        hashed,
        "cells of a fold",
        lambda: require_hashed(u.fold_cells(3, 4), 4, 2),
    ),
)
