"""Claim 8 by enumeration: with as many cells as weights, fold loses nothing.

Shows: at each size listed, n <= m makes every draw of fold injective and an isometry for all vectors; what
hashing leaves unused and varies instead; and that at n = m + 1 fold's worst case has grown only to 1/m.
Does not show: other sizes.
"""

from __future__ import annotations

from fractions import Fraction
from math import factorial
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.enumeration.inner_products import require_products
from proofs_checks.enumeration.worst_case import require_spike, require_supremum, slack_of_subset
from proofs_checks.polynomials import places, squares, variance_form


def isometry(level: Level) -> str:
    """S'S = 1 in every draw of fold with n <= m."""
    most = level.pick(5, 7, 9)
    for m in range(1, most + 1):
        for n in range(1, m + 1):
            require_isometry(u.fold(n, m), f"fold, n={n}, m={m}")
    return f"1 <= n <= m <= {most}, every draw"


def require_isometry(universe: u.Universe, name: str) -> None:
    """Do nothing if <Sx, Sy> = <x, y> for all x and y in every draw."""
    wrong = (universe.forms != np.eye(universe.n, dtype=np.int64)).any(axis=(1, 2))
    first = universe.cells[wrong.argmax()]
    require(not wrong.any(), f"{name}: cells {first} are not injective")


def unused(cells: Any, m: int) -> Fraction:
    """Expected share of cells without a weight."""
    used = (cells[:, :, None] == np.arange(m)).any(axis=1)
    return Fraction(int((~used).sum()), used.size)


def hashed_unused(level: Level) -> str:
    """(1 - 1/m)^n of the bank; at n = m it grows with m, below 1/e."""
    most = level.pick(4, 6, 7)
    for n in range(1, most + 1):
        for m in range(1, most + 1):
            require_unused(u.hashed_cells(n, m), m, (1 - Fraction(1, m)) ** n, f"hashed, n={n}, m={m}")
    below = sum((Fraction((-1) ** k, factorial(k)) for k in range(22)), Fraction(0))
    shares = [(1 - Fraction(1, m)) ** m for m in range(1, 200)]
    require(shares == sorted(set(shares)) and shares[-1] < below, "(1 - 1/m)^m does not grow to 1/e")
    return f"n and m to {most}; (1 - 1/m)^m increasing below 1/e to m = 199"


def require_unused(cells: Any, m: int, share: Fraction, name: str) -> None:
    """Do nothing if this share of the bank is unused in expectation."""
    require(unused(cells, m) == share, f"{name}: unused {unused(cells, m)} against {share}")


def hashed_varies(level: Level) -> str:
    """m V_hashed = sum_{i<j} (x_i y_j + x_j y_i)^2: 0 iff every term is."""
    most = level.pick(4, 5, 6)
    for n in range(1, most + 1):
        for m in range(1, most + 1):
            require_sum(n, m, +1)
    return f"n and m to {most}, for all x and y"


def require_sum(n: int, m: int, sign: int) -> None:
    """Do nothing if m V_hashed = sum_{i<j} (x_i y_j + sign x_j y_i)^2."""
    terms = places(np.triu(np.ones((n, n), dtype=bool), 1))
    expected = squares(terms + sign * terms.transpose(0, 2, 1))
    require_products(m * variance_form(u.hashed(n, m)), expected, f"hashed, n={n}, m={m}")


def one_more(level: Level) -> str:
    """At n = m + 1 the suprema of fold and of pruning are both 1/m."""
    most = level.pick(4, 5, 6)
    for m in range(1, most):
        require_supremum(m + 1, m, m, 2)
        require_spike(u.keep_exact(m + 1, m), slack_of_subset(m + 1), Fraction(1, m), f"exact, m={m}")
    return f"m < {most}: (2/m)(1 - 1/2) = (m+1)/m - 1 = 1/m"


def too_many(level: Level) -> str:
    """One weight more than cells, and no draw is an isometry."""
    most = level.pick(5, 6, 8)
    for m in range(1, most):
        require_collisions(m + 1, m)
    return f"n = m + 1 <= {most}, every draw"


def require_collisions(n: int, m: int) -> None:
    """Do nothing if no draw of fold is injective."""
    for cells in u.fold_cells(n, m):
        require(len(set(cells.tolist())) < n, f"fold, n={n}, m={m}: cells {cells} are injective")


CHECKS = (
    Check(
        8,
        "an isometry",
        "n <= m: fold is injective and <Sx, Sy> = <x, y> in every draw",
        "enumeration",
        isometry,
        "hashed in place of fold",
        lambda: require_isometry(u.hashed(2, 2), "hashed, n=2, m=2"),
    ),
    Check(
        8,
        "what hashing leaves unused",
        "(1 - 1/m)^n of the bank in expectation; below 1/e at n = m",
        "enumeration",
        hashed_unused,
        "fold, which leaves nothing unused at n = m",
        lambda: require_unused(u.fold_cells(3, 3), 3, Fraction(2, 3) ** 3, "fold, n=3, m=3"),
    ),
    Check(
        8,
        "hashing varies",
        "m V_hashed = sum over i < j of (x_i y_j + x_j y_i)^2, at any n and m",
        "enumeration",
        hashed_varies,
        "x_i y_j - x_j y_i",
        lambda: require_sum(2, 2, -1),
    ),
    Check(
        8,
        "one weight more",
        "n = m + 1: the worst cases of fold and of pruning are both 1/m",
        "enumeration",
        one_more,
        "one lap is counted",
        lambda: require_supremum(3, 2, 2, 1),
    ),
    Check(
        8,
        "no isometry beyond",
        "fails for n > m: no draw is injective",
        "enumeration",
        too_many,
        "n = m",
        lambda: require_collisions(3, 3),
        scope="fails outside",
    ),
)
