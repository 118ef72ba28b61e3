"""`rps advise`: which method loses least of a network at a budget, from the command line."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nn.options import Root
from rpstheory.errors import ArgumentError, Stopped

if TYPE_CHECKING:
    import torch.nn as tnn

    from nn.data import Feed
    from nn.methods import Builder

# The registries' own names: asking them would import torch for --help.
MODELS = "resnet8, resnet20, resnet32, resnet44, resnet56, resnet18, vgg11, vgg13, vgg16, vit, decoder"
METHODS = "stable-rps, roast, robe, hashed, random, magnitude, snip, grasp, synflow, smaller"
BATCH = 64


def advise(
    network: Annotated[
        str, typer.Argument(help=f"Folder of a finished run, or one of {MODELS}.", metavar="RUN|MODEL")
    ],
    budget: Annotated[
        str,
        typer.Option("--budget", help="10x of the compressible weights, or parameters of the whole model."),
    ] = "10x",
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="Of MODEL: a state dict (.safetensors, .pt), or what nn.save wrote."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="Name or path.", show_default="those of the run; digits for a model"),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help=f"One of {METHODS}; once for each; all when left out."),
    ] = None,
    images: Annotated[int, typer.Option("--images", help="Of the training set.")] = 256,
    seed: Annotated[int, typer.Option("--seed", help="Of mappings and masks.")] = 0,
    root: Root = None,
    verdicts: Annotated[
        Path | None,
        typer.Option("--verdicts", help="What rps practice --json wrote, to say how far to trust."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which method loses least of a network at a budget, before anything is trained.

    Of a run the network with its final weights is taken; of a model one with the weights of a file, or a
    new one with its initial weights.
    """
    compression, params = budget_in(budget)
    if images < 2:
        raise ArgumentError(f"advise: --images {images} came; pass at least 2")
    try:
        from nn.advice.advising import advise as advised

        model, source, build = _found(network, weights, data, seed, root)
        found = advised(
            model, _batches(source, images), compression, budget_params=params, build=build,
            methods=method or (), seed=seed, verdicts=verdicts,
        )  # fmt: skip
    except KeyboardInterrupt:
        raise Stopped("advise: stopped, nothing was kept; --method makes a shorter list") from None
    typer.echo(found.to_json() if json else str(found))


def budget_in(words: str) -> tuple[float | None, int | None]:
    """A compression or a number of parameters; the other is None.

    Raises:
        ArgumentError: If it is neither.
    """
    try:
        if words.lower().endswith("x"):
            return float(words[:-1]), None
        return None, int(words.replace(",", "").replace("_", ""))
    except ValueError:
        raise ArgumentError(
            f"advise: --budget {words!r} came; pass 10x for a tenth of the compressible weights, or 30000 "
            "for so many parameters of the whole model"
        ) from None


def _found(
    network: str, weights: Path | None, data: str | None, seed: int, root: Path | None
) -> tuple[tnn.Module, Feed, Builder | None]:
    """The network with plain weights, its data, and its architecture by widths."""
    import torch

    from nn.advice.checkpoint import with_weights
    from nn.advice.trained import plain, require_images, trained
    from nn.data import feed
    from nn.models.registry import MODELS as KNOWN
    from nn.models.registry import build as built

    if Path(network).is_dir():
        if weights is not None:
            raise ArgumentError(
                f"advise: --weights {weights} came, and {network} is a run, which has weights of its own; "
                "pass the name of its model, or leave --weights out"
            )
        run = trained(network, root)
        model, how = plain(run.model), run.record.configuration
        source = run.source if data is None else feed(data, BATCH, held_out=0.0, root=root)
        name, whole = how["model"], how["method"] != "smaller"
    elif network in KNOWN:
        source = feed(data or "digits", BATCH, root=root)
        name, whole, model = network, True, None
    else:
        raise ArgumentError(
            f"advise: {network!r} came, which is neither the folder of a run nor a model; one of "
            f"{', '.join(KNOWN)} is needed"
        )
    require_images(f"advise: {network}", source)
    pictures = source.train.dataset
    build: Any = partial(built, name, len(pictures.classes), pictures.images.shape[-1])
    if model is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = build(1.0)
        model = model.train() if weights is None else with_weights(model, weights).eval()
    return model, source, build if whole else None


def _batches(source: Feed, count: int) -> list[Any]:
    """The first so many images of training, shuffled but as they are."""
    from nn.advice.trained import some

    images, labels = some(source, count)
    rows = range(0, len(images), BATCH)
    return [(images[first : first + BATCH], labels[first : first + BATCH]) for first in rows]
