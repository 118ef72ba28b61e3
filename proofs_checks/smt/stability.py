"""Claim 13 by SMT: the scaler, the descent lemma's range, and roots inside the unit circle.

Shows: at the cell sizes listed, v1 <= Gamma with equality iff the scales are equal, Gamma < k v1, and that
a step never raises the bound of the descent lemma for every L-smooth loss within (0, 2/L) if divided by
Gamma; for every real quadratic z^2 + a z + b the three conditions that keep its roots inside, and the
ranges of heavy ball and Nesterov that follow, complex roots included. Each with values that fail once its
condition is dropped.
Does not show: larger cells, nor that the descent lemma holds (it is Taylor's formula).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import z3

from proofs_checks.check import Level
from proofs_checks.smt.solver import Statement, both_ways, reals

MU, PUSH, A, B, X, Y = z3.Reals("mu push a b x y")
MOMENTUM = [MU >= 0, MU < 1]


def cells(level: Level) -> Iterator[tuple[int, list[Any], Any, Any]]:
    """Size, scales, Gamma and k v1."""
    for size in range(2, level.pick(3, 4, 5) + 1):
        scales = reals("lambda", size)
        total = z3.Sum(scales)
        yield size, scales, z3.Sum([z * z for z in scales]), total * total


def same(scales: list[Any]) -> Any:
    """All equal."""
    return z3.And([z == scales[0] for z in scales])


def scaler(level: Level) -> Iterator[Statement]:
    """v1 <= Gamma, equal iff the scales are."""
    for size, scales, gamma, kv1 in cells(level):
        positive = [z > 0 for z in scales]
        yield Statement(f"v1 <= Gamma, {size} weights", kv1 <= size * gamma, positive)
        yield Statement(f"equal scales, {size} weights", kv1 == size * gamma, [*positive, same(scales)])
        yield Statement(f"v1 = Gamma, {size} weights", same(scales), [*positive, kv1 == size * gamma])


def scaler_unequal(level: Level) -> Iterator[Statement]:
    """v1 = Gamma for any scales."""
    for size, scales, gamma, kv1 in cells(level):
        yield Statement(f"v1 = Gamma, {size} weights", kv1 == size * gamma, [z > 0 for z in scales])


def ratio(level: Level, positive: bool) -> Iterator[Statement]:
    """Gamma < k v1 for scales that are positive, or only not all 0."""
    for size, scales, gamma, kv1 in cells(level):
        given = [z > 0 for z in scales] if positive else [gamma > 0]
        yield Statement(f"{size} weights", gamma < kv1, given)


def descent(level: Level, scaler: str) -> Iterator[Statement]:
    """F falls by the descent lemma at L = 1, the step below 2, or below 2 v1/Gamma for v1 in its range.

    With h = sum lambda_i f_i and d the divisor, <f, dw> + |dw|^2/2 = -step h^2/d + step^2 h^2 Gamma/(2 d^2);
    times d^2/step.
    """
    step = z3.Real("step")
    for size, scales, gamma, kv1 in cells(level):
        slopes = reals("f", size)
        h = z3.Sum([z * f for z, f in zip(scales, slopes, strict=True)])
        d = {"gamma": gamma, "none": z3.RealVal(1)}.get(scaler, kv1 / size)
        given = [*(z > 0 for z in scales), step > 0, step < 2, h != 0]
        if scaler == "v1 in its range":
            given.append(step * gamma < 2 * d)
        yield Statement(f"{scaler}, {size} weights", -h * h * d + step * h * h * gamma / 2 < 0, given)


def divided(level: Level) -> Iterator[Statement]:
    """By Gamma, or by v1 within a range of its own."""
    yield from descent(level, "gamma")
    yield from descent(level, "v1 in its range")


def not_divided(level: Level) -> Iterator[Statement]:
    """By v1, or by nothing."""
    yield from descent(level, "v1")
    yield from descent(level, "none")


def root_inside(name: str, a: Any, b: Any, given: list[Any]) -> Statement:
    """Every root x + iy of z^2 + a z + b has modulus below 1."""
    real, imaginary = X * X - Y * Y + a * X + b, 2 * X * Y + a * Y
    return Statement(name, X * X + Y * Y < 1, [real == 0, imaginary == 0, *given])


CONDITIONS = {"p(1) > 0": 1 + A + B > 0, "p(-1) > 0": 1 - A + B > 0, "b < 1": B < 1}


def jury(_: Level) -> Iterator[Statement]:
    """All three conditions."""
    yield root_inside("z^2 + a z + b", A, B, list(CONDITIONS.values()))


def jury_short(_: Level) -> Iterator[Statement]:
    """Two of the three."""
    for name in CONDITIONS:
        given = [condition for other, condition in CONDITIONS.items() if other != name]
        yield root_inside(f"without {name}", A, B, given)


def momentum(_: Level, within: bool) -> Iterator[Statement]:
    """Step times curvature in its range, or anything positive."""
    ball, nesterov = PUSH < 2 * (1 + MU), PUSH * (1 + 2 * MU) < 2 * (1 + MU)
    given = [*MOMENTUM, PUSH > 0]
    yield root_inside("heavy ball", -(1 + MU - PUSH), MU, [*given, *([ball] if within else [])])
    yield root_inside(
        "Nesterov", -(1 + MU) * (1 - PUSH), MU * (1 - PUSH), [*given, *([nesterov] if within else [])]
    )


def energy(_: Level, safe: bool) -> Iterator[Statement]:
    """F + mu/(2 step)|d|^2 does not rise at L = 1 under heavy ball: bound of the descent lemma, any d, f."""
    step, moved, slope = z3.Reals("step d f")
    then = MU * moved - step * slope
    # change of the energy, times 2 step
    change = 2 * step * slope * then + step * then * then + MU * (then * then - moved * moved)
    given = [*MOMENTUM, step > 0, step <= 2 * (1 - MU) if safe else step < 2 * (1 + MU)]
    yield Statement("any direction", change <= 0, given)


def rayleigh(_: Level, unit: bool) -> Iterator[Statement]:
    """u'Hu <= L if H <= L, two weights in one cell, U = u."""
    u, v, p, q, r, smooth = z3.Reals("u v p q r L")
    below = [smooth - p >= 0, smooth - r >= 0, (smooth - p) * (smooth - r) >= q * q]
    length = u * u + v * v
    curved = p * u * u + 2 * q * u * v + r * v * v
    given = [*below, smooth > 0, length == 1 if unit else length > 0]
    yield Statement("2 weights", curved <= smooth, given)


CHECKS = (
    *both_ways(
        13,
        "v1 against Gamma",
        "v1 <= Gamma, with equality iff all scales of the cell are equal",
        "equal scales",
        scaler,
        scaler_unequal,
    ),
    *both_ways(
        13,
        "v1 against Gamma / k",
        "Gamma < k v1: the factor k is not attained",
        "positive scales",
        lambda level: ratio(level, True),
        lambda level: ratio(level, False),
    ),
    *both_ways(
        13,
        "descent",
        "the loss falls for every step in (0, 2/L) divided by Gamma, in (0, 2 v1/(L Gamma)) by v1",
        "divided by Gamma, or v1's range",
        divided,
        not_divided,
    ),
    *both_ways(
        13,
        "roots inside the circle",
        "z^2 + a z + b has both roots inside if p(1) > 0, p(-1) > 0, b < 1",
        "all three",
        jury,
        jury_short,
    ),
    *both_ways(
        13,
        "momentum on quadratics",
        "heavy ball converges for step h < 2(1+mu), Nesterov for step h < 2(1+mu)/(1+2mu)",
        "the upper end",
        lambda level: momentum(level, True),
        lambda level: momentum(level, False),
    ),
    *both_ways(
        13,
        "energy of heavy ball",
        "F + mu/(2 step)|phi_t - phi_(t-1)|^2 does not rise for step <= 2(1-mu)/L",
        "2(1-mu)/L (2(1+mu)/L in its place)",
        lambda level: energy(level, True),
        lambda level: energy(level, False),
    ),
    *both_ways(
        13,
        "never less stable than dense",
        "u'Hu <= L if H <= L I",
        "u of length 1",
        lambda level: rayleigh(level, True),
        lambda level: rayleigh(level, False),
    ),
)
