"""Rows of a table that is never formed: an embedding reads the few rows of its tokens from the bank.

A row is a few runs of the bank and a few words of signs, drawn where they are needed; the gradient adds
rows into the bank in the order in which they came, whatever the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from nn.bridge import drawn, mapping_of
from nn.kernels import NARROW, borrowed, cpu_plan, cuda_plan, one_by_one, reference, way
from nn.kernels.cpu import WORD, _add_run, _copy_run, _segment, _together
from nn.kernels.products import shares
from rpstheory import hashing
from rpstheory.errors import ArgumentError, KindError
from rpstheory.kernels import field

_U64 = np.uint64


class RowError(ArgumentError, IndexError):
    """A row that the table does not have."""


def expand_rows(
    bank: torch.Tensor,
    roots: torch.Tensor,
    edges: torch.Tensor,
    mapping: str,
    first: int,
    count: int,
    width: int,
    rows: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """Rows of the table of (count, width) weights at positions first … first + count * width - 1.

    Args:
        bank: (m,) floats.
        roots: As in :class:`nn.kernels.Piece`.
        edges: As in :class:`nn.kernels.Piece`.
        mapping: As in :class:`nn.kernels.Piece`.
        first: Position of the table's first weight.
        count: Rows of the table.
        width: Its columns.
        rows: Which; whole numbers of any shape.
        scale: The module's lambda.

    Returns:
        (…, width), in the kind of the bank.

    Raises:
        RowError: If the table has not so many rows.
    """
    call = way(bank, _ExpandRows, _ExpandRowsWatched, expand_rows_op)
    return call(bank, roots, edges, mapping, first, count, width, rows, scale)


def compress_rows(
    values: torch.Tensor,
    roots: torch.Tensor,
    edges: torch.Tensor,
    mapping: str,
    first: int,
    count: int,
    m: int,
    rows: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """The adjoint of :func:`expand_rows`: values, (…, width), summed over each of m cells in order of rows.

    Raises:
        RowError: If the table has not so many rows.
    """
    call = way(values, _CompressRows, _CompressRowsWatched, compress_rows_op)
    return call(values, roots, edges, mapping, first, count, m, rows, scale)


def _expand_rows(
    bank: torch.Tensor,
    roots: torch.Tensor,
    edges: torch.Tensor,
    mapping: str,
    first: int,
    count: int,
    width: int,
    rows: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    if bank.device.type == "cpu" and bank.dtype in NARROW:
        table = roots, edges, mapping, first, count, width, rows, scale
        return _expand_rows(bank.float(), *table).to(bank.dtype)
    which, factors, found = mapping_of(mapping), (scale / roots).to(bank.dtype), _checked(rows, count)
    plan, out = cpu_plan(which, bank), bank.new_empty(len(found), width)
    on_cuda = cuda_plan(which, bank)
    if on_cuda is not None:
        from nn.kernels import cuda

        cuda.expand_rows(on_cuda, bank.detach().contiguous(), edges, factors, first, found, out)
    elif plan is None:
        for low, high, position in _blocks(found, first, width):
            cell, sign = drawn(which, position)
            out[low:high] = bank.detach()[cell] * reference.factor(factors, edges, cell) * sign
    else:
        source, to = borrowed(bank), out.numpy()
        table = (*plan, edges.numpy(), factors.numpy(), first, found.numpy())
        call = partial(_expand_each, *table, source, to)
        _together([partial(call, *part) for part in shares(len(found), out.numel())])
    return out.view(*rows.shape, width)


def _compress_rows(
    values: torch.Tensor,
    roots: torch.Tensor,
    edges: torch.Tensor,
    mapping: str,
    first: int,
    count: int,
    m: int,
    rows: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    if values.device.type == "cpu" and values.dtype in NARROW:
        table = roots, edges, mapping, first, count, m, rows, scale
        return _compress_rows(values.float(), *table).to(values.dtype)
    which, factors, found = mapping_of(mapping), (scale / roots).to(values.dtype), _checked(rows, count)
    plan, bank = cpu_plan(which, values), values.new_zeros(m)
    flat, on_cuda = values.detach().reshape(len(found), values.shape[-1]), cuda_plan(which, values)
    if on_cuda is not None:
        from nn.kernels import cuda

        cuda.compress_rows(on_cuda, flat.contiguous(), edges, factors, first, found, bank)
    elif plan is None:
        for low, high, position in _blocks(found, first, flat.shape[1]):
            cell, sign = drawn(which, position)
            each = flat[low:high] * reference.factor(factors, edges, cell) * sign
            reference.add_at(bank, cell.reshape(-1), each.reshape(-1))
    else:
        source, to = flat.contiguous().numpy(), bank.numpy()
        table = (*plan, edges.numpy(), factors.numpy(), first, found.numpy())
        call = partial(_compress_each, *table, source, to)
        _together([partial(call, *part) for part in shares(m, flat.numel())])
    return bank


def _checked(rows: torch.Tensor, count: int) -> torch.Tensor:
    """(rows,) int64.

    Raises:
        KindError: If they are no whole numbers.
        RowError: If the table has not so many rows.
    """
    if rows.dtype.is_floating_point or rows.dtype.is_complex or rows.dtype == torch.bool:
        raise KindError(f"embedding: rows of {rows.dtype} came; whole numbers are needed")
    found = rows.detach().reshape(-1).to(torch.int64).contiguous()
    if found.device.type != "cpu":
        torch._assert_async(((found >= 0) & (found < count)).all())  # the host need not wait
    elif len(found):
        low, high = (int(end) for end in torch.aminmax(found))
        if low < 0 or high >= count:
            wrong = low if low < 0 else high
            raise RowError(f"embedding: row {wrong} came; the table has {count}; pass 0 … {count - 1}")
    return found


def _blocks(rows: torch.Tensor, first: int, width: int) -> Iterator[tuple[int, int, torch.Tensor]]:
    """Positions of the weights of some rows at a time, (some, width)."""
    step = max(1, reference.BLOCK // max(1, width))
    column = torch.arange(first, first + width, device=rows.device)
    for low in range(0, len(rows), step):
        high = min(low + step, len(rows))
        yield low, high, rows[low:high, None] * width + column


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    source, roots, edges, ctx.mapping, ctx.first, ctx.count, ctx.found, rows, ctx.scale = inputs
    ctx.size = source.shape[-1]
    ctx.save_for_backward(roots, edges, rows)


def _keep_for_both(ctx: Any, inputs: Any, output: Any) -> None:
    _keep(ctx, inputs, output)
    ctx.save_for_forward(*inputs[1:3], inputs[7])


def _again(ctx: Any, values: torch.Tensor, size: int, call: Any) -> torch.Tensor:
    roots, edges, rows = ctx.saved_tensors
    return call(values, roots, edges, ctx.mapping, ctx.first, ctx.count, size, rows, ctx.scale)


def _expand_rows_backward(ctx: Any, grad: torch.Tensor) -> Any:
    return (_again(ctx, grad, ctx.size, compress_rows), *[None] * 8)


def _compress_rows_backward(ctx: Any, grad: torch.Tensor) -> Any:
    return (_again(ctx, grad, ctx.size, expand_rows), *[None] * 8)


def _expand_rows_tangent(ctx: Any, tangent: torch.Tensor, *_: Any) -> torch.Tensor:
    return _again(ctx, tangent, ctx.found, expand_rows)


def _compress_rows_tangent(ctx: Any, tangent: torch.Tensor, *_: Any) -> torch.Tensor:
    return _again(ctx, tangent, ctx.found, compress_rows)


class _ExpandRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> torch.Tensor:
        _keep(ctx, inputs, None)
        return _expand_rows(*inputs)

    backward = staticmethod(_expand_rows_backward)


class _CompressRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> torch.Tensor:
        _keep(ctx, inputs, None)
        return _compress_rows(*inputs)

    backward = staticmethod(_compress_rows_backward)


class _ExpandRowsWatched(torch.autograd.Function):
    forward = staticmethod(_expand_rows)
    setup_context = staticmethod(_keep_for_both)
    backward = staticmethod(_expand_rows_backward)
    jvp = staticmethod(_expand_rows_tangent)
    vmap = staticmethod(one_by_one(expand_rows))


class _CompressRowsWatched(torch.autograd.Function):
    forward = staticmethod(_compress_rows)
    setup_context = staticmethod(_keep_for_both)
    backward = staticmethod(_compress_rows_backward)
    jvp = staticmethod(_compress_rows_tangent)
    vmap = staticmethod(one_by_one(compress_rows))


expand_rows_op = torch.library.custom_op("rps::expand_rows", _expand_rows, mutates_args=())
compress_rows_op = torch.library.custom_op("rps::compress_rows", _compress_rows, mutates_args=())
expand_rows_op.register_autograd(_expand_rows_backward, setup_context=_keep)
compress_rows_op.register_autograd(_compress_rows_backward, setup_context=_keep)


@expand_rows_op.register_fake
def _(
    bank: Any,
    roots: Any,
    edges: Any,
    mapping: str,
    first: int,
    count: int,
    width: int,
    rows: Any,
    scale: float,
) -> Any:
    return bank.new_empty(*rows.shape, width)


@compress_rows_op.register_fake
def _(
    values: Any, roots: Any, edges: Any, mapping: str, first: int, count: int, m: int, rows: Any, scale: float
) -> Any:
    return values.new_empty(m)


@field.kernel
def _expand_each(
    seed: Any,
    m: Any,
    length: Any,
    starts: Any,
    edges: Any,
    factors: Any,
    first: Any,
    rows: Any,
    bank: Any,
    out: Any,
    least: Any,
    most: Any,
) -> None:
    """``out[t]`` is row ``rows[t]`` of the table, for t = least … most - 1."""
    key = field.key_of(seed)
    high = field.cubic(key, field.START)
    low = field.cubic(key, field.START_LOW) if starts > hashing.NARROW else high
    cubic = field.cubic(key, field.SIGN)
    values = np.empty(field.HEAD, dtype=np.uint32)
    width = out.shape[1]
    octets = np.empty(2 * (width // WORD + 40) + 80, dtype=np.uint8)
    for t in range(least, most):
        base = first + rows[t] * width
        begin = base // WORD
        field.sign_words(cubic, begin, (base + width - 1) // WORD + 1 - begin, values, octets)
        at = 0
        while at < width:
            position = base + at
            chunk = position // length
            place = position - chunk * length
            cell = field.start_of(high, low, chunk, _U64(starts)) + place
            cell = cell - m if cell >= m else cell
            segment = _segment(edges, cell)
            border = edges[segment + 1] if segment + 1 < edges.size else m
            size = min(min(border - cell, length - place), width - at)
            bit = position - begin * WORD
            _copy_run(bank, cell, factors[segment], octets, bit, out[t], at, at + size)
            at += size


@field.kernel
def _compress_each(
    seed: Any,
    m: Any,
    length: Any,
    starts: Any,
    edges: Any,
    factors: Any,
    first: Any,
    rows: Any,
    values: Any,
    bank: Any,
    least: Any,
    most: Any,
) -> None:
    """Adds ``values[t]``, row ``rows[t]`` of the table, to the cells least … most - 1, in order of t."""
    key = field.key_of(seed)
    high = field.cubic(key, field.START)
    low = field.cubic(key, field.START_LOW) if starts > hashing.NARROW else high
    cubic = field.cubic(key, field.SIGN)
    head = np.empty(field.HEAD, dtype=np.uint32)
    width = values.shape[1]
    octets = np.empty(2 * (width // WORD + 40) + 80, dtype=np.uint8)
    for t in range(rows.size):
        base = first + rows[t] * width
        begin = base // WORD
        drawn = False
        at = 0
        while at < width:
            position = base + at
            chunk = position // length
            place = position - chunk * length
            cell = field.start_of(high, low, chunk, _U64(starts)) + place
            cell = cell - m if cell >= m else cell
            segment = _segment(edges, cell)
            border = edges[segment + 1] if segment + 1 < edges.size else m
            size = min(min(border - cell, length - place), width - at)
            skip, end = max(0, least - cell), min(cell + size, most)
            if cell + skip < end:
                if not drawn:
                    field.sign_words(cubic, begin, (base + width - 1) // WORD + 1 - begin, head, octets)
                    drawn = True
                bit = position + skip - begin * WORD
                _add_run(values[t], at + skip, factors[segment], octets, bit, bank, cell + skip, end)
            at += size
