"""Measured against predicted, with intervals: one claim's checks, and all checks in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from rpstheory.report.figures.style import (
    BAND,
    BLUE,
    GOLD,
    INK,
    MUTED,
    ORANGE,
    RED,
    RULE,
    blank,
    fixed,
    plain_numbers,
    powers_of_ten,
    styled,
)
from rpstheory.report.words import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rpstheory.claim import Verdict

EDGE = 2.6  # in discrepancies; what lies beyond is drawn as an arrow at the edge
_ROW = 0.155
_LONGEST_NAME = 44


@dataclass(frozen=True)
class Deviation:
    """A verdict in units of its discrepancy, with the prediction at 0.

    Attributes:
        number: Of the check within its claim, from 1.
        verdict: What was found.
        middle: Measured.
        low: Lower end of the interval.
        high: Upper end.
        claimed: Outside the scope, what the claim would give; else None.
    """

    number: int
    verdict: Verdict
    middle: float
    low: float
    high: float
    claimed: float | None


def deviations(verdicts: Sequence[Verdict]) -> tuple[Deviation, ...]:
    """How far each measurement is from its prediction, in units of the difference worth catching.

    A check is confirmed when low..high lies within -1..1 (for "at most": below 1).

    Args:
        verdicts: Of one claim, in order.

    Returns:
        One for each verdict. Where the discrepancy is 0, equal numbers are at 0 and others at ±inf.
    """
    return tuple(_deviation(number, v) for number, v in enumerate(verdicts, 1))


@styled
def agreement(verdicts: Sequence[Verdict], *, names: bool = False) -> Figure:
    """One claim's checks: measured against predicted, and how far apart, with intervals.

    Args:
        verdicts: Of one claim.
        names: The names of the checks, one a row, in place of their numbers.

    Returns:
        A figure of one panel, or of two where at least three predictions differ.
    """
    points = deviations(verdicts)
    shown = [p for p in points if p.verdict.relation != "always" and isfinite(p.verdict.measured)]
    panels = 2 if len({p.verdict.predicted for p in shown}) >= 3 else 1
    if names:
        height = max(2.7, 0.95 + _ROW * len(points))
        figure, grid = blank(6.4 + 3.0 * (panels - 1), height, ncols=panels, squeeze=False)
        axes = list(grid[0])
        axes[0].set_anchor("N")
        _rows(axes[-1], points)
    else:
        width = min(6.2, 2.2 + 0.2 * len(points))
        figure, axes = fixed(2.6, *((0.85, 2.02), (0.7, width))[2 - panels :])
        _columns(axes[-1], points)
    if panels == 2:
        _scatter(axes[0], shown)
    return figure


@styled
def overview(verdicts: Sequence[Verdict], labels: dict[str, str]) -> Figure:
    """Every check in one picture, claim by claim: deviation in discrepancies, with interval.

    Args:
        verdicts: All of them.
        labels: What to write below each claim, such as its number; the claims in their order.

    Returns:
        One wide panel.
    """
    figure, axes = blank(9.6, 3.1)
    _band(axes, horizontal=False)
    place, ticks, points = 0.0, [], []
    for claim, label in labels.items():
        own = deviations([v for v in verdicts if v.claim == claim])
        step = min(0.35, 4.0 / max(1, len(own)))
        points += [(place + number * step, point) for number, point in enumerate(own)]
        end = place + max(0, len(own) - 1) * step
        ticks.append(((place + end) / 2, label))
        place = end + 1.4
        axes.axvline(place - 0.7, color=RULE, linewidth=0.6, zorder=0)
    _whiskers(axes, points, horizontal=False, size=2.6)
    axes.set_xticks([t for t, _ in ticks], [label for _, label in ticks])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.9, max(place - 0.5, 0.5))
    axes.set_ylim(-EDGE - 0.25, EDGE + 0.25)
    axes.set_yticks(range(-2, 3))
    axes.set_xlabel("claim")
    axes.set_ylabel("(measured − predicted)\n÷ discrepancy")
    _key(axes, verdicts)
    return figure


def _deviation(number: int, v: Verdict) -> Deviation:
    def scaled(value: float) -> float:
        gap = value - v.predicted
        if v.discrepancy > 0 or gap == 0:
            return gap / v.discrepancy if v.discrepancy > 0 else 0.0
        return float("inf") if gap > 0 else float("-inf")

    claimed = None if v.claimed is None else scaled(v.claimed)
    low, high = v.interval
    return Deviation(number, v, scaled(v.measured), scaled(low), scaled(high), claimed)


def _looks(verdict: Verdict) -> tuple[str, str, bool]:
    """Colour, marker and whether it is filled.

    Round inside, diamond outside; a cross is refuted, a hollow square inconclusive.
    """
    if verdict.status == "refuted":
        return RED, "X", True
    if verdict.status == "inconclusive":
        return GOLD, "s", False
    return (ORANGE, "D", True) if verdict.scope == "outside" else (BLUE, "o", True)


def _whiskers(
    axes: Axes, points: Sequence[tuple[float, Deviation]], *, horizontal: bool, size: float = 3.4
) -> None:
    """Intervals with their middles; arrows where they leave the picture. One artist for each look."""
    arrows = "<>" if horizontal else "v^"
    bars: dict[str, list[tuple[float, float, float]]] = {}
    marks: dict[tuple[str, str, bool], list[tuple[float, float]]] = {}

    def mark(color: str, marker: str, filled: bool, place: float, value: float) -> None:
        shape = marker if abs(value) <= EDGE else arrows[int(value > 0)]
        marks.setdefault((color, shape, filled), []).append((place, _inside(value)))

    for place, point in points:
        color, marker, filled = _looks(point.verdict)
        if point.claimed is not None:
            mark(MUTED, "D", False, place, point.claimed)
        if isfinite(point.low) and isfinite(point.high):
            bars.setdefault(color, []).append((place, _inside(point.low), _inside(point.high)))
        if point.middle == point.middle:
            mark(color, marker, filled, place, point.middle)
    for color, found in bars.items():
        places, lows, highs = zip(*found, strict=True)
        (axes.hlines if horizontal else axes.vlines)(
            places, lows, highs, color=color, linewidth=1.1, zorder=2
        )
    for (color, shape, filled), places_and_values in marks.items():
        along, across = zip(*places_and_values, strict=True)
        x, y = (across, along) if horizontal else (along, across)
        _dots(axes, x, y, (color, shape, filled), size + 0.8 * (color == MUTED))


def _dots(axes: Axes, x: Any, y: Any, looks: tuple[str, str, bool], size: float) -> None:
    color, marker, filled = looks
    axes.plot(
        x,
        y,
        linestyle="",
        marker=marker,
        markersize=size,
        color=color,
        markerfacecolor=color if filled else "none",
        markeredgewidth=0.8,
        zorder=3 if filled else 2.5,
    )


def _inside(value: float) -> float:
    return max(-EDGE, min(EDGE, value))


def _band(axes: Axes, *, horizontal: bool) -> None:
    """Where an interval must lie to confirm, and the prediction."""
    (axes.axvspan if horizontal else axes.axhspan)(-1, 1, color=BAND, linewidth=0, zorder=0)
    (axes.axvline if horizontal else axes.axhline)(0, color=INK, linewidth=0.8, zorder=1)


def _rows(axes: Axes, points: Sequence[Deviation]) -> None:
    """A row for each check, with its name."""
    _band(axes, horizontal=True)
    _whiskers(axes, [(p.number, p) for p in points], horizontal=True)
    axes.set_ylim(len(points) + 0.7, 0.3)
    axes.set_xlim(-EDGE - 0.2, EDGE + 0.2)
    axes.set_xticks(range(-2, 3))
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelsize=7.5)
    axes.set_yticks([p.number for p in points], [_short(p.verdict.check) for p in points])
    axes.set_xlabel("(measured − predicted) ÷ discrepancy")


def _columns(axes: Axes, points: Sequence[Deviation]) -> None:
    """A column for each check, with its number."""
    from matplotlib.ticker import MaxNLocator

    _band(axes, horizontal=False)
    _whiskers(axes, [(p.number, p) for p in points], horizontal=False)
    axes.set_xlim(0.3, max(len(points), 4) + 0.7)
    axes.set_ylim(-EDGE - 0.2, EDGE + 0.2)
    axes.set_yticks(range(-2, 3))
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    axes.set_xlabel("check")
    axes.set_ylabel("(measured − predicted)\n÷ discrepancy")


def _scatter(axes: Axes, points: Sequence[Deviation]) -> None:
    """Measured against predicted; logarithmic, and without what is not above 0, if they span much."""
    positive = [p for p in points if min(p.verdict.predicted, p.verdict.measured) > 0]
    values = _both(positive)
    wide = len(positive) >= 3 and max(values) > 12 * min(values)
    if wide:
        points = positive
        axes.set_xscale("log")
        axes.set_yscale("log")
        low, high = min(values) / 1.6, max(values) * 1.6
        powers_of_ten(axes.xaxis)
        powers_of_ten(axes.yaxis)
    else:
        values = _both(points)
        room = 0.07 * (max(values) - min(values) or 1.0)
        low, high = min(values) - room, max(values) + room
        plain_numbers(axes.xaxis)
        plain_numbers(axes.yaxis)
    axes.plot([low, high], [low, high], color=INK, linewidth=0.8, zorder=1)
    kinds: dict[tuple[str, str, bool], list[Verdict]] = {}
    for p in points:
        kinds.setdefault(_looks(p.verdict), []).append(p.verdict)
    for looks, found in kinds.items():
        places = [v.predicted for v in found]
        ends = [[min(max(end, low), high) for end in v.interval] for v in found]
        axes.vlines(places, *zip(*ends, strict=True), color=looks[0], linewidth=1)
        _dots(axes, places, [v.measured for v in found], looks, 4)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_xlabel("predicted")
    axes.set_ylabel("measured")
    axes.set_box_aspect(1)


def _both(points: Sequence[Deviation]) -> list[float]:
    return [v for p in points for v in (p.verdict.predicted, p.verdict.measured) if isfinite(v)]


def _key(axes: Axes, verdicts: Sequence[Verdict]) -> None:
    """Legend of the kinds that occur."""
    from matplotlib.lines import Line2D

    kinds: dict[str, tuple[str, str, bool]] = {
        (v.scope if v.status == "confirmed" else v.status): _looks(v)
        for v in sorted(verdicts, key=lambda v: (v.status != "confirmed", v.scope))
    }
    words = {"inside": "holds", "outside": "fails outside, as it must"}
    if any(v.claimed is not None for v in verdicts):
        kinds["there the claim would give"] = (MUTED, "D", False)
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=marker,
            color=color,
            markerfacecolor=color if filled else "none",
            markersize=5,
            label=words.get(kind, kind),
        )
        for kind, (color, marker, filled) in kinds.items()
    ]
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=4, handletextpad=0.2)


def _short(name: str) -> str:
    name = clean(name)
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
