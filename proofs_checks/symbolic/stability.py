r"""Claim 13 symbolically: the scaler, the balanced bank, ranges with momentum, and where they end.

Shows: for a cell of every size, hence for every mapping, S Lambda^2 S' = diag(Gamma), U'U = I, v1 <= Gamma
as a sum of squares, and that descent divided by Gamma is plain descent in phi; for every curvature, step and
momentum the conditions under which heavy ball and Nesterov converge on quadratics; two cycles of losses that
are not quadratic, point by point. The criterion for roots and the range of plain descent are in the room of
SMT.
Does not show: that no other divisor has Gamma's range, nor convergence of the iterates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sympy as sp

from proofs_checks.check import Check, Level, require
from proofs_checks.symbolic.identities import require_identity
from proofs_checks.symbolic.sums import Family

SIZE = sp.Symbol("k", positive=True)
MU, Q = sp.symbols("mu q")  # momentum; step times curvature
Z = sp.Symbol("z")


# ------------------------------------------------------------------------------------- the scaler


def scaler(_: Level, share: Any = 1 / SIZE) -> str:
    """Gamma - v1 and k v1 - Gamma over the scales of a cell."""
    cell = Family("", SIZE, "z")
    (a,), (b,) = cell.at("i"), cell.at("j")
    gamma, v1 = cell.power_sum(2), share * cell.power_sum(1) ** 2
    spread = cell.sum_distinct((a - b) ** 2) / 2
    require_identity(gamma - v1, spread / SIZE, "Gamma - v1")
    require_identity(SIZE * v1 - gamma, cell.sum_distinct(a * b), "k v1 - Gamma")
    return (
        "a cell of every size: v1 = Gamma iff all scales are equal; Gamma/v1 < k for k >= 2, never attained"
    )


def frame(_: Level, power: int = 2) -> str:
    """A row of S Lambda against itself; rows of different cells have no weight in common."""
    cell = Family("", SIZE, "gz")
    g, z = cell.at("i")
    row = cell.sum((g * z) ** power, "i").subs(cell.power_sum(2, 2), cell.power_sum(0, 2))
    gamma = cell.power_sum(0, 2)
    require_identity(row, gamma, "(S Lambda^2 S')_jj")
    root = sp.Symbol("sqrt(Gamma)")
    require_identity(row / root**2, 1, "(U'U)_jj", {root: gamma})
    return "a cell of every size, all scales and signs"


def balanced(_: Level, power: int = 2) -> str:
    """theta - step Gamma^-1 S Lambda grad F(w), times Gamma^(1/2), is phi - step U' grad F(U phi)."""
    cell = Family("", SIZE, "gzf")  # sign, scale, slope of the loss at w
    g, z, f = cell.at("i")
    theta, step, root = sp.symbols("theta step sqrt(Gamma)")
    roots, divisor = {root: cell.power_sum(0, 2, 0)}, cell.power_sum(0, power, 0)
    phi, read = root * theta, g * z / root  # read: the entry of U
    require_identity(read * phi, g * z * theta, "w = U phi")
    shared = root * (theta - step * cell.sum(g * z * f, "i") / divisor)
    require_identity(shared, phi - step * cell.sum(read * f, "i"), "next phi", roots)
    return "a cell of every size, any loss, scales, signs, bank and step; as w agrees, so does the next slope"


def pair(_: Level, divisor: Any = None) -> str:
    """n=2, m=1, lambda=(1,3), F=|w|^2/2, step 9/5."""
    scales, theta, step = (sp.Integer(1), sp.Integer(3)), sp.Symbol("theta"), sp.Rational(9, 5)
    gamma, v1 = sum(z**2 for z in scales), sum(scales) ** 2 / sp.Integer(2)
    slope = sum(z * (z * theta) for z in scales)
    factor = sp.cancel((theta - step * slope / (v1 if divisor is None else divisor)) / theta)
    require(abs(factor) > 1, f"theta is multiplied by {factor}")
    require(factor == -sp.Rational(5, 4), f"theta is multiplied by {factor}, not by -5/4")
    steady = sp.cancel((theta - step * slope / gamma) / theta)
    require(steady == -sp.Rational(4, 5), f"Gamma multiplies theta by {steady}")
    return "v1 multiplies theta by -5/4 in each step, Gamma by -4/5; L = 1, step 9/5 < 2"


# --------------------------------------------------------------------------------- with momentum


def heavy_ball(push: Any = Q) -> Any:
    """(w_t, w_(t-1)) -> (w_(t+1), w_t) for F = h w^2/2, push = step * h."""
    return sp.Matrix([[1 + MU - push, -MU], [1, 0]])


def nesterov(push: Any = Q) -> Any:
    """The same with the gradient at w_t + mu (w_t - w_(t-1))."""
    return sp.Matrix([[(1 + MU) * (1 - push), -MU * (1 - push)], [1, 0]])


def conditions(step: Any) -> tuple[Any, Any, Any]:
    """p(1), p(-1), 1 - p(0) of p = z^2 + a z + b: all positive, and b > -1, iff both roots are inside."""
    p = (Z * sp.eye(2) - step).det()
    return tuple(sp.expand(part) for part in (p.subs(Z, 1), p.subs(Z, -1), 1 - p.subs(Z, 0)))


def momentum_ranges(_: Level, middle: Any = 1 + 2 * MU) -> str:
    """The three conditions written out, and the root that leaves the circle at the end of each range."""
    low, high, inside = conditions(heavy_ball())
    for found, wanted in ((low, Q), (high, 2 * (1 + MU) - Q), (inside, 1 - MU)):
        require_identity(found, wanted, "heavy ball")
    low, high, inside = conditions(nesterov())
    for found, wanted in ((low, Q), (high, 2 * (1 + MU) - middle * Q), (inside, 1 - MU + MU * Q)):
        require_identity(found, wanted, "Nesterov")
    ends = ((heavy_ball, 2 * (1 + MU)), (nesterov, 2 * (1 + MU) / (1 + 2 * MU)))
    for rule, end in ends:
        at = (-sp.eye(2) - rule(end)).det()
        require_identity(at, 0, f"p(-1) at the end {end}")
        alternating = sp.Matrix([1, -1])
        require(sp.simplify((rule(end) + sp.eye(2)) * alternating).is_zero_matrix, f"no cycle at {end}")
    gap = (1 + MU) / MU - 2 * (1 + MU) / (1 + 2 * MU)
    require_identity(gap, (1 + MU) / (MU * (1 + 2 * MU)), "Nesterov's b = mu(1-q) > -1 within the range")
    return "every mu in [0, 1), step and curvature; at the end w alternates for ever"


def energy(_: Level, factor: Any = 1 - MU) -> str:
    """What heavy ball loses per step beyond the descent lemma, as a square; any number of weights.

    d = phi_t - phi_(t-1), e = phi_(t+1) - phi_t = mu d - step g. The lemma gives
    F(phi_(t+1)) <= F(phi_t) + <g, e> + L|e|^2/2, so F + mu/(2 step) |phi_t - phi_(t-1)|^2 falls by
    ((1-mu)/step - L/2)|e|^2 + mu/(2 step) |e - d|^2 at least.
    """
    d, e, step, smooth = sp.symbols("d e step L")
    slope = (MU * d - e) / step
    change = slope * e + smooth / 2 * e**2 + MU / (2 * step) * (e**2 - d**2)
    fall = (factor / step - smooth / 2) * e**2 + MU / (2 * step) * (e - d) ** 2
    require_identity(-change, fall, "fall of the energy")
    return "each coordinate, so any number of weights; every L-smooth loss, step < 2(1-mu)/L"


# ----------------------------------------------------------------------------- beyond quadratics


def slopes_between(points: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """Slopes of the line through the values at the points, in order of the points."""
    order = sorted(zip(points, values, strict=True))
    pairs = zip(order, order[1:], strict=False)
    return [sp.Rational(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs]


def ball_cycle(_: Level, scale: Any = 1) -> str:
    """Heavy ball, mu = 4/9, step 1/9, slope of the gradient 25 or 1: three points for ever."""
    mu, step = sp.Rational(4, 9), sp.Rational(1, 9)

    def gradient(w: Any) -> Any:
        return 25 * w if w < 1 else w + 24 if w < 2 else 25 * w - 24

    cycle = [scale * sp.Rational(part, 1225) for part in (792, -2208, 2592)]
    require_cycle(cycle, lambda w, before: w + mu * (w - before) - step * gradient(w))
    end, safe = 2 * (1 + mu) / 25, 2 * (1 - mu) / 25
    require(safe < step < end, f"step {step}: not between {safe} and {end}")
    around = sp.eye(2)
    for w in cycle:
        curvature = 1 if 1 < w < 2 else 25
        around = heavy_ball(step * curvature).subs(MU, mu) * around
    roots = conditions(around)
    require(all(value > 0 for value in (*roots, 1 + around.det())), f"the cycle repels: {roots}")
    return f"strongly convex, L = 25: {', '.join(map(str, cycle))} for ever; attracts; step {step} < {end}"


def require_cycle(cycle: Sequence[Any], rule: Callable[[Any, Any], Any]) -> None:
    """Do nothing if each point follows from the two before it."""
    for t, found in enumerate(cycle):
        after = rule(cycle[t - 1], cycle[t - 2])
        require(after == found, f"{cycle[t - 2]}, {cycle[t - 1]} is followed by {after}, not by {found}")


def nesterov_cycle(_: Level, limit: Any = None) -> str:
    """Nesterov, mu = 9/10: seven points for ever, of a loss of one weight with |F''| <= 1, not convex.

    The gradient needed at each look-ahead point is read off the cycle; drawn through them as a broken line
    and continued with slope 1 it is Lipschitz, and the loss is bounded below.
    """
    mu, cycle = sp.Rational(9, 10), [sp.Integer(w) for w in (-11, -11, 0, 12, 16, 9, -4)]
    ahead = [w + mu * (w - cycle[t - 1]) for t, w in enumerate(cycle)]
    pushes = [y - cycle[(t + 1) % len(cycle)] for t, y in enumerate(ahead)]  # step * gradient
    require(len(set(ahead)) == len(ahead), "two look-ahead points agree")
    step = max(abs(slope) for slope in slopes_between(ahead, pushes))  # the step at which L = 1
    end = 2 * (1 + mu) / (1 + 2 * mu) if limit is None else limit
    require(step < end, f"step {step} is not below {end}")
    return f"L = 1: {', '.join(map(str, cycle))} for ever at step {step} < {end}"


CHECKS = (
    Check(
        13,
        "v1 against Gamma",
        "Gamma - v1 = (1/k) sum_{i<j} (lambda_i - lambda_j)^2 >= 0, k v1 - Gamma > 0 for k >= 2",
        "symbolic",
        scaler,
        "1/(k+1) for 1/k",
        lambda: scaler(Level.QUICK, 1 / (SIZE + 1)),
    ),
    Check(
        13,
        "orthonormal columns",
        "S Lambda^2 S' = diag(Gamma), U'U = I",
        "symbolic",
        frame,
        "first powers of the scales",
        lambda: frame(Level.QUICK, 1),
    ),
    Check(
        13,
        "balanced descent",
        "dividing by Gamma is plain gradient descent in phi = Gamma^(1/2) theta, w = U phi",
        "symbolic",
        balanced,
        "divided by the sum of the scales",
        lambda: balanced(Level.QUICK, 1),
    ),
    Check(
        13,
        "v1 leaves the range",
        "fails for v1: n=2, m=1, lambda=(1,3), step 9/5 multiplies theta by -5/4, Gamma by -4/5",
        "symbolic",
        pair,
        "divided by Gamma",
        lambda: pair(Level.QUICK, sp.Integer(10)),
        scope="fails outside",
    ),
    Check(
        13,
        "momentum on quadratics",
        "heavy ball converges iff 0 < step h < 2(1+mu), Nesterov iff 0 < step h < 2(1+mu)/(1+2mu)",
        "symbolic",
        momentum_ranges,
        "1+mu for 1+2mu",
        lambda: momentum_ranges(Level.QUICK, 1 + MU),
    ),
    Check(
        13,
        "heavy ball beyond quadratics",
        "F + mu/(2 step)|phi_t - phi_(t-1)|^2 falls by at least ((1-mu)/step - L/2)|phi_(t+1) - phi_t|^2",
        "symbolic",
        energy,
        "1+mu for 1-mu",
        lambda: energy(Level.QUICK, 1 + MU),
    ),
    Check(
        13,
        "heavy ball cycles",
        "fails beyond quadratics: L=25, mu=4/9, step 1/9 < 2(1+mu)/L, strongly convex, a cycle of three",
        "symbolic",
        ball_cycle,
        "another triple",
        lambda: ball_cycle(Level.QUICK, sp.Rational(1, 2)),
        scope="fails outside",
    ),
    Check(
        13,
        "Nesterov cycles",
        "fails beyond quadratics: mu=9/10, L-smooth, a cycle of seven at a step below 2(1+mu)/((1+2mu)L)",
        "symbolic",
        nesterov_cycle,
        "below 4/3",
        lambda: nesterov_cycle(Level.QUICK, sp.Rational(4, 3)),
        scope="fails outside",
    ),
)
