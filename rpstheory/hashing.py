r"""Seed → streams of field values, 4-wise independent by construction.

One definition serves the mappings, the layers and every kernel. It is written with ``+ * // % >> &``
alone, so Python integers, NumPy, CuPy, torch int64 and array-API arrays give the same integers.

**Field values.** P = 2^31 - 1 is prime. A position $t < 2^{60}$ is written $t = u P + v$ with
$v < P$, and its value is the bivariate polynomial

$$ f(t) = \sum_{j,k \le 3} c_{jk}\, v^j u^k \bmod P. $$

For distinct $t_1 … t_4$ the vectors $(1,v,v^2,v^3) \otimes (1,u,u^2,u^3)$ are linearly independent
(group them by $u$: Vandermonde outside, Vandermonde inside), so uniform independent $c_{jk}$ make
$f(t_1) … f(t_4)$ uniform and independent: *exactly* 4-wise, for every position below $P^2$. While all
positions are below P only the four $c_{j0}$ are used. All products stay below 2^62.

**From field values to what mappings need**, with the deviation from exact uniformity:

============  ========================================  ===========================================
what          how                                       deviation
============  ========================================  ===========================================
16 signs      bits 0..15 of the value of one word       total variation below 2^-31 a word
range <=2^20  ``v * range // P``                        b(range-b)/(range P^2) in a collision
                                                        probability, b = P mod range; <= range/(4P^2)
range > 2^20  ``(v * P + w) % range``, two values       the same with P^2 for P
============  ========================================  ===========================================

A word of 16 signs is exactly (1 - 2^-16)/P from uniform; the mean of a product of any of its signs is
-1/P or 1/P, and over several words these multiply. Relative to 1/range a collision probability is off by
less than 2^-24, at any range up to 2^49, where chunks meet at equal offsets or on the ring of cells
(hashed, chunk, fold). Block starts do not lie on a ring: at unequal offsets their collision probability may
be off by 1/(range P) more, and by 1/(8 P^2) more for wide ranges.

**Seeds.** Coefficient c of a seed is ``mix(mix(seed + g) + (c + 1) g) mod P``, the SplitMix64
finaliser (Steele, Lea, Flood 2014): "proved for the shipped hash" means proved for independent
uniform coefficients; that a 64-bit seed stands in for them is the only thing taken on trust.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

PRIME = 2**31 - 1
MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15
FIRST_MULTIPLIER = 0xBF58476D1CE4E5B9
SECOND_MULTIPLIER = 0x94D049BB133111EB

SIGNS_PER_WORD = 16
NARROW = 2**20
COEFFICIENTS = 16

SIGN_STREAM, START_STREAM, START_LOW_STREAM, KEEP_STREAM = 0, 1, 2, 3


def mix(word: Any) -> Any:
    """SplitMix64's finaliser: a bijection of 64-bit words (Python int or uint64 array)."""
    word = ((word ^ (word >> 30)) * FIRST_MULTIPLIER) & MASK
    word = ((word ^ (word >> 27)) * SECOND_MULTIPLIER) & MASK
    return word ^ (word >> 31)


def coefficient(seed: Any, number: int) -> Any:
    """Field element ``number`` of a seed (or of each seed in a uint64 array), in 0..P-1."""
    key = mix((seed + GOLDEN) & MASK)
    element = mix((key + ((number + 1) * GOLDEN & MASK)) & MASK) % PRIME
    return element if isinstance(element, int) else element.astype("int64")


def coefficients(seed: Any, stream: int, count: int) -> tuple[Any, ...]:
    """The 4 coefficients of a stream, or all 16 where positions go beyond the field."""
    number = 4 if count <= PRIME else COEFFICIENTS
    return tuple(coefficient(seed, COEFFICIENTS * stream + c) for c in range(number))


def horner(c: tuple[Any, ...], v: Any) -> Any:
    """c0 + c1 v + c2 v^2 + c3 v^3 mod P, for 0 <= v < P."""
    value = (c[3] * v + c[2]) % PRIME
    value = (value * v + c[1]) % PRIME
    return (value * v + c[0]) % PRIME


def field_values(c: tuple[Any, ...], position: Any) -> Any:
    """4-wise independent values in 0..P-1; positions below P for 4 coefficients, 2^60 for 16."""
    if len(c) == 4:
        return horner(c, position)
    outer, inner = position // PRIME, position % PRIME
    rows = tuple(horner(tuple(c[j + 4 * k] for k in range(4)), outer) for j in range(4))
    return horner(rows, inner)


def narrow_range(value: Any, size: int) -> Any:
    """One field value scaled to 0..size-1 (size <= 2^20)."""
    return value * size // PRIME


def wide_range(high: Any, low: Any, size: int) -> Any:
    """Two field values folded to 0..size-1 (any size up to 2^60)."""
    return (high * PRIME + low) % size


def sign_of_bit(word: Any, bit: Any) -> Any:
    """+1 where the bit of the word is 0, -1 where it is 1."""
    return 1 - 2 * ((word >> bit) & 1)


@dataclass(frozen=True)
class Signs:
    """A sign for each of ``count`` positions: 4-wise independent, 16-wise inside a word."""

    seed: int
    count: int

    @cached_property
    def _coefficients(self) -> tuple[int, ...]:
        return coefficients(self.seed, SIGN_STREAM, -(-self.count // SIGNS_PER_WORD))

    def __call__(self, position: Any) -> Any:
        """Signs in {-1, +1} at int or int64-array positions."""
        word = field_values(self._coefficients, position // SIGNS_PER_WORD)
        return sign_of_bit(word, position % SIGNS_PER_WORD)


@dataclass(frozen=True)
class Uniform:
    """An integer in 0..size-1 for each of ``count`` positions, 4-wise independent."""

    seed: int
    stream: int
    count: int
    size: int

    @cached_property
    def _high(self) -> tuple[int, ...]:
        return coefficients(self.seed, self.stream, self.count)

    @cached_property
    def _low(self) -> tuple[int, ...]:
        return coefficients(self.seed, self.stream + 1, self.count)

    def __call__(self, position: Any) -> Any:
        """Values in 0..size-1 at int or int64-array positions."""
        high = field_values(self._high, position)
        if self.size <= NARROW:
            return narrow_range(high, self.size)
        return wide_range(high, field_values(self._low, position), self.size)


def collision_deviation(size: int) -> tuple[int, int]:
    """Bound on |p - 1/size| for two positions of :class:`Uniform`, as an exact fraction (a, b).

    Counts of the cells are floor or ceil of Q/size, Q = P or P^2, so the deviation is exactly
    b(size-b)/(size Q^2), b = Q mod size. Source: proofs_checks, claim 2.
    """
    field = PRIME if size <= NARROW else PRIME**2
    rest = field % size
    return rest * (size - rest), size * field**2
