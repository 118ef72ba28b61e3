"""What a model costs beside the dense one: the only judge of budgets, whatever the method.

Everything is counted on the tensors that are there (banks, masks, parameters), nothing on what was asked for.

* A number that is kept costs its own bytes. A bank also stores a seed, and a lambda for each weight tensor; a
  mask is charged the index that is cheapest for its tensor: none (zeros stored), a bit for every weight, CSR,
  or the gaps between the weights that are kept, a byte each (Han et al., ICLR 2016). Names and shapes, the
  header of a file, are the same for all and not counted.
* FLOPs are twice the multiply-adds of products and convolutions for one image, pixels of padding included. A
  dropped weight takes part in none. A bank changes no shape and hence no FLOP: making the weights from it is
  memory traffic. Factors are counted as they are run: one product after another, a sparse one like a dense.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn as tnn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from nn.costs import Cost, formats
from nn.layers import factors_of, views_of
from nn.planning import Group, Options, Plan, Weight, survey
from nn.pruning import Masks, masks_of
from nn.pruning.masks import own_name
from nn.sharing import banks_of
from rpstheory.errors import ArgumentError

ESCAPE = 255  # the byte that says: so many dropped weights, and more

Shapes = dict[str, tuple[int, ...]]
Inputs = tuple[int, ...] | Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Budget:
    """What a model costs, and the dense one.

    Attributes:
        weights: Compressible numbers that are stored: cells, weights that a mask keeps, or all of them.
        params: Those and the parameters that stay dense.
        bytes: Stored, index and buffers included.
        index: Of these, what says where the numbers belong: seeds and lambdas, or the index of a mask.
        form: dense, shared, factored, or pruned and the indices of its masks.
        flops: For one image.
        dense_weights: Compressible weights of the dense model.
        dense_params: Its parameters.
        dense_bytes: Its parameters and buffers.
        dense_flops: Its own.
        compression: The paper's: compressible weights over those stored.
        total_compression: All parameters over those stored.
    """

    weights: int
    params: int
    bytes: int
    index: int
    form: str
    flops: int
    dense_weights: int
    dense_params: int
    dense_bytes: int
    dense_flops: int
    compression: float
    total_compression: float


def budget(
    model: tnn.Module, dense: tnn.Module, shape: Inputs, *, dtype: torch.dtype | None = None
) -> Budget:
    """What a model costs, beside the dense one of its architecture.

    Compressible are the weights that :func:`nn.share` takes by itself, and any other that the model shares
    or prunes; in a dense and in a smaller model all weights of layers.

    Args:
        model: Dense, shared, pruned, or a smaller one.
        dense: The architecture, on any device; meta will do.
        shape: Of an image: (channels, height, width); or arguments of the model by name, for one example.
        dtype: Of an image, such as that of tokens; that of the parameters if None.

    Raises:
        ArgumentError: If the dense model is shared or pruned, is not the one that was, or takes no such
            images; or a tied weight is not pruned alike in all places.
    """
    if banks_of(dense) or factors_of(dense) or masks_of(dense):
        raise ArgumentError("budget: the dense model is shared or pruned itself; pass the architecture")
    masks, touched = _masks(model), _touched(model)
    _require_same(dense, touched)
    others = ("",) if touched else ("", "small")
    compressible = {
        found.names[0]: found.parameter
        for found in survey(dense)
        if found.why in others or any(name in touched for name in found.names)
    }
    kept = {name: int(mask.sum()) for name, mask in masks.items()}
    dropped = {name: masks[name].numel() - count for name, count in kept.items()}
    factors = factors_of(model)
    cells = sum(bank.phi.numel() for bank in banks_of(model)) + sum(f.parameter.numel() for f in factors)
    plain = sum(p.numel() for name, p in model.named_parameters() if name in compressible)
    weights, params = cells + sum(kept.values()) + plain, parameters_in(model) - sum(dropped.values())
    dense_weights, dense_params = sum(p.numel() for p in compressible.values()), parameters_in(dense)
    values, index, form = _stored(model, masks)
    dense_flops, of_weight = flops(dense, shape, dtype=dtype)
    saved = sum(of_weight.get(name, 0) // masks[name].numel() * count for name, count in dropped.items())
    return Budget(
        weights=weights,
        params=params,
        bytes=values + index,
        index=index,
        form=form,
        flops=dense_flops - saved if touched and not factors else flops(model, shape, dtype=dtype)[0] - saved,
        dense_weights=dense_weights,
        dense_params=dense_params,
        dense_bytes=_size(dense),
        dense_flops=dense_flops,
        compression=dense_weights / max(1, weights),
        total_compression=dense_params / max(1, params),
    )


def flops(
    model: tnn.Module, shape: Inputs, *, dtype: torch.dtype | None = None
) -> tuple[int, dict[str, int]]:
    """FLOPs of one image, and those in which each weight (not the biases) takes part.

    Args:
        model: Any plain module; it is not run itself, but a copy without numbers.
        shape: Of an image, or arguments by name.
        dtype: Of an image; that of the parameters if None.

    Raises:
        ArgumentError: If it takes no such images.
    """
    ghost = copy.deepcopy(model).to("meta").eval()
    first: dict[int, str] = {}
    names: dict[int, str] = {}  # without numbers, a tied weight is several
    for name, parameter in model.named_parameters(remove_duplicate=False):
        one = first.setdefault(id(parameter), name)
        if parameter.ndim > 1:
            names[_memory(ghost.get_parameter(name))] = one
    kind = next((p.dtype for p in ghost.parameters() if p.is_floating_point()), torch.float32)
    try:
        with _Counter(names) as counter:
            if isinstance(shape, Mapping):
                ghost(**{name: torch.empty_like(value, device="meta") for name, value in shape.items()})
            else:
                ghost(torch.empty(1, *shape, dtype=dtype or kind, device="meta"))
    except (RuntimeError, ValueError, TypeError, LookupError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ArgumentError(
            f"budget: the model does not take an image of shape {tuple(shape)} ({reason}); pass (channels, "
            "height, width) of its data, or arguments by name"
        ) from None
    return counter.whole, counter.of


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the FLOPs of everything that is run inside, and by weight."""

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.whole = 0
        self.of: dict[str, int] = {}
        self._names = names

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            count = formula(*args, **(kwargs or {}), out_val=out)
            self.whole += count
            operands = (_memory(each) for each in args if isinstance(each, torch.Tensor))
            for name in {self._names[memory] for memory in operands if memory in self._names}:
                self.of[name] = self.of.get(name, 0) + count
        return out


def _memory(tensor: torch.Tensor) -> int:
    """What a tensor and its views have in common, also where they have no numbers."""
    return tensor.untyped_storage()._cdata


# ---------------------------------------------------------------------------------------- counts


def parameters_in(model: tnn.Module) -> int:
    """Numbers in all parameters, a tied one once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _size(model: tnn.Module) -> int:
    """Bytes of all parameters and stored buffers but masks, each once."""
    masks = {id(mask) for mask in masks_of(model).values()}
    held = {id(each): each for each in model.state_dict(keep_vars=True).values()}
    tensors = (each for key, each in held.items() if key not in masks and isinstance(each, torch.Tensor))
    return sum(each.nbytes for each in tensors)


def _stored(model: tnn.Module, masks: Masks) -> tuple[int, int, str]:
    """Bytes of numbers, bytes of index, and the form."""
    values, banks, factors = _size(model), banks_of(model), factors_of(model)
    bits = sum(factor.index_bytes for factor in factors)
    values, index = values - bits, bits + sum(bank.index_bytes for bank in banks)
    parameters, names = dict(model.named_parameters(remove_duplicate=False)), set()
    for name, mask in masks.items():
        prefix, _, local = name.rpartition(".")
        whole = parameters[f"{prefix}{'.' * bool(prefix)}parametrizations.{local}.original"]
        best = min(indices(mask, whole.element_size()), key=lambda cost: cost.total)
        values += best.values - whole.nbytes
        index += best.index
        names.add(best.name.removeprefix("pruned, "))
    pruned = f"pruned: {', '.join(sorted(names))}" if masks else ""
    return values, index, pruned or ("shared" if banks else "factored" if factors else "dense")


def indices(mask: torch.Tensor, itemsize: int) -> list[Cost]:
    """What a pruned tensor costs by the way in which it says what was kept.

    Args:
        mask: True where a weight is kept.
        itemsize: Bytes of a weight.
    """
    weight = Weight("", (), "", tuple(mask.shape), itemsize, "")
    group = Group("", (weight,), int(mask.sum()), 0, Options(1))
    costs = {cost.name: cost for cost in formats(Plan((group,), (), 0))}
    plain = [costs[f"pruned, {name}"] for name in ("zeros stored", "bitmask", "CSR, int32")]
    return [*plain, Cost("pruned, gaps", group.m * itemsize, _gaps(mask))]


def _gaps(mask: torch.Tensor) -> int:
    """Bytes that say how many weights are dropped before each one that is kept: 255 … 255 rest."""
    place = mask.reshape(-1).nonzero().reshape(-1)
    gap = torch.diff(place, prepend=place.new_tensor([-1])) - 1
    return len(gap) + int((gap // ESCAPE).sum())


# ---------------------------------------------------------------------------------------- checks


def _touched(model: tnn.Module) -> Shapes:
    """The shapes of all weights that are shared or pruned, by the names that they have in the dense model."""
    found = {name: tuple(mask.shape) for name, mask in masks_of(model).items()}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for local, view in views_of(module).items():
            found[f"{prefix}.{local}" if prefix else local] = view.shape
    return found


def _masks(model: tnn.Module) -> Masks:
    """The mask of every pruned parameter, under the first of its names.

    Raises:
        ArgumentError: If a tied weight is pruned in one place only, or not in all alike.
    """
    masks = masks_of(model)
    first: dict[int, str] = {}
    for name, value in model.named_parameters(remove_duplicate=False):
        one = first.setdefault(id(value), own_name(name))
        mask, other = masks.get(one), masks.get(own_name(name))
        if mask is not other and (mask is None or other is None or not torch.equal(mask, other)):
            raise ArgumentError(
                f"budget: {one} and {own_name(name)} are tied, and not pruned alike; give both the same mask"
            )
    return {name: masks[name] for name in first.values() if name in masks}


def _require_same(dense: tnn.Module, shapes: Shapes) -> None:
    """Do nothing if the dense model has every weight that is shared or pruned.

    Raises:
        ArgumentError: If it has not.
    """
    there = {name: tuple(p.shape) for name, p in dense.named_parameters(remove_duplicate=False)}
    for name, shape in shapes.items():
        if there.get(name) != shape:
            raise ArgumentError(
                f"budget: {name} has shape {shape} in the model and {there.get(name, 'no place')} in the "
                "dense one; pass the architecture that was shared or pruned"
            )
