"""Every claim stands up to its checks, and its mutant does not."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from rpstheory import verify
from rpstheory.claim import Pair, Setting
from rpstheory.claims import all_claims, c06_over_data, c16_tails, select
from rpstheory.data import load_setting
from rpstheory.errors import ArgumentError, ClaimRefuted, DataError, KindError
from rpstheory.verification import QUICK_DISCREPANCY, Runner, execute, plan, require, suite_design

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


def test_over_data_holds_where_one_row_outweighs_all_others():
    rows = np.random.default_rng(0).standard_normal((1000, 8))
    rows[17] *= 1000  # of a mean over pairs of rows as they are, half sits on one in 10^6
    assert verdicts_over(np.vstack([rows, np.zeros(8)])) == [
        (f"{kind} 8→4, 128 rows of mine, of length 1", "confirmed") for kind in ("Fold", "KeepExact")
    ]


def test_over_data_holds_where_exact_pruning_loses_nothing():
    assert [status for _, status in verdicts_over(-np.ones((3, 5)))] == ["confirmed"] * 2


def verdicts_over(rows):
    setting = Setting("mine", rows, (), (2.0,))
    claim = replace(c06_over_data.CLAIM, checks=c06_over_data.over_rows)
    design, runner = suite_design([claim], setting, 0.3), Runner("numpy")
    verdicts = execute(plan([claim], setting, design, runner), setting, design, runner)
    return [(v.check, v.status) for v in verdicts]


def test_rows_of_over_data_are_evenly_spaced_and_of_length_one():
    rows = np.repeat(np.arange(300.0)[:, None] + [[0.0, 1.0, 2.0, 3.0]], 2, axis=0)
    chosen = c06_over_data.unit_rows(rows)
    wanted = rows[np.arange(128) * 600 // 128]
    # ROUNDING: two quotients and a root of a sum of four squares, each right to 2^-53.
    assert np.allclose(chosen, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), rtol=8 * 2**-53)


@pytest.mark.parametrize("rows", [np.eye(8), np.eye(8)[[0, 0, 7, 7]]], ids=["one lap", "norms of spikes"])
def test_tails_are_asked_only_where_a_bound_says_something(rows, tmp_path):
    np.save(tmp_path / "rows.npy", rows)
    checks = c16_tails.checks(load_setting(str(tmp_path / "rows.npy"), (2,)))
    assert not any("rows.npy" in check.name for check in checks)
    assert all(check.predicted < 1 for check in checks if check.indicator)


def test_tied_signs_are_asked_only_where_they_are_wrong(tmp_path):
    for name, rows in (("spikes", np.eye(4)), ("flat", np.ones((2, 4)))):
        np.save(tmp_path / f"{name}.npy", rows)
        checks = select("unbiased")[0].checks(load_setting(tmp_path / f"{name}.npy", (2,)))
        assert [check.name for check in checks if check.scope == "outside"] == [
            "signs tied to cells, flat.npy rows 1, 2"
        ] * (name == "flat")


@pytest.mark.parametrize("unit", [2.0**-1000, 2.0**-100, 2.0**21, 2.0**300, 2.0**1000])
def test_a_file_in_another_unit_gives_the_same_setting(unit, tmp_path):
    rows = np.random.default_rng(0).standard_normal((5, 8))
    rows *= 1.5 / np.abs(rows).max(axis=1, keepdims=True)
    found = []
    for scale in (1.0, unit):
        np.save(tmp_path / "rows.npy", rows * scale)
        setting = load_setting(str(tmp_path / "rows.npy"))
        found.append([setting.rows.tolist(), *([p.x.tolist(), p.y.tolist()] for p in setting.pairs)])
    assert found[0] == found[1]
    assert found[0][0] == rows.tolist()


def test_file_keeps_ordinary_entries_bit_for_bit_and_small_rows_beside_a_huge_one(tmp_path):
    path = tmp_path / "rows.npy"
    rows = np.random.default_rng(0).standard_normal((4, 8)) * 1000
    np.save(path, rows)
    setting = load_setting(str(path))
    assert setting.rows.tolist() == rows.tolist()
    assert [v.tolist() for p in setting.pairs for v in (p.x, p.y)] == rows.tolist()
    np.save(path, rows * [[1e300], [1e-300], [1.0], [1.0]])
    setting = load_setting(str(path))
    assert 1 <= np.abs(setting.rows).max() < 2
    assert [bool(v.any()) for p in setting.pairs for v in (p.x, p.y)] == [True] * 4


@pytest.mark.parametrize("size", [1e-21, 1e21, np.nan])
def test_vectors_made_by_hand_are_refused_where_their_powers_are_no_floats(size):
    rows = size * np.ones((2, 4))
    with pytest.raises(DataError, match="rows of 'mine': the largest entry is .* rescale the data"):
        Setting("mine", rows, (), (2.0,))
    with pytest.raises(DataError, match=r"pair 'mine': the largest entry is .* 1e-20\.\.1e\+20"):
        Pair("mine", np.zeros(4), rows[0])


@pytest.mark.parametrize("data", ["digits", "gaussian"])
def test_claims_are_confirmed_where_nothing_is_compressed(data):
    verdicts = verify(["1", "2", "3", "4"], data=data, compressions=[1], discrepancy=0.2)
    assert {v.status for v in verdicts} == {"confirmed"}


def test_verdicts_do_not_depend_on_the_number_of_workers():
    assert verify(["1"], discrepancy=0.2, jobs=1) == verify(["1"], discrepancy=0.2, jobs=2)


def test_verdicts_depend_on_the_seed():
    one, other = (verify(["3"], discrepancy=0.2, seed=s) for s in (0, 1))
    assert [v.measured for v in one] != [v.measured for v in other]


def test_claims_are_chosen_by_numbers_as_numbers_too():
    assert select([1, "2"]) == select(["1", 2]) == CLAIMS[:2]
    assert select(3) == CLAIMS[2:3]


def test_data_may_be_a_path(tmp_path):
    np.save(tmp_path / "rows.npy", np.eye(4))
    found, same = load_setting(tmp_path / "rows.npy"), load_setting(str(tmp_path / "rows.npy"))
    assert (found.data, found.rows.tolist()) == (same.data, same.rows.tolist())


@pytest.mark.parametrize(
    ("error", "arguments", "message"),
    [
        (KindError, {"data": None}, "data: None came; pass digits, .* or the path of an .npy or .npz file"),
        (KindError, {"compressions": 4}, r"compressions: 4 came; pass several n/m, such as \(2, 4, 8\)"),
        (KindError, {"compressions": "24"}, "compressions: '24' came; pass several n/m"),
        (KindError, {"compressions": ("2",)}, "compression: '2' came; a number is needed, such as 4"),
        (KindError, {"seed": 1.5}, "seed=1.5 came; a whole number is needed"),
        (KindError, {"seed": True}, "seed=True came; a whole number is needed"),
        (KindError, {"jobs": "2"}, "verify: jobs='2' came; a whole number is needed"),
        (ArgumentError, {"jobs": 0}, "verify: jobs=0 came; at least 1 is needed"),
        (KindError, {"discrepancy": "a"}, r"discrepancy: 'a' came; a number in \(0, 0.5\] is needed"),
    ],
)
def test_verify_says_what_it_needs(error, arguments, message):
    with pytest.raises(error, match=message):
        verify([1], **arguments)


def test_unknown_claim_suggests_the_nearest():
    with pytest.raises(ArgumentError, match="'worst-cas' is not a claim .* did you mean worst-case"):
        select(["worst-cas"])


def test_require_raises_with_the_verdict_of_a_refuted_mutant():
    verdicts = verify(["3"], discrepancy=0.2, mutants=True)
    with pytest.raises(ClaimRefuted, match="claim norm-variance refuted") as caught:
        require(verdicts)
    assert caught.value.verdict is verdicts[0]
