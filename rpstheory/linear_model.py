r"""Least squares through shared weights: what a draw loses, what all draws lose, and the ridge bound.

The model is $w = \Lambda S^\top\theta$. For uncorrelated features of variance $s_i$ and a target $w$ the
best $\theta$ has one equation per cell, so that the loss left over has a closed form. With
$u_i = \lambda_i^2 s_i$, $e_i = s_i w_i^2$ and $u(cell)$ the sum of the $u_i$ it carries,

$$ R = \sum_i e_i - \sum_{cells} \Big(\sum_{i \in cell} sign_i \lambda_i s_i w_i\Big)^2 / u(cell),
\qquad E_{signs} R = \sum_i e_i\,(1 - u_i / u(cell(i))), \qquad 0/0 = 0. $$

A weight that is dropped, or has scale 0, loses its whole $e_i$; a feature of variance 0 costs nothing
and takes nothing. Correlated features have no closed form, but a bound: on average sharing costs no
more than a ridge penalty.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isfinite, log
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from rpstheory.backend import array_of
from rpstheory.closed_form import as_floats, as_symmetric, as_vector
from rpstheory.errors import DataError, KindError, ShapeError
from rpstheory.mappings import (
    AbstractKeep,
    AbstractMapping,
    Chunk,
    Fold,
    Hashed,
    KeepBernoulli,
    Top,
)

if TYPE_CHECKING:
    from rpstheory.closed_form import Vector

STEP = 0.25  # in log t; the trapezoidal rule is then off by less than 2e-14, relative
LEAST, MOST = 1e-9, 45.0  # of u t: what lies outside is less than 1e-17, relative
BELOW_ONE = 1 - 2.0**-53


def linear_residual(
    mapping: AbstractMapping, variances: Vector, weights: Vector, scales: Vector | None = None
) -> Any:
    r"""Loss that the best $\theta$ leaves under this draw, $R = \min_\theta \sum s_i (w_i - \hat w_i)^2$.

    Summed as $\sum s_i (w_i - \lambda_i sign_i \theta_{cell(i)})^2$ at the best $\theta$, which is the
    formula above without its cancellation.

    Args:
        mapping: The draw; any cells, any signs in {-1, 0, +1}.
        variances: $s_i \ge 0$ of uncorrelated features, (n,).
        weights: Target $w_i$, (n,).
        scales: $\lambda_i \ge 0$, (n,); all 1 unless given.

    Returns:
        float, or an exact Fraction if all inputs are sequences of int or Fraction. In O(n).

    Raises:
        ShapeError: If an input does not have n entries.
        KindError: If it is not real.
        DataError: If it holds nan or inf, a variance or scale is negative, or products leave float64.

    Example:
        >>> linear_residual(Fold(n=2, m=1, seed=0), [1, 1], [3, 0])
        Fraction(9, 2)

    Source: claim 12; enumerated in tests/core/test_linear_model.py.
    """
    model = _model("linear_residual", mapping, variances, weights, scales)
    cell, sign = _draw(mapping)
    pull = sign * model.lam * model.s * model.w
    carried = _per_cell(mapping, cell, model.u * sign * sign)
    theta = _per_cell(mapping, cell, pull) / np.where(carried == 0, 1, carried)
    return _number((model.s * (model.w - model.lam * sign * theta[cell]) ** 2).sum())


def residual_given_cells(
    mapping: AbstractMapping, variances: Vector, weights: Vector, scales: Vector | None = None
) -> Any:
    r"""Mean over signs of the loss, with the cells of this draw: $\sum e_i (1 - u_i/u(cell(i)))$.

    For signs pairwise uncorrelated and independent of the cells. Pruning has no random signs; its
    value is :func:`linear_residual`.

    Args:
        mapping: The draw; only its cells, and what it drops, play a part.
        variances: $s_i \ge 0$ of uncorrelated features, (n,).
        weights: Target $w_i$, (n,).
        scales: $\lambda_i \ge 0$, (n,); all 1 unless given.

    Returns:
        float, or an exact Fraction if all inputs are sequences of int or Fraction.

    Example:
        >>> residual_given_cells(Fold(n=3, m=2, seed=0), [1, 1, Fraction(6, 5)], [1, 1, 1])
        Fraction(12, 11)

    Source: claim 12; enumerated in tests/core/test_linear_model.py.
    """
    model = _model("residual_given_cells", mapping, variances, weights, scales)
    cell, held, carried = _held(mapping, model)
    lost = np.where(held == 0, 1, _others(mapping, cell, held) / carried)
    return _number((model.e * lost).sum())


def residual_variance_over_signs(
    mapping: AbstractMapping, variances: Vector, weights: Vector, scales: Vector | None = None
) -> Any:
    r"""Variance of the loss over signs, with the cells of this draw.

    $\sum_{cells} 2 \sum_{i \ne j} (a_i a_j)^2 / u(cell)^2$ with $a_i = \lambda_i s_i w_i$, for signs 4-wise
    independent and independent of the cells. 0 for pruning.

    Args:
        mapping: The draw; only its cells, and what it drops, play a part.
        variances: $s_i \ge 0$ of uncorrelated features, (n,).
        weights: Target $w_i$, (n,).
        scales: $\lambda_i \ge 0$, (n,); all 1 unless given.

    Returns:
        float, or an exact Fraction if all inputs are sequences of int or Fraction.

    Source: claim 12; enumerated in tests/core/test_linear_model.py.
    """
    model = _model("residual_variance_over_signs", mapping, variances, weights, scales)
    cell, held, carried = _held(mapping, model)
    won = held / carried * model.e
    return _number(2 * (won * _others(mapping, cell, won)).sum())


def expected_linear_residual(
    mapping: AbstractMapping, variances: Vector, weights: Vector, scales: Vector | None = None
) -> Any:
    r"""Mean over cells and signs of the loss that the best $\theta$ leaves.

    Pruning: $(1 - m/n)\sum e_i$. Hashed, chunk, fold: the other weights in the cell of i come from the
    other chunks, each chunk q giving at most one, independently. So $E[u_i/u(cell(i))]$ is

    $$ \int_0^\infty u_i e^{-u_i t} \prod_{q \ne chunk(i)} \varphi_q(t)\, dt, \qquad
    \varphi_q(t) = 1 - \frac1m \sum_{j \in q} (1 - e^{-t u_j}). $$

    Assumes mutually independent starts (ideal randomness); for at most 4 chunks the shipped hash is
    enough. What is integrated is the loss, $1 - \prod$ in place of $\prod$, which has no cancellation.
    In log t the integrand is analytic for $|\Im \log t| < \vartheta < \pi/2$, where
    $|1 - e^{-z}| \le (1 - e^{-\Re z}) / \cos\vartheta$; so the trapezoidal rule with step h is off by at most
    $2 / (\cos^2\vartheta\,(e^{2\pi\vartheta/h} - 1))$ of the loss, whatever the u.

    Args:
        mapping: Its seed plays no part, except for ``Top``, which is one fixed draw.
        variances: $s_i \ge 0$ of uncorrelated features, (n,).
        weights: Target $w_i$, (n,).
        scales: $\lambda_i \ge 0$, (n,); all 1 unless given.

    Returns:
        float, right to 12 digits over any span of the variances; for pruning and ``Top`` an exact
        Fraction if all inputs are sequences of int or Fraction. O(n) per node, about ten nodes for
        every decade that the variances span, and a hundred.

    Raises:
        KindError: For ``Block`` and mappings of unknown law, which have no closed form here.

    Example:
        >>> round(expected_linear_residual(Fold(n=3, m=2, seed=0), [1.0, 1.0, 1.2], [1, 1, 1]) * 11, 9)
        12.0

    Source: claim 12; enumerated in tests/core/test_linear_model.py. The error of the rule: Trefethen &
    Weideman 2014, theorem 5.1.
    """
    model = _model("expected_linear_residual", mapping, variances, weights, scales)
    if isinstance(mapping, Top):
        return residual_given_cells(mapping, variances, weights, scales)
    if isinstance(mapping, AbstractKeep):
        share: Any = 1 / mapping.rescale if model.exact else float(1 / mapping.rescale)
        return _number((model.e * np.where(model.u == 0, 1, 1 - share)).sum())
    if not isinstance(mapping, Hashed | Chunk | Fold):
        raise KindError(
            f"expected_linear_residual: {type(mapping).__name__} came; a closed form is known for "
            "Hashed, Chunk, Fold, pruning and Top; use ridge_bound, or average residual_given_cells"
        )
    u, e = (np.asarray(row, dtype=np.float64) for row in (model.u, model.e))
    live = u > 0
    if not live.any():
        return float(e.sum())
    log_u = np.where(live, np.log(np.where(live, u, 1.0)), -np.inf)
    first, last = log(LEAST) - log(u.sum()), log(MOST) - float(log_u[live].min())
    integral = 0.0
    for log_t in np.arange(first, last + STEP, STEP):
        ut = np.exp(np.minimum(log_u + log_t, 7.0))
        met = mapping.chunk_sums(-np.expm1(-ut)) / mapping.m
        lost = -np.expm1(_elsewhere(np.log1p(-np.minimum(met, BELOW_ONE))))
        integral += float(lost @ mapping.chunk_sums(e * ut * np.exp(-ut)))
    return float(e[~live].sum() + STEP * integral)


def ridge_bound(
    mapping: AbstractMapping, variances: Vector, weights: Vector, scales: Vector | None = None
) -> Any:
    r"""Upper bound of the expected loss, $\sum e_i Q_i / (u_i + Q_i)$ with $Q_i = \sum_j p_{ij} u_j$.

    The value of :func:`ridge_value` for uncorrelated features. Only the collision probabilities enter, so
    it needs no more randomness than the variance formula. Equal to the loss for pruning, and for fold
    at equal u when m divides n.

    Args:
        mapping: Sharing (its seed plays no part) or random pruning.
        variances: $s_i \ge 0$ of uncorrelated features, (n,).
        weights: Target $w_i$, (n,).
        scales: $\lambda_i \ge 0$, (n,); all 1 unless given.

    Returns:
        float, or an exact Fraction if all inputs are sequences of int or Fraction. O(n); for ``Block``
        O(n^2).

    Raises:
        KindError: If the mapping is not unbiased, or declares no collision law.

    Source: claims 11, 12 (Jensen's inequality).
    """
    model = _model("ridge_bound", mapping, variances, weights, scales)
    if isinstance(mapping, Hashed | Chunk | Fold):
        chunk, _ = mapping.chunk_and_offset(np.arange(mapping.n))
        penalty = _elsewhere(mapping.chunk_sums(model.u))[chunk] / mapping.m
    elif isinstance(mapping, AbstractKeep):
        excess = mapping.rescale - 1
        penalty = model.u * (excess if model.exact else float(excess))
    else:
        law = _collision_law("ridge_bound", mapping)
        units = _identity(mapping.n, model.exact)
        penalty = np.array([law(unit, model.u) for unit in units])
    dead = model.u == 0
    lost = np.where(dead, 1, penalty / np.where(dead, 1, model.u + penalty))
    return _number((model.e * lost).sum())


def penalty_matrix(mapping: AbstractMapping, gram: Any) -> Any:
    r"""The ridge penalty that sharing amounts to: $v^\top Q v = \sum_{rows} Var\langle S x_r, S v\rangle$.

    With G the sum of $x_r x_r^\top$: sharing $Q_{ij} = p_{ij} G_{ij}$, $Q_{jj} = \sum_i p_{ij} G_{ii}$;
    Bernoulli pruning $(n/m-1)\,diag\,G$; exact pruning $(n/m-1)\frac{n}{n-1}(diag\,G - G/n)$.
    Scales are part of the features: pass $\Lambda G \Lambda$.

    Args:
        mapping: Its seed plays no part.
        gram: $G = X^\top X$, (n, n), symmetric; float64, or objects (``Fraction``) for an exact answer.

    Returns:
        (n, n), positive semidefinite, in the kind of ``gram``.

    Raises:
        ShapeError: If ``gram`` is not (n, n).
        DataError: If it is not symmetric, or holds nan or inf.
        KindError: If the mapping is not unbiased, or declares no collision law.

    Source: claim 11; enumerated in tests/core/test_linear_model.py.
    """
    n = mapping.n
    matrix = as_symmetric("penalty_matrix", "X'X", gram, n)
    exact = matrix.dtype == object
    own = np.diag(np.diag(matrix))
    if isinstance(mapping, AbstractKeep):
        excess: Any = mapping.rescale - 1 if exact else float(mapping.rescale - 1)
        if isinstance(mapping, KeepBernoulli):
            return excess * own
        ratio: Any = Fraction(n, max(n - 1, 1)) if exact else n / max(n - 1, 1)
        return excess * ratio * (own - matrix / n)
    law = _collision_law("penalty_matrix", mapping)
    units = _identity(n, exact)
    meeting = np.array([law(unit, units) for unit in units])
    return meeting * matrix + np.diag(meeting @ np.diag(matrix))


def ridge_weights(gram: Any, penalty: Any, xty: Any) -> Any:
    r"""The v that minimises $|y - Xv|^2 + v^\top Q v$: $v = (G + Q)^+ X^\top y$, the shortest such v.

    Args:
        gram: $G = X^\top X$, (n, n), symmetric.
        penalty: Q, (n, n), symmetric; both positive semidefinite.
        xty: $X^\top y$, (n,).

    Returns:
        (n,) float64.

    Raises:
        ShapeError: If the sizes differ.
        KindError: If something is not real.
        DataError: If a matrix is not symmetric, or something holds nan or inf.

    Source: claim 11.
    """
    pull = _pull("ridge_weights", xty)
    total = sum(
        as_symmetric("ridge_weights", name, part, pull.size, "X'y has {n} entries")
        for name, part in (("X'X", gram), ("Q", penalty))
    )
    return np.linalg.lstsq(np.asarray(total, dtype=np.float64), pull, rcond=None)[0]


def ridge_value(gram: Any, penalty: Any, xty: Any, yty: float) -> float:
    r"""Least value of $|y - Xv|^2 + v^\top Q v$: $|y|^2 - y^\top X (G + Q)^+ X^\top y$.

    With Q of :func:`penalty_matrix` no mapping loses more on average:
    $E_S \min_\theta |y - X S^\top\theta|^2$ is at most this, and this at most $|y|^2$.

    Args:
        gram: $G = X^\top X$, (n, n), symmetric.
        penalty: Q, (n, n), symmetric; both positive semidefinite.
        xty: $X^\top y$, (n,).
        yty: $|y|^2$.

    Returns:
        The least value, in the unit of ``yty``; rounding is relative to ``yty``.

    Raises:
        ShapeError: If the sizes differ.
        KindError: If something is not real.
        DataError: If a matrix is not symmetric, or something holds nan or inf, or ``yty`` is negative.

    Example:
        >>> ridge_value(np.eye(2), 3 * np.eye(2), np.array([1.0, 1.0]), 2.0)
        1.5

    Source: claim 11.
    """
    came: Any = yty
    if not isinstance(came, Real):
        raise KindError(f"ridge_value: yty={came!r} came; a number is needed; pass |y|^2")
    if not (yty >= 0 and isfinite(yty)):
        raise DataError(f"ridge_value: yty={yty} came; a finite number >= 0 is needed; pass |y|^2")
    pull = _pull("ridge_value", xty)
    return float(yty - pull @ ridge_weights(gram, penalty, pull))


@dataclass(frozen=True, eq=False)
class _Model:
    """Variances, weights, scales; u = lam^2 s and e = s w^2; all Fractions or all float64."""

    s: Any
    w: Any
    lam: Any
    u: Any
    e: Any

    @property
    def exact(self) -> bool:
        return self.u.dtype == object


def _model(owner: str, mapping: AbstractMapping, variances: Any, weights: Any, scales: Any) -> _Model:
    given = (variances, weights, [1] * mapping.n if scales is None else scales)
    rows = [as_vector(owner, row, mapping.n) for row in given]
    for row in rows:
        if row.ndim != 1:
            raise ShapeError(
                f"{owner}: an array of shape {row.shape} came; one row of n={mapping.n} values is "
                "needed; pass variances, weights and scales of one model"
            )
    if not all(row.dtype == object for row in rows):
        rows = [as_floats(owner, row) for row in rows]
    s, w, lam = rows
    for name, row in (("variances", s), ("scales", lam)):
        if (row < 0).any():
            raise DataError(f"{owner}: {name} hold {min(row)}; pass numbers >= 0, signs come from S")
    with np.errstate(over="ignore", invalid="ignore"):
        u, e = lam * lam * s, s * w * w
    if u.dtype != object:
        smallest = np.finfo(np.float64).tiny
        lost = (u < smallest) & (s > 0) & (lam > 0)
        if lost.any() or not np.isfinite(u).all() or not np.isfinite(e).all():
            raise DataError(
                f"{owner}: scale^2 * variance or variance * weight^2 leaves the range of float64; "
                "change the units, or pass Fractions"
            )
    return _Model(s, w, lam, u, e)


def _draw(mapping: AbstractMapping) -> tuple[Any, Any]:
    index = np.arange(mapping.n, dtype=np.int64)
    return mapping.cell(index), mapping.sign(index)


def _per_cell(mapping: AbstractMapping, cell: Any, values: Any) -> Any:
    total = np.zeros(mapping.cells, dtype=values.dtype)
    np.add.at(total, cell, values)
    return total


def _held(mapping: AbstractMapping, model: _Model) -> tuple[Any, Any, Any]:
    """For every weight its cell, its u (0 if dropped) and the u of its cell (1 in place of 0)."""
    cell, sign = _draw(mapping)
    held = model.u * sign * sign
    carried = _per_cell(mapping, cell, held)
    return cell, held, np.where(carried == 0, 1, carried)[cell]


def _others(mapping: AbstractMapping, cell: Any, values: Any) -> Any:
    """Sum of the other values >= 0 in the cell of each weight, without cancellation.

    Taking a value from its cell's sum is safe unless it is the largest there.
    """
    largest = np.zeros(mapping.cells, dtype=values.dtype)
    np.maximum.at(largest, cell, values)
    top = values == largest[cell]
    rest = _per_cell(mapping, cell, np.where(top, 0, values))[cell]
    tops = _per_cell(mapping, cell, top.astype(np.int64))[cell]
    return rest + np.where(top, (tops - 1) * values, tops * largest[cell] - values)


def _elsewhere(values: Any) -> Any:
    """Sum of all other entries, for each entry; no cancellation for entries of one sign."""
    before, after = values * 0, values * 0  # zeros of their kind, Fractions too
    before[1:] = np.add.accumulate(values[:-1])
    after[:-1] = np.add.accumulate(values[:0:-1])[::-1]
    return before + after


def _pull(owner: str, xty: Any) -> Any:
    shape = np.shape(array_of(owner, xty))
    if len(shape) != 1:
        raise ShapeError(f"{owner}: X'y of shape {shape} came; pass one row, (n,)")
    return as_floats(owner, as_vector(owner, xty, *shape))


def _collision_law(owner: str, mapping: AbstractMapping) -> Any:
    law = getattr(mapping, "collision_sum", None)
    if law is None:
        raise KindError(
            f"{owner}: {type(mapping).__name__} is not an unbiased random map with collision_sum(a, b); "
            "pass sharing or random pruning"
        )
    return law


def _identity(n: int, exact: bool) -> Any:
    if not exact:
        return np.eye(n)
    return np.array([[Fraction(int(i == j)) for j in range(n)] for i in range(n)], dtype=object)


def _number(value: Any) -> Any:
    """A Fraction as it is, anything else as a float."""
    return value if isinstance(value, Fraction) else float(value)
