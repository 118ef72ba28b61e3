"""The hash by enumeration: k-wise independence of polynomial values over a prime field.

Shows: over small fields, for *every* choice of coefficients, that any four values of a cubic are jointly
uniform; the same for polynomials in two variables beyond the field's size. For four distinct positions a
polynomial of total degree 3 is 1 at one and 0 at the others, so that their vectors of monomials are linearly
independent and each tuple of values has equally many coefficients: the shipped 16 (degree 3 in each variable)
include the 10 that are needed. And that the code evaluates this polynomial mod 2^31 - 1.
Does not show: that a 64-bit seed stands in for uniform independent coefficients.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations, product
from typing import Any

import numpy as np

from proofs_checks.check import Check, Level, require
from rpstheory.hashing import COEFFICIENTS, PRIME, field_values

Powers = list[tuple[int, int]]

CUBIC: Powers = [(j, 0) for j in range(4)]
SHIPPED: Powers = [(j, k) for k in range(4) for j in range(4)]


def total_degree(most: int) -> Powers:
    """Powers of v and u with sum at most ``most``."""
    return [(j, k) for k in range(most + 1) for j in range(most + 1 - k)]


def each_degree(most: int) -> Powers:
    """Powers of v and u, each at most ``most``."""
    return [(j, k) for k in range(most + 1) for j in range(most + 1)]


def values(prime: int, powers: Powers, positions: Any) -> Any:
    """(prime^coefficients, positions) value of every polynomial at t = u prime + v."""
    v, u = positions % prime, positions // prime
    table = np.zeros((1, len(positions)), dtype=np.int64)
    for j, k in powers:
        term = np.arange(prime)[:, None] * (v**j * u**k)
        table = ((table[:, None] + term) % prime).reshape(-1, len(positions))
    return table


def require_independent(prime: int, powers: Powers, positions: Any, ways: int) -> None:
    """Do nothing if any ``ways`` of these positions have jointly uniform values over all coefficients."""
    table = values(prime, powers, positions)
    places = prime ** np.arange(ways)
    for chosen in combinations(range(len(positions)), ways):
        counts = np.bincount(table[:, chosen] @ places, minlength=prime**ways)
        name = f"P={prime}, {len(powers)} coefficients, positions {positions[list(chosen)].tolist()}"
        require(
            counts.min() == counts.max(),
            f"{name}: tuples of values occur {counts.min()} to {counts.max()} times",
        )


def one_variable(level: Level) -> str:
    """Every cubic at every four positions below P."""
    primes = level.pick([5, 7], [5, 7, 11], [5, 7, 11, 13, 17])
    for prime in primes:
        require_independent(prime, CUBIC, np.arange(prime), 4)
    return f"all P^4 cubics at all 4 of P positions, P in {primes}"


def two_variables(level: Level) -> str:
    """Every polynomial, at every k of P^2 positions, k = degree + 1."""
    cases: list[tuple[int, Powers, int]] = [
        (2, total_degree(1), 2),
        (3, total_degree(1), 2),
        (5, total_degree(1), 2),
        (3, total_degree(2), 3),
        (2, SHIPPED, 4),
    ]
    cases += level.pick(
        [],
        [(3, total_degree(3), 4), (3, each_degree(2), 3)],
        [(3, total_degree(3), 4), (5, total_degree(2), 3)],
    )
    for prime, powers, ways in cases:
        require_independent(prime, powers, np.arange(prime**2), ways)
    return ", ".join(f"{ways}-wise at P={prime}, {len(powers)} coefficients" for prime, powers, ways in cases)


def factor(prime: int, at: Any, zero: Any, where: Any) -> Any:
    """u - u_zero where the u of ``at`` and ``zero`` differ, v - v_zero elsewhere, at positions ``where``."""
    by_u = at // prime != zero // prime
    return np.where(by_u, where // prime - zero // prime, where % prime - zero % prime)


def require_dual(prime: int, positions: Any) -> None:
    """Do nothing if the product of three such factors is 1 at one of four positions (times a unit), else 0.

    Args:
        prime: P.
        positions: (many, 4) distinct positions below P^2.
    """
    for own, other in product(range(4), repeat=2):
        product_of_three = np.ones(len(positions), dtype=np.int64)
        for zero in set(range(4)) - {own}:
            terms = factor(prime, positions[:, own], positions[:, zero], positions[:, other])
            product_of_three = product_of_three * terms % prime
        wrong = (product_of_three != 0) != (own == other)
        first = positions[wrong.argmax()]
        require(not wrong.any(), f"P={prime}, positions {first.tolist()}: polynomial {own} at place {other}")


def dual_basis(level: Level) -> str:
    """Every four positions of P^2, up to translation for the larger primes; random ones of the real field."""
    small, large = level.pick(([3, 5], [7]), ([3, 5, 7], [11]), ([3, 5, 7], [11, 13, 17]))
    for prime in small:
        require_dual(prime, np.array(list(combinations(range(prime**2), 4))))
    for prime in large:
        rest = np.array(list(combinations(range(1, prime**2), 3)))
        require_dual(prime, np.pad(rest, ((0, 0), (1, 0))))
    edge = [0, 1, 2, 16, PRIME - 1, PRIME, PRIME + 1, 2 * PRIME - 1, 2 * PRIME, PRIME**2 // 2, PRIME**2 - 1]
    require_dual(PRIME, np.array(list(combinations(edge, 4))))
    return f"P in {small}, P in {large} with one position at 0, and edges of P = 2^31 - 1"


def as_coded(level: Level) -> str:
    """Each coefficient by itself, and all together, on a 4 x 4 grid (which fixes a bicubic) and at edges."""
    edges = [0, 1, 2, 3, PRIME // 2, PRIME - 1]
    for count, powers in ((4, CUBIC), (COEFFICIENTS, SHIPPED)):
        outer = edges if count == COEFFICIENTS else [0]
        for number, scale in product(range(count), (1, 2, PRIME - 1)):
            coefficients = tuple(scale * (place == number) for place in range(count))
            require_coded(coefficients, powers, [u * PRIME + v for u in outer for v in edges])
        for shift in range(level.pick(10, 100, 1000)):
            coefficients = tuple((shift + 1) * PRIME // (number + 2) % PRIME for number in range(count))
            require_coded(coefficients, powers, [u * PRIME + v for u in outer for v in edges])
    return "each of the 4 and 16 coefficients at 3 values, and full ones; v and u at 0..3, P/2, P-1"


def require_coded(coefficients: tuple[int, ...], powers: Powers, positions: Iterable[int]) -> None:
    """Do nothing if the shipped evaluation is the sum of c v^j u^k mod P, in Python integers."""
    for position in positions:
        u, v = divmod(position, PRIME)
        terms = (c * v**j * u**k for c, (j, k) in zip(coefficients, powers, strict=True))
        found, expected = field_values(coefficients, position), sum(terms) % PRIME
        require(
            found == expected, f"coefficients {coefficients}, position {position}: {found}, not {expected}"
        )


CHECKS = (
    Check(
        2,
        "hash: cubics",
        "any four values of a uniform cubic over the field of P elements are jointly uniform",
        "enumeration",
        one_variable,
        "a quadratic",
        lambda: require_independent(5, CUBIC[:3], np.arange(5), 4),
    ),
    Check(
        2,
        "hash: beyond the field",
        "bivariate polynomials of total degree k-1 (and of degree k-1 in each variable) are k-wise",
        "enumeration",
        two_variables,
        "one coefficient for each of u and v, none for 1",
        lambda: require_independent(3, [(1, 0), (0, 1)], np.arange(9), 2),
    ),
    Check(
        2,
        "hash: dual basis",
        "three linear factors separate each of four (u, v) from the others: rank 4 at total degree 3",
        "enumeration",
        dual_basis,
        "a position that comes twice",
        lambda: require_dual(5, np.array([[0, 7, 7, 24]])),
    ),
    Check(
        2,
        "hash: as coded",
        "field_values evaluates sum of c_jk v^j u^k mod 2^31 - 1",
        "enumeration",
        as_coded,
        "u and v exchanged",
        lambda: require_coded(tuple(range(COEFFICIENTS)), [(k, j) for j, k in SHIPPED], [3 * PRIME + 5]),
    ),
)
