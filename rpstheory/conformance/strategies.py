"""Hypothesis strategies for mappings and what fits them, so that users can property-test code of their own.

Hypothesis is needed here and nowhere else in this package. It draws sizes, seeds and whole numbers for
*exact* facts; it never judges a statistic.

Example:
    >>> from hypothesis import given
    >>> from rpstheory import compress, expand
    >>> @given(mappings().flatmap(lambda s: st.tuples(st.just(s), weights(s), banks(s))))
    ... def expand_is_the_adjoint_of_compress(drawn):
    ...     mapping, x, z = drawn
    ...     assert compress(mapping, x) @ z == x @ expand(mapping, z)
    >>> expand_is_the_adjoint_of_compress()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rpstheory.errors import ArgumentError, MissingError
from rpstheory.mappings import Block, Chunk, Fold, Hashed, KeepBernoulli, KeepExact, Top

try:
    from hypothesis import HealthCheck, settings
    from hypothesis import strategies as st
except ModuleNotFoundError:
    raise MissingError(
        "rpstheory.conformance.strategies: hypothesis is not installed; install it: pip install hypothesis"
    ) from None

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rpstheory.mappings import AbstractMapping

SHARING = (Fold, Hashed, Chunk, Block)
PRUNING = (KeepExact, KeepBernoulli)
SEEDED = (*SHARING, *PRUNING)
KINDS = (*SEEDED, Top)
"""Every kind of mapping; :data:`SEEDED` are those that a seed draws."""

LARGEST_SEED = 2**64 - 1
LARGEST_ENTRY = 2**20


def seeds() -> st.SearchStrategy[int]:
    """Any seed."""
    return st.integers(0, LARGEST_SEED)


def sizes(most: int = 60, pruning: bool = False) -> st.SearchStrategy[tuple[int, int]]:
    """n and m up to ``most``, m at most n for pruning.

    Raises:
        ArgumentError: If ``most`` is below 1.
    """
    if most < 1:
        raise ArgumentError(f"sizes: most={most} came; at least 1 is needed; choose most >= 1")
    pairs = st.tuples(st.integers(1, most), st.integers(1, most))
    return pairs.map(lambda pair: (max(pair), min(pair))) if pruning else pairs


def mappings(
    kinds: Sequence[type[AbstractMapping]] = KINDS, most: int = 60
) -> st.SearchStrategy[AbstractMapping]:
    """A mapping of at most ``most`` weights, of any kind, ``Block`` with tiles included.

    Args:
        kinds: Classes to choose from.
        most: Largest n and m.

    Raises:
        ArgumentError: If a kind is none of :data:`KINDS`, or ``most`` is below 1.
    """
    if not kinds or not set(kinds) <= set(KINDS):
        names = ", ".join(kind.__name__ for kind in KINDS)
        raise ArgumentError(f"mappings: kinds={kinds} came; pass some of {names}")
    return st.one_of([_of_kind(kind, sizes(most, pruning=kind in (*PRUNING, Top))) for kind in kinds])


def positions(mapping: AbstractMapping) -> st.SearchStrategy[int]:
    """A weight of the mapping."""
    return st.integers(0, mapping.n - 1)


def weights(mapping: AbstractMapping, largest: int = LARGEST_ENTRY) -> st.SearchStrategy[NDArray[np.int64]]:
    """A whole number for every weight, (n,) int64, what ``compress`` takes."""
    return _vectors(mapping.n, largest)


def banks(mapping: AbstractMapping, largest: int = LARGEST_ENTRY) -> st.SearchStrategy[NDArray[np.int64]]:
    """A whole number for every cell, (cells,) int64, what ``expand`` takes."""
    return _vectors(mapping.cells, largest)


def register_profiles() -> None:
    """Make the profiles dev, ci (the same examples in every run) and nightly (2000 examples) known.

    Load one with ``hypothesis.settings.load_profile``. None has a deadline: a shared machine, or a kernel
    that is compiled first, is slow for reasons of its own.
    """
    settings.register_profile("dev", deadline=None)
    settings.register_profile(
        "ci",
        deadline=None,
        derandomize=True,  # a change fails by what it changed, never by what was drawn today
        suppress_health_check=[HealthCheck.too_slow],
        print_blob=True,
    )
    settings.register_profile("nightly", deadline=None, max_examples=2000, print_blob=True)


@st.composite
def _of_kind(draw: st.DrawFn, kind: Any, of_size: st.SearchStrategy[tuple[int, int]]) -> AbstractMapping:
    n, m = draw(of_size)
    if kind is Top:
        return Top(draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n)), m)
    seed = draw(seeds())
    if kind is Block and draw(st.booleans()):
        return draw(_tiles(n, m, seed))
    if kind in (Chunk, Block):
        return kind(n, m, seed, draw(st.integers(1, m)))
    return kind(n, m, seed)


@st.composite
def _tiles(draw: st.DrawFn, most: int, m: int, seed: int) -> Block:
    """A matrix of at most ``most`` weights, cut into tiles that fit into m cells."""
    rows = draw(st.integers(1, most))
    columns = draw(st.integers(1, most // rows))
    tall = draw(st.integers(1, m))
    wide = draw(st.integers(1, m // tall))
    return Block(rows * columns, m, seed, block=(tall, wide), shape=(rows, columns))


def _vectors(size: int, largest: int) -> st.SearchStrategy[NDArray[np.int64]]:
    entries = st.lists(st.integers(-largest, largest), min_size=size, max_size=size)
    return entries.map(lambda row: np.array(row, dtype=np.int64))
