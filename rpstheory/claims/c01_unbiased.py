"""Claim 1: the product of two compressed vectors is right on average."""

from __future__ import annotations

from math import sqrt

from rpstheory.claim import Check, Claim, Pair, Setting
from rpstheory.claims.broken import SignsOfCells
from rpstheory.closed_form import inner_product_variance
from rpstheory.mappings import AbstractMapping, Block, Chunk, Fold, Hashed, KeepBernoulli, KeepExact
from rpstheory.samplers import Products


def mappings(n: int, m: int) -> tuple[AbstractMapping, ...]:
    """One of each random mapping."""
    z = max(1, m // 2)
    kept = min(n, m)
    return (
        Fold(n, m, 0),
        Hashed(n, m, 0),
        Chunk(n, m, 0, chunk=z),
        Block(n, m, 0, block=z),
        KeepExact(n, kept, 0),
        KeepBernoulli(n, kept, 0),
    )


def label(mapping: AbstractMapping, pair: Pair | None = None) -> str:
    """Name of a check: the mapping, its sizes, the vectors."""
    z = getattr(mapping, "chunk", getattr(mapping, "block", None))
    size = f"{type(mapping).__name__} {mapping.n}→{mapping.m}" + (f" Z={z}" if z else "")
    return size if pair is None else f"{size}, {pair.name}"


def mean_check(mapping: AbstractMapping, pair: Pair) -> Check:
    """The mean of rescale <Sx, Sy> is <x, y>, to a share of its standard deviation."""
    truth = float(pair.x @ pair.y)
    deviation = sqrt(float(inner_product_variance(mapping, pair.x, pair.y)))
    return Check(
        label(mapping, pair),
        Products(mapping, pair.x, pair.y),
        truth,
        scale=deviation or sqrt(float((pair.x @ pair.x) * (pair.y @ pair.y))),
        condition="discrepancy in standard deviations of one draw",
    )


def tied(pair: Pair, m: int) -> Check:
    """Signs that are functions of the cell add sum p_ij x_i y_j."""
    mapping = SignsOfCells(len(pair.x), m, 0)
    truth = float(pair.x @ pair.y)
    return Check(
        f"signs tied to cells, {pair.name}",
        Products(mapping, pair.x, pair.y),
        truth + float(mapping.collision_sum(pair.x, pair.y)),
        scope="outside",
        scale=sqrt(float(inner_product_variance(mapping, pair.x, pair.y))),
        claimed=truth,
        condition="signs depend on the cells",
    )


def checks(setting: Setting) -> list[Check]:
    """Every mapping on every pair, and the failure with tied signs where these vectors show it."""
    m = setting.budgets[len(setting.budgets) // 2]
    found = [mean_check(s, pair) for pair in setting.pairs for s in mappings(setting.n, m)]
    ragged = m + 1 if setting.n % (m + 1) else m + 2
    found.append(mean_check(Fold(setting.n, ragged, 0), setting.pairs[0]))
    failure = tied(setting.pairs[0], m)
    return [*found, failure] if m < setting.n and failure.predicted != failure.claimed else found


def mutant_check(setting: Setting) -> Check:
    """Tied signs against the claim's own prediction."""
    pair, m = setting.pairs[0], setting.budgets[-1]
    mapping = SignsOfCells(setting.n, m, 0)
    check = mean_check(Fold(setting.n, m, 0), pair)
    return Check(
        "mutant: signs tied to cells",
        Products(mapping, pair.x, pair.y),
        check.predicted,
        scale=check.scale,
    )


CLAIM = Claim(
    number=1,
    name="unbiased",
    title="Products are right on average",
    statement=(
        "The rescaled product of two compressed vectors has mean <x, y>, for every pair of vectors, "
        "for sharing and for random pruning alike."
    ),
    assumptions=(
        "signs pairwise uncorrelated and independent of the cells; more precisely, "
        "E[1(same cell) sign_i sign_j] = 0 for all i != j",
    ),
    formula=r"E\,\langle Sx, Sy\rangle = \langle x, y\rangle",
    source="STABLE-RPS (ICLR 2024), linear-model theorems; Weinberger et al. 2009",
    footing="proved for the shipped hash",
    checks=checks,
    mutant="signs that are the parity of the cell",
    mutant_check=mutant_check,
    remarks=(
        "Signs that are a function of the cell, as in a published helper, add the sum of p_ij x_i y_j. "
        "For KeepExact the mean is measured, since its permutation is not proved uniform."
    ),
)
