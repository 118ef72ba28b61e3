"""What the checks of this room compare: every shipped mapping beside its universe, vectors, rounding.

A universe is the surveyor's list of what a mapping can do; the mapping of `rpstheory` stands beside it. The
points of a lattice determine a form whatever signs are put before their entries; with signs, what takes an
absolute value or clips at 0 is not taken for the form that it equals on entries >= 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.polynomials import exact
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

Case = tuple[AbstractMapping, u.Universe]

TILES = (
    ((2, 2), (1, 2), 3),
    ((2, 3), (2, 2), 5),
    ((3, 2), (2, 2), 4),
    ((2, 2), (2, 1), 2),
    ((3, 2), (1, 2), 3),
    ((3, 3), (2, 2), 5),
)
"""Shape of a matrix, tile and m: tiles whole and ragged, with fewer starts than weights, and not."""


def cases(most: int) -> Iterator[Case]:
    """Every shipped random mapping of at most ``most`` weights and cells, and tiles, beside its universe."""
    yield from sharings(most)
    yield from prunings(most)


def sharings(most: int) -> Iterator[tuple[AbstractSharing, u.Universe]]:
    """Those that share, and the first ``most`` of the tiles."""
    for n, m in product(range(1, most + 1), repeat=2):
        yield Fold(n, m, 0), u.fold(n, m)
        yield Hashed(n, m, 0), u.hashed(n, m)
        for z in range(2, m + 1):
            yield Chunk(n, m, 0, chunk=z), u.chunk(n, m, z)
            yield Block(n, m, 0, block=z), u.block(n, m, z)
    for shape, tile, m in TILES[:most]:
        n = shape[0] * shape[1]
        yield Block(n, m, 0, block=tile, shape=shape), u.joint(tile_cells(shape, tile, m), u.all_signs(n), m)


def prunings(most: int) -> Iterator[Case]:
    """Those that drop weights at random."""
    for n in range(1, most + 1):
        for m in range(1, n + 1):
            yield KeepExact(n, m, 0), u.keep_exact(n, m)
            yield KeepBernoulli(n, m, 0), u.keep_bernoulli(n, m)


def tile_cells(shape: tuple[int, int], tile: tuple[int, int], m: int) -> Any:
    """(draws, n) cells of a matrix in row-major order, each of its tiles laid row by row where it fits."""
    (rows, columns), (tall, wide) = shape, tile
    corners = list(product(range(0, rows, tall), range(0, columns, wide)))
    starts = np.array(list(product(range(m - tall * wide + 1), repeat=len(corners))), dtype=np.int64)
    cells = np.zeros((len(starts), rows, columns), dtype=np.int64)
    for start, (top, left) in zip(starts.T, corners, strict=True):
        for offset, (down, right) in enumerate(product(range(tall), range(wide))):
            if top + down < rows and left + right < columns:
                cells[:, top + down, left + right] = start + offset
    return cells.reshape(len(starts), rows * columns)


def signed(points: Any) -> Any:
    """Every point with every choice of signs before its entries but the first, each once."""
    n = points.shape[1]
    return np.unique((points[:, None] * u.all_signs(n)[2 ** (n - 1) :]).reshape(-1, n), axis=0)


def alternating(points: Any) -> Any:
    """Every point with minus before every second entry."""
    return points * (-1) ** np.arange(points.shape[-1])


def variance_at(universe: u.Universe, x: Any, y: Any) -> Any:
    """(rows of x, rows of y) Fractions: variance over every draw of the estimate of <x, y>."""
    return _variance(universe, lambda forms: x @ forms @ y.T)


def norm_variance_at(universe: u.Universe, x: Any) -> Any:
    """(rows of x,) Fractions: variance over every draw of the estimate of |x|^2."""
    return _variance(universe, lambda forms: ((x @ forms) * x).sum(axis=-1))


def rounding(steps: int) -> Fraction:
    """gamma = k u/(1 - k u), u = 2^-53: how far k roundings in a row take a number, relative to it.

    A float made by +, -, *, / from terms that each pass at most k roundings is off by at most gamma times the
    sum of the sizes of the terms, whatever cancels (Higham 2002, lemma 3.1).
    """
    return Fraction(steps, 2**53 - steps)


def as_fractions(values: Any) -> Any:
    """The floats of an array as they are, as Fractions."""
    return np.vectorize(Fraction, otypes=[object])(values)


def _variance(universe: u.Universe, values_of: Callable[[Any], Any]) -> Any:
    mean: Any = 0
    square: Any = 0
    for part in universe.parts(2**12):  # whole numbers far below 2^63, or Python's
        values = values_of(part.forms)
        mean = mean + np.tensordot(part.weights, values, axes=1)
        square = square + np.tensordot(part.weights, values * values, axes=1)
    mean, square, total = exact(mean), exact(square), universe.total
    return (square * total - mean * mean) * (universe.rescale**2 / total**2)
