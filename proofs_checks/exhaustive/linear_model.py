"""Claim 11 by exhaustion: on average over draws a linear model loses at most a ridge objective.

Shows: for each mapping and each X of whole numbers listed, ranks below full among them, over every draw and
for *all* targets y (the slack is a semidefinite form in y) and *all* reference weights v; where w* leads;
where the bound is met; that it needs signs.
Does not show: other X (the penalty itself is shown for all of them in the enumeration room), other sizes.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.enumeration.worst_profile import nonnegative
from proofs_checks.polynomials import difference, exact, fractions, variance_form
from proofs_checks.residuals import diagonal, mean_residual, paid, penalty

SIZES = [(2, 1), (3, 1), (3, 2)]


def data(rows: int, n: int, step: int) -> Iterator[Any]:
    """(rows, n) entries -1, 0, 1: one in every ``step`` of them."""
    for entries in list(product((-1, 0, 1), repeat=rows * n))[::step]:
        yield fractions(np.array(entries).reshape(rows, n), Fraction(1))


def ridge_form(x: Any, price: Any) -> Any:
    """Form in y of the least of |y - Xv|^2 + v'Qv over v: |y|^2 - y'X (G+Q)^+ X'y."""
    return paid(diagonal([1] * len(x)), x, x.T @ x + price)


def at_compressed(level: Level) -> str:
    """The mean loss at theta = rescale S v is |y - Xv|^2 + v'Qv, as a form in y and v."""
    sizes, count = SIZES[: level.pick(2, 3, 3)], 0
    for n, m in sizes:
        for name, universe in u.unbiased(n, m):
            for x in data(2, n, level.pick(43, 11, 1)):
                require_mean_loss(universe, x, penalty(variance_form(universe), x.T @ x), name)
                count += 1
    return f"(n, m) in {sizes}, two rows of -1, 0, 1: {count} cases; for all y and v"


def require_mean_loss(universe: u.Universe, x: Any, price: Any, name: str) -> None:
    """Do nothing if |y - X K v|^2, K = rescale S'S, has the mean |y - Xv|^2 + v'Qv."""
    count, read = Fraction(universe.total), 0
    square = 0
    for k, weight in zip(exact(universe.forms) * universe.rescale, universe.weights.tolist(), strict=True):
        read, square = read + weight * (x @ k), square + weight * (k @ (x.T @ x) @ k)
    where = difference(read / count, x) or difference(square / count, x.T @ x + price)
    require(not where, f"{name}, X={x.tolist()}: {where}")


def bound(level: Level) -> str:
    """E min over theta <= min over v of |y - Xv|^2 + v'Qv <= |y|^2."""
    sizes, count = SIZES[: level.pick(2, 3, 3)], 0
    for n, m in sizes:
        for name, universe in u.unbiased(n, m):
            variance = variance_form(universe)
            for x in data(2, n, level.pick(43, 13, 1)):
                require_bound(universe, x, penalty(variance, x.T @ x), name)
                count += 1
    return f"(n, m) in {sizes}, two rows of -1, 0, 1: {count} cases; for all y and v"


def require_bound(universe: u.Universe, x: Any, price: Any, name: str) -> None:
    """Do nothing if both gaps are semidefinite forms in y."""
    one, ridge = diagonal([1] * len(x)), ridge_form(x, price)
    slack = ridge - mean_residual(universe, one, x)
    require(nonnegative(slack), f"{name}, X={x.tolist()}: bound less mean loss {slack.tolist()}")
    require(nonnegative(one - ridge), f"{name}, X={x.tolist()}: bound above |y|^2")


def along_best(level: Level) -> str:
    """v = c w*: the least over c is |y - Xw*|^2 + ab/(a+b), a = |Xw*|^2, b = w*'Qw*, at c = a/(a+b)."""
    most, count = level.pick(1, 2, 3), 0
    for n, m in ((2, 1), (2, 2)):
        for x in data(2, n, 1):
            if x[0, 0] * x[1, 1] == x[0, 1] * x[1, 0]:
                continue
            for _, universe in u.unbiased(n, m):
                variance = variance_form(universe)
                for y in product(range(-most, most + 1), repeat=2):
                    count += require_along(x, penalty(variance, x.T @ x), np.array(y, dtype=object), 1)
    return f"every invertible 2 x 2 X of -1, 0, 1, y to {most}: {count} cases with a + b > 0"


def require_along(x: Any, price: Any, y: Any, share: int) -> bool:
    """Whether a + b > 0; then v = c w* reaches |y - Xw*|^2 + ab/(a+b) at c = share a/(a+b), and no less."""
    (p, q), (r, s) = x
    best = np.array([[s, -q], [-r, p]]) @ y / (p * s - q * r)
    a, b = (x @ best) @ (x @ best), best @ price @ best
    if not a + b:
        return False
    least = y @ y - a + a * b / (a + b)
    c = share * a / (a + b)
    values = [((y - t * x @ best) ** 2).sum() + t * t * b for t in (c, c - 1, c + 1)]
    found = f"X={x.tolist()}, y={y}: {values[0]} at c={c}, formula {least}"
    require(values[0] == least and values[1] == values[2] == least + a + b, found)
    return True


def full_length(level: Level) -> str:
    """v = w* on isotropic features, m | n: b = (k-1)|y|^2, above |y|^2 for k > 2."""
    most = level.pick(4, 6, 6)
    for n in range(3, most + 1):
        require_above(u.fold(n, 1), n - 1)
    require_above(u.fold(6, 2), 2)
    return f"n <= {most}, m = 1; n=6, m=2; X = I"


def require_above(universe: u.Universe, times: int) -> None:
    """Do nothing if w*'Qw* is this many times |y|^2, and more than once, for X = I."""
    one = diagonal([1] * universe.n)
    price = penalty(variance_form(universe), one)
    require(not difference(price, times * one) and times > 1, f"n={universe.n}, X=I: Q={price.tolist()}")


def attained(level: Level) -> str:
    """Fold, X = I, m | n: the mean loss is the bound."""
    sizes = level.pick([(2, 1), (4, 2)], [(3, 1), (4, 2), (4, 4)], [(6, 2), (6, 3)])
    for n, m in sizes:
        require_attained(u.fold(n, m))
    return f"(n, m) = {sizes}, for all y"


def require_attained(universe: u.Universe) -> None:
    """Do nothing if the mean loss at X = I is the ridge value."""
    one = diagonal([1] * universe.n)
    ridge = ridge_form(one, penalty(variance_form(universe), one))
    where = difference(mean_residual(universe, one), ridge)
    require(not where, f"n={universe.n}, m={universe.m}, X=I: {where}")


def without_signs(level: Level) -> str:
    """All signs +1, X = I, y = 1 on one lap, -1 on the other, one cell: theta explains nothing."""
    most = level.pick(2, 3, 4)
    for half in range(1, most + 1):
        signs = np.ones((1, 2 * half), dtype=np.int64)
        require_above_bound(u.joint(u.fold_cells(2 * half, 1), signs, 1))
    return f"m = 1, n = 2, 4, .., {2 * most}: |y|^2 against (1 - 1/n)|y|^2"


def require_above_bound(universe: u.Universe) -> None:
    """Do nothing if y = (1, .., 1, -1, .., -1) loses |y|^2, more than the bound with fair signs."""
    n = universe.n
    one, y = diagonal([1] * n), np.repeat([1, -1], n // 2)
    lost = y @ mean_residual(universe, one) @ y
    ridge = y @ ridge_form(one, penalty(variance_form(u.fold(n, 1)), one)) @ y
    require(lost == n > ridge, f"n={n}, m=1, X=I: mean loss {lost}, bound {ridge}")


CHECKS = (
    Check(
        11,
        "mean loss at theta = Sv",
        "E|y - X S'Sv|^2 = |y - Xv|^2 + v'Qv for unbiased S",
        "exhaustive",
        at_compressed,
        "half of Q",
        lambda: require_mean_loss(
            u.fold(2, 1), diagonal([1, 1]), diagonal([Fraction(1, 2)] * 2), "fold, n=2, m=1"
        ),
    ),
    Check(
        11,
        "ridge bound",
        "E min over theta |y - X S' theta|^2 <= |y|^2 - y'X(G+Q)^+X'y <= |y|^2, for all y",
        "exhaustive",
        bound,
        "half of Q",
        lambda: require_bound(
            u.fold(2, 1), diagonal([1, 1]), diagonal([Fraction(1, 2)] * 2), "fold, n=2, m=1"
        ),
    ),
    Check(
        11,
        "along the least-squares weights",
        "the least over c of v = c w* is |y - Xw*|^2 + ab/(a+b), where c = a/(a+b)",
        "exhaustive",
        along_best,
        "c = 2a/(a+b)",
        lambda: require_along(diagonal([1, 1]), diagonal([1, 1]), np.array([1, 1], dtype=object), 2),
    ),
    Check(
        11,
        "at full length",
        "b in place of ab/(a+b), from v = w*, fails to stay below |y|^2: X = I, m | n, k > 2 give (k-1)|y|^2",
        "exhaustive",
        full_length,
        "k = 2",
        lambda: require_above(u.fold(2, 1), 1),
        scope="fails outside",
    ),
    Check(
        11,
        "the ridge bound is met",
        "fold on isotropic features with m | n: mean loss = bound for all y",
        "exhaustive",
        attained,
        "ragged laps",
        lambda: require_attained(u.fold(3, 2)),
    ),
    Check(
        11,
        "without signs",
        "the bound fails for signs that are all +1: y = (1, .., 1, -1, .., -1) loses |y|^2 at m = 1",
        "exhaustive",
        without_signs,
        "fair signs",
        lambda: require_above_bound(u.fold(2, 1)),
        scope="fails outside",
    ),
)
