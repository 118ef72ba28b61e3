"""How the whole suite runs: Hypothesis profiles, where GPU tests are skipped, a cluster of processes."""

import os
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

from rpstheory.conformance.strategies import register_profiles

ROOT = Path(__file__).parents[1]

register_profiles()
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_collection_modifyitems(items):
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    from rpstheory.backend import has_gpu

    for item in marked:
        if "networks" not in item.path.parts and not has_gpu():  # those of networks ask torch by themselves
            item.add_marker(pytest.mark.skip(reason="no CUDA device that CuPy can use"))


@pytest.fixture(scope="session")
def cluster():
    """Starts a real scheduler with so many workers on loopback: (address, scheduler, workers)."""
    pytest.importorskip("distributed")
    return _cluster


@contextmanager
def _cluster(workers):
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address, here = f"tcp://127.0.0.1:{port}", ("--host", "127.0.0.1", "--no-dashboard")
    started = [_dask("scheduler", *here, "--port", str(port))]
    try:
        started += [_dask("worker", address, *here, "--nthreads", "1", "--no-nanny") for _ in range(workers)]
        limit = time.monotonic() + 90
        while not _answers(address, workers):
            assert time.monotonic() < limit
            time.sleep(0.01)
        yield address, started[0], started[1:]
    finally:
        for process in started:
            process.kill()
            process.wait()


def _dask(command, *arguments):
    code = [sys.executable, "-m", f"distributed.cli.dask_{command}", *arguments]
    environment, silent = {**os.environ, "PYTHONPATH": str(ROOT)}, subprocess.DEVNULL
    return subprocess.Popen(code, env=environment, stdout=silent, stderr=silent)


def _answers(address, workers):
    from rpstheory import monte_carlo

    try:
        return monte_carlo._count_workers(address) == workers
    except OSError:
        return False
