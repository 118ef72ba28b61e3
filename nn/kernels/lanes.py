"""Sixteen weights at a time as numba values: a stretch of the bank, scaled and signed.

Of float32 or float64, whichever the arrays hold. Little-endian machines only.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 16

_I64 = ir.IntType(64)
_SIGNS = ir.VectorType(ir.IntType(1), LANES)
_KINDS = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}


@intrinsic
def copy_signed(typing: Any, out: Any, at: Any, bank: Any, cell: Any, factor: Any, bits: Any) -> Any:
    """``out[at : at + 16] = factor * bank[cell : cell + 16]``, negated where bit j is 1."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = _vector(signature)
        to, of = (_place(context, builder, signature, args, number, kind) for number in (0, 2))
        builder.store(_signed(builder, kind, of, args[4], args[5]), to, align=_align(kind))
        return context.get_dummy_value()

    return types.void(out, at, bank, cell, out.dtype, types.uint64), generate


@intrinsic
def add_signed(typing: Any, bank: Any, cell: Any, values: Any, at: Any, factor: Any, bits: Any) -> Any:
    """``bank[cell : cell + 16] += factor * values[at : at + 16]``, negated where bit j is 1."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = _vector(signature)
        to, of = (_place(context, builder, signature, args, number, kind) for number in (0, 2))
        more = _signed(builder, kind, of, args[4], args[5])
        total = builder.fadd(builder.load(to, align=_align(kind)), more)
        builder.store(total, to, align=_align(kind))
        return context.get_dummy_value()

    return types.void(bank, cell, values, at, bank.dtype, types.uint64), generate


@intrinsic
def add_products(
    typing: Any,
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
    steps: Any,
) -> Any:
    """Adds products of 32 weights and 32 columns of x, ``steps`` times.

    The weights are ``factor * bank[cell + j]``, negated where bit ``bit + j`` of the octets is 1, for
    j = 0 … 32 steps - 1; times x in column ``column + j`` they are added to ``sums[at + 32 r + j % 32]``,
    for every r in the tuple of rows. ``x`` lies in blocks of 32 columns, row after row in a block.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        products = _Products(context, builder, signature, args)
        products.load()
        with cgutils.for_range(builder, args[10], intp=_I64) as loop:
            products.add(builder.mul(loop.index, _I64(2 * LANES)), None)
        products.store()
        return context.get_dummy_value()

    return _products(sums, x, rows, bank, octets, 1), generate


@intrinsic
def add_some_products(
    typing: Any,
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
    low: Any,
    high: Any,
) -> Any:
    """One step of :func:`add_products` for j = low … high - 1 alone; nothing else is read."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        products = _Products(context, builder, signature, args)
        products.load()
        products.add(_I64(0), args[10:])
        products.store()
        return context.get_dummy_value()

    return _products(sums, x, rows, bank, octets, 2), generate


def _products(sums: Any, x: Any, rows: Any, bank: Any, octets: Any, limits: int) -> Any:
    i64 = types.int64
    return types.void(sums, i64, x, i64, rows, bank, i64, bank.dtype, octets, i64, *[i64] * limits)


class _Products:
    """Two vectors of sums for each row of x, in registers between ``load`` and ``store``."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        self.builder, self.kind = builder, _vector(signature)
        sums, at, x, column, _, bank, cell, factor, octets, bit = args[:10]
        self.sums, x, bank, octets = (
            cgutils.create_struct_proxy(signature.args[place])(context, builder, args[place]).data
            for place in (0, 2, 5, 8)
        )
        self.rows = signature.args[4].count
        self.sums = builder.gep(self.sums, [at])
        self.x = builder.gep(x, [builder.mul(column, _I64(self.rows))])
        self.bank, self.factor = builder.gep(bank, [cell]), _spread(builder, factor, self.kind)
        self.octets, self.bit = octets, bit
        self.totals = [cgutils.alloca_once(builder, self.kind) for _ in range(2 * self.rows)]

    def load(self) -> None:
        for number, total in enumerate(self.totals):
            self.builder.store(self._load(self.sums, _I64(number * LANES), None), total)

    def store(self) -> None:
        for number, total in enumerate(self.totals):
            place = self._place(self.sums, _I64(number * LANES))
            self.builder.store(self.builder.load(total), place, align=_align(self.kind))

    def add(self, begin: Any, limits: Any) -> None:
        """One step, the one at ``begin``; of all 32 or of those inside the limits."""
        builder = self.builder
        bit = builder.add(self.bit, begin)
        octets = builder.gep(self.octets, [builder.lshr(bit, _I64(3))])
        bits = builder.load(builder.bitcast(octets, _I64.as_pointer()), align=1)
        bits = builder.lshr(bits, builder.and_(bit, _I64(7)))
        for half in (0, 1):
            lane = half * LANES
            inside = limits and _between(builder, lane, *limits)
            value = self._load(self.bank, builder.add(begin, _I64(lane)), inside)
            value = builder.fmul(value, self.factor)
            weight = _negated(builder, value, builder.lshr(bits, _I64(lane)))
            block = builder.mul(begin, _I64(self.rows))
            for row, total in enumerate(self.totals[half::2]):
                x = self._load(self.x, builder.add(block, _I64(2 * LANES * row + lane)), inside)
                builder.store(_multiply_add(builder, weight, x, builder.load(total)), total)

    def _place(self, data: Any, at: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(data, [at]), self.kind.as_pointer())

    def _load(self, data: Any, at: Any, inside: Any) -> Any:
        place = self._place(data, at)
        if inside is None:
            return self.builder.load(place, align=_align(self.kind))
        args = [place, ir.IntType(32)(_align(self.kind)), inside, ir.Constant(self.kind, [0.0] * LANES)]
        return _call(self.builder, f"llvm.masked.load.{_suffix(self.kind)}.p0", args)


@intrinsic
def sum_of(typing: Any, sums: Any, at: Any) -> Any:
    """The sum of ``sums[at : at + 32]``: halves are added to halves."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.VectorType(_KINDS[sums.dtype], 2 * LANES)
        total = builder.load(_place(context, builder, signature, args, 0, kind), align=_align(kind))
        size = 2 * LANES
        while size > 1:
            size //= 2
            halves = [
                ir.Constant(ir.VectorType(ir.IntType(32), size), list(range(low, low + size)))
                for low in (0, size)
            ]
            low, high = (builder.shuffle_vector(total, total, order) for order in halves)
            total = builder.fadd(low, high)
        return builder.extract_element(total, ir.IntType(32)(0))

    return sums.dtype(sums, at), generate


def _vector(signature: Any) -> Any:
    return ir.VectorType(_KINDS[signature.args[0].dtype], LANES)


def _align(kind: Any) -> int:
    return 4 if isinstance(kind.element, ir.FloatType) else 8


def _signed(builder: Any, kind: Any, place: Any, factor: Any, bits: Any) -> Any:
    value = builder.fmul(builder.load(place, align=_align(kind)), _spread(builder, factor, kind))
    return _negated(builder, value, bits)


def _negated(builder: Any, value: Any, bits: Any) -> Any:
    """``value``, negated where bit j is 1."""
    minus = builder.bitcast(builder.trunc(bits, ir.IntType(LANES)), _SIGNS)
    return builder.select(minus, builder.fneg(value), value)


def _spread(builder: Any, number: Any, kind: Any) -> Any:
    """A scalar in every lane."""
    undefined = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(undefined, number, ir.IntType(32)(0))
    order = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    return builder.shuffle_vector(one, undefined, order)


def _between(builder: Any, first: int, low: Any, high: Any) -> Any:
    """Lane j is true where ``low <= first + j < high``."""
    kind = ir.VectorType(_I64, LANES)
    place = ir.Constant(kind, [first + j for j in range(LANES)])
    above = builder.icmp_signed("<=", _spread(builder, low, kind), place)
    return builder.and_(above, builder.icmp_signed("<", place, _spread(builder, high, kind)))


def _multiply_add(builder: Any, a: Any, b: Any, total: Any) -> Any:
    return _call(builder, f"llvm.fmuladd.{_suffix(a.type)}", [a, b, total])


def _call(builder: Any, name: str, args: Any) -> Any:
    """One of LLVM's functions whose last argument is of the type of the result."""
    kind = ir.FunctionType(args[-1].type, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def _suffix(kind: Any) -> str:
    return f"v{LANES}f{8 * _align(kind)}"


def _place(context: Any, builder: Any, signature: Any, args: Any, number: int, kind: Any) -> Any:
    array = cgutils.create_struct_proxy(signature.args[number])(context, builder, args[number])
    return builder.bitcast(builder.gep(array.data, [args[number + 1]]), kind.as_pointer())
