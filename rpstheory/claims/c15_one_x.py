"""Claim 15: where the bank has a cell for every weight, fold is ordinary training."""

from __future__ import annotations

from functools import partial
from math import erf, sqrt
from typing import Any

import numpy as np

from rpstheory.claim import Check, Claim, Setting
from rpstheory.claims.training import (
    ANY_RULE,
    ELEMENTWISE,
    SGD,
    Adam,
    Bank,
    Losses,
    Rule,
    Trials,
    apart,
    random_scales,
    train,
    train_bank,
)
from rpstheory.mappings import AbstractMapping, Fold, Hashed
from rpstheory.samplers import Draws
from rpstheory.traffic import unused_share_hashed


def leaves_dense(
    cells: Any,
    signs: Any,
    random: np.random.Generator,
    size: int,
    rules: tuple[Rule, ...],
    scaler: str,
    tolerance: float,
) -> Any:
    """Whether the weights leave the trajectory of dense training from the same start."""
    bank = Bank(cells, signs * random_scales(random, cells.shape), size)
    divisor: Any = 1.0
    if scaler == "phi":
        bank = bank.balanced()
    else:
        divisor = {"gamma": bank.gamma, "v1": bank.v1}[scaler]()
    start = random.standard_normal((len(cells), size))
    losses = Losses.random(random, cells.shape)
    found = np.zeros(len(cells), dtype=bool)
    for rule in rules:
        dense = train(bank.expand(start), losses.gradient, rule)
        found |= apart(dense, train_bank(bank, start, losses, rule, divisor), tolerance)
    return found


def shared_step(cells: Any, signs: Any, size: int) -> Any:
    """Squared length of the weights' first step over that of dense training, equal scales."""
    bank = Bank(cells, signs * 1.0, size)
    gradient = np.ones(cells.shape)
    step = bank.expand(bank.collect(gradient) / bank.gamma())
    return (step**2).sum(axis=1) / cells.shape[1]


def adam_step(cells: Any, signs: Any, scale: float) -> Any:
    """Length of the weights' first step of Adam on theta over that of dense training."""
    bank = Bank(cells, signs * scale, cells.shape[1])
    gradient = bank.collect(np.ones(cells.shape))
    rule = Adam(epsilon=0.0)
    step = bank.expand(rule(0, np.zeros(gradient.shape), gradient, {}))
    return np.abs(step).max(axis=1) / rule.step


def matrix_step(cells: Any, signs: Any) -> Any:
    """Squared length of the orthogonalised step (Muon, Shampoo) of a 2 x 2 bank; dense slope all ones."""
    slopes = Bank(cells, signs * 1.0, 4).collect(np.ones(cells.shape)).reshape(-1, 2, 2)
    left, values, right = np.linalg.svd(slopes)
    step = left @ ((values > 1e-9)[:, :, None] * right)
    return (step**2).sum(axis=(1, 2))


def initial(cells: Any, signs: Any, random: np.random.Generator, size: int, uniform: bool) -> Any:
    """Initial weights over sigma, from C times normal numbers, or uniform ones in (-1, 1)."""
    sigma, c = random_scales(random, cells.shape), 0.3
    shape = (len(cells), size)
    draw = random.uniform(-1, 1, shape) if uniform else random.standard_normal(shape)
    return Bank(cells, signs * sigma / c, size).expand(c * draw) / sigma


def initial_variance(*draws: Any, **law: Any) -> Any:
    """Mean square of the initial weights over sigma."""
    return (initial(*draws, **law) ** 2).mean(axis=1)


def initial_centre(*draws: Any, **law: Any) -> Any:
    """Share of the initial weights within sigma."""
    return (np.abs(initial(*draws, **law)) < 1).mean(axis=1)


def trials(mapping: AbstractMapping, rules: tuple[Rule, ...], scaler: str, tolerance: float) -> Trials:
    """Counts draws that leave the dense trajectory."""
    how = partial(leaves_dense, size=mapping.m, rules=rules, scaler=scaler, tolerance=tolerance)
    return Trials(mapping, how)


def checks(setting: Setting) -> list[Check]:
    """Trajectories at n = m and n < m, the initial law, and what is not dense training."""
    always = partial(Check, predicted=0.0, relation="always")
    outside = partial(Check, scope="outside", claimed=1.0)
    found = [
        always(f"{text}, {m} cells for 12", trials(Fold(12, m, 0), rules, scaler, tolerance))
        for m in (12, 17)
        for text, rules, scaler, tolerance in (
            ("SGD on theta divided by Gamma", SGD, "gamma", 1e-7),
            ("SGD on theta divided by v1", SGD, "v1", 1e-7),
            ("any rule on phi", ANY_RULE, "phi", 1e-7),
            ("elementwise rules on phi, bit for bit", ELEMENTWISE, "phi", 0.0),
        )
    ]
    fold = Fold(12, 17, 0)
    law = {"size": fold.m, "uniform": False}
    found += [
        Check("initial variance", Trials(fold, partial(initial_variance, **law)), 1.0),
        Check(
            "initial weights within sigma",
            Trials(fold, partial(initial_centre, **law)),
            erf(sqrt(1 / 2)),
        ),
        outside(
            "initial variance, uniform bank",
            Trials(fold, partial(initial_variance, size=fold.m, uniform=True)),
            1 / 3,
            condition="bank uniform in (-C, C)",
        ),
        outside(
            "first step, 24 weights on 12 cells",
            Draws(Fold(24, 12, 0), partial(shared_step, size=12)),
            1 / 2,
            condition="n > m",
        ),
        outside(
            "first step, hashed at n = m",
            Draws(Hashed(12, 12, 0), partial(shared_step, size=12)),
            1 - unused_share_hashed(12, 12),
            condition="hashed: cells meet at 1x",
        ),
        outside(
            "first step of Adam on theta, lambda = 1/2",
            Draws(Fold(12, 12, 0), partial(adam_step, scale=0.5)),
            0.5,
            condition="Adam on theta",
        ),
        outside(
            "first step orthogonalised",
            Draws(Fold(4, 4, 0), matrix_step),
            1.5,
            condition="a matrix method on the bank (Muon, Shampoo)",
        ),
    ]
    return found


def mutant_check(setting: Setting) -> Check:
    """Hashed cells at n = m."""
    sampler = trials(Hashed(12, 12, 0), SGD, "gamma", 1e-7)
    return Check("mutant: hashed at n = m", sampler, 0.0, "always")


CLAIM = Claim(
    number=15,
    name="one-x",
    title="At 1x fold is ordinary training",
    statement=(
        "If n <= m, training under fold moves the weights exactly as dense training from the same start "
        "does, step by step: on theta divided by Gamma or v1 under SGD with momentum, dampening, Nesterov "
        "and weight decay; on the balanced bank phi under every rule that is equivariant to signed "
        "permutations, such as Adam, AdamW, RMSProp and clipping. A normal bank gives each module the "
        "independent normal weights of variance sigma^2 of an ordinary initialisation."
    ),
    assumptions=(
        "n <= m; fold with one flat position for the whole model",
        "exact arithmetic; in floating point bit for bit on phi under elementwise rules, if the factor "
        "is computed as lambda / sqrt(lambda^2) = 1",
        "weight decay treats all weights alike",
    ),
    formula=(
        r"n \leq m:\quad U = \Lambda\Gamma^{-1/2}S^\top\ \mathrm{is\ a\ signed\ selection},"
        r"\quad w_t = w_t^{dense}"
    ),
    source="STABLE-RPS (ICLR 2024), Pareto-continuity; re-derived",
    footing="proved for the shipped hash",
    checks=checks,
    mutant="hashed cells in the place of fold",
    mutant_check=mutant_check,
    remarks=(
        "Sharper than rounding: on phi, elementwise rules are bit-equal to dense training, because "
        "sqrt(lambda^2) rounds to lambda. Not dense training: Adam on theta (steps lambda times as long), "
        "methods that treat the bank as a matrix (a 2 x 2 orthogonalised step has mean squared length 3/2 "
        "in place of 1), rules that read the norm of the whole bank (LARS, LAMB) where n < m leaves cells "
        "unused: n=1, m=2, phi=(3, 4) steps 5 where dense steps 3; hashing at 1x (the squared first step "
        "shrinks to m/n times the share of cells in use, which needs independent cells and is measured on "
        "the shipped hash), a uniform bank (variance sigma^2/3, as the authors' code had before July and "
        "after November 2023). The initial law follows from the bank's, draw by draw."
    ),
)
