"""From a setting to verdicts: build the checks, design them, run them, judge them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from math import ceil, log, sqrt
from numbers import Real
from typing import TYPE_CHECKING

from rpstheory import __version__
from rpstheory.claim import Check, Claim, Setting, Verdict, judge
from rpstheory.claims import select
from rpstheory.data import load_setting
from rpstheory.errors import ArgumentError, ClaimRefuted, KindError, ResumeError
from rpstheory.kernels import resolve
from rpstheory.mappings.base import check_count
from rpstheory.monte_carlo import (
    MOST_DRAWS,
    Ledger,
    Task,
    chunks,
    first_seed,
    pilot_draws,
    run,
    total,
)
from rpstheory.statistics import FALSE_CONFIRM, FALSE_REFUTE_SUITE, Design, Moments

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from rpstheory.monte_carlo import Result

DISCREPANCY = 0.01
QUICK_DISCREPANCY = 0.05


Progress = Callable[[str, float, float], None]


@dataclass(frozen=True)
class Experiment:
    """A check of a claim with its number of draws fixed.

    Attributes:
        claim: Whose check it is.
        check: What is predicted and how it is measured.
        draws: Fixed before measuring.
        pace: Seconds per draw, seen in the pilot.
    """

    claim: Claim
    check: Check
    draws: int
    pace: float

    @property
    def key(self) -> str:
        """Name in a resume folder and of its streams of seeds."""
        return f"{self.claim.number}/{self.check.name}"

    @property
    def seconds(self) -> float:
        """Worker time to expect."""
        return self.draws * self.pace


@dataclass(frozen=True)
class Runner:
    """How experiments are executed.

    Attributes:
        backend: numpy, numba or cupy.
        jobs: Local worker processes.
        cluster: Address of a Dask scheduler.
        ledger: Where finished chunks are kept.
        progress: Called with the stage, the work done so far and the whole.
    """

    backend: str
    jobs: int = 1
    cluster: str | None = None
    ledger: Ledger | None = None
    progress: Progress | None = None

    def __call__(self, stage: str, tasks: Sequence[Task], work: Callable[[Task], float]) -> dict[str, Result]:
        """Results of the tasks by key."""
        whole, done = sum(work(t) for t in tasks), 0.0

        def report(task: Task) -> None:
            nonlocal done
            done += work(task)
            if self.progress is not None:
                self.progress(stage, done, whole)

        return run(
            tasks,
            backend=self.backend,
            jobs=self.jobs,
            cluster=self.cluster,
            ledger=self.ledger,
            progress=report,
        )


def verify(
    claims: str | int | Iterable[str | int] = (),
    *,
    data: str | Path | Setting = "digits",
    compressions: Collection[float] = (2, 4, 8),
    discrepancy: float = DISCREPANCY,
    seed: int = 0,
    backend: str = "auto",
    jobs: int = 1,
    cluster: str | None = None,
    resume: Path | None = None,
    mutants: bool = False,
    progress: Progress | None = None,
) -> tuple[Verdict, ...]:
    """Put claims to the test and say what was found.

    Args:
        claims: Names or numbers, or a single one; all when empty.
        data: digits, gaussian, uniform, student-t, powerlaw, the path of an .npy or .npz[:key] file, or
            a Setting, which then also fixes compressions and seed.
        compressions: n/m, each >= 1.
        discrepancy: Relative difference worth catching, in (0, 0.5].
        seed: Names the whole experiment; the same seed gives the same verdicts.
        backend: auto, numpy, numba or cupy.
        jobs: Local worker processes; does not change the verdicts.
        cluster: Address of a Dask scheduler, ``tcp://host:port``.
        resume: Folder that keeps finished chunks.
        mutants: Run each claim's mutant instead of its checks; all must come out refuted.
        progress: Called with the stage, the work done so far and the whole.

    Returns:
        One verdict per check.

    Raises:
        KindError: If an argument is of another type.
        ArgumentError: If an argument is out of range or a claim is unknown.
        DataError: If the data cannot be used.
        BackendError: If the backend is not usable here.
        ClusterError: If the cluster does not answer.
        ResumeError: If the folder cannot be used.

    Example:
        >>> [v.status for v in verify(["unbiased"], discrepancy=0.5)][:2]
        ['confirmed', 'confirmed']
    """
    setting = data if isinstance(data, Setting) else load_setting(data, compressions, seed)
    chosen = select(claims)
    design = suite_design(chosen, setting, discrepancy, mutants=mutants)
    jobs = check_count("verify", "jobs", jobs)
    how, ledger = resolve(backend), None
    if resume is not None:
        facts = configuration(setting, chosen, discrepancy, how) | {"mutants": mutants}
        ledger = Ledger(resume, facts)
    try:
        runner = Runner(how, jobs, cluster, ledger, progress)
        experiments = plan(chosen, setting, design, runner, mutants=mutants)
        return execute(experiments, setting, design, runner)
    finally:
        if ledger is not None:
            ledger.close()


def require(verdicts: Iterable[Verdict]) -> None:
    """Do nothing if no verdict refutes its claim.

    Raises:
        ClaimRefuted: For the first that does; it carries the verdict.
    """
    for verdict in verdicts:
        if verdict.status == "refuted":
            raise ClaimRefuted(verdict)


def configuration(
    setting: Setting, claims: Sequence[Claim], discrepancy: float, backend: str
) -> dict[str, Any]:
    """What a resume folder must agree with."""
    rows = hashlib.sha256(setting.rows.tobytes()).hexdigest()
    return {
        "version": __version__,
        "claims": [c.name for c in claims],
        "data": setting.data,
        "rows": f"{setting.rows.shape[0]}x{setting.rows.shape[1]}:{rows[:16]}",
        "compressions": list(setting.compressions),
        "discrepancy": discrepancy,
        "seed": setting.seed,
        "backend": backend,
    }


def suite_design(
    claims: Sequence[Claim], setting: Setting, discrepancy: float, *, mutants: bool = False
) -> Design:
    """The false-refute budget of the suite, shared by all its checks.

    Raises:
        KindError: If the discrepancy is not a number.
        ArgumentError: If it is not in (0, 0.5].
    """
    came: Any = discrepancy
    if not isinstance(came, Real):
        raise KindError(f"discrepancy: {came!r} came; a number in (0, 0.5] is needed, such as 0.01")
    if not 0 < discrepancy <= 0.5:
        raise ArgumentError(
            f"discrepancy: {discrepancy} came; a relative difference in (0, 0.5] is needed, such as 0.01"
        )
    count = len(claims) if mutants else sum(len(claim.checks(setting)) for claim in claims)
    return Design(discrepancy, FALSE_REFUTE_SUITE / count, FALSE_CONFIRM)


def plan(
    claims: Sequence[Claim],
    setting: Setting,
    design: Design,
    runner: Runner,
    *,
    mutants: bool = False,
) -> list[Experiment]:
    """Experiments with their draws, from pilots on seeds of their own."""
    pairs = [
        (claim, check)
        for claim in claims
        for check in ([claim.mutant_check(setting)] if mutants else claim.checks(setting))
    ]
    tasks = []
    for claim, check in pairs:
        key = f"{claim.number}/{check.name}"
        count = 2 if check.relation == "always" else pilot_draws(check.sampler.cost)
        tasks.append(Task(f"{key}#pilot", check.sampler, first_seed(setting.seed, key, "pilot"), count))
    results = runner("pilot draws", tasks, lambda task: task.count * task.sampler.cost)
    found = []
    for (claim, check), task in zip(pairs, tasks, strict=True):
        pilot = results[task.key]
        draws = draws_needed(check, pilot.moments, design)
        found.append(Experiment(claim, check, draws, pilot.seconds / pilot.moments.count))
    return found


def draws_needed(check: Check, pilot: Moments, design: Design) -> int:
    """Draws of a check; a bound needs no more than tell the mean from it, halfway."""
    if check.relation == "always":
        return design.draws_of_violations()
    allowed, deviation, skewness = check.allowed(design), pilot.deviation, pilot.skewness
    if check.relation == "at most":
        allowed = max(allowed, abs(check.predicted - pilot.mean) / 2)
    least = check.draws_to_see(design)
    if check.indicator:  # a rare event may be missing from the pilot
        deviation, skewness = sqrt(max(check.predicted, pilot.mean)), 0.0
    elif deviation == 0 and abs(pilot.mean - check.predicted) > check.rounding:
        # Likewise, but of unknown size: two weights may meet in as few as one of n draws.
        least = ceil(-log(design.false_refute) * check.sampler.cost)
    return min(MOST_DRAWS, max(least, design.draws(deviation, skewness, allowed)))


def execute(
    experiments: Sequence[Experiment], setting: Setting, design: Design, runner: Runner
) -> tuple[Verdict, ...]:
    """Verdicts of designed experiments, in their order.

    Raises:
        ResumeError: If not exactly the designed draws were counted.
    """
    tasks = {
        e.key: chunks(e.key, e.check.sampler, first_seed(setting.seed, e.key, "main"), e.draws)
        for e in experiments
    }
    pace = {task.key: e.pace for e in experiments for task in tasks[e.key]}
    longest_first = sorted(experiments, key=lambda e: -e.seconds)
    results = runner(
        "measuring",
        [task for e in longest_first for task in tasks[e.key]],
        lambda task: task.count * pace[task.key],
    )
    verdicts = []
    for e in experiments:
        moments, seconds = total(results, tasks[e.key])
        if moments.count != e.draws:
            raise ResumeError(
                f"measuring: {e.key}: {moments.count} draws were counted where {e.draws} were designed; "
                "a chunk was counted twice or left out; choose another resume folder"
            )
        verdicts.append(judge(e.claim.name, e.check, moments, design, seconds))
    return tuple(verdicts)
