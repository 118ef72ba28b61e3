"""Draw, stream, merge: experiments in chunks, on a local pool or a cluster, resumable; no formula.

Chunks are a fixed function of the experiment and their moments are merged in order, so the result
depends neither on the number of workers nor on what finished first. The pilot that fixes the number
of draws uses seeds of its own.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import pickle
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rpstheory.errors import ArgumentError, ClusterError, ResumeError
from rpstheory.statistics import Moments, merge_all

if TYPE_CHECKING:
    from rpstheory.claim import Sampler

CHUNK_WORK = 2.0**24
MOST_DRAWS = 2**28
CLUSTER_PATIENCE = 8.0
FOLLOW = 0.5  # seconds between looks at the parent


@dataclass(frozen=True)
class Task:
    """One chunk of draws of one experiment; its key names it in a resume folder."""

    key: str
    sampler: Sampler
    first: int
    count: int


@dataclass(frozen=True)
class Result:
    """What a task found."""

    key: str
    moments: Moments
    seconds: float


def first_seed(experiment: int, *names: str) -> int:
    """Seed of the first draw of a named stream of an experiment; streams do not overlap."""
    text = json.dumps([experiment, *names]).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def chunk_draws(cost: float) -> int:
    """Draws in a chunk: a power of two, about 2^24 weights' work."""
    draws = 2**18
    while draws > 32 and draws * cost > CHUNK_WORK:
        draws //= 2
    return draws


def pilot_draws(cost: float) -> int:
    """Draws of the pilot: enough for a deviation and a skewness, never a burden."""
    return min(16384, max(512, int(2**22 / cost)))


def chunks(key: str, sampler: Sampler, first: int, draws: int) -> list[Task]:
    """Tasks that cover draws 0..draws-1; the last chunk may be shorter."""
    step = chunk_draws(sampler.cost)
    return [
        Task(f"{key}#{number}", sampler, (first + low) % 2**64, min(step, draws - low))
        for number, low in enumerate(range(0, draws, step))
    ]


def measure(task: Task, backend: str) -> Result:
    """Moments of one chunk."""
    start = time.perf_counter()
    moments = Moments.of(task.sampler(task.first, task.count, backend))
    return Result(task.key, moments, time.perf_counter() - start)


def run(
    tasks: Sequence[Task],
    *,
    backend: str,
    jobs: int = 1,
    cluster: str | None = None,
    ledger: Ledger | None = None,
    progress: Callable[[Task], None] | None = None,
) -> dict[str, Result]:
    """Results by key; those in the ledger are not measured again.

    Args:
        tasks: What to measure.
        backend: numpy, numba or cupy, on every worker.
        jobs: Local worker processes.
        cluster: Address of a Dask scheduler, in place of local workers.
        ledger: Where finished chunks are kept.
        progress: Called after each finished task.

    Raises:
        ArgumentError: If ``jobs`` is not a positive int, two different tasks share a key, or two chunks
            of one experiment share draws.
        ResumeError: If the ledger holds a chunk of another size.
        ClusterError: If the cluster does not answer or is lost.
    """
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise ArgumentError(f"jobs: {jobs!r} came; a whole number of workers, at least 1, is needed")
    by_key = _by_key(tasks)
    known = {} if ledger is None else ledger.results
    done = {key: _same_size(known[key], task) for key, task in by_key.items() if key in known}
    for key in done:
        if progress:
            progress(by_key[key])
    open_tasks = [task for key, task in by_key.items() if key not in done]
    for result in _execute(open_tasks, backend, jobs, cluster):
        done[result.key] = result
        if ledger is not None:
            ledger.add(result)
        if progress:
            progress(by_key[result.key])
    return done


def total(results: dict[str, Result], tasks: Sequence[Task]) -> tuple[Moments, float]:
    """Moments of an experiment, merged in the order of its tasks, and its worker time."""
    own = [results[t.key] for t in tasks]
    return merge_all(r.moments for r in own), sum(r.seconds for r in own)


def _by_key(tasks: Sequence[Task]) -> dict[str, Task]:
    found: dict[str, Task] = {}
    for task in tasks:
        other = found.setdefault(task.key, task)
        if other is not task and pickle.dumps(other) != pickle.dumps(task):
            raise ArgumentError(
                f"tasks: two different ones are called {task.key!r}; their results would be mixed; "
                "give every check of a claim a name of its own"
            )
    _check_disjoint(found.values())
    return found


def _check_disjoint(tasks: Iterable[Task]) -> None:
    """Do nothing if no two chunks of an experiment share draws: its error would come out too small.

    Raises:
        ArgumentError: If two do.
    """
    experiments: dict[str, list[Task]] = {}
    for task in tasks:
        experiments.setdefault(task.key.rpartition("#")[0] or task.key, []).append(task)
    for key, own in experiments.items():
        ranges = sorted(((task.first - own[0].first) % 2**64, task.count) for task in own)
        if any(low + count > above for (low, count), (above, _) in pairwise([*ranges, (2**64, 0)])):
            raise ArgumentError(
                f"tasks: two chunks of {key!r} share draws; the error of the mean would come out too small; "
                "give every chunk seeds of its own"
            )


def _same_size(known: Result, task: Task) -> Result:
    if known.moments.count != task.count:
        raise ResumeError(
            f"resume: chunk {task.key} holds {known.moments.count} draws, {task.count} are expected; "
            "another version wrote it; choose another folder"
        )
    return known


class Ledger:
    """Finished chunks in a folder, one JSON line each; kill -9 loses at most the line being written."""

    def __init__(self, folder: Path, configuration: dict[str, Any]) -> None:
        """Open, or begin, the ledger of one configuration.

        Raises:
            ResumeError: If the folder belongs to another configuration, is in use, damaged, or cannot
                be read or written.
        """
        self.results: dict[str, Result] = {}
        self._folder = folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = (folder / "chunks.jsonl").open("a+b")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._agree(folder / "configuration.json", configuration)
                self._read()
            except BaseException:
                self._file.close()
                raise
        except BlockingIOError:
            raise ResumeError(
                f"resume: {folder} is in use by another run; wait for it or choose another folder"
            ) from None
        except OSError as error:
            raise ResumeError(
                f"resume: {folder} cannot be used ({error.strerror}); choose a writable folder"
            ) from None

    def add(self, result: Result) -> None:
        """Keep one result.

        Raises:
            ResumeError: If it cannot be written.
        """
        self.results[result.key] = result
        record = [result.key, result.seconds, *astuple(result.moments)]
        try:
            self._file.write(json.dumps(record).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise ResumeError(
                f"resume: {self._folder} cannot be written ({error.strerror}); "
                "make room, then start again with the same folder"
            ) from None

    def close(self) -> None:
        """Let go of the folder."""
        with suppress(OSError):  # a disk that is full was reported by add
            self._file.close()

    def _agree(self, path: Path, configuration: dict[str, Any]) -> None:
        text = json.dumps(configuration, indent=1, sort_keys=True)
        if path.exists():
            found = path.read_text(errors="replace")
            if found != text:
                raise ResumeError(
                    f"resume: {path.parent} holds a run with {_difference(found, configuration)}; "
                    "repeat those settings or choose another folder"
                )
            return
        if path.with_name("chunks.jsonl").stat().st_size:
            raise ResumeError(
                f"resume: {path.parent} holds chunks but no configuration.json; "
                "nothing says which run they belong to; choose another folder"
            )
        replace_text(path, text)

    def _read(self) -> None:
        self._file.seek(0)
        whole = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            try:
                key, seconds, count, *rest = json.loads(line)
                numbers = [float(v) for v in (seconds, *rest)]
                if not (isinstance(key, str) and isinstance(count, int) and len(numbers) == 6):
                    raise ValueError(line)
                self.results[key] = Result(key, Moments(count, *numbers[1:]), numbers[0])
            except (ValueError, TypeError):
                raise ResumeError(
                    f"resume: {self._folder}/chunks.jsonl is damaged at byte {whole}; "
                    "delete the folder and start again"
                ) from None
            whole += len(line)
        self._file.truncate(whole)


def replace_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the whole new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _difference(found: str, configuration: dict[str, Any]) -> str:
    try:
        old = json.loads(found)
        changed = [k for k in sorted({*configuration, *old}) if old.get(k) != configuration.get(k)]
        return ", ".join(f"{k}={old.get(k)!r} (now {configuration.get(k)!r})" for k in changed)
    except (ValueError, AttributeError):
        return "an unreadable configuration"


def _execute(tasks: Sequence[Task], backend: str, jobs: int, cluster: str | None) -> Iterator[Result]:
    if cluster is not None:
        yield from _on_cluster(tasks, backend, cluster)
    elif jobs == 1 or len(tasks) < 2:
        yield from (measure(task, backend) for task in tasks)
    else:
        from joblib import Parallel, delayed

        way = {"backend": "loky", "initializer": _follow, "initargs": (os.getpid(),)}
        pool = Parallel(n_jobs=jobs, return_as="generator_unordered", **way)
        yield from pool(delayed(measure)(task, backend) for task in tasks)


def _follow(parent: int) -> None:
    """End this worker soon after its parent, whose pipes it would hold open where that is killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(FOLLOW)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _on_cluster(tasks: Sequence[Task], backend: str, address: str) -> Iterator[Result]:
    with cluster_client(address) as client:
        from distributed import CancelledError, KilledWorker, as_completed

        futures = [client.submit(measure, t, backend, pure=False, retries=3) for t in tasks]
        try:
            for future in as_completed(futures, loop=client.loop):
                yield future.result()
        except (OSError, CancelledError, KilledWorker) as error:
            raise ClusterError(
                f"cluster: {address} was lost ({type(error).__name__}); start it again and use --resume"
            ) from error
        finally:
            client.cancel(futures)


@contextmanager
def cluster_client(address: str) -> Iterator[Any]:
    """A Dask client that has been answered, within ten seconds.

    Raises:
        ClusterError: If Dask is not installed or nobody answers.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ClusterError(
            "cluster: Dask is not installed; install the extra: pip install 'rps-toolkit[dask]'"
        ) from None
    try:
        workers = _count_workers(address)
        client = Client(address, timeout=CLUSTER_PATIENCE, set_as_default=False) if workers else None
    except (OSError, ValueError, TypeError, MemoryError, struct.error) as error:
        raise ClusterError(
            f"cluster: {address} does not answer as a Dask scheduler ({type(error).__name__}); "
            "check the address, tcp://host:port"
        ) from None
    if client is None:
        raise ClusterError(f"cluster: {address} has no workers; start some with: dask worker {address}")
    try:
        yield client
    finally:
        client.close()


def _count_workers(address: str) -> int:
    """Workers of a scheduler, asked outside the client: that waits for ever on a port that is silent."""

    async def ask() -> int:
        from distributed.core import rpc
        from distributed.security import Security

        arguments = Security().get_connection_args("client")
        async with rpc(address, connection_args=arguments) as scheduler:
            return len((await scheduler.identity()).get("workers", ()))

    with ThreadPoolExecutor(1) as pool:  # a notebook has a running loop of its own
        return pool.submit(asyncio.run, asyncio.wait_for(ask(), CLUSTER_PATIENCE)).result()
