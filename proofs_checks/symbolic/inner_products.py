r"""Claims 2 and 3 symbolically: the variance formula as an equivalence, and its closed forms.

Shows: for every n. Each monomial of E<Sx, Sy>^2 holds at most four different indices, and its coefficient
depends on the law of the mapping at those alone; so n = 4, with a symbol for every mixed moment of cells
and signs, is every n. The moments are free symbols: nothing is assumed about them but what the statement
assumes. Closed forms are sums over an index of symbolic range.
Does not show: that a given mapping has these moments (that is the room of enumeration).
"""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import sympy as sp

from proofs_checks.check import Check, Level, require
from proofs_checks.symbolic.identities import require_identity
from proofs_checks.symbolic.sums import Family

INDICES = range(4)
X, Y = sp.symbols("x:4"), sp.symbols("y:4")


def moment(met: frozenset[frozenset[int]], signs: frozenset[int]) -> Any:
    """E of the product of 1_ij over the pairs that meet and of g_i over the signs; g_i^2 = 1."""
    if not met and not signs:
        return sp.Integer(1)
    pairs = " ".join(sorted("".join(map(str, sorted(pair))) for pair in met))
    return sp.Symbol(f"E[{pairs}; {''.join(map(str, sorted(signs)))}]")


def expected(*terms: tuple[int, int]) -> Any:
    """E of the product of 1_ij g_i g_j over the terms (i, j)."""
    met = frozenset(frozenset(term) for term in terms if term[0] != term[1])
    order = [index for term in terms for index in term]
    return moment(met, frozenset(i for i in order if order.count(i) % 2))


def collision(i: int, j: int) -> Any:
    """p_ij."""
    return moment(frozenset([frozenset([i, j])]), frozenset())


def mean() -> Any:
    """E<Sx, Sy>."""
    return sp.Add(*(expected((i, j)) * X[i] * Y[j] for i, j in product(INDICES, repeat=2)))


def second_moment() -> Any:
    """E<Sx, Sy>^2."""
    return sp.Add(
        *(expected((i, j), (h, k)) * X[i] * Y[j] * X[h] * Y[k] for i, j, h, k in product(INDICES, repeat=4))
    )


def pair_form(cross: int = 1) -> Any:
    """Sum over i != j of p_ij (x_i^2 y_j^2 + x_i y_i x_j y_j)."""
    return sp.Add(
        *(
            collision(i, j) * (X[i] ** 2 * Y[j] ** 2 + cross * X[i] * Y[i] * X[j] * Y[j])
            for i, j in product(INDICES, repeat=2)
            if i != j
        )
    )


def unbiased() -> dict[Any, int]:
    """Claim 1: E 1_ij g_i g_j = 0 for i < j."""
    return {expected(pair): 0 for pair in combinations(INDICES, 2)}


def triples() -> tuple[Any, ...]:
    """E 1_ij 1_ik g_j g_k for distinct i, j, k."""
    return tuple(
        expected((i, j), (i, k)) for i in INDICES for j, k in combinations(INDICES, 2) if i not in (j, k)
    )


def quadruples() -> tuple[Any, ...]:
    """E 1_ij 1_kl g_i g_j g_k g_l for the three ways to pair the four indices."""
    return tuple(
        expected((0, j), tuple(k for k in (1, 2, 3) if k != j))  # type: ignore[arg-type]
        for j in (1, 2, 3)
    )


def error(letters: tuple[Any, ...], cross: int = 1) -> Any:
    """Var<Sx, Sy> less the pair form, given claim 1, as a polynomial in the letters."""
    difference = (second_moment() - mean() ** 2 - pair_form(cross)).subs(unbiased())
    if letters == X:
        difference = difference.subs(dict(zip(Y, X, strict=True)))
    return sp.Poly(difference, *letters)


def require_zero(found: Any, given: dict[Any, int], name: str) -> None:
    """Do nothing if a polynomial vanishes once some moments do."""
    for powers, coefficient in found.terms():
        rest = coefficient.subs(given)
        monomial = sp.prod(letter**power for letter, power in zip(found.gens, powers, strict=True))
        require(rest == 0, f"{name}: {monomial} has the coefficient {rest}")


def solutions(equations: list[Any]) -> dict[Any, Any]:
    """The moments for which all equations hold, given claim 1."""
    unknown = triples() + quadruples()
    (values,) = sp.linsolve(equations, *unknown)
    return dict(zip(unknown, values, strict=True))


def mean_is_unbiased(_: Level) -> str:
    """Claim 1 as the vanishing of coefficients."""
    found = sp.Poly(mean() - sum(x * y for x, y in zip(X, Y, strict=True)), *X, *Y)
    wanted = {expected(pair) for pair in combinations(INDICES, 2)}
    require(set(found.coeffs()) == wanted, f"E<Sx, Sy> - <x, y> has the coefficients {found.coeffs()}")
    return "every n; all joint laws of cells and signs"


def zero_moments(_: Level, cross: int = 1) -> str:
    """Vanishing mixed moments give the formula."""
    given = dict.fromkeys(triples() + quadruples(), 0)
    require_zero(error(X + Y, cross), given, "Var<Sx, Sy>")
    return "every n; all joint laws; 15 mixed moments of four indices; no mean E g_i enters"


def only_zero_moments(_: Level, letters: tuple[Any, ...] = X + Y) -> str:
    """The formula for all x and y forces the moments to vanish."""
    found = solutions(error(letters).coeffs())
    alive = [f"{name} = {value}" for name, value in found.items() if value != 0]
    require(not alive, f"also for {', '.join(alive)}")
    return "every n; a linear system of full rank in the 15 mixed moments of four indices"


def norms(_: Level, free: int = 2) -> str:
    """For norms alone the three pairings need to vanish only in sum."""
    found = solutions(error(X).coeffs())
    pairings = quadruples()
    require(all(found[name] == 0 for name in triples()), f"triples left: {found}")
    alive = {name for name in pairings if found[name] == name}
    require(len(alive) == free, f"{len(alive)} of the three pairings are free: {found}")
    total = sp.expand(sum(found[name] for name in pairings))
    require(total == 0, f"the pairings add up to {total}")
    return "every n; all joint laws"


def laps() -> tuple[Any, Any]:
    """m V_fold from the pair form, and from lap sums; A, B, c: lap sums of x^2, y^2, xy; k laps."""
    p, q = Family("p", sp.Symbol("n_p"), "xy"), Family("q", sp.Symbol("n_q"), "xy")
    (x, y), (u, v) = p.at("i"), q.at("j")
    lap = Family("lap", sp.Symbol("k"), "ABc")
    (a, b, c), (d, e, f) = lap.at("p"), lap.at("q")
    names = {p.power_sum(2, 0): a, p.power_sum(0, 2): b, p.power_sum(1, 1): c}
    names |= {q.power_sum(2, 0): d, q.power_sum(0, 2): e, q.power_sum(1, 1): f}
    between = q.sum(p.sum(x**2 * v**2 + x * y * u * v, "i"), "j").subs(names)
    squared = lap.power_sum(0, 0, 1) ** 2 - lap.power_sum(0, 0, 2)
    closed = lap.power_sum(1, 0, 0) * lap.power_sum(0, 1, 0) - lap.power_sum(1, 1, 0) + squared
    return lap.sum_distinct(between, "p", "q"), closed


def lap_sums(_: Level) -> str:
    """The O(n) form."""
    pairs, closed = laps()
    require_identity(pairs, closed, "m V_fold")
    return "every number of laps, every length of each; chunks likewise"


def hashed(_: Level, factor: int = 2) -> str:
    """All pairs meet with probability 1/m."""
    entries = Family("", sp.Symbol("n"), "xy")
    (x, y), (u, v) = entries.at("i"), entries.at("j")
    pairs = entries.sum_distinct(x**2 * v**2 + x * y * u * v)
    norms, product_ = entries.power_sum(2, 0) * entries.power_sum(0, 2), entries.power_sum(1, 1) ** 2
    closed = norms + product_ - factor * entries.power_sum(2, 2)
    require_identity(pairs, closed, "m V_hashed")
    same = pairs.subs({entries.power_sum(0, 2): entries.power_sum(2, 0)})
    same = same.subs({entries.power_sum(1, 1): entries.power_sum(2, 0)})
    norm = 2 * entries.power_sum(2, 0) ** 2 - 2 * entries.power_sum(2, 2)
    require_identity(same, norm, "m V_hashed at x = y")
    return "every n; x = y gives 2 sum over i != j of x_i^2 x_j^2"


def without_cross_term() -> None:
    """Lap sums with sum c^2 in place of (sum c)^2 - sum c^2."""
    pairs, closed = laps()
    require_identity(pairs, closed.subs(sp.Symbol("sum_lap[c^1]"), 0), "m V_fold")


CHECKS = (
    Check(
        1,
        "unbiased iff signs of a cell are uncorrelated",
        "E<Sx, Sy> = <x, y> for all x, y iff E 1_ij g_i g_j = 0 for all i < j",
        "symbolic",
        mean_is_unbiased,
        "one pair left out",
        lambda: require_zero(
            sp.Poly(mean() - sum(x * y for x, y in zip(X, Y, strict=True)), *X, *Y),
            dict.fromkeys(list(unbiased())[1:], 0),
            "E<Sx, Sy> - <x, y>",
        ),
    ),
    Check(
        2,
        "zero mixed moments give the variance",
        "Var<Sx, Sy> = sum over i != j of p_ij q_ij if E 1_ij 1_il g_j g_l = E 1_ij 1_kl g_i g_j g_k g_l = 0",
        "symbolic",
        zero_moments,
        "the cross term x_i y_i x_j y_j is dropped",
        lambda: zero_moments(Level.QUICK, cross=0),
    ),
    Check(
        2,
        "the variance forces zero mixed moments",
        "Var<Sx, Sy> = sum over i != j of p_ij q_ij for all x, y only if these moments vanish",
        "symbolic",
        only_zero_moments,
        "for norms alone",
        lambda: only_zero_moments(Level.QUICK, X),
    ),
    Check(
        2,
        "lap sums",
        "m V_fold = (sum A)(sum B) - sum A_p B_p + (sum c)^2 - sum c_p^2",
        "symbolic",
        lap_sums,
        "the cross term (sum c)^2 is dropped",
        without_cross_term,
    ),
    Check(
        2,
        "hashed in closed form",
        "V_hashed = (1/m)(|x|^2 |y|^2 + <x,y>^2 - 2 sum (x_i y_i)^2)",
        "symbolic",
        hashed,
        "the diagonal is taken off once",
        lambda: hashed(Level.QUICK, factor=1),
    ),
    Check(
        3,
        "norms need less than products",
        "Var|Sx|^2 is the formula at x = y for all x iff triples vanish and the three pairings add up to 0",
        "symbolic",
        norms,
        "each pairing has to vanish",
        lambda: norms(Level.QUICK, free=0),
    ),
)
