"""Figures show the numbers that they should: the data behind them, not their pixels."""

import re
from fractions import Fraction
from math import inf, isinf, log2, nan

import numpy as np
import pytest

from rpstheory.claim import Pair
from rpstheory.closed_form import inner_product_variance, raggedness, worst_case_variance
from rpstheory.errors import ArgumentError, DataError
from rpstheory.mappings import Fold, Hashed, KeepBernoulli, KeepExact
from rpstheory.report.figures import (
    agreement,
    alignment_ratios,
    deviations,
    inline_svg,
    kurtosis_threshold,
    load_shares,
    loads,
    overview,
    save,
    sharing_phase,
    sharing_ratio,
    tail_curves,
    variance_curves,
    variances,
    worst_case_curves,
)
from rpstheory.report.figures.load import RESNET20
from rpstheory.report.figures.style import BALANCE, DARK
from rpstheory.report.figures.variance import budgets, measured_points

PAIR = Pair("a pair", np.arange(1.0, 25.0), np.arange(24.0, 0.0, -1.0))


def test_a_deviation_is_in_units_of_the_discrepancy(make):
    verdict = make(predicted=10.0, measured=11.0, interval=(10.0, 12.0), claimed=6.0, discrepancy=2.0)
    (point,) = deviations([verdict])
    assert (point.low, point.middle, point.high, point.claimed) == (0.0, 0.5, 1.0, -2.0)


def test_a_deviation_without_a_discrepancy_is_nothing_or_everything(make):
    equal, above, below = deviations(
        [make(predicted=1.0, measured=m, interval=(m, m), discrepancy=0.0) for m in (1.0, 2.0, 0.0)]
    )
    assert equal.middle == 0
    assert isinf(above.middle)
    assert above.middle > 0
    assert isinf(below.middle)
    assert below.middle < 0


def test_agreement_has_a_second_panel_where_three_predictions_differ(make):
    checks = [make(predicted=p, measured=p, interval=(p, p)) for p in (1.0, 2.0, 3.0)]
    assert len(agreement(checks).axes) == 2
    assert len(agreement(checks[:2]).axes) == 1


@pytest.mark.parametrize("names", [False, True])
def test_agreement_draws_whatever_a_verdict_can_hold(make, mixed, names):
    odd = [
        make(measured=nan, interval=(nan, nan)),
        make(predicted=1e-300, measured=inf, interval=(-inf, inf)),
        make(predicted=-5.0, measured=1e12, interval=(-1e12, 1e12), claimed=-1e9, scope="outside"),
        make(predicted=0.0, measured=0.0, interval=(0.0, 0.0), discrepancy=0.0),
        make(relation="always", check="a name longer than any figure has room for, and then some more"),
    ]
    for found in ([], odd[:1], odd, [*odd, *mixed.verdicts]):
        assert inline_svg(agreement(found, names=names), "x", "t", "d")


def test_overview_labels_every_claim_and_every_kind(mixed):
    figure = overview(mixed.verdicts, {"first": "1", "second": "2", "empty": "3"})
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1", "2", "3"]
    legend = {t.get_text() for t in axes.get_legend().get_texts()}
    assert legend == {
        "holds", "fails outside, as it must", "refuted", "inconclusive", "there the claim would give",
    }  # fmt: skip


def test_variance_curves_are_the_closed_forms_in_units_of_the_norms():
    unit = float(PAIR.x @ PAIR.x * (PAIR.y @ PAIR.y))
    curves = {c.name: c for c in variance_curves(PAIR)}
    for name, kind in (("fold", Fold), ("hashed", Hashed), ("pruning, exactly m", KeepExact)):
        curve = curves[name]
        place = int(np.flatnonzero(curve.compression == 24 / 7)[0])
        assert curve.values[place] * unit == pytest.approx(
            float(inner_product_variance(kind(24, 7, 0), PAIR.x, PAIR.y)), rel=1e-12
        )
    assert curves["fold"].values[0] == 0
    assert curves["hashed"].values[0] > 0


def test_worst_case_curves_are_exact():
    curves = {c.name: c for c in worst_case_curves(24)}
    place = int(np.flatnonzero(curves["fold"].compression == 4)[0])
    assert Fraction(curves["fold"].values[place]).limit_denominator(1000) == Fraction(1, 4)
    assert curves["pruning, each with m/n"].values[place] == worst_case_variance(KeepBernoulli(24, 6, 0)) == 3


@pytest.mark.parametrize("n", [1, 2, 24, 64, 1000, 3072])
def test_budgets_fall_from_n_and_hold_the_whole_compressions(n):
    sizes = budgets(n)
    assert sizes[0] == n
    assert sizes == sorted(set(sizes), reverse=True)
    assert {n // k for k in range(1, 33) if n % k == 0} <= set(sizes)
    assert len(sizes) <= 200


def test_measured_points_come_from_checks_of_a_variance_on_this_pair(make):
    unit = float(PAIR.x @ PAIR.x * (PAIR.y @ PAIR.y))
    right = {"claim": "inner-product-variance", "check": "Fold 24→6, a pair"}
    found = measured_points(
        [
            make(**right, measured=unit, interval=(0.0, 2 * unit)),
            make(**right | {"claim": "unbiased"}),
            make(**right | {"check": "Fold 24→6, another pair"}),
            make(**right, scope="outside"),
        ],
        PAIR,
    )
    assert [(p.name, p.compression, p.value, p.low, p.high) for p in found] == [("fold", 4.0, 1.0, 0.0, 2.0)]
    assert len(variances(PAIR, found).axes) == 2


def test_loads_are_level_under_fold_alone():
    shares = load_shares((40, 24, 32), 4.0)
    assert shares["fold"].tolist() == [0, 0, 0, 0, 1]
    for share in shares.values():
        assert share.sum() == pytest.approx(1, abs=1e-12)
        assert share @ np.arange(len(share)) == pytest.approx(4, abs=1e-12)


def test_modules_folded_one_by_one_leave_cells_unused():
    shares = load_shares(RESNET20, 1.0)
    assert shares["fold"].tolist() == [0, 1]
    assert shares["fold, each module by itself"][0] > 0.1
    assert sum(RESNET20) == 268_336


def test_loads_draws_a_panel_for_each_compression():
    assert len(loads((40, 24), (1, 2, 4)).axes) == 3


@pytest.mark.parametrize("rho", [1.0, 1.05, 1.5])
@pytest.mark.parametrize("exact", [False, True])
def test_pruning_and_fold_tie_at_the_threshold(rho, exact):
    correlation = np.array([0.3, 0.6, 1.0])
    threshold = kurtosis_threshold(correlation, rho, exact=exact)
    assert sharing_ratio(threshold, correlation, rho, exact=exact) == pytest.approx(1, abs=1e-12)
    assert (sharing_ratio(threshold + 1, correlation, rho, exact=exact) > 1).all()


def test_the_thresholds_are_two_and_three_when_m_divides_n():
    assert kurtosis_threshold([0.2, 1.0], 1.0) == pytest.approx(2)
    assert kurtosis_threshold([0.2, 1.0], 1.0, exact=True) == pytest.approx(3)


def test_without_correlation_every_kurtosis_ties_or_none_is_enough():
    assert sharing_ratio(9.0, 0.0, 1.0) == 1
    assert np.isnan(kurtosis_threshold(0.0, 1.0))
    assert kurtosis_threshold(0.0, 1.5) == inf


def test_the_ratio_is_that_of_the_closed_forms_over_data():
    from rpstheory.closed_form import expected_variance
    from rpstheory.distributions import Pairs, kurtosis

    law = Pairs(24, 0.6, "laplace")
    for m in (6, 7):
        fold = expected_variance(Fold(24, m, 0), law)
        for exact, kind in ((False, KeepBernoulli), (True, KeepExact)):
            ratio = expected_variance(kind(24, m, 0), law) / fold
            rho = float(raggedness(24, m))
            assert sharing_ratio(kurtosis("laplace"), 0.6, rho, exact=exact) == pytest.approx(ratio, rel=1e-9)


def test_the_phase_diagram_has_a_column_for_each_size():
    figure = sharing_phase([(24, 6), (24, 7)])
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]
    assert titles == ["n = 24, m = 6: m divides n", "n = 24, m = 7: ragged, ρ = 1.03"]


def test_the_phase_diagram_needs_compression():
    with pytest.raises(ArgumentError, match="n > m"):
        sharing_phase([(6, 6)])


def test_signal_that_follows_variance_favours_sharing_and_ties_at_minus_one():
    found = alignment_ratios(12, 4, decay=[1.0, 2.0], signal=[-2.0, -1.0, 0.0])
    for ratio in (found.given, found.random):
        assert (ratio[0] < 1).all()
        assert ratio[1] == pytest.approx(1, abs=1e-10)
        assert (ratio[2] > 1).all()
    assert (found.given > 1 - 4 / 12 - 1e-12).all()  # fold never loses more than everything


def test_alignment_of_24_features_is_as_published_in_the_theory():
    found = alignment_ratios(24, 6, decay=[2.0], signal=[0.0])
    assert 0.75 / found.given[0, 0] == pytest.approx(0.119, abs=5e-4)


def test_measured_tails_stay_below_the_bounds():
    data = tail_curves(draws=2**12)
    exceeding = np.array([(data.reached >= t).mean() for t in data.deviations])
    for name in ("Chebyshev", "Bonami", "Hanson–Wright", "chi-square form"):
        bound = data.bounds[name]
        assert (np.diff(bound) <= 1e-15).all()
        assert (exceeding <= bound + 0.03).all()  # 0.03: four deviations of a share of 4096 draws


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".PNG"])
def test_a_figure_is_saved_by_suffix_and_gives_the_same_bytes_twice(tmp_path, make, suffix):
    figure = agreement([make()])
    save(figure, tmp_path / f"a{suffix}")
    save(figure, tmp_path / f"b{suffix}")
    first, second = ((tmp_path / f"{name}{suffix}").read_bytes() for name in "ab")
    assert first[:4] in (b"\x89PNG", b"<?xm", b"%PDF")
    assert first == second


def test_an_unknown_kind_of_figure_is_one_sentence(tmp_path, make):
    with pytest.raises(DataError, match=r"ends in '.bmp'; choose one of .png, .svg, .pdf"):
        save(agreement([make()]), tmp_path / "a.bmp")


def test_inline_svg_has_no_fixed_colour_no_font_and_no_address(mixed):
    svg = inline_svg(overview(mixed.verdicts, {"first": "1"}), "me", "A <title>", 'a "description"')
    assert not re.findall(r"#[0-9a-f]{6}\b", svg)
    assert "http" not in svg
    assert "font-family" not in svg
    assert svg.startswith('<svg role="img" aria-labelledby="me-t me-d"')
    assert "A &lt;title&gt;" in svg
    assert all(name.startswith("me-") for name in re.findall(r'\bid="([^"]+)"', svg))


def test_inline_svg_keeps_the_numbers_of_its_labels(make):
    checks = [make(predicted=p, measured=p, interval=(p, p)) for p in (0.001, 0.02, 1.0)]
    assert ">0.001<" in inline_svg(agreement(checks), "x", "t", "d")


def brightness(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(one, other):
    high, low = sorted((brightness(one), brightness(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_of_lines_stand_out_in_light_and_in_dark():
    from rpstheory.report.figures import style

    for name in ("BLUE", "ORANGE", "GREEN", "PURPLE", "GOLD", "RED", "INK", "MUTED"):
        color = getattr(style, name)
        assert contrast(color, style.PAPER) >= 4.5  # WCAG AA for text
        assert contrast(DARK[color], DARK[style.PAPER]) >= 4.5


def test_the_balance_is_as_long_as_its_steps_and_darkest_or_lightest_at_its_ends():
    from rpstheory.report.figures.balance import STEPS

    assert len(BALANCE) == len(STEPS) + 1
    assert [log2(s) for s in (0.25, 0.5, 1, 2, 4)] == [-2, -1, 0, 1, 2]
    for colors in (BALANCE, [DARK[c] for c in BALANCE]):
        light = [brightness(c) for c in colors]
        left, right = light[:4], light[4:]
        assert left in (sorted(left), sorted(left, reverse=True))
        assert right in (sorted(right), sorted(right, reverse=True))
