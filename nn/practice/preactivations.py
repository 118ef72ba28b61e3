r"""What a fresh mapping does to the pre-activations of a trained layer, before anything is trained again.

A layer's weight W, flat, is represented by $\hat w = S^\top S w$ (times n/m for pruning), the unbiased
representation of claims 1 and 2. Output o on the input x is then off by
$\langle Sw, SX\rangle - \langle w, X\rangle$, X holding x in row o and 0 elsewhere, so that the closed forms
hold for real weights and real activations as they are.

A prediction from lengths and angles alone takes the directions of w and X for random ones. With K = S'S and
$B = (n\,E\,tr\,K^2 - E\,(tr\,K)^2) / (n(n-1)(n+2))$ it is

$$ A \langle w, X\rangle^2 + B\,(|w|^2|X|^2 + \langle w, X\rangle^2) - \langle w, X\rangle^2,
\qquad A = (E\,(tr\,K)^2 - 2nB) / n^2, $$

the same for fold (m | n), exact pruning and a random projection (claim 20): in real networks they differ only
by how they spread the error over directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np

from nn.practice.network import layers
from nn.practice.part import Part
from rpstheory.claim import Check, Claim
from rpstheory.closed_form import inner_product_variance
from rpstheory.kernels import cpu, inner_products, reference
from rpstheory.mappings import (
    AbstractMapping,
    AbstractSharing,
    Block,
    Chunk,
    Fold,
    Hashed,
    KeepBernoulli,
    KeepExact,
)
from rpstheory.report.figures.style import (
    BLUE,
    GOLD,
    GREEN,
    MUTED,
    ORANGE,
    PURPLE,
    RED,
    RULE,
    blank,
    styled,
    ticks_in_words,
)
from rpstheory.report.gallery import Plate
from rpstheory.samplers import blocks, generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from nn.practice.network import Layer, Trained
    from rpstheory.claim import Verdict

    Array = NDArray[np.float64]

TILE = 32  # weights of a chunk or block, as in ROAST
ENTRIES = 2**17  # weights drawn at once; what is drawn stays in the cache
OUTPUTS = 8
PATCHES = 32
SMALL = 10_000  # weights of a layer, at most, where time is short
APART = 3.0  # discrepancies between the two predictions from which on the isotropic one must be seen to fail
TURNED = ("fold", "exact", "hashed")


def kinds(n: int, compression: float) -> dict[str, AbstractMapping]:
    """The mappings of n weights at this compression, by name."""
    m = max(1, round(n / compression))
    tile = min(TILE, m)
    return {
        "fold": Fold(n, m, 0),
        "chunk": Chunk(n, m, 0, chunk=tile),
        "block": Block(n, m, 0, block=tile),
        "hashed": Hashed(n, m, 0),
        "exact": KeepExact(n, m, 0),
        "Bernoulli": KeepBernoulli(n, m, 0),
    }


@dataclass(frozen=True, eq=False)
class LayerError:
    """Mean squared error of a layer's pre-activations under a draw, over inputs and some outputs.

    Attributes:
        mapping: Its seed is replaced draw by draw.
        weight: (n,), the whole tensor.
        first: (outputs,) int64, where the rows of the outputs begin.
        inputs: (patches, d).
    """

    mapping: AbstractMapping
    weight: Array
    first: NDArray[np.int64]
    inputs: Array

    @property
    def cost(self) -> float:
        """Work of a draw: every weight is scattered and read again, some are multiplied."""
        return 10.0 * self.mapping.n + self.inputs.size * len(self.first) / 8

    def __call__(self, first: int, count: int, backend: str) -> Array:
        """Values of ``count`` draws."""
        draw = cpu.draw if backend == "numba" else reference.draw_many
        step = max(1, ENTRIES // self.mapping.n)
        parts = [
            self._errors(*draw(self.mapping, (first + low) % 2**64, min(step, count - low)))
            for low in range(0, count, step)
        ]
        return np.concatenate(parts)

    def _errors(self, cells: Any, signs: Any) -> Array:
        size = self.mapping.cells
        flat = (cells + np.arange(len(cells))[:, None] * size).ravel()
        bank = np.bincount(flat, (signs * self.weight).ravel(), len(cells) * size).reshape(-1, size)
        rows = (self.first[:, None] + np.arange(self.inputs.shape[1])).ravel()
        read = np.take_along_axis(bank, cells[:, rows], 1) * signs[:, rows] * float(self.mapping.rescale)
        wrong = (read - self.weight[rows]).reshape(len(cells), len(self.first), -1)
        return np.square(wrong @ self.inputs.T).mean(axis=(1, 2))


def chosen_rows(layer: Layer) -> NDArray[np.int64]:
    """Where the rows of some outputs begin, spread evenly."""
    outputs, d = layer.weight.shape
    number = min(OUTPUTS, outputs)
    return np.arange(number, dtype=np.int64) * outputs // number * d


def predicted_error(mapping: AbstractMapping, layer: Layer) -> float:
    """Mean squared error over inputs and chosen outputs, by the closed form.

    Args:
        mapping: Of the layer's weights; its seed plays no part.
        layer: The weight and its inputs.
    """
    rows, weight = chosen_rows(layer), layer.weight.ravel()
    patches, d = layer.inputs.shape
    total = 0.0
    for first in rows:
        x = np.zeros((patches, weight.size))
        x[:, first : first + d] = layer.inputs
        total += float(inner_product_variance(mapping, weight, x).mean())
    return total / len(rows)


def isotropic_error(mapping: AbstractMapping, lengths: Any, squared: Any) -> Any:
    """Variance of <Sx, Sy> for a pair turned at random, exact for Fractions.

    Args:
        mapping: Sharing or random pruning; its seed plays no part.
        lengths: |x|^2 |y|^2, or the mean of it over pairs.
        squared: <x, y>^2, likewise.

    Source: the module's formula; at x = y claim 20.
    """
    n, number = mapping.n, Fraction if isinstance(squared, Fraction) else float
    if isinstance(mapping, AbstractSharing):
        ones = np.full(n, number(1))
        more, spread = mapping.collision_sum(ones, ones), number(0)
    else:
        more = n * number(mapping.rescale - 1)
        spread = more if isinstance(mapping, KeepBernoulli) else number(0)
    squares, trace = n + more, n * n + spread
    both = (n * squares - trace) / (n * (n - 1) * (n + 2))
    own = (trace - 2 * n * both) / (n * n)
    return own * squared + both * (lengths + squared) - squared


def sizes_of(layer: Layer) -> tuple[float, float]:
    """Means over inputs and chosen outputs of |w|^2 |x|^2 and of <w, X>^2, w the whole weight."""
    rows = layer.weight[chosen_rows(layer) // layer.weight.shape[1]]
    lengths = np.square(layer.weight).sum() * np.square(layer.inputs).sum(axis=1).mean()
    return float(lengths), float(np.square(rows @ layer.inputs.T).mean())


@dataclass(frozen=True, eq=False)
class Turned:
    """Squared error of <Sx, Sy> on a pair of given lengths and angle, turned at random in every draw.

    Attributes:
        mapping: Its seed is replaced draw by draw.
        lengths: |x| and |y|.
        product: <x, y>.
    """

    mapping: AbstractMapping
    lengths: tuple[float, float]
    product: float

    @property
    def cost(self) -> float:
        """Work of a draw: two normal vectors."""
        return self.mapping.n * 40.0

    def __call__(self, first: int, count: int, backend: str) -> Array:
        """Values of ``count`` draws."""
        random, (one, other) = generator(first), self.lengths
        values = np.empty(count)
        for low, size in blocks(count, self.mapping.n):
            x, y = random.standard_normal((2, size, self.mapping.n))
            x /= np.linalg.norm(x, axis=1, keepdims=True)
            y -= np.einsum("ij,ij->i", x, y)[:, None] * x
            y *= np.sqrt(max(other**2 - (self.product / one) ** 2, 0)) / np.linalg.norm(y, axis=1)[:, None]
            y += self.product / one * x
            found = inner_products(backend, self.mapping, one * x, y, (first + low) % 2**64, size)
            values[low : low + size] = (found - self.product) ** 2
        return values


@dataclass(frozen=True)
class Error:
    """One layer under one mapping, by the formulas.

    Attributes:
        layer: Name.
        kind: Of the mapping.
        closed: Mean squared error by the closed form.
        isotropic: From lengths and angles alone.
        size: Mean squared pre-activation.
    """

    layer: str
    kind: str
    closed: float
    isotropic: float
    size: float

    @property
    def check(self) -> str:
        """Name of the check that measures it."""
        return f"{self.layer}, {self.kind}"

    @property
    def alignment(self) -> float:
        """What directions add to lengths and angles: closed form over isotropic prediction."""
        return self.closed / self.isotropic


def errors(found: Sequence[Layer], compression: float) -> list[Error]:
    """What the formulas say about every layer and mapping."""
    table = []
    for layer in found:
        lengths, squared = sizes_of(layer)
        for kind, mapping in kinds(layer.weight.size, compression).items():
            closed = predicted_error(mapping, layer)
            isotropic = float(isotropic_error(mapping, lengths, squared))
            table.append(Error(layer.name, kind, closed, isotropic, squared))
    return table


@dataclass(frozen=True, eq=False)
class Preactivations:
    """The layers of a network, and what the formulas say about them.

    Attributes:
        found: The layers.
        compression: Weights over cells, of each by itself.
        discrepancy: Relative difference worth catching.
    """

    found: tuple[Layer, ...]
    compression: float
    discrepancy: float

    @cached_property
    def errors(self) -> list[Error]:
        """Of every layer and mapping."""
        return errors(self.found, self.compression)

    def measure(self, error: Error) -> LayerError:
        """The experiment for one of them."""
        layer = next(each for each in self.found if each.name == error.layer)
        mapping = kinds(layer.weight.size, self.compression)[error.kind]
        return LayerError(mapping, layer.weight.ravel(), chosen_rows(layer), layer.inputs)

    def checks(self) -> list[Check]:
        """Measured against the closed form."""
        return [Check(error.check, self.measure(error), error.closed) for error in self.errors]

    def row_alone(self) -> Check:
        """What a hashed row would lose if no other row were in its cells."""
        layer = self.found[0]
        mapping = kinds(layer.weight.size, self.compression)["hashed"]
        first, d = int(chosen_rows(layer)[0]), layer.weight.shape[1]
        own = np.zeros(layer.weight.size)
        own[first : first + d] = layer.weight.ravel()[first : first + d]
        x = np.zeros((len(layer.inputs), own.size))
        x[:, first : first + d] = layer.inputs
        wrong = float(inner_product_variance(mapping, own, x).mean())
        measured = LayerError(mapping, layer.weight.ravel(), np.array([first]), layer.inputs)
        true = next(error.closed for error in self.errors if error.kind == "hashed")
        return Check(f"mutant: {layer.name}, a row alone", measured, wrong, scale=true)

    def isotropic_checks(self) -> list[Check]:
        """Exact on directions turned at random, and where real ones differ, off as the closed form says."""
        layer = min(self.found, key=lambda each: each.weight.size)
        row = int(chosen_rows(layer)[0]) // layer.weight.shape[1]
        x, product = layer.inputs[0], float(layer.weight[row] @ layer.inputs[0])
        lengths = float(np.linalg.norm(layer.weight)), float(np.linalg.norm(x))
        mappings = kinds(layer.weight.size, self.compression)
        squared = lengths[0] ** 2 * lengths[1] ** 2
        inside = [
            Check(
                f"{layer.name}, {kind}, turned",
                Turned(mappings[kind], lengths, product),
                float(isotropic_error(mappings[kind], squared, product**2)),
                condition="directions at random",
            )
            for kind in TURNED
        ]
        return inside + [
            Check(
                error.check,
                self.measure(error),
                error.closed,
                scope="outside",
                claimed=error.isotropic,
                condition="directions of a trained network",
            )
            for error in self._apart()
        ]

    def real_directions(self) -> Check:
        """The isotropic prediction for the layer whose directions are the least like random ones."""
        error = max(self.errors, key=lambda each: abs(log(each.alignment)))
        return Check(f"mutant: {error.check}, isotropic", self.measure(error), error.isotropic)

    def _apart(self) -> list[Error]:
        return [
            error
            for error in self.errors
            if error.kind in ("fold", "exact") and abs(1 - 1 / error.alignment) > APART * self.discrepancy
        ]


def claims(network: Trained, discrepancy: float, *, quick: bool) -> tuple[Part, ...]:
    """The two claims of this part, and their figure."""
    found = [each for each in layers(network, PATCHES) if not quick or each.weight.size <= SMALL]
    what = Preactivations(tuple(found), network.compression, discrepancy)
    whole, isotropic = what.checks(), what.isotropic_checks()
    closed = Claim(
        number=1,
        name="pre-activation",
        title="A layer represented by a fresh mapping",
        statement=(
            "If the trained weight of a layer is read from a fresh bank of m cells, or m of its weights are "
            "kept at random, the mean squared error of its pre-activations on real inputs is the variance of "
            "claims 2 and 4 for the layer's weight w and the input x placed in the row of the output."
        ),
        assumptions=(f"each layer by itself, n/m = {network.compression:g}", "biases left out"),
        formula=r"E\,(\hat y_o - y_o)^2 = \sum_{i\neq j} p_{ij}\,(w_i^2 X_j^2 + w_i X_i w_j X_j)",
        source="claims 2 and 4 at the weights and activations of a network",
        footing="measured on the shipped hash",
        checks=lambda setting: whole,
        mutant="the weights of other rows forgotten",
        mutant_check=lambda setting: what.row_alone(),
    )
    directions = Claim(
        number=2,
        name="isotropic",
        title="What lengths and angles alone would say",
        statement=(
            "For a pair of vectors turned at random the error depends on |w|, |x|, <w, x> and the first two "
            "moments of the mapping only, and is the same for fold (m | n) and exact pruning. Trained "
            "weights and real activations do not lie at random; there it is off by what the closed form says."
        ),
        assumptions=("directions at random, which those of a trained network are not",),
        formula=r"A\langle w,x\rangle^2 + B(|w|^2|x|^2 + \langle w,x\rangle^2) - \langle w,x\rangle^2",
        source="claim 20, for pairs",
        footing="measured on the shipped hash",
        checks=lambda setting: isotropic,
        mutant="directions of the trained network taken for random ones",
        mutant_check=lambda setting: what.real_directions(),
        remarks=(
            "Over inputs and outputs the error of exact pruning exceeds the isotropic one by the ratio of "
            "n sum c_i s_i to (sum c)(sum s), c_i the energy of the weights that read feature i and s_i that "
            "of the feature: pruning pays where large weights read large features. Sharing pays for the "
            "energy of the whole weight outside the row's own lap instead, wherever it lies."
        ),
    )
    return Part(closed, lambda verdicts: [plate(what, verdicts)]), Part(directions)


# ---------------------------------------------------------------------------------------- figure

LOOKS: dict[str, dict[str, Any]] = {
    "fold": {"color": BLUE, "marker": "o"},
    "chunk": {"color": GREEN, "marker": "s"},
    "block": {"color": GOLD, "marker": "D"},
    "hashed": {"color": PURPLE, "marker": "^"},
    "exact": {"color": ORANGE, "marker": "v"},
    "Bernoulli": {"color": RED, "marker": "x"},
}


def plate(what: Preactivations, verdicts: Sequence[Verdict]) -> Plate:
    """Layer by layer: predicted and measured, and both against the isotropic prediction."""
    return Plate(
        "pre-activation",
        "Error of the pre-activations, layer by layer",
        f"Each layer by itself in a bank of n/{what.compression:g} cells, or pruned at random to as many "
        "weights. Bars are predicted by the closed form, markers are measured, with intervals. Left: root "
        "mean square of the error over that of the pre-activation. Right: mean square over what lengths and "
        "angles alone would say; off 1 only because directions are not random.",
        "Predicted and measured errors of each layer under four kinds of sharing and two of pruning.",
        figure(what.errors, {v.check: v for v in verdicts}),
    )


@styled
def figure(table: Sequence[Error], measured: dict[str, Verdict]) -> Figure:
    """Two panels over the layers."""
    names = list(dict.fromkeys(error.layer for error in table))
    whole, (left, right) = blank(9.2, 0.5 + 0.42 * len(names), ncols=2, sharey=True)
    places = {kind: (place - 2.5) * 0.13 for place, kind in enumerate(LOOKS)}
    for error in table:
        y, look = names.index(error.layer) + places[error.kind], LOOKS[error.kind]
        v = measured[error.check]
        known = np.array([error.closed, max(v.interval[0], 0.0), v.interval[1], v.measured])
        for axes, shown in ((left, np.sqrt(known / error.size)), (right, known / error.isotropic)):
            axes.plot([shown[0]] * 2, [y - 0.07, y + 0.07], color=look["color"], linewidth=2)
            axes.plot(shown[1:3], [y, y], color=look["color"], linewidth=0.8)
            label = error.kind if error.layer == names[0] and axes is left else None
            axes.plot(shown[3], y, markersize=3.5, linestyle="", label=label, **look)
    right.set_xscale("log")
    ticks_in_words(right.xaxis, [0.3, 0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0, 3.0])
    right.axvline(1, color=MUTED, linewidth=0.8, linestyle=":")
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    left.set_xlim(left=0)
    left.set_xlabel("error over pre-activation, root mean squares")
    right.set_xlabel("mean square over the isotropic prediction")
    for axes in (left, right):
        axes.grid(axis="x", color=RULE)
        for place in range(1, len(names)):
            axes.axhline(place - 0.5, color=RULE, linewidth=0.6)
    handles, labels = left.get_legend_handles_labels()
    whole.legend(handles, labels, loc="outside upper center", ncols=6)
    return whole
