"""Claim 6 by enumeration: how far fold can exceed pruning for the worst order and the worst variances.

Shows: at each size listed, E V_fold <= q E V_prune for every profile s iff q (n-m) >= lambda, the larger root
of lambda^2 - (k-2) m lambda - (k-1) m r = 0 (sum_p n_p/(lambda + n_p) = 1 with k-1 laps of m and one of r,
solved), by exact elimination at rational q on both sides of it; sqrt(m/r) for two laps. A worst real s may
be taken as a profile: pruning's form is diagonal and fold's entries are not negative, so |s| does as well.
Does not show: other sizes.
"""

from __future__ import annotations

from fractions import Fraction
from math import isqrt
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.enumeration.over_data import across_laps, of_pruning, over_profiles
from proofs_checks.polynomials import variance_form


def nonnegative(form: Any) -> bool:
    """Whether a symmetric form of Fractions is positive semidefinite, by exact elimination."""
    if not len(form):
        return True
    if form[0, 0] < 0 or (form[0, 0] == 0 and form[0].any()):
        return False
    rest = form[1:, 1:]
    return nonnegative(
        rest - np.multiply.outer(form[1:, 0], form[0, 1:]) / form[0, 0] if form[0, 0] else rest
    )


def enough(n: int, m: int, ratio: Fraction) -> bool:
    """Whether ratio (n-m) is at least lambda."""
    laps = -(-n // m)
    last = n - (laps - 1) * m
    root = ratio * (n - m)
    return root**2 - (laps - 2) * m * root - (laps - 1) * m * last >= 0


def require_ratio(prune: Any, fold: Any, ratio: Fraction, expected: bool, name: str) -> None:
    """Do nothing if fold <= ratio * prune for every profile exactly when expected."""
    found = nonnegative(ratio * prune - fold)
    require(found == expected, f"{name}: fold <= {ratio} prune for every s: {found}")


def largest_ratio(level: Level) -> str:
    """Rational q in steps around lambda/(n-m); forms from every draw, then from claim 6's closed form."""
    most, longest, steps = level.pick((4, 7, 8), (6, 10, 12), (7, 14, 40))
    for n in range(2, longest + 1):
        for m in range(1, n):
            prune, fold = of_pruning(n, m), across_laps(n, m, m)
            if n <= most:
                prune = over_profiles(variance_form(u.keep_exact(n, m)))
                fold = over_profiles(variance_form(u.fold(n, m)))
            for step in range(1, 4 * steps):
                ratio = Fraction(step, steps)
                require_ratio(prune, fold, ratio, enough(n, m, ratio), f"n={n}, m={m}")
    return f"every draw to n = {most}, forms to n = {longest}; q = 1/{steps} .. {4 * steps - 1}/{steps}"


def two_laps(level: Level) -> str:
    """k = 2, m r a square: sqrt(m/r) is attained at s = sqrt(r) on the first lap and sqrt(m) on the last."""
    most = level.pick(12, 60, 200)
    found = []
    for m in range(1, most + 1):
        for last in range(1, m + 1):
            root = isqrt(m * last)
            if root**2 == m * last:
                require_attained(m, last, Fraction(root, last))
                found.append((m, last))
    require((100, 1) in found or most < 100, "n = 101, m = 100 is missing")
    return f"{len(found)} pairs m, r <= {most} with m r a square"


def require_attained(m: int, last: int, ratio: Fraction) -> None:
    """Do nothing if fold/prune is this ratio for s = ratio on the last lap and 1 before, k = 2."""
    n = m + last
    prune = (Fraction(n, m) - 1) * (m + last * ratio**2)
    fold = 2 * m * last * ratio / m
    require(fold == ratio * prune, f"n={n}, m={m}, s=(1, .., {ratio}): fold {fold}, prune {prune}")
    require(
        enough(n, m, ratio) and not enough(n, m, ratio - Fraction(1, 10**6)), f"n={n}, m={m}: not at {ratio}"
    )


def from_ten_to_one(level: Level) -> str:
    """n = 101, m = 100, s = (1, ..., 1, 10): fold 20, prune 2; the same at n = 5, m = 4 over every draw."""
    s = np.array([1] * 100 + [10])
    values = [s @ form @ s for form in (across_laps(101, 100, 100), of_pruning(101, 100))]
    require(values == [20, 2], f"n=101, m=100: fold {values[0]}, prune {values[1]}")
    require_small([1, 1, 1, 1, 2], Fraction(2))
    return "n=5, m=4 over every draw; n=101, m=100 by its closed form"


def require_small(s: list[int], ratio: Fraction) -> None:
    """Do nothing if fold/prune is this ratio at n = 5, m = 4."""
    fold, prune = (
        np.array(s) @ over_profiles(variance_form(kind(5, 4))) @ np.array(s)
        for kind in (u.fold, u.keep_exact)
    )
    require(fold == ratio * prune, f"n=5, m=4, s={s}: fold {fold}, prune {prune}")


CHECKS = (
    Check(
        6,
        "worst order and profile",
        "sup fold/prune = lambda/(n-m), lambda = ((k-2) m + sqrt((k-2)^2 m^2 + 4 (k-1) m r))/2",
        "enumeration",
        largest_ratio,
        "fold is taken never to lose at n=3, m=2",
        lambda: require_ratio(of_pruning(3, 2), across_laps(3, 2, 2), Fraction(1), True, "n=3, m=2"),
        scope="fails outside",
    ),
    Check(
        6,
        "worst profile on two laps",
        "sup fold/prune = sqrt(m/r), attained at s = 1 on the first lap, sqrt(m/r) on the last",
        "enumeration",
        two_laps,
        "m/r in place of its root",
        lambda: require_attained(4, 1, Fraction(4)),
        scope="fails outside",
    ),
    Check(
        6,
        "ten to one",
        "n=101, m=100, s=(1, .., 1, 10): fold 20, prune 2; n=5, m=4, s=(1, 1, 1, 1, 2): twice pruning",
        "enumeration",
        from_ten_to_one,
        "the flat profile",
        lambda: require_small([1, 1, 1, 1, 1], Fraction(2)),
        scope="fails outside",
    ),
)
