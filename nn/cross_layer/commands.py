"""`rps compress`: a folder of transformers becomes a smaller one, from the command line."""

from __future__ import annotations

import json as writer
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rpstheory.errors import ArgumentError, DataError, MissingError, Stopped

if TYPE_CHECKING:
    import torch.nn as tnn

    from nn.cross_layer.planning import LayersPlan

METHODS = "svd, basis, fips, geo, rps"  # the registry's own names: asking it would import torch for --help
WEIGHTS = (
    ".safetensors",
    ".bin",
    ".msgpack",
    ".h5",
    ".onnx",
    ".json.index",
)  # not copied beside the new ones
STAGES, PLAN = "stages", "plan.json"
RESERVED = (
    "compression", "budget_params", "budget_bytes", "calibration", "groups", "include", "exclude", "naming",
    "seed", "inplace", "resume", "progress",
)  # fmt: skip


def compress(
    model: Annotated[
        Path, typer.Argument(help="Folder of transformers, with config.json.", metavar="MODEL_DIR")
    ],
    method: Annotated[str, typer.Option("--method", help=f"One of {METHODS}.")] = "basis",
    compression: Annotated[
        float | None,
        typer.Option("--compression", help="Bytes of the projections over those kept.", show_default="1.25"),
    ] = None,
    budget_bytes: Annotated[
        int | None, typer.Option("--budget-bytes", help="In its place: bytes of the whole model.")
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", help="A text, or an .npy of images (n, channels, height, width)."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the new model.")] = None,
    groups: Annotated[
        str | None,
        typer.Option(
            "--groups",
            help="adjacent:n, auto, or layers: 0,1;2,3,4.",
            show_default="adjacent:2 for basis, auto for others",
        ),
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option("--include", help="Only these projections; once for each pattern.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="Not these; once for each pattern.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=VALUE", help="Of the method, e.g. share=loss; once for each."),
    ] = None,
    length: Annotated[int, typer.Option("--length", help="Tokens of a sequence.", min=1)] = 128,
    sequences: Annotated[
        int, typer.Option("--sequences", help="Sequences, or images, at most.", min=1)
    ] = 256,
    seed: Annotated[int, typer.Option("--seed", help="Names everything random.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print ranks, groups, bytes and time; needs config.json only.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Make a transformer smaller by letting its layers share; the same command goes on after a stop.

    The new folder holds the factors (nn.load reads them into a model that is built from the config), the
    plan, and whatever else the old folder holds beside its weights.
    """
    given: dict[str, Any] = {
        "compression": 1.25 if compression is None and budget_bytes is None else compression,
        "budget_bytes": budget_bytes,
        "groups": None if groups is None else groups_in(groups),
        "include": include or (),
        "exclude": exclude or (),
        "seed": seed,
        **options_in(option or ()),
    }
    if dry_run:
        from nn.cross_layer.planning import plan_layers

        _print(plan_layers(built(model, empty=True), method, **given), json)
        return
    if out is None:
        raise ArgumentError("compress: no --out came; name a folder for the new model, or pass --dry-run")
    with _telling() as tell:
        plan = _compressed(model, out, method, calibration, length, sequences, given, tell)
    _print(plan, json)


def _compressed(
    model: Path, out: Path, method: str, calibration: Path | None, length: int, sequences: int,
    given: dict[str, Any], tell: Any,
) -> LayersPlan:  # fmt: skip
    """Compress a folder into another; returns what was planned."""
    from nn.cross_layer.planning import plan_layers
    from nn.cross_layer.sharing import share_layers
    from nn.saving import save

    dense = built(model)
    batches = None if calibration is None else batches_in(calibration, model, length, sequences)
    plan = plan_layers(dense, method, calibration=batches, **given)
    shared = share_layers(
        dense, method, calibration=batches, inplace=True, resume=out / STAGES, progress=tell, **given
    )
    save(shared, out)
    (out / PLAN).write_text(plan.to_json() + "\n")
    for each in model.iterdir():
        if each.is_file() and not each.name.endswith(WEIGHTS) and not (out / each.name).exists():
            shutil.copy(each, out / each.name)
    shutil.rmtree(out / STAGES)
    return plan


def built(folder: Path, *, empty: bool = False) -> tnn.Module:
    """The model of a folder of transformers, of the class in its config; without numbers if ``empty``.

    Raises:
        MissingError: If transformers is not installed.
        DataError: If the folder holds no such model.
    """
    import torch

    transformers: Any = _transformers()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if not (folder / "config.json").is_file():
        raise DataError(f"compress: {folder} holds no config.json; pass a folder that transformers saved")
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        names = [name for name in config.architectures or () if hasattr(transformers, name)]
        kind: Any = getattr(transformers, names[0]) if names else transformers.AutoModel
        if not empty:
            return kind.from_pretrained(folder, config=config, local_files_only=True).eval()
        with torch.device("meta"):
            made = kind(config) if names else kind.from_config(config)
        return made.to(config.dtype or torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"compress: {folder} cannot be read as a model ({reason}); pass a folder that transformers saved"
        ) from None


def batches_in(path: Path, folder: Path, length: int, sequences: int, size: int = 8) -> list[dict[str, Any]]:
    """Calibration data: tokens of the paragraphs of a text one after another, cut to length; or images.

    Raises:
        DataError: If the file cannot be read, or is too short.
    """
    import numpy as np
    import torch

    images = path.suffix == ".npy"
    try:
        if images:
            whole = torch.from_numpy(np.load(path, allow_pickle=False)).float()
        else:
            paragraphs = [part for part in path.read_text().split("\n\n") if part.strip()]
            tokenizer = _transformers().AutoTokenizer.from_pretrained(folder, local_files_only=True)
            flat = [token for part in paragraphs for token in tokenizer(part, truncation=False)["input_ids"]]
            whole = torch.tensor(flat[: len(flat) // length * length], dtype=torch.long).view(-1, length)
    except (OSError, ValueError) as error:
        raise DataError(
            f"compress: {path} cannot be read as calibration data ({error}); pass a text, or an .npy "
            "of images"
        ) from None
    if not len(whole) or (images and whole.ndim != 4):
        needed = "images (n, channels, height, width)" if images else f"sequence of {length} tokens"
        raise DataError(f"compress: {path} holds no {needed}; pass another file, or less --length")
    name = "pixel_values" if images else "input_ids"
    return [{name: part} for part in torch.split(whole[:sequences], size)]


def groups_in(text: str) -> str | list[list[int]]:
    """Groups of layers as they are written on a command line.

    Raises:
        ArgumentError: If they are not.
    """
    if text == "auto" or ":" in text:
        return text
    try:
        return [[int(layer) for layer in group.split(",")] for group in text.split(";")]
    except ValueError:
        raise ArgumentError(
            f"compress: --groups {text!r} came; pass adjacent:2, auto, or layers such as '0,1;2,3,4'"
        ) from None


def options_in(texts: Iterable[str]) -> dict[str, Any]:
    """Names and values: JSON where they can be, else text.

    Raises:
        ArgumentError: If one is not NAME=VALUE, or the name of another argument.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not (mark and value and name.isidentifier()) or name in RESERVED or name in found:
            raise ArgumentError(
                f"compress: --option {text!r} came; NAME=VALUE of the method is needed, such as share=loss, "
                "each name once"
            )
        try:
            found[name] = writer.loads(value)
        except ValueError:
            found[name] = value
    return found


def _transformers() -> Any:
    try:
        import transformers
    except ModuleNotFoundError:
        raise MissingError(
            "compress: transformers is not installed; pip install 'rps-toolkit[nn,hf]'"
        ) from None
    return transformers


def _print(plan: LayersPlan, json: bool) -> None:
    typer.echo(plan.to_json() if json else str(plan))


@contextmanager
def _telling() -> Iterator[Any]:
    """Says each stage on stderr, with the seconds since the start.

    Raises:
        Stopped: If the user interrupts.
    """
    begin = time.monotonic()

    def tell(text: str) -> None:
        typer.echo(f"{time.monotonic() - begin:7.1f} s  {text}", err=True)

    try:
        yield tell
    except KeyboardInterrupt:
        raise Stopped("compress: stopped; the same command goes on from the last stage") from None
