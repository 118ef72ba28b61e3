"""Experiments in chunks: the same numbers whoever computes them, whatever is killed meanwhile."""

import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rpstheory
from rpstheory import Fold, KeepExact, monte_carlo, verify
from rpstheory.errors import ArgumentError, BackendError, ClusterError, ResumeError
from rpstheory.kernels import resolve
from rpstheory.monte_carlo import (
    Ledger,
    Result,
    Task,
    chunk_draws,
    chunks,
    first_seed,
    measure,
    pilot_draws,
    run,
    total,
)
from rpstheory.samplers import Products
from rpstheory.statistics import Moments, merge_all

ROOT = Path(rpstheory.__file__).parents[1]
CONFIGURATION = {"claims": ["some"], "seed": 7}
X = np.arange(64.0) % 11 - 3


def experiment(number=24, draws=4000):
    """Chunks of one experiment; each takes some ten milliseconds."""
    sampler = Products(Fold(64, 24, 0), X, X)
    return [Task(f"fold#{k}", sampler, 5 + k * draws, draws) for k in range(number)]


def moments_of(results, tasks):
    """Everything but the time it took."""
    assert set(results) == {t.key for t in tasks}
    return total(results, tasks)[0]


@pytest.fixture(scope="module")
def undisturbed():
    """What the experiment gives in one process, from first to last."""
    return moments_of(run(experiment(), backend="numpy"), experiment())


# ---------------------------------------------------------------------------------- chunks


@given(st.floats(1, 1e9), st.integers(0, 2**64 - 1), st.integers(0, 10**6))
def test_chunks_cover_every_draw_once_in_order(cost, first, draws):
    class Costly:
        pass

    sampler = Costly()
    sampler.cost = max(cost, 100.0)
    tasks = chunks("key", sampler, first, draws)
    step = chunk_draws(sampler.cost)
    assert sum(t.count for t in tasks) == draws
    assert [t.first for t in tasks] == [(first + k * step) % 2**64 for k in range(len(tasks))]
    assert all(t.count == step for t in tasks[:-1])
    assert [t.key for t in tasks] == [f"key#{k}" for k in range(len(tasks))]


@given(st.floats(1e-3, 1e12))
def test_chunk_is_a_power_of_two_of_draws_and_a_pilot_is_never_a_burden(cost):
    draws = chunk_draws(cost)
    assert draws.bit_count() == 1
    assert 32 <= draws <= 2**18
    assert draws == 32 or draws * cost <= monte_carlo.CHUNK_WORK
    assert 512 <= pilot_draws(cost) <= 16384


def test_first_seeds_are_pinned_and_differ_by_experiment_check_and_stream():
    names = [(0, "1/a", "pilot"), (0, "1/a", "main"), (0, "1/b", "main"), (1, "1/a", "main")]
    found = [first_seed(*n) for n in names]
    assert len(set(found)) == 4
    assert found[0] == 8707317380321695294
    assert first_seed(0, "a", "bc") != first_seed(0, "ab", "c")


def test_measure_gives_the_moments_of_one_chunk():
    (task,) = experiment(1, 50)
    found = measure(task, "numpy")
    assert found.key == task.key
    assert found.moments == Moments.of(task.sampler(5, 50, "numpy"))
    assert found.seconds > 0


@given(st.permutations(range(6)))
def test_total_does_not_depend_on_the_order_in_which_chunks_finish(order):
    tasks = [Task(f"t{k}", None, 0, 3) for k in range(6)]
    parts = [Moments.of([0.1 * k, 1 / 3, 7.0**k]) for k in range(6)]
    results = {f"t{k}": Result(f"t{k}", parts[k], 1.0) for k in order}
    assert total(results, tasks) == (merge_all(parts), 6.0)


# ----------------------------------------------------------------------------- local workers


def test_run_gives_the_same_moments_with_one_worker_and_with_two(undisturbed):
    tasks = experiment()
    assert moments_of(run(tasks, backend="numpy", jobs=2), tasks) == undisturbed


def test_verdicts_are_the_same_with_one_worker_and_with_two():
    one, two = (verify(["unbiased"], discrepancy=0.5, backend="numpy", jobs=j) for j in (1, 2))
    assert one == two
    assert len(one) > 5


def test_run_reports_every_task_once(tmp_path):
    tasks, seen = experiment(5, 20), []
    with closing(Ledger(tmp_path, CONFIGURATION)) as ledger:
        run(tasks[:2], backend="numpy", ledger=ledger)
        run(tasks, backend="numpy", ledger=ledger, progress=lambda task: seen.append(task.key))
    assert sorted(seen) == sorted(t.key for t in tasks)


def test_run_measures_a_task_that_comes_twice_once():
    (task,) = experiment(1, 20)
    seen = []
    run([task, replace(task)], backend="numpy", progress=lambda t: seen.append(t.key))
    assert seen == [task.key]


def test_run_refuses_two_different_tasks_of_one_name():
    (task,) = experiment(1, 20)
    other = replace(task, sampler=Products(KeepExact(64, 24, 0), X, X))
    with pytest.raises(ArgumentError, match="two different ones are called 'fold#0'; their results"):
        run([task, other], backend="numpy")


@pytest.mark.parametrize("jobs", [0, -1, 1.5, True, "2", None])
def test_run_refuses_a_number_of_workers_that_is_not_positive(jobs):
    with pytest.raises(ArgumentError, match="jobs: .* came; a whole number of workers, at least 1"):
        run(experiment(2, 20), backend="numpy", jobs=jobs)


# ---------------------------------------------------------------------------------- resuming

CHILD = """
import sys
sys.path[:0] = [{tests!r}, {root!r}]
from pathlib import Path
from test_monte_carlo import CONFIGURATION, Ledger, experiment, run
run(experiment(), backend="numpy", jobs={jobs}, ledger=Ledger(Path({folder!r}), CONFIGURATION))
"""


def start(folder, jobs=1, **options):
    """The experiment in a process of its own."""
    code = CHILD.format(tests=str(Path(__file__).parent), root=str(ROOT), folder=str(folder), jobs=jobs)
    return subprocess.Popen([sys.executable, "-c", code], **options)


def whole_lines(folder):
    path = folder / "chunks.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for(condition, seconds=30.0):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.001)


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def start_and_kill(folder, lines, pause):
    """Run the experiment until so many chunks are kept, and a little longer."""
    process = start(folder)
    wait_for(lambda: whole_lines(folder) >= lines or process.poll() is not None)
    time.sleep(pause)
    kill(process)


def keys(folder):
    """Chunks in whole lines, in the order in which they were written."""
    *whole, _ = (folder / "chunks.jsonl").read_bytes().split(b"\n")
    return [json.loads(line)[0] for line in whole]


def test_run_killed_at_any_moment_resumes_to_the_same_moments(tmp_path, undisturbed):
    random = np.random.default_rng()  # when to kill must not matter: any moment will do
    tasks, done = experiment(), 0
    for _ in range(2):
        done += int(random.integers(1, 8))
        start_and_kill(tmp_path, done, float(random.random()) * 0.03)
    kept = keys(tmp_path)
    assert done <= len(kept) == len(set(kept))
    with closing(Ledger(tmp_path, CONFIGURATION)) as ledger:
        assert list(ledger.results) == kept
        found = run(tasks, backend="numpy", ledger=ledger)
    assert moments_of(found, tasks) == undisturbed
    assert keys(tmp_path)[: len(kept)] == kept  # what was finished was not measured again
    assert sorted(keys(tmp_path)) == sorted(t.key for t in tasks)  # every chunk counted once


def test_verify_resumed_gives_the_same_verdicts_and_measures_nothing_again(tmp_path, monkeypatch):
    arguments = {"discrepancy": 0.5, "backend": "numpy"}
    fresh = verify(["unbiased"], **arguments)
    path = tmp_path / "chunks.jsonl"
    assert verify(["unbiased"], **arguments, resume=tmp_path) == fresh
    half = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(half[: len(half) // 2]) + half[-1][:10])
    assert verify(["unbiased"], **arguments, resume=tmp_path) == fresh
    monkeypatch.setattr(monte_carlo, "measure", None)
    assert verify(["unbiased"], **arguments, resume=tmp_path) == fresh


def test_ledger_drops_a_last_line_that_was_cut_off(tmp_path, undisturbed):
    tasks = experiment()
    with closing(Ledger(tmp_path, CONFIGURATION)) as ledger:
        run(tasks[:9], backend="numpy", ledger=ledger)
    path = tmp_path / "chunks.jsonl"
    text = path.read_bytes()
    for cut in (1, 5, len(text.splitlines()[-1])):
        path.write_bytes(text[:-cut])
        with closing(Ledger(tmp_path, CONFIGURATION)) as ledger:
            assert len(ledger.results) == 8
            assert moments_of(run(tasks, backend="numpy", ledger=ledger), tasks) == undisturbed
        assert sorted(keys(tmp_path)) == sorted(t.key for t in tasks)


def test_ledger_gives_back_every_bit_of_what_it_was_given(tmp_path):
    awkward = Moments(3, 0.1 + 0.2, 1 / 3, -5e-324, -1.7976931348623157e308, float("inf"))
    with closing(Ledger(tmp_path, CONFIGURATION)) as ledger:
        ledger.add(Result('strange "key"\n', awkward, 0.1))
    with closing(Ledger(tmp_path, CONFIGURATION)) as ledger:
        (found,) = ledger.results.values()
    assert found == Result('strange "key"\n', awkward, 0.1)
    assert [type(v) for v in astuple(found.moments)] == [int, *[float] * 5]


def test_ledger_refuses_the_folder_of_another_configuration(tmp_path):
    Ledger(tmp_path, CONFIGURATION).close()
    other = {**CONFIGURATION, "seed": 8, "data": "digits"}
    message = r"holds a run with data=None \(now 'digits'\), seed=7 \(now 8\); repeat those settings"
    with pytest.raises(ResumeError, match=message):
        Ledger(tmp_path, other)
    with pytest.raises(ResumeError, match=r"holds a run with seed=7 \(now None\); repeat"):
        Ledger(tmp_path, {"claims": ["some"]})
    Ledger(tmp_path, CONFIGURATION).close()  # a refusal does not hold on to the folder


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe"])
def test_ledger_refuses_a_folder_with_an_unreadable_configuration(tmp_path, text):
    (tmp_path / "configuration.json").write_bytes(text)
    with pytest.raises(ResumeError, match="holds a run with an unreadable configuration; repeat"):
        Ledger(tmp_path, CONFIGURATION)


def test_ledger_refuses_chunks_without_a_configuration(tmp_path):
    (tmp_path / "chunks.jsonl").write_text("[]\n")
    with pytest.raises(ResumeError, match="holds chunks but no configuration.json; nothing says"):
        Ledger(tmp_path, CONFIGURATION)


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "{}",
        "[]",
        '["key", 1.0]',
        '["key", 1.0, 5, 0.0, 1.0]',
        '["key", 1.0, 5, 0.0, 1.0, 0.0, 0.0, "one"]',
        '["key", 1.0, 5.5, 0.0, 1.0, 0.0, 0.0, 1.0]',
        "[3, 1.0, 5, 0.0, 1.0, 0.0, 0.0, 1.0]",
        '["key", 1.0, 5, 0.0, 1.0, 0.0, 0.0, 1.0, 2.0]',
        "",
    ],
)
def test_ledger_refuses_a_damaged_line(tmp_path, line):
    good = '["first", 1.0, 5, 0.0, 1.0, 0.0, 0.0, 1.0]\n'
    Ledger(tmp_path, CONFIGURATION).close()
    (tmp_path / "chunks.jsonl").write_text(good + line + "\n" + good)
    with pytest.raises(ResumeError, match=f"is damaged at byte {len(good)}; delete the folder and"):
        Ledger(tmp_path, CONFIGURATION)


def test_workers_end_with_a_run_that_is_killed(tmp_path):
    """They hold what it prints to open, so that whoever reads it would wait for them."""
    with start(tmp_path, jobs=2, stdout=subprocess.PIPE) as process:
        wait_for(lambda: whole_lines(tmp_path) >= 1 or process.poll() is not None)
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)


def test_run_refuses_a_chunk_of_another_size(tmp_path):
    with closing(Ledger(tmp_path, CONFIGURATION)) as ledger:
        run(experiment(2, 20), backend="numpy", ledger=ledger)
        with pytest.raises(ResumeError, match="chunk fold#0 holds 20 draws, 30 are expected; another"):
            run(experiment(2, 30), backend="numpy", ledger=ledger)


def test_ledger_refuses_a_folder_in_use(tmp_path):
    with (
        closing(Ledger(tmp_path, CONFIGURATION)),
        pytest.raises(ResumeError, match="is in use by another run; wait for it or choose another"),
    ):
        Ledger(tmp_path, CONFIGURATION)


def test_ledger_refuses_a_folder_in_use_by_another_process(tmp_path):
    process = start(tmp_path)
    try:
        wait_for(lambda: whole_lines(tmp_path) >= 1 or process.poll() is not None)
        assert process.poll() is None
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(ResumeError, match="is in use by another run"):
            Ledger(tmp_path, CONFIGURATION)
    finally:
        kill(process)
    Ledger(tmp_path, CONFIGURATION).close()  # a killed run lets go


def test_ledger_refuses_a_folder_that_cannot_be_made_or_written(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nothing/here")):
        with pytest.raises(ResumeError, match=r"cannot be used \(.*\); choose a writable folder"):
            Ledger(folder, CONFIGURATION)


def test_ledger_says_when_a_disk_is_full(tmp_path):
    class Full:
        def write(self, _):
            raise OSError(28, "No space left on device")

        def close(self):
            raise OSError(28, "No space left on device")

    ledger = Ledger(tmp_path, CONFIGURATION)
    file, ledger._file = ledger._file, Full()
    with pytest.raises(ResumeError, match=r"cannot be written \(No space left on device\); make room"):
        ledger.add(Result("key", Moments.of([1.0]), 0.1))
    ledger.close()
    file.close()


def test_ledger_takes_the_name_of_a_folder(tmp_path):
    Ledger(str(tmp_path / "new" / "folder"), CONFIGURATION).close()
    assert (tmp_path / "new" / "folder" / "configuration.json").exists()


# ---------------------------------------------------------------------------------- a cluster


@pytest.mark.timeout(120)
def test_cluster_gives_the_same_moments_though_a_worker_is_killed_in_the_middle(cluster, undisturbed):
    tasks, seen = experiment(), []
    with cluster(workers=2) as (address, _, workers):

        def kill_one(task):
            seen.append(task.key)
            if len(seen) == 3:
                kill(workers[0])

        found = run(tasks, backend="numpy", cluster=address, progress=kill_one)
    assert moments_of(found, tasks) == undisturbed
    assert sorted(seen) == sorted(t.key for t in tasks)


@pytest.mark.timeout(120)
def test_cluster_that_is_lost_in_the_middle_is_named_and_the_run_resumes(cluster, tmp_path, undisturbed):
    tasks, seen = experiment(), []
    with cluster(workers=1) as (address, scheduler, _):

        def lose_all(task):
            seen.append(task.key)
            if len(seen) == 3:
                kill(scheduler)

        with closing(Ledger(tmp_path, CONFIGURATION)) as ledger:
            with pytest.raises(ClusterError, match=r"was lost \(.*\); start it again and use --resume"):
                run(tasks, backend="numpy", cluster=address, ledger=ledger, progress=lose_all)
            kept = set(ledger.results)
    assert set(seen) <= kept < {t.key for t in tasks}
    with closing(Ledger(tmp_path, CONFIGURATION)) as ledger:
        assert moments_of(run(tasks, backend="numpy", ledger=ledger), tasks) == undisturbed


@pytest.mark.timeout(120)
def test_cluster_without_workers_is_refused(cluster):
    with (
        cluster(workers=0) as (address, _, _),
        pytest.raises(ClusterError, match=f"{address} has no workers; start some with: dask worker"),
    ):
        run(experiment(1, 20), backend="numpy", cluster=address)


@contextmanager
def silent_port():
    """Takes connections and never says a word."""
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        server.listen(5)
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


def test_cluster_that_stays_silent_is_given_up_within_ten_seconds(monkeypatch):
    """Within its patience, which is less, and of which a sixteenth is waited for here."""
    pytest.importorskip("distributed")
    patience, begin = monte_carlo.CLUSTER_PATIENCE, time.monotonic()
    monkeypatch.setattr(monte_carlo, "CLUSTER_PATIENCE", patience / 16)
    with silent_port() as address, pytest.raises(ClusterError, match=f"{address} does not answer"):
        run(experiment(1, 20), backend="numpy", cluster=address)
    assert time.monotonic() - begin < patience < 10


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "tcp://127.0.0.1:word", "tcp://127.0.0.1", "nonsense", "", "a://b"]
)
def test_cluster_at_a_wrong_address_is_refused(address, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(monte_carlo, "CLUSTER_PATIENCE", 0.5)
    with pytest.raises(ClusterError, match="does not answer as a Dask scheduler .*; check the address"):
        run(experiment(1, 20), backend="numpy", cluster=address)


def test_cluster_without_dask_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"Dask is not installed; install the extra: .*\[dask\]"):
        run(experiment(1, 20), backend="numpy", cluster="tcp://127.0.0.1:1")


# ----------------------------------------------------------------------------------- backends


def test_backend_that_is_unknown_is_refused_with_the_known_ones():
    for name in ("fortran", "", None, 3):
        with pytest.raises(ArgumentError, match="is unknown; choose one of auto, numpy, numba, cupy"):
            resolve(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("numba", "backend numba: numba is not installed; install it or use --backend numpy"),
        ("cupy", r"backend cupy: CuPy is not installed; install the extra: .*\[gpu\]"),
    ],
)
def test_backend_that_is_not_installed_is_refused(name, message, monkeypatch):
    monkeypatch.setattr("rpstheory.backend.importlib.util.find_spec", lambda _: None)
    with pytest.raises(BackendError, match=message):
        resolve(name)
    assert resolve("auto") == resolve("numpy") == "numpy"
