"""The site builds without a warning, broken links and names included, and knows every command."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from rpstheory import __version__
from rpstheory.cli import app

ROOT = Path(__file__).parents[2]


class Page(HTMLParser):
    """Where a page points to, and where it can be pointed at."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = [], {""}
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name in ("id", "name") and value:
                self.anchors.add(value)


def broken_links(site):
    """Links of its pages to files or anchors of the site that are not there."""
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    assert {
        site / name for name in ("index.html", "README.html", "docs/index.html", "docs/tutorial.html")
    } <= set(pages)
    broken = []
    for path, page in pages.items():
        for link in page.links:
            scheme, address, file, _, anchor = urlsplit(link)
            target = (path.parent / unquote(file)).resolve() if file else path
            there = target.exists() and (target not in pages or unquote(anchor) in pages[target].anchors)
            if not (scheme or address or there):
                broken.append(f"{path.relative_to(site)}: {link}")
    return broken


@pytest.mark.slow
def test_site_builds_without_a_warning(tmp_path):
    bin_ = Path(sys.executable).parent
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", "-c", "docs", ".", tmp_path / "site"],
        cwd=ROOT, env=os.environ | {"PATH": f"{bin_}:{os.environ['PATH']}"}, capture_output=True, text=True,
    )  # fmt: skip
    assert (built.returncode, built.stderr) == (0, "")
    assert broken_links(tmp_path / "site") == []


def test_every_command_has_its_section():
    sections = set(re.findall(r"^## `rps (\w+)", (ROOT / "docs/reference/commands.md").read_text(), re.M))
    own = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert sections == own | {each.name for each in entry_points(group="rpstheory.commands")}


def test_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (cited["version"], cited["license"]) == (__version__, "Apache-2.0")
