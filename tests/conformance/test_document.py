"""docs/conformance.md: its code runs, its output is what it prints, and its table is the list of laws."""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rpstheory.conformance import fingerprint, laws

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", TEXT, re.DOTALL | re.MULTILINE)
CODE = [code for code, _ in BLOCKS if "my_package" not in code]


@pytest.fixture(scope="module")
def run():
    """What each block of code prints, and the names that all of them leave behind."""
    names, printed = {"__name__": "conformance_document"}, {}
    for code in CODE:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(code, names)
        printed[code] = out.getvalue()
    return printed, names


def stable(text):
    """The bytes that are held depend on the version of Python."""
    return re.sub(r"\d+ bytes +", "… bytes ", text)


def test_document_has_code_and_output():
    assert len(BLOCKS) == 5
    assert [bool(output) for _, output in BLOCKS] == [True, True, False, True, False]


def test_code_prints_what_the_document_shows(run):
    for code, output in BLOCKS:
        if output:
            assert stable(run[0][code]) == stable(output)


def test_property_test_of_the_document_holds(run):
    run[1]["test_expand_is_the_adjoint_of_compress"]()


def test_document_lists_every_law_in_its_words():
    rows = [f"| `{law.name}` | {law.statement} | {law.meaning} |" for law in laws()]
    assert "\n".join(["|---|---|---|", *rows, ""]) in TEXT


def test_golden_of_the_document_is_the_fingerprint(run):
    assert f'golden="{fingerprint(run[1]["Scattered"])}"' in TEXT


def test_document_names_every_declaration():
    declared = re.findall(r"^\| (`.*?) \| .* \| .* \|$", TEXT.partition("## A mapping")[0], re.MULTILINE)
    assert [re.findall(r"`(\w+)", cell)[0] for cell in declared] == [
        "cells",
        "rescale",
        "collision_probability",
        "collision_sum",
        "inner_product_variance",
        "pareto_continuous",
        "compress",
        "effective_scaler",
        "to_json",
        "seeds",
    ]


def test_tests_of_the_document_pass_under_pytest(run, tmp_path):
    mapping, report = CODE[0].partition("\n\ntry:")[0], run[0][CODE[1]]
    (tmp_path / "my_package.py").write_text(f"{mapping}\n\n\n{CODE[1].partition('print(')[0]}")
    (tests,) = [code for code, _ in BLOCKS if "my_package" in code]
    (tmp_path / "test_scattered.py").write_text(tests)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    skipped = len(re.findall("not declared|does not apply", report)) - 1  # golden is asked in the tests
    assert f"{len(laws()) - skipped} passed, {skipped} skipped" in done.stdout
