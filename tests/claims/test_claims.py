"""Every claim stands up to its checks, and its mutant does not."""

import pickle

import pytest

from rpstheory import verify
from rpstheory.claims import all_claims, select
from rpstheory.data import load_setting
from rpstheory.errors import ArgumentError, ClaimRefuted
from rpstheory.verification import QUICK_DISCREPANCY, require

CLAIMS = all_claims()
NAMES = [claim.name for claim in CLAIMS]


def test_all_twenty_claims_are_there_in_order():
    assert [claim.number for claim in CLAIMS] == list(range(1, 21))
    assert len(set(NAMES)) == 20


@pytest.mark.parametrize("name", NAMES)
def test_claim_is_confirmed_inside_and_fails_outside_its_scope(name):
    verdicts = verify([name], discrepancy=QUICK_DISCREPANCY)
    assert verdicts
    assert [v.check for v in verdicts if v.status != "confirmed"] == []


@pytest.mark.parametrize("name", NAMES)
def test_mutant_of_claim_is_refuted(name):
    verdicts = verify([name], discrepancy=QUICK_DISCREPANCY, mutants=True)
    assert [v.status for v in verdicts] == ["refuted"]


@pytest.mark.parametrize("claim", CLAIMS, ids=NAMES)
def test_claim_states_what_it_needs_and_where_it_comes_from(claim):
    for text in (claim.title, claim.statement, claim.formula, claim.source, claim.mutant):
        assert text.strip()
    assert claim.assumptions


@pytest.mark.parametrize("claim", CLAIMS, ids=NAMES)
def test_checks_of_a_claim_have_distinct_names_and_travel_to_workers(claim):
    checks = claim.checks(load_setting("digits"))
    names = [check.name for check in checks]
    assert len(set(names)) == len(names)
    for check in checks:
        pickle.loads(pickle.dumps(check.sampler))


@pytest.mark.parametrize("data", ["gaussian", "uniform", "student-t", "powerlaw"])
def test_variance_claim_is_confirmed_on_synthetic_data(data):
    verdicts = verify(["2"], data=data, discrepancy=0.2)
    assert {v.status for v in verdicts} == {"confirmed"}


@pytest.mark.parametrize("data", ["digits", "gaussian"])
def test_claims_are_confirmed_where_nothing_is_compressed(data):
    verdicts = verify(["1", "2", "3", "4"], data=data, compressions=[1], discrepancy=0.2)
    assert {v.status for v in verdicts} == {"confirmed"}


def test_verdicts_do_not_depend_on_the_number_of_workers():
    assert verify(["1"], discrepancy=0.2, jobs=1) == verify(["1"], discrepancy=0.2, jobs=2)


def test_verdicts_depend_on_the_seed():
    one, other = (verify(["3"], discrepancy=0.2, seed=s) for s in (0, 1))
    assert [v.measured for v in one] != [v.measured for v in other]


def test_unknown_claim_suggests_the_nearest():
    with pytest.raises(ArgumentError, match="'worst-cas' is not a claim .* did you mean worst-case"):
        select(["worst-cas"])


def test_require_raises_with_the_verdict_of_a_refuted_mutant():
    verdicts = verify(["3"], discrepancy=0.2, mutants=True)
    with pytest.raises(ClaimRefuted, match="claim norm-variance refuted") as caught:
        require(verdicts)
    assert caught.value.verdict is verdicts[0]
