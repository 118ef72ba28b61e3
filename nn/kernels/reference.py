"""Expand and compress in plain torch, for any mapping and device: what every kernel must equal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from nn.bridge import drawn

BLOCK = 2**20  # positions at a time: their cells and signs take 16 bytes each


def expand(
    mapping: Any, bank: torch.Tensor, factors: torch.Tensor, edges: torch.Tensor, first: int, count: int
) -> torch.Tensor:
    """``factor * sign * bank[cell]`` at positions first … first + count - 1, (count,)."""
    out = bank.new_empty(count)
    for low, high in _blocks(count):
        cell, sign = _drawn(mapping, first + low, first + high, bank)
        out[low:high] = bank[cell] * factor(factors, edges, cell) * sign
    return out


def compress(
    mapping: Any, values: torch.Tensor, factors: torch.Tensor, edges: torch.Tensor, first: int
) -> torch.Tensor:
    """The adjoint: ``factor * sign * values`` summed over each cell, (m,)."""
    bank = values.new_zeros(mapping.m)
    for low, high in _blocks(len(values)):
        cell, sign = _drawn(mapping, first + low, first + high, values)
        add_at(bank, cell, values[low:high] * factor(factors, edges, cell) * sign)
    return bank


def add_at(bank: torch.Tensor, cell: torch.Tensor, values: torch.Tensor) -> None:
    """``bank[cell] += values``, the same bits in every run, which on a GPU ``index_add_`` does not give."""
    if bank.is_cuda:
        bank.index_put_((cell,), values, accumulate=True)
    else:
        bank.index_add_(0, cell, values)


def _blocks(count: int) -> Iterator[tuple[int, int]]:
    return ((low, min(low + BLOCK, count)) for low in range(0, count, BLOCK))


def _drawn(mapping: Any, low: int, high: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    position = torch.arange(low, high, device=like.device)
    cell, sign = drawn(mapping, position)
    return cell, sign.to(like.dtype)


def factor(factors: torch.Tensor, edges: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
    """The factor of the stretch that each cell is in."""
    return factors if len(factors) == 1 else factors[torch.searchsorted(edges, cell, right=True) - 1]
