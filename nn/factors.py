"""Weights that are products of stored matrices, and the modules' views of them.

A weight that multiplies as ``y = x W`` is a chain ``W = F1 F2 …`` of matrices, each stored once, whoever
else uses it: a basis that layers share and the coefficients of one of them, or bases, a core and bases.
``x`` runs through the chain from left to right; W is formed only where that takes fewer multiply-adds.
Like the cells of a bank, the numbers are parameters of the whole model, ``factor_0`` and so on.

A matrix may be sparse: then the parameter holds the numbers that are kept, in the order of their rows, and
the buffer ``factor_0_bits`` a bit for each place (or each block of places) that says which these are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import pairwise
from math import prod
from typing import Any

import torch
import torch.nn as tnn
import torch.nn.functional as tnnf

from rpstheory.errors import ArgumentError, ShapeError

PREFIX = "factor_"
BITS = "_bits"


@dataclass(frozen=True, eq=False)
class Matrix:
    """A matrix that is to be stored, once for every chain in which this very object stands.

    Attributes:
        values: (rows, columns).
        mask: (rows, columns) bool: True where a number is stored, constant on every block; None: everywhere.
        block: Rows and columns of the blocks that a bit stands for.
    """

    values: torch.Tensor
    mask: torch.Tensor | None = None
    block: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        """Check the shapes.

        Raises:
            ShapeError: If they do not fit.
        """
        if self.values.ndim != 2:
            raise ShapeError(f"factor: values of shape {tuple(self.values.shape)} came; pass a matrix")
        if self.mask is None:
            return
        if self.mask.shape != self.values.shape or any(
            n % b for n, b in zip(self.values.shape, self.block, strict=True)
        ):
            raise ShapeError(
                f"factor: values of shape {tuple(self.values.shape)}, a mask of {tuple(self.mask.shape)} and "
                f"blocks of {self.block} came; equal shapes that the blocks divide are needed"
            )
        if not torch.equal(spread(_blocks(self.mask, self.block)[:, :, 0, 0], self.block), self.mask):
            raise ShapeError(f"factor: the mask is not constant on blocks of {self.block}; pass whole blocks")

    @property
    def T(self) -> Turned:
        """The transpose, in a chain; nothing is stored for it."""
        return Turned(self)


@dataclass(frozen=True, eq=False)
class Turned:
    """A matrix that a chain reads transposed."""

    matrix: Matrix

    @property
    def T(self) -> Matrix:
        """The matrix itself."""
        return self.matrix


Chain = tuple[Matrix | Turned, ...]


class Factor:
    """A stored matrix as it lies in a model: its numbers are always read from their owner.

    Attributes:
        owner: The module whose parameter ``name`` holds the numbers.
        name: Of that parameter.
        shape: Rows and columns.
        block: Rows and columns of the blocks of a sparse matrix; None if it is dense.
    """

    def __init__(
        self, owner: tnn.Module, name: str, shape: tuple[int, int], block: tuple[int, int] | None
    ) -> None:
        self.owner, self.name, self.shape, self.block = owner, name, shape, block

    @property
    def parameter(self) -> tnn.Parameter:
        """All that is trained: (rows, columns), or the (kept,) numbers of a sparse matrix."""
        return getattr(self.owner, self.name)

    @property
    def bits(self) -> torch.Tensor | None:
        """(bytes,) uint8: which blocks are kept, row by row; None of a dense matrix."""
        return None if self.block is None else getattr(self.owner, self.name + BITS)

    @property
    def mask(self) -> torch.Tensor | None:
        """(rows, columns) bool: where numbers are stored; None of a dense matrix."""
        if self.block is None or self.bits is None:
            return None
        grid = self.shape[0] // self.block[0], self.shape[1] // self.block[1]
        return spread(_unpacked(self.bits, prod(grid)).view(grid), self.block)

    @property
    def index_bytes(self) -> int:
        """Of the bits."""
        return 0 if self.bits is None else self.bits.numel()

    def move(self, owner: tnn.Module) -> None:
        """Make another module the owner."""
        parameter, bits = self.parameter, self.bits
        self.owner = owner
        owner.register_parameter(self.name, parameter)
        if bits is not None:
            owner.register_buffer(self.name + BITS, bits)

    def remove(self) -> None:
        """Take the numbers out of their owner."""
        delattr(self.owner, self.name)
        if self.block is not None:
            delattr(self.owner, self.name + BITS)

    def read(self) -> torch.Tensor:
        """(rows, columns), differentiable with respect to the parameter."""
        mask = self.mask
        if mask is None:
            return self.parameter
        found = self.parameter.new_zeros(self.shape)
        return found.masked_scatter(mask, self.parameter)


@dataclass(frozen=True, eq=False)
class Product:
    """A weight of a module, read from its factors each time.

    Attributes:
        links: Each factor and whether it is transposed: x runs through them from the first to the last.
        shape: Of the parameter that the module had.
        flipped: Whether that parameter is the transpose of W, as in a Linear.
    """

    links: tuple[tuple[Factor, bool], ...]
    shape: tuple[int, ...]
    flipped: bool

    @property
    def requires_grad(self) -> bool:
        """Whether any of its numbers is trained."""
        return any(factor.parameter.requires_grad for factor, _ in self.links)

    @property
    def memory(self) -> torch.Tensor:
        """A tensor of its kind and in its place."""
        return self.links[0][0].parameter

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Inputs, the ranks between, outputs."""
        shapes = [factor.shape[::-1] if turned else factor.shape for factor, turned in self.links]
        return (shapes[0][0], *(columns for _, columns in shapes))

    @property
    def fits(self) -> bool:
        """Whether the factors can be multiplied and give the shape of the parameter."""
        shapes = [factor.shape[::-1] if turned else factor.shape for factor, turned in self.links]
        whole = shapes[0][0], shapes[-1][1]
        return all(a[1] == b[0] for a, b in pairwise(shapes)) and self.shape == (
            whole[::-1] if self.flipped else whole
        )

    def stored(self) -> dict[int, int]:
        """Bytes of what it is read from, by identity."""
        return {id(factor): factor.parameter.nbytes + factor.index_bytes for factor, _ in self.links}

    @property
    def signature(self) -> list[Any]:
        """The same wherever the weight is read in the same way."""
        return [self.flipped, *([f.name, f.shape, f.block, turned] for f, turned in self.links)]

    def read(self) -> torch.Tensor:
        """The parameter, differentiable with respect to the factors."""
        whole = reduce(torch.matmul, self._matrices())
        return whole.T if self.flipped else whole

    def rows(self, rows: torch.Tensor) -> torch.Tensor:
        """Some rows of the parameter."""
        return self.read()[rows]

    def product(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor | None:
        """``x W + bias`` through the factors; None where forming W takes fewer multiply-adds."""
        if x.shape[-1:] != self.sizes[:1]:  # the dense product says what is wrong
            return None
        through = sum(map(prod, pairwise(self.sizes)))
        tokens, whole = prod(x.shape[:-1]), self.sizes[0] * self.sizes[-1]
        forming = self.sizes[0] * sum(map(prod, pairwise(self.sizes[1:])))
        if tokens * through > forming + tokens * whole:
            return None
        *before, last = self._matrices()
        return tnnf.linear(reduce(torch.matmul, before, x), last.T, bias)

    def _matrices(self) -> Iterator[torch.Tensor]:
        for factor, turned in self.links:
            yield factor.read().T if turned else factor.read()


def matrices_of(chain: Chain) -> list[Matrix]:
    """Every matrix of a chain."""
    return [link if isinstance(link, Matrix) else link.matrix for link in chain]


def shape_of(chain: Chain) -> tuple[int, int]:
    """Of the product.

    Raises:
        ShapeError: If neighbours cannot be multiplied.
    """
    shapes = [
        each.values.shape if isinstance(each, Matrix) else each.matrix.values.shape[::-1] for each in chain
    ]
    if not shapes or any(a[1] != b[0] for a, b in pairwise(shapes)):
        raise ShapeError(f"factor: {[tuple(s) for s in shapes]} came, which cannot be multiplied")
    return shapes[0][0], shapes[-1][1]


def linked(chain: Chain, stored: Mapping[Matrix, Factor]) -> tuple[tuple[Factor, bool], ...]:
    """A chain of matrices as one of factors."""
    return tuple(
        (stored[each], False) if isinstance(each, Matrix) else (stored[each.matrix], True) for each in chain
    )


def store(model: tnn.Module, matrix: Matrix, like: torch.Tensor, trained: bool) -> Factor:
    """A matrix as a parameter of the model, in the kind and place of another tensor.

    Raises:
        ArgumentError: If the model has an attribute of that name.
    """
    number = 0
    while hasattr(model, f"{PREFIX}{number}"):
        number += 1
    name, values = f"{PREFIX}{number}", matrix.values.detach().to(like, copy=True)
    shape, block = (values.shape[0], values.shape[1]), None
    if matrix.mask is not None:
        if hasattr(model, name + BITS):
            raise ArgumentError(f"factor: the model has an attribute {name + BITS} of its own; rename it")
        mask, block = matrix.mask.to(like.device), matrix.block
        values = values[mask]
        bits = _packed(_blocks(mask, block)[:, :, 0, 0].reshape(-1))
        model.register_buffer(name + BITS, bits)
    model.register_parameter(name, tnn.Parameter(values.contiguous(), requires_grad=trained))
    return Factor(model, name, shape, block)


def count_of(bits: torch.Tensor, count: int) -> int:
    """How many of the first ``count`` bits are set; -1 if one is behind them."""
    whole = _unpacked(bits, 8 * len(bits))
    return -1 if bool(whole[count:].any()) else int(whole.sum())


def _blocks(mask: torch.Tensor, block: tuple[int, int]) -> torch.Tensor:
    """(rows, columns) → (block rows, block columns, rows of a block, columns of a block)."""
    (rows, columns), (high, wide) = mask.shape, block
    return mask.view(rows // high, high, columns // wide, wide).transpose(1, 2)


def spread(grid: torch.Tensor, block: tuple[int, int]) -> torch.Tensor:
    """A number for each block → the same number at each place of the block."""
    return grid.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)


def _packed(flat: torch.Tensor) -> torch.Tensor:
    """(n,) bool → (ceil(n / 8),) uint8, the first in the lowest bit."""
    whole = tnnf.pad(flat.to(torch.uint8), (0, -len(flat) % 8)).view(-1, 8)
    return (whole << torch.arange(8, dtype=torch.uint8, device=flat.device)).sum(1, dtype=torch.uint8)


def _unpacked(bits: torch.Tensor, count: int) -> torch.Tensor:
    """(bytes,) uint8 → (count,) bool."""
    places = torch.arange(8, dtype=torch.uint8, device=bits.device)
    return ((bits[:, None] >> places) & 1).view(-1)[:count].bool()
