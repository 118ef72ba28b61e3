"""Figures of runs: how they learned, and what accuracy they came to for what they store.

What belongs together, and what is a mean over seeds, is for :mod:`nn.study.analysis` to say. Unlike a report
of a study this shows runs that are not over, and every value of every option as a line of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from nn.records import COLUMNS, Record, Row, cells
from nn.study.analysis import Setting, Spot, common, settings_of
from nn.study.figures import COSTS_HIGH, WIDTH, costs, legend, looks, percents
from nn.study.report import described
from nn.study.results import line_of, merged, trial_of
from rpstheory.errors import DataError
from rpstheory.report.figures.style import RULE, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

LEARNING_HIGH = 2.6  # inches
CAPTION = (
    "Means over seeds. An interval is the 95 % interval of Student's t; a point without one is a single "
    "seed. Of lottery tickets the curve is that of the last round, from the epoch that it goes back to."
)


def studies(records: Iterable[Record]) -> list[Setting]:
    """What there is to draw; runs whose recipes differ by more than the rate are never put together.

    A run that lies in several folders, as after `rps reproduce`, counts once.

    Raises:
        DataError: If no run has ended an epoch.
    """
    trials = merged([trial_of(line_of(record), record.folder)] for record in records if record.rows)
    if not trials:
        raise DataError("plot: no run has ended an epoch; wait for one, or pass another folder")
    return sorted(settings_of(trials), key=lambda setting: setting.title)


@styled
def figure(found: Sequence[Setting]) -> Figure:
    """Every setting below the other: learning curves by compression, and accuracy against what is stored."""
    from matplotlib.figure import Figure

    whole = Figure(figsize=(WIDTH, (LEARNING_HIGH + COSTS_HIGH) * len(found)), layout="constrained")
    parts = whole.subfigures(len(found), squeeze=False)[:, 0]
    for part, setting in zip(parts, found, strict=True):
        _draw(part, setting)
    return whole


def _draw(part: SubFigure, setting: Setting) -> None:
    part.suptitle(setting.title, x=0.01, ha="left", fontsize=10.5)
    top, below = part.subfigures(2, 1, squeeze=False, height_ratios=(LEARNING_HIGH, COSTS_HIGH))[:, 0]
    compressed = {spot.compression for label in setting.compressed for spot in setting.lines[label]}
    shown, drawn = sorted(compressed) or setting.compressions, looks(setting)
    panels = top.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, compression in zip(panels, shown, strict=True):
        axes.set_title(f"learning at {compression:.4g}x")
        for label in setting.lines:
            spot = setting.spot(label, 1.0 if label in setting.dense else compression)
            curve = {} if spot is None else curve_of(spot)
            axes.plot(list(curve), list(curve.values()), **drawn[label])
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(axis="y", color=RULE)
    percents(panels[0], "test accuracy")
    left, right = below.subplots(1, 2, sharey=True)
    costs(left, right, setting)
    legend(below, left)


def curve_of(spot: Spot) -> dict[int, float]:
    """Test accuracy by epoch: the mean over the runs that have come farthest."""
    curves = [{epoch: accuracy for epoch, _, accuracy in trial.curve} for trial in spot.trials]
    last = max(max(curve, default=0) for curve in curves)
    farthest = [curve for curve in curves if max(curve, default=0) == last]
    return {epoch: fmean(curve[epoch] for curve in farthest) for epoch in common(farthest)}


def page(found: Sequence[Setting], rows: Sequence[Row]) -> str:
    """One page with every figure and the table, that refers to nothing outside itself."""
    from rpstheory.report.figures import inline_svg
    from rpstheory.report.html import cells as html_cells
    from rpstheory.report.html import document, esc, table

    figures = "".join(
        f"<figure>{inline_svg(figure([each]), f'study-{place}', each.title, described(each))}"
        f"<figcaption>{esc(CAPTION)}</figcaption></figure>\n"
        for place, each in enumerate(found)
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
