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
# # 03 · Where sharing wins and loses
#
# *Takes 7 s on one core.* Four ways to be on the wrong side: tails that are too light, a ragged last lap,
# signal where the variance is not, and a rival that knows the weights. Each is a curve between a region where
# fold is better than pruning at the same budget and one where it is worse.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.ticker import FuncFormatter, NullFormatter

from rpstheory import (
    Fold,
    KeepExact,
    Top,
    expected_linear_residual,
    expected_variance,
    mean_squared_error,
    norm_variance,
)
from rpstheory.distributions import Independent, Pairs, kurtosis

plt.style.use("house.mplstyle")
SMALL = "RPS_SMALL" in os.environ  # the tests' setting: coarser grids, fewer vectors, the same checks

# From "pruning is far better" over a tie to "sharing is far better", in doublings of the ratio.
BALANCE = ["#b35806", "#dd8432", "#f3b678", "#fbe3c8", "#d9e8f5", "#9fc8e6", "#5a9fd0", "#1f6bab"]
STEPS = [-60, -2, -1, -0.5, 0, 0.5, 1, 2, 60]


def paint(axes, x, y, ratio):
    """Areas by the ratio, and a line where it is 1."""
    doublings = np.log2(ratio).clip(-59, 59).round(9)
    axes.contourf(x, y, doublings, levels=STEPS, colors=BALANCE)
    axes.contour(x, y, doublings, levels=[0], colors="#1a1d21", linewidths=1.6)


def key(figure, panels, label):
    """What the colours mean."""
    scale = ScalarMappable(BoundaryNorm(range(9), 8), ListedColormap(BALANCE))
    bar = figure.colorbar(scale, ax=panels, location="bottom", aspect=55, shrink=0.75, pad=0.03, label=label)
    bar.set_ticks(range(1, 8), labels=["¼", "½", "0.71", "1", "1.41", "2", "4"])
    bar.outline.set_visible(False)


def in_words(axis, values):
    """Ticks of a logarithmic axis, written out."""
    axis.set_ticks(values)
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_formatter(NullFormatter())


# %% [markdown]
# ## Light tails
#
# Entries $(x_i, y_i)$ i.i.d., $y = cx + \sqrt{1-c^2}\,x'$ with $x'$ a copy of $x$, of raw kurtosis $\kappa$.
# The mean variance of exact pruning over that of fold is
# ([claim 6](../docs/claims.md#6-over-data-where-sharing-beats-random-pruning))
# $$ \frac{\gamma - \beta}{\rho\,(\alpha + \beta)},\quad
# \alpha = 1,\ \beta = c^2,\ \gamma = c^2\kappa + 1 - c^2, $$
# with $\rho = D / (n(n-m))$ the raggedness, 1 iff $m$ divides $n$.


# %%
def raggedness(n, m):
    """rho: ordered pairs in different laps over n (n - m)."""
    laps = [m] * (n // m) + [n % m]
    return (n * n - sum(size * size for size in laps)) / (n * (n - m))


def ratio_of(kappa, c, rho):
    """Mean variance of exact pruning over that of fold."""
    return (c**2 * kappa + 1 - 2 * c**2) / (rho * (1 + c**2))


SIZES = [(64, 16), (64, 24), (64, 48)]
kappas, correlations = np.geomspace(1.01, 12, 80), np.linspace(0.01, 1, 80)
figure, panels = plt.subplots(1, 3, figsize=(9.2, 3.6), layout="constrained", sharey=True)
for axes, (n, m) in zip(panels, SIZES, strict=True):
    rho = raggedness(n, m)
    paint(axes, kappas, correlations, ratio_of(kappas, correlations[:, None], rho))
    axes.set_xscale("log")
    in_words(axes.xaxis, [2, 3, 6, 12])
    for family in ("uniform", "gaussian", "laplace"):
        axes.axvline(kurtosis(family), color="#1a1d21", linewidth=0.6, linestyle=(0, (1, 2)))
        if axes is panels[0]:
            axes.text(kurtosis(family), 0.03, family, rotation=90, fontsize=7.5, ha="right", va="bottom")
    axes.set_title(f"n = {n}, m = {m}: " + ("m divides n" if rho == 1 else f"ragged, ρ = {rho:.3g}"))
    axes.set_xlabel("raw kurtosis E x⁴ / (E x²)²")
panels[0].set_ylabel("correlation c of x and y")
key(figure, panels, "variance of pruning ÷ variance of fold (above 1: share)")

# %% [markdown]
# For norms ($c = 1$) the threshold is kurtosis 3 where $m$ divides $n$: Gaussian data are a tie, uniform data
# favour pruning, and what is heavier favours sharing. A ragged last lap moves it to the right.
#
# ## Ragged laps
#
# For independent $x$, $y$ with equal variance profiles $s$ the paper's inequality, that pruning never has the
# smaller mean variance, is a theorem if $m$ divides $n$, and false otherwise (claim 6).

# %%
n = 96
PROFILES = {
    "all variances 1": (np.ones(n), "o", {"color": "C0"}),
    "falling as 1/i": (1 / np.arange(1, n + 1), "s", {"color": "C2"}),
    "1, …, 1, and 10 the last": (np.array([1.0] * (n - 1) + [10.0]), "D", {"color": "C1"}),
}
ms = np.arange(4, n)
figure, axes = plt.subplots(figsize=(9.2, 3.6), layout="constrained")
wins = {}
for name, (s, marker, style) in PROFILES.items():
    law = Independent(tuple(np.sqrt(s)))
    wins[name] = np.array(
        [expected_variance(KeepExact(n, m, 0), law) / expected_variance(Fold(n, m, 0), law) for m in ms]
    )
    axes.plot(ms, wins[name], linewidth=1, **style)
    whole = n % ms == 0
    axes.plot(ms[whole], wins[name][whole], marker, markersize=5, label=name, **style)
axes.axhline(1, color="#1a1d21", linewidth=1.2)
axes.set_xscale("log")
axes.set_yscale("log")
in_words(axes.xaxis, [4, 6, 8, 12, 16, 24, 32, 48, 95])
in_words(axes.yaxis, [0.125, 0.25, 0.5, 1, 2, 4, 8, 16])
axes.grid(axis="y")
axes.set_xlabel(f"m (n = {n}; dots: m divides n)")
axes.set_ylabel("variance of pruning ÷\nvariance of fold")
axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
plt.show()

# %% [markdown]
# Above $n/2$ there are two laps, and the second is short: few weights meet at all, which these are is decided
# by position, and here the one large variance is among them. `nn.plan` therefore moves the number of cells to
# where laps are whole.
#
# ## Signal where the variance is not
#
# A linear model on uncorrelated features of variance $s_i = i^{-a}$ with $w_i^2 = s_i^b$, compared by the
# loss that the best weights leave, in the mean over draws
# ([claim 12](../docs/claims.md#12-what-a-linear-model-loses-exactly-and-who-wins)): pruning
# $(1 - m/n)\sum e_i$, fold $\sum e_i\,(1 - E\,u_i/u(cell(i)))$, with $u = s$ and $e = sw^2 = s^{1+b}$. They
# are ordered alike iff $b > -1$. Where fold loses it loses little: it leaves at most $\sum e_i$, so that the
# ratio is at least $1 - m/n$.

# %%
n, m = 24, 6
GRID = 7 if SMALL else 13  # b = -1 is among them
decays, signals = np.linspace(0.02, 3, GRID), np.linspace(-3, 1, GRID)
random = np.random.default_rng(0)
ORDERS = {
    "features in order of variance": [np.arange(n)],
    "in random order": [random.permutation(n) for _ in range(2 if SMALL else 8)],
}
alignment = {
    title: np.array(
        [
            [
                expected_linear_residual(KeepExact(n, m, 0), s, s ** (b / 2))
                / np.mean([expected_linear_residual(Fold(n, m, 0), s[o], s[o] ** (b / 2)) for o in orders])
                for s in (np.arange(1.0, n + 1) ** -a for a in decays)
            ]
            for b in signals
        ]
    )
    for title, orders in ORDERS.items()
}
figure, panels = plt.subplots(1, 2, figsize=(8.2, 4.2), layout="constrained", sharey=True)
for axes, (title, ratio) in zip(panels, alignment.items(), strict=True):
    paint(axes, decays, signals, ratio)
    axes.axhline(-1, color="#1a1d21", linewidth=0.6, linestyle=(0, (1, 2)))
    axes.set_title(f"{title}, n = {n}, m = {m}")
    axes.set_xlabel("a: variances fall as i⁻ᵃ")
panels[0].set_ylabel("b: squared weights follow\nvariance to the power b")
key(figure, panels, "expected loss of pruning ÷ expected loss of fold (above 1: share)")

# %% [markdown]
# ## A rival that knows the weights
#
# Keeping the $m$ largest is biased but deterministic: of $|x|^2$ it loses $\tau$, the dropped share of the
# energy, and beats fold on $x$ iff $\tau^2 < \frac2m(1 - \sum A_p^2/|x|^4)$
# ([claim 18](../docs/claims.md#18-pruning-by-magnitude-biased-and-when-it-wins)). On i.i.d. data $\tau$ tends
# to a constant, so that fold wins for large $m$, sooner where tails are lighter. At $k = 4$ laps:

# %%
LAWS = {
    "Gaussian": (lambda shape: random.standard_normal(shape), {"color": "C0", "marker": "o"}),
    "Student t, 3 degrees": (lambda shape: random.standard_t(3, shape), {"color": "C2", "marker": "s"}),
    "lognormal(0, 2)": (lambda shape: random.lognormal(0, 2, shape), {"color": "C1", "marker": "D"}),
}
ROWS, LAPS = 100 if SMALL else 1000, 4
bank = np.array([4, 8, 16, 32, 64, 128, 256, 512][: 7 if SMALL else 8])
figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
contest = {}
for name, (draw, style) in LAWS.items():
    means = []
    for m in bank:
        rows = draw((ROWS, LAPS * m))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        top = np.mean([mean_squared_error(Top(np.abs(x), m), x, x) for x in rows])
        means.append((top, norm_variance(Fold(LAPS * m, m, 0), rows).mean()))
    contest[name] = np.divide(*np.array(means).T)
    axes.plot(bank, contest[name], label=name, markersize=5, **style)
axes.axhline(1, color="#1a1d21", linewidth=1.2)
axes.set_xscale("log", base=2)
axes.set_yscale("log")
in_words(axes.xaxis, bank)
in_words(axes.yaxis, [0.001, 0.01, 0.1, 1, 10])
axes.grid(axis="y")
axes.set_xlabel("m, cells or weights kept (n = 4 m)")
axes.set_ylabel("squared error of top ÷ that of fold\n(above 1: share)")
axes.legend()
plt.show()

# %% [markdown]
# ## Checked

# %%
for family in ("uniform", "gaussian", "laplace"):  # the ratio above is that of the closed forms
    for n, m in SIZES:
        for c in (0.5, 1.0):
            law = Pairs(n, c, family)
            exact = expected_variance(KeepExact(n, m, 0), law) / expected_variance(Fold(n, m, 0), law)
            assert np.isclose(exact, ratio_of(kurtosis(family), c, raggedness(n, m)), rtol=1e-12)
assert ratio_of(3, 1, 1) == 1
assert ratio_of(1.8, 1, 1) < 1 < ratio_of(6, 1, 1)

whole = 96 % ms == 0
for name, ratio in wins.items():
    assert (ratio[whole] >= 1 - 1e-12).all(), name  # the theorem ...
assert (wins["all variances 1"][~whole] < 1).all()  # ... and its failure
assert wins["1, …, 1, and 10 the last"].min() < 0.2
assert wins["falling as 1/i"].min() > 1  # ragged laps need not lose
laps = np.ceil(96 / ms)
assert (wins["all variances 1"] > 1 / (1 + (laps - 1 - np.sqrt(laps * (laps - 2))) ** 2)).all()

given, shuffled = alignment.values()
for ratio in (given, shuffled):
    assert (ratio[signals > -0.99] > 1).all()  # ordered alike: fold wins
    assert np.allclose(ratio[np.isclose(signals, -1)], 1)
    assert (ratio[signals < -1.01] < 1).all()  # ordered oppositely: pruning wins, ...
    assert ratio.min() >= 1 - 6 / 24  # ... by no more than that

assert contest["Gaussian"][0] < 1 < contest["Gaussian"][-1]
assert contest["Student t, 3 degrees"][0] < 1 < contest["Student t, 3 degrees"][-1]
assert (contest["lognormal(0, 2)"] < 1).all()

# %% [markdown]
# **Conclusion.** With whole laps fold never has a larger mean variance than random pruning at equal variance
# profiles and wins in the linear model whenever signal and variance are ordered alike; it loses for norms of
# data with kurtosis below 3, where the last lap is ragged, where the signal lies in the features of small
# variance, and against pruning that knows the weights while $m$ is small or tails are heavy.
