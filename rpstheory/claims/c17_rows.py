"""Claim 17: a pruned table has all-zero rows, a shared one has none."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from rpstheory.claim import Check, Claim, Setting
from rpstheory.mappings import AbstractMapping, Fold, Hashed, KeepBernoulli, KeepExact
from rpstheory.samplers import Draws
from rpstheory.traffic import (
    expected_distinct_cells,
    expected_zero_rows,
    least_distinct_cells,
    unused_share_hashed,
)

WIDTH = 4


def rows(values: Any, width: int) -> Any:
    """Entries of each whole row, (draws, n) → (draws, rows, width)."""
    whole = values.shape[1] // width
    return values[:, : whole * width].reshape(len(values), whole, width)


def distinct(cells: Any, width: int) -> Any:
    """Distinct cells that each row reads, (draws, rows)."""
    ordered = np.sort(rows(cells, width), axis=2)
    return 1 + (np.diff(ordered, axis=2) != 0).sum(axis=2)


def zero_rows(cells: Any, signs: Any) -> Any:
    """Rows whose weights are all dropped."""
    return (~rows(signs, WIDTH).any(axis=2)).sum(axis=1).astype(np.float64)


def too_few_zero_rows(cells: Any, signs: Any, kept: int) -> Any:
    """Whether fewer than N - m rows are zero."""
    return zero_rows(cells, signs) < signs.shape[1] // WIDTH - kept


def meets_itself(cells: Any, signs: Any, size: int, width: int) -> Any:
    """Whether a row that no lap end cuts reads fewer cells than it has weights."""
    begin = np.arange(cells.shape[1] // width) * width
    whole = begin % size <= size - width
    return np.any(distinct(cells, width)[:, whole] < width, axis=1)


def reads_too_few(cells: Any, signs: Any, size: int, width: int) -> Any:
    """Whether some row reads fewer cells than min(m, ceil(d/2))."""
    return distinct(cells, width).min(axis=1) < least_distinct_cells(width, size)


def is_zero_wrongly(cells: Any, signs: Any, size: int, width: int) -> Any:
    """Whether some row of a bank with zeros is zero although a cell of it is not, or the reverse."""
    bank = (np.arange(size) >= min(width, size - 1)) * 1.0  # zeros where a row may lie
    cleared = (rows(cells, width) < min(width, size - 1)).all(axis=2)
    return np.any(cleared != ~rows(signs * bank[cells], width).any(axis=2), axis=1)


def first_row(cells: Any, signs: Any, begin: int) -> Any:
    """Distinct cells of the row of 8 weights that begins there."""
    return distinct(cells[:, begin : begin + 8], 8)[:, 0].astype(np.float64)


def mean_distinct(cells: Any, signs: Any) -> Any:
    """Mean over rows of the distinct cells they read."""
    return distinct(cells, WIDTH).mean(axis=1)


def coincidences(cells: Any, signs: Any, width: int) -> Any:
    """Pairs of rows that read the same cells in order: equal up to signs for any bank."""
    names = rows(cells, width) @ (1 + cells.max()) ** np.arange(width)
    same = names[:, :, None] == names[:, None, :]
    return np.triu(same, 1).sum(axis=(1, 2)).astype(np.float64)


def checks(setting: Setting) -> list[Check]:
    """Pruned tables, rows of a fold whole and cut, coincidences, hashed rows."""
    always = partial(Check, predicted=0.0, relation="always")
    kept, table = 6, 16  # weights of 16 rows
    n = table * WIDTH
    exact, bernoulli = KeepExact(n, kept, 0), KeepBernoulli(n, kept, 0)
    found: list[Check] = [
        always(
            f"at least {table - kept} of {table} rows zero, {kept} of {n} weights kept",
            Draws(exact, partial(too_few_zero_rows, kept=kept)),
        ),
        Check(
            "zero rows, exact subset", Draws(exact, zero_rows), float(expected_zero_rows(table, WIDTH, kept))
        ),
        Check("zero rows, Bernoulli", Draws(bernoulli, zero_rows), table * (1 - kept / n) ** WIDTH),
        whole_rows("whole rows read d distinct cells", Fold(96, 16, 0), 4),
        whole_rows("whole rows, ragged laps, read d distinct cells", Fold(190, 19, 0), 5),
    ]
    for size, width in ((8, 4), (7, 5), (6, 9), (5, 12)):
        fold = Fold(20 * width, size, 0)
        how = {"size": size, "width": width}
        text = f"d={width}, m={size}"
        found += [
            always(
                f"rows read at least min(m, ceil(d/2)), {text}", Draws(fold, partial(reads_too_few, **how))
            ),
            always(f"zero iff the bank is, {text}", Draws(fold, partial(is_zero_wrongly, **how))),
        ]
    laps, size, width = 8, 8, 4
    pairs_of_rows = laps * (laps - 1) // 2 * (size // width) ** 2
    many = Fold(laps * size, size, 0)
    found += [
        Check(
            "rows that coincide up to signs",
            Draws(many, partial(coincidences, width=width)),
            pairs_of_rows * float(many.collision_probability(0, size)),
        ),
        Check(
            "distinct cells of a row cut into 3 + 5",
            Draws(Fold(32, 16, 0), partial(first_row, begin=13)),
            float(expected_distinct_cells(3, 5, 16)),
            scope="outside",
            claimed=8.0,
            condition="a lap end cuts the row",
        ),
        Check(
            "distinct cells of a hashed row, d=4, m=8",
            Draws(Hashed(64, 8, 0), mean_distinct),
            8 * (1 - unused_share_hashed(WIDTH, 8)),
            scope="outside",
            claimed=float(WIDTH),
            condition="hashed",
        ),
    ]
    return found


def whole_rows(name: str, mapping: AbstractMapping, width: int) -> Check:
    """Rows that no lap end cuts never read a cell twice."""
    how = partial(meets_itself, size=mapping.m, width=width)
    return Check(name, Draws(mapping, how), 0.0, "always", condition="d <= m, not cut by a lap end")


def mutant_check(setting: Setting) -> Check:
    """Rows of a hashed table."""
    return whole_rows("mutant: hashed rows", Hashed(96, 16, 0), 4)


CLAIM = Claim(
    number=17,
    name="rows",
    title="Pruning empties rows, sharing does not",
    statement=(
        "An N x d table pruned to m < N weights has at least N - m rows of zeros, and "
        "N binom(Nd-d, m)/binom(Nd, m) on average for a uniform subset. Under fold a row that no lap end "
        "cuts reads d distinct cells (d <= m), and no row reads fewer than min(m, ceil(d/2)); it is zero iff "
        "the bank is zero on them, which never happens to a bank with a continuous law. Two rows of "
        "different laps, neither cut, coincide up to signs with probability 1/m."
    ),
    assumptions=(
        "rows are consecutive weights",
        "the average of pruning: every subset of m weights equally likely",
    ),
    formula=(
        r"E\,[zero\ rows] = N\,\binom{Nd-d}{m}\,/\,\binom{Nd}{m} \geq N - m,\qquad "
        r"cells\ of\ a\ row \geq \min(m, \lceil d/2 \rceil)"
    ),
    source="STABLE-RPS (ICLR 2024), example of a pruned embedding table; counts derived here",
    footing="measured on the shipped hash",
    checks=checks,
    mutant="hashed cells in the place of fold",
    mutant_check=mutant_check,
    remarks=(
        "Measured is the average for KeepExact, whose permutation is not proved uniform; everything else is"
        " proved. Bernoulli pruning has N(1-m/(Nd))^d zero rows on average, exactly so for d <= 4 under "
        "4-wise independence, but no least number. A row cut into a + b weights reads a + b - ab/m cells on"
        " average; ceil(d/2) is attained where the halves coincide. Two rows that a lap end cuts alike "
        "coincide with probability 1/m^2, cut differently 1/m^3, hashed rows 1/m^d. A hashed row of d <= 4 "
        "weights reads m(1-(1-1/m)^d)."
    ),
)
