"""Bounds on tails are ordered as the theory says, and hold on every draw of small folds."""

from itertools import product
from math import e

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpstheory import Fold
from rpstheory.errors import ArgumentError
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


def test_every_draw_is_for_folds():
    with pytest.raises(ArgumentError, match="Hashed came"):
        every_draw(Hashed(4, 2, 0), np.ones(4), np.ones(4))
