"""What practice found as one HTML page that works offline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpstheory.report.formula import formula_html
from rpstheory.report.html import checks_table, document, esc, facts, plate_html
from rpstheory.report.words import Group, grouped, prose, summary_lines

if TYPE_CHECKING:
    from nn.practice.practising import Practice
    from rpstheory.report.gallery import Plate


def to_html(found: Practice) -> str:
    """One self-contained page: a section for each claim with its checks and figures.

    Args:
        found: What was predicted, measured and drawn.

    Returns:
        HTML that refers to nothing outside itself.
    """
    groups = grouped(found.report, found.claims)
    summary = "".join(f"<p>{esc(line)}</p>" for line in summary_lines(found.report))
    sections = "\n".join(_section(group, found.plates.get(group[0], [])) for group in groups)
    title = "Theory beside practice"
    return document(
        title,
        f'<div class="sheet"><main>\n<section class="first"><h1>{title}</h1>\n{summary}</section>\n'
        f"{sections}\n</main></div>",
    )


def _section(group: Group, plates: list[Plate]) -> str:
    name, claim, numbered = group
    if claim is None:
        return checks_table(numbered)
    assumptions = "".join(f"<li>{prose(each)}</li>" for each in claim.assumptions)
    remarks = [("Remarks", prose(claim.remarks))] if claim.remarks else []
    return "\n".join(
        [
            f'<section><h2><span class="number">{claim.number}</span>{esc(claim.title)}</h2>',
            f"<p>{prose(claim.statement)}</p>",
            formula_html(claim.formula),
            facts(
                ("Assumes", f"<ul>{assumptions}</ul>"),
                *remarks,
                ("Mutant", f"{prose(claim.mutant)} (the checks must refute it)"),
                ("Source", prose(claim.source)),
            ),
            *map(plate_html, plates),
            checks_table(numbered),
            "</section>",
        ]
    )
