"""Text: windows in which every byte is asked for once, a decoder that looks back only, and runs of both.

Runs are of a text that repeats a few letters: they are equally frequent, and each says which comes next.
"""

import json
import platform
from collections import Counter
from functools import partial
from math import exp, log

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
import torch.nn as tnn
import typer
from hypothesis import given, settings
from typer.testing import CliRunner

import nn
from nn import commands
from nn.advice.trained import trained as looked_at
from nn.cross_layer.adapters import projections_of
from nn.data import Batches, feed, load, split
from nn.data.commands import data as data_commands
from nn.data.text import TESTED, WINDOW
from nn.evaluation import evaluate
from nn.fitting import PER_CLASS, _Source, fit
from nn.methods import prepare
from nn.models import Decoder
from nn.models.registry import MODELS, READERS, build
from nn.recipes import Recipe, recipe_of
from nn.records import is_text, perplexity_of, read
from nn.study.grid import read_study
from nn.training import Training
from rpstheory.errors import ArgumentError, DataError, RpsError, ShapeError, Stopped

LEAST = TESTED * (WINDOW + 1)
ALPHABET = "abcdefg\n"
QUICK = recipe_of("transformer", epochs=5, batch=4)


@pytest.fixture(scope="module")
def call():
    """`rps` with its sub-commands, in this process."""
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    for name in ("train", "runs", "reproduce"):
        app.command(name)(getattr(commands, name))
    app.command("eval")(commands.evaluate)

    def run(*arguments, status=0):
        found = CliRunner().invoke(app, [str(each) for each in arguments])
        if isinstance(found.exception, RpsError):
            raise found.exception
        assert found.exit_code == status, (found.output, found.exception)
        return found.output

    return run


def written(folder, text=ALPHABET * 480, name="mine.txt"):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


def letters(count, seed=0):
    return bytes(np.random.default_rng(seed).integers(32, 127, count, np.uint8))


def parts(path):
    return load(path), load(path, train=False)


def rows_in(batches):
    return [bytes(x.tolist()) for x, _ in batches for x in x]


# ---------------------------------------------------------------------------------------- windows


@given(count=st.integers(LEAST, 4 * LEAST), seed=st.integers(0, 99))
def test_every_byte_of_both_parts_is_asked_for_once(tmp_path_factory, count, seed):
    text = letters(count, seed)
    path = written(tmp_path_factory.mktemp("text"), text)
    first = count - count // TESTED
    for part, own in zip(parts(path), (text[:first], text[first:]), strict=True):
        asked = part.labels.tobytes()
        assert asked == own[1 : 1 + len(asked)]
        assert part.images.tobytes() == own[: len(asked)]
        assert 0 <= len(own) - 1 - len(asked) < WINDOW
        assert part.images.shape == part.labels.shape == (len(part), WINDOW)


@given(seed=st.integers(0, 2**64 - 1), number=st.integers(0, 50))
def test_an_epoch_shows_every_window_once_in_an_order_that_is_its_own(tmp_path_factory, seed, number):
    path = written(tmp_path_factory.getbasetemp(), letters(3 * LEAST), "epochs.txt")
    train = load(path)
    batches = Batches(train, 1, seed)
    shown = rows_in(batches.epoch(number))
    assert Counter(shown) == Counter(row.tobytes() for row in train.images)
    place = number % len(train)
    assert rows_in([Batches(load(path), 1, seed).batch(number, place)]) == [shown[place]]
    assert shown != rows_in(batches.epoch(number + 1))


def test_labels_are_the_bytes_that_come_next(tmp_path):
    for x, y in feed(written(tmp_path), 8, seed=3).train.epoch(1):
        assert (x.dtype, y.dtype) == (torch.uint8, torch.int64)
        assert torch.equal(x[:, 1:].long(), y[:, :-1])
        following = [ALPHABET[(ALPHABET.index(chr(each)) + 1) % len(ALPHABET)] for each in x[:, -1]]
        assert following == [chr(each) for each in y[:, -1]]


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_a_batch_of_text(tmp_path, world):
    train = load(written(tmp_path))
    whole = Batches(train, 8, 3).batch(1, 2)
    each = [Batches(train, 8, 3, rank=rank, world=world).batch(1, 2) for rank in range(world)]
    assert all(
        torch.equal(torch.cat(pieces), one)
        for pieces, one in zip(zip(*each, strict=True), whole, strict=True)
    )


@given(twentieths=st.integers(0, 20), seed=st.integers(0, 9))
def test_what_is_held_out_of_a_text_is_its_end(tmp_path_factory, twentieths, seed):
    train = load(written(tmp_path_factory.getbasetemp(), letters(3 * LEAST), "held.txt"))
    kept, held = split(train, twentieths / 20, seed)
    assert [*kept, *held] == list(range(len(train)))
    assert len(held) == round(twentieths / 20 * len(train))


def test_a_feed_of_text_tests_on_the_last_tenth_or_on_what_is_held_out(tmp_path):
    path = written(tmp_path, letters(4 * LEAST))
    train, test = parts(path)
    assert rows_in(feed(path, 4).test()) == [row.tobytes() for row in test.images]
    source = feed(path, 4, held_out=0.25)
    count = round(0.25 * len(train))
    assert rows_in(source.test()) == [row.tobytes() for row in train.images[-count:]]
    shown = set(rows_in(source.train.epoch(0)))
    assert shown <= {row.tobytes() for row in train.images[:-count]}
    assert len(shown) == source.steps * 4 == (len(train) - count) // 4 * 4


def test_topics_are_the_bundled_ones_in_the_order_of_their_names():
    from pydoc_data.topics import topics

    text = "".join(topics[name] for name in sorted(topics)).encode()
    train, test = parts("topics")
    assert text.startswith(train.images.tobytes())
    assert test.images.tobytes() in text[len(text) - len(text) // TESTED :]
    assert (train.name, len(train.classes), train.text) == ("topics", 256, True)
    assert platform.python_version() in train.form


@pytest.mark.parametrize("data", ["digits", "topics", "mine.txt"])
def test_names_tell_text_from_images_without_loading_them(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    written(tmp_path)
    assert is_text(data) == load(data).text


def test_check_says_how_many_windows_there_are(tmp_path):
    path = written(tmp_path)
    train, test = map(len, parts(path))
    found = CliRunner().invoke(data_commands, ["check", str(path)])
    assert found.output == (
        f"{path}: mine, text, UTF-8\n"
        f"  text: {train} train, {test} test windows of {WINDOW} bytes\n"
        "  classes: 256\n"
        "  checksum: not verified: no official md5 is known for these files\n"
    )


# ---------------------------------------------------------------------------------------- decoder


@pytest.mark.parametrize(
    ("depth", "heads", "widths", "context"), [(4, 4, (32, 512), 128), (2, 3, (5, 7), 11), (1, 1, (1, 1), 1)]
)
def test_decoders_have_the_parameters_of_their_description(depth, heads, widths, context):
    dim, hidden = heads * widths[0], widths[1]
    model = Decoder(256, depth=depth, heads=heads, widths=widths, context=context)
    attention, perceptron = 4 * dim**2 + 4 * dim, 2 * dim * hidden + hidden + dim
    block = attention + perceptron + 2 * 2 * dim
    assert sum(p.numel() for p in model.parameters()) == 256 * dim + context * dim + depth * block + 2 * dim


def test_the_decoder_has_842496_parameters():
    assert sum(p.numel() for p in build("decoder", 256, 128).parameters()) == 842_496


SMALL = {"depth": 2, "heads": 2, "widths": (4, 16), "context": 12}


def small(method="dense"):
    torch.manual_seed(0)
    model = Decoder(31, **SMALL)
    return nn.share(model, 4, include="*", inplace=True) if method == "shared" else model


@pytest.mark.parametrize("method", ["dense", "shared"])
@pytest.mark.parametrize("training", [True, False])
@settings(max_examples=20)
@given(data=st.data())
def test_logits_depend_on_no_later_token_and_on_every_earlier_one(method, training, data):
    tokens = st.lists(st.integers(0, 30), min_size=12, max_size=12)
    place = data.draw(st.integers(0, 11))
    x = torch.tensor([data.draw(tokens)])
    model = small(method).train(training)
    other = x.clone()
    other[:, place:] = (x[:, place:] + 1 + torch.tensor(data.draw(tokens))[place:] % 30) % 31
    with torch.no_grad():
        one, two = model(x), model(other)
    assert torch.equal(one[:, :place], two[:, :place])
    assert all(not torch.equal(one[:, t], two[:, t]) for t in range(place, 12))


def test_tokens_and_answers_are_scored_by_the_same_vectors():
    model = small()
    assert [name for name, p in model.named_parameters() if 31 in p.shape] == ["embedding.weight"]
    with torch.no_grad():
        model.embedding.weight[7] = 0
    assert not model(torch.randint(31, (2, 12)))[..., 7].any()


def test_layers_of_a_decoder_are_known_by_their_roles():
    found = projections_of(build("decoder", 256, 128))
    roles = ["q", "k", "v", "o", "fc1", "fc2"]
    assert [(p.layer, p.role) for p in found] == [(layer, role) for layer in range(4) for role in roles]


def test_layers_of_a_decoder_share_and_the_embedding_is_left_alone():
    model = small().eval()
    batches = [torch.randint(31, (4, 12), generator=torch.Generator().manual_seed(0))]
    shared = nn.share_layers(model, "basis", compression=2, groups="adjacent:2", calibration=batches)
    assert torch.equal(shared.embedding.weight, model.embedding.weight)
    assert shared(batches[0]).shape == (4, 12, 31)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"depth": 0}, "depth=0"), ({"widths": (4,)}, "two widths"), ({"context": 0}, "context=0")],
)
def test_decoders_that_cannot_be_are_refused(options, words):
    with pytest.raises(ArgumentError, match=words):
        Decoder(31, **SMALL | options)


@pytest.mark.parametrize("shape", [(2, 13), (2, 3, 8, 8), (12,)])
def test_inputs_that_are_no_tokens_or_too_many_are_refused(shape):
    with pytest.raises(ShapeError, match="at most 12"):
        small()(torch.zeros(shape))


# --------------------------------------------------------------------------------------- training


class Constant(tnn.Module):
    """The same logits at every place."""

    def __init__(self, logits):
        super().__init__()
        self.logits = tnn.Parameter(torch.tensor(logits))

    def forward(self, x):
        return self.logits.expand(*x.shape, -1)


def test_scores_are_per_token_whatever_the_batches(tmp_path):
    source = feed(written(tmp_path, "ab" * LEAST + "a" * LEAST), 3)
    counts = Counter(byte for _, y in source.test() for byte in y.flatten().tolist())
    logits = [-1e9] * 256
    logits[ord("a")], logits[ord("b")] = log(3), 0.0
    training = Training(Constant(logits), Recipe("still", 1, lr=1e-9, augment="none"), source.steps, 0)
    score = training.test(source.test())
    asked = sum(counts.values())
    wanted = (counts[ord("a")] * log(4 / 3) + counts[ord("b")] * log(4)) / asked
    assert score.accuracy == counts[ord("a")] / asked
    # a sum of fewer than 2^12 numbers in float32, and their own roundings
    assert abs(score.loss - wanted) < 2**-10
    training.advance(source.batch(0, 0))
    assert training.progress.seen == 3 * WINDOW


def test_scores_of_pruning_see_ten_tokens_for_each_class(tmp_path):
    source = _Source(feed(written(tmp_path, letters(4 * LEAST)), 8, seed=1))
    rows = rows_in(source.scored())
    assert len(set(rows)) == len(rows) == PER_CLASS * 256 // WINDOW
    assert set(rows) <= {row.tobytes() for row in source.feed.train.dataset.images}


@pytest.mark.parametrize(
    "method", ["stable-rps", "roast", "hashed", "magnitude", "snip", "grasp", "synflow", "smaller"]
)
def test_methods_come_down_to_their_budget_on_text(method):
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.randint(31, (4, 12), generator=draw) for _ in range(2))
    make = partial(narrow, 31)
    torch.manual_seed(0)
    model = prepare(method, make, 4.0, batches=[(x, y)])
    training = Training(model, Recipe("one", 1, batch=4, lr=0.01, augment="none"), 1, 0)
    assert training.advance((x, y)) < 2 * log(31)
    cost = nn.budget.budget(model, make(1.0), (12,))
    if method != "smaller":
        assert cost.weights == cost.dense_weights // 4
    assert cost.params < cost.dense_params


def narrow(classes, scale):
    widths = scale if isinstance(scale, tuple) else tuple(max(1, round(scale * each)) for each in (16, 64))
    return Decoder(classes, depth=1, heads=2, widths=widths, context=12)


def test_text_of_channels_last_is_text(tmp_path):
    source = feed(written(tmp_path), 4)
    recipe = Recipe("last", 1, batch=4, channels_last=True, lr=0.01, augment="none")
    assert Training(build("decoder", 256, WINDOW, 0.1), recipe, source.steps, 0).advance(source.batch(0, 0))


# -------------------------------------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def trained(call, tmp_path_factory):
    """Where a run lies, and what was said."""
    folder = tmp_path_factory.mktemp("trained")
    path, out = written(folder), folder / "runs"
    how = ("--recipe", "transformer", "--epochs", QUICK.epochs, "--set", f"batch={QUICK.batch}")
    said = call("train", "--data", path, "--model", "decoder", "--method", "dense", *how, "--out", out)
    return path, next(out.iterdir()), said


def test_a_text_is_learnt_far_below_the_entropy_of_its_letters(trained):
    path, folder, _ = trained
    counts = np.bincount(load(path, train=False).labels.ravel())
    shares = counts[counts > 0] / counts.sum()
    entropy = -(shares * np.log(shares)).sum()
    record = read(folder)
    assert record.result["test_loss"] < entropy / 4
    assert record.result["test_accuracy"] > 0.9  # each letter has an eighth


def test_perplexity_is_said_listed_and_tested_again(call, trained):
    path, folder, said = trained
    record = read(folder)
    hard = exp(record.result["test_loss"])
    assert f"{record.result['test_accuracy']:.2%}, perplexity {hard:.2f} in " in said
    assert f"perplexity {exp(record.rows[0]['test_loss']):.2f}, " in said
    assert record.to_row()["perplexity"] == record.to_json()["perplexity"] == hard
    head, line = call("runs", folder).splitlines()
    assert line.split()[head.split().index("perplexity")] == f"{hard:.2f}"
    found = evaluate(folder)
    assert (found.loss, found.accuracy) == (record.result["test_loss"], record.result["test_accuracy"])
    assert (found.perplexity, found.images) == (hard, len(load(path, train=False)))
    text = call("eval", folder)
    assert f" {found.images} windows of mine\n" in text
    assert f"perplexity {hard:.2f}\n" in text
    assert text.endswith("for one window\n")


def test_images_have_no_perplexity(tmp_path):
    row = {"round": 0, "epoch": 1, "step": 1, "test_loss": 1.0, "test_accuracy": 0.5, "seconds": 1.0}
    how = {"data": "digits", "model": "vit", "method": "dense", "compression": 1, "seed": 0, "held_out": 0}
    recipe = {"name": "smoke", "lr": 0.1, "epochs": 3}
    header = {"version": "0", "configuration": how | {"options": {}, "recipe": recipe}}
    (tmp_path / "configuration.json").write_text(json.dumps(header))
    (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    assert read(tmp_path).to_row()["perplexity"] is None
    assert "perplexity" not in read(tmp_path).to_json()
    assert "perplexity" not in commands._csv([]) + commands._epoch(row | {"train_accuracy": 0.5}, "digits")


@pytest.mark.parametrize(("loss", "found"), [(None, None), (0.0, 1.0), (1e4, None)])
def test_perplexity_that_no_float_holds_is_not_said(loss, found):
    assert perplexity_of(loss) == found


def test_a_run_of_text_that_is_stopped_ends_with_the_same_bits(trained, tmp_path):
    path, folder, _ = trained

    def interrupted(row):
        if row["step"] == 8:
            raise KeyboardInterrupt

    again = partial(fit, path, "decoder", "dense", 1, QUICK, out=tmp_path)
    with pytest.raises(Stopped):
        again(watch=interrupted)
    steps = []
    fitted = again(watch=lambda row: steps.append(row["step"]))
    assert fitted.folder.name == folder.name
    assert steps[0] > 1  # it went on, and did not begin anew
    states = [each / "round-0" / "state.safetensors" for each in (folder, fitted.folder)]
    tensors = [nn_state(state) for state in states]
    assert tensors[0] == tensors[1]


def nn_state(path):
    from safetensors.torch import load_file

    return {name: value.numpy().tobytes() for name, value in load_file(path).items()}


def test_reproduce_finds_a_run_of_text_again(call, trained, tmp_path):
    _, folder, _ = trained
    assert "the same, to the last bit" in call("reproduce", folder, "--out", tmp_path)


# --------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "it has 0 bytes, and windows of 128 for testing need 1290"),
        (b"a" * (LEAST - 1), "it has 1289 bytes"),
        (b"a" * 500 + b"\xff" + b"a" * LEAST, "byte 500 is no UTF-8"),
    ],
)
def test_a_file_that_is_no_text_is_one_sentence(tmp_path, text, words):
    with pytest.raises(DataError, match=words) as caught:
        load(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_the_shortest_text_has_one_window_to_test_on(tmp_path):
    assert [len(part) for part in parts(written(tmp_path, b"a" * LEAST))] == [9, 1]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"model": "vit"}, ArgumentError, "vit takes images, and mine is a text, data of the wrong kind"),
        ({"model": "resnet8"}, ArgumentError, "choose decoder, or other data"),
        (
            {"data": "digits"},
            ArgumentError,
            "decoder takes text, and digits is images, data of the wrong kind",
        ),
        ({"data": "topic"}, ArgumentError, "did you mean 'topics'"),
        ({"recipe": "short"}, ArgumentError, "augment='reflect-crop-flip' came for a text"),
        (
            {"recipe": recipe_of("smoke", batch=64)},
            ArgumentError,
            "batch of 64 came, and there are 26 windows",
        ),
        ({"held_out": 1e-9}, ArgumentError, "of 26 windows came, which leaves 0 to test on"),
        ({"held_out": 0.5}, ArgumentError, "batches of 16; choose less"),
    ],
)
def test_data_of_the_wrong_kind_are_one_sentence_and_leave_no_folder(tmp_path, change, error, words):
    given = {"data": written(tmp_path), "model": "decoder", "recipe": recipe_of("smoke", batch=16)} | change
    with pytest.raises(error, match=words) as caught:
        fit(**given, out=tmp_path / "runs")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_a_run_of_text_is_not_tested_on_images(trained):
    with pytest.raises(ArgumentError, match="pass data with the images and classes"):
        evaluate(trained[1], "digits")


def test_models_of_text_are_models():
    assert set(READERS) <= set(MODELS)


def test_a_run_of_text_is_refused_by_what_looks_at_images(trained):
    with pytest.raises(ArgumentError, match="reads mine, a text; pass a network of images"):
        looked_at(trained[1])


@pytest.mark.parametrize("method", ["snip", "stable-rps"])
def test_a_study_of_text_is_checked_and_counted_before_it_begins(tmp_path, method):
    """Options are tried on a small decoder, and weights are counted with windows of the text."""
    data = written(tmp_path)
    option = "options.mode = 'train'" if method == "snip" else "options.scaler = 'v1'"
    grid = ("[[grid]]", "name = 'one'", f"method = '{method}'", "cells = 204800", option)
    (tmp_path / "study.toml").write_text("\n".join((f"data = '{data}'", "model = 'decoder'", *grid)))
    (cell,) = read_study(tmp_path / "study.toml").cells
    assert cell.configuration.compression == 4  # of 819,200 weights
