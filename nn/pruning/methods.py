"""`nn.prune`: which score, in how many passes, down to which number of weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn as tnn

from nn.patterns import one_of
from nn.planning import plan, survey
from nn.pruning import scores
from nn.pruning.masks import Masks, Scope, keep_largest, masked
from rpstheory.errors import ArgumentError, KindError, ShapeError
from rpstheory.mappings.base import check_count, check_seed

Mode = Literal["eval", "train"]


@dataclass(frozen=True)
class Method:
    """A way to prune before training.

    Attributes:
        score: What a weight is worth.
        passes: Rounds of scoring and pruning, where none are asked for.
    """

    score: Callable[[scores.Network, scores.Weights], scores.Weights]
    passes: int = 1


METHODS = {
    "random": Method(scores.random),
    "magnitude": Method(scores.magnitude),
    "snip": Method(scores.snip),
    "grasp": Method(scores.grasp),
    "synflow": Method(scores.synflow, passes=100),
}


def prune(
    model: tnn.Module,
    method: str,
    compression: float | None = None,
    *,
    budget_params: int | None = None,
    batches: Iterable[scores.Batch] = (),
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = scores.cross_entropy,
    passes: int | None = None,
    schedule: Literal["exponential", "linear"] = "exponential",
    scope: Scope = "global",
    mode: Mode = "eval",
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    seed: int = 0,
    inplace: bool = False,
) -> tnn.Module:
    """The model with all but m = n / compression of its compressible weights set to 0, for good.

    The weights that may be pruned, and m, are those of :func:`nn.share` with the same arguments.

    Args:
        model: Any module, with its initial weights.
        method: random, magnitude, snip, grasp or synflow.
        compression: Compressible weights over those kept, >= 1.
        budget_params: In its place: parameters of the whole model, fixed ones included.
        batches: (inputs, targets), for snip and grasp; synflow takes the shape of its input from them.
        loss: A mean over a batch.
        passes: Rounds of scoring and pruning; 100 for synflow, 1 for the others.
        schedule: "exponential" keeps n^(1-t) m^t weights after a share t of the passes, "linear"
            n + t (m - n).
        scope: "global" ranks all weights together, "layer" each weight by itself.
        mode: Of the model while it is scored. In "eval" a fresh batch norm multiplies by its weight: 1 as
            torch makes it, uniform on [0, 1] in the ResNets of :mod:`nn.models`.
        include: As in :func:`nn.share`.
        exclude: As in :func:`nn.share`.
        seed: Of the random score.
        inplace: Change the model itself; otherwise it is left alone.

    Raises:
        ArgumentError: If an argument is out of range or data are missing.
        KindError: If an argument is of the wrong kind.
        ShapeError: If the model or the loss does not take the batches.
        DataError: If a score is nan or overflows.
    """
    chosen = METHODS[one_of("prune", "method", method, METHODS)]
    rounds = chosen.passes if passes is None else passes
    _check(rounds, schedule, scope, mode)
    seed = check_seed("prune", seed)
    what = plan(
        model, compression, budget_params=budget_params, include=include, exclude=exclude, mapping="hashed"
    )
    found = {each.names[0]: each.parameter for each in survey(model)}
    weights = {w.name: found[w.name].detach() for group in what.groups for w in group.weights}
    if rounds > what.weights:
        raise ArgumentError(f"prune: passes={rounds} came for {what.weights} weights; pass at most as many")
    network = scores.Network(model, _pairs(batches), loss, torch.Generator().manual_seed(seed % 2**63))
    masks: Masks | None = None
    with _in_mode(model, mode):
        for count in counts(what.weights, what.cells, rounds, schedule):
            now = weights if masks is None else {n: torch.where(masks[n], w, 0) for n, w in weights.items()}
            masks = keep_largest(chosen.score(network, now), count, masks, scope)
    target = model if inplace else copy.deepcopy(model)
    return masked(target, masks or {})


def _pairs(batches: Iterable[scores.Batch]) -> list[scores.Batch]:
    """Batches as a list.

    Raises:
        KindError: If one is no pair of tensors.
        ShapeError: If inputs and targets of one are not as many.
    """
    if not isinstance(batches, Iterable):
        raise KindError(f"prune: batches={batches!r} came; pass pairs (inputs, targets)")
    found = list(batches)
    for each in found:
        if not isinstance(each, tuple | list) or len(each) != 2 or not all(map(torch.is_tensor, each)):
            raise KindError(f"prune: a batch of {type(each).__name__} came; a pair of tensors is needed")
        if not len(each[0]) == len(each[1]) > 0:
            raise ShapeError(
                f"prune: a batch of {len(each[0])} inputs and {len(each[1])} targets came; pass as many"
            )
    return found


def counts(n: int, m: int, passes: int, schedule: str) -> list[int]:
    """Weights kept after each pass, from n down to m."""
    share = [t / passes for t in range(1, passes)]
    if schedule == "linear":
        return [*(round(n + t * (m - n)) for t in share), m]
    return [*(max(m, round(n * (m / n) ** t)) for t in share), m]


def _check(passes: int, schedule: str, scope: str, mode: str) -> None:
    check_count("prune", "passes", passes)
    one_of("prune", "schedule", schedule, ("exponential", "linear"))
    one_of("prune", "scope", scope, ("global", "layer"))
    one_of("prune", "mode", mode, ("eval", "train"))


@contextmanager
def _in_mode(model: tnn.Module, mode: Mode) -> Iterator[None]:
    before = {module: module.training for module in model.modules()}
    model.train(mode == "train")
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training
