"""Claim 12 by enumeration: when sharing loses less than pruning in a linear model, and when more.

Shows: at each size and for each u = lambda^2 s > 0 listed, over every draw of cells and averaged over signs,
the advantage over pruning as a linear form in e = s w^2: its sign for *all* e that are ordered as u is, or
oppositely, from the extreme rays of that cone; what ragged laps and hashing change.
Does not show: other sizes and other u. The mean over signs is that of linear_residual.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations_with_replacement, product
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.residuals import groupings

Numbers = Sequence[Fraction | int]


def advantage(cells: Any, pull: Numbers, m: int) -> Any:
    """(n,) coefficients in e of E R_prune - E R_share given the cells: u_i/u(cell(i)) - m/n, u > 0."""
    held = np.array([Fraction(value) for value in pull], dtype=object)
    return held / ((cells[:, None] == cells) @ held) - Fraction(m, len(cells))


def whole_laps(most: int) -> Iterator[tuple[int, int, Any]]:
    """n, m and every grouping with n/m > 1 weights to a cell: fold's cells with m | n, in every order."""
    for m in range(1, most // 2 + 1):
        for n in range(2 * m, most + 1, m):
            drawn = np.array(list(groupings(n, m)))
            yield n, m, drawn[(np.sort(drawn, axis=1) == np.arange(n) // (n // m)).all(axis=1)]


def rising(n: int, values: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Up to the order of the weights, which runs over all groupings anyway."""
    return combinations_with_replacement(values, n)


def total_advantage(drawn: Any, pull: Numbers, m: int) -> Any:
    """Sum of the advantage over draws, each way of sharing cells computed once."""
    first = (drawn[:, :, None] == drawn[:, None, :]).argmax(axis=2)
    groups, counts = np.unique(first, axis=0, return_counts=True)
    return sum(int(k) * advantage(cells, pull, m) for cells, k in zip(groups, counts, strict=True))


def covariances(level: Level) -> str:
    """E R_prune - E R_fold = sum over cells of k Cov(u, e)/u(cell), for every e."""
    most = level.pick(5, 6, 8)
    for n, m, drawn in whole_laps(most):
        for cells, pull in product(drawn, rising(n, [1, 2, 5])):
            require_covariance(cells, pull, m, n // m)
    return f"m | n <= {most}, every draw of cells, u in 1, 2, 5, for all e"


def require_covariance(cells: Any, pull: Numbers, m: int, k: int) -> None:
    """Do nothing if the advantage is the sum of covariances with this k, for each unit vector e."""
    n = len(cells)
    found = advantage(cells, pull, m)
    for i in range(n):
        inside = cells == cells[i]
        total = sum(value for value, here in zip(pull, inside, strict=True) if here)
        covariance = Fraction(pull[i], k) - Fraction(total, k) * Fraction(1, k)
        expected = k * covariance / total
        require(found[i] == expected, f"cells {cells}, u={pull}, e_{i}=1: {found[i]} against {expected}")


def alike(level: Level) -> str:
    """u and e ordered alike: fold is never worse, in any draw; ordered oppositely: never better."""
    most = level.pick(4, 6, 8)
    for n, m, drawn in whole_laps(most):
        for pull in rising(n, [1, 2, 5]):
            gaps = np.array([advantage(cells, pull, m) for cells in drawn])
            require_signs(gaps, np.array(pull), 1, f"n={n}, m={m}, u={pull}")
            require_signs(-gaps, np.array(pull), -1, f"n={n}, m={m}, u={pull}")
    return f"m | n <= {most}, every draw of cells, u in 1, 2, 5, for all e ordered as u, or oppositely"


def require_signs(gaps: Any, pull: Any, direction: int, name: str) -> None:
    """Do nothing if each row of gaps is >= 0 at all e >= 0 with (u_i - u_j)(e_i - e_j) direction >= 0."""
    for level_set in _up_sets(direction * pull):
        worst = (gaps @ level_set).min()
        require(worst >= 0, f"{name}, e = {level_set} and direction {direction}: {worst}")


def ragged(level: Level) -> str:
    """Ordered alike, fold loses: s = (1, .., 1, 1 + 1/5) at n = m + 1; 12/11 against 16/15 at n=3, m=2."""
    most = level.pick(5, 12, 30)
    for m in range(2, most + 1):
        s = [Fraction(1)] * m + [Fraction(6, 5)]
        require_loss(np.array([*range(m), 0]), s, m)
    at_three = losses(np.array([0, 1, 0]), [Fraction(1), Fraction(1), Fraction(6, 5)], 2)
    require(at_three == (Fraction(12, 11), Fraction(16, 15)), f"n=3, m=2: fold, prune = {at_three}")
    return f"n = m + 1, 2 <= m <= {most}, w = lambda = 1, every draw (they differ in order only)"


def losses(cells: Any, s: Numbers, m: int) -> tuple[Fraction, Fraction]:
    """(fold, prune) at w = lambda = 1."""
    prune = (1 - Fraction(m, len(s))) * sum(s)
    return prune - advantage(cells, s, m) @ np.array(s), prune


def require_loss(cells: Any, s: Numbers, m: int) -> None:
    """Do nothing if these cells lose more than pruning at w = lambda = 1."""
    fold, prune = losses(cells, s, m)
    require(fold > prune, f"n={len(s)}, m={m}, s={s}: fold {fold}, prune {prune}")


def random_order(level: Level) -> str:
    """Averaged over orders, m <= n: alike never worse, for ragged laps too; oppositely never better."""
    most = level.pick(4, 5, 6)
    for n in range(2, most + 1):
        for m in range(1, n):
            drawn = u.reordered(u.fold_cells(n, m))
            for pull in rising(n, [1, 2, 5]):
                gaps = total_advantage(drawn, pull, m)
                name = f"n={n}, m={m}, u={pull}, over all orders"
                require_signs(np.array([gaps]), np.array(pull), 1, name)
                require_signs(-np.array([gaps]), np.array(pull), -1, name)
    return f"m < n <= {most}, every ordering, u in 1, 2, 5, for all e ordered as u, or oppositely"


def hashed(level: Level) -> str:
    """s = w = lambda = 1: E R = n - m(1 - (1 - 1/m)^n) > n - m = E R_prune for m > 1, n > 1."""
    most = level.pick(4, 6, 7)
    for n in range(2, most + 1):
        for m in range(2, min(n, 4) + 1):
            require_hashed(u.hashed_cells(n, m), m)
    return f"2 <= m <= n <= {most}, m <= 4, every map"


def require_hashed(drawn: Any, m: int) -> None:
    """Do nothing if equal features lose n - m(1 - (1-1/m)^n) > n - m on average over these cells."""
    n = drawn.shape[1]
    found = n - m - total_advantage(drawn, [Fraction(1)] * n, m).sum() / len(drawn)
    expected = n - m * (1 - (1 - Fraction(1, m)) ** n)
    require(found == expected > n - m, f"n={n}, m={m}: hashed loses {found}, formula {expected}")


def _up_sets(order: Any) -> Iterator[Any]:
    """0-1 vectors e with e_i <= e_j wherever order_i < order_j: the extreme rays of that cone."""
    for chosen in product((0, 1), repeat=len(order)):
        e = np.array(chosen)
        if not e.any() or e.all() or order[e == 1].min() >= order[e == 0].max():
            yield e


CHECKS = (
    Check(
        12,
        "who wins",
        "m | n: E R_prune - E R_fold = sum over cells of k Cov(u, e)/u(cell), in every draw of cells",
        "enumeration",
        covariances,
        "ragged laps with k = 2",
        lambda: require_covariance(np.array([0, 1, 0]), [1, 2, 5], 2, 2),
    ),
    Check(
        12,
        "u and e ordered alike",
        "m | n: fold loses no more than pruning in any draw; ordered oppositely, no less",
        "enumeration",
        alike,
        "the two orders are exchanged",
        lambda: require_signs(
            np.array([advantage(np.array([0, 0]), [1, 2], 1)]), np.array([1, 2]), -1, "n=2"
        ),
    ),
    Check(
        12,
        "alike over random orders",
        "over all orderings fold loses no more for u and e ordered alike, no less oppositely, for all m < n",
        "enumeration",
        random_order,
        "the given order",
        lambda: require_signs(
            np.array([advantage(np.array([0, 1, 0]), [1, 1, 2], 2)]), np.array([1, 1, 2]), 1, "n=3, m=2"
        ),
    ),
    Check(
        12,
        "alike on ragged laps",
        "fails unless m | n: n = m+1, s = (1, .., 1, 6/5), lambda = w = 1; at n=3 fold 12/11, prune 16/15",
        "enumeration",
        ragged,
        "two whole laps",
        lambda: require_loss(np.array([0, 1, 0, 1]), [Fraction(1)] * 3 + [Fraction(6, 5)], 2),
        scope="fails outside",
    ),
    Check(
        12,
        "hashed cells",
        "sharing by hashing loses n - m(1-(1-1/m)^n) > n - m at s = w = lambda = 1",
        "enumeration",
        hashed,
        "fold",
        lambda: require_hashed(u.fold_cells(4, 2), 2),
        scope="fails outside",
    ),
)
