"""Expand, compress and small products by Triton: a weight lives in a register, its sign is hashed there.

Sixteen signs are one value of a cubic over the field of 2^31 - 1, three multiplications of 32 bits; where
a chunk starts is another. Only the bank is read, and nothing is held per weight. Gradients use no atomics:
a program owns some cells and adds in order of position what falls on them, so that they are the same bits
in every run and, in float32 and float64, those of the CPU. All the laps of a fold meet every cell; which
of many short chunks do is found by a stable sort. Numbers of bfloat16 and float16 are added in float32.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

from rpstheory import hashing
from rpstheory.mappings import Block, Chunk, Fold, Hashed

WORD = hashing.SIGNS_PER_WORD
LIMIT = 2**30  # cells: before a chunk wraps its cells go up to twice as many, in 32 bits
WEIGHTS = (128, 4096)  # that a program expands: enough to pay for its start, few enough for all processors
CELLS = (128, 2048)  # that a program adds the laps of a fold to
MANY, FEW = 512, 64  # cells that a program adds long and short chunks to
PROGRAMS = 2**9  # that keep all processors busy
MEETINGS = 2**22  # of chunks and programs that are sorted at once
COLUMNS = 2**11, 2**10  # of x that a program holds, of few rows and of many
TOGETHER = 16  # rows of W that it holds them for
MOST = 16  # rows of x

_P = tl.constexpr(hashing.PRIME)
_SUMS = {torch.float64: torch.float64}  # float32 for every other kind
_KINDS = {torch.float32: tl.float32, torch.float64: tl.float64}
_NUMBERS = ("first", "width", "count", "columns", "batch", "blocks", "stretches", "half")


class Plan(NamedTuple):
    """What must be known of a mapping of rotated chunks.

    Attributes:
        mapping: The mapping.
        m: Its cells.
        length: Weights per chunk.
        starts: Where a chunk may start.
    """

    mapping: Any
    m: int
    length: int
    starts: int


@lru_cache(maxsize=1024)
def plan_of(mapping: Any) -> Plan | None:
    """The plan, or None where only the reference serves: tiles, and more values than the field has."""
    if type(mapping) not in (Fold, Hashed, Chunk, Block) or mapping.m > LIMIT:
        return None
    if type(mapping) is Block and isinstance(mapping.block, tuple):
        return None
    if max(mapping.chunks, -(-mapping.n // WORD)) > hashing.PRIME:
        return None
    return Plan(mapping, mapping.m, mapping.chunk_length, mapping.starts)


@lru_cache(maxsize=1024)
def _table(plan: Plan, device: torch.device) -> torch.Tensor:
    """What the kernels read of a plan: m, length, starts, and the cubics of signs and starts."""
    streams = (hashing.SIGN_STREAM, hashing.START_STREAM, hashing.START_LOW_STREAM)
    cubics = [hashing.coefficients(plan.mapping.seed, stream, 1) for stream in streams]
    return torch.tensor([*plan[1:], *sum(cubics, ())], dtype=torch.int32, device=device)


def expand(plan: Plan, bank: Any, edges: Any, factors: Any, first: int, out: Any) -> None:
    """``out[t] = factor * sign * bank[cell]`` at position ``first + t``.

    Args:
        plan: Of the mapping.
        bank: (m,) floats, contiguous.
        edges: (segments,) int64, the first cell of every stretch of equal factor; edges[0] = 0.
        factors: (segments,) floats.
        first: Position of the first weight.
        out: (count,) in the kind of the bank, contiguous.
    """
    _expand(plan, bank, edges, factors, first, None, out.view(1, -1))


def expand_rows(plan: Plan, bank: Any, edges: Any, factors: Any, first: int, rows: Any, out: Any) -> None:
    """``out[t]`` is row ``rows[t]`` of the table whose first weight is at ``first``.

    Args:
        plan: As in :func:`expand`.
        bank: As in :func:`expand`.
        edges: As in :func:`expand`.
        factors: As in :func:`expand`.
        first: As in :func:`expand`.
        rows: (t,) int64, contiguous.
        out: (t, width) in the kind of the bank, contiguous.
    """
    _expand(plan, bank, edges, factors, first, rows, out)


def compress(plan: Plan, values: Any, edges: Any, factors: Any, first: int, bank: Any) -> None:
    """``bank[cell] += factor * sign * values[t]``, in order of position in every cell.

    Args:
        plan: As in :func:`expand`.
        values: (count,) floats, contiguous.
        edges: As in :func:`expand`.
        factors: As in :func:`expand`.
        first: As in :func:`expand`.
        bank: (m,) in the kind of the values, contiguous.
    """
    if plan.m == plan.length:
        _add(plan, values, edges, factors, first, None, _between(CELLS, len(bank)), bank)
        return
    row = torch.zeros(1, dtype=torch.int64, device=values.device)
    for low in range(0, len(values), MEETINGS):
        part = values[low : low + MEETINGS].view(1, -1)
        compress_rows(plan, part, edges, factors, first + low, row, bank)


def compress_rows(
    plan: Plan, values: Any, edges: Any, factors: Any, first: int, rows: Any, bank: Any
) -> None:
    """Adds ``values[t]``, row ``rows[t]`` of the table, to its cells, in order of t in every cell.

    Args:
        plan: As in :func:`expand`.
        values: (t, width) floats, contiguous.
        edges: As in :func:`expand`.
        factors: As in :func:`expand`.
        first: As in :func:`expand`.
        rows: (t,) int64.
        bank: (m,) in the kind of the values, contiguous.
    """
    count, width = values.shape
    if values.numel() == 0:
        return
    cells = MANY if min(plan.length, width) >= MANY else FEW
    some = max(1, MEETINGS // (_chunks(plan, width) * _programs(plan, width, cells)))
    for low in range(0, count, some):
        arcs = _arcs(plan, first, rows[low : low + some], width, cells)
        _add(plan, values[low : low + some], edges, factors, first, arcs, cells, bank)


def linear(plan: Plan, x: Any, bank: Any, edges: Any, factors: Any, first: int, out: Any) -> None:
    """``out = x @ W.T``, W row by row at positions first, first + 1, …; where :func:`pays` says so.

    Products are summed in float32, or float64 for float64, always in the same order; a weight is not
    rounded to the kind of the bank before it is multiplied.

    Args:
        plan: As in :func:`expand`.
        x: (batch, columns) in the kind of the bank, contiguous.
        bank: As in :func:`expand`.
        edges: As in :func:`expand`.
        factors: As in :func:`expand`.
        first: As in :func:`expand`.
        out: (batch, rows of W) in the kind of the bank.
    """
    (batch, columns), count = x.shape, out.shape[1]
    block = min(COLUMNS[batch > 4], triton.next_power_of_2(max(columns, WORD)))
    blocks = -(-columns // block)
    sums = x.new_empty(blocks, batch, count, dtype=_kind_of_sums(x))
    _launch(
        _product_kernel,
        blocks * -(-count // TOGETHER),
        x,
        bank,
        *_stretches(edges, factors),
        sums,
        _table(plan, x.device),
        first,
        count,
        columns,
        batch,
        blocks,
        TOGETHER=TOGETHER,
        BATCH=triton.next_power_of_2(batch),
        **_traits(plan, edges, sums, block, first % WORD or columns % WORD) | {"enable_fp_fusion": True},
    )
    out.copy_(sums.sum(0))


def pays(plan: Plan | None, count: int, columns: int, batch: int) -> bool:
    """Whether :func:`linear` serves: few rows of x, and chunks as long as what is read at once.

    Args:
        plan: Of the mapping.
        count: Rows of W.
        columns: Its columns.
        batch: Rows of x.
    """
    return plan is not None and plan.length >= COLUMNS[0] and count * columns > 0 and 0 < batch <= MOST


def _kind_of_sums(floats: Any) -> torch.dtype:
    return _SUMS.get(floats.dtype, torch.float32)


def _stretches(edges: Any, factors: Any) -> tuple[Any, Any, int, int]:
    """Edges, factors, their number, and the largest power of two below it."""
    return edges, factors, len(edges), 1 << (len(edges) - 1).bit_length() >> 1


def _between(bounds: tuple[int, int], items: int) -> int:
    """A power of two: how many of the items a program takes."""
    return min(max(triton.next_power_of_2(items // PROGRAMS), bounds[0]), bounds[1])


def _traits(plan: Plan, edges: Any, floats: Any, block: int, ragged: Any) -> dict[str, Any]:
    """What a kernel is compiled for; ragged where a program's signs may begin inside a word."""
    return {
        "BLOCK": block,
        "LONG": plan.length >= block,
        "NARROW": plan.starts <= hashing.NARROW,
        "WORDS": block // WORD * (2 if ragged else 1),
        "FLAT": len(edges) == 1,
        "KIND": _KINDS[_kind_of_sums(floats)],
        "num_warps": min(max(block // 128, 1), 4),
        "enable_fp_fusion": False,  # products are rounded before they are added, as on the CPU
    }


def _launch(kernel: Any, programs: int, source: torch.Tensor, *args: Any, **traits: Any) -> None:
    """Runs a kernel where its first argument is; Triton takes the current device."""
    with torch.cuda.device_of(source):  # type: ignore[no-untyped-call]
        kernel[(programs,)](source, *args, **traits)


def _expand(plan: Plan, bank: Any, edges: Any, factors: Any, first: int, rows: Any, out: Any) -> None:
    count, width = out.shape
    if out.numel() == 0:
        return
    block = min(_between(WEIGHTS, out.numel()), max(triton.next_power_of_2(width), WEIGHTS[0]))
    blocks = -(-width // block)
    _launch(
        _expand_kernel,
        count * blocks,
        bank,
        *_stretches(edges, factors),
        rows,
        out,
        _table(plan, out.device),
        first,
        width,
        blocks,
        **_traits(plan, edges, bank, block, first % WORD or (rows is not None and width % WORD)),
    )


def _add(
    plan: Plan, values: Any, edges: Any, factors: Any, first: int, arcs: _Arcs | None, cells: int, bank: Any
) -> None:
    _launch(
        _compress_kernel,
        -(-plan.m // cells),
        values,
        *_stretches(edges, factors),
        bank,
        None if arcs is None else tuple(arcs),
        _table(plan, bank.device),
        first,
        values.numel(),
        **_traits(plan, edges, bank, cells, True),
    )


class _Arcs(NamedTuple):
    """Runs of weights in consecutive cells, and which of them meet the cells of which program.

    Attributes:
        ends: (programs + 1,): the arcs of program p are order[ends[p]] to order[ends[p + 1] - 1].
        order: Numbers of arcs, for each program in order of weights.
        position: (arcs,), of the first weight.
        cell: (arcs,), of the first weight.
        size: (arcs,), weights; 0 where there are none.
        at: (arcs,), where its values begin.
    """

    ends: Any
    order: Any
    position: Any
    cell: Any
    size: Any
    at: Any


def _chunks(plan: Plan, width: int) -> int:
    """Chunks that so many weights may meet."""
    return (width + plan.length - 2) // plan.length + 1


def _programs(plan: Plan, width: int, cells: int) -> int:
    """Programs of so many cells that one chunk, or so many of its weights, may meet."""
    most = (min(plan.length, width) + cells - 2) // cells + 1 + (plan.m % cells > 0)
    return min(most, -(-plan.m // cells))


def _arcs(plan: Plan, first: int, rows: Any, width: int, cells: int) -> _Arcs:
    """What rows of a table are in the bank: a run of cells for every chunk that a row meets."""
    m, length = plan.m, plan.length
    count = partial(torch.arange, device=rows.device)
    base = (first + rows * width)[:, None]
    begin = (base // length + count(_chunks(plan, width))) * length
    position = torch.maximum(begin, base)
    size = (torch.minimum(begin + length, base + width) - position).clamp(min=0).view(-1)
    at = (count(len(rows))[:, None] * width + position - base).view(-1)
    position = torch.where(size > 0, position.view(-1), first)
    cell = plan.mapping.cell(position)
    turn, programs = count(_programs(plan, width, cells)), -(-m // cells)
    program = (cell // cells)[:, None] + turn
    program = torch.where(program < programs, program, program - programs)
    met = (turn == 0) | ((program * cells - cell[:, None]) % m < size[:, None])
    met &= size[:, None] > 0
    found, order = torch.where(met, program, programs).view(-1).sort(stable=True)
    ends = torch.searchsorted(found, count(programs + 1))
    return _Arcs(ends, order // len(turn), position, cell, size, at)


@triton.jit
def _value(cubic: tl.tensor, v: tl.tensor) -> tl.tensor:
    """The cubic with these coefficients at v, 32-bit words, in the field."""
    value = tl.load(cubic + 3).to(tl.uint32)
    for degree in tl.static_range(2, -1, -1):
        long = value.to(tl.uint64) * v.to(tl.uint64) + tl.load(cubic + degree).to(tl.uint64)
        short = (long & _P).to(tl.uint32) + (long >> 31).to(tl.uint32)  # as 2^31 is 1; below 2 P
        value = tl.minimum(short, short - _P)  # a difference below 0 is a large word
    return value


@triton.jit
def _start(plan: tl.tensor, chunk: tl.tensor, NARROW: tl.constexpr) -> tl.tensor:
    """The first cell of a chunk."""
    size = tl.load(plan + 2)
    value = _value(plan + 7, chunk.to(tl.uint32)).to(tl.int64)
    if NARROW:
        value *= size  # times 1 / P = 2^-31 + 2^-62 + …
        value = (value + (value >> 31) + 1) >> 31
    else:
        value = (value * _P + _value(plan + 11, chunk.to(tl.uint32))) % size
    return value.to(tl.int32)


@triton.jit
def _signed(
    value: tl.tensor,
    plan: tl.tensor,
    begin: tl.tensor,
    BLOCK: tl.constexpr,
    WORDS: tl.constexpr,
    KIND: tl.constexpr,
) -> tl.tensor:
    """(BLOCK,) values times the signs from position ``begin`` on, which touch ``WORDS`` words."""
    words = _value(plan + 3, (begin >> 4).to(tl.uint32) + tl.arange(0, WORDS).to(tl.uint32))
    place = tl.arange(0, BLOCK)
    if WORDS * 16 > BLOCK:
        place += (begin & 15).to(tl.int32)
    words = tl.gather(words, place >> 4, 0)
    bit = (place & 15).to(tl.uint32)
    if KIND == tl.float64:
        flipped = value.to(tl.uint64, bitcast=True) ^ ((words >> bit).to(tl.uint64) << 63)
    else:
        flipped = value.to(tl.uint32, bitcast=True) ^ ((words << (31 - bit)) & 0x80000000)
    return flipped.to(KIND, bitcast=True)


@triton.jit
def _segment(edges: tl.tensor, stretches: tl.tensor, half: tl.tensor, cell: tl.tensor) -> tl.tensor:
    """The stretch of equal factor that a cell, or each of many, is in."""
    found = cell * 0
    while half > 0:
        more = found + half
        edge = tl.load(edges + more, mask=more < stretches, other=0)
        found = tl.where((more < stretches) & (edge <= cell), more, found)
        half = half // 2
    return found


@triton.jit
def _factor(
    edges: tl.tensor,
    factors: tl.tensor,
    stretches: tl.tensor,
    half: tl.tensor,
    begin: tl.tensor,
    BLOCK: tl.constexpr,
    FLAT: tl.constexpr,
) -> tl.tensor:
    """(BLOCK,): the factors of the cells from ``begin`` on."""
    segment = 0 if FLAT else _segment(edges, stretches, half, begin)
    factor = tl.broadcast_to(tl.load(factors + segment), [BLOCK])
    if not FLAT:
        if segment != _segment(edges, stretches, half, begin + BLOCK - 1):
            factor = tl.load(factors + _segment(edges, stretches, half, begin + tl.arange(0, BLOCK)))
    return factor


@triton.jit
def _scattered(
    bank: tl.tensor,
    edges: tl.tensor,
    factors: tl.tensor,
    stretches: tl.tensor,
    half: tl.tensor,
    m: tl.tensor,
    cell: tl.tensor,
    FLAT: tl.constexpr,
    KIND: tl.constexpr,
) -> tl.tensor:
    """What the bank has in any cells, once around at most, times their factors."""
    cell = tl.where(cell < m, cell, cell - m)
    segment = 0 if FLAT else _segment(edges, stretches, half, cell)
    return tl.load(bank + cell).to(KIND) * tl.load(factors + segment).to(KIND)


@triton.jit
def _weights(
    bank: tl.tensor,
    edges: tl.tensor,
    factors: tl.tensor,
    stretches: tl.tensor,
    half: tl.tensor,
    plan: tl.tensor,
    begin: tl.tensor,
    chunk: tl.tensor,
    start: tl.tensor,
    BLOCK: tl.constexpr,
    LONG: tl.constexpr,
    NARROW: tl.constexpr,
    WORDS: tl.constexpr,
    FLAT: tl.constexpr,
    KIND: tl.constexpr,
) -> tl.tensor:
    """(BLOCK,): the weights from position ``begin`` on, which is in a chunk that has this start."""
    place = tl.arange(0, BLOCK)
    m, length = tl.load(plan), tl.load(plan + 1)
    if LONG:  # two chunks at most, and mostly one run of cells
        border = ((chunk + 1) * length - begin).to(tl.int32)
        here = start + length - border
        here = tl.where(here < m, here, here - m)
        if (border >= BLOCK) & (here + BLOCK <= m):
            factor = _factor(edges, factors, stretches, half, here, BLOCK, FLAT)
            weight = tl.load(bank + here + place).to(KIND) * factor.to(KIND)
        else:
            there = _start(plan, chunk + 1, NARROW) - border
            cell = place + tl.where(place < border, here, there)
            weight = _scattered(bank, edges, factors, stretches, half, m, cell, FLAT, KIND)
    else:
        each = (begin + place) // length
        cell = _start(plan, each, NARROW) + (begin + place - each * length).to(tl.int32)
        weight = _scattered(bank, edges, factors, stretches, half, m, cell, FLAT, KIND)
    return _signed(weight, plan, begin, BLOCK, WORDS, KIND)


@triton.jit(do_not_specialize=_NUMBERS)
def _expand_kernel(
    bank: tl.tensor,
    edges: tl.tensor,
    factors: tl.tensor,
    stretches: tl.tensor,
    half: tl.tensor,
    rows: tl.tensor,
    out: tl.tensor,
    plan: tl.tensor,
    first: tl.tensor,
    width: tl.tensor,
    blocks: tl.tensor,
    BLOCK: tl.constexpr,
    LONG: tl.constexpr,
    NARROW: tl.constexpr,
    WORDS: tl.constexpr,
    FLAT: tl.constexpr,
    KIND: tl.constexpr,
) -> None:
    """A block of a row of the table."""
    row, at = (tl.program_id(0) // blocks).to(tl.int64), (tl.program_id(0) % blocks).to(tl.int64) * BLOCK
    which = row if rows is None else tl.load(rows + row)
    begin = first + which * width + at
    chunk = begin // tl.load(plan + 1)
    weight = _weights(
        bank,
        edges,
        factors,
        stretches,
        half,
        plan,
        begin,
        chunk,
        _start(plan, chunk, NARROW),
        BLOCK,
        LONG,
        NARROW,
        WORDS,
        FLAT,
        KIND,
    )
    place = tl.arange(0, BLOCK)
    tl.store(out + row * width + at + place, weight.to(out.dtype.element_ty), mask=place < width - at)


@triton.jit(do_not_specialize=_NUMBERS)
def _compress_kernel(
    values: tl.tensor,
    edges: tl.tensor,
    factors: tl.tensor,
    stretches: tl.tensor,
    half: tl.tensor,
    bank: tl.tensor,
    arcs: tl.tuple,
    plan: tl.tensor,
    first: tl.tensor,
    count: tl.tensor,
    BLOCK: tl.constexpr,
    LONG: tl.constexpr,
    NARROW: tl.constexpr,
    WORDS: tl.constexpr,
    FLAT: tl.constexpr,
    KIND: tl.constexpr,
) -> None:
    """Some consecutive cells: what each arc adds to them, arc by arc."""
    m = tl.load(plan)
    place = tl.arange(0, BLOCK)
    begin = tl.program_id(0) * BLOCK
    cell = begin + place
    factor = _factor(edges, factors, stretches, half, begin, BLOCK, FLAT).to(KIND)
    total = tl.load(bank + cell, mask=cell < m, other=0).to(KIND)
    if arcs is None:
        low, high = (first // m).to(tl.int64), ((first + count - 1) // m + 1).to(tl.int64)
    else:
        low, high = tl.load(arcs[0] + tl.program_id(0)), tl.load(arcs[0] + tl.program_id(0) + 1)
    for step in range(high - low):
        number = low + step
        if arcs is None:  # a lap, of which the first weights and the last may not be there
            position, start = number * m, _start(plan, number, NARROW)
            at = position - first
            least, most = tl.maximum(-at, 0).to(tl.int32), tl.minimum(count - at, m).to(tl.int32)
        else:
            arc = tl.load(arcs[1] + number)
            position, at = tl.load(arcs[2] + arc), tl.load(arcs[5] + arc)
            start = tl.load(arcs[3] + arc).to(tl.int32)
            least, most = 0, tl.load(arcs[4] + arc).to(tl.int32)
        for turn in tl.static_range(2):
            offset = begin - start + turn * m  # in the arc, of this program's first cell
            if (offset + BLOCK > least) & (offset < most):
                inside = (place >= least - offset) & (place < most - offset)
                value = tl.load(values + (at + offset) + place, mask=inside, other=0).to(KIND) * factor
                total += _signed(value, plan, position + offset, BLOCK, WORDS, KIND)
    tl.store(bank + cell, total.to(bank.dtype.element_ty), mask=cell < m)


@triton.jit(do_not_specialize=_NUMBERS, do_not_specialize_on_alignment=("x",))
def _product_kernel(
    x: tl.tensor,
    bank: tl.tensor,
    edges: tl.tensor,
    factors: tl.tensor,
    stretches: tl.tensor,
    half: tl.tensor,
    sums: tl.tensor,
    plan: tl.tensor,
    first: tl.tensor,
    count: tl.tensor,
    columns: tl.tensor,
    batch: tl.tensor,
    blocks: tl.tensor,
    TOGETHER: tl.constexpr,
    BATCH: tl.constexpr,
    BLOCK: tl.constexpr,
    LONG: tl.constexpr,
    NARROW: tl.constexpr,
    WORDS: tl.constexpr,
    FLAT: tl.constexpr,
    KIND: tl.constexpr,
) -> None:
    """Some columns of x times those of some rows of W."""
    left = tl.program_id(0) % blocks * BLOCK
    top = tl.program_id(0) // blocks * TOGETHER
    place = tl.arange(0, BLOCK)
    row = tl.arange(0, BATCH)
    inside = place < columns - left
    mask = inside[None, :] & (row < batch)[:, None]
    held = tl.load(x + left + row[:, None] * columns + place[None, :], mask=mask, other=0).to(KIND)
    begin = first + top.to(tl.int64) * columns + left
    length = tl.load(plan + 1)
    chunk = begin // length
    start = _start(plan, chunk, NARROW)
    for step in range(tl.minimum(TOGETHER, count - top)):
        if begin >= (chunk + 1) * length:
            chunk = begin // length
            start = _start(plan, chunk, NARROW)
        weight = _weights(
            bank,
            edges,
            factors,
            stretches,
            half,
            plan,
            begin,
            chunk,
            start,
            BLOCK,
            LONG,
            NARROW,
            WORDS,
            FLAT,
            KIND,
        )
        if left + BLOCK > columns:
            weight = tl.where(inside, weight, 0)
        total = tl.sum(held * weight[None, :], 1)
        to = sums + (left // BLOCK * batch + row).to(tl.int64) * count + top + step
        tl.store(to, total, mask=row < batch)
        begin += columns
