"""Models of transformers, built from their configs without a download, go on as before when shared."""

import contextlib
import io
import random

import numpy as np
import pytest
import torch
import torch.nn as tnn

import nn
from nn.bank import Bank
from nn.layers import views_of

transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")

WORDS, WIDTH = 1024, 64  # so many weights that one row of x is multiplied without forming the table
TOKENS = torch.arange(24).view(2, 12) * 37 % WORDS


def vit():
    config = transformers.ViTConfig(
        image_size=16,
        patch_size=4,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
    )
    pixels = torch.arange(2 * 3 * 16 * 16).view(2, 3, 16, 16) % 11 / 11
    return transformers.ViTForImageClassification(config), {"pixel_values": pixels}


def bert():
    config = transformers.BertConfig(
        vocab_size=WORDS,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=32,
    )
    mask = (torch.arange(12) < torch.tensor([[12], [9]])).long()
    return transformers.BertForMaskedLM(config), {"input_ids": TOKENS, "attention_mask": mask}


def llama():
    config = transformers.LlamaConfig(
        vocab_size=WORDS,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=128,
        max_position_embeddings=64,
        initializer_range=0.5,  # at 0.02 tied models only repeat the last word
        tie_word_embeddings=True,
    )
    return transformers.LlamaForCausalLM(config), {"input_ids": TOKENS}


def gpt2():
    config = transformers.GPT2Config(
        vocab_size=WORDS,
        n_embd=WIDTH,
        n_layer=2,
        n_head=4,
        n_positions=64,
        initializer_range=0.5,
        bos_token_id=0,
        eos_token_id=1,
    )
    return transformers.GPT2LMHeadModel(config), {"input_ids": TOKENS}


MODELS = {"ViT": vit, "BERT": bert, "Llama": llama, "GPT-2": gpt2}
TIED = ["BERT", "Llama", "GPT-2"]
SPEAKING = ["Llama", "GPT-2"]


@pytest.fixture(scope="module")
def zoo():
    """Every model with its inputs, drawn from a generator that the tests put back."""
    before = torch.random.get_rng_state()
    torch.manual_seed(0)
    built = {name: build() for name, build in MODELS.items()}
    torch.random.set_rng_state(before)
    return {name: (model.eval(), inputs) for name, (model, inputs) in built.items()}


def continued(model, count=6):
    """What a model says after the tokens, always taking the likeliest."""
    mask = torch.ones_like(TOKENS)
    return model.generate(
        TOKENS, attention_mask=mask, max_new_tokens=count, do_sample=False, pad_token_id=1, eos_token_id=None
    )


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_those_of_the_dense_model_to_the_last_bit(zoo, name):
    model, inputs = zoo[name]
    shared = nn.share(model, compression=8)
    out = shared(**inputs).logits
    assert torch.equal(out, nn.to_dense(shared)(**inputs).logits)
    assert not torch.equal(out, model(**inputs).logits)


@pytest.mark.parametrize("name", MODELS)
def test_every_shared_tensor_moves_with_the_bank_and_the_loss_falls(zoo, name):
    model, inputs = zoo[name]
    shared = nn.share(model, compression=8)
    optimizer = torch.optim.AdamW(shared.parameters(), 1e-4)
    before = {key: value.detach().clone() for key, value in weights(shared).items()}
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = shared(**inputs).logits.square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    after = weights(shared)
    assert set(after) == {w.name for group in nn.plan(model, 8).groups for w in group.weights}
    assert all((after[key] != value).any() for key, value in before.items())
    assert losses == sorted(losses, reverse=True)


def weights(shared):
    """Every shared tensor under its first name."""
    found, seen = {}, set()
    for prefix, module in shared.named_modules():
        for local, view in views_of(module).items():
            if id(view) not in seen:
                seen.add(id(view))
                found[f"{prefix}.{local}"] = view.read()
    return found


@pytest.mark.parametrize("name", TIED)
def test_tied_embeddings_are_counted_once_and_stay_tied_in_training(zoo, name):
    model, inputs = zoo[name]
    plan = nn.plan(model, 8)
    assert [w.count for group in plan.groups for w in group.weights if w.aliases] == [WORDS * WIDTH]
    assert plan.dense_params == sum(p.numel() for p in model.parameters())
    shared = nn.share(model, compression=8)
    old = shared.get_input_embeddings().weight.detach().clone()
    shared(**inputs).logits.square().mean().backward()
    torch.optim.SGD(shared.parameters(), 0.5).step()
    table, head = shared.get_input_embeddings().weight, shared.get_output_embeddings().weight
    assert torch.equal(table, head)
    assert not torch.equal(table, old)
    dense = nn.to_dense(shared)
    assert dense.get_input_embeddings().weight is dense.get_output_embeddings().weight


@pytest.mark.parametrize("name", SPEAKING)
def test_generate_says_what_the_dense_model_says_and_forms_no_table(zoo, name, monkeypatch):
    shared = nn.share(zoo[name][0], compression=8)
    expected, expand = continued(nn.to_dense(shared)), Bank.expand

    def small_ones(bank, first, count, scale):
        assert count < WORDS * WIDTH, "a table of words was formed"
        return expand(bank, first, count, scale)

    monkeypatch.setattr(Bank, "expand", small_ones)
    said = continued(shared)
    assert said.shape == (2, 18)
    assert torch.equal(said, expected)
    assert not torch.equal(said, continued(zoo[name][0]))


def test_embeddings_are_trained_without_forming_their_tables(zoo, monkeypatch):
    encoder = zoo["BERT"][0].bert
    tables = {WORDS * WIDTH, 32 * WIDTH}
    shared, expand = nn.share(encoder, compression=8), Bank.expand

    def no_tables(bank, first, count, scale):
        assert count not in tables, "a table was formed"
        return expand(bank, first, count, scale)

    monkeypatch.setattr(Bank, "expand", no_tables)
    shared(**zoo["BERT"][1]).last_hidden_state.square().sum().backward()
    assert shared.shared_bank.grad.abs().sum() > 0
    with pytest.raises(AssertionError, match="a table was formed"):
        _ = shared.embeddings.position_embeddings.weight


def test_conv1d_holds_its_weight_transposed_and_is_exact_on_whole_numbers():
    from transformers.pytorch_utils import Conv1D

    module = Conv1D(48, 32).double()
    with torch.no_grad():
        module.weight.copy_(torch.arange(32 * 48).view(32, 48) % 2 * 2 - 1)
    shared = nn.share(tnn.Sequential(module), compression=4, scaler="none")
    with torch.no_grad():
        shared.shared_bank.copy_(torch.arange(384) * 7 % 31 - 15)
    dense, x = nn.to_dense(shared), torch.arange(96, dtype=torch.float64).view(3, 32) % 13 - 6
    assert shared[0].weight.shape == (32, 48)
    assert type(dense[0]) is Conv1D
    assert torch.equal(shared(x), x @ dense[0].weight)
    pull = torch.arange(144, dtype=torch.float64).view(3, 48) % 7 - 3
    (shared(x) * pull).sum().backward()
    view = views_of(shared[0])["weight"]
    assert torch.equal(shared.shared_bank.grad, view.bank.compress((x.T @ pull).reshape(-1), 0, view.scale))


@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_comes_back_into_a_model_of_the_same_config(zoo, name, tmp_path):
    model, inputs = zoo[name]
    shared = nn.share(model, compression=8)
    with torch.no_grad():
        shared.shared_bank.mul_(1.5)
    nn.save(shared, tmp_path / "model.safetensors")
    loaded = nn.load(tmp_path / "model.safetensors", type(model)(model.config)).eval()
    assert torch.equal(loaded(**inputs).logits, shared(**inputs).logits)
    if name in SPEAKING:
        assert torch.equal(continued(loaded), continued(shared))


@pytest.mark.parametrize("name", MODELS)
def test_random_states_output_and_config_are_left_alone(zoo, name, tmp_path, capsys):
    model, inputs = zoo[name]
    fresh, config = type(model)(model.config), model.config.to_dict()
    before = states()
    shared = nn.share(model, compression=8)
    nn.report(shared)
    dense = nn.to_dense(shared)
    nn.save(shared, tmp_path / "model.safetensors")
    loaded = nn.load(tmp_path / "model.safetensors", fresh)
    shared(**inputs).logits.sum().backward()
    assert states() == before
    assert capsys.readouterr() == ("", "")
    assert all(each.config.to_dict() == config for each in (model, shared, dense, loaded))


def states():
    """Of the three generators that everybody shares."""
    kind, key, *rest = np.random.get_state()  # noqa: NPY002
    return torch.random.get_rng_state().tolist(), (kind, key.tolist(), *rest), random.getstate()


@pytest.fixture
def hushed():
    """Transformers draws bars and tables."""
    transformers.utils.logging.disable_progress_bar()
    level = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    with contextlib.redirect_stderr(io.StringIO()):
        yield
    transformers.utils.logging.set_verbosity(level)
    transformers.utils.logging.enable_progress_bar()


@pytest.mark.parametrize("name", MODELS)
def test_the_dense_form_is_saved_as_any_pretrained_model(zoo, name, tmp_path, hushed):
    model, inputs = zoo[name]
    shared = nn.share(model, compression=8)
    nn.to_dense(shared).save_pretrained(tmp_path)
    back = type(model).from_pretrained(tmp_path).eval()
    assert torch.equal(back(**inputs).logits, shared(**inputs).logits)


@pytest.mark.parametrize("name", MODELS)
def test_save_pretrained_keeps_the_bank_but_from_pretrained_cannot_read_it(zoo, name, tmp_path, hushed):
    model, _ = zoo[name]
    shared = nn.share(model, compression=8)
    shared.save_pretrained(tmp_path)
    _, told = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert told["unexpected_keys"] == {"shared_bank"}
    assert set(weights(shared)) <= set(told["missing_keys"])
