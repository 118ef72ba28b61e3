"""Every projection of the transformers that are known is found, with its role, block and orientation.

The models are built from configs on the meta device; nothing is downloaded and no number is read.
"""

import pytest
import torch
import torch.nn as tnn

import nn
from nn.cross_layer.adapters import projections_of, unknown_in
from nn.models.vit import ViT
from rpstheory.errors import ArgumentError, KindError

transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 40}
GATED = {**SMALL, "vocab_size": 32, "num_key_value_heads": 1, "head_dim": 4}
ATTENTION = {"q": (16, 16), "k": (16, 16), "v": (16, 16), "o": (16, 16)}
TWO = {**ATTENTION, "fc1": (16, 40), "fc2": (40, 16)}
GROUPED = {"q": (16, 8), "k": (16, 4), "v": (16, 4), "o": (8, 16)}
THREE = {**GROUPED, "gate": (16, 40), "up": (16, 40), "down": (40, 16)}
PACKED = {"qkv": (16, 48), "o": (16, 16), "fc1": (16, 64), "fc2": (64, 16)}

MODELS = {
    "vit": (lambda: transformers.ViTModel(transformers.ViTConfig(**SMALL)), TWO),
    "deit": (lambda: transformers.DeiTForImageClassification(transformers.DeiTConfig(**SMALL)), TWO),
    "bert": (lambda: transformers.BertForMaskedLM(transformers.BertConfig(**SMALL, vocab_size=32)), TWO),
    "gpt2": (
        lambda: transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                n_embd=16, n_layer=3, n_head=2, vocab_size=32, bos_token_id=0, eos_token_id=0
            )
        ),
        PACKED,
    ),
    "llama": (lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**GATED)), THREE),
    "gemma": (lambda: transformers.GemmaForCausalLM(transformers.GemmaConfig(**GATED)), THREE),
    "gemma2": (lambda: transformers.Gemma2ForCausalLM(transformers.Gemma2Config(**GATED)), THREE),
    "gemma3": (lambda: transformers.Gemma3ForCausalLM(transformers.Gemma3TextConfig(**GATED)), THREE),
    "ours": (
        lambda: ViT(widths=(8, 40), heads=2, depth=3),
        {"qkv": (16, 48), "o": (16, 16), "fc1": (16, 40), "fc2": (40, 16)},
    ),
}


@pytest.fixture(params=MODELS)
def known(request):
    build, shapes = MODELS[request.param]
    with torch.device("meta"):
        return build(), shapes


def test_every_role_of_every_layer_is_found_with_inputs_as_rows(known):
    model, shapes = known
    found = projections_of(model)
    assert [(p.layer, p.role) for p in found] == [(layer, role) for layer in range(3) for role in shapes]
    assert all((p.rows, p.columns) == shapes[p.role] for p in found)


def test_orientation_and_bytes_are_those_of_the_parameter(known):
    model, _ = known
    for p in projections_of(model):
        parameter = model.get_parameter(p.name)
        assert tuple(parameter.shape) == ((p.columns, p.rows) if p.flipped else (p.rows, p.columns))
        assert p.bytes == parameter.nbytes
        assert model.get_submodule(p.block) is not None
        assert p.name.startswith(p.block + ".")


def test_swin_numbers_the_blocks_of_all_stages_one_after_another():
    config = transformers.SwinConfig(
        image_size=32, patch_size=2, embed_dim=8, depths=[2, 1], num_heads=[2, 2], window_size=4
    )
    with torch.device("meta"):
        found = projections_of(transformers.SwinModel(config))
    assert [p.block for p in found if p.role == "q"] == [
        "encoder.layers.0.blocks.0", "encoder.layers.0.blocks.1", "encoder.layers.1.blocks.0",
    ]  # fmt: skip
    assert [(p.layer, p.rows, p.columns) for p in found if p.role == "fc1"] == [
        (0, 8, 32), (1, 8, 32), (2, 16, 64),
    ]  # fmt: skip


def test_patterns_choose_projections():
    with torch.device("meta"):
        model = MODELS["bert"][0]()
    assert {p.role for p in projections_of(model, include="*intermediate*")} == {"fc1"}
    assert {p.layer for p in projections_of(model, exclude="re:.*layer\\.[12]\\..*")} == {0}
    with pytest.raises(ArgumentError, match=r"include='\*nothing\*' matches no weight"):
        projections_of(model, include="*nothing*")
    with pytest.raises(ArgumentError, match="exclude leaves no projection"):
        projections_of(model, exclude="*")


class Strange(tnn.Module):
    """Blocks whose parts have names of their own."""

    def __init__(self, tied=False):
        super().__init__()
        self.embed = tnn.Embedding(6, 4)
        self.stack = tnn.ModuleList(
            tnn.ModuleDict({"mix": tnn.ModuleList([tnn.Linear(4, 6), tnn.Linear(6, 4)])}) for _ in range(2)
        )
        if tied:
            self.stack[1]["mix"][0].weight = self.stack[0]["mix"][0].weight


def test_names_of_ones_own_are_given_by_role_inside_a_numbered_block():
    found = projections_of(Strange(), naming={"fc1": "mix.0", "fc2": ["mix.1", "other"]})
    assert [(p.role, p.layer, p.block) for p in found] == [
        ("fc1", 0, "stack.0"), ("fc2", 0, "stack.0"), ("fc1", 1, "stack.1"), ("fc2", 1, "stack.1"),
    ]  # fmt: skip


def test_a_model_that_is_not_known_is_answered_with_what_it_holds():
    there = r"1 of embed\.weight \(6 x 4\), 2 of stack\.\*\.mix\.\*\.weight \(6 x 4\)"
    with pytest.raises(ArgumentError, match=rf"Strange holds {there}.*no projection with a known name"):
        projections_of(Strange())


def test_matrices_of_the_same_blocks_whose_names_are_not_known_are_told():
    model = Strange()
    for block in model.stack:
        block["mlp"] = tnn.ModuleDict({"fc1": tnn.Linear(4, 6)})
    found = projections_of(model)
    assert [p.role for p in found] == ["fc1", "fc1"]
    assert unknown_in(model, found) == ("4 of stack.*.mix.*.weight",)
    assert "left as they are: 4 of stack.*.mix.*.weight" in str(nn.plan_layers(model, "rps", compression=2))
    lines = []
    nn.share_layers(model, "rps", compression=2, progress=lines.append)
    assert lines[0] == "not known by name, left as they are: 4 of stack.*.mix.*.weight; see naming"
    named = {"fc1": "mlp.fc1"}
    assert nn.plan_layers(model, "rps", compression=2, naming=named).unknown == ()


def test_wrong_namings_are_refused():
    with pytest.raises(ArgumentError, match="the role 'query'; one of q, k, v"):
        projections_of(Strange(), naming={"query": "mix.0"})
    with pytest.raises(KindError, match="pass a dict of roles"):
        projections_of(Strange(), naming="mix.0")


def test_a_projection_that_is_tied_to_another_is_one_with_two_names():
    first, _, last = projections_of(Strange(tied=True), naming={"fc1": "mix.0", "fc2": "mix.1"})
    assert (first.name, first.aliases, first.layer) == ("stack.0.mix.0.weight", ("stack.1.mix.0.weight",), 0)
    assert last.aliases == ()


def test_a_projection_that_is_tied_to_an_embedding_is_refused():
    model = Strange()
    model.stack[0]["mix"][0].weight = model.embed.weight
    with pytest.raises(ArgumentError, match=r"stack\.0\.mix\.0\.weight is tied to embed\.weight"):
        projections_of(model, naming={"fc1": "mix.0"})
    assert len(projections_of(model, naming={"fc1": "mix.0"}, exclude="stack.0.*")) == 1


def test_quantized_weights_are_refused():
    model = Strange()
    model.stack[0]["mix"][0].weight = tnn.Parameter(torch.zeros(6, 4, dtype=torch.int8), requires_grad=False)
    with pytest.raises(KindError, match=r"int8 of shape \(6, 4\); a floating-point matrix"):
        projections_of(model, naming={"fc1": "mix.0"})
