"""Ways to come down to a budget, by the names of the paper: each makes a model that can be trained.

``stable-rps``   fold, scaler gamma, one bank (Desai & Shrivastava, ICLR 2024)
``roast``        blocks of 1,024 weights without a scaler, one bank, init_std 0.04 (Desai et al., ICML 2023)
``robe``         chunks of 32 weights without a scaler (Desai et al., MLSys 2022)
``hashed``       a cell for each weight without a scaler (Chen et al., ICML 2015)
``random`` … ``synflow``   :func:`nn.pruning.prune` before training
``ltr``          lottery ticket rewinding: trained, pruned by magnitude and rewound, round by round
``smaller``      the same architecture, narrower
``dense``        nothing

ROAST's tiles of 32 x 32 weights are runs of 1,024 weights here: the same law, other neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn as tnn

from nn.planning import plan
from nn.pruning import METHODS as PRUNING
from nn.pruning import prune
from nn.pruning.scores import Batch
from nn.sharing import share
from rpstheory import Block
from rpstheory.errors import ArgumentError

TILE = 1024  # weights of a tile of ROAST


def tiles(n: int, m: int, seed: int) -> Block:
    """ROAST's mapping: tiles of 1,024 weights, each somewhere in the bank."""
    return Block(n, m, seed, block=min(TILE, m))


SHARING: dict[str, dict[str, Any]] = {
    "stable-rps": {"mapping": "fold", "scaler": "gamma"},
    "roast": {"mapping": tiles, "scaler": "none", "init_std": 0.04},
    "robe": {"mapping": "chunk", "scaler": "none", "init_std": 0.04},
    "hashed": {"mapping": "hashed", "scaler": "none", "init_std": 0.04},
}
METHODS = ("dense", *SHARING, *PRUNING, "ltr", "smaller")
TOLERANCE = 0.05  # of a smaller model's budget

Builder = Callable[[float], tnn.Module]
"""A model by the scale of its widths; 1 is the architecture itself."""


def prepare(
    method: str,
    build: Builder,
    compression: float,
    *,
    batches: Sequence[Batch] = (),
    seed: int = 0,
    options: dict[str, Any] | None = None,
) -> tnn.Module:
    """The model that a method trains; for ``ltr`` the dense one, which is pruned between its rounds.

    Args:
        method: One of :data:`METHODS`.
        build: Makes the model.
        compression: Compressible weights over cells, or over weights kept.
        batches: For the scores of pruning.
        seed: Of the mapping, the bank and the random score.
        options: In place of the method's own: arguments of :func:`nn.share` or :func:`nn.pruning.prune`.

    Raises:
        ArgumentError: If a smaller model cannot come down to the budget, or an option is unknown.
    """
    model, given = build(1.0), options or {}
    try:
        if method in SHARING:
            return share(model, compression, seed=seed, inplace=True, **SHARING[method] | given)
        if method in PRUNING:
            return prune(model, method, compression, batches=batches, seed=seed, inplace=True, **given)
    except TypeError as error:
        raise ArgumentError(f"train: options={given!r} came for {method} ({error})") from None
    return build(narrowed(build, compression)) if method == "smaller" else model


def narrowed(build: Builder, compression: float) -> float:
    """The scale of widths whose model has as many parameters as sharing at this compression stores.

    Nearest among all scales; how near it comes is for :mod:`nn.budget` to say.
    """
    with torch.device("meta"):
        budget = plan(build(1.0), compression, mapping="hashed").stored_params
        low, high = 0.0, 1.0
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if _size(build(middle)) <= budget else (low, middle)
        return min((low, high), key=lambda scale: abs(_size(build(scale)) - budget))


def _size(model: tnn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
