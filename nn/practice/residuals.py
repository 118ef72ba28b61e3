r"""What a linear model on a network's features loses to sharing and to pruning: claim 12 on real features.

A linear classifier with weights $w = \Lambda S^\top\theta$ is fitted by least squares to the classes, on
pixels and on the features that the network's last layer sees. In the basis of their principal components
features are uncorrelated, so that the loss has a closed form in the spectrum s, the energies
$e_i = s_i \sum_k w_{ik}^2$ of the best dense classifier over the components, and the scales. Who wins is
decided by how the two are aligned: fold, if e and s are ordered alike; pruning, if oppositely; and fold
again, whatever their order, if the scales know the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn as tnn
import torch.nn.functional as tnnf

from nn.practice.part import Part
from rpstheory.claim import Check, Claim
from rpstheory.errors import ArgumentError
from rpstheory.kernels import cpu, reference
from rpstheory.linear_model import expected_linear_residual, penalty_matrix, ridge_value
from rpstheory.mappings import AbstractMapping, Fold, Hashed, KeepExact
from rpstheory.report.figures.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    RULE,
    blank,
    powers_of_ten,
    styled,
    ticks_in_words,
)
from rpstheory.report.gallery import Plate

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from nn.practice.network import Trained
    from rpstheory.claim import Verdict

    Array = NDArray[np.float64]

IMAGES = 2048  # of each set, at most
SIDE = 8  # pixels are averaged to so many squared
COMPONENTS, LAPS = 64, 8  # at most; a multiple of all compressions
RANK = 1e-6  # of the largest variance; below, a component is noise, and rounding in the fits
COMPRESSIONS = (2, 4, 8)
TEST, SIDES = 0.05, {"above": 1, "below": -1}  # how far off Akaike's formula may be, of itself
FINE = 0.2  # of a test loss: what its discrepancy is relative to
LITTLE = 0.25  # of all that is explained: what the discrepancy of a loss is relative to, at least
HELD = 256  # draws at once
LEAST = 1e-13  # of a design's largest squared singular value; below, a direction that no weight reads


@dataclass(frozen=True, eq=False)
class Features:
    """Features and classes of the training and the test images, centred by the training ones.

    Attributes:
        name: Which features.
        train: (images, d).
        classes: (images, classes), one-hot and centred.
        test: (other images, d).
        truth: Their classes, likewise.
    """

    name: str
    train: Array
    classes: Array
    test: Array
    truth: Array

    @cached_property
    def components(self) -> Features:
        """The same in the basis of the principal components, so many that every compression divides them.

        Raises:
            ArgumentError: If there are fewer than eight.
        """
        _, size, basis = np.linalg.svd(self.train, full_matrices=False)
        rank = min(COMPONENTS, int((size**2 > RANK * size[0] ** 2).sum())) // LAPS * LAPS
        if not rank:
            raise ArgumentError(
                f"practice: {self.name} span fewer than {LAPS} directions; pass a run with richer data"
            )
        turn = basis[:rank].T
        return Features(self.name, self.train @ turn, self.classes, self.test @ turn, self.truth)

    @cached_property
    def turned(self) -> tuple[Array, Array]:
        """Training features and classes along left singular vectors: no more rows than directions."""
        frame, size, basis = np.linalg.svd(self.train, full_matrices=False)
        real = size**2 > LEAST * size[0] ** 2
        return size[real, None] * basis[real], frame[:, real].T @ self.classes

    @cached_property
    def variances(self) -> Array:
        """(d,), second moments of the training features."""
        return np.square(self.train).mean(axis=0)

    @cached_property
    def dense(self) -> Array:
        """(d, classes), the best linear classifier."""
        return np.asarray(np.linalg.lstsq(self.train, self.classes, rcond=None)[0], dtype=np.float64)

    @cached_property
    def weights(self) -> Array:
        """(d,), the length of each row of the classifier; all that the closed form needs of it."""
        return np.sqrt(np.square(self.dense).sum(axis=1))

    @cached_property
    def lost(self) -> float:
        """Training loss of the best linear classifier."""
        return float(self.loss(self.dense, test=False))

    @cached_property
    def won(self) -> float:
        """What the best linear classifier takes off the training loss: the sum of e."""
        return float(self.variances @ self.weights**2)

    def loss(self, weights: Array, *, test: bool) -> Any:
        """Mean squared error over images, summed over classes, of classifiers (…, d, classes)."""
        x, y = (self.test, self.truth) if test else (self.train, self.classes)
        return np.square(y - x @ weights).sum(axis=(-1, -2)) / len(x)

    def shuffled(self) -> Features:
        """The same in an order of the features drawn at random."""
        order = np.random.default_rng(0).permutation(self.train.shape[1])
        return Features(self.name, self.train[:, order], self.classes, self.test[:, order], self.truth)


@dataclass(frozen=True, eq=False)
class Fitted:
    """Loss of the classifier that is fitted by least squares under a draw, beyond that of the dense one.

    Attributes:
        mapping: Its seed is replaced draw by draw.
        features: What is classified.
        scales: lambda of every feature.
        test: The whole loss, on the test images, in place of that beyond the dense one.
    """

    mapping: AbstractMapping
    features: Features
    scales: Array
    test: bool = False

    @property
    def cost(self) -> float:
        """Work of a draw: a decomposition of its design."""
        return 200.0 * self.mapping.n * self.mapping.m

    def __call__(self, first: int, count: int, backend: str) -> Array:
        """Values of ``count`` draws."""
        draw = cpu.draw if backend == "numba" else reference.draw_many
        factor, wanted = self.features.turned
        parts = []
        for low in range(0, count, HELD):
            cells, signs = draw(self.mapping, (first + low) % 2**64, min(HELD, count - low))
            if isinstance(self.mapping, KeepExact):  # side by side, so that designs are no wider than need be
                cells = np.maximum(np.cumsum(signs, axis=1) - 1, 0)
            spread = np.zeros((*cells.shape, self.mapping.m))
            np.put_along_axis(spread, cells[..., None], (signs * self.scales)[..., None], axis=2)
            design = factor @ spread
            turned = design.swapaxes(1, 2)
            weights = spread @ (np.linalg.pinv(turned @ design, LEAST, hermitian=True) @ (turned @ wanted))
            if self.test:
                parts.append(self.features.loss(weights, test=True))
            else:
                parts.append(np.square(wanted - factor @ weights).sum(axis=(1, 2)) / len(self.features.train))
        return np.concatenate(parts)


@dataclass(frozen=True, eq=False)
class Beyond:
    """How far the values of a sampler lie above, or below, a number.

    Attributes:
        sampler: Which.
        about: The number.
        side: 1 for above, -1 for below.
    """

    sampler: Fitted
    about: float
    side: int

    @property
    def cost(self) -> float:
        """Work of a draw."""
        return self.sampler.cost

    def __call__(self, first: int, count: int, backend: str) -> Array:
        """Values of ``count`` draws."""
        return self.side * (self.sampler(first, count, backend) - self.about)


def features(network: Trained) -> tuple[Features, Features]:
    """Pixels, averaged to 8 x 8, and what the last linear layer is given."""
    (images, labels), (others, truth) = network.images(IMAGES), network.images(IMAGES, train=False)
    last = [module for module in network.model.modules() if isinstance(module, tnn.Linear)][-1]
    classes = len(network.source.train.dataset.classes)
    found = []
    for name, of in (("pixels", _pixels), ("last features", lambda x: _given_to(network.model, last, x))):
        x, z = of(images), of(others)
        y, t = (tnnf.one_hot(each, classes).double().numpy() for each in (labels, truth))
        found.append(Features(name, x - x.mean(0), y - y.mean(0), z - x.mean(0), t - y.mean(0)))
    return found[0], found[1]


def _pixels(images: torch.Tensor) -> Array:
    grey = images.double().mean(dim=1, keepdim=True)
    return tnnf.adaptive_avg_pool2d(grey, SIDE).flatten(1).numpy()


@torch.no_grad()
def _given_to(model: tnn.Module, layer: tnn.Module, images: torch.Tensor) -> Array:
    met: list[torch.Tensor] = []
    hook = layer.register_forward_pre_hook(lambda module, given: met.append(given[0].flatten(0, -2)))
    try:
        for first in range(0, len(images), 256):
            model(images[first : first + 256])
    finally:
        hook.remove()
    return torch.cat(met).double().numpy()


# ---------------------------------------------------------------------------------------- checks


@dataclass(frozen=True, eq=False)
class Case:
    """A way to a classifier of fewer numbers.

    Attributes:
        kind: Its name.
        compression: Features over cells, or over features kept.
        features: In principal components.
        mapping: What shares or prunes.
        scales: lambda.
    """

    kind: str
    compression: int
    features: Features
    mapping: AbstractMapping
    scales: Array

    @property
    def name(self) -> str:
        """What is fitted."""
        return f"{self.features.name}, {self.kind}, {self.compression}x"

    @cached_property
    def predicted(self) -> float:
        """The mean loss beyond the dense one, by the closed form."""
        own = self.features
        return expected_linear_residual(self.mapping, own.variances, own.weights, self.scales)

    @property
    def on_test(self) -> float:
        """The test loss that fitting m numbers a class to N images leads to. Source: Akaike 1969."""
        images, m = len(self.features.train), self.mapping.m
        return (self.features.lost + self.predicted) * (images + m) / (images - m)

    def fitted(self, *, test: bool = False) -> Fitted:
        """The experiment."""
        return Fitted(self.mapping, self.features, self.scales, test)


TESTED = ("fold", "exact")
KINDS = ("fold", "fold, shuffled", "hashed", "exact", "fold, knowing")


def cases(own: Features, compressions: Sequence[int]) -> list[Case]:
    """All ways on one set of features, in their principal components."""
    sorted_, mixed = own.components, own.components.shuffled()
    n = sorted_.train.shape[1]
    flat, found = np.ones(n), []
    for c in compressions:
        m = n // c
        ways = (
            (sorted_, Fold(n, m, 0), flat),
            (mixed, Fold(n, m, 0), flat),
            (sorted_, Hashed(n, m, 0), flat),
            (sorted_, KeepExact(n, m, 0), flat),
            (mixed, Fold(n, m, 0), mixed.weights),
        )
        found += [Case(kind, c, *way) for kind, way in zip(KINDS, ways, strict=True)]
    return found


def ridge_of(own: Features, mapping: AbstractMapping) -> float:
    """What the loss on features as they are is at most, on average, summed over classes."""
    gram = own.train.T @ own.train
    penalty = penalty_matrix(mapping, gram)
    whole = sum(ridge_value(gram, penalty, own.train.T @ y, float(y @ y)) for y in own.classes.T)
    return whole / len(own.train) - own.lost


def claims(network: Trained, discrepancy: float, *, quick: bool) -> tuple[Part, ...]:
    """The claim of this part, and its figure."""
    chosen = (COMPRESSIONS[0], COMPRESSIONS[-1]) if quick else COMPRESSIONS
    sets = features(network)
    table = [case for own in sets for case in cases(own, chosen)]
    checks = [
        Check(
            case.name,
            case.fitted(),
            case.predicted,
            scale=max(case.predicted, LITTLE * case.features.won),
        )
        for case in table
    ]
    checks += [
        Check(
            f"{case.name}, test loss {word}",
            Beyond(case.fitted(test=True), case.on_test, side),
            TEST * case.on_test,
            "at most",
            scale=FINE * case.on_test,
            condition="test images like those of training",
        )
        for case in table
        if case.kind in TESTED
        for word, side in SIDES.items()
    ]
    pixels = sets[0]
    n = pixels.train.shape[1]
    for mapping in (Fold(n, n // LAPS, 0), KeepExact(n, n // LAPS, 0)):
        name = f"pixels as they are, {type(mapping).__name__} {n}→{mapping.m}, ridge bound"
        bound = ridge_of(pixels, mapping)
        checks.append(Check(name, Fitted(mapping, pixels, np.ones(n)), bound, "at most"))
    fold, exact = (next(case for case in table if case.kind == kind) for kind in ("fold", "exact"))
    claim = Claim(
        number=3,
        name="linear-residual",
        title="A linear model on real features",
        statement=(
            "A linear classifier fitted by least squares through a shared bank, or to features that are kept "
            "at random, loses on average what claim 12 says from the variances of the principal components "
            "and the weights of the dense classifier. On correlated features it loses no more than the ridge "
            "bound of claim 11. On test images its loss is that of training times (N+m)/(N-m), to within 5 %."
        ),
        assumptions=(
            "features in their principal components; a bank for each class, one mapping for all",
            "the test loss: test images drawn like those of training",
        ),
        formula=r"E\,R = \sum_i e_i\,(1 - E\,\frac{u_i}{u(cell(i))}),\quad e_i = s_i\,\sum_k w_{ik}^2,\quad "
        r"u_i = \lambda_i^2 s_i",
        source="claims 11 and 12 on the features of a network; Akaike 1969 for the test loss",
        footing="needs ideal randomness",
        checks=lambda setting: checks,
        mutant="sharing loses what pruning loses",
        mutant_check=lambda setting: Check(
            f"mutant: {fold.name} as if pruned", fold.fitted(), exact.predicted
        ),
        remarks=(
            "Fold, shuffled is in an order of components drawn at random; fold, knowing has the scales "
            "lambda_i = |w_i| in that order. Scales that know the weights never lose to pruning, but where "
            "variances and energies are ordered alike already, plain scales do better."
        ),
    )
    return (Part(claim, lambda verdicts: [plate(table, {v.check: v for v in verdicts})]),)


# ---------------------------------------------------------------------------------------- figure

LOOKS: dict[str, dict[str, Any]] = {
    "fold": {"color": BLUE, "marker": "o"},
    "fold, shuffled": {"color": BLUE, "marker": "s", "markerfacecolor": "none", "linestyle": "--"},
    "hashed": {"color": PURPLE, "marker": "^"},
    "exact": {"color": ORANGE, "marker": "v"},
    "fold, knowing": {"color": GREEN, "marker": "D", "markerfacecolor": "none"},
}


def plate(table: Sequence[Case], measured: dict[str, Verdict]) -> Plate:
    """Spectrum and energies; what is lost over compressions, in training and on test images."""
    return Plate(
        "linear-residual",
        "A linear classifier through a bank",
        "Left: variances s of the principal components and energies e of the best dense classifier over "
        "them; the rank correlation says how far they are ordered alike, which is where fold wins. Middle: "
        "loss beyond the dense one over all that the dense one explains. Right: loss on test images, the "
        "dense one dotted. Lines are predicted, markers measured; best kept is pruning that knows e (claim "
        "18).",
        "Spectra of pixels and last features, and the loss of sharing and pruning over compressions.",
        figure(table, measured),
    )


@styled
def figure(table: Sequence[Case], measured: dict[str, Verdict]) -> Figure:
    """A row of three panels for each set of features."""
    from scipy.stats import spearmanr

    names = list(dict.fromkeys(case.features.name for case in table))
    whole, rows = blank(9.2, 2.9 * len(names), nrows=len(names), ncols=3, squeeze=False)
    for name, (left, middle, right) in zip(names, rows, strict=True):
        own = [case for case in table if case.features.name == name]
        first = own[0].features
        energy = first.variances * first.weights**2
        alike = spearmanr(first.variances, energy).statistic
        top = {c: float(np.sort(energy)[: -(len(energy) // c)].sum() / first.won) for c in COMPRESSIONS}
        middle.plot(list(top), list(top.values()), color=MUTED, linestyle=":", label="best kept")
        left.set_title(f"{name}: rank correlation {alike:.2f}")
        place = np.arange(1, len(energy) + 1)
        left.loglog(place, first.variances / first.variances.sum(), color=INK, label="s")
        left.loglog(place, energy / energy.sum(), color=MUTED, linestyle="", marker=".", label="e")
        left.set_xlabel("component")
        left.legend(loc="lower left")
        powers_of_ten(left.yaxis)
        for kind, look in LOOKS.items():
            line = [case for case in own if case.kind == kind]
            _line(middle, line, measured, "", first.won, look)
            if kind in TESTED:
                _line(right, line, measured, ", test loss above", 1.0, look)
        right.axhline(float(first.loss(first.dense, test=True)), color=MUTED, linestyle=":", linewidth=0.8)
        for axes, title in ((middle, "share lost in training"), (right, "test loss")):
            axes.set_title(title)
            axes.set_xscale("log")
            axes.set_xlabel("n/m")
            axes.set_ylim(bottom=0)
            axes.grid(axis="y", color=RULE)
            ticks_in_words(axes.xaxis, [float(c) for c in COMPRESSIONS])
    handles, labels = rows[0][1].get_legend_handles_labels()
    whole.legend(handles, labels, loc="outside upper center", ncols=len(LOOKS) + 1)
    return whole


def _line(
    axes: Any, line: Sequence[Case], measured: dict[str, Verdict], end: str, unit: float, look: dict[str, Any]
) -> None:
    """Predicted as a line, measured as markers."""
    x = [case.compression for case in line]
    verdicts = [measured[case.name + end] for case in line]
    style = {key: value for key, value in look.items() if key in ("color", "linestyle")}
    about = [case.on_test for case in line] if end else [0.0] * len(line)
    lines = about if end else [v.predicted for v in verdicts]
    axes.plot(x, [y / unit for y in lines], **style)
    marks = {key: value for key, value in look.items() if key != "linestyle"}
    axes.plot(
        x,
        [(v.measured + at) / unit for v, at in zip(verdicts, about, strict=True)],
        linestyle="",
        markersize=4.5,
        label=line[0].kind,
        **marks,
    )
