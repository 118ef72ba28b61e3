"""Claim 6: the shipped mean over data is the mean of the enumerated variance over a law on few points.

The variance is of degree 4 in the entries of x and y together, so a law of the data enters by its moments to
that order, and a law on few points with the same ones serves as well: sqrt(K) times -1, 0, +1 with chances
1/(2K), 1 - 1/K, 1/(2K) has variance 1 and fourth moment K.
Shows: for every law of `rpstheory.distributions` at the sizes listed, in the given and in a random order of
the entries, that `expected_variance` is the mean over data and draws, within the rounding of a float: no term
passes more than 4(n+m) + 20 roundings (those of the variance, and sums over n). Does not show: other sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import permutations, product
from typing import Any

import numpy as np

from proofs_checks.agreement.cases import cases, rounding
from proofs_checks.check import Check, Level, require
from proofs_checks.polynomials import fractions, variance_form
from rpstheory.closed_form import expected_variance
from rpstheory.distributions import AbstractDistribution, Fixed, Independent, Mixture, Pairs, Rows
from rpstheory.mappings import AbstractMapping, AbstractSharing, Fold

Formula = Callable[..., float]
Data = tuple[AbstractDistribution, Any]

KURTOSIS = {
    "gaussian": Fraction(3),
    "uniform": Fraction(9, 5),  # 3^2/5, on [-sqrt 3, sqrt 3]
    "laplace": Fraction(6),  # 4! b^4 at 2 b^2 = 1
    "rademacher": Fraction(1),
    "student-t": Fraction(15, 4),  # 3 (v - 2)/(v - 4) at v = 12
}
SCALES, OTHERS = (2.0, -1.0, 3.0, 0.5), (1.0, 4.0, 0.0, -3.0)
ROWS = np.array([[1.0, -2.0, 3.0, 0.0], [2.0, 1.0, 0.0, -1.0], [0.0, 5.0, -1.0, 1.0], [-1.0, 1.0, 2.0, 4.0]])


def moments(x: Any, y: Any, ways: Any) -> Any:
    """(n, n, n, n) Fractions E x_i y_j x_k y_l over listed pairs, (many, n), that occur in so many ways."""
    n = x.shape[1]
    pairs = (x[:, :, None] * y[:, None, :]).reshape(-1, n * n)
    return fractions(((pairs * ways[:, None]).T @ pairs).reshape((n,) * 4), Fraction(1, int(ways.sum())))


def copies(n: int, law: dict[tuple[int, int], int]) -> tuple[Any, Any, Any]:
    """x, its copy and the ways, when the n pairs (x_i, copy_i) are independent of one law."""
    listed = list(product(law.items(), repeat=n))
    points = np.array([[point for point, _ in row] for row in listed], dtype=np.int64)
    ways = np.array([np.prod([k for _, k in row]) for row in listed], dtype=np.int64)
    return points[..., 0], points[..., 1], ways


def standard(kurtosis: Fraction) -> dict[tuple[int, int], int]:
    """Two independent entries on -1, 0, 1, each sqrt(kurtosis) times too small."""
    rest, side = 2 * (kurtosis.numerator - kurtosis.denominator), kurtosis.denominator
    ways = {-1: side, 0: rest, 1: side}
    return {(a, b): ways[a] * ways[b] for a, b in product(ways, ways) if ways[a] * ways[b]}


def mixed(scales: tuple[int, ...]) -> dict[tuple[int, int], int]:
    """Two Gaussian entries times one scale, each scale equally often."""
    found: dict[tuple[int, int], int] = {}
    for scale, ((a, b), ways) in product(scales, standard(KURTOSIS["gaussian"]).items()):
        point = (scale * a, scale * b)
        found[point] = found.get(point, 0) + ways
    return found


def correlated(c: Fraction, x: Any, copy: Any, ways: Any) -> Any:
    """Moments of x and c x + sqrt(1 - c^2) copy; odd powers of the copy have mean 0."""
    return c**2 * moments(x, x, ways) + (1 - c**2) * moments(x, copy, ways)


def scaled(tensor: Any, x: tuple[float, ...], y: tuple[float, ...]) -> Any:
    """Moments after entries of x and y are multiplied by these."""
    a, b = (np.array([Fraction(v) for v in row], dtype=object) for row in (x, y))
    pair = np.multiply.outer(a, b)
    return tensor * np.multiply.outer(pair, pair)


def data(n: int) -> Iterator[Data]:
    """Laws of every kind beside their moments."""
    for family, kurtosis in KURTOSIS.items():
        x, copy, ways = copies(n, standard(kurtosis))
        unit = kurtosis**2 * moments(x, copy, ways)
        yield Independent(SCALES[:n], None, family), scaled(unit, SCALES[:n], SCALES[:n])  # type: ignore[arg-type]
        yield Independent(SCALES[:n], OTHERS[:n], family), scaled(unit, SCALES[:n], OTHERS[:n])  # type: ignore[arg-type]
        for c in (Fraction(0), Fraction(-1, 2), Fraction(1)):
            yield Pairs(n, float(c), family), kurtosis**2 * correlated(c, x, copy, ways)  # type: ignore[arg-type]
    x, copy, ways = copies(n, mixed((1, 3)))
    for c in (Fraction(0), Fraction(1, 2)):
        yield Mixture(n, float(c)), KURTOSIS["gaussian"] ** 2 * correlated(c, x, copy, ways)
    one = np.ones(1, dtype=np.int64)
    rows = ROWS[:, :n].astype(np.int64)
    yield Fixed(ROWS[0, :n], ROWS[1, :n]), moments(rows[:1], rows[1:2], one)
    x, y = np.repeat(rows, len(rows), 0), np.tile(rows, (len(rows), 1))
    yield Rows(ROWS[:, :n]), moments(x, y, np.ones(len(x), dtype=np.int64))


def in_any_order(tensor: Any) -> Any:
    """Moments when the entries of both vectors are put in a uniformly random order."""
    orders = list(permutations(range(len(tensor))))
    return sum(tensor[np.ix_(order, order, order, order)] for order in orders) * Fraction(1, len(orders))


def means(level: Level, order: str, formula: Formula = expected_variance) -> str:
    """Every mapping with every law."""
    most, count = level.pick(3, 3, 4), 0
    laws = {n: [(law, tensor, in_any_order(tensor)) for law, tensor in data(n)] for n in range(1, most + 1)}
    for mapping, universe in cases(most):
        variance = variance_form(universe)
        at = variance != 0
        for law, given, mixed_up in laws.get(mapping.n, []):
            mean = (variance[at] * (given if order == "given" else mixed_up)[at]).sum()
            gap = abs(Fraction(formula(mapping, law, order)) - mean)
            allowed = rounding(4 * (mapping.n + mapping.m) + 20) * size(mapping, given)
            require(gap <= allowed, f"{mapping}, {law}, {order} order: mean {mean}, off by {float(gap)}")
            count += 1
    return f"{count} pairs of a mapping and a law, at most {most} weights, within gamma(4(n+m) + 20)"


def size(mapping: AbstractMapping, tensor: Any) -> Fraction:
    """At least the sum of the sizes of the terms.

    With A the sum over i, j of E x_i^2 y_j^2 and of |E x_i y_i x_j y_j|, the equal i and j included (where
    E x_i^2 E y_i^2 and (E x_i y_i)^2 are no larger, in every law listed): for sharing 2A over all pairs, with
    5/M each (see `variances.sizes`); for pruning n/m + 1 <= 2n/m times n/(n-1) <= 2 times 2A.
    """
    every = np.einsum("ijij->ij", tensor).sum() + abs(np.einsum("iijj->ij", tensor)).sum()
    return (
        10
        * every
        * (Fraction(1, mapping.starts) if isinstance(mapping, AbstractSharing) else mapping.rescale)
    )


def as_if_uncorrelated(mapping: AbstractMapping, law: AbstractDistribution, order: str) -> float:
    """The law with c = 0 in the place of correlated pairs."""
    return expected_variance(mapping, Pairs(law.n) if isinstance(law, Pairs) else law, order)  # type: ignore[arg-type]


def as_if_whole(mapping: AbstractMapping, law: AbstractDistribution, order: str) -> float:
    """Fold's mean over orders with the share of pairs n-m of n-1 that meet, as where m divides n."""
    mean = expected_variance(mapping, law, order)  # type: ignore[arg-type]
    if not isinstance(mapping, Fold) or mapping.n <= mapping.m:
        return mean
    pairs = mapping.n**2 - sum(size**2 for size in np.bincount(np.arange(mapping.n) // mapping.m).tolist())
    return mean * mapping.n * (mapping.n - mapping.m) / pairs


CHECKS = (
    Check(
        6,
        "shipped mean over data",
        "expected_variance(mapping, law) = mean over data and draws of the squared error, in the given order",
        "agreement",
        lambda level: means(level, "given"),
        "the cross moments of correlated pairs are left out",
        lambda: means(Level.QUICK, "given", as_if_uncorrelated),
    ),
    Check(
        6,
        "shipped mean over data in random order",
        'expected_variance(mapping, law, "random") = mean over data, draws and all orders of the entries',
        "agreement",
        lambda level: means(level, "random"),
        "the value where m divides n, without rho",
        lambda: means(Level.QUICK, "random", as_if_whole),
    ),
)
