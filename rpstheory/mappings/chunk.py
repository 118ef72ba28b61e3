"""Chunk: Z consecutive weights side by side in the bank, wrapping at its end (ROBE)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from rpstheory.mappings.base import check_count
from rpstheory.mappings.sharing import AbstractSharing


@final
@dataclass(frozen=True)
class Chunk(AbstractSharing):
    """ROBE: cell(i) = (start(i div Z) + i mod Z) mod m, Z = ``chunk`` <= m.

    Z = 1 draws the cells of :class:`Hashed`, Z = m those of :class:`Fold`.

    Attributes:
        chunk: Weights per chunk, 1..m.

    Source: Desai et al., MLSys 2022 (ROBE); claim 2.
    """

    chunk: int

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            KindError: If a size is not a whole number.
            ArgumentError: If ``chunk`` is not in 1..m, or n, m, seed are out of range.
        """
        AbstractSharing.__post_init__(self)
        object.__setattr__(
            self,
            "chunk",
            check_count("Chunk", "chunk", self.chunk, high=self.m, why="it has to fit into the bank"),
        )

    @property
    def chunk_length(self) -> int:
        """Weights per chunk."""
        return self.chunk
