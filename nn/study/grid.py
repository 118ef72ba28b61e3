"""A study as a file: axes whose product is a list of runs, every one checked before the first begins.

    data = "digits"        # here and in a grid: data, model, method, compression or cells, recipe, seed,
    seed = [0, 1, 2]       # held_out, and the tables change and options. A list is an axis.

    [[grid]]
    name = "pareto"
    method = ["dense", "stable-rps", "magnitude"]
    compression = [4, 16]  # dense is trained once, at 1x
    change.epochs = 4      # of the recipe
    options.scaler = "v1"  # of the method

What stands above the grids holds for all of them, unless a grid says otherwise.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import torch

from nn.data import DATASETS, load
from nn.methods import METHODS, SHARING, planned, prepare
from nn.models.registry import MODELS, READERS, build
from nn.patterns import one_of
from nn.pruning import METHODS as PRUNING
from nn.recipes import RECIPES, Recipe, recipe_of
from nn.runs import Configuration, usual
from rpstheory.errors import ArgumentError, DataError, RpsError

DEFAULTS: dict[str, Any] = {
    "data": "digits", "model": "resnet8", "recipe": "smoke", "seed": 0, "held_out": 0.0,
}  # fmt: skip
KINDS: dict[str, type] = {
    "data": str, "model": str, "method": str, "compression": float, "cells": int, "recipe": str,
    "seed": int, "held_out": float,
}  # fmt: skip
KNOWN: dict[str, Iterable[str]] = {"model": MODELS, "method": METHODS, "recipe": RECIPES}
TABLES = ("change", "options")
WORDS = {int: "a whole number", float: "a number", str: "text"}
SHAPES = {  # classes; channels, height and width
    "digits": (10, (1, 32, 32)), "cifar10": (10, (3, 32, 32)), "cifar100": (100, (3, 32, 32)),
    "tiny-imagenet": (200, (3, 64, 64)),
}  # fmt: skip
SMALL = 0.25  # of the widths: a model on which options are tried

Table = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """A run of a study.

    Attributes:
        grids: Where it stands, by name.
        configuration: What is run.
    """

    grids: tuple[str, ...]
    configuration: Configuration

    def axes(self) -> dict[str, str]:
        """Everything by which it can be chosen, in words."""
        how = self.configuration
        named = {"data": how.data, "model": how.model, "method": how.method, "recipe": how.recipe.name}
        numbers = {"compression": f"{how.compression:g}", "seed": str(how.seed)}
        changed = {"lr": f"{how.recipe.lr:g}", "held_out": f"{how.held_out:g}"}
        return named | numbers | changed | {name: str(value) for name, value in how.options.items()}

    def __str__(self) -> str:
        """In a few words."""
        how = self.configuration
        options = "".join(f" {name}={value}" for name, value in sorted(how.options.items()))
        return (
            f"{Path(how.data).name} {how.model} {how.method}{options} {how.compression:.4g}x seed {how.seed}"
        )


@dataclass(frozen=True)
class Study:
    """Runs that belong together.

    Attributes:
        name: That of the file.
        cells: One for each run, in the order in which they are begun: seed by seed.
    """

    name: str
    cells: tuple[Cell, ...]

    def only(self, wanted: Sequence[str]) -> Study:
        """The cells that match every text NAME=VALUE,VALUE.

        Raises:
            ArgumentError: If a name or a value is not in this study.
        """
        cells = list(self.cells)
        for text in wanted:
            name, mark, values = text.partition("=")
            if not (mark and values):
                raise ArgumentError(f"study: --only {text!r} came; NAME=VALUE is needed, such as seed=0")
            axes = dict.fromkeys(key for cell in self.cells for key in cell.axes())
            one_of("study", "--only", name, ["grid", *axes])
            known = dict.fromkeys(value for cell in self.cells for value in _values(cell, name))
            chosen = {one_of("study", f"--only {name}", value, known) for value in values.split(",")}
            cells = [cell for cell in cells if chosen & set(_values(cell, name))]
        if not cells:
            raise ArgumentError(f"study: --only {' '.join(wanted)} leaves no cell; ask for less at once")
        return replace(self, cells=tuple(cells))


def _values(cell: Cell, name: str) -> tuple[str, ...]:
    return cell.grids if name == "grid" else tuple(filter(None, [cell.axes().get(name)]))


def read_study(path: Path, root: Path | None = None) -> Study:
    """The study of a file.

    Args:
        path: TOML.
        root: Folder with the official data.

    Raises:
        DataError: If it cannot be read, or data that are needed are missing.
        ArgumentError: If a key is unknown or a value is out of range.
    """
    try:
        whole = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"study: {path} cannot be read ({reason}); pass a TOML file") from None
    grids = whole.pop("grid", None)
    if not isinstance(grids, list) or not grids:
        raise ArgumentError(
            f"study {path.name}: no [[grid]] came; one or more are needed, each with a method"
        )
    found: dict[str, Cell] = {}
    budgets: dict[tuple[str, str, int], float] = {}  # compressions that store as many cells are one
    for number, grid in enumerate(grids, 1):
        if not isinstance(grid, dict):
            raise ArgumentError(f"study {path.name}: grid {number} is {grid!r}; write [[grid]] and its keys")
        name = _checked(f"study {path.name}, grid {number}", "name", grid.pop("name", f"grid {number}"), str)
        for each in _grid(f"study {path.name}, {name}", _merged(whole, grid), root):
            weights, stored = compressible(each.model, each.data, root, each.compression)
            usual = 1.0 if stored == weights else each.compression
            first = budgets.setdefault((each.model, each.data, stored), usual)
            configuration = replace(each, compression=first)
            own = found.setdefault(configuration.key, Cell((), configuration))
            grids_of = tuple(dict.fromkeys((*own.grids, name)))
            found[configuration.key] = replace(own, grids=grids_of)
    cells = sorted(found.values(), key=lambda cell: cell.configuration.seed)
    return Study(path.stem, tuple(cells))


def _merged(whole: Table, grid: Table) -> Table:
    """What a grid says, and else what stands above all."""
    merged = DEFAULTS | whole | grid
    for name in TABLES:
        above, own = whole.get(name, {}), grid.get(name, {})
        merged[name] = above | own if isinstance(above, dict) and isinstance(own, dict) else own or above
    if "cells" in grid or "compression" in grid:  # either says what the other would
        for name in {"cells", "compression"} - grid.keys():
            merged.pop(name, None)
    return merged


def _grid(owner: str, grid: Table, root: Path | None) -> Iterator[Configuration]:
    """Every configuration of a grid.

    Raises:
        ArgumentError: If a key is unknown or a value is out of range.
    """
    for name in grid:
        one_of(owner, "key", name, (*KINDS, *TABLES))
    axes = [(name, _axis(owner, name, value)) for name, value in grid.items() if name not in TABLES]
    budgets = grid.keys() & {"cells", "compression"}
    if "method" not in grid:
        raise ArgumentError(f"{owner}: no method came; one or more of {', '.join(METHODS)} are needed")
    if len(budgets) != 1 and set(dict(axes)["method"]) != {"dense"}:
        came = " and ".join(sorted(budgets)) or "neither compression nor cells"
        raise ArgumentError(f"{owner}: {came} came; one of compression and cells is needed")
    for name in TABLES:
        if not isinstance(grid[name], dict):
            raise ArgumentError(f"{owner}: {name}={grid[name]!r} came; {name}.NAME = VALUE is needed")
        axes += [(f"{name}.{key}", _options(value, key)) for key, value in grid[name].items()]
    names = [name for name, _ in axes]
    for values in product(*(values for _, values in axes)):
        yield _configuration(owner, dict(zip(names, values, strict=True)), root)


def _axis(owner: str, name: str, value: object) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ArgumentError(f"{owner}: {name}=[] came; one value or more is needed")
    for each in values:
        _checked(owner, name, each, KINDS[name])
        if name in KNOWN:
            one_of(owner, name, str(each), KNOWN[name])
    return values


def _options(value: object, name: str) -> list[Any]:
    """A list is an axis; of what is a list itself, a list of lists is."""
    if name in ("drops", "include", "exclude") and not (
        isinstance(value, list) and value and isinstance(value[0], list)
    ):
        return [value]
    return value if isinstance(value, list) else [value]


def _checked(owner: str, name: str, value: Any, kind: type) -> Any:
    """The value, if it is of this kind.

    Raises:
        ArgumentError: If it is not.
    """
    if not (type(value) is kind or (kind is float and type(value) is int)):
        raise ArgumentError(f"{owner}: {name}={value!r} came; {WORDS[kind]} is needed")
    return value


def _configuration(owner: str, chosen: Table, root: Path | None) -> Configuration:
    """One combination of an axes' values.

    Raises:
        ArgumentError: If it cannot be run.
    """
    tables: dict[str, Table] = {
        table: {
            name.removeprefix(f"{table}."): value
            for name, value in chosen.items()
            if name.startswith(f"{table}.")
        }
        for table in TABLES
    }
    method, model, data = chosen["method"], chosen["model"], _place(chosen["data"])
    recipe = _recipe(owner, chosen["recipe"], tables["change"])
    compression = 1.0 if method == "dense" else chosen.get("compression")
    if compression is None:
        compression = _compression(owner, model, data, chosen["cells"], root)
    try:
        configuration = Configuration(
            data, model, method, float(compression), recipe, chosen["seed"], tables["options"],
            float(chosen["held_out"]),
        )  # fmt: skip
        compressible(model, data, root, configuration.compression)
    except RpsError as error:
        raise ArgumentError(f"{owner}: {error}") from None
    for name in tables["options"]:
        one_of(owner, f"option of {method}", name, usual(method))
    _try(owner, model, method, repr(sorted(tables["options"].items())), tables["options"])
    return configuration


def _place(data: str) -> str:
    """A data set as nn.fit names it: a path is made whole."""
    return str(Path(data).resolve()) if data not in DATASETS and Path(data).exists() else data


def _recipe(owner: str, name: str, changes: Table) -> Recipe:
    """A recipe with some fields changed; a whole number for a rate is the same rate.

    Raises:
        ArgumentError: If a field is unknown or out of range.
    """
    fields = {key: getattr(RECIPES[name], key, None) for key in changes}
    same = {
        key: float(value) if type(value) is int and isinstance(fields[key], float) else value
        for key, value in changes.items()
    }
    try:
        return recipe_of(name, **same)
    except RpsError as error:
        raise ArgumentError(f"{owner}: {error}") from None


def _compression(owner: str, model: str, data: str, cells: int, root: Path | None) -> float:
    """That at which a model stores so many compressible weights.

    Raises:
        ArgumentError: If it does not have so many.
    """
    weights, _ = compressible(model, data, root)
    if not 1 <= cells <= weights:
        raise ArgumentError(
            f"{owner}: cells={cells} came; {model} has {weights:,} weights; choose 1 … of them"
        )
    return weights / cells


@cache
def shape_of(data: str, root: Path | None = None) -> tuple[int, tuple[int, ...]]:
    """Classes; channels, height and width, or the tokens of a window; of papers' sets without a look at them.

    Raises:
        ArgumentError: If there is neither a data set nor a file of this name.
        DataError: If it cannot be read.
    """
    if data in SHAPES:
        return SHAPES[data]
    dataset = load(data, root)
    return len(dataset.classes), dataset.shape


@cache
def compressible(
    model: str, data: str, root: Path | None = None, compression: float = 1.0
) -> tuple[int, int]:
    """How many weights of a model on these data are compressible, and to how many cells they come down.

    Raises:
        ArgumentError: If not one cell is left at this compression.
    """
    classes, shape = shape_of(data, root)
    with torch.device("meta"):
        found = planned(build(model, classes, shape[0]), compression)
    return found.weights, sum(group.m for group in found.groups)


_TRIED: set[tuple[str, str, str]] = set()


def _try(owner: str, model: str, method: str, key: str, options: Table) -> None:
    """Do nothing if the method takes these options: tried on the model made narrow.

    Raises:
        ArgumentError: If it does not.
    """
    if not options or method not in (*SHARING, *PRUNING) or (model, method, key) in _TRIED:
        return
    make = lambda scale: build(model, 10, 3, SMALL if scale == 1.0 else scale)  # noqa: E731
    image, text = (
        (torch.ones(2, 3, 32, 32), torch.tensor([0, 1])),
        (torch.ones(2, 3), torch.ones(2, 3).long()),
    )
    batches = [text if model in READERS else image]
    try:
        with torch.random.fork_rng(devices=[]):
            tried = "hashed" if method == "roast" else method  # its tiles would be held to every law first
            prepare(tried, make, 2.0, batches=batches, options=options)
    except RpsError as error:
        raise ArgumentError(f"{owner}: {error}") from None
    _TRIED.add((model, method, key))
