"""Claim 12 by enumeration: families of weights and scales for which sharing wins, loses or ties with pruning.

Shows: at each size listed, for every way to fill the cells level and the profiles listed, the sign of the
advantage over pruning: equal weights, weights that are powers of the variances, scales that undo the
variances (for all weights) or know the weights; and what ragged laps change.
Does not show: other sizes and profiles. The advantage is that of residual_order.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.enumeration.residual_order import (
    Numbers,
    advantage,
    rising,
    total_advantage,
    whole_laps,
)


def equal_weights(level: Level) -> str:
    """lambda = w = 1: the advantage is sum over cells of Var(s)/mean(s), 0 iff s is constant in each cell."""
    most = level.pick(4, 6, 8)
    for n, m, drawn in whole_laps(most):
        for cells, s in product(drawn, rising(n, [1, 2, 5])):
            require_ratio(cells, s, m, n // m)
    return f"m | n <= {most}, every draw of cells, s in 1, 2, 5"


def require_ratio(cells: Any, s: Numbers, m: int, k: int) -> None:
    """Do nothing if the advantage at e = u = s is the sum of variance over mean, k to a cell."""
    found = advantage(cells, s, m) @ np.array(s)
    rows = [np.array(s)[cells == cell] * Fraction(1) for cell in set(cells.tolist())]
    means = [row.sum() / k for row in rows]
    expected = sum(((row - mean) ** 2).sum() / k / mean for row, mean in zip(rows, means, strict=True))
    require(found == expected, f"cells {cells}, s={s}: {found} against {expected}")
    level = all(len(set(row.tolist())) == 1 for row in rows)
    require((found == 0) == level, f"cells {cells}, s={s}: advantage {found}")


POWERS = [Fraction(a, 2) for a in (-6, -4, -3, -2, -1, 0, 1, 2)]


def powers(level: Level) -> str:
    """w_i^2 = s_i^a, lambda = 1: fold wins iff a > -1, ties at -1, unless s is constant in each cell."""
    most = level.pick(4, 5, 6)
    for n, m, drawn in whole_laps(most):
        for cells, root, a in product(drawn, rising(n, [1, 2, 3]), POWERS):
            level_cells = all(len(set(np.array(root)[cells == cell].tolist())) == 1 for cell in cells)
            require_power(cells, root, a, m, 0 if level_cells else (a > -1) - (a < -1))
    return f"m | n <= {most}, every draw of cells, s in 1, 4, 9, a in -3, -2, -3/2, .., 1"


def require_power(cells: Any, root: Sequence[int], a: Fraction, m: int, sign: int) -> None:
    """Do nothing if the advantage at s = root^2 and e = s^(1+a) has this sign."""
    s = [Fraction(r * r) for r in root]
    e = np.array([Fraction(r) ** int(2 + 2 * a) for r in root])
    found = advantage(cells, s, m) @ e
    require((found > 0) - (found < 0) == sign, f"cells {cells}, s={s}, a={a}: advantage {found}")


def scales(level: Level) -> str:
    """lambda = s^(-1/2), u = 1, ties for every w; lambda = |w|, u = e, is never worse."""
    most = level.pick(4, 6, 8)
    for n, m, drawn in whole_laps(most):
        for cells in drawn:
            require_tie(cells, m)
            for e in rising(n, [1, 2, 5]):
                require_never_worse(cells, e, m)
    return f"m | n <= {most}, every draw of cells; all e, respectively e in 1, 2, 5"


def require_tie(cells: Any, m: int) -> None:
    """Do nothing if u = 1 has no advantage for any e."""
    found = advantage(cells, [Fraction(1)] * len(cells), m)
    require(not found.any(), f"cells {cells}, lambda = s^(-1/2): advantage {found} @ e")


def require_never_worse(cells: Any, e: Numbers, m: int) -> None:
    """Do nothing if u = e has an advantage >= 0."""
    found = advantage(cells, e, m) @ np.array(e)
    require(found >= 0, f"cells {cells}, lambda = |w|, e={e}: advantage {found}")


def ragged_scales(level: Level) -> str:
    """lambda = s^(-1/2) ties only over all orders: n = m + 1, weight on the last, 1/2 against 1/(m+1)."""
    most = level.pick(5, 12, 30)
    for m in range(2, most + 1):
        require_last(np.array([*range(m), 0]), m)
    for n, m in ((3, 2), (4, 3), (5, 2), (5, 3)):
        total = total_advantage(u.reordered(u.fold_cells(n, m)), [Fraction(1)] * n, m)
        require(not total.any(), f"n={n}, m={m}: advantage over all orders {total}")
    return f"n = m + 1, 2 <= m <= {most}; over all orders n <= 5"


def require_last(cells: Any, m: int) -> None:
    """Do nothing if u = 1 and e on the last weight loses 1/2, pruning 1/(m+1)."""
    found = advantage(cells, [Fraction(1)] * (m + 1), m)[-1]
    expected = Fraction(1, m + 1) - Fraction(1, 2)
    require(
        found == expected < 0, f"n={m + 1}, m={m}, weight on the last: advantage {found} against {expected}"
    )


CHECKS = (
    Check(
        12,
        "equal weights",
        "m | n, lambda = w = 1: fold gains sum over cells of Var(s)/mean(s); 0 iff s is level in each cell",
        "enumeration",
        equal_weights,
        "k - 1 for k",
        lambda: require_ratio(np.array([0, 1, 0, 1]), [1, 2, 5, 2], 2, 1),
    ),
    Check(
        12,
        "weights as powers of variances",
        "m | n, w_i^2 = s_i^a, s not level in each cell: fold wins iff a > -1, ties at -1",
        "enumeration",
        powers,
        "fold is taken to win at a = -1",
        lambda: require_power(np.array([0, 0]), [1, 2], Fraction(-1), 1, 1),
    ),
    Check(
        12,
        "scales that know the weights",
        "m | n: lambda = s^(-1/2) ties with pruning for all w; lambda = |w| never loses more",
        "enumeration",
        scales,
        "lambda = 1 is taken to tie",
        lambda: require_never_worse(np.array([0, 1, 0]), [1, 1, Fraction(6, 5)], 2),
    ),
    Check(
        12,
        "scales on ragged laps",
        "lambda = s^(-1/2) fails to tie unless m | n: 1/2 against 1/(m+1); it ties over all orders",
        "enumeration",
        ragged_scales,
        "whole laps",
        lambda: require_last(np.array([0, 0]), 1),
        scope="fails outside",
    ),
)
