"""Runs from the command line: trained, tested again to the same number, listed, drawn; and what is refused.

Real runs are of 24 images a class; what is only read and drawn lies in folders that are written here.
"""

import csv
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import load_file
from scipy.stats import t
from typer.testing import CliRunner

import nn
from nn import commands
from nn.budget import Budget
from nn.data import feed
from nn.data.datasets import DATASETS
from nn.evaluation import circumstances, differences, evaluate, network, recipe_in
from nn.methods import METHODS
from nn.models.registry import MODELS
from nn.plotting import curve_of, figure, studies
from nn.recipes import RECIPES, recipe_of
from nn.records import COLUMNS, LEAST, lines, ratio_of, read, records_of, rows_of
from nn.study.statistics import half_interval
from rpstheory import __version__
from rpstheory.errors import ArgumentError, DataError, KindError, ResumeError, RpsError

ROOT = Path(__file__).parents[2]
START = [sys.executable, "-c", "from rpstheory.cli import main; main()"]
NAMES = ("train", "eval", "runs", "plot", "reproduce")


@pytest.fixture(scope="module")
def app():
    """The commands as `rps` mounts them."""
    mounted = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    for name in NAMES:
        mounted.command(name)(getattr(commands, {"eval": "evaluate"}.get(name, name)))
    return mounted


@pytest.fixture(scope="module")
def call(app):
    def run(*arguments, status=0):
        found = CliRunner().invoke(app, [str(each) for each in arguments])
        if isinstance(found.exception, RpsError):
            raise found.exception
        assert found.exit_code == status, (found.output, found.exception)
        return found.stdout

    return run


@pytest.fixture(scope="module")
def data(blobs, tmp_path_factory):
    """Small images; beside them, the same in three classes."""
    path = blobs(tmp_path_factory.mktemp("data"), train=96, test=40)
    three = {"train_labels": np.arange(96) % 3, "test_labels": np.arange(40) % 3}
    np.savez(path.with_name("three.npz"), **dict(np.load(path)) | three)
    return path


@pytest.fixture(scope="module")
def trained(call, data, tmp_path_factory):
    """Folders of one run for each method, and one of an average of weights."""
    out = tmp_path_factory.mktemp("runs")

    def train(method, *more):
        printed = call(
            "train", "--data", data, "--method", method, "--epochs", 2, "--out", out, "--json", *more
        )
        return out / json.loads(printed)["run"]

    given = {"synflow": ("--option", "passes=3"), "ltr": ("--option", "rate=0.7", "--option", "rewind=1")}
    return {method: train(method, *given.get(method, ())) for method in METHODS}


# ------------------------------------------------------------------------------------------- eval


@pytest.mark.parametrize("method", METHODS)
def test_eval_gives_the_recorded_accuracy_and_loss(trained, method):
    folder = trained[method]
    found, record = evaluate(folder), read(folder)
    assert (found.accuracy, found.loss) == (record.result["test_accuracy"], record.result["test_loss"])
    assert found.recorded == found.accuracy
    assert found.images == 40


@pytest.mark.parametrize("method", METHODS)
def test_eval_counts_what_lies_in_the_folder(trained, method):
    """Cells, kept weights and parameters of the last state, by the names of its tensors."""
    folder = trained[method]
    state = load_file(max(folder.glob("round-*")) / "state.safetensors")
    model = {key.removeprefix("model."): value for key, value in state.items() if key.startswith("model.")}
    masks = sum(int((~value).sum()) for key, value in model.items() if key.endswith(".mask"))
    passive = ("running_mean", "running_var", "num_batches_tracked", "mask")
    numbers = sum(value.numel() for key, value in model.items() if not key.endswith(passive))
    assert evaluate(folder).budget.params == numbers - masks


def test_eval_on_other_data_is_compared_with_nothing(trained, data, tmp_path):
    arrays = dict(np.load(data))
    arrays["test_images"], arrays["test_labels"] = arrays["train_images"], arrays["train_labels"]
    np.savez(tmp_path / "again.npz", **arrays)
    found = evaluate(trained["dense"], str(tmp_path / "again.npz"))
    assert (found.images, found.recorded, found.data) == (96, None, "again")


def test_eval_takes_test_sets_whose_training_part_is_less_than_a_batch(trained, data, tmp_path):
    few = {name: array[:12] for name, array in np.load(data).items()}
    np.savez(tmp_path / "few.npz", **few)
    assert recipe_in(read(trained["dense"])).batch > 12
    assert evaluate(trained["dense"], str(tmp_path / "few.npz")).images == 12


def test_eval_tests_on_the_part_that_was_held_out(call, data, tmp_path):
    call(
        "train", "--data", data, "--held-out", 0.25, "--epochs", 1, "--out", tmp_path, "--option", "scaler=v1"
    )
    (folder,) = tmp_path.iterdir()
    found = evaluate(folder)
    assert (found.images, found.accuracy) == (24, read(folder).result["test_accuracy"])


def test_eval_prints_accuracy_and_every_part_of_the_budget(call, trained):
    text = call("eval", trained["random"])
    cost = evaluate(trained["random"]).budget
    for number in (cost.params, cost.dense_params, cost.bytes, cost.dense_bytes, cost.index, cost.flops):
        assert f"{number:,}" in text
    assert f"(recorded: {read(trained['random']).result['test_accuracy']:.2%})" in text


def test_run_in_the_folder_where_one_is_has_its_name(call, trained, monkeypatch):
    monkeypatch.chdir(trained["dense"])
    assert call("eval", ".").startswith(f"{trained['dense'].name} on 40 images")
    assert call("runs", ".").splitlines()[1].startswith(trained["dense"].name)


def test_eval_as_json_is_the_evaluation(call, trained):
    found = json.loads(call("eval", trained["roast"], "--json"))
    assert Budget(**found["budget"]) == evaluate(trained["roast"]).budget
    assert found["accuracy"] == read(trained["roast"]).result["test_accuracy"]


def copied(folder, to, **changes):
    """A run with parts of its files changed."""
    to.mkdir()
    for path in folder.rglob("*"):
        if path.is_file():
            (to / path.relative_to(folder)).parent.mkdir(exist_ok=True)
            (to / path.relative_to(folder)).write_bytes(path.read_bytes())
    for name, change in changes.items():
        change(to / f"{name}.json")
    return to


def text_changed(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_eval_refuses_what_is_no_finished_run_of_this_version(trained, tmp_path):
    whole = trained["stable-rps"]
    unfinished = copied(whole, tmp_path / "unfinished", result=Path.unlink)
    diverged = copied(whole, tmp_path / "diverged", result=lambda p: text_changed(p, status="diverged"))
    older = copied(whole, tmp_path / "older", configuration=lambda p: text_changed(p, version="0.0.1"))
    for folder, error, words in (
        (unfinished, ArgumentError, "unfinished is unfinished; a finished run is needed"),
        (diverged, ArgumentError, "diverged is diverged; a finished run is needed"),
        (older, ResumeError, f"was made by version 0.0.1, and this is {__version__}"),
        (tmp_path / "nowhere", DataError, "configuration.json: No such file"),
        (tmp_path, DataError, "configuration.json: No such file"),
    ):
        with pytest.raises(error, match=words):
            evaluate(folder)


@pytest.mark.parametrize("method", ["dense", "stable-rps", "magnitude"])
def test_the_network_of_a_run_answers_as_it_did_at_the_end(trained, method, data):
    folder = trained[method]
    found, source = network(folder), feed(str(data), recipe_in(read(folder)).batch, 0)
    with torch.no_grad():
        right = sum(int((found(x).argmax(1) == y).sum()) for x, y in source.test())
    assert right / 40 == read(folder).result["test_accuracy"]


def test_a_weight_that_was_changed_after_training_is_refused(trained, tmp_path):
    folder = copied(trained["stable-rps"], tmp_path / "changed")
    state = folder / "round-0" / "state.safetensors"
    content = bytearray(state.read_bytes())
    content[-1] ^= 1
    state.write_bytes(content)
    for use in (evaluate, network):
        with pytest.raises(DataError, match=r"state.safetensors was changed after training, or damaged"):
            use(folder)


def test_eval_refuses_a_state_that_was_cut_off_and_data_that_do_not_fit(trained, data, tmp_path):
    folder = copied(trained["stable-rps"], tmp_path / "cut")
    state = folder / "round-0" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-3])
    with pytest.raises(DataError, match=r"state.safetensors cannot be read"):
        evaluate(folder)
    with pytest.raises(ArgumentError, match="pass data with the images and classes that it was trained on"):
        evaluate(trained["dense"], str(data.with_name("three.npz")))


# ------------------------------------------------------------------------------------------- runs


def written(folder, method="dense", seed=0, accuracy=0.5, compression=1.0, result=True, **changes):
    """The folder of a run that never was."""
    recipe = {"name": "short", "epochs": 2, "lr": 0.1, "drops": []}
    how = {"data": "cifar10", "model": "resnet20", "method": method, "compression": compression,
           "recipe": recipe, "seed": seed, "options": {}, "held_out": 0.0} | changes  # fmt: skip
    run = folder / f"{method}-{compression:g}-{seed}-{len(list(folder.glob('*')))}"
    run.mkdir(parents=True)
    (run / "configuration.json").write_text(json.dumps({"version": __version__, "configuration": how}))
    rows = [
        {"round": 0, "epoch": epoch, "step": epoch, "seconds": 30.0, "train_loss": 1.0, "test_loss": 1.0,
         "test_accuracy": accuracy * epoch / 2} for epoch in (1, 2)
    ]  # fmt: skip
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    params = round(272474 / compression)
    cost = {"params": params, "bytes": 4 * params, "total_compression": compression, "flops": 8}
    ending = {
        "status": "finished",
        "remark": "",
        "test_loss": 1.0,
        "test_accuracy": accuracy,
        "seconds": 60.0,
    }
    if result:
        (run / "result.json").write_text(json.dumps(ending | {"budget": cost}))
    return run


@pytest.fixture
def several(tmp_path):
    """Dense, and two methods at 2x and 10x: one with three seeds, one with one; and two that are not over."""
    written(tmp_path, accuracy=0.8)
    for compression, seed in product((2.0, 10.0), range(3)):
        written(tmp_path, "stable-rps", seed, 0.7 - compression / 100 + seed / 100, compression)
    for compression in (2.0, 10.0):
        written(tmp_path, "random", 0, 0.6 - compression / 100, compression)
    written(tmp_path, "ltr", result=False, compression=10.0)
    broken = written(tmp_path, "snip", compression=10.0)
    (broken / "configuration.json").write_text("{")
    return tmp_path


def test_runs_are_a_line_each_in_columns_that_stand_below_each_other(call, several):
    head, *body = call("runs", several).splitlines()
    assert head.split() == [c.name for c in COLUMNS if c.name not in ("set", "perplexity")]  # no run has one
    assert len(body) == 11
    place = head.index("status")
    assert {line[place:].split()[0] for line in body} == {"finished", "unfinished", "broken"}
    assert body[0].split()[1:5] == ["cifar10", "resnet20", "dense", "1"]
    said = (
        "configuration.json holds no JSON: Expecting property name enclosed in double quotes: line 1 column 2"
    )
    assert said in body[-1]
    assert body[-1].endswith("; restore what the run wrote, or remove its folder and train again")


def test_runs_are_in_the_order_of_compression_method_and_seed(several):
    found = [(row["compression"], row["method"], row["seed"]) for row in rows_of(several, {})[:-1]]
    assert found == sorted(found)


def test_runs_as_csv_and_json_say_the_same(call, several):
    table = list(csv.DictReader(io.StringIO(call("runs", several, "--csv"))))
    found = json.loads(call("runs", several, "--json"))
    assert [row["run"] for row in table] == [row["run"] for row in found]
    assert [row["accuracy"] for row in table[:3]] == [str(row["accuracy"]) for row in found[:3]]
    assert found[0]["bytes"] == 4 * found[0]["params"] == 4 * 272474


@pytest.mark.parametrize(
    ("asked", "came", "shown"),
    [(10.0, 9.999, "10"), (10.0, None, "10"), (5000.0, 4811.3, "4811"), (2.5, 2.5, "2.5")],
)
def test_ratio_shown_is_the_one_that_was_reached(asked, came, shown):
    assert ratio_of({"compression": asked, "reached": came}) == shown


def test_runs_can_be_chosen(several):
    chosen = rows_of(several, {"method": "stable-rps", "status": "finished", "model": None})
    assert [row["seed"] for row in chosen] == [0, 1, 2, 0, 1, 2]
    with pytest.raises(ArgumentError, match="method='stable' came; did you mean 'stable-rps'"):
        rows_of(several, {"method": "stable"})


def test_data_are_chosen_by_what_the_table_shows_and_by_their_path(tmp_path):
    for held_out in (0.0, 0.2):
        written(tmp_path, data="/far/toy.npz", held_out=held_out)
    written(tmp_path)
    for name, count in (("toy.npz", 2), ("/far/toy.npz", 2), ("toy.npz (held out 0.2)", 1), ("cifar10", 1)):
        assert len(rows_of(tmp_path, {"data": name})) == count
    with pytest.raises(
        ArgumentError, match=r"data='toy' came; did you mean 'toy.npz'\? One of .*/far/toy.npz"
    ):
        rows_of(tmp_path, {"data": "toy"})


def test_runs_that_differ_by_their_recipe_are_told_apart(call, tmp_path):
    short = {"name": "short", "epochs": 2, "lr": 0.1, "weight_decay": 0.0005, "drops": []}
    for changes in (
        {},
        {"weight_decay": 0.001, "drops": [1, 2]},
        {"name": "own", "optimizer": "adamw", "lr": 0.3},
    ):
        written(tmp_path, recipe=short | changes)
    said = {row["recipe"] + ": " + row["set"] for row in rows_of(tmp_path, {})}
    assert said == {
        "short: ", "short: drops=[1,2] weight_decay=0.001", "own: optimizer=adamw weight_decay=0.0005"
    }  # fmt: skip
    table = call("runs", tmp_path)
    assert "  recipe  set  " in table
    assert "  short   drops=[1,2] weight_decay=0.001  " in table
    assert [row["set"] for row in csv.DictReader(io.StringIO(call("runs", tmp_path, "--csv")))].count("") == 1


def test_runs_deep_in_a_folder_are_named_by_their_place(tmp_path):
    run = written(tmp_path / "one" / "two")
    assert rows_of(tmp_path, {})[0]["run"] == str(run.relative_to(tmp_path))
    assert rows_of(run, {})[0]["run"] == run.name


def test_table_leaves_columns_out_until_it_fits(several):
    rows = [row for row in rows_of(several, {}) if row["status"] == "finished"]
    whole, out = lines(rows)
    assert out == []
    most, least = max(map(len, whole)), [name for name in LEAST if name != "set"]  # which no run has
    for room in range(most, 40, -7):
        text, out = lines(rows, room)
        assert max(map(len, text)) <= room or out == least
        assert out == least[: len(out)]
        empty = ("set", "perplexity", "remark")
        assert text[0].split() == [c.name for c in COLUMNS if c.name not in (*out, *empty)]


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"version": "0", "configuration": 3}', '{"version": "0", "configuration": {"data": 1}}',
     "[" * 100_000, "\udcff"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["configuration.json", "result.json", "metrics.jsonl"])
def test_folder_that_cannot_be_read_is_a_line_and_an_error_where_it_is_needed(tmp_path, name, content):
    run = written(tmp_path)
    (run / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    (row,) = rows_of(tmp_path, {})
    if row["status"] == "broken":
        assert lines([row])[0][1].split()[:2] == [run.name, "broken"]
        with pytest.raises(
            DataError, match=r"cannot be read .*; pass the folder of a run, or restore"
        ) as found:
            read(run)
        if not content.startswith(("{", "[]")):  # no JSON
            assert f"({name} holds no JSON: " in str(found.value)
    else:  # no epoch is ended
        assert (name, content) == ("metrics.jsonl", "")


def test_folder_without_runs_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"holds no runs; rps train --out .* makes one"):
        rows_of(tmp_path, {})


# ------------------------------------------------------------------------------------------- plot


def test_points_are_means_over_seeds_with_an_interval_where_there_are_several(several):
    (setting,) = studies(records_of(several))
    assert next(iter(setting.lines)) == "dense"
    shared = setting.lines["stable-rps"]
    assert [(spot.compression, len(spot.accuracy)) for spot in shared] == [(2.0, 3), (10.0, 3)]
    assert shared[0].mean == pytest.approx(0.69)  # 0.68, 0.69, 0.70
    assert shared[0].half == pytest.approx(t.ppf(0.975, 2) * 0.01 / 3**0.5)
    assert [spot.half for spot in setting.lines["random"]] == [None, None]
    (ticket,) = setting.lines["ltr"]  # not over: a curve without a point
    assert (ticket.compression, ticket.mean, curve_of(ticket)) == (10.0, None, {1: 0.25, 2: 0.5})


def test_interval_of_student_is_that_of_the_table():
    """With one degree of freedom t at 0.975 is tan(0.475 pi) = 12.706; of 1 and 3, s / sqrt 2 is 1."""
    assert half_interval([1.0, 3.0]) == pytest.approx(np.tan(0.475 * np.pi))
    assert half_interval([1.0]) is None
    assert half_interval([0.9, 0.9, 0.9]) is None


def test_runs_with_other_recipes_rates_and_options_are_never_averaged(tmp_path):
    for rate in (0.1, 0.2):
        written(tmp_path, "hashed", recipe={"name": "short", "epochs": 2, "lr": rate, "drops": []})
    written(tmp_path, "roast", options={"init_std": 1})
    written(tmp_path, "roast")
    for rate in (0.1, 0.2):
        written(tmp_path, recipe={"name": "short", "epochs": 2, "lr": rate, "drops": []})
    written(tmp_path, "robe", data="digits")
    written(tmp_path, "robe", data="digits", recipe={"name": "short", "epochs": 2, "lr": 0.1, "drops": [1]})
    found = studies(records_of(tmp_path))
    assert [setting.title.split(" · ")[0] for setting in found] == ["cifar10", "digits", "digits"]
    assert sorted(found[0].lines) == [
        "dense lr 0.1", "dense lr 0.2", "hashed lr 0.1", "hashed lr 0.2", "roast", "roast init_std=1",
    ]  # fmt: skip
    assert all(len(spot.trials) == 1 for spots in found[0].lines.values() for spot in spots)


def test_a_run_that_was_reproduced_is_no_second_seed_and_other_data_are_another_figure(several):
    def counted():
        (setting,) = studies(records_of(several))
        return {label: [len(spot.trials) for spot in spots] for label, spots in setting.lines.items()}

    before = counted()
    first = next(each for each in sorted(several.iterdir()) if (each / "result.json").exists())
    shutil.copytree(first, several / "reproduced" / first.name)
    assert counted() == before
    path = several / "reproduced" / first.name / "configuration.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data": "other"}))
    path.parent.rename(several / "reproduced" / "other")
    assert len(studies(records_of(several))) == 2


def test_figure_draws_a_panel_for_each_compression_and_each_cost(several):
    axes = figure(studies(records_of(several))).get_axes()
    assert [each.get_title(loc="left") for each in axes[:2]] == ["learning at 2x", "learning at 10x"]
    assert [each.get_xlabel() for each in axes[2:]] == ["parameters stored", "bytes stored, index included"]
    assert all(each.get_xscale() == "log" for each in axes[2:])
    assert [len(each.containers) for each in axes[2:]] == [2, 2]  # intervals: stable-rps at 2x and 10x


def test_epochs_of_a_figure_are_whole_even_where_there_is_one(tmp_path):
    rows = written(tmp_path) / "metrics.jsonl"
    rows.write_text(rows.read_text().splitlines(keepends=True)[0])
    ticks = figure(studies(records_of(tmp_path))).get_axes()[0].get_xticks()
    assert [tick for tick in ticks if tick != round(tick)] == []


@pytest.mark.parametrize("kind", ["png", "svg", "pdf", "html"])
def test_plot_writes_the_same_bytes_again(call, several, tmp_path_factory, kind):
    one, other = (tmp_path_factory.mktemp("figure") / f"runs.{kind}" for _ in range(2))
    for out in (one, other):
        assert call("plot", several, "--out", out) == f"wrote {out}\n"
    assert one.read_bytes() == other.read_bytes()
    head = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF", "html": b"<!DOCTYPE html>"}[kind]
    assert one.read_bytes().startswith(head)
    if kind == "svg":
        ElementTree.parse(one)


def test_page_refers_to_nothing_outside_itself_and_shows_every_run(call, several, tmp_path_factory):
    out = tmp_path_factory.mktemp("figure") / "runs.html"
    call("plot", several, "--out", out)
    found = []

    class Links(HTMLParser):
        def handle_starttag(self, tag, attributes):
            found.extend(value for name, value in attributes if name in ("src", "href", "xlink:href"))

    text = out.read_text()
    Links().feed(text)
    assert all(value.startswith("#") for value in found)
    assert "url(http" not in text
    assert all(row["run"] in text for row in rows_of(several, {}))
    assert studies(records_of(several))[0].title in text
    assert '<div class="sheet"><main>' in text, "main has the whole width as the first child"


@pytest.mark.parametrize(
    ("out", "words"),
    [("no/runs.png", "does not exist"), ("pages.html", "it is a folder")],
)
def test_plot_that_cannot_be_written_is_one_sentence(call, several, tmp_path, out, words):
    (tmp_path / "pages.html").mkdir()
    with pytest.raises(DataError, match=words):
        call("plot", several, "--out", tmp_path / out)


def test_plot_of_another_kind_is_one_sentence_that_names_all_kinds(call, several, tmp_path):
    with pytest.raises(ArgumentError, match=r"ends in .png, .svg, .pdf, .html is needed"):
        call("plot", several, "--out", tmp_path / "runs.gif")


def test_plot_of_runs_without_an_epoch_is_one_sentence(call, tmp_path):
    (written(tmp_path, result=False) / "metrics.jsonl").unlink()
    with pytest.raises(DataError, match="no run has ended an epoch"):
        call("plot", tmp_path, "--out", tmp_path / "runs.png")


# ------------------------------------------------------------------------------------------ train


def test_help_names_what_the_registries_hold():
    assert commands.DATA.split(", ") == list(DATASETS)
    assert sorted(commands.MODELS.split(", ")) == sorted(MODELS)
    assert commands.METHODS.split(", ") == list(METHODS)
    assert commands.RECIPES.split(", ") == list(RECIPES)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("--method", "stabel-rps"), ArgumentError, "did you mean 'stable-rps'"),
        (("--model", "resnet21"), ArgumentError, "model='resnet21' came; did you mean"),
        (("--recipe", "smok"), ArgumentError, "did you mean 'smoke'"),
        (("--data", "digit"), ArgumentError, "did you mean 'digits'"),
        (("--compression", "0.5"), ArgumentError, "compression=0.5 came; 1 or more"),
        (("--compression", "nan"), ArgumentError, "compression=nan came"),
        (("--method", "dense", "--compression", "10"), ArgumentError, "compression=10 came for dense"),
        (("--held-out", "1.5"), ArgumentError, "held_out=1.5"),
        (("--lr", "-1"), ArgumentError, "lr=-1.0 came"),
        (("--epochs", "0"), ArgumentError, "epochs=0"),
        (("--option", "scaler"), ArgumentError, "--option 'scaler' came; NAME=VALUE"),
        (("--option", "=v1"), ArgumentError, "--option '=v1' came; NAME=VALUE"),
        (("--option", "scaler="), ArgumentError, "--option 'scaler=' came"),
        (("--option", "scaler=v1", "--option", "scaler=none"), ArgumentError, "--option scaler came twice"),
        (
            ("--option", "scalr=v1"),
            ArgumentError,
            "option of stable-rps='scalr' came; did you mean 'scaler'",
        ),
        (("--option", "seed=3"), ArgumentError, r"option seed=3 came, .* pass it as seed \(--seed\)"),
        (("--set", "name=mine"), ArgumentError, "a recipe that is changed keeps its name"),
        (("--option", "scaler=v9"), ArgumentError, "scaler='v9' came"),
        (
            ("--method", "snip", "--option", "passes=many"),
            KindError,
            "passes='many' came; a whole number is needed",
        ),
    ],
)
def test_train_refuses_in_one_sentence(call, tmp_path, arguments, error, words):
    with pytest.raises(error, match=words):
        call("train", "--out", tmp_path / "runs", *arguments)


def test_options_are_numbers_where_they_can_be():
    texts = ["rate=0.2", "scaler=v1", 'include=["*"]', "rewind=3", "note=a=b"]
    found = commands.options_in("train", "--option", texts, "scaler=v1")
    assert found == {"rate": 0.2, "scaler": "v1", "include": ["*"], "rewind": 3, "note": "a=b"}


def test_train_again_says_what_is_known_without_a_step(call, trained, data):
    folder = trained["stable-rps"]
    again = call("train", "--data", data, "--epochs", 2, "--out", folder.parent)
    assert again.startswith(f"{folder.name}  {data} resnet8 stable-rps 10x smoke seed 0  finished: ")


def test_reproduce_finds_the_same_and_another_result(call, trained, tmp_path):
    folder = trained["random"]
    printed = call("reproduce", folder, "--out", tmp_path / "one")
    assert printed.endswith("the same, to the last bit of the weights\n")
    other = copied(folder, tmp_path / folder.name, result=lambda p: text_changed(p, test_accuracy=0.123))
    printed = call("reproduce", other, "--out", tmp_path / "two", status=1)
    assert printed.endswith("different: test_accuracy\n")


def test_reproduce_goes_on_with_what_was_stopped_and_refuses_what_is_finished(call, trained, tmp_path):
    folder, out = trained["random"], tmp_path / "again"
    renamed = copied(folder, tmp_path / "renamed")
    with pytest.raises(ArgumentError, match=f"{folder.name} holds such a run, and it is finished; remove it"):
        call("reproduce", renamed, "--out", folder.parent)
    call("reproduce", renamed, "--out", out)
    (out / folder.name / "result.json").unlink()
    state = out / folder.name / "round-0" / "state.safetensors"
    before = state.stat().st_mtime_ns
    found = json.loads(call("reproduce", renamed, "--out", out, "--json"))
    assert (found["different"], found["circumstances"]) == ([], [])
    assert (found["recorded"]["run"], found["again"]["run"]) == ("renamed", folder.name)
    assert state.stat().st_mtime_ns == before  # no step was taken


def test_differences_are_found_in_weights_epochs_and_remarks_and_seconds_are_none(trained, tmp_path):
    first = read(trained["random"])
    again = copied(trained["random"], tmp_path / "again")
    assert differences(first, read(again)) == []
    state = again / "round-0" / "state.safetensors"
    content = bytearray(state.read_bytes())
    content[-1] ^= 1
    state.write_bytes(content)
    rows = [json.loads(line) for line in (again / "metrics.jsonl").read_text().splitlines()]
    changed = [row | {"seconds": 0.0, "train_loss": 9.0} for row in rows]
    (again / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
    text_changed(again / "result.json", remark="step 77", seconds=1.0, places=["elsewhere"])
    found = differences(first, read(again))
    assert found == ["remark", "the numbers of the epochs", "the weights of round-0"]
    assert circumstances(first, read(again)) == ["device or threads"]
    state.write_bytes(content[:-1])
    with pytest.raises(DataError, match="state.safetensors cannot be read"):
        differences(first, read(again))


def test_fields_of_the_recipe_are_set_from_the_command_line(call, data, tmp_path):
    printed = call("train", "--data", data, "--out", tmp_path, "--epochs", 1, "--json", "--set", "ema=0.5",
                   "--set", "optimizer=adamw", "--set", "drops=[1]")  # fmt: skip
    recipe = json.loads(printed)["configuration"]["recipe"]
    assert (recipe["ema"], recipe["optimizer"], recipe["drops"], recipe["epochs"]) == (0.5, "adamw", [1], 1)


def test_result_line_and_table_say_the_ratio_that_was_reached_and_what_is_empty(call, data, tmp_path):
    arguments = ("--data", data, "--out", tmp_path, "--epochs", 1, "--compression")
    printed = call("train", *arguments, 5000, "--method", "magnitude")
    assert " magnitude 4811x " in printed
    assert "; nothing left of " in printed
    printed = call("train", *arguments, 50_000, "--method", "smaller")
    (row,) = rows_of(tmp_path, {"method": "smaller"})
    assert f"{row['params']:,} parameters, and the budget is" in row["remark"]
    assert row["remark"] in printed
    assert f" smaller {ratio_of(row)}x " in printed


def test_same_run_has_one_name_however_it_is_said(data, tmp_path, monkeypatch):
    monkeypatch.chdir(data.parent)
    short = recipe_of("smoke", epochs=1)
    said = (str(data), {}), (data.name, {"mapping": "hashed"}), (f"./{data.name}", {"scaler": "none"})
    found = {
        nn.fit(path, "resnet8", "hashed", 10, short, out=tmp_path, options=options).folder
        for path, options in said
    }
    assert len(found) == 1


def test_part_that_was_held_out_is_called_so(tmp_path, capsys):
    row = {
        "round": 0,
        "epoch": 1,
        "train_accuracy": 0.5,
        "test_accuracy": 0.25,
        "test_loss": 1.0,
        "seconds": 2.0,
    }
    for held_out, words in ((0.2, "held out 25.00%"), (0.0, "test 25.00%")):
        with commands._watched("train", "digits", held_out, quiet=False) as watch:
            watch(row)
        assert f"train 50.00%, {words}, 2.0 s" in capsys.readouterr().err
    assert commands._said(read(written(tmp_path, held_out=0.2))).endswith("finished: held out 50.00% in 60 s")
    assert commands._said(read(written(tmp_path))).endswith("finished: 50.00% in 60 s")


def test_bar_has_an_end_and_what_was_done_before_says_nothing_of_the_speed(monkeypatch):
    """Of 100 steps 90 were done; one a second, so that after five of them five seconds are left."""
    from rich.console import Console

    monkeypatch.setenv("TERM", "xterm")
    text, now = io.StringIO(), 0.0
    terminal = Console(file=text, force_terminal=True, width=100, get_time=lambda: now)
    monkeypatch.setattr("rich.console.Console", lambda **_: terminal)
    with commands._watched("train", quiet=False) as watch:
        for taken in range(91, 96):
            now += 1.0
            watch({"round": 1, "rounds": 4, "epoch_of": 2, "epochs": 3, "step": 1, "loss": 0.5,
                   "taken": taken, "whole": 100})  # fmt: skip
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.getvalue())
    last = [line for line in plain.splitlines() if "round" in line][-1]
    assert last.startswith("round 1/3 epoch 2/3 loss 0.500 ")
    assert last.rstrip().endswith("  95% 0:00:05")


# -------------------------------------------------------------------------- processes of their own


def python(*arguments, **more):
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, **more
    )


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["runs", "FOLDER"], ["plot", "FOLDER"]]
)
def test_commands_that_train_nothing_start_without_torch(several, tmp_path_factory, arguments):
    out = tmp_path_factory.mktemp("figure") / "runs.svg"
    arguments = [str(several) if each == "FOLDER" else each for each in arguments]
    arguments += ["--out", str(out)] if arguments[0] == "plot" else []
    program = (
        "import sys\nfrom rpstheory.cli import main\n"
        f"sys.argv = ['rps', *{arguments!r}]\n"
        "try:\n    main()\nfinally:\n    print('torch' in sys.modules, file=sys.stderr)\n"
    )
    found = python("-c", program)
    assert (found.returncode, found.stderr) == (0, "False\n")


def test_interrupted_training_is_one_sentence_and_goes_on(data, tmp_path):
    arguments = ["train", "--data", str(data), "--method", "dense", "--epochs", "40", "--out", str(tmp_path)]
    process = subprocess.Popen(
        [*START, *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # as in the foreground
    )  # fmt: skip
    first, _ = process.stderr.readline(), process.stderr.readline()  # the first epoch is written down
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert first.startswith("round 0 epoch 1:")
    assert process.wait() == 130
    process.stderr.close()
    assert "Traceback" not in rest
    assert rest.splitlines()[-1].startswith("rps: train: stopped")
    assert [row["status"] for row in rows_of(tmp_path, {})] == ["unfinished"]
    again = subprocess.run([*START, *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "round 0 epoch 1:" not in again.stderr
    assert [(row["status"], row["epoch"]) for row in rows_of(tmp_path, {})] == [("finished", 40)]
