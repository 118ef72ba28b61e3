"""What a study costs before it is run: budgets by nn.budget, time from recorded runs or measured steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch

from nn.budget import Budget, budget
from nn.data import Batches, feed
from nn.methods import SHARING, prepare
from nn.models.registry import build
from nn.pruning import METHODS as PRUNING
from nn.recipes import Recipe
from nn.records import Record, records_of
from nn.runs import Configuration
from nn.study.grid import Cell, Study, shape_of
from nn.study.running import rounds_of
from nn.training import Training
from rpstheory.errors import RpsError

STEPS = 3  # that are timed, after one that is not
NUMBERS = ("scaler", "init_std", "law", "rate", "rewind")  # options that change no budget
STILL = 1e-30  # a rate at which nothing diverges while it is timed
RECORDED, MEASURED = "recorded runs", "measured steps"


@dataclass(frozen=True)
class Forecast:
    """Cells that differ by their seed only.

    Attributes:
        cells: Those.
        budget: What is stored; None where it cannot be known here.
        about: Whether its bytes are those of a random mask, where the method's own is not known before.
        left: How many are not over yet.
        seconds: Of these together, on one worker; None if unknown.
        source: What the seconds are estimated from; why they cannot be known.
    """

    cells: tuple[Cell, ...]
    budget: Budget | None
    about: bool
    left: int
    seconds: float | None
    source: str


def forecast(
    study: Study,
    out: Path,
    *,
    root: Path | None = None,
    threads: int = 1,
    tell: Callable[[int, int], None] = lambda done, groups: None,
) -> list[Forecast]:
    """A forecast for every group of cells that differ by their seed only.

    Args:
        study: What to run.
        out: Folder whose runs are looked at first.
        root: Folder with the official data.
        threads: Of a worker.
        tell: Told how many groups are done, and of how many.
    """
    torch.set_num_threads(threads)
    groups: dict[str, list[Cell]] = {}
    for cell in study.cells:
        groups.setdefault(_but_seed(cell.configuration), []).append(cell)
    records = records_of(out) if out.is_dir() else []
    over = {record.folder.name for record in records if record.result}
    sight = _Sight(root, _recorded(records), over)
    found = []
    for own in groups.values():
        found.append(sight.of(own))
        tell(len(found), len(groups))
    return found


def _but_seed(configuration: Configuration) -> str:
    fields = vars(configuration) | {"seed": 0, "options": sorted(configuration.options.items())}
    return repr(sorted(fields.items()))


def _recorded(records: Sequence[Record]) -> dict[str, list[float]]:
    """Seconds of finished runs, by all but the seed."""
    found: dict[str, list[float]] = {}
    for record in records:
        if record.status == "finished":
            how = record.configuration
            recipe = Recipe(**how["recipe"] | {"drops": tuple(how["recipe"]["drops"])})
            key = _but_seed(Configuration(**how | {"recipe": recipe}))
            found.setdefault(key, []).append(record.result["seconds"])
    return found


@dataclass
class _Sight:
    """What is known so far: of recorded runs, and of models that were built or timed."""

    root: Path | None
    recorded: dict[str, list[float]]
    over: set[str]
    costs: dict[str, Budget | str] = field(default_factory=dict)
    paces: dict[str, float | str] = field(default_factory=dict)

    def of(self, own: list[Cell]) -> Forecast:
        """The forecast of cells that differ by their seed only."""
        how, cells, scored = own[0].configuration, tuple(own), _scored(own[0].configuration)
        left = sum(cell.configuration.key not in self.over for cell in own)
        cost = self._cost(how)
        if isinstance(cost, str):
            return Forecast(cells, None, scored, left, None, cost)
        known = self.recorded.get(_but_seed(how))
        if known:
            return Forecast(cells, cost, scored, left, left * fmean(known), RECORDED)
        pace = self._pace(how)
        if isinstance(pace, str):
            return Forecast(cells, cost, scored, left, None, pace)
        return Forecast(cells, cost, scored, left, left * rounds_of(how) * pace, MEASURED)

    def _cost(self, how: Configuration) -> Budget | str:
        """The budget, or why there is none; of methods and options that store alike it is made once."""
        layout = {name: value for name, value in how.options.items() if name not in NUMBERS}
        method = "" if _scored(how) else how.method
        key = repr((how.data, how.model, method, how.compression, method and layout))
        if key not in self.costs:
            try:
                self.costs[key] = _budget(how, self.root)
            except RpsError as error:
                self.costs[key] = str(error)
        return self.costs[key]

    def _pace(self, how: Configuration) -> float | str:
        """Seconds of one training, or why they are unknown; a mask and a rate cost no time."""
        kind: object = how.compression if how.method == "smaller" else how.method in SHARING and how.options
        method = how.method if how.method in (*SHARING, "smaller") else ""
        key = repr((how.data, how.model, method, kind, replace(how.recipe, lr=STILL)))
        if key not in self.paces:
            try:
                self.paces[key] = _seconds(how, self.root)
            except RpsError as error:
                self.paces[key] = str(error)
        return self.paces[key]


def _scored(how: Configuration) -> bool:
    """Whether a score says which weights are kept; how many is known, and where hardly matters."""
    return how.method == "ltr" or (how.method in PRUNING and how.method != "random")


def _model(how: Configuration, root: Path | None) -> torch.nn.Module:
    """What a cell trains, with a random mask in place of one by scores."""
    classes, shape = shape_of(how.data, root)
    method, options = ("random", {}) if _scored(how) else (how.method, how.options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(how.seed)
        make = partial(build, how.model, classes, shape[0])
        return prepare(method, make, how.compression, seed=how.seed, options=options)


def _budget(how: Configuration, root: Path | None) -> Budget:
    classes, shape = shape_of(how.data, root)
    with torch.device("meta"):
        dense = build(how.model, classes, shape[0])
    return budget(_model(how, root), dense, shape)


def _seconds(how: Configuration, root: Path | None) -> float:
    """One training, from a few of its steps and one batch of its tests."""
    recipe = how.recipe
    source = feed(how.data, recipe.batch, 0, recipe.augment, held_out=how.held_out, root=root)
    training = Training(_model(how, root), replace(recipe, lr=STILL), source.steps, 0)
    times = []
    for index in range(min(1 + STEPS, source.steps)):
        begun = time.perf_counter()
        training.advance(source.batch(0, index))
        times.append(time.perf_counter() - begun)
    batch = next(iter(source.test()))
    begun = time.perf_counter()
    training.test([batch])
    testing = (time.perf_counter() - begun) * _images(source.held) / len(batch[1])
    return recipe.epochs * (source.steps * median(times[1:] or times) + testing)


def _images(held: Batches) -> int:
    return len(held.dataset) if held.rows is None else len(held.rows)


def table(found: Sequence[Forecast]) -> list[dict[str, Any]]:
    """A row for each forecast, for the terminal and for JSON."""
    rows = []
    for each in found:
        how = each.cells[0].configuration
        cost = each.budget
        rows.append({
            "data": Path(how.data).name, "model": how.model, "method": how.method,
            "options": " ".join(f"{name}={value}" for name, value in sorted(how.options.items())),
            "n/m": how.compression, "recipe": how.recipe.name, "lr": how.recipe.lr,
            "epochs": how.recipe.epochs * rounds_of(how), "seeds": len(each.cells), "left": each.left,
            "parameters": None if cost is None else cost.params,
            "bytes": None if cost is None else cost.bytes, "about": each.about,
            "seconds": each.seconds, "source": each.source,
        })  # fmt: skip
    return rows
