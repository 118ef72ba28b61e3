"""Sharing and pruning on CIFAR-10 at equal budgets: learning rates tuned first, then the table.

    python -m benchmarks.cifar10 tune --root DIR    # on a tenth of the training set that is held out
    python -m benchmarks.cifar10 run --root DIR     # every method at its own rate, on the test set
    python -m benchmarks.cifar10 show               # the tables; `rps study report` takes the records

ResNet-20 with the recipe `short`, one seed. Tuning takes half of the recipe's epochs, at 10x, over RATES;
where the best is at an end, the next power of two is tried as well. Lottery tickets take magnitude's rate,
and are rewound to step 25 of 1,564, as early as step 1,000 of 62,560 (Frankle et al., arXiv 1912.05671).
Every run is one of `rps train --data cifar10`, one thread each, as many side by side as there are cores, and
goes on where it was killed; what came of it, of which data and by which code, is a line of
benchmarks/results/cifar10.jsonl.
"""

import argparse
import multiprocessing
import os
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

import nn
from benchmarks.records import add, read, table
from nn.recipes import RECIPES
from nn.records import Record
from nn.records import read as read_run
from nn.study.results import line_of

MODEL, TUNED_AT, HELD_OUT = "resnet20", 10, 0.1
SHORT = RECIPES["short"]
TUNING = replace(SHORT, name="short, half", epochs=SHORT.epochs // 2)
RATES = (0.2, 0.4)
LEAST, MOST = 0.0125, 3.2
RECORDS = Path("benchmarks/results/cifar10.jsonl")
FOLDER = Path("build/cifar10")


@dataclass(frozen=True)
class Variant:
    """A method and its options.

    Attributes:
        method: Of nn.methods.
        options: Of the method, as (name, value).
        compressions: In the table.
        like: Whose rate it takes, where it is not tuned itself.
    """

    method: str
    options: tuple[tuple[str, str | int], ...] = ()
    compressions: tuple[int, ...] = (10, 100)
    like: str = ""


VARIANTS = {
    "dense": Variant("dense", compressions=(1,)),
    "stable-rps": Variant("stable-rps", compressions=(1, 10, 100)),
    "hashed": Variant("hashed"),
    "random": Variant("random"),
    "magnitude": Variant("magnitude"),
    "snip": Variant("snip"),
    "synflow": Variant("synflow"),
    "grasp": Variant("grasp"),
    "smaller": Variant("smaller"),
    "stable-rps, v1": Variant("stable-rps", (("scaler", "v1"),)),
    "stable-rps, uniform": Variant("stable-rps", (("law", "uniform"),)),
    "stable-rps, v1, uniform": Variant("stable-rps", (("scaler", "v1"), ("law", "uniform"))),
    "stable-rps, layer": Variant("stable-rps", (("scope", "layer"),)),
    "roast": Variant("roast", compressions=(1, 10, 100)),
    "ltr": Variant("ltr", (("rewind", 25),), like="magnitude"),
}


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        stage: tune or run.
        variant: A name of VARIANTS.
        compression: n / m.
        rate: The recipe's lr.
    """

    stage: str
    variant: str
    compression: int
    rate: float


# ------------------------------------------------------------------------------------------------ cells


def tuned_at(variant: str) -> int:
    return TUNED_AT if TUNED_AT in VARIANTS[variant].compressions else VARIANTS[variant].compressions[0]


def tuned(records: list[dict]) -> dict[str, dict[float, float]]:
    """Accuracy on what is held out by variant and rate; a run that diverged has none of it."""
    found: dict[str, dict[float, float]] = {}
    for each in records:
        if each["stage"] == "tune":
            kept = each["test_accuracy"] if each["status"] == "finished" else 0.0
            found.setdefault(each["variant"], {})[each["rate"]] = kept
    return found


def next_rates(scores: dict[float, float]) -> list[float]:
    """The rates still to be tried: the grid, then beyond the end where the best lies."""
    missing = [rate for rate in RATES if rate not in scores]
    if missing:
        return missing
    best = max(scores, key=scores.__getitem__)
    beyond = {min(scores): best / 2, max(scores): best * 2}.get(best)
    return [beyond] if beyond and LEAST <= beyond <= MOST else []


def to_tune(records: list[dict], variants: list[str]) -> list[Cell]:
    scores = tuned(records)
    return [
        Cell("tune", name, tuned_at(name), rate)
        for name in variants
        if not VARIANTS[name].like
        for rate in next_rates(scores.get(name, {}))
    ]


def best_rate(records: list[dict], variant: str) -> float | None:
    """The rate that did best, None while tuning is not over."""
    scores = tuned(records).get(VARIANTS[variant].like or variant, {})
    return None if next_rates(scores) else max(scores, key=scores.__getitem__)


def to_run(records: list[dict], variants: list[str]) -> list[Cell]:
    done = {(r["variant"], r["compression"]) for r in records if r["stage"] == "run"}
    return [
        Cell("run", name, compression, rate)
        for name in variants
        if (rate := best_rate(records, name)) is not None
        for compression in VARIANTS[name].compressions
        if (name, compression) not in done
    ]


# ------------------------------------------------------------------------------------------------- runs


def trained(cell: Cell, root: str | None, folder: str) -> dict:
    """A line of the records."""
    torch.set_num_threads(1)
    variant, tuning = VARIANTS[cell.variant], cell.stage == "tune"
    recipe = replace(TUNING if tuning else SHORT, lr=cell.rate)
    fitted = nn.fit(
        "cifar10", MODEL, variant.method, cell.compression, recipe, options=dict(variant.options),
        out=folder, held_out=HELD_OUT if tuning else 0.0, root=root, device="cpu",
    )  # fmt: skip
    return record_of(cell, read_run(fitted.folder), time.strftime("%Y-%m-%d"))


def record_of(cell: Cell, run: Record, date: str) -> dict:
    """The line of a run, which is a line of a study as well."""
    return asdict(cell) | line_of(run) | {"date": date}


def work(stage: str, variants: list[str], root: str | None, folder: str, workers: int) -> None:
    """Run what is left of a stage, and what becomes known to be left meanwhile."""
    left = to_tune if stage == "tune" else to_run
    found, running = read(RECORDS), {}
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        while True:
            for cell in left(found, variants):
                if len(running) < workers and cell not in running.values():
                    running[pool.submit(trained, cell, root, folder)] = cell
            if not running:
                return
            for over in wait(running, return_when=FIRST_COMPLETED).done:
                del running[over]
                found = add(RECORDS, record := over.result())
                accuracy = record["test_accuracy"]
                print(
                    f"{record['variant']} {record['compression']}x lr {record['rate']:g}: {record['status']}"
                    f"{'' if accuracy is None else f', {accuracy:.2%}'}, {record['seconds']:.0f} s",
                    flush=True,
                )


# ---------------------------------------------------------------------------------------------- tables


def sensitivity(records: list[dict]) -> str:
    """Accuracy on what is held out, the best rate of each variant in bold."""
    scores = tuned(records)
    rates = sorted({rate for each in scores.values() for rate in each})
    rows = []
    for name, each in scores.items():
        best = max(each.values())
        shown = (f"{each[rate]:.1%}" if rate in each else "" for rate in rates)
        rows.append([name, *(f"**{text}**" if text == f"{best:.1%}" else text for text in shown)])
    return table(["lr", *(f"{rate:g}" for rate in rates)], rows)


def results(records: list[dict]) -> str:
    """What came of the runs, at each compression the best first."""
    found = sorted(
        (each for each in records if each["stage"] == "run"),
        key=lambda each: (each["compression"], -(each["test_accuracy"] or 0)),
    )
    rows = []
    for each in found:
        cost = each["budget"]
        ended = f"{each['test_accuracy']:.2%}" if each["status"] == "finished" else each["status"]
        rows.append([
            each["variant"], f"{each['compression']}", f"{each['rate']:g}", ended, f"{cost['params']:,}",
            f"{cost['total_compression']:.1f}", f"{cost['bytes']:,}", f"{cost['flops'] / 1e6:.1f}",
        ])  # fmt: skip
    head = ["method", "n/m", "lr", "test accuracy", "parameters", "in total", "bytes", "MFLOPs"]
    return table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("stage", nargs="?", default="show", choices=("tune", "run", "show"))
    parser.add_argument("--root", help="folder with the official data, as for rps train")
    parser.add_argument("--out", default=str(FOLDER), help="folder of the runs")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--variants", default=";".join(VARIANTS), help="separated by semicolons")
    given = parser.parse_args()
    if given.stage == "show":
        records = read(RECORDS)
        print(sensitivity(records), results(records), sep="\n\n")
        return
    work(given.stage, given.variants.split(";"), given.root, given.out, given.workers)


if __name__ == "__main__":
    main()
