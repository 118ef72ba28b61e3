"""`rps study FILE.toml`, `rps study report` and `rps study index`: many runs, and what follows from them."""

from __future__ import annotations

import json as writer
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from nn.options import Root
from rpstheory.errors import ArgumentError, DataError, Stopped

if TYPE_CHECKING:
    from nn.study.running import Event
    from nn.study.workers import Crew

HELP = "A grid of trainings in a file: run it, go on with it, report on it."
RUN = "run"


class _Commands(TyperGroup):
    """`rps study FILE.toml` means `rps study run FILE.toml`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the command where a file came."""
        if args and args[0] not in (*self.commands, "--help"):
            args = [RUN, *args]
        return super().parse_args(ctx, args)


study = typer.Typer(help=HELP, no_args_is_help=True, cls=_Commands)

Out = Annotated[Path, typer.Option("--out", help="Folder of all runs, and of the results.")]
Results = Annotated[
    list[Path], typer.Argument(help="Results (.jsonl), or folders of results or of runs.", metavar="PATH")
]


@study.callback()
def group() -> None:
    """A grid of trainings in a file: run it, go on with it, report on it.

    `rps study FILE.toml` is `rps study run FILE.toml`.
    """


@study.command(RUN)
def run(
    file: Annotated[Path, typer.Argument(help="The study, TOML.", metavar="FILE.toml")],
    out: Out = Path("runs"),
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAME=VALUE,…", help="Only these cells, e.g. seed=0; may come again."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print cells, budgets and time.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", help="Processes side by side; 0: one a core.")] = 0,
    threads: Annotated[int, typer.Option("--threads", help="Threads of a process.")] = 1,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", help="Dask scheduler, tcp://host:port; its workers see the same files."),
    ] = None,
    root: Root = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run every cell of a study that is not known yet; the same command goes on after any stop.

    Exit status: 0 every cell is finished or diverged, 1 a cell failed or cannot be run, 2 bad usage,
    130 interrupted.
    """
    if jobs < 0 or threads < 1:
        raise ArgumentError(
            f"study: --jobs {jobs} --threads {threads} came; 0 or more, and 1 or more are needed"
        )
    with _patient("study: stopped; the same command goes on where it was"):
        from nn.study.grid import read_study

        whole = read_study(file, root)
        chosen = whole.only(only or [])
        if dry_run:
            _forecast(chosen, out, root, threads, jobs or _cores(), json)
            return
        from nn.study.results import read_lines
        from nn.study.running import results_of
        from nn.study.running import run as go
        from nn.study.workers import Cluster, Pool

        def crew() -> Crew:
            return Pool(jobs or _cores()) if cluster is None else Cluster(cluster)

        with _progress(quiet=json) as tell:
            lines = go(chosen, out, crew, root=root, threads=threads, tell=tell)
    failed = sum(line["status"] == "failed" for line in lines)
    place = results_of(chosen, out)
    if json:
        typer.echo(writer.dumps(lines))
    else:
        typer.echo(
            f"{len(lines)} cells: {_counted(lines)}; results in {place}, index {place.with_suffix('.sqlite')}"
        )
        further = {line["run"] for line in read_lines(place)} - {
            cell.configuration.key for cell in whole.cells
        }
        if further:
            typer.echo(f"{len(further)} further lines of an earlier grid in {place}; reports show them too")
    raise typer.Exit(int(failed > 0))


@study.command()
def report(
    paths: Results,
    out: Annotated[Path, typer.Option("--out", help="Folder for the page, figures and tables.")] = Path(
        "report"
    ),
    title: Annotated[
        str | None, typer.Option("--title", help="Of the page.", show_default="names of PATH")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", help="Method, or line, to test others against.", show_default="stable-rps"),
    ] = None,
) -> None:
    """Put results side by side: one HTML page, PNG and SVG, tables as CSV, Markdown and LaTeX."""
    for path in paths:
        if not path.exists():
            raise DataError(f"study: {path} does not exist; pass results, or a folder of results or of runs")
    with _patient("study: stopped; the same command writes the report anew"):
        from nn.study.analysis import analysed
        from nn.study.report import write
        from nn.study.results import merged, trials_in

        trials = merged(map(trials_in, paths))
        page = write(analysed(trials), out, title or ", ".join(path.stem for path in paths), against)
    typer.echo(f"wrote {page}, with {len(list(out.iterdir())) - 1} more files beside it")


@study.command()
def index(
    paths: Annotated[list[Path], typer.Argument(help="Results.", metavar="FILE.jsonl")],
) -> None:
    """Make the SQLite index of results again from their lines."""
    from nn.study.results import index as made

    for path in paths:
        typer.echo(f"wrote {made(path)}")


# ------------------------------------------------------------------------------------------ words


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _counted(lines: list[dict[str, Any]]) -> str:
    found: dict[str, int] = {}
    for line in lines:
        found[line["status"]] = found.get(line["status"], 0) + 1
    return ", ".join(f"{count} {status}" for status, count in found.items())


def _forecast(chosen: Any, out: Path, root: Path | None, threads: int, jobs: int, json: bool) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from nn.study.forecast import forecast, table

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=json or not console.is_terminal) as bar:
        task = bar.add_task("budgets and times")
        found = table(
            forecast(
                chosen,
                out,
                root=root,
                threads=threads,
                tell=lambda done, groups: bar.update(task, completed=done, total=groups),
            )
        )
    if json:
        typer.echo(writer.dumps(found, indent=1))
    else:
        screen = Console()
        room = screen.width if screen.is_terminal else None
        for line in [*_aligned(found, room), *_time_words(found, jobs)]:
            screen.print(line, markup=False, highlight=False, soft_wrap=room is None)
    raise typer.Exit(int(any(row["parameters"] is None for row in found)))


HEAD = ("data", "model", "method", "n/m", "recipe", "lr", "epochs", "seeds", "parameters", "bytes", "time")
LEAST = ("lr", "recipe", "epochs", "data", "seeds", "bytes", "model")  # left out first where there is no room


def _aligned(rows: list[dict[str, Any]], room: int | None = None) -> list[str]:
    """The table as lines: words to the left, numbers to the right; and what is left out for want of room."""
    from nn.records import fitted
    from rpstheory.report.numbers import duration

    body = [
        (
            row["data"], row["model"], f"{row['method']} {row['options']}".strip(), f"{row['n/m']:.4g}",
            row["recipe"], f"{row['lr']:g}", str(row["epochs"]), str(row["seeds"]),
            "?" if row["parameters"] is None else f"{row['parameters']:,}",
            "?" if row["bytes"] is None else f"{'about ' * row['about']}{row['bytes']:,}",
            "?" if row["seconds"] is None else duration(row["seconds"]),
        )
        for row in rows
    ]  # fmt: skip
    columns = dict(zip(HEAD, zip(*body, strict=True), strict=True))
    lines, out = fitted(columns, {*HEAD} - {"data", "model", "method", "recipe"}, LEAST, room)
    return [*lines, *([f"not shown: {', '.join(out)}; --json has all"] if out else [])]


def _time_words(rows: list[dict[str, Any]], jobs: int) -> list[str]:
    from rpstheory.report.numbers import duration

    known = [row for row in rows if row["seconds"] is not None]
    cells, left, timed = (
        sum(row[name] for row in own) for own, name in ((rows, "seeds"), (rows, "left"), (known, "left"))
    )
    lines = [f"{cells} cells, {left} of them not over, {timed} of these with a known time"]
    if timed:
        whole, sources = sum(row["seconds"] for row in known), dict.fromkeys(row["source"] for row in known)
        longest = max(row["seconds"] / row["left"] for row in known if row["left"])
        lines[0] += (
            f": {duration(whole)} of work, about {duration(max(longest, whole / jobs))} with {jobs} side by "
            f"side; from {' and '.join(sources)}"
        )
    if any(row["about"] for row in rows):
        lines.append("about: bytes of a mask of random places; the method's own is known after its scores")
    reasons = dict.fromkeys(row["source"] for row in rows if row["seconds"] is None)
    return [*lines, *(f"? {reason}" for reason in reasons)]


# --------------------------------------------------------------------------------------- progress


@contextmanager
def _patient(words: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(words) from None


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[Event], None]]:
    """A line for every cell that ends, and a bar with the time left where there is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    from rpstheory.report.numbers import duration

    console, begun = Console(stderr=True), time.monotonic()
    columns = (BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("starting", total=1.0)

        def tell(event: Event) -> None:
            passed = time.monotonic() - begun
            left = duration(passed * (1 - event.done) / event.done) if event.done else "unknown"
            bar.update(task, completed=event.done, description=f"{event.over} of {event.cells}, {left} left")
            if event.line is not None and not quiet:
                words = f"{event.over} of {event.cells}: {event.cell}  {_ending(event.line)}"
                more = "" if console.is_terminal or event.over == event.cells else f"; {left} left"
                console.print(words + more, markup=False, highlight=False, soft_wrap=True)

        yield tell


def _ending(line: dict[str, Any]) -> str:
    """What came of a cell."""
    if line["status"] != "finished":
        return f"{line['status']}: {line['remark']}"
    collapsed = f", {len(line['collapsed'])} layers collapsed" if line["collapsed"] else ""
    return f"{line['test_accuracy']:.2%}{collapsed} in {line['seconds']:.0f} s"
