r"""Imbalance and the advantage of sharing over pruning: heavy tails of features, and rare classes.

The paper ties its advantage to data that are imbalanced or follow power laws, and leaves open by how much.
For a linear model claim 12 answers exactly: what pruning loses beyond sharing is
$\sum_{cells} k\, Cov_{cell}(u, e) / u(cell)$, $u_i = s_i$ the variances of the features and $e_i$ what each
of them explains. So tails as such decide nothing. They scale the advantage up, and whether it is one is
decided by how u and e are aligned. Both are varied here on the features of a network:

* *Tails.* The features are whitened and get variances $i^{-a}$ in the order of their components; what each
  explains stays as it is. At a = 0 sharing and pruning tie; a < 0 turns the spectrum round.
* *Classes.* Of class c there are $N \rho^{-c/(C-1)}$ images, $\rho$ times fewer of the last than of the
  first, and as many in all for every $\rho$. The classifier is fitted to those, and looked at class by class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nn.practice.part import Part
from nn.practice.residuals import LAPS, LITTLE, Case, Features, Fitted, features
from rpstheory.claim import Check, Claim
from rpstheory.mappings import Fold, KeepExact
from rpstheory.report.figures.style import BLUE, GREEN, MUTED, PURPLE, RULE, blank, styled, ticks_in_words
from rpstheory.report.gallery import Plate

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from nn.practice.network import Trained
    from rpstheory.claim import Verdict

TAILS, FEW_TAILS = (-2.0, -1.0, 0.0, 1.0, 2.0), (-1.0, 0.0, 1.0)
RATIOS, FEW_RATIOS = (1.0, 10.0, 100.0), (1.0, 100.0)
LEAST = 2  # images of a class


@dataclass(frozen=True, eq=False)
class Advantage:
    """What is lost to pruning beyond what is lost to sharing, in a draw of each.

    Attributes:
        pruned: The classifier on features that are kept at random.
        shared: That through a bank.
    """

    pruned: Fitted
    shared: Fitted

    @property
    def cost(self) -> float:
        """Work of a draw."""
        return self.pruned.cost + self.shared.cost

    def __call__(self, first: int, count: int, backend: str) -> Any:
        """Values of ``count`` draws."""
        return self.pruned(first, count, backend) - self.shared(first, count, backend)


@dataclass(frozen=True, eq=False)
class Point:
    """Sharing and pruning on one set of features.

    Attributes:
        curve: What it is a point of.
        at: Where: the exponent of the tail, or the ratio of the classes.
        features: Uncorrelated.
    """

    curve: str
    at: float
    features: Features

    @property
    def name(self) -> str:
        """What is fitted."""
        return f"{self.curve}, {'classes 1 to' if 'class' in self.curve else 'tail'} {self.at:g}"

    @cached_property
    def ways(self) -> tuple[Case, Case]:
        """Pruning and sharing."""
        n = len(self.features.variances)
        pair = KeepExact(n, n // LAPS, 0), Fold(n, n // LAPS, 0)
        pruned, shared = (Case("", LAPS, self.features, mapping, np.ones(n)) for mapping in pair)
        return pruned, shared

    @cached_property
    def predicted(self) -> float:
        """The mean advantage by the closed form."""
        pruned, shared = self.ways
        return pruned.predicted - shared.predicted

    @property
    def check(self) -> Check:
        """Measured against it."""
        pruned, shared = self.ways
        return Check(
            self.name,
            Advantage(pruned.fitted(), shared.fitted()),
            self.predicted,
            scale=max(abs(self.predicted), LITTLE * self.features.won),
        )


def with_tail(own: Features, exponent: float) -> Features:
    """Components whitened, the i-th then given the variance i^-exponent."""
    size = np.arange(1, len(own.variances) + 1) ** (-exponent / 2) / np.sqrt(own.variances)
    return replace(own, train=own.train * size, test=own.test * size)


def counts(classes: int, ratio: float, most: int, whole: int) -> NDArray[np.int64]:
    """Images of each class, ``whole`` in all but for rounding, the first ``ratio`` times the last.

    Args:
        classes: Their number.
        ratio: At least 1.
        most: Of one class.
        whole: Of all.
    """
    share = ratio ** (-np.arange(classes) / max(1, classes - 1))
    return np.clip(np.rint(whole * share / share.sum()), LEAST, most).astype(np.int64)


def imbalanced(own: Features, ratio: float, ratios: Sequence[float]) -> Features:
    """As many images for every ratio, classes in proportions that fall by it from the first to the last.

    Args:
        own: Of all images, as many of each class or nearly.
        ratio: One of those.
        ratios: All that are to be compared.
    """
    labels = own.classes.argmax(axis=1)
    there = np.bincount(labels)
    steepest = max(ratios) ** (-np.arange(len(there)) / max(1, len(there) - 1))
    wanted = counts(len(there), ratio, int(there.min()), int(there.min() * steepest.sum()))
    rows = np.concatenate([np.flatnonzero(labels == k)[:count] for k, count in enumerate(wanted)])
    x, y = own.train[rows], own.classes[rows]
    return replace(own, train=x - x.mean(0), classes=y - y.mean(0))


def points(sets: Sequence[Features], *, quick: bool) -> list[Point]:
    """All that is compared."""
    last = sets[-1]
    found = [
        Point(curve, exponent, with_tail(ordered, exponent))
        for own in (sets[-1:] if quick else sets)
        for curve, ordered in (
            (own.name, own.components),
            (f"{own.name} shuffled", own.components.shuffled()),
        )
        for exponent in (FEW_TAILS if quick else TAILS)
    ]
    ratios = FEW_RATIOS if quick else RATIOS
    for ratio in ratios:
        own = imbalanced(last, ratio, ratios).components
        found += [
            Point("all classes", ratio, own),
            Point("first class", ratio, replace(own, classes=own.classes[:, :1])),
            Point("last class", ratio, replace(own, classes=own.classes[:, -1:])),
        ]
    return found


def claims(network: Trained, discrepancy: float, *, quick: bool) -> tuple[Part, ...]:
    """The claim of this part, and its figure."""
    sets = features(network)
    found = points(sets, quick=quick)
    checks = [point.check for point in found]
    far = max((p for p in found if "class" not in p.curve), key=lambda p: abs(p.predicted) / p.features.won)
    claim = Claim(
        number=6,
        name="imbalance",
        title="Imbalance and the advantage of sharing",
        statement=(
            "What a linear classifier loses to random pruning beyond what it loses to sharing is given by "
            "the covariance of the variances of the features with what they explain, cell by cell: whatever "
            "the tail of the spectrum, and however unequal the classes. Where all variances are equal it is "
            "0; where the spectrum is turned round, so is the advantage."
        ),
        assumptions=(
            f"features in their principal components, n/m = {LAPS}, m divides n",
            "loss on the images that are fitted to",
        ),
        formula=r"E\,R_{prune} - E\,R_{fold} = E\sum_{cells} k\,Cov_{cell}(u, e) / u(cell)",
        source="claim 12 on the features of a network; the paper's open question on imbalanced data",
        footing="needs ideal randomness",
        checks=lambda setting: checks,
        mutant="no advantage, whatever the tail",
        mutant_check=lambda setting: replace(
            far.check, name=f"mutant: {far.name} as a tie", predicted=0.0, scale=abs(far.predicted)
        ),
        remarks="Shuffled: the variances fall along the components in an order drawn at random.",
    )
    return (Part(claim, lambda verdicts: [plate(found, sets, {v.check: v for v in verdicts})]),)


# ---------------------------------------------------------------------------------------- figure

LOOKS: dict[str, dict[str, Any]] = {
    "in order": {"color": BLUE, "marker": "o"},
    "shuffled": {"color": BLUE, "marker": "s", "markerfacecolor": "none", "linestyle": "--"},
    "all classes": {"color": BLUE, "marker": "o"},
    "first class": {"color": GREEN, "marker": "D", "markerfacecolor": "none"},
    "last class": {"color": PURPLE, "marker": "^"},
}


def plate(found: Sequence[Point], sets: Sequence[Features], measured: dict[str, Verdict]) -> Plate:
    """The advantage over tails and over class ratios."""
    return Plate(
        "imbalance",
        "Advantage of sharing over pruning",
        "What pruning loses beyond sharing, over all that the dense classifier explains: above 0 sharing "
        "wins. Left: over the exponent a of the spectrum i^-a; dotted is the network's own. Right: over "
        "how many times fewer images the last class has than the first, for the whole classifier and for "
        "these two classes. Lines are predicted, markers measured.",
        "The advantage is 0 for equal variances, and changes its sign with the direction of the spectrum.",
        figure(found, sets, measured),
    )


def own_tail(own: Features) -> float:
    """The exponent of a spectrum: least squares in logarithms."""
    s = own.components.variances
    return float(-np.polyfit(np.log(np.arange(1, len(s) + 1)), np.log(s), 1)[0])


@styled
def figure(found: Sequence[Point], sets: Sequence[Features], measured: dict[str, Verdict]) -> Figure:
    """A panel for the tails of each set of features, and one for the classes."""
    shown = [own for own in sets if any(p.curve == own.name for p in found)]
    whole, panels = blank(9.2, 3.2, ncols=len(shown) + 1, sharey=True)
    for axes, own in zip(panels, shown, strict=False):
        for label, curve in (("in order", own.name), ("shuffled", f"{own.name} shuffled")):
            _curve(axes, [p for p in found if p.curve == curve], measured, label)
        axes.axvline(own_tail(own), color=MUTED, linestyle=":", linewidth=0.8)
        axes.set_title(f"tail of {own.name}")
        axes.set_xlabel("exponent a")
        axes.legend(loc="upper left", ncols=2)
    last = panels[-1]
    for curve in ("all classes", "first class", "last class"):
        _curve(last, [p for p in found if p.curve == curve], measured, curve)
    last.set_xscale("log")
    last.set_title(f"classes, {sets[-1].name}")
    last.set_xlabel("first class over last")
    ticks_in_words(last.xaxis, sorted({p.at for p in found if "class" in p.curve}))
    last.legend(loc="upper left")
    panels[0].set_ylabel("advantage over all explained")
    panels[0].set_ylim(top=1.2)
    for axes in panels:
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.grid(axis="y", color=RULE)
    return whole


def _curve(axes: Any, line: Sequence[Point], measured: dict[str, Verdict], label: str) -> None:
    look = LOOKS[label]
    x = [p.at for p in line]
    style = {key: value for key, value in look.items() if key in ("color", "linestyle")}
    axes.plot(x, [p.predicted / p.features.won for p in line], **style)
    marks = {key: value for key, value in look.items() if key != "linestyle"}
    axes.plot(x, [measured[p.name].measured / p.features.won for p in line],
              linestyle="", markersize=4.5, label=label, **marks)  # fmt: skip
