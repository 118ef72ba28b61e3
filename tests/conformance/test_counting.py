"""The comparison of counts, against the binomial law in fractions."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest

from rpstheory.conformance.counting import MISSED, Counts, detectable, two_sided_tail

CHANCES = [Fraction(1, 2), Fraction(1, 3), Fraction(1, 16), Fraction(5, 7)]


def law(draws, chance):
    """Probability of each number of hits."""
    return [comb(draws, k) * chance**k * (1 - chance) ** (draws - k) for k in range(draws + 1)]


def counts(hits, totals, chance):
    places = [(k,) for k in range(len(hits))]
    return Counts(places, np.array(hits), np.array(totals), chance, "{hits} of {total}")


def accused(draws, chance, false_alarm):
    """Numbers of hits that the law excludes."""
    return [
        k
        for k in range(draws + 1)
        if counts([k], [draws], chance).first_wrong(False, false_alarm) is not None
    ]


@pytest.mark.parametrize("chance", [*CHANCES, Fraction(0), Fraction(1)])
@pytest.mark.parametrize("draws", [0, 1, 2, 7, 40])
def test_tail_equals_the_sum_of_the_binomial_law(draws, chance):
    exact = law(draws, chance)
    tails = two_sided_tail(np.arange(draws + 1), np.full(draws + 1, draws), float(chance))
    for k in range(draws + 1):
        wanted = 2 * min(sum(exact[: k + 1]), sum(exact[k:]))
        # The incomplete beta function is good to some hundred units in the last place.
        assert tails[k] == pytest.approx(float(wanted), rel=2.0**-40, abs=0)


@pytest.mark.parametrize("false_alarm", [0.5, 1e-2, 1e-6])
@pytest.mark.parametrize("chance", CHANCES)
@pytest.mark.parametrize("draws", [1, 10, 100])
def test_lawful_count_is_accused_no_more_often_than_designed(draws, chance, false_alarm):
    exact = law(draws, chance)
    assert sum(exact[k] for k in accused(draws, chance, false_alarm)) <= Fraction(false_alarm)


@pytest.mark.parametrize("false_alarm", [1e-2, 1e-6])
@pytest.mark.parametrize("chance", CHANCES)
@pytest.mark.parametrize("draws", [60, 150])
def test_detectable_deviation_is_detected_as_surely_as_stated(draws, chance, false_alarm):
    wrong = set(accused(draws, chance, false_alarm))
    deviation = Fraction(detectable(draws, false_alarm))
    for other in (chance - deviation, chance + deviation):
        if 0 <= other <= 1:
            missed = sum(p for k, p in enumerate(law(draws, other)) if k not in wrong)
            assert missed <= Fraction(MISSED)


def test_false_alarm_is_divided_among_the_counts():
    lone, tail = counts([10], [10], Fraction(1, 2)), 2.0**-9
    many = counts([10] + [5] * 9, [10] * 10, Fraction(1, 2))
    assert lone.first_wrong(False, 1.5 * tail) == 0
    assert many.first_wrong(False, 1.5 * tail) is None
    assert many.first_wrong(False, 15 * tail) == 0


def test_enumerated_count_is_wrong_by_a_single_draw():
    third = Fraction(1, 3)
    assert counts([4, 5], [12, 15], third).first_wrong(True, 1e-6) is None
    assert counts([4, 5], [12, 16], third).first_wrong(True, 1e-6) == 1


def test_counts_may_have_a_chance_each():
    chances = [Fraction(0), Fraction(1), Fraction(1, 2)]
    assert counts([0, 9, 5], [9, 9, 9], chances).first_wrong(False, 1e-6) is None
    assert counts([1, 9, 5], [9, 9, 9], chances).first_wrong(False, 1e-6) == 0
    assert counts([0, 8, 5], [9, 9, 9], chances).first_wrong(False, 1e-6) == 1


def test_deviation_is_that_of_the_rarest_count_that_came_up():
    few = counts([10, 0, 400], [40, 0, 1000], Fraction(1, 2))
    assert few.detectable(3e-6) == detectable(40, 1e-6)
    assert counts([0], [0], Fraction(1, 2)).detectable(1e-6) == 0


def test_words_name_hits_draws_and_what_the_law_asks():
    assert counts([3], [4], Fraction(1, 2)).words(0) == "3 of 4; the law asks for 1/2 of them"
