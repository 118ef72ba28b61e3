"""The reference's draws by numba: a mapping is drawn and its statistic summed in one pass.

One kernel for each way through the weights. ``_fold`` keeps 32 cells in registers and reads their
stretch of every lap. ``_hashed`` and ``_runs`` (chunks, blocks, rows of tiles) scatter into a table with
a half for each sign. ``_keep`` sums what is kept. They share the hash below, bit-equal to
:mod:`rpstheory.hashing`. Larger sizes than they are exact or fit for, and every other mapping, go to the
reference.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import njit

from rpstheory import hashing
from rpstheory.errors import ShapeError
from rpstheory.kernels import reference
from rpstheory.kernels.field import (
    HEAD,
    KEEP,
    LIMIT,
    NARROW,
    SIGN,
    START,
    START_LOW,
    P,
    coefficient,
    cubic,
    first_values,
    inner,
    kernel,
    key_of,
    last_differences,
    scaled,
    sign_words,
    start_of,
    value_at,
)
from rpstheory.kernels.lanes import (
    add_pair,
    add_pair_products,
    add_product,
    add_signed,
    copy_words,
    load,
    load_bits,
    load_values,
    plus,
    store,
    store_bits,
    store_slots,
    sum_of,
    zeros,
)
from rpstheory.mappings import (
    AbstractMapping,
    AbstractSharing,
    Block,
    Chunk,
    Fold,
    Hashed,
    KeepBernoulli,
    KeepExact,
)
from rpstheory.mappings.keep import rounds

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDEST = 2**24  # cells; beyond, the table of the scatter would take gigabytes
BLOCK = 32  # cells kept in registers
SHORTEST_LAP = 16  # below, a fold is added like chunks: most of a block would lie outside the lap
BATCH = 64  # weights hashed before they are scattered; short enough for the two to overlap
STRETCH = 1024  # weights whose fate is held at once

_U64 = np.uint64
_LOW = _U64(2**32 - 1)
_ONE = _U64(1)


def inner_products(
    mapping: AbstractMapping, x: NDArray[Any], y: NDArray[Any], first: int, count: int
) -> NDArray[np.float64]:
    """rescale * <Sx, Sy> for ``count`` draws, as :func:`reference.inner_products`.

    Args:
        mapping: Its seed is replaced by ``first``, ``first + 1``, …
        x: (n,), or one row per draw, (count, n).
        y: The same; where it is the very object ``x``, a fold takes half the work.
        first: Seed of the first draw.
        count: Number of draws.

    Returns:
        (count,). Exact for integer-valued ``x`` and ``y``.

    Raises:
        ShapeError: If ``x`` or ``y`` has another shape.
    """
    plan = _plan(mapping)
    if plan is None:
        return reference.inner_products(mapping, x, y, first, count)
    same = y is x
    a = _rows("x", x, mapping.n, count)
    b = a if same else _rows("y", y, mapping.n, count)
    seed, values = _U64(first % 2**64), np.empty(count)
    if isinstance(plan, _Keep):
        _keep(a, b, *plan, seed, values)
    elif plan.tall == 1 and plan.starts == plan.m == plan.wide >= SHORTEST_LAP:
        _fold(a, b, same, plan.m, seed, values)
    elif plan.tall == plan.wide == 1 and plan.m <= hashing.NARROW:
        _hashed(a, b, plan.m, seed, values)
    else:
        _runs(a, b, plan, seed, values)
    return values * float(mapping.rescale)


def draw(mapping: AbstractMapping, first: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cells and signs of ``count`` draws from the kernels' own hash, each (count, n) int64."""
    plan = _plan(mapping)
    if plan is None:
        return reference.draw_many(mapping, first, count)
    cells = np.tile(np.arange(mapping.n), (count, 1))
    signs = np.empty_like(cells)
    if isinstance(plan, _Keep):
        _draw_keep(*plan, _U64(first % 2**64), signs)
    else:
        _draw_runs(plan, _U64(first % 2**64), cells, signs)
    return cells, signs


class _Runs(NamedTuple):
    """Weights and tiles as rows and columns; a chunk is a tile of a single row."""

    rows: int
    columns: int
    tall: int
    wide: int
    m: int
    starts: int


class _Keep(NamedTuple):
    """Feistel rounds, 0 for Bernoulli; what a kept weight's place, or value, is below."""

    turns: int
    n: int
    stretch: int
    bound: np.uint64


def _plan(mapping: AbstractMapping) -> _Runs | _Keep | None:
    """What a kernel has to know, or None where only the reference serves."""
    n, m = mapping.n, mapping.m
    if sys.byteorder != "little" or n > LIMIT:
        return None
    if type(mapping) is KeepExact:
        return _Keep(rounds(mapping._side), n, mapping._side, _U64(m))
    if type(mapping) is KeepBernoulli:
        return _Keep(0, n, STRETCH, _U64(mapping._threshold))
    if m > WIDEST:
        return None
    if type(mapping) is Block and isinstance(mapping.block, tuple) and mapping.shape:
        return _Runs(*mapping.shape, *mapping.block, m, mapping.starts)
    if type(mapping) in (Block, Chunk, Fold, Hashed) and isinstance(mapping, AbstractSharing):
        return _Runs(1, n, 1, mapping.chunk_length, m, mapping.starts)
    return None


def _rows(name: str, x: NDArray[Any], n: int, count: int) -> NDArray[np.float64]:
    """(1, n) or (count, n), as the kernels read it.

    Raises:
        ShapeError: If it is neither one vector nor one row per draw.
    """
    if x.shape not in ((n,), (count, n)):
        raise ShapeError(
            f"inner_products: {name} has shape {x.shape}, the mapping has n={n}; "
            f"pass one vector or one row for each of the {count} draws"
        )
    return np.ascontiguousarray(x.reshape(-1, n), dtype=np.float64)


_reordered = njit(
    no_cpython_wrapper=True,
    no_cfunc_wrapper=True,
    error_model="numpy",
    fastmath={"reassoc", "contract", "nsz"},
)


@inner
def _bits(octets: Any, position: Any) -> Any:
    """57 bits or more from any bit on."""
    return load_bits(octets, position >> 3) >> _U64(position & 7)


# ------------------------------------------------------------------------------------- the fold
#
# Laps lie in rows of m + 32 entries, signs in rows of m + 32 bits; the last 32 repeat the first, so
# that 32 cells read every lap in one stretch, wherever its shift makes it turn.


@kernel
def _fold(x: Any, y: Any, same: Any, m: Any, first: Any, out: Any) -> None:
    n = x.shape[1]
    laps = -(-n // m)
    row = m + BLOCK
    long_x = np.zeros(laps * row)
    long_y = long_x if same else np.zeros(laps * row)
    octets = np.zeros(laps * m // 8 + 72, dtype=np.uint8)
    signs = np.zeros(laps * row // 8 + 72, dtype=np.uint8)
    values = np.empty(HEAD, dtype=np.uint32)
    begins = np.empty(laps, dtype=np.int64)
    for d in range(out.size):
        if d < x.shape[0]:
            _lay(x[d], m, long_x)
        if d < y.shape[0] and not same:
            _lay(y[d], m, long_y)
        key = key_of(first + _U64(d))
        high = cubic(key, START)
        low = cubic(key, START_LOW) if m > NARROW else high
        for lap in range(laps):
            shift = start_of(high, low, lap, _U64(m))
            begins[lap] = m - shift if shift else 0
        sign_words(cubic(key, SIGN), 0, -(-n // 16), values, octets)
        _lay_bits(octets, m, laps, signs)
        if same:
            out[d] = _lap_norm(long_x, signs, begins, m)
        else:
            out[d] = _lap_product(long_x, long_y, signs, begins, m)


@inner
def _lay(x: Any, m: Any, rows: Any) -> None:
    for lap in range(-(-x.size // m)):
        at, length = lap * (m + BLOCK), min(m, x.size - lap * m)
        for i in range(length):
            rows[at + i] = x[lap * m + i]
        for i in range(min(length, BLOCK)):
            rows[at + m + i] = x[lap * m + i]


@inner
def _lay_bits(octets: Any, m: Any, laps: Any, rows: Any) -> None:
    """A row is 32 bits, two whole words, longer than a lap: words only move, they never shift."""
    for lap in range(laps):
        at = 2 * (lap * m >> 4)
        for i in range(at, at + m // 8 + 4, 32):
            copy_words(rows, i + 4 * lap, octets, i)
    for lap in range(laps):
        end = lap * (m + BLOCK) + m
        shift = _U64(end & 7)
        kept = load_bits(rows, end >> 3) & ~(_LOW << shift)
        store_bits(rows, end >> 3, kept | ((_bits(octets, lap * m) & _LOW) << shift))


@inner
def _lap_product(x: Any, y: Any, signs: Any, begins: Any, m: Any) -> Any:
    total = zeros()
    for cell in range(0, m, BLOCK):
        a0, a1, a2, a3 = zeros(), zeros(), zeros(), zeros()
        b0, b1, b2, b3 = zeros(), zeros(), zeros(), zeros()
        for lap in range(begins.size):
            i = cell + begins[lap]
            if i >= m:
                i -= m
            i += lap * (m + BLOCK)
            bits = _bits(signs, i)
            a0 = add_signed(a0, load(x, i), bits, 0)
            a1 = add_signed(a1, load(x, i + 8), bits, 8)
            a2 = add_signed(a2, load(x, i + 16), bits, 16)
            a3 = add_signed(a3, load(x, i + 24), bits, 24)
            b0 = add_signed(b0, load(y, i), bits, 0)
            b1 = add_signed(b1, load(y, i + 8), bits, 8)
            b2 = add_signed(b2, load(y, i + 16), bits, 16)
            b3 = add_signed(b3, load(y, i + 24), bits, 24)
        inside = (_ONE << _U64(min(m - cell, BLOCK))) - _ONE
        total = add_product(total, a0, b0, inside, 0)
        total = add_product(total, a1, b1, inside, 8)
        total = add_product(total, a2, b2, inside, 16)
        total = add_product(total, a3, b3, inside, 24)
    return sum_of(total)


@inner
def _lap_norm(x: Any, signs: Any, begins: Any, m: Any) -> Any:
    total = zeros()
    for cell in range(0, m, BLOCK):
        a0, a1, a2, a3 = zeros(), zeros(), zeros(), zeros()
        for lap in range(begins.size):
            i = cell + begins[lap]
            if i >= m:
                i -= m
            i += lap * (m + BLOCK)
            bits = _bits(signs, i)
            a0 = add_signed(a0, load(x, i), bits, 0)
            a1 = add_signed(a1, load(x, i + 8), bits, 8)
            a2 = add_signed(a2, load(x, i + 16), bits, 16)
            a3 = add_signed(a3, load(x, i + 24), bits, 24)
        inside = (_ONE << _U64(min(m - cell, BLOCK))) - _ONE
        total = add_product(total, a0, a0, inside, 0)
        total = add_product(total, a1, a1, inside, 8)
        total = add_product(total, a2, a2, inside, 16)
        total = add_product(total, a3, a3, inside, 24)
    return sum_of(total)


# ------------------------------------------------------------------------------------- scatter
#
# A cell has two slots, one per sign, so that a scatter needs no sign; a slot holds the sums of x and of
# y side by side. Slots are numbered by their first float64: 2 * cell, plus half the table for a minus.


@kernel
def _hashed(x: Any, y: Any, m: Any, first: Any, out: Any) -> None:
    n = x.shape[1]
    words = -(-n // 16)
    pairs, table = np.zeros(32 * words), np.zeros(_slots(m))
    half = _U64(table.size // 2)
    octets = np.zeros(2 * words + 32, dtype=np.uint8)
    values = np.empty(HEAD, dtype=np.uint32)
    slots = np.empty(max(HEAD, BATCH), dtype=np.uint32)
    twos = slots.view(np.uint64)  # two slots at a load
    for d in range(out.size):
        _side_by_side(x, y, d, pairs)
        key = key_of(first + _U64(d))
        sign_words(cubic(key, SIGN), 0, words, values, octets)
        first_values(cubic(key, START), 0, values, HEAD)
        value, once, twice, thrice = last_differences(values)
        head = min(words, HEAD // 16)
        for word in range(head):
            bits, fresh = load_bits(octets, 2 * word), load_values(values, 16 * word)
            store_slots(slots, 16 * word, fresh, _U64(m), half, bits)
        _scatter(twos, head, pairs, 0, table)
        for begin in range(head, words, BATCH // 16):
            length = min(words - begin, BATCH // 16)
            for word in range(length):
                twice = plus(twice, thrice)
                once = plus(once, twice)
                value = plus(value, once)
                bits = load_bits(octets, 2 * (begin + word))
                store_slots(slots, 16 * word, value, _U64(m), half, bits)
            _scatter(twos, length, pairs, 32 * begin, table)
        out[d] = _slot_product(table)


@kernel
def _runs(x: Any, y: Any, plan: Any, first: Any, out: Any) -> None:
    n = x.shape[1]
    rows, columns, tall, wide, m, starts = plan
    across = -(-columns // wide)
    pairs, table = np.zeros(2 * n), np.zeros(_slots(starts + tall * wide))
    octets = np.zeros(n // 8 + 48, dtype=np.uint8)
    values = np.empty(HEAD, dtype=np.uint32)
    for d in range(out.size):
        _side_by_side(x, y, d, pairs)
        key = key_of(first + _U64(d))
        sign_words(cubic(key, SIGN), 0, -(-n // 16), values, octets)
        high = cubic(key, START)
        low = cubic(key, START_LOW) if starts > NARROW else high
        for row in range(rows):
            tile, offset = row // tall * across, row % tall * wide
            for column in range(0, columns, wide):
                cell = start_of(high, low, tile, _U64(starts)) + offset
                tile += 1
                at, length = row * columns + column, min(wide, columns - column)
                _add_run(pairs, octets, at, length, cell, table)
        _wrap(table, 2 * m)
        out[d] = _slot_product(table)


@inner
def _slots(cells: Any) -> Any:
    return (cells + 3) // 4 * 16


@inner
def _side_by_side(x: Any, y: Any, d: Any, pairs: Any) -> None:
    if d < x.shape[0]:
        for i in range(x.shape[1]):
            pairs[2 * i] = x[d, i]
    if d < y.shape[0]:
        for i in range(y.shape[1]):
            pairs[2 * i + 1] = y[d, i]


@inner
def _scatter(twos: Any, words: Any, pairs: Any, at: Any, table: Any) -> None:
    for i in range(8 * words):
        two = twos[i]
        add_pair(table, two & _LOW, pairs, at + 4 * i)
        add_pair(table, two >> _U64(32), pairs, at + 4 * i + 2)


@inner
def _add_run(pairs: Any, octets: Any, at: Any, length: Any, cell: Any, table: Any) -> None:
    half = table.size // 2
    for begin in range(0, length, BLOCK):
        bits = _bits(octets, at + begin)
        for i in range(begin, min(length, begin + BLOCK)):
            slot = 2 * (cell + i) + np.int64(bits & _ONE) * half
            add_pair(table, slot, pairs, 2 * (at + i))
            bits >>= _ONE


@inner
def _wrap(table: Any, end: Any) -> None:
    """Slots from ``end`` on, of either sign, are moved to the bank's beginning."""
    half = table.size // 2
    for i in range(end, half):
        for slot in (i, half + i):
            table[slot - end] += table[slot]
            table[slot] = 0.0


@inner
def _slot_product(table: Any) -> Any:
    """<Sx, Sy>; leaves the table empty."""
    half = table.size // 2
    total = zeros()
    for i in range(0, half, 8):
        sums = add_signed(load(table, i), load(table, half + i), _LOW, 0)
        total = add_pair_products(total, sums)
        store(table, i, zeros())
        store(table, half + i, zeros())
    return 0.5 * sum_of(total)


@kernel
def _draw_runs(plan: Any, first: Any, cells: Any, signs: Any) -> None:
    n = cells.shape[1]
    rows, columns, tall, wide, m, starts = plan
    across = -(-columns // wide)
    octets = np.zeros(n // 8 + 48, dtype=np.uint8)
    values = np.empty(HEAD, dtype=np.uint32)
    for d in range(cells.shape[0]):
        key = key_of(first + _U64(d))
        sign_words(cubic(key, SIGN), 0, -(-n // 16), values, octets)
        high, low = cubic(key, START), cubic(key, START_LOW)
        for row in range(rows):
            tile, offset = row // tall * across, row % tall * wide
            for column in range(0, columns, wide):
                cell = start_of(high, low, tile, _U64(starts)) + offset
                tile += 1
                at = row * columns + column
                for i in range(min(wide, columns - column)):
                    cells[d, at + i] = (cell + i) % m
                    signs[d, at + i] = 1 - 2 * np.int64(_bits(octets, at + i) & _ONE)


# ------------------------------------------------------------------------------------- keep


@kernel
def _keep(x: Any, y: Any, turns: Any, n: Any, width: Any, bound: Any, first: Any, out: Any) -> None:
    kept, places, steps = _keep_space(turns, n, width)
    for d in range(out.size):
        cubics = _keep_cubics(key_of(first + _U64(d)), turns)
        _tabulate(cubics, turns, width, steps)
        this_x, this_y = x[min(d, x.shape[0] - 1)], y[min(d, y.shape[0] - 1)]
        total = 0.0
        for at in range(0, n, kept.size):
            end = min(n, at + kept.size)
            _fates(cubics, steps, turns, n, bound, at, end - at, places, kept)
            total += _kept_product(kept, this_x[at:end], this_y[at:end])
        out[d] = total


@kernel
def _draw_keep(turns: Any, n: Any, width: Any, bound: Any, first: Any, signs: Any) -> None:
    kept, places, steps = _keep_space(turns, n, width)
    for d in range(signs.shape[0]):
        cubics = _keep_cubics(key_of(first + _U64(d)), turns)
        _tabulate(cubics, turns, width, steps)
        for at in range(0, n, kept.size):
            length = min(kept.size, n - at)
            _fates(cubics, steps, turns, n, bound, at, length, places, kept)
            for i in range(length):
                signs[d, at + i] = np.int64(kept[i])


@inner
def _keep_space(turns: Any, n: Any, width: Any) -> Any:
    """Fates and places of a stretch of whole rows of the square, and the round functions' tables."""
    stretch = width * max(1, min(STRETCH, n + width) // width)
    return np.empty(stretch), np.empty((2, stretch), np.uint32), np.empty((turns, width), np.uint32)


@inner
def _keep_cubics(key: Any, turns: Any) -> Any:
    """The round functions; for a Bernoulli draw the two halves of a weight's value."""
    cubics = np.empty((max(2, turns), 4), dtype=np.uint64)
    stride = 2 if turns else 1
    for i in range(cubics.shape[0]):
        for c in range(4):
            cubics[i, c] = coefficient(key, hashing.COEFFICIENTS * (KEEP + stride * i) + c)
    return cubics


@inner
def _row(cubics: Any, i: Any) -> Any:
    return cubics[i, 0], cubics[i, 1], cubics[i, 2], cubics[i, 3]


@inner
def _tabulate(cubics: Any, turns: Any, side: Any, steps: Any) -> None:
    """Each round function at every argument: n weights ask for side of them over and over."""
    for turn in range(turns):
        c = _row(cubics, turn)
        for right in range(side):
            steps[turn, right] = scaled(value_at(c, _U64(right)), _U64(side))


@inner
def _fates(
    cubics: Any,
    steps: Any,
    turns: Any,
    n: Any,
    bound: Any,
    at: Any,
    length: Any,
    places: Any,
    kept: Any,
) -> None:
    """1.0 for each kept weight of a stretch, 0.0 for a dropped one."""
    if turns:
        side = steps.shape[1]
        _permute(steps, at // side, length, places[0], places[1])
        for i in range(length):
            place = np.int64(places[0, i]) * side + np.int64(places[1, i])
            while place >= n:
                place = _walk(steps, place)
            kept[i] = 1.0 if place < np.int64(bound) else 0.0
    else:
        high, low = _row(cubics, 0), _row(cubics, 1)
        for i in range(length):
            position = _U64(at + i)
            value = value_at(high, position) * P + value_at(low, position)
            kept[i] = 1.0 if value < bound else 0.0


@inner
def _permute(steps: Any, row: Any, length: Any, left: Any, right: Any) -> None:
    """Whole rows of the square through all rounds, side by side."""
    side = steps.shape[1]
    for begin in range(0, length, side):
        for i in range(min(side, length - begin)):
            left[begin + i] = row
            right[begin + i] = i
        row += 1
    for turn in range(steps.shape[0]):
        step = steps[turn]
        for i in range(length):
            before = right[i]
            total = np.int64(left[i]) + np.int64(step[before])
            right[i] = total - side if total >= side else total
            left[i] = before


@inner
def _walk(steps: Any, place: Any) -> Any:
    """One place through all rounds."""
    side = steps.shape[1]
    left, right = place // side, place % side
    for turn in range(steps.shape[0]):
        total = left + np.int64(steps[turn, right])
        left, right = right, total - side if total >= side else total
    return left * side + right


@_reordered
def _kept_product(kept: Any, x: Any, y: Any) -> Any:
    total = 0.0
    for i in range(x.size):
        total += kept[i] * x[i] * y[i]
    return total
