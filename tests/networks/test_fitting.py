"""Training from the command line, from the data to the result: methods, kills, data sets, bad input.

The digits are the bundled ones at 32 x 32, the network a ResNet-8, the recipe `smoke` with one epoch.
"""

import json
import os
import subprocess
import sys
from fractions import Fraction
from math import comb
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import load_file
from typer.testing import CliRunner

from nn import commands
from nn.data import load
from nn.fitting import PER_CLASS, _Source, fit
from nn.methods import METHODS, planned
from nn.models.registry import build
from nn.recipes import recipe_of
from nn.runs import Configuration
from rpstheory.errors import (
    ArgumentError,
    DataError,
    KindError,
    MissingError,
    ResumeError,
    RpsError,
    ShapeError,
)

ROOT = Path(__file__).parents[2]
EXCERPTS = os.environ.get("RPS_DATA", "")
ARCHIVES = {"cifar-100-python-small.tar.gz": 100, "tiny-imagenet-200-small.tar.gz": 20}  # classes
TWO = recipe_of("smoke", epochs=2)


@pytest.fixture(scope="module")
def call():
    """`rps` with its sub-commands, in this process."""
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command("train")(commands.train)
    app.command("reproduce")(commands.reproduce)

    def run(*arguments, status=0):
        found = CliRunner().invoke(app, [str(each) for each in arguments])
        if isinstance(found.exception, RpsError):
            raise found.exception
        assert found.exit_code == status, (found.output, found.exception)
        return found.stdout

    return run


# ------------------------------------------------------------------------------------ the methods


def by_chance(images, classes, most):
    """The least number right that guessing reaches with a chance below ``most``; exact."""
    chance, right = Fraction(0), images
    while chance < most:
        chance += (
            comb(images, right) * Fraction(classes - 1) ** (images - right) / Fraction(classes) ** images
        )
        right -= 1
    return right + 2


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_the_digits_and_keeps_to_its_budget(call, tmp_path, method):
    given = ("--option", "rate=0.7", "--option", "rewind=5") if method == "ltr" else ()
    # more steps than those of `smoke`, on a third of the images, each in half the time
    for change in ("batch=16", "precision=bfloat16", "channels_last=true"):
        given += ("--set", change)
    record = json.loads(call("train", "--method", method, "--epochs", 1, *given, "--out", tmp_path, "--json"))
    digits = load("digits", train=False)
    assert record["status"] == "finished"
    right = record["test_accuracy"] * len(digits)
    assert right >= by_chance(len(digits), 10, Fraction(1, 10**12))
    assert record["collapsed"] == []
    budget = record["budget"]
    what = planned(build("resnet8", 10, 1), record["configuration"]["compression"])
    if method == "smaller":
        assert abs(budget["params"] / what.stored_params - 1) < 0.05
    else:
        assert (budget["weights"], budget["params"]) == (what.cells, what.stored_params)


def test_scores_of_pruning_see_ten_images_of_each_class_as_they_are(tmp_path):
    from nn.data import feed

    whole = feed("digits", 64, 3, "crop-flip", held_out=0.2)
    part = feed("digits", 64, 3, "crop-flip", held_out=0.2, rank=1, world=2)
    one, other = _Source(whole).scored(), _Source(part).scored()
    assert all(torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in zip(one, other, strict=True))
    labels = torch.cat([y for _, y in one])
    assert torch.equal(labels.bincount(), torch.full((10,), PER_CLASS))
    assert len(one[0][1].unique()) == 10  # in a batch there are images of all classes
    trained_on = {image.numpy().tobytes() for x, _ in whole.train.in_order() for image in x}
    seen = [image.numpy().tobytes() for x, _ in one for image in x]
    assert trained_on.issuperset(seen)
    held = {image.numpy().tobytes() for x, _ in whole.held.in_order() for image in x}
    assert len(trained_on & held) == 0
    another = _Source(feed("digits", 64, 4, held_out=0.2)).scored()
    assert not torch.equal(one[0][0], another[0][0])


@pytest.mark.slow
@pytest.mark.parametrize("archive", ARCHIVES)
def test_short_recipe_learns_on_an_excerpt_of_a_large_set(call, tmp_path, archive):
    """Two epochs, six steps of CIFAR-100 at least: the loss of the second is below that of the first."""
    path = Path(EXCERPTS, archive)
    if not path.is_file():
        pytest.skip("RPS_DATA is not the folder of the small archives in official layout")
    record = json.loads(
        call("train", "--data", path, "--recipe", "short", "--epochs", 2, "--out", tmp_path, "--json")
    )
    assert record["status"] == "finished"
    rows = (tmp_path / record["run"] / "metrics.jsonl").read_text().splitlines()
    one, two = map(json.loads, rows)
    dataset = load(path)
    assert (len(dataset.classes), two["step"]) == (ARCHIVES[archive], 2 * (len(dataset) // 128))
    assert two["train_loss"] < one["train_loss"]


# -------------------------------------------------------------------------------------- the kills

KILLED = """
import json, os, random, signal, sys, time
from pathlib import Path
import sklearn.datasets, torch, torch._dynamo
import nn.evaluation, nn.fitting, nn.runs
from rpstheory.cli import main

nn.runs.PATIENCE = 0.0  # a state after every step
nn.runs.code()  # read once, as it was imported
draw, write = random.Random(0), Path.write_bytes

def start(out, dies_in=None):
    "One `rps train` in a process of its own; it dies when half of its so-manieth file is written."
    child = os.fork()
    if child:
        return child
    torch.set_num_threads(1)
    sys.argv = ["rps", "train", *sys.argv[4:], "--out", out, "--json"]
    written = 0
    def half(path, content):
        nonlocal written
        written += 1
        if written == dies_in:
            write(path, content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(path, content)
    Path.write_bytes = half
    try:
        main()
    except SystemExit as end:
        os._exit(end.code or 0)
    os._exit(0)

def kills(out, by_write):
    "Start until it ends; how many rounds were begun, and files half written, at each death."
    found = []
    while True:
        child = start(out, draw.randint(1, 6) if by_write else None)
        if not by_write:
            time.sleep(draw.uniform(0.02, 0.3) * (1 + len(found) / 4))
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if status == 0:
            return found
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        rounds, partial = (len(list(Path(out).glob(each))) for each in ("*/round-*", "**/.*.*.*"))
        found.append((rounds, partial))

whole, cut, timed = sys.argv[1:4]
assert os.waitpid(start(whole), 0)[1] == 0
print(json.dumps([kills(cut, by_write=True), kills(timed, by_write=False)]))
"""


def ends(out):
    """The final states byte by byte, and the rows without their times."""
    (folder,) = out.iterdir()
    states = {path.parent.name: path.read_bytes() for path in folder.glob("round-*/state.safetensors")}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return states, [row | {"seconds": 0} for row in rows]


@pytest.mark.slow
def test_train_that_is_killed_at_any_moment_ends_with_the_same_bytes(blobs, tmp_path):
    """Between two steps, between two files, inside a file; in the first round of a ticket and in the last."""
    ticket = ("--method", "ltr", "--option", "rate=0.7", "--option", "rewind=2", "--compression", "5")
    arguments = ("--data", str(blobs(tmp_path)), *ticket, "--recipe", "short", "--epochs", "3")
    outs = [tmp_path / "whole", tmp_path / "cut", tmp_path / "timed"]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, outs), *arguments],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cut, timed = json.loads(done.stdout.splitlines()[-1])
    assert {begun for begun, _ in cut} >= {1, 2, 3}
    assert max(partial for _, partial in cut) > 0
    assert len(timed) > 0
    whole = ends(outs[0])
    assert len(whole[0]) == 3
    for out in outs[1:]:
        assert ends(out) == whole
        assert not list(out.rglob(".*.*.*"))


def test_dense_has_no_compression_and_the_others_ten_where_none_is_given(blobs, tmp_path):
    data, one = blobs(tmp_path), recipe_of("smoke", epochs=1)
    fits = [fit(data, method=method, recipe=one, out=tmp_path) for method in ("dense", "hashed")]
    assert [fitted.configuration.compression for fitted in fits] == [1.0, 10.0]


def test_run_that_is_in_use_is_refused(blobs, tmp_path):
    data, refused = blobs(tmp_path), []

    def watch(row):
        with pytest.raises(ResumeError, match="in use by another run; wait for it"):
            fit(data, method="dense", compression=1, recipe=TWO, out=tmp_path / "runs")
        refused.append(row)

    fit(data, method="dense", compression=1, recipe=TWO, out=tmp_path / "runs", watch=watch)
    assert len(refused) == 2 * 4 + 2


# ------------------------------------------------------------------------------------ TensorBoard


def test_tensorboard_is_told_what_the_rows_say(blobs, tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fitted = fit(
        blobs(tmp_path), method="dense", compression=1, recipe=TWO, out=tmp_path / "runs", tensorboard=True
    )
    rows = [json.loads(line) for line in (fitted.folder / "metrics.jsonl").read_text().splitlines()]
    events = EventAccumulator(str(fitted.folder / "tensorboard" / "round-0")).Reload()
    for name in ("test_accuracy", "test_loss", "train_loss"):
        told = [(event.step, event.value) for event in events.Scalars(name)]
        assert told == [(row["step"], float(np.float32(row[name]))) for row in rows]
    assert [event.step for event in events.Scalars("loss")] == list(range(1, 9))


def test_tensorboard_that_is_missing_is_one_sentence_before_anything_is_made(blobs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingError, match="pip install tensorboard"):
        fit(blobs(tmp_path), recipe=TWO, out=tmp_path / "runs", tensorboard=True)
    assert not (tmp_path / "runs").exists()


# -------------------------------------------------------------------------------------- bad input


def damaged(path, **arrays):
    np.savez(path, **dict(np.load(path)) | arrays)
    return path


LABELS = np.arange(256) % 4


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"data": {"train_labels": np.where(LABELS == 3, -1, LABELS)}}, DataError, "from -1 to 2"),
        ({"data": {"train_labels": LABELS.astype(float)}}, DataError, "whole number"),
        ({"data": {"train_labels": LABELS[:-1]}}, DataError, "for each of 256 images"),
        ({"data": {"class_names": np.array(["a", "b"])}}, DataError, "one for each label"),
        ({"model": "vgg11"}, ShapeError, "vgg11 cannot be trained on 64 images of 3 x 8 x 8"),
        ({"model": "resnet9"}, ArgumentError, "did you mean 'resnet"),
        ({"method": "snipp"}, ArgumentError, "did you mean 'snip'"),
        ({"method": "smaller", "compression": 1e6}, ArgumentError, "less than one cell"),
        ({"compression": 1e6}, ArgumentError, "less than one cell"),
        ({"method": "magnitude", "compression": 1e9}, ArgumentError, "less than one cell"),
        ({"method": "ltr", "compression": 1e9}, ArgumentError, "less than one cell"),
        ({"method": "ltr", "options": {"rewnd": 3}}, ArgumentError, "did you mean 'rewind'"),
        ({"method": "ltr", "options": {"rewind": 2.5}}, KindError, "rewind=2.5"),
        ({"method": "ltr", "options": {"rewind": 8}}, ArgumentError, "a step of 0 … 7"),
        ({"method": "ltr", "options": {"rate": "half"}}, ArgumentError, "rate='half'"),
        ({"method": "smaller", "options": {"rate": 1}}, ArgumentError, "smaller has none"),
        ({"options": {"mapping": min}}, KindError, "no record can hold"),
        ({"seed": -1}, ArgumentError, "seed=-1"),
        ({"device": "gpu"}, ArgumentError, "device='gpu'"),
        ({"recipe": recipe_of("smoke", batch=300)}, ArgumentError, "a batch of 300"),
        ({"recipe": None}, KindError, "recipe=None"),
        ({"compression": "ten"}, KindError, "compression='ten'"),
        ({"options": [1]}, KindError, "options="),
        ({"held_out": "0.1"}, KindError, "held_out='0.1'"),
        ({"seed": 1.0}, KindError, "seed=1.0"),
        ({"method": "snip", "options": {"passes": True}}, KindError, "prune: passes=True"),
        ({"device": "meta"}, ArgumentError, "device='meta'"),
        ({"method": "ltr", "options": {"rate": 1e-7}}, ArgumentError, "a round would prune none"),
        ({"held_out": 0.9}, ArgumentError, "to train on in batches of 64; choose less"),
        ({"data": {"train_labels": LABELS * 5}}, DataError, "no training image of class 1"),
        ({"data": {"train_images": np.zeros((256, 4, 4, 3), np.uint8),
                   "test_images": np.zeros((64, 4, 4, 3), np.uint8)},
          "recipe": recipe_of("short", epochs=1)}, ShapeError, "images with a side of 4"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_leaves_no_folder(blobs, tmp_path, change, error, words):
    data = damaged(blobs(tmp_path), **change.get("data", {}))
    wanted = {"data": data, "method": "stable-rps", "recipe": TWO} | change | {"data": data}
    with pytest.raises(error, match=words) as caught:
        fit(**wanted, out=tmp_path / "runs", watch=print)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_run_is_not_gone_on_with_other_data_of_the_same_name(blobs, tmp_path):
    data = blobs(tmp_path)
    fit(data, recipe=TWO, out=tmp_path / "runs")
    damaged(data, train_labels=LABELS[::-1])
    with pytest.raises(ResumeError, match="other data of the same name"):
        fit(data, recipe=TWO, out=tmp_path / "runs")


def test_place_where_no_folder_can_be_made_is_one_sentence(blobs, tmp_path):
    with pytest.raises(DataError, match="cannot be made"):
        fit(blobs(tmp_path), recipe=TWO, out=tmp_path / "blobs.npz" / "runs")


def test_configuration_says_which_data_and_code_made_the_numbers(blobs, tmp_path):
    fitted = fit(blobs(tmp_path), recipe=TWO, out=tmp_path / "runs")
    header = json.loads((fitted.folder / "configuration.json").read_text())
    assert header["configuration"] == json.loads(fitted.configuration.to_json())
    assert f"torch {torch.__version__}, sources " in header["code"]
    assert len(header["data"]) == 64
    assert isinstance(fitted.configuration, Configuration)
    assert load_file(fitted.folder / "round-0" / "state.safetensors")
