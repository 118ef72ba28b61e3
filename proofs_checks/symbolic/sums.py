r"""Sums over an index of symbolic range: they factor, so that power sums stand for all sizes at once.

$\sum_{i,j} a_i^2\, b_j = (\sum_i a_i^2)(\sum_j b_j)$ for any number of terms. A polynomial in the entries at
the indices i, j, … is therefore summed over them by replacing, in every monomial, what belongs to an index
by one symbol: its power sum, or the number of terms where the index does not occur. An identity between the
results holds for every number of terms, and every value of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy as sp


@dataclass(frozen=True)
class Family:
    """Entries a_i, b_i, … for i in a range of symbolic size.

    Attributes:
        name: Of the range.
        size: How many indices it has.
        letters: One for each kind of entry.
    """

    name: str
    size: Any
    letters: str

    def at(self, index: str) -> tuple[Any, ...]:
        """The entries at an index."""
        return tuple(sp.Symbol(f"{letter}_{self.name}{index}") for letter in self.letters)

    def power_sum(self, *powers: int) -> Any:
        """Sum over the range of the product of the entries to these powers."""
        if not any(powers):
            return self.size
        parts = (f"{letter}^{p}" for letter, p in zip(self.letters, powers, strict=True) if p)
        return sp.Symbol(f"sum_{self.name}[{' '.join(parts)}]")

    def sum(self, summand: Any, *indices: str) -> Any:
        """The sum of a polynomial over all values of the indices, each by itself."""
        for index in indices:
            terms = sp.Poly(summand, *self.at(index)).terms()
            summand = sp.Add(*(factor * self.power_sum(*powers) for powers, factor in terms))
        return sp.expand(summand)

    def sum_distinct(self, summand: Any, first: str = "i", second: str = "j") -> Any:
        """The sum over all pairs of different indices, in both orders."""
        same = dict(zip(self.at(second), self.at(first), strict=True))
        return self.sum(summand, first, second) - self.sum(sp.sympify(summand).subs(same), first)
