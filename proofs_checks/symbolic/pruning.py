r"""Claim 4 symbolically: both prunings, for symbols n and m.

Shows: for every n and every 1 <= m < n; the moments of an exact subset are ratios of binomial coefficients,
and sums over i != j are power sums of a = x y.
Does not show: that a sampler draws a uniform subset.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs_checks.check import Check, Level, require
from proofs_checks.symbolic.identities import require_identity
from proofs_checks.symbolic.sums import Family

N, M = sp.symbols("n m", positive=True)
A = Family("", N, "a")
SUM, SQUARES = A.power_sum(1), A.power_sum(2)
BERNOULLI = (N / M - 1) * SQUARES
EXACT = (N / M - 1) * N / (N - 1) * (SQUARES - SUM**2 / N)  # sum (a - mean a)^2 = sum a^2 - (sum a)^2 / n


def keeps_together(count: int) -> Any:
    """P(given weights are all kept) in a uniform subset of m of n."""
    share = sp.binomial(N - count, M - count) / sp.binomial(N, M)
    return sp.combsimp(sp.gammasimp(share))


def variance(both: Any) -> Any:
    """Var of (n/m) sum b_i a_i from P(b_i b_j = 1), where P(b_i = 1) = m/n."""
    (a,), (b,) = A.at("i"), A.at("j")
    one = M / N
    pairs = (both - one**2) * A.sum_distinct(a * b)
    return (N / M) ** 2 * ((one - one**2) * A.sum(a**2, "i") + pairs)


def exact(_: Level, closed: Any = EXACT) -> str:
    """The hypergeometric second moment."""
    require_identity(keeps_together(1), M / N, "P(kept)")
    require_identity(variance(keeps_together(2)), closed, "Var of an exact subset")
    return "every n >= 2, 1 <= m <= n, all a"


def bernoulli(_: Level, both: Any = (M / N) ** 2) -> str:
    """Pairwise independent keeps."""
    require_identity(variance(both), BERNOULLI, "Var of Bernoulli pruning")
    return "every n, 1 <= m <= n, all a"


def order(_: Level, sign: int = 1) -> str:
    """Which of the two is larger."""
    (a,), (b,) = A.at("i"), A.at("j")
    gap = sign * (N / M - 1) / (N - 1) * A.sum_distinct(a * b)
    require_identity(BERNOULLI - EXACT, gap, "V_Bernoulli - V_exact")
    return "every n >= 2, 1 <= m <= n, all a; the factor (n/m-1)/(n-1) is positive for m < n"


def orthogonal(_: Level, given: Any = 0) -> str:
    """<x, y> = 0: exact loses by n/(n-1)."""
    ratio = sp.cancel((EXACT / BERNOULLI).subs(SUM, given))
    require_identity(ratio, N / (N - 1), "V_exact / V_Bernoulli")
    require(sp.cancel(ratio - 1).subs(N, 4) > 0, f"the ratio is {ratio}")
    return "every n >= 2, 1 <= m < n, all a with sum 0"


CHECKS = (
    Check(
        4,
        "exact subset",
        "Var = (n/m - 1) n/(n-1) sum (a_i - mean a)^2",
        "symbolic",
        exact,
        "the factor n/(n-1) is dropped",
        lambda: exact(Level.QUICK, EXACT * (N - 1) / N),
    ),
    Check(
        4,
        "Bernoulli",
        "Var = (n/m - 1) sum a_i^2 for pairwise independent keeps",
        "symbolic",
        bernoulli,
        "keeps of an exact subset",
        lambda: bernoulli(Level.QUICK, keeps_together(2)),
    ),
    Check(
        4,
        "exact against Bernoulli",
        "V_Bernoulli - V_exact = (n/m - 1)/(n-1) sum over i != j of a_i a_j",
        "symbolic",
        order,
        "the other sign",
        lambda: order(Level.QUICK, -1),
    ),
    Check(
        4,
        "exact loses on orthogonal vectors",
        "fails as V_exact <= V_Bernoulli if <x, y> = 0: the ratio is n/(n-1) > 1",
        "symbolic",
        orthogonal,
        "all a equal, as for flat norms",
        lambda: orthogonal(Level.QUICK, sp.sqrt(N * SQUARES)),
        scope="fails outside",
    ),
)
