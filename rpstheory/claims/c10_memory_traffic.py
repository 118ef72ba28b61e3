"""Claim 10: neighbouring weights of a fold lie in few cache lines."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from rpstheory.claim import Check, Claim, Setting
from rpstheory.mappings import AbstractMapping, Fold, Hashed
from rpstheory.samplers import Draws
from rpstheory.traffic import (
    MOST_RUNS,
    MOST_RUNS_AS_SET,
    mean_cache_lines,
    mean_cache_lines_hashed,
    mean_cache_lines_in_lap,
    most_cache_lines,
    most_cache_lines_in_lap,
    most_line_visits,
)

LINE, LENGTH = 8, 20
# Cells, a multiple of the line and not, where in a line the bank begins, and weights: so that bounds lower by
# one would fail in 1 % of the draws or more (run by run, unaligned and B | m: not even that).
WHOLE, CUT, BEGIN, MANY = 96, 42, 7, 400


def windows(cells: Any) -> Any:
    """Cells of every 20 consecutive weights, (draws, windows, 20)."""
    return np.lib.stride_tricks.sliding_window_view(cells, LENGTH, axis=1)


def distinct(values: Any) -> Any:
    """Number of distinct values on the last axis."""
    ordered = np.sort(values, axis=-1)
    return 1 + (np.diff(ordered, axis=-1) != 0).sum(axis=-1)


def lines(cells: Any, begin: int = 0) -> Any:
    """Distinct lines of every window, in a bank that begins at element ``begin`` of a line."""
    return distinct(windows((cells + begin) // LINE))


def visits(cells: Any, begin: int = 0) -> Any:
    """Lines of every window counted run by run."""
    cells = windows(cells + begin)
    new_run = np.diff(cells, axis=-1) != 1
    new_line = np.diff(cells // LINE, axis=-1) != 0
    return 1 + (new_run | new_line).sum(axis=-1)


def in_laps(counts: Any, m: int) -> Any:
    """Only those of windows inside one lap."""
    return counts[:, np.arange(counts.shape[1]) % m <= m - LENGTH]


def more_lines(cells: Any, signs: Any, most: int, begin: int = 0) -> Any:
    """Whether some window touches more lines than that."""
    return lines(cells, begin).max(axis=1) > most


def more_visits(cells: Any, signs: Any, most: int, begin: int = 0) -> Any:
    """Whether some window visits more lines than that."""
    return visits(cells, begin).max(axis=1) > most


def more_lines_in_lap(cells: Any, signs: Any, most: int, m: int) -> Any:
    """Whether some window inside a lap touches more lines than that."""
    return in_laps(lines(cells), m).max(axis=1) > most


def more_runs(cells: Any, signs: Any) -> Any:
    """Whether some window has more than 4 runs in order, or more than 3 as a set."""
    ordered = 1 + (np.diff(windows(cells), axis=-1) != 1).sum(axis=-1)
    as_set = 1 + (np.diff(np.sort(windows(cells), axis=-1), axis=-1) > 1).sum(axis=-1)
    return (ordered.max(axis=1) > MOST_RUNS) | (as_set.max(axis=1) > MOST_RUNS_AS_SET)


def mean_lines(cells: Any, signs: Any, places: int) -> Any:
    """Mean number of lines of the first windows."""
    return lines(cells)[:, :places].mean(axis=1)


def checks(setting: Setting) -> list[Check]:
    """Runs, the bounds in each alignment, the means, and hashing."""
    always = partial(Check, predicted=0.0, relation="always")
    found = [always("at most 4 runs, 3 as a set", Draws(Fold(200, CUT, 0), more_runs))]
    for m, begin, text in (
        (WHOLE, 0, "line-aligned, B | m"),
        (CUT, 0, "line-aligned"),
        (CUT, BEGIN, "unaligned"),
        (WHOLE, BEGIN, "unaligned, B | m"),
    ):
        fold = Fold(MANY, m, 0)
        most = most_cache_lines(LENGTH, LINE, m, aligned=not begin)
        visited = most_line_visits(LENGTH, LINE, m, aligned=not begin)
        found += [
            always(
                f"at most {most} lines, {text}",
                Draws(fold, partial(more_lines, most=most, begin=begin)),
                condition=text,
            ),
            always(
                f"at most {visited} counted run by run, {text}",
                Draws(fold, partial(more_visits, most=visited, begin=begin)),
                condition=text,
            ),
        ]
    most = most_cache_lines_in_lap(LENGTH, LINE, WHOLE)
    inside = partial(more_lines_in_lap, most=most, m=WHOLE)
    mean = float(mean_cache_lines(LENGTH, LINE, WHOLE))
    hashed = Hashed(LENGTH, WHOLE, 0)
    return [
        *found,
        always(
            f"at most {most} lines inside a lap",
            Draws(Fold(200, WHOLE, 0), inside),
            condition="inside a lap, line-aligned, B | m",
        ),
        average("inside a lap", Fold(LENGTH, WHOLE, 0), 1, mean_cache_lines_in_lap),
        average("from any place of a lap", Fold(2 * WHOLE, WHOLE, 0), WHOLE, mean_cache_lines),
        Check(
            "mean lines, hashed",
            Draws(hashed, partial(mean_lines, places=1)),
            mean_cache_lines_hashed(LENGTH, LINE, WHOLE),
            scope="outside",
            claimed=mean,
            condition="hashed",
        ),
    ]


def average(text: str, mapping: AbstractMapping, places: int, formula: Any) -> Check:
    """Mean lines of windows that begin at the first places of a fold of 96 cells."""
    predicted = float(formula(LENGTH, LINE, WHOLE))
    return Check(f"mean lines {text}", Draws(mapping, partial(mean_lines, places=places)), predicted)


def mutant_check(setting: Setting) -> Check:
    """The bound of one contiguous block, lap ends forgotten."""
    most = most_cache_lines_in_lap(LENGTH, LINE, WHOLE)
    sampler = Draws(Fold(200, WHOLE, 0), partial(more_lines, most=most))
    return Check("mutant: one contiguous block", sampler, 0.0, "always")


CLAIM = Claim(
    number=10,
    name="memory-traffic",
    title="Neighbouring weights stay in few cache lines",
    statement=(
        "Z <= m consecutive weights of a fold are at most 4 runs of neighbouring cells in order and at most "
        "3 as a set. They touch at most ceil((Z-c)/B) + c distinct cache lines of B elements: c = 3 if the "
        "bank begins at a line and B divides m, 4 if it begins at a line, 5 in general; never more than Z. "
        "Inside one lap ceil((Z-1)/B) + 1, and 1 + (Z-1)/B on average, as for any contiguous block."
    ),
    assumptions=(
        "Z <= m",
        "averages: the bank begins at a line, B divides m, Z <= m-B+1, uniform rotations",
    ),
    formula=(
        r"lines \leq \left\lceil \frac{Z-c}{B} \right\rceil + c,\quad c \in \{3, 4, 5\};\qquad "
        r"E\,lines = 1 + \frac{Z-1}{B}\ \mathrm{in\ a\ lap}"
    ),
    source="STABLE-RPS (ICLR 2024), theorem on cache-line fetches, re-derived and sharpened",
    footing="proved for the shipped hash",
    checks=checks,
    mutant="the bound of one contiguous block where lap ends are crossed",
    mutant_check=mutant_check,
    remarks=(
        "All bounds are attained for suitable m, place and rotations (every Z <= 18, B <= 6 enumerated up "
        "to m = 64); a bank of few lines caps them. Counted run by run, a line met twice counted twice, c "
        "is 3, 5, 7. The mean over all places of a lap is exact too: with f(a) = 1 + (a-1)/B it is "
        "(1-(Z-1)/m) f(Z) + (1/m) sum_a [f(a) + f(Z-a) - (B/m) f(a) f(Z-a)], at most f(Z) + (1-1/B)(Z-1)/m."
        " In a lap it needs no B | m: 1 + (Z-1) ceil(m/B)/m for Z <= m-B+1. For Z > m-B+1 the mean in a lap"
        " is lower by (Z-m+B-1)/B. The mean of hashing, (m/B)(1-(1-B/m)^Z), needs independent cells and is "
        "measured on the shipped hash."
    ),
)
