"""Claims 11 and 12: the shipped residuals and penalties are the enumerated ones, for all weights.

Shows: for the variances and scales listed (zeros among them), and all w, that the loss which the best
theta leaves is what `linear_residual`, its mean and variance over signs, and its mean over draws say;
for all x and v that `penalty_matrix` is the variance it stands for. The mean over draws is a float in
`rpstheory`: it is compared to within 1e-12 of the sum of e. Does not show: other variances and scales.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.agreement.cases import alternating, cases, variance_at
from proofs_checks.check import Check, Level, require
from proofs_checks.polynomials import exact, lattice
from rpstheory.linear_model import (
    expected_linear_residual,
    linear_residual,
    penalty_matrix,
    residual_given_cells,
    residual_variance_over_signs,
)
from rpstheory.mappings import AbstractMapping, Block, Chunk, Fold, Hashed

Formula = Callable[..., Any]
FLOAT = Fraction(1, 10**12)  # what the docstring of expected_linear_residual promises


def profiles(n: int) -> Iterator[tuple[list[Fraction], list[Fraction]]]:
    """(variances, scales): flat, uneven, and with zeros."""
    yield [Fraction(1)] * n, [Fraction(1)] * n
    yield [Fraction(1, i + 1) for i in range(n)], [Fraction(i + 2, 3) for i in range(n)]
    yield [Fraction(i % 3) for i in range(n)], [Fraction((i + 1) % 2 + i % 3) for i in range(n)]


def best_loss(cells: Any, signs: Any, s: Any, w: Any, scales: Any) -> Fraction:
    """Least of sum s_i (w_i - lambda_i sign_i theta_cell(i))^2: one normal equation per cell."""
    lost = Fraction(0)
    for cell in set(cells):
        held = [i for i in range(len(cells)) if cells[i] == cell]
        reach = {i: scales[i] * int(signs[i]) for i in held}
        normal = sum(s[i] * reach[i] ** 2 for i in held)
        theta = sum(s[i] * reach[i] * w[i] for i in held) / normal if normal else Fraction(0)
        lost += sum(s[i] * (w[i] - reach[i] * theta) ** 2 for i in held)
    return lost


def draws(most: int) -> Iterator[AbstractMapping]:
    """A few seeds of every shipped sharing."""
    for n in range(1, most + 1):
        for m in range(1, most + 1):
            for seed in range(2):
                yield Fold(n, m, seed)
                yield Hashed(n, m, seed)
                if m > 2:
                    yield Chunk(n, m, seed, chunk=2)
                    yield Block(n, m, seed, block=2)


def one_draw(level: Level, formula: Formula = linear_residual) -> str:
    """The loss of a draw, at all lattice points of degree 2 in w."""
    most, count = level.pick(3, 4, 5), 0
    for mapping in draws(most):
        place = np.arange(mapping.n)
        cells, signs = mapping.cell(place).tolist(), mapping.sign(place).tolist()
        for s, scales in profiles(mapping.n):
            for w in exact(alternating(lattice(mapping.n, 2))).tolist():
                same = formula(mapping, s, w, scales) == best_loss(cells, signs, s, w, scales)
                require(same, f"linear_residual of {mapping} at s={s}, w={w}, scales={scales}")
            count += 1
    return f"{count} draws with variances and scales, n and m to {most}, for all w"


def over_signs(level: Level, mean: Formula = residual_given_cells) -> str:
    """Mean (degree 2 in w) and variance (degree 4) over every sign vector, the cells fixed."""
    most, count = level.pick(3, 3, 4), 0
    for mapping in draws(most):
        cells, signs = mapping.cell(np.arange(mapping.n)).tolist(), u.all_signs(mapping.n)
        for s, scales in profiles(mapping.n):
            for degree in (2, 4):
                for w in exact(alternating(lattice(mapping.n, degree))).tolist():
                    losses = [best_loss(cells, row, s, w, scales) for row in signs]
                    average = sum(losses) / len(losses)
                    spread = sum(loss * loss for loss in losses) / len(losses) - average**2
                    require(mean(mapping, s, w, scales) == average, f"mean over signs of {mapping}, w={w}")
                    found = residual_variance_over_signs(mapping, s, w, scales)
                    require(found == spread, f"variance over signs of {mapping}, w={w}")
            count += 1
    return f"{count} draws of cells with variances and scales, n and m to {most}, for all w"


def over_draws(level: Level, formula: Formula = expected_linear_residual) -> str:
    """The mean over every draw, at lattice points of degree 2 in w."""
    most, count = level.pick(3, 3, 4), 0
    for mapping, universe in cases(most):
        if isinstance(mapping, Block):
            continue
        for s, scales in profiles(mapping.n):
            for w in exact(alternating(lattice(mapping.n, 2))).tolist():
                average = mean_loss(universe, s, w, scales)
                size = sum(a * b * b for a, b in zip(s, w, strict=True))
                gap = abs(Fraction(formula(mapping, s, w, scales)) - average)
                require(gap <= FLOAT * size, f"expected_linear_residual of {mapping}, s={s}, w={w}")
            count += 1
    return f"{count} mappings with variances and scales, n and m to {most}, for all w, to 1e-12"


def mean_loss(universe: u.Universe, s: Any, w: Any, scales: Any) -> Fraction:
    """Mean over every draw of the loss that the best theta leaves."""
    rows = zip(universe.cells.tolist(), universe.signs.tolist(), universe.weights.tolist(), strict=True)
    return sum((best_loss(c, g, s, w, scales) * k for c, g, k in rows), Fraction(0)) / universe.total


def penalties(level: Level, formula: Formula = penalty_matrix) -> str:
    """v'Qv = Var <Sx, Sv> for G = xx', at all lattice points of degree 2; Q is linear in G."""
    most, count = level.pick(3, 4, 4), 0
    for mapping, universe in cases(most):
        x, v = alternating(lattice(mapping.n, 2)), lattice(mapping.n, 2)
        for row, expected in zip(exact(x), variance_at(universe, x, v), strict=True):
            penalty = formula(mapping, np.outer(row, row) * Fraction(1))
            found = ((exact(v) @ penalty) * v).sum(axis=1)
            require((found == expected).all(), f"penalty_matrix of {mapping} at G = xx', x={row.tolist()}")
        count += 1
    return f"{count} mappings of at most {most} weights and cells, for all G and v"


CHECKS = (
    Check(
        12,
        "shipped residual of a draw",
        "linear_residual = least weighted square error over theta",
        "agreement",
        one_draw,
        "the scales are left out",
        lambda: one_draw(Level.QUICK, lambda mapping, s, w, scales: linear_residual(mapping, s, w)),
    ),
    Check(
        12,
        "shipped residual over signs",
        "residual_given_cells and residual_variance_over_signs = mean and variance over all signs",
        "agreement",
        over_signs,
        "one draw's loss in place of the mean over signs",
        lambda: over_signs(Level.QUICK, linear_residual),
    ),
    Check(
        12,
        "shipped residual over draws",
        "expected_linear_residual = mean over every draw",
        "agreement",
        over_draws,
        "one draw's cells in place of the mean over cells",
        lambda: over_draws(Level.QUICK, residual_given_cells),
    ),
    Check(
        11,
        "shipped penalty",
        "v'Qv = sum over rows of Var <Sx, Sv>, Q = penalty_matrix(mapping, X'X)",
        "agreement",
        penalties,
        "the diagonal of Q is left out",
        lambda: penalties(
            Level.QUICK, lambda mapping, g: penalty_matrix(mapping, g) * (1 - np.eye(len(g), dtype=object))
        ),
    ),
)
