"""Claim 7: the largest variance over unit vectors."""

from __future__ import annotations

import numpy as np

from rpstheory.claim import Check, Claim, Pair, Setting
from rpstheory.claims.c02_inner_product_variance import variance_check
from rpstheory.claims.c04_pruning_variance import pruning_check
from rpstheory.closed_form import inner_product_variance, worst_case_variance
from rpstheory.mappings import AbstractMapping, AbstractSharing, Chunk, Fold, Hashed, KeepExact
from rpstheory.samplers import Cases


def attaining(mapping: AbstractSharing) -> Pair:
    """A unit vector with energy 1/k in every chunk, spread evenly inside it."""
    sizes = mapping.chunk_sums(np.ones(mapping.n))
    x = np.repeat(1 / np.sqrt(mapping.chunks * sizes), sizes.astype(int))
    return Pair("energy 1/k per chunk", x, x)


def attained(mapping: AbstractSharing) -> Check:
    """The supremum is measured on the vector that attains it."""
    pair = attaining(mapping)
    right = variance_check(mapping, pair)
    return Check(right.name, right.sampler, float(worst_case_variance(mapping)))


def spiked(n: int, m: int) -> Check:
    """Pruning's supremum at a single spike."""
    x = np.zeros(n)
    x[n // 3] = 1.0
    right = pruning_check(KeepExact(n, m, 0), Pair("a spike", x, x))
    return Check(right.name, right.sampler, n / m - 1)


def exceeded(random: np.random.Generator) -> bool:
    """Variance above the supremum times |x|^2 |y|^2 (exact integers)."""
    n, m = int(random.integers(1, 20)), int(random.integers(1, 12))
    z = int(random.integers(1, m + 1))
    kinds: list[AbstractMapping] = [Fold(n, m, 0), Hashed(n, m, 0), Chunk(n, m, 0, chunk=z)]
    if m <= n:
        kinds.append(KeepExact(n, m, 0))
    x = [int(v) for v in random.integers(-4, 5, n) * random.integers(0, 2, n)]
    near = random.integers(0, 2)
    y = [int(v) for v in random.integers(-4, 5, n)] if near else list(x)
    size = sum(v * v for v in x) * sum(v * v for v in y)
    return any(inner_product_variance(s, x, y) > worst_case_variance(s) * size for s in kinds)


def checks(setting: Setting) -> list[Check]:
    """Attained on real draws, never exceeded on exact cases, equal to pruning's at n = m+1."""
    n, found = setting.n, []
    for m in setting.budgets:
        found += [attained(Fold(n, m, 0)), spiked(n, m)]
    m = setting.budgets[len(setting.budgets) // 2]
    found += [attained(Hashed(n, m, 0)), attained(Chunk(n, m, 0, chunk=max(1, m // 2)))]
    found.append(Check("never exceeded, exact integers", Cases(exceeded), 0.0, "always"))
    edge = attained(Fold(17, 16, 0))
    ratio = 17 * 1 / (2 * 1)  # n/2, the ratio of the worst cases that holds iff m | n
    found.append(
        Check(
            "fold is no better than pruning at n = m+1",
            edge.sampler,
            edge.predicted,
            scope="outside",
            claimed=(17 / 16 - 1) / ratio,
            condition="m does not divide n",
        )
    )
    return found


def mutant_check(setting: Setting) -> Check:
    """k in place of k-1: 2/m without the factor 1 - 1/k."""
    right = attained(Fold(setting.n, setting.divisors[0], 0))
    return Check("mutant: 2/m without 1 - 1/k", right.sampler, 2 / setting.divisors[0])


CLAIM = Claim(
    number=7,
    name="worst-case",
    title="The worst case over unit vectors",
    statement=(
        "Over unit vectors the variance of fold is at most (2/m)(1 - 1/k), k laps, for norms and for "
        "inner products, attained at energy 1/k in each lap; chunks and hashing: the number of chunks, "
        "or n, for k. Pruning's is n/m - 1, at a single spike. The ratio is n/2 iff m | n, and 1 at n = m+1."
    ),
    assumptions=("claims 2 and 4",),
    formula=r"\sup\,V_{fold} = \frac{2}{m}\,(1-\frac{1}{k}),\quad \sup\,V_{prune} = \frac{n}{m}-1",
    source="derived here (convexity)",
    footing="proved for the shipped hash",
    checks=checks,
    mutant="2/m without the factor 1 - 1/k",
    mutant_check=mutant_check,
    remarks=(
        "The same supremum holds for blocks that may not wrap, with M = m-Z+1 for m, since two weights meet"
        " with probability at most 1/M, attained at equal offsets. The ratio to pruning's is n/2 - "
        "(m-r)/(2(k-1)). At each size the supremum less the variance is an explicit sum of squares."
    ),
)
