"""Somebody else's mapping, asked with care: whatever it raises or returns becomes a counter-example."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, partial
from hashlib import shake_256
from operator import index
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from rpstheory.conformance.law import CounterExample
from rpstheory.conformance.sizes import (
    FAR,
    FAR_SIZES,
    LIGHT,
    MIDDLE,
    ORDINARY,
    Level,
    Rung,
    counted_positions,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from rpstheory.mappings import AbstractMapping

FALSE_ALARM = 1e-6
COUNTED_LAWS = 7  # load and those of rpstheory.conformance.chance
REFUSE = "a size is refused with ValueError, and for every seed"
# A float that is declared stands for the simplest fraction this near to it.
SIMPLE = 10**6
# Less than a bit for each of many weights.
BYTES = LIGHT[0] // 8


@dataclass(frozen=True)
class Guarded:
    """One draw of a mapping; what the operator of this package needs of it, and where it came from.

    Attributes:
        raw: The object that the factory made.
        n: Number of weights asked for.
        m: Number of cells asked for.
        seed: Seed asked for.
    """

    raw: Any
    n: int
    m: int
    seed: int

    def cell(self, i: Any) -> Any:
        """Cell of ``i``, as it comes."""
        return self.call("cell", i)

    def sign(self, i: Any) -> Any:
        """Sign of ``i``, as it comes."""
        return self.call("sign", i)

    @property
    def as_mapping(self) -> AbstractMapping:
        """Itself, where a mapping is asked for: it answers the same questions."""
        return cast("AbstractMapping", self)

    @property
    def cells(self) -> int:
        """Declared length of S x, or else m."""
        value = self.declared("cells")
        if value is None:
            return self.m
        if not is_integer(value) or index(value) < 1:
            raise self.wrong((), f"cells={value!r}; a whole number of at least 1 is needed")
        return index(value)

    @property
    def rescale(self) -> Fraction:
        """Declared factor on products, or else 1."""
        value = self.declared("rescale")
        if value is None:
            return Fraction(1)
        factor = as_fraction(value)
        if factor is None or factor < 1:
            raise self.wrong((), f"rescale={value!r}; a number of at least 1 is needed, best a Fraction")
        return factor

    @property
    def universe(self) -> int | None:
        """Declared number of equally likely seeds, if it is finite."""
        value = self.declared("seeds")
        if value is None:
            return None
        if not is_integer(value) or index(value) < 1:
            raise self.wrong((), f"seeds={value!r}; the number of equally likely seeds is needed")
        return index(value)

    def declared(self, name: str) -> Any:
        """A declaration, or None where it is missing."""
        try:
            return getattr(self.raw, name, None)
        except Exception as error:
            raise self.wrong((), f"{name} raised {describe(error)}") from error

    def call(self, name: str, *arguments: Any) -> Any:
        """What a method returns."""
        method = self.declared(name)
        if not callable(method):
            raise self.wrong((), f"it has no method {name}, which is asked for")
        try:
            return method(*arguments)
        except Exception as error:
            where = arguments if all(map(is_integer, arguments)) else ()
            asked = "a batch" if arguments and not where else ", ".join(map(str, where))
            raise self.wrong(where, f"{name}({asked}) raised {describe(error)}") from error

    def answers(
        self, places: Sequence[int] | NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cells and signs of a batch of positions, held to be integers in their range."""
        asked = np.array(places, dtype=np.int64)
        cells, signs = (
            self.integers(name, asked, getattr(self, name)(asked.copy())) for name in ("cell", "sign")
        )
        self.check_range(asked, "cell", cells, 0, self.cells - 1)
        self.check_range(asked, "sign", signs, -1, 1)
        return cells, signs

    def integer(self, name: str, place: int) -> int:
        """Cell or sign of one position, held to be an integer."""
        value = self.call(name, place)
        if not is_integer(value):
            kind = type(value).__name__
            raise self.wrong((place,), f"{name} of an int came as {value!r} ({kind}); an int is needed")
        return index(value)

    def integers(self, name: str, asked: Any, came: Any) -> NDArray[np.int64]:
        """``came`` as int64, if it is a NumPy array of integers in the shape of ``asked``."""
        kinds = "iu" if name == "cell" else "i"
        if not isinstance(came, np.ndarray) or came.dtype.kind not in kinds or came.shape != asked.shape:
            shape = f", shape {came.shape}, dtype {came.dtype}" if hasattr(came, "dtype") else ""
            raise self.wrong(
                (),
                f"{name} of an int64 array of shape {asked.shape} came as {type(came).__name__}{shape}; "
                "an array of signed integers of the same shape is needed",
            )
        return came.astype(np.int64)

    def check_range(self, asked: Any, name: str, came: NDArray[np.int64], low: int, high: int) -> None:
        """Do nothing if all of ``came`` is in low..high."""
        outside = np.flatnonzero((came < low) | (came > high))
        if outside.size:
            k = outside[0]
            raise self.wrong((int(asked[k]),), f"{name} = {came[k]}; it must lie in {low}..{high}")

    def wrong(self, positions: Sequence[int], found: str) -> CounterExample:
        """A counter-example at this draw."""
        return CounterExample(self.n, self.m, (self.seed,), positions, found)


@dataclass(frozen=True, eq=False)
class Sample:
    """Cells and signs of some positions over many draws.

    Attributes:
        first: The first draw, asked for what it declares.
        positions: Which weights.
        seeds: Which draws.
        cells: (draws, positions) int64.
        signs: (draws, positions) int64.
        every: Whether these are all the seeds there are, equally likely.
    """

    first: Guarded
    positions: tuple[int, ...]
    seeds: Sequence[int]
    cells: NDArray[np.int64]
    signs: NDArray[np.int64]
    every: bool

    @property
    def complete(self) -> bool:
        """Whether all weights are among the positions."""
        return len(self.positions) == self.first.n

    def at(self, places: Sequence[int]) -> tuple[int, ...]:
        """Positions of some columns."""
        return tuple(self.positions[k] for k in places)

    def wrong(self, places: Sequence[int], found: str, draw: int | None = None) -> CounterExample:
        """A counter-example, in one draw or over all of them."""
        seeds = self.seeds if draw is None else (self.seeds[draw],)
        return CounterExample(self.first.n, self.first.m, seeds, self.at(places), found)


@dataclass(eq=False)
class Subject:
    """A factory under examination, and what it was found to refuse.

    Attributes:
        factory: ``factory(n, m, seed)`` makes a mapping.
        level: How far to go.
        golden: Fingerprint it must have, if any.
        first_seed: Where sampled seeds begin.
        false_alarm: Chance that a conforming mapping is accused by anything that is counted.
        refused: Sizes that it refuses, and what it says.
    """

    factory: Callable[[int, int, int], Any]
    level: Level
    golden: str | None = None
    first_seed: int = 0
    false_alarm: float = FALSE_ALARM
    refused: dict[tuple[int, int], str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the factory is called."""
        return name_of(self.factory)

    def searched(self, counted: bool) -> str:
        """Where a law looks, in words."""
        level = self.level
        if not counted:
            seeds = ", ".join(map(str, level.seeds))
            return (
                f"every n, m <= {level.most} in the order of n + m, seeds {seeds}; then single larger sizes"
            )
        few = level.rungs[0].draws
        most = max((r.n, r.m) for r in level.rungs if r.draws == few)
        larger = ", ".join(f"({r.n}, {r.m}): {r.draws}" for r in level.rungs if r.draws != few)
        return (
            f"every n <= {most[0]}, m <= {most[1]} in the order of n + m, {few} draws each; "
            f"then (n, m): draws of {larger}; then n = 2^40"
        )

    def build(self, n: int, m: int) -> Guarded | None:
        """The draw of seed 0, or None where the size is refused with a ValueError.

        Raises:
            CounterExample: If anything else is raised.
        """
        if (n, m) in self.refused:
            return None
        try:
            return Guarded(self.factory(n, m, 0), n, m, 0)
        except ValueError as error:
            self.refused[n, m] = describe(error)
            return None
        except Exception as error:
            raise CounterExample(n, m, (0,), (), f"building it raised {describe(error)}; {REFUSE}") from error

    def draw(self, n: int, m: int, seed: int) -> Guarded:
        """The draw of any seed, of a size that is not refused.

        Raises:
            CounterExample: If it cannot be built.
        """
        try:
            return Guarded(self.factory(n, m, seed), n, m, seed)
        except Exception as error:
            raise CounterExample(
                n, m, (seed,), (), f"building it raised {describe(error)}; {REFUSE}"
            ) from error

    def first(self, n: int, m: int) -> Guarded | None:
        """The draw of seed 0, or None where the size is refused, or too far for what is held."""
        return self.build(n, m) if n < FAR or self.light else None

    def draws(self, sizes: Sequence[tuple[int, int]], seeds: Sequence[int] = ()) -> Iterator[Guarded]:
        """A few draws of each size that is not refused, in the order of the sizes."""
        for n, m in sizes:
            first = self.first(n, m)
            if first is not None:
                limit = first.universe or 2**64
                for seed in dict.fromkeys(seed % limit for seed in seeds or self.level.seeds):
                    yield self.draw(n, m, seed)

    @cached_property
    def light(self) -> bool:
        """Whether it answers for many weights without holding something for each of them."""
        return self.build(*LIGHT) is not None and self.footprint(*LIGHT) < BYTES

    def footprint(self, n: int, m: int) -> int:
        """Bytes held at most while a draw is built and a few positions are asked."""
        self._touch(1024, 16)  # imports and compilers come first
        running = tracemalloc.is_tracing()
        if not running:
            tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            self._touch(n, m)
            return tracemalloc.get_traced_memory()[1] - before
        finally:
            if not running:
                tracemalloc.stop()

    @cached_property
    def drops(self) -> bool:
        """Whether it is of the pruning kind: some weights get sign 0, or products are rescaled."""
        try:
            tried = self.draws((*self.level.small, *ORDINARY))
            return any(m.rescale != 1 or (m.answers(range(m.n))[1] == 0).any() for m in tried)
        except CounterExample:  # the law that it breaks will say so
            return False

    @cached_property
    def far_sizes(self) -> tuple[tuple[int, int], ...]:
        """Sizes far beyond what a table could hold; a budget that can be kept, for pruning."""
        return FAR_SIZES[-1:] if self.drops else FAR_SIZES[:-1]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Sizes at which single draws are looked at, smallest first."""
        return [*self.level.small, *ORDINARY, *MIDDLE, LIGHT, *self.far_sizes]

    @cached_property
    def rungs(self) -> tuple[Rung, ...]:
        """Sizes whose draws are counted."""
        return (*self.level.rungs, *(Rung(*size, self.level.far_draws) for size in self.far_sizes))

    @property
    def share(self) -> float:
        """False alarm of one law at one size."""
        return self.false_alarm / (COUNTED_LAWS * len(self.rungs))

    def samples(self) -> Iterator[Sample]:
        """Samples of all sizes that are not refused, smallest first."""
        for rung in self.rungs:
            sample = self._sample(rung)
            if sample is not None:
                yield sample

    @cached_property
    def _samples(self) -> dict[Rung, Sample | None]:
        return {}

    def _sample(self, rung: Rung) -> Sample | None:
        if rung not in self._samples:
            self._samples[rung] = self._count(rung)
        return self._samples[rung]

    def _count(self, rung: Rung) -> Sample | None:
        first = self.first(rung.n, rung.m)
        if first is None:
            return None
        seeds, every = self._seeds(first, rung.draws)
        positions = counted_positions(rung.n, rung.m)
        answers = [self.draw(rung.n, rung.m, seed).answers(positions) for seed in seeds]
        cells, signs = (np.array(row) for row in zip(*answers, strict=True))
        return Sample(first, positions, seeds, cells, signs, every)

    def _seeds(self, first: Guarded, draws: int) -> tuple[Sequence[int], bool]:
        """Seeds to draw: all there are, or a sample of them; and whether it is all."""
        universe = first.universe
        if universe is None:
            return range(self.first_seed, self.first_seed + draws), False
        if universe <= self.level.universe:
            return range(universe), True
        size = universe.bit_length() // 8 + 9  # so many bytes that the remainder is uniform within 2^-64
        words = (shake_256(str(self.first_seed + t).encode()).digest(size) for t in range(draws))
        return [int.from_bytes(word, "little") % universe for word in words], False

    def _touch(self, n: int, m: int) -> None:
        mapping = self.build(n, m)
        if mapping is not None:
            places = np.array([0, 1, n // 2, n - 1])
            mapping.cell(places), mapping.sign(places)


def name_of(factory: Any) -> str:
    """Name of a factory, with the arguments that a partial fixes."""
    if isinstance(factory, partial):
        fixed = [*map(repr, factory.args), *(f"{k}={v!r}" for k, v in factory.keywords.items())]
        return f"{name_of(factory.func)}({', '.join(fixed)})"
    return getattr(factory, "__name__", None) or repr(factory)


def is_integer(value: Any) -> bool:
    """Whether it is a whole number of whatever type; True and False are not."""
    if isinstance(value, bool | np.bool_):
        return False
    try:
        index(value)
    except TypeError:
        return False
    return True


def as_fraction(value: Any) -> Fraction | None:
    """A number as a fraction, a float as the simplest one nearby; None for anything else."""
    if isinstance(value, float):
        return Fraction(value).limit_denominator(SIMPLE)
    try:
        return Fraction(value)
    except (TypeError, ValueError):
        return None


def describe(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
