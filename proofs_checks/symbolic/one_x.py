r"""Claim 15 symbolically: a bank with a cell for every weight and dense training are the same recursion.

Shows: by induction over steps, for every placing of n weights in different cells of m and every choice of
signs at the sizes listed, with symbols for scales, state, memory and slopes of the loss: if the weights
agree, so do they after one step of SGD, Adam, AdamW, RMSProp, clipped or not. Elementwise rules treat each
weight by itself, so that one weight is every n. And what is not dense training.
Does not show: rounding, nor the law of the initial weights.
"""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import sympy as sp

from proofs_checks.check import Check, Level, require
from proofs_checks.symbolic.training import (
    BETA1,
    BETA2,
    RULES,
    SGDS,
    STEP,
    Adam,
    Bank,
    Memory,
    Rule,
    advance,
    clipped,
    divided,
    length,
    memories,
)

LIMIT = sp.Symbol("limit", positive=True)


def banks(most: int) -> list[Bank]:
    """Every signed placing of n weights in different cells of m, n <= m <= most, scales as symbols."""
    found = []
    for m in range(1, most + 1):
        for n in range(1, m + 1):
            scales = sp.symbols(f"lambda:{n}", positive=True)
            for cells in permutations(range(m), n):
                for signs in product((1, -1), repeat=n):
                    found.append(Bank(m, cells, tuple(map(sp.Integer, signs)), scales))
    return found


def require_same(left: Any, right: Any, name: str) -> None:
    """Do nothing if equal once multiplied out."""
    rest = sp.expand(left - right)
    require(rest == 0, f"{name}: {left} against {right}")


def of_weights(bank: Bank, memory: tuple[Memory, ...]) -> tuple[Memory, ...]:
    """The memory of dense training: means turn with the weight, mean squares stay."""
    return tuple(
        (g * z * memory[c][0], *memory[c][1:])
        for g, z, c in zip(bank.signs, bank.scales, bank.cells, strict=True)
    )


def require_dense(bank: Bank, rule: Rule, divisor: tuple[Any, ...], limit: Any) -> None:
    """Do nothing if one step of the bank moves the weights as one step of dense training does."""
    n = len(bank.cells)
    state, memory = sp.symbols(f"p:{bank.size}"), memories("b", rule.cells, bank.size)
    slopes: tuple[Any, ...] = sp.symbols(f"f:{n}", real=True)
    gradient = divided(bank.collect(slopes), divisor)
    if limit is not None:
        slopes, gradient = clipped(slopes, limit), clipped(gradient, limit)
    dense, kept = advance(rule, bank.weights(state), slopes, of_weights(bank, memory))
    shared, shared_kept = advance(rule, state, gradient, memory)
    name = f"{rule}, cells {bank.cells} of {bank.size}, signs {bank.signs}"
    for i, (w, v) in enumerate(zip(dense, bank.weights(shared), strict=True)):
        require_same(w, v, f"{name}: w_{i}")
    for one, other in zip(kept, of_weights(bank, shared_kept), strict=True):
        for a, b in zip(one, other, strict=True):
            require_same(a, b, f"{name}: memory")


def on_phi(level: Level) -> str:
    """The balanced bank under every rule, clipped or not."""
    most = level.pick(2, 3, 4)
    chosen = banks(most)
    for bank in chosen:
        balanced = bank.balanced()
        require(set(balanced.scales) == {1}, f"U is no signed selection: {balanced.scales}")
        for rule in RULES:
            limits = (None,) if len(bank.cells) == 1 else (LIMIT,)
            for limit in limits:
                require_dense(balanced, rule, (1,) * bank.size, limit)
    return f"{len(chosen)} signed placings to m={most}; {len(RULES)} rules, clipped where n > 1; every step"


def on_theta(level: Level, power: int = 2) -> str:
    """SGD on theta divided by Gamma or v1, which are lambda^2 in a cell of one weight."""
    chosen = banks(level.pick(2, 3, 3))
    for bank in chosen:
        require(power != 2 or bank.gamma() == bank.v1(), f"v1 is not Gamma: {bank.cells}")
        for rule in SGDS:
            require_dense(bank, rule, bank.sum_of_scales(power), None)
    return f"{len(chosen)} signed placings; momentum, dampening, Nesterov, both decays; every step"


# --------------------------------------------------------------------------- what is not dense


def meeting(_: Level, cells: tuple[int, int] = (0, 0)) -> str:
    """Two weights of one cell: the step of the weights is the projection UU' of the slopes."""
    bank = Bank(2, cells, (sp.Integer(1),) * 2, (sp.Integer(1),) * 2).balanced()
    step = bank.weights(bank.collect((sp.Integer(1), sp.Integer(0))))
    require(step != (1, 0), "the weights move as in dense training")
    return f"hashed at n = m = 2, both in one cell: slopes (1, 0) move the weights by {step}"


def adam_on_theta(_: Level, scale: Any = None) -> str:
    """Steps on theta have the length of the step size, and reach the weights times lambda."""
    z = sp.Symbol("lambda", positive=True) if scale is None else scale
    bank, slope = Bank(1, (0,), (sp.Integer(1),), (z,)), sp.Symbol("f", positive=True)
    rule = Adam(corrections=(1 - BETA1, 1 - BETA2), epsilon=0)
    start = ((sp.Integer(0),) * 2,)
    (shared,), _memory = advance(rule, (sp.Integer(0),), bank.collect((slope,)), start)
    (dense,), _memory = advance(rule, (sp.Integer(0),), (slope,), start)
    ratio = sp.simplify(bank.weights((shared,))[0] / dense)
    require(ratio != 1, "Adam on theta moves the weights as dense Adam does")
    require(ratio == z, f"the first step is {ratio} times the dense one")
    return f"first step: {ratio} times the dense one"


def matrix_method(_: Level, dense: int = 1) -> str:
    """The squared length of an orthogonalised step is the rank of the gradient.

    Dense gradient: all ones, rank 1. In the bank its entries carry the signs of their weights.
    """
    signs = list(product((1, -1), repeat=4))
    ranks = [sp.Matrix(2, 2, entries).rank() for entries in signs]
    mean = sp.Rational(sum(ranks), len(ranks))
    require(mean != dense, f"mean squared length {mean}")
    require(mean == sp.Rational(3, 2), f"mean squared length {mean}, not 3/2")
    return f"2 x 2 bank, all 16 choices of signs: mean squared length {mean}, dense {dense}"


def by_norm(parameters: tuple[Any, ...], gradient: tuple[Any, ...]) -> tuple[Any, ...]:
    """A step as long as the parameters are, as in LARS and LAMB."""
    ratio = length(parameters) / length(gradient)
    return tuple(p - STEP * ratio * slope for p, slope in zip(parameters, gradient, strict=True))


def norm_of_bank(_: Level, unused: int = 4) -> str:
    """A rule may commute with signed permutations and still see cells that no weight uses."""
    bank, state = Bank(2, (0,), (sp.Integer(1),), (sp.Integer(1),)), (sp.Integer(3), sp.Integer(unused))
    slopes = (sp.Symbol("f", positive=True),)
    (dense,) = by_norm(bank.weights(state), slopes)
    (shared,) = bank.weights(by_norm(state, bank.collect(slopes)))
    require(sp.expand(dense - shared) != 0, "the weight moves as in dense training")
    return f"n=1, m=2, phi = {state}: the weight becomes {shared}, dense {dense}"


CHECKS = (
    Check(
        15,
        "any rule on phi",
        "n <= m, fold: one step of the balanced bank moves the weights as one step of dense training",
        "symbolic",
        on_phi,
        "two weights in one cell",
        lambda: require_dense(
            Bank(2, (0, 0), (sp.Integer(1),) * 2, sp.symbols("lambda:2", positive=True)).balanced(),
            SGDS[0],
            (1, 1),
            None,
        ),
    ),
    Check(
        15,
        "SGD on theta",
        "n <= m, fold: the same on theta divided by Gamma or v1",
        "symbolic",
        on_theta,
        "divided by the scale",
        lambda: on_theta(Level.QUICK, 1),
    ),
    Check(
        15,
        "weights that meet",
        "fails if two weights share a cell: n > m, or hashed at 1x",
        "symbolic",
        meeting,
        "a cell for each",
        lambda: meeting(Level.QUICK, (0, 1)),
        scope="fails outside",
    ),
    Check(
        15,
        "Adam on theta",
        "fails for Adam on theta: its first step is lambda times as long",
        "symbolic",
        adam_on_theta,
        "lambda = 1",
        lambda: adam_on_theta(Level.QUICK, sp.Integer(1)),
        scope="fails outside",
    ),
    Check(
        15,
        "matrix methods",
        "fails for orthogonalised steps (Muon, Shampoo): mean squared length 3/2 in the place of 1",
        "symbolic",
        matrix_method,
        "a dense gradient of mean rank 3/2",
        lambda: matrix_method(Level.QUICK, sp.Rational(3, 2)),
        scope="fails outside",
    ),
    Check(
        15,
        "the norm of the bank",
        "fails at n < m for equivariant rules that read unused cells (LARS, LAMB)",
        "symbolic",
        norm_of_bank,
        "unused cells at 0",
        lambda: norm_of_bank(Level.QUICK, 0),
        scope="fails outside",
    ),
)
