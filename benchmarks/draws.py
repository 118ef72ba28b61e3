"""How fast a draw is, beside the same draw written with NumPy and SciPy in the same run.

    python -m benchmarks.draws [--backend numba|cupy] [--rounds 15]

Contestants take turns, round by round; a ratio is the median of the rounds' ratios, a time the median
of the rounds' times. All on one core, or one GPU.
"""

import argparse
import time
from statistics import median

import numpy as np
from numba import njit
from scipy.linalg import clarkson_woodruff_transform

from rpstheory import Fold, Hashed
from rpstheory.backend import cupy
from rpstheory.kernels import cpu, cuda

N, M = 4096, 512
SMALL_N, SMALL_M = 64, 16


def numpy_loop(x, y, m, count, rng):
    """What one would write: a cell and a sign per weight from a generator, two bincounts, a dot."""
    for _ in range(count):
        cells, signs = rng.integers(0, m, x.size), rng.integers(0, 2, x.size) * 2 - 1
        np.bincount(cells, signs * x, m) @ np.bincount(cells, signs * y, m)


def scipy_loop(both, m, count, keyword=None):
    """SciPy's sketch: unseeded, or a function of the draw's number, as ours are (rng=t or seed=t)."""
    for t in range(count):
        sketch = clarkson_woodruff_transform(both, m, **({keyword: t} if keyword else {}))
        sketch[:, 0] @ sketch[:, 1]


@njit(fastmath=True, nogil=True)
def load_twice(x, y, times):
    """Nothing but loads: a dot product of two arrays, again and again."""
    total = 0.0
    for turn in range(times):
        first = 8 * (turn % 2)  # not the same sum each time: it would be taken once
        for i in range(x.size - 8):
            total += x[first + i] * y[first + i]
    return total


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def take_turns(contestants, rounds):
    """Seconds per draw, {name: one per round}, from {name: (draws, function of no argument)}."""
    for _, function in contestants.values():
        function()
    times = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, (draws, function) in contestants.items():
            times[name].append(seconds(function) / draws)
    return times


def ratio(slow, fast):
    return median(s / f for s, f in zip(slow, fast, strict=True))


def kernel(module, mapping, x, y, draws):
    return draws, lambda: module.inner_products(mapping, x, y, 0, draws)


def aligned(entries):
    """Ones that begin at a cache line: a load across two lines counts twice."""
    space = np.ones(entries + 8)
    return space[-space.ctypes.data // 8 % 8 :][:entries]


def bandwidth(entries, loads=4_000_000):
    """Contestant that loads two arrays of so many float64; a draw of it is a byte."""
    x, y = aligned(entries + 8), aligned(entries + 8)
    times = max(1, loads // entries)
    return 16 * entries * times, lambda: load_twice(x, y, times)


def on_cpu(rounds):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, N))
    both = np.stack([x, y], axis=1)
    small = rng.normal(size=(2, SMALL_N))
    times = take_turns(
        {
            "fold": kernel(cpu, Fold(N, M, 0), x, y, 4000),
            "fold, y is x": kernel(cpu, Fold(N, M, 0), x, x, 4000),
            "hashed": kernel(cpu, Hashed(N, M, 0), x, y, 1000),
            "numpy": (50, lambda: numpy_loop(x, y, M, 50, rng)),
            "scipy": (50, lambda: scipy_loop(both, M, 50)),
            "scipy, rng=t": (50, lambda: scipy_loop(both, M, 50, "rng")),
            "scipy, seed=t": (50, lambda: scipy_loop(both, M, 50, "seed")),
            "small": kernel(cpu, Fold(SMALL_N, SMALL_M, 0), *small, 40_000),
            "from L1": bandwidth(1024),
            "from where they are": bandwidth(N),
        },
        rounds,
    )
    print(f"n={N}, m={M}, one core, {rounds} rounds")
    slow = ("numpy", "scipy", "scipy, rng=t", "scipy, seed=t")
    head = "".join(f"{'x ' + name:>16}" for name in slow)
    print(f"{'':14}{'ns/draw':>9}{'coordinates/s':>15}{head}")
    for name in ("fold", "fold, y is x", "hashed", *slow):
        each = times[name]
        versus = "".join(f"{ratio(times[other], each):16.1f}" for other in slow)
        print(f"{name:14}{median(each) * 1e9:9.0f}{N / median(each):15.3g}{versus}")
    print(f"\nn={SMALL_N}, m={SMALL_M}: fold {median(times['small']) * 1e9:.0f} ns/draw")
    print(f"\nA draw of the fold has to load x and y, {16 * N} bytes, once. The share of the time that")
    for place in ("from L1", "from where they are"):
        share = 16 * N * ratio(times[place], times["fold"])
        speed = 1 / median(times[place])
        print(f"bare loads {place} ({speed / 1e9:.0f} GB/s, measured) would take: {share:.0%}")


def on_gpu(rounds):
    cp = cupy()
    attributes = cp.cuda.Device().attributes
    x, y = cp.asarray(np.random.default_rng(0).normal(size=(2, N)))
    times = take_turns(
        {
            "fold": kernel(cuda, Fold(N, M, 0), x, y, 20_000_000),
            "hashed": kernel(cuda, Hashed(N, M, 0), x, y, 1_000_000),
        },
        rounds,
    )
    # A coordinate of the fold takes x, y and a word with its sign from shared memory, 20 bytes; a
    # multiprocessor delivers 128 bytes a cycle.
    cycles = attributes["MultiProcessorCount"] * attributes["ClockRate"] * 1e3
    limit = cycles * 128 / 20
    print(f"n={N}, m={M}, {rounds} rounds")
    for name, each in times.items():
        speed = N / median(each)
        print(f"{name:8}{median(each) * 1e9:9.2f} ns/draw{speed:11.3g} coordinates/s", end="")
        print(f", {speed / limit:.0%} of shared memory's {limit:.3g}" * (name == "fold"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", choices=("numba", "cupy"), default="numba")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    {"numba": on_cpu, "cupy": on_gpu}[arguments.backend](arguments.rounds)


if __name__ == "__main__":
    main()
