"""ROAST on a whole network: every matrix cut into tiles, each laid somewhere in one bank.

Positions of a network run through its matrices row by row, and a tile has a few weights of each of its rows.
So the mapping asks :class:`rpstheory.Block` at another place: that of the weight in the tiles laid one after
the other, whole also where they stick out over the edge of their matrix. The law is Block's, with tiles of Z
weights: those of one tile never meet, and each tile starts on one of m - Z + 1 cells.

Source: Desai, Zhou & Shrivastava, ICML 2023 (ROAST); claims 2, 5.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from math import isqrt, prod
from typing import Any, NamedTuple, final

import torch
import torch.nn as tnn

from nn.bank import Bank, Law, View
from nn.bridge import Factory, vouched
from nn.gamma import Scaler, Span
from nn.layers import views_of
from nn.planning import plan
from nn.sharing import banks_of, share
from rpstheory import Block
from rpstheory.backend import positions
from rpstheory.mappings import AbstractMapping

SIDE = 32  # weights along a tile, where the bank has room for one

Shape = tuple[int, ...]


class Matrix(NamedTuple):
    """A matrix among the positions, a row for each output, and its tiles among all tiles."""

    first: int
    rows: int
    columns: int
    tile: int
    down: int
    across: int


@final
@dataclass(frozen=True)
class Tiles(AbstractMapping):
    """Tiles of matrices that lie one after the other.

    Attributes:
        seed: Names the draw.
        shapes: Of the weight tensors in order of position; what comes after the last is one more row.
    """

    seed: int
    shapes: tuple[Shape, ...]

    @cached_property
    def side(self) -> int:
        """Weights along a tile: 32, or the largest power of two whose square the bank can hold."""
        return min(SIDE, 2 ** (isqrt(self.m).bit_length() - 1))

    @cached_property
    def matrices(self) -> tuple[Matrix, ...]:
        """All that have positions."""
        found, first, tile = [], 0, 0
        for shape in (*self.shapes, (1, self.n)):
            rows, columns = shape[0], prod(shape[1:])
            down, across = -(-rows // self.side), -(-columns // self.side)
            found.append(Matrix(first, rows, columns, tile, down, across))
            first, tile = first + rows * columns, tile + down * across
        return tuple(matrix for matrix in found if matrix.first < self.n)

    @cached_property
    def laid(self) -> Block:
        """The tiles one after the other."""
        last, area = self.matrices[-1], self.side**2
        return Block((last.tile + last.down * last.across) * area, self.m, self.seed, block=area)

    def cell(self, i: Any) -> Any:
        """Cell of weight ``i``."""
        return self.laid.cell(self._place(positions(i, self.n)))

    def sign(self, i: Any) -> Any:
        """Sign of weight ``i``."""
        return self.laid.sign(self._place(positions(i, self.n)))

    def _place(self, i: Any) -> Any:
        place, side = 0 * i, self.side
        for first, rows, columns, tile, _, across in self.matrices:
            row, column = (i - first) // columns, (i - first) % columns
            at = tile + row // side * across + column // side
            inside = (row >= 0) & (row < rows)
            place = place + inside * ((at * side + row % side) * side + column % side)
        return place


@cache
def tiles(shapes: tuple[Shape, ...]) -> Factory:
    """The mapping of a network by the shapes of its weights; the same object for the same shapes."""
    return vouched(partial(Tiles, shapes=shapes))


@final
@dataclass(frozen=True, eq=False)
class TiledView(View):
    """A weight tensor read tile by tile: the numbers of a plain view, in runs that kernels can copy.

    Attributes:
        laid: The bank, by the places of the tiles.
        matrix: Which one the weight is.
        side: Of a tile.
    """

    laid: Bank
    matrix: Matrix
    side: int

    def read(self) -> torch.Tensor:
        """The tensor, differentiable with respect to the bank."""
        (_, rows, columns, tile, down, across), side = self.matrix, self.side
        tiles = self.laid.expand(tile * side**2, down * across * side**2, self.scale)
        whole = tiles.view(down, across, side, side).transpose(1, 2).reshape(down * side, across * side)
        return self._blanked(whole[:rows, :columns].reshape(self.shape))


def roast(
    model: tnn.Module,
    compression: float,
    *,
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    scaler: Scaler = "none",
    init_std: float = 0.04,
    law: Law = "normal",
    seed: int = 0,
    inplace: bool = False,
) -> tnn.Module:
    """:func:`nn.share` by tiles of 32 x 32 weights in one bank; the arguments are the same.

    With a scaler, and where nn.load has put them, weights are looked up one by one, which is slow.
    """
    what = plan(model, compression, include=include, exclude=exclude, mapping="hashed")
    shapes = tuple(weight.shape for weight in what.groups[0].weights)
    shared = share(
        model, compression, mapping=tiles(shapes), include=include, exclude=exclude, scaler=scaler,
        init_std=init_std, law=law, seed=seed, inplace=inplace,
    )  # fmt: skip
    if scaler == "none":
        _read_by_tiles(shared)
    return shared


def _read_by_tiles(model: tnn.Module) -> None:
    (bank,) = banks_of(model)
    mapping: Tiles = bank.mapping
    laid = Bank(bank.owner, bank.name, mapping.laid, [Span(0, mapping.laid.n, 1.0)], "none")
    matrices = {matrix.first: matrix for matrix in mapping.matrices}
    made: dict[int, TiledView] = {}  # a weight that is tied has one view in several places
    for module in model.modules():
        for name, view in views_of(module).items():
            tiled = TiledView(
                bank, view.first, view.shape, view.scale, view.blank, laid, matrices[view.first], mapping.side
            )
            views_of(module)[name] = made.setdefault(view.first, tiled)
