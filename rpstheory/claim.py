"""A claim is a statement with checks that can refute it; a check is an experiment with a design."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil, isfinite, log
from typing import Any, Literal, Protocol

import numpy as np

from rpstheory.errors import DataError
from rpstheory.statistics import Design, Moments

Relation = Literal["equals", "at most", "always"]
Scope = Literal["inside", "outside"]
Status = Literal["confirmed", "refuted", "inconclusive"]
Footing = Literal["proved for the shipped hash", "needs ideal randomness", "measured on the shipped hash"]
LEAST_ENTRY, MOST_ENTRY = 1e-20, 1e20  # a verdict takes 12th powers of the entries


class Sampler(Protocol):
    """One value per draw: a pure, picklable function of the draws' seeds.

    ``sampler(first, count, backend)`` returns (count,) float64 for draws first, first+1, …;
    ``cost`` is the work of a draw, about one per weight touched. A sampler may declare ``rarest``, the
    chance in a draw of the rarest event that a large part of its values may hang on.
    """

    @property
    def cost(self) -> float: ...  # noqa: D102

    def __call__(self, first: int, count: int, backend: str) -> Any: ...  # noqa: D102


@dataclass(frozen=True)
class Check:
    """One prediction and the experiment that measures it.

    Attributes:
        name: What is checked, in words; unique within its claim.
        sampler: Draws the statistic whose mean is predicted. For "always" it counts violations.
        predicted: Value of the mean by the formula (the bound for "at most", 0 for "always").
        relation: How measured and predicted compare.
        scope: "outside" shows that the claim fails where its condition does not hold: it is confirmed
            when the measured mean agrees with ``predicted`` and excludes ``claimed``.
        scale: What the discrepancy is relative to; |predicted| unless given.
        claimed: Outside the scope, what the claim's statement would give (an equality, or the limit
            of an inequality that ``predicted`` violates).
        condition: Why it is inside or outside, e.g. "m | n".
        indicator: The statistic is 0 or 1 and the relation "at most": judged by exact binomial tails.
    """

    name: str
    sampler: Sampler
    predicted: float
    relation: Relation = "equals"
    scope: Scope = "inside"
    scale: float | None = None
    claimed: float | None = None
    condition: str = ""
    indicator: bool = False

    def allowed(self, design: Design) -> float:
        """The absolute discrepancy to catch; outside the scope never more than half the gap."""
        base = abs(self.predicted) if self.scale is None else self.scale
        size = design.discrepancy * base
        if self.claimed is not None:
            size = min(size, abs(self.predicted - self.claimed) / 2)
        return size

    def draws_to_see(self, design: Design) -> int:
        """Draws in which the rarest event that moves the mean was seen, but for the designed chance.

        With fewer, most of the variance may be out of sight, and out of the standard error as well.
        """
        rarest = getattr(self.sampler, "rarest", 1.0) if self.relation == "equals" else 1.0
        return ceil(-log(design.false_refute) / rarest)

    @property
    def rounding(self) -> float:
        """Differences that floating point may make."""
        return 1e-10 * (abs(self.predicted) + (self.scale or 0.0))


@dataclass(frozen=True)
class Verdict:
    """What one check found.

    Attributes:
        claim: Name of the claim.
        check: Name of the check.
        status: confirmed, refuted, or inconclusive.
        relation: equals, at most, or always.
        scope: inside, or outside (a required failure of the claim's statement).
        condition: Why it is inside or outside.
        predicted: By the formula.
        measured: Mean over draws.
        interval: Measured ± the confirm limit in standard errors; confirmed means that it lies within
            predicted ± discrepancy.
        claimed: Outside the scope, what the statement would give.
        draws: Number of draws, fixed before measuring.
        discrepancy: Absolute difference that the design catches.
        false_refute: Designed chance to refute a true statement.
        false_confirm: Designed chance to confirm one off by the discrepancy.
        seconds: Worker time.
    """

    claim: str
    check: str
    status: Status
    relation: Relation
    scope: Scope
    condition: str
    predicted: float
    measured: float
    interval: tuple[float, float]
    claimed: float | None
    draws: int
    discrepancy: float
    false_refute: float
    false_confirm: float
    seconds: float = field(compare=False)


@dataclass(frozen=True)
class Claim:
    """A statement of the theory, its scope, and how it is put to the test.

    Attributes:
        number: As in docs/claims.md.
        name: Short name used by the command line.
        title: A few words.
        statement: What is claimed, in words.
        assumptions: What it needs.
        formula: Mathtext, without the dollar signs.
        source: Where it comes from.
        footing: What it rests on as shipped.
        checks: Builds the checks for a setting.
        mutant: A broken formula or mapping that the checks must refute, in words.
        mutant_check: Builds it.
        remarks: Corrections of, or additions to, the published statement.
    """

    number: int
    name: str
    title: str
    statement: str
    assumptions: tuple[str, ...]
    formula: str
    source: str
    footing: Footing
    checks: Callable[[Setting], Sequence[Check]]
    mutant: str
    mutant_check: Callable[[Setting], Check]
    remarks: str = ""


@dataclass(frozen=True)
class Pair:
    """Two real vectors of equal length and where they come from."""

    name: str
    x: Any
    y: Any

    def __post_init__(self) -> None:
        """Check that powers of the entries are floats.

        Raises:
            DataError: If the largest entry of a vector is not, and not 0, within 1e-20..1e20.
        """
        for vector in (self.x, self.y):
            _check_unit(f"pair {self.name!r}", vector)


@dataclass(frozen=True, eq=False)
class Setting:
    """What the user chose: vectors, compressions, seed.

    Attributes:
        data: Name of the data.
        rows: (N, n) float64, the data set from which pairs come.
        pairs: The pairs that claims about fixed vectors use.
        compressions: n/m, each >= 1.
        seed: Names the whole experiment.
    """

    data: str
    rows: Any
    pairs: tuple[Pair, ...]
    compressions: tuple[float, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        """Check that powers of the entries are floats.

        Raises:
            DataError: If the largest entry of the rows is not, and not 0, within 1e-20..1e20.
        """
        _check_unit(f"rows of {self.data!r}", self.rows)

    @property
    def n(self) -> int:
        """Entries per vector."""
        return int(self.rows.shape[1])

    @property
    def budgets(self) -> tuple[int, ...]:
        """m for each compression: n / compression, rounded, at least 1, without repetition."""
        sizes = (max(1, round(self.n / c)) for c in self.compressions)
        return tuple(dict.fromkeys(sizes))

    @property
    def divisors(self) -> tuple[int, ...]:
        """Budgets moved to the nearest divisor of n below n, for statements that need m | n."""
        proper = [d for d in range(1, self.n) if self.n % d == 0] or [1]
        near = (min(proper, key=lambda d: (abs(d - m), d)) for m in self.budgets)
        return tuple(dict.fromkeys(near))


def judge(claim: str, check: Check, moments: Moments, design: Design, seconds: float) -> Verdict:
    """The verdict of a finished experiment. Two-sided; see :mod:`rpstheory.statistics`.

    A frequency of exactly 0 or 1 has no standard error; its limits are those of "no event in N draws".
    Values that are not finite never confirm anything, and too few draws never refute a mean.
    """
    mean, error = moments.mean, moments.standard_error
    refute = design.refute_limit(moments.skewness, moments.count) * error
    confirm = design.confirm_limit(moments.skewness, moments.count) * error
    if moments.squares == 0 and mean in (0.0, 1.0) and 0 < check.predicted < 1:
        refute, confirm = design.limits_without_events(moments.count)
    allowed = check.allowed(design)
    excess = mean - check.predicted
    if check.relation == "equals":
        excess = abs(excess)
    status: Status = "inconclusive"
    if not isfinite(mean):
        status = "inconclusive"
    elif check.indicator:
        status = _binomial_status(check.predicted, allowed, moments, design)
    elif check.relation == "always":
        status = "refuted" if moments.high > 0 else "confirmed"
        allowed = design.discrepancy
    elif excess > refute + check.rounding:
        status = "refuted" if moments.count >= check.draws_to_see(design) else "inconclusive"
    elif excess + confirm <= allowed + check.rounding:
        status = "confirmed"
    if check.claimed is not None and status == "confirmed":
        towards = 1 if check.predicted > check.claimed else -1
        if (mean - check.claimed) * towards <= refute:
            status = "inconclusive"
    return Verdict(
        claim=claim,
        check=check.name,
        status=status,
        relation=check.relation,
        scope=check.scope,
        condition=check.condition,
        predicted=check.predicted,
        measured=mean,
        interval=(mean - confirm, mean + confirm),
        claimed=check.claimed,
        draws=moments.count,
        discrepancy=allowed,
        false_refute=0.0 if check.relation == "always" else design.false_refute,
        false_confirm=design.false_confirm,
        seconds=seconds,
    )


def _check_unit(owner: str, values: Any) -> None:
    largest = float(np.abs(np.asarray(values)).max(initial=0.0))
    if largest != 0 and not LEAST_ENTRY <= largest <= MOST_ENTRY:
        raise DataError(
            f"{owner}: the largest entry is {largest:.3g}; powers of it have to fit into floats, so that it "
            f"lies in {LEAST_ENTRY:g}..{MOST_ENTRY:g}; rescale the data, which changes no verdict"
        )


def _binomial_status(bound: float, allowed: float, moments: Moments, design: Design) -> Status:
    """Exact: refuted if so many hits are too rare at the bound, confirmed if so few are just above."""
    from scipy.special import bdtr, bdtrc

    hits = round(moments.mean * moments.count)
    if hits and bdtrc(hits - 1, moments.count, bound) < design.false_refute:
        return "refuted"
    few = bdtr(hits, moments.count, min(1.0, bound + allowed))
    return "confirmed" if few <= design.false_confirm else "inconclusive"
