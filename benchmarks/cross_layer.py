"""What a pretrained transformer keeps when its layers share: every method at equal bytes, and its speed.

    python -m benchmarks.cross_layer run      # the cells of the tables; goes on where it was stopped
    python -m benchmarks.cross_layer show     # the tables, also of a part of the cells
    python -m benchmarks.cross_layer speed    # a forward pass at 50 % removal against the dense one
    python -m benchmarks.cross_layer pairs    # which layers Basis Sharing itself would join; --together 3

all-MiniLM-L6-v2 and its text are those of benchmarks.projection: sentences of CPython's manual, every fifth
topic to test with. A cell is a method, a part of the linear weights' bytes that is removed, and a seed. The
model is compressed on CALIBRATION sentences, scored, distilled for a few steps and scored again. Distilled
is all but the embeddings, by Adam on the distance of sentence embeddings, once for each of RATES; what
counts is the rate that does best on sentences that are neither trained on nor tested with. One line of
benchmarks/results/cross_layer.jsonl each; seconds are those of one core.
"""

import argparse
import copy
import platform
import shutil
import statistics
import time
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

import nn
from benchmarks.projection import MiniLM, descend, nearest
from benchmarks.records import add, read, table
from nn.cross_layer.adapters import projections_of
from nn.cross_layer.basis import scaled_loss
from nn.cross_layer.planning import setting_of
from nn.cross_layer.sharing import stored_bytes
from nn.cross_layer.whitening import gathered, rank_of, weights_of
from nn.cross_layer.work import Work
from nn.sources import code_but_for

CALIBRATION, VALIDATION, BATCH = 256, 200, 32
STEPS, PART = 80, 8  # of distillation: 640 sentences, of which the first calibrate
RATES = (3e-5, 1e-4, 3e-4)
REMOVED = (50, 40, 30, 20)
RECORDS = Path("benchmarks/results/cross_layer.jsonl")
FOLDER = Path("build/cross_layer")

METHODS = {
    "svd, plain": ("svd", {"whiten": False}),
    "svd": ("svd", {}),
    "rps": ("rps", {}),
    "rps, curvature": ("rps", {"weighted": True}),
    "basis": ("basis", {}),
    "basis, auto": ("basis", {"groups": "auto"}),
    "fips": ("fips", {}),
    "fips, gradual masks": ("fips", {"masks": "gradual", "rate": 4e-4}),
    "fips, dense V": ("fips", {"sparsity": 0}),
    "fips, each layer": ("fips", {"groups": "adjacent:1"}),
    "fips, each matrix": ("fips", {"shared": False}),
    "geo": ("geo", {}),
    "geo, each layer": ("geo", {"groups": "adjacent:1"}),
    "geo, adjacent": ("geo", {"coloring": "adjacent"}),
    "geo, cosine": ("geo", {"coloring": "cosine"}),
    "geo, random": ("geo", {"coloring": "random"}),
}


@dataclass(frozen=True)
class Cell:
    """One compressed model.

    Attributes:
        method: A name of METHODS.
        removed: Of the projections' bytes, in percent.
        seed: Of the draw of sentences, and of everything random in the method.
    """

    method: str
    removed: int
    seed: int


# ------------------------------------------------------------------------------------------ the model


class Text:
    """Sentences as tokens, and what the dense model makes of them."""

    def __init__(self, seed):
        self.task = MiniLM(seed)
        train, test = self.task.train_tokens, self.task.test_tokens
        draw = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed)).tolist()
        drawn = [train[place] for place in draw]
        self.validation, self.distillation = drawn[:VALIDATION], drawn[VALIDATION:][: STEPS * PART]
        self.calibration = self.distillation[:CALIBRATION]
        self.test = test

    @cache  # noqa: B019  # as many as there are seeds
    def target(self, part):
        return self.task.embed_all(self.task.dense(), getattr(self, part))

    def batches(self):
        """What the methods are calibrated on."""
        parts = [self.calibration[k : k + BATCH] for k in range(0, len(self.calibration), BATCH)]
        return [padded(part) for part in parts]

    def scores(self, model, part="test"):
        """Mean cosine to the dense embeddings, and the share of each one's 10 nearest that stay so."""
        found, target = self.task.embed_all(model, getattr(self, part)), self.target(part)
        same = nearest(found, 10)[:, :, None] == nearest(target, 10)[:, None]
        return {
            "cosine": (found * target).sum(1).mean().item(),
            "overlap": same.any(2).double().mean().item(),
        }

    def distill(self, model, rate):
        """Some steps on the embeddings; places where no number is stored are no parameters."""
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not name.startswith("embeddings"))
        rule = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
        target = self.target("distillation")

        def loss(part):
            found = self.task.embed(model, [self.distillation[place] for place in part])
            return 1 - (found * target[part]).sum(1).mean()

        descend(rule, torch.arange(len(target)).split(PART), loss, {})


def padded(rows):
    """Arguments of the model."""
    index = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    lengths = torch.tensor([[len(row)] for row in rows])
    return {"input_ids": index, "attention_mask": (torch.arange(index.shape[1]) < lengths).long()}


@cache
def text_of(seed):
    return Text(seed)


def compressed(cell, text, folder=None):
    method, options = METHODS[cell.method]
    kept = {"compression": Fraction(100, 100 - cell.removed), "seed": cell.seed}
    return nn.share_layers(
        text.task.dense(), method, calibration=text.batches(), resume=folder, **kept, **options
    )


# ---------------------------------------------------------------------------------------------- cells


def place_of(cell, folder):
    """Where finished stages of a cell are, while it is not finished itself."""
    return folder / f"{cell.method.replace(', ', '-').replace(' ', '-')}-{cell.removed}-{cell.seed}"


def measured(cell, folder):
    """A line of the records."""
    text = text_of(cell.seed)
    place = place_of(cell, folder)
    again, start = place.exists(), time.process_time()
    model = compressed(cell, text, place)
    seconds = time.process_time() - start
    found = {"seconds": None if again else seconds, "once": text.scores(model), "distilled": {}}
    for rate in RATES:
        student = copy.deepcopy(model)
        text.distill(student, rate)
        found["distilled"][f"{rate:g}"] = text.scores(student) | {
            "validation": text.scores(student, "validation")["cosine"]
        }
    projections = projections_of(text.task.dense())
    sizes = {
        "bytes": stored_bytes(model, [p.name for p in projections]),
        "dense_bytes": sum(p.bytes for p in projections),
        "tokens": sum(map(len, text.calibration)),
    }
    versions = {"python": platform.python_version(), "code": code_but_for()}
    return asdict(cell) | sizes | found | versions | {"date": time.strftime("%Y-%m-%d")}


def run(methods, removed, seeds, folder):
    cells = [Cell(m, r, s) for s in seeds for r in removed for m in methods]
    for cell in cells:
        if any(asdict(cell).items() <= each.items() for each in read(RECORDS)):
            continue
        record = measured(cell, folder)
        add(RECORDS, record)
        shutil.rmtree(place_of(cell, folder))
        print(f"{cell.method}, {cell.removed} %: {record['once']}, then {best(record)}", flush=True)


def best(record):
    """Scores after distillation at the rate that did best on sentences of neither kind."""
    return max(record["distilled"].values(), key=lambda each: each["validation"])


# --------------------------------------------------------------------------------------------- tables


def tables(records):
    """Cosine and overlap by method and removal, at once and distilled; mean over seeds."""
    removed = sorted({each["removed"] for each in records})
    parts = []
    for title, scores in (("At once", lambda each: each["once"]), ("Distilled", best)):
        rows = []
        for method in METHODS:
            mine = {r: [x for x in records if (x["method"], x["removed"]) == (method, r)] for r in removed}
            if any(mine.values()):
                rows.append([method, *(cell(list(map(scores, mine[r]))) for r in removed)])
        parts.append(f"{title}\n\n{table(['method', *(f'{r} %' for r in removed)], rows)}")
    return "\n\n".join(parts)


def times(records):
    """Seconds of compression by method: least and most."""
    rows = []
    for method in METHODS:
        mine = [x["seconds"] for x in records if x["method"] == method and x["seconds"] is not None]
        if mine:
            rows.append(
                [method, f"{min(mine):.0f} to {max(mine):.0f}" if len(mine) > 1 else f"{mine[0]:.0f}"]
            )
    return table(["method", "seconds"], rows)


def cell(scores):
    """Mean cosine and overlap."""
    if not scores:
        return ""
    return " / ".join(f"{statistics.mean(s[name] for s in scores):.3f}" for name in ("cosine", "overlap"))


# ---------------------------------------------------------------------------------------------- speed


# what is timed is how factors are multiplied, which training and a search for colors do not change
STRUCTURES = {
    "svd": ("svd", {"whiten": False}),
    "basis": ("basis", {"refit": False}),
    "fips": ("fips", {"epochs": 0}),
    "fips, dense V": ("fips", {"epochs": 0, "sparsity": 0}),
    "geo": ("geo", {"coloring": "adjacent"}),
    "rps": ("rps", {}),
}
ROUNDS, TOKENS = 9, 64  # of a sentence, 32 of which are a batch


def flops(model, given):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**given)
    return counter.get_total_flops()


def seconds(model, given):
    start = time.process_time()
    with torch.no_grad():
        model(**given)
    return time.process_time() - start


def speed(structures):
    """Dense over compressed at 50 % removal, in pairs of passes: the median, and the deciles at both ends."""
    text = text_of(0)
    dense, few = text.task.dense(), text.batches()[:1]
    index = torch.randint(1000, 20000, (BATCH, TOKENS), generator=torch.Generator().manual_seed(0))
    given = {"input_ids": index, "attention_mask": torch.ones_like(index)}
    rows = []
    for name in structures:
        method, options = STRUCTURES[name]
        model = nn.share_layers(dense, method, compression=2, calibration=few, **options)
        ratios = [seconds(dense, given) / seconds(model, given) for _ in range(ROUNDS + 1)][1:]
        low, *_, high = statistics.quantiles(ratios, n=10)
        rows.append([
            name, f"{flops(dense, given) / flops(model, given):.2f}", f"{statistics.median(ratios):.2f}",
            f"{low:.2f} to {high:.2f}",
        ])  # fmt: skip
        print(rows[-1], flush=True)
    return table(["method", "FLOPs, dense over its own", "time, likewise", "from 10 to 90 %"], rows)


# ---------------------------------------------------------------------------------------------- pairs


def pairs(removed, together):
    """The loss rule of Basis Sharing: the loss of neighbours with one basis over the sum of their own."""
    text, rows, compression = text_of(0), [], Fraction(100, 100 - removed)
    dense = text.task.dense()
    setting = setting_of(
        dense, "basis", compression, None, None, text.batches(), f"adjacent:{together}", (), (), None, 0, {}
    )
    task = setting.task
    weights = {p.name: dense.get_parameter(p.name) for p in task.projections}
    work = Work(dense, task, (), setting.batches, weights, None, print)
    grams = {share[0]: gram for share, gram in gathered(work, [(p,) for p in task.projections])}

    def loss(*share):
        gram = torch.stack([grams[p] for p in share]).sum(0)
        return scaled_loss(weights_of(work, share), gram, rank_of(share, task.kept))

    shares = task.shares()
    for role in task.roles:
        mine = [share for share in shares if share[0].role == role]
        rows.append([role, *(f"{loss(*share) / sum(map(loss, share)):.3f}" for share in mine)])
    groups = [", ".join(str(p.layer) for p in share) for share in shares if share[0].role == task.roles[0]]
    return table(["role", *(f"layers {group}" for group in groups)], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("stage", nargs="?", default="show", choices=("run", "show", "speed", "pairs"))
    parser.add_argument("--methods", default=";".join(METHODS), help="separated by semicolons")
    parser.add_argument("--structures", default=";".join(STRUCTURES), help="of speed, likewise")
    parser.add_argument("--removed", type=int, nargs="+", default=REMOVED, help="percent")
    parser.add_argument("--together", type=int, default=2, help="layers, of pairs")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0,))
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of stages")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.stage == "show":
        records = read(RECORDS)
        print(tables(records), times(records), sep="\n\n")
    elif given.stage == "speed":
        print(speed(given.structures.split(";")))
    elif given.stage == "pairs":
        print(*(f"{part} %\n\n{pairs(part, given.together)}" for part in given.removed), sep="\n\n")
    else:
        run(given.methods.split(";"), given.removed, given.seeds, given.out)


if __name__ == "__main__":
    main()
