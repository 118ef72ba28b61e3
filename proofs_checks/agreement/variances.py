"""Claims 2 to 4 and 7: the shipped variance formulas are the enumerated ones, for all vectors.

Shows: at the sizes covered `inner_product_variance` and `norm_variance` are, as polynomials, what enumeration
of every ideal draw gives, `collision_probability` and `collision_sum` what counting gives, and
`worst_case_variance` is met and not exceeded on a grid. On floats no term passes more than 3(n+m) + 8
roundings (two factors, each a product and running sums over at most n chunks and m offsets; their product,
summed over both and divided), so that the answer is off by at most gamma of that times the sum of the sizes
of the terms. Does not show: other sizes (the formulas contain no size-dependent branch but the ragged last
lap and whether a block has more starts than weights, which are covered).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.agreement.cases import (
    Case,
    alternating,
    as_fractions,
    cases,
    norm_variance_at,
    prunings,
    rounding,
    sharings,
    signed,
    variance_at,
)
from proofs_checks.check import Check, Level, require
from proofs_checks.polynomials import exact, lattice, meeting
from proofs_checks.residuals import diagonal
from rpstheory.closed_form import inner_product_variance, norm_variance, worst_case_variance
from rpstheory.mappings import AbstractMapping, AbstractSharing, Hashed, KeepBernoulli

Formula = Callable[..., Any]

LONG = np.array(
    [
        [2**53 - 1, -3, 6004799503160661, 7, -1000003, 5404319552844595, 11, -13, 2**52 + 1],
        [-11, 8106479329266893, 13, -4503599627370497, 3, 1, -17, 7205759403792793, 5],
        [6004799503160661, 5404319552844595, -7205759403792793, 2**53 - 3, 2**52 + 3, -3, 1, 9, -1],
    ],
    dtype=object,
)
"""Whole numbers of up to 53 bits, exact as floats while their squares are not; large beside small."""


def products(level: Level, formula: Formula = inner_product_variance) -> str:
    """Sharing, at all pairs of lattice points of degree 2: equal as polynomials in x and y."""
    most = level.pick(3, 4, 5)
    count = require_products(sharings(most), formula)
    return f"{count} mappings of at most {most} weights and cells, tiles of matrices, for all x and y"


def norms(level: Level, formula: Formula = norm_variance) -> str:
    """Sharing, at all lattice points of degree 4: equal as polynomials in x."""
    most = level.pick(3, 4, 5)
    count = require_norms(sharings(most), formula)
    return f"{count} mappings of at most {most} weights and cells, tiles of matrices, for all x"


def pruning(level: Level, formula: Formula = inner_product_variance) -> str:
    """Both prunings: products and norms."""
    most = level.pick(4, 5, 6)
    count = require_products(prunings(most), formula)
    require_norms(prunings(most), lambda mapping, x: formula(mapping, x, x))
    return f"{count} mappings of at most {most} weights, for all x and y"


def require_products(mappings: Iterable[Case], formula: Formula) -> int:
    """Number of mappings of which the formula is the variance of <Sx, Sy>, as a polynomial."""
    count = 0
    for mapping, universe in mappings:
        points = lattice(mapping.n, 2)
        x, y = signed(points), alternating(points)
        shipped = formula(mapping, exact(x)[:, None, :], exact(y)[None, :, :])
        same = shipped == variance_at(universe, x, y)
        require(same.all(), f"variance of {mapping} at {first(same, x, y)}")
        count += 1
    return count


def require_norms(mappings: Iterable[Case], formula: Formula) -> int:
    """Number of mappings of which the formula is the variance of |Sx|^2, as a polynomial."""
    count = 0
    for mapping, universe in mappings:
        x = alternating(lattice(mapping.n, 4))
        same = formula(mapping, exact(x)) == norm_variance_at(universe, x)
        require(same.all(), f"norm variance of {mapping} at {first(same, x)}")
        count += 1
    return count


def first(same: Any, *vectors: Any) -> str:
    """The first vectors where two answers differ, in words."""
    place = np.argwhere(~same)[:1].ravel()
    return ", ".join(f"{rows[at].tolist()}" for rows, at in zip(vectors, place, strict=False))


def collisions(
    level: Level, probability: Callable[[Any, int, int], Any] = AbstractSharing.collision_probability
) -> str:
    """Each pair by counting; the sum on unit vectors, which fixes a bilinear form, and at mixed signs."""
    most, count = level.pick(3, 4, 5), 0
    for mapping, universe in sharings(most):
        met, units = meeting(universe.cells), diagonal([1] * mapping.n)
        for i, j in zip(*np.nonzero(1 - np.eye(mapping.n, dtype=np.int64)), strict=True):
            found = probability(mapping, int(i), int(j))
            require(found == met[i, j], f"{mapping}, weights {i} and {j}: {found}, counted {met[i, j]}")
        for a in (units, alternating(lattice(mapping.n, 2)) * Fraction(1)):
            found = mapping.collision_sum(a[:, None], units[None])
            require((found == a @ met).all(), f"collision_sum of {mapping}: {found.tolist()}")
        count += 1
    return f"{count} mappings of at most {most} weights and cells, tiles of matrices, every pair"


def floats(level: Level, formula: Formula = inner_product_variance) -> str:
    """Products and norms on float64, where squares are rounded, against enumeration in whole numbers."""
    most, count = level.pick(3, 4, 5), 0
    for mapping, universe in cases(most):
        x = LONG[:, : mapping.n]
        asked = x.astype(np.float64)
        true = variance_at(universe, x, x)
        allowed = rounding(3 * (mapping.n + mapping.m) + 8) * sizes(mapping, universe, abs(x))
        close = abs(as_fractions(formula(mapping, asked[:, None, :], asked[None, :, :])) - true) <= allowed
        require(close.all(), f"{mapping} on floats, {first(close, x, x)}")
        close = abs(as_fractions(norm_variance(mapping, asked)) - true.diagonal()) <= allowed.diagonal()
        require(close.all(), f"norm_variance of {mapping} on floats, {first(close, x)}")
        count += 1
    return f"{count} mappings of at most {most} weights and cells, within gamma(3(n+m) + 8)"


def sizes(mapping: AbstractMapping, universe: u.Universe, x: Any) -> Any:
    """(rows, rows) at least the sum of the sizes of the terms, for |x| against |x|.

    Sharing: a pair that can meet enters with 1/M, M starts; for tiles the sum over offsets takes M + 4Z terms
    of 1/M^2, at most 5/M where M >= Z, before it subtracts. Pruning: n/m - 1 times n/(n-1) <= 2, and the mean
    is taken from every product.
    """
    if isinstance(mapping, AbstractSharing):
        pairs = (meeting(universe.cells) > 0) * Fraction(5, mapping.starts)
        a = x[:, None] * x[None]
        return (x * x) @ pairs @ (x * x).T + ((a @ pairs) * a).sum(axis=-1)
    a = x[:, None] * x[None] * Fraction(1)
    a = a + a.sum(axis=-1)[..., None] / mapping.n
    return 2 * (universe.rescale - 1) * (a * a).sum(axis=-1)


def worst(level: Level, formula: Formula = worst_case_variance) -> str:
    """Attained where the theory says, and exceeded nowhere on a grid of directions."""
    most, count = level.pick(3, 4, 4), 0
    for mapping, universe in cases(most):
        best = formula(mapping)
        x = attained(mapping)
        value = norm_variance_at(universe, x[None])[0] / int(x @ x) ** 2
        require(value == best, f"{mapping}: {best} is not met, but {value}, at {x.tolist()}")
        grid = lattice(mapping.n, level.pick(2, 3, 4))
        x, y = signed(grid), alternating(grid)
        energies = np.multiply.outer(*(exact((rows * rows).sum(axis=1)) for rows in (x, y)))
        fine = variance_at(universe, x, y) <= best * energies
        require(fine.all(), f"{mapping}: the variance exceeds {best} at {first(fine, x, y)}")
        count += 1
    return f"{count} mappings of at most {most} weights and cells, tiles of matrices"


def attained(mapping: AbstractMapping) -> Any:
    """A vector at which the worst case is met: energy 1/k in each chunk on one offset; a spike."""
    place = np.arange(mapping.n)
    if isinstance(mapping, AbstractSharing):
        return (mapping.chunk_and_offset(place)[1] == 0).astype(np.int64)
    return (place == 0).astype(np.int64)


def cross_term_of_sizes(mapping: AbstractMapping, x: Any, y: Any) -> Any:
    """|x_i y_i x_j y_j| for the cross term: the same where no entry is negative."""
    return inner_product_variance(mapping, abs(x), abs(y))


def without_cross_term(mapping: AbstractSharing, x: Any) -> Any:
    """The sum of p_ij x_i^2 x_j^2, once."""
    return mapping.collision_sum(x * x, x * x) * Fraction(1)


def not_centred(mapping: AbstractMapping, x: Any, y: Any) -> Any:
    """Bernoulli's formula for both kinds."""
    return inner_product_variance(KeepBernoulli(mapping.n, mapping.m, 0), x, y)


def at_any_offsets(mapping: AbstractSharing, i: int, j: int) -> Fraction:
    """1/M wherever two weights can meet."""
    return Fraction(int(mapping.collision_probability(i, j) > 0), mapping.starts)


def by_subtraction(mapping: AbstractMapping, x: Any, y: Any) -> Any:
    """Hashing by its short form, all pairs less the equal ones."""
    if not isinstance(mapping, Hashed):
        return inner_product_variance(mapping, x, y)
    a = x * y
    every = (x * x).sum(axis=-1) * (y * y).sum(axis=-1) + a.sum(axis=-1) ** 2
    return (every - 2 * (a * a).sum(axis=-1)) / mapping.m


def whole_laps(mapping: AbstractMapping) -> Fraction:
    """1/k = Z/n, as where Z divides n."""
    if not isinstance(mapping, AbstractSharing):
        return worst_case_variance(mapping)
    return Fraction(2, mapping.starts) * max(Fraction(0), 1 - Fraction(mapping.chunk_length, mapping.n))


CHECKS = (
    Check(
        2,
        "shipped inner-product variance",
        "inner_product_variance(mapping, x, y) = variance over every draw, all sharing, ragged too",
        "agreement",
        products,
        "|x_i y_i x_j y_j| in place of x_i y_i x_j y_j",
        lambda: products(Level.QUICK, cross_term_of_sizes),
    ),
    Check(
        2,
        "shipped collision law",
        "collision_probability = share of draws in which i, j meet; collision_sum(a, b) = sum p_ij a_i b_j",
        "agreement",
        collisions,
        "blocks meet with 1/M at any two offsets",
        lambda: collisions(Level.QUICK, at_any_offsets),
    ),
    Check(
        2,
        "shipped variance on floats",
        "inner_product_variance and norm_variance on float64: right within gamma(3(n+m) + 8), derived above",
        "agreement",
        floats,
        "hashing by all pairs less the equal ones, which cancels",
        lambda: floats(Level.QUICK, by_subtraction),
    ),
    Check(
        3,
        "shipped norm variance",
        "norm_variance(mapping, x) = variance over every draw, all sharing, ragged too",
        "agreement",
        norms,
        "the cross term is left out",
        lambda: norms(Level.QUICK, without_cross_term),
    ),
    Check(
        4,
        "shipped pruning variance",
        "inner_product_variance(mapping, x, y) = variance over every mask, both prunings",
        "agreement",
        pruning,
        "Bernoulli's formula for an exact subset",
        lambda: pruning(Level.QUICK, not_centred),
    ),
    Check(
        7,
        "shipped worst case",
        "worst_case_variance(mapping) is met at the stated vector and exceeded nowhere on a grid",
        "agreement",
        worst,
        "1 - Z/n in place of 1 - 1/k, as where Z divides n",
        lambda: worst(Level.QUICK, whole_laps),
    ),
)
