"""Tails of a squared norm under fold: what is measured, and what the bounds allow (claim 16)."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from rpstheory.closed_form import norm_variance
from rpstheory.kernels import inner_products
from rpstheory.mappings import Fold
from rpstheory.report.figures.style import (
    BLUE,
    GOLD,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    RULE,
    blank,
    powers_of_ten,
    styled,
)
from rpstheory.tails import bonami, chebyshev, every_draw, hanson_wright, norm_upper

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_LOOKS: dict[str, dict[str, Any]] = {
    "Chebyshev": {"color": PURPLE, "linestyle": (0, (4, 1.2, 1, 1.2))},
    "Bonami": {"color": GREEN, "linestyle": (0, (5, 1.5))},
    "Hanson–Wright": {"color": GOLD, "linestyle": (0, (1, 1.2))},
    "chi-square form": {"color": ORANGE, "linewidth": 1.8},
}


@dataclass(frozen=True)
class Tails:
    """Chances that a squared norm is too large by t.

    Attributes:
        deviations: t in standard deviations.
        bounds: By name, the chance allowed at each t.
        reached: Deviations of the draws, largest first.
        draws: How many.
    """

    deviations: NDArray[np.float64]
    bounds: dict[str, NDArray[np.float64]]
    reached: NDArray[np.float64]
    draws: int


def tail_curves(n: int = 256, m: int = 32, draws: int = 2**15, backend: str = "numpy") -> Tails:
    """Measured tail of |Sx|^2 - |x|^2 for a flat unit x, and the bounds.

    Args:
        n: Weights.
        m: Cells.
        draws: Of the mapping.
        backend: numpy, numba or cupy.

    Source: claim 16; the bounds are those for every draw of the cells.
    """
    x = np.full(n, 1 / sqrt(n))
    mapping = Fold(n, m, 0)
    variance = float(norm_variance(mapping, x))
    every, deviation = every_draw(mapping, x, x), sqrt(variance)
    grid = np.linspace(0.5, 14, 109)
    norms = np.asarray(inner_products(backend, mapping, x, x, 0, draws))
    reached = np.sort((norms - 1) / deviation)[::-1]

    def curve(bound: Any) -> NDArray[np.float64]:
        return np.array([min(1.0, bound(float(t * deviation))) for t in grid])

    bounds = {
        "Chebyshev": curve(lambda t: chebyshev(variance, t)),
        "Bonami": curve(lambda t: bonami(every.v2, t)),
        "Hanson–Wright": curve(lambda t: hanson_wright(every.v2, every.spectral, t)),
        "chi-square form": curve(lambda t: norm_upper(every.energy_squares, every.largest, t)),
    }
    return Tails(grid, bounds, reached, draws)


@styled
def tails(n: int = 256, m: int = 32, draws: int = 2**15, backend: str = "numpy") -> Figure:
    """Bounds and measured tail on a logarithmic scale.

    Args:
        n: Weights.
        m: Cells.
        draws: Of the mapping.
        backend: numpy, numba or cupy.
    """
    data = tail_curves(n, m, draws, backend)
    figure, axes = blank(7.0, 3.6)
    for name, values in data.bounds.items():
        axes.plot(data.deviations, values, label=name, **_LOOKS[name])
    seen = np.flatnonzero(data.reached > 0.3)
    seen = seen[np.unique(np.geomspace(1, len(seen), 200).astype(int) - 1)]
    axes.plot(data.reached[seen], (seen + 1) / draws, color=BLUE, linewidth=2.4, label="measured", zorder=4)
    axes.set_yscale("log")
    axes.set_ylim(1e-7, 1.5)
    axes.set_xlim(0, 14)
    axes.axhline(1 / draws, color=INK, linewidth=0.6, linestyle=(0, (1, 2)))
    axes.text(13.9, 1.15 / draws, "one draw", ha="right", va="bottom", fontsize=7.5)
    powers_of_ten(axes.yaxis)
    axes.tick_params(which="minor", length=0)
    axes.grid(axis="y", color=RULE)
    axes.set_xlabel("t, in standard deviations")
    axes.set_ylabel("chance of |Sx|² − |x|² ≥ t")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 0.02), handlelength=3.0)
    return figure
