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
    height = max(2.7, 0.95 + _ROW * len(points)) if names else 2.7
    width = min(7.0, 2.4 + 0.2 * len(points)) + 2.2 * names
    figure, row = blank(
        width + 2.7 * (panels - 1), height, ncols=panels, squeeze=False,
        width_ratios=(2.7, width)[2 - panels :],
    )  # fmt: skip
    if panels == 2:
        _scatter(row[0][0], shown)
        row[0][0].set_anchor("N")
    (_rows if names else _columns)(row[0][-1], points)
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
    place, ticks = 0.0, []
    for claim, label in labels.items():
        own = deviations([v for v in verdicts if v.claim == claim])
        step = min(0.35, 4.0 / max(1, len(own)))
        for number, point in enumerate(own):
            _whisker(axes, place + number * step, point, horizontal=False, size=2.6)
        end = place + max(0, len(own) - 1) * step
        ticks.append(((place + end) / 2, label))
        place = end + 1.4
        axes.axvline(place - 0.7, color=RULE, linewidth=0.6, zorder=0)
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
    return Deviation(number, v, scaled(v.measured), *map(scaled, v.interval), claimed)


def _looks(verdict: Verdict) -> dict[str, Any]:
    """Colour and marker: round inside, diamond outside; a cross is refuted, hollow is inconclusive."""
    if verdict.status == "refuted":
        return {"color": RED, "marker": "X", "filled": True}
    color = ORANGE if verdict.scope == "outside" else BLUE
    marker = "D" if verdict.scope == "outside" else "o"
    if verdict.status == "inconclusive":
        return {"color": GOLD, "marker": "s", "filled": False}
    return {"color": color, "marker": marker, "filled": True}


def _whisker(
    axes: Axes, place: float, point: Deviation, *, horizontal: bool, size: float = 3.4
) -> None:
    """An interval with its middle; arrows where it leaves the picture."""
    looks = _looks(point.verdict)
    color, face = looks["color"], looks["color"] if looks["filled"] else "none"

    def at(value: float) -> tuple[float, float]:
        return (value, place) if horizontal else (place, value)

    low, high, middle = (max(-EDGE, min(EDGE, v)) for v in (point.low, point.high, point.middle))
    if isfinite(low) and isfinite(high):
        axes.plot(*zip(at(low), at(high), strict=True), color=color, linewidth=1.1, zorder=2)
    if point.middle != point.middle:
        return
    outside = abs(point.middle) > EDGE
    arrow = {(True, True): ">", (True, False): "<", (False, True): "^", (False, False): "v"}
    marker = arrow[horizontal, point.middle > 0] if outside else looks["marker"]
    axes.plot(
        *at(middle), marker=marker, markersize=size, color=color, markerfacecolor=face, zorder=3
    )
    if point.claimed is not None:
        away = abs(point.claimed) > EDGE
        mark = arrow[horizontal, point.claimed > 0] if away else "D"
        axes.plot(
            *at(max(-EDGE, min(EDGE, point.claimed))),
            marker=mark,
            markersize=size + 0.8,
            color=MUTED,
            markerfacecolor="none",
            markeredgewidth=0.8,
            zorder=1,
        )


def _band(axes: Axes, *, horizontal: bool) -> None:
    """Where an interval must lie to confirm, and the prediction."""
    (axes.axvspan if horizontal else axes.axhspan)(-1, 1, color=BAND, linewidth=0, zorder=0)
    (axes.axvline if horizontal else axes.axhline)(0, color=INK, linewidth=0.8, zorder=1)


def _rows(axes: Axes, points: Sequence[Deviation]) -> None:
    """A row for each check, with its name."""
    _band(axes, horizontal=True)
    for point in points:
        _whisker(axes, point.number, point, horizontal=True)
    axes.set_ylim(len(points) + 0.7, 0.3)
    axes.set_xlim(-EDGE - 0.2, EDGE + 0.2)
    axes.set_xticks(range(-2, 3))
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelsize=7.5)
    axes.set_yticks([p.number for p in points], [_short(p.verdict.check) for p in points])
    axes.set_xlabel("(measured − predicted) ÷ discrepancy")


def _columns(axes: Axes, points: Sequence[Deviation]) -> None:
    """A column for each check, with its number."""
    _band(axes, horizontal=False)
    for point in points:
        _whisker(axes, point.number, point, horizontal=False)
    axes.set_xlim(0.3, max(len(points), 4) + 0.7)
    axes.set_ylim(-EDGE - 0.2, EDGE + 0.2)
    axes.set_yticks(range(-2, 3))
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=12)
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
    for p in points:
        looks, (start, end) = _looks(p.verdict), p.verdict.interval
        place, color = p.verdict.predicted, looks["color"]
        axes.plot([place] * 2, [max(start, low / 2) if wide else start, end], color=color, linewidth=1)
        axes.plot(
            place,
            p.verdict.measured,
            looks["marker"],
            color=color,
            markerfacecolor=color if looks["filled"] else "none",
            markersize=4,
            zorder=3,
        )
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

    kinds = {
        (v.scope if v.status == "confirmed" else v.status): _looks(v)
        for v in sorted(verdicts, key=lambda v: (v.status != "confirmed", v.scope))
    }
    words = {"inside": "holds", "outside": "fails outside, as it must"}
    handles = [
        Line2D(
            [], [], linestyle="", marker=looks["marker"], color=looks["color"], markersize=5,
            markerfacecolor=looks["color"] if looks["filled"] else "none", label=words.get(kind, kind),
        )
        for kind, looks in kinds.items()
    ]  # fmt: skip
    if any(v.claimed is not None for v in verdicts):
        handles.append(
            Line2D([], [], linestyle="", marker="D", color=MUTED, markerfacecolor="none",
                   markersize=5, label="there the claim would give")
        )  # fmt: skip
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=4, handletextpad=0.2
    )


def _short(name: str) -> str:
    name = clean(name)
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
