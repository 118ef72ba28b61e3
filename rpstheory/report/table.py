"""Verdicts as a terminal table, at any width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rpstheory.report.formula import formula_text
from rpstheory.report.numbers import count, figure, measured_text, predicted_text
from rpstheory.report.words import (
    MARKS,
    Group,
    clean,
    counts_text,
    grouped,
    scope_text,
    summary_lines,
    tally,
    worst,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from rpstheory.claim import Claim, Verdict
    from rpstheory.report.record import Report

__all__ = ["print_report", "verdict_table"]

STYLES = {"confirmed": "green", "refuted": "bold red", "inconclusive": "yellow"}
_WIDE, _WIDEST, _NARROWEST = 112, 160, 60
_GAP = "  "
_DRAWS = 5
_TROUBLES = 12
_SHORTEST_NAMES, _SCOPE = 16, 18


@dataclass(frozen=True)
class _Column:
    """One column of the terminal table."""

    name: str
    width: int
    right: bool = False


def print_report(report: Report, claims: Sequence[Claim], console: Console) -> None:
    """Print the table and the summary; colours and width are the console's own affair.

    Args:
        report: What was found.
        claims: For titles and formulas.
        console: Where to; without a terminal it prints plain text.
    """
    console.print(verdict_table(report, claims, console.width), soft_wrap=True)


def verdict_table(report: Report, claims: Sequence[Claim], width: int = 80) -> Text:
    """Every check, grouped by claim; then a line for each claim, what was not confirmed, the summary.

    Args:
        report: What was found.
        claims: For titles and formulas.
        width: Columns of the terminal. From 112 on scope and verdict have columns of their own; below,
            a mark stands for the verdict. What fails outside says so on a line of its own.

    Returns:
        Styled text for rich; no line is longer than ``width`` (at least 60).
    """
    from rich.text import Text

    width = max(_NARROWEST, min(width, _WIDEST))
    groups = grouped(report, claims)
    lines = [_head(_columns([v for _, v in groups[0][2]] if groups else (), width), width)]
    for name, claim, numbered in groups:
        verdicts = [v for _, v in numbered]
        columns = _columns(verdicts, width)
        lines += [[Text()], _heading(name, claim, verdicts, width)]
        for v in verdicts:
            lines.append(_line(columns, _cells(v, columns)))
            lines.append(_outside_note(v, width))
    lines += [[Text()], _claims(groups, width)]
    style = STYLES[worst(report.verdicts)] if report.verdicts else ""
    first, *others = summary_lines(report)
    lines += [_troubles(report, width), wrapped(first, width, style)]
    lines += [wrapped(line, width, "dim") for line in others]
    return Text("\n").join(line for block in lines for line in block)


def _columns(verdicts: Sequence[Verdict], width: int) -> list[_Column]:
    """Figures get the room that they need, up to a point, and names what is left."""
    verdict = 1 if width < _WIDE else len("✓ inconclusive")
    names = _SHORTEST_NAMES if width < _WIDE else _SHORTEST_NAMES + _SCOPE
    room = width - verdict - _DRAWS - (4 if width < _WIDE else 5) * len(_GAP)
    predicted = max([len(predicted_text(v)) for v in verdicts] + [len("predicted")])
    predicted = min(predicted, (room - names) // 2)
    measured = max([len(measured_text(v)) for v in verdicts] + [len("measured")])
    measured = min(measured, room - names - predicted)
    rest = room - predicted - measured
    figures = [
        _Column("predicted", predicted, right=True),
        _Column("measured", measured, right=True),
        _Column("draws", _DRAWS, right=True),
    ]
    if width < _WIDE:
        return [_Column("verdict", verdict), _Column("check", rest), *figures]
    check = min(max([len(clean(v.check)) for v in verdicts] + [20]), rest - _SCOPE)
    return [_Column("check", check), _Column("scope", rest - check), *figures, _Column("verdict", verdict)]


def _head(columns: Sequence[_Column], width: int) -> list[Text]:
    from rich.text import Text

    names = {c.name: Text(c.name if c.width > 1 else "", "bold") for c in columns}
    return [*_line(columns, names), Text("─" * width, style="dim")]


def _line(columns: Sequence[_Column], cells: dict[str, Text]) -> list[Text]:
    """A row of the table: cells folded to their columns, without spaces at the end."""
    from rich.text import Text

    folded = [wrapped(cells[c.name].plain, c.width, str(cells[c.name].style)) for c in columns]
    lines = []
    for row in range(max(map(len, folded))):
        line = Text()
        for column, parts in zip(columns, folded, strict=True):
            cell = parts[row] if row < len(parts) else Text()
            room = " " * (column.width - cell.cell_len)
            line.append(_GAP if column is not columns[0] else "")
            line.append_text(Text(room) + cell if column.right else cell + Text(room))
        line.rstrip()
        lines.append(line)
    return lines


def _cells(v: Verdict, columns: Sequence[_Column]) -> dict[str, Text]:
    from rich.text import Text

    room = {c.name: c.width for c in columns}
    scope = scope_text(v)
    if len(scope) > room.get("scope", 0):
        scope = scope.partition(":")[0]
    return {
        "check": Text(clean(v.check)),
        "scope": Text(scope, style="dim"),
        "predicted": Text(predicted_text(v)),
        "measured": Text(measured_text(v)),
        "draws": Text(count(v.draws), style="dim"),
        "verdict": Text(f"{MARKS[v.status]} {v.status}"[: room["verdict"]].strip(), STYLES[v.status]),
    }


def _heading(name: str, claim: Claim | None, verdicts: Sequence[Verdict], width: int) -> list[Text]:
    """Number, title and counts on one line where they fit, the formula below."""
    from rich.text import Text

    title = wrapped(f"{claim.number}. {claim.title}" if claim else clean(name), width, "bold")
    counts = Text(counts_text(verdicts), style=STYLES[worst(verdicts)])
    room = width - title[-1].cell_len - counts.cell_len
    if room > 1:
        title[-1].append(" " * room).append_text(counts)
    else:
        title.append(Text("    ") + counts)
    formula = wrapped(formula_text(claim.formula), width - 4, "cyan") if claim else []
    return title + [Text("    ") + line for line in formula]


def _outside_note(verdict: Verdict, width: int) -> list[Text]:
    """Under a required failure: why it fails, and what the claim would give."""
    from rich.text import Text

    if verdict.scope == "inside":
        return []
    note = scope_text(verdict)
    if verdict.claimed is not None:
        note += f"; the claim would give {figure(verdict.claimed, 5)}"
    return [Text("     ") + line for line in wrapped(note, width - 5, "dim")]


def _claims(groups: Sequence[Group], width: int) -> list[Text]:
    """A line for each claim, if there are several."""
    from rich.text import Text

    if len(groups) < 2:
        return []
    columns = [
        _Column("verdict", 1),
        _Column("claim", width - 1 - 9 - 13 - _DRAWS - 4 * len(_GAP)),
        _Column("holds", 9, right=True),
        _Column("fails outside", 13, right=True),
        _Column("draws", _DRAWS, right=True),
    ]
    lines = _head(columns, width)
    for name, claim, numbered in groups:
        verdicts = [v for _, v in numbered]
        status = worst(verdicts)
        row = {
            "verdict": Text(MARKS[status], STYLES[status]),
            "claim": Text(f"{claim.number}. {claim.title}" if claim else clean(name)),
            "holds": Text(tally(verdicts, "inside")),
            "fails outside": Text(tally(verdicts, "outside")),
            "draws": Text(count(sum(v.draws for v in verdicts)), style="dim"),
        }
        lines += _line(columns, row)
    return [*lines, Text()]


def _troubles(report: Report, width: int) -> list[Text]:
    """What was not confirmed, once more, where it is seen."""
    from rich.text import Text

    found = [v for v in report.verdicts if v.status != "confirmed"]
    if not found:
        return []
    lines = []
    for v in found[:_TROUBLES]:
        text = (
            f"{v.status}: {v.claim}, {clean(v.check)}: measured {measured_text(v)}, "
            f"predicted {predicted_text(v)}"
        )
        lines += wrapped(text, width, STYLES[v.status])
    if len(found) > _TROUBLES:
        lines.append(Text(f"and {len(found) - _TROUBLES} more"))
    return [*lines, Text()]


def wrapped(line: str, width: int, style: str) -> list[Text]:
    """``line`` folded at spaces; a longer word is cut."""
    from rich.cells import cell_len, chop_cells
    from rich.text import Text

    lines = [""]
    for word in line.split():
        for piece in chop_cells(word, width):
            joined = f"{lines[-1]} {piece}" if lines[-1] else piece
            if cell_len(joined) <= width:
                lines[-1] = joined
            else:
                lines.append(piece)
    return [Text(text, style=style) for text in lines]
