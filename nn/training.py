"""One network on its way through a recipe: a state that can be written down after any step.

Nothing random is carried along: rates, batches and dropout are functions of the seed and the number of the
step, so that a state is the tensors of model and optimizer and a few numbers. Going on from a state gives
the bits that an uninterrupted run would have given, on a CPU with as many threads.

Several processes take one step together: each has its part of the batch, and mean and variance of batch norm
are those of the whole batch. Without dropout that is the step of one process, but for rounding.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from math import isfinite
from types import MethodType
from typing import Any, NamedTuple, Protocol

import torch
import torch.distributed as dist
import torch.nn as tnn
from safetensors import SafetensorError
from safetensors import torch as safetensors

from nn.data.order import key
from nn.pruning.scores import cross_entropy
from nn.recipes import Recipe
from rpstheory.errors import DataError, RpsError

LIMIT = 1e4  # a loss above is no training's; guessing among a thousand classes costs 6.9

Batch = tuple[torch.Tensor, torch.Tensor]
_PRECISION = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Source(Protocol):
    """Where batches come from; each a function of its place alone."""

    @property
    def steps(self) -> int:
        """Of an epoch."""

    def batch(self, epoch: int, index: int) -> Batch:
        """What step ``index`` of an epoch takes.

        Images (b, c, h, w) float32 and labels (b,) int64; or tokens (b, t) and those after each (b, t) int64.
        """

    def test(self) -> Iterable[Batch]:
        """Batches of the test set, in order."""

    def scored(self) -> Sequence[Batch]:
        """Batches that scores of pruning look at, the same in every process."""


class Diverged(RpsError):
    """Training without a way back: the loss of a step is nan, infinite or above :data:`LIMIT`.

    Or the test loss is: nan or infinite after any epoch, above the limit after the last one. Before, what is
    too large but finite may be statistics of batch norm that lag behind the weights.
    """


class Score(NamedTuple):
    """Over a set of images, or over the tokens of a text.

    Attributes:
        loss: Mean cross-entropy.
        accuracy: Share that is right.
    """

    loss: float
    accuracy: float


@dataclass
class Progress:
    """The numbers of a state; sums are over this epoch and all processes.

    Attributes:
        step: Steps taken.
        loss: Sum of what is minimised, with smoothed labels where the recipe smooths them.
        right: Images, or tokens.
        seen: Likewise.
        seconds: Of training; of several starts, without what was lost between them.
        places: Where the state was trained: device, threads, processes.
    """

    step: int = 0
    loss: float = 0.0
    right: int = 0
    seen: int = 0
    seconds: float = 0.0
    places: list[str] = field(default_factory=list)


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
            _join_norms(self.model)
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
            Diverged: If the loss has no way back; the weights are those before the step.
        """
        recipe, step = self.recipe, self.progress.step
        x, y = self._placed(batch)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate(step, self.steps)
        self.model.train()
        with _seeded(key(self.seed, self.rank, step), self.device):
            with self._cast():
                logits = self.called(x)
            loss = cross_entropy(logits.float(), y, label_smoothing=recipe.smoothing)
            value, right = self._over_all(loss.detach(), (logits.argmax(-1) == y).sum())
            if not value <= LIMIT:
                raise Diverged(
                    f"the loss of step {step} is {value:.4g} at a rate of {recipe.rate(step, self.steps):.4g}"
                )
            self.optimizer.zero_grad(set_to_none=True)
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if recipe.clip:
            self.scaler.unscale_(self.optimizer)
            tnn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._update_average(step)
        seen = y.numel() * self.world
        self.progress.step += 1
        self.progress.loss += value * seen
        self.progress.right += right
        self.progress.seen += seen
        return value

    def end_epoch(self, batches: Iterable[Batch]) -> tuple[Score, Score]:
        """The scores of this epoch: over what was trained on, as it went by, and over the test set.

        Raises:
            Diverged: If the test loss is nan or infinite, or after the last epoch above :data:`LIMIT`.
        """
        progress = self.progress
        train = Score(progress.loss / progress.seen, progress.right / progress.seen)
        test = self.test(batches)
        if not isfinite(test.loss) or (self.done and test.loss > LIMIT):
            raise Diverged(f"the test loss after step {progress.step - 1} is {test.loss:.4g}")
        progress.loss, progress.right, progress.seen, progress.seconds = 0.0, 0, 0, 0.0
        return train, test

    @torch.no_grad()
    def test(self, batches: Iterable[Batch]) -> Score:
        """Loss and accuracy of the model, or of its average, in eval mode: of the first process, for all.

        The loss is cross-entropy, without smoothing.
        """
        found = torch.zeros(2, dtype=torch.float64, device=self.device)
        if self.rank == 0:
            self.model.eval()
            sums, seen = torch.zeros_like(found), 0
            with self.averaged():
                for batch in batches:
                    x, y = self._placed(batch)
                    with self._cast():
                        logits = self.model(x)
                    sums[0] += cross_entropy(logits.float(), y, reduction="sum")
                    sums[1] += (logits.argmax(-1) == y).sum()
                    seen += y.numel()
            found = sums / seen
        if self.world > 1:
            dist.broadcast(found, 0)
        return Score(*found.tolist())

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
            trained = [p for group in self.optimizer.param_groups for p in group["params"]]
            for name, value in parts["optimizer"].items():
                number, _, entry = name.partition(".")
                like = trained[int(number)]
                whole["state"].setdefault(int(number), {})[entry] = (
                    _laid_out(value, like) if value.shape == like.shape else value
                )
            self.optimizer.load_state_dict(whole)
            for name, value in self.average.items():
                value.copy_(parts["average"][name])
            self.scaler.load_state_dict(numbers["scaler"])
            self.progress = Progress(**numbers["progress"])
        except (LookupError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
            raise DataError(
                f"train: this state cannot be gone on from ({str(error).splitlines()[0]}); "
                "remove it to start anew"
            ) from None

    def _floats(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, value in (*self.model.named_parameters(), *self.model.named_buffers()):
            if value.is_floating_point():
                yield name, value

    def _placed(self, batch: Batch) -> Batch:
        x, y = batch
        last = self.recipe.channels_last and x.ndim == 4
        form = torch.channels_last if last else torch.contiguous_format
        return x.to(self.device, memory_format=form), y.to(self.device)

    def _cast(self) -> Any:
        if self.recipe.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, _PRECISION[self.recipe.precision])

    def _over_all(self, loss: torch.Tensor, right: torch.Tensor) -> tuple[float, int]:
        """Mean loss and number right of all processes, so that all of them stop where one diverges."""
        both = torch.stack((loss.double(), right.double()))
        if self.world > 1:
            dist.all_reduce(both)
        total, count = both.tolist()
        return total / self.world, int(count)

    def _update_average(self, step: int) -> None:
        """Young averages forget faster, or the first weights would stay in them."""
        decay = min(self.recipe.ema, (1 + step) / (10 + step))
        for name, value in self._floats() if self.average else ():
            self.average[name].lerp_(value.detach(), 1 - decay)


def _optimizer(recipe: Recipe, model: tnn.Module) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        parameters, recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.momentum > 0
    )


def _laid_out(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """In the same order in memory: what is computed with both may depend on it in the last bit."""
    return torch.empty_like(like.detach()).copy_(value)


@contextmanager
def _seeded(word: int, device: torch.device) -> Iterator[None]:
    """Dropout and its like as a function of a word; the global generators as they were afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(word)
        yield


@torch.no_grad()
def _assign(model: tnn.Module, values: dict[str, torch.Tensor]) -> None:
    """Copy values into the parameters and buffers of these names."""
    if values:
        held = dict(model.named_parameters()) | dict(model.named_buffers())
        for name, value in values.items():
            held[name].copy_(value)


# ------------------------------------------------------------- batch norm of several processes


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; the loss of each of them depends on it."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return _Sum.forward(ctx, grad)


def _join_norms(model: tnn.Module) -> None:
    """Let every batch norm of the usual kind see the whole batch."""
    for module in model.modules():
        if isinstance(module, tnn.BatchNorm1d | tnn.BatchNorm2d) and module.affine:
            if module.track_running_stats and module.momentum is not None:
                module.forward = MethodType(_joint_norm, module)  # type: ignore[method-assign]


def _joint_norm(norm: Any, x: torch.Tensor) -> torch.Tensor:
    """Batch norm over the parts of all processes, which are equally large."""
    if not norm.training:
        return type(norm).forward(norm, x)
    over, form = [0, *range(2, x.ndim)], (1, -1, *(1,) * (x.ndim - 2))
    count = x.numel() // x.shape[1] * dist.get_world_size()
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    mean = _total(wide.sum(over)) / count
    centred = wide - mean.view(form)
    variance = _total(centred.square().sum(over)) / count
    with torch.no_grad():
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)
        norm.num_batches_tracked += 1
    scale = norm.weight * (variance + norm.eps).rsqrt()
    return (centred * scale.view(form) + norm.bias.view(form)).to(x.dtype)


def _total(x: torch.Tensor) -> torch.Tensor:
    return _Sum.apply(x)  # type: ignore[no-untyped-call]
