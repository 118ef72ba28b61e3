"""Numbers, formulas and prose as a reader meets them."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpstheory.claims import all_claims
from rpstheory.report.formula import formula_html, formula_text
from rpstheory.report.numbers import (
    chance,
    count,
    duration,
    figure,
    measured_text,
    measurement,
    predicted_text,
    prediction,
    share,
)
from rpstheory.report.words import clean, counts_text, grouped, prose, scope_text, summary_lines, worst


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (3059.496, 14.1, "3059 ± 14"),
        (946897.9, 13210.0, "947000 ± 13000"),
        (-0.0015, 0.0142, "-0.002 ± 0.014"),
        (-0.0001, 0.0142, "0.000 ± 0.014"),
        (0.142857, 0.002, "0.1429 ± 0.0020"),
        (1.2e-7, 3e-9, "(1.200 ± 0.030)·10⁻⁷"),
        (1.2345e9, 3e6, "(1.2345 ± 0.0030)·10⁹"),
        (0.0, 0.0, "0"),
        (0.8, 1e-16, "0.8"),
        (1.0, nan, "1"),
        (nan, 1.0, "–"),
        (inf, 1.0, "∞"),
    ],
)
def test_a_measurement_shows_as_many_digits_as_it_knows(mean, half, text):
    assert measurement(mean, half) == text


@pytest.mark.parametrize(
    ("value", "mean", "half", "text"),
    [
        (3064.0, 3059.5, 14.1, "3064"),
        (952906.125, 946897.9, 13210.0, "952906"),
        (1 / 7, 0.1439, 0.0020, "0.14286"),
        (1e-12, 0.0, 0.014, "1·10⁻¹²"),
        (0.0, 0.001, 0.014, "0"),
        (0.5, 0.5, 0.0, "0.5"),
    ],
)
def test_a_prediction_shows_one_decimal_more(value, mean, half, text):
    assert prediction(value, mean, half) == text


@given(st.floats(allow_nan=True, allow_infinity=True), st.floats(0) | st.just(nan))
def test_every_number_has_a_text_of_bounded_length(mean, half):
    for text in (figure(mean), measurement(mean, half), prediction(mean, mean, half)):
        assert 0 < len(text) <= 48
        assert "nan" not in text
        assert "inf" not in text


@given(st.floats(1e-290, 1e290), st.booleans())
def test_a_figure_is_right_to_six_digits(size, negative):
    value = -size if negative else size
    plain = figure(value).replace("·10", "e").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    assert float(plain) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (691, "691"),
        (1000, "1k"),
        (48221, "48.2k"),
        (999_999, "1M"),
        (1_310_000, "1.31M"),
        (2.5e9, "2.5G"),
    ],
)
def test_a_count_is_short(number, text):
    assert count(number) == text


@given(st.integers(0, 2**40))
def test_a_count_never_needs_more_than_five_characters(number):
    assert len(count(number)) <= 5


def test_times_shares_and_chances_read_well():
    assert [duration(s) for s in (0.04, 9.99, 125, 4000, nan)] == [
        "0.0 s",
        "10 s",
        "2 min 5 s",
        "1 h 6 min",
        "–",
    ]
    assert [share(v) for v in (0.01, 0.005, 0.5)] == ["1 %", "0.5 %", "50 %"]
    assert [chance(v) for v in (1e-6, 1e-3, 2.1e-8, 0)] == ["10⁻⁶", "0.001", "2.1·10⁻⁸", "0"]


def test_relations_are_said(make):
    assert predicted_text(make(relation="at most", predicted=4000.0)) == "≤ 4000"
    never = make(relation="always", measured=0.0, interval=(0.0, 0.0), draws=31)
    assert (predicted_text(never), measured_text(never)) == ("never", "never in 31")
    assert measured_text(make(relation="always", measured=3 / 31, draws=31)) == "3 in 31"
    assert measured_text(make(relation="always", measured=nan)) == "–"


@pytest.mark.parametrize(
    ("tex", "text"),
    [
        (r"E\,\langle Sx, Sy\rangle = \langle x, y\rangle", "E ⟨Sx, Sy⟩ = ⟨x, y⟩"),
        (r"\sum_{i\neq j} p_{ij}\, x_i^2", "Σ_(i≠j) pᵢⱼ xᵢ²"),
        (r"V_{fold} \leq (\frac{n}{m}-1)\,\frac{n}{n-1}", "V_fold ≤ (n/m-1) n/(n-1)"),
        (r"\frac{1}{m}\sum x \quad if \quad \bar{a} > 0", "1/m Σx  if  ā > 0"),
        (r"\sqrt{n+1} \Gamma^{-1/2} S^\top", "√(n+1) Γ^(-1/2) Sᵀ"),
        (r"\mathrm{at\ most}\ \{3, 4\}", "at most {3, 4}"),
        ("x^", "x"),
    ],
)
def test_a_formula_reads_as_text(tex, text):
    assert formula_text(tex) == text


@pytest.mark.parametrize("claim", all_claims(), ids=lambda c: c.name)
def test_every_claims_formula_is_typeset_and_reads_as_text(claim):
    text = formula_text(claim.formula)
    assert not set(text) & set("\\$")
    drawn = formula_html(claim.formula)
    assert "<path" in drawn
    assert "<code>" not in drawn
    assert "http" not in drawn


def test_a_formula_that_does_not_parse_is_shown_as_it_is():
    drawn = formula_html(r"\nosuch{<b>}")
    assert "<svg" not in drawn
    assert "&lt;b&gt;" in drawn


@pytest.mark.parametrize(
    ("plain", "html"),
    [
        ("sum of p_ij x_i^2", "sum of p<sub>ij</sub> x<sub>i</sub><sup>2</sup>"),
        ("lambda_max <= 1 - 1/m", "λ<sub>max</sub> ≤ 1 − 1/m"),
        ("<Sx, Sy> at n = m+1, (n-1)", "⟨Sx, Sy⟩ at n = m+1, (n−1)"),
        ("w*'Qw* of the authors' code", "w*′Qw* of the authors&#x27; code"),
        ("L-smooth, 4-wise, (4-wise), (1-1/m)^n", "L-smooth, 4-wise, (4-wise), (1−1/m)<sup>n</sup>"),
        ("my_data x_train.npy rows", "my_data x_train.npy rows"),
        ("a < b & c", "a &lt; b &amp; c"),
        ("s^(-1/2) and phi_(t-1)", "s<sup>−1/2</sup> and φ<sub>t−1</sub>"),
    ],
)
def test_prose_gets_its_indices_and_signs(plain, html):
    assert prose(plain) == html


@given(st.text())
def test_prose_never_lets_markup_through(text):
    bare = prose(text)
    for tag in ("<sub>", "</sub>", "<sup>", "</sup>"):
        bare = bare.replace(tag, "")
    assert "<" not in bare
    assert '"' not in bare


@given(st.text())
def test_clean_text_is_one_printable_line(text):
    assert clean(text) == "" or clean(text).isprintable()


def test_verdicts_are_grouped_by_the_number_of_their_claim(make, run_of, claims):
    report = run_of([make(claim=c) for c in ("second", "unknown", "first", "second")])
    groups = grouped(report, claims)
    assert [name for name, _, _ in groups] == ["first", "second", "unknown"]
    assert [number for number, _ in groups[1][2]] == [1, 2]
    assert groups[2][1] is None


def test_scope_counts_and_the_worst_status_are_said(make, mixed):
    assert scope_text(make()) == "holds"
    assert scope_text(make(scope="outside", condition="m = n")) == "fails outside: m = n"
    assert counts_text(mixed.verdicts) == "4 confirmed, 1 refuted, 1 inconclusive"
    assert counts_text([]) == "no checks"
    assert worst(mixed.verdicts) == "refuted"
    assert worst([]) == "confirmed"


def test_the_summary_says_counts_error_rates_and_time(mixed):
    text = " ".join(summary_lines(mixed))
    for part in (
        "6 checks: 4 confirmed (1 of them",
        "1 refuted",
        "1 inconclusive",
        "10⁻⁶",
        "1 %",
        "0.001",
        "12 s",
        "digits",
    ):
        assert part in text
