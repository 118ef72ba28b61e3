"""From runs to verdicts: the parts of practice on each network, with one budget of error for all."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from nn.patterns import one_of
from nn.practice import ranking
from nn.practice.network import Trained, trained
from nn.practice.part import Part
from nn.records import records_of
from rpstheory.claim import Setting, Verdict
from rpstheory.errors import ArgumentError
from rpstheory.kernels import resolve
from rpstheory.report.record import Report, Settings, now, this_environment
from rpstheory.verification import Progress, Runner, execute, plan, suite_design

if TYPE_CHECKING:
    from rpstheory.claim import Claim
    from rpstheory.report.gallery import Plate

PARTS = ("preactivations", "residuals", "occupancy", "stepping", "imbalance")
TOGETHER = "ranking"  # the part that looks at all runs together
DISCREPANCY, QUICK_DISCREPANCY = 0.02, 0.05
PICTURED = 256  # images named in a report's settings


@dataclass(frozen=True, eq=False)
class Practice:
    """What was predicted, measured and drawn.

    Attributes:
        report: Verdicts, in the format of ``rps verify``.
        claims: What they are about.
        plates: Figures of each claim, by its name.
    """

    report: Report
    claims: tuple[Claim, ...]
    plates: dict[str, list[Plate]]


def practice(
    runs: Sequence[Path | str],
    parts: Sequence[str] = (),
    *,
    quick: bool = False,
    mutants: bool = False,
    seed: int = 0,
    root: Path | str | None = None,
    progress: Progress | None = None,
) -> Practice:
    """Predict and measure, for every run.

    Args:
        runs: Folders of finished runs; of one that holds runs, however deep, those that are finished.
        parts: Of :data:`PARTS`, or ranking; all when empty, the ranking only where there are enough runs.
        quick: Catch 5 % in place of 2 %, on less of each network.
        mutants: Run each claim's mutant in place of its checks; all must come out refuted.
        seed: Names everything random.
        root: As for :func:`nn.data.load`.
        progress: Called with the stage, the work done so far and the whole.

    Raises:
        ArgumentError: If a part is unknown, a run is not finished, or nothing can be said about the runs.
        DataError: If a run or its data cannot be read.
        ResumeError: If a run was made by another version.
    """
    started, clock = now(), perf_counter()
    asked = [one_of("practice", "part", part, (*PARTS, TOGETHER)) for part in parts or (*PARTS, TOGETHER)]
    names = [name for name in asked if name != TOGETHER]
    discrepancy = QUICK_DISCREPANCY if quick else DISCREPANCY
    networks = [trained(run, root) for run in _folders(runs)]
    found: list[Part] = []
    for number, network in enumerate(networks):
        for done, name in enumerate(names):
            if progress is not None:
                progress("predicting", number * len(names) + done, len(networks) * len(names))
            build = importlib.import_module(f"nn.practice.{name}").claims
            found += _named(build(network, discrepancy, quick=quick), network, number, len(networks))
    ranked = ranking.claims(networks) if TOGETHER in asked else ()
    _require(parts, asked, found, ranked)
    found += ranked
    setting, claims = _setting(networks, seed), tuple(part.claim for part in found)
    design = suite_design(claims, setting, discrepancy, mutants=mutants)
    how = resolve("auto")
    runner = Runner(how, progress=progress)
    measured = execute(plan(claims, setting, design, runner, mutants=mutants), setting, design, runner)
    judged = {part.claim.name: part.judged for part in found}
    verdicts = tuple(judged[verdict.claim](verdict) for verdict in measured)
    report = Report(
        verdicts=verdicts,
        environment=this_environment(),
        seed=seed,
        settings=Settings.of(setting, [claim.name for claim in claims], discrepancy, backend=how),
        started=started,
        seconds=perf_counter() - clock,
    )
    drawn = {} if mutants else {part.claim.name: part.plates(_own(part, verdicts)) for part in found}
    return Practice(report, claims, drawn)


def _folders(runs: Sequence[Path | str]) -> list[Path]:
    """Those of finished runs; of what holds none itself, for others to complain about."""
    found: list[Path] = []
    for folder in map(Path, runs):
        inside = [record.folder for record in records_of(folder) if record.status == "finished"]
        found += inside or [folder]
    return list(dict.fromkeys(found))


def _require(
    parts: Sequence[str], asked: Sequence[str], found: Sequence[Part], ranked: Sequence[Part]
) -> None:
    """Do nothing if there is something to say.

    Raises:
        ArgumentError: If there is not.
    """
    if TOGETHER in parts and not ranked:
        raise ArgumentError(
            f"practice: {TOGETHER} came; it needs runs of {ranking.FEW} methods or more at one compression, "
            "of one model, data and recipe; pass more runs"
        )
    if not found and not ranked:
        raise ArgumentError(
            f"practice: {', '.join(asked)} came, and no run shares weights, or its outputs depend on none of "
            "them; pass a run of a sharing method that has learned, or another part"
        )


def _named(found: Sequence[Part], network: Trained, number: int, networks: int) -> Iterator[Part]:
    """The claims of one of several networks are told apart by number and name."""
    for part in found:
        run = f"/{network.record.folder.name}" if networks > 1 else ""
        yield replace(
            part,
            claim=replace(
                part.claim,
                number=10 * number + part.claim.number,
                name=part.claim.name + run,
                title=f"{part.claim.title}: {network.name}",
            ),
        )


def _own(part: Part, verdicts: Sequence[Verdict]) -> list[Verdict]:
    return [v for v in verdicts if v.claim == part.claim.name]


def _setting(networks: Sequence[Trained], seed: int) -> Setting:
    """What a report says about the data: those of the first run, as images."""
    first = networks[0]
    images = first.images(PICTURED)[0].flatten(1).double().numpy()
    compressions = tuple(dict.fromkeys(network.compression for network in networks))
    return Setting(first.record.configuration["data"], np.ascontiguousarray(images), (), compressions, seed)
