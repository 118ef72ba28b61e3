"""Every way to get a mapping wrong is caught, by the law that names it, at the smallest size."""

import itertools
import json
import random
from fractions import Fraction

import numpy as np
import pytest

from rpstheory import KeepExact, Top, inner_product_variance
from rpstheory.claims import broken
from rpstheory.conformance import LawBroken, check_mapping, laws
from rpstheory.hashing import PRIME, mix


class Free:
    """A right mapping that knows nothing of this package's classes: a word for every weight."""

    def __init__(self, n, m, seed):
        self.n, self.m, self.seed = n, m, seed
        self.key = mix(mix(seed + 1)) % 2**40

    def word(self, stream, place):
        """63 random bits for each position."""
        return (mix(mix(place + (self.key + (stream << 60)) % 2**64)) >> 1).astype(np.int64)

    def cells_of(self, place):
        return self.word(0, place) % self.m

    def signs_of(self, place):
        return 1 - 2 * (self.word(1, place) % 2)

    def cell(self, i):
        return self.answer(i, self.cells_of)

    def sign(self, i):
        return self.answer(i, self.signs_of)

    def answer(self, i, of):
        found = of(np.atleast_1d(np.asarray(i)).astype(np.uint64))
        return int(found[0]) if np.ndim(i) == 0 else found

    def collision_probability(self, i, j):
        return Fraction(1, self.m)


class Laps(Free):
    """A right fold of the same kind, with the declarations of a fold."""

    def start(self, lap):
        return self.word(0, lap) % self.m

    def cells_of(self, place):
        return (self.start(place // self.m) + (place % self.m).astype(np.int64)) % self.m

    def collision_probability(self, i, j):
        return Fraction(i // self.m != j // self.m, self.m)

    @property
    def pareto_continuous(self):
        return self.n <= self.m


class Subset:
    """Right random pruning for few weights: a table of what is kept."""

    def __init__(self, n, m, seed):
        if m > n or n > 1024:
            raise ValueError(f"m={m} of n={n} weights cannot be kept")
        self.n, self.m, self.cells, self.rescale = n, m, n, Fraction(n, m)
        self.kept = self.draw(n, m, random.Random(seed))

    def draw(self, n, m, chance):
        kept = np.zeros(n, dtype=np.int64)
        kept[chance.sample(range(n), m)] = 1
        return kept

    def cell(self, i):
        return i if np.ndim(i) == 0 else np.array(i, dtype=np.int64)

    def sign(self, i):
        return int(self.kept[i]) if np.ndim(i) == 0 else self.kept[np.asarray(i)]

    def inner_product_variance(self, x, y):
        return inner_product_variance(KeepExact(self.n, self.m, 0), x, y)


class Coins:
    """A right mapping with as many seeds as it has draws: a cell and a coin for each of few weights."""

    def __init__(self, n, m, seed):
        if n > 16:
            raise ValueError("too many seeds")
        self.n, self.m, self.seeds = n, m, (2 * m) ** n
        self.draw = [seed // (2 * m) ** i % (2 * m) for i in range(n)]

    def cell(self, i):
        return self.draw[i] // 2 if np.ndim(i) == 0 else np.array(self.draw)[i] // 2

    def sign(self, i):
        return 1 - 2 * (self.draw[i] % 2) if np.ndim(i) == 0 else 1 - 2 * (np.array(self.draw)[i] % 2)

    def collision_probability(self, i, j):
        return Fraction(1, self.m)

    def collision_sum(self, a, b):
        return (a.sum() * b.sum() - (a * b).sum()) / self.m


# ------------------------------------------------------------------------------ what comes back


class RefusesEqualSizes(Free):
    def __init__(self, n, m, seed):
        if n <= m:
            raise ValueError("only compression is served")
        super().__init__(n, m, seed)


class CrashesAtOneCell(Free):
    def __init__(self, n, m, seed):
        super().__init__(n, m, seed)
        self.bits = 64 // (m - 1)


class CrashesWhenAsked(Free):
    def cells_of(self, place):
        return super().cells_of(place) if self.m <= self.n else [][self.n]


class RefusesSomeSeeds(Free):
    def __init__(self, n, m, seed):
        if seed % 2:
            raise ValueError("odd")
        super().__init__(n, m, seed)


class IgnoresN(Free):
    def __init__(self, n, m, seed):
        super().__init__(16, m, seed)


class RoundsTheBankUp(Free):
    def __init__(self, n, m, seed):
        super().__init__(n, 1 << (m - 1).bit_length(), seed)


class ShrinksProducts(Free):
    rescale = Fraction(1, 2)


class HoldsATable(Free):
    def __init__(self, n, m, seed):
        super().__init__(n, m, seed)
        self.table = super().cells_of(np.arange(n, dtype=np.uint64))

    def cells_of(self, place):
        return self.table[place]


class RunsOverTheEnd(Laps):
    def cells_of(self, place):
        return self.start(place // self.m) + (place % self.m).astype(np.int64)


class FloatSigns(Free):
    def signs_of(self, place):
        return super().signs_of(place).astype(np.float64)


class FloatSignOfOne(Free):
    def sign(self, i):
        return float(super().sign(i)) if np.ndim(i) == 0 else super().sign(i)


class WeightedSigns(Free):
    def signs_of(self, place):
        return 2 * super().signs_of(place)


class UnsignedCellsBelowZero(Free):
    def cells_of(self, place):
        return super().cells_of(place) - 1


class FlatAnswers(Free):
    def answer(self, i, of):
        found = super().answer(i, of)
        return found if np.ndim(i) < 2 else found.ravel()


class QuadraticOverflow(Free):
    """Its integers of 64 bits overflow in arrays, where Python's do not."""

    def cell(self, i):
        i = i if np.ndim(i) == 0 else i.astype(np.int64)
        a, b = self.key % PRIME, self.key // 5 % PRIME
        return (a * i * i + b * i + self.seed) % PRIME % self.m


class NarrowOverflow(Free):
    """Computes in the type of the question."""

    def cell(self, i):
        return (
            super().cell(i * 3 + 1)
            if np.ndim(i) == 0
            else super().cell(i * i.dtype.type(3) + i.dtype.type(1))
        )


class DrawsWhenAsked(Free):
    def cell(self, i):
        drawn = np.random.default_rng(self.seed).integers(self.m, size=np.shape(i))
        return int(drawn) if np.ndim(i) == 0 else drawn


# ------------------------------------------------------------------------------ sameness


class Unseeded(Free):
    counter = itertools.count()

    def __init__(self, n, m, seed):
        super().__init__(n, m, next(self.counter))


class UsesTheGlobalGenerator(Free):
    def __init__(self, n, m, seed):
        super().__init__(n, m, seed)
        random.seed(seed)
        self.key = random.getrandbits(40)


class UsesNumpysGlobalGenerator(Free):
    def __init__(self, n, m, seed):
        super().__init__(n, m, seed)
        np.random.seed(seed)  # noqa: NPY002
        self.key = int(np.random.randint(2**31))  # noqa: NPY002


class ForgetsAfterAWhile(Free):
    asked = 0

    def signs_of(self, place):
        self.asked += 1
        return super().signs_of(place) * (1 if self.asked < 4 else -1)


class CachesByShape(Free):
    """Right for one question of each shape, wrong for the next."""

    def __init__(self, n, m, seed):
        super().__init__(n, m, seed)
        self.cache = {}

    def cell(self, i):
        if np.ndim(i) == 0:
            return super().cell(i)
        return self.cache.setdefault((np.shape(i), str(i.dtype)), super().cell(i)).copy()


class HandsOutItsAnswers(Free):
    """Remembers the last answer by its question, and hands out the very array that it remembers."""

    def __init__(self, n, m, seed):
        super().__init__(n, m, seed)
        self.cache = {}

    def cell(self, i):
        if np.ndim(i) == 0:
            return super().cell(i)
        return self.cache.setdefault((np.shape(i), i.tobytes()), super().cell(i))


class WritesIntoTheQuestion(Free):
    def cell(self, i):
        if np.ndim(i) == 0:
            return super().cell(i)
        i %= max(1, self.n // 2)
        return super().cell(i)


class SharesAClassVariable(Free):
    """Right until another object is built."""

    latest = 0

    def __init__(self, n, m, seed):
        super().__init__(n, m, seed)
        type(self).latest = self.key

    def signs_of(self, place):
        self.key = self.latest
        return super().signs_of(place)


class RecordWithoutTheSeed(Free):
    def to_json(self):
        return json.dumps([self.n, self.m])


class RecordInTwoLines(Free):
    def to_json(self):
        return json.dumps([self.n, self.m, self.seed], indent=1)


class RecordThatIsRepr(Free):
    def to_json(self):
        return f"Free({self.n}, {self.m}, {self.seed})"


class RecordOfTheObject(Free):
    def to_json(self):
        return json.dumps([self.n, self.m, self.seed, id(self)])


class RecordReadBadly(Free):
    def to_json(self):
        return json.dumps([self.n, self.m, self.seed])

    @classmethod
    def from_json(cls, text):
        n, m, _ = json.loads(text)
        return cls(n, m, 5)


# ------------------------------------------------------------------------------ S itself


class RecordThatCannotBeRead(RecordReadBadly):
    @classmethod
    def from_json(cls, text):
        return cls(**json.loads(text))


class RecordThatCannotBeWritten(Free):
    def to_json(self):
        return json.dumps({"n": self.n, "m": self.m, "key": np.int64(self.key)})


class AveragingExpand(Free):
    """What is read from a cell is divided by the weights that share it."""

    def compress(self, x):
        place = np.arange(self.n)
        return np.bincount(self.cell(place), self.sign(place) * x, minlength=self.m).astype(np.int64)

    def expand(self, z):
        cells = self.cell(np.arange(self.n))
        return z[cells] * self.sign(np.arange(self.n)) / np.bincount(cells, minlength=self.m)[cells]


class CompressWithoutSigns(AveragingExpand):
    def compress(self, x):
        return np.bincount(self.cell(np.arange(self.n)), x, minlength=self.m).astype(np.int64)


class LapOffByOne(Laps):
    def cells_of(self, place):
        return (self.start((place + 1) // self.m) + (place % self.m).astype(np.int64)) % self.m


class SeedsPerModule(Laps):
    """Modules of three weights, each folded by itself from position 0, with rotations of its own."""

    def cells_of(self, place):
        module, local = place // 3, place % 3
        lap = 3 * module + local // self.m
        return (self.start(lap) + (local % self.m).astype(np.int64)) % self.m


class NeverUsesTheLastCell(Free):
    collision_probability = None

    def cells_of(self, place):
        return self.word(0, place) % max(1, self.m - 1)


class ContinuousInName(Free):
    @property
    def pareto_continuous(self):
        return self.n <= self.m


class KeepsAllInName(Subset):
    pareto_continuous = True


class PlainMeanScaler(Free):
    """The square of the sum over the number, where the sum of the squares is safe."""

    def effective_scaler(self, scales):
        cells = self.cell(np.arange(self.n)).tolist()
        shared = [[s for s, c in zip(scales, cells, strict=True) if c == k] for k in range(self.m)]
        return [sum(row) ** 2 / len(row) if row else 0 for row in shared]


class NoScaler(Free):
    def effective_scaler(self, scales):
        return [1] * self.m


class ScalerOfTheWeights(Free):
    def effective_scaler(self, scales):
        return [s * s for s in scales]


# ------------------------------------------------------------------------------ chance


class IgnoresTheSeed(Free):
    def __init__(self, n, m, seed):
        super().__init__(n, m, 0)


class SeedOfOneBit(Free):
    def __init__(self, n, m, seed):
        super().__init__(n, m, seed % 2)


class OneSign(Free):
    def signs_of(self, place):
        return super().signs_of(place) * 0 + 1


class SignFromTheCellsHash(Free):
    def signs_of(self, place):
        return 1 - 2 * (self.word(0, place) % 2)


class SignSometimesZero(Free):
    def signs_of(self, place):
        return self.word(1, place) % 3 - 1


class SignsRepeatBeyondTheField(Free):
    def signs_of(self, place):
        return super().signs_of(place % PRIME)


class PositionsOf32Bits(Free):
    def word(self, stream, place):
        return super().word(stream, place % 2**32)


class TwoWiseSigns(Free):
    """The parity of the bits that i + 1 shares with one random word."""

    def signs_of(self, place):
        bits = (place + 1) & self.key
        for shift in (32, 16, 8, 4, 2, 1):
            bits = bits ^ (bits >> shift)
        return 1 - 2 * (bits & 1).astype(np.int64)


class FirstSignTellsItsCell(Free):
    def signs_of(self, place):
        parity = 1 - 2 * (self.cells_of(place) % 2)
        return np.where((place == 0) & (self.m % 2 == 0), parity, super().signs_of(place))


class ShiftsLeanToZero(Laps):
    def start(self, lap):
        return np.minimum(self.word(0, lap) % self.m, self.word(2, lap) % self.m)


class PairsOfOneLapCounted(Laps):
    """1/m for every pair, where it is 0 inside a lap: k in place of k - 1."""

    def collision_probability(self, i, j):
        return Fraction(1, self.m)


class HalfTheSum(Free):
    """The sum over i < j, where it is over i != j."""

    def collision_sum(self, a, b):
        return (a.sum() * b.sum() - (a * b).sum()) / self.m / 2


class DroppedCrossTerm(Free):
    def inner_product_variance(self, x, y):
        return ((x * x).sum() * (y * y).sum() - (x * x * y * y).sum()) / self.m


class ProbabilityAboveOne(Free):
    def collision_probability(self, i, j):
        return Fraction(2)


class SeedPlusPosition(Free):
    def __init__(self, n, m, seed):
        super().__init__(n, m, seed)
        self.key = seed


class HalfOfTheSeed(Laps):
    """The draw of an odd seed is that of the next."""

    def __init__(self, n, m, seed):
        super().__init__(n, m, (seed + 1) // 2)


class CellsOfHalfTheSeed(Laps):
    """Signs of the seed, cells of half the seed."""

    def cells_of(self, place):
        return Laps(self.n, self.m, self.seed // 2).cells_of(place)


class IgnoresABitOfTheSeed(Laps):
    def __init__(self, n, m, seed):
        super().__init__(n, m, seed & ~(1 << 40))


class SeedAsAFloat(Laps):
    def __init__(self, n, m, seed):
        super().__init__(n, m, int(float(seed)))


class KeepsTheFirst(Subset):
    def draw(self, n, m, chance):
        return (np.arange(n) < m).astype(np.int64)


class KeepsOneTooMany(Subset):
    def draw(self, n, m, chance):
        return super().draw(n, min(n, m + 1), chance)


class KeepsAWindow(Subset):
    """Every weight as often as it should be, but neighbours together."""

    def draw(self, n, m, chance):
        return ((np.arange(n) - chance.randrange(n)) % n < m).astype(np.int64)


class NotRescaled(Subset):
    def __init__(self, n, m, seed):
        super().__init__(n, m, seed)
        self.rescale = Fraction(1)


class LoadedCoins(Coins):
    """One of many draws is another one's copy."""

    def __init__(self, n, m, seed):
        super().__init__(n, m, seed if seed else 1)


def first_lap_unsigned(n, m, seed):
    """Allowed as far as mean and variance go."""
    if n < m:
        raise ValueError("only whole laps")
    return broken.FirstLapUnsigned(n, m, seed)


def top(n, m, seed):
    """Pruning by a score: no random mapping, and biased."""
    if m > n or n > 1024:
        raise ValueError("too many")
    return Top(np.random.default_rng(0).normal(size=n), m)


CAUGHT = [
    (RefusesEqualSizes, "sizes", 16, 16),
    (CrashesAtOneCell, "sizes", 1, 1),
    (CrashesWhenAsked, "sizes", 1, 2),
    (RefusesSomeSeeds, "sizes", 1, 1),
    (IgnoresN, "sizes", 1, 1),
    (RoundsTheBankUp, "sizes", 1, 3),
    (ShrinksProducts, "sizes", 1, 1),
    (HoldsATable, "memory", 2**20, 2**10),
    (RunsOverTheEnd, "range", 2, 2),
    (FloatSigns, "range", 1, 1),
    (FloatSignOfOne, "range", 1, 1),
    (WeightedSigns, "range", 1, 1),
    (UnsignedCellsBelowZero, "range", 1, 1),
    (FlatAnswers, "arrays", 1, 1),
    (QuadraticOverflow, "arrays", 2**20, 2**10),
    (NarrowOverflow, "arrays", 100, 7),
    (DrawsWhenAsked, "arrays", 2, 2),
    (Unseeded, "determinism", 1, 1),
    (UsesTheGlobalGenerator, "purity", 1, 1),
    (UsesNumpysGlobalGenerator, "purity", 1, 1),
    (ForgetsAfterAWhile, "purity", 1, 1),
    (CachesByShape, "arrays", 2, 3),
    (HandsOutItsAnswers, "purity", 1, 2),
    (WritesIntoTheQuestion, "purity", 2, 1),
    (SharesAClassVariable, "purity", 1, 1),
    (RecordWithoutTheSeed, "record", 1, 1),
    (RecordInTwoLines, "record", 1, 1),
    (RecordThatIsRepr, "record", 1, 1),
    (RecordOfTheObject, "record", 1, 1),
    (RecordReadBadly, "record", 1, 1),
    (RecordThatCannotBeRead, "record", 1, 1),
    (RecordThatCannotBeWritten, "record", 1, 1),
    (LapOffByOne, "load", 2, 2),
    (SeedsPerModule, "load", 4, 2),
    (NeverUsesTheLastCell, "load", 2, 2),
    (IgnoresTheSeed, "unbiased", 2, 1),
    (SeedOfOneBit, "unbiased", 3, 1),
    (OneSign, "unbiased", 2, 1),
    (SignFromTheCellsHash, "unbiased", 2, 2),
    (SignSometimesZero, "unbiased", 1, 1),
    (SignsRepeatBeyondTheField, "unbiased", 2**40, 5),
    (PositionsOf32Bits, "unbiased", 2**40, 5),
    (KeepsTheFirst, "unbiased", 2, 1),
    (KeepsOneTooMany, "unbiased", 2, 1),
    (NotRescaled, "unbiased", 2, 1),
    (LoadedCoins, "unbiased", 2, 1),
    (top, "unbiased", 2, 1),
    (TwoWiseSigns, "variance", 5, 1),
    (KeepsAWindow, "variance", 11, 2),
    (first_lap_unsigned, "signs", 1, 1),
    (FirstSignTellsItsCell, "signs-and-cells", 1, 2),
    (ShiftsLeanToZero, "collisions", 11, 2),
    (SeedPlusPosition, "seeds", 2, 1),
    (HalfOfTheSeed, "seeds", 1, 1),
    (CellsOfHalfTheSeed, "seeds", 11, 2),
    (IgnoresABitOfTheSeed, "seeds", 1000, 300),
    (SeedAsAFloat, "seeds", 1000, 300),
    (KeepsAllInName, "pareto", 2, 1),
    (broken.NoSigns, "unbiased", 2, 1),
    (broken.SignsOfCells, "unbiased", 2, 1),
    (broken.SignsOfLaps, "variance", 4, 2),
    (broken.ThreeWiseSigns, "variance", 4, 1),
    (broken.ArithmeticShifts, "collisions", 5, 2),
]

# Their draws are those of a right mapping; what they say of them is wrong.
SAY_WRONG = [
    (AveragingExpand, "adjoint", 2, 1),
    (CompressWithoutSigns, "adjoint", 1, 1),
    (PairsOfOneLapCounted, "collisions", 2, 2),
    (DroppedCrossTerm, "collisions", 2, 1),
    (HalfTheSum, "collisions", 2, 1),
    (ProbabilityAboveOne, "collisions", 2, 1),
    (ContinuousInName, "pareto", 2, 2),
    (PlainMeanScaler, "training", 2, 1),
    (NoScaler, "training", 1, 1),
    (ScalerOfTheWeights, "training", 1, 2),
]


@pytest.mark.parametrize(("mapping", "law", "n", "m"), CAUGHT, ids=lambda v: getattr(v, "__name__", None))
def test_broken_mapping_is_caught_by_its_law_at_its_smallest_size(mapping, law, n, m):
    with pytest.raises(LawBroken) as caught:
        check_mapping(mapping)
    violation = caught.value.violation
    assert (violation.law, violation.n, violation.m) == (law, n, m)
    assert violation.mapping == mapping.__name__


@pytest.mark.parametrize(("mapping", "law", "n", "m"), SAY_WRONG, ids=lambda v: getattr(v, "__name__", None))
def test_wrong_declaration_is_caught_by_its_law_at_its_smallest_size(mapping, law, n, m):
    with pytest.raises(LawBroken) as caught:
        check_mapping(mapping, laws=[law])
    assert (caught.value.violation.n, caught.value.violation.m) == (n, m)


@pytest.mark.parametrize(
    ("mapping", "not_asked"),
    [
        (Free, "record golden pareto"),
        (Laps, "record golden"),
        (Subset, "memory record golden signs signs-and-cells collisions pareto"),
        (Coins, "memory record golden seeds pareto"),
    ],
)
def test_right_mapping_that_subclasses_nothing_obeys_every_law_that_concerns_it(mapping, not_asked):
    outcomes = check_mapping(mapping).outcomes
    assert [name for name, outcome in outcomes.items() if outcome.status != "holds"] == not_asked.split()
    assert list(outcomes) == [law.name for law in laws()]


class WithoutSigns(Free):
    sign = None


class SignRaises(Free):
    def sign(self, i):
        raise RuntimeError("no signs today")


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        (WithoutSigns, "it has no method sign, which is asked for"),
        (SignRaises, r"sign\(0\) raised RuntimeError: no signs today"),
    ],
)
def test_method_that_is_missing_or_raises_is_named(mapping, words):
    with pytest.raises(
        LawBroken, match=rf"(?s)a cell and a sign at both ends.*{words}.*by its cell and its sign"
    ):
        check_mapping(mapping)


def test_fold_with_an_unsigned_lap_is_unbiased_and_has_the_variance_of_the_theory():
    outcomes = check_mapping(first_lap_unsigned, laws=["unbiased", "variance"]).outcomes
    assert [outcome.status for outcome in outcomes.values()] == ["holds", "holds"]


def test_every_law_catches_a_broken_mapping():
    assert {law for _, law, _, _ in CAUGHT + SAY_WRONG} | {"golden"} == {law.name for law in laws()}
