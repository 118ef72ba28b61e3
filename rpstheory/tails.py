r"""Bounds on the tails of T = <Sx, Sy> - <x, y>, for fully independent signs.

Conditional on the cells T is a Rademacher chaos $\sigma^\top A \sigma$, $A_{ij} = 1_{ij} (x_i y_j + x_j
y_i)/2$, with variance $v^2 = 2 |A|_F^2$. For norms it is dominated by weighted chi-squares of the cell
energies $b_c$. Bounds that hold for every draw of fold's cells take the O(n) quantities below. Every bound
takes finite numbers >= 0, raises ArgumentError for others, and is 1 at t = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import e, exp, inf, isfinite, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from rpstheory.closed_form import as_floats, as_vector, near_one, restored
from rpstheory.errors import ArgumentError, ShapeError
from rpstheory.mappings import Fold

if TYPE_CHECKING:
    from numpy.typing import NDArray


def chebyshev(variance: float, t: float) -> float:
    """P(|T| >= t) <= V/t^2; 4-wise signs are enough. Source: claim 16."""
    _check("chebyshev", variance=variance, t=t)
    return min(1.0, variance / t / t) if t else 1.0


def fourth_moment(v2: float, t: float) -> float:
    """P(|T| >= t) <= 15 v^4/t^4, with 8-wise signs. Source: claim 16, E T^4 <= 15 v^4 in proofs_checks.

    15 is the least constant: n equal weights in one cell come as near to it as one likes. Bonami's
    inequality gives 81. 7-wise signs are not enough.
    """
    _check("fourth_moment", v2=v2, t=t)
    share = v2 / t / t if t else inf
    return min(1.0, 15 * share * share)


def bonami(v2: float, t: float) -> float:
    """P(|T| >= t) <= exp(-1 - t/(e v)) for t >= e v, else 1.

    Moments of a chaos of order 2 obey |T|_q <= (q-1) v; Markov at q = 1 + t/(e v). Source: claim 16.
    """
    _check("bonami", v2=v2, t=t)
    v = sqrt(v2)
    if v == 0:
        return _beyond_nothing(t)
    return exp(-1 - t / (e * v)) if t >= e * v else 1.0


def hanson_wright(v2: float, spectral: float, t: float) -> float:
    """P(|T| >= t) <= 2 exp(-min(3 t^2/(64 v^2), t/(16 |A|))), by decoupling. Source: claim 16.

    Args:
        v2: Variance given the cells.
        spectral: |A| or a bound on it, such as max_c |x_c||y_c|.
        t: Threshold.
    """
    _check("hanson_wright", v2=v2, spectral=spectral, t=t)
    if v2 == 0:
        return _beyond_nothing(t)
    linear = t / (16 * spectral) if spectral else inf
    return min(1.0, 2 * exp(-min(3 * t * t / (64 * v2), linear)))


def sub_gamma(v2: float, spectral: float, t: float) -> float:
    r"""P(|T| >= t) <= 2 exp(-u), t = v sqrt(2u) + 2 a u: never weaker than Hanson-Wright with a for |A|.

    Args:
        v2: Variance given the cells.
        spectral: a, |A| or a bound on it, such as $\max_c (1 - 1/k_c) |x_c||y_c|$, k_c the load of a cell.
        t: Threshold, >= 0.

    Example:
        >>> sub_gamma(1.0, 0.25, 10.0) < hanson_wright(1.0, 0.25, 10.0)
        True

    Source: claim 16; the exponential moments of a chaos without diagonal, in proofs_checks.
    """
    _check("sub_gamma", v2=v2, spectral=spectral, t=t)
    if v2 == 0:
        return _beyond_nothing(t)
    root = 2 * t / (sqrt(2 * v2) + sqrt(2 * v2 + 8 * spectral * t))
    return min(1.0, 2 * exp(-root * root))


def norm_upper(energy_squares: float, largest: float, t: float) -> float:
    """P(|Sx|^2 - |x|^2 >= t) for t = 2 sqrt(B u) + 2 u max b: exp(-u), u solved from t.

    Args:
        energy_squares: B, the sum over cells of b_c^2.
        largest: max b_c.
        t: Threshold, >= 0.

    Source: Laurent & Massart 2000, lemma 1, for the dominating chi-squares; claim 16.
    """
    _check("norm_upper", energy_squares=energy_squares, largest=largest, t=t)
    if largest == 0:
        return _beyond_nothing(t)
    root = (sqrt(energy_squares + 2 * largest * t) - sqrt(energy_squares)) / (2 * largest)
    return exp(-root * root)


def norm_lower(energy_squares: float, t: float) -> float:
    """P(|Sx|^2 - |x|^2 <= -t) <= exp(-t^2/(6 B)). Source: claim 16."""
    _check("norm_lower", energy_squares=energy_squares, t=t)
    return exp(-t * t / (6 * energy_squares)) if energy_squares > 0 else _beyond_nothing(t)


@dataclass(frozen=True)
class EveryDraw:
    """Quantities that bound every draw of fold's cells, O(n).

    Attributes:
        v2: Upper bound of the variance given the cells.
        energy_squares: Upper bound of B.
        largest: Upper bound of max b_c.
        spectral: Upper bound of |A|.
    """

    v2: float
    energy_squares: float
    largest: float
    spectral: float


def every_draw(mapping: Fold, x: Any, y: Any) -> EveryDraw:
    r"""Bounds over all shifts, by Cauchy-Schwarz between laps.

    $v^2 \le (\sum f)(\sum g) - \sum fg + (\sum h)^2 - \sum h^2$ with f, g, h the square roots of the lap
    sums of x^4, y^4, (xy)^2; $B \le (\sum f)^2$; $\max b \le \sum_p \max_{lap\,p} x^2$;
    $|A| \le \max_c |x_c||y_c|$ likewise.

    Args:
        mapping: A fold of n weights.
        x: (n,) reals.
        y: (n,) reals.

    Raises:
        ArgumentError: If the mapping is not a fold.
        ShapeError: If x or y is not one row of n entries.
        KindError: If they are not real.
        DataError: If they hold nan or inf, or an answer is too large for float64.

    Source: claim 16.
    """
    if not isinstance(mapping, Fold):
        raise ArgumentError(
            f"every_draw: {type(mapping).__name__} came; the bound holds for Fold, whose laps never collide"
        )
    (x, of_x), (y, of_y) = (near_one(_row("every_draw", row, mapping.n)) for row in (x, y))
    f, g, h = (np.sqrt(mapping.chunk_sums(a)) for a in (x**4, y**4, (x * y) ** 2))
    laps = np.arange(0, mapping.n, mapping.m)
    top_x = float(np.maximum.reduceat(x * x, laps).sum())
    top_y = float(np.maximum.reduceat(y * y, laps).sum())
    pairs = f.sum() * g.sum() - (f * g).sum() + h.sum() ** 2 - (h * h).sum()
    both = of_x + of_y
    answers = ((pairs, 2 * both), (f.sum() ** 2, 4 * of_x), (top_x, 2 * of_x), (sqrt(top_x * top_y), both))
    return EveryDraw(*(float(restored("every_draw", value, exponent)) for value, exponent in answers))


def _row(owner: str, x: Any, n: int) -> NDArray[np.float64]:
    row = as_vector(owner, x, n)
    if row.ndim != 1:
        raise ShapeError(f"{owner}: an array of shape {row.shape} came; pass one row, ({n},)")
    return as_floats(owner, row)


def _check(owner: str, **numbers: float) -> None:
    for name, value in numbers.items():
        if not (value >= 0 and isfinite(value)):
            raise ArgumentError(f"{owner}: {name}={value} came; pass a finite number >= 0")


def _beyond_nothing(t: float) -> float:
    """P(|T| >= t) for T = 0."""
    return 0.0 if t > 0 else 1.0
