"""The mappings' hash for numba kernels, bit-equal to :mod:`rpstheory.hashing` for positions below 2^30.

Field values are computed one by one for a head of 64, and after that sixteen at a time from the third
differences of a cubic, which are constant. Little-endian machines only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from rpstheory import hashing
from rpstheory.kernels.lanes import load_values, minus, plus, store_values, store_words

LIMIT = 2**30  # positions; the steps of a cubic below are exact for those under it
HEAD = 64  # field values computed one by one before third differences take over

P = np.uint64(hashing.PRIME)
NARROW = np.uint64(hashing.NARROW)
SIGN, START = hashing.SIGN_STREAM, hashing.START_STREAM
START_LOW, KEEP = hashing.START_LOW_STREAM, hashing.KEEP_STREAM

_U64 = np.uint64
_GOLDEN = _U64(hashing.GOLDEN)
_FIRST = _U64(hashing.FIRST_MULTIPLIER)
_SECOND = _U64(hashing.SECOND_MULTIPLIER)
_LOW = _U64(2**32 - 1)
_ONE = _U64(1)
_PER_SEED = hashing.COEFFICIENTS


def kernel(function: Any) -> Any:
    """``njit`` with a cache on disk, or without where no folder can be written."""
    try:
        return njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # numba's "no locator available"
        return njit(nogil=True, error_model="numpy")(function)


# Only ever called from a kernel: numba need not build a door from Python.
inner = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, error_model="numpy", forceinline=True)


@inner
def _mix(word: Any) -> Any:
    word = (word ^ (word >> _U64(30))) * _FIRST
    word = (word ^ (word >> _U64(27))) * _SECOND
    return word ^ (word >> _U64(31))


@inner
def key_of(seed: Any) -> Any:
    """Where the coefficients of a seed begin."""
    return _mix(seed + _GOLDEN)


@inner
def coefficient(key: Any, number: Any) -> Any:
    """Coefficient of this number of a key, a field element."""
    value = _mix(key + (_U64(number) + _ONE) * _GOLDEN)
    value = (value & P) + ((value >> _U64(31)) & P) + (value >> _U64(62))
    value = (value & P) + (value >> _U64(31))
    return min(value, value - P)


@inner
def cubic(key: Any, stream: Any) -> Any:
    """The four coefficients of a stream."""
    c = _PER_SEED * stream
    return (
        coefficient(key, c),
        coefficient(key, c + 1),
        coefficient(key, c + 2),
        coefficient(key, c + 3),
    )


@inner
def _shorter(value: Any) -> Any:
    """The same mod P; below 2^32, as the mask tells LLVM, while the value is below 2^62."""
    return ((value & P) + (value >> _U64(31))) & _LOW


@inner
def value_at(c: Any, v: Any) -> Any:
    """The cubic at v < 2^30: the steps stay below 7/4, 15/8 and 31/16 of 2^31, so below 2P."""
    v &= _LOW
    value = _shorter((c[3] & _LOW) * v + c[2])
    value = _shorter(value * v + c[1])
    value = _shorter(value * v + c[0])
    return min(value, value - P)


@inner
def start_of(high: Any, low: Any, chunk: Any, size: Any) -> Any:
    """The first cell of a chunk, below ``size``."""
    value = value_at(high, _U64(chunk))
    if size > NARROW:
        return np.int64((value * P + value_at(low, _U64(chunk))) % size)
    return np.int64(scaled(value, size))


@inner
def scaled(value: Any, size: Any) -> Any:
    """``value * size // P`` without a division, for size <= 2^20."""
    product = value * size
    return (product + (product >> _U64(31)) + _ONE) >> _U64(31)


@inner
def first_values(c: Any, begin: Any, values: Any, count: Any) -> None:
    """Field values begin … begin + count - 1, one by one."""
    for t in range(count):
        values[t] = value_at(c, _U64(begin + t))


@inner
def last_differences(values: Any) -> Any:
    """Values 48..63 and their backward differences of stride 16; a cubic's third is constant."""
    a, b = load_values(values, 0), load_values(values, 16)
    c, d = load_values(values, 32), load_values(values, 48)
    once = minus(d, c)
    before = minus(c, b)
    twice = minus(once, before)
    return d, once, twice, minus(twice, minus(before, minus(b, a)))


@inner
def sign_words(c: Any, begin: Any, count: Any, values: Any, octets: Any) -> None:
    """Words begin … begin + count - 1, 16 signs each, a bit each; up to 15 more are written."""
    first = min(HEAD, count)
    first_values(c, begin, values, (first + 7) & ~7)
    for t in range(0, first, 16):
        store_words(octets, 2 * t, load_values(values, t))
    if count > HEAD:
        value, once, twice, thrice = last_differences(values)
        for t in range(HEAD, count, 16):
            twice = plus(twice, thrice)
            once = plus(once, twice)
            value = plus(value, once)
            store_words(octets, 2 * t, value)


@inner
def field_values(c: Any, begin: Any, count: Any, values: Any) -> None:
    """Field values begin … begin + count - 1; up to 15 more are written."""
    first_values(c, begin, values, min(HEAD, (count + 15) & ~15))
    if count > HEAD:
        value, once, twice, thrice = last_differences(values)
        for t in range(HEAD, count, 16):
            twice = plus(twice, thrice)
            once = plus(once, twice)
            value = plus(value, once)
            store_values(values, t, value)
