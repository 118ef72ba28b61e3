"""What a weight costs in each format at the same number of kept values: bytes, time, and lines of cache.

    python -m benchmarks.formats [--quick] [--rounds 11] [--weights 24] [--json FILE]

A square weight at 16x, made into memory that is there and multiplied with 1 and 16 rows of x: shared
through folds, chunks of 32, ROAST's tiles of 32 x 32 and hashing, with cells and signs computed or stored;
and pruned to as many values, as CSR (torch's) and under a bitmask (numba, on set bits alone). Then lookups
in an embedding, and how long sharing and planning take.

Cache misses are simulated, not measured: every access in the order of the format, through 32 KiB,
1 MiB and 32 MiB of 8 ways each, least recently used out first, lines of 64 bytes, no prefetcher. Bytes to and
from memory are a line for each miss of the last, and once more what was written, which goes back.
"""

import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import isqrt
from statistics import median

import numpy as np
import torch
import torch.nn as tnn
import torch.nn.functional as tnnf
from numba import njit
from numba.cpython.unsafe.numbers import trailing_zeros

import nn
from benchmarks.layers import (
    THREADS,
    compared,
    heading,
    met,
    parsed,
    seconds,
    show_ratios,
    show_times,
    take_turns,
    timed,
    verdict,
    write,
)
from nn.bridge import key_of
from nn.costs import formats
from nn.kernels import cpu
from nn.kernels.products import linear
from nn.models import resnet20, vgg11
from rpstheory import Block, Chunk, Fold, Hashed

SCHEMA = "benchmarks.formats/1"
COMPRESSION = 16
TILE = 32
BATCHES = (1, 16)
LINE, SETS, WAYS = 64, (64, 2048, 65536), 8  # 32 KiB, 1 MiB and 32 MiB
PART = 2**18  # weights whose accesses are simulated at once
TOKENS, TABLE, LOOKUP = 4096, (30522, 384), {"at most": 1.2}
BATCH_1 = {1: {"at least": 1.3}, 2: {"at least": 2}}  # dense / fold, by threads
SHARE, PLAN = {"at most": 2.0}, {"at most": 5.0}
ROOTS, EDGES = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
ONE = np.ones(1, dtype=np.float32)


# ----------------------------------------------------------------------------------------------- bytes


def tables():
    """Bytes of whole models, {model: {format: bytes}}."""
    models = (
        ("Linear 1000 x 1000", tnn.Linear(1000, 1000, bias=False), 10),
        ("ResNet-20", resnet20(), 10),
        ("VGG-11", vgg11(), 10),
        ("VGG-11", vgg11(), 100),
    )
    found = {}
    for name, model, compression in models:
        what = nn.plan(model, compression=compression)
        rest = sum(each.bytes for each in what.fixed) + what.buffer_bytes
        costs = {cost.name: cost.total for cost in formats(what)}
        shared = nn.report(nn.share(model, compression=compression))
        found[f"{name}, {compression}x"] = costs | {
            "beside each: norms, biases, buffers": rest,
            "shared, with all that is beside it": shared.resident_bytes,
        }
    return found


def show_tables(found):
    names = list(next(iter(found.values())))
    print("\nBytes of the weights" + "".join(f"{model:>24}" for model in found))
    for name in names:
        print(f"  {name:38}" + "".join(f"{table[name]:>20,}    " for table in found.values()))


# ------------------------------------------------------------------------------------- the pruned rivals


class Pruned:
    """m of n weights, drawn without replacement, in both layouts."""

    def __init__(self, side, m):
        place = np.sort(np.random.default_rng(0).choice(side * side, m, replace=False))
        self.side, self.place = side, place
        self.values = np.random.default_rng(1).standard_normal(m, dtype=np.float32)
        self.row, self.column = place // side, (place % side).astype(np.int32)
        self.begins = np.searchsorted(self.row, np.arange(side + 1)).astype(np.int32)
        mask = np.zeros(side * side, dtype=np.uint8)
        mask[place] = 1
        self.words = np.packbits(mask, bitorder="little").view(np.uint64)
        tensors = [torch.from_numpy(each) for each in (self.begins, self.column, self.values)]
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        self.csr = torch.sparse_csr_tensor(*tensors, (side, side), check_invariants=True)


@njit(nogil=True)
def csr_into(begins, columns, values, out, least, most):
    for row in range(least, most):
        out[row] = 0
        for k in range(begins[row], begins[row + 1]):
            out[row, columns[k]] = values[k]


@njit(nogil=True)
def bits_into(words, begins, values, out, least, most):
    wide = out.shape[1] // 64
    for row in range(least, most):
        out[row] = 0
        k = begins[row]
        for w in range(wide):
            word = words[row * wide + w]
            while word != 0:
                out[row, 64 * w + trailing_zeros(word)] = values[k]
                k += 1
                word &= word - np.uint64(1)


@njit(nogil=True, fastmath=True)
def bits_product(words, begins, values, x, out, least, most):
    """``x``, (columns, batch), times the weight: ``out``, (rows, batch)."""
    wide = x.shape[0] // 64
    for row in range(least, most):
        out[row] = 0
        k = begins[row]
        for w in range(wide):
            word = words[row * wide + w]
            while word != 0:
                column = 64 * w + trailing_zeros(word)
                for b in range(x.shape[1]):
                    out[row, b] += values[k] * x[column, b]
                k += 1
                word &= word - np.uint64(1)


def by_rows(kernel, pool, threads, *arguments):
    """A function of no argument that runs a kernel on equal shares of the rows."""
    rows = len(arguments[1]) - 1 if kernel is not csr_into else len(arguments[0]) - 1
    cuts = [rows * t // threads for t in range(threads + 1)]

    def run():
        others = [pool.submit(kernel, *arguments, *cuts[t : t + 2]) for t in range(1, threads)]
        kernel(*arguments, *cuts[:2])
        for other in others:
            other.result()

    return run


# ------------------------------------------------------------------------------------------------- time


def mappings(n, m, seed=7):
    return {
        "fold": Fold(n, m, seed),
        "chunk 32": Chunk(n, m, seed, chunk=TILE),
        "tiles 32 x 32": Block(n, m, seed, block=TILE * TILE),
        "hashed": Hashed(n, m, seed),
    }


def makers(side, m, pruned, threads, pool):
    """What writes the weight into memory that is there."""
    n = side * side
    bank, weight, out = torch.randn(m), torch.randn(n), torch.empty(n)
    matrix, flat, laid = out.view(side, side).numpy(), out.numpy(), torch.empty(side, side)
    found = {"dense: copy": lambda: out.copy_(weight)}
    for name, mapping in mappings(n, m).items():
        plan = cpu.plan_of(mapping)
        found[name] = partial(cpu.expand, plan, bank.numpy(), EDGES.numpy(), ONE, 0, flat, threads)
    tiles = out.view(side // TILE, side // TILE, TILE, TILE).transpose(1, 2)

    def in_rows():
        found["tiles 32 x 32"]()
        laid.view(side // TILE, TILE, side // TILE, TILE).copy_(tiles)

    found["tiles 32 x 32, then rows"] = in_rows
    fold, place = mappings(n, m)["fold"], np.arange(n)
    index = torch.from_numpy(fold.cell(place))
    sign = torch.from_numpy(fold.sign(place).astype(np.float32))
    found["fold, index stored"] = lambda: torch.index_select(bank, 0, index, out=out).mul_(sign)
    pair = (pruned.begins, pruned.column, pruned.values, matrix)
    found["pruned, CSR"] = by_rows(csr_into, pool, threads, *pair)
    kept = (pruned.words, pruned.begins, pruned.values, matrix)
    found["pruned, bitmask"] = by_rows(bits_into, pool, threads, *kept)
    return found


def multipliers(side, m, pruned, batch, threads, pool):
    """What multiplies x with the weight, which is not formed unless it is dense."""
    n = side * side
    bank, weight, x = torch.randn(m), torch.randn(side, side), torch.randn(batch, side)
    found = {"dense": lambda: tnnf.linear(x, weight)}
    for name, mapping in mappings(n, m).items():
        if name != "hashed":  # no run is longer than one weight: the bank's product is not made for it
            found[name] = partial(linear, x, bank, ROOTS, EDGES, key_of(mapping), 0, side, 1.0)
    columns = x.T.contiguous()
    found["pruned, CSR"] = lambda: pruned.csr @ columns
    kept = (pruned.words, pruned.begins, pruned.values)
    out = np.empty((side, batch), dtype=np.float32)
    found["pruned, bitmask"] = by_rows(bits_product, pool, threads, *kept, columns.numpy(), out)
    return found


def lookups(compression):
    """Forward alone and a step, in a shared embedding and a dense one."""
    with torch.random.fork_rng(devices=[]):
        dense = tnn.Embedding(*TABLE)
    shared = nn.share(dense, compression=compression)
    tokens = torch.randint(TABLE[0], (TOKENS,), generator=torch.Generator().manual_seed(0))
    pull = torch.randn(TOKENS, TABLE[1])
    found = {}
    for name, module in (("shared", shared), ("dense", dense)):

        def look(module=module):
            with torch.no_grad():
                module(tokens)

        def step(module=module):
            module.zero_grad(set_to_none=True)
            module(tokens).backward(pull)

        found |= {f"{name} lookup": look, f"{name} step": step}
    return found


# ----------------------------------------------------------------------------------- misses, simulated

BANK, OUT, INDEX, SIGN, X, BITS = (area << 40 for area in range(6))  # where each array begins


def streams(side, m, pruned, making):
    """{format: accesses of the weights low … high - 1}; one row of byte addresses for each access."""
    n = side * side
    place, rank = pruned.place, np.searchsorted(pruned.place, np.arange(0, n + 1, PART))

    def second(i):
        return OUT + 4 * i if making else X + 4 * (i % side)

    def shared(mapping, low, high):
        i = np.arange(low, high)
        return np.stack([BANK + 4 * mapping.cell(i), second(i)])

    def stored(mapping, low, high):
        i = np.arange(low, high)
        return np.stack([INDEX + 8 * i, SIGN + 4 * i, BANK + 4 * mapping.cell(i), second(i)])

    def zeroed(low, high):
        return [OUT + 4 * np.arange(low, high)] if making else []

    def csr(low, high):
        k = np.arange(rank[low // PART], rank[low // PART + 1])
        columns = np.stack([BANK + 4 * k, INDEX + 4 * k, second(place[k])])
        return np.concatenate([*zeroed(low, high), columns.T.reshape(-1)])[None]

    def bits(low, high):
        k = np.arange(rank[low // PART], rank[low // PART + 1])
        columns = np.stack([BITS + place[k] // 8, BANK + 4 * k, second(place[k])])
        return np.concatenate([*zeroed(low, high), columns.T.reshape(-1)])[None]

    def dense(low, high):
        i = np.arange(low, high)
        return np.stack([BANK + 4 * i, second(i)])

    every = mappings(n, m)
    found = {"dense": dense} | {name: partial(shared, mapping) for name, mapping in every.items()}
    return found | {
        "fold, index stored": partial(stored, every["fold"]),
        "pruned, CSR": csr,
        "pruned, bitmask": bits,
    }


@njit
def run_through(lines, tags, ages, sets, clock, missed):
    """Looks up lines one by one, level after level until one has it; the oldest way is replaced."""
    last = -1
    for line in lines:
        clock += 1
        if line == last:
            continue
        last = line
        for level in range(len(sets)):
            first = (line % sets[level]) * WAYS
            oldest = first
            hit = False
            for way in range(first, first + WAYS):
                if tags[level, way] == line:
                    ages[level, way] = clock
                    hit = True
                    break
                if ages[level, way] < ages[level, oldest]:
                    oldest = way
            if hit:
                break
            missed[level] += 1
            tags[level, oldest] = line
            ages[level, oldest] = clock
    return clock


def misses(stream, n):
    """Lines that each level had to fetch."""
    sets = np.array(SETS)
    tags = np.full((len(SETS), sets.max() * WAYS), -1, dtype=np.int64)
    ages, missed, clock = np.zeros_like(tags), np.zeros(len(SETS), dtype=np.int64), 0
    for low in range(0, n, PART):
        lines = stream(low, min(low + PART, n)).T.reshape(-1) // LINE
        clock = run_through(lines, tags, ages, sets, clock, missed)
    return missed.tolist()


def simulated(side, m, pruned):
    """Misses of each level per 1,000 weights, and bytes to and from memory for each weight."""
    n = side * side
    rows = {}
    for what, making in (("make", True), ("multiply, batch 1", False)):
        for name, stream in streams(side, m, pruned, making).items():
            missed = misses(stream, n)
            moved = LINE * missed[-1] + (4 * n if making else 0)
            rows[f"{what}: {name}"] = {
                "misses per 1,000 weights": [round(1000 * each / n, 3) for each in missed],
                "bytes per weight": round(moved / n, 3),
            }
    return rows


def show_simulated(rows):
    levels = "".join(f"{LINE * each * WAYS // 1024:>8} KiB" for each in SETS)
    print(f"\nSimulated: misses per 1,000 weights, bytes per weight\n{'':40}{levels}      memory")
    for name, row in rows.items():
        missed = "".join(f"{each:12.2f}" for each in row["misses per 1,000 weights"])
        print(f"  {name:38}{missed}{row['bytes per weight']:12.2f}")


# ------------------------------------------------------------------------------------- sharing and planning


class Stack(tnn.Module):
    """The weights of a language model, in the order of its layers, and no forward."""

    def __init__(self, tokens, width, inner, layers, gated, device=None):
        super().__init__()
        shapes = [(width, width)] * 4 + [(width, inner)] * (1 + gated) + [(inner, width)]
        self.embedding = tnn.Embedding(tokens, width, device=device)
        self.layers = tnn.ModuleList(
            tnn.ModuleList(tnn.Linear(*shape, bias=False, device=device) for shape in shapes)
            for _ in range(layers)
        )
        self.head = tnn.Linear(width, tokens, bias=False, device=device)


def doors(rounds):
    """Seconds of nn.share and nn.plan, medians."""
    with torch.random.fork_rng(devices=[]):
        small = Stack(16384, 768, 3072, 11, gated=False)
    large = Stack(32000, 4096, 11008, 32, gated=True, device="meta")
    found = []
    for what, bar, call, model in (
        ("nn.share", SHARE, lambda: nn.share(small, compression=10), small),
        ("nn.plan, meta device", PLAN, lambda: nn.plan(large, compression=10), large),
    ):
        weights = sum(p.numel() for p in model.parameters())
        value = median(seconds(call) for _ in range(rounds))
        found.append({"what": what, "weights": weights, "seconds": value, "bar": bar, "met": met(value, bar)})
    return found


# ------------------------------------------------------------------------------------------------------


def run(side, m, pruned, threads, rounds, pool):
    torch.set_num_threads(threads)
    made = take_turns(makers(side, m, pruned, threads, pool), rounds)
    found = {"threads": threads, "make": timed(made), "ratios": []}
    found["ratios"] += [compared(made, name, "fold", {}) for name in made if name != "fold"]
    with torch.no_grad():
        for batch in BATCHES:
            times = take_turns(multipliers(side, m, pruned, batch, threads, pool), rounds)
            times = {f"batch {batch}: {name}": each for name, each in times.items()}
            found[f"multiply, batch {batch}"] = timed(times)
            fold = f"batch {batch}: fold"
            for name in times:
                if name != fold:
                    bar = BATCH_1[threads] if name == "batch 1: dense" else {}
                    found["ratios"].append(compared(times, name, fold, bar))
    times = take_turns(lookups(COMPRESSION), rounds)
    found["lookups"] = timed(times)
    for what in ("lookup", "step"):
        found["ratios"].append(compared(times, f"shared {what}", f"dense {what}", LOOKUP))
    return found


def main():
    given = parsed(__doc__, 11, 5, ("--weights", 24, "log2 of their number, even"))
    side = isqrt(2**given.weights)
    m = side * side // COMPRESSION
    pruned = Pruned(side, m)
    record = heading(SCHEMA, given) | {"weights": side * side, "cells": m, "bytes": tables()}
    show_tables(record["bytes"])
    record["simulated"] = simulated(side, m, pruned)
    show_simulated(record["simulated"])
    record["runs"] = []
    with ThreadPoolExecutor(max(THREADS)) as pool:
        for threads in THREADS:
            record["runs"].append(found := run(side, m, pruned, threads, given.rounds, pool))
            print(f"\n{side} x {side} at {COMPRESSION}x, threads: {threads}, rounds: {given.rounds}")
            for name, times in found.items():
                if isinstance(times, dict):
                    print(f" {name}")
                    show_times(times)
            show_ratios(found["ratios"])
    record["doors"] = doors(max(1, given.rounds // 3))
    print()
    for each in record["doors"]:
        text = f"{each['what']}, {each['weights'] / 1e6:,.0f} M weights"
        print(f"  {text:44}{each['seconds']:11.3f} s {verdict(each['seconds'], each['bar'])}")
    write(given.json, record)


if __name__ == "__main__":
    main()
