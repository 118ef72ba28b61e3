"""Broken statistics: verdicts that do not mean what they say."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Any

from proofs_checks.mutants.catchers import FALSE_CONFIRM, FALSE_REFUTE, MERGE, NAN, POWER, mutant_of_claim
from proofs_checks.mutants.mutant import Mutant
from rpstheory.claim import Check, judge
from rpstheory.statistics import Design, Moments

STATISTICS = "rpstheory.statistics"
MERGED, ALLOWED = Moments.merge, Check.allowed
CONFIRM, REFUTE, DRAWS = Design.confirm_limit, Design.refute_limit, Design.draws


def without_distance(self: Any, other: Any) -> Any:
    """Sums of squares added, whatever the means."""
    merged = MERGED(self, other)
    return replace(merged, squares=self.squares + other.squares)


def without_extremes(self: Any, other: Any) -> Any:
    """The extremes of the first part."""
    return replace(MERGED(self, other), low=self.low, high=self.high)


def one_sided(claim: str, check: Any, *arguments: Any) -> Any:
    """Only a mean above the prediction counts."""
    relation = "at most" if check.relation == "equals" else check.relation
    return judge(claim, replace(check, relation=relation), *arguments)


def half_limit(self: Any, skewness: float = 0.0, count: int = 0) -> float:
    """Half as many standard errors."""
    return CONFIRM(self, skewness, count) / 2


def one_tail(self: Any, skewness: float = 0.0, count: int = 0) -> float:
    """The whole rate on either side."""
    return REFUTE(replace(self, false_refute=2 * self.false_refute), skewness, count)


def normal_limit(z: float, skewness: float, count: int) -> float:
    """No allowance for skewness."""
    return z


def edgeworth_only(z: float, skewness: float, count: int) -> float:
    """Without the half event by which counts are not continuous."""
    return z + (abs(skewness) * (2 * z * z + 1) / (6 * sqrt(count)) if count else 0.0)


def ten_times(self: Any, design: Any) -> float:
    """Ten times the discrepancy."""
    return 10 * ALLOWED(self, design)


def quarter_of_draws(self: Any, *arguments: Any) -> int:
    """A quarter of the draws."""
    return DRAWS(self, *arguments) // 4


MUTANTS = (
    Mutant(
        "merge forgets the means",
        "statistics",
        "no d^2 ab/n in the merge of two sums of squares",
        f"{STATISTICS}:Moments.merge",
        without_distance,
        (MERGE,),
    ),
    Mutant(
        "merge forgets the largest value",
        "statistics",
        "the extremes of the second part are lost, and violations in later chunks with them",
        f"{STATISTICS}:Moments.merge",
        without_extremes,
        (MERGE,),
    ),
    Mutant(
        "one-sided judge",
        "statistics",
        "a mean below the prediction is never refuted",
        "rpstheory.claim:judge",
        one_sided,
        (mutant_of_claim(7),),
    ),
    Mutant(
        "confirm limit too loose",
        "statistics",
        "half the standard errors before a formula is confirmed",
        f"{STATISTICS}:Design.confirm_limit",
        half_limit,
        (FALSE_CONFIRM,),
    ),
    Mutant(
        "one tail for two sides",
        "statistics",
        "the refute limit spends the whole rate on either side",
        f"{STATISTICS}:Design.refute_limit",
        one_tail,
        (FALSE_REFUTE,),
    ),
    Mutant(
        "skewness ignored",
        "statistics",
        "limits of a normal law for skewed statistics",
        f"{STATISTICS}:_studentised",
        normal_limit,
        (FALSE_REFUTE, FALSE_CONFIRM),
    ),
    Mutant(
        "counts as if continuous",
        "statistics",
        "limits by the first Edgeworth term, with which this toolkit began",
        f"{STATISTICS}:_studentised",
        edgeworth_only,
        (FALSE_CONFIRM,),
    ),
    Mutant(
        "discrepancy too large",
        "statistics",
        "ten times the stated discrepancy passes",
        "rpstheory.claim:Check.allowed",
        ten_times,
        (FALSE_CONFIRM,),
    ),
    Mutant(
        "too few draws",
        "statistics",
        "a quarter of the draws that the rates need",
        f"{STATISTICS}:Design.draws",
        quarter_of_draws,
        (POWER,),
    ),
    Mutant(
        "nan confirmed",
        "statistics",
        "the judge does not ask whether values are finite",
        "rpstheory.claim:isfinite",
        lambda value: True,
        (NAN,),
    ),
)
