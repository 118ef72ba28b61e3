"""Exact comparisons of counts: how often something happened, and how often it should have.

Every law about chance is put as events of stated probability, so that the number of draws with the event
is binomial and nothing has to be approximated. Where all seeds of a mapping were enumerated the count must
be exact; where seeds were sampled the two-sided tail of the binomial law decides. The tail is computed by
the incomplete beta function and compared with the share of the false alarm that the comparison was given.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import log, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MISSED = 1e-3


@dataclass(frozen=True)
class Counts:
    """Events at several places of one sample.

    Attributes:
        places: Which weights each event is about.
        hits: Draws with the event.
        totals: Draws in which it was possible.
        chances: Its probability by the law: one Fraction, or one for each place.
        event: What is counted, in words with places for {hits} and {total}.
    """

    places: Sequence[tuple[int, ...]]
    hits: NDArray[np.int64]
    totals: NDArray[np.int64]
    chances: Fraction | Sequence[Fraction]
    event: str

    def chance(self, k: int) -> Fraction:
        """Probability of event k."""
        return self.chances if isinstance(self.chances, Fraction) else self.chances[k]

    def first_wrong(self, every: bool, false_alarm: float) -> int | None:
        """Number of the first count that the law excludes.

        Args:
            every: Whether all seeds were enumerated, so that counts must be exact.
            false_alarm: Chance that a mapping which obeys the law is accused by any of these counts.
        """
        if every:
            wrong = [
                hits * self.chance(k).denominator != total * self.chance(k).numerator
                for k, (hits, total) in enumerate(zip(self.hits.tolist(), self.totals.tolist(), strict=True))
            ]
        else:
            share = false_alarm / max(1, len(self.places))
            wrong = (two_sided_tail(self.hits, self.totals, self._floats()) < share).tolist()
        return wrong.index(True) if True in wrong else None

    def words(self, k: int) -> str:
        """Count k against the law."""
        share = self.event.format(hits=self.hits[k], total=self.totals[k])
        return f"{share}; the law asks for {self.chance(k)} of them"

    def detectable(self, false_alarm: float) -> float:
        """Deviation that any of these counts exposes with chance 1 - MISSED; 0 if nothing was counted."""
        counted = self.totals[self.totals > 0]
        return detectable(int(counted.min()), false_alarm / len(self.places)) if counted.size else 0.0

    def _floats(self) -> Any:
        if isinstance(self.chances, Fraction):
            return float(self.chances)
        return np.array([float(c) for c in self.chances])


def two_sided_tail(hits: Any, totals: Any, chance: Any) -> Any:
    """Twice the smaller tail of the binomial law, ends included: below a with chance at most a.

    Example:
        >>> float(two_sided_tail(np.array(10), np.array(10), 0.5)) == 2 * 0.5**10
        True
    """
    from scipy.special import betainc

    misses = totals - hits
    below = np.where(misses == 0, 1.0, betainc(np.maximum(misses, 1), hits + 1, 1 - chance))
    above = np.where(hits == 0, 1.0, betainc(np.maximum(hits, 1), misses + 1, chance))
    return 2 * np.minimum(below, above)


def detectable(draws: int, false_alarm: float) -> float:
    """Deviation of a probability that ``draws`` counted draws expose with chance 1 - MISSED or more.

    Source: Hoeffding 1963, on both sides; the exact tail is never above his bound.
    """
    return (sqrt(log(2 / false_alarm)) + sqrt(log(1 / MISSED))) / sqrt(2 * draws)
