r"""Does the theory rank methods as training does? Predicted noise beside the accuracy of finished runs.

Runs of one model, on the same data and with the same recipe, are put beside the noise that their banks, masks
and widths put into one reference network (:mod:`nn.advice.noise`): the dense run, if it is among them, else
the network with its initial weights. Only methods at the same budget are compared, since more compression is
worse for all. A *cell* is a method at a budget; its accuracy is the mean over seeds.

The rank correlation is Kendall's tau-b over pairs of cells at equal budget, +1 if less noise always goes
with higher accuracy. Its interval is that of a bootstrap over the cells of each budget; how easily chance
does as well is found by permuting the accuracies within each budget. Where there are several seeds, training
is ranked against itself, one seed against another: no prediction can be expected to do better than that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

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
from nn.practice.part import Part
from nn.pruning import masks_of
from nn.sharing import banks_of
from rpstheory.claim import Check, Claim
from rpstheory.report.figures.style import BLUE, INK, MUTED, ORANGE, RULE, blank, styled, ticks_in_words
from rpstheory.report.gallery import Plate
from rpstheory.samplers import generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from nn.advice.trained import Trained

    Array = NDArray[np.float64]

FEW = 4  # methods at one budget: fewer cannot be ranked better than chance would at LEVEL
LEVEL = 0.05  # how often chance may do as well
PATCHES = 256
RESAMPLED = 4000
BAND = (2.5, 97.5)  # percentiles of the interval
APART = 0.03  # accuracies between two names, at least
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
    def tau(self) -> float:
        """Rank correlation of less noise with higher accuracy."""
        return float(tau(self.pairs, -self.noise, self.accuracy))

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 %, by a bootstrap over the cells of each budget."""
        random, found = np.random.default_rng(0), []
        for _ in range(RESAMPLED):
            chosen = np.concatenate([random.choice(own, len(own)) for own in self.strata])
            found.append(tau(self.pairs, -self.noise[chosen], self.accuracy[chosen]))
        low, high = np.percentile(found, BAND)
        return float(low), float(high)

    @cached_property
    def chance(self) -> float:
        """How often accuracies permuted within each budget are ranked as well."""
        return float(Permuted(self, self.tau)(0, RESAMPLED, "numpy").mean())

    @cached_property
    def itself(self) -> float | None:
        """Mean rank correlation of the accuracies of one seed with those of another; None for one seed."""
        found = []
        for one, other in combinations(sorted({s for cell in self.cells for s in cell.accuracies}), 2):
            both = [k for k, c in enumerate(self.cells) if {one, other} <= set(c.accuracies)]
            inside = self.pairs[np.isin(self.pairs, both).all(axis=1)]
            x, y = (np.array([c.accuracies.get(seed, np.nan) for c in self.cells]) for seed in (one, other))
            if len(inside):
                found.append(float(tau(inside, x, y)))
        return float(np.mean(found)) if found else None

    @property
    def finding(self) -> str:
        """What came out, in words."""
        low, high = self.interval
        if low > 0 and self.chance <= LEVEL:
            words = "Less noise goes with higher accuracy, more often than by chance"
        elif high < 0:
            words = "Less noise goes with LOWER accuracy: the theory ranks the methods the wrong way round"
        else:
            words = "The theory does not rank the methods as training does, or no better than by chance"
        found = [
            f"{words}.",
            f"{self.what}: tau = {self.tau:.2f}, 95 % interval {low:.2f} to {high:.2f} (bootstrap), over "
            f"{len(self.cells)} cells at {', '.join(self.budgets)};",
            f"{self.chance:.2g} of all permutations within budgets do as well.",
            f"Noise is that put into {self.reference}.",
        ]
        if self.itself is not None:
            found.append(f"One seed ranks the methods as another does with tau = {self.itself:.2f}.")
        return " ".join(found)


def tau(pairs: NDArray[np.int64], x: Array, y: Array) -> Any:
    """Kendall's tau-b over given pairs, of ``x`` (n,) with each row of ``y`` (…, n); 0 if all are tied.

    Args:
        pairs: (pairs, 2).
        x: One number each.
        y: The others.
    """
    (i, j), one = pairs.T, _order(x, pairs)
    other = (y[..., i] > y[..., j]) * 1.0 - (y[..., i] < y[..., j])
    untied = np.sqrt(np.abs(one).sum() * np.abs(other).sum(axis=-1))
    return (other @ one) / np.where(untied, untied, 1.0)


def _order(x: Array, pairs: NDArray[np.int64]) -> Array:
    i, j = pairs.T
    return (x[i] > x[j]) * 1.0 - (x[i] < x[j])


@dataclass(frozen=True, eq=False)
class Permuted:
    """1 where accuracies permuted within each budget are ranked at least as well as they are.

    Attributes:
        ranking: What is permuted.
        observed: The rank correlation to be reached.
    """

    ranking: Ranking
    observed: float

    @property
    def cost(self) -> float:
        """Work of a draw."""
        return 4.0 * len(self.ranking.pairs)

    def __call__(self, first: int, count: int, backend: str) -> Any:
        """Values of ``count`` draws."""
        random, own = generator(first), self.ranking
        accuracy = np.tile(own.accuracy, (count, 1))
        for stratum in own.strata:
            accuracy[:, stratum] = random.permuted(accuracy[:, stratum], axis=1)
        reached = tau(own.pairs, -own.noise, accuracy)
        return (reached >= self.observed - 1e-9).astype(np.float64)


# ------------------------------------------------------------------------------------------ cells


def rankings(networks: Sequence[Trained]) -> list[Ranking]:
    """One for each model, data and recipe of which there are enough methods at one budget."""
    groups: dict[str, list[Trained]] = {}
    for network in networks:
        how = network.record.configuration
        key = json.dumps([how["data"], how["held_out"], how["model"], how["recipe"]], sort_keys=True)
        groups.setdefault(key, []).append(network)
    return [found for group in groups.values() if (found := _ranking(group)).cells]


def _ranking(group: Sequence[Trained]) -> Ranking:
    how, first = group[0].record.configuration, group[0]
    name, tensors = _reference(group)
    known: dict[tuple[float, str], list[tuple[float, Trained]]] = {}
    for network in group:
        own = network.record.configuration
        if own["method"] != "dense":
            options = " ".join(f"{key}={value}" for key, value in sorted(own["options"].items()))
            key = float(own["compression"]), f"{own['method']} {options}".strip()
            known.setdefault(key, []).append((total(_noise(network, tensors)), network))
    cells = [
        Cell(
            budget,
            method,
            bool(banks_of(runs[0][1].model)),
            float(np.mean([noise for noise, _ in runs])),
            {run.seed: float(run.record.result["test_accuracy"]) for _, run in runs},
        )
        for (budget, method), runs in sorted(known.items())
    ]
    budgets = [cell.budget for cell in cells]
    recipe = recipe_in(first.record)
    return Ranking(
        f"{how['model']} on {first.source.train.dataset.name}, {recipe.name}, {recipe.epochs} epochs",
        name,
        tuple(cell for cell in cells if budgets.count(cell.budget) >= FEW),
    )


def _reference(group: Sequence[Trained]) -> tuple[str, list[Judged]]:
    """The network that noise is put into: the dense run, else one with its initial weights."""
    dense = [network for network in group if network.record.configuration["method"] == "dense"]
    first = (dense or list(group))[0]
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
            "are trained to higher accuracy, more surely than chance would have it: of all permutations of "
            "the accuracies within budgets at most 5 % are ranked as well."
        ),
        assumptions=("accuracies are means over the seeds that were given", "each run counts alike"),
        formula=r"P(\tau_{permuted} \geq \tau) \leq 0.05",
        source="what one would hope of the theory, not a theorem; Kendall 1938",
        footing="measured on the shipped hash",
        checks=lambda setting: [_as_well(found, found.tau, f"{found.what}, as well by chance")],
        mutant="the ranking turned round: what is predicted best did worst",
        mutant_check=lambda setting: _as_well(
            found, float(tau(found.pairs, -found.accuracy, found.accuracy)), "mutant: turned round"
        ),
        remarks=found.finding,
    )
    return Part(claim, lambda verdicts: [plate(found, number)])


def _as_well(found: Ranking, observed: float, name: str) -> Check:
    return Check(
        name, Permuted(found, observed), LEVEL, "at most", scale=1.0, indicator=True,
        condition=f"tau = {observed:.2f}",
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
    whole, panels = blank(9.2, 3.6, ncols=len(found.strata), sharey=True, squeeze=False)
    for axes, stratum in zip(panels[0], found.strata, strict=True):
        cells = sorted((found.cells[place] for place in stratum), key=lambda cell: cell.accuracy)
        finite = [cell.noise for cell in cells if np.isfinite(cell.noise)]
        edge = 2 * max(finite, default=1.0)
        below = -1.0
        for cell in cells:
            x, y = min(cell.noise, edge), cell.accuracy
            color, below = BLUE if cell.shares else ORANGE, max(y, below + APART)
            axes.plot([x, x], [min(cell.accuracies.values()), max(cell.accuracies.values())],
                      color=color, linewidth=0.8)  # fmt: skip
            axes.plot(x, y, marker="o" if np.isfinite(cell.noise) else ">", color=color, markersize=4.5)
            axes.annotate(cell.method, (x, below), xytext=(5, -2), textcoords="offset points",
                          annotation_clip=False, color=INK, fontsize=7)  # fmt: skip
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
