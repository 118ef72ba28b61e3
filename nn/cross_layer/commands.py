"""`rps compress`: a folder of transformers becomes a smaller one, from the command line."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nn.options import options_in
from rpstheory.errors import ArgumentError, DataError, MissingError, Stopped
from rpstheory.report.files import write_text

if TYPE_CHECKING:
    import torch
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
    budget_params: Annotated[
        int | None, typer.Option("--budget-params", help="In its place: parameters of the whole model.")
    ] = None,
    budget_bytes: Annotated[
        int | None, typer.Option("--budget-bytes", help="In its place: bytes of the whole model.")
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", help="A text, or an .npy of images (n, channels, height, width)."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the new model; no model may be there yet.")
    ] = None,
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
    naming: Annotated[
        list[str] | None,
        typer.Option(
            "--naming",
            metavar="ROLE=PATTERN",
            help="Names of projections in a block that are not known, e.g. q=attn.wq; once for each.",
        ),
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
        bool, typer.Option("--dry-run", help="Print ranks, groups, bytes and time; config.json will do.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Make a transformer smaller by letting its layers share; the same command goes on after a stop.

    The new folder holds the factors (nn.load reads them into a model that is built from the config), the
    plan, and whatever else the old folder holds beside its weights.
    """
    options = options_in("compress", "--option", option or (), "share=loss", RESERVED)
    unsaid = compression is None and budget_params is None and budget_bytes is None
    given: dict[str, Any] = {
        "compression": 1.25 if unsaid else compression,
        "budget_params": budget_params,
        "budget_bytes": budget_bytes,
        "groups": None if groups is None else groups_in(groups),
        "include": include or (),
        "exclude": exclude or (),
        "naming": naming_in(naming) if naming else None,
        "seed": seed,
        **options,
    }
    if dry_run:
        import torch

        from nn.cross_layer.planning import plan_layers

        batches = [{"input_ids": torch.empty(sequences, length, dtype=torch.long, device="meta")}]  # counted
        if calibration is not None:
            batches = batches_in(calibration, model, length, sequences)
        _print(plan_layers(built(model, empty=True), method, calibration=batches, **given), json)
        return
    if out is None:
        raise ArgumentError("compress: no --out came; name a folder for the new model, or pass --dry-run")
    _require_room(out, model)
    _require_calibration(calibration, method, options)
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
    if batches is not None:
        _require_fit(dense, batches[0], str(calibration), length)
    plan = plan_layers(dense, method, calibration=batches, **given)
    shared = share_layers(
        dense, method, calibration=batches, inplace=True, resume=out / STAGES, progress=tell, **given
    )
    for each in model.iterdir():
        if each.is_file() and not each.name.endswith(WEIGHTS):
            shutil.copy(each, out / each.name)
    save(shared, out)
    write_text(out / PLAN, plan.to_json() + "\n", "compress")
    for stage in (out / STAGES).glob("*.safetensors"):  # what says of which run they are goes last
        stage.unlink()
    shutil.rmtree(out / STAGES)
    return plan


def _require_room(out: Path, model: Path) -> None:
    """Do nothing if a new model can be written to a folder, or goes on there.

    Raises:
        ArgumentError: If a model would be lost.
    """
    if out.resolve() == model.resolve():
        raise ArgumentError(
            f"compress: --out {out} came, which is MODEL_DIR; the dense model would be lost; choose another "
            "folder"
        )
    found = out.iterdir() if out.is_dir() and not (out / STAGES).is_dir() else ()
    if any(each.name == "config.json" or each.name.endswith(WEIGHTS) for each in found):
        raise ArgumentError(
            f"compress: --out {out} came, which holds a model that is finished; choose another folder, or "
            "remove it"
        )


def _require_calibration(calibration: Path | None, method: str, options: dict[str, Any]) -> None:
    """Do nothing if there is calibration data, or none is needed.

    Raises:
        ArgumentError: If it is missing.
    """
    from nn.cross_layer.method import method_of

    if method_of(method, options).calibrated and calibration is None:
        raise ArgumentError(
            f"compress: no --calibration came, and {method!r} looks at activations; pass --calibration FILE, "
            "a text or an .npy of images"
        )


def _require_fit(model: Any, batch: dict[str, torch.Tensor], path: str, length: int) -> None:
    """Do nothing if the model can be run on calibration data.

    Raises:
        ArgumentError: If the sequences are longer than what the model was made for.
        DataError: If the data are of another kind.
    """
    import torch

    from nn.cross_layer.streams import as_batches

    (name,) = batch
    if name != model.main_input_name:
        raise DataError(
            f"compress: {path} gives {name}, and the model reads {model.main_input_name}; pass a text for "
            "input_ids, an .npy of images for pixel_values"
        )
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if name == "input_ids" and limit is not None and length > limit:
        raise ArgumentError(
            f"compress: --length {length} came, and the model has {limit} positions; pass at most that"
        )
    with torch.no_grad():  # what cannot be run is said before there is a folder
        as_batches([batch])[0].run(model)


def built(folder: Path, *, empty: bool = False) -> tnn.Module:
    """The model of a folder of transformers, of the class in its config; without numbers if ``empty``.

    Raises:
        MissingError: If transformers is not installed.
        DataError: If the folder holds no such model, or not all of its parameters.
    """
    import torch
    from safetensors import SafetensorError

    transformers: Any = _transformers()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if not (folder / "config.json").is_file():
        raise DataError(f"compress: {folder} holds no config.json; pass a folder that transformers saved")
    if _is_shared(folder):
        raise DataError(f"compress: {folder} is compressed already; start from the dense model")
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        names = [name for name in config.architectures or () if hasattr(transformers, name)]
        kind: Any = getattr(transformers, names[0]) if names else transformers.AutoModel
        if empty:
            with torch.device("meta"):
                made = kind(config) if names else kind.from_config(config)
            return made.to(config.dtype or torch.float32)
        model, info = kind.from_pretrained(
            folder, config=config, local_files_only=True, ignore_mismatched_sizes=True,
            output_loading_info=True,
        )  # fmt: skip
    except (OSError, ValueError, LookupError, RuntimeError, SafetensorError) as error:
        raise DataError(
            f"compress: {folder} cannot be read as a model ({_brief(error)}); pass a folder that "
            "transformers saved"
        ) from None
    random = info["missing_keys"] | {name for name, *_ in info["mismatched_keys"]}
    for name, _ in model.named_parameters():
        if name in random:
            raise DataError(
                f"compress: {folder} holds no {name} of the shape that its config.json says, and random "
                "numbers would stand there; pass a checkpoint that is complete"
            )
    return model.eval()


def _is_shared(folder: Path) -> bool:
    """Whether :func:`nn.save` wrote the weights of a folder."""
    from safetensors import SafetensorError, safe_open

    from nn.saving import FORMAT, TENSORS

    try:
        with safe_open(folder / TENSORS, "pt") as file:
            return FORMAT in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def batches_in(path: Path, folder: Path, length: int, sequences: int, size: int = 8) -> list[dict[str, Any]]:
    """Calibration data: tokens of the paragraphs of a text one after another, cut to length; or images.

    Raises:
        DataError: If the file or the tokenizer cannot be read, or there is too little.
    """
    import torch

    images = path.suffix == ".npy"
    name = "pixel_values" if images else "input_ids"
    whole = _images_in(path) if images else _tokens_in(path, folder, length)
    return [{name: part} for part in torch.split(whole[:sequences], size)]


def _images_in(path: Path) -> torch.Tensor:
    import numpy as np
    import torch

    try:
        whole = torch.from_numpy(np.load(path, allow_pickle=False)).float()
    except (OSError, EOFError, TypeError, ValueError) as error:
        raise DataError(
            f"compress: {path} cannot be read as calibration data ({_brief(error)}); pass an .npy of images"
        ) from None
    if whole.ndim != 4 or not len(whole):
        raise DataError(
            f"compress: {path} is of shape {tuple(whole.shape)} and holds no images; pass an .npy of shape "
            "(n, channels, height, width)"
        )
    return whole


def _tokens_in(path: Path, folder: Path, length: int) -> torch.Tensor:
    import torch

    try:
        paragraphs = [part for part in path.read_text("utf-8").split("\n\n") if part.strip()]
    except (OSError, ValueError) as error:
        raise DataError(
            f"compress: {path} cannot be read as calibration data ({_brief(error)}); pass a text, or an .npy "
            "of images"
        ) from None
    tokenizer = _tokenizer_of(folder)
    flat = [token for part in paragraphs for token in tokenizer(part, truncation=False)["input_ids"]]
    if len(flat) < length:
        raise DataError(
            f"compress: {path} holds no sequence of {length} tokens; pass another file, or less --length"
        )
    return torch.tensor(flat[: len(flat) // length * length]).view(-1, length)


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


def _tokenizer_of(folder: Path) -> Any:
    """The tokenizer of a folder.

    Raises:
        DataError: If there is none; transformers would take one without words for some models.
    """
    kind: Any = _transformers().AutoTokenizer
    try:
        found = kind.from_pretrained(folder, local_files_only=True)
    except Exception:  # of tokenizers, which raise nothing narrower; their advice is on installing others
        found = None
    names = getattr(found, "vocab_files_names", {}).values()  # of a tokenizer of bytes: none
    if found is None or (names and not any((folder / n).is_file() for n in (*names, "tokenizer.json"))):
        raise DataError(
            f"compress: {folder} holds no tokenizer that can be read, and a text is calibration data only "
            "with that of the model; put its files there"
        )
    return found


def naming_in(texts: Iterable[str]) -> dict[str, list[str]]:
    """Patterns of projections by role.

    Raises:
        ArgumentError: If one is not ROLE=PATTERN.
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        role, _, pattern = text.partition("=")
        if not (role and pattern):
            raise ArgumentError(
                f"compress: --naming {text!r} came; ROLE=PATTERN is needed, such as q=attn.wq, once for each"
            )
        found.setdefault(role, []).append(pattern)
    return found


def _transformers() -> Any:
    try:
        import transformers
    except ModuleNotFoundError:
        raise MissingError(
            "compress: transformers is not installed; pip install 'rps-toolkit[nn,hf]'"
        ) from None
    return transformers


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


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
