"""Pruning before training: exact sizes, scores against independent computations, models left alone."""

import copy

import pytest
import torch
import torch.nn as tnn
import torch.nn.functional as tnnf
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call

import nn
from nn.models import resnet20
from nn.pruning import METHODS, keep_largest, masked, masks_of, prune
from nn.pruning.masks import collapsed
from nn.pruning.methods import counts
from nn.pruning.scores import TEMPERATURE, Network, grasp, snip, synflow
from rpstheory.errors import ArgumentError, DataError, KindError, ShapeError

F64 = torch.float64


class Small(tnn.Module):
    """Smooth, with a batch norm, and few enough weights for finite differences."""

    def __init__(self):
        super().__init__()
        self.one = tnn.Linear(5, 7)
        self.norm = tnn.BatchNorm1d(7)
        self.two = tnn.Linear(7, 3)
        self.double()

    def forward(self, x):
        return self.two(torch.tanh(self.norm(self.one(x))))


@pytest.fixture
def small():
    torch.manual_seed(3)
    return Small().eval()


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(5)
    sizes = (4, 9)  # unequal, so that a mean of means would be another number
    return [
        (torch.randn(size, 5, dtype=F64, generator=generator), torch.randint(3, (size,), generator=generator))
        for size in sizes
    ]


def weights_of(model):
    return {name: getattr(model, name[:3]).weight.detach() for name in ("one.weight", "two.weight")}


def whole_loss(model, weights, batches, temperature=1.0):
    """The mean over all examples, written down without the code under test."""
    x, y = (torch.cat(part) for part in zip(*batches, strict=True))
    return tnnf.cross_entropy(functional_call(model, weights, (x,)) / temperature, y)


def differences(function, weights, step=1e-6):
    """Central differences of a number with respect to every weight."""
    found = {}
    for name, weight in weights.items():
        slope = torch.zeros_like(weight)
        for place in range(weight.numel()):
            ends = []
            for sign in (1, -1):
                moved = weight.clone()
                moved.view(-1)[place] += sign * step
                ends.append(function(weights | {name: moved}).item())
            slope.view(-1)[place] = (ends[0] - ends[1]) / (2 * step)
        found[name] = slope
    return found


def close(found, wanted):
    """To the accuracy of central differences in float64: 1e-6 squared, and 1e-16 / 1e-6, with room."""
    return all((found[n] - wanted[n]).abs().max() < 1e-7 * (1 + wanted[n].abs().max()) for n in wanted)


def test_snip_is_weight_times_slope_of_the_loss(small, batches):
    weights = weights_of(small)
    slope = differences(lambda w: whole_loss(small, w, batches), weights)
    wanted = {name: (weights[name] * slope[name]).abs() for name in weights}
    assert close(snip(Network(small, batches), weights), wanted)


def test_grasp_is_weight_times_hessian_times_gradient(small, batches):
    weights = weights_of(small)
    names, sizes = list(weights), [weight.numel() for weight in weights.values()]

    def of_flat(flat):
        parts = zip(names, flat.split(sizes), strict=True)
        return whole_loss(small, {n: p.view(weights[n].shape) for n, p in parts}, batches, TEMPERATURE)

    flat = torch.cat([weight.reshape(-1) for weight in weights.values()])
    gradient = torch.autograd.functional.jacobian(of_flat, flat)
    wanted = flat * (torch.autograd.functional.hessian(of_flat, flat) @ gradient)
    found = grasp(Network(small, batches), weights)
    flat_found = torch.cat([found[name].reshape(-1) for name in names])
    assert (flat_found - wanted).abs().max() < 1e-12 * wanted.abs().max()


def test_grasp_keeps_what_the_squared_gradient_would_lose(small, batches):
    """A step of -t w in one weight changes |g|^2 by -2 t score to first order."""
    weights = weights_of(small)
    names = list(weights)

    def energy(w):
        free = {name: weight.clone().requires_grad_() for name, weight in w.items()}
        loss = whole_loss(small, free, batches, TEMPERATURE)
        return sum(grad.square().sum() for grad in torch.autograd.grad(loss, [free[n] for n in names]))

    slope = differences(energy, weights, step=1e-4)
    found = grasp(Network(small, batches), weights)
    for name in names:
        wanted = weights[name] * slope[name] / 2
        assert (found[name] - wanted).abs().max() < 1e-5 * found[name].abs().max()


def test_synflow_of_a_linear_chain_is_the_product_of_row_and_column_sums():
    net = tnn.Sequential(tnn.Linear(3, 4, bias=False), tnn.Linear(4, 2, bias=False)).double()
    one, two = (torch.randint(-5, 6, layer.weight.shape).double() for layer in net)
    found = synflow(Network(net, [(torch.randn(7, 3), torch.zeros(7))]), {"0.weight": one, "1.weight": two})
    into, out = one.abs().sum(1), two.abs().sum(0)
    assert torch.equal(found["0.weight"], one.abs() * out[:, None])
    assert torch.equal(found["1.weight"], two.abs() * into)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_kept_count_is_exact_and_the_budget_that_of_sharing(method, scope):
    torch.manual_seed(0)
    net = tnn.Sequential(tnn.Linear(40, 50), tnn.BatchNorm1d(50), tnn.ReLU(), tnn.Linear(50, 30))
    batches = [(torch.randn(20, 40), torch.randint(30, (20,)))]
    before = copy.deepcopy(net.state_dict())
    pruned = prune(net, method, 7, batches=batches, scope=scope, passes=3)
    kept = sum(int(mask.sum()) for mask in masks_of(pruned).values())
    assert kept == nn.plan(net, 7, mapping="hashed").cells
    assert sum(int((module.weight != 0).sum()) for module in (pruned[0], pruned[3])) == kept
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())
    assert net.training
    if scope == "layer":
        shares = [mask.sum() / mask.numel() for mask in masks_of(pruned).values()]
        assert max(shares) - min(shares) < 2 / 1500


def test_pruned_weights_stay_0_and_the_others_learn():
    torch.manual_seed(0)
    net = prune(tnn.Linear(64, 32), "magnitude", 4)
    start, mask = net.weight.detach().clone(), masks_of(net)["weight"]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        net(torch.randn(8, 64)).square().sum().backward()
        optimizer.step()
    assert (net.weight[~mask] == 0).all()
    assert (net.weight[mask] != start[mask]).all()


def test_magnitude_keeps_the_largest():
    net = prune(tnn.Linear(64, 32), "magnitude", 4)
    dense, mask = net.parametrizations.weight.original.abs(), masks_of(net)["weight"]
    assert dense[mask].min() >= dense[~mask].max()


def test_random_is_a_function_of_the_seed_and_leaves_the_global_state():
    net, state = tnn.Linear(64, 32), torch.get_rng_state()
    one, again, other = (masks_of(prune(net, "random", 4, seed=seed))["weight"] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(state, torch.get_rng_state())


def test_synflow_in_many_passes_does_not_collapse_where_magnitude_does():
    """A narrow layer of small weights: alone in the way of the signal, and ranked last by magnitude."""
    torch.manual_seed(0)
    net = tnn.Sequential(tnn.Linear(64, 64, bias=False), tnn.Linear(64, 64, bias=False), tnn.Linear(64, 64))
    with torch.no_grad():
        net[1].weight.mul_(1e-3)
    batches = [(torch.zeros(1, 64), torch.zeros(1))]
    assert collapsed(masks_of(prune(net, "magnitude", 50))) == ["1.weight"]
    assert collapsed(masks_of(prune(net, "synflow", 50, batches=batches))) == []


@given(st.data())
def test_masks_keep_so_many_of_the_largest_the_first_where_they_tie(data):
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    values = [data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)) for size in sizes]
    scores = {str(place): torch.tensor(row) for place, row in enumerate(values)}
    among = {name: torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(row), max_size=len(row))))
             for name, row in scores.items()}  # fmt: skip
    flat = [(-value, place) for place, value in enumerate(v for row in values for v in row)]
    allowed = torch.cat(list(among.values())).tolist()
    order = sorted(pair for pair, free in zip(flat, allowed, strict=True) if free)
    if not order:
        return
    count = data.draw(st.integers(1, len(order)))
    found = torch.cat(list(keep_largest(scores, count, among).values())).tolist()
    assert [place for place, kept in enumerate(found) if kept] == sorted(p for _, p in order[:count])


@given(
    st.integers(1, 10**6),
    st.integers(1, 10**6),
    st.integers(1, 30),
    st.sampled_from(["exponential", "linear"]),
)
def test_schedules_go_down_to_the_budget(n, m, passes, schedule):
    n, m = max(n, m), min(n, m)
    steps = counts(n, m, passes, schedule)
    assert len(steps) == passes
    assert steps[-1] == m
    assert steps == sorted(steps, reverse=True)
    assert steps[0] <= n


def test_second_masks_replace_the_first():
    net = prune(tnn.Linear(64, 32), "magnitude", 4)
    mask = torch.zeros(32, 64, dtype=torch.bool)
    mask[0] = True
    assert torch.equal(masks_of(masked(net, {"weight": mask}))["weight"], mask)
    assert (net.weight != 0).sum() == 64


def test_resnet_is_pruned_to_the_budget_of_the_paper():
    net = resnet20()
    pruned = prune(net, "snip", 100, batches=[(torch.randn(8, 3, 32, 32), torch.arange(8))], include="*")
    assert sum(int(mask.sum()) for mask in masks_of(pruned).values()) == 2709
    assert pruned(torch.randn(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("magnitud", 4, {}), ArgumentError, "did you mean 'magnitude'"),
        (("snip", 4, {}), ArgumentError, "pass batches"),
        (("synflow", 4, {}), ArgumentError, "shape of an input"),
        (("random", 0.5, {}), ArgumentError, "at least 1"),
        (("random", 4, {"passes": 0}), ArgumentError, "at least 1"),
        (("random", 4, {"passes": 1.5}), KindError, "whole number"),
        (("random", 4, {"scope": "world"}), ArgumentError, "global, layer"),
        (("random", 4, {"mode": "eva"}), ArgumentError, "did you mean 'eval'"),
        (("random", None, {}), ArgumentError, "exactly one"),
    ],
)
def test_wrong_arguments_are_one_sentence_and_change_nothing(arguments, error, words):
    net, (method, compression, others) = tnn.Linear(64, 32), arguments
    with pytest.raises(error, match=words):
        prune(net, method, compression, inplace=True, **others)
    assert masks_of(net) == {}


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        (3, "batches=3 came; pass pairs"),
        ([torch.zeros(2, 5)], "a batch of Tensor came; a pair of tensors"),
        ([(torch.zeros(2, 5, dtype=F64), torch.zeros(3))], "2 inputs and 3 targets"),
        ([(torch.zeros(0, 5, dtype=F64), torch.zeros(0))], "0 inputs and 0 targets"),
        ([(torch.zeros(2, 4, dtype=F64), torch.zeros(2, dtype=torch.int64))], "does not run on inputs"),
        ([(torch.zeros(2, 5, dtype=F64), torch.tensor([0, 50]))], "targets .* from 0 to 50"),
    ],
)
def test_wrong_batches_are_one_sentence_and_change_nothing(small, batches, words):
    before = copy.deepcopy(small.state_dict())
    with pytest.raises((KindError, ShapeError), match=words) as caught:
        prune(small, "snip", 2, batches=batches, include="*", inplace=True)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in small.state_dict().items())


def test_more_passes_than_weights_and_seeds_that_are_none_are_refused(small):
    with pytest.raises(ArgumentError, match="passes=1000000000 came for 56 weights"):
        prune(small, "magnitude", 2, passes=10**9, include="*")
    with pytest.raises(KindError, match=r"seed=0.5 came"):
        prune(small, "random", 2, seed=0.5, include="*")


def test_scores_that_are_nan_are_refused():
    with pytest.raises(DataError, match="score of a is nan"):
        keep_largest({"a": torch.tensor([1.0, float("nan")])}, 1)


def test_wrong_masks_are_refused():
    net = tnn.Linear(4, 3)
    for mask, error in ((torch.ones(3, 4), KindError), (torch.ones(4, 3, dtype=torch.bool), ShapeError)):
        with pytest.raises(error):
            masked(net, {"weight": mask})
    with pytest.raises(ArgumentError, match="no weight"):
        masked(net, {"wait": torch.ones(3, 4, dtype=torch.bool)})
    with pytest.raises(ArgumentError, match=r"13 weights are to be kept of 12"):
        keep_largest({"weight": net.weight}, 13)


def test_a_tied_weight_is_pruned_in_all_its_places():
    torch.manual_seed(0)
    net = tnn.Sequential(tnn.Linear(40, 40, bias=False), tnn.Linear(40, 40, bias=False))
    net[1].weight = net[0].weight
    pruned = nn.prune(net, "magnitude", 10)
    assert torch.equal(pruned[0].weight, pruned[1].weight)
    assert int((pruned[1].weight != 0).sum()) == 160
    (weight,) = pruned.parameters()
    assert masked(pruned, {"1.weight": torch.ones(40, 40, dtype=torch.bool)}) is pruned
    assert torch.equal(pruned[0].weight, weight)
