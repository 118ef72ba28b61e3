"""The judge: what is confirmed, what is refuted, and what stays open."""

from dataclasses import FrozenInstanceError, replace
from math import inf, isnan, nan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpstheory.claim import Check, Setting, judge
from rpstheory.errors import ClaimRefuted, RpsError
from rpstheory.statistics import Design, Moments

DESIGN = Design(discrepancy=0.01, false_refute=1e-6, false_confirm=1e-3)
COUNT = 10_000
PREDICTIONS = st.floats(-1e6, 1e6).filter(lambda v: abs(v) > 1e-3)
SIGNS = st.sampled_from([-1, 1])


def no_sampler(first, count, backend):
    raise AssertionError("the judge draws nothing")


def check(predicted, relation="equals", **more):
    return Check("a check", no_sampler, predicted, relation, **more)


def measured(mean, error=0.0, count=COUNT):
    """Moments of a symmetric statistic with this mean and standard error."""
    return Moments(count, mean, error**2 * count * (count - 1), 0.0, mean - error, mean + error)


def status(a_check, moments, design=DESIGN):
    return judge("a-claim", a_check, moments, design, 1.0).status


# --------------------------------------------------------------------------------- equals


@given(PREDICTIONS, st.floats(-1, 1))
def test_true_equality_is_confirmed_when_both_limits_fit(predicted, where):
    allowed = check(predicted).allowed(DESIGN)
    limits = DESIGN.refute_limit() + DESIGN.confirm_limit()
    error = 0.999 * allowed / limits
    mean = predicted + where * DESIGN.refute_limit() * error
    assert status(check(predicted), measured(mean, error)) == "confirmed"


@given(PREDICTIONS, SIGNS, st.floats(1e-9, 10), st.floats(1, 100))
def test_equality_off_by_the_discrepancy_is_not_confirmed(predicted, side, error, times):
    allowed = check(predicted).allowed(DESIGN)
    mean = predicted + side * times * allowed
    assert status(check(predicted), measured(mean, error * allowed)) != "confirmed"


@given(PREDICTIONS, SIGNS, st.floats(1e-9, 1), st.floats(1.001, 100))
def test_equality_far_off_on_either_side_is_refuted(predicted, side, error, times):
    error *= abs(predicted)
    mean = predicted + side * times * (DESIGN.refute_limit() * error + 1e-9 * abs(predicted))
    assert status(check(predicted), measured(mean, error)) == "refuted"


@given(PREDICTIONS, st.floats(-0.99, 0.99))
def test_equality_is_inconclusive_with_too_few_draws(predicted, where):
    error = check(predicted).allowed(DESIGN)
    mean = predicted + where * DESIGN.refute_limit() * error
    assert status(check(predicted), measured(mean, error)) == "inconclusive"


@given(PREDICTIONS)
def test_equality_without_randomness_is_confirmed_exactly_and_refuted_at_once(predicted):
    assert status(check(predicted), measured(predicted)) == "confirmed"
    for other in (predicted * 1.001, predicted * 0.999, -predicted):
        assert status(check(predicted), measured(other)) == "refuted"


@given(st.integers(2, 10**6), st.floats(0.01, 0.5))
def test_skewed_statistic_gets_wider_limits(count, error):
    plain = measured(1.0, error / sqrt(count), count)
    skewed = replace(plain, cubes=3 * plain.squares**1.5 / sqrt(count))
    narrow, wide = (judge("a", check(1.0), m, DESIGN, 0.0).interval for m in (plain, skewed))
    assert wide[0] < narrow[0] < 1 < narrow[1] < wide[1]


def test_frequency_of_an_event_that_did_not_come_up_is_refuted_only_after_enough_draws():
    # (1 - 0.01)^N falls below 1e-6 between N = 1374 and 1375; -log(1e-6) / 0.01 = 1381.6.
    for nothing in (0.0, 1.0):
        predicted = abs(nothing - 0.01)
        assert status(check(predicted), measured(nothing, count=1000)) == "inconclusive"
        assert status(check(predicted), measured(nothing, count=1400)) == "refuted"


# -------------------------------------------------------------------------------- at most


@given(PREDICTIONS, st.floats(1e-6, 1), st.floats(0, 1e3))
def test_bound_is_confirmed_from_any_distance_below(bound, error, below):
    error *= abs(bound)
    mean = bound - below * abs(bound) - DESIGN.confirm_limit() * error
    assert status(check(bound, "at most"), measured(mean, error)) == "confirmed"


@given(PREDICTIONS, st.floats(1e-6, 1), st.floats(1.001, 100))
def test_bound_is_refuted_from_above(bound, error, times):
    error *= abs(bound)
    mean = bound + times * (DESIGN.refute_limit() * error + 1e-9 * abs(bound))
    assert status(check(bound, "at most"), measured(mean, error)) == "refuted"


@given(PREDICTIONS, st.floats(1e-9, 10), st.floats(1, 100))
def test_bound_exceeded_by_the_discrepancy_is_not_confirmed(bound, error, times):
    allowed = check(bound, "at most").allowed(DESIGN)
    mean = bound + times * allowed
    assert status(check(bound, "at most"), measured(mean, error * allowed)) != "confirmed"


def frequency(hits, count):
    return Moments.of(np.repeat([1.0, 0.0], [hits, count - hits]))


def test_indicator_is_judged_by_exact_binomial_tails():
    bound = check(0.01, "at most", indicator=True)
    # P(no hit in N at 0.0101) is 1e-3 at N = 680.5; P(>= 1 hit in 10 at 0.01) is far above 1e-6.
    assert status(bound, frequency(0, 680)) == "inconclusive"
    assert status(bound, frequency(0, 681)) == "confirmed"
    assert status(bound, frequency(1, 10)) == "inconclusive"
    assert status(bound, frequency(10, 10)) == "refuted"
    assert status(bound, frequency(100, 1000)) == "refuted"
    assert status(bound, frequency(200, 100_000)) == "confirmed"


def test_indicator_of_a_vacuous_bound_is_never_refuted():
    bound = check(1.0, "at most", indicator=True)
    for hits in (0, 500, 1000):
        assert status(bound, frequency(hits, 1000)) != "refuted"


# --------------------------------------------------------------------------------- always


@given(st.integers(0, 5), st.integers(1, 10**6))
def test_statement_about_every_draw_is_refuted_by_one_violation(violations, count):
    found = Moments(count + violations, violations / (count + violations), 1.0 * violations)
    found = replace(found, low=0.0, high=float(violations > 0))
    wanted = "refuted" if violations else "confirmed"
    assert status(check(0.0, "always"), found) == wanted


def test_statement_about_every_draw_has_no_false_refutation():
    verdict = judge("a", check(0.0, "always"), Moments.of(np.zeros(700)), DESIGN, 1.0)
    assert verdict.false_refute == 0.0
    assert verdict.false_confirm == DESIGN.false_confirm
    assert verdict.discrepancy == DESIGN.discrepancy


# -------------------------------------------------------------------------------- outside


@given(PREDICTIONS, PREDICTIONS, st.floats(-0.5, 0.5))
def test_failure_outside_the_scope_is_confirmed_when_it_excludes_what_is_claimed(predicted, claimed, where):
    outside = check(predicted, scope="outside", claimed=claimed)
    allowed = outside.allowed(DESIGN)
    if allowed <= 1e-7 * max(abs(predicted), abs(claimed)):
        return
    error = 0.99 * allowed / (DESIGN.refute_limit() + DESIGN.confirm_limit())
    mean = predicted + where * DESIGN.refute_limit() * error
    assert status(outside, measured(mean, error)) == "confirmed"


@given(PREDICTIONS, SIGNS, st.floats(1e-3, 10), st.floats(1e-6, 10))
def test_failure_outside_the_scope_is_not_confirmed_where_the_claim_holds(predicted, side, gap, error):
    claimed = predicted + side * gap * abs(predicted)
    outside = check(predicted, scope="outside", claimed=claimed)
    # Measured where the claim says, with any error: never counted as its failure.
    found = measured(claimed, error * outside.allowed(DESIGN))
    assert status(outside, found) != "confirmed"


def test_failure_outside_the_scope_needs_the_claimed_value_beyond_the_refute_limit():
    outside = check(1.0, scope="outside", claimed=1.1, scale=100.0)
    assert outside.allowed(DESIGN) == pytest.approx(0.05)
    error = 0.05 / (DESIGN.refute_limit() + DESIGN.confirm_limit())
    assert status(outside, measured(1.0, error)) == "confirmed"
    wide = Design(discrepancy=0.01, false_refute=1e-300, false_confirm=0.4)
    assert status(outside, measured(1.0, 0.01), wide) == "inconclusive"


@given(PREDICTIONS, PREDICTIONS, st.floats(0.1, 10))
def test_allowed_discrepancy_is_relative_to_the_scale_and_at_most_half_the_gap(predicted, claimed, scale):
    assert check(predicted).allowed(DESIGN) == DESIGN.discrepancy * abs(predicted)
    assert check(predicted, scale=scale).allowed(DESIGN) == DESIGN.discrepancy * scale
    found = check(predicted, scale=scale, claimed=claimed).allowed(DESIGN)
    assert found == min(DESIGN.discrepancy * scale, abs(predicted - claimed) / 2)


# -------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize("bad", [nan, inf, -inf])
@pytest.mark.parametrize("relation", ["equals", "at most", "always"])
@pytest.mark.parametrize("indicator", [False, True])
def test_values_that_are_not_finite_confirm_nothing(bad, relation, indicator):
    with np.errstate(invalid="ignore"):
        found = Moments.of([0.0, bad, 0.0]).merge(Moments.of([0.0]))
    doubtful = check(0.5, relation, indicator=indicator)
    assert status(doubtful, found) == "inconclusive"


def test_verdict_repeats_the_check_and_the_design():
    outside = check(2.0, scope="outside", claimed=3.0, condition="n < m")
    verdict = judge("a-claim", outside, measured(2.5, 0.1), DESIGN, 7.0)
    assert (verdict.claim, verdict.check, verdict.relation) == ("a-claim", "a check", "equals")
    assert (verdict.scope, verdict.condition, verdict.claimed) == ("outside", "n < m", 3.0)
    assert (verdict.predicted, verdict.measured, verdict.draws) == (2.0, 2.5, COUNT)
    assert (verdict.false_refute, verdict.false_confirm) == (1e-6, 1e-3)
    limit = DESIGN.confirm_limit(0.0, COUNT)
    assert verdict.interval == pytest.approx((2.5 - 0.1 * limit, 2.5 + 0.1 * limit))


def test_verdicts_are_equal_whatever_time_they_took_and_cannot_be_changed():
    one, two = (judge("a", check(1.0), measured(1.0), DESIGN, s) for s in (1.0, 2.0))
    assert one == two
    with pytest.raises(FrozenInstanceError):
        one.status = "refuted"


def test_refutation_carries_its_verdict_and_says_both_numbers():
    verdict = judge("a-claim", check(1.12), measured(1.31, 0.001), DESIGN, 1.0)
    with pytest.raises(
        ClaimRefuted, match=r"^claim a-claim refuted by a check: measured 1.31, predicted 1.12; the"
    ) as caught:
        raise ClaimRefuted(verdict)
    assert caught.value.verdict is verdict
    assert isinstance(caught.value, RpsError)


# ------------------------------------------------------------------- error rates, fixed seeds


def rates(truth, predicted, design, count):
    """Share of 2000 experiments on squares of normals, mean ``truth``, that end in each status."""
    random = np.random.Generator(np.random.Philox(key=23))
    values = truth * random.standard_normal((2000, count)) ** 2
    found = [status(check(predicted), Moments.of(row), design) for row in values]
    return {s: found.count(s) for s in ("confirmed", "refuted", "inconclusive")}


def test_judge_keeps_both_designed_error_rates_on_a_skewed_statistic():
    # Squares of normals: deviation sqrt(2), skewness sqrt(8). 2000 experiments at 2 %: 40 + 6 sqrt(40)
    # are exceeded with chance 1e-8.
    design, most = Design(0.2, false_refute=0.02, false_confirm=0.02), 40 + 6 * sqrt(40)
    count = design.draws(sqrt(2), sqrt(8), design.discrepancy)
    true = rates(1.0, 1.0, design, count)
    assert true["refuted"] <= most
    assert true["confirmed"] >= 2000 - 2 * most
    for truth in (0.8, 1.2):
        assert rates(truth, 1.0, design, count)["confirmed"] <= most


# -------------------------------------------------------------------------------- settings


@given(
    st.integers(1, 200),
    st.lists(st.floats(1, 500), min_size=1, max_size=4),
)
def test_setting_turns_compressions_into_budgets_and_divisors(n, compressions):
    setting = Setting("none", np.zeros((2, n)), (), tuple(compressions))
    assert len(set(setting.budgets)) == len(setting.budgets)
    assert set(setting.budgets) == {max(1, round(n / c)) for c in compressions}
    for divisor in setting.divisors:
        assert n % divisor == 0
        assert divisor < n or n == 1


def test_check_keeps_nan_out_of_confirmations_even_as_a_prediction():
    assert isnan(check(nan).allowed(DESIGN))
    assert status(check(nan), measured(1.0, 0.1)) == "inconclusive"


def test_mean_is_not_refuted_before_the_rarest_event_was_seen():
    class Rare:
        cost, rarest = 1.0, 1e-4

    wrong = Check("rare", Rare(), 1.0)
    needed = wrong.draws_to_see(DESIGN)
    assert (1 - 1e-4) ** needed <= DESIGN.false_refute < (1 - 1e-4) ** (0.999 * needed)
    few, many = (Moments(count, 2.0, count * 1e-4, 0.0, 1.9, 2.1) for count in (needed - 1, needed))
    assert [judge("a", wrong, m, DESIGN, 0.0).status for m in (few, many)] == ["inconclusive", "refuted"]
    bound = Check("rare", Rare(), 1.0, "at most")
    assert judge("a", bound, few, DESIGN, 0.0).status == "refuted"
