"""The reference's draws on a GPU: how the kernels of ``cuda.cu`` are launched, through CuPy.

A fold whose vectors fit into shared memory is drawn by one warp, any other mapping by one block.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rpstheory import backend
from rpstheory.errors import BackendError, ShapeError
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
    from collections.abc import Callable

    from numpy.typing import NDArray

LIMIT = 2**30  # weights; the hash of the kernels is exact for positions under it
WIDEST = 2**24  # cells; a block has a table of them
PAD, SPARE = 128, 14  # as in cuda.cu
THREADS = 2048  # resident on a multiprocessor
FEWEST_CELLS = 32  # a fold of fewer would leave most of a block idle, and is scattered
FAR_BYTES = 2**31  # device memory taken for all blocks' space where shared memory is too small


class Device(NamedTuple):
    """What a launch depends on: multiprocessors, and bytes of shared memory that a block may use."""

    processors: int
    shared: int


class Launch(NamedTuple):
    """A kernel's name, its grid, and its arguments: arrays and NumPy scalars."""

    kernel: str
    blocks: int
    threads: int
    shared: int
    arguments: tuple[Any, ...]


def inner_products(mapping: AbstractMapping, x: Any, y: Any, first: int, count: int) -> NDArray[np.float64]:
    """rescale * <Sx, Sy> for ``count`` draws, as :func:`reference.inner_products`.

    Args:
        mapping: Its seed is replaced by ``first``, ``first + 1``, …
        x: (n,), or one row per draw, (count, n); on the host or on the device.
        y: The same.
        first: Seed of the first draw.
        count: Number of draws.

    Returns:
        (count,), on the host. Exact for integer-valued ``x`` and ``y``.

    Raises:
        BackendError: If CuPy has no device, or no kernel serves the mapping.
        ShapeError: If ``x`` or ``y`` has another shape.
    """
    check_served(mapping)
    cp = backend.cupy()
    a, b = (rows(cp, name, v, mapping.n, count) for name, v in (("x", x), ("y", y)))
    out = cp.empty(count, dtype=cp.float64)
    if count:
        _run(plan_products(mapping, a, b, first, out, _device(cp), _bytes(cp)))
    return cp.asnumpy(out) * float(mapping.rescale)


def draw(mapping: AbstractMapping, first: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cells and signs of ``count`` draws from the kernels' own hash, each (count, n), on the host.

    Raises:
        BackendError: If CuPy has no device, or no kernel serves the mapping.
    """
    check_served(mapping)
    cp = backend.cupy()
    cells = cp.tile(cp.arange(mapping.n, dtype=cp.int64), (count, 1))
    signs = cp.empty_like(cells)
    if count:
        _run(plan_draw(mapping, first, cells, signs, _device(cp), _bytes(cp)))
    return cp.asnumpy(cells), cp.asnumpy(signs)


def source() -> str:
    """The CUDA C++ text of all kernels."""
    return resources.files("rpstheory.kernels").joinpath("cuda.cu").read_text(encoding="utf-8")


def serves(mapping: AbstractMapping) -> bool:
    """Whether a kernel draws the mapping."""
    try:
        check_served(mapping)
    except BackendError:
        return False
    return True


def check_served(mapping: AbstractMapping) -> None:
    """Pass only mappings that a kernel draws.

    Raises:
        BackendError: If none does.
    """
    name = type(mapping).__name__
    if type(mapping) not in (Block, Chunk, Fold, Hashed, KeepBernoulli, KeepExact):
        raise BackendError(f"backend cupy: no GPU kernel draws {name}; use --backend numba or numpy")
    if isinstance(mapping, Block) and mapping.shape is not None:
        raise BackendError(
            "backend cupy: a Block of 2-D tiles came, the GPU kernels know 1-D blocks; "
            "use --backend numba or numpy"
        )
    if mapping.n > LIMIT or (isinstance(mapping, AbstractSharing) and mapping.m > WIDEST):
        raise BackendError(
            f"backend cupy: {name} with n={mapping.n}, m={mapping.m} came; the GPU kernels serve up to "
            f"{LIMIT} weights and {WIDEST} cells; use --backend numpy"
        )


def rows(xp: Any, name: str, x: Any, n: int, count: int) -> Any:
    """(1, n) or (count, n) float64, contiguous, in the memory of ``xp``.

    Raises:
        ShapeError: If ``x`` is neither one vector nor one row per draw.
    """
    if x.shape not in ((n,), (count, n)):
        raise ShapeError(
            f"inner_products: {name} has shape {x.shape}, the mapping has n={n}; "
            f"pass one vector or one row for each of the {count} draws"
        )
    return xp.ascontiguousarray(xp.asarray(x, dtype=xp.float64).reshape(-1, n))


def plan_products(
    mapping: Any, x: Any, y: Any, first: int, out: Any, device: Device, empty: Callable[[int], Any]
) -> Launch:
    """The launch that fills ``out``; ``empty`` gives bytes of device memory."""
    n, m, count = np.int32(mapping.n), np.int32(mapping.m), np.int32(out.size)
    seed = np.uint64(first % 2**64)
    steps = tuple(np.int32(mapping.n if v.shape[0] > 1 else 0) for v in (x, y))
    if not isinstance(mapping, AbstractSharing):
        threads = _threads(mapping.n)
        turns, side, bound = _keep_sizes(mapping)
        shared = 8 * threads + 16 * max(2, int(turns))
        blocks = _blocks(out.size, device, threads, shared)
        numbers = (*steps, n, turns, side, bound, seed, count)
        return Launch("keep", blocks, threads, shared, (x, y, *numbers, out))
    chunk = mapping.chunk_length
    is_fold = chunk == mapping.m == mapping.starts
    warps = _staged_warps(mapping, device) if is_fold and x.shape[0] == y.shape[0] == 1 else 0
    if warps:
        shared = _staged_bytes(mapping, warps)
        blocks = _blocks(-(-out.size // warps), device, 32 * warps, shared)
        return Launch("fold_staged", blocks, 32 * warps, shared, (x, y, n, m, seed, count, out))
    words = 2 * -(-mapping.n // 16)
    if is_fold and mapping.m >= FEWEST_CELLS:
        threads = _threads(mapping.m)
        space = 8 * threads + 48 + 4 * mapping.chunks + words
        blocks, shared, far = _space(space, out.size, threads, device, empty)
        return Launch("fold", blocks, threads, shared, (x, y, *steps, n, m, seed, count, *far, out))
    threads = _threads(mapping.n)
    space = 8 * threads + 16 * mapping.m + 48 + words
    blocks, shared, far = _space(space, out.size, threads, device, empty)
    sizes = (n, m, np.int32(chunk), np.int32(mapping.starts))
    arguments = (x, y, *steps, *sizes, seed, count, *far, out)
    return Launch("scatter", blocks, threads, shared, arguments)


def plan_draw(
    mapping: Any, first: int, cells: Any, signs: Any, device: Device, empty: Callable[[int], Any]
) -> Launch:
    """The launch that fills ``cells``, where they are not the weights themselves, and ``signs``."""
    n, count = np.int32(mapping.n), np.int32(signs.shape[0])
    seed, threads = np.uint64(first % 2**64), _threads(mapping.n)
    if not isinstance(mapping, AbstractSharing):
        turns, side, bound = _keep_sizes(mapping)
        shared = 16 * max(2, int(turns))
        blocks = _blocks(signs.shape[0], device, threads, shared)
        return Launch("draw_keep", blocks, threads, shared, (n, turns, side, bound, seed, count, signs))
    space = 48 + 2 * -(-mapping.n // 16)
    blocks, shared, far = _space(space, signs.shape[0], threads, device, empty)
    sizes = (n, np.int32(mapping.m), np.int32(mapping.chunk_length), np.int32(mapping.starts))
    arguments = (*sizes, seed, count, *far, cells, signs)
    return Launch("draw_chunks", blocks, threads, shared, arguments)


def _keep_sizes(mapping: Any) -> tuple[np.int32, np.int32, np.uint64]:
    """Rounds, 0 for Bernoulli; side of the square; what a kept weight's place, or value, is below."""
    if isinstance(mapping, KeepExact):
        return np.int32(rounds(mapping._side)), np.int32(mapping._side), np.uint64(mapping.m)
    return np.int32(0), np.int32(1), np.uint64(mapping._threshold)


def _staged_bytes(mapping: Any, warps: int) -> int:
    """Shared memory of ``fold_staged``: x and y in padded laps, and each warp's own space."""
    row, laps = mapping.m + PAD, mapping.chunks
    own = 32 * 8 + 12 * 4 + laps * 4 + laps * -(-row // 32) * 4 + (laps * mapping.m // 16 + SPARE) * 2
    return 16 * laps * row + warps * (-(-own // 8) * 8)


def _staged_warps(mapping: Any, device: Device) -> int:
    """Warps of a block that has the vectors in shared memory, 0 where they do not fit."""
    return next((w for w in (16, 8, 4) if _staged_bytes(mapping, w) <= device.shared), 0)


def _threads(work: int) -> int:
    """A power of two, as the kernels' sums need it."""
    return min(256, max(32, 1 << (work - 1).bit_length()))


def _blocks(work: int, device: Device, threads: int, shared: int) -> int:
    """As many as are resident at once; they stride through the draws."""
    resident = min(THREADS // threads, max(1, device.shared // max(1, shared)))
    return max(1, min(work, device.processors * resident))


def _space(
    size: int, count: int, threads: int, device: Device, empty: Callable[[int], Any]
) -> tuple[int, int, tuple[Any, np.uint64]]:
    """Blocks, shared bytes, and (array or null, bytes of each block) in device memory."""
    if size <= device.shared:
        return _blocks(count, device, threads, size), size, (np.uint64(0), np.uint64(0))
    size = -(-size // 16) * 16
    blocks = max(1, min(count, device.processors, FAR_BYTES // size))
    return blocks, 0, (empty(blocks * size), np.uint64(size))


@cache
def _kernel(name: str) -> Any:
    cp = backend.cupy()
    return _module(cp).get_function(name)


@cache
def _module(cp: Any) -> Any:
    return cp.RawModule(code=source(), options=("--std=c++17",))


def _device(cp: Any) -> Device:
    attributes = cp.cuda.Device().attributes
    return Device(attributes["MultiProcessorCount"], attributes["MaxSharedMemoryPerBlockOptin"])


def _bytes(cp: Any) -> Callable[[int], Any]:
    return lambda size: cp.empty(size, dtype=cp.uint8)


def _run(launch: Launch) -> None:
    kernel = _kernel(launch.kernel)
    kernel.max_dynamic_shared_size_bytes = launch.shared
    kernel((launch.blocks,), (launch.threads,), launch.arguments, shared_mem=launch.shared)
