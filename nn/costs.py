"""Bytes of a model's weights in each format that keeps as many numbers, counted before anything is built.

A pruned model must also say which weights it kept, an index for each of them or a bit for every weight; a
shared one with stored cells, which cell and sign every weight has. The counts are those of the layouts as
they are written, without headers. What stays dense (norms, biases, buffers) is the same in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from nn.planning import Group, Plan, Weight

STORED_CELL, STORED_SIGN = 8, 4  # FakeRoast: int64 and float32, for every weight


@dataclass(frozen=True)
class Cost:
    """Bytes of the compressible weights in one format.

    Attributes:
        name: Of the format.
        values: Of the numbers themselves.
        index: Of positions, masks, cells and signs.
    """

    name: str
    values: int
    index: int

    @property
    def total(self) -> int:
        """Both."""
        return self.values + self.index


def formats(what: Plan) -> tuple[Cost, ...]:
    """Bytes of the weights of a plan, by format; a pruned one keeps as many weights as the plan has cells.

    Args:
        what: From :func:`nn.plan`.

    Returns:
        dense; pruned, as the mask and weight that training holds, as plain weights with zeros, as CSR (a
        row for each output) and as values under a bitmask; shared, with cells and signs stored as in
        FakeRoast, and with both computed, as here.

    Example:
        >>> import torch.nn as tnn
        >>> import nn
        >>> layer = tnn.Linear(1000, 1000, bias=False, device="meta")
        >>> {cost.name: cost.total for cost in formats(nn.plan(layer, compression=10))}
        {'dense': 4000000,
         'pruned, weight and mask': 8000000,
         'pruned, zeros stored': 4000000,
         'pruned, CSR, int64': 1208008,
         'pruned, CSR, int32': 804004,
         'pruned, bitmask': 525000,
         'shared, index stored': 12400000,
         'shared': 400000}
    """
    dense = sum(_dense(group) for group in what.groups)
    kept = sum(group.m * group.weights[0].itemsize for group in what.groups)
    weights = [weight for group in what.groups for weight in group.weights]
    bits = sum(-(-weight.count // 8) for weight in weights)
    return (
        Cost("dense", dense, 0),
        Cost("pruned, weight and mask", dense, dense),
        Cost("pruned, zeros stored", dense, 0),
        Cost("pruned, CSR, int64", kept, _csr(what, weights, 8)),
        Cost("pruned, CSR, int32", kept, _csr(what, weights, 4)),
        Cost("pruned, bitmask", kept, bits),
        Cost("shared, index stored", kept, what.weights * (STORED_CELL + STORED_SIGN)),
        Cost("shared", kept, 0),
    )


def _dense(group: Group) -> int:
    return sum(weight.count * weight.itemsize for weight in group.weights)


def _csr(what: Plan, weights: list[Weight], word: int) -> int:
    """A column for each weight that is kept, and where every row begins and the last one ends."""
    return word * (what.cells + sum(weight.shape[0] + 1 for weight in weights))
