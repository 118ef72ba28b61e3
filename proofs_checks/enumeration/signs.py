"""Claim 2 by enumeration: which signs are enough.

Shows: among the laws listed that satisfy claim 1, those with the variance of claim 2 for all x and y are
exactly those with E[1_ij 1_il g_j g_l] = 0 and E[1_ij 1_kl g_i g_j g_k g_l] = 0 over distinct indices. And at
the sizes listed: a parity of t signs does harm iff t is 2 or 4; one lap of fold may go unsigned; one sign
per lap is enough only where no two pairs can meet at once.
Does not show: other laws and sizes. That coefficients of different monomials vanish one by one is the proof
for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Disproved, Level, require
from proofs_checks.polynomials import difference, for_products, meeting, pair_form, variance_form
from proofs_checks.sign_laws import Laws, codes_by_meeting, sets_of_signs


def independent(level: Level) -> Iterator[Laws]:
    """Signs independent of the cells."""
    yield from sets_of_signs(3, u.fold_cells(3, 1))
    yield from sets_of_signs(3, u.hashed_cells(3, 2))
    four = [u.fold_cells(4, 2)]
    if level >= Level.STANDARD:
        four += [u.fold_cells(4, 1), u.fold_cells(4, 3), u.hashed_cells(4, 2), u.chunk_cells(4, 3, 2)]
    for cells in four:
        yield from sets_of_signs(4, cells)


def dependent(level: Level) -> Iterator[Laws]:
    """Signs whose law depends on who meets whom."""
    yield from codes_by_meeting(3, u.hashed_cells(3, 2), linear=True)
    yield from codes_by_meeting(4, u.fold_cells(4, 2), linear=level == Level.QUICK)
    if level == Level.DEEP:
        yield from codes_by_meeting(4, u.chunk_cells(4, 3, 2), linear=True)


def identity_iff(families: Iterable[Laws], fourth: bool = True) -> str:
    """The identity of claim 2 holds iff the two conditions do; the second is left out on request.

    Raises:
        Disproved: If one law has the identity without the conditions, or the conditions without it.
    """
    seen = having = 0
    for laws in families:
        laws = laws.unbiased
        identity = laws.products
        conditions = laws.triples & laws.quadruples if fourth else laws.triples
        wrong = identity != conditions
        for law in np.flatnonzero(wrong):
            raise Disproved(f"a law has the identity: {identity[law]}, although {laws.words(int(law))}")
        seen, having = seen + laws.size, having + int(identity.sum())
    require(0 < having < seen, f"{having} of {seen} laws have the identity, so that nothing was told apart")
    return f"{seen} unbiased laws, {having} of them with the identity"


def has_identity(universe: u.Universe) -> bool:
    """Whether the variance is the pair form of the collision probabilities, for all x and y."""
    expected = pair_form(meeting(universe.cells))
    return not difference(for_products(variance_form(universe)), for_products(expected))


def parity(n: int, fixed: tuple[int, ...]) -> Any:
    """Sign vectors whose product over these places is +1."""
    signs = u.all_signs(n)
    return signs[signs[:, list(fixed)].prod(axis=1) == 1]


def parities(level: Level) -> str:
    """A parity of t signs breaks the identity iff t is 2 or 4: means and 3-wise moments do no harm."""
    most = level.pick(4, 5, 6)
    count = 0
    for n in range(1, most + 1):
        for size in range(1, n + 1):
            for fixed in combinations(range(n), size):
                require_parity(n, fixed, harmful={2, 4})
                count += 1
    return f"{count} parities on n <= {most} hashed weights, m = 2"


def require_parity(n: int, fixed: tuple[int, ...], harmful: set[int]) -> None:
    """Do nothing if hashing to 2 cells has the identity iff the parity is on a harmless number of signs."""
    universe = u.joint(u.hashed_cells(n, 2), parity(n, fixed), 2)
    found, expected = has_identity(universe), len(fixed) not in harmful
    require(found == expected, f"n={n}, product of signs {fixed} fixed to +1: identity {found}")


def unsigned_lap(n: int, m: int, laps: tuple[int, ...]) -> u.Universe:
    """Fold with fair signs except in these laps, where every sign is +1."""
    lap = np.arange(n) // m
    signs = np.where(np.isin(lap, laps), 1, u.all_signs(n))
    return u.joint(u.fold_cells(n, m), signs, m)


def one_lap_unsigned(level: Level) -> str:
    """One whole lap without signs keeps the identity, two lose it."""
    most = level.pick(4, 5, 6)
    for n in range(1, most + 1):
        for m in range(1, n + 1):
            laps = range(-(-n // m))
            for lap in laps:
                require(has_identity(unsigned_lap(n, m, (lap,))), f"n={n}, m={m}, lap {lap} unsigned")
            for two in combinations(laps, 2):
                require(not has_identity(unsigned_lap(n, m, two)), f"n={n}, m={m}, laps {two} unsigned hold")
    return f"every lap and pair of laps, n <= {most}"


def sign_per_lap(n: int, m: int) -> u.Universe:
    """Fold with one fair sign for a whole lap."""
    lap = np.arange(n) // m
    return u.joint(u.fold_cells(n, m), u.all_signs(int(lap[-1]) + 1)[:, lap], m)


def one_sign_per_lap(level: Level) -> str:
    """Fails iff two laps have two weights each: then two pairs meet in the same draw."""
    most = level.pick(5, 6, 8)
    for n in range(1, most + 1):
        for m in range(1, most + 1):
            enough = m == 1 or n <= m + 1
            found = has_identity(sign_per_lap(n, m))
            require(found == enough, f"n={n}, m={m}: one sign per lap has the identity: {found}")
    return f"n, m <= {most}: enough iff m = 1 or n <= m + 1"


CHECKS = (
    Check(
        2,
        "signs independent of the cells",
        "given claim 1, the identity holds iff the triple and quadruple moments vanish",
        "enumeration",
        lambda level: identity_iff(independent(level)),
        "only the triple moments are asked for",
        lambda: identity_iff(sets_of_signs(4, u.fold_cells(4, 2)), fourth=False),
    ),
    Check(
        2,
        "signs given the cells",
        "the same for signs whose law depends on who meets whom",
        "enumeration",
        lambda level: identity_iff(dependent(level)),
        "only the triple moments are asked for",
        lambda: identity_iff(codes_by_meeting(4, u.fold_cells(4, 2), linear=True), fourth=False),
    ),
    Check(
        2,
        "parities",
        "a fixed product of t signs breaks the identity iff t is 2 or 4; t = 1 is a mean, t >= 5 is 4-wise",
        "enumeration",
        parities,
        "3-wise independence is taken to be enough",
        lambda: require_parity(4, (0, 1, 2, 3), harmful={2}),
    ),
    Check(
        2,
        "one lap unsigned",
        "fold keeps the identity with one whole lap unsigned, and loses it with two",
        "enumeration",
        one_lap_unsigned,
        "two laps unsigned",
        lambda: require(has_identity(unsigned_lap(4, 2, (0, 1))), "n=4, m=2, laps 0 and 1 unsigned"),
    ),
    Check(
        2,
        "one sign per lap",
        "fails under fold unless m = 1 or n <= m + 1",
        "enumeration",
        one_sign_per_lap,
        "one sign per lap is taken to be enough",
        lambda: require(has_identity(sign_per_lap(4, 2)), "n=4, m=2, one sign per lap"),
        scope="fails outside",
    ),
)
