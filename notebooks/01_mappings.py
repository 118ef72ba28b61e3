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
# # 01 · What fold, ROAST and hashing do to a matrix
#
# *Takes 10 s on one core.* Pictures of the cell that each weight reads, of the matrix $S$, of a matrix that
# went through it and back, and of how many weights each cell carries.
#
# A mapping gives weight $i$ of $n$ a cell among $m$ and a sign in {−1, 0, +1}; $S_{cell(i),\,i} = sign(i)$.
# `compress` is $z = Sx$, `expand` its adjoint $w = S^\top z$ ([notation](../docs/notation.md)).

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.ticker import MaxNLocator
from sklearn.datasets import load_digits

from rpstheory import Block, Fold, Hashed, KeepExact, compress, expand, inner_product_variance, load

plt.style.use("house.mplstyle")
SMALL = "RPS_SMALL" in os.environ  # the tests' setting: fewer draws, the same checks
DRAWS = 100 if SMALL else 2000

# %% [markdown]
# ## Which cell a weight reads
#
# The matrix has 64 × 64 weights, row by row, and 512 cells stand for them: $n/m = 8$. Put a matrix of your
# own here.

# %%
digits = load_digits().data
W = digits.T @ digits / len(digits)  # second moments of the pixels
n, m = W.size, W.size // 8
KINDS = {
    "fold": lambda n, m, seed: Fold(n, m, seed),
    "ROAST, 8 × 8 tiles": lambda n, m, seed: Block(n, m, seed, block=(8, 8), shape=W.shape),
    "hashed": lambda n, m, seed: Hashed(n, m, seed),
    "pruned at random": lambda n, m, seed: KeepExact(n, m, seed),
}

figure, panels = plt.subplots(1, 4, figsize=(9.2, 2.7), layout="constrained", sharey=True)
place = np.arange(n)
for axes, (name, make) in zip(panels, KINDS.items(), strict=True):
    mapping = make(n, m, 0)
    cells = np.where(mapping.sign(place) == 0, np.nan, mapping.cell(place) / mapping.cells * m)
    image = axes.imshow(cells.reshape(W.shape), cmap="twilight", vmin=0, vmax=m, interpolation="nearest")
    axes.set_title(name)
    axes.set_xlabel("column")
    axes.set_xticks([0, 32, 63])
panels[0].set_ylabel("row")
panels[0].set_yticks([0, 32, 63])
figure.colorbar(image, ax=panels, label="cell (pruned: place)", ticks=[0, m // 2, m], shrink=0.8)
plt.show()

# %% [markdown]
# Fold lays $m$ consecutive weights, eight rows, into the bank as they are, rotated by a shift of their own
# (the colours are a ring, as the cells are). ROAST lays tiles, each from a start where it fits without
# wrapping. Hashing scatters, and pruning leaves a weight where it is or drops it (white).
#
# ## The matrix S

# %%
few, cells = 96, 24
SHOWN = {
    "fold: a rotated identity for each lap": Fold(few, cells, 1),
    "ROAST, blocks of 8": Block(few, cells, 1, block=8),
    "hashed": Hashed(few, cells, 1),
    "pruned to m at random: its rows that are not empty": KeepExact(few, cells, 1),
}
figure, panels = plt.subplots(4, 1, figsize=(7.0, 8.4), layout="constrained", sharex=True)
signs = ListedColormap(["#b84a00", "#fefefe", "#0b62ae"])
for axes, (name, mapping) in zip(panels, SHOWN.items(), strict=True):
    S = compress(mapping, np.eye(few, dtype=int)).T
    if mapping.cells > cells:
        S = S[S.any(axis=1)]
    axes.imshow(S, cmap=signs, vmin=-1, vmax=1, aspect="equal", interpolation="nearest")
    for lap in range(cells, few, cells):
        axes.axvline(lap - 0.5, color="#59636e", linewidth=0.6, linestyle=(0, (2, 2)))
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    axes.set_title(name)
    axes.set_ylabel("cell")
panels[-1].set_xlabel("weight (blue +1, orange −1; dashed: laps of m weights)")
plt.show()

# %% [markdown]
# ## There and back
#
# $\hat w = S^\top S w$ (for pruning times $n/m$) has mean $w$ over draws
# ([claim 1](../docs/claims.md#1-products-are-right-on-average)). Its variance at weight $i$ is that of the
# product $\langle Sw, Se_i\rangle$, $e_i$ the unit vector
# ([claims 2](../docs/claims.md#2-the-variance-of-a-product-for-fixed-vectors) and
# [4](../docs/claims.md#4-the-variance-of-random-pruning)).

# %%
w = W.ravel()
diagonal = np.flatnonzero(
    np.eye(len(W)).ravel() * w
)  # the weights whose variance is looked at: some pixels are 0
units = np.zeros((len(diagonal), n))
units[np.arange(len(diagonal)), diagonal] = 1

once, mean, off, predicted, bias = {}, {}, {}, {}, {}
for name, make in KINDS.items():
    total, squares = np.zeros(n), []
    for seed in range(DRAWS):
        mapping = make(n, m, seed)
        back = expand(mapping, compress(mapping, w)) * float(mapping.rescale)
        total += back
        squares.append(np.mean((back - w)[diagonal] ** 2))
        once.setdefault(name, back)
    variance = inner_product_variance(mapping, w, units)
    mean[name], off[name], predicted[name] = total / DRAWS, np.array(squares), variance.mean()
    bias[name] = (mean[name] - w)[diagonal] / np.sqrt(variance / DRAWS)

figure, panels = plt.subplots(2, 5, figsize=(9.2, 3.9), layout="constrained", sharex=True, sharey=True)
largest = w.max()
for row, (title, images) in enumerate({"one draw": once, f"mean of {DRAWS:,} draws": mean}.items()):
    for axes, (name, image) in zip(panels[row], {"the matrix W": w, **images}.items(), strict=True):
        drawn = axes.imshow(image.reshape(W.shape), cmap="PuOr", vmin=-largest, vmax=largest)
        axes.set_title(name if row == 0 else "")
        axes.set_xticks([0, 63])
        axes.set_yticks([0, 63])
    panels[row][0].set_ylabel(f"{title}\nrow")
for axes in panels[1]:
    axes.set_xlabel("column")
figure.colorbar(drawn, ax=panels, label="weight (grey levels squared)", shrink=0.7, extend="both")
plt.show()

# %%
print(f"{'mean squared error on the diagonal':38s} predicted   measured")
for name in KINDS:
    error = off[name].std() / np.sqrt(DRAWS)
    print(f"{name:38s} {predicted[name]:9,.0f}  {off[name].mean():9,.0f} ± {2 * error:,.0f}")

# %% [markdown]
# ## How many weights a cell carries
#
# Fold carries $n/m$ in every cell and every draw, and at 1x loses nothing
# ([claims 9](../docs/claims.md#9-every-cell-carries-the-same-number-of-weights) and
# [8](../docs/claims.md#8-at-1x-nothing-is-lost)); hashing leaves $(1 - 1/m)^n$ of the bank unused, 36.8 % at
# 1x.

# %%
figure, panels = plt.subplots(1, 2, figsize=(9.2, 2.9), layout="constrained", sharey=True)
loads = {}
for axes, budget in zip(panels, (m, n), strict=True):
    for number, (name, make) in enumerate(list(KINDS.items())[:3]):
        loads[name, budget] = np.array([load(make(n, budget, seed)) for seed in range(20)])
        share = np.bincount(loads[name, budget].ravel()) / loads[name, budget].size
        seen = np.flatnonzero(share > 5e-4)
        style = {"color": f"C{(0, 4, 3)[number]}", "hatch": ("", "///", "...")[number]}
        axes.bar(
            seen + 0.28 * (0, -1, 1)[number],
            share[seen],
            0.26,
            fill=number == 0,
            label=name,
            edgecolor=style["color"],
            **style,
        )
    axes.set_title(f"n/m = {n // budget}")
    axes.set_xlabel("weights in a cell")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
panels[0].set_ylabel("share of the cells")
panels[1].legend()
plt.show()

# %% [markdown]
# ## Checked

# %%
fold, tiles, hashed = list(KINDS)[:3]
assert (loads[fold, m] == n // m).all()  # in every draw
assert (loads[fold, n] == 1).all()
for name in (tiles, hashed):
    assert loads[name, m].min() < n // m < loads[name, m].max()
    assert loads[name, n].min() == 0
unused = (loads[hashed, n] == 0).mean(axis=1)
assert abs(unused.mean() - (1 - 1 / n) ** n) < 5 * unused.std() / np.sqrt(len(unused))

laps = place.reshape(-1, m)  # two weights of one lap never meet
assert all(len(set(Fold(n, m, seed).cell(lap))) == m for seed in range(20) for lap in laps)
for name in KINDS:  # by five standard errors
    assert np.abs(bias[name]).max() < 5
    assert abs(off[name].mean() - predicted[name]) < 5 * off[name].std() / np.sqrt(DRAWS)
assert predicted[fold] < predicted[hashed]

# %% [markdown]
# **Conclusion.** On average over draws fold, ROAST, hashing and rescaled pruning all give the matrix back,
# with the predicted variance; only fold gives every cell exactly $n/m$ weights and never lets two weights of
# one lap meet, whereas ROAST and hashing overload some cells and leave others unused, at 1x too.
