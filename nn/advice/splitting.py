r"""How to divide a budget among layers whose noise is $c_l / m_l - d_l$: exactly, in whole numbers.

Without whole numbers Lagrange has $m_l \propto \sqrt{c_l}$, and the noise is
$(\sum \sqrt{c_l})^2 / m - \sum d_l$. One more cell takes $c_l / (m_l (m_l + 1))$ off a layer's noise, less
from one to the next, so that taking the largest gains one by one is best in whole numbers too (Gross 1956).
The multiplier is a threshold on these gains, which gives all cells but the last few at once.

One bank for all layers can do the same without being divided. With $a_l$ what a layer reads and $b_l$ what it
puts in, at $\lambda_l = 1$, its noise is about $(\sum \lambda_l^2 a_l)(\sum b_l/\lambda_l^2)/m$, which by
Cauchy-Schwarz is least at $\lambda_l^2 = \sqrt{b_l / a_l}$; and there it is $(\sum\sqrt{a_l b_l})^2/m$,
that of the best division, $c_l = a_l b_l$.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from heapq import heapify, heapreplace
from math import sqrt

from rpstheory.errors import ArgumentError

HALVINGS = 200
SPARE = 2  # cells of each layer that are given back before the last are handed out: roundings of a root


def split(costs: Sequence[float | Fraction], sizes: Sequence[int], budget: int) -> list[int]:
    """Whole numbers m_l in 1 … n_l that add up to the budget and make the sum of c_l / m_l least.

    Args:
        costs: c_l >= 0.
        sizes: n_l.
        budget: Their sum, or less.

    Raises:
        ArgumentError: If the budget is less than a cell for each, or more than all.
    """
    if not len(costs) <= budget <= sum(sizes):
        raise ArgumentError(
            f"advise: {budget} cells came for {len(sizes)} layers of {sum(sizes)} weights; pass "
            f"{len(sizes)} … {sum(sizes)}"
        )
    found = [max(1, m - SPARE) for m in _threshold(costs, sizes, budget)]
    gains = [(_gain(c, m, n), place) for place, (c, m, n) in enumerate(zip(costs, found, sizes, strict=True))]
    heapify(gains)
    for _ in range(budget - sum(found)):
        place = gains[0][1]
        found[place] += 1
        heapreplace(gains, (_gain(costs[place], found[place], sizes[place]), place))
    return found


def _gain(cost: float | Fraction, m: int, n: int) -> float | Fraction:
    """What one more cell takes off, below 0 as heaps want it; 1 where there is no room."""
    return -cost / (m * (m + 1)) if m < n else 1


def _threshold(costs: Sequence[float | Fraction], sizes: Sequence[int], budget: int) -> list[int]:
    """All cells whose gain is above the lowest threshold that stays within the budget."""
    low, high = 0.0, max(map(float, costs))
    best = [1] * len(sizes)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if not middle:
            break
        cells = [
            min(n, max(1, int((1 + sqrt(1 + 4 * float(c) / middle)) / 2)))
            for c, n in zip(costs, sizes, strict=True)
        ]
        if sum(cells) <= budget:
            best, high = cells, middle
        else:
            low = middle
    return best
