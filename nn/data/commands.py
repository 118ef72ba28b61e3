"""`rps data`: what is in a file or a folder, and whether it is the official data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nn.options import Root
from rpstheory.errors import DataError

if TYPE_CHECKING:
    from nn.data.datasets import Dataset

data = typer.Typer(help="Data sets to train on: what was found, and is it official?", no_args_is_help=True)


@data.callback()
def group() -> None:
    """Data sets to train on: what was found, and is it official?"""


@data.command()
def check(
    path: Annotated[Path, typer.Argument(help="Folder, archive, .npz or .txt; or a name, such as digits.")],
    root: Root = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read everything in PATH, keep it decoded for training, and say what it is.

    Exit status: 0 all can be read, 1 something cannot, 2 nothing was found.
    """  # noqa: DOC501 - a docstring of a command is its --help
    import json as writer

    from nn.data.datasets import DATASETS, LAYOUTS, official, sources_in

    if any(layout.key == str(path) for layout in LAYOUTS):
        official(str(path), root)  # or nothing was found
    found = [_found(each, root) for each in ([path] if str(path) in DATASETS else sources_in(path))]
    if json:
        typer.echo(writer.dumps(found, indent=1))
    else:
        typer.echo("\n\n".join(_words(each) for each in found))
    raise typer.Exit(int(any("error" in each for each in found)))


def _found(path: Path, root: Path | None) -> dict[str, Any]:
    """What :func:`nn.data.load` makes of a path, or why it makes nothing of it."""
    from nn.data.datasets import load

    try:
        train, test = load(path, root), load(path, root, train=False)
    except DataError as error:
        return {"path": str(path), "error": str(error)}
    return {
        "path": str(path),
        "name": train.name,
        "form": train.form,
        "train": len(train),
        "test": len(test),
        "shape": list(train.images.shape[1:]),
        "classes": len(train.classes),
        "labels": [_labels(each) for each in (train, test)],
        "mean": list(train.mean),
        "std": list(train.std),
        "checksum": train.checksum,
    }


def _labels(dataset: Dataset) -> list[int]:
    """The smallest and the largest class."""
    import numpy as np

    counts = np.bincount(dataset.labels.ravel(), minlength=len(dataset.classes))
    return [int(counts.min()), int(counts.max())]


def _words(found: dict[str, Any]) -> str:
    if "error" in found:
        return found["error"]
    return (
        f"{found['path']}: {found['name']}, {found['form']}\n"
        f"{_sizes(found)}\n"
        f"  classes: {found['classes']}\n"
        f"  checksum: {found['checksum']}"
    )


def _sizes(found: dict[str, Any]) -> str:
    """How many of what, in words."""
    if len(found["shape"]) == 1:
        return f"  text: {found['train']} train, {found['test']} test windows of {found['shape'][0]} bytes"
    height, width, channels = found["shape"]
    sizes = [
        f"{count} {what} ({'to'.join(f' {n} ' for n in sorted(set(each))).strip()} a class)"
        for count, what, each in zip(
            (found["train"], found["test"]), ("train", "test"), found["labels"], strict=True
        )
    ]
    return f"  images: {', '.join(sizes)}, {height} x {width} x {channels}"
