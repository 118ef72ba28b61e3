"""``python -m proofs_checks.mutants [--markdown FILE]``: hunt every mutant, print or write the table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from proofs_checks.mutants.mutant import Survived
from proofs_checks.mutants.registry import to_markdown
from rpstheory.errors import RpsError
from rpstheory.report.files import check_writable, write_text


def hunt(
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Write the table here.")] = None,
) -> None:
    """Hunt every mutant and say who caught it. Exit status: 0 all caught, 1 one survived, 2 bad usage."""
    if markdown is not None:
        check_writable(markdown, "mutants")
    text = to_markdown()
    if markdown is None:
        typer.echo(text, nl=False)
    else:
        write_text(markdown, text, "mutants")


def main() -> None:
    """Run the hunt; one clear sentence and a status in place of a traceback."""
    try:
        typer.run(hunt)
    except Survived as survivor:
        typer.echo(f"survived: {survivor}", err=True)
        sys.exit(1)
    except RpsError as error:
        typer.echo(f"mutants: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
