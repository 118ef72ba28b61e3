"""Masks: chosen by score, exact in size, and laid over a model's weights."""

from __future__ import annotations

import re
from collections.abc import Mapping as Dict
from typing import Literal

import torch
import torch.nn as tnn
from torch.nn.utils import parametrize

from rpstheory.errors import ArgumentError, DataError, KindError, ShapeError

Masks = dict[str, torch.Tensor]
"""(shape of the weight,) bool by name of parameter: True where a weight is kept."""
Scope = Literal["global", "layer"]
_MASK = re.compile(r"(^|\.)parametrizations\.(\w+)\.0\.mask$")


class Masked(tnn.Module):
    """A weight as the network sees it: 0 where it is dropped."""

    mask: torch.Tensor

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """``weight`` where it is kept, else 0."""
        return torch.where(self.mask, weight, 0)


def keep_largest(
    scores: Dict[str, torch.Tensor], count: int, among: Masks | None = None, scope: Scope = "global"
) -> Masks:
    """The masks that keep exactly ``count`` weights: those of largest score.

    Where scores are equal, the weight that comes first in the order of the model is kept.

    Args:
        scores: By name, in the order of the model; larger is kept.
        count: Weights to keep, of all layers together.
        among: Only weights that these keep.
        scope: "global" ranks all layers together; "layer" keeps the same share of each, whole numbers
            that add up to ``count``.

    Raises:
        ArgumentError: If so many cannot be kept.
        DataError: If a score is nan.
    """
    ranks = {name: score.detach().double().reshape(-1) for name, score in scores.items()}
    for name, rank in ranks.items():
        if torch.isnan(rank).any():
            raise DataError(f"prune: the score of {name} is nan; lower the scale of the init or of the data")
    kept = {name: (among[name].reshape(-1) if among else torch.ones_like(rank, dtype=torch.bool))
            for name, rank in ranks.items()}  # fmt: skip
    available = sum(int(mask.sum()) for mask in kept.values())
    if not 0 < count <= available:
        raise ArgumentError(f"prune: {count} weights are to be kept of {available}; pass 1 … {available}")
    if scope == "layer":
        counts = _shares([int(mask.sum()) for mask in kept.values()], count)
        found = [_largest(ranks[name], kept[name], size) for name, size in zip(ranks, counts, strict=True)]
    else:
        whole = _largest(torch.cat(list(ranks.values())), torch.cat(list(kept.values())), count)
        found = list(torch.split(whole, [len(rank) for rank in ranks.values()]))
    return {name: mask.view(scores[name].shape) for name, mask in zip(scores, found, strict=True)}


def masked(model: tnn.Module, masks: Masks) -> tnn.Module:
    """The model, changed: weights that a mask drops are 0 and stay so, in every place of a tied weight.

    A second call replaces the masks of the first.

    Raises:
        ArgumentError: If there is no such weight.
        KindError: If a mask is not of truth values.
        ShapeError: If a mask has another shape than its weight.
    """
    weights = _weights(model)
    for name, mask in masks.items():
        weight = weights.get(name)
        if weight is None:
            raise ArgumentError(f"prune: a mask came for {name!r}, which is no weight of the model")
        if mask.dtype != torch.bool:
            raise KindError(f"prune: the mask of {name} holds {mask.dtype}; pass truth values")
        if mask.shape != weight.shape:
            raise ShapeError(
                f"prune: the mask of {name} has shape {tuple(mask.shape)}, the weight {tuple(weight.shape)}"
            )
    for name, mask in masks.items():
        there = mask.to(weights[name].device)
        for tied in (other for other, weight in weights.items() if weight is weights[name]):
            module, local = _place(model, tied)
            if parametrize.is_parametrized(module, local):
                module.parametrizations[local][0].mask = there  # type: ignore[index, union-attr]
            else:
                parametrize.register_parametrization(module, local, Masked(there), unsafe=True)
    return model


def masks_of(model: tnn.Module) -> Masks:
    """The masks of a model, by the name that the weight had before; empty where nothing is pruned."""
    found: Masks = {}
    for prefix, module in model.named_modules():
        if parametrize.is_parametrized(module):
            for local, chain in module.parametrizations.items():
                if isinstance(chain[0], Masked):
                    found[f"{prefix}.{local}" if prefix else local] = chain[0].mask
    return found


def masks_in(tensors: Dict[str, torch.Tensor]) -> Masks:
    """The masks that lie among the tensors of a model's state, by the name that the weight had before."""
    return {_MASK.sub(r"\1\2", name): value for name, value in tensors.items() if _MASK.search(name)}


def collapsed(masks: Masks) -> list[str]:
    """Layers of which nothing is kept: no signal passes them."""
    return [name for name, mask in masks.items() if not mask.any()]


def _place(model: tnn.Module, name: str) -> tuple[tnn.Module, str]:
    prefix, _, local = name.rpartition(".")
    return model.get_submodule(prefix), local


def own_name(name: str) -> str:
    """The name that a parameter had before it was pruned."""
    return re.sub(r"(^|\.)parametrizations\.(\w+)\.original$", r"\1\2", name)


def _weights(model: tnn.Module) -> dict[str, torch.Tensor]:
    """Every parameter by its own name, a tied one by each."""
    return {own_name(name): value for name, value in model.named_parameters(remove_duplicate=False)}


def _largest(rank: torch.Tensor, among: torch.Tensor, count: int) -> torch.Tensor:
    """(n,) bool: the ``count`` largest of those ``among`` which one may choose, the first where they tie."""
    if count == 0:
        return torch.zeros_like(among)
    inside = rank[among]
    border = inside.kthvalue(len(inside) - count + 1).values
    chosen = inside > border
    ties = (inside == border).nonzero().reshape(-1)
    chosen[ties[: count - int(chosen.sum())]] = True
    return torch.zeros_like(among).masked_scatter_(among, chosen)


def _shares(sizes: list[int], count: int) -> list[int]:
    """Whole numbers nearest to size * count / sum(sizes) that add up to count; largest remainders first."""
    total = sum(sizes)
    shares = [size * count // total for size in sizes]
    remainders = [-(size * count % total) for size in sizes]
    for place in sorted(range(len(sizes)), key=remainders.__getitem__)[: count - sum(shares)]:
        shares[place] += 1
    return shares
