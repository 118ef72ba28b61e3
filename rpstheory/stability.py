r"""Step sizes that cannot diverge: the scaler of a shared bank and its stable ranges.

With $w = \Lambda S^\top \theta$ the Hessian in the bank is $S \Lambda H \Lambda S^\top$, and
$S \Lambda^2 S^\top = diag(\Gamma)$, $\Gamma_j$ the sum of $\lambda_i^2$ over the weights of cell j. Dividing
the gradient by $\Gamma$ is plain gradient descent in the balanced bank $\varphi = \Gamma^{1/2}\theta$, which
the weights read through a matrix with orthonormal columns: sharing then costs no stability at all.

Another divisor $d$ is gradient descent in $d^{1/2}\theta$, read through columns of squared length
$\Gamma_j / d_j$: the range shrinks by the largest of them. Everything is exact on Fractions.
"""

from __future__ import annotations

from fractions import Fraction
from math import inf, isfinite
from numbers import Rational
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from rpstheory.closed_form import as_floats, as_symmetric, as_vector
from rpstheory.errors import ArgumentError, DataError, KindError, ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rpstheory.closed_form import Vector
    from rpstheory.mappings import AbstractMapping

Scaler = Literal["gamma", "v1", "none"]
CURE = "change the units, or pass int or Fraction"


def effective_scaler(mapping: AbstractMapping, scales: Vector, scaler: Scaler = "gamma") -> Any:
    r"""What the gradient of every cell is divided by.

    Over the k weights of a cell: "gamma" $\sum\lambda_i^2$; "v1", the authors' default,
    $(\sum\lambda_i)^2/k$, never larger and equal iff the cell's scales are; "none" 1.

    Args:
        mapping: Its seed matters: the divisor belongs to one draw.
        scales: One positive number per weight; a sequence of int or Fraction for an exact answer.
        scaler: "gamma", "v1" or "none".

    Returns:
        (cells,): float64, or Fractions for exact scales. 1 in a cell that no weight uses, whose
        gradient is 0.

    Raises:
        ShapeError: If there is not one scale per weight.
        KindError: If the scales are not real numbers.
        DataError: If they hold nan or inf, or their squares leave float64.
        ArgumentError: If one of them is not positive, or the scaler is unknown.

    Example:
        >>> from rpstheory import Fold
        >>> effective_scaler(Fold(n=2, m=1, seed=0), [1, 3])
        array([Fraction(10, 1)], dtype=object)
        >>> effective_scaler(Fold(n=2, m=1, seed=0), [1, 3], "v1")
        array([Fraction(8, 1)], dtype=object)

    Source: STABLE-RPS (ICLR 2024), gradient scaler; claims 13, 14.
    """
    cell, scale = _used("effective_scaler", mapping, scales)
    return _divisor("effective_scaler", mapping, cell, scale, scaler)


def stability_range(
    mapping: AbstractMapping,
    scales: Vector,
    smoothness: Any,
    scaler: Scaler = "gamma",
    momentum: Any = 0,
    nesterov: bool = False,
) -> tuple[int, Any]:
    r"""Steps that converge whatever the loss, given its smoothness L: (0, upper), both ends excluded.

    Without momentum, for every loss with L-Lipschitz gradient in the weights that is bounded below (it
    never rises, and the bank's gradient tends to 0): "gamma" 2/L, whatever the mapping, the scales and
    the compression; "none" $2/(L \max_j\Gamma_j)$; "v1" $2/(L \max_j \Gamma_j/v1_j)$. The end is sharp:
    $L|w|^2/2$ stops converging there.

    With momentum $\mu$, for every *quadratic* loss with curvature in (0, L]: 2 becomes $2(1+\mu)$ for heavy
    ball and $2(1+\mu)/(1+2\mu)$ for Nesterov. Not beyond quadratics: see :func:`heavy_ball_range`.

    Args:
        mapping: Its seed matters.
        scales: One positive number per weight.
        smoothness: L > 0, of the loss as a function of the weights.
        scaler: What the gradient is divided by; see :func:`effective_scaler`.
        momentum: 0 <= mu < 1.
        nesterov: Whether the momentum is Nesterov's.

    Returns:
        0 and the upper end: a Fraction when scales, L and mu are int or Fraction, else a float.

    Raises:
        ShapeError: If there is not one scale per weight.
        KindError: If scales, L or mu are not real numbers.
        DataError: If the scales hold nan or inf, or their squares or the end leave float64.
        ArgumentError: If a number is out of range or the scaler unknown.

    Example:
        >>> from rpstheory import Fold
        >>> stability_range(Fold(n=2, m=1, seed=0), [1, 3], 1, scaler="v1")
        (0, Fraction(8, 5))

    Source: claim 13; descent lemma (Nesterov 2004, Lemma 1.2.3); Polyak 1964 for momentum.
    """
    owner = "stability_range"
    limit = _limit(owner, momentum, nesterov)
    return 0, _upper(owner, mapping, scales, smoothness, scaler, limit)


def heavy_ball_range(
    mapping: AbstractMapping,
    scales: Vector,
    smoothness: Any,
    scaler: Scaler = "gamma",
    momentum: Any = 0,
) -> tuple[int, Any]:
    r"""Steps for which heavy ball converges beyond quadratics: (0, $2(1-\mu)/L$) for "gamma".

    There $F(w_t) + \frac{\mu}{2\eta}|\varphi_t - \varphi_{t-1}|^2$ never rises, $\eta$ the step, for every
    loss with L-Lipschitz gradient, convex or not; bounded below, its gradient tends to 0. Sufficient,
    not shown to be sharp. Between this end and that of :func:`stability_range` heavy ball can cycle for
    ever, even on a strongly convex loss of one weight.

    Args:
        mapping: Its seed matters.
        scales: One positive number per weight.
        smoothness: L > 0, of the loss as a function of the weights.
        scaler: What the gradient is divided by; see :func:`effective_scaler`.
        momentum: 0 <= mu < 1.

    Returns:
        0 and the upper end: a Fraction when scales, L and mu are int or Fraction, else a float.

    Raises:
        ShapeError: If there is not one scale per weight.
        KindError: If scales, L or mu are not real numbers.
        DataError: If the scales hold nan or inf, or their squares or the end leave float64.
        ArgumentError: If a number is out of range or the scaler unknown.

    Source: claim 13; Zavriev & Kostyuk 1993. The cycle: Lessard, Recht & Packard 2016.
    """
    owner = "heavy_ball_range"
    limit = 2 * (1 - _momentum(owner, momentum))
    return 0, _upper(owner, mapping, scales, smoothness, scaler, limit)


def quadratic_threshold(
    mapping: AbstractMapping,
    scales: Vector,
    hessian: NDArray[Any],
    scaler: Scaler = "gamma",
    momentum: float = 0,
    nesterov: bool = False,
) -> float:
    r"""The step at which training stops converging on a quadratic loss with Hessian H, tight.

    $2/\lambda_{max}(U^\top H U)$ with $U = \Lambda S^\top d^{-1/2}$, d the divisor; the 2 changes with
    momentum as in :func:`stability_range`. Under "gamma" $U^\top U = I$, the spectrum of $U^\top H U$
    interlaces that of H, and the threshold is never below the one of dense training.

    Args:
        mapping: Its seed matters.
        scales: One positive number per weight.
        hessian: Symmetric positive semidefinite, (n, n).
        scaler: What the gradient is divided by; see :func:`effective_scaler`.
        momentum: 0 <= mu < 1.
        nesterov: Whether the momentum is Nesterov's.

    Returns:
        A float; inf if the loss is flat along the bank.

    Raises:
        ShapeError: If the scales or the Hessian do not have n entries a side.
        KindError: If scales, Hessian or mu are not real numbers.
        DataError: If the scales hold nan or inf or their squares leave float64, or the Hessian is not finite,
            symmetric and positive semidefinite to 10^-9 of its norm.
        ArgumentError: If a number is out of range or the scaler unknown.

    Source: claim 13.
    """
    owner = "quadratic_threshold"
    n = mapping.n
    h = as_floats(owner, as_symmetric(owner, "the Hessian", hessian, n))
    curvatures = np.linalg.eigvalsh(h)
    if curvatures[0] < -1e-9 * np.abs(curvatures).max():
        raise DataError(
            f"{owner}: the Hessian has the eigenvalue {curvatures[0]:.3g}, along which every step diverges; "
            "pass a positive semidefinite one"
        )
    limit = float(_limit(owner, momentum, nesterov))
    place = np.arange(n)
    cell = mapping.cell(place)
    divisor = effective_scaler(mapping, scales, scaler).astype(np.float64)
    weight = mapping.sign(place) * np.asarray(scales, dtype=np.float64) / np.sqrt(divisor[cell])
    shared = np.zeros((mapping.cells, mapping.cells))
    np.add.at(shared, (cell[:, None], cell[None, :]), weight[:, None] * h * weight)
    top = float(np.linalg.eigvalsh(shared)[-1])
    return limit / top if top > 0 else inf


def _upper(
    owner: str,
    mapping: AbstractMapping,
    scales: Vector,
    smoothness: Any,
    scaler: Scaler,
    limit: Any,
) -> Any:
    curvature = _positive(owner, "smoothness", smoothness)
    cell, scale = _used(owner, mapping, scales)
    gamma = _divisor(owner, mapping, cell, scale, "gamma")
    divisor = _divisor(owner, mapping, cell, scale, scaler)
    if not cell.size:
        return inf
    with np.errstate(all="ignore"):
        upper = limit / (curvature * (gamma / divisor)[cell].max())
    if isinstance(upper, Fraction):
        return upper
    if not 0 < upper < inf:
        raise DataError(f"{owner}: the upper end leaves the range of float64; {CURE}")
    return float(upper)


def _used(owner: str, mapping: AbstractMapping, scales: Vector) -> tuple[Any, Any]:
    """Cell and scale of every weight that is not dropped.

    Raises:
        ShapeError: If there is not one scale per weight.
        ArgumentError: If a scale is not positive.
    """
    row = as_vector(owner, scales, mapping.n)
    if row.ndim != 1:
        raise ShapeError(f"{owner}: scales of shape {row.shape} came; pass one row, ({mapping.n},)")
    if not (row > 0).all():
        raise ArgumentError(f"{owner}: scales hold {row.min()}; every scale must be positive")
    place = np.arange(mapping.n)
    kept = np.asarray(mapping.sign(place)) != 0
    return np.asarray(mapping.cell(place))[kept], row[kept]


def _divisor(owner: str, mapping: AbstractMapping, cell: Any, scale: Any, scaler: Scaler) -> Any:
    if scaler not in get_args(Scaler):
        raise ArgumentError(f"{owner}: scaler={scaler!r} came; pass one of {', '.join(get_args(Scaler))}")
    one = Fraction(1) if scale.dtype == object else 1.0
    divisor = np.full(mapping.cells, one, dtype=scale.dtype)
    if scaler == "none" or not cell.size:
        return divisor
    used, number = np.unique(cell, return_inverse=True)
    total = np.zeros(used.size, dtype=scale.dtype)
    with np.errstate(over="ignore", under="ignore"):
        np.add.at(total, number, scale * scale if scaler == "gamma" else scale)
        if scaler == "v1":
            total = total * total / np.bincount(number).astype(scale.dtype)
    if total.dtype != object and not ((total >= np.finfo(np.float64).tiny) & (total < inf)).all():
        raise DataError(f"{owner}: squares of the scales leave the range of float64; {CURE}")
    divisor[used] = total
    return divisor


def _limit(owner: str, momentum: Any, nesterov: bool) -> Any:
    """Largest step times curvature at which the slowest root stays inside the unit circle (Jury)."""
    mu = _momentum(owner, momentum)
    return 2 * (1 + mu) / (1 + 2 * mu) if nesterov else 2 * (1 + mu)


def _momentum(owner: str, momentum: Any) -> Any:
    mu = _real(owner, "momentum", momentum)
    if not 0 <= mu < 1:
        raise ArgumentError(f"{owner}: momentum={momentum} came; 0 <= momentum < 1 is needed")
    return mu


def _positive(owner: str, name: str, value: Any) -> Any:
    number = _real(owner, name, value)
    if not (number > 0 and isfinite(number)):
        raise ArgumentError(f"{owner}: {name}={value} came; a positive finite number is needed")
    return number


def _real(owner: str, name: str, value: Any) -> Any:
    if isinstance(value, Rational) and value is not True and value is not False:
        return Fraction(value)
    if isinstance(value, float | np.floating):
        return float(value)
    raise KindError(f"{owner}: {name}={value!r} came; a real number is needed; pass a float or Fraction")
