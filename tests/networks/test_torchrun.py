"""Processes that train together take the steps of one, and go on together after a kill.

What it shows: gradients, batch norm, scores and states of two processes over gloo. What it does not: other
numbers of processes, several machines, NCCL.
"""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nn.data import feed
from nn.models.registry import build
from nn.recipes import Recipe, recipe_of
from nn.runs import Configuration
from nn.training import Training

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
RECIPE = Recipe("plain", 2, batch=16, augment="reflect-crop-flip", ema=0.9, clip=5.0, smoothing=0.1)

WORKER = """
import os
import sys
import torch
import torch.distributed as dist
from nn import training
from nn.data import feed
from nn.models.registry import build
from nn.recipes import Recipe

dist.init_process_group("gloo")
rank, data, out = dist.get_rank(), sys.argv[1], sys.argv[2]
recipe = Recipe(**eval(sys.argv[3]))

def trained(name):
    torch.manual_seed(rank)  # whoever starts elsewhere is given the weights of the first
    source = feed(data, recipe.batch, 0, recipe.augment, rank=rank, world=2)
    if rank == 0:
        torch.manual_seed(0)
    each = training.Training(build("resnet8", 4, 3), recipe, source.steps, 0, rank=rank, world=2)
    while not each.done:
        each.advance(source.batch(*divmod(each.progress.step, source.steps)))
    open(f"{out}/{name}-{rank}", "wb").write(each.to_bytes())
    scores = each.end_epoch(source.test())
    open(f"{out}/{name}-{rank}.txt", "w").write(repr([tuple(score) for score in scores]))

trained("joint")
training._join_norms = lambda model: None
trained("apart")
dist.barrier()
dist.destroy_process_group()
os._exit(0)  # threads of torch's own now and then abort a process of which Python has ended
"""


@pytest.fixture(scope="module")
def data(blobs, tmp_path_factory):
    """Small images, for processes of one thread each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield blobs(tmp_path_factory.mktemp("data"), train=64, test=40)


def started(*arguments):
    return subprocess.Popen(
        [*TORCHRUN, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def distance(state, other):
    """The largest difference of a weight, beside the largest weight."""
    names = [name for name in state if name.startswith(("model.", "average.")) and state[name].ndim]
    largest = max(state[name].abs().max() for name in names)
    return float(max((state[name] - other[name]).abs().max() for name in names) / largest)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one_and_keep_equal_states(data, tmp_path):
    """Eight steps with batch norm, clipping, average and augmentation.

    Float32 rounds at 6e-8, and sums of two halves round elsewhere; eight steps at rates up to 0.1 let that
    grow about tenfold. 1e-5 leaves room for more, and batch norms apart from each other are a thousand
    times beyond it.
    """
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER)
    process = started(worker, data, tmp_path, repr(RECIPE.__dict__))
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    source = feed(data, RECIPE.batch, 0, RECIPE.augment)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        one = Training(build("resnet8", 4, 3), RECIPE, source.steps, 0)
    while not one.done:
        one.advance(source.batch(*divmod(one.progress.step, source.steps)))
    (tmp_path / "one").write_bytes(one.to_bytes())
    wanted = load_file(tmp_path / "one")
    assert distance(wanted, load_file(tmp_path / "joint-0")) < 1e-5
    assert distance(wanted, load_file(tmp_path / "apart-0")) > 1e-2
    assert (tmp_path / "joint-0").read_bytes() == (tmp_path / "joint-1").read_bytes()
    scores = (tmp_path / "joint-0.txt").read_text()
    assert scores == (tmp_path / "joint-1.txt").read_text()
    train, test = one.end_epoch(source.test())
    (loss, right), (test_loss, test_right) = eval(scores)
    assert (right, test_right) == (train.accuracy, test.accuracy)
    assert (loss, test_loss) == pytest.approx((train.loss, test.loss), rel=1e-5)


KILLED = """
import os, signal, socket, sys, time
from pathlib import Path
import sklearn.datasets, torch, torch._dynamo, torch.distributed
import nn.evaluation, nn.fitting, nn.runs
from rpstheory.cli import main

def start(out):
    "Two processes of `rps train`, with what torchrun tells its own."
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    here = {"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    children = []
    for rank in "01":
        children.append(os.fork())
        if children[-1]:
            continue
        os.environ |= here | {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        sys.argv = ["rps", "train", *sys.argv[3:], "--out", out, "--json"]
        try:
            main()
        except SystemExit as end:
            os._exit(end.code or 0)
        os._exit(0)
    return children

def ended(children):
    return [os.waitpid(child, 0)[1] for child in children]

whole, cut = sys.argv[1:3]
assert ended(start(whole)) == [0, 0]
children = start(cut)
while not list(Path(cut).glob("*/round-1/state.safetensors")):
    assert not any(os.waitpid(child, os.WNOHANG)[0] for child in children)
    time.sleep(0.01)
for child in children:
    os.kill(child, signal.SIGKILL)
assert ended(children) == [signal.SIGKILL] * 2
assert not list(Path(cut).glob("*/result.json"))
assert ended(start(cut)) == [0, 0]
"""


@pytest.mark.slow
def test_processes_that_are_killed_in_a_later_round_go_on_to_the_same_bytes(data, tmp_path):
    arguments = ["--data", data, "--method", "ltr", "--compression", 4, "--option", "rate=0.7",
                 "--option", "rewind=3", "--epochs", 8]  # fmt: skip
    outs = [tmp_path / "whole", tmp_path / "cut"]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, [*outs, *arguments])],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    one, other = (next(out.iterdir()) for out in outs)
    record = json.loads((one / "result.json").read_text())
    assert record["status"] == "finished"
    assert len((one / "metrics.jsonl").read_text().splitlines()) == 8 + 2 * (8 - 3)
    assert record["places"] == ["cpu, threads: 1, processes: 2"]
    for number in range(3):
        state = f"round-{number}/state.safetensors"
        assert (one / state).read_bytes() == (other / state).read_bytes()


@pytest.mark.slow
def test_failure_of_the_first_process_is_a_sentence_of_each(data, tmp_path):
    what = Configuration(str(data), "resnet8", "stable-rps", 10, recipe_of("smoke", epochs=1))
    folder = tmp_path / what.key
    folder.mkdir()
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    process = started("--no-python", Path(sys.executable).with_name("rps"), "train", "--data", data,
                      "--epochs", 1, "--out", tmp_path)  # fmt: skip
    _, errors = process.communicate(timeout=120)
    os.close(lock)
    assert process.returncode != 0
    assert "is in use by another run; wait for it" in errors
    assert "process 1 stopped with the others" in errors
    assert "nn/runs.py" not in errors
