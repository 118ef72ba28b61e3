"""The report of a study: one page, its figures, and its tables as CSV, Markdown and LaTeX.

A table is made once and written in every form; the page shows the same rows as the files.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from nn.patterns import one_of
from nn.study import figures
from nn.study.analysis import (
    Comparison,
    Crossover,
    Scaling,
    Setting,
    Spot,
    Study,
    Sweep,
    common,
    comparisons,
    continuity,
    crossovers,
    learned,
    states,
)
from nn.study.results import flat
from nn.study.statistics import paired
from rpstheory.errors import DataError
from rpstheory.report.figures import save
from rpstheory.report.files import write_text
from rpstheory.report.gallery import Plate
from rpstheory.report.html import cells as html_cells
from rpstheory.report.html import document, esc, plate_html
from rpstheory.report.html import table as html_table
from rpstheory.report.numbers import count, duration

if TYPE_CHECKING:
    from nn.study.analysis import Continuity

AXIS_WORDS = {"init_std": "C, standard deviation of a new bank", "rewind": "rewind step"}
PAGE = "index.html"
SHOWN = 8  # epochs in a table, at most
STATES = {"finished": "", "unfinished": "inconclusive"}  # classes of the page; others are bad news


@dataclass(frozen=True)
class Table:
    """Rows of text under a head.

    Attributes:
        name: Of its files.
        caption: What it holds.
        head: Names of the columns.
        rows: As they are read.
        words: Columns that hold words; numbers stand to the right.
    """

    name: str
    caption: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: tuple[str, ...] = ("method",)

    def to_html(self) -> str:
        """For the page."""
        kinds = ["" if name in self.words else "n" for name in self.head]
        head = [(kind, esc(name)) for kind, name in zip(kinds, self.head, strict=True)]
        body = [
            html_cells(*((kind, esc(text)) for kind, text in zip(kinds, row, strict=True)))
            for row in self.rows
        ]
        return html_table(self.caption, head, body)

    def to_markdown(self) -> str:
        """A table of GitHub's kind under its caption."""
        rule = [":--" if name in self.words else "--:" for name in self.head]
        rows = [self.head, rule, *self.rows]
        lines = ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in rows]
        return f"{self.caption}\n\n" + "\n".join(lines) + "\n"

    def to_latex(self) -> str:
        """A table with booktabs."""
        columns = "".join("l" if name in self.words else "r" for name in self.head)
        lines = [" & ".join(map(_tex, row)) + r" \\" for row in (self.head, *self.rows)]
        head = [r"\begin{table}", r"\centering", rf"\caption{{{_tex(self.caption)}}}"]
        begin = [rf"\label{{tab:{self.name}}}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
        end = [r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
        return "\n".join([*head, *begin, lines[0], r"\midrule", *lines[1:], *end])

    def to_csv(self) -> str:
        """Head and rows, as they are read."""
        return _csv([self.head, *self.rows])


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: Its heading.
        plates: Figures.
        tables: Tables.
    """

    title: str
    plates: tuple[Plate, ...]
    tables: tuple[Table, ...]


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--",
    "·": r"$\cdot$", "…": r"\dots{}", "<": "$<$", ">": "$>$", "⁻": r"$^{-}$", "×": r"$\times$",
    **{sign: f"$^{place}$" for place, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
}  # fmt: skip


def _tex(text: str) -> str:
    return "".join(_TEX.get(sign, sign) for sign in text)


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


# ------------------------------------------------------------------------------------------ words


def percent(value: float | None, half: float | None = None) -> str:
    """81.89 ± 2.10, without an interval where there is none."""
    if value is None:
        return "–"
    return f"{100 * value:.2f}" + ("" if half is None else f" ± {100 * half:.2f}")


def points(value: float, half: float | None = None) -> str:
    """A difference with its sign, in percentage points."""
    return f"{100 * value:+.2f}" + ("" if half is None else f" ± {100 * half:.2f}")


def _ended(spot: Spot | None) -> str:
    """What a spot came to, with what became of the seeds that are missing."""
    if spot is None:
        return ""
    shown = percent(spot.mean, spot.half) if spot.mean is not None else ""
    return " ".join(filter(None, (shown, f"({spot.troubles})" if spot.troubles else ""))) or "–"


def _p(value: float | None) -> str:
    return "–" if value is None else "<0.0001" if value < 1e-4 else f"{value:.4f}"


def _slug(text: str) -> str:
    kept = "".join(c if c.isalnum() and c.isascii() else "-" for c in text)
    return "-".join(filter(None, kept.split("-"))).lower()


# --------------------------------------------------------------------------------------- sections


def sections(study: Study, against: str | None = None) -> list[Section]:
    """Every part of the report that the trials give something for.

    Args:
        study: What was found.
        against: The line, or the method, that others are tested against; :attr:`Setting.reference` if None.

    Raises:
        ArgumentError: If there is no such line in any setting.
    """
    if against is not None:
        labels = [label for setting in study.settings for label in setting.lines]
        methods = [trial.method for trial in study.trials]
        one_of("study", "--against", against, dict.fromkeys(labels + methods))
    found = [_setting(setting, against) for setting in study.settings]
    found += _continuities(study.settings)
    for axis in AXIS_WORDS:
        own = [each for each in study.sweeps if each.axis == axis]
        found += [
            _sweeps(axis, [s for s in own if s.title == title])
            for title in dict.fromkeys(s.title for s in own)
        ]
    for title in dict.fromkeys(each.title for each in study.scalings):
        found.append(_scalings([each for each in study.scalings if each.title == title]))
    return [*found, *_troubles(study)]


def _setting(setting: Setting, against: str | None) -> Section:
    slug = _slug(setting.title)
    references, crossed = setting.references(against), crossovers(setting)
    plates = []
    if len(setting.compressions) > 1:
        plates.append(
            Plate(
                f"pareto-{slug}",
                f"Accuracy against what is stored: {setting.title}",
                "Means over seeds; an interval is the 95 % interval of Student's t, over seeds only: all "
                "have the same test images. A point without one is a single seed. Where there are intervals, "
                "those of one budget are spread sideways a little. A cross at the foot: a seed without a "
                "result. A ring: layers of which nothing was left. The dotted line is dense.",
                described(setting),
                figures.pareto(setting),
            )
        )
    tables = [_means(setting, slug)]
    if crossed:
        tables.append(_crossovers(crossed, slug))
    for label in references:
        if compared := comparisons(setting, label):
            own = f"{slug}-{_slug(label)}" if len(references) > 1 else slug
            tables.append(_comparisons(compared, own))
    tables.append(_budgets(setting, slug))
    return Section(setting.title, tuple(plates), tuple(tables))


def described(setting: Setting) -> str:
    """Its accuracies in words, for who does not see the figure."""
    parts = [
        f"{spot.label} at {spot.compression:.4g}x: {_ended(spot)}"
        for spots in setting.lines.values()
        for spot in spots
    ]
    return f"Test accuracy in per cent, {setting.title}. {'; '.join(parts)}."


def _means(setting: Setting, slug: str) -> Table:
    head = ("method", "lr", *(f"{c:.4g}x" for c in setting.compressions))
    rows = [
        (label, f"{setting.rate(label):g}", *(_ended(setting.spot(label, c)) for c in setting.compressions))
        for label in setting.lines
    ]
    caption = f"Test accuracy in per cent at the end, {setting.title}: mean over {_seeds(setting)}"
    return Table(f"accuracy-{slug}", caption, head, rows)


def _seeds(setting: Setting) -> str:
    counts = sorted({len(spot.trials) for spots in setting.lines.values() for spot in spots})
    if counts == [1]:
        return "one seed, without interval"
    return f"{counts[0]} to {counts[-1]} seeds" if len(counts) > 1 else f"{counts[0]} seeds"


def _budgets(setting: Setting, slug: str) -> Table:
    rows = []
    for label, spots in setting.lines.items():
        for spot in spots:
            params, size = spot.cost("params"), spot.cost("bytes")
            seconds = [trial.seconds for trial in spot.trials if trial.over]
            shown = [("–" if value is None else f"{value:,.0f}") for value in (params, size)]
            time = duration(fmean(seconds)) if seconds else "–"
            rows.append((label, f"{spot.compression:.4g}x", *shown, time))
    head = ("method", "n/m", "parameters", "bytes", "time of a run")
    return Table(f"budgets-{slug}", f"What is stored, by nn.budget, {setting.title}", head, rows)


def _crossovers(found: Sequence[Crossover], slug: str) -> Table:
    words = {"params": "parameters", "bytes": "bytes"}
    rows = [
        (
            each.below, each.above, words[each.cost], count(each.crossing.cost), _between(each),
            str(each.crossing.seeds),
        )
        for each in found
    ]  # fmt: skip
    caption = (
        "Where one method overtakes another: on lines between the budgets that were run, over log cost, with "
        "Fieller's 95 % interval over the seeds that all these budgets share; an end that the seeds cannot "
        "tell apart is not certain"
    )
    head = ("better below", "better above", "in", "crossing", "95 % interval", "seeds")
    return Table(f"crossovers-{slug}", caption, head, rows, ("better below", "better above", "in"))


def _between(each: Crossover) -> str:
    crossing = each.crossing
    if crossing.seeds == 1:
        return "one seed: unknown"
    if crossing.low is None and crossing.high is None:
        return "not certain on either side"
    low = "not certain" if crossing.low is None else count(crossing.low)
    high = "not certain" if crossing.high is None else count(crossing.high)
    return f"{low} … {high}"


def _comparisons(found: Sequence[Comparison], slug: str) -> Table:
    rows = [(each.label, f"{each.compression:.4g}x", *_tested(each)) for each in found]
    caption = (
        f"Against {found[0].against} at equal budget: difference in percentage points, seed by seed; paired "
        "t test, and p after Holm's correction for all tests of this table"
    )
    return Table(f"tests-{slug}", caption, ("method", "n/m", *TESTED), rows, ("method", TESTED[-1]))


TESTED = ("seeds", "difference", "p", "p, Holm", "at 5 %")


def _tested(each: Comparison) -> tuple[str, ...]:
    """Columns of a test."""
    if each.paired is None:
        return "–", "–", "–", "–", each.remark
    shown = points(each.paired.difference, each.paired.half)
    remark = "one seed: no test" if each.paired.p is None else _verdict(each)
    return str(each.paired.seeds), shown, _p(each.paired.p), _p(each.adjusted), remark


def _verdict(each: Comparison) -> str:
    if each.adjusted is None or each.paired is None or each.adjusted >= 0.05:
        return "no difference shown"
    return "better" if each.paired.difference > 0 else "worse"


def _continuities(settings: Sequence[Setting]) -> list[Section]:
    found = []
    for setting in settings:
        own = continuity(setting)
        if own:
            found.append(_continuity(setting.title, own))
    return found


def _continuity(title: str, own: list[Continuity]) -> Section:
    slug = _slug(title)
    several = len({each.dense.label for each in own}) > 1
    which = "the dense model of its rate, or else the best" if several else "the dense model"
    rows = [(each.spot.label, _ended(each.spot), _ended(each.dense), *_tested(each.test)) for each in own]
    table = Table(
        f"continuity-{slug}",
        f"At 1x beside {which}, {title}: test accuracy in per cent, and its difference in percentage "
        "points, seed by seed; paired t test, and p after Holm's correction for all tests of this table",
        ("method", "at 1x", "dense", *TESTED),
        rows,
        ("method", TESTED[-1]),
    )
    plate = Plate(
        f"continuity-{slug}",
        f"Pareto-continuity: {title}",
        "A method that is Pareto-continuous gives the dense accuracy where nothing is compressed. Mean "
        "differences seed by seed with 95 % intervals, over seeds only; a point without one is a single "
        "seed, or seeds that all differ by the same. Left out where a seed has no result.",
        "; ".join(f"{row[0]}: {row[4]}" for row in rows),
        figures.continuity(own),
    )
    plates = (plate,) if any(each.test.paired for each in own) else ()
    return Section(f"Without compression: {title}", plates, (table,))


def _sweeps(axis: str, found: list[Sweep]) -> Section:
    title, slug = found[0].title, _slug(f"{axis} {found[0].title}")
    values = sorted({value for each in found for value in each.spots})
    rows = [(each.label, *(_ended(each.spots.get(value)) for value in values)) for each in found]
    tables = [
        Table(
            f"{slug}",
            f"Test accuracy in per cent at the end by {AXIS_WORDS[axis]}",
            ("method", *(f"{value:g}" for value in values)),
            rows,
        )
    ]
    curves = _convergence(found, slug)
    plate = Plate(
        slug,
        f"{AXIS_WORDS[axis]}: {title}",
        "Left: accuracy at the end; a cross at the foot marks a seed without a result, as where training "
        "diverged. Right: how each line learns at the value that was best at the end. Means over seeds "
        "with 95 % intervals, over seeds only; none: a single seed.",
        "; ".join(f"{row[0]}: {', '.join(row[1:])}" for row in rows),
        figures.sweep(found, AXIS_WORDS[axis]),
    )
    return Section(f"{axis}: {title}", (plate,), (*tables, *curves))


def _convergence(found: Sequence[Sweep], slug: str) -> list[Table]:
    """How fast every line learns at its own best value, beside the first line."""
    own = [(each, learned(each.spots[each.best])) for each in found if each.best is not None]
    own = [(each, curves) for each, curves in own if curves]
    if len(own) < 2:
        return []
    epochs = common(curve for _, curves in own for curve in curves.values())
    if not epochs:
        return []
    means = [{seed: fmean(curve[e] for e in epochs) for seed, curve in curves.items()} for _, curves in own]
    rows, ends = [], min(len(epochs), SHOWN) - 1
    shown = [epochs[round(k * (len(epochs) - 1) / max(1, ends))] for k in range(ends + 1)]
    for (each, curves), mean in zip(own, means, strict=True):
        by_epoch = [percent(fmean(curve[epoch] for curve in curves.values())) for epoch in shown]
        beside = paired(mean, means[0]) if mean is not means[0] else None
        slower = "–" if beside is None else points(beside.difference, beside.half)
        rows.append((f"{each.label}, {each.axis} = {each.best:g}", *by_epoch, slower))
    caption = (
        "Test accuracy in per cent after some epochs, each line at its own best value; at last its mean over "
        f"the epochs that all lines have, minus that of {own[0][0].label}, percentage points: below 0 it "
        "learns more slowly"
    )
    head = ("method", *(f"epoch {epoch}" for epoch in shown), "over common epochs")
    return [Table(f"convergence-{slug}", caption, head, rows)]


def _scalings(found: list[Scaling]) -> Section:
    title, slug = found[0].title, _slug(f"scaling {found[0].title}")
    sizes = sorted({n for each in found for n in each.spots})
    rows = [(each.label, *(_ended(each.spots.get(n)) for n in sizes)) for each in found]
    head = ("method", *(f"n = {n:,}" for n in sizes))
    table = Table(slug, "Test accuracy in per cent at equal cells, by the model's weights", head, rows)
    plate = Plate(
        slug,
        f"Larger models at equal cells: {title}",
        "Every point of a line stores the same number m of compressible weights; to the right they stand for "
        "more. Means over seeds with 95 % intervals, over seeds only; none: a single seed.",
        "; ".join(f"{row[0]}: {', '.join(row[1:])}" for row in rows),
        figures.scaling(found),
    )
    return Section(f"Larger models at equal cells: {title}", (plate,), (table,))


def _troubles(study: Study) -> list[Section]:
    rows = []
    for trial in study.trials:
        remark = trial.remark or ", ".join(trial.collapsed)
        if not trial.over or trial.collapsed:
            status = "collapsed" if trial.over else trial.status
            options = " ".join(f"{name}={value}" for name, value in trial.options)
            what = " ".join(filter(None, (trial.data, trial.model, trial.method, options)))
            rows.append((what, f"{trial.compression:.4g}x", str(trial.seed), status, remark))
    if not rows:
        return []
    head = ("run", "n/m", "seed", "status", "why, or the layers of which nothing is left")
    caption = "Runs that diverged, failed, collapsed or are not over"
    table = Table("troubles", caption, head, rows, ("run", "status", head[-1]))
    return [Section("What went wrong", (), (table,))]


# ------------------------------------------------------------------------------------------ files


def write(study: Study, folder: Path, title: str, against: str | None = None) -> Path:
    """Every file of the report.

    Args:
        study: What was found.
        folder: Made if it is not there.
        title: Of the page.
        against: Label or method of what to test others against; None: stable-rps, or the first line.

    Returns:
        The page.

    Raises:
        ArgumentError: If there is no line to test against of that name.
        DataError: If a file cannot be written.
    """
    found = sections(study, against)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"study: {folder} cannot be made ({error.strerror}); pass another --out") from None
    for plate in (plate for section in found for plate in section.plates):
        for suffix in (".png", ".svg"):
            save(plate.figure, folder / f"{plate.name}{suffix}")
    tables = [table for section in found for table in section.tables]
    for table in tables:
        write_text(folder / f"{table.name}.csv", table.to_csv(), "study")
    rows = [flat(trial) for trial in study.trials]
    write_text(folder / "runs.csv", _csv([list(rows[0]), *(list(row.values()) for row in rows)]), "study")
    write_text(folder / "tables.md", _joined(found, lambda table: table.to_markdown()), "study")
    write_text(folder / "tables.tex", "\n".join(table.to_latex() for table in tables), "study")
    write_text(folder / PAGE, to_html(study, found, title), "study")
    return folder / PAGE


def _joined(found: Sequence[Section], text: Callable[[Table], str]) -> str:
    parts = [f"## {section.title}\n\n" + "\n".join(map(text, section.tables)) for section in found]
    return "\n".join(parts)


def to_html(study: Study, found: Sequence[Section], title: str) -> str:
    """One page that refers to nothing outside itself."""
    links = "".join(
        f'<li><a href="#part-{place}">{esc(section.title)}</a></li>' for place, section in enumerate(found)
    )
    body = "\n".join(_section(place, section) for place, section in enumerate(found))
    inside = (
        '<a class="skip" href="#summary">Skip to the summary</a>\n<div class="sheet">\n'
        f'<nav aria-label="Contents"><h2>Contents</h2><ul>{links}</ul></nav>\n<main>\n'
        f"{_summary(study, title)}\n{body}\n</main>\n</div>"
    )
    return document(title, inside)


def _summary(study: Study, title: str) -> str:
    seconds = sum(trial.seconds for trial in study.trials)
    boxes = "".join(
        f'<div><dt>{esc(state)}</dt><dd class="{STATES.get(state, "refuted")}">{number}</dd></div>'
        for state, number in states(study.trials).items()
    )
    seeds = len({trial.seed for trial in study.trials})
    methods = len({trial.method for trial in study.trials})
    return (
        f'<section class="first" id="summary"><h1>{esc(title)}</h1>\n'
        f'<p class="lead">{len(study.trials)} runs of {methods} methods, {seeds} '
        f"{'seed' if seeds == 1 else 'seeds'}, {duration(seconds)} of training.</p>\n"
        f'<dl class="tally">{boxes}</dl></section>'
    )


def _section(place: int, section: Section) -> str:
    plates = "\n".join(map(plate_html, section.plates))
    tables = "\n".join(table.to_html() for table in section.tables)
    return f'<section id="part-{place}"><h2>{esc(section.title)}</h2>\n{plates}{tables}\n</section>'
