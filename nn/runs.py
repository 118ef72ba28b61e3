"""Runs that survive: a folder named by what is run, numbers as they come, and a state to go on from.

In it lie::

    FOLDER/CONFIGURATION-HASH/
        configuration.json    what is run, on which data, by which code
        metrics.jsonl         a line for each epoch
        round-0/              the training; lottery tickets have more rounds
            state.safetensors     after an epoch or some seconds; at last the final weights
            rewind.safetensors    the weights that later rounds go back to
        result.json           when it is over, also where it diverged

Killed at any moment and started again, a run ends with the bits of one that was left alone.

A round of lottery tickets starts from the weights and batch norms of the rewind step, with a fresh optimizer
(no momentum), and takes rates and batches from that step on, as in the code of its authors (open_lth). What
is dropped is ranked by the final weights, not by their average.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from inspect import signature
from math import ceil, log
from numbers import Real
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn as tnn
from safetensors import SafetensorError
from safetensors import torch as safetensors

from nn.budget import budget, parameters_in
from nn.methods import ALL, METHODS, SHARING, Builder, planned, prepare
from nn.patterns import one_of
from nn.pruning import METHODS as PRUNING
from nn.pruning import collapsed, keep_largest, masked, masks_in, masks_of, prune
from nn.pruning.masks import own_name
from nn.recipes import Recipe
from nn.sharing import share
from nn.sources import code_but_for
from nn.tiles import roast
from nn.training import Diverged, Source, Training
from rpstheory import __version__
from rpstheory.errors import ArgumentError, DataError, KindError, ResumeError, RpsError, Stopped
from rpstheory.mappings.base import check_count
from rpstheory.report.files import write_bytes

HASHED = 16  # hexadecimal digits of a folder's name
LOOKING_ON = (  # parts of nn that make no number of a run
    "advice", "commands.py", "cross_layer", "evaluation.py", "exporting.py", "plotting.py", "practice",
    "records.py", "study",
)  # fmt: skip
EXACT = 2**53  # whole numbers below are floats too
PATIENCE = 20.0  # seconds of work after which a state is written, at the end of a step
TOLD = 0.05  # a smaller model further from its budget is remarked upon

GIVEN = {  # arguments of nn.share and nn.prune that are no options of a run, and what there is in their place
    "model": "pass it as model (--model)",
    "method": "pass it as method (--method)",
    "compression": "pass it as compression (--compression)",
    "budget_params": "pass a compression (--compression)",
    "budget_bytes": "pass a compression (--compression)",
    "seed": "pass it as seed (--seed)",
    "batches": "they are taken from the data (--data)",
    "loss": "it is cross-entropy",
    "importance": "no record can hold it",
    "inplace": "the model is the run's own",
}
RATE, REWIND = 0.5, 0  # of lottery tickets, where the options say nothing else
TICKETS: dict[str, float] = {"rate": RATE, "rewind": REWIND}


@cache
def usual(method: str) -> dict[str, Any]:
    """The options of a method, and what they are where nothing is said."""
    if method == "ltr":
        return dict(TICKETS)
    if method not in (*SHARING, *PRUNING):
        return {}
    called: Callable[..., Any] = prune if method in PRUNING else roast if method == "roast" else share
    own = {name: each.default for name, each in signature(called).parameters.items() if name not in GIVEN}
    passes = {"passes": PRUNING[method].passes} if method in PRUNING else {}
    return _plain(own | passes | ALL | SHARING.get(method, {}))


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """As JSON holds them, with whole numbers as such: 2.0 is 2."""

    def number(text: str) -> float:
        value = float(text)
        return int(value) if value.is_integer() and abs(value) < EXACT else value

    return json.loads(json.dumps(options), parse_float=number)


@dataclass(frozen=True)
class Configuration:
    """What is run: all that a result depends on.

    Attributes:
        data: Name or path of the data.
        model: A name of :mod:`nn.models.registry`.
        method: One of :data:`nn.methods.METHODS`.
        compression: Compressible weights over cells, or over weights kept; 1 for dense.
        recipe: How it is trained.
        seed: Of init, mapping, batches.
        options: Of the method; for ltr ``rate``, the share pruned in a round, and ``rewind``, a step.
        held_out: Test on this share of the training set in place of the test set; 0 for the test set.
    """

    data: str
    model: str
    method: str
    compression: float
    recipe: Recipe
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    held_out: float = 0.0

    def __post_init__(self) -> None:
        """Check what can be checked without the data, and leave out options that say what is so anyway.

        Raises:
            KindError: If a field is of the wrong kind.
            ArgumentError: If a field is out of range.
        """
        self._check_kinds()
        one_of("train", "method", self.method, METHODS)
        if not 1 <= self.compression < float("inf"):
            raise ArgumentError(f"train: compression={self.compression} came; 1 or more is needed")
        if self.method == "dense" and self.compression != 1:
            raise ArgumentError(
                f"train: compression={self.compression:g} came for dense; pass 1, or another method"
            )
        if not 0 <= self.held_out < 1:
            raise ArgumentError(f"train: held_out={self.held_out} came; a share below 1 is needed")
        seed = check_count("train", "seed", self.seed, low=0, high=2**63 - 1, why="it is kept in 63 bits")
        options, known = self._options(), usual(self.method)
        if self.method == "ltr":
            _check_tickets(options)
        left = {name: value for name, value in options.items() if not _same(value, known.get(name, ...))}
        object.__setattr__(self, "options", left)
        object.__setattr__(self, "compression", float(self.compression))
        object.__setattr__(self, "held_out", float(self.held_out))
        object.__setattr__(self, "seed", seed)

    def _check_kinds(self) -> None:
        """Do nothing if every number is one.

        Raises:
            KindError: If one is not.
        """
        for name, kinds, wanted in (
            ("compression", Real, "a number"),
            ("held_out", Real, "a number"),
            ("options", dict, "a dictionary from names to values"),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, kinds):
                raise KindError(f"train: {name}={value!r} came; {wanted} is needed")

    def _options(self) -> dict[str, Any]:
        """As they are written down.

        Raises:
            KindError: If one is not made of plain numbers and words.
            ArgumentError: If one is given elsewhere, or the method has none.
        """
        try:
            options = _plain(self.options)
        except (TypeError, ValueError, RecursionError) as error:
            raise KindError(
                f"train: options={self.options!r} came, which no record can hold ({error}); pass numbers "
                "and names"
            ) from None
        for name in (name for name in GIVEN if name in options):
            raise ArgumentError(
                f"train: option {name}={options[name]!r} came, which is none of a method; {GIVEN[name]}"
            )
        if self.method in ("dense", "smaller") and options:
            raise ArgumentError(f"train: options={options!r} came; {self.method} has none")
        return options

    def to_json(self) -> str:
        """One text for one configuration."""
        return json.dumps(asdict(self), sort_keys=True, indent=1)

    @property
    def key(self) -> str:
        """Its hash, the name of its folder."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:HASHED]


def _check_tickets(options: dict[str, Any]) -> None:
    """Do nothing if lottery tickets can be drawn so, whatever the data.

    Raises:
        KindError: If the rewind step is no whole number.
        ArgumentError: If an option is unknown, or out of range.
    """
    for name in options:
        one_of("train", "option", name, TICKETS)
    rate, step = (options.get(name, usual) for name, usual in TICKETS.items())
    if isinstance(step, bool) or not isinstance(step, int):
        raise KindError(f"train: rewind={step!r} came; the number of a step is needed")
    if step < 0:
        raise ArgumentError(f"train: rewind={step} came; a step, 0 or more, is needed")
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < 1:
        raise ArgumentError(f"train: rate={rate!r} came for ltr; a share between 0 and 1 is needed")


def _same(value: object, usual: object) -> bool:
    """Whether they are equal; a truth value is no number."""
    return value == usual and isinstance(value, bool) == isinstance(usual, bool)


@dataclass(frozen=True)
class Result:
    """What came of a run.

    Attributes:
        status: "finished" or "diverged".
        remark: Why it diverged; or that a smaller model is more than 5 % away from its budget.
        test_loss: Of the last epoch; of the last before it diverged, if there was one.
        test_accuracy: Likewise.
        seconds: Of training and testing, of all starts and rounds, without what was lost in kills.
        budget: The fields of :class:`nn.budget.Budget`.
        collapsed: Layers of which pruning left nothing.
        places: Device, threads and processes of every start: other bits may come of others.
        seal: Digest of the tensors of the final state; empty where it diverged.
    """

    status: str
    remark: str
    test_loss: float | None
    test_accuracy: float | None
    seconds: float
    budget: dict[str, Any]
    collapsed: list[str]
    places: list[str]
    seal: str = ""


Watch = Callable[[dict[str, Any]], None]
"""Told of every step and every epoch.

Of a step: its ``round``, ``step`` (of the round, from 1), ``epoch_of`` it and ``loss``; how many ``rounds``
and ``epochs`` there are, and how many steps of the ``whole`` run are ``taken``. Of an epoch: its line of
metrics.jsonl.
"""


@dataclass
class Run:
    """One configuration in one folder.

    Attributes:
        configuration: What is run.
        folder: Where.
        source: The data.
        build: The model by its widths.
        watch: Told how it goes.
        device: Where it is trained.
        rank: Which process this is; the first writes.
        world: How many train together.
        digest: Of the data, so that a run does not go on with others.
    """

    configuration: Configuration
    folder: Path
    source: Source
    build: Builder
    watch: Watch
    device: torch.device
    rank: int = 0
    world: int = 1
    digest: str = ""

    def go(self) -> Result:
        """Train to the end, from wherever an earlier start was left.

        Raises:
            ArgumentError: If the method cannot do this; nothing is written.
            DataError: If a file cannot be read or written; what was written before stays.
            ResumeError: If the folder belongs to another run, or is in use.
            Stopped: If the user interrupts it, or the first of several processes ends; the state is kept.
            RuntimeError: If torch cannot do this.
        """
        try:
            return self._go()
        except RuntimeError as error:
            if self.rank == 0 or isinstance(error, RpsError):
                raise
            reason = str(error).splitlines()[0]
            raise Stopped(
                f"train: process {self.rank} stopped with the others ({reason}); the first says why"
            ) from error
        except KeyboardInterrupt:
            raise Stopped(
                f"train: stopped; the same command goes on, and does at most some {PATIENCE:g} s again"
            ) from None

    def _go(self) -> Result:
        done = self.folder / "result.json"
        self._require_own(done.exists())
        if done.exists():
            return _result(done)
        counts = self._counts()
        self.rounds = 1 + len(counts)
        first = self._start(0, counts)
        with self._owned():
            self._meet()
            self.rows = self._read_rows()
            places: list[str] = []
            status, remark, seconds = "finished", "", 0.0
            try:
                for number in range(self.rounds):
                    self._round(number, first if number == 0 else self._start(number, counts))
                    places += self.training.progress.places
            except Diverged as reason:
                status, remark = "diverged", str(reason)
                seconds = self.training.progress.seconds
                places += self.training.progress.places
            last = self.rows[-1] if self.rows else {}
            result = Result(
                status, remark or self._beside_budget(), last.get("test_loss"), last.get("test_accuracy"),
                seconds + sum(row["seconds"] for row in self.rows), self._budget(),
                collapsed(masks_of(self.training.model)), list(dict.fromkeys(places)),
                seal_of(safetensors.load(self.training.to_bytes())) if status == "finished" else "",
            )  # fmt: skip
            self._meet()  # nobody looks for the result any more
            self._write(done, json.dumps(asdict(result), indent=1).encode())
        return result

    def _budget(self) -> dict[str, Any]:
        with torch.device("meta"):
            dense = self.build(1.0)
        images, _ = next(iter(self.source.test()))
        return asdict(budget(self.training.model, dense, tuple(images.shape[1:])))

    def _beside_budget(self) -> str:
        """That a smaller model misses its budget, where it does."""
        if self.configuration.method != "smaller":
            return ""
        with torch.device("meta"):
            wanted = planned(self.build(1.0), self.configuration.compression).stored_params
        came = parameters_in(self.training.model)
        return f"{came:,} parameters, and the budget is {wanted:,}" if abs(came / wanted - 1) > TOLD else ""

    # ------------------------------------------------------------------------------------ a round

    def _round(self, number: int, model: tnn.Module) -> None:
        """One training from its first step to its last."""
        folder = self.folder / f"round-{number}"
        _make(folder)
        configuration = self.configuration
        self.training = training = Training(
            model.to(self.device), configuration.recipe, self.source.steps, configuration.seed,
            rank=self.rank, world=self.world,
        )  # fmt: skip
        state = folder / "state.safetensors"
        if state.exists():
            training.from_bytes(_read(state))
        elif number:
            training.progress.step = self._rewind
        self._meet()  # nobody looks for the state any more
        if not training.done and self._place() not in training.progress.places:
            training.progress.places.append(self._place())
        step = training.progress.step
        self.rows = [row for row in self.rows if row["round"] != number or row["step"] <= step]
        self._train(training, folder, number)
        self._meet()  # everybody may look for it again

    def _train(self, training: Training, folder: Path, number: int) -> None:
        saved = clock = time.monotonic()
        while not training.done:
            step = training.progress.step
            if number == 0 and self._tickets and step == self._rewind:
                held = {name: value.contiguous() for name, value in training.model.state_dict().items()}
                self._write(folder / "rewind.safetensors", safetensors.save(held))
            epoch, index = divmod(step, self.source.steps)
            loss = training.advance(self.source.batch(epoch, index))
            self._tell({"round": number, "step": step + 1, "loss": loss} | self._far(number, step + 1))
            now = time.monotonic()
            training.progress.seconds += now - clock
            clock, ended = now, index + 1 == self.source.steps
            if ended:
                self._end_epoch(training, number, epoch)
                clock = time.monotonic()
            if ended or clock - saved > PATIENCE:
                self._write(folder / "state.safetensors", training.to_bytes())
                saved = time.monotonic()

    def _end_epoch(self, training: Training, number: int, epoch: int) -> None:
        step, seconds, begun = training.progress.step, training.progress.seconds, time.monotonic()
        train, test = training.end_epoch(self.source.test())
        row = {
            "round": number, "epoch": epoch + 1, "step": step,
            "rate": training.recipe.rate(step - 1, self.source.steps),
            "train_loss": train.loss, "train_accuracy": train.accuracy,
            "test_loss": test.loss, "test_accuracy": test.accuracy,
            "seconds": seconds + time.monotonic() - begun,
        }  # fmt: skip
        self.rows.append(row)
        text = "".join(json.dumps(each) + "\n" for each in self.rows)
        self._write(self.folder / "metrics.jsonl", text.encode())
        self._tell(row)

    def _tell(self, row: dict[str, Any]) -> None:
        if self.rank == 0:
            self.watch(row)

    def _meet(self) -> None:
        """Wait for the other processes."""
        if self.world > 1:
            dist.barrier()

    def _far(self, number: int, step: int) -> dict[str, Any]:
        """How far the run is after a step of a round; rounds after the first begin at the rewind step."""
        epochs, steps = self.configuration.recipe.epochs, self.source.steps
        later = epochs * steps - self._rewind
        taken, whole = number * later + step, (self.rounds - 1) * later + epochs * steps
        epoch = 1 + (step - 1) // steps
        return {"rounds": self.rounds, "epochs": epochs, "epoch_of": epoch, "taken": taken, "whole": whole}

    def _place(self) -> str:
        kind = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return f"{kind}, threads: {torch.get_num_threads()}, processes: {self.world}"

    # --------------------------------------------------------------------------- lottery tickets

    @property
    def _tickets(self) -> bool:
        return self.configuration.method == "ltr"

    @property
    def _rewind(self) -> int:
        """The step that later rounds start from."""
        step: int = self.configuration.options.get("rewind", REWIND) if self._tickets else 0
        return step

    def _counts(self) -> list[int]:
        """Weights kept in each round after the first, down to the budget; none but for tickets.

        Raises:
            ArgumentError: If there is no such step to rewind to, or the rate is too small.
        """
        if not self._tickets:
            return []
        steps = self.configuration.recipe.epochs * self.source.steps
        if self._rewind >= steps:
            raise ArgumentError(f"train: rewind={self._rewind} came; a step of 0 … {steps - 1} is needed")
        rate = self.configuration.options.get("rate", RATE)
        with torch.device("meta"):
            what = planned(self.build(1.0), self.configuration.compression)
        if what.cells == what.weights:
            return []
        rounds = ceil(log(what.cells / what.weights) / log(1 - rate) - 1e-9)
        if what.cells * rate < 1:
            raise ArgumentError(
                f"train: rate={rate:g} came for ltr; of {what.cells} weights a round would prune none, after "
                f"{rounds:,} rounds of training; a larger rate is needed"
            )
        left = (round(what.weights * (1 - rate) ** i) for i in range(1, rounds))
        return [*(max(what.cells, count) for count in left), what.cells]

    def _start(self, number: int, counts: list[int]) -> tnn.Module:
        """The model before its first step of this round."""
        configuration = self.configuration
        with torch.random.fork_rng():
            torch.manual_seed(configuration.seed)
            if not self._tickets:
                return prepare(
                    configuration.method, self.build, configuration.compression,
                    batches=self.source.scored() if configuration.method in PRUNING else (),
                    seed=configuration.seed, options=configuration.options,
                )  # fmt: skip
            model = self.build(1.0)
        if number == 0:
            return model
        before = model_in(tensors_of(self.folder / f"round-{number - 1}" / "state.safetensors"))
        final = {own_name(name): value for name, value in before.items()}
        sizes = {w.name: final[w.name].abs() for w in planned(model, 1).groups[0].weights}
        masks = keep_largest(sizes, counts[number - 1], masks_in(before) or None)
        model.load_state_dict(tensors_of(self.folder / "round-0" / "rewind.safetensors"))
        return masked(model, masks)

    # -------------------------------------------------------------------------------- the folder

    def _header(self) -> dict[str, Any]:
        """What configuration.json says."""
        return {
            "version": __version__,
            "code": code(),
            "data": self.digest,
            "configuration": json.loads(self.configuration.to_json()),
        }

    def _require_own(self, done: bool) -> None:
        """Do nothing if the folder is this run's, or not there yet.

        A finished run was made by one code, which it names; an unfinished one must not be made by two.

        Raises:
            ResumeError: If it is not.
        """
        path, mine = self.folder / "configuration.json", self._header()
        if not path.exists():
            return
        found = _read_json(path)
        if found.get("configuration") != mine["configuration"]:
            other, cure = "another configuration", "pass another folder"
        elif found.get("version") != mine["version"]:
            other, cure = f"version {found.get('version')}, and this is {__version__}", "pass another folder"
        elif found.get("data") != mine["data"]:
            other, cure = "other data of the same name", "pass another folder, or bring those back"
        elif not done and found.get("code") != mine["code"]:
            other = f"other code ({found.get('code')}, and this is {mine['code']})"
            cure = "finish it with that code, or remove it to start anew"
        else:
            return
        raise ResumeError(f"train: {self.folder} was begun by {other}; {cure}")

    @contextmanager
    def _owned(self) -> Iterator[None]:
        """The folder for this process alone, made if it is not there, without what a kill left half written.

        Raises:
            ResumeError: If another process trains in it.
        """
        if self.rank:
            yield
            return
        _make(self.folder)
        lock = os.open(self.folder, os.O_RDONLY)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ResumeError(f"train: {self.folder} is in use by another run; wait for it") from None
            for partial in self.folder.rglob(".*.*.*"):
                partial.unlink()
            path = self.folder / "configuration.json"
            if not path.exists():
                self._write(path, json.dumps(self._header(), indent=1).encode())
            yield
        finally:
            os.close(lock)

    def _read_rows(self) -> list[dict[str, Any]]:
        path = self.folder / "metrics.jsonl"
        try:
            return [json.loads(line) for line in _read(path).splitlines()] if path.exists() else []
        except ValueError as error:
            raise DataError(f"train: {path} cannot be read ({error}); remove its folder") from None

    def _write(self, path: Path, content: bytes) -> None:
        """Whole or not at all, by the first process.

        Raises:
            DataError: If it cannot be written.
        """
        if self.rank:
            return
        try:
            write_bytes(path, content, "train")
        except DataError as error:
            raise DataError(
                f"{error}, or make room: nothing written before is lost, and the same command goes on"
            ) from None


def code() -> str:
    """The code that makes the numbers of a run."""
    return code_but_for(*LOOKING_ON)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"train: {folder} cannot be made ({error.strerror}); choose another path, or make room"
        ) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"train: {path} cannot be read ({error.strerror}); remove its folder") from None


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    """What a file in the folder of a run holds.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        return safetensors.load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"run: {path} cannot be read ({error}); remove the folder of the run, and train again"
        ) from None


def seal_of(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 of tensors with their names."""
    return hashlib.sha256(safetensors.save(tensors)).hexdigest()


def model_in(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of the model in those of a state, by their names in it."""
    return {name.removeprefix("model."): each for name, each in state.items() if name.startswith("model.")}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_read(path))
        if isinstance(found, dict):
            return found
        reason = "it holds no object"
    except ValueError as error:
        reason = str(error)
    raise DataError(f"train: {path} cannot be read ({reason}); remove its folder")


def _result(path: Path) -> Result:
    try:
        return Result(**_read_json(path))
    except TypeError as error:
        raise DataError(f"train: {path} is no result ({error}); remove it, and the run ends anew") from None
