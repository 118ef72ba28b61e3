"""A ViT and a decoder of text, trained here, whose layers share: what is left at once and after finetuning.

    python -m benchmarks.cross_layer_trained run     # trains both, then the cells; goes on after a stop
    python -m benchmarks.cross_layer_trained show    # the tables, also of a part of the cells

The ViT reads the digits and the decoder the English text of Python's help, both trained by `nn.fit` with the
recipe `transformer`. A cell is a network, a method, a part of the linear weights' bytes that is removed, and
a seed. The network is compressed on CALIBRATION tokens of its training data, tested, trained by the recipe
FINETUNE for as many steps as all others, and tested again; method "dense" is the network as it was, with 0 %
removed. One line of benchmarks/results/cross_layer_trained.jsonl each; seconds are those of one core.
"""

import argparse
import platform
import shutil
import statistics
import time
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cache, partial
from math import exp
from pathlib import Path

import torch

import nn
from benchmarks.records import add, read, table
from nn.budget import budget
from nn.cross_layer.adapters import projections_of
from nn.cross_layer.sharing import stored_bytes
from nn.data import Batches, feed
from nn.data.order import key, shuffled
from nn.evaluation import finished, model_of, state_of
from nn.models.registry import build
from nn.recipes import RECIPES, Recipe
from nn.sources import code_but_for
from nn.training import Training

NETWORKS = {"vit": "digits", "decoder": "topics"}
RECIPE = RECIPES["transformer"]
STEPS = 100
FINETUNE = Recipe(
    "finetune", 1, RECIPE.batch, "adamw", lr=RECIPE.lr / 5, weight_decay=RECIPE.weight_decay,
    schedule="cosine", clip=RECIPE.clip, precision=RECIPE.precision, augment="none",
)  # fmt: skip
CALIBRATION = 8192  # tokens
REMOVED = (50, 40, 30, 20)
RECORDS = Path("benchmarks/results/cross_layer_trained.jsonl")
FOLDER = Path("build/cross_layer_trained")

METHODS = {
    "svd": ("svd", {}),
    "basis": ("basis", {"groups": "adjacent:2"}),
    "rps": ("rps", {}),
    "rps, curvature": ("rps", {"weighted": True}),
    "fips": ("fips", {"groups": "auto"}),
    "fips, each matrix": ("fips", {"groups": "auto", "shared": False}),
    "fips, blocks of 1 x 4": ("fips", {"groups": "auto", "block": (1, 4)}),
    "fips, blocks of 4 x 4": ("fips", {"groups": "auto", "block": (4, 4)}),
    "geo": ("geo", {"groups": "auto"}),
    "geo, eigenpairs": ("geo", {"groups": "auto", "lanczos": 2**14}),
}


@dataclass(frozen=True)
class Cell:
    """One compressed network.

    Attributes:
        network: A name of NETWORKS.
        method: A name of METHODS, or "dense".
        removed: Of the projections' bytes, in percent.
        seed: Of training, of what calibrates and finetunes, and of everything random in the method.
    """

    network: str
    method: str
    removed: int
    seed: int


class Trained:
    """A network trained from nothing, or found in the folder of its run."""

    def __init__(self, name, seed, folder):
        watch = partial(said, name)
        fitted = nn.fit(
            NETWORKS[name], name, "dense", 1, RECIPE, seed=seed, out=folder, device="cpu", watch=watch
        )
        self.record = finished(fitted.folder)
        self.source = feed(NETWORKS[name], RECIPE.batch, seed)
        self.dataset, self.seed = self.source.train.dataset, seed
        self.make = partial(build, name, len(self.dataset.classes), self.dataset.images.shape[-1])

    def model(self):
        state = state_of(self.record)
        how = self.record.configuration
        training = Training(model_of(self.make, how, state), RECIPE, self.source.steps, self.seed)
        training.from_bytes(state)
        return training.model.eval()

    def calibration(self):
        """Inputs of training, drawn by the seed; a patch of the ViT is 4 x 4 pixels."""
        tokens = self.dataset.images[0].size // (1 if self.dataset.text else 16)
        rows = shuffled(len(self.dataset), key(self.seed, 1))[: CALIBRATION // tokens]
        return [x for x, _ in Batches(self.dataset, RECIPE.batch, rows=rows).in_order()]

    def scores(self, model):
        """Accuracy, and loss of an image or a token."""
        score = Training(model, FINETUNE, STEPS, self.seed).test(self.source.test())
        return {"accuracy": score.accuracy, "loss": score.loss}

    def finetune(self, model):
        """Some steps on batches in the order of an epoch that training did not have."""
        training = Training(model, FINETUNE, STEPS, self.seed)
        while not training.done:
            epoch, index = divmod(training.progress.step, self.source.steps)
            training.advance(self.source.batch(RECIPE.epochs + epoch, index))


def said(name, row):
    if "epoch" in row:
        print(f"{name}, epoch {row['epoch']}: loss {row['test_loss']:.4f}", flush=True)


@cache
def trained(name, seed, folder):
    return Trained(name, seed, folder)


# ---------------------------------------------------------------------------------------------- cells


def place_of(cell, folder):
    """Where finished stages of a cell are, while it is not finished itself."""
    return (
        folder
        / f"{cell.network}-{cell.method.replace(', ', '-').replace(' ', '-')}-{cell.removed}-{cell.seed}"
    )


def compressed(cell, network, folder):
    method, options = METHODS[cell.method]
    kept = {"compression": Fraction(100, 100 - cell.removed), "seed": cell.seed}
    return nn.share_layers(
        network.model(), method, calibration=network.calibration(), resume=folder, **kept, **options
    )


def measured(cell, folder):
    """A line of the records."""
    network = trained(cell.network, cell.seed, folder)
    place, dense = place_of(cell, folder), cell.method == "dense"
    again, start = place.exists(), time.process_time()
    model = network.model() if dense else compressed(cell, network, place)
    seconds = time.process_time() - start
    once = network.scores(model)
    network.finetune(model)
    with torch.device("meta"):
        whole = network.make(1.0)
    names = [p.name for p in projections_of(whole)]
    sizes = {
        "bytes": stored_bytes(model, names),
        "dense_bytes": stored_bytes(whole, names),
        "budget": asdict(budget(model, whole, network.dataset.shape)),
        "tokens": CALIBRATION,
        "steps": STEPS,
    }
    found = {"seconds": None if again else seconds, "once": once, "finetuned": network.scores(model)}
    versions = {"python": platform.python_version(), "code": code_but_for()}
    return asdict(cell) | sizes | found | versions | {"date": time.strftime("%Y-%m-%d")}


def run(networks, methods, removed, seeds, folder):
    cells = [Cell(n, "dense", 0, s) for n in networks for s in seeds]
    cells += [Cell(n, m, r, s) for s in seeds for r in removed for n in networks for m in methods]
    for cell in cells:
        if any(asdict(cell).items() <= each.items() for each in read(RECORDS)):
            continue
        record = measured(cell, folder)
        add(RECORDS, record)
        shutil.rmtree(place_of(cell, folder), ignore_errors=True)
        words = f"{cell.network}, {cell.method}, {cell.removed} %: {record['once']}"
        print(f"{words}, then {record['finetuned']}", flush=True)


# --------------------------------------------------------------------------------------------- tables


def tables(records):
    """For each network what is left by method and removal, at once and finetuned; mean over seeds."""
    parts = []
    for network, data in NETWORKS.items():
        removed = sorted({each["removed"] for each in records if each["network"] == network})
        for when, title in (("once", "at once"), ("finetuned", f"after {STEPS} steps")):
            rows = []
            for method in ("dense", *METHODS):
                mine = [x for x in records if (x["network"], x["method"]) == (network, method)]
                if mine:
                    each = ([x[when] for x in mine if x["removed"] == r] for r in removed)
                    rows.append([method, *(cell_of(network, scores) for scores in each)])
            unit = "perplexity" if network == "decoder" else "accuracy"
            head = [f"{network} on {data}, {title}: {unit}", *(f"{r} %" for r in removed)]
            parts += [table(head, rows)] if rows else []
    return "\n\n".join(parts)


def cell_of(network, scores):
    """Mean accuracy; of text the perplexity of the mean loss."""
    if not scores:
        return ""
    if network == "decoder":
        return f"{exp(statistics.mean(s['loss'] for s in scores)):.2f}"
    return f"{statistics.mean(s['accuracy'] for s in scores):.2%}"


def times(records):
    """Seconds of compression by network and method: least and most."""
    rows = []
    for method in METHODS:
        row = [method]
        for network in NETWORKS:
            mine = [x["seconds"] for x in records if (x["network"], x["method"]) == (network, method)]
            known = [seconds for seconds in mine if seconds is not None]
            row.append(f"{min(known):.1f} to {max(known):.1f}" if known else "")
        rows.append(row)
    return table(["seconds", *NETWORKS], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("stage", nargs="?", default="show", choices=("run", "show"))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=tuple(NETWORKS))
    parser.add_argument("--methods", default=";".join(METHODS), help="separated by semicolons")
    parser.add_argument("--removed", type=int, nargs="+", default=REMOVED, help="percent")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0,))
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of runs and stages")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.stage == "show":
        records = read(RECORDS)
        print(tables(records), times(records), sep="\n\n")
    else:
        run(given.networks, given.methods.split(";"), given.removed, given.seeds, given.out)


if __name__ == "__main__":
    main()
