"""Claim 7 by SMT: the suprema over unit vectors.

Shows: at each number of laps, or of weights, that the variance does not exceed the supremum for any real
values, and values that do once a lap is left out of the count. Inner products enter by the lap sums c_p of
x y and what Lagrange's identity leaves, which is not negative: A_p B_p - c_p^2 in a lap, and the squares
of x_i y_j - x_j y_i across laps.
Does not show: more laps, nor Lagrange's identity (the symbolic room has both).
"""

from __future__ import annotations

from collections.abc import Iterator

import z3

from proofs_checks.check import Level
from proofs_checks.smt.solver import Statement, both_ways, reals


def of_norms(level: Level, counted: int) -> Iterator[Statement]:
    """k V_fold <= 2(k-1)/m for energies A_p that add up to 1; ``counted`` of k laps."""
    for laps in range(2, level.pick(4, 5, 6) + 1):
        energies = reals("A", laps)
        variance = 2 * (1 - z3.Sum([a * a for a in energies]))
        k = laps + counted
        given = [z3.Sum(energies) == 1, *(a >= 0 for a in energies)]
        yield Statement(f"{laps} laps", k * variance <= 2 * (k - 1), given)


def of_products(level: Level, cauchy_schwarz: bool) -> Iterator[Statement]:
    """The same for <Sx, Sy>, from c_p and the rests of Lagrange's identity."""
    for laps in range(2, level.pick(4, 6, 9) + 1):
        inner, rest, across = reals("c", laps), reals("rest", laps), z3.Real("across")
        total = z3.Sum(inner)
        energy = total * total + across + z3.Sum(rest)  # |x|^2 |y|^2
        inside = z3.Sum([c * c + r for c, r in zip(inner, rest, strict=True)])  # sum A_p B_p
        variance = energy - inside + total * total - z3.Sum([c * c for c in inner])
        given = [across >= 0, *(r >= 0 for r in rest if cauchy_schwarz)]
        yield Statement(f"{laps} laps", laps * variance <= 2 * (laps - 1) * energy, given)


def pruning(level: Level, factor: str) -> Iterator[Statement]:
    """Both kinds against n/m - 1 per |x|^2 |y|^2: Bernoulli from a = xy, exact from its spread."""
    for n in range(2, level.pick(3, 3, 4) + 1):
        x = reals("x", n)
        squares = [v * v for v in x]
        norm, fourth = z3.Sum(squares), z3.Sum([v * v for v in squares])
        bound = z3.RealVal(factor) * norm * norm
        yield Statement(f"Bernoulli, n={n}", fourth <= bound)
        exact = n * fourth - norm * norm  # (n-1) times the factor n/(n-1) (sum a^2 - (sum a)^2/n)
        yield Statement(f"exact, n={n}", exact <= (n - 1) * bound)


CHECKS = (
    *both_ways(
        7,
        "norms under fold",
        "V_fold <= (2/m)(1 - 1/k), k laps, for unit x = y",
        "k counts every lap (k - 1 in its place)",
        lambda level: of_norms(level, 0),
        lambda level: of_norms(level, -1),
    ),
    *both_ways(
        7,
        "products under fold",
        "V_fold <= (2/m)(1 - 1/k)|x|^2 |y|^2",
        "c_p^2 <= A_p B_p",
        lambda level: of_products(level, True),
        lambda level: of_products(level, False),
    ),
    *both_ways(
        7,
        "norms under pruning",
        "V_prune <= n/m - 1 for unit x = y, both kinds",
        "the whole of n/m - 1 (9/10 of it)",
        lambda level: pruning(level, "1"),
        lambda level: pruning(level, "9/10"),
    ),
)
