"""Vector registers as numba values, where LLVM does not find the vectors by itself.

Two kinds: eight float64, for sums, and sixteen field values of 32 bits, for hashing. LLVM splits them
on machines with shorter registers. Little-endian machines only.

Numba's cache compares the source of the file with the kernel alone: after a change here or in
``field.py``, delete ``__pycache__``.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

from rpstheory.hashing import PRIME

FLOATS = 8
VALUES = 16

_FLOATS = ir.VectorType(ir.DoubleType(), FLOATS)
_MASKS = ir.VectorType(ir.IntType(64), FLOATS)
_VALUES = ir.VectorType(ir.IntType(32), VALUES)
_PAIRS = ir.VectorType(ir.IntType(64), VALUES // 2)
_WORDS = ir.VectorType(ir.IntType(16), VALUES)
_LOW = 2**32 - 1


class Floats(types.Type):
    """Eight float64."""

    def __init__(self) -> None:
        types.Type.__init__(self, name="Floats")


class Values(types.Type):
    """Sixteen field values, 0..P-1."""

    def __init__(self) -> None:
        types.Type.__init__(self, name="Values")


@register_model(Floats)
class _FloatsModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        models.PrimitiveModel.__init__(self, manager, kind, _FLOATS)


@register_model(Values)
class _ValuesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        models.PrimitiveModel.__init__(self, manager, kind, _VALUES)


_floats, _values = Floats(), Values()


@intrinsic
def zeros(typing: Any) -> Any:
    """Eight zeros."""
    return _floats(), lambda context, builder, signature, args: _all(_FLOATS, 0.0)


@intrinsic
def load(typing: Any, array: Any, at: Any) -> Any:
    """``array[at : at + 8]``, float64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_place(context, builder, signature, args, 0, _FLOATS), align=8)

    return _floats(array, at), generate


@intrinsic
def store(typing: Any, array: Any, at: Any, lanes: Any) -> Any:
    """``array[at : at + 8] = lanes``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _place(context, builder, signature, args, 0, _FLOATS), align=8)
        return context.get_dummy_value()

    return types.void(array, at, lanes), generate


@intrinsic
def add_signed(typing: Any, total: Any, lanes: Any, word: Any, first: Any) -> Any:
    """``total`` plus ``lanes``, or minus where bit ``first + j`` of the word is 1."""
    if not isinstance(first, types.IntegerLiteral):
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        minus = _bits(builder, args[2], first.literal_value)
        signs = builder.select(minus, _all(_FLOATS, -1.0), _all(_FLOATS, 1.0))
        return _multiply_add(builder, signs, args[1], args[0])

    return _floats(total, lanes, types.uint64, first), generate


@intrinsic
def add_product(typing: Any, total: Any, a: Any, b: Any, word: Any, first: Any) -> Any:
    """``total + a * b`` in the lanes where bit ``first + j`` of the word is 1."""
    if not isinstance(first, types.IntegerLiteral):
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        inside = _bits(builder, args[3], first.literal_value)
        left, right = (builder.select(inside, lanes, _all(_FLOATS, 0.0)) for lanes in args[1:3])
        return _multiply_add(builder, left, right, args[0])

    return _floats(total, a, b, types.uint64, first), generate


@intrinsic
def add_pair_products(typing: Any, total: Any, lanes: Any) -> Any:
    """Adds to ``total`` the product of each lane with its neighbour: every pair twice."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        order = ir.Constant(ir.VectorType(ir.IntType(32), FLOATS), [j ^ 1 for j in range(FLOATS)])
        neighbours = builder.shuffle_vector(args[1], args[1], order)
        return _multiply_add(builder, args[1], neighbours, args[0])

    return _floats(total, lanes), generate


@intrinsic
def sum_of(typing: Any, lanes: Any) -> Any:
    """Sum of the eight numbers."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        total = ir.DoubleType()(0.0)
        for lane in range(FLOATS):
            total = builder.fadd(total, builder.extract_element(args[0], ir.IntType(32)(lane)))
        return total

    return types.float64(lanes), generate


@intrinsic
def add_pair(typing: Any, target: Any, at: Any, source: Any, place: Any) -> Any:
    """``target[at : at + 2] += source[place : place + 2]``, float64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pair = ir.VectorType(ir.DoubleType(), 2)
        to, of = (_place(context, builder, signature, args, i, pair) for i in (0, 2))
        new = builder.fadd(builder.load(to, align=8), builder.load(of, align=8))
        builder.store(new, to, align=8)
        return context.get_dummy_value()

    return types.void(target, at, source, place), generate


@intrinsic
def load_bits(typing: Any, octets: Any, at: Any) -> Any:
    """64 bits of a uint8 array, from any byte on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_place(context, builder, signature, args, 0, ir.IntType(64)), align=1)

    return types.uint64(octets, at), generate


@intrinsic
def store_bits(typing: Any, octets: Any, at: Any, bits: Any) -> Any:
    """64 bits into a uint8 array, from any byte on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _place(context, builder, signature, args, 0, ir.IntType(64)), align=1)
        return context.get_dummy_value()

    return types.void(octets, at, types.uint64), generate


@intrinsic
def copy_words(typing: Any, target: Any, at: Any, source: Any, place: Any) -> Any:
    """``target[at : at + 32] = source[place : place + 32]``, uint8: sixteen words of signs."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to, of = (_place(context, builder, signature, args, i, _WORDS) for i in (0, 2))
        builder.store(builder.load(of, align=1), to, align=1)
        return context.get_dummy_value()

    return types.void(target, at, source, place), generate


@intrinsic
def store_words(typing: Any, octets: Any, at: Any, values: Any) -> Any:
    """The 16 low bits of each value into ``octets[at : at + 32]``, uint8."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _place(context, builder, signature, args, 0, _WORDS)
        builder.store(builder.trunc(args[2], _WORDS), place, align=1)
        return context.get_dummy_value()

    return types.void(octets, at, values), generate


@intrinsic
def load_values(typing: Any, array: Any, at: Any) -> Any:
    """``array[at : at + 16]``, uint32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_place(context, builder, signature, args, 0, _VALUES), align=4)

    return _values(array, at), generate


@intrinsic
def store_values(typing: Any, array: Any, at: Any, values: Any) -> Any:
    """``array[at : at + 16] = values``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _place(context, builder, signature, args, 0, _VALUES), align=4)
        return context.get_dummy_value()

    return types.void(array, at, values), generate


@intrinsic
def plus(typing: Any, a: Any, b: Any) -> Any:
    """``a + b`` mod P."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _reduced(builder, builder.add(*args))

    return _values(a, b), generate


@intrinsic
def minus(typing: Any, a: Any, b: Any) -> Any:
    """``a - b`` mod P."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        opposite = builder.sub(_all(_VALUES, PRIME), args[1])
        return _reduced(builder, builder.add(args[0], opposite))

    return _values(a, b), generate


@intrinsic
def store_slots(typing: Any, slots: Any, at: Any, values: Any, size: Any, half: Any, word: Any) -> Any:
    """Twice the cell, plus ``half`` where the sign is -1, into ``slots[at : at + 16]``, uint32.

    ``values`` are scaled to 0..size-1, size <= 2^20; the signs are the 16 low bits of the word.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        size = _spread(builder, builder.and_(args[3], ir.IntType(64)(_LOW)), _PAIRS)
        pairs = builder.bitcast(args[2], _PAIRS)
        even = _scaled(builder, builder.and_(pairs, _all(_PAIRS, _LOW)), size)
        odd = _scaled(builder, builder.lshr(pairs, _all(_PAIRS, 32)), size)
        cells = builder.or_(even, builder.shl(odd, _all(_PAIRS, 32)))
        plain = builder.shl(builder.bitcast(cells, _VALUES), _all(_VALUES, 1))
        half = builder.trunc(args[4], ir.IntType(32))
        moved = builder.add(plain, _spread(builder, half, _VALUES))
        signs = builder.trunc(args[5], ir.IntType(VALUES))
        signs = builder.bitcast(signs, ir.VectorType(ir.IntType(1), VALUES))
        place = _place(context, builder, signature, args, 0, _VALUES)
        builder.store(builder.select(signs, moved, plain), place, align=4)
        return context.get_dummy_value()

    return types.void(slots, at, values, *[types.uint64] * 3), generate


def _all(kind: Any, number: float) -> Any:
    return ir.Constant(kind, [number] * kind.count)


def _spread(builder: Any, number: Any, kind: Any) -> Any:
    """A scalar in every lane."""
    undefined = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(undefined, number, ir.IntType(32)(0))
    order = _all(ir.VectorType(ir.IntType(32), kind.count), 0)
    return builder.shuffle_vector(one, undefined, order)


def _place(context: Any, builder: Any, signature: Any, args: Any, number: int, kind: Any) -> Any:
    """Address of ``array[at]``, these being arguments ``number`` and ``number + 1``."""
    array = cgutils.create_struct_proxy(signature.args[number])(context, builder, args[number])
    return builder.bitcast(builder.gep(array.data, [args[number + 1]]), kind.as_pointer())


def _bits(builder: Any, word: Any, first: int) -> Any:
    """Lane j is true where bit ``first + j`` of the word is 1."""
    bit = ir.Constant(_MASKS, [1 << (first + j) for j in range(FLOATS)])
    masked = builder.and_(_spread(builder, word, _MASKS), bit)
    return builder.icmp_unsigned("!=", masked, _all(_MASKS, 0))


def _multiply_add(builder: Any, a: Any, b: Any, total: Any) -> Any:
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.fmuladd.v8f64")
    return builder.call(function, [a, b, total])


def _reduced(builder: Any, total: Any) -> Any:
    """Lanes below 2P brought below P: where nothing is to be done, the difference wraps upwards."""
    less = builder.sub(total, _all(_VALUES, PRIME))
    return builder.select(builder.icmp_unsigned("<", total, less), total, less)


def _scaled(builder: Any, values: Any, size: Any) -> Any:
    """``values * size // P`` in 64-bit lanes; exact while the product is below 2^61."""
    product = builder.mul(values, size)
    carry = builder.add(builder.lshr(product, _all(_PAIRS, 31)), _all(_PAIRS, 1))
    return builder.lshr(builder.add(product, carry), _all(_PAIRS, 31))
