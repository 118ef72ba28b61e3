"""The shared bank in balanced form, and the views through which modules read their weights.

A bank holds phi = Gamma^(1/2) theta, and a weight is

    w_i = lambda sign(i) Gamma_c^(-1/2) phi_c,    c = cell(i),

so that plain gradient descent on phi is gradient descent on theta divided by Gamma, and every other rule
(Adam, clipping) sees a bank whose scale does not depend on the init_std. Source: claims 13 to 15.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from math import prod
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn as tnn

from nn.bridge import key_of
from nn.gamma import Scaler, Span, Stretches, stretches
from nn.kernels import Piece
from nn.kernels.products import linear, saves
from nn.kernels.rows import expand_rows

Law = Literal["normal", "uniform"]

WORD = 8  # bytes of a seed and of a lambda
DENSE_SHARE = 4  # stretches fewer than m / 4 are looked up, more become one number per cell
KEPT = (
    64  # stretches up to which what a call has prepared is kept: more would be memory that no report counts
)


class Tables(NamedTuple):
    """What the weights are read with beside phi; replaced as a whole, so that threads agree.

    Attributes:
        roots: (segments,) float64: what each stretch of cells is divided by.
        edges: (segments,) int64: the first cell of each.
        cells: (m,), or None: what each cell is divided by, where stretches would be too many.
        pieces: What calls have prepared, by position, count and scale.
    """

    roots: torch.Tensor
    edges: torch.Tensor
    cells: torch.Tensor | None
    pieces: dict[tuple[int, int, float], Piece]


class Bank:
    """m shared parameters that stand for n weights.

    No module: a module inside a Sequential would be run. The parameter is registered with the module
    that owns the bank, and always read from there, so that moving, casting and loading find it.

    Attributes:
        owner: The module whose parameter ``name`` is phi, (m,), all that is trained or stored.
        name: Of that parameter.
        mapping: Says which cell and sign each position has.
        scaler: gamma, v1 or none.
        spans: Position, number and lambda of every weight tensor.
    """

    def __init__(
        self, owner: tnn.Module, name: str, mapping: Any, spans: Sequence[Span], scaler: Scaler
    ) -> None:
        self.owner, self.name, self.mapping, self.scaler = owner, name, mapping, scaler
        self.spans = tuple(spans)
        self._key = key_of(mapping)
        self._tables = self._made()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_tables": self._tables._replace(pieces={})}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._key = key_of(self.mapping)

    @property
    def phi(self) -> tnn.Parameter:
        """(m,), the balanced bank."""
        return getattr(self.owner, self.name)

    @property
    def signature(self) -> str:
        """The same wherever weights are read in the same way; one's own mapping counts by class and sizes."""
        how = self._key.partition(" at ")[0], self.scaler, [astuple(span) for span in self.spans]
        return hashlib.sha256(json.dumps(how).encode()).hexdigest()

    @property
    def n(self) -> int:
        """Weights that the bank stands for."""
        return sum(span.count for span in self.spans)

    @property
    def gamma(self) -> Stretches:
        """Load, sum of lambda and Gamma of every cell."""
        return stretches(self.mapping, self.spans)

    @property
    def table_bytes(self) -> int:
        """What is held beside phi: the roots of Gamma and where they change."""
        tables = self._tables[:3]
        return sum(t.numel() * t.element_size() for t in tables if t is not None)

    @property
    def index_bytes(self) -> int:
        """Of the seed, and of lambda of every weight tensor."""
        return WORD * (1 + len(self.spans))

    def roots(self) -> torch.Tensor:
        """What each cell is divided by, Gamma^(1/2), (m,) floats; 1 in unused cells."""
        roots, edges, cells, _ = self._tables
        if cells is None:
            cells = torch.repeat_interleave(
                roots, torch.diff(edges, append=edges.new_tensor([self.mapping.m]))
            )
        return cells.to(self.phi.device)

    def settle(self) -> None:
        """Bring the tables of Gamma into the kind and to the place of phi."""
        self._read()

    def expand(self, first: int, count: int, scale: float) -> torch.Tensor:
        """The weights at positions first … first + count - 1, (count,)."""
        bank, tables = self._read()
        return self._piece(tables, first, count, scale).expand(bank)

    def expand_rows(
        self, first: int, count: int, width: int, rows: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Some rows of the table (count, width) of weights from position ``first`` on, (…, width)."""
        bank, (roots, edges, *_) = self._read()
        return expand_rows(bank, roots, edges, self._key, first, count, width, rows, scale)

    def product(self, x: torch.Tensor, first: int, count: int, scale: float) -> torch.Tensor | None:
        """``x @ W.T``, W with ``count`` rows from position ``first`` on, if :func:`saves`; else None."""
        if not saves(self.mapping, self.phi, x, count):
            return None
        bank, (roots, edges, *_) = self._read()
        return linear(x, bank, roots, edges, self._key, first, count, scale)

    def compress(self, values: torch.Tensor, first: int, scale: float) -> torch.Tensor:
        """The adjoint of :meth:`expand`, (m,)."""
        _, tables = self._read()
        found = self._piece(tables, first, len(values), scale).compress(values)
        return found if tables.cells is None else found / tables.cells.to(found)

    def _piece(self, tables: Tables, first: int, count: int, scale: float) -> Piece:
        place = first, count, scale
        kept = len(tables.edges) <= KEPT and not torch.compiler.is_compiling()  # a compiler would guard it
        found = tables.pieces.get(place) if kept else None
        if found is None:
            found = Piece(tables.roots, tables.edges, self._key, first, count, self.mapping.m, scale)
            if kept:
                tables.pieces[place] = found
        return found

    def _made(self) -> Tables:
        gamma = self.gamma
        roots, edges, cells = gamma.roots(self.scaler), gamma.edges, None
        if len(edges) * DENSE_SHARE > self.mapping.m > DENSE_SHARE:
            cells = torch.from_numpy(np.repeat(roots, np.diff(edges, append=self.mapping.m)))
            roots, edges = np.ones(1), np.zeros(1, dtype=np.int64)
        return Tables(torch.from_numpy(roots), torch.from_numpy(edges), cells, {})

    def _read(self) -> tuple[torch.Tensor, Tables]:
        phi, tables = self.phi, self._tables
        cells, moved = tables.cells, tables.roots.device != phi.device
        if moved or (cells is not None and cells.dtype != phi.dtype and not torch.compiler.is_compiling()):
            with torch.inference_mode(False):  # what is kept now must also serve training
                tables = self._tables = self._suited(tables, phi)
        return (phi if tables.cells is None else phi / tables.cells.to(phi)), tables

    def _suited(self, tables: Tables, phi: torch.Tensor) -> Tables:
        """The tables in the kind and at the place of phi."""
        if tables.roots.is_meta or (tables.cells is not None and tables.cells.dtype != phi.dtype):
            tables = self._made()  # afresh, so that no digit is lost on the way
        roots, edges, cells, _ = tables
        return Tables(
            roots.to(phi.device), edges.to(phi.device), None if cells is None else cells.to(phi), {}
        )


@dataclass(frozen=True, eq=False)
class View:
    """A weight tensor of a module, read from the bank each time.

    Attributes:
        bank: Where it lives.
        first: Position of its first weight.
        shape: Of the tensor.
        scale: lambda.
        blank: A row that reads as zero whatever the bank holds, as the padding of an embedding does.
    """

    bank: Bank
    first: int
    shape: tuple[int, ...]
    scale: float
    blank: int | None

    @property
    def memory(self) -> torch.Tensor:
        """A tensor of its kind and in its place: the bank."""
        return self.bank.phi

    @property
    def requires_grad(self) -> bool:
        """Whether the bank is trained."""
        return self.bank.phi.requires_grad

    def stored(self) -> dict[int, int]:
        """Bytes of what it is read from, by identity."""
        return {id(self.bank): self.bank.phi.nbytes + self.bank.index_bytes}

    def read(self) -> torch.Tensor:
        """The tensor, differentiable with respect to the bank."""
        return self._blanked(self.bank.expand(self.first, prod(self.shape), self.scale).view(self.shape))

    def rows(self, rows: torch.Tensor) -> torch.Tensor:
        """Some rows of the tensor, a matrix, differentiable with respect to the bank."""
        count, width = self.shape
        found = self.bank.expand_rows(self.first, count, width, rows, self.scale)
        return found if self.blank is None else torch.where((rows == self.blank).unsqueeze(-1), 0, found)

    def product(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor | None:
        """``x @ weight.T + bias``, the weight never formed, where that is faster and allowed; else None."""
        if x.shape[-1:] != self.shape[-1:]:  # the dense product says what is wrong
            return None
        found = self.bank.product(x, self.first, self.shape[0], self.scale)
        return found if found is None or bias is None else found + bias

    def _blanked(self, tensor: torch.Tensor) -> torch.Tensor:
        if self.blank is None:
            return tensor
        return tensor.index_fill(0, torch.arange(self.blank, self.blank + 1, device=tensor.device), 0)


def numbers(law: Law, count: int, seed: int) -> torch.Tensor:
    """(count,) float64, standard normal or uniform on [-1, 1); the global generator is left alone."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    if law == "normal":
        return torch.randn(count, dtype=torch.float64, generator=generator)
    return 2 * torch.rand(count, dtype=torch.float64, generator=generator) - 1
