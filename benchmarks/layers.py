"""What a shared weight costs to make and to differentiate, beside what one would write, in the same run.

    python -m benchmarks.layers [--rounds 9] [--weights 24]

Contestants take turns; a ratio is the median of the rounds' ratios. 2^24 weights at 16x, one core and
two. Pages of fresh memory cost ten times as much as the copy into them: with and without that cost.
"""

import argparse
import time
from statistics import median

import numpy as np
import torch

from nn.bridge import key_of
from nn.kernels import compress, cpu, expand
from rpstheory import Block, Chunk, Fold, Hashed


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def take_turns(contestants, rounds):
    for function in contestants.values():
        function()
    times = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, function in contestants.items():
            times[name].append(seconds(function))
    return times


def ratio(one, other):
    return median(a / b for a, b in zip(one, other, strict=True))


def contestants(n, m, threads):
    fold = Fold(n, m, 7)
    bank, weight, out = torch.randn(m), torch.randn(n), torch.empty(n)
    place = np.arange(n)
    index = torch.from_numpy(fold.cell(place))
    sign = torch.from_numpy(fold.sign(place).astype(np.float32))
    roots, edges = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    one, first = np.ones(1, np.float32), edges.numpy()
    gradient = torch.zeros(m)
    plan = cpu.plan_of(fold)
    found = {
        "clone": weight.clone,
        "expand": lambda: expand(bank, roots, edges, key_of(fold), 0, n, 1.0),
        "copy_": lambda: out.copy_(weight),
        "expand into": lambda: cpu.expand(plan, bank.numpy(), first, one, 0, out.numpy(), threads),
        "bank[index] * sign": lambda: bank[index] * sign,
        "compress": lambda: compress(weight, roots, edges, key_of(fold), 0, m, 1.0),
        "index_add_": lambda: gradient.index_add_(0, index, weight * sign),
    }
    others = {
        "chunk 32": Chunk(n, m, 7, chunk=32),
        "block 32": Block(n, m, 7, block=32),
        "hashed": Hashed(n, m, 7),
    }
    for name, mapping in others.items():
        which = cpu.plan_of(mapping)
        found[f"{name}: expand into"] = lambda p=which: cpu.expand(
            p, bank.numpy(), first, one, 0, out.numpy(), threads
        )
        found[f"{name}: compress"] = lambda k=key_of(mapping): compress(weight, roots, edges, k, 0, m, 1.0)
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--weights", type=int, default=24, help="log2 of their number")
    given = parser.parse_args()
    n, m = 2**given.weights, 2**given.weights // 16
    for threads in (1, 2):
        torch.set_num_threads(threads)
        times = take_turns(contestants(n, m, threads), given.rounds)
        print(f"\n{n} weights at 16x, float32, {threads} core{'s' * (threads > 1)}, {given.rounds} rounds")
        for name, each in times.items():
            print(f"  {name:22}{median(each) * 1e3:9.2f} ms")
        for fast, slow in (
            ("clone", "expand"),
            ("copy_", "expand into"),
            ("expand into", "bank[index] * sign"),
            ("compress", "index_add_"),
        ):
            print(f"  {slow} / {fast}: {ratio(times[slow], times[fast]):.2f}")


if __name__ == "__main__":
    main()
