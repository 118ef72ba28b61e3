"""Reports that nobody measured: verdicts made by hand, claims with words alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import strategies as st

from rpstheory.claim import Claim, Verdict
from rpstheory.report.record import Environment, Report, Settings

HOSTILE = '"><script>alert(1)</script>&amp;\x1b[31m|`$_*.npy'

numbers = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(max_size=40)
verdicts = st.builds(
    Verdict,
    claim=st.sampled_from(["first", "second", "nobody-knows"]),
    check=words,
    status=st.sampled_from(["confirmed", "refuted", "inconclusive"]),
    relation=st.sampled_from(["equals", "at most", "always"]),
    scope=st.sampled_from(["inside", "outside"]),
    condition=words,
    predicted=numbers,
    measured=numbers,
    interval=st.tuples(numbers, numbers),
    claimed=st.none() | numbers,
    draws=st.integers(0, 2**40),
    discrepancy=numbers.map(abs),
    false_refute=st.floats(0, 1),
    false_confirm=st.floats(0, 1),
    seconds=st.floats(0, 1e6),
)
reports = st.builds(
    Report,
    verdicts=st.lists(verdicts, max_size=6).map(tuple),
    settings=st.builds(
        Settings,
        data=words,
        rows=st.integers(1, 10**6),
        n=st.integers(1, 10**6),
        fingerprint=words,
        compressions=st.lists(st.floats(1, 100), max_size=3).map(tuple),
        claims=st.lists(words, max_size=3).map(tuple),
        discrepancy=st.floats(1e-4, 0.5),
    ),
    environment=st.builds(
        Environment,
        python=words,
        packages=st.dictionaries(words, words, max_size=3),
        platform=words,
        cpu=words,
        cores=st.integers(1, 256),
    ),
    seed=st.integers(0, 2**64 - 1),
    started=words,
    seconds=st.floats(0, 1e6),
)


def a_verdict(**changes: Any) -> Verdict:
    """A confirmed check, with changes."""
    fields: dict[str, Any] = {
        "claim": "first",
        "check": "Fold 64→16, digits of one class",
        "status": "confirmed",
        "relation": "equals",
        "scope": "inside",
        "condition": "",
        "predicted": 3064.0,
        "measured": 3059.5,
        "interval": (3045.5, 3073.5),
        "claimed": None,
        "draws": 48221,
        "discrepancy": 48.8,
        "false_refute": 2e-8,
        "false_confirm": 1e-3,
        "seconds": 0.25,
    }
    return Verdict(**(fields | changes))


def a_report(found: Sequence[Verdict], data: str = "digits") -> Report:
    """A run that found these verdicts."""
    settings = Settings(data, 1797, 64, "0123456789abcdef", (2.0, 4.0, 8.0), ("first", "second"), 0.01)
    environment = Environment("3.11.7 (CPython)", {"numpy": "2.4.6"}, "Linux, x86_64", "some cpu", 2)
    return Report(tuple(found), settings, environment, 7, "2026-01-02T03:04:05Z", 12.5)


def a_claim(number: int, name: str, **changes: Any) -> Claim:
    """A claim of words alone."""
    fields: dict[str, Any] = {
        "number": number,
        "name": name,
        "title": f"The {name} claim",
        "statement": "For x_i^2 <= 1 and |w*| >= 0 the mean is <x, y>.",
        "assumptions": ("m | n", "lambda_i > 0"),
        "formula": r"\frac{n}{m} \sum_{i \neq j} x_i^2\,\langle Sx, Sy\rangle",
        "source": "derived here",
        "footing": "proved for the shipped hash",
        "checks": lambda setting: [],
        "mutant": "the factor n/m dropped",
        "mutant_check": lambda setting: None,
        "remarks": "See V_block.",
    }
    return Claim(**(fields | changes))


@pytest.fixture(scope="session")
def make() -> Callable[..., Verdict]:
    """Makes a verdict with changes."""
    return a_verdict


@pytest.fixture(scope="session")
def run_of() -> Callable[..., Report]:
    """Makes a report of verdicts."""
    return a_report


@pytest.fixture
def claims() -> tuple[Claim, ...]:
    """Two claims of words alone."""
    return a_claim(1, "first"), a_claim(2, "second", remarks="")


@pytest.fixture
def mixed() -> Report:
    """Every status, relation and scope."""
    return a_report(
        [
            a_verdict(),
            a_verdict(check="signs tied to cells", scope="outside", condition="signs depend", claimed=9.0),
            a_verdict(check="at most a bound", relation="at most", predicted=4000.0),
            a_verdict(
                check="never wrong", relation="always", predicted=0.0, measured=0.0, interval=(0.0, 0.0)
            ),
            a_verdict(claim="second", check="far off", status="refuted", predicted=1.0),
            a_verdict(claim="second", check="too noisy", status="inconclusive", predicted=-2.5e-9),
        ]
    )


@pytest.fixture(scope="session")
def any_report() -> st.SearchStrategy[Report]:
    """Draws reports of any finite content."""
    return reports


@pytest.fixture(scope="session")
def hostile() -> str:
    """A name of a file that would break a page, a table or a terminal."""
    return HOSTILE
