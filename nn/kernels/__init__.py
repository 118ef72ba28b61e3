"""Expand and compress for torch, each the other's gradient; nothing is kept per weight.

Both are torch operators, so that compilers and exporters see one node. In eager mode a call costs half
as much when it does not go through the dispatcher, and that is the way taken where nobody is watching.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.autograd import forward_ad
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from nn.bridge import mapping_of
from nn.kernels import reference
from rpstheory.errors import KindError

_ON_CUDA = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LARGE = 2**20  # weights; NumPy asks for huge pages then, and fresh small ones cost more than their filling
NARROW = (torch.float16, torch.bfloat16)  # worked out in float32 on a CPU, rounded once
_PLAIN = (torch.Tensor, torch.nn.Parameter)


@dataclass(frozen=True)
class Piece:
    """Some positions of a mapping: their weights, and the adjoint. What a call must know is made once.

    Attributes:
        roots: (segments,) float64: what each stretch of cells is divided by.
        edges: (segments,) int64: the first cell of each stretch, 0 first.
        mapping: Names the mapping, as :func:`nn.bridge.key_of` does.
        first: Position of the first weight.
        count: Number of weights.
        m: Number of cells.
        scale: The module's lambda.
    """

    roots: torch.Tensor
    edges: torch.Tensor
    mapping: str
    first: int
    count: int
    m: int
    scale: float
    _kernels: dict[Any, Kernels] = field(default_factory=dict, init=False, repr=False, compare=False)

    def expand(self, bank: torch.Tensor) -> torch.Tensor:
        """``scale / root * sign * bank[cell]``, (count,) in the kind of the bank, (m,)."""
        if _unseen(bank):
            return self.kernels(bank).expand(bank)
        return way(bank, _Expand, _ExpandWatched, _expand_op)(bank, self)

    def compress(self, values: torch.Tensor) -> torch.Tensor:
        """The adjoint: ``scale / root * sign * values`` summed over each cell, (m,).

        In every cell in order of position: the same bits whatever the number of threads.
        """
        if _unseen(values):
            return self.kernels(values).compress(values)
        return way(values, _Compress, _CompressWatched, _compress_op)(values, self)

    def kernels(self, like: torch.Tensor) -> Kernels:
        """What does the work for tensors of this kind and place."""
        key = like.dtype, like.device
        found = self._kernels.get(key)
        if found is None:
            found = self._kernels[key] = self._kernels_for(like)
        return found

    def _kernels_for(self, like: torch.Tensor) -> Kernels:
        mapping, factors = mapping_of(self.mapping), (self.scale / self.roots).to(like.dtype)
        rest = factors, self.edges, self.first, self.count, self.m
        for kind, plan in ((_OnCuda, cuda_plan(mapping, like)), (_OnCpu, cpu_plan(mapping, like))):
            if plan is not None:
                return kind(plan, *rest)
        if like.dtype in NARROW:
            return _Narrow(self.kernels(like.new_empty(0, dtype=torch.float32)))
        return Kernels(mapping, *rest)


class Kernels:
    """Expand and compress without gradients; here in plain torch, for any mapping and device."""

    def __init__(
        self, mapping: Any, factors: torch.Tensor, edges: torch.Tensor, first: int, count: int, m: int
    ) -> None:
        self.mapping, self.factors, self.edges = mapping, factors, edges
        self.first, self.count, self.m = first, count, m

    def expand(self, bank: torch.Tensor) -> torch.Tensor:
        """(m,) to (count,)."""
        return reference.expand(self.mapping, bank, self.factors, self.edges, self.first, self.count)

    def compress(self, values: torch.Tensor) -> torch.Tensor:
        """(count,) to (m,)."""
        return reference.compress(self.mapping, values.detach(), self.factors, self.edges, self.first)


class _OnCpu(Kernels):
    """By numba; the mapping is its plan."""

    def __init__(self, *given: Any) -> None:
        from nn.kernels import cpu

        super().__init__(*given)
        self.cpu, self.tables = cpu, (self.edges.numpy(), self.factors.numpy(), self.first)

    def expand(self, bank: torch.Tensor) -> torch.Tensor:
        if self.count < LARGE:
            out = bank.new_empty(self.count)
            into = out.numpy()
        else:
            into = np.empty(self.count, dtype=self.factors.numpy().dtype)
            out = torch.from_numpy(into)
        self.cpu.expand(self.mapping, borrowed(bank), *self.tables, into, torch.get_num_threads())
        return out

    def compress(self, values: torch.Tensor) -> torch.Tensor:
        bank, source = values.new_zeros(self.m), values.detach().contiguous().numpy()
        self.cpu.compress(self.mapping, source, *self.tables, bank.numpy(), torch.get_num_threads())
        return bank


class _Narrow(Kernels):
    """16 bits: worked out in float32, rounded once."""

    def __init__(self, wide: Kernels) -> None:
        self.wide = wide

    def expand(self, bank: torch.Tensor) -> torch.Tensor:
        return self.wide.expand(bank.detach().float()).to(bank.dtype)

    def compress(self, values: torch.Tensor) -> torch.Tensor:
        return self.wide.compress(values.detach().float()).to(values.dtype)


class _OnCuda(Kernels):
    """By Triton; the mapping is its plan."""

    def expand(self, bank: torch.Tensor) -> torch.Tensor:
        from nn.kernels import cuda

        out, source = bank.new_empty(self.count), bank.detach().contiguous()
        cuda.expand(self.mapping, source, self.edges, self.factors, self.first, out)
        return out

    def compress(self, values: torch.Tensor) -> torch.Tensor:
        from nn.kernels import cuda

        bank, source = values.new_zeros(self.m), values.detach().contiguous()
        cuda.compress(self.mapping, source, self.edges, self.factors, self.first, bank)
        return bank


def one_by_one(call: Callable[..., torch.Tensor]) -> Any:
    """A rule for ``vmap``: the call for one element of the batch after the other."""

    def rule(info: Any, places: Any, *inputs: Any) -> tuple[torch.Tensor, int]:
        each = [
            [given] * info.batch_size if place is None else given.unbind(place)
            for given, place in zip(inputs, places, strict=True)
        ]
        return torch.stack([call(*one) for one in zip(*each, strict=True)]), 0

    return rule


class _Expand(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, bank: torch.Tensor, piece: Piece) -> torch.Tensor:
        ctx.piece = piece
        return piece.kernels(bank).expand(bank)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        return ctx.piece.compress(grad), None


class _Compress(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, piece: Piece) -> torch.Tensor:
        ctx.piece = piece
        return piece.kernels(values).compress(values)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        return ctx.piece.expand(grad), None


def _keep_piece(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.piece = inputs[1]


class _ExpandWatched(torch.autograd.Function):
    setup_context = staticmethod(_keep_piece)
    backward = _Expand.backward
    vmap = staticmethod(one_by_one(lambda bank, piece: piece.expand(bank)))

    @staticmethod
    def forward(bank: torch.Tensor, piece: Piece) -> torch.Tensor:
        return piece.kernels(bank).expand(bank)

    @staticmethod
    def jvp(ctx: Any, tangent: torch.Tensor, _: Any) -> torch.Tensor:
        return ctx.piece.expand(tangent)


class _CompressWatched(torch.autograd.Function):
    setup_context = staticmethod(_keep_piece)
    backward = _Compress.backward
    vmap = staticmethod(one_by_one(lambda values, piece: piece.compress(values)))

    @staticmethod
    def forward(values: torch.Tensor, piece: Piece) -> torch.Tensor:
        return piece.kernels(values).compress(values)

    @staticmethod
    def jvp(ctx: Any, tangent: torch.Tensor, _: Any) -> torch.Tensor:
        return ctx.piece.compress(tangent)


@torch.library.custom_op("rps::expand", mutates_args=())
def expand_op(
    bank: torch.Tensor,
    roots: torch.Tensor,
    edges: torch.Tensor,
    mapping: str,
    first: int,
    count: int,
    scale: float,
) -> torch.Tensor:
    """:meth:`Piece.expand` as a node of a graph."""
    return Piece(roots, edges, mapping, first, count, len(bank), scale).kernels(bank).expand(bank)


@torch.library.custom_op("rps::compress", mutates_args=())
def compress_op(
    values: torch.Tensor,
    roots: torch.Tensor,
    edges: torch.Tensor,
    mapping: str,
    first: int,
    m: int,
    scale: float,
) -> torch.Tensor:
    """:meth:`Piece.compress` as a node of a graph."""
    return Piece(roots, edges, mapping, first, len(values), m, scale).kernels(values).compress(values)


def _expand_op(bank: torch.Tensor, piece: Piece) -> torch.Tensor:
    place = piece.mapping, piece.first, piece.count
    return expand_op(bank, piece.roots, piece.edges, *place, piece.scale)


def _compress_op(values: torch.Tensor, piece: Piece) -> torch.Tensor:
    place = piece.mapping, piece.first, piece.m
    return compress_op(values, piece.roots, piece.edges, *place, piece.scale)


def _keep_expand(ctx: Any, inputs: Any, output: Any) -> None:
    bank, roots, edges, mapping, first, count, scale = inputs
    ctx.piece = Piece(roots, edges, mapping, first, count, len(bank), scale)


def _keep_compress(ctx: Any, inputs: Any, output: Any) -> None:
    values, roots, edges, mapping, first, m, scale = inputs
    ctx.piece = Piece(roots, edges, mapping, first, len(values), m, scale)


expand_op.register_autograd(
    lambda ctx, grad: (ctx.piece.compress(grad), *[None] * 6), setup_context=_keep_expand
)
compress_op.register_autograd(
    lambda ctx, grad: (ctx.piece.expand(grad), *[None] * 6), setup_context=_keep_compress
)


@expand_op.register_fake
def _(bank: Any, roots: Any, edges: Any, mapping: str, first: int, count: int, scale: float) -> Any:
    return bank.new_empty(count)


@compress_op.register_fake
def _(values: Any, roots: Any, edges: Any, mapping: str, first: int, m: int, scale: float) -> Any:
    return values.new_empty(m)


def way(tensor: torch.Tensor, plain: Any, watched: Any, op: Any) -> Callable[..., torch.Tensor]:
    """How to call a kernel: an operator where a compiler looks, else autograd, for torch.func or faster.

    Raises:
        KindError: If a compiler looks at forward derivatives, which operators drop.
    """
    if unwatched(tensor):
        return plain.apply
    if _eager(tensor):
        return watched.apply
    if forward_ad._current_level >= 0:
        raise KindError(
            "nn: forward derivatives of a shared model cannot be compiled; call torch.func.jvp, jacfwd and "
            "hessian outside torch.compile"
        )
    return op


def unwatched(tensor: torch.Tensor) -> bool:
    """Whether a call on it need not go through the dispatcher: nobody compiles, records or transforms it."""
    return (
        _eager(tensor) and not torch._C._are_functorch_transforms_active() and forward_ad._current_level < 0
    )


def _unseen(tensor: torch.Tensor) -> bool:
    """Whether autograd need not know of a call either, as in most backward passes."""
    return not torch.is_grad_enabled() and unwatched(tensor)


def _eager(tensor: torch.Tensor) -> bool:
    return (
        not torch.compiler.is_compiling()
        and type(tensor) in _PLAIN
        and tensor.device.type in ("cpu", "cuda")
        and not is_in_torch_dispatch_mode()
    )


def borrowed(tensor: torch.Tensor) -> Any:
    """The tensor's numbers as an array; ``numpy()`` would keep FSDP from ever giving their memory back."""
    return np.from_dlpack(tensor.detach().contiguous())


def cuda_plan(mapping: Any, like: torch.Tensor) -> Any:
    """What the Triton kernels must know; None where they do not serve."""
    if like.device.type != "cuda" or like.dtype not in _ON_CUDA or not _has_triton():
        return None
    from nn.kernels.cuda import plan_of

    return plan_of(mapping)


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def cpu_plan(mapping: Any, like: torch.Tensor) -> Any:
    """What the numba kernels must know; None where they do not serve."""
    if like.device.type != "cpu" or like.dtype not in (torch.float32, torch.float64):
        return None
    from nn.kernels.cpu import plan_of

    return plan_of(mapping)
