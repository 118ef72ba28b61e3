"""`rps train`, `eval`, `runs`, `plot` and `reproduce`: networks trained from the command line."""

from __future__ import annotations

import json as writer
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nn.options import Root, options_in
from nn.records import (
    BROKEN,
    RESULT,
    UNFINISHED,
    Record,
    is_text,
    lines,
    perplexity_of,
    ratio_of,
    read,
    records_of,
    rows_of,
)
from rpstheory.errors import ArgumentError, Stopped

if TYPE_CHECKING:
    from nn.evaluation import Evaluation
    from nn.runs import Watch

# The registries' own names: asking them would import torch for --help.
DATA = "digits, cifar10, cifar100, tiny-imagenet, topics"
MODELS = "resnet8, resnet20, resnet32, resnet44, resnet56, resnet18, vgg11, vgg13, vgg16, vit, decoder"
METHODS = "dense, stable-rps, roast, robe, hashed, random, magnitude, snip, grasp, synflow, ltr, smaller"
RECIPES = "paper, synflow, short, smoke, transformer"
STYLES = {"diverged": "yellow", UNFINISHED: "dim", BROKEN: "red"}

Data = Annotated[str, typer.Option("--data", help=f"One of {DATA}; or a path.")]
Model = Annotated[str, typer.Option("--model", help=f"One of {MODELS}.")]
Method = Annotated[str, typer.Option("--method", help=f"One of {METHODS}.")]
Compression = Annotated[
    float | None,
    typer.Option(
        "--compression", help="Compressible weights over those stored.", show_default="10; 1 for dense"
    ),
]
RecipeName = Annotated[str, typer.Option("--recipe", help=f"One of {RECIPES}.")]
Seed = Annotated[int, typer.Option("--seed", help="Names everything random.")]
Rate = Annotated[float | None, typer.Option("--lr", help="Learning rate.", show_default="that of the recipe")]
Epochs = Annotated[
    int | None,
    typer.Option("--epochs", help="Passes over the training set.", show_default="those of the recipe"),
]
HeldOut = Annotated[
    float, typer.Option("--held-out", help="Test on this share of the training set, as for tuning.")
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option", metavar="NAME=VALUE", help="Of the method, e.g. scaler=v1, rate=0.2; once for each."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="Of the recipe, e.g. ema=0.999, optimizer=adamw; once for each."
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Folder of all runs.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Run = Annotated[Path, typer.Argument(help="Folder of one run.", metavar="RUN")]
Folder = Annotated[Path, typer.Argument(help="Folder of runs, however deep.", metavar="DIR")]


def train(
    data: Data = "digits",
    model: Model = "resnet8",
    method: Method = "stable-rps",
    compression: Compression = None,
    recipe: RecipeName = "smoke",
    seed: Seed = 0,
    out: Out = Path("runs"),
    root: Root = None,
    lr: Rate = None,
    epochs: Epochs = None,
    held_out: HeldOut = 0.0,
    option: Options = None,
    set_: Set = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Tell TensorBoard too.")] = False,
    json: Json = False,
) -> None:
    """Train a network at a budget; the same command goes on with a run that was stopped.

    Exit status: 0 finished, 1 diverged, 2 bad usage, 130 interrupted.
    """
    given = options_in("train", "--option", option or (), "scaler=v1")
    changes = options_in("train", "--set", set_ or (), "ema=0.999")
    changes |= {name: value for name, value in (("lr", lr), ("epochs", epochs)) if value is not None}
    with _watched("train", data, held_out, quiet=json) as watch:
        from nn.fitting import fit
        from nn.recipes import recipe_of

        fitted = fit(
            data, model, method, compression, recipe_of(recipe, **changes), seed=seed, out=out, options=given,
            held_out=held_out, root=root, watch=watch, tensorboard=tensorboard,
        )  # fmt: skip
    if fitted.rank == 0:
        record = read(fitted.folder)
        typer.echo(writer.dumps(record.to_json()) if json else _said(record))
    raise typer.Exit(int(fitted.result.status == "diverged"))


def evaluate(
    run: Run,
    data: Annotated[
        str | None, typer.Option("--data", help="Test on these data.", show_default="those of the run")
    ] = None,
    root: Root = None,
    json: Json = False,
) -> None:
    """Test the final weights of a run, or their average if it has one, and say what they cost."""
    with _watched("eval", quiet=True):
        from nn.evaluation import evaluate as test

        found = test(run, data, root=root)
    typer.echo(writer.dumps(found.to_json(), indent=1) if json else _tested(found))


def runs(
    out: Folder = Path("runs"),
    data: Annotated[str | None, typer.Option("--data", help="Only runs on these data.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Only runs of this model.")] = None,
    method: Annotated[str | None, typer.Option("--method", help="Only runs of this method.")] = None,
    status: Annotated[
        str | None, typer.Option("--status", help="Only finished, diverged, unfinished or broken runs.")
    ] = None,
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """List runs: what was run, how far it is, what came of it, and what it stores."""
    from rich.console import Console

    if json and csv:
        raise ArgumentError("runs: --json and --csv came; pass one of them")
    rows = rows_of(out, {"data": data, "model": model, "method": method, "status": status})
    if json:
        typer.echo(writer.dumps(rows, indent=1))
    elif csv:
        typer.echo(_csv(rows), nl=False)
    else:
        _print_table(rows, Console())


def plot(
    folder: Folder = Path("runs"),
    out: Annotated[Path, typer.Option("--out", help="Ends in .png, .svg, .pdf or .html.")] = Path("runs.png"),
) -> None:
    """Draw runs: how they learned, and their accuracy against parameters and bytes stored."""
    from nn.plotting import figure, page, studies
    from rpstheory.report import write_text
    from rpstheory.report.figures import save
    from rpstheory.report.figures.svg import FORMATS
    from rpstheory.report.files import check_writable

    if out.suffix.lower() not in (endings := (*FORMATS, ".html")):
        raise ArgumentError(f"plot: --out {out} came; a name that ends in {', '.join(endings)} is needed")
    check_writable(out, "plot")
    rows, found = rows_of(folder, {}), studies(records_of(folder))
    if out.suffix.lower() == ".html":
        write_text(out, page(found, rows), "plot")
    else:
        save(figure(found), out)
    typer.echo(f"wrote {out}")


def reproduce(
    run: Run,
    out: Annotated[Path, typer.Option("--out", help="Folder for the repetition.")] = Path("reproduced"),
    root: Root = None,
    json: Json = False,
) -> None:
    """Run a recorded configuration again, from nothing, and compare; the same command goes on after a stop.

    Exit status: 0 the same numbers and the same bits, 1 something differs, 2 bad usage, 130 interrupted.
    """
    record = read(run)
    if record.status == UNFINISHED:
        raise ArgumentError(f"reproduce: {run} is not finished; rps train goes on with it")
    how = record.configuration
    with _watched("reproduce", how["data"], how["held_out"], quiet=json) as watch:
        from nn.evaluation import circumstances, differences, recipe_in
        from nn.fitting import fit
        from nn.runs import Configuration

        again = how | {"recipe": recipe_in(record)}
        folder = out / Configuration(**again).key
        if (folder / RESULT).exists():
            raise ArgumentError(
                f"reproduce: {folder} holds such a run, and it is finished; remove it, or pass another --out"
            )
        other = read(fit(out=out, root=root, watch=watch, **again).folder)
        found, around = differences(record, other), circumstances(record, other)
    if json:
        runs = {"recorded": record.to_json(), "again": other.to_json()}
        typer.echo(writer.dumps(runs | {"different": found, "circumstances": around}))
    else:
        typer.echo(f"{_said(record)}\n{_said(other)}")
        typer.echo(f"different: {', '.join(found)}" if found else "the same, to the last bit of the weights")
        if around:
            typer.echo(f"not the same for both: {', '.join(around)}")
    raise typer.Exit(int(bool(found)))


def _said(record: Record) -> str:
    """A run in one line."""
    row = record.to_row()
    what = f"{row['data']} {row['model']} {row['method']} {ratio_of(row)}x {row['recipe']}"
    where = "held out " if row["held_out"] else ""
    reached = (
        ""
        if row["accuracy"] is None
        else f"{where}{row['accuracy']:.2%}{_hard(row['perplexity'])} in {row['seconds']:.0f} s"
    )
    ending = f"{row['status']}: {'; '.join(filter(None, (reached, row['remark'])))}"
    return f"{row['run']}  {what} seed {row['seed']}  {ending}"


def _tested(found: Evaluation) -> str:
    cost, what, one = found.budget, *(("windows", "window") if found.perplexity else ("images", "image"))
    beside = "" if found.recorded is None else f" (recorded: {found.recorded:.2%})"
    return (
        f"{found.run} on {found.images:,} {what} of {found.data}\n"
        f"  accuracy    {found.accuracy:.2%}{beside}\n"
        f"  loss        {found.loss:.4f}{_hard(found.perplexity)}\n"
        f"  parameters  {cost.params:,} of {cost.dense_params:,}: {cost.total_compression:.4g}x in total, "
        f"{cost.compression:.4g}x of the compressible\n"
        f"  bytes       {cost.bytes:,} of {cost.dense_bytes:,}, {cost.index:,} of them index ({cost.form})\n"
        f"  FLOPs       {cost.flops:,} of {cost.dense_flops:,} for one {one}"
        + (f"\n  note        {found.remark}" if found.remark else "")
    )


def _csv(rows: list[dict[str, Any]]) -> str:
    import csv
    from io import StringIO

    text, names = StringIO(), list(dict.fromkeys(name for row in rows for name in row))
    table = csv.DictWriter(text, names, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def _print_table(rows: list[dict[str, Any]], console: Any) -> None:
    """Coloured and as wide as the terminal, or whole where there is none."""
    room = console.width if console.is_terminal else None
    text, out = lines(rows, room)
    console.print(text[0], style="bold", markup=False, highlight=False, soft_wrap=True)
    for line, row in zip(text[1:], rows, strict=True):
        console.print(line, style=STYLES.get(row["status"]), markup=False, highlight=False, soft_wrap=True)
    if out:
        console.print(f"not shown: {', '.join(out)}; --csv has all", style="dim", highlight=False)


@contextmanager
def _watched(who: str, data: str = "", held_out: float = 0.0, *, quiet: bool) -> Iterator[Watch]:
    """Tells of each epoch, and shows how far all is, and what is left, where there is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    hidden = quiet or not console.is_terminal
    try:
        with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
            task = progress.add_task("starting", total=None)

            def watch(row: dict[str, Any]) -> None:
                if "epoch" not in row:
                    progress.update(task, total=row["whole"], completed=row["taken"], description=_step(row))
                elif not quiet:
                    console.print(_epoch(row, data, "held out" if held_out else "test"), highlight=False)

            yield watch
    except KeyboardInterrupt:
        raise Stopped(f"{who}: stopped; run the same command again") from None


def _step(row: dict[str, Any]) -> str:
    ticket = f"round {row['round']}/{row['rounds'] - 1} " if row["rounds"] > 1 else ""
    return f"{ticket}epoch {row['epoch_of']}/{row['epochs']} loss {row['loss']:.3f}"


def _epoch(row: dict[str, Any], data: str, part: str = "test") -> str:
    hard = perplexity_of(row["test_loss"]) if is_text(data) else None
    return (
        f"round {row['round']} epoch {row['epoch']}: train {row['train_accuracy']:.2%}, "
        f"{part} {row['test_accuracy']:.2%}{_hard(hard)}, {row['seconds']:.1f} s"
    )


def _hard(perplexity: float | None) -> str:
    return "" if perplexity is None else f", perplexity {perplexity:.2f}"
