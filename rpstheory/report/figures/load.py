"""How many weights a cell carries: fold against hashing and against rotations module by module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rpstheory.mappings import Fold, Hashed
from rpstheory.operator import load
from rpstheory.report.figures.style import BLUE, ORANGE, PURPLE, blank, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

# Weights of ResNet-20 for CIFAR, layer by layer. Source: He et al. 2016, section 4.2.
RESNET20 = (
    432, *[2304] * 6, 4608, *[9216] * 5, 18432, *[36864] * 5, 640,
)  # fmt: skip
_LOOKS: dict[str, dict[str, Any]] = {
    "fold": {"edgecolor": BLUE, "facecolor": BLUE},
    "fold, each module by itself": {"edgecolor": ORANGE, "facecolor": "none", "hatch": "///"},
    "hashed": {"edgecolor": PURPLE, "facecolor": "none", "linewidth": 1.4},
}


def load_shares(
    modules: Sequence[int] = RESNET20, compression: float = 1.0, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Share of the cells that carry 0, 1, 2, … weights, in one draw of each mapping.

    Args:
        modules: Weights of each module.
        compression: n/m.
        seed: Names the draw.

    Returns:
        By mapping, each summing to 1: fold over the flat positions of the model, fold with a rotation
        of its own for each module, hashed.

    Source: claim 9.
    """
    n = sum(modules)
    m = max(1, round(n / compression))
    alone = sum(load(Fold(size, m, seed + 1 + k)) for k, size in enumerate(modules))
    loads_of = {
        "fold": load(Fold(n, m, seed)),
        "fold, each module by itself": alone,
        "hashed": load(Hashed(n, m, seed)),
    }
    return {name: np.bincount(found) / m for name, found in loads_of.items()}


@styled
def loads(modules: Sequence[int] = RESNET20, compressions: Sequence[float] = (1, 4), seed: int = 0) -> Figure:
    """Histogram of the weights per cell, a panel for each compression.

    Args:
        modules: Weights of each module.
        compressions: n/m.
        seed: Names the draw.
    """
    from matplotlib.ticker import MaxNLocator

    figure, row = blank(9.2, 3.1, ncols=len(compressions), squeeze=False)
    for axes, compression in zip(row[0], compressions, strict=True):
        shares = load_shares(modules, compression, seed)
        for number, (name, share) in enumerate(shares.items()):
            seen = np.flatnonzero(share > 5e-4)
            axes.bar(seen + (number - 1) * 0.28, share[seen], 0.25, label=name, **_LOOKS[name])
        axes.set_title(f"n/m = {compression:g}")
        axes.set_xlabel("weights per cell")
        axes.set_ylim(0, 1.04)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    row[0][0].set_ylabel("share of the cells")
    handles, labels = row[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure
