"""From a setting to verdicts: build the checks, design them, run them, judge them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

from rpstheory import __version__
from rpstheory.claim import Check, Claim, Setting, Verdict, judge
from rpstheory.claims import select
from rpstheory.data import load_setting
from rpstheory.kernels import resolve
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
from rpstheory.statistics import FALSE_CONFIRM, FALSE_REFUTE_SUITE, Design

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from rpstheory.monte_carlo import Result

DISCREPANCY = 0.01
QUICK_DISCREPANCY = 0.05


@dataclass(frozen=True)
class Experiment:
    """A check of a claim with its number of draws fixed."""

    claim: Claim
    check: Check
    draws: int

    @property
    def key(self) -> str:
        """Name in a resume folder."""
        return f"{self.claim.number}/{self.check.name}"

    @property
    def work(self) -> float:
        """Draws times cost."""
        return self.draws * self.check.sampler.cost


@dataclass(frozen=True)
class Run:
    """How experiments are executed.

    Attributes:
        backend: numpy, numba or cupy.
        jobs: Local worker processes.
        cluster: Address of a Dask scheduler.
        ledger: Where finished chunks are kept.
        progress: Called with the work done by each finished task.
    """

    backend: str
    jobs: int = 1
    cluster: str | None = None
    ledger: Ledger | None = None
    progress: Callable[[str, float], None] | None = None

    def __call__(self, tasks: Sequence[Task]) -> dict[str, Result]:
        """Results of the tasks by key."""

        def report(task: Task) -> None:
            if self.progress is not None:
                self.progress(task.key, task.count * task.sampler.cost)

        return run(
            tasks,
            backend=self.backend,
            jobs=self.jobs,
            cluster=self.cluster,
            ledger=self.ledger,
            progress=report,
        )


def verify(
    claims: Iterable[str] = (),
    *,
    data: str = "digits",
    compressions: Sequence[float] = (2, 4, 8),
    discrepancy: float = DISCREPANCY,
    seed: int = 0,
    backend: str = "auto",
    jobs: int = 1,
    cluster: str | None = None,
    resume: Path | None = None,
) -> tuple[Verdict, ...]:
    """Put claims to the test and say what was found.

    Args:
        claims: Names or numbers; all when empty.
        data: digits, gaussian, uniform, student-t, powerlaw, or the path of an .npy or .npz[:key] file.
        compressions: n/m, each >= 1.
        discrepancy: Relative difference worth catching, in (0, 0.5].
        seed: Names the whole experiment; the same seed gives the same verdicts.
        backend: auto, numpy, numba or cupy.
        jobs: Local worker processes; does not change the verdicts.
        cluster: Address of a Dask scheduler, tcp://host:port.
        resume: Folder that keeps finished chunks.

    Returns:
        One verdict per check.

    Raises:
        ArgumentError: If an argument is out of range or a claim is unknown.
        DataError: If the data cannot be used.
        BackendError: If the backend is not usable here.
        ClusterError: If the cluster does not answer.
        ResumeError: If the folder cannot be used.

    Example:
        >>> [v.status for v in verify(["unbiased"], discrepancy=0.5)][:2]
        ['confirmed', 'confirmed']
    """
    setting = load_setting(data, compressions, seed)
    chosen = select(claims)
    how = resolve(backend)
    ledger = None
    if resume is not None:
        ledger = Ledger(resume, configuration(setting, chosen, discrepancy, how))
    try:
        runner = Run(how, jobs, cluster, ledger)
        design = suite_design(chosen, setting, discrepancy)
        experiments = plan(chosen, setting, design, runner)
        return execute(experiments, setting, design, runner)
    finally:
        if ledger is not None:
            ledger.close()


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


def suite_design(claims: Sequence[Claim], setting: Setting, discrepancy: float) -> Design:
    """The false-refute budget of the suite, shared by all its checks."""
    count = sum(len(claim.checks(setting)) for claim in claims)
    return Design(discrepancy, FALSE_REFUTE_SUITE / count, FALSE_CONFIRM)


def plan(
    claims: Sequence[Claim],
    setting: Setting,
    design: Design,
    runner: Run,
    *,
    mutants: bool = False,
) -> list[Experiment]:
    """Experiments with their draws, from pilots on seeds of their own.

    A bound needs no more draws than tell the measured mean from it, halfway.
    """
    pairs = [
        (claim, check)
        for claim in claims
        for check in ([claim.mutant_check(setting)] if mutants else claim.checks(setting))
    ]
    tasks = []
    for claim, check in pairs:
        key = f"{claim.number}/{check.name}"
        count = 0 if check.relation == "always" else pilot_draws(check.sampler.cost)
        tasks.append(Task(f"{key}#pilot", check.sampler, first_seed(setting.seed, key, "pilot"), count))
    results = runner([t for t in tasks if t.count])
    found = []
    for (claim, check), task in zip(pairs, tasks, strict=True):
        draws = design.draws_of_violations()
        if task.count:
            pilot = results[task.key].moments
            allowed, deviation, skewness = check.allowed(design), pilot.deviation, pilot.skewness
            if check.relation == "at most":
                allowed = max(allowed, abs(check.predicted - pilot.mean) / 2)
            if check.indicator:  # a rare event may be missing from the pilot
                deviation, skewness = sqrt(max(check.predicted, pilot.mean)), 0.0
            draws = min(MOST_DRAWS, design.draws(deviation, skewness, allowed))
        found.append(Experiment(claim, check, draws))
    return found


def execute(
    experiments: Sequence[Experiment], setting: Setting, design: Design, runner: Run
) -> tuple[Verdict, ...]:
    """Verdicts of designed experiments, in their order."""
    tasks = {
        e.key: chunks(e.key, e.check.sampler, first_seed(setting.seed, e.key, "main"), e.draws)
        for e in experiments
    }
    results = runner([task for own in tasks.values() for task in own])
    verdicts = []
    for e in experiments:
        moments, seconds = total(results, tasks[e.key])
        verdicts.append(judge(e.claim.name, e.check, moments, design, seconds))
    return tuple(verdicts)
