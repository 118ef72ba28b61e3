"""Claim 7 by enumeration: the largest variance over unit vectors, as an identity of polynomials.

Shows: at each size listed, over every draw, sup |x|^2 |y|^2 - Var<Sx, Sy> is a sum of squares of bilinear
forms, written out, so that no vectors exceed the supremum; and a vector that attains it, at x = y, so that
it is the supremum for norms too. Ratios of suprema at many sizes.
Does not show: other sizes (the identities are those of Lagrange, valid for all).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.enumeration.inner_products import require_products
from proofs_checks.polynomials import evaluate, inside, places, squares, variance_form, wedges


def energies(n: int) -> Any:
    """Tensor of |x|^2 |y|^2."""
    return squares(places(np.ones((n, n), dtype=bool)))


def slack_of_sharing(n: int, length: int) -> Any:
    """Tensor of m (sup |x|^2 |y|^2 - V) for K >= 2 chunks, sup = (2/m)(1 - 1/K).

    (1-2/K) sum_{i<j} w_ij^2 + sum_{i<j in one chunk} w_ij^2 + (2/K) sum_{p<q} (c_p - c_q)^2 with
    w_ij = x_i y_j - x_j y_i and c_p the sum of x_i y_i over chunk p.
    """
    chunk = np.arange(n) // length
    count = int(chunk[-1]) + 1
    sums = inside(chunk)
    gaps = np.array([sums[p] - sums[q] for q in range(count) for p in range(q)])
    return (
        (1 - Fraction(2, count)) * squares(wedges(np.ones((n, n), dtype=bool)))
        + squares(wedges(chunk[:, None] == chunk))
        + Fraction(2, count) * squares(gaps)
    )


def sharing(level: Level) -> str:
    """Every chunk length: fold at Z = m, hashed at Z = 1."""
    most = level.pick(4, 5, 6)
    for n in range(1, most + 1):
        for m in range(1, most + 1):
            for length in range(1, m + 1):
                require_supremum(n, m, length, -(-n // length))
    return f"1 <= Z <= m, n and m to {most}, for all x and y"


def require_supremum(n: int, m: int, length: int, chunks: int) -> None:
    """Do nothing if sup V_chunk = (2/m)(1 - 1/chunks), attained at one weight in each chunk."""
    variance = variance_form(u.chunk(n, m, length))
    largest = Fraction(2, m) * (1 - Fraction(1, chunks))
    slack = slack_of_sharing(n, length) if n > length else energies(n) * 0
    require_products(m * (largest * energies(n) - variance), slack, f"chunk {length}, n={n}, m={m}")
    x = (np.arange(n) % length == 0).astype(int)
    attained = evaluate(variance, x, x) / Fraction(int(x.sum())) ** 2
    require(attained == largest, f"chunk {length}, n={n}, m={m}, x={x}: {attained} against {largest}")


def slack_of_subset(n: int) -> Any:
    """Tensor of |x|^2 |y|^2 - V/(n/m - 1) for an exact subset of n >= 2 weights.

    sum_{i<j} (1 - 1/(n-1)) (u^2 + v^2) + (u + v)^2/(n-1) with u = x_i y_j, v = x_j y_i.
    """
    others = ~np.eye(n, dtype=bool)
    terms = places(np.triu(others))
    joined = terms + terms.transpose(0, 2, 1)
    return (1 - Fraction(1, n - 1)) * squares(places(others)) + squares(joined) * Fraction(1, n - 1)


def pruning(level: Level) -> str:
    """Both kinds: n/m - 1, at a single spike."""
    most = level.pick(5, 6, 8)
    for n in range(2, most + 1):
        for m in range(1, n + 1):
            apart = squares(places(~np.eye(n, dtype=bool)))
            require_spike(u.keep_bernoulli(n, m), apart, Fraction(n, m) - 1, f"Bernoulli, n={n}, m={m}")
            require_spike(u.keep_exact(n, m), slack_of_subset(n), Fraction(n, m) - 1, f"exact, n={n}, m={m}")
    return f"1 <= m <= n <= {most}, n >= 2, for all x and y"


def require_spike(universe: u.Universe, slack: Any, largest: Fraction, name: str) -> None:
    """Do nothing if V <= largest |x|^2 |y|^2 with this slack per unit, and a spike attains it."""
    variance, n = variance_form(universe), universe.n
    require_products(largest * energies(n) - variance, largest * slack, name)
    spike = [1] + [0] * (n - 1)
    require(
        evaluate(variance, spike, spike) == largest, f"{name}: {evaluate(variance, spike, spike)} at a spike"
    )


def blocks(level: Level) -> str:
    """One weight at the same offset of each block attains (2/M)(1 - 1/K), m/M times chunk's supremum."""
    most = level.pick(4, 5, 6)
    for n in range(1, most + 1):
        for m in range(1, most + 1):
            for length in range(1, m + 1):
                require_block(n, m, length, Fraction(2, m - length + 1))
    return f"1 <= Z <= m, n and m to {most}; M = m-Z+1, no more by claim 5"


def require_block(n: int, m: int, length: int, factor: Fraction) -> None:
    """Do nothing if V_block at one weight per block is factor * (1 - 1/K)."""
    x = (np.arange(n) % length == 0).astype(int)
    found = evaluate(variance_form(u.block(n, m, length)), x, x) / Fraction(int(x.sum())) ** 2
    largest = factor * (1 - Fraction(1, -(-n // length)))
    require(found == largest, f"block {length}, n={n}, m={m}, x={x}: {found} against {largest}")


def ratios(level: Level) -> str:
    """sup V_prune / sup V_fold = k(n-m)/(2(k-1)): n/2 iff m divides n, 1 at n = m + 1."""
    most = level.pick(40, 150, 600)
    for n in range(2, most + 1):
        for m in range(1, n):
            laps = -(-n // m)
            ratio = (Fraction(n, m) - 1) / (Fraction(2, m) * (1 - Fraction(1, laps)))
            require(ratio == Fraction(laps * (n - m), 2 * (laps - 1)), f"n={n}, m={m}: ratio {ratio}")
            require_half(n, m, ratio, n % m == 0)
            require(ratio == 1 or n != m + 1, f"n={n}, m={m}: ratio {ratio}")
    return f"1 <= m < n <= {most}"


def require_half(n: int, m: int, ratio: Fraction, expected: bool) -> None:
    """Do nothing if the ratio is n/2 exactly when expected."""
    require((ratio == Fraction(n, 2)) == expected, f"n={n}, m={m}: ratio {ratio}, n/2 = {Fraction(n, 2)}")


CHECKS = (
    Check(
        7,
        "worst case of sharing",
        "sup V = (2/m)(1 - 1/K), x, y unit; K laps (fold), chunks or weights (hashed) of energy 1/K each",
        "enumeration",
        sharing,
        "k - 1 laps for k",
        lambda: require_supremum(5, 2, 2, 2),
    ),
    Check(
        7,
        "worst case of pruning",
        "sup V = n/m - 1 over unit x, y for both prunings, at a single spike",
        "enumeration",
        pruning,
        "n/m for n/m - 1",
        lambda: require_spike(u.keep_exact(3, 2), slack_of_subset(3), Fraction(3, 2), "exact, n=3, m=2"),
    ),
    Check(
        7,
        "worst case of blocks",
        "sup V_block = (2/(m-Z+1))(1 - 1/K), K blocks",
        "enumeration",
        blocks,
        "2/m as for chunk",
        lambda: require_block(4, 3, 2, Fraction(2, 3)),
    ),
    Check(
        7,
        "ratio of the worst cases",
        "sup V_prune / sup V_fold = k(n-m)/(2(k-1)): n/2 iff m | n, 1 at n = m + 1",
        "enumeration",
        ratios,
        "n/2 is expected at n=5, m=3",
        lambda: require_half(5, 3, Fraction(2 * 2, 2), True),
    ),
)
