"""Bounds on tails are ordered as the theory says, and hold on every draw of small folds."""

from itertools import product
from math import e

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpstheory import Fold
from rpstheory.errors import ArgumentError, DataError, ShapeError
from rpstheory.mappings import Hashed
from rpstheory.tails import (
    bonami,
    chebyshev,
    every_draw,
    fourth_moment,
    hanson_wright,
    norm_lower,
    norm_upper,
    sub_gamma,
)

POSITIVE = st.floats(1e-3, 1e3)
ENTRIES = st.lists(st.integers(-3, 3), min_size=6, max_size=6)


@given(POSITIVE, POSITIVE, POSITIVE)
def test_sub_gamma_is_never_above_hanson_wright(v2, spectral, t):
    assert sub_gamma(v2, spectral, t) <= hanson_wright(v2, spectral, t) * (1 + 1e-12)


@given(POSITIVE, POSITIVE)
def test_the_fourth_moment_beats_chebyshev_from_the_root_of_15_deviations_on(v2, t):
    if t * t > 15.001 * v2:
        assert fourth_moment(v2, t) < chebyshev(v2, t)


def test_bonami_begins_where_its_moments_do():
    assert bonami(4.0, 2 * e) == pytest.approx(np.exp(-2))
    assert bonami(4.0, 1.99 * e) == 1.0


@given(ENTRIES, ENTRIES)
def test_every_bound_holds_over_all_signs_of_every_rotation(x, y):
    """n = 6, m = 3, two laps: 3 relative rotations, 64 signs; events counted exactly."""
    x, y = np.array(x, float), np.array(y, float)
    every = every_draw(Fold(6, 3, 0), x, y)
    signs = np.array(list(product((-1, 1), repeat=6)))
    for shift in range(3):
        partner = 3 + (np.arange(3) + shift) % 3
        pairs = signs[:, :3] * signs[:, partner]
        error = pairs @ (x[:3] * y[partner] + x[partner] * y[:3])
        for t in (1.0, 3.0, 8.0, 20.0):
            share = (np.abs(error) >= t).mean()
            for bound in (
                chebyshev(every.v2, t),
                fourth_moment(every.v2, t),
                bonami(every.v2, t),
                hanson_wright(every.v2, every.spectral, t),
                sub_gamma(every.v2, every.spectral, t),
            ):
                assert share <= bound + 1e-12


@given(ENTRIES)
def test_norm_bounds_hold_over_all_signs_of_every_rotation(x):
    x = np.array(x, float)
    every = every_draw(Fold(6, 3, 0), x, x)
    signs = np.array(list(product((-1, 1), repeat=6)))
    for shift in range(3):
        partner = 3 + (np.arange(3) + shift) % 3
        error = 2 * (signs[:, :3] * signs[:, partner]) @ (x[:3] * x[partner])
        for t in (1.0, 3.0, 8.0, 20.0):
            assert (error >= t).mean() <= norm_upper(every.energy_squares, every.largest, t) + 1e-12
            assert (error <= -t).mean() <= norm_lower(every.energy_squares, t) + 1e-12


def test_nothing_is_beyond_nothing():
    zero = every_draw(Fold(6, 3, 0), np.zeros(6), np.zeros(6))
    assert (zero.v2, zero.largest, zero.spectral) == (0, 0, 0)
    for bound in (bonami(0.0, 1.0), hanson_wright(0.0, 0.0, 1.0), sub_gamma(0.0, 0.0, 1.0)):
        assert bound == 0


def test_the_spectral_bound_of_two_flat_weights_in_one_cell_is_twice_their_norm():
    """A = [[0, 1], [1, 0]] has norm 1 = (1 - 1/2)|x||y|; the bound leaves out the share of one weight."""
    assert every_draw(Fold(2, 1, 0), np.ones(2), np.ones(2)).spectral == 2.0


@pytest.mark.parametrize(
    ("bound", "count"),
    [
        (chebyshev, 2),
        (fourth_moment, 2),
        (bonami, 2),
        (hanson_wright, 3),
        (sub_gamma, 3),
        (norm_upper, 3),
        (norm_lower, 2),
    ],
)
def test_bounds_are_one_at_zero_and_take_finite_numbers_from_zero_on(bound, count):
    for size in (0.0, 1e-300, 1.0, 1e300):
        assert bound(*[size] * (count - 1), 0.0) == 1.0
        assert 0.0 <= bound(*[1.0] * (count - 1), size) <= 1.0
        assert 0.0 <= bound(*[size] * (count - 1), 1.0) <= 1.0
    for place, wrong in product(range(count), (-1.0, float("nan"), float("inf"))):
        numbers = [1.0] * count
        numbers[place] = wrong
        with pytest.raises(ArgumentError, match=f"^{bound.__name__}: .*={wrong} came; pass a finite number"):
            bound(*numbers)


def test_quantities_of_every_draw_scale_with_the_unit_to_the_last_bit():
    x, y, fold = np.arange(6) / 7, np.arange(6) - 2.2, Fold(6, 4, 0)
    one, other = every_draw(fold, x, y), every_draw(fold, np.ldexp(x, -600), np.ldexp(y, 500))
    assert (other.energy_squares, other.largest) == (0.0, 0.0)  # 2^-2400 and 2^-1200 are no floats
    assert (other.v2, other.spectral) == (np.ldexp(one.v2, -200), np.ldexp(one.spectral, -100))
    with pytest.raises(DataError, match="every_draw: the answer is too large for float64"):
        every_draw(fold, np.ldexp(x, 600), np.ldexp(y, -600))


@pytest.mark.parametrize(
    ("error", "x", "message"),
    [
        (ShapeError, [1, 2, 3], r"an array of shape \(3,\) came, the mapping has n=4"),
        (ShapeError, np.ones((2, 4)), r"an array of shape \(2, 4\) came; pass one row, \(4,\)"),
        (DataError, [1, 2, 3, float("nan")], "the data hold nan or inf"),
        (DataError, [10**400] * 4, "the data are too large for float64"),
    ],
)
def test_every_draw_refuses_what_is_no_row_of_numbers(error, x, message):
    for one, other in ((x, np.ones(4)), (np.ones(4), x)):
        with pytest.raises(error, match=f"^every_draw: {message}"):
            every_draw(Fold(4, 2, 0), one, other)


def test_every_draw_is_for_folds():
    with pytest.raises(ArgumentError, match="Hashed came"):
        every_draw(Hashed(4, 2, 0), np.ones(4), np.ones(4))
