"""Claim 4 by enumeration: the variance of random pruning.

Shows: at each size listed, with a = x * y, (n/m - 1) sum a_i^2 for Bernoulli and
(n/m - 1) n/(n-1) sum (a_i - mean a)^2 for an exact subset, coefficient by coefficient over every mask; and
their difference as a polynomial, which decides for all x and y which of the two is larger.
Does not show: other sizes (the identities are proved for all in proofs_checks.symbolic).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.enumeration.inner_products import require_products
from proofs_checks.polynomials import evaluate, places, squares, variance_form


def sum_of_squares(n: int) -> Any:
    """Tensor of sum a_i^2."""
    return squares(places(np.eye(n, dtype=bool)))


def square_of_sum(n: int) -> Any:
    """Tensor of (sum a_i)^2."""
    return squares(np.eye(n, dtype=np.int64)[None])


def bernoulli(n: int, m: int) -> Any:
    """Tensor of the variance when every weight is kept by itself."""
    return (Fraction(n, m) - 1) * sum_of_squares(n)


def exact(n: int, m: int) -> Any:
    """Tensor of the variance when exactly m are kept; 0 at n = 1."""
    if n == 1:
        return sum_of_squares(1) * 0
    spread = sum_of_squares(n) - square_of_sum(n) * Fraction(1, n)
    return (Fraction(n, m) - 1) * Fraction(n, n - 1) * spread


def both(level: Level) -> str:
    """Every 1 <= m <= n."""
    most = level.pick(5, 7, 8)
    for n in range(1, most + 1):
        for m in range(1, n + 1):
            require_products(variance_form(u.keep_exact(n, m)), exact(n, m), f"exact, n={n}, m={m}")
            require_products(
                variance_form(u.keep_bernoulli(n, m)), bernoulli(n, m), f"Bernoulli, n={n}, m={m}"
            )
    return f"every mask, 1 <= m <= n <= {most}"


def comparison(level: Level) -> str:
    """Bernoulli minus exact is c sum_{i != j} a_i a_j, and exact minus n/(n-1) Bernoulli is -c (sum a)^2."""
    most = level.pick(5, 6, 7)
    for n in range(2, most + 1):
        for m in range(1, n):
            factor = (Fraction(n, m) - 1) / (n - 1)
            by_itself, subset = variance_form(u.keep_bernoulli(n, m)), variance_form(u.keep_exact(n, m))
            crossed = square_of_sum(n) - sum_of_squares(n)
            require_products(by_itself - subset, factor * crossed, f"n={n}, m={m}")
            gap = subset - Fraction(n, n - 1) * by_itself
            require_products(gap, -factor * square_of_sum(n), f"n={n}, m={m}, exact - n/(n-1) Bernoulli")
    return f"1 <= m < n <= {most}, c = (n/m - 1)/(n - 1) > 0"


def orthogonal(level: Level) -> str:
    """x = (1, ..., 1) and y = (1, -1, 0, ...): exact is n/(n-1) times Bernoulli, so it can lose."""
    most = level.pick(5, 6, 7)
    for n in range(2, most + 1):
        for m in range(1, n):
            require_exact_loses(n, m, [1, -1] + [0] * (n - 2))
    return f"1 <= m < n <= {most}"


def require_exact_loses(n: int, m: int, y: list[int]) -> None:
    """Do nothing if, at x = (1, ..., 1), exact pruning has n/(n-1) > 1 times Bernoulli's variance."""
    subset = evaluate(variance_form(u.keep_exact(n, m)), [1] * n, y)
    by_itself = evaluate(variance_form(u.keep_bernoulli(n, m)), [1] * n, y)
    require(
        subset == Fraction(n, n - 1) * by_itself > by_itself,
        f"n={n}, m={m}, x=1, y={y}: exact {subset}, Bernoulli {by_itself}",
    )


CHECKS = (
    Check(
        4,
        "variance of both prunings",
        "(n/m - 1) sum a_i^2, and (n/m - 1) n/(n-1) sum (a_i - mean a)^2, a = x * y",
        "enumeration",
        both,
        "an exact subset without n/(n-1)",
        lambda: require_products(
            variance_form(u.keep_exact(3, 2)), Fraction(2, 3) * exact(3, 2), "exact, n=3, m=2"
        ),
    ),
    Check(
        4,
        "exact against Bernoulli",
        "exact <= Bernoulli iff sum over i != j of a_i a_j >= 0: the gap is a positive multiple of it",
        "enumeration",
        comparison,
        "the difference is a multiple of (sum a)^2",
        lambda: require_products(
            bernoulli(3, 2) - exact(3, 2), square_of_sum(3) * Fraction(1, 4), "n=3, m=2"
        ),
    ),
    Check(
        4,
        "orthogonal vectors",
        "exact <= Bernoulli fails for inner products: at <x, y> = 0 exact is n/(n-1) times as large",
        "enumeration",
        orthogonal,
        "a norm in place of orthogonal vectors",
        lambda: require_exact_loses(3, 2, [1, 1, 1]),
        scope="fails outside",
    ),
)
