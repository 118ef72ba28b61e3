"""Runs: killed anywhere and started again they end with the same bits; every method comes to its budget."""

import json
import os
from contextlib import suppress
from dataclasses import replace
from errno import ENOSPC
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn as tnn
from safetensors.torch import load_file

import nn
from nn.methods import METHODS, narrowed, prepare
from nn.models.registry import build
from nn.pruning import masks_of
from nn.recipes import RECIPES, Recipe, recipe_of
from nn.runs import GIVEN, Configuration, Run, code
from nn.sources import code_but_for
from nn.training import Diverged, Training
from rpstheory.errors import ArgumentError, DataError, KindError, ResumeError, Stopped

QUICK = Recipe("quick", 2, batch=16, schedule="one-cycle", augment="none", ema=0.9, clip=1.0)


class Blobs:
    """Four classes of noisy images, each batch a function of its place."""

    steps = 5

    def batch(self, epoch, index):
        generator = torch.Generator().manual_seed(1000 * epoch + index)
        y = torch.randint(4, (16,), generator=generator)
        x = torch.randn(16, 3, 8, 8, generator=generator)
        x[torch.arange(16), 0, y, y] += 6
        return x, y

    def test(self):
        return [self.batch(99, index) for index in range(2)]

    def scored(self):
        return [self.batch(98, 0)]


class Tiny(tnn.Module):
    """With dropout, so that a step draws numbers, and a batch norm, so that it has buffers."""

    def __init__(self, scale=1.0):
        super().__init__()
        width = max(1, round(24 * scale))
        self.conv = tnn.Conv2d(3, width, 3, padding=1)
        self.norm = tnn.BatchNorm2d(width)
        self.drop = tnn.Dropout(0.2)
        self.fc = tnn.Linear(width * 64, 4)

    def forward(self, x):
        return self.fc(self.drop(torch.relu(self.norm(self.conv(x))).flatten(1)))


def run(folder, method="stable-rps", watch=lambda row: None, recipe=QUICK, **fields):
    configuration = Configuration("blobs", "tiny", method, fields.pop("compression", 6.0), recipe, **fields)
    return Run(configuration, folder, Blobs(), Tiny, watch, torch.device("cpu"))


def ends(folder):
    """The final tensors of every round, and the rows without their times."""
    tensors = {path.parent.name: load_file(path) for path in sorted(folder.glob("round-*/state.safetensors"))}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return tensors, [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def same(one, other):
    (tensors, rows), (others, other_rows) = one, other
    assert rows == other_rows
    assert tensors.keys() == others.keys()
    for name, table in tensors.items():
        assert table.keys() == others[name].keys()
        assert all(torch.equal(value, others[name][key]) for key, value in table.items())


class Kill(BaseException):
    """Nothing catches it, as nothing catches kill -9."""


@pytest.mark.parametrize("method", ["stable-rps", "ltr"])
def test_run_that_is_killed_at_any_step_ends_with_the_same_bits(tmp_path, method, monkeypatch):
    monkeypatch.setattr("nn.runs.PATIENCE", 0.0)  # a state after every step
    run(tmp_path / "whole", method).go()
    kills = 0
    for stop in range(1, 60, 3):
        seen = 0

        def watch(row, stop=stop):
            nonlocal seen
            seen += "loss" in row
            if seen == stop % 7 + 1:
                raise Kill

        try:
            run(tmp_path / "cut", method, watch).go()
        except Kill:
            kills += 1
    run(tmp_path / "cut", method).go()
    assert kills >= 2
    same(ends(tmp_path / "whole"), ends(tmp_path / "cut"))


def test_finished_run_is_not_run_again(tmp_path):
    first = run(tmp_path).go()

    def watch(row):
        raise AssertionError("a step was taken")

    assert run(tmp_path, watch=watch).go() == first
    assert first.status == "finished"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_and_comes_to_its_budget(tmp_path, method):
    recipe = replace(QUICK, epochs=6, ema=0.0, lr=0.05)
    options = {"stable-rps": {"init_std": 0.5}, "ltr": {"rate": 0.7, "rewind": 2}}.get(method, {})
    result = run(
        tmp_path, method, recipe=recipe, compression=1.0 if method == "dense" else 4.0, options=options
    ).go()
    assert result.status == "finished"
    assert result.test_accuracy > 0.5  # of four classes; 32 images by chance: below 1e-4
    with torch.random.fork_rng():
        budget = nn.plan(Tiny(), 4, mapping="hashed", include="*").cells
    last = max(tmp_path.glob("round-*"))
    tensors = load_file(last / "state.safetensors")
    masks = [value for key, value in tensors.items() if key.endswith(".mask")]
    if masks:
        assert sum(int(mask.sum()) for mask in masks) == budget
    elif "model.shared_bank" in tensors:
        assert tensors["model.shared_bank"].numel() == nn.plan(Tiny(), 4, include="*").cells


def test_lottery_ticket_starts_each_round_from_the_rewind_point(tmp_path):
    options = {"rate": 0.5, "rewind": 3}
    run(tmp_path, "ltr", recipe=replace(QUICK, ema=0.0), options=options).go()
    folders = sorted(tmp_path.glob("round-*"))
    assert len(folders) == 1 + 3  # 2^-3 < 1/6 <= 2^-2
    rewound = load_file(tmp_path / "round-0" / "rewind.safetensors")
    trained = load_file(folders[0] / "state.safetensors")
    assert not torch.equal(rewound["fc.weight"], trained["model.fc.weight"])
    kept = [
        sum(int(v.sum()) for k, v in load_file(folder / "state.safetensors").items() if k.endswith(".mask"))
        for folder in folders[1:]
    ]
    n = nn.plan(Tiny(), 1, mapping="hashed", include="*").weights
    assert kept == [round(n / 2), round(n / 4), nn.plan(Tiny(), 6, mapping="hashed", include="*").cells]


def test_round_of_tickets_needs_the_one_before_and_the_rewind_point(tmp_path):
    each = run(tmp_path, "ltr", options={"rewind": 3})
    each.go()
    for number in (0, 1):
        (tmp_path / f"round-{number}" / "state.safetensors").unlink()
    masks = masks_of(each._start(3, each._counts()))
    trained = load_file(tmp_path / "round-3" / "state.safetensors")
    assert len(masks) == 2
    for name, mask in masks.items():
        prefix, _, local = name.rpartition(".")
        assert torch.equal(mask, trained[f"model.{prefix}.parametrizations.{local}.0.mask"])


@pytest.mark.parametrize(("method", "whole"), [("stable-rps", 10), ("ltr", 10 + 3 * 7)])
def test_every_step_says_how_far_the_run_is_also_after_a_stop(tmp_path, method, whole, monkeypatch):
    monkeypatch.setattr("nn.runs.PATIENCE", 0.0)
    told = []

    def watch(row):
        if "loss" in row:
            told.append(row)
            if len(told) in (4, whole - 3):
                raise KeyboardInterrupt

    options = {"rewind": 3} if method == "ltr" else {}
    for _ in range(2):
        with pytest.raises(Stopped):
            run(tmp_path, method, watch, options=options).go()
    run(tmp_path, method, watch, options=options).go()
    again = whole - 4  # the steps that were told of and then lost are taken once more
    assert [row["taken"] for row in told] == [1, 2, 3, 4, *range(4, again + 1), *range(again, whole + 1)]
    assert {(row["whole"], row["epochs"]) for row in told} == {(whole, 2)}
    assert {row["rounds"] - 1 for row in told} == {told[-1]["round"]}
    assert all(row["epoch_of"] == 1 + (row["step"] > 5) for row in told)


def test_training_that_leaves_the_numbers_is_a_result(tmp_path):
    result = run(tmp_path, "dense", recipe=replace(QUICK, lr=1e30, clip=0.0, ema=0.0), compression=1.0).go()
    assert result.status == "diverged"
    assert "the loss of step" in result.remark
    assert (
        run(tmp_path, "dense", recipe=replace(QUICK, lr=1e30, clip=0.0, ema=0.0), compression=1.0).go()
        == result
    )


def test_folder_of_another_configuration_is_refused(tmp_path):
    run(tmp_path).go()
    with pytest.raises(ResumeError, match="begun by another configuration"):
        run(tmp_path, seed=1).go()


def test_finished_run_of_other_code_stays_and_an_unfinished_one_is_not_gone_on_with(tmp_path, monkeypatch):
    first = run(tmp_path).go()
    monkeypatch.setattr("nn.runs.code", lambda: "torch 9.9.9, sources 0123456789abcdef")
    assert run(tmp_path).go() == first
    (tmp_path / "result.json").unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ResumeError, match=r"begun by other code .* finish it with that code"):
        run(tmp_path).go()
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_code_is_what_lies_in_the_packages(monkeypatch):
    """One byte more in one file is other code."""
    code_but_for.cache_clear()
    before, read = code(), Path.read_bytes
    code_but_for.cache_clear()
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"#" * (path.name == "fold.py"))
    assert code() != before
    code_but_for.cache_clear()
    monkeypatch.undo()
    assert code() == before


@pytest.mark.parametrize("method", ["stable-rps", "ltr"])
def test_full_disk_is_one_sentence_and_nothing_is_lost(tmp_path, method, monkeypatch):
    """Every start but the last finds no room for its fourth file, after half of it."""
    monkeypatch.setattr("nn.runs.PATIENCE", 0.0)
    run(tmp_path / "whole", method).go()
    write = Path.write_bytes

    def start():
        written = 0

        def full(path, content):
            nonlocal written
            written += 1
            if written == 4:
                write(path, content[: len(content) // 2])
                raise OSError(ENOSPC, os.strerror(ENOSPC))
            return write(path, content)

        monkeypatch.setattr(Path, "write_bytes", full)
        run(tmp_path / "cut", method).go()

    with pytest.raises(DataError, match="No space left on device.* the same command goes on"):
        start()
    assert not list(tmp_path.rglob(".*.*.*"))
    starts = 1
    while not (tmp_path / "cut" / "result.json").exists():
        starts += 1
        with suppress(DataError):
            start()
    assert starts >= 4
    same(ends(tmp_path / "whole"), ends(tmp_path / "cut"))


def test_seconds_are_those_of_every_start_but_for_what_was_lost(tmp_path, monkeypatch):
    """A clock that ticks when it is looked at: once for a step, a state that is written, a test.

    The state before a step is counted with it: ten steps, nine such states, two tests. A step in which a
    start ends is lost, and with it the writing before; the next start takes it again.
    """
    monkeypatch.setattr("nn.runs.PATIENCE", 0.0)
    ticks = count()
    monkeypatch.setattr("nn.runs.time.monotonic", lambda: float(next(ticks)))
    whole = run(tmp_path / "whole").go().seconds

    def watch(row):
        if "loss" in row and row["step"] in steps:
            steps.remove(row["step"])
            raise KeyboardInterrupt

    steps = [2, 4, 8]
    for _ in range(3):
        with pytest.raises(Stopped, match="the same command goes on"):
            run(tmp_path / "cut", watch=watch).go()
    cut = run(tmp_path / "cut", watch=watch).go().seconds
    assert (whole, cut) == (10 + 9 + 2, 10 + 6 + 2)


def test_loss_that_stays_at_chance_is_no_divergence(tmp_path):
    recipe = replace(QUICK, lr=1e-12, ema=0.0)
    assert run(tmp_path, "dense", recipe=recipe, compression=1.0).go().status == "finished"


def test_layer_of_which_pruning_leaves_nothing_is_reported(tmp_path):
    def small(scale):
        model = build("resnet8", 4, 3, scale)
        with torch.no_grad():
            model.blocks[1].conv1.weight.mul_(1e-6)
        return model

    one = run(tmp_path, "magnitude", compression=20.0)
    one.build = small
    assert one.go().collapsed == ["blocks.1.conv1.weight"]


def test_tickets_without_compression_are_the_dense_training(tmp_path):
    run(tmp_path / "ltr", "ltr", compression=1.0).go()
    run(tmp_path / "dense", "dense", compression=1.0).go()
    same(ends(tmp_path / "ltr"), ends(tmp_path / "dense"))


def test_state_that_was_cut_off_is_refused_by_name(tmp_path):
    def watch(row):
        if row.get("epoch") == 2:
            raise Kill

    with pytest.raises(Kill):
        run(tmp_path, watch=watch).go()
    state = tmp_path / "round-0" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-7])
    with pytest.raises(DataError, match="cannot be gone on from"):
        run(tmp_path).go()


@pytest.mark.parametrize("method", METHODS)
def test_global_random_state_is_left_alone(tmp_path, method):
    before = torch.get_rng_state()
    run(tmp_path, method, compression=1.0 if method == "dense" else 4.0).go()
    assert torch.equal(before, torch.get_rng_state())


def test_one_cycle_is_torchs():
    recipe = RECIPES["short"]
    steps = 50
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=200, pct_start=0.25)
    rates = []
    for _ in range(200):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    mine = [recipe.rate(step, steps) for step in range(200)]
    assert max(mine) == pytest.approx(max(rates), rel=1e-2)
    assert max(abs(a - b) for a, b in zip(mine, rates, strict=True)) < 0.004  # the turn is a step later


def test_drops_come_after_the_epochs_they_name():
    recipe = RECIPES["paper"]
    ends = [recipe.rate(epoch * 10 + index, 10) for epoch in (79, 80, 119, 120) for index in (0, 9)]
    assert ends == [0.1, 0.1] + [0.1 * 0.1] * 4 + [0.1 * 0.1**2] * 2


@pytest.mark.parametrize("compression", [2, 5, 10, 30])
def test_smaller_resnet_is_within_5_percent_of_the_budget(compression):
    def model(scale):
        return build("resnet20", 10, 3, scale)

    with torch.device("meta"):
        size = sum(p.numel() for p in model(narrowed(model, compression)).parameters())
        budget = nn.plan(model(1.0), compression, mapping="hashed", include="*").stored_params
    assert abs(size / budget - 1) < 0.05


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: recipe_of("papier"), "did you mean 'paper'"),
        (lambda: recipe_of("paper", lr=-1), "lr=-1.0 came"),
        (lambda: recipe_of("paper", lrr=1), "did you mean 'lr'"),
        (lambda: recipe_of("paper", name="mine"), "a recipe that is changed keeps its name"),
        (lambda: Configuration("d", "m", "zzz", 2, QUICK), "method='zzz' came; one of dense, "),
        (lambda: Recipe("x", 0), "epochs=0"),
        (lambda: Recipe("x", 1.5), "epochs=1.5 came; a whole number"),
        (lambda: Recipe("x", 1, batch=64.0), "batch=64.0 came"),
        (lambda: Recipe("x", 1, lr="0.1"), "lr='0.1' came; a finite number"),
        (lambda: Recipe("x", 1, weight_decay=float("inf")), "weight_decay=inf came"),
        (lambda: Recipe("x", 1, drops=1), "drops=1 came"),
        (lambda: Recipe("x", 1, channels_last="no"), "channels_last='no' came; true or false"),
        (lambda: build("resnet21", 10, 3), "did you mean 'resnet32'"),
        (lambda: Configuration("d", "m", "stable", 2, QUICK), "did you mean 'stable-rps'"),
        (lambda: Configuration("d", "m", "dense", 0.5, QUICK), "compression=0.5"),
        (lambda: prepare("roast", Tiny, 4, options={"sclaer": "v1"}), "did you mean 'scaler'"),
    ],
)
def test_wrong_arguments_are_one_sentence(call, words):
    with pytest.raises((ArgumentError, KindError), match=words):
        call()


def test_numbers_of_numpy_name_the_same_run():
    recipe = replace(QUICK, epochs=np.int64(2), ema=np.float32(0.5), drops=(np.int64(1),))
    one = Configuration("d", "m", "hashed", np.float32(4), recipe, np.int64(3), held_out=np.float32(0.5))
    recipe = replace(QUICK, ema=0.5, drops=(1,))
    assert one.key == Configuration("d", "m", "hashed", 4, recipe, 3, held_out=0.5).key


def key(method="synflow", options=None, **fields):
    return Configuration("d", "m", method, 4, QUICK, options=options or {}, **fields).key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (key(held_out=0), key(held_out=0.0)),
        (key("hashed", {"init_std": 2}), key("hashed", {"init_std": 2.0})),
        (
            key("hashed", {"overrides": {"*": {"init_std": 2}}}),
            key("hashed", {"overrides": {"*": {"init_std": 2.0}}}),
        ),
        (key("hashed", {"exclude": []}), key("hashed")),
        (key("ltr", {"rewind": 3.0}), key("ltr", {"rewind": 3})),
        (key("synflow", {"passes": 100}), key("synflow")),
        (key("snip", {"passes": 1.0}), key("snip")),
    ],
)
def test_configuration_has_one_name_however_it_is_said(one, other):
    assert one == other


def test_configurations_that_differ_have_different_names():
    said = (
        ("synflow", {"passes": 1}),
        ("synflow", {"passes": True}),
        ("synflow", {}),
        ("snip", {"passes": 100}),
    )
    assert len({key(*each) for each in said}) == len(said)


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_names_of_runs_that_are_recorded_stay(name):
    text = Path(__file__).parents[2].joinpath("benchmarks", "results", f"{name}.jsonl").read_text()
    found = {}
    for record in map(json.loads, text.splitlines()):
        how = record["configuration"]
        recipe = Recipe(**how["recipe"] | {"drops": tuple(how["recipe"]["drops"])})
        found[record["run"]] = Configuration(**how | {"recipe": recipe}).key
    assert found
    assert list(found) == list(found.values())


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("method", ["stable-rps", "snip", "ltr", "dense"])
def test_option_that_is_given_elsewhere_is_refused_with_its_place(method, name):
    with pytest.raises(ArgumentError, match=f"option {name}=3 came, which is none of a method; "):
        Configuration("d", "m", method, 1, QUICK, options={name: 3})


def test_diverged_step_changes_nothing():
    model = Tiny()
    training = Training(model, QUICK, 5, 0)
    x, y = Blobs().batch(0, 0)
    before = {name: value.clone() for name, value in model.named_parameters()}
    with pytest.raises(Diverged, match="nan"):
        training.advance((x * float("nan"), y))
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
