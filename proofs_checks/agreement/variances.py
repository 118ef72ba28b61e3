"""Claims 2 to 4, 7 and 20: the shipped variance formulas are the enumerated ones, for all vectors.

Shows: at the sizes covered `inner_product_variance`, `norm_variance` and `worst_case_variance` are,
as polynomials, what enumeration of every ideal draw gives. Does not show: other sizes (the formulas
contain no size-dependent branch but the ragged last lap, which is covered).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.polynomials import exact, lattice
from rpstheory.closed_form import inner_product_variance, norm_variance, worst_case_variance
from rpstheory.mappings import (
    AbstractMapping,
    AbstractSharing,
    Block,
    Chunk,
    Fold,
    Hashed,
    KeepBernoulli,
    KeepExact,
)

Formula = Callable[..., Any]


def cases(most: int) -> Iterator[tuple[AbstractMapping, u.Universe]]:
    """Every shipped random mapping of at most ``most`` weights and cells, beside its universe."""
    for n in range(1, most + 1):
        for m in range(1, most + 1):
            yield Fold(n, m, 0), u.fold(n, m)
            yield Hashed(n, m, 0), u.hashed(n, m)
            for z in range(2, m):
                yield Chunk(n, m, 0, chunk=z), u.chunk(n, m, z)
                yield Block(n, m, 0, block=z), u.block(n, m, z)
            if m <= n:
                yield KeepExact(n, m, 0), u.keep_exact(n, m)
                yield KeepBernoulli(n, m, 0), u.keep_bernoulli(n, m)


def variance_at(universe: u.Universe, x: Any, y: Any) -> Any:
    """(rows of x, rows of y) Fractions: variance over every draw of the estimate of <x, y>."""
    values = (x @ universe.forms @ y.T).astype(object)
    weights = exact(universe.weights)
    mean = np.tensordot(weights, values, axes=1)
    square = np.tensordot(weights, values * values, axes=1)
    return universe.rescale**2 * (square * universe.total - mean * mean) * Fraction(1, universe.total**2)


def products(level: Level, formula: Formula = inner_product_variance) -> str:
    """At all pairs of lattice points of degree 2: equal as polynomials in x and y."""
    most, count = level.pick(3, 4, 5), 0
    for mapping, universe in cases(most):
        points = lattice(mapping.n, 2)
        shipped = formula(mapping, exact(points)[:, None, :], exact(points)[None, :, :])
        same = (shipped == variance_at(universe, points, points)).all()
        require(same, f"inner_product_variance differs from enumeration for {mapping}")
        count += 1
    return f"{count} mappings of at most {most} weights and cells, for all x and y"


def norms(level: Level, formula: Formula = norm_variance) -> str:
    """At all lattice points of degree 4: equal as polynomials in x."""
    most, count = level.pick(3, 4, 5), 0
    for mapping, universe in cases(most):
        points = lattice(mapping.n, 4)
        values = [variance_at(universe, point[None], point[None])[0, 0] for point in points]
        same = (formula(mapping, exact(points)) == np.array(values, dtype=object)).all()
        require(same, f"norm_variance differs from enumeration for {mapping}")
        count += 1
    return f"{count} mappings of at most {most} weights and cells, for all x"


def attained(mapping: AbstractMapping) -> Any:
    """A vector at which the worst case is met: energy 1/k in each chunk on one offset; a spike."""
    x = np.zeros(mapping.n, dtype=np.int64)
    x[:: getattr(mapping, "chunk_length", mapping.n)] = 1
    return x


def worst(level: Level, formula: Formula = worst_case_variance) -> str:
    """Attained where the theory says, and exceeded nowhere on a grid of directions."""
    most, count = level.pick(3, 4, 4), 0
    for mapping, universe in cases(most):
        if isinstance(mapping, Block):  # a lone first offset; its bound is settled in enumeration
            continue
        best = formula(mapping)
        x = attained(mapping)
        value = variance_at(universe, x[None], x[None])[0, 0] / int(x @ x) ** 2
        require(value == best, f"{mapping}: {best} is not met, but {value}, at {x.tolist()}")
        grid = lattice(mapping.n, level.pick(3, 4, 6))
        energy = exact((grid * grid).sum(axis=1))
        ratios = variance_at(universe, grid, grid) / np.multiply.outer(energy, energy)
        require((ratios <= best).all(), f"{mapping}: the variance exceeds {best} on the grid")
        count += 1
    return f"{count} mappings of at most {most} weights and cells"


def without_cross_term(mapping: AbstractMapping, x: Any, y: Any) -> Any:
    """The variance formula less its second half."""
    law = getattr(mapping, "collision_sum", None)
    return inner_product_variance(mapping, x, y) if law is None else law(x * x, y * y) * Fraction(1)


def one_lap_too_many(mapping: AbstractMapping) -> Fraction:
    """The worst case with 1 - 1/(k+1) in place of 1 - 1/k."""
    if not isinstance(mapping, AbstractSharing):
        return worst_case_variance(mapping)
    return Fraction(2, mapping.m) * (1 - Fraction(1, mapping.chunks + 1))


CHECKS = (
    Check(
        2,
        "shipped inner-product variance",
        "inner_product_variance(mapping, x, y) = variance over every draw, all mappings, ragged too",
        "agreement",
        products,
        "the cross term x_i y_i x_j y_j is left out",
        lambda: products(Level.QUICK, without_cross_term),
    ),
    Check(
        3,
        "shipped norm variance",
        "norm_variance(mapping, x) = variance over every draw",
        "agreement",
        norms,
        "half of the formula",
        lambda: norms(Level.QUICK, lambda mapping, x: without_cross_term(mapping, x, x)),
    ),
    Check(
        7,
        "shipped worst case",
        "worst_case_variance(mapping) is met at the stated vector and exceeded nowhere on a grid",
        "agreement",
        worst,
        "1/(k+1) in place of 1/k",
        lambda: worst(Level.QUICK, one_lap_too_many),
    ),
)
