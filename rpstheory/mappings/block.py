"""Block: chunks, or tiles of a matrix, that never wrap around the bank's end (ROAST)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, final

import numpy as np

from rpstheory.errors import ArgumentError, KindError
from rpstheory.mappings.base import check_count
from rpstheory.mappings.sharing import AbstractSharing


@final
@dataclass(frozen=True)
class Block(AbstractSharing):
    """ROAST: a block of Z weights starts at one of the m-Z+1 places where it fits.

    With ``shape=(rows, columns)`` the weights are a matrix in row-major order and ``block`` is a tile
    (rows, columns) of Z = rows x columns weights, laid row by row. Two weights at offset difference d
    of different blocks meet with probability (M-|d|)^+ / M^2, M = m-Z+1: more often than 1/m at d = 0.

    Attributes:
        block: Z, or the tile's (rows, columns).
        shape: The matrix's (rows, columns), for tiles; n = rows x columns.

    Source: Desai, Zhou & Shrivastava, ICML 2023 (ROAST); claims 2, 5.
    """

    block: int | tuple[int, int]
    shape: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            KindError: If a size is not a whole number, or a tile comes without a matrix shape.
            ArgumentError: If the block does not fit into the bank, or the matrix does not have n entries.
        """
        AbstractSharing.__post_init__(self)
        if self.shape is None:
            if isinstance(self.block, tuple | list):
                raise KindError(
                    f"Block: block={self.block} is a tile but no matrix came; pass shape=(rows, columns)"
                )
            size = check_count("Block", "block", self.block, high=self.m, why="it has to fit into the bank")
            object.__setattr__(self, "block", size)
            return
        for name in ("shape", "block"):
            value = getattr(self, name)
            if not isinstance(value, tuple | list) or len(value) != 2:
                raise KindError(f"Block: {name}={value!r} came; a pair (rows, columns) is needed")
            pair = tuple(check_count("Block", name, side) for side in value)
            object.__setattr__(self, name, pair)
        rows, columns = self.shape
        if rows * columns != self.n:
            raise ArgumentError(
                f"Block: a {rows} x {columns} matrix came for n={self.n} weights; pass n={rows * columns}"
            )
        if self.chunk_length > self.m:
            raise ArgumentError(
                f"Block: a tile of {self.chunk_length} weights came for a bank of m={self.m}; "
                "choose a smaller tile or more cells"
            )

    @cached_property
    def chunk_length(self) -> int:
        """Weights per block."""
        return self.block if isinstance(self.block, int) else self.block[0] * self.block[1]

    @property
    def starts(self) -> int:
        """Places where a block fits without wrapping."""
        return self.m - self.chunk_length + 1

    @property
    def chunks(self) -> int:
        """Number of blocks or tiles."""
        if self.shape is None:
            return -(-self.n // self.chunk_length)
        down, across = self._tiles
        return down * across

    def chunk_and_offset(self, i: Any) -> tuple[Any, Any]:
        """Block of each position and the place inside it."""
        if self.shape is None:
            return i // self.chunk_length, i % self.chunk_length
        columns, (tall, wide) = self.shape[1], self._tile
        row, column = i // columns, i % columns
        tile = (row // tall) * self._tiles[1] + column // wide
        return tile, (row % tall) * wide + column % wide

    def collision_sum(self, a: Any, b: Any) -> Any:
        r"""$\sum_{i \ne j} p_{ij} a_i b_j$ over the last axis, O(n); see :class:`AbstractSharing`."""
        a, b = self._row(a), self._row(b)
        blocks_a, blocks_b = self._blocks(a), self._blocks(b)
        if self.chunks == 1:
            return (a * b)[..., 0] * 0
        before_a = np.add.accumulate(blocks_a, axis=-2)[..., :-1, :]
        before_b = np.add.accumulate(blocks_b, axis=-2)[..., :-1, :]
        later_a, later_b = blocks_a[..., 1:, :], blocks_b[..., 1:, :]
        met = self._tent(later_a, before_b) + self._tent(before_a, later_b)
        return met.sum(axis=-1) / self.starts**2

    def chunk_sums(self, a: Any) -> Any:
        """Sum over each block, (…, n) → (…, blocks)."""
        return self._blocks(a).sum(axis=-1)

    def _meeting(self, distance: int) -> Fraction:
        return Fraction(max(0, self.starts - abs(distance)), self.starts**2)

    @cached_property
    def _tile(self) -> tuple[int, int]:
        return self.block if isinstance(self.block, tuple) else (1, self.block)

    @cached_property
    def _tiles(self) -> tuple[int, int]:
        rows, columns = self.shape or (1, self.n)
        return -(-rows // self._tile[0]), -(-columns // self._tile[1])

    def _blocks(self, a: Any) -> Any:
        """(…, n) → (…, blocks, Z), ragged places filled with 0."""
        lead, (rows, columns) = a.shape[:-1], self.shape or (1, self.n)
        (tall, wide), (down, across) = self._tile, self._tiles
        full = np.zeros((*lead, down * tall, across * wide), dtype=a.dtype)
        full[..., :rows, :columns] = a.reshape(*lead, rows, columns)
        tiles = full.reshape(*lead, down, tall, across, wide).swapaxes(-3, -2)
        return tiles.reshape(*lead, down * across, tall * wide)

    def _tent(self, a: Any, b: Any) -> Any:
        """Sum of (M-|o-o'|)^+ a_o b_o' over offsets, in O(Z)."""
        width = self.starts
        if width >= self.chunk_length:
            left_a, left_b = np.add.accumulate(a, axis=-1), np.add.accumulate(b, axis=-1)
            total_a, total_b = left_a[..., -1:], left_b[..., -1:]
            apart = left_a * (total_b - left_b) + left_b * (total_a - left_a)
            return width * (total_a * total_b)[..., 0] - apart.sum(axis=-1)
        return (self._windows(a, width) * self._windows(b, width)).sum(axis=-1)

    def _windows(self, a: Any, width: int) -> Any:
        """Sums of ``width`` neighbours, from sums up to and from multiples of it: nothing cancels."""
        lead, m, rows = a.shape[:-1], self.m, -(-(self.m + width) // width)
        padded = np.zeros((*lead, rows * width), dtype=a.dtype)
        padded[..., width : width + self.chunk_length] = a
        cut = padded.reshape(*lead, rows, width)
        up_to = np.add.accumulate(cut, axis=-1).reshape(padded.shape)
        onward = np.add.accumulate(cut[..., ::-1], axis=-1)[..., ::-1].reshape(padded.shape)
        straddles = (np.arange(1, m + 1) % width != 0).astype(np.int64)
        return onward[..., 1 : m + 1] + up_to[..., width : m + width] * straddles
