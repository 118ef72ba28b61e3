"""Claim 12: the figures of the claim, at 24 features of variance 1/i^2 and 6 cells.

Shows: the exact mean loss of fold over all shifts and fair signs, in the given order and averaged over
random orders, and the ridge bound, as shares of sum e; each to three digits.
Does not show: anything about other variances. The mean over signs is that of linear_residual.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, product

import numpy as np

from proofs_checks.check import Check, Level, require


def figures(level: Level) -> str:
    """n=24, m=6, s = 1/i^2, share of sum e: 0.119 (bound 0.124), last 12: 0.960, last 6: 0.976."""
    for last, thousandths in ((24, 119), (12, 960), (6, 976)):
        require_figure(mean_share(24, 6, last), thousandths, f"weights on the last {last}")
    require_figure(bound_share(24, 6), 124, "bound")
    return "every choice of one feature in each of 4 laps"


def require_figure(share: Fraction, thousandths: int, name: str) -> None:
    """Do nothing if the share rounds to this."""
    require(round(1000 * share) == thousandths, f"{name}: {float(share):.5f}, not 0.{thousandths:03}")


def mean_share(n: int, m: int, last: int) -> Fraction:
    """Mean loss of fold with s = 1/i^2 and w = 1 on the last features, as a share of sum e."""
    s = [Fraction(1, i * i) for i in range(1, n + 1)]
    e = [value if i >= n - last else Fraction(0) for i, value in enumerate(s)]
    laps = [range(first, first + m) for first in range(0, n, m)]
    won, cells = Fraction(0), list(product(*laps))
    for cell in cells:
        won += sum(s[i] * e[i] for i in cell) / Fraction(sum(s[i] for i in cell))
    return 1 - won * m / len(cells) / Fraction(sum(e))


def bound_share(n: int, m: int) -> Fraction:
    """sum e_i Q_i/(s_i + Q_i), Q_i = s(other laps)/m, at s = e = 1/i^2, as a share of sum e."""
    s = [Fraction(1, i * i) for i in range(1, n + 1)]
    price = [Fraction(sum(s) - sum(s[i - i % m : i - i % m + m]), m) for i in range(n)]
    return sum((a * q / (a + q) for a, q in zip(s, price, strict=True)), Fraction(0)) / Fraction(sum(s))


def shuffled_figure(level: Level) -> str:
    """The same averaged over random orders: 0.204."""
    require_figure(shuffled_share(24, 6), 204, "random order")
    return "every set of 4 of 24 features"


def shuffled_share(n: int, m: int) -> Fraction:
    """Mean loss over random orders at s = e = 1/i^2, m | n: a cell holds a uniform set of n/m features."""
    common = int(np.lcm.reduce(np.arange(1, n + 1, dtype=object) ** 2))
    s = [common // (i * i) for i in range(1, n + 1)]
    sets = list(combinations(s, n // m))
    won = sum((Fraction(sum(a * a for a in cell), sum(cell)) for cell in sets), Fraction(0))
    return 1 - m * won / len(sets) / sum(s)


CHECKS = (
    Check(
        12,
        "n=24, m=6, s = 1/i^2",
        "fold loses 0.119 of sum e (bound 0.124); w on the last 12 features 0.960, on the last 6 0.976",
        "enumeration",
        figures,
        "laps of 12",
        lambda: require_figure(mean_share(24, 12, 24), 119, "m=12"),
    ),
    Check(
        12,
        "the same in random order",
        "fold loses 0.204 of sum e at n=24, m=6, s = 1/i^2, w = 1",
        "enumeration",
        shuffled_figure,
        "0.21",
        lambda: require_figure(shuffled_share(24, 6), 210, "random order"),
    ),
)
