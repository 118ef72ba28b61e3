"""Small batches and embeddings without forming the weight, beside dense ones, in the same run.

    python -m benchmarks.products [--rounds 15] [--out 4096] [--columns 4096] [--compression 16]

Contestants take turns; a ratio is the median of the rounds' ratios, below 1 where the bank is faster. The
shared layer's other way, expand and a dense product, pays for fresh pages each time.
"""

import argparse
from statistics import median

import torch
import torch.nn.functional as tnnf

from benchmarks.layers import ratio, take_turns
from nn.bridge import key_of
from nn.kernels import Piece, cpu
from nn.kernels.products import linear, pays
from nn.kernels.rows import expand_rows
from rpstheory import Fold

ROOTS, EDGES = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)


def line(name, times, one, other):
    print(f"  {name:34}{median(times[one]) * 1e3:9.2f} ms, {ratio(times[one], times[other]):6.2f} of {other}")


def products(out, columns, compression, rounds):
    fold = Fold(out * columns, out * columns // compression, 7)
    bank, weight = torch.randn(fold.m), torch.randn(out, columns)
    place = (ROOTS, EDGES, key_of(fold), 0)
    for batch in (1, 2, 4, 8, 16, 32, 64):
        x = torch.randn(batch, columns)
        times = take_turns(
            {
                "bank": lambda x=x: linear(x, bank, *place, out, 1.0),
                "dense": lambda x=x: tnnf.linear(x, weight),
                "expand + dense": lambda x=x: tnnf.linear(
                    x, Piece(*place, out * columns, len(bank), 1.0).expand(bank).view(out, columns)
                ),
            },
            rounds,
        )
        chosen = "chosen" if pays(cpu.plan_of(fold), out, columns, batch) else "not chosen"
        for other in ("dense", "expand + dense"):
            line(f"{out} x {columns}, batch {batch} ({chosen})", times, "bank", other)


def lookups(count, width, compression, taken, rounds):
    fold = Fold(count * width, count * width // compression, 7)
    bank, table = torch.randn(fold.m), torch.randn(count, width)
    place, rows = (ROOTS, EDGES, key_of(fold), 0), torch.randint(count, (taken,))
    pull = torch.randn(taken, width)
    bank_leaf, table_leaf = bank.clone().requires_grad_(), table.clone().requires_grad_()

    def shared_step():
        bank_leaf.grad = None
        expand_rows(bank_leaf, *place, count, width, rows, 1.0).backward(pull)

    def dense_step():
        table_leaf.grad = None
        tnnf.embedding(rows, table_leaf).backward(pull)

    times = take_turns(
        {
            "lookup": lambda: expand_rows(bank, *place, count, width, rows, 1.0),
            "dense lookup": lambda: tnnf.embedding(rows, table),
            "step": shared_step,
            "dense step": dense_step,
        },
        rounds,
    )
    for what in ("lookup", "step"):
        line(f"{taken} of {count} x {width}, {what}", times, what, f"dense {what}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=int, default=4096)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--compression", type=int, default=16)
    given = parser.parse_args()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        print(f"\n{given.compression}x, float32, {threads} core{'s' * (threads > 1)}, {given.rounds} rounds")
        with torch.no_grad():
            products(given.out, given.columns, given.compression, given.rounds)
        lookups(30522, 384, given.compression, 4096, given.rounds)


if __name__ == "__main__":
    main()
