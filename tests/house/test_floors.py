"""What import contracts cannot say: who names CuPy, and what an import brings along."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("rpstheory", "nn", "proofs_checks")
HEAVY = ("torch", "cupy", "numba", "matplotlib")
OPTIONAL = ("torch", "cupy", "distributed", "dask", "sympy", "z3", "transformers", "onnx", "pandas")
IMPORTERS = {"import_module", "__import__", "find_spec", "importorskip"}


def sources():
    return [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def packages_imported_by(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module and not node.level else []
        elif isinstance(node, ast.Call) and called(node.func) in IMPORTERS:
            names = [a.value for a in node.args if isinstance(a, ast.Constant)]
        else:
            continue
        yield from (str(name).partition(".")[0] for name in names)


def called(function):
    return getattr(function, "attr", getattr(function, "id", None))


def in_a_new_interpreter(code):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "code",
    [
        "import cupy",
        "import cupy.cuda as c",
        "from cupy import asarray",
        "def f():\n    from cupy.cuda import Device",
        "importlib.import_module('cupy')",
        "find_spec('cupy')",
    ],
)
def test_an_import_of_cupy_is_seen_in_every_form(code):
    assert "cupy" in set(packages_imported_by(ast.parse(code)))


def test_the_door_to_cupy_is_not_mistaken_for_cupy():
    code = ast.parse("from rpstheory.backend import cupy\nfrom . import cupy\nname = 'cupy'")
    assert "cupy" not in set(packages_imported_by(code))


def test_only_backend_names_cupy():
    naming = [
        file.relative_to(ROOT).as_posix()
        for file in sources()
        if "cupy" in packages_imported_by(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert naming == ["rpstheory/backend.py"]


@pytest.mark.parametrize("module", ["rpstheory", "rpstheory.cli"])
def test_import_loads_nothing_heavy(module):
    loaded = in_a_new_interpreter(
        f"import json, sys, {module}; print(json.dumps([h for h in {HEAVY} if h in sys.modules]))"
    )
    assert loaded == []


def test_every_core_module_imports_without_the_optional_packages():
    failed = in_a_new_interpreter(
        "import importlib, json, pkgutil, sys\n"
        f"sys.modules.update(dict.fromkeys({OPTIONAL}))\n"
        "import rpstheory\n"
        "failed = []\n"
        "for found in pkgutil.walk_packages(rpstheory.__path__, 'rpstheory.'):\n"
        "    try:\n"
        "        importlib.import_module(found.name)\n"
        "    except ImportError as error:\n"
        "        failed.append(f'{found.name}: {error}')\n"
        "print(json.dumps(failed))"
    )
    assert failed == []


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_ours(package):
    assert Path(importlib.util.find_spec(package).origin) == ROOT / package / "__init__.py"


@pytest.mark.parametrize("window", ["tests", "notebooks", "benchmarks"])
def test_nothing_that_is_shipped_imports(window):
    naming = [
        file.relative_to(ROOT).as_posix()
        for file in sources()
        if window in packages_imported_by(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert naming == []
