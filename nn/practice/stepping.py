r"""The largest step that a trained bank stands: predicted by curvature and Gamma, found by taking steps.

Near a minimum gradient descent multiplies the distance along the steepest direction by $1 - \eta\lambda$ in
every step, so that it settles below $2/\lambda$. That is the top eigenvalue of the Hessian in the bank,
$U^\top H U$ with $U = \Lambda S^\top d^{-1/2}$ and d what the scaler divides by (claim 13); it comes from
Lanczos on products with the Hessian. The steps are taken on the trained network: full batch, norms as in
testing, only the bank. The labels are the network's own probabilities, so that it is at a minimum of the
cross-entropy, and H the Gauss-Newton part of the Hessian that it was trained with.

Above the threshold a network need not break: the loss can rise and come back in a flatter place, or go on
without settling at a curvature near $2/\eta$ (catapults, the edge of stability: Lewkowycz et al. 2020, Cohen
et al. 2021), which no quadratic predicts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite, log, sqrt
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
import torch.nn as tnn
import torch.nn.functional as tnnf

from nn.bridge import drawn
from nn.gamma import Scaler
from nn.layers import views_of
from nn.practice.occupancy import Fact, Occupancy
from nn.practice.part import Part
from nn.sharing import banks_of, to_dense
from rpstheory.claim import Check, Claim
from rpstheory.report.figures.style import (
    BLUE,
    GOLD,
    INK,
    MUTED,
    RED,
    blank,
    powers_of_ten,
    styled,
    ticks_in_words,
)
from rpstheory.report.gallery import Plate
from rpstheory.stability import effective_scaler

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nn.practice.network import Trained

SCALERS: tuple[Scaler, ...] = get_args(Scaler)
STDS = (0.25, 1.0, 4.0)
FACTORS = (0.5, 0.9, 0.97, 1.03, 1.1, 2.0, 8.0, 32.0, 128.0)  # of the predicted threshold
IMAGES, FEW = 64, 16  # in every step; where time is short
NEAR = 0.05  # how far the edge may lie from the prediction: less than from one factor to the next
STEPS = 10
PUSH = 1e-6  # what the loss is at the start; guessing among ten classes is at about 2
TOLERANCE = 1e-3  # of Lanczos
PRODUCTS = 400


@dataclass(frozen=True, eq=False)
class Reading:
    """A network as a function of a bank, every other parameter and all statistics fixed.

    Attributes:
        model: Dense, in eval mode.
        shapes: Names and shapes of the shared weights, in order of position.
        cell: (n,) int64.
        coefficient: (n,), of each weight for its cell.
        images: All of them in every step.
        labels: Log-probabilities of the classes.
    """

    model: tnn.Module
    shapes: tuple[tuple[str, torch.Size], ...]
    cell: torch.Tensor
    coefficient: torch.Tensor
    images: torch.Tensor
    labels: torch.Tensor

    def loss(self, bank: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy beyond its least value, as a function of the bank."""
        flat, weights, first = self.coefficient * bank[self.cell], {}, 0
        for name, shape in self.shapes:
            weights[name] = flat[first : first + shape.numel()].view(shape)
            first += shape.numel()
        logits = torch.func.functional_call(self.model, weights, (self.images,))
        return tnnf.kl_div(logits.log_softmax(1), self.labels, reduction="batchmean", log_target=True)

    def gradient(self, bank: torch.Tensor) -> tuple[float, torch.Tensor]:
        """Loss, and its gradient."""
        here = bank.detach().requires_grad_()
        value = self.loss(here)
        return float(value.detach()), torch.autograd.grad(value, here)[0]


def steepest(loss: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> tuple[float, torch.Tensor]:
    """The top eigenvalue of the Hessian and its direction, by Lanczos on products with it; 0 of a flat loss.

    Args:
        loss: Of a vector.
        at: Where.
    """
    from scipy.sparse.linalg import LinearOperator, eigsh

    here = at.detach().requires_grad_()
    slope = torch.autograd.grad(loss(here), here, create_graph=True)[0]
    random = torch.Generator().manual_seed(0)

    def product(v: Any) -> Any:
        along = torch.as_tensor(v, dtype=at.dtype).reshape(-1)
        return torch.autograd.grad(slope, here, along, retain_graph=True)[0].double().numpy()

    hessian = LinearOperator((len(at), len(at)), matvec=product, dtype=np.float64)
    start = torch.randn(len(at), generator=random, dtype=torch.float64).numpy()
    if not product(start).any():  # a random direction is in no kernel but the whole space
        return 0.0, torch.as_tensor(start / np.linalg.norm(start), dtype=at.dtype)
    value, vector = eigsh(hessian, k=1, which="LA", v0=start, tol=TOLERANCE, maxiter=PRODUCTS)
    return float(value[0]), torch.as_tensor(vector[:, 0], dtype=at.dtype)


@dataclass(frozen=True)
class Trial:
    """What became of steps of one size.

    Attributes:
        factor: The step over the predicted threshold.
        outcome: "settles", where the loss never rises above its start; "breaks", where it ends above that of
            guessing; else "goes on".
    """

    factor: float
    outcome: str


@dataclass(frozen=True)
class Edge:
    """One scaler at one C.

    Attributes:
        scaler: What the gradient is divided by.
        std: C.
        curvature: Top eigenvalue in the bank.
        trials: Ordered by factor.
    """

    scaler: Scaler
    std: float
    curvature: float
    trials: tuple[Trial, ...]

    @property
    def label(self) -> str:
        """Which."""
        return f"{self.scaler}, C = {self.std:g}"

    @property
    def predicted(self) -> float:
        """The threshold."""
        return 2 / self.curvature

    @property
    def measured(self) -> float:
        """Between the largest step below which all settle and the next, over the predicted threshold."""
        below = 0.0
        for trial in self.trials:
            if trial.outcome != "settles":
                return sqrt(below * trial.factor)
            below = trial.factor
        return below


@dataclass(frozen=True, eq=False)
class Stepping:
    """A trained bank on its way down the loss of a few images.

    Attributes:
        network: The run.
        images: How many, in every step.
    """

    network: Trained
    images: int

    @cached_property
    def occupancy(self) -> Occupancy:
        """The bank."""
        return Occupancy(banks_of(self.network.model)[0])

    @cached_property
    def _weights(self) -> Reading:
        """The network as a function of its weights: a bank with a cell for each."""
        model, bank = self.network.model, self.occupancy.bank
        names = {
            view.first: (f"{prefix}.{name}" if prefix else name, torch.Size(view.shape))
            for prefix, module in model.named_modules()
            for name, view in views_of(module).items()
            if view.bank is bank
        }
        n = self.occupancy.sizes[0]
        shapes = tuple(names[first] for first in sorted(names))
        plain = to_dense(model).eval().requires_grad_(False)
        images, _ = self.network.images(self.images)
        with torch.no_grad():
            labels = plain(images).log_softmax(1)
        return Reading(plain, shapes, torch.arange(n), torch.ones(n), images, labels)

    def reading(self, scaler: Scaler, std: float) -> tuple[Reading, torch.Tensor]:
        """The network as a function of the bank under a scaler and C, and the bank over theta at C = 1."""
        own = self.occupancy
        mapping, n = own.bank.mapping, own.sizes[0]
        cell, sign = drawn(mapping, torch.arange(n))
        divisor = effective_scaler(mapping, own.scales / std, scaler)
        roots = torch.as_tensor(np.sqrt(divisor), dtype=torch.float32)
        scale = torch.as_tensor(own.scales / std, dtype=torch.float32)
        return replace(self._weights, cell=cell, coefficient=sign * scale / roots[cell]), roots * std

    @cached_property
    def theta(self) -> torch.Tensor:
        """theta at C = 1."""
        bank = self.occupancy.bank
        return bank.phi.detach() / bank.roots().float()

    @cached_property
    def dense(self) -> float:
        """L: top eigenvalue of the Hessian in the weights."""
        reading, unit = self.reading("gamma", 1.0)
        weights = reading.coefficient * (self.theta * unit)[reading.cell]
        return steepest(self._weights.loss, weights)[0]

    def edge(self, scaler: Scaler, std: float) -> Edge:
        """Threshold and trials of a scaler at C."""
        reading, unit = self.reading(scaler, std)
        start = self.theta * unit
        curvature, along = steepest(reading.loss, start)
        pushed = start + along * sqrt(2 * PUSH / curvature)
        trials = tuple(Trial(factor, _outcome(reading, pushed, factor * 2 / curvature)) for factor in FACTORS)
        return Edge(scaler, std, curvature, trials)

    def bound(self, edge: Edge) -> float:
        """What L and Gamma allow the curvature to be."""
        own = self.occupancy
        gamma, divisor = (
            effective_scaler(own.bank.mapping, own.scales / edge.std, scaler)
            for scaler in ("gamma", edge.scaler)
        )
        return self.dense * float((gamma / divisor)[own.columns[0] > 0].max())

    def moved(self, scaler: Scaler, std: float) -> float:
        """How far the coefficients, or the start of cells that are read, are from those at C = 1, at most."""
        (one, unit), (other, other_unit) = self.reading(scaler, 1.0), self.reading(scaler, std)
        used = torch.as_tensor(self.occupancy.columns[0] > 0)
        apart = (one.coefficient - other.coefficient).abs().max(), (unit - other_unit)[used].abs().max()
        return float(max(apart))


def _outcome(reading: Reading, bank: torch.Tensor, step: float) -> str:
    first, gradient = reading.gradient(bank)
    last = highest = first
    for _ in range(STEPS):
        bank = bank - step * gradient
        last, gradient = reading.gradient(bank)
        highest = max(highest, last)
        if not isfinite(last):
            return "breaks"
    if highest <= first:
        return "settles"
    return "breaks" if last > log(reading.labels.shape[1]) else "goes on"


# ---------------------------------------------------------------------------------------- checks


def claims(network: Trained, discrepancy: float, *, quick: bool) -> tuple[Part, ...]:
    """The claim of this part, and its map; nothing without a bank, or where no weight moves the loss."""
    if not banks_of(network.model):
        return ()
    what = Stepping(network, FEW if quick else IMAGES)
    if what.dense == 0:
        return ()
    edges = [what.edge("gamma", 1.0), what.edge("v1", 1.0), *(what.edge("none", std) for std in STDS)]
    found = [
        Check(
            f"{edge.label}: edge off 2/curvature",
            Fact(abs(edge.measured - 1)),
            NEAR,
            "at most",
            condition=f"predicted {edge.predicted:.3g}",
        )
        for edge in edges
    ]
    found += [
        Check(f"{edge.label}: curvature", Fact(edge.curvature), what.bound(edge) * (1 + TOLERANCE), "at most")
        for edge in edges
    ]
    found += [
        Check(f"{scaler}: C = {std:g} read as C = 1", Fact(what.moved(scaler, std)), 0.0)
        for scaler in ("gamma", "v1")
        for std in STDS
        if std != 1
    ]
    claim = Claim(
        number=5,
        name="largest-step",
        title="The largest step that settles",
        statement=(
            "Started beside the trained bank, along the steepest direction, gradient descent never raises "
            "the loss for steps below 2 over the top eigenvalue of the Hessian in the balanced bank, and "
            "raises it for all others. That eigenvalue is at most "
            "L max Gamma_j/d_j, L that of the Hessian in the weights and d the divisor: at most L under "
            "gamma. C changes neither under gamma and v1; without a scaler the threshold is as C^2."
        ),
        assumptions=(
            f"{what.images} images, all in every step; plain gradient descent, {STEPS} steps",
            "norms as in testing; only the bank is trained",
            "labels are the network's own probabilities, so that it is at a minimum",
        ),
        formula=r"\eta_{max} = 2/\lambda_{max}(U^\top H U) \geq 2/(L\,\max_j \Gamma_j/d_j)",
        source="claims 13 and 14 at a trained network; Lanczos",
        footing="measured on the shipped hash",
        checks=lambda setting: found,
        mutant="the threshold of gamma without a scaler",
        mutant_check=lambda setting: Check(
            "mutant: none, by gamma's curvature",
            Fact(abs(edges[3].measured * edges[3].predicted / edges[0].predicted - 1)),
            NEAR,
            "at most",
        ),
        remarks=(
            "Beyond the edge the loss need not break: it may go on at a curvature near 2/step (edge of "
            "stability). What is measured has no error but that of Lanczos, 0.1 %, and the spacing of the "
            "steps; its draws are repetitions."
        ),
    )
    return (Part(claim, lambda verdicts: [plate(what, edges)]),)


# ---------------------------------------------------------------------------------------- figure

MARKS: dict[str, dict[str, Any]] = {
    "settles": {"color": BLUE, "marker": "o"},
    "goes on": {"color": GOLD, "marker": "D", "markerfacecolor": "none"},
    "breaks": {"color": RED, "marker": "x"},
}


def plate(what: Stepping, edges: Sequence[Edge]) -> Plate:
    """The map of steps."""
    return Plate(
        "largest-step",
        "Steps that settle, go on, or break",
        f"Plain gradient descent on the bank of the trained network, {what.images} images in every step. "
        "Solid: predicted edge, 2 over the top eigenvalue in the bank. Dashed: what L and Gamma alone "
        "guarantee. Diamonds rose above their start and did not end worse than guessing: the edge of "
        "stability, and catapults. Under gamma and v1 nothing that is computed contains C; steps were taken "
        "at C = 1.",
        "Learning rate against C for three scalers; all steps below the predicted line settle.",
        figure(what, edges),
    )


@styled
def figure(what: Stepping, edges: Sequence[Edge]) -> Figure:
    """A panel for each scaler."""
    whole, panels = blank(9.2, 3.4, ncols=len(SCALERS), sharey=True)
    for axes, scaler in zip(panels, SCALERS, strict=True):
        own = [edge for edge in edges if edge.scaler == scaler]
        flat = len(own) == 1
        x = [STDS[0], STDS[-1]] if flat else [edge.std for edge in own]
        axes.plot(x, [edge.predicted for edge in own] * (2 if flat else 1), color=INK)
        axes.plot(x, [2 / what.bound(edge) for edge in own] * (2 if flat else 1), color=MUTED, linestyle="--")
        for outcome, look in MARKS.items():
            places = [
                (edge.std, trial.factor * edge.predicted)
                for edge in own
                for trial in edge.trials
                if trial.outcome == outcome
            ]
            axes.plot(*zip(*places, strict=True) if places else ([], []), linestyle="", markersize=4.5,
                      label=outcome, **look)  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_title(f"scaler {scaler}")
        axes.set_xlabel("C, initial standard deviation of the bank")
        ticks_in_words(axes.xaxis, list(STDS))
        powers_of_ten(axes.yaxis)
    panels[0].set_ylabel("learning rate")
    handles, labels = panels[0].get_legend_handles_labels()
    whole.legend(handles, labels, loc="outside upper center", ncols=len(MARKS))
    return whole
