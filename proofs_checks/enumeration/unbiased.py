"""Claim 1 by enumeration: when E<Sx, Sy> = <x, y>.

Shows: at each size listed, the mean over every draw of the mapping has, coefficient by coefficient, the
form of <x, y>, so it holds for all vectors; and signs that are functions of the cell break it.
Does not show: other sizes, nor that the shipped hash is such a universe (that is hash_fields).
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require
from proofs_checks.polynomials import difference, mean_form


def identity(n: int) -> Any:
    """(n, n) Fractions."""
    form = np.full((n, n), Fraction(0), dtype=object)
    for i in range(n):
        form[i, i] = Fraction(1)
    return form


def require_unbiased(universe: u.Universe, name: str) -> None:
    """Do nothing if the mean is <x, y> for all x and y."""
    where = difference(mean_form(universe), identity(universe.n))
    require(not where, f"{name}: E<Sx, Sy> is not <x, y>: {where}")


def shared(level: Level) -> str:
    """Every sharing, ragged laps and chunks included."""
    most = level.pick(4, 5, 6)
    count = 0
    for n in range(1, most + 1):
        for m in range(1, most + 1):
            kinds = {"fold": u.fold(n, m), "hashed": u.hashed(n, min(m, 4))}
            kinds |= {f"chunk {z}": u.chunk(n, m, z) for z in range(2, m)}
            kinds |= {f"block {z}": u.block(n, m, z) for z in range(2, m)}
            for name, universe in kinds.items():
                require_unbiased(universe, f"{name}, n={n}, m={m}")
                count += 1
    return f"{count} universes, n and m to {most}"


def pruned(level: Level) -> str:
    """Both random prunings, rescaled by n/m."""
    most = level.pick(5, 7, 9)
    for n in range(1, most + 1):
        for m in range(1, n + 1):
            require_unbiased(u.keep_exact(n, m), f"exact, n={n}, m={m}")
            require_unbiased(u.keep_bernoulli(n, m), f"Bernoulli, n={n}, m={m}")
    return f"1 <= m <= n <= {most}"


def tied_to_cells(n: int, m: int) -> u.Universe:
    """Fold whose sign is the parity of the cell."""
    cells = u.fold_cells(n, m)
    return u.Universe(m, cells, 1 - 2 * (cells % 2), np.ones(len(cells), dtype=np.int64))


def unscaled(n: int, m: int) -> u.Universe:
    """Exact pruning without its factor."""
    return replace(u.keep_exact(n, m), rescale=Fraction(1))


def tied_fails(level: Level) -> str:
    """Signs that are functions of the cell are biased as soon as two weights can meet."""
    most = level.pick(4, 5, 6)
    for n in range(2, most + 1):
        for m in range(1, n):
            form = mean_form(tied_to_cells(n, m))
            require(difference(form, identity(n)), f"fold with signs of cells is unbiased at n={n}, m={m}")
    return f"1 <= m < n <= {most}: biased at every size"


CHECKS = (
    Check(
        1,
        "sharing is unbiased",
        "E<Sx, Sy> = <x, y> for fair signs independent of the cells",
        "enumeration",
        shared,
        "the sign is the parity of the cell",
        lambda: require_unbiased(tied_to_cells(3, 2), "signs of cells"),
    ),
    Check(
        1,
        "random pruning is unbiased",
        "(n/m) E<Sx, Sy> = <x, y>, exact subset and Bernoulli",
        "enumeration",
        pruned,
        "the factor n/m is left out",
        lambda: require_unbiased(unscaled(3, 2), "pruning without n/m"),
    ),
    Check(
        1,
        "signs of cells",
        "fails if the sign is a function of the cell",
        "enumeration",
        tied_fails,
        "fair signs in place of signs of cells",
        lambda: require(difference(mean_form(u.fold(3, 2)), identity(3)), "fair signs are unbiased"),
        scope="fails outside",
    ),
)
