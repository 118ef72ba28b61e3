r"""How the cells of a trained bank are occupied: loads, collisions, unused cells, and what a step moves.

Counted with the operators that the network itself reads with. A bank of ones gives every weight its
coefficient $\partial w_i / \partial\varphi_c = c_i$, and the adjoint of $1/c$ is the load of each cell, that
of $c$ the squared length of its column, $\Gamma_c$ over what the gradient is divided by (claims 9 and 13).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import binom

from nn.practice.part import Part
from nn.sharing import banks_of
from rpstheory.claim import Check, Claim
from rpstheory.claims.c09_load import colliding, pairs, unused
from rpstheory.mappings import Chunk, Fold, Hashed
from rpstheory.report.figures.style import BLUE, ORANGE, PURPLE, RULE, blank, styled
from rpstheory.report.gallery import Plate
from rpstheory.samplers import Draws
from rpstheory.stability import effective_scaler
from rpstheory.traffic import least_colliding_pairs, unused_share_rotated

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from nn.bank import Bank
    from nn.practice.network import Trained

ROUNDED = 8  # operations on a coefficient before its square is added up, in float32
LEAST = 0.01  # share of the bank that a discrepancy is relative to, at least: fewer cells are no loss
FEW = 100_000  # weights of a bank, at most, whose mapping is drawn afresh where time is short


@dataclass(frozen=True)
class Fact:
    """A number of one trained network: nothing about it is random.

    Attributes:
        value: The number.
        cost: Work of a draw.
    """

    value: float
    cost: float = 1.0

    def __call__(self, first: int, count: int, backend: str) -> Any:
        """The value, ``count`` times."""
        return np.full(count, self.value)


@dataclass(frozen=True, eq=False)
class Occupancy:
    """The cells of one bank, as the network reads them.

    Attributes:
        bank: Of a trained network.
    """

    bank: Bank

    @property
    def sizes(self) -> tuple[int, int]:
        """Weights and cells."""
        return self.bank.n, int(self.bank.mapping.m)

    @cached_property
    def scales(self) -> NDArray[np.float64]:
        """lambda of every weight."""
        return np.repeat([s.scale for s in self.bank.spans], [s.count for s in self.bank.spans])

    @cached_property
    def columns(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Load, and squared length of the column, of every cell."""
        bank, found = self.bank, np.zeros((2, self.sizes[1]))
        with torch.no_grad():
            kept = bank.phi.detach().clone()
            bank.phi.fill_(1)
            for span in bank.spans:
                read = bank.expand(span.first, span.count, span.scale)
                found += [
                    bank.compress(each, span.first, span.scale).double().numpy() for each in (1 / read, read)
                ]
            bank.phi.copy_(kept)
        return np.rint(found[0]), found[1]

    @cached_property
    def predicted_columns(self) -> NDArray[np.float64]:
        """Gamma over the divisor, by rpstheory."""
        gamma = effective_scaler(self.bank.mapping, self.scales, "gamma")
        divisor = effective_scaler(self.bank.mapping, self.scales, self.bank.scaler)
        return np.where(self.columns[0] > 0, gamma / divisor, 0.0)

    def checks(self, label: str, *, quick: bool) -> list[Check]:
        """Counts in the trained bank; over fresh draws, where the mapping does not fix them."""
        n, m = self.sizes
        load, square = self.columns
        used = load > 0
        off = float((np.abs(square - self.predicted_columns)[used] / self.predicted_columns[used]).max())
        rounding = (load.max() + ROUNDED) * 2.0**-24
        found = [Check(f"{label}squared columns off Gamma/d", Fact(off), rounding, "at most")]
        mapping = self.bank.mapping
        counted, empty = float(pairs(load[None])[0]), float((load == 0).mean())
        if isinstance(mapping, Fold):
            return [
                *found,
                Check(f"{label}colliding pairs", Fact(counted), float(least_colliding_pairs(n, m))),
                Check(f"{label}largest load", Fact(float(load.max())), float(-(-n // m))),
                Check(f"{label}unused share", Fact(empty), max(0, m - n) / m),
            ]
        if isinstance(mapping, Chunk | Hashed) and not (quick and n > FEW):
            met = float(mapping.collision_sum(np.ones(n), np.ones(n)))
            lengths = np.diff(np.append(np.arange(0, n, mapping.chunk_length), n)).tolist()
            share = float(unused_share_rotated(lengths, m))
            found += [
                Check(
                    f"{label}colliding pairs, fresh draws",
                    Draws(mapping, partial(colliding, size=m)),
                    met,
                    condition=f"{counted:.0f} in the trained bank",
                ),
                Check(
                    f"{label}unused share, fresh draws",
                    Draws(mapping, partial(unused, size=m)),
                    share,
                    scale=max(share, LEAST),
                    condition=f"{empty:.4f} in the trained bank",
                ),
            ]
        return found


def claims(network: Trained, discrepancy: float, *, quick: bool) -> tuple[Part, ...]:
    """The claim of this part, and its figure; nothing for a network without a bank."""
    banks = [Occupancy(bank) for bank in banks_of(network.model)]
    if not banks:
        return ()
    labels = [f"bank {number}, " if len(banks) > 1 else "" for number in range(len(banks))]
    found = [check for label, b in zip(labels, banks, strict=True) for check in b.checks(label, quick=quick)]
    first = banks[0]
    n, m = first.sizes
    claim = Claim(
        number=4,
        name="occupancy",
        title="Loads and columns of the trained bank",
        statement=(
            "Under fold every cell of the bank carries k-1 or k weights, D/m ordered pairs meet and no "
            "cell is unused unless n < m; under hashing and chunks as many meet and as much is unused, on "
            "average, as claim 9 says. The squared column of a cell is Gamma over the divisor: 1 under gamma."
        ),
        assumptions=("counted with the operators that the network reads with",),
        formula=r"\sum_j load_j(load_j-1) = D/m,\qquad \sum_{i:\,cell(i)=j} c_i^2 = \Gamma_j/d_j",
        source="claims 9 and 13 at the sizes of a network",
        footing="proved for the shipped hash",
        checks=lambda setting: found,
        mutant="the pairs of hashing in place of fold's, or fold's in place of hashing's",
        mutant_check=lambda setting: first_mutant(first),
        remarks="What is counted in the one trained bank has no error; its draws are repetitions.",
    )
    return (Part(claim, lambda verdicts: [plate(first, n, m)]),)


def first_mutant(first: Occupancy) -> Check:
    """The number of colliding pairs by the wrong formula."""
    n, m = first.sizes
    load, _ = first.columns
    fold = isinstance(first.bank.mapping, Fold)
    wrong = n * (n - 1) / m if fold else float(least_colliding_pairs(n, m))
    return Check("mutant: colliding pairs", Fact(float(pairs(load[None])[0])), wrong)


def plate(first: Occupancy, n: int, m: int) -> Plate:
    """Loads, and the spread of Gamma."""
    return Plate(
        "occupancy",
        "Cells of the trained bank",
        f"{n:,} weights over {m:,} cells. Left: share of cells by load, counted in the trained bank, and "
        "the binomial law of hashing. Right: Gamma of the cells over its mean; dividing by it gives all "
        "cells one step, without a scaler the largest decides what is stable.",
        "Histogram of the load of the cells and of Gamma.",
        figure(first),
    )


@styled
def figure(first: Occupancy) -> Figure:
    """Two histograms."""
    n, m = first.sizes
    load, _ = first.columns
    gamma = effective_scaler(first.bank.mapping, first.scales, "gamma")
    whole, (left, right) = blank(9.2, 3.0, ncols=2)
    places = np.arange(int(max(load.max(), binom.ppf(0.999, n, 1 / m))) + 1)
    share = np.bincount(load.astype(int), minlength=len(places))[: len(places)] / m
    left.bar(places, share, 0.7, color=BLUE, label="trained bank")
    left.plot(places, binom.pmf(places, n, 1 / m), color=PURPLE, marker="^", markersize=3.5, label="hashing")
    left.set_xlabel("weights per cell")
    left.set_ylabel("share of the cells")
    left.legend()
    right.hist(gamma / gamma.mean(), bins=40, color=ORANGE)
    right.axvline(1, color=RULE)
    right.set_xlabel("Gamma over its mean")
    right.set_ylabel("cells")
    return whole
