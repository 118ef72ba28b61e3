r"""Training many draws at once in NumPy: a bank behind a mapping, random losses, plain optimisers.

Only what claims 13 to 15 compare: the same losses trained in the bank $\theta$, in the balanced bank
$\varphi$, and in the weights themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rpstheory.kernels.reference import draw_many
from rpstheory.samplers import blocks, generator

if TYPE_CHECKING:
    from rpstheory.mappings import AbstractMapping

ROUNDING = 1e-7  # of weights near 1: 2^-53 a step, and no step here stretches it tenfold
STEPS = 8

Gradient = Callable[[int, Any], Any]  # (step, parameters) → gradient of the same shape


@dataclass(frozen=True, eq=False)
class Trials:
    """A function of a mapping's draws and of random data, many draws at once.

    Attributes:
        mapping: Its seed is replaced draw by draw.
        function: (cells, signs, random numbers) → (count,).
    """

    mapping: AbstractMapping
    function: Callable[[Any, Any, np.random.Generator], Any]

    @property
    def cost(self) -> float:
        """Work of a draw: a few trajectories over its weights."""
        return self.mapping.n * 400.0

    def __call__(self, first: int, count: int, backend: str) -> Any:
        """Values of ``count`` draws."""
        random = generator(first)
        values = np.empty(count)
        for low, size in blocks(count, self.mapping.n * STEPS):
            cells, signs = draw_many(self.mapping, (first + low) % 2**64, size)
            values[low : low + size] = self.function(cells, signs, random)
        return values


class Bank(NamedTuple):
    r"""Draws of $w = \Lambda S^\top \theta$: cells and signed scales, (draws, n), and the bank's size m."""

    cells: Any
    scale: Any
    size: int

    def expand(self, theta: Any) -> Any:
        """Weights read from banks, (draws, m) → (draws, n)."""
        return self.scale * np.take_along_axis(theta, self.cells, axis=1)

    def collect(self, gradient: Any) -> Any:
        """Gradients of the banks, (draws, n) → (draws, m)."""
        return self.sums(self.scale * gradient)

    def sums(self, values: Any) -> Any:
        """Sums per cell, (draws, n) → (draws, m)."""
        rows = np.arange(len(self.cells))[:, None] * self.size
        flat = (self.cells + rows).ravel()
        total = np.bincount(flat, values.ravel(), len(self.cells) * self.size)
        return total.reshape(-1, self.size)

    def gamma(self) -> Any:
        """Sum of squared scales per cell; 1 in a cell nobody uses."""
        return _or_one(self.sums(self.scale**2))

    def v1(self) -> Any:
        """Squared sum of scales over their number, per cell; 1 in a cell nobody uses."""
        count = _or_one(self.sums(np.ones(self.cells.shape)))
        return _or_one(self.sums(np.abs(self.scale)) ** 2 / count)

    def sum_of_scales(self) -> Any:
        """Sum of scales, of degree 1 only; 1 in a cell nobody uses."""
        return _or_one(self.sums(np.abs(self.scale)))

    def balanced(self) -> Bank:
        r"""The bank $\varphi = \Gamma^{1/2}\theta$, read through orthonormal columns."""
        root = np.sqrt(self.gamma())
        return self._replace(scale=self.scale / np.take_along_axis(root, self.cells, axis=1))


class Losses(NamedTuple):
    """One loss per step and draw: sum of h(u), u_i = a_i w_i + b_i w_(i-1) + c_i, h = u^2/(1+u^2)/2.

    h is not convex and |h''| <= 1, so a loss is L-smooth, L the largest squared singular value of
    w → (a_i w_i + b_i w_(i-1)). Elementwise arithmetic only, so equal weights give equal bits.
    """

    a: Any
    b: Any
    c: Any

    @staticmethod
    def random(random: np.random.Generator, shape: tuple[int, int], steps: int = STEPS) -> Losses:
        """Normal coefficients for (draws, n) weights."""
        return Losses(*(random.standard_normal((steps, *shape)) for _ in range(3)))

    def inner(self, step: int, w: Any) -> Any:
        """The arguments u."""
        t = step % len(self.a)
        return self.a[t] * w + self.b[t] * np.roll(w, 1, axis=1) + self.c[t]

    def value(self, step: int, w: Any) -> Any:
        """Losses, (draws,)."""
        square = self.inner(step, w) ** 2
        return (square / (1 + square)).sum(axis=1) / 2

    def gradient(self, step: int, w: Any) -> Any:
        """Gradients, (draws, n)."""
        t, u = step % len(self.a), self.inner(step, w)
        slope = u / ((1 + u * u) * (1 + u * u))
        return self.a[t] * slope + np.roll(self.b[t] * slope, -1, axis=1)

    def smoothness(self, step: int = 0) -> Any:
        """L of each draw, (draws,)."""
        n = self.a.shape[-1]
        linear = np.zeros((*self.a.shape[1:], n))
        place = np.arange(n)
        linear[:, place, place] += self.a[step]
        linear[:, place, place - 1] += self.b[step]
        return np.linalg.norm(linear, 2, axis=(1, 2)) ** 2


@dataclass(frozen=True)
class Descent:
    """SGD as in PyTorch.

    Attributes:
        step: Size; an array (draws, 1) for one per draw.
        momentum: Of the running gradient.
        dampening: Of the gradient that enters it.
        nesterov: Whether to look ahead.
        coupled: Weight decay added to the gradient.
        decoupled: Weight decay applied to the parameters.
    """

    step: Any = 0.1
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    coupled: float = 0.0
    decoupled: float = 0.0

    def __call__(self, step: int, parameter: Any, gradient: Any, state: dict[str, Any]) -> Any:
        """The next parameters."""
        push = gradient + self.coupled * parameter
        if self.momentum:
            old = state.get("run")
            run = push if old is None else self.momentum * old + (1 - self.dampening) * push
            state["run"] = run
            push = push + self.momentum * run if self.nesterov else run
        return parameter - self.step * self.decoupled * parameter - self.step * push


@dataclass(frozen=True)
class Adam:
    """Adam, AdamW and RMSProp (``first = 0``, ``corrected = False``).

    Attributes:
        step: Size.
        first: Decay of the running mean.
        second: Decay of the running square.
        epsilon: Added to its root.
        corrected: Whether both are corrected for their start at 0.
        coupled: Weight decay added to the gradient.
        decoupled: Weight decay applied to the parameters (AdamW).
    """

    step: float = 0.02
    first: float = 0.9
    second: float = 0.99
    epsilon: float = 0.1
    corrected: bool = True
    coupled: float = 0.0
    decoupled: float = 0.0

    def __call__(self, step: int, parameter: Any, gradient: Any, state: dict[str, Any]) -> Any:
        """The next parameters."""
        push = gradient + self.coupled * parameter
        mean = self.first * state.get("mean", 0.0) + (1 - self.first) * push
        square = self.second * state.get("square", 0.0) + (1 - self.second) * push * push
        state["mean"], state["square"] = mean, square
        if self.corrected:
            mean = mean / (1 - self.first ** (step + 1))
            square = square / (1 - self.second ** (step + 1))
        kept = parameter - self.step * self.decoupled * parameter
        return kept - self.step * mean / (np.sqrt(square) + self.epsilon)


@dataclass(frozen=True)
class Clipped:
    """A rule on gradients clipped to a norm.

    Attributes:
        rule: The rule.
        norm: The largest norm let through.
    """

    rule: Rule
    norm: float = 0.5

    def __call__(self, step: int, parameter: Any, gradient: Any, state: dict[str, Any]) -> Any:
        """The next parameters."""
        return self.rule(step, parameter, clipped(gradient, self.norm), state)


Rule = Descent | Adam | Clipped

SGD: tuple[Rule, ...] = tuple(
    Descent(0.1, momentum, dampening, nesterov, **decay)
    for momentum, dampening, nesterov in ((0.0, 0.0, False), (0.9, 0.3, False), (0.9, 0.0, True))
    for decay in ({}, {"coupled": 0.1}, {"decoupled": 0.1})
)
ELEMENTWISE: tuple[Rule, ...] = (
    *SGD,
    Adam(),
    Adam(coupled=0.1),
    Adam(decoupled=0.1),
    Adam(first=0.0, corrected=False),
)
ANY_RULE: tuple[Rule, ...] = (*ELEMENTWISE, Clipped(Descent(momentum=0.9)), Clipped(Adam()))


def clipped(gradient: Any, norm: float) -> Any:
    """Gradients shortened to a norm, (draws, …)."""
    length = np.sqrt((gradient**2).sum(axis=1, keepdims=True))
    return gradient * np.minimum(1.0, norm / length)


def train(start: Any, gradient: Gradient, rule: Rule, steps: int = STEPS) -> list[Any]:
    """The parameters after each step."""
    parameter, path = start, []
    state: dict[str, Any] = {}
    for step in range(steps):
        parameter = rule(step, parameter, gradient(step, parameter), state)
        path.append(parameter)
    return path


def train_bank(
    bank: Bank, start: Any, losses: Losses, rule: Rule, divisor: Any = 1.0, steps: int = STEPS
) -> list[Any]:
    """The weights after each step of training the bank, its gradient divided by ``divisor``."""

    def gradient(step: int, theta: Any) -> Any:
        return bank.collect(losses.gradient(step, bank.expand(theta))) / divisor

    return [bank.expand(theta) for theta in train(start, gradient, rule, steps)]


def apart(one: list[Any], other: list[Any], tolerance: float = ROUNDING) -> Any:
    """Whether two trajectories differ anywhere by more than rounding, (draws,) of 0 and 1."""
    far = [np.abs(a - b) > tolerance * (1 + np.abs(a)) for a, b in zip(one, other, strict=True)]
    return np.any(far, axis=(0, 2))


def random_scales(random: np.random.Generator, shape: tuple[int, int], modules: int = 3) -> Any:
    """Module-wise scales between 1/4 and 4, (draws, n)."""
    draws, n = shape
    values = 4.0 ** random.uniform(-1, 1, (draws, modules))
    return values[:, np.arange(n) * modules // n]


def _or_one(sums: Any) -> Any:
    return np.where(sums > 0, sums, 1.0)
