"""Claim 16 by exhaustion: T = <Sx, Sy> - <x, y> given the cells, its moments and its matrix.

T = sum over i != j in one cell of x_i y_j g_i g_j = g'Ag with fair signs g; v^2 = E T^2 = 2|A|_F^2. Replace A
by its absolute values and g by normal variables: no moment becomes smaller. The cumulants are then
2^(r-1) (r-1)! tr A^r <= (v^2/2)^(r/2) 2^(r-1) (r-1)!, those of v (g^2 - 1)/sqrt(2). Hence E T^4 <= 15 v^4.
Shows: that inequality as a sum of squares for *every* A of the sizes listed, that 15 cannot be less, the
next moments and the spectral norm of A for all cells and vectors listed.
Does not show: larger cells, other vectors (the argument above has no such limits).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations, combinations_with_replacement, product
from math import comb, prod
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.enumeration.worst_profile import nonnegative
from proofs_checks.polynomials import exact, lattice
from proofs_checks.residuals import diagonal, groupings

FINE = 60  # a multiple of every number of weights in a cell, so that 1 - 1/k is a whole number of 60ths


@dataclass(frozen=True)
class Chaos:
    """The law of T given the cells.

    Attributes:
        n: Number of weights.
        values: Its values, rising.
        ways: How many sign vectors give each.
        reach: Square of max over cells of (1 - 1/k)|x_c||y_c|, k weights in the cell.
        energies: For norms, |x_c|^2 of each cell.
    """

    n: int
    values: tuple[int, ...]
    ways: tuple[int, ...]
    reach: Fraction
    energies: tuple[int, ...] = ()

    def moment(self, order: int) -> Fraction:
        """E T^order."""
        total = sum(k * t**order for t, k in zip(self.values, self.ways, strict=True))
        return Fraction(total, sum(self.ways))

    @property
    def spread(self) -> Fraction:
        """v^2."""
        return self.moment(2)

    def chance(self, least: int) -> Fraction:
        """P(T >= least)."""
        hits = sum(k for t, k in zip(self.values, self.ways, strict=True) if t >= least)
        return Fraction(hits, sum(self.ways))

    @property
    def mirrored(self) -> Chaos:
        """The law of -T."""
        return replace(self, values=tuple(-t for t in self.values[::-1]), ways=self.ways[::-1])


def flat(n: int) -> Chaos:
    """x = y = 1 in one cell: T = (sum of n signs)^2 - n."""
    sums = range(n % 2, n + 1, 2)
    ways = tuple(comb(n, (n - s) // 2) * (2 if s else 1) for s in sums)
    return Chaos(n, tuple(s * s - n for s in sums), ways, Fraction(n - 1) ** 2, (n,))


def laws(n: int, entries: tuple[int, ...], *, norms: bool) -> Iterator[Chaos]:
    """The laws of T for every way to share cells and all x, y (x = y for norms) with these entries."""
    some = np.array(list(combinations_with_replacement(entries, n)))
    every = np.array(list(product(entries, repeat=n)))
    x, y = (some, some) if norms else (np.repeat(some, len(every), 0), np.tile(every, (len(some), 1)))
    signs = u.all_signs(n)[: 2 ** (n - 1)]
    for cells in groupings(n, n):
        held = (cells[:, None] == np.arange(cells.max() + 1)).astype(np.int64)
        sums = [np.einsum("pn,sn,nc->psc", vector, signs, held) for vector in (x, y)]
        values = np.sort((sums[0] * sums[1]).sum(axis=2) - (x * y).sum(axis=1)[:, None], axis=1)
        load = held.sum(axis=0)
        reach = (FINE - FINE // load) ** 2 * ((x * x) @ held) * ((y * y) @ held)
        keys = np.hstack([values, reach.max(axis=1)[:, None], *([(x * x) @ held] if norms else [])])
        for row in np.unique(keys, axis=0).tolist():
            law, (largest, *energies) = row[: len(signs)], row[len(signs) :]
            found = tuple(sorted(set(law)))
            ways = tuple(law.count(t) for t in found)
            yield Chaos(n, found, ways, Fraction(largest, FINE**2), tuple(energies))


def fourth_moment(level: Level) -> str:
    """15 v^4 - E T^4 = 2 sum c^4 + 3 (walks i-j-i-l) + 6 (squared minors of c), T = sum c_ij g_i g_j."""
    most = level.pick(4, 5, 6)
    for n in range(2, most + 1):
        require_squares(n, 15)
    return f"2 <= n <= {most}, every A"


def require_squares(n: int, factor: int) -> None:
    """Do nothing if factor v^4 - E T^4 is that sum of squares, at enough coefficients for all."""
    pairs, signs = list(combinations(range(n), 2)), u.all_signs(n)
    products = np.array([signs[:, i] * signs[:, j] for i, j in pairs])
    for c in lattice(len(pairs), 4):
        matrix = np.zeros((n, n), dtype=np.int64)
        for (i, j), value in zip(pairs, c, strict=True):
            matrix[i, j] = matrix[j, i] = value
        walks = ((matrix**2).sum(axis=1) ** 2).sum() * 2 - (matrix**4).sum()
        gram = matrix @ matrix
        minors = np.trace(gram) ** 2 - (gram**2).sum()
        found = factor * int((c @ c) ** 2) * len(signs) - int(((c @ products) ** 4).sum())
        expected = int(2 * (c**4).sum() + 3 * walks + 3 * minors) * len(signs)
        require(found == expected, f"n={n}, c={c}: {found} against {expected}, times 1/2^n")


def least_constant(level: Level) -> str:
    """x = y = 1 in one cell of n weights: E T^4 / v^4 = 15 - (48n - 68)/(n(n-1)), so no constant below 15."""
    most = level.pick(30, 100, 400)
    for n in range(2, most + 1):
        require_flat(n, Fraction(48 * n - 68, n * (n - 1)))
    return f"2 <= n <= {most}"


def require_flat(n: int, below: Fraction) -> None:
    """Do nothing if the flat chaos of n signs has E T^4 = (15 - below) v^4."""
    law = flat(n)
    found = law.moment(4) / law.spread**2
    require(found == 15 - below < 15, f"n={n}: E T^4 / v^4 = {found}, formula {15 - below}")


def higher_moments(level: Level) -> str:
    """|E T^k| <= (v^2/2)^(k/2) E(g^2 - 1)^k, g normal: 60, 544, 6040, .. after 2 and 8."""
    count, orders = 0, range(3, level.pick(7, 9, 13))
    for law in some_laws(level):
        for order in orders:
            require_moment(law, order, normal_moment(order))
        count += 1
    return f"k = 3 .. {orders[-1]}, {count} laws, {domain(level)}"


def normal_moment(order: int) -> int:
    """E(g^2 - 1)^order for a standard normal g."""
    odd = [prod(range(1, 2 * j, 2)) for j in range(order + 1)]
    return sum(comb(order, j) * (-1) ** (order - j) * odd[j] for j in range(order + 1))


def require_moment(law: Chaos, order: int, most: int) -> None:
    """Do nothing if (E T^k)^2 <= (v^2/2)^k most^2."""
    found = law.moment(order)
    require(found**2 <= (law.spread / 2) ** order * most**2, f"{law}: E T^{order} = {found}")


def spectral_norm(level: Level) -> str:
    """|A| <= (1 - 1/k)|x||y| in a cell of k weights, with equality at x = y = 1."""
    most = level.pick(3, 4, 5)
    for k in range(2, most + 1):
        every = list(product((-1, 0, 1, 2), repeat=k))
        for x, y in product(combinations_with_replacement((-1, 0, 1, 2), k), every):
            require_norm(x, y, 1 - Fraction(1, k))
        ones = (1,) * k
        slack = norm_slack(ones, ones, 1 - Fraction(1, k))
        require(not (slack @ np.ones(k, dtype=object)).any(), f"k={k}: not met at x = y = 1")
    return f"2 <= k <= {most}, x and y of -1, 0, 1, 2"


def norm_slack(x: tuple[int, ...], y: tuple[int, ...], share: Fraction) -> Any:
    """share^2 |x|^2 |y|^2 I - A^2."""
    product_ = np.outer(exact(np.array(x)), y)
    a = (product_ + product_.T) / Fraction(2) * (1 - np.eye(len(x), dtype=np.int64))
    energy = sum(v * v for v in x) * sum(v * v for v in y)
    return diagonal([share**2 * energy] * len(x)) - a @ a


def require_norm(x: tuple[int, ...], y: tuple[int, ...], share: Fraction) -> None:
    """Do nothing if |A| <= share |x||y|."""
    require(nonnegative(norm_slack(x, y, share)), f"x={x}, y={y}: |A| exceeds {share} |x||y|")


def seven_wise(level: Level) -> str:
    """Signs from the 4096 words of the Golay code, 7-wise independent: E T^4 > 38 v^4, P > 15 v^4/t^4."""
    words = golay()
    require(((words @ words.T) % 2 == 0).all(), "the code is not its own dual")
    weights = words.sum(axis=1)
    require(sorted(set(weights.tolist())) == [0, 8, 12, 16, 24], f"weights {set(weights.tolist())}")
    values, ways = np.unique((24 - 2 * weights) ** 2 - 24, return_counts=True)
    require_heavier(Chaos(24, tuple(values.tolist()), tuple(ways.tolist()), flat(24).reach))
    return "24 weights in one cell, x = y = 1; the dual code, itself, has no word of weight 1 to 7"


def golay() -> Any:
    """(4096, 24) 0-1 words: multiples of a polynomial of degree 11, and a parity."""
    generator = np.array([1, 0, 1, 0, 1, 1, 1, 0, 0, 0, 1, 1])
    shifts = np.array([np.pad(generator, (i, 11 - i)) for i in range(12)])
    words = (np.array(list(product((0, 1), repeat=12))) @ shifts) % 2
    return np.hstack([words, words.sum(axis=1, keepdims=True) % 2])


def require_heavier(law: Chaos) -> None:
    """Do nothing if v^2 is that of fair signs, but E T^4 and the tail at the largest T are too large."""
    require(law.spread == flat(24).spread, f"v^2 = {law.spread}")
    ratio, top = law.moment(4) / law.spread**2, law.values[-1]
    chance, bound = law.chance(top), 15 * law.spread**2 / top**4
    require(ratio > 15 and chance > bound, f"E T^4 / v^4 = {ratio}, P(T >= {top}) = {chance}, bound {bound}")


def some_laws(level: Level) -> Iterator[Chaos]:
    """Products and norms of small whole numbers, and flat vectors in one cell."""
    for n in range(2, level.pick(3, 4, 5) + 1):
        yield from laws(n, (-1, 0, 1, 2), norms=False)
        yield from laws(n, (0, 1, 2, 3), norms=True)
    for n in range(2, level.pick(16, 40, 120)):
        yield flat(n)


def domain(level: Level) -> str:
    """The laws in words."""
    n, last = level.pick((3, 15), (4, 39), (5, 119))
    return f"n <= {n}, x and y of -1 .. 2, norms of 0 .. 3, every way to share cells; flat n <= {last}"


CHECKS = (
    Check(
        16,
        "fourth moment",
        "E T^4 <= 15 v^4: 15 v^4 - E T^4 = 2 sum c^4 + 3 sum over walks i-j-i-l + 6 sum of squared minors",
        "exhaustive",
        fourth_moment,
        "14 v^4",
        lambda: require_squares(2, 14),
    ),
    Check(
        16,
        "the constant 15",
        "no less than 15: E T^4 / v^4 = 15 - (48n-68)/(n(n-1)) for n equal weights in one cell",
        "exhaustive",
        least_constant,
        "15 is attained",
        lambda: require_flat(8, Fraction(0)),
    ),
    Check(
        16,
        "signs that are 7-wise independent",
        "E T^4 <= 15 v^4 and P(|T| >= t) <= 15 v^4/t^4 fail for 7-wise signs: Golay code",
        "exhaustive",
        seven_wise,
        "fair signs",
        lambda: require_heavier(flat(24)),
        scope="fails outside",
    ),
    Check(
        16,
        "higher moments",
        "|E T^k| <= v^k E((g^2-1)/sqrt(2))^k, g normal",
        "exhaustive",
        higher_moments,
        "the moments of v g",
        lambda: require_moment(flat(8), 4, 3 * 2**2),
    ),
    Check(
        16,
        "spectral norm",
        "|A| <= max over cells of (1 - 1/k)|x_c||y_c|, k weights in the cell; met at x = y = 1",
        "exhaustive",
        spectral_norm,
        "1 - 2/k",
        lambda: require_norm((1, 1, 1), (1, 1, 1), Fraction(1, 3)),
    ),
)
