"""Broken hashes: what is between a seed and the cells and signs."""

from __future__ import annotations

from typing import Any

from proofs_checks.mutants.catchers import claim, law
from proofs_checks.mutants.mutant import Mutant
from rpstheory.hashing import MASK, PRIME, SIGNS_PER_WORD, horner
from rpstheory.mappings import Fold

TURN = SIGNS_PER_WORD * PRIME  # signs until the field begins again
BYTE = 256


def overflowing(c: tuple[Any, ...], v: Any) -> Any:
    """The cubic in one go, reduced at the end: right with Python's integers, wrong in 64 bits."""
    return (((c[3] * v + c[2]) * v + c[1]) * v + c[0]) % PRIME


def quadratic(c: tuple[Any, ...], v: Any) -> Any:
    """One degree less."""
    return horner((*c[:3], 0), v)


def folded_position(c: tuple[Any, ...], position: Any) -> Any:
    """Positions modulo the field."""
    return horner(c[:4], position % PRIME)


def unmixed(c: tuple[Any, ...], position: Any) -> Any:
    """A polynomial in v plus one in u."""
    if len(c) == 4:
        return horner(c, position)
    return (horner((*c[:4],), position % PRIME) + horner((0, *c[4::4]), position // PRIME)) % PRIME


def never_last(value: Any, size: int) -> Any:
    """0..size-2."""
    return value * max(1, size - 1) // PRIME


def one_byte(value: Any, size: int) -> Any:
    """The lowest byte modulo the size."""
    return value % BYTE % size


def identity(word: Any) -> Any:
    """The word as it is."""
    return word & MASK


MUTANTS = (
    Mutant(
        "products wrap",
        "hash",
        "the cubic is reduced only at the end, and int64 overflows",
        "rpstheory.hashing:horner",
        overflowing,
        (law("arrays", Fold),),
    ),
    Mutant(
        "a degree less",
        "hash",
        "quadratic polynomials: 3-wise independent field values",
        "rpstheory.hashing:horner",
        quadratic,
        (
            claim(
                2,
                f"sign moment at 0, {SIGNS_PER_WORD}, {2 * SIGNS_PER_WORD}, {3 * SIGNS_PER_WORD}",
                discrepancy=0.02,
            ),
        ),
    ),
    Mutant(
        "positions collide beyond the field",
        "hash",
        "a position is hashed modulo P",
        "rpstheory.hashing:field_values",
        folded_position,
        (claim(2, f"sign moment at 3, {3 + TURN}"), claim(2, f"P(same cell) of chunks 3, {3 + PRIME}, m=7")),
    ),
    Mutant(
        "no mixed terms",
        "hash",
        "beyond the field a polynomial in i mod P plus one in i div P",
        "rpstheory.hashing:field_values",
        unmixed,
        (claim(2, f"sign moment at 0, {SIGNS_PER_WORD}, {TURN}, {TURN + SIGNS_PER_WORD}"),),
    ),
    Mutant(
        "shift never m - 1",
        "hash",
        "starts are uniform on 0..m-2",
        "rpstheory.hashing:narrow_range",
        never_last,
        (law("collisions", Fold), claim(8, "worst case 1/m at n = m+1, as pruning's", discrepancy=0.02)),
    ),
    Mutant(
        "shift from one byte",
        "hash",
        "starts are a byte modulo m: fair to the eye for small m",
        "rpstheory.hashing:narrow_range",
        one_byte,
        (claim(2, "mean start of chunk 5, m=1000"),),
    ),
    Mutant(
        "seeds not mixed",
        "hash",
        "the coefficients of consecutive seeds are consecutive",
        "rpstheory.hashing:mix",
        identity,
        (law("signs", Fold), law("seeds", Fold)),
    ),
)
