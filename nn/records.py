"""Runs as they lie in their folders, read without torch: a folder that cannot be read is a record too."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import Any

from nn.patterns import one_of
from nn.recipes import changed
from rpstheory.errors import DataError
from rpstheory.report.numbers import duration

CONFIGURATION, METRICS, RESULT = "configuration.json", "metrics.jsonl", "result.json"
UNFINISHED, BROKEN = "unfinished", "broken"

TOLD = 2  # layers named where many are empty
LARGEST = 700.0  # of losses whose exponential is a float

UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)

Row = dict[str, Any]
BEGUN: Row = {"round": 0, "epoch": 0, "test_accuracy": None, "test_loss": None}


@dataclass(frozen=True)
class Record:
    """One run.

    Attributes:
        folder: Where it lies.
        version: Of the code that began it.
        code: Torch, and a digest of the sources.
        data: A digest of its images and labels.
        configuration: What is run.
        result: What came of it; empty before it is over.
        rows: One for each epoch.
    """

    folder: Path
    version: str
    code: str
    data: str
    configuration: Row
    result: Row
    rows: tuple[Row, ...]

    @property
    def status(self) -> str:
        """finished, diverged or unfinished."""
        return self.result["status"] if self.result else UNFINISHED

    @property
    def remark(self) -> str:
        """Why it diverged, or what to know of its budget; and the layers of which pruning left nothing."""
        emptied = self.result.get("collapsed") or []
        rest = f" and {len(emptied) - TOLD} more" if len(emptied) > TOLD else ""
        emptied_too = f"nothing left of {', '.join(emptied[:TOLD])}{rest}" if emptied else ""
        return "; ".join(filter(None, (self.result.get("remark", ""), emptied_too)))

    @property
    def perplexity(self) -> float | None:
        """At the end of what there is, of a text; None of images."""
        last = (self.rows or (BEGUN,))[-1]
        loss = self.result.get("test_loss", last["test_loss"])
        return perplexity_of(loss) if is_text(self.configuration["data"]) else None

    def to_row(self) -> Row:
        """All that is known of it but the epochs, flat: a value for each of :data:`COLUMNS`."""
        how, recipe, last = self.configuration, self.configuration["recipe"], (self.rows or (BEGUN,))[-1]
        budget = self.result.get("budget") or {}
        return {
            "run": self.folder.name,
            "data": how["data"],
            "held_out": float(how["held_out"]),
            "model": how["model"],
            "method": how["method"],
            "options": _assigned(how["options"]),
            "compression": float(how["compression"]),
            "reached": budget.get("compression"),
            "recipe": recipe["name"],
            "set": _assigned(changed(recipe)),
            "lr": float(recipe["lr"]),
            "seed": int(how["seed"]),
            "round": last["round"],
            "epoch": last["epoch"],
            "epochs": recipe["epochs"],
            "status": self.status,
            "accuracy": self.result.get("test_accuracy", last["test_accuracy"]),
            "loss": self.result.get("test_loss", last["test_loss"]),
            "perplexity": self.perplexity,
            "params": budget.get("params"),
            "bytes": budget.get("bytes"),
            "ratio": budget.get("total_compression"),
            "flops": budget.get("flops"),
            "seconds": self.result.get("seconds", sum(row["seconds"] for row in self.rows)),
            "remark": self.remark,
        }

    def to_json(self) -> Row:
        """What its files say, and the perplexity of a text; of the epochs only their number."""
        hard = {} if self.perplexity is None else {"perplexity": self.perplexity}
        record = {"run": self.folder.name, "version": self.version, "configuration": self.configuration}
        return record | {"status": self.status} | self.result | hard | {"epochs": len(self.rows)}


def is_text(data: str) -> bool:
    """Whether data of this name, or at this path, are a text; told without loading them."""
    return data == "topics" or data.endswith(".txt")


def perplexity_of(loss: float | None) -> float | None:
    """exp(loss): as many tokens, equally likely, are as hard to tell; None where no float is so large."""
    return exp(loss) if loss is not None and loss < LARGEST else None


def read(folder: Path) -> Record:
    """The run in a folder.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        return _read(folder)
    except UNREADABLE as error:
        raise DataError(
            f"run: {folder} cannot be read ({_brief(error)}); pass the folder of a run, or "
            "restore what this one wrote"
        ) from None


def rows_of(folder: Path, wanted: Row) -> list[Row]:
    """A flat row for each run in a folder, however deep, in a sensible order.

    Args:
        folder: Or that of a single run.
        wanted: Values that columns must have, as they are or as they are shown; None is any.

    Raises:
        DataError: If there are no runs.
        ArgumentError: If no run has such a value.
    """
    rows = [_row(each) | {"run": _name(each, folder)} for each in sorted(_runs(folder))]
    if not rows:
        raise DataError(f"runs: {folder} holds no runs; rps train --out {folder} makes one")
    for column, value in wanted.items():
        if value is not None:
            names = [_names(row, column) for row in rows]
            one_of("runs", column, value, dict.fromkeys(name for each in names for name in each))
            rows = [row for row, each in zip(rows, names, strict=True) if value in each]
    return sorted(rows, key=_order)


def records_of(folder: Path) -> list[Record]:
    """The runs in a folder that can be read."""
    found = []
    for each in sorted(_runs(folder)):
        try:
            found.append(read(each))
        except DataError:  # rps runs shows it
            continue
    return found


def _runs(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        if {CONFIGURATION, METRICS, RESULT} & set(files):
            folders.clear()
            yield Path(where)


def _read(folder: Path) -> Record:
    begun, result, rows = (
        _json(folder / CONFIGURATION, "version", "configuration"),
        folder / RESULT,
        folder / METRICS,
    )
    record = Record(
        folder.resolve(),
        begun["version"],
        begun.get("code", ""),
        begun.get("data", ""),
        begun["configuration"],
        _json(result, "status") if result.exists() else {},
        tuple(_lines(rows) if rows.exists() else ()),
    )
    "".join(cells(record.to_row()))  # of the right kinds, or it cannot be shown
    return record


def _row(folder: Path) -> Row:
    try:
        return _read(folder).to_row()
    except UNREADABLE as error:
        mend = "restore what the run wrote, or remove its folder and train again"
        return {"status": BROKEN, "remark": f"{_brief(error)}; {mend}"}


def _brief(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{Path(error.filename or '').name}: {error.strerror}"
    return str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"


def _name(run: Path, folder: Path) -> str:
    return run.resolve().name if run == folder else str(run.relative_to(folder))


def _names(row: Row, column: str) -> tuple[str, ...]:
    """What a value may be called: of data the name of the file, what the table shows, and the path."""
    if column not in row:
        return ()
    return (Path(row[column]).name, _data(row), row[column]) if column == "data" else (str(row[column]),)


def _assigned(values: Row) -> str:
    """Names and values as ``--option`` and ``--set`` take them."""
    texts = {
        name: value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        for name, value in sorted(values.items())
    }
    return " ".join(f"{name}={text}" for name, text in texts.items())


def _order(row: Row) -> tuple[Any, ...]:
    names = (
        "data", "model", "recipe", "set", "held_out", "compression", "method", "options", "lr", "seed", "run",
    )  # fmt: skip
    return row["status"] == BROKEN, *(row.get(name, "") for name in names)


def _json(path: Path, *needed: str) -> Row:
    with _naming(path):
        found = json.loads(path.read_text())
    if not isinstance(found, dict) or not found.keys() >= set(needed):
        raise ValueError(f"{path.name} is not complete")
    return found


def _lines(path: Path) -> list[Row]:
    with _naming(path):
        return [json.loads(line) for line in path.read_text().splitlines()]


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors of decoding say of which file they are.

    Raises:
        ValueError: If there is one.
    """
    try:
        yield
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} holds no JSON: {error}") from None


# ---------------------------------------------------------------------------------------- tables


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        name: Its head.
        text: Of a cell.
        right: Whether numbers stand in it.
    """

    name: str
    text: Callable[[Row], str]
    right: bool = False


def _data(row: Row) -> str:
    name = Path(row["data"]).name
    return f"{name} (held out {row['held_out']:g})" if row["held_out"] else name


def ratio_of(row: Row) -> str:
    """The compression as it was asked for, or as it came where that is more than 1 % off."""
    asked, came = row["compression"], row["reached"] or row["compression"]
    return f"{asked:g}" if abs(came / asked - 1) < 0.01 else f"{came:.4g}"


def _epochs(row: Row) -> str:
    place = f"round {row['round']}: " if row["round"] else ""
    return f"{place}{row['epoch']}/{row['epochs']}"


def _some(number: float | None, form: str) -> str:
    return "" if number is None else format(number, form)


COLUMNS = (
    Column("run", lambda row: row["run"]),
    Column("data", _data),
    Column("model", lambda row: row["model"]),
    Column("method", lambda row: f"{row['method']} {row['options']}".strip()),
    Column("n/m", ratio_of, right=True),
    Column("recipe", lambda row: row["recipe"]),
    Column("set", lambda row: row["set"]),
    Column("lr", lambda row: f"{row['lr']:g}", right=True),
    Column("seed", lambda row: f"{row['seed']}", right=True),
    Column("epochs", _epochs, right=True),
    Column("accuracy", lambda row: _some(row["accuracy"], ".2%"), right=True),
    Column("perplexity", lambda row: _some(row["perplexity"], ".2f"), right=True),
    Column("status", lambda row: row["status"]),
    Column("bytes", lambda row: _some(row["bytes"], ","), right=True),
    Column("ratio", lambda row: _some(row["ratio"], ".1f"), right=True),
    Column("time", lambda row: duration(row["seconds"]), right=True),
    Column("remark", lambda row: row["remark"]),
)
LEAST: tuple[str, ...] = (
    "time",
    "recipe",
    "lr",
    "ratio",
    "data",
    "epochs",
    "set",
    "bytes",
    "model",
)  # left out first where there is no room
SOMETIMES = ("set", "perplexity", "remark")  # left out where no run has one
ALWAYS = ("run", "status", "remark")  # what a broken run has as well
GAP = 2


def cells(row: Row) -> list[str]:
    """The words of a row, one for each of :data:`COLUMNS`."""
    broken = row["status"] == BROKEN
    return ["" if broken and column.name not in ALWAYS else column.text(row) for column in COLUMNS]


def lines(rows: Sequence[Row], room: int | None = None) -> tuple[list[str], list[str]]:
    """The table as text, its head first, and the names of the columns that are left out.

    Args:
        rows: Of :func:`rows_of`.
        room: Characters of a line; as many as it takes if None. Remarks may be longer.
    """
    body = [cells(row) for row in rows]
    whole = {column.name: [row[place] for row in body] for place, column in enumerate(COLUMNS)}
    shown = {name: texts for name, texts in whole.items() if any(texts) or name not in SOMETIMES}
    return fitted(shown, {c.name for c in COLUMNS if c.right}, LEAST, room, loose=("remark",))


def fitted(
    columns: Mapping[str, Sequence[str]],
    right: Collection[str],
    least: Sequence[str],
    room: int | None,
    *,
    loose: Collection[str] = (),
) -> tuple[list[str], list[str]]:
    """A table as lines, its head first, and the names of the columns that are left out for want of room.

    Args:
        columns: Texts by name.
        right: Those that are set to the right, as numbers are.
        least: Those that can be spared, the first first.
        room: Characters of a line; as many as it takes if None.
        loose: Those that may go beyond.
    """
    width = {name: max(map(len, (name, *texts))) for name, texts in columns.items()}
    out: list[str] = []
    for name in (name for name in least if name in columns):
        inside = [width[each] + GAP for each in columns if each not in (*out, *loose)]
        if room is not None and sum(inside) - GAP > room:
            out.append(name)
    shown = [
        [each.rjust(width[name]) if name in right else each.ljust(width[name]) for each in (name, *texts)]
        for name, texts in columns.items()
        if name not in out
    ]
    return [(" " * GAP).join(line).rstrip() for line in zip(*shown, strict=True)], out
