"""Claim 14: the weights' training does not depend on the scale C of the bank."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rpstheory.claim import Check, Claim, Setting
from rpstheory.claims.training import (
    ANY_RULE,
    SGD,
    Adam,
    Bank,
    Losses,
    Rule,
    Trials,
    apart,
    clipped,
    random_scales,
    train,
    train_bank,
)
from rpstheory.mappings import Fold, Hashed
from rpstheory.samplers import Draws

if TYPE_CHECKING:
    from rpstheory.mappings import AbstractMapping

EPSILON = 1e-6  # beside Gamma in the authors' code


def depends(
    cells: Any, signs: Any, random: np.random.Generator, size: int, rules: tuple[Rule, ...], scaler: str
) -> Any:
    """Whether the weights' trajectory depends on C: at all for powers of two, else beyond rounding.

    Trains the bank, its gradient divided by ``scaler``, or the balanced bank for "phi".
    """
    sigma = random_scales(random, cells.shape)
    start = random.standard_normal((len(cells), size))
    losses = Losses.random(random, cells.shape)
    found = np.zeros(len(cells), dtype=bool)
    for rule in rules:

        def path(c: float, rule: Rule = rule) -> list[Any]:
            return trajectory(Bank(cells, signs * sigma / c, size), c * start, losses, rule, scaler)

        found |= apart(path(1.0), path(2.0**-11), tolerance=0.0)
        found |= apart(path(1.0), path(30.0))
    return found


def trajectory(bank: Bank, theta: Any, losses: Losses, rule: Rule, scaler: str) -> list[Any]:
    """The weights after each step, from a bank's start."""
    if scaler == "phi":
        return train_bank(bank.balanced(), np.sqrt(bank.gamma()) * theta, losses, rule)
    divisor = {"gamma": bank.gamma(), "v1": bank.v1(), "sum": bank.sum_of_scales()}[scaler]
    return train_bank(bank, theta, losses, rule, divisor)


def blind(cells: Any, signs: Any, random: np.random.Generator, size: int) -> Any:
    """Whether dividing the gradient changes Adam without epsilon by more than rounding."""
    gamma = Bank(cells, signs * random_scales(random, cells.shape), size).gamma()
    start = random.standard_normal(gamma.shape)
    gradients = random.choice([-1, 1], (8, *start.shape)) * random.uniform(0.1, 1, (8, *start.shape))
    plain = train(start, lambda step, _: gradients[step], Adam(epsilon=0.0))
    divided = train(start, lambda step, _: gradients[step] / gamma, Adam(epsilon=0.0))
    return apart(plain, divided)


def step_ratio(cells: Any, signs: Any, way: str, c: float) -> Any:
    """Length of the weights' first step at C = c, over that at C = 1; from w = 1, slope 5, sigma = 1."""
    lengths = []
    for scale in (c, 1.0):
        bank = Bank(cells, signs / scale, cells.shape[1])
        theta = bank.collect(np.ones(cells.shape)) / bank.gamma()
        push = WAYS[way](theta, bank.collect(np.full(cells.shape, 5.0)), bank)
        lengths.append(np.linalg.norm(bank.expand(push), axis=1))
    return lengths[0] / lengths[1]


def one_step(theta: Any, gradient: Any, bank: Bank, rule: Rule) -> Any:
    """What a rule adds to the bank at first."""
    return rule(0, theta, gradient, {}) - theta


# What a way of training adds to the bank in its first step, from (theta, gradient, bank).
WAYS: dict[str, Callable[[Any, Any, Bank], Any]] = {
    "divided by Gamma": lambda theta, g, bank: g / bank.gamma(),
    "divided by the sum of scales": lambda theta, g, bank: g / bank.sum_of_scales(),
    "decay before the division": lambda theta, g, bank: 0.1 * theta / bank.gamma(),
    "epsilon beside Gamma": lambda theta, g, bank: g / (bank.gamma() + EPSILON),
    "bank gradient clipped": lambda theta, g, bank: clipped(g, 0.5) / bank.gamma(),
    "divided gradient clipped": lambda theta, g, bank: clipped(g / bank.gamma(), 0.5),
    "Adam on theta": partial(one_step, rule=Adam(epsilon=0.0)),
    "AdamW on theta": partial(one_step, rule=Adam(epsilon=0.0, decoupled=0.1)),
    "RMSProp on theta": partial(one_step, rule=Adam(epsilon=0.0, first=0.0, corrected=False)),
}
# The ratio of first steps at C, by hand; the claim says 1.
BROKEN = (
    ("divided by the sum of scales", 2.0, 1 / 2),
    ("decay before the division", 2.0, 4.0),
    ("epsilon beside Gamma", 1000.0, (1 + EPSILON) / (1 + EPSILON * 1000**2)),
    ("bank gradient clipped", 2.0, 2.0),
    ("divided gradient clipped", 2.0, 1 / 2),
    ("Adam on theta", 2.0, 1 / 2),
    ("AdamW on theta", 2.0, (1 / 2 + 0.1) / (1 + 0.1)),
    ("RMSProp on theta", 2.0, 1 / 2),
)


def trials(mapping: AbstractMapping, rules: tuple[Rule, ...], scaler: str) -> Trials:
    """Counts draws whose trajectory depends on C."""
    return Trials(mapping, partial(depends, size=mapping.m, rules=rules, scaler=scaler))


def checks(setting: Setting) -> list[Check]:
    """Every rule in both forms, and each way to break the invariance."""
    fold, hashed = Fold(12, 5, 0), Hashed(12, 5, 0)
    always = partial(Check, predicted=0.0, relation="always")
    forms = (
        (SGD, "gamma", "SGD on theta divided by Gamma"),
        (SGD, "v1", "SGD on theta divided by v1"),
        (ANY_RULE, "phi", "SGD, Adam, AdamW, RMSProp, clipping on phi"),
    )
    found = [
        always(f"{text}, {type(mapping).__name__}", trials(mapping, rules, scaler))
        for mapping in (fold, hashed)
        for rules, scaler, text in forms
    ]
    found.append(
        always(
            "Adam is blind to the division",
            Trials(fold, partial(blind, size=fold.m)),
            condition="epsilon 0, no decay",
        )
    )
    one = Fold(8, 8, 0)
    way = "divided by Gamma"
    found.append(Check(f"first step, {way}", Draws(one, partial(step_ratio, way=way, c=2.0)), 1.0))
    return found + [
        Check(
            f"first step, {way}, C={c:g} over C=1",
            Draws(one, partial(step_ratio, way=way, c=c)),
            ratio,
            scope="outside",
            claimed=1.0,
            condition=way,
        )
        for way, c, ratio in BROKEN
    ]


def mutant_check(setting: Setting) -> Check:
    """A scaler of degree 1 in the scales."""
    sampler = trials(Fold(12, 5, 0), SGD, "sum")
    return Check("mutant: divided by the sum of scales", sampler, 0.0, "always")


CLAIM = Claim(
    number=14,
    name="init-invariance",
    title="The bank's own scale does not matter",
    statement=(
        "Let the bank start at C times a fixed draw, with scales lambda = sigma/C. Under SGD with "
        "momentum, dampening, Nesterov and weight decay, coupled or decoupled, the trajectory of the "
        "weights does not depend on C if the loss gradient, and nothing else, is divided by a scaler of "
        "degree 2 in lambda, such as Gamma or v1; it is bit-equal when C is a power of two. Training the "
        "balanced bank phi = Gamma^(1/2) theta makes every rule independent of C, Adam, AdamW, RMSProp, "
        "epsilon and clipping included."
    ),
    assumptions=(
        "C > 0, no overflow or underflow",
        "any loss, any order of batches, any mapping of one cell per weight",
        "on theta: decay is added after the division, no epsilon beside Gamma, no clipping",
    ),
    formula=(
        r"w = \Lambda\Gamma^{-1/2} S^\top \varphi,\qquad "
        r"\varphi_0 = \Gamma^{1/2}\theta_0:\quad \mathrm{neither\ contains\ } C"
    ),
    source="STABLE-RPS (ICLR 2024), sensitivity to the init std of the shared array; re-derived",
    footing="proved for the shipped hash",
    checks=checks,
    mutant="the sum of the scales in the place of Gamma",
    mutant_check=mutant_check,
    remarks=(
        "Each condition is needed: a divisor of degree p in the scales makes the first step depend on C as "
        "C^(p-2); the first step at C over that at C = 1 is known: 1/C for the sum or mean of the scales, "
        "C^2 for decay added before the division, (Gamma+e)/(Gamma+e C^2) for an epsilon e beside Gamma "
        "(the authors' code has 1e-6: a half at C = 1000 where Gamma is 1 at C = 1), C or 1/C for clipping "
        "before or after the division, 1/C for Adam and RMSProp on theta, which moreover cannot see the "
        "division. Nothing rests on the hash."
    ),
)
