"""Products with a weight that is never formed: the bank is read from cache, run by run.

For a few rows of x a dense product only waits for its weight to come from memory. Here the bank comes
from cache instead, sixteen weights are scaled and signed in a register, and multiplied while they are
there: the weights are those of ``expand`` to the last bit. Columns j, j + 32, … of a row add up in one
lane, and the 32 sums in a tree, so that an output is the same bits in a batch of any size, on any number
of threads, and wherever the mapping cuts its runs. With u the unit roundoff and k = ceil(columns / 32) + 5,

    |y - x W^T| <= k u / (1 - k u) * |x| |W|^T

where products are fused into sums, k + 1 where the machine rounds them first; and whole numbers are exact.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as tnnf

from nn.bridge import mapping_of
from nn.kernels import Piece, borrowed, cpu_plan, cuda_plan, unwatched
from nn.kernels.cpu import SHORT, STRETCH, WORD, Plan, _segment, _together
from nn.kernels.lanes import LANES, add_products, add_some_products, sum_of
from rpstheory import hashing
from rpstheory.kernels import field

SUMS = 2 * LANES  # for each output; a step takes as many weights
ROWS = 8  # rows of x that share signs and weights: their sums fill half the registers
TILE = 2**12  # numbers of x that stay in the fastest cache while rows of W pass by
MARGIN = 64  # bits before the first sign: a step may begin before its run

# Measured on one core of a Zen 4 server, float32, against expand and a dense product. Below 2^16 weights
# both cost no more than a call, 50 us. Chunks of 32 weights take 0.8 to 0.97 of the time up to 8 rows and
# 1.5 for 16; longer runs 0.3 to 0.9 up to 8 rows, and for 16 from 0.8 at 16x to 1.3 at 1x. From 32 MiB on
# the allocator asks for fresh pages each time, and expand takes ten times as long: then one row takes 0.06
# of the time, 32 rows 0.4 at 16x and (by pass) 0.75 at 1x.
SHORT_RUN, LONG_RUN = 32, 256
LARGE = 2**23  # weights
MOST = 32  # rows of x, where the weight is large

_U64 = np.uint64


def linear(
    x: torch.Tensor,
    bank: torch.Tensor,
    roots: torch.Tensor,
    edges: torch.Tensor,
    mapping: str,
    first: int,
    count: int,
    scale: float,
) -> torch.Tensor:
    """``x @ W.T`` where W, (count, columns), lies at positions first, first + 1, … row by row.

    Differentiable, but only backward-free calls gain: gradients form the weight, as a dense layer's do.

    Args:
        x: (…, columns).
        bank: (m,), in the kind of x.
        roots: As in :class:`nn.kernels.Piece`.
        edges: As in :class:`nn.kernels.Piece`.
        mapping: As in :class:`nn.kernels.Piece`.
        first: Position of W[0, 0].
        count: Rows of W.
        scale: The module's lambda.

    Returns:
        (…, count).
    """
    wanted = torch.is_grad_enabled() and (x.requires_grad or bank.requires_grad)
    call = _linear if not wanted and unwatched(x) and unwatched(bank) else linear_op
    return call(x, bank, roots, edges, mapping, first, count, scale)


def pays(plan: Plan | None, count: int, columns: int, batch: int) -> bool:
    """Whether :func:`linear` is faster than ``expand`` and a dense product, on any number of threads.

    Args:
        plan: From :func:`nn.kernels.cpu.plan_of`.
        count: Rows of W.
        columns: Its columns.
        batch: Rows of x.
    """
    if plan is None or plan.length < SHORT_RUN or count * columns < SHORT:
        return False
    large = count * columns >= LARGE and plan.length >= LONG_RUN
    return batch <= (MOST if large else ROWS)


def saves(mapping: Any, bank: torch.Tensor, x: torch.Tensor, count: int) -> bool:
    """Whether :func:`linear` gains: nothing is differentiated, cast or recorded, and :func:`pays`.

    On a GPU never: whether the kernel is faster there than a library's product has not been measured.

    Args:
        mapping: The mapping.
        bank: (m,).
        x: (…, columns).
        count: Rows of W.
    """
    if torch.is_grad_enabled() and (bank.requires_grad or x.requires_grad):
        return False
    if x.dtype != bank.dtype or not (unwatched(x) and unwatched(bank)):
        return False
    if torch.is_autocast_enabled(x.device.type) or x.numel() == 0:
        return False
    columns = x.shape[-1]
    return pays(cpu_plan(mapping, bank), count, columns, x.numel() // columns)


def shares(count: int, work: int) -> list[tuple[int, int]]:
    """0 … count - 1 in equal parts, one for each thread that so much work is worth starting."""
    threads = max(1, min(torch.get_num_threads(), count, work // SHORT))
    cuts = [count * t // threads for t in range(threads + 1)]
    return list(zip(cuts[:-1], cuts[1:], strict=True))


def _linear(
    x: torch.Tensor,
    bank: torch.Tensor,
    roots: torch.Tensor,
    edges: torch.Tensor,
    mapping: str,
    first: int,
    count: int,
    scale: float,
) -> torch.Tensor:
    which, columns = mapping_of(mapping), x.shape[-1]
    plan, on_cuda = cpu_plan(which, bank), cuda_plan(which, bank)
    if on_cuda is not None and x.dtype == bank.dtype:
        from nn.kernels import cuda

        if cuda.pays(on_cuda, count, columns, x.numel() // max(1, columns)):
            found = x.new_empty(x.numel() // columns, count)
            flat = x.detach().reshape(-1, columns).contiguous()
            by = (scale / roots).to(bank.dtype)
            cuda.linear(on_cuda, flat, bank.detach().contiguous(), edges, by, first, found)
            return found.view(*x.shape[:-1], count)
    if plan is None or x.dtype != bank.dtype or x.numel() * count == 0:
        piece = Piece(roots, edges, mapping, first, count * columns, len(bank), scale)
        weight = piece.kernels(bank).expand(bank.detach())
        return tnnf.linear(x, weight.view(count, columns))
    factors = (scale / roots).to(bank.dtype).numpy()
    source = borrowed(bank)
    weights = (*plan, source, edges.numpy(), factors, first)
    flat = x.detach().reshape(-1, columns)
    out = x.new_empty(len(flat), count)
    for low in range(0, len(flat), ROWS):
        rows = min(ROWS, len(flat) - low)
        taken = 1 << (rows - 1).bit_length()  # a kernel is built for 1, 2, 4 and 8 rows
        padded = tnnf.pad(flat[low : low + rows], (0, -columns % SUMS, 0, taken - rows))
        blocks = padded.view(taken, -1, SUMS).transpose(0, 1).contiguous().view(-1).numpy()
        into = out[low : low + rows].numpy()
        call = partial(_products, *weights, blocks, columns, tuple(range(taken)), into)
        _together([partial(call, *part) for part in shares(count, count * columns)])
    return out.view(*x.shape[:-1], count)


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    x, bank, roots, edges, ctx.mapping, ctx.first, ctx.count, ctx.scale = inputs
    ctx.save_for_backward(x, bank, roots, edges)


def _linear_backward(ctx: Any, grad: torch.Tensor) -> Any:
    x, bank, roots, edges = ctx.saved_tensors
    columns = x.shape[-1]
    piece = Piece(roots, edges, ctx.mapping, ctx.first, ctx.count * columns, len(bank), ctx.scale)
    to_x = to_bank = None
    if ctx.needs_input_grad[0]:
        to_x = grad @ piece.expand(bank).view(ctx.count, columns)
    if ctx.needs_input_grad[1]:
        weight = grad.reshape(-1, ctx.count).T @ x.reshape(-1, columns)
        to_bank = piece.compress(weight.reshape(-1))
    return to_x, to_bank, None, None, None, None, None, None


linear_op = torch.library.custom_op("rps::linear", _linear, mutates_args=())
linear_op.register_autograd(_linear_backward, setup_context=_keep)


@linear_op.register_fake
def _(x: Any, bank: Any, roots: Any, edges: Any, mapping: str, first: int, count: int, scale: float) -> Any:
    return x.new_empty(*x.shape[:-1], count)


@field.inner
def _add_run(
    sums: Any,
    at: Any,
    x: Any,
    column: Any,
    rows: Any,
    bank: Any,
    cell: Any,
    factor: Any,
    octets: Any,
    bit: Any,
    count: Any,
) -> None:
    """``count`` weights of one run; steps begin at multiples of 32 columns, the first perhaps before it."""
    t = -(column % SUMS)
    while t < count:
        if t < 0 or t + SUMS > count:
            add_some_products(
                sums, at, x, column + t, rows, bank, cell + t, factor, octets, bit + t, -t, count - t
            )
            t += SUMS
        else:
            steps = (count - t) // SUMS
            add_products(sums, at, x, column + t, rows, bank, cell + t, factor, octets, bit + t, steps)
            t += SUMS * steps


@field.kernel
def _products(
    seed: Any,
    m: Any,
    length: Any,
    starts: Any,
    bank: Any,
    edges: Any,
    factors: Any,
    first: Any,
    x: Any,
    columns: Any,
    rows: Any,
    out: Any,
    least: Any,
    most: Any,
) -> None:
    """Columns least … most - 1 of ``out``. ``rows`` is (0, 1, …), a tuple, so that its size is known."""
    key = field.key_of(seed)
    high = field.cubic(key, field.START)
    low = field.cubic(key, field.START_LOW) if starts > hashing.NARROW else high
    cubic = field.cubic(key, field.SIGN)
    values = np.empty(field.HEAD, dtype=np.uint32)
    octets = np.empty(MARGIN // 8 + 2 * (STRETCH // WORD + 40) + 80, dtype=np.uint8)
    held = max(1, STRETCH // columns)  # rows of W whose signs are held at once
    wide, tile = len(rows) * SUMS, TILE // len(rows)
    sums = np.empty(held * wide, dtype=bank.dtype)
    for top in range(least, most, held):
        tall = min(held, most - top)
        sums[: tall * wide] = 0
        for left in range(0, columns, STRETCH):
            right = min(left + STRETCH, columns)
            base = first + top * columns + left
            begin = base // WORD
            words = (base + (tall - 1) * columns + right - left - 1) // WORD + 1 - begin
            field.sign_words(cubic, begin, words, values, octets[MARGIN // 8 :])
            for near in range(left, right, tile):
                far = min(near + tile, right)
                for row in range(tall):
                    column = near
                    while column < far:
                        position = first + (top + row) * columns + column
                        chunk = position // length
                        place = position - chunk * length
                        cell = field.start_of(high, low, chunk, _U64(starts)) + place
                        cell = cell - m if cell >= m else cell
                        segment = _segment(edges, cell)
                        border = edges[segment + 1] if segment + 1 < edges.size else m
                        size = min(min(border - cell, length - place), far - column)
                        bit = MARGIN + position - begin * WORD
                        factor = factors[segment]
                        _add_run(sums, row * wide, x, column, rows, bank, cell, factor, octets, bit, size)
                        column += size
        for row in range(tall):
            for r in range(len(out)):
                out[r, top + row] = sum_of(sums, row * wide + r * SUMS)
