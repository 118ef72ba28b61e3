"""What is saved comes back bit for bit, and what is not a checkpoint of this model changes nothing."""

import copy
import hashlib
import json
import os
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
from nn.layers import views_of
from nn.models import resnet20, vgg11
from nn.sharing import banks_of
from rpstheory import Fold
from rpstheory.errors import ArgumentError, DataError, KindError, RpsError

GOLDEN = Path(__file__).with_name("data") / "golden-1.safetensors"
FORMAT = "rps-checkpoint"
KEPT = frozenset({"sha256", "package"})
ZEROS = "0" * 64
GOLDEN_DIGEST = "b5819d9ba8254f119ba4b1ad866f7bf61c94d677b056e921b2ecf2599e913b6a"
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
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers()), "": torch.zeros(1)}
    views = {
        f"{prefix}.{local}": view.read()
        for prefix, module in model.named_modules()
        for local, view in views_of(module).items()
    }
    return {name: content(tensor) for name, tensor in (tensors | views).items()}


def everything(model):
    """What must not change when a file is refused: values, objects, classes, views."""
    return bits(model), [
        (name, type(module), [*map(id, module._parameters.values())], list(module._parameters), *views)
        for name, module in model.named_modules()
        for views in [[(local, id(view)) for local, view in views_of(module).items()]]
    ]


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


def refused(scratch, data, target, error=DataError, match=None, before=None):
    """The file is refused with one sentence, and the model is as it was."""
    before = before or everything(target)
    scratch.write_bytes(data)
    with pytest.raises(error, match=match) as caught:
        nn.load(scratch, target)
    assert isinstance(caught.value, RpsError)
    assert str(caught.value).startswith("load: ")
    assert "\n" not in str(caught.value)
    assert everything(target) == before
    return str(caught.value)


# ------------------------------------------------------------------------------- there and back


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("folder", [False, True])
def test_every_bit_comes_back_in_every_kind_of_number(dtype, folder, tmp_path):
    model = trained(dtype)
    place = f"{tmp_path}/model{'/' * folder}"
    nn.save(model, place)
    loaded = nn.load(place, lambda: Net(dtype))
    assert bits(loaded) == bits(model)
    assert Path(place).is_dir() == folder


@pytest.mark.parametrize("mapping", ["fold", "hashed", "chunk", "block"])
@pytest.mark.parametrize("scaler", ["gamma", "v1", "none"])
def test_every_mapping_and_scaler_comes_back(mapping, scaler, tmp_path):
    options = {
        "mapping": mapping,
        "scaler": scaler,
        "init_std": 0.3,
        "overrides": {"conv": {"compression": 5}},
    }
    model = shared(seed=2**64 - 1, **options)
    nn.save(model, tmp_path / "model")
    loaded = nn.load(tmp_path / "model", Net)
    assert bits(loaded) == bits(model)
    for one, other in zip(banks_of(model), banks_of(loaded), strict=True):
        assert (one.name, one.mapping, one.scaler, one.spans) == (
            other.name, other.mapping, other.scaler, other.spans)  # fmt: skip
        assert torch.equal(one.roots(), other.roots())


def test_what_is_loaded_trains_as_what_was_saved(tmp_path):
    model = shared(torch.float64)
    nn.save(model, tmp_path / "model")
    index = torch.arange(8).reshape(2, 4)
    for each in (model, nn.load(tmp_path / "model", lambda: Net(torch.float64))):
        each(index).square().sum().backward()
    twin = nn.load(tmp_path / "model", lambda: Net(torch.float64))
    twin(index).square().sum().backward()
    assert torch.equal(twin.shared_bank.grad, model.shared_bank.grad)
    assert torch.equal(twin.shared_bank_1.grad, model.shared_bank_1.grad)


def test_saving_again_gives_the_same_bytes(model, written, tmp_path):
    (tmp_path / "one").write_bytes(written)
    nn.save(nn.load(tmp_path / "one", Net), tmp_path / "two")
    nn.save(model, tmp_path / "three")
    assert (tmp_path / "two").read_bytes() == (tmp_path / "three").read_bytes() == written


def test_saving_and_loading_leave_what_they_read_alone(model, tmp_path):
    before = everything(model)
    nn.save(model, tmp_path / "model")
    nn.load(tmp_path / "model", Net)
    assert everything(model) == before


def test_tied_parameters_are_stored_once_and_stay_tied(scratch, written):
    scratch.write_bytes(written)
    loaded = nn.load(scratch, Net)
    assert loaded.head.weight.shape == (8, 4)
    assert views_of(loaded.head)["weight"] is views_of(loaded.table)["weight"]
    assert loaded.one is loaded.other
    assert loaded.step is loaded.twice
    with safe_open(scratch, "pt") as file:
        assert sorted(file.keys()) == sorted(
            "shared_bank shared_bank_1 one conv.bias norm.weight norm.bias norm.running_mean "
            "norm.running_var norm.num_batches_tracked step empty mask".split()
        )


def test_the_model_that_comes_is_the_one_that_is_returned(scratch, written, model):
    scratch.write_bytes(written)
    net = Net()
    one = net.one
    assert nn.load(scratch, net) is net
    assert net.one is one  # an optimizer may hold it
    assert bits(net) == bits(model)


def test_a_model_shared_by_the_same_plan_takes_lambda_too_and_keeps_its_bank(scratch, written, model):
    scratch.write_bytes(written)
    torch.manual_seed(9)
    net = shared()
    assert [b.spans for b in banks_of(net)] != [b.spans for b in banks_of(model)]
    bank = net.shared_bank
    nn.load(scratch, net)
    assert net.shared_bank is bank
    assert bits(net) == bits(model)
    assert [b.spans for b in banks_of(net)] == [b.spans for b in banks_of(model)]
    assert views_of(net.head)["weight"] is views_of(net.table)["weight"]


@pytest.mark.parametrize("change", [{"seed": 6}, {"scaler": "v1"}, {"mapping": "chunk"}, {"overrides": {}}])
def test_a_model_shared_by_another_plan_is_refused(scratch, written, change):
    refused(scratch, written, shared(**change), match="shared by another plan than this model")


def test_a_part_that_is_shared_is_saved_with_the_whole(tmp_path):
    whole = tnn.Sequential(tnn.Linear(4, 4), shared(), tnn.Linear(2, 2))
    nn.save(whole, tmp_path / "model")
    plain = tnn.Sequential(tnn.Linear(4, 4), Net(), tnn.Linear(2, 2))
    assert bits(nn.load(tmp_path / "model", plain)) == bits(whole)
    assert [name for name, _ in plain.named_parameters()] == [name for name, _ in whole.named_parameters()]


def test_layouts_of_the_model_stay(tmp_path):
    def build():
        return tnn.Sequential(tnn.Conv2d(4, 4, 3), tnn.Conv2d(4, 4, 3)).to(memory_format=torch.channels_last)

    model = nn.share(build(), 2, include="0.weight", exclude="1.weight")
    nn.save(model, tmp_path / "model")
    loaded = nn.load(tmp_path / "model", build)
    assert bits(loaded) == bits(model)
    assert loaded[1].weight.is_contiguous(memory_format=torch.channels_last)


def test_recurrent_networks_come_back(tmp_path):
    def build():
        return tnn.GRU(8, 8, 2, bidirectional=True)

    model = nn.share(build(), 3, include="*")
    nn.save(model, tmp_path / "model")
    x = torch.randn(3, 2, 8)
    assert torch.equal(nn.load(tmp_path / "model", build)(x)[0], model(x)[0])


def test_a_hundredth_of_vgg11_takes_less_than_a_file_of_600_kb(tmp_path):
    model = nn.share(vgg11(), 100)
    nn.save(model, tmp_path / "model")
    resident = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    resident += sum(bank.table_bytes for bank in banks_of(model))
    assert (tmp_path / "model").stat().st_size <= 600_000
    assert resident <= 600_000


def test_a_residual_network_comes_back(tmp_path):
    model = nn.share(resnet20(), 100, include="*")
    nn.save(model, tmp_path / "model")
    assert bits(nn.load(tmp_path / "model", resnet20)) == bits(model)


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
    model = shared(mapping=Backwards)
    nn.save(model, tmp_path / "model")
    assert bits(nn.load(tmp_path / "model", Net, mapping=Backwards)) == bits(model)
    net = shared(mapping=Backwards)
    assert bits(nn.load(tmp_path / "model", net, mapping=Backwards)) == bits(model)
    data, net = (tmp_path / "model").read_bytes(), Net()
    refused(tmp_path / "other", data, net, ArgumentError, "Backwards, which is not one of rpstheory's; pass")
    before = everything(net)
    for other in (
        Fold,
        lambda n, m, seed: Backwards(n, m, seed + 1),
        lambda n, m, seed: Backwards(n + 1, m, 0),
    ):
        with pytest.raises(ArgumentError, match="mapping= makes another mapping than"):
            nn.load(tmp_path / "model", net, mapping=other)
        assert everything(net) == before


def test_a_mapping_that_is_not_needed_or_cannot_be_made_again_is_refused(scratch, written, tmp_path):
    scratch.write_bytes(written)
    with pytest.raises(ArgumentError, match="load: mapping came, and .* needs none; leave it out"):
        nn.load(scratch, Net, mapping=Fold)
    with pytest.raises(KindError, match="save: the mapping Nameless of shared_bank has seed=None"):
        nn.save(shared(mapping=Nameless), tmp_path / "model")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------ files that are refused


def test_a_file_cut_off_anywhere_is_refused(scratch, written, target):
    before = everything(target)
    for size in range(len(written)):
        refused(scratch, written[:size], target, before=before)
    refused(scratch, written[:-1], target, match="is cut off or was changed")


def test_a_file_that_goes_on_is_refused(scratch, written, target):
    for more in (b"\0", b" ", written):
        refused(scratch, written + more, target, match="is cut off or was changed")


def test_a_flip_of_any_byte_is_refused(scratch, written, target):
    before = everything(target)
    for at in range(len(written)):
        data = bytearray(written)
        data[at] ^= 1 << at % 8
        refused(scratch, bytes(data), target, before=before)


@settings(max_examples=300, derandomize=True)
@given(st.data())
def test_any_edit_of_the_bytes_is_refused(scratch, written, target, data):
    at = data.draw(st.integers(0, len(written)))
    gone = data.draw(st.integers(0, min(20, len(written) - at)))
    new = data.draw(st.binary(max_size=20))
    edited = written[:at] + new + written[at + gone :]
    if edited != written:
        refused(scratch, edited, target)


def test_a_folder_whose_files_do_not_belong_together_is_refused(model, tmp_path):
    nn.save(model, f"{tmp_path}/one/")
    nn.save(trained(seed=6), f"{tmp_path}/two/")
    net = Net()
    before = everything(net)
    for at, name in enumerate(("model.json", "model.safetensors")):
        kept = (tmp_path / "one" / name).read_bytes()
        for bad in ((tmp_path / "two" / name).read_bytes(), kept[:-1], kept + b" ", b"\xff" * (at + 1), b""):
            (tmp_path / "one" / name).write_bytes(bad)
            with pytest.raises(DataError, match=r"is cut off or was changed|is no checkpoint"):
                nn.load(tmp_path / "one", net)
        (tmp_path / "one" / name).unlink()
        with pytest.raises(DataError, match=f"cannot be read .*{name}"):
            nn.load(tmp_path / "one", net)
        (tmp_path / "one" / name).write_bytes(kept)
    assert everything(net) == before
    nn.load(tmp_path / "one", net)


def test_what_is_no_checkpoint_is_refused(scratch, target, tmp_path):
    deep = b"[" * 100_000
    for data in (
        b"",
        b"hello",
        b"\0" * 100,
        b"\xff" * 100,
        safetensors.save({"weight": torch.ones(3)}),
        safetensors.save({"weight": torch.ones(3)}, {"format": "pt"}),
        safetensors.save({"weight": torch.ones(3)}, {FORMAT: "{}"}),
        safetensors.save({"weight": torch.ones(3)}, {FORMAT: "[" * 100_000}),
        len(deep).to_bytes(8, "little") + deep,
        (2**63).to_bytes(8, "little") + b"{}",
        (2**24 + 1).to_bytes(8, "little") + b" " * (2**24 + 1),
    ):
        refused(scratch, data, target, match="is no checkpoint")
    with pytest.raises(DataError, match="absent cannot be read"):
        nn.load(tmp_path / "absent", target)


# ------------------------------------------------- files that are sealed, and false all the same


def opened(data):
    """(header without description, description, tensors' bytes) of a file."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    return header, json.loads(header.pop("__metadata__")[FORMAT]), data[8 + size :]


def forged(header, description, tensors, text=None):
    """A file with a seal that is right, made by hand from the description of the format."""
    if text is None:
        text = json.dumps(description | {"sha256": ZEROS}, indent=1)
    head = json.dumps({"__metadata__": {FORMAT: text}} | header).encode()
    blank = len(head).to_bytes(8, "little") + head + tensors
    assert blank.count(ZEROS.encode()) >= 1
    return blank.replace(ZEROS.encode(), hashlib.sha256(blank).hexdigest().encode(), 1)


def test_the_seal_is_the_digest_of_the_file_with_the_seal_blanked(scratch, written, model):
    scratch.write_bytes(forged(*opened(written)))
    assert bits(nn.load(scratch, Net)) == bits(model)


def described(data):
    _, description, _ = opened(data)
    return {name: value for name, value in description.items() if name not in KEPT}


def paths(tree, at=()):
    yield at
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inside:
        yield from paths(value, (*at, key))


def put(tree, path, value):
    if not path:
        return value
    tree = copy.deepcopy(tree)
    inner = tree
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return tree


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 9)
    | st.sampled_from([2**31, 2**63, 2**64, 10**30, 1.5, "", "x"])
)
odd = scalars | st.floats() | st.sampled_from(
    ["nan", "inf", "-0x1p+0", "0x0.0p+0", "0x1p+9999", "Fold", "Top", "KeepExact", "KeepBernoulli", "Chunk",
     "shared_bank", "one", "one.__class__", "v1", "none", "F64", "I32", "BF16", "F4"]
)  # fmt: skip
odd |= st.lists(scalars, max_size=3)
odd |= st.dictionaries(st.sampled_from(["n", "m", "seed", "mapping", "x"]), scalars)


@settings(max_examples=400, derandomize=True)
@given(st.data())
def test_a_false_description_is_refused_or_is_what_was_loaded(
    scratch, written, target, tmp_path_factory, data
):
    header, description, tensors = opened(written)
    whole = {"header": header, "description": description}
    at = data.draw(st.sampled_from([path for path in paths(whole) if len(path) > 1]))
    whole = put(whole, at, data.draw(odd))
    try:
        file = forged(whole["header"], whole["description"], tensors)
    except (TypeError, AssertionError):
        return  # nothing that could be sealed
    before = everything(target)
    scratch.write_bytes(file)
    try:
        loaded = nn.load(scratch, copy.deepcopy(target))
    except RpsError:
        refused(scratch, file, target, RpsError)
    else:
        again = tmp_path_factory.getbasetemp() / "again"
        nn.save(loaded, again)
        assert described(again.read_bytes()) == described(file)
        assert safetensors.load(again.read_bytes()).keys() == safetensors.load(file).keys()
    assert everything(target) == before


def weight(description, **change):
    description["banks"][0]["weights"][0].update(change)


def bank(description, **change):
    description["banks"][0].update(change)


FALSE = {
    "lambda is nan": (lambda d: weight(d, scale="nan"), "has lambda 'nan'"),
    "lambda is infinite": (lambda d: weight(d, scale="inf"), "has lambda 'inf'"),
    "lambda is negative": (lambda d: weight(d, scale="-0x1.0000000000000p+0"), "has lambda"),
    "lambda overflows": (lambda d: weight(d, scale="0x1p+99999"), "contradicts itself"),
    "lambda is written otherwise": (lambda d: weight(d, scale="0x1p+0"), "has lambda"),
    "a size is negative": (lambda d: weight(d, shape=[-8, -4]), "no such shape"),
    "a size is huge": (lambda d: weight(d, shape=[2**62, 2**62]), "no such shape|is a parameter of shape"),
    "a position is shifted": (lambda d: weight(d, first=1), "no such shape or position"),
    "a name comes twice": (lambda d: weight(d, names=["table.weight", "table.weight"]), "comes twice"),
    "a name of two things": (lambda d: weight(d, names=["table.weight", "one"]), "comes twice"),
    "a name is empty": (lambda d: weight(d, names=[]), "a name is missing"),
    "a name is a number": (lambda d: weight(d, names=[3]), "a name is missing"),
    "weights are untied": (lambda d: weight(d, names=["table.weight"]), "and missing in the model"),
    "a weight that is not there": (lambda d: weight(d, names=["absent"]), "absent is a parameter of shape"),
    "the scaler is unknown": (lambda d: bank(d, scaler="v9"), "unknown scaler"),
    "the mapping is no object": (lambda d: bank(d, mapping="Fold"), "unknown scaler or mapping"),
    "the mapping is of an unknown class": (
        lambda d: d["banks"][0]["mapping"].update(mapping="os.system"), "describes no mapping of"),
    "the mapping drops weights": (
        lambda d: d["banks"][0]["mapping"].update(mapping="KeepExact"), "describes no mapping of"),
    "the mapping has other sizes": (
        lambda d: d["banks"][0]["mapping"].update(n=33), "describes no mapping of"),
    "the mapping has more cells": (
        lambda d: d["banks"][0]["mapping"].update(m=2**50), "describes no mapping of"),
    "the mapping has another seed": (
        lambda d: d["banks"][0]["mapping"].update(seed=6), "other cells and signs"),
    "the mapping is written otherwise": (
        lambda d: d["banks"][0]["mapping"].update(seed=True), "describes no mapping"),
    "the bank is called otherwise": (lambda d: bank(d, name="forward"), "its tensors are not those"),
    "a bank is missing": (lambda d: d["banks"].pop(), "its tensors are not those"),
    "a buffer is missing": (lambda d: d["buffers"].pop(), "its tensors are not those"),
    "a parameter is called a buffer": (
        lambda d: d["buffers"].append(d["fixed"].pop()), "is a buffer of shape .* and a parameter of shape"),
    "there is something more": (lambda d: d.update(more=1), "contradicts itself"),
    "the format is another": (lambda d: d.update(format="zip"), "contradicts itself"),
    "the version is no number": (lambda d: d.update(version=True), "contradicts itself"),
    "the version is newer": (lambda d: d.update(version=2), "has version 2 of the format"),
}  # fmt: skip


@pytest.mark.parametrize("case", FALSE)
def test_a_sealed_file_is_refused_when(case, scratch, written, target):
    change, match = FALSE[case]
    header, description, tensors = opened(written)
    change(description)
    refused(scratch, forged(header, description, tensors), target, match=match)


def test_a_bank_under_another_name_is_refused(scratch, written, target):
    header, description, tensors = opened(written)
    for name in ("forward", "_views", "table.shared_bank_0", "shared_bank_01", ""):
        bank(description, name=name)
        renamed = {name if key == "shared_bank" else key: value for key, value in header.items()}
        refused(
            scratch, forged(renamed, description, tensors), target, match="is no name of a bank|a name is"
        )
    bank(description, name="table.shared_bank")  # a bank may live there
    moved = {"table.shared_bank" if key == "shared_bank" else key: value for key, value in header.items()}
    scratch.write_bytes(forged(moved, description, tensors))
    assert nn.load(scratch, Net()).table.shared_bank.shape == (16,)
    bank(description, name="absent.shared_bank")
    lost = {"absent.shared_bank" if key == "shared_bank" else key: value for key, value in header.items()}
    refused(scratch, forged(lost, description, tensors), target, match="the model has no room for absent")


def test_tensors_that_change_places_are_refused(scratch, written, target):
    header, description, tensors = opened(written)
    (a, b), (c, d) = (header[name]["data_offsets"] for name in ("shared_bank", "shared_bank_1"))
    assert b - a == d - c
    moved = bytearray(tensors)
    moved[a:b], moved[c:d] = tensors[c:d], tensors[a:b]
    refused(scratch, written[: -len(tensors)] + moved, target, match="was changed after it was saved")
    for one, other in (("one", "shared_bank"), ("one", "step"), ("norm.weight", "norm.num_batches_tracked")):
        swapped = header | {one: header[other], other: header[one]}
        refused(scratch, forged(swapped, description, tensors), target)


@pytest.mark.parametrize("depth", [20, 200, 400, 800, 5000])
def test_json_that_is_too_deep_is_refused(depth, scratch, written, target):
    header, description, tensors = opened(written)
    description["banks"][0]["mapping"]["chunk"] = "DEEP"
    text = json.dumps(description | {"sha256": ZEROS}, indent=1).replace('"DEEP"', "[" * depth + "]" * depth)
    refused(scratch, forged(header, description, tensors, text), target)
    nested = []
    for _ in range(min(depth, 200)):
        nested = [nested]
    description["banks"][0]["mapping"]["chunk"] = nested
    refused(scratch, forged(header, description, tensors), target)


OFFSETS = {
    "beyond the end": {"data_offsets": [10**6, 10**6 + 64]},
    "backwards": {"data_offsets": [64, 0]},
    "negative": {"data_offsets": [-64, 0]},
    "too few": {"data_offsets": [0, 4]},
    "overlapping": {"data_offsets": [4, 68]},
    "an unknown kind": {"dtype": "F4", "shape": [128]},
    "another kind": {"dtype": "I32"},
    "negative sizes": {"shape": [-4, -4]},
    "sizes that overflow": {"shape": [2**33, 2**33]},
    "another shape": {"shape": [4, 4]},
    "more cells than bytes": {"shape": [2**40]},
}


@pytest.mark.parametrize("case", OFFSETS)
def test_a_sealed_file_with_false_tensors_is_refused(case, scratch, written, target):
    header, description, tensors = opened(written)
    header["shared_bank"] |= OFFSETS[case]
    refused(scratch, forged(header, description, tensors), target, match="contradicts itself")


def test_names_that_come_twice_in_the_json_are_refused(scratch, written, target):
    header, description, tensors = opened(written)
    text = json.dumps(description | {"sha256": ZEROS}, indent=1)
    again = text[:-2] + ',\n "buffers": []\n}'
    refused(scratch, forged(header, description, tensors, again), target, match="is no checkpoint")
    file = forged(header, description, tensors)
    head = file[8 : 8 + int.from_bytes(file[:8], "little")]
    twice = head[:-1] + b', "one": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}'
    refused(scratch, len(twice).to_bytes(8, "little") + twice + tensors, target, match="is no checkpoint")


def test_a_bank_larger_than_its_weights_is_refused(scratch, written, target):
    header, description, tensors = opened(written)
    size = len(tensors)
    header["shared_bank"] = {"dtype": "F32", "shape": [33], "data_offsets": [size, size + 132]}
    refused(scratch, forged(header, description, tensors + b"\0" * 132), target)


# ------------------------------------------------------------------------- models that do not fit


def altered(change):
    net = Net()
    change(net)
    return net


OTHERS = {
    "is wider": (lambda: Net(width=5), "table.weight"),
    "is of another kind": (lambda: Net(torch.float64), "float64 in the model"),
    "has one more parameter": (
        lambda: altered(lambda net: net.register_parameter("more", tnn.Parameter(torch.ones(2)))),
        r"more is missing in .* and a parameter of shape \(2,\) and float32 in the model"),
    "has one more buffer": (
        lambda: altered(lambda net: net.register_buffer("more", torch.ones(2))), "more is missing in"),
    "has one parameter less": (
        lambda: altered(lambda net: net.conv.register_parameter("bias", None)), "conv.bias is a parameter"),
    "has untied weights": (
        lambda: altered(lambda net: setattr(net.head, "weight", tnn.Parameter(torch.ones(8, 4)))),
        "table.weight = head.weight is a parameter"),
    "has untied fixed parameters": (
        lambda: altered(lambda net: setattr(net, "other", tnn.Parameter(torch.ones(3)))), "one = other is a"),
    "has an attribute called as the bank": (
        lambda: altered(lambda net: setattr(net, "shared_bank", 3)), "the model has no room for shared_bank"),
    "is a residual network": (lambda: resnet20(widths=(1, 1, 1)), "missing in the model"),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_a_model_is_refused_and_left_alone_if_it(case, scratch, written):
    build, match = OTHERS[case]
    refused(scratch, written, build(), match=match)


def expanded(net):
    net.conv.bias = tnn.Parameter(torch.ones(1).expand(4))


class Plain(torch.Tensor):
    pass


def strange(net):
    net.norm.running_mean = torch.zeros(4).as_subclass(Plain)


def made_for_inference(net):
    with torch.inference_mode():
        net.norm.running_mean = torch.zeros(4)


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
    "an expanded parameter": (expanded, "conv.bias is expanded and cannot be written to", KindError),
    "a tensor of a class of its own": (strange, r"running_mean is no ordinary tensor \(Plain\)", KindError),
    "a tensor made for inference": (made_for_inference, "running_mean is made in inference mode", KindError),
    "the meta device": (
        lambda net: net.norm.to("meta"), r"weight is no ordinary tensor \(on the meta device\)", KindError),
    "a compiled part": (compiled, "RecursiveScriptModule cannot be shared: it is compiled", KindError),
    "extra state": (
        lambda net: setattr(net, "more", Keeping(1, 1)), "more has extra state", ArgumentError),
    "a class that takes no subclass": (final, "Sealed cannot be shared", KindError),
}  # fmt: skip


@pytest.mark.parametrize("case", UNUSUAL)
def test_nothing_is_half_loaded_into_a_model_with(case, scratch, written):
    change, match, error = UNUSUAL[case]
    net = Net()
    change(net)
    scratch.write_bytes(written)
    kinds = [type(module) for module in net.modules()]
    names = [name for name, _ in net.named_parameters()]
    one = content(net.one)
    with pytest.raises(error, match=match):
        nn.load(scratch, net)
    assert [type(module) for module in net.modules()] == kinds
    assert [name for name, _ in net.named_parameters()] == names
    assert content(net.one) == one


@pytest.mark.parametrize("what", [3, None, "resnet20", lambda: 3, dict])
def test_what_builds_no_model_is_refused(what, scratch, written):
    scratch.write_bytes(written)
    with pytest.raises(KindError, match="load: (int|NoneType|str|dict) came; a model, or a function"):
        nn.load(scratch, what)


# ---------------------------------------------------------------- models that cannot be saved


def test_models_that_are_not_shared_or_not_whole_are_not_saved(model, tmp_path):
    with pytest.raises(ArgumentError, match="save: nothing in this model is shared"):
        nn.save(Net(), tmp_path / "model")
    with pytest.raises(ArgumentError, match="the bank shared_bank is not a parameter of this model"):
        nn.save(model.head, tmp_path / "model")
    cut = shared()
    cut.conv = tnn.Conv1d(4, 4, 1)
    cut.head = cut.table = tnn.Identity()
    cut.late = shared().conv
    with pytest.raises(ArgumentError, match="the bank shared_bank_1 is not a parameter of this model"):
        nn.save(cut, tmp_path / "model")
    cut = shared(overrides={})
    cut.conv = tnn.Conv1d(4, 4, 1)
    with pytest.raises(
        ArgumentError, match="no module reads the 48 weights of shared_bank from position 32 on"
    ):
        nn.save(cut, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_tensors_that_safetensors_cannot_hold_are_not_saved(tmp_path):
    for buffer, match in (
        (torch.zeros(2, dtype=torch.complex128), "save: safetensors cannot store torch.complex128"),
        (torch.zeros(2, device="meta"), r"save: more is no ordinary tensor \(on the meta device\)"),
        (torch.zeros(2).to_sparse(), r"save: more is no ordinary tensor \(torch.sparse_coo\)"),
    ):
        net = shared()
        net.register_buffer("more", buffer)
        with pytest.raises(KindError, match=match):
            nn.save(net, tmp_path / "model")
    net = shared()
    net.more = Keeping(1, 1)
    with pytest.raises(ArgumentError, match="save: more has extra state, which only pickle could store"):
        nn.save(net, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written_are_named(model, tmp_path):
    with pytest.raises(
        DataError, match=r"save: .*absent/model cannot be written \(the folder .* does not exist"
    ):
        nn.save(model, tmp_path / "absent" / "model")
    with pytest.raises(DataError, match="save: .*absent/model/ cannot be made"):
        nn.save(model, f"{tmp_path}/absent/model/")


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_save_that_fails_leaves_the_old_file(folder, step, model, tmp_path, monkeypatch):
    place = f"{tmp_path}/model{'/' * folder}"
    nn.save(trained(seed=6), place)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def fail(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), fail)
    with pytest.raises(DataError, match=r"save: .* cannot be written \(No space left on device\)"):
        nn.save(model, place)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files


def test_a_file_is_on_the_disk_before_it_takes_the_old_ones_place(model, tmp_path, monkeypatch):
    done, sync, put_in_place = [], os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: (done.append("fsync"), sync(number)))
    monkeypatch.setattr(Path, "replace", lambda *given: (done.append("replace"), put_in_place(*given)))
    nn.save(model, tmp_path / "model")
    assert done == ["fsync", "replace", "fsync"]
    nn.save(model, f"{tmp_path}/folder/")
    assert done[3:] == ["fsync", "fsync", "replace", "fsync", "replace", "fsync"]


# ---------------------------------------------------------------------------- the first file ever


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
