r"""Claim 12 symbolically: the residual of a cell, its mean over signs, and who wins.

Shows: for a cell of every size. Cells do not share weights, so that the residual is a sum over cells, and
what holds for one cell of symbolic size holds for every n, m and mapping. A sign enters by g^2 = 1 and
zero mixed moments.
Does not show: correlated features (general Sigma), nor means over cells.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs_checks.check import Check, Level, require
from proofs_checks.symbolic.identities import require_identity
from proofs_checks.symbolic.sums import Family

SIZE, N, M = sp.symbols("k n m", positive=True)
FEATURES = Family("", SIZE, "gzsw")  # sign, scale, variance, target
PAIRED = Family("", SIZE, "ue")  # u = lambda^2 s, e = s w^2
THETA = sp.Symbol("theta")


def over_signs(polynomial: Any, *indices: str) -> Any:
    """The mean over signs that are +-1 with zero mixed moments: only even powers are left."""
    for index in indices:
        sign = FEATURES.at(index)[0]
        terms = sp.Poly(polynomial, sign).terms()
        polynomial = sp.Add(*(factor for (power,), factor in terms if power % 2 == 0))
    return polynomial


def explained(index: str) -> Any:
    """sign lambda s w at an index."""
    g, z, s, w = FEATURES.at(index)
    return g * z * s * w


def one_cell(_: Level, given: Any = None) -> str:
    """Completing the square in the cell's value theta."""
    g, z, s, w = FEATURES.at("i")
    loss = FEATURES.sum(s * (w - z * g * THETA) ** 2, "i")
    energy, load = FEATURES.power_sum(0, 0, 1, 2), FEATURES.power_sum(0, 2, 1, 0)
    inner = FEATURES.sum(explained("i"), "i")
    loss = loss.subs(FEATURES.power_sum(2, 2, 1, 0), load)  # g^2 = 1
    best = inner / load if given is None else given
    require_identity(
        loss, energy - inner**2 / load + load * (THETA - best) ** 2, "sum s (w - lambda g theta)^2"
    )
    return "a cell of every size, all s, w, lambda, theta, signs; u(cell) > 0"


def mean_over_signs(_: Level, mean: Any = None) -> str:
    """E R = sum e_i (1 - u_i/u(cell))."""
    average = mean or over_signs
    diagonal = FEATURES.sum(average(explained("i") ** 2, "i"), "i")
    pairs = FEATURES.sum_distinct(average(explained("i") * explained("j"), "i", "j"))
    _, z, s, w = FEATURES.at("i")
    products = FEATURES.sum((z**2 * s) * (s * w**2), "i")  # sum u e
    require_identity(diagonal + pairs, products, "E (sum g lambda s w)^2")
    return "a cell of every size, pairwise uncorrelated signs"


def variance_over_signs(_: Level, factor: int = 2) -> str:
    """Var (sum g_i a_i)^2 = 2 sum over i != j of (a_i a_j)^2.

    (sum g a)^2 = sum a^2 + sum over i != j of g_i g_j a_i a_j. The square of the last sum has mean
    2 sum (a_i a_j)^2 from the pairs {i, j} that come twice; any other product of signs has mean 0.
    """
    a, b, c, d = sp.symbols("a:4")
    signs = sp.symbols("g:4")
    values = (a, b, c, d)
    pairs = sum(signs[i] * signs[j] * values[i] * values[j] for i in range(4) for j in range(4) if i != j)
    mean = sp.expand(pairs**2)
    for sign in signs:
        terms = sp.Poly(mean, sign).terms()
        mean = sp.Add(*(factor_ for (power,), factor_ in terms if power % 2 == 0))
    closed = factor * sum((values[i] * values[j]) ** 2 for i in range(4) for j in range(4) if i != j)
    require_identity(mean, closed, "Var (sum g a)^2")
    return "every n: a monomial has at most four indices; signs with zero 2nd and 4th mixed moments"


def pair_gain(first: tuple[Any, Any, Any], second: tuple[Any, Any, Any]) -> Any:
    """(u_i - u_j)(e_i - e_j) of two weights, each given by its scale, variance and target."""
    (z, s, w), (y, t, v) = first, second
    return sp.expand((z**2 * s - y**2 * t) * (s * w**2 - t * v**2))


def covariance(_: Level, kept: Any = 1 / SIZE) -> str:
    """m | n: what pruning loses more than fold, per cell, is k Cov(u, e)/u(cell)."""
    (u, e), (v, f) = PAIRED.at("i"), PAIRED.at("j")
    load, energy, products = PAIRED.power_sum(1, 0), PAIRED.power_sum(0, 1), PAIRED.power_sum(1, 1)
    prune, fold = (1 - kept) * energy, energy - products / load
    cov = products / SIZE - (load / SIZE) * (energy / SIZE)
    require_identity(prune - fold, SIZE * cov / load, "E R_prune - E R_fold of a cell")
    pairs = PAIRED.sum_distinct((u - v) * (e - f)) / 2
    require_identity(SIZE**2 * cov, pairs, "k^2 Cov as a sum over pairs")
    return "a cell of every size k = n/m, all u > 0 and e"


def equal_weights(_: Level, power: int = 0) -> str:
    """Equal w and scales: the gain of a cell is w^2 Var(s)/mean(s)."""
    features, w = Family("", SIZE, "s"), sp.Symbol("w")
    (s,), (t,) = features.at("i"), features.at("j")
    load, squares = features.power_sum(1), features.power_sum(2)
    pairs = features.sum_distinct((s - t) * w**2 * (s ** (1 + power) - t ** (1 + power))) / 2
    variance, mean = squares / SIZE - (load / SIZE) ** 2, load / SIZE
    require_identity(pairs / (SIZE * load), w**2 * variance / mean, "gain of a cell")
    return "a cell of every size k = n/m; zero iff s is constant in the cell"


def knowing_scales(_: Level, power: Any = 1) -> str:
    """Scales s^(-1/2) tie, scales |w| never lose, pair by pair; w^2 = s^a turns round at a = -1."""
    s, t, w, v, a = sp.symbols("s t w v a", positive=True)
    tie = pair_gain((s**-sp.S.Half, s, w), (t**-sp.S.Half, t, v))
    require_identity(tie, 0, "scales s^(-1/2)")
    known = pair_gain((w**power, s, w), (v**power, t, v))
    require_identity(known, (s * w**2 - t * v**2) ** 2, "scales |w|")
    for above in (a, -a, 0):  # w^2 = s^(above - 1): e = s^above
        slope = sp.diff(s * s ** (above - 1), s)
        require(sp.simplify(slope - above * s ** (above - 1)) == 0, f"de/ds = {slope}")
    return "each pair of a cell, so a cell of every size; e = s^(a+1) rises with s iff a > -1"


def pruning(_: Level, pair: Any = None) -> str:
    """Exact pruning: mean (1 - m/n) sum e, variance m(n-m)/(n(n-1)) sum (e - mean e)^2 over draws."""
    energies = Family("", N, "e")
    (e,), (f,) = energies.at("i"), energies.at("j")
    one = M / N
    both = M * (M - 1) / (N * (N - 1)) if pair is None else pair
    mean = energies.power_sum(1) - one * energies.sum(e, "i")
    require_identity(mean, (1 - M / N) * energies.power_sum(1), "E R_prune")
    variance = (one - one**2) * energies.sum(e**2, "i") + (both - one**2) * energies.sum_distinct(e * f)
    spread = energies.power_sum(2) - energies.power_sum(1) ** 2 / N
    require_identity(variance, M * (N - M) / (N * (N - 1)) * spread, "Var R_prune")
    return "every n >= 2, 1 <= m <= n, all e"


def isotropic(_: Level, load: Any = SIZE) -> str:
    """s = lambda = 1, m | n: R = |w|^2 - (m/n)|Sw|^2, since every cell has u(cell) = n/m."""
    inner = sp.Symbol("sum_[g w]")
    energy = sp.Symbol("sum_[w^2]")
    require_identity(energy - inner**2 / load, energy - inner**2 * M / (SIZE * M), "R of a cell")
    ones = FEATURES.sum(sp.Integer(1), "i")
    require_identity(ones, load, "u(cell)")
    return "every m and k = n/m, every draw"


CHECKS = (
    Check(
        12,
        "residual of a cell",
        "R = sum e - (sum sign lambda s w)^2 / u(cell), at theta = sum sign lambda s w / u(cell)",
        "symbolic",
        one_cell,
        "theta = 0",
        lambda: one_cell(Level.QUICK, sp.Integer(0)),
    ),
    Check(
        12,
        "mean over signs",
        "E R = sum_i e_i (1 - u_i/u(cell(i)))",
        "symbolic",
        mean_over_signs,
        "all signs +1",
        lambda: mean_over_signs(
            Level.QUICK, lambda p, *at: p.subs(dict.fromkeys((FEATURES.at(i)[0] for i in at), 1))
        ),
    ),
    Check(
        12,
        "variance over signs",
        "Var(R | cells) = sum over cells of 2 sum_{i != j} (a_i a_j)^2/u(cell)^2, a = lambda s w",
        "symbolic",
        variance_over_signs,
        "each pair counted once",
        lambda: variance_over_signs(Level.QUICK, 1),
    ),
    Check(
        12,
        "advantage as a covariance",
        "m | n: E R_prune - E R_fold = sum over cells of k Cov(u, e)/u(cell), by pairs (u_i-u_j)(e_i-e_j)",
        "symbolic",
        covariance,
        "a share of kept weights other than m/n",
        lambda: covariance(Level.QUICK, 1 / (SIZE + 1)),
    ),
    Check(
        12,
        "equal weights",
        "m | n, equal |w| and scales: E R_prune - E R_fold = w^2 sum over cells of Var(s)/mean(s) >= 0",
        "symbolic",
        equal_weights,
        "w^2 = s in the place of equal w",
        lambda: equal_weights(Level.QUICK, 1),
    ),
    Check(
        12,
        "scales that know",
        "m | n: scales s^(-1/2) tie with pruning, scales |w| never lose; w^2 = s^a: fold wins iff a > -1",
        "symbolic",
        knowing_scales,
        "scales w^2 for |w|",
        lambda: knowing_scales(Level.QUICK, 2),
    ),
    Check(
        12,
        "pruning's residual",
        "E R = (1 - m/n) sum e, Var R = m(n-m)/(n(n-1)) sum (e - mean e)^2",
        "symbolic",
        pruning,
        "keeps independent of each other",
        lambda: pruning(Level.QUICK, (M / N) ** 2),
    ),
    Check(
        12,
        "isotropic features",
        "s = lambda = 1, m | n: R = |w|^2 - (m/n)|Sw|^2 in every draw",
        "symbolic",
        isotropic,
        "a cell with one weight more",
        lambda: isotropic(Level.QUICK, SIZE + 1),
    ),
)
