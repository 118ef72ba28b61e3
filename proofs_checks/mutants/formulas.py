"""Broken formulas: a term, a factor or a condition lost."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import exp, sqrt
from typing import Any

import numpy as np

from proofs_checks.mutants.catchers import claim, law
from proofs_checks.mutants.mutant import Mutant
from rpstheory.claims.training import train
from rpstheory.closed_form import as_vector, inner_product_variance, lap_sizes
from rpstheory.linear_model import penalty_matrix
from rpstheory.mappings import AbstractSharing, Block, Fold
from rpstheory.stability import effective_scaler
from rpstheory.traffic import most_cache_lines

CLOSED_FORM = "rpstheory.closed_form"


def block_of_half(n: int, m: int, seed: int) -> Block:
    """Blocks of half the bank."""
    return Block(n, m, seed, block=-(-m // 2))


def without_cross_term(mapping: Any, x: Any, y: Any) -> Any:
    """Sum of p_ij x_i^2 y_j^2."""
    if not isinstance(mapping, AbstractSharing):
        return inner_product_variance(mapping, x, y)
    u, v = as_vector("variance", x, mapping.n), as_vector("variance", y, mapping.n)
    return mapping.collision_sum(u * u, v * v)


def without_lap_squares(mapping: Any, x: Any, y: Any) -> Any:
    """(sum of xy)^2 without the squares of the lap sums: laps meet themselves in the cross term."""
    if not isinstance(mapping, AbstractSharing):
        return inner_product_variance(mapping, x, y)
    u, v = as_vector("variance", x, mapping.n), as_vector("variance", y, mapping.n)
    return mapping.collision_sum(u * u, v * v) + (u * v).sum(axis=-1) ** 2 / mapping.m


def as_if_hashed(self: Any, a: Any, b: Any) -> Any:
    """All pairs meet, those of one lap too."""
    return (a.sum(axis=-1) * b.sum(axis=-1) - (a * b).sum(axis=-1)) / self.m


def as_if_wrapped(self: Any, a: Any, b: Any) -> Any:
    """1/m across blocks."""
    left, right = self.chunk_sums(a), self.chunk_sums(b)
    return (left.sum(axis=-1) * right.sum(axis=-1) - (left * right).sum(axis=-1)) / self.m


def with_replacement(mapping: Any, a: Any) -> Any:
    """(n/m - 1) sum (a_i - mean a)^2."""
    centred = a - a.mean(axis=-1, keepdims=True)
    return float(mapping.rescale - 1) * (centred * centred).sum(axis=-1)


def as_if_dividing(n: int, m: int) -> int:
    """n (n - m) ordered pairs in different laps."""
    return n * max(0, n - m)


def without_own_lap(mapping: Any) -> Fraction:
    """2/M without 1 - 1/k."""
    return Fraction(2, mapping.starts) if isinstance(mapping, AbstractSharing) else mapping.rescale - 1


def laps_too_many(n: int, m: int) -> Fraction:
    """(2/n^2) r k(k-1), all cells as full as the fullest."""
    laps = lap_sizes(n, m)
    return Fraction(2 * m * len(laps) * (len(laps) - 1), n * n)


def diagonal_penalty(mapping: Any, gram: Any) -> Any:
    """Q without p_ij G_ij."""
    return np.diag(np.diag(penalty_matrix(mapping, gram)))


def v1_for_gamma(mapping: Any, scales: Any, scaler: Any = "gamma") -> Any:
    """The squared sum of scales over their number."""
    return effective_scaler(mapping, scales, "v1" if scaler == "gamma" else scaler)


def decay_inside(
    bank: Any, start: Any, losses: Any, rule: Any, divisor: Any = 1.0, steps: int = 8
) -> list[Any]:
    """Training in which weight decay is divided too."""
    decay = getattr(rule, "coupled", 0.0)
    rule = replace(rule, coupled=0.0) if decay else rule

    def gradient(step: int, theta: Any) -> Any:
        return (bank.collect(losses.gradient(step, bank.expand(theta))) + decay * theta) / divisor

    return [bank.expand(theta) for theta in train(start, gradient, rule, steps)]


def a_line_less(length: int, line: int, m: int, *, aligned: bool = True) -> int:
    """One line fewer."""
    return most_cache_lines(length, line, m, aligned=aligned) - 1


def half_chebyshev(variance: float, t: float) -> float:
    """V/(2 t^2)."""
    return min(1.0, variance / (2 * t**2))


def bonami_without_e(v2: float, t: float) -> float:
    """exp(-1 - t/v)."""
    return exp(-1 - t / sqrt(v2))


def rows_by_chance(rows: int, width: int, kept: int) -> float:
    """Zero rows as if every weight were kept with probability m/(N d)."""
    return rows * (1 - kept / (rows * width)) ** width


def without_products(mapping: Any, x: Any, y: Any) -> Any:
    """Sum of the squares of what top drops."""
    return (((x * y) * (1 - mapping.kept)) ** 2).sum(axis=-1)


MUTANTS = (
    Mutant(
        "cross term dropped",
        "formula",
        "x_i y_i x_j y_j left out of the variance",
        f"{CLOSED_FORM}:inner_product_variance",
        without_cross_term,
        (claim(3, "Fold 24→6, integers n=24, first vector"),),
    ),
    Mutant(
        "squares of lap sums dropped",
        "formula",
        "<x, y>^2 without the sum of c_p^2 in the variance of fold",
        f"{CLOSED_FORM}:inner_product_variance",
        without_lap_squares,
        (claim(3, "Fold 24→6, integers n=24, first vector", discrepancy=0.05),),
    ),
    Mutant(
        "weights of one lap meet",
        "formula",
        "the collision sum of hashing in the place of fold's",
        "rpstheory.mappings.sharing:AbstractSharing.collision_sum",
        as_if_hashed,
        (law("collisions", Fold), claim(2, "Fold 24→6, integers n=24")),
    ),
    Mutant(
        "block as if it wrapped",
        "formula",
        "collision probability 1/m for blocks",
        "rpstheory.mappings.block:Block.collision_sum",
        as_if_wrapped,
        (
            law("collisions", block_of_half),
            claim(2, "Block 24→7 Z=3, integers n=24"),
        ),
    ),
    Mutant(
        "factor n/(n-1) dropped",
        "formula",
        "the variance of exact pruning as if drawn with replacement",
        f"{CLOSED_FORM}:_pruning_variance",
        with_replacement,
        (claim(12, "variance of the loss: KeepExact 4→2, isotropic"),),
    ),
    Mutant(
        "ragged lap ignored",
        "formula",
        "rho = 1: the formula for m | n at every n",
        f"{CLOSED_FORM}:pairs_in_different_laps",
        as_if_dividing,
        (claim(9, "balance, Fold 1000→37"),),
    ),
    Mutant(
        "k for k - 1 in the worst case",
        "formula",
        "2/m in the place of (2/m)(1 - 1/k)",
        f"{CLOSED_FORM}:worst_case_variance",
        without_own_lap,
        (claim(7, "Fold 24→6, energy 1/k per chunk"),),
    ),
    Mutant(
        "k for k - 1 in the optimum",
        "formula",
        "short cells counted as full in the least collisions",
        "rpstheory.claims.c20_optimality:worst_case_bound",
        laps_too_many,
        (claim(20, "Fold 23→6, flat unit vector", discrepancy=0.03),),
    ),
    Mutant(
        "penalty without its off-diagonal",
        "formula",
        "p_ij G_ij left out of the ridge penalty",
        "rpstheory.linear_model:penalty_matrix",
        diagonal_penalty,
        (
            claim(
                11,
                "mean loss at theta = S v, v the ridge minimiser: Fold 24→6, power-law spectrum",
                discrepancy=0.03,
            ),
        ),
    ),
    Mutant(
        "v1 for Gamma",
        "formula",
        "the squared sum of scales over their number where their squares should be summed",
        "rpstheory.stability:effective_scaler",
        v1_for_gamma,
        (claim(13, "S Lambda^2 S' = diag(Gamma), v1 <= Gamma <= k v1"),),
    ),
    Mutant(
        "decay inside the division",
        "formula",
        "weight decay is divided by Gamma too",
        "rpstheory.claims.training:train_bank",
        decay_inside,
        (claim(14, "SGD on theta divided by Gamma, Fold"),),
    ),
    Mutant(
        "a cache line less",
        "formula",
        "the bound on cache lines off by one",
        "rpstheory.traffic:most_cache_lines",
        a_line_less,
        (claim(10, "at most * lines, line-aligned, B | m", discrepancy=0.02),),
    ),
    Mutant(
        "Chebyshev halved",
        "formula",
        "V/(2t^2)",
        "rpstheory.tails:chebyshev",
        half_chebyshev,
        (claim(16, "Chebyshev attained, two spikes 17→16"),),
    ),
    Mutant(
        "Bonami without e",
        "formula",
        "exp(-1 - t/v) in the place of exp(-1 - t/(e v))",
        "rpstheory.tails:bonami",
        bonami_without_e,
        (claim(16, "Bonami within a factor of 2, all signs alike, flat 5→1"),),
    ),
    Mutant(
        "zero rows by chance",
        "formula",
        "the zero rows of Bernoulli pruning for those of an exact subset",
        "rpstheory.traffic:expected_zero_rows",
        rows_by_chance,
        (claim(17, "zero rows, exact subset", discrepancy=0.005),),
    ),
    Mutant(
        "error of top without products",
        "formula",
        "the sum of squares of what is dropped in the place of the square of the sum",
        f"{CLOSED_FORM}:mean_squared_error",
        without_products,
        (claim(18, "squared error, Top 24→6, integers n=24"),),
    ),
)
