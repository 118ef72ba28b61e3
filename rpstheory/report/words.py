"""What the table, the page and the documents say in the same words."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rpstheory.report.numbers import chance, count, duration, share

if TYPE_CHECKING:
    from rpstheory.claim import Claim, Verdict
    from rpstheory.report.record import Report

Group = tuple[str, "Claim | None", list[tuple[int, "Verdict"]]]  # name, claim, numbered verdicts

MARKS = {"confirmed": "✓", "refuted": "✗", "inconclusive": "?"}

_GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "Gamma": "Γ", "eta": "η", "theta": "θ", "lambda": "λ",
    "Lambda": "Λ", "mu": "μ", "rho": "ρ", "sigma": "σ", "Sigma": "Σ", "tau": "τ", "phi": "φ", "chi": "χ",
    "sqrt": "√",
}  # fmt: skip
_SIGNS = (
    (r"<=", "≤"),
    (r">=", "≥"),
    (r"!=", "≠"),
    (r"<-", "←"),
    (r"<([A-Z]?\w), ?([A-Z]?\w)>", r"⟨\1, \2⟩"),
    (r"(?<=[\w)|\]]) - (?=[\w(|\[])", " − "),
    (r"(?<=[(\s^/])-(?=[\d\w(])", "−"),
    (r"(?<![A-Za-z])([A-Za-z]\*?)'", r"\1′"),
    (r"\((\d)-(?=[\d(]|(?:mu|rho|[A-Za-z])\b)", r"(\1−"),
    (r"(?<![A-Za-z])([A-Za-z])-(?=[\d(]|[A-Za-z]\b)", r"\1−"),
)
_LETTER = r"(?<![A-Za-z_])(max|min|sum|sup|sign|load|cell|shift|[A-Za-zαβγΓηθλΛμρσΣτφχ]\d?)"
_LOW = re.compile(_LETTER + r"_(?!\w*\.np[yz])(\([^()]*\)|[A-Za-z0-9αβγηθλμρσ]+)")
_HIGH = re.compile(r"(?<=[\w)|\]>⟩′])\^(\([^()]*\)|[-−]?[A-Za-z0-9αβγηθλμρσ]+|\*)")


def clean(text: str) -> str:
    """``text`` on one line, without control characters or halves of a surrogate pair."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


def prose(text: str) -> str:
    """A claim's plain words as HTML, with sub- and superscripts and the signs a reader expects.

    Args:
        text: As written in a claim: "sum of p_ij x_i^2, lambda <= 1".

    Returns:
        Escaped HTML: "sum of p<sub>ij</sub> x<sub>i</sub><sup>2</sup>, λ ≤ 1".
    """
    text = clean(text)
    for pattern, sign in _SIGNS:
        text = re.sub(pattern, sign, text)
    text = re.sub(r"(?<![A-Za-z])([A-Za-z]+)(?![A-Za-z])", lambda m: _GREEK.get(m[1], m[1]), text)
    text = html.escape(text)
    text = _LOW.sub(lambda m: f"{m[1]}<sub>{_bare(m[2])}</sub>", text)
    return _HIGH.sub(lambda m: f"<sup>{_bare(m[1])}</sup>", text)


def grouped(report: Report, claims: Sequence[Claim]) -> list[Group]:
    """Verdicts by claim, in the order of the claims' numbers; each with its number within the claim.

    Args:
        report: Any report.
        claims: Those known; a claim without one comes last, as None.

    Returns:
        (name, claim, [(1, verdict), …]) for each claim that has verdicts.
    """
    known = {c.name: c for c in claims}
    found: dict[str, list[tuple[int, Verdict]]] = {}
    for verdict in report.verdicts:
        own = found.setdefault(verdict.claim, [])
        own.append((len(own) + 1, verdict))
    order = sorted(found, key=lambda name: known[name].number if name in known else 10**6)
    return [(name, known.get(name), found[name]) for name in order]


def scope_text(verdict: Verdict) -> str:
    """Whether the statement holds there: "holds", "holds: m | n", "fails outside: signs tied"."""
    head = "fails outside" if verdict.scope == "outside" else "holds"
    return f"{head}: {clean(verdict.condition)}" if verdict.condition else head


def counts_text(verdicts: Sequence[Verdict]) -> str:
    """How many of each status, leaving out what is zero: 14 confirmed, 1 refuted."""
    status: list[str] = [v.status for v in verdicts]
    parts = [f"{status.count(s)} {s}" for s in MARKS if status.count(s)]
    return ", ".join(parts) or "no checks"


def worst(verdicts: Sequence[Verdict]) -> str:
    """The gravest status among them; "confirmed" if there are none."""
    found = {v.status for v in verdicts}
    return next((s for s in ("refuted", "inconclusive") if s in found), "confirmed")


def tally(verdicts: Sequence[Verdict], scope: str) -> str:
    """How many checks of a scope are confirmed: "13 of 14", or a dash if there are none."""
    own = [v for v in verdicts if v.scope == scope]
    return f"{sum(v.status == 'confirmed' for v in own)} of {len(own)}" if own else "–"


def summary_lines(report: Report) -> tuple[str, ...]:
    """Counts, error rates and time, one sentence each.

    Args:
        report: Any report.

    Returns:
        Three lines of plain text.
    """
    s, settings = report.summary, report.settings
    failures = "failure" if s.required_failures == 1 else "failures"
    return (
        f"{s.checks} checks: {s.confirmed} confirmed ({s.required_failures} of them required {failures} "
        f"outside a claim's scope), {s.refuted} refuted, {s.inconclusive} inconclusive",
        f"chance that a true suite is refuted anywhere: {chance(settings.false_refute)}; that a check "
        f"confirms what is off by {share(settings.discrepancy)}: {chance(settings.false_confirm)}",
        f"{count(s.draws)} draws in {duration(report.seconds)} on {clean(settings.data)} "
        f"(n = {settings.n}), seed {report.seed}",
    )


def _bare(text: str) -> str:
    return text[1:-1] if text.startswith("(") else text
