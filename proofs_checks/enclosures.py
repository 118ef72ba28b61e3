"""Rational bounds of logarithms and roots: what is compared with an exponential is decided, not estimated."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import factorial, isqrt

DIGITS = 10**24
E_BELOW = sum(Fraction(1, factorial(j)) for j in range(30))


@cache
def log_below(number: Fraction) -> Fraction:
    """At most log(number), number >= 1, to about 20 digits.

    log q = 2 artanh((q-1)/(q+1)), a series of positive terms; powers of 2 are taken out first.
    """
    halvings = (number.numerator // number.denominator).bit_length() - 1
    found = _series(number / 2**halvings) + halvings * (_series(Fraction(2)) if halvings else 0)
    return Fraction(found.numerator * DIGITS // found.denominator, DIGITS)


def root_below(number: Fraction) -> Fraction:
    """At most the square root, to 24 digits."""
    return Fraction(isqrt(number.numerator * DIGITS**2 // number.denominator), DIGITS)


def exp_below(number: Fraction) -> Fraction:
    """At most exp(number), number >= 0: the first terms of its series, past the largest."""
    term = found = Fraction(1)
    for j in range(1, 3 * int(number) + 30):
        term *= number / j
        found += term
    return found


def _series(number: Fraction) -> Fraction:
    z = (number - 1) / (number + 1)
    return 2 * sum((z ** (2 * j + 1) / (2 * j + 1) for j in range(24)), Fraction(0))
