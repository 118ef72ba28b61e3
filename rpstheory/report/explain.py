"""A claim in full, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING

from rpstheory.report.formula import formula_text
from rpstheory.report.table import wrapped

if TYPE_CHECKING:
    from rich.text import Text

    from rpstheory.claim import Claim

_LABEL = 13


def explain(claim: Claim, width: int = 80) -> Text:
    """Statement, assumptions, formula, footing, source, mutant and remarks.

    Args:
        claim: Any claim.
        width: Columns of the terminal; lines are at most 100 wide.

    Returns:
        Styled text for rich.
    """
    from rich.text import Text

    width = max(40, min(width, 100))
    lines = [*wrapped(f"{claim.number}. {claim.title}", width, "bold"), Text(f"   {claim.name}", "dim")]
    lines += _field("Statement", [claim.statement], width)
    lines += _field("Assumptions", list(claim.assumptions), width, bullet=True)
    lines += _field("Formula", [formula_text(claim.formula)], width, "cyan")
    lines += _field("Rests on", [claim.footing], width)
    lines += _field("Source", [claim.source], width)
    lines += _field("Mutant", [f"{claim.mutant} (the checks must refute it)"], width)
    lines += _field("Remarks", [claim.remarks] if claim.remarks else [], width)
    return Text("\n").join(lines)


def explain_text(claims: Sequence[Claim], width: int = 80) -> str:
    """The same for several claims, as plain text with an empty line between them.

    Args:
        claims: Any claims.
        width: Columns, at most 100.
    """
    from rich.console import Console

    out = StringIO()
    console = Console(file=out, width=width, color_system=None)
    for place, claim in enumerate(claims):
        console.print(*([""] if place else []), explain(claim, width), sep="\n", soft_wrap=True)
    return out.getvalue()


def _field(
    name: str, texts: Sequence[str], width: int, style: str = "", *, bullet: bool = False
) -> list[Text]:
    """An empty line, then the name on the left and the folded texts beside it."""
    from rich.text import Text

    if not texts:
        return []
    mark = "• " if bullet and len(texts) > 1 else ""
    rows = []
    for text in texts:
        for number, line in enumerate(wrapped(text, width - _LABEL - len(mark), style)):
            rows.append(Text(mark if number == 0 else " " * len(mark)) + line)
    labels = [name, *[""] * (len(rows) - 1)]
    return [Text()] + [
        Text(f"{label:<{_LABEL}}", "bold") + row for label, row in zip(labels, rows, strict=True)
    ]
