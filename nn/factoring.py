"""Products of stored matrices in the place of a model's weights, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn as tnn

from nn.factors import Chain, Factor, Matrix, Product, linked, matrices_of, shape_of, store
from nn.layers import factors_of, require_shareable, restore_parameters, share_parameters, views_of
from nn.sharing import sign
from rpstheory.errors import ShapeError


@dataclass(frozen=True)
class Place:
    """Where a weight sits in a model.

    Attributes:
        names: Of the parameter; several if it is tied.
        flipped: Whether the parameter is the transpose of the W that multiplies, as in a Linear.
    """

    names: tuple[str, ...]
    flipped: bool


def install(model: tnn.Module, chains: Mapping[Place, Chain]) -> dict[Matrix, Factor]:
    """Put products in the place of weights, which may be products already; changes the model.

    Factors that nobody reads any more are taken out.

    Args:
        model: Dense at these places, or factored.
        chains: What each weight becomes; a matrix that stands in several chains is stored once.

    Returns:
        Where each matrix lies.

    Raises:
        ShapeError: If a product has another shape than the weight.
        KindError: If the class of a module cannot be changed.
    """
    before = factors_of(model)
    held = {place: _held(model, place, chain) for place, chain in chains.items()}
    stored: dict[Matrix, Factor] = {}
    for place, chain in chains.items():
        like = held[place]
        memory = like.memory if isinstance(like, Product) else like
        for matrix in matrices_of(chain):
            if matrix not in stored:
                stored[matrix] = store(model, matrix, memory, like.requires_grad)
        view = Product(linked(chain, stored), tuple(like.shape), place.flipped)
        for name in place.names:
            module, local = _module(model, name)
            share_parameters(module, {local: view})
    used = set(factors_of(model))
    for factor in before:
        if factor not in used:
            factor.remove()
    sign(model)
    return stored


def uninstall(model: tnn.Module, parameters: Mapping[str, tnn.Parameter]) -> None:
    """Put parameters back, under all their names, in the place of products; changes the model."""
    for name, parameter in parameters.items():
        module, local = _module(model, name)
        if local in views_of(module):
            restore_parameters(module, {local: parameter})


def _module(model: tnn.Module, name: str) -> tuple[tnn.Module, str]:
    prefix, _, local = name.rpartition(".")
    return model.get_submodule(prefix), local


def _held(model: tnn.Module, place: Place, chain: Chain) -> torch.Tensor | Product:
    """What sits at a place now.

    Raises:
        ShapeError: If the product has another shape.
        KindError: If the class of a module cannot be changed.
    """
    for name in place.names:
        module, local = _module(model, name)
        require_shareable("share_layers", module, (local,))
    module, local = _module(model, place.names[0])
    found = views_of(module).get(local)
    held = getattr(module, local) if found is None else found
    shape = tuple(held.shape[::-1] if place.flipped else held.shape)
    if shape_of(chain) != shape:
        raise ShapeError(f"share_layers: factors of {shape_of(chain)} came for {place.names[0]}, {shape}")
    return held
