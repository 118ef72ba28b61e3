"""Any model, shared: what is taken, what stays, what it costs, and that everything else goes on working."""

import copy
import io
import json
import pickle
import random
import re
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch
import torch.nn as tnn
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint

import nn
from nn.sharing import banks_of
from rpstheory import Fold, KeepExact
from rpstheory.errors import ArgumentError, DataError, KindError, LawBroken, ShapeError

F64 = torch.float64
KINDS = ("fold", "hashed", "chunk", "block")


class Zoo(tnn.Module):
    """One of everything, with the head tied to the embedding."""

    def __init__(self):
        super().__init__()
        self.table = tnn.Embedding(100, 32, padding_idx=0)
        self.bag = tnn.EmbeddingBag(50, 32)
        self.encoder = tnn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.line = tnn.Conv1d(32, 32, 3, padding=2, dilation=2)
        self.plane = tnn.Conv2d(1, 8, 3, padding=1)
        self.depthwise = tnn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.space = tnn.Conv3d(1, 4, 3, padding=1)
        self.back = tnn.ConvTranspose2d(8, 4, 3, stride=2)
        self.pair = tnn.Bilinear(32, 32, 8)
        self.gru = tnn.GRU(32, 16, num_layers=2, bidirectional=True)
        self.lstm = tnn.LSTM(32, 32, proj_size=8)
        self.norm = tnn.LayerNorm(32)
        self.place = tnn.Parameter(torch.randn(1, 7, 32))
        self.head = tnn.Linear(32, 100, bias=False)
        self.head.weight = self.table.weight

    def forward(self, index):
        x = self.norm(self.encoder(self.table(index) + self.place))
        x = self.line(x.mT).mT
        x, _ = self.gru(x)
        low, _ = self.lstm(x)
        image = self.back(self.depthwise(self.plane(x[:, None])))
        cube = self.space(x[:, None, None])
        both = self.pair(x, self.bag(index % 50)[:, None].expand_as(x).contiguous())
        return self.head(x) + image.mean() + cube.mean() + both.mean() + low.mean()


@pytest.fixture(scope="module")
def index():
    return torch.randint(1, 100, (3, 7), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def zoo():
    torch.manual_seed(0)
    return Zoo().double()


@pytest.mark.parametrize("mapping", KINDS)
def test_every_kind_of_layer_works_and_equals_its_dense_form(zoo, index, mapping):
    shared = nn.share(zoo, 5, mapping=mapping, include="*")
    dense = nn.to_dense(shared)
    out, expected = shared(index), dense(index)
    assert torch.equal(out, expected)
    out.square().sum().backward()
    expected.square().sum().backward()
    total = sum(bank_gradient(bank, dense) for bank in banks_of(shared))
    assert torch.allclose(shared.shared_bank.grad, total, rtol=1e-10, atol=1e-10)


def bank_gradient(bank, dense):
    """The bank's gradient from the dense model's: compress, tensor by tensor."""
    found, seen = torch.zeros_like(bank.phi), set()
    named = dict(dense.named_parameters())
    spans = {span.first: span for span in bank.spans}
    for name, view in views(bank).items():
        if view.first not in seen:
            seen.add(view.first)
            span = spans[view.first]
            found += bank.compress(named[name].grad.reshape(-1), span.first, span.scale)
    return found


def views(bank):
    from nn.layers import views_of

    found = {}
    for prefix, module in bank.owner.named_modules():
        for local, view in views_of(module).items():
            found[f"{prefix}.{local}" if prefix else local] = view
    first = {}
    return {name: view for name, view in found.items() if first.setdefault(view.first, name) == name}


@pytest.mark.parametrize("train", [True, False])
def test_fast_paths_of_attention_read_the_shared_weight(index, train):
    layer = tnn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True).double().train(train)
    shared = nn.share(layer, 3)
    x = torch.randn(2, 5, 32, dtype=F64)
    with torch.set_grad_enabled(train):
        assert torch.allclose(shared(x), nn.to_dense(shared)(x), rtol=1e-12, atol=1e-12)


def test_the_original_is_left_alone_and_inplace_changes_it(zoo):
    before = {name: value.clone() for name, value in zoo.state_dict().items()}
    nn.share(zoo, 10)
    assert all(torch.equal(before[name], value) for name, value in zoo.state_dict().items())
    net = tnn.Sequential(tnn.Linear(64, 64))
    assert nn.share(net, 10, inplace=True) is net
    assert [name for name, _ in net.named_parameters()] == ["shared_bank", "0.bias"]


def test_to_dense_leaves_the_shared_model_alone_and_trains(zoo, index):
    shared = nn.share(zoo, 5)
    dense = nn.to_dense(shared)
    assert not banks_of(dense)
    assert banks_of(shared)
    assert type(dense.gru) is tnn.GRU
    assert sorted(dense.state_dict()) == sorted(zoo.state_dict())
    torch.optim.SGD(dense.parameters(), 0.1).zero_grad()
    dense(index).sum().backward()
    assert all(p.grad is not None for p in dense.parameters())


def test_parameters_come_back_in_their_order(zoo):
    """Optimizers name them by place."""
    whole = nn.share(zoo, 1, include="*")
    order = [name for name, _ in zoo.named_parameters()]
    assert [name for name, _ in nn.to_dense(whole).named_parameters()] == order


@pytest.mark.parametrize("mapping", ["fold", "hashed"])
def test_padding_of_an_embedding_stays_zero(mapping, tmp_path):
    table = tnn.Embedding(40, 32, padding_idx=-1)
    shared = nn.share(table, 8, mapping=mapping)
    index = torch.tensor([[3, 39], [39, 5]])
    for each in (shared, nn.to_dense(shared), copy.deepcopy(shared)):
        assert not each(index)[index == 39].any()
        assert each(index)[index != 39].all()
    assert not shared.weight[39].any()
    shared(index).sum().backward()
    whole = shared.shared_bank.grad.clone()
    shared.zero_grad()
    shared(torch.tensor([3, 5])).sum().backward()
    assert torch.equal(shared.shared_bank.grad, whole)
    nn.save(shared, tmp_path / "table.safetensors")
    assert torch.equal(nn.load(tmp_path / "table.safetensors", table)(index), shared(index))


def test_padding_has_no_part_in_a_projection():
    table = tnn.Embedding(40, 32, padding_idx=2)
    heavy = copy.deepcopy(table)
    with torch.no_grad():
        heavy.weight[2] = 100.0
    one, other = (nn.share(each, 8, init="project") for each in (table, heavy))
    assert torch.equal(one.shared_bank, other.shared_bank)
    importance = torch.linspace(0, 1, table.weight.numel()).view_as(table.weight)
    one, other = (
        nn.share(each, 8, init="project", importance={"weight": importance}) for each in (table, heavy)
    )
    assert torch.equal(one.shared_bank, other.shared_bank)


def test_padding_of_a_tied_table_is_a_row_like_any_other(zoo, index):
    shared = nn.share(zoo, 5)
    assert shared.table(torch.zeros_like(index)).all()
    shared.table(torch.zeros_like(index)).sum().backward()
    assert not shared.shared_bank.grad.any()


def test_tied_weights_stay_tied(zoo):
    shared = nn.share(zoo, 5)
    assert torch.equal(shared.head.weight, shared.table.weight)
    dense = nn.to_dense(shared)
    assert dense.head.weight is dense.table.weight
    assert nn.plan(zoo, 5).weights == sum(p.numel() for p in compressible(zoo))


def compressible(zoo):
    named = {id(p): (name, p) for name, p in zoo.named_parameters()}
    return [
        p for name, p in named.values() if p.numel() >= 1024 and "norm" not in name and "bias" not in name
    ]


# --------------------------------------------------------------------------------- what is taken


def test_small_weights_norms_and_biases_stay_dense():
    net = tnn.Sequential(tnn.Linear(32, 32), tnn.LayerNorm(2048), tnn.Linear(31, 33), tnn.Conv1d(2, 2048, 1))
    plan = nn.plan(net, 2)
    assert [w.name for g in plan.groups for w in g.weights] == ["0.weight", "3.weight"]
    why = {each.name: each.why for each in plan.fixed}
    assert why["2.weight"] == "small"
    assert why["1.weight"] == why["3.bias"] == "norm, bias or bare parameter"


def names(net, **options):
    return [w.name for group in nn.plan(net, 2, **options).groups for w in group.weights]


def test_include_overrides_the_size_and_exclude_wins_over_all():
    net = tnn.Sequential(tnn.Linear(64, 64), tnn.Linear(4, 4), tnn.Linear(4, 4))
    assert names(net) == ["0.weight"]
    assert names(net, include="1") == ["0.weight", "1.weight"]
    assert names(net, include="*") == ["0.weight", "1.weight", "2.weight"]
    assert names(net, include="re:[12]") == ["0.weight", "1.weight", "2.weight"]
    assert names(net, include="*", exclude="1.weight") == ["0.weight", "2.weight"]


def test_any_bare_parameter_is_taken_by_its_name(zoo):
    assert "place" not in names(zoo, include="*")
    assert "place" in names(zoo, include="place")
    shared = nn.share(zoo, 4, include="place")
    assert shared.place.shape == (1, 7, 32)


def test_a_transposed_layer_of_hugging_face_is_recognised():
    class Conv1D(tnn.Module):
        def __init__(self):
            super().__init__()
            self.nf, self.weight, self.bias = (
                64,
                tnn.Parameter(torch.randn(32, 64)),
                tnn.Parameter(torch.zeros(64)),
            )

        def forward(self, x):
            return x @ self.weight + self.bias

    assert names(tnn.Sequential(Conv1D())) == ["0.weight"]


# ------------------------------------------------------------------------------------ the budget


@pytest.mark.parametrize("compression", [1, 1.5, 2, 3.7, 10, 100])
def test_compression_is_weights_over_cells_and_the_load_is_even(compression):
    net = tnn.Sequential(tnn.Linear(70, 70), tnn.Conv2d(16, 32, 3), tnn.Linear(100, 33))
    shared = nn.share(net, compression)
    (bank,) = banks_of(shared)
    assert abs(bank.n / bank.mapping.m - compression) <= compression * compression / bank.n * 1.01
    load = bank.gamma.load
    assert {bank.n // bank.mapping.m, -(-bank.n // bank.mapping.m)} >= set(load.tolist())


def test_whole_compressions_leave_fewer_positions_empty_than_there_are_laps():
    for size in range(33, 60):
        (group,) = nn.plan(tnn.Linear(size, size), 7).groups
        assert group.laps == 7
        assert group.empty < 7


def test_budgets_are_totals_of_the_whole_model():
    net = tnn.Sequential(tnn.Linear(70, 70), tnn.BatchNorm1d(70), tnn.Linear(70, 50))
    plan = nn.plan(net, budget_params=1000)
    assert plan.stored_params == 1000
    shared = nn.share(net, budget_bytes=6000)
    size = sum(t.numel() * t.element_size() for t in [*shared.parameters(), *shared.buffers()])
    assert 6000 - 4 < size <= 6000


def spent(net, what):
    tensors = [*net.parameters(), *net.buffers()]
    return sum(t.numel() if what == "budget_params" else t.nbytes for t in tensors)


@given(
    st.lists(st.tuples(st.integers(32, 48), st.sampled_from((F64, torch.bfloat16))), min_size=2, max_size=6),
    st.sampled_from(("budget_params", "budget_bytes")),
    st.fractions(0, 1),
    st.sampled_from(({}, {"1": {"compression": 2.9}}, {"[1-4]": {"compression": 22}})),
)
def test_no_budget_is_exceeded_whatever_the_kinds_and_however_many_the_banks(sizes, what, share, overrides):
    net = tnn.Sequential(*(tnn.Linear(size, size, bias=False, dtype=kind) for size, kind in sizes))
    options = {"scope": "layer", "overrides": overrides}
    budget = int(share * spent(net, what))
    try:
        shared = nn.share(net, **{what: budget}, **options)
    except ArgumentError as error:  # it says what would do
        budget = int(re.search(r"(?:pass at least|needs only) (\d+)", str(error))[1])
        shared = nn.share(net, **{what: budget}, **options)
    assert spent(shared, what) <= budget


@pytest.mark.parametrize("kinds", [(F64, torch.bfloat16), (torch.bfloat16, F64)])
def test_bytes_of_a_budget_are_those_of_each_kind(kinds):
    net = tnn.Sequential(*(tnn.Linear(64, 64, bias=False, dtype=kind) for kind in kinds))
    shared = nn.share(net, budget_bytes=8192, scope="layer")  # a fifth
    assert spent(shared, "budget_bytes") in range(8192 - 8 - 2, 8192 + 1)


def test_both_ratios_are_printed(zoo):
    report = nn.report(nn.share(zoo, 10))
    assert f"{report.compression:.4g}x of the compressible weights" in report.summary
    assert f"{report.total_compression:.4g}x in total" in report.summary
    assert report.total_compression < report.compression


def test_layers_can_have_banks_of_their_own_and_overrides():
    net = tnn.Sequential(tnn.Linear(64, 64), tnn.Linear(64, 32), tnn.Linear(32, 64))
    by_layer = nn.share(net, 4, scope="layer")
    assert [bank.mapping.m for bank in banks_of(by_layer)] == [1024, 512, 512]
    assert len({bank.mapping.seed for bank in banks_of(by_layer)}) == 3
    mixed = nn.share(net, 8, overrides={"2": {"compression": 2, "mapping": "hashed"}})
    assert [(bank.n, bank.mapping.m) for bank in banks_of(mixed)] == [(6144, 768), (2048, 1024)]
    assert torch.equal(mixed(torch.ones(1, 64)), nn.to_dense(mixed)(torch.ones(1, 64)))


def test_positions_are_those_of_the_whole_model_in_order():
    net = tnn.Sequential(tnn.Linear(64, 64), tnn.Linear(64, 32))
    (bank,) = banks_of(nn.share(net, 4, seed=9))
    assert [(span.first, span.count) for span in bank.spans] == [(0, 4096), (4096, 2048)]
    assert bank.mapping == Fold(6144, 1536, 9)


def test_a_plan_is_made_on_the_meta_device():
    with torch.device("meta"):
        net = tnn.Sequential(tnn.Linear(4096, 4096), tnn.Linear(4096, 4096))
    plan = nn.plan(net, 16)
    assert plan.cells == 2 * 4096 * 4096 // 16
    assert json.loads(plan.to_json())["groups"][0]["m"] == plan.cells


# -------------------------------------------------------------------------------------- init


@pytest.mark.parametrize("mapping", KINDS)
@pytest.mark.parametrize("scaler", ["gamma", "v1", "none"])
def test_layers_keep_their_init_scale(mapping, scaler):
    torch.manual_seed(0)
    net = tnn.Sequential(tnn.Linear(300, 200), tnn.Linear(200, 100))
    with torch.no_grad():
        net[1].weight.mul_(7)
    shared = nn.share(net, 4, mapping=mapping, scaler=scaler, init_std=0.01)
    for before, after in zip(net, shared, strict=True):
        assert after.weight.std().item() == pytest.approx(before.weight.std().item(), rel=0.05)


def test_projection_at_one_x_is_the_model_itself(zoo, index):
    shared = nn.share(zoo, 1, init="project", include="*")
    assert torch.allclose(shared(index), zoo(index), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scaler", ["gamma", "v1", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_projection_is_the_nearest_bank(scaler, weighted):
    torch.manual_seed(3)
    net = tnn.Sequential(tnn.Linear(40, 30, bias=False), tnn.Linear(30, 40, bias=False)).double()
    with torch.no_grad():
        net[1].weight.mul_(3)
    importance = {f"{i}.weight": torch.rand(net[i].weight.shape, dtype=F64) for i in (0, 1)}
    given = importance if weighted else None
    shared = nn.share(net, 4, init="project", scaler=scaler, importance=given, include="*")
    h = {i: importance[f"{i}.weight"] if weighted else torch.ones(()) for i in (0, 1)}
    loss = sum((h[i] * (net[i].weight.detach() - shared[i].weight) ** 2).sum() for i in (0, 1))
    (slope,) = torch.autograd.grad(loss, shared.shared_bank)
    assert slope.abs().max() < 1e-12 * loss.item()


# ---------------------------------------------------------------------------- everything else works


@pytest.fixture
def net():
    torch.manual_seed(1)
    return tnn.Sequential(
        tnn.Conv2d(3, 16, 3),
        tnn.BatchNorm2d(16),
        tnn.ReLU(),
        tnn.Conv2d(16, 16, 3),
        tnn.Flatten(),
        tnn.Linear(256, 10),
    )


@pytest.fixture
def image():
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(2))


def test_copies_and_pickles_have_a_bank_of_their_own(net, image):
    shared = nn.share(net, 10, include="*")
    for twin in (copy.deepcopy(shared), pickle.loads(pickle.dumps(shared))):
        assert torch.equal(twin(image), shared(image))
        with torch.no_grad():
            twin.shared_bank.add_(1)
        assert not torch.equal(twin[0].weight, shared[0].weight)


def test_a_state_dict_loads_into_a_model_shared_alike(net, image):
    one, other = nn.share(net, 10, seed=1), nn.share(net, 10, seed=1)
    with torch.no_grad():
        one.shared_bank.mul_(2)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one[3].weight, other[3].weight)
    assert list(one.state_dict())[0] == "shared_bank"


def test_casting_moves_the_bank(net, image):
    shared = nn.share(net, 10, include="*").eval()
    wide = copy.deepcopy(shared).double()
    assert wide[0].weight.dtype == F64
    assert torch.allclose(wide(image.double()).float(), shared(image), atol=1e-5)
    half = copy.deepcopy(shared).bfloat16()
    assert half[0].weight.dtype == torch.bfloat16
    assert torch.allclose(half[0].weight.float(), shared[0].weight, rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_autocast_trains(net, image, kind):
    shared = nn.share(net, 10, include="*")
    with torch.autocast("cpu", kind):
        out = shared(image)
    assert out.dtype == kind
    out.float().sum().backward()
    assert torch.isfinite(shared.shared_bank.grad).all()


def test_channels_last_gives_the_same(net, image):
    shared = nn.share(net, 10, include="*").eval()
    last = copy.deepcopy(shared).to(memory_format=torch.channels_last)
    assert torch.allclose(last(image.to(memory_format=torch.channels_last)), shared(image), atol=1e-5)


def test_checkpointing_and_accumulation_give_the_same_gradient(net, image):
    shared = nn.share(net, 10, include="*").double().eval()
    x = image.double()
    shared(x).square().sum().backward()
    whole, shared.shared_bank.grad = shared.shared_bank.grad.clone(), None
    checkpoint(shared, x, use_reentrant=False).square().sum().backward()
    assert torch.equal(shared.shared_bank.grad, whole)
    shared.shared_bank.grad = None
    for part in x.split(1):
        shared(part).square().sum().backward()
    assert torch.allclose(shared.shared_bank.grad, whole, rtol=1e-12)


def test_compiles_without_a_break(net, image):
    shared = nn.share(net, 10, include="*").eval()
    compiled = torch.compile(shared, fullgraph=True, backend="aot_eager")
    out = compiled(image)
    assert torch.equal(out, shared(image))
    out.sum().backward()
    assert shared.shared_bank.grad.abs().sum() > 0


def test_exports_with_the_bank_stored_once(net, image):
    shared = nn.share(net, 10, include="*").eval()
    program = torch.export.export(shared, (image,))
    assert torch.equal(program.module()(image), shared(image))
    assert sum(tensor.numel() for tensor in program.state_dict.values()) < 800


def test_moving_averages_of_the_model_work(net, image):
    shared = nn.share(net, 10, include="*")
    average = torch.optim.swa_utils.AveragedModel(shared)
    with torch.no_grad():
        shared.shared_bank.add_(1)
    average.update_parameters(shared)
    assert torch.equal(average.module[0].weight, shared[0].weight)


def test_functional_calls_replace_the_bank(net, image):
    shared = nn.share(net, 10, include="*").eval()
    zero = torch.func.functional_call(shared, {"shared_bank": torch.zeros_like(shared.shared_bank)}, (image,))
    assert torch.equal(zero, shared[5].bias.expand(4, 10))


def test_nothing_is_saved_for_backward_per_weight():
    shared, dense = nn.share(tnn.Linear(512, 512, bias=False), 16), tnn.Linear(512, 512, bias=False)
    x = torch.randn(2, 512)

    def saved(model):
        sizes = {}
        hook = lambda t: sizes.setdefault(t.data_ptr(), t.numel() * t.element_size()) and t  # noqa: E731
        with torch.autograd.graph.saved_tensors_hooks(hook, lambda t: t):
            model(x).sum().backward()
        return sum(sizes.values())

    x.requires_grad_(True)
    assert saved(shared) <= saved(dense) + 64


def test_global_random_state_and_output_are_left_alone(net):
    states = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    told = io.StringIO()
    with redirect_stdout(told):
        for mapping in KINDS:
            nn.report(nn.share(net, 10, mapping=mapping, include="*"))
    assert told.getvalue() == ""
    assert torch.equal(torch.random.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert random.getstate() == states[2]


def test_equal_arguments_give_equal_banks(net):
    assert torch.equal(nn.share(net, 10).shared_bank, nn.share(net, 10).shared_bank)
    assert not torch.equal(nn.share(net, 10).shared_bank, nn.share(net, 10, seed=1).shared_bank)


# ---------------------------------------------------------------------------------- bad input

BAD = [
    (dict(compression=0.5), ArgumentError, "at least 1"),
    (dict(compression=float("nan")), ArgumentError, "at least 1"),
    (dict(compression="10"), KindError, "a number is needed"),
    (dict(), ArgumentError, "exactly one of"),
    (dict(compression=2, budget_params=100), ArgumentError, "exactly one of"),
    (dict(budget_params=10), ArgumentError, "or has overrides, takes"),
    (dict(budget_params=10**9), ArgumentError, "pass at most"),
    (dict(budget_params=1e3), KindError, "whole number"),
    (dict(budget_bytes=10), ArgumentError, "or has overrides, takes"),
    (dict(compression=2, include="conv9"), ArgumentError, "matches no weight"),
    (dict(compression=2, exclude="re:("), ArgumentError, "no expression"),
    (dict(compression=2, exclude="*"), ArgumentError, "nothing is left"),
    (dict(compression=2, include=3), KindError, "pass names"),
    (dict(compression=2, include=[3]), KindError, "pass names"),
    (dict(compression=2, mapping="fould"), ArgumentError, "fold, hashed"),
    (dict(compression=2, mapping=7), KindError, "function"),
    (dict(compression=2, scaler="v2"), ArgumentError, "gamma, v1, none"),
    (dict(compression=2, scope="module"), ArgumentError, "'global' or 'layer'"),
    (dict(compression=2, init="random"), ArgumentError, "'module' or 'project'"),
    (dict(compression=2, init_std=0), ArgumentError, "0.0001"),
    (dict(compression=2, seed=-1), ArgumentError, "seed"),
    (dict(compression=2, overrides={"5": {"speed": 2}}), KindError, "pass a dict"),
    (dict(compression=2, overrides={"7": {}}), ArgumentError, "matches no weight"),
    (dict(compression=2, importance={"5.weight": torch.ones(10, 256)}), ArgumentError, "project"),
    (dict(compression=2, init="project", importance={"x": torch.ones(1)}), ArgumentError, "not shared"),
    (dict(compression=2, init="project", importance={"5.weight": torch.ones(1)}), ShapeError, "shape"),
    (
        dict(compression=2, init="project", importance={"5.weight": -torch.ones(10, 256)}),
        DataError,
        "negative",
    ),
]


@pytest.mark.parametrize(("options", "kind", "words"), BAD)
@pytest.mark.parametrize("inplace", [True, False])
def test_bad_input_is_a_sentence_and_the_model_stays(net, options, kind, words, inplace):
    before = copy.deepcopy(net)
    with pytest.raises(kind, match=words):
        nn.share(net, **options, inplace=inplace)
    assert [type(m) for m in net.modules()] == [type(m) for m in before.modules()]
    for (name, left), (other, right) in zip(net.named_parameters(), before.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(left, right)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
@pytest.mark.parametrize("init", ["module", "project"])
def test_weights_without_a_scale_are_refused_by_name(net, value, init):
    tnn.init.constant_(net[5].weight, value)
    with pytest.raises(DataError, match=r"5\.weight has standard deviation"):
        nn.share(net, 2, init=init)


def test_sharing_twice_is_refused(net):
    with pytest.raises(ArgumentError, match="shared already"):
        nn.share(nn.share(net, 2), 2)


def test_a_model_that_is_not_shared_has_no_dense_form(net):
    with pytest.raises(ArgumentError, match="nothing in this model is shared"):
        nn.to_dense(net)


def test_weights_of_two_kinds_do_not_go_into_one_bank(net):
    net[5].double()
    with pytest.raises(KindError, match="one bank has one kind"):
        nn.share(net, 2)
    assert nn.share(net, 2, scope="layer")[5].weight.dtype == F64


def test_integer_weights_are_refused_by_name():
    net = tnn.Sequential(tnn.Linear(64, 64))
    net[0].mask = tnn.Parameter(torch.ones(64, 64, dtype=torch.int64), requires_grad=False)
    assert names(net, include="*") == ["0.weight"]
    with pytest.raises(KindError, match="only floating-point"):
        nn.plan(net, 2, include="0.mask")


def test_an_attribute_of_the_bank_s_name_is_refused(net):
    net.shared_bank = 3
    with pytest.raises(ArgumentError, match="of its own"):
        nn.share(net, 2, inplace=True)
    assert type(net[5]) is tnn.Linear


class Foreign:
    """A mapping of the user's own, which knows NumPy arrays only."""

    def __init__(self, n, m, seed):
        self.n, self.m, self._fold = n, m, Fold(n, m, seed)

    def cell(self, i):
        return self._fold.cell(np.asarray(i))

    def sign(self, i):
        return self._fold.sign(np.asarray(i))


def test_mapping_of_ones_own_gives_the_weights_it_says():
    net = tnn.Linear(64, 48)
    mine, shipped = nn.share(net, 4, mapping=Foreign), nn.share(net, 4)
    assert torch.equal(mine.weight, shipped.weight)
    for shared in (mine, shipped):
        shared.weight.sum().backward()
    assert torch.equal(mine.shared_bank.grad, shipped.shared_bank.grad)


def test_mapping_that_breaks_a_law_is_refused_by_its_name():
    net = tnn.Linear(64, 48)
    with pytest.raises(LawBroken, match="breaks the law of signs(.|\n)*is the seed used"):
        nn.share(net, 4, mapping=lambda n, m, seed: Fold(n, m, 3), inplace=True)
    with pytest.raises(ArgumentError, match="KeepExact.*drops weights"):
        nn.plan(net, 4, mapping=KeepExact)
    assert type(net) is tnn.Linear


@pytest.mark.parametrize("scaler", ["gamma", "v1", "none"])
def test_a_uniform_bank_fills_minus_c_to_c_and_no_more(scaler):
    net = tnn.Linear(64, 64)
    shared = nn.share(net, 4, law="uniform", init_std=0.5, scaler=scaler)
    (bank,) = nn.sharing.banks_of(shared)
    theta = bank.phi.detach().double() / bank.roots()
    assert theta.abs().max() <= 0.5 * (1 + 2**-23)
    # 1024 independent numbers all below 0.495 of 0.5: chance 0.99^1024 < 4e-5
    assert theta.abs().max() > 0.495
    assert theta.min() < -0.4 < 0.4 < theta.max()
    assert torch.equal(
        shared.shared_bank, nn.share(net, 4, law="uniform", init_std=0.5, scaler=scaler).shared_bank
    )


def test_an_unknown_law_is_named():
    with pytest.raises(ArgumentError, match="did you mean 'uniform'"):
        nn.share(tnn.Linear(64, 64), 4, law="unifrom")


def test_what_calls_have_prepared_is_not_pickled():
    shared = nn.share(tnn.Linear(64, 64), 4)
    before = pickle.dumps(shared)
    shared(torch.ones(1, 64)).sum().backward()
    shared.zero_grad(set_to_none=True)
    assert len(pickle.dumps(shared)) == len(before)
