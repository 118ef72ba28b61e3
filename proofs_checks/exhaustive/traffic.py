"""Claim 10 by exhaustion: runs and cache lines under consecutive weights of a fold.

Shows: for every m, Z, B in the ranges given, over every place of the first weight, both rotations and every
place at which the bank begins in a line: the largest counts, and that each bound is met for some m.
Does not show: larger m, Z, B; means (mean_lines).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require


def windows(m: int, length: int, laps: int = 2) -> Any:
    """(rotations, places, Z) cells of consecutive weights that begin in the first lap."""
    shifts = np.array(list(product(range(m), repeat=laps)))
    place = np.arange(m)[:, None] + np.arange(length)
    return u.shifted(laps * m, m, shifts)[:, place]


def distinct(values: Any) -> Any:
    """Number of distinct values on the last axis."""
    return 1 + (np.diff(np.sort(values, axis=-1), axis=-1) != 0).sum(axis=-1)


def runs(cells: Any) -> Any:
    """Runs of neighbouring cells on the last axis, in order."""
    return 1 + (np.diff(cells, axis=-1) != 1).sum(axis=-1)


def runs_as_set(cells: Any) -> Any:
    """Runs of neighbouring cells once they are sorted."""
    return 1 + (np.diff(np.sort(cells, axis=-1), axis=-1) > 1).sum(axis=-1)


def visits(cells: Any, line: int, begin: int) -> Any:
    """Lines counted run by run, one that two runs meet counted twice."""
    new_line = np.diff((cells + begin) // line, axis=-1) != 0
    return 1 + (new_line | (np.diff(cells, axis=-1) != 1)).sum(axis=-1)


def run_counts(level: Level) -> str:
    """At most 4 runs in order and 3 as a set, both met."""
    most = level.pick(9, 16, 24)
    for m in range(1, most + 1):
        for length in range(1, m + 1):
            require_runs(windows(m, length), 4, 3)
    met = windows(8, 8)
    require(runs(met).max() == 4 and runs_as_set(windows(8, 6)).max() == 3, "4 and 3 are not met at m=8")
    return f"Z <= m <= {most}, every place and rotation; met at m=8"


def require_runs(cells: Any, in_order: int, as_set: int) -> None:
    """Do nothing if no window has more runs."""
    found = int(runs(cells).max()), int(runs_as_set(cells).max())
    size = f"m={cells.max() + 1}, Z={cells.shape[-1]}"
    require(found[0] <= in_order and found[1] <= as_set, f"{size}: {found[0]} runs, {found[1]} as a set")


def more_than_a_lap(level: Level) -> str:
    """Z > m: the lap in the middle brings a wrap and another end, 6 runs."""
    most = level.pick(5, 7, 9)
    for m in range(4, most + 1):
        require_many(windows(m, m + 4, laps=3), 6)
    return f"Z = m + 4, 4 <= m <= {most}: 6 runs in order"


def require_many(cells: Any, count: int) -> None:
    """Do nothing if some window has this many runs, and none has more."""
    require(runs(cells).max() == count, f"Z={cells.shape[-1]}: {runs(cells).max()} runs at most")


def bounds(level: Level) -> str:
    """ceil((Z-c)/B) + c is the largest count over all m: c = 3, 4, 5 for lines, 3, 5, 7 run by run."""
    longest, widest = level.pick((7, 2), (9, 4), (14, 6))
    for length, line in product(range(1, longest + 1), range(1, widest + 1)):
        sizes = range(length, length + 4 * line + 1)
        require_most(length, line, [m for m in sizes if m % line == 0], range(1), (3, 3))
        require_most(length, line, sizes, range(1), (4, 5))
        require_most(length, line, sizes, range(line), (5, 7))
    return f"Z <= {longest}, B <= {widest}, Z <= m <= Z + 4B, every place, rotation and begin of the bank"


def require_most(
    length: int, line: int, sizes: Iterable[int], begins: Iterable[int], ends: tuple[int, int]
) -> None:
    """Do nothing if the most lines, and the most run by run, are ceil((Z-c)/B) + c for these two c."""
    found = [0, 0]
    for m, begin in product(sizes, begins):
        cells = windows(m, length)
        found[0] = max(found[0], int(distinct((cells + begin) // line).max()))
        found[1] = max(found[1], int(visits(cells, line, begin).max()))
    expected = [min(length, -(-(length - c) // line) + c) for c in ends]
    require(found == expected, f"Z={length}, B={line}, c={ends}: {found} lines, formula {expected}")


def loose(level: Level) -> str:
    """ceil(Z/B) + 7 is never met, whatever the alignment."""
    most = level.pick(7, 12, 16)
    for m, line in product(range(1, most + 1), range(1, 4)):
        for length, begin in product(range(1, m + 1), range(line)):
            require_loose(windows(m, length), line, begin, 7)
    return f"Z <= m <= {most}, B <= 3, counted run by run, every place, rotation and begin"


def require_loose(cells: Any, line: int, begin: int, ends: int) -> None:
    """Do nothing if ceil(Z/B) + ends is more than any count."""
    found, bound = int(visits(cells, line, begin).max()), -(-cells.shape[-1] // line) + ends
    require(found < bound, f"Z={cells.shape[-1]}, B={line}: {found} lines, bound {bound}")


CHECKS = (
    Check(
        10,
        "runs",
        "Z <= m consecutive weights are at most 4 runs of cells in order, 3 as a set; both are met",
        "exhaustive",
        run_counts,
        "3 runs in order",
        lambda: require_runs(windows(6, 6), 3, 3),
    ),
    Check(
        10,
        "more than a lap",
        "4 runs fail for Z > m: 6 at Z = m + 4",
        "exhaustive",
        more_than_a_lap,
        "Z = m",
        lambda: require_many(windows(6, 6), 6),
        scope="fails outside",
    ),
    Check(
        10,
        "most lines",
        "ceil((Z-c)/B) + c <= Z, met: c = 3 aligned and B | m, 4 aligned, 5 unaligned; run by run 3, 5, 7",
        "exhaustive",
        bounds,
        "c = 3 without B | m",
        lambda: require_most(7, 2, range(7, 16), range(1), (3, 3)),
    ),
    Check(
        10,
        "simple bound",
        "ceil(Z/B) + 2R - 1 at R = 4 runs is true, and loose",
        "exhaustive",
        loose,
        "R = 1",
        lambda: require_loose(windows(6, 6), 2, 0, 1),
    ),
)
