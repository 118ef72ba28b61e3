"""Counter-examples to what was once claimed, and the tools of the enumeration room."""

from fractions import Fraction

import numpy as np
import pytest

from proofs_checks import universes as u
from proofs_checks.enumeration.binary_fields import multiplication
from proofs_checks.enumeration.collisions import apart, unwrapped
from proofs_checks.enumeration.hash_fields import require_independent, total_degree
from proofs_checks.enumeration.hash_ranges import line, reduced, scaled
from proofs_checks.enumeration.iid_pairs import moments_of
from proofs_checks.enumeration.over_data import across_laps, of_pruning, rho
from proofs_checks.enumeration.signs import has_identity, parity, sign_per_lap
from proofs_checks.enumeration.worst_profile import nonnegative
from proofs_checks.polynomials import (
    difference,
    evaluate,
    for_norms,
    meeting,
    pair_form,
    variance_form,
)
from proofs_checks.sign_laws import Laws, affine_codes


def same_signs_by_meeting():
    """Fold at n=4, m=2: the product of all signs is +1 when 0 meets 2, and -1 when 0 meets 3."""
    fold = u.fold(4, 2)
    wanted = np.where(fold.cells[:, 0] == fold.cells[:, 2], 1, -1)
    kept = fold.signs.prod(axis=1) == wanted
    return u.Universe(2, fold.cells[kept], fold.signs[kept], fold.weights[kept])


def test_claim_3_holds_for_signs_for_which_claim_2_fails():
    universe = same_signs_by_meeting()
    variance, expected = variance_form(universe), pair_form(meeting(universe.cells))
    assert not difference(for_norms(variance), for_norms(expected))
    x, y = (1, 0, 0, 1), (0, 1, 1, 0)
    assert evaluate(variance, x, y) != evaluate(expected, x, y)


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_one_sign_per_lap_is_enough_for_one_weight_more_than_cells(m):
    assert has_identity(sign_per_lap(m + 1, m))


def test_one_sign_per_lap_adds_to_the_variance_of_two_full_laps():
    per_lap, fair = (
        evaluate(variance_form(universe), [1] * 4, [1] * 4) for universe in (sign_per_lap(4, 2), u.fold(4, 2))
    )
    assert (per_lap, fair) == (16, 8)


def test_block_is_below_chunk_on_a_flat_vector_where_its_length_does_not_divide_n():
    flat = [1] * 5
    block, chunk = (evaluate(pair_form(p), flat, flat) for p in (unwrapped(5, 5, 4), apart(5, 5, 4)))
    assert (block, chunk) == (3, Fraction(16, 5))


def test_raw_kurtosis_3_is_no_tie_for_correlated_pairs_with_a_mean():
    law = [(Fraction(0), Fraction(2, 3)), (Fraction(1), Fraction(1, 3))]
    alpha, beta, gamma = moments_of(law, lambda x, other: (x, (3 * x + 4 * other) / 5), 2)
    assert gamma - alpha - 2 * beta == Fraction(-32, 2025)


def test_worst_profile_of_three_laps_attains_the_root_in_closed_form():
    # k=3, m=8, r=3: lambda = (8 + sqrt(64 + 192))/2 = 12, so that the ratio is 12/11.
    s = np.array([3] * 16 + [4] * 3)
    fold, prune = (s @ form @ s for form in (across_laps(19, 8, 8), of_pruning(19, 8)))
    assert (fold, prune) == (288, 264)
    assert nonnegative(Fraction(12, 11) * of_pruning(19, 8) - across_laps(19, 8, 8))


def test_rho_at_three_laps_stays_below_its_sharp_bound_and_comes_close():
    # (2 - sqrt(3))^2 is between 0.0717 and 0.0718; theory.md allows 1/8.
    largest = max(rho(2 * 200 + r, 200) - 1 for r in range(1, 200))
    assert Fraction(717, 10000) < largest < Fraction(718, 10000)


def test_starts_of_blocks_are_off_to_first_order_in_the_field():
    # P = 3f + 2: counts f+1, f+1, f, so that d = 2 has (f+1) f / P^2 and misses 1/9 by about 1/(9P).
    field = 10007
    gap = line(scaled(field, 3), field)[2] - Fraction(1, 9)
    assert gap == Fraction((field + 1) * (field - 2) - field**2, 9 * field**2)
    assert abs(gap) > Fraction(1, 10 * field) > Fraction(2, 3 * field**2)


def test_scaled_starts_spread_their_remainder_and_reduced_starts_do_not():
    assert scaled(13, 4).tolist() == [4, 3, 3, 3]
    assert scaled(14, 4).tolist() == [4, 3, 4, 3]
    assert reduced(14, 4).tolist() == [4, 4, 3, 3]


def test_ten_of_the_sixteen_coefficients_give_four_wise_independence_beyond_the_field():
    powers = total_degree(3)
    assert len(powers) == 10
    require_independent(3, powers, np.arange(9), 4)


def test_laws_side_by_side_agree_with_universes_one_by_one():
    cells = u.fold_cells(4, 2)
    for fixed in [(0,), (0, 1), (0, 1, 2), (0, 1, 2, 3)]:
        signs = parity(4, fixed)
        weights = (u.all_signs(4)[:, None] == signs).all(axis=2).sum(axis=1)[None, None]
        laws = Laws.given(cells, weights)
        assert laws.products.tolist() == [has_identity(u.joint(cells, signs, 2))]


def test_affine_codes_of_four_signs_are_307():
    # sum over dimensions of (subspaces of GF(2)^4) * (cosets): 16 + 15*8 + 35*4 + 15*2 + 1.
    assert len(affine_codes(4)) == 307


def test_moments_do_not_depend_on_how_outcomes_are_sliced():
    universe = u.keep_bernoulli(5, 3)
    whole = np.tensordot(universe.weights, universe.forms, axes=1)
    sliced = [np.tensordot(part.weights, part.forms, axes=1) for part in universe.parts(7)]
    assert len(sliced) == 5
    assert (sum(sliced) == whole).all()


def test_multiplication_of_a_binary_field_has_inverses():
    for degree in (2, 3, 4):
        table = multiplication(degree)[1:, 1:]
        assert (np.sort(table, axis=1) == np.arange(1, 2**degree)).all()
