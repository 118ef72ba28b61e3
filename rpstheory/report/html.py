"""Pieces of the page: escaped text, tables, lists of facts, figures."""

from __future__ import annotations

import html
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from rpstheory.report.figures.style import DARK
from rpstheory.report.figures.svg import VARIABLES, inline_svg
from rpstheory.report.numbers import count, figure, measured_text, predicted_text
from rpstheory.report.words import MARKS, clean, counts_text, prose

if TYPE_CHECKING:
    from rpstheory.claim import Verdict
    from rpstheory.report.gallery import Plate


def esc(text: str) -> str:
    """Any text, safe in HTML, in attributes too."""
    return html.escape(clean(text))


def cells(*columns: tuple[str, str], row: str = "") -> str:
    """A row of a table.

    Args:
        columns: (class, HTML) of each cell; the class "head" makes it the head of the row.
        row: Class of the row.
    """
    parts = []
    for kind, content in columns:
        if kind == "head":
            parts.append(f'<th scope="row">{content}</th>')
        else:
            parts.append(f'<td class="{kind}">{content}</td>' if kind else f"<td>{content}</td>")
    return f'<tr class="{row}">{"".join(parts)}</tr>' if row else f"<tr>{''.join(parts)}</tr>"


def table(caption: str, head: Sequence[tuple[str, str]], rows: Sequence[str]) -> str:
    """A table that scrolls by itself where the page is narrow.

    Args:
        caption: What it holds, plain text.
        head: (class, words) of each column.
        rows: Made by :func:`cells`.
    """
    columns = "".join(
        f'<th scope="col" class="{kind}">{words}</th>' if kind else f'<th scope="col">{words}</th>'
        for kind, words in head
    )
    body = "\n".join(rows)
    return (
        f'<div class="wide" tabindex="0" role="group" aria-label="{esc(caption)}"><table>'
        f"<caption>{prose(caption)}</caption><thead><tr>{columns}</tr></thead>\n"
        f"<tbody>{body}</tbody></table></div>"
    )


def checks_table(numbered: Sequence[tuple[int, Verdict]]) -> str:
    """A row for each check of a claim; what all that hold have in common is said once, above."""
    verdicts = [v for _, v in numbered]
    conditions = {v.condition for v in verdicts if v.scope == "inside"}
    common = conditions.pop() if len(conditions) == 1 else ""
    caption = counts_text(verdicts) + (f"; {common}" if common else "")
    head = (("n", "#"), ("", "Check"), ("n", "Predicted"), ("n", "Measured"), ("n", "Draws"),
            ("", "Verdict"))  # fmt: skip
    rows = []
    for number, v in numbered:
        note = "" if v.scope == "inside" and common else _note(v)
        rows.append(
            cells(
                ("n muted", str(number)),
                ("head", prose(v.check) + (f'<span class="note">{note}</span>' if note else "")),
                ("n", predicted_text(v)),
                ("n", measured_text(v)),
                ("n", count(v.draws)),
                (f"status {v.status}", f"{MARKS[v.status]} {v.status}"),
                row=alarm(v.status),
            )
        )
    return table(caption, head, rows)


def alarm(status: str) -> str:
    """Class of a row that must not be overlooked."""
    return "" if status == "confirmed" else status


def facts(*pairs: tuple[str, str]) -> str:
    """A list of names and their HTML."""
    return '<dl class="facts">' + "".join(f"<dt>{esc(n)}</dt><dd>{v}</dd>" for n, v in pairs) + "</dl>"


def plate_html(plate: Plate) -> str:
    """A figure with its caption."""
    svg = inline_svg(plate.figure, plate.name, plate.title, plate.description)
    return f'<figure id="{plate.name}">{svg}<figcaption>{esc(plate.caption)}</figcaption></figure>'


def figure_variables() -> str:
    """CSS that gives the figures' colours their values in light, in dark and on paper."""
    light = "".join(f"{variable}:{color};" for color, variable in VARIABLES.items())
    dark = "".join(f"{variable}:{DARK[color]};" for color, variable in VARIABLES.items())
    return (
        f":root{{{light}}}\n@media (prefers-color-scheme: dark){{:root{{{dark}}}}}\n"
        f"@media print{{:root{{{light}}}}}\n"
    )


def _note(v: Verdict) -> str:
    if v.scope == "inside":
        return prose(v.condition)
    note = f'<span class="outside">fails outside</span>: {prose(v.condition)}'
    return note if v.claimed is None else f"{note}; the claim would give {figure(v.claimed, 5)}"


def document(title: str, body: str) -> str:
    """A whole page in the look of the house, light and dark, that refers to nothing outside itself.

    Args:
        title: As text.
        body: HTML.
    """
    css = files("rpstheory.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{esc(title)}</title>\n<style>\n{css}{figure_variables()}</style>\n</head>\n<body>\n"
        f"{body}\n</body>\n</html>\n"
    )
