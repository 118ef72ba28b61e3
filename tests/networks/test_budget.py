"""Budgets against bytes that are written, FLOPs counted layer by layer, and laws on any mask and any bank.

The files of pruned models are written here by encoders of their own, and read back: an index that does not
bring the mask back is no index. FLOPs are counted by hooks on shapes, a formula for each kind of layer; that
a dropped weight costs nothing is shown by counting kept weights, not by a density.
"""

import json
from dataclasses import asdict
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn as tnn
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save as to_safetensors
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode

import nn
from nn.budget import ESCAPE, budget, flops, indices
from nn.methods import METHODS, prepare
from nn.models.registry import build
from nn.pruning import masked, masks_of
from nn.pruning.masks import Masked
from rpstheory.errors import ArgumentError

SHAPE = (3, 9, 7)
BATCHES = [(torch.linspace(-1, 1, 4 * 3 * 9 * 7).view(4, *SHAPE), torch.arange(4))]


class Net(tnn.Module):
    """Odd sizes, strides, groups, buffers, and weights too small to be compressible."""

    def __init__(self, scale=1.0):
        super().__init__()
        wide = max(2, 2 * round(12 * scale))
        self.first = tnn.Conv2d(3, wide, 3, padding=1)
        self.norm = tnn.BatchNorm2d(wide)
        self.second = tnn.Conv2d(wide, wide, (3, 2), stride=2, groups=2, bias=False)
        self.middle = tnn.Linear(wide, 53)
        self.last = tnn.Linear(53, 4)
        self.register_buffer("passing", torch.zeros(99), persistent=False)

    def forward(self, x):
        x = self.second(torch.relu(self.norm(self.first(x)))).mean((2, 3))
        return self.last(torch.relu(self.middle(x)))


def seeded(scale=1.0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net(scale)


def made(method, compression):
    given = {"passes": 3} if method == "synflow" else {}
    return prepare(method, seeded, 1.0 if method == "dense" else compression, batches=BATCHES, options=given)


def judged(model, dense=None, shape=SHAPE):
    return budget(model, dense or seeded(), shape)


def of_masks(*masks):
    """A net that keeps what the masks say of its two compressible weights."""
    return masked(seeded(), dict(zip(("second.weight", "middle.weight"), masks, strict=True)))


def a_mask(name, seed, share):
    weight = dict(seeded().named_parameters())[name]
    return torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)) < share


# ----------------------------------------------------------------------------- bytes that are written


def tensors_in(content):
    """Bytes of a safetensors file after its header."""
    return len(content) - 8 - int.from_bytes(content[:8], "little")


def gaps(mask):
    """For each kept weight the dropped ones before it: 255 for so many and more to come."""
    kept = [-1, *np.flatnonzero(mask)]
    found = bytearray()
    for one, other in pairwise(kept):
        more, rest = divmod(int(other - one - 1), ESCAPE)
        found += bytes([ESCAPE] * more + [rest])
    return bytes(found)


def from_gaps(content, size):
    mask, place = np.zeros(size, bool), 0
    for byte in content:
        place += byte
        if byte < ESCAPE:
            mask[place] = True
            place += 1
    return mask


def csr(mask, rows):
    column = [np.flatnonzero(row) for row in mask.reshape(rows, -1)]
    edges = np.cumsum([0, *map(len, column)], dtype="<i4")
    return edges.tobytes() + np.concatenate(column).astype("<i4").tobytes()


def written(weight, mask):
    """The shortest record of a pruned tensor: its numbers, and where they belong."""
    flat = mask.numpy().reshape(-1)
    kept = weight[mask].numpy().tobytes()
    return min(
        weight.masked_fill(~mask, 0).numpy().tobytes(),
        kept + np.packbits(flat).tobytes(),
        kept + csr(flat, len(weight)),
        kept + gaps(flat),
        key=len,
    )


def file_of_pruned(model):
    masks, content = masks_of(model), b""
    stored = {name: value for name, value in model.state_dict().items() if "parametrizations" not in name}
    for name, mask in masks.items():
        module, local = name.rsplit(".", 1)
        original = model.get_submodule(module).parametrizations[local].original
        content += written(original.detach(), mask)
    return tensors_in(to_safetensors(stored)) + len(content)


@pytest.mark.parametrize("method", ["dense", "smaller"])
def test_bytes_of_a_plain_model_are_those_of_its_file(method):
    model = made(method, 4)
    found = judged(model)
    assert found.bytes == tensors_in(to_safetensors(model.state_dict()))
    assert (found.form, found.index) == ("dense", 0)


@pytest.mark.parametrize("options", [{}, {"scope": "layer"}, {"mapping": "hashed"}, {"include": "first*"}])
def test_bytes_of_a_shared_model_are_the_tensors_and_the_scales_and_seeds_of_its_file(tmp_path, options):
    model = nn.share(seeded(), 5, **options)
    nn.save(model, tmp_path / "model")
    content = (tmp_path / "model").read_bytes()
    size = int.from_bytes(content[:8], "little")
    said = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["rps-checkpoint"])
    numbers = sum(1 + len(bank["scales"]) for bank in said["banks"])
    found = judged(model)
    assert found.index == 8 * numbers
    assert found.bytes - found.index == tensors_in(content)
    assert found.form == "shared"


@pytest.mark.parametrize("method", ["random", "magnitude", "snip", "grasp", "synflow"])
@pytest.mark.parametrize("compression", [1, 3, 30, 300])
def test_bytes_of_a_pruned_model_are_those_of_the_shortest_file(method, compression):
    model = made(method, compression)
    assert judged(model).bytes == file_of_pruned(model)


@given(st.integers(0, 2**31), st.sampled_from([0, 0.001, 0.02, 0.1, 0.4, 0.9, 1]), st.integers(0, 2**31))
def test_bytes_of_any_masks_are_those_of_the_shortest_file(one, share, other):
    model = of_masks(a_mask("second.weight", one, share), a_mask("middle.weight", other, 1 - share))
    assert judged(model).bytes == file_of_pruned(model)


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(0, 600), st.integers(0, 3))
def test_gaps_bring_any_mask_back_in_the_bytes_that_are_charged(head, apart, kept):
    mask = np.array([*head, *([False] * apart + [True]) * kept, False])
    content = gaps(mask)
    assert (from_gaps(content, len(mask)) == mask).all()
    charged = {cost.name: cost.index for cost in indices(torch.from_numpy(mask), 4)}
    assert charged["pruned, gaps"] == len(content)


def test_every_index_is_the_cheapest_for_some_mask():
    """A single weight at the end of a long row, a few in many, many, all."""
    one, every = torch.zeros(1, 70_000, dtype=torch.bool), torch.ones(8, 8, dtype=torch.bool)
    one[0, -1] = True
    few, half = torch.arange(4096).view(64, 64) % 50 == 0, torch.arange(4096).view(64, 64) % 2 == 0
    best = [min(indices(mask, 4), key=lambda cost: cost.total).name for mask in (one, few, half, every)]
    assert best == ["pruned, CSR, int32", "pruned, gaps", "pruned, bitmask", "pruned, zeros stored"]


# ----------------------------------------------------------------------------- numbers that are kept


@given(st.integers(0, 2**31), st.floats(0, 1))
def test_numbers_of_a_pruned_model_are_those_under_its_masks(seed, share):
    one, other = a_mask("second.weight", seed, share), a_mask("middle.weight", seed + 1, share)
    found = judged(of_masks(one, other))
    assert found.weights == int(one.sum()) + int(other.sum())
    assert found.params - found.weights == found.dense_params - found.dense_weights


@given(st.integers(0, 2**31), st.floats(1, 3000), st.sampled_from(["fold", "hashed", "chunk", "block"]))
def test_numbers_of_a_shared_model_are_those_of_its_parameters(seed, compression, mapping):
    model = nn.share(seeded(), compression, seed=seed, mapping=mapping)
    found = judged(model)
    assert found.params == sum(p.numel() for p in model.parameters())
    assert found.weights == model.shared_bank.numel() == nn.plan(seeded(), compression).cells
    assert found.total_compression == nn.report(model).total_compression
    assert found.compression == nn.report(model).compression


def test_budget_counts_the_masks_that_are_there_and_not_those_that_were_asked_for():
    model = nn.prune(seeded(), "random", 10)
    before, mask = judged(model), masks_of(model)["middle.weight"]
    gone = int(mask.sum())
    mask.zero_()
    after = judged(model)
    assert before.weights - after.weights == before.params - after.params == gone > 0
    assert before.flops - after.flops == 2 * gone


@pytest.mark.parametrize("compression", [1, 7.5, 100, 3000])
def test_every_method_but_the_smaller_model_keeps_the_same_numbers(compression):
    plain = [method for method in METHODS if method not in ("dense", "ltr", "smaller")]
    found = {judged(made(method, compression)) for method in plain}
    assert len({each.params for each in found}) == len({each.weights for each in found}) == 1


@pytest.mark.parametrize("compression", [10, 100])
def test_smaller_resnet_is_within_five_percent_of_the_same_parameters(compression):
    make = partial(build, "resnet20", 10, 3)
    with torch.device("meta"):
        dense = make(1.0)
    smaller, shared = (
        budget(prepare(method, make, compression), dense, (3, 32, 32)) for method in ("smaller", "stable-rps")
    )
    assert abs(smaller.params / shared.params - 1) < 0.05
    assert smaller.flops < shared.flops == shared.dense_flops


def test_compressible_in_a_smaller_model_are_all_weights_of_layers():
    small = seeded(0.25)
    layers = [m for m in small.modules() if isinstance(m, tnn.Linear | tnn.Conv2d)]
    assert judged(small).weights == sum(layer.weight.numel() for layer in layers)


class Tied(tnn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = tnn.Linear(40, 40, bias=False), tnn.Linear(40, 40, bias=False)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.two(self.one(x))


def half_pruned():
    model = Tied()
    parametrize.register_parametrization(model.one, "weight", Masked(torch.eye(40).bool()), unsafe=True)
    return model


def test_tied_weights_are_counted_once():
    found = budget(nn.share(Tied(), 10), Tied(), (40,))
    assert (found.dense_params, found.params, found.dense_bytes) == (1600, 160, 6400)
    assert found.bytes == 640 + 16
    assert found.flops == 2 * 2 * 1600


def test_tied_weights_that_are_pruned_alike_are_counted_once():
    model = masked(Tied(), {"one.weight": torch.eye(40, dtype=torch.bool)})
    found = budget(model, Tied(), (40,))
    assert (found.weights, found.params, found.compression) == (40, 40, 40)
    assert found.bytes == 4 * 40 + 40
    assert found.flops == 2 * 2 * 40


def test_weights_of_two_bytes_cost_two_bytes():
    dense = seeded().bfloat16()
    kept = judged(nn.prune(dense, "random", 10), dense)
    shared = judged(nn.share(dense, 10), dense)
    whole = judged(nn.share(seeded(), 10))
    assert 2 * (shared.bytes - shared.index - 8) == whole.bytes - whole.index - 8  # a counter of 8 bytes
    assert kept.bytes - kept.index == shared.bytes - shared.index


# ------------------------------------------------------------------------------------------- FLOPs


def counted(model, shape, masks=None):
    """Twice the multiply-adds of every convolution and linear layer, from the shapes of what they return."""
    found = []

    def hook(name, module, inputs, output):
        weight = module.weight
        kept = weight.numel() if masks is None or name not in masks else int(masks[name].sum())
        places = output.numel() // len(weight)  # where a filter is laid, or rows that are multiplied
        found.append(2 * places * kept)

    for prefix, module in model.named_modules():
        if isinstance(module, tnn.Conv2d | tnn.Linear):
            module.register_forward_hook(partial(hook, f"{prefix}.weight"))
    model.eval()(torch.zeros(1, *shape))
    return sum(found)


@pytest.mark.parametrize("method", METHODS)
def test_flops_are_twice_the_multiply_adds_with_weights_that_are_kept(method):
    model = made(method, 6)
    masks = masks_of(model)
    plain = seeded() if masks or hasattr(model, "shared_bank") else model
    assert judged(model).flops == counted(plain, SHAPE, masks)


@pytest.mark.parametrize("name", ["resnet20", "vgg11"])
def test_flops_of_networks_are_those_that_torch_counts(name):
    model = build(name, 10, 3).eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 32, 32))
    assert flops(model, (3, 32, 32))[0] == counter.get_total_flops() == counted(model, (3, 32, 32))


def test_flops_of_attention_belong_to_the_weights_that_are_views_of_one():
    """Q, K, V and output of 5 tokens of width 32, and the two products of 5 x 5 scores."""
    model = tnn.MultiheadAttention(32, 4, bias=False, batch_first=True)
    model.forward = partial(self_attention, model)
    whole, each = flops(model, (5, 32))
    assert each == {"in_proj_weight": 2 * 5 * 32 * 96, "out_proj.weight": 2 * 5 * 32 * 32}
    assert whole == sum(each.values()) + 2 * 2 * 5 * 5 * 32


def self_attention(model, x):
    return tnn.MultiheadAttention.forward(model, x, x, x)[0]


# ------------------------------------------------------------------------------------- what it is


@pytest.mark.parametrize("method", ["stable-rps", "random", "smaller"])
def test_budget_is_the_same_beside_a_model_without_numbers(method):
    model = made(method, 6)
    with torch.device("meta"):
        ghost = Net()
    assert judged(model, ghost) == judged(model)


@pytest.mark.parametrize("method", ["dense", "stable-rps", "random"])
def test_budget_leaves_both_models_as_they_were(method):
    model, dense = made(method, 6), seeded()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    judged(model, dense)
    assert model.training
    assert dense.training
    assert {p.device.type for p in dense.parameters()} == {"cpu"}
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_budget_is_numbers_and_one_word_for_a_record():
    record = asdict(judged(made("stable-rps", 6)))
    assert json.loads(json.dumps(record)) == record
    assert record["compression"] == record["dense_weights"] / record["weights"]
    assert record["total_compression"] == record["dense_params"] / record["params"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: judged(seeded(), nn.share(seeded(), 4)), "the dense model is shared or pruned itself"),
        (lambda: judged(seeded(), nn.prune(seeded(), "random", 4)), "the dense model is shared or pruned"),
        (lambda: judged(nn.share(seeded(), 4), seeded(0.5)), r"second.weight has shape \(24, 12, 3, 2\)"),
        (lambda: judged(nn.share(seeded(), 4), tnn.Linear(3, 3)), "and no place in the dense one"),
        (
            lambda: budget(half_pruned(), Tied(), (40,)),
            "one.weight and two.weight are tied, and not pruned alike",
        ),
        (lambda: judged(seeded(), shape=(4, 9, 7)), r"does not take an image of shape \(4, 9, 7\)"),
        (lambda: judged(seeded(), shape=(3,)), r"does not take an image of shape \(3,\)"),
    ],
)
def test_wrong_arguments_are_one_sentence(call, words):
    with pytest.raises(ArgumentError, match=words):
        call()
