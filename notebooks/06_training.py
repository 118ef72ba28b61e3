# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06 · Train and compare with theory
#
# *Takes two minutes on one core.* A ResNet-8 on the digits, dense, shared and pruned to the same number of
# weights: learning curves and what each costs; what the theory predicts about the trained network beside what
# is measured in it; and what becomes of a network that is compressed without being trained again.

# %%
import os
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.ticker import FuncFormatter, NullFormatter

import nn
from nn.practice import practice, trained
from rpstheory import Fold, expected_linear_residual

plt.style.use("house.mplstyle")
SMALL = "RPS_SMALL" in os.environ  # the tests' setting: one seed, one epoch, few predictions, all checks
SEEDS = (0,) if SMALL else (0, 1, 2)
FAST = {"epochs": 1, "batch": 16, "precision": "bfloat16", "channels_last": True}
RECIPE = nn.recipes.recipe_of("smoke", **FAST) if SMALL else "smoke"
PARTS = ("occupancy", "residuals") if SMALL else ("occupancy", "residuals", "preactivations", "stepping")

# %% [markdown]
# ## Train
#
# `rps train` in Python; three epochs that show that everything works and compare nothing. A run lies in a
# folder named by its configuration, and would go on if it were stopped; name a folder of your own in place of
# a temporary one.

# %%
runs = mkdtemp()
METHODS = {
    "dense": (1, {"color": "#1a1d21", "marker": "*", "linestyle": ":"}),
    "stable-rps": (10, {"color": "C0", "marker": "o", "linewidth": 2.2}),
    "random": (10, {"color": "C1", "marker": "D", "linestyle": (0, (5, 1.5))}),
}
fits, curves = {}, {}
for method, (compression, _) in METHODS.items():
    for seed in SEEDS:
        told = []
        fits[method, seed] = nn.fit(
            data="digits",
            model="resnet8",
            method=method,
            compression=compression,
            recipe=RECIPE,
            seed=seed,
            out=runs,
            watch=told.append,
        )
        curves[method, seed] = [row["test_accuracy"] for row in told if "epoch" in row]

figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.3), layout="constrained", sharey=True)
for method, (compression, style) in METHODS.items():
    name = f"{method} {compression}x"
    rows = 100 * np.array([curves[method, seed] for seed in SEEDS])
    epochs = np.arange(1, rows.shape[1] + 1)
    left.plot(epochs, rows.mean(axis=0), label=name, markersize=7, **style)
    left.plot(epochs, rows.T, color=style["color"], linewidth=0.6, alpha=0.6)
    size = fits[method, 0].result.budget["bytes"]
    right.plot(np.full(len(SEEDS), size / 1000), rows[:, -1], markersize=7, **(style | {"linestyle": ""}))
    side = {"ha": "right", "xytext": (-9, -3)} if method == "stable-rps" else {"xytext": (9, -3)}
    right.annotate(name, (size / 1000, rows[:, -1].mean()), textcoords="offset points", **side)
left.set_xticks(epochs)
left.set_xlabel("epoch")
left.set_ylabel("test accuracy, %")
left.set_title("mean of the seeds; thin: each" if len(SEEDS) > 1 else "one seed")
left.legend(loc="lower right")
right.set_xscale("log")
right.set_xlim(10, 800)
right.set_xticks([10, 20, 50, 100, 200, 500])
right.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
right.xaxis.set_minor_formatter(NullFormatter())
right.grid(axis="y")
right.set_xlabel("stored, kB: numbers, buffers and index (nn.budget)")
right.set_title("each seed, after the last epoch")
plt.show()

# %% [markdown]
# ## Theory beside the trained network
#
# `rps practice`: each prediction is made from the run's own weights and activations by the formulas of
# [the claims](../docs/claims.md), and measured in it; designed error rates make a verdict
# ([theory beside practice](../docs/practice.md)). Confirmed means that the interval lies within 5 % of the
# prediction.

# %%
shared = fits["stable-rps", 0]
verdicts = practice([shared.folder], PARTS, quick=True).report.verdicts
claims = list(dict.fromkeys(v.claim for v in verdicts))
for claim in claims:
    own = [v for v in verdicts if v.claim == claim]
    print(f"{claim:20s} {len(own):3d} checks, {sum(v.status == 'confirmed' for v in own):3d} confirmed")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.6), layout="constrained", width_ratios=[1, 1.7])
sized = [v for v in verdicts if v.relation == "equals" and min(v.predicted, v.measured, v.discrepancy) > 0]
right.axhspan(-1, 1, color="#e3eef8", linewidth=0)
right.axhline(0, color="#1a1d21", linewidth=0.8)
drawn = [claim for claim in claims if any(v.claim == claim for v in sized)]
for number, claim in enumerate(drawn):
    own = [(place, v) for place, v in enumerate(sized) if v.claim == claim]
    at, own = zip(*own, strict=True)
    look = {"color": f"C{number}", "marker": "osD^vX"[number], "markersize": 4}
    right.plot([], [], linestyle="", label=claim, **look)
    if claim != "occupancy":  # its counts are as large as the bank
        left.plot([v.predicted for v in own], [v.measured for v in own], linestyle="", **look)
    off = [(v.measured - v.predicted) / v.discrepancy for v in own]
    half = [(v.interval[1] - v.interval[0]) / 2 / v.discrepancy for v in own]
    right.errorbar(at, off, half, linestyle="", linewidth=1, **look)
values = [v.predicted for v in sized if v.claim != "occupancy"]
ends = [min(values) / 2, max(values) * 2]
left.plot(ends, ends, color="#1a1d21", linewidth=0.8)
left.set_xscale("log")
left.set_yscale("log")
left.set_xlabel("predicted (each check in its unit)")
left.set_ylabel("measured")
right.legend(handletextpad=0.2, ncols=4, loc="lower left", bbox_to_anchor=(-0.02, 1))
right.set_ylim(-1.5, 1.5)
right.set_xlabel("check")
right.set_ylabel("(measured − predicted) ÷ discrepancy")
plt.show()

# %% [markdown]
# ## Compressed without training
#
# The trained dense network, laid into the bank that comes nearest to its weights, or pruned. Of weights of
# equal scale the nearest bank loses $1 - m/n$ of the energy, as much as random pruning; of unequal ones less,
# by the closed form of [claim 12](../docs/claims.md#12-what-a-linear-model-loses-exactly-and-who-wins) with
# variances 1 and the scales of the bank; pruning that knows the weights loses less still
# ([claim 18](../docs/claims.md#18-pruning-by-magnitude-biased-and-when-it-wins),
# [projection](../docs/projection.md)). With few laps a draw may be off its mean by some points. Batch norm
# keeps the statistics of the dense network.

# %%
network = trained(fits["dense", 0].folder)
dense, (images, labels) = network.model, network.images(10_000, train=False)
COMPRESSIONS = (1.5, 3, 10) if SMALL else (1.1, 1.25, 1.5, 2, 3, 5, 10)
DRAWS = 1 if SMALL else 3
AT_ONCE = {
    "nearest bank": (
        lambda c, seed: nn.share(dense, c, init="project", seed=seed),
        {"color": "C0", "marker": "o"},
    ),
    "pruned at random": (
        lambda c, seed: nn.prune(dense, "random", c, seed=seed),
        {"color": "C1", "marker": "D", "linestyle": (0, (5, 1.5))},
    ),
    "pruned by magnitude": (
        lambda c, seed: nn.prune(dense, "magnitude", c),
        {"color": "C2", "marker": "s", "linestyle": (0, (1, 1.2))},
    ),
}


def accuracy(model):
    with torch.no_grad():
        return float((model.eval()(images).argmax(1) == labels).double().mean())


def flat(model, names):
    """The weights of these names, in a row."""
    modules = [model.get_submodule(name.removesuffix(".weight")) for name in names]
    return torch.cat([module.weight.detach().ravel() for module in modules]).double().numpy()


(group,) = nn.plan(dense, 10).groups
names = [weight.name for weight in group.weights]
w = flat(dense, names)
scale_of = {row.name: row.scale for row in nn.report(nn.share(dense, 10, init="project")).rows}
scales = np.concatenate([np.full(dense.get_parameter(name).numel(), scale_of[name]) for name in names])


def predicted_loss(compression):
    """Share of the energy that the nearest bank leaves, in the mean over draws."""
    (group,) = nn.plan(dense, compression).groups
    return expected_linear_residual(Fold(w.size, group.m, 0), np.ones(w.size), w, scales) / (w @ w)


energy, once = {}, {}
for name, (compress, _) in AT_ONCE.items():
    models = [[compress(c, seed) for seed in range(DRAWS)] for c in COMPRESSIONS]
    energy[name] = np.array([np.mean([np.square(flat(m, names) - w).sum() for m in row]) for row in models])
    energy[name] /= w @ w
    once[name] = np.array([np.mean([accuracy(m) for m in row]) for row in models])
predicted = {
    "nearest bank": np.array([predicted_loss(c) for c in COMPRESSIONS]),
    "pruned at random": 1 - 1 / np.array(COMPRESSIONS),
}
after = {method: fits[method, 0].result.test_accuracy for method in METHODS}

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.4), layout="constrained")
for name, (_, style) in AT_ONCE.items():
    if name in predicted:
        left.plot(COMPRESSIONS, 100 * predicted[name], **(style | {"marker": ""}))
    left.plot(COMPRESSIONS, 100 * energy[name], markersize=5, **(style | {"linestyle": ""}))
    right.plot(COMPRESSIONS, 100 * once[name], markersize=5, label=name, **style)
right.axhline(100 * after["dense"], color="#1a1d21", linewidth=0.8, linestyle=":")
for method in ("stable-rps", "random"):
    look = METHODS[method][1] | {"linestyle": "", "markersize": 9, "markerfacecolor": "none"}
    right.plot(10, 100 * after[method], label=f"{method}, trained", **look)
for axes in (left, right):
    axes.set_xscale("log")
    axes.set_xticks([1, 1.5, 2, 3, 5, 10])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("compression n/m")
    axes.set_ylim(0, 100)
left.set_ylabel("energy of the weights that is lost, %")
left.set_title("lines: predicted; markers: measured")
right.set_ylabel("test accuracy, %")
right.set_title("not trained again (dotted: dense)")
right.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# ## Checked

# %%
assert {v.status for v in verdicts} == {"confirmed"}
assert len(verdicts) >= 40
for seed in SEEDS:
    budgets = {method: fits[method, seed].result.budget for method in METHODS}
    assert budgets["stable-rps"]["params"] == budgets["random"]["params"]
    assert budgets["stable-rps"]["bytes"] < budgets["random"]["bytes"] < budgets["dense"]["bytes"]
    assert budgets["stable-rps"]["flops"] == budgets["dense"]["flops"]
    assert fits["stable-rps", seed].result.test_accuracy > 0.5
assert (energy["pruned by magnitude"] < energy["nearest bank"]).all()
assert (predicted["nearest bank"] < predicted["pruned at random"]).all()
assert np.abs(energy["pruned at random"] - predicted["pruned at random"]).max() < 0.02
assert abs(energy["nearest bank"][-1] - predicted["nearest bank"][-1]) < 0.02
assert max(values[-1] for values in once.values()) < 0.5 < after["stable-rps"] < after["dense"]

# %% [markdown]
# **Conclusion.** Every prediction about the trained shared network was confirmed, at as many parameters as
# pruning and fewer bytes; what a trained network loses when it is compressed as it is was predicted too, and
# at a tenth it is too much for each of three methods, which leave less than half of the images right, where a
# bank that was trained gets more than half and the dense network more still.
