"""Broken mappings: a rule of the shipped ones replaced, so that every fold breaks it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from proofs_checks.mutants.catchers import claim, law
from proofs_checks.mutants.mutant import Mutant
from rpstheory.backend import positions
from rpstheory.hashing import (
    KEEP_STREAM,
    PRIME,
    START_STREAM,
    Signs,
    Uniform,
    coefficients,
    field_values,
    mix,
)
from rpstheory.mappings import Fold, KeepExact

FREE = 2**20  # positions of hidden signs, beyond those of any size tried here
SIGN = Signs.__call__
SHARING = "rpstheory.mappings.sharing:AbstractSharing"


def no_sign(self: Any, i: Any) -> Any:
    """+1."""
    return positions(i, self.n) * 0 + 1


def sign_of_cell(self: Any, i: Any) -> Any:
    """-1 on odd cells."""
    return 1 - 2 * (self.cell(i) % 2)


def sign_of_bits(self: Any, i: Any) -> Any:
    """Product of hidden signs, one for each bit of i + 1: pairwise independent, and no more."""
    hidden, place = Signs(self.seed, FREE), positions(i, self.n) + 1
    sign = place * 0 + 1
    for bit in range(self.n.bit_length()):
        sign = sign * (1 + (place >> bit) % 2 * (hidden(bit) - 1))
    return sign


def fourth_of_three(self: Any, position: Any) -> Any:
    """Every fourth sign the product of the three before it: 3-wise independent, and no more."""
    first, fourth = position - position % 4, (position % 4) // 3
    product = SIGN(self, first) * SIGN(self, first + 1) * SIGN(self, first + 2)
    return SIGN(self, position) * (1 - fourth) + product * fourth


def sign_of_lap(self: Any, i: Any) -> Any:
    """The sign of the chunk's number."""
    return Signs(self.seed, FREE)(self.chunk_and_offset(positions(i, self.n))[0])


def one_number(self: Any, i: Any) -> Any:
    """shift(p) = a p with one random a."""
    chunk, offset = self.chunk_and_offset(positions(i, self.n))
    return (self._start(chunk * 0) * chunk + offset) % self.m


def by_module(self: Any, i: Any) -> Any:
    """Two modules that fold by themselves, from position 0, with seeds of their own."""
    place, half = positions(i, self.n), -(-self.n // 2)
    module = place // half
    local = place - module * half
    shift = [
        Uniform(mix(mix(self.seed) + k), START_STREAM, self.n, self.m)(local // self.m) for k in range(2)
    ]
    return (shift[0] + module * (shift[1] - shift[0]) + local % self.m) % self.m


def one_too_short(self: Any) -> int:
    """Laps of m - 1 weights."""
    return max(1, self.m - 1)


def early_lap(self: Any, i: Any) -> tuple[Any, Any]:
    """The last weight of a lap belongs to the next."""
    return (i + 1) // self.chunk_length, i % self.chunk_length


def unwrapped(self: Any, i: Any) -> Any:
    """A rotation that does not come round."""
    chunk, offset = self.chunk_and_offset(positions(i, self.n))
    return self._start(chunk) + offset


def kept_by_chance(self: Any, i: Any) -> Any:
    """Every weight kept with probability m/n."""
    value = field_values(coefficients(self.seed, KEEP_STREAM, self.n), i)
    return 1 - (value + (PRIME - PRIME * self.m // self.n)) // PRIME


VARIANCE = claim(2, "Fold 24→6, integers n=24", discrepancy=0.05)
MUTANTS = (
    Mutant(
        "no signs",
        "mapping",
        "every sign is +1",
        f"{SHARING}.sign",
        no_sign,
        (law("unbiased", Fold), VARIANCE),
    ),
    Mutant(
        "signs tied to cells",
        "mapping",
        "the sign is the parity of the cell",
        f"{SHARING}.sign",
        sign_of_cell,
        (law("signs-and-cells", Fold), claim(1, "Fold 24→7, integers n=24")),
    ),
    Mutant(
        "signs 2-wise only",
        "mapping",
        "the sign is a product over the bits of the position",
        f"{SHARING}.sign",
        sign_of_bits,
        (law("signs", Fold), VARIANCE),
    ),
    Mutant(
        "signs 3-wise only",
        "mapping",
        "every fourth sign is the product of the three before it",
        "rpstheory.hashing:Signs.__call__",
        fourth_of_three,
        (law("signs", Fold), claim(2, "sign moment at 0, 1, 2, 3")),
    ),
    Mutant(
        "signs of laps",
        "mapping",
        "one sign for a whole lap",
        f"{SHARING}.sign",
        sign_of_lap,
        (law("variance", Fold), VARIANCE),
    ),
    Mutant(
        "one number for all shifts",
        "mapping",
        "shift(p) = a p with one random a",
        f"{SHARING}.cell",
        one_number,
        (law("collisions", Fold), VARIANCE),
    ),
    Mutant(
        "modules fold by themselves",
        "mapping",
        "every module begins a lap of its own, with its own seed",
        f"{SHARING}.cell",
        by_module,
        (law("load", Fold), claim(9, "balance, Fold 1000→37")),
    ),
    Mutant(
        "laps too short by one",
        "mapping",
        "laps of m - 1 weights",
        "rpstheory.mappings.fold:Fold.chunk_length",
        property(one_too_short),
        (claim(9, "balance, Fold 1000→37"), claim(8, "Fold 24→24 keeps <x, y> in every draw, *")),
    ),
    Mutant(
        "lap ends one early",
        "mapping",
        "the lap is (i + 1) div m, the place in it i mod m",
        f"{SHARING}.chunk_and_offset",
        early_lap,
        (law("pareto", Fold), claim(8, "Fold 24→24 keeps <x, y> in every draw, *")),
    ),
    Mutant(
        "rotation without wrap",
        "mapping",
        "cells beyond the bank's end",
        f"{SHARING}.cell",
        unwrapped,
        (law("range", Fold),),
    ),
    Mutant(
        "Bernoulli for exact",
        "mapping",
        "KeepExact keeps every weight with probability m/n",
        "rpstheory.mappings.keep:KeepExact._kept",
        kept_by_chance,
        (
            claim(6, "exact pruning of constant |x_i|: norms exact"),
            claim(17, "at least 10 of 16 rows zero, 6 of 64 weights kept"),
        ),
    ),
    Mutant(
        "rescaling dropped",
        "mapping",
        "products of pruned vectors are not multiplied by n/m",
        "rpstheory.mappings.keep:AbstractKeep.rescale",
        property(lambda self: Fraction(1)),
        (law("unbiased", KeepExact), claim(1, "KeepExact 24→7, integers n=24")),
    ),
)
