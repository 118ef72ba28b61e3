"""From checks to findings: found by their place, run on every core, longest first."""

from __future__ import annotations

import importlib
import pkgutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from joblib import Parallel, delayed

from proofs_checks.check import Check, Disproved, Level, Method, Scope
from rpstheory.errors import ArgumentError

ROOMS = ("enumeration", "symbolic", "smt", "exhaustive", "agreement")
HEAVIEST = ("smt", "symbolic", "exhaustive", "enumeration", "agreement")

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        claim: Number of the claim.
        name: Name of the check.
        statement: What was to be shown.
        method: How.
        scope: holds, or fails outside (a required failure).
        settled: Whether it was shown.
        domain: What was covered; the counter-example where it was not settled.
        seconds: Worker time.
    """

    claim: int
    name: str
    statement: str
    method: Method
    scope: Scope
    settled: bool
    domain: str
    seconds: float


@cache
def all_checks() -> tuple[Check, ...]:
    """Every check in every room, by claim.

    Raises:
        ArgumentError: If SymPy or Z3 is missing.
    """
    found: list[Check] = []
    for room in ROOMS:
        package = importlib.import_module(f"proofs_checks.{room}")
        for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
            found += _load(f"proofs_checks.{room}.{module}")
    return tuple(sorted(found, key=lambda check: (check.claim, ROOMS.index(check.method))))


def select(claims: Iterable[str]) -> tuple[Check, ...]:
    """The checks of these claims, by number or name; all when there are none.

    Raises:
        ArgumentError: If a claim is unknown or SymPy or Z3 is missing.
    """
    from rpstheory.claims import select as claims_of

    numbers = {claim.number for claim in claims_of(claims)}
    return tuple(check for check in all_checks() if check.claim in numbers)


def survey(
    checks: Sequence[Check],
    level: Level,
    *,
    jobs: int = 1,
    twins: bool = False,
    progress: Progress | None = None,
) -> tuple[Finding, ...]:
    """Findings in the order of the checks.

    Args:
        checks: What to settle.
        level: How far each goes.
        jobs: Worker processes.
        twins: Run each check's broken twin instead: settled then means that it was disproved.
        progress: Called with the number done, the number of all, and the name of the last.
    """
    order = sorted(range(len(checks)), key=lambda place: HEAVIEST.index(checks[place].method))
    tasks = (delayed(_settle)(checks[place].key, level, twins) for place in order)
    found: dict[str, Finding] = {}
    for key, finding in Parallel(n_jobs=jobs, return_as="generator_unordered")(tasks):
        found[key] = finding
        if progress is not None:
            progress(len(found), len(checks), finding.name)
    return tuple(found[check.key] for check in checks)


def settle(check: Check, level: Level, *, twin: bool = False) -> Finding:
    """The finding of one check, or of its broken twin."""
    clock = time.perf_counter()
    try:
        domain = check.survey(level) if not twin else str(check.twin())
        settled = not twin
    except Disproved as reason:
        settled, domain = twin, str(reason)
    except Exception as error:  # what cannot run shows nothing, and costs no other check its finding
        settled, domain = False, f"could not be run: {type(error).__name__}: {error}"
    return Finding(
        claim=check.claim,
        name=check.name,
        statement=check.broken if twin else check.statement,
        method=check.method,
        scope=check.scope,
        settled=settled,
        domain=domain,
        seconds=time.perf_counter() - clock,
    )


def _settle(key: str, level: Level, twin: bool) -> tuple[str, Finding]:
    """In a worker, where checks are found again by their name."""
    check = next(check for check in all_checks() if check.key == key)
    return key, settle(check, level, twin=twin)


def _load(name: str) -> Sequence[Check]:
    try:
        return getattr(importlib.import_module(name), "CHECKS", ())
    except ModuleNotFoundError as error:
        if error.name not in {"sympy", "z3"}:
            raise
        raise ArgumentError(
            f"prove: {error.name} is not installed and {name} needs it; "
            "install the extra proofs (pip install 'rps-toolkit[proofs]')"
        ) from None
