"""Claim 8: at 1x nothing is lost under fold; hashing loses a third of the bank."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from rpstheory.claim import Check, Claim, Pair, Setting
from rpstheory.claims.c02_inner_product_variance import variance_check
from rpstheory.mappings import Chunk, Fold, Hashed
from rpstheory.samplers import Draws, Products, differs


def unused_share(cells: Any, signs: Any, m: int) -> Any:
    """Share of the bank that carries no weight, per draw."""
    count, rows = len(cells), np.arange(len(cells))[:, None] * m
    load = np.bincount((cells + rows).ravel(), minlength=count * m).reshape(count, m)
    return (load == 0).mean(axis=1)


def isometry(n: int, m: int, pair: Pair, mapping: Any = None) -> Check:
    """Every draw keeps the product exactly (to rounding)."""
    truth = float(pair.x @ pair.y)
    by = 1e-12 * float(np.sqrt(pair.x @ pair.x) * np.sqrt(pair.y @ pair.y))
    mapping = mapping or Fold(n, m, 0)
    then = partial(differs, about=truth, by=by)
    return Check(
        f"{type(mapping).__name__} {n}→{m} keeps <x, y> in every draw, {pair.name}",
        Products(mapping, pair.x, pair.y, then),
        0.0,
        "always",
    )


def unused(n: int, m: int) -> Check:
    """Expected unused share under hashing."""
    value = (1 - 1 / m) ** n
    return Check(
        f"unused share of the bank, Hashed {n}→{m}",
        Draws(Hashed(n, m, 0), partial(unused_share, m=m)),
        value,
        condition="ideal randomness",
    )


def checks(setting: Setting) -> list[Check]:
    """Isometry at n <= m; hashing's loss; the edge n = m+1."""
    n, pair = setting.n, setting.pairs[0]
    flat = Pair("flat", np.ones(64), np.ones(64))
    hashed = variance_check(Hashed(n, n, 0), pair)
    edge = np.zeros(17)
    edge[0] = edge[16] = 0.5**0.5
    at_edge = variance_check(Fold(17, 16, 0), Pair("two spikes", edge, edge))
    return [
        isometry(n, n, pair),
        isometry(n, n + 5, pair),
        isometry(n, 3 * n, setting.pairs[-1]),
        unused(64, 64),
        unused(64, 32),
        unused(512, 512),
        Check(
            f"hashing at 1x has variance, {n}→{n}",
            hashed.sampler,
            hashed.predicted,
            scope="outside",
            claimed=0.0,
            condition="hashed is not fold",
        ),
        Check("worst case 1/m at n = m+1, as pruning's", at_edge.sampler, 1 / 16),
        Check(
            "chunks shorter than the bank at 1x, 64→64",
            variance_check(Chunk(64, 64, 0, chunk=16), flat).sampler,
            variance_check(Chunk(64, 64, 0, chunk=16), flat).predicted,
            scope="outside",
            claimed=0.0,
            condition="Z < n <= m",
        ),
    ]


def mutant_check(setting: Setting) -> Check:
    """Chunks shorter than the bank claimed to be an isometry at 1x."""
    n = setting.n
    mapping = Chunk(n, n, 0, chunk=max(1, n // 2))
    return isometry(n, n, setting.pairs[0], mapping)


CLAIM = Claim(
    number=8,
    name="pareto-continuity",
    title="At 1x nothing is lost",
    statement=(
        "For n <= m fold is injective: S is an isometry in every draw and every variance is 0. Hashing "
        "leaves (1 - 1/m)^n of the bank unused in expectation, 36.8 % at n = m, and has a variance "
        "unless x_i y_j + x_j y_i = 0 for all i != j."
    ),
    assumptions=("n <= m for the isometry",),
    formula=r"n \leq m:\ S^T S = I;\quad E\,unused_{hashed} = (1-\frac{1}{m})^n",
    source="STABLE-RPS (ICLR 2024), Pareto-continuity",
    footing="needs ideal randomness",
    checks=checks,
    mutant="chunks shorter than the bank claimed to be an isometry",
    mutant_check=mutant_check,
    remarks=(
        "The isometry and the variance are proved for the shipped hash; the unused share needs n-wise "
        "independence and is measured. At n = m+1 fold's worst case is 1/m, the same as pruning's."
    ),
)
