"""Where sharing beats pruning in a linear model: how signal and variance are aligned (claim 12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rpstheory.linear_model import expected_linear_residual
from rpstheory.mappings import Fold, KeepExact
from rpstheory.report.figures.balance import paint, scale
from rpstheory.report.figures.style import blank, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

ORDERS = 4


@dataclass(frozen=True)
class Alignment:
    """Expected loss of pruning over that of fold.

    Attributes:
        decay: a, columns: s_i = i^-a.
        signal: b, rows: w_i^2 = s_i^b.
        given: Ratio with the features in order of variance, (rows, columns).
        random: The same with the mean over random orders.
    """

    decay: NDArray[np.float64]
    signal: NDArray[np.float64]
    given: NDArray[np.float64]
    random: NDArray[np.float64]


def alignment_ratios(
    n: int = 24, m: int = 6, decay: Any = None, signal: Any = None, seed: int = 0
) -> Alignment:
    """Expected residual of random pruning over that of fold, over both exponents.

    Args:
        n: Features.
        m: Cells, or features kept.
        decay: Exponents a of the variances; 0.01 to 3 unless given.
        signal: Exponents b of the squared weights; -3 to 1.5 in halves unless given.
        seed: Names the random orders, four of them.

    Returns:
        Above 1 where sharing is better. Source: claim 12.
    """
    decay = np.linspace(0.01, 3, 10) if decay is None else np.asarray(decay, dtype=np.float64)
    signal = np.linspace(-3, 1.5, 10) if signal is None else np.asarray(signal, dtype=np.float64)
    random = np.random.Generator(np.random.Philox(key=seed))
    orders = [np.arange(n), *(random.permutation(n) for _ in range(ORDERS))]
    found = np.empty((len(orders), len(signal), len(decay)))
    for column, a in enumerate(decay):
        s = np.arange(1, n + 1, dtype=np.float64) ** -a
        for row, b in enumerate(signal):
            w = s ** (b / 2)
            for place, order in enumerate(orders):
                found[place, row, column] = expected_linear_residual(Fold(n, m, 0), s[order], w[order])
            found[:, row, column] /= expected_linear_residual(KeepExact(n, m, 0), s, w)
    return Alignment(decay, signal, 1 / found[0], 1 / found[1:].mean(axis=0))


@styled
def alignment(n: int = 24, m: int = 6, seed: int = 0) -> Figure:
    """Where fold beats pruning in a linear model: features in order of variance, and in random order.

    Args:
        n: Features.
        m: Cells, or features kept.
        seed: Names the random orders.

    Returns:
        Two panels over the exponents of variance and of signal.
    """
    data = alignment_ratios(n, m, seed=seed)
    figure, row = blank(8.2, 4.0, ncols=2, sharex=True, sharey=True)
    for axes, ratio, title in zip(
        row, (data.given, data.random), ("features sorted by variance", "in random order"), strict=True
    ):
        paint(axes, *_smooth(data.decay, data.signal, ratio))
        axes.set_title(f"{title}, n = {n}, m = {m}")
        axes.set_xlabel("a: variances fall as i⁻ᵃ")
    row[0].set_ylabel("b: squared weights follow\nvariance to the power b")
    scale(figure, list(row), "expected loss of pruning ÷ expected loss of fold (above 1: share)")
    return figure


def _smooth(x: Any, y: Any, ratio: NDArray[np.float64]) -> tuple[Any, Any, Any]:
    """Monotone cubic interpolation of the logarithm, for the drawing alone."""
    from scipy.interpolate import PchipInterpolator

    fine_x, fine_y = np.linspace(x[0], x[-1], 61), np.linspace(y[0], y[-1], 73)
    rows = PchipInterpolator(y, np.log(ratio), axis=0)(fine_y)
    return fine_x, fine_y, np.exp(PchipInterpolator(x, rows, axis=1)(fine_x))
