"""Fold: every lap of m weights rotated by its own shift (RANDOMFOLD of STABLE-RPS)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from rpstheory.mappings.sharing import AbstractSharing


@final
@dataclass(frozen=True)
class Fold(AbstractSharing):
    """STABLE-RPS: cell(i) = (shift(i div m) + i mod m) mod m, one flat position for the model.

    Two weights of one lap never meet; of different laps with probability 1/m. Every cell carries
    floor(n/m) or ceil(n/m) weights in every draw, and n <= m loses nothing.

    Example:
        >>> Fold(n=6, m=3, seed=0).chunks
        2

    Source: Desai & Shrivastava, ICLR 2024; claims 2, 8, 9.
    """

    @property
    def chunk_length(self) -> int:
        """A whole lap: m."""
        return self.m
