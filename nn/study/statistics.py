"""What can be said of differences between methods from a few seeds, and with what certainty.

Runs of one seed share init, order and augmentation, so that methods are compared by their differences seed by
seed, which are taken as normal. One seed gives no interval and no test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, isclose, log, sqrt
from statistics import fmean, stdev

LEVEL = 0.95
HALVINGS = 60  # of an interval, down to the last bit

Seeds = Mapping[int, float]
"""A number for each seed."""


def quantile(count: int) -> float:
    """Of Student's t, for a two-sided interval of the mean of so many values."""
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, count - 1))


def half_interval(values: Sequence[float]) -> float | None:
    """Half the interval that holds the mean with a chance of 95 %, if the values are normal.

    None of a single value, and of values that are all the same, which tell nothing of their scatter.
    """
    if len(values) < 2 or isclose(stdev(values), 0, abs_tol=1e-12):
        return None
    return quantile(len(values)) * stdev(values) / sqrt(len(values))


@dataclass(frozen=True)
class Paired:
    """Two methods over the seeds that both have.

    Attributes:
        seeds: How many.
        difference: The mean of first minus second.
        half: Half its 95 % interval; None of a single seed, and where all differences are the same.
        p: Of the two-sided paired t test that there is no difference; None of a single seed.
    """

    seeds: int
    difference: float
    half: float | None
    p: float | None


def paired(first: Seeds, second: Seeds) -> Paired | None:
    """The comparison of two methods; None without a common seed.

    Differences that are all the same tell nothing of their scatter; then p is that of the test by signs.
    """
    shared = sorted(first.keys() & second.keys())
    if not shared:
        return None
    differences = [first[seed] - second[seed] for seed in shared]
    mean, count = fmean(differences), len(shared)
    if count == 1:
        return Paired(1, mean, None, None)
    error = stdev(differences) / sqrt(count)
    if isclose(error, 0, abs_tol=1e-12):  # accuracies are multiples of one over the number of images
        return Paired(count, mean, None, 1.0 if isclose(mean, 0, abs_tol=1e-12) else 2.0 ** (1 - count))
    from scipy.stats import t

    p = 2 * float(t.sf(abs(mean) / error, count - 1))
    return Paired(count, mean, quantile(count) * error, p)


def holm(chances: Sequence[float]) -> list[float]:
    """Adjusted p values: at most this chance that any true hypothesis of the family is rejected.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979), 65-70.
    """
    adjusted, highest = [0.0] * len(chances), 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        highest = max(highest, min(1.0, (len(chances) - rank) * chances[place]))
        adjusted[place] = highest
    return adjusted


# ------------------------------------------------------------------------------------- crossovers


@dataclass(frozen=True)
class Point:
    """A method at one cost.

    Attributes:
        cost: Positive.
        accuracy: By seed.
    """

    cost: float
    accuracy: Seeds


@dataclass(frozen=True)
class Crossing:
    """A cost at which the better of two methods changes.

    Attributes:
        cost: Where the lines through the means meet, on a logarithmic axis.
        low: The lower end of its 95 % interval; None where the seeds at the cost below cannot tell the
            methods apart, or tell nothing of their scatter.
        high: The upper end, likewise.
        seeds: How many.
        below: Whether the first method is the better one below it.
    """

    cost: float
    low: float | None
    high: float | None
    seeds: int
    below: bool

    @property
    def certain(self) -> bool:
        """Whether the methods differ significantly on both sides, each in its own direction."""
        return self.low is not None and self.high is not None


def crossings(first: Sequence[Point], second: Sequence[Point]) -> list[Crossing]:
    """Every change of the better method between the costs that both have.

    Each method is a line through its points over log cost, seed by seed, so that between neighbouring costs
    the difference is a line too. Where its interval holds 0 is the interval of the crossing (Fieller, 1954).
    """
    both = [*first, *second]
    shared = sorted(set.intersection(*(set(point.accuracy) for point in both)) if both else ())
    if not shared or not first or not second:
        return []
    low = max(min(point.cost for point in line) for line in (first, second))
    high = min(max(point.cost for point in line) for line in (first, second))
    knots = sorted({point.cost for point in both if low <= point.cost <= high})
    ends = [[_at(first, x, seed) - _at(second, x, seed) for seed in shared] for x in knots]
    found, sign = [], 0
    for place, differences in enumerate(ends):
        mean = fmean(differences)
        now = 0 if isclose(mean, 0, abs_tol=1e-12) else 1 if mean > 0 else -1
        if now * sign < 0:
            found.append(
                _crossing(knots[place - 1 : place + 1], ends[place - 1], differences, below=sign > 0)
            )
        sign = now or sign
    return found


def _at(line: Sequence[Point], cost: float, seed: int) -> float:
    """The accuracy of a seed at a cost within the line."""
    points = sorted(line, key=lambda point: point.cost)
    for left, right in zip(points, points[1:], strict=False):
        if left.cost <= cost <= right.cost and left.cost < right.cost:
            share = log(cost / left.cost) / log(right.cost / left.cost)
            return (1 - share) * left.accuracy[seed] + share * right.accuracy[seed]
    return next(point.accuracy[seed] for point in points if point.cost == cost)


def _crossing(knots: Sequence[float], left: list[float], right: list[float], *, below: bool) -> Crossing:
    """Within two neighbouring costs, by the differences of the seeds at each."""
    count, (start, end) = len(left), (log(knot) for knot in knots)
    change = [b - a for a, b in zip(left, right, strict=True)]
    root = -fmean(left) / fmean(change)

    def cost(share: float) -> float:
        return exp(start + share * (end - start))

    if count == 1:
        return Crossing(cost(root), None, None, count, below)
    # The interval holds 0 where this parabola in w is not positive: (mean)^2 - t^2 / count (variance).
    scale = quantile(count) ** 2 / count
    a = fmean(change) ** 2 - scale * stdev(change) ** 2
    b = fmean(left) * fmean(change) - scale * _covariance(left, change)
    c = fmean(left) ** 2 - scale * stdev(left) ** 2

    def edge(end: float) -> float | None:
        told, untold = end, root
        if (a * end + 2 * b) * end + c <= 0:
            return None
        for _ in range(HALVINGS):
            middle = (told + untold) / 2
            told, untold = (middle, untold) if (a * middle + 2 * b) * middle + c > 0 else (told, middle)
        return cost(untold)

    known = [not isclose(stdev(differences), 0, abs_tol=1e-12) for differences in (left, right)]
    low, high = (edge(end) if told else None for end, told in zip((0.0, 1.0), known, strict=True))
    return Crossing(cost(root), low, high, count, below)


def _covariance(x: Sequence[float], y: Sequence[float]) -> float:
    mx, my = fmean(x), fmean(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / (len(x) - 1)
