"""`make` with a Python and a pip that only pretend: what is installed when, what is said."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What make, or a person calling it, may have put into our environment.
FOREIGN = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "ARGS", "PYTHON"}

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

# `python -m venv DIR` puts a copy of this script there; `python -m pip` notes that it was called.
PRETENDER = """#!/bin/sh
case "$*" in
  "-m venv "*)
    mkdir -p "$3/bin" && cp "$0" "$3/bin/python"
    echo "VIRTUAL_ENV=$(pwd)/$3" > "$3/bin/activate"
    printf '#!/bin/sh\\necho "rps $*"\\n' > "$3/bin/rps" && chmod +x "$3/bin/rps" ;;
  "-m pip "*) echo "$*" >> pip.log; exit "$(cat pip.exit 2>/dev/null || echo 0)" ;;
  --version) echo "Python 3.11.0" ;;
esac
"""


class Project:
    """A folder with our Makefile and nothing installed."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        self.python = self.script("python", PRETENDER)

    def script(self, name, text):
        file = self.folder / name
        file.write_text(text)
        file.chmod(0o755)
        return file

    def make(self, target, *arguments, python=None):
        """Run make with ``python`` as the only candidate."""
        return subprocess.run(
            ["make", target, f"PYTHON={python or self.python}", *arguments],
            cwd=self.folder,
            env={name: value for name, value in os.environ.items() if name not in FOREIGN},
            capture_output=True,
            text=True,
            check=False,
        )

    def pip_exits_with(self, code):
        (self.folder / "pip.exit").write_text(str(code))

    def installs(self):
        """How often pip was called since this was last asked."""
        log = self.folder / "pip.log"
        calls = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return len(calls)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture
def ready(project):
    assert project.make("verify").returncode == 0
    assert project.installs() == 1
    return project


def real_python_after(project, change):
    """A script that runs this interpreter's ``-c`` code after ``change``."""
    code = f"import sys; {change}; exec(sys.argv[1])"
    return project.script("changed", f"#!/bin/sh\nexec '{sys.executable}' -c '{code}' \"$2\"\n")


def sentence(done):
    first, *rest = done.stderr.splitlines()
    assert all(line.startswith(("make: ***", "make[")) for line in rest)
    return first


def test_verify_says_that_python_is_too_old(project):
    old = real_python_after(project, "sys.version_info = (3, 10, 9)")
    done = project.make("verify", python=old)
    assert done.returncode != 0
    assert sentence(done) == (
        f"make: no Python 3.11 or newer among: {old}; "
        "install one, or name yours: make PYTHON=/path/to/python3"
    )
    assert not (project.folder / ".venv").exists()


def test_verify_says_that_there_is_no_such_python(project):
    done = project.make("verify", python="no-such-python")
    assert done.returncode != 0
    assert "no Python 3.11 or newer among: no-such-python;" in sentence(done)


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_verify_says_that_the_venv_module_is_missing(project, module):
    bare = real_python_after(project, f'sys.modules["{module}"] = None')
    done = project.make("verify", python=bare)
    assert done.returncode != 0
    assert sentence(done).startswith(f"make: no venv module (or no ensurepip) in: {bare}; install it")
    assert not (project.folder / ".venv").exists()


def test_verify_takes_the_first_python_that_will_do(project):
    bare = real_python_after(project, 'sys.modules["venv"] = None')
    done = project.make("verify", python=f"no-such-python {bare} {project.python}")
    assert done.returncode == 0


def test_verify_passes_its_arguments_on(project):
    assert project.make("verify", "ARGS=--quick --seed 7").stdout == "rps verify --quick --seed 7\n"


def test_verify_starts_at_once_the_second_time(ready):
    done = ready.make("verify")
    assert (done.returncode, done.stdout, done.stderr) == (0, "rps verify\n", "")
    assert ready.installs() == 0


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_verify_installs_again_when_a_requirement_changed(ready, name):
    with (ready.folder / name).open("a") as file:
        file.write("# changed\n")
    ready.make("verify")
    assert ready.installs() == 1


def test_verify_installs_neither_torch_nor_extras(project):
    project.make("verify")
    log = (project.folder / "pip.log").read_text()
    assert log.endswith("-c constraints.txt -e .\n")
    assert "torch" not in log


def test_tools_install_the_pinned_torch_before_everything_else(project):
    project.make("tools")
    first, second = (project.folder / "pip.log").read_text().splitlines()
    assert first.split()[-1].startswith("torch==")
    assert second.endswith("-c constraints.txt -e .[nn,export,hf,dask,proofs,dev,site]")


def test_verify_finds_everything_in_an_environment_with_tools(project):
    project.make("tools")
    assert project.make("verify").returncode == 0
    assert project.installs() == 2


def test_verify_tries_again_after_pip_failed(project):
    project.pip_exits_with(1)
    failed = project.make("verify")
    assert failed.returncode != 0
    assert "setting up .venv failed" in failed.stderr
    project.pip_exits_with(0)
    again = project.make("verify")
    assert again.returncode == 0
    assert "is made again" not in again.stderr


@pytest.mark.parametrize("target", ["core", "tools"])
def test_verify_starts_afresh_after_pip_was_killed(ready, target):
    (ready.folder / "pyproject.toml").write_text("# changed")
    ready.pip_exits_with(128 + 9)
    assert ready.make(target).returncode != 0
    ready.pip_exits_with(0)
    (ready.folder / ".venv" / "half-installed").touch()
    assert "is made again" in ready.make("verify").stderr
    assert not (ready.folder / ".venv" / "half-installed").exists()


@pytest.mark.parametrize("broken", ["python", "activate"])
def test_verify_makes_a_broken_environment_again(ready, broken):
    (ready.folder / ".venv" / "bin" / broken).unlink()
    done = ready.make("verify")
    assert done.returncode == 0
    assert "is made again" in done.stderr
    assert ready.installs() == 1


def test_verify_makes_the_environment_again_in_a_folder_that_moved(ready, tmp_path_factory):
    there = tmp_path_factory.mktemp("there") / "project"
    shutil.move(ready.folder, there)
    ready.folder, ready.python = there, there / "python"
    assert "is made again" in ready.make("verify").stderr


def test_verify_adopts_an_environment_that_works(project):
    subprocess.run([project.python, "-m", "venv", ".venv"], cwd=project.folder, check=True)
    mine = project.folder / ".venv" / "mine"
    mine.touch()
    assert project.make("verify").returncode == 0
    assert mine.exists()
