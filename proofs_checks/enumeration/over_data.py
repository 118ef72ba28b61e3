"""Claim 6 by enumeration: expected variances over data with a profile of second moments.

Shows: at each size listed, over every draw, the expectation over independent x and y with E x_i^2 = s_i,
E y_i^2 = t_i and E x_i x_j = 0 (i != j) for one of them, coefficient by coefficient in s and t, whatever
the correlations of the other; and, where m divides n, the gap between pruning and fold as a sum of squares.
Does not show: other sizes; the largest ratio (worst_profile); i.i.d. pairs (iid_pairs).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.polynomials import difference, meeting, quadratic, variance_form


def over_profiles(tensor: Any) -> Any:
    """(n, n) Fractions: coefficient of s_i t_j in the expectation of the polynomial.

    Raises:
        Disproved: If the correlations of the other vector enter too.
    """
    n = len(tensor)
    for i, j, k in np.ndindex(n, n, n):
        if j != k:
            other = (tensor[i, j, i, k] + tensor[i, k, i, j], tensor[j, i, k, i] + tensor[k, i, j, i])
            require(not any(other), f"coefficient of s_{i} E[y_{j} y_{k}] or its mirror: {other}")
    return quadratic(n, lambda i, j: tensor[i, j, i, j])


def across_laps(n: int, m: int, length: int) -> Any:
    """Form (1/m) [(sum s)(sum t) - sum_p s(p) t(p)] over laps of this length; length 1 is hashed."""
    lap = np.arange(n) // length
    return quadratic(n, lambda i, j: Fraction(int(lap[i] != lap[j]), m))


def of_pruning(n: int, m: int) -> Any:
    """Form (n/m - 1) sum s_i t_i."""
    return quadratic(n, lambda i, j: (Fraction(n, m) - 1) * (i == j))


def require_form(found: Any, expected: Any, name: str) -> None:
    """Do nothing if both forms in s and t are the same."""
    where = difference(found, expected)
    require(not where, f"{name}: s, t: {where}")


def profiles(level: Level) -> str:
    """Both prunings, every chunk (fold is Z = m, hashed is Z = 1)."""
    most = level.pick(4, 5, 6)
    for n in range(1, most + 1):
        for m in range(1, most + 1):
            for length in range(1, m + 1):
                found = over_profiles(variance_form(u.chunk(n, m, length)))
                require_form(found, across_laps(n, m, length), f"chunk {length}, n={n}, m={m}")
        for m in range(1, n + 1):
            for kind in (u.keep_exact, u.keep_bernoulli):
                require_form(
                    over_profiles(variance_form(kind(n, m))), of_pruning(n, m), f"{kind.__name__} {n}, {m}"
                )
    return f"n and m to {most}; s and t apart"


def rho(n: int, m: int) -> Fraction:
    """D/(n(n-m)), D ordered pairs in different laps, m < n."""
    laps = np.bincount(np.arange(n) // m)
    return Fraction(int(n**2 - (laps**2).sum()), n * (n - m))


def random_order(level: Level) -> str:
    """Fold over all orderings: rho (n-m)/(m(n-1)) [(sum s)^2 - sum s^2]."""
    most = level.pick(4, 5, 7)
    for n in range(2, most + 1):
        for m in range(1, n):
            share = rho(n, m) * (n - m) / (m * (n - 1))
            require_form(
                meeting(u.reordered(u.fold_cells(n, m))),
                quadratic(n, lambda i, j: share * (i != j)),  # noqa: B023
                f"fold in random order, n={n}, m={m}",
            )
    return f"every ordering, m < n <= {most}"


def sum_of_squares(n: int, m: int) -> Any:
    """Form (k-1) sum (s_i - mean of its lap)^2 + k m sum_p (mean of lap p - mean)^2, k = n/m laps."""
    lap, k = np.arange(n) // m, n // m
    within = quadratic(n, lambda i, j: (i == j) - Fraction(int(lap[i] == lap[j]), m))
    between = quadratic(n, lambda i, j: Fraction(int(lap[i] == lap[j]), m) - Fraction(1, n))
    return (k - 1) * within + k * between


def divisible(level: Level) -> str:
    """E V_prune - E V_fold is that sum of squares: >= 0 in every order, 0 iff all s are equal (k >= 2)."""
    most = level.pick(5, 6, 8)
    for n in range(1, most + 1):
        for m in (m for m in range(1, n + 1) if n % m == 0):
            require_gap(n, m, sum_of_squares(n, m))
    return f"m | n, n <= {most}"


def require_gap(n: int, m: int, gap: Any) -> None:
    """Do nothing if pruning exceeds fold by this form."""
    prune = over_profiles(variance_form(u.keep_exact(n, m)))
    fold = over_profiles(variance_form(u.fold(n, m)))
    require_form(prune - fold, gap, f"prune - fold, n={n}, m={m}")


def ragged(level: Level) -> str:
    """Equal s: fold/prune = rho > 1 for every ragged size; 2m/(m+1) at n = m + 1."""
    most, longest = level.pick((5, 40), (7, 120), (8, 400))
    for n in range(2, most + 1):
        for m in (m for m in range(2, n) if n % m):
            fold = over_profiles(variance_form(u.fold(n, m))).sum()
            prune = over_profiles(variance_form(u.keep_exact(n, m))).sum()
            require(fold / prune == rho(n, m) > 1, f"n={n}, m={m}, s=1: fold {fold}, prune {prune}")
    for m in range(1, longest):
        require(rho(m + 1, m) == Fraction(2 * m, m + 1), f"n={m + 1}, m={m}: rho {rho(m + 1, m)}")
        for n in range(m + 1, longest):
            require_rho(n, m, 4 * (-(-n // m) - 1) ** 2 - 2)
    require(rho(3, 2) == Fraction(4, 3), "n=3, m=2: 2 against 3/2")
    return f"every draw to n = {most}; rho to n = {longest}"


def require_rho(n: int, m: int, least: int) -> None:
    """Do nothing if e = rho - 1 is 0 where m divides n, and else e < 1 and e + 1/e > least.

    With least = 4 (k-1)^2 - 2 this is rho < 1 + (k-1 - sqrt(k(k-2)))^2, the supremum of
    t(1-t)/((k-1+t)(k-2+t)) over t = r/m: 2 at k = 2, below 1 + 1/(4 (k-1)(k-2)) from k = 3.
    """
    excess = rho(n, m) - 1
    holds = excess < 1 and excess + 1 / excess > least if n % m else excess == 0
    require(holds, f"n={n}, m={m}: rho = {rho(n, m)}, rho - 1 + 1/(rho - 1) against {least}")


def disjoint(level: Level) -> str:
    """x only in the first lap, y only in the others: pruning 0, fold (1/m) s(lap) t(other laps) > 0."""
    most = level.pick(4, 6, 7)
    for n in range(2, most + 1):
        for m in range(1, n):
            first = np.arange(n) < m
            require_disjoint(n, m, first, ~first)
    return f"m < n <= {most}"


def require_disjoint(n: int, m: int, s: Any, t: Any) -> None:
    """Do nothing if these 0-1 profiles of x and y leave pruning 0 and fold (1/m) (sum s)(sum t) > 0."""
    prune, fold = (
        s.astype(int) @ over_profiles(variance_form(kind(n, m))) @ t.astype(int)
        for kind in (u.keep_exact, u.fold)
    )
    expected = Fraction(int(s.sum() * t.sum()), m)
    require(prune == 0 < fold == expected, f"n={n}, m={m}, s={s}, t={t}: prune {prune}, fold {fold}")


def both_correlated(level: Level) -> str:
    """Correlations of both vectors enter by the products E[x_i x_j] E[y_i y_j] of pairs that may meet."""
    most = level.pick(4, 5, 6)
    for n in range(2, most + 1):
        for m in range(1, n):
            require_correlated(n, m, lambda i, j, m=m: Fraction(int(i // m != j // m), m))
    return f"m < n <= {most}: the coefficient is p_ij, not 0"


def require_correlated(n: int, m: int, coefficient: Any) -> None:
    """Do nothing if fold's E[x_i x_j] E[y_i y_j], i != j, has this coefficient."""
    tensor = variance_form(u.fold(n, m))
    for i, j in np.ndindex(n, n):
        if i != j:
            found = tensor[i, i, j, j] + tensor[i, j, j, i]
            require(found == coefficient(i, j), f"fold, n={n}, m={m}, i={i}, j={j}: {found}")


CHECKS = (
    Check(
        6,
        "profiles of variances",
        "m E V: prune (n-m) sum st, fold sum s sum t - sum_p s(p) t(p), hashed sum s sum t - sum st",
        "enumeration",
        profiles,
        "fold with the laps of chunk 1",
        lambda: require_form(
            over_profiles(variance_form(u.fold(3, 2))), across_laps(3, 2, 1), "fold, n=3, m=2"
        ),
    ),
    Check(
        6,
        "random order of the profile",
        "fold averaged over orderings: rho (n-m)/(m(n-1)) [(sum s)^2 - sum s^2]",
        "enumeration",
        random_order,
        "without rho",
        lambda: require_form(
            meeting(u.reordered(u.fold_cells(3, 2))),
            quadratic(3, lambda i, j: Fraction(1, 4) * (i != j)),
            "fold in random order, n=3, m=2",
        ),
    ),
    Check(
        6,
        "fold never loses where m divides n",
        "prune - fold = (k-1) (squares within laps) + k (squares between laps), in every order",
        "enumeration",
        divisible,
        "k - 1 between the laps too",
        lambda: require_gap(4, 2, sum_of_squares(4, 2) * Fraction(1, 2)),
    ),
    Check(
        6,
        "ragged laps",
        "fails unless m | n: equal s give fold/prune = rho > 1; rho < 1 + (k-1 - sqrt(k(k-2)))^2",
        "enumeration",
        ragged,
        "a bound on rho that n=4, m=3 exceeds",
        lambda: require_rho(4, 3, 4 * 2**2 - 2),
        scope="fails outside",
    ),
    Check(
        6,
        "unequal profiles",
        "fails for different variances: with disjoint supports pruning has 0, fold (1/m) s(p) t(q)",
        "enumeration",
        disjoint,
        "equal profiles",
        lambda: require_disjoint(4, 2, np.array([True] * 4), np.array([True] * 4)),
        scope="fails outside",
    ),
    Check(
        6,
        "both vectors correlated",
        "fails if x and y are both correlated: p_ij E[x_i x_j] E[y_i y_j] is added",
        "enumeration",
        both_correlated,
        "nothing is added",
        lambda: require_correlated(3, 2, lambda i, j: 0),
        scope="fails outside",
    ),
)
