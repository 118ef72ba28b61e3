"""Claim 16 by exhaustion: bounds on the tails of T = <Sx, Sy> - <x, y>, given the cells.

Shows: for all cells and vectors listed and at every value that T takes, that no probability exceeds a bound.
Exponentials are decided by rational bounds of logarithms. With the cumulants of chaos.py,
log E e^(sT) <= (s v)^2 / (2 (1 - 2 a s)), a = max over cells of (1 - 1/k)|x_c||y_c|, so that
P(T >= v sqrt(2u) + 2 a u) <= e^-u, for inner products and for either side. It implies the chi-square form, as
v^2 <= 2B and a <= max b, and 2 exp(-t^2/(2v^2 + 4at)), which is below Hanson-Wright's form at |A| = a.
Does not show: other vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import partial

from proofs_checks.check import Check, Level, require
from proofs_checks.enclosures import E_BELOW, exp_below, log_below, root_below
from proofs_checks.exhaustive.chaos import Chaos, domain, flat, some_laws

Allows = Callable[[Chaos, int, Fraction], bool]


def require_bound(laws: Iterable[Chaos], allows: Allows, *, sides: int = 1, factor: int = 1) -> int:
    """Number of (law, t) at which factor exp(-bound) allows P(T >= t), or P(|T| >= t) for two sides."""
    count = 0
    for law in laws:
        for t, chance in tail(law, sides):
            held = allows(law, t, log_below(factor / chance))
            require(held, f"P = {chance} at t={t}, v^2={law.spread}, a^2={law.reach}, {law}")
            count += 1
    return count


def tail(law: Chaos, sides: int) -> Iterator[tuple[int, Fraction]]:
    """(t, probability of a value as large) for every t > 0 that T takes, or that |T| takes."""
    mirror = law.mirrored
    for t in {abs(t) for t in law.values if t > 0 or sides == 2} - {0}:
        yield t, law.chance(t) + (mirror.chance(t) if sides == 2 else 0)


def some_norms(level: Level) -> Iterator[Chaos]:
    """Those of the laws that are of norms."""
    return (law for law in some_laws(level) if law.energies)


def markov(level: Level) -> str:
    """Chebyshev v^2/t^2 and the fourth moment 15 v^4/t^4."""
    count = 0
    for law in some_laws(level):
        count += require_moment_bound(law, 2, 1) + require_moment_bound(law, 4, 15)
    return f"{count} values of t; {domain(level)}"


def require_moment_bound(law: Chaos, order: int, constant: int) -> int:
    """Number of t at which P(|T| >= t) <= constant (v/t)^order."""
    bounds = [(t, chance, constant * law.spread ** (order // 2) / t**order) for t, chance in tail(law, 2)]
    for t, chance, bound in bounds:
        require(chance <= bound, f"P = {chance} at t={t}, bound {bound}, {law}")
    return len(bounds)


def bonami(level: Level) -> str:
    """P(|T| >= t) <= exp(-1 - t/(e v)) for t >= e v."""
    return f"{require_bound(some_laws(level), bonami_allows, sides=2)} values of t; {domain(level)}"


def bonami_allows(law: Chaos, t: int, log: Fraction, rate: int = 1) -> bool:
    """Whether t < e v or 1 + rate t/(e v) <= log."""
    unit = E_BELOW**2 * law.spread
    return t * t < unit or (log >= 1 and (rate * t) ** 2 <= (log - 1) ** 2 * unit)


def hanson_wright(level: Level) -> str:
    """2 exp(-min(3t^2/(64 v^2), t/(16|A|))), with max |T|/n in place of |A|, which is no less."""
    count = require_bound(some_laws(level), hanson_wright_allows, sides=2, factor=2)
    return f"{count} values of t; {domain(level)}"


def hanson_wright_allows(law: Chaos, t: int, log: Fraction, rate: int = 1) -> bool:
    """Whether rate 3t^2/(64 v^2) <= log or rate t/(16|A|) <= log for the least |A| with such a T."""
    least = Fraction(max(law.values[-1], -law.values[0]), law.n)
    return rate * 3 * t * t <= 64 * law.spread * log or rate * t <= 16 * least * log


def sub_gamma(level: Level) -> str:
    """P(T >= v sqrt(2u) + 2 a u) <= e^-u, and the same for -T."""
    both = (side for law in some_laws(level) for side in (law, law.mirrored))
    return f"{require_bound(both, gamma_allows)} values of t; {domain(level)}"


def gamma_allows(law: Chaos, t: int, log: Fraction, share: int = 2) -> bool:
    """Whether t <= v sqrt(2 log) + share a log."""
    rest = t - share * root_below(law.reach) * log
    return rest <= 0 or rest**2 <= 2 * law.spread * log


def chi_square(level: Level) -> str:
    """Norms: P(T >= 2 sqrt(Bu) + 2u max b) <= e^-u, and the form above is never weaker."""
    for law in some_norms(level):
        weaker = law.spread <= 2 * squares(law) and law.reach <= max(law.energies) ** 2
        require(weaker, f"v^2 = {law.spread}, a^2 = {law.reach}, {law}")
    return f"{require_bound(some_norms(level), chi_allows)} values of t; the norms of: {domain(level)}"


def squares(law: Chaos) -> int:
    """B, the sum of b^2 over cells."""
    return sum(b * b for b in law.energies)


def chi_allows(law: Chaos, t: int, log: Fraction, largest: int = 2) -> bool:
    """Whether t <= 2 sqrt(B log) + largest log max b."""
    rest = t - largest * log * max(law.energies)
    return rest <= 0 or rest**2 <= 4 * squares(law) * log


def below(level: Level) -> str:
    """Norms: P(T <= -t) <= exp(-t^2/(2(B + v^2))) <= exp(-t^2/(6B))."""
    mirrored = (law.mirrored for law in some_norms(level))
    return f"{require_bound(mirrored, below_allows)} values of t; the norms of: {domain(level)}"


def below_allows(law: Chaos, t: int, log: Fraction, share: Fraction = Fraction(2)) -> bool:
    """Whether t^2 <= share (B + v^2) log, which is at most 6B log."""
    scale = squares(law) + law.spread
    return t * t <= share * scale * log and scale <= 3 * squares(law)


def gaussian(level: Level) -> str:
    """n equal weights in one cell, n >= 4: P(T = n^2 - n) = 2^(1-n) > 2 exp(-t^2/(2v^2))."""
    most = level.pick(12, 30, 60)
    for n in range(4, most + 1):
        require_heavy(flat(n))
    return f"4 <= n <= {most}"


def require_heavy(law: Chaos) -> None:
    """Do nothing if 2 exp(-t^2/(2v^2)) is below P(T >= t) at the largest t."""
    t = law.values[-1]
    exponent = Fraction(t * t) / (2 * law.spread)
    require(law.chance(t) * exp_below(exponent) > 2, f"P = {law.chance(t)} at t={t}, t^2/(2v^2) = {exponent}")


CHECKS = (
    Check(
        16,
        "moment bounds",
        "P(|T| >= t) <= v^2/t^2 and <= 15 v^4/t^4",
        "exhaustive",
        markov,
        "v^4/t^4",
        lambda: require_moment_bound(flat(4), 4, 1),
    ),
    Check(
        16,
        "Bonami",
        "P(|T| >= t) <= exp(-1 - t/(e v)) for t >= e v",
        "exhaustive",
        bonami,
        "3t for t",
        lambda: require_bound([flat(12)], partial(bonami_allows, rate=3), sides=2),
    ),
    Check(
        16,
        "Hanson-Wright",
        "P(|T| >= t) <= 2 exp(-min(3t^2/(64 v^2), t/(16|A|)))",
        "exhaustive",
        hanson_wright,
        "32 times the exponents",
        lambda: require_bound([flat(12)], partial(hanson_wright_allows, rate=32), sides=2, factor=2),
    ),
    Check(
        16,
        "sub-gamma tail",
        "P(T >= v sqrt(2u) + 2 a u) <= exp(-u), a = max (1 - 1/k)|x_c||y_c|; so too for -T",
        "exhaustive",
        sub_gamma,
        "the term 2 a u is dropped",
        lambda: require_bound([flat(12)], partial(gamma_allows, share=0)),
    ),
    Check(
        16,
        "chi-square form",
        "norms: P(T >= 2 sqrt(Bu) + 2u max b) <= exp(-u); v^2 <= 2B and a <= max b, so sub-gamma is below it",
        "exhaustive",
        chi_square,
        "the term 2u max b is dropped",
        lambda: require_bound([flat(12)], partial(chi_allows, largest=0)),
    ),
    Check(
        16,
        "lower tail of norms",
        "P(T <= -t) <= exp(-t^2/(2(B + v^2))) <= exp(-t^2/(6B))",
        "exhaustive",
        below,
        "exp(-8 t^2/(B + v^2))",
        lambda: require_bound([flat(12).mirrored], partial(below_allows, share=Fraction(1, 8))),
    ),
    Check(
        16,
        "a normal tail",
        "2 exp(-t^2/(2v^2)) fails as a bound: n >= 4 equal weights in one cell",
        "exhaustive",
        gaussian,
        "two equal weights",
        lambda: require_heavy(flat(2)),
        scope="fails outside",
    ),
)
