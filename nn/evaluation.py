"""A run that is over, built again from its folder, tested, and put beside what it costs.

Nothing is scored or trained again: a bank is filled from the final weights, masks lie among them, and the
seed makes the mapping and the lambdas what they were.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn as tnn
from safetensors import torch as safetensors

from nn.budget import Budget, budget
from nn.data import Batches, feed, load
from nn.methods import SHARING, Builder, prepare
from nn.models.registry import build
from nn.pruning import masked, masks_in
from nn.recipes import Recipe
from nn.records import Record, perplexity_of, read
from nn.runs import model_in, seal_of, tensors_of
from nn.training import Training
from rpstheory import __version__
from rpstheory.errors import ArgumentError, DataError, ResumeError, RpsError

_COMPARED = ("status", "remark", "test_loss", "test_accuracy", "collapsed", "budget")


@dataclass(frozen=True)
class Evaluation:
    """What a trained network does, and what it costs.

    Attributes:
        run: Its folder.
        data: What it was tested on.
        images: How many, or windows of a text.
        loss: Mean cross-entropy, of a text per token.
        accuracy: Share that is right.
        perplexity: exp(loss) of a text; None of images.
        recorded: The accuracy at the end of training; None on other data.
        budget: What is stored, and what one image costs.
        remark: What to know beside, such as layers of which pruning left nothing.
    """

    run: str
    data: str
    images: int
    loss: float
    accuracy: float
    perplexity: float | None
    recorded: float | None
    budget: Budget
    remark: str

    def to_json(self) -> dict[str, Any]:
        """As plain numbers and words."""
        return asdict(self)


def evaluate(
    folder: Path | str, data: str | None = None, *, root: Path | str | None = None, device: str | None = None
) -> Evaluation:
    """Test the final weights of a run, or their average where the recipe keeps one.

    Args:
        folder: Of a finished run.
        data: To test on, in place of the run's own: name or path, as for :func:`nn.data.load`.
        root: As for :func:`nn.data.load`.
        device: Where; a GPU if there is one.

    Raises:
        ArgumentError: If the run is not finished, or the data have other images or classes.
        DataError: If there is no run, or its weights or the data cannot be read.
        ResumeError: If the run was made by another version.
    """
    record = finished(Path(folder))
    how = record.configuration
    recipe = recipe_in(record)
    if data is None:
        source = feed(how["data"], recipe.batch, how["seed"], held_out=how["held_out"], root=root)
        if record.data != source.digest:
            raise DataError(
                f"eval: {how['data']} holds other images or labels than {folder} was trained on; bring those "
                "back, or pass data to test on others"
            )
        held = source.held
    else:
        test = load(data, root, train=False)
        held = Batches(test, min(recipe.batch, len(test)))
    images = held.dataset
    make = partial(build, how["model"], len(images.classes), images.images.shape[-1])
    state = state_of(record)
    try:
        model = model_of(make, how, state).to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        training = Training(model, recipe, 1, how["seed"])  # no step is taken
        training.from_bytes(state)
    except RpsError as error:
        raise ArgumentError(
            f"eval: the weights of {folder} do not fit {how['model']} on {data or how['data']} ({error}); "
            "pass data with the images and classes that it was trained on"
        ) from None
    score = training.test(held.in_order())
    with torch.device("meta"):
        dense = make(1.0)
    return Evaluation(
        run=record.folder.name,
        data=images.name,
        images=len(images) if held.rows is None else len(held.rows),
        loss=score.loss,
        accuracy=score.accuracy,
        perplexity=perplexity_of(score.loss) if images.text else None,
        recorded=None if data else record.result["test_accuracy"],
        budget=budget(model, dense, images.shape),
        remark=record.remark,
    )


def network(folder: Path | str, *, root: Path | str | None = None) -> tnn.Module:
    """The network of a finished run with its final weights, or their average where the recipe keeps one.

    Shared or pruned as it was trained: for :func:`nn.save`, :func:`nn.to_dense`, or to use.

    Args:
        folder: Of the run.
        root: As for :func:`nn.data.load`.

    Raises:
        ArgumentError: If the run is not finished, or its weights do not fit its data.
        DataError: If there is no run, or its weights or data cannot be read.
        ResumeError: If the run was made by another version.
    """
    record = finished(Path(folder))
    how = record.configuration
    images = load(how["data"], root, train=False)
    return network_in(record, partial(build, how["model"], len(images.classes), images.images.shape[-1]))


def network_in(record: Record, make: Builder) -> tnn.Module:
    """As :func:`network`, of an architecture for the data of the run.

    Raises:
        ArgumentError: If the weights do not fit it.
        DataError: If they cannot be read.
    """
    how, state = record.configuration, state_of(record)
    try:
        training = Training(model_of(make, how, state), recipe_in(record), 1, how["seed"])  # no step is taken
        training.from_bytes(state)
    except RpsError as error:
        raise ArgumentError(
            f"run: the weights of {record.folder} do not fit {how['model']} on {how['data']} ({error}); "
            "pass a run whose data are as they were"
        ) from None
    for name, value in (*training.model.named_parameters(), *training.model.named_buffers()):
        if name in training.average:
            value.detach().copy_(training.average[name])
    return training.model.eval()


def recipe_in(record: Record) -> Recipe:
    """The recipe of a recorded configuration."""
    fields = record.configuration["recipe"]
    return Recipe(**fields | {"drops": tuple(fields["drops"])})


def circumstances(first: Record, again: Record) -> list[str]:
    """What was not the same for two runs of one configuration, and may make them differ."""
    found = [name for name in ("data", "code") if getattr(first, name) != getattr(again, name)]
    places = [each.result.get("places") for each in (first, again)]
    return found + (["device or threads"] if places[0] != places[1] else [])


def differences(first: Record, again: Record) -> list[str]:
    """In what two runs of one configuration differ, to the last bit of the weights.

    Raises:
        DataError: If weights cannot be read.
    """
    found = [name for name in _COMPARED if first.result.get(name) != again.result.get(name)]
    rows = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in each.rows] for each in (first, again)
    ]
    if rows[0] != rows[1]:
        found.append("the numbers of the epochs")
    states = [sorted(each.folder.glob("round-*/state.safetensors")) for each in (first, again)]
    if [path.parent.name for path in states[0]] != [path.parent.name for path in states[1]]:
        return [*found, "the number of rounds"]
    for one, other in zip(*states, strict=True):
        if _bits(one) != _bits(other):
            found.append(f"the weights of {one.parent.name}")
    return found


def _bits(state: Path) -> dict[str, tuple[torch.dtype, tuple[int, ...], bytes]]:
    """Every tensor of a state, as its bytes."""
    return {
        name: (
            value.dtype,
            tuple(value.shape),
            value.contiguous().view(-1).view(torch.uint8).numpy().tobytes(),
        )
        for name, value in tensors_of(state).items()
    }


def finished(folder: Path) -> Record:
    """The record of a run that is over.

    Raises:
        ArgumentError: If it is not.
        ResumeError: If it is of another version.
    """
    record = read(folder)
    if record.version != __version__:
        raise ResumeError(
            f"run: {folder} was made by version {record.version}, and this is {__version__}; use that version"
        )
    if record.status != "finished":
        raise ArgumentError(f"run: {folder} is {record.status}; a finished run is needed")
    return record


def state_of(record: Record) -> bytes:
    """The state at the end of the last round.

    Raises:
        DataError: If it cannot be read, or is not what training left.
    """
    state = record.folder / f"round-{record.rows[-1]['round']}" / "state.safetensors"
    if record.result.get("seal", "") not in ("", seal_of(tensors_of(state))):
        raise DataError(
            f"run: {state} was changed after training, or damaged (its digest is not that of result.json); "
            "bring it back, or remove the folder of the run, and train again"
        )
    return state.read_bytes()


def model_of(make: Builder, how: dict[str, Any], state: bytes) -> tnn.Module:
    """The model that was trained, its tensors still to be filled."""
    with torch.random.fork_rng():
        torch.manual_seed(how["seed"])
        if how["method"] in (*SHARING, "smaller"):
            return prepare(how["method"], make, how["compression"], seed=how["seed"], options=how["options"])
        return masked(make(1.0), masks_in(model_in(safetensors.load(state))))
