"""Claims 11 and 12 by enumeration: the penalty Q, and the ridge bound when features are correlated.

Shows: for each mapping and each covariance listed, singular ones among them, that the bound less the mean
loss over every draw is a positive semidefinite form in w, so that it holds for *all* w; its diagonal form;
where it is attained. The penalty Q is the enumerated variance, and its formula is shown too.
Does not show: other covariances (Jensen's inequality gives them all) and other sizes.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations_with_replacement, product
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.enumeration.linear_residual import Numbers, require_same
from proofs_checks.enumeration.worst_profile import nonnegative
from proofs_checks.polynomials import fractions, meeting, variance_form
from proofs_checks.residuals import diagonal, mean_residual, penalty, ridge


def grams(n: int, step: int) -> Iterator[Any]:
    """X'X for X of two rows with entries -1, 0, 1: one in every ``step`` of them, up to order."""
    rows = product((-1, 0, 1), repeat=n)
    for x in list(combinations_with_replacement(rows, 2))[::step]:
        root = fractions(np.array(x), Fraction(1))
        yield root.T @ root


def penalties(level: Level) -> str:
    """Sharing Q_ij = p_ij G_ij, Q_jj = sum_i p_ij G_ii; both prunings by their formulas."""
    most = level.pick(3, 4, 4)
    for n, m in product(range(1, most + 1), range(1, most + 1)):
        for name, universe in u.unbiased(n, m):
            variance = variance_form(universe)
            for gram in units(n):
                require_same(penalty(variance, gram), penalty_formula(name, universe, m, gram), name)
    return f"n and m to {most}, every mapping, for all G and v"


def units(n: int) -> Iterator[Any]:
    """A basis of the symmetric matrices: Q is linear in G."""
    for i in range(n):
        for j in range(i + 1):
            gram = np.zeros((n, n), dtype=np.int64)
            gram[i, j] = gram[j, i] = 1
            yield fractions(gram, Fraction(1))


def penalty_formula(name: str, universe: u.Universe, m: int, gram: Any) -> Any:
    """Q as the theory has it."""
    n, own = len(gram), diagonal(np.diag(gram))
    if name.startswith("Bernoulli"):
        return (Fraction(n, m) - 1) * own
    if name.startswith("exact"):
        return (Fraction(n, m) - 1) * Fraction(n, max(n - 1, 1)) * (own - gram / n)
    p = meeting(universe.cells)
    return p * gram + diagonal(p @ np.diag(gram))


def bound(level: Level) -> str:
    """Sigma (Sigma + Q)^+ Q less the mean loss is semidefinite."""
    sizes, count = level.pick([(2, 1), (3, 2)], [(2, 1), (3, 1), (3, 2)], [(3, 2), (3, 3), (4, 2)]), 0
    for n, m in sizes:
        for name, universe in u.unbiased(n, m):
            variance = variance_form(universe)
            for gram in grams(n, level.pick(41, 17, 5)):
                require_bound(universe, gram, penalty(variance, gram), name)
                count += 1
    return f"(n, m) = {sizes}, every mapping, {count} covariances of rank 0 to 2, for all w"


def require_bound(universe: u.Universe, sigma: Any, price: Any, name: str) -> None:
    """Do nothing if the mean loss is at most the ridge value at this penalty, for all w."""
    slack = ridge(sigma, price) - mean_residual(universe, sigma)
    require(nonnegative(slack), f"{name}, Sigma={sigma.tolist()}: bound less mean loss is {slack.tolist()}")


def diagonal_bound(level: Level) -> str:
    """Fold, Sigma = diag(s): sum e_i Q_i/(s_i + Q_i), Q_i = s(other laps)/m, is that ridge value."""
    most = level.pick(3, 4, 5)
    for n, m in product(range(1, most + 1), repeat=2):
        variance = variance_form(u.fold(n, m))
        for s in (
            [Fraction(1)] * n,
            [Fraction(1, i + 1) for i in range(n)],
            [Fraction(i % 3) for i in range(n)],
        ):
            price = penalty(variance, diagonal(s))
            require_same(ridge(diagonal(s), price), diagonal(by_laps(s, m)), f"fold, n={n}, m={m}, s={s}")
    return f"n and m to {most}, 3 profiles of s, for all w"


def by_laps(s: Numbers, m: int) -> list[Fraction | int]:
    """Coefficients of w_i^2 in sum e_i Q_i/(s_i + Q_i), 0/0 = 0."""
    found: list[Fraction | int] = []
    for i, mine in enumerate(s):
        first = i - i % m
        price = Fraction(sum(s) - sum(s[first : first + m]), m)
        found.append(mine * price / (mine + price) if mine + price else Fraction(0))
    return found


def attained(level: Level) -> str:
    """Pruning at every diagonal Sigma; fold at equal s when m | n."""
    most = level.pick(3, 4, 4)
    for n in range(1, most + 1):
        for m in range(1, n + 1):
            for kind in (u.keep_exact, u.keep_bernoulli):
                for s in ([Fraction(1)] * n, [Fraction(1, i + 1) for i in range(n)]):
                    require_attained(kind(n, m), s, f"{kind.__name__}, n={n}, m={m}, s={s}")
            if n % m == 0:
                require_attained(u.fold(n, m), [Fraction(1)] * n, f"fold, n={n}, m={m}, s=1")
    return f"1 <= m <= n <= {most}, for all w"


def require_attained(universe: u.Universe, s: Numbers, name: str) -> None:
    """Do nothing if the mean loss is the bound."""
    sigma = diagonal(s)
    require_same(mean_residual(universe, sigma), ridge(sigma, penalty(variance_form(universe), sigma)), name)


CHECKS = (
    Check(
        11,
        "penalty",
        "sharing Q_ij = p_ij G_ij, Q_jj = sum_i p_ij G_ii; Bernoulli (n/m-1) diag G; "
        "exact (n/m-1) n/(n-1) (diag G - G/n)",
        "enumeration",
        penalties,
        "the formula of an exact subset for Bernoulli",
        lambda: require_same(
            penalty(variance_form(u.keep_bernoulli(2, 1)), np.full((2, 2), Fraction(1))),
            penalty_formula("exact", u.keep_bernoulli(2, 1), 1, np.full((2, 2), Fraction(1))),
            "Bernoulli, n=2, m=1, G = 1",
        ),
    ),
    Check(
        12,
        "correlated features",
        "E R <= w' Sigma (Sigma + Q)^+ Q w",
        "enumeration",
        bound,
        "half of Q",
        lambda: require_bound(
            u.fold(2, 1),
            diagonal([1, 1]),
            penalty(variance_form(u.fold(2, 1)), diagonal([1, 1])) / 2,
            "fold, n=2, m=1",
        ),
    ),
    Check(
        12,
        "diagonal bound",
        "fold, Sigma = diag(s): the bound is sum e_i Q_i/(s_i + Q_i), Q_i = s(other laps)/m",
        "enumeration",
        diagonal_bound,
        "all laps in place of the others",
        lambda: require_same(
            ridge(diagonal([1, 1]), penalty(variance_form(u.fold(2, 1)), diagonal([1, 1]))),
            diagonal([Fraction(2, 3)] * 2),
            "fold, n=2, m=1",
        ),
    ),
    Check(
        12,
        "the bound is attained",
        "by pruning at every diagonal Sigma, by fold at equal variances when m | n",
        "enumeration",
        attained,
        "ragged laps",
        lambda: require_attained(u.fold(3, 2), [Fraction(1)] * 3, "fold, n=3, m=2, s=1"),
    ),
)
