r"""In which order the tensors of a network are best laid into one folded bank.

Weights of one lap never meet, so that the noise is

$$ \frac1m \Big(\sum_p A_p \sum_p B_p - \sum_p A_p B_p + within\Big), $$

$A_p$ what is read and $B_p$ what is put in from lap p, and *within* from the few rows that a lap end cuts.
An order is good if what is read and what is put in are dense in the same laps. With $\lambda_l$ the root mean
square of a tensor, every full lap has $B_p = m$, and the order hardly matters.

The search begins at the model's own order, at tensors sorted by density and at orders drawn at random, and
exchanges two tensors, or moves one, as long as that helps. The best local optimum is taken; that it is the
best of all orders is checked where all can be looked at, in tests/networks/test_advice.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from nn.advice.noise import Placed

if TYPE_CHECKING:
    from nn.advice.noise import Judged

MOST = 2000  # orders that are looked at
LAPS = 20_000  # that are looked at in all of them: short laps leave little to gain, and cost most
ROUNDED = 1e-12  # of a noise: no gain

Order = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Laid:
    """Tensors that are to share one folded bank.

    Attributes:
        tensors: In the order of the model.
        scales: lambda of each.
        m: Cells.
    """

    tensors: tuple[Judged, ...]
    scales: tuple[float, ...]
    m: int
    _cut: dict[tuple[int, int], float] = field(default_factory=dict, init=False, repr=False)

    @property
    def n(self) -> int:
        """Weights."""
        return sum(each.weight.size for each in self.tensors)

    def placed(self, order: Order) -> list[Placed]:
        """The tensors in an order."""
        found, first = [], 0
        for place in order:
            found.append(Placed(self.tensors[place], first, self.scales[place]))
            first += self.tensors[place].weight.size
        return found

    def noise(self, order: Order) -> float:
        """Of the network, in this order; equal to :func:`nn.advice.noise.of_sharing`, added up."""
        sizes = np.array([self.tensors[place].weight.size for place in order])
        firsts = np.concatenate([[0], np.cumsum(sizes)])
        ends = np.minimum(np.arange(1, -(-self.n // self.m) + 1) * self.m, self.n)
        where = np.searchsorted(firsts, ends, side="left") - 1
        laps = []
        for run in (self.read_upto, self.put_upto):
            before = np.concatenate([[0.0], np.cumsum([run[place][-1] for place in order])])
            upto = [before[w] + run[order[w]][end - firsts[w]] for w, end in zip(where, ends, strict=True)]
            laps.append(np.diff(upto, prepend=0.0))
        read, put = laps
        across = float((read * (put.sum() - put)).sum())
        inside = sum(self._cuts(order[w], int(firsts[w])) for w in set(where[:-1].tolist()))
        return max(0.0, across + inside) / self.m

    def _cuts(self, place: int, first: int) -> float:
        """What the rows of a tensor that lap ends cut add: sum of p_ij w_i x_i w_j x_j, times m."""
        what, key = self.tensors[place], (place, first % self.m)
        if not what.seen:
            return 0.0
        if key not in self._cut:
            d = what.weight.shape[1]
            ends = np.arange(-first % self.m, what.weight.size, self.m)
            added = 0.0
            for row in np.unique(ends[ends % d > 0] // d):
                cuts = [0, *(ends[(ends > row * d) & (ends < (row + 1) * d)] - row * d).tolist(), d]
                weight = what.weight[row]
                added += float(weight @ what.moments @ weight)
                for low, high in pairwise(cuts):
                    part = weight[low:high]
                    added -= float(part @ what.moments[low:high, low:high] @ part)
            self._cut[key] = added / what.energy
        return self._cut[key]

    @cached_property
    def read_upto(self) -> list[Any]:
        """For each tensor what its first weights read, from none to all of them."""
        return [
            _upto(np.tile(each.squares * scale**2 / each.energy, len(each.weight)) if each.seen
                  else np.zeros(each.weight.size))
            for each, scale in zip(self.tensors, self.scales, strict=True)
        ]  # fmt: skip

    @cached_property
    def put_upto(self) -> list[Any]:
        """Likewise what they put in."""
        return [
            _upto(np.square(each.weight.ravel() / scale))
            for each, scale in zip(self.tensors, self.scales, strict=True)
        ]


def best_order(laid: Laid, most: int = MOST) -> Order:
    """The best order that the search finds; the model's own, where none is better.

    Args:
        laid: What is to be ordered.
        most: Orders to look at; fewer, where there are many laps.
    """
    most = max(1, min(most, LAPS * laid.m // laid.n))
    own: Order = tuple(range(len(laid.tensors)))
    best, least, seen = own, laid.noise(own), 1
    for start in _starts(laid, own):
        here, noise, better = start, laid.noise(start), True
        while better and seen < most:
            better = False
            for other in _near(here):
                seen, found = seen + 1, laid.noise(other)
                if found < noise * (1 - ROUNDED):
                    here, noise, better = other, found, True
                    break
        if noise < least * (1 - ROUNDED):
            best, least = here, noise
        if seen >= most or len(own) == 1:
            return best
    return best


def _starts(laid: Laid, own: Order) -> Iterator[Order]:
    """The model's order, tensors by density of what they read, of what they put in and of both, then any."""
    read, put = (
        np.array([run[-1] / (len(run) - 1) for run in runs]) for runs in (laid.read_upto, laid.put_upto)
    )
    yield own
    for density in (read, put, read * put):
        yield tuple(np.argsort(-density, kind="stable").tolist())
    random = np.random.default_rng(0)
    while True:
        yield tuple(random.permutation(len(own)).tolist())


def _near(order: Order) -> Iterator[Order]:
    """Every order with two tensors exchanged, or one moved."""
    for i in range(len(order)):
        for j in range(i):
            other = list(order)
            other[i], other[j] = other[j], other[i]
            yield tuple(other)
    for i in range(len(order)):
        for j in range(len(order)):
            if abs(i - j) > 1:
                rest = [*order[:i], *order[i + 1 :]]
                yield (*rest[:j], order[i], *rest[j:])


def _upto(values: Any) -> Any:
    return np.concatenate([[0.0], np.cumsum(values)])
