"""Claims 9, 10 and 17: the shipped counts are the counted ones.

Shows: in the ranges given, each function of `rpstheory.traffic` equals a count over every map, every
rotation, or every subset. Does not show: sizes beyond them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from itertools import product
from typing import Any

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from rpstheory import traffic

Formula = Callable[..., Any]


def fewest_pairs(level: Level, formula: Formula = traffic.least_colliding_pairs) -> str:
    """Over all m^n maps of n weights."""
    most = level.pick(5, 6, 7)
    for n, m in product(range(1, most + 1), range(1, 5)):
        cells = u.hashed_cells(n, m)
        pairs = (cells[:, :, None] == cells[:, None, :]).sum(axis=(1, 2)) - n
        least = formula(n, m)
        require(pairs.min() == least, f"n={n}, m={m}: {pairs.min()} pairs collide at least, not {least}")
    return f"n to {most}, m to 4, all maps"


def unused(level: Level, formula: Formula = traffic.unused_share_rotated) -> str:
    """Mean over every rotation of each module of the share of cells that carry nothing."""
    most = level.pick(4, 5, 6)
    for m in range(1, most + 1):
        for sizes in product(range(1, 2 * m + 1), repeat=2):
            empty = 0
            for starts in product(range(m), repeat=2):
                held = {(a + i) % m for a, size in zip(starts, sizes, strict=True) for i in range(size)}
                empty += m - len(held)
            mean = Fraction(empty, m**3)
            require(formula(list(sizes), m) == mean, f"modules {sizes}, m={m}: {mean} unused")
    return f"two modules, m to {most}"


def windows(most: int) -> Iterator[tuple[int, int, int]]:
    """(Z, B, m) with B a divisor of m."""
    for m in range(1, most + 1):
        for line in (b for b in range(1, m + 1) if m % b == 0):
            for length in range(1, m + 1):
                yield length, line, m


def lines(first: int, length: int, line: int, m: int, shifts: tuple[int, ...]) -> int:
    """Distinct lines under Z weights that begin at place ``first`` of a lap which another follows."""
    place = range(first, first + length)
    return len({(shifts[i // m] + i % m) % m // line for i in place})


def most_lines(level: Level, formula: Formula = traffic.most_cache_lines) -> str:
    """The largest number of lines over every place and both rotations never exceeds the formula."""
    most, met = level.pick(8, 10, 14), 0
    for length, line, m in windows(most):
        found = max(
            lines(first, length, line, m, shifts)
            for first in range(m)
            for shifts in product(range(m), repeat=2)
        )
        bound = formula(length, line, m)
        require(found <= bound, f"Z={length}, B={line}, m={m}: {found} lines, bound {bound}")
        met += found == bound
    require(met, "the bound is nowhere met")
    return f"every place and rotation, B | m, m to {most}; met in {met} cases"


def mean_lines(level: Level, formula: Formula = traffic.mean_cache_lines) -> str:
    """The mean number of lines over every place and both rotations, and inside one lap."""
    most = level.pick(6, 8, 12)
    for length, line, m in windows(most):
        found = [
            lines(first, length, line, m, shifts)
            for first in range(m)
            for shifts in product(range(m), repeat=2)
        ]
        mean = Fraction(sum(found), len(found))
        require(formula(length, line, m) == mean, f"Z={length}, B={line}, m={m}: mean {mean}")
        inside = Fraction(sum(lines(0, length, line, m, (a, a)) for a in range(m)), m)
        shipped = traffic.mean_cache_lines_in_lap(length, line, m)
        require(shipped == inside, f"Z={length}, B={line}, m={m}: mean {inside} in a lap")
    return f"every place and rotation, B | m, m to {most}"


def zero_rows(level: Level, formula: Formula = traffic.expected_zero_rows) -> str:
    """Over every subset of the table's entries."""
    most = level.pick(8, 12, 15)
    for rows, width in product(range(1, most + 1), repeat=2):
        if rows * width > most:
            continue
        for m in range(1, rows * width + 1):
            kept = u.keep_exact(rows * width, m).signs.reshape(-1, rows, width)
            mean = Fraction(int((kept == 0).all(axis=2).sum()), len(kept))
            require(formula(rows, width, m) == mean, f"{rows} x {width}, m={m}: {mean} rows")
    return f"tables of at most {most} entries, every subset"


def row_cells(level: Level, formula: Formula = traffic.least_distinct_cells) -> str:
    """Distinct cells of a row, over every place and rotation."""
    most = level.pick(6, 9, 12)
    for m in range(1, most + 1):
        for width in range(1, m + 1):
            found = {
                head: [lines(m - head, width, 1, m, shifts) for shifts in product(range(m), repeat=2)]
                for head in range(width + 1)
            }
            least = min(map(min, found.values()))
            require(formula(width, m) == least, f"d={width}, m={m}: {least} cells at least")
            for head, counts in found.items():
                mean = Fraction(sum(counts), len(counts))
                shipped = traffic.expected_distinct_cells(head, width - head, m)
                require(shipped == mean, f"d={head}+{width - head}, m={m}: {mean} cells")
    return f"d <= m <= {most}, every place and rotation"


def hashed_unused(level: Level, formula: Formula = traffic.unused_share_hashed) -> str:
    """Over all maps; the shipped value is a float, compared to within 1e-15."""
    most = level.pick(5, 6, 7)
    for n, m in product(range(1, most + 1), range(1, 5)):
        cells = u.hashed_cells(n, m)
        held = sum(int((cells == c).any(axis=1).sum()) for c in range(m))
        mean = 1 - Fraction(held, m * len(cells))
        require(abs(Fraction(formula(n, m)) - mean) < Fraction(1, 10**15), f"n={n}, m={m}: {mean} unused")
    return f"n to {most}, m to 4, all maps"


def below(formula: Formula) -> Formula:
    """One less."""
    return lambda *sizes: formula(*sizes) - 1


ROWS: tuple[tuple[int, str, str, Callable[..., str], Formula], ...] = (
    (
        9,
        "shipped fewest pairs",
        "least_colliding_pairs = minimum over all maps",
        fewest_pairs,
        traffic.least_colliding_pairs,
    ),
    (
        9,
        "shipped unused share, rotated",
        "unused_share_rotated = mean over every rotation",
        unused,
        traffic.unused_share_rotated,
    ),
    (
        9,
        "shipped unused share, hashed",
        "unused_share_hashed = mean over all maps",
        hashed_unused,
        traffic.unused_share_hashed,
    ),
    (
        10,
        "shipped most lines",
        "most_cache_lines bounds every draw and is met",
        most_lines,
        traffic.most_cache_lines,
    ),
    (
        10,
        "shipped mean lines",
        "mean_cache_lines and mean_cache_lines_in_lap = mean over draws",
        mean_lines,
        traffic.mean_cache_lines,
    ),
    (
        17,
        "shipped zero rows",
        "expected_zero_rows = mean over every subset",
        zero_rows,
        traffic.expected_zero_rows,
    ),
    (
        17,
        "shipped cells of a row",
        "least_distinct_cells and expected_distinct_cells = least and mean over draws",
        row_cells,
        traffic.least_distinct_cells,
    ),
)


def check(claim: int, name: str, statement: str, survey: Callable[..., str], formula: Formula) -> Check:
    """A check whose twin takes one less than the formula says."""
    twin = partial(survey, Level.QUICK, below(formula))
    return Check(claim, name, statement, "agreement", survey, "one less", twin)


CHECKS = tuple(check(*row) for row in ROWS)
