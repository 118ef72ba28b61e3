"""Claim 19: sharing reduces the bytes held, not the FLOPs, and the bytes moved only when fused."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from rpstheory.claim import Check, Claim, Setting
from rpstheory.mappings import Fold, Hashed
from rpstheory.samplers import Draws
from rpstheory.traffic import bytes_moved, mean_cache_lines_in_lap, unused_share_hashed

WORD, LINE, TILE = 4, 8, 24  # bytes, numbers per cache line, weights per tile


def distinct(values: Any) -> Any:
    """Number of distinct values on the last axis."""
    ordered = np.sort(values, axis=-1)
    return 1 + (np.diff(ordered, axis=-1) != 0).sum(axis=-1)


def expand_first(cells: Any, signs: Any) -> Any:
    """Bytes moved when every cell in use is read once and the weights are written and read again."""
    return WORD * (distinct(cells) + 2.0 * cells.shape[1])


def fused(cells: Any, signs: Any) -> Any:
    """Bytes moved when every cell in use is read once and no weight is written."""
    return WORD * distinct(cells).astype(np.float64)


def tiled(cells: Any, signs: Any) -> Any:
    """Bytes moved when tiles of weights fetch their distinct lines from a bank that is not cached."""
    tiles = cells.reshape(len(cells), -1, TILE) // LINE
    return WORD * LINE * distinct(tiles).sum(axis=1).astype(np.float64)


def multiplications(cells: Any, signs: Any, width: int) -> Any:
    """Multiplications of w x when entries of x that meet the same cell of a row are added first."""
    return distinct(cells.reshape(len(cells), -1, width)).sum(axis=1).astype(np.float64)


def additions(cells: Any, signs: Any, width: int) -> Any:
    """Additions of the same: into the cells, then over them."""
    read = distinct(cells.reshape(len(cells), -1, width))
    return ((width - read) + (read - 1)).sum(axis=1).astype(np.float64)


def checks(setting: Setting) -> list[Check]:
    """Bytes by each way of reading, operations, and what collapsing equal cells of a row saves."""
    n, m, width = 960, 120, 12
    fold, small, cost = Fold(n, m, 0), Fold(100, m, 0), bytes_moved(n, m, word=WORD)
    lines = n // TILE * float(mean_cache_lines_in_lap(TILE, LINE, m))
    outside = partial(Check, scope="outside")
    return [
        Check(f"bytes, fused, {n}→{m}", Draws(fold, fused), float(cost["fused, bank cached"].moved)),
        Check(
            f"bytes, fused, 100→{m}",
            Draws(small, fused),
            float(bytes_moved(100, m, word=WORD)["fused, bank cached"].moved),
        ),
        outside(
            f"bytes, expand first, {n}→{m}",
            Draws(fold, expand_first),
            float(cost["expand first"].moved),
            claimed=float(cost["dense"].moved),
            condition="the weights are written out",
        ),
        outside(
            f"bytes, fused, tiles of {TILE} weights",
            Draws(fold, tiled),
            WORD * LINE * lines,
            claimed=float(cost["dense"].moved),
            condition="the bank stays in no cache",
        ),
        Check(
            f"multiplications, rows of {width} inside laps",
            Draws(fold, partial(multiplications, width=width)),
            float(n),
        ),
        *(
            Check(
                f"additions, rows of {wide}, {mapping.n}→{mapping.m}",
                Draws(mapping, partial(additions, width=wide)),
                float(mapping.n - mapping.n // wide),
            )
            for mapping, wide in ((fold, width), (fold, 2 * m), (Hashed(64, 8, 0), 4))
        ),
        outside(
            f"multiplications, rows of {2 * m}, {n}→{m}",
            Draws(fold, partial(multiplications, width=2 * m)),
            n / 2,
            claimed=float(n),
            condition="rows twice as long as the bank",
        ),
        outside(
            "multiplications, hashed rows of 4, 64→8",
            Draws(Hashed(64, 8, 0), partial(multiplications, width=4)),
            64 / 4 * 8 * (1 - unused_share_hashed(4, 8)),
            claimed=64.0,
            condition="hashed: weights of a row meet",
        ),
    ]


def mutant_check(setting: Setting) -> Check:
    """The weights that were written are not read again."""
    n, m = 96, 12
    cost = bytes_moved(n, m, word=WORD)["expand first"]
    forgotten = float(cost.moved - n * WORD)
    return Check("mutant: weights not read again", Draws(Fold(n, m, 0), expand_first), forgotten)


CLAIM = Claim(
    number=19,
    name="cost",
    title="Sharing saves bytes held, not FLOPs",
    statement=(
        "A product with shared weights takes as many FLOPs as the dense product, since w is as large as "
        "before. Held are m numbers in place of n. Moved are m + 2n numbers if the weights are expanded "
        "first (m read, n written, n read again), more than the n of dense weights; only if each weight is "
        "read where it is used, and the bank stays in a cache, are they min(n, m)."
    ),
    assumptions=(
        "cells and signs are computed, not stored; a stored cell number is read once per weight",
        "every number of an array is counted once per pass over it",
    ),
    formula=(r"held: m,\quad dense: n,\quad expand\ first: m + 2n,\quad fused: \min(n, m)\ \mathrm{to}\ n"),
    source="STABLE-RPS (ICLR 2024), discussion; counted here",
    footing="proved for the shipped hash",
    checks=checks,
    mutant="expanded weights that nobody reads again",
    mutant_check=mutant_check,
    remarks=(
        "What is read of the bank is min(n, m) cells under fold, m(1-(1-1/m)^n) on average for hashing. "
        "FLOPs are those of the product as executed. Adding first the inputs of weights that share a cell "
        "saves multiplications, never additions, and under fold none at all while rows lie inside laps: a "
        "row of d >= 2m-1 weights needs m multiplications in place of d. A fused product whose bank stays "
        "in no cache fetches whole lines, (Z+B-1)/Z times the bytes of dense weights in tiles of Z inside "
        "laps (claim 10)."
    ),
)
