"""Claim 11: on average, sharing costs a linear model no more than a ridge penalty."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from rpstheory.claim import Check, Claim, Setting
from rpstheory.claims.broken import NoSigns
from rpstheory.claims.c01_unbiased import label, mappings
from rpstheory.kernels.reference import compress_many, draw_many
from rpstheory.linear_model import penalty_matrix, ridge_value, ridge_weights
from rpstheory.mappings import AbstractMapping, Fold, KeepBernoulli
from rpstheory.samplers import blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEATURES = 32  # of the data, evenly spaced: a draw costs their square
SOLVED_TO = 1e-12  # eigenvalues below this share of the largest count as zero


@dataclass(frozen=True, eq=False)
class Regression:
    """Least squares of y on the columns of X, as its second moments.

    Attributes:
        name: Where it comes from.
        gram: X'X, (n, n).
        pull: X'y, (n,).
        energy: |y|^2.
    """

    name: str
    gram: NDArray[np.float64]
    pull: NDArray[np.float64]
    energy: float

    @property
    def n(self) -> int:
        """Number of features."""
        return len(self.pull)

    @cached_property
    def best(self) -> NDArray[np.float64]:
        """Least-squares weights w*, (n,)."""
        return ridge_weights(self.gram, 0 * self.gram, self.pull)

    def loss(self, weights: NDArray[np.float64]) -> Any:
        """|y - X w|^2 of each row of weights, (…, n) → (…)."""
        square = np.einsum("...i,...i->...", weights @ self.gram, weights)
        return self.energy - 2 * weights @ self.pull + square


def of_data(setting: Setting) -> Regression:
    """The feature of largest second moment, predicted from up to 32 others; |y| = 1."""
    rows = setting.rows / np.abs(setting.rows).max()
    energy = (rows * rows).sum(axis=0)
    target = int(np.argmax(energy))
    rows = rows / np.sqrt(energy[target])
    others = np.delete(np.arange(setting.n), target)
    count = min(FEATURES, len(others))
    features = rows[:, others[np.linspace(0, len(others) - 1, count).astype(int)]]
    y = rows[:, target]
    return Regression(setting.data, features.T @ features, features.T @ y, float(y @ y))


def power_law_spectrum(n: int) -> Regression:
    """Eigenvalues 1/i^2 in a fixed basis, a target along all of them, noise of a tenth."""
    random = np.random.Generator(np.random.Philox(11))
    basis = np.linalg.qr(random.standard_normal((n, n)))[0]
    gram = basis * np.arange(1, n + 1) ** -2.0 @ basis.T
    weights = basis @ np.ones(n)
    signal = float(weights @ gram @ weights)
    return Regression("power-law spectrum", (gram + gram.T) / 2, gram @ weights, 1.1 * signal)


def isotropic(weights: NDArray[np.float64]) -> Regression:
    """Orthonormal features and a target without noise."""
    return Regression("isotropic", np.eye(len(weights)), weights, float(weights @ weights))


@dataclass(frozen=True, eq=False)
class Reached:
    r"""Loss at $\theta = S v$, rescaled where pruning needs it: no fitting to the draw.

    Attributes:
        model: The regression.
        mapping: Its seed is replaced draw by draw.
        v: Reference weights, (n,).
    """

    model: Regression
    mapping: AbstractMapping
    v: NDArray[np.float64]

    @property
    def cost(self) -> float:
        """Work of a draw."""
        return 16.0 * self.mapping.n + self.mapping.n**2

    def __call__(self, first: int, count: int, backend: str) -> Any:
        """Losses of ``count`` draws."""
        values = np.empty(count)
        for low, size in blocks(count, self.mapping.n):
            seed = (first + low) % 2**64
            theta = compress_many(self.mapping, self.v, seed, size) * float(self.mapping.rescale)
            cells, signs = draw_many(self.mapping, seed, size)
            values[low : low + size] = self.model.loss(signs * np.take_along_axis(theta, cells, 1))
        return values


@dataclass(frozen=True, eq=False)
class Trained:
    r"""Least loss over $\theta$ of each draw, from its own normal equations.

    Attributes:
        model: The regression.
        mapping: Its seed is replaced draw by draw.
    """

    model: Regression
    mapping: AbstractMapping

    @property
    def cost(self) -> float:
        """Work of a draw."""
        return 16.0 * self.mapping.n * self.mapping.cells

    def __call__(self, first: int, count: int, backend: str) -> Any:
        """Losses of ``count`` draws."""
        n, m = self.mapping.n, self.mapping.cells
        values = np.empty(count)
        for low, size in blocks(count, n * m):
            cells, signs = draw_many(self.mapping, (first + low) % 2**64, size)
            s = np.zeros((size, m, n))
            np.put_along_axis(s, cells[:, None, :], signs[:, None, :].astype(np.float64), 1)
            squares = s @ self.model.gram @ s.swapaxes(1, 2)
            pulls = s @ self.model.pull
            inverse = np.linalg.pinv(squares, rcond=SOLVED_TO, hermitian=True)
            won = np.einsum("ti,tij,tj->t", pulls, inverse, pulls)
            values[low : low + size] = self.model.energy - won
        return values


def bound(model: Regression, mapping: AbstractMapping) -> float:
    """The ridge objective at its least."""
    return ridge_value(model.gram, penalty_matrix(mapping, model.gram), model.pull, model.energy)


def reached_check(
    model: Regression, mapping: AbstractMapping, v: NDArray[np.float64], what: str, predicted: float
) -> Check:
    """The mean loss at theta = S v, to a share of the loss without a model."""
    return Check(
        f"mean loss at theta = S v, {what}: {label(mapping)}, {model.name}",
        Reached(model, mapping, v),
        predicted,
        scale=model.energy,
        condition="discrepancy as a share of |y|^2",
    )


def trained_check(model: Regression, mapping: AbstractMapping, limit: float, what: str) -> Check:
    """The mean of the least loss against a limit."""
    name = f"mean of the least loss, limit {what}: {label(mapping)}, {model.name}"
    scale = max(limit, 1e-3 * model.energy)
    return Check(name, Trained(model, mapping), limit, "at most", scale=scale)


def penalty_checks(model: Regression, mapping: AbstractMapping) -> list[Check]:
    """At the ridge minimiser the mean loss is the bound; the least losses stay below it."""
    v = ridge_weights(model.gram, penalty_matrix(mapping, model.gram), model.pull)
    limit = bound(model, mapping)
    return [
        reached_check(model, mapping, v, "v the ridge minimiser", limit),
        trained_check(model, mapping, limit, "ridge"),
    ]


def along_best_checks(model: Regression, mapping: AbstractMapping) -> list[Check]:
    """v along the least-squares weights, at its best length and at full length."""
    w = model.best
    a = float(w @ model.gram @ w)
    b = float(w @ penalty_matrix(mapping, model.gram) @ w)
    floor = float(model.loss(w))
    length = a / (a + b) if a + b else 0.0
    shrunk, full = floor + length * b, floor + b
    above = "above |y|^2" if full > model.energy else "not above |y|^2"
    return [
        reached_check(model, mapping, length * w, "v = w* a/(a+b)", shrunk),
        trained_check(model, mapping, shrunk, "ab/(a+b)"),
        replace(trained_check(model, mapping, full, "b"), condition=above),
    ]


def laps_against_each_other(k: int, m: int) -> NDArray[np.float64]:
    """+1 on even laps, -1 on odd ones: without signs an even number of laps cancels."""
    return np.repeat(np.arange(k) % 2 * -2.0 + 1, m)


def isotropic_checks() -> list[Check]:
    """Where the bound is attained, what v = w* gives, and what fails without signs."""
    k, m = 4, 6
    model, mapping = isotropic(laps_against_each_other(k, m)), Fold(k * m, m, 0)
    limit = bound(model, mapping)
    return [
        Check(
            f"the bound is attained: {label(mapping)}, isotropic",
            Trained(model, mapping),
            limit,
            condition="m | n, equal variances",
        ),
        Check(
            f"mean loss at theta = S w*, above |y|^2: {label(mapping)}, isotropic",
            Reached(model, mapping, model.best),
            (k - 1) * model.energy,
        ),
        Check(
            f"without signs the least loss is |y|^2: {label(mapping)}, isotropic",
            Trained(model, NoSigns(k * m, m, 0)),
            model.energy,
            scope="outside",
            claimed=limit,
            condition="all signs +1, S biased",
        ),
    ]


def checks(setting: Setting) -> list[Check]:
    """Every mapping, on the data or on a power law; w*; the tight case; no signs."""
    data, steep = of_data(setting), power_law_spectrum(24)
    m = max(1, round(data.n / setting.compressions[len(setting.compressions) // 2]))
    found = isotropic_checks() + along_best_checks(data, Fold(data.n, m, 0))
    found += along_best_checks(steep, Fold(24, 6, 0))
    found += penalty_checks(data, Fold(data.n, m, 0))
    found += penalty_checks(data, KeepBernoulli(data.n, m, 0))
    for mapping in mappings(24, 6):
        found += penalty_checks(steep, mapping)
    return found


def mutant_check(setting: Setting) -> Check:
    """Fold at its ridge minimiser, against the penalty of pruning."""
    model, mapping = power_law_spectrum(24), Fold(24, 6, 0)
    v = ridge_weights(model.gram, penalty_matrix(mapping, model.gram), model.pull)
    wrong = penalty_matrix(KeepBernoulli(24, 6, 0), model.gram)
    return reached_check(model, mapping, v, "mutant", float(model.loss(v) + v @ wrong @ v))


CLAIM = Claim(
    number=11,
    name="linear-model",
    title="A linear model pays at most a ridge penalty",
    statement=(
        "Training theta of w = S' theta is training on compressed data. For an unbiased S and any "
        "v, the mean over draws of the least loss is at most |y - Xv|^2 + v'Qv, Q from the "
        "variance of inner products; at its least this is a ridge objective, never above |y|^2. "
        "Along the least-squares weights it is |y - Xw*|^2 + ab/(a+b) with a = |Xw*|^2, b = "
        "w*'Qw*."
    ),
    assumptions=(
        "claim 1 for the bound, claim 2 for the formula of Q: signs 4-wise independent",
        "a + b > 0 for the form along w*",
    ),
    formula=(
        r"E_S\,\min_\theta |y - X S^T\theta|^2 \leq \min_v\,|y - Xv|^2 + v^T Q v,\quad"
        r" Q_{ij} = p_{ij} G_{ij},\; Q_{jj} = \sum_i p_{ij} G_{ii},\; G = X^T X"
    ),
    source="STABLE-RPS (ICLR 2024), linear-model theorems; the ridge form derived here",
    footing="proved for the shipped hash",
    checks=checks,
    mutant="the penalty of Bernoulli pruning, (n/m - 1) diag G, used for fold",
    mutant_check=mutant_check,
    remarks=(
        "The mean loss at theta = S v equals the right-hand side for every v; only the step to "
        "the least loss is an inequality. It is attained for fold on isotropic features when m | "
        "n. Pruning: Q = (n/m-1) diag G, exact subsets (n/m-1) n/(n-1) (diag G - G/n); for "
        "KeepExact the uniformity of the subset is measured. Signs that are all +1 can lose "
        "everything that theta could explain."
    ),
)
