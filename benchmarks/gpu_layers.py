"""What a shared weight costs on a GPU, beside what one would write and beside cuBLAS, in the same run.

    python -m benchmarks.gpu_layers [--rounds 15] [--out 4096] [--columns 11008] [--compression 16]

Every contestant is one CUDA graph, so that nothing is measured but the device; they take turns, and a ratio
is the median of the rounds' ratios, below 1 where the first is faster. Dense weights of 4096 x 11008 are
larger than the second-level cache of today's devices, as they are in a model of many layers.
"""

import argparse
from statistics import median

import torch
import torch.nn.functional as tnnf

from benchmarks.layers import ratio
from rpstheory import Block, Chunk, Fold, Hashed

if torch.cuda.is_available():  # builds of torch without CUDA come without Triton
    from nn.kernels import cuda

REPLAYS = 20


def graphed(function):
    """One launch that does what the function does, after the kernels have been compiled."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            function()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


def seconds(replay):
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(REPLAYS):
        replay()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3 / REPLAYS


def take_turns(contestants, rounds):
    replays = {name: graphed(function) for name, function in contestants.items()}
    times = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, replay in replays.items():
            times[name].append(seconds(replay))
    return times


def show(times, pairs):
    for name, each in times.items():
        print(f"  {name:32}{median(each) * 1e6:10.1f} us")
    for one, other in pairs:
        print(f"  {one} / {other}: {ratio(times[one], times[other]):.2f}")


def flat(dtype):
    """Edges and factors of a bank of one scale."""
    return torch.zeros(1, dtype=torch.int64, device="cuda"), torch.ones(1, dtype=dtype, device="cuda")


def weights(n, m, dtype, rounds):
    """Expand and compress, every mapping."""
    fold, place = Fold(n, m, 7), flat(dtype)
    bank, weight, out = (torch.randn(size, device="cuda").to(dtype) for size in (m, n, n))
    position = torch.arange(n, device="cuda")
    index, sign = fold.cell(position), fold.sign(position).to(dtype)
    gradient = torch.zeros_like(bank)
    contestants = {
        "copy_": lambda: out.copy_(weight),
        "bank[index] * sign": lambda: bank[index] * sign,
        "index_add_": lambda: gradient.index_add_(0, index, weight * sign),
    }
    kinds = {
        "fold": fold,
        "chunk 32": Chunk(n, m, 7, chunk=32),
        "block 32": Block(n, m, 7, block=32),
        "hashed": Hashed(n, m, 7),
    }
    for name, mapping in kinds.items():
        plan = cuda.plan_of(mapping)
        contestants[f"{name}: expand"] = lambda p=plan: cuda.expand(p, bank, *place, 0, out)
        contestants[f"{name}: compress"] = lambda p=plan: cuda.compress(p, weight, *place, 0, gradient)
    print(f"\n{n} weights of {m} cells, {dtype}")
    pairs = [("fold: expand", "copy_"), ("fold: expand", "bank[index] * sign")]
    show(take_turns(contestants, rounds), [*pairs, ("fold: compress", "index_add_")])


def products(out, columns, compression, dtype, rounds):
    """Small batches without the weight, beside cuBLAS, and beside expand and cuBLAS."""
    fold, place = Fold(out * columns, out * columns // compression, 7), flat(dtype)
    plan = cuda.plan_of(fold)
    bank, weight = (torch.randn(*size, device="cuda").to(dtype) for size in ((fold.m,), (out, columns)))
    made = torch.empty_like(weight)
    for batch in (1, 2, 4, 8, 16):
        x = torch.randn(batch, columns, device="cuda").to(dtype)
        y = torch.empty(batch, out, dtype=dtype, device="cuda")

        def expanded(x=x):
            cuda.expand(plan, bank, *place, 0, made.view(-1))
            tnnf.linear(x, made)

        contestants = {
            "bank": lambda x=x, y=y: cuda.linear(plan, x, bank, *place, 0, y),
            "cuBLAS": lambda x=x: tnnf.linear(x, weight),
            "expand + cuBLAS": expanded,
        }
        print(f"\n{out} x {columns} at {compression}x, batch {batch}, {dtype}")
        show(take_turns(contestants, rounds), [("bank", "cuBLAS"), ("bank", "expand + cuBLAS")])


def lookups(count, width, compression, taken, dtype, rounds):
    """Rows of an embedding and their gradient."""
    fold, place = Fold(count * width, count * width // compression, 7), flat(dtype)
    plan, rows = cuda.plan_of(fold), torch.randint(count, (taken,), device="cuda")
    bank, table = (torch.randn(*size, device="cuda").to(dtype) for size in ((fold.m,), (count, width)))
    found, pull = (torch.randn(taken, width, device="cuda").to(dtype) for _ in range(2))
    to_bank, to_table = torch.zeros_like(bank), torch.zeros_like(table)
    contestants = {
        "lookup": lambda: cuda.expand_rows(plan, bank, *place, 0, rows, found),
        "dense lookup": lambda: tnnf.embedding(rows, table),
        "gradient": lambda: cuda.compress_rows(plan, pull, *place, 0, rows, to_bank),
        "dense gradient": lambda: to_table.index_add_(0, rows, pull),
    }
    print(f"\n{taken} rows of {count} x {width} at {compression}x, {dtype}")
    show(take_turns(contestants, rounds), [("lookup", "dense lookup"), ("gradient", "dense gradient")])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=int, default=4096)
    parser.add_argument("--columns", type=int, default=11008)
    parser.add_argument("--compression", type=int, default=16)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device that torch can use: nothing is measured")
        return
    print(torch.cuda.get_device_name())
    with torch.no_grad():
        for dtype in (torch.bfloat16, torch.float16, torch.float32):
            weights(2**24, 2**24 // given.compression, dtype, given.rounds)
            products(given.out, given.columns, given.compression, dtype, given.rounds)
            lookups(30522, 384, given.compression, 4096, dtype, given.rounds)


if __name__ == "__main__":
    main()
