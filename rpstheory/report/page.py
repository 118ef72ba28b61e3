"""The report as one HTML page that works offline, in light and dark, and on paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rpstheory.claims import all_claims
from rpstheory.report.formula import formula_html
from rpstheory.report.gallery import Plate, claim_plates, landscape_plates, overview_plate
from rpstheory.report.html import (
    alarm,
    cells,
    checks_table,
    document,
    esc,
    facts,
    plate_html,
    table,
)
from rpstheory.report.numbers import chance, count, duration, figure, measured_text, share
from rpstheory.report.words import MARKS, Group, clean, grouped, prose, tally, worst

if TYPE_CHECKING:
    from rpstheory.claim import Claim, Setting, Verdict
    from rpstheory.report.record import Report


def to_html(report: Report, claims: Sequence[Claim], setting: Setting | None = None) -> str:
    """One self-contained page: summary, a section for each claim, landscapes, environment.

    Args:
        report: What was found.
        claims: For words and formulas; those without a verdict are left out.
        setting: The data of the run, for the figure of the variances. Without it built-in data are
            loaded by their name, and for other data that figure is left out.

    Returns:
        HTML that refers to nothing outside itself.
    """
    groups = grouped(report, claims)
    plates = landscape_plates(report, setting)
    body = [
        _summary(report, groups),
        *(_claim_section(group, report) for group in groups),
        _landscapes(plates),
        _environment(report),
    ]
    title = f"Parameter sharing against pruning: {report.summary.checks} checks"
    inside = (
        '<a class="skip" href="#summary">Skip to the summary</a>\n<div class="sheet">\n'
        f"{_contents(groups, plates)}\n<main>\n" + "\n".join(body) + "\n</main>\n</div>"
    )
    return document(title, inside)


def _contents(groups: Sequence[Group], plates: Sequence[Plate]) -> str:
    claims = "".join(
        f"<li><span>{claim.number if claim else ''}</span>"
        f'<a href="#{_anchor(name)}">{esc(claim.title if claim else name)}</a></li>'
        for name, claim, _ in groups
    )
    landscapes = "".join(f'<li><a href="#{p.name}">{esc(p.title)}</a></li>' for p in plates)
    return (
        '<nav aria-label="Contents"><h2>Contents</h2><ul><li><a href="#summary">Summary</a></li>'
        '<li><a href="#limits">Where the claims stop</a></li></ul>'
        f"<h2>Claims</h2><ol>{claims}</ol><h2>Landscapes</h2><ul>{landscapes}</ul>"
        '<h2>Run</h2><ul><li><a href="#environment">Environment and seeds</a></li></ul></nav>'
    )


def _summary(report: Report, groups: Sequence[Group]) -> str:
    s, settings = report.summary, report.settings
    compressions = ", ".join(f"{c:g}" for c in settings.compressions)
    tally = (
        (s.confirmed, "confirmed", "confirmed"),
        (s.required_failures, "of these: failures that a claim requires outside its scope", "outside"),
        (s.refuted, "refuted", "refuted" if s.refuted else "muted"),
        (s.inconclusive, "inconclusive", "inconclusive" if s.inconclusive else "muted"),
        (count(s.draws), "draws", ""),
        (duration(report.seconds), "time", ""),
    )
    boxes = "".join(
        f'<div><dt>{esc(words)}</dt><dd class="{kind}">{value}</dd></div>' for value, words, kind in tally
    )
    return (
        '<section class="first" id="summary">\n'
        "<h1>Parameter sharing against pruning</h1>\n"
        f'<p class="lead">{len(groups)} claims put to {s.checks} checks on {esc(settings.data)} '
        f"(n = {settings.n}, {settings.rows} vectors), compressions {compressions}.</p>\n"
        f'<dl class="tally">{boxes}</dl>\n{_troubles(report)}'
        f"<p>A check predicts a mean by a formula and measures it over a number of draws fixed "
        f"beforehand. It is confirmed when the whole interval lies within its discrepancy, the smallest "
        f"difference worth catching: {share(settings.discrepancy)} of the prediction, unless the check "
        f"says otherwise; a check of what must never happen counts violations. The chance to refute "
        f"anything in a suite that is true is {chance(settings.false_refute)}; the chance of a check to "
        f"confirm a statement that is off by its discrepancy is {chance(settings.false_confirm)}.</p>\n"
        f"{plate_html(overview_plate(report, groups))}\n{_claims_table(groups)}\n</section>\n"
        f"{_limits(groups)}"
    )


def _troubles(report: Report) -> str:
    found = [v for v in report.verdicts if v.status != "confirmed"]
    if not found:
        return ""
    items = "".join(
        f'<li><span class="{v.status}">{v.status}</span>: <a href="#{_anchor(v.claim)}">{esc(v.claim)}'
        f"</a>, {prose(v.check)}: measured {measured_text(v)}, predicted {figure(v.predicted)}</li>"
        for v in found
    )
    return f"<h3>Not confirmed</h3><ul>{items}</ul>\n"


def _claims_table(groups: Sequence[Group]) -> str:
    rows = []
    for name, claim, numbered in groups:
        verdicts = [v for _, v in numbered]
        status = worst(verdicts)
        title = f'<a href="#{_anchor(name)}">{esc(claim.title if claim else name)}</a>'
        rows.append(
            cells(
                ("n", str(claim.number) if claim else ""),
                ("head", title),
                ("keep", esc(claim.footing) if claim else ""),
                ("n", tally(verdicts, "inside")),
                ("n", tally(verdicts, "outside")),
                ("n", count(sum(v.draws for v in verdicts))),
                (f"status {status}", f"{MARKS[status]} {status}"),
                row=alarm(status),
            )
        )
    head = (("n", "#"), ("", "Claim"), ("", "Rests on"), ("n", "Holds"), ("n", "Fails outside"),
            ("n", "Draws"), ("", "Verdict"))  # fmt: skip
    return table("The claims, and how many of their checks are confirmed", head, rows)


def _limits(groups: Sequence[Group]) -> str:
    """Every required failure, in one table."""
    rows = [
        cells(
            ("head", f'<a href="#{_anchor(name)}">{claim.number if claim else esc(name)}</a>'),
            ("", prose(v.condition)),
            ("", prose(v.check)),
            ("n", "–" if v.claimed is None else figure(v.claimed, 5)),
            ("n", measured_text(v)),
            (f"status {v.status}", _failure(v)),
            row=alarm(v.status),
        )
        for name, claim, numbered in groups
        for _, v in numbered
        if v.scope == "outside"
    ]
    if not rows:
        return ""
    head = (("", "Claim"), ("", "Where it stops"), ("", "Check"), ("n", "Claim would give"),
            ("n", "Measured"), ("", "Verdict"))  # fmt: skip
    return (
        '<section id="limits"><h2>Where the claims stop</h2>\n<p>A claim that holds under a condition is '
        "also tried where the condition is broken. There it must fail, by the amount that theory "
        "predicts; otherwise the condition would be superfluous or the check blind.</p>\n"
        + table("Required failures", head, rows)
        + "</section>"
    )


def _failure(v: Verdict) -> str:
    return f"{MARKS[v.status]} {'fails' if v.status == 'confirmed' else v.status}"


def _claim_section(group: Group, report: Report) -> str:
    name, claim, numbered = group
    verdicts = [v for _, v in numbered]
    head = f'<span class="number">{claim.number}</span>{esc(claim.title)}' if claim else esc(name)
    parts = [f'<section id="{_anchor(name)}"><h2>{head}</h2>']
    if claim:
        remarks = [("Remarks", prose(claim.remarks))] if claim.remarks else []
        assumptions = "".join(f"<li>{prose(a)}</li>" for a in claim.assumptions)
        parts += [
            f"<p>{prose(claim.statement)}</p>",
            formula_html(claim.formula),
            facts(
                ("Rests on", esc(claim.footing)),
                ("Assumes", f"<ul>{assumptions}</ul>"),
                *remarks,
                ("Mutant", f"{prose(claim.mutant)} (the checks must refute it)"),
                ("Source", prose(claim.source)),
                ("Name", f"<code>{esc(claim.name)}</code>"),
            ),
        ]
    parts.append(checks_table(numbered))
    parts += [plate_html(p) for p in claim_plates(name, verdicts)]
    return "\n".join([*parts, "</section>"])


def _landscapes(plates: Sequence[Plate]) -> str:
    shown = "\n".join(f"<h3>{esc(p.title)}</h3>{plate_html(p)}" for p in plates)
    return (
        '<section id="landscapes"><h2>Landscapes</h2>\n<p>The same formulas over whole ranges: where '
        f"sharing beats pruning, and where it does not.</p>\n{shown}\n</section>"
    )


def _environment(report: Report) -> str:
    settings, environment = report.settings, report.environment
    packages = ", ".join(f"{name} {version}" for name, version in environment.packages.items())
    workers = "a cluster" if settings.cluster else f"{settings.jobs} local"
    data = f"{settings.data}: {settings.rows} vectors of {settings.n}, SHA-256 {settings.fingerprint}…"
    shown = (
        ("Started", report.started),
        ("Time", f"{duration(report.seconds)} ({duration(report.summary.worker_seconds)} of work)"),
        ("Seed", str(report.seed)),
        ("Data", data),
        ("Backend, workers", f"{settings.backend}, {workers}"),
        ("Python", environment.python),
        ("Packages", packages),
        ("Processor", f"{environment.cpu}, {environment.cores} cores"),
        ("System", environment.platform),
        ("Report", report.schema),
    )
    return (
        '<section id="environment"><h2>Environment and seeds</h2>\n<p>The seed fixes every draw: the same '
        "seed, data and backend give the same verdicts, with any number of workers.</p>\n"
        + facts(*((name, esc(value)) for name, value in shown))
        + f"<p>To repeat it:</p><pre><code>{esc(_command(report))}</code></pre></section>"
    )


def _command(report: Report) -> str:
    s = report.settings
    compressions = ",".join(f"{c:g}" for c in s.compressions)
    every = {c.name for c in all_claims()} == set(s.claims)
    chosen = "" if every else f" --claims {','.join(s.claims)}"
    return (
        f"rps verify{chosen} --data {clean(s.data)} --compression {compressions} "
        f"--discrepancy {s.discrepancy:g} --seed {report.seed} --backend {s.backend}"
    )


def _anchor(name: str) -> str:
    return "claim-" + "".join(c if c.isalnum() and c.isascii() else "-" for c in name)
