"""Does the division of a bank among layers, which costs nothing, train better? ResNet-8 on the digits.

    python -m benchmarks.splits run     # 32 trainings a seed, three seeds; goes on where it was stopped
    python -m benchmarks.splits show    # the table

All ways store as many weights: one bank for all, a bank for each weight at the same compression, banks that
share the budget by the square root of their weights, and the division of `rps advise`, by the square root of
what the closed forms say a cell takes off. Every way at every rate, the best rate shown: one rate for all
compares step sizes.
"""

import argparse
import copy
from pathlib import Path
from statistics import fmean

import torch

import nn
from benchmarks.records import add, read, table
from nn.advice.choices import LAYERED
from nn.advice.splitting import split
from nn.advice.trained import some
from nn.data import feed
from nn.models.registry import build
from nn.recipes import recipe_of
from nn.training import Diverged, Training

RECORDS = Path("benchmarks/results/splits.jsonl")
RATES, COMPRESSIONS, SEEDS, IMAGES = (0.1, 0.2, 0.4, 0.8), (10, 64), (0, 1, 2), 128
ONE, EACH, ROOT, ADVISED = "one bank", "a bank for each weight", "by the root of n", "as rps advise divides"
WAYS = (ONE, EACH, ROOT, ADVISED)


def options(way, dense, compression, batches, seed):
    """Of nn.share."""
    if way == ONE:
        return {}
    if way == EACH:
        return {"scope": "layer"}
    sizes = {name: p.numel() for name, p in dense.named_parameters() if p.ndim > 1}
    if way == ROOT:
        budget = nn.plan(dense, compression, include="*").groups[0].m
        # noise c / m with c = n, as where directions are random
        cells = dict(zip(sizes, split(list(sizes.values()), list(sizes.values()), budget), strict=True))
    else:
        advice = nn.advise(dense, batches, compression, methods=["stable-rps"], seed=seed)
        cells = next(each.choice.cells for each in advice.options if each.choice.name == LAYERED)
    return {
        "scope": "layer",
        "overrides": {name: {"compression": sizes[name] / cells[name]} for name in sizes},
    }


def trained(way, compression, rate, seed):
    """A line of the records."""
    recipe = recipe_of("smoke", epochs=2, batch=16, lr=rate)
    source = feed("digits", recipe.batch, seed)
    images, labels = some(source, IMAGES)
    torch.manual_seed(seed)
    dense = build("resnet8", 10, 1)
    how = options(way, dense, compression, [(images, labels)], seed)
    model = nn.share(copy.deepcopy(dense), compression, include="*", seed=seed, **how)
    training, accuracy = Training(model, recipe, source.steps, seed), 0.0
    try:
        while not training.done:
            epoch, index = divmod(training.progress.step, source.steps)
            training.advance(source.batch(epoch, index))
            if index + 1 == source.steps:
                accuracy = training.end_epoch(source.test())[1].accuracy
    except Diverged:
        accuracy = 0.0
    cells = nn.report(model).cells
    return {
        "way": way,
        "compression": compression,
        "rate": rate,
        "seed": seed,
        "cells": cells,
        "accuracy": accuracy,
    }


def run():
    torch.set_num_threads(1)
    records = read(RECORDS)
    done = {(r["way"], r["compression"], r["rate"], r["seed"]) for r in records}
    wanted = [(w, c, r, s) for s in SEEDS for c in reversed(COMPRESSIONS) for w in WAYS for r in RATES]
    for each in wanted:
        if each not in done:
            print(add(RECORDS, trained(*each))[-1], flush=True)


def show():
    records, rows = read(RECORDS), []
    for compression in COMPRESSIONS:
        for way in WAYS:
            found = []
            for rate in RATES:
                wanted = {"way": way, "compression": compression, "rate": rate}
                mine = [100 * r["accuracy"] for r in records if wanted.items() <= r.items()]
                found.append((fmean(mine), f"{min(mine):.1f} to {max(mine):.1f}") if mine else (0.0, ""))
            best = max(mean for mean, _ in found)
            cells = (
                f"**{mean:.1f}** ({span})" if mean == best else f"{mean:.1f} ({span})" for mean, span in found
            )
            rows.append([way, f"{compression}", *cells])
    print(table(["way", "n / m", *(f"lr {rate:g}" for rate in RATES)], rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("stage", nargs="?", default="show", choices=("run", "show"))
    run() if parser.parse_args().stage == "run" else show()


if __name__ == "__main__":
    main()
