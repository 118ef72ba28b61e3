"""Gamma, the sum of squared scales in each cell: for a fold a few stretches, whatever the size.

A module's weights have one scale and lie on the ring of cells as arcs, one for each lap they touch. Gamma
changes only where an arc begins or ends, so that a fold of any size needs one number per stretch. Where
a mapping cuts the weights into many chunks, there is one number per cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rpstheory.errors import ArgumentError
from rpstheory.mappings import Fold

Scaler = Literal["gamma", "v1", "none"]
SCALERS = ("gamma", "v1", "none")
BLOCK = 2**22


@dataclass(frozen=True)
class Span:
    """Weights of one scale.

    Attributes:
        first: Their first position.
        count: Their number.
        scale: lambda.
    """

    first: int
    count: int
    scale: float


@dataclass(frozen=True, eq=False)
class Stretches:
    """A number for each cell, constant over stretches.

    Attributes:
        edges: (stretches,) int64, the first cell of each; edges[0] = 0.
        load: (stretches,) int64, weights per cell.
        linear: (stretches,) float64, sum of lambda.
        square: (stretches,) float64, sum of lambda^2.
    """

    edges: NDArray[np.int64]
    load: NDArray[np.int64]
    linear: NDArray[np.float64]
    square: NDArray[np.float64]

    def roots(self, scaler: Scaler) -> NDArray[np.float64]:
        """Square root of what the scaler divides the gradient by; 1 in cells that no weight uses.

        Raises:
            ArgumentError: If the scaler is unknown.
        """
        if scaler not in SCALERS:
            raise ArgumentError(f"share: scaler={scaler!r} came; one of {', '.join(SCALERS)} is needed")
        if scaler == "none":
            return np.ones(len(self.edges))
        used = np.maximum(self.load, 1)
        root = np.sqrt(self.square) if scaler == "gamma" else self.linear / np.sqrt(used)
        return np.where(self.load > 0, root, 1.0)


def stretches(mapping: Any, spans: Sequence[Span]) -> Stretches:
    """Load and sums of scales of every cell.

    Args:
        mapping: Any mapping.
        spans: The modules.
    """
    return _of_fold(mapping, spans) if type(mapping) is Fold else _of_cells(mapping, spans)


def _of_fold(fold: Fold, spans: Sequence[Span]) -> Stretches:
    arcs = [arc for span in spans for arc in _arcs(fold, span)]
    edges = np.unique([0, *(low for low, _, _ in arcs), *(high for _, high, _ in arcs if high < fold.m)])
    low, high, scale = (np.array(column) for column in zip(*arcs, strict=True))
    load = np.zeros(len(edges), dtype=np.int64)
    linear, square = np.zeros(len(edges)), np.zeros(len(edges))
    starts, ends = np.searchsorted(edges, low), np.searchsorted(edges, high)
    for start, end, factor in zip(starts.tolist(), ends.tolist(), scale.tolist(), strict=True):
        load[start:end] += 1
        linear[start:end] += factor
        square[start:end] += factor * factor
    return Stretches(edges, load, linear, square)


def _arcs(fold: Fold, span: Span) -> list[tuple[int, int, float]]:
    """(first cell, one past the last, lambda) for every lap a module touches; two where it wraps."""
    found, position, end = [], span.first, span.first + span.count
    while position < end:
        size = min(fold.m - position % fold.m, end - position)
        cell = int(fold.cell(position))
        turn = min(size, fold.m - cell)
        found += [(cell, cell + turn, span.scale)] + [(0, size - turn, span.scale)] * (size > turn)
        position += size
    return found


def _of_cells(mapping: Any, spans: Sequence[Span]) -> Stretches:
    load = np.zeros(mapping.m, dtype=np.int64)
    linear, square = np.zeros(mapping.m), np.zeros(mapping.m)
    for span in spans:
        count = np.zeros(mapping.m, dtype=np.int64)
        for low in range(span.first, span.first + span.count, BLOCK):
            high = min(low + BLOCK, span.first + span.count)
            count += np.bincount(mapping.cell(np.arange(low, high)), minlength=mapping.m)
        load += count
        linear += count * span.scale
        square += count * span.scale**2
    table = np.stack([load.astype(float), linear, square])
    edges = np.concatenate([[0], 1 + np.flatnonzero((np.diff(table) != 0).any(axis=0))])
    return Stretches(edges, load[edges], linear[edges], square[edges])
