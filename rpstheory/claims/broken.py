"""Mappings that break one rule each: what fails outside a claim's scope, and mutants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from rpstheory.backend import positions
from rpstheory.mappings import AbstractSharing


@dataclass(frozen=True)
class AbstractBrokenFold(AbstractSharing):
    """A fold with one rule broken."""

    @property
    def chunk_length(self) -> int:
        """A whole lap."""
        return self.m


@final
@dataclass(frozen=True)
class NoSigns(AbstractBrokenFold):
    """Every sign is +1."""

    def sign(self, i: Any) -> Any:
        """Always +1."""
        return positions(i, self.n) * 0 + 1


@final
@dataclass(frozen=True)
class SignsOfCells(AbstractBrokenFold):
    """The sign is the parity of the cell, as in a published helper function."""

    def sign(self, i: Any) -> Any:
        """-1 on odd cells."""
        return 1 - 2 * (self.cell(i) % 2)


@final
@dataclass(frozen=True)
class SignsOfLaps(AbstractBrokenFold):
    """One sign for a whole lap."""

    def sign(self, i: Any) -> Any:
        """The sign of the lap's first weight."""
        lap = positions(i, self.n) // self.m
        return self._sign(lap * self.m)


@final
@dataclass(frozen=True)
class FirstLapUnsigned(AbstractBrokenFold):
    """Signs +1 in the first lap: allowed, since one whole lap may go unsigned."""

    def sign(self, i: Any) -> Any:
        """+1 in the first lap, a fair sign elsewhere."""
        place = positions(i, self.n)
        later = (place // self.m + self.n - 1) // self.n  # 0 in the first lap, 1 after it
        return 1 + later * (self._sign(place) - 1)


@final
@dataclass(frozen=True)
class ThreeWiseSigns(AbstractSharing):
    """Hashed cells; the signs of positions 4q … 4q+3 multiply to 1: 3-wise independent only."""

    @property
    def chunk_length(self) -> int:
        """One weight."""
        return 1

    def sign(self, i: Any) -> Any:
        """Fair signs, every fourth the product of the three before it."""
        place = positions(i, self.n)
        first = place - place % 4
        fourth = (place % 4) // 3
        product = self._free(first) * self._free(first + 1) * self._free(first + 2)
        return self._free(place) * (1 - fourth) + product * fourth

    def _free(self, place: Any) -> Any:
        return self._sign(place % self.n)


@final
@dataclass(frozen=True)
class ArithmeticShifts(AbstractBrokenFold):
    """shift(p) = a p mod m with one random a: enough iff no prime factor of m is below k."""

    def cell(self, i: Any) -> Any:
        """Laps rotated by multiples of one number."""
        lap, offset = self.chunk_and_offset(positions(i, self.n))
        return (self._start(lap * 0) * lap + offset) % self.m
