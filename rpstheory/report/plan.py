"""Draws and time that a design asks for, as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rpstheory.report.numbers import count, duration

if TYPE_CHECKING:
    from rpstheory.statistics import Design
    from rpstheory.verification import Experiment


def plan_table(experiments: Sequence[Experiment], design: Design, workers: int) -> str:
    """Checks, draws and worker time of every claim, and the whole on this machine.

    Args:
        experiments: Designed, in the order of their claims.
        design: Error rates of each check.
        workers: Processes that share the work.
    """
    lines = [f"{'claim':<30}{'checks':>8}{'draws':>12}{'worker time':>14}"]
    for claim, own in groupby(experiments, key=lambda e: e.claim):
        group = list(own)
        draws, seconds = sum(e.draws for e in group), sum(e.seconds for e in group)
        name = f"{claim.number:>2} {claim.name}"
        lines.append(f"{name:<30}{len(group):>8}{count(draws):>12}{duration(seconds):>14}")
    draws, seconds = sum(e.draws for e in experiments), sum(e.seconds for e in experiments)
    lines.append(f"{'all':<30}{len(experiments):>8}{count(draws):>12}{duration(seconds):>14}")
    lines += [
        "",
        f"To catch {design.discrepancy:.3g} of each prediction: a check refutes a true claim with chance "
        f"{design.false_refute:.1e}",
        f"and confirms one that is off by so much with chance {design.false_confirm:.1e}.",
        f"About {duration(seconds / workers)} with {workers} worker{'s' * (workers > 1)}, after the pilots.",
    ]
    return "\n".join(lines) + "\n"
