"""Activations, block by block, are those of the whole model in each bit; so is X'X, and little is held."""

import gc

import pytest
import torch
import torch.nn as tnn

from nn.cross_layer.adapters import blocks_of, projections_of
from nn.cross_layer.streams import as_batches, hidden_of, stream
from nn.models.vit import ViT
from rpstheory.errors import ArgumentError, DataError, KindError

EPS = torch.finfo(torch.float64).eps


def transformers():
    return pytest.importorskip("transformers", reason="the extra hf is not installed")


def seeded(build):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()


def text(padded=False):
    """Three batches of words; in the second, some are padding."""
    words = [{"input_ids": torch.arange(24).view(3, 8) * k % 31} for k in (5, 7, 11)]
    if padded:
        words[1]["attention_mask"] = (torch.arange(8) < torch.tensor([[8], [5], [1]])).long()
    return words


def images(size):
    return [torch.linspace(-1, 1, 2 * 3 * size * size).view(2, 3, size, size) * k for k in (1, 2)]


def bert():
    config = transformers().BertConfig(
        vocab_size=31, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24
    )
    return transformers().BertModel(config)


def gemma():
    config = transformers().Gemma3TextConfig(  # its layers are called with masks and positions of their own
        vocab_size=31, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24,
        num_key_value_heads=1, head_dim=8, sliding_window=4,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    )  # fmt: skip
    return transformers().Gemma3ForCausalLM(config)


def swin():
    config = transformers().SwinConfig(
        image_size=16, patch_size=2, embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=4
    )
    return transformers().SwinModel(config)


MODELS = {
    "bert": (bert, lambda: text(padded=True)),
    "gemma": (gemma, text),
    "swin": (swin, lambda: [{"pixel_values": x} for x in images(16)]),
    "ours": (lambda: ViT(widths=(4, 24), heads=2, depth=3), lambda: images(32)),
}


@pytest.fixture(params=MODELS)
def case(request):
    build, batches = MODELS[request.param]
    return seeded(build).double().eval(), [double(batch) for batch in batches()]


def double(batch):
    if isinstance(batch, dict):
        return {name: double(value) for name, value in batch.items()}
    return batch.double() if batch.is_floating_point() else batch


def run(model, batch):
    with torch.no_grad():
        return model(**batch) if isinstance(batch, dict) else model(batch)


def heard(model, modules, batches):
    """The first argument and the output of modules, in a run of the whole model."""
    found = {name: [] for name in modules}
    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda module, args, kwargs, out, name=name: found[name].append(
                (args[0] if args else next(iter(kwargs.values())), hidden_of(out))
            ),
            with_kwargs=True,
        )
        for name in modules
    ]
    for batch in batches:
        run(model, batch)
    for hook in hooks:
        hook.remove()
    return found


def test_blocks_get_and_give_what_they_do_in_the_whole_model(case):
    model, batches = case
    blocks = blocks_of(projections_of(model))
    expected = heard(model, blocks, batches)
    seen = []
    for layer in stream(model, blocks, as_batches(batches)):
        seen.append(layer.block)
        for call, out, (x, y) in zip(layer.calls, layer.outputs(), expected[layer.block], strict=True):
            assert torch.equal(call.args[0] if call.args else next(iter(call.kwargs.values())), x)
            assert torch.equal(out, y)
    assert tuple(seen) == blocks


def test_grams_are_sums_over_all_batches_without_padding(case):
    model, batches = case
    projections = [p for p in projections_of(model) if "attention.out_proj" not in p.name]
    expected = heard(model, [p.module for p in projections], batches)
    for layer in stream(model, blocks_of(projections), as_batches(batches)):
        names = [p.name for p in projections if p.block == layer.block]
        for p in (p for p in projections if p.block == layer.block):
            whole = torch.zeros(p.rows, p.rows, dtype=torch.float64)
            for (x, _), batch in zip(expected[p.module], batches, strict=True):
                mask = batch.get("attention_mask") if isinstance(batch, dict) else None
                rows = x.reshape(-1, p.rows) if mask is None else x[mask.bool()]
                whole += rows.T @ rows
            error = (layer.grams(names)[p.name] - whole).abs().max()
            # attention that calls its modules sums in another order than that which does not: in our ViT
            # each number is the end of fewer than 2^12 roundings; elsewhere every bit is the same
            assert error <= (2**12 * EPS * whole.abs().max() if isinstance(model, ViT) else 0)


def test_the_input_of_an_output_projection_that_is_not_called_is_seen():
    model = seeded(lambda: ViT(widths=(4, 24), heads=2, depth=2)).double()
    layer = next(
        iter(stream(model, ["blocks.0", "blocks.1"], as_batches(images(32)[:1] and [images(32)[0].double()])))
    )
    gram = layer.grams(["blocks.0.attention.out_proj.weight"])["blocks.0.attention.out_proj.weight"]
    block = model.blocks[0]
    with torch.no_grad():
        y = block.norm1(layer.calls[0].args[0])
        out = block.attention(y, y, y)[0] - block.attention.out_proj.bias
    # out = z W' with z'z = gram, so that W gram W' = out'out; each number is the end of < 2^12 roundings
    weight, found = block.attention.out_proj.weight.detach(), out.reshape(-1, 8)
    error = (weight @ gram @ weight.T - found.T @ found).abs().max()
    assert error < 2**12 * EPS * (found**2).sum()
    assert "forward" not in block.attention.__dict__


def test_only_the_hidden_states_of_one_place_are_held():
    model = seeded(lambda: ViT(widths=(4, 24), heads=2, depth=6))
    blocks = blocks_of(projections_of(model))
    shape = (2, 64, 8)
    held = []
    gc.freeze()  # what other tests have left is not counted, and not gone through
    try:
        for _ in stream(model, blocks, as_batches(images(32))):
            gc.collect()
            held.append(sum(type(x) is torch.Tensor and x.shape == shape for x in gc.get_objects()))
    finally:
        gc.unfreeze()
    # the inputs of both batches, and what they were before: never more with depth
    assert max(held[1:]) <= held[1]
    assert held[1] <= 4


def test_the_model_is_put_back_as_it_was():
    model = seeded(gemma).train()
    model.model.layers[1].eval()
    modes = [module.training for module in model.modules()]
    model.config.use_cache = True
    for layer in stream(model, blocks_of(projections_of(model)), as_batches(text())):
        assert not layer.module.training
        break
    gc.collect()
    assert [module.training for module in model.modules()] == modes
    assert model.config.use_cache is True
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_live_stream_sees_what_was_changed_and_another_does_not():
    for live, same in ((True, False), (False, True)):
        model = seeded(swin).eval()
        blocks = blocks_of(projections_of(model))
        batches = as_batches([{"pixel_values": x} for x in images(16)])
        expected = heard(model, blocks, [{"pixel_values": x} for x in images(16)])
        for layer in stream(model, blocks, batches, live=live):
            if layer.number == 2:  # the first after the merging of patches
                assert torch.equal(layer.calls[0].args[0], expected[layer.block][0][0]) == same
                break
            layer.outputs()
            with torch.no_grad():
                layer.module.mlp.fc2.bias.add_(1)


class Net(tnn.Module):
    """Blocks that are run in an order, and as often, as one says."""

    def __init__(self, order):
        super().__init__()
        self.layers = tnn.ModuleList(tnn.ModuleDict({"fc": tnn.Linear(4, 4)}) for _ in range(2))
        for layer in self.layers:
            layer.forward = layer["fc"].forward
        self.order = order

    def forward(self, x):
        for place in self.order:
            x = self.layers[place](x)
        return x


@pytest.mark.parametrize(
    ("order", "words"),
    [([0, 1, 1], "runs out of turn, or twice"), ([1, 0], "runs out of turn"), ([0], "is not run on the")],
)
def test_blocks_must_run_once_each_in_order(order, words):
    with pytest.raises(ArgumentError, match=words):
        next(stream(Net(order), ["layers.0", "layers.1"], as_batches([torch.ones(2, 4)])))


def test_activations_that_are_not_finite_are_refused_by_name():
    model = seeded(bert)
    with torch.no_grad():
        model.encoder.layer[1].intermediate.dense.bias[0] = torch.nan
    layers = stream(model, blocks_of(projections_of(model)), as_batches(text()))
    next(layers)
    layer = next(layers)
    name = "encoder.layer.1.output.dense"
    with pytest.raises(DataError, match=f"the inputs of {name} hold nan or inf"):
        layer.grams([f"{name}.weight"])
    layer.forget()
    with pytest.raises(DataError, match=r"the block encoder\.layer\.1 gives nan or inf"):
        next(layers)


def test_batches_of_every_kind_are_taken():
    x, y = torch.ones(2, 3), torch.zeros(2)
    mask = torch.tensor([[1, 0, 0], [1, 1, 1]])
    tensor, pair, named = as_batches([x, (x, y), {"input_ids": x, "labels": y, "attention_mask": mask}])
    assert (tensor.args, tensor.target, pair.args, pair.target) == ((x,), None, (x,), y)
    assert list(named.kwargs) == ["input_ids", "attention_mask"]
    assert named.target is y
    assert torch.equal(named.keep, mask.bool())


def test_what_is_no_batch_is_refused():
    for wrong in (torch.ones(2, 3), {"input_ids": torch.ones(2)}, "text", 7):
        with pytest.raises(KindError, match="pass a list of batches"):
            as_batches(wrong)
    with pytest.raises(KindError, match="a batch of calibration is a int"):
        as_batches([7])
    with pytest.raises(ArgumentError, match="calibration holds no batch"):
        as_batches([])
