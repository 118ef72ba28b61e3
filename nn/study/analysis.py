"""Trials put side by side: settings, what each method comes to in them, and the sweeps of single options.

Runs of one data set, model and recipe make a setting; within it a method with its options is a line, and runs
of a line at one compression that differ by their seed only are a spot. An option of :data:`AXES` that takes
several values makes no line for each but a sweep, to which runs with its default belong too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import combinations
from statistics import fmean
from typing import Any

from nn.study.results import DIVERGED, FAILED, FINISHED, Trial
from nn.study.statistics import Crossing, Paired, Point, crossings, half_interval, holm, paired
from rpstheory.errors import DataError

AXES: dict[str, dict[str, float]] = {  # options, and what they are where nothing is said
    "init_std": {"stable-rps": 1.0, "roast": 0.04, "robe": 0.04, "hashed": 0.04},
    "rewind": {"ltr": 0},
}
DENSE, REFERENCE = "dense", "stable-rps"
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

    def method(self, label: str) -> str:
        """That of a line; its label may say options and a rate as well."""
        return self.lines[label][0].trials[0].method

    @property
    def dense(self) -> list[str]:
        """The lines of dense models: one for each rate."""
        return [label for label in self.lines if self.method(label) == DENSE]

    @property
    def compressed(self) -> list[str]:
        """All other lines."""
        return [label for label in self.lines if self.method(label) != DENSE]

    def rate(self, label: str) -> float:
        """The learning rate of a line."""
        return self.lines[label][0].trials[0].lr

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
        first = [label for label in self.compressed if self.method(label) == REFERENCE]
        return next(iter([*(label for label in first if label == REFERENCE), *first, *self.compressed]), None)

    def references(self, against: str | None = None) -> list[str]:
        """The lines that others are tested against: that of a label, or those of a method."""
        if against is None:
            return [] if self.reference is None else [self.reference]
        own = [label for label in self.lines if self.method(label) == against]
        return [against] if against in self.lines else own


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
    trials = _identified(trials)
    sweeps, swept = _sweeps(trials)
    plain = [trial for trial in trials if trial.run not in swept]
    return Study(tuple(trials), tuple(settings_of(plain)), tuple(sweeps), tuple(_scalings(plain)))


def settings_of(trials: Sequence[Trial]) -> list[Setting]:
    """Every trial in its setting, as a line by its method, options and rate."""
    titles = _titles(map(_setting, trials))
    return [
        Setting(titles[setting], dict(_lines(members)))
        for setting, members in _grouped(trials, _setting).items()
    ]


def _identified(trials: Sequence[Trial]) -> list[Trial]:
    """Runs that failed before they saw their data are of the only data of that name, if there is one."""
    known: dict[str, set[str]] = {}
    for trial in trials:
        known.setdefault(trial.data, set()).update(filter(None, [trial.digest]))
    return [
        replace(trial, digest=next(iter(known[trial.data])))
        if not trial.digest and len(known[trial.data]) == 1
        else trial
        for trial in trials
    ]


def _setting(trial: Trial) -> Key:
    return trial.data, trial.held_out, trial.model, trial.recipe, trial.epochs, trial.how, trial.digest


def _beside_model(trial: Trial) -> Key:
    """Its setting, whatever the model."""
    return _setting(replace(trial, model=""))


def _titles(settings: Iterable[Key]) -> dict[Key, str]:
    """Words for every setting; where several read alike, with the fields of their recipes that differ."""
    alike: dict[str, list[Key]] = {}
    for setting in dict.fromkeys(settings):
        data, held_out, model, recipe, epochs, _, _ = setting
        parts = [f"{data} (held out {held_out:g})" if held_out else data, model]
        parts.append(f"recipe {recipe}, {epochs} epochs")
        alike.setdefault(" · ".join(filter(None, parts)), []).append(setting)
    found = {}
    for words, group in alike.items():
        told = [{*how, ("data", digest[:8])} for *_, how, digest in group]
        common = set.intersection(*told)
        for setting, own in zip(group, told, strict=True):
            found[setting] = ", ".join([words, *(f"{name} {value}" for name, value in sorted(own - common))])
    return found


def _grouped(trials: Iterable[Trial], key: Callable[[Trial], Key]) -> dict[Key, list[Trial]]:
    groups: dict[Key, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(key(trial), []).append(trial)
    return groups


def _lines(trials: list[Trial]) -> list[tuple[str, tuple[Spot, ...]]]:
    """Spots by label; a label says of options and rate only what differs within the method."""
    order = {method: place for place, method in enumerate(dict.fromkeys(t.method for t in trials))}
    kinds: dict[str, set[tuple[Key, float]]] = {}
    for trial in trials:
        kinds.setdefault(trial.method, set()).add((trial.options, trial.lr))

    def label(trial: Trial) -> str:
        kin = kinds[trial.method]
        common = set.intersection(*(set(map(repr, options)) for options, _ in kin))
        own = [f"{k}={v}" for k, v in trial.options if repr((k, v)) not in common]
        rate = [f"lr {trial.lr:g}"] if len({lr for _, lr in kin}) > 1 else []
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
    """Sweeps of the options in :data:`AXES`, and the runs that are only there for them.

    Where a line takes several values at one compression, it keeps the one that it takes at most compressions,
    and of several such its default, if that is among them.
    """
    titles = _titles(map(_setting, trials))
    found, swept = [], set()
    for axis, defaults in AXES.items():
        lines = _grouped([t for t in trials if t.method in defaults], partial(_line, axis=axis))
        several = []
        for own in lines.values():
            spots = _grouped(own, lambda trial: (trial.compression,)).values()
            taken = Counter(value for spot in spots for value in {_value(trial, axis) for trial in spot})
            usual = defaults[own[0].method]
            for spot in spots:
                values = dict.fromkeys(_value(trial, axis) for trial in spot)
                kept = max(values, key=lambda value: (taken[value], value == usual))
                swept |= {trial.run for trial in spot if _value(trial, axis) != kept}
                several += [spot] if len(values) > 1 else []
        compressions, rates = ({kind(spot[0]) for spot in several} for kind in (_compression, _rate))
        for spot in several:
            told = [_compression(spot[0])] * (len(compressions) > 1) + [_rate(spot[0])] * (len(rates) > 1)
            found.append(_sweep(titles[_setting(spot[0])], axis, spot, told))
    return found, swept


def _line(trial: Trial, axis: str) -> Key:
    """Everything but an option, the compression and the seed."""
    rest = tuple((name, repr(value)) for name, value in trial.options if name != axis)
    return _setting(trial), trial.method, rest, trial.lr


def _value(trial: Trial, axis: str) -> float:
    found = trial.option(axis)
    return float(AXES[axis][trial.method] if found is None else found)


def _compression(trial: Trial) -> str:
    return f"{trial.compression:.3g}x"


def _rate(trial: Trial) -> str:
    return f"lr {trial.lr:g}"


def _sweep(title: str, axis: str, trials: list[Trial], told: Sequence[str]) -> Sweep:
    first = trials[0]
    rest = [f"{name}={value}" for name, value in first.options if name != axis]
    label = " ".join([first.method, *rest, *told])
    by_value: dict[float, list[Trial]] = {}
    for trial in trials:
        by_value.setdefault(_value(trial, axis), []).append(trial)
    spots = {value: Spot(label, first.compression, tuple(own)) for value, own in sorted(by_value.items())}
    return Sweep(title, axis, label, spots)


def _scalings(trials: Sequence[Trial]) -> list[Scaling]:
    """Lines of which several models have equally many cells."""
    known = [t for t in trials if t.method != DENSE and None not in (t.weights, t.dense_weights)]
    titles = _titles(map(_beside_model, known))
    found = []
    for setting, members in _grouped(known, _beside_model).items():
        groups: dict[Key, list[Trial]] = {}
        for trial in sorted(members, key=lambda t: t.weights or 0):
            kind = (trial.method, repr(trial.options), trial.lr)
            level = next(
                (k for k in groups if k[:3] == kind and (trial.weights or 0) <= k[3] * (1 + EQUAL)), None
            )
            groups.setdefault(level or (*kind, trial.weights), []).append(trial)
        several = {key: own for key, own in groups.items() if len({t.dense_weights for t in own}) > 1}
        rates = {own[0].lr for own in several.values()}
        for key, own in several.items():
            told = [_rate(own[0])] * (len(rates) > 1) + [f"m = {key[3]:,}"]
            found.append(_scaling(titles[setting], own, told))
    return found


def _scaling(title: str, trials: list[Trial], told: Sequence[str]) -> Scaling:
    first = trials[0]
    options = [f"{name}={value}" for name, value in first.options]
    label = " ".join([first.method, *options, *told])
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
    return _corrected(found)


def _corrected(found: Sequence[Comparison]) -> list[Comparison]:
    """The same with Holm's correction for all of them."""
    known = [test.paired.p for test in found if test.paired is not None and test.paired.p is not None]
    adjusted = iter(holm(known))
    return [
        replace(test, adjusted=next(adjusted))
        if test.paired is not None and test.paired.p is not None
        else test
        for test in found
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
                for spot in setting.lines[label]
                if spot.whole and spot.accuracy and (x := spot.cost(cost)) is not None
            ]
            for label in setting.compressed
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
        spot: The method.
        dense: The dense model: that of the same rate, or else the best.
        test: Method minus dense.
    """

    spot: Spot
    dense: Spot
    test: Comparison


def continuity(setting: Setting) -> list[Continuity]:
    """Every method that was trained at 1x, where the dense model was too."""
    dense, spots = (
        [spot for label in labels if (spot := setting.spot(label, 1.0)) is not None]
        for labels in (setting.dense, setting.compressed)
    )
    if not dense:
        return []

    def beside(spot: Spot) -> Spot:
        own = setting.rate(spot.label)
        return max(dense, key=lambda d: (setting.rate(d.label) == own, d.whole, d.mean or 0))

    tests = _corrected([_compared(spot, beside(spot)) for spot in spots])
    return [Continuity(spot, beside(spot), test) for spot, test in zip(spots, tests, strict=True)]


def learned(spot: Spot) -> dict[int, dict[int, float]]:
    """Test accuracy after each epoch, by seed and epoch, of the runs that are finished and tell.

    A lottery ticket tells of its last round, which begins at the epoch that it goes back to.
    """
    return {t.seed: {e: accuracy for e, _, accuracy in t.curve} for t in spot.trials if t.over and t.curve}


def common(curves: Iterable[Iterable[int]]) -> list[int]:
    """The epochs that all curves have."""
    return sorted(set.intersection(*map(set, curves)))


def states(trials: Iterable[Trial]) -> dict[str, int]:
    """How many runs of each status, and how many of the finished ones collapsed."""
    counts = Counter(trial.status for trial in trials)
    collapsed = sum(bool(trial.collapsed) for trial in trials if trial.status == FINISHED)
    order = (FINISHED, DIVERGED, FAILED)
    named = {state: counts.pop(state) for state in order if state in counts} | dict(counts)
    return named | ({"collapsed": collapsed} if collapsed else {})
