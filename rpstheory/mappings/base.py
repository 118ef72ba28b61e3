"""What every mapping is: a cell and a sign in {-1, 0, +1} for every weight."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from fractions import Fraction
from operator import index
from typing import Any

from rpstheory.backend import POSITION_LIMIT
from rpstheory.errors import ArgumentError, KindError


def check_count(
    owner: str,
    name: str,
    value: Any,
    *,
    low: int = 1,
    high: int = POSITION_LIMIT,
    why: str = "positions are hashed below 2^60",
) -> int:
    """``value`` as an int in low..high; ``why`` says where the upper limit comes from.

    Raises:
        KindError: If it is not an integer.
        ArgumentError: If it is out of range.
    """
    try:
        number = None if isinstance(value, bool) else index(value)
    except TypeError:
        number = None
    if number is None:
        raise KindError(f"{owner}: {name}={value!r} came; a whole number is needed; pass an int")
    if number < low:
        raise ArgumentError(
            f"{owner}: {name}={number} came; at least {low} is needed; choose {name} >= {low}"
        )
    if number > high:
        raise ArgumentError(
            f"{owner}: {name}={number} came; at most {high} is possible: {why}; choose {name} <= {high}"
        )
    return number


def check_seed(owner: str, value: Any) -> int:
    """``value`` as an int that seeds random numbers.

    Raises:
        KindError: If it is not an integer.
        ArgumentError: If it is out of range.
    """
    return check_count(owner, "seed", value, low=0, high=2**64 - 1, why="seeds are 64-bit words")


@dataclass(frozen=True)
class AbstractMapping(ABC):
    """A map of n weights: each gets a cell and a sign.

    Attributes:
        n: Number of weights.
        m: Budget: shared parameters, or weights kept.
    """

    n: int
    m: int

    @property
    def cells(self) -> int:
        """Length of S x: the number of cells that :meth:`cell` can name."""
        return self.m

    @property
    def rescale(self) -> Fraction:
        """Exact factor on <Sx, Sy> that makes it unbiased; S itself stays integer."""
        return Fraction(1)

    @abstractmethod
    def cell(self, i: Any) -> Any:
        """Cell of weight ``i`` (int or integer array of any kind), in 0..cells-1."""

    @abstractmethod
    def sign(self, i: Any) -> Any:
        """Sign of weight ``i``, in {-1, 0, +1}; 0 means dropped."""

    def to_json(self) -> str:
        """One line of JSON from which :func:`from_json` builds an equal mapping.

        Raises:
            KindError: For :class:`Top`, whose scores are data.
        """
        if getattr(self, "seed", None) is None:
            raise KindError(
                f"{type(self).__name__}: its scores are data, not arguments; "
                "save the scores and build it again"
            )
        record = {f.name: getattr(self, f.name) for f in fields(self)}
        return json.dumps({"mapping": type(self).__name__, **record})
