"""`rps compress`: a folder becomes a smaller one that is loaded again, also when the first run was killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

import nn
from nn.cross_layer import commands
from nn.cross_layer.method import HOMES
from nn.layers import factors_of
from rpstheory.errors import ArgumentError, DataError, RpsError

transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")

ROOT = Path(__file__).parents[2]
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] layers share a basis and keep their own coefficients of it".split()
SIZES = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 24}


@pytest.fixture
def folder(tmp_path):
    """A BERT with a tokenizer, as transformers saves it, and a text."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.BertModel(transformers.BertConfig(vocab_size=len(WORDS), **SIZES))
    place = tmp_path / "dense"
    model.save_pretrained(place)
    (place / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizer(str(place / "vocab.txt")).save_pretrained(place)
    (tmp_path / "text").write_text("\n\n".join([" ".join(WORDS[5:]), "a basis", "layers keep layers"] * 9))
    return place


@pytest.fixture(scope="module")
def call():
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command("compress")(commands.compress)

    def run(*arguments):
        found = CliRunner().invoke(app, [str(each) for each in arguments])
        if isinstance(found.exception, RpsError):
            raise found.exception
        assert found.exit_code == 0, (found.output, found.exception)
        return found

    return run


def loaded(out):
    return nn.load(out, transformers.AutoModel.from_config(transformers.AutoConfig.from_pretrained(out)))


def bits(model):
    return {name: value.tolist() for name, value in model.state_dict().items()}


def test_the_methods_in_the_help_are_all_there_are():
    assert sorted(commands.METHODS.split(", ")) == sorted(HOMES)


def test_a_folder_becomes_one_with_factors_that_is_loaded_by_its_config(folder, call, tmp_path):
    out = tmp_path / "small"
    found = call(folder, "--compression", 2, "--calibration", tmp_path / "text", "--length", 12, "--out", out)
    model = loaded(out)
    batches = commands.batches_in(tmp_path / "text", folder, 12, 256)
    expected = nn.share_layers(commands.built(folder), compression=2, calibration=batches)
    assert bits(model) == bits(expected)
    plan = json.loads((out / "plan.json").read_text())
    assert plan["bytes"] == sum(f.parameter.nbytes for f in factors_of(model))
    assert "bytes become" in found.stdout
    assert "refit of encoder.layer.3" in found.stderr
    kept = [p.name for p in folder.iterdir() if p.suffix != ".safetensors"]
    assert sorted(p.name for p in out.iterdir()) == sorted(
        ["model.safetensors", "model.json", "plan.json", *kept]
    )
    assert transformers.AutoTokenizer.from_pretrained(out)("a basis")["input_ids"] == [2, 7, 8, 3]


def test_a_dry_run_needs_the_config_alone_and_writes_nothing(folder, call, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(folder / "config.json", bare)
    text = call(bare, "--compression", 2, "--dry-run", "--groups", "0,1,2;3").stdout
    assert "q of layers 0, 1, 2" in text
    plan = json.loads(call(bare, "--compression", 2, "--dry-run", "--json").stdout)
    dense = commands.built(folder)
    assert plan["bytes"] == nn.plan_layers(dense, compression=2).bytes
    assert [p.name for p in bare.iterdir()] == ["config.json"]


def test_a_dry_run_counts_the_kind_of_numbers_that_will_be_loaded(folder, call, tmp_path):
    half = tmp_path / "half"
    commands.built(folder).half().save_pretrained(half)
    said = json.loads(call(half, "--compression", 2, "--dry-run", "--json").stdout)
    assert said["bytes"] == nn.plan_layers(commands.built(half), compression=2).bytes
    assert 2 * said["dense_bytes"] == nn.plan_layers(commands.built(folder), compression=2).dense_bytes


def test_calibration_is_the_text_one_paragraph_after_another_or_images(folder, tmp_path):
    batches = commands.batches_in(tmp_path / "text", folder, 5, 7, size=3)
    rows = torch.cat([batch["input_ids"] for batch in batches])
    assert [len(batch["input_ids"]) for batch in batches] == [3, 3, 1]
    assert rows.flatten().tolist()[:15] == [2, *range(5, len(WORDS)), 3, 2, 7, 8, 3][:15]
    np.save(tmp_path / "images.npy", np.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4))
    (batch,) = commands.batches_in(tmp_path / "images.npy", folder, 5, 7)
    assert batch["pixel_values"].tolist() == np.arange(96).reshape(2, 3, 4, 4).tolist()


def test_a_run_that_is_killed_goes_on_to_the_same_bits(folder, tmp_path):
    start = [
        sys.executable, "-c", "from rpstheory.cli import guarded; import typer; "
        "from nn.cross_layer.commands import compress; app = typer.Typer(); app.command()(compress); "
        "guarded(app, 'rps')",
        folder, "--compression", "2", "--calibration", tmp_path / "text", "--length", "12", "--out",
    ]  # fmt: skip
    around = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*start, tmp_path / "small"], env=around, stderr=subprocess.PIPE, text=True
    ) as first:
        for line in first.stderr:
            if "fc2 of layer 1" in line:
                first.send_signal(signal.SIGKILL)
                break
    assert first.returncode == -signal.SIGKILL
    assert not (tmp_path / "small" / "model.safetensors").exists()
    again = subprocess.run(
        [*start, tmp_path / "small"], env=around, capture_output=True, text=True, check=True
    )
    assert "q of layers 0, 1: done before" in again.stderr
    whole = subprocess.run(
        [*start, tmp_path / "whole"], env=around, capture_output=True, text=True, check=True
    )
    assert "done before" not in whole.stderr
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("small", "whole")]
    assert files[0] == files[1]


WRONG = {
    "no out": (["--compression", 2], ArgumentError, "no --out came"),
    "no folder": (["--out", "x"], DataError, "holds no config.json"),
    "groups": (["--out", "x", "--groups", "0-1"], ArgumentError, "--groups '0-1' came"),
    "an option without a value": (
        ["--out", "x", "--option", "share"],
        ArgumentError,
        "NAME=VALUE of the method",
    ),
    "an option that is an argument": (
        ["--out", "x", "--option", "seed=1"],
        ArgumentError,
        "NAME=VALUE of the",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_in_a_sentence(what, call, tmp_path):
    arguments, error, words = WRONG[what]
    with pytest.raises(error, match=words) as caught:
        call(tmp_path, *arguments)
    assert str(caught.value).startswith("compress: ")


def test_folders_and_data_that_cannot_be_read_are_refused(folder, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "no such"}')
    with pytest.raises(DataError, match="cannot be read as a model"):
        commands.built(tmp_path)
    (tmp_path / "short").write_text("a")
    with pytest.raises(
        DataError, match="holds no sequence of 50 tokens; pass another file, or less --length"
    ):
        commands.batches_in(tmp_path / "short", folder, 50, 1)
    np.save(tmp_path / "flat.npy", np.zeros((2, 3)))
    with pytest.raises(DataError, match="holds no images"):
        commands.batches_in(tmp_path / "flat.npy", folder, 5, 1)
    with pytest.raises(DataError, match="cannot be read as calibration data"):
        commands.batches_in(tmp_path / "nothing", folder, 5, 1)


def test_the_options_of_a_method_are_json_or_text():
    assert commands.options_in(["share=loss", "refit=true", 'x=["q"]']) == {
        "share": "loss", "refit": True, "x": ["q"],
    }  # fmt: skip
    assert commands.groups_in("0,1;2") == [[0, 1], [2]]
    assert commands.groups_in("adjacent:3") == "adjacent:3"
