"""A run that is over, as practice looks at it: the network with its final weights, and what it meets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn as tnn
import torch.nn.functional as tnnf

from nn.data import feed
from nn.evaluation import finished, model_of, recipe_in, state_of
from nn.models.registry import build
from nn.training import Batch, Training
from rpstheory.errors import ArgumentError, RpsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nn.data import Feed
    from nn.records import Record

LIKE_DENSE = 10.0  # compression for a run that has none of its own


@dataclass(frozen=True, eq=False)
class Trained:
    """A network and its data.

    Attributes:
        record: Of the run.
        model: In eval mode, on the CPU.
        source: Its data.
    """

    record: Record
    model: tnn.Module
    source: Feed

    @property
    def name(self) -> str:
        """What was run, in a few words."""
        how = self.record.configuration
        return f"{how['model']} {how['method']} {how['compression']:g}x"

    @property
    def compression(self) -> float:
        """That of the run; 10 for one without."""
        own = self.record.configuration["compression"]
        return own if own > 1 else LIKE_DENSE

    @property
    def seed(self) -> int:
        """Of the run."""
        return int(self.record.configuration["seed"])

    def images(self, count: int, *, train: bool = True) -> Batch:
        """The first so many images of training, shuffled but as they are; or of the test set."""
        part = self.source.train if train else self.source.held
        size = len(part.dataset) if part.rows is None else len(part.rows)
        rows = np.arange(size) if part.rows is None else part.rows
        chosen = np.random.default_rng(0).permutation(rows)[:count]
        own = type(part)(part.dataset, len(chosen), rows=chosen)
        return next(own.in_order())


@dataclass(frozen=True, eq=False)
class Layer:
    """A trained weight, and inputs that it met: for a convolution the patches under its kernel.

    Attributes:
        name: Of the module.
        weight: (outputs, d) float64.
        inputs: (patches, d) float64.
    """

    name: str
    weight: NDArray[np.float64]
    inputs: NDArray[np.float64]


def trained(folder: Path | str, root: Path | str | None = None) -> Trained:
    """The network of a finished run.

    Args:
        folder: Of the run.
        root: As for :func:`nn.data.load`.

    Raises:
        ArgumentError: If the run is not finished, or its weights do not fit its data.
        DataError: If there is no run, or its weights or data cannot be read.
        ResumeError: If the run was made by another version.
    """
    record = finished(Path(folder))
    how, recipe = record.configuration, recipe_in(record)
    source = feed(how["data"], recipe.batch, how["seed"], held_out=how["held_out"], root=root)
    images = source.train.dataset
    make = partial(build, how["model"], len(images.classes), images.images.shape[-1])
    state = state_of(record)
    try:
        training = Training(model_of(make, how, state), recipe, source.steps, how["seed"])
        training.from_bytes(state)
    except RpsError as error:
        raise ArgumentError(
            f"practice: the weights of {folder} do not fit {how['model']} on {how['data']} ({error}); "
            "pass a run whose data are as they were"
        ) from None
    for name, value in (*training.model.named_parameters(), *training.model.named_buffers()):
        if name in training.average:
            value.detach().copy_(training.average[name])
    return Trained(record, training.model.eval(), source)


def layers(network: Trained, patches: int) -> list[Layer]:
    """Every convolution and linear layer that images go through, with patches of as many images.

    Args:
        network: Whose.
        patches: Of each layer, one of an image, at a place drawn at random.
    """
    met: dict[str, torch.Tensor] = {}
    model = network.model
    modules = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, tnn.Linear) or (isinstance(module, tnn.Conv2d) and module.groups == 1)
    }
    hooks = [
        module.register_forward_pre_hook(partial(_keep_input, met, name)) for name, module in modules.items()
    ]
    try:
        with torch.no_grad():
            model(network.images(patches)[0])
    finally:
        for hook in hooks:
            hook.remove()
    random = np.random.default_rng(0)
    found = []
    for name, x in met.items():
        weight = _weight(modules[name]).flatten(1).double().numpy()
        rows = torch.stack([_one(each, random) for each in _patches(modules[name], x)])
        found.append(Layer(name, weight, rows.double().numpy()))
    return found


def _weight(module: Any) -> torch.Tensor:
    weight: torch.Tensor = module.weight.detach()
    return weight


def _keep_input(met: dict[str, torch.Tensor], name: str, module: tnn.Module, given: Any) -> None:
    met[name] = given[0].detach()


def _patches(module: tnn.Module, x: torch.Tensor) -> Iterator[torch.Tensor]:
    """For each image what a weight is multiplied with, (places, d)."""
    for image in x:
        if isinstance(module, tnn.Conv2d):
            padding = tuple(module.padding) if not isinstance(module.padding, str) else (0, 0)
            unfolded = tnnf.unfold(
                image[None], module.kernel_size, tuple(module.dilation), padding, tuple(module.stride)
            )
            yield unfolded[0].T
        else:
            yield image.reshape(-1, image.shape[-1])


def _one(places: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    return places[int(random.integers(len(places)))]
