r"""Claim 6 symbolically: means over data, for symbols n, m, number of laps and length of the last.

Shows: for every n, m and ragged last lap. Sums over weights and laps are power sums; laws of the data enter
by their moments, as symbols, so that each identity holds for every law that has them.
Does not show: anything for laws without fourth moments where one occurs.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs_checks.check import Check, Level, require
from proofs_checks.symbolic.identities import require_identity
from proofs_checks.symbolic.sums import Family

M, K, R = sp.symbols("m k r", positive=True)
N = (K - 1) * M + R
PAIRS = N**2 - (K - 1) * M**2 - R**2  # ordered pairs in different laps, D
RHO = PAIRS / (N * (N - M))
ALPHA, BETA, GAMMA = sp.symbols("alpha beta gamma")
BERNOULLI = N * (N - M) / M * GAMMA
EXACT = N * (N - M) / M * (GAMMA - BETA)
Moments = tuple[Any, ...]  # E z, E z^2, …


def expectation(polynomial: Any, laws: dict[Any, Moments]) -> Any:
    """The mean of a polynomial in independent variables, each with its moments."""
    for letter, moments in laws.items():
        raw = (1, *moments)
        terms = sp.Poly(polynomial, letter).terms()
        polynomial = sp.Add(*(factor * raw[power] for (power,), factor in terms))
    return sp.expand(polynomial)


def pair_moments(x: Any, y: Any, laws: dict[Any, Moments]) -> tuple[Any, Any, Any]:
    """alpha = E[x^2] E[y^2], beta = E[xy]^2, gamma = E[x^2 y^2]."""
    second = expectation(x**2, laws) * expectation(y**2, laws)
    return second, expectation(x * y, laws) ** 2, expectation(x**2 * y**2, laws)


# ------------------------------------------------------------------------------ variance profiles


def profiles(_: Level, cov: Any = 0) -> str:
    """E of each variance where x and y are independent, E x_i^2 = E y_i^2 = s_i, E x_i x_j = cov = 0."""
    n, other = sp.Symbol("n", positive=True), sp.Symbol("E[y_i y_j]")
    weights = Family("", n, "s")
    (s,), (t,) = weights.at("i"), weights.at("j")
    squares = weights.power_sum(2)  # E a_i^2 = s_i^2
    products = weights.sum_distinct(cov * other)  # E a_i a_j = E x_i x_j E y_i y_j
    exact = (n / M - 1) * n / (n - 1) * (squares - (squares + products) / n)
    require_identity(exact, (n / M - 1) * squares, "E V_exact")
    hashed = weights.sum_distinct(s * t + cov * other) / M
    closed = (weights.power_sum(1) ** 2 - squares) / M
    require_identity(hashed, closed, "E V_hashed")
    laps = Family("lap", sp.Symbol("k"), "S")
    (a,), (b,) = laps.at("p"), laps.at("q")
    require_identity(
        laps.sum_distinct(a * b, "p", "q"), laps.power_sum(1) ** 2 - laps.power_sum(2), "m E V_fold"
    )
    return "every n, m and profile; fold for every order and length of laps"


def random_order(_: Level, pairs: Any = PAIRS) -> str:
    """Fold's mean over all orders: D of the n(n-1) ordered pairs are in different laps."""
    require_identity(PAIRS, N * (N - M) + R * (M - R), "D")
    weights = Family("", N, "s")
    (s,), (t,) = weights.at("i"), weights.at("j")
    mean = pairs / (N * (N - 1)) * weights.sum_distinct(s * t) / M
    closed = RHO * (N - M) / (M * (N - 1)) * (weights.power_sum(1) ** 2 - weights.power_sum(2))
    require_identity(mean, closed, "E V_fold in random order")
    return "every m, k and length r of the last lap, every profile"


def cauchy_schwarz(_: Level, weight: Any = K - 1) -> str:
    """The difference under m | n as a sum of squares."""
    inside = Family("p", M, "s")
    (s,), (t,) = inside.at("i"), inside.at("j")
    laps = Family("lap", K, "SQ")  # sums of s and of s^2 over a lap
    (a, q), (b, _q) = laps.at("p"), laps.at("q")
    spread = inside.sum_distinct((s - t) ** 2) / 2  # over i < j of a lap
    spread = spread.subs({inside.power_sum(1): a, inside.power_sum(2): q})
    squares = weight * laps.sum(spread, "p") + laps.sum_distinct((a - b) ** 2, "p", "q") / 2
    total, level, within = laps.power_sum(1, 0), laps.power_sum(0, 1), laps.power_sum(2, 0)
    require_identity((K - 1) * M * level - (total**2 - within), squares, "m (E V_prune - E V_fold)")
    return (
        "every m and k: zero iff s is constant in each lap and laps have equal sums, so iff all s are equal"
    )


def worst_profile(_: Level, root: Any = None) -> str:
    """lambda sum s^2 - m V_fold as squares: fold/prune is at most lambda/(n-m), ragged laps included.

    With w_p = n_p/(lambda+n_p), which add up to 1: lambda sum_p (Q_p - S_p^2/n_p), not negative by
    Cauchy-Schwarz inside a lap, and sum_{p<q} w_p w_q (S_p/w_p - S_q/w_q)^2.
    """
    lam, size = sp.symbols("lambda n_p", positive=True)
    laps = Family("lap", K, "SQwgd")  # lap sums of s and s^2; w_p; g = S^2/w; d = S^2/n
    (a, q, w, g, d), (b, _, z, h, _) = laps.at("p"), laps.at("q")
    gaps = laps.sum_distinct(g * z + h * w - 2 * a * b, "p", "q") / 2
    within = laps.power_sum(2, 0, 0, 0, 0)
    known = {laps.power_sum(0, 0, 1, 0, 0): 1, laps.power_sum(0, 0, 1, 1, 0): within}
    known |= {laps.power_sum(0, 0, 0, 1, 0): lam * laps.power_sum(0, 0, 0, 0, 1) + within}
    require_identity((lam + size) / size, lam / size + 1, "1/w_p, hence g = lambda d + S^2")
    fold = laps.power_sum(1, 0, 0, 0, 0) ** 2 - within
    squares = lam * laps.sum(q - d, "p") + gaps.subs(known)
    require_identity(lam * laps.power_sum(0, 1, 0, 0, 0) - fold, squares, "lambda sum s^2 - m V_fold")
    found = ((K - 2) * M + sp.sqrt((K - 2) ** 2 * M**2 + 4 * (K - 1) * M * R)) / 2 if root is None else root
    weights = (K - 1) * M / (found + M) + R / (found + R) - 1
    require(sp.simplify(weights) == 0, f"lambda = {found}: the w_p do not add up to 1")
    ratio = (found / (N - M)).subs(K, 2)
    require(sp.simplify(ratio**2 - M / R) == 0, f"k = 2: the ratio is {ratio}")
    return "every m, k, r: lambda = ((k-2)m + sqrt((k-2)^2 m^2 + 4(k-1)mr))/2; sqrt(m/r) at k = 2"


def ragged(_: Level, last: Any = R) -> str:
    """All s equal: fold/prune is rho, above 1 on a ragged last lap."""
    excess = sp.cancel(RHO.subs(R, last) - 1)
    require(excess != 0, "fold and pruning tie")
    require_identity(excess, R * (M - R) / (N * (N - M)), "rho - 1")
    sizes = RHO.subs({K: 2, M: 2, R: 1}), sp.cancel(RHO.subs({K: 2, R: 1}))
    require(sizes[0] == sp.Rational(4, 3), f"n=3, m=2: {sizes[0]}")
    require_identity(sizes[1], 2 * M / (M + 1), "n = m+1")
    return "rho - 1 = r(m-r)/(n(n-m)) > 0 for 0 < r < m; n=3, m=2: 2 against 3/2; 2m/(m+1) at n = m+1"


def sharp_rho(_: Level, offset: int = 1) -> str:
    """The largest rho for k laps, as a square: sharper than 1 + 1/(4(k-1)(k-2))."""
    u, t = sp.symbols("u t", positive=True)  # u = k-1 laps before the last, t = r/m
    root = sp.sqrt(u**2 - offset)
    bound = sp.expand((u - root) ** 2)
    slack = sp.expand(bound * (u + t) * (u - 1 + t) - t * (1 - t))
    at = sp.expand(bound * (2 * u - 1) - 1) / (-2 * (1 + bound))  # where the slack touches 0
    square = sp.expand((1 + bound) * (t**2) - 2 * (1 + bound) * at * t)
    rest = sp.simplify(slack - square - (1 + bound) * at**2)
    require(rest == 0, f"the slack is no square: {rest} is left")
    require_identity(RHO.subs({R: t * M, K: u + 1}) - 1, t * (1 - t) / ((u + t) * (u - 1 + t)), "rho - 1")
    values = [sp.nsimplify(bound.subs(u, k - 1)) for k in (2, 3)]
    require(values[0] == 1 and sp.expand(values[1] - 7 + 4 * sp.sqrt(3)) == 0, f"k = 2, 3: {values}")
    return (
        "every m, k, r: rho - 1 <= (k-1 - sqrt((k-1)^2 - 1))^2, approached as m grows; 7 - 4 sqrt(3) at k = 3"
    )


# -------------------------------------------------------------------------------------- iid pairs


def thresholds(_: Level, correction: Any = 1) -> str:
    """Means over i.i.d. pairs and where they cross."""
    weights = Family("", N, "a")
    one = weights.sum(GAMMA * correction, "i")
    two = weights.sum_distinct(BETA)
    require_identity((N / M - 1) * one, BERNOULLI, "E V_Bernoulli")
    exact = (N / M - 1) * N / (N - 1) * (one - (one + two) / N)
    require_identity(exact, EXACT, "E V_exact")
    fold = PAIRS / M * (ALPHA + BETA)
    scale = N * (N - M) / M
    require_identity(BERNOULLI - fold, scale * (GAMMA - RHO * (ALPHA + BETA)), "Bernoulli - fold")
    require_identity(EXACT - fold, scale * (GAMMA - BETA - RHO * (ALPHA + BETA)), "exact - fold")
    hashed = N * (N - 1) / M * (ALPHA + BETA)
    share = (N - 1) / (N - M)
    require_identity(BERNOULLI - hashed, scale * (GAMMA - share * (ALPHA + BETA)), "Bernoulli - hashed")
    return "every m, k, r and every law with these moments"


def norms(_: Level, kurtosis: Any = 2) -> str:
    """x = y and m | n: raw kurtosis 2 against Bernoulli, 3 against exact."""
    z = sp.Symbol("z")
    laws = {z: sp.symbols("z1:5")}
    a, b, c = pair_moments(z, z, laws)
    gap, second = sp.expand(c - a - b), laws[z][1]
    require_identity(gap, laws[z][3] - kurtosis * second**2, "gamma - alpha - beta")
    require_identity(gap - b, laws[z][3] - (kurtosis + 1) * second**2, "gamma - alpha - 2 beta")
    return "every law, any mean; m | n, where rho = 1"


def families(_: Level, mean: Any = 0) -> str:
    """Correlated copies, Gaussian pairs, independent pairs, scale mixtures."""
    x, z, t = sp.symbols("x z t")
    c, kappa, variance = sp.symbols("c kappa v")
    d = sp.Symbol("d")  # d^2 = 1 - c^2
    law = (mean, 1, sp.Symbol("skew"), kappa)
    a, b, gamma = (
        sp.rem(part, d**2 - 1 + c**2, d) for part in pair_moments(x, c * x + d * z, {x: law, z: law})
    )
    require_identity(gamma - a - b, c**2 * (kappa - 2), "correlated copies against Bernoulli")
    require_identity(gamma - a - 2 * b, c**2 * (kappa - 3), "correlated copies against exact")
    second, fourth = sp.symbols("E[t^2] E[t^4]")
    normal = (0, 1, 0, 3)
    laws = {x: normal, z: normal, t: (sp.Symbol("E[t]"), second, sp.Symbol("E[t^3]"), fourth)}
    a, b, gamma = (
        sp.rem(sp.expand(part), d**2 - 1 + c**2, d) for part in pair_moments(t * x, t * (c * x + d * z), laws)
    )
    gap = (1 + 2 * c**2) * (fourth - second**2)
    require_identity(gamma - a - 2 * b, gap, "scale mixtures against exact")
    return "every law of mean 0 and variance 1, every correlation c; mixtures: (1+2c^2) Var(t^2) >= 0"


def means_move_the_threshold(_: Level, mean: Any = None) -> str:
    """y = c x + sqrt(1-c^2) x' with a mean: the thresholds 2 and 3 are lost."""
    x, z, c, d, kappa = sp.symbols("x z c d kappa")
    mu = sp.Rational(1, 2) if mean is None else mean
    law = (mu, 1, mu, kappa)
    values = {c: sp.Rational(3, 5), d: sp.Rational(4, 5), kappa: 3}
    a, b, gamma = pair_moments(x, c * x + d * z, {x: law, z: law})
    tie = (gamma - a - 2 * b).subs(values)
    require(tie != 0, "a tie at raw kurtosis 3")
    return f"E x = E x^3 = 1/2, E x^2 = 1, E x^4 = 3, c = 3/5: gamma - alpha - 2 beta = {tie}"


CHECKS = (
    Check(
        6,
        "means for a variance profile",
        "E V = (n/m-1) sum s^2 (prune), (1/m)[(sum s)^2 - sum s^2] (hashed), with lap sums (fold)",
        "symbolic",
        profiles,
        "entries of both vectors correlated",
        lambda: profiles(Level.QUICK, sp.Symbol("E[x_i x_j]")),
    ),
    Check(
        6,
        "mean over orders",
        "in random order E V_fold = rho (n-m)/(m(n-1)) [(sum s)^2 - sum s^2], D = n(n-m) + r(m-r)",
        "symbolic",
        random_order,
        "the count of pairs for m | n on a ragged size",
        lambda: random_order(Level.QUICK, N * (N - M)),
    ),
    Check(
        6,
        "pruning less fold as a sum of squares",
        "m | n: m(E V_prune - E V_fold) = (k-1) sum_p sum_{i<j in p} (s_i-s_j)^2 + sum_{p<q} (S_p-S_q)^2",
        "symbolic",
        cauchy_schwarz,
        "k for k - 1",
        lambda: cauchy_schwarz(Level.QUICK, K),
    ),
    Check(
        6,
        "worst order and profile",
        "E V_fold/E V_prune <= lambda/(n-m), sum n_p/(lambda + n_p) = 1",
        "symbolic",
        worst_profile,
        "lambda = sqrt(mr) for every k",
        lambda: worst_profile(Level.QUICK, sp.sqrt(M * R)),
    ),
    Check(
        6,
        "ragged laps",
        "fails for equal s if m does not divide n: fold/prune = rho > 1",
        "symbolic",
        ragged,
        "a full last lap",
        lambda: ragged(Level.QUICK, M),
        scope="fails outside",
    ),
    Check(
        6,
        "sharp rho",
        "rho <= 1 + (k-1 - sqrt((k-1)^2 - 1))^2",
        "symbolic",
        sharp_rho,
        "sqrt((k-1)^2 - 2)",
        lambda: sharp_rho(Level.QUICK, 2),
    ),
    Check(
        6,
        "iid pairs",
        "fold beats Bernoulli iff gamma >= rho(alpha+beta), exact iff gamma >= rho(alpha+beta) + beta",
        "symbolic",
        thresholds,
        "an n-1 correction to gamma",
        lambda: thresholds(Level.QUICK, N / (N - 1)),
    ),
    Check(
        6,
        "kurtosis",
        "norms, m | n: fold beats Bernoulli iff E x^4 >= 2 (E x^2)^2, exact iff >= 3",
        "symbolic",
        norms,
        "3 for Bernoulli",
        lambda: norms(Level.QUICK, 3),
    ),
    Check(
        6,
        "families of pairs",
        "copies of correlation c keep 2 and 3, Gaussian pairs tie with exact, mixtures never favour pruning",
        "symbolic",
        families,
        "copies with a mean",
        lambda: families(Level.QUICK, sp.Symbol("mu")),
    ),
    Check(
        6,
        "copies with a mean",
        "fails as a threshold of raw kurtosis 3 if E x != 0 and 0 < c < 1",
        "symbolic",
        means_move_the_threshold,
        "mean 0",
        lambda: means_move_the_threshold(Level.QUICK, 0),
        scope="fails outside",
    ),
)
