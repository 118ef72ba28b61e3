"""`rps train`, `rps runs` and `rps reproduce`: networks trained from the command line."""

from __future__ import annotations

import json as writer
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rpstheory.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from nn.fitting import Fitted
    from nn.runs import Watch

Data = Annotated[str, typer.Option("--data", help="digits, cifar10, cifar100, tiny-imagenet or a path.")]
Model = Annotated[str, typer.Option("--model", help="resnet8, 20, 32, 44, 56; vgg11, 13, 16.")]
Method = Annotated[
    str,
    typer.Option(
        "--method",
        help="dense, stable-rps, roast, robe, hashed, random, magnitude, snip, grasp, synflow, ltr, smaller.",
    ),
]
Compression = Annotated[float, typer.Option("--compression", help="Compressible weights over those stored.")]
RecipeName = Annotated[str, typer.Option("--recipe", help="paper, synflow, short or smoke.")]
Seed = Annotated[int, typer.Option("--seed", help="Names everything random.")]
Rate = Annotated[float | None, typer.Option("--lr", help="In place of the recipe's.")]
Epochs = Annotated[int | None, typer.Option("--epochs", help="In place of the recipe's.")]
HeldOut = Annotated[
    float, typer.Option("--held-out", help="Test on this share of the training set, as for tuning.")
]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", help="NAME=VALUE of the method, e.g. scaler=v1, rate=0.2."),
]
Out = Annotated[Path, typer.Option("--out", help="Folder of all runs.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Root = Annotated[Path | None, typer.Option("--root", help="Folder with the official data; $RPS_DATA.")]


def train(
    data: Data = "digits",
    model: Model = "resnet8",
    method: Method = "stable-rps",
    compression: Compression = 10.0,
    recipe: RecipeName = "smoke",
    seed: Seed = 0,
    out: Out = Path("runs"),
    root: Root = None,
    lr: Rate = None,
    epochs: Epochs = None,
    held_out: HeldOut = 0.0,
    option: Options = None,
    json: Json = False,
) -> None:
    """Train a network at a budget; the same command goes on with a run that was stopped.

    Exit status: 0 finished, 1 diverged, 2 bad usage, 130 interrupted.
    """
    from nn.fitting import fit
    from nn.recipes import recipe_of

    changes = {name: value for name, value in (("lr", lr), ("epochs", epochs)) if value is not None}
    how, given = recipe_of(recipe, **changes), dict(_option(each) for each in option or [])
    with _watched(how.epochs, quiet=json) as watch:
        fitted = fit(
            data, model, method, 1.0 if method == "dense" else compression, how, seed=seed, out=out,
            options=given, held_out=held_out, root=root, watch=watch,
        )  # fmt: skip
    if fitted.rank == 0:
        record = _record(fitted)
        typer.echo(writer.dumps(record) if json else _line(record))
    raise typer.Exit(int(fitted.result.status == "diverged"))


def runs(
    out: Annotated[Path, typer.Argument(help="Folder of all runs.")] = Path("runs"), json: Json = False
) -> None:
    """List runs: what was run, how far it is, and what came of it."""
    found = [_read(path.parent) for path in sorted(out.glob("*/configuration.json"))]
    if not found:
        raise DataError(f"runs: {out} holds no runs; rps train --out {out} makes one")
    typer.echo(writer.dumps(found, indent=1) if json else "\n".join(_line(each) for each in found))


def reproduce(
    run: Annotated[Path, typer.Argument(help="Folder of one run.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the repetition.")] = Path("reproduced"),
    root: Root = None,
) -> None:
    """Run a recorded configuration again, from nothing, and compare.

    Exit status: 0 the same bits, 1 another result, 2 bad usage.
    """
    from nn.fitting import fit
    from nn.recipes import Recipe

    record = _read(run)
    if "status" not in record:
        raise ArgumentError(f"reproduce: {run} is not finished; rps train goes on with it")
    how = dict(record["configuration"])
    recipe = Recipe(**{**how.pop("recipe"), "drops": tuple(record["configuration"]["recipe"]["drops"])})
    if (out / run.name).exists():
        raise ArgumentError(f"reproduce: {out / run.name} exists; remove it, or pass another --out")
    with _watched(recipe.epochs, quiet=False) as watch:
        fitted = fit(recipe=recipe, out=out, root=root, watch=watch, **how)
    again = _record(fitted)
    same = all(again[name] == record[name] for name in ("status", "test_loss", "test_accuracy"))
    typer.echo(f"{_line(record)}\n{_line(again)}\n{'the same' if same else 'another result'}")
    raise typer.Exit(int(not same))


def _option(text: str) -> tuple[str, Any]:
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise ArgumentError(f"train: --option {text!r} came; NAME=VALUE is needed")
    try:
        return name, writer.loads(value)
    except ValueError:
        return name, value


def _record(fitted: Fitted) -> dict[str, Any]:
    return _read(fitted.folder)


def _read(folder: Path) -> dict[str, Any]:
    try:
        record = {"run": folder.name, **writer.loads((folder / "configuration.json").read_text())}
        result = folder / "result.json"
        if result.exists():
            record |= writer.loads(result.read_text())
        rows = folder / "metrics.jsonl"
        record["epochs"] = len(rows.read_text().splitlines()) if rows.exists() else 0
    except (OSError, ValueError) as error:
        raise DataError(f"runs: {folder} cannot be read ({error}); pass the folder of a run") from None
    return record


def _line(record: dict[str, Any]) -> str:
    how = record["configuration"]
    what = " ".join(str(how[name]) for name in ("data", "model", "method"))
    what += f" {how['compression']:g}x {how['recipe']['name']} seed {how['seed']}"
    if record.get("test_accuracy") is None:
        ending = f"{record.get('status', 'unfinished')}, {record['epochs']} epochs {record.get('remark', '')}"
    else:
        ending = f"{record['status']}: {record['test_accuracy']:.2%} in {record['seconds']:.0f} s"
    return f"{record['run']}  {what}  {ending.strip()}"


@contextmanager
def _watched(epochs: int, *, quiet: bool) -> Iterator[Watch]:
    """Tells of each epoch, and shows a bar where there is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=quiet) as progress:
        task = progress.add_task("training", total=None)

        def watch(row: dict[str, Any]) -> None:
            if "epoch" in row:
                progress.console.print(
                    f"round {row['round']} epoch {row['epoch']}/{epochs}: train {row['train_accuracy']:.2%}, "
                    f"test {row['test_accuracy']:.2%}"
                ) if not quiet else None
            else:
                progress.update(task, description=f"step {row['step']} loss {row['loss']:.3f}", advance=1)

        yield watch
