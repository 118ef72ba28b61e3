"""The hash by enumeration: what reducing field values to a range does to collision probabilities.

Shows: for Q values, v * m // Q and v mod m give each cell floor(Q/m) or one more, so that two uniform
independent values meet with 1/m + b(m-b)/(m Q^2), b = Q mod m, and at any difference mod m (fold, chunk)
within that of 1/m. A block does not wrap: at a difference d != 0 of its M starts the deviation is of first
order, at most 1/(MQ) + b(M-b)/(MQ^2) scaled and 1/(8Q) + b(M-b)/(MQ^2) reduced. The shipped bounds follow,
the first for every scaled range of the real field.
Does not show: that a 64-bit seed stands in for uniform coefficients.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from proofs_checks.check import Check, Level, require
from rpstheory.hashing import NARROW, PRIME, collision_deviation, narrow_range, wide_range

Counts = Callable[[int, int], Any]


def scaled(field: int, size: int) -> Any:
    """(size,) how many of the values 0..field-1 land in each cell of v * size // field."""
    return np.bincount(np.arange(field) * size // field, minlength=size)


def reduced(field: int, size: int) -> Any:
    """(size,) how many of the values 0..field-1 land in each cell of v mod size."""
    return np.bincount(np.arange(field) % size, minlength=size)


KINDS: tuple[Counts, ...] = (scaled, reduced)


def second_order(field: int, size: int) -> Fraction:
    """b(size-b)/(size field^2), b = field mod size."""
    rest = field % size
    return Fraction(rest * (size - rest), size * field**2)


def ring(counts: Any, field: int) -> list[Fraction]:
    """Probability of each difference mod m of two independent values."""
    return [Fraction(int(counts @ np.roll(counts, step)), field**2) for step in range(len(counts))]


def line(counts: Any, field: int) -> list[Fraction]:
    """Probability of each difference 0..m-1 of two independent values, without wrapping."""
    return [
        Fraction(int(counts[step:] @ counts[: len(counts) - step]), field**2) for step in range(len(counts))
    ]


def on_the_ring(level: Level) -> str:
    """Every range up to twice the field."""
    fields = level.pick(
        [2, 3, 5, 7, 13], [2, 3, 5, 7, 9, 13, 17, 25, 31], [2, 3, 5, 7, 13, 31, 49, 61, 127, 169]
    )
    for field in fields:
        for size in range(1, 2 * field + 1):
            for kind in KINDS:
                require_ring(field, size, kind, second_order(field, size))
    return f"Q in {fields}, 1 <= m <= 2 Q, every difference mod m, both reductions"


def require_ring(field: int, size: int, kind: Counts, bound: Fraction) -> None:
    """Do nothing if values meet with 1/m + bound, and differ by any step with 1/m within the bound."""
    found = [chance - Fraction(1, size) for chance in ring(kind(field, size), field)]
    name = f"Q={field}, m={size}, {kind.__name__}"
    require(
        found[0] == bound <= Fraction(size, 4 * field**2), f"{name}: deviation {found[0]} against {bound}"
    )
    require(max(map(abs, found)) <= bound, f"{name}: deviations {[str(part) for part in found]}")


def on_the_line(level: Level) -> str:
    """Starts of blocks: every number of starts up to twice the field."""
    fields = level.pick([5, 7, 13], [5, 7, 9, 13, 17, 25, 31], [5, 7, 13, 31, 49, 61, 127])
    for field in fields:
        for size in range(1, 2 * field + 1):
            require_line(field, size, scaled, Fraction(1, size * field) + second_order(field, size))
            require_line(field, size, reduced, Fraction(1, 8 * field) + second_order(field, size))
    return f"Q in {fields}, 1 <= M <= 2 Q starts, every difference, both reductions"


def require_line(field: int, size: int, kind: Counts, bound: Fraction) -> None:
    """Do nothing if starts differ by d with (M-d)/M^2 within this bound."""
    for step, chance in enumerate(line(kind(field, size), field)):
        gap = chance - Fraction(size - step, size**2)
        require(
            abs(gap) <= bound, f"Q={field}, M={size}, {kind.__name__}, d={step}: deviation {gap} > {bound}"
        )


def first_order(level: Level) -> str:
    """Blocks exceed the bound that holds on the ring: by a factor of about P."""
    fields = level.pick([11, 101], [11, 101, 1009], [11, 101, 1009, 10007])
    for field in fields:
        require_exceeds(field, 3, 2)
    return f"M = 3 starts, d = 2, P in {fields}: |p - 1/9| > 2/(3 P^2)"


def require_exceeds(field: int, size: int, step: int) -> None:
    """Do nothing if a block's deviation at this difference exceeds b(M-b)/(M P^2)."""
    gap = line(scaled(field, size), field)[step] - Fraction(size - step, size**2)
    bound = second_order(field, size)
    require(abs(gap) > bound, f"P={field}, M={size}, d={step}: deviation {gap} within {bound}")


def block_gap(field: int, size: int, step: int) -> Fraction:
    """p - (M-d)/M^2 for reduced starts: cells below b = field mod M hold one value more than the others."""
    whole, rest = divmod(field, size)
    more = min(rest, size - step) + max(0, rest - step)
    pairs = (size - step) * whole**2 + whole * more + max(0, rest - step)
    return Fraction(pairs, field**2) - Fraction(size - step, size**2)


def huge_blocks(level: Level) -> str:
    """Reduced starts: the closed form by enumeration, then M near 2^49 and d = M/4 in the real field."""
    most = level.pick(20, 40, 100)
    for size, field in product(range(1, most), range(1, most)):
        for step, chance in enumerate(line(reduced(field, size), field)):
            gap = chance - Fraction(size - step, size**2)
            require(gap == block_gap(field, size, step), f"Q={field}, M={size}, d={step}: deviation {gap}")
    size = 4 * PRIME**2 // (4 * 2**13 + 1)
    require_huge(size, size // 4)
    return f"M, Q < {most}; M = {size} < 2^49, d = M/4, Q = (2^31 - 1)^2: M |p - (M-d)/M^2| > 2^-17"


def require_huge(size: int, step: int) -> None:
    """Do nothing if the deviation relative to 1/M exceeds 2^-17 in the real field."""
    relative = size * abs(block_gap(PRIME**2, size, step))
    require(relative > Fraction(1, 2**17), f"M={size}, d={step}: relative deviation {float(relative):.1e}")


def as_shipped(level: Level) -> str:
    """Every scaled range of the real field: the stated fraction, and below 2^-24 relative to 1/m."""
    sizes = np.arange(1, NARROW + 1, dtype=np.int64)
    rest = PRIME % sizes
    worst = int((rest * (sizes - rest)).max())
    require(
        Fraction(worst, PRIME**2) < Fraction(1, 2**24), f"relative deviation {worst}/P^2 is not below 2^-24"
    )
    for size in [1, 2, 3, 1000, NARROW - 1, NARROW, NARROW + 1, 10**9 + 7, 2**40 + 15, 2**49]:
        field = PRIME if size <= NARROW else PRIME**2
        require_stated(size, second_order(field, size))
        require(
            collision_deviation(size)[0] * 2**24 * size < collision_deviation(size)[1],
            f"m={size}: not below 2^-24",
        )
    for size in level.pick([7, 1000], [7, 1000, NARROW], [7, 1000, NARROW]):
        require_scaled(size)
    return (
        f"every m to 2^20 against P = 2^31 - 1; wide ranges at m to 2^49; largest m |p - 1/m| = {worst}/P^2"
    )


def require_stated(size: int, expected: Fraction) -> None:
    """Do nothing if the shipped bound is this fraction."""
    found = Fraction(*collision_deviation(size))
    require(found == expected, f"m={size}: stated {found}, exact {expected}")


def require_scaled(size: int) -> None:
    """Do nothing if the shipped reductions are v * m // P and (high P + low) mod m at the edges of cells."""
    cells = np.unique(np.linspace(0, size - 1, 1000, dtype=np.int64))
    first = -(-cells * PRIME // size)
    require((narrow_range(first, size) == cells).all(), f"m={size}: a cell does not start at ceil(c P/m)")
    require((narrow_range(first[1:] - 1, size) == cells[1:] - 1).all(), f"m={size}: a cell ends elsewhere")
    require(wide_range(PRIME - 1, PRIME - 1, size) == (PRIME**2 - 1) % size, f"m={size}: the last value")


CHECKS = (
    Check(
        2,
        "hash: ranges on the ring",
        "p = 1/m + b(m-b)/(mQ^2) at difference 0, within that of 1/m at any difference mod m; <= m/(4Q^2)",
        "enumeration",
        on_the_ring,
        "1/m exactly",
        lambda: require_ring(7, 3, scaled, Fraction(0)),
    ),
    Check(
        2,
        "hash: ranges on the line",
        "blocks: p = (M-d)/M^2 within 1/(MQ) + b(M-b)/(MQ^2) scaled, 1/(8Q) + b(M-b)/(MQ^2) reduced",
        "enumeration",
        on_the_line,
        "the bound of the ring",
        lambda: require_line(11, 3, scaled, second_order(11, 3)),
    ),
    Check(
        2,
        "hash: blocks are off to first order",
        "b(M-b)/(MP^2) fails for the starts of blocks at d != 0",
        "enumeration",
        first_order,
        "d = 0, where it holds",
        lambda: require_exceeds(11, 3, 0),
        scope="fails outside",
    ),
    Check(
        2,
        "hash: huge blocks",
        "M |p - (M-d)/M^2| < 2^-24 fails for reduced starts of blocks: above 2^-17 at M near 2^49",
        "enumeration",
        huge_blocks,
        "M = 2^40 starts, where it holds",
        lambda: require_huge(4 * PRIME**2 // (4 * 2**22 + 1), 2**38),
        scope="fails outside",
    ),
    Check(
        2,
        "hash: ranges as shipped",
        "collision_deviation is exact; m |p - 1/m| < 2^-24 for every m to 2^20 and wide ones to 2^49",
        "enumeration",
        as_shipped,
        "m/(4P^2) at m = 1000",
        lambda: require_stated(1000, Fraction(1000, 4 * PRIME**2)),
    ),
)
