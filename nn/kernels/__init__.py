"""Expand and compress for torch, each the other's gradient; nothing is kept per weight.

Both are torch operators, so that compilers and exporters see one node. In eager mode a call costs half
as much when it does not go through the dispatcher, and that is the way taken where nobody is watching.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
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
_PLAIN = (torch.Tensor, torch.nn.Parameter)


def expand(
    bank: torch.Tensor,
    roots: torch.Tensor,
    edges: torch.Tensor,
    mapping: str,
    first: int,
    count: int,
    scale: float,
) -> torch.Tensor:
    """``scale / root * sign * bank[cell]`` at positions first … first + count - 1.

    Args:
        bank: (m,) floats.
        roots: (segments,) float64: what each stretch of cells is divided by.
        edges: (segments,) int64: the first cell of each stretch, 0 first.
        mapping: Names the mapping, as :func:`nn.bridge.key_of` does.
        first: Position of the first weight.
        count: Number of weights.
        scale: The module's lambda.

    Returns:
        (count,), in the kind of the bank.
    """
    call = way(bank, _Expand, _ExpandWatched, expand_op)
    return call(bank, roots, edges, mapping, first, count, scale)


def compress(
    values: torch.Tensor,
    roots: torch.Tensor,
    edges: torch.Tensor,
    mapping: str,
    first: int,
    m: int,
    scale: float,
) -> torch.Tensor:
    """The adjoint of :func:`expand`: ``scale / root * sign * values``, summed over each of m cells.

    In every cell in order of position: the same bits whatever the number of threads.
    """
    call = way(values, _Compress, _CompressWatched, compress_op)
    return call(values, roots, edges, mapping, first, m, scale)


def _expand(
    bank: torch.Tensor,
    roots: torch.Tensor,
    edges: torch.Tensor,
    mapping: str,
    first: int,
    count: int,
    scale: float,
) -> torch.Tensor:
    which, factors = mapping_of(mapping), (scale / roots).to(bank.dtype)
    on_cuda = cuda_plan(which, bank)
    if on_cuda is not None:
        from nn.kernels import cuda

        weights = bank.new_empty(count)
        cuda.expand(on_cuda, bank.detach().contiguous(), edges, factors, first, weights)
        return weights
    plan = cpu_plan(which, bank)
    if plan is None:
        return reference.expand(which, bank, factors, edges, first, count)
    from nn.kernels import cpu

    out, source = bank.new_empty(count), borrowed(bank)
    cpu.expand(plan, source, edges.numpy(), factors.numpy(), first, out.numpy(), torch.get_num_threads())
    return out


def _compress(
    values: torch.Tensor,
    roots: torch.Tensor,
    edges: torch.Tensor,
    mapping: str,
    first: int,
    m: int,
    scale: float,
) -> torch.Tensor:
    which, factors = mapping_of(mapping), (scale / roots).to(values.dtype)
    on_cuda = cuda_plan(which, values)
    if on_cuda is not None:
        from nn.kernels import cuda

        found = values.new_zeros(m)
        cuda.compress(on_cuda, values.detach().contiguous(), edges, factors, first, found)
        return found
    plan = cpu_plan(which, values)
    if plan is None:
        return reference.compress(which, values.detach(), factors, edges, first)
    from nn.kernels import cpu

    bank, source = values.new_zeros(m), values.detach().contiguous().numpy()
    cpu.compress(plan, source, edges.numpy(), factors.numpy(), first, bank.numpy(), torch.get_num_threads())
    return bank


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    source, ctx.roots, ctx.edges, ctx.mapping, ctx.first, ctx.found, ctx.scale = inputs
    ctx.size = len(source)


def _expand_backward(ctx: Any, grad: torch.Tensor) -> Any:
    found = compress(grad, ctx.roots, ctx.edges, ctx.mapping, ctx.first, ctx.size, ctx.scale)
    return found, None, None, None, None, None, None


def _compress_backward(ctx: Any, grad: torch.Tensor) -> Any:
    found = expand(grad, ctx.roots, ctx.edges, ctx.mapping, ctx.first, ctx.size, ctx.scale)
    return found, None, None, None, None, None, None


def _expand_tangent(ctx: Any, tangent: torch.Tensor, *_: Any) -> torch.Tensor:
    return expand(tangent, ctx.roots, ctx.edges, ctx.mapping, ctx.first, ctx.found, ctx.scale)


def _compress_tangent(ctx: Any, tangent: torch.Tensor, *_: Any) -> torch.Tensor:
    return compress(tangent, ctx.roots, ctx.edges, ctx.mapping, ctx.first, ctx.found, ctx.scale)


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
    def forward(ctx: Any, *inputs: Any) -> torch.Tensor:
        _keep(ctx, inputs, None)
        return _expand(*inputs)

    backward = staticmethod(_expand_backward)


class _Compress(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> torch.Tensor:
        _keep(ctx, inputs, None)
        return _compress(*inputs)

    backward = staticmethod(_compress_backward)


class _ExpandWatched(torch.autograd.Function):
    forward = staticmethod(_expand)
    setup_context = staticmethod(_keep)
    backward = staticmethod(_expand_backward)
    jvp = staticmethod(_expand_tangent)
    vmap = staticmethod(one_by_one(expand))


class _CompressWatched(torch.autograd.Function):
    forward = staticmethod(_compress)
    setup_context = staticmethod(_keep)
    backward = staticmethod(_compress_backward)
    jvp = staticmethod(_compress_tangent)
    vmap = staticmethod(one_by_one(compress))


expand_op = torch.library.custom_op("rps::expand", _expand, mutates_args=())
compress_op = torch.library.custom_op("rps::compress", _compress, mutates_args=())
expand_op.register_autograd(_expand_backward, setup_context=_keep)
compress_op.register_autograd(_compress_backward, setup_context=_keep)


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
