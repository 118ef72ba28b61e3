"""Claim 16 by exhaustion: what bounds v^2, B and max b in every draw of fold at once.

Shows: over every rotation, for the sizes and vectors listed, that v^2 and B stay below their sums over laps
(roots decided by rational bounds; a sum of roots is a whole number only if each root is), that max b is
attained, and exactly when the bound of v^2 is V.
Does not show: other vectors (Cauchy-Schwarz between two laps gives them all).
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.enclosures import root_below


def conditional(cells: Any, x: Any, y: Any) -> Any:
    """(draws,) v^2 = sum over i != j in one cell of x_i^2 y_j^2 + x_i y_i x_j y_j."""
    met = (cells[:, :, None] == cells[:, None, :]) & ~np.eye(len(x), dtype=bool)
    return (met * (np.outer(x * x, y * y) + np.outer(x * y, x * y))).sum(axis=(1, 2))


def energies(cells: Any, x: Any, m: int) -> Any:
    """(draws, m) b, the sum of x^2 in each cell."""
    return ((cells[:, :, None] == np.arange(m)) * (x * x)[:, None]).sum(axis=1)


def lap_sums(values: Any, m: int) -> list[int]:
    """Sums over laps."""
    return [int(values[first : first + m].sum()) for first in range(0, len(values), m)]


def roots(left: list[int], right: list[int]) -> Fraction:
    """Sum over p != q of the root of left_p right_q, from below; exact where they are whole."""
    pairs = product(range(len(left)), repeat=2)
    return sum((root_below(Fraction(left[p] * right[q])) for p, q in pairs if p != q), Fraction(0))


def bound_of_spread(x: Any, y: Any, m: int) -> Fraction:
    """(sum f)(sum g) - sum fg + (sum h)^2 - sum h^2."""
    f, g, h = (lap_sums(values**2, m) for values in (x * x, y * y, x * y))
    return roots(f, g) + roots(h, h)


def sizes(level: Level) -> Iterator[tuple[int, int]]:
    """(n, m) with at most three laps."""
    most = level.pick(3, 4, 5)
    return ((n, m) for n in range(1, most + 1) for m in range(1, n + 1))


def spread(level: Level) -> str:
    """v^2 of every draw, and so V."""
    entries, count = level.pick((-1, 2), (-1, 0, 2), (-1, 0, 2)), 0
    for n, m in sizes(level):
        for x, y in product(product(entries, repeat=n), repeat=2):
            require_spread(n, m, np.array(x), np.array(y), 1)
            count += 1
    return f"n <= {level.pick(3, 4, 5)}, x and y of {entries}: {count} cases, every draw"


def require_spread(n: int, m: int, x: Any, y: Any, share: Fraction | int) -> None:
    """Do nothing if v^2 is at most this share of its bound in every draw."""
    found, bound = int(conditional(u.fold_cells(n, m), x, y).max()), share * bound_of_spread(x, y, m)
    require(found <= bound, f"n={n}, m={m}, x={x}, y={y}: v^2 = {found} in some draw, bound {bound}")


def energy(level: Level) -> str:
    """B <= (sum f)^2, and max over draws and cells of b = sum over laps of max x^2."""
    count = 0
    for n, m in sizes(level):
        for x in product(range(4), repeat=n):
            require_energy(n, m, np.array(x))
            count += 1
    return f"n <= {level.pick(3, 4, 5)}, x of 0 .. 3: {count} cases, every draw"


def require_energy(n: int, m: int, x: Any, laps: int | None = None) -> None:
    """Do nothing if B is within its bound and max b is the sum of the largest x^2 of the first laps."""
    b = energies(u.fold_cells(n, m), x, m)
    f = lap_sums(x**4, m)
    found, bound = int((b * b).sum(axis=1).max()), sum(f) + roots(f, f)
    require(found <= bound, f"n={n}, m={m}, x={x}: B = {found} in some draw, bound {bound}")
    tops = [int(max(x[first : first + m] ** 2)) for first in range(0, n, m)][:laps]
    require(b.max() == sum(tops), f"n={n}, m={m}, x={x}: max b = {b.max()}, formula {sum(tops)}")


def equality(level: Level) -> str:
    """m | n, |x|, |y| and xy constant: the bound of v^2 is V, and v^2 in every draw."""
    most = level.pick(4, 6, 8)
    for n in range(1, most + 1):
        for m in (m for m in range(1, n + 1) if n % m == 0):
            for signs in u.all_signs(n):
                require_equal(n, m, 2 * signs, 3 * signs)
    return f"m | n <= {most}, |x| = 2, |y| = 3, all signs of x, y along them"


def require_equal(n: int, m: int, x: Any, y: Any) -> None:
    """Do nothing if the bound is V and every v^2."""
    found = set(conditional(u.fold_cells(n, m), x, y).tolist())
    bound = bound_of_spread(x, y, m)
    require(found == {bound}, f"n={n}, m={m}, x={x}, y={y}: v^2 in {found}, bound {bound}")


def inequality(level: Level) -> str:
    """The bound is above V where xy has both signs, and on ragged laps of a flat vector."""
    most = level.pick(4, 5, 6)
    for n in range(2, most + 1):
        for m in range(1, n):
            flat = np.ones(n, dtype=np.int64)
            if n % m:
                require_above(n, m, flat, flat)
            for y in u.all_signs(n):
                if abs(y.sum()) < n:
                    require_above(n, m, flat, y)
    return f"1 <= m < n <= {most}, x = 1, every y of both signs; y = 1 too where m does not divide n"


def require_above(n: int, m: int, x: Any, y: Any) -> None:
    """Do nothing if the bound exceeds V, the mean of v^2."""
    found, bound = conditional(u.fold_cells(n, m), x, y), bound_of_spread(x, y, m)
    mean = Fraction(int(found.sum()), len(found))
    require(bound > mean, f"n={n}, m={m}, x={x}, y={y}: V = {mean}, bound {bound}")


CHECKS = (
    Check(
        16,
        "v^2 in every draw",
        "v^2 <= (sum f)(sum g) - sum fg + (sum h)^2 - sum h^2; f, g, h roots of lap sums of x^4, y^4, (xy)^2",
        "exhaustive",
        spread,
        "half the bound",
        lambda: require_spread(4, 2, np.ones(4, dtype=int), np.ones(4, dtype=int), Fraction(1, 2)),
    ),
    Check(
        16,
        "energies in every draw",
        "B <= (sum f)^2; max b <= sum over laps of max x^2, attained",
        "exhaustive",
        energy,
        "one lap of two",
        lambda: require_energy(4, 2, np.array([1, 2, 1, 2]), 1),
    ),
    Check(
        16,
        "where the bound of v^2 is V",
        "for constant |x|, |y| and xy and m | n, in every draw",
        "exhaustive",
        equality,
        "ragged laps",
        lambda: require_equal(3, 2, np.ones(3, dtype=int), np.ones(3, dtype=int)),
    ),
    Check(
        16,
        "where it is not",
        "fails for flat |x|, |y| if xy has both signs or m does not divide n: 4 sqrt(2), not 4, at n=3, m=2",
        "exhaustive",
        inequality,
        "xy constant and m | n",
        lambda: require_above(4, 2, np.ones(4, dtype=int), np.ones(4, dtype=int)),
        scope="fails outside",
    ),
)
