r"""How much noise a compressed weight puts into what its layer says: closed forms for a whole network.

A layer has outputs $y = W x$ on the inputs that it met, and $\hat y = \hat W x$ once its weight is read from
a bank or pruned. A layer that is too loud or too low by a factor is no harm, since batch norm or one lambda
sets it right, so that $\hat W$ counts up to the best factor c. What is then left over of the layer, over
what is kept, is its *noise*

$$ r = \min_c E|y - c\,\hat y|^2 \Big/ \big(E|y|^2 - \min_c E|y - c\,\hat y|^2\big), $$

E over inputs, outputs and the draw. For an unbiased $\hat W$ it is the variance of claims 2 and 4 over the
energy of y; for a mask that is known it is the squared tangent of the angle between y and $\hat y$, and a
layer of which nothing is left has infinite noise. The noise of a network is the sum over its layers, each on
the inputs that it meets in the dense network: to first order that is the noise which arrives at its end, if
every layer hands on signal and noise alike.

One bank for several layers holds $\theta = S\Lambda^{-1}w$, from which a layer reads
$\lambda\, S^\top\theta$: the variance is that of $\langle S\Lambda^{-1}w, S\Lambda X\rangle$, X holding x in
the row of the output.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nn.tiles import Tiles
from rpstheory.errors import KindError
from rpstheory.mappings import AbstractSharing, Block

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nn.advice.inputs import Layer

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Judged:
    """A weight tensor of a network, and what its layer met.

    Attributes:
        name: Of the parameter.
        shape: As the model has it.
        weight: (outputs, d).
        layer: None where nothing is known of its inputs: it makes noise for others, and none is seen of it.
    """

    name: str
    shape: tuple[int, ...]
    weight: Array
    layer: Layer | None

    @cached_property
    def moments(self) -> Array:
        """(d, d), second moments of the inputs."""
        x = self._inputs
        return x.T @ x / len(x)

    @cached_property
    def squares(self) -> Array:
        """(d,), mean squares of the inputs."""
        return np.square(self._inputs).mean(axis=0)

    @cached_property
    def energy(self) -> float:
        """Mean over inputs of the squared outputs, added over outputs."""
        return float(np.square(self._inputs @ self.weight.T).sum() / len(self._inputs))

    @cached_property
    def own(self) -> float:
        """The same without the products of different weights: sum of w_oj^2 x_j^2."""
        return float((np.square(self.weight) @ self.squares).sum())

    @property
    def seen(self) -> bool:
        """Whether there is a signal to lose."""
        return self.layer is not None and self.energy > 0

    @property
    def pairs(self) -> float:
        """Sum of q_ij over i != j, outputs and inputs, over the energy: p times it is the noise."""
        outputs = len(self.weight)
        whole = np.square(self.weight).sum() * self.squares.sum() * outputs + self.energy - 2 * self.own
        return float(whole / self.energy)

    @property
    def kept(self) -> float:
        """Noise of keeping m weights of n, exactly, over n/m - 1."""
        n = self.weight.size
        return float(n / max(1, n - 1) * (self.own - self.energy / n) / self.energy)

    @property
    def _inputs(self) -> Array:
        if self.layer is None:
            raise KindError(f"advise: nothing is known of the inputs of {self.name}; ask for the others")
        return self.layer.inputs


@dataclass(frozen=True, eq=False)
class Placed:
    """A weight tensor in a bank.

    Attributes:
        what: The tensor.
        first: Its first position.
        scale: lambda.
    """

    what: Judged
    first: int
    scale: float


Noise = dict[str, float]
"""The noise of every tensor that is seen, by the name of its parameter."""


# ----------------------------------------------------------------------------------------- sharing


def of_sharing(mapping: AbstractSharing | Tiles, placed: Iterable[Placed]) -> Noise:
    """Noise of the tensors of one bank.

    Args:
        mapping: Of the whole bank; its seed plays no part.
        placed: Every tensor of the bank.

    Source: claim 2; enumerated in tests/networks/test_advice.py.
    """
    law, tensors = law_of(mapping), tuple(placed)
    places = {each.what.name: places_of(mapping, each) for each in tensors}
    weights = np.zeros(law.n)
    for each in tensors:
        weights[places[each.what.name]] = np.square(each.what.weight / each.scale)
    noise = {}
    for each in (each for each in tensors if each.what.seen):
        place, reading = places[each.what.name], np.zeros(law.n)
        reading[place] = each.what.squares * each.scale**2
        across = float(law.collision_sum(weights, reading))
        noise[each.what.name] = max(0.0, across + within(law, place, each.what)) / each.what.energy
    return noise


def law_of(mapping: AbstractSharing | Tiles) -> AbstractSharing:
    """Whose collision probabilities a mapping has, for places in its order."""
    return mapping.laid if isinstance(mapping, Tiles) else mapping


def places_of(mapping: AbstractSharing | Tiles, each: Placed) -> NDArray[np.int64]:
    """Where the law has the weights of a tensor, (outputs, d)."""
    rows, d = each.what.weight.shape
    if not isinstance(mapping, Tiles):
        return each.first + np.arange(rows * d, dtype=np.int64).reshape(rows, d)
    own = next(matrix for matrix in mapping.matrices if matrix.first == each.first)
    row, column, side = np.arange(rows)[:, None], np.arange(d), mapping.side
    tile = own.tile + row // side * own.across + column // side
    return (tile * side + row % side) * side + column % side


def within(law: AbstractSharing, place: NDArray[np.int64], what: Judged) -> float:
    """Sum over outputs of sum p_ij w_i x_i w_j x_j over i != j, mean over inputs.

    Only weights of one row have inputs that meet; rows that are cut alike have the same p.
    """
    alike: dict[bytes, list[int]] = {}
    for row, own in enumerate(place):
        chunk, offset = law.chunk_and_offset(own)
        if (chunk != chunk[0]).any():
            alike.setdefault((chunk - chunk[0]).tobytes() + (offset - offset[0]).tobytes(), []).append(row)
    total = 0.0
    for rows in alike.values():
        weight = what.weight[rows]
        total += float(((weight @ (meeting(law, place[rows[0]]) * what.moments)) * weight).sum())
    return total


def meeting(law: AbstractSharing, place: NDArray[np.int64]) -> Array:
    """Probabilities that weights at these places share a cell; 0 for a weight and itself."""
    chunk, offset = law.chunk_and_offset(place)
    apart = (chunk[:, None] != chunk).astype(np.float64)
    if not isinstance(law, Block):
        return apart / law.m
    starts = law.starts
    return apart * np.maximum(0, starts - abs(offset[:, None] - offset)) / starts**2


# ----------------------------------------------------------------------------------------- pruning


def of_keeping(tensors: Iterable[Judged], n: int, m: int) -> Noise:
    """Noise if m of the n weights of these tensors, and of others, are kept at random.

    Source: claim 4, exact subsets.
    """
    if n == 1:
        return {each.name: 0.0 for each in tensors if each.seen}
    factor = (n / m - 1) * n / (n - 1)
    return {each.name: factor * (each.own - each.energy / n) / each.energy for each in tensors if each.seen}


def of_weights(tensors: Iterable[Judged], weights: dict[str, Array]) -> Noise:
    """Noise of weights that are known, as under a chosen mask: tan^2 of the angle between outputs.

    Args:
        tensors: As they are.
        weights: What they become, (outputs, d) by name.
    """
    found = {}
    for each in (each for each in tensors if each.seen):
        if np.array_equal(weights[each.name], each.weight):
            found[each.name] = 0.0
            continue
        turned = weights[each.name] @ each.moments
        square, product = float((turned * weights[each.name]).sum()), float((turned * each.weight).sum())
        found[each.name] = max(0.0, each.energy * square / product**2 - 1) if product else float("inf")
    return found


def of_draw(tensors: Iterable[Judged], weights: dict[str, Array]) -> Noise:
    """Noise of one draw of weights that are right on average: squared error of the outputs over theirs.

    Args:
        tensors: As they are.
        weights: What was drawn, (outputs, d) by name.
    """
    found = {}
    for each in (each for each in tensors if each.seen):
        off = weights[each.name] - each.weight
        found[each.name] = float(((off @ each.moments) * off).sum()) / each.energy
    return found


def of_narrowing(tensors: Iterable[Judged], shapes: dict[str, tuple[int, ...]]) -> Noise:
    r"""Noise of the same architecture, narrower: channels kept at random, in and out.

    Outputs that are gone are lost whole, the others have the variance of claim 4 for the sums $g_j$ that
    channel j adds: $(C/c - 1)\frac{C}{C-1}(\sum g_j^2 - y^2/C)$.

    Args:
        tensors: Of the whole architecture.
        shapes: Of the narrow one, by name.

    Raises:
        KindError: If it is no narrower version.
    """
    found = {}
    for each in (each for each in tensors if each.seen):
        new = shapes.get(each.name, ())
        if len(new) != len(each.shape) or any(a > b for a, b in zip(new, each.shape, strict=True)):
            raise KindError(
                f"advise: {each.name} is {each.shape} and {new or 'gone'} in the narrow model; pass build="
                "of one architecture"
            )
        channels, kept = each.shape[1], new[1]
        outputs = new[0] / each.shape[0]
        spread = 0.0
        if channels > 1:
            side = each.weight.shape[1] // channels
            alike = np.kron(np.eye(channels), np.ones((side, side)))
            grouped = float(((each.weight @ (each.moments * alike)) * each.weight).sum())
            factor = (channels / kept - 1) * channels / (channels - 1)
            spread = factor * (grouped - each.energy / channels)
        found[each.name] = (1 + spread / each.energy) / outputs - 1
    return found


def total(noise: Noise) -> float:
    """Of a network."""
    return float(sum(noise.values()))


def judged(weights: Sequence[tuple[str, tuple[int, ...], Any]], layers: Sequence[Layer]) -> list[Judged]:
    """The tensors of a network, with what is known of their layers.

    Args:
        weights: Name, shape and numbers of every tensor that is compressed.
        layers: Those that were met.
    """
    met = {f"{layer.name}.weight" if layer.name else "weight": layer for layer in layers}
    return [
        Judged(name, shape, np.asarray(values, dtype=np.float64).reshape(shape[0], -1), met.get(name))
        for name, shape, values in weights
    ]
