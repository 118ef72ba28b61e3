"""What a mapping declares about chance, read as exact fractions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np

from rpstheory import closed_form
from rpstheory.conformance.law import CounterExample
from rpstheory.conformance.sizes import ALL_POSITIONS
from rpstheory.conformance.subject import Guarded, as_fraction
from rpstheory.mappings import KeepBernoulli, KeepExact

ROUNDING = 2.0**-30  # of floats; what is declared in fractions is compared exactly
Meeting = Callable[[int, int], Fraction | None]


def meeting(mapping: Guarded) -> Meeting | None:
    """Declared probability that two weights share a cell, from its function or from its sum.

    What it gives is None where what is declared is no number.
    """
    if mapping.declared("collision_probability") is not None:
        return lambda i, j: as_fraction(mapping.call("collision_probability", i, j))
    if mapping.declared("collision_sum") is not None and mapping.n <= ALL_POSITIONS:
        return lambda i, j: as_fraction(collision_sum(mapping, unit(mapping, i), unit(mapping, j)))
    return None


def probabilities(mapping: Guarded, places: Sequence[int]) -> dict[tuple[int, int], Fraction] | None:
    """Declared probability to meet for each pair of some positions, held to be one and the same both ways."""
    chance, found = meeting(mapping), {}
    if chance is None:
        return None
    for i, j in combinations(places, 2):
        p = chance(i, j)
        if p is None or not 0 <= p <= 1 or p != chance(j, i):
            raise mapping.wrong(
                (i, j),
                f"declared to meet with probability {p}, and {chance(j, i)} the other way; it lies in 0..1",
            )
        found[i, j] = p
    return found


def collision_sum(mapping: Guarded, a: Any, b: Any) -> Any:
    """Declared sum of p_ij a_i b_j, asked with fractions, or with floats if it cannot take those.

    Raises:
        CounterExample: If it can take neither.
    """
    try:
        return mapping.call("collision_sum", a, b)
    except CounterExample as example:
        if not isinstance(example.__cause__, TypeError):
            raise
        return mapping.call("collision_sum", a.astype(np.float64), b.astype(np.float64))


def variance(mapping: Guarded) -> Callable[[Any, Any], Any] | None:
    """Declared variance of the rescaled <Sx, Sy>, by a method of its own or by the closed form."""
    if mapping.declared("inner_product_variance") is not None:
        return lambda x, y: mapping.call("inner_product_variance", x, y)
    if isinstance(mapping.raw, KeepBernoulli | KeepExact):
        return lambda x, y: closed_form.inner_product_variance(mapping.raw, x, y)
    return None


def check_sums(mapping: Guarded) -> None:
    """Do nothing if what is declared about sums over pairs is the sum of what is declared of each."""
    chances = probabilities(mapping, range(mapping.n)) if mapping.n <= ALL_POSITIONS else None
    if chances is None:
        return
    x, y = whole_numbers(mapping.n)

    def over_pairs(term: Callable[[int, int], Any]) -> Fraction:
        return sum((p * term(i, j) for (i, j), p in chances.items()), Fraction(0))

    if mapping.declared("collision_sum") is not None:
        wanted = over_pairs(lambda i, j: x[i] * y[j] + x[j] * y[i])
        _same_number(mapping, "collision_sum(x, y)", collision_sum(mapping, x, y), wanted)
    declared = variance(mapping)
    if declared is not None:
        wanted = over_pairs(lambda i, j: (x[i] * y[j] + x[j] * y[i]) ** 2)
        _same_number(mapping, "inner_product_variance(x, y)", declared(x, y), wanted)


def unit(mapping: Guarded, *places: int) -> Any:
    """1 at some places, 0 elsewhere, as fractions."""
    return np.array([Fraction(int(i in places)) for i in range(mapping.n)], dtype=object)


def whole_numbers(n: int) -> tuple[Any, Any]:
    """Two vectors of small whole numbers, no two entries of which play the same part."""
    x = [Fraction((7 * i * i + 3 * i) % 11 - 4) for i in range(n)]
    y = [Fraction((5 * i * i + i + 2) % 13 - 6) for i in range(n)]
    return np.array(x, dtype=object), np.array(y, dtype=object)


def _same_number(mapping: Guarded, what: str, came: Any, wanted: Fraction) -> None:
    found = as_fraction(came)
    close = isinstance(came, float) and abs(came - wanted) <= ROUNDING * (1 + abs(wanted))
    if found != wanted and not close:
        x, y = ([int(v) for v in row] for row in whole_numbers(mapping.n))
        raise mapping.wrong((), f"{what} = {came}, the pairs sum to {wanted}, for x={x}, y={y}")
