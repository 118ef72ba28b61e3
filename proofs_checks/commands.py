"""`rps prove`: the survey as a command."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rpstheory.errors import ArgumentError, Stopped

if TYPE_CHECKING:
    from proofs_checks.survey import Progress
    from rpstheory.report.record import Environment


def prove(
    claims: Annotated[
        str, typer.Option("--claims", help="Names or numbers, separated by commas; all when left out.")
    ] = "",
    quick: Annotated[bool, typer.Option("--quick", help="Smaller sizes: seconds.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Larger sizes: minutes.")] = False,
    twins: Annotated[
        bool, typer.Option("--twins", help="Run each check's broken twin; all must be disproved.")
    ] = False,
    jobs: Annotated[int, typer.Option("--jobs", help="Local workers; 0 takes every core.")] = 0,
    json: Annotated[Path | None, typer.Option("--json", help="Write the findings here.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Write them as Markdown here.")] = None,
) -> None:
    """Prove the claims: every draw enumerated, identities by SymPy, inequalities by Z3.

    Exit status: 0 all shown, 1 something disproved (with --twins: something not disproved), 2 bad usage.
    """
    from proofs_checks.check import Level
    from proofs_checks.findings import Survey, print_findings, to_json, to_markdown
    from proofs_checks.survey import select, survey
    from rpstheory.report.console import PatientConsole
    from rpstheory.report.files import check_writable, write_text
    from rpstheory.report.record import now

    if quick and deep:
        raise ArgumentError("prove: --quick and --deep came together; choose one of them")
    if jobs < 0:
        raise ArgumentError(f"jobs: {jobs} came; pass a number of workers, or 0 for every core")
    if json is not None and json == markdown:
        raise ArgumentError(f"prove: {json} came for both --json and --markdown; pass two files")
    for path in (json, markdown):
        if path is not None:
            check_writable(path, "prove")
    checks = select(named(claims))
    level = Level.QUICK if quick else Level.DEEP if deep else Level.STANDARD
    started, clock, cores = now(), time.perf_counter(), len(os.sched_getaffinity(0))
    with _progress() as progress:
        found = survey(checks, level, jobs=min(jobs or cores, cores), twins=twins, progress=progress)
    result = Survey(
        findings=found,
        level=level.name.lower(),
        twins=twins,
        environment=_environment(),
        started=started,
        seconds=time.perf_counter() - clock,
    )
    if json is not None:
        write_text(json, to_json(result), "prove")
    if markdown is not None:
        write_text(markdown, to_markdown(result), "prove")
    print_findings(result, PatientConsole())
    raise typer.Exit(0 if all(f.settled for f in found) else 1)


def named(claims: str) -> list[str]:
    """The names in a list separated by commas; none where nothing came.

    Raises:
        ArgumentError: If something came, and no name in it.
    """
    names = [name for name in claims.split(",") if name.strip()]
    if claims.strip() and not names:
        raise ArgumentError(f"claims: {claims!r} came, without a name; leave --claims out to take all")
    return names


def _environment() -> Environment:
    """This machine, with the versions of the two provers."""
    from dataclasses import replace
    from importlib.metadata import version

    from rpstheory.report.record import this_environment

    found = this_environment()
    return replace(found, packages=found.packages | {name: version(name) for name in ("sympy", "z3-solver")})


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task("proving")
    try:
        with bar:
            yield lambda done, whole, last: bar.update(task, completed=done, total=whole, description=last)
    except KeyboardInterrupt:
        raise Stopped("stopped: nothing was kept; --quick or --claims make a shorter run") from None
