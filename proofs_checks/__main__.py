"""``python -m proofs_checks``: the same as ``rps prove``, also where nothing is installed."""

from __future__ import annotations

import typer

from proofs_checks.commands import prove
from rpstheory.cli import guarded

if __name__ == "__main__":
    guarded(lambda: typer.run(prove), "proofs_checks")
