"""Claim 20 by enumeration: fold is optimal, among one-cell maps in the worst case, among all maps on average.

Shows: (a) at each size listed, that no map, whatever its signs, has a smaller squared error of |Sx|^2 than
the bound, averaged over flat x with fair signs; so no unbiased law of maps has a smaller worst variance over
unit x. That fold attains it with m | n, and for every n in random order, from a slack that is semidefinite
in the squares x_i^2 (variances by claim 3). (b), (c) the mean over the unit sphere of every mapping, from
E x_i x_j x_k x_l = (d_ij d_kl + d_ik d_jl + d_il d_jk)/(n(n+2)), the moments of normal vectors over those of
their length; and the step tr K^2 >= (tr K)^2/m, K = S'S, as an identity in the entries of *every* real S.
Does not show: other sizes.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.enumeration.worst_profile import nonnegative
from proofs_checks.polynomials import evaluate, exact, lattice, meeting, variance_form


def worst_bound(n: int, m: int) -> Fraction:
    """(2/n^2) [r k(k-1) + (m-r)(k-1)(k-2)]."""
    k = -(-n // m)
    last = n - (k - 1) * m
    return Fraction(2 * (last * k * (k - 1) + (m - last) * (k - 1) * (k - 2)), n * n)


def mean_bound(n: int, m: int) -> Fraction:
    """2(n-m)/(m(n+2))."""
    return Fraction(2 * (n - m), m * (n + 2))


def every_map(level: Level) -> str:
    """Signs are absorbed by those of x: a map is its cells, and a law can only mix maps."""
    most = level.pick(4, 5, 6)
    for n, m in product(range(1, most + 1), range(1, 5)):
        require_least(u.hashed_cells(n, m), m)
    return f"n <= {most}, m <= 4, every map, every law of cells and signs"


def require_least(every: Any, m: int) -> None:
    """Do nothing if the least error among these maps, averaged over flat unit x, is the bound."""
    n = every.shape[1]
    held = every[:, None, :] == np.arange(m)[:, None]
    error = ((held @ u.all_signs(n).T) ** 2).sum(axis=1) - n
    found = Fraction(int((error**2).sum(axis=1).min()), 2**n * n**2)
    require(found == worst_bound(n, m), f"n={n}, m={m}: {found} at least, bound {worst_bound(n, m)}")


def fold_attains(level: Level) -> str:
    """The worst norm variance over unit x is the bound."""
    most = level.pick(4, 6, 8)
    for n in range(1, most + 1):
        for m in range(1, n + 1):
            if n % m == 0:
                require_worst(meeting(u.fold_cells(n, m)), m, f"fold, n={n}, m={m}")
            if n <= min(most, 6):
                require_worst(meeting(u.reordered(u.fold_cells(n, m))), m, f"random order, n={n}, m={m}")
    return f"m | n <= {most}; random order, 1 <= m <= n <= {min(most, 6)}; for all x"


def require_worst(met: Any, m: int, name: str) -> None:
    """Do nothing if 2 sum p_ij e_i e_j <= bound (sum e)^2, semidefinite, with equality at flat e = x^2."""
    n = len(met)
    require(2 * met.sum() == n * n * worst_bound(n, m), f"{name}: {2 * met.sum()} / n^2 on a flat vector")
    slack = worst_bound(n, m) - 2 * met
    require(nonnegative(slack), f"{name}: slack {slack.tolist()} in the squares")


def ragged(level: Level) -> str:
    """m does not divide n: x on one weight of each lap has (2/m)(1 - 1/k), more than the bound."""
    most = level.pick(4, 5, 6)
    for n in range(2, most + 1):
        for m in range(2, n):
            if n % m:
                require_above(n, m)
    return f"2 <= m < n <= {most}, m not a divisor"


def require_above(n: int, m: int) -> None:
    """Do nothing if x on one weight per lap exceeds the bound."""
    x = (np.arange(n) % m == 0).astype(int)
    found = evaluate(variance_form(u.fold(n, m)), x, x) / int(x.sum()) ** 2
    expected = Fraction(2, m) * (1 - Fraction(1, int(x.sum())))
    require(found == expected > worst_bound(n, m), f"fold, n={n}, m={m}: {found}, bound {worst_bound(n, m)}")


def sphere_mean(variance: Any) -> Fraction:
    """Mean over the unit sphere of a quartic form."""
    n = len(variance)
    pairs = list(product(range(n), repeat=2))
    total = sum(variance[i, i, j, j] + variance[i, j, i, j] + variance[i, j, j, i] for i, j in pairs)
    return Fraction(total) / (n * (n + 2))


def tight(universe: u.Universe, m: int) -> bool:
    """Whether S S' = (n/m) I in every draw: K^2 = (n/m) K and tr K = n."""
    k = exact(universe.forms[universe.weights > 0]) * universe.rescale
    same = all((one @ one == Fraction(universe.n, m) * one).all() for one in k)
    return same and bool((np.trace(k, axis1=1, axis2=2) == universe.n).all())


def over_the_sphere(level: Level) -> str:
    """The mean variance is at least the bound, and equal to it iff every draw is tight."""
    most, attained = level.pick(3, 4, 5), set()
    for n in range(1, most + 1):
        for m in range(1, n + 1):
            for name, universe in u.unbiased(n, m):
                if require_mean(universe, m, name):
                    attained.add(name)
            expected = {f"exact, n={n}, m={m}"} | ({f"fold, n={n}, m={m}"} if n % m == 0 else set())
            require(expected <= attained, f"{expected} do not all attain the bound")
            loose = {f"hashed, n={n}, m={m}"} if m > 1 else set()
            loose |= {f"Bernoulli, n={n}, m={m}"} if m < n else set()
            require(not loose & attained, f"some of {loose} attain the bound")
    return f"1 <= m <= n <= {most}, every mapping and draw; {len(attained)} attain it"


def require_mean(universe: u.Universe, m: int, name: str) -> bool:
    """Whether the mean is the bound; it must not be below, and equal iff every draw is tight."""
    found, bound = sphere_mean(variance_form(universe)), mean_bound(universe.n, m)
    require(found >= bound, f"{name}: mean {found} below {bound}")
    require((found == bound) == tight(universe, m), f"{name}: mean {found}, bound {bound}, tight by {m}?")
    return found == bound


def fixed_map(level: Level) -> str:
    """One map alone has no variance: the bound needs E S'S = I."""
    most = level.pick(4, 5, 6)
    for n in range(2, most + 1):
        for m in range(1, n):
            require_below(alone(u.fold(n, m)), m)
    return f"1 <= m < n <= {most}, the first draw of fold alone"


def alone(universe: u.Universe) -> u.Universe:
    """Its first draw."""
    return u.Universe(universe.m, universe.cells[:1], universe.signs[:1], universe.weights[:1])


def require_below(universe: u.Universe, m: int) -> None:
    """Do nothing if the mean variance is below the bound."""
    found, bound = sphere_mean(variance_form(universe)), mean_bound(universe.n, m)
    require(found < bound, f"n={universe.n}, m={m}: mean {found}, bound {bound}")


def traces(level: Level) -> str:
    """m tr K^2 - (tr K)^2 = m sum_{a != b} G_ab^2 + sum_{a<b} (G_aa - G_bb)^2, G = S S'."""
    sizes = level.pick([(1, 3), (2, 2), (2, 3)], [(1, 4), (2, 4), (3, 3)], [(2, 5), (3, 4)])
    for m, n in sizes:
        require_squares(m, n, m)
    return f"(m, n) = {sizes}, every real S; 0 iff S S' is a multiple of I"


def require_squares(m: int, n: int, factor: int) -> None:
    """Do nothing if factor tr K^2 - (tr K)^2 is that sum of squares, at enough S for every S."""
    for entries in lattice(m * n, 4):
        s = entries.reshape(m, n)
        k, g = s.T @ s, s @ s.T
        own = np.diag(g)
        spread = m * ((g**2).sum() - (own**2).sum()) + ((own[:, None] - own) ** 2).sum() // 2
        found = factor * (k**2).sum() - np.trace(k) ** 2
        require(found == spread, f"m={m}, n={n}, S={s.tolist()}: {found} against {spread}")


def ratios(level: Level) -> str:
    """m | n: fold's worst case is (1 + 2/n) times the mean bound, pruning's n/2 times fold's."""
    most = level.pick(4, 5, 6)
    for n in range(2, most + 1):
        for m in (m for m in range(1, n) if n % m == 0):
            require_ratio(n, m, 1 + Fraction(2, n))
    return f"m | n <= {most}, m < n; pruning at a spike, where it is worst (claim 7)"


def require_ratio(n: int, m: int, ratio: Fraction) -> None:
    """Do nothing if the worst cases have this ratio to the mean bound, and n/2 to each other."""
    flat, spike = [1] * n, [1] + [0] * (n - 1)
    fold = evaluate(variance_form(u.fold(n, m)), flat, flat) / n**2
    found = fold / mean_bound(n, m)
    require(found == ratio, f"n={n}, m={m}: fold's worst is {found} times the mean bound")
    for kind in (u.keep_exact, u.keep_bernoulli):
        prune = evaluate(variance_form(kind(n, m)), spike, spike)
        require(prune == Fraction(n, 2) * fold, f"{kind.__name__}, n={n}, m={m}: {prune}, fold {fold}")


CHECKS = (
    Check(
        20,
        "no one-cell map is better",
        "(2/n^2)[r k(k-1) + (m-r)(k-1)(k-2)] bounds the worst norm variance of unbiased signed one-cell maps",
        "enumeration",
        every_map,
        "only maps of two weights to the first of three cells",
        lambda: require_least(np.array([[0, 0, 1]]), 3),
    ),
    Check(
        20,
        "fold attains the worst case",
        "with m | n in every order; in a uniformly random order for all n",
        "enumeration",
        fold_attains,
        "ragged laps in the given order",
        lambda: require_worst(meeting(u.fold_cells(3, 2)), 2, "fold, n=3, m=2"),
    ),
    Check(
        20,
        "ragged laps in a given order",
        "fails unless m | n: one weight per lap gives (2/m)(1 - 1/k) > bound; 1/2 against 4/9 at n=3",
        "enumeration",
        ragged,
        "whole laps",
        lambda: require_above(4, 2),
        scope="fails outside",
    ),
    Check(
        20,
        "mean over the sphere",
        "at least 2(n-m)/(m(n+2)) for unbiased maps; equal iff S S' = (n/m) I in every draw: "
        "fold with m | n, exact pruning; not hashed, not Bernoulli",
        "enumeration",
        over_the_sphere,
        "m + 1 cells for m",
        lambda: require_mean(u.fold(4, 2), 1, "fold, n=4, m=2"),
    ),
    Check(
        20,
        "every linear map",
        "m tr K^2 - (tr K)^2 = m sum_{a != b} G_ab^2 + sum_{a<b} (G_aa - G_bb)^2, K = S'S, G = SS'",
        "enumeration",
        traces,
        "m - 1 for m",
        lambda: require_squares(2, 2, 1),
    ),
    Check(
        20,
        "worst case against mean",
        "m | n: worst of fold = (1 + 2/n) 2(n-m)/(m(n+2)); worst of pruning = (n/2) worst of fold",
        "enumeration",
        ratios,
        "1 + 1/n",
        lambda: require_ratio(4, 2, Fraction(5, 4)),
    ),
    Check(
        20,
        "maps that are biased",
        "the mean bound fails without E S'S = I: one map alone has variance 0",
        "enumeration",
        fixed_map,
        "all draws of fold",
        lambda: require_below(u.fold(3, 2), 2),
        scope="fails outside",
    ),
)
