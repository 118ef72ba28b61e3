"""What a shared weight costs to make and to differentiate, beside what one would write, in the same run.

    python -m benchmarks.layers [--quick] [--rounds 15] [--weights 24] [--json FILE]

2^24 weights at 16x, one core and two. Contestants take turns, every other round backwards; a ratio is the
median of the rounds' ratios, with the interval that holds the true median by order statistics alone. Pages
of fresh memory cost several times as much as the copy into them: contestants that ask for fresh memory are
compared with others that do, and those that write into memory that is there ("into") with their like.
"""

import argparse
import json
import sys
import time
from math import comb
from pathlib import Path
from statistics import median

import numpy as np
import torch

from nn.bridge import key_of
from nn.kernels import Piece, cpu
from rpstheory import Block, Chunk, Fold, Hashed
from rpstheory.report.files import check_writable, write_text
from rpstheory.report.record import now, this_environment

SCHEMA = "benchmarks.layers/1"
CONFIDENCE = 0.95
THREADS = (1, 2)
COMPRESSION = 16
BARS = (  # slower / faster, and what the ratio should be
    ("expand", "clone", {"at most": 1.3}),
    ("expand into", "copy_", {"at most": 1.3}),
    ("bank[index] * sign", "expand into", {"at least": 30}),
    ("bank[index] * sign", "expand", {}),
    ("bank[index] * sign into", "expand into", {}),
    ("index_add_", "compress", {"at least": 20}),
    ("compress", "sum", {}),
)


# ---------------------------------------------------------------------- what every benchmark here needs


clock = time.perf_counter


def seconds(function):
    start = clock()
    function()
    return clock() - start


def take_turns(contestants, rounds):
    """Seconds, {name: one per round}; every other round backwards, so that nobody always follows one."""
    for function in contestants.values():
        function()
    times = {name: [] for name in contestants}
    for turn in range(rounds):
        for name in list(contestants)[:: -1 if turn % 2 else 1]:
            times[name].append(seconds(contestants[name]))
    return times


def ratio(one, other):
    return median(a / b for a, b in zip(one, other, strict=True))


def interval(one, other):
    """Low, high, and the chance that the median of the ratios lies between, for independent rounds.

    That is 1 - 2 P(Binomial(rounds, 1/2) < j) for the j-th least and the j-th greatest; all of them,
    and less than 95 %, where there are fewer than six.
    """
    ratios = sorted(a / b for a, b in zip(one, other, strict=True))
    rounds = len(ratios)
    outside = [2 * sum(comb(rounds, i) for i in range(j)) / 2**rounds for j in range(rounds // 2 + 1)]
    j = max(1, max(j for j in range(len(outside)) if outside[j] <= 1 - CONFIDENCE))
    return ratios[j - 1], ratios[-j], 1 - 2 * sum(comb(rounds, i) for i in range(j)) / 2**rounds


def met(value, bar):
    """Whether a figure is on the right side; None where there is no bar."""
    if not bar:
        return None
    ((side, limit),) = bar.items()
    return value <= limit if side == "at most" else value >= limit


def compared(times, one, other, bar):
    low, high, confidence = interval(times[one], times[other])
    value = ratio(times[one], times[other])
    return {
        "one": one,
        "other": other,
        "ratio": value,
        "low": low,
        "high": high,
        "confidence": confidence,
        "bar": bar,
        "met": met(value, bar),
    }


def timed(times):
    return {name: {"median": median(each), "least": min(each)} for name, each in times.items()}


def verdict(value, bar):
    if not bar:
        return ""
    ((side, limit),) = bar.items()
    return f"   {side} {limit}: {'met' if met(value, bar) else 'MISSED'}"


def show_times(found):
    for name, each in found.items():
        print(f"  {name:44}{each['median'] * 1e3:11.3f} ms   (least {each['least'] * 1e3:.3f})")


def show_ratios(found):
    for each in found:
        what = f"{each['one']} / {each['other']}"
        text = f"{each['ratio']:8.3f}  ({each['low']:.3f} to {each['high']:.3f})"
        print(f"  {what:44}{text}{verdict(each['ratio'], each['bar'])}")


def heading(schema, given):
    environment = vars(this_environment())
    environment["packages"] = environment["packages"] | {"torch": torch.__version__}
    return {"schema": schema, "environment": environment, "started": now()} | {
        "rounds": given.rounds,
        "clock": clock.__name__,
    }


def parsed(text, rounds, quick, *options):
    """Arguments that every benchmark here takes, and some of its own: (name, default, help)."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--quick", action="store_true", help=f"{quick} rounds: less than a minute")
    parser.add_argument("--json", type=Path, help="write the record here")
    parser.add_argument("--busy", action="store_true", help="processor time of all threads, not wall time")
    for name, default, words in options:
        parser.add_argument(name, type=type(default), default=default, help=words)
    given = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # a table is seen when it is ready, also through a pipe
    global clock
    clock = time.process_time if given.busy else time.perf_counter
    given.rounds = quick if given.quick else given.rounds
    if given.rounds < 1:
        parser.error(f"--rounds: {given.rounds} came; at least 1 is needed")
    if given.json is not None:
        check_writable(given.json, "json")
    return given


def write(path, record):
    if path is not None:
        write_text(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n", "json")


# ------------------------------------------------------------------------------------ expand and compress


def contestants(n, m, threads):
    fold = Fold(n, m, 7)
    bank, weight, out = torch.randn(m), torch.randn(n), torch.empty(n)
    place = np.arange(n)
    index = torch.from_numpy(fold.cell(place))
    sign = torch.from_numpy(fold.sign(place).astype(np.float32))
    roots, edges = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    one, first = np.ones(1, np.float32), edges.numpy()
    gradient = torch.zeros(m)

    def into(mapping):
        plan = cpu.plan_of(mapping)
        return lambda: cpu.expand(plan, bank.numpy(), first, one, 0, out.numpy(), threads)

    def back(mapping):
        key = key_of(mapping)
        return lambda: Piece(roots, edges, key, 0, len(weight), m, 1.0).compress(weight)

    found = {
        "clone": weight.clone,
        "expand": lambda: Piece(roots, edges, key_of(fold), 0, n, len(bank), 1.0).expand(bank),
        "copy_": lambda: out.copy_(weight),
        "expand into": into(fold),
        "bank[index] * sign": lambda: bank[index] * sign,
        "bank[index] * sign into": lambda: torch.index_select(bank, 0, index, out=out).mul_(sign),
        "sum": weight.sum,
        "compress": back(fold),
        "index_add_": lambda: gradient.index_add_(0, index, weight * sign),
    }
    others = {
        "chunk 32": Chunk(n, m, 7, chunk=32),
        "block 32": Block(n, m, 7, block=32),
        "hashed": Hashed(n, m, 7),
    }
    for name, mapping in others.items():
        found |= {f"{name}: expand into": into(mapping), f"{name}: compress": back(mapping)}
    return found


def main():
    given = parsed(__doc__, 15, 5, ("--weights", 24, "log2 of their number"))
    n = 2**given.weights
    record = heading(SCHEMA, given) | {"weights": n, "compression": COMPRESSION, "runs": []}
    for threads in THREADS:
        torch.set_num_threads(threads)
        times = take_turns(contestants(n, n // COMPRESSION, threads), given.rounds)
        run = {
            "threads": threads,
            "seconds": timed(times),
            "ratios": [compared(times, one, other, bar if threads == 1 else {}) for one, other, bar in BARS],
        }
        record["runs"].append(run)
        print(f"\n{n} weights at {COMPRESSION}x, float32, threads: {threads}, rounds: {given.rounds}")
        show_times(run["seconds"])
        show_ratios(run["ratios"])
    write(given.json, record)


if __name__ == "__main__":
    main()
