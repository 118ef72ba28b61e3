"""The hash by enumeration: the exact bias of sign bits taken from a value of a prime field.

Shows: for P = 2^b - 1 a product of the signs of any set B of bits of a uniform value is -(-1)^|B| / P, for
all sets at small b and for all sets of the 16 bits in use at P = 2^31 - 1; for any odd P it is at most
min(rest, 2^bits - rest)/P, rest = P mod 2^bits. Over all cubics of a small field moments of up to four signs
are products of these over the words. Distance of a word of signs from uniform:
rest (2^bits - rest)/(2^bits P), below 2^-31 as shipped.
Does not show: that a 64-bit seed stands in for uniform coefficients.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import combinations
from math import prod
from typing import Any

import numpy as np

from proofs_checks.check import Check, Level, require
from proofs_checks.enumeration.hash_fields import CUBIC, values
from rpstheory.hashing import PRIME, SIGNS_PER_WORD, sign_of_bit


def residues(prime: int, bits: int) -> Any:
    """(2^bits,) number of values 0..P-1 with these lowest bits."""
    counts = np.full(2**bits, prime >> bits, dtype=np.int64)
    counts[: prime % 2**bits] += 1
    return counts


def all_products(counts: Any) -> Any:
    """(2^bits,) sum over values of the product of the signs of each set of bits (Walsh transform)."""
    sums, step = counts, 1
    while step < len(sums):
        halves = sums.reshape(-1, 2, step)
        sums = np.concatenate([halves.sum(axis=1)[:, None], (halves[:, :1] - halves[:, 1:])], axis=1).reshape(
            -1
        )
        step *= 2
    return sums


def sizes_of_sets(bits: int) -> Any:
    """(2^bits,) number of elements of each set of bits."""
    return sum((np.arange(2**bits) >> bit) & 1 for bit in range(bits))


def require_mersenne(exponent: int, bits: int, sign: int) -> None:
    """Do nothing if P = 2^exponent - 1 times the mean product over each set B is sign * (-1)^|B|."""
    prime = 2**exponent - 1
    found = all_products(residues(prime, bits))[1:]
    expected = sign * (-1) ** sizes_of_sets(bits)[1:]
    wrong = np.flatnonzero(found != expected)
    require(
        not len(wrong),
        f"P={prime}: sets of bits {(wrong[:3] + 1).tolist()}: sums {found[wrong[:3]].tolist()}",
    )


def mersenne(level: Level) -> str:
    """Every set of bits of every small Mersenne prime, and of the 16 in use of the real one."""
    exponents = level.pick([2, 3, 5, 7], [2, 3, 5, 7, 13], [2, 3, 5, 7, 13, 17])
    for exponent in exponents:
        for bits in range(1, exponent + 1):
            require_mersenne(exponent, bits, -1)
        require_listed(2**exponent - 1, exponent)
    require_mersenne(31, SIGNS_PER_WORD, -1)
    return f"2^b - 1 for b in {exponents}, all bits; 2^31 - 1, all sets of {SIGNS_PER_WORD} bits"


def require_listed(prime: int, bits: int) -> None:
    """Do nothing if counting the values 0..P-1 one by one, with the shipped sign, gives the same sums."""
    words = np.arange(prime)
    listed = [int(sign_of_bit(words, bit).sum()) for bit in range(bits)]
    sums = all_products(residues(prime, bits))
    require(listed == [int(sums[2**bit]) for bit in range(bits)], f"P={prime}: sums of single signs {listed}")


def any_prime(level: Level) -> str:
    """Mean of any product of signs of one word: at most min(rest, 2^bits - rest)/P."""
    most = level.pick(100, 400, 2000)
    primes = [p for p in range(3, most) if all(p % d for d in range(2, p))]
    for prime in primes:
        for bits in range(1, prime.bit_length() + 1):
            rest = prime % 2**bits
            require_bias(prime, bits, min(rest, 2**bits - rest))
    return f"odd primes below {most}, every number of bits, every set of them"


def require_bias(prime: int, bits: int, most: int) -> None:
    """Do nothing if P times the mean product of every set of bits is at most this."""
    largest = abs(all_products(residues(prime, bits))[1:]).max()
    require(
        largest <= most, f"P={prime}, {bits} bits: P times the largest mean is {largest}, more than {most}"
    )


def word_by_word(level: Level) -> str:
    """Every cubic: means of up to four signs in one or several words."""
    cases = level.pick([(7, 2)], [(5, 2), (7, 2)], [(5, 2), (7, 3), (11, 2)])
    for prime, bits in cases:
        require_factors(prime, bits, [int(s) for s in all_products(residues(prime, bits))])
    return f"all P^4 cubics, (P, bits) in {cases}: means multiply over the words"


def require_factors(prime: int, bits: int, sums: list[int]) -> None:
    """Do nothing if the mean of each product of up to four signs is the product of sums/P over its words."""
    table = values(prime, CUBIC, np.arange(prime))
    places = [(word, bit) for word in range(prime) for bit in range(bits)]
    signs = {(word, bit): sign_of_bit(table[:, word], bit) for word, bit in places}
    for size in range(1, 5):
        for chosen in combinations(places, size):
            found = Fraction(int(prod(signs[place] for place in chosen).sum()), len(table))
            sets: Counter[int] = Counter()
            for word, bit in chosen:
                sets[word] += 2**bit
            expected = prod((Fraction(sums[bits_of], prime) for bits_of in sets.values()), start=Fraction(1))
            require(found == expected, f"P={prime}, signs {chosen}: mean {found} against {expected}")


def distance(prime: int, bits: int) -> Fraction:
    """Total variation between the lowest bits of a uniform value of 0..P-1 and uniform bits."""
    # |count/P - 1/2^bits| summed in whole numbers, as multiples of 1/(2^bits P).
    excess = abs(residues(prime, bits) * 2**bits - prime).sum()
    return Fraction(int(excess), 2 * 2**bits * prime)


def words(level: Level) -> str:
    """The distance from its definition, against rest (2^bits - rest)/(2^bits P)."""
    most = level.pick(100, 500, 3000)
    for prime in range(3, most, 2):
        for bits in range(1, prime.bit_length() + 1):
            rest = prime % 2**bits
            require_distance(prime, bits, Fraction(rest * (2**bits - rest), 2**bits * prime))
    shipped = Fraction(2**SIGNS_PER_WORD - 1, 2**SIGNS_PER_WORD * PRIME)
    require_distance(PRIME, SIGNS_PER_WORD, shipped)
    require(shipped < Fraction(1, 2**31), f"as shipped {shipped}, not below 2^-31")
    return f"odd P below {most}, every number of bits; as shipped (1 - 2^-16)/(2^31 - 1) < 2^-31"


def require_distance(prime: int, bits: int, expected: Fraction) -> None:
    """Do nothing if a word of this many signs has this distance from uniform."""
    found = distance(prime, bits)
    require(found == expected, f"P={prime}, {bits} bits: distance {found} against {expected}")


CHECKS = (
    Check(
        2,
        "hash: products of signs of a word",
        "P = 2^b - 1: a product of the signs of a set B of bits has the mean -(-1)^|B| / P",
        "enumeration",
        mersenne,
        "the sign of the mean",
        lambda: require_mersenne(5, 5, +1),
    ),
    Check(
        2,
        "hash: signs from any odd prime",
        "the mean of a product of signs of one word is within min(b, 2^bits - b)/P, b = P mod 2^bits",
        "enumeration",
        any_prime,
        "fair signs: the field is taken to be binary",
        lambda: require_bias(7, 2, 0),
    ),
    Check(
        2,
        "hash: signs of several words",
        "over all cubics the mean of a product of up to four signs is the product of its words' means",
        "enumeration",
        word_by_word,
        "fair signs in every word",
        lambda: require_factors(5, 2, [5, 0, 0, 0]),
    ),
    Check(
        2,
        "hash: distance of a word",
        "16 signs are rest (2^16 - rest)/(2^16 P) = (1 - 2^-16)/(2^31 - 1) < 2^-31 from uniform",
        "enumeration",
        words,
        "1/P exactly",
        lambda: require_distance(PRIME, SIGNS_PER_WORD, Fraction(1, PRIME)),
    ),
)
