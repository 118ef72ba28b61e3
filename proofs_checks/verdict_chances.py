"""Exact chances of each verdict, for statistics of two values.

A verdict is a function of the moments, and the moments of N draws of a statistic that is ``high`` with
probability p and ``low`` otherwise are a function of the number of highs, which is binomial. So the chance of
every verdict is a finite sum over N + 1 cases: no experiment is needed to say how often the judge of
:mod:`rpstheory.claim` is wrong. This shows both error rates for events, rare and common, at the rates that
are really used. It does not show them for statistics of more than two values: those are measured by
``benchmarks.calibration``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import bdtr

from rpstheory.claim import Check, Status, judge
from rpstheory.samplers import Cases
from rpstheory.statistics import Moments

if TYPE_CHECKING:
    from rpstheory.statistics import Design

NEGLIGIBLE = 1e-18  # chance of a count that is passed over
HITS = (0.1, 0.3, 1, 2, 3, 4, 5, 7, 10, 14, 20, 30, 50, 80)  # events to expect, rare to common
HALF = 0.5


def chances(check: Check, p: float, draws: int, design: Design) -> dict[Status, float]:
    """Chance of each status for a check of a statistic that is 1 with probability p, else 0."""
    found: dict[Status, float] = {"confirmed": 0.0, "refuted": 0.0, "inconclusive": 0.0}
    for hits, chance in _counts(draws, p):
        found[judge("", check, frequency(hits, draws), design, 0.0).status] += chance
    return found


def frequency(hits: int, draws: int) -> Moments:
    """Moments of that many ones among zeros."""
    p = hits / draws
    squares = draws * p * (1 - p)
    return Moments(draws, p, squares, squares * (1 - 2 * p), float(hits == draws), float(hits > 0))


def event(predicted: float, allowed: float, design: Design, **more: Any) -> Check:
    """A check that an event has this probability, up to an absolute discrepancy."""
    happens = Cases(partial(_happens, chance=predicted))
    return Check("an event", happens, predicted, scale=allowed / design.discrepancy, **more)


def worst_false_refute(draws: int, design: Design) -> float:
    """Largest chance to refute a true probability."""
    return max(chances(event(p, p, design), p, draws, design)["refuted"] for p in _probabilities(draws))


def worst_false_confirm(draws: int, design: Design, shares: Iterable[float] = (0.2, 0.5, 1.0)) -> float:
    """Largest chance to confirm a probability off by exactly what is allowed, above or below.

    Args:
        draws: Number of draws.
        design: Rates.
        shares: Discrepancies, of the draws that would leave a true probability barely inconclusive.
    """
    worst = 0.0
    for p in _probabilities(draws):
        error = sqrt(p * (1 - p) / draws)
        limit = design.refute_limit() + design.confirm_limit()
        for allowed in (share * limit * error for share in shares):
            for predicted in (p - allowed, p + allowed):
                found = chances(event(predicted, allowed, design), p, draws, design)
                worst = max(worst, found["confirmed"])
    return worst


def most(rate: float, draws: int) -> float:
    """What such a chance may be at a designed rate: counts are whole, and a limit falls between two of them.

    Half a count is 1/sqrt(N) standard errors at probability 1/2, and less where the limits are widened for
    skewness; the normal tail changes by a factor of 1 + z/sqrt(N) over it.
    """
    return rate * (1 - NormalDist().inv_cdf(rate) / sqrt(draws))


def _probabilities(draws: int) -> list[float]:
    return [hits / draws for hits in HITS] + [HALF, 1 - HITS[4] / draws]


def _counts(draws: int, p: float) -> Iterator[tuple[int, float]]:
    """Numbers of events and their chances, those that matter."""
    below = bdtr(np.arange(draws + 1), draws, p)
    chance = np.diff(below, prepend=0.0)
    for hits in np.flatnonzero(chance > NEGLIGIBLE):
        yield int(hits), float(chance[hits])


def _happens(random: np.random.Generator, chance: float) -> bool:
    return bool(random.random() < chance)
