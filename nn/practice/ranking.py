r"""Does the theory rank methods as training does? Predicted noise beside the accuracy of finished runs.

Runs of one model, on the same data and with the same recipe but for its rate, which each method may have of
its own, are put beside the noise that their banks, masks and widths put into one reference network
(:mod:`nn.advice.noise`): the dense run, if it is among them, else the network with its initial weights. Only
methods at the same budget are compared, since more compression is worse for all. A *cell* is a method at a
budget, at the rate of those that were run at which it does best; its accuracy is the mean over seeds.

Counted are pairs of cells at equal budget in which less noise does not go with higher accuracy, ties as half
a pair; Kendall's tau is 1 minus twice their share. What so few cells can say is the exact interval of the
expected share under Mallows' model, in which an order is the less likely the more pairs are wrong, and of
which random order is one case. So the interval holds 1/2 just if a random order, two-sided, may be as good.
Where there are several seeds, training is ranked against itself, one seed against another: how far single
runs agree. Means over seeds agree with a true order better than single runs with each other.

Source: Mallows, Biometrika 44 (1957), 114-130; limits by turning tests round, as those of Clopper and
Pearson.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import combinations
from math import ceil, floor
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import torch

from nn.advice.choices import noise_of_banks
from nn.advice.inputs import layers_of
from nn.advice.noise import Judged, Noise, judged, of_keeping, of_narrowing, of_weights, total
from nn.advice.trained import plain
from nn.evaluation import recipe_in
from nn.methods import planned
from nn.models.registry import build
from nn.planning import survey
from nn.practice.occupancy import Fact
from nn.practice.part import Part
from nn.pruning import masks_of
from nn.sharing import banks_of
from rpstheory.claim import Check, Claim, Status, Verdict
from rpstheory.report.figures.style import BLUE, INK, MUTED, ORANGE, RULE, blank, styled, ticks_in_words
from rpstheory.report.gallery import Plate

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from nn.advice.trained import Trained

    Array = NDArray[np.float64]

FEW = 5  # methods at one budget: of fewer not even a perfect order is told from a random one
WRONG = 1 / 3  # share of pairs up to which it is a ranking still: tau = 1/3
TAIL = 0.025  # on either side of the interval
STEEPEST = 60.0  # of log q in Mallows' model
PATCHES = 256
APART = 0.055  # of the range of accuracies, between two names at least
TICKS = [figure * 10.0**power for power in range(-3, 7) for figure in (1, 3)]


@dataclass(frozen=True)
class Cell:
    """A method at a budget.

    Attributes:
        budget: Compressible weights over those stored.
        method: With its options.
        shares: Whether it shares weights.
        noise: That it puts into the reference, mean over seeds.
        accuracies: By seed.
    """

    budget: float
    method: str
    shares: bool
    noise: float
    accuracies: dict[int, float]

    @property
    def accuracy(self) -> float:
        """Mean over seeds."""
        return float(np.mean(list(self.accuracies.values())))


@dataclass(frozen=True, eq=False)
class Ranking:
    """Cells that can be compared.

    Attributes:
        what: Model, data and recipe, in words.
        reference: Whose weights the noise is put into.
        cells: At budgets where there are enough of them.
    """

    what: str
    reference: str
    cells: tuple[Cell, ...]

    @cached_property
    def pairs(self) -> NDArray[np.int64]:
        """Pairs of cells at equal budget, (pairs, 2)."""
        budgets = [cell.budget for cell in self.cells]
        return np.array([(i, j) for j in range(len(budgets)) for i in range(j) if budgets[i] == budgets[j]])

    @cached_property
    def strata(self) -> list[NDArray[np.int64]]:
        """The cells of each budget."""
        budgets = np.array([cell.budget for cell in self.cells])
        return [np.flatnonzero(budgets == budget) for budget in dict.fromkeys(budgets.tolist())]

    @property
    def budgets(self) -> list[str]:
        """In words."""
        return [f"{self.cells[own[0]].budget:g}x" for own in self.strata]

    @property
    def noise(self) -> Array:
        """Of each cell."""
        return np.array([cell.noise for cell in self.cells])

    @property
    def accuracy(self) -> Array:
        """Of each cell."""
        return np.array([cell.accuracy for cell in self.cells])

    @cached_property
    def wrong(self) -> float:
        """Pairs in which less noise does not go with higher accuracy; ties count half."""
        return wrong(self.pairs, -self.noise, self.accuracy)

    @property
    def tau(self) -> float:
        """Rank correlation of less noise with higher accuracy."""
        return 1 - 2 * self.wrong / len(self.pairs)

    @cached_property
    def chances(self) -> Array:
        """Of 0, 1, … wrong pairs, in random orders."""
        return chances([len(own) for own in self.strata])

    def limits(self, count: float) -> tuple[float, float]:
        """The 95 % interval of the expected share of wrong pairs, where so many were seen."""
        return limits(count, self.chances)

    @property
    def interval(self) -> tuple[float, float]:
        """Of tau."""
        low, high = self.limits(self.wrong)
        return 1 - 2 * high, 1 - 2 * low

    @property
    def chance(self) -> float:
        """How often a random order is as good."""
        return float(self.chances[: floor(self.wrong) + 1].sum())

    @cached_property
    def itself(self) -> float | None:
        """Mean rank correlation of the accuracies of one seed with those of another; None for one seed."""
        found = []
        for one, other in combinations(sorted({s for cell in self.cells for s in cell.accuracies}), 2):
            both = [k for k, c in enumerate(self.cells) if {one, other} <= set(c.accuracies)]
            inside = self.pairs[np.isin(self.pairs, both).all(axis=1)]
            x, y = (np.array([c.accuracies.get(seed, np.nan) for c in self.cells]) for seed in (one, other))
            if len(inside):
                found.append(1 - 2 * wrong(inside, x, y) / len(inside))
        return float(np.mean(found)) if found else None

    @property
    def finding(self) -> str:
        """What came out, in words."""
        low, high = self.interval
        if low > 0:
            words = "Less noise goes with higher accuracy, more often than by chance"
        elif high < 0:
            words = "Less noise goes with LOWER accuracy: the theory ranks the methods the wrong way round"
        else:
            words = "That less noise goes with higher accuracy, or with lower, is not shown"
        found = [
            f"{words}.",
            f"{self.what}: tau = {self.tau:.2f}, 95 % interval {low:.2f} to {high:.2f} (Mallows' model),",
            f"over {len(self.cells)} cells at {', '.join(self.budgets)};",
            f"a random order does as well with a chance of {self.chance:.2g}.",
            f"Noise is that put into {self.reference}.",
        ]
        if self.itself is not None:
            found.append(f"One seed orders the methods as another does with tau = {self.itself:.2f}.")
        return " ".join(found)


def wrong(pairs: NDArray[np.int64], x: Array, y: Array) -> float:
    """How many of given pairs ``x`` (n,) and ``y`` (n,) order differently; a tie in either counts half.

    Args:
        pairs: (pairs, 2).
        x: One number each.
        y: The others.
    """
    return float((1 - _order(x, pairs) * _order(y, pairs)).sum() / 2)


def _order(x: Array, pairs: NDArray[np.int64]) -> Array:
    i, j = pairs.T
    return (x[i] > x[j]) * 1.0 - (x[i] < x[j])


def chances(sizes: Sequence[int]) -> Array:
    """The chances of 0, 1, … wrong pairs in random orders of so many things each."""
    found = np.ones(1)
    for size in sizes:
        for place in range(2, size + 1):
            found = np.convolve(found, np.full(place, 1 / place))
    return found


def limits(count: float, even: Array) -> tuple[float, float]:
    """The 95 % interval of the expected share of wrong pairs, where so many were seen; halves are outwards.

    Args:
        count: Of wrong pairs.
        even: Chances in random orders, of Mallows' model with q = 1; with another q they go as q^pairs.
    """
    pairs, least, most = np.arange(len(even)), floor(count), ceil(count)

    def tilted(slope: float) -> Array:
        found = np.log(even) + slope * pairs
        found = np.exp(found - found.max())
        return found / found.sum()

    def share(excess: Callable[[float], float]) -> float:
        from scipy.optimize import brentq

        return float(tilted(brentq(excess, -STEEPEST, STEEPEST)) @ pairs / pairs[-1])

    low = 0.0 if least == 0 else share(lambda slope: tilted(slope)[least:].sum() - TAIL)
    high = 1.0 if most == pairs[-1] else share(lambda slope: TAIL - tilted(slope)[: most + 1].sum())
    return low, high


# ------------------------------------------------------------------------------------------ cells


def rankings(networks: Sequence[Trained]) -> list[Ranking]:
    """One for each model, data and recipe of which there are enough methods at one budget."""
    groups: dict[str, list[Trained]] = {}
    for network in networks:
        how = network.record.configuration
        recipe = how["recipe"] | {"lr": None}
        key = json.dumps([how["data"], how["held_out"], how["model"], recipe], sort_keys=True)
        groups.setdefault(key, []).append(network)
    return [found for group in groups.values() if (found := _ranking(group)).cells]


def _ranking(group: Sequence[Trained]) -> Ranking:
    how, first = group[0].record.configuration, group[0]
    name, tensors = _reference(group)
    known: dict[tuple[float, str], list[Trained]] = {}
    for network in group:
        own = network.record.configuration
        if own["method"] != "dense":
            options = " ".join(f"{key}={value}" for key, value in sorted(own["options"].items()))
            key = float(own["compression"]), f"{own['method']} {options}".strip()
            known.setdefault(key, []).append(network)
    cells = [
        Cell(
            budget,
            method,
            bool(banks_of(runs[0].model)),
            float(np.mean([total(_noise(run, tensors)) for run in runs])),
            {run.seed: _accuracy(run) for run in runs},
        )
        for (budget, method), runs in ((key, _tuned(own)) for key, own in sorted(known.items()))
    ]
    budgets = [cell.budget for cell in cells]
    recipe = recipe_in(first.record)
    return Ranking(
        f"{how['model']} on {first.source.train.dataset.name}, {recipe.name}, {recipe.epochs} epochs",
        name,
        tuple(cell for cell in cells if budgets.count(cell.budget) >= FEW),
    )


def _accuracy(run: Trained) -> float:
    return float(run.record.result["test_accuracy"])


def _tuned(runs: Sequence[Trained]) -> list[Trained]:
    """Those at the rate with the highest mean accuracy; of several such the lowest."""
    rates: dict[float, list[Trained]] = {}
    for run in runs:
        rates.setdefault(run.record.configuration["recipe"]["lr"], []).append(run)
    return max((own for _, own in sorted(rates.items())), key=lambda own: fmean(map(_accuracy, own)))


def _reference(group: Sequence[Trained]) -> tuple[str, list[Judged]]:
    """The network that noise is put into: the dense run, else one with its initial weights."""
    dense = [network for network in group if network.record.configuration["method"] == "dense"]
    first = (_tuned(dense) if dense else group)[0]
    how = first.record.configuration
    images = first.images(PATCHES)[0]
    if dense:
        model, name = plain(first.model), "the dense run"
    else:
        dataset = first.source.train.dataset
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(first.seed)
            model = build(how["model"], len(dataset.classes), dataset.images.shape[-1])
        name = "the initial weights; with a dense run among the runs it would be put into that"
    found = {each.names[0]: each.parameter.detach() for each in survey(model)}
    weights = [(w.name, w.shape, found[w.name].double().numpy()) for w in planned(model, 1).groups[0].weights]
    return name, judged(weights, layers_of(model, images))


def _noise(network: Trained, tensors: Sequence[Judged]) -> Noise:
    """What a run's bank, mask or widths put into the reference."""
    model, method = network.model, network.record.configuration["method"]
    if method == "smaller":
        return of_narrowing(tensors, {name: tuple(p.shape) for name, p in model.named_parameters()})
    if banks_of(model):
        return noise_of_banks(model, tensors)
    masks = {name: mask.flatten(1).numpy() for name, mask in masks_of(model).items()}
    if method == "random" and set(masks) >= {each.name for each in tensors}:
        kept = sum(int(mask.sum()) for mask in masks.values())
        return of_keeping(tensors, sum(mask.size for mask in masks.values()), kept)
    return of_weights(tensors, {each.name: each.weight * masks.get(each.name, 1.0) for each in tensors})


# ---------------------------------------------------------------------------------------- verdicts


def claims(networks: Sequence[Trained]) -> tuple[Part, ...]:
    """A claim and a figure for each model, data and recipe with enough runs."""
    return tuple(_part(found, number) for number, found in enumerate(rankings(networks)))


def _part(found: Ranking, number: int) -> Part:
    claim = Claim(
        number=10 * number + 9,
        name=f"ranking/{number}" if number else "ranking",
        title=f"The theory ranks methods as training does: {found.what}",
        statement=(
            "Of methods at the same budget those that put less noise into the pre-activations of one network "
            "are trained to higher accuracy: of all pairs at most a third are in the wrong order. Refuted or "
            "confirmed is what the whole 95 % interval says; otherwise the cells are too few to tell."
        ),
        assumptions=(
            "accuracies are means over the seeds that were given, at the best of the rates",
            "Mallows' model of orders",
        ),
        formula=r"\tau \geq 1/3",
        source="what one would hope of the theory, not a theorem; Kendall 1938, Mallows 1957",
        footing="measured on the shipped hash",
        checks=lambda setting: [_check(found, found.wrong, f"{found.what}, wrong pairs")],
        mutant="the ranking turned round: what is predicted best did worst",
        mutant_check=lambda setting: _check(
            found, wrong(found.pairs, -found.accuracy, found.accuracy), "mutant: turned round"
        ),
        remarks=found.finding,
    )
    return Part(claim, lambda verdicts: [plate(found, number)], partial(_judged, found))


def _check(found: Ranking, count: float, name: str) -> Check:
    share = count / len(found.pairs)
    return Check(name, Fact(share), WRONG, "at most", condition=f"tau = {1 - 2 * share:.2f}")


def _judged(found: Ranking, verdict: Verdict) -> Verdict:
    """One share is measured; what it says of the expected one is for the interval."""
    low, high = found.limits(round(2 * verdict.measured * len(found.pairs)) / 2)
    status: Status = "confirmed" if high <= WRONG else "refuted" if low > WRONG else "inconclusive"
    return replace(
        verdict, status=status, interval=(low, high), draws=len(found.cells), discrepancy=0.0,
        false_refute=TAIL, false_confirm=TAIL,
    )  # fmt: skip


def plate(found: Ranking, number: int) -> Plate:
    """Accuracy against noise, a panel for each budget."""
    return Plate(
        f"ranking-{number}" if number else "ranking",
        "Accuracy after training against predicted noise",
        f"{found.what}. Each point is a method at the budget above it, mean over seeds and their range; "
        f"noise is that put into {found.reference}. Arrows at the right edge lose a whole layer. If the "
        "theory ranked methods as training does, points would fall from left to right.",
        f"Accuracy against noise at {', '.join(found.budgets)}; Kendall's tau {found.tau:.2f}.",
        figure(found),
    )


@styled
def figure(found: Ranking) -> Figure:
    """A panel for each budget."""
    whole, panels = blank(9.2, 4.2, ncols=len(found.strata), sharey=True, squeeze=False)
    ends = [value for cell in found.cells for value in cell.accuracies.values()]
    step = APART * (max(ends) - min(ends) or 1.0)
    for axes, stratum in zip(panels[0], found.strata, strict=True):
        cells = sorted((found.cells[place] for place in stratum), key=lambda cell: -cell.accuracy)
        finite = [cell.noise for cell in cells if np.isfinite(cell.noise)]
        edge = 2 * max(finite, default=1.0)
        name = max(ends) + step
        for cell in cells:
            x, y = min(cell.noise, edge), cell.accuracy
            color, name = BLUE if cell.shares else ORANGE, min(y, name - step)
            axes.plot([x, x], [min(cell.accuracies.values()), max(cell.accuracies.values())],
                      color=color, linewidth=0.8)  # fmt: skip
            axes.plot(x, y, marker="o" if np.isfinite(cell.noise) else ">", color=color, markersize=4.5)
            axes.annotate(cell.method, (x, name), xytext=(8, -2), textcoords="offset points",
                          annotation_clip=False, color=INK, fontsize=7)  # fmt: skip
            if name < y:
                axes.annotate("", (x, y), xytext=(x, name), color=MUTED, annotation_clip=False,
                              arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.5,
                                          "shrinkA": 0, "shrinkB": 0, "relpos": (0, 0)})  # fmt: skip
        axes.set_xscale("log")
        ticks_in_words(axes.xaxis, TICKS)
        axes.set_title(f"{cells[0].budget:g}x")
        axes.set_xlabel("predicted noise")
        axes.grid(axis="y", color=RULE)
        axes.margins(x=0.3, y=0.1)
        if len(finite) < len(cells):
            axes.axvline(edge, color=MUTED, linestyle=":", linewidth=0.8)
    panels[0][0].set_ylabel("test accuracy")
    return whole
