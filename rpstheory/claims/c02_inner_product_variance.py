"""Claim 2: one variance formula for every signed sharing; only the collision law enters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import combinations
from math import prod
from typing import Any

import numpy as np

from rpstheory.claim import Check, Claim, Pair, Setting
from rpstheory.claims.broken import (
    ArithmeticShifts,
    FirstLapUnsigned,
    NoSigns,
    SignsOfLaps,
    ThreeWiseSigns,
)
from rpstheory.claims.c01_unbiased import label
from rpstheory.closed_form import inner_product_variance
from rpstheory.hashing import PRIME, SIGNS_PER_WORD, START_STREAM, Signs, Uniform
from rpstheory.kernels.reference import seeds
from rpstheory.mappings import AbstractMapping, Block, Chunk, Fold, Hashed
from rpstheory.samplers import Products, squared_error

FAR = (5, 2**31 - 1, 2**31 + 5, 2**32 + 9, 2**40 - 3)  # within and across blocks of the field
WORD, TURN = SIGNS_PER_WORD, SIGNS_PER_WORD * PRIME  # signs of a field value, and of the whole field
# Quadruples on which a polynomial of one degree less, or without its mixed terms, is dependent; and two
# positions that a hash of the position modulo the field takes for one.
TELLING = (
    (0, WORD, 2 * WORD, 3 * WORD),
    (0, TURN, 2 * TURN, 3 * TURN),
    (0, WORD, TURN, TURN + WORD),
    (3, 3 + TURN),
)


def variance_check(mapping: AbstractMapping, pair: Pair, name: str | None = None) -> Check:
    """The mean squared error of <Sx, Sy> is the closed form."""
    truth = float(pair.x @ pair.y)
    predicted = float(inner_product_variance(mapping, pair.x, pair.y))
    return Check(
        name or label(mapping, pair),
        Products(mapping, pair.x, pair.y, partial(squared_error, about=truth)),
        predicted,
        scale=size_if_zero(predicted, pair),
    )


def size_if_zero(predicted: float, pair: Pair) -> float | None:
    """What a discrepancy is relative to where nothing is lost: |x|^2 |y|^2."""
    return None if predicted > 0 else float((pair.x @ pair.x) * (pair.y @ pair.y))


@dataclass(frozen=True)
class SignProduct:
    """Product of the shipped signs at a few positions."""

    places: tuple[int, ...]

    @property
    def cost(self) -> float:
        """Work of a draw."""
        return 40.0 * len(self.places)

    def __call__(self, first: int, count: int, backend: str) -> Any:
        """±1 per draw."""
        signs = Signs(seeds(first, count), 2**40)  # type: ignore[arg-type]
        return prod(signs(place) for place in self.places)


@dataclass(frozen=True)
class Start:
    """The shipped start of a chunk, uniform in 0..size-1."""

    place: int
    size: int

    @property
    def cost(self) -> float:
        """Work of a draw."""
        return 80.0

    def __call__(self, first: int, count: int, backend: str) -> Any:
        """One start per draw."""
        start = Uniform(seeds(first, count), START_STREAM, 2**40, self.size)  # type: ignore[arg-type]
        return start(self.place).astype(np.float64)


@dataclass(frozen=True)
class StartsEqual:
    """Whether the shipped starts of two chunks, shifted by a distance, agree."""

    places: tuple[int, int]
    size: int
    distance: int

    @property
    def cost(self) -> float:
        """Work of a draw."""
        return 160.0

    def __call__(self, first: int, count: int, backend: str) -> Any:
        """0 or 1 per draw."""
        start = Uniform(seeds(first, count), START_STREAM, 2**40, self.size)  # type: ignore[arg-type]
        a, b = (start(place) for place in self.places)
        return ((a + self.distance - b) % self.size == 0).astype(np.float64)


def hash_checks() -> list[Check]:
    """Moments of the shipped hash itself, far beyond the field's size."""
    groups = (FAR[:2], FAR[3:], FAR[:4], FAR[1:], (0, 1, 2, 3), (0, 17, 2**33, 2**33 + 1), *TELLING)
    found = [
        Check(
            f"sign moment at {', '.join(map(str, places))}",
            SignProduct(places),
            0.0,
            scale=1.0,
            condition="any n up to 2^40",
        )
        for places in groups
    ]
    found += [
        Check(f"mean start of chunk {place}, m={size}", Start(place, size), (size - 1) / 2)
        for place, size in ((5, 1000), (2**39, 2**21))
    ]
    return found + [
        Check(
            f"P(same cell) of chunks {a}, {b}, m={size}",
            StartsEqual((a, b), size, size // 3),
            1 / size,
            condition="any n up to 2^40",
        )
        for (a, b), size in (((0, 1), 7), ((3, 2**33), 7), ((1, 2**39), 13), ((3, 3 + PRIME), 7))
    ]


def lap_sign_variance(pair: Pair, m: int) -> float:
    """Variance of fold with one sign per lap: mean over rotations of whole laps, squared."""
    n = len(pair.x)
    laps = [
        tuple(np.pad(v[low : low + m], (0, max(0, low + m - n))) for v in (pair.x, pair.y))
        for low in range(0, n, m)
    ]
    return sum(
        float(np.mean([(a @ np.roll(d, r) + b @ np.roll(c, r)) ** 2 for r in range(m)]))
        for (a, b), (c, d) in combinations(laps, 2)
    )


def three_wise_variance(pair: Pair, m: int) -> float:
    """Variance of hashed cells when the signs of each quadruple multiply to 1."""
    x, y = pair.x, pair.y
    extra = 0.0
    for low in range(0, len(x) - 3, 4):
        x4, y4 = x[low : low + 4], y[low : low + 4]
        met = np.outer(x4, y4) + np.outer(y4, x4)
        extra += met[0, 1] * met[2, 3] + met[0, 2] * met[1, 3] + met[0, 3] * met[1, 2]
    return float(inner_product_variance(Hashed(len(x), m, 0), x, y)) + 2 * extra / m**2


def arithmetic_variance(pair: Pair, m: int) -> float:
    """Variance of fold when shift(p) = a p mod m, by the true collision probabilities."""
    n = len(pair.x)
    place = np.arange(n)
    lap, offset = place // m, place % m
    met = np.zeros((n, n))
    for a in range(m):
        cell = (a * lap + offset) % m
        met += cell[:, None] == cell[None, :]
    np.fill_diagonal(met, 0)
    x, y = pair.x, pair.y
    q = np.outer(x * x, y * y) + np.outer(x * y, x * y)
    return float((met * q).sum() / m)


def outside_checks(pair: Pair) -> list[Check]:
    """Dependent signs and poor shifts change the variance, by known amounts."""
    n, m, ones = len(pair.x), 8, Pair("ones", np.ones(8), np.ones(8))
    cases = (
        (SignsOfLaps(n, m, 0), pair, lap_sign_variance(pair, m), "one sign per lap"),
        (ThreeWiseSigns(8, 2, 0), ones, three_wise_variance(ones, 2), "signs 3-wise only"),
        (ArithmeticShifts(n, m, 0), pair, arithmetic_variance(pair, m), "shift(p) = a p, m even"),
    )
    found = []
    for mapping, pair, value, condition in cases:
        truth = float(pair.x @ pair.y)
        claimed = float(inner_product_variance(mapping, pair.x, pair.y))
        then = partial(squared_error, about=truth)
        found.append(
            Check(
                f"{condition}, {mapping.n}→{mapping.m}",
                Products(mapping, pair.x, pair.y, then),
                value,
                scope="outside",
                claimed=claimed,
                condition=condition,
            )
        )
    return found


def checks(setting: Setting) -> list[Check]:
    """Every sharing on every pair and budget, ragged laps, larger n, the hash, what breaks it."""
    n, found = setting.n, []
    for pair in setting.pairs:
        for m in setting.budgets:
            found += [variance_check(s(n, m, 0), pair) for s in (Fold, Hashed)]
        m = setting.budgets[len(setting.budgets) // 2]
        z = max(1, m // 2)
        found.append(variance_check(Chunk(n, m, 0, chunk=z), pair))
        found.append(variance_check(Block(n, m, 0, block=z), pair))
        ragged = m + 1 if n % (m + 1) else m + 2
        found.append(variance_check(Fold(n, ragged, 0), pair))
    wide = vectors(1024)
    found += [variance_check(s(1024, 96, 0), wide) for s in (Fold, Hashed)]
    small = vectors(32)
    found.append(variance_check(FirstLapUnsigned(32, 8, 0), small, "first lap unsigned is enough, 32→8"))
    found.append(variance_check(ArithmeticShifts(32, 11, 0), small, "shift(p) = a p, m prime, 32→11"))
    return found + outside_checks(small) + hash_checks()


def vectors(n: int) -> Pair:
    """A fixed pair of integer vectors of both signs, correlated, uneven."""
    place = np.arange(n)
    x = (place * place * 7 + 3 * place) % 11 - 4.0
    y = (place * 5 + 2) % 7 - 1.0 + (x > 2)
    return Pair(f"integers n={n}", x, y)


def mutant_check(setting: Setting) -> Check:
    """A fold without signs against the formula."""
    pair, m = setting.pairs[0], setting.budgets[-1]
    right = variance_check(Fold(setting.n, m, 0), pair)
    then = partial(squared_error, about=float(pair.x @ pair.y))
    broken = Products(NoSigns(setting.n, m, 0), pair.x, pair.y, then)
    return Check("mutant: no signs", broken, right.predicted)


CLAIM = Claim(
    number=2,
    name="inner-product-variance",
    title="The variance of a product, for fixed vectors",
    statement=(
        "For fixed x and y the variance of <Sx, Sy> is the sum over pairs of the probability that they "
        "share a cell times x_i^2 y_j^2 + x_i y_i x_j y_j. Only that probability tells mappings apart: "
        "1/m for hashing, 1/m across laps and 0 within a lap for fold, likewise for chunks."
    ),
    assumptions=(
        "signs independent of the cells with zero 2nd and 4th mixed moments (4-wise independent)",
        "collision probabilities as stated (pairwise independent starts)",
    ),
    formula=(
        r"Var\,\langle Sx, Sy\rangle = \sum_{i\neq j} p_{ij}\,"
        r"(x_i^2 y_j^2 + x_i y_i x_j y_j)"
    ),
    source="STABLE-RPS (ICLR 2024) and SS1 (NeurIPS 2024), sharpened to an equivalence",
    footing="proved for the shipped hash",
    checks=checks,
    mutant="a fold whose signs are all +1",
    mutant_check=mutant_check,
    remarks=(
        "Sharper than published: 4-wise independent signs and pairwise independent starts are enough, "
        "and 3-wise signs are not. One whole lap may go unsigned. One number a with shift(p) = a p "
        "serves iff no prime factor of m is below the number of laps. One sign per lap is not enough, but "
        "for m = 1 or n <= m + 1. An equivalence: over thousands of laws of signs, with signs "
        "that may depend on who meets whom, the formula holds for all x and y exactly where the two "
        "moment conditions do."
    ),
)
