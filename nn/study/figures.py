"""Figures of a study: each draws what the analysis found, and nothing that is not in its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from statistics import fmean
from typing import TYPE_CHECKING, Any

from nn.study.analysis import Continuity, Scaling, Setting, Spot, Sweep, common, learned
from nn.study.statistics import half_interval
from rpstheory.report.figures.style import (
    BLUE,
    GOLD,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    RED,
    RULE,
    styled,
    ticks_in_words,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

COLORS, MARKERS = (BLUE, ORANGE, GREEN, PURPLE, GOLD, RED), ("o", "s", "^", "D", "v", "P", "X")
WIDTH, COSTS_HIGH = 9.2, 4.6  # inches
LOW = 0.02  # of the height of a panel, where runs without a result are marked
ROOM = 0.03  # below 0 and above 1
WIDE = 8  # times the smallest value, where ticks beside 0 would lie on each other
SPREAD = 0.05  # of a decade, between the first and the last of several intervals at one place

Look = dict[str, Any]


def look(place: int) -> Look:
    """Told apart without colours too: by markers, and from the seventh on by dashes and hollow markers."""
    color = COLORS[place % len(COLORS)]
    late = place >= len(COLORS)
    return {
        "color": color, "marker": MARKERS[place % len(MARKERS)], "linestyle": "--" if late else "-",
        "markerfacecolor": "none" if late else color, "markersize": 5,
    }  # fmt: skip


def looks(setting: Setting) -> dict[str, Look]:
    """A look for each line; dense models stand apart."""
    apart: Look = {"color": INK, "linestyle": ":", "markersize": 8}
    dense = {
        label: apart | {"marker": marker}
        for label, marker in zip(setting.dense, cycle(("*", *MARKERS)), strict=False)
    }
    return {label: look(place) for place, label in enumerate(setting.compressed)} | dense


@styled
def pareto(setting: Setting) -> Figure:
    """Accuracy against parameters and against bytes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, COSTS_HIGH), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    costs(left, right, setting)
    legend(figure, left)
    return figure


def costs(left: Axes, right: Axes, setting: Setting) -> None:
    """Accuracy against parameters, and against bytes."""
    drawn = looks(setting)
    several = any(spot.half is not None for spots in setting.lines.values() for spot in spots)
    spread = SPREAD if several else 0
    for axes, cost, words in (
        (left, "params", "parameters stored"), (right, "bytes", "bytes stored, index included"),
    ):  # fmt: skip
        for place, (label, spots) in enumerate(setting.lines.items()):
            shift = 10 ** (spread * (place / max(1, len(setting.lines) - 1) - 0.5))
            points = [(x * shift, spot) for spot in spots if (x := spot.cost(cost)) is not None]
            _line(axes, label, points, drawn[label])
            if label in setting.dense and spots[0].mean is not None:
                axes.axhline(spots[0].mean, color=MUTED, linewidth=0.8, linestyle=":")
        _log_counts(axes)
        axes.set_xlabel(words)
        axes.grid(axis="y", color=RULE)
    percents(left, "test accuracy at the end")


def _line(axes: Axes, label: str, points: Sequence[tuple[float, Spot]], own: Look) -> None:
    """Means with intervals; a ring where layers collapsed, a cross at the foot where a seed is missing."""
    shown = [(x, spot) for x, spot in points if spot.mean is not None]
    axes.plot([x for x, _ in shown], [spot.mean for _, spot in shown], label=label, **own)  # type: ignore[arg-type]
    for x, spot in points:
        if spot.mean is not None and spot.half is not None:
            axes.errorbar(x, spot.mean, spot.half, capsize=2.5, color=own["color"], linewidth=1)
        if any(trial.collapsed for trial in spot.trials) and spot.mean is not None:
            ring: Look = {"marker": "o", "markersize": 11, "markerfacecolor": "none", "linestyle": "none"}
            axes.plot(x, spot.mean, color=own["color"], **ring)
        if not spot.whole:
            axes.plot(
                x, LOW, transform=axes.get_xaxis_transform(), color=own["color"], marker="x", markersize=6,
                clip_on=False, linestyle="none",
            )  # fmt: skip


@styled
def sweep(found: Sequence[Sweep], words: str) -> Figure:
    """Accuracy against the values of an option, and how the lines learn at their best value."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    values = [value for each in found for value in each.spots]
    for place, each in enumerate(found):
        _line(left, each.label, list(each.spots.items()), look(place))
        if each.best is not None:
            label = f"{each.label}, {each.axis} = {each.best:g}"
            _curve(right, label, list(learned(each.spots[each.best]).values()), look(place))
    positive = [value for value in values if value > 0]
    if min(values) > 0:
        left.set_xscale("log")
    elif positive and max(positive) >= WIDE * min(positive):
        left.set_xscale("symlog", linthresh=min(positive))
    ticks_in_words(left.xaxis, sorted(set(values)))
    left.tick_params(which="minor", length=0)
    left.set_xlabel(words)
    percents(left, "test accuracy at the end")
    legend(figure, left)
    right.set_title("each at its best value")
    right.set_xlabel("epoch")
    right.xaxis.get_major_locator().set_params(integer=True)
    percents(right, "test accuracy")
    return figure


def _curve(axes: Axes, label: str, curves: Sequence[Mapping[int, float]], own: Look) -> None:
    if not curves:
        return
    columns = {epoch: [curve[epoch] for curve in curves] for epoch in common(curves)}
    axes.plot(list(columns), [fmean(column) for column in columns.values()], label=label, **own)
    for epoch, column in columns.items():
        half = half_interval(column)
        if half is not None:
            axes.errorbar(epoch, fmean(column), half, capsize=2, color=own["color"], linewidth=0.8)


@styled
def scaling(found: Sequence[Scaling]) -> Figure:
    """Accuracy against the size of the dense model, at equal cells."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH * 0.7, 4.2), layout="constrained")
    axes = figure.subplots()
    for place, each in enumerate(found):
        _line(axes, each.label, [(float(n), spot) for n, spot in each.spots.items()], look(place))
    _log_counts(axes)
    axes.set_xlabel("compressible weights of the dense model, n")
    percents(axes, "test accuracy at the end")
    legend(figure, axes)
    return figure


@styled
def continuity(found: Sequence[Continuity]) -> Figure:
    """What each method loses at 1x, beside the dense model."""
    from matplotlib.figure import Figure

    shown = [(each.spot.label, test) for each in found if (test := each.test.paired) is not None]
    figure = Figure(figsize=(WIDTH * 0.7, 0.9 + 0.36 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for place, (_, test) in enumerate(shown):
        half = None if test.half is None else [test.half]
        axes.errorbar(test.difference, place, xerr=half, capsize=3, **_dot(look(place)))
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(shown)), [label for label, _ in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel("test accuracy at 1x minus that of the dense model, percentage points")
    axes.xaxis.set_major_formatter(_formatter(lambda value, _: f"{100 * value:.4g}"))
    axes.grid(axis="x", color=RULE)
    return figure


def _dot(own: Look) -> Look:
    return {name: own[name] for name in ("color", "marker", "markersize")} | {"linestyle": "none"}


# ------------------------------------------------------------------------------------------- axes


def _log_counts(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    from rpstheory.report.numbers import count

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(_formatter(lambda value, _: count(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="minor", length=0)


def percents(axes: Axes, words: str) -> None:
    """The upright axis in per cent."""
    axes.set_ylabel(words)
    axes.yaxis.set_major_formatter(_formatter(lambda value, _: f"{100 * value:.4g} %"))
    axes.grid(axis="y", color=RULE)
    low, high = axes.get_ylim()  # an interval may reach beyond what an accuracy can be
    axes.set_ylim(max(low, -ROOM), min(high, 1 + ROOM))


def _formatter(text: Callable[[float, Any], str]) -> Any:
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(text)


def legend(figure: Figure | SubFigure, axes: Axes) -> None:
    """One for all panels, below them."""
    handles, labels = axes.get_legend_handles_labels()
    columns = max(1, min(6, 96 // (8 + max(map(len, labels), default=8))))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, columnspacing=1.4)
