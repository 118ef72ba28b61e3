"""Top: the m largest scores kept, unscaled (magnitude pruning and its relatives)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from rpstheory.backend import array_of, namespace, positions
from rpstheory.errors import ArgumentError, DataError
from rpstheory.mappings.base import AbstractMapping, check_count


@final
@dataclass(frozen=True, eq=False, init=False)
class Top(AbstractMapping):
    """The m weights with the largest score keep their place; ties go to the earlier weight.

    Deterministic, biased and data-aware: the one mapping that stores an index, a byte per weight.

    Attributes:
        n: Number of scores.
        m: Weights kept, 1..n.

    Source: claim 18.
    """

    kept: Any = field(repr=False)

    def __init__(self, scores: Any, m: int) -> None:
        """Keep the m largest of ``scores``.

        Args:
            scores: One finite real number per weight, (n,).
            m: Weights kept.

        Raises:
            DataError: If the scores are not one row of finite real numbers.
            ShapeError: If they are a list of rows that differ in length.
            KindError: If m is not a whole number.
            ArgumentError: If m is not in 1..n.
        """
        row = np.asarray(array_of("Top", scores))
        if row.ndim != 1 or row.size == 0 or row.dtype.kind not in "iufb":
            raise DataError(
                f"Top: scores of shape {row.shape} and dtype {row.dtype} came; "
                "pass one real number per weight"
            )
        if not np.isfinite(row).all():
            raise DataError("Top: scores hold nan or inf; pass finite numbers")
        budget = check_count("Top", "m", m)
        if budget > row.size:
            raise ArgumentError(f"Top: m={budget} of n={row.size} weights cannot be kept; choose m <= n")
        order = row.size - 1 - np.argsort(row[::-1], kind="stable")[::-1]
        kept = np.zeros(row.size, dtype=np.int8)
        kept[order[:budget]] = 1
        kept.flags.writeable = False
        for name, value in (("n", int(row.size)), ("m", budget), ("kept", kept)):
            object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        """Equal when the same weights are kept."""
        return isinstance(other, Top) and np.array_equal(self.kept, other.kept)

    __hash__ = None  # type: ignore[assignment]

    @property
    def cells(self) -> int:
        """A kept weight stays in its own place: n."""
        return self.n

    @property
    def pareto_continuous(self) -> bool:
        """Whether nothing is lost: m = n."""
        return self.m == self.n

    def cell(self, i: Any) -> Any:
        """Weight ``i`` itself.

        Raises:
            KindError: If ``i`` does not hold integers.
            ArgumentError: If a position is outside 0..n-1 (Python and NumPy).
        """
        return positions(i, self.n)

    def sign(self, i: Any) -> Any:
        """1 for a kept weight, 0 for a dropped one.

        Raises:
            KindError: If ``i`` does not hold integers.
            ArgumentError: If a position is outside 0..n-1 (Python and NumPy).
        """
        place = positions(i, self.n)
        if isinstance(place, int):
            return int(self.kept[place])
        xp = namespace(place)
        if xp is np:
            return self.kept[place].astype(np.int64)
        table = xp.asarray(self.kept.astype(np.int64), device=place.device)
        return xp.reshape(xp.take(table, xp.reshape(place, (-1,))), place.shape)
