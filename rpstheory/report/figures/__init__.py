"""Figures of the report: each file computes its data in one function and draws it in another.

Every figure is a :class:`matplotlib.figure.Figure`; :func:`save` writes it. Colours tell apart what
lines and markers tell apart too.
"""

from __future__ import annotations

from rpstheory.report.figures.agreement import agreement, deviations, overview
from rpstheory.report.figures.alignment import alignment, alignment_ratios
from rpstheory.report.figures.load import load_shares, loads
from rpstheory.report.figures.phase import kurtosis_threshold, sharing_phase, sharing_ratio
from rpstheory.report.figures.svg import inline_svg, save
from rpstheory.report.figures.tails import tail_curves, tails
from rpstheory.report.figures.variance import variance_curves, variances, worst_case_curves

__all__ = [
    "agreement",
    "alignment",
    "alignment_ratios",
    "deviations",
    "inline_svg",
    "kurtosis_threshold",
    "load_shares",
    "loads",
    "overview",
    "save",
    "sharing_phase",
    "sharing_ratio",
    "tail_curves",
    "tails",
    "variance_curves",
    "variances",
    "worst_case_curves",
]
