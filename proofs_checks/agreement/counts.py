"""Claims 9, 10 and 17: the shipped counts are the counted ones.

Shows: in the ranges given, each function of `rpstheory.traffic` equals a count over every map, every
rotation, or every subset; the most lines are met at every m that lines of an aligned bank fill, and else at
some m for each length of the window. Does not show: sizes beyond them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import product
from math import exp, prod
from typing import Any

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.exhaustive.traffic import distinct, visits, windows
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


def filled(most: int) -> Iterator[tuple[int, int, int]]:
    """(Z, B, m) with B a divisor of m."""
    for m in range(1, most + 1):
        for line in (b for b in range(1, m + 1) if m % b == 0):
            for length in range(1, m + 1):
                yield length, line, m


def lines(first: int, length: int, line: int, m: int, shifts: tuple[int, ...]) -> int:
    """Distinct lines under Z weights that begin at place ``first`` of a lap which another follows."""
    place = range(first, first + length)
    return len({(shifts[i // m] + i % m) % m // line for i in place})


def lines_met(cells: Any, line: int, begin: int) -> Any:
    """Distinct lines on the last axis, the bank beginning at this place in a line."""
    return distinct((cells + begin) // line)


def most_lines(level: Level, formula: Formula = traffic.most_cache_lines, count: Formula = lines_met) -> str:
    """The largest count over every place, both rotations and, unaligned, every begin of the bank."""
    longest, widest = level.pick((8, 3), (10, 4), (14, 6))
    for length, line, aligned in product(range(1, longest + 1), range(1, widest + 1), (True, False)):
        found, bound = {}, {}
        for m in range(length, length + 4 * line + 1):
            cells, begins = windows(m, length), range(1 if aligned else line)
            found[m] = max(int(count(cells, line, begin).max()) for begin in begins)
            bound[m] = formula(length, line, m, aligned=aligned)
        name = f"Z={length}, B={line}, aligned={aligned}: by m at most {found}, bounds {bound}"
        whole = [m for m in found if aligned and m % line == 0]
        others = [m for m in found if m not in whole]
        require(all(found[m] <= bound[m] for m in found), name)
        require(all(found[m] == bound[m] for m in whole), name)
        require(not others or max(found[m] for m in others) == max(bound[m] for m in others), name)
    return (
        f"Z <= {longest}, B <= {widest}, Z <= m <= Z + 4B; met at each Z and B, at all m if aligned and B | m"
    )


def mean_lines(level: Level, formula: Formula = traffic.mean_cache_lines) -> str:
    """The mean number of lines over every place and both rotations, and inside one lap."""
    most = level.pick(6, 8, 12)
    for length, line, m in filled(most):
        found = [
            lines(first, length, line, m, shifts)
            for first in range(m)
            for shifts in product(range(m), repeat=2)
        ]
        mean = Fraction(sum(found), len(found))
        require(formula(length, line, m) == mean, f"Z={length}, B={line}, m={m}: mean {mean}")
        inside = [lines(0, length, line, m, (a, a)) for a in range(m)]
        mean, most_of_all = Fraction(sum(inside), m), max(inside)
        name = f"Z={length}, B={line}, m={m}, in a lap: mean {mean}, at most {most_of_all}"
        require(traffic.mean_cache_lines_in_lap(length, line, m) == mean, name)
        require(traffic.most_cache_lines_in_lap(length, line, m) == most_of_all, name)
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
    """Over all maps; the shipped float is right within 4 u, u = 2^-53.

    For m >= 2 the exponent e is off by at most 4.5 u |e| (a quotient, log1p, a product), the exponential by
    2 u; |e| exp(-|e|) <= 1/e.
    """
    most = level.pick(5, 6, 7)
    for n, m in product(range(1, most + 1), range(1, 5)):
        cells = u.hashed_cells(n, m)
        held = sum(int((cells == c).any(axis=1).sum()) for c in range(m))
        mean = 1 - Fraction(held, m * len(cells))
        require(abs(Fraction(formula(n, m)) - mean) <= Fraction(4, 2**53), f"n={n}, m={m}: {mean} unused")
    return f"n to {most}, m to 4, all maps"


def as_if_whole(n: int, m: int) -> Fraction:
    """n(n-m)/m, which needs m | n."""
    return Fraction(n * max(0, n - m), m)


def uncut(sizes: list[int], m: int) -> Fraction:
    """The product of 1 - n_l/m, negative factors included."""
    return prod((1 - Fraction(size, m) for size in sizes), start=Fraction(1))


def floored(length: int, line: int, m: int, *, aligned: bool) -> int:
    """floor((Z-c)/B) + c."""
    ends = 5 if not aligned else 4 if m % line else 3
    return min(traffic.most_cache_lines(length, line, m, aligned=aligned), (length - ends) // line + ends)


def once_a_line(length: int, line: int, m: int, *, aligned: bool) -> int:
    """ceil((Z-c)/B) + c with c = 3, 4, 5, as for distinct lines."""
    ends = 5 if not aligned else 4 if m % line else 3
    return min(length, -(-(length - ends) // line) + ends)


def kept_by_itself(rows: int, width: int, m: int) -> Fraction:
    """N (1 - m/(Nd))^d."""
    return rows * (1 - Fraction(m, rows * width)) ** width


CHECKS = (
    Check(
        9,
        "shipped fewest pairs",
        "least_colliding_pairs = minimum over all maps",
        "agreement",
        fewest_pairs,
        "n(n-m)/m, as where m divides n",
        lambda: fewest_pairs(Level.QUICK, as_if_whole),
    ),
    Check(
        9,
        "shipped unused share, rotated",
        "unused_share_rotated = mean over every rotation",
        "agreement",
        unused,
        "1 - n_l/m is not cut at 0",
        lambda: unused(Level.QUICK, uncut),
    ),
    Check(
        9,
        "shipped unused share, hashed",
        "unused_share_hashed = mean over all maps",
        "agreement",
        hashed_unused,
        "exp(-n/m)",
        lambda: hashed_unused(Level.QUICK, lambda n, m: exp(-n / m)),
    ),
    Check(
        10,
        "shipped most lines",
        "most_cache_lines: no draw exceeds it; met at each Z and B, aligned or not, B | m or not",
        "agreement",
        most_lines,
        "floor for ceil",
        lambda: most_lines(Level.QUICK, floored),
    ),
    Check(
        10,
        "shipped most visits",
        "most_line_visits: no draw exceeds it run by run; met likewise",
        "agreement",
        lambda level: most_lines(level, traffic.most_line_visits, visits),
        "c = 3, 4, 5, as for distinct lines",
        lambda: most_lines(Level.QUICK, once_a_line, visits),
    ),
    Check(
        10,
        "shipped mean lines",
        "mean_cache_lines = mean over draws; the mean and the most in a lap likewise",
        "agreement",
        mean_lines,
        "lap ends are left out",
        lambda: mean_lines(Level.QUICK, traffic.mean_cache_lines_in_lap),
    ),
    Check(
        17,
        "shipped zero rows",
        "expected_zero_rows = mean over every subset",
        "agreement",
        zero_rows,
        "Bernoulli's N(1 - m/(Nd))^d",
        lambda: zero_rows(Level.QUICK, kept_by_itself),
    ),
    Check(
        17,
        "shipped cells of a row",
        "least_distinct_cells and expected_distinct_cells = least and mean over draws",
        "agreement",
        row_cells,
        "floor for ceil",
        lambda: row_cells(Level.QUICK, lambda width, m: min(m, width // 2)),
    ),
)
