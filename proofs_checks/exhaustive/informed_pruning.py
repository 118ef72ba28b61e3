"""Claim 18 by exhaustion: pruning by magnitude, its error, and when it wins against fold.

Shows: for all whole-number vectors listed, the squared error of any fixed choice of weights, and that top
beats fold exactly where the formula says, fold's variance from every draw; where squares fall as i^-a, who
wins at which m, exactly; in the diagonal linear model, for all e = s w^2 and the u listed, that no way to
share m cells beats top on sign average, from the extreme points of what it wins.
Does not show: limits for large m; families of random data, which are measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import combinations, product
from math import lcm
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.enclosures import root_below
from proofs_checks.polynomials import meeting
from proofs_checks.residuals import groupings

Numbers = Sequence[Fraction | int]


def fixed_choice(level: Level) -> str:
    """Every choice of m weights: error of <x, y> the square of the dropped sum, of |x|^2 tau^2 |x|^4."""
    most = level.pick(3, 4, 4)
    for n in range(1, most + 1):
        rows = np.array(list(product((-1, 0, 1, 2), repeat=n)))
        for m in range(n + 1):
            for kept in combinations(range(n), m):
                dropped = [i for i in range(n) if i not in kept]
                s = np.eye(n, dtype=np.int64)[list(kept)].reshape(m, n)
                require_error(s, rows, rows[:, dropped] @ rows[:, dropped].T)
    return f"n <= {most}, every choice, x and y of -1, 0, 1, 2"


def require_error(s: Any, rows: Any, missing: Any) -> None:
    """Do nothing if (<Sx, Sy> - <x, y>)^2 is the square of what is missing, for all pairs of rows."""
    error = (rows @ s.T @ s @ rows.T - rows @ rows.T) ** 2
    where = np.argwhere(error != missing**2)
    require(not len(where), f"S={s.tolist()}: x, y = {rows[where[0]].tolist() if len(where) else ''}")


def contest(level: Level) -> str:
    """tau^2 |x|^4 < V_fold iff tau^2 < (2/m)(1 - sum A_p^2/|x|^4)."""
    most, count = level.pick(3, 4, 5), 0
    for n in range(2, most + 1):
        for m in range(1, n):
            met = meeting(u.fold_cells(n, m))
            for x in product(range(5), repeat=n):
                if any(x):
                    require_winner(np.array(x), m, met, m)
                    count += 1
    return f"1 <= m < n <= {most}, x of 0 .. 4: {count} cases"


def require_winner(x: Any, m: int, met: Any, length: int) -> None:
    """Do nothing if top is better, equal or worse than fold as the formula says, with laps of this length."""
    squares = x * x
    total = int(squares.sum())
    dropped = int(np.sort(squares)[: len(x) - m].sum())
    laps = sum(int(squares[first : first + length].sum()) ** 2 for first in range(0, len(x), length))
    fold = 2 * squares @ met @ squares
    formula = Fraction(2, m) * (1 - Fraction(laps, total**2))
    found = _sign(dropped**2 - fold)
    expected = _sign(Fraction(dropped, total) ** 2 - formula)
    require(found == expected, f"n={len(x)}, m={m}, x={x}: top {dropped**2}, fold {fold}, formula {formula}")


def few_entries(level: Level) -> str:
    """At most m entries that are not 0: top loses nothing, fold loses where two of them may meet."""
    most = level.pick(4, 5, 6)
    for n in range(3, most + 1):
        for m in range(2, n):
            require_nothing_lost(n, m, [0, m])
    return f"2 <= m < n <= {most}: x = 1 at the first place of two laps"


def require_nothing_lost(n: int, m: int, places: list[int]) -> None:
    """Do nothing if top at x = 1 in these places has error 0 and fold does not."""
    squares = np.isin(np.arange(n), places).astype(int)
    dropped = int(np.sort(squares)[: n - m].sum())
    fold = 2 * squares @ meeting(u.fold_cells(n, m)) @ squares
    require(dropped == 0 < fold, f"n={n}, m={m}, x=1 at {places}: top {dropped**2}, fold {fold}")


TURNS = {2: 57, 3: 27, 4: 18, 8: 10}  # laps: the first m at which fold wins where squares are 1/i


def slow_fall(level: Level) -> str:
    """Squares 1/i in random order: top wins for m < m_0 and fold from there on."""
    longest = level.pick(2, 4, 10)
    for laps, turn in TURNS.items():
        for m in range(1, longest * turn):
            require_power(m, laps, 1, 1 if m < turn else -1)
    return f"k = n/m: m_0 = {TURNS}, m to {longest} m_0"


def steep_fall(level: Level) -> str:
    """Squares i^-a, a = 3/2, 2, 3, in random order: top wins."""
    most = level.pick(12, 40, 120)
    for laps, m in product(TURNS, range(1, most + 1)):
        for a in (2, 3):
            require_power(m, laps, a, 1)
        require_three_halves(m, laps)
    return f"k = 2, 3, 4, 8, m <= {most}"


def require_power(m: int, laps: int, a: int, winner: int) -> None:
    """Do nothing if top (+1) or fold (-1) has the smaller mean error over random orders."""
    n = laps * m
    common = lcm(*range(1, n + 1)) ** a
    squares = [common // i**a for i in range(1, n + 1)]
    total, dropped, fourth = sum(squares), sum(squares[m:]), sum(e * e for e in squares)
    found = _sign(_shared(n, m) * (total**2 - fourth) - dropped**2)
    require(found == winner, f"k={laps}, m={m}, squares i^-{a}: {'top' if found > 0 else 'fold'} wins")


def require_three_halves(m: int, laps: int) -> None:
    """Do nothing if top wins at squares i^(-3/2), roots enclosed."""
    n, unit = laps * m, Fraction(1, 10**20)
    low = [root_below(Fraction(1, i**3)) for i in range(1, n + 1)]
    high = [e + unit for e in low]
    fold = _shared(n, m) * (sum(low) ** 2 - sum(e * e for e in high))
    require(sum(high[m:]) ** 2 < fold, f"k={laps}, m={m}, squares i^-3/2: fold wins")


def shares(level: Level) -> str:
    """Fold in random order: 2 (n-m)/(m(n-1)) (|x|^4 - sum x^4) for m | n, over every draw and order."""
    most = level.pick(4, 5, 6)
    for n in range(2, most + 1):
        for m in (m for m in range(1, n) if n % m == 0):
            require_share(meeting(u.reordered(u.fold_cells(n, m))), _shared(n, m) / 2)
    return f"m | n <= {most}, for all x"


def require_share(met: Any, chance: Fraction) -> None:
    """Do nothing if every pair meets with this probability."""
    apart = ~np.eye(len(met), dtype=bool)
    require((met[apart] == chance).all(), f"n={len(met)}: {met.tolist()} against {chance}")


def never_beaten(level: Level) -> str:
    """What m cells win on sign average is sum c_i e_i with 0 <= c_i <= 1 and sum c <= m: at most top's."""
    most, count = level.pick(4, 5, 6), 0
    for n in range(1, most + 1):
        for m in range(1, n + 1):
            for cells, pull in product(groupings(n, m), product((0, 1, 3), repeat=n)):
                require_at_most_top(cells, pull, m)
                count += 1
    return f"m <= n <= {most}, every way to share m cells, u of 0, 1, 3: {count} cases, for all e"


def require_at_most_top(cells: Any, pull: Numbers, m: int) -> None:
    """Do nothing if the coefficients u_i/u(cell(i)) are between 0 and 1 and sum to at most m."""
    carried = [sum(v for v, c in zip(pull, cells, strict=True) if c == cell) for cell in cells]
    won = [Fraction(mine, total) if total else Fraction(0) for mine, total in zip(pull, carried, strict=True)]
    held = all(0 <= c <= 1 for c in won) and sum(won) <= m
    require(held, f"cells {cells}, u={pull}, m={m}: coefficients of e {won}")


def lucky_draw(level: Level) -> str:
    """n equal features in one cell, signs alike: loss 0, top n - 1."""
    most = level.pick(4, 6, 9)
    for n in range(2, most + 1):
        require_lucky(n, lambda signs: signs.sum(axis=1) ** 2)
    return f"m = 1, 2 <= n <= {most}, s = w = lambda = 1: 2^(1-n) of the draws"


def require_lucky(n: int, won: Callable[[Any], Any]) -> None:
    """Do nothing if 2^(1-n) of the draws lose nothing, R = n - (sum of signs)^2/n, where top loses n - 1."""
    loss = n - won(u.all_signs(n)) / Fraction(n)
    share = Fraction(int((loss == 0).sum()), len(loss))
    require(share == Fraction(2, 2**n), f"n={n}, m=1: {share} of the draws lose nothing")


def _shared(n: int, m: int) -> Fraction:
    return Fraction(2 * (n - m), m * (n - 1))


def _sign(number: Fraction | int) -> int:
    return (number > 0) - (number < 0)


CHECKS = (
    Check(
        18,
        "error of a fixed choice",
        "(sum over dropped x_i y_i)^2; for norms tau^2 |x|^4, tau the dropped share of |x|^2",
        "exhaustive",
        fixed_choice,
        "the kept weights",
        lambda: require_error(np.array([[1, 0]]), np.array([[1, 0], [0, 1]]), np.array([[1, 0], [0, 0]])),
    ),
    Check(
        18,
        "top against fold",
        "top beats fold on |x|^2 iff tau^2 < (2/m)(1 - sum A_p^2/|x|^4)",
        "exhaustive",
        contest,
        "laps of m + 1",
        lambda: require_winner(np.array([1, 1, 1]), 2, meeting(u.fold_cells(3, 2)), 3),
    ),
    Check(
        18,
        "few entries",
        "fold never overtakes if at most m entries are not 0: tau = 0",
        "exhaustive",
        few_entries,
        "m + 1 entries",
        lambda: require_nothing_lost(4, 2, [0, 1, 2]),
        scope="fails outside",
    ),
    Check(
        18,
        "fold in random order",
        "m | n: E V_fold = 2 (n-m)/(m(n-1)) (|x|^4 - sum x_i^4)",
        "exhaustive",
        shares,
        "the given order",
        lambda: require_share(meeting(u.fold_cells(4, 2)), _shared(4, 2) / 2),
    ),
    Check(
        18,
        "squares 1/i",
        "in random order fold wins from m_0 on: 57, 27, 18, 10 at k = 2, 3, 4, 8",
        "exhaustive",
        slow_fall,
        "m_0 = 17 at k = 4",
        lambda: require_power(17, 4, 1, -1),
    ),
    Check(
        18,
        "squares i^-a, a >= 3/2",
        "in random order top wins: a = 3/2, 2, 3",
        "exhaustive",
        steep_fall,
        "a = 1",
        lambda: require_power(30, 4, 1, 1),
    ),
    Check(
        18,
        "top in the linear model",
        "no sharing beats top by e on sign average: sum c_i e_i, 0 <= c_i = u_i/u(cell) <= 1, sum c <= m",
        "exhaustive",
        never_beaten,
        "two cells against one weight",
        lambda: require_at_most_top(np.array([0, 1]), [1, 1], 1),
    ),
    Check(
        18,
        "a lucky draw",
        "fails for one draw: equal features in one cell with signs alike lose 0, top n - 1",
        "exhaustive",
        lucky_draw,
        "the mean over signs",
        lambda: require_lucky(2, lambda signs: np.full(4, (signs.sum(axis=1) ** 2).sum() // 4)),
        scope="fails outside",
    ),
)
