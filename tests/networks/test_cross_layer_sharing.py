"""`nn.share_layers` as a whole: budgets to the byte, models untouched by what is refused, runs that go on."""

import copy
import gc
import itertools
import json
import re
from fractions import Fraction

import pytest
import torch
import torch.nn as tnn
from safetensors.torch import load_file

import nn
from nn.budget import budget
from nn.cross_layer.adapters import projections_of
from nn.cross_layer.basis import coefficients
from nn.cross_layer.method import HOMES
from nn.cross_layer.sharing import stored_bytes
from nn.cross_layer.whitening import rank_of
from nn.layers import factors_of, views_of
from nn.models.vit import ViT
from nn.planning import survey
from rpstheory.errors import ArgumentError, DataError, KindError, ResumeError, ShapeError

EPS = torch.finfo(torch.float64).eps


def transformers():
    return pytest.importorskip("transformers", reason="the extra hf is not installed")


def seeded(build, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


SIZES = {
    "vocab_size": 31,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}


def bert():
    return seeded(lambda: transformers().BertModel(transformers().BertConfig(**SIZES))).double().eval()


def llama():
    config = transformers().LlamaConfig(**SIZES, num_key_value_heads=1)
    return seeded(lambda: transformers().LlamaForCausalLM(config)).double().eval()


def gpt2():
    config = transformers().GPT2Config(
        n_embd=16, n_layer=3, n_head=2, vocab_size=31, bos_token_id=0, eos_token_id=0
    )
    return seeded(lambda: transformers().GPT2LMHeadModel(config)).double().eval()


def swin():
    config = transformers().SwinConfig(
        image_size=16, patch_size=2, embed_dim=8, depths=[2, 1], num_heads=[2, 2], window_size=4
    )
    return seeded(lambda: transformers().SwinModel(config)).double().eval()


def ours():
    return seeded(lambda: ViT(widths=(4, 24), heads=2, depth=3)).double().eval()


TEXT = [{"input_ids": torch.arange(48).view(4, 12) * k % 31} for k in (5, 7, 11)]
IMAGES = [
    torch.linspace(-1, 1, 2 * 3 * 1024, dtype=torch.float64).sin().view(2, 3, 32, 32) * k for k in (1, 2)
]
SMALL_IMAGES = [{"pixel_values": x[:, :, :16, :16]} for x in IMAGES]
MODELS = {
    "bert": (bert, TEXT),
    "llama": (llama, TEXT),
    "gpt2": (gpt2, TEXT),
    "swin": (swin, SMALL_IMAGES),
    "ours": (ours, IMAGES),
}
METHODS = {
    "plain": ("svd", {"whiten": False}),
    "svd": ("svd", {}),
    "basis": ("basis", {}),
    "loss": ("basis", {"share": "loss", "groups": "adjacent:3"}),
    "auto": ("basis", {"groups": "auto"}),
}


@pytest.fixture(params=MODELS)
def case(request):
    build, batches = MODELS[request.param]
    return build(), batches


def run(model, batch):
    with torch.no_grad():
        out = model(**batch) if isinstance(batch, dict) else model(batch)
    return out if isinstance(out, torch.Tensor) else out[0]


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def untouched(model, before):
    after = model.state_dict()
    return list(before) == list(after) and all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("how", METHODS)
def test_the_model_runs_through_its_factors_within_the_budget(case, how):
    model, batches = case
    before, (method, options) = state(model), METHODS[how]
    names = [p.name for p in projections_of(model)]
    shared = nn.share_layers(model, method, compression=1.7, calibration=batches, **options)
    dense = sum(p.bytes for p in projections_of(model))
    assert stored_bytes(model, names) == dense
    assert stored_bytes(shared, names) <= dense / 1.7
    assert untouched(model, before)
    assert all(views_of(shared.get_submodule(name.rpartition(".")[0])) for name in names)
    # outputs of a few units, at the end of some thousand roundings
    expected, found = run(nn.to_dense(shared), batches[0]), run(shared, batches[0])
    assert (expected - found).abs().max() < 2**14 * EPS * expected.abs().max()


def test_a_plan_says_what_is_stored_to_the_byte(case):
    model, batches = case
    what = nn.plan_layers(model, "basis", compression=1.7)
    shared = nn.share_layers(model, "basis", compression=1.7, calibration=batches)
    names = [p.name for p in what.projections]
    assert sorted(names) == sorted(name for unit in what.units for name in unit.names)
    assert what.bytes == stored_bytes(shared, names) == sum(f.parameter.nbytes for f in factors_of(shared))
    stored = sum(t.nbytes for t in (*shared.parameters(), *shared.buffers()))
    assert stored == what.bytes + sum(f.bytes for f in what.fixed) + what.buffer_bytes
    assert what.total_compression == sum(
        t.nbytes for t in (*model.parameters(), *model.buffers())
    ) / stored  # fmt: skip


def test_roles_share_as_published():
    model = llama()
    shared = nn.share_layers(model, "basis", compression=1.7, calibration=TEXT, groups=[[0, 2]])
    for name in ("self_attn.q_proj", "mlp.up_proj", "self_attn.o_proj", "mlp.down_proj"):
        first, second, third = (
            views_of(shared.get_submodule(f"model.layers.{n}.{name}"))["weight"].links[0][0] for n in range(3)
        )
        assert (first is third) == (name in ("self_attn.q_proj", "mlp.up_proj"))
        assert second not in (first, third)


@pytest.mark.parametrize("method", HOMES)
def test_groups_that_are_not_given_are_those_of_the_method(method):
    said = {"method": method, "compression": 2}
    own = "adjacent:2" if method == "basis" else "auto"
    assert nn.plan_layers(bert(), **said).units == nn.plan_layers(bert(), groups=own, **said).units
    if method in ("basis", "fips", "geo"):
        alone = nn.plan_layers(bert(), groups="adjacent:1", **said).units
        assert nn.plan_layers(bert(), **said).units != alone


def test_basis_sharing_with_groups_of_one_is_whitened_svd_in_a_model():
    model = bert()
    one = nn.share_layers(model, "svd", compression=2, calibration=TEXT)
    other = nn.share_layers(model, "basis", compression=2, calibration=TEXT, groups="adjacent:1", refit=False)
    gaps = []
    for p in projections_of(model):
        weights = [m.get_submodule(p.module).weight for m in (one, other)]
        gaps.append((weights[0] - weights[1]).norm() / weights[0].norm())
    # X'X of 144 tokens has a condition of up to 1e7 after its repair, and S its root; gaps of 1e-3 between
    # singular values at least: 2.2e-16 * 3e3 * 1e3 * (some 1e2 operations)
    assert max(gaps) < 1e-7


def test_whitening_leaves_less_error_at_the_outputs_of_every_projection_than_plain_svd():
    model = bert()
    plain = nn.share_layers(model, "svd", compression=2, whiten=False)
    white = nn.share_layers(model, "svd", compression=2, calibration=TEXT)
    inputs = {}
    for p in projections_of(model):
        model.get_submodule(p.module).register_forward_hook(
            lambda module, args, out, name=p.name: inputs.setdefault(name, []).append(args[0].flatten(0, -2))
        )
    for batch in TEXT:
        run(model, batch)
    for p in projections_of(model):
        x, w = torch.cat(inputs[p.name]), model.get_submodule(p.module).weight.T
        error = {
            name: (x @ (m.get_submodule(p.module).weight.T - w)).norm()
            for name, m in (("plain", plain), ("white", white))
        }
        assert error["white"] < error["plain"] * (1 + 1e-6)  # 1e-6: what the repair of X'X costs at most


def test_a_refit_is_the_least_squares_for_the_inputs_of_the_compressed_model():
    model = bert()
    shared = nn.share_layers(model, "basis", compression=2, calibration=TEXT, refit=True)
    inputs = {}
    queries = [p for p in projections_of(model) if p.role == "q"]
    for p in queries:
        shared.get_submodule(p.module).register_forward_hook(
            lambda module, args, out, name=p.name: inputs.setdefault(name, []).append(args[0].flatten(0, -2))
        )
    for batch in TEXT:
        run(shared, batch)
    for p in queries:  # whose inputs no other projection of the block changes
        gram = sum(x.T @ x for x in inputs[p.name])
        (basis, _), (own, _) = views_of(shared.get_submodule(p.module))["weight"].links
        weight = model.get_submodule(p.module).weight.T.detach()
        expected = coefficients(basis.parameter.detach(), gram, weight)
        assert (own.parameter - expected).abs().max() < 1e-9 * expected.abs().max()


def test_coefficients_are_refitted_from_forty_percent_on():
    model = bert()
    for removed, again in ((0.41, True), (0.39, False)):
        stages = []
        nn.share_layers(
            model, compression=1 / (1 - removed), calibration=TEXT, progress=stages.append, include="*query*"
        )
        assert any(stage.startswith("refit") for stage in stages) == again


def test_the_stage_that_says_which_layers_share_is_made_anew_if_it_is_lost(tmp_path):
    said = {"compression": 1.5, "calibration": TEXT, "groups": "auto", "include": "*query*"}
    expected = nn.share_layers(bert(), "basis", **said, resume=tmp_path).state_dict()
    (lost,) = [place for place in tmp_path.glob("*.safetensors") if "color" in load_file(place)]
    lost.unlink()
    found = nn.share_layers(bert(), "basis", **said, resume=tmp_path).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_losses_decide_as_an_enumeration_does():
    """Every way of cutting three layers is tried; what is chosen has the least sum of norms."""
    model = bert()
    found = nn.share_layers(
        model, "basis", compression=1.5, calibration=TEXT, groups="auto", include="*query*", refit=False
    )
    chosen = [
        views_of(found.get_submodule(p.module))["weight"].links[0][0]
        for p in projections_of(model, include="*query*")
    ]
    pattern = [chosen.index(each) for each in chosen]
    projections = projections_of(model, include="*query*")
    inputs = {}
    for p in projections:
        model.get_submodule(p.module).register_forward_hook(
            lambda module, args, out, name=p.name: inputs.setdefault(name, []).append(args[0].flatten(0, -2))
        )
    for batch in TEXT:
        run(model, batch)

    def loss(share):
        x = torch.cat([torch.cat(inputs[p.name]) for p in share])
        w = torch.cat([model.get_submodule(p.module).weight.detach().T for p in share], 1)
        dense = sum(p.bytes for p in projections)
        kept = Fraction(int(dense / 1.5), dense)
        # |X W|: its singular values are those of S W
        return float(torch.linalg.svdvals(x @ w)[rank_of(share, kept) :].norm())

    ways = {(0, 1, 2): [1, 1, 1], (0, 0, 2): [2, 1], (0, 1, 1): [1, 2], (0, 0, 0): [3]}
    sums = {}
    for way, sizes in ways.items():
        ends = list(itertools.accumulate(sizes, initial=0))
        sums[way] = sum(loss(projections[a:b]) for a, b in itertools.pairwise(ends))
    assert tuple(pattern) == min(sums, key=sums.get)


def test_budgets_of_the_whole_model_are_kept():
    model = bert()
    rest = sum(p.numel() for p in model.parameters()) - sum(p.count for p in projections_of(model))
    params = rest + 2000
    shared = nn.share_layers(model, budget_params=params, calibration=TEXT)
    assert sum(p.numel() for p in shared.parameters()) <= params
    size = 8 * params + sum(b.nbytes for b in model.buffers())
    shared = nn.share_layers(model, budget_bytes=size, calibration=TEXT)
    assert sum(t.nbytes for t in (*shared.parameters(), *shared.buffers())) <= size
    found = budget(shared, model, {"input_ids": TEXT[0]["input_ids"][:1]})
    small = [
        f for f in survey(model) if not f.why and f.names[0] not in {p.name for p in projections_of(model)}
    ]
    assert found.weights == sum(f.parameter.numel() for f in [*factors_of(shared), *small])
    assert found.flops < found.dense_flops


def test_a_saved_model_is_loaded_bit_for_bit(case, tmp_path):
    model, batches = case
    shared = nn.share_layers(model, compression=2, calibration=batches)
    nn.save(shared, tmp_path / "model")
    loaded = nn.load(tmp_path / "model", copy.deepcopy(model))
    assert torch.equal(run(loaded, batches[0]), run(shared, batches[0]))
    assert nn.report(loaded).stored_params == nn.report(shared).stored_params


def test_in_place_is_the_same_model_with_the_same_numbers(case):
    model, batches = case
    other = nn.share_layers(model, compression=2, calibration=batches)
    same = nn.share_layers(model, compression=2, calibration=batches, inplace=True)
    assert same is model
    assert torch.equal(run(same, batches[0]), run(other, batches[0]))


def test_tied_projections_stay_tied():
    model = bert()
    model.encoder.layer[2].attention.self.query.weight = model.encoder.layer[0].attention.self.query.weight
    shared = nn.share_layers(model, compression=2, calibration=TEXT)
    views = [views_of(shared.encoder.layer[n].attention.self.query)["weight"] for n in (0, 2)]
    assert views[0] is views[1]
    restored = nn.to_dense(shared)
    assert (
        restored.encoder.layer[0].attention.self.query.weight
        is restored.encoder.layer[2].attention.self.query.weight
    )


def test_a_tied_projection_is_calibrated_on_all_its_uses():
    """Two blocks read one weight: what is left of it is the best for the inputs of both."""
    model, name = bert().double(), "attention.self.query"
    one, other = (model.encoder.layer[n].get_submodule(name) for n in (0, 2))
    other.weight = one.weight
    inputs = []
    for module in (one, other):
        module.register_forward_hook(lambda module, args, out: inputs.append(args[0].flatten(0, -2)))
    for batch in TEXT:
        run(model, batch)
    shared = nn.share_layers(model, "svd", compression=2, calibration=TEXT, include=("*query*", "*key*"))
    weight = one.weight.detach().T
    change = weight - shared.encoder.layer[0].get_submodule(name).weight.detach().T
    x = torch.cat(inputs)
    rank = views_of(shared.encoder.layer[0].get_submodule(name))["weight"].links[0][0].parameter.shape[1]
    least = torch.linalg.svdvals(x @ weight)[rank:].norm()
    assert abs((x @ change).norm() - least) <= 1e-9 * least


def test_a_model_in_half_precision_keeps_its_kind():
    model = bert().bfloat16()
    shared = nn.share_layers(model, compression=2, calibration=TEXT)
    assert {f.parameter.dtype for f in factors_of(shared)} == {torch.bfloat16}
    assert run(shared, TEXT[0]).dtype == torch.bfloat16


@pytest.mark.parametrize("method", ["svd", "basis", "fips"])
def test_the_budget_that_a_refusal_proposes_is_reached(method):
    with pytest.raises(ArgumentError, match="compression") as refused:
        nn.plan_layers(llama(), method, compression=1e4)
    proposed = re.search(r"compression ([0-9.]+)\)", str(refused.value))
    nn.plan_layers(llama(), method, compression=float(proposed[1]))


@pytest.mark.parametrize("method", ["basis", "fips", "geo"])
def test_a_caller_without_gradients_gets_the_same(method):
    model, options = ours(), {"fips": {"epochs": 1}, "geo": {"lanczos": 0}}.get(method, {})
    one = nn.share_layers(model, method, compression=2, calibration=IMAGES, **options)
    with torch.no_grad():
        other = nn.share_layers(model, method, compression=2, calibration=IMAGES, **options)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_frozen_weights_give_frozen_factors():
    model = bert().requires_grad_(False)
    shared = nn.share_layers(model, compression=2, calibration=TEXT)
    assert not any(p.requires_grad for p in shared.parameters())


# ---------------------------------------------------------------------------------- what is refused


def nan_inside(model):
    with torch.no_grad():
        model.encoder.layer[1].intermediate.dense.bias[0] = torch.nan


WRONG = {
    "no budget": ({}, ArgumentError, "no budget came; pass exactly one of"),
    "two budgets": ({"compression": 2, "budget_bytes": 9}, ArgumentError, "compression and budget_bytes"),
    "a budget below one": ({"compression": 0.5}, ArgumentError, "compression=0.5 came; .* at least 1"),
    "a budget that is no number": ({"compression": "2"}, KindError, "compression='2' came; a number"),
    "nan": ({"compression": float("nan")}, ArgumentError, "compression=nan came"),
    "bytes that are no number": ({"budget_bytes": 1.5}, KindError, "budget_bytes=1.5 came; a whole number"),
    "less than what stays": ({"budget_params": 9}, ArgumentError, "what is no projection takes .* already"),
    "more than there is": ({"budget_params": 10**9}, ArgumentError, "the model needs only .*; pass at"),
    "no rank": ({"compression": 50}, ArgumentError, "no rank of 1; keep at least 0.125 .*compression 8"),
    "no calibration": ({"compression": 2, "calibration": None}, ArgumentError, "no calibration came"),
    "empty calibration": ({"compression": 2, "calibration": []}, ArgumentError, "calibration holds no batch"),
    "calibration without a tensor": ({"compression": 2, "calibration": [{}]}, KindError, "holds no tensor"),
    "an empty batch": (
        {"compression": 2, "calibration": [{"input_ids": torch.zeros(0, 3, dtype=torch.long)}]},
        ArgumentError, "a batch of calibration is empty",
    ),
    "a mask of nothing": (
        {"compression": 2, "calibration": [TEXT[0] | {"attention_mask": torch.zeros(4, 12)}]},
        ArgumentError, "leaves no token of its batch",
    ),
    "a mask of other tokens": (
        {"compression": 2, "calibration": [TEXT[0] | {"attention_mask": torch.ones(4, 9)}]},
        ShapeError, r"of shape \(4, 9\) came with input_ids of \(4, 12\)",
    ),
    "tokens that are not there": (
        {"compression": 2, "calibration": [{"input_ids": torch.full((4, 12), 10**6)}]},
        DataError, r"does not run on a batch of the calibration data \(int64 \(4, 12\)\)",
    ),
    "images for a text": (
        {"compression": 2, "calibration": [{"pixel_values": torch.ones(1, 3, 8, 8)}]},
        DataError, "does not run on a batch",
    ),
    "an option of the wrong kind": (
        {"compression": 2, "method": "svd", "whiten": "no"}, KindError, "whiten='no' came; True or False",
    ),
    "an unknown method": ({"compression": 2, "method": "bases"}, ArgumentError, "did you mean 'basis'"),
    "an unknown option": ({"compression": 2, "rank": 3}, KindError, "rank= came, which method 'basis'"),
    "groups that overlap": ({"compression": 2, "groups": [[0, 1], [1, 2]]}, ArgumentError, "1 is not there"),
    "groups beyond": ({"compression": 2, "groups": [[0, 3]]}, ArgumentError, "3 is not there .* 0 … 2"),
    "an empty group": ({"compression": 2, "groups": [[]]}, ArgumentError, "one is empty"),
    "groups in no known words": ({"compression": 2, "groups": "near:2"}, ArgumentError, "pass 'adjacent:2'"),
    "groups of nothing": ({"compression": 2, "groups": "adjacent:0"}, ArgumentError, "pass 'adjacent:2'"),
    "groups of text": ({"compression": 2, "groups": [["a"]]}, ArgumentError, "pass 'adjacent:2'"),
    "a seed that is no number": ({"compression": 2, "seed": "a"}, KindError, "seed='a' came"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("inplace", [False, True])
def test_what_is_wrong_is_said_in_a_sentence_and_the_model_is_as_it_was(what, inplace):
    given, error, words = WRONG[what]
    model = bert()
    before = state(model)
    with pytest.raises(error, match=words) as caught:
        nn.share_layers(model, **{"calibration": TEXT, "inplace": inplace, **given})
    assert str(caught.value).startswith("share_layers: ")
    assert "\n" not in str(caught.value)
    assert untouched(model, before)


def test_layers_of_unlike_shape_may_not_be_named_as_a_group_but_are_left_apart_by_default():
    model = swin()
    said = r"q_proj\.weight is 8 x 8 float64 and .* 16 x 16 float64, .* alike; take layer 1 or 2 out"
    with pytest.raises(ShapeError, match=said):
        nn.plan_layers(model, compression=2, groups=[[1, 2]])
    what = nn.plan_layers(model, compression=2, groups="adjacent:3")
    assert {unit.label for unit in what.units if unit.label.startswith("q")} == {
        "q of layers 0, 1",
        "q of layer 2",
    }


@pytest.mark.parametrize("inplace", [False, True])
def test_activations_that_are_not_finite_leave_the_model_as_it_was(inplace):
    model = bert()
    nan_inside(model)
    before = {n: v.nan_to_num(7.0) for n, v in state(model).items()}
    with pytest.raises(DataError, match="nan or inf"):
        nn.share_layers(model, compression=2, calibration=TEXT, inplace=inplace)
    assert list(before) == list(model.state_dict())
    assert all(torch.equal(before[n], v.nan_to_num(7.0)) for n, v in model.state_dict().items())


@pytest.mark.parametrize("stage", ["fc1 of layers 0, 1", "refit of encoder.layer.1"])
def test_a_stop_at_any_stage_leaves_the_model_as_it_was(stage):
    model = bert()
    before, kinds = state(model), [type(module) for module in model.modules()]

    def stop(text):
        if text == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nn.share_layers(model, compression=2, calibration=TEXT, inplace=True, progress=stop)
    gc.collect()
    assert list(before) == list(model.state_dict())
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())
    assert [type(module) for module in model.modules()] == kinds
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not (model._state_dict_hooks)
    assert not (model._load_state_dict_pre_hooks)
    assert run(model, TEXT[0]).isfinite().all()


class Bare(tnn.Module):
    """Two matrices in one module, one block after the other."""

    def __init__(self):
        super().__init__()
        self.into, self.out = (tnn.Parameter(torch.randn(16, 16, dtype=torch.float64)) for _ in range(2))
        self.scale = tnn.Parameter(torch.ones(16, dtype=torch.float64))

    def forward(self, x):
        return x + self.scale * torch.tanh(x @ self.into.T) @ self.out.T


def test_a_module_may_hold_several_projections():
    model = seeded(lambda: tnn.Sequential(tnn.ModuleDict({"layers": tnn.ModuleList([Bare(), Bare()])})))
    naming, order = {"fc1": "into", "fc2": "out"}, list(model.state_dict())
    shared = nn.share_layers(model, "svd", compression=1.5, whiten=False, naming=naming)
    dense = nn.to_dense(shared)
    for one, other in zip(shared[0]["layers"], dense[0]["layers"], strict=True):
        x = torch.ones(2, 16, dtype=torch.float64)
        assert type(other) is Bare
        assert torch.equal(one.into, other.into)
        assert torch.allclose(one(x), other(x), rtol=1e-13, atol=1e-13)
    assert list(dense.state_dict()) == order


def test_weights_that_are_not_finite_or_not_there_are_refused():
    model = bert()
    with torch.no_grad():
        model.encoder.layer[1].output.dense.weight[0, 0] = torch.inf
    with pytest.raises(DataError, match=r"encoder\.layer\.1\.output\.dense\.weight holds nan or inf"):
        nn.share_layers(model, compression=2, calibration=TEXT)
    with pytest.raises(DataError, match="on the meta device; nn.plan_layers is the dry run"):
        nn.share_layers(bert().to("meta"), compression=2, calibration=TEXT)


def test_a_shared_model_is_not_shared_again():
    shared = nn.share_layers(bert(), compression=2, calibration=TEXT)
    with pytest.raises(ArgumentError, match="is shared already; start from nn.to_dense"):
        nn.share_layers(shared, compression=2, calibration=TEXT)


def test_an_unknown_model_is_answered_with_what_it_holds():
    with pytest.raises(ArgumentError, match=r"Sequential holds 1 of \*\.weight \(2 x 3\)"):
        nn.share_layers(tnn.Sequential(tnn.Linear(3, 2)), compression=2)


# ------------------------------------------------------------------------------------ going on


@pytest.mark.parametrize("how", METHODS)
def test_a_run_that_was_killed_goes_on_to_the_same_bits(how, tmp_path):
    model, (method, options) = bert(), METHODS[how]
    arguments = {"compression": 2, "calibration": TEXT, **options}
    stages = []
    whole = nn.share_layers(model, method, **arguments, progress=stages.append)
    for stop in range(0, len(stages), 5):
        folder, left = tmp_path / str(stop), iter(range(stop))

        def killed(text, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            nn.share_layers(model, method, **arguments, resume=folder, progress=killed)
        lines = []
        found = nn.share_layers(model, method, **arguments, resume=folder, progress=lines.append)
        assert [line.endswith(": done before") for line in lines].count(True) == stop
        assert all(torch.equal(v, found.state_dict()[n]) for n, v in whole.state_dict().items())


def test_the_folder_of_another_run_is_refused(tmp_path, monkeypatch):
    arguments = {"compression": 2, "calibration": TEXT, "resume": tmp_path / "run", "include": "*query*"}
    nn.share_layers(bert(), **arguments)
    others = [
        {"compression": 3}, {"seed": 1}, {"groups": "adjacent:3"}, {"refit": False},
        {"calibration": TEXT[:2]}, {"include": "*key*"}, {"method": "svd"},
    ]  # fmt: skip
    for other in others:
        with pytest.raises(ResumeError, match="holds stages of another run"):
            nn.share_layers(bert(), **arguments | other)
    changed = bert()
    with torch.no_grad():
        changed.embeddings.word_embeddings.weight[0, 0] += 1  # no projection, but it changes the activations
    with pytest.raises(ResumeError, match="holds stages of another run"):
        nn.share_layers(changed, **arguments)
    monkeypatch.setattr("nn.cross_layer.sharing.code_but_for", lambda: "torch 9.9.9")
    with pytest.raises(ResumeError, match="holds stages of another run .* or code"):
        nn.share_layers(bert(), **arguments)


def test_a_stage_that_is_broken_is_named(tmp_path):
    arguments = {"compression": 2, "calibration": TEXT, "resume": tmp_path, "include": "*query*"}
    nn.share_layers(bert(), **arguments)
    stage = next(tmp_path.glob("*.safetensors"))
    stage.write_bytes(stage.read_bytes()[:20])
    with pytest.raises(ResumeError, match="cannot be read .* remove it, and the stage is done again"):
        nn.share_layers(bert(), **arguments)


# ---------------------------------------------------------------------------------- the dry run


def test_seven_billion_weights_are_planned_without_one_of_them():
    with torch.device("meta"):
        model = transformers().LlamaForCausalLM(transformers().LlamaConfig())
    what = nn.plan_layers(model, "basis", compression=1.25)
    assert len(what.projections) == 7 * 32
    assert sum(p.count for p in what.projections) == 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    rank = {unit.label: unit.rank for unit in what.units}
    kept = what.allowance / what.dense_bytes
    assert rank["q of layers 0, 1"] == int(4096 * 4096 * 2 * kept / (4096 + 2 * 4096))
    assert rank["down of layer 31"] == int(4096 * 11008 * kept / (4096 + 11008))
    assert 0 <= what.allowance - what.bytes < 7 * 32 * 4 * (11008 * 2 + 4096)
    assert "q of layers 0, 1" in str(what)
    assert json.loads(what.to_json())["bytes"] == what.bytes


# ------------------------------------------------------------------------------------- outside


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # of torch's exporter
def test_onnx_holds_the_factors_once_and_computes_the_same(tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="the extra export is not installed")
    model = seeded(lambda: ViT(widths=(8, 64), heads=4, depth=4)).eval()
    x = IMAGES[0].float()
    shared = nn.share_layers(model, compression=3, calibration=[x], groups="adjacent:4")
    nn.export_onnx(shared, (x,), tmp_path / "model.onnx")
    stored, dense = (sum(t.nbytes for t in m.state_dict().values()) for m in (shared, model))
    assert stored < (tmp_path / "model.onnx").stat().st_size < dense
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    # logits of order one in single precision, at the end of some thousand roundings
    assert abs(found - run(shared, x).numpy()).max() < 2**12 * torch.finfo(torch.float32).eps


@pytest.mark.parametrize("transform", [copy.deepcopy, lambda m: torch.compile(m, backend="eager")])
def test_copies_and_compiled_models_compute_the_same(transform, case):
    model, batches = case
    shared = nn.share_layers(model, compression=2, calibration=batches)
    assert torch.equal(run(transform(shared), batches[0]), run(shared, batches[0]))
