"""Runs that survive: a folder named by what is run, numbers as they come, and a state to go on from.

    FOLDER/CONFIGURATION-HASH/
        configuration.json    what is run, and by which version
        metrics.jsonl         a line for each epoch
        round-0/              the training; lottery tickets have more rounds
            state.safetensors     after an epoch or a minute; at last the final weights
            rewind.safetensors    the weights that later rounds go back to
        result.json           when it is over, also where it diverged

Killed at any moment and started again, a run ends with the bits of one that was left alone.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from math import ceil, log
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn as tnn
from safetensors import torch as safetensors

from nn.methods import METHODS, prepare
from nn.patterns import one_of
from nn.planning import plan
from nn.pruning import Masks, keep_largest, masked
from nn.recipes import Recipe
from nn.training import Batch, Diverged, Source, Training
from rpstheory import __version__
from rpstheory.errors import ArgumentError, DataError, ResumeError, Stopped
from rpstheory.report.files import write_bytes, write_text

HASHED = 16  # hexadecimal digits of a folder's name
PATIENCE = 60.0  # seconds of work that a kill may cost

RATE, REWIND = 0.5, 0  # of lottery tickets, where the options say nothing else


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
        """Check what can be checked without the data.

        Raises:
            ArgumentError: If a field is out of range.
        """
        one_of("train", "method", self.method, METHODS)
        if not 1 <= self.compression < float("inf"):
            raise ArgumentError(f"train: compression={self.compression} came; 1 or more is needed")
        if not 0 <= self.held_out < 1:
            raise ArgumentError(f"train: held_out={self.held_out} came; a share below 1 is needed")

    def to_json(self) -> str:
        """One text for one configuration."""
        return json.dumps(asdict(self), sort_keys=True, indent=1)

    @property
    def key(self) -> str:
        """Its hash, the name of its folder."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:HASHED]


@dataclass(frozen=True)
class Result:
    """What came of a run.

    Attributes:
        status: "finished" or "diverged".
        remark: Why it diverged.
        test_loss: Of the last epoch; of the last before it diverged, if there was one.
        test_accuracy: Likewise.
        seconds: Of training and testing, of all starts, without what was lost in kills.
    """

    status: str
    remark: str
    test_loss: float | None
    test_accuracy: float | None
    seconds: float


Watch = Callable[[dict[str, Any]], None]
"""Told of every step and every epoch."""


@dataclass
class Run:
    """One configuration in one folder.

    Attributes:
        configuration: What is run.
        folder: Where.
        source: The data.
        build: The model by the scale of its widths.
        watch: Told how it goes.
        device: Where it is trained.
        rank: Which process this is; the first writes.
        world: How many train together.
    """

    configuration: Configuration
    folder: Path
    source: Source
    build: Callable[[float], tnn.Module]
    watch: Watch
    device: torch.device
    rank: int = 0
    world: int = 1

    def go(self) -> Result:
        """Train to the end, from wherever an earlier start was left.

        Raises:
            ResumeError: If the folder belongs to another configuration or version.
            Stopped: If the user interrupts it; the state is kept.
        """
        if self.rank == 0:
            self._own_folder()
        self._meet()
        done = self.folder / "result.json"
        if done.exists():
            return Result(**_read_json(done))
        self.rows = self._read_rows()
        rounds = self._counts()
        status, remark = "finished", ""
        try:
            for number in range(len(rounds) + 1):
                self._round(number, rounds)
        except Diverged as reason:
            status, remark = "diverged", str(reason)
        last = self.rows[-1] if self.rows else {}
        result = Result(status, remark, last.get("test_loss"), last.get("test_accuracy"), self._seconds())
        self._meet()  # nobody looks for the result any more
        if self.rank == 0:
            write_text(done, json.dumps(asdict(result), indent=1), "train")
        return result

    def _meet(self) -> None:
        """Wait for the other processes."""
        if self.world > 1:
            dist.barrier()

    def _save(self, training: Training, state: Path) -> None:
        if self.rank == 0:
            write_bytes(state, training.to_bytes(), "train")

    def _seconds(self) -> float:
        return sum(row["seconds"] for row in self.rows)

    def _own_folder(self) -> None:
        path, mine = self.folder / "configuration.json", self.configuration.to_json()
        text = json.dumps({"version": __version__, "configuration": json.loads(mine)}, indent=1)
        if path.exists():
            found = _read_json(path)
            if found != json.loads(text):
                other = "another configuration" if found.get("version") == __version__ else "another version"
                raise ResumeError(f"train: {self.folder} was begun by {other}; pass another folder")
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(path, text, "train")

    def _round(self, number: int, counts: list[int]) -> tnn.Module:
        """One training from its first step to its last."""
        folder = self.folder / f"round-{number}"
        folder.mkdir(exist_ok=True)
        self._meet()
        configuration = self.configuration
        model = self._start(number, counts).to(self.device)
        training = Training(
            model, configuration.recipe, self.source.steps, configuration.seed,
            rank=self.rank, world=self.world,
        )  # fmt: skip
        state = folder / "state.safetensors"
        if state.exists():
            training.from_bytes(state.read_bytes())
        elif number:
            training.progress.step = self._rewind
        self._drop_rows(number, training.progress.step)
        self._meet()
        self._train(training, folder, number)
        return model

    def _train(self, training: Training, folder: Path, number: int) -> None:
        state, saved = folder / "state.safetensors", time.monotonic()
        begun = time.monotonic()
        try:
            while not training.done:
                if number == 0 and self._tickets and training.progress.step == self._rewind:
                    self._keep_rewind(training.model, folder)
                epoch, index = divmod(training.progress.step, self.source.steps)
                loss = training.advance(self.source.batch(epoch, index))
                self.watch({"round": number, "step": training.progress.step, "loss": loss})
                if index + 1 == self.source.steps:
                    self._end_epoch(training, number, epoch, time.monotonic() - begun)
                    begun = time.monotonic()
                if index + 1 == self.source.steps or time.monotonic() - saved > PATIENCE:
                    self._save(training, state)
                    saved = time.monotonic()
        except KeyboardInterrupt:
            self._save(training, state)
            raise Stopped(
                f"train: stopped at step {training.progress.step}; the same command goes on"
            ) from None

    def _end_epoch(self, training: Training, number: int, epoch: int, seconds: float) -> None:
        if self.rank:
            training.end_epoch()
            return
        train, test = training.train_score(), training.test(self.source.test())
        step = training.progress.step
        row = {
            "round": number, "epoch": epoch + 1, "step": step,
            "rate": training.recipe.rate(step - 1, self.source.steps),
            "train_loss": train.loss, "train_accuracy": train.accuracy,
            "test_loss": test.loss, "test_accuracy": test.accuracy, "seconds": seconds,
        }  # fmt: skip
        training.end_epoch()
        self.rows.append(row)
        self._write_rows()
        self.watch(row)

    # --------------------------------------------------------------------------- lottery tickets

    @property
    def _tickets(self) -> bool:
        return self.configuration.method == "ltr"

    @property
    def _rewind(self) -> int:
        return int(self.configuration.options.get("rewind", REWIND)) if self._tickets else 0

    def _counts(self) -> list[int]:
        """Weights kept in each round after the first, down to the budget; none but for tickets.

        Raises:
            ArgumentError: If the rate or the rewind step is out of range.
        """
        if not self._tickets:
            return []
        steps = self.configuration.recipe.epochs * self.source.steps
        if not 0 <= self._rewind < steps:
            raise ArgumentError(f"train: rewind={self._rewind} came; a step of 0 … {steps - 1} is needed")
        what = plan(self.build(1.0), self.configuration.compression, mapping="hashed")
        left = 1 - float(self.configuration.options.get("rate", RATE))
        if not 0 < left < 1:
            raise ArgumentError(f"train: rate={1 - left:g} came for ltr; a share between 0 and 1 is needed")
        rounds = ceil(log(what.cells / what.weights) / log(left) - 1e-9)
        return [max(what.cells, round(what.weights * left**i)) for i in range(1, rounds)] + [what.cells]

    def _start(self, number: int, counts: list[int]) -> tnn.Module:
        """The model before its first step of this round."""
        configuration = self.configuration
        with torch.random.fork_rng():
            torch.manual_seed(configuration.seed)
            if not self._tickets:
                return prepare(
                    configuration.method, self.build, configuration.compression, batches=self._scored(),
                    seed=configuration.seed, options=configuration.options,
                )  # fmt: skip
            model = self.build(1.0)
        if number == 0:
            return model
        masks: Masks | None = None
        for earlier, count in enumerate(counts[:number]):
            masks = keep_largest(self._final(model, earlier, masks), count, masks)
        model.load_state_dict(safetensors.load_file(self.folder / "round-0" / "rewind.safetensors"))
        return masked(model, masks or {})

    def _final(self, model: tnn.Module, number: int, masks: Masks | None) -> dict[str, torch.Tensor]:
        """Magnitudes of the compressible weights at the end of a round."""
        tensors = safetensors.load_file(self.folder / f"round-{number}" / "state.safetensors")
        found = {}
        for weight in plan(model, 1, mapping="hashed").groups[0].weights:
            prefix, _, local = weight.name.rpartition(".")
            key = weight.name if masks is None else f"{prefix}.parametrizations.{local}.original"
            found[weight.name] = tensors[f"model.{key}"].abs()
        return found

    def _keep_rewind(self, model: tnn.Module, folder: Path) -> None:
        if self.rank:
            return
        held = {name: value.detach().contiguous().clone() for name, value in model.state_dict().items()}
        write_bytes(folder / "rewind.safetensors", safetensors.save(held), "train")

    def _scored(self) -> list[Batch]:
        """The batches that scores of pruning look at: the first of the first epoch, without augmentation."""
        return [self.source.batch(0, 0)]

    # -------------------------------------------------------------------------------- what is kept

    def _read_rows(self) -> list[dict[str, Any]]:
        path = self.folder / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def _write_rows(self) -> None:
        text = "".join(json.dumps(row) + "\n" for row in self.rows)
        write_text(self.folder / "metrics.jsonl", text, "train")

    def _drop_rows(self, number: int, step: int) -> None:
        """Forget rows of epochs that were ended, but not saved, before a kill."""
        self.rows = [row for row in self.rows if row["round"] != number or row["step"] <= step]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"train: {path} cannot be read ({error}); remove its folder") from None
