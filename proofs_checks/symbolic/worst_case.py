r"""Claim 7 symbolically: worst cases over unit vectors, for symbols n, m and number of laps.

Shows: for every n, m and division into laps, the gap to the supremum as a sum of squares of
w_ij = x_i y_j - x_j y_i and of differences of lap sums, hence no vectors exceed it; where it is attained;
and the ratio of the suprema.
Does not show: the suprema of blocks (their bound is in the room of enumeration).
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs_checks.check import Check, Level
from proofs_checks.symbolic.identities import require_identity
from proofs_checks.symbolic.sums import Family

N, M, K, R = sp.symbols("n m k r", positive=True)
LAPS = Family("lap", K, "ABc")  # lap sums of x^2, y^2, x y
WEIGHTS = Family("", N, "xy")
UNITS = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


def wedges(family: Family) -> Any:
    """Sum over i < j of (x_i y_j - x_j y_i)^2."""
    (x, y), (u, v) = family.at("i"), family.at("j")
    return family.sum_distinct((x * v - u * y) ** 2) / 2


def variance() -> Any:
    """m V_fold from lap sums."""
    (a, _, c), (_, e, f) = LAPS.at("p"), LAPS.at("q")
    return LAPS.sum_distinct(a * e + c * f, "p", "q")


def slack(share: Any) -> Any:
    """(1-2/k) sum_{i<j} w_ij^2 + sum_{i<j in one lap} w_ij^2 + (share/k) sum_{p<q} (c_p - c_q)^2."""
    (a, b, c), (_, _, f) = LAPS.at("p"), LAPS.at("q")
    names = dict(zip(power_sums(WEIGHTS), (LAPS.power_sum(*one) for one in UNITS), strict=True))
    lap = Family("p", sp.Symbol("n_p"), "xy")
    within = wedges(lap).subs(dict(zip(power_sums(lap), (a, b, c), strict=True)))
    gaps = LAPS.sum_distinct((c - f) ** 2, "p", "q") / 2
    return (1 - 2 / K) * wedges(WEIGHTS).subs(names) + LAPS.sum(within, "p") + share / K * gaps


def power_sums(family: Family) -> tuple[Any, ...]:
    """Sums of x^2, y^2, x y."""
    return family.power_sum(2, 0), family.power_sum(0, 2), family.power_sum(1, 1)


def sharing(_: Level, share: int = 2) -> str:
    """No vectors exceed (2/m)(1 - 1/k)."""
    energy = LAPS.power_sum(1, 0, 0) * LAPS.power_sum(0, 1, 0)
    require_identity(2 * (1 - 1 / K) * energy - variance(), slack(share), "m (sup - V)")
    return "every n, m, k >= 2 and lengths of laps (chunks, single weights), all x and y"


def attained(_: Level, level: Any = 1 / K) -> str:
    """Energy 1/k in each lap: the stationary point of norms, and the value there."""
    energies = Family("lap", K, "A")
    (a,), (b,) = energies.at("p"), energies.at("q")
    found = 2 * energies.sum_distinct(a * b, "p", "q")
    rest, squares = sp.symbols("rest squares")  # of the other laps
    slope = sp.diff(2 * ((a + rest) ** 2 - a**2 - squares), a)
    # 4(1 - A_p) under sum A = 1: the same for all p, as Lagrange asks, iff all A_p are the same.
    require_identity(slope, 4 * (a + rest) - 4 * a, "slope of m V in A_p")
    values = {energies.power_sum(1): K * level, energies.power_sum(2): K * level**2}
    require_identity(K * level, 1, "total energy")
    require_identity(found.subs(values) / M, 2 / M * (1 - 1 / K), "V at energy 1/k in each lap")
    return "every m and k"


def pruning(_: Level, factor: Any = 1) -> str:
    """Both kinds: the gap to n/m - 1 as squares, and a spike."""
    (x, y), (u, v) = WEIGHTS.at("i"), WEIGHTS.at("j")
    norms, inner = WEIGHTS.power_sum(2, 0) * WEIGHTS.power_sum(0, 2), WEIGHTS.power_sum(1, 1)
    products = WEIGHTS.power_sum(2, 2)
    apart = WEIGHTS.sum_distinct(x**2 * v**2)
    require_identity(norms - factor * products, apart, "sup - V_Bernoulli, per n/m - 1")
    joined = WEIGHTS.sum_distinct((x * v + u * y) ** 2) / 2
    exact = N / (N - 1) * (products - inner**2 / N)
    require_identity(
        norms - factor * exact, (1 - 1 / (N - 1)) * apart + joined / (N - 1), "sup - V_exact, per n/m - 1"
    )
    spike = dict.fromkeys((*power_sums(WEIGHTS), products), 1)
    require_identity(exact.subs(spike), 1, "V_exact/(n/m - 1) at a spike")
    return "every n >= 2, 1 <= m <= n, all x and y"


def ratio(_: Level, last: Any = R) -> str:
    """sup V_prune / sup V_fold."""
    n = (K - 1) * M + last
    found = (n / M - 1) / (2 / M * (1 - 1 / K))
    require_identity(found, K * (n - M) / (2 * (K - 1)), "ratio")
    require_identity(found - n / 2, (R - M) / (2 * (K - 1)), "ratio - n/2")
    require_identity(found.subs({K: 2, R: 1}), 1, "ratio at n = m+1")
    return "every m, k >= 2, 1 <= r <= m: n/2 - (m-r)/(2(k-1)), so n/2 iff r = m; n - m at k = 2"


CHECKS = (
    Check(
        7,
        "no vectors exceed the supremum",
        "V_fold <= (2/m)(1 - 1/k)|x|^2 |y|^2: the gap is a sum of squares",
        "symbolic",
        sharing,
        "one lap's differences counted once",
        lambda: sharing(Level.QUICK, 1),
    ),
    Check(
        7,
        "where the supremum is attained",
        "V = (2/m)(1 - 1/k) at energy 1/k in each lap, the only stationary point with all laps in use",
        "symbolic",
        attained,
        "energy 1/(k+1) in each lap",
        lambda: attained(Level.QUICK, 1 / (K + 1)),
    ),
    Check(
        7,
        "worst case of pruning",
        "V_prune <= (n/m - 1)|x|^2 |y|^2, both kinds, with equality at a spike",
        "symbolic",
        pruning,
        "n/m - 1 halved",
        lambda: pruning(Level.QUICK, 2),
    ),
    Check(
        7,
        "ratio of the worst cases",
        "sup V_prune / sup V_fold = k(n-m)/(2(k-1)) = n/2 - (m-r)/(2(k-1))",
        "symbolic",
        ratio,
        "a full last lap for every n",
        lambda: ratio(Level.QUICK, M),
    ),
)
