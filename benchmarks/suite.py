"""Where the time of `make test` goes: CPU seconds of each of its parts, as a table in Markdown.

    make test ARGS="-p benchmarks.suite --junitxml build/suite.xml"
    python -m benchmarks.suite build/suite.xml

The first has pytest charge every test for its process, and for the processes that it started and waited for,
from its fixtures on; without a report the second begins with it. What imports of tests cost is in no row.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
SPENT, BEGUN = "cpu_seconds", pytest.StashKey[float]()
LINT = ("lint", "contracts")
TRAINED = "advice", "fitting", "methods", "parallel", "practice", "run", "text", "torchrun", "train"
# The first whose pattern is met by the module of a test, and for a doctest by that of the code.
PARTS = {
    "types": ("tests.house.test_types",),
    "laws, exact checks": ("tests.core.*", "tests.conformance.*"),
    "claims": ("tests.claims.*",),
    "proofs": ("tests.proofs.*",),
    "study slice": ("tests.networks.test_study*",),
    "shared layers": ("tests.networks.test_cross_layer_*",),
    "training": tuple(f"tests.networks.test_{name}*" for name in TRAINED),
    "networks, all else": ("tests.networks.*",),
    "notebooks": ("tests.house.test_notebooks",),
    "docs": ("tests.house.test_site", "rpstheory.*", "nn.*", "proofs_checks.*"),
    "other": ("*",),
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    item.stash[BEGUN] = sum(os.times()[:4])
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    try:
        return (yield)
    finally:
        spent = sum(os.times()[:4]) - item.stash[BEGUN]
        item.user_properties.append((SPENT, f"{spent:.2f}"))


def part_of(module):
    """Where a test belongs."""
    return next(part for part, patterns in PARTS.items() if any(fnmatch(module, each) for each in patterns))


def read(reports):
    """Tests and CPU seconds of each part."""
    tests, seconds = Counter(), Counter()
    for report in reports:
        for case in ElementTree.parse(report).iter("testcase"):
            part = part_of(case.get("classname"))
            tests[part] += 1
            # a module that was skipped as a whole has none
            spent = case.iterfind(f".//property[@name='{SPENT}']")
            seconds[part] += sum(float(each.get("value")) for each in spent)
    return tests, seconds


def made(*arguments):
    """CPU seconds of `make`, which says on the other stream what it does."""
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run(["make", "--silent", *arguments], cwd=ROOT, stdout=sys.stderr, check=True)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("reports", nargs="*", help="of pytest --junitxml; if left out, tests are run")
    reports = parser.parse_args().reports
    with tempfile.TemporaryDirectory() as folder:
        if not reports:
            reports = [f"{folder}/suite.xml"]
            made("test", f"ARGS=-p benchmarks.suite --junitxml {reports[0]}")
        tests, seconds = read(reports)
    rows = [("lint, contracts", "", made(*LINT))]
    rows += [(part, f"{tests[part]:,}", seconds[part]) for part in PARTS]
    rows.append(("all", f"{tests.total():,}", sum(row[-1] for row in rows)))
    print("| part | tests | CPU seconds |\n|---|---:|---:|")
    for part, count, spent in rows:
        print(f"| {part} | {count} | {spent:.0f} |")


if __name__ == "__main__":
    main()
