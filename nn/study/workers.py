"""Who runs the cells: processes of this machine, or workers of a Dask cluster; to the study they look alike.

A worker runs one cell at a time. Where it is killed, its cell comes back without a line and the others go on.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nn.records import Row, read
from nn.study.results import failure, line_of
from rpstheory.errors import ClusterError, RpsError
from rpstheory.monte_carlo import cluster_client

if TYPE_CHECKING:
    from nn.runs import Configuration

POLL = 0.1  # seconds between looks at a cluster
_ALONE = threading.Lock()  # threads of a process share torch's generator


@dataclass(frozen=True)
class Job:
    """A cell as it travels.

    Attributes:
        run: The hash of its configuration.
        arguments: Of :func:`nn.fit`, but for what follows.
        configuration: The same as it is recorded.
        out: Folder of all runs.
        root: Folder of the official data.
        threads: Of a worker.
    """

    run: str
    arguments: dict[str, Any]
    configuration: Row
    out: str
    root: str | None
    threads: int


@dataclass(frozen=True)
class Lost:
    """A cell that came back without a line; perhaps the next try gets farther.

    Attributes:
        reason: Why, in words.
    """

    reason: str


Outcome = Row | Lost


class Crew(Protocol):
    """Who runs the cells."""

    @property
    def room(self) -> int:
        """How many cells can be begun at once, now."""

    def start(self, job: Job) -> None:
        """Begin a cell."""

    def ended(self, patience: float) -> list[tuple[Job, Outcome]]:
        """Cells that are over, at the latest after so many seconds."""

    def close(self) -> None:
        """Let go of everything that still runs."""


def work(job: Job) -> Outcome:
    """The line of a cell, run here: what the package refuses is a result, anything else may go better."""
    import torch

    from nn.fitting import fit

    with _ALONE:
        torch.set_num_threads(job.threads)
        try:
            fitted = fit(**job.arguments, out=job.out, root=job.root)
            return line_of(read(fitted.folder))
        except RpsError as error:
            return failure(job.run, job.configuration, str(error))
        except Exception as error:  # of torch, of the disk: the study goes on without this cell
            return Lost(f"{type(error).__name__}: {(str(error) or 'no reason given').splitlines()[0]}")


# ------------------------------------------------------------------------------------------ a pool


def _serve(pipe: Connection) -> None:
    """A process of the pool: one cell after another, until the study is over or gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the study says when to stop
    threading.Thread(target=_follow, daemon=True).start()
    try:
        while True:
            pipe.send(work(pipe.recv()))
    except (EOFError, OSError):
        return


def _follow() -> None:
    """End with the study, also where that is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    job: Job | None = None


class Pool:
    """Processes of this machine."""

    def __init__(self, jobs: int) -> None:
        """Begin so many processes, none before there is a cell for it."""
        self._jobs, self._context = jobs, multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []

    @property
    def room(self) -> int:
        """How many cells can be begun at once, now."""
        return self._jobs - sum(worker.job is not None for worker in self._workers)

    def start(self, job: Job) -> None:
        """Begin a cell."""
        worker = next((each for each in self._workers if each.job is None), None) or self._another()
        worker.job = job
        try:
            worker.pipe.send(job)
        except OSError:  # it died meanwhile; ended() says so
            return

    def _another(self) -> _Worker:
        here, there = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(there,), daemon=True)
        process.start()
        there.close()
        self._workers.append(_Worker(process, here))
        return self._workers[-1]

    def ended(self, patience: float) -> list[tuple[Job, Outcome]]:
        """Cells that are over, at the latest after so many seconds."""
        busy = {worker.pipe: worker for worker in self._workers if worker.job is not None}
        found: list[tuple[Job, Outcome]] = []
        for pipe in wait(list(busy), patience):
            worker = busy[pipe]  # type: ignore[index]
            job, worker.job = worker.job, None
            if job is None:
                continue
            try:
                found.append((job, worker.pipe.recv()))
            except (EOFError, OSError):
                found.append((job, Lost(self._buried(worker))))
        return found

    def _buried(self, worker: _Worker) -> str:
        """Why a process is no more."""
        self._workers.remove(worker)
        worker.pipe.close()
        worker.process.join()
        code = worker.process.exitcode or 0
        if code >= 0:
            return f"its process ended with status {code}"
        return f"its process was killed by {signal.Signals(-code).name}, as where memory is short"

    def close(self) -> None:
        """Let go of everything that still runs."""
        for worker in self._workers:
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()
        self._workers.clear()


# --------------------------------------------------------------------------------------- a cluster


class Cluster:
    """Workers of a Dask cluster that share this machine's files."""

    def __init__(self, address: str) -> None:
        """Ask for them.

        Raises:
            ClusterError: If Dask is not installed or nobody answers.
        """
        self._address, self._stack = address, ExitStack()
        self._running: dict[Any, Job] = {}
        self._client = self._stack.enter_context(cluster_client(address))

    @property
    def room(self) -> int:
        """How many cells can be begun at once, now: one for each worker process.

        Raises:
            ClusterError: If the cluster is lost.
        """
        try:
            return len(self._client.ncores()) - len(self._running)
        except OSError:
            raise self._gone() from None

    def start(self, job: Job) -> None:
        """Begin a cell."""
        self._running[self._client.submit(work, job, pure=False)] = job

    def ended(self, patience: float) -> list[tuple[Job, Outcome]]:
        """Cells that are over, at the latest after so many seconds.

        Raises:
            ClusterError: If the cluster is lost.
        """
        limit = time.monotonic() + patience
        while not (over := [each for each in self._running if each.done()]) and time.monotonic() < limit:
            time.sleep(POLL)
        if self._client.status != "running":
            raise self._gone()
        return [(job := self._running.pop(future), self._outcome(future, job)) for future in over]

    def _gone(self) -> ClusterError:
        return ClusterError(
            f"study: the cluster at {self._address} was lost; start it again: the same command goes on"
        )

    def _outcome(self, future: Any, job: Job) -> Outcome:
        from distributed import CancelledError, KilledWorker

        try:
            return future.result()
        except KilledWorker as error:  # the scheduler has tried it on several workers
            return failure(
                job.run, job.configuration, f"its workers were killed: {str(error).splitlines()[0]}"
            )
        except (OSError, CancelledError):
            raise self._gone() from None
        except Exception as error:  # a worker without the package, for one
            return Lost(f"{type(error).__name__}: {error}")

    def close(self) -> None:
        """Let go of everything that still runs."""
        self._client.cancel(list(self._running))
        self._stack.close()


def job_of(configuration: Configuration, out: Path, root: Path | None, threads: int) -> Job:
    """A cell as it travels; its paths are whole, for processes that stand elsewhere."""
    how = asdict(configuration)
    arguments = {name: value for name, value in how.items() if name != "recipe"}
    where = root or os.environ.get("RPS_DATA")  # of this machine, not of the worker's
    return Job(
        configuration.key, arguments | {"recipe": configuration.recipe}, how, str(out.resolve()),
        None if where is None else str(Path(where).resolve()), threads,
    )  # fmt: skip
