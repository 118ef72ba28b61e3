r"""Variances and expectations of <Sx, Sy>: exact, O(n), on floats and on Fractions alike.

For signed sharing there is one formula. With $q_{ij} = x_i^2 y_j^2 + x_i y_i x_j y_j$,

$$ Var\langle Sx, Sy\rangle = \sum_{i \ne j} p_{ij}\, q_{ij}, $$

and a mapping enters only through the probability $p_{ij}$ that two weights share a cell, which its own
file states. Everything here is from that ideal law; what the shipped hash adds is bounded in
:mod:`rpstheory.hashing`.
"""

from __future__ import annotations

from fractions import Fraction
from numbers import Rational
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rpstheory.backend import array_of
from rpstheory.distributions import AbstractDistribution, Rows
from rpstheory.errors import ArgumentError, DataError, KindError, ShapeError
from rpstheory.mappings import AbstractMapping, AbstractSharing, KeepBernoulli, KeepExact, Top
from rpstheory.mappings.base import check_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Vector = Sequence[int] | Sequence[Fraction] | Sequence[float] | NDArray[Any]

NEAR = 200  # products of four entries below 2^200 are floats, and sums of so many as fit into a memory


def as_vector(owner: str, x: Any, n: int, among: str = "the mapping has n={n} weights") -> Any:
    """``x`` as float64 (…, n), or as objects when it is a sequence of int or Fraction.

    Args:
        owner: Who asks.
        x: What came.
        n: Entries needed.
        among: Why so many, in words.

    Raises:
        ShapeError: If its last axis does not have n entries.
        KindError: If it holds anything but real numbers.
        DataError: If it holds nan or inf.
    """
    if isinstance(x, list | tuple) and x and all(isinstance(v, Rational) for v in x):
        row = np.array([_fraction(v) for v in x], dtype=object)
    else:
        row = np.asarray(array_of(owner, x))
        if row.dtype.kind == "O" and all(isinstance(v, Rational) for v in row.ravel()):
            row = np.vectorize(_fraction, otypes=[object])(row)
        elif row.dtype.kind not in "iufb":
            raise KindError(
                f"{owner}: data of dtype {row.dtype} came; pass real numbers (float, int, Fraction)"
            )
        else:
            row = row.astype(np.float64)
            if not np.isfinite(row).all():
                raise DataError(f"{owner}: the data hold nan or inf; pass finite numbers")
    if row.ndim < 1 or row.shape[-1] != n:
        raise ShapeError(
            f"{owner}: an array of shape {row.shape} came, {among.format(n=n)}; "
            "pass one value per weight on the last axis"
        )
    return row


def as_symmetric(
    owner: str, what: str, matrix: Any, n: int, among: str = "the mapping has n={n} weights"
) -> Any:
    """``matrix`` (n, n) as of :func:`as_vector`, symmetric to 10^-9 of its largest entry.

    Raises:
        ShapeError: If it has another shape.
        DataError: If it is not symmetric.
    """
    square = as_vector(owner, matrix, n, among)
    if square.shape != (n, n):
        raise ShapeError(f"{owner}: a matrix of shape {square.shape} came; ({n}, {n}) is needed; pass {what}")
    if (abs(square - square.T) * 10**9 > abs(square).max()).any():
        raise DataError(f"{owner}: the matrix is not symmetric; pass {what}")
    return square


def as_floats(owner: str, row: Any) -> NDArray[np.float64]:
    """What :func:`as_vector` gave, as float64.

    Raises:
        DataError: If an exact number is too large.
    """
    try:
        floats: NDArray[np.float64] = row.astype(np.float64, copy=False)
    except OverflowError:
        raise DataError(f"{owner}: the data are too large for float64; pass all of them exact") from None
    return floats


def _fraction(number: Rational) -> Fraction:
    """Over Python ints: a NumPy integer inside a Fraction would overflow."""
    return Fraction(int(number.numerator), int(number.denominator))


def near_one(row: NDArray[np.float64]) -> tuple[NDArray[np.float64], Any]:
    """Vectors (…, n), over powers of two where products of four entries were no floats; exponents, (…)."""
    exponent = np.frexp(np.maximum(row.max(axis=-1), -row.min(axis=-1)))[1]
    exponent = np.where(abs(exponent) < NEAR, 0, exponent)
    return np.ldexp(row, -exponent[..., None]) if exponent.any() else row, exponent


def restored(owner: str, value: Any, exponent: Any) -> Any:
    """``value`` times 2^exponent; what is too small for float64 is 0.

    Raises:
        DataError: If it is too large.
    """
    with np.errstate(over="ignore", under="ignore"):
        found = np.ldexp(value, exponent)
    if not np.isfinite(found).all():
        raise DataError(
            f"{owner}: the answer is too large for float64; change the units, or pass int or Fraction"
        )
    return found


def _products(owner: str, x: Any, y: Any, n: int) -> tuple[Any, Any, Any, Any]:
    """x, y and x_i y_i, and the exponent of two that the floats among them were divided by.

    Exact if both are; else float64 of which no fourth power that matters is lost.

    Raises:
        ShapeError: If leading axes do not fit.
    """
    x, y = as_vector(owner, x, n), as_vector(owner, y, n)
    of_x = of_y = None
    if not x.dtype == y.dtype == object:
        (x, of_x), (y, of_y) = (near_one(as_floats(owner, row)) for row in (x, y))
    try:
        a = x * y
    except ValueError:
        raise ShapeError(
            f"{owner}: x has shape {x.shape}, y {y.shape}; pass leading axes that broadcast"
        ) from None
    return x, y, a, None if of_x is None else of_x + of_y


def inner_product_variance(mapping: AbstractMapping, x: Vector, y: Vector) -> Any:
    r"""Variance over draws of the unbiased estimate of <x, y>.

    Sharing: $\sum_{i\ne j} p_{ij}(x_i^2 y_j^2 + x_i y_i x_j y_j)$, for signs 4-wise independent and
    independent of the cells. Pruning, a = xy: Bernoulli $(n/m-1)\sum a_i^2$, exact
    $(n/m-1)\frac{n}{n-1}\sum(a_i-\bar a)^2$. ``Top`` has no randomness: 0.

    Args:
        mapping: Its seed plays no part.
        x: Reals (…, n), or a sequence of int or Fraction for an exact answer.
        y: The same.

    Returns:
        (…): float64, or Fraction if both are exact. Zero when n <= m under fold.

    Raises:
        ShapeError: If x or y does not have n entries, or their leading axes do not fit.
        KindError: If they are not real, or the mapping declares no collision law.
        DataError: If they hold nan or inf, or the answer is too large for float64.

    Source: claims 2, 4; enumerated in proofs_checks.
    """
    owner = "inner_product_variance"
    u, v, a, exponent = _products(owner, x, y, mapping.n)
    if isinstance(mapping, KeepBernoulli | KeepExact):
        variance = _pruning_variance(mapping, a)
    elif isinstance(mapping, Top):
        variance = (a * 0).sum(axis=-1)
    else:
        law = getattr(mapping, "collision_sum", None)
        if law is None:
            raise KindError(
                f"{owner}: {type(mapping).__name__} declares no collision_sum(a, b); "
                "add one, the sum of p_ij a_i b_j over i != j"
            )
        variance = law(u * u, v * v) + law(a, a)
    if exponent is None:
        return variance
    return restored(owner, np.maximum(variance, 0.0), 2 * exponent)  # rounding may leave -1e-17


def norm_variance(mapping: AbstractMapping, x: Vector) -> Any:
    r"""Variance of |Sx|^2: the inner-product variance at y = x. Source: claim 3.

    Args:
        mapping: Its seed plays no part.
        x: Reals (…, n), or a sequence of int or Fraction.

    Returns:
        (…): float64, or Fraction for exact input.
    """
    return inner_product_variance(mapping, x, x)


def mean_squared_error(mapping: AbstractMapping, x: Vector, y: Vector) -> Any:
    r"""Mean of (<Sx, Sy> - <x, y>)^2: the variance, and for ``Top`` the squared bias.

    Args:
        mapping: Any mapping.
        x: Reals (…, n), or a sequence of int or Fraction.
        y: The same.

    Returns:
        (…): for ``Top`` $(\sum_{dropped} x_i y_i)^2$.

    Source: claim 18.
    """
    if not isinstance(mapping, Top):
        return inner_product_variance(mapping, x, y)
    _, _, a, exponent = _products("mean_squared_error", x, y, mapping.n)
    squared = (a * (1 - mapping.kept)).sum(axis=-1) ** 2
    return squared if exponent is None else restored("mean_squared_error", squared, 2 * exponent)


def expected_variance(
    mapping: AbstractMapping,
    distribution: AbstractDistribution,
    order: Literal["given", "random"] = "given",
) -> float:
    r"""Mean over data of the variance of <Sx, Sy>.

    With s = E x_i^2, t = E y_i^2, c = E x_i y_i: sharing $\sum_{i\ne j} p_{ij}(s_i t_j + c_i c_j)$; for
    ``Rows`` $\sum p_{ij}(s_i s_j + G_{ij}^2)$; pruning from E a_i^2. A random order replaces $p_{ij}$ by
    its mean over pairs.

    Args:
        mapping: Its seed plays no part.
        distribution: Law of (x, y).
        order: "given", or "random" for the mean over uniformly random orders of the entries.

    Returns:
        The expectation, float.

    Raises:
        ShapeError: If the law has another n.
        ArgumentError: If ``order`` is unknown, or the mapping is ``Top``.

    Source: claim 6.
    """
    n = mapping.n
    if distribution.n != n:
        raise ShapeError(
            f"expected_variance: the law has n={distribution.n}, the mapping n={n}; make them equal"
        )
    if order not in ("given", "random"):
        raise ArgumentError(f"expected_variance: order={order!r} came; pass 'given' or 'random'")
    s, t, c, product = distribution.moments
    if isinstance(mapping, KeepBernoulli):
        return float((n / mapping.m - 1) * product.sum())
    if isinstance(mapping, KeepExact):
        square = _square_of_sum(distribution, product)
        return float((n / mapping.m - 1) * n / (n - 1) * (product.sum() - square / n)) if n > 1 else 0.0
    if not isinstance(mapping, AbstractSharing):
        raise ArgumentError(
            f"expected_variance: {type(mapping).__name__} is not a random map of fixed law; "
            "use mean_squared_error on vectors"
        )
    if order == "random":
        return _mean_collision(mapping) * _all_pairs(distribution)
    if isinstance(distribution, Rows):
        return float(mapping.collision_sum(s, t)) + _collision_of_matrix(mapping, distribution.gram**2)
    return float(mapping.collision_sum(s, t) + mapping.collision_sum(c, c))


def worst_case_variance(mapping: AbstractMapping) -> Fraction:
    r"""Largest variance over unit vectors x, y, exact.

    Sharing in k chunks with M possible starts (M = m unless blocks may not wrap):
    $\frac{2}{M}(1-\frac1k)$, at energy 1/k in each chunk, all on equal offsets; 0 at k = 1. Random
    pruning: $n/m - 1$, at a spike, both kinds. The supremum over norms is the same.

    Raises:
        ArgumentError: For ``Top``, which has no variance but an unbounded relative bias.

    Source: claim 7; for block derived there, since p_ij <= 1/M across blocks.
    """
    if isinstance(mapping, AbstractSharing):
        return Fraction(2, mapping.starts) * (1 - Fraction(1, mapping.chunks))
    if isinstance(mapping, KeepBernoulli | KeepExact):
        return mapping.rescale - 1
    raise ArgumentError(
        f"worst_case_variance: {type(mapping).__name__} is not an unbiased random map; "
        "use mean_squared_error on vectors"
    )


def lap_sizes(n: int, m: int) -> list[int]:
    """Sizes of the laps of n weights over m cells; the last may be ragged.

    Raises:
        KindError: If a size is not a whole number.
        ArgumentError: If a size is below 1.
    """
    n, m = check_count("lap_sizes", "n", n), check_count("lap_sizes", "m", m)
    full, rest = divmod(n, m)
    return [m] * full + ([rest] if rest else [])


def pairs_in_different_laps(n: int, m: int) -> int:
    """D = n^2 - sum n_p^2, ordered pairs in different laps. Source: docs/notation.md."""
    return n * n - sum(size * size for size in lap_sizes(n, m))


def raggedness(n: int, m: int) -> Fraction:
    """rho = D / (n (n-m)) for n > m: 1 iff m divides n, always below 2.

    Raises:
        KindError: If a size is not a whole number.
        ArgumentError: If a size is below 1, or n <= m, where it is not defined.
    """
    n, m = check_count("raggedness", "n", n), check_count("raggedness", "m", m)
    if n <= m:
        raise ArgumentError(f"raggedness: n={n} <= m={m} came; it is defined for n > m only")
    return Fraction(pairs_in_different_laps(n, m), n * (n - m))


def _pruning_variance(mapping: KeepBernoulli | KeepExact, a: Any) -> Any:
    n, exact = mapping.n, a.dtype == object
    excess: Any = mapping.rescale - 1 if exact else float(mapping.rescale - 1)
    if isinstance(mapping, KeepBernoulli):
        return excess * (a * a).sum(axis=-1)
    if n == 1:
        return (a * 0).sum(axis=-1)
    centred = a - a.sum(axis=-1)[..., None] / n if a.ndim > 1 else a - a.sum() / n
    ratio: Any = Fraction(n, n - 1) if exact else n / (n - 1)
    return excess * ratio * (centred * centred).sum(axis=-1)


def _square_of_sum(distribution: AbstractDistribution, product: Any) -> float:
    """E (sum x_i y_i)^2."""
    if isinstance(distribution, Rows):
        return float((distribution.gram**2).sum())
    c = distribution.moments[2]
    return float(product.sum() + c.sum() ** 2 - (c * c).sum())


def _all_pairs(distribution: AbstractDistribution) -> float:
    """Sum over i != j of E q_ij."""
    s, t, c, product = distribution.moments
    if isinstance(distribution, Rows):
        squares = distribution.gram**2
        return float(s.sum() ** 2 - (s * s).sum() + squares.sum() - np.diag(squares).sum())
    return float(s.sum() * t.sum() - (s * t).sum() + c.sum() ** 2 - (c * c).sum())


def _mean_collision(mapping: AbstractSharing) -> float:
    if mapping.n == 1:
        return 0.0
    ones = np.ones(mapping.n)
    return float(mapping.collision_sum(ones, ones)) / (mapping.n * (mapping.n - 1))


def _collision_of_matrix(mapping: AbstractSharing, matrix: NDArray[np.float64]) -> float:
    """Sum over i != j of p_ij matrix_ij, one row at a time against a unit vector."""
    total = 0.0
    for i in range(mapping.n):
        unit = np.zeros(mapping.n)
        unit[i] = 1.0
        total += float(mapping.collision_sum(unit, matrix[i]))
    return total
