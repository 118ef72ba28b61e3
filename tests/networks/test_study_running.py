"""Studies on their way: what is known is not run again, what is killed comes to the same end.

Cells are small runs of noise; the reference is the same study with every cell run one after another, here.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from nn.records import read, rows_of
from nn.study import commands
from nn.study.grid import read_study
from nn.study.results import read_lines
from nn.study.running import results_of, run
from nn.study.workers import Cluster, Lost, Pool, work
from rpstheory import __version__
from rpstheory.errors import ClusterError, DataError, ResumeError, RpsError

ROOT = Path(__file__).parents[2]
MEASURED = ("run", "status", "remark", "test_loss", "test_accuracy", "budget", "curve")
START = [sys.executable, "-c", "from rpstheory.cli import guarded; from nn.study.commands import study; "
         "guarded(study, 'rps')"]  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A study of six cells, each long enough to be killed in the middle."""
    folder = tmp_path_factory.mktemp("study")
    draw = np.random.default_rng(0)
    names, arrays = ("train_images", "train_labels", "test_images", "test_labels"), []
    for count in (192, 24):
        arrays += [draw.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8), np.arange(count) % 4]
    np.savez(folder / "noise.npz", **dict(zip(names, arrays, strict=True)))
    (folder / "small.toml").write_text(
        f'data = "{folder / "noise.npz"}"\nseed = [0, 1]\nchange = {{batch = 16, epochs = 3}}\n'
        '[[grid]]\nmethod = ["dense", "random", "hashed"]\ncompression = 8\n'
    )
    return folder / "small.toml"


class Here:
    """A crew of one, in this process."""

    def __init__(self, answer=work):
        self.answer, self.waiting, self.seen = answer, [], []

    @property
    def room(self):
        return 1 - len(self.waiting)

    def start(self, job):
        self.waiting.append(job)
        self.seen.append(job.run)

    def ended(self, patience):
        jobs, self.waiting = self.waiting, []
        return [(job, self.answer(job)) for job in jobs]

    def close(self):
        self.waiting = []


def nobody():
    pytest.fail("a crew was called where everything is known")


@pytest.fixture(scope="module")
def undisturbed(small, tmp_path_factory):
    """Its lines, and their folder."""
    out, threads = tmp_path_factory.mktemp("undisturbed"), torch.get_num_threads()
    lines = run(read_study(small), out, Here)
    torch.set_num_threads(threads)
    return lines, out


def measured(lines):
    return [{name: line[name] for name in MEASURED} for line in lines]


def test_every_cell_is_a_run_that_other_commands_see(small, undisturbed):
    lines, out = undisturbed
    study = read_study(small)
    assert [line["run"] for line in lines] == [cell.configuration.key for cell in study.cells]
    assert {line["status"] for line in lines} == {"finished"}
    assert {row["run"] for row in rows_of(out, {})} == {line["run"] for line in lines}
    for line in lines:
        assert read(out / line["run"]).result["test_accuracy"] == line["test_accuracy"]
        assert [row["epoch"] for row in line["curve"]] == [1, 2, 3]


def test_what_is_known_is_not_run_again(small, undisturbed):
    lines, out = undisturbed
    assert run(read_study(small), out, nobody) == lines


def test_runs_in_the_folder_count_though_their_lines_are_lost(small, undisturbed):
    lines, out = undisturbed
    place = results_of(read_study(small), out)
    content = place.read_bytes()
    try:
        place.unlink()
        assert measured(run(read_study(small), out, nobody)) == measured(lines)
    finally:
        place.write_bytes(content)


def test_a_line_that_was_cut_off_is_run_again_and_no_other(small, undisturbed, tmp_path):
    lines, out = undisturbed
    text = results_of(read_study(small), out).read_text()
    (tmp_path / "small.jsonl").write_text(text[: text.rstrip("\n").rfind("\n") + 30])
    crew = Here(lambda job: next(line for line in lines if line["run"] == job.run))
    again = run(read_study(small), tmp_path, lambda: crew)
    assert measured(again) == measured(lines)
    assert len(crew.seen) == 1
    assert measured(read_lines(tmp_path / "small.jsonl")) == measured(lines)


def test_a_lost_cell_is_tried_again_after_the_others(small, tmp_path):
    study, lost = read_study(small), []

    def answer(job):
        if job.run == study.cells[0].configuration.key and len(lost) < 2:
            lost.append(job.run)
            return Lost("it was night")
        how = {"configuration": job.configuration, "version": __version__}
        return {"run": job.run, "status": "finished"} | how

    crew = Here(answer)
    lines = run(study, tmp_path, lambda: crew)
    assert [line["tries"] for line in lines] == [3, 1, 1, 1, 1, 1]
    assert crew.seen[0] == crew.seen[-2] == crew.seen[-1] == lost[0]


def test_a_cell_that_is_always_lost_has_failed_with_its_reason_and_is_tried_at_the_next_call(small, tmp_path):
    study = read_study(small).only(["method=dense", "seed=0"])
    crew = Here(lambda job: Lost("it was night"))
    for call in (1, 2):
        (line,) = run(study, tmp_path, lambda: crew)
        assert (line["status"], line["remark"]) == ("failed", "given up after 3 tries: it was night")
        assert (line["tries"], len(crew.seen)) == (3, 3 * call)


def test_what_a_run_refuses_has_failed_at_once_with_its_sentence(small, tmp_path):
    text = small.read_text().replace("batch = 16", "batch = 1000")
    (tmp_path / "large.toml").write_text(text)
    crew = Here()
    study = read_study(tmp_path / "large.toml").only(["method=dense", "seed=0"])
    (line,) = run(study, tmp_path, lambda: crew)
    assert line["status"] == "failed"
    assert line["remark"].startswith("Batches: a batch of 1000 came, and there are 192 images")
    assert len(crew.seen) == 1


def test_progress_grows_to_the_whole(small, undisturbed, tmp_path):
    lines, _ = undisturbed
    events = []
    crew = Here(lambda job: next(line for line in lines if line["run"] == job.run))
    run(read_study(small), tmp_path, lambda: crew, tell=events.append)
    done = [event.done for event in events]
    assert done == sorted(done)
    assert done[-1] == 1
    assert [event.over for event in events if event.line] == [1, 2, 3, 4, 5, 6]


def test_progress_counts_this_call_alone_and_is_not_whole_while_a_cell_runs(small, undisturbed, tmp_path):
    lines, out = undisturbed
    study = read_study(small).only(["seed=0", "method=dense,random"])
    (first, second), rows = (cell.configuration.key for cell in study.cells), []
    for name in (first, second):
        (tmp_path / name).mkdir()
        rows.append((out / name / "metrics.jsonl").read_text().splitlines(keepends=True))
    (tmp_path / first / "metrics.jsonl").write_text("".join(rows[0][:2]))  # of an earlier call: two of three

    class Slow(Here):
        """Every epoch is written one look before the cell is over."""

        looks = 0

        def ended(self, patience):
            self.looks += 1
            if self.looks % 2 == 0:
                return super().ended(patience)
            place = study.cells[self.looks // 2].configuration.key
            (tmp_path / place / "metrics.jsonl").write_text("".join(rows[self.looks // 2]))
            return []

    events, crew = [], Slow(lambda job: next(line for line in lines if line["run"] == job.run))
    run(study, tmp_path, lambda: crew, tell=events.append)
    seen = [event.done for event in events]
    assert seen == [0.5 / 4, 1 / 4, 1 / 4, 3.5 / 4, 1, 1]


def test_one_study_is_run_by_one_process(small, tmp_path):
    def again(job):
        with pytest.raises(ResumeError, match=r"small.jsonl is in use by another study; wait for it"):
            run(read_study(small), tmp_path, nobody)
        return Lost("enough")

    run(read_study(small).only(["method=dense", "seed=0"]), tmp_path, lambda: Here(again))


def test_results_of_another_version_are_not_mixed_in(small, tmp_path):
    old = {"run": "x", "status": "finished", "version": "0.0.0"}
    (tmp_path / "small.jsonl").write_text(json.dumps(old) + "\n")
    with pytest.raises(ResumeError, match=r"holds results of version 0.0.0, and this is .*; pass another"):
        run(read_study(small), tmp_path, nobody)


def test_results_that_cannot_be_written_are_named(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written \(.*\); pass another --out"):
        run(read_study(small), tmp_path / "file", nobody)


# ------------------------------------------------------------------------------------------ a pool


def wait_for(condition, seconds=90.0):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def in_the_middle(out):
    """Runs that have begun and are not over."""
    return [p.parent for p in out.glob("*/configuration.json") if not (p.parent / "result.json").exists()]


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_worker_that_is_killed_costs_only_its_cell_which_is_tried_again(small, undisturbed, tmp_path):
    lines, _ = undisturbed
    found, study = [], read_study(small)
    thread = threading.Thread(target=lambda: found.extend(run(study, tmp_path, lambda: Pool(2))))
    thread.start()
    wait_for(lambda: in_the_middle(tmp_path))
    begun = in_the_middle(tmp_path)
    victim = next(child for child in active_children() if any(is_in(child.pid, path) for path in begun))
    os.kill(victim.pid, signal.SIGKILL)
    thread.join()
    assert measured(found) == measured(lines)
    assert sorted(line["tries"] for line in found) == [1, 1, 1, 1, 1, 2]


def is_in(process, folder):
    """Whether a process holds a folder open: the lock of a run."""
    links = Path(f"/proc/{process}/fd").glob("*")
    return any(os.path.samefile(link, folder) for link in links if os.path.exists(link))


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_study_that_is_killed_goes_on_to_the_same_end(small, undisturbed, tmp_path):
    lines, _ = undisturbed
    out, environment = tmp_path / "out", {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [*START, "run", str(small), "--out", str(out), "--jobs", "2"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        wait_for(lambda: in_the_middle(out))
        workers = children(process.pid)
        process.kill()
    assert workers
    wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), 20)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "6 cells: 6 finished" in done.stdout
    assert measured(
        read_lines(out / "small.jsonl"),
    ) == measured(sorted_like(out, lines))


def sorted_like(out, lines):
    """Lines in the order in which a file has them."""
    own = {line["run"]: line for line in lines}
    return [own[line["run"]] for line in read_lines(out / "small.jsonl")]


def children(process):
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


# --------------------------------------------------------------------------------------- a cluster


@pytest.mark.slow
@pytest.mark.timeout(250)
def test_a_cluster_gives_the_same_lines_though_a_worker_is_killed_in_the_middle(
    cluster, small, undisturbed, tmp_path
):
    lines, _ = undisturbed
    with cluster(workers=2) as (address, _, workers):
        found = []
        thread = threading.Thread(
            target=lambda: found.extend(run(read_study(small), tmp_path, lambda: Cluster(address)))
        )
        thread.start()
        wait_for(lambda: any(is_in(workers[0].pid, p) for p in in_the_middle(tmp_path)))
        workers[0].kill()
        thread.join()
    assert measured(found) == measured(lines)


@pytest.mark.slow
@pytest.mark.timeout(250)
def test_a_cluster_that_is_lost_is_named_and_what_is_done_is_kept(cluster, small, undisturbed, tmp_path):
    lines, _ = undisturbed
    with cluster(workers=1) as (address, scheduler, _):

        def lose(event):
            if event.line is not None:
                scheduler.kill()

        with pytest.raises(ClusterError, match=r"was lost; start it again: the same command goes on"):
            run(read_study(small), tmp_path, lambda: Cluster(address), tell=lose)
    kept = read_lines(tmp_path / "small.jsonl")
    assert 1 <= len(kept) < 6
    assert measured(kept) == [each for each in measured(lines) if each["run"] in {k["run"] for k in kept}]


# --------------------------------------------------------------------------------------- commands


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_the_command_tells_of_every_cell_and_fails_if_one_did(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = small.read_text() + '[[grid]]\nmethod = "hashed"\ncompression = 9\nchange.batch = 1000\nseed = 0\n'
    (tmp_path / "some.toml").write_text(text)
    mounted = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    mounted.add_typer(commands.study, name="study")
    mounted.command("other")(lambda: None)
    arguments = ["study", "some.toml", "--only", "seed=0", "--only", "method=dense,hashed", "--jobs", "1"]
    found = CliRunner().invoke(mounted, arguments)
    assert not isinstance(found.exception, RpsError), found.exception
    assert found.exit_code == 1, found.output
    assert "3 cells: 2 finished, 1 failed; results in runs/some.jsonl" in found.stdout
    assert "1 of 3: noise.npz resnet8 dense 1x seed 0  " in found.output
    assert "3 of 3: noise.npz resnet8 hashed 9x seed 0  failed: Batches: " in found.output
    assert (tmp_path / "runs" / "some.sqlite").exists()


def test_lines_of_an_earlier_grid_are_counted(small, undisturbed, tmp_path):
    lines, out = undisturbed
    results = results_of(read_study(small), tmp_path)
    results.write_text("".join(json.dumps(line) + "\n" for line in lines))
    edited = tmp_path / "small.toml"
    edited.write_text(small.read_text().replace("[0, 1]", "[1]"))
    arguments = ["run", str(edited), "--out", str(tmp_path), "--only", "method=dense"]
    found = CliRunner().invoke(commands.study, arguments)
    assert found.exit_code == 0, found.output
    assert "1 cells: 1 finished" in found.stdout
    assert f"3 further lines of an earlier grid in {results}; reports show them too" in found.stdout


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_the_slice_in_the_head_of_the_preset_is_run_and_reported(tmp_path):
    """Three cells of it: the command is read from the file, as a reader would."""
    preset = ROOT / "studies" / "digits.toml"
    head = preset.read_text().partition("In a minute")[2].partition("rps study")[2].partition("\n#\n")[0]
    command = head.replace("#", "").replace("\\", "").split()
    arguments = [str(preset), "--out", str(tmp_path), *command[3:], "--jobs", "1"]
    arguments += ["--only", "seed=0", "--only", "method=dense,stable-rps"]
    assert command[:2] == ["studies/digits.toml", "--out"]
    found = CliRunner().invoke(commands.study, arguments)
    assert found.exit_code == 0, found.output
    assert "3 cells: 3 finished" in found.stdout
    page = ["report", str(tmp_path / "digits.jsonl"), "--out", str(tmp_path / "report")]
    assert CliRunner().invoke(commands.study, page).exit_code == 0
    table = next((tmp_path / "report").glob("accuracy-*.csv")).read_text().splitlines()
    assert table[0] == "method,lr,1x,16x"
    assert [row.partition(",")[0] for row in table[1:]] == ["dense", "stable-rps"]
    assert all(line["test_accuracy"] > 0.5 for line in read_lines(tmp_path / "digits.jsonl"))
