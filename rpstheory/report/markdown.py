"""Verdicts and claims as Markdown, for the README and docs/claims.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rpstheory.report.calibration import calibration_markdown
from rpstheory.report.numbers import count, measured_text, predicted_text
from rpstheory.report.words import (
    MARKS,
    clean,
    counts_text,
    grouped,
    prose,
    scope_text,
    summary_lines,
    tally,
    worst,
)

if TYPE_CHECKING:
    from rpstheory.claim import Claim, Verdict
    from rpstheory.report.record import Report

_CHECKS = ("Check", "Scope", "Predicted", "Measured", "Draws", "Verdict")


def to_markdown(
    report: Report, claims: Sequence[Claim], *, checks: bool = False, limit: int | None = None
) -> str:
    """The verdicts as Markdown: a row for each claim, or for each check.

    Args:
        report: What was found.
        claims: For numbers and titles.
        checks: A row for each check, in place of one for each claim.
        limit: At most so many checks of a claim.

    Returns:
        A table and the summary below it.
    """
    groups = grouped(report, claims)
    if checks:
        rows = [
            (str(claim.number) if claim else name, *_check_row(v))
            for name, claim, verdicts in groups
            for _, v in verdicts[:limit]
        ]
        lines = _table(("Claim", *_CHECKS), "rllrrrl", rows)
    else:
        head = ("", "Claim", "Holds", "Fails outside", "Draws", "Verdict")
        rows = [_claim_row(name, claim, [v for _, v in verdicts]) for name, claim, verdicts in groups]
        lines = _table(head, "rlrrrl", rows)
    return "\n".join([*lines, "", "  \n".join(map(escaped, summary_lines(report)))]) + "\n"


def claims_markdown(
    claims: Sequence[Claim], report: Report | None = None, calibration: str | None = None
) -> str:
    """All claims as one document, with the verdicts of a run if there is one.

    Args:
        claims: In the order wanted.
        report: A run; its checks are listed under each claim.
        calibration: Record of how often verdicts are wrong; printed after the contents.

    Raises:
        DataError: If the record cannot be used.

    Returns:
        Markdown with formulas in blocks that GitHub typesets.
    """
    lines = [
        "# The claims",
        "",
        "Written by `rpstheory.report.claims_markdown` from `rpstheory/claims/`; change it there.",
        "Symbols: [notation.md](notation.md). Every claim is put to the test by `rps verify`, and so is a "
        "mutant of each, which must be refuted. What is proved, and on what domain: [proofs.md](proofs.md). "
        "What catches which mistake: [mutants.md](mutants.md).",
        "",
    ]
    if report is not None:
        lines += [*(f"- {escaped(line)}" for line in summary_lines(report)), ""]
    lines += _table(("", "Claim", "Name", "Rests on"), "rlll", [_contents(c) for c in claims], raw=True)
    if calibration is not None:
        lines += ["", *calibration_markdown(calibration)]
    found = {name: verdicts for name, _, verdicts in grouped(report, claims)} if report else {}
    for claim in claims:
        lines += ["", *_section(claim, [v for _, v in found.get(claim.name, [])])]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Plain text that Markdown shows as it is, in a table too."""
    text = clean(text).replace("&", "&amp;").replace("<", "&lt;")
    for character in "\\`*_[]|~$":
        text = text.replace(character, "\\" + character)
    return text


def _section(claim: Claim, verdicts: Sequence[Verdict]) -> list[str]:
    lines = [
        f"## {claim.number}. {escaped(claim.title)}",
        "",
        _words(claim.statement),
        "",
        "```math",
        claim.formula,
        "```",
        "",
        f"- *Rests on:* {claim.footing}",
        *(f"- *Assumes:* {_words(a)}" for a in claim.assumptions),
        f"- *Source:* {_words(claim.source)}",
        f"- *Mutant, to be refuted:* {_words(claim.mutant)}",
        f"- *Name:* `{claim.name}`",
    ]
    if claim.remarks:
        lines += ["", _words(claim.remarks)]
    if verdicts:
        lines += ["", f"<details><summary>{counts_text(verdicts).capitalize()}</summary>", ""]
        lines += [*_table(_CHECKS, "llrrrl", [_check_row(v) for v in verdicts]), "", "</details>"]
    return lines


def _contents(claim: Claim) -> tuple[str, ...]:
    title = escaped(claim.title)
    anchor = "".join(
        c for c in f"{claim.number}. {claim.title}".lower().replace(" ", "-") if c.isalnum() or c in "-_"
    )
    return str(claim.number), f"[{title}](#{anchor})", f"`{claim.name}`", claim.footing


def _words(text: str) -> str:
    """Prose with sub- and superscripts, safe in Markdown."""
    found = prose(text)
    for character in "\\`*_[]|~$":
        found = found.replace(character, "\\" + character)
    return found


def _check_row(v: Verdict) -> tuple[str, ...]:
    status = f"{MARKS[v.status]} {v.status}"
    return v.check, scope_text(v), predicted_text(v), measured_text(v), count(v.draws), status


def _claim_row(name: str, claim: Claim | None, verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    status = worst(verdicts)
    return (
        str(claim.number) if claim else "",
        claim.title if claim else name,
        tally(verdicts, "inside"),
        tally(verdicts, "outside"),
        count(sum(v.draws for v in verdicts)),
        f"{MARKS[status]} {status}",
    )


def _table(head: Sequence[str], align: str, rows: Sequence[Sequence[str]], *, raw: bool = False) -> list[str]:
    marks = {"l": ":--", "r": "--:"}
    body = [[c if raw else escaped(c) for c in row] for row in rows]
    table = [list(head), [marks[a] for a in align], *body]
    return ["| " + " | ".join(row) + " |" for row in table]
