"""Claim 6 by enumeration: i.i.d. pairs (x_i, y_i), and where sharing and pruning change places.

Shows: at each size listed, over every draw, only alpha = E[x^2] E[y^2], beta = E[xy]^2 and
gamma = E[x^2 y^2] enter, for any mean and any other moment, with the coefficients of claim 6; hence the
thresholds, compared as linear forms in alpha, beta, gamma. Named data by exact moments of small laws.
Does not show: other sizes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.enumeration.over_data import rho
from proofs_checks.polynomials import variance_form

ALPHA, BETA, GAMMA = ((0, 2), (2, 0)), ((1, 1), (1, 1)), ((2, 2),)
NAMES = {ALPHA: "alpha", BETA: "beta", GAMMA: "gamma"}
Moments = tuple[Fraction, Fraction, Fraction]


def by_moments(tensor: Any) -> dict[Any, Fraction]:
    """Expectation of the polynomial: coefficient by product of mixed moments (powers of x, y per index)."""
    found: dict[Any, Fraction] = defaultdict(Fraction)
    for i, j, k, last in np.ndindex(tensor.shape):
        x, y = Counter((i, k)), Counter((j, last))
        moments = tuple(sorted((x[index], y[index]) for index in {*x, *y}))
        found[moments] += tensor[i, j, k, last]
    return {moments: value for moments, value in found.items() if value}


def expected(alpha: Fraction | int, beta: Fraction | int, gamma: Fraction | int) -> dict[Any, Fraction]:
    """A linear form in the three moments."""
    parts = {ALPHA: Fraction(alpha), BETA: Fraction(beta), GAMMA: Fraction(gamma)}
    return {moments: value for moments, value in parts.items() if value}


def require_moments(universe: u.Universe, form: dict[Any, Fraction], name: str) -> None:
    """Do nothing if the expected variance is this form."""
    found = by_moments(variance_form(universe))
    words = ", ".join(f"{value} {NAMES.get(moments, moments)}" for moments, value in found.items())
    require(found == form, f"{name}: E V = {words or 0}")


def three_moments(level: Level) -> str:
    """Fold, hashed, and both prunings."""
    most = level.pick(4, 5, 6)
    for n in range(1, most + 1):
        for m in range(1, most + 1):
            name = f"n={n}, m={m}"
            apart = Fraction(n * (n - 1), m)
            require_moments(u.hashed(n, m), expected(apart, apart, 0), f"hashed, {name}")
            across = rho(n, m) * n * (n - m) / m if n > m else Fraction(0)
            require_moments(u.fold(n, m), expected(across, across, 0), f"fold, {name}")
            if m <= n:
                lost = Fraction(n * (n - m), m)
                require_moments(u.keep_bernoulli(n, m), expected(0, 0, lost), f"Bernoulli, {name}")
                require_moments(u.keep_exact(n, m), expected(0, -lost * (n > 1), lost), f"exact, {name}")
    return f"n and m to {most}"


def favours_sharing(moments: Moments, exact: bool, ratio: Fraction) -> Fraction:
    """Pruning minus sharing over n(n-m)/m: gamma - ratio (alpha + beta), and - beta against exact pruning."""
    alpha, beta, gamma = moments
    return gamma - ratio * (alpha + beta) - exact * beta


def thresholds(level: Level) -> str:
    """The sign of pruning minus sharing: ratio rho for fold, (n-1)/(n-m) for hashed."""
    most = level.pick(4, 5, 6)
    for n in range(2, most + 1):
        for m in range(1, n):
            ratios = ((u.fold, rho(n, m)), (u.hashed, Fraction(n - 1, n - m)))
            for exact, kind in ((False, u.keep_bernoulli), (True, u.keep_exact)):
                for sharing, ratio in ratios:
                    require_threshold(n, m, sharing, kind, (exact, ratio))
    return f"m < n <= {most}, as linear forms in alpha, beta, gamma"


def require_threshold(
    n: int,
    m: int,
    sharing: Callable[[int, int], u.Universe],
    pruning: Callable[[int, int], u.Universe],
    rule: tuple[bool, Fraction],
) -> None:
    """Do nothing if pruning minus sharing is n(n-m)/m times this linear form."""
    gap = Counter(by_moments(variance_form(pruning(n, m))))
    gap.subtract(by_moments(variance_form(sharing(n, m))))
    for place, unit in zip((ALPHA, BETA, GAMMA), np.eye(3, dtype=int), strict=True):
        alpha, beta, gamma = (Fraction(int(entry)) for entry in unit)
        form = favours_sharing((alpha, beta, gamma), *rule) * n * (n - m) / m
        require(
            gap[place] == form, f"n={n}, m={m}, coefficient of {NAMES[place]}: {gap[place]} against {form}"
        )


def moments_of(
    law: Sequence[tuple[Fraction, Fraction]], pair: Callable[..., tuple[Any, Any]], copies: int
) -> Moments:
    """alpha, beta, gamma of pair(x, x', ...) for independent copies of a law of (value, probability)."""
    sums = [Fraction(0)] * 4
    for draws in product(law, repeat=copies):
        weight = Fraction(1)
        for _, probability in draws:
            weight *= probability
        x, y = pair(*(value for value, _ in draws))
        for place, term in enumerate((x * x, y * y, x * y, x * x * y * y)):
            sums[place] += weight * term
    return sums[0] * sums[1], sums[2] ** 2, sums[3]


def symmetric(kurtosis: Fraction) -> list[tuple[Fraction, Fraction]]:
    """Zero-mean law on {-1, 0, 1} with this kurtosis (>= 1)."""
    tail = 1 / (2 * kurtosis)
    return [(Fraction(-1), tail), (Fraction(0), 1 - 2 * tail), (Fraction(1), tail)]


ANGLES = tuple(
    (Fraction(a, c), Fraction(b, c)) for a, b, c in ((3, 4, 5), (4, 3, 5), (-5, 12, 13), (1, 0, 1))
)
KURTOSES = tuple(Fraction(4 + step, 4) for step in range(17))


def correlated_pairs(level: Level) -> str:
    """y = c x + sqrt(1-c^2) x', zero mean, m | n: thresholds 2 and 3 on the kurtosis for every c != 0."""
    for kurtosis in KURTOSES:
        for cosine, sine in ANGLES:
            require_kurtosis(symmetric(kurtosis), kurtosis, cosine, sine)
        alone = moments_of(symmetric(kurtosis), lambda x, other: (x, other), 2)
        require(favours_sharing(alone, True, Fraction(1)) == 0, f"independent, kurtosis {kurtosis}: no tie")
    return "kurtosis 1 to 5 in quarters; c = 3/5, 4/5, -5/13, 1, and independent x, y"


def require_kurtosis(
    law: Sequence[tuple[Fraction, Fraction]], kurtosis: Fraction, cosine: Fraction, sine: Fraction
) -> None:
    """Do nothing if fold beats Bernoulli iff kurtosis > 2 and exact iff > 3, with ties there."""
    moments = moments_of(law, lambda x, other: (x, cosine * x + sine * other), 2)
    for exact, limit in ((False, 2), (True, 3)):
        gap = favours_sharing(moments, exact, Fraction(1))
        same = (gap > 0) == (kurtosis > limit) and (gap == 0) == (kurtosis == limit)
        require(same, f"kurtosis {kurtosis}, c={cosine}, exact={exact}: pruning - fold {gap}")


def shifted_mean(level: Level) -> str:
    """x in {0, 1} with P(1) = 1/3 has raw kurtosis 3, yet y = (3x + 4x')/5 is no tie."""
    third = Fraction(1, 3)
    law = [(Fraction(0), 1 - third), (Fraction(1), third)]
    moments = moments_of(law, lambda x, other: (x, (3 * x + 4 * other) / 5), 2)
    gap = favours_sharing(moments, True, Fraction(1))
    require(gap != 0, f"raw kurtosis 3 with a mean: pruning - fold {gap}")
    return f"P(x = 1) = 1/3, c = 3/5: (prune - fold) m/(n(n-m)) = {gap}"


CHECKS = (
    Check(
        6,
        "three moments of i.i.d. pairs",
        "fold (D/m)(alpha+beta), hashed (n(n-1)/m)(alpha+beta), Bernoulli n(n-m)/m gamma, exact (gamma-beta)",
        "enumeration",
        three_moments,
        "hashed with D pairs, as fold",
        lambda: require_moments(u.hashed(3, 2), expected(2, 2, 0), "hashed, n=3, m=2"),
    ),
    Check(
        6,
        "where it turns round",
        "fold beats Bernoulli iff gamma >= rho (alpha+beta), exact iff also + beta; hashed with (n-1)/(n-m)",
        "enumeration",
        thresholds,
        "rho left out at n=3, m=2",
        lambda: require_threshold(3, 2, u.fold, u.keep_bernoulli, (False, Fraction(1))),
    ),
    Check(
        6,
        "kurtosis 2 and 3",
        "m | n, zero mean: y = c x + sqrt(1-c^2) x' keeps 2 and 3 for c != 0; independent x, y tie",
        "enumeration",
        correlated_pairs,
        "a law of kurtosis 4 is taken to have 3",
        lambda: require_kurtosis(symmetric(Fraction(4)), Fraction(3), *ANGLES[0]),
    ),
    Check(
        6,
        "kurtosis with a mean",
        "fails for raw moments about a mean: raw kurtosis 3 is no tie for y = c x + sqrt(1-c^2) x'",
        "enumeration",
        shifted_mean,
        "zero mean, kurtosis 3",
        lambda: require(
            favours_sharing(
                moments_of(symmetric(Fraction(3)), lambda x, other: (x, (3 * x + 4 * other) / 5), 2),
                True,
                Fraction(1),
            ),
            "zero mean, kurtosis 3 is a tie",
        ),
        scope="fails outside",
    ),
)
