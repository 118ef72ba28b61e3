"""Expand and compress by numba: runs of the bank copied or added, signs from words of 16 bits.

A mapping of rotated chunks lays every chunk as one run of consecutive cells, two where it wraps. A run
is cut where Gamma changes; inside a piece sixteen weights are scaled, signed and moved at once. Nothing
is held per weight but one bit of sign, and that only while a call lasts. Every cell is summed in order
of position, whatever the number of threads, so that gradients are the same bits in every run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from nn.kernels.lanes import LANES, add_signed, copy_signed
from rpstheory import hashing
from rpstheory.kernels import field
from rpstheory.kernels.lanes import load_bits
from rpstheory.mappings import Block, Chunk, Fold, Hashed

WORD = hashing.SIGNS_PER_WORD
SHORT = 2**16  # weights that one thread moves before a second is worth its start
STRETCH = 2**15  # weights whose signs are held at once
AHEAD = 64  # words of signs that may be drawn and not used
BATCH = 2**12  # weights whose cells are held at once, where each has its own

_U64 = np.uint64


class Plan(NamedTuple):
    """What the kernels must know of a mapping of rotated chunks."""

    seed: np.uint64
    m: int
    length: int
    starts: int


def plan_of(mapping: Any) -> Plan | None:
    """The plan, or None where only the reference serves."""
    if type(mapping) not in (Fold, Hashed, Chunk, Block):
        return None
    if type(mapping) is Block and isinstance(mapping.block, tuple):
        return None
    hashed = max(mapping.n // WORD + AHEAD, mapping.n // mapping.chunk_length)
    if hashed > field.LIMIT:
        return None
    return Plan(_U64(mapping.seed), mapping.m, mapping.chunk_length, mapping.starts)


def expand(plan: Plan, bank: Any, edges: Any, factors: Any, first: int, out: Any, threads: int) -> None:
    """``out[t] = factor * sign * bank[cell]`` at position ``first + t``.

    Args:
        plan: Of the mapping.
        bank: (m,) float32 or float64, contiguous.
        edges: (segments,) int64, the first cell of every stretch of equal factor; edges[0] = 0.
        factors: (segments,) in the kind of the bank.
        first: Position of the first weight.
        out: (count,) in the kind of the bank.
        threads: At most so many.
    """
    kernel = _expand_hashed if plan.length == 1 else _expand
    if threads == 1 or out.size < 2 * SHORT:
        kernel(*plan, bank, edges, factors, first, out)
        return
    parts = _parts(out.size, threads)
    _together(
        [partial(kernel, *plan, bank, edges, factors, first + low, out[low:high]) for low, high in parts]
    )


def compress(plan: Plan, values: Any, edges: Any, factors: Any, first: int, bank: Any, threads: int) -> None:
    """``bank[cell] += factor * sign * values[t]``, in order of position in every cell.

    Args:
        plan: Of the mapping.
        values: (count,) float32 or float64, contiguous.
        edges: As in :func:`expand`.
        factors: As in :func:`expand`.
        first: Position of the first weight.
        bank: (m,) in the kind of the values, added to.
        threads: At most so many.
    """
    parts = _parts(plan.m, threads if plan.length == plan.m else 1)
    if len(parts) == 1:
        kernel = _compress_hashed if plan.length == 1 else _compress
        kernel(*plan, values, edges, factors, first, bank)
        return
    octets = np.empty(2 * (values.size // WORD + 40) + 80, dtype=np.uint8)
    _draw_signs(plan.seed, first, values.size, octets)
    each = partial(_compress_cells, plan.seed, plan.m, values, edges, factors, first, octets, bank)
    _together([partial(each, low, high) for low, high in parts])


def _parts(count: int, threads: int) -> list[tuple[int, int]]:
    """Equal shares, each a multiple of 16 long."""
    shares = max(1, min(threads, count // SHORT))
    size = -(-count // (shares * WORD)) * WORD
    return [(low, min(low + size, count)) for low in range(0, count, size)]


_pool: ThreadPoolExecutor | None = None


def _together(calls: list[Callable[[], None]]) -> None:
    global _pool
    if len(calls) == 1:
        calls[0]()
        return
    if _pool is None:
        _pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="rps")
    others = [_pool.submit(call) for call in calls[1:]]
    calls[0]()
    for other in others:
        other.result()


def _forget_pool() -> None:
    """A forked child has none of its parent's threads."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


@field.kernel
def _draw_signs(seed: Any, first: Any, count: Any, octets: Any) -> None:
    values = np.empty(field.HEAD, dtype=np.uint32)
    cubic = field.cubic(field.key_of(seed), field.SIGN)
    begin = first // WORD
    field.sign_words(cubic, begin, (first + count - 1) // WORD + 1 - begin, values, octets)


@field.inner
def _segment(edges: Any, cell: Any) -> Any:
    """The stretch of equal factor that a cell is in."""
    low, high = 0, edges.size
    while high - low > 1:
        middle = (low + high) // 2
        if edges[middle] <= cell:
            low = middle
        else:
            high = middle
    return low


@field.inner
def _copy_run(bank: Any, cell: Any, factor: Any, octets: Any, bit: Any, out: Any, at: Any, end: Any) -> None:
    while at + LANES <= end:
        copy_signed(out, at, bank, cell, factor, load_bits(octets, bit >> 3) >> _U64(bit & 7))
        at += LANES
        cell += LANES
        bit += LANES
    while at < end:
        value = bank[cell] * factor
        out[at] = -value if (octets[bit >> 3] >> (bit & 7)) & 1 else value
        at += 1
        cell += 1
        bit += 1


@field.inner
def _add_run(
    values: Any, at: Any, factor: Any, octets: Any, bit: Any, bank: Any, cell: Any, end: Any
) -> None:
    while cell + LANES <= end:
        add_signed(bank, cell, values, at, factor, load_bits(octets, bit >> 3) >> _U64(bit & 7))
        at += LANES
        cell += LANES
        bit += LANES
    while cell < end:
        value = values[at] * factor
        bank[cell] += -value if (octets[bit >> 3] >> (bit & 7)) & 1 else value
        at += 1
        cell += 1
        bit += 1


@field.kernel
def _expand(
    seed: Any, m: Any, length: Any, starts: Any, bank: Any, edges: Any, factors: Any, first: Any, out: Any
) -> None:
    key = field.key_of(seed)
    high = field.cubic(key, field.START)
    low = field.cubic(key, field.START_LOW) if starts > hashing.NARROW else high
    cubic = field.cubic(key, field.SIGN)
    values = np.empty(field.HEAD, dtype=np.uint32)
    octets = np.empty(2 * (STRETCH // WORD + 40) + 80, dtype=np.uint8)
    known = 0  # weights whose signs are in octets, from `base` on
    base = first
    at = 0
    while at < out.size:
        if at >= known:
            base = first + at
            known = min(at + STRETCH, out.size)
            begin = base // WORD
            field.sign_words(cubic, begin, (first + known - 1) // WORD + 1 - begin, values, octets)
        position = first + at
        chunk = position // length
        place = position - chunk * length
        cell = field.start_of(high, low, chunk, _U64(starts)) + place
        cell = cell - m if cell >= m else cell
        segment = _segment(edges, cell)
        border = edges[segment + 1] if segment + 1 < edges.size else m
        size = min(min(border - cell, length - place), known - at)
        bit = base % WORD + position - base
        _copy_run(bank, cell, factors[segment], octets, bit, out, at, at + size)
        at += size


@field.kernel
def _compress(
    seed: Any, m: Any, length: Any, starts: Any, values: Any, edges: Any, factors: Any, first: Any, bank: Any
) -> None:
    key = field.key_of(seed)
    high = field.cubic(key, field.START)
    low = field.cubic(key, field.START_LOW) if starts > hashing.NARROW else high
    cubic = field.cubic(key, field.SIGN)
    head = np.empty(field.HEAD, dtype=np.uint32)
    octets = np.empty(2 * (STRETCH // WORD + 40) + 80, dtype=np.uint8)
    known = 0
    base = first
    at = 0
    while at < values.size:
        if at >= known:
            base = first + at
            known = min(at + STRETCH, values.size)
            begin = base // WORD
            field.sign_words(cubic, begin, (first + known - 1) // WORD + 1 - begin, head, octets)
        position = first + at
        chunk = position // length
        place = position - chunk * length
        cell = field.start_of(high, low, chunk, _U64(starts)) + place
        cell = cell - m if cell >= m else cell
        segment = _segment(edges, cell)
        border = edges[segment + 1] if segment + 1 < edges.size else m
        size = min(min(border - cell, length - place), known - at)
        bit = base % WORD + position - base
        _add_run(values, at, factors[segment], octets, bit, bank, cell, cell + size)
        at += size


@field.inner
def _hashed_cell(high: Any, low: Any, t: Any, starts: Any) -> Any:
    if starts > hashing.NARROW:
        return np.int64((_U64(high[t]) * field.P + _U64(low[t])) % starts)
    return np.int64(field.scaled(_U64(high[t]), starts))


@field.kernel
def _expand_hashed(
    seed: Any, m: Any, length: Any, starts: Any, bank: Any, edges: Any, factors: Any, first: Any, out: Any
) -> None:
    key = field.key_of(seed)
    cubic, wide, narrow = (
        field.cubic(key, field.SIGN),
        field.cubic(key, field.START_LOW),
        field.cubic(key, field.START),
    )
    octets = np.empty(2 * (BATCH // WORD + 40) + 80, dtype=np.uint8)
    head = np.empty(field.HEAD, dtype=np.uint32)
    high, low = np.empty(BATCH + 16, dtype=np.uint32), np.empty(BATCH + 16, dtype=np.uint32)
    for at in range(0, out.size, BATCH):
        count = min(BATCH, out.size - at)
        base = first + at
        begin = base // WORD
        field.sign_words(cubic, begin, (base + count - 1) // WORD + 1 - begin, head, octets)
        field.field_values(narrow, base, count, high)
        if starts > hashing.NARROW:
            field.field_values(wide, base, count, low)
        for t in range(count):
            cell = _hashed_cell(high, low, t, _U64(starts))
            value = bank[cell] * factors[_segment(edges, cell)]
            bit = base % WORD + t
            out[at + t] = -value if (octets[bit >> 3] >> (bit & 7)) & 1 else value


@field.kernel
def _compress_hashed(
    seed: Any, m: Any, length: Any, starts: Any, values: Any, edges: Any, factors: Any, first: Any, bank: Any
) -> None:
    key = field.key_of(seed)
    cubic, wide, narrow = (
        field.cubic(key, field.SIGN),
        field.cubic(key, field.START_LOW),
        field.cubic(key, field.START),
    )
    octets = np.empty(2 * (BATCH // WORD + 40) + 80, dtype=np.uint8)
    head = np.empty(field.HEAD, dtype=np.uint32)
    high, low = np.empty(BATCH + 16, dtype=np.uint32), np.empty(BATCH + 16, dtype=np.uint32)
    for at in range(0, values.size, BATCH):
        count = min(BATCH, values.size - at)
        base = first + at
        begin = base // WORD
        field.sign_words(cubic, begin, (base + count - 1) // WORD + 1 - begin, head, octets)
        field.field_values(narrow, base, count, high)
        if starts > hashing.NARROW:
            field.field_values(wide, base, count, low)
        for t in range(count):
            cell = _hashed_cell(high, low, t, _U64(starts))
            value = values[at + t] * factors[_segment(edges, cell)]
            bit = base % WORD + t
            bank[cell] += -value if (octets[bit >> 3] >> (bit & 7)) & 1 else value


@field.kernel
def _compress_cells(
    seed: Any,
    m: Any,
    values: Any,
    edges: Any,
    factors: Any,
    first: Any,
    octets: Any,
    bank: Any,
    least: Any,
    most: Any,
) -> None:
    """The cells least … most - 1 of a fold, lap by lap."""
    key = field.key_of(seed)
    high = field.cubic(key, field.START)
    low = field.cubic(key, field.START_LOW) if m > hashing.NARROW else high
    for lap in range(first // m, (first + values.size - 1) // m + 1):
        shift = field.start_of(high, low, lap, _U64(m))
        cell = least
        while cell < most:
            place = cell - shift if cell >= shift else cell - shift + m
            segment = _segment(edges, cell)
            border = edges[segment + 1] if segment + 1 < edges.size else m
            size = min(min(border, most) - cell, m - place)
            at = lap * m + place - first
            skip = max(0, -at)
            end = cell + min(size, values.size - at)
            if cell + skip < end:
                bit = first % WORD + at + skip
                _add_run(values, at + skip, factors[segment], octets, bit, bank, cell + skip, end)
            cell += size
