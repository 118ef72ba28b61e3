"""Claim 5: longer chunks are never worse, where they nest; block has no such order."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np

from rpstheory.claim import Check, Claim, Pair, Setting
from rpstheory.claims.c02_inner_product_variance import variance_check, vectors
from rpstheory.closed_form import expected_variance, inner_product_variance
from rpstheory.distributions import Fixed
from rpstheory.mappings import Block, Chunk, Fold, Hashed
from rpstheory.samplers import Cases, DataProducts


def integers(random: np.random.Generator, n: int) -> list[int]:
    """A small integer vector, often sparse."""
    return [int(v) for v in random.integers(-3, 4, n) * random.integers(0, 2, n)]


def nesting_fails(random: np.random.Generator) -> bool:
    """V(Z') > V(Z) although Z divides Z', or n <= Z' (exact integers)."""
    m, n = int(random.integers(2, 13)), int(random.integers(1, 25))
    divisors = [(z, w) for z in range(1, m + 1) for w in range(z, m + 1) if w % z == 0 or n <= w]
    z, w = divisors[int(random.integers(len(divisors)))]
    x, y = integers(random, n), integers(random, n)
    short, long = Chunk(n, m, 0, chunk=z), Chunk(n, m, 0, chunk=w)
    return bool(inner_product_variance(long, x, y) > inner_product_variance(short, x, y))


def block_bound_fails(random: np.random.Generator) -> bool:
    """V_block > m/(m-Z+1) V_chunk (exact integers)."""
    m, n = int(random.integers(2, 13)), int(random.integers(1, 25))
    z = int(random.integers(1, m + 1))
    x, y = integers(random, n), integers(random, n)
    block = inner_product_variance(Block(n, m, 0, block=z), x, y)
    chunk = inner_product_variance(Chunk(n, m, 0, chunk=z), x, y)
    return bool(block > Fraction(m, m - z + 1) * chunk)


def constant_block_fails(random: np.random.Generator) -> bool:
    """V_block < V_chunk although |x|, |y| and sign(xy) are constant on whole chunks."""
    m, k = int(random.integers(2, 13)), int(random.integers(1, 6))
    z = int(random.integers(1, m + 1))
    flips = [int(v) for v in random.integers(0, 2, k * z) * 2 - 1]
    x = [v * f for v, f in zip(np.repeat(random.integers(-3, 4, k), z).tolist(), flips, strict=True)]
    y = [v * f for v, f in zip(np.repeat(random.integers(-3, 4, k), z).tolist(), flips, strict=True)]
    block = inner_product_variance(Block(k * z, m, 0, block=z), x, y)
    return bool(block < inner_product_variance(Chunk(k * z, m, 0, chunk=z), x, y))


@dataclass(frozen=True)
class Failure:
    """A small vector on which an order breaks."""

    winner: Fold | Block
    loser: Chunk | Hashed
    x: tuple[int, ...]
    condition: str

    def check(self) -> Check:
        """The supposed winner's variance, above what the order would allow."""
        x = np.array(self.x, dtype=np.float64)
        right = variance_check(self.winner, Pair("", x, x))
        return Check(
            f"{type(self.winner).__name__} above {type(self.loser).__name__}, "
            f"{self.winner.n}→{self.winner.m}, x={self.x if len(self.x) < 6 else 'flat'}",
            right.sampler,
            right.predicted,
            scope="outside",
            claimed=float(inner_product_variance(self.loser, x, x)),
            condition=self.condition,
        )


FAILURES = (
    Failure(Fold(4, 3, 0), Chunk(4, 3, 0, chunk=2), (0, 0, 1, 1), "Z does not divide m"),
    Failure(Block(4, 3, 0, block=2), Hashed(4, 3, 0), (1, 0, 1, 0), "block has no order"),
    Failure(Block(12, 3, 0, block=2), Hashed(12, 3, 0), (1,) * 12, "block has no order"),
)


def checks(setting: Setting) -> list[Check]:
    """Exact orders on random cases, the order on average, and where it fails."""
    small, n = vectors(24), 24
    found = [
        Check(
            "V(Z') <= V(Z) when Z | Z' or n <= Z', exact integers",
            Cases(nesting_fails),
            0.0,
            "always",
        ),
        Check("V_block <= m/(m-Z+1) V_chunk, exact integers", Cases(block_bound_fails), 0.0, "always"),
        Check("V_block >= V_chunk on constant chunks", Cases(constant_block_fails), 0.0, "always"),
    ]
    pair = setting.pairs[0]
    m = setting.divisors[0]
    for mapping in (Fold(n, 8, 0), Chunk(n, 8, 0, chunk=3), Fold(n, 7, 0)):
        law = Fixed(small.x, small.y)
        found.append(
            Check(
                f"mean over random orders, {type(mapping).__name__} {n}→{mapping.m}",
                DataProducts(mapping, law, "random"),
                expected_variance(mapping, law, "random"),
            )
        )
    found.append(variance_check(Fold(setting.n, m, 0), pair))
    low = variance_check(Block(4, 3, 0, block=2), Pair("(1,1,0,0)", *[np.array([1.0, 1, 0, 0])] * 2))
    found.append(
        Check(
            "Block below Hashed, 4→3, x=(1, 1, 0, 0)",
            low.sampler,
            0.0,
            scope="outside",
            scale=4 / 3,
            claimed=4 / 3,
            condition="block has no order",
        )
    )
    return found + [failure.check() for failure in FAILURES]


def lap_order_fails(random: np.random.Generator) -> bool:
    """V_fold > V_chunk for some Z that need not divide m."""
    x = integers(random, 4)
    fold = inner_product_variance(Fold(4, 3, 0), x, x)
    return bool(fold > inner_product_variance(Chunk(4, 3, 0, chunk=2), x, x))


def mutant_check(setting: Setting) -> Check:
    """The order claimed for every Z."""
    return Check("mutant: any Z", Cases(partial(lap_order_fails)), 0.0, "always")


CLAIM = Claim(
    number=5,
    name="order-of-mappings",
    title="Longer chunks are never worse, where they nest",
    statement=(
        "The variance with chunks of Z' is at most that with chunks of Z for all x, y iff Z divides Z' "
        "or n <= Z'; so fold <= chunk <= hashed when Z divides m. Averaged over a random order the "
        "variance is the share of pairs in different chunks times the hashed variance. Block has no "
        "order: only V_block <= m/(m-Z+1) V_chunk, and V_block >= V_chunk on constant chunks if Z divides n."
    ),
    assumptions=("Z, Z' <= m", "claim 2"),
    formula=r"V_{fold} \leq V_{chunk(Z)} \leq V_{hashed}\quad\mathrm{if}\quad Z\,|\,m",
    source="SS1 (NeurIPS 2024) for chunk against hashed; the equivalence derived here",
    footing="proved for the shipped hash",
    checks=checks,
    mutant="the order claimed although Z does not divide m",
    mutant_check=mutant_check,
    remarks=(
        "When Z does not divide m fold can lose: n=4, m=3, Z=2, x = y = (0,0,1,1): chunk 0, fold 4/3. "
        "That block is never below chunk on flat chunks needs Z | n: n = m = 5, Z = 4 and a flat x give "
        "block 3 and chunk 16/5."
    ),
)
