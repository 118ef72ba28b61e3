"""Claim 12 by enumeration: what the best theta leaves of a linear model with uncorrelated features.

Shows: at each size listed, for the variances s and scales lambda listed, zeros among them, and *all* weights
w, the loss of a draw and its mean, as forms in w. The loss itself comes from the normal equations by
elimination, which knows nothing of cells.
Does not show: other sizes, other s and lambda (the loss is rational in both); variances (residual_spread).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.polynomials import difference
from proofs_checks.residuals import design, diagonal, groupings, pairwise_signs, residual

Numbers = Sequence[Fraction | int]


def profiles(n: int) -> Iterator[tuple[list[Fraction], list[Fraction]]]:
    """(s, lambda): flat, uneven, without some variances, without some scales."""
    flat, uneven = [Fraction(1)] * n, [Fraction(1, i + 1) for i in range(n)]
    rising = [Fraction(i + 2, 3) for i in range(n)]
    yield flat, flat
    yield uneven, rising
    yield [Fraction(i % 3) for i in range(n)], rising
    yield uneven, [Fraction((i + 1) % 3) for i in range(n)]


def loss(cells: Any, signs: Any, s: Numbers, scales: Numbers) -> Any:
    """Form in w of the loss of one draw, by elimination."""
    return residual(diagonal(s), design(cells, signs, int(max(cells)) + 1, scales))


def cell_formula(cells: Any, signs: Any, s: Numbers, scales: Numbers) -> Any:
    """Form of sum e - sum over cells of (sum sign lambda s w)^2 / u(cell), 0/0 = 0."""
    form = diagonal(s)
    pulls = np.array(s, dtype=object) * scales * signs
    held = pulls * scales * signs
    for cell in set(cells.tolist()):
        inside, total = pulls * (cells == cell), held[cells == cell].sum()
        form = form - (np.multiply.outer(inside, inside) / total if total else 0)
    return form


def mean_formula(cells: Any, s: Numbers, scales: Numbers) -> Any:
    """Form of sum e_i (1 - u_i/u(cell(i))), 0/0 = 0."""
    held = np.array(s, dtype=object) * scales * scales
    carried = [held[cells == cell].sum() for cell in cells]
    won = [mine / all_ if all_ else Fraction(0) for mine, all_ in zip(held, carried, strict=True)]
    return diagonal([a * (1 - share) for a, share in zip(s, won, strict=True)])


def require_same(found: Any, expected: Any, name: str) -> None:
    """Do nothing if both forms are the same."""
    where = difference(found, expected)
    require(not where, f"{name}: {where}")


def one_draw(level: Level) -> str:
    """Every map with a cell and a sign in {-1, 0, +1} for every weight: all sharings and all prunings."""
    sizes = level.pick([(2, 2), (3, 2)], [(2, 3), (3, 3)], [(3, 3), (4, 3), (4, 4)])
    for n, m in sizes:
        for cells, signs in product(u.hashed_cells(n, m), product((-1, 0, 1), repeat=n)):
            for s, scales in profiles(n):
                require_draw(cells, np.array(signs), s, scales)
    return f"every map and sign in -1, 0, +1 for (n, m) = {sizes}; 4 profiles of s, lambda; all w"


def require_draw(cells: Any, signs: Any, s: Numbers, scales: Numbers, kept: Any = None) -> None:
    """Do nothing if elimination and the formula agree; ``kept`` replaces the scales in the formula."""
    expected = cell_formula(cells, signs, s, scales if kept is None else kept)
    require_same(loss(cells, signs, s, scales), expected, f"cells {cells}, signs {signs}, s={s}")


def over_signs(level: Level) -> str:
    """Every way to share cells, by the fewest signs that are pairwise independent."""
    most = level.pick(3, 4, 5)
    for n in range(1, most + 1):
        for cells in groupings(n, n):
            for s, scales in profiles(n):
                require_mean(cells, pairwise_signs(n), s, scales)
    return f"every grouping of n <= {most} weights; 4 profiles of s, lambda; all w"


def require_mean(cells: Any, signs: Any, s: Numbers, scales: Numbers) -> None:
    """Do nothing if the loss averages to the formula over these signs."""
    mean = sum(loss(cells, row, s, scales) for row in signs) / Fraction(len(signs))
    require_same(mean, mean_formula(cells, s, scales), f"cells {cells}, {len(signs)} signs, s={s}")


def correlated_signs(level: Level) -> str:
    """All signs +1: some e_i e_j (i != j in one cell) is left, and (1, 1) loses nothing at n=2, m=1."""
    most = level.pick(4, 6, 8)
    for n in range(2, most + 1):
        require_biased(n, np.ones((1, n), dtype=np.int64))
    return f"one cell, 2 <= n <= {most}, s = lambda = w = 1: loss 0 against n - 1"


def require_biased(n: int, signs: Any) -> None:
    """Do nothing if equal features in one cell lose nothing on average over these signs."""
    cells, flat = np.zeros(n, dtype=np.int64), [Fraction(1)] * n
    lost = sum(loss(cells, row, flat, flat).sum() for row in signs) / Fraction(len(signs))
    formula = mean_formula(cells, flat, flat).sum()
    require(lost == 0 < formula == n - 1, f"n={n}, m=1: mean loss {lost}, formula {formula}")


def pruning(level: Level) -> str:
    """Mean (1 - m/n) sum e over subsets and over independent masks, for positive scales."""
    most = level.pick(3, 4, 5)
    for n in range(1, most + 1):
        for m in range(1, n + 1):
            for s, scales in list(profiles(n))[:3]:
                for kind in (u.keep_exact, u.keep_bernoulli):
                    require_pruned(kind(n, m), s, scales, 1 - Fraction(m, n))
    return f"1 <= m <= n <= {most}; 3 profiles of s, positive lambda; all w"


def require_pruned(universe: u.Universe, s: Numbers, scales: Numbers, share: Fraction) -> None:
    """Do nothing if pruning loses this share of sum e."""
    draws = zip(universe.cells, universe.signs, universe.weights.tolist(), strict=True)
    mean = sum(k * loss(cells, signs, s, scales) for cells, signs, k in draws) / Fraction(universe.total)
    require_same(mean, share * diagonal(s), f"n={universe.n}, pruning, s={s}")


def without_variance(level: Level) -> str:
    """A feature with s_i = 0 costs nothing and takes nothing: the loss is that of the others."""
    most = level.pick(3, 3, 4)
    for n in range(2, most + 1):
        for cells, signs, gone in product(groupings(n, n), u.all_signs(n), range(n)):
            require_idle(cells, signs, gone, Fraction(0))
    return f"every grouping and sign of n <= {most} features, each in turn without variance"


def require_idle(cells: Any, signs: Any, gone: int, variance: Fraction) -> None:
    """Do nothing if the loss with this variance at one feature is the loss without the feature."""
    n = len(cells)
    s, scales = [Fraction(i + 1, 2) for i in range(n)], [Fraction(i + 2, 3) for i in range(n)]
    s[gone] = variance
    others = np.delete(np.arange(n), gone)
    found = loss(cells, signs, s, scales)
    left = loss(cells[others], signs[others], [s[i] for i in others], [scales[i] for i in others])
    same = not found[gone].any() and not difference(found[np.ix_(others, others)], left)
    require(same, f"cells {cells}, signs {signs}, feature {gone} with variance {variance}: {found}")


CHECKS = (
    Check(
        12,
        "loss of a draw",
        "R = sum e - sum over cells of (sum sign lambda s w)^2/u(cell), u = lambda^2 s, 0/0 = 0",
        "enumeration",
        one_draw,
        "the scales are left out",
        lambda: require_draw(np.array([0, 0]), np.array([1, 1]), [Fraction(1)] * 2, [1, Fraction(2)], [1, 1]),
    ),
    Check(
        12,
        "mean over signs",
        "E R = sum e_i (1 - u_i/u(cell(i))) for signs that are pairwise uncorrelated",
        "enumeration",
        over_signs,
        "the signs of 0 and 1 are equal",
        lambda: require_mean(np.array([0, 0]), [[1, 1], [-1, -1]], [Fraction(1)] * 2, [Fraction(1)] * 2),
    ),
    Check(
        12,
        "signs that are correlated",
        "the mean fails for correlated signs: with all signs +1 equal features in one cell lose nothing",
        "enumeration",
        correlated_signs,
        "independent signs",
        lambda: require_biased(2, u.all_signs(2)),
        scope="fails outside",
    ),
    Check(
        12,
        "mean loss of pruning",
        "E R = (1 - m/n) sum e, exact subset and Bernoulli, scales positive",
        "enumeration",
        pruning,
        "m/n in place of 1 - m/n",
        lambda: require_pruned(u.keep_exact(3, 1), [Fraction(1)] * 3, [Fraction(1)] * 3, Fraction(1, 3)),
    ),
    Check(
        12,
        "features without variance",
        "s_i = 0 costs nothing and takes nothing from its cell",
        "enumeration",
        without_variance,
        "a feature of variance 1",
        lambda: require_idle(np.array([0, 0]), np.array([1, 1]), 1, Fraction(1)),
    ),
)
