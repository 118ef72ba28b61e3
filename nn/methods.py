"""Ways to come down to a budget, by the names of the paper: each makes a model that can be trained.

``stable-rps``   fold, scaler gamma, one bank (Desai & Shrivastava, ICLR 2024)
``roast``        tiles of 32 x 32 weights without a scaler, one bank, init_std 0.04 (Desai et al., ICML 2023)
``robe``         chunks of 32 weights without a scaler (Desai et al., MLSys 2022)
``hashed``       a cell for each weight without a scaler (Chen et al., ICML 2015)
``random`` … ``synflow``   :func:`nn.pruning.prune` before training
``ltr``          lottery ticket rewinding: trained, pruned by magnitude and rewound, round by round
``smaller``      the same architecture, narrower
``dense``        nothing

All weights of layers are compressible, small ones and the head too, as in the paper: ``include="*"``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cache
from inspect import signature
from itertools import combinations_with_replacement, product
from math import ceil, floor, log
from typing import Any

import torch
import torch.nn as tnn

from nn.budget import parameters_in
from nn.patterns import one_of
from nn.planning import Plan, plan
from nn.pruning import METHODS as PRUNING
from nn.pruning import prune
from nn.pruning.scores import Batch
from nn.sharing import share
from nn.tiles import roast
from rpstheory.errors import ArgumentError, KindError

SHARING: dict[str, dict[str, Any]] = {
    "stable-rps": {"mapping": "fold", "scaler": "gamma"},
    "roast": {"scaler": "none", "init_std": 0.04},
    "robe": {"mapping": "chunk", "scaler": "none", "init_std": 0.04},
    "hashed": {"mapping": "hashed", "scaler": "none", "init_std": 0.04},
}
ALL: dict[str, Any] = {"include": "*"}
METHODS = ("dense", *SHARING, *PRUNING, "ltr", "smaller")
PASSED = {"model", "method", "compression", "batches", "seed", "inplace"}  # are no options
NEAR = 0.01  # of its budget, for a smaller model

Widths = tuple[int, ...]
Size = Callable[[Sequence[float]], float]
Builder = Callable[[float | Widths], tnn.Module]
"""A model by one scale of its widths, 1 being the architecture itself, or by the widths of its stages."""


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
        KindError: If an option is of the wrong kind.
    """
    model, given = build(1.0), options or {}
    how: Callable[..., tnn.Module] = prune if method in PRUNING else roast if method == "roast" else share
    for name in given if method in (*SHARING, *PRUNING) else ():
        one_of("train", f"option of {method}", name, sorted(signature(how).parameters.keys() - PASSED))
    try:
        if method in SHARING:
            return how(model, compression, seed=seed, inplace=True, **ALL | SHARING[method] | given)
        if method in PRUNING:
            how_many = ALL | given
            return how(model, method, compression, batches=batches, seed=seed, inplace=True, **how_many)
    except KindError:
        raise
    except TypeError as error:
        raise ArgumentError(f"train: options={given!r} came for {method} ({error})") from None
    return build(narrowed(build, compression)) if method == "smaller" else model


def planned(model: tnn.Module, compression: float) -> Plan:
    """Which weights a method may compress, and to how many."""
    return plan(model, compression, mapping="hashed", **ALL)


# --------------------------------------------------------------------- the same, but narrower


def narrowed(build: Builder, compression: float) -> float | Widths:
    """The widths whose model has as many parameters as sharing at this compression stores.

    All stages but the last get the whole numbers next to one scale of their widths, up or down, and the last
    what then comes nearest. Of all these the nearest is taken, or of those within 1 % the one that is most
    alike in shape. How near it comes is for :mod:`nn.budget` to say. A model that does not tell its
    ``widths`` has one scale for all.

    Raises:
        ArgumentError: If the narrowest model has more.
    """
    with torch.random.fork_rng(devices=[]):
        whole = build(1.0)
        budget = planned(whole, compression).stored_params
        widths: Widths | None = getattr(whole, "widths", None)
        if widths is None:
            return _scale(lambda scale: parameters_in(build(scale)), budget)
        size = sizes(build, len(widths))
    least = int(size([1] * len(widths)))
    if least > budget:
        raise ArgumentError(
            f"train: compression={compression} came for smaller; {budget} parameters are the budget, and the "
            f"model with a width of 1 everywhere has {least}; pass less compression"
        )
    scale = _scale(lambda scale: size([max(1, scale * width) for width in widths]), budget)
    ideal = [max(1, scale * width) for width in widths]

    def distance(each: Widths) -> tuple[float, float]:
        shape = max(abs(log(width / wanted)) for width, wanted in zip(each, ideal, strict=True))
        return max(NEAR, abs(size(each) / budget - 1)), shape

    found = [
        (*others, last)
        for others in product(*({floor(width), ceil(width)} for width in ideal[:-1]))
        for last in _last(size, others, widths[-1], budget)
    ]
    return min([each for each in found if list(each) == sorted(each)] or found, key=distance)


def _last(size: Size, others: Widths, most: int, budget: int) -> list[int]:
    """The two widths of the last stage between which the budget lies."""
    last = bisect_left(range(most), budget, key=lambda width: int(size((*others, width))))
    return [max(1, last - 1), max(1, last)]


def sizes(build: Builder, stages: int) -> Size:
    """The number of parameters as a function of the widths, exact for whole numbers.

    A weight joins two stages at most, so that it is a polynomial of degree two, and the smallest models give
    its Newton form.
    """

    @cache
    def at(*raised: int) -> int:
        return parameters_in(build(tuple(1 + raised.count(stage) for stage in range(stages))))

    first = [at(s) - at() for s in range(stages)]
    second = {
        (s, t): at(s, t) - at(s) - at(t) + at() for s, t in combinations_with_replacement(range(stages), 2)
    }

    def size(widths: Sequence[float]) -> float:
        x = [width - 1 for width in widths]
        pairs = (more * (x[s] * (x[s] - 1) / 2 if s == t else x[s] * x[t]) for (s, t), more in second.items())
        return at() + sum(more * each for more, each in zip(first, x, strict=True)) + sum(pairs)

    return size


def _scale(size: Callable[[float], float], budget: int) -> float:
    """The scale of widths up to 1 whose size is nearest to the budget."""
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if size(middle) <= budget else (low, middle)
    return min((low, high), key=lambda scale: abs(size(scale) - budget))
