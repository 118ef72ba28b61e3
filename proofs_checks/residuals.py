"""What is left of a quadratic form when some of its variables are chosen best: least squares in Fractions.

A residual is kept as a form in the target, so that what is shown of it holds for every target.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from proofs_checks.polynomials import fractions
from proofs_checks.universes import Universe


def least(form: Any, chosen: int) -> Any:
    """The form in the first variables at the best values of the last ``chosen``; form semidefinite."""
    rest = form
    for _ in range(chosen):
        row, pivot = rest[-1, :-1], rest[-1, -1]
        rest = rest[:-1, :-1]
        if pivot:
            rest = rest - np.multiply.outer(row / pivot, row)
    return rest


def paid(sigma: Any, design: Any, price: Any) -> Any:
    """Form in w of the least of w' Sigma w - 2 w' Sigma A theta + theta' P theta; design A, price P."""
    pull = sigma @ design
    return least(np.block([[sigma, -pull], [-pull.T, price]]), design.shape[1])


def residual(sigma: Any, design: Any) -> Any:
    """Form in w of the least of (w - A theta)' Sigma (w - A theta) over theta; design is A, (n, m)."""
    return paid(sigma, design, design.T @ sigma @ design)


def ridge(sigma: Any, penalty: Any) -> Any:
    """Form in w of the least of (w-v)' Sigma (w-v) + v'Qv over v, which is Sigma (Sigma + Q)^+ Q."""
    return paid(sigma, diagonal([1] * len(sigma)), sigma + penalty)


def design(cells: Any, signs: Any, m: int, scales: Any) -> Any:
    """Lambda S', (n, m) Fractions: how much of each cell a weight is."""
    reads = (np.asarray(cells)[:, None] == np.arange(m)) * np.asarray(signs)[:, None]
    return fractions(reads, Fraction(1)) * np.array(scales, dtype=object)[:, None]


def penalty(variance: Any, gram: Any) -> Any:
    """Q with v'Qv = sum over rows x of X of Var <Sx, Sv>, from the tensor of the variance and G = X'X."""
    return np.tensordot(gram, variance, axes=([0, 1], [0, 2]))


def mean_residual(universe: Universe, sigma: Any, x: Any = None) -> Any:
    """Form in y: mean over draws of the least (y - X S' theta)' Sigma (y - X S' theta); X = I if left out."""
    draws = zip(universe.cells, universe.signs, universe.weights.tolist(), strict=True)
    flat = [Fraction(1)] * universe.n
    x = diagonal(flat) if x is None else x
    total = sum(k * residual(sigma, x @ design(cells, g, universe.m, flat)) for cells, g, k in draws)
    return total / Fraction(universe.total)


def diagonal(values: Any) -> Any:
    """Diagonal matrix of Fractions."""
    return fractions(np.eye(len(values), dtype=np.int64), Fraction(1)) * np.array(values, dtype=object)


def groupings(n: int, most: int) -> Iterator[Any]:
    """Every way in which n weights can share at most ``most`` cells, cells numbered by their first weight."""
    for cells in product(range(min(n, most)), repeat=n):
        if all(cell <= max(cells[:i], default=-1) + 1 for i, cell in enumerate(cells)):
            yield np.array(cells, dtype=np.int64)


def pairwise_signs(n: int) -> Any:
    """(2^bits, n) signs of which every two are independent: parities of a word on n sets of its bits."""
    words = range(2 ** n.bit_length())
    return np.array([[(-1) ** (word & i).bit_count() for i in range(1, n + 1)] for word in words])
