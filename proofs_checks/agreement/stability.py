"""Claim 13: the shipped scalers and ranges of steps are those of the training that they are about.

Everything is built from S of a draw: Gamma = diag(S Lambda^2 S'), the Hessian of the bank, the step of each
optimizer as a map of (position, previous position) in the worst direction. Whether such a map settles is read
off its trace and determinant; the end of the range is where it has the eigenvalue -1.
Shows: for the draws, scales, momenta listed, exactly, that scalers are those sums, that steps inside a range
settle on L|w|^2/2 and its end does not, and that heavy ball's energy never rises up to its own end, and can
beyond. Floats are within the rounding of 3n + 12 operations without cancellation. Eigenvalues are
compared, in Fractions, within 500 n ulp |A| (what LAPACK's own tests, TESTING/sep.in, state as the limit) and
the rounding of the entries. Does not show: other losses (symbolic, smt); larger banks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from itertools import combinations_with_replacement, product
from math import inf
from typing import Any

import numpy as np

from proofs_checks.agreement.cases import rounding
from proofs_checks.check import Check, Level, require
from proofs_checks.enumeration.worst_profile import nonnegative
from proofs_checks.residuals import design, diagonal
from rpstheory.mappings import AbstractMapping, Block, Chunk, Fold, Hashed, KeepBernoulli
from rpstheory.stability import effective_scaler, heavy_ball_range, quadratic_threshold, stability_range

Formula = Callable[..., Any]
SCALERS = ("gamma", "v1", "none")
MOMENTA = (Fraction(0), Fraction(1, 4), Fraction(7, 8))
SMOOTHNESS = Fraction(3, 2)
INSIDE = (Fraction(1, 1000), Fraction(1, 2), Fraction(999, 1000))


def draws(most: int) -> Iterator[tuple[AbstractMapping, list[Fraction]]]:
    """A draw of every kind with equal scales, another with growing, a third with alternating ones."""
    for n, m in combinations_with_replacement(range(most, 0, -1), 2):
        equal, growing = [Fraction(1)] * n, [Fraction(i + 1, 3) for i in range(n)]
        for seed, scales in enumerate((equal, growing, [Fraction(1 + 2 * (i % 2)) for i in range(n)])):
            yield Fold(n, m, seed), scales
            yield Hashed(n, m, seed), scales
            yield KeepBernoulli(n, m, seed), scales
            if m > 1:
                yield Chunk(n, m, seed, chunk=2), scales
                yield Block(n, m, seed, block=2), scales


def reads(mapping: AbstractMapping, scales: list[Fraction]) -> Any:
    """Lambda S', (n, cells): what w = Lambda S' theta reads."""
    place = np.arange(mapping.n)
    return design(mapping.cell(place), mapping.sign(place), mapping.cells, scales)


def divisors(mapping: AbstractMapping, scales: list[Fraction], scaler: str) -> list[Fraction]:
    """What the gradient of each cell is divided by, 1 where no weight reads it."""
    held = [[abs(v) for v in column if v] for column in reads(mapping, scales).T]
    rules: dict[str, Callable[[list[Fraction]], Fraction]] = {
        "gamma": lambda row: sum((v * v for v in row), Fraction(0)),
        "v1": lambda row: sum(row, Fraction(0)) ** 2 / len(row),
        "none": lambda row: Fraction(1),
    }
    return [rules[scaler](row) if row else Fraction(1) for row in held]


def curvatures(mapping: AbstractMapping, scales: list[Fraction], scaler: str) -> list[Fraction]:
    """Curvatures of |w|^2/2 in the bank, divided: the diagonal of S Lambda^2 S' over the divisor."""
    matrix = reads(mapping, scales)
    gram = matrix.T @ matrix
    own = divisors(mapping, scales, scaler)
    return [row[cell] / own[cell] for cell, row in enumerate(gram) if row[cell]]


def scalers(level: Level, formula: Formula = effective_scaler) -> str:
    """Every cell of every draw."""
    most, count = level.pick(4, 6, 8), 0
    for mapping, scales in draws(most):
        for scaler in SCALERS:
            found, expected = formula(mapping, scales, scaler).tolist(), divisors(mapping, scales, scaler)
            require(found == expected, f"{scaler} of {mapping}, scales {scales}: {found}, not {expected}")
        count += 1
    return f"{count} draws with scales, m <= n <= {most}"


def step(position: Fraction, previous: Fraction, rate: Fraction, mu: Fraction, nesterov: bool) -> Fraction:
    """The next position under a gradient equal to the position, of heavy ball or Nesterov."""
    ahead = position + mu * (position - previous)
    return ahead - rate * (ahead if nesterov else position)


@cache
def settles(rate: Fraction, mu: Fraction, nesterov: bool) -> bool:
    """Whether both eigenvalues of (position, previous) -> (next, position) are inside the unit circle."""
    trace, det = (
        step(Fraction(1), Fraction(0), rate, mu, nesterov),
        -step(Fraction(0), Fraction(1), rate, mu, nesterov),
    )
    return abs(det) < 1 and abs(trace) < 1 + det


def turns(rate: Fraction, mu: Fraction, nesterov: bool) -> bool:
    """Whether -1 is an eigenvalue: a position goes to its opposite and back for ever."""
    return step(Fraction(1), Fraction(-1), rate, mu, nesterov) == -1


def ranges(level: Level, formula: Formula = stability_range) -> str:
    """Inside the range every cell settles; at its end one turns; floats give the same end."""
    most, count = level.pick(3, 4, 6), 0
    for (mapping, scales), scaler in product(draws(most), SCALERS):
        steep = set(curvatures(mapping, scales, scaler))
        for mu, nesterov in product(MOMENTA, (False, True)):
            low, end = formula(mapping, scales, SMOOTHNESS, scaler, mu, nesterov)
            name = f"{mapping}, scales {scales}, {scaler}, momentum {mu}, nesterov={nesterov}: end {end}"
            require(low == 0 and (end == inf) == (not steep), name)
            rates = {end * SMOOTHNESS * curvature for curvature in steep}
            calm = all(settles(share * rate, mu, nesterov) for share in INSIDE for rate in rates)
            require(calm and (not rates or any(turns(rate, mu, nesterov) for rate in rates)), name)
            count += 1
        require_near(mapping, np.array(scales, dtype=np.float64), scaler)
    return f"{count} draws with scales, scalers and momenta, m <= n <= {most}; floats to gamma(3n + 12)"


def require_near(mapping: AbstractMapping, scales: Any, scaler: Any) -> None:
    """Do nothing if floats give the end, and the divisors, that the same numbers as Fractions give."""
    same, allowed = [Fraction(v) for v in scales], rounding(3 * mapping.n + 12)
    found = effective_scaler(mapping, scales, scaler).tolist()
    known = effective_scaler(mapping, same, scaler).tolist()
    options = (scaler, MOMENTA[1], True)
    found.append(stability_range(mapping, scales, float(SMOOTHNESS), scaler, float(MOMENTA[1]), True)[1])
    known.append(stability_range(mapping, same, SMOOTHNESS, *options)[1])
    for near, exact in zip(found, known, strict=True):
        close = near == exact or abs(Fraction(near) - exact) <= allowed * exact
        require(close, f"{mapping}, scales {scales}, {scaler}: {near} on floats, not {exact}")


@cache
def falls(rate: Fraction, curve: Fraction, mu: Fraction) -> bool:
    """Whether no step of heavy ball raises curve p^2/2 + mu (p - q)^2/(2 eta), q the position before p.

    The gradient is curve p, curvatures are counted in units of the largest, and rate is eta times that.
    """
    after = np.array([step(Fraction(1), Fraction(0), rate * curve, mu, False), -mu], dtype=object)
    now, before = diagonal([1, 1])
    was, becomes = (
        rate * curve * np.outer(p, p) + mu * np.outer(p - q, p - q) for p, q in ((now, before), (after, now))
    )
    return nonnegative(was - becomes)


def energies(level: Level, formula: Formula = heavy_ball_range) -> str:
    """Up to the end the energy never rises, whatever the curvature in [-L, L]; at L it can beyond."""
    most, count = level.pick(3, 4, 6), 0
    for (mapping, scales), scaler in product(draws(most), SCALERS):
        steep = max(curvatures(mapping, scales, scaler), default=None)
        for mu in MOMENTA:
            end = formula(mapping, scales, SMOOTHNESS, scaler, mu)[1]
            name = f"{mapping}, scales {scales}, {scaler}, momentum {mu}: end {end}"
            require((end == inf) == (steep is None), name)
            if steep is not None:
                rate = end * SMOOTHNESS * steep
                require(all(falls(rate, Fraction(j, 2), mu) for j in range(-2, 3)), name)
                require(not falls(rate * Fraction(1001, 1000), Fraction(1), mu), name)
            count += 1
    return f"{count} draws with scales, scalers and momenta, m <= n <= {most}; curvatures -L .. L"


def hessians(n: int) -> Iterator[Any]:
    """Whole numbers >= 0, positive semidefinite: diagonal, of rank one, full, flat."""
    yield np.diag(np.arange(1, n + 1))
    yield np.outer(np.arange(1, n + 1), np.arange(1, n + 1))
    root = np.array([[(i * j + i + 1) % 4 for j in range(n)] for i in range(n)])
    yield root.T @ root
    yield np.zeros((n, n), dtype=np.int64)


def thresholds(level: Level, formula: Formula = quadratic_threshold) -> str:
    """2(1+mu)/threshold, exactly, between the eigenvalues of a slightly larger and smaller matrix."""
    most, count = level.pick(3, 4, 5), 0
    for (mapping, scales), scaler in product(draws(most), SCALERS):
        matrix, own = reads(mapping, scales), diagonal(divisors(mapping, scales, scaler))
        for hessian in hessians(mapping.n):
            shared = matrix.T @ (hessian * Fraction(1)) @ matrix
            threshold = formula(mapping, scales, hessian, scaler, 0.5)
            name = f"{mapping}, scales {scales}, {scaler}, Hessian {hessian.tolist()}: {threshold}"
            require((threshold == inf) == (not shared.any()), name)
            if threshold < inf:
                top, slack = 3 / Fraction(threshold), error(mapping, matrix, hessian, own)
                require(nonnegative((top + slack) * own - shared), f"{name} is beyond the end")
                require(not nonnegative((top - slack) * own - shared), f"{name} is before the end")
            count += 1
    return f"{count} draws with scales, scalers and Hessians, m <= n <= {most}"


def error(mapping: AbstractMapping, matrix: Any, hessian: Any, own: Any) -> Fraction:
    """How far the largest eigenvalue can be off: 500 n ulp, and n^2 + 12 roundings of entries, times |A|.

    |A| is at most the trace of what it is with all signs +, since the Hessian has no negative entry.
    """
    held = abs(matrix)
    norm = sum(np.diagonal(held.T @ hessian @ held) / np.diagonal(own), Fraction(0))
    return norm * (Fraction(500 * mapping.cells, 2**52) + rounding(mapping.n**2 + 12))


def in_place_of_gamma(mapping: AbstractMapping, scales: Any, scaler: str) -> Any:
    """The authors' divisor where Gamma is asked for."""
    return effective_scaler(mapping, scales, "none" if scaler == "none" else "v1")


def of_heavy_ball(
    mapping: AbstractMapping, scales: Any, curve: Any, scaler: Any, mu: Any, nesterov: bool
) -> Any:
    """2(1+mu) for Nesterov too."""
    return stability_range(mapping, scales, curve, scaler, mu)


def dense(mapping: AbstractMapping, scales: Any, hessian: Any, scaler: Any, mu: float) -> float:
    """The step at which training without sharing stops converging."""
    return quadratic_threshold(Fold(mapping.n, mapping.n, 0), [1] * mapping.n, hessian, "gamma", mu)


CHECKS = (
    Check(
        13,
        "shipped scaler",
        "effective_scaler: Gamma = diag(S Lambda^2 S'), v1 = (sum lambda)^2/k over the k weights of a cell",
        "agreement",
        scalers,
        "v1 in place of Gamma",
        lambda: scalers(Level.QUICK, in_place_of_gamma),
    ),
    Check(
        13,
        "shipped range",
        "stability_range: every step inside settles on L|w|^2/2, the end turns for ever; with momentum too",
        "agreement",
        ranges,
        "heavy ball's 2(1+mu) for Nesterov",
        lambda: ranges(Level.QUICK, of_heavy_ball),
    ),
    Check(
        13,
        "shipped range of heavy ball",
        "heavy_ball_range: F + mu |move|^2/(2 eta) never rises up to the end on a quadratic, and can beyond",
        "agreement",
        energies,
        "2(1+mu) in place of 2(1-mu)",
        lambda: energies(Level.QUICK, stability_range),
    ),
    Check(
        13,
        "shipped threshold",
        "quadratic_threshold = 2(1+mu)/(largest eigenvalue of S Lambda H Lambda S' over the divisor)",
        "agreement",
        thresholds,
        "the threshold of dense training",
        lambda: thresholds(Level.QUICK, dense),
    ),
)
