"""Is every subset equally likely? Enumerated for ideal round functions, measured on the shipped hash.

The measurements have fixed seeds, and numbers of draws that follow from the discrepancy to catch: they
refute a uniform law with chance 1e-6 all together, and pass shares of subsets or of weights that are
off by DISCREPANCY (root mean square, relative) with chance 1e-3 each. Single pairs have exact binomial
limits and as many draws.
"""

from fractions import Fraction
from itertools import combinations, permutations, product
from math import ceil, comb, factorial

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binom, chi2, ncx2

from rpstheory import KeepExact
from rpstheory.kernels.reference import draw_many
from rpstheory.mappings import keep
from rpstheory.mappings.keep import rounds

LEFT_OF_BIAS = Fraction(1, 2**20)
DISCREPANCY = 0.05
FALSE_CONFIRM = 1e-3

SUBSETS = ((2, 1), (3, 1), (3, 2), (4, 2), (5, 2), (6, 3), (7, 2), (8, 4), (10, 2))
SHARES = ((2, 1), (5, 2), (6, 1), (8, 3), (9, 4), (15, 7), (17, 4), (33, 11), (50, 25), (64, 16))
FALSE_REFUTE = 1e-6 / (len(SUBSETS) + 2 * len(SHARES))


# ------------------------------------------------------- ideal round functions, enumerated


def round_permutations(side):
    """All permutations of side^2 places that one round can be."""
    places = list(product(range(side), repeat=2))
    return [
        tuple(right * side + (left + shift[right]) % side for left, right in places)
        for shift in product(range(side), repeat=side)
    ]


def walk(permutation, place, n):
    place = permutation[place]
    while place >= n:
        place = permutation[place]
    return place


@pytest.mark.parametrize(("n", "m"), [(2, 1), (3, 1), (3, 2), (4, 1), (4, 2), (4, 3)])
def test_keep_exact_of_ideal_rounds_is_uniform_over_subsets_of_up_to_four_weights(n, m):
    steps, law = round_permutations(2), {(0, 1, 2, 3): 1}
    for _ in range(rounds(2)):
        after = {}
        for permutation, weight in law.items():
            for step in steps:
                then = tuple(step[place] for place in permutation)
                after[then] = after.get(then, 0) + weight
        law = after
    chance = dict.fromkeys(combinations(range(n), m), Fraction(0))
    for permutation, weight in law.items():
        kept = tuple(i for i in range(n) if walk(permutation, i, n) < m)
        chance[kept] += Fraction(weight, len(steps) ** rounds(2))
    assert all(abs(c * comb(n, m) - 1) < LEFT_OF_BIAS for c in chance.values())


def rank(rows):
    """Number of each permutation (…, 9) in lexicographic order."""
    later = np.arange(8, -1, -1)
    return sum((rows[:, i + 1 :] < rows[:, [i]]).sum(axis=1) * factorial(later[i]) for i in range(9))


@pytest.fixture(scope="module")
def permutations_of_nine():
    """All permutations of 3 x 3 places and their law after the rounds, in float64."""
    every = np.array(list(permutations(range(9))), dtype=np.int8)
    left, right = np.divmod(np.arange(9), 3)
    swap = rank(np.argsort(right * 3 + left).astype(np.int8)[every])
    shifts = [
        [rank(np.argsort((left + (right == r) * by) % 3 * 3 + right).astype(np.int8)[every])
         for by in (1, 2)]
        for r in range(3)
    ]  # fmt: skip
    law = np.zeros(len(every))
    law[0] = 1.0
    for _ in range(rounds(3)):
        for one, two in shifts:
            law = (law + law[one] + law[two]) / 3
        law = law[swap]
    return every, law


@pytest.mark.parametrize("n", [5, 6, 7, 8, 9])
def test_keep_exact_of_ideal_rounds_is_uniform_over_subsets_of_up_to_nine_weights(n, permutations_of_nine):
    every, law = permutations_of_nine
    place = every[:, :n]
    for _ in range(9 - n):
        outside = place >= n
        further = np.take_along_axis(every, np.where(outside, place, 0).astype(np.intp), axis=1)
        place = np.where(outside, further, place)
    for m in range(1, n):
        code = ((place < m) << np.arange(n)).sum(axis=1)
        chance = np.bincount(code, weights=law, minlength=2**n)
        chance = chance[[sum(1 << i for i in kept) for kept in combinations(range(n), m)]]
        # Sums of 9! non-negative terms, 44 rounds: rounding stays below 1e-9.
        assert np.abs(chance * comb(n, m) - 1).max() < float(LEFT_OF_BIAS) - 1e-9


def pair_bias(side, count):
    """Largest relative excess of any difference of two weights after ``count`` ideal rounds.

    With pairwise independent round functions the first weight's place is uniform whatever the
    difference (left, right) of two, and that is a Markov chain: (l, r) -> (r, uniform) for r != 0,
    (l, 0) -> (0, l).
    """
    half, worst = side // 2, 0.0
    for start in {(1, 0), (0, 1), (1, 1), (half, 0), (0, half), (half, half)} - {(0, 0)}:
        law = np.zeros((side, side))
        law[start] = 1.0
        for _ in range(count):
            after = np.repeat(law.sum(axis=0)[:, None] / side, side, axis=1)
            after[0] = law[:, 0]
            law = after
        worst = max(worst, np.abs(law.ravel()[1:] * (side**2 - 1) - 1).max())
    return worst


def test_keep_exact_of_ideal_rounds_treats_all_pairs_alike_at_every_square():
    for side in (*range(2, 130), 255, 256, 511, 512, 1000, 1023, 1024, 1500):
        assert pair_bias(side, rounds(side)) < 2.0**-20


def test_eight_rounds_would_keep_a_pair_of_four_weights_one_part_in_64_too_seldom():
    steps = round_permutations(2)
    excess = []
    for start in combinations(range(4), 2):
        law = {start: 1}
        for _ in range(8):
            after = {}
            for pair, weight in law.items():
                for step in steps:
                    then = (step[pair[0]], step[pair[1]])
                    after[then] = after.get(then, 0) + weight
            law = after
        both = Fraction(sum(w for pair, w in law.items() if max(pair) < 2), len(steps) ** 8)
        excess.append(both * comb(4, 2) - 1)
    assert min(excess) == -Fraction(1, 64)


# --------------------------------------------------------------- the shipped hash, measured


def draws_for(freedom, gain):
    """Draws at which chi-square misses a bias of DISCREPANCY with chance FALSE_CONFIRM.

    ``gain`` is the noncentrality of one draw at relative bias 1.
    """
    limit = chi2.isf(FALSE_REFUTE, freedom)
    needed = brentq(lambda c: ncx2.cdf(limit, freedom, c) - FALSE_CONFIRM, 1.0, 1e5)
    return ceil(needed / (gain * DISCREPANCY**2))


def first_draw(n, m):
    """Seeds of their own for every case."""
    return (n * 1000 + m) << 32


def subset_statistic(n, m, count):
    """Pearson's statistic of the subsets kept against the uniform law."""
    code = np.zeros(count, dtype=np.int64)
    signs = draw_many(KeepExact(n, m, 0), first_draw(n, m), count)[1]
    for i in range(n):
        code += signs[:, i] << i
    met = np.bincount(code, minlength=2**n)
    found = met[[sum(1 << i for i in kept) for kept in combinations(range(n), m)]]
    assert found.sum() == count
    wanted = count / comb(n, m)
    return float(((found - wanted) ** 2 / wanted).sum())


@pytest.mark.parametrize(("n", "m"), SUBSETS)
def test_keep_exact_draws_every_subset_equally_often(n, m):
    freedom = comb(n, m) - 1
    count = draws_for(freedom, gain=1.0)
    assert subset_statistic(n, m, count) < chi2.isf(FALSE_REFUTE, freedom)


def test_subset_statistic_refutes_a_permutation_of_four_rounds(monkeypatch):
    monkeypatch.setattr(keep, "rounds", lambda side: 4)  # a pair kept 25 % too often
    assert subset_statistic(4, 2, draws_for(5, gain=1.0)) > chi2.isf(FALSE_REFUTE, 5)


def kept_counts(n, m, count):
    """How often each weight, and each pair, is kept."""
    signs = draw_many(KeepExact(n, m, 0), first_draw(n, m) + 2**31, count)[1].astype(np.float64)
    pairs = signs.T @ signs
    return np.diag(pairs), pairs[np.triu_indices(n, 1)]


@pytest.mark.parametrize(("n", "m"), SHARES)
def test_keep_exact_keeps_every_weight_equally_often(n, m):
    share = m / n
    spread = share * (1 - share) * n / (n - 1)  # of one weight, within the plane of sum m
    count = draws_for(n - 1, gain=n * share**2 / spread)
    kept, _ = kept_counts(n, m, count)
    statistic = ((kept - count * share) ** 2).sum() / (count * spread)
    assert statistic < chi2.isf(FALSE_REFUTE, n - 1)


@pytest.mark.parametrize(("n", "m"), [(n, m) for n, m in SHARES if m > 1])
def test_keep_exact_keeps_every_pair_equally_often(n, m):
    share = m * (m - 1) / (n * (n - 1))
    count = draws_for(comb(n, 2) - 1, gain=comb(n, 2) * share)
    _, kept = kept_counts(n, m, count)
    tail = FALSE_REFUTE / (2 * len(kept))
    assert kept.max() <= binom.isf(tail, count, share)
    assert kept.min() >= binom.ppf(tail, count, share)
