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

from rpstheory.errors import DataError, RpsError

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
        images: Each gives one patch, at a place drawn at random; where a layer is called several times, one
            in each call.

    Raises:
        DataError: If the model does not run on them.
        RpsError: That the model raises itself.
    """
    met: dict[str, list[torch.Tensor]] = {}
    random = np.random.default_rng(0)

    def keep(name: str, module: tnn.Module, given: Any, named: dict[str, Any]) -> None:
        x: torch.Tensor = (*given, *named.values())[0]
        rows = [_one(each, random) for each in _patches(module, x.detach())]
        met.setdefault(name, []).append(torch.stack(rows))  # a copy: what follows may work in place

    modules = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, tnn.Linear) or (isinstance(module, tnn.Conv2d) and module.groups == 1)
    }
    hooks = [
        module.register_forward_pre_hook(partial(keep, name), with_kwargs=True)
        for name, module in modules.items()
    ]
    try:
        with torch.no_grad():
            model(images)
    except RpsError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        came = f"{images.dtype} {tuple(images.shape)}".removeprefix("torch.")
        raise DataError(
            f"advise: {type(model).__name__} does not run on these images ({came}): "
            f"{' '.join(str(error).split())[:200]}; pass batches that the model takes"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return [
        Layer(name, matrix_of(modules[name]), torch.cat(rows).double().numpy()) for name, rows in met.items()
    ]


def matrix_of(module: Any) -> NDArray[np.float64]:
    """The weight that a module multiplies with, shared and pruned ones too, (outputs, d)."""
    weight: torch.Tensor = module.weight.detach()
    return weight.flatten(1).double().cpu().numpy()


def _patches(module: tnn.Module, x: torch.Tensor) -> Iterator[torch.Tensor]:
    """For each image what a weight is multiplied with, (places, d)."""
    for image in x:
        if isinstance(module, tnn.Conv2d):
            mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
            padded = tnnf.pad(image[None], module._reversed_padding_repeated_twice, mode)
            unfolded = tnnf.unfold(
                padded, module.kernel_size, tuple(module.dilation), stride=tuple(module.stride)
            )
            yield unfolded[0].T
        else:
            yield image.reshape(-1, image.shape[-1])


def _one(places: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    return places[int(random.integers(len(places)))]
