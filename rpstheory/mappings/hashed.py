"""Hashed: an independent cell for every weight (HashedNets)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from rpstheory.mappings.sharing import AbstractSharing


@final
@dataclass(frozen=True)
class Hashed(AbstractSharing):
    """HashedNets: every weight draws its own cell; any two meet with probability 1/m.

    Source: Chen et al., ICML 2015; claim 2.
    """

    @property
    def chunk_length(self) -> int:
        """One weight."""
        return 1
