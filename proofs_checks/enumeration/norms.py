"""Claim 3 by enumeration: the variance of |Sx|^2.

Shows: at each size listed, Var|Sx|^2 = 2 sum_{i != j} p_ij x_i^2 x_j^2 for all x; and what this identity
asks of signs and cells, which is *less* than claim 2 asks: over distinct indices
E[1_ij 1_il g_j g_l] = 0, and E[1_ij 1_kl g_i g_j g_k g_l] = 0 only in *sum* over the three ways to pair
four indices.
Does not show: other sizes, other laws than those listed.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Disproved, Level, require
from proofs_checks.enumeration.inner_products import fair
from proofs_checks.polynomials import difference, for_norms, meeting, quartic, variance_form
from proofs_checks.sign_laws import Laws, codes_by_meeting


def norm_form(probability: Any, factor: int = 2) -> Any:
    """Tensor of factor * sum over i != j of p_ij x_i^2 x_j^2."""

    def coefficient(i: int, j: int, k: int, other: int) -> Fraction:
        return Fraction(factor * probability[i, k]) if i == j and k == other else Fraction(0)

    return quartic(len(probability), coefficient)


def require_norm(universe: u.Universe, expected: Any, name: str) -> None:
    """Do nothing if the variance is this polynomial at x = y."""
    where = difference(for_norms(variance_form(universe)), for_norms(expected))
    require(not where, f"{name}: {where}")


def twice_the_pairs(level: Level) -> str:
    """Every sharing."""
    most = level.pick(3, 4, 5)
    count = 0
    for name, m, cells in u.sharings(most):
        require_norm(fair(cells, m), norm_form(meeting(cells)), name)
        count += 1
    return f"{count} universes, n and m to {most}"


def once_the_pairs() -> None:
    """The twin: without the factor 2."""
    cells = u.fold_cells(3, 2)
    require_norm(fair(cells, 2), norm_form(meeting(cells), factor=1), "fold, n=3, m=2")


def asks_less(families: Iterable[Laws], apart: bool = False) -> str:
    """The identity of claim 3 holds iff the triples and the sum of the three pairings vanish.

    Args:
        families: Laws of signs given the cells.
        apart: Ask for each pairing apart, as claim 2 does.

    Raises:
        Disproved: If one law has the identity without the conditions, or the conditions without it.
    """
    seen = having = alone = 0
    for laws in families:
        laws = laws.unbiased
        identity = laws.norms
        wrong = identity != (laws.triples & (laws.quadruples if apart else laws.sum_of_pairings))
        for law in np.flatnonzero(wrong):
            raise Disproved(f"a law has the identity: {identity[law]}, although {laws.words(int(law))}")
        seen, having = seen + laws.size, having + int(identity.sum())
        alone += int((identity & ~laws.products).sum())
    require(
        0 < alone and having < seen, f"{seen} laws, {having} with the identity, {alone} without claim 2's"
    )
    return f"{seen} unbiased laws, {having} with the identity, {alone} of them without that of claim 2"


CHECKS = (
    Check(
        3,
        "twice the pairs that meet",
        "Var|Sx|^2 = 2 sum over i != j of p_ij x_i^2 x_j^2 for hashed, chunk, block, fold",
        "enumeration",
        twice_the_pairs,
        "the factor 2 is left out",
        once_the_pairs,
    ),
    Check(
        3,
        "norms ask less than products",
        "given claim 1, iff E[1_ij 1_il g_j g_l] = 0 and the three pairings of four signs vanish in sum",
        "enumeration",
        lambda level: asks_less(codes_by_meeting(4, u.fold_cells(4, 2), linear=False)),
        "each pairing has to vanish, as in claim 2",
        lambda: asks_less(codes_by_meeting(4, u.fold_cells(4, 2), linear=False), apart=True),
    ),
)
