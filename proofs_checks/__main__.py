"""``python -m proofs_checks``: the same as ``rps prove``."""

from __future__ import annotations

import sys

import typer

from proofs_checks.commands import prove
from rpstheory.errors import RpsError, Stopped


def main() -> None:
    """Run the survey; one clear sentence and a status in place of a traceback."""
    try:
        typer.run(prove)
    except RpsError as error:
        typer.echo(f"prove: {error}", err=True)
        sys.exit(130 if isinstance(error, Stopped) else 2)


if __name__ == "__main__":
    main()
