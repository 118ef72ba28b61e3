"""What a check measures, one value per draw: pure functions of the draws' seeds.

All are frozen and picklable, so that any worker can take any chunk of draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rpstheory.hashing import mix
from rpstheory.kernels import inner_products
from rpstheory.kernels.reference import ENTRIES, draw_many

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rpstheory.distributions import AbstractDistribution
    from rpstheory.mappings import AbstractMapping

Values = Callable[[Any], Any]


def itself(values: Any) -> Any:
    """The values unchanged."""
    return values


def squared_error(values: Any, about: float) -> Any:
    """(value - about)^2."""
    return np.square(values - about)


def exceeds(values: Any, about: float, by: float) -> Any:
    """1 where value - about >= by."""
    return (values - about >= by).astype(np.float64)


def falls_short(values: Any, about: float, by: float) -> Any:
    """1 where about - value >= by."""
    return (about - values >= by).astype(np.float64)


def differs(values: Any, about: float, by: float) -> Any:
    """1 where |value - about| > by: a violation of "always equal"."""
    return (np.abs(values - about) > by).astype(np.float64)


def generator(first: int) -> np.random.Generator:
    """Random numbers for data, a pure function of the first draw's seed."""
    return np.random.Generator(np.random.Philox(key=mix(first ^ 0x5DEECE66D)))


def blocks(count: int, n: int) -> list[tuple[int, int]]:
    """(offset, size) of runs of draws whose (size, n) arrays stay small."""
    step = max(1, ENTRIES // (4 * n))
    return [(low, min(step, count - low)) for low in range(0, count, step)]


@dataclass(frozen=True, eq=False)
class Products:
    """A function of rescale * <Sx, Sy> for fixed x, y.

    Attributes:
        mapping: Its seed is replaced draw by draw.
        x: (n,).
        y: (n,); the same object as ``x`` for norms.
        then: Applied to the products, (count,) → (count,).
    """

    mapping: AbstractMapping
    x: Any
    y: Any
    then: Values = itself

    @property
    def cost(self) -> float:
        """Weights touched by a draw."""
        return float(self.mapping.n)

    @property
    def rarest(self) -> float:
        """Chance that two weights meet, at least; a few pairs may carry the whole variance."""
        return 1 / self.mapping.n

    def __call__(self, first: int, count: int, backend: str) -> Any:
        """Values of ``count`` draws."""
        return self.then(inner_products(backend, self.mapping, self.x, self.y, first, count))


@dataclass(frozen=True, eq=False)
class DataProducts:
    """Squared error of <Sx, Sy> on a fresh pair for every draw.

    Attributes:
        mapping: Its seed is replaced draw by draw.
        distribution: Law of the pairs.
        order: "random" permutes the entries of every pair.
        against: Another mapping, whose squared error on the same pair is subtracted.
    """

    mapping: AbstractMapping
    distribution: AbstractDistribution
    order: Literal["given", "random"] = "given"
    against: AbstractMapping | None = None

    @property
    def cost(self) -> float:
        """Weights touched by a draw; making the data costs a few times as much."""
        return self.mapping.n * 8.0

    @property
    def rarest(self) -> float:
        """Chance of the rarest pair that matters, times that two of its weights meet, at least."""
        return self.distribution.rarest / self.mapping.n

    def __call__(self, first: int, count: int, backend: str) -> Any:
        """Values of ``count`` draws."""
        random = generator(first)
        values = np.empty(count)
        for low, size in blocks(count, self.mapping.n):
            x, y = self.distribution.sample(random, size)
            if self.order == "random":
                place = random.permuted(np.tile(np.arange(x.shape[1]), (size, 1)), axis=1)
                x, y = np.take_along_axis(x, place, 1), np.take_along_axis(y, place, 1)
            truth = np.einsum("ij,ij->i", x, y)
            seed = (first + low) % 2**64
            error = inner_products(backend, self.mapping, x, y, seed, size) - truth
            values[low : low + size] = error * error
            if self.against is not None:
                other = inner_products(backend, self.against, x, y, seed, size) - truth
                values[low : low + size] -= other * other
        return values


@dataclass(frozen=True, eq=False)
class Draws:
    """A function of the cells and signs of a mapping, drawn many at once.

    Attributes:
        mapping: Its seed is replaced draw by draw.
        function: (cells, signs), each (count, n) int64, → (count,).
    """

    mapping: AbstractMapping
    function: Callable[[NDArray[np.int64], NDArray[np.int64]], Any]

    @property
    def cost(self) -> float:
        """Weights touched by a draw; NumPy takes a few times as long as a kernel."""
        return self.mapping.n * 16.0

    def __call__(self, first: int, count: int, backend: str) -> Any:
        """Values of ``count`` draws."""
        values = np.empty(count)
        for low, size in blocks(count, max(self.mapping.n, self.mapping.cells)):
            cells, signs = draw_many(self.mapping, (first + low) % 2**64, size)
            values[low : low + size] = self.function(cells, signs)
        return values


@dataclass(frozen=True, eq=False)
class Cases:
    """A fact tried on random cases: 1 where it is violated, 0 where it holds.

    Attributes:
        violated: Takes a generator of random numbers, builds one case, says whether the fact fails.
        cost: Work of a case, in units of about a nanosecond.
    """

    violated: Callable[[np.random.Generator], bool]
    cost: float = 1e6

    def __call__(self, first: int, count: int, backend: str) -> Any:
        """Violations in ``count`` cases."""
        cases = (self.violated(generator((first + t) % 2**64)) for t in range(count))
        return np.fromiter(cases, dtype=np.float64, count=count)
