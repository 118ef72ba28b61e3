"""The survey itself: every check settles, every broken twin is disproved, and the command says so."""

import importlib
import json
import pkgutil
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from proofs_checks import survey as surveying
from proofs_checks.agreement.variances import variance_at
from proofs_checks.check import Check, Disproved, Level, require
from proofs_checks.findings import Survey, print_findings, to_json, to_markdown
from proofs_checks.survey import ROOMS, all_checks, settle
from proofs_checks.universes import fold
from rpstheory.claims import all_claims
from rpstheory.cli import app
from rpstheory.errors import ArgumentError
from rpstheory.report.record import now, this_environment

CHECKS = {check.key: check for check in all_checks()}


@pytest.mark.parametrize("key", CHECKS)
def test_check_settles(key):
    finding = settle(CHECKS[key], Level.QUICK)
    assert finding.settled, finding.domain
    assert finding.domain


@pytest.mark.parametrize("key", CHECKS)
def test_broken_twin_is_disproved(key):
    finding = settle(CHECKS[key], Level.QUICK, twin=True)
    assert finding.settled, f"{CHECKS[key].broken}: nobody noticed; {finding.domain}"
    assert finding.domain


def test_names_of_checks_are_unique():
    assert len(CHECKS) == len(all_checks())


def test_every_claim_is_surveyed():
    assert {check.claim for check in all_checks()} == {claim.number for claim in all_claims()}


def test_every_module_of_a_room_brings_checks_of_that_method():
    for room in ROOMS:
        assert any(check.method == room for check in all_checks())


def rooms():
    for room in ROOMS:
        package = importlib.import_module(f"proofs_checks.{room}")
        for module in pkgutil.iter_modules(package.__path__):
            yield importlib.import_module(f"proofs_checks.{room}.{module.name}")


@pytest.mark.parametrize("module", list(rooms()), ids=lambda module: module.__name__)
def test_every_module_with_checks_says_what_it_does_not_show(module):
    assert "not show" in module.__doc__ or not hasattr(module, "CHECKS")


# ------------------------------------------------------------------------------------- findings


def made(*findings):
    return Survey(findings, "quick", False, this_environment(), now(), 1.0)


def one(settled):
    check = Check(2, "a name", "0 < x", "enumeration", lambda _: "n to 3", "x < 0", lambda: None)
    if not settled:
        check = replace(check, survey=lambda _: require(False, "x = -1"))
    return settle(check, Level.QUICK)


def test_a_disproved_check_carries_its_counter_example():
    found = one(False)
    assert not found.settled
    assert found.domain == "x = -1"


def test_a_twin_that_nobody_notices_is_not_settled():
    check = Check(2, "a name", "0 < x", "enumeration", lambda _: "n to 3", "x < 0", lambda: "all well")
    assert not settle(check, Level.QUICK, twin=True).settled


def test_a_check_that_breaks_is_not_taken_for_a_disproof():
    check = Check(2, "a name", "0 < x", "enumeration", lambda _: str(1 // 0), "x < 0", lambda: 1 // 0)
    for twin in (False, True):
        found = settle(check, Level.QUICK, twin=twin)
        assert not found.settled
        assert found.domain.startswith("could not be run: ZeroDivisionError")


@pytest.mark.parametrize("width", [60, 100, 160])
def test_the_table_fits_and_names_what_was_not_shown(width, capsys):
    print_findings(made(one(True), one(False)), Console(width=width))
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= width for line in lines)
    assert "not shown: claim 2, a name: x = -1" in lines
    assert " ".join(" ".join(lines).split()).endswith(made(one(True), one(False)).summary)


def test_json_is_valid_and_complete():
    survey = made(one(True), one(False))
    record = json.loads(to_json(survey))
    assert record["schema"] == "proofs_checks.survey/1"
    assert [f["settled"] for f in record["findings"]] == [True, False]
    assert [f["domain"] for f in record["findings"]] == ["n to 3", "x = -1"]


def test_markdown_does_not_differ_from_run_to_run():
    assert to_markdown(made(one(True))) == to_markdown(made(one(True)))
    assert "0 &lt; x" in to_markdown(made(one(True)))


# -------------------------------------------------------------------------------------- command


def prove(monkeypatch, *arguments):
    from proofs_checks.commands import prove as command

    if not any(entry.name == "prove" for entry in app.registered_commands):
        app.command("prove")(command)
    return CliRunner().invoke(app, ["prove", *arguments])


def test_prove_writes_what_it_found(monkeypatch, tmp_path):
    report, page = tmp_path / "p.json", tmp_path / "p.md"
    arguments = ("--claims", "8", "--quick", "--jobs", "1", "--json", str(report), "--markdown", str(page))
    result = prove(monkeypatch, *arguments)
    assert result.exit_code == 0, result.output
    record = json.loads(report.read_text())
    assert {f["claim"] for f in record["findings"]} == {8}
    assert "## 8." in page.read_text()


def test_prove_exits_1_when_something_is_disproved(monkeypatch):
    broken = Check(8, "wrong", "1 = 2", "enumeration", lambda _: require(False, "1 is not 2"), "", lambda: "")
    monkeypatch.setattr(surveying, "all_checks", lambda: (broken,))
    result = prove(monkeypatch, "--quick", "--jobs", "1")
    assert result.exit_code == 1
    assert "not shown: claim 8, wrong: 1 is not 2" in result.output


def test_prove_exits_1_when_a_twin_survives(monkeypatch):
    check = Check(8, "right", "1 = 1", "enumeration", lambda _: "all", "1 = 1 again", lambda: "all")
    monkeypatch.setattr(surveying, "all_checks", lambda: (check,))
    assert prove(monkeypatch, "--twins", "--jobs", "1").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--quick", "--deep"), "choose one"),
        (("--jobs", "-1"), "number of workers"),
        (("--claims", "nonsense"), "is not a claim"),
        (("--json", "/nowhere/at/all.json"), "cannot be written"),
    ],
)
def test_prove_refuses_bad_arguments_in_a_sentence(monkeypatch, arguments, sentence):
    error = prove(monkeypatch, *arguments).exception
    assert sentence in str(error)


def test_prove_names_the_extra_when_sympy_is_missing(monkeypatch):
    def without(name):
        raise ModuleNotFoundError("No module named 'sympy'", name="sympy")

    monkeypatch.setattr(surveying.importlib, "import_module", without)
    with pytest.raises(ArgumentError, match=r"sympy is not installed .* extra proofs"):
        surveying._load("proofs_checks.symbolic.variances")


def test_a_missing_module_of_our_own_is_not_blamed_on_an_extra(monkeypatch):
    with pytest.raises(ModuleNotFoundError, match="nothing_here"):
        surveying._load("proofs_checks.symbolic.nothing_here")


# ------------------------------------------------------------------------------------- universes


def test_variance_of_a_universe_is_that_of_its_list():
    universe = fold(3, 2)
    x, y = [1, 2, -1], [0, 1, 3]
    products = []
    for cells, signs in zip(universe.cells.tolist(), universe.signs.tolist(), strict=True):
        bank = np.zeros((2, 2), dtype=int)
        for i, (cell, sign) in enumerate(zip(cells, signs, strict=True)):
            bank[:, cell] += sign * np.array([x[i], y[i]])
        products.append(int(bank[0] @ bank[1]))
    mean = Fraction(sum(products), len(products))
    assert mean == -1
    spread = Fraction(sum(p * p for p in products), len(products)) - mean**2
    assert variance_at(universe, np.array([x]), np.array([y]))[0, 0] == spread


def test_require_raises_only_when_something_fails():
    require(True, "never seen")
    with pytest.raises(Disproved, match="seen"):
        require(False, "seen")
