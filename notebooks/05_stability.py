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
# # 05 · Stability and the balanced bank
#
# *Takes half a minute on one core.* Where gradient descent on a shared bank stops converging, for three
# scalers and every initial standard deviation $C$ of the bank; what that does to a network under SGD and
# Adam; that at 1x sharing *is* dense training; and where the stable range no longer holds.
#
# Weights are $w_i = \lambda_i\, sign(i)\, \theta_{cell(i)}$ with $\lambda = \sigma / C$, and the gradient of
# cell $j$ is divided by $d_j$: 1 (`none`, ROAST), $v1_j = (\sum\lambda)^2/k_j$ (the authors' first code), or
# $\Gamma_j = \sum_{cell(i)=j} \lambda_i^2$ (`gamma`). What `nn.share` trains is the balanced bank
# $\varphi = \Gamma^{1/2}\theta$, where nothing is divided ([sharing](../docs/sharing.md)).

# %%
import os
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn as tnn
import torch.nn.functional as tnnf
from matplotlib.ticker import FuncFormatter, NullFormatter
from sklearn.datasets import load_digits

import nn
from rpstheory import Fold, compress, effective_scaler, expand, stability_range
from rpstheory.stability import heavy_ball_range

plt.style.use("house.mplstyle")
torch.set_num_threads(1)
SMALL = "RPS_SMALL" in os.environ  # the tests' setting: coarser grids, shorter training, the same checks
SCALERS = ("gamma", "v1", "none")


def powers_of_two(axis, values):
    """Ticks of a logarithmic axis, written out."""
    axis.set_ticks(values)
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}" if v >= 1 else f"1/{1 / v:g}"))
    axis.set_minor_formatter(NullFormatter())


# %% [markdown]
# ## The largest stable step
#
# Two modules of 300 weights with $\sigma = 1$ and $1/4$ in a bank of 120 cells, on the loss $L|w|^2/2$, the
# worst of all with an $L$-Lipschitz gradient.
# [Claim 13](../docs/claims.md#13-sharing-costs-no-stability-if-gradients-are-divided-by-gamma) gives the step
# from which on it diverges: $2/L$ under gamma, $2/(L\max_j \Gamma_j/d_j)$ in general. Colours: how much the
# loss grows in a step, measured over some steps of gradient descent on $\theta$; line: `stability_range`.

# %%
mapping = Fold(600, 120, 0)
sigma = np.repeat([1.0, 0.25], 300)
GRID = 24 if SMALL else 60
stds, steps = np.geomspace(1 / 4, 4, 9 if SMALL else 33), np.geomspace(1 / 64, 16, GRID)
start = np.random.default_rng(0).standard_normal(mapping.m)


def growth(scales, divisor, rates, count=40):
    """Geometric mean factor of the loss |w|²/2 in one of the last ``count`` steps, for each rate."""
    theta = np.tile(start, (len(rates), 1))
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(2 * count):
            if step == count:
                before = np.square(scales * expand(mapping, theta)).sum(axis=1)
            gradient = compress(mapping, scales * (scales * expand(mapping, theta)))
            theta = theta - rates[:, None] * gradient / divisor
        after = np.square(scales * expand(mapping, theta)).sum(axis=1)
    return (after / before) ** (1 / count)


figure, panels = plt.subplots(1, 3, figsize=(9.2, 3.6), layout="constrained", sharey=True)
factor, limit = {}, {}
for axes, scaler in zip(panels, SCALERS, strict=True):
    divisors = [effective_scaler(mapping, sigma / std, scaler) for std in stds]
    factor[scaler] = np.array(
        [growth(sigma / std, divisor, steps) for std, divisor in zip(stds, divisors, strict=True)]
    ).T
    limit[scaler] = np.array([stability_range(mapping, sigma / std, 1.0, scaler)[1] for std in stds])
    doublings = np.log2(factor[scaler].clip(1e-9, 1e9))
    image = axes.pcolormesh(
        stds, steps, doublings.clip(-4, 4), cmap="PuOr_r", vmin=-4, vmax=4, rasterized=True
    )
    axes.plot(stds, limit[scaler], color="#1a1d21", linewidth=1.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    powers_of_two(axes.xaxis, [1 / 4, 1, 4])
    powers_of_two(axes.yaxis, [1 / 64, 1 / 16, 1 / 4, 1, 2, 4, 16])
    axes.set_title(f"scaler {scaler}")
    axes.set_xlabel("C, initial deviation of the bank")
panels[0].set_ylabel("learning rate × L")
figure.colorbar(image, ax=panels, label="doublings of the loss in a step", ticks=range(-4, 5, 2), shrink=0.85)
plt.show()

# %% [markdown]
# Under gamma and v1 nothing depends on $C$
# ([claim 14](../docs/claims.md#14-the-banks-own-scale-does-not-matter)). v1 pays where modules of different
# scale share a cell; without a scaler the range goes as $C^2$.
#
# ## A network
#
# An MLP on the digits, shared 10x, with the same batches. `init_std` is $C$.

# %%
images, labels = load_digits(return_X_y=True)
images, labels = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
train, test = slice(0, 1437), slice(1437, None)


def network():
    torch.manual_seed(0)
    return tnn.Sequential(
        tnn.Linear(64, 128), tnn.ReLU(), tnn.Linear(128, 128), tnn.ReLU(), tnn.Linear(128, 10)
    )


def trained(model, make_optimizer, count=30 if SMALL else 150):
    """The model after some steps on 128 images each."""
    optimizer = make_optimizer(model.parameters())
    random = torch.Generator().manual_seed(0)
    for _ in range(count):
        rows = torch.randint(1437, (128,), generator=random)
        optimizer.zero_grad()
        tnnf.cross_entropy(model(images[train][rows]), labels[train][rows]).backward()
        optimizer.step()
    return model


def accuracy(model):
    with torch.no_grad():
        return float((model(images[test]).argmax(1) == labels[test]).double().mean())


def weights(dense):
    return torch.cat([value.detach().ravel() for value in dense.parameters()])


RULES = {
    "SGD, rate 0.1, momentum 0.9": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "Adam, rate 0.003": lambda p: torch.optim.Adam(p, lr=0.003),
}
C = 2.0 ** np.arange(-6, 7, 6 if SMALL else 1)
LOOKS = {
    "gamma": {"color": "C0", "marker": "o", "markersize": 8, "linewidth": 3},
    "v1": {
        "color": "C2",
        "marker": "s",
        "markersize": 4,
        "linestyle": (0, (5, 1.5)),
        "markerfacecolor": "white",
    },
    "none": {"color": "C1", "marker": "D", "markersize": 5, "linestyle": (0, (2.5, 1.2))},
}
figure, panels = plt.subplots(1, 2, figsize=(9.2, 3.3), layout="constrained", sharey=True)
found, ends = {}, {}
for axes, (rule, optimizer) in zip(panels, RULES.items(), strict=True):
    for scaler in SCALERS:
        models = [
            trained(nn.share(network(), 10, scaler=scaler, init_std=std, include="*weight"), optimizer)
            for std in C
        ]
        found[rule, scaler] = np.array([accuracy(model) for model in models])
        ends[rule, scaler] = [weights(nn.to_dense(model)) for model in models]
        axes.plot(C, 100 * found[rule, scaler], label=scaler, **LOOKS[scaler])
    axes.set_xscale("log", base=2)
    powers_of_two(axes.xaxis, 2.0 ** np.arange(-6, 7, 2))
    axes.axhline(10, color="#59636e", linewidth=0.6, linestyle=(0, (1, 2)))
    axes.text(C[-1], 10.5, "guessing", ha="right", va="bottom", fontsize=7.5)
    axes.set_title(rule)
    axes.set_xlabel("C, initial standard deviation of the bank")
panels[0].set_ylabel("test accuracy, %")
panels[0].set_ylim(0, 100)
panels[1].legend(title="scaler", loc="center left")
plt.show()

# %% [markdown]
# The weights at the end are the same *bits* for every power of two, under SGD and under Adam. A scaler that
# divides the gradient of $\theta$ would do nothing for Adam, whose steps do not change with the scale of its
# gradient: it is the balanced bank that makes Adam indifferent to $C$. Without a scaler $C$ is a second
# learning rate: at a lucky $C$ the network is better than the others at this rate and length, at the wrong
# one it diverges or stands still.
#
# ## At 1x it is dense training
#
# With one weight in each cell $\varphi$ is the weights in another order and with signs, and rules that act on
# each coordinate by an odd function do not notice
# ([claim 15](../docs/claims.md#15-at-1x-fold-is-ordinary-training)).

# %%
apart = {}
for rule, optimizer in RULES.items():
    shared = nn.share(network(), 1, include="*weight")
    dense = trained(nn.to_dense(shared), optimizer)
    apart[rule] = float((weights(nn.to_dense(trained(shared, optimizer))) - weights(dense)).abs().max())
    print(f"{rule}: weights of the shared and the dense model differ by at most {apart[rule]:g}")

# %% [markdown]
# ## Outside the scope: momentum beyond quadratics
#
# With momentum $\mu$ the range $(0, 2(1+\mu)/L)$ is that of *quadratic* losses. On a strongly convex loss of
# one weight with curvature 1 or 25, heavy ball at $\mu = 4/9$ and step $1/9$, inside that range, cycles for
# ever (Lessard, Recht & Packard 2016). The range $2(1-\mu)/L$ holds for every smooth loss.

# %%
MU, L = Fraction(4, 9), 25
one_weight = Fold(1, 1, 0)
quadratic_end = stability_range(one_weight, [1], L, momentum=MU)[1]
safe_end = heavy_ball_range(one_weight, [1], L, momentum=MU)[1]


def slope(x):
    """Of a loss with curvature 25, 1 and 25 on (-∞, 1), (1, 2) and (2, ∞), least at 0."""
    return 25 * x if x < 1 else x + 24 if x < 2 else 25 * x - 24


def heavy_ball(gradient, step, count=120):
    path = [3.3, 3.3]
    for _ in range(count):
        path.append(path[-1] - step * gradient(path[-1]) + float(MU) * (path[-1] - path[-2]))
    return np.array(path[1:])


PATHS = {
    "quadratic, curvature 25, step 1/9": (heavy_ball(lambda x: 25 * x, 1 / 9), "C0", "-"),
    "curvature 1 or 25, step 1/9: cycles": (heavy_ball(slope, 1 / 9), "C1", "-"),
    "curvature 1 or 25, step 2(1 − μ)/L": (heavy_ball(slope, float(safe_end)), "C2", (0, (5, 1.5))),
}
figure, axes = plt.subplots(figsize=(7.4, 3.0), layout="constrained")
for name, (path, color, line) in PATHS.items():
    axes.plot(path[:60], color=color, linestyle=line, label=name, linewidth=1.2)
axes.axhline(0, color="#1a1d21", linewidth=0.7)
axes.set_xlabel("step of heavy ball, μ = 4/9")
axes.set_ylabel("weight (least loss at 0)")
axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(-0.05, 1), fontsize=7.5)
plt.show()

# %% [markdown]
# ## Checked

# %%
for scaler in SCALERS:  # the loss shrinks below the line and grows above it
    below, above = steps[:, None] * 1.001 < limit[scaler], steps[:, None] > limit[scaler] * 1.001
    assert (factor[scaler][below] < 1).all()
    assert (factor[scaler][above] > 1).all()
assert np.allclose(limit["gamma"], 2, rtol=1e-12)
assert np.allclose(limit["v1"], limit["v1"][0], rtol=1e-12)
assert limit["v1"][0] < 2
assert np.allclose(limit["none"], limit["none"][0] * (stds / stds[0]) ** 2, rtol=1e-12)

for rule in RULES:
    for scaler in ("gamma", "v1"):
        assert all(torch.equal(end, ends[rule, scaler][0]) for end in ends[rule, scaler]), (rule, scaler)
    assert found[rule, "none"].min() < found[rule, "gamma"].min() - 0.15
    assert SMALL or found[rule, "none"].max() > found[rule, "gamma"].max()
    assert apart[rule] == 0

assert Fraction(1, 9) < quadratic_end
assert np.abs(PATHS["quadratic, curvature 25, step 1/9"][0][-1]) < 1e-3
assert np.abs(PATHS["curvature 1 or 25, step 2(1 − μ)/L"][0][-1]) < 1e-3
cycling = PATHS["curvature 1 or 25, step 1/9: cycles"][0][-30:]
assert np.allclose(cycling[3:], cycling[:-3], atol=1e-9)
assert np.isclose(cycling.max(), 2592 / 1225)

# %% [markdown]
# **Conclusion.** Divided by $\Gamma$ the largest stable step is $2/L$ for every $C$, and networks end in the
# same bits whatever the power of two, under SGD and Adam, at 1x in those of dense training; without a scaler
# the step goes as $C^2$ and networks fail at the wrong $C$; with momentum the range is that of quadratic
# losses, and beyond them it can fail.
