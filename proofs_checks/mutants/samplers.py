"""Broken samplers: draws and data used more than once, and kernels that go their own way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from proofs_checks.mutants.catchers import FRESH_DATA, KERNELS, RUN, claim
from proofs_checks.mutants.mutant import Mutant, in_place
from rpstheory.distributions import Independent
from rpstheory.hashing import SIGNS_PER_WORD, sign_of_bit
from rpstheory.kernels import reference
from rpstheory.monte_carlo import chunks

if TYPE_CHECKING:
    from rpstheory.monte_carlo import Result, Task
    from rpstheory.statistics import Moments

SAMPLE = Independent.sample


def same_seeds(key: str, sampler: Any, first: int, draws: int) -> list[Task]:
    """Every chunk begins at the same seed."""
    return [replace(task, first=first) for task in chunks(key, sampler, first, draws)]


def one_chunk_twice(results: dict[str, Result], tasks: Sequence[Task]) -> tuple[Moments, float]:
    """The first chunk is counted twice."""
    found = [results[task.key] for task in (tasks[0], *tasks)]
    moments = found[0].moments
    for result in found[1:]:
        moments = moments.merge(result.moments)
    return moments, sum(result.seconds for result in found)


def same_data(first: int) -> np.random.Generator:
    """Random numbers that do not depend on the draw."""
    return np.random.Generator(np.random.Philox(key=7))


def every_pair_twice(self: Any, generator: np.random.Generator, count: int) -> tuple[Any, Any]:
    """Half as many pairs, each of them twice."""
    x, y = SAMPLE(self, generator, -(-count // 2))
    return np.repeat(x, 2, axis=0)[:count], np.repeat(y, 2, axis=0)[:count]


def one_vector(self: Any, generator: np.random.Generator, count: int) -> tuple[Any, Any]:
    """y is x."""
    x, _ = SAMPLE(self, generator, count)
    return x, x


def last_lap_skipped(mapping: Any, x: Any, y: Any, first: int, count: int) -> Any:
    """The weights of the last lap are not added."""
    before = np.arange(mapping.n) < (mapping.n - 1) // mapping.m * mapping.m
    return reference.inner_products(mapping, x * before, y * before, first, count)


def bits_reversed(mapping: Any, x: Any, y: Any, first: int, count: int) -> Any:
    """The signs of a word are read from its other end: as good a hash, but another."""
    with in_place(
        "rpstheory.hashing:sign_of_bit", lambda word, bit: sign_of_bit(word, SIGNS_PER_WORD - 1 - bit)
    ):
        return reference.inner_products(mapping, x, y, first, count)


MUTANTS = (
    Mutant(
        "draws reused across chunks",
        "sampler",
        "every chunk begins at the same seed",
        "rpstheory.monte_carlo:chunks",
        same_seeds,
        (RUN,),
    ),
    Mutant(
        "a chunk counted twice",
        "sampler",
        "a resumed run replays its first chunk",
        "rpstheory.monte_carlo:total",
        one_chunk_twice,
        (RUN,),
    ),
    Mutant(
        "data reused across chunks",
        "sampler",
        "the data do not depend on the number of the draw",
        "rpstheory.samplers:generator",
        same_data,
        (FRESH_DATA,),
    ),
    Mutant(
        "every pair twice",
        "sampler",
        "half as many pairs of vectors as draws",
        "rpstheory.distributions:Independent.sample",
        every_pair_twice,
        (FRESH_DATA,),
    ),
    Mutant(
        "y is x",
        "sampler",
        "one vector of a pair used for both",
        "rpstheory.distributions:Independent.sample",
        one_vector,
        (claim(6, "Fold 24→6, power law"),),
    ),
    Mutant(
        "kernel skips the last lap",
        "sampler",
        "numba leaves out the last lap",
        "rpstheory.kernels.cpu:inner_products",
        last_lap_skipped,
        (KERNELS, claim(2, "Fold 24→6, integers n=24", backend="numba")),
    ),
    Mutant(
        "kernel reads signs backwards",
        "sampler",
        "numba takes the bits of a word of signs in the opposite order",
        "rpstheory.kernels.cpu:inner_products",
        bits_reversed,
        (KERNELS,),
    ),
)
