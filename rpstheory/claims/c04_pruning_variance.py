"""Claim 4: the variance of random pruning, exact and Bernoulli."""

from __future__ import annotations

from functools import partial

import numpy as np

from rpstheory.claim import Check, Claim, Pair, Setting
from rpstheory.claims.c01_unbiased import label
from rpstheory.claims.c02_inner_product_variance import size_if_zero
from rpstheory.closed_form import inner_product_variance
from rpstheory.mappings import AbstractKeep, KeepBernoulli, KeepExact
from rpstheory.samplers import Products, squared_error

ORTHOGONAL = Pair("orthogonal", np.ones(4), np.array([1.0, -1.0, 1.0, -1.0]))


def pruning_check(mapping: AbstractKeep, pair: Pair, claimed: float | None = None) -> Check:
    """The mean squared error of the rescaled product is the closed form."""
    then = partial(squared_error, about=float(pair.x @ pair.y))
    return Check(
        label(mapping, pair) + (", norm" if pair.y is pair.x else ""),
        Products(mapping, pair.x, pair.y, then),
        float(inner_product_variance(mapping, pair.x, pair.y)),
        scale=size_if_zero(float(inner_product_variance(mapping, pair.x, pair.y)), pair),
        scope="inside" if claimed is None else "outside",
        claimed=claimed,
        condition="" if claimed is None else "the claim 'exact <= Bernoulli' for orthogonal x, y",
    )


def checks(setting: Setting) -> list[Check]:
    """Both kinds on every pair and budget; norms; orthogonal vectors, where exact is larger."""
    n, found = setting.n, []
    for pair in setting.pairs:
        for m in setting.budgets:
            found += [pruning_check(kind(n, m, 0), pair) for kind in (KeepBernoulli, KeepExact)]
    x, m = setting.pairs[0].x, setting.budgets[-1]
    norm = Pair(setting.pairs[0].name, x, x)
    found += [pruning_check(kind(n, m, 0), norm) for kind in (KeepBernoulli, KeepExact)]
    bernoulli = pruning_check(KeepBernoulli(4, 2, 0), ORTHOGONAL)
    return [*found, bernoulli, pruning_check(KeepExact(4, 2, 0), ORTHOGONAL, bernoulli.predicted)]


def mutant_check(setting: Setting) -> Check:
    """The finite-population factor n/(n-1) dropped."""
    right = pruning_check(KeepExact(4, 2, 0), ORTHOGONAL)
    return Check("mutant: factor n/(n-1) dropped", right.sampler, right.predicted * 3 / 4)


CLAIM = Claim(
    number=4,
    name="pruning-variance",
    title="The variance of random pruning",
    statement=(
        "Keeping every weight with probability m/n gives variance (n/m - 1) sum a_i^2, a = xy; keeping "
        "exactly m gives (n/m - 1) n/(n-1) sum (a_i - mean a)^2. Exact is no larger iff the sum of "
        "a_i a_j over i != j is not negative: always for norms. For orthogonal x, y it is larger, by "
        "n/(n-1)."
    ),
    assumptions=("pairwise independent keeps, or a uniform subset", "products rescaled by n/m"),
    formula=r"V_{exact} = (\frac{n}{m}-1)\,\frac{n}{n-1}\,\sum_i (a_i-\bar{a})^2",
    source="STABLE-RPS (ICLR 2024), pruning side; Cochran, Sampling Techniques, for the exact subset",
    footing="measured on the shipped hash",
    checks=checks,
    mutant="the finite-population factor n/(n-1) dropped",
    mutant_check=mutant_check,
    remarks=(
        "Bernoulli is proved for the shipped hash; the exact subset comes from a keyed permutation "
        "whose uniformity is measured."
    ),
)
