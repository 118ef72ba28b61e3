"""The page stands alone, holds everything, and lets no name break it."""

import re
from collections import Counter
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import pytest

from rpstheory.claims import all_claims
from rpstheory.data import load_setting
from rpstheory.report import gallery, page
from rpstheory.report.page import to_html
from rpstheory.report.words import prose

VOID = {"meta", "link", "br", "img", "input", "hr", "path", "use", "circle", "rect", "line"}


class Reader(HTMLParser):
    """Collects what a test wants to know and insists on balanced tags."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.text = [], [], [], []
        self.attributes, self.tags = [], Counter()

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        found = dict(attrs)
        if "id" in found:
            self.ids.append(found["id"])
        if "href" in found:
            self.links.append(found["href"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text.append(data)


def read(text):
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def stand_in(make, claim, number):
    outside = number == 1
    return make(
        claim=claim.name,
        check=f"check {number} of {claim.name}",
        scope="outside" if outside else "inside",
        condition="m does not divide n" if outside else "",
        claimed=5000.0 if outside else None,
        predicted=3000.0 + 500 * number,
        measured=3001.0 + 500 * number,
        interval=(2990.0 + 500 * number, 3012.0 + 500 * number),
    )


@pytest.fixture(scope="module")
def whole(make, run_of):
    """The full page, figures and all, of every claim."""
    report = run_of([stand_in(make, claim, number) for claim in all_claims() for number in range(4)])
    return report, to_html(report, all_claims(), load_setting("gaussian"))


@pytest.fixture
def quick(monkeypatch):
    """Pages without the landscapes, which do not depend on the report."""
    monkeypatch.setattr(page, "landscape_plates", lambda report, setting: [])
    return to_html


def test_the_page_parses_and_its_ids_are_unique(whole):
    reader = read(whole[1])
    assert [name for name, times in Counter(reader.ids).items() if times > 1] == []


def test_every_link_leads_to_a_place_on_the_page(whole):
    reader = read(whole[1])
    assert all(link.startswith("#") for link in reader.links)
    assert {link[1:] for link in reader.links} <= set(reader.ids)


def test_the_page_refers_to_nothing_outside_itself(whole):
    text = whole[1]
    reader = read(text)
    assert not re.search(r"https?://|//\w+\.\w+/|@import|javascript:", text)
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(reader.tags)
    assert {name for _, name, _ in reader.attributes if name in ("src", "srcset", "action")} == set()
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))


def test_the_page_holds_every_claim_and_every_verdict(whole):
    report, text = whole
    for claim in all_claims():
        assert f'id="claim-{claim.name}"' in text
        assert prose(claim.statement) in text
        assert prose(claim.mutant) in text
    for verdict in report.verdicts:
        assert verdict.check in text
    assert text.count("✓ confirmed") >= len(report.verdicts)


def test_the_page_has_a_figure_for_each_claim_and_the_landscapes(whole):
    reader = read(whole[1])
    names = {"overview", "variance", "phase", "alignment", "load", "tails"}
    names |= {f"agreement-{claim.name}" for claim in all_claims()}
    assert names <= set(reader.ids)
    assert reader.tags["figure"] == reader.tags["figcaption"] == len(names)


def test_the_page_is_accessible(whole):
    reader = read(whole[1])
    found = {(tag, name) for tag, name, _ in reader.attributes}
    assert ("html", "lang") in found
    assert (
        reader.tags["main"]
        == reader.tags["h1"]
        == reader.tags["title"]
        - sum(1 for tag, name, value in reader.attributes if (tag, name, value) == ("svg", "role", "img"))
    )
    labelled = [value for tag, name, value in reader.attributes if (tag, name) == ("svg", "aria-labelledby")]
    assert {part for value in labelled for part in value.split()} <= set(reader.ids)
    pictures = sum(1 for t, n, v in reader.attributes if (t, n, v) == ("svg", "role", "img"))
    hidden = sum(1 for t, n, v in reader.attributes if (t, n, v) == ("svg", "aria-hidden", "true"))
    assert pictures + hidden == reader.tags["svg"]
    scopes = Counter(v for t, n, v in reader.attributes if (t, n) == ("th", "scope"))
    assert scopes["col"] + scopes["row"] == reader.tags["th"]
    assert reader.tags["caption"] == reader.tags["table"]


def test_the_page_follows_light_dark_and_paper(whole):
    text = whole[1]
    assert "@media (prefers-color-scheme: dark)" in text
    assert "@media print" in text
    used = set(re.findall(r"var\((--[\w-]+)\)", text))
    assert used <= set(re.findall(r"(--[\w-]+):", text))


def test_a_page_without_contents_leaves_no_column_for_them(whole):
    assert re.search(r'<div class="sheet">\s*<nav', whole[1]), "main is the first child only without nav"
    assert re.search(r"^main:first-child \{ grid-column: 1 / -1; \}$", whole[1], re.MULTILINE)


def test_the_page_says_the_error_rates_the_seed_and_how_to_repeat_it(whole):
    text = " ".join("".join(read(whole[1]).text).split())
    for part in ("10⁻⁶", "0.001", "some cpu", "numpy 2.4.6", "2026-01-02T03:04:05Z", "rpstheory.report/1"):
        assert part in text
    assert "rps verify --claims first,second --data digits --compression 2,4,8" in text
    assert "--seed 7" in text


def test_the_page_is_small(whole):
    assert len(whole[1].encode()) < 5_000_000


def test_where_the_claims_stop_is_a_table_of_its_own(whole):
    section = whole[1].split('id="limits"')[2 - 1].split("</section>")[0]
    assert section.count("✓ fails") == len(all_claims())


def test_no_name_breaks_the_page(quick, make, run_of, claims, hostile):
    verdict = make(
        claim=hostile, check=hostile, condition=hostile, scope="outside", status="refuted", claimed=1.0
    )
    text = quick(run_of([verdict, make(check=hostile, condition=hostile)], hostile), claims)
    reader = read(text)
    assert reader.tags["script"] == 0
    assert "\x1b" not in text
    shown = unescape("".join(reader.text))
    assert "<script>alert(1)</script>" in shown


def test_what_is_not_confirmed_is_named_at_the_top(quick, mixed, claims):
    top = quick(mixed, claims).split('id="overview"')[0]
    assert "far off" in top
    assert "too noisy" in top
    assert "Not confirmed" in top


def test_a_report_without_verdicts_has_a_page(quick, run_of, claims):
    reader = read(quick(run_of([]), claims))
    assert "0 claims put to 0 checks" in "".join(reader.text)


def test_the_variance_figure_needs_data_that_are_known(monkeypatch, run_of):
    for name in ("_phase_plate", "_alignment_plate", "_tail_plate"):
        monkeypatch.setattr(gallery, name, lambda: None)
    monkeypatch.setattr(gallery, "_load_plate", lambda seed: None)
    unknown = replace(run_of([]), settings=replace(run_of([]).settings, data="x.npz:key"))
    plates = [p for p in gallery.landscape_plates(unknown, None) if p is not None]
    assert plates == []
    known = [p for p in gallery.landscape_plates(unknown, load_setting("uniform")) if p is not None]
    assert [p.name for p in known] == ["variance"]
    assert "uniform rows 1, 2" in known[0].caption
