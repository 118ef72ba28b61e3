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
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import nn
from nn.cross_layer import commands
from nn.cross_layer.method import HOMES
from nn.layers import factors_of
from rpstheory.errors import ArgumentError, DataError, ResumeError, RpsError

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


def test_a_dry_run_reads_the_calibration_that_it_is_given(folder, call, tmp_path):
    said = ("--length", 6, "--sequences", 5, "--dry-run")
    with pytest.raises(DataError, match=r"none.txt cannot be read as calibration data"):
        call(folder, "--calibration", tmp_path / "none.txt", *said)
    assert "here for 30 tokens" in call(folder, "--calibration", tmp_path / "text", *said).stdout
    assert "here for 3,000 tokens" in call(folder, "--length", 6, "--sequences", 500, "--dry-run").stdout
    assert call(folder, *SVD, "--dry-run").stdout.strip().endswith(" here")


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


def test_a_run_that_is_killed_goes_on_to_the_same_bits(folder, call, tmp_path):
    program = (
        "from rpstheory.cli import guarded; import typer; from nn.cross_layer.commands import compress; "
        "app = typer.Typer(); app.command()(compress); guarded(app, 'rps')"
    )
    said = [folder, "--compression", "2", "--calibration", tmp_path / "text", "--length", "12", "--out"]
    start = [sys.executable, "-c", program, *said, tmp_path / "small"]
    around = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(start, env=around, stderr=subprocess.PIPE, text=True) as first:
        for line in first.stderr:
            if "fc2 of layer 1" in line:
                first.send_signal(signal.SIGKILL)
                break
    assert first.returncode == -signal.SIGKILL
    assert not (tmp_path / "small" / "model.safetensors").exists()
    assert "q of layers 0, 1: done before" in call(*said, tmp_path / "small").stderr
    assert "done before" not in call(*said, tmp_path / "whole").stderr
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("small", "whole")]
    assert files[0] == files[1]


WRONG = {
    "no out": (["--compression", 2], ArgumentError, "no --out came"),
    "no folder": (
        ["--out", "x", "--method", "svd", "--option", "whiten=false"],
        DataError,
        "holds no config.json",
    ),
    "groups": (["--out", "x", "--groups", "0-1"], ArgumentError, "--groups '0-1' came"),
    "naming": (["--out", "x", "--naming", "q"], ArgumentError, "--naming 'q' came; ROLE=PATTERN is needed"),
    "no calibration": (
        ["--out", "x"],
        ArgumentError,
        "'basis' looks at activations; pass --calibration FILE, a text or an .npy of images",
    ),
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
    with pytest.raises(DataError, match=r"is of shape \(2, 3\) and holds no images; pass an .npy of shape"):
        commands.batches_in(tmp_path / "flat.npy", folder, 5, 1)
    (tmp_path / "empty.npy").touch()
    with pytest.raises(DataError, match=r"empty.npy cannot be read as calibration data \(No data left"):
        commands.batches_in(tmp_path / "empty.npy", folder, 5, 1)
    with pytest.raises(DataError, match="cannot be read as calibration data"):
        commands.batches_in(tmp_path / "nothing", folder, 5, 1)


def test_a_tokenizer_that_is_not_there_is_said_in_a_line(folder, tmp_path):
    for file in folder.glob("tokenizer*"):
        file.unlink()
    (folder / "vocab.txt").unlink()
    with pytest.raises(DataError, match="holds no tokenizer that can be read"):
        commands.batches_in(tmp_path / "text", folder, 5, 1)
    assert transformers.AutoTokenizer.from_pretrained(folder)("a basis")["input_ids"] == [2, 1, 1, 3]
    (folder / "tokenizer.json").write_text('{"version": "9"}')
    with pytest.raises(DataError, match="holds no tokenizer that can be read"):
        commands.batches_in(tmp_path / "text", folder, 5, 1)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").unlink()
    with pytest.raises(DataError, match="holds no tokenizer that can be read") as caught:
        commands.batches_in(tmp_path / "text", folder, 5, 1)
    assert "\n" not in str(caught.value)


def test_data_that_the_model_does_not_take_are_refused_before_there_is_a_folder(folder, call, tmp_path):
    out = tmp_path / "small"
    np.save(tmp_path / "images.npy", np.zeros((2, 3, 4, 4), np.float32))
    with pytest.raises(DataError, match="images.npy gives pixel_values, and the model reads input_ids; pass"):
        call(folder, "--calibration", tmp_path / "images.npy", "--out", out)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 8}))
    with torch.random.fork_rng():
        transformers.BertModel(transformers.BertConfig.from_pretrained(folder)).save_pretrained(folder)
    text = ["--calibration", tmp_path / "text", "--compression", 2]
    with pytest.raises(ArgumentError, match="--length 9 came, and the model has 8 positions; pass at most"):
        call(folder, *text, "--length", 9, "--out", out)
    assert not out.exists()
    call(folder, *text, "--length", 8, "--out", out)
    seeing = tmp_path / "seeing"
    sizes = SIZES | {"image_size": 8, "patch_size": 4}
    with torch.random.fork_rng():
        transformers.ViTModel(transformers.ViTConfig(**sizes)).save_pretrained(seeing)
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(seeing)
    with pytest.raises(DataError, match="text gives input_ids, and the model reads pixel_values; pass"):
        call(seeing, *text, "--length", 8, "--out", tmp_path / "other")
    with pytest.raises(DataError, match=r"Input image size \(4\*4\) doesn't match"):
        call(seeing, "--calibration", tmp_path / "images.npy", "--out", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_checkpoint_with_a_parameter_missing_or_of_another_shape_is_refused(folder):
    name = "encoder.layer.1.attention.self.query.weight"
    place = folder / "model.safetensors"
    whole = load_file(place)
    for tensors in ({k: v for k, v in whole.items() if k != name}, whole | {name: torch.zeros(3, 3)}):
        save_file(tensors, place, {"format": "pt"})
        with pytest.raises(DataError, match=f"holds no {name} of the shape that its config.json says"):
            commands.built(folder)
    place.write_bytes(b"0" * 50)
    with pytest.raises(DataError, match="cannot be read as a model"):
        commands.built(folder)


def test_a_head_whose_weights_are_those_of_the_embedding_misses_nothing(tmp_path):
    with torch.random.fork_rng():
        model = transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=len(WORDS), **SIZES))
    model.save_pretrained(tmp_path)
    assert "cls.predictions.decoder.weight" not in load_file(tmp_path / "model.safetensors")
    assert bits(commands.built(tmp_path)) == bits(model)


PLAIN = ("--method", "svd", "--option", "whiten=false")
SVD = (*PLAIN, "--compression", 2)


def test_a_language_model_is_loaded_by_the_class_of_its_architecture(call, tmp_path):
    sizes = {"num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 4}
    with torch.random.fork_rng():
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=30, **sizes))
    model.save_pretrained(tmp_path / "llama")
    call(tmp_path / "llama", *SVD, "--out", tmp_path / "small")
    config = transformers.AutoConfig.from_pretrained(tmp_path / "small")
    found = nn.load(tmp_path / "small", getattr(transformers, config.architectures[0])(config))
    assert bits(found) == bits(nn.share_layers(model, "svd", compression=2, whiten=False))


def test_a_folder_that_is_compressed_already_is_refused(folder, call, tmp_path):
    out = tmp_path / "small"
    call(folder, *SVD, "--out", out)
    for more in (["--out", tmp_path / "smaller"], ["--dry-run"]):
        with pytest.raises(DataError, match="is compressed already; start from the dense model"):
            call(out, *SVD, *more)
    assert not (tmp_path / "smaller").exists()


def test_no_model_is_ever_overwritten(folder, call, tmp_path):
    before = {file: file.read_bytes() for file in folder.iterdir()}
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(ArgumentError, match="which is MODEL_DIR; the dense model would be lost"):
        call(folder, *SVD, "--out", tmp_path / "link")
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(folder / "config.json", other)
    with pytest.raises(ArgumentError, match="which holds a model that is finished; choose another folder"):
        call(folder, *SVD, "--out", other)
    (other / "config.json").rename(other / "pytorch_model.bin")
    with pytest.raises(ArgumentError, match="which holds a model that is finished; choose another folder"):
        call(folder, *SVD, "--out", other)
    assert before == {file: file.read_bytes() for file in folder.iterdir()}
    assert [file.name for file in other.iterdir()] == ["pytorch_model.bin"]


def test_what_is_not_a_model_is_written_anew(folder, call, tmp_path):
    out = tmp_path / "small"
    out.mkdir()
    (out / "vocab.txt").write_text("half a fi")
    call(folder, *SVD, "--out", out)
    assert (out / "vocab.txt").read_bytes() == (folder / "vocab.txt").read_bytes()


def test_stages_that_are_left_behind_are_never_without_their_run(folder, call, tmp_path, monkeypatch):
    out = tmp_path / "small"
    command = folder, *SVD, "--out", out
    unlink, gone = Path.unlink, []

    def killed(path, missing_ok=False):
        if path.parent.name != "stages" or path.suffix != ".safetensors":
            return unlink(path, missing_ok)
        if gone:
            raise SystemExit(9)
        gone.append(path)
        return unlink(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(AssertionError):
            call(*command)
    stages = sorted(file.name for file in (out / "stages").iterdir())
    assert "run.json" in stages
    assert len(stages) > 1
    assert gone[0].name not in stages
    written = (out / "model.safetensors").read_bytes()
    with pytest.raises(ResumeError, match="holds stages of another run"):
        call(folder, *PLAIN, "--compression", 3, "--out", out)
    call(*command)
    assert (out / "model.safetensors").read_bytes() == written
    assert not (out / "stages").exists()


def test_stages_without_their_run_are_refused(folder, call, tmp_path):
    stages = tmp_path / "small" / "stages"
    stages.mkdir(parents=True)
    shutil.copy(folder / "model.safetensors", stages / "0123456789abcdef.safetensors")
    with pytest.raises(ResumeError, match=r"holds tensors and no run.json, which says of which run they are"):
        call(folder, *SVD, "--out", stages.parent)
    assert [file.name for file in stages.iterdir()] == ["0123456789abcdef.safetensors"]


def test_projections_that_are_not_known_are_named_and_parameters_counted(folder, call):
    names = "attention.self.query", "attention.self.ke*"
    said = [part for name in names for part in ("--naming", f"q={name}")]
    plan = json.loads(call(folder, *SVD, "--dry-run", "--json", *said).stdout)
    ends = {
        f"encoder.layer.{layer}.attention.self.{kind}.weight"
        for layer in range(4)
        for kind in ("query", "key")
    }
    assert {each["name"] for each in plan["projections"]} == ends
    dense = commands.built(folder)
    budget = sum(p.numel() for p in dense.parameters()) - 1000
    plan = json.loads(call(folder, "--budget-params", budget, "--dry-run", "--json").stdout)
    assert plan["allowance"] == plan["dense_bytes"] - 4000


def test_the_options_of_a_method_are_json_or_text():
    texts = ["share=loss", "refit=true", 'x=["q"]']
    found = commands.options_in("compress", "--option", texts, "share=loss")
    assert found == {"share": "loss", "refit": True, "x": ["q"]}
    assert commands.groups_in("0,1;2") == [[0, 1], [2]]
    assert commands.groups_in("adjacent:3") == "adjacent:3"
