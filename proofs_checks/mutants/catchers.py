"""Those who object: claims, the claims' own mutants, laws of mappings, and a few exact facts.

Claims are put to their own checks, by name, on two integer vectors of 24 entries, at a discrepancy that is
large where the mistake is. The facts below concern the machinery of experiments, which no claim is about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from fractions import Fraction
from functools import partial
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np

from proofs_checks.mutants.mutant import Catcher
from proofs_checks.verdict_chances import chances, event, most, worst_false_confirm, worst_false_refute
from rpstheory import claim as judging
from rpstheory import kernels, statistics, verification
from rpstheory.claim import Check, Setting
from rpstheory.claims import select
from rpstheory.claims.c02_inner_product_variance import vectors
from rpstheory.conformance import check_mapping
from rpstheory.distributions import Independent
from rpstheory.errors import LawBroken, RpsError
from rpstheory.mappings import Fold, Top
from rpstheory.samplers import Cases, DataProducts
from rpstheory.statistics import Design
from rpstheory.verification import Runner

if TYPE_CHECKING:
    from rpstheory.claim import Claim, Verdict
    from rpstheory.mappings import AbstractMapping

PAIR = vectors(24)
ROWS = np.array([np.roll(row, k) for k in range(4) for row in (PAIR.x, PAIR.y)])
SETTING = Setting("integers", ROWS, (PAIR,), (4.0, 24 / 7))  # m = 6, a divisor, and m = 7
DISCREPANCY, FALSE_REFUTE_RATE = 0.15, 1e-9
RATES, DRAWS = Design(0.2, 1e-3, 1e-3), 1000
USUAL = Design(DISCREPANCY, FALSE_REFUTE_RATE)
CHUNK = 2.0**19  # work of a draw of which a chunk has 32


def claim(number: int, pattern: str, *, discrepancy: float = DISCREPANCY, backend: str = "numpy") -> Catcher:
    """The check of a claim whose name has this pattern; it objects when it is refuted."""
    design = Design(discrepancy, FALSE_REFUTE_RATE)
    return Catcher(f"claim {number}: {pattern}", partial(_refuted, number, pattern, design, Runner(backend)))


def mutant_of_claim(number: int) -> Catcher:
    """A claim's own mutant; it objects when that is not refuted."""
    return Catcher(f"claim {number}: its own mutant", partial(_mutant_not_refuted, number))


def law(name: str, factory: Callable[[int, int, int], Any]) -> Catcher:
    """A law of :mod:`rpstheory.conformance` on a shipped mapping."""
    return Catcher(f"law of {name}, {factory.__name__}", partial(_law_broken, name, factory))


def _refuted(number: int, pattern: str, design: Design, runner: Runner) -> str | None:
    (theorem,) = select(str(number))
    checks = [check for check in theorem.checks(SETTING) if fnmatchcase(check.name, pattern)]
    if len(checks) != 1:
        raise LookupError(f"claim {number} has {len(checks)} checks called {pattern!r}; name one")
    verdict = _verdict(replace(theorem, checks=lambda _: checks), design, runner)
    return _words(verdict) if verdict.status == "refuted" else None


def _mutant_not_refuted(number: int) -> str | None:
    (theorem,) = select(str(number))
    verdict = _verdict(theorem, USUAL, Runner("numpy"), mutants=True)
    return None if verdict.status == "refuted" else f"{theorem.mutant}: {_words(verdict)}"


def _verdict(theorem: Claim, design: Design, runner: Runner, mutants: bool = False) -> Verdict:
    experiments = verification.plan([theorem], SETTING, design, runner, mutants=mutants)
    (verdict,) = verification.execute(experiments, SETTING, design, runner)
    return verdict


def _words(verdict: Verdict) -> str:
    if verdict.relation == "always":
        return f"{verdict.status}: {verdict.measured:.1%} of the draws violate it"
    bound = "at most " if verdict.relation == "at most" else ""
    return f"{verdict.status}: measured {verdict.measured:.4g}, predicted {bound}{verdict.predicted:.4g}"


def _law_broken(name: str, factory: Callable[[int, int, int], Any]) -> str | None:
    try:
        check_mapping(factory, laws=[name])
    except LawBroken as error:
        return f"{error.violation.example}: {error.violation.found}"
    return None


def _too_often_refuted() -> str | None:
    rate = RATES.false_refute
    return _above("a true frequency is refuted", worst_false_refute(DRAWS, RATES), rate)


def _too_often_confirmed() -> str | None:
    rate = RATES.false_confirm
    return _above("a frequency off by the discrepancy is confirmed", worst_false_confirm(DRAWS, RATES), rate)


def _above(what: str, chance: float, rate: float) -> str | None:
    return f"{what} with chance {chance:.2g}, designed {rate:.2g}" if chance > most(rate, DRAWS) else None


def _too_seldom_confirmed() -> str | None:
    allowed = RATES.discrepancy / 8
    draws = RATES.draws(0.5, 0.0, allowed)
    chance = chances(event(0.5, allowed, RATES), 0.5, draws, RATES)["confirmed"]
    least = 1 - most(RATES.false_refute, draws)
    return (
        None
        if chance >= least
        else f"a true frequency is confirmed with chance {chance:.2g} in {draws} draws"
    )


def _merged_otherwise() -> str | None:
    """Small integers in two parts of four: every moment is exact in floating point."""
    first, second = [0, 4, 8, 0], [16, 24, 16, 8]
    merged = statistics.Moments.of(first).merge(statistics.Moments.of(second))
    values = [*first, *second]
    mean = Fraction(sum(values), len(values))
    for name, power in (("squares", 2), ("cubes", 3)):
        wanted, came = sum((v - mean) ** power for v in values), getattr(merged, name)
        if came != wanted:
            return f"{name} of {first} and {second} merge to {came:g}, not {float(wanted):g}"
    if (merged.low, merged.high) != (min(values), max(values)):
        return f"extremes merge to {merged.low:g} and {merged.high:g}, not {min(values)} and {max(values)}"
    return None if merged.mean == mean else f"means merge to {merged.mean:g}, not {float(mean):g}"


def _nan_confirmed() -> str | None:
    for relation in ("equals", "at most", "always"):
        check = Check("nan", _coin(), 0.0, relation, scale=1.0)
        moments = statistics.Moments.of([0.0, nan, 0.0])
        if judging.judge("", check, moments, USUAL, 0.0).status == "confirmed":
            return f"a draw that is not a number is confirmed ({relation})"
    return None


def _run_is_refused() -> str | None:
    (some,) = select("1")
    theorem = replace(some, checks=lambda _: [Check("a fair coin", _coin(), 0.5)])
    try:
        _verdict(theorem, USUAL, Runner("numpy"))
    except RpsError as error:
        return str(error)
    return None


def _coin() -> Cases:
    """So dear that a chunk has few draws."""
    return Cases(_heads, CHUNK)


def _heads(random: np.random.Generator) -> bool:
    return bool(random.integers(2))


def _data_come_twice() -> str | None:
    """Squared errors of a mapping without randomness differ as long as the data do."""
    entries = Independent((1.0,) * 12)
    sampler = DataProducts(Top(np.arange(12.0), 4), entries)
    values = np.concatenate([sampler(first, 64, "numpy") for first in (0, 64, 128)])
    repeated = values.size - np.unique(values).size
    return f"{repeated} of {values.size} draws have the data of another" if repeated else None


def _kernels_differ() -> str | None:
    mappings: tuple[AbstractMapping, ...] = (Fold(70, 32, 0), Fold(40, 6, 0))
    for mapping in mappings:
        x, y = vectors(mapping.n).x, vectors(mapping.n).y
        fast, plain = (
            kernels.inner_products(name, mapping, x, y, first=0, count=16) for name in ("numba", "numpy")
        )
        if not np.array_equal(fast, plain):
            draw = int(np.flatnonzero(fast != plain)[0])
            sizes = f"{type(mapping).__name__} {mapping.n}→{mapping.m}"
            return f"{sizes}, seed {draw}: {fast[draw]:g} by numba, {plain[draw]:g} by the mapping's own code"
    return None


FALSE_REFUTE = Catcher("exact chance to refute what is true", _too_often_refuted)
FALSE_CONFIRM = Catcher("exact chance to confirm what is off", _too_often_confirmed)
POWER = Catcher("exact chance to confirm what is true", _too_seldom_confirmed)
MERGE = Catcher("moments of two parts are those of the whole", _merged_otherwise)
NAN = Catcher("nan confirms nothing", _nan_confirmed)
RUN = Catcher("an experiment counts each designed draw once", _run_is_refused)
FRESH_DATA = Catcher("every draw has data of its own", _data_come_twice)
KERNELS = Catcher("numba draws what the mapping says", _kernels_differ)
