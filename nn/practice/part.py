"""What a part of practice is: a claim with its checks, and the figures that show what they found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rpstheory.claim import Claim, Verdict
    from rpstheory.report.gallery import Plate


def no_plates(verdicts: Sequence[Verdict]) -> list[Plate]:
    """For a claim whose figure is that of another."""
    return []


def as_measured(verdict: Verdict) -> Verdict:
    """For a claim whose draws say all there is to say."""
    return verdict


@dataclass(frozen=True, eq=False)
class Part:
    """A claim about a network.

    Attributes:
        claim: Its checks are built already, from the network.
        plates: Its figures, once there are verdicts.
        judged: A verdict, with what else is known of the uncertainty of its measurement.
    """

    claim: Claim
    plates: Callable[[Sequence[Verdict]], list[Plate]] = no_plates
    judged: Callable[[Verdict], Verdict] = as_measured
