"""Results of a study: a line of JSON for each cell, an SQLite index made from them, and trials to analyse.

The lines are the record; the index can be made again from them at any time. Lines of other origin (run
folders, benchmarks) become trials too, with what they say.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nn.records import UNFINISHED, Record, Row, records_of
from rpstheory import __version__
from rpstheory.errors import DataError, ResumeError

FAILED, FINISHED, DIVERGED = "failed", "finished", "diverged"
TUNING = "tune"  # the stage of lines that chose a learning rate: of no use for a comparison
SUFFIX = ".jsonl"
TABLE = "cells"


# ------------------------------------------------------------------------------------------ lines


def line_of(record: Record) -> Row:
    """What a run folder says, of which data and by which code, and how it learned in its last round."""
    last = record.rows[-1]["round"] if record.rows else 0
    curve = [
        {name: row[name] for name in ("epoch", "train_loss", "test_accuracy")}
        for row in record.rows
        if row["round"] == last
    ]
    return record.to_json() | {"data": record.data, "code": record.code, "curve": curve}


def failure(run: str, configuration: Row, remark: str) -> Row:
    """The line of a cell that could not be run."""
    return {
        "run": run, "version": __version__, "configuration": configuration, "status": FAILED,
        "remark": remark, "test_loss": None, "test_accuracy": None, "seconds": 0.0, "budget": {},
        "collapsed": [], "places": [], "epochs": 0, "curve": [],
    }  # fmt: skip


def read_lines(path: Path) -> list[Row]:
    """The lines of a file; of several lines of one run the last, and none that was cut off.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        found = [json.loads(line) for line in whole.splitlines()]
        return list({line["run"]: line for line in found if line["status"]}.values())
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise DataError(
            f"study: {path} cannot be read ({reason}); pass results as they were written"
        ) from None


@dataclass
class Lines:
    """The results of one study, open for one process.

    Attributes:
        path: Of the file.
        known: Lines by run.
    """

    path: Path
    known: dict[str, Row] = field(default_factory=dict)

    def add(self, line: Row) -> None:
        """Keep a line, at once: kill -9 loses at most the one that is being written.

        Raises:
            DataError: If it cannot be written.
        """
        self.known[line["run"]] = line
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise DataError(
                f"study: {self.path} cannot be written ({error.strerror}); make room, then run it again"
            ) from None


@contextmanager
def opened(path: Path) -> Iterator[Lines]:
    """The results of a study for this process alone; an index beside them when it is over.

    Raises:
        DataError: If the file cannot be read or written.
        ResumeError: If another process has it, or another version wrote it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    except OSError as error:
        raise DataError(f"study: {path} cannot be written ({error.strerror}); pass another --out") from None
    with closing(file):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ResumeError(f"study: {path} is in use by another study; wait for it") from None
        lines = Lines(path, {line["run"]: line for line in read_lines(path)})
        other = {str(line.get("version")) for line in lines.known.values()} - {__version__}
        if other:
            raise ResumeError(
                f"study: {path} holds results of version {', '.join(sorted(other))}, and this is "
                f"{__version__}; pass another --out"
            )
        _drop_cut_line(path)
        try:
            yield lines
        finally:
            index(path)


def _drop_cut_line(path: Path) -> None:
    content = path.read_bytes()
    os.truncate(path, content.rfind(b"\n") + 1)


# ------------------------------------------------------------------------------------------ index


def index(path: Path) -> Path:
    """The SQLite index of a file of lines, made from nothing: a row for each run, a column for each value.

    Raises:
        DataError: If these are no lines or cannot be read, or the index cannot be written.
    """
    if path.suffix != SUFFIX or path.is_dir():
        raise DataError(f"study: {path} came; an index is made of a file of results, NAME{SUFFIX}")
    rows = [flat(trial) for trial in trials_in(path)]
    place = path.with_suffix(".sqlite")
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    columns = [f'"{name}"' for name in flat(Trial())]
    try:
        with closing(sqlite3.connect(temporary)) as base, base:
            base.execute(f"CREATE TABLE {TABLE} ({', '.join(columns)}, PRIMARY KEY (run))")
            marks = ", ".join("?" * len(columns))
            base.executemany(f"INSERT INTO {TABLE} VALUES ({marks})", [tuple(row.values()) for row in rows])
        temporary.replace(place)
    except (OSError, sqlite3.Error) as error:
        raise DataError(
            f"study: {place} cannot be written ({error}); make room, or pass another path"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
    return place


# ----------------------------------------------------------------------------------------- trials


@dataclass(frozen=True)
class Trial:
    """One run as the analysis sees it; what a line does not say is empty.

    Attributes:
        run: The name of its folder.
        data: Name of the data.
        digest: Of their images and labels.
        held_out: Share of the training set that it was tested on.
        model: Its name.
        recipe: Its name.
        epochs: Of the recipe.
        how: The other fields of the recipe but the rate, with their values as text.
        lr: The rate.
        method: Its name.
        options: Of the method.
        compression: Asked for.
        seed: Of everything random.
        status: finished, diverged, failed or unfinished.
        remark: Why.
        accuracy: On the test images, at the end; of a run that diverged, before.
        loss: Likewise.
        weights: Compressible numbers that are stored.
        params: All that are stored.
        bytes: Stored.
        dense_weights: Compressible weights of the dense model.
        seconds: Of training and testing.
        collapsed: Layers of which nothing is left.
        curve: For each epoch of the last round its number, train loss and test accuracy.
        source: The file or folder it was read from.
    """

    run: str = ""
    data: str = ""
    digest: str = ""
    held_out: float = 0.0
    model: str = ""
    recipe: str = ""
    epochs: int = 0
    how: tuple[tuple[str, str], ...] = ()
    lr: float = 0.0
    method: str = ""
    options: tuple[tuple[str, Any], ...] = ()
    compression: float = 1.0
    seed: int = 0
    status: str = FINISHED
    remark: str = ""
    accuracy: float | None = None
    loss: float | None = None
    weights: int | None = None
    params: int | None = None
    bytes: int | None = None
    dense_weights: int | None = None
    seconds: float = 0.0
    collapsed: tuple[str, ...] = ()
    curve: tuple[tuple[int, float, float], ...] = ()
    source: str = ""

    @property
    def over(self) -> bool:
        """Whether it has an accuracy that counts, and says what it stores."""
        return self.status == FINISHED and None not in (self.accuracy, self.params, self.bytes)

    def option(self, name: str) -> Any:
        """Its value, None if it was left out."""
        return dict(self.options).get(name)


def trial_of(line: Row, source: Path) -> Trial:
    """A line of a study, of a run folder, or of a benchmark that adds what it likes.

    Raises:
        DataError: If it is none.
    """
    try:
        return _trial(line, source)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"study: a line of {source} is no result ({type(error).__name__}: {error}); pass results as they "
            "were written"
        ) from None


def _trial(line: Row, source: Path) -> Trial:
    how = line["configuration"]
    recipe = how["recipe"]
    rest = {name: str(value) for name, value in recipe.items() if name not in ("lr", "name", "epochs")}
    budget = line.get("budget") or {}
    curve = tuple((row["epoch"], row["train_loss"], row["test_accuracy"]) for row in line.get("curve", ()))
    return Trial(
        run=line["run"], status=line["status"], remark=line.get("remark", ""),
        accuracy=line.get("test_accuracy"), loss=line.get("test_loss"), weights=budget.get("weights"),
        params=budget.get("params"), bytes=budget.get("bytes"), dense_weights=budget.get("dense_weights"),
        seconds=line.get("seconds", 0.0), collapsed=tuple(line.get("collapsed", ())), curve=curve,
        source=str(source), data=Path(how["data"]).name, digest=line.get("data", ""),
        held_out=float(how["held_out"]), model=how["model"], recipe=recipe["name"], epochs=recipe["epochs"],
        how=tuple(sorted(rest.items())), lr=float(recipe["lr"]), method=how["method"],
        options=tuple(sorted(how["options"].items())), compression=float(how["compression"]),
        seed=int(how["seed"]),
    )  # fmt: skip


def trials_in(path: Path) -> list[Trial]:
    """Every run that a file of lines or a folder of runs tells of, tuning left out.

    Raises:
        DataError: If it cannot be read.
    """
    if path.is_dir():
        files = sorted(path.glob(f"*{SUFFIX}"))
        if files:
            return merged(map(trials_in, files))
        return [trial_of(line_of(record), path) for record in records_of(path)]
    return [trial_of(line, path) for line in read_lines(path) if line.get("stage") != TUNING]


def merged(parts: Iterable[Sequence[Trial]]) -> list[Trial]:
    """All of them, each run once: the last that is not unfinished."""
    found: dict[str, Trial] = {}
    for trial in (trial for part in parts for trial in part):
        if trial.run not in found or trial.status != UNFINISHED:
            found[trial.run] = trial
    return list(found.values())


def flat(trial: Trial) -> Row:
    """A value for each column of tables: text and numbers only."""
    row = dict(vars(trial))
    for column in ("how", "options"):
        row[column] = " ".join(f"{name}={value}" for name, value in row[column])
    row["collapsed"] = " ".join(trial.collapsed)
    del row["curve"]
    return row
