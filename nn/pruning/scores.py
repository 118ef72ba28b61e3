"""What a weight is worth before training: five scores, larger is kept.

Each is a function of the network and its weights, and changes neither. Implementations in the literature
differ in what the data are, in the mode of batch norm, and in signs; what is done here is said with each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn as tnn
import torch.nn.functional as tnnf
from torch.func import functional_call

from rpstheory.errors import ArgumentError, DataError, ShapeError

Weights = dict[str, torch.Tensor]
Batch = tuple[torch.Tensor, torch.Tensor]

TEMPERATURE = 200.0  # of GraSP's logits, as in its code


def cross_entropy(outputs: torch.Tensor, targets: torch.Tensor, **how: Any) -> torch.Tensor:
    """Of torch, over all images or all tokens, of which the classes stand last; ``how`` is for it."""
    if outputs.shape[:-1] == targets.shape:
        outputs, targets = outputs.flatten(0, -2), targets.flatten()
    return tnnf.cross_entropy(outputs, targets, **how)


@dataclass(frozen=True)
class Network:
    """A model as a function of some of its weights.

    Attributes:
        model: Left as it is, its buffers too; scored in the mode it is in.
        batches: (inputs, targets), for scores that look at data.
        loss: Of outputs and targets, a mean over the batch.
        generator: Of the random score.
    """

    model: tnn.Module
    batches: Sequence[Batch] = ()
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = cross_entropy
    generator: torch.Generator = field(default_factory=torch.Generator)

    def outputs(
        self, weights: Weights, x: torch.Tensor, change: Callable[[torch.Tensor], torch.Tensor] | None = None
    ) -> torch.Tensor:
        """What the model gives for ``x`` with these weights; ``change`` is done to all else.

        Raises:
            ShapeError: If it cannot be run on ``x``.
        """
        others = dict(self.model.named_parameters()) | dict(self.model.named_buffers())
        rest = {name: other.detach().clone() for name, other in others.items() if name not in weights}
        if change is not None:
            rest = {name: change(other) for name, other in rest.items()}
        try:
            return functional_call(self.model, rest | weights, (x,))
        except (RuntimeError, ValueError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise ShapeError(
                f"prune: the model does not run on inputs {tuple(x.shape)} {x.dtype} ({reason}); pass "
                "batches as it is trained on"
            ) from error

    def shares(self, weights: Weights, temperature: float = 1.0) -> Iterator[torch.Tensor]:
        """What each batch adds to the loss, a mean over all examples; one graph at a time is in memory.

        Raises:
            ArgumentError: If there are no batches.
        """
        if not self.batches:
            raise ArgumentError("prune: this score looks at data and none came; pass batches=[(x, y), …]")
        total = sum(len(x) for x, _ in self.batches)
        for x, y in self.batches:
            yield self._loss(self.outputs(weights, x) / temperature, y) * (len(x) / total)

    def _loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        try:
            return self.loss(outputs, targets)
        except (RuntimeError, ValueError, IndexError) as error:
            reason = str(error).splitlines()[0]
            raise ShapeError(
                f"prune: no loss of outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} from "
                f"{targets.min()} to {targets.max()} ({reason}); pass targets as the loss takes them"
            ) from error


def random(network: Network, weights: Weights) -> Weights:
    """Independent normal numbers: RAND, the uninformed choice."""
    drawn = {}
    for name, weight in weights.items():
        normal = torch.randn(weight.shape, dtype=torch.float64, generator=network.generator)
        drawn[name] = normal.to(weight.device)
    return drawn


def magnitude(network: Network, weights: Weights) -> Weights:
    """|w|: MAG."""
    return {name: weight.abs() for name, weight in weights.items()}


def snip(network: Network, weights: Weights) -> Weights:
    """|w dL/dw| over the batches: what the loss loses to first order (Lee, Ajanthan & Torr, ICLR 2019)."""
    free = _free(weights)
    grads = _added(_gradients(share, free) for share in network.shares(free))
    return {name: (weight * grads[name]).abs() for name, weight in weights.items()}


def grasp(network: Network, weights: Weights) -> Weights:
    """w (H g): what the squared norm of the gradient loses (Wang, Zhang & Grosse, ICLR 2020).

    g and H are gradient and Hessian of the loss of logits divided by 200, on the same batches. A removed
    weight changes g'g by -2 w (H g) to first order; those go whose removal keeps the most, as in the paper.
    """
    free = _free(weights)
    first = _added(_gradients(share, free) for share in network.shares(free, TEMPERATURE))

    def along(share: torch.Tensor) -> torch.Tensor:
        """The slope of a share of the loss in the direction of g; its own gradient is a share of H g."""
        grads = _gradients(share, free, again=True)
        return torch.stack([(first[name] * grad).sum() for name, grad in grads.items()]).sum()

    second = _added(_gradients(along(share), free) for share in network.shares(free, TEMPERATURE))
    return {name: weight * second[name] for name, weight in weights.items()}


def synflow(network: Network, weights: Weights) -> Weights:
    """|w dR/dw|, R the sum of outputs for an input of ones and all parameters positive; no data.

    Everything the model holds is replaced by its absolute value, and R computed in float64, since products
    over many layers overflow (Tanaka et al., NeurIPS 2020).

    Raises:
        ArgumentError: If no batch came, from which the shape of an input is known.
        DataError: If R overflows all the same.
    """
    if not network.batches:
        raise ArgumentError("prune: synflow needs the shape of an input; pass batches=[(x, y)]")
    x = torch.ones_like(network.batches[0][0][:1]).double()
    free = {name: weight.detach().double().abs().requires_grad_() for name, weight in weights.items()}
    flow = network.outputs(free, x, _positive).sum()
    if not torch.isfinite(flow):
        raise DataError("prune: the synaptic flow overflows float64; lower the scale of the init")
    grads = _gradients(flow, free)
    return {name: weight.detach() * grads[name] for name, weight in free.items()}


def _positive(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double().abs() if tensor.is_floating_point() else tensor


def _free(weights: Weights) -> Weights:
    return {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}


def _gradients(value: torch.Tensor, weights: Weights, *, again: bool = False) -> Weights:
    """Of a number with respect to the weights; 0 where it does not depend on one.

    Args:
        value: The number.
        weights: Free ones.
        again: Whether gradients of these gradients are wanted.
    """
    held = list(weights.values())
    found = torch.autograd.grad(value, held, create_graph=again, allow_unused=True, materialize_grads=True)
    return dict(zip(weights, found, strict=True))


def _added(parts: Iterable[Weights]) -> Weights:
    total: Weights = {}
    for part in parts:
        total = {name: total[name] + grad for name, grad in part.items()} if total else part
    return total
