"""How Sphinx makes the site (`make site`) from the Markdown of the repository and the docstrings."""

import os
import re
from importlib.metadata import version as installed

from sphinx.application import Sphinx

project, author = "rps-toolkit", "the rps-toolkit authors"
release = version = installed("rps-toolkit")
root_doc = "docs/index"
include_patterns = [
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**", "benchmarks/README.md", "notebooks/README.md",
]  # fmt: skip
exclude_patterns = ["docs/_root", ".*", "build", "tests"]  # where thousands of files need not be looked at
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinxcontrib.programoutput",
]

myst_fence_as_directive = ["math"]
myst_heading_anchors = 4
suppress_warnings = ["ref.python"]  # attributes of the same name
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
viewcode_follow_imported_members = False
nitpicky = True
nitpick_ignore_regex = [("py:(class|exc|obj|data|mod)", ".*")]  # functions named in words must be found

os.environ["COLUMNS"] = "100"  # of the help texts
html_theme = "furo"
html_title = project
html_extra_path = ["_root"]
html_show_sourcelink = html_show_copyright = False


def setup(app: Sphinx) -> None:
    """Absolute values in docstrings are no substitutions."""
    app.connect("autodoc-process-docstring", _escape_bars)


def _escape_bars(app: object, what: str, name: str, it: object, options: object, lines: list[str]) -> None:
    lines[:] = [line if ">>>" in line else _escaped(line) for line in lines]


def _escaped(line: str) -> str:
    parts = re.split("(``.*?``)", line)
    return "".join(part if part.startswith("``") else part.replace("|", "\\|") for part in parts)
