"""The command line: what it prints, writes and returns, and how it refuses bad input."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from rpstheory import monte_carlo
from rpstheory.cli import app, guarded


def rps(*arguments, **options):
    command = [sys.executable, "-c", "from rpstheory.cli import main; main()", *arguments]
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, **options)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    np.save(folder / "good.npy", random.integers(0, 9, (6, 4, 5)))
    np.savez(folder / "two.npz", a=random.random((5, 8)), b=random.random((5, 8)))
    np.save(folder / "nan.npy", np.full((4, 8), np.nan))
    np.save(folder / "complex.npy", np.ones((4, 8), dtype=complex))
    np.save(folder / "row.npy", np.ones(8))
    np.save(folder / "zeros.npy", np.zeros((4, 8)))
    np.save(folder / "far.npy", np.vstack([np.arange(8.0), [1e16, *range(7)]]))
    np.save(folder / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    np.savez(folder / "objects.npz", a=np.array([{}, {}], dtype=object))
    (folder / "empty.npy").write_bytes(b"")
    (folder / "text.npy").write_text("1 2 3\n4 5 6\n")
    (folder / "text.npz").write_text("1 2 3\n4 5 6\n")
    (folder / "folder.npy").mkdir()
    return folder


BAD = [
    (["--claims", "unbiasd"], "did you mean unbiased"),
    (["--claims", "99"], "'99' is not a claim"),
    (["--compression", "0.5"], "n/m is needed, a number >= 1"),
    (["--compression", "nan"], "n/m is needed"),
    (["--compression", "two"], "numbers separated by commas"),
    (["--compression", ","], "at least one n/m"),
    (["--compression", "2,100"], "compression: 100 came, and vectors of digits have n = 64 entries"),
    (["--discrepancy", "0"], r"relative difference in \(0, 0.5\]"),
    (["--discrepancy", "nan"], r"relative difference in \(0, 0.5\]"),
    (["--seed", "-1"], "seed=-1 came; at least 0 is needed"),
    (["--jobs", "-2"], "number of workers"),
    (["--backend", "fast"], "choose one of auto, numpy, numba, cupy"),
    (["--data", "nothing.npy"], "does not exist"),
    (["--data", "table.csv"], "neither digits"),
    (["--data", "{}/empty.npy"], "cannot be read as a NumPy file"),
    (["--data", "{}/text.npy"], "cannot be read as a NumPy file"),
    (["--data", "{}/text.npz"], "cannot be read as a NumPy file"),
    (["--data", "{}/objects.npy"], "cannot be read as a NumPy file of numbers"),
    (["--data", "{}/objects.npz"], "does not hold numbers"),
    (["--data", "{}/folder.npy"], "cannot be read"),
    (["--data", "{}/two.npz"], "holds a, b; pass .*two.npz:KEY"),
    (["--data", "{}/two.npz:c"], "has no key 'c'; it holds a, b"),
    (["--data", "{}/nan.npy"], "nan or inf"),
    (["--data", "{}/complex.npy"], "real numbers are needed"),
    (["--data", "{}/row.npy"], "at least two rows"),
    (["--data", "{}/zeros.npy"], "fewer than two rows that are not zero"),
    (["--data", "{}/far.npy"], r"holds 1e\+16 and else at most 6; float64 would lose"),
    (["--json", "/nowhere/out.json"], "cannot be written"),
    (["--html", "/nowhere/out.html"], "cannot be written"),
    (["--cluster", "tcp://127.0.0.1:9", "--claims", "1"], "does not answer|not installed"),
    (["--cluster", "nonsense", "--claims", "1"], "does not answer|not installed"),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_bad_input_is_one_sentence_and_exit_status_2(files, arguments, sentence, monkeypatch, capsys):
    """In this process, as none needs one of its own; a closed port is closed after half a second too."""
    monkeypatch.setattr(sys, "argv", ["rps", "verify", *(a.replace("{}", str(files)) for a in arguments)])
    monkeypatch.setattr(monte_carlo, "CLUSTER_PATIENCE", 0.5)
    with pytest.raises(SystemExit) as end:
        guarded(app, "rps")
    printed = capsys.readouterr()
    assert (end.value.code, printed.out) == (2, "")
    (line,) = printed.err.strip().splitlines()
    assert line.startswith("rps: ")
    assert re.search(sentence, line), line


def test_a_package_that_is_not_installed_is_named_and_one_of_ours_is_an_error(capsys):
    def needs(name):
        def command():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        return command

    with pytest.raises(SystemExit) as end:
        guarded(needs("torch.nn"), "rps")
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(
        "rps: this command needs torch, which is not installed; `make tools`"
    )
    with pytest.raises(ModuleNotFoundError):
        guarded(needs("nn.stduy"), "rps")


def test_verify_writes_json_and_page_and_confirms_on_a_file(files, tmp_path):
    out, page = tmp_path / "v.json", tmp_path / "v.html"
    done = rps(
        "verify", "--claims", "1,7", "--quick", "--data", f"{files}/good.npy", "--jobs", "1",
        "--compression", "2", "--json", str(out), "--html", str(page),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(out.read_text())
    assert {v["status"] for v in record["verdicts"]} == {"confirmed"}
    assert {v["claim"] for v in record["verdicts"]} == {"unbiased", "worst-case"}
    assert page.read_text().lower().startswith("<!doctype html>")
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_verify_of_mutants_returns_0_when_all_are_refuted():
    assert rps("verify", "--claims", "3", "--quick", "--mutants", "--jobs", "1").returncode == 0


def test_resume_folder_of_another_configuration_is_refused(tmp_path):
    run = [
        "verify",
        "--claims",
        "1",
        "--discrepancy",
        "0.3",
        "--jobs",
        "1",
        "--resume",
        str(tmp_path),
    ]
    first, again = rps(*run), rps(*run)
    assert (first.returncode, again.returncode) == (0, 0)
    other = rps(*run, "--seed", "5")
    assert other.returncode == 2
    assert "seed=0 (now 5)" in other.stderr


def test_explain_prints_every_claim():
    done = rps("explain", "--all")
    assert done.returncode == 0
    assert all(f"\n{number}. " in "\n" + done.stdout for number in range(1, 21))


def test_vectors_shorter_than_the_usual_compressions_are_measured(monkeypatch, capsys, tmp_path):
    np.save(tmp_path / "four.npy", np.arange(20.0).reshape(5, 4))
    line = ["rps", "verify", "--quick", "--claims", "load", "--data", str(tmp_path / "four.npy")]
    monkeypatch.setattr(sys, "argv", [*line, "--jobs", "1"])
    with pytest.raises(SystemExit) as end:
        guarded(app, "rps")
    assert end.value.code == 0
    assert "(n = 4)" in capsys.readouterr().out


def test_explain_reads_what_it_is_given_and_shows_it_as_markdown_only(monkeypatch, capsys, tmp_path):
    (tmp_path / "rates.json").write_text("{}")
    for option, file, words in (
        ("--report", "nope.json", "nope.json cannot be read"),
        ("--calibration", "rates.json", "--calibration came without --markdown"),
    ):
        monkeypatch.setattr(sys, "argv", ["rps", "explain", "6", option, str(tmp_path / file)])
        with pytest.raises(SystemExit) as end:
            guarded(app, "rps")
        printed = capsys.readouterr()
        assert (end.value.code, printed.out) == (2, "")
        assert words in printed.err


def test_explain_without_a_claim_says_what_to_do():
    done = rps("explain")
    assert done.returncode == 2
    assert "pass names or numbers, or --all" in done.stderr


def test_plan_prints_draws_and_time():
    done = rps("plan", "--claims", "3", "--quick", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert "draws" in done.stdout


def test_phase_draws_a_figure(tmp_path):
    done = rps("phase", "--out", str(tmp_path / "phase.svg"), "--compression", "4")
    assert done.returncode == 0, done.stderr
    for name in ("kurtosis", "alignment"):
        assert "<svg" in (tmp_path / f"phase-{name}.svg").read_text()


def test_help_loads_neither_numba_nor_matplotlib_nor_torch():
    code = (
        "import sys\nfrom rpstheory.cli import main\nsys.argv = ['rps', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'numba', 'matplotlib', 'torch', 'cupy', 'scipy', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
