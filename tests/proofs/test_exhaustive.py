"""Counter-examples and sharper constants of claims 10 to 20; least squares and enclosures."""

from fractions import Fraction

import numpy as np
import pytest

from proofs_checks import universes as u
from proofs_checks.enclosures import E_BELOW, exp_below, log_below, root_below
from proofs_checks.enumeration.linear_residual import loss
from proofs_checks.enumeration.optimality import worst_bound
from proofs_checks.enumeration.residual_figures import shuffled_share
from proofs_checks.enumeration.residual_order import advantage, losses
from proofs_checks.exhaustive.chaos import Chaos, flat, golay, laws, normal_moment
from proofs_checks.exhaustive.cost import Layer, expand_first, fused, run, streamed
from proofs_checks.exhaustive.every_draw import bound_of_spread, conditional
from proofs_checks.exhaustive.mean_lines import lap_lines
from proofs_checks.exhaustive.tails import below_allows, chi_allows, gamma_allows
from proofs_checks.exhaustive.traffic import distinct, runs, windows
from proofs_checks.polynomials import evaluate, fractions, variance_form
from proofs_checks.residuals import diagonal, groupings, least, pairwise_signs, residual, ridge

# --------------------------------------------------------------------------------- linear model


def test_on_ragged_laps_fold_loses_more_than_pruning_although_u_and_e_are_ordered_alike():
    s = [Fraction(1), Fraction(1), Fraction(6, 5)]
    assert losses(np.array([0, 1, 0]), s, 2) == (Fraction(12, 11), Fraction(16, 15))


def test_equal_u_on_a_ragged_lap_do_not_tie():
    assert advantage(np.array([0, 1, 0]), [1, 1, 1], 2)[2] == Fraction(1, 3) - Fraction(1, 2)


def test_scales_that_know_the_weights_lose_on_a_ragged_lap():
    e = np.array([Fraction(1), Fraction(1), Fraction(6, 5)])
    assert advantage(np.array([0, 1, 0]), e, 2) @ e < 0


def test_the_share_in_random_order_is_0_204():
    assert Fraction(2037, 10000) < shuffled_share(24, 6) < Fraction(2038, 10000)


def test_a_cell_whose_scales_are_zero_wins_nothing_so_that_pruning_formulas_need_positive_scales():
    zero = [Fraction(0)] * 2
    assert loss(np.array([0, 0]), np.array([1, 1]), [1, 1], zero).tolist() == diagonal([1, 1]).tolist()


def test_one_draw_can_beat_top():
    one = [Fraction(1)] * 2
    assert loss(np.array([0, 0]), np.array([1, 1]), one, one).sum() == 0


# --------------------------------------------------------------------------------------- traffic


def test_a_line_that_the_bank_cuts_short_raises_the_mean():
    counts = lap_lines(9, 4, 3)
    assert Fraction(int(counts.sum()), len(counts)) == 1 + Fraction(2 * 3, 9) > 1 + Fraction(2, 4)


def test_around_the_lap_the_mean_is_lower():
    counts = lap_lines(8, 4, 8)
    assert counts.tolist() == [2] * 8
    assert 1 + Fraction(8 - 1, 4) > 2


def test_windows_of_more_than_a_lap_have_six_runs():
    assert runs(windows(4, 8, laps=3)).max() == 6


def test_distinct_counts_on_the_last_axis():
    assert distinct(np.array([[3, 1, 3], [2, 2, 2]])).tolist() == [2, 1]


# ----------------------------------------------------------------------------------------- tails


def test_on_a_flat_vector_of_ragged_laps_the_bound_of_v2_is_not_v():
    x = np.ones(3, dtype=int)
    assert set(conditional(u.fold_cells(3, 2), x, x).tolist()) == {4}
    bound = bound_of_spread(x, x, 2)
    assert Fraction(3199, 100) < bound**2 < 32  # 4 sqrt(2), from below


def test_on_flat_vectors_whose_products_have_both_signs_the_bound_of_v2_is_not_v():
    x, y = np.array([1, 1]), np.array([1, -1])
    assert conditional(u.fold_cells(2, 1), x, y).tolist() == [0]
    assert bound_of_spread(x, y, 1) == 4


def test_the_fourth_moment_of_golay_signs_exceeds_15():
    sums = 24 - 2 * golay().sum(axis=1)
    values, ways = np.unique(sums**2 - 24, return_counts=True)
    law = Chaos(24, tuple(values.tolist()), tuple(ways.tolist()), Fraction(23**2))
    assert ways.tolist() == [2576, 1518, 2]
    assert law.spread == flat(24).spread
    # Each of the 759 words of weight 8 is 8!/2^4 = 2520 ordered products of four pairs, each counted twice.
    assert law.moment(4) == flat(24).moment(4) + 759 * 2520 * 2**4
    assert law.moment(4) > 38 * law.spread**2


def test_moments_of_the_dominating_square_are_those_of_chi_square():
    assert [normal_moment(k) for k in range(2, 7)] == [2, 8, 60, 544, 6040]


def test_the_law_of_a_cell_is_that_of_its_signs():
    found = {law.energies: law for law in laws(2, (1, 2), norms=True) if law.spread}
    assert {b: law.values for b, law in found.items()} == {(2,): (-2, 2), (5,): (-4, 4), (8,): (-8, 8)}
    assert all(law.ways == (1, 1) and law.reach == Fraction(b * b, 4) for (b,), law in found.items())


def test_the_sub_gamma_tail_is_below_the_chi_square_form_on_a_flat_vector():
    law, exponent = flat(8), Fraction(3)
    inside = [t for t in range(1, 57) if gamma_allows(law, t, exponent)]
    assert inside == list(range(1, len(inside) + 1))
    assert len(inside) < sum(chi_allows(law, t, exponent) for t in range(1, 100))


def test_the_lower_tail_is_sharper_by_up_to_three_on_spikes():
    spike = Chaos(2, (-1, 1), (1, 1), Fraction(0), (10, 1))
    assert below_allows(spike, 14, Fraction(1))
    assert not below_allows(spike, 15, Fraction(1))  # 15^2 > 2 (101 + 1), although 15^2 < 6 * 101


# ---------------------------------------------------------------------------------------- optimum


def test_dependent_signs_move_the_worst_case_but_do_not_lower_it():
    fold = u.fold(4, 2)
    kept = fold.signs.prod(axis=1) == -1
    universe = u.Universe(2, fold.cells[kept], fold.signs[kept], fold.weights[kept])
    variance = variance_form(universe)
    assert evaluate(variance, [1] * 4, [1] * 4) == 0
    turned = [1, 1, 1, -1]
    assert evaluate(variance, turned, turned) / 16 == 1 > worst_bound(4, 2)


# ------------------------------------------------------------------------------------------- cost


def test_each_way_of_reading_moves_its_own_number_of_words():
    layer = Layer([0, 1, 1, 0], [1, -1, 1, 1], [5, 7], 2)
    moved = {
        way.__name__: (run(layer, way).read, run(layer, way).written)
        for way in (expand_first, fused, streamed)
    }
    assert moved == {"expand_first": (6, 4), "fused": (2, 0), "streamed": (4, 0)}


# ------------------------------------------------------------------------------------------ tools


def test_choosing_a_variable_best_leaves_the_schur_complement():
    form = fractions(np.array([[5, 2], [2, 4]]), Fraction(1))
    assert least(form, 1).tolist() == [[4]]


def test_a_variable_that_does_not_matter_is_left_out():
    form = fractions(np.array([[5, 0], [0, 0]]), Fraction(1))
    assert least(form, 1).tolist() == [[5]]


def test_the_residual_of_a_full_design_is_zero():
    assert not residual(diagonal([2, 3]), diagonal([1, 5])).any()


def test_ridge_in_one_dimension_is_the_parallel_sum():
    assert ridge(diagonal([1]), diagonal([3])).tolist() == [[Fraction(3, 4)]]


def test_ways_to_share_cells_are_counted_by_bell_numbers():
    assert [sum(1 for _ in groupings(n, n)) for n in range(1, 6)] == [1, 2, 5, 15, 52]


@pytest.mark.parametrize("n", range(1, 9))
def test_pairwise_signs_are_uncorrelated_by_two_and_no_more(n):
    signs = pairwise_signs(n)
    assert (signs.T @ signs == len(signs) * np.eye(n)).all()
    assert n < 3 or (signs[:, 0] * signs[:, 1] == signs[:, 2]).all()


def test_logarithms_are_enclosed_to_20_digits():
    digits = Fraction(1, 10**20)
    two, ten = Fraction("0.693147180559945309417232121459"), Fraction("2.302585092994045684017991454685")
    assert two - digits < log_below(Fraction(2)) < two
    assert ten - digits < log_below(Fraction(10)) < ten
    assert log_below(Fraction(1)) == 0


def test_roots_and_exponentials_stay_below():
    root = root_below(Fraction(2))
    assert root**2 < 2 < (root + Fraction(1, 10**23)) ** 2
    assert root_below(Fraction(9, 4)) == Fraction(3, 2)
    e = Fraction("2.718281828459045235360287471353")
    assert e - Fraction(1, 10**20) < E_BELOW < e
    assert e - Fraction(1, 10**20) < exp_below(Fraction(1)) < e
