"""Claim 12 by enumeration: the variance of the loss, and equal features, where a draw's loss is |Sw|^2.

Shows: at each size listed, for the variances and scales listed and *all* weights w, the variance over signs
given the cells as a quartic form in w; the variance of pruning as a form in e = s w^2; and the isotropic
loss of every draw as a form in w.
Does not show: other sizes, other variances and scales.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.enumeration.linear_residual import Numbers, loss, profiles, require_same
from proofs_checks.polynomials import difference, for_norms, variance_form
from proofs_checks.residuals import diagonal, groupings


def spread_over_signs(level: Level) -> str:
    """Var(R | cells) = sum over cells of 2 sum_{i != j} (a_i a_j)^2/u(cell)^2, for all w."""
    most = level.pick(3, 4, 5)
    for n in range(1, most + 1):
        for cells in groupings(n, n):
            for s, scales in profiles(n):
                require_spread(cells, u.all_signs(n), s, scales)
    return f"every grouping of n <= {most} weights, every sign; 4 profiles of s, lambda; all w"


def require_spread(cells: Any, signs: Any, s: Numbers, scales: Numbers) -> None:
    """Do nothing if the variance of the loss over these signs is the formula, as a quartic form in w."""
    forms = [loss(cells, row, s, scales) for row in signs]
    mean = sum(forms) / Fraction(len(signs))
    found = sum(np.multiply.outer(form, form) for form in forms) / Fraction(len(signs))
    found = found - np.multiply.outer(mean, mean)
    a, held = np.array(s, dtype=object) * scales, np.array(s, dtype=object) * scales * scales
    expected = found * 0
    for i, j in np.ndindex(len(cells), len(cells)):
        total = held[cells == cells[i]].sum()
        if i != j and cells[i] == cells[j] and total:
            expected[i, i, j, j] += 2 * (a[i] * a[j] / total) ** 2
    require_same(for_norms(found), for_norms(expected), f"cells {cells}, {len(signs)} signs, s={s}")


def three_wise(level: Level) -> str:
    """Signs with product +1: any three are independent, four in one cell vary more."""
    most = level.pick(4, 5, 5)
    for n in range(4, most + 1):
        cells, flat = np.array([0] * 4 + [1] * (n - 4)), [Fraction(1)] * n
        require_wider(cells, even_signs(n), flat)
    return f"four features in one cell, n <= {most}, s = lambda = w = 1: variance 3, formula 3/2"


def even_signs(n: int) -> Any:
    """Signs of which the first four have the product +1: any three are independent."""
    signs = u.all_signs(n)
    return signs[signs[:, :4].prod(axis=1) == 1]


def require_wider(cells: Any, signs: Any, flat: Numbers) -> None:
    """Do nothing if w = 1 on the first four features has variance 3 over these signs, not 3/2."""
    lost = [loss(cells, row, flat, flat)[:4, :4].sum() for row in signs]
    mean = sum(lost) / Fraction(len(lost))
    spread = sum((value - mean) ** 2 for value in lost) / Fraction(len(lost))
    require(spread == 3, f"cells {cells}: variance {spread}")


def spread_of_pruning(level: Level) -> str:
    """Exact m(n-m)/(n(n-1)) sum (e_i - mean e)^2, Bernoulli (m/n)(1 - m/n) sum e_i^2, as forms in e."""
    most = level.pick(5, 7, 8)
    for n in range(2, most + 1):
        own, all_ = diagonal([1] * n), np.full((n, n), Fraction(1))
        for m in range(1, n + 1):
            share = Fraction(m, n)
            subset = share * (n - m) / (n - 1) * (own - all_ / n)
            require_same(dropped_spread(u.keep_exact(n, m)), subset, f"exact, n={n}, m={m}")
            by_itself = share * (1 - share) * own
            require_same(dropped_spread(u.keep_bernoulli(n, m)), by_itself, f"Bernoulli, n={n}, m={m}")
    return f"every mask, 1 <= m <= n <= {most}, n >= 2, for all e"


def dropped_spread(universe: u.Universe) -> Any:
    """Form in e of the variance of the e dropped, which is the loss of pruning."""
    dropped, weights = (1 - universe.signs).astype(object), universe.weights.astype(object)
    mean = weights @ dropped / Fraction(universe.total)
    return (dropped.T * weights) @ dropped / Fraction(universe.total) - np.multiply.outer(mean, mean)


def isotropic(level: Level) -> str:
    """s = lambda = 1, m | n: R = |w|^2 - (m/n)|Sw|^2 draw by draw, Var R = (m/n)^2 Var |Sw|^2."""
    sizes = level.pick([(2, 1), (4, 2)], [(2, 2), (3, 1), (4, 2)], [(4, 1), (4, 4), (6, 2), (6, 3)])
    for n, m in sizes:
        for universe in (u.fold(n, m), u.keep_exact(n, m)):
            require_isotropic(universe, m)
    return f"fold and exact pruning, (n, m) = {sizes}, every draw, all w"


def require_isotropic(universe: u.Universe, m: int) -> None:
    """Do nothing if every draw loses |w|^2 - (m/n)|Sw|^2, with the variance that this implies."""
    n = universe.n
    flat, share = [Fraction(1)] * n, Fraction(m, n) * universe.rescale
    forms = [loss(*draw, flat, flat) for draw in zip(universe.cells, universe.signs, strict=True)]
    for form, gram, cells in zip(forms, universe.forms, universe.cells, strict=True):
        require_same(form, diagonal(flat) - share * gram.astype(object), f"n={n}, m={m}, cells {cells}")
    rows = np.array([form.ravel() for form in forms])
    mean = rows.sum(axis=0) / Fraction(len(rows))
    spread = (rows - mean).T @ (rows - mean) / Fraction(len(rows))
    expected = Fraction(m, n) ** 2 * variance_form(universe)
    require_same(for_norms(spread.reshape((n,) * 4)), for_norms(expected), f"n={n}, m={m}, variance")


def not_isotropic(level: Level) -> str:
    """Ragged laps, hashed cells, unequal scales: some draw loses something else."""
    most = level.pick(3, 4, 5)
    for n in range(2, most + 1):
        for m in range(2, n + 1):
            if n % m:
                require_other(u.fold_cells(n, m), [Fraction(1)] * n, m)
            require_other(u.hashed_cells(n, m), [Fraction(1)] * n, m)
        require_other(u.fold_cells(n, 1), [Fraction(i + 1) for i in range(n)], 1)
    return f"ragged fold and hashed, 2 <= m <= n <= {most}; one cell with scales 1, .., n"


def require_other(drawn: Any, scales: Numbers, m: int) -> None:
    """Do nothing if in some draw R is not |w|^2 - (m/n)|Sw|^2, S with the signs +1."""
    n = drawn.shape[1]
    flat, signs = [Fraction(1)] * n, np.ones(n, dtype=np.int64)
    for cells in drawn:
        met = (cells[:, None] == cells).astype(object)
        if difference(loss(cells, signs, flat, scales), diagonal(flat) - Fraction(m, n) * met):
            return
    require(False, f"n={n}, m={m}, scales {scales}: every draw loses |w|^2 - (m/n)|Sw|^2")


CHECKS = (
    Check(
        12,
        "variance over signs",
        "Var(R | cells) = sum over cells of 2 sum_{i != j} (a_i a_j)^2/u(cell)^2, a = lambda s w",
        "enumeration",
        spread_over_signs,
        "signs with product +1",
        lambda: require_spread(
            np.zeros(4, dtype=np.int64), even_signs(4), [Fraction(1)] * 4, [Fraction(1)] * 4
        ),
    ),
    Check(
        12,
        "three-wise signs",
        "the variance fails for 3-wise signs: 3 in place of 3/2 for four equal features in one cell",
        "enumeration",
        three_wise,
        "all signs",
        lambda: require_wider(np.zeros(4, dtype=np.int64), u.all_signs(4), [Fraction(1)] * 4),
        scope="fails outside",
    ),
    Check(
        12,
        "variance of pruning",
        "exact m(n-m)/(n(n-1)) sum (e_i - mean e)^2, Bernoulli (m/n)(1-m/n) sum e_i^2",
        "enumeration",
        spread_of_pruning,
        "Bernoulli with the formula of an exact subset",
        lambda: require_same(
            dropped_spread(u.keep_bernoulli(3, 1)), dropped_spread(u.keep_exact(3, 1)), "Bernoulli, n=3, m=1"
        ),
    ),
    Check(
        12,
        "isotropic features",
        "m | n: R = |w|^2 - (m/n)|Sw|^2 in every draw of fold, exact pruning; Var R = (m/n)^2 Var|Sw|^2",
        "enumeration",
        isotropic,
        "ragged laps",
        lambda: require_isotropic(u.fold(3, 2), 2),
    ),
    Check(
        12,
        "isotropic, loads not level",
        "R = |w|^2 - (m/n)|Sw|^2 fails for ragged laps, for hashed cells, for unequal scales",
        "enumeration",
        not_isotropic,
        "whole laps and equal scales",
        lambda: require_other(u.fold_cells(4, 2), [Fraction(1)] * 4, 2),
        scope="fails outside",
    ),
)
