"""The projected bank through `nn.share_layers`: the numbers of `nn.share`, budgets to the byte, weighting."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import nn
from nn.cross_layer.adapters import Projection, projections_of
from nn.cross_layer.curvature import gradients
from nn.cross_layer.method import Task, method_of
from nn.cross_layer.rps import FLOOR, Rps
from nn.cross_layer.sharing import stored_bytes
from nn.cross_layer.streams import as_batches
from nn.cross_layer.work import Work
from nn.models.vit import ViT
from nn.planning import survey
from nn.sharing import banks_of
from rpstheory.errors import ArgumentError, DataError, KindError

EPS = torch.finfo(torch.float64).eps


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def vit(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ViT(widths=(4, 12), heads=2, depth=3).double().eval()


IMAGES = [torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=draw(k)) for k in (1, 2)]


def others(model):
    own = {p.name for p in projections_of(model)}
    return [found for found in survey(model) if not own.intersection(found.names)]


def projection(layer, rows, columns, dtype="float32", itemsize=4):
    return Projection(f"{layer}.q", (), "q", layer, str(layer), rows, columns, True, itemsize, dtype)


@given(st.integers(1, 5), st.integers(1, 30), st.integers(1, 30), st.integers(1, 4000))
def test_a_bank_with_its_seed_and_scales_is_within_the_budget_and_misses_it_by_no_more_than_a_cell(
    layers, rows, columns, allowance
):
    run = tuple(projection(layer, rows, columns) for layer in range(layers))
    task = Task(run, None, False, min(allowance, sum(p.bytes for p in run)), 0)
    index = 8 * (1 + layers)
    if task.allowance < index + 4:
        with pytest.raises(ArgumentError, match=f"a bank takes {index + 4} at least"):
            Rps().plan(task)
        return
    (unit,) = Rps().plan(task)
    assert unit.index == index
    assert 4 <= unit.values <= task.allowance - index
    assert task.allowance - unit.bytes < 2 * 4  # a remainder of bytes, and a cell where laps come out even


@pytest.mark.parametrize("compression", [1, 1.25, 2, 3.7, 50])
@pytest.mark.parametrize("mapping", ["fold", "hashed", "chunk"])
def test_what_is_stored_is_what_was_planned_to_the_byte(mapping, compression):
    model = vit()
    plan = nn.plan_layers(model, "rps", compression=compression, mapping=mapping)
    found = nn.share_layers(model, "rps", compression=compression, mapping=mapping)
    assert stored_bytes(found, [p.name for p in plan.projections]) == plan.bytes <= plan.allowance
    assert torch.isfinite(found(IMAGES[0])).all()


def test_it_is_the_projected_bank_of_share_bit_for_bit():
    model = vit()
    found = nn.share_layers(model, "rps", compression=2, seed=5)
    cells = banks_of(found)[0].phi.numel()
    expected = nn.share(
        model,
        budget_params=cells + sum(each.parameter.numel() for each in others(model)),
        include=[p.name for p in projections_of(model)],
        exclude=[each.names[0] for each in others(model)],
        init="project",
        seed=5,
    )
    assert torch.equal(banks_of(found)[0].phi, banks_of(expected)[0].phi)
    assert torch.equal(found(IMAGES[0]), expected(IMAGES[0]))


@torch.no_grad()
def squares(model, share, importance):
    """The weighted squared error of a shared model, and what it is at no weights at all."""
    pairs = [(model.get_parameter(n), share.get_submodule(n.rpartition(".")[0])) for n in importance]
    weighing = importance.items()
    error = sum(
        float((h * (w - getattr(module, n.rpartition(".")[2])).square()).sum())
        for (n, h), (w, module) in zip(weighing, pairs, strict=True)
    )
    return error, sum(
        float((h * w.square()).sum()) for h, (w, _) in zip(importance.values(), pairs, strict=True)
    )


def importance_of(model):
    """By hand: E of Γ squared, as a product of its sums over columns and rows, and the floor."""
    weights = {p.name: model.get_parameter(p.name) for p in projections_of(model)}
    sums = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    work = Work(model, Task((), None, False, 1, 0), (), (), weights, None, lambda text: None)
    generator = work.generator("importance")
    for found in gradients(model, as_batches(IMAGES), weights, generator):
        for name, each in found.items():
            sums[name] += each.square()
    return {name: torch.outer(s.sum(1), s.sum(0)) / s.sum() + FLOOR * s.mean() for name, s in sums.items()}


def test_the_weighted_bank_has_the_least_weighted_error_and_the_plain_one_the_least_plain_error():
    model = vit()
    importance = importance_of(model)
    ones = {name: torch.ones_like(h) for name, h in importance.items()}
    plain = nn.share_layers(model, "rps", compression=2)
    weighted = nn.share_layers(model, "rps", compression=2, weighted=True, calibration=IMAGES)
    assert squares(model, weighted, importance)[0] < squares(model, plain, importance)[0]
    assert squares(model, plain, ones)[0] < squares(model, weighted, ones)[0]
    least, size = squares(model, weighted, importance)
    for k in range(5):  # a least square has no way down: every step away costs, up to rounding of the whole
        other = copy.deepcopy(weighted)
        phi = banks_of(other)[0].phi
        with torch.no_grad():
            phi += 1e-3 * phi.std() * torch.randn(phi.shape, dtype=torch.float64, generator=draw(k))
        assert squares(model, other, importance)[0] > least - 2**10 * EPS * size


def test_weights_without_influence_do_not_disturb():
    """A weight whose inputs are all zero has no gradient, and takes what the others leave."""
    model = vit()
    for parameter in model.blocks[2].norm2.parameters():
        parameter.data.zero_()
    found = nn.share_layers(model, "rps", compression=2, weighted=True, calibration=IMAGES)
    assert torch.isfinite(found(IMAGES[0])).all()


def test_the_same_seed_gives_the_same_bits_after_a_stop_and_from_a_file(tmp_path):
    model = vit()
    said = {"compression": 2, "weighted": True, "calibration": IMAGES, "seed": 3}
    expected = nn.share_layers(model, "rps", **said)
    nn.share_layers(model, "rps", **said, resume=tmp_path / "run")
    lines = []
    found = nn.share_layers(model, "rps", **said, resume=tmp_path / "run", progress=lines.append)
    assert lines[0] == "importance of every weight: done before"
    assert torch.equal(banks_of(found)[0].phi, banks_of(expected)[0].phi)
    nn.save(found, tmp_path / "m.safetensors")
    again = nn.load(tmp_path / "m.safetensors", vit(seed=9))
    assert torch.equal(again(IMAGES[0]), found(IMAGES[0]))


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"weighted": 1}, KindError, "weighted=1 came; pass True or False"),
        (
            {"mapping": "folded"},
            ArgumentError,
            "mapping='folded' came; fold, hashed, chunk, block or a function",
        ),
        (
            {"init": "module"},
            KindError,
            "init= came, which method 'rps' does not have; its options are weighted",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(options, kind, said):
    with pytest.raises(kind, match=said) as caught:
        method_of("rps", options)
    assert "\n" not in str(caught.value)


def test_only_weighting_needs_calibration():
    with pytest.raises(ArgumentError, match="no calibration came, and 'rps' looks at activations"):
        nn.share_layers(vit(), "rps", compression=2, weighted=True)


def test_projections_of_two_kinds_are_refused_in_the_plan():
    model = vit()
    model.blocks[1].perceptron[0].float()
    with pytest.raises(
        KindError, match=r"in_proj_weight is float64 and .*perceptron.0.weight float32, and one"
    ):
        nn.plan_layers(model, "rps", compression=2)


def test_a_constant_weight_leaves_the_model_as_it_was():
    model = vit()
    model.blocks[1].perceptron[0].weight.data.zero_()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(DataError, match="has standard deviation 0"):
        nn.share_layers(model, "rps", compression=2, inplace=True)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not banks_of(model)
