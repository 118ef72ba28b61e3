"""Training rules written down for symbols: one step of a bank, or of the weights themselves.

A rule is a map of one entry: (parameter, gradient, memory) to the next parameter and memory. What couples
entries, such as clipping, acts on the whole gradient before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import sympy as sp

STEP, MU, DAMPENING, COUPLED, DECOUPLED = sp.symbols("eta mu tau omega delta", positive=True)
BETA1, BETA2, EPSILON = sp.symbols("beta1 beta2 epsilon", positive=True)
CORRECTION1, CORRECTION2 = sp.symbols("c1 c2", positive=True)  # 1 - beta^t, whatever t
Memory = tuple[Any, ...]


class Rule(Protocol):
    """An elementwise training rule."""

    @property
    def cells(self) -> int:
        """Numbers that the rule remembers per parameter."""

    def __call__(self, parameter: Any, gradient: Any, memory: Memory) -> tuple[Any, Memory]:
        """The next parameter and memory."""


@dataclass(frozen=True)
class SGD:
    """Momentum, dampening, coupled and decoupled decay, all as symbols."""

    nesterov: bool = False
    first: bool = False  # the first step fills the memory without dampening
    cells: int = 1

    def __call__(self, parameter: Any, gradient: Any, memory: Memory) -> tuple[Any, Memory]:
        """One step."""
        push = gradient + COUPLED * parameter
        kept = push if self.first else MU * memory[0] + (1 - DAMPENING) * push
        direction = push + MU * kept if self.nesterov else kept
        return (1 - STEP * DECOUPLED) * parameter - STEP * direction, (kept,)


@dataclass(frozen=True)
class Adam:
    """Adam with coupled decay, AdamW with decoupled; RMSProp at beta1 = 0 without correction."""

    first_moment: Any = BETA1
    corrections: tuple[Any, Any] = (CORRECTION1, CORRECTION2)
    coupled: Any = 0
    decoupled: Any = 0
    epsilon: Any = EPSILON
    cells: int = 2

    def __call__(self, parameter: Any, gradient: Any, memory: Memory) -> tuple[Any, Memory]:
        """One step."""
        push = gradient + self.coupled * parameter
        mean = self.first_moment * memory[0] + (1 - self.first_moment) * push
        square = BETA2 * memory[1] + (1 - BETA2) * push**2
        one, two = self.corrections
        direction = mean / one / (sp.sqrt(square / two) + self.epsilon)
        return (1 - STEP * self.decoupled) * parameter - STEP * direction, (mean, square)


ADAM = Adam(coupled=COUPLED)
ADAMW = Adam(decoupled=DECOUPLED)
RMSPROP = Adam(first_moment=sp.Integer(0), corrections=(sp.Integer(1), sp.Integer(1)), coupled=COUPLED)
SGDS = tuple(SGD(nesterov, first) for nesterov in (False, True) for first in (True, False))
RULES: tuple[Rule, ...] = (*SGDS, ADAM, ADAMW, RMSPROP)


@dataclass(frozen=True)
class Bank:
    """One draw of a mapping: w_i = sign_i scale_i theta[cell_i].

    Attributes:
        size: Cells.
        cells: Of every weight.
        signs: +1, -1 or symbols.
        scales: Positive.
    """

    size: int
    cells: tuple[int, ...]
    signs: tuple[Any, ...]
    scales: tuple[Any, ...]

    def weights(self, theta: Sequence[Any]) -> tuple[Any, ...]:
        """Lambda S' theta."""
        return tuple(g * z * theta[c] for g, z, c in zip(self.signs, self.scales, self.cells, strict=True))

    def collect(self, slopes: Sequence[Any]) -> tuple[Any, ...]:
        """S Lambda times the gradient in the weights."""
        found = [sp.Integer(0)] * self.size
        for g, z, c, slope in zip(self.signs, self.scales, self.cells, slopes, strict=True):
            found[c] += g * z * slope
        return tuple(found)

    def sum_of_scales(self, power: int = 1) -> tuple[Any, ...]:
        """Sum of lambda^power per cell, 1 in a cell that no weight uses."""
        found = [sp.Integer(0)] * self.size
        for z, c in zip(self.scales, self.cells, strict=True):
            found[c] += z**power
        return tuple(sp.factor(total) if c in self.cells else sp.Integer(1) for c, total in enumerate(found))

    def gamma(self) -> tuple[Any, ...]:
        """Gamma, 1 in a cell that no weight uses."""
        return self.sum_of_scales(2)

    def v1(self) -> tuple[Any, ...]:
        """(sum lambda)^2/k."""
        return tuple(total**2 / max(1, self.cells.count(c)) for c, total in enumerate(self.sum_of_scales()))

    def balanced(self) -> Bank:
        """The bank of phi = Gamma^(1/2) theta: w = U phi."""
        gamma = self.gamma()
        scales = tuple(z / sp.sqrt(gamma[c]) for z, c in zip(self.scales, self.cells, strict=True))
        return replace(self, scales=scales)


def divided(values: Sequence[Any], by: Sequence[Any]) -> tuple[Any, ...]:
    """Entry by entry."""
    return tuple(value / number for value, number in zip(values, by, strict=True))


def length(gradient: Sequence[Any]) -> Any:
    """Euclidean."""
    return sp.sqrt(sum(part**2 for part in gradient))


def clipped(gradient: Sequence[Any], limit: Any) -> tuple[Any, ...]:
    """The gradient, shortened to a limit if it is longer."""
    factor = sp.Min(1, limit / length(gradient))
    return tuple(factor * part for part in gradient)


def memories(name: str, cells: int, size: int) -> tuple[Memory, ...]:
    """Symbols for what a rule remembers, per parameter."""
    return tuple(tuple(sp.symbols(f"{name}{p}_:{cells}", positive=True)) for p in range(size))


def advance(
    rule: Rule, parameters: Sequence[Any], gradient: Sequence[Any], memory: Sequence[Memory]
) -> tuple[tuple[Any, ...], tuple[Memory, ...]]:
    """One step of every parameter."""
    steps = [rule(*entry) for entry in zip(parameters, gradient, memory, strict=True)]
    return tuple(p for p, _ in steps), tuple(kept for _, kept in steps)
