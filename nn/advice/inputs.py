"""What the layers of a network are given: weights as matrices, and inputs that they met."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn as tnn
import torch.nn.functional as tnnf

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Layer:
    """A weight, and inputs that it met: for a convolution the patches under its kernel.

    Attributes:
        name: Of the module.
        weight: (outputs, d) float64.
        inputs: (patches, d) float64.
    """

    name: str
    weight: NDArray[np.float64]
    inputs: NDArray[np.float64]


def layers_of(model: tnn.Module, images: torch.Tensor) -> list[Layer]:
    """Every convolution and linear layer that images go through, with a patch of each image.

    Args:
        model: Run once, in the mode it is in.
        images: Each gives one patch, at a place drawn at random.
    """
    met: dict[str, torch.Tensor] = {}
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
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    random = np.random.default_rng(0)
    found = []
    for name, x in met.items():
        rows = torch.stack([_one(each, random) for each in _patches(modules[name], x)])
        found.append(Layer(name, matrix_of(modules[name]), rows.double().numpy()))
    return found


def matrix_of(module: Any) -> NDArray[np.float64]:
    """The weight that a module multiplies with, shared and pruned ones too, (outputs, d)."""
    weight: torch.Tensor = module.weight.detach()
    return weight.flatten(1).double().cpu().numpy()


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
