"""The hash by enumeration: sign bits of polynomial values over a binary field.

Shows: over GF(4), GF(8) and GF(16), for every choice of coefficients, that any four sign bits of cubic
values are jointly uniform, in one value or in several; that a quadratic is not enough.
Does not show: anything about the shipped hash, whose field is prime (sign_bits has its exact bias).
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from proofs_checks.check import Check, Disproved, Level

# Irreducible polynomials over GF(2), as bits: x^2+x+1, x^3+x+1, x^4+x+1.
MODULUS = {2: 0b111, 3: 0b1011, 4: 0b10011}


def multiplication(degree: int) -> Any:
    """(2^b, 2^b) products in GF(2^b)."""
    size = 2**degree
    left, right = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    table = np.zeros((size, size), dtype=np.int64)
    for bit in range(degree):
        table ^= np.where(right >> bit & 1, left << bit, 0)
    for bit in range(2 * degree - 2, degree - 1, -1):
        table ^= np.where(table >> bit & 1, MODULUS[degree] << (bit - degree), 0)
    return table


def values(degree: int, coefficients: int) -> Any:
    """(2^(b coefficients), 2^b) value of every polynomial at every position of GF(2^b), by Horner's rule."""
    size, times = 2**degree, multiplication(degree)
    table = np.zeros((1, size), dtype=np.int64)
    for _ in range(coefficients):
        risen = times[table, np.arange(size)]
        table = (risen[:, None] ^ np.arange(size)[:, None]).reshape(-1, size)
    return table


def signs(degree: int, coefficients: int, bits: int) -> Any:
    """(polynomials, positions * bits) sign of each of the lowest bits of each value."""
    bit = values(degree, coefficients)[:, :, None] >> np.arange(bits) & 1
    return (1 - 2 * bit).reshape(len(bit), -1)


def require_four_wise(table: Any, name: str) -> None:
    """Do nothing if every product of one to four different columns sums to 0: jointly uniform signs.

    Raises:
        Disproved: If one does not.
    """
    count = table.shape[1]
    sets = [chosen for size in range(3) for chosen in combinations(range(count), size)]
    member = np.array([[column in chosen for column in range(count)] for chosen in sets], dtype=np.int64)
    products = np.stack([table[:, list(chosen)].prod(axis=1) for chosen in sets], axis=1)
    moments = products.T @ products
    moments[0, 0] = 0  # the empty product
    wrong = np.argwhere((moments != 0) & (member @ member.T == 0))
    for left, right in wrong:
        raise Disproved(f"{name}: signs {sets[left] + sets[right]}: product sums to {moments[left, right]}")


def cubics(level: Level) -> str:
    """Every cubic, every bit."""
    cases = level.pick([(2, 2), (3, 2)], [(2, 2), (3, 3)], [(2, 2), (3, 3), (4, 2)])
    for degree, bits in cases:
        require_four_wise(signs(degree, 4, bits), f"GF({2**degree}), {bits} bits")
    return ", ".join(
        f"GF({2**degree}): {2 ** (4 * degree)} cubics, {bits} bits of each value" for degree, bits in cases
    )


CHECKS = (
    Check(
        2,
        "hash: signs from a binary field",
        "any four sign bits of uniform cubic values over GF(2^b) are independent and fair",
        "enumeration",
        cubics,
        "a quadratic",
        lambda: require_four_wise(signs(3, 3, 2), "GF(8), quadratic"),
    ),
)
