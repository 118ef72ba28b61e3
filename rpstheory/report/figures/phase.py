"""Where sharing beats random pruning over data: raw kurtosis × correlation × raggedness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rpstheory.closed_form import raggedness
from rpstheory.distributions import kurtosis as kurtosis_of
from rpstheory.report.figures.balance import paint, scale
from rpstheory.report.figures.style import INK, blank, styled, ticks_in_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from rpstheory.distributions import Family

SIZES = ((64, 16), (64, 24), (64, 48))
_FAMILIES: tuple[Family, ...] = ("uniform", "gaussian", "laplace")


def sharing_ratio(kurtosis: Any, correlation: Any, rho: float, *, exact: bool = False) -> NDArray[np.float64]:
    r"""Variance of random pruning over that of fold, for y = c x + sqrt(1-c^2) x'.

    With $\alpha = 1$, $\beta = c^2$, $\gamma = c^2\kappa + 1 - c^2$: Bernoulli
    $\gamma / (\rho(\alpha+\beta))$, exact $(\gamma-\beta) / (\rho(\alpha+\beta))$.

    Args:
        kurtosis: Raw kurtosis of the entries, >= 1; broadcasts with ``correlation``.
        correlation: c in [-1, 1]; 1 for norms.
        rho: Raggedness of n and m: 1 iff m divides n.
        exact: Against pruning that keeps exactly m.

    Returns:
        Above 1 where sharing is better.

    Source: claim 6, "where it turns round".
    """
    beta = np.square(np.asarray(correlation, dtype=np.float64))
    gamma = beta * np.asarray(kurtosis, dtype=np.float64) + 1 - beta
    return (gamma - beta if exact else gamma) / (rho * (1 + beta))


def kurtosis_threshold(correlation: Any, rho: float, *, exact: bool = False) -> NDArray[np.float64]:
    r"""Raw kurtosis from which on fold beats random pruning: where :func:`sharing_ratio` is 1.

    Args:
        correlation: c; at 0 the threshold is inf for rho > 1, and at rho = 1 every kurtosis ties (nan).
        rho: Raggedness of n and m.
        exact: Against pruning that keeps exactly m.

    Returns:
        $1 + (\rho(1+c^2) - 1 + [exact] c^2) / c^2$: 2 and 3 at rho = 1.

    Source: claim 6.
    """
    beta = np.square(np.asarray(correlation, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 + (rho * (1 + beta) - 1 + (beta if exact else 0)) / beta


@styled
def sharing_phase(sizes: Sequence[tuple[int, int]] = SIZES) -> Figure:
    """Where fold beats pruning: a column for each (n, m), Bernoulli above, exact below.

    Args:
        sizes: Pairs (n, m), n > m.

    Returns:
        Areas by the ratio of variances over kurtosis and correlation, the tie as a line.
    """
    kurtosis = np.geomspace(1, 10, 61)
    correlation = np.linspace(0, 1, 51)
    columns = len(sizes)
    figure, grid = blank(
        2.0 + 2.5 * columns, 5.4, nrows=2, ncols=columns, sharex=True, sharey=True, squeeze=False
    )
    for column, (n, m) in enumerate(sizes):
        rho = raggedness(n, m)
        for row, exact in enumerate((False, True)):
            axes = grid[row][column]
            off_tie = np.maximum(correlation, 1e-3)[:, None]  # at 0 every kurtosis ties if m | n
            ratio = sharing_ratio(kurtosis, off_tie, float(rho), exact=exact)
            paint(axes, kurtosis, correlation, ratio)
            axes.set_xscale("log")
            ticks_in_words(axes.xaxis, [1, 2, 3, 5, 10])
            axes.tick_params(which="minor", length=0)
            for family in _FAMILIES:
                axes.axvline(kurtosis_of(family), color=INK, linewidth=0.6, linestyle=(0, (1, 2)))
        kind = "m divides n" if rho == 1 else f"ragged, ρ = {float(rho):.3g}"
        grid[0][column].set_title(f"n = {n}, m = {m}: {kind}")
        grid[1][column].set_xlabel("raw kurtosis E x⁴ / (E x²)²")
    grid[0][0].set_ylabel("against keeping each with m/n\ncorrelation of x and y")
    grid[1][0].set_ylabel("against keeping exactly m\ncorrelation of x and y")
    for family in _FAMILIES:
        left = family == "uniform"
        grid[0][0].annotate(
            family,
            (kurtosis_of(family), 0.03),
            xytext=(-2 if left else 2, 0),
            textcoords="offset points",
            rotation=90,
            fontsize=7.5,
            ha="right" if left else "left",
            va="bottom",
        )
    scale(figure, grid.ravel().tolist(), "variance of pruning ÷ variance of fold (above 1: share)")
    return figure
