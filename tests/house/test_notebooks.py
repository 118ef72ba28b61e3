"""Notebooks: pairs that say the same, that use what is public, and that run from top to bottom.

What is run is the script, in a process of its own and in a copy of the folder, with warnings as errors and
every figure drawn. It holds the same cells as the notebook, which is tested here, and a new process is as
fresh as a new kernel, so that none is needed.
"""

import ast
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import matplotlib as mpl
import nbformat
import pytest

from rpstheory.report.figures import style

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
SCRIPTS = sorted(FOLDER.glob("*.py"))
OURS = ("rpstheory", "nn", "proofs_checks")

# As a notebook does where it says plt.show(): draw what is open, and close it.
RUN = """
import runpy, sys
from matplotlib import pyplot
def show():
    for number in pyplot.get_fignums():
        pyplot.figure(number).canvas.draw()
    pyplot.close("all")
pyplot.show = show
runpy.run_path(sys.argv[1])
"""


def each_script(test):
    return pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)(test)


def notebook(script):
    return nbformat.read(script.with_suffix(".ipynb"), as_version=4)


def facts(book):
    return book.metadata.kernelspec, [(cell.cell_type, cell.source, cell.metadata) for cell in book.cells]


def run(script, folder):
    """A script of this folder, in the small setting."""
    settings = {"RPS_SMALL": "1", "MPLBACKEND": "agg", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    settings |= {"TMPDIR": str(folder.parent)}  # so that what a notebook stores goes with the test
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN, script],
        cwd=folder,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )


def imports(script):
    """Module and name of everything that is taken from our packages; None where a module itself is."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found = [(node.value.id, node.attr)] if node.value.id in OURS else []
        else:
            continue
        yield from ((module, name) for module, name in found if module.partition(".")[0] in OURS)


def documented():
    """The text in which a user may find a module: every page but the one for those who work on the code."""
    pages = {ROOT / "README.md", FOLDER / "README.md", *(ROOT / "docs").glob("*.md")} - {
        ROOT / "docs/house.md"
    }
    return "\n".join(page.read_text(encoding="utf-8") for page in sorted(pages))


def links(script):
    """Targets of the links in the prose."""
    prose = "\n".join(cell.source for cell in notebook(script).cells if cell.cell_type == "markdown")
    return re.findall(r"\]\(([^)]+)\)", prose)


def anchors(page):
    """Of the headings of a page, as Git hosts and documentation sites make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_notebook_has_its_script():
    assert [path.stem for path in sorted(FOLDER.glob("*.ipynb"))] == [script.stem for script in SCRIPTS]
    assert SCRIPTS


@each_script
def test_notebook_is_what_jupytext_makes_of_the_script(script):
    assert facts(notebook(script)) == facts(jupytext.read(script))


@each_script
def test_notebook_is_stored_without_outputs(script):
    code = [cell for cell in notebook(script).cells if cell.cell_type == "code"]
    assert {(len(cell.outputs), cell.execution_count) for cell in code} == {(0, None)}


@each_script
def test_notebook_says_first_how_long_it_takes_and_last_what_its_cells_have_verified(script):
    first, *_, checks, last = notebook(script).cells
    assert re.search(r"^\*Takes .+ on one core.*\*", first.source, flags=re.MULTILINE)
    assert re.search(r"^assert ", checks.source, flags=re.MULTILINE)
    assert last.source.startswith("**Conclusion.** ")
    assert len(re.findall(r"[.!?](?:\s|$)", last.source.removeprefix("**Conclusion.** "))) == 1


@each_script
def test_notebook_uses_public_names_of_documented_modules(script):
    text = documented()
    for module, name in imports(script):
        assert re.search(rf"`{module}[`.(]|\b(from|import) {module}\b", text), module
        if name is not None:
            assert not name.startswith("_")
            public = getattr(importlib.import_module(module), "__all__", [name])
            assert name in public or importlib.util.find_spec(f"{module}.{name}"), f"{module}.{name}"


@each_script
def test_links_of_a_notebook_lead_somewhere(script):
    for target in links(script):
        path, _, anchor = target.partition("#")
        page = FOLDER / path
        assert page.is_file(), target
        assert not anchor or anchor in anchors(page), target


def test_figures_have_the_look_of_the_reports():
    settings = dict(mpl.rc_params_from_file(FOLDER / "house.mplstyle", use_default_template=False))
    colors = settings.pop("axes.prop_cycle").by_key()["color"]
    assert colors == [style.BLUE, style.ORANGE, style.GREEN, style.PURPLE, style.GOLD, style.RED]
    assert settings == dict(mpl.RcParams(style._RC))


@pytest.mark.slow
@each_script
def test_notebook_runs_from_top_to_bottom(script, tmp_path):
    folder = shutil.copytree(FOLDER, tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*", "__*"))
    before = sorted(folder.glob("[!.]*"))
    done = run(script.name, folder)
    assert done.returncode == 0, done.stderr[-2000:]
    assert sorted(folder.glob("[!.]*")) == before


def test_run_fails_where_a_cell_finds_its_conclusion_false(tmp_path):
    (tmp_path / "false.py").write_text("# %%\nassert 1 == 2\n")
    assert run("false.py", tmp_path).returncode == 1
