"""Trials put side by side: settings, what each method comes to in them, and the sweeps of single options.

Runs of one data set, model and recipe make a setting; within it a method with its options is a line, and runs
of a line at one compression that differ by their seed only are a spot. An option of :data:`AXES` that takes
several values makes no line for each but a sweep, to which runs with its default belong too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from statistics import fmean
from typing import Any

from nn.plotting import DENSE, half_interval
from nn.study.results import DIVERGED, FAILED, FINISHED, Trial
from nn.study.statistics import Crossing, Paired, Point, crossings, holm, paired
from rpstheory.errors import DataError

AXES: dict[str, dict[str, float]] = {  # options, and what they are where nothing is said
    "init_std": {"stable-rps": 1.0, "roast": 0.04, "robe": 0.04, "hashed": 0.04},
    "rewind": {"ltr": 0},
}
REFERENCE = "stable-rps"
EQUAL = 0.02  # relative difference of parameters up to which budgets count as equal
COSTS = ("params", "bytes")

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Spot:
    """Runs that differ by their seed only.

    Attributes:
        label: Of the line.
        compression: Asked for.
        trials: All of them, whatever became of them.
    """

    label: str
    compression: float
    trials: tuple[Trial, ...]

    @cached_property
    def accuracy(self) -> dict[int, float]:
        """Of the runs that are finished, by seed."""
        return {t.seed: t.accuracy for t in self.trials if t.over and t.accuracy is not None}

    @property
    def mean(self) -> float | None:
        """Over the runs that are finished."""
        return fmean(self.accuracy.values()) if self.accuracy else None

    @property
    def half(self) -> float | None:
        """Half the interval of the mean; None of a single run."""
        return half_interval(list(self.accuracy.values()))

    def cost(self, name: str) -> float | None:
        """The mean of params or bytes over all runs that tell."""
        known = [value for trial in self.trials if (value := getattr(trial, name)) is not None]
        return fmean(known) if known else None

    @property
    def whole(self) -> bool:
        """Whether every run is finished."""
        return all(trial.over for trial in self.trials)

    @property
    def troubles(self) -> str:
        """What became of the others, and of what collapsed, in words."""
        states = Counter(trial.status for trial in self.trials if not trial.over)
        collapsed = sum(bool(trial.collapsed) for trial in self.trials)
        parts = [f"{count} {state}" for state, count in sorted(states.items())]
        return ", ".join(parts + [f"{collapsed} collapsed"] * bool(collapsed))


@dataclass(frozen=True)
class Setting:
    """One data set, model and recipe.

    Attributes:
        title: Which.
        lines: Spots by label, each by compression; dense first.
    """

    title: str
    lines: dict[str, tuple[Spot, ...]]

    @property
    def compressions(self) -> list[float]:
        """Of all lines."""
        return sorted({spot.compression for spots in self.lines.values() for spot in spots})

    def spot(self, label: str, compression: float) -> Spot | None:
        """The runs of a line at a compression, if there are any."""
        return next((spot for spot in self.lines[label] if spot.compression == compression), None)

    @property
    def reference(self) -> str | None:
        """What the others are tested against, where nobody says: the paper's method, or the first line."""
        others = [label for label in self.lines if label != DENSE]
        return next((label for label in others if label == REFERENCE), others[0] if others else None)


@dataclass(frozen=True)
class Sweep:
    """One line at one compression, over the values of an option.

    Attributes:
        title: Of the setting.
        axis: The option.
        label: Of the line, without it.
        spots: By value.
    """

    title: str
    axis: str
    label: str
    spots: dict[float, Spot] = field(default_factory=dict)

    @property
    def best(self) -> float | None:
        """The value with the best mean where every seed is finished."""
        known = {
            value: spot.mean for value, spot in self.spots.items() if spot.whole and spot.mean is not None
        }
        return max(known, key=known.__getitem__) if known else None


@dataclass(frozen=True)
class Scaling:
    """One line with so many cells, in models of different sizes.

    Attributes:
        title: Data and recipe.
        label: Of the line, and its cells.
        spots: By compressible weights of the dense model.
    """

    title: str
    label: str
    spots: dict[int, Spot]


@dataclass(frozen=True)
class Study:
    """Everything that trials are put into.

    Attributes:
        trials: All of them.
        settings: By title.
        sweeps: Of the options in :data:`AXES`.
        scalings: Over models at equal cells.
    """

    trials: tuple[Trial, ...]
    settings: tuple[Setting, ...]
    sweeps: tuple[Sweep, ...]
    scalings: tuple[Scaling, ...]


def analysed(trials: Sequence[Trial]) -> Study:
    """Settings, sweeps and scalings of trials.

    Raises:
        DataError: If there are none.
    """
    if not trials:
        raise DataError("study: no results came; run the study first, or pass its folder")
    sweeps, swept = _sweeps(trials)
    plain = [trial for trial in trials if trial.run not in swept]
    settings = [
        Setting(title, dict(_lines(members))) for title, members in _grouped(plain, _setting, _title).items()
    ]
    return Study(tuple(trials), tuple(settings), tuple(sweeps), tuple(_scalings(plain)))


def _setting(trial: Trial) -> Key:
    return trial.data, trial.held_out, trial.model, trial.recipe, trial.epochs, trial.how


def _title(trial: Trial) -> str:
    data = f"{trial.data} (held out {trial.held_out:g})" if trial.held_out else trial.data
    recipe = f"recipe {trial.recipe}, {trial.epochs} epochs" if trial.recipe else ""
    return " · ".join(filter(None, (data, trial.model, recipe)))


def _grouped(trials: Iterable[Trial], key: Any, title: Any) -> dict[str, list[Trial]]:
    """Trials by key, under titles that tell the keys apart."""
    groups: dict[Key, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(key(trial), []).append(trial)
    named: dict[str, list[Trial]] = {}
    for members in groups.values():
        name, number = title(members[0]), 2
        while name in named:
            name, number = f"{title(members[0])} ({number})", number + 1
        named[name] = members
    return named


def _lines(trials: list[Trial]) -> list[tuple[str, tuple[Spot, ...]]]:
    """Spots by label; a label says of options and rate only what differs within the method."""
    order = {method: place for place, method in enumerate(dict.fromkeys(t.method for t in trials))}
    kinds: dict[str, set[tuple[Key, float | None]]] = {}
    for trial in trials:
        kinds.setdefault(trial.method, set()).add((trial.options, trial.lr))

    def label(trial: Trial) -> str:
        kin = kinds[trial.method]
        common = set.intersection(*(set(map(repr, options)) for options, _ in kin))
        own = [f"{k}={v}" for k, v in trial.options if repr((k, v)) not in common]
        rate = [f"lr {trial.lr:g}"] if trial.lr is not None and len({lr for _, lr in kin}) > 1 else []
        return " ".join([trial.method, *own, *rate])

    found: dict[str, dict[float, list[Trial]]] = {}
    for trial in sorted(trials, key=lambda t: (t.method != DENSE, order[t.method])):
        found.setdefault(label(trial), {}).setdefault(trial.compression, []).append(trial)
    return [
        (name, tuple(Spot(name, compression, tuple(own)) for compression, own in sorted(spots.items())))
        for name, spots in found.items()
    ]


# -------------------------------------------------------------------------------- sweeps, scalings


def _sweeps(trials: Sequence[Trial]) -> tuple[list[Sweep], set[str]]:
    """Sweeps of the options in :data:`AXES`, and the runs that are only there for them."""
    found, swept = [], set()
    for axis in AXES:
        groups: dict[Key, list[Trial]] = {}
        for trial in trials:
            if trial.method in AXES[axis]:
                rest = tuple((name, repr(value)) for name, value in trial.options if name != axis)
                key = (_setting(trial), trial.method, rest, trial.lr, trial.compression)
                groups.setdefault(key, []).append(trial)
        several = [own for own in groups.values() if len({_value(trial, axis) for trial in own}) > 1]
        compressions = {trial.compression for own in several for trial in own}
        for own in several:
            swept |= {trial.run for trial in own if trial.option(axis) is not None}
            found.append(_sweep(axis, own, several_compressions=len(compressions) > 1))
    return found, swept


def _value(trial: Trial, axis: str) -> float:
    found = trial.option(axis)
    return float(AXES[axis][trial.method] if found is None else found)


def _sweep(axis: str, trials: list[Trial], *, several_compressions: bool) -> Sweep:
    first = trials[0]
    rest = [f"{name}={value}" for name, value in first.options if name != axis]
    label = " ".join([first.method, *rest, *[f"{first.compression:.3g}x"] * several_compressions])
    by_value: dict[float, list[Trial]] = {}
    for trial in trials:
        by_value.setdefault(_value(trial, axis), []).append(trial)
    spots = {value: Spot(label, first.compression, tuple(own)) for value, own in sorted(by_value.items())}
    return Sweep(_title(first), axis, label, spots)


def _scalings(trials: Sequence[Trial]) -> list[Scaling]:
    """Lines of which several models have equally many cells."""

    def where(trial: Trial) -> Key:
        return trial.data, trial.held_out, trial.recipe, trial.epochs, trial.how

    known = [t for t in trials if t.method != DENSE and None not in (t.weights, t.dense_weights)]
    found = []
    for members in _grouped(known, where, lambda t: repr(where(t))).values():
        groups: dict[Key, list[Trial]] = {}
        for trial in sorted(members, key=lambda t: t.weights or 0):
            kind = (trial.method, repr(trial.options), trial.lr)
            level = next(
                (k for k in groups if k[:3] == kind and (trial.weights or 0) <= k[3] * (1 + EQUAL)), None
            )
            groups.setdefault(level or (*kind, trial.weights), []).append(trial)
        for key, own in groups.items():
            if len({trial.dense_weights for trial in own}) > 1:
                found.append(_scaling(own, key[3]))
    return found


def _scaling(trials: list[Trial], cells: int) -> Scaling:
    first = trials[0]
    options = [f"{name}={value}" for name, value in first.options]
    label = " ".join([first.method, *options, f"m = {cells:,}"])
    title = " · ".join(filter(None, (first.data, f"recipe {first.recipe}, {first.epochs} epochs")))
    by_size: dict[int, list[Trial]] = {}
    for trial in trials:
        by_size.setdefault(trial.dense_weights or 0, []).append(trial)
    return Scaling(
        title, label, {n: Spot(label, own[0].compression, tuple(own)) for n, own in sorted(by_size.items())}
    )


# ------------------------------------------------------------------------------------ comparisons


@dataclass(frozen=True)
class Comparison:
    """A method against the reference at one compression.

    Attributes:
        label: Of the method.
        against: The reference.
        compression: Of both.
        paired: The comparison; None where it would not be fair.
        adjusted: p after Holm's correction for all tests of the setting; None of a single seed.
        remark: Why there is no comparison.
    """

    label: str
    against: str
    compression: float
    paired: Paired | None
    adjusted: float | None
    remark: str = ""


def comparisons(setting: Setting, against: str | None = None) -> list[Comparison]:
    """Every method but the reference, at every compression that both have; the reference is a line."""
    against = against or setting.reference
    if against is None:
        return []
    found = [
        _compared(spot, other)
        for other in setting.lines[against]
        for label in setting.lines
        if label != against and (spot := setting.spot(label, other.compression)) is not None
    ]
    known = [test.paired.p for test in found if test.paired is not None and test.paired.p is not None]
    adjusted = iter(holm(known))
    return [
        Comparison(t.label, t.against, t.compression, t.paired, next(adjusted), t.remark)
        if t.paired is not None and t.paired.p is not None
        else t
        for t in found
    ]


def _compared(spot: Spot, other: Spot) -> Comparison:
    mine, theirs = spot.cost("params"), other.cost("params")
    for each in (spot, other):
        if not each.whole:
            remark = f"{each.label}: {each.troubles} of {len(each.trials)}"
            return Comparison(spot.label, other.label, spot.compression, None, None, remark)
    if mine is None or theirs is None or abs(mine / theirs - 1) > EQUAL:
        remark = f"budgets differ: {mine or 0:,.0f} and {theirs or 0:,.0f} parameters"
        return Comparison(spot.label, other.label, spot.compression, None, None, remark)
    found = paired(spot.accuracy, other.accuracy)
    remark = "" if found else "no seed in common"
    return Comparison(spot.label, other.label, spot.compression, found, None, remark)


@dataclass(frozen=True)
class Crossover:
    """Two methods that change places.

    Attributes:
        first: One.
        second: The other.
        cost: Of params or bytes.
        crossing: Where, and how certain that is.
    """

    first: str
    second: str
    cost: str
    crossing: Crossing

    @property
    def below(self) -> str:
        """Who is ahead below."""
        return self.first if self.crossing.below else self.second

    @property
    def above(self) -> str:
        """Who is ahead above."""
        return self.second if self.crossing.below else self.first


def crossovers(setting: Setting) -> list[Crossover]:
    """Every pair of methods that change places along parameters or bytes; the certain ones first."""
    found = []
    for cost in COSTS:
        points = {
            label: [
                Point(x, spot.accuracy)
                for spot in spots
                if spot.whole and spot.accuracy and (x := spot.cost(cost)) is not None
            ]
            for label, spots in setting.lines.items()
            if label != DENSE
        }
        for first, second in combinations(points, 2):
            found += [
                Crossover(first, second, cost, crossing)
                for crossing in crossings(points[first], points[second])
            ]
    return sorted(found, key=lambda each: (not each.crossing.certain, COSTS.index(each.cost)))


@dataclass(frozen=True)
class Continuity:
    """A method at 1x beside the dense model.

    Attributes:
        title: Of the setting.
        spot: The method.
        dense: The dense model.
        paired: Method minus dense.
    """

    title: str
    spot: Spot
    dense: Spot
    paired: Paired | None


def continuity(setting: Setting) -> list[Continuity]:
    """Every method that was trained at 1x, where the dense model was too."""
    dense = setting.spot(DENSE, 1.0) if DENSE in setting.lines else None
    if dense is None or not dense.accuracy:
        return []
    found = [setting.spot(label, 1.0) for label in setting.lines if label != DENSE]
    return [
        Continuity(setting.title, spot, dense, paired(spot.accuracy, dense.accuracy))
        for spot in found
        if spot is not None
    ]


def learned(spot: Spot) -> dict[int, list[float]]:
    """Test accuracy after each epoch, by seed, of the runs that are finished and tell."""
    return {t.seed: [accuracy for _, _, accuracy in t.curve] for t in spot.trials if t.over and t.curve}


def states(trials: Iterable[Trial]) -> dict[str, int]:
    """How many runs of each status, and how many of the finished ones collapsed."""
    counts = Counter(trial.status for trial in trials)
    collapsed = sum(bool(trial.collapsed) for trial in trials if trial.status == FINISHED)
    order = (FINISHED, DIVERGED, FAILED)
    named = {state: counts.pop(state) for state in order if state in counts} | dict(counts)
    return named | ({"collapsed": collapsed} if collapsed else {})
