"""The site builds without a warning, broken links and names included, and knows every command."""

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

from rpstheory import __version__
from rpstheory.cli import app

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_site_builds_without_a_warning(tmp_path):
    bin_ = Path(sys.executable).parent
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", "-c", "docs", ".", tmp_path / "site"],
        cwd=ROOT, env=os.environ | {"PATH": f"{bin_}:{os.environ['PATH']}"}, capture_output=True, text=True,
    )  # fmt: skip
    assert (built.returncode, built.stderr) == (0, "")
    for page in ("docs/index.html", "docs/tutorial.html", "README.html", "index.html"):
        assert (tmp_path / "site" / page).stat().st_size > 0


def test_every_command_has_its_section():
    sections = set(re.findall(r"^## `rps (\w+)", (ROOT / "docs/reference/commands.md").read_text(), re.M))
    own = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert sections == own | {each.name for each in entry_points(group="rpstheory.commands")}


def test_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (cited["version"], cited["license"]) == (__version__, "Apache-2.0")
