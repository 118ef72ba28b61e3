r"""Laws over draws: what sharing promises on average, put as events whose frequency can be counted.

With $A_{ij} = 1(same cell) sign_i sign_j$ the estimate $\langle Sx, Sy\rangle = \sum_{ij} A_{ij} x_i y_j$
is a polynomial in x and y. Its mean and variance are right for *all* vectors iff its coefficients are:

- mean $\langle x, y\rangle$: $E A_{ij} = 0$ for i < j, and $E A_{ii} = P(sign_i \ne 0)$ is 1/rescale;
- variance $\sum_{i \ne j} p_{ij} (x_i^2 y_j^2 + x_i y_i x_j y_j)$: $A_{ij}$ and $A_{kl}$ of different
  pairs are uncorrelated, $E A_{ij} A_{kl} = 0$ (claim 2), and $p_{ij}$ is what the mapping declares.

So no vectors are drawn: the products are ±1 where they are not 0, and given that they are not 0 the law says
that +1 is as likely as -1, which is a count of coin tosses.
"""

from __future__ import annotations

from fractions import Fraction
from functools import reduce
from itertools import combinations
from math import inf
from operator import mul
from typing import TYPE_CHECKING, Any

import numpy as np

from rpstheory.conformance.counting import MISSED, Counts
from rpstheory.conformance.declared import check_sums, meeting, probabilities, unit, variance
from rpstheory.conformance.law import Law, Outcome
from rpstheory.conformance.sizes import MIDDLE
from rpstheory.conformance.subject import Sample, Subject, as_fraction

if TYPE_CHECKING:
    from collections.abc import Callable

HALF = Fraction(1, 2)
MOST_SIGNS = 4
CELLS_TOLD_APART = 16
LARGE = 2**63  # a seed that a float cannot tell from the next


def check_unbiased(subject: Subject) -> Outcome:
    """The mean of <Sx, Sy> is <x, y>, for all x and y."""
    return _count(subject, lambda sample: [_kept(sample), _agreeing(sample)])


def check_variance(subject: Subject) -> Outcome:
    """The variance of <Sx, Sy> is what the chances of two weights to meet say."""
    if not subject.drops:
        return _count(subject, lambda sample: [_pairs_of_pairs(sample)])
    if not any(variance(sample.first) for sample in subject.samples()):
        return Outcome("not declared", "it drops weights and brings no inner_product_variance")
    return _count(subject, _kept_together)


def check_signs(subject: Subject) -> Outcome:
    """Signs are fair coins, independent four at a time."""
    if subject.drops:
        return Outcome("does not apply", "it drops weights")
    return _count(subject, lambda sample: [_sign_products(sample)])


def check_seeds(subject: Subject) -> Outcome:
    """A seed tells nothing about the draw of the next, and is used in all its bits."""
    _check_bits(subject)
    return _count(subject, lambda sample: _across_seeds(sample, subject.drops))


def _check_bits(subject: Subject) -> None:
    first = subject.build(*MIDDLE[-1])
    if first is None or first.universe is not None:
        return
    places = range(first.n)
    for low, others in ((0, [2**bit for bit in range(64)]), (LARGE, [LARGE + 1])):
        wanted = subject.draw(first.n, first.m, low).answers(places)
        for seed in others:
            other = subject.draw(first.n, first.m, seed)
            if all((a == b).all() for a, b in zip(wanted, other.answers(places), strict=True)):
                raise other.wrong((), f"the draw of seed {seed} is that of seed {low}; a seed has 64 bits")


def check_signs_and_cells(subject: Subject) -> Outcome:
    """Knowing a cell tells nothing about signs."""
    if subject.drops:
        return Outcome("does not apply", "it drops weights")
    return _count(subject, _signs_given_cells)


def check_collisions(subject: Subject) -> Outcome:
    """Weights meet as often as is declared."""
    if not any(meeting(sample.first) for sample in subject.samples()):
        return Outcome("not declared", "no collision_probability, no collision_sum: no closed form")
    return _count(subject, _meetings)


def _count(subject: Subject, families: Callable[[Sample], list[Counts]]) -> Outcome:
    """Compare all counts of all samples, smallest first; each gets its share of the false alarm."""
    samples = draws = comparisons = 0
    sharpest: tuple[float, str] = (inf, "any deviation: all seeds were enumerated")
    for sample in subject.samples():
        found = families(sample)
        share = subject.share / max(1, len(found))
        for counts in found:
            number = counts.first_wrong(sample.every, share)
            if number is not None:
                raise sample.wrong(counts.places[number], counts.words(number) + _if_frozen(sample))
            comparisons += len(counts.places)
        deviation = max((counts.detectable(share) for counts in found), default=0.0)
        if deviation and not sample.every:
            size = f"n={sample.first.n}, m={sample.first.m}"
            sharpest = min(
                sharpest,
                (deviation, f"a probability off by {deviation:.3f} at {size}, surely to {1 - MISSED}"),
            )
        samples, draws = samples + 1, draws + len(sample.seeds)
    if not comparisons:
        return Outcome("does not apply", "nothing can be counted")
    return Outcome("holds", f"{samples} sizes, {draws} draws, {comparisons} counts", sharpest[1])


def _if_frozen(sample: Sample) -> str:
    frozen = all((drawn == drawn[0]).all() for drawn in (sample.cells, sample.signs))
    return f"; all {len(sample.seeds)} draws are the same: is the seed used?" if frozen else ""


def _across_seeds(sample: Sample, drops: bool) -> list[Counts]:
    """What each draw has in common with the next: those of even seeds first, then those of odd ones.

    Within each of the two every seed is in one pair only.
    """
    if sample.first.universe is not None:
        return []
    return [
        counts
        for first in (0, 1)
        for counts in _next_to(sample, drops, slice(first, -1, 2), slice(first + 1, None, 2))
    ]


def _next_to(sample: Sample, drops: bool, these: slice, following: slice) -> list[Counts]:
    one, other = sample.signs[these], sample.signs[following]
    columns = range(len(sample.positions))
    places = [(i, j) for i in columns for j in columns]
    if drops:
        hits = np.array([np.count_nonzero(one[:, i] & other[:, j]) for i, j in places])
        chance, event = 1 / sample.first.rescale**2, "the first is kept and so is the second in the next seed"
    else:
        hits = np.array([np.count_nonzero(one[:, i] == other[:, j]) for i, j in places])
        chance, event = HALF, "the sign of the first equals that of the second in the next seed"
    words = event + ", in {hits} of {total} seeds"
    found = [Counts(places, hits, np.full(hits.shape, len(other)), chance, words)]
    declared, pairs = probabilities(sample.first, sample.positions), _pairs(sample)
    if not drops and declared:
        met = _same_cells(sample, pairs)
        hits = np.count_nonzero(met[these] & met[following], axis=0)
        chances = [p * p for p in declared.values()]
        event = "they share a cell in {hits} of {total} seeds and in the next one too"
        found.append(Counts(pairs, hits, np.full(hits.shape, len(other)), chances, event))
    return found


def _kept(sample: Sample) -> Counts:
    hits = np.count_nonzero(sample.signs, axis=0)
    chance = 1 / sample.first.rescale
    return Counts(
        _singles(sample), hits, _all_draws(sample, hits), chance, "it is kept in {hits} of {total} draws"
    )


def _agreeing(sample: Sample) -> Counts:
    pairs, forms = _forms(sample)
    hits, totals = np.count_nonzero(forms > 0, axis=0), np.count_nonzero(forms, axis=0)
    return Counts(
        pairs, hits, totals, HALF, "the signs agree in {hits} of {total} draws that put both into one cell"
    )


def _pairs_of_pairs(sample: Sample) -> Counts:
    pairs, forms = _forms(sample)
    one, other = np.triu_indices(len(pairs), k=1)
    totals = _over_draws(abs(forms), abs(forms))[one, other]
    hits = (totals + _over_draws(forms, forms)[one, other]) // 2
    places = [(*pairs[e], *pairs[f]) for e, f in zip(one.tolist(), other.tolist(), strict=True)]
    event = "the signs multiply to +1 in {hits} of {total} draws where both the first and the last two meet"
    return Counts(places, hits, totals, HALF, event)


def _kept_together(sample: Sample) -> list[Counts]:
    declared, pairs = variance(sample.first), _pairs(sample)
    if declared is None or not sample.complete or _same_cells(sample, pairs).any():
        return []
    square = sample.first.rescale**2

    def mean_of_both(i: int, j: int) -> Fraction:
        both, one, other = (unit(sample.first, *places) for places in ((i, j), (i,), (j,)))
        v, v_one, v_other = (as_fraction(declared(x, x)) for x in (both, one, other))
        if v is None or v_one is None or v_other is None:
            raise sample.first.wrong((i, j), "inner_product_variance did not give a number")
        return ((v - v_one - v_other) / 2 + 1) / square

    kept = sample.signs != 0
    hits = np.array([np.count_nonzero(kept[:, i] & kept[:, j]) for i, j in pairs], dtype=np.int64)
    chances = [mean_of_both(i, j) for i, j in pairs]
    return [
        Counts(pairs, hits, _all_draws(sample, hits), chances, "both are kept in {hits} of {total} draws")
    ]


def _sign_products(sample: Sample) -> Counts:
    columns = np.ascontiguousarray(sample.signs.T.astype(np.int8))
    places = [c for r in range(1, MOST_SIGNS + 1) for c in combinations(range(len(columns)), r)]
    hits = np.array([np.count_nonzero(reduce(mul, (columns[k] for k in c)) > 0) for c in places])
    return Counts(
        places, hits, _all_draws(sample, hits), HALF, "the signs multiply to +1 in {hits} of {total} draws"
    )


def _signs_given_cells(sample: Sample) -> list[Counts]:
    cells, classes, name = sample.cells, range(sample.first.cells), "cell {}"
    if sample.first.cells > CELLS_TOLD_APART:
        cells, classes, name = cells % 2, range(2), "a cell that is {} mod 2"
    several = [*_singles(sample), *_pairs(sample)]
    products = np.stack([sample.signs[:, list(c)].prod(axis=1) for c in several], axis=1)
    places = [(j, *c) for j in range(cells.shape[1]) for c in several]
    found = []
    for number in classes:
        inside = cells == number
        totals = np.repeat(np.count_nonzero(inside, axis=0), len(several))
        hits = (totals + _over_draws(inside, products).ravel()) // 2
        event = (
            "the signs after the first multiply to +1 in {hits} of {total} draws with the first weight in "
            + name.format(number)
        )
        found.append(Counts(places, hits, totals, HALF, event))
    return found


def _meetings(sample: Sample) -> list[Counts]:
    check_sums(sample.first)
    declared, pairs = probabilities(sample.first, sample.positions), _pairs(sample)
    if declared is None:
        return []
    hits = np.count_nonzero(_same_cells(sample, pairs), axis=0)
    chances = list(declared.values())
    return [
        Counts(pairs, hits, _all_draws(sample, hits), chances, "they share a cell in {hits} of {total} draws")
    ]


def _forms(sample: Sample) -> tuple[list[tuple[int, int]], Any]:
    """Pairs i < j and A_ij, (draws, pairs)."""
    pairs = _pairs(sample)
    one, other = _both(pairs)
    return pairs, _same_cells(sample, pairs) * sample.signs[:, one] * sample.signs[:, other]


def _over_draws(a: Any, b: Any) -> Any:
    """Products of the columns of a with those of b, summed over draws; not by BLAS, whose threads spin."""
    return np.einsum("da,db->ab", a.astype(np.int32), b.astype(np.int32)).astype(np.int64)


def _same_cells(sample: Sample, pairs: list[tuple[int, int]]) -> Any:
    one, other = _both(pairs)
    return sample.cells[:, one] == sample.cells[:, other]


def _both(pairs: list[tuple[int, int]]) -> Any:
    return np.array(pairs, dtype=np.int64).reshape(-1, 2).T


def _singles(sample: Sample) -> list[tuple[int, ...]]:
    return [(k,) for k in range(len(sample.positions))]


def _pairs(sample: Sample) -> list[tuple[int, int]]:
    return list(combinations(range(len(sample.positions)), 2))


def _all_draws(sample: Sample, hits: Any) -> Any:
    return np.full(hits.shape, len(sample.seeds), dtype=np.int64)


UNBIASED = Law(
    "unbiased",
    "rescale ⟨Sx, Sy⟩ is ⟨x, y⟩ on average, for all x and y: two weights of one cell agree in sign as often "
    "as not, and a weight is kept in 1/rescale of the draws",
    "products of compressed vectors are systematically off, and a weight is pulled the same way by its "
    "neighbours in the cell in every draw",
    check_unbiased,
    counted=True,
)
VARIANCE = Law(
    "variance",
    "the variance of ⟨Sx, Sy⟩ is the sum of p_ij (x_i^2 y_j^2 + x_i y_i x_j y_j) over i != j, for all x, y: "
    "different pairs that share cells are uncorrelated (for mappings that drop weights: as they declare)",
    "some vectors are compressed far worse than the theory says, and no closed form here tells which",
    check_variance,
    counted=True,
)
SIGNS = Law(
    "signs",
    "signs are fair, and any four are independent: the product of one to four of them is +1 as often as -1",
    "errors of different cells add up instead of cancelling",
    check_signs,
    counted=True,
)
SIGNS_AND_CELLS = Law(
    "signs-and-cells",
    "whatever the cell of a weight, signs and products of two signs are +1 as often as -1",
    "a cell then has a sign of its own, and the weights that share it are no longer told apart",
    check_signs_and_cells,
    counted=True,
)
SEEDS = Law(
    "seeds",
    "the draws of a seed and of the next one have nothing to do with each other, and all 64 bits count",
    "layers with seeds s, s + 1, … repeat each other's errors, and averages over seeds do not settle",
    check_seeds,
    counted=True,
)
COLLISIONS = Law(
    "collisions",
    "two weights share a cell as often as collision_probability and collision_sum declare",
    "every variance, bound and prediction that is computed for this mapping is computed for another one",
    check_collisions,
    counted=True,
)
