"""Variance against compression for every mapping: closed forms, and measured points on top."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rpstheory.closed_form import inner_product_variance, worst_case_variance
from rpstheory.mappings import (
    AbstractMapping,
    Block,
    Chunk,
    Fold,
    Hashed,
    KeepBernoulli,
    KeepExact,
)
from rpstheory.report.figures.style import (
    BLUE,
    GOLD,
    GREEN,
    MUTED,
    ORANGE,
    PURPLE,
    RED,
    RULE,
    blank,
    powers_of_ten,
    styled,
    ticks_in_words,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from rpstheory.claim import Pair, Verdict

MOST_COMPRESSION = 32
MOST_POINTS = 160
_LOOKS: dict[str, dict[str, Any]] = {
    "fold": {"color": BLUE, "linewidth": 2.2},
    "chunk, Z = m/2": {"color": GREEN, "linestyle": (0, (5, 1.5))},
    "block, Z = m/2": {"color": GOLD, "linestyle": (0, (1, 1.2))},
    "hashed": {"color": PURPLE, "linestyle": (0, (4, 1.2, 1, 1.2))},
    "pruning, exactly m": {"color": ORANGE, "linewidth": 1.8},
    "pruning, each with m/n": {"color": RED, "linestyle": (0, (2.5, 1.2))},
}
_VARIANCES = ("inner-product-variance", "pruning-variance")
_CHECK = re.compile(r"(Fold|Hashed|KeepExact|KeepBernoulli) (\d+)→(\d+), (.+)")
_NAMES = {
    "Fold": "fold",
    "Hashed": "hashed",
    "KeepExact": "pruning, exactly m",
    "KeepBernoulli": "pruning, each with m/n",
}


@dataclass(frozen=True)
class Curve:
    """A quantity over compressions.

    Attributes:
        name: Of the mapping.
        compression: n/m, ascending.
        values: The quantity.
    """

    name: str
    compression: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """A measured value at one compression.

    Attributes:
        name: Of the mapping.
        compression: n/m.
        value: Measured.
        low: Lower end of its interval.
        high: Upper end.
    """

    name: str
    compression: float
    value: float
    low: float
    high: float


def budgets(n: int) -> list[int]:
    """m from n down to n/32, all of them or about 160 spread evenly in the logarithm."""
    least = max(1, n // MOST_COMPRESSION)
    if n - least < MOST_POINTS:
        return list(range(n, least - 1, -1))
    spread = np.geomspace(n, least, MOST_POINTS).round().astype(int)
    whole = [n // k for k in range(1, MOST_COMPRESSION + 1) if n % k == 0]
    return sorted({int(m) for m in spread} | set(whole), reverse=True)


def variance_curves(pair: Pair) -> tuple[Curve, ...]:
    """Variance of <Sx, Sy>, in units of |x|^2 |y|^2, over compressions.

    Args:
        pair: Vectors x, y.

    Returns:
        A curve for each mapping and for both kinds of random pruning.
    """
    x, y = np.asarray(pair.x, dtype=np.float64), np.asarray(pair.y, dtype=np.float64)
    unit = float(x @ x) * float(y @ y) or 1.0

    def variance(mapping: AbstractMapping) -> float:
        return float(inner_product_variance(mapping, x, y)) / unit

    return _curves(len(x), variance)


def worst_case_curves(n: int) -> tuple[Curve, ...]:
    """Largest variance over unit vectors, over compressions. Source: claim 7."""
    return _curves(n, lambda mapping: float(worst_case_variance(mapping)))


def measured_points(verdicts: Sequence[Verdict], pair: Pair) -> tuple[Point, ...]:
    """Measured variances of this pair, recognised by the names of the checks.

    Args:
        verdicts: Of any claims; those of claims 2 and 4 count.
        pair: Vectors x, y.

    Returns:
        In units of |x|^2 |y|^2; none if the names say nothing.
    """
    unit = float(np.dot(pair.x, pair.x)) * float(np.dot(pair.y, pair.y)) or 1.0
    points = []
    for v in verdicts:
        found = _CHECK.fullmatch(v.check) if v.claim in _VARIANCES and v.scope == "inside" else None
        if found and found[4] == pair.name and v.relation == "equals":
            n, m = int(found[2]), int(found[3])
            values = (v.measured / unit, v.interval[0] / unit, v.interval[1] / unit)
            points.append(Point(_NAMES[found[1]], n / m, *values))
    return tuple(points)


@styled
def variances(pair: Pair, points: Sequence[Point] = ()) -> Figure:
    """Variance against n/m: for this pair, and at worst over unit vectors.

    Args:
        pair: Vectors x, y.
        points: Measured values, drawn as circles.

    Returns:
        Two panels on logarithmic scales; the notches of fold are ragged last laps.
    """
    figure, (left, right) = blank(9.2, 4.1, ncols=2, sharex=True)
    _draw(left, variance_curves(pair))
    for p in points:
        color = _LOOKS[p.name]["color"]
        left.plot([p.compression] * 2, [p.low, p.high], color=color, linewidth=1)
        left.plot(p.compression, p.value, "o", color=color, markerfacecolor="none", markersize=5)
    _draw(right, worst_case_curves(len(pair.x)))
    left.set_title("this pair of vectors" + (" (circles: measured)" if points else ""))
    left.set_ylabel("variance of ⟨Sx, Sy⟩ / (|x|² |y|²)")
    right.set_title("at worst over unit vectors")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, handlelength=3.0)
    return figure


def _draw(axes: Axes, curves: Sequence[Curve]) -> None:
    for curve in curves:
        shown = np.where(curve.values > 0, curve.values, np.nan)
        axes.plot(curve.compression, shown, label=curve.name, **_LOOKS[curve.name])
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks_in_words(axes.xaxis, [1, 2, 4, 8, 16, 32])
    powers_of_ten(axes.yaxis)
    axes.grid(axis="y", color=RULE)
    axes.set_xlabel("compression n/m")
    axes.tick_params(which="minor", length=0, color=MUTED)


def _curves(n: int, quantity: Any) -> tuple[Curve, ...]:
    sizes = budgets(n)
    ratios = np.array([n / m for m in sizes])

    def kinds(m: int) -> tuple[AbstractMapping, ...]:
        z = max(1, m // 2)
        return (
            Fold(n, m, 0),
            Chunk(n, m, 0, chunk=z),
            Block(n, m, 0, block=z),
            Hashed(n, m, 0),
            KeepExact(n, m, 0),
            KeepBernoulli(n, m, 0),
        )

    values = np.array([[quantity(mapping) for mapping in kinds(m)] for m in sizes])
    return tuple(Curve(name, ratios, values[:, place]) for place, name in enumerate(_LOOKS))
