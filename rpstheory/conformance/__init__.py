"""A kit that holds anybody's mapping to the laws that theory and training rest on; docs/conformance.md."""

from rpstheory.conformance.kit import Conformance, check_mapping, laws, parametrize_with_laws
from rpstheory.conformance.law import Law, Outcome, Violation
from rpstheory.conformance.repetition import fingerprint
from rpstheory.errors import LawBroken

__all__ = [
    "Conformance",
    "Law",
    "LawBroken",
    "Outcome",
    "Violation",
    "check_mapping",
    "fingerprint",
    "laws",
    "parametrize_with_laws",
]
