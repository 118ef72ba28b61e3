r"""Streaming moments, and the design that fixes the number of draws before anything is measured.

A check has two error rates: *false refute*, the chance to contradict a true statement, and *false
confirm*, the chance to pass one that is off by the discrepancy worth catching. With standard error s,
limit z for the first and q for the second, a statement is

- refuted when the measured mean is further than z s from the prediction,
- confirmed when the interval mean ± q s lies within prediction ± discrepancy,
- otherwise inconclusive; the draws are designed so that z s + q s fits into the discrepancy.

The normal limit is widened for a skewness $\gamma$, since squares of products are skewed, and by the first
term of Student's t. With $s = |\gamma| / \sqrt N$ it is

$$ z + s (z^2 + 2) / 3 + s^2 (z^3 + 11 z) / 36 + (z^3 + z) / (4 N). $$

The skewness terms are those of the exact upper limit of a Poisson mean (Garwood 1936; Cornish & Fisher
1937): an event seen in k of many draws has $s = 1/\sqrt k$. Hall's Edgeworth term (1992, section 2.6),
$s (2 z^2 + 1) / 6$, lacks the half event by which counts are not continuous and what follows it: with it
alone the frequency of a rare event would be confirmed, off by the discrepancy, 2.7 times too often, and at a
rate of 3e-9 refuted, though true, 12 times too often (proofs_checks.verdict_chances). No mean is judged on
fewer than 1000 draws: on a few dozen such limits would refute true statements.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cbrt, ceil, inf, isfinite, log, log1p, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from rpstheory.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

FALSE_REFUTE_SUITE = 1e-6
FALSE_CONFIRM = 1e-3
LEAST_DRAWS = 1000
PILOT_MARGIN = 1.05
NEWTON_STEPS = 8  # from at most three times the root, the last steps square the error


@dataclass(frozen=True)
class Moments:
    """Count, mean, sums of squared and cubed deviations, and extremes of a stream.

    Attributes:
        count: Number of values.
        mean: Their mean.
        squares: Sum of squared deviations from the mean.
        cubes: Sum of cubed deviations.
        low: Smallest value.
        high: Largest value.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    cubes: float = 0.0
    low: float = inf
    high: float = -inf

    @staticmethod
    def of(values: Any) -> Moments:
        """Moments of an array."""
        row = np.asarray(values, dtype=np.float64)
        if row.size == 0:
            return Moments()
        mean = float(row.mean())
        d = row - mean
        square = d * d
        return Moments(
            row.size,
            mean,
            float(square.sum()),
            float((square * d).sum()),
            float(row.min()),
            float(row.max()),
        )

    def merge(self, other: Moments) -> Moments:
        """Moments of both streams together. Source: Chan, Golub & LeVeque 1979; Pébay 2008."""
        if not self.count or not other.count:
            return other if not self.count else self
        a, b = self.count, other.count
        n, d = a + b, other.mean - self.mean
        return Moments(
            n,
            self.mean + d * b / n,
            self.squares + other.squares + d * d * a * b / n,
            self.cubes
            + other.cubes
            + d * d * d * a * b * (a - b) / n**2
            + 3 * d * (a * other.squares - b * self.squares) / n,
            min(self.low, other.low),
            max(self.high, other.high),
        )

    @property
    def deviation(self) -> float:
        """Standard deviation."""
        return sqrt(self.squares / (self.count - 1)) if self.count > 1 else 0.0

    @property
    def standard_error(self) -> float:
        """Of the mean."""
        return self.deviation / sqrt(self.count) if self.count else inf

    @property
    def skewness(self) -> float:
        """Third standardised moment."""
        if self.squares <= 0:
            return 0.0
        deviation = sqrt(self.squares / self.count)
        return self.cubes / deviation / deviation / deviation / self.count  # its cube may not be a float


def merge_all(parts: Iterable[Moments]) -> Moments:
    """Moments of all parts, merged from left to right."""
    total = Moments()
    for part in parts:
        total = total.merge(part)
    return total


@dataclass(frozen=True)
class Design:
    """Error rates of one check and the relative discrepancy it must catch.

    Attributes:
        discrepancy: Relative to the check's scale.
        false_refute: Chance to refute a true statement.
        false_confirm: Chance to confirm one that is off by the discrepancy.
    """

    discrepancy: float = 0.01
    false_refute: float = FALSE_REFUTE_SUITE
    false_confirm: float = FALSE_CONFIRM

    def refute_limit(self, skewness: float = 0.0, count: int = 0) -> float:
        """Two-sided limit in standard errors, widened for a skewed statistic."""
        z = -NormalDist().inv_cdf(self.false_refute / 2)
        return _studentised(z, skewness, count)

    def confirm_limit(self, skewness: float = 0.0, count: int = 0) -> float:
        """One-sided limit in standard errors of the false confirmation."""
        q = -NormalDist().inv_cdf(self.false_confirm)
        return _studentised(q, skewness, count)

    def limits_without_events(self, count: int) -> tuple[float, float]:
        """Frequencies that leave no event in ``count`` draws with chance false_refute, false_confirm."""
        return -log(self.false_refute) / count, -log(self.false_confirm) / count

    def draws(self, deviation: float, skewness: float, allowed: float) -> int:
        """Draws for which both limits, in standard errors, fit into ``allowed``.

        Solves r^3 = A ((z + q) r^2 + w r + v), r = sqrt(N), A = deviation / allowed, w and v the terms of
        the limits in 1/r and 1/r^2.

        Raises:
            ArgumentError: If nothing is allowed but the statistic varies.
        """
        least = max(LEAST_DRAWS, self.draws_of_violations())
        if deviation == 0:
            return least
        if not allowed > 0:
            raise ArgumentError(
                f"design: a discrepancy of {allowed} came for a statistic of deviation {deviation:.3g}; "
                "a check that predicts 0 needs a scale of its own"
            )
        z, q = self.refute_limit(), self.confirm_limit()
        w = abs(skewness) * sum(u * u + 2 for u in (z, q)) / 3
        v = sum(skewness**2 * (u**3 + 11 * u) / 36 + (u**3 + u) / 4 for u in (z, q))
        a = PILOT_MARGIN * deviation / allowed
        root = _cubic_root(a * (z + q), a * w, a * v)
        return max(least, ceil(root * root)) if isfinite(root) else 2**62

    def draws_of_violations(self) -> int:
        """Draws that show a violation, should the discrepancy's share of draws violate."""
        return ceil(log(self.false_confirm) / log1p(-min(self.discrepancy, 0.5)))


def _studentised(z: float, skewness: float, count: int) -> float:
    if not count:
        return z
    s = abs(skewness) / sqrt(count)
    return z + s * (z * z + 2) / 3 + s * s * (z**3 + 11 * z) / 36 + (z**3 + z) / (4 * count)


def _cubic_root(a: float, b: float, c: float) -> float:
    """The positive root of r^3 = a r^2 + b r + c, all >= 0: Newton's steps, downwards from a bound of it."""
    r = a + sqrt(b) + cbrt(c)
    for _ in range(NEWTON_STEPS):
        r -= (((r - a) * r - b) * r - c) / ((3 * r - 2 * a) * r - b) if isfinite(r) else 0.0
    return r
