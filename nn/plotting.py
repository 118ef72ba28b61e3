"""Figures of runs: how they learned, and what accuracy they came to for what they store.

Runs of one data set, model and recipe make one figure. Its learning curves and its points are means over
seeds; a point of several seeds has the 95 % interval of Student's t, one of a single seed has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import isclose, sqrt
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from nn.records import COLUMNS, Record, Row, cells
from rpstheory.errors import DataError
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
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

LEVEL = 0.95
DENSE = "dense"
COLORS, MARKERS = (BLUE, ORANGE, GREEN, PURPLE, GOLD, RED), ("o", "s", "^", "D", "v", "P", "X")
WIDTH, HEIGHT = 9.2, 6.6  # inches of a study


@dataclass(frozen=True)
class Point:
    """Runs that differ by their seed only.

    Attributes:
        compression: Asked for.
        params: Stored, the mean.
        bytes: Likewise.
        accuracy: The mean.
        half: Half the interval; None of a single seed.
        seeds: How many.
    """

    compression: float
    params: float
    bytes: float
    accuracy: float
    half: float | None
    seeds: int


@dataclass
class Line:
    """A method with its options.

    Attributes:
        method: Its name.
        label: What is written.
        points: By compression.
        curves: Accuracy after each epoch of the last round, by compression.
    """

    method: str
    label: str
    points: list[Point] = field(default_factory=list)
    curves: dict[float, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """Runs of one data set, model and recipe.

    Attributes:
        title: Which.
        lines: One for each method and its options; dense first.
    """

    title: str
    lines: tuple[Line, ...]

    @property
    def compressions(self) -> list[float]:
        """Of all lines but the dense one; its own where there is no other."""
        found = {c for line in self.lines if line.method != DENSE for c in line.curves}
        return sorted(found or {c for line in self.lines for c in line.curves})


def studies(records: Iterable[Record]) -> list[Study]:
    """What there is to draw; runs whose recipes differ by more than the rate are never put together.

    Raises:
        DataError: If no run has ended an epoch.
    """
    whole: dict[tuple[str, str], dict[tuple[Any, ...], list[Record]]] = {}
    for record in records:
        if record.rows:
            row = record.to_row()
            recipe = f"recipe {row['recipe']}, {row['epochs']} epochs"
            title = " · ".join((COLUMNS[1].text(row), row["model"], recipe))
            rest = repr(sorted((record.configuration["recipe"] | {"lr": None}).items()))
            key = (row["method"] != DENSE, row["method"], row["options"], row["lr"])
            whole.setdefault((title, rest), {}).setdefault(key, []).append(record)
    if not whole:
        raise DataError("plot: no run has ended an epoch; wait for one, or pass another folder")
    return [Study(title, tuple(_lines(groups))) for (title, _), groups in sorted(whole.items())]


def _lines(groups: dict[tuple[Any, ...], list[Record]]) -> Iterable[Line]:
    for key in sorted(groups):
        _, method, options, lr = key
        alike = [other for other in groups if other[1] == method]
        rate = f"lr {lr:g}" if len({other[3] for other in alike}) > 1 else ""
        line = Line(method, " ".join(filter(None, (method, options, rate))))
        by_compression: dict[float, list[Record]] = {}
        for record in groups[key]:
            by_compression.setdefault(record.configuration["compression"], []).append(record)
        for compression, runs in sorted(by_compression.items()):
            line.curves[compression] = _curve(runs)
            line.points += _point(compression, [run.to_row() for run in runs])
        yield line


def _curve(runs: Sequence[Record]) -> list[float]:
    """The mean over those that have come farthest."""
    own = [
        [row["test_accuracy"] for row in run.rows if row["round"] == run.rows[-1]["round"]] for run in runs
    ]
    longest = max(map(len, own))
    return [fmean(each) for each in zip(*(one for one in own if len(one) == longest), strict=True)]


def _point(compression: float, rows: list[Row]) -> list[Point]:
    """One point of all runs that are finished and say what they store; none if there is no such run."""
    known = [row for row in rows if row["status"] == "finished" and row["bytes"] is not None]
    if not known:
        return []
    accuracy = [row["accuracy"] for row in known]
    params, size = fmean(row["params"] for row in known), fmean(row["bytes"] for row in known)
    return [Point(compression, params, size, fmean(accuracy), half_interval(accuracy), len(known))]


def half_interval(values: Sequence[float]) -> float | None:
    """Half the interval that holds the mean with a chance of 95 %, if the values are normal.

    None of a single value, and of values that are all the same, which tell nothing of their scatter.
    """
    if len(values) < 2 or isclose(stdev(values), 0, abs_tol=1e-12):
        return None
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, len(values) - 1)) * stdev(values) / sqrt(len(values))


@styled
def figure(found: Sequence[Study]) -> Figure:
    """Every study below the other: learning curves by compression, and accuracy against what is stored."""
    from matplotlib.figure import Figure

    whole = Figure(figsize=(WIDTH, HEIGHT * len(found)), layout="constrained")
    parts = whole.subfigures(len(found), squeeze=False)[:, 0]
    for part, study in zip(parts, found, strict=True):
        _draw(part, study)
    return whole


def _draw(part: SubFigure, study: Study) -> None:
    from matplotlib.ticker import MaxNLocator

    part.suptitle(study.title, x=0.01, ha="left", fontsize=10.5)
    top, below = part.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.15))[:, 0]
    looks = {line.label: _look(place, line.method) for place, line in enumerate(study.lines)}
    panels = top.subplots(1, len(study.compressions), sharey=True, squeeze=False)[0]
    for axes, compression in zip(panels, study.compressions, strict=True):
        axes.set_title(f"learning at {compression:g}x")
        for line in study.lines:
            curve = line.curves.get(compression if line.method != DENSE else 1.0, [])
            axes.plot(range(1, len(curve) + 1), curve, markersize=3.5, **looks[line.label])
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(axis="y", color=RULE)
    panels[0].set_ylabel("test accuracy")
    left, right = below.subplots(1, 2, sharey=True)
    _against(left, study, looks, lambda point: point.params, "parameters stored")
    _against(right, study, looks, lambda point: point.bytes, "bytes stored, index included")
    left.set_ylabel("test accuracy at the end")
    left.set_ylim(*_range(study))
    left.set_title("means over seeds with 95 % intervals; no interval: one seed")
    handles, labels = left.get_legend_handles_labels()
    below.legend(handles, labels, loc="outside lower center", ncols=6, handlelength=2.4, columnspacing=1.4)
    for axes in (panels[0], left):
        axes.yaxis.set_major_formatter(_percent)


def _against(
    axes: Axes, study: Study, looks: dict[str, Any], cost: Callable[[Point], float], words: str
) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    from rpstheory.report.numbers import count

    for line in study.lines:
        x, y = [cost(point) for point in line.points], [point.accuracy for point in line.points]
        axes.plot(x, y, label=line.label, markersize=5, **looks[line.label])
        for point in line.points:
            if point.half is not None:
                axes.errorbar(
                    cost(point), point.accuracy, point.half, capsize=2.5, color=looks[line.label]["color"],
                    linewidth=1,
                )  # fmt: skip
            if line.method == DENSE:
                axes.axhline(point.accuracy, color=MUTED, linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="minor", length=0)
    axes.set_xlabel(words)
    axes.grid(axis="y", color=RULE)


def _look(place: int, method: str) -> dict[str, Any]:
    """Told apart without colours too: by their markers, and from the seventh on by dashes."""
    if method == DENSE:
        return {"color": INK, "marker": "*", "linestyle": ":"}
    return {
        "color": COLORS[place % len(COLORS)],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": "-" if place <= len(COLORS) else "--",
        "markerfacecolor": "none" if place > len(COLORS) else COLORS[place % len(COLORS)],
    }


def _range(study: Study) -> tuple[float | None, float | None]:
    """Room for every interval, as far as accuracies can go."""
    ends = [
        p.accuracy + sign * (p.half or 0) for line in study.lines for p in line.points for sign in (-1, 1)
    ]
    if not ends:
        return None, None
    low, high = max(0.0, min(ends)), min(1.0, max(ends))
    margin = 0.06 * (high - low) + 0.002
    return low - margin, high + margin


def _percent(value: float, _: object) -> str:
    return f"{100 * value:.4g} %"


# ------------------------------------------------------------------------------------------ page


def page(found: Sequence[Study], rows: Sequence[Row]) -> str:
    """One page with every figure and the table, that refers to nothing outside itself."""
    from rpstheory.report.figures import inline_svg
    from rpstheory.report.html import cells as html_cells
    from rpstheory.report.html import document, esc, table

    figures = "".join(
        f"<figure>{inline_svg(figure([study]), f'study-{place}', study.title, described(study))}"
        f"<figcaption>{esc(CAPTION)}</figcaption></figure>\n"
        for place, study in enumerate(found)
    )
    head = [("n" if column.right else "", esc(column.name)) for column in COLUMNS]
    body = [
        html_cells(
            *(("n" if c.right else "", esc(text)) for c, text in zip(COLUMNS, cells(row), strict=True))
        )
        for row in rows
    ]
    title = f"{len(rows)} runs"
    inside = f"<h1>{title}</h1>\n{figures}{table('Every run', head, body)}"
    return document(title, f'<div class="sheet"><main>\n{inside}\n</main></div>')


CAPTION = (
    "Means over seeds. An interval is the 95 % interval of Student's t; a point without one is a single "
    "seed. Of lottery tickets the curve is that of the last round."
)


def described(study: Study) -> str:
    """A study in words, for who does not see it."""
    parts = [
        f"{line.label} at {point.compression:g}x: {point.accuracy:.2%} "
        f"with {point.params:,.0f} parameters in {point.bytes:,.0f} bytes"
        for line in study.lines
        for point in line.points
    ]
    return f"{study.title}. {'; '.join(parts) or 'no run is finished'}."
