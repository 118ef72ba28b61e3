"""All mutants, and the table of who caught them."""

from __future__ import annotations

from proofs_checks.mutants import formulas, hashes, mappings, samplers, statistics
from rpstheory.claims import all_claims
from rpstheory.report.markdown import escaped

MUTANTS = (
    *mappings.MUTANTS,
    *hashes.MUTANTS,
    *formulas.MUTANTS,
    *samplers.MUTANTS,
    *statistics.MUTANTS,
)


def to_markdown() -> str:
    """A row for each mutant, hunted now, and one for each claim's own.

    Raises:
        Survived: If a mutant is not caught.
    """
    lines = [
        "# Mutants",
        "",
        "Written by `python -m proofs_checks.mutants --markdown docs/mutants.md`; change it in "
        "`proofs_checks/mutants/`. Each is put into the toolkit for a moment, and what is named beside "
        "it must object; without the mutant it must be content (`tests/proofs/test_mutants.py`). Claims are "
        "asked on two integer vectors of 24 entries.",
        "",
        "| mutant | what is broken | caught by | what it said |",
        "| :-- | :-- | :-- | :-- |",
    ]
    for mutant in MUTANTS:
        for row, (catcher, said) in enumerate(zip(mutant.catchers, mutant.hunt(), strict=True)):
            who = (mutant.name, f"{mutant.kind}: {mutant.broken}") if row == 0 else ("", "")
            lines.append(_row(*who, catcher.name, said))
    lines += [
        "",
        "Besides, every claim brings a mutant of its own, which `rps verify --mutants` must refute, and "
        "every proof a broken twin, which `rps prove --twins` must disprove.",
        "",
        "| claim | its mutant |",
        "| :-- | :-- |",
    ]
    lines += [_row(f"{claim.number}. {claim.title}", claim.mutant) for claim in all_claims()]
    return "\n".join(lines) + "\n"


def _row(*cells: str) -> str:
    return "| " + " | ".join(escaped(cell) for cell in cells) + " |"
