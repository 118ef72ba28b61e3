"""Laws of a pair of vectors (x, y), each with the moments that the closed forms need.

A law knows its moments exactly and draws pairs; the two are used on opposite sides of a check.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from math import prod, sqrt
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np

from rpstheory.backend import array_of
from rpstheory.errors import ArgumentError, DataError, KindError, ShapeError
from rpstheory.mappings.base import check_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

Family = Literal["gaussian", "uniform", "student-t", "laplace", "rademacher"]
FREEDOM = 12  # of student-t: the 8th moment exists, so a measured variance has a standard error
LEAST_SIZE, MOST_SIZE = 1e-60, 1e60


@dataclass(frozen=True)
class AbstractDistribution(ABC):
    """A law of pairs whose products x_i y_i have known raw moments.

    Attributes of every law, as arrays (n,): ``first`` = E x_i^2, ``second`` = E y_i^2,
    ``cross`` = E x_i y_i, ``product`` = E x_i^2 y_i^2; ``E x_i y_i x_j y_j = cross_i cross_j`` for i != j.
    """

    @property
    @abstractmethod
    def n(self) -> int:
        """Entries of each vector."""

    @property
    @abstractmethod
    def moments(self) -> tuple[Any, Any, Any, Any]:
        """(first, second, cross, product), each (n,)."""

    @property
    def rarest(self) -> float:
        """Chance of the rarest event in a pair that a large part of a mean may hang on."""
        return 1.0

    @abstractmethod
    def sample(self, generator: np.random.Generator, count: int) -> tuple[Any, Any]:
        """``count`` pairs, two arrays (count, n)."""


@final
@dataclass(frozen=True)
class Independent(AbstractDistribution):
    """x and y independent, zero-mean independent entries with standard deviations of their own.

    Attributes:
        scales: Standard deviation of x_i, (n,) as a tuple.
        others: That of y_i; None for the same.
        family: Law of the standardised entries; student-t has 12 degrees of freedom.

    Source: claim 6.
    """

    scales: tuple[float, ...]
    others: tuple[float, ...] | None = None
    family: Family = "gaussian"

    def __post_init__(self) -> None:
        """Check the scales and the family.

        Raises:
            ArgumentError: If a scale is not finite, there is none, or the family is unknown.
            ShapeError: If x and y differ in length.
            DataError: If products of four scales leave float64.
        """
        kurtosis(self.family)
        others = self.scales if self.others is None else self.others
        if len(others) != len(self.scales):
            raise ShapeError(
                f"Independent: {len(self.scales)} scales of x and {len(others)} of y came; "
                "pass one per entry of each"
            )
        if not self.scales or not np.isfinite([*self.scales, *others]).all():
            raise ArgumentError("Independent: scales are empty or not finite; pass finite numbers")
        _check_unit("Independent", self.scales, others)

    @property
    def n(self) -> int:
        """Entries of each vector."""
        return len(self.scales)

    @property
    def moments(self) -> tuple[Any, Any, Any, Any]:
        """Variances s, t; cross 0; product s t."""
        s = np.square(np.asarray(self.scales))
        t = s if self.others is None else np.square(np.asarray(self.others))
        return s, t, np.zeros(self.n), s * t

    def sample(self, generator: np.random.Generator, count: int) -> tuple[Any, Any]:
        """``count`` pairs, two arrays (count, n)."""
        x = standardised(self.family, generator, (count, self.n))
        y = standardised(self.family, generator, (count, self.n))
        others = self.scales if self.others is None else self.others
        return x * np.asarray(self.scales), y * np.asarray(others)


@final
@dataclass(frozen=True)
class Pairs(AbstractDistribution):
    """Entries (x_i, y_i) i.i.d. over i: y = c x + sqrt(1-c^2) x', x' an independent copy.

    Attributes:
        length: n.
        correlation: c in [-1, 1]; 1 makes y = x, so that products are norms.
        family: Law of the standardised entries.

    Source: claim 6, "where it turns round".
    """

    length: int
    correlation: float = 0.0
    family: Family = "gaussian"

    def __post_init__(self) -> None:
        """Check the length, the correlation and the family.

        Raises:
            KindError: If the length is not a whole number.
            ArgumentError: If one of them is out of range.
        """
        kurtosis(self.family)
        _check_pairs("Pairs", self.length, self.correlation)

    @property
    def n(self) -> int:
        """Entries of each vector."""
        return self.length

    @property
    def raw(self) -> tuple[float, float, float]:
        """(alpha, beta, gamma) = (E x^2 E y^2, (E xy)^2, E x^2 y^2)."""
        c2 = self.correlation**2
        return 1.0, c2, c2 * kurtosis(self.family) + (1 - c2)

    @property
    def moments(self) -> tuple[Any, Any, Any, Any]:
        """Unit variances, cross c, product gamma."""
        ones = np.ones(self.n)
        return ones, ones, ones * self.correlation, ones * self.raw[2]

    def sample(self, generator: np.random.Generator, count: int) -> tuple[Any, Any]:
        """``count`` pairs, two arrays (count, n); the same array twice when c = 1."""
        x = standardised(self.family, generator, (count, self.n))
        if self.correlation == 1:
            return x, x
        copy = standardised(self.family, generator, (count, self.n))
        return x, self.correlation * x + sqrt(1 - self.correlation**2) * copy


@final
@dataclass(frozen=True)
class Mixture(AbstractDistribution):
    """Gaussian pairs of correlation c, both times one random scale per entry: 1 or 3, evenly.

    Attributes:
        length: n.
        correlation: c in [-1, 1].

    Source: claim 6, scale mixtures of Gaussian pairs never favour pruning.
    """

    length: int
    correlation: float = 0.0

    def __post_init__(self) -> None:
        """Check the length and the correlation.

        Raises:
            KindError: If the length is not a whole number.
            ArgumentError: If one of them is out of range.
        """
        _check_pairs("Mixture", self.length, self.correlation)

    @property
    def n(self) -> int:
        """Entries of each vector."""
        return self.length

    @property
    def moments(self) -> tuple[Any, Any, Any, Any]:
        """Variances 5 = E r^2, cross 5c, product 41 (1 + 2 c^2), 41 = E r^4."""
        ones, c = np.ones(self.n), self.correlation
        return 5 * ones, 5 * ones, 5 * c * ones, 41 * (1 + 2 * c * c) * ones

    def sample(self, generator: np.random.Generator, count: int) -> tuple[Any, Any]:
        """``count`` pairs, two arrays (count, n)."""
        shape = (count, self.n)
        scale = 1.0 + 2.0 * generator.integers(0, 2, shape)
        x, copy = generator.standard_normal(shape), generator.standard_normal(shape)
        return scale * x, scale * (self.correlation * x + sqrt(1 - self.correlation**2) * copy)


@final
@dataclass(frozen=True, eq=False)
class Fixed(AbstractDistribution):
    """One pair of fixed vectors; of interest in a random order of the entries.

    Attributes:
        x: (n,).
        y: (n,).
    """

    x: Any
    y: Any

    def __post_init__(self) -> None:
        """Check the vectors.

        Raises:
            KindError: If they are not real.
            ShapeError: If they are not two rows of one length.
            DataError: If they hold nan or inf, or products of four entries leave float64.
        """
        x, y = (np.asarray(array_of("Fixed", row)) for row in (self.x, self.y))
        if x.ndim != 1 or not x.size or x.shape != y.shape:
            raise ShapeError(
                f"Fixed: arrays of shape {x.shape} and {y.shape} came; pass two vectors of one length"
            )
        if not all(row.dtype.kind in "iuf" for row in (x, y)):
            raise KindError(f"Fixed: data of dtype {x.dtype} and {y.dtype} came; pass floats or integers")
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise DataError("Fixed: nan or inf came; pass finite numbers")
        _check_unit("Fixed", x, y)

    @property
    def n(self) -> int:
        """Entries of each vector."""
        return len(self.x)

    @property
    def moments(self) -> tuple[Any, Any, Any, Any]:
        """x^2, y^2, xy, (xy)^2."""
        x, y = np.asarray(self.x, dtype=np.float64), np.asarray(self.y, dtype=np.float64)
        return x * x, y * y, x * y, (x * y) ** 2

    def sample(self, generator: np.random.Generator, count: int) -> tuple[Any, Any]:
        """The pair, ``count`` times."""
        shape = (count, self.n)
        return np.broadcast_to(self.x, shape), np.broadcast_to(self.y, shape)


@final
@dataclass(frozen=True, eq=False)
class Rows(AbstractDistribution):
    """x and y independent uniform rows of a real array: entries correlated as the data are.

    Attributes:
        rows: (N, n) float64.

    Its cross moments E x_i x_j are the second-moment matrix; the closed forms take it whole.
    """

    rows: Any

    def __post_init__(self) -> None:
        """Check the rows.

        Raises:
            DataError: If they are not a matrix of finite real numbers, or products of four leave float64.
        """
        rows = self.rows
        if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.dtype.kind != "f":
            raise DataError("Rows: a NumPy matrix (N, n) of floats is needed; convert it first")
        if not rows.size or not np.isfinite(rows).all():
            raise DataError("Rows: no rows, nan or inf came; pass finite numbers")
        _check_unit("Rows", rows)

    @property
    def n(self) -> int:
        """Entries of each vector."""
        return int(self.rows.shape[1])

    @cached_property
    def gram(self) -> NDArray[Any]:
        """E x_i x_j, (n, n)."""
        matrix: NDArray[np.float64] = self.rows.T @ self.rows / len(self.rows)
        return matrix

    @property
    def moments(self) -> tuple[Any, Any, Any, Any]:
        """Not enough for rows: entries are dependent; see :attr:`gram`."""
        s = np.diag(self.gram)
        return s, s, np.square(self.rows.mean(axis=0)), s * s

    @property
    def rarest(self) -> float:
        """Chance that a row is in a pair: one row may be unlike all others."""
        return min(1.0, 2 / len(self.rows))

    def sample(self, generator: np.random.Generator, count: int) -> tuple[Any, Any]:
        """``count`` pairs of rows, two arrays (count, n)."""
        pick = generator.integers(0, len(self.rows), (2, count))
        return self.rows[pick[0]], self.rows[pick[1]]


def kurtosis(family: Family) -> float:
    """Raw kurtosis E x^4 / (E x^2)^2 of a standardised family.

    Raises:
        ArgumentError: If the family is unknown.
    """
    known = {
        "gaussian": 3.0,
        "uniform": 1.8,
        "laplace": 6.0,
        "rademacher": 1.0,
        "student-t": 3.0 + 6.0 / (FREEDOM - 4),
    }
    if family not in known:
        raise ArgumentError(f"family: {family!r} is unknown; choose one of {', '.join(known)}")
    return known[family]


def standardised(family: Family, generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    """Independent entries with mean 0 and variance 1.

    Raises:
        ArgumentError: If the family is unknown.
    """
    kurtosis(family)
    if family == "gaussian":
        return generator.standard_normal(shape)
    if family == "uniform":
        return (generator.random(shape) * 2 - 1) * sqrt(3)
    if family == "laplace":
        return generator.laplace(scale=sqrt(0.5), size=shape)
    if family == "rademacher":
        bits = generator.integers(0, 2, prod(shape)).reshape(shape)
        return bits * 2.0 - 1.0
    return generator.standard_t(FREEDOM, size=shape) * sqrt((FREEDOM - 2) / FREEDOM)


def power_law(n: int, exponent: float) -> tuple[float, ...]:
    """Standard deviations with s_i = i^-exponent, i = 1..n.

    Raises:
        DataError: If n < 1.
    """
    if n < 1:
        raise DataError(f"power_law: n={n} came; at least one entry is needed")
    return tuple(float(i) ** (-exponent / 2) for i in range(1, n + 1))


def _check_unit(owner: str, *vectors: Any) -> None:
    for vector in vectors:
        largest = float(np.abs(np.asarray(vector, dtype=np.float64)).max())
        if largest != 0 and not LEAST_SIZE <= largest <= MOST_SIZE:
            raise DataError(
                f"{owner}: the largest entry is {largest:.3g}; products of four have to fit into floats, so "
                f"that it lies in {LEAST_SIZE:.0e}..{MOST_SIZE:.0e}; change the units"
            )


def _check_pairs(owner: str, length: int, correlation: float) -> None:
    check_count(owner, "length", length)
    if not -1 <= correlation <= 1:
        raise ArgumentError(f"{owner}: correlation={correlation} came; it lies in [-1, 1]; choose one there")
