"""The terminal table fits its terminal and keeps quiet about colours where there is none."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from rpstheory.claims import all_claims
from rpstheory.errors import DataError
from rpstheory.report.explain import explain, explain_text
from rpstheory.report.markdown import claims_markdown, escaped, to_markdown
from rpstheory.report.table import print_report, verdict_table


def printed(report, claims, width=80, **options):
    out = StringIO()
    print_report(report, claims, Console(file=out, width=width, **options))
    return out.getvalue()


def words_of(text):
    return " ".join(text.split())


@pytest.mark.parametrize("width", [60, 80, 100, 112, 130, 200])
def test_no_line_is_longer_than_the_terminal(mixed, claims, width):
    lines = printed(mixed, claims, width).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert all(line == line.rstrip() for line in lines)


@given(st.data(), st.integers(60, 170))
def test_no_line_is_longer_than_the_terminal_whatever_the_names(any_report, data, width):
    text = verdict_table(data.draw(any_report), (), width).plain
    assert max(map(cell_len, text.split("\n"))) <= min(width, 160)


@pytest.mark.parametrize("width", [80, 130])
def test_the_table_holds_every_check_and_both_numbers(mixed, claims, width):
    text = words_of(printed(mixed, claims, width))
    for verdict in mixed.verdicts:
        assert words_of(verdict.check)[:20] in text
    for part in (
        "3064",
        "3060 ± 14",
        "48.2k",
        "never in 48.2k",
        "≤ 4000",
        "-2.5·10⁻⁹",
        "The first claim",
        "⟨Sx, Sy⟩",
    ):
        assert part in text


def test_the_narrow_table_says_what_fails_outside_and_what_the_claim_would_give(mixed, claims):
    assert "fails outside: signs depend; the claim would give 9" in printed(mixed, claims, 80)


def test_the_wide_table_has_columns_for_scope_and_verdict(mixed, claims):
    head = printed(mixed, claims, 130).splitlines()[0].split()
    assert head == ["check", "scope", "predicted", "measured", "draws", "verdict"]


def test_what_is_not_confirmed_is_repeated_at_the_end(mixed, claims):
    tail = words_of(printed(mixed, claims).split("second claim")[-1])
    assert "refuted: second, far off: measured 3060 ± 14, predicted 1" in tail
    assert "inconclusive: second, too noisy" in tail


def test_several_claims_get_a_line_each_below_the_checks(mixed, claims):
    text = words_of(printed(mixed, claims))
    assert "✓ 1. The first claim 3 of 3 1 of 1 193k" in text
    assert "✗ 2. The second claim 0 of 2 – 96.4k" in text
    assert " of 2" not in printed(replace(mixed, verdicts=mixed.verdicts[4:]), claims)


def test_plain_text_without_a_terminal_and_colours_on_one(mixed, claims):
    assert "\x1b" not in printed(mixed, claims)
    assert "\x1b[" in printed(mixed, claims, force_terminal=True, color_system="standard")


def test_control_characters_and_markup_in_names_do_nothing(make, run_of, claims, hostile):
    report = run_of(
        [make(check=hostile, condition=hostile, scope="outside"), make(check="[red]x[/red]")], hostile
    )
    text = printed(report, claims)
    assert "\x1b" not in text
    assert "[red]x[/red]" in text


def test_an_empty_report_prints(run_of, claims):
    assert "0 checks: 0 confirmed" in printed(run_of([]), claims)


def cells_of(line):
    return line.replace("\\|", "").count("|") - 1


@pytest.mark.parametrize("checks", [False, True])
def test_markdown_rows_have_as_many_cells_as_the_head(mixed, claims, checks):
    table = [line for line in to_markdown(mixed, claims, checks=checks).splitlines() if line.startswith("|")]
    assert len(table) == 2 + (6 if checks else 2)
    assert len({cells_of(line) for line in table}) == 1


def test_markdown_counts_checks_by_claim_and_scope(mixed, claims):
    text = to_markdown(mixed, claims)
    assert "| 1 | The first claim | 3 of 3 | 1 of 1 | 193k | ✓ confirmed |" in text
    assert "| 2 | The second claim | 0 of 2 | – | 96.4k | ✗ refuted |" in text


def test_markdown_can_be_limited_to_some_checks_of_each_claim(mixed, claims):
    table = [
        line for line in to_markdown(mixed, claims, checks=True, limit=1).splitlines() if line.startswith("|")
    ]
    assert len(table) == 4


@given(st.text())
def test_escaped_markdown_stays_in_its_cell(text):
    found = escaped(text).replace("\\\\", "")
    assert "|" not in found.replace("\\|", "")
    assert "<" not in found
    assert "\n" not in found


def test_the_document_of_claims_has_a_section_for_each_and_links_to_it(claims, mixed):
    text = claims_markdown(claims, mixed)
    for claim in claims:
        assert f"## {claim.number}. {claim.title}" in text
        assert f"[{claim.title}](#{claim.number}-the-{claim.name}-claim)" in text
        assert f"```math\n{claim.formula}\n```" in text
    assert "4 confirmed" in text
    assert "p<sub>" not in text.split("```math")[1].split("```")[0]


def test_the_document_of_claims_needs_no_run():
    text = claims_markdown(all_claims())
    assert text.count("\n## ") == len(all_claims())
    assert "confirmed" not in text.split("\n## ")[0]


def test_explain_says_everything_a_claim_has(claims):
    text = words_of(explain_text(claims[:1]))
    claim = claims[0]
    for part in (
        claim.title,
        claim.name,
        claim.statement,
        *claim.assumptions,
        claim.footing,
        claim.source,
        claim.mutant,
        claim.remarks,
    ):
        assert words_of(part) in text
    assert "n/m Σ_(i≠j) xᵢ² ⟨Sx, Sy⟩" in text


@pytest.mark.parametrize("width", [40, 80, 100])
def test_explain_fits_its_width(width):
    for claim in all_claims():
        assert max(cell_len(line) for line in explain(claim, width).plain.split("\n")) <= width


def test_explain_separates_claims_by_an_empty_line(claims):
    assert "\n\n2. The second claim\n" in explain_text(claims)


def test_claims_markdown_prints_the_record_of_a_calibration():
    text = (Path(__file__).parents[2] / "docs" / "calibration.json").read_text()
    record = json.loads(text)
    lines = claims_markdown(all_claims(), None, text).splitlines()
    rows = [line for line in lines if line.startswith(tuple(f"| {m['kind']} |" for m in record["measured"]))]
    assert len(rows) == len(record["measured"])
    share = record["measured"][0]["refuted_though_true"]["share"]
    assert f"{share:.1%}" in rows[0]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"schema": "other/1"}', '{"schema": "benchmarks.calibration/1"}']
)
def test_a_file_that_is_no_calibration_is_refused(text):
    with pytest.raises(DataError, match="not a record of benchmarks.calibration/1"):
        claims_markdown(all_claims(), None, text)
