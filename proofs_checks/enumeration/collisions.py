"""Claim 2 by enumeration: the probability that two weights share a cell.

Shows: at each size listed, p_ij over every draw is 1/m across chunks (hashed, chunk, fold; wrapped or ragged)
and (M-|d|)^+/M^2 for block, 0 within; that block's mean over whole chunks exceeds 1/m unless Z is 1 or m;
and which laws of the shifts give fold its p_ij: exactly those with uniform differences.
Does not show: other sizes and laws, nor what the shipped hash's ranges add (hash_ranges).
"""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, product
from math import gcd
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.polynomials import difference, meeting, quadratic


def apart(n: int, m: int, length: int) -> Any:
    """(n, n) Fractions: 1/m in different chunks of this length, 0 within."""
    return quadratic(n, lambda i, j: Fraction(int(i // length != j // length), m))


def block_chance(m: int, length: int, distance: int) -> Fraction:
    """(M-|d|)^+ / M^2, M = m-Z+1 starts."""
    starts = m - length + 1
    return Fraction(max(0, starts - abs(distance)), starts**2)


def unwrapped(n: int, m: int, length: int) -> Any:
    """(n, n) Fractions: block's probability across blocks, 0 within."""

    def chance(i: int, j: int) -> Fraction:
        inside = i // length == j // length
        return Fraction(0) if inside else block_chance(m, length, i % length - j % length)

    return quadratic(n, chance)


def require_chances(cells: Any, expected: Any, name: str) -> None:
    """Do nothing if every pair meets with this probability."""
    where = difference(meeting(cells), expected)
    require(not where, f"{name}: p_ij: {where}")


def stated(level: Level) -> str:
    """Every chunk and block length; fold is Z = m, hashed is Z = 1."""
    most = level.pick(5, 6, 7)
    for n in range(1, most + 1):
        for m in range(1, most + 1):
            for length in range(1, m + 1):
                name = f"Z={length}, n={n}, m={m}"
                require_chances(u.chunk_cells(n, m, length), apart(n, m, length), f"chunk {name}")
                require_chances(u.block_cells(n, m, length), unwrapped(n, m, length), f"block {name}")
    return f"1 <= Z <= m, n and m to {most}"


def block_mean(m: int, length: int) -> Fraction:
    """Mean of block's probability over all pairs of offsets of two whole blocks."""
    offsets = range(length)
    return sum((block_chance(m, length, a - b) for a in offsets for b in offsets), Fraction(0)) / length**2


def block_meets_more(level: Level) -> str:
    """At least 1/m on average, with equality iff Z is 1 or m."""
    most = level.pick(20, 40, 60)
    for m in range(1, most + 1):
        for length in range(1, m + 1):
            require_mean(m, length, equal=length in {1, m})
    return f"1 <= Z <= m <= {most}"


def require_mean(m: int, length: int, *, equal: bool) -> None:
    """Do nothing if block's mean is 1/m, or more where it should not be equal."""
    mean = block_mean(m, length)
    require(mean == Fraction(1, m) if equal else mean > Fraction(1, m), f"block {length}, m={m}: mean {mean}")


def works(n: int, m: int, shifts: Any) -> bool:
    """Whether this law of shifts gives fold's probabilities at n weights."""
    return not difference(meeting(u.shifted(n, m, shifts)), apart(n, m, m))


def uniform_differences(m: int, shifts: Any) -> bool:
    """Whether shift(p) - shift(q) is uniform mod m for each p != q."""
    pairs = combinations(range(shifts.shape[1]), 2)
    counts = (np.bincount((shifts[:, p] - shifts[:, q]) % m, minlength=m) for p, q in pairs)
    return all(m * count.max() == len(shifts) for count in counts)


def laws_of_shifts(level: Level) -> str:
    """Every uniform law on a set of shift vectors, every length of the last lap."""
    sizes = level.pick([(2, 2), (2, 3)], [(2, 2), (2, 3), (3, 2)], [(2, 2), (2, 3), (3, 2), (4, 2), (2, 4)])
    count = good = 0
    for m, laps in sizes:
        vectors = np.array(list(product(range(m), repeat=laps)))
        for chosen in range(1, 2 ** len(vectors)):
            shifts = vectors[(chosen >> np.arange(len(vectors))) & 1 == 1]
            for n in range((laps - 1) * m + 1, laps * m + 1):
                require_shifts(n, m, shifts, uniform_differences(m, shifts))
            count, good = count + 1, good + uniform_differences(m, shifts)
    return f"{count} laws, {good} of them with uniform differences, (m, laps) in {sizes}"


def require_shifts(n: int, m: int, shifts: Any, expected: bool) -> None:
    """Do nothing if this law of shifts gives fold's probabilities exactly when expected."""
    found = works(n, m, shifts)
    require(found == expected, f"n={n}, m={m}, shifts {shifts.tolist()}: 1/m across laps {found}")


def one_number(level: Level) -> str:
    """shift(p) = a p mod m works iff no prime factor of m is below k; a + b p iff the same."""
    most, laps = level.pick((8, 4), (12, 6), (20, 9))
    for m in range(1, most + 1):
        for k in range(1, laps + 1):
            enough = all(gcd(step, m) == 1 for step in range(1, k))
            enough_in_words = all(m % prime for prime in range(2, k))
            require(enough == enough_in_words, f"m={m}, k={k}: steps below k are units {enough}")
            multiples = np.arange(m)[:, None] * np.arange(k)
            require_shifts((k - 1) * m + 1, m, multiples % m, enough)
            turned = (np.arange(m)[:, None, None] + multiples).reshape(-1, k) % m
            require_shifts((k - 1) * m + 1, m, turned, enough)
    return f"m <= {most}, k <= {laps}"


CHECKS = (
    Check(
        2,
        "collision probabilities",
        "p_ij = 1/m across chunks or laps, (M-|d|)^+/M^2 across blocks, 0 within, last ones ragged",
        "enumeration",
        stated,
        "a block is taken to meet with 1/m",
        lambda: require_chances(u.block_cells(4, 3, 2), apart(4, 3, 2), "block Z=2, n=4, m=3"),
    ),
    Check(
        2,
        "blocks meet more often",
        "block's p averages at least 1/m over two whole blocks, with equality iff Z is 1 or m",
        "enumeration",
        block_meets_more,
        "equality at Z = 2, m = 3",
        lambda: require_mean(3, 2, equal=True),
    ),
    Check(
        2,
        "laws of the shifts",
        "fold's p_ij holds iff shift(p) - shift(q) is uniform mod m for each p != q",
        "enumeration",
        laws_of_shifts,
        "uniform shifts are taken to be enough: one shift for all laps",
        lambda: require_shifts(4, 2, np.array([[0, 0], [1, 1]]), expected=True),
    ),
    Check(
        2,
        "one number for all shifts",
        "shift(p) = a p mod m, and a + b p, give fold's p_ij iff no prime factor of m is below k",
        "enumeration",
        one_number,
        "m = 4, k = 3 is taken to work: 2 divides 4",
        lambda: require_shifts(9, 4, np.arange(4)[:, None] * np.arange(3) % 4, expected=True),
    ),
)
