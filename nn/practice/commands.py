"""`rps practice`: theory beside a trained network, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nn.options import Root

REFUTED, INCONCLUSIVE = 1, 3

# The parts' own names: asking them would import torch for --help.
PARTS = "preactivations, residuals, occupancy, stepping, imbalance, ranking"


def practice(
    runs: Annotated[list[Path], typer.Argument(help="Finished runs, or folders of runs.", metavar="RUN")],
    part: Annotated[
        list[str] | None, typer.Option("--part", help=f"One of {PARTS}; once for each; all when left out.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Catch 5 % instead of 2 %, on less.")] = False,
    mutants: Annotated[
        bool, typer.Option("--mutants", help="Run the wrong predictions; all must be refuted.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Names the whole experiment.")] = 0,
    root: Root = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the verdicts here.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write one page here.")] = None,
) -> None:
    """Put what theory says about a trained network beside what is measured in it.

    Exit status: 0 all confirmed, 1 something refuted (with --mutants: something not refuted), 2 bad
    usage, 3 something inconclusive.
    """
    from nn.practice.page import to_html
    from nn.practice.practising import practice as run
    from rpstheory.report import check_writable, print_report, to_json, write_text
    from rpstheory.report.console import PatientConsole, bars

    for path in (json, html):
        if path is not None:
            check_writable(path, "report")
    with bars("practice: stopped, nothing was kept; --part and --quick make a shorter run") as progress:
        found = run(runs, part or (), quick=quick, mutants=mutants, seed=seed, root=root, progress=progress)
    if json is not None:
        write_text(json, to_json(found.report), "report")
    if html is not None:
        write_text(html, to_html(found), "report")
    print_report(found.report, found.claims, PatientConsole())
    for claim in found.claims:
        if claim.name.startswith("ranking"):
            typer.echo(claim.remarks)
    status = [v.status for v in found.report.verdicts]
    refuted, inconclusive = status.count("refuted"), status.count("inconclusive")
    if mutants:
        typer.echo(f"{refuted} of {len(status)} mutants refuted")
        raise typer.Exit(int(refuted < len(status)))
    raise typer.Exit(REFUTED if refuted else INCONCLUSIVE if inconclusive else 0)
