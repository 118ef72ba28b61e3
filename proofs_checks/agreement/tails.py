"""Claim 16: the shipped bounds on tails are the stated ones, and no enumerated probability exceeds them.

An exponential bound is read backwards: from p = c exp(-u) the u, from u the threshold t that the statement
gives it, which must be the one that was asked for. Fewer than 16 roundings, each worth 2^-53 of 1 + u, lie
between the numbers asked for and u, and between u and t, which grows no faster than u^2 (Bonami: u >= 2).
Shows: for all cells, vectors and thresholds listed that each shipped bound is the statement's and that no
probability of fully independent signs exceeds it; that Chebyshev's holds with `inner_product_variance` over
draws of cells and of 4-wise independent signs; that the constant of the fourth moment is the supremum of
E T^4/v^4 over equal weights in one cell; that `every_draw` bounds every draw of fold, met where x = y = 1 and
m divides n. Does not show: other vectors (the statements are settled in proofs_checks.exhaustive).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import comb, e, exp, log, sqrt
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.agreement.cases import alternating, rounding, variance_at
from proofs_checks.check import Check, Level, require
from proofs_checks.exhaustive.chaos import Chaos, domain, flat, some_laws
from proofs_checks.exhaustive.tails import squares, tail
from proofs_checks.polynomials import exact
from rpstheory import tails
from rpstheory.closed_form import inner_product_variance
from rpstheory.mappings import AbstractMapping, Chunk, Fold, Hashed

STEPS = 16


@dataclass(frozen=True)
class Stated:
    """A bound c exp(-u) on a tail, read backwards.

    Attributes:
        shipped: The bound on P(T >= t), or on P(|T| >= t), of a law.
        threshold: The t at which the statement has this u.
        least: The least u that is said anything of; the bound is 1 before.
        factor: c.
    """

    shipped: Callable[[Chaos, int], float]
    threshold: Callable[[Chaos, float], float]
    least: float = 0.0
    factor: int = 1

    def require(self, law: Chaos, t: int, chance: Fraction) -> None:
        """Do nothing if the bound at t is the one stated, and the probability does not exceed it."""
        bound = self.shipped(law, t)
        exponent = log(self.factor / bound)
        slack = rounding(STEPS) * (1 + Fraction(exponent))
        name = f"t={t}, bound {bound}, P = {chance}, {law}"
        require(chance <= Fraction(bound) * (1 + slack), name)
        if bound == 1:
            require(t <= self.threshold(law, self.least) * (1 + 2.0**-53 * STEPS), name)
        else:
            stated = self.threshold(law, exponent)
            require(
                abs(stated - t) <= 2 * t * (float(slack) / exponent + 2.0**-53 * STEPS), f"{name}: {stated}"
            )


def reach(law: Chaos) -> float:
    """max over cells of (1 - 1/k)|x_c||y_c|, at least |A|."""
    return sqrt(law.reach)


SubGamma = Callable[[float, float, float], float]
Norms = Callable[[float, float], float]

BONAMI = Stated(
    lambda law, t: tails.bonami(float(law.spread), t),
    lambda law, u: e * sqrt(law.spread) * (u - 1),
    least=2,
)
HANSON_WRIGHT = Stated(
    lambda law, t: tails.hanson_wright(float(law.spread), reach(law), t),
    lambda law, u: max(8 * sqrt(law.spread * Fraction(u) / 3), 16 * reach(law) * u),
    least=log(2),
    factor=2,
)
UPPER = Stated(
    lambda law, t: tails.norm_upper(squares(law), max(law.energies), t),
    lambda law, u: 2 * sqrt(squares(law) * u) + 2 * u * max(law.energies),
)


def sub_gamma(formula: SubGamma) -> Stated:
    """2 exp(-u) at t = v sqrt(2u) + 2 a u."""
    return Stated(
        lambda law, t: formula(float(law.spread), reach(law), t),
        lambda law, u: sqrt(law.spread * 2 * Fraction(u)) + 2 * reach(law) * u,
        least=log(2),
        factor=2,
    )


def lower(formula: Norms) -> Stated:
    """exp(-u) at t = sqrt(6 B u)."""
    return Stated(lambda law, t: formula(squares(law), t), lambda law, u: sqrt(6 * squares(law) * u))


def apart(cells: int) -> Chaos:
    """x = y = 1 on two weights in each cell: T = 2 (sum of as many signs), |A| = 1."""
    values = tuple(2 * (2 * plus - cells) for plus in range(cells + 1))
    ways = tuple(comb(cells, plus) for plus in range(cells + 1))
    return Chaos(2 * cells, values, ways, Fraction(1), (2,) * cells)


def laws(level: Level) -> Iterator[Chaos]:
    """Those of a few weights, in which cells weigh most, and of many cells, nearly normal."""
    yield from some_laws(level)
    yield from map(apart, level.pick((2, 20, 40), (2, 20, 40, 80), (2, 20, 40, 80, 160)))


def words(level: Level) -> str:
    """These laws in words."""
    return f"{domain(level)}; two weights in each of 2 to {level.pick(40, 80, 160)} cells"


def exponentials(level: Level, formula: SubGamma = tails.sub_gamma) -> str:
    """Two sides: Bonami, Hanson-Wright, sub-gamma."""
    count, bounds = 0, (BONAMI, HANSON_WRIGHT, sub_gamma(formula))
    for law in laws(level):
        for t, chance in tail(law, 2):
            for bound in bounds:
                bound.require(law, t, chance)
            count += 1
    return f"{count} values of t; {words(level)}"


def norms(level: Level, formula: Norms = tails.norm_lower) -> str:
    """One side each: chi-square above, exp(-t^2/(6B)) below."""
    count = 0
    for law in laws(level):
        if law.energies:
            for t, chance in tail(law, 1):
                UPPER.require(law, t, chance)
                count += 1
            for t, chance in tail(law.mirrored, 1):
                lower(formula).require(law, t, chance)
                count += 1
    return f"{count} values of t; the norms of: {words(level)}"


def moments(level: Level, formula: Callable[[float, float], float] = tails.fourth_moment) -> str:
    """v^2/t^2 and 15 v^4/t^4, cut at 1; no constant below that of the formula would do."""
    count = 0
    for law in laws(level):
        for t, chance in tail(law, 2):
            for found, stated in (
                (tails.chebyshev(float(law.spread), t), law.spread / t**2),
                (formula(float(law.spread), t), 15 * law.spread**2 / t**4),
            ):
                name = f"t={t}, bound {found}, stated {stated}, P = {chance}, {law}"
                require(abs(Fraction(found) - min(Fraction(1), stated)) <= rounding(8) * stated, name)
                require(chance <= Fraction(found) * (1 + rounding(8)), name)
            count += 1
    constant, last = Fraction(formula(1.0, 2.0)) * 2**4, level.pick(100, 200, 400)
    ratios = [flat(n).moment(4) / flat(n).spread ** 2 for n in range(2, last)]
    require(max(ratios) < constant <= max(ratios) + Fraction(48, last - 2), f"constant {constant}")
    return f"{count} values of t; {words(level)}; E T^4/v^4 of n < {last} equal weights"


def four_wise(level: Level, n: int = 5) -> str:
    """Signs with product 1: of n any n-1 are independent. Over all cells, Chebyshev with the formula's V."""
    signs = u.all_signs(n)
    even = signs[signs.prod(axis=1) == 1]
    ones, rising = np.ones((1, n), dtype=np.int64), np.arange(1, n + 1)[None]
    vectors = np.concatenate([ones, alternating(ones), rising, alternating(rising)])
    for m in range(1, level.pick(3, 4, 6)):
        kinds: list[tuple[AbstractMapping, Any]] = [
            (Fold(n, m, 0), u.fold_cells(n, m)),
            (Hashed(n, m, 0), u.hashed_cells(n, m)),
        ]
        kinds += [(Chunk(n, m, 0, chunk=2), u.chunk_cells(n, m, 2))] if m > 1 else []
        for mapping, cells in kinds:
            require_chebyshev(mapping, u.joint(cells, even, m), vectors)
    return f"n = {n}, m < {level.pick(3, 4, 6)}: hashed, chunk, fold over all cells, signs with product 1"


def require_chebyshev(mapping: AbstractMapping, universe: u.Universe, vectors: Any) -> None:
    """Do nothing if the formula is the variance over these draws and Chebyshev's bound holds."""
    variances = inner_product_variance(mapping, exact(vectors)[:, None], exact(vectors)[None])
    same = variances == variance_at(universe, vectors, vectors)
    errors = vectors @ universe.forms @ vectors.T - vectors @ vectors.T
    for at in np.ndindex(variances.shape):
        size = abs(errors[(slice(None), *at)])
        for t in sorted(set(size.tolist()) - {0}):
            chance, bound = (
                Fraction(int((size >= t).sum()), len(size)),
                tails.chebyshev(float(variances[at]), t),
            )
            name = f"{mapping}, vectors {at}: P = {chance} at t={t}, bound {bound}, V = {variances[at]}"
            require(chance <= Fraction(bound) * (1 + rounding(8)), name)
    require(same.all(), f"variance of {mapping} over these signs, of vectors {np.argwhere(~same).tolist()}")


def folds(level: Level, largest: Callable[[Any, int], float] | None = None) -> str:
    """v^2, B, max b, max |x_c||y_c| of every draw are at most the shipped ones, equal if flat and m | n."""
    most, count = level.pick(4, 5, 6), 0
    for n, m in product(range(1, most + 1), repeat=2):
        ones, rising = np.ones(n, dtype=np.int64), np.arange(1, n + 1)
        for x, y in product((ones, rising, alternating(rising[::-1])), repeat=2):
            every = tails.every_draw(Fold(n, m, 0), x, y)
            top = every.largest if largest is None else largest(x, m)
            shipped = (every.v2, every.energy_squares, top, every.spectral**2)
            for draw, found in enumerate(conditional(u.fold_cells(n, m), x, y)):
                met = n % m == 0 and abs(x).max() == abs(y).max() == 1
                require_over(shipped, found, n, (x, y), met, f"fold {n} to {m}, draw {draw}, x={x}, y={y}")
            count += 1
    return f"n and m to {most}, every draw of {count} cases; met where x = y = 1 and m | n"


def conditional(cells: Any, x: Any, y: Any) -> Iterator[tuple[int, int, int, int]]:
    """v^2, B, max b, max (|x_c||y_c|)^2 of each draw; B and b those of x."""
    for row in cells:
        held = row[:, None] == np.unique(row)
        first, second, third = (row @ held for row in (x * x, y * y, x * y))
        inside = ((x * y) ** 2) @ held
        v2 = int((first * second + third**2 - 2 * inside).sum())
        yield v2, int((first**2).sum()), int(first.max()), int((first * second).max())


def require_over(
    shipped: tuple[float, ...], found: tuple[int, ...], n: int, data: tuple[Any, Any], met: bool, name: str
) -> None:
    """Do nothing if each shipped number is at least the one found, within 4n + 16 roundings.

    With k <= n laps the terms of each add up to at most n (sum x^4 + sum y^4 + 2 sum x^2 y^2), by Cauchy's
    inequality over laps, or its root.
    """
    x, y = data
    slack = rounding(4 * n + 16) * n * int((x**4).sum() + (y**4).sum() + 2 * ((x * y) ** 2).sum())
    for bound, value in zip(map(Fraction, shipped), found, strict=True):
        require(bound >= value - slack and (not met or bound <= value + slack), f"{name}: {value}, {bound}")


def normal(v2: float, spectral: float, t: float) -> float:
    """2 exp(-t^2/(2v^2)), cut at 1."""
    return min(1.0, 2 * exp(-t * t / (2 * v2)))


CHECKS = (
    Check(
        16,
        "shipped moment bounds",
        "chebyshev = v^2/t^2, fourth_moment = 15 v^4/t^4; no P(|T| >= t) exceeds them; no constant below 15",
        "agreement",
        moments,
        "14 in place of 15",
        lambda: moments(Level.QUICK, lambda v2, t: min(1.0, 14 * v2 * v2 / t**4)),
    ),
    Check(
        16,
        "shipped Chebyshev over draws",
        "P(|T| >= t) <= chebyshev(inner_product_variance, t) over cells and 4-wise independent signs",
        "agreement",
        four_wise,
        "3-wise independent signs",
        lambda: four_wise(Level.QUICK, 4),
    ),
    Check(
        16,
        "shipped exponential bounds",
        "bonami, hanson_wright, sub_gamma are the stated bounds; no P(|T| >= t) exceeds them",
        "agreement",
        exponentials,
        "the term 2 a u of sub-gamma is dropped: a normal tail",
        lambda: exponentials(Level.QUICK, normal),
    ),
    Check(
        16,
        "shipped bounds for norms",
        "norm_upper and norm_lower are the stated bounds; neither tail of |Sx|^2 exceeds its own",
        "agreement",
        norms,
        "exp(-t^2/B) in place of exp(-t^2/(6B))",
        lambda: norms(Level.QUICK, lambda b, t: exp(-t * t / b)),
    ),
    Check(
        16,
        "shipped bounds for every draw",
        "every_draw: no draw of fold has larger v^2, B, max b, max |x_c||y_c|; met if flat and m | n",
        "agreement",
        folds,
        "the largest x^2 of all in place of the sum over laps",
        lambda: folds(Level.QUICK, lambda x, m: float((x * x).max())),
    ),
)
