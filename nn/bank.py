"""The shared bank in balanced form, and the views through which modules read their weights.

A bank holds phi = Gamma^(1/2) theta, and a weight is

    w_i = lambda sign(i) Gamma_c^(-1/2) phi_c,    c = cell(i),

so that plain gradient descent on phi is gradient descent on theta divided by Gamma, and every other rule
(Adam, clipping) sees a bank whose scale does not depend on the init_std. Source: claims 13 to 15.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
import torch
import torch.nn as tnn

from nn.bridge import key_of
from nn.gamma import Scaler, Span, Stretches, stretches
from nn.kernels import Piece
from nn.kernels.products import linear, saves
from nn.kernels.rows import expand_rows

Law = Literal["normal", "uniform"]

DENSE_SHARE = 4  # stretches fewer than m / 4 are looked up, more become one number per cell


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
        self._set_roots(stretches(mapping, spans))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pieces": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._key = key_of(self.mapping)

    @property
    def phi(self) -> tnn.Parameter:
        """(m,), the balanced bank."""
        return getattr(self.owner, self.name)

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
        tables = (self._roots, self._edges, self._per_cell)
        return sum(t.numel() * t.element_size() for t in tables if t is not None)

    def roots(self) -> torch.Tensor:
        """What each cell is divided by, Gamma^(1/2), (m,) float64; 1 in unused cells."""
        if self._per_cell is not None:
            return self._per_cell.to(self.phi.device)
        end = self._edges.new_tensor([self.mapping.m])
        return torch.repeat_interleave(self._roots, torch.diff(self._edges, append=end)).to(self.phi.device)

    def settle(self) -> None:
        """Bring the tables of Gamma into the kind and to the place of phi."""
        self._read()

    def expand(self, first: int, count: int, scale: float) -> torch.Tensor:
        """The weights at positions first … first + count - 1, (count,)."""
        bank, *_ = self._read()
        return self._piece(first, count, scale).expand(bank)

    def expand_rows(
        self, first: int, count: int, width: int, rows: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Some rows of the table (count, width) of weights from position ``first`` on, (…, width)."""
        bank, roots, edges = self._read()
        return expand_rows(bank, roots, edges, self._key, first, count, width, rows, scale)

    def product(self, x: torch.Tensor, first: int, count: int, scale: float) -> torch.Tensor | None:
        """``x @ W.T``, W with ``count`` rows from position ``first`` on, if :func:`saves`; else None."""
        if not saves(self.mapping, self.phi, x, count):
            return None
        bank, roots, edges = self._read()
        return linear(x, bank, roots, edges, self._key, first, count, scale)

    def compress(self, values: torch.Tensor, first: int, scale: float) -> torch.Tensor:
        """The adjoint of :meth:`expand`, (m,)."""
        self._read()
        found = self._piece(first, len(values), scale).compress(values)
        return found if self._per_cell is None else found / self._per_cell.to(found)

    def _piece(self, first: int, count: int, scale: float) -> Piece:
        place = first, count, scale
        found = self._pieces.get(place)
        if found is None:
            found = Piece(self._roots, self._edges, self._key, first, count, self.mapping.m, scale)
            if not torch.compiler.is_compiling():
                self._pieces[place] = found
        return found

    def _set_roots(self, gamma: Stretches) -> None:
        roots, edges = gamma.roots(self.scaler), gamma.edges
        self._per_cell: torch.Tensor | None = None
        if len(edges) * DENSE_SHARE > self.mapping.m > DENSE_SHARE:
            self._per_cell = torch.from_numpy(np.repeat(roots, np.diff(edges, append=self.mapping.m)))
            roots, edges = np.ones(1), np.zeros(1, dtype=np.int64)
        self._roots, self._edges = torch.from_numpy(roots), torch.from_numpy(edges)
        self._pieces: dict[tuple[int, int, float], Piece] = {}

    def _read(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        phi, cells = self.phi, self._per_cell
        moved = self._roots.device != phi.device
        if moved or (cells is not None and cells.dtype != phi.dtype and not torch.compiler.is_compiling()):
            with torch.inference_mode(False):  # what is kept now must also serve training
                cells = self._suit(phi)
        return (phi if cells is None else phi / cells.to(phi)), self._roots, self._edges

    def _suit(self, phi: torch.Tensor) -> torch.Tensor | None:
        """Bring the tables into the kind and to the place of phi."""
        cells = self._per_cell
        if self._roots.is_meta or (cells is not None and cells.dtype != phi.dtype):
            self._set_roots(self.gamma)  # afresh, so that no digit is lost on the way
        self._per_cell = None if self._per_cell is None else self._per_cell.to(phi)
        self._roots, self._edges, self._pieces = self._roots.to(phi.device), self._edges.to(phi.device), {}
        return self._per_cell


@dataclass(frozen=True, eq=False)
class View:
    """A weight tensor of a module, read from the bank each time.

    Attributes:
        bank: Where it lives.
        first: Position of its first weight.
        shape: Of the tensor.
        scale: lambda.
    """

    bank: Bank
    first: int
    shape: tuple[int, ...]
    scale: float

    def read(self) -> torch.Tensor:
        """The tensor, differentiable with respect to the bank."""
        return self.bank.expand(self.first, prod(self.shape), self.scale).view(self.shape)

    def rows(self, rows: torch.Tensor) -> torch.Tensor:
        """Some rows of the tensor, a matrix, differentiable with respect to the bank."""
        count, width = self.shape
        return self.bank.expand_rows(self.first, count, width, rows, self.scale)

    def product(self, x: torch.Tensor) -> torch.Tensor | None:
        """``x @ weight.T``, the weight never formed, where that is faster and allowed; else None."""
        return self.bank.product(x, self.first, self.shape[0], self.scale)


def numbers(law: Law, count: int, seed: int) -> torch.Tensor:
    """(count,) float64, standard normal or uniform on [-1, 1); the global generator is left alone."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    if law == "normal":
        return torch.randn(count, dtype=torch.float64, generator=generator)
    return 2 * torch.rand(count, dtype=torch.float64, generator=generator) - 1


Reader = Callable[[], torch.Tensor]
