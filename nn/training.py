"""One network on its way through a recipe: a state that can be written down after any step.

Nothing random is carried along: rates, batches and dropout are functions of the seed and the number of the
step, so that a state is the tensors of model and optimizer and a few numbers. Going on from a state gives
the bits that an uninterrupted run would have given, on a CPU with as many threads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any, NamedTuple, Protocol

import torch
import torch.distributed as dist
import torch.nn as tnn
import torch.nn.functional as tnnf
from safetensors import SafetensorError
from safetensors import torch as safetensors

from nn.recipes import Recipe
from rpstheory.errors import DataError, RpsError
from rpstheory.hashing import MASK, mix

Batch = tuple[torch.Tensor, torch.Tensor]
_PRECISION = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Source(Protocol):
    """Where batches come from; each a function of its place alone."""

    steps: int

    def batch(self, epoch: int, index: int) -> Batch:
        """Images (b, c, h, w) float32 and labels (b,) int64 of step ``index`` of an epoch."""

    def test(self) -> Iterable[Batch]:
        """Batches of the test set, in order."""


class Diverged(RpsError):
    """Training that left the numbers: a loss that is nan or infinite."""


class Score(NamedTuple):
    """Over a set of images.

    Attributes:
        loss: Mean cross-entropy.
        accuracy: Share that is right.
    """

    loss: float
    accuracy: float


@dataclass
class Progress:
    """The numbers of a state.

    Attributes:
        step: Steps taken.
        loss: Sum over the images of this epoch.
        right: Of them.
        seen: Of this epoch.
    """

    step: int = 0
    loss: float = 0.0
    right: int = 0
    seen: int = 0


@dataclass
class Training:
    """A model, its optimizer, and how far they are.

    Attributes:
        model: Trained in place.
        recipe: How.
        steps: Of an epoch.
        seed: Of everything random in a step.
        progress: The numbers of the state.
        rank: Which process this is.
        world: How many train the model, each on its part of every batch.
    """

    model: tnn.Module
    recipe: Recipe
    steps: int
    seed: int
    progress: Progress = field(default_factory=Progress)
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        """Make the optimizer, the average and the scaler."""
        self.device = next(self.model.parameters()).device
        if self.recipe.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.called: tnn.Module = self.model
        if self.world > 1:
            self.called = tnn.parallel.DistributedDataParallel(self.model)
        self.optimizer = _optimizer(self.recipe, self.model)
        self.average = {k: v.detach().clone() for k, v in self._floats()} if self.recipe.ema else {}
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.recipe.precision == "float16")

    @property
    def done(self) -> bool:
        """Whether all epochs are over."""
        return self.progress.step >= self.recipe.epochs * self.steps

    def advance(self, batch: Batch) -> float:
        """One step; the loss of the batch.

        Raises:
            Diverged: If the loss is nan or infinite; the weights are those before the step.
        """
        recipe, step = self.recipe, self.progress.step
        x, y = self._placed(batch)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate(step, self.steps)
        self.model.train()
        with _seeded(self.seed + self.rank, step, self.device):
            with self._cast():
                logits = self.called(x)
            loss = tnnf.cross_entropy(logits.float(), y, label_smoothing=recipe.smoothing)
            value = self._mean(loss.detach())
            if not isfinite(value):
                raise Diverged(
                    f"the loss of step {step} is {value} at a rate of {recipe.rate(step, self.steps):.4g}"
                )
            self.optimizer.zero_grad(set_to_none=True)
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if recipe.clip:
            self.scaler.unscale_(self.optimizer)
            tnn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        for name, value_ in self._floats() if recipe.ema else ():
            self.average[name].lerp_(value_.detach(), 1 - recipe.ema)
        self._count(value, logits, y)
        return value

    def train_score(self) -> Score:
        """Over what was seen of the epoch so far."""
        seen = max(1, self.progress.seen)
        return Score(self.progress.loss / seen, self.progress.right / seen)

    def end_epoch(self) -> None:
        """Forget the sums of the epoch."""
        self.progress.loss, self.progress.right, self.progress.seen = 0.0, 0, 0

    @torch.no_grad()
    def test(self, batches: Iterable[Batch]) -> Score:
        """Loss and accuracy of the model, or of its average, in eval mode."""
        self.model.eval()
        loss, right, seen = 0.0, 0, 0
        with self.averaged():
            for batch in batches:
                x, y = self._placed(batch)
                with self._cast():
                    logits = self.model(x)
                loss += float(tnnf.cross_entropy(logits.float(), y, reduction="sum"))
                right += int((logits.argmax(1) == y).sum())
                seen += len(y)
        return Score(loss / seen, right / seen)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with the average of its weights for as long as this lasts, if there is one."""
        own = {name: value.detach().clone() for name, value in self._floats()} if self.average else {}
        _assign(self.model, self.average)
        try:
            yield
        finally:
            _assign(self.model, own)

    def to_bytes(self) -> bytes:
        """The state as a safetensors file."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        held = self.optimizer.state_dict()["state"]
        tensors |= {
            f"optimizer.{i}.{k}": torch.as_tensor(v) for i, row in held.items() for k, v in row.items()
        }
        numbers = {"progress": asdict(self.progress), "scaler": self.scaler.state_dict()}
        plain = {name: value.detach().contiguous().clone() for name, value in tensors.items()}
        return safetensors.save(plain, {"state": json.dumps(numbers)})

    def from_bytes(self, content: bytes) -> None:
        """Go on from a state.

        Raises:
            DataError: If it is no state of such a training.
        """
        try:
            size = int.from_bytes(content[:8], "little")
            numbers = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["state"])
            tensors = safetensors.load(content)
            parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
            for name, value in tensors.items():
                part, _, rest = name.partition(".")
                parts[part][rest] = value
            self.model.load_state_dict(parts["model"])
            whole = self.optimizer.state_dict()
            whole["state"] = {}
            for name, value in parts["optimizer"].items():
                number, _, key = name.partition(".")
                whole["state"].setdefault(int(number), {})[key] = value
            self.optimizer.load_state_dict(whole)
            self.average = {name: value.to(self.device) for name, value in parts["average"].items()}
            self.scaler.load_state_dict(numbers["scaler"])
            self.progress = Progress(**numbers["progress"])
        except (KeyError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
            raise DataError(
                f"train: this state cannot be gone on from ({str(error).splitlines()[0]}); "
                "remove it to start anew"
            ) from None

    def _floats(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, value in (*self.model.named_parameters(), *self.model.named_buffers()):
            if value.is_floating_point():
                yield name, value

    def _placed(self, batch: Batch) -> Batch:
        form = torch.channels_last if self.recipe.channels_last else torch.contiguous_format
        x, y = batch
        return x.to(self.device, memory_format=form), y.to(self.device)

    def _cast(self) -> Any:
        if self.recipe.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, _PRECISION[self.recipe.precision])

    def _mean(self, loss: torch.Tensor) -> float:
        """Over all processes, so that all of them stop where one diverges."""
        if self.world > 1:
            loss = loss.clone()
            dist.all_reduce(loss)
            loss /= self.world
        return loss.item()

    def _count(self, loss: float, logits: torch.Tensor, y: torch.Tensor) -> None:
        self.progress.step += 1
        self.progress.loss += loss * len(y)
        self.progress.right += int((logits.argmax(1) == y).sum())
        self.progress.seen += len(y)


def _optimizer(recipe: Recipe, model: tnn.Module) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        parameters, recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.momentum > 0
    )


@contextmanager
def _seeded(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Dropout and its like as a function of the step; the global generators as they were afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(mix((mix(seed & MASK) + step) & MASK))
        yield


@torch.no_grad()
def _assign(model: tnn.Module, values: dict[str, torch.Tensor]) -> None:
    """Copy values into the parameters and buffers of these names."""
    if values:
        held = dict(model.named_parameters()) | dict(model.named_buffers())
        for name, value in values.items():
            held[name].copy_(value)
