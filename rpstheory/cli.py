"""The `rps` command: verify, explain, phase, plan, and what other packages register.

Heavy modules load inside the commands, so that ``rps --help`` starts at once. Sub-commands of other
packages are entry points of the group ``rpstheory.commands``: a name and a typer app or function.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import entry_points
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rpstheory import __version__
from rpstheory.errors import ArgumentError, DataError, RpsError, Stopped

if TYPE_CHECKING:
    from rpstheory.claim import Setting
    from rpstheory.verification import Progress

REFUTED, BAD_USAGE, INCONCLUSIVE, INTERRUPTED = 1, 2, 3, 130
OWN = ("nn", "proofs_checks", "rpstheory")  # of these none can be missing but by an error of theirs
USUAL = "2,4,8"  # compressions; beyond one cell only those that were asked for are refused

app = typer.Typer(
    name="rps",
    help="Randomized parameter sharing: check its claims against pruning, on your data.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Claims = Annotated[
    str, typer.Option("--claims", help="Names or numbers, separated by commas; all when left out.")
]
Data = Annotated[
    str,
    typer.Option("--data", help="digits, gaussian, uniform, student-t, powerlaw, FILE.npy or FILE.npz:KEY."),
]
Compression = Annotated[str, typer.Option("--compression", help="n/m, separated by commas.")]
Quick = Annotated[bool, typer.Option("--quick", help="Catch 5 % instead of 1 %: seconds.")]
Discrepancy = Annotated[
    float | None, typer.Option("--discrepancy", help="Relative difference worth catching.")
]
Seed = Annotated[int, typer.Option("--seed", help="Names the whole experiment.")]
Backend = Annotated[str, typer.Option("--backend", help="auto, numpy, numba or cupy.")]
Jobs = Annotated[int, typer.Option("--jobs", help="Local workers; 0 takes every core.")]
Cluster = Annotated[
    str | None, typer.Option("--cluster", help="Dask scheduler, tcp://host:port, for the work.")
]
Resume = Annotated[
    Path | None,
    typer.Option("--resume", help="Folder that keeps finished work; run again to go on."),
]


@app.command()
def verify(
    claims: Claims = "",
    data: Data = "digits",
    compression: Compression = USUAL,
    quick: Quick = False,
    discrepancy: Discrepancy = None,
    seed: Seed = 0,
    backend: Backend = "auto",
    jobs: Jobs = 0,
    cluster: Cluster = None,
    resume: Resume = None,
    mutants: Annotated[
        bool, typer.Option("--mutants", help="Run the broken variants; all must be refuted.")
    ] = False,
    json: Annotated[Path | None, typer.Option("--json", help="Write the verdicts here.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write one page here.")] = None,
) -> None:
    """Check the claims by experiments with designed error rates.

    Exit status: 0 all confirmed, 1 something refuted (with --mutants: something not refuted), 2 bad
    usage, 3 something inconclusive.
    """
    from rpstheory.claims import select
    from rpstheory.kernels import resolve
    from rpstheory.report.record import Report, Settings, check_writable, now, this_environment
    from rpstheory.verification import verify as run

    for path in (json, html):
        if path is not None:
            check_writable(path, "report")
    names, setting, target = _arguments(claims, data, compression, seed, quick, discrepancy)
    workers, how, started, clock = _workers(jobs), resolve(backend), now(), time.perf_counter()
    with _progress(resume) as progress:
        verdicts = run(
            names,
            data=setting,
            discrepancy=target,
            backend=how,
            jobs=workers,
            cluster=cluster,
            resume=resume,
            mutants=mutants,
            progress=progress,
        )
    chosen = select(names)
    report = Report(
        verdicts=verdicts,
        environment=this_environment(),
        seed=setting.seed,
        settings=Settings.of(
            setting,
            [c.name for c in chosen],
            target,
            backend=how,
            jobs=workers,
            cluster=cluster is not None,
        ),
        started=started,
        seconds=time.perf_counter() - clock,
    )
    _publish(report, chosen, setting, json, html)
    if mutants:
        typer.echo(_mutants_line([v.status for v in verdicts]))
    raise typer.Exit(_status([v.status for v in verdicts], mutants))


@app.command()
def explain(
    claims: Annotated[list[str] | None, typer.Argument(help="Names or numbers of claims.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every claim.")] = False,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Write the claims as Markdown here.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Verdicts of a run (--json) for the Markdown.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="Record of benchmarks.calibration for the Markdown.")
    ] = None,
) -> None:
    """Say what a claim states, needs, rests on, and which mutant must fail."""
    from rich.console import Console

    from rpstheory.claims import select
    from rpstheory.report import claims_markdown, explain_text, from_json, write_text

    if not claims and not everything:
        raise ArgumentError("explain: no claim was named; pass names or numbers, or --all")
    chosen = select(() if everything else claims or ())
    run = None if report is None else from_json(_read(report))
    rates = None if calibration is None else _read(calibration)
    if markdown is None and (report or calibration):
        name = "--calibration" if report is None else "--report"
        raise ArgumentError(f"explain: {name} came without --markdown, which alone shows it; pass both")
    if markdown is not None:
        write_text(markdown, claims_markdown(chosen, run, rates), "explain")
        return
    console = Console()
    console.print(explain_text(chosen, console.width), end="", markup=False, highlight=False)


@app.command()
def phase(
    out: Annotated[
        Path, typer.Option("--out", help="Stem and kind of the two figures: .png, .svg or .pdf.")
    ] = Path("phase.png"),
    n: Annotated[int, typer.Option(help="Entries per vector.")] = 64,
    compression: Compression = "4,2.7,1.3",
) -> None:
    """Draw where sharing beats pruning: kurtosis and correlation, signal and variance."""
    from rpstheory.data import check_compressions
    from rpstheory.mappings import Fold
    from rpstheory.report.figures import alignment, save, sharing_phase

    ratios = check_compressions(_numbers(compression))
    sizes = [(fold.n, fold.m) for fold in (Fold(n, max(1, round(n / c)), 0) for c in ratios)]
    for name, figure in (("kurtosis", sharing_phase(sizes)), ("alignment", alignment(*sizes[0]))):
        path = out.with_name(f"{out.stem}-{name}{out.suffix}")
        save(figure, path)
        typer.echo(f"wrote {path}")


@app.command()
def plan(
    claims: Claims = "",
    data: Data = "digits",
    compression: Compression = USUAL,
    quick: Quick = False,
    discrepancy: Discrepancy = None,
    seed: Seed = 0,
    backend: Backend = "auto",
    jobs: Jobs = 0,
) -> None:
    """Print the draws and the time that a wanted discrepancy takes, without measuring."""
    from rpstheory.claims import select
    from rpstheory.kernels import resolve
    from rpstheory.report.plan import plan_table
    from rpstheory.verification import Runner, suite_design
    from rpstheory.verification import plan as design_of

    names, setting, target = _arguments(claims, data, compression, seed, quick, discrepancy)
    chosen, workers = select(names), _workers(jobs)
    design = suite_design(chosen, setting, target)
    with _progress() as progress:
        runner = Runner(resolve(backend), workers, progress=progress)
        design_of(chosen, setting, design, runner)  # compiles and warms up
        experiments = design_of(chosen, setting, design, runner)
    typer.echo(plan_table(experiments, design, workers), nl=False)


def main() -> None:
    """Run the command with all that is registered."""
    for entry in entry_points(group="rpstheory.commands"):
        command = entry.load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=entry.name)
        else:
            app.command(entry.name)(command)
    guarded(app, "rps")


def guarded(command: Callable[[], object], name: str) -> None:
    """Run a command; one clear sentence and a status in place of a traceback."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that is not UTF-8 gets question marks
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        command()
    except RpsError as error:
        typer.echo(f"{name}: {error}", err=True)
        sys.exit(INTERRUPTED if isinstance(error, Stopped) else BAD_USAGE)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in OWN:
            raise
        typer.echo(
            f"{name}: this command needs {missing}, which is not installed; `make tools` sets up everything "
            "in .venv, or install the extra that has it, such as rps-toolkit[nn] for torch",
            err=True,
        )
        sys.exit(BAD_USAGE)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(INTERRUPTED)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Randomized parameter sharing: check its claims against pruning, on your data."""
    if show:
        typer.echo(f"rps {__version__}")
        raise typer.Exit


def _arguments(
    claims: str, data: str, compression: str, seed: int, quick: bool, discrepancy: float | None
) -> tuple[list[str], Setting, float]:
    from rpstheory.data import load_setting
    from rpstheory.verification import DISCREPANCY, QUICK_DISCREPANCY

    names = [name for name in claims.split(",") if name.strip()]
    target = discrepancy if discrepancy is not None else QUICK_DISCREPANCY if quick else DISCREPANCY
    setting = load_setting(data, _numbers(compression), seed)
    if compression != USUAL and (most := max(setting.compressions)) > setting.n:
        raise ArgumentError(
            f"compression: {most:g} came, and vectors of {data} have n = {setting.n} entries, which are one "
            f"cell at {setting.n}; pass --compression up to that"
        )
    return names, setting, target


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"explain: {path} cannot be read ({error}); pass a file that was written with --json"
        ) from None


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ArgumentError(
            f"compression: {text!r} came; numbers separated by commas are needed, such as {USUAL}"
        ) from None


def _workers(jobs: int) -> int:
    if jobs < 0:
        raise ArgumentError(f"jobs: {jobs} came; pass a number of workers, or 0 for every core")
    return jobs or len(os.sched_getaffinity(0))


def _mutants_line(statuses: list[str]) -> str:
    caught = statuses.count("refuted")
    return f"{caught} of {len(statuses)} mutants refuted" + (", as they must be" * (caught == len(statuses)))


def _status(statuses: list[str], mutants: bool) -> int:
    if mutants:
        return 0 if all(s == "refuted" for s in statuses) else REFUTED
    if "refuted" in statuses:
        return REFUTED
    return INCONCLUSIVE if "inconclusive" in statuses else 0


def _publish(report: Any, claims: Any, setting: Setting, json: Path | None, html: Path | None) -> None:
    from rpstheory.report import print_report, to_html, to_json, write_text
    from rpstheory.report.console import PatientConsole

    if json is not None:
        write_text(json, to_json(report), "report")
    if html is not None:
        write_text(html, to_html(report, claims, setting), "report")
    print_report(report, claims, PatientConsole())


def _progress(resume: Path | None = None) -> AbstractContextManager[Progress]:
    from rpstheory.report.console import bars

    kept = (
        f"finished work is kept in {resume}; run the same command again to go on"
        if resume
        else "nothing was kept; with --resume DIR a stopped run can go on"
    )
    return bars(f"stopped: {kept}")
