"""A study from its first cell to its last: what is known is not run again, what is lost is tried again."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log
from pathlib import Path

from nn.records import METRICS, RESULT, UNFINISHED, Row, read
from nn.runs import RATE, Configuration
from nn.study.grid import Cell, Study
from nn.study.results import DIVERGED, FINISHED, SUFFIX, Lines, failure, index, line_of, opened
from nn.study.workers import Crew, Job, Lost, job_of
from rpstheory import __version__
from rpstheory.errors import DataError

TRIES = 3  # of a cell whose worker is lost
PATIENCE = 1.0  # seconds between looks at the progress


@dataclass(frozen=True)
class Event:
    """How far a study is.

    Attributes:
        line: Of a cell that has just ended; None between them.
        cell: That one.
        over: Cells that are over, those known before included.
        cells: Of the study.
        done: Share of the work of this call, counted in epochs, that is done.
    """

    line: Row | None
    cell: Cell | None
    over: int
    cells: int
    done: float


Tell = Callable[[Event], None]


def results_of(study: Study, out: Path) -> Path:
    """Where the lines of a study are kept."""
    return out / f"{study.name}{SUFFIX}"


def run(
    study: Study,
    out: Path,
    crew: Callable[[], Crew],
    *,
    root: Path | None = None,
    threads: int = 1,
    tries: int = TRIES,
    tell: Tell = lambda event: None,
) -> list[Row]:
    """Every line of a study, in the order of its cells.

    A cell that is finished or diverged, here or in its folder, is not run again; one that failed is.

    Args:
        study: What to run.
        out: Folder of all runs, and of the results.
        crew: Gives who runs the cells; not called where everything is known.
        root: Folder with the official data.
        threads: Of a worker.
        tries: Of a cell whose worker is lost, before it counts as failed.
        tell: Told of every cell that ends, and about once a second how far it is.

    Raises:
        DataError: If the results cannot be read or written.
        ResumeError: If another process runs this study, or another version did.
        ClusterError: If a cluster does not answer, or is lost.
    """
    with opened(results_of(study, out)) as lines:
        missing = [cell for cell in study.cells if not _known(cell, lines, out)]
        if missing:
            _Going(study, missing, lines, out, tries, tell).go(crew(), root, threads)
        return [lines.known[cell.configuration.key] for cell in study.cells]


def _known(cell: Cell, lines: Lines, out: Path) -> bool:
    """Whether a cell is over, by its line or by its folder."""
    key = cell.configuration.key
    if lines.known.get(key, {}).get("status") in (FINISHED, DIVERGED):
        return True
    if not (out / key / RESULT).exists():
        return False
    try:
        record = read(out / key)
    except DataError:  # the worker says what is wrong with it
        return False
    if record.version != __version__ or record.status == UNFINISHED:
        return False
    lines.add(line_of(record))
    return True


def epochs_of(configuration: Configuration) -> int:
    """Epochs of all rounds."""
    return configuration.recipe.epochs * rounds_of(configuration)


def rounds_of(configuration: Configuration) -> int:
    """Trainings of a cell: one, but for lottery tickets."""
    if configuration.method != "ltr" or configuration.compression == 1:
        return 1
    kept = 1 - configuration.options.get("rate", RATE)
    return 1 + ceil(log(1 / configuration.compression) / log(kept) - 1e-9)


@dataclass
class _Going:
    """A study on its way."""

    study: Study
    missing: list[Cell]
    lines: Lines
    out: Path
    tries: int
    tell: Tell

    def go(self, crew: Crew, root: Path | None, threads: int) -> None:
        """Run what is missing."""
        self.cells = {cell.configuration.key: cell for cell in self.missing}
        self.before = {key: self._epochs(key) for key in self.cells}
        self.work = {
            key: max(1, epochs_of(cell.configuration) - self.before[key]) for key, cell in self.cells.items()
        }
        running: set[str] = set()
        self.over, lost = set[str](), Counter[str]()
        left = deque(job_of(cell.configuration, self.out, root, threads) for cell in self.missing)
        try:
            while left or running:
                for _ in range(min(crew.room, len(left))):
                    job = left.popleft()
                    running.add(job.run)
                    crew.start(job)
                for job, outcome in crew.ended(PATIENCE):
                    running.discard(job.run)
                    if isinstance(outcome, Lost):
                        lost[job.run] += 1
                        if lost[job.run] < self.tries:
                            left.append(job)
                            continue
                        reason = f"given up after {self.tries} tries: {outcome.reason}"
                        outcome = failure(job.run, job.configuration, reason)
                    self._keep(job, outcome | {"tries": min(self.tries, 1 + lost[job.run])})
                self.tell(self._event(None, None))
        finally:
            crew.close()

    def _keep(self, job: Job, line: Row) -> None:
        self.over.add(job.run)
        cell = self.cells[job.run]
        self.lines.add(line)
        index(self.lines.path)
        self.tell(self._event(line, cell))

    def _event(self, line: Row | None, cell: Cell | None) -> Event:
        done = sum(work if key in self.over else self._done(key) for key, work in self.work.items())
        known = len(self.study.cells) - len(self.missing) + len(self.over)
        return Event(line, cell, known, len(self.study.cells), done / sum(self.work.values()))

    def _done(self, key: str) -> float:
        """Epochs that this call has added to a cell; of the last one half, as the cell is not over yet."""
        return min(self._epochs(key) - self.before[key], self.work[key] - 0.5)

    def _epochs(self, key: str) -> int:
        """What a cell has done by its folder, wherever it runs."""
        try:
            return (self.out / key / METRICS).read_bytes().count(b"\n")
        except OSError:
            return 0
