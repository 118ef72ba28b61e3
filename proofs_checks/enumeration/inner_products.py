"""Claim 2 by enumeration: the variance of <Sx, Sy> is a sum over the pairs that may meet.

Shows: at each size listed, Var<Sx, Sy> = sum_{i != j} p_ij q_ij with q_ij = x_i^2 y_j^2 + x_i y_i x_j y_j,
and its lap sums, coefficient by coefficient over every draw with fair signs: for all x and y.
Does not show: other sizes; which signs and cells are enough (signs, collisions).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.polynomials import (
    difference,
    for_products,
    inside,
    meeting,
    pair_form,
    places,
    squares,
    variance_form,
)


def fair(cells: Any, m: int) -> u.Universe:
    """These cells with a fair sign for every weight."""
    return u.joint(cells, u.all_signs(cells.shape[1]), m)


def require_products(tensor: Any, expected: Any, name: str) -> None:
    """Do nothing if both are the same polynomial in x and y."""
    where = difference(for_products(tensor), for_products(expected))
    require(not where, f"{name}: {where}")


def pairs_that_meet(level: Level) -> str:
    """Every sharing: the variance is the pair form of its collision probabilities."""
    most = level.pick(4, 5, 6)
    count = 0
    for name, m, cells in u.sharings(most):
        require_products(variance_form(fair(cells, m)), pair_form(meeting(cells)), name)
        count += 1
    return f"{count} universes, n and m to {most}"


def cross_term_dropped() -> None:
    """The twin: only x_i^2 y_j^2 for every pair."""
    cells = u.fold_cells(4, 2)
    apart = np.arange(4)[:, None] // 2 != np.arange(4) // 2
    require_products(variance_form(fair(cells, 2)), squares(places(apart)) * Fraction(1, 2), "fold, n=4, m=2")


def lap_sums(n: int, length: int) -> Any:
    """Tensor of (sum A)(sum B) - sum A_p B_p + (sum c)^2 - sum c_p^2 over laps of this length."""
    laps = np.arange(n) // length
    everything, same = np.ones((n, n), dtype=bool), laps[:, None] == laps
    return (
        squares(places(everything))
        - squares(places(same))
        + squares(np.eye(n, dtype=np.int64)[None])
        - squares(inside(laps))
    )


def hashed_sums(n: int) -> Any:
    """Tensor of |x|^2 |y|^2 + <x, y>^2 - 2 sum (x_i y_i)^2."""
    alone = np.eye(n, dtype=bool)
    return (
        squares(places(np.ones((n, n), dtype=bool)))
        + squares(np.eye(n, dtype=np.int64)[None])
        - 2 * squares(places(alone))
    )


def in_linear_time(level: Level) -> str:
    """Fold and chunk by lap sums, hashed by three norms."""
    most = level.pick(4, 5, 6)
    for n in range(1, most + 1):
        for m in range(1, most + 1):
            for length in range(1, m + 1):
                variance = variance_form(u.chunk(n, m, length))
                require_products(m * variance, lap_sums(n, length), f"chunk {length}, n={n}, m={m}")
            require_products(m * variance_form(u.hashed(n, m)), hashed_sums(n), f"hashed, n={n}, m={m}")
    return f"every chunk length to m (m is fold, 1 is hashed), n and m to {most}"


def lap_off_by_one() -> None:
    """The twin: laps of m + 1 weights."""
    require_products(2 * variance_form(u.fold(4, 2)), lap_sums(4, 3), "fold, n=4, m=2")


CHECKS = (
    Check(
        2,
        "only pairs that meet",
        "Var<Sx, Sy> = sum over i != j of p_ij (x_i^2 y_j^2 + x_i y_i x_j y_j): hashed, chunk, block, fold",
        "enumeration",
        pairs_that_meet,
        "the cross term x_i y_i x_j y_j is dropped",
        cross_term_dropped,
    ),
    Check(
        2,
        "lap sums",
        "m Var = (sum A)(sum B) - sum A_p B_p + (sum c)^2 - sum c_p^2 over laps or chunks; "
        "hashed |x|^2 |y|^2 + <x, y>^2 - 2 sum (x_i y_i)^2",
        "enumeration",
        in_linear_time,
        "laps of m + 1 weights",
        lap_off_by_one,
    ),
)
