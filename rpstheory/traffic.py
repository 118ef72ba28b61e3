r"""Load, memory traffic, rows and cost of a shared bank: counts, exact.

They follow from where a fold puts its weights: n flat positions in laps of m, each lap rotated by a
start of its own. A *line* is a cache line of B bank elements.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import comb, exp, log1p, prod, sqrt
from typing import TYPE_CHECKING

import numpy as np

from rpstheory.closed_form import pairs_in_different_laps
from rpstheory.errors import ArgumentError
from rpstheory.mappings import Fold
from rpstheory.mappings.base import check_count

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_RUNS = 4
MOST_RUNS_AS_SET = 3


# Load (claim 9)


def least_colliding_pairs(n: int, m: int) -> int:
    r"""Ordered pairs of weights in one cell, D/m: the least of any map, and fold's in every draw.

    $r k(k-1) + (m-r)(k-1)(k-2)$: r cells carry k weights and m - r carry k - 1.

    Args:
        n: Weights.
        m: Cells.

    Returns:
        A count; 0 when n <= m.

    Raises:
        KindError: If a size is not a whole number.
        ArgumentError: If a size is below 1.

    Example:
        >>> least_colliding_pairs(n=7, m=3)
        10

    Source: claim 9; convexity of the squared load.
    """
    n, m = _sizes("least_colliding_pairs", n=n, m=m)
    return pairs_in_different_laps(n, m) // m


def unused_share_hashed(n: int, m: int) -> float:
    r"""Expected share of cells that hashing leaves empty, $(1-1/m)^n$.

    For fully independent cells. 4-wise independent ones, as shipped, give it for n <= 4; beyond, it is
    measured.

    Args:
        n: Weights.
        m: Cells.

    Returns:
        A share; 1/e at n = m, m large.

    Raises:
        KindError: If a size is not a whole number.
        ArgumentError: If a size is below 1.

    Source: claims 8, 9.
    """
    n, m = _sizes("unused_share_hashed", n=n, m=m)
    return 0.0 if m == 1 else exp(n * log1p(-1 / m))


def unused_share_rotated(sizes: Sequence[int], m: int) -> Fraction:
    r"""Expected share of cells left empty when every module folds by itself, $\prod_l (1-n_l/m)^+$.

    At 1x never above 1/e, which many small modules approach. A global fold leaves 0.

    Args:
        sizes: Weights of each module.
        m: Cells.

    Returns:
        A share, for independent uniform rotations.

    Raises:
        KindError: If a size is not a whole number.
        ArgumentError: If a size is below 1.

    Example:
        >>> unused_share_rotated([2, 1, 1], m=4)
        Fraction(9, 32)

    Source: claim 9.
    """
    (m,) = _sizes("unused_share_rotated", m=m)
    return prod(
        (Fraction(max(0, m - size), m) for size in _modules("unused_share_rotated", sizes)),
        start=Fraction(1),
    )


def unused_share_deviation(sizes: Sequence[int], m: int) -> float:
    r"""Standard deviation, from seed to seed, of the share that :func:`unused_share_rotated` expects.

    Two cells at distance d are both missed by a module with probability $(1-(2n_l-o_l)/m)^+$, where
    $o_l = (n_l-d)^+ + (n_l-m+d)^+$.

    Args:
        sizes: Weights of each module.
        m: Cells.

    Returns:
        In shares of the bank.

    Raises:
        KindError: If a size is not a whole number.
        ArgumentError: If a size is below 1.

    Source: claim 9.
    """
    (m,) = _sizes("unused_share_deviation", m=m)
    modules = _modules("unused_share_deviation", sizes)
    distance = np.arange(1, m)
    both = np.ones(m - 1)
    for size in modules:
        shared = np.maximum(0, size - distance) + np.maximum(0, size - m + distance)
        both *= np.maximum(0, m - 2 * size + shared) / m
    mean = float(unused_share_rotated(modules, m))
    return sqrt(max(0.0, (mean + float(both.sum())) / m - mean**2))


# Memory traffic (claim 10)


def runs(mapping: Fold, first: int, length: int) -> list[tuple[int, int]]:
    """Runs of neighbouring cells that consecutive weights read, in reading order.

    Args:
        mapping: A fold.
        first: Position of the first weight.
        length: Number of weights, 1..m.

    Returns:
        (first cell, length) of each: at most 4; at most 3 once joined as a set.

    Raises:
        KindError: If a size is not a whole number.
        ArgumentError: If the mapping is not a fold, or the weights are not in it or more than m.

    Example:
        >>> from rpstheory import Fold
        >>> sum(size for _, size in runs(Fold(n=20, m=8, seed=0), first=5, length=6))
        6

    Source: claim 10.
    """
    if not isinstance(mapping, Fold):
        raise ArgumentError(f"runs: {type(mapping).__name__} came; laps of m are those of Fold; pass one")
    length = check_count("runs", "length", length, high=mapping.m, why="more would begin a third lap")
    last = f"{length} weights from there must be among the {mapping.n}"
    first = check_count("runs", "first", first, low=0, high=mapping.n - length, why=last)
    found: list[tuple[int, int]] = []
    while length:
        cell = mapping.cell(first)
        size = min(length, mapping.m - cell, mapping.m - first % mapping.m)
        if found and sum(found[-1]) == cell:
            cell, before = found.pop()
            found.append((cell, before + size))
        else:
            found.append((cell, size))
        first, length = first + size, length - size
    return found


def most_cache_lines(length: int, line: int, m: int, *, aligned: bool = True) -> int:
    r"""Most distinct lines that Z consecutive weights of a fold can touch, whatever the draw.

    $\lceil (Z-c)/B \rceil + c$, never more than Z nor than the bank has: c = 3 if the bank begins at a
    line and B divides m, 4 if it only begins at one, 5 in general. Each is attained for suitable m,
    place and rotations.

    Args:
        length: Z, 1..m.
        line: B, bank elements per line.
        m: Cells.
        aligned: Whether the bank begins at a line.

    Returns:
        A count of lines.

    Raises:
        KindError: If a size is not a whole number.
        ArgumentError: If a size is below 1, or Z above m.

    Example:
        >>> most_cache_lines(length=64, line=16, m=4096)
        7

    Source: claim 10.
    """
    length, line, m = _window("most_cache_lines", length, line, m)
    ends = 5 if not aligned else 3 if m % line == 0 else 4
    lines_of_bank = -(-m // line) if aligned else (m + 2 * (line - 1)) // line
    return min(length, lines_of_bank, -(-(length - ends) // line) + ends)


def most_line_visits(length: int, line: int, m: int, *, aligned: bool = True) -> int:
    r"""Most lines that Z consecutive weights visit run by run, one met in two runs counted twice.

    $\lceil (Z-c)/B \rceil + c$, never more than Z, with c = 3, 5, 7 in the place of 3, 4, 5.

    Args:
        length: Z, 1..m.
        line: B, bank elements per line.
        m: Cells.
        aligned: Whether the bank begins at a line.

    Returns:
        A count of visits.

    Raises:
        KindError: If a size is not a whole number.
        ArgumentError: If a size is below 1, or Z above m.

    Source: claim 10.
    """
    length, line, m = _window("most_line_visits", length, line, m)
    ends = 7 if not aligned else 3 if m % line == 0 else 5
    return min(length, -(-(length - ends) // line) + ends)


def most_cache_lines_in_lap(length: int, line: int, m: int) -> int:
    r"""Most distinct lines of Z consecutive weights inside one lap, $\lceil (Z-1)/B \rceil + 1$.

    As for any contiguous block; the bank begins at a line and B divides m.

    Args:
        length: Z, 1..m.
        line: B, a divisor of m.
        m: Cells.

    Returns:
        A count of lines, attained; never more than the bank has.

    Raises:
        KindError: If a size is not a whole number.
        ArgumentError: If a size is below 1, Z above m, or B does not divide m.

    Source: claim 10.
    """
    length, line, m = _window("most_cache_lines_in_lap", length, line, m, divides=True)
    return min(m // line, -(-(length - 1) // line) + 1)


def mean_cache_lines_in_lap(length: int, line: int, m: int) -> Fraction:
    r"""Mean number of distinct lines of Z consecutive weights inside one lap, $1 + (Z-1)/B$.

    Less $(Z-m+B-1)^+/B$, where the last line is the first again. The bank begins at a line and B divides m.

    Args:
        length: Z, 1..m.
        line: B, a divisor of m.
        m: Cells.

    Returns:
        The mean over uniform rotations, exact.

    Raises:
        KindError: If a size is not a whole number.
        ArgumentError: If a size is below 1, Z above m, or B does not divide m.

    Example:
        >>> mean_cache_lines_in_lap(length=64, line=16, m=4096)
        Fraction(79, 16)

    Source: claim 10.
    """
    length, line, m = _window("mean_cache_lines_in_lap", length, line, m, divides=True)
    return 1 + Fraction(length - 1 - max(0, length - m + line - 1), line)


def mean_cache_lines(length: int, line: int, m: int) -> Fraction:
    r"""Mean number of distinct lines of Z consecutive weights that begin anywhere in a lap.

    With f(a) the mean inside a lap, $(1-\frac{Z-1}{m}) f(Z) + \frac1m \sum_{a=1}^{Z-1}
    [f(a) + f(Z-a) - \frac{B}{m} f(a) f(Z-a)]$: the lap end adds at most $(1-1/B)(Z-1)/m$ while
    Z <= m-B+1.

    Args:
        length: Z, 1..m.
        line: B, a divisor of m.
        m: Cells.

    Returns:
        The mean over rotations and over the m places of the first weight in a lap that another follows.

    Raises:
        KindError: If a size is not a whole number.
        ArgumentError: If a size is below 1, Z above m, or B does not divide m.

    Source: claim 10; two laps' rotations differ by a uniform number.
    """
    length, line, m = _window("mean_cache_lines", length, line, m, divides=True)
    f = [mean_cache_lines_in_lap(a, line, m) for a in range(1, length + 1)]
    heads, tails = f[:-1], f[-2::-1]
    across = sum(a + b - Fraction(line, m) * a * b for a, b in zip(heads, tails, strict=True))
    return ((m - length + 1) * f[-1] + across) / m


def mean_cache_lines_hashed(length: int, line: int, m: int) -> float:
    r"""Mean number of distinct lines of Z hashed weights, $\frac{m}{B}(1-(1-\frac{B}{m})^Z)$.

    For fully independent cells; 4-wise independent ones, as shipped, give it for Z <= 4.

    Args:
        length: Z, at least 1.
        line: B, a divisor of m.
        m: Cells.

    Returns:
        The mean; close to Z while Z B is small against m.

    Raises:
        KindError: If a size is not a whole number.
        ArgumentError: If a size is below 1, or B does not divide m.

    Source: claim 10.
    """
    _, line, m = _window("mean_cache_lines_hashed", 1, line, m, divides=True)
    (length,) = _sizes("mean_cache_lines_hashed", length=length)
    return m // line * (1 - unused_share_hashed(length, m // line))


# Rows (claim 17)


def expected_zero_rows(rows: int, width: int, m: int) -> Fraction:
    r"""Expected all-zero rows of an N x d table pruned to exactly m weights at random.

    $N \binom{Nd-d}{m} / \binom{Nd}{m}$; at least N - m in every draw.

    Args:
        rows: N.
        width: d.
        m: Weights kept, 1..Nd.

    Returns:
        A number of rows, exact for uniform subsets.

    Raises:
        KindError: If a size is not a whole number.
        ArgumentError: If a size is below 1, or m above Nd.

    Example:
        >>> expected_zero_rows(rows=4, width=2, m=2)
        Fraction(15, 7)

    Source: claim 17.
    """
    rows, width = _sizes("expected_zero_rows", rows=rows, width=width)
    m = check_count("expected_zero_rows", "m", m, high=rows * width)
    return Fraction(rows * comb(rows * width - width, m), comb(rows * width, m))


def least_distinct_cells(width: int, m: int) -> int:
    r"""Fewest distinct cells that d consecutive weights of a fold read, $\min(m, \lceil d/2 \rceil)$.

    A row inside one lap reads all of its d; the least is attained by a row that a lap end halves.

    Args:
        width: d.
        m: Cells.

    Returns:
        A count.

    Raises:
        KindError: If a size is not a whole number.
        ArgumentError: If a size is below 1.

    Source: claim 17.
    """
    width, m = _sizes("least_distinct_cells", width=width, m=m)
    return min(m, -(-width // 2))


def expected_distinct_cells(head: int, tail: int, m: int) -> Fraction:
    r"""Expected distinct cells of a row cut by a lap end into a + b weights, $a + b - ab/m$.

    Args:
        head: a, weights before the lap end, 0..m.
        tail: b, weights after it, 0..m.
        m: Cells.

    Returns:
        The mean over rotations, exact.

    Raises:
        KindError: If a size is not a whole number.
        ArgumentError: If a size is out of range.

    Source: claim 17.
    """
    owner = "expected_distinct_cells"
    (m,) = _sizes(owner, m=m)
    a = check_count(owner, "head", head, low=0, high=m)
    b = check_count(owner, "tail", tail, low=0, high=m)
    return a + b - Fraction(a * b, m)


# Cost (claim 19)


@dataclass(frozen=True)
class Traffic:
    """Bytes of one pass over a layer's weights.

    Attributes:
        held: Kept between passes.
        peak: Resident during a pass.
        read: Loaded.
        written: Stored.
    """

    held: int
    peak: int
    read: int
    written: int

    @property
    def moved(self) -> int:
        """Loaded and stored."""
        return self.read + self.written


def bytes_moved(n: int, m: int, *, word: int = 4, index: int = 0) -> dict[str, Traffic]:
    """Bytes that one product with n weights moves, by the way in which they are read.

    Sharing reduces what is held. What is moved goes down only if the weights are never written out, and
    to min(n, m) words only if the bank stays in a cache. FLOPs are those of the dense product.

    Args:
        n: Weights.
        m: Cells of the bank.
        word: Bytes per number.
        index: Bytes per weight of a stored cell number; 0 for a computed one.

    Returns:
        "dense", no sharing; "expand first", the weights are written and read again; "fused, bank
        cached" and "fused, bank streamed", every weight is read from its cell where it is used.

    Raises:
        KindError: If a size is not a whole number.
        ArgumentError: If n, m or word is below 1, or index below 0.

    Example:
        >>> {name: t.moved for name, t in bytes_moved(n=1000, m=100, word=2).items()}
        {'dense': 2000, 'expand first': 4200, 'fused, bank cached': 200, 'fused, bank streamed': 2000}

    Source: claim 19; lines in place of words: claim 10.
    """
    n, m, word = _sizes("bytes_moved", n=n, m=m, word=word)
    table = n * check_count("bytes_moved", "index", index, low=0)
    weights, bank, once = n * word, m * word, min(n, m) * word
    held = bank + table
    return {
        "dense": Traffic(weights, weights, weights, 0),
        "expand first": Traffic(held, held + weights, once + table + weights, weights),
        "fused, bank cached": Traffic(held, held, once + table, 0),
        "fused, bank streamed": Traffic(held, held, weights + table, 0),
    }


def _sizes(owner: str, **sizes: int) -> tuple[int, ...]:
    return tuple(check_count(owner, name, value) for name, value in sizes.items())


def _modules(owner: str, sizes: Sequence[int]) -> list[int]:
    return [check_count(owner, "a module's size", size) for size in sizes]


def _window(owner: str, length: int, line: int, m: int, *, divides: bool = False) -> tuple[int, int, int]:
    line, m = _sizes(owner, line=line, m=m)
    if divides and m % line:
        raise ArgumentError(
            f"{owner}: line={line} does not divide m={m}; the mean is known where it does: "
            "round m to whole lines"
        )
    return check_count(owner, "length", length, high=m), line, m
