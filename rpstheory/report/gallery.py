"""Which figures a report shows, and what is said below them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rpstheory.backend import has_numba
from rpstheory.report.figures.agreement import agreement, overview
from rpstheory.report.figures.alignment import alignment
from rpstheory.report.figures.load import loads
from rpstheory.report.figures.phase import sharing_phase
from rpstheory.report.figures.tails import tails
from rpstheory.report.figures.variance import measured_points, variances
from rpstheory.report.words import Group, clean, counts_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rpstheory.claim import Pair, Setting, Verdict
    from rpstheory.report.figures.variance import Point
    from rpstheory.report.record import Report


@dataclass(frozen=True)
class Plate:
    """A figure and its words.

    Attributes:
        name: Its anchor.
        title: A few words.
        caption: Shown below.
        description: For who does not see it.
        figure: What to draw.
    """

    name: str
    title: str
    caption: str
    description: str
    figure: Figure


def overview_plate(report: Report, groups: Sequence[Group]) -> Plate:
    """Every check in one picture."""
    labels = {name: str(claim.number) if claim else clean(name) for name, claim, _ in groups}
    return Plate(
        "overview",
        "Every check in one picture",
        "Every check with its interval, in units of its own discrepancy. An interval within the band is "
        "confirmed; of a bound only the upper edge counts. Arrows lie beyond the picture.",
        f"Deviation of measured from predicted for each claim: {counts_text(report.verdicts)}.",
        overview(report.verdicts, labels),
    )


def claim_plates(name: str, verdicts: Sequence[Verdict]) -> list[Plate]:
    """Measured against predicted, for one claim."""
    anchor = "agreement-" + "".join(c if c.isalnum() and c.isascii() else "-" for c in name)
    return [
        Plate(
            anchor,
            f"Measured against predicted: {clean(name)}",
            _caption(verdicts),
            f"{counts_text(verdicts)}; the numbers are in the table above.",
            agreement(verdicts),
        )
    ]


def _caption(verdicts: Sequence[Verdict]) -> str:
    caption = "Measured against predicted, and their difference by number of check, with intervals."
    if any(v.scope == "outside" for v in verdicts):
        caption += " Diamonds lie outside the scope; hollow is what the claim would give there."
    return caption


def landscape_plates(report: Report, setting: Setting | None) -> list[Plate]:
    """Variance against compression, phase diagrams, loads and tails."""
    pair = _pair(report, setting)
    plates = []
    if pair is not None:
        points = measured_points(report.verdicts, pair)
        plates.append(_variance_plate(pair, points))
    return [*plates, _phase_plate(), _alignment_plate(), _load_plate(report.seed), _tail_plate()]


def _pair(report: Report, setting: Setting | None) -> Pair | None:
    """The first pair of the run's data; None if the data cannot be known from the report."""
    from rpstheory.data import NAMES, load_setting

    if setting is None:
        if report.settings.data not in NAMES:
            return None
        setting = load_setting(report.settings.data, report.settings.compressions, report.seed)
    return setting.pairs[0]


def _variance_plate(pair: Pair, points: Sequence[Point]) -> Plate:
    measured = "Circles are measured. " if points else ""
    return Plate(
        "variance",
        "Variance against compression",
        f"Left: {clean(pair.name)}. {measured}Who wins depends on how far a few entries dominate (claim 6); "
        "at worst pruning loses by up to n/2 (claim 7). The notches of fold are ragged last laps.",
        "Variance of the estimated product against compression for fold, chunk, block, hashed and two "
        "kinds of random pruning, for one pair of vectors and at worst over unit vectors.",
        variances(pair, points),
    )


def _phase_plate() -> Plate:
    return Plate(
        "phase",
        "Over data: kurtosis and correlation",
        "Where fold beats random pruning for y = c x + √(1−c²) x′ with independent entries (claim 6). The "
        "line is the tie: kurtosis 2 against keeping each weight with probability m/n, 3 against keeping "
        "exactly m, when m divides n. A ragged last lap shifts it in favour of pruning.",
        "Six maps over raw kurtosis and correlation. Sharing wins at high kurtosis, pruning at low; the "
        "boundary moves to higher kurtosis as the last lap gets more ragged.",
        sharing_phase(),
    )


def _alignment_plate() -> Plate:
    return Plate(
        "alignment",
        "In a linear model: signal and variance",
        "Features with variance i⁻ᵃ and squared weights that follow the variance to the power b "
        "(claim 12). Fold wins iff b > −1: it wins where the signal lies in features of high variance, "
        "and by much where the variances fall fast.",
        "Two maps over the exponents of variance and signal. Fold wins above b = -1, pruning below, "
        "where its lead stays within a factor n/(n-m).",
        alignment(),
    )


def _load_plate(seed: int) -> Plate:
    return Plate(
        "load",
        "Weights per cell",
        "ResNet-20 (268,336 weights), one draw each. Fold over the flat positions of the model gives "
        "every cell the same load; a rotation of its own for each module does not, and leaves cells "
        "unused at n/m = 1 as hashing does (claim 9).",
        "Histograms of the number of weights in a cell at compressions 1 and 4: a single bar for fold, "
        "wide distributions for fold module by module and for hashing.",
        loads(seed=seed % 2**63),
    )


def _tail_plate() -> Plate:
    backend, draws = ("numba", 2**20) if has_numba() else ("numpy", 2**15)
    return Plate(
        "tails",
        "Tails",
        f"Chance that a squared norm comes out too large, flat unit vector, fold of 256 weights to 32 "
        f"cells, {draws:,} draws, and what the bounds of claim 16 allow in every draw of the cells.",
        "The measured tail falls below all bounds; the chi-square form is the closest, Chebyshev and "
        "Bonami are far above beyond four standard deviations.",
        tails(draws=draws, backend=backend),
    )
