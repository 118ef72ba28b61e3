"""A model run block by block on calibration data, so that activations of one place only are held at a time.

One pass of the whole model notes how each block is called. Wherever a block gets just what the block before
it gave, which is most of a transformer, its inputs are later made by running the blocks one after another;
where it does not (the first block, and those after a merging of patches), they are caught in that pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MethodType
from typing import Any

import torch
import torch.nn as tnn

from nn.layers import attention
from rpstheory.errors import ArgumentError, DataError, KindError, RpsError, ShapeError

ROWS = 8192  # rows of x that are in double precision at a time


@dataclass(frozen=True, eq=False)
class Batch:
    """What a model is calibrated on at a time.

    Attributes:
        args: Positional arguments of the model.
        kwargs: Those by name.
        target: Labels that came with it, or None.
        keep: (b, tokens) bool: True where there is a token and no padding; None: everywhere.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    target: torch.Tensor | None = None
    keep: torch.Tensor | None = None

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All that the model is given as a tensor."""
        return [x for x in (*self.args, *self.kwargs.values()) if isinstance(x, torch.Tensor)]

    def run(self, model: tnn.Module) -> Any:
        """What the model makes of it.

        Raises:
            DataError: If it makes nothing of it.
            RpsError: That it raises itself.
        """
        place = next((p.device for p in model.parameters()), torch.device("cpu"))
        try:
            return model(*_moved(self.args, place), **_moved(self.kwargs, place))
        except RpsError:
            raise
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            shapes = ", ".join(f"{x.dtype} {tuple(x.shape)}".removeprefix("torch.") for x in self.tensors)
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                f"share_layers: {type(model).__name__} does not run on a batch of the calibration data "
                f"({shapes}): {reason}; pass batches that the model takes"
            ) from error


def as_batches(calibration: Any) -> tuple[Batch, ...]:
    """Batches, from an iterable of tensors, of (inputs, labels), or of dicts of arguments.

    Of a dict, "labels" is the target, and an attention_mask of (b, tokens) says what is padding.

    Raises:
        KindError: If it is something else.
        ShapeError: If a mask is not that of the tokens.
        ArgumentError: If there is none, or one without a token.
    """
    if isinstance(calibration, torch.Tensor | Mapping | str) or not hasattr(calibration, "__iter__"):
        raise KindError(
            f"share_layers: calibration is a {type(calibration).__name__}; pass a list of batches: tensors, "
            "(inputs, labels), or dicts of arguments"
        )
    with torch.inference_mode(False):
        found = tuple(_as_batch(_plain(each)) for each in calibration)
    if not found:
        raise ArgumentError(
            "share_layers: calibration holds no batch; pass at least one, in a list if it is used twice"
        )
    for batch in found:
        _require_tokens(batch)
    return found


def _require_tokens(batch: Batch) -> None:
    """Do nothing if there is something to look at.

    Raises:
        KindError: If there is no tensor.
        ShapeError: If a mask is not that of the tokens.
        ArgumentError: If there is nothing in it, or all is padding.
    """
    if not batch.tensors:
        raise KindError("share_layers: a batch of calibration holds no tensor; pass tensors")
    if not all(x.numel() for x in batch.tensors):
        raise ArgumentError("share_layers: a batch of calibration is empty; leave it out")
    if batch.keep is None:
        return
    tokens = batch.kwargs.get("input_ids")
    if isinstance(tokens, torch.Tensor) and tokens.shape != batch.keep.shape:
        raise ShapeError(
            f"share_layers: an attention_mask of shape {tuple(batch.keep.shape)} came with input_ids of "
            f"{tuple(tokens.shape)}; pass one of the same shape"
        )
    if not batch.keep.any():
        raise ArgumentError("share_layers: an attention_mask leaves no token of its batch; leave it out")


def _plain(given: Any) -> Any:
    """Copies of tensors made in inference mode, which no gradient may look at; all else as it is."""
    if isinstance(given, Mapping):
        return {name: _plain(value) for name, value in given.items()}
    if isinstance(given, tuple | list):
        return tuple(map(_plain, given))
    return given.clone() if isinstance(given, torch.Tensor) and given.is_inference() else given


def _as_batch(given: Any) -> Batch:
    if isinstance(given, Batch):
        return given
    if isinstance(given, torch.Tensor):
        return Batch((given,), {})
    if isinstance(given, Mapping):
        mask = given.get("attention_mask")
        keep = mask.bool() if isinstance(mask, torch.Tensor) and mask.ndim == 2 else None
        inputs = {name: value for name, value in given.items() if name != "labels"}
        return Batch((), inputs, given.get("labels"), keep)
    if isinstance(given, Sequence) and len(given) == 2 and all(isinstance(x, torch.Tensor) for x in given):
        return Batch((given[0],), {}, given[1])
    raise KindError(
        f"share_layers: a batch of calibration is a {type(given).__name__}; pass a tensor, (inputs, labels), "
        "or a dict of arguments"
    )


@dataclass(frozen=True, eq=False)
class Call:
    """How a block is called for one batch.

    Attributes:
        args: Positional arguments.
        kwargs: Those by name.
        keep: As in :class:`Batch`.
        carried: Whether the first of them is the output of the block before.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    keep: torch.Tensor | None = None
    carried: bool = False

    def fed(self, hidden: torch.Tensor) -> Call:
        """The same call of another first argument."""
        if self.args:
            return replace(self, args=(hidden, *self.args[1:]))
        name = next(iter(self.kwargs))
        return replace(self, kwargs={**self.kwargs, name: hidden})


class Layer:
    """A block of the model and its inputs.

    Attributes:
        number: Its place among the blocks.
        block: Its name.
        module: Itself.
        calls: Its inputs, one for each batch.
    """

    def __init__(self, number: int, block: str, module: tnn.Module, calls: list[Call]) -> None:
        self.number, self.block, self.module, self.calls = number, block, module, calls
        self._outputs: list[torch.Tensor] | None = None

    def outputs(self) -> list[torch.Tensor]:
        """The hidden states it gives, one for each batch; kept until the next layer."""
        if self._outputs is None:
            with torch.no_grad():
                self._outputs = [hidden_of(self.module(*call.args, **call.kwargs)) for call in self.calls]
        return self._outputs

    def forget(self) -> None:
        """The block was changed: make its outputs anew before anybody reads them."""
        self._outputs = None

    def grams(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """X'X of the inputs of some weights of this block, (rows, rows) float64, by name; padding left out.

        Weights that are given the same tensor share one product.

        Args:
            names: Of the weights, in the whole model.

        Raises:
            DataError: If an input holds nan or inf.
            ArgumentError: If the block does not run a module.
        """
        sums: dict[tuple[str, ...], torch.Tensor] = {}
        modules = {name: self.module.get_submodule(_inside(name, self.block)) for name in names}
        with _listening(self.module, modules) as heard:
            self._outputs = []
            for call in self.calls:
                with torch.no_grad():
                    self._outputs.append(hidden_of(self.module(*call.args, **call.kwargs)))
                for group in map(tuple, _same(heard, names)):
                    found = _gram(group[0], heard[group[0]], call.keep)
                    sums[group] = sums[group].add_(found) if group in sums else found
                heard.clear()
        whole: dict[str, torch.Tensor] = {}
        for group, found in sums.items():
            whole |= {name: whole[name] + found if name in whole else found for name in group}
        return whole


def hidden_of(output: Any) -> torch.Tensor:
    """The hidden states in what a block returns: the tensor, or the first of several."""
    return output if isinstance(output, torch.Tensor) else output[0]


def stream(
    model: tnn.Module, blocks: Sequence[str], batches: Sequence[Batch], *, live: bool = False
) -> Iterator[Layer]:
    """The blocks of a model one after another, each with its inputs.

    Args:
        model: Is put into evaluation while it runs, and back.
        blocks: Names, in the order in which they are run.
        batches: What the model is run on.
        live: Inputs that no block gives are caught from the model as it is when its turn comes, and not as
            it was at the beginning.

    Raises:
        ArgumentError: If a block is not run exactly once, or in another order.
        DataError: If a block gives nan or inf.
    """
    modules = [model.get_submodule(block) for block in blocks]
    with still(model):
        noted = [_noted(model, blocks, modules, batch) for batch in batches]
    hidden: list[torch.Tensor] = []
    for number, (block, module) in enumerate(zip(blocks, modules, strict=True)):
        calls = [each[number] for each in noted]
        if all(call.carried for call in calls):
            calls = [call.fed(x) for call, x in zip(calls, hidden, strict=True)]
        elif live and number:
            with still(model):
                calls = [_noted(model, blocks, modules, b, number)[number] for b in batches]
        for each in noted:
            each[number] = Call((), {})  # what was caught is held once
        layer = Layer(number, block, module, calls)
        with still(model):
            yield layer
            hidden = layer.outputs()
        if not all(bool(torch.isfinite(x).all()) for x in hidden):
            raise DataError(
                f"share_layers: the block {block} gives nan or inf on the calibration data; check the data, "
                "or run the model in float32"
            )


class _Done(Exception):
    """Nothing after this block is needed."""


def _noted(
    model: tnn.Module, blocks: Sequence[str], modules: Sequence[tnn.Module], batch: Batch, stop: int = -1
) -> list[Call]:
    """How each block is called for a batch, and what no block before it gives.

    Raises:
        ArgumentError: If a block is not run, or not in its turn, or not given hidden states first.
    """
    calls: list[Call] = []
    last: list[tuple[torch.Tensor, int]] = []

    def before(module: tnn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        number = len(calls)
        if number >= len(modules) or module is not modules[number]:
            raise ArgumentError(
                f"share_layers: the block {blocks[list(modules).index(module)]} runs out of turn, or twice; "
                "blocks that run once each, in the order of the model, can be calibrated"
            )
        first = args[0] if args else next(iter(kwargs.values()), None)
        if not isinstance(first, torch.Tensor):
            raise ArgumentError(
                f"share_layers: the block {blocks[number]} is not given hidden states first; it cannot be "
                "calibrated"
            )
        carried = bool(last) and first is last[0][0] and first._version == last[0][1]
        call = Call(args, dict(kwargs), batch.keep, carried)
        calls.append(call.fed(first.new_empty(0)) if carried else call)
        if number == stop:
            raise _Done

    def after(module: tnn.Module, args: Any, output: Any) -> None:
        found = hidden_of(output)
        last[:] = [(found, found._version)]

    hooks = [m.register_forward_pre_hook(before, with_kwargs=True) for m in modules]
    hooks += [m.register_forward_hook(after) for m in modules]
    try:
        with torch.no_grad():
            batch.run(model)
    except _Done:
        return calls
    finally:
        for hook in hooks:
            hook.remove()
    if len(calls) < len(modules):
        raise ArgumentError(
            f"share_layers: the block {blocks[len(calls)]} is not run on the calibration data; exclude its "
            "weights"
        )
    return calls


@contextmanager
def still(model: tnn.Module) -> Iterator[None]:
    """The model in evaluation and without a cache of keys and values, and then as it was."""
    modes = {module: module.training for module in model.modules()}
    config: Any = getattr(model, "config", None)
    cached = getattr(config, "use_cache", None)
    model.eval()
    if cached:
        config.use_cache = False
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        if cached:
            config.use_cache = cached


@contextmanager
def _listening(block: tnn.Module, modules: Mapping[str, tnn.Module]) -> Iterator[dict[str, torch.Tensor]]:
    """The inputs of some modules by name, as they come."""
    heard: dict[str, torch.Tensor] = {}

    def listen(name: str) -> Any:
        def hook(module: tnn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            heard[name] = args[0] if args else next(iter(kwargs.values()))

        return hook

    hooks = [m.register_forward_pre_hook(listen(name), with_kwargs=True) for name, m in modules.items()]
    fused = [m for m in block.modules() if isinstance(m, tnn.MultiheadAttention)]
    for module in fused:  # whose forward reads the weight of out_proj without calling it
        module.__dict__["forward"] = MethodType(attention, module)
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()
        for module in fused:
            del module.__dict__["forward"]


def _same(heard: Mapping[str, torch.Tensor], names: Sequence[str]) -> list[list[str]]:
    """The names by what was heard: those that were given the same tensor together.

    Raises:
        ArgumentError: If one was not heard.
    """
    groups: dict[int, list[str]] = {}
    for name in names:
        if name not in heard:
            raise ArgumentError(
                f"share_layers: {name.rpartition('.')[0]} is not run as a module, so that its inputs are not "
                "seen; exclude it"
            )
        groups.setdefault(id(heard[name]), []).append(name)
    return list(groups.values())


def _gram(name: str, x: torch.Tensor, keep: torch.Tensor | None) -> torch.Tensor:
    """X'X in double precision.

    Raises:
        DataError: If it is not finite.
    """
    if keep is not None and x.shape[:-1] == keep.shape:
        x = x[keep.to(x.device)]
    found = x.new_zeros((x.shape[-1],) * 2, dtype=torch.float64)
    for part in torch.split(x.detach().reshape(-1, x.shape[-1]), ROWS):
        rows = part.double()
        found.addmm_(rows.T, rows)
    if not torch.isfinite(found).all():
        raise DataError(
            f"share_layers: the inputs of {name.rpartition('.')[0]} hold nan or inf on the calibration data; "
            "check the data, or run the model in float32"
        )
    return found


def _inside(name: str, block: str) -> str:
    """The module of a weight, seen from its block."""
    return name.rpartition(".")[0].removeprefix(block).removeprefix(".")


def _moved(what: Any, place: torch.device) -> Any:
    """Tensors of a tuple or a dict, on a device."""
    if isinstance(what, Mapping):
        return {name: _moved(value, place) for name, value in what.items()}
    if isinstance(what, tuple):
        return tuple(_moved(value, place) for value in what)
    return what.to(place) if isinstance(what, torch.Tensor) else what
