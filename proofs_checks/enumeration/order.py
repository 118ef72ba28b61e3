"""Claim 5 by enumeration: which mapping has the smaller variance.

Shows: V is monotone in p (q_ij + q_ji is a square) and V at x = y = e_i + e_j is 2 (p_ij + p_ji), so that
one mapping is below another for all x and y iff its p is, entry by entry. Entries are then compared
at each size listed; counter-examples are exact over every draw.
Does not show: other sizes.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.enumeration.collisions import apart, unwrapped
from proofs_checks.polynomials import difference, evaluate, meeting, pair_form, quadratic, variance_form


def chunk_order(level: Level) -> str:
    """V_chunk(Z') <= V_chunk(Z) for all x and y iff Z divides Z' or n <= Z'."""
    most = level.pick(8, 12, 16)
    for n in range(1, most + 1):
        for coarse in range(1, most + 1):
            for fine in range(1, most + 1):
                require_order(n, fine, coarse, coarse % fine == 0 or n <= coarse)
    return f"n, Z, Z' <= {most}, m >= both"


def require_order(n: int, fine: int, coarse: int, below: bool) -> None:
    """Do nothing if p of chunks Z' = coarse is below that of Z = fine exactly when expected."""
    found = bool((same_chunk(n, coarse) >= same_chunk(n, fine)).all())
    require(found == below, f"n={n}: V_chunk({coarse}) <= V_chunk({fine}) everywhere: {found}")


def same_chunk(n: int, length: int) -> Any:
    """(n, n) whether p is 0, all other entries being the same 1/m (claim 2, collision probabilities)."""
    chunk = np.arange(n) // length
    return chunk[:, None] == chunk


def by_entries(level: Level) -> str:
    """At x = y = e_i + e_j the variance over every draw is 4 p_ij: where p is larger, V is."""
    most = level.pick(3, 4, 5)
    count = 0
    for name, m, cells in u.sharings(most):
        require_entries(cells, m, 4, name)
        count += 1
    return f"{count} universes, n and m to {most}"


def require_entries(cells: Any, m: int, factor: int, name: str) -> None:
    """Do nothing if V(e_i + e_j) = factor * p_ij for every pair."""
    n = cells.shape[1]
    variance, chance = variance_form(u.joint(cells, u.all_signs(n), m)), meeting(cells)
    for i, j in zip(*np.triu_indices(n, 1), strict=True):
        pair = [int(place in (i, j)) for place in range(n)]
        found = evaluate(variance, pair, pair)
        require(found == factor * chance[i, j], f"{name}: V(e_{i} + e_{j}) = {found}, p = {chance[i, j]}")


def random_order(level: Level) -> str:
    """Over all orderings V_chunk is its share of pairs apart times V_hashed: smaller for longer chunks."""
    most, longest = level.pick((4, 12), (5, 30), (6, 60))
    for n in range(2, most + 1):
        for m in range(1, most + 1):
            for length in range(1, m + 1):
                require_averaged(n, m, length, share_apart(n, length))
    for n in range(2, longest + 1):
        for length in range(1, longest):
            require(share_apart(n, length + 1) <= share_apart(n, length), f"n={n}: share grows at Z={length}")
    return f"every ordering, n and m to {most}; shares to n = {longest}"


def share_apart(n: int, length: int) -> Fraction:
    """Share of the pairs that are in different chunks."""
    return Fraction(int((~same_chunk(n, length)).sum()), n * (n - 1))


def require_averaged(n: int, m: int, length: int, share: Fraction) -> None:
    """Do nothing if p, averaged over all orderings, is this share of 1/m for every pair."""
    expected = quadratic(n, lambda i, j: share / m if i != j else Fraction(0))
    where = difference(meeting(u.reordered(u.chunk_cells(n, m, length))), expected)
    require(not where, f"chunk {length}, n={n}, m={m}, random order: p: {where}")


def block_bounds(level: Level) -> str:
    """p_block <= (m/M) p_chunk entry by entry; summed over two whole blocks, p_block >= p_chunk."""
    most = level.pick(7, 10, 14)
    for m in range(1, most + 1):
        for length in range(1, m + 1):
            for n in range(1, most + 1):
                require_block_below(n, m, length, Fraction(m, m - length + 1))
            for n in range(length, most + 1, length):
                require(pairs_of_blocks(n, m, length) >= 0, f"block {length}, n={n}, m={m}: below chunk")
    return f"1 <= Z <= m, n and m to {most}"


def require_block_below(n: int, m: int, length: int, factor: Fraction) -> None:
    """Do nothing if block's p is at most a multiple of chunk's, and attains it where two offsets agree."""
    block, chunk = unwrapped(n, m, length), factor * apart(n, m, length)
    above = [place for place in np.ndindex(n, n) if block[place] > chunk[place]]
    require(not above, f"block {length}, n={n}, m={m}: p at {above[:1]} exceeds {factor} of chunk's")
    if n > length:
        require(
            block[0, length] == chunk[0, length], f"block {length}, n={n}, m={m}: {factor} is not attained"
        )


def pairs_of_blocks(n: int, m: int, length: int) -> Fraction:
    """Least sum of p_block - p_chunk over the offsets of two blocks: what counts for a constant q."""
    gap = unwrapped(n, m, length) - apart(n, m, length)
    starts = range(0, n, length)
    return min(Fraction(gap[a : a + length, b : b + length].sum()) for a in starts for b in starts)


def ragged_block(level: Level) -> str:
    """Where Z does not divide n flat vectors can make block smaller than chunk: n=5, m=5, Z=4."""
    below = []
    most = level.pick(8, 10, 12)
    for m in range(1, most + 1):
        for length in range(1, m + 1):
            below += [(n, m, length) for n in range(1, most + 1) if pairs_of_blocks(n, m, length) < 0]
    require((5, 5, 4) in below, "n=5, m=5, Z=4: block is not below chunk")
    require(all(n % length for n, _, length in below), f"block below chunk although Z divides n: {below}")
    return f"{len(below)} sizes to {most}, all with Z not dividing n"


SMALL = {
    "chunk": u.chunk_cells(4, 3, 2),
    "fold": u.fold_cells(4, 3),
    "block": u.block_cells(4, 3, 2),
    "hashed": u.hashed_cells(4, 3),
}
LOST = (
    ("chunk", "fold", (0, 0, 1, 1), Fraction(0), Fraction(4, 3)),
    ("hashed", "block", (1, 0, 1, 0), Fraction(4, 3), Fraction(2)),
    ("block", "hashed", (1, 1, 0, 0), Fraction(0), Fraction(4, 3)),
)


def lost(level: Level) -> str:
    """Exact variances at n=4, m=3, Z=2; and flat x at n=12 from the probabilities."""
    for less, more, x, low, high in LOST:
        require_lost(less, more, x, low, high)
    flat = [1] * 12
    values = [evaluate(pair_form(p), flat, flat) for p in (unwrapped(12, 3, 2), apart(12, 3, 1))]
    require(values == [90, 88], f"flat x, n=12, m=3, Z=2: block {values[0]}, hashed {values[1]}")
    return "n=4 over every draw, n=12 from p_ij; m=3, Z=2"


def require_lost(less: str, more: str, x: tuple[int, ...], low: Fraction, high: Fraction) -> None:
    """Do nothing if, at n=4, m=3, Z=2 and x = y, these are the exact variances and the first is smaller."""
    forms = [variance_form(u.joint(SMALL[name], u.all_signs(4), 3)) for name in (less, more)]
    values = [evaluate(form, x, x) for form in forms]
    require(values == [low, high] and low < high, f"x={x}: {less} {values[0]}, {more} {values[1]}")


CHECKS = (
    Check(
        5,
        "chunks in order",
        "V_chunk(Z') <= V_chunk(Z) for all x, y iff Z divides Z' or n <= Z'; fold is Z = m, hashed Z = 1",
        "enumeration",
        chunk_order,
        "longer chunks are taken to be better",
        lambda: require_order(4, fine=2, coarse=3, below=True),
    ),
    Check(
        5,
        "entries decide",
        "V at x = y = e_i + e_j is 4 p_ij: V is ordered for all x, y iff p is, entry by entry",
        "enumeration",
        by_entries,
        "V(e_i + e_j) = 2 p_ij",
        lambda: require_entries(u.fold_cells(3, 2), 2, 2, "fold, n=3, m=2"),
    ),
    Check(
        5,
        "in random order",
        "averaged over orderings V_chunk = (share of pairs in different chunks) V_hashed, decreasing in Z",
        "enumeration",
        random_order,
        "the share of fold in place of that of chunk 2",
        lambda: require_averaged(4, 3, 2, share_apart(4, 3)),
    ),
    Check(
        5,
        "block against chunk",
        "V_block <= m/(m-Z+1) V_chunk, attained; V_block >= V_chunk if Z | n and q is constant per pair",
        "enumeration",
        block_bounds,
        "the factor 1",
        lambda: require_block_below(4, 3, 2, Fraction(1)),
    ),
    Check(
        5,
        "no order without divisibility",
        "n=4, m=3, Z=2: chunk 0, fold 4/3; block 2, hashed 4/3; block 0, hashed 4/3; n=12, flat: 90, 88",
        "enumeration",
        lost,
        "fold is taken to be below chunk at x = (0, 0, 1, 1)",
        lambda: require_lost("fold", "chunk", (0, 0, 1, 1), Fraction(0), Fraction(4, 3)),
        scope="fails outside",
    ),
    Check(
        5,
        "ragged blocks",
        "V_block >= V_chunk on flat vectors fails where Z does not divide n: n=5, m=5, Z=4",
        "enumeration",
        ragged_block,
        "Z = 2 divides n = 4, m = 3",
        lambda: require(pairs_of_blocks(4, 3, 2) < 0, "n=4, m=3, Z=2: block is not below chunk"),
        scope="fails outside",
    ),
)
