r"""Claim 14 symbolically: two recursions, from a bank at scale C and from one at scale 1, are the same.

Shows: by induction over steps. Any state of the bank (parameters and memory, as symbols) at scale 1 has its
partner at scale C, both read the same weights, hence the same slopes of the loss, whatever it is, and one
step leads to partners again. A cell of every size is covered, since its weights enter by sums. Where the
invariance is broken, the ratio of the first steps at C and at 1 as a formula in C.
Does not show: rounding; bit-equality at powers of two is a matter of floating point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import sympy as sp

from proofs_checks.check import Check, Level, require
from proofs_checks.symbolic.identities import require_identity
from proofs_checks.symbolic.sums import Family
from proofs_checks.symbolic.training import (
    ADAM,
    ADAMW,
    BETA2,
    COUPLED,
    DECOUPLED,
    EPSILON,
    RMSPROP,
    RULES,
    SGDS,
    Adam,
    Bank,
    advance,
    clipped,
    divided,
    length,
    memories,
)

C, SIZE, LIMIT = sp.symbols("C k limit", positive=True)
CELL = Family("", SIZE, "gzf")  # sign, scale sigma, slope of the loss
THETA, ROOT = sp.symbols("theta rho")  # the bank at C = 1; rho^2 = Gamma
Divisor = Callable[[Any], Any]


def collected(scale: Any) -> Any:
    """Gradient of the cell's parameter when lambda = sigma/scale."""
    g, z, f = CELL.at("i")
    return CELL.sum(g * z / scale * f, "i")


def sum_of_powers(scale: Any, power: int) -> Any:
    """Sum of lambda^power over the cell."""
    _, z, _ = CELL.at("i")
    return CELL.sum((z / scale) ** power, "i")


def gamma(scale: Any) -> Any:
    """Sum of lambda^2."""
    return sum_of_powers(scale, 2)


def v1(scale: Any) -> Any:
    """(sum lambda)^2/k."""
    return sum_of_powers(scale, 1) ** 2 / SIZE


def require_weights(scale: Any) -> None:
    """Do nothing if lambda theta is the same at both scales."""
    g, z, _ = CELL.at("i")
    require_identity(g * z / scale * (scale * THETA), g * z * THETA, "w")


def on_theta(_: Level, divisors: tuple[Divisor, ...] = (gamma, v1)) -> str:
    """SGD with the loss gradient, and nothing else, divided."""
    require_weights(C)
    (kept,) = memories("b", 1, 1)
    for rule in SGDS:
        for divisor in divisors:
            at = [
                rule(scale * THETA, collected(scale) / divisor(scale), (scale * kept[0],)) for scale in (C, 1)
            ]
            (big, (big_kept,)), (small, (small_kept,)) = at
            require_identity(big, C * small, f"next theta, {rule}, divided by {divisor.__name__}")
            require_identity(big_kept, C * small_kept, f"next memory, {rule}, divided by {divisor.__name__}")
    return "every step, loss, cell size; momentum, dampening, Nesterov, both decays; Gamma and v1"


def sum_of_scales(scale: Any) -> Any:
    """Sum of lambda."""
    return sum_of_powers(scale, 1)


def two_forms(_: Level, root: Any = ROOT) -> str:
    """SGD on theta divided by Gamma, times Gamma^(1/2), is undivided SGD on phi = Gamma^(1/2) theta."""
    (kept,), roots = memories("b", 1, 1), {ROOT: gamma(1)}
    for rule in SGDS:
        theta, (theta_kept,) = rule(THETA, collected(1) / gamma(1), kept)
        phi, (phi_kept,) = rule(root * THETA, collected(1) / ROOT, (root * kept[0],))
        require_identity(root * theta, phi, f"next phi, {rule}", roots)
        require_identity(root * theta_kept, phi_kept, f"next memory, {rule}", roots)
    return "every step, loss, cell size; momentum, dampening, Nesterov, both decays"


def on_phi(level: Level, start: Any = C) -> str:
    """Neither U nor phi_0 contains C; then no rule can bring it in."""
    g, z, _ = CELL.at("i")
    require_identity((ROOT / C) ** 2, gamma(C), "Gamma at C", {ROOT: gamma(1)})
    require_identity(g * z / C / (ROOT / C), g * z / ROOT, "U")
    require_identity(ROOT / C * (start * THETA), ROOT * THETA, "phi_0")
    cells = level.pick((0, 0), (0, 1, 0), (0, 1, 0, 1, 1))
    for rule in RULES:
        for limit in (None, LIMIT):
            weights = after_a_step(cells, rule, limit)
            require(not any(w.has(C) for w in weights), f"{rule}, clipping {limit}: {weights}")
    return f"every rule, cell size, loss; written out for {len(RULES)}, clipped or not, {len(cells)} weights"


def after_a_step(cells: tuple[int, ...], rule: Any, limit: Any) -> tuple[Any, ...]:
    """The weights after a step on phi, from lambda = sigma/C and theta_0 = C times a draw."""
    n, size = len(cells), max(cells) + 1
    sigma = sp.symbols(f"sigma:{n}", positive=True)
    bank = Bank(size, cells, sp.symbols(f"g:{n}"), tuple(s / C for s in sigma))
    phi = tuple(
        sp.sqrt(gamma_) * C * z for gamma_, z in zip(bank.gamma(), sp.symbols(f"z:{size}"), strict=True)
    )
    gradient = bank.balanced().collect(sp.symbols(f"f:{n}"))
    if limit is not None:
        gradient = clipped(gradient, limit)
    after, _ = advance(rule, phi, gradient, memories("b", rule.cells, size))
    return bank.balanced().weights(after)


def unrolled(level: Level, power: int = 2) -> str:
    """Two weights in one cell and one in another: weights after some steps, an abstract loss."""
    steps = level.pick(2, 3, 4)
    for rules in ((SGDS[0], SGDS[1]), (SGDS[2], SGDS[3])):
        big, small = (path(scale, steps, rules, power) for scale in (C, sp.Integer(1)))
        for w, v in zip(big, small, strict=True):
            require_identity(w, v, f"weights after {steps} steps, {rules[1]}")
    return f"{steps} steps, 3 weights on 2 cells; the gradient is an unknown function of the weights"


def path(scale: Any, steps: int, rules: tuple[Any, Any], power: int) -> tuple[Any, ...]:
    """The weights after some steps; the first rule is for the first step."""
    sigma = sp.symbols("sigma:3", positive=True)
    bank = Bank(2, (0, 1, 0), sp.symbols("g:3"), tuple(s / scale for s in sigma))
    theta: tuple[Any, ...] = tuple(scale * z for z in sp.symbols("z:2"))
    memory: tuple[Any, ...] = ((0,), (0,))
    for step in range(steps):
        at = [sp.cancel(w) for w in bank.weights(theta)]
        slopes = [sp.Function(f"f{i}")(*at) for i in range(3)]
        gradient = divided(bank.collect(slopes), bank.sum_of_scales(power))
        theta, memory = advance(rules[min(step, 1)], theta, gradient, memory)
    return bank.weights(theta)


def blind(_: Level, epsilon: Any = 0) -> str:
    """Adam on theta cannot see a divisor: its moments are divided by d and d^2, their quotient by 1."""
    d, gradient = sp.symbols("d gradient", positive=True)
    ((mean, square),) = memories("b", 2, 1)
    rule = Adam(epsilon=epsilon)
    plain, (mean_kept, square_kept) = rule(THETA, gradient, (mean, square))
    seen, (mean_seen, square_seen) = rule(THETA, gradient / d, (mean / d, square / d**2))
    require_identity(mean_seen, mean_kept / d, "mean")
    require_identity(square_seen, square_kept / d**2, "mean square")
    ratio = ((seen - THETA) / (plain - THETA)).subs({square: 0, mean: 0})
    require(sp.simplify(ratio - 1) == 0, f"first step: ratio {sp.simplify(ratio)}")
    return "every step; Adam and RMSProp, epsilon 0, no decay"


# ---------------------------------------------------------------------------------- what breaks it

Way = Callable[[Any, Any, Any], Any]  # what is taken off theta, from theta, its gradient and the bank
SIGMA = sp.symbols("sigma:2", positive=True)
DRAW, TOTAL = sp.symbols("z G", positive=True)
SLOPES = tuple(TOTAL / 2 / s for s in SIGMA)  # only their sum over the cell enters, G = sum sigma f
GAMMA = sum(s**2 for s in SIGMA)


def first_ratio(way: Way) -> Any:
    """First step of the weights at C over that at 1: one cell, two weights, theta_0 = C z."""
    found = []
    for scale in (C, sp.Integer(1)):
        bank = Bank(1, (0, 0), (sp.Integer(1),) * 2, tuple(s / scale for s in SIGMA))
        (gradient,) = bank.collect(SLOPES)
        found.append(way(scale * DRAW, gradient, bank) / scale)
    return sp.simplify(found[0] / found[1])


def over_gamma(theta: Any, gradient: Any, bank: Bank) -> Any:
    """The right way."""
    return gradient / bank.gamma()[0]


def shortened(gradient: Any) -> Any:
    """What clipping leaves of a gradient that is longer than the limit."""
    return LIMIT * gradient / length((gradient,))


def adaptive(theta: Any, gradient: Any, bank: Bank, *, rule: Adam, epsilon: Any = 0) -> Any:
    """The first step of an adaptive rule on theta, without coupled decay."""
    corrected = (1 - rule.first_moment, 1 if rule is RMSPROP else 1 - BETA2)  # bias after one step
    first = replace(rule, corrections=corrected, coupled=0, epsilon=epsilon)
    ((after,), _) = advance(first, (theta,), (gradient,), ((0, 0),))
    return theta - after


# name, way, ratio of the first steps of the weights
WAYS: tuple[tuple[str, Way, Any], ...] = (
    ("divided by the sum of the scales", lambda _, g, bank: g / bank.sum_of_scales()[0], 1 / C),
    ("divided by the mean of the scales", lambda _, g, bank: 2 * g / bank.sum_of_scales()[0], 1 / C),
    ("not divided", lambda _, g, bank: g, C**-2),
    ("divided by the sum of cubes", lambda _, g, bank: g / bank.sum_of_scales(3)[0], C),
    (
        "decay added before the division",
        lambda theta, g, bank: (g + COUPLED * theta) / bank.gamma()[0],
        (TOTAL + COUPLED * C**2 * DRAW) / (TOTAL + COUPLED * DRAW),
    ),
    (
        "an epsilon beside Gamma",
        lambda _, g, bank: g / (bank.gamma()[0] + EPSILON),
        (GAMMA + EPSILON) / (GAMMA + EPSILON * C**2),
    ),
    ("the bank's gradient clipped", lambda _, g, bank: shortened(g) / bank.gamma()[0], C),
    ("the divided gradient clipped", lambda _, g, bank: shortened(g / bank.gamma()[0]), 1 / C),
    ("Adam on theta", partial(adaptive, rule=ADAM), 1 / C),
    (
        "Adam with its epsilon on theta",
        partial(adaptive, rule=ADAM, epsilon=EPSILON),
        (TOTAL + EPSILON) / (TOTAL + EPSILON * C) / C,
    ),
    ("AdamW on theta", partial(adaptive, rule=ADAMW), (1 / C + DECOUPLED * DRAW) / (1 + DECOUPLED * DRAW)),
    ("RMSProp on theta", partial(adaptive, rule=RMSPROP), 1 / C),
)


def breaks(_: Level, way: Way, ratio: Any) -> str:
    """The first steps differ, by the factor given."""
    found = first_ratio(way)
    at_two = sp.simplify(found.subs(C, 2))
    require(sp.simplify(at_two - 1) != 0, "the first steps of the weights at C = 2 and C = 1 are equal")
    require(sp.simplify(found - ratio) == 0, f"the first steps have the ratio {found}, not {ratio}")
    return f"first step at C over that at 1: {ratio}"


def break_check(name: str, way: Way, ratio: Any) -> Check:
    """One way to lose the invariance."""

    def survey(level: Level) -> str:
        return breaks(level, way, ratio)

    return Check(
        14,
        name,
        f"fails if {name}: the weights' first step depends on C",
        "symbolic",
        survey,
        "Gamma divides the loss gradient only",
        lambda: breaks(Level.QUICK, over_gamma, ratio),
        scope="fails outside",
    )


CHECKS = (
    Check(
        14,
        "SGD on theta",
        "theta and memory at C are C times those at 1 after every step, so the weights are equal",
        "symbolic",
        on_theta,
        "divided by the sum of the scales",
        lambda: on_theta(Level.QUICK, (sum_of_scales,)),
    ),
    Check(
        14,
        "SGD on theta, written out",
        "weights after some steps do not depend on C",
        "symbolic",
        unrolled,
        "divided by the sum of the scales",
        lambda: unrolled(Level.QUICK, 1),
    ),
    Check(
        14,
        "two forms of SGD",
        "dividing the loss gradient by Gamma is undivided SGD on phi, memory and both decays included",
        "symbolic",
        two_forms,
        "phi = Gamma theta",
        lambda: two_forms(Level.QUICK, gamma(1)),
    ),
    Check(
        14,
        "any rule on phi",
        "U = Lambda S' Gamma^(-1/2) and phi_0 = Gamma^(1/2) theta_0 do not contain C",
        "symbolic",
        on_phi,
        "theta_0 does not grow with C",
        lambda: on_phi(Level.QUICK, sp.Integer(1)),
    ),
    Check(
        14,
        "Adam is blind to the division",
        "Adam on theta takes the same steps whatever its gradient is divided by",
        "symbolic",
        blind,
        "with an epsilon",
        lambda: blind(Level.QUICK, EPSILON),
    ),
    *(break_check(*way) for way in WAYS),
)
