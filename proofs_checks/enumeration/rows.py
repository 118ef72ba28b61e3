"""Claim 17 by enumeration: rows of a pruned table that are all zero, and what a row of a shared one reads.

Shows: for the tables and sizes listed, over every subset, mask, rotation and place of a row, the number of
zero rows and of distinct cells; that a shared row is zero exactly where the bank is; how often rows coincide.
Does not show: larger tables; that a bank with a continuous law has no zeros, which is measure theory.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from math import comb
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require


def tables(most: int) -> Iterator[tuple[int, int]]:
    """(N, d) of every table with at most this many entries."""
    return ((n, d) for n in range(1, most + 1) for d in range(1, most // n + 1))


def zero_rows(universe: u.Universe, width: int) -> Any:
    """(draws,) all-zero rows of the table."""
    return (universe.signs.reshape(len(universe.signs), -1, width) == 0).all(axis=2).sum(axis=1)


def pruned(level: Level) -> str:
    """N C(Nd-d, m)/C(Nd, m) zero rows on average, at least N - m always, N - m in some draw (m <= N)."""
    most = level.pick(8, 12, 16)
    for rows, width in tables(most):
        for m in range(1, rows * width + 1):
            require_zero_rows(rows, width, m, comb(rows * width - width, m))
    return f"every table of at most {most} entries, every m and subset"


def require_zero_rows(rows: int, width: int, m: int, ways: int) -> None:
    """Do nothing if ``ways`` subsets miss a given row on average, and N - m is the least number missed."""
    found = zero_rows(u.keep_exact(rows * width, m), width)
    name = f"{rows} x {width}, m={m}"
    mean, expected = Fraction(int(found.sum()), len(found)), Fraction(rows * ways, len(found))
    require(mean == expected, f"{name}: {mean} zero rows on average, not {expected}")
    require(found.min() == max(rows - m, 0), f"{name}: {found.min()} zero rows at least")


def by_itself(level: Level) -> str:
    """Bernoulli: N(1 - m/(Nd))^d on average, but no least number: some mask has no zero row."""
    most = level.pick(8, 10, 13)
    for rows, width in tables(most):
        for m in range(1, rows * width):
            require_mean_only(rows, width, m, u.keep_bernoulli(rows * width, m))
    return f"every table of at most {most} entries, 1 <= m < Nd, every mask"


def require_mean_only(rows: int, width: int, m: int, universe: u.Universe) -> None:
    """Do nothing if N(1 - m/(Nd))^d rows are zero on average, and none in some draw."""
    found = zero_rows(universe, width)
    mean = Fraction(int(found @ universe.weights), universe.total)
    expected = rows * (1 - Fraction(m, rows * width)) ** width
    require(mean == expected, f"{rows} x {width}, m={m}: {mean} zero rows on average, not {expected}")
    require(found.min() == 0, f"{rows} x {width}, m={m}: {found.min()} zero rows at least")


def row(first: int, width: int, m: int, shifts: tuple[int, ...]) -> list[int]:
    """Cells of ``width`` weights from this place on, with these shifts of their laps."""
    return [(shifts[i // m] + i % m) % m for i in range(first, first + width)]


def distinct(level: Level) -> str:
    """Never fewer than min(m, ceil(d/2)) cells, attained; d of them inside a lap; a + b - ab/m when cut."""
    most = level.pick(5, 7, 9)
    for m in range(1, most + 1):
        for width in range(1, 2 * m + 2):
            require_least(width, m, min(m, -(-width // 2)))
        for width in range(1, m + 1):
            for first in range(m):
                require_mean(first, width, m)
    return f"m <= {most}, d <= 2m + 1, every place and rotation; means for d <= m"


def require_least(width: int, m: int, least: int) -> None:
    """Do nothing if over all places and rotations of up to four laps a row reads this many cells at least."""
    found = min(
        len(set(row(first, width, m, shifts)))
        for first in range(m)
        for shifts in product(range(1), *[range(m)] * ((first + width - 1) // m))
    )
    require(found == least, f"d={width}, m={m}: {found} cells at least, not {least}")


def require_mean(first: int, width: int, m: int) -> None:
    """Do nothing if a row cut into a + b reads a + b - ab/m cells on average, always d inside a lap."""
    found = [len(set(row(first, width, m, (0, shift)))) for shift in range(m)]
    tail = max(0, first + width - m)
    expected = width - Fraction((width - tail) * tail, m)
    mean = Fraction(sum(found), m)
    require(mean == expected, f"d={width}, m={m}, place {first}: {mean} cells on average, not {expected}")
    require(tail or set(found) == {width}, f"d={width}, m={m}, place {first}: {found} cells")


def zero_where_bank_is(level: Level) -> str:
    """w = S' theta on a row is zero iff theta is, on every cell that the row reads."""
    most = level.pick(2, 2, 3)
    for m in range(1, most + 1):
        for cells, sign in product(u.fold_cells(2 * m, m), u.all_signs(2 * m)):
            shared = sign[:, None] * (cells[:, None] == np.arange(m))
            for bank, width in product(u.hashed_cells(m, 3) - 1, range(1, m + 1)):
                require_zero_iff(shared @ bank, bank, cells, width)
    return f"d <= m <= {most}, two laps, every draw and place, banks of -1, 0, +1"


def require_zero_iff(w: Any, bank: Any, cells: Any, width: int) -> None:
    """Do nothing if each row of the weights vanishes exactly where the bank does on its cells."""
    for first in range(len(w) - width + 1):
        read = cells[first : first + width]
        vanishes = not w[first : first + width].any()
        require(vanishes == (not bank[read].any()), f"theta={bank}, row reads {read}: zero {vanishes}")


def coincidences(level: Level) -> str:
    """Rows of different laps, d <= m and not cut, read the same cells in order with probability 1/m."""
    most = level.pick(5, 7, 9)
    for m in range(1, most + 1):
        for width in range(1, m + 1):
            for one, other in product(range(m - width + 1), repeat=2):
                require_coincidence(one, m + other, width, m, Fraction(1, m))
    return f"d <= m <= {most}, every two uncut rows of two laps, every rotation"


def require_coincidence(one: int, other: int, width: int, m: int, chance: Fraction) -> None:
    """Do nothing if rows at these places read the same cells with this probability."""
    laps = (max(one, other) + width - 1) // m + 1
    drawn = list(product(range(m), repeat=laps))
    met = sum(row(one, width, m, shifts) == row(other, width, m, shifts) for shifts in drawn)
    found = Fraction(met, len(drawn))
    require(found == chance, f"m={m}, d={width}, places {one} and {other}: {found}, not {chance}")


def cut_rows(level: Level) -> str:
    """Rows that a lap end cuts coincide with 1/m^2 or less, rows of one lap never."""
    most = level.pick(3, 4, 5)
    for m in range(2, most + 1):
        for width in range(2, m + 1):
            cut, whole = range(m - width + 1, m), range(m - width + 1)
            for one, other in product(cut, whole):
                require_coincidence(one, 2 * m + other, width, m, Fraction(1, m**2))
                require_coincidence(one, m + other, width, m, Fraction(0))
            for one, other in product(cut, repeat=2):
                require_coincidence(one, 2 * m + other, width, m, Fraction(1, m ** (2 + (one != other))))
            for one, other in product(whole, repeat=2):
                require_coincidence(one, other, width, m, Fraction(one == other))
    return f"2 <= d <= m <= {most}, every rotation of up to four laps"


def hashed_rows(level: Level) -> str:
    """A hashed row reads m(1 - (1-1/m)^d) < d cells on average; two rows coincide with 1/m^d."""
    most = level.pick(4, 5, 6)
    for m, width in product(range(2, most + 1), range(2, most + 1)):
        require_hashed(u.hashed_cells(width, m), m)
        if m ** (2 * width) <= 10**6:
            pairs = u.hashed_cells(2 * width, m).reshape(-1, 2, width)
            met = Fraction(int((pairs[:, 0] == pairs[:, 1]).all(axis=1).sum()), len(pairs))
            require(met == Fraction(1, m**width), f"m={m}, d={width}: hashed rows coincide with {met}")
    return f"2 <= m, d <= {most}, every map"


def require_hashed(cells: Any, m: int) -> None:
    """Do nothing if these rows read m(1 - (1-1/m)^d) < d cells on average."""
    width = cells.shape[1]
    found = Fraction(sum(len(set(read)) for read in cells.tolist()), len(cells))
    expected = m * (1 - (1 - Fraction(1, m)) ** width)
    require(found == expected < width, f"m={m}, d={width}: {found} cells on average, formula {expected}")


CHECKS = (
    Check(
        17,
        "zero rows of a pruned table",
        "N C(Nd-d, m)/C(Nd, m) on average, at least N - m always (attained), m of Nd weights kept",
        "enumeration",
        pruned,
        "C(Nd-d, m-1) in the numerator",
        lambda: require_zero_rows(3, 2, 2, comb(4, 1)),
    ),
    Check(
        17,
        "zero rows, Bernoulli",
        "N(1 - m/(Nd))^d on average; the least number N - m fails: some mask leaves no row zero",
        "enumeration",
        by_itself,
        "an exact subset",
        lambda: require_mean_only(3, 2, 2, u.keep_exact(6, 2)),
        scope="fails outside",
    ),
    Check(
        17,
        "cells of a row",
        "at least min(m, ceil(d/2)), attained; d inside a lap; a + b - ab/m on average when cut into a + b",
        "enumeration",
        distinct,
        "ceil(d/2) + 1",
        lambda: require_least(4, 4, 3),
    ),
    Check(
        17,
        "zero only with the bank",
        "a shared row is zero iff theta is zero on the cells that it reads",
        "enumeration",
        zero_where_bank_is,
        "weights dropped by pruning",
        lambda: require_zero_iff(np.array([0, 0]), np.array([1, 1]), np.array([0, 1]), 2),
    ),
    Check(
        17,
        "rows that coincide",
        "two rows of different laps, d <= m, neither cut, read the same cells in order with 1/m",
        "enumeration",
        coincidences,
        "rows of one lap",
        lambda: require_coincidence(0, 2, 2, 4, Fraction(1, 4)),
    ),
    Check(
        17,
        "rows that are cut",
        "1/m fails for cut rows: 1/m^2 if cut alike or one is whole, 1/m^3 if cut differently; 0 in one lap",
        "enumeration",
        cut_rows,
        "whole rows",
        lambda: require_coincidence(0, 4, 2, 2, Fraction(1, 4)),
        scope="fails outside",
    ),
    Check(
        17,
        "hashed rows",
        "d cells fails for hashing: m(1 - (1-1/m)^d) on average; rows coincide with 1/m^d",
        "enumeration",
        hashed_rows,
        "rows of a fold",
        lambda: require_hashed(u.fold_cells(2, 2), 2),
        scope="fails outside",
    ),
)
