"""The calibration itself: exact chances against brute force, and a bad judge that it must not pass."""

import json
import subprocess
import sys
from fractions import Fraction
from math import comb
from pathlib import Path

import pytest

from proofs_checks.mutants.mutant import in_place
from proofs_checks.mutants.statistics import edgeworth_only
from proofs_checks.verdict_chances import (
    chances,
    event,
    frequency,
    most,
    worst_false_confirm,
    worst_false_refute,
)
from rpstheory.claim import judge
from rpstheory.statistics import Design, Moments

ROOT = Path(__file__).parents[2]
DESIGN = Design(0.2, 1e-3, 1e-3)
RATES = [1e-9, 1e-6, 1e-3, 0.05]
DRAWS = [1000, 4000]


@pytest.mark.parametrize(("hits", "draws"), [(0, 4), (1, 4), (3, 4), (4, 4)])
def test_moments_of_a_frequency_are_those_of_its_draws(hits, draws):
    assert frequency(hits, draws) == Moments.of([1.0] * hits + [0.0] * (draws - hits))


def test_chances_are_sums_of_binomial_ones():
    p, draws = Fraction(1, 3), 40
    check = event(0.4, 0.05, DESIGN)
    exact = dict.fromkeys(("confirmed", "refuted", "inconclusive"), Fraction(0))
    for hits in range(draws + 1):
        status = judge("", check, frequency(hits, draws), DESIGN, 0.0).status
        exact[status] += comb(draws, hits) * p**hits * (1 - p) ** (draws - hits)
    assert sum(exact.values()) == 1
    for status, chance in chances(check, float(p), draws, DESIGN).items():
        # 41 terms, each a difference of two cumulative chances that are right to a few roundings.
        assert abs(chance - float(exact[status])) < 41 * 2.0**-48


@pytest.mark.parametrize("draws", DRAWS)
@pytest.mark.parametrize("rate", RATES)
def test_true_frequency_is_refuted_no_more_often_than_designed(rate, draws):
    assert worst_false_refute(draws, Design(0.2, rate, rate)) <= most(rate, draws)


@pytest.mark.parametrize("draws", DRAWS)
@pytest.mark.parametrize("rate", RATES)
def test_frequency_off_by_the_discrepancy_is_confirmed_no_more_often_than_designed(rate, draws):
    assert worst_false_confirm(draws, Design(0.2, rate, rate)) <= most(rate, draws)


@pytest.mark.parametrize("draws", DRAWS)
def test_first_edgeworth_term_alone_would_break_both_rates(draws):
    rates = Design(0.2, 1e-9, 1e-3)
    with in_place("rpstheory.statistics:_studentised", edgeworth_only):
        assert worst_false_refute(draws, rates) > 2 * rates.false_refute
        assert worst_false_confirm(draws, rates) > 2 * rates.false_confirm


# --------------------------------------------------------------------------- benchmarks.calibration


def calibration(code):
    """What a process of its own prints, from the root, where benchmarks can be imported."""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=200
    )
    return result.returncode, result.stdout, result.stderr


def test_quick_calibration_passes_and_says_what_it_measured():
    code, printed, errors = calibration(
        "import sys; from benchmarks import calibration; "
        "sys.argv = ['calibration', '--quick', '--jobs', '1']; calibration.main()"
    )
    assert (code, errors) == (0, "")
    for word in ("40 seeds", "mean, fold on digits", "every draw", "truth above", "refuted though true"):
        assert word in printed
    assert printed.splitlines()[-1].startswith("calibrated")


def test_calibration_does_not_pass_a_judge_whose_limits_are_too_narrow():
    code, printed, _ = calibration(
        "import json; from benchmarks import calibration; "
        "from proofs_checks.mutants.mutant import in_place; "
        "from proofs_checks.mutants.statistics import half_limit\n"
        "with in_place('rpstheory.statistics:Design.confirm_limit', half_limit):\n"
        "    print(json.dumps(calibration.calibrate(12, 1, 'numba')))"
    )
    assert code == 0
    record = json.loads(printed)
    assert record["schema"] == "benchmarks.calibration/1"
    assert not record["passed"]
    assert [row["passed"] for row in record["computed"] if row["what"] == "confirmed though off"] == [
        False
    ] * 4


def test_record_of_too_few_seeds_is_not_written(tmp_path):
    code, _, errors = calibration(
        "import sys; from benchmarks import calibration; "
        f"sys.argv = ['calibration', '--quick', '--json', {str(tmp_path / 'few.json')!r}]; calibration.main()"
    )
    assert code == 2
    assert "a record needs at least 300 seeds, not 40" in errors
    assert not list(tmp_path.iterdir())
