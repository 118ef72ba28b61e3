"""Findings as a terminal table, as JSON and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from proofs_checks.survey import Finding

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from rpstheory.claim import Claim
    from rpstheory.report.record import Environment

SCHEMA = "proofs_checks.survey/1"
WIDE = 100


@dataclass(frozen=True)
class Survey:
    """What one survey found.

    Attributes:
        findings: One per check, by claim.
        level: quick, standard or deep.
        twins: Whether the broken twins were run in place of the checks.
        environment: What it ran on.
        started: ISO 8601, UTC.
        seconds: Wall-clock time.
        schema: Name and version of the JSON layout.
    """

    findings: tuple[Finding, ...]
    level: str
    twins: bool
    environment: Environment
    started: str
    seconds: float
    schema: str = SCHEMA

    @property
    def summary(self) -> str:
        """One line of counts."""
        settled, work = sum(f.settled for f in self.findings), sum(f.seconds for f in self.findings)
        outside = sum(f.settled and f.scope == "fails outside" for f in self.findings)
        word = "twins disproved, as they must be" if self.twins else "shown"
        failures = "" if self.twins else f", {outside} of them failures outside a claim's scope"
        level = "" if self.twins else f"level {self.level}, "
        return (
            f"{settled} of {len(self.findings)} {word}{failures}; "
            f"{level}{self.seconds:.0f} s ({work:.0f} s of work)"
        )


def print_findings(survey: Survey, console: Console) -> None:
    """Print the table, what was not settled, and the counts."""
    from rich.table import Table
    from rich.text import Text

    wide = console.width >= WIDE
    for claim, findings in by_claim(survey.findings):
        title = Text(f"\n{claim.number}. {claim.title}", style="bold")
        console.print(title, soft_wrap=True)
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, expand=True, pad_edge=False)
        table.add_column(width=1)
        table.add_column(ratio=5, overflow="fold")
        if wide:
            table.add_column(ratio=4, style="dim", overflow="fold")
        table.add_column(width=11, style="cyan")
        table.add_column(justify="right", width=7, style="dim")
        for f in findings:
            table.add_row(*_row(f, wide))
        console.print(table)
    console.print()
    for f in survey.findings:
        if not f.settled:
            console.print(Text(f"not shown: claim {f.claim}, {f.name}: {f.domain}", style="bold red"))
    settled = all(f.settled for f in survey.findings)
    console.print(Text(survey.summary, style="green" if settled else "bold red"))


def to_json(survey: Survey) -> str:
    """Strictly valid JSON, one finding a line. Source: docs/report-schema.md."""
    record = asdict(survey)
    findings = ",\n  ".join(json.dumps(f, ensure_ascii=False) for f in record.pop("findings"))
    head = [f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in record.items()]
    body = f"[\n  {findings}\n ]" if findings else "[]"
    return "{\n" + ",\n".join([*head, f' "findings": {body}']) + "\n}\n"


def to_markdown(survey: Survey) -> str:
    """A section for each claim and a row for each check, without what differs from run to run."""
    from rpstheory.report.markdown import escaped

    lines = [
        "# The proofs",
        "",
        "Written by `rps prove --markdown` from `proofs_checks/`; change it there. Symbols: "
        "[notation.md](notation.md). The statements themselves, and their experiments: "
        "[claims.md](claims.md). Every check has a broken twin, which `rps prove --twins` must disprove.",
        "",
        "| method | what it settles |",
        "| :-- | :-- |",
        "| enumeration | every draw at the sizes given; where coefficients are compared, for all vectors |",
        "| symbolic | an identity in symbols, for the range that its domain names |",
        "| smt | an inequality over all real numbers at a fixed size |",
        "| exhaustive | every case in the range given |",
        "| agreement | that the formula in `rpstheory` is the enumerated one |",
    ]
    for claim, findings in by_claim(survey.findings):
        lines += ["", f"## {claim.number}. {escaped(claim.title)}", ""]
        lines += ["| | statement | method | covered |", "| :-- | :-- | :-- | :-- |"]
        for f in findings:
            cells = (_mark(f), f.statement, f.method, f.domain)
            lines.append("| " + " | ".join(escaped(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def by_claim(findings: Sequence[Finding]) -> Iterator[tuple[Claim, list[Finding]]]:
    """Findings grouped by their claim, in order."""
    from rpstheory.claims import select

    for number, group in groupby(findings, key=lambda f: f.claim):
        yield select(str(number))[0], list(group)


def _mark(f: Finding) -> str:
    return ("✓" if f.scope == "holds" else "✓ fails") if f.settled else "✗"


def _row(f: Finding, wide: bool) -> list[Text]:
    from rich.text import Text

    mark = Text("✓" if f.settled else "✗", style="green" if f.settled else "bold red")
    what, domain = Text(f"{f.name}: {f.statement}"), Text(f.domain, style="dim")
    cells = [mark, what, domain] if wide else [mark, what.append("\n").append_text(domain)]
    return [*cells, Text(f.method), Text(f"{f.seconds:.2f} s")]
