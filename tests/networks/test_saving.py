"""What is saved comes back bit for bit, and what is not a checkpoint of this model changes nothing."""

import copy
import hashlib
import json
import subprocess
import sys
import warnings
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
import torch.nn as tnn
from hypothesis import given, settings
from safetensors import safe_open
from safetensors import torch as safetensors

import nn
from nn.inventory import draws_of
from nn.layers import views_of
from nn.models import resnet20, vgg11
from nn.sharing import banks_of
from rpstheory import Fold
from rpstheory.errors import ArgumentError, DataError, KindError, LawBroken, RpsError

GOLDEN = Path(__file__).with_name("data") / "golden-1.safetensors"
FORMAT = "rps-checkpoint"
ZEROS = "0" * 64
GOLDEN_DIGEST = "5e692201fab91beb99858c191e042d511efa1fce542794b49edda08ddb81660e"


class Net(tnn.Module):
    """Two banks, a tied weight, tied fixed parameters, buffers of every kind."""

    def __init__(self, dtype=torch.float32, width=4):
        super().__init__()
        self.table = tnn.Embedding(8, width)
        self.conv = tnn.Conv1d(width, 4, 3, padding=1)
        self.norm = tnn.BatchNorm1d(4)
        self.head = tnn.Linear(4, 8, bias=False)
        if width == 4:
            self.head.weight = self.table.weight
        self.one = tnn.Parameter(torch.randn(3))
        self.other = self.one
        self.to(dtype)
        self.register_buffer("step", torch.tensor(7))
        self.register_buffer("twice", self.step)
        self.register_buffer("empty", torch.zeros(0, 2))
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("passing", torch.ones(5), persistent=False)
        self.register_buffer("missing", None)

    def forward(self, index):
        return self.head(self.norm(self.conv(self.table(index).mT)).mT) + self.one.sum() + self.other.sum()


def shared(dtype=torch.float32, seed=5, **options):
    given = {"overrides": {"conv": {"compression": 3, "mapping": "hashed"}}} | options
    return nn.share(Net(dtype), 2, include="*", seed=seed, **given)


def trained(dtype=torch.float32, **options):
    """A model that is nowhere as it was built."""
    model = shared(dtype, **options)
    with torch.no_grad():
        model.norm.running_var.fill_(3)
        model.norm.num_batches_tracked.fill_(41)
        model.one.copy_(torch.tensor([float("nan"), float("inf"), -0.0]))
    return model


def content(tensor):
    whole = tensor.detach().contiguous().reshape(-1)
    return str(tensor.dtype), tuple(tensor.shape), whole.view(torch.uint8).numpy().tobytes()


def bits(model):
    """Every tensor of a model, bit for bit, by name."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for prefix, module in model.named_modules():
        tensors |= {f"{prefix}.{local}": view.read() for local, view in views_of(module).items()}
    return {name: content(tensor) for name, tensor in tensors.items()}


def shape_of(model):
    """Objects and classes that must not change when a file is refused."""
    return [
        (name, type(module), list(module._parameters.items()), list(views_of(module).items()))
        for name, module in model.named_modules()
    ]


def same(one, other):
    """Whether two of :func:`shape_of` hold the same objects."""
    return len(one) == len(other) and all(
        a[:2] == b[:2] and [(k, id(v)) for k, v in (*a[2], *a[3])] == [(k, id(v)) for k, v in (*b[2], *b[3])]
        for a, b in zip(one, other, strict=True)
    )


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return trained()


@pytest.fixture(scope="module")
def written(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("written") / "model.safetensors"
    nn.save(model, path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def target():
    return Net()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch") / "model"


def refused(path, model, error=DataError, match=None, **given):
    """Loading is refused with one sentence, and the model is as it was."""
    before, values = shape_of(model), bits(model)
    with pytest.raises(error, match=match) as caught:
        nn.load(path, model, **given)
    assert isinstance(caught.value, RpsError)
    assert str(caught.value).startswith("load: ")
    assert "\n" not in str(caught.value)
    assert same(shape_of(model), before)
    assert bits(model) == values


def refused_bytes(scratch, data, target, error=DataError, match=None):
    scratch.write_bytes(data)
    refused(scratch, target, error, match)


# ------------------------------------------------------------------------------- there and back


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("folder", [False, True])
def test_every_bit_comes_back_in_every_kind_of_number(dtype, folder, tmp_path):
    model = trained(dtype)
    place = f"{tmp_path}/model{'/' * folder}"
    nn.save(model, place)
    assert bits(nn.load(place, lambda: Net(dtype))) == bits(model)
    assert Path(place).is_dir() == folder


@pytest.mark.parametrize("mapping", ["fold", "hashed", "chunk", "block"])
@pytest.mark.parametrize("scaler", ["gamma", "v1", "none"])
def test_every_mapping_and_scaler_comes_back(mapping, scaler, tmp_path):
    overrides = {"conv": {"compression": 5}}
    model = shared(seed=2**64 - 1, mapping=mapping, scaler=scaler, init_std=0.3, overrides=overrides)
    nn.save(model, tmp_path / "model")
    loaded = nn.load(tmp_path / "model", Net)
    assert [b.table_bytes for b in banks_of(loaded)] == [b.table_bytes for b in banks_of(model)]
    assert bits(loaded) == bits(model)
    for one, other in zip(banks_of(model), banks_of(loaded), strict=True):
        assert (one.name, one.mapping, one.scaler, one.spans) == (
            other.name, other.mapping, other.scaler, other.spans)  # fmt: skip
        assert torch.equal(one.roots(), other.roots())


def test_what_is_loaded_trains_as_what_was_saved(tmp_path):
    model = shared(torch.float64)
    nn.save(model, tmp_path / "model")
    twin = nn.load(tmp_path / "model", lambda: Net(torch.float64))
    index = torch.arange(8).reshape(2, 4)
    for each in (model, twin):
        each(index).square().sum().backward()
    assert all(parameter.requires_grad for parameter in twin.parameters())
    assert torch.equal(twin.shared_bank.grad, model.shared_bank.grad)
    assert torch.equal(twin.shared_bank_1.grad, model.shared_bank_1.grad)


def test_saving_again_gives_the_same_bytes_and_changes_nothing(model, written, tmp_path):
    before, values = shape_of(model), bits(model)
    (tmp_path / "one").write_bytes(written)
    nn.save(nn.load(tmp_path / "one", Net), tmp_path / "two")
    nn.save(model, tmp_path / "three")
    assert (tmp_path / "two").read_bytes() == (tmp_path / "three").read_bytes() == written
    assert same(shape_of(model), before)
    assert bits(model) == values


def test_tied_parameters_are_stored_once_and_stay_tied(scratch, written):
    scratch.write_bytes(written)
    loaded = nn.load(scratch, Net)
    assert views_of(loaded.head)["weight"] is views_of(loaded.table)["weight"]
    assert loaded.one is loaded.other
    assert loaded.step is loaded.twice
    with safe_open(scratch, "pt") as file:
        assert sorted(file.keys()) == sorted(
            "shared_bank shared_bank_1 one conv.bias norm.weight norm.bias norm.running_mean "
            "norm.running_var norm.num_batches_tracked step empty mask".split()
        )


def test_the_model_that_comes_is_the_one_that_is_returned_in_the_mode_it_was_in(scratch, written, model):
    scratch.write_bytes(written)
    net = Net().eval()
    net.one.requires_grad_(False)
    one = net.one
    assert nn.load(scratch, net) is net
    assert net.one is one  # an optimizer may hold it
    assert not one.requires_grad
    assert not any(module.training for module in net.modules())
    assert bits(net) == bits(model)


@pytest.mark.parametrize("change", [{}, {"seed": 6}, {"scaler": "v1"}, {"mapping": "chunk"}])
def test_a_model_shared_into_banks_of_the_same_sizes_keeps_its_parameters(scratch, written, model, change):
    scratch.write_bytes(written)
    net = shared(**change)
    before = dict(net.named_parameters())
    nn.load(scratch, net)
    assert {name: id(each) for name, each in net.named_parameters()} == {n: id(p) for n, p in before.items()}
    assert bits(net) == bits(model)
    for one, other in zip(banks_of(net), banks_of(model), strict=True):
        assert (one.mapping, one.scaler, one.spans, one.phi is one.owner._parameters[one.name]) == (
            other.mapping, other.scaler, other.spans, True)  # fmt: skip
    assert views_of(net.head)["weight"] is views_of(net.table)["weight"]


@pytest.mark.parametrize(
    "change",
    [{"overrides": {}}, {"exclude": "conv.weight", "overrides": {}}, {"scope": "layer", "overrides": {}}],
)
def test_a_model_shared_into_other_banks_is_refused(scratch, written, change):
    scratch.write_bytes(written)
    refused(scratch, shared(**change), match="or the model is shared otherwise")


def test_a_part_that_is_shared_is_saved_with_the_whole(tmp_path):
    def whole(part):
        return tnn.Sequential(tnn.Linear(4, 4), part, tnn.Linear(2, 2), Net())

    model = whole(shared())
    nn.share(model[3], 3, include="*", inplace=True)
    nn.save(model, tmp_path / "model")
    plain = whole(Net())
    assert bits(nn.load(tmp_path / "model", plain)) == bits(model)
    assert [name for name, _ in plain.named_parameters()] == [name for name, _ in model.named_parameters()]
    assert [(bank.owner is plain[1], bank.name) for bank in banks_of(plain)] == [
        (True, "shared_bank"), (True, "shared_bank_1"), (False, "shared_bank")]  # fmt: skip


def test_what_is_no_path_is_refused():
    shared = nn.share(tnn.Linear(64, 64), 4)
    for call in (lambda: nn.save(shared, 5), lambda: nn.load(b"net", shared)):
        with pytest.raises(KindError, match=r"path=.* came; a path is needed, as str or pathlib.Path"):
            call()


def test_layouts_of_the_model_stay(tmp_path):
    def build():
        return tnn.Sequential(tnn.Conv2d(4, 4, 3), tnn.Conv2d(4, 4, 3)).to(memory_format=torch.channels_last)

    model = nn.share(build(), 2, include="0.weight", exclude="1.weight")
    nn.save(model, tmp_path / "model")
    loaded = nn.load(tmp_path / "model", build)
    assert bits(loaded) == bits(model)
    assert loaded[1].weight.is_contiguous(memory_format=torch.channels_last)


def test_tensors_made_in_inference_mode_are_loaded_into(scratch, written, model):
    scratch.write_bytes(written)
    net = Net()
    with torch.inference_mode():
        net.norm.running_mean = torch.zeros(4)
    assert bits(nn.load(scratch, net)) == bits(model)


def test_recurrent_networks_come_back(tmp_path):
    def build():
        return tnn.GRU(8, 8, 2, bidirectional=True)

    model = nn.share(build(), 3, include="*")
    nn.save(model, tmp_path / "model")
    x = torch.randn(3, 2, 8)
    assert torch.equal(nn.load(tmp_path / "model", build)(x)[0], model(x)[0])


def test_a_residual_network_comes_back(tmp_path):
    model = nn.share(resnet20(), 100, include="*")
    nn.save(model, tmp_path / "model")
    assert bits(nn.load(tmp_path / "model", resnet20)) == bits(model)


def test_a_hundredth_of_vgg11_takes_less_than_600_kb_in_the_file_and_at_rest(tmp_path):
    model = nn.share(vgg11(), 100)
    nn.save(model, tmp_path / "model")
    resident = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    resident += sum(bank.table_bytes for bank in banks_of(model))
    assert (tmp_path / "model").stat().st_size <= 600_000
    assert resident <= 600_000


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device that torch can use")
def test_a_checkpoint_knows_no_device(scratch, written, model):
    scratch.write_bytes(written)
    loaded = nn.load(scratch, Net().cuda())
    assert {parameter.device.type for parameter in loaded.parameters()} == {"cuda"}
    nn.save(loaded, scratch)
    assert scratch.read_bytes() == written


# ---------------------------------------------------------------------------------- mappings


class Backwards:
    """A fold whose cells are counted from the end: not one of rpstheory's."""

    def __init__(self, n, m, seed):
        self.n, self.m, self.seed, self.fold = n, m, seed, Fold(n, m, seed)

    def cell(self, i):
        return self.m - 1 - self.fold.cell(i)

    def sign(self, i):
        return self.fold.sign(i)


class Nameless(Backwards):
    def __init__(self, n, m, seed):
        super().__init__(n, m, seed)
        self.seed = None


def test_a_mapping_of_ones_own_is_saved_by_name_and_made_again(tmp_path):
    path, model = tmp_path / "model", shared(mapping=Backwards)
    nn.save(model, path)
    for target in (Net, shared(mapping=Backwards)):
        assert bits(nn.load(path, target, mapping=Backwards)) == bits(model)
    refused(path, Net(), ArgumentError, "Backwards, which is not one of rpstheory's; pass mapping=")


@pytest.mark.parametrize("other", [Fold, lambda n, m, seed: Backwards(n, m, seed ^ 1)])
def test_a_mapping_that_is_another_one_is_refused(other, tmp_path):
    nn.save(shared(mapping=Backwards), tmp_path / "model")
    refused(tmp_path / "model", Net(), ArgumentError, "mapping= makes another mapping than", mapping=other)


def test_a_mapping_that_breaks_a_law_is_not_loaded(tmp_path):
    nn.save(shared(mapping=Backwards), tmp_path / "model")
    with pytest.raises(LawBroken):
        nn.load(tmp_path / "model", Net, mapping=lambda n, m, seed: Backwards(n + 1, m, seed))


def test_a_mapping_that_is_not_needed_is_refused(scratch, written):
    scratch.write_bytes(written)
    refused(scratch, Net(), ArgumentError, "mapping came, and .* needs none; leave it out", mapping=Fold)


def test_a_mapping_without_a_seed_is_not_saved(tmp_path):
    with pytest.raises(KindError, match="save: the mapping Nameless of shared_bank has seed=None"):
        nn.save(shared(mapping=Nameless), tmp_path / "model")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------ files that are refused


def test_a_file_cut_off_anywhere_is_refused(scratch, written, target):
    for size in range(len(written)):
        refused_bytes(scratch, written[:size], target, match="is cut off or holds no shared model")


def test_a_file_that_goes_on_is_refused(scratch, written, target):
    for more in (b"\0", b" ", written):
        refused_bytes(scratch, written + more, target, match="is cut off or holds no shared model")


def test_a_flip_of_any_byte_is_refused(scratch, written, target):
    for at in range(len(written)):
        data = bytearray(written)
        data[at] ^= 1 << at % 8
        refused_bytes(scratch, bytes(data), target)


def test_a_flip_of_a_tensor_is_named_as_a_change(scratch, written, target):
    refused_bytes(
        scratch, written[:-1] + bytes([written[-1] ^ 1]), target, match="was changed after it was saved"
    )


@settings(max_examples=300, derandomize=True)
@given(st.data())
def test_any_edit_of_the_bytes_is_refused(scratch, written, target, data):
    at = data.draw(st.integers(0, len(written)))
    gone = data.draw(st.integers(0, min(20, len(written) - at)))
    edited = written[:at] + data.draw(st.binary(max_size=20)) + written[at + gone :]
    if edited != written:
        refused_bytes(scratch, edited, target)


DEEP = b"[" * 100_000
NOT_OURS = {
    "nothing": b"",
    "text": b"hello",
    "zeros": b"\0" * 100,
    "ones": b"\xff" * 100,
    "a dense model": safetensors.save({"weight": torch.ones(3)}),
    "a dense model of another library": safetensors.save({"weight": torch.ones(3)}, {"format": "pt"}),
    "an empty description": safetensors.save({"weight": torch.ones(3)}, {FORMAT: "{}"}),
    "a list": safetensors.save({"weight": torch.ones(3)}, {FORMAT: "[]"}),
    "deep JSON": safetensors.save({"weight": torch.ones(3)}, {FORMAT: DEEP.decode()}),
    "a deep header": len(DEEP).to_bytes(8, "little") + DEEP,
    "a header that overflows": (2**64 - 1).to_bytes(8, "little") + b"{}",
    "a header longer than the file": (2**40).to_bytes(8, "little") + b"{}",
    "a huge header": (10**8 + 1).to_bytes(8, "little") + b" " * (10**8 + 1),
}


@pytest.mark.parametrize("case", NOT_OURS)
def test_what_is_no_checkpoint_is_refused(case, scratch, target):
    refused_bytes(scratch, NOT_OURS[case], target, match="is cut off or holds no shared model")


def test_what_cannot_be_read_is_named(target, tmp_path):
    for path in (tmp_path / "absent", tmp_path, f"{tmp_path}/absent/", "\0"):
        refused(path, target, match="cannot be read")


def test_a_folder_whose_files_do_not_belong_together_is_refused(model, target, tmp_path):
    nn.save(model, f"{tmp_path}/one/")
    nn.save(trained(seed=6), f"{tmp_path}/two/")
    for name in ("model.json", "model.safetensors"):
        kept = (tmp_path / "one" / name).read_bytes()
        for bad in ((tmp_path / "two" / name).read_bytes(), kept[:-1], kept + b" ", b"\xff", b""):
            (tmp_path / "one" / name).write_bytes(bad)
            refused(tmp_path / "one", target, match="is cut off or holds|was changed")
        (tmp_path / "one" / name).write_bytes(kept)
    (tmp_path / "one" / "model.json").unlink()  # it is there for people to read
    assert bits(nn.load(tmp_path / "one", Net)) == bits(model)


# ------------------------------------------------- files that are sealed, and false all the same


def opened(data):
    """(header without description, description, tensors' bytes) of a file."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    return header, json.loads(header.pop("__metadata__")[FORMAT]), data[8 + size :]


def sealed(head, tensors):
    blank = len(head).to_bytes(8, "little") + head + tensors
    return blank.replace(ZEROS.encode(), hashlib.sha256(blank).hexdigest().encode(), 1)


def forged(header, description, tensors, text=None):
    """A file with a seal that is right, made by hand from the words that describe the format."""
    text = text or json.dumps(description | {"sha256": ZEROS}, indent=1)
    return sealed(json.dumps({"__metadata__": {FORMAT: text}} | header).encode(), tensors)


def test_the_format_is_as_it_is_described(scratch, written, model):
    scratch.write_bytes(forged(*opened(written)))
    assert bits(nn.load(scratch, Net)) == bits(model)


def bank(description, number=0, **change):
    description["banks"][number].update(change)


def mapping(description, **change):
    description["banks"][0]["mapping"].update(change)


def scale(value):
    return lambda d: d["banks"][0]["scales"].update({"table.weight": value})


def renamed(description, old, new):
    for each in (description["model"], *(b["scales"] for b in description["banks"])):
        if old in each:
            each[new] = each.pop(old)


LAMBDA, NONE = "has a lambda that is not positive and finite", "cannot be shared"
WRITTEN, TENSORS = "not written as nn.save", "contradicts itself"
FALSE = {
    "lambda is nan": (scale(float("nan")), LAMBDA),
    "lambda is infinite": (scale(float("inf")), LAMBDA),
    "lambda is zero": (scale(0.0), LAMBDA),
    "lambda is negative": (scale(-1.0), LAMBDA),
    "lambda is whole": (scale(1), LAMBDA),
    "lambda is text": (scale("1.0"), LAMBDA),
    "there is no lambda": (lambda d: bank(d, scales={}), LAMBDA),
    "the scales are a list": (lambda d: bank(d, scales=["table.weight"]), TENSORS),
    "a weight is in two banks": (lambda d: d["banks"][1]["scales"].update({"table.weight": 1.0}), NONE),
    "a weight is in two banks by two names": (
        lambda d: d["banks"][1]["scales"].update({"head.weight": 1.0}), NONE),
    "a weight is a buffer": (lambda d: bank(d, scales={"step": 1.0}), NONE),
    "a weight is not there": (lambda d: bank(d, scales={"absent": 1.0}), "contradicts itself .'absent'"),
    "a weight has another name": (
        lambda d: renamed(d, "table.weight", "absent"), "absent is parameter float32"),
    "a shape is another": (
        lambda d: d["model"].update({"table.weight": "parameter float32 [4, 8]"}),
        r"parameter float32 \[4, 8\] in .* and parameter float32 \[8, 4\] in the model"),
    "a shape is huge": (
        lambda d: d["model"].update({"table.weight": f"parameter float32 [{2**62}]"}), "in the model"),
    "weights are untied": (
        lambda d: d["model"].update({"head.weight": "parameter float32 [8, 4]"}), "= table.weight in the"),
    "a buffer is missing": (lambda d: d["model"].pop("step"), "step is missing in"),
    "a parameter is called a buffer": (
        lambda d: d["model"].update({"conv.bias": "buffer float32 [4]"}), "conv.bias is buffer float32"),
    "a form is no text": (lambda d: d["model"].update({"conv.bias": 3}), "conv.bias is 3 in"),
    "the model is a list": (lambda d: d.update(model=[]), TENSORS),
    "the scaler is unknown": (lambda d: bank(d, scaler="v9"), "scaled by 'v9'"),
    "the mapping is no object": (lambda d: bank(d, mapping="Fold"), "has no mapping with a seed"),
    "the mapping is of an unknown class": (
        lambda d: mapping(d, mapping="os.system"), "is no mapping of 32 weights to 16 cells"),
    "the mapping drops weights": (lambda d: mapping(d, mapping="KeepExact"), "is no mapping of 32"),
    "the mapping has more weights": (lambda d: mapping(d, n=2**50), "is no mapping of 32"),
    "the mapping has more cells": (lambda d: mapping(d, m=2**50), "is no mapping of 32"),
    "the mapping has another seed": (lambda d: mapping(d, seed=6), TENSORS),
    "the seed is no number": (lambda d: mapping(d, seed=True), "has no mapping with a seed"),
    "the mapping has a custom class but no seed": (
        lambda d: bank(d, mapping={"custom": "os.system"}), "has no mapping with a seed"),
    "the draws are others": (lambda d: bank(d, draws=ZEROS[1:] + "1"), TENSORS),
    "a bank is called otherwise": (lambda d: bank(d, name="forward"), "no bank is called 'forward'"),
    "a bank is missing": (lambda d: d["banks"].pop(), TENSORS),
    "a bank comes twice": (lambda d: d["banks"].append(d["banks"][0]), NONE),
    "a bank is a parameter": (lambda d: bank(d, name="one"), "no bank is called 'one'"),
    "a bank says more": (lambda d: bank(d, more=1), TENSORS),
    "there is something more": (lambda d: d.update(more=1), WRITTEN),
    "the names are in another order": (lambda d: d.update(version=d.pop("version")), WRITTEN),
    "the version is true": (lambda d: d.update(version=True), WRITTEN),
    "the version is newer": (lambda d: d.update(version=3), "has version 3 of the format"),
    "the version is text": (lambda d: d.update(version="1"), "has version 1 of the format"),
}  # fmt: skip


@pytest.mark.parametrize("case", FALSE)
def test_a_sealed_file_is_refused_when(case, scratch, written, target):
    change, match = FALSE[case]
    header, description, tensors = opened(written)
    change(description)
    refused_bytes(scratch, forged(header, description, tensors), target, match=match)


@pytest.mark.parametrize("name", ["forward", "_views", "shared_bank_01", "", "table.", "absent.shared_bank"])
def test_a_bank_under_another_name_is_refused(name, scratch, written, target):
    header, description, tensors = opened(written)
    header[name] = header.pop("shared_bank")
    bank(description, name=name)
    match = "the model has no room for absent" if "absent" in name else "no bank is called"
    refused_bytes(scratch, forged(header, description, tensors), target, match=match)


@pytest.mark.parametrize(
    ("one", "other"), [("one", "shared_bank"), ("one", "step"), ("shared_bank", "empty")]
)
def test_tensors_that_change_places_are_refused(one, other, scratch, written, target):
    header, description, tensors = opened(written)
    swapped = header | {one: header[other], other: header[one]}
    refused_bytes(
        scratch, forged(swapped, description, tensors), target, match="contradicts itself|is no mapping"
    )


TENSOR = {
    "beyond the end": {"data_offsets": [10**6, 10**6 + 64]},
    "backwards": {"data_offsets": [64, 0]},
    "negative": {"data_offsets": [-64, 0]},
    "too few": {"data_offsets": [0, 4]},
    "overlapping": {"data_offsets": [4, 68]},
    "of an unknown kind": {"dtype": "F4", "shape": [128]},
    "integers": {"dtype": "I32"},
    "of half the size": {"dtype": "F64", "shape": [8]},
    "of negative sizes": {"shape": [-4, -4]},
    "of sizes that overflow": {"shape": [2**33, 2**33]},
    "of another shape": {"shape": [4, 4]},
    "longer than its bytes": {"shape": [2**40]},
}


@pytest.mark.parametrize("case", TENSOR)
def test_a_sealed_file_is_refused_when_a_tensor_is(case, scratch, written, target):
    header, description, tensors = opened(written)
    header["shared_bank"] |= TENSOR[case]
    refused_bytes(scratch, forged(header, description, tensors), target)


def test_names_that_come_twice_in_the_json_are_refused(scratch, written, target):
    header, description, tensors = opened(written)
    text = json.dumps(description | {"sha256": ZEROS}, indent=1)
    again = text[:-2] + ',\n "version": 1\n}'
    refused_bytes(scratch, forged(header, description, tensors, again), target, match="a name comes twice")
    head = json.dumps({"__metadata__": {FORMAT: text}} | header)
    one = json.dumps(header["one"])
    twice = f'{head[:-1]}, "one": {one}}}'.encode()
    refused_bytes(scratch, sealed(twice, tensors), target, match="a name comes twice")


@pytest.mark.parametrize(
    "phi", [torch.ones(33), torch.ones(16).double(), torch.ones(4, 4), torch.tensor(1.0)]
)
def test_a_bank_that_does_not_fit_its_weights_is_refused(phi, scratch, written, target):
    _, description, _ = opened(written)
    mapping(description, m=phi.numel())
    bank(description, draws=draws_of(Fold(32, phi.numel(), 5)))
    text = json.dumps(description | {"sha256": ZEROS}, indent=1)
    file = safetensors.save(safetensors.load(written) | {"shared_bank": phi}, {FORMAT: text})
    refused_bytes(scratch, file.replace(ZEROS.encode(), hashlib.sha256(file).hexdigest().encode(), 1), target)


scalars = (
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats()
    | st.sampled_from([2**31, 2**63, 2**64, 10**30, "", "x", "Fold", "Top", "KeepExact", "Chunk", "custom",
                       "shared_bank", "one", "= one", "parameter float32 [3]", "v1", "F64", "I32", "BF16"])
)  # fmt: skip
odd = (
    scalars
    | st.lists(scalars, max_size=3)
    | st.dictionaries(st.sampled_from(["n", "m", "seed", "mapping", "x"]), scalars)
    | st.integers(1, 5000).map(lambda depth: json.loads("[" * min(depth, 200) + "]" * min(depth, 200)))
)


def paths(tree, at=()):
    yield at
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inside:
        yield from paths(value, (*at, key))


def put(tree, path, value):
    tree = inner = copy.deepcopy(tree)
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return tree


@settings(max_examples=500, derandomize=True)
@given(st.data())
def test_a_false_description_is_refused_or_is_what_was_loaded(
    scratch, written, target, tmp_path_factory, data
):
    header, description, tensors = opened(written)
    whole = {"header": header, "description": description}
    at = data.draw(st.sampled_from([path for path in paths(whole) if len(path) > 1]))
    whole = put(whole, at, data.draw(odd))
    file = forged(whole["header"], whole["description"], tensors)
    scratch.write_bytes(file)
    try:
        loaded = nn.load(scratch, copy.deepcopy(target))
    except RpsError:
        refused(scratch, target, RpsError)
    else:
        again = tmp_path_factory.getbasetemp() / "again"
        nn.save(loaded, again)
        assert opened(again.read_bytes())[1] | {"sha256": 0} == opened(file)[1] | {"sha256": 0}
        assert safetensors.load(again.read_bytes()).keys() == safetensors.load(file).keys()


# ------------------------------------------------------------------------- models that do not fit


def altered(change):
    net = Net()
    change(net)
    return net


OTHERS = {
    "is wider": (lambda: Net(width=5), "table.weight"),
    "is of another kind": (lambda: Net(torch.float64), "parameter float64 .* in the model"),
    "has one more parameter": (
        lambda: altered(lambda net: net.register_parameter("more", tnn.Parameter(torch.ones(2)))),
        r"more is missing in .* and parameter float32 \[2\] in the model"),
    "has one more buffer": (
        lambda: altered(lambda net: net.register_buffer("more", torch.ones(2))), "more is missing in"),
    "has one parameter less": (
        lambda: altered(lambda net: net.conv.register_parameter("bias", None)),
        "conv.bias is parameter .* and missing"),
    "has untied weights": (
        lambda: altered(lambda net: setattr(net.head, "weight", tnn.Parameter(torch.ones(8, 4)))),
        r"head.weight is = table.weight in .* and parameter float32 \[8, 4\] in the model"),
    "has untied fixed parameters": (
        lambda: altered(lambda net: setattr(net, "other", tnn.Parameter(torch.ones(3)))),
        "other is = one in"),
    "has an attribute called as the bank": (
        lambda: altered(lambda net: setattr(net, "shared_bank", 3)), "the model has no room for shared_bank"),
    "is a residual network": (lambda: resnet20(widths=(1, 1, 1)), "missing in the model"),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_a_model_is_refused_and_left_alone_if_it(case, scratch, written):
    build, match = OTHERS[case]
    refused_bytes(scratch, written, build(), match=match)


class Strange(torch.Tensor):
    pass


class Keeping(tnn.Linear):
    def get_extra_state(self):
        return {"a": 1}


class Sealed(tnn.Linear):
    def __init_subclass__(cls, *, key, **rest):
        super().__init_subclass__(**rest)


def final(net):
    weight = net.head.weight
    net.head = Sealed(4, 8, bias=False)
    net.head.weight = weight


def compiled(net):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and there
        net.conv = torch.jit.script(net.conv)


UNUSUAL = {
    "an expanded parameter": (
        lambda net: setattr(net.conv, "bias", tnn.Parameter(torch.ones(1).expand(4))),
        "conv.bias is a Parameter .* memory for each element", KindError),
    "a tensor of a class of its own": (
        lambda net: setattr(net.norm, "running_mean", torch.zeros(4).as_subclass(Strange)),
        "running_mean is a Strange", KindError),
    "the meta device": (
        lambda net: net.norm.to("meta"), r"norm.weight is a Parameter \(torch.strided, on meta\)", KindError),
    "a sparse buffer": (
        lambda net: net.register_buffer("more", torch.zeros(1).to_sparse()),
        r"more is a Tensor \(torch.sparse_coo, on cpu\)", KindError),
    "extra state": (
        lambda net: setattr(net, "more", Keeping(1, 1)),
        "more has extra state, which only pickle could store", ArgumentError),
    "a compiled part": (compiled, "RecursiveScriptModule cannot be shared: it is compiled", KindError),
    "a class that takes no subclass": (final, "Sealed cannot be shared", KindError),
}  # fmt: skip


@pytest.mark.parametrize("case", UNUSUAL)
def test_nothing_is_half_loaded_into_a_model_with(case, scratch, written):
    change, match, error = UNUSUAL[case]
    net = altered(change)
    scratch.write_bytes(written)
    before, one = shape_of(net), content(net.one)
    with pytest.raises(error, match=f"load: .*{match}"):
        nn.load(scratch, net)
    assert same(shape_of(net), before)
    assert content(net.one) == one


@pytest.mark.parametrize("what", [3, None, "resnet20", lambda: 3, dict])
def test_what_builds_no_model_is_refused(what, scratch, written):
    scratch.write_bytes(written)
    with pytest.raises(KindError, match="load: (int|NoneType|str|dict) came; a model is needed"):
        nn.load(scratch, what)


# ---------------------------------------------------------------- models that cannot be saved


@pytest.mark.parametrize("case", list(UNUSUAL)[:5])
def test_what_could_not_be_loaded_is_not_saved(case, tmp_path):
    change, match, error = UNUSUAL[case]
    net = shared()
    change(net)
    with pytest.raises(error, match=f"save: .*{match}"):
        nn.save(net, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_numbers_that_safetensors_cannot_hold_are_not_saved(tmp_path):
    net = shared()
    net.register_buffer("more", torch.zeros(2, dtype=torch.complex128))
    with pytest.raises(KindError, match="save: safetensors cannot store torch.complex128"):
        nn.save(net, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_models_that_are_not_shared_or_not_whole_are_not_saved(model, tmp_path):
    path = tmp_path / "model"
    with pytest.raises(KindError, match="save: int came; a model is needed"):
        nn.save(3, path)
    with pytest.raises(ArgumentError, match="save: nothing in this model is shared"):
        nn.save(Net(), path)
    with pytest.raises(ArgumentError, match="the bank shared_bank is not a parameter of this model"):
        nn.save(model.head, path)
    cut = shared(overrides={})
    cut.conv = tnn.Conv1d(4, 4, 1)
    with pytest.raises(ArgumentError, match="no module reads the 48 weights of shared_bank from position 32"):
        nn.save(cut, path)
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written_are_named(model, tmp_path):
    absent = tmp_path / "absent" / "model"
    with pytest.raises(
        DataError, match=r"save: .*absent/model cannot be written \(the folder .* does not exist"
    ):
        nn.save(model, absent)
    with pytest.raises(DataError, match="save: .*absent/model cannot be written"):
        nn.save(model, f"{absent}/")


@pytest.mark.parametrize("folder", [False, True])
def test_a_save_that_fails_leaves_a_checkpoint(folder, model, tmp_path, monkeypatch):
    place, old = f"{tmp_path}/model{'/' * folder}", trained(seed=6)
    nn.save(old, place)

    def fail(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(DataError, match=r"save: .* cannot be written \(No space left on device\)"):
        nn.save(model, place)
    assert bits(nn.load(place, Net)) == bits(old)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1  # nothing temporary is left


KILLED = """
import os, signal, sys
from pathlib import Path
import torch.nn as tnn
import nn

old, new = (nn.share(tnn.Linear(32, 32), 1, scaler="none", seed=seed) for seed in range(2))

def die_in(call, step):
    do, paths = getattr(Path, call), []
    def dying(path, *given):
        paths.append(path)
        if len(paths) == step:
            if call == "write_bytes":
                do(path, given[0][:100])
            os.kill(os.getpid(), signal.SIGKILL)
        return do(path, *given)
    setattr(Path, call, dying)

for place in sys.argv[1:]:
    nn.save(old, place)
    call, step = Path(place).name.split("-")
    if os.fork() == 0:
        die_in(call, int(step))
        nn.save(new, place)
        os._exit(0)
    assert os.wait()[1] == signal.SIGKILL
"""
LEFT = {
    "write_bytes-1": 0, "replace-1": 0,
    "folder/write_bytes-1/": 0, "folder/replace-1/": 0, "folder/write_bytes-2/": 1, "folder/replace-2/": 1,
}  # fmt: skip


def test_a_process_killed_while_saving_leaves_the_old_checkpoint_or_the_new_one(tmp_path):
    (tmp_path / "folder").mkdir()
    subprocess.run([sys.executable, "-c", KILLED, *(f"{tmp_path}/{place}" for place in LEFT)], check=True)
    for place, seed in LEFT.items():
        expected = nn.share(tnn.Linear(32, 32), 1, scaler="none", seed=seed)
        assert torch.equal(
            nn.load(f"{tmp_path}/{place}", tnn.Linear(32, 32)).shared_bank, expected.shared_bank
        )


# ---------------------------------------------------------------------------- the first file ever


GOLDEN_TABLE = [
    [-4.0, -6.0, -8.0, -10.0],
    [12.0, -14.0, 16.0, -2.0],
    [-4.0, -6.0, -8.0, -10.0],
    [-12.0, -14.0, -16.0, 2.0],
    [14.0, 16.0, 2.0, -4.0],
    [-6.0, 8.0, 10.0, -12.0],
]
GOLDEN_LINE = [
    [-2.0, -0.5, 1.0, -1.5],
    [1.0, 1.5, -2.0, -0.5],
    [-2.0, -0.5, 1.0, 1.5],
    [-1.0, -1.5, -2.0, -0.5],
]


class First(tnn.Module):
    """The model of the golden file."""

    def __init__(self):
        super().__init__()
        self.table = tnn.Embedding(6, 4)
        self.line = tnn.Linear(4, 4)
        self.norm = tnn.BatchNorm1d(4)
        self.head = tnn.Linear(4, 6, bias=False)
        self.head.weight = self.table.weight


def first():
    """The golden file's content: phi = 1, 2, 3 …, lambda a power of two, scaler none."""
    model = First()
    for parameter, power in ((model.table.weight, 2.0), (model.line.weight, 0.5)):
        with torch.no_grad():
            parameter.copy_(
                torch.tensor([power, -power]).repeat(parameter.numel() // 2).view(parameter.shape)
            )
    options = {"line": {"mapping": "chunk", "compression": 4}}
    model = nn.share(model, 3, include="*", exclude="line.bias", scaler="none", seed=11, overrides=options)
    with torch.no_grad():
        for tensor in (model.shared_bank, model.shared_bank_1, model.line.bias, model.norm.running_mean):
            tensor.copy_(torch.arange(1, len(tensor) + 1))
        model.norm.num_batches_tracked.fill_(3)
    return model


def test_the_first_checkpoint_loads_for_ever():
    model = nn.load(GOLDEN, First)
    assert model.table.weight.tolist() == GOLDEN_TABLE
    assert model.line.weight.tolist() == GOLDEN_LINE
    assert model.head.weight.tolist() == GOLDEN_TABLE
    assert model.line.bias.tolist() == model.norm.running_mean.tolist() == [1, 2, 3, 4]
    assert model.norm.num_batches_tracked == 3
    assert [type(b.mapping).__name__ for b in banks_of(model)] == ["Fold", "Chunk"]
    assert bits(model) == bits(first())


def test_the_first_checkpoint_is_the_one_that_was_written():
    assert hashlib.sha256(GOLDEN.read_bytes()).hexdigest() == GOLDEN_DIGEST
