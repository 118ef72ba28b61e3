"""One door to the kinds of array: Python int, NumPy, CuPy, torch, any array-API namespace.

Integer code in this package uses ``+ * // % >> &`` alone, so the same source runs on all of them.
What remains is here: turning positions into 64-bit integers, and the scatter-add that the array
API lacks.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np

from rpstheory.errors import ArgumentError, BackendError, KindError, ShapeError

if TYPE_CHECKING:
    from types import ModuleType

POSITION_LIMIT = 2**60


def namespace(array: Any) -> ModuleType:
    """Array-API namespace of ``array`` (NumPy, CuPy, torch, array-api-strict, …).

    Raises:
        KindError: If ``array`` is not an array of a known kind.
    """
    if isinstance(array, np.ndarray | np.generic):
        return np
    import array_api_compat

    try:
        return array_api_compat.array_namespace(array)
    except TypeError:
        raise KindError(
            f"array: {type(array).__name__} is not an array; pass a NumPy, CuPy, torch or array-API array"
        ) from None


def array_of(owner: str, values: Any) -> Any:
    """A nested sequence as a NumPy array; anything else as it is.

    Raises:
        ShapeError: If the rows of the sequence differ in length.
    """
    if not isinstance(values, list | tuple | range):
        return values
    try:
        return np.asarray(values)
    except ValueError:
        raise ShapeError(f"{owner}: rows of different lengths came; pass rows of one length") from None


def positions(index: Any, count: int) -> Any:
    """``index`` as a Python int or as an int64 array of its own kind, inside 0..count-1.

    The range is checked where that costs no device synchronisation: Python ints and NumPy arrays.

    Raises:
        KindError: If ``index`` does not hold integers.
        ShapeError: If it is a list of rows that differ in length.
        ArgumentError: If a position lies outside 0..count-1.
    """
    if isinstance(index, int | np.integer) and not isinstance(index, bool):
        if not 0 <= index < count:
            raise ArgumentError(
                f"position: {index} is outside 0..{count - 1}; the mapping has {count} weights"
            )
        return int(index)
    index = array_of("position", index)
    xp = namespace(index)
    if xp is np:
        return _numpy_positions(index, count)
    kind = str(index.dtype)
    if "int" not in kind:
        raise KindError(f"position: dtype {kind} came, integers are needed; convert to int64 first")
    return xp.astype(index, xp.int64)


def _numpy_positions(index: Any, count: int) -> Any:
    if index.size == 0:
        return np.asarray(index, dtype=np.int64)
    if index.dtype.kind not in "iu":
        raise KindError(f"position: dtype {index.dtype} came, integers are needed; convert to int64 first")
    low, high = int(index.min()), int(index.max())
    if low < 0 or high >= count:
        raise ArgumentError(
            f"position: {low if low < 0 else high} is outside 0..{count - 1}; the mapping has {count} weights"
        )
    return np.asarray(index, dtype=np.int64)


def is_nonzero_anywhere(integers: Any) -> bool:
    """Whether an int, or any entry of an integer array, differs from zero."""
    if isinstance(integers, int):
        return integers != 0
    xp = namespace(integers)
    return bool(xp.any(integers != 0))


def arange_like(count: int, array: Any) -> Any:
    """Positions 0..count-1 as int64, of the kind and on the device of ``array``."""
    xp = namespace(array)
    if xp is np:
        return np.arange(count, dtype=np.int64)
    return xp.arange(count, dtype=xp.int64, device=array.device)


def scatter_add(values: Any, cells: Any, size: int) -> Any:
    """Sum ``values`` (…, n) into ``size`` cells along the last axis, exactly on integers whose sums fit.

    Objects (``fractions.Fraction``) are summed as they are. On torch and CuPy the sum of floats may
    depend on the order of additions; integers never do.
    """
    xp = namespace(values)
    lead, n = tuple(values.shape[:-1]), int(values.shape[-1])
    rows = 1
    for length in lead:
        rows *= length
    flat = xp.reshape(values, (rows * n,))
    row = arange_like(rows, values)
    index = xp.reshape(row[:, None] * size + cells[None, :], (rows * n,))
    name = xp.__name__
    if xp is np:
        total = np.zeros(rows * size, dtype=values.dtype)
        np.add.at(total, index, flat)
    elif name.endswith("torch"):
        total = xp.zeros(rows * size, dtype=values.dtype, device=values.device)
        total = total.index_add(0, index, flat)
    elif name.endswith("cupy"):
        total = _cupy_scatter_add(xp, flat, index, rows * size)
    else:
        host = np.zeros(rows * size, dtype=str(values.dtype).rpartition(".")[2])
        np.add.at(host, np.asarray(index), np.asarray(flat))
        total = xp.asarray(host, device=values.device)
    return xp.reshape(total, (*lead, size))


def _cupy_scatter_add(xp: ModuleType, flat: Any, index: Any, size: int) -> Any:
    total = xp.zeros(size, dtype=flat.dtype)
    if flat.dtype == xp.int64:  # its atomics know unsigned words only; addition is the same
        xp.add.at(total.view(xp.uint64), index, flat.view(xp.uint64))
    else:
        xp.add.at(total, index, flat)
    return total


def cupy() -> ModuleType:
    """CuPy, with a device that works.

    Raises:
        BackendError: If CuPy is not installed or no device answers.
    """
    if importlib.util.find_spec("cupy") is None:
        raise BackendError(
            "backend cupy: CuPy is not installed; install the extra: pip install 'rps-toolkit[gpu]'"
        )
    import cupy as module

    if not module.is_available():
        raise BackendError("backend cupy: no usable CUDA device was found; use --backend numba or numpy")
    return module


def has_numba() -> bool:
    """Whether numba can be imported, without importing it."""
    return importlib.util.find_spec("numba") is not None


def has_gpu() -> bool:
    """Whether CuPy is installed and a device answers."""
    try:
        cupy()
    except BackendError:
        return False
    return True
