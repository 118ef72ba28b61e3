"""Facts that stand in two files say the same."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import nn
import rpstheory

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TOOL = PYPROJECT["tool"]
PACKAGES = TOOL["hatch"]["build"]["targets"]["wheel"]["packages"]
BASE = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
EXTRAS = {
    name: [Requirement(line) for line in lines]
    for name, lines in PYPROJECT["project"]["optional-dependencies"].items()
}


def pins():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def version(pin):
    (only,) = pin.specifier
    assert only.operator == "=="
    return only.version


def test_nn_is_our_package():
    assert Path(nn.__file__) == ROOT / "nn" / "__init__.py"


@pytest.mark.parametrize("pin", pins(), ids=str)
def test_pin_lies_in_every_range_that_names_it(pin):
    ranges = [need.specifier for needs in (BASE, *EXTRAS.values()) for need in needs if need.name == pin.name]
    assert ranges
    assert all(allowed.contains(version(pin)) for allowed in ranges)


def test_makefile_finds_one_pin_of_torch():
    assert [pin.name for pin in pins()].count("torch") == 1


def test_core_does_not_require_torch():
    assert "torch" not in {need.name for need in BASE}


def test_every_requirement_has_a_lower_bound():
    missing = [
        str(need)
        for needs in (BASE, *EXTRAS.values())
        for need in needs
        if not any(part.operator == ">=" for part in need.specifier)
    ]
    assert missing == []


def test_every_tool_looks_at_the_packages_that_are_shipped():
    assert TOOL["mypy"]["packages"] == PACKAGES
    assert TOOL["importlinter"]["root_packages"] == PACKAGES
    assert TOOL["ruff"]["lint"]["isort"]["known-first-party"] == PACKAGES


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_marked_as_typed(package):
    assert (ROOT / package / "py.typed").is_file()


def test_changelog_has_a_section_for_this_version():
    assert f"## [{rpstheory.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
