"""Streaming moments against exact ones, and designs against what they promise."""

from fractions import Fraction
from itertools import pairwise
from math import inf, log, nan, sqrt
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from rpstheory.errors import ArgumentError
from rpstheory.statistics import LEAST_DRAWS, Design, Moments, merge_all

WHOLE = st.integers(-(2**20), 2**20)
RATES = st.floats(1e-12, 0.1)
DESIGNS = st.builds(Design, st.floats(1e-3, 0.5), RATES, RATES)
POSITIVE = st.floats(1e-6, 1e6)


def exact(values):
    """Mean, sums of squared and cubed deviations, in Fractions."""
    mean = Fraction(sum(values), len(values))
    return mean, sum((v - mean) ** 2 for v in values), sum((v - mean) ** 3 for v in values)


def close_to_exact(moments, values):
    """Whether the moments are those of the values, up to a rounding per value and per power."""
    mean, squares, cubes = exact(values)
    scale = max(1, *map(abs, values))
    unit = 2.0**-52 * 16 * len(values)
    return (
        moments.count == len(values)
        and abs(Fraction(moments.mean) - mean) <= unit * scale
        and abs(Fraction(moments.squares) - squares) <= unit * len(values) * scale**2
        and abs(Fraction(moments.cubes) - cubes) <= unit * len(values) * 8 * scale**3
        and (moments.low, moments.high) == (min(values), max(values))
    )


# ---------------------------------------------------------------------------------- moments


@given(st.lists(WHOLE, min_size=1, max_size=50))
def test_moments_of_an_array_equal_exact_ones(values):
    assert close_to_exact(Moments.of(values), values)


@given(st.lists(st.lists(WHOLE, max_size=20), min_size=1, max_size=8).filter(any))
def test_merged_moments_equal_those_of_one_pass(parts):
    together = [v for part in parts for v in part]
    assert close_to_exact(merge_all(Moments.of(part) for part in parts), together)


@given(st.lists(WHOLE, min_size=1, max_size=8), st.integers(0, 3))
def test_merged_moments_of_equal_halves_are_exact(values, doublings):
    # Powers of two of small even numbers: every quotient is a short binary fraction.
    values = [v % 64 * 2**10 for v in values]
    once = Moments.of(np.resize(values, 8))
    moments, many = once, list(np.resize(values, 8))
    for _ in range(doublings):
        moments, many = moments.merge(moments), many * 2
    mean, squares, cubes = exact([int(v) for v in many])
    assert (moments.mean, moments.squares, moments.cubes) == (mean, squares, cubes)


@given(st.lists(WHOLE, min_size=1, max_size=20))
def test_merging_with_nothing_changes_nothing(values):
    moments = Moments.of(values)
    assert moments.merge(Moments()) == moments == Moments().merge(moments)
    assert merge_all([Moments(), moments, Moments.of([])]) == moments
    assert merge_all([]) == Moments()


@given(st.lists(WHOLE, min_size=2, max_size=40))
def test_deviation_and_skewness_equal_those_of_the_sample(values):
    moments = Moments.of(values)
    assert moments.deviation == pytest.approx(np.std(values, ddof=1), rel=1e-9, abs=1e-9)
    assert moments.standard_error == pytest.approx(moments.deviation / sqrt(len(values)))
    if moments.squares > 1e-3:
        centred = np.array(values) - np.mean(values)
        skewness = (centred**3).mean() / (centred**2).mean() ** 1.5
        assert moments.skewness == pytest.approx(skewness, rel=1e-6, abs=1e-6)


def test_moments_of_few_or_equal_values_have_no_deviation_or_skewness():
    assert Moments.of([5.0]).deviation == Moments.of([5.0] * 9).deviation == 0.0
    assert Moments.of([5.0]).skewness == Moments.of([5.0] * 9).skewness == Moments().skewness == 0.0
    assert Moments().standard_error == inf


def test_skewness_is_that_of_the_sample_where_powers_of_its_squares_leave_the_floats():
    values = np.tile([1.0, 2.0, 3.0, 6.0], 1024)
    assert Moments.of(2.0**335 * values).skewness == Moments.of(values).skewness
    assert Moments.of(2.0**-362 * values).skewness == 0.0  # its cubes are 0, its squares are not
    assert Moments(1, 0.0).merge(Moments(2, 1e120)).skewness == -inf


def test_moments_far_from_zero_do_not_cancel():
    values = [10**9 + v for v in (1, 2, 3, 6)]
    assert Moments.of(values).squares == 14.0
    assert merge_all(Moments.of([v]) for v in values).squares == 14.0


@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_a_value_that_is_not_finite_stays_visible_in_the_mean(bad):
    with np.errstate(invalid="ignore"):
        parts = [Moments.of([1.0, 2.0]), Moments.of([bad]), Moments.of([3.0])]
    assert not np.isfinite(merge_all(parts).mean)


# ---------------------------------------------------------------------------------- designs


@given(DESIGNS)
def test_limits_have_the_designed_tails_two_sided_and_one_sided(design):
    normal = NormalDist()
    assert 2 * normal.cdf(-design.refute_limit()) == pytest.approx(design.false_refute, rel=1e-6)
    assert normal.cdf(-design.confirm_limit()) == pytest.approx(design.false_confirm, rel=1e-6)


@given(DESIGNS, st.integers(LEAST_DRAWS, 10**9))
def test_limits_are_those_of_student_at_any_number_of_draws_that_is_judged(design, count):
    refute, confirm = design.refute_limit(0.0, count), design.confirm_limit(0.0, count)
    exact = student.isf(design.false_refute / 2, count - 1), student.isf(design.false_confirm, count - 1)
    # The expansion goes on with (5 z^5 + 16 z^3) / (96 N^2), and N - 1 for N: below 1.2e-3 for z < 7.2.
    assert (refute, confirm) == pytest.approx(exact, abs=1.2e-3)


@given(DESIGNS, POSITIVE, st.floats(-50, 50), POSITIVE)
def test_no_mean_is_judged_on_a_few_draws(design, deviation, skewness, allowed):
    assert design.draws(deviation, skewness, allowed) >= LEAST_DRAWS


def test_refute_limit_of_one_in_a_million_is_4_9_standard_errors():
    assert round(Design().refute_limit(), 1) == 4.9


@given(DESIGNS, st.floats(-1e3, 1e3), st.integers(1, 2**40))
def test_limits_widen_with_skewness_of_either_sign_and_narrow_with_draws(design, skewness, count):
    for limit in (design.refute_limit, design.confirm_limit):
        assert limit(skewness, count) == limit(-skewness, count) >= limit(0.0, count) > limit()
        assert limit(skewness, count) >= limit(skewness, 4 * count) >= limit()


@given(DESIGNS, POSITIVE, st.floats(-50, 50), POSITIVE)
def test_draws_make_both_limits_fit_into_what_is_allowed(design, deviation, skewness, allowed):
    draws = design.draws(deviation, skewness, allowed)
    limits = design.refute_limit(skewness, draws) + design.confirm_limit(skewness, draws)
    assert limits * deviation / sqrt(draws) <= allowed


@given(DESIGNS, POSITIVE, st.floats(-50, 50), POSITIVE, st.floats(1, 10))
def test_draws_grow_with_deviation_and_skewness_and_fall_with_what_is_allowed(
    design, deviation, skewness, allowed, factor
):
    draws = design.draws(deviation, skewness, allowed)
    assert design.draws(deviation * factor, skewness, allowed) >= draws
    assert design.draws(deviation, skewness * factor, allowed) >= draws
    assert design.draws(deviation, -skewness, allowed) == draws
    assert design.draws(deviation, skewness, allowed * factor) <= draws


@given(st.floats(1e-3, 0.5), POSITIVE, POSITIVE, st.lists(RATES, min_size=2, max_size=2))
def test_draws_grow_as_either_error_rate_falls(discrepancy, deviation, allowed, rates):
    low, high = sorted(rates)
    for strict, loose in (
        (Design(discrepancy, low, 1e-3), Design(discrepancy, high, 1e-3)),
        (Design(discrepancy, 1e-3, low), Design(discrepancy, 1e-3, high)),
    ):
        assert strict.draws(deviation, 1.0, allowed) >= loose.draws(deviation, 1.0, allowed)


@given(DESIGNS)
def test_draws_of_violations_are_the_fewest_that_show_one(design):
    draws, share = design.draws_of_violations(), min(design.discrepancy, 0.5)
    unseen = [count * np.log1p(-share) for count in (draws, draws - 1)]
    assert unseen[0] <= log(design.false_confirm) * (1 - 1e-9)
    assert unseen[1] >= log(design.false_confirm) * (1 + 1e-9)
    assert design.draws(0.0, 0.0, 0.0) == max(LEAST_DRAWS, draws)


@given(DESIGNS, st.integers(1, 10**6))
def test_limits_without_events_leave_none_with_the_designed_chance(design, count):
    rates = (design.false_refute, design.false_confirm)
    for limit, rate in zip(design.limits_without_events(count), rates, strict=True):
        if limit < 1:
            assert count * np.log1p(-limit) <= log(rate)


@pytest.mark.parametrize("allowed", [0.0, -1.0, nan])
def test_draws_refuse_to_catch_nothing(allowed):
    with pytest.raises(ArgumentError, match="design: a discrepancy of .* needs a scale of its own"):
        Design().draws(1.0, 0.0, allowed)


def test_draws_of_an_immeasurable_statistic_are_more_than_anybody_makes():
    assert Design().draws(1e300, 0.0, 1e-300) == 2**62


def simulated(skewed, count, experiments):
    """Studentised means and skewness of many experiments with known mean 0, fixed seed."""
    random = np.random.Generator(np.random.Philox(key=17))
    values = random.standard_exponential((experiments, count)) - 1
    values = values if skewed > 0 else -values
    return [Moments.of(row) for row in values]


@pytest.mark.parametrize("skewed", [-1, 1])
def test_a_true_mean_of_a_skewed_statistic_is_refuted_no_more_often_than_designed(skewed):
    # 4000 experiments at a rate of 1 %: more than 40 + 6 sqrt(40) would come up with chance 1e-8.
    design = Design(0.01, false_refute=0.01, false_confirm=0.01)
    many = simulated(skewed, 300, 4000)
    beyond = [m for m in many if abs(m.mean) > design.refute_limit(m.skewness, m.count) * m.standard_error]
    assert len(beyond) <= 40 + 6 * sqrt(40)


@pytest.mark.parametrize("skewed", [-1, 1])
def test_a_mean_off_by_the_discrepancy_is_confirmed_no_more_often_than_designed(skewed):
    design = Design(0.01, false_refute=0.01, false_confirm=0.01)
    many = simulated(skewed, 300, 4000)
    for side in (-1, 1):  # the truth lies at the edge of prediction ± discrepancy, on either side
        inside = [
            m
            for m in many
            if side * m.mean + design.confirm_limit(m.skewness, m.count) * m.standard_error <= 0
        ]
        assert len(inside) <= 40 + 6 * sqrt(40)


def test_limits_without_the_skewness_term_would_refute_true_means_too_often():
    design = Design(0.01, false_refute=0.01)
    beyond = [m for m in simulated(1, 50, 4000) if abs(m.mean) > design.refute_limit() * m.standard_error]
    assert len(beyond) > 40 + 6 * sqrt(40)


def test_more_draws_are_designed_for_smaller_discrepancies():
    draws = [Design(d).draws(1.0, 0.0, d) for d in (0.1, 0.05, 0.01, 0.001)]
    assert all(a < b for a, b in pairwise(draws))
