"""Claim 9 by enumeration: how many weights a cell carries.

Shows: at each size listed, every draw of fold loads each cell with floor(n/m) or ceil(n/m) weights, and no
map of all m^n has a smaller maximum, a greater minimum or fewer colliding pairs; rotations seeded apart for
each module leave prod(1 - n_l/m) of the bank unused in expectation and lose the bounds in some draw.
Does not show: other sizes, nor the figures for networks, which are measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from math import prod
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.enumeration.pareto import require_unused


def loads(cells: Any, m: int) -> Any:
    """(draws, m) weights in each cell."""
    return (cells[:, :, None] == np.arange(m)).sum(axis=1)


def colliding(load: Any) -> Any:
    """Ordered pairs that share a cell."""
    return (load * (load - 1)).sum(axis=-1)


def best(level: Level) -> str:
    """Every draw of fold against every map."""
    most, cells = level.pick((5, 4), (7, 5), (8, 6))
    for n in range(1, most + 1):
        for m in range(1, cells + 1):
            require_best(u.fold_cells(n, m), u.hashed_cells(n, m), m)
    return f"all m^n maps, n <= {most}, m <= {cells}"


def require_best(drawn: Any, every: Any, m: int) -> None:
    """Do nothing if each draw has the least maximum, greatest minimum and fewest collisions of all maps."""
    n = drawn.shape[1]
    found, possible = loads(drawn, m), loads(every, m)
    least, greatest = possible.max(axis=1).min(), possible.min(axis=1).max()
    fewest = colliding(possible).min()
    for load in found:
        where = f"n={n}, m={m}, load {load}"
        require(load.max() == least == -(-n // m), f"{where}: least maximum {least}")
        require(load.min() == greatest == n // m, f"{where}: greatest minimum {greatest}")
        require(colliding(load) == fewest, f"{where}: {colliding(load)} colliding pairs, {fewest} possible")


def fewest_pairs(level: Level) -> str:
    """D/m ordered pairs collide in every draw: r k(k-1) + (m-r)(k-1)(k-2)."""
    most = level.pick(6, 8, 10)
    for n in range(1, most + 1):
        for m in range(1, min(n, 5) + 1):
            laps = np.bincount(np.arange(n) // m)
            require_pairs(u.fold_cells(n, m), m, Fraction(int(n**2 - (laps**2).sum()), m))
            k, last = len(laps), int(laps[-1])
            whole = last * k * (k - 1) + (m - last) * (k - 1) * (k - 2)
            require_pairs(u.fold_cells(n, m), m, Fraction(whole))
    return f"every draw, n <= {most}, m <= 5"


def require_pairs(cells: Any, m: int, expected: Fraction) -> None:
    """Do nothing if every draw has this number of ordered colliding pairs."""
    found = set(colliding(loads(cells, m)).tolist())
    require(found == {expected}, f"n={cells.shape[1]}, m={m}: {found} colliding pairs against {expected}")


def compositions(n: int) -> Iterator[list[int]]:
    """Every split of n weights into modules in order."""
    for cuts in product((False, True), repeat=n - 1):
        ends = [place + 1 for place, cut in enumerate(cuts) if cut] + [n]
        yield [end - start for start, end in zip([0, *ends], ends, strict=False)]


def by_module(sizes: list[int], m: int) -> Any:
    """Cells when each module starts a lap of its own, with its own shifts: (draws, n)."""
    place = np.concatenate([np.arange(size) for size in sizes])
    laps = [-(-size // m) for size in sizes]
    first = np.repeat(np.cumsum([0, *laps[:-1]]), sizes)
    shifts = np.array(list(product(range(m), repeat=sum(laps))))
    return (shifts[:, first + place // m] + place % m) % m


def per_module(level: Level) -> str:
    """Every split of n weights."""
    most = level.pick(4, 6, 7)
    for n in range(1, most + 1):
        for m in range(1, min(n, 5) + 1):
            for sizes in compositions(n):
                share = prod((max(Fraction(0), 1 - Fraction(size, m)) for size in sizes), start=Fraction(1))
                require_unused(by_module(sizes, m), m, share, f"modules {sizes}, m={m}")
    return f"every split, n <= {most}, m <= 5"


def at_one_x(level: Level) -> str:
    """sum n_l = m: prod(1 - n_l/m) <= (1 - 1/m)^m, attained by modules of one weight each."""
    most = level.pick(8, 12, 16)
    for m in range(1, most + 1):
        for sizes in compositions(m):
            require_share(sizes, m, (1 - Fraction(1, m)) ** m)
    return f"every split of m <= {most}; (1 - 1/m)^m < 1/e (claim 8)"


def require_share(sizes: list[int], m: int, most: Fraction) -> None:
    """Do nothing if modules of these sizes leave at most this share unused in expectation."""
    share = prod((1 - Fraction(size, m) for size in sizes), start=Fraction(1))
    require(share <= most, f"modules {sizes}, m={m}: {share} unused, more than {most}")


def modules_lose(level: Level) -> str:
    """With rotations per module some draw misses the least maximum, unless one start alone is ragged."""
    most = level.pick(5, 6, 7)
    count = 0
    for n in range(2, most + 1):
        for m in range(2, min(n, 5) + 1):
            for sizes in compositions(n):
                kept = sum(size % m != 0 for size in sizes) <= 1
                require_balance(sizes, m, kept=kept)
                count += not kept
    return f"{count} splits with two ragged modules, n <= {most}, 2 <= m <= 5: each loses in some draw"


def require_balance(sizes: list[int], m: int, *, kept: bool) -> None:
    """Do nothing if every draw has loads that differ by at most 1 exactly when expected."""
    load = loads(by_module(sizes, m), m)
    found = bool((load.max(axis=1) - load.min(axis=1) <= 1).all())
    require(found == kept, f"modules {sizes}, m={m}: every draw balanced: {found}")


CHECKS = (
    Check(
        9,
        "no map is more even",
        "each draw of fold has the least maximum, greatest minimum, fewest colliding pairs of all m^n maps",
        "enumeration",
        best,
        "chunks of 2 in a bank of 3",
        lambda: require_best(u.chunk_cells(4, 3, 2), u.hashed_cells(4, 3), 3),
    ),
    Check(
        9,
        "colliding pairs",
        "D/m = r k(k-1) + (m-r)(k-1)(k-2) ordered pairs in every draw",
        "enumeration",
        fewest_pairs,
        "n(n-m)/m at a ragged size",
        lambda: require_pairs(u.fold_cells(3, 2), 2, Fraction(3, 2)),
    ),
    Check(
        9,
        "a rotation for each module",
        "prod (1 - n_l/m)^+ of the bank is unused in expectation",
        "enumeration",
        per_module,
        "one flat position for all modules",
        lambda: require_unused(u.fold_cells(3, 3), 3, Fraction(2, 9), "fold, n=3, m=3 as modules [1, 2]"),
    ),
    Check(
        9,
        "modules at 1x",
        "prod (1 - n_l/m) <= (1 - 1/m)^m < 1/e where the sizes sum to m",
        "enumeration",
        at_one_x,
        "1/4 for three modules",
        lambda: require_share([1, 1, 1], 3, Fraction(1, 4)),
    ),
    Check(
        9,
        "rotations by module",
        "even loads fail when two modules are not whole laps and each has shifts of its own",
        "enumeration",
        modules_lose,
        "two ragged modules are taken to stay even",
        lambda: require_balance([1, 2], 3, kept=True),
        scope="fails outside",
    ),
)
