"""Every mutant is caught by whom it says, who is content without it, and nothing of it stays behind."""

import importlib
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from proofs_checks.mutants import __main__ as command
from proofs_checks.mutants import registry
from proofs_checks.mutants.mutant import Survived, in_place
from proofs_checks.mutants.registry import MUTANTS
from rpstheory import closed_form
from rpstheory.claims import all_claims
from rpstheory.mappings import Fold

DOCUMENT = Path(__file__).parents[2] / "docs" / "mutants.md"
NAMES = [mutant.name for mutant in MUTANTS]
CATCHERS = list(dict.fromkeys(catcher for mutant in MUTANTS for catcher in mutant.catchers))
UNSIGNED = MUTANTS[0]
KINDS = ("mapping", "hash", "formula", "sampler", "statistics")


def original(home):
    """What is at home now."""
    module, _, path = home.partition(":")
    thing = importlib.import_module(module)
    for part in path.split("."):
        thing = vars(thing)[part]
    return thing


@pytest.mark.parametrize("mutant", MUTANTS, ids=NAMES)
def test_mutant_is_caught_by_whom_it_names(mutant):
    said = mutant.hunt()
    assert len(said) == len(mutant.catchers) > 0
    assert all(said)


@pytest.mark.parametrize("catcher", CATCHERS, ids=[catcher.name for catcher in CATCHERS])
def test_catcher_is_content_without_a_mutant(catcher):
    assert catcher.objection() is None


def test_names_of_mutants_are_unique():
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("kind", KINDS)
def test_mutants_of_every_kind_are_hunted(kind):
    assert sum(mutant.kind == kind for mutant in MUTANTS) >= 5


@pytest.mark.parametrize("mutant", MUTANTS, ids=NAMES)
def test_mutant_replaces_something_and_brings_it_back(mutant):
    before = original(mutant.home)
    assert before is not mutant.replacement
    with suppress(KeyboardInterrupt), in_place(mutant.home, mutant.replacement):
        assert original(mutant.home) is mutant.replacement
        raise KeyboardInterrupt
    assert original(mutant.home) is before


def test_function_is_replaced_wherever_it_was_imported_and_brought_back():
    function = closed_form.inner_product_variance
    importlib.import_module("rpstheory.claims.c02_inner_product_variance")

    def holders(thing):
        modules = [m for name, m in sys.modules.items() if name.startswith("rpstheory")]
        return {m.__name__ for m in modules if getattr(m, "inner_product_variance", None) is thing}

    wherever, broken = holders(function), object()
    assert len(wherever) > 2
    with in_place("rpstheory.closed_form:inner_product_variance", broken):
        assert holders(broken) == wherever
    assert holders(function) == wherever
    assert not holders(broken)


def test_mutant_that_breaks_nothing_survives():
    harmless = replace(UNSIGNED, replacement=original(UNSIGNED.home))
    with pytest.raises(Survived, match="no signs: law of unbiased, Fold is content"):
        harmless.hunt()


def test_hunted_mutant_leaves_the_signs_as_they_were():
    before = [Fold(8, 4, seed).sign(3) for seed in range(20)]
    UNSIGNED.hunt()
    assert [Fold(8, 4, seed).sign(3) for seed in range(20)] == before
    assert -1 in before


# ------------------------------------------------------------------------------------- the table


def row(*cells):
    """Beginning of a line of the table."""
    return "| " + " | ".join(registry.escaped(cell) for cell in cells) + " |"


def test_table_in_the_docs_names_every_mutant_and_its_catchers():
    wanted = [row("mutant", "what is broken", "caught by"), "| :-- | :-- | :-- |"]
    for mutant in MUTANTS:
        who = (mutant.name, f"{mutant.kind}: {mutant.broken}")
        wanted.append(row(*who, mutant.catchers[0].name))
        wanted += [row("", "", catcher.name) for catcher in mutant.catchers[1:]]
    wanted += [row("claim", "its mutant"), "| :-- | :-- |"]
    wanted += [row(f"{claim.number}. {claim.title}", claim.mutant) for claim in all_claims()]
    table = [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    assert [line[: len(begin)] for line, begin in zip(table, wanted, strict=True)] == wanted


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["mutants", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        command.main()
    return stopped.value.code


def test_command_prints_the_table_or_writes_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(registry, "MUTANTS", MUTANTS[:1])
    assert run(monkeypatch) == 0
    printed = capsys.readouterr().out
    assert "| no signs | mapping: every sign is +1 | law of unbiased, Fold | " in printed
    assert run(monkeypatch, "--markdown", tmp_path / "table.md") == 0
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == printed


def test_command_fails_and_names_the_survivor(monkeypatch, capsys):
    harmless = replace(UNSIGNED, replacement=original(UNSIGNED.home))
    monkeypatch.setattr(registry, "MUTANTS", (harmless,))
    assert run(monkeypatch) == 1
    assert capsys.readouterr().err.startswith("survived: no signs")


def test_command_refuses_a_file_that_cannot_be_written_before_it_hunts(monkeypatch, capsys, tmp_path):
    assert run(monkeypatch, "--markdown", tmp_path / "missing" / "table.md") == 2
    assert "cannot be written" in capsys.readouterr().err
