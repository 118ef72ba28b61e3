"""The colours of a contest: pruning's cost over sharing's, on a logarithmic scale in eight steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rpstheory.report.figures.style import BALANCE, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

STEPS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)  # in doublings
_FAR = 60.0
_WORDS = ("¼", "½", "0.71", "1", "1.41", "2", "4")


def paint(axes: Axes, x: Any, y: Any, ratio: NDArray[np.float64]) -> None:
    """Areas by ratio, and the line where it is 1.

    Args:
        axes: Where.
        x: Values along the x axis, (columns,).
        y: Values along the y axis, (rows,).
        ratio: Pruning's cost over sharing's, (rows, columns); 0 and inf are allowed.
    """
    with np.errstate(divide="ignore"):
        doublings = np.clip(np.log2(ratio), -_FAR + 1, _FAR - 1)
    doublings = np.where(np.abs(doublings) < 1e-9, 0.0, doublings)
    bands = axes.contourf(x, y, doublings, levels=[-_FAR, *STEPS, _FAR], colors=BALANCE)
    bands.set_edgecolor("face")
    bands.set_linewidth(0.3)
    if doublings.min() < 0 < doublings.max():
        axes.contour(x, y, doublings, levels=[0.0], colors=[INK], linewidths=1.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)


def scale(figure: Figure, axes: Any, label: str) -> None:
    """The key to the colours, below the panels."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    edges = np.arange(len(BALANCE) + 1)
    key = ScalarMappable(BoundaryNorm(edges, len(BALANCE)), ListedColormap(list(BALANCE)))
    bar = figure.colorbar(key, ax=axes, location="bottom", aspect=55, shrink=0.75, pad=0.02)
    bar.set_ticks([float(e) for e in edges[1:-1]], labels=_WORDS)
    bar.ax.tick_params(length=0, which="both")
    bar.outline.set_visible(False)
    bar.set_label(label)
    if bar.solids is not None:
        bar.solids.set_edgecolor("face")
