"""The room where shipped code meets enumeration: its instruments, and that it notices a changed hash."""

from fractions import Fraction
from itertools import islice

import numpy as np
import pytest

from proofs_checks.agreement import cases, hash_wiring, over_data, stability, tails
from proofs_checks.check import Disproved, Level
from proofs_checks.polynomials import lattice
from proofs_checks.universes import all_signs, block_cells, fold, joint, keep_bernoulli
from rpstheory import tails as shipped
from rpstheory.mappings import Hashed

# ------------------------------------------------------------------------------------- cases


def test_tiles_are_laid_row_by_row():
    assert cases.tile_cells((2, 3), (2, 2), 4)[0].tolist() == [0, 1, 0, 2, 3, 2]


def test_every_tile_has_a_start_of_its_own():
    cells = cases.tile_cells((2, 3), (2, 2), 5)
    assert cells[:, [0, 2]].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert (cells - cells[:, [0, 0, 2, 0, 0, 2]]).tolist() == [[0, 1, 0, 2, 3, 2]] * 4


@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
def test_tiles_of_one_row_or_column_are_blocks(shape):
    tile = (min(shape[0], 2), min(shape[1], 2))
    assert (cases.tile_cells(shape, tile, 4) == block_cells(5, 4, 2)).all()


def test_signed_points_have_every_choice_of_signs_but_the_first():
    points = cases.signed(np.array([[2, 0, 0], [1, 0, 1], [0, 1, 1]])).tolist()
    expected = [[2, 0, 0], [1, 0, 1], [1, 0, -1], [0, 1, 1], [0, 1, -1], [0, -1, 1], [0, -1, -1]]
    assert sorted(points) == sorted(expected)


@pytest.mark.parametrize("universe", [fold(3, 2), keep_bernoulli(3, 2)])
def test_variance_is_the_same_in_64_bits_and_in_python_integers(universe):
    x, y = cases.signed(lattice(3, 2)), cases.alternating(lattice(3, 2))
    big = cases.variance_at(universe, x.astype(object) * 2**60, y.astype(object))
    assert (big == 2**120 * cases.variance_at(universe, x, y)).all()
    assert (cases.norm_variance_at(universe, x) == cases.variance_at(universe, x, x).diagonal()).all()


def test_rounding_bounds_a_sum_of_rounded_terms():
    terms = [Fraction(1, 10), Fraction(-1, 3), Fraction(1, 7)] * 100
    gap = abs(Fraction(sum(map(float, terms))) - sum(terms))
    assert 0 < gap <= cases.rounding(len(terms)) * sum(map(abs, terms))


# -------------------------------------------------------------------------------------- hash


def test_splitmix_gives_its_published_values():
    found = list(islice(hash_wiring.splitmix(1234567), 3))
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_edges_lie_on_both_sides_of_the_field():
    field, last = hash_wiring.P, 2**60 - 1
    assert {field - 1, field, 16 * field - 1, 16 * field, last} <= set(hash_wiring.edges(2**60))
    assert hash_wiring.edges(2) == [0, 1]


@pytest.mark.parametrize(
    ("home", "wrong"),
    [
        ("rpstheory.mappings.sharing.START_STREAM", 0),
        ("rpstheory.hashing.COEFFICIENTS", 17),
        ("rpstheory.hashing.NARROW", 2**19),
        ("rpstheory.hashing.GOLDEN", 0x9E3779B97F4A7C13),
        ("rpstheory.hashing.narrow_range", lambda value, size: value % size),
    ],
)
def test_another_way_to_read_the_hash_is_noticed_in_the_cells(monkeypatch, home, wrong):
    monkeypatch.setattr(home, wrong)
    with pytest.raises(Disproved, match=r"weight \d+: \{\d+\}, not \d+"):
        hash_wiring.cells(Level.QUICK, hash_wiring.FEW)


@pytest.mark.parametrize(
    ("home", "wrong"),
    [
        ("rpstheory.hashing.SIGN_STREAM", 1),
        ("rpstheory.hashing.SIGNS_PER_WORD", 8),
        ("rpstheory.hashing.field_values", lambda c, position: hash_wiring.P // 2),
    ],
)
def test_another_way_to_read_the_hash_is_noticed_in_the_signs(monkeypatch, home, wrong):
    monkeypatch.setattr(home, wrong)
    with pytest.raises(Disproved, match=r"weight \d+: \{-?1\}, not -?1"):
        hash_wiring.signs(Level.QUICK)


# -------------------------------------------------------------------------------------- data


@pytest.mark.parametrize("kurtosis", over_data.KURTOSIS.values(), ids=over_data.KURTOSIS)
def test_the_law_on_three_points_has_variance_one_and_this_fourth_moment(kurtosis):
    x, copy, ways = over_data.copies(1, over_data.standard(kurtosis))
    second, fourth, mixed = (
        Fraction(int(powers[:, 0] @ ways), int(ways.sum())) for powers in (x**2, x**4, x**2 * copy**2)
    )
    assert (kurtosis * second, kurtosis**2 * fourth, kurtosis**2 * mixed) == (1, kurtosis, 1)


def test_correlated_moments_are_those_of_the_pairs_themselves():
    x, copy, ways = over_data.copies(2, over_data.standard(Fraction(9, 5)))
    listed = over_data.moments(5 * x, 3 * x + 4 * copy, ways) / 5**4
    assert (listed == over_data.correlated(Fraction(3, 5), x, copy, ways)).all()


def test_a_random_order_averages_over_all_orders():
    one = np.ones(1, dtype=np.int64)
    tensor = over_data.in_any_order(over_data.moments(np.array([[1, 2]]), np.array([[3, 5]]), one))
    assert tensor[0, 0, 0, 0] == Fraction(9 + 100, 2)
    assert tensor[0, 1, 0, 1] == Fraction(25 + 36, 2)


# --------------------------------------------------------------------------------- stability


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("mu", stability.MOMENTA)
def test_what_settles_tends_to_zero_and_what_turns_comes_back_for_ever(mu, nesterov):
    end = 2 * (1 + mu) / (1 + 2 * mu) if nesterov else 2 * (1 + mu)
    assert stability.turns(end, mu, nesterov)
    assert not stability.settles(end, mu, nesterov)
    assert after(2, -1, end, mu, nesterov) == 1
    assert stability.settles(end / 2, mu, nesterov)
    assert abs(after(200, 1, end / 2, mu, nesterov)) < Fraction(1, 1000)


def after(steps, previous, rate, mu, nesterov):
    """Position after so many steps from 1."""
    position, previous = Fraction(1), Fraction(previous)
    for _ in range(steps):
        position, previous = stability.step(position, previous, rate, mu, nesterov), position
    return position


def test_gradient_descent_lowers_the_loss_up_to_two_over_the_curvature():
    assert stability.falls(Fraction(2), Fraction(1), Fraction(0))
    assert not stability.falls(Fraction(2001, 1000), Fraction(1), Fraction(0))


def test_divisors_are_one_where_no_weight_reads_a_cell():
    mapping = next(one for seed in range(100) if len(set((one := Hashed(2, 2, seed)).cell([0, 1]))) == 1)
    for scaler, divisor in (("gamma", 10), ("v1", 8), ("none", 1)):
        found = stability.divisors(mapping, [Fraction(1), Fraction(3)], scaler)
        assert (found[mapping.cell(0)], found[1 - mapping.cell(0)]) == (divisor, 1)


# ------------------------------------------------------------------------------------- tails


def test_two_weights_in_each_cell_give_the_law_of_a_sum_of_signs():
    law, cells = tails.apart(2), np.array([[0, 0, 1, 1]])
    universe = joint(cells, all_signs(4), 2)
    ones = np.ones((1, 4), dtype=np.int64)
    errors = (ones @ universe.forms @ ones.T).ravel() - 4
    assert [Fraction(int((errors == t).sum()), 16) for t in law.values] == [Fraction(w, 4) for w in law.ways]
    assert law.spread == cases.norm_variance_at(universe, ones)[0] == 4 * 2


def test_quantities_given_the_cells_are_those_of_the_definition():
    (found,) = tails.conditional(np.array([[0, 0, 1]]), np.array([1, -2, 3]), np.array([2, 1, 1]))
    assert found == (1 - 4 + 16 - 4, 5**2 + 9**2, 9, 5 * 5)


def test_a_bound_that_is_not_the_one_stated_is_noticed_though_no_probability_exceeds_it():
    law = tails.apart(20)
    t, chance = max(tails.tail(law, 1))
    tails.lower(shipped.norm_lower).require(law.mirrored, t, chance)
    with pytest.raises(Disproved, match="bound"):
        tails.lower(lambda b, t: shipped.norm_lower(b, t) * 2).require(law.mirrored, t, chance)
