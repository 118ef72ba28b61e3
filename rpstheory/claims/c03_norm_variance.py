"""Claim 3: the variance of a squared norm is claim 2 at x = y."""

from __future__ import annotations

from functools import partial

from rpstheory.claim import Check, Claim, Pair, Setting
from rpstheory.claims.c01_unbiased import label
from rpstheory.claims.c02_inner_product_variance import size_if_zero, vectors
from rpstheory.closed_form import norm_variance
from rpstheory.mappings import AbstractMapping, Block, Chunk, Fold, Hashed
from rpstheory.samplers import Products, squared_error


def norm_check(mapping: AbstractMapping, pair: Pair) -> Check:
    """The mean squared error of |Sx|^2 is the closed form."""
    then = partial(squared_error, about=float(pair.x @ pair.x))
    return Check(
        f"{label(mapping, pair)}, first vector",
        Products(mapping, pair.x, pair.x, then),
        float(norm_variance(mapping, pair.x)),
        scale=size_if_zero(float(norm_variance(mapping, pair.x)), Pair("", pair.x, pair.x)),
    )


def checks(setting: Setting) -> list[Check]:
    """Fold at every budget, the others at one, a ragged lap, a larger n."""
    n, pair, m = setting.n, setting.pairs[0], setting.budgets[len(setting.budgets) // 2]
    z = max(1, m // 2)
    ragged = m + 1 if n % (m + 1) else m + 2
    found = [norm_check(Fold(n, budget, 0), pair) for budget in setting.budgets]
    found.append(norm_check(Hashed(n, m, 0), pair))
    found.append(norm_check(Chunk(n, m, 0, chunk=z), pair))
    found.append(norm_check(Block(n, m, 0, block=z), pair))
    found.append(norm_check(Fold(n, ragged, 0), pair))
    return [*found, norm_check(Fold(1024, 96, 0), vectors(1024))]


def mutant_check(setting: Setting) -> Check:
    """The cross term dropped: half the variance."""
    right = norm_check(Fold(setting.n, setting.budgets[-1], 0), setting.pairs[0])
    return Check("mutant: cross term dropped", right.sampler, right.predicted / 2)


CLAIM = Claim(
    number=3,
    name="norm-variance",
    title="The variance of a squared norm",
    statement=(
        "The variance of |Sx|^2 is the inner-product variance at x = y: twice the sum over pairs of the "
        "probability that they share a cell times x_i^2 x_j^2."
    ),
    assumptions=("those of claim 2",),
    formula=r"Var\,|Sx|^2 = 2\,\sum_{i\neq j} p_{ij}\, x_i^2 x_j^2",
    source="STABLE-RPS (ICLR 2024); claim 2 at x = y",
    footing="proved for the shipped hash",
    checks=checks,
    mutant="the cross term x_i y_i x_j y_j dropped from the formula",
    mutant_check=mutant_check,
    remarks=(
        "For norms less is needed than for products: the three ways to pair four weights must cancel in sum "
        "only. Fold at n=4, m=2 with a product of all signs of +1 where 0 meets 2 and of -1 where 0 meets 3 "
        "obeys this claim and not claim 2."
    ),
)
