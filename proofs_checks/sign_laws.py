"""Laws of the signs given the cells, many side by side, in whole numbers.

Fourth moments of A_ij = 1(i, j share a cell) sign_i sign_j decide whether a law has the variance of
claims 2 and 3. Here they are counted for whole families of laws at once: all uniform laws on sets of sign
vectors, and all choices of an affine code for each way in which the weights may meet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import permutations, product
from math import lcm
from typing import Any

import numpy as np

from proofs_checks import universes as u

BATCH = 4096


@dataclass(frozen=True, eq=False)
class Laws:
    """Laws of signs given the cells, side by side.

    Attributes:
        moments: (laws, n, n, n, n) int64, total * E A_ij A_kl, A_ij = 1_ij g_i g_j.
        total: Sum of the weights of each law.
    """

    moments: Any
    total: int

    @classmethod
    def given(cls, cells: Any, weights: Any) -> Laws:
        """From (draws, n) cells and (laws, draws, 2^n) whole-number weights of sign vectors.

        Weights of shape (laws, 1, 2^n) are independent of the cells.
        """
        same = (cells[:, :, None] == cells[:, None, :]).astype(np.int64)
        same = same[:, :, :, None, None] * same[:, None, None, :, :]
        if weights.shape[1] == 1:
            same = same.sum(axis=0, keepdims=True)
        forms = u.all_signs(cells.shape[1])
        pairs = forms[:, :, None] * forms[:, None, :]
        quadruples = pairs[:, :, :, None, None] * pairs[:, None, None, :, :]
        found = sum(met * np.tensordot(weights[:, draw], quadruples, axes=1) for draw, met in enumerate(same))
        return cls(found, int(weights[0].sum()) * (len(cells) if weights.shape[1] == 1 else 1))

    @property
    def size(self) -> int:
        """Number of laws."""
        return len(self.moments)

    @property
    def mean(self) -> Any:
        """(laws, n, n) total * E A_ij, since A_00 = 1."""
        return self.moments[:, :, :, 0, 0]

    @property
    def unbiased(self) -> Laws:
        """Those that satisfy claim 1."""
        true = self.total * np.eye(self.mean.shape[1], dtype=np.int64)
        return Laws(self.moments[(self.mean == true).all(axis=(1, 2))], self.total)

    @property
    def products(self) -> Any:
        """Whether Var<Sx, Sy> is the pair form, as a polynomial in x and y."""
        return _vanishes(self._excess, [(0, 1, 2, 3), (2, 1, 0, 3), (0, 3, 2, 1), (2, 3, 0, 1)])

    @property
    def norms(self) -> Any:
        """Whether Var|Sx|^2 is, as a polynomial in x."""
        return _vanishes(self._excess, list(permutations(range(4))))

    @property
    def triples(self) -> Any:
        """Whether E[1_ij 1_il g_j g_l] = 0."""
        return self._zero([(i, j, i, k) for i, j, k in permutations(range(self.mean.shape[1]), 3)])

    @property
    def quadruples(self) -> Any:
        """Whether E[1_ij 1_kl g_i g_j g_k g_l] = 0."""
        return self._zero(list(permutations(range(self.mean.shape[1]), 4)))

    @property
    def sum_of_pairings(self) -> Any:
        """Whether the same vanishes summed over ij|kl, ik|jl and il|jk."""
        found = np.ones(self.size, dtype=bool)
        for i, j, k, l in permutations(range(self.mean.shape[1]), 4):  # noqa: E741
            ways = self.moments[:, i, j, k, l] + self.moments[:, i, k, j, l] + self.moments[:, i, l, j, k]
            found &= ways == 0
        return found

    def words(self, law: int) -> str:
        """The triple and quadruple moments of one law that are not 0."""
        moments = self.moments[law]
        found = [
            f"{place}: {Fraction(int(moments[place]), self.total)}"
            for place in product(range(len(moments)), repeat=4)
            if place[0] < place[1] and place[2] < place[3] and len(set(place)) > 2 and moments[place]
        ]
        return "E[1_ij 1_kl g_i g_j g_k g_l] at (i, j, k, l) is " + (", ".join(found) or "0 everywhere")

    @property
    def _excess(self) -> Any:
        """Tensors of total^2 (variance - pair form)."""
        n = self.mean.shape[1]
        excess = self.total * self.moments - self.mean[:, :, :, None, None] * self.mean[:, None, None, :, :]
        for i, j in permutations(range(n), 2):
            met = self.total * self.moments[:, i, j, i, j]
            excess[:, i, j, i, j] -= met
            excess[:, i, i, j, j] -= met
        return excess

    def _zero(self, at: list[tuple[int, ...]]) -> Any:
        if not at:
            return np.ones(self.size, dtype=bool)
        return (self.moments[(slice(None), *np.array(at).T)] == 0).all(axis=1)


def sets_of_signs(n: int, cells: Any) -> Iterator[Laws]:
    """Every uniform law on a set of sign vectors, independent of the cells."""
    common = lcm(*range(1, 2**n + 1))
    for first in range(1, 2 ** (2**n), BATCH):
        chosen = np.arange(first, min(first + BATCH, 2 ** (2**n)))
        member = (chosen[:, None] >> np.arange(2**n)) & 1
        yield Laws.given(cells, (member * (common // member.sum(axis=1))[:, None])[:, None, :])


def affine_codes(n: int) -> Any:
    """(codes, 2^n) membership of every coset of every linear code of n signs."""
    found = set()
    vectors = range(2**n)
    spans = {frozenset([0])}
    while spans:
        found |= {frozenset(shift ^ word for word in span) for span in spans for shift in vectors}
        spans = {span | {v ^ word for word in span} for span in spans for v in vectors if v not in span}
    return np.array([[vector in code for vector in vectors] for code in sorted(found, key=sorted)], np.int64)


def codes_by_meeting(n: int, cells: Any, *, linear: bool) -> Iterator[Laws]:
    """Every choice of a code for each way in which the weights meet (each partition of 0..n-1)."""
    codes = affine_codes(n)
    codes = codes[codes[:, 0] == 1] if linear else codes
    codes = codes * (2**n // codes.sum(axis=1))[:, None]
    kinds: dict[bytes, list[int]] = {}
    for draw, row in enumerate(cells):
        kinds.setdefault((row[:, None] == row).tobytes(), []).append(draw)
    kind_of = np.empty(len(cells), dtype=np.int64)
    for kind, draws in enumerate(kinds.values()):
        kind_of[draws] = kind
    total = len(codes) ** len(kinds)
    for first in range(0, total, BATCH):
        number = np.arange(first, min(first + BATCH, total))
        choice = number[:, None] // len(codes) ** np.arange(len(kinds)) % len(codes)
        yield Laws.given(cells, codes[choice[:, kind_of]])


def _vanishes(tensors: Any, orders: list[tuple[int, ...]]) -> Any:
    """Which tensors are the zero polynomial, summed over these orders of the indices."""
    found = sum(tensors.transpose(0, *(1 + place for place in order)) for order in orders)
    return (found == 0).all(axis=(1, 2, 3, 4))
