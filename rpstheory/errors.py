"""What can go wrong, as types: one root and its few children.

Every message has three parts: who and what came; what was expected and why; what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rpstheory.claim import Verdict
    from rpstheory.conformance.law import Violation


class RpsError(Exception):
    """Anything this package raises on purpose."""


class ArgumentError(RpsError, ValueError):
    """A value outside what the function is defined for."""


class KindError(RpsError, TypeError):
    """An argument of a type the function cannot use."""


class ShapeError(RpsError, ValueError):
    """Arrays whose shapes do not fit together."""


class DataError(RpsError, ValueError):
    """A file or an array that does not hold usable numbers."""


class BackendError(RpsError, RuntimeError):
    """A backend that is not installed, has no device, or cannot run this."""


class ClusterError(RpsError, RuntimeError):
    """A cluster that does not answer."""


class ResumeError(RpsError, ValueError):
    """A resume folder that belongs to another run, or cannot be read or written."""


class MissingError(RpsError, ModuleNotFoundError):
    """An optional package that this needs and that is not installed."""


class Stopped(RpsError):
    """The user interrupted a long command."""


class ClaimRefuted(RpsError):
    """A claim the experiment contradicts; carries the verdict.

    Attributes:
        verdict: What was predicted and what was measured.
    """

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        super().__init__(
            f"claim {verdict.claim} refuted by {verdict.check}: measured {verdict.measured:.6g}, "
            f"predicted {verdict.predicted:.6g}; the mapping or the formula is wrong"
        )


class LawBroken(RpsError, AssertionError):
    """A mapping that breaks a law of rpstheory.conformance; carries the violation.

    Attributes:
        violation: Which law, and the smallest example found.
    """

    def __init__(self, violation: Violation) -> None:
        self.violation = violation
        super().__init__(str(violation))
